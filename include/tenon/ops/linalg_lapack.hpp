// Optional: eigh, eigvalsh, svd, svdvals (and pinv, lstsq and what else is made of them) of large matrices by LAPACK.
//
// Include this in a source file of a program that is linked with -llapack or -lopenblas: that is all. Small matrices keep tenon's
// own kernels: below the sizes given to use_lapack a call costs more than it saves. Results are as accurate; their bits then
// depend on the library and on its threads.
#pragma once

#include <tenon/kernels/cpu/linalg/external.hpp>
#include <tenon/ops/linalg.hpp>

extern "C" {
void ssyevd_(const char*, const char*, const int*, float*, const int*, float*, float*, const int*, int*, const int*, int*);
void dsyevd_(const char*, const char*, const int*, double*, const int*, double*, double*, const int*, int*, const int*, int*);
void sgesdd_(const char*, const int*, const int*, float*, const int*, float*, float*, const int*, float*, const int*, float*,
                                   const int*, int*, int*);
void dgesdd_(const char*, const int*, const int*, double*, const int*, double*, double*, const int*, double*, const int*, double*,
                                   const int*, int*, int*);
}

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

// LAPACK's integers are 32 bits wide; a symmetric matrix is its own transpose, so that rows serve as columns.
template <class T>
long lapack_eigh(long size, const T* a, bool lower, T* values, T* vectors) {
    const int n = static_cast<int>(size);
    const char job = vectors != nullptr ? 'V' : 'N', triangle = lower ? 'U' : 'L';
    const auto call = [&](T* matrix, T* work, int work_size, int* integers, int integer_size) {
        int info = 0;
        if constexpr (std::is_same_v<T, float>) ssyevd_(&job, &triangle, &n, matrix, &n, values, work, &work_size, integers, &integer_size, &info);
        else dsyevd_(&job, &triangle, &n, matrix, &n, values, work, &work_size, integers, &integer_size, &info);
        return info;
    };
    T best_work;
    int best_integers;
    call(nullptr, &best_work, -1, &best_integers, -1);
    // The answer is a floating-point number that may have been rounded down.
    const long work_size = static_cast<long>(static_cast<double>(best_work) * (1 + 1e-6)) + 8;
    const std::size_t bytes = static_cast<std::size_t>(size * size + work_size) * sizeof(T) + static_cast<std::size_t>(best_integers) * sizeof(int) + 64;
    const kernels::cpu::linalg_impl::Workspace::Lease lease(kernels::cpu::linalg_impl::leaf_workspace, bytes);
    T *matrix = lease.template as<T>(), *work = matrix + size * size;
    std::memcpy(matrix, a, static_cast<std::size_t>(size * size) * sizeof(T));
    const int info = call(matrix, work, static_cast<int>(work_size), reinterpret_cast<int*>(work + work_size), best_integers);
    if (info == 0 && vectors != nullptr) kernels::cpu::linalg_impl::transpose_into(size, size, matrix, size, vectors, size);
    return info == 0 ? 0 : 1;
}
// Of the transpose: its U' is our V', its V our U, where they are to lie.
template <class T>
long lapack_svd(long rows, long columns, const T* a, T* u, T* s, T* vt) {
    const int m = static_cast<int>(rows), n = static_cast<int>(columns), k = m < n ? m : n;
    const char job = u != nullptr ? 'S' : 'N';
    T unused = 0;
    T *left = u != nullptr ? vt : &unused, *right = u != nullptr ? u : &unused;
    const auto call = [&](T* matrix, T* work, int work_size, int* integers) {
        int info = 0;
        if constexpr (std::is_same_v<T, float>) sgesdd_(&job, &n, &m, matrix, &n, s, left, &n, right, &k, work, &work_size, integers, &info);
        else dgesdd_(&job, &n, &m, matrix, &n, s, left, &n, right, &k, work, &work_size, integers, &info);
        return info;
    };
    T best_work;
    int none = 0;
    call(nullptr, &best_work, -1, &none);
    const long work_size = static_cast<long>(static_cast<double>(best_work) * (1 + 1e-6)) + 8, size = rows * columns;
    const std::size_t bytes = static_cast<std::size_t>(size + work_size) * sizeof(T) + 8 * static_cast<std::size_t>(k) * sizeof(int) + 64;
    const kernels::cpu::linalg_impl::Workspace::Lease lease(kernels::cpu::linalg_impl::leaf_workspace, bytes);
    T *matrix = lease.template as<T>(), *work = matrix + size;
    std::memcpy(matrix, a, static_cast<std::size_t>(size) * sizeof(T));
    return call(matrix, work, static_cast<int>(work_size), reinterpret_cast<int*>(work + work_size)) == 0 ? 0 : 1;
}

template <class T>
void set_lapack(long least_eigh, long least_svd) {
    auto& routines = kernels::cpu::external_routines<T>;
    routines.least_eigh = least_eigh;
    routines.least_svd = least_svd;
    routines.eigh = least_eigh > 0 ? &lapack_eigh<T> : nullptr;
    routines.svd = least_svd > 0 ? &lapack_svd<T> : nullptr;
}

}  // namespace impl

// From which sizes (n, and min(m, n)) on LAPACK is used; 0 switches it off. Not to be called while other threads compute.
inline void use_lapack(long least_eigh = 600, long least_svd = 600) {
    impl::set_lapack<float>(least_eigh, least_svd);
    impl::set_lapack<double>(least_eigh, least_svd);
}
namespace impl {
inline const bool lapack_in_use = (use_lapack(), true);
}  // namespace impl

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
