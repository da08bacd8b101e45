// Reductions along one axis. The input is contiguous [outer, n, inner], the output [outer, inner].
//
// 16-bit types accumulate in float, integers in int64; long rows add block results in double. Which element meets which
// in what order depends on n, the type and the instruction set alone: neither the other axes nor the number of threads
// change a result's bits.
#pragma once

#include <tenon/kernels/cpu/fold.hpp>
#include <tenon/kernels/cpu/logsumexp.hpp>
#include <tenon/kernels/cpu/variance.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

namespace reference {

// The plain reductions: one output after the other, in extended precision (integers: int64).
template <class T, class Out>
void reduce_sum(long outer, long n, long inner, const T* x, Out* out) {
    using Wide = std::conditional_t<std::is_same_v<accumulator<T>, std::int64_t>, std::int64_t, long double>;
    each_output(outer, n, inner, x, [&](long at, const T* p) {
        Wide sum = 0;
        for (long k = 0; k < n; ++k) sum += static_cast<Wide>(static_cast<accumulator<T>>(p[k * inner]));
        out[at] = static_cast<Out>(static_cast<accumulator<T>>(sum));
    });
}
template <class T, class Out>
void reduce_prod(long outer, long n, long inner, const T* x, Out* out) {
    using Wide = std::conditional_t<std::is_same_v<accumulator<T>, std::int64_t>, std::uint64_t, long double>;
    each_output(outer, n, inner, x, [&](long at, const T* p) {
        Wide product = 1;
        for (long k = 0; k < n; ++k) product *= static_cast<Wide>(static_cast<accumulator<T>>(p[k * inner]));
        out[at] = static_cast<Out>(static_cast<accumulator<T>>(product));
    });
}
// sign = 1: max, -1: min.
template <class T>
void reduce_extreme(int sign, long outer, long n, long inner, const T* x, T* values, std::int64_t* indices) {
    each_output(outer, n, inner, x, [&](long at, const T* p) {
        long best = 0;
        for (long k = 1; k < n; ++k) {
            const accumulator<T> a = static_cast<accumulator<T>>(p[best * inner]), b = static_cast<accumulator<T>>(p[k * inner]);
            if (a == a && (b != b || (sign > 0 ? b > a : b < a))) best = k;
        }
        values[at] = p[best * inner];
        indices[at] = best;
    });
}

}  // namespace reference

namespace impl {

// The first position of value (any NaN if it is one) in x[0, n).
struct FindBody {
    template <int Lanes, class T, class A>
    static TENON_ALWAYS_INLINE void run(const T* x, long n, A value, std::int64_t* at) {
        constexpr int N = Lanes * 4 / int(sizeof(A));
        using V = simd<A, N>;
        const V wanted(value);
        auto hit = [&](long first) __attribute__((always_inline)) {
            const V v = load_lanes<A, N>(x + first);
            return value == value ? v == wanted : v != v;
        };
        long i = 0;
        for (; i + 4 * N <= n; i += 4 * N)
            if (math::impl::any((hit(i) | hit(i + N)) | (hit(i + 2 * N) | hit(i + 3 * N)))) break;
        for (; i < n; ++i) {
            const A v = static_cast<A>(x[i]);
            if (value == value ? v == value : v != v) break;
        }
        *at = i;
    }
};

// Extremes of rows with their first positions: the eight vectors of a step come down to one, which notes the step where it
// holds the best so far; that step alone is searched. NaN is watched apart, as in fold_extreme.
template <bool Max>
struct ExtremeRowsBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(const T* x, long n, long rows, T* values, std::int64_t* indices) {
        using A = typename fold_type<Max ? Fold::max : Fold::min, T>::A;
        constexpr int N = Lanes * 4 / int(sizeof(A)), step = 8 * N;
        using V = simd<A, N>;
        using Lane = typename V::Mask::Lane;
        using Steps = simd<Lane, N>;
        for (long row = 0; row < rows; ++row) {
            const T* p = x + row * n;
            V best(fold_identity<Max ? Fold::max : Fold::min, A>());
            Steps where(0);
            auto nan = best != best;
            long i = 0;
            for (; i + step <= n; i += step) {
                prefetch_ahead<step>(p + i + 2 * step);
                V v[8];
                TENON_UNROLL(8)
                for (int k = 0; k < 8; ++k) {
                    v[k] = load_lanes<A, N>(p + i + k * N);
                    if constexpr (std::is_floating_point_v<A>) nan = nan | (v[k] != v[k]);
                }
                take(best, where, better(better(better(v[0], v[1]), better(v[2], v[3])), better(better(v[4], v[5]), better(v[6], v[7]))), i / step);
            }
            for (long j = i; j < n; j += N) {
                // The last vector overlaps the one before it.
                const V v = load_lanes<A, N>(p + (j + N <= n ? j : n - N));
                if constexpr (std::is_floating_point_v<A>) nan = nan | (v != v);
                take(best, where, v, i / step);
            }
            std::int64_t at = 0;
            if (std::is_floating_point_v<A> && TENON_UNLIKELY(math::impl::any(nan))) {
                FindBody::run<Lanes>(p, n, A(0) / A(0), &at);
            } else {
                const A value = best_lane<Max>(best);
                const Steps never(static_cast<Lane>(n));
                const long begin = long(best_lane<false>(select(best == V(value), where, never))) * step;
                // (Nothing here is a branch on the data.)
                Steps position = never;
                for (long j = begin; j < begin + step && j < n; j += N) {
                    const long from = j + N <= n ? j : n - N;
                    const Steps here = select(load_lanes<A, N>(p + from) == V(value), lane_numbers<Lane, N>() + Steps(static_cast<Lane>(from)), never);
                    position = select(here < position, here, position);
                }
                at = long(best_lane<false>(position));
            }
            indices[row] = at;
            if (values != nullptr) values[row] = p[at];
        }
    }
    template <class V>
    static TENON_ALWAYS_INLINE V better(const V& a, const V& b) { return Max ? select(b > a, b, a) : select(b < a, b, a); }
    template <class V, class Steps>
    static TENON_ALWAYS_INLINE void take(V& best, Steps& where, const V& v, long step) {
        const auto larger = Max ? v > best : v < best;
        best = select(larger, v, best);
        where = select(larger, Steps(static_cast<typename V::Mask::Lane>(step)), where);
    }
};

// Value and index per column; a later element wins only if it is better, or the first NaN.
template <bool Max>
struct ExtremeColumnsBody {
    template <int Lanes, class T, class A>
    static TENON_ALWAYS_INLINE void run(const T* x, long n, long stride, long width, A* values, std::int64_t* indices) {
        constexpr int N = Lanes * 4 / int(sizeof(A));
        using Lane = typename simd<A, N>::Mask::Lane;
        Lane at[fold_width];
        if (width < N) {
            column<true, A, N>(x, n, stride, values, at, width);
        } else if (width <= 4 * N) {
            for (long j = 0; j < width; j += N) {
                if (j + N > width) j = width - N;  // the last vector overlaps the one before it
                column<false, A, N>(x + j, n, stride, values + j, at + j, N);
            }
        } else {
            // Row by row, with the best so far and its row in L1: wide rows are then read in memory order.
            for (long j = 0; j + N <= width; j += N) load_lanes<A, N>(x + j).store(values + j);
            for (long j = 0; j < width; ++j) at[j] = 0;
            // Four rows per visit.
            for (long r = 1; r < n; r += 4) {
                const long deep = n - r < 4 ? n - r : 4;
                const T* p = x + r * stride;
                for (long j = 0; j + N <= width; j += N) {
                    simd<A, N> best = simd<A, N>::load(values + j);
                    simd<Lane, N> where = simd<Lane, N>::load(at + j);
                    if (deep == 4) {
                        prefetch_visit<4>(p + j, stride);
                        TENON_UNROLL(4)
                        for (long q = 0; q < 4; ++q) step(best, where, load_lanes<A, N>(p + q * stride + j), r + q);
                    } else {
                        for (long q = 0; q < deep; ++q) step(best, where, load_lanes<A, N>(p + q * stride + j), r + q);
                    }
                    best.store(values + j);
                    where.store(at + j);
                }
            }
            if (width % N != 0) column<false, A, N>(x + width - N, n, stride, values + width - N, at + width - N, N);
        }
        for (long j = 0; j < width; ++j) indices[j] = static_cast<std::int64_t>(at[j]);
    }
    template <class A, int N, class Lane>
    static TENON_ALWAYS_INLINE void step(simd<A, N>& best, simd<Lane, N>& where, const simd<A, N>& v, long r) {
        auto take = Max ? v > best : v < best;
        // Better or NaN, unless there has been a NaN.
        if constexpr (std::is_floating_point_v<A>) take = ~(Max ? v <= best : v >= best) & (best == best);
        best = select(take, v, best);
        where = select(take, simd<Lane, N>(r), where);
    }
    template <bool Part, class A, int N, class T, class Lane>
    static TENON_ALWAYS_INLINE void column(const T* x, long n, long stride, A* values, Lane* at, long count) {
        simd<A, N> best = load_some<Part, A, N>(x, count);
        simd<Lane, N> where(0);
        for (long r = 1; r < n; ++r) step(best, where, load_some<Part, A, N>(x + r * stride, count), r);
        store_some<Part, A, N>(values, best, count);
        store_some<Part, Lane, N>(at, where, count);
    }
};

template <bool Max, class T>
void reduce_extreme(const char* name, long outer, long n, long inner, const T* x, T* values, std::int64_t* indices) {
    constexpr Fold kind = Max ? Fold::max : Fold::min;
    using A = typename fold_type<kind, T>::A;
    using Wide = typename fold_type<kind, T>::Wide;
    if (outer <= 0 || inner <= 0) return;
    if (n <= 0) fail<ShapeError>(name, ": expected at least one element along the axis, got 0");
    if (indices == nullptr) {
        fold_axis<kind>(outer, n, inner, x, [&](long at, Wide total) { values[at] = static_cast<T>(static_cast<A>(total)); });
        return;
    }
    if (inner == 1 && n > fold_short && n <= fold_part) {
        const long rows = n < 32768 ? 32768 / n : 1;
        parallel_for((outer + rows - 1) / rows, 0.15 * double(outer) * double(n), [&](long task) {
            const long first = task * rows, count = outer - first < rows ? outer - first : rows;
            dispatch<ExtremeRowsBody<Max>, reduce_isa>(x + first * n, n, count, values != nullptr ? values + first : nullptr, indices + first);
        });
        return;
    }
    if (inner == 1) {
        // The extreme first, then where it is: the second pass stops early and its rows are still in cache.
        const Scratch<Wide> found(n > fold_part ? outer : 0);
        auto locate = [&](long row, Wide total) {
            std::int64_t at = 0;
            dispatch<FindBody, reduce_isa>(x + row * n, n, static_cast<A>(total), &at);
            indices[row] = at;
            if (values != nullptr) values[row] = x[row * n + at];
        };
        if (n <= fold_part) {
            fold_axis<kind>(outer, n, inner, x, locate);
        } else {
            fold_axis<kind>(outer, n, inner, x, [&](long row, Wide total) { found[row] = total; });
            parallel_for(outer, [&](long row) { locate(row, found[row]); });
        }
        return;
    }
    long part = (n + fold_parts - 1) / fold_parts;
    if (part < fold_rows) part = fold_rows;
    const long parts = (n + part - 1) / part, most = fold_columns(outer * parts, inner), blocks = (inner + most - 1) / most;
    if (sizeof(A) == 4 && part >= 0x7fffffffl) fail<ShapeError>(name, ": the axis has ", n, " elements; over an inner axis at most 2^39 are supported");
    // Several parts: each leaves its best, and they meet in order.
    const Scratch<A> best(parts > 1 ? outer * parts * inner : 0);
    const Scratch<std::int64_t> where(parts > 1 ? outer * parts * inner : 0);
    parallel_for(outer * parts * blocks, 0.2 * double(outer) * double(n) * double(inner), [&](long task) {
        const long p = task % parts, j = task / parts % blocks * most, o = task / parts / blocks;
        const long width = inner - j < most ? inner - j : most, rows = n - p * part < part ? n - p * part : part;
        A local[fold_width];
        A* to = parts > 1 ? best.data() + (o * parts + p) * inner + j : static_cast<A*>(local);
        std::int64_t* at = parts > 1 ? where.data() + (o * parts + p) * inner + j : indices + o * inner + j;
        dispatch<ExtremeColumnsBody<Max>, reduce_isa>(x + (o * n + p * part) * inner + j, rows, inner, width, to, at);
        if (parts == 1 && values != nullptr)
            for (long k = 0; k < width; ++k) values[o * inner + j + k] = static_cast<T>(to[k]);
    });
    if (parts == 1) return;
    for (long o = 0; o < outer; ++o)
        for (long k = 0; k < inner; ++k) {
            A value = best[o * parts * inner + k];
            std::int64_t at = where[o * parts * inner + k];
            for (long p = 1; p < parts; ++p) {
                const A v = best[(o * parts + p) * inner + k];
                if (value == value && (v != v || (Max ? v > value : v < value))) {
                    value = v;
                    at = p * part + where[(o * parts + p) * inner + k];
                }
            }
            indices[o * inner + k] = at;
            if (values != nullptr) values[o * inner + k] = static_cast<T>(value);
        }
}

}  // namespace impl

// Sum over the axis; an empty axis gives 0. Out is T, or int64 for integers.
template <class T, class Out>
void reduce_sum(long outer, long n, long inner, const T* x, Out* out) {
    using Wide = typename impl::fold_type<impl::Fold::sum, T>::Wide;
    impl::fold_axis<impl::Fold::sum>(outer, n, inner, x, [&](long at, Wide total) { out[at] = static_cast<Out>(static_cast<accumulator<T>>(total)); });
}

// Mean over the axis (floating types); an empty axis gives NaN.
template <class T>
void reduce_mean(long outer, long n, long inner, const T* x, T* out) {
    const double count = double(n);
    impl::fold_axis<impl::Fold::sum>(outer, n, inner, x, [&](long at, double total) { out[at] = static_cast<T>(static_cast<accumulator<T>>(total / count)); });
}

// Product over the axis; an empty axis gives 1. Out is T, or int64 for integers (which wrap around).
template <class T, class Out>
void reduce_prod(long outer, long n, long inner, const T* x, Out* out) {
    using Wide = typename impl::fold_type<impl::Fold::prod, T>::Wide;
    impl::fold_axis<impl::Fold::prod>(outer, n, inner, x, [&](long at, Wide total) { out[at] = static_cast<Out>(static_cast<accumulator<T>>(total)); });
}

// Largest element over the axis and, unless indices is null, its first position (values may be null then); a NaN wins,
// the first one. Throws ShapeError for an empty axis.
template <class T>
void reduce_max(long outer, long n, long inner, const T* x, T* values, std::int64_t* indices) {
    impl::reduce_extreme<true>("max", outer, n, inner, x, values, indices);
}
// The same for the smallest.
template <class T>
void reduce_min(long outer, long n, long inner, const T* x, T* values, std::int64_t* indices) {
    impl::reduce_extreme<false>("min", outer, n, inner, x, values, indices);
}

// Largest / smallest |x| over the axis (floating types); NaN wins. Throws ShapeError for an empty axis.
template <class T>
void reduce_magnitude(bool largest, long outer, long n, long inner, const T* x, T* out) {
    using A = accumulator<T>;
    if (outer <= 0 || inner <= 0) return;
    if (n <= 0) fail<ShapeError>("norm: expected at least one element along the axis, got 0");
    auto finish = [&](long at, double total) { out[at] = static_cast<T>(static_cast<A>(total)); };
    if (largest) impl::fold_axis<impl::Fold::largest_magnitude>(outer, n, inner, x, finish);
    else impl::fold_axis<impl::Fold::smallest_magnitude>(outer, n, inner, x, finish);
}

// Backward of max and min (and of any selection of one element per output): dx[o, indices[o, i], i] gets dy[o, i], the
// rest 0; accumulate adds to dx instead.
template <class T>
void reduce_select_backward(long outer, long n, long inner, const T* dy, const std::int64_t* indices, T* dx, bool accumulate) {
    if (outer <= 0 || n <= 0 || inner <= 0) return;
    long group = 32768 / (n * inner);
    if (group < 1) group = 1;
    parallel_for((outer + group - 1) / group, 0.2 * double(outer) * double(n) * double(inner), [&](long task) {
        const long last = (task + 1) * group < outer ? (task + 1) * group : outer;
        for (long o = task * group; o < last; ++o) {
            T* block = dx + o * n * inner;
            if (!accumulate) std::memset(static_cast<void*>(block), 0, static_cast<std::size_t>(n * inner) * sizeof(T));
            for (long i = 0; i < inner; ++i) {
                T& to = block[indices[o * inner + i] * inner + i];
                const accumulator<T> d = static_cast<accumulator<T>>(dy[o * inner + i]);
                to = static_cast<T>(accumulate ? static_cast<accumulator<T>>(to) + d : d);
            }
        }
    });
}

namespace impl {
// Whether a product is far enough from the ends of T's range to be divided by its factors.
template <class T>
inline bool safe_product(T y) {
    constexpr double least = std::is_same_v<T, double> ? 0x1p-1000 : std::is_same_v<T, half> ? 0x1p-14 : 0x1p-120;
    constexpr double most = std::is_same_v<T, double> ? 0x1p1000 : std::is_same_v<T, half> ? 65504. : 0x1p120;
    const double v = static_cast<double>(static_cast<accumulator<T>>(y)), magnitude = v < 0 ? -v : v;
    return magnitude >= least && magnitude <= most;
}
template <class T>
inline void put(T* to, double value, bool accumulate) {
    const accumulator<T> v = static_cast<accumulator<T>>(value);
    *to = static_cast<T>(accumulate ? static_cast<accumulator<T>>(*to) + v : v);
}
}  // namespace impl

// Backward of the product: dx = dy times the product of the others; accumulate adds to dx. That is dy y / x where y is a
// plain number, and elsewhere (zeros, results out of range) the product of what comes before and what comes behind.
template <class T>
void reduce_prod_backward(long outer, long n, long inner, const T* x, const T* y, const T* dy, T* dx, bool accumulate) {
    if (outer <= 0 || n <= 0 || inner <= 0) return;
    const long rows = n * inner <= 32768 ? n : inner >= 32768 ? 1 : 32768 / inner, per = (n + rows - 1) / rows;
    long group = 32768 / (n * inner);
    if (group < 1) group = 1;
    parallel_for((outer + group - 1) / group * per, [&](long task) {
        for (long o = task / per * group; o < (task / per + 1) * group && o < outer; ++o) {
            const long first = task % per * rows, last = first + rows < n ? first + rows : n;
            for (long r = first; r < last; ++r)
                for (long i = 0; i < inner; ++i) {
                    const long at = (o * n + r) * inner + i, out = o * inner + i;
                    if (impl::safe_product(y[out]))
                        impl::put(dx + at, static_cast<double>(static_cast<accumulator<T>>(dy[out])) * static_cast<double>(static_cast<accumulator<T>>(y[out])) /
                                               static_cast<double>(static_cast<accumulator<T>>(x[at])), accumulate);
                }
        }
    });
    parallel_for(outer, [&](long o) {
        for (long i = 0; i < inner; ++i) {
            if (impl::safe_product(y[o * inner + i])) continue;
            const impl::Scratch<double> before(n);
            const long first = o * n * inner + i;
            double product = 1;
            for (long r = 0; r < n; ++r) {
                before[r] = product;
                product *= static_cast<double>(static_cast<accumulator<T>>(x[first + r * inner]));
            }
            product = static_cast<double>(static_cast<accumulator<T>>(dy[o * inner + i]));
            for (long r = n - 1; r >= 0; --r) {
                impl::put(dx + first + r * inner, before[r] * product, accumulate);
                product *= static_cast<double>(static_cast<accumulator<T>>(x[first + r * inner]));
            }
        }
    });
}

// x = sqrt(x), and its backward: dv = dy / (2 root), 0 where the root is.
template <class T>
void square_roots(long n, T* x) {
    for (long i = 0; i < n; ++i) {
        if constexpr (std::is_same_v<T, double>) x[i] = __builtin_sqrt(x[i]);
        else x[i] = static_cast<T>(__builtin_sqrtf(static_cast<float>(x[i])));
    }
}
template <class T>
void square_roots_backward(long n, const T* root, const T* dy, T* dv) {
    using A = accumulator<T>;
    for (long i = 0; i < n; ++i) {
        const A r = static_cast<A>(root[i]);
        dv[i] = static_cast<T>(r == A(0) ? A(0) : static_cast<A>(dy[i]) / (A(2) * r));
    }
}

#if defined(TENON_KERNEL_INSTANCE)
namespace impl {
TENON_KERNEL_INSTANCE void reduce_extreme<true, float>(const char*, long, long, long, const float*, float*, std::int64_t*);
TENON_KERNEL_INSTANCE void reduce_extreme<false, float>(const char*, long, long, long, const float*, float*, std::int64_t*);
TENON_KERNEL_INSTANCE void reduce_extreme<true, double>(const char*, long, long, long, const double*, double*, std::int64_t*);
TENON_KERNEL_INSTANCE void reduce_extreme<false, double>(const char*, long, long, long, const double*, double*, std::int64_t*);
}  // namespace impl
#endif

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
