// QR factorisation by Householder reflections, A = Q R.
#pragma once

#include <tenon/kernels/cpu/linalg/householder.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

namespace reference {
// A = Q R with Q[m, m] and R[m, n], rows contiguous: one reflection after the other.
template <class T>
void qr(long m, long n, const T* a, T* q, T* r) {
    for (long i = 0; i < m * n; ++i) r[i] = a[i];
    for (long i = 0; i < m; ++i)
        for (long j = 0; j < m; ++j) q[i * m + j] = i == j ? T(1) : T(0);
    for (long k = 0; k < n && k + 1 < m; ++k) {
        T tail = 0;
        for (long i = k + 1; i < m; ++i) tail += r[i * n + k] * r[i * n + k];
        if (tail == T(0)) continue;
        const T alpha = r[k * n + k], beta = -linalg_impl::with_sign(linalg_impl::scalar_sqrt(tail + alpha * alpha), alpha);
        const T tau = (beta - alpha) / beta, below = T(1) / (alpha - beta);
        // The vector stays in column k of R until all other columns are done.
        for (long j = k + 1; j < n; ++j) {
            T sum = r[k * n + j];
            for (long i = k + 1; i < m; ++i) sum += r[i * n + k] * below * r[i * n + j];
            r[k * n + j] -= tau * sum;
            for (long i = k + 1; i < m; ++i) r[i * n + j] -= tau * sum * (r[i * n + k] * below);
        }
        for (long j = 0; j < m; ++j) {
            T sum = q[j * m + k];
            for (long i = k + 1; i < m; ++i) sum += q[j * m + i] * (r[i * n + k] * below);
            q[j * m + k] -= tau * sum;
            for (long i = k + 1; i < m; ++i) q[j * m + i] -= tau * sum * (r[i * n + k] * below);
        }
        r[k * n + k] = beta;
        for (long i = k + 1; i < m; ++i) r[i * n + k] = T(0);
    }
}
}  // namespace reference

// `batch` matrices A[m, n] (contiguous) = Q[m, k] R[k, n], with k = min(m, n), or m where complete. q may be null: R alone.
// The diagonal of R has LAPACK's signs. Reflections are gathered into blocks of 32, applied by matrix products.
template <class T>
void qr(long batch, long m, long n, const T* a, bool complete, T* q, T* r) {
    namespace own = linalg_impl;
    const long steps = m < n ? m : n, k = complete ? m : steps;
    if (batch <= 0 || k <= 0) return;
    const double flops = 4.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(steps) + 100;
    own::for_matrices(batch, flops, [&](long first, long last) {
        const long rows = n > k ? n : k;
        const std::size_t scratch_size = own::BlockScratch<T>::elements(rows, m);
        const own::Workspace::Lease lease(own::outer_workspace, (static_cast<std::size_t>(n * m + k * m + steps) + scratch_size) * sizeof(T));
        T *at = lease.template as<T>(), *qt = at + n * m, *tau = qt + k * m, *scratch = tau + steps;
        for (long p = first; p < last; ++p) {
            own::transpose_into(m, n, a + p * m * n, n, at, m);
            if (n <= own::reflector_block) dispatch<own::ReflectColumns<T>>(steps, n, m, at, m, tau);
            else own::reflect_columns_blocked<T>(steps, n, m, at, m, tau, scratch);
            T* to = r + p * k * n;
            own::transpose_into(n, steps, at, m, to, n);
            for (long i = 0; i < k; ++i)
                for (long j = 0; j < (i < steps && i < n ? i : n); ++j) to[i * n + j] = T(0);
            if (q == nullptr) continue;
            own::form_rows_blocked<T>(steps, k, m, at, m, tau, qt, m, scratch);
            own::transpose_into(k, m, qt, m, q + p * m * k, k);
        }
    });
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
