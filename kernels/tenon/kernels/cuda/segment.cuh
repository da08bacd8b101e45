// Reductions over segments of rows on the device (cpu/segment.hpp): one pair of kernels for all of them.
//
// How long segments are is known to the device alone. A thread takes one column of a short segment, so that neighbours
// read neighbouring elements; a block takes some columns of a long one, its rows dealt out to the threads and their states
// merged in a fixed order. An operation says what a state is:
//
//     State start(); void add(State&, long k, long j); void merge(State&, const State& later);
//     void finish(State&, long s, long j, long count, bool write);     every thread that goes on has the state
//     void row(const State&, long s, long k, long j);                  then, where by_row is true
#pragma once

#include <tenon/base/simd_math.hpp>
#include <tenon/kernels/cpu/segment.hpp>
#include <tenon/kernels/cuda/each.cuh>
#include <tenon/kernels/cuda/scatter.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

inline constexpr long short_segment = 256;

struct SegmentSpace {
    long segments;
    const std::int64_t* pointers;
    long width;
};

template <class Op>
__global__ void short_segments(Op op, SegmentSpace a) {
#if TENON_DEVICE_CODE
    const long stride = static_cast<long>(gridDim.x) * blockDim.x, total = a.segments * a.width;
    for (long flat = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x; flat < total; flat += stride) {
        const long s = flat / a.width, j = flat - s * a.width;
        const long first = static_cast<long>(a.pointers[s]), last = static_cast<long>(a.pointers[s + 1]);
        if (last - first > short_segment) continue;
        typename Op::State state = op.start();
        for (long k = first; k < last; ++k) op.add(state, k, j);
        op.finish(state, s, j, last - first, true);
        if constexpr (Op::by_row)
            for (long k = first; k < last; ++k) op.row(state, s, k, j);
    }
#endif
}
// A block looks at `share` segments (at most block_threads) at a time. columns: a power of two up to 32.
template <class Op>
__global__ void long_segments(Op op, SegmentSpace a, int share, unsigned columns) {
#if TENON_DEVICE_CODE
    using State = typename Op::State;
    TENON_SHARED(State, states, block_threads);
    TENON_SHARED(bool, is_long, block_threads);
    const unsigned x = threadIdx.x & (columns - 1), y = threadIdx.x / columns, rows = block_threads / columns;
    for (long base = static_cast<long>(blockIdx.x) * share; base < a.segments; base += static_cast<long>(gridDim.x) * share) {
        const long own = base + threadIdx.x;
        const bool mine = static_cast<int>(threadIdx.x) < share && own < a.segments;
        const bool here = mine && a.pointers[own + 1] - a.pointers[own] > short_segment;
        is_long[threadIdx.x] = here;
        if (!__syncthreads_or(here)) continue;
        for (int q = 0; q < share; ++q) {
            if (!is_long[q]) continue;
            const long s = base + q, first = static_cast<long>(a.pointers[s]), last = static_cast<long>(a.pointers[s + 1]);
            for (long begin = static_cast<long>(blockIdx.y) * columns; begin < a.width; begin += static_cast<long>(gridDim.y) * columns) {
                const long j = begin + x;
                State state = op.start();
                if (j < a.width)
                    for (long k = first + y; k < last; k += rows) op.add(state, k, j);
                states[threadIdx.x] = state;
                __syncthreads();
                for (unsigned half = rows / 2; half > 0; half /= 2) {
                    if (y < half) op.merge(states[threadIdx.x], states[threadIdx.x + half * columns]);
                    __syncthreads();
                }
                state = states[x];
                __syncthreads();  // the states have been read
                if (j >= a.width) continue;
                op.finish(state, s, j, last - first, y == 0);
                if constexpr (Op::by_row)
                    for (long k = first + y; k < last; k += rows) op.row(state, s, k, j);
            }
        }
        __syncthreads();  // is_long has been read
    }
#endif
}
template <class Op>
void for_segments(const char* name, const Op& op, long segments, const std::int64_t* pointers, long width) {
    if (segments <= 0 || width <= 0) return;
    const SegmentSpace space{segments, pointers, width};
    launch(name, short_segments<Op>, blocks_for(segments * width, block_threads), block_threads, op, space);
    long share = segments / 4096;
    share = share < 1 ? 1 : share > block_threads ? block_threads : share;
    unsigned columns = 1;
    while (columns < 32 && columns < static_cast<unsigned long>(width)) columns *= 2;
    const long tiles = (width + columns - 1) / columns;
    const dim3 grid(static_cast<unsigned>(blocks_for(segments, share)), static_cast<unsigned>(tiles < 65535 ? tiles : 65535));
    launch(name, long_segments<Op>, grid, dim3(block_threads), std::size_t(0), op, space, static_cast<int>(share), columns);
}

namespace segment_impl {

template <class T> struct state_sum { using type = T; };
template <> struct state_sum<float> { using type = double; };

template <class I>
TENON_FUNCTOR long row_of(const I* order, long k) { return order == nullptr ? k : static_cast<long>(order[k]); }

// Sums are double: a long segment's float sum would lose digits.
template <class T, class I>
struct SumOp {
    using A = typename cpu::impl::sum_type<T>::type;
    using State = typename state_sum<A>::type;
    static constexpr bool by_row = false;
    const I* order;
    const T *coefficient, *x;
    long width;
    bool mean, accumulate;
    T* y;
    TENON_FUNCTOR State start() const { return State(0); }
    TENON_FUNCTOR void add(State& sum, long k, long j) const {
        const A v = static_cast<A>(x[row_of(order, k) * width + j]);
        sum = static_cast<State>(sum + static_cast<State>(coefficient == nullptr ? v : static_cast<A>(static_cast<A>(coefficient[k]) * v)));
    }
    TENON_FUNCTOR void merge(State& a, const State& b) const { a = static_cast<State>(a + b); }
    TENON_FUNCTOR void finish(State& sum, long s, long j, long count, bool write) const {
        if (!write) return;
        T& to = y[s * width + j];
        if (mean && count > 0) sum = static_cast<State>(sum / static_cast<State>(count));
        to = static_cast<T>(static_cast<A>(accumulate ? static_cast<State>(static_cast<State>(static_cast<A>(to)) + sum) : sum));
    }
    TENON_FUNCTOR void row(const State&, long, long, long) const {}
};
template <class T>
struct SumBackwardOp {
    using A = typename cpu::impl::sum_type<T>::type;
    using State = A;
    static constexpr bool by_row = true;
    const std::int64_t* order;
    const T* dy;
    long width;
    bool mean, accumulate;
    T* dx;
    TENON_FUNCTOR State start() const { return A(0); }
    TENON_FUNCTOR void add(State&, long, long) const {}
    TENON_FUNCTOR void merge(State&, const State&) const {}
    TENON_FUNCTOR void finish(State& share, long s, long j, long count, bool) const {
        share = static_cast<A>(dy[s * width + j]);
        if (mean && count > 0) share = static_cast<A>(static_cast<A>(1.0 / static_cast<double>(count)) * share);
    }
    TENON_FUNCTOR void row(const State& share, long, long k, long j) const {
        T& to = dx[row_of(order, k) * width + j];
        to = static_cast<T>(accumulate ? static_cast<A>(static_cast<A>(to) + share) : share);
    }
};
template <bool Max, class T>
struct ExtremeOp {
    using A = typename cpu::impl::sum_type<T>::type;
    struct State {
        A value;
        long k;  // -1: none yet
    };
    static constexpr bool by_row = false;
    const std::int64_t* order;
    const T* x;
    long width;
    T* y;
    std::int64_t* at;
    TENON_FUNCTOR State start() const { return {A(0), -1}; }
    // Whether v beats the best so far, which comes first; NaN beats everything but NaN.
    static TENON_FUNCTOR bool beats(A v, A best) { return best == best && (v != v || (Max ? v > best : v < best)); }
    TENON_FUNCTOR void add(State& best, long k, long j) const {
        const A v = static_cast<A>(x[row_of(order, k) * width + j]);
        if (best.k < 0 || beats(v, best.value)) best = {v, k};
    }
    TENON_FUNCTOR void merge(State& a, const State& b) const {
        if (b.k < 0) return;
        const bool later = a.k < b.k;
        if (a.k < 0 || (later ? beats(b.value, a.value) : !beats(a.value, b.value))) a = b;
    }
    TENON_FUNCTOR void finish(State& best, long s, long j, long, bool write) const {
        if (!write) return;
        y[s * width + j] = best.k < 0 ? static_cast<T>(A(0)) : x[row_of(order, best.k) * width + j];
        at[s * width + j] = best.k < 0 ? -1 : row_of(order, best.k);
    }
    TENON_FUNCTOR void row(const State&, long, long, long) const {}
};
// The maximum and the sum of exponentials in one pass: the sum is scaled where a new maximum comes.
template <class T>
struct SoftmaxOp {
    using A = typename cpu::impl::sum_type<T>::type;
    struct State {
        A top, sum;
    };
    static constexpr bool by_row = true;
    const std::int64_t* order;
    const T* x;
    long width;
    T* y;
    TENON_FUNCTOR State start() const { return {static_cast<A>(-__builtin_inf()), A(0)}; }
    TENON_FUNCTOR void add(State& a, long k, long j) const {
        const A v = static_cast<A>(x[row_of(order, k) * width + j]);
        if (v > a.top) {
            a.sum = a.sum * math::exp(a.top - v) + A(1);
            a.top = v;
        } else {
            a.sum += v == a.top ? A(1) : math::exp(v - a.top);
        }
    }
    TENON_FUNCTOR void merge(State& a, const State& b) const {
        if (b.top > a.top) {
            a.sum = a.sum * math::exp(a.top - b.top) + b.sum;
            a.top = b.top;
        } else {
            a.sum += b.top == a.top ? b.sum : b.sum * math::exp(b.top - a.top);
        }
    }
    // (An infinite maximum makes everything NaN.)
    TENON_FUNCTOR void finish(State& a, long, long, long, bool) const { a.sum = A(1) / (a.sum + (a.top - a.top)); }
    TENON_FUNCTOR void row(const State& a, long, long k, long j) const {
        const long at = row_of(order, k) * width + j;
        y[at] = static_cast<T>(math::exp(static_cast<A>(x[at]) - a.top) * a.sum);
    }
};
template <class T>
struct SoftmaxBackwardOp {
    using A = typename cpu::impl::sum_type<T>::type;
    using State = A;
    static constexpr bool by_row = true;
    const std::int64_t* order;
    const T *y, *dy;
    long width;
    T* dx;
    bool accumulate;
    TENON_FUNCTOR State start() const { return A(0); }
    TENON_FUNCTOR void add(State& sum, long k, long j) const {
        const long at = row_of(order, k) * width + j;
        sum += static_cast<A>(y[at]) * static_cast<A>(dy[at]);
    }
    TENON_FUNCTOR void merge(State& a, const State& b) const { a += b; }
    TENON_FUNCTOR void finish(State&, long, long, long, bool) const {}
    TENON_FUNCTOR void row(const State& sum, long, long k, long j) const {
        const long at = row_of(order, k) * width + j;
        const A d = static_cast<A>(y[at]) * (static_cast<A>(dy[at]) - sum);
        dx[at] = static_cast<T>(accumulate ? static_cast<A>(dx[at]) + d : d);
    }
};

// The first k in [0, count) with value(k) >= wanted.
template <class F>
TENON_FUNCTOR long lower_bound(long count, long wanted, const F& value) {
    long low = 0, high = count;
    while (low < high) {
        const long middle = (low + high) / 2;
        if (value(middle) < wanted) low = middle + 1;
        else high = middle;
    }
    return low;
}
template <class I>
struct SortedAt {
    const I* index;
    const std::int64_t* order;
    TENON_FUNCTOR long operator()(long k) const { return static_cast<long>(index[row_of(order, k)]); }
};
template <class I>
struct PointerStep {
    SortedAt<I> at;
    long rows;
    std::int64_t* pointers;
    TENON_FUNCTOR void operator()(long s) const { pointers[s] = lower_bound(rows, s, at); }
};
struct ExpandStep {
    SortedAt<std::int64_t> at;
    long segments;
    std::int64_t* segment_of;
    // The last segment that begins at k or before: empty ones begin where their successor does.
    TENON_FUNCTOR void operator()(long k) const { segment_of[k] = lower_bound(segments + 1, k + 1, at) - 1; }
};

}  // namespace segment_impl

// y[s, :] = (accumulate ? y : 0) + scale * sum over the segment of coefficient[k] * x[order[k], :]. Reads every row once.
template <class T, class I>
void segment_sum(long segments, const std::int64_t* pointers, const I* order, const T* coefficient, long width, const T* x, bool mean, T* y,
                 bool accumulate) {
    for_segments("segment_sum", segment_impl::SumOp<T, I>{order, coefficient, x, width, mean, accumulate, y}, segments, pointers,
                 width);
}
// dx[order[k], :] (+)= scale * dy[s, :] for the rows of segment s.
template <class T>
void segment_sum_backward(long segments, const std::int64_t* pointers, const std::int64_t* order, long width, const T* dy, bool mean, T* dx,
                          bool accumulate) {
    for_segments("segment_sum_backward", segment_impl::SumBackwardOp<T>{order, dy, width, mean, accumulate, dx}, segments, pointers,
                 width);
}
// y[s, :] = the largest (smallest) elements over the rows, at[s, :] = the first row that has it.
template <bool Max, class T>
void segment_extreme(long segments, const std::int64_t* pointers, const std::int64_t* order, long width, const T* x, T* y,
                     std::int64_t* at) {
    for_segments("segment_extreme", segment_impl::ExtremeOp<Max, T>{order, x, width, y, at}, segments, pointers, width);
}
// dx[at[s, j], j] += dy[s, j] where at is not -1; dx has `rows` rows.
template <class T>
void segment_choice_backward(long segments, long width, const T* dy, const std::int64_t* at, T* dx, long rows) {
    scatter_impl::add_elements_axis<typename cpu::impl::sum_type<T>::type>(1, rows, segments, width, dy, at, dx);
}
// y[k, j] = exp(x[k, j]) / sum of exp(x[., j]) over the rows of k's segment. Reads x twice (the second time from the caches
// where segments are short) and writes y once.
template <class T>
void segment_softmax(long segments, const std::int64_t* pointers, const std::int64_t* order, long width, const T* x, T* y) {
    for_segments("segment_softmax", segment_impl::SoftmaxOp<T>{order, x, width, y}, segments, pointers, width);
}
// dx (+)= y * (dy - sum of dy * y over the segment).
template <class T>
void segment_softmax_backward(long segments, const std::int64_t* pointers, const std::int64_t* order, long width, const T* y, const T* dy, T* dx,
                              bool accumulate) {
    for_segments("segment_softmax_backward", segment_impl::SoftmaxBackwardOp<T>{order, y, dy, width, dx, accumulate}, segments, pointers, width);
}

// pointers[s] = the first k with index[order[k]] >= s, for s in [0, segments].
template <class I>
void sorted_pointers(long rows, long segments, const I* index, const std::int64_t* order, std::int64_t* pointers) {
    each(segments + 1, segment_impl::PointerStep<I>{{index, order}, rows, pointers});
}
// segment_of[k] = the segment that k is in, for k in [0, count).
inline void expand_pointers(long segments, const std::int64_t* pointers, long count, std::int64_t* segment_of) {
    each(count, segment_impl::ExpandStep{{pointers, nullptr}, segments, segment_of});
}

// to[k] = a[a_row[k], :] . b[b_row[k], :]: a warp for each.
template <class T, class I>
__global__ void dot_row_pairs(long count, long width, const T* a, const std::int64_t* a_row, const T* b, const I* b_row, T* to) {
#if TENON_DEVICE_CODE
    using A = typename cpu::impl::sum_type<T>::type;
    const long warps = static_cast<long>(gridDim.x) * (blockDim.x / 32), lane = threadIdx.x % 32;
    for (long k = static_cast<long>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32; k < count; k += warps) {
        const T* p = a + a_row[k] * width;
        const T* q = b + static_cast<long>(b_row[k]) * width;
        A sum = 0;
        for (long j = lane; j < width; j += 32) sum += static_cast<A>(p[j]) * static_cast<A>(q[j]);
        sum = warp_sum(sum);
        if (lane == 0) to[k] = static_cast<T>(sum);
    }
#endif
}
template <class T, class I>
void dot_rows(long count, long width, const T* a, const std::int64_t* a_row, const T* b, const I* b_row, T* to) {
    if (count <= 0) return;
    launch("dot_rows", dot_row_pairs<T, I>, blocks_for(count, block_threads / 32), block_threads, count, width, a, a_row, b, b_row, to);
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
