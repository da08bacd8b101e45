// Reductions over segments of rows: sum, mean, extremes and softmax per segment and column, and their backward passes.
//
// Segment s holds the rows order[k] of x for k in [pointers[s], pointers[s + 1]), or the rows k themselves where order is
// null. Every segment is one task's: nothing races, and bits do not depend on threads. A segment without rows gives 0.
#pragma once

#include <tenon/base/simd_math.hpp>
#include <tenon/kernels/cpu/gather.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

namespace reference {

// The plain versions, in double.
template <class T>
void segment_sum(long segments, const std::int64_t* pointers, const std::int64_t* order, long width, const T* x, double* y) {
    for (long s = 0; s < segments; ++s)
        for (long j = 0; j < width; ++j) {
            y[s * width + j] = 0;
            for (long k = pointers[s]; k < pointers[s + 1]; ++k)
                y[s * width + j] += static_cast<double>(x[(order == nullptr ? k : static_cast<long>(order[k])) * width + j]);
        }
}
// The first position of the largest (a NaN is larger than everything), or -1 of an empty segment.
template <bool Max, class T>
void segment_extreme(long segments, const std::int64_t* pointers, const std::int64_t* order, long width, const T* x, std::int64_t* at) {
    for (long s = 0; s < segments; ++s)
        for (long j = 0; j < width; ++j) {
            long best = -1;
            for (long k = pointers[s]; k < pointers[s + 1]; ++k) {
                const long row = order == nullptr ? k : static_cast<long>(order[k]);
                const double v = static_cast<double>(x[row * width + j]);
                if (best < 0) best = row;
                const double b = static_cast<double>(x[best * width + j]);
                if (b == b && (v != v || (Max ? v > b : v < b))) best = row;
            }
            at[s * width + j] = best;
        }
}

template <class T>
void segment_softmax(long segments, const std::int64_t* pointers, const std::int64_t* order, long width, const T* x, double* y) {
    for (long s = 0; s < segments; ++s)
        for (long j = 0; j < width; ++j) {
            auto at = [&](long k) { return (order == nullptr ? k : static_cast<long>(order[k])) * width + j; };
            double largest = -__builtin_inf(), sum = 0;
            for (long k = pointers[s]; k < pointers[s + 1]; ++k)
                if (static_cast<double>(x[at(k)]) > largest) largest = static_cast<double>(x[at(k)]);
            for (long k = pointers[s]; k < pointers[s + 1]; ++k) sum += __builtin_exp(static_cast<double>(x[at(k)]) - largest);
            for (long k = pointers[s]; k < pointers[s + 1]; ++k) y[at(k)] = __builtin_exp(static_cast<double>(x[at(k)]) - largest) / sum;
        }
}

}  // namespace reference

namespace impl {

// Calls f(segment) for all segments, shared out by rows: a task owns the segments that begin in its share of them.
template <class F>
void for_segments(long segments, const std::int64_t* pointers, long bytes_per_row, F&& f) {
    if (segments <= 0) return;
    long share = move_bytes / (bytes_per_row < 1 ? 1 : bytes_per_row);
    if (share < 1) share = 1;
    // Empty segments cost something too: every segment counts as one more row.
    const long total = static_cast<long>(pointers[segments] - pointers[0]) + segments;
    auto weight = [&](long s) { return static_cast<long>(pointers[s] - pointers[0]) + s; };
    parallel_for((total + share - 1) / share, [&](long task) {
        long low = 0, high = segments;
        while (low < high) {
            const long middle = (low + high) / 2;
            if (weight(middle) < task * share) low = middle + 1;
            else high = middle;
        }
        for (long s = low; s < segments && weight(s) < (task + 1) * share; ++s) f(s);
    });
}

// Largest (or smallest) elements of the rows of a segment and where they are.
template <bool Max>
struct SegmentExtremeBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(const T* x, long width, const std::int64_t* order, long first, long count, T* y, std::int64_t* at) {
        using A = typename sum_type<T>::type;
        using P = std::conditional_t<sizeof(A) == 4, std::int32_t, std::int64_t>;
        constexpr int N = move_lanes<A, Lanes>;
        using V = simd<A, N>;
        for (long j = 0; j < width; j += N) {
            const long rest = width - j;
            const long start = order == nullptr ? first : static_cast<long>(order[first]);
            V best = move_load<A, N>(x + start * width + j, rest);
            simd<P, N> where(0);
            for (long k = 1; k < count; ++k) {
                const long row = order == nullptr ? first + k : static_cast<long>(order[first + k]);
                const V v = move_load<A, N>(x + row * width + j, rest);
                auto better = Max ? v > best : v < best;
                if constexpr (std::is_floating_point_v<A>) better = (better | (v != v)) & (best == best);
                best = select(better, v, best);
                where = select(better, simd<P, N>(static_cast<P>(k)), where);
            }
            move_store<A, N>(y + j, best, rest);
            for (long q = 0; q < N && q < rest; ++q) {
                const long k = first + static_cast<long>(where[static_cast<int>(q)]);
                at[j + q] = order == nullptr ? k : order[k];
            }
        }
    }
};

// Missing lanes are minus infinity.
template <class A, int N, class T>
TENON_ALWAYS_INLINE simd<A, N> load_or_lowest(const T* p, long count) {
    if (count >= N) return move_load<A, N>(p, N);
    simd<A, N> v(-__builtin_inf());
    for (long q = 0; q < count; ++q) v.v[q] = static_cast<A>(p[q]);
    return v;
}

// Softmax over the rows of one contiguous segment, [count, width]: lanes are columns, or rows where there is one column.
// A column takes three passes: maximum; exponentials, which wait in y, and their sum; scale.
struct SegmentSoftmaxBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(const T* x, long count, long width, T* y) {
        using A = typename sum_type<T>::type;
        constexpr int N = move_lanes<A, Lanes>;
        using V = simd<A, N>;
        constexpr bool kept = std::is_same_v<A, T>;  // 16-bit types compute the exponential twice instead
        const V lowest(-__builtin_inf());
        if (width == 1) {
            V top = lowest;
            for (long k = 0; k < count; k += N) top = max(top, load_or_lowest<A, N>(x + k, count - k));
            A largest = top[0];
            for (int q = 1; q < N; ++q) largest = top[q] > largest || top[q] != top[q] ? top[q] : largest;
            const V shift(largest);
            V sum(0);
            for (long k = 0; k < count; k += N) {
                const V e = math::exp(load_or_lowest<A, N>(x + k, count - k) - shift);
                sum += e;
                if constexpr (kept) move_store<A, N>(y + k, e, count - k);
            }
            const V factor(A(1) / reduce_add(sum));
            for (long k = 0; k < count; k += N) {
                V e;
                if constexpr (kept) e = move_load<A, N>(y + k, count - k);
                else e = math::exp(load_or_lowest<A, N>(x + k, count - k) - shift);
                move_store<A, N>(y + k, e * factor, count - k);
            }
            return;
        }
        for (long j = 0; j < width; j += N) {
            const long rest = width - j;
            V top = lowest, sum(0);
            for (long k = 0; k < count; ++k) top = max(top, move_load<A, N>(x + k * width + j, rest));
            for (long k = 0; k < count; ++k) {
                const V e = math::exp(move_load<A, N>(x + k * width + j, rest) - top);
                sum += e;
                if constexpr (kept) move_store<A, N>(y + k * width + j, e, rest);
            }
            const V factor = V(1) / sum;
            for (long k = 0; k < count; ++k) {
                V e;
                if constexpr (kept) e = move_load<A, N>(y + k * width + j, rest);
                else e = math::exp(move_load<A, N>(x + k * width + j, rest) - top);
                move_store<A, N>(y + k * width + j, e * factor, rest);
            }
        }
    }
};

// dx (+)= y * (dy - sum of dy * y over the segment).
struct SegmentSoftmaxBackwardBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(const T* y, const T* dy, long count, long width, bool add, T* dx) {
        using A = typename sum_type<T>::type;
        constexpr int N = move_lanes<A, Lanes>;
        using V = simd<A, N>;
        const long stride = width == 1 ? N : width, steps = width == 1 ? (count + N - 1) / N : count;
        for (long j = 0; j < width; j += N) {
            V sum(0);
            for (long k = 0; k < steps; ++k) {
                const long rest = width == 1 ? count - k * N : width - j;
                sum += move_load<A, N>(y + k * stride + j, rest) * move_load<A, N>(dy + k * stride + j, rest);
            }
            if (width == 1) sum = V(reduce_add(sum));
            for (long k = 0; k < steps; ++k) {
                const long rest = width == 1 ? count - k * N : width - j;
                V d = move_load<A, N>(y + k * stride + j, rest) * (move_load<A, N>(dy + k * stride + j, rest) - sum);
                if (add) d += move_load<A, N>(dx + k * stride + j, rest);
                move_store<A, N>(dx + k * stride + j, d, rest);
            }
        }
    }
};

}  // namespace impl

// y[s, :] = (accumulate ? y : 0) + scale * sum over the segment of coefficient[k] * x[order[k], :]; scale is 1 / count of
// the segment where mean is set. coefficient null: ones. `order` may be of int32 too, and name rows several times.
template <class T, class I>
void segment_sum(long segments, const std::int64_t* pointers, const I* order, const T* coefficient, long width, const T* x, bool mean, T* y,
                 bool accumulate) {
    if (width <= 0) return;
    impl::for_segments(segments, pointers, width * static_cast<long>(sizeof(T)), [&](long s) {
        const long first = static_cast<long>(pointers[s]), count = static_cast<long>(pointers[s + 1]) - first;
        if (order != nullptr && s + 1 < segments) impl::prefetch_rows(x, width, order + first + count, static_cast<long>(pointers[s + 2]) - first - count);
        if (count == 0) {
            if (!accumulate) std::memset(static_cast<void*>(y + s * width), 0, static_cast<std::size_t>(width) * sizeof(T));
            return;
        }
        const double scale = mean ? 1.0 / static_cast<double>(count) : 1.0;
        if (width == 1) {
            // One column: numbers, not vectors; blocks as in the wide loop.
            using A = typename impl::sum_type<T>::type;
            A total = 0;
            for (long begin = first; begin < first + count; begin += impl::scatter_block) {
                const long end = begin + impl::scatter_block < first + count ? begin + impl::scatter_block : first + count;
                A a = 0;
                for (long k = begin; k < end; ++k) {
                    const A v = static_cast<A>(x[order == nullptr ? k : static_cast<long>(order[k])]);
                    a = static_cast<A>(a + (coefficient == nullptr ? v : static_cast<A>(static_cast<A>(coefficient[k]) * v)));
                }
                total = static_cast<A>(total + a);
            }
            if (mean) total = static_cast<A>(total * static_cast<A>(scale));
            y[s] = static_cast<T>(accumulate ? static_cast<A>(static_cast<A>(y[s]) + total) : total);
            return;
        }
        const T* from = order == nullptr ? x + first * width : x;
        dispatch<impl::RowsSumBody, Isa::avx2>(from, width, static_cast<const I*>(order == nullptr ? nullptr : order + first),
                                               static_cast<const T*>(coefficient == nullptr ? nullptr : coefficient + first), count, scale, accumulate,
                                               y + s * width);
    });
}

// dx[order[k], :] (+)= scale * dy[s, :] for the rows of segment s: the backward of segment_sum without coefficients, where
// every row is in one segment at most; rows in none are left alone.
template <class T>
void segment_sum_backward(long segments, const std::int64_t* pointers, const std::int64_t* order, long width, const T* dy, bool mean, T* dx,
                          bool accumulate) {
    if (width <= 0) return;
    using A = typename impl::sum_type<T>::type;
    impl::for_segments(segments, pointers, width * static_cast<long>(sizeof(T)), [&](long s) {
        const long first = static_cast<long>(pointers[s]), last = static_cast<long>(pointers[s + 1]);
        const A scale = static_cast<A>(mean ? 1.0 / static_cast<double>(last - first) : 1.0);
        const T* from = dy + s * width;
        for (long k = first; k < last; ++k) {
            T* to = dx + (order == nullptr ? k : static_cast<long>(order[k])) * width;
            if (!accumulate && !mean) __builtin_memcpy(static_cast<void*>(to), from, static_cast<std::size_t>(width) * sizeof(T));
            else if (!accumulate)
                for (long j = 0; j < width; ++j) to[j] = static_cast<T>(scale * static_cast<A>(from[j]));
            else
                for (long j = 0; j < width; ++j) to[j] = static_cast<T>(static_cast<A>(to[j]) + scale * static_cast<A>(from[j]));
        }
    });
}

// y[s, :] = the largest (smallest) elements over the rows of each segment, 0 where there are none; at[s, :] = the first
// row that has it, in the order of the segment, or -1. A NaN counts as larger (smaller) than everything.
template <bool Max, class T>
void segment_extreme(long segments, const std::int64_t* pointers, const std::int64_t* order, long width, const T* x, T* y, std::int64_t* at) {
    if (width <= 0) return;
    impl::for_segments(segments, pointers, width * static_cast<long>(sizeof(T)), [&](long s) {
        const long first = static_cast<long>(pointers[s]), count = static_cast<long>(pointers[s + 1]) - first;
        if (order != nullptr && s + 1 < segments) impl::prefetch_rows(x, width, order + first + count, static_cast<long>(pointers[s + 2]) - first - count);
        if (count == 0) {
            std::memset(static_cast<void*>(y + s * width), 0, static_cast<std::size_t>(width) * sizeof(T));
            for (long j = 0; j < width; ++j) at[s * width + j] = -1;
            return;
        }
        dispatch<impl::SegmentExtremeBody<Max>, Isa::avx2>(x, width, order, first, count, y + s * width, at + s * width);
    });
}

// dx[at[s, j], j] += dy[s, j] where at is not -1, in the order of s: columns apart between the threads, so rows may be in
// several segments. dx has `rows` rows, which devices ask for.
template <class T>
void segment_choice_backward(long segments, long width, const T* dy, const std::int64_t* at, T* dx, long rows) {
    static_cast<void>(rows);
    if (segments <= 0 || width <= 0) return;
    using A = typename impl::sum_type<T>::type;
    const long block = segments * width <= 65536 ? width : 32;
    parallel_for((width + block - 1) / block, [&](long task) {
        const long begin = task * block, end = begin + block < width ? begin + block : width;
        for (long s = 0; s < segments; ++s)
            for (long j = begin; j < end; ++j) {
                const long row = static_cast<long>(at[s * width + j]);
                if (row < 0) continue;
                T& to = dx[row * width + j];
                to = static_cast<T>(static_cast<A>(to) + static_cast<A>(dy[s * width + j]));
            }
    });
}

// y[k, j] = exp(x[k, j]) / sum of exp(x[., j]) over the rows of k's segment. Rows in no segment are left alone.
template <class T>
void segment_softmax(long segments, const std::int64_t* pointers, const std::int64_t* order, long width, const T* x, T* y) {
    if (width <= 0) return;
    const std::size_t bytes = static_cast<std::size_t>(width) * sizeof(T);
    impl::for_segments(segments, pointers, width * static_cast<long>(sizeof(T)) * 4, [&](long s) {
        const long first = static_cast<long>(pointers[s]), count = static_cast<long>(pointers[s + 1]) - first;
        if (count == 0) return;
        if (order == nullptr) return dispatch<impl::SegmentSoftmaxBody, Isa::avx2>(x + first * width, count, width, y + first * width);
        // Scattered rows are brought together first.
        const impl::Scratch<T> together(count * width);
        for (long k = 0; k < count; ++k) __builtin_memcpy(static_cast<void*>(together.data() + k * width), x + order[first + k] * width, bytes);
        const impl::Scratch<T> result(count * width);
        dispatch<impl::SegmentSoftmaxBody, Isa::avx2>(static_cast<const T*>(together.data()), count, width, result.data());
        for (long k = 0; k < count; ++k) __builtin_memcpy(static_cast<void*>(y + order[first + k] * width), result.data() + k * width, bytes);
    });
}

// dx (+)= y * (dy - sum of dy * y over the segment); rows in no segment are left alone.
template <class T>
void segment_softmax_backward(long segments, const std::int64_t* pointers, const std::int64_t* order, long width, const T* y, const T* dy, T* dx,
                              bool accumulate) {
    if (width <= 0) return;
    const std::size_t bytes = static_cast<std::size_t>(width) * sizeof(T);
    impl::for_segments(segments, pointers, width * static_cast<long>(sizeof(T)) * 4, [&](long s) {
        const long first = static_cast<long>(pointers[s]), count = static_cast<long>(pointers[s + 1]) - first;
        if (count == 0) return;
        if (order == nullptr)
            return dispatch<impl::SegmentSoftmaxBackwardBody, Isa::avx2>(y + first * width, dy + first * width, count, width, accumulate, dx + first * width);
        const impl::Scratch<T> own(count * width), given(count * width), result(count * width);
        for (long k = 0; k < count; ++k) {
            __builtin_memcpy(static_cast<void*>(own.data() + k * width), y + order[first + k] * width, bytes);
            __builtin_memcpy(static_cast<void*>(given.data() + k * width), dy + order[first + k] * width, bytes);
            if (accumulate) __builtin_memcpy(static_cast<void*>(result.data() + k * width), dx + order[first + k] * width, bytes);
        }
        dispatch<impl::SegmentSoftmaxBackwardBody, Isa::avx2>(static_cast<const T*>(own.data()), static_cast<const T*>(given.data()), count, width, accumulate,
                                                              result.data());
        for (long k = 0; k < count; ++k) __builtin_memcpy(static_cast<void*>(dx + order[first + k] * width), result.data() + k * width, bytes);
    });
}

// pointers[s] = the first k with index[order[k]] >= s, for s in [0, segments]; the indices ascend in that order.
template <class I>
void sorted_pointers(long rows, long segments, const I* index, const std::int64_t* order, std::int64_t* pointers) {
    long s = 0;
    for (long k = 0; k < rows; ++k)
        for (const long at = static_cast<long>(index[order == nullptr ? k : static_cast<long>(order[k])]); s <= at; ++s) pointers[s] = k;
    for (; s <= segments; ++s) pointers[s] = rows;
}
// segment_of[k] = the segment that k is in, for k in [0, count).
inline void expand_pointers(long segments, const std::int64_t* pointers, long count, std::int64_t* segment_of) {
    for (long s = 0; s < segments; ++s)
        for (std::int64_t k = pointers[s]; k < pointers[s + 1] && k < count; ++k) segment_of[k] = s;
}

namespace impl {

// a . b of rows, in the type that T adds up in.
struct DotRowsBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(const T* a, const T* b, long width, T* to) {
        using A = typename sum_type<T>::type;
        constexpr int N = move_lanes<A, Lanes>;
        simd<A, N> sum(0);
        for (long j = 0; j < width; j += N) sum += move_load<A, N>(a + j, width - j) * move_load<A, N>(b + j, width - j);
        *to = static_cast<T>(reduce_add(sum));
    }
};

}  // namespace impl

// to[k] = a[a_row[k], :] . b[b_row[k], :]
template <class T, class I>
void dot_rows(long count, long width, const T* a, const std::int64_t* a_row, const T* b, const I* b_row, T* to) {
    const long group = 65536 / (width + 1) + 1;
    parallel_for((count + group - 1) / group, [&](long task) {
        for (long k = task * group; k < (task + 1) * group && k < count; ++k)
            dispatch<impl::DotRowsBody, Isa::avx2>(a + a_row[k] * width, b + static_cast<long>(b_row[k]) * width, width, to + k);
    });
}

// How the rows of bags come back: place k of the sorted indices is of bag bag_of[order[k]], with what its row counts for there.
template <class T>
struct BagStep {
    const std::int64_t *order, *bag_of, *pointers;
    const T* weights;  // null: ones
    bool mean;
    std::int64_t* bag;
    T* factors;
    TENON_FUNCTOR void operator()(long k) const {
        using A = typename impl::sum_type<T>::type;
        const long at = static_cast<long>(order[k]), own = static_cast<long>(bag_of[at]);
        bag[k] = own;
        const A weight = weights == nullptr ? A(1) : static_cast<A>(weights[at]);
        factors[k] = static_cast<T>(mean ? weight / static_cast<A>(pointers[own + 1] - pointers[own]) : weight);
    }
};
// to[i] = from[at[i], column], added; nothing where at is -1.
template <class T>
struct ChoiceStep {
    const std::int64_t* at;
    const T* from;
    long width;
    T* to;
    TENON_FUNCTOR void operator()(long i) const {
        using A = typename impl::sum_type<T>::type;
        if (at[i] >= 0) to[i] = static_cast<T>(static_cast<A>(to[i]) + static_cast<A>(from[at[i] * width + i % width]));
    }
};
struct MultiplesStep {
    long factor;
    std::int64_t* to;
    TENON_FUNCTOR void operator()(long i) const { to[i] = i * factor; }
};

#if defined(TENON_KERNEL_INSTANCE)
TENON_KERNEL_INSTANCE void segment_sum<float, std::int64_t>(long, const std::int64_t*, const std::int64_t*, const float*, long,
                                                            const float*, bool, float*, bool);
TENON_KERNEL_INSTANCE void segment_sum<double, std::int64_t>(long, const std::int64_t*, const std::int64_t*, const double*, long,
                                                             const double*, bool, double*, bool);
#endif

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
