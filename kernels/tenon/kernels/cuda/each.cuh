// A step for every index of a range: one thread each (cpu/each.hpp).
#pragma once

#include <tenon/kernels/cpu/each.hpp>
#include <tenon/kernels/cuda/launch.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

template <class Step>
__global__ void each_index(Step step, long count) {
#if TENON_DEVICE_CODE
    const long stride = static_cast<long>(gridDim.x) * blockDim.x;
    for (long i = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += stride) step(i);
#endif
}
template <class Step>
void for_each_index(const char* name, long count, const Step& step) {
    if (count > 0) launch(name, each_index<Step>, blocks_for(count, block_threads), block_threads, step, count);
}
template <class Step>
void each(long count, const Step& step) { for_each_index("each", count, step); }

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
