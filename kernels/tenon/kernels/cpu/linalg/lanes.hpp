// Small matrices of a batch side by side: lane l of every vector belongs to matrix first + l. What one matrix of order 4 or 8
// has no width for, eight of them have.
//
// Every element sees the same operations in the same order as in the kernels for one matrix, which the first few of a batch
// are left to: the bits of a matrix do not depend on its batch.
#pragma once

#include <tenon/kernels/cpu/linalg/vectors.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace linalg_impl {

inline constexpr long lane_order = 8, least_lanes = 4;
template <class T, int N>
struct LaneBuffer { alignas(64) T values[lane_order * lane_order * N]; };

// Element (i, j) of `count` <= N matrices, `stride` apart, as vector i * columns + j of the buffer; the last matrix fills the rest.
template <int N, class T>
TENON_ALWAYS_INLINE void load_lanes(long count, long rows, long columns, const T* a, long lda, long stride, T* out) {
    for (long l = 0; l < N; ++l) {
        const T* from = a + (l < count ? l : count - 1) * stride;
        for (long i = 0; i < rows; ++i)
            for (long j = 0; j < columns; ++j) out[(i * columns + j) * N + l] = from[i * lda + j];
    }
}
// Back into their matrices; with lower the elements j <= i alone.
template <int N, class T>
TENON_ALWAYS_INLINE void store_lanes(long count, long rows, long columns, bool lower, const T* in, T* a, long lda, long stride) {
    for (long l = 0; l < count; ++l) {
        T* to = a + l * stride;
        for (long i = 0; i < rows; ++i)
            for (long j = 0; j < (lower ? i + 1 : columns); ++j) to[i * lda + j] = in[(i * columns + j) * N + l];
    }
}

template <class T>
struct CholeskyLanes {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(long first, long last, long n, T* a, long lda, long stride, long* failed) {
        constexpr int N = width_of<T, Lanes>;
        using V = simd<T, N>;
        LaneBuffer<T, N> buffer;
        T* const x = buffer.values;
        for (long p = first; p < last; p += N) {
            const long count = last - p < N ? last - p : N;
            load_lanes<N>(count, n, n, a + p * stride, lda, stride, x);
            V minor(0);
            for (long k = 0; k < n; ++k) {
                const V square = V::load(x + (k * n + k) * N);
                minor = select(~(square > V(0)) & (minor == V(0)), V(T(k + 1)), minor);
                const V d = sqrt(square);
                d.store(x + (k * n + k) * N);
                for (long i = k + 1; i < n; ++i) (V::load(x + (i * n + k) * N) / d).store(x + (i * n + k) * N);
                for (long i = k + 1; i < n; ++i) {
                    const V l = V::load(x + (i * n + k) * N);
                    for (long j = k + 1; j <= i; ++j) (V::load(x + (i * n + j) * N) - l * V::load(x + (j * n + k) * N)).store(x + (i * n + j) * N);
                }
            }
            store_lanes<N>(count, n, n, true, x, a + p * stride, lda, stride);
            for (long l = 0; l < count; ++l) failed[p + l] = static_cast<long>(minor[static_cast<int>(l)]);
        }
    }
};

template <class T>
struct LuLanes {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(long first, long last, long m, long n, T* a, long lda, long stride, std::int32_t* pivots, long steps, long* failed) {
        constexpr int N = width_of<T, Lanes>;
        using V = simd<T, N>;
        LaneBuffer<T, N> buffer;
        T* const x = buffer.values;
        for (long p = first; p < last; p += N) {
            const long count = last - p < N ? last - p : N;
            load_lanes<N>(count, m, n, a + p * stride, lda, stride, x);
            V zero_at(0);
            for (long k = 0; k < steps; ++k) {
                T* const row = x + k * n * N;
                V most = abs(V::load(row + k * N)), where{T(k)};
                for (long i = k + 1; i < m; ++i) {
                    const V size = abs(V::load(x + (i * n + k) * N));
                    const auto larger = size > most;
                    most = select(larger, size, most);
                    where = select(larger, V(T(i)), where);
                }
                for (long l = 0; l < count; ++l) pivots[(p + l) * steps + k] = static_cast<std::int32_t>(where[static_cast<int>(l)]) + 1;
                for (long i = k + 1; i < m; ++i) {
                    const auto chosen = where == V(T(i));
                    T* const other = x + i * n * N;
                    for (long j = 0; j < n; ++j) {
                        const V u = V::load(row + j * N), v = V::load(other + j * N);
                        select(chosen, v, u).store(row + j * N);
                        select(chosen, u, v).store(other + j * N);
                    }
                }
                const V pivot = V::load(row + k * N);
                const auto zero = pivot == V(0);
                zero_at = select(zero & (zero_at == V(0)), V(T(k + 1)), zero_at);
                for (long i = k + 1; i < m; ++i) {
                    T* const to = x + i * n * N;
                    const V before = V::load(to + k * N), l = select(zero, before, before / pivot);
                    l.store(to + k * N);
                    for (long j = k + 1; j < n; ++j) (V::load(to + j * N) - l * V::load(row + j * N)).store(to + j * N);
                }
            }
            store_lanes<N>(count, m, n, false, x, a + p * stride, lda, stride);
            for (long l = 0; l < count; ++l) failed[p + l] = static_cast<long>(zero_at[static_cast<int>(l)]);
        }
    }
};

// A X = B from the factors, up to eight columns.
template <class T>
struct LuSolveLanes {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(long first, long last, long n, long m, const T* a, long lda, long stride, const std::int32_t* pivots, T* b, long ldb,
                                        long b_stride) {
        constexpr int N = width_of<T, Lanes>;
        using V = simd<T, N>;
        LaneBuffer<T, N> factors, sides;
        T *const f = factors.values, *const x = sides.values;
        for (long p = first; p < last; p += N) {
            const long count = last - p < N ? last - p : N;
            for (long l = 0; l < count; ++l)
                for (long k = 0; k < n; ++k) {
                    const long q = pivots[(p + l) * n + k] - 1;
                    if (q == k) continue;
                    T *u = b + (p + l) * b_stride + k * ldb, *v = b + (p + l) * b_stride + q * ldb;
                    for (long c = 0; c < m; ++c) {
                        const T t = u[c];
                        u[c] = v[c];
                        v[c] = t;
                    }
                }
            load_lanes<N>(count, n, n, a + p * stride, lda, stride, f);
            load_lanes<N>(count, n, m, b + p * b_stride, ldb, b_stride, x);
            for (long i = 0; i < n; ++i)
                for (long j = 0; j < i; ++j) {
                    const V l = V::load(f + (i * n + j) * N);
                    for (long c = 0; c < m; ++c) (V::load(x + (i * m + c) * N) - l * V::load(x + (j * m + c) * N)).store(x + (i * m + c) * N);
                }
            for (long i = n - 1; i >= 0; --i) {
                for (long j = n - 1; j > i; --j) {
                    const V u = V::load(f + (i * n + j) * N);
                    for (long c = 0; c < m; ++c) (V::load(x + (i * m + c) * N) - u * V::load(x + (j * m + c) * N)).store(x + (i * m + c) * N);
                }
                const V d = V::load(f + (i * n + i) * N);
                for (long c = 0; c < m; ++c) (V::load(x + (i * m + c) * N) / d).store(x + (i * m + c) * N);
            }
            store_lanes<N>(count, n, m, false, x, b + p * b_stride, ldb, b_stride);
        }
    }
};

}  // namespace linalg_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
