// Steps of LARS and LAMB (cpu/layerwise.hpp): a launch that brings the state up to date and sums by block, one that adds the
// blocks' sums and makes the ratio, one that moves the parameter by it. The host waits for none.
#pragma once

#include <tenon/kernels/cpu/layerwise.hpp>
#include <tenon/kernels/cuda/multi_tensor.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

template <class Rule, class T>
struct LayerJob {
    StepNumbers<Rule, T> numbers;
    const StepNumbers<Rule, T>* fresh;  // of a captured graph: what every launch reads instead, else null
    long n, chunk;
    T *p, *g, *state0, *state1;
    double* sums;  // two per block, then the ratio
    bool adapt, clear;
};

#if TENON_DEVICE_CODE
template <class Rule, class T>
__device__ inline T step_gradient(const StepNumbers<Rule, T>& numbers, T g) {
    return cpu::impl::optim_clamp(numbers.scale * g, -numbers.limit, numbers.limit);
}
#endif

template <class Rule, class T>
__global__ void layer_measure_kernel(LayerJob<Rule, T> job) {
#if TENON_DEVICE_CODE
    const StepNumbers<Rule, T> numbers = job.fresh != nullptr ? *job.fresh : job.numbers;
    const long first = blockIdx.x * job.chunk, last = first + job.chunk < job.n ? first + job.chunk : job.n;
    double sum0 = 0, sum1 = 0;
    for (long i = first + threadIdx.x; i < last; i += blockDim.x) {
        T a = 0, b = 0, none = 0, s0 = 0, s1 = 0;
        if constexpr (Rule::writes_state) {
            s0 = job.state0[i];
            if constexpr (Rule::states > 1) s1 = job.state1[i];
        }
        numbers.rule.measure(job.p[i], step_gradient(numbers, job.g[i]), s0, s1, none, a, b);
        if constexpr (Rule::writes_state) {
            job.state0[i] = s0;
            if constexpr (Rule::states > 1) job.state1[i] = s1;
        }
        sum0 += static_cast<double>(a) * static_cast<double>(a);
        sum1 += static_cast<double>(b) * static_cast<double>(b);
    }
    sum0 = block_sum(sum0, block_threads);
    sum1 = block_sum(sum1, block_threads);
    if (threadIdx.x == 0) {
        job.sums[2 * blockIdx.x] = sum0;
        job.sums[2 * blockIdx.x + 1] = sum1;
    }
#endif
}
template <class Rule, class T>
__global__ void layer_ratio_kernel(LayerJob<Rule, T> job, long parts) {
#if TENON_DEVICE_CODE
    const StepNumbers<Rule, T> numbers = job.fresh != nullptr ? *job.fresh : job.numbers;
    double sum0 = 0, sum1 = 0;
    for (long i = threadIdx.x; i < parts; i += blockDim.x) {
        sum0 += job.sums[2 * i];
        sum1 += job.sums[2 * i + 1];
    }
    sum0 = block_sum(sum0, block_threads);
    sum1 = block_sum(sum1, block_threads);
    if (threadIdx.x == 0) job.sums[2 * parts] = job.adapt ? static_cast<double>(numbers.rule.ratio(sum0, sum1)) : 1.0;
#endif
}
template <class Rule, class T>
__global__ void layer_move_kernel(LayerJob<Rule, T> job, long parts) {
#if TENON_DEVICE_CODE
    const StepNumbers<Rule, T> numbers = job.fresh != nullptr ? *job.fresh : job.numbers;
    const T ratio = static_cast<T>(job.sums[2 * parts]);
    const long step = static_cast<long>(gridDim.x) * blockDim.x;
    for (long i = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x; i < job.n; i += step) {
        T p = job.p[i], none = 0, s0 = job.state0[i], s1 = 0, g = 0;
        if constexpr (Rule::states > 1) s1 = job.state1[i];
        if constexpr (Rule::reads_gradient) g = step_gradient(numbers, job.g[i]);
        numbers.rule.move(p, g, s0, s1, none, ratio);
        job.p[i] = p;
        if constexpr (!Rule::writes_state) job.state0[i] = s0;
        if (job.clear) job.g[i] = T(0);
    }
#endif
}

template <class Rule, class T>
void run_layer(LayerJob<Rule, T> job) {
    if (job.n <= 0) return;
    job.chunk = (job.n + 1023) / 1024;
    if (job.chunk < 4096) job.chunk = 4096;
    const long parts = (job.n + job.chunk - 1) / job.chunk;
    const Scratch<double> sums(2 * parts + 1);
    job.sums = sums.get();
    launch("step", layer_measure_kernel<Rule, T>, parts, block_threads, job);
    launch("step", layer_ratio_kernel<Rule, T>, 1, block_threads, job, parts);
    launch("step", layer_move_kernel<Rule, T>, blocks_for(job.n, block_threads), block_threads, job, parts);
}
// coefficient lies in the host's memory.
template <class Rule, class T>
void layerwise_step(const Rule& rule, long n, T* p, T* g, T* state0, T* state1, bool adapt, bool clear_gradients,
                    const T* coefficient = nullptr, std::type_identity_t<T> limit = cpu::unlimited<T>) {
    const T scale = coefficient != nullptr ? rule.gradient_scale * *coefficient : rule.gradient_scale;
    run_layer(LayerJob<Rule, T>{{rule, scale, limit}, nullptr, n, 0, p, g, state0, state1, nullptr, adapt, clear_gradients});
}
// The step of a captured graph, whose numbers are on the device.
template <class Rule, class T>
void layerwise_step(const StepNumbers<Rule, T>& now, const StepNumbers<Rule, T>* fresh, long n, T* p, T* g, T* state0, T* state1, bool adapt) {
    run_layer(LayerJob<Rule, T>{now, fresh, n, 0, p, g, state0, state1, nullptr, adapt, false});
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
