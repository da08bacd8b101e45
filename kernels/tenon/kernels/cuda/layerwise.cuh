// Steps of LARS and LAMB (cpu/layerwise.hpp): a launch that brings the state up to date and sums by block, one that adds the
// blocks' sums and makes the ratios, one that moves the parameters by them. Each is for up to 128 parameters; the host waits for none.
#pragma once

#include <tenon/kernels/cpu/layerwise.hpp>
#include <tenon/kernels/cuda/multi_tensor.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

using cpu::Layer;

// The parameters of a launch, as its argument: 2.6 of the 4 KiB that those may have. A block serves a chunk of one of them.
struct LayerBatch {
    static constexpr int most = 128;
    int count = 0;
    int block[most + 1] = {};  // the first of a parameter
    long first[most], size[most];
    bool adapt[most];

    // At most 1024 blocks for a parameter; its sums, and their bits, follow its size alone.
    static TENON_HD long chunk(long n) { return n <= 4096l * 1024 ? 4096 : (n + 1023) / 1024; }
    void push(const Layer& layer) {
        first[count] = layer.first;
        size[count] = layer.size;
        adapt[count] = layer.adapt;
        block[count + 1] = block[count] + static_cast<int>((layer.size + chunk(layer.size) - 1) / chunk(layer.size));
        ++count;
    }
#if TENON_DEVICE_CODE
    TENON_HD int layer_of(int b) const {
        int low = 0, high = count;
        while (high - low > 1) {
            const int middle = (low + high) / 2;
            if (block[middle] <= b) low = middle;
            else high = middle;
        }
        return low;
    }
#endif
};

template <class Rule, class T>
struct LayerJob {
    StepNumbers<Rule, T> numbers;
    const StepNumbers<Rule, T>* fresh;  // of a captured graph: what every launch reads instead, else null
    T *p, *g, *state0, *state1;
    double* sums;  // two per block, then the ratios
    bool clear;
};

#if TENON_DEVICE_CODE
template <class Rule, class T>
__device__ inline T step_gradient(const StepNumbers<Rule, T>& numbers, T g) {
    return cpu::impl::optim_clamp(numbers.scale * g, -numbers.limit, numbers.limit);
}
#endif

template <class Rule, class T>
__global__ void layer_measure_kernel(LayerJob<Rule, T> job, LayerBatch batch) {
#if TENON_DEVICE_CODE
    const StepNumbers<Rule, T> numbers = job.fresh != nullptr ? *job.fresh : job.numbers;
    const int block = static_cast<int>(blockIdx.x), layer = batch.layer_of(block);
    const long size = batch.size[layer], chunk = LayerBatch::chunk(size), begin = (block - batch.block[layer]) * chunk;
    const long first = batch.first[layer] + begin, last = first + (size - begin < chunk ? size - begin : chunk);
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
        job.sums[2 * block] = sum0;
        job.sums[2 * block + 1] = sum1;
    }
#endif
}
template <class Rule, class T>
__global__ void layer_ratio_kernel(LayerJob<Rule, T> job, LayerBatch batch) {
#if TENON_DEVICE_CODE
    const StepNumbers<Rule, T> numbers = job.fresh != nullptr ? *job.fresh : job.numbers;
    const int layer = static_cast<int>(blockIdx.x), end = batch.block[layer + 1];
    double sum0 = 0, sum1 = 0;
    for (int i = batch.block[layer] + static_cast<int>(threadIdx.x); i < end; i += static_cast<int>(blockDim.x)) {
        sum0 += job.sums[2 * i];
        sum1 += job.sums[2 * i + 1];
    }
    sum0 = block_sum(sum0, block_threads);
    sum1 = block_sum(sum1, block_threads);
    if (threadIdx.x == 0)
        job.sums[2 * batch.block[batch.count] + layer] = batch.adapt[layer] ? static_cast<double>(numbers.rule.ratio(sum0, sum1)) : 1.0;
#endif
}
template <class Rule, class T>
__global__ void layer_move_kernel(LayerJob<Rule, T> job, LayerBatch batch) {
#if TENON_DEVICE_CODE
    const StepNumbers<Rule, T> numbers = job.fresh != nullptr ? *job.fresh : job.numbers;
    const int block = static_cast<int>(blockIdx.x), layer = batch.layer_of(block);
    const T ratio = static_cast<T>(job.sums[2 * batch.block[batch.count] + layer]);
    const long size = batch.size[layer], chunk = LayerBatch::chunk(size), begin = (block - batch.block[layer]) * chunk;
    const long first = batch.first[layer] + begin, last = first + (size - begin < chunk ? size - begin : chunk);
    for (long i = first + threadIdx.x; i < last; i += blockDim.x) {
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
void run_layers(LayerJob<Rule, T> job, long count, const Layer* layers) {
    for (long next = 0; next < count;) {
        LayerBatch batch;
        for (; next < count && batch.count < LayerBatch::most; ++next)
            if (layers[next].size > 0) batch.push(layers[next]);
        const long blocks = batch.block[batch.count];
        if (blocks == 0) continue;
        const Scratch<double> sums(2 * blocks + batch.count);
        job.sums = sums.get();
        launch("step", layer_measure_kernel<Rule, T>, blocks, block_threads, job, batch);
        launch("step", layer_ratio_kernel<Rule, T>, batch.count, block_threads, job, batch);
        launch("step", layer_move_kernel<Rule, T>, blocks, block_threads, job, batch);
    }
}
// coefficient lies in the host's memory.
template <class Rule, class T>
void layerwise_steps(const Rule& rule, long count, const Layer* layers, T* p, T* g, T* state0, T* state1, bool clear_gradients,
                     const T* coefficient = nullptr, std::type_identity_t<T> limit = cpu::unlimited<T>) {
    const T scale = coefficient != nullptr ? rule.gradient_scale * *coefficient : rule.gradient_scale;
    run_layers(LayerJob<Rule, T>{{rule, scale, limit}, nullptr, p, g, state0, state1, nullptr, clear_gradients}, count, layers);
}
// The steps of a captured graph, whose numbers are on the device.
template <class Rule, class T>
void layerwise_steps(const StepNumbers<Rule, T>& now, const StepNumbers<Rule, T>* fresh, long count, const Layer* layers, T* p, T* g,
                     T* state0, T* state1) {
    run_layers(LayerJob<Rule, T>{now, fresh, p, g, state0, state1, nullptr, false}, count, layers);
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
