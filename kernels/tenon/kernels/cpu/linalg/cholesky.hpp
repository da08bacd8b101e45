// Cholesky factorisation A = L L' of symmetric positive definite matrices, in place.
#pragma once

#include <tenon/kernels/cpu/linalg/lanes.hpp>
#include <tenon/kernels/cpu/linalg/triangular.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

namespace reference {
// 0, or the order of the first leading minor that is not positive. Reads and writes the lower triangle.
template <class T>
long cholesky(long n, T* a, long lda) {
    for (long j = 0; j < n; ++j) {
        T d = a[j * lda + j];
        for (long k = 0; k < j; ++k) d -= a[j * lda + k] * a[j * lda + k];
        if (!(d > T(0))) return j + 1;
        d = linalg_impl::scalar_sqrt(d);
        a[j * lda + j] = d;
        for (long i = j + 1; i < n; ++i) {
            T x = a[i * lda + j];
            for (long k = 0; k < j; ++k) x -= a[i * lda + k] * a[j * lda + k];
            a[i * lda + j] = x / d;
        }
    }
    return 0;
}
}  // namespace reference

namespace linalg_impl {

inline constexpr long cholesky_leaf = 32;

// Works on the transpose, U' U, whose updates run along rows: no horizontal sums.
template <int N, class T>
TENON_ALWAYS_INLINE long cholesky_small(long n, T* a, long lda) {
    T u[cholesky_leaf * cholesky_leaf];
    for (long i = 0; i < n; ++i)
        for (long j = 0; j <= i; ++j) u[j * cholesky_leaf + i] = a[i * lda + j];
    long failed = 0;
    for (long k = 0; k < n; ++k) {
        T* row = u + k * cholesky_leaf;
        if (!(row[k] > T(0))) {
            failed = k + 1;
            break;
        }
        const T d = scalar_sqrt(row[k]);
        row[k] = d;
        divide<N>(n - k - 1, d, row + k + 1);
        for (long i = k + 1; i < n; ++i) axpy<N>(n - i, -row[i], row + i, u + i * cholesky_leaf + i);
    }
    for (long i = 0; i < n; ++i)
        for (long j = 0; j <= i; ++j) a[i * lda + j] = u[j * cholesky_leaf + i];
    return failed;
}
template <class T>
struct CholeskyLeaf {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(long first, long last, long n, T* a, long lda, long stride, long* failed) {
        for (long p = first; p < last; ++p) failed[p] = cholesky_small<width_of<T, Lanes>>(n, a + p * stride, lda);
    }
};

// The lower triangle of C -= A A' (and some of the upper one: whole blocks along the diagonal).
template <class T>
void subtract_square(long n, long k, const T* a, long lda, T* c, long ldc) {
    if (n <= 96) return subtract_product<T>(n, n, k, {a, lda, 1}, {a, 1, lda}, c, ldc);
    const long h = half_of(n);
    subtract_square<T>(h, k, a, lda, c, ldc);
    subtract_product<T>(n - h, h, k, {a + h * lda, lda, 1}, {a, 1, lda}, c + h * ldc, ldc);
    subtract_square<T>(n - h, k, a + h * lda, lda, c + h * ldc + h, ldc);
}
template <class T>
long cholesky_halves(long n, T* a, long lda) {
    if (n <= cholesky_leaf) {
        long failed = 0;
        dispatch<CholeskyLeaf<T>>(0l, 1l, n, a, lda, 0l, &failed);
        return failed;
    }
    const long h = half_of(n);
    const long failed = cholesky_halves(h, a, lda);
    if (failed != 0) return failed;
    solve_triangular_right<T>(false, false, n - h, h, {a, 1, lda}, a + h * lda, lda);
    subtract_square<T>(n - h, h, a + h * lda, lda, a + h * lda + h, lda);
    const long later = cholesky_halves(n - h, a + h * lda + h, lda);
    return later == 0 ? 0 : h + later;
}

}  // namespace linalg_impl

// Factors `batch` matrices A[n, n] (rows lda apart, matrices stride apart) in place: L in the lower triangle, which alone is
// read, zeros above. failed[p] is 0, or the order of the first leading minor of matrix p that is not positive (NaN is not);
// the matrix holds a part of the factor then.
template <class T>
void cholesky(long batch, long n, T* a, long lda, long stride, long* failed) {
    namespace own = linalg_impl;
    const double flops = static_cast<double>(n) * static_cast<double>(n) * (static_cast<double>(n) / 3 + 2);
    own::for_matrices(batch, flops, [&](long first, long last) {
        if (n <= own::lane_order && batch >= own::least_lanes) {
            dispatch<own::CholeskyLanes<T>>(first, last, n, a, lda, stride, failed);
        } else if (n <= own::cholesky_leaf) {
            dispatch<own::CholeskyLeaf<T>>(first, last, n, a, lda, stride, failed);
        } else {
            for (long p = first; p < last; ++p) failed[p] = own::cholesky_halves(n, a + p * stride, lda);
        }
        for (long p = first; p < last; ++p)
            for (long i = 0; i + 1 < n; ++i) std::memset(a + p * stride + i * lda + i + 1, 0, static_cast<std::size_t>(n - i - 1) * sizeof(T));
    });
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
