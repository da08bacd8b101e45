// Any matrix: reduction to upper bidiagonal form, and the singular values of that.
#pragma once

#include <tenon/kernels/cpu/linalg/tridiagonal.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace linalg_impl {

// A[m, n] with m >= n becomes B = U' A V: diagonal d, above it e. Reflections of columns in the rows of left[n, m] (row i
// from position i on), of rows in the rows of right[n, n] (row i from position i + 1 on). For small matrices.
template <int N, class T>
TENON_ALWAYS_INLINE void bidiagonalise(long m, long n, T* a, long lda, T* d, T* e, T* left, long left_stride, T* tau_left, T* right, long right_stride,
                                       T* tau_right, T* w) {
    for (long i = 0; i < n; ++i) {
        T* v = left + i * left_stride + i;
        for (long r = i; r < m; ++r) v[r - i] = a[r * lda + i];
        tau_left[i] = make_reflector<N>(m - i, v);
        d[i] = v[0];
        const long rest = n - i - 1;
        tau_right[i] = T(0);
        if (rest == 0) continue;
        if (tau_left[i] != T(0)) {
            v[0] = T(1);
            for (long j = 0; j < rest; ++j) w[j] = T(0);
            for (long r = i; r < m; ++r) axpy<N>(rest, v[r - i], a + r * lda + i + 1, w);
            for (long r = i; r < m; ++r) axpy<N>(rest, -tau_left[i] * v[r - i], w, a + r * lda + i + 1);
        }
        T* u = right + i * right_stride + i + 1;
        for (long j = 0; j < rest; ++j) u[j] = a[i * lda + i + 1 + j];
        tau_right[i] = make_reflector<N>(rest, u);
        e[i] = u[0];
        if (tau_right[i] == T(0)) continue;
        u[0] = T(1);
        for (long r = i + 1; r < m; ++r) reflect<N>(rest, tau_right[i], u, a + r * lda + i + 1);
    }
}
template <class T>
struct Bidiagonalise {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(long m, long n, T* a, long lda, T* d, T* e, T* left, long left_stride, T* tau_left, T* right, long right_stride,
                                        T* tau_right, T* w) {
        bidiagonalise<width_of<T, Lanes>>(m, n, a, lda, d, e, left, left_stride, tau_left, right, right_stride, tau_right, w);
    }
};

// y -= sum over the rows of P and Q: p[0] q, with q's rows from their own start on.
template <class T>
struct TakeRows {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(long count, long n, const T* p, long p_stride, const T* q, long q_stride, T* y) {
        for (long k = 0; k < count; ++k) axpy<width_of<T, Lanes>>(n, -p[k * p_stride], q + k * q_stride, y);
    }
};
// y -= sum over k of (p . x) q, for p of length n and q of length m.
template <class T>
struct TakeProjections {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(long count, long n, const T* p, long p_stride, const T* x, long m, const T* q, long q_stride, T* y) {
        constexpr int N = width_of<T, Lanes>;
        for (long k = 0; k < count; ++k) axpy<N>(m, -dot<N>(n, p + k * p_stride, x), q + k * q_stride, y);
    }
};
template <class T>
struct Scale {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(long n, T alpha, T* x) { scale<width_of<T, Lanes>>(n, alpha, x); }
};

// The same in blocks of 32: the matrix of a step is A - V' Y - X' U, whose four factors grow by a row per step; at the end
// of a block they go into A as two matrix products. Scratch: 32 rows of m and of n.
template <class T>
void bidiagonalise_blocked(long m, long n, T* a, T* d, T* e, T* left, T* tau_left, T* right, T* tau_right, T* scratch) {
    constexpr long block = reflector_block;
    T *x = scratch, *y = x + block * m;
    long b = 0;
    for (; n - b > 2 * block; b += block) {
        for (long k = 0; k < block; ++k) {
            const long i = b + k, rest = n - i - 1, below = m - i - 1;
            T* v = left + i * m + i;
            for (long r = i; r < m; ++r) v[r - i] = a[r * n + i];
            dispatch<TakeRows<T>>(k, m - i, static_cast<const T*>(y + i), n, static_cast<const T*>(left + b * m + i), m, v);
            dispatch<TakeRows<T>>(k, m - i, static_cast<const T*>(right + b * n + i), n, static_cast<const T*>(x + i), m, v);
            dispatch<MakeReflector<T>>(m - i, v, tau_left + i);
            d[i] = v[0];
            v[0] = T(1);
            T* yk = y + k * n + i + 1;
            gemm<T>(1, rest, m - i, MatrixView<T>{v, m, 1}, MatrixView<T>{a + i * n + i + 1, n, 1}, yk, rest);
            dispatch<TakeProjections<T>>(k, m - i, static_cast<const T*>(left + b * m + i), m, static_cast<const T*>(v), rest,
                                         static_cast<const T*>(y + i + 1), n, yk);
            dispatch<TakeProjections<T>>(k, m - i, static_cast<const T*>(x + i), m, static_cast<const T*>(v), rest,
                                         static_cast<const T*>(right + b * n + i + 1), n, yk);
            dispatch<Scale<T>>(rest, tau_left[i], yk);
            T* u = right + i * n + i + 1;
            std::memcpy(u, a + i * n + i + 1, static_cast<std::size_t>(rest) * sizeof(T));
            dispatch<TakeRows<T>>(k + 1, rest, static_cast<const T*>(left + b * m + i), m, static_cast<const T*>(y + i + 1), n, u);
            dispatch<TakeRows<T>>(k, rest, static_cast<const T*>(x + i), m, static_cast<const T*>(right + b * n + i + 1), n, u);
            dispatch<MakeReflector<T>>(rest, u, tau_right + i);
            e[i] = u[0];
            u[0] = T(1);
            T* xk = x + k * m + i + 1;
            gemm<T>(below, 1, rest, MatrixView<T>{a + (i + 1) * n + i + 1, n, 1}, MatrixView<T>{u, 1, 1}, xk, 1);
            dispatch<TakeProjections<T>>(k + 1, rest, static_cast<const T*>(y + i + 1), n, static_cast<const T*>(u), below,
                                         static_cast<const T*>(left + b * m + i + 1), m, xk);
            dispatch<TakeProjections<T>>(k, rest, static_cast<const T*>(right + b * n + i + 1), n, static_cast<const T*>(u), below,
                                         static_cast<const T*>(x + i + 1), m, xk);
            dispatch<Scale<T>>(below, tau_right[i], xk);
        }
        const long next = b + block;
        T* to = a + next * n + next;
        subtract_product<T>(m - next, n - next, block, {left + b * m + next, 1, m}, {y + next, n, 1}, to, n);
        subtract_product<T>(m - next, n - next, block, {x + next, 1, m}, {right + b * n + next, n, 1}, to, n);
    }
    dispatch<Bidiagonalise<T>>(m - b, n - b, a + b * n + b, n, d + b, e + b, left + b * m + b, m, tau_left + b, right + b * n + b, n, tau_right + b, scratch);
}

// The smaller singular value of [f g; 0 h].
template <class T>
T smaller_singular_value(T f, T g, T h) {
    f = scalar_abs(f), g = scalar_abs(g), h = scalar_abs(h);
    const T least = f < h ? f : h, most = f < h ? h : f;
    if (least == T(0)) return T(0);
    const T sum = 1 + least / most, difference = (most - least) / most;
    if (g < most) {
        const T u = (g / most) * (g / most);
        return least * (2 / (scalar_sqrt(sum * sum + u) + scalar_sqrt(difference * difference + u)));
    }
    const T u = most / g;
    if (u == T(0)) return least * most / g;
    const T c = 1 / (scalar_sqrt(1 + (sum * u) * (sum * u)) + scalar_sqrt(1 + (difference * u) * (difference * u)));
    return least * c * u * 2;
}

// Singular values of an upper bidiagonal matrix in place of d (any order and sign), with small relative errors: implicit
// QR steps, with a zero shift where a shift would spoil small values (Demmel and Kahan, 1990). e is used up. The rotations
// of rows (for U) and of columns (for V) go into the two logs, where there are such. False where 6 n^2 rotations a value
// do not do.
template <class T, class Flush>
bool bidiagonal_singular_values(long n, T* d, T* e, RotationLog<T>* left, RotationLog<T>* right, Flush flush) {
    constexpr T eps = epsilon<T> / 2;
    constexpr T tolerance = (std::is_same_v<T, float> ? T(10) : T(90)) * eps;
    if (n <= 1) return true;
    // A lower bound of the smallest singular value says what is negligible.
    T least = scalar_abs(d[0]);
    {
        T mu = least;
        for (long i = 1; i < n && least != T(0); ++i) {
            mu = scalar_abs(d[i]) * (mu / (mu + scalar_abs(e[i - 1])));
            least = mu < least ? mu : least;
        }
    }
    const T floor = static_cast<T>(6.0 * static_cast<double>(n) * static_cast<double>(n)) * smallest<T>;
    T threshold = tolerance * (least / scalar_sqrt(static_cast<T>(n)));
    threshold = threshold > floor ? threshold : floor;
    double budget = 6.0 * static_cast<double>(n) * static_cast<double>(n);
    long high = n - 1, old_low = -1, old_high = -1;
    bool down = true;  // bulges are chased from the top to the bottom
    while (high > 0) {
        if (scalar_abs(d[high]) <= threshold) d[high] = T(0);
        T most = scalar_abs(d[high]);
        long low = high;
        while (low > 0) {
            const T beside = scalar_abs(e[low - 1]);
            if (beside <= threshold) {
                e[low - 1] = T(0);
                break;
            }
            --low;
            const T here = scalar_abs(d[low]);
            if (here <= threshold) d[low] = T(0);
            most = here > most ? here : most;
            most = beside > most ? beside : most;
        }
        if (low == high) {
            --high;
            continue;
        }
        if (low > old_high || high < old_low || old_low < 0) down = scalar_abs(d[low]) >= scalar_abs(d[high]);
        // What is small next to the value that it would change.
        T bound = T(0);
        bool split = false;
        if (down) {
            if (scalar_abs(e[high - 1]) <= tolerance * scalar_abs(d[high])) {
                e[high - 1] = T(0);
                continue;
            }
            T mu = scalar_abs(d[low]);
            bound = mu;
            for (long i = low; i < high && !split; ++i) {
                if (scalar_abs(e[i]) <= tolerance * mu) {
                    e[i] = T(0);
                    split = true;
                }
                mu = scalar_abs(d[i + 1]) * (mu / (mu + scalar_abs(e[i])));
                bound = mu < bound ? mu : bound;
            }
        } else {
            if (scalar_abs(e[low]) <= tolerance * scalar_abs(d[low])) {
                e[low] = T(0);
                continue;
            }
            T mu = scalar_abs(d[high]);
            bound = mu;
            for (long i = high - 1; i >= low && !split; --i) {
                if (scalar_abs(e[i]) <= tolerance * mu) {
                    e[i] = T(0);
                    split = true;
                }
                mu = scalar_abs(d[i]) * (mu / (mu + scalar_abs(e[i])));
                bound = mu < bound ? mu : bound;
            }
        }
        if (split) continue;
        old_low = low;
        old_high = high;
        const long count = high - low;
        budget -= static_cast<double>(count);
        if (budget < 0) return false;
        T shift = T(0);
        const T limit = T(0.01) * tolerance > eps ? T(0.01) * tolerance : eps;
        if (static_cast<T>(n) * tolerance * (bound / most) > limit) {
            const T end = scalar_abs(down ? d[low] : d[high]);
            shift = down ? smaller_singular_value(d[high - 1], e[high - 1], d[high]) : smaller_singular_value(d[low], e[low], d[low + 1]);
            if (end > T(0) && (shift / end) * (shift / end) < eps) shift = T(0);
        }
        if (left != nullptr) {
            if (!left->room(count) || !right->room(count)) flush();
            left->begin(low, count, down);
            right->begin(low, count, down);
        }
        // Downwards the first rotation of a pair turns columns, upwards it turns rows.
        const auto log = [&](T c1, T s1, T c2, T s2) {
            if (left == nullptr) return;
            if (down) {
                right->add(c1, s1);
                left->add(c2, s2);
            } else {
                left->add(c1, -s1);
                right->add(c2, -s2);
            }
        };
        const long from = down ? low : high, to = down ? high : low, step = down ? 1 : -1;
        // The element of e between i and i + step.
        const auto edge = [&](long i) -> T& { return e[down ? i : i - 1]; };
        if (shift == T(0)) {
            T c = T(1), c_old = T(1), s_old = T(0);
            for (long i = from; i != to; i += step) {
                const Rotation<T> first = make_rotation(d[i] * c, edge(i));
                if (i != from) edge(i - step) = s_old * first.r;
                const Rotation<T> second = make_rotation(c_old * first.r, d[i + step] * first.s);
                d[i] = second.r;
                c = first.c;
                c_old = second.c;
                s_old = second.s;
                log(first.c, first.s, second.c, second.s);
            }
            const T h = d[to] * c;
            d[to] = h * c_old;
            edge(to - step) = h * s_old;
        } else {
            T f = (scalar_abs(d[from]) - shift) * (with_sign(T(1), d[from]) + shift / d[from]), g = edge(from);
            for (long i = from; i != to; i += step) {
                const Rotation<T> first = make_rotation(f, g);
                if (i != from) edge(i - step) = first.r;
                f = first.c * d[i] + first.s * edge(i);
                edge(i) = first.c * edge(i) - first.s * d[i];
                g = first.s * d[i + step];
                d[i + step] = first.c * d[i + step];
                const Rotation<T> second = make_rotation(f, g);
                d[i] = second.r;
                f = second.c * edge(i) + second.s * d[i + step];
                d[i + step] = second.c * d[i + step] - second.s * edge(i);
                if (i + step != to) {
                    g = second.s * edge(i + step);
                    edge(i + step) = second.c * edge(i + step);
                }
                log(first.c, first.s, second.c, second.s);
            }
            edge(to - step) = f;
        }
        if (scalar_abs(edge(to - step)) <= threshold) edge(to - step) = T(0);
    }
    return true;
}

}  // namespace linalg_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
