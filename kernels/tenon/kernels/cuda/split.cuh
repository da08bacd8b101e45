// One thread per element of a contiguous [outer, n, inner], with its row of the axis and its place in [outer, inner].
#pragma once

#include <tenon/kernels/cuda/each.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

// F is called with (element, row of the axis, output). Wide: more elements than 32 bits count, divided the slow way.
template <bool Wide, class F>
__global__ void each_split(F f, long total, long n, long inner, Divisor n_divisor, Divisor inner_divisor) {
#if TENON_DEVICE_CODE
    for (long at = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x; at < total; at += static_cast<long>(gridDim.x) * blockDim.x) {
        long line, outer;
        if constexpr (Wide) {
            line = at / inner;
            outer = line / n;
        } else {
            line = inner_divisor.quotient(static_cast<unsigned>(at));
            outer = n_divisor.quotient(static_cast<unsigned>(line));
        }
        f(at, line - outer * n, outer * inner + (at - line * inner));
    }
#endif
}
template <class F>
void for_each_split(const char* name, long outer, long n, long inner, const F& f) {
    const long total = outer * n * inner;
    if (total <= 0) return;
    const long blocks = blocks_for(total, block_threads);
    if (total < (1l << 31))
        launch(name, each_split<false, F>, blocks, block_threads, f, total, n, inner, Divisor(static_cast<unsigned>(n)), Divisor(static_cast<unsigned>(inner)));
    else launch(name, each_split<true, F>, blocks, block_threads, f, total, n, inner, Divisor(), Divisor());
}

inline void zero_memory(void* data, std::size_t bytes) {
    if (bytes > 0) cuda_detail::check(cudaMemsetAsync(data, 0, bytes, cuda_detail::current_stream), "cudaMemsetAsync");
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
