// Scattering on the device: the same bits on every run. Sums sort their targets (sort_indices.cuh) and add up what belongs
// together in order (keyed_sum.cuh); what does not depend on the order is done by integer atomics.
#pragma once

#include <tenon/kernels/cpu/scatter.hpp>
#include <tenon/kernels/cuda/each.cuh>
#include <tenon/kernels/cuda/gather.cuh>
#include <tenon/kernels/cuda/keyed_sum.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

using cpu::Scatter;

namespace scatter_impl {

template <class T>
void clear(T* data, long count) {
    if (count <= 0) return;
    const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(T);
    cuda_detail::check(cudaMemsetAsync(data, 0, bytes, cuda_detail::current_stream), "cudaMemsetAsync");
}
// Calls f with an unsigned number of the width that `size` keys need.
template <class F>
void with_key(long size, F f) {
    if (size < 1l << 32) f(std::uint32_t());
    else f(std::uint64_t());
}

// The keys that differ from the one before, in order; `before` counts them block by block.
template <class Key>
__global__ void count_heads(const Key* keys, long count, unsigned* before) {
#if TENON_DEVICE_CODE
    const long first = blockIdx.x * radix_block;
    unsigned own = 0, total;
    for (long k = first + threadIdx.x; k < first + radix_block && k < count; k += block_threads)
        own += k == 0 || keys[k] != keys[k - 1] ? 1 : 0;
    block_prefix(own, total);
    if (threadIdx.x == 0) before[blockIdx.x] = total;
#endif
}
template <class Key>
__global__ void list_heads(const Key* keys, long count, const unsigned* before, std::int64_t* rows) {
#if TENON_DEVICE_CODE
    const long first = blockIdx.x * radix_block;
    unsigned at = before[blockIdx.x];
    for (long base = first; base < first + radix_block && base < count; base += block_threads) {
        const long k = base + threadIdx.x;
        const bool head = k < count && (k == 0 || keys[k] != keys[k - 1]);
        unsigned total;
        const unsigned own = block_prefix(head ? 1u : 0u, total);
        if (head) rows[at + own] = static_cast<std::int64_t>(keys[k]);
        at += total;
    }
#endif
}
// Lists the different ones of sorted keys, ascending; returns their number, for which it waits.
template <class Key>
long different_keys(long count, const Key* keys, std::int64_t* rows) {
    const long blocks = (count + radix_block - 1) / radix_block;
    const Scratch<unsigned> before(blocks + 1);
    launch("scatter", count_heads<Key>, blocks, block_threads, keys, count, before.get());
    launch("scatter", prefix_rows<unsigned>, 1l, block_threads, blocks, before.get(), before.get() + blocks);
    launch("scatter", list_heads<Key>, blocks, block_threads, keys, count, before.get(), rows);
    return static_cast<long>(read_back(before.get() + blocks));
}

}  // namespace scatter_impl

// dst[o, index[j], :] += src[o, j, :]: src is [outer, m, inner], dst [outer, n, inner]; with accumulate = false dst is
// overwritten. Reads the sources once and the touched rows twice. touched: as of cpu::scatter_add_rows; asking costs a wait.
template <class T, class I>
long scatter_add_slices(long outer, long n, long m, long inner, const T* src, const I* index, T* dst, bool accumulate,
                        std::int64_t* touched = nullptr) {
    if (!accumulate) scatter_impl::clear(dst, outer * n * inner);
    if (m <= 0 || outer <= 0) return 0;
    long found = -1;
    scatter_impl::with_key(n, [&]<class Key>(Key) {
        using Sum = typename cpu::impl::sum_type<T>::type;
        const Scratch<Key> keys(m);
        const Scratch<std::uint32_t> order(m);
        sort_indices(m, index, n, keys.get(), order.get());
        keyed_sum(KeyedRows<T, Sum, T, Key>{src, order.get(), keys.get(), m, 0, 0, outer * inner, inner, m * inner, inner, n * inner,
                                            static_cast<Key>(n), dst, nullptr, nullptr});
        if (touched != nullptr) found = scatter_impl::different_keys(m, keys.get(), touched);
    });
    return found;
}
// dst[index[i], :] += src[i, :] for i in [0, count).
template <class T, class I>
long scatter_add_rows(long count, long width, const T* src, const I* index, long rows, T* dst, bool accumulate,
                      std::int64_t* touched = nullptr) {
    return scatter_add_slices(1, rows, count, width, src, index, dst, accumulate, touched);
}
// The different indices, ascending: rows has room for min(count, size). Returns their number, for which it waits.
template <class I>
long different_indices(long count, const I* index, long size, std::int64_t* rows) {
    if (count <= 0) return 0;
    long found = 0;
    scatter_impl::with_key(size, [&]<class Key>(Key) {
        const Scratch<Key> keys(count);
        const Scratch<std::uint32_t> order(count);
        sort_indices(count, index, size, keys.get(), order.get());
        found = scatter_impl::different_keys(count, keys.get(), rows);
    });
    return found;
}

// winner[index[j]] = the last j, plus one.
template <class I>
__global__ void find_last(const I* index, long m, unsigned* winner) {
#if TENON_DEVICE_CODE
    const long stride = static_cast<long>(gridDim.x) * blockDim.x;
    for (long j = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x; j < m; j += stride)
        atomicMax(winner + static_cast<long>(index[j]), static_cast<unsigned>(j) + 1u);
#endif
}
// src null: zeros.
template <class Word, class I>
__global__ void put_words(const Word* src, const I* index, const unsigned* winner, Word* dst, SliceWalk w) {
#if TENON_DEVICE_CODE
    for (unsigned k = blockIdx.x * blockDim.x + threadIdx.x; k < w.count; k += gridDim.x * blockDim.x) {
        const unsigned q = w.words.quotient(k), row = static_cast<unsigned>(w.first) + q;
        const unsigned outer = w.m.quotient(row), j = row - outer * w.m.divisor;
        const long to = static_cast<long>(index[j]);
        if (winner[to] != j + 1u) continue;
        Word value = Word();
        if (src != nullptr) value = src[w.first * w.words.divisor + k];
        dst[(outer * w.n + to) * w.words.divisor + (k - q * w.words.divisor)] = value;
    }
#endif
}
// dst[o, index[j], :] = src[o, j, :], the last of several; zeros where src is null.
template <class I>
void put_slices(long outer, long n, long m, long bytes, const void* src, const I* index, void* dst) {
    if (outer <= 0 || m <= 0 || bytes <= 0) return;
    const Scratch<unsigned> winner(n);
    scatter_impl::clear(winner.get(), n);
    launch("scatter", find_last<I>, blocks_for(m, block_threads), block_threads, index, m, winner.get());
    gather_impl::with_word(bytes, src, dst, [&]<class Word>(Word, long words) {
        gather_impl::for_slices("scatter", outer, n, m, words, [&](const SliceWalk& w) {
            launch("scatter", put_words<Word, I>, blocks_for(w.count, block_threads), block_threads, static_cast<const Word*>(src),
                   index, winner.get(), static_cast<Word*>(dst), w);
        });
    });
}

// ---- one index per element -------------------------------------------------------------------------------------------------

// dst[o, index[o, j, i], i] = src[o, j, i], the last of several: the last source of each element is found first.
template <class I>
__global__ void find_last_elements(const I* index, unsigned* winner, AxisWalk w, unsigned count) {
#if TENON_DEVICE_CODE
    for (unsigned k = blockIdx.x * blockDim.x + threadIdx.x; k < count; k += gridDim.x * blockDim.x)
        atomicMax(winner + w.target(k, static_cast<long>(index[k])), k + 1u);
#endif
}
template <class T, class I>
__global__ void put_elements(const T* src, const I* index, const unsigned* winner, T* dst, AxisWalk w, unsigned count) {
#if TENON_DEVICE_CODE
    for (unsigned k = blockIdx.x * blockDim.x + threadIdx.x; k < count; k += gridDim.x * blockDim.x) {
        const long to = w.target(k, static_cast<long>(index[k]));
        if (winner[to] == k + 1u) dst[to] = src[k];
    }
#endif
}
template <class T, class I>
void scatter_axis(long outer, long n, long m, long inner, const T* src, const I* index, T* dst) {
    if (outer * m * inner <= 0) return;
    const Scratch<unsigned> winner(outer * n * inner);
    scatter_impl::clear(winner.get(), outer * n * inner);
    gather_impl::for_planes("scatter", outer, n, m, inner, [&](const AxisWalk& w, long before, unsigned count) {
        launch("scatter", find_last_elements<I>, blocks_for(count, block_threads), block_threads, index + before * m * inner,
               winner.get() + before * n * inner, w, count);
        launch("scatter", put_elements<T, I>, blocks_for(count, block_threads), block_threads, src + before * m * inner,
               index + before * m * inner, winner.get() + before * n * inner, dst + before * n * inner, w, count);
    });
}

// How many sources every element has.
template <class I>
__global__ void count_sources(const I* index, unsigned* counts, AxisWalk w, unsigned count) {
#if TENON_DEVICE_CODE
    for (unsigned k = blockIdx.x * blockDim.x + threadIdx.x; k < count; k += gridDim.x * blockDim.x)
        atomicAdd(counts + w.target(k, static_cast<long>(index[k])), 1u);
#endif
}
namespace scatter_impl {

template <class I>
void source_counts(long outer, long n, long m, long inner, const I* index, unsigned* counts) {
    clear(counts, outer * n * inner);
    gather_impl::for_planes("scatter", outer, n, m, inner, [&](const AxisWalk& w, long before, unsigned count) {
        launch("scatter", count_sources<I>, blocks_for(count, block_threads), block_threads, index + before * m * inner,
               counts + before * n * inner, w, count);
    });
}
template <class T>
struct FillCounted {
    const unsigned* counts;
    T* to;
    T value;
    TENON_FUNCTOR void operator()(long i) const {
        if (counts[i] != 0) to[i] = value;
    }
};
template <class A>
struct AddCounts {
    const unsigned* counts;
    A* to;
    TENON_FUNCTOR void operator()(long i) const {
        if (counts[i] != 0) to[i] = static_cast<A>(to[i] + static_cast<A>(counts[i]));
    }
};

}  // namespace scatter_impl

// dst[o, index[o, j, i], i] = value.
template <class T, class I>
void scatter_fill_axis(long outer, long n, long m, long inner, T value, const I* index, T* dst) {
    if (outer * m * inner <= 0) return;
    const Scratch<unsigned> counts(outer * n * inner);
    scatter_impl::source_counts(outer, n, m, inner, index, counts.get());
    each(outer * n * inner, scatter_impl::FillCounted<T>{counts.get(), dst, value});
}
// dst[o, index[o, j, i], i] += 1.
template <class A, class I>
void scatter_count_axis(long outer, long n, long m, long inner, const I* index, A* dst) {
    if (outer * m * inner <= 0) return;
    const Scratch<unsigned> counts(outer * n * inner);
    scatter_impl::source_counts(outer, n, m, inner, index, counts.get());
    each(outer * n * inner, scatter_impl::AddCounts<A>{counts.get(), dst});
}

// The target of every source as a number; a negative index has none: `limit`.
template <class I, class Key>
__global__ void target_keys(const I* index, Key* keys, AxisWalk w, unsigned count, long base, Key limit) {
#if TENON_DEVICE_CODE
    for (unsigned k = blockIdx.x * blockDim.x + threadIdx.x; k < count; k += gridDim.x * blockDim.x)
        keys[k] = index[k] < 0 ? limit : static_cast<Key>(base + w.target(k, static_cast<long>(index[k])));
#endif
}
// One thread per column walks through its sources: for short columns.
template <class Sum, class T, class Out, class I>
__global__ void add_columns(long columns, long n, long m, long inner, const T* src, const I* index, Out* dst) {
#if TENON_DEVICE_CODE
    const long stride = static_cast<long>(gridDim.x) * blockDim.x;
    for (long c = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x; c < columns; c += stride) {
        const long outer = c / inner, i = c - outer * inner;
        for (long j = 0; j < m; ++j) {
            const long at = (outer * m + j) * inner + i, row = static_cast<long>(index[at]);
            if (row < 0) continue;
            Out& to = dst[(outer * n + row) * inner + i];
            to = static_cast<Out>(static_cast<Sum>(to) + static_cast<Sum>(src[at]));
        }
    }
#endif
}
namespace scatter_impl {

// dst[o, index[o, j, i], i] += src[o, j, i] where the index is not negative.
template <class Sum, class T, class Out, class I>
void add_elements_axis(long outer, long n, long m, long inner, const T* src, const I* index, Out* dst) {
    const long columns = outer * inner, sources = columns * m, size = columns * n;
    if (sources <= 0) return;
    if (m <= 16 || (m <= 256 && columns >= 1l << 16))
        return launch("scatter", add_columns<Sum, T, Out, I>, blocks_for(columns, block_threads), block_threads, columns, n, m, inner,
                      src, index, dst);
    with_key(size, [&]<class Key>(Key) {
        const Scratch<Key> targets(sources), keys(sources);
        const Scratch<std::uint32_t> order(sources);
        const Key limit = static_cast<Key>(size);
        gather_impl::for_planes("scatter", outer, n, m, inner, [&](const AxisWalk& w, long before, unsigned count) {
            launch("scatter", target_keys<I, Key>, blocks_for(count, block_threads), block_threads, index + before * m * inner,
                   targets.get() + before * m * inner, w, count, before * n * inner, limit);
        });
        sort_indices(sources, static_cast<const Key*>(targets.get()), size + 1, keys.get(), order.get());
        keyed_sum(
            KeyedRows<T, Sum, Out, Key>{src, order.get(), keys.get(), sources, 0, 0, 1, 1, 0, 1, 0, limit, dst, nullptr, nullptr});
    });
}

}  // namespace scatter_impl

// dst[o, index[o, j, i], i] += src[o, j, i]: the backward of gather_axis. With accumulate = false dst is cleared first.
template <class T, class I>
void scatter_add_axis(long outer, long n, long m, long inner, const T* src, const I* index, T* dst, bool accumulate) {
    if (!accumulate) scatter_impl::clear(dst, outer * n * inner);
    scatter_impl::add_elements_axis<typename cpu::impl::sum_type<T>::type>(outer, n, m, inner, src, index, dst);
}

namespace scatter_impl {

// Numbers as unsigned ones of the same order. NaN is beyond everything, on the side that wins; 0 beyond -0.
template <Scatter How, class A>
struct Ordered {
    static constexpr bool wide = sizeof(A) == 8;
    using Code = std::conditional_t<wide, unsigned long long, unsigned>;
    static constexpr Code top = Code(1) << (8 * sizeof(Code) - 1);
    static TENON_FUNCTOR Code code(A value) {
        if constexpr (std::is_floating_point_v<A>) {
            if (value != value) return How == Scatter::max ? ~Code(0) : Code(0);
            const Code bits = __builtin_bit_cast(Code, value);
            return (bits & top) != 0 ? ~bits : bits | top;
        } else if constexpr (std::is_signed_v<A>) {
            return static_cast<Code>(static_cast<std::conditional_t<wide, long long, int>>(value)) ^ top;
        } else {
            return static_cast<Code>(value);
        }
    }
    static TENON_FUNCTOR A value(Code code) {
        if constexpr (std::is_floating_point_v<A>) {
            if (code == (How == Scatter::max ? ~Code(0) : Code(0))) return static_cast<A>(__builtin_nan(""));
            return __builtin_bit_cast(A, (code & top) != 0 ? code & ~top : ~code);
        } else if constexpr (std::is_signed_v<A>) {
            return static_cast<A>(static_cast<std::conditional_t<wide, long long, int>>(code ^ top));
        } else {
            return static_cast<A>(code);
        }
    }
};
template <class O, class A>
struct EncodeStep {
    const A* from;
    typename O::Code* to;
    TENON_FUNCTOR void operator()(long i) const { to[i] = O::code(from[i]); }
};
template <class O, class A>
struct DecodeStep {
    const typename O::Code* from;
    A* to;
    TENON_FUNCTOR void operator()(long i) const { to[i] = O::value(from[i]); }
};

}  // namespace scatter_impl

template <Scatter How, class A, class T, class I>
__global__ void extreme_elements(const T* src, const I* index, typename scatter_impl::Ordered<How, A>::Code* codes, AxisWalk w, unsigned count) {
#if TENON_DEVICE_CODE
    using O = scatter_impl::Ordered<How, A>;
    for (unsigned k = blockIdx.x * blockDim.x + threadIdx.x; k < count; k += gridDim.x * blockDim.x) {
        const long to = w.target(k, static_cast<long>(index[k]));
        if constexpr (How == Scatter::max) atomicMax(codes + to, O::code(static_cast<A>(src[k])));
        else atomicMin(codes + to, O::code(static_cast<A>(src[k])));
    }
#endif
}
// dst[o, index[o, j, i], i] = dst op src[o, j, i]; A is what T accumulates in. NaN wins in max and min.
template <Scatter How, class A, class T, class I>
void scatter_reduce_axis(long outer, long n, long m, long inner, const T* src, const I* index, A* dst) {
    if (outer * m * inner <= 0) return;
    if constexpr (How == Scatter::sum) {
        scatter_impl::add_elements_axis<A>(outer, n, m, inner, src, index, dst);
    } else {
        using O = scatter_impl::Ordered<How, A>;
        const long size = outer * n * inner;
        const Scratch<typename O::Code> codes(size);
        each(size, scatter_impl::EncodeStep<O, A>{dst, codes.get()});
        gather_impl::for_planes("scatter", outer, n, m, inner, [&](const AxisWalk& w, long before, unsigned count) {
            launch("scatter", extreme_elements<How, A, T, I>, blocks_for(count, block_threads), block_threads, src + before * m * inner,
                   index + before * m * inner, codes.get() + before * n * inner, w, count);
        });
        each(size, scatter_impl::DecodeStep<O, A>{codes.get(), dst});
    }
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
