// Where a program may hand large eigenvalue problems to another library. Empty unless somebody fills it in: see
// <tenon/ops/linalg_lapack.hpp>.
#pragma once

#include <tenon/base/config.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

// One matrix each, from matrices of `least` rows and columns on. Arguments and results as of eigh and svd; the matrix is
// contiguous and finite. 0, or 1 where it did not converge.
template <class T>
struct ExternalRoutines {
    long least_eigh = 0, least_svd = 0;
    long (*eigh)(long n, const T* a, bool lower, T* values, T* vectors) = nullptr;
    long (*svd)(long m, long n, const T* a, T* u, T* s, T* vt) = nullptr;
};
template <class T>
inline constinit ExternalRoutines<T> external_routines{};

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
