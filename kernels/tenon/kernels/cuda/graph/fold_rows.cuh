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

// f(row, begin, end, part) for every row that is not long, where part is -1, and for every block of the long ones, where it is the
// place of the block's partial result: there are two for each `row_block` elements of the matrix. A block belongs to the piece of the
// matrix in which it begins; of the rows there, only the first and the last can be long. Every group of `threads` lanes has ranges of
// its own, but the lanes of a warp make the same calls: a group that has none left gets row -1 and an empty range.
#if TENON_DEVICE_CODE
template <class F>
TENON_FUNCTOR void each_row_block(const CsrRows& a, int threads, bool split, F&& f) {
    const long groups = static_cast<long>(gridDim.x) * blockDim.x / threads, own = (threadIdx.x % 32) / static_cast<unsigned>(threads),
               first_of_warp = (static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x) / 32 * (32 / threads);
    for (long base = first_of_warp; base < a.rows; base += groups) {
        const long r = base + own, begin = r < a.rows ? a.begin(r) : 0, end = r < a.rows ? a.end(r) : 0;
        const bool mine = r < a.rows && end - begin <= long_row;
        f(mine ? r : -1l, begin, mine ? end : begin, -1l);
    }
    if (!split) return;
    const long pieces = (a.elements + row_block - 1) / row_block;
    for (long base = first_of_warp; base < pieces; base += groups) {
        const long piece = base + own, first = piece * row_block, stop = first + row_block < a.elements ? first + row_block : a.elements;
        const long rows[2] = {piece < pieces ? row_of(a, first) : 0, piece < pieces ? row_of(a, stop - 1) : 0};
        for (int slot = 0; slot < 2; ++slot) {
            const long r = rows[slot], begin = a.begin(r), end = a.end(r);
            const long block = begin >= first ? begin : begin + (first - begin + row_block - 1) / row_block * row_block;
            // (A row that begins here is in the second place, unless it begins with the piece.)
            const bool mine = piece < pieces && end - begin > long_row && (slot == 0 || r != rows[0]) && block < stop && block < end;
            const long last = block + row_block < end ? block + row_block : end;
            f(mine ? r : -1l, block, mine ? last : block, 2 * piece + slot);
        }
    }
}
#endif

template <class Fold>
__global__ void fold_row_blocks(Fold fold, CsrRows a, long columns, int threads, typename Fold::State* parts) {
#if TENON_DEVICE_CODE
    const long lane = threadIdx.x % static_cast<unsigned>(threads);
    each_row_block(a, threads, parts != nullptr, [&](long r, long begin, long end, long part) {
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
    each_row_block(a, threads, parts != nullptr, [&](long r, long begin, long end, long part) {
        typename Fold::State s = fold.start();
        for (long k = begin + slot; k < end && slot < slots; k += slots) fold.step(s, r, k, j);
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
void fold_rows(const char* name, const Fold& fold, const CsrRows& a, long columns) {
    if (a.rows <= 0 || columns <= 0) return;
    const int threads = threads_of_row(columns);
    fold_and_join(name, fold, a, columns, threads, [&](long blocks, typename Fold::State* parts) {
        launch(name, fold_row_blocks<Fold>, blocks, block_threads, fold, a, columns, threads, parts);
    });
}
// The same where a row's elements may come in another order (as fixed as theirs): few columns have more threads.
template <class Fold>
void fold_rows_in_pairs(const char* name, const Fold& fold, const CsrRows& a, long columns) {
    if (columns > 16) return fold_rows(name, fold, a, columns);
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
