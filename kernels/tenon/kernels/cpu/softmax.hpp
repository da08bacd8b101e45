// Softmax and log-softmax, forward and backward.
//
// Rows are contiguous: [rows, columns]. Short rows are turned on their side, a vector's lanes are rows then; long ones
// make three passes in cache (maximum; exponentials and their sum; scale). Softmax also runs over the middle axis of
// [outer, n, inner], with the lanes along inner. 16-bit types compute in float. A row's bits depend on its length, the
// type and the instruction set only.
#pragma once

#include <tenon/base/dispatch.hpp>
#include <tenon/base/parallel.hpp>
#include <tenon/base/simd.hpp>
#include <tenon/base/simd_math.hpp>
#include <tenon/kernels/cpu/reduce.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

namespace reference {

// The plain versions, in double, over the middle axis.
template <bool Log, class T>
void softmax(long outer, long n, long inner, const T* x, T* y) {
    using A = accumulator<T>;
    for (long o = 0; o < outer; ++o)
        for (long i = 0; i < inner; ++i) {
            const long at = o * n * inner + i;
            double largest = -__builtin_inf(), sum = 0;
            for (long k = 0; k < n; ++k)
                if (double(A(x[at + k * inner])) > largest) largest = double(A(x[at + k * inner]));
            for (long k = 0; k < n; ++k) sum += __builtin_exp(double(A(x[at + k * inner])) - largest);
            for (long k = 0; k < n; ++k) {
                const double d = double(A(x[at + k * inner])) - largest;
                y[at + k * inner] = T(A(Log ? d - __builtin_log(sum) : __builtin_exp(d) / sum));
            }
        }
}
template <bool Log, class T>
void softmax_backward(long outer, long n, long inner, const T* y, const T* dy, T* dx, bool accumulate) {
    using A = accumulator<T>;
    for (long o = 0; o < outer; ++o)
        for (long i = 0; i < inner; ++i) {
            const long at = o * n * inner + i;
            double sum = 0;
            for (long k = 0; k < n; ++k) sum += double(A(dy[at + k * inner])) * (Log ? 1 : double(A(y[at + k * inner])));
            for (long k = 0; k < n; ++k) {
                const long e = at + k * inner;
                const double p = double(A(y[e])), d = double(A(dy[e]));
                const double r = Log ? d - __builtin_exp(p) * sum : p * (d - sum);
                dx[e] = T(A(r + (accumulate ? double(A(dx[e])) : 0)));
            }
        }
}
}  // namespace reference

namespace impl {

constexpr long softmax_short = fold_short;  // rows up to here are turned on their side
constexpr long softmax_task = 16384;        // elements per task
constexpr long softmax_width = 64;          // columns per task of the middle-axis form

// Element k of lane l is x[k * stride + l]: every lane is a softmax of its own.
template <bool Part, class A, int N, class T>
TENON_ALWAYS_INLINE simd<A, N> lanes_max(long n, const T* x, long stride, long count) {
    simd<A, N> m = load_some<Part, A, N>(x, count);
    for (long k = 1; k < n; ++k) m = max(m, load_some<Part, A, N>(x + k * stride, count));
    return m;
}
template <bool Log, bool Part, class A, int N, class T>
TENON_ALWAYS_INLINE void lanes_softmax(long n, const T* x, T* y, long stride, long count) {
    using V = simd<A, N>;
    const V m = lanes_max<Part, A, N>(n, x, stride, count);
    V sum(0);
    for (long k = 0; k < n; ++k) {
        const V e = row_exp(load_some<Part, A, N>(x + k * stride, count) - m);
        // 16-bit outputs cannot hold the intermediate; they take the exponential twice.
        if constexpr (!Log && std::is_same_v<A, T>) store_some<Part, A, N>(y + k * stride, e, count);
        sum += e;
    }
    if constexpr (Log) {
        const V l = math::log(sum);
        for (long k = 0; k < n; ++k)
            store_some<Part, A, N>(y + k * stride, (load_some<Part, A, N>(x + k * stride, count) - m) - l, count);
    } else {
        const V factor = V(1) / sum;
        for (long k = 0; k < n; ++k) {
            V e;
            if constexpr (std::is_same_v<A, T>) e = load_some<Part, A, N>(y + k * stride, count);
            else e = row_exp(load_some<Part, A, N>(x + k * stride, count) - m);
            store_some<Part, A, N>(y + k * stride, e * factor, count);
        }
    }
}
template <bool Log, bool Part, class A, int N, class T>
TENON_ALWAYS_INLINE void lanes_softmax_backward(long n, const T* y, const T* dy, T* dx, long stride, long count, bool accumulate) {
    using V = simd<A, N>;
    V sum(0);
    for (long k = 0; k < n; ++k) {
        const V d = load_some<Part, A, N>(dy + k * stride, count);
        if constexpr (Log) sum += d;
        else sum += d * load_some<Part, A, N>(y + k * stride, count);
    }
    for (long k = 0; k < n; ++k) {
        const V p = load_some<Part, A, N>(y + k * stride, count), d = load_some<Part, A, N>(dy + k * stride, count);
        V r;
        if constexpr (Log) r = d - row_exp(p) * sum;
        else r = p * (d - sum);
        if (accumulate) r = r + load_some<Part, A, N>(dx + k * stride, count);
        store_some<Part, A, N>(dx + k * stride, r, count);
    }
}

// The way back from turn_in.
template <class A, int N, class T>
TENON_ALWAYS_INLINE void turn_out(long rows, long columns, const A* buffer, T* y) {
    for (long c = 0; c < columns; ++c)
        for (long l = 0; l < rows; ++l) y[l * columns + c] = static_cast<T>(buffer[c * N + l]);
}

template <bool Log>
struct SoftmaxRowsBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long rows, long columns, const T* x, T* y) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        using V = simd<A, N>;
        if constexpr (Lanes <= 8)
            if (columns <= softmax_short) return turned<A, N>(rows, columns, x, y);
        for (long r = 0; r < rows; ++r) {
            const T* from = x + r * columns;
            T* to = y + r * columns;
            const A largest = fold_contiguous<Fold::max, A, fold_lanes<A, N>>(from, columns, A(0));
            constexpr bool keep = !Log && std::is_same_v<A, T>;
            const double sum = row_exponentials<keep, A, N>(from, columns, largest, to);
            const V m(largest), factor(A(1 / sum)), l(Log ? A(math::log(sum)) : A(0));
            const T* p = keep ? to : from;
            const V last = step<keep>(load_lanes<A, N>(p + columns - N), m, factor, l);
            for (long c = 0; c + N <= columns; c += N) store_lanes<A, N>(to + c, step<keep>(load_lanes<A, N>(p + c), m, factor, l));
            store_lanes<A, N>(to + columns - N, last);
        }
    }
    template <class A, int N, class T>
    static TENON_ALWAYS_INLINE void turned(long rows, long columns, const T* x, T* y) {
        A in[softmax_short * N], out[softmax_short * N];
        for (long r = 0; r < rows; r += N) {
            const long count = rows - r < N ? rows - r : N;
            turn_in<A, N>(count, columns, x + r * columns, in);
            lanes_softmax<Log, false, A, N>(columns, in, out, N, N);
            turn_out<A, N>(count, columns, out, y + r * columns);
        }
    }
    template <bool Kept, class V>
    static TENON_ALWAYS_INLINE V step(const V& v, const V& m, const V& factor, const V& l) {
        if constexpr (Log) return (v - m) - l;
        else if constexpr (Kept) return v * factor;
        else return row_exp(v - m) * factor;
    }
};

template <bool Log>
struct SoftmaxRowsBackwardBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long rows, long columns, const T* y, const T* dy, T* dx, bool accumulate) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        using V = simd<A, N>;
        if (columns <= softmax_short) {
            A in[softmax_short * N], d[softmax_short * N], out[softmax_short * N];
            for (long r = 0; r < rows; r += N) {
                const long count = rows - r < N ? rows - r : N;
                turn_in<A, N>(count, columns, y + r * columns, in);
                turn_in<A, N>(count, columns, dy + r * columns, d);
                if (accumulate) turn_in<A, N>(count, columns, dx + r * columns, out);
                lanes_softmax_backward<Log, false, A, N>(columns, in, d, out, N, N, accumulate);
                turn_out<A, N>(count, columns, out, dx + r * columns);
            }
            return;
        }
        for (long r = 0; r < rows; ++r) {
            const T *p = y + r * columns, *q = dy + r * columns;
            T* to = dx + r * columns;
            double total = 0;
            for (long begin = 0; begin < columns; begin += fold_block) {
                const long end = begin + fold_block < columns ? begin + fold_block : columns;
                V a(0), b(0);
                long c = begin;
                for (; c + 2 * N <= end; c += 2 * N) {
                    const V s = load_lanes<A, N>(q + c), t = load_lanes<A, N>(q + c + N);
                    if constexpr (Log) {
                        a += s;
                        b += t;
                    } else {
                        a += s * load_lanes<A, N>(p + c);
                        b += t * load_lanes<A, N>(p + c + N);
                    }
                }
                for (; c + N <= end; c += N) {
                    const V s = load_lanes<A, N>(q + c);
                    if constexpr (Log) a += s;
                    else a += s * load_lanes<A, N>(p + c);
                }
                if (c < end) {
                    const auto fresh = lane_numbers<A, N>() >= V(A(N - (end - c)));
                    V s = load_lanes<A, N>(q + columns - N);
                    if constexpr (!Log) s = s * load_lanes<A, N>(p + columns - N);
                    b += select(fresh, s, V(0));
                }
                total += static_cast<double>(reduce_add(a + b));
            }
            const V sum{A(total)};
            // Computed first: dx may be y or dy, and the last vector overlaps the one before it.
            const long tail = columns - N;
            const V last = step<A, N>(p + tail, q + tail, to + tail, sum, accumulate);
            for (long c = 0; c + N <= columns; c += N) store_lanes<A, N>(to + c, step<A, N>(p + c, q + c, to + c, sum, accumulate));
            store_lanes<A, N>(to + tail, last);
        }
    }
    template <class A, int N, class T>
    static TENON_ALWAYS_INLINE simd<A, N> step(const T* p, const T* q, const T* to, const simd<A, N>& sum, bool accumulate) {
        const simd<A, N> v = load_lanes<A, N>(p), d = load_lanes<A, N>(q);
        simd<A, N> result;
        if constexpr (Log) result = d - row_exp(v) * sum;
        else result = v * (d - sum);
        if (accumulate) result = result + load_lanes<A, N>(to);
        return result;
    }
};

template <bool Log>
struct SoftmaxAxisBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long n, long inner, long width, const T* x, T* y) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        long j = 0;
        for (; j + N <= width; j += N) lanes_softmax<Log, false, A, N>(n, x + j, y + j, inner, N);
        if (j < width) lanes_softmax<Log, true, A, N>(n, x + j, y + j, inner, width - j);
    }
};
template <bool Log>
struct SoftmaxAxisBackwardBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long n, long inner, long width, const T* y, const T* dy, T* dx, bool accumulate) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        long j = 0;
        for (; j + N <= width; j += N) lanes_softmax_backward<Log, false, A, N>(n, y + j, dy + j, dx + j, inner, N, accumulate);
        if (j < width) lanes_softmax_backward<Log, true, A, N>(n, y + j, dy + j, dx + j, inner, width - j, accumulate);
    }
};

// Calls f(first row, rows) over tasks of a fixed size.
template <class F>
void for_rows(long rows, long columns, F&& f) {
    if (rows <= 0 || columns <= 0) return;
    // Whole groups of lanes, so that short rows fill their vectors.
    long per = softmax_task / columns;
    per = per < 16 ? (columns > 1024 ? 1 : 16) : per / 16 * 16;
    parallel_for((rows + per - 1) / per, [&](long task) { f(task * per, rows - task * per < per ? rows - task * per : per); });
}
template <class F>
void for_axis(long outer, long n, long inner, F&& f) {
    if (outer <= 0 || n <= 0 || inner <= 0) return;
    const long blocks = (inner + softmax_width - 1) / softmax_width;
    long group = softmax_task / (n * (inner < softmax_width ? inner : softmax_width));
    if (group < 1) group = 1;
    const long items = outer * blocks;
    parallel_for((items + group - 1) / group, [&](long task) {
        for (long item = task * group; item < (task + 1) * group && item < items; ++item) {
            const long j = item % blocks * softmax_width;
            f(item / blocks * n * inner + j, inner - j < softmax_width ? inner - j : softmax_width);
        }
    });
}

template <bool Log, class T>
void softmax_any(long outer, long n, long inner, const T* x, T* y) {
    if (inner == 1)
        for_rows(outer, n, [&](long first, long rows) {
            if (n <= softmax_short) dispatch<SoftmaxRowsBody<Log>, reduce_isa>(rows, n, x + first * n, y + first * n);
            else dispatch<SoftmaxRowsBody<Log>, row_isa<T>>(rows, n, x + first * n, y + first * n);
        });
    else
        for_axis(outer, n, inner, [&](long at, long width) { dispatch<SoftmaxAxisBody<Log>, reduce_isa>(n, inner, width, x + at, y + at); });
}
template <bool Log, class T>
void softmax_backward_any(long outer, long n, long inner, const T* y, const T* dy, T* dx, bool accumulate) {
    if (inner == 1)
        for_rows(outer, n, [&](long first, long rows) {
            dispatch<SoftmaxRowsBackwardBody<Log>, reduce_isa>(rows, n, y + first * n, dy + first * n, dx + first * n, accumulate);
        });
    else
        for_axis(outer, n, inner, [&](long at, long width) {
            dispatch<SoftmaxAxisBackwardBody<Log>, reduce_isa>(n, inner, width, y + at, dy + at, dx + at, accumulate);
        });
}

}  // namespace impl

// y = softmax of x over the middle axis of [outer, n, inner]; rows of a matrix are inner = 1. T: float, double, bf16,
// half. y may be x. A row of -inf gives NaN, as does one with NaN or +inf.
template <class T>
void softmax(long outer, long n, long inner, const T* x, T* y) {
    impl::softmax_any<false>(outer, n, inner, x, y);
}
// y = log(softmax(x)), computed as (x - max) - log(sum(exp(x - max))).
template <class T>
void log_softmax(long outer, long n, long inner, const T* x, T* y) {
    impl::softmax_any<true>(outer, n, inner, x, y);
}
// From y = softmax(x): dx = y * (dy - sum(dy * y)); accumulate adds to dx.
template <class T>
void softmax_backward(long outer, long n, long inner, const T* y, const T* dy, T* dx, bool accumulate) {
    impl::softmax_backward_any<false>(outer, n, inner, y, dy, dx, accumulate);
}
// From y = log_softmax(x): dx = dy - exp(y) * sum(dy); accumulate adds to dx.
template <class T>
void log_softmax_backward(long outer, long n, long inner, const T* y, const T* dy, T* dx, bool accumulate) {
    impl::softmax_backward_any<true>(outer, n, inner, y, dy, dx, accumulate);
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
