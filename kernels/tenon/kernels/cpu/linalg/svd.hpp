// Singular value decomposition A = U diag(s) V', reduced.
#pragma once

#include <tenon/kernels/cpu/linalg/bidiagonal.hpp>
#include <tenon/kernels/cpu/linalg/eigh.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

namespace reference {
// One-sided Jacobi for m >= n: columns of u (a copy of A) are turned until they are orthogonal. u[m, n], s[n] descending,
// vt[n, n]. Columns of u that belong to zeros are zero.
template <class T>
void svd(long m, long n, const T* a, T* u, T* s, T* vt) {
    for (long i = 0; i < m * n; ++i) u[i] = a[i];
    for (long i = 0; i < n; ++i)
        for (long j = 0; j < n; ++j) vt[i * n + j] = i == j ? T(1) : T(0);
    bool turned = true;
    for (int round = 0; round < 60 && turned; ++round) {
        turned = false;
        for (long p = 0; p < n; ++p)
            for (long q = p + 1; q < n; ++q) {
                T pp = 0, qq = 0, pq = 0;
                for (long i = 0; i < m; ++i) {
                    pp += u[i * n + p] * u[i * n + p];
                    qq += u[i * n + q] * u[i * n + q];
                    pq += u[i * n + p] * u[i * n + q];
                }
                if (linalg_impl::scalar_abs(pq) <= linalg_impl::epsilon<T> * linalg_impl::scalar_sqrt(pp) * linalg_impl::scalar_sqrt(qq)) continue;
                turned = true;
                const T theta = (qq - pp) / (2 * pq);
                const T t = linalg_impl::with_sign(T(1), theta) / (linalg_impl::scalar_abs(theta) + linalg_impl::scalar_sqrt(theta * theta + 1));
                const T c = 1 / linalg_impl::scalar_sqrt(t * t + 1), sine = t * c;
                for (long i = 0; i < m; ++i) {
                    const T x = u[i * n + p], y = u[i * n + q];
                    u[i * n + p] = c * x - sine * y;
                    u[i * n + q] = sine * x + c * y;
                }
                for (long j = 0; j < n; ++j) {
                    const T x = vt[p * n + j], y = vt[q * n + j];
                    vt[p * n + j] = c * x - sine * y;
                    vt[q * n + j] = sine * x + c * y;
                }
            }
    }
    for (long j = 0; j < n; ++j) {
        T sum = 0;
        for (long i = 0; i < m; ++i) sum += u[i * n + j] * u[i * n + j];
        s[j] = linalg_impl::scalar_sqrt(sum);
        for (long i = 0; i < m && s[j] > T(0); ++i) u[i * n + j] /= s[j];
    }
    for (long i = 0; i < n; ++i) {
        long most = i;
        for (long j = i + 1; j < n; ++j)
            if (s[j] > s[most]) most = j;
        if (most == i) continue;
        const T value = s[i];
        s[i] = s[most];
        s[most] = value;
        for (long k = 0; k < m; ++k) {
            const T x = u[k * n + i];
            u[k * n + i] = u[k * n + most];
            u[k * n + most] = x;
        }
        for (long k = 0; k < n; ++k) {
            const T x = vt[i * n + k];
            vt[i * n + k] = vt[most * n + k];
            vt[most * n + k] = x;
        }
    }
}
}  // namespace reference

namespace linalg_impl {

// Elements of scratch that svd_tall needs.
inline long svd_scratch(long m, long n) {
    const long products = static_cast<long>(BlockScratch<double>::elements(n > 0 ? n : 1, m));
    const long panels = reflector_block * (m + n), others = 2 * n;
    const long most = products > panels ? products : panels;
    return 2 * n * m + 2 * n * n + 2 * n * n + 5 * n + (most > others ? most : others) + 8;
}

// A[m, n] with m >= n, which is used up. u[m, n], s[n], vt[n, n]; u and vt may be null, both at once. transposed: the results
// are those of A': u becomes [n, m] with rows as vectors, vt becomes [n, n] with columns as vectors.
template <class T>
long svd_tall(long m, long n, T* a, bool transposed, T* u, T* s, T* vt, T* memory) {
    constexpr long block = reflector_block;
    T most;
    dispatch<LargestMagnitude<T>>(m * n, static_cast<const T*>(a), &most);
    if (!is_finite(most)) return -1;
    const T factor = safe_scale(most);
    if (factor != T(1))
        for (long i = 0; i < m * n; ++i) a[i] *= factor;
    T *left = memory, *ut = left + n * m, *right = ut + n * m, *v = right + n * n, *turns = v + n * n, *d = turns + 2 * n * n;
    T *e = d + n, *tau_left = e + n, *tau_right = tau_left + n, *scratch = tau_right + n;
    scratch += (scratch - memory) % 2;
    const bool vectors = u != nullptr;
    // A tall matrix is first brought to its triangle.
    const bool tall = m >= 2 * n && n > 1;
    const T* columns = nullptr;
    long rows = m;
    if (tall) {
        transpose_into(m, n, a, n, left, m);
        reflect_columns_blocked<T>(n, n, m, left, m, tau_left, scratch);
        for (long i = 0; i < n; ++i)
            for (long j = 0; j < n; ++j) a[i * n + j] = j < i ? T(0) : left[j * m + i];
        rows = n;
        if (vectors) {
            // Rows of Q' wait in the second half of u's place.
            form_rows_blocked<T>(n, n, m, left, m, tau_left, ut, m, scratch);
            columns = ut;
        }
    }
    if (n <= 2 * block) dispatch<Bidiagonalise<T>>(rows, n, a, n, d, e, left, rows, tau_left, right, n, tau_right, scratch);
    else bidiagonalise_blocked<T>(rows, n, a, d, e, left, tau_left, right, tau_right, scratch);
    bool done;
    T* rows_u = nullptr;
    if (!vectors) {
        done = bidiagonal_singular_values<T>(n, d, e, nullptr, nullptr, [] {});
    } else {
        // a is done with: of a tall matrix the rows of the small U' take its place.
        rows_u = tall ? a : ut;
        form_rows_blocked<T>(n, n, rows, left, rows, tau_left, rows_u, rows, scratch);
        for (long i = 0; i < n; ++i) v[i] = v[i * n] = T(0);
        v[0] = T(1);
        if (n > 1) form_rows_blocked<T>(n - 1, n - 1, n - 1, right + 1, n, tau_right, v + n + 1, n, scratch);
        const long pairs = n * n / 2;
        RotationLog<T> turns_left(turns, pairs), turns_right(turns + n * n, pairs);
        const auto flush = [&] {
            turn_rows(turns_left, rows_u, n, rows, rows);
            turn_rows(turns_right, v, n, n, n);
            turns_left.clear();
            turns_right.clear();
        };
        done = bidiagonal_singular_values<T>(n, d, e, &turns_left, &turns_right, flush);
        flush();
        for (long i = 0; i < n; ++i)
            if (__builtin_signbit(d[i]))
                for (long j = 0; j < n; ++j) v[i * n + j] = -v[i * n + j];
    }
    if (!done) return 1;
    for (long i = 0; i < n; ++i) d[i] = scalar_abs(d[i]);
    long* order = reinterpret_cast<long*>(scratch);
    sort_positions(n, d, order, true);
    for (long i = 0; i < n; ++i) s[i] = d[order[i]] / factor;
    if (!vectors) return 0;
    if (tall) {
        // U' = (small U') Q', in order.
        for (long i = 0; i < n; ++i) std::memcpy(right + i * n, rows_u + order[i] * n, static_cast<std::size_t>(n) * sizeof(T));
        if (transposed) gemm<T>(n, m, n, MatrixView<T>{right, n, 1}, MatrixView<T>{columns, m, 1}, u, m);
        else gemm<T>(m, n, n, MatrixView<T>{columns, 1, m}, MatrixView<T>{right, 1, n}, u, n);
    } else if (transposed) {
        for (long i = 0; i < n; ++i) std::memcpy(u + i * m, rows_u + order[i] * m, static_cast<std::size_t>(m) * sizeof(T));
    } else {
        rows_to_columns(n, m, rows_u, m, order, u, n);
    }
    if (transposed) rows_to_columns(n, n, v, n, order, vt, n);
    else
        for (long i = 0; i < n; ++i) std::memcpy(vt + i * n, v + order[i] * n, static_cast<std::size_t>(n) * sizeof(T));
    return 0;
}

}  // namespace linalg_impl

// `batch` matrices A[m, n] (contiguous), r = min(m, n): U[m, r], s[r] in descending order, V'[r, n]. u and vt may be null,
// both at once: values alone. Householder reduction to bidiagonal form (of the triangular factor where m >= 2 n), implicit
// QR steps whose rotations are applied many sweeps at a time; of a wide matrix the transpose. failed[p] is 0, -1 where the
// matrix has elements that are not finite, 1 where the steps did not converge.
template <class T>
void svd(long batch, long m, long n, const T* a, T* u, T* s, T* vt, long* failed) {
    namespace own = linalg_impl;
    const long r = m < n ? m : n, most = m < n ? n : m;
    if (r <= 0) {
        for (long p = 0; p < batch; ++p) failed[p] = 0;
        return;
    }
    const double flops = (u == nullptr ? 3.0 : 20.0) * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(r) + 600;
    own::for_matrices(batch, flops, [&](long first, long last) {
        const own::Workspace::Lease lease(own::outer_workspace, static_cast<std::size_t>(m * n + own::svd_scratch(most, r)) * sizeof(T));
        T* copy = lease.template as<T>();
        // An even number of elements in front: positions of 8 bytes lie behind.
        T* memory = copy + (m * n + 1) / 2 * 2;
        for (long p = first; p < last; ++p) {
            const T* from = a + p * m * n;
            T *to_u = u == nullptr ? nullptr : u + p * m * r, *to_v = u == nullptr ? nullptr : vt + p * r * n;
            const auto& external = external_routines<T>;
            if (external.svd != nullptr && r >= external.least_svd) {
                T most_magnitude;
                dispatch<own::LargestMagnitude<T>>(m * n, from, &most_magnitude);
                failed[p] = own::is_finite(most_magnitude) ? external.svd(m, n, from, to_u, s + p * r, to_v) : -1;
                continue;
            }
            if (m >= n) {
                own::copy_rows(m, n, from, n, copy, n);
                failed[p] = own::svd_tall<T>(m, n, copy, false, to_u, s + p * r, to_v, memory);
            } else {
                own::transpose_into(m, n, from, n, copy, m);
                failed[p] = own::svd_tall<T>(n, m, copy, true, to_v, s + p * r, to_u, memory);
            }
        }
    });
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
