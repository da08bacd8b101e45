// LU factorisation with partial pivoting, P A = L U, in place, and what is solved with it.
#pragma once

#include <tenon/kernels/cpu/linalg/lanes.hpp>
#include <tenon/kernels/cpu/linalg/triangular.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

namespace reference {
// pivots[k] = 1 + the row that row k was exchanged with. 0, or 1 + the first k whose pivot is zero.
template <class T>
long lu(long m, long n, T* a, long lda, std::int32_t* pivots) {
    long zero = 0;
    for (long k = 0; k < (m < n ? m : n); ++k) {
        long p = k;
        for (long i = k + 1; i < m; ++i)
            if (linalg_impl::scalar_abs(a[i * lda + k]) > linalg_impl::scalar_abs(a[p * lda + k])) p = i;
        pivots[k] = static_cast<std::int32_t>(p + 1);
        if (a[p * lda + k] == T(0)) {
            if (zero == 0) zero = k + 1;
            continue;
        }
        for (long j = 0; j < n && p != k; ++j) {
            const T x = a[k * lda + j];
            a[k * lda + j] = a[p * lda + j];
            a[p * lda + j] = x;
        }
        for (long i = k + 1; i < m; ++i) {
            const T l = a[i * lda + k] / a[k * lda + k];
            a[i * lda + k] = l;
            for (long j = k + 1; j < n; ++j) a[i * lda + j] -= l * a[k * lda + j];
        }
    }
    return zero;
}
}  // namespace reference

namespace linalg_impl {

inline constexpr long lu_leaf = 16;

// A panel of up to W columns in scratch rows of exactly W elements: every row is updated by whole vectors, the columns
// that are done by zeros. The next pivot is looked for on the way.
template <int N, int W, class T>
TENON_ALWAYS_INLINE long lu_panel(long m, long n, T* a, long lda, std::int32_t* pivots, T* scratch) {
    constexpr int width = N < W ? N : W, vectors = W / width;
    using V = simd<T, width>;
    for (long i = 0; i < m; ++i) {
        for (long j = 0; j < n; ++j) scratch[i * W + j] = a[i * lda + j];
        for (long j = n; j < W; ++j) scratch[i * W + j] = T(0);
    }
    long zero = 0, p = 0;
    for (long i = 1; i < m; ++i)
        if (scalar_abs(scratch[i * W]) > scalar_abs(scratch[p * W])) p = i;
    const long steps = m < n ? m : n;
    for (long k = 0; k < steps; ++k) {
        pivots[k] = static_cast<std::int32_t>(p + 1);
        T* row = scratch + k * W;
        const T pivot = scratch[p * W + k];
        if (pivot == T(0)) {
            if (zero == 0) zero = k + 1;
            if (k + 1 < steps) {
                p = k + 1;
                for (long i = k + 2; i < m; ++i)
                    if (scalar_abs(scratch[i * W + k + 1]) > scalar_abs(scratch[p * W + k + 1])) p = i;
            }
            continue;
        }
        if (p != k) {
            T* other = scratch + p * W;
            TENON_UNROLL(8)
            for (int v = 0; v < vectors; ++v) {
                const V x = V::load(row + v * width), y = V::load(other + v * width);
                y.store(row + v * width);
                x.store(other + v * width);
            }
        }
        T masked[W];
        for (int j = 0; j < W; ++j) masked[j] = j > k ? row[j] : T(0);
        V u[vectors];
        TENON_UNROLL(8)
        for (int v = 0; v < vectors; ++v) u[v] = V::load(masked + v * width);
        // The inverse overflows where the pivot is next to nothing; small matrices divide, as they do side by side.
        const bool invert = W > 8 && scalar_abs(pivot) >= smallest<T>;
        const T inverse = invert ? T(1) / pivot : T(0);
        T most = T(-1);
        p = k + 1;
        const long next = k + 1 < W ? k + 1 : k;
        for (long i = k + 1; i < m; ++i) {
            T* to = scratch + i * W;
            const T l = invert ? to[k] * inverse : to[k] / pivot;
            const V vl(l);
            TENON_UNROLL(8)
            for (int v = 0; v < vectors; ++v) (V::load(to + v * width) - vl * u[v]).store(to + v * width);
            to[k] = l;
            const T size = scalar_abs(to[next]);
            if (size > most) {
                most = size;
                p = i;
            }
        }
    }
    for (long i = 0; i < m; ++i)
        for (long j = 0; j < n; ++j) a[i * lda + j] = scratch[i * W + j];
    return zero;
}
template <class T>
struct LuLeaf {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(long first, long last, long m, long n, T* a, long lda, long stride, std::int32_t* pivots, long pivots_stride,
                                        long* failed, T* scratch) {
        constexpr int N = width_of<T, Lanes>;
        for (long p = first; p < last; ++p) {
            T* to = a + p * stride;
            std::int32_t* swaps = pivots + p * pivots_stride;
            if (n <= 4) failed[p] = lu_panel<N, 4>(m, n, to, lda, swaps, scratch);
            else if (n <= 8) failed[p] = lu_panel<N, 8>(m, n, to, lda, swaps, scratch);
            else failed[p] = lu_panel<N, 16>(m, n, to, lda, swaps, scratch);
        }
    }
};
template <class T>
void lu_leaves(long first, long last, long m, long n, T* a, long lda, long stride, std::int32_t* pivots, long pivots_stride, long* failed) {
    const Workspace::Lease scratch(leaf_workspace, static_cast<std::size_t>(m * lu_leaf) * sizeof(T));
    dispatch<LuLeaf<T>>(first, last, m, n, a, lda, stride, pivots, pivots_stride, failed, scratch.template as<T>());
}

template <class T>
void swap_rows(long n, T* x, T* y) {
    for (long j = 0; j < n; ++j) {
        const T t = x[j];
        x[j] = y[j];
        y[j] = t;
    }
}
// Exchanges the rows of B[., m] as the factorisation did (or back again).
template <class T>
void apply_pivots(long count, const std::int32_t* pivots, long m, T* b, long ldb, bool back = false) {
    // Columns that stay in cache over all exchanges.
    for (long c = 0; c < m; c += 256) {
        const long columns = m - c < 256 ? m - c : 256;
        for (long s = 0; s < count; ++s) {
            const long k = back ? count - 1 - s : s, p = pivots[k] - 1;
            if (p != k) swap_rows(columns, b + k * ldb + c, b + p * ldb + c);
        }
    }
}

template <class T>
long lu_halves(long m, long n, T* a, long lda, std::int32_t* pivots) {
    if (n <= lu_leaf) {
        long failed = 0;
        lu_leaves<T>(0, 1, m, n, a, lda, 0, pivots, 0, &failed);
        return failed;
    }
    const long steps = m < n ? m : n;
    // Columns beyond the square follow it in one go.
    long h = n > m ? m : (n / 2 + lu_leaf - 1) / lu_leaf * lu_leaf;
    if (h >= n) h = n / 2;
    const long left = h < steps ? h : steps;
    const long zero = lu_halves(m, h, a, lda, pivots);
    apply_pivots(left, pivots, n - h, a + h, lda);
    solve_triangular<T>(true, true, left, n - h, {a, lda, 1}, a + h, lda);
    if (m <= h) return zero;
    subtract_product<T>(m - h, n - h, h, {a + h * lda, lda, 1}, {a + h, lda, 1}, a + h * lda + h, lda);
    const long later = lu_halves(m - h, n - h, a + h * lda + h, lda, pivots + h);
    apply_pivots(steps - h, pivots + h, h, a + h * lda, lda);
    for (long k = h; k < steps; ++k) pivots[k] = static_cast<std::int32_t>(pivots[k] + h);
    return zero != 0 ? zero : later != 0 ? h + later : 0;
}

}  // namespace linalg_impl

// Factors `batch` matrices A[m, n] in place: the strict lower part holds L (its unit diagonal is not stored), the upper one
// U. pivots (min(m, n) a matrix) are LAPACK's: row k was exchanged with row pivots[k] - 1. failed[p] is 0, or 1 + the first
// k with U[k, k] = 0; the factorisation goes on all the same.
template <class T>
void lu(long batch, long m, long n, T* a, long lda, long stride, std::int32_t* pivots, long* failed) {
    namespace own = linalg_impl;
    const long steps = m < n ? m : n;
    if (steps <= 0) {
        for (long p = 0; p < batch; ++p) failed[p] = 0;
        return;
    }
    const double flops = static_cast<double>(m) * static_cast<double>(n) * (2.0 / 3 * static_cast<double>(steps) + 4);
    own::for_matrices(batch, flops, [&](long first, long last) {
        if (m <= own::lane_order && n <= own::lane_order && batch >= own::least_lanes)
            return dispatch<own::LuLanes<T>>(first, last, m, n, a, lda, stride, pivots, steps, failed);
        if (n <= own::lu_leaf) return own::lu_leaves(first, last, m, n, a, lda, stride, pivots, steps, failed);
        for (long p = first; p < last; ++p) failed[p] = own::lu_halves(m, n, a + p * stride, lda, pivots + p * steps);
    });
}

// A X = B (or A' X = B) from the factors of `batch` square matrices, X in the place of B[n, m]. A zero in U gives
// infinities and NaN.
template <class T>
void lu_solve(long batch, long n, long m, const T* a, long lda, long stride, const std::int32_t* pivots, bool transposed, T* b, long ldb, long b_stride) {
    namespace own = linalg_impl;
    const double flops = static_cast<double>(n) * static_cast<double>(m) * (2.0 * static_cast<double>(n) + 4);
    own::for_matrices(batch, flops, [&](long first, long last) {
        if (n <= own::lane_order && m <= own::lane_order && !transposed && batch >= own::least_lanes)
            return dispatch<own::LuSolveLanes<T>>(first, last, n, m, a, lda, stride, pivots, b, ldb, b_stride);
        for (long p = first; p < last; ++p) {
            const T* factors = a + p * stride;
            T* x = b + p * b_stride;
            if (!transposed) {
                own::apply_pivots(n, pivots + p * n, m, x, ldb);
                solve_triangular<T>(true, true, n, m, {factors, lda, 1}, x, ldb);
                solve_triangular<T>(false, false, n, m, {factors, lda, 1}, x, ldb);
            } else {
                solve_triangular<T>(true, false, n, m, {factors, 1, lda}, x, ldb);
                solve_triangular<T>(false, true, n, m, {factors, 1, lda}, x, ldb);
                own::apply_pivots(n, pivots + p * n, m, x, ldb, true);
            }
        }
    });
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
