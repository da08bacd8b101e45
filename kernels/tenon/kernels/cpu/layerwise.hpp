// Optimiser steps whose rate depends on norms over the whole parameter (rules/layerwise.hpp): LARS and LAMB.
//
// One call is one parameter: a pass that brings the state up to date and sums, and a pass that moves the parameter. A
// parameter that fits into the cache is read from memory once.
#pragma once

#include <tenon/kernels/cpu/multi_tensor.hpp>
#include <tenon/kernels/cpu/rules/layerwise.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

namespace reference {

// The plain step: one element after the other, sums in extended precision.
template <class Rule, class T>
void layerwise_step(const Rule& rule, long n, T* p, T* g, T* state0, T* state1, bool adapt, bool clear_gradients,
                    const T* coefficient = nullptr, std::type_identity_t<T> limit = unlimited<T>) {
    const T scale = coefficient != nullptr ? rule.gradient_scale * *coefficient : rule.gradient_scale;
    long double sums[2] = {};
    T none = 0;
    for (long i = 0; i < n; ++i) {
        T first, second;
        rule.measure(p[i], impl::optim_clamp(T(scale * g[i]), T(-limit), limit), state0[i], Rule::states > 1 ? state1[i] : none, none, first, second);
        sums[0] += static_cast<long double>(first) * static_cast<long double>(first);
        sums[1] += static_cast<long double>(second) * static_cast<long double>(second);
    }
    const T ratio = adapt ? rule.ratio(double(sums[0]), double(sums[1])) : T(1);
    for (long i = 0; i < n; ++i) {
        rule.move(p[i], impl::optim_clamp(T(scale * g[i]), T(-limit), limit), state0[i], Rule::states > 1 ? state1[i] : none, none, ratio);
        if (clear_gradients) g[i] = 0;
    }
}

}  // namespace reference

namespace impl {

// Up to N elements, loaded and stored; missing ones are 0.
template <class V, int N, class T>
TENON_ALWAYS_INLINE V load_some(const T* from, long count) {
    if (count >= N) return V::load(from);
    T lane[N] = {};
    __builtin_memcpy(lane, from, static_cast<unsigned long>(count) * sizeof(T));
    return V::load(lane);
}
template <int N, class T, class V>
TENON_ALWAYS_INLINE void store_some(const V& value, T* to, long count) {
    if (count >= N) return value.store(to);
    T lane[N];
    value.store(lane);
    __builtin_memcpy(to, lane, static_cast<unsigned long>(count) * sizeof(T));
}

struct LayerMeasureBody {
    template <int Lanes, class Rule, class T>
    static TENON_ALWAYS_INLINE void run(Rule rule, T scale, T limit, long n, const T* p, const T* g, T* state0, T* state1, double* sums) {
        constexpr int N = Lanes / 2;  // as many as there are in a vector of doubles
        using V = simd<T, N>;
        using D = simd<double, N>;
        D first(0), second(0);
        for (long i = 0; i < n; i += N) {
            const long count = n - i;
            V none(0), a(0), b(0);
            V s0(0), s1(0);
            if constexpr (Rule::writes_state) {
                s0 = load_some<V, N>(state0 + i, count);
                if constexpr (Rule::states > 1) s1 = load_some<V, N>(state1 + i, count);
            }
            V gradient = optim_clamp(V(scale) * load_some<V, N>(g + i, count), V(-limit), V(limit));
            rule.measure(load_some<V, N>(p + i, count), gradient, s0, s1, none, a, b);
            if constexpr (Rule::writes_state) {
                store_some<N>(s0, state0 + i, count);
                if constexpr (Rule::states > 1) store_some<N>(s1, state1 + i, count);
            }
            const D wide_a = convert<double>(a), wide_b = convert<double>(b);
            first += wide_a * wide_a;
            second += wide_b * wide_b;
        }
        sums[0] = reduce_add(first);
        sums[1] = reduce_add(second);
    }
};
struct LayerMoveBody {
    template <int Lanes, class Rule, class T>
    static TENON_ALWAYS_INLINE void run(Rule rule, T ratio, T scale, T limit, long n, T* p, T* g, T* state0, T* state1, bool clear) {
        constexpr int N = Lanes * 4 / int(sizeof(T));
        using V = simd<T, N>;
        const V factor(ratio), zero(0);
        for (long i = 0; i < n; i += N) {
            const long count = n - i;
            V none(0), value = load_some<V, N>(p + i, count), gradient(0);
            V s0 = load_some<V, N>(state0 + i, count), s1(0);
            if constexpr (Rule::states > 1) s1 = load_some<V, N>(state1 + i, count);
            if constexpr (Rule::reads_gradient) gradient = optim_clamp(V(scale) * load_some<V, N>(g + i, count), V(-limit), V(limit));
            rule.move(value, gradient, s0, s1, none, factor);
            store_some<N>(value, p + i, count);
            if constexpr (!Rule::writes_state) store_some<N>(s0, state0 + i, count);
            if (clear) store_some<N>(zero, g + i, count);
        }
    }
};

}  // namespace impl

// One step of one parameter p[0, n), from g * gradient_scale * *coefficient (null: 1) held to [-limit, limit]. adapt: by the
// ratio of the norms, else by 1. g is set to 0 if clear_gradients. The sums are made in double, in chunks that depend on n only.
template <class Rule, class T>
void layerwise_step(const Rule& rule, long n, T* p, T* g, T* state0, T* state1, bool adapt, bool clear_gradients,
                    const T* coefficient = nullptr, std::type_identity_t<T> limit = unlimited<T>) {
    if (n <= 0) return;
#if !defined(__CUDA_ARCH__)
    const T scale = coefficient != nullptr ? rule.gradient_scale * *coefficient : rule.gradient_scale;
    long chunk = (n + impl::optim_partials - 1) / impl::optim_partials;
    chunk = chunk <= impl::optim_chunk ? impl::optim_chunk : (chunk + 63) / 64 * 64;
    const long tasks = (n + chunk - 1) / chunk;
    double partial[impl::optim_partials][2];
    T* const second = Rule::states > 1 ? state1 : nullptr;
    const auto at = [](T* base, long begin) { return base != nullptr ? base + begin : nullptr; };
    parallel_for(tasks, [&](long task) {
        const long begin = task * chunk, count = n - begin < chunk ? n - begin : chunk;
        dispatch<impl::LayerMeasureBody>(rule, scale, limit, count, p + begin, g + begin, state0 + begin, at(second, begin), &partial[task][0]);
    });
    double sums[2] = {0, 0};
    for (long i = 0; i < tasks; ++i) {
        sums[0] += partial[i][0];
        sums[1] += partial[i][1];
    }
    const T ratio = adapt ? rule.ratio(sums[0], sums[1]) : T(1);
    parallel_for(tasks, [&](long task) {
        const long begin = task * chunk, count = n - begin < chunk ? n - begin : chunk;
        dispatch<impl::LayerMoveBody, Isa::avx2>(rule, ratio, scale, limit, count, p + begin, g + begin, state0 + begin, at(second, begin), clear_gradients);
    });
#endif
}

// A parameter among others in one piece of memory. Each has norms, and a ratio, of its own.
struct Layer {
    long first, size;
    bool adapt;
};
// layerwise_step for each of `count` parameters, which share a rule: p, g and the states are those of all.
template <class Rule, class T>
void layerwise_steps(const Rule& rule, long count, const Layer* layers, T* p, T* g, T* state0, T* state1, bool clear_gradients, const T* coefficient = nullptr,
                     std::type_identity_t<T> limit = unlimited<T>) {
    for (long i = 0; i < count; ++i) {
        const long at = layers[i].first;
        cpu::layerwise_step(rule, layers[i].size, p + at, g + at, state0 + at, state1 != nullptr ? state1 + at : nullptr, layers[i].adapt, clear_gradients, coefficient, limit);
    }
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
