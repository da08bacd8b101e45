// A stable radix sort of positions by their indices, eight bits at a time, least first: what scatters sort with.
//
// A pass reads the keys twice and moves keys and positions once: every block counts its digits, the counts are added up
// digit by digit over the blocks, and every block places its elements. A warp ranks 32 neighbours by their digit with one
// vote, so that equal digits keep their order. Few elements are sorted by one block in one launch.
#pragma once

#include <tenon/kernels/cuda/sum.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

inline constexpr int radix_digits = 256;
static_assert(radix_digits == block_threads, "a thread of a block owns a digit");
inline constexpr long radix_block = 4096;  // elements per block

#if TENON_DEVICE_CODE
// The sum of the values of the threads before this one, of a block of block_threads; `total`: of all. Every thread calls.
template <class V>
__device__ inline V block_prefix(V value, V& total) {
    TENON_SHARED(V, warps, 32);
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    V sum = value;
    for (unsigned d = 1; d < 32; d *= 2) {
        const V below = __shfl_up_sync(0xffffffffu, sum, d);
        if (lane >= d) sum += below;
    }
    __syncthreads();  // an earlier prefix' values have been read
    if (lane == 31) warps[warp] = sum;
    __syncthreads();
    V before = 0;
    total = 0;
    for (unsigned w = 0; w < block_threads / 32; ++w) {
        if (w == warp) before = total;
        total += warps[w];
    }
    return before + sum - value;
}
#endif

// data[r, k] becomes the sum of data[r, 0 ... k - 1]; totals[r] the sum of all. A block for each row.
template <class V>
__global__ void prefix_rows(long count, V* data, V* totals) {
#if TENON_DEVICE_CODE
    V* row = data + static_cast<long>(blockIdx.x) * count;
    V before = 0;
    for (long base = 0; base < count; base += block_threads) {
        const long k = base + threadIdx.x;
        V total;
        const V own = block_prefix(k < count ? row[k] : V(0), total);
        if (k < count) row[k] = before + own;
        before += total;
    }
    if (threadIdx.x == 0) totals[blockIdx.x] = before;
#endif
}

// in: keys; from: their positions, or null where key k is at position k.
template <class In, class Key>
struct RadixPass {
    const In* in;
    const std::uint32_t* from;
    Key* out;
    std::uint32_t* to;
    long count;
    int shift;
};

#if TENON_DEVICE_CODE
template <class In>
__device__ inline unsigned radix_digit(In key, int shift) {
    return static_cast<unsigned>(static_cast<std::uint64_t>(key) >> shift) % radix_digits;
}
// How often each digit comes in the elements [first, last) of every warp's share of them: counts[warp, digit].
template <class In>
__device__ inline void count_digits(const In* in, int shift, long first, long last, unsigned* counts) {
    constexpr unsigned warps = block_threads / 32;
    for (unsigned i = threadIdx.x; i < warps * radix_digits; i += block_threads) counts[i] = 0;
    __syncthreads();
    const long share = ((last - first + block_threads - 1) / block_threads) * 32;  // of a warp, in whole rounds
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const long begin = first + warp * share, end = begin + share < last ? begin + share : last;
    for (long k = begin + lane; k < end; k += 32) atomicAdd(counts + warp * radix_digits + radix_digit(in[k], shift), 1u);
    __syncthreads();
}
// Places them: starts[warp, digit] is where the warp's first element with that digit goes.
template <class In, class Key>
__device__ inline void place_digits(const RadixPass<In, Key>& p, long first, long last, unsigned* starts) {
    const long share = ((last - first + block_threads - 1) / block_threads) * 32;
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const long begin = first + warp * share, end = begin + share < last ? begin + share : last;
    for (long base = begin; base < end; base += 32) {
        const long k = base + lane;
        const bool own = k < end;
        const In key = own ? p.in[k] : In(0);
        const unsigned digit = own ? radix_digit(key, p.shift) : radix_digits;
        const unsigned same = __match_any_sync(0xffffffffu, digit), before = static_cast<unsigned>(__popc(same & ((1u << lane) - 1u)));
        const unsigned start = own ? starts[warp * radix_digits + digit] : 0u;
        __syncwarp();
        if (own) {
            const unsigned at = start + before;
            p.out[at] = static_cast<Key>(key);
            p.to[at] = p.from == nullptr ? static_cast<std::uint32_t>(k) : p.from[k];
            if (before == 0) starts[warp * radix_digits + digit] = start + static_cast<unsigned>(__popc(same));
        }
        __syncwarp();
    }
}
// counts[warp, digit] becomes where the warps' elements go, the block's first element with that digit being at `start`
// of the thread that owns the digit.
__device__ inline void spread_starts(unsigned* counts, unsigned start) {
    for (unsigned w = 0; w < block_threads / 32; ++w) {
        const unsigned here = counts[w * radix_digits + threadIdx.x];
        counts[w * radix_digits + threadIdx.x] = start;
        start += here;
    }
    __syncthreads();
}
#endif

// counts[digit, block]
template <class In>
__global__ void radix_count(const In* in, long count, int shift, unsigned* counts) {
#if TENON_DEVICE_CODE
    TENON_SHARED(unsigned, warps, block_threads / 32 * radix_digits);
    const long first = blockIdx.x * radix_block, last = first + radix_block < count ? first + radix_block : count;
    count_digits(in, shift, first, last, warps);
    unsigned total = 0;
    for (unsigned w = 0; w < block_threads / 32; ++w) total += warps[w * radix_digits + threadIdx.x];
    counts[static_cast<long>(threadIdx.x) * gridDim.x + blockIdx.x] = total;
#endif
}
template <class In, class Key>
__global__ void radix_place(RadixPass<In, Key> p, const unsigned* counts, const unsigned* totals) {
#if TENON_DEVICE_CODE
    TENON_SHARED(unsigned, warps, block_threads / 32 * radix_digits);
    const long first = blockIdx.x * radix_block, last = first + radix_block < p.count ? first + radix_block : p.count;
    count_digits(p.in, p.shift, first, last, warps);
    unsigned all;
    const unsigned start = block_prefix(totals[threadIdx.x], all) + counts[static_cast<long>(threadIdx.x) * gridDim.x + blockIdx.x];
    spread_starts(warps, start);
    place_digits(p, first, last, warps);
#endif
}
// All passes of few elements, in one block. spare_*: of the same sizes as the results.
template <class In, class Key>
__global__ void radix_small(const In* in, long count, int bits, Key* keys, std::uint32_t* order, Key* spare_keys,
                            std::uint32_t* spare_order) {
#if TENON_DEVICE_CODE
    TENON_SHARED(unsigned, warps, block_threads / 32 * radix_digits);
    const auto pass = [&](const auto& p) {
        count_digits(p.in, p.shift, 0, count, warps);
        unsigned total = 0, all;
        for (unsigned w = 0; w < block_threads / 32; ++w) total += warps[w * radix_digits + threadIdx.x];
        spread_starts(warps, block_prefix(total, all));
        place_digits(p, 0, count, warps);
        __syncthreads();
    };
    // So that the last pass writes the results.
    const bool odd = (bits + 7) / 8 % 2 != 0;
    Key* to_keys = odd ? keys : spare_keys;
    std::uint32_t* to_order = odd ? order : spare_order;
    pass(RadixPass<In, Key>{in, nullptr, to_keys, to_order, count, 0});
    for (int shift = 8; shift < bits; shift += 8) {
        const Key* from_keys = to_keys;
        const std::uint32_t* from_order = to_order;
        to_keys = from_keys == keys ? spare_keys : keys;
        to_order = from_order == order ? spare_order : order;
        pass(RadixPass<Key, Key>{from_keys, from_order, to_keys, to_order, count, shift});
    }
#endif
}

// keys[0, count) = the indices, ascending, order[0, count) = their positions; equal ones keep their order. Indices lie in
// [0, size); Key is unsigned and has room for them.
template <class In, class Key>
void sort_indices(long count, const In* index, long size, Key* keys, std::uint32_t* order) {
    if (count <= 0) return;
    if (count >= 1l << 32) fail<ShapeError>("sort: ", count, " indices; expected less than 2^32");
    int bits = 1;
    while (bits < 63 && (size - 1) >> bits != 0) ++bits;
    const Scratch<Key> spare_keys(count);
    const Scratch<std::uint32_t> spare_order(count);
    if (count <= radix_block)
        return launch("sort", radix_small<In, Key>, 1l, block_threads, index, count, bits, keys, order, spare_keys.get(),
                      spare_order.get());
    const long blocks = (count + radix_block - 1) / radix_block;
    const Scratch<unsigned> counts(radix_digits * blocks + radix_digits);
    unsigned* const totals = counts.get() + radix_digits * blocks;
    const auto pass = [&]<class From>(const RadixPass<From, Key>& p) {
        launch("sort", radix_count<From>, blocks, block_threads, p.in, p.count, p.shift, counts.get());
        launch("sort", prefix_rows<unsigned>, static_cast<long>(radix_digits), block_threads, blocks, counts.get(), totals);
        launch("sort", radix_place<From, Key>, blocks, block_threads, p, counts.get(), totals);
    };
    const bool odd = (bits + 7) / 8 % 2 != 0;
    Key* to_keys = odd ? keys : spare_keys.get();
    std::uint32_t* to_order = odd ? order : spare_order.get();
    pass(RadixPass<In, Key>{index, nullptr, to_keys, to_order, count, 0});
    for (int shift = 8; shift < bits; shift += 8) {
        const Key* from_keys = to_keys;
        const std::uint32_t* from_order = to_order;
        to_keys = from_keys == keys ? spare_keys.get() : keys;
        to_order = from_order == order ? spare_order.get() : order;
        pass(RadixPass<Key, Key>{from_keys, from_order, to_keys, to_order, count, shift});
    }
}

template <class To>
__global__ void widen_order(long count, const std::uint32_t* from, To* to) {
#if TENON_DEVICE_CODE
    const long stride = static_cast<long>(gridDim.x) * blockDim.x;
    for (long i = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += stride) to[i] = static_cast<To>(from[i]);
#endif
}
// order[0, count) = the positions, sorted by index; equal ones keep their order. Indices lie in [0, size).
template <class I>
void sort_positions(long count, const I* index, long size, std::int64_t* order) {
    if (count <= 0) return;
    const Scratch<std::uint32_t> narrow(count);
    const auto run = [&]<class Key>(Key) {
        const Scratch<Key> keys(count);
        sort_indices(count, index, size, keys.get(), narrow.get());
    };
    if (size <= 1l << 32) run(std::uint32_t());
    else run(std::uint64_t());
    launch("sort", widen_order<std::int64_t>, blocks_for(count, block_threads), block_threads, count, narrow.get(), order);
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
