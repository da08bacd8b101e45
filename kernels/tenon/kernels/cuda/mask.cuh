// Where a mask is true, on the device: counts of pieces, their prefix sums, then every piece lists its own.
#pragma once

#include <tenon/kernels/cpu/mask.hpp>
#include <tenon/kernels/cuda/sort_indices.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

inline constexpr long mask_piece = 4096;
constexpr long mask_pieces(long size) { return (size + mask_piece - 1) / mask_piece; }

template <class Flag>
__global__ void count_mask_pieces(long size, const Flag* mask, long* starts) {
#if TENON_DEVICE_CODE
    const long first = blockIdx.x * mask_piece, last = first + mask_piece < size ? first + mask_piece : size;
    long own = 0, total;
    for (long i = first + threadIdx.x; i < last; i += block_threads) own += mask[i] ? 1 : 0;
    block_prefix(own, total);
    if (threadIdx.x == 0) starts[blockIdx.x] = total;
#endif
}
template <class Flag>
__global__ void list_mask_pieces(long size, const Flag* mask, const long* starts, std::int64_t* positions) {
#if TENON_DEVICE_CODE
    TENON_SHARED(unsigned, warps, block_threads / 32);
    constexpr long share = mask_piece / (block_threads / 32);  // of a warp
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const long first = blockIdx.x * mask_piece + warp * share, end = first + share < size ? first + share : size;
    unsigned count = 0;
    for (long base = first; base < end; base += 32)
        count += static_cast<unsigned>(__popc(__ballot_sync(0xffffffffu, base + lane < end && mask[base + lane])));
    if (lane == 0) warps[warp] = count;
    __syncthreads();
    long at = starts[blockIdx.x];
    for (unsigned w = 0; w < warp; ++w) at += warps[w];
    for (long base = first; base < end; base += 32) {
        const bool own = base + lane < end && mask[base + lane];
        const unsigned all = __ballot_sync(0xffffffffu, own);
        if (own) positions[at + __popc(all & ((1u << lane) - 1u))] = base + lane;
        at += __popc(all);
    }
#endif
}
// starts[p] = true elements before piece p; returns their number in all, for which it waits. starts has room for
// mask_pieces(size). Reads the mask once.
inline long count_mask(long size, const bool* mask, long* starts) {
    if (size <= 0) return 0;
    const long pieces = mask_pieces(size);
    const Scratch<long> total(1);
    launch("mask", count_mask_pieces<bool>, pieces, block_threads, size, mask, starts);
    launch("mask", prefix_rows<long>, 1l, block_threads, pieces, starts, total.get());
    return read_back(total.get());
}
// The positions of the true elements, ascending; starts as count_mask has left it.
inline void mask_positions(long size, const bool* mask, const long* starts, long total, std::int64_t* positions) {
    if (total > 0) launch("mask", list_mask_pieces<bool>, mask_pieces(size), block_threads, size, mask, starts, positions);
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
