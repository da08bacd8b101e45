// Stable sorts of items (cpu/sort.hpp: a key and the position it came from) along the lines of [lines, n].
//
// Lines of up to 2048 items are sorted in shared memory, several short ones by one block, by a bitonic network: positions
// tell equal keys apart, so that its order is the stable one. Longer ones go by digits of 8 bits, least first: each pass
// counts the digits of every tile, scans the counts of a line, and moves the items, whose ranks within a warp come from
// comparing digits across its lanes. Bytes moved per digit: two reads and one write of the items.
#pragma once

#include <tenon/kernels/cpu/sort.hpp>
#include <tenon/kernels/cuda/scan.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {
namespace sort_impl {

using cpu::impl::item_at;
using cpu::impl::item_key;
using cpu::impl::item_less;
using cpu::impl::SortPair;

constexpr long shortest_radix = 2049;

TENON_FUNCTOR void last_item(std::uint64_t& item) { item = ~std::uint64_t(0); }
TENON_FUNCTOR void last_item(SortPair& item) { item.key = item.at = ~std::uint64_t(0); }
// Key and position change places: the order is then that of the positions.
TENON_FUNCTOR void turn_item(std::uint64_t& item) { item = item << 32 | item >> 32; }
TENON_FUNCTOR void turn_item(SortPair& item) {
    const std::uint64_t key = item.key;
    item.key = item.at;
    item.at = key;
}

struct ShortSort {
    long lines;
    unsigned n, width, group;  // items of a line, the power of two that holds them, lines per block
    unsigned keep;             // so many of the first are stored
    bool by_position;          // in the order of their positions
};

#if TENON_DEVICE_CODE
template <class Item>
__device__ inline void bitonic_sort(Item* items, unsigned width, unsigned total) {
    for (unsigned k = 2; k <= width; k *= 2)
        for (unsigned j = k / 2; j > 0; j /= 2) {
            for (unsigned e = threadIdx.x; e < total / 2; e += blockDim.x) {
                const unsigned i = (e & ~(j - 1)) << 1 | (e & (j - 1));
                const bool rising = (i & (width - 1) & k) == 0;
                const Item a = items[i], b = items[i + j];
                if (item_less(b, a) == rising) {
                    items[i] = b;
                    items[i + j] = a;
                }
            }
            __syncthreads();
        }
}
#endif

// load(line, j) gives an item; store(line, j, sorted items of the line, n) takes the result.
template <class Item, class Load, class Store>
__global__ void sort_short(ShortSort s, Load load, Store store) {
#if TENON_DEVICE_CODE
    TENON_SHARED_DYNAMIC(Item, items);
    const unsigned total = s.group * s.width;
    for (long begin = static_cast<long>(blockIdx.x) * s.group; begin < s.lines; begin += static_cast<long>(gridDim.x) * s.group) {
        for (unsigned e = threadIdx.x; e < total; e += blockDim.x) {
            // Neighbouring lines or neighbouring elements, whichever lie side by side.
            const unsigned l = load.across() ? e % s.group : e / s.width, j = load.across() ? e / s.group : e % s.width;
            Item item;
            if (j < s.n && begin + l < s.lines) item = load(begin + l, j);
            else last_item(item);
            items[l * s.width + j] = item;
        }
        __syncthreads();
        bitonic_sort(items, s.width, total);
        if (s.by_position) {
            for (int pass = 0; pass < 2; ++pass) {
                for (unsigned e = threadIdx.x; e < total; e += blockDim.x) {
                    if ((e & (s.width - 1)) < s.keep) turn_item(items[e]);
                    else last_item(items[e]);
                }
                __syncthreads();
                if (pass == 0) bitonic_sort(items, s.width, total);
            }
        }
        for (unsigned e = threadIdx.x; e < total; e += blockDim.x) {
            const unsigned l = load.across() ? e % s.group : e / s.width, j = load.across() ? e / s.group : e % s.width;
            if (j < s.keep && begin + l < s.lines) store(begin + l, j, static_cast<const Item*>(items + l * s.width), s.n);
        }
        __syncthreads();
    }
#endif
}
template <class Item, class Load, class Store>
void sort_short_lines(const char* name, long lines, long n, long keep, bool by_position, const Load& load, const Store& store) {
    ShortSort s{lines, static_cast<unsigned>(n), 2, 1, static_cast<unsigned>(keep), by_position};
    while (s.width < s.n) s.width *= 2;
    while (s.group * s.width < 512) s.group *= 2;
    launch(name, sort_short<Item, Load, Store>, dim3(static_cast<unsigned>(blocks_for(lines, s.group))), dim3(block_threads),
           s.group * s.width * sizeof(Item), s, load, store);
}

template <class Item>
inline constexpr int tile_steps = 128 / int(sizeof(Item));
template <class Item>
inline constexpr long tile_items = block_threads * tile_steps<Item>;
constexpr unsigned digit_values = 256;

// counts[line, digit, tile]
template <class Item>
__global__ void count_digits(const Item* items, long n, long tiles, int shift, std::uint32_t* counts) {
#if TENON_DEVICE_CODE
    TENON_SHARED(unsigned, count, digit_values);
    const long line = blockIdx.x / tiles, tile = blockIdx.x - line * tiles, first = tile * tile_items<Item>;
    count[threadIdx.x] = 0;
    __syncthreads();
    for (int k = 0; k < tile_steps<Item>; ++k) {
        const long i = first + k * block_threads + threadIdx.x;
        if (i < n) atomicAdd(&count[item_key(items[line * n + i]) >> shift & (digit_values - 1)], 1u);
    }
    __syncthreads();
    counts[(line * digit_values + threadIdx.x) * tiles + tile] = count[threadIdx.x];
#endif
}
// Where a tile's items of each digit go: an exclusive scan.
struct DigitStarts {
    using State = std::uint32_t;
    std::uint32_t* counts;
    std::uint32_t* starts;
    TENON_FUNCTOR State identity() const { return 0; }
    TENON_FUNCTOR State combine(State a, State b) const { return a + b; }
    TENON_FUNCTOR State load(long, long at, long) const { return counts[at]; }
    TENON_FUNCTOR void store(long, long at, long, State s) const { starts[at] = s - counts[at]; }
};
template <class Item>
__global__ void move_items(const Item* items, Item* to, long n, long tiles, int shift, const std::uint32_t* starts) {
#if TENON_DEVICE_CODE
    constexpr unsigned warps = block_threads / 32;
    TENON_SHARED(unsigned, count, warps * digit_values);
    const long line = blockIdx.x / tiles, tile = blockIdx.x - line * tiles;
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    unsigned* const own = count + warp * digit_values;
    for (unsigned d = lane; d < digit_values; d += 32) own[d] = 0;
    __syncwarp();
    // A warp takes neighbouring items, 32 at a time, and counts what it has seen of each digit.
    const long first = tile * tile_items<Item> + warp * (32 * tile_steps<Item>);
    Item item[tile_steps<Item>];
    unsigned rank[tile_steps<Item>];
    for (int k = 0; k < tile_steps<Item>; ++k) {
        const long i = first + k * 32 + lane;
        const bool here = i < n;
        if (here) item[k] = items[line * n + i];
        const unsigned digit = here ? static_cast<unsigned>(item_key(item[k]) >> shift & (digit_values - 1)) : digit_values;
        const unsigned peers = __match_any_sync(0xffffffffu, digit), before = peers & ((1u << lane) - 1);
        const unsigned seen = here ? own[digit] : 0;
        rank[k] = seen + static_cast<unsigned>(__popc(before));
        __syncwarp();
        if (here && before == 0) own[digit] = seen + static_cast<unsigned>(__popc(peers));
        __syncwarp();
    }
    __syncthreads();
    unsigned run = starts[(line * digit_values + threadIdx.x) * tiles + tile];
    for (unsigned w = 0; w < warps; ++w) {
        const unsigned c = count[w * digit_values + threadIdx.x];
        count[w * digit_values + threadIdx.x] = run;
        run += c;
    }
    __syncthreads();
    for (int k = 0; k < tile_steps<Item>; ++k) {
        const long i = first + k * 32 + lane;
        if (i < n) to[line * n + own[item_key(item[k]) >> shift & (digit_values - 1)] + rank[k]] = item[k];
    }
#endif
}

// Sorts by the lowest `bits` of the keys; returns where the result lies: items or other.
template <class Item>
Item* radix_sort(const char* name, long lines, long n, Item* items, Item* other, int bits) {
    if (n > 0xffffffffl) fail<ShapeError>(name, ": the axis has ", n, " elements, on a GPU at most 4294967295 are supported");
    const long tiles = (n + tile_items<Item> - 1) / tile_items<Item>, total = lines * tiles;
    if (total >= (1l << 31)) fail<ShapeError>(name, ": too many elements for a GPU");
    const Scratch<std::uint32_t> counts(total * digit_values), starts(total * digit_values);
    for (int shift = 0; shift < bits; shift += 8) {
        launch(name, count_digits<Item>, total, block_threads, items, n, tiles, shift, counts.get());
        scan_axis(name, lines, digit_values * tiles, 1, false, false, DigitStarts{counts.get(), starts.get()});
        launch(name, move_items<Item>, total, block_threads, items, other, n, tiles, shift, starts.get());
        Item* const swap = items;
        items = other;
        other = swap;
    }
    return items;
}

}  // namespace sort_impl
}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
