// Sorting, the largest k and the k-th element along an axis, and what follows from an order, as cpu/sort.hpp: contiguous
// [outer, n, inner], the same order to the last tie.
//
// Of a long line the largest k, or the k-th, are found without sorting it: a block reads the line once per 8 bits of the
// keys, most significant first, to find the last key that counts, and once more to collect. Where that would leave most of
// the device idle, the line is sorted.
#pragma once

#include <tenon/kernels/cuda/radix_sort.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {
namespace sort_impl {

using cpu::impl::sort_flip;
using cpu::impl::sort_item_t;
using cpu::impl::sort_key;
using cpu::impl::sort_key_bits;
using cpu::impl::sort_key_t;

// Items of a line of the input. flip turns the order over.
template <class T>
struct FromValues {
    const T* x;
    long n, inner;
    sort_key_t<T> flip;
    TENON_FUNCTOR bool across() const { return inner > 1; }
    TENON_FUNCTOR long element(long line, long j) const {
        const long o = line / inner;
        return (o * n + j) * inner + (line - o * inner);
    }
    TENON_FUNCTOR sort_key_t<T> key(long line, long j) const { return static_cast<sort_key_t<T>>(sort_key(x[element(line, j)]) ^ flip); }
    TENON_FUNCTOR sort_item_t<T> operator()(long line, long j) const {
        sort_item_t<T> item;
        cpu::impl::make_item(item, key(line, j), j);
        return item;
    }
};
template <class Item>
struct FromItems {
    const Item* items;
    long n;
    TENON_FUNCTOR bool across() const { return false; }
    TENON_FUNCTOR Item operator()(long line, long j) const { return items[line * n + j]; }
};

// Item j of a sorted line to element j of [outer, keep, inner]. values or indices may be null.
template <class T>
struct ToValues {
    FromValues<T> from;
    T* values;
    std::int64_t* indices;
    long keep;
    TENON_FUNCTOR void operator()(long line, long j, const sort_item_t<T>* sorted, long) const {
        const long o = line / from.inner, out = (o * keep + j) * from.inner + (line - o * from.inner), at = item_at(sorted[j]);
        if (values != nullptr) {
            const sort_key_t<T> key = static_cast<sort_key_t<T>>(static_cast<sort_key_t<T>>(item_key(sorted[j])) ^ from.flip);
            values[out] = cpu::impl::is_shared_key<T>(key) ? from.x[from.element(line, at)] : cpu::impl::sorted_value<T>(key);
        }
        if (indices != nullptr) indices[out] = at;
    }
};
// The item of one rank to [outer, inner]; nan_wins: the first NaN instead, where there is one.
template <class T>
struct ToRank {
    FromValues<T> from;
    T* values;
    std::int64_t* indices;
    long rank;
    bool nan_wins;
    TENON_FUNCTOR void operator()(long line, long j, const sort_item_t<T>* sorted, long n) const {
        bool chosen = j == rank;
        if constexpr (!std::is_integral_v<T>) {
            const std::uint64_t nan = sort_flip<T>;
            if (nan_wins && item_key(sorted[n - 1]) == nan) chosen = item_key(sorted[j]) == nan && (j == 0 || item_key(sorted[j - 1]) != nan);
        }
        if (!chosen) return;
        indices[line] = item_at(sorted[j]);
        values[line] = from.x[from.element(line, item_at(sorted[j]))];
    }
};

template <class T>
struct MakeItems {
    FromValues<T> from;
    sort_item_t<T>* items;
    TENON_FUNCTOR void operator()(long, long r, long line) const { items[line * from.n + r] = from(line, r); }
};
template <class Item, class Store>
struct StoreItems {
    const Item* sorted;
    long n;
    Store store;
    TENON_FUNCTOR void operator()(long, long r, long line) const { store(line, r, sorted + line * n, n); }
};

// Sorts whole lines and stores the first `keep` of each.
template <class T, class Store>
void sort_lines(const char* name, long outer, long keep, const FromValues<T>& from, const Store& store) {
    using Item = sort_item_t<T>;
    const long lines = outer * from.inner;
    if (from.n < shortest_radix) return sort_short_lines<Item>(name, lines, from.n, keep, false, from, store);
    const Scratch<Item> items(lines * from.n), other(lines * from.n);
    for_each_split(name, outer, from.n, from.inner, MakeItems<T>{from, items.get()});
    const Item* sorted = radix_sort(name, lines, from.n, items.get(), other.get(), sort_key_bits<T>);
    for_each_split(name, outer, keep, from.inner, StoreItems<Item, Store>{sorted, from.n, store});
}

template <class K>
struct Limit {
    K key;                // the last that counts
    std::uint32_t equal;  // so many of those equal to it count
    bool nan;             // the line has a NaN
};

#if TENON_DEVICE_CODE
// The key of rank `rank`, by a whole block; every thread has it. histogram: 256 counts, shared.
template <class T>
__device__ inline Limit<sort_key_t<T>> select_key(const FromValues<T>& from, long line, long rank, unsigned* histogram) {
    using K = sort_key_t<T>;
    K prefix = 0;
    std::uint32_t left = static_cast<std::uint32_t>(rank);
    bool nan = false;
    for (int shift = sort_key_bits<T> - 8; shift >= 0; shift -= 8) {
        __syncthreads();
        histogram[threadIdx.x] = 0;
        __syncthreads();
        for (long base = 0; base < from.n; base += block_threads) {
            const long j = base + threadIdx.x;
            unsigned digit = digit_values;
            if (j < from.n) {
                const K key = from.key(line, j);
                // (A shift by all bits means nothing: the first digit has no prefix.)
                if (shift == sort_key_bits<T> - 8 || key >> (shift + 8) == prefix >> (shift + 8)) digit = static_cast<unsigned>(key >> shift & (digit_values - 1));
                if constexpr (!std::is_integral_v<T>) nan = nan || key == static_cast<K>(sort_flip<T> ^ from.flip);
            }
            // Keys have few first digits: lanes that agree add once.
            const unsigned peers = __match_any_sync(0xffffffffu, digit);
            if (digit < digit_values && (peers & ((1u << threadIdx.x % 32) - 1)) == 0) atomicAdd(&histogram[digit], static_cast<unsigned>(__popc(peers)));
        }
        __syncthreads();
        unsigned digit = 0;
        while (histogram[digit] <= left) left -= histogram[digit++];
        prefix = static_cast<K>(prefix | static_cast<K>(static_cast<K>(digit) << shift));
    }
    return {prefix, left, __syncthreads_or(nan) != 0};
}
#endif

// A block per line collects the `keep` first of its order as items, by position.
template <class T>
__global__ void select_first(FromValues<T> from, long lines, long keep, sort_item_t<T>* items) {
#if TENON_DEVICE_CODE
    using K = sort_key_t<T>;
    TENON_SHARED(unsigned, histogram, digit_values);
    TENON_SHARED(unsigned, before, 2 * block_threads / 32);  // per warp: smaller ones, and equal ones
    const unsigned warp = threadIdx.x / 32, lanes_before = (1u << threadIdx.x % 32) - 1;
    for (long line = blockIdx.x; line < lines; line += gridDim.x) {
        const Limit<K> limit = select_key(from, line, keep - 1, histogram);
        const std::uint32_t equal = limit.equal + 1;
        std::uint32_t smaller_seen = 0, equal_seen = 0;
        for (long base = 0; base < from.n; base += block_threads) {
            const long j = base + threadIdx.x;
            const K key = j < from.n ? from.key(line, j) : K(0);
            const bool smaller = j < from.n && key < limit.key, same = j < from.n && key == limit.key;
            const unsigned smaller_lanes = __ballot_sync(0xffffffffu, smaller), same_lanes = __ballot_sync(0xffffffffu, same);
            __syncthreads();
            if (threadIdx.x % 32 == 0) {
                before[2 * warp] = static_cast<unsigned>(__popc(smaller_lanes));
                before[2 * warp + 1] = static_cast<unsigned>(__popc(same_lanes));
            }
            __syncthreads();
            std::uint32_t smaller_rank = smaller_seen, same_rank = equal_seen;
            for (unsigned w = 0; w < block_threads / 32; ++w) {
                if (w == warp) {
                    smaller_rank = smaller_seen + static_cast<unsigned>(__popc(smaller_lanes & lanes_before));
                    same_rank = equal_seen + static_cast<unsigned>(__popc(same_lanes & lanes_before));
                }
                smaller_seen += before[2 * w];
                equal_seen += before[2 * w + 1];
            }
            if (smaller || (same && same_rank < equal)) {
                // Of those collected so far, smaller_rank are smaller and at most `equal` equal.
                const long to = smaller_rank + (same_rank < equal ? same_rank : equal);
                cpu::impl::make_item(items[line * keep + to], key, j);
            }
        }
    }
#endif
}
// A block per line finds the element of one rank.
template <class T>
__global__ void select_rank(FromValues<T> from, long lines, long rank, bool nan_wins, T* values, std::int64_t* indices) {
#if TENON_DEVICE_CODE
    using K = sort_key_t<T>;
    TENON_SHARED(unsigned, histogram, digit_values);
    TENON_SHARED(unsigned, before, block_threads / 32);
    const unsigned warp = threadIdx.x / 32;
    for (long line = blockIdx.x; line < lines; line += gridDim.x) {
        Limit<K> limit = select_key(from, line, rank, histogram);
        if (nan_wins && limit.nan) limit = {static_cast<K>(sort_flip<T>), 0, true};
        std::uint32_t seen = 0;
        for (long base = 0; base < from.n; base += block_threads) {
            const long j = base + threadIdx.x;
            const bool same = j < from.n && from.key(line, j) == limit.key;
            const unsigned lanes = __ballot_sync(0xffffffffu, same);
            __syncthreads();
            if (threadIdx.x % 32 == 0) before[warp] = static_cast<unsigned>(__popc(lanes));
            __syncthreads();
            std::uint32_t here = seen;
            for (unsigned w = 0; w < block_threads / 32; ++w) {
                if (w == warp) here = seen + static_cast<unsigned>(__popc(lanes & ((1u << threadIdx.x % 32) - 1)));
                seen += before[w];
            }
            if (same && here == limit.equal) {
                values[line] = from.x[from.element(line, j)];
                indices[line] = j;
            }
        }
    }
#endif
}

// Whether blocks that take a line each do better than a sort of all lines.
constexpr bool select_pays(long lines, long n) { return n >= shortest_radix && n <= 0xffffffffl && (lines >= 32 || n <= 65536); }

template <class T>
struct Unique {
    using State = std::uint64_t;
    using A = accumulator<T>;
    const T* sorted;
    const std::int64_t* order;
    T* values;
    std::int64_t* firsts;
    std::int64_t* inverse;
    std::int64_t* starts;  // and behind them their number
    long n;
    TENON_FUNCTOR bool fresh(long at) const { return at == 0 || static_cast<A>(sorted[at]) != static_cast<A>(sorted[at - 1]); }
    TENON_FUNCTOR State identity() const { return 0; }
    TENON_FUNCTOR State combine(State a, State b) const { return a + b; }
    TENON_FUNCTOR State load(long, long at, long) const { return fresh(at) ? 1 : 0; }
    TENON_FUNCTOR void store(long, long at, long, State s) const {
        const long group = static_cast<long>(s) - 1;
        inverse[order[at]] = group;
        if (at == n - 1) starts[n] = group + 1;
        if (!fresh(at)) return;
        values[group] = sorted[at];
        firsts[group] = order[at];
        starts[group] = at;
    }
};
struct UniqueCounts {
    const std::int64_t* starts;
    std::int64_t* counts;
    long n, found;
    TENON_FUNCTOR void operator()(long g) const { counts[g] = (g + 1 < found ? starts[g + 1] : n) - starts[g]; }
};

template <class T>
struct SearchSorted {
    using A = accumulator<T>;
    const T* sorted;
    const T* values;
    std::int64_t* out;
    long n, m;
    bool shared, right;
    TENON_FUNCTOR void operator()(long i) const {
        const T* row = sorted + (shared ? 0 : i / m * n);
        const A v = static_cast<A>(values[i]);
        long at = 0, left = n;
        while (left > 0) {
            const long step = left / 2;
            const A middle = static_cast<A>(row[at + step]);
            const bool go = right ? !(middle > v) : !(middle >= v);
            at = go ? at + step + 1 : at;
            left = go ? left - step - 1 : step;
        }
        out[i] = at;
    }
};

}  // namespace sort_impl

template <class T>
void sort(long outer, long n, long inner, const T* x, T* values, std::int64_t* indices, bool descending) {
    using namespace sort_impl;
    if (outer <= 0 || n <= 0 || inner <= 0) return;
    const FromValues<T> from{x, n, inner, descending ? sort_flip<T> : sort_key_t<T>(0)};
    sort_lines("sort", outer, n, from, ToValues<T>{from, values, indices, n});
}

template <class T>
void topk(long outer, long n, long inner, long k, const T* x, T* values, std::int64_t* indices, bool largest, bool sorted) {
    using namespace sort_impl;
    using Item = sort_item_t<T>;
    if (outer <= 0 || n <= 0 || inner <= 0 || k <= 0) return;
    const long lines = outer * inner;
    const FromValues<T> from{x, n, inner, largest ? sort_flip<T> : sort_key_t<T>(0)};
    const ToValues<T> to{from, values, indices, k};
    if (n < shortest_radix) return sort_short_lines<Item>("topk", lines, n, k, !sorted, from, to);
    if (sorted && !select_pays(lines, n)) return sort_lines("topk", outer, k, from, to);
    const Scratch<Item> items(lines * k), other(lines * k);
    launch("topk", select_first<T>, blocks_for(lines, 1), block_threads, from, lines, k, items.get());
    if (sorted && k < shortest_radix) return sort_short_lines<Item>("topk", lines, k, k, false, FromItems<Item>{items.get(), k}, to);
    const Item* found = sorted ? radix_sort("topk", lines, k, items.get(), other.get(), sort_key_bits<T>) : items.get();
    for_each_split("topk", outer, k, inner, StoreItems<Item, ToValues<T>>{found, k, to});
}

template <class T>
void kth_value(long outer, long n, long inner, long k, const T* x, T* values, std::int64_t* indices, bool nan_wins) {
    using namespace sort_impl;
    if (outer <= 0 || n <= 0 || inner <= 0) return;
    const long lines = outer * inner;
    const FromValues<T> from{x, n, inner, sort_key_t<T>(0)};
    if (select_pays(lines, n)) return launch("kthvalue", select_rank<T>, blocks_for(lines, 1), block_threads, from, lines, k, nan_wins, values, indices);
    sort_lines("kthvalue", outer, n, from, ToRank<T>{from, values, indices, k, nan_wins});
}

// Waits for the device: how many there are decides what comes next on the host.
template <class T>
long unique(long n, const T* x, T* values, std::int64_t* firsts, std::int64_t* inverse, std::int64_t* counts) {
    if (n <= 0) return 0;
    const Scratch<T> sorted(n);
    const Scratch<std::int64_t> order(n), starts(n + 1);
    sort(1, n, 1, x, sorted.get(), order.get(), false);
    scan_axis("unique", 1, n, 1, false, false, sort_impl::Unique<T>{sorted.get(), order.get(), values, firsts, inverse, starts.get(), n});
    const long found = static_cast<long>(read_back(starts.get() + n));
    for_each_index("unique", found, sort_impl::UniqueCounts{starts.get(), counts, n, found});
    return found;
}

template <class T>
void search_sorted(long rows, long n, long m, const T* sorted, bool shared, const T* values, std::int64_t* out, bool right) {
    if (rows <= 0 || m <= 0) return;
    for_each_index("searchsorted", rows * m, sort_impl::SearchSorted<T>{sorted, values, out, n, m, shared, right});
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
