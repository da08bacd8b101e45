// Reductions along one axis. The input is contiguous [outer, n, inner], the output [outer, inner].
//
// 16-bit types accumulate in float, integers in int64; long rows add block results in double. Which element meets which
// in what order depends on n, the type and the instruction set alone: neither the other axes nor the number of threads
// change a result's bits.
#pragma once

#include <tenon/base/dispatch.hpp>
#include <tenon/base/error.hpp>
#include <tenon/base/parallel.hpp>
#include <tenon/base/simd.hpp>
#include <tenon/base/simd_math.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

namespace impl {

template <class T>
struct accumulator_of { using type = std::int64_t; };
template <> struct accumulator_of<float> { using type = float; };
template <> struct accumulator_of<double> { using type = double; };
template <> struct accumulator_of<bf16> { using type = float; };
template <> struct accumulator_of<half> { using type = float; };

}  // namespace impl

// In what elements of T are added up: float for 16-bit types, int64 for integers.
template <class T>
using accumulator = typename impl::accumulator_of<T>::type;

namespace reference {

// The plain reductions: one output after the other, in extended precision (integers: int64).
template <class T, class F>
void each_output(long outer, long n, long inner, const T* x, F&& f) {
    for (long o = 0; o < outer; ++o)
        for (long i = 0; i < inner; ++i) f(o * inner + i, x + o * n * inner + i);
}
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
template <class T>
void reduce_var(long outer, long n, long inner, const T* x, long correction, T* variance, accumulator<T>* mean) {
    each_output(outer, n, inner, x, [&](long at, const T* p) {
        long double sum = 0, squares = 0;
        for (long k = 0; k < n; ++k) sum += double(accumulator<T>(p[k * inner]));
        const long double m = sum / static_cast<long double>(n);
        for (long k = 0; k < n; ++k) squares += (double(accumulator<T>(p[k * inner])) - m) * (double(accumulator<T>(p[k * inner])) - m);
        variance[at] = T(accumulator<T>(squares / static_cast<long double>(n > correction ? n - correction : 0)));
        mean[at] = accumulator<T>(m);
    });
}
template <class T>
void reduce_logsumexp(long outer, long n, long inner, const T* x, T* out) {
    each_output(outer, n, inner, x, [&](long at, const T* p) {
        double largest = -__builtin_inf();
        long double sum = 0;
        for (long k = 0; k < n; ++k) {
            const double v = double(accumulator<T>(p[k * inner]));
            if (v > largest || v != v) largest = v;
        }
        const double shift = largest - largest == 0 ? largest : 0;
        for (long k = 0; k < n; ++k) sum += __builtin_exp(double(accumulator<T>(p[k * inner])) - shift);
        out[at] = T(accumulator<T>(__builtin_log(double(sum)) + shift));
    });
}

}  // namespace reference

namespace impl {

enum class Fold { sum, prod, max, min, squares, exponentials, largest_magnitude, smallest_magnitude };

// The arithmetic type of a fold over T. The order of maxima needs no wider integers than int32 for the small ones.
template <Fold kind, class T>
struct fold_type {
    using A = std::conditional_t<(kind == Fold::max || kind == Fold::min) && std::is_integral_v<T> && sizeof(T) <= 4 &&
                                     !std::is_same_v<T, std::uint32_t>,
                                 std::int32_t, accumulator<T>>;
    // What block results are combined in.
    using Wide = std::conditional_t<std::is_floating_point_v<A>, double, A>;
};

template <class A>
TENON_ALWAYS_INLINE constexpr A lowest_value() {
    if constexpr (std::is_floating_point_v<A>) return -A(__builtin_inf());
    else return static_cast<A>(A(1) << (8 * sizeof(A) - 2)) * A(-2);
}
template <class A>
TENON_ALWAYS_INLINE constexpr A highest_value() {
    if constexpr (std::is_floating_point_v<A>) return A(__builtin_inf());
    else return ~lowest_value<A>();
}

template <Fold kind, class A>
TENON_ALWAYS_INLINE constexpr A fold_identity() {
    if constexpr (kind == Fold::prod) return A(1);
    else if constexpr (kind == Fold::max) return lowest_value<A>();
    else if constexpr (kind == Fold::min || kind == Fold::smallest_magnitude) return highest_value<A>();
    else return A(0);
}
template <Fold kind, class T, int N>
TENON_ALWAYS_INLINE simd<T, N> fold_combine(const simd<T, N>& a, const simd<T, N>& b) {
    if constexpr (kind == Fold::prod) return a * b;
    else if constexpr (kind == Fold::max || kind == Fold::largest_magnitude) return max(a, b);
    else if constexpr (kind == Fold::min || kind == Fold::smallest_magnitude) return min(a, b);
    else return a + b;
}
template <Fold kind, class A>
TENON_ALWAYS_INLINE A fold_scalars(A a, A b) {
    if constexpr (kind == Fold::prod) return a * b;
    else if constexpr (kind == Fold::max || kind == Fold::largest_magnitude) return b > a || b != b ? b : a;
    else if constexpr (kind == Fold::min || kind == Fold::smallest_magnitude) return b < a || b != b ? b : a;
    else return a + b;
}
// What is folded of an element; shift is the mean or the maximum where one is needed.
template <Fold kind, class V>
TENON_ALWAYS_INLINE V fold_map(const V& x, const V& shift) {
    if constexpr (kind == Fold::squares) {
        const V d = x - shift;
        return d * d;
    } else if constexpr (kind == Fold::exponentials) {
        return math::exp(x - shift);
    } else if constexpr (kind == Fold::largest_magnitude || kind == Fold::smallest_magnitude) {
        (void)shift;
        return math::abs(x);
    } else {
        (void)shift;
        return x;
    }
}

template <class A, int N, class T>
TENON_ALWAYS_INLINE simd<A, N> load_lanes(const T* p) {
    if constexpr (std::is_same_v<T, bf16> || std::is_same_v<T, half>) return load_as_float<N>(p);
    else return convert<A>(simd<T, N>::load(p));
}
template <class A, int N, class T>
TENON_ALWAYS_INLINE void store_lanes(T* p, const simd<A, N>& a) {
    if constexpr (std::is_same_v<T, bf16> || std::is_same_v<T, half>) store_float(p, a);
    else convert<T>(a).store(p);
}
// The first `count` lanes; the others hold zero / are left alone.
template <class A, int N, class T>
TENON_ALWAYS_INLINE simd<A, N> load_part(const T* p, long count) {
    T lane[N];
    __builtin_memset(static_cast<void*>(lane), 0, sizeof lane);
    __builtin_memcpy(static_cast<void*>(lane), p, static_cast<unsigned long>(count) * sizeof(T));
    return load_lanes<A, N>(lane);
}
template <class A, int N, class T>
TENON_ALWAYS_INLINE void store_part(T* p, const simd<A, N>& a, long count) {
    T lane[N];
    store_lanes<A, N>(lane, a);
    __builtin_memcpy(static_cast<void*>(p), lane, static_cast<unsigned long>(count) * sizeof(T));
}
// Lanes of which the last few may be absent. (A choice at run time between the two forms would go through memory.)
template <bool Part, class A, int N, class T>
TENON_ALWAYS_INLINE simd<A, N> load_some(const T* p, long count) {
    if constexpr (Part) return load_part<A, N>(p, count);
    else return load_lanes<A, N>(p);
}
template <bool Part, class A, int N, class T>
TENON_ALWAYS_INLINE void store_some(T* p, const simd<A, N>& a, long count) {
    if constexpr (Part) store_part<A, N>(p, a, count);
    else store_lanes<A, N>(p, a);
}
template <class A, int N>
TENON_ALWAYS_INLINE simd<A, N> lane_numbers() {
    simd<A, N> r(0);
    for (int i = 0; i < N; ++i) r.v[i] = A(i);
    return r;
}

// Eight lanes: these loops wait for memory or choose by comparisons, which g++ 12 takes apart in 64-byte vectors.
constexpr Isa reduce_isa = Isa::avx2;

constexpr long fold_block = 4096;    // elements added in A before a double takes over
constexpr long fold_part = 65536;    // least elements of a row that are worth a task of their own
constexpr long fold_parts = 256;     // most parts of a row
constexpr long fold_rows = 1024;     // rows of a column fold per part, at least
constexpr long fold_width = 2048;    // most columns per task: their accumulators stay in L1

// Columns per task: fewer when there would be too few tasks. Depends on the shape only, and no result depends on it.
constexpr long fold_columns(long tasks, long inner) {
    long width = fold_width;
    while (width > 128 && tasks * ((inner + width - 1) / width) < 8) width /= 2;
    return width;
}
constexpr long fold_short = 32;      // rows up to here are turned on their side: a vector's lanes are rows

// `rows` <= N rows of `columns`, turned so that row l is lane l; absent lanes hold zero.
template <class A, int N, class T>
TENON_ALWAYS_INLINE void turn_in(long rows, long columns, const T* x, A* buffer) {
    if (rows == N) {
        for (long c = 0; c < columns; ++c) {
            TENON_UNROLL(16)
            for (int l = 0; l < N; ++l) buffer[c * N + l] = static_cast<A>(x[l * columns + c]);
        }
        return;
    }
    for (long c = 0; c < columns; ++c)
        for (int l = 0; l < N; ++l) buffer[c * N + l] = l < rows ? static_cast<A>(x[l * columns + c]) : A(0);
}

template <Fold kind>
inline constexpr bool takes_larger = kind == Fold::max || kind == Fold::largest_magnitude;
template <Fold kind>
inline constexpr bool takes_smaller = kind == Fold::min || kind == Fold::smallest_magnitude;

// The extreme of one contiguous block. NaN is watched apart: one machine instruction each for the extreme and for NaN.
template <Fold kind, class A, int N, class T>
TENON_ALWAYS_INLINE A fold_extreme(const T* x, long n) {
    using V = simd<A, N>;
    const V identity(fold_identity<kind, A>());
    V a[4];
    TENON_UNROLL(4)
    for (int k = 0; k < 4; ++k) a[k] = identity;
    auto nan = identity != identity;
    auto take = [&](V& to, const V& from) __attribute__((always_inline)) {
        const V v = fold_map<kind>(from, identity);
        to = takes_larger<kind> ? select(v > to, v, to) : select(v < to, v, to);
        nan = nan | (v != v);
    };
    long i = 0;
    for (; i + 4 * N <= n; i += 4 * N) {
        TENON_UNROLL(4)
        for (int k = 0; k < 4; ++k) take(a[k], load_lanes<A, N>(x + i + k * N));
    }
    for (; i + N <= n; i += N) take(a[0], load_lanes<A, N>(x + i));
    // The last vector overlaps the one before it: twice is as good as once.
    if (i < n && n >= N) take(a[1], load_lanes<A, N>(x + n - N));
    else if (i < n) take(a[1], select(lane_numbers<A, N>() < V(A(n - i)), load_part<A, N>(x + i, n - i), identity));
    if (math::impl::any(nan)) return A(__builtin_nan(""));
    A lane[N];
    V all = takes_larger<kind> ? select(a[1] > a[0], a[1], a[0]) : select(a[1] < a[0], a[1], a[0]);
    const V other = takes_larger<kind> ? select(a[3] > a[2], a[3], a[2]) : select(a[3] < a[2], a[3], a[2]);
    all = takes_larger<kind> ? select(other > all, other, all) : select(other < all, other, all);
    all.store(lane);
    A best = lane[0];
    for (int k = 1; k < N; ++k) best = (takes_larger<kind> ? lane[k] > best : lane[k] < best) ? lane[k] : best;
    return best;
}

// Four accumulators, then halves: the order depends on n only.
template <Fold kind, class A, int N, class T>
TENON_ALWAYS_INLINE A fold_sums(const T* x, long n, A shift_value) {
    using V = simd<A, N>;
    const V shift(shift_value), identity(fold_identity<kind, A>());
    V a0 = identity, a1 = identity, a2 = identity, a3 = identity;
    long i = 0;
    for (; i + 4 * N <= n; i += 4 * N) {
        a0 = fold_combine<kind>(a0, fold_map<kind>(load_lanes<A, N>(x + i), shift));
        a1 = fold_combine<kind>(a1, fold_map<kind>(load_lanes<A, N>(x + i + N), shift));
        a2 = fold_combine<kind>(a2, fold_map<kind>(load_lanes<A, N>(x + i + 2 * N), shift));
        a3 = fold_combine<kind>(a3, fold_map<kind>(load_lanes<A, N>(x + i + 3 * N), shift));
    }
    for (; i + N <= n; i += N) a0 = fold_combine<kind>(a0, fold_map<kind>(load_lanes<A, N>(x + i), shift));
    if (i < n && n >= N) {
        // The last vector overlaps the one before it; the lanes seen already count for nothing.
        const auto fresh = lane_numbers<A, N>() >= V(A(N - (n - i)));
        a1 = fold_combine<kind>(a1, select(fresh, fold_map<kind>(load_lanes<A, N>(x + n - N), shift), identity));
    } else if (i < n) {
        const auto inside = lane_numbers<A, N>() < V(A(n - i));
        a1 = fold_combine<kind>(a1, select(inside, fold_map<kind>(load_part<A, N>(x + i, n - i), shift), identity));
    }
    const V all = fold_combine<kind>(fold_combine<kind>(a0, a1), fold_combine<kind>(a2, a3));
    A lane[N];
    all.store(lane);
    TENON_UNROLL(4)
    for (int half_of = N / 2; half_of > 0; half_of /= 2)
        for (int k = 0; k < half_of; ++k) lane[k] = fold_scalars<kind>(lane[k], lane[k + half_of]);
    return lane[0];
}

// The fold of one contiguous block.
template <Fold kind, class A, int N, class T>
TENON_ALWAYS_INLINE A fold_contiguous(const T* x, long n, A shift_value) {
    if constexpr ((takes_larger<kind> || takes_smaller<kind>) && std::is_floating_point_v<A>) {
        (void)shift_value;
        return fold_extreme<kind, A, N>(x, n);
    } else {
        return fold_sums<kind, A, N>(x, n, shift_value);
    }
}

// Items of a row fold: item = row * parts + p is elements [p * part, (p + 1) * part) of that row.
template <Fold kind>
struct FoldRowsBody {
    template <int Lanes, class T, class Wide>
    static TENON_ALWAYS_INLINE void run(const T* x, long n, long part, long parts, long first, long count, const Wide* shifts, Wide* out) {
        using A = typename fold_type<kind, T>::A;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        if (n <= fold_short) {
            A in[fold_short * N], shift[N] = {}, sums[N];
            for (long i = 0; i < count; i += N) {
                const long rows = count - i < N ? count - i : N;
                turn_in<A, N>(rows, n, x + (first + i) * n, in);
                if (shifts != nullptr)
                    for (long l = 0; l < rows; ++l) shift[l] = static_cast<A>(shifts[first + i + l]);
                const simd<A, N> s = simd<A, N>::load(shift);
                simd<A, N> a(fold_identity<kind, A>());
                for (long c = 0; c < n; ++c) a = fold_combine<kind>(a, fold_map<kind>(simd<A, N>::load(in + c * N), s));
                a.store(sums);
                for (long l = 0; l < rows; ++l) out[i + l] = static_cast<Wide>(sums[l]);
            }
            return;
        }
        for (long item = first; item < first + count; ++item) {
            const long row = item / parts, begin = (item % parts) * part;
            const long end = begin + part < n ? begin + part : n;
            const A shift = shifts != nullptr ? static_cast<A>(shifts[row]) : A(0);
            Wide total = fold_identity<kind, Wide>();
            for (long at = begin; at < end; at += fold_block) {
                const long length = end - at < fold_block ? end - at : fold_block;
                total = fold_scalars<kind, Wide>(total, static_cast<Wide>(fold_contiguous<kind, A, N>(x + row * n + at, length, shift)));
            }
            out[item - first] = total;
        }
    }
};

// Columns [0, width) of `rows` rows that lie `stride` apart: one accumulator per column, each in the order of the rows.
template <Fold kind>
struct FoldColumnsBody {
    template <int Lanes, class T, class A>
    static TENON_ALWAYS_INLINE void run(const T* x, long rows, long stride, long width, const A* shifts, A* out) {
        constexpr int N = Lanes * 4 / int(sizeof(A));
        using V = simd<A, N>;
        const V identity(fold_identity<kind, A>()), none(0);
        if (width > 8 * N) {
            // Wide: whole rows in order, the accumulators in L1, four rows per visit. The sums see the same order as below.
            for (long j = 0; j < width; ++j) out[j] = fold_identity<kind, A>();
            long r = 0;
            for (; r < rows; r += 4) {
                const long deep = rows - r < 4 ? rows - r : 4;
                const T* p = x + r * stride;
                long j = 0;
                for (; j + N <= width; j += N) {
                    const V s = shifts != nullptr ? V::load(shifts + j) : none;
                    V a = V::load(out + j);
                    if (deep == 4) {
                        a = fold_combine<kind>(a, fold_map<kind>(load_lanes<A, N>(p + j), s));
                        a = fold_combine<kind>(a, fold_map<kind>(load_lanes<A, N>(p + stride + j), s));
                        a = fold_combine<kind>(a, fold_map<kind>(load_lanes<A, N>(p + 2 * stride + j), s));
                        a = fold_combine<kind>(a, fold_map<kind>(load_lanes<A, N>(p + 3 * stride + j), s));
                    } else {
                        for (long q = 0; q < deep; ++q) a = fold_combine<kind>(a, fold_map<kind>(load_lanes<A, N>(p + q * stride + j), s));
                    }
                    a.store(out + j);
                }
                if (j < width) {
                    const long rest = width - j;
                    V s = none;
                    if (shifts != nullptr) s = load_part<A, N>(shifts + j, rest);
                    V a = load_part<A, N>(out + j, rest);
                    for (long q = 0; q < deep; ++q) a = fold_combine<kind>(a, fold_map<kind>(load_part<A, N>(p + q * stride + j, rest), s));
                    store_part<A, N>(out + j, a, rest);
                }
            }
            return;
        }
        long j = 0;
        for (; j + 4 * N <= width; j += 4 * N) {
            V s[4], a[4];
            TENON_UNROLL(4)
            for (int k = 0; k < 4; ++k) {
                s[k] = shifts != nullptr ? V::load(shifts + j + k * N) : none;
                a[k] = identity;
            }
            for (long r = 0; r < rows; ++r) {
                const T* p = x + r * stride + j;
                TENON_UNROLL(4)
                for (int k = 0; k < 4; ++k) a[k] = fold_combine<kind>(a[k], fold_map<kind>(load_lanes<A, N>(p + k * N), s[k]));
            }
            TENON_UNROLL(4)
            for (int k = 0; k < 4; ++k) a[k].store(out + j + k * N);
        }
        // The last vector overlaps the one before it.
        for (; j < width && width >= N; j += N) {
            if (j + N > width) j = width - N;
            const V s = shifts != nullptr ? V::load(shifts + j) : none;
            V a = identity;
            for (long r = 0; r < rows; ++r) a = fold_combine<kind>(a, fold_map<kind>(load_lanes<A, N>(x + r * stride + j), s));
            a.store(out + j);
        }
        if (width < N) {
            V s = none;
            if (shifts != nullptr) s = load_part<A, N>(shifts, width);
            V a = identity;
            for (long r = 0; r < rows; ++r) a = fold_combine<kind>(a, fold_map<kind>(load_part<A, N>(x + r * stride, width), s));
            store_part<A, N>(out, a, width);
        }
    }
};

// Runs a fold and hands every total to finish(index of the output, total).
// shifts: one per output in Wide, or null.
template <Fold kind, class T, class Wide, class Finish>
void fold_axis(long outer, long n, long inner, const T* x, const Wide* shifts, Finish&& finish) {
    using A = typename fold_type<kind, T>::A;
    if (outer <= 0 || inner <= 0) return;
    if (n <= 0) {
        for (long i = 0; i < outer * inner; ++i) finish(i, fold_identity<kind, Wide>());
        return;
    }
    if (inner == 1) {
        long part = (n + fold_parts - 1) / fold_parts;
        part = part <= fold_part ? fold_part : (part + fold_block - 1) / fold_block * fold_block;
        const long parts = (n + part - 1) / part;
        if (parts == 1) {
            long rows = 32768 / n;
            rows = rows < 1 ? 1 : rows > 256 ? 256 : rows;
            parallel_for((outer + rows - 1) / rows, 0.1 * double(outer) * double(n), [&](long task) {
                const long first = task * rows, count = outer - first < rows ? outer - first : rows;
                Wide total[256];
                dispatch<FoldRowsBody<kind>, reduce_isa>(x, n, part, 1l, first, count, shifts, static_cast<Wide*>(total));
                for (long i = 0; i < count; ++i) finish(first + i, total[i]);
            });
            return;
        }
        for (long row = 0; row < outer; ++row) {
            Wide partial[fold_parts];
            parallel_for(parts, [&](long p) {
                dispatch<FoldRowsBody<kind>, reduce_isa>(x, n, part, parts, row * parts + p, 1l, shifts, static_cast<Wide*>(partial + p));
            });
            Wide total = partial[0];
            for (long p = 1; p < parts; ++p) total = fold_scalars<kind, Wide>(total, partial[p]);
            finish(row, total);
        }
        return;
    }
    long part = (n + fold_parts - 1) / fold_parts;
    if (part < fold_rows) part = fold_rows;
    const long parts = (n + part - 1) / part, most = fold_columns(outer * parts, inner), blocks = (inner + most - 1) / most;
    // Few rows of few columns: several outer indices share a task.
    long group = 16384 / (n * (inner < most ? inner : most));
    group = group < 1 || blocks > 1 || parts > 1 ? 1 : group;
    A* partial = nullptr;
    if (parts > 1) {
        partial = static_cast<A*>(std::malloc(static_cast<unsigned long>(outer * parts * inner) * sizeof(A)));
        if (partial == nullptr) fail<MemoryError>("reduce: out of memory for ", parts, " partial results per output");
    }
    const long outers = (outer + group - 1) / group;
    parallel_for(outers * blocks * parts, 0.1 * double(outer) * double(n) * double(inner), [&](long task) {
        const long p = task % parts, block = task / parts % blocks, first = task / parts / blocks * group;
        const long j = block * most, width = inner - j < most ? inner - j : most;
        const long rows = n - p * part < part ? n - p * part : part;
        for (long o = first; o < first + group && o < outer; ++o) {
            A local[fold_width], shift[fold_width];
            if (shifts != nullptr)
                for (long k = 0; k < width; ++k) shift[k] = static_cast<A>(shifts[o * inner + j + k]);
            A* to = parts > 1 ? partial + (o * parts + p) * inner + j : static_cast<A*>(local);
            dispatch<FoldColumnsBody<kind>, reduce_isa>(x + (o * n + p * part) * inner + j, rows, inner, width,
                                            shifts != nullptr ? static_cast<const A*>(shift) : static_cast<const A*>(nullptr), to);
            if (parts == 1)
                for (long k = 0; k < width; ++k) finish(o * inner + j + k, static_cast<Wide>(local[k]));
        }
    });
    if (parts == 1) return;
    for (long o = 0; o < outer; ++o)
        for (long k = 0; k < inner; ++k) {
            Wide total = static_cast<Wide>(partial[o * parts * inner + k]);
            for (long p = 1; p < parts; ++p)
                total = fold_scalars<kind, Wide>(total, static_cast<Wide>(partial[(o * parts + p) * inner + k]));
            finish(o * inner + k, total);
        }
    std::free(partial);
}

// Memory for `count` numbers that frees itself.
template <class T>
class Scratch {
public:
    explicit Scratch(long count) : data_(static_cast<T*>(std::malloc(static_cast<unsigned long>(count > 0 ? count : 1) * sizeof(T)))) {
        if (data_ == nullptr) fail<MemoryError>("out of memory for ", count, " temporary numbers");
    }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    ~Scratch() { std::free(data_); }
    T* data() const { return data_; }
    T& operator[](long i) const { return data_[i]; }

private:
    T* data_;
};

// Two folds of which the second needs the first's result as its shift: between(output, total of the first), which writes
// shifts[output], then finish(output, total of the second). Rows are folded twice while they are in cache.
template <Fold first_kind, Fold second_kind, class T, class Between, class Finish>
void fold_twice(long outer, long n, long inner, const T* x, double* shifts, Between&& between, Finish&& finish) {
    const double* const none = nullptr;
    if (inner != 1 || n <= 0 || n > fold_part) {
        fold_axis<first_kind>(outer, n, inner, x, none, between);
        fold_axis<second_kind>(outer, n, inner, x, static_cast<const double*>(shifts), finish);
        return;
    }
    long rows = 32768 / n;
    rows = rows < 1 ? 1 : rows > 256 ? 256 : rows;
    parallel_for((outer + rows - 1) / rows, [&](long task) {
        const long first = task * rows, count = outer - first < rows ? outer - first : rows;
        double total[256];
        dispatch<FoldRowsBody<first_kind>, reduce_isa>(x, n, fold_part, 1l, first, count, none, static_cast<double*>(total));
        for (long i = 0; i < count; ++i) between(first + i, total[i]);
        dispatch<FoldRowsBody<second_kind>, reduce_isa>(x, n, fold_part, 1l, first, count, static_cast<const double*>(shifts), static_cast<double*>(total));
        for (long i = 0; i < count; ++i) finish(first + i, total[i]);
    });
}

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
            for (long r = 1; r < n; ++r) {
                const T* p = x + r * stride;
                for (long j = 0; j + N <= width; j += N) {
                    simd<A, N> best = simd<A, N>::load(values + j);
                    simd<Lane, N> where = simd<Lane, N>::load(at + j);
                    step(best, where, load_lanes<A, N>(p + j), r);
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
        if constexpr (std::is_floating_point_v<A>) take = (take | (v != v)) & (best == best);
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
        fold_axis<kind>(outer, n, inner, x, static_cast<const Wide*>(nullptr), [&](long at, Wide total) { values[at] = static_cast<T>(static_cast<A>(total)); });
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
            fold_axis<kind>(outer, n, inner, x, static_cast<const Wide*>(nullptr), locate);
        } else {
            fold_axis<kind>(outer, n, inner, x, static_cast<const Wide*>(nullptr), [&](long row, Wide total) { found[row] = total; });
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

struct VarBackwardBody {
    template <int Lanes, class T, class A>
    static TENON_ALWAYS_INLINE void run(const T* x, long count, const A* mean, A uniform_mean, const A* factor, A uniform_factor, bool accumulate, T* dx) {
        constexpr int N = Lanes * 4 / int(sizeof(A));
        long i = 0;
        for (; i + N <= count; i += N) step<false, A, N>(x, i, N, mean, uniform_mean, factor, uniform_factor, accumulate, dx);
        if (i < count) step<true, A, N>(x, i, count - i, mean, uniform_mean, factor, uniform_factor, accumulate, dx);
    }
    template <bool Part, class A, int N, class T>
    static TENON_ALWAYS_INLINE void step(const T* x, long i, long count, const A* mean, A uniform_mean, const A* factor, A uniform_factor,
                                         bool accumulate, T* dx) {
        using V = simd<A, N>;
        V m(uniform_mean), f(uniform_factor);
        if (mean != nullptr) m = load_some<Part, A, N>(mean + i, count);
        if (factor != nullptr) f = load_some<Part, A, N>(factor + i, count);
        V r = (load_some<Part, A, N>(x + i, count) - m) * f;
        if (accumulate) r = r + load_some<Part, A, N>(dx + i, count);
        store_some<Part, A, N>(dx + i, r, count);
    }
};

}  // namespace impl

// Sum over the axis; an empty axis gives 0. Out is T, or int64 for integers.
template <class T, class Out>
void reduce_sum(long outer, long n, long inner, const T* x, Out* out) {
    using Wide = typename impl::fold_type<impl::Fold::sum, T>::Wide;
    impl::fold_axis<impl::Fold::sum>(outer, n, inner, x, static_cast<const Wide*>(nullptr),
                                     [&](long at, Wide total) { out[at] = static_cast<Out>(static_cast<accumulator<T>>(total)); });
}

// Mean over the axis (floating types); an empty axis gives NaN.
template <class T>
void reduce_mean(long outer, long n, long inner, const T* x, T* out) {
    const double count = double(n);
    impl::fold_axis<impl::Fold::sum>(outer, n, inner, x, static_cast<const double*>(nullptr),
                                     [&](long at, double total) { out[at] = static_cast<T>(static_cast<accumulator<T>>(total / count)); });
}

// Product over the axis; an empty axis gives 1. Out is T, or int64 for integers (which wrap around).
template <class T, class Out>
void reduce_prod(long outer, long n, long inner, const T* x, Out* out) {
    using Wide = typename impl::fold_type<impl::Fold::prod, T>::Wide;
    impl::fold_axis<impl::Fold::prod>(outer, n, inner, x, static_cast<const Wide*>(nullptr),
                                      [&](long at, Wide total) { out[at] = static_cast<Out>(static_cast<accumulator<T>>(total)); });
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
    if (largest) impl::fold_axis<impl::Fold::largest_magnitude>(outer, n, inner, x, static_cast<const double*>(nullptr), finish);
    else impl::fold_axis<impl::Fold::smallest_magnitude>(outer, n, inner, x, static_cast<const double*>(nullptr), finish);
}

// Variance over the axis, divided by n - correction, and the mean. Two passes; NaN where n <= correction.
template <class T>
void reduce_var(long outer, long n, long inner, const T* x, long correction, T* variance, accumulator<T>* mean) {
    using A = accumulator<T>;
    if (outer <= 0 || inner <= 0) return;
    const impl::Scratch<double> means(outer * inner);
    const double divisor = double(n > correction ? n - correction : 0);
    auto between = [&](long at, double total) {
        means[at] = total / double(n);
        if (mean != nullptr) mean[at] = static_cast<A>(means[at]);
    };
    impl::fold_twice<impl::Fold::sum, impl::Fold::squares>(outer, n, inner, x, means.data(), between, [&](long at, double total) {
        // The deviations were taken from the rounded mean: what that added is known.
        const double off = means[at] - double(static_cast<A>(means[at]));
        const double squares = total - double(n) * off * off;
        variance[at] = static_cast<T>(static_cast<A>((squares < 0 ? 0 : squares) / divisor));
    });
}

// log(sum(exp(x))) over the axis, without overflow; an empty axis gives -inf.
template <class T>
void reduce_logsumexp(long outer, long n, long inner, const T* x, T* out) {
    using A = accumulator<T>;
    if (outer <= 0 || inner <= 0) return;
    const impl::Scratch<double> shifts(outer * inner);
    auto between = [&](long at, double largest) {
        // An infinite maximum would give inf - inf; its exponentials are right without a shift.
        shifts[at] = largest - largest == 0 || largest != largest ? largest : 0;
    };
    impl::fold_twice<impl::Fold::max, impl::Fold::exponentials>(outer, n, inner, x, shifts.data(), between, [&](long at, double total) {
        out[at] = static_cast<T>(static_cast<A>(__builtin_log(total) + shifts[at]));
    });
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

// Backward of the variance: dx = 2 (x - mean) / (n - correction) * dy; accumulate adds to dx.
template <class T>
void reduce_var_backward(long outer, long n, long inner, const T* x, const accumulator<T>* mean, const T* dy, long correction,
                         T* dx, bool accumulate) {
    using A = accumulator<T>;
    if (outer <= 0 || n <= 0 || inner <= 0) return;
    const A scale = static_cast<A>(2. / double(n > correction ? n - correction : 0));
    if (inner == 1) {
        long group = 32768 / n;
        if (group < 1) group = 1;
        parallel_for((outer + group - 1) / group, [&](long task) {
            const long last = (task + 1) * group < outer ? (task + 1) * group : outer;
            for (long o = task * group; o < last; ++o)
                dispatch<impl::VarBackwardBody, impl::reduce_isa>(x + o * n, n, static_cast<const A*>(nullptr), mean[o], static_cast<const A*>(nullptr),
                                                           scale * static_cast<A>(dy[o]), accumulate, dx + o * n);
        });
        return;
    }
    const impl::Scratch<A> factor(outer * inner);
    for (long i = 0; i < outer * inner; ++i) factor[i] = scale * static_cast<A>(dy[i]);
    const long rows = inner >= 32768 ? 1 : 32768 / inner, per = (n + rows - 1) / rows;
    parallel_for(outer * per, [&](long task) {
        const long o = task / per, first = task % per * rows, last = first + rows < n ? first + rows : n;
        for (long r = first; r < last; ++r)
            dispatch<impl::VarBackwardBody, impl::reduce_isa>(x + (o * n + r) * inner, inner, mean + o * inner, A(0),
                                                       static_cast<const A*>(factor.data() + o * inner), A(0), accumulate, dx + (o * n + r) * inner);
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

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
