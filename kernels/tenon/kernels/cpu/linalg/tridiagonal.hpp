// Symmetric matrices: reduction to tridiagonal form, and the eigenvalues of that.
#pragma once

#include <tenon/kernels/cpu/linalg/householder.hpp>
#include <tenon/kernels/cpu/linalg/rotations.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace linalg_impl {

// A (all of a symmetric matrix, rows lda apart) becomes T = Q' A Q: diagonal d, beside it e. Row i holds the reflection of
// step i from position i + 1 on. One at a time: for small matrices.
template <int N, class T>
TENON_ALWAYS_INLINE void tridiagonalise(long n, T* a, long lda, T* d, T* e, T* tau, T* w) {
    for (long i = 0; i + 1 < n; ++i) {
        d[i] = a[i * lda + i];
        T* v = a + i * lda + i + 1;
        const long rest = n - i - 1;
        tau[i] = make_reflector<N>(rest, v);
        e[i] = v[0];
        if (tau[i] == T(0)) continue;
        v[0] = T(1);
        T* below = a + (i + 1) * lda + i + 1;
        for (long j = 0; j < rest; ++j) w[j] = tau[i] * dot<N>(rest, below + j * lda, v);
        axpy<N>(rest, T(-0.5) * tau[i] * dot<N>(rest, w, v), v, w);
        for (long j = 0; j < rest; ++j) {
            axpy<N>(rest, -v[j], w, below + j * lda);
            axpy<N>(rest, -w[j], v, below + j * lda);
        }
    }
    if (n > 0) d[n - 1] = a[(n - 1) * lda + n - 1];
}
template <class T>
struct Tridiagonalise {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(long n, T* a, long lda, T* d, T* e, T* tau, T* w) {
        tridiagonalise<width_of<T, Lanes>>(n, a, lda, d, e, tau, w);
    }
};

// y -= sum over p of (p . x) q + (q . x) p, for rows p of P and q of Q: what the steps of a block have not yet taken away.
template <class T>
struct TakeAway {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(long count, long n, const T* p, const T* q, long stride, const T* x, T* y) {
        constexpr int N = width_of<T, Lanes>;
        for (long k = 0; k < count; ++k) {
            const T at_p = dot<N>(n, p + k * stride, x), at_q = dot<N>(n, q + k * stride, x);
            axpy<N>(n, -at_p, q + k * stride, y);
            axpy<N>(n, -at_q, p + k * stride, y);
        }
    }
};
// y -= sum over p of p[0] q + q[0] p.
template <class T>
struct TakeRow {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(long count, long n, const T* p, const T* q, long stride, T* y) {
        constexpr int N = width_of<T, Lanes>;
        for (long k = 0; k < count; ++k) {
            axpy<N>(n, -p[k * stride], q + k * stride, y);
            axpy<N>(n, -q[k * stride], p + k * stride, y);
        }
    }
};
template <class T>
struct MakeReflector {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(long n, T* x, T* tau) { *tau = make_reflector<width_of<T, Lanes>>(n, x); }
};
// w = tau (y - tau / 2 (y . v) v)
template <class T>
struct FinishPartner {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(long n, T tau, const T* v, T* y) {
        constexpr int N = width_of<T, Lanes>;
        scale<N>(n, tau, y);
        axpy<N>(n, T(-0.5) * tau * dot<N>(n, y, v), v, y);
    }
};

// The same in blocks of 32: products with A see the matrix before the block, whose changes go in at its end as one matrix
// product A -= V' W + W' V. Scratch: 4 * 32 rows of n.
template <class T>
void tridiagonalise_blocked(long n, T* a, long lda, T* d, T* e, T* tau, T* scratch) {
    constexpr long block = reflector_block;
    long i = 0;
    for (; n - i > 2 * block; i += block) {
        const long size = n - i;
        // Rows V then W, and rows W then V: one product does both halves.
        T *v = scratch, *w = v + block * size, *w_first = w + block * size, *v_second = w_first + block * size;
        for (long k = 0; k < block; ++k) {
            T* row = a + (i + k) * lda + i + k;
            const long rest = size - k - 1;
            dispatch<TakeRow<T>>(k, rest + 1, static_cast<const T*>(v + k), static_cast<const T*>(w + k), size, row);
            d[i + k] = row[0];
            dispatch<MakeReflector<T>>(rest, row + 1, tau + i + k);
            e[i + k] = row[1];
            row[1] = T(1);
            T *vk = v + k * size, *wk = w + k * size;
            for (long j = 0; j <= k; ++j) vk[j] = wk[j] = T(0);
            std::memcpy(vk + k + 1, row + 1, static_cast<std::size_t>(rest) * sizeof(T));
            T* y = wk + k + 1;
            gemm<T>(rest, 1, rest, MatrixView<T>{a + (i + k + 1) * lda + i + k + 1, lda, 1}, MatrixView<T>{vk + k + 1, 1, 1}, y, 1);
            dispatch<TakeAway<T>>(k, rest, static_cast<const T*>(v + k + 1), static_cast<const T*>(w + k + 1), size, static_cast<const T*>(vk + k + 1), y);
            dispatch<FinishPartner<T>>(rest, tau[i + k], static_cast<const T*>(vk + k + 1), y);
        }
        std::memcpy(w_first, w, static_cast<std::size_t>(block * size) * sizeof(T));
        std::memcpy(v_second, v, static_cast<std::size_t>(block * size) * sizeof(T));
        const long rest = size - block;
        subtract_product<T>(rest, rest, 2 * block, {v + block, 1, size}, {w_first + block, size, 1}, a + (i + block) * lda + i + block, lda);
    }
    dispatch<Tridiagonalise<T>>(n - i, a + i * lda + i, lda, d + i, e + i, tau + i, scratch);
}

// Eigenvalues of a tridiagonal matrix in place of d (any order), by implicit QL or QR steps, whichever end is smaller;
// e is used up. Every sweep of rotations goes into the log (where there is one), which flush() empties when it is full. False
// where 30 n steps do not do.
template <class T, class Flush>
bool tridiagonal_eigenvalues(long n, T* d, T* e, RotationLog<T>* log, Flush flush) {
    constexpr T eps = epsilon<T> / 2, floor = smallest<T>;
    const auto small = [&](long k) {
        const T size = scalar_abs(e[k]);
        return size <= floor || size <= eps * scalar_sqrt(scalar_abs(d[k])) * scalar_sqrt(scalar_abs(d[k + 1]));
    };
    long budget = 30 * n;
    const auto sweep = [&](long first, long count, bool up) {
        if (log == nullptr) return;
        if (!log->room(count)) flush();
        log->begin(first, count, up);
    };
    for (long begin = 0; begin < n;) {
        long end = begin;
        while (end + 1 < n && !small(end)) ++end;
        const long next = end + 1;
        if (end + 1 < n) e[end] = T(0);
        long low = begin, high = end;
        begin = next;
        // Towards the smaller end: its eigenvalues come out first, with small errors.
        const bool ql = scalar_abs(d[low]) <= scalar_abs(d[high]);
        while (low < high) {
            const long end_at = ql ? low : high, beside = ql ? low : high - 1;
            // The part of the block that is not yet split off.
            long far = end_at;
            if (ql) while (far < high && !small(far)) ++far;
            else while (far > low && !small(far - 1)) --far;
            if (far == end_at) {
                e[beside] = T(0);
                if (ql) ++low;
                else --high;
                continue;
            }
            if (ql ? far < high : far > low) e[ql ? far : far - 1] = T(0);
            if (budget-- == 0) return false;
            const long inner = ql ? end_at + 1 : end_at - 1;
            T g = (d[inner] - d[end_at]) / (2 * e[beside]);
            const T root = make_rotation(g, T(1)).r;
            g = d[far] - d[end_at] + e[beside] / (g + with_sign(scalar_abs(root), g));
            T s = T(1), c = T(1), p = T(0);
            const long count = ql ? far - end_at : end_at - far;
            sweep(ql ? end_at : far, count, !ql);
            for (long q = 0; q < count; ++q) {
                // Rows i (nearer to the small end) and j.
                const long j = ql ? far - q : far + q, i = ql ? j - 1 : j + 1, edge = ql ? i : j;
                const T f = s * e[edge], b = c * e[edge];
                const Rotation<T> turn = make_rotation(g, f);
                c = turn.c;
                s = turn.s;
                if (q > 0) e[ql ? edge + 1 : edge - 1] = turn.r;
                g = d[j] - p;
                const T r = (d[i] - g) * s + 2 * c * b;
                p = s * r;
                d[j] = g + p;
                g = c * r - b;
                if (log != nullptr) log->add(c, ql ? -s : s);
            }
            d[end_at] -= p;
            e[beside] = g;
        }
    }
    return true;
}

}  // namespace linalg_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
