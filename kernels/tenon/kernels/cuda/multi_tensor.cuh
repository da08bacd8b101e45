// Optimiser steps over flat arenas (cpu/multi_tensor.hpp): one launch reads parameter, gradient and state and writes
// parameter and state, in accesses of 16 bytes.
//
// Memory moved per float parameter: 12 bytes and 8 for each state.
#pragma once

#include <tenon/kernels/cpu/multi_tensor.hpp>
#include <tenon/kernels/cuda/sum.cuh>
#include <tenon/base/pack.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

// What changes from step to step.
template <class Rule, class T>
struct StepNumbers {
    Rule rule;
    T scale;  // of the gradients, which are then held to [-limit, limit]
    T limit;
};
template <class Rule, class T>
struct StepJob {
    StepNumbers<Rule, T> numbers;
    const StepNumbers<Rule, T>* fresh;  // of a captured graph: what every launch reads instead, else null
    long n;
    T *p, *g, *states[3];
    bool clear;
};

#if TENON_DEVICE_CODE
// L neighbouring parameters.
template <int L, class Rule, class T>
__device__ inline void step_elements(const StepJob<Rule, T>& job, const StepNumbers<Rule, T>& numbers, long i) {
    using Values = PackStorage<T, L>;
    const auto at = [&](T* base) -> Values& { return *reinterpret_cast<Values*>(base + i); };
    Values p = at(job.p), s[3] = {};
    const Values g = at(job.g);
    for (int k = 0; k < Rule::states; ++k) s[k] = at(job.states[k]);
    for (int l = 0; l < L; ++l) numbers.rule(p.v[l], cpu::impl::optim_clamp(numbers.scale * g.v[l], -numbers.limit, numbers.limit), s[0].v[l], s[1].v[l], s[2].v[l]);
    at(job.p) = p;
    for (int k = 0; k < Rule::states; ++k) at(job.states[k]) = s[k];
    if (job.clear) at(job.g) = Values{};
}
#endif

template <int L, class Rule, class T>
__global__ void fused_step_kernel(StepJob<Rule, T> job) {
#if TENON_DEVICE_CODE
    const StepNumbers<Rule, T> numbers = job.fresh != nullptr ? *job.fresh : job.numbers;
    const long vectors = job.n / L, rest = job.n - vectors * L;
    const long step = static_cast<long>(gridDim.x) * blockDim.x;
    for (long i = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x; i < vectors + rest; i += step) {
        if (i < vectors) step_elements<L>(job, numbers, i * L);
        else step_elements<1>(job, numbers, vectors * L + (i - vectors));
    }
#endif
}

template <class Rule, class T>
void run_step(const StepJob<Rule, T>& job) {
    if (job.n <= 0) return;
    const long n = job.n;
    constexpr int lanes = 16 / static_cast<int>(sizeof(T));
    std::uintptr_t bits = reinterpret_cast<std::uintptr_t>(job.p) | reinterpret_cast<std::uintptr_t>(job.g);
    for (int k = 0; k < Rule::states; ++k) bits |= reinterpret_cast<std::uintptr_t>(job.states[k]);
    if (bits % 16 == 0)
        launch("step", fused_step_kernel<lanes, Rule, T>, blocks_for(n / lanes + n % lanes, block_threads), block_threads, job);
    else launch("step", fused_step_kernel<1, Rule, T>, blocks_for(n, block_threads), block_threads, job);
}
// coefficient lies in the host's memory.
template <class Rule, class T>
void fused_step(const Rule& rule, long n, T* p, T* g, T* state0, T* state1, T* state2, bool clear_gradients,
                const T* coefficient = nullptr, std::type_identity_t<T> limit = cpu::unlimited<T>) {
    const T scale = coefficient != nullptr ? rule.gradient_scale * *coefficient : rule.gradient_scale;
    run_step(StepJob<Rule, T>{{rule, scale, limit}, nullptr, n, p, g, {state0, state1, state2}, clear_gradients});
}
// The step of a captured graph, whose numbers are on the device.
template <class Rule, class T>
void fused_step(const StepNumbers<Rule, T>& now, const StepNumbers<Rule, T>* fresh, long n, T* p, T* g, T* state0, T* state1, T* state2) {
    run_step(StepJob<Rule, T>{now, fresh, n, p, g, {state0, state1, state2}, false});
}

// What is added up over elements, in double.
template <class T>
struct SquareTerm {
    const T* g;
#if TENON_DEVICE_CODE
    __device__ double operator()(long i) const { return static_cast<double>(g[i]) * static_cast<double>(g[i]); }
#endif
};
template <class T>
struct ProductTerm {
    const T *a, *b;
#if TENON_DEVICE_CODE
    __device__ double operator()(long i) const { return static_cast<double>(a[i]) * static_cast<double>(b[i]); }
#endif
};
template <class T>
struct SquaredProductTerm {
    const T *a, *b;
#if TENON_DEVICE_CODE
    __device__ double operator()(long i) const {
        const double product = static_cast<double>(a[i]) * static_cast<double>(b[i]);
        return product * product;
    }
#endif
};
template <class T>
struct MagnitudeTerm {
    const T* g;
#if TENON_DEVICE_CODE
    __device__ double operator()(long i) const { return fabs(static_cast<double>(g[i])); }
#endif
};

// A block's sum over `chunk` elements.
template <class Term>
__global__ void sum_terms_kernel(long n, long chunk, Term term, double* partial) {
#if TENON_DEVICE_CODE
    const long first = blockIdx.x * chunk, last = first + chunk < n ? first + chunk : n;
    double sum = 0;
    for (long i = first + threadIdx.x; i < last; i += blockDim.x) sum += term(i);
    sum = block_sum(sum, block_threads);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
#endif
}
// One block adds them up.
template <class P>
__global__ void add_terms_kernel(long parts, P* partial) {
#if TENON_DEVICE_CODE
    P sum = 0;
    for (long i = threadIdx.x; i < parts; i += blockDim.x) sum += partial[i];
    sum = block_sum(sum, block_threads);
    if (threadIdx.x == 0) partial[parts] = sum;
#endif
}
// Waits for the sum. Chunks depend on n only.
template <class Term>
double sum_of_terms(long n, Term term) {
    if (n <= 0) return 0;
    long chunk = (n + 2047) / 2048;
    if (chunk < 8192) chunk = 8192;
    const long parts = (n + chunk - 1) / chunk;
    const Scratch<double> partial(parts + 1);
    launch("norm", sum_terms_kernel<Term>, parts, block_threads, n, chunk, term, partial.get());
    launch("norm", add_terms_kernel<double>, 1, block_threads, parts, partial.get());
    return read_back(partial.get() + parts);
}
template <class T>
double sum_of_squares(long n, const T* g) { return sum_of_terms(n, SquareTerm<T>{g}); }
template <class T>
double dot(long n, const T* a, const T* b) { return sum_of_terms(n, ProductTerm<T>{a, b}); }
template <class T>
double sum_of_squared_products(long n, const T* a, const T* b) { return sum_of_terms(n, SquaredProductTerm<T>{a, b}); }
template <class T>
double sum_of_magnitudes(long n, const T* g) { return sum_of_terms(n, MagnitudeTerm<T>{g}); }

// The bits of a magnitude, read as an integer, have its order, and those of a NaN are above those of infinity: a maximum of
// integers, which no order of threads changes.
template <class T>
__global__ void largest_magnitude_kernel(long n, const T* g, unsigned long long* most) {
#if TENON_DEVICE_CODE
    unsigned long long own = 0;
    const long step = static_cast<long>(gridDim.x) * blockDim.x;
    for (long i = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) {
        const double magnitude = fabs(static_cast<double>(g[i]));
        unsigned long long bits;
        __builtin_memcpy(&bits, &magnitude, sizeof bits);
        own = bits > own ? bits : own;
    }
    for (int d = 16; d > 0; d /= 2) {
        const unsigned long long other = __shfl_xor_sync(0xffffffffu, own, d);
        own = other > own ? other : own;
    }
    if (threadIdx.x % 32 == 0) atomicMax(most, own);
#endif
}
// Waits for the result.
template <class T>
double largest_magnitude(long n, const T* g) {
    if (n <= 0) return 0;
    const Scratch<unsigned long long> most(1);
    cuda_detail::check(cudaMemsetAsync(most.get(), 0, sizeof(unsigned long long), cuda_detail::current_stream), "cudaMemsetAsync");
    launch("norm", largest_magnitude_kernel<T>, blocks_for(n, block_threads), block_threads, n, g, most.get());
    const unsigned long long bits = read_back(most.get());
    double result;
    __builtin_memcpy(&result, &bits, sizeof result);
    return result;
}

using cpu::BoundCounts;

template <class Rule, class T>
__global__ void bound_histogram_kernel(Rule rule, long n, const T* second, unsigned long long* counts) {
#if TENON_DEVICE_CODE
    unsigned low = 0, high = 0;
    const long step = static_cast<long>(gridDim.x) * blockDim.x;
    for (long i = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += step) {
        const T rate = rule.free_rate(second[i]);
        if (rate <= rule.lo) ++low;
        else if (rate >= rule.hi) ++high;
    }
    low = block_sum(low, block_threads);
    high = block_sum(high, block_threads);
    if (threadIdx.x != 0) return;
    atomicAdd(counts, static_cast<unsigned long long>(low));
    atomicAdd(counts + 1, static_cast<unsigned long long>(high));
#endif
}
// Waits for the counts.
template <class Rule, class T>
BoundCounts bound_histogram(const Rule& rule, long n, const T* second) {
    if (n <= 0) return {0, 0, 0};
    struct Counts { unsigned long long low, high; };
    const Scratch<Counts> counts(1);
    cuda_detail::check(cudaMemsetAsync(counts.get(), 0, sizeof(Counts), cuda_detail::current_stream), "cudaMemsetAsync");
    launch("bound_histogram", bound_histogram_kernel<Rule, T>, blocks_for(n, block_threads), block_threads, rule, n, second,
           &counts.get()->low);
    const Counts found = read_back(counts.get());
    const long low = static_cast<long>(found.low), high = static_cast<long>(found.high);
    return {low, n - low - high, high};
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
