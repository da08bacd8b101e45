// What reductions are made of: folds of contiguous rows and of columns, in vectors, over the middle axis of [outer, n, inner].
//
// 16-bit types accumulate in float, integers in int64; long rows add block results in double. Which element meets which
// in what order depends on n, the type and the instruction set alone: neither the other axes nor the number of threads
// change a result's bits.
#pragma once

#include <tenon/base/dispatch.hpp>
#include <tenon/base/parallel.hpp>
#include <tenon/base/scratch.hpp>
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

// f(output, the first element of its axis), one output after the other.
template <class T, class F>
void each_output(long outer, long n, long inner, const T* x, F&& f) {
    for (long o = 0; o < outer; ++o)
        for (long i = 0; i < inner; ++i) f(o * inner + i, x + o * n * inner + i);
}

}  // namespace reference

namespace impl {

enum class Fold { sum, prod, max, min, squares, largest_magnitude, smallest_magnitude };

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
// What is folded of an element; shift is the mean where one is needed.
template <Fold kind, class V>
TENON_ALWAYS_INLINE V fold_map(const V& x, const V& shift) {
    if constexpr (kind == Fold::squares) {
        const V d = x - shift;
        return d * d;
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

// The largest (smallest) lane of numbers, halves first.
template <bool Largest, class A, int N>
TENON_ALWAYS_INLINE A best_lane(const simd<A, N>& a) {
    if constexpr (N == 2) {
        return (Largest ? a.v[1] > a.v[0] : a.v[1] < a.v[0]) ? a.v[1] : a.v[0];
    } else {
        using H = simd<A, N / 2>;
        const auto* halves = reinterpret_cast<const typename H::Unaligned*>(&a.v);
        const H low{typename H::Raw(halves[0])}, high{typename H::Raw(halves[1])};
        return best_lane<Largest>(Largest ? select(high > low, high, low) : select(high < low, high, low));
    }
}

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
    V all = takes_larger<kind> ? select(a[1] > a[0], a[1], a[0]) : select(a[1] < a[0], a[1], a[0]);
    const V other = takes_larger<kind> ? select(a[3] > a[2], a[3], a[2]) : select(a[3] < a[2], a[3], a[2]);
    all = takes_larger<kind> ? select(other > all, other, all) : select(other < all, other, all);
    return best_lane<takes_larger<kind>>(all);
}

// Asks for Count elements, to be read or (Write) written.
template <int Count, int Write = 0, class T>
TENON_ALWAYS_INLINE void prefetch_ahead(const T* p) {
    TENON_UNROLL(8)
    for (int line = 0; line < Count * int(sizeof(T)); line += 64) __builtin_prefetch(reinterpret_cast<const char*>(p) + line, Write);
}

// Four accumulators, then halves: the order depends on n only. Ahead: asks for what lies behind.
template <Fold kind, class A, int N, bool Ahead = false, class T>
TENON_ALWAYS_INLINE A fold_sums(const T* x, long n, A shift_value) {
    using V = simd<A, N>;
    const V shift(shift_value), identity(fold_identity<kind, A>());
    V a0 = identity, a1 = identity, a2 = identity, a3 = identity;
    long i = 0;
    for (; i + 4 * N <= n; i += 4 * N) {
        if constexpr (Ahead) prefetch_ahead<4 * N>(x + n + i);
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

// Asks for the next `Rows` rows of some columns while this visit works on its own: the machine's prefetchers lose sight of
// short pieces of rows.
template <int Rows, class T>
TENON_ALWAYS_INLINE void prefetch_visit(const T* p, long stride) {
    TENON_UNROLL(8)
    for (int q = 0; q < Rows; ++q) __builtin_prefetch(p + (Rows + q) * stride);
}

// Items of a row fold: item = row * parts + p is elements [p * part, (p + 1) * part) of that row.
template <Fold kind>
struct FoldRowsBody {
    template <int Lanes, class T, class Wide>
    static TENON_ALWAYS_INLINE void run(const T* x, long n, long part, long parts, long first, long count, Wide* out) {
        using A = typename fold_type<kind, T>::A;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        if (n <= fold_short) {
            A in[fold_short * N], sums[N];
            const simd<A, N> none(0);
            for (long i = 0; i < count; i += N) {
                const long rows = count - i < N ? count - i : N;
                turn_in<A, N>(rows, n, x + (first + i) * n, in);
                simd<A, N> a(fold_identity<kind, A>());
                for (long c = 0; c < n; ++c) a = fold_combine<kind>(a, fold_map<kind>(simd<A, N>::load(in + c * N), none));
                a.store(sums);
                for (long l = 0; l < rows; ++l) out[i + l] = static_cast<Wide>(sums[l]);
            }
            return;
        }
        for (long item = first; item < first + count; ++item) {
            const long row = item / parts, begin = (item % parts) * part;
            const long end = begin + part < n ? begin + part : n;
            Wide total = fold_identity<kind, Wide>();
            for (long at = begin; at < end; at += fold_block) {
                const long length = end - at < fold_block ? end - at : fold_block;
                total = fold_scalars<kind, Wide>(total, static_cast<Wide>(fold_contiguous<kind, A, N>(x + row * n + at, length, A(0))));
            }
            out[item - first] = total;
        }
    }
};

// Columns [0, width) of `rows` rows that lie `stride` apart: one accumulator per column, each in the order of the rows.
template <Fold kind>
struct FoldColumnsBody {
    template <int Lanes, class T, class A>
    static TENON_ALWAYS_INLINE void run(const T* x, long rows, long stride, long width, A* out) {
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
                    V a = V::load(out + j);
                    if (deep == 4) {
                        prefetch_visit<4>(p + j, stride);
                        a = fold_combine<kind>(a, fold_map<kind>(load_lanes<A, N>(p + j), none));
                        a = fold_combine<kind>(a, fold_map<kind>(load_lanes<A, N>(p + stride + j), none));
                        a = fold_combine<kind>(a, fold_map<kind>(load_lanes<A, N>(p + 2 * stride + j), none));
                        a = fold_combine<kind>(a, fold_map<kind>(load_lanes<A, N>(p + 3 * stride + j), none));
                    } else {
                        for (long q = 0; q < deep; ++q) a = fold_combine<kind>(a, fold_map<kind>(load_lanes<A, N>(p + q * stride + j), none));
                    }
                    a.store(out + j);
                }
                if (j < width) {
                    const long rest = width - j;
                    V a = load_part<A, N>(out + j, rest);
                    for (long q = 0; q < deep; ++q) a = fold_combine<kind>(a, fold_map<kind>(load_part<A, N>(p + q * stride + j, rest), none));
                    store_part<A, N>(out + j, a, rest);
                }
            }
            return;
        }
        long j = 0;
        for (; j + 4 * N <= width; j += 4 * N) {
            V a[4];
            TENON_UNROLL(4)
            for (int k = 0; k < 4; ++k) a[k] = identity;
            for (long r = 0; r < rows; ++r) {
                const T* p = x + r * stride + j;
                TENON_UNROLL(4)
                for (int k = 0; k < 4; ++k) a[k] = fold_combine<kind>(a[k], fold_map<kind>(load_lanes<A, N>(p + k * N), none));
            }
            TENON_UNROLL(4)
            for (int k = 0; k < 4; ++k) a[k].store(out + j + k * N);
        }
        // The last vector overlaps the one before it.
        for (; j < width && width >= N; j += N) {
            if (j + N > width) j = width - N;
            V a = identity;
            for (long r = 0; r < rows; ++r) a = fold_combine<kind>(a, fold_map<kind>(load_lanes<A, N>(x + r * stride + j), none));
            a.store(out + j);
        }
        if (width < N) {
            V a = identity;
            for (long r = 0; r < rows; ++r) a = fold_combine<kind>(a, fold_map<kind>(load_part<A, N>(x + r * stride, width), none));
            store_part<A, N>(out, a, width);
        }
    }
};

using detail::Scratch;

// Rows that are visited together, so that a second pass finds them in L1. (A multiple of the lanes where rows are turned.)
template <class T>
constexpr long near_rows(long n) {
    const long rows = 16384 / (n * long(sizeof(T)));
    return n <= fold_short ? (rows < 256 ? rows / 16 * 16 : 256) : rows < 1 ? 1 : rows;
}

// Runs Body over the rows of [outer, n], which leaves a Part for each piece of a row; join(all, more) adds them up in order,
// finish(row, all) gets the sum. `ns` is about what one thread takes per element.
template <class Part, class Body, Isa Best, class T, class Join, class Finish>
void fold_each_row(long outer, long n, const T* x, double ns, Join&& join, Finish&& finish) {
    long part = (n + fold_parts - 1) / fold_parts;
    part = part <= fold_part ? fold_part : (part + fold_block - 1) / fold_block * fold_block;
    const long parts = (n + part - 1) / part;
    if (parts == 1) {
        long rows = 32768 / n;
        rows = rows < 1 ? 1 : rows > 256 ? 256 : rows;
        const long near = near_rows<T>(n);
        parallel_for((outer + rows - 1) / rows, ns * double(outer) * double(n), [&](long task) {
            const long end = (task + 1) * rows < outer ? (task + 1) * rows : outer;
            Part totals[256];
            for (long first = task * rows; first < end; first += near) {
                const long count = end - first < near ? end - first : near;
                dispatch<Body, Best>(x, n, part, 1l, first, count, static_cast<Part*>(totals));
                for (long i = 0; i < count; ++i) finish(first + i, totals[i]);
            }
        });
        return;
    }
    for (long row = 0; row < outer; ++row) {
        Part partial[fold_parts];
        parallel_for(parts, [&](long p) { dispatch<Body, Best>(x, n, part, parts, row * parts + p, 1l, static_cast<Part*>(partial + p)); });
        Part total = partial[0];
        for (long p = 1; p < parts; ++p) join(total, partial[p]);
        finish(row, total);
    }
}

// How columns are cut, by the shape alone: parts of the rows, blocks of the columns, and several outer indices per task
// where there are few of both.
struct ColumnTasks {
    long outer, n, inner, part, parts, most, blocks, group;

    ColumnTasks(long o, long rows, long columns, long width = fold_width) : outer(o), n(rows), inner(columns), part((rows + fold_parts - 1) / fold_parts) {
        if (part < fold_rows) part = fold_rows;
        parts = (n + part - 1) / part;
        most = fold_columns(outer * parts, inner);
        if (most > width) most = width;
        blocks = (inner + most - 1) / most;
        group = 16384 / (n * (inner < most ? inner : most));
        group = group < 1 || blocks > 1 || parts > 1 ? 1 : group;
    }
    long rows(long p) const { return n - p * part < part ? n - p * part : part; }
    // f(o, p, first row, rows, first column, columns)
    template <class F>
    void run(double ns, F&& f) const {
        parallel_for((outer + group - 1) / group * blocks * parts, ns * double(outer) * double(n) * double(inner), [&](long task) {
            const long p = task % parts, j = task / parts % blocks * most, first = task / parts / blocks * group;
            for (long o = first; o < first + group && o < outer; ++o) f(o, p, p * part, rows(p), j, inner - j < most ? inner - j : most);
        });
    }
};

// Runs a fold and hands every total to finish(index of the output, total).
template <Fold kind, class T, class Finish>
void fold_axis(long outer, long n, long inner, const T* x, Finish&& finish) {
    using A = typename fold_type<kind, T>::A;
    using Wide = typename fold_type<kind, T>::Wide;
    if (outer <= 0 || inner <= 0) return;
    if (n <= 0) {
        for (long i = 0; i < outer * inner; ++i) finish(i, fold_identity<kind, Wide>());
        return;
    }
    if (inner == 1) {
        fold_each_row<Wide, FoldRowsBody<kind>, reduce_isa>(outer, n, x, 0.1, [](Wide& all, Wide more) { all = fold_scalars<kind, Wide>(all, more); }, finish);
        return;
    }
    const ColumnTasks tasks(outer, n, inner);
    const Scratch<A> partial(tasks.parts > 1 ? outer * tasks.parts * inner : 0);
    tasks.run(0.1, [&](long o, long p, long first, long rows, long j, long width) {
        A local[fold_width];
        A* to = tasks.parts > 1 ? partial.data() + (o * tasks.parts + p) * inner + j : static_cast<A*>(local);
        dispatch<FoldColumnsBody<kind>, reduce_isa>(x + (o * n + first) * inner + j, rows, inner, width, to);
        if (tasks.parts == 1)
            for (long k = 0; k < width; ++k) finish(o * inner + j + k, static_cast<Wide>(local[k]));
    });
    if (tasks.parts == 1) return;
    for (long o = 0; o < outer; ++o)
        for (long k = 0; k < inner; ++k) {
            Wide total = static_cast<Wide>(partial[o * tasks.parts * inner + k]);
            for (long p = 1; p < tasks.parts; ++p) total = fold_scalars<kind, Wide>(total, static_cast<Wide>(partial[(o * tasks.parts + p) * inner + k]));
            finish(o * inner + k, total);
        }
}

}  // namespace impl

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
