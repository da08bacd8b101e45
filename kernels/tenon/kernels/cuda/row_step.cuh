// Optimiser steps on some rows of a table (cpu/row_step.hpp): neighbouring threads take neighbouring elements of a row.
#pragma once

#include <tenon/kernels/cpu/row_step.hpp>
#include <tenon/kernels/cuda/multi_tensor.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

template <class Rule, class T>
__global__ void row_step_kernel(StepJob<Rule, T> job, const std::int64_t* rows, long width) {
#if TENON_DEVICE_CODE
    const long step = static_cast<long>(gridDim.x) * blockDim.x;
    for (long i = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x; i < job.n; i += step)
        step_elements<1>(job, job.numbers, static_cast<long>(rows[i / width]) * width + i % width);
#endif
}
// coefficient lies in the host's memory, rows in the device's.
template <class Rule, class T>
void row_step(const Rule& rule, const std::int64_t* rows, long count, long width, T* p, T* g, T* state0, T* state1, T* state2,
              bool clear_gradients, const T* coefficient = nullptr, std::type_identity_t<T> limit = cpu::unlimited<T>) {
    if (count <= 0 || width <= 0) return;
    const T scale = coefficient != nullptr ? rule.gradient_scale * *coefficient : rule.gradient_scale;
    launch("step", row_step_kernel<Rule, T>, blocks_for(count * width, block_threads), block_threads,
           StepJob<Rule, T>{{rule, scale, limit}, nullptr, count * width, p, g, {state0, state1, state2}, clear_gradients}, rows, width);
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
