// Counting into bins, as cpu/count.hpp. Up to 8192 bins are counted in a block's shared memory and added up once; the
// order of whole numbers does not matter. Weights are sorted by bin first and added in order, in double.
#pragma once

#include <tenon/kernels/cpu/count.hpp>
#include <tenon/kernels/cuda/radix_sort.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {
namespace count_impl {

constexpr long shared_bins = 8192;

// bins.of(i) is the bin of element i, or negative.
template <class Bins>
__global__ void count_shared(Bins bins, long n, unsigned count, std::int64_t* counts) {
#if TENON_DEVICE_CODE
    TENON_SHARED_DYNAMIC(unsigned, table);
    for (unsigned b = threadIdx.x; b < count; b += blockDim.x) table[b] = 0;
    __syncthreads();
    // A block sees fewer than 2^32 elements: a launch has n / 2^31 blocks at least.
    for (long i = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += static_cast<long>(gridDim.x) * blockDim.x) {
        const long b = bins.of(i);
        if (b >= 0) atomicAdd(&table[b], 1u);
    }
    __syncthreads();
    for (unsigned b = threadIdx.x; b < count; b += blockDim.x)
        if (table[b] != 0) atomicAdd(reinterpret_cast<unsigned long long*>(counts + b), static_cast<unsigned long long>(table[b]));
#endif
}
template <class Bins>
__global__ void count_direct(Bins bins, long n, std::int64_t* counts) {
#if TENON_DEVICE_CODE
    for (long i = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += static_cast<long>(gridDim.x) * blockDim.x) {
        const long b = bins.of(i);
        if (b >= 0) atomicAdd(reinterpret_cast<unsigned long long*>(counts + b), 1ull);
    }
#endif
}
template <class Bins>
void count_all(const char* name, long n, long count, std::int64_t* counts, const Bins& bins) {
    zero_memory(counts, static_cast<std::size_t>(count) * sizeof(std::int64_t));
    if (n <= 0 || count <= 0) return;
    if (count > shared_bins) return launch(name, count_direct<Bins>, blocks_for(n, block_threads), block_threads, bins, n, counts);
    // 16 elements per bin at least, so that adding the tables up is the smaller part.
    const long per_block = 16 * count > 4096 ? 16 * count : 4096;
    launch(name, count_shared<Bins>, dim3(static_cast<unsigned>(blocks_for(n, per_block, 8))), dim3(block_threads), static_cast<std::size_t>(count) * sizeof(unsigned),
           bins, n, static_cast<unsigned>(count), counts);
}

template <class I>
struct Numbers {
    const I* x;
    TENON_FUNCTOR long of(long i) const { return static_cast<long>(x[i]); }
};

template <class T>
struct Intervals {
    using A = accumulator<T>;
    const T* x;
    const T* edges;
    long bins;
    bool uniform;
    TENON_FUNCTOR A edge(long b) const { return static_cast<A>(edges[b]); }
    TENON_FUNCTOR long of(long i) const {
        const A v = static_cast<A>(x[i]), low = edge(0), high = edge(bins);
        if (!(v >= low && v <= high)) return -1;
        long at = 0;
        if (uniform) {
            at = static_cast<long>((v - low) * (static_cast<A>(bins) / (high - low)));
            at = at >= bins ? bins - 1 : at;
            // Rounding may have missed by one: the edges decide.
            while (at > 0 && v < edge(at)) --at;
            while (at + 1 < bins && v >= edge(at + 1)) ++at;
            return at;
        }
        for (long left = bins; left > 1;) {
            const long half_of = left / 2;
            at = v >= edge(at + half_of) ? at + half_of : at;
            left -= half_of;
        }
        return at;
    }
};

template <class I>
struct MakeNumbers {
    const I* x;
    sort_impl::SortPair* items;
    TENON_FUNCTOR void operator()(long i) const { items[i] = {static_cast<std::uint64_t>(x[i]), static_cast<std::uint64_t>(i)}; }
};
// A warp per bin: its weights lie side by side in the order of their positions.
template <class T>
__global__ void sum_bins(const sort_impl::SortPair* items, long n, const T* weights, long bins, T* sums) {
#if TENON_DEVICE_CODE
    const auto first_of = [&](std::uint64_t bin) {
        long at = 0;
        for (long left = n; left > 0;) {
            const long half_of = left / 2;
            const bool before = items[at + half_of].key < bin;
            at = before ? at + half_of + 1 : at;
            left = before ? left - half_of - 1 : half_of;
        }
        return at;
    };
    const unsigned lane = threadIdx.x % 32;
    const long warps = static_cast<long>(gridDim.x) * (blockDim.x / 32);
    for (long b = (static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x) / 32; b < bins; b += warps) {
        const long first = first_of(static_cast<std::uint64_t>(b)), last = first_of(static_cast<std::uint64_t>(b) + 1);
        double total = 0;
        for (long i = first + lane; i < last; i += 32) total += static_cast<double>(static_cast<accumulator<T>>(weights[items[i].at]));
        for (unsigned d = 16; d > 0; d /= 2) total += __shfl_down_sync(0xffffffffu, total, d);
        if (lane == 0) sums[b] = static_cast<T>(static_cast<accumulator<T>>(total));
    }
#endif
}

template <class I, class T>
struct BincountBackward {
    const I* x;
    const T* dsums;
    T* dweights;
    bool accumulate;
    TENON_FUNCTOR void operator()(long i) const {
        reduce_impl::put_or_add(dweights + i, static_cast<accumulator<T>>(dsums[static_cast<long>(x[i])]), accumulate);
    }
};

}  // namespace count_impl

template <class I>
void bincount(long n, const I* x, long bins, std::int64_t* counts) {
    count_impl::count_all("bincount", n, bins, counts, count_impl::Numbers<I>{x});
}
template <class I, class T>
void bincount(long n, const I* x, const T* weights, long bins, T* sums) {
    using sort_impl::SortPair;
    if (bins <= 0) return;
    if (n <= 0) return zero_memory(sums, static_cast<std::size_t>(bins) * sizeof(T));
    const Scratch<SortPair> items(n), other(n);
    for_each_index("bincount", n, count_impl::MakeNumbers<I>{x, items.get()});
    int bits = 0;
    while (bits < 63 && (bins - 1) >> bits != 0) bits += 8;
    const SortPair* sorted = sort_impl::radix_sort("bincount", 1, n, items.get(), other.get(), bits);
    launch("bincount", count_impl::sum_bins<T>, blocks_for(bins, block_threads / 32), block_threads, sorted, n, weights, bins, sums);
}
template <class I, class T>
void bincount_backward(long n, const I* x, const T* dsums, T* dweights, bool accumulate) {
    for_each_index("bincount", n, count_impl::BincountBackward<I, T>{x, dsums, dweights, accumulate});
}

template <class T>
void histogram(long n, const T* x, long bins, const T* edges, bool uniform, std::int64_t* counts) {
    count_impl::count_all("histogram", n, bins, counts, count_impl::Intervals<T>{x, edges, bins, uniform});
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
