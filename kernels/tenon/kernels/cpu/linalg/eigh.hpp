// Eigenvalues and eigenvectors of symmetric matrices, A = V diag(w) V'.
#pragma once

#include <tenon/kernels/cpu/linalg/external.hpp>
#include <tenon/kernels/cpu/linalg/tridiagonal.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

namespace reference {
// Cyclic Jacobi rotations: values w (ascending), vectors in the columns of v[n, n]. a is used up.
template <class T>
void eigh(long n, T* a, T* w, T* v) {
    for (long i = 0; i < n; ++i)
        for (long j = 0; j < n; ++j) v[i * n + j] = i == j ? T(1) : T(0);
    for (int round = 0; round < 60; ++round) {
        T off = 0, all = 0;
        for (long i = 0; i < n; ++i)
            for (long j = 0; j < n; ++j) {
                all += a[i * n + j] * a[i * n + j];
                if (i != j) off += a[i * n + j] * a[i * n + j];
            }
        if (!(off > all * linalg_impl::epsilon<T> * linalg_impl::epsilon<T> / 100)) break;
        for (long p = 0; p < n; ++p)
            for (long q = p + 1; q < n; ++q) {
                if (a[p * n + q] == T(0)) continue;
                const T theta = (a[q * n + q] - a[p * n + p]) / (2 * a[p * n + q]);
                const T t = linalg_impl::with_sign(T(1), theta) / (linalg_impl::scalar_abs(theta) + linalg_impl::scalar_sqrt(theta * theta + 1));
                const T c = 1 / linalg_impl::scalar_sqrt(t * t + 1), s = t * c;
                for (long k = 0; k < n; ++k) {
                    const T x = a[k * n + p], y = a[k * n + q];
                    a[k * n + p] = c * x - s * y;
                    a[k * n + q] = s * x + c * y;
                }
                for (long k = 0; k < n; ++k) {
                    const T x = a[p * n + k], y = a[q * n + k];
                    a[p * n + k] = c * x - s * y;
                    a[q * n + k] = s * x + c * y;
                }
                for (long k = 0; k < n; ++k) {
                    const T x = v[k * n + p], y = v[k * n + q];
                    v[k * n + p] = c * x - s * y;
                    v[k * n + q] = s * x + c * y;
                }
            }
    }
    for (long i = 0; i < n; ++i) {
        long least = i;
        for (long j = i + 1; j < n; ++j)
            if (a[j * n + j] < a[least * n + least]) least = j;
        w[i] = a[least * n + least];
        a[least * n + least] = a[i * n + i];
        for (long k = 0; k < n && least != i; ++k) {
            const T x = v[k * n + i];
            v[k * n + i] = v[k * n + least];
            v[k * n + least] = x;
        }
    }
}
}  // namespace reference

namespace linalg_impl {

// The power of two that brings a matrix whose largest element is `most` to where squares neither overflow nor vanish.
template <class T>
T safe_scale(T most) {
    constexpr T low = std::is_same_v<T, float> ? T(0x1p-40) : T(0x1p-460), high = std::is_same_v<T, float> ? T(0x1p40) : T(0x1p460);
    if (!(most > T(0)) || (most >= low && most <= high)) return T(1);
    int exponent;
    __builtin_frexp(static_cast<double>(most), &exponent);
    const int most_exponent = std::is_same_v<T, float> ? 126 : 1022;
    exponent = exponent < -most_exponent ? -most_exponent : exponent > most_exponent ? most_exponent : exponent;
    return static_cast<T>(__builtin_ldexp(1.0, -exponent));
}
template <class T>
struct LargestMagnitude {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(long n, const T* x, T* most) { *most = largest_magnitude<width_of<T, Lanes>>(n, x); }
};

// order: the positions of x in ascending (or descending) order, the first of equal ones first.
template <class T>
void sort_positions(long n, const T* x, long* order, bool descending) {
    for (long i = 0; i < n; ++i) {
        long at = i;
        while (at > 0 && (descending ? x[order[at - 1]] < x[i] : x[order[at - 1]] > x[i])) {
            order[at] = order[at - 1];
            --at;
        }
        order[at] = i;
    }
}
// Column order[i] of `out` and so on: rows of `in` (each a vector) become columns, in order.
template <class T>
void rows_to_columns(long count, long n, const T* in, long in_stride, const long* order, T* out, long out_stride) {
    constexpr long block = 16;
    for (long i0 = 0; i0 < n; i0 += block)
        for (long k0 = 0; k0 < count; k0 += block)
            for (long i = i0; i < (i0 + block < n ? i0 + block : n); ++i)
                for (long k = k0; k < (k0 + block < count ? k0 + block : count); ++k) out[i * out_stride + k] = in[order[k] * in_stride + i];
}

template <class T>
long eigh_one(long n, const T* from, bool lower, T* values, T* vectors, T* memory, long pairs) {
    constexpr long block = reflector_block;
    T *a = memory, *z = a + n * n, *d = z + n * n, *e = d + n, *tau = e + n, *scratch = tau + n;
    T most;
    for (long i = 0; i < n; ++i)
        for (long j = 0; j <= i; ++j) a[i * n + j] = a[j * n + i] = lower ? from[i * n + j] : from[j * n + i];
    dispatch<LargestMagnitude<T>>(n * n, static_cast<const T*>(a), &most);
    if (!is_finite(most)) return -1;
    const auto& external = external_routines<T>;
    if (external.eigh != nullptr && n >= external.least_eigh) return external.eigh(n, a, true, values, vectors);
    const T factor = safe_scale(most);
    if (factor != T(1))
        for (long i = 0; i < n * n; ++i) a[i] *= factor;
    if (n <= 2 * block) dispatch<Tridiagonalise<T>>(n, a, n, d, e, tau, scratch);
    else tridiagonalise_blocked<T>(n, a, n, d, e, tau, scratch);
    bool done;
    if (vectors == nullptr) {
        done = tridiagonal_eigenvalues<T>(n, d, e, nullptr, [] {});
    } else {
        // Rows of z are the columns of Q = diag(1, H1 H2 ...).
        clear_rows(1, n, z, n);
        for (long i = 0; i < n; ++i) z[i * n] = T(0);
        z[0] = T(1);
        if (n > 1) form_rows_blocked<T>(n - 1, n - 1, n - 1, a + 1, n, tau, z + n + 1, n, scratch);
        RotationLog<T> log(a, pairs);  // a is done with: the rotations take its place
        done = tridiagonal_eigenvalues<T>(n, d, e, &log, [&] {
            turn_rows(log, z, n, n, n);
            log.clear();
        });
        turn_rows(log, z, n, n, n);
    }
    if (!done) return 1;
    long* order = reinterpret_cast<long*>(scratch);
    sort_positions(n, d, order, false);
    for (long i = 0; i < n; ++i) values[i] = d[order[i]] / factor;
    if (vectors != nullptr) rows_to_columns(n, n, z, n, order, vectors, n);
    return 0;
}

}  // namespace linalg_impl

// `batch` symmetric matrices A[n, n] (contiguous; of each the lower or upper triangle is read): eigenvalues in ascending
// order, values[n], and (where not null) eigenvectors in the columns of vectors[n, n]. Householder reduction to
// tridiagonal form, implicit QL or QR steps whose rotations are applied many sweeps at a time. failed[p] is 0, -1 where the
// matrix has elements that are not finite, 1 where the steps did not converge.
template <class T>
void eigh(long batch, long n, const T* a, bool lower, T* values, T* vectors, long* failed) {
    namespace own = linalg_impl;
    if (n <= 0) {
        for (long p = 0; p < batch; ++p) failed[p] = 0;
        return;
    }
    const double flops = (vectors == nullptr ? 2.0 : 9.0) * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n) + 300;
    own::for_matrices(batch, flops, [&](long first, long last) {
        constexpr long block = own::reflector_block;
        // One sweep must fit in the place of A.
        const long pairs = n * n / 2;
        std::size_t scratch = own::BlockScratch<T>::elements(n, n);
        const std::size_t others[] = {static_cast<std::size_t>(4 * block * n), static_cast<std::size_t>(2 * n)};
        for (std::size_t other : others) scratch = other > scratch ? other : scratch;
        const own::Workspace::Lease lease(own::outer_workspace, (static_cast<std::size_t>(2 * n * n + 4 * n) + scratch) * sizeof(T));
        // Positions of 8 bytes lie in the scratch: it starts on such a border.
        T* memory = lease.template as<T>() + n % 2;
        for (long p = first; p < last; ++p)
            failed[p] = own::eigh_one<T>(n, a + p * n * n, lower, values + p * n, vectors == nullptr ? nullptr : vectors + p * n * n, memory, pairs);
    });
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
