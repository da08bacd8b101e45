// Weights with noise on the device (cpu/perturb.hpp): the same element draws the same noise; what is not normal agrees to the
// rounding of the sum. Memory: as there.
#pragma once

#include <tenon/kernels/cpu/perturb.hpp>
#include <tenon/kernels/cuda/rng.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

using cpu::NoiseFamily;
using cpu::NoiseKind;

namespace perturb_impl {

// The noise of `count` elements from a counter's words.
template <class T, NoiseFamily Family>
struct Noise {
    static constexpr int count = Family != NoiseFamily::bernoulli && std::is_same_v<T, double> ? 2 : 4;
    cpu::impl::NoiseNumbers<T> numbers;
#if TENON_DEVICE_CODE
    __device__ void operator()(const PhiloxWords& w, T* e) const {
        if constexpr (Family == NoiseFamily::gaussian) NormalFill<T>{T(0), T(1)}(w, e);
        else if constexpr (Family == NoiseFamily::uniform) UniformFill<T>{numbers.low, numbers.step}(w, e);
        else
            for (int i = 0; i < 4; ++i) e[i] = w.word[i] <= numbers.keep ? numbers.high : numbers.low;
    }
#endif
};

template <class T, class Noise>
__global__ void perturb_kernel(Noise noise, LaunchKey launch_key, std::uint64_t counter, long counters, int skip, long n, const T* mean, const T* deviation,
                               T constant, T* out) {
#if TENON_DEVICE_CODE
    const Key key = launch_key.get();
    const long step = static_cast<long>(gridDim.x) * blockDim.x;
    for (long t = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x; t < counters; t += step) {
        T e[4];
        noise(random_words_at(key, counter + static_cast<std::uint64_t>(t)), e);
        const long at = t * Noise::count - skip;
        for (int i = 0; i < Noise::count; ++i) {
            const long j = at + i;
            if (j < 0 || j >= n) continue;
            const T term = (deviation != nullptr ? deviation[j] : constant) * e[i], value = mean[j];
            out[j] = noise.numbers.multiplicative ? value + value * term : value + term;
        }
    }
#endif
}
template <class T, class Noise>
__global__ void perturb_backward_kernel(Noise noise, LaunchKey launch_key, std::uint64_t counter, long counters, int skip, long n, const T* mean,
                                        const T* deviation, T constant, const T* dout, T* dmean, T* ddeviation) {
#if TENON_DEVICE_CODE
    const Key key = launch_key.get();
    const long step = static_cast<long>(gridDim.x) * blockDim.x;
    const bool multiplicative = noise.numbers.multiplicative;
    for (long t = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x; t < counters; t += step) {
        T e[4];
        noise(random_words_at(key, counter + static_cast<std::uint64_t>(t)), e);
        const long at = t * Noise::count - skip;
        for (int i = 0; i < Noise::count; ++i) {
            const long j = at + i;
            if (j < 0 || j >= n) continue;
            const T d = dout[j];
            if (dmean != nullptr) dmean[j] = multiplicative ? d + d * ((deviation != nullptr ? deviation[j] : constant) * e[i]) : d;
            if (ddeviation != nullptr) ddeviation[j] = (multiplicative ? d * mean[j] : d) * e[i];
        }
    }
#endif
}

template <class T, class F>
void with_noise(const NoiseKind& kind, F&& f) {
    cpu::impl::check_noise("perturb", kind);
    const cpu::impl::NoiseNumbers<T> numbers(kind);
    if (kind.family == NoiseFamily::gaussian) f(Noise<T, NoiseFamily::gaussian>{numbers});
    else if (kind.family == NoiseFamily::uniform) f(Noise<T, NoiseFamily::uniform>{numbers});
    else f(Noise<T, NoiseFamily::bernoulli>{numbers});
}

}  // namespace perturb_impl

template <class T>
void perturb(const NoiseKind& kind, Key key, long n, const T* mean, const T* deviation, T constant, T* out, std::uint64_t first = 0) {
    if (n <= 0) return;
    perturb_impl::with_noise<T>(kind, [&]<class Noise>(const Noise& noise) {
        const rng_impl::Span<Noise::count> span(first, n);
        launch("perturb", perturb_impl::perturb_kernel<T, Noise>, blocks_for(span.counters, block_threads), block_threads, noise, LaunchKey(key),
               span.counter, span.counters, span.skip, n, mean, deviation, constant, out);
    });
}
// The backward pass draws under the key that the forward pass had: in a captured graph that is the same launch's.
template <class T>
void perturb_backward(const NoiseKind& kind, Key key, long n, const T* mean, const T* deviation, T constant, const T* dout, T* dmean, T* ddeviation,
                      std::uint64_t first = 0) {
    if (n <= 0) return;
    perturb_impl::with_noise<T>(kind, [&]<class Noise>(const Noise& noise) {
        const rng_impl::Span<Noise::count> span(first, n);
        launch("perturb_backward", perturb_impl::perturb_backward_kernel<T, Noise>, blocks_for(span.counters, block_threads), block_threads, noise,
               LaunchKey(key), span.counter, span.counters, span.skip, n, mean, deviation, constant, dout, dmean, ddeviation);
    });
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
