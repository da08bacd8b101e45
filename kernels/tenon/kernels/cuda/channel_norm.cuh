// Normalisation of channels: batch norm, forward and backward (cpu/batch_norm.hpp).
//
// The points of each channel are cut into parts by their number; a block sums a part of one channel, or, where few points
// lie next to one another, of 32 neighbouring columns. Memory moved: x twice and y once; backward x and dy twice, dx once.
#pragma once

#include <tenon/base/pack.hpp>
#include <tenon/kernels/cuda/rows.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

// How [outer, channels, inner] is cut. A column is one point of `inner` in one channel.
struct ChannelCut {
    long outer, channels, inner;
    bool columns;
    long parts, chunk;  // of each channel's points; in columns of the outer axis
    Divisor by_inner, by_channels;

    ChannelCut(long o, long c, long i) : outer(o), channels(c), inner(i), columns(i < 64) {
        const long size = columns ? o : o * i, least = columns ? 128 : 8192, few = (size + 255) / 256;
        chunk = few > least ? few : least;
        parts = (size + chunk - 1) / chunk;
        if (o * i >= (1l << 31) || c >= (1l << 31)) fail<ShapeError>("batch_norm: more than 2^31 values in a channel, or channels");
        by_inner = Divisor(static_cast<unsigned>(i));
        by_channels = Divisor(static_cast<unsigned>(c));
    }
    TENON_HD long sums() const { return columns ? channels * inner : channels; }  // per part
    dim3 grid() const {
        return dim3(static_cast<unsigned>(columns ? (channels * inner + 31) / 32 : channels), static_cast<unsigned>(parts));
    }
};
// Two numbers for each part of a channel or column.
struct ChannelSums { double first, second; };

#if TENON_DEVICE_CODE
// Calls f(offset) for the thread's points of the block's part; the block's threads share one sum (or a column's eight).
template <bool Columns, class F>
__device__ inline void for_points(const ChannelCut& cut, F f) {
    const long first = blockIdx.y * cut.chunk, size = Columns ? cut.outer : cut.outer * cut.inner;
    const long last = first + cut.chunk < size ? first + cut.chunk : size, stride = cut.channels * cut.inner;
    if constexpr (Columns) {
        const long column = blockIdx.x * 32l + threadIdx.x % 32;
        if (column < stride)
            for (long o = first + threadIdx.x / 32; o < last; o += 8) f(o * stride + column);
    } else {
        for (long e = first + threadIdx.x; e < last; e += block_threads) {
            const unsigned o = cut.by_inner.quotient(static_cast<unsigned>(e));
            f(o * stride + blockIdx.x * cut.inner + (e - o * cut.inner));
        }
    }
}
template <bool Columns>
__device__ inline double part_sum(double value) { return row_sum<Columns ? Group::columns : Group::block>(value); }
// The values that fall on a part's sum.
template <bool Columns>
__device__ inline long part_points(const ChannelCut& cut, long part) {
    const long first = part * cut.chunk, size = Columns ? cut.outer : cut.outer * cut.inner;
    return (first + cut.chunk < size ? first + cut.chunk : size) - first;
}
template <bool Columns>
__device__ inline void put_sums(const ChannelCut& cut, ChannelSums sums, ChannelSums* out) {
    const long at = Columns ? blockIdx.x * 32l + threadIdx.x : blockIdx.x;
    if (threadIdx.x < (Columns ? 32 : 1) && at < cut.sums()) out[blockIdx.y * cut.sums() + at] = sums;
}
// A warp adds up value(sums, part) over the parts and columns of channel c.
template <class F>
__device__ inline double channel_sum(const ChannelCut& cut, long c, F value) {
    const long each = cut.columns ? cut.inner : 1;
    double total = 0;
    for (long k = threadIdx.x % 32; k < cut.parts * each; k += 32) {
        const long part = k / each, i = k - part * each;
        total += value(part * cut.sums() + c * each + i, part);
    }
    return warp_sum(total);
}
#endif

// Of each part: the mean, and the sum of squared distances from it.
template <bool Columns, class T>
__global__ void channel_moments_kernel(ChannelCut cut, const T* x, ChannelSums* out) {
#if TENON_DEVICE_CODE
    using A = accumulator<T>;
    A sum = 0, squares = 0;
    for_points<Columns>(cut, [&](long at) { sum += static_cast<A>(x[at]); });
    const double mean = part_sum<Columns>(static_cast<double>(sum)) / static_cast<double>(part_points<Columns>(cut, blockIdx.y));
    const A m = static_cast<A>(mean);
    for_points<Columns>(cut, [&](long at) {
        const A d = static_cast<A>(x[at]) - m;
        squares += d * d;
    });
    put_sums<Columns>(cut, {static_cast<double>(m), part_sum<Columns>(static_cast<double>(squares))}, out);
#endif
}
// A warp merges the parts of a channel.
template <class A>
__global__ void merge_moments_kernel(ChannelCut cut, const ChannelSums* sums, double eps, A* mean, A* variance, A* rstd) {
#if TENON_DEVICE_CODE
    const double points = static_cast<double>(cut.outer * cut.inner);
    for (long c = (static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x) / 32; c < cut.channels;
         c += static_cast<long>(gridDim.x) * blockDim.x / 32) {
        const auto count = [&](long part) {
            return static_cast<double>(cut.columns ? part_points<true>(cut, part) : part_points<false>(cut, part));
        };
        // The sum of a part's distances from its mean as rounded: next to nothing, but not of the squares about another mean.
        const double m = channel_sum(cut, c, [&](long at, long part) { return sums[at].first * count(part); }) / points;
        const double v = channel_sum(cut, c, [&](long at, long part) {
            const double apart = sums[at].first - m;
            return sums[at].second + apart * apart * count(part);
        }) / points;
        if (threadIdx.x % 32 != 0) continue;
        mean[c] = static_cast<A>(m);
        variance[c] = static_cast<A>(v);
        rstd[c] = static_cast<A>(1 / math::sqrt(v + eps));
    }
#endif
}
#if TENON_DEVICE_CODE
// The gradient where the forward pass came out above 0: it is computed again, which saves reading it.
template <class A>
__device__ inline A rectified(A d, A x, A m, A factor, A shift) { return (x - m) * factor + shift <= A(0) ? A(0) : d; }
#endif
// Of each part: the sum of dy, and of dy * (x - mean); Relu: of dy rectified.
template <bool Columns, bool Relu, class T>
__global__ void channel_gradients_kernel(ChannelCut cut, const T* x, const T* weight, const T* bias, const accumulator<T>* mean, const accumulator<T>* rstd, const T* dy,
                                         ChannelSums* out) {
#if TENON_DEVICE_CODE
    using A = accumulator<T>;
    const long column = blockIdx.x * 32l + threadIdx.x % 32;
    long c = blockIdx.x;
    if constexpr (Columns) c = cut.by_inner.quotient(static_cast<unsigned>(column));
    const A m = c < cut.channels ? mean[c] : A(0);
    A factor = 0, shift = 0;
    if (Relu && c < cut.channels) {
        factor = weight != nullptr ? rstd[c] * static_cast<A>(weight[c]) : rstd[c];
        shift = bias != nullptr ? static_cast<A>(bias[c]) : A(0);
    }
    A first = 0, second = 0;
    for_points<Columns>(cut, [&](long at) {
        const A v = static_cast<A>(x[at]);
        A d = static_cast<A>(dy[at]);
        if constexpr (Relu) d = rectified(d, v, m, factor, shift);
        first += d;
        second += d * (v - m);
    });
    const double a = part_sum<Columns>(static_cast<double>(first)), b = part_sum<Columns>(static_cast<double>(second));
    put_sums<Columns>(cut, {a, b}, out);
#endif
}
// A warp merges them: the gradients of weight and bias, and what dx takes of them.
template <class T>
__global__ void merge_gradients_kernel(ChannelCut cut, const ChannelSums* sums, const accumulator<T>* rstd, T* dweight, bool add_dweight,
                                       T* dbias, bool add_dbias, ChannelSums* means) {
#if TENON_DEVICE_CODE
    using A = accumulator<T>;
    const double points = static_cast<double>(cut.outer * cut.inner);
    for (long c = (static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x) / 32; c < cut.channels;
         c += static_cast<long>(gridDim.x) * blockDim.x / 32) {
        const double first = channel_sum(cut, c, [&](long at, long) { return sums[at].first; });
        const double second = channel_sum(cut, c, [&](long at, long) { return sums[at].second; });
        if (threadIdx.x % 32 != 0) continue;
        const double r = static_cast<double>(rstd[c]);
        const auto put = [](T& to, double value, bool add) {
            to = static_cast<T>(static_cast<A>(add ? static_cast<double>(static_cast<A>(to)) + value : value));
        };
        if (dweight != nullptr) put(dweight[c], second * r, add_dweight);
        if (dbias != nullptr) put(dbias[c], first, add_dbias);
        means[c] = {first / points, second * r * r / points};
    }
#endif
}

// L neighbouring elements per thread, of one channel.
template <int L, class T>
__global__ void channel_apply_kernel(ChannelCut cut, unsigned count, const T* x, const T* weight, const T* bias, const accumulator<T>* mean,
                                     const accumulator<T>* rstd, accumulator<T> low, T* y) {
#if TENON_DEVICE_CODE
    using A = accumulator<T>;
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        const unsigned plane = cut.by_inner.quotient(i * L), c = plane - cut.by_channels.quotient(plane) * cut.by_channels.divisor;
        const A m = mean[c], factor = weight != nullptr ? rstd[c] * static_cast<A>(weight[c]) : rstd[c],
                shift = bias != nullptr ? static_cast<A>(bias[c]) : A(0);
        PackStorage<T, L> v = reinterpret_cast<const PackStorage<T, L>*>(x)[i];
        for (int l = 0; l < L; ++l) {
            const A value = (static_cast<A>(v.v[l]) - m) * factor + shift;
            v.v[l] = static_cast<T>(value < low ? low : value);
        }
        reinterpret_cast<PackStorage<T, L>*>(y)[i] = v;
    }
#endif
}
template <bool Training, bool Relu, int L, class T>
__global__ void channel_backward_kernel(ChannelCut cut, unsigned count, const T* x, const T* weight, const T* bias, const accumulator<T>* mean,
                                        const accumulator<T>* rstd, const T* dy, const ChannelSums* means, T* dx, bool add_dx) {
#if TENON_DEVICE_CODE
    using A = accumulator<T>;
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        const unsigned plane = cut.by_inner.quotient(i * L), c = plane - cut.by_channels.quotient(plane) * cut.by_channels.divisor;
        const A m = mean[c], factor = weight != nullptr ? rstd[c] * static_cast<A>(weight[c]) : rstd[c];
        const A shift = Relu && bias != nullptr ? static_cast<A>(bias[c]) : A(0);
        const A even = Training ? static_cast<A>(means[c].first) : A(0), along = Training ? static_cast<A>(means[c].second) : A(0);
        const PackStorage<T, L> d = reinterpret_cast<const PackStorage<T, L>*>(dy)[i];
        PackStorage<T, L> v{}, sum{};
        if constexpr (Training || Relu) v = reinterpret_cast<const PackStorage<T, L>*>(x)[i];
        if (add_dx) sum = reinterpret_cast<const PackStorage<T, L>*>(dx)[i];
        for (int l = 0; l < L; ++l) {
            A g = static_cast<A>(d.v[l]);
            if constexpr (Relu) g = rectified(g, static_cast<A>(v.v[l]), m, factor, shift);
            if constexpr (Training) g = g - even - (static_cast<A>(v.v[l]) - m) * along;
            g *= factor;
            sum.v[l] = static_cast<T>(add_dx ? static_cast<A>(sum.v[l]) + g : g);
        }
        reinterpret_cast<PackStorage<T, L>*>(dx)[i] = sum;
    }
#endif
}

namespace norm_impl {

// Calls run(lanes constant, offset, elements per lane group) over pieces of the outer axis of at most 2^30 elements.
template <class T, class F>
void in_pieces(const ChannelCut& cut, std::uintptr_t addresses, F&& run) {
    const long stride = cut.channels * cut.inner, largest = 1l << 30;
    if (stride == 0) return;
    if (stride > largest) fail<ShapeError>("batch_norm: more than 2^30 elements behind the first axis");
    constexpr int lanes = 16 / static_cast<int>(sizeof(T)) < 4 ? 16 / static_cast<int>(sizeof(T)) : 4;
    for (long o = 0; o < cut.outer; o += largest / stride) {
        const long size = (cut.outer - o < largest / stride ? cut.outer - o : largest / stride) * stride;
        if (cut.inner % lanes == 0 && addresses % (lanes * sizeof(T)) == 0)
            run(std::integral_constant<int, lanes>(), o * stride, size / lanes);
        else run(std::integral_constant<int, 1>(), o * stride, size);
    }
}
inline std::uintptr_t address(const void* p) { return reinterpret_cast<std::uintptr_t>(p); }

template <class T>
void apply(const ChannelCut& cut, const T* x, const T* weight, const T* bias, const accumulator<T>* mean, const accumulator<T>* rstd,
           accumulator<T> low, T* y) {
    in_pieces<T>(cut, address(x) | address(y), [&]<int L>(std::integral_constant<int, L>, long at, long count) {
        launch("batch_norm", channel_apply_kernel<L, T>, blocks_for(count, block_threads), block_threads, cut, static_cast<unsigned>(count),
               x + at, weight, bias, mean, rstd, low, y + at);
    });
}

}  // namespace norm_impl

inline long batch_norm_workspace(long outer, long channels, long inner) {
    const ChannelCut cut(outer, channels, inner);
    return 2 * (cut.parts * cut.sums() + channels);
}
template <class T>
void batch_norm(long outer, long channels, long inner, const T* x, const T* weight, const T* bias, double eps, T* y, accumulator<T>* mean,
                accumulator<T>* variance, accumulator<T>* rstd, double* workspace, accumulator<T> low = -__builtin_inff()) {
    const ChannelCut cut(outer, channels, inner);
    if (cut.parts == 0 || channels == 0) return;
    ChannelSums* sums = reinterpret_cast<ChannelSums*>(workspace);
    launch("batch_norm", cut.columns ? channel_moments_kernel<true, T> : channel_moments_kernel<false, T>, cut.grid(), dim3(block_threads),
           std::size_t(0), cut, x, sums);
    launch("batch_norm", merge_moments_kernel<accumulator<T>>, blocks_for(channels, block_threads / 32), block_threads, cut, sums, eps,
           mean, variance, rstd);
    norm_impl::apply(cut, x, weight, bias, mean, rstd, low, y);
}
template <class T>
void batch_norm_with(long outer, long channels, long inner, const T* x, const T* weight, const T* bias, const accumulator<T>* mean,
                     const accumulator<T>* rstd, T* y, accumulator<T> low = -__builtin_inff()) {
    norm_impl::apply(ChannelCut(outer, channels, inner), x, weight, bias, mean, rstd, low, y);
}
template <bool Training, bool Relu = false, class T>
void batch_norm_backward(long outer, long channels, long inner, const T* x, const T* weight, const T* bias, const accumulator<T>* mean,
                         const accumulator<T>* rstd, const T* dy, T* dx, bool add_dx, T* dweight, bool add_dweight, T* dbias,
                         bool add_dbias, double* workspace) {
    const ChannelCut cut(outer, channels, inner);
    if (channels == 0) return;
    ChannelSums *means = reinterpret_cast<ChannelSums*>(workspace), *sums = means + channels;
    if (Training || dweight != nullptr || dbias != nullptr) {
        if (cut.parts > 0)
            launch("batch_norm", cut.columns ? channel_gradients_kernel<true, Relu, T> : channel_gradients_kernel<false, Relu, T>, cut.grid(),
                   dim3(block_threads), std::size_t(0), cut, x, weight, bias, mean, rstd, dy, sums);
        launch("batch_norm", merge_gradients_kernel<T>, blocks_for(channels, block_threads / 32), block_threads, cut, sums, rstd, dweight,
               add_dweight, dbias, add_dbias, means);
    }
    if (dx == nullptr) return;
    norm_impl::in_pieces<T>(cut, norm_impl::address(x) | norm_impl::address(dy) | norm_impl::address(dx),
                            [&]<int L>(std::integral_constant<int, L>, long at, long count) {
                                launch("batch_norm", channel_backward_kernel<Training, Relu, L, T>, blocks_for(count, block_threads),
                                       block_threads, cut, static_cast<unsigned>(count), x + at, weight, bias, mean, rstd, dy + at, means,
                                       dx + at, add_dx);
                            });
}

// ---- running statistics ----------------------------------------------------------------------------------------------

template <class T>
__global__ void move_running_kernel(long channels, const accumulator<T>* now, double momentum, double factor, T* running, long stride) {
#if TENON_DEVICE_CODE
    using A = accumulator<T>;
    for (long c = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x; c < channels; c += static_cast<long>(gridDim.x) * blockDim.x)
        running[c * stride] = static_cast<T>(static_cast<A>((1 - momentum) * static_cast<double>(static_cast<A>(running[c * stride])) +
                                                            momentum * factor * static_cast<double>(now[c])));
#endif
}
template <class T>
__global__ void read_running_kernel(long channels, const T* running_mean, long mean_stride, const T* running_variance, long variance_stride,
                                    double eps, accumulator<T>* mean, accumulator<T>* rstd) {
#if TENON_DEVICE_CODE
    using A = accumulator<T>;
    for (long c = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x; c < channels; c += static_cast<long>(gridDim.x) * blockDim.x) {
        mean[c] = static_cast<A>(running_mean[c * mean_stride]);
        rstd[c] = static_cast<A>(1 / math::sqrt(static_cast<double>(static_cast<A>(running_variance[c * variance_stride])) + eps));
    }
#endif
}
template <class T>
void move_running(long channels, const accumulator<T>* now, double momentum, double factor, T* running, long stride) {
    if (channels > 0)
        launch("batch_norm", move_running_kernel<T>, blocks_for(channels, block_threads), block_threads, channels, now, momentum, factor,
               running, stride);
}
template <class T>
void read_running(long channels, const T* running_mean, long mean_stride, const T* running_variance, long variance_stride, double eps,
                  accumulator<T>* mean, accumulator<T>* rstd) {
    if (channels > 0)
        launch("batch_norm", read_running_kernel<T>, blocks_for(channels, block_threads), block_threads, channels, running_mean,
               mean_stride, running_variance, variance_stride, eps, mean, rstd);
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
