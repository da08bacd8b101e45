// Running sums, products and extremes along one axis, and their backward passes. Everything is contiguous
// [outer, n, inner].
//
// Floating types run in double, integers in int64, so a long row loses nothing on the way. Where a row is cut into parts,
// the cut depends on the shape alone: one thread carries the sum from part to part, several take the sums of the parts
// first, and both add the same numbers in the same order.
#pragma once

#include <tenon/kernels/cpu/reduce.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

// What a running sum or product of T is kept in.
template <class T>
using scan_accumulator = std::conditional_t<std::is_integral_v<T>, std::int64_t, double>;

namespace reference {

// The plain versions: one line after the other, one element after the other.
template <class F>
void each_line(long outer, long n, long inner, F&& f) {
    for (long o = 0; o < outer; ++o)
        for (long i = 0; i < inner; ++i) f(o * n * inner + i);
}
template <class T, class Out>
void cumsum(long outer, long n, long inner, const T* x, Out* y, bool reverse) {
    using A = scan_accumulator<T>;
    each_line(outer, n, inner, [&](long at) {
        A sum = 0;
        for (long k = 0; k < n; ++k) {
            const long here = at + (reverse ? n - 1 - k : k) * inner;
            if constexpr (std::is_integral_v<T>) sum = static_cast<A>(static_cast<std::uint64_t>(sum) + static_cast<std::uint64_t>(x[here]));
            else sum += static_cast<A>(static_cast<accumulator<T>>(x[here]));
            y[here] = static_cast<Out>(static_cast<accumulator<T>>(sum));
        }
    });
}
template <class T, class Out>
void cumprod(long outer, long n, long inner, const T* x, Out* y) {
    using A = scan_accumulator<T>;
    each_line(outer, n, inner, [&](long at) {
        A product = 1;
        for (long k = 0; k < n; ++k) {
            const long here = at + k * inner;
            if constexpr (std::is_integral_v<T>) product = static_cast<A>(static_cast<std::uint64_t>(product) * static_cast<std::uint64_t>(x[here]));
            else product *= static_cast<A>(static_cast<accumulator<T>>(x[here]));
            y[here] = static_cast<Out>(static_cast<accumulator<T>>(product));
        }
    });
}
template <class T>
void cumulative_extreme(bool largest, long outer, long n, long inner, const T* x, T* values, std::int64_t* indices) {
    using A = accumulator<T>;
    each_line(outer, n, inner, [&](long at) {
        long best = 0;
        for (long k = 0; k < n; ++k) {
            const A v = static_cast<A>(x[at + k * inner]), b = static_cast<A>(x[at + best * inner]);
            if (v != v || (largest ? v >= b : v <= b)) best = k;
            values[at + k * inner] = x[at + best * inner];
            indices[at + k * inner] = best;
        }
    });
}
// dx[k] = sum over j >= k of dy[j] * (product of x[0 .. j] without x[k]).
template <class T>
void cumprod_backward(long outer, long n, long inner, const T* x, const T* dy, double* dx) {
    each_line(outer, n, inner, [&](long at) {
        for (long k = 0; k < n; ++k) {
            double sum = 0;
            for (long j = k; j < n; ++j) {
                double product = double(accumulator<T>(dy[at + j * inner]));
                for (long i = 0; i <= j; ++i)
                    if (i != k) product *= double(accumulator<T>(x[at + i * inner]));
                sum += product;
            }
            dx[at + k * inner] = sum;
        }
    });
}

}  // namespace reference

namespace impl {

enum class Scan { sum, product };

template <Scan kind, class A>
TENON_ALWAYS_INLINE A scan_step(A a, A b) {
    if constexpr (std::is_integral_v<A>) {
        using U = std::make_unsigned_t<A>;
        return static_cast<A>(kind == Scan::sum ? static_cast<U>(a) + static_cast<U>(b) : static_cast<U>(a) * static_cast<U>(b));
    } else {
        return kind == Scan::sum ? a + b : a * b;
    }
}
template <Scan kind, class A, int N>
TENON_ALWAYS_INLINE simd<A, N> scan_step(const simd<A, N>& a, const simd<A, N>& b) {
    if constexpr (kind == Scan::sum) return a + b;
    else return a * b;
}
template <Scan kind, class A>
inline constexpr A scan_identity = kind == Scan::sum ? A(0) : A(1);

// Lanes moved by `by` places towards the end (or the beginning), with those of `fill` behind them; and one lane everywhere.
// Written for the target's registers: before it is inlined, g++ takes shuffles of wider vectors apart.
typedef std::int64_t i64x2 __attribute__((vector_size(16)));
typedef std::int64_t i64x4 __attribute__((vector_size(32)));
template <int By, class V>
inline void move_lanes_2(V& out, const V& a, const V& fill) {
    if constexpr (By > 0) out = __builtin_shufflevector(fill, a, 0, 2);
    else out = __builtin_shufflevector(a, fill, 1, 2);
}
template <int Lane, class V>
inline void spread_lane_2(V& out, const V& a) { out = __builtin_shufflevector(a, a, Lane, Lane); }
#if TENON_DISPATCH
template <int By, class V>
TENON_TARGET_AVX2 inline void move_lanes_4(V& out, const V& a, const V& fill) {
    if constexpr (By == 1) out = __builtin_shufflevector(fill, a, 0, 4, 5, 6);
    else if constexpr (By == 2) out = __builtin_shufflevector(fill, a, 0, 1, 4, 5);
    else if constexpr (By == -1) out = __builtin_shufflevector(a, fill, 1, 2, 3, 4);
    else out = __builtin_shufflevector(a, fill, 2, 3, 4, 5);
}
template <int Lane, class V>
TENON_TARGET_AVX2 inline void spread_lane_4(V& out, const V& a) { out = __builtin_shufflevector(a, a, Lane, Lane, Lane, Lane); }
template <int By, class V>
TENON_TARGET_AVX512 inline void move_lanes_8(V& out, const V& a, const V& fill) {
    if constexpr (By == 1) out = __builtin_shufflevector(fill, a, 0, 8, 9, 10, 11, 12, 13, 14);
    else if constexpr (By == 2) out = __builtin_shufflevector(fill, a, 0, 1, 8, 9, 10, 11, 12, 13);
    else if constexpr (By == 4) out = __builtin_shufflevector(fill, a, 0, 1, 2, 3, 8, 9, 10, 11);
    else if constexpr (By == -1) out = __builtin_shufflevector(a, fill, 1, 2, 3, 4, 5, 6, 7, 8);
    else if constexpr (By == -2) out = __builtin_shufflevector(a, fill, 2, 3, 4, 5, 6, 7, 8, 9);
    else out = __builtin_shufflevector(a, fill, 4, 5, 6, 7, 8, 9, 10, 11);
}
template <int Lane, class V>
TENON_TARGET_AVX512 inline void spread_lane_8(V& out, const V& a) { out = __builtin_shufflevector(a, a, Lane, Lane, Lane, Lane, Lane, Lane, Lane, Lane); }
#endif
template <int By, class A, int N>
TENON_ALWAYS_INLINE simd<A, N> moved(const simd<A, N>& a, const simd<A, N>& fill) {
    simd<A, N> r;
#if TENON_DISPATCH
    if constexpr (N == 8) move_lanes_8<By>(r.v, a.v, fill.v);
    else if constexpr (N == 4) move_lanes_4<By>(r.v, a.v, fill.v);
    else
#endif
        move_lanes_2<By>(r.v, a.v, fill.v);
    return r;
}
template <bool Reverse, class A, int N>
TENON_ALWAYS_INLINE simd<A, N> last_everywhere(const simd<A, N>& a) {
    simd<A, N> r;
#if TENON_DISPATCH
    if constexpr (N == 8) spread_lane_8<Reverse ? 0 : 7>(r.v, a.v);
    else if constexpr (N == 4) spread_lane_4<Reverse ? 0 : 3>(r.v, a.v);
    else
#endif
        spread_lane_2<Reverse ? 0 : 1>(r.v, a.v);
    return r;
}
// Lane i becomes the fold of lanes 0 .. i (i .. N - 1 in reverse).
template <Scan kind, bool Reverse, class A, int N>
TENON_ALWAYS_INLINE simd<A, N> scan_lanes(simd<A, N> v, const simd<A, N>& identity) {
    constexpr int sign = Reverse ? -1 : 1;
    v = scan_step<kind>(v, moved<sign>(v, identity));
    if constexpr (N >= 4) v = scan_step<kind>(v, moved<2 * sign>(v, identity));
    if constexpr (N >= 8) v = scan_step<kind>(v, moved<4 * sign>(v, identity));
    return v;
}

constexpr int scan_unit = 8;  // elements per step of a loop

template <class A, int N, class T>
TENON_ALWAYS_INLINE void load_unit(const T* p, simd<A, N>* v) {
    if constexpr (std::is_same_v<T, bf16> || std::is_same_v<T, half>) {
        float lane[scan_unit];
        load_as_float<scan_unit>(p).store(lane);
        TENON_UNROLL(4)
        for (int k = 0; k < scan_unit / N; ++k) v[k] = convert<A>(simd<float, N>::load(lane + k * N));
    } else {
        TENON_UNROLL(4)
        for (int k = 0; k < scan_unit / N; ++k) v[k] = convert<A>(simd<T, N>::load(p + k * N));
    }
}
template <class A, int N, class T>
TENON_ALWAYS_INLINE void store_unit(T* p, const simd<A, N>* v) {
    if constexpr (std::is_same_v<T, bf16> || std::is_same_v<T, half>) {
        float lane[scan_unit];
        TENON_UNROLL(4)
        for (int k = 0; k < scan_unit / N; ++k) convert<float>(v[k]).store(lane + k * N);
        store_float(p, simd<float, scan_unit>::load(lane));
    } else {
        TENON_UNROLL(4)
        for (int k = 0; k < scan_unit / N; ++k) convert<T>(v[k]).store(p + k * N);
    }
}
template <class A, class T>
TENON_ALWAYS_INLINE A scan_load(const T* p) { return static_cast<A>(static_cast<accumulator<T>>(*p)); }
template <class Out, class A>
TENON_ALWAYS_INLINE void scan_store(Out* p, A value, bool add) {
    accumulator<Out> v = static_cast<accumulator<Out>>(value);
    if (add) v = scan_step<Scan::sum>(v, static_cast<accumulator<Out>>(*p));
    *p = static_cast<Out>(v);
}

// One part of a row: *carry becomes its fold, and y (unless null) base with the running fold; add adds to y instead.
template <Scan kind, bool Reverse>
struct ScanRowBody {
    template <int Lanes, class T, class A, class Out>
    static TENON_ALWAYS_INLINE void run(const T* x, long n, A* carry, A base, Out* y, bool add) {
        constexpr int N = Lanes / 2, K = scan_unit / N;
        using V = simd<A, N>;
        const V identity(scan_identity<kind, A>), start(base);
        V sum(*carry), v[K];
        // A product of a few doubles alone may leave their range where the running product does not: one after the other.
        constexpr bool serial = kind == Scan::product && std::is_same_v<T, double>;
        const long whole = serial ? 0 : n - n % scan_unit;
        A last = *carry;
        if constexpr (Reverse) {
            // From the end: what does not fill a unit comes first.
            for (long i = n - 1; i >= whole; --i) {
                last = scan_step<kind>(last, scan_load<A>(x + i));
                if (y != nullptr) scan_store(y + i, scan_step<kind>(base, last), add);
            }
            sum = V(last);
        }
        for (long done = 0; done < whole; done += scan_unit) {
            const long i = Reverse ? whole - scan_unit - done : done;
            load_unit<A, N>(x + i, v);
            TENON_UNROLL(4)
            for (int q = 0; q < K; ++q) {
                const int k = Reverse ? K - 1 - q : q;
                const V inside = scan_lanes<kind, Reverse>(v[k], identity);
                v[k] = scan_step<kind>(scan_step<kind>(start, sum), inside);
                sum = scan_step<kind>(sum, last_everywhere<Reverse>(inside));
            }
            if (y == nullptr) continue;
            if (add) {
                V old[K];
                load_unit<A, N>(y + i, old);
                TENON_UNROLL(4)
                for (int k = 0; k < K; ++k) v[k] = v[k] + old[k];
            }
            store_unit<A, N>(y + i, v);
        }
        last = sum[0];
        if constexpr (!Reverse)
            for (long i = whole; i < n; ++i) {
                last = scan_step<kind>(last, scan_load<A>(x + i));
                if (y != nullptr) scan_store(y + i, scan_step<kind>(base, last), add);
            }
        *carry = last;
    }
};

// The same for `rows` rows of `width` columns that lie `stride` apart; carry and base (unless null) have one entry per
// column.
template <Scan kind, bool Reverse>
struct ScanColumnsBody {
    template <int Lanes, class T, class A, class Out>
    static TENON_ALWAYS_INLINE void run(const T* x, long rows, long stride, long width, A* carry, const A* base, Out* y, bool add) {
        constexpr int N = Lanes / 2, K = scan_unit / N;
        using V = simd<A, N>;
        V v[K], old[K];
        for (long step = 0; step < rows; ++step) {
            const long r = Reverse ? rows - 1 - step : step;
            const T* p = x + r * stride;
            Out* to = y != nullptr ? y + r * stride : nullptr;
            long j = 0;
            for (; j + scan_unit <= width; j += scan_unit) {
                load_unit<A, N>(p + j, v);
                TENON_UNROLL(4)
                for (int k = 0; k < K; ++k) {
                    v[k] = scan_step<kind>(V::load(carry + j + k * N), v[k]);
                    v[k].store(carry + j + k * N);
                }
                if (to == nullptr) continue;
                if (base != nullptr) {
                    TENON_UNROLL(4)
                    for (int k = 0; k < K; ++k) v[k] = scan_step<kind>(V::load(base + j + k * N), v[k]);
                }
                if (add) {
                    load_unit<A, N>(to + j, old);
                    TENON_UNROLL(4)
                    for (int k = 0; k < K; ++k) v[k] = v[k] + old[k];
                }
                store_unit<A, N>(to + j, v);
            }
            for (; j < width; ++j) {
                carry[j] = scan_step<kind>(carry[j], scan_load<A>(p + j));
                if (to != nullptr) scan_store(to + j, base != nullptr ? scan_step<kind>(base[j], carry[j]) : carry[j], add);
            }
        }
    }
};

constexpr long scan_part = 32768;   // elements of a row that are folded before they join the total
constexpr long scan_rows = 1024;    // the same, in rows of columns
constexpr long scan_width = 512;    // most columns per task: carry and base stay in L1
constexpr long scan_ahead = 16;     // parts that are summed before any of them is written

// `lines` neighbouring columns (1 and stride 1: a row) of n elements from x on, in parts; by several threads if `spread`.
template <Scan kind, bool Reverse, class T, class Out>
void scan_lines(const T* x, long n, long stride, long width, Out* y, bool add, bool spread) {
    using A = scan_accumulator<T>;
    // A product may leave the range of numbers in one part and come back in the next: it goes in one piece.
    const long part = kind == Scan::product ? n : stride == 1 ? scan_part : scan_rows, parts = (n + part - 1) / part;
    auto run = [&](long p, A* carry, const A* base, Out* to) {
        const long first = (Reverse ? parts - 1 - p : p) * part, count = n - first < part ? n - first : part;
        if (stride == 1)
            dispatch<ScanRowBody<kind, Reverse>>(x + first, count, carry, base != nullptr ? *base : scan_identity<kind, A>,
                                                             to != nullptr ? to + first : to, add);
        else
            dispatch<ScanColumnsBody<kind, Reverse>, reduce_isa>(x + first * stride, count, stride, width, carry, base,
                                                                 to != nullptr ? to + first * stride : to, add);
    };
    A base[scan_width], carry[scan_width];
    for (long j = 0; j < width; ++j) base[j] = scan_identity<kind, A>;
    if (parts == 1 || !spread) {
        for (long p = 0; p < parts; ++p) {
            for (long j = 0; j < width; ++j) carry[j] = scan_identity<kind, A>;
            run(p, carry, parts > 1 ? base : nullptr, y);
            for (long j = 0; j < width; ++j) base[j] = scan_step<kind>(base[j], carry[j]);
        }
        return;
    }
    const Scratch<A> totals(scan_ahead * width), bases(scan_ahead * width);
    for (long begin = 0; begin < parts; begin += scan_ahead) {
        const long count = parts - begin < scan_ahead ? parts - begin : scan_ahead;
        parallel_for(count, [&](long p) {
            for (long j = 0; j < width; ++j) totals[p * width + j] = scan_identity<kind, A>;
            run(begin + p, totals.data() + p * width, nullptr, nullptr);
        });
        for (long p = 0; p < count; ++p)
            for (long j = 0; j < width; ++j) {
                bases[p * width + j] = base[j];
                base[j] = scan_step<kind>(base[j], totals[p * width + j]);
            }
        parallel_for(count, [&](long p) {
            A local[scan_width];
            for (long j = 0; j < width; ++j) local[j] = scan_identity<kind, A>;
            run(begin + p, local, bases.data() + p * width, y);
        });
    }
}

template <Scan kind, bool Reverse, class T, class Out>
void scan_axis(long outer, long n, long inner, const T* x, Out* y, bool add) {
    if (outer <= 0 || n <= 0 || inner <= 0) return;
    const long blocks = (inner + scan_width - 1) / scan_width, lines = outer * blocks;
    const long width = (inner + blocks - 1) / blocks;
    if (lines < 4 && lines < num_threads() * 2 && n * width > 2 * scan_part) {
        for (long line = 0; line < lines; ++line) {
            const long j = line % blocks * width, at = line / blocks * n * inner + j;
            scan_lines<kind, Reverse>(x + at, n, inner, inner - j < width ? inner - j : width, y + at, add, num_threads() > 1);
        }
        return;
    }
    long group = scan_part / (n * width);
    if (group < 1) group = 1;
    parallel_for((lines + group - 1) / group, [&](long task) {
        for (long line = task * group; line < (task + 1) * group && line < lines; ++line) {
            const long j = line % blocks * width, at = line / blocks * n * inner + j;
            if (inner - j > 0) scan_lines<kind, Reverse>(x + at, n, inner, inner - j < width ? inner - j : width, y + at, add, false);
        }
    });
}

template <bool Max>
struct CumulativeColumnsBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(const T* x, long n, long stride, long width, T* values, std::int64_t* indices) {
        using A = scan_accumulator<T>;
        constexpr int N = Lanes >= 8 ? 4 : 2, K = scan_unit / N;
        using V = simd<A, N>;
        using I = simd<std::int64_t, N>;
        V v[K], best[K];
        for (long r = 1; r < n; ++r) {
            const T* p = x + r * stride;
            T* to = values + r * stride;
            std::int64_t* at = indices + r * stride;
            long j = 0;
            for (; j + scan_unit <= width; j += scan_unit) {
                load_unit<A, N>(p + j, v);
                load_unit<A, N>(static_cast<const T*>(to - stride + j), best);
                TENON_UNROLL(4)
                for (int k = 0; k < K; ++k) {
                    auto take = Max ? v[k] >= best[k] : v[k] <= best[k];
                    if constexpr (std::is_floating_point_v<A>) take = take | (v[k] != v[k]);
                    best[k] = select(take, v[k], best[k]);
                    select(take, I(r), I::load(at - stride + j + k * N)).store(at + j + k * N);
                }
                store_unit<A, N>(to + j, best);
            }
            for (; j < width; ++j) {
                const A a = scan_load<A>(p + j), b = scan_load<A>(to - stride + j);
                const bool take = a != a || (Max ? a >= b : a <= b);
                to[j] = take ? p[j] : to[j - stride];
                at[j] = take ? r : at[j - stride];
            }
        }
    }
};

template <bool Max, class T>
void cumulative_extreme(long outer, long n, long inner, const T* x, T* values, std::int64_t* indices) {
    if (outer <= 0 || n <= 0 || inner <= 0) return;
    if (inner == 1) {
        long group = scan_part / n;
        if (group < 1) group = 1;
        parallel_for((outer + group - 1) / group, [&](long task) {
            for (long o = task * group; o < (task + 1) * group && o < outer; ++o) {
                const T* p = x + o * n;
                T* to = values + o * n;
                std::int64_t* at = indices + o * n;
                T best = p[0];
                accumulator<T> b = static_cast<accumulator<T>>(best);
                long where = 0;
                for (long k = 0; k < n; ++k) {
                    const accumulator<T> v = static_cast<accumulator<T>>(p[k]);
                    if (TENON_UNLIKELY(v != v || (Max ? v >= b : v <= b))) {  // seldom true in the long run: a branch costs nothing
                        b = v;
                        best = p[k];
                        where = k;
                    }
                    to[k] = best;
                    at[k] = where;
                }
            }
        });
        return;
    }
    const long blocks = (inner + scan_width - 1) / scan_width, width = (inner + blocks - 1) / blocks;
    parallel_for(outer * blocks, [&](long task) {
        const long j = task % blocks * width, at = task / blocks * n * inner + j, count = inner - j < width ? inner - j : width;
        for (long i = 0; i < count; ++i) {
            values[at + i] = x[at + i];
            indices[at + i] = 0;
        }
        dispatch<CumulativeColumnsBody<Max>, reduce_isa>(x + at, n, inner, count, values + at, indices + at);
    });
}

// Calls f(first element of a block of neighbouring lines, how many) for all lines of [outer, n, inner], in parallel.
template <class F>
void for_line_blocks(long outer, long n, long inner, F&& f) {
    if (outer <= 0 || n <= 0 || inner <= 0) return;
    constexpr long most = 64;
    const long blocks = (inner + most - 1) / most, lines = outer * blocks;
    long group = scan_part / (n * (inner < most ? inner : most));
    if (group < 1) group = 1;
    parallel_for((lines + group - 1) / group, [&](long task) {
        for (long line = task * group; line < (task + 1) * group && line < lines; ++line) {
            const long j = line % blocks * most;
            f(line / blocks * n * inner + j, inner - j < most ? inner - j : most);
        }
    });
}

}  // namespace impl

// Running sum over the axis (from the end with reverse). Out is T, or int64 for integers, which wrap around. add: to what
// y holds.
template <class T, class Out>
void cumsum(long outer, long n, long inner, const T* x, Out* y, bool reverse = false, bool add = false) {
    if (reverse) impl::scan_axis<impl::Scan::sum, true>(outer, n, inner, x, y, add);
    else impl::scan_axis<impl::Scan::sum, false>(outer, n, inner, x, y, add);
}

// Running product over the axis (from the end with reverse).
template <class T, class Out>
void cumprod(long outer, long n, long inner, const T* x, Out* y, bool reverse = false) {
    if (reverse) impl::scan_axis<impl::Scan::product, true>(outer, n, inner, x, y, false);
    else impl::scan_axis<impl::Scan::product, false>(outer, n, inner, x, y, false);
}

// Running maximum / minimum over the axis and where it was found: of several the last one, and a NaN stays.
template <class T>
void cummax(long outer, long n, long inner, const T* x, T* values, std::int64_t* indices) {
    impl::cumulative_extreme<true>(outer, n, inner, x, values, indices);
}
template <class T>
void cummin(long outer, long n, long inner, const T* x, T* values, std::int64_t* indices) {
    impl::cumulative_extreme<false>(outer, n, inner, x, values, indices);
}

// Backward of cumprod: dx[k] = sum over j >= k of dy[j] times the product of x[0 .. j] without x[k]; add adds to dx.
// Without zeros that is a running sum of dy y from the end, divided by x. The first zero of a line splits it: what comes
// before is the same, shorter sum; the zero itself gets the products without it; nothing after it matters. reverse: of the
// running product from the end.
template <class T>
void cumprod_backward(long outer, long n, long inner, const T* x, const T* y, const T* dy, T* dx, bool add, bool reverse = false) {
    const long step = reverse ? -inner : inner;
    impl::for_line_blocks(outer, n, inner, [&](long first, long width) {
        const long at = reverse ? first + (n - 1) * inner : first;
        double sum[64] = {};
        long zero[64];
        for (long j = 0; j < width; ++j) zero[j] = n;
        for (long r = n - 1; r >= 0; --r)
            for (long j = 0; j < width; ++j)
                if (impl::scan_load<double>(x + at + r * step + j) == 0) zero[j] = r;
        for (long r = n - 1; r >= 0; --r)
            for (long j = 0; j < width; ++j) {
                const long i = at + r * step + j;
                if (r < zero[j]) {
                    sum[j] += impl::scan_load<double>(dy + i) * impl::scan_load<double>(y + i);
                    impl::scan_store(dx + i, sum[j] / impl::scan_load<double>(x + i), add);
                } else if (r > zero[j]) {
                    impl::scan_store(dx + i, 0., add);
                }
            }
        for (long j = 0; j < width; ++j) {
            if (zero[j] == n) continue;
            const long i = at + zero[j] * step + j;
            double product = zero[j] > 0 ? impl::scan_load<double>(y + i - step) : 1, total = product * impl::scan_load<double>(dy + i);
            for (long r = zero[j] + 1; r < n; ++r) {
                product *= impl::scan_load<double>(x + at + r * step + j);
                total += product * impl::scan_load<double>(dy + at + r * step + j);
            }
            impl::scan_store(dx + i, total, add);
        }
    });
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
