// Householder reflections H = I - tau v v', one at a time and in blocks H1 H2 ... = I - V T V'.
//
// Vectors lie in rows: reflection k is row k, its leading 1 (not stored) at position k. A matrix whose columns are to be
// reflected is kept transposed, so that all loops run along memory.
#pragma once

#include <tenon/kernels/cpu/gemm.hpp>
#include <tenon/kernels/cpu/linalg/triangular.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace linalg_impl {

inline constexpr long reflector_block = 32;

// Makes the reflection that takes x to (beta, 0, ..., 0): beta in x[0], the vector behind it; returns tau. Nothing to do
// gives tau = 0. beta has the sign opposite to x[0], as LAPACK's.
template <int N, class T>
TENON_ALWAYS_INLINE T make_reflector(long n, T* x) {
    if (n <= 1) return T(0);
    T alpha = x[0], tail = dot<N>(n - 1, x + 1, x + 1), factor = T(1);
    T total = tail + alpha * alpha;
    constexpr T low = smallest<T> / (epsilon<T> * epsilon<T>);
    if (tail == T(0) || !(total > low) || !(total < T(1) / low)) {
        // Squares that may have lost digits or overflowed: once more, in units of the largest element.
        const T most = largest_magnitude<N>(n - 1, x + 1);
        if (most == T(0)) return T(0);
        const T unit = scalar_abs(alpha) > most ? scalar_abs(alpha) : most;
        if (is_finite(unit)) {
            factor = unit > smallest<T> ? T(1) / unit : T(1) / smallest<T>;
            scale<N>(n, factor, x);
            alpha = x[0];
            tail = dot<N>(n - 1, x + 1, x + 1);
            total = tail + alpha * alpha;
            if (tail == T(0)) {
                // The rest is nothing next to alpha.
                for (long i = 1; i < n; ++i) x[i] = T(0);
                x[0] = alpha / factor;
                return T(0);
            }
        }
    }
    const T beta = -with_sign(scalar_sqrt(total), alpha);
    scale<N>(n - 1, T(1) / (alpha - beta), x + 1);
    x[0] = beta / factor;
    return (beta - alpha) / beta;
}

// y -= tau (v . y) v for a vector v with an explicit leading element.
template <int N, class T>
TENON_ALWAYS_INLINE void reflect(long n, T tau, const T* v, T* y) { axpy<N>(n, -tau * dot<N>(n, v, y), v, y); }

// QR of the matrix whose columns are `rows` rows of length m: reflections in their places, what R is made of before them.
// Reflections are applied to all rows.
template <int N, class T>
TENON_ALWAYS_INLINE void reflect_columns(long count, long rows, long m, T* a, long lda, T* tau) {
    for (long k = 0; k < count; ++k) {
        T* v = a + k * lda + k;
        tau[k] = make_reflector<N>(m - k, v);
        if (tau[k] == T(0)) continue;
        const T beta = v[0];
        v[0] = T(1);
        for (long j = k + 1; j < rows; ++j) reflect<N>(m - k, tau[k], v, a + j * lda + k);
        v[0] = beta;
    }
}
// Rows 0 ... rows - 1 of Q' for Q = H1 H2 ... H(count), in q.
template <int N, class T>
TENON_ALWAYS_INLINE void form_rows(long count, long rows, long m, T* a, long lda, const T* tau, T* q, long ldq) {
    for (long j = 0; j < rows; ++j) {
        for (long i = 0; i < m; ++i) q[j * ldq + i] = T(0);
        q[j * ldq + j] = T(1);
    }
    for (long k = count - 1; k >= 0; --k) {
        if (tau[k] == T(0)) continue;
        T* v = a + k * lda + k;
        const T beta = v[0];
        v[0] = T(1);
        for (long j = k; j < rows; ++j) reflect<N>(m - k, tau[k], v, q + j * ldq + k);
        v[0] = beta;
    }
}
template <class T>
struct ReflectColumns {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(long count, long rows, long m, T* a, long lda, T* tau) {
        reflect_columns<width_of<T, Lanes>>(count, rows, m, a, lda, tau);
    }
};
template <class T>
struct FormRows {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(long count, long rows, long m, T* a, long lda, const T* tau, T* q, long ldq) {
        form_rows<width_of<T, Lanes>>(count, rows, m, a, lda, tau, q, ldq);
    }
};

// Scratch of one block: V with its ones and zeros, T, and two products.
template <class T>
struct BlockScratch {
    T *v, *t, *w, *w2;
    static std::size_t elements(long rows, long m) {
        return static_cast<std::size_t>(reflector_block * m + 2 * reflector_block * reflector_block + 2 * rows * reflector_block);
    }
    BlockScratch(T* memory, long rows, long m)
        : v(memory), t(v + reflector_block * m), w(t + 2 * reflector_block * reflector_block), w2(w + rows * reflector_block) {}
};
// V and T of `count` reflections of length m.
template <class T>
void gather_block(long count, long m, const T* a, long lda, const T* tau, const BlockScratch<T>& s) {
    for (long k = 0; k < count; ++k) {
        T* v = s.v + k * m;
        for (long i = 0; i < k; ++i) v[i] = T(0);
        v[k] = T(1);
        std::memcpy(v + k + 1, a + k * lda + k + 1, static_cast<std::size_t>(m - k - 1) * sizeof(T));
    }
    T* products = s.t + reflector_block * reflector_block;
    gemm<T>(count, count, m, MatrixView<T>{s.v, m, 1}, MatrixView<T>{s.v, 1, m}, products, count);
    for (long k = 0; k < count; ++k) {
        for (long i = 0; i < k; ++i) {
            T sum = 0;
            for (long j = i; j < k; ++j) sum += s.t[i * count + j] * products[j * count + k];
            s.t[i * count + k] = -tau[k] * sum;
            s.t[k * count + i] = T(0);
        }
        s.t[k * count + k] = tau[k];
    }
}
// C -= (C V') T V, or with T' in the middle, for `rows` rows of C.
template <class T>
void apply_block(long rows, long count, long m, const BlockScratch<T>& s, bool transposed, T* c, long ldc) {
    if (rows <= 0) return;
    gemm<T>(rows, count, m, MatrixView<T>{c, ldc, 1}, MatrixView<T>{s.v, 1, m}, s.w, count);
    gemm<T>(rows, count, count, MatrixView<T>{s.w, count, 1},
            transposed ? MatrixView<T>{s.t, 1, count} : MatrixView<T>{s.t, count, 1}, s.w2, count);
    subtract_product<T>(rows, m, count, {s.w2, count, 1}, {s.v, m, 1}, c, ldc);
}

// As reflect_columns and form_rows, in blocks.
template <class T>
void reflect_columns_blocked(long count, long rows, long m, T* a, long lda, T* tau, T* scratch) {
    for (long k = 0; k < count; k += reflector_block) {
        const long block = count - k < reflector_block ? count - k : reflector_block;
        const long inside = rows - k < block ? rows - k : block;
        T* at = a + k * lda + k;
        dispatch<ReflectColumns<T>>(block, inside, m - k, at, lda, tau + k);
        if (k + inside >= rows) continue;
        const BlockScratch<T> s(scratch, rows, m - k);
        gather_block<T>(block, m - k, at, lda, tau + k, s);
        apply_block<T>(rows - k - inside, block, m - k, s, false, at + inside * lda, lda);
    }
}
template <class T>
void form_rows_blocked(long count, long rows, long m, T* a, long lda, const T* tau, T* q, long ldq, T* scratch) {
    if (count <= reflector_block && rows <= 2 * reflector_block) return dispatch<FormRows<T>>(count, rows, m, a, lda, tau, q, ldq);
    clear_rows(rows, m, q, ldq);
    for (long j = 0; j < rows; ++j) q[j * ldq + j] = T(1);
    for (long k = (count - 1) / reflector_block * reflector_block; k >= 0; k -= reflector_block) {
        const long block = count - k < reflector_block ? count - k : reflector_block;
        const BlockScratch<T> s(scratch, rows, m - k);
        gather_block<T>(block, m - k, a + k * lda + k, lda, tau + k, s);
        apply_block<T>(rows - k, block, m - k, s, true, q + k * ldq + k, ldq);
    }
}

}  // namespace linalg_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
