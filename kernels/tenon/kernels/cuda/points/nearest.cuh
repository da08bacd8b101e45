// The nearest points of each query on the device: a warp per query looks at 32 points at a time. Up to 32 neighbours are kept sorted in the
// lanes; longer lists lie in memory.
#pragma once

#include <tenon/kernels/cpu/points/nearest.hpp>
#include <tenon/kernels/cuda/memory.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

namespace impl {

constexpr unsigned whole_warp = 0xffffffffu;

// away: room for the lists' distances, or null where they fit into lanes.
template <class T>
__global__ void nearest_rows(long clouds, const std::int64_t* x_pointers, const std::int64_t* y_pointers, long queries, long dims, const T* x, const T* y, long k, T limit,
                             bool skip_self, T* away, std::int64_t* index, std::int64_t* count) {
#if TENON_DEVICE_CODE
    const int lane = static_cast<int>(threadIdx.x % 32);
    for (long q = (static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x) / 32; q < queries; q += static_cast<long>(gridDim.x) * blockDim.x / 32) {
        long low = 0, high = clouds;  // the cloud: the first whose end lies behind q
        while (low < high) {
            const long middle = (low + high) / 2;
            if (y_pointers[middle + 1] <= q) low = middle + 1;
            else high = middle;
        }
        const long first = x_pointers[low], last = x_pointers[low + 1];
        const T* const from = y + q * dims;
        T own = static_cast<T>(HUGE_VALF), worst = limit;
        long place_of_own = -1, have = 0;
        T* const list = away + q * k;
        std::int64_t* const found = index + q * k;
        for (long base = first; base < last; base += 32) {
            const long i = base + lane;
            T d(0);
            if (i < last)
                for (long j = 0; j < dims; ++j) {
                    const T step = x[i * dims + j] - from[j];
                    d += step * step;
                }
            // Indices rise: an equal distance that comes later is behind.
            unsigned todo = __ballot_sync(whole_warp, i < last && d < worst && !(skip_self && i == q));
            while (todo != 0) {
                const int source = __ffs(static_cast<int>(todo)) - 1;
                todo &= todo - 1;
                const T next = __shfl_sync(whole_warp, d, source);
                if (!(next < worst)) continue;
                if (away == nullptr) {
                    const int at = __popc(__ballot_sync(whole_warp, lane < have && own <= next));
                    const T left = __shfl_up_sync(whole_warp, own, 1);
                    const long left_place = __shfl_up_sync(whole_warp, place_of_own, 1);
                    if (lane >= at) {
                        own = lane == at ? next : left;
                        place_of_own = lane == at ? base + source : left_place;
                    }
                    have = have < k ? have + 1 : k;
                    const T end = __shfl_sync(whole_warp, own, static_cast<int>(k) - 1);
                    worst = have == k ? end : limit;
                } else {
                    if (lane == 0) {
                        long at = have < k ? have : k - 1;
                        for (; at > 0 && list[at - 1] > next; --at) {
                            list[at] = list[at - 1];
                            found[at] = found[at - 1];
                        }
                        list[at] = next;
                        found[at] = base + source;
                    }
                    have = have < k ? have + 1 : k;
                    T end = limit;
                    if (lane == 0 && have == k) end = list[k - 1];
                    worst = __shfl_sync(whole_warp, end, 0);
                }
            }
        }
        if (away == nullptr && lane < have) found[lane] = place_of_own;
        for (long s = have + lane; s < k; s += 32) found[s] = -1;  // every place is written: all of them travel
        if (lane == 0) count[q] = have;
    }
#endif
}

}  // namespace impl

template <class T>
void nearest(long clouds, const std::int64_t* x_pointers, const std::int64_t* y_pointers, long queries, long dims, const T* x, const T* y, long k, T limit, bool skip_self,
             std::int64_t* index, std::int64_t* count) {
    if (queries <= 0) return;
    const Scratch<T> away(k <= 32 ? 0 : queries * k);
    launch("knn", impl::nearest_rows<T>, blocks_for(queries, block_threads / 32), block_threads, clouds, x_pointers, y_pointers, queries, dims, x, y, k, limit, skip_self,
           away.get(), index, count);
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
