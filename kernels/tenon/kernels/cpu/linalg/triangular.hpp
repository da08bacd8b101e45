// Triangular systems with many right sides: op(A) X = B and X op(A) = B, in place in B.
#pragma once

#include <tenon/kernels/cpu/gemm.hpp>
#include <tenon/kernels/cpu/linalg/vectors.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

namespace reference {
// A X = B for a triangular A[n, n] and B[n, m]; of A only the named triangle is read, its diagonal only where not unit.
template <class T>
void solve_triangular(bool lower, bool unit, long n, long m, MatrixView<T> a, T* b, long ldb) {
    const auto at = [&](long i, long j) { return a.data[i * a.row_stride + j * a.column_stride]; };
    for (long step = 0; step < n; ++step) {
        const long i = lower ? step : n - 1 - step;
        for (long c = 0; c < m; ++c) {
            T x = b[i * ldb + c];
            for (long j = lower ? 0 : i + 1; j < (lower ? i : n); ++j) x -= at(i, j) * b[j * ldb + c];
            b[i * ldb + c] = unit ? x : x / at(i, i);
        }
    }
}
}  // namespace reference

namespace linalg_impl {

inline constexpr long triangular_leaf = 32;

// Rows of a strip of W vectors, one after the other; each stays in registers while the finished ones are taken away.
template <int N, int W, class T>
TENON_ALWAYS_INLINE void solve_strip(long n, const T* a, long row_stride, long column_stride, bool unit, T* b, long ldb) {
    using V = simd<T, N>;
    for (long i = 0; i < n; ++i) {
        V x[W];
        TENON_UNROLL(8)
        for (int w = 0; w < W; ++w) x[w] = V::load(b + i * ldb + w * N);
        for (long j = 0; j < i; ++j) {
            const V l(a[i * row_stride + j * column_stride]);
            TENON_UNROLL(8)
            for (int w = 0; w < W; ++w) x[w] -= l * V::load(b + j * ldb + w * N);
        }
        if (!unit) {
            const V d(a[i * row_stride + i * column_stride]);
            TENON_UNROLL(8)
            for (int w = 0; w < W; ++w) x[w] = x[w] / d;
        }
        TENON_UNROLL(8)
        for (int w = 0; w < W; ++w) x[w].store(b + i * ldb + w * N);
    }
}
template <class T>
TENON_ALWAYS_INLINE void solve_column(long n, const T* a, long row_stride, long column_stride, bool unit, T* b, long ldb) {
    for (long i = 0; i < n; ++i) {
        T x = b[i * ldb];
        for (long j = 0; j < i; ++j) x -= a[i * row_stride + j * column_stride] * b[j * ldb];
        b[i * ldb] = unit ? x : x / a[i * row_stride + i * column_stride];
    }
}
template <int N, class T>
TENON_ALWAYS_INLINE void solve_narrow(long n, long m, const T* a, long row_stride, long column_stride, bool unit, T* b, long ldb) {
    long c = 0;
    for (; c + N <= m; c += N) solve_strip<N, 1>(n, a, row_stride, column_stride, unit, b + c, ldb);
    if constexpr (N > 2) {
        if (c < m) solve_narrow<N / 2>(n, m - c, a, row_stride, column_stride, unit, b + c, ldb);
    } else {
        if (c < m) solve_column(n, a, row_stride, column_stride, unit, b + c, ldb);
    }
}
// A lower triangle, rows from the first to the last. An upper one is the same with both orders reversed.
template <int N, class T>
TENON_ALWAYS_INLINE void solve_rows(long n, long m, const T* a, long row_stride, long column_stride, bool unit, T* b, long ldb) {
    long c = 0;
    for (; c + 8 * N <= m; c += 8 * N) solve_strip<N, 8>(n, a, row_stride, column_stride, unit, b + c, ldb);
    for (; c + 2 * N <= m; c += 2 * N) solve_strip<N, 2>(n, a, row_stride, column_stride, unit, b + c, ldb);
    if (c < m) solve_narrow<N>(n, m - c, a, row_stride, column_stride, unit, b + c, ldb);
}
template <class T>
struct SolveLeft {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(long n, long m, const T* a, long row_stride, long column_stride, bool unit, T* b, long ldb) {
        solve_rows<width_of<T, Lanes>>(n, m, a, row_stride, column_stride, unit, b, ldb);
    }
};
// X A = B is A' X' = B': rows of B are turned into columns of scratch, a block at a time.
template <class T>
struct SolveRight {
    static constexpr long block = 64;
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(long m, long n, const T* a, long row_stride, long column_stride, bool unit, T* b, long ldb, long column_step) {
        T scratch[triangular_leaf * block];
        for (long r = 0; r < m; r += block) {
            const long rows = m - r < block ? m - r : block;
            T* from = b + r * ldb;
            for (long i = 0; i < rows; ++i)
                for (long j = 0; j < n; ++j) scratch[j * block + i] = from[i * ldb + j * column_step];
            solve_rows<width_of<T, Lanes>>(n, rows, a, row_stride, column_stride, unit, scratch, block);
            for (long i = 0; i < rows; ++i)
                for (long j = 0; j < n; ++j) from[i * ldb + j * column_step] = scratch[j * block + i];
        }
    }
};

inline long half_of(long n) {
    const long half = (n / 2 + 15) / 16 * 16;
    return half < n ? half : n / 2;
}
template <class T>
MatrixView<T> part(MatrixView<T> a, long i, long j) {
    return {a.data + i * a.row_stride + j * a.column_stride, a.row_stride, a.column_stride};
}
// C -= A B
template <class T>
void subtract_product(long m, long n, long k, MatrixView<T> a, MatrixView<T> b, T* c, long ldc) {
    GemmOptions<T> options;
    options.accumulate = true;
    options.alpha = T(-1);
    gemm<T>(m, n, k, a, b, c, ldc, options);
}

}  // namespace linalg_impl

// A X = B for a triangular A[n, n] (any strides: a transpose is a swap of the two) and B[n, m] (rows ldb apart), X in the
// place of B. Of A only the named triangle is read, its diagonal only where not unit. Splits into halves joined by
// products down to leaves of 32 rows. A zero on the diagonal gives infinities and NaN.
template <class T>
void solve_triangular(bool lower, bool unit, long n, long m, MatrixView<T> a, T* b, long ldb) {
    namespace own = linalg_impl;
    if (n <= 0 || m <= 0) return;
    if (n <= own::triangular_leaf) {
        const T* first = lower ? a.data : a.data + (n - 1) * (a.row_stride + a.column_stride);
        const long row = lower ? a.row_stride : -a.row_stride, column = lower ? a.column_stride : -a.column_stride;
        T* top = lower ? b : b + (n - 1) * ldb;
        const long step = lower ? ldb : -ldb, chunk = 512;
        if (m < 2 * chunk) return dispatch<own::SolveLeft<T>>(n, m, first, row, column, unit, top, step);
        parallel_for((m + chunk - 1) / chunk, [&](long t) {
            const long c = t * chunk;
            dispatch<own::SolveLeft<T>>(n, m - c < chunk ? m - c : chunk, first, row, column, unit, top + c, step);
        });
        return;
    }
    const long h = own::half_of(n);
    if (lower) {
        solve_triangular<T>(lower, unit, h, m, a, b, ldb);
        own::subtract_product<T>(n - h, m, h, own::part(a, h, 0), {b, ldb, 1}, b + h * ldb, ldb);
        solve_triangular<T>(lower, unit, n - h, m, own::part(a, h, h), b + h * ldb, ldb);
    } else {
        solve_triangular<T>(lower, unit, n - h, m, own::part(a, h, h), b + h * ldb, ldb);
        own::subtract_product<T>(h, m, n - h, own::part(a, 0, h), {b + h * ldb, ldb, 1}, b, ldb);
        solve_triangular<T>(lower, unit, h, m, a, b, ldb);
    }
}

// X A = B for a triangular A[n, n] and B[m, n]; otherwise as above.
template <class T>
void solve_triangular_right(bool lower, bool unit, long m, long n, MatrixView<T> a, T* b, long ldb) {
    namespace own = linalg_impl;
    if (n <= 0 || m <= 0) return;
    if (n <= own::triangular_leaf) {
        // The transpose of an upper triangle is a lower one.
        const T* first = lower ? a.data + (n - 1) * (a.row_stride + a.column_stride) : a.data;
        const long row = lower ? -a.column_stride : a.column_stride, column = lower ? -a.row_stride : a.row_stride;
        T* left = lower ? b + (n - 1) : b;
        const long step = lower ? -1 : 1, chunk = 256;
        if (m < 2 * chunk) return dispatch<own::SolveRight<T>>(m, n, first, row, column, unit, left, ldb, step);
        parallel_for((m + chunk - 1) / chunk, [&](long t) {
            const long r = t * chunk;
            dispatch<own::SolveRight<T>>(m - r < chunk ? m - r : chunk, n, first, row, column, unit, left + r * ldb, ldb, step);
        });
        return;
    }
    const long h = own::half_of(n);
    if (lower) {
        solve_triangular_right<T>(lower, unit, m, n - h, own::part(a, h, h), b + h, ldb);
        own::subtract_product<T>(m, h, n - h, {b + h, ldb, 1}, own::part(a, h, 0), b, ldb);
        solve_triangular_right<T>(lower, unit, m, h, a, b, ldb);
    } else {
        solve_triangular_right<T>(lower, unit, m, h, a, b, ldb);
        own::subtract_product<T>(m, n - h, h, {b, ldb, 1}, own::part(a, 0, h), b + h, ldb);
        solve_triangular_right<T>(lower, unit, m, n - h, own::part(a, h, h), b + h, ldb);
    }
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
