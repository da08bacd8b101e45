// Farthest point sampling on the device: a block per cloud, which updates all distances and agrees on the farthest once per point.
#pragma once

#include <tenon/kernels/cpu/points/farthest.hpp>
#include <tenon/kernels/cuda/memory.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

namespace impl {

constexpr int farthest_threads = 512;

// nearest: one number for every point. Of equally far points the one with the lowest index counts, whatever thread has it.
template <class T>
__global__ void __launch_bounds__(farthest_threads) choose_farthest(const std::int64_t* pointers, long dims, const T* x, const std::int64_t* begins, const std::int64_t* starts,
                                                                    T* nearest, std::int64_t* chosen) {
#if TENON_DEVICE_CODE
    TENON_SHARED(T, most, farthest_threads);
    TENON_SHARED(long, where, farthest_threads);
    const long c = blockIdx.x, first = pointers[c], last = pointers[c + 1];
    const int own = static_cast<int>(threadIdx.x);
    for (long i = first + own; i < last; i += farthest_threads) nearest[i] = static_cast<T>(HUGE_VALF);
    long at = starts[c];
    for (long s = begins[c]; s < begins[c + 1]; ++s) {
        if (own == 0) chosen[s] = at;
        if (s + 1 == begins[c + 1]) break;
        T best = T(-2);
        long place = last;
        for (long i = first + own; i < last; i += farthest_threads) {
            T d(0);
            for (long j = 0; j < dims; ++j) {
                const T away = x[i * dims + j] - x[at * dims + j];
                d += away * away;
            }
            const T before = nearest[i], now = i == at ? T(-1) : d < before ? d : before;
            nearest[i] = now;
            if (now > best) {
                best = now;
                place = i;
            }
        }
        most[own] = best;
        where[own] = place;
        for (int half = farthest_threads / 2; half > 0; half /= 2) {
            __syncthreads();
            if (own < half && (most[own + half] > most[own] || (most[own + half] == most[own] && where[own + half] < where[own]))) {
                most[own] = most[own + half];
                where[own] = where[own + half];
            }
        }
        __syncthreads();
        at = where[0];
        __syncthreads();
    }
#endif
}

}  // namespace impl

template <class T>
void farthest_points(long clouds, const std::int64_t* pointers, long points, long dims, const T* x, const std::int64_t* begins, const std::int64_t* starts, std::int64_t* chosen) {
    if (clouds <= 0) return;
    const Scratch<T> nearest(points);
    launch("fps", impl::choose_farthest<T>, clouds, impl::farthest_threads, pointers, dims, x, begins, starts, nearest.get(), chosen);
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
