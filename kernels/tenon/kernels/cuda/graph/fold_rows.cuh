// Folds over the elements of sparse rows. A group of threads takes a row, each thread columns of it, its elements in blocks that
// are added up as on the CPU; a row with very many elements is not one group's: every block of it is folded apart, and the blocks
// are joined in their order. The bits depend on the row alone.
#pragma once

#include <tenon/kernels/cpu/graph/rows.hpp>
#include <tenon/kernels/cuda/fold.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

using cpu::CsrRows;

inline constexpr long row_block = cpu::impl::scatter_block;  // elements folded before they join the total
inline constexpr long long_row = 2 * row_block;              // rows with more are shared out

// Threads of a row: few where it is narrow, so that a warp has several rows.
inline int threads_of_row(long columns) {
    int threads = 1;
    while (threads < 32 && threads < columns) threads *= 2;
    return threads;
}

#if TENON_DEVICE_CODE
// The row of element k.
TENON_HD inline long row_of(const CsrRows& a, long k) {
    long low = 0, high = a.rows;
    while (high - low > 1) {
        const long middle = (low + high) / 2;
        if (a.begin(middle) <= k) low = middle;
        else high = middle;
    }
    return low;
}
template <class Fold>
TENON_FUNCTOR typename Fold::State fold_block(const Fold& fold, long r, long begin, long end, long j) {
    typename Fold::State s = fold.start();
    for (long k = begin; k < end; ++k) fold.step(s, r, k, j);
    return s;
}
#endif

// f(row, begin, end, part) for every row that is not long, where part is negative, and for every block of the long ones, where it is
// the place of the block's partial result: there are two for each `row_block` elements of the matrix. A block belongs to the piece of the
// matrix in which it begins; of the rows there, only the first and the last can be long. Every group of `threads` lanes has ranges of
// its own, but the lanes of a warp make the same calls: a group that has none left gets row -1 and an empty range.
#if TENON_DEVICE_CODE
template <class F>
TENON_FUNCTOR void each_row_block(const CsrRows& a, int threads, bool split, F&& f) {
    constexpr int block_of = static_cast<int>(row_block), most = static_cast<int>(long_row);
    const long groups = static_cast<long>(gridDim.x) * blockDim.x / threads, own = (threadIdx.x % 32) / static_cast<unsigned>(threads),
               first_of_warp = (static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x) / 32 * (32 / threads),
               units = a.rows + (split ? (a.elements + row_block - 1) / row_block * 2 : 0);
    for (long base = first_of_warp; base < units; base += groups) {
        const long unit = base + own, part = unit - a.rows;
        int r = -1, begin = 0, end = 0;
        if (part < 0) {
            begin = a.pointers[unit], end = a.pointers[unit + 1];
            if (end - begin <= most) r = static_cast<int>(unit);
        } else if (unit < units) {
            const int first = static_cast<int>(part / 2 * row_block), slot = static_cast<int>(part % 2);
            const int stop = a.elements - first < block_of ? static_cast<int>(a.elements) : first + block_of;
            const long row = row_of(a, slot == 0 ? first : stop - 1);
            const int row_begin = a.pointers[row], row_end = a.pointers[row + 1];
            // (A row that begins here is in the second place, unless it begins with the piece.)
            const bool mine = row_end - row_begin > most && (slot == 0 || row != row_of(a, first));
            begin = row_begin >= first ? row_begin : first + (block_of - (first - row_begin) % block_of) % block_of;
            end = row_end - begin < block_of ? row_end : begin + block_of;
            if (mine && begin < stop && begin < row_end) r = static_cast<int>(row);
        }
        f(r, begin, r < 0 ? begin : end, part);
    }
}
#endif

template <class Fold>
__global__ void fold_row_blocks(Fold fold, CsrRows a, long columns, int threads, typename Fold::State* parts) {
#if TENON_DEVICE_CODE
    const long lane = threadIdx.x % static_cast<unsigned>(threads);
    each_row_block(a, threads, parts != nullptr, [&](int r, int begin, int end, long part) {
        if (r < 0) return;
        for (long j = lane; j < columns; j += threads) {
            typename Fold::State total = fold.start();
            for (long block = begin; block < end; block += row_block)
                fold.join(total, fold_block(fold, r, block, block + row_block < end ? block + row_block : end, j));
            if (part < 0) fold.finish(total, r, j);
            else parts[part * columns + j] = total;
        }
    });
#endif
}
// Of few columns: slots * columns lanes have a row, each every slots-th element of a column, and what they have is joined in pairs.
template <class Fold>
__global__ void fold_narrow_row_blocks(Fold fold, CsrRows a, int columns, int threads, typename Fold::State* parts) {
#if TENON_DEVICE_CODE
    const int lane = static_cast<int>(threadIdx.x) % threads, slots = threads / columns, slot = lane / columns, j = lane % columns;
    int half = 1;
    while (2 * half < slots) half *= 2;
    each_row_block(a, threads, parts != nullptr, [&](int r, int begin, int end, long part) {
        typename Fold::State s = fold.start();
        for (int k = slot; k < end - begin && slot < slots; k += slots) fold.step(s, r, begin + k, j);
        for (int d = half; d > 0; d /= 2) {
            const typename Fold::State other = shuffle_down(s, static_cast<unsigned>(d * columns));
            if (slot < d && slot + d < slots) fold.join(s, other);
        }
        if (slot != 0 || r < 0) return;
        if (part < 0) fold.finish(s, r, j);
        else parts[part * columns + j] = s;
    });
#endif
}
template <class Fold>
__global__ void fold_long_rows(Fold fold, CsrRows a, long columns, int threads, const typename Fold::State* parts) {
#if TENON_DEVICE_CODE
    const long groups = static_cast<long>(gridDim.x) * blockDim.x / threads;
    for (long r = (static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x) / threads; r < a.rows; r += groups) {
        const long begin = a.begin(r), end = a.end(r);
        if (end - begin <= long_row) continue;
        for (long j = threadIdx.x % static_cast<unsigned>(threads); j < columns; j += threads) {
            typename Fold::State total = fold.start();
            for (long block = begin; block < end; block += row_block) {
                const long piece = block / row_block, slot = begin <= piece * row_block ? 0 : 1;
                fold.join(total, parts[(2 * piece + slot) * columns + j]);
            }
            fold.finish(total, r, j);
        }
    }
#endif
}
// Has begin(blocks, parts) launch what finishes the rows that are not long and folds the blocks of the others, and joins those.
template <class Fold, class Begin>
void fold_and_join(const char* name, const Fold& fold, const CsrRows& a, long columns, int threads, Begin&& begin) {
    using State = typename Fold::State;
    const bool split = a.elements > long_row && (a.longest < 0 || a.longest > long_row);
    const Scratch<State> parts(split ? (a.elements + row_block - 1) / row_block * 2 * columns : 0);
    begin(blocks_for(a.rows, block_threads / threads), parts.get());
    if (!split) return;
    const int joining = threads_of_row(columns);
    launch(name, fold_long_rows<Fold>, blocks_for(a.rows, block_threads / joining), block_threads, fold, a, columns, joining,
           static_cast<const State*>(parts.get()));
}
// For every row r and column j: fold.finish(state, r, j), where the state has been through fold.step(state, r, k, j) for the row's
// elements k. fold.start() is that of no elements, fold.join(total, part) adds what comes after.
template <class Fold>
void fold_csr_rows(const char* name, const Fold& fold, const CsrRows& a, long columns) {
    if (a.rows <= 0 || columns <= 0) return;
    const int threads = threads_of_row(columns);
    fold_and_join(name, fold, a, columns, threads, [&](long blocks, typename Fold::State* parts) {
        launch(name, fold_row_blocks<Fold>, blocks, block_threads, fold, a, columns, threads, parts);
    });
}
// The same where a row's elements may come in another order (as fixed as theirs): few columns have more threads.
template <class Fold>
void fold_csr_rows_in_pairs(const char* name, const Fold& fold, const CsrRows& a, long columns) {
    if (columns > 16) return fold_csr_rows(name, fold, a, columns);
    if (a.rows <= 0 || columns <= 0) return;
    const int threads = threads_of_row(8 * columns);
    fold_and_join(name, fold, a, columns, threads, [&](long blocks, typename Fold::State* parts) {
        launch(name, fold_narrow_row_blocks<Fold>, blocks, block_threads, fold, a, static_cast<int>(columns), threads, parts);
    });
}

// f(row, element, head) for every element and head, each by a group of `threads` lanes of a warp that takes 32 neighbouring elements.
// All lanes of a warp make the same calls: a group that has none left gets element -1.
#if TENON_DEVICE_CODE
template <class F>
TENON_FUNCTOR void each_head(const CsrRows& a, long heads, int threads, F&& f) {
    constexpr long share = 32;
    const long warps = static_cast<long>(gridDim.x) * (blockDim.x / 32);
    const unsigned own = (threadIdx.x % 32) / static_cast<unsigned>(threads), at_once = 32 / static_cast<unsigned>(threads);
    for (long first = (static_cast<long>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32) * share; first < a.elements;
         first += warps * share) {
        const long stop = first + share < a.elements ? first + share : a.elements;
        const unsigned pairs = static_cast<unsigned>((stop - first) * heads);
        long r = row_of(a, first);
        for (unsigned base = 0; base < pairs; base += at_once) {
            const unsigned pair = base + own, element = pair / static_cast<unsigned>(heads);
            if (pair < pairs)
                while (first + element >= a.end(r)) ++r;
            f(r, pair < pairs ? first + element : -1l, static_cast<long>(pair - element * static_cast<unsigned>(heads)));
        }
    }
}
// Sum over the lanes of a group; every lane of the warp must call, and all of the group have it.
template <class V>
__device__ inline V group_sum(V value, int threads) {
    for (int d = threads / 2; d > 0; d /= 2) value += __shfl_xor_sync(0xffffffffu, value, d);
    return value;
}
#endif

// f(row, element) for every element, by warps that take 32 neighbouring ones.
#if TENON_DEVICE_CODE
template <class F>
TENON_FUNCTOR void each_element(const CsrRows& a, F&& f) {
    constexpr long share = 32;
    const long warps = static_cast<long>(gridDim.x) * (blockDim.x / 32);
    for (long first = (static_cast<long>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32) * share; first < a.elements;
         first += warps * share) {
        const long stop = first + share < a.elements ? first + share : a.elements;
        long r = row_of(a, first);
        for (long k = first; k < stop; ++k) {
            while (k >= a.end(r)) ++r;
            f(r, k);
        }
    }
}
#endif
inline long blocks_for_elements(const CsrRows& a) { return blocks_for(a.elements, 32 * (block_threads / 32)); }

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
