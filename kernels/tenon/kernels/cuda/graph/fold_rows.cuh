// Folds over the elements of sparse rows. A group of threads takes a row, each thread columns of it, its elements in blocks that
// are added up as on the CPU; a row with very many elements is not one group's: every block of it is folded apart, and the blocks
// are joined in their order. The bits depend on the row alone.
#pragma once

#include <tenon/kernels/cpu/graph/rows.hpp>
#include <tenon/kernels/cuda/memory.cuh>

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

// Rows that one group folds, and the blocks of the others. parts: two for each `row_block` elements of the matrix, [columns] each.
// A block belongs to the piece of the matrix in which it begins; of the rows there, only the first and the last can be long.
template <class Fold>
__global__ void fold_row_blocks(Fold fold, CsrRows a, long columns, int threads, typename Fold::State* parts) {
#if TENON_DEVICE_CODE
    const long groups = static_cast<long>(gridDim.x) * blockDim.x / threads,
               own = (static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x) / threads;
    const long lane = threadIdx.x % static_cast<unsigned>(threads);
    for (long r = own; r < a.rows; r += groups) {
        const long begin = a.begin(r), end = a.end(r);
        if (end - begin > long_row) continue;
        for (long j = lane; j < columns; j += threads) {
            typename Fold::State total = fold.start();
            for (long block = begin; block < end; block += row_block)
                fold.join(total, fold_block(fold, r, block, block + row_block < end ? block + row_block : end, j));
            fold.finish(total, r, j);
        }
    }
    if (parts == nullptr) return;
    const long pieces = (a.elements + row_block - 1) / row_block;
    for (long piece = own; piece < pieces; piece += groups) {
        const long first = piece * row_block, stop = first + row_block < a.elements ? first + row_block : a.elements;
        const long rows[2] = {row_of(a, first), row_of(a, stop - 1)};
        for (int slot = 0; slot < 2; ++slot) {
            const long r = rows[slot], begin = a.begin(r), end = a.end(r);
            if (end - begin <= long_row || (slot == 1 && r == rows[0])) continue;
            const long block = begin >= first ? begin : begin + (first - begin + row_block - 1) / row_block * row_block;
            if (block >= stop || block >= end) continue;
            // (A row that begins here is in the second place, unless it begins with the piece.)
            for (long j = lane; j < columns; j += threads)
                parts[(2 * piece + slot) * columns + j] = fold_block(fold, r, block, block + row_block < end ? block + row_block : end, j);
        }
    }
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
// For every row r and column j: fold.finish(state, r, j), where the state has been through fold.step(state, r, k, j) for the row's
// elements k. fold.start() is that of no elements, fold.join(total, part) adds what comes after.
template <class Fold>
void fold_rows(const char* name, const Fold& fold, const CsrRows& a, long columns) {
    if (a.rows <= 0 || columns <= 0) return;
    using State = typename Fold::State;
    const int threads = threads_of_row(columns);
    const bool split = a.elements > long_row && (a.longest < 0 || a.longest > long_row);
    const Scratch<State> parts(split ? (a.elements + row_block - 1) / row_block * 2 * columns : 0);
    launch(name, fold_row_blocks<Fold>, blocks_for(a.rows, block_threads / threads), block_threads, fold, a, columns, threads, parts.get());
    if (!split) return;
    launch(name, fold_long_rows<Fold>, blocks_for(a.rows, block_threads / threads), block_threads, fold, a, columns, threads,
           static_cast<const State*>(parts.get()));
}

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
