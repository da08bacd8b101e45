// Normalisation of channels, forward and backward: batch norm.
//
// Statistics and sums are kept in float for 16-bit types, blocks of them are added in double; variances are sums of
// squared distances from the mean, in a second pass over what is in cache by then. Every tensor is read from memory and
// written once each way where a channel fits into the cache. The order of every sum depends on the shape, the
// type and the instruction set only. Buffers named `workspace` have the size that the function beside it says.
//
// [outer, channels, inner]: the planes of a channel are `inner` contiguous elements. Short planes are taken together: a
// row of the matrix [outer, channels * inner] has one column for each position of each channel, and lanes run over columns.
#pragma once

#include <tenon/base/dispatch.hpp>
#include <tenon/base/parallel.hpp>
#include <tenon/base/simd.hpp>
#include <tenon/kernels/cpu/reduce.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

namespace reference {

// Mean and variance (divided by the count) of each channel of [outer, channels, inner].
template <class T>
void channel_moments(long outer, long channels, long inner, const T* x, double* mean, double* variance) {
    using A = accumulator<T>;
    const double count = double(outer * inner);
    for (long c = 0; c < channels; ++c) {
        long double sum = 0, squares = 0;
        for (long o = 0; o < outer; ++o)
            for (long i = 0; i < inner; ++i) sum += double(A(x[(o * channels + c) * inner + i]));
        mean[c] = double(sum) / count;
        for (long o = 0; o < outer; ++o)
            for (long i = 0; i < inner; ++i) {
                const double d = double(A(x[(o * channels + c) * inner + i])) - mean[c];
                squares += d * d;
            }
        variance[c] = double(squares) / count;
    }
}
template <class T>
void batch_norm(long outer, long channels, long inner, const T* x, const T* weight, const T* bias, double eps, const double* mean,
                const double* variance, T* y, bool relu = false) {
    using A = accumulator<T>;
    for (long o = 0; o < outer; ++o)
        for (long c = 0; c < channels; ++c)
            for (long i = 0; i < inner; ++i) {
                const long at = (o * channels + c) * inner + i;
                const double normal = (double(A(x[at])) - mean[c]) / __builtin_sqrt(variance[c] + eps);
                const double value = normal * (weight ? double(A(weight[c])) : 1) + (bias ? double(A(bias[c])) : 0);
                y[at] = T(A(relu && value < 0 ? 0 : value));
            }
}
// training: the statistics were those of x, and depend on it.
template <class T>
void batch_norm_backward(long outer, long channels, long inner, const T* x, const T* weight, double eps, const double* mean, const double* variance,
                         bool training, const T* dy, T* dx, bool accumulate, double* dweight, double* dbias) {
    using A = accumulator<T>;
    const double count = double(outer * inner);
    for (long c = 0; c < channels; ++c) {
        const double rstd = 1 / __builtin_sqrt(variance[c] + eps);
        double s1 = 0, s2 = 0;
        for (long o = 0; o < outer; ++o)
            for (long i = 0; i < inner; ++i) {
                const long at = (o * channels + c) * inner + i;
                s1 += double(A(dy[at]));
                s2 += double(A(dy[at])) * (double(A(x[at])) - mean[c]) * rstd;
            }
        dweight[c] = s2;
        dbias[c] = s1;
        for (long o = 0; o < outer; ++o)
            for (long i = 0; i < inner; ++i) {
                const long at = (o * channels + c) * inner + i;
                const double normal = (double(A(x[at])) - mean[c]) * rstd, d = double(A(dy[at]));
                const double g = rstd * (weight ? double(A(weight[c])) : 1) * (training ? d - s1 / count - normal * s2 / count : d);
                dx[at] = T(A(g + (accumulate ? double(A(dx[at])) : 0)));
            }
    }
}

}  // namespace reference

namespace impl {

constexpr long plane_short = 32;     // planes below this are taken together
constexpr long column_block = 64;    // columns per block
constexpr long column_rows = 64;     // rows that are added in A before a double takes over
constexpr int channel_parts = 16;    // most parts of the rows of a block
constexpr long channel_task = 16384; // elements per task

enum class ChannelSum { values, squares, gradients, rectified };

// The gradient where the forward pass came out above 0: it is computed again, which saves reading it.
template <class V>
TENON_ALWAYS_INLINE V rectified(const V& d, const V& x, const V& m, const V& a, const V& b) {
    return select((x - m) * a + b <= V(0), V(0), d);
}

// Sums over the planes of one channel: of x; of (x - mean)^2; of dy and dy * (x - mean), dy as it is or rectified. Asks for what lies `ahead` of each
// element (0: for nothing): planes lie far apart, where the machine's prefetchers do not follow.
template <ChannelSum what>
struct PlaneSumsBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long planes, long stride, long inner, const T* x, const T* dy, accumulator<T> mean, double* out, long ahead = 0,
                                        accumulator<T> factor = 0, accumulator<T> shift = 0) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        constexpr bool of_gradients = what == ChannelSum::gradients || what == ChannelSum::rectified;
        using V = simd<A, N>;
        const V m(mean), a(factor), b(shift);
        V a1(0), a2(0), b1(0), b2(0);
        double t1 = 0, t2 = 0;
        long seen = 0;
        for (long p = 0; p < planes; ++p) {
            const T *q = x + p * stride, *d = of_gradients ? dy + p * stride : q;
            for (long begin = 0; begin < inner; begin += fold_block) {
                const long end = begin + fold_block < inner ? begin + fold_block : inner;
                long i = begin;
                for (; i + 2 * N <= end; i += 2 * N) {
                    if (ahead != 0) {
                        prefetch_ahead<2 * N>(q + ahead + i);
                        if constexpr (of_gradients) prefetch_ahead<2 * N>(d + ahead + i);
                    }
                    add<A, N>(q + i, d + i, m, a, b, a1, a2);
                    add<A, N>(q + i + N, d + i + N, m, a, b, b1, b2);
                }
                for (; i + N <= end; i += N) add<A, N>(q + i, d + i, m, a, b, a1, a2);
                if (i < end) {
                    // The last vector overlaps the one before it; the lanes seen already count for nothing.
                    const auto fresh = lane_numbers<A, N>() >= V(A(N - (end - i)));
                    V e1(0), e2(0);
                    add<A, N>(q + inner - N, d + inner - N, m, a, b, e1, e2);
                    b1 += select(fresh, e1, V(0));
                    b2 += select(fresh, e2, V(0));
                }
                seen += end - begin;
                if (seen < fold_block) continue;
                seen = 0;
                t1 += static_cast<double>(reduce_add(a1 + b1));
                t2 += static_cast<double>(reduce_add(a2 + b2));
                a1 = a2 = b1 = b2 = V(0);
            }
        }
        out[0] = t1 + static_cast<double>(reduce_add(a1 + b1));
        out[1] = t2 + static_cast<double>(reduce_add(a2 + b2));
    }
    template <class A, int N, class T>
    static TENON_ALWAYS_INLINE void add(const T* x, const T* dy, const simd<A, N>& m, const simd<A, N>& a, const simd<A, N>& b, simd<A, N>& s1, simd<A, N>& s2) {
        const simd<A, N> v = load_lanes<A, N>(x);
        if constexpr (what == ChannelSum::values) {
            s1 += v;
        } else if constexpr (what == ChannelSum::squares) {
            s1 += (v - m) * (v - m);
        } else {
            simd<A, N> d = load_lanes<A, N>(dy);
            if constexpr (what == ChannelSum::rectified) d = rectified(d, v, m, a, b);
            s1 += d;
            s2 += d * (v - m);
        }
    }
};

// Mean and squared distances of one channel's planes, group by group: a group's distances are taken while it is in L1, and the
// next one is asked for.
constexpr long plane_group = 2048;  // elements, at least
struct PlaneMomentsBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long planes, long stride, long inner, const T* x, double* out) {
        using A = accumulator<T>;
        Moments all;
        const long group = inner < plane_group ? plane_group / inner : 1;
        for (long p = 0; p < planes; p += group) {
            const long count = planes - p < group ? planes - p : group;
            const double points = static_cast<double>(count * inner);
            double sum[2];
            PlaneSumsBody<ChannelSum::values>::template run<Lanes>(count, stride, inner, x + p * stride, x, A(0), sum);
            const double mean = sum[0] / points;
            const A rounded = static_cast<A>(mean);
            PlaneSumsBody<ChannelSum::squares>::template run<Lanes>(count, stride, inner, x + p * stride, x, rounded, sum, group * stride);
            const double off = mean - static_cast<double>(rounded);
            all.join(points, mean, sum[0] - points * off * off);
        }
        out[0] = all.mean;
        out[1] = all.squares < 0 ? 0 : all.squares;
    }
};

// y = (x - m) * a + b, or `low` where that is less; dx = (dy - k1 - (x - m) * k2) * a, over the planes of one channel; without Training,
// dx = dy * a. Relu: of the gradient rectified.
struct PlaneApplyBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long planes, long stride, long inner, const T* x, accumulator<T> mean, accumulator<T> factor,
                                        accumulator<T> shift, accumulator<T> low, T* y) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        using V = simd<A, N>;
        const V m(mean), a(factor), b(shift), least(low);
        const long tail = inner - N;
        for (long p = 0; p < planes; ++p) {
            const T* q = x + p * stride;
            T* to = y + p * stride;
            const V last = value(load_lanes<A, N>(q + tail), m, a, b, least);
            long i = 0;
            for (; i + 2 * N <= inner; i += 2 * N) {
                prefetch_ahead<2 * N>(q + stride + i);
                prefetch_ahead<2 * N, 1>(to + stride + i);
                const V first = value(load_lanes<A, N>(q + i), m, a, b, least), second = value(load_lanes<A, N>(q + i + N), m, a, b, least);
                store_lanes<A, N>(to + i, first);
                store_lanes<A, N>(to + i + N, second);
            }
            for (; i + N <= inner; i += N) store_lanes<A, N>(to + i, value(load_lanes<A, N>(q + i), m, a, b, least));
            store_lanes<A, N>(to + tail, last);
        }
    }
    // A NaN stays one.
    template <class V>
    static TENON_ALWAYS_INLINE V value(const V& x, const V& m, const V& a, const V& b, const V& low) {
        const V y = (x - m) * a + b;
        return select(y < low, low, y);
    }
};
template <bool Training, bool Relu>
struct PlaneGradientBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long planes, long stride, long inner, const T* x, const T* dy, accumulator<T> mean, accumulator<T> factor,
                                        accumulator<T> shift, accumulator<T> first, accumulator<T> second, T* dx, bool accumulate) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        using V = simd<A, N>;
        const V m(mean), a(factor), b(shift), k1(first), k2(second);
        const long tail = inner - N;
        for (long p = 0; p < planes; ++p) {
            const T *q = x + p * stride, *d = dy + p * stride;
            T* to = dx + p * stride;
            const V last = value(q + tail, d + tail, to + tail, m, a, b, k1, k2, accumulate);
            long i = 0;
            for (; i + 2 * N <= inner; i += 2 * N) {
                if constexpr (Training || Relu) prefetch_ahead<2 * N>(q + stride + i);
                prefetch_ahead<2 * N>(d + stride + i);
                prefetch_ahead<2 * N, 1>(to + stride + i);
                const V low = value(q + i, d + i, to + i, m, a, b, k1, k2, accumulate), high = value(q + i + N, d + i + N, to + i + N, m, a, b, k1, k2, accumulate);
                store_lanes<A, N>(to + i, low);
                store_lanes<A, N>(to + i + N, high);
            }
            for (; i + N <= inner; i += N) store_lanes<A, N>(to + i, value(q + i, d + i, to + i, m, a, b, k1, k2, accumulate));
            store_lanes<A, N>(to + tail, last);
        }
    }
    template <class A, int N, class T>
    static TENON_ALWAYS_INLINE simd<A, N> value(const T* x, const T* dy, const T* dx, const simd<A, N>& m, const simd<A, N>& a, const simd<A, N>& b,
                                                const simd<A, N>& k1, const simd<A, N>& k2, bool accumulate) {
        simd<A, N> d = load_lanes<A, N>(dy);
        if constexpr (Relu) d = rectified(d, load_lanes<A, N>(x), m, a, b);
        if constexpr (Training) d = d - k1 - (load_lanes<A, N>(x) - m) * k2;
        d = d * a;
        if (accumulate) d = d + load_lanes<A, N>(dx);
        return d;
    }
};

// The same over `width` <= column_block neighbouring columns, with one number for each column in m, a, b, k1, k2.
template <ChannelSum what>
struct ColumnSumsBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long rows, long stride, long width, const T* x, const T* dy, const accumulator<T>* m, const accumulator<T>* a,
                                        const accumulator<T>* b, double* first, double* second) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        constexpr bool of_gradients = what == ChannelSum::gradients || what == ChannelSum::rectified;
        for (long c = 0; c < width; ++c) first[c] = second[c] = 0;
        for (long r = 0; r < rows; r += column_rows) {
            const long count = rows - r < column_rows ? rows - r : column_rows;
            long c = 0;
            for (; c + N <= width; c += N) block<false, A, N>(count, stride, N, x + r * stride + c, of_gradients ? dy + r * stride + c : dy, m + c, a + c, b + c, first + c, second + c);
            if (c < width) block<true, A, N>(count, stride, width - c, x + r * stride + c, of_gradients ? dy + r * stride + c : dy, m + c, a + c, b + c, first + c, second + c);
        }
    }
    template <bool Part, class A, int N, class T>
    static TENON_ALWAYS_INLINE void block(long rows, long stride, long width, const T* x, const T* dy, const A* means, const A* factors, const A* shifts, double* first,
                                          double* second) {
        using V = simd<A, N>;
        const V m = load_some<Part, A, N>(means, width);
        V a(0), b(0), s1(0), s2(0);
        if constexpr (what == ChannelSum::rectified) {
            a = load_some<Part, A, N>(factors, width);
            b = load_some<Part, A, N>(shifts, width);
        }
        for (long r = 0; r < rows; ++r) {
            const V v = load_some<Part, A, N>(x + r * stride, width);
            if constexpr (what == ChannelSum::values) {
                s1 += v;
            } else if constexpr (what == ChannelSum::squares) {
                s1 += (v - m) * (v - m);
            } else {
                V d = load_some<Part, A, N>(dy + r * stride, width);
                if constexpr (what == ChannelSum::rectified) d = rectified(d, v, m, a, b);
                s1 += d;
                s2 += d * (v - m);
            }
        }
        A lane1[N], lane2[N];
        s1.store(lane1);
        s2.store(lane2);
        for (long l = 0; l < width; ++l) {
            first[l] += static_cast<double>(lane1[l]);
            second[l] += static_cast<double>(lane2[l]);
        }
    }
};
struct ColumnApplyBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long rows, long stride, long width, const T* x, const accumulator<T>* m, const accumulator<T>* a,
                                        const accumulator<T>* b, accumulator<T> low, T* y) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        for (long r = 0; r < rows; ++r) {
            long c = 0;
            for (; c + N <= width; c += N) element<false, A, N>(N, x + r * stride + c, m + c, a + c, b + c, low, y + r * stride + c);
            if (c < width) element<true, A, N>(width - c, x + r * stride + c, m + c, a + c, b + c, low, y + r * stride + c);
        }
    }
    template <bool Part, class A, int N, class T>
    static TENON_ALWAYS_INLINE void element(long width, const T* x, const A* m, const A* a, const A* b, A low, T* y) {
        const auto v = PlaneApplyBody::value(load_some<Part, A, N>(x, width), load_some<Part, A, N>(m, width), load_some<Part, A, N>(a, width), load_some<Part, A, N>(b, width),
                                             simd<A, N>(low));
        store_some<Part, A, N>(y, v, width);
    }
};
template <bool Training, bool Relu>
struct ColumnGradientBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long rows, long stride, long width, const T* x, const T* dy, const accumulator<T>* m, const accumulator<T>* a,
                                        const accumulator<T>* b, const accumulator<T>* k1, const accumulator<T>* k2, T* dx, bool accumulate) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        for (long r = 0; r < rows; ++r) {
            const long at = r * stride;
            long c = 0;
            for (; c + N <= width; c += N) element<false, A, N>(N, x + at + c, dy + at + c, m + c, a + c, b + c, k1 + c, k2 + c, dx + at + c, accumulate);
            if (c < width) element<true, A, N>(width - c, x + at + c, dy + at + c, m + c, a + c, b + c, k1 + c, k2 + c, dx + at + c, accumulate);
        }
    }
    template <bool Part, class A, int N, class T>
    static TENON_ALWAYS_INLINE void element(long width, const T* x, const T* dy, const A* m, const A* a, const A* b, const A* k1, const A* k2, T* dx, bool accumulate) {
        auto d = load_some<Part, A, N>(dy, width);
        if constexpr (Relu)
            d = rectified(d, load_some<Part, A, N>(x, width), load_some<Part, A, N>(m, width), load_some<Part, A, N>(a, width), load_some<Part, A, N>(b, width));
        if constexpr (Training)
            d = d - load_some<Part, A, N>(k1, width) -
                (load_some<Part, A, N>(x, width) - load_some<Part, A, N>(m, width)) * load_some<Part, A, N>(k2, width);
        d = d * load_some<Part, A, N>(a, width);
        if (accumulate) d = d + load_some<Part, A, N>(dx, width);
        store_some<Part, A, N>(dx, d, width);
    }
};

// How [outer, channels, inner] is cut: blocks of whole channels, each in `parts` runs of rows. By the shape alone.
struct ChannelPlan {
    long outer, channels, inner;
    bool columns;
    long width;      // channels per block
    long blocks, parts, rows;
    long per_task;   // blocks per task where there is one part

    constexpr ChannelPlan(long o, long c, long i) : outer(o), channels(c), inner(i), columns(i < plane_short), width(1), blocks(0), parts(1), rows(o), per_task(1) {
        if (columns && inner > 0) width = column_block / inner;
        if (outer <= 0 || channels <= 0 || inner <= 0) return;
        if (width > channels) width = channels;
        blocks = (channels + width - 1) / width;
        const long elements = outer * inner * width;
        if (blocks < 8 && elements > 131072) parts = elements / 65536 < channel_parts ? elements / 65536 : channel_parts;
        if (parts > outer) parts = outer;
        rows = (outer + parts - 1) / parts;
        parts = (outer + rows - 1) / rows;
        per_task = channel_task / elements > 0 ? channel_task / elements : 1;
    }
    long first_channel(long block) const { return block * width; }
    long channel_count(long block) const { return channels - block * width < width ? channels - block * width : width; }
    long first_row(long part) const { return part * rows; }
    long row_count(long part) const { return outer - part * rows < rows ? outer - part * rows : rows; }

    // sums(block, part) for all parts, then finish(block), then apply(block, part): while a block is in cache, if it has
    // one part only.
    template <class Sums, class Finish, class Apply>
    void run(Sums&& sums, Finish&& finish, Apply&& apply) const {
        if (parts == 1) {
            parallel_for((blocks + per_task - 1) / per_task, [&](long task) {
                for (long block = task * per_task; block < (task + 1) * per_task && block < blocks; ++block) {
                    sums(block, 0);
                    finish(block);
                    apply(block, 0);
                }
            });
            return;
        }
        parallel_for(blocks * parts, [&](long task) { sums(task / parts, task % parts); });
        for (long block = 0; block < blocks; ++block) finish(block);
        parallel_for(blocks * parts, [&](long task) { apply(task / parts, task % parts); });
    }
};

// One number per column, from one per channel.
template <class A>
struct ColumnNumbers {
    A value[column_block];
    template <class F>
    ColumnNumbers(long channels, long inner, F&& of_channel) {
        for (long c = 0; c < channels; ++c) {
            const A v = of_channel(c);
            for (long i = 0; i < inner; ++i) value[c * inner + i] = v;
        }
    }
};

template <class T>
void channel_apply(const ChannelPlan& plan, long block, long part, const T* x, const T* weight, const T* bias, const accumulator<T>* mean,
                   const accumulator<T>* rstd, accumulator<T> low, T* y) {
    using A = accumulator<T>;
    const long c0 = plan.first_channel(block), count = plan.channel_count(block), stride = plan.channels * plan.inner;
    const long at = plan.first_row(part) * stride + c0 * plan.inner, rows = plan.row_count(part);
    const auto factor = [&](long c) { return weight != nullptr ? rstd[c0 + c] * static_cast<A>(weight[c0 + c]) : rstd[c0 + c]; };
    const auto shift = [&](long c) { return bias != nullptr ? static_cast<A>(bias[c0 + c]) : A(0); };
    if (plan.columns) {
        const ColumnNumbers<A> m(count, plan.inner, [&](long c) { return mean[c0 + c]; }), a(count, plan.inner, factor), b(count, plan.inner, shift);
        dispatch<ColumnApplyBody, reduce_isa>(rows, stride, count * plan.inner, x + at, m.value, a.value, b.value, low, y + at);
    } else {
        for (long c = 0; c < count; ++c)
            dispatch<PlaneApplyBody, reduce_isa>(rows, stride, plan.inner, x + at + c * plan.inner, mean[c0 + c], factor(c), shift(c), low, y + at + c * plan.inner);
    }
}

}  // namespace impl

// Elements (double) of workspace for batch_norm and batch_norm_backward.
constexpr long batch_norm_workspace(long outer, long channels, long inner) {
    return 2 * channels * impl::ChannelPlan(outer, channels, inner).parts;
}
// Every channel of x [outer, channels, inner] to zero mean and unit variance: y = (x - mean) * rstd * weight + bias with
// rstd = 1 / sqrt(variance + eps); weight and bias [channels] may be null. Writes mean, variance (squared distances divided by
// outer * inner) and rstd [channels]. What is less than `low` becomes that: 0 for a relu that follows. y may be x. T: float, double,
// bf16, half.
template <class T>
void batch_norm(long outer, long channels, long inner, const T* x, const T* weight, const T* bias, double eps, T* y, accumulator<T>* mean,
                accumulator<T>* variance, accumulator<T>* rstd, double* workspace, accumulator<T> low = -__builtin_inff()) {
    using A = accumulator<T>;
    using impl::ChannelSum;
    const impl::ChannelPlan plan(outer, channels, inner);
    const long stride = channels * inner;
    plan.run(
        [&](long block, long part) {
            const long c0 = plan.first_channel(block), count = plan.channel_count(block), rows = plan.row_count(part);
            const T* from = x + plan.first_row(part) * stride + c0 * inner;
            double* out = workspace + 2 * (part * channels + c0);  // mean and squares of this part
            const double points = static_cast<double>(rows * inner);
            double ignored[impl::column_block], sum[impl::column_block];
            if (plan.columns) {
                const impl::ColumnNumbers<A> zero(count, inner, [](long) { return A(0); });
                dispatch<impl::ColumnSumsBody<ChannelSum::values>, impl::reduce_isa>(rows, stride, count * inner, from, from, zero.value, zero.value, zero.value, sum, ignored);
                for (long c = 0; c < count; ++c) {
                    double total = 0;
                    for (long i = 0; i < inner; ++i) total += sum[c * inner + i];
                    out[2 * c] = static_cast<double>(static_cast<A>(total / points));
                }
                const impl::ColumnNumbers<A> m(count, inner, [&](long c) { return static_cast<A>(out[2 * c]); });
                dispatch<impl::ColumnSumsBody<ChannelSum::squares>, impl::reduce_isa>(rows, stride, count * inner, from, from, m.value, m.value, m.value, sum, ignored);
                for (long c = 0; c < count; ++c) {
                    double total = 0;
                    for (long i = 0; i < inner; ++i) total += sum[c * inner + i];
                    out[2 * c + 1] = total;
                }
                return;
            }
            for (long c = 0; c < count; ++c) dispatch<impl::PlaneMomentsBody, impl::reduce_isa>(rows, stride, inner, from + c * inner, out + 2 * c);
        },
        [&](long block) {
            for (long c = plan.first_channel(block); c < plan.first_channel(block) + plan.channel_count(block); ++c) {
                // Parts are merged by their means (Chan, Golub, LeVeque 1979).
                double seen = 0, m = 0, squares = 0;
                for (long part = 0; part < plan.parts; ++part) {
                    const double points = static_cast<double>(plan.row_count(part) * inner), total = seen + points;
                    const double apart = workspace[2 * (part * channels + c)] - m;
                    m += apart * points / total;
                    squares += workspace[2 * (part * channels + c) + 1] + apart * apart * seen * points / total;
                    seen = total;
                }
                mean[c] = static_cast<A>(m);
                variance[c] = static_cast<A>(squares / seen);
                rstd[c] = static_cast<A>(1 / __builtin_sqrt(squares / seen + eps));
            }
        },
        [&](long block, long part) { impl::channel_apply(plan, block, part, x, weight, bias, mean, rstd, low, y); });
}
// The same with statistics that are given: mean and rstd [channels].
template <class T>
void batch_norm_with(long outer, long channels, long inner, const T* x, const T* weight, const T* bias, const accumulator<T>* mean,
                     const accumulator<T>* rstd, T* y, accumulator<T> low = -__builtin_inff()) {
    const impl::ChannelPlan plan(outer, channels, inner);
    plan.run([](long, long) {}, [](long) {}, [&](long block, long part) { impl::channel_apply(plan, block, part, x, weight, bias, mean, rstd, low, y); });
}
// With Training (the statistics were those of x): dx = weight * rstd * (dy - mean(dy) - normal * mean(dy * normal)) where
// normal = (x - mean) * rstd; else dx = weight * rstd * dy. dweight = sum of dy * normal, dbias = sum of dy. dx, dweight and
// dbias may be null. The flags say whether they are added to. Relu (the forward pass had low = 0): dy counts where the result
// was above 0, which x, weight and bias say again.
template <bool Training, bool Relu = false, class T>
void batch_norm_backward(long outer, long channels, long inner, const T* x, const T* weight, const T* bias, const accumulator<T>* mean, const accumulator<T>* rstd,
                         const T* dy, T* dx, bool add_dx, T* dweight, bool add_dweight, T* dbias, bool add_dbias, double* workspace) {
    using A = accumulator<T>;
    using impl::ChannelSum;
    const impl::ChannelPlan plan(outer, channels, inner);
    const long stride = channels * inner;
    const bool summed = Training || dweight != nullptr || dbias != nullptr;
    const double points = static_cast<double>(outer * inner);
    constexpr ChannelSum kind = Relu ? ChannelSum::rectified : ChannelSum::gradients;
    const auto factor_of = [&](long c) { return weight != nullptr ? rstd[c] * static_cast<A>(weight[c]) : rstd[c]; };
    const auto shift_of = [&](long c) { return Relu && bias != nullptr ? static_cast<A>(bias[c]) : A(0); };
    const auto put = [](T* to, double value, bool add) { *to = static_cast<T>(static_cast<A>(add ? static_cast<double>(static_cast<A>(*to)) + value : value)); };
    if (plan.blocks == 0)
        for (long c = 0; c < channels; ++c) {
            if (dweight != nullptr) put(dweight + c, 0, add_dweight);
            if (dbias != nullptr) put(dbias + c, 0, add_dbias);
        }
    plan.run(
        [&](long block, long part) {
            if (!summed) return;
            const long c0 = plan.first_channel(block), count = plan.channel_count(block), rows = plan.row_count(part);
            const long at = plan.first_row(part) * stride + c0 * inner;
            double* out = workspace + 2 * (part * channels + c0);
            if (!plan.columns) {
                for (long c = 0; c < count; ++c)
                    dispatch<impl::PlaneSumsBody<kind>, impl::reduce_isa>(rows, stride, inner, x + at + c * inner, dy + at + c * inner, mean[c0 + c], out + 2 * c, stride,
                                                                          factor_of(c0 + c), shift_of(c0 + c));
                return;
            }
            double first[impl::column_block], second[impl::column_block];
            const impl::ColumnNumbers<A> m(count, inner, [&](long c) { return mean[c0 + c]; }), a(count, inner, [&](long c) { return factor_of(c0 + c); }),
                b(count, inner, [&](long c) { return shift_of(c0 + c); });
            dispatch<impl::ColumnSumsBody<kind>, impl::reduce_isa>(rows, stride, count * inner, x + at, dy + at, m.value, a.value, b.value, first, second);
            for (long c = 0; c < count; ++c) {
                out[2 * c] = out[2 * c + 1] = 0;
                for (long i = 0; i < inner; ++i) {
                    out[2 * c] += first[c * inner + i];
                    out[2 * c + 1] += second[c * inner + i];
                }
            }
        },
        [&](long block) {
            if (!summed) return;
            for (long c = plan.first_channel(block); c < plan.first_channel(block) + plan.channel_count(block); ++c) {
                double first = 0, second = 0;
                for (long part = 0; part < plan.parts; ++part) {
                    first += workspace[2 * (part * channels + c)];
                    second += workspace[2 * (part * channels + c) + 1];
                }
                const double r = static_cast<double>(rstd[c]);
                if (dweight != nullptr) put(dweight + c, second * r, add_dweight);
                if (dbias != nullptr) put(dbias + c, first, add_dbias);
                workspace[2 * c] = first / points;
                workspace[2 * c + 1] = second * r * r / points;
            }
        },
        [&](long block, long part) {
            if (dx == nullptr) return;
            const long c0 = plan.first_channel(block), count = plan.channel_count(block), rows = plan.row_count(part);
            const long at = plan.first_row(part) * stride + c0 * inner;
            const auto factor = [&](long c) { return factor_of(c0 + c); };
            const auto shift = [&](long c) { return shift_of(c0 + c); };
            const auto first = [&](long c) { return Training ? static_cast<A>(workspace[2 * (c0 + c)]) : A(0); };
            const auto second = [&](long c) { return Training ? static_cast<A>(workspace[2 * (c0 + c) + 1]) : A(0); };
            if (!plan.columns) {
                for (long c = 0; c < count; ++c)
                    dispatch<impl::PlaneGradientBody<Training, Relu>, impl::reduce_isa>(rows, stride, inner, x + at + c * inner, dy + at + c * inner, mean[c0 + c],
                                                                                        factor(c), shift(c), first(c), second(c), dx + at + c * inner, add_dx);
                return;
            }
            const impl::ColumnNumbers<A> m(count, inner, [&](long c) { return mean[c0 + c]; }), a(count, inner, factor), b(count, inner, shift),
                k1(count, inner, first), k2(count, inner, second);
            dispatch<impl::ColumnGradientBody<Training, Relu>, impl::reduce_isa>(rows, stride, count * inner, x + at, dy + at, m.value, a.value, b.value, k1.value,
                                                                                 k2.value, dx + at, add_dx);
        });
}

// running[c * stride] = (1 - momentum) * itself + momentum * factor * now[c].
template <class T>
void move_running(long channels, const accumulator<T>* now, double momentum, double factor, T* running, long stride) {
    using A = accumulator<T>;
    const double keep = 1 - momentum;
    for (long c = 0; c < channels; ++c) {
        T& r = running[c * stride];
        r = static_cast<T>(static_cast<A>(keep * static_cast<double>(static_cast<A>(r)) + momentum * factor * static_cast<double>(now[c])));
    }
}
// mean and rstd for batch_norm_with, from running statistics.
template <class T>
void read_running(long channels, const T* running_mean, long mean_stride, const T* running_variance, long variance_stride, double eps, accumulator<T>* mean,
                  accumulator<T>* rstd) {
    using A = accumulator<T>;
    for (long c = 0; c < channels; ++c) {
        mean[c] = static_cast<A>(running_mean[c * mean_stride]);
        rstd[c] = static_cast<A>(1 / __builtin_sqrt(static_cast<double>(static_cast<A>(running_variance[c * variance_stride])) + eps));
    }
}

#if defined(TENON_KERNEL_INSTANCE)
#define TENON_BATCH_NORM_BACKWARD_INSTANCE(T, Training, Relu)                                                                             \
    TENON_KERNEL_INSTANCE void batch_norm_backward<Training, Relu, T>(long, long, long, const T*, const T*, const T*, const T*, const T*, \
                                                                      const T*, T*, bool, T*, bool, T*, bool, double*);
#define TENON_BATCH_NORM_INSTANCES(T)                                                                                                     \
    TENON_KERNEL_INSTANCE void batch_norm<T>(long, long, long, const T*, const T*, const T*, double, T*, T*, T*, T*, double*, T);         \
    TENON_KERNEL_INSTANCE void batch_norm_with<T>(long, long, long, const T*, const T*, const T*, const T*, const T*, T*, T);             \
    TENON_BATCH_NORM_BACKWARD_INSTANCE(T, true, false)                                                                                    \
    TENON_BATCH_NORM_BACKWARD_INSTANCE(T, true, true)                                                                                     \
    TENON_BATCH_NORM_BACKWARD_INSTANCE(T, false, false)                                                                                   \
    TENON_BATCH_NORM_BACKWARD_INSTANCE(T, false, true)
TENON_BATCH_NORM_INSTANCES(float)
TENON_BATCH_NORM_INSTANCES(double)
#undef TENON_BATCH_NORM_INSTANCES
#undef TENON_BATCH_NORM_BACKWARD_INSTANCE
#endif

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
