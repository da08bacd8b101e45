// Optimiser steps over flat arenas: one loop reads parameter, gradient and state and writes parameter and state.
//
// An arena is cut into segments (contiguous ranges with one set of hyper-parameters); callers loop over segments. The rules
// are in rules/*.hpp. Traffic per float parameter: 12 bytes and 8 for each state; clearing gradients in the same pass adds
// the 4 bytes of the store and saves a pass.
#pragma once

#include <tenon/base/dispatch.hpp>
#include <tenon/base/error.hpp>
#include <tenon/base/parallel.hpp>
#include <tenon/base/simd.hpp>
#include <tenon/kernels/cpu/rules/adabound.hpp>
#include <tenon/kernels/cpu/rules/adam.hpp>
#include <tenon/kernels/cpu/rules/sgd.hpp>

#include <type_traits>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

// The limit of gradients that are not clipped by value.
template <class T>
inline constexpr T unlimited = T(__builtin_inf());

namespace reference {

// The plain step: one element after the other.
template <class Rule, class T>
void fused_step(const Rule& rule, long n, T* p, T* g, T* state0, T* state1, T* state2, bool clear_gradients,
                const T* coefficient = nullptr, std::type_identity_t<T> limit = unlimited<T>) {
    const T scale = coefficient != nullptr ? rule.gradient_scale * *coefficient : rule.gradient_scale;
    for (long i = 0; i < n; ++i) {
        T none = 0;
        rule(p[i], impl::optim_clamp(T(scale * g[i]), T(-limit), limit), Rule::states > 0 ? state0[i] : none, Rule::states > 1 ? state1[i] : none,
             Rule::states > 2 ? state2[i] : none);
        if (clear_gradients) g[i] = 0;
    }
}

// The plain sum of squares, in extended precision.
template <class T>
double sum_of_squares(long n, const T* g) {
    long double sum = 0;
    for (long i = 0; i < n; ++i) sum += static_cast<long double>(g[i]) * static_cast<long double>(g[i]);
    return double(sum);
}

}  // namespace reference

namespace impl {

constexpr long optim_chunk = 16384;  // elements per task: 256 KB of Adam's four arrays
constexpr long optim_partials = 1024;

// The whole step on one range. The tail goes through the same lanes, padded, so that an element's bits depend neither on
// its place nor on where the range starts.
struct FusedStepBody {
    template <int Lanes, class Rule, class T>
    static TENON_ALWAYS_INLINE void run(Rule rule, T scale, T limit, long n, T* p, T* g, T* state0, T* state1, T* state2, bool clear) {
        constexpr int N = Lanes * 4 / int(sizeof(T));
        using V = simd<T, N>;
        const V zero(0), factor(scale);
        const bool clip = limit < unlimited<T>;
        V s0(0), s1(0), s2(0);
        long i = 0;
        for (; i + N <= n; i += N) {
            V value = V::load(p + i);
            V gradient = factor * V::load(g + i);
            if (clip) gradient = optim_clamp(gradient, V(-limit), V(limit));
            if constexpr (Rule::states > 0) s0 = V::load(state0 + i);
            if constexpr (Rule::states > 1) s1 = V::load(state1 + i);
            if constexpr (Rule::states > 2) s2 = V::load(state2 + i);
            rule(value, gradient, s0, s1, s2);
            value.store(p + i);
            if (clear) zero.store(g + i);
            if constexpr (Rule::states > 0) s0.store(state0 + i);
            if constexpr (Rule::states > 1) s1.store(state1 + i);
            if constexpr (Rule::states > 2) s2.store(state2 + i);
        }
        if (i < n) {
            const unsigned long bytes = static_cast<unsigned long>(n - i) * sizeof(T);
            T lane[5][N] = {};
            __builtin_memcpy(lane[0], p + i, bytes);
            __builtin_memcpy(lane[1], g + i, bytes);
            if constexpr (Rule::states > 0) __builtin_memcpy(lane[2], state0 + i, bytes);
            if constexpr (Rule::states > 1) __builtin_memcpy(lane[3], state1 + i, bytes);
            if constexpr (Rule::states > 2) __builtin_memcpy(lane[4], state2 + i, bytes);
            V value = V::load(lane[0]);
            V gradient = factor * V::load(lane[1]);
            if (clip) gradient = optim_clamp(gradient, V(-limit), V(limit));
            s0 = V::load(lane[2]);
            s1 = V::load(lane[3]);
            s2 = V::load(lane[4]);
            rule(value, gradient, s0, s1, s2);
            value.store(lane[0]);
            s0.store(lane[2]);
            s1.store(lane[3]);
            s2.store(lane[4]);
            __builtin_memcpy(p + i, lane[0], bytes);
            if (clear) __builtin_memset(g + i, 0, bytes);
            if constexpr (Rule::states > 0) __builtin_memcpy(state0 + i, lane[2], bytes);
            if constexpr (Rule::states > 1) __builtin_memcpy(state1 + i, lane[3], bytes);
            if constexpr (Rule::states > 2) __builtin_memcpy(state2 + i, lane[4], bytes);
        }
    }
};

struct SumOfSquaresBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long n, const T* g, double* out) {
        constexpr int N = Lanes / 2;
        using V = simd<double, N>;
        V sum0(0), sum1(0), sum2(0), sum3(0);
        long i = 0;
        for (; i + 4 * N <= n; i += 4 * N) {
            const V a = convert<double>(simd<T, N>::load(g + i)), b = convert<double>(simd<T, N>::load(g + i + N));
            const V c = convert<double>(simd<T, N>::load(g + i + 2 * N)), d = convert<double>(simd<T, N>::load(g + i + 3 * N));
            sum0 += a * a;
            sum1 += b * b;
            sum2 += c * c;
            sum3 += d * d;
        }
        double sum = reduce_add((sum0 + sum1) + (sum2 + sum3));
        for (; i < n; ++i) sum += double(g[i]) * double(g[i]);
        *out = sum;
    }
};

struct DotBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long n, const T* a, const T* b, double* out) {
        constexpr int N = Lanes / 2;
        using V = simd<double, N>;
        V sum0(0), sum1(0);
        long i = 0;
        for (; i + 2 * N <= n; i += 2 * N) {
            sum0 += convert<double>(simd<T, N>::load(a + i)) * convert<double>(simd<T, N>::load(b + i));
            sum1 += convert<double>(simd<T, N>::load(a + i + N)) * convert<double>(simd<T, N>::load(b + i + N));
        }
        double sum = reduce_add(sum0 + sum1);
        for (; i < n; ++i) sum += double(a[i]) * double(b[i]);
        *out = sum;
    }
};
struct SumOfSquaredProductsBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long n, const T* a, const T* b, double* out) {
        constexpr int N = Lanes / 2;
        using V = simd<double, N>;
        V sum0(0);
        long i = 0;
        for (; i + N <= n; i += N) {
            const V product = convert<double>(simd<T, N>::load(a + i)) * convert<double>(simd<T, N>::load(b + i));
            sum0 += product * product;
        }
        double sum = reduce_add(sum0);
        for (; i < n; ++i) sum += double(a[i]) * double(b[i]) * (double(a[i]) * double(b[i]));
        *out = sum;
    }
};
struct SumOfMagnitudesBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long n, const T* g, double* out) {
        constexpr int N = Lanes / 2;
        using V = simd<double, N>;
        V sum0(0), sum1(0);
        long i = 0;
        for (; i + 2 * N <= n; i += 2 * N) {
            sum0 += optim_abs(convert<double>(simd<T, N>::load(g + i)));
            sum1 += optim_abs(convert<double>(simd<T, N>::load(g + i + N)));
        }
        double sum = reduce_add(sum0 + sum1);
        for (; i < n; ++i) sum += optim_abs(double(g[i]));
        *out = sum;
    }
};
struct LargestMagnitudeBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long n, const T* g, double* out) {
        constexpr int N = Lanes * 4 / int(sizeof(T));
        using V = simd<T, N>;
        V most(0);
        long i = 0;
        for (; i + N <= n; i += N) most = optim_max(most, optim_abs(V::load(g + i)));
        T largest = 0;
        for (int k = 0; k < N; ++k) largest = optim_max(largest, most[k]);
        for (; i < n; ++i) largest = optim_max(largest, optim_abs(g[i]));
        *out = double(largest);
    }
};

struct BoundHistogramBody {
    template <int Lanes, class Rule, class T>
    static TENON_ALWAYS_INLINE void run(Rule rule, long n, const T* second, long* counts) {
        long low = 0, high = 0;
        constexpr int N = Lanes * 4 / int(sizeof(T));
        using V = simd<T, N>;
        long i = 0;
        for (; i + N <= n; i += N) {
            const V rate = rule.free_rate(V::load(second + i));
            const auto below = rate <= V(rule.lo), above = rate >= V(rule.hi);
            for (int k = 0; k < N; ++k) {
                low -= long(below.v[k]);
                high -= long(above.v[k] & ~below.v[k]);
            }
        }
        for (; i < n; ++i) {
            const T rate = rule.free_rate(second[i]);
            if (rate <= rule.lo) ++low;
            else if (rate >= rule.hi) ++high;
        }
        counts[0] = low;
        counts[1] = high;
    }
};

}  // namespace impl

// One optimiser step on the range [0, n) of an arena: p and the states are updated from g * gradient_scale *
// *coefficient (null: 1) held to [-limit, limit], and g is set to 0 in the same pass if clear_gradients. T is float or double;
// states that the rule does not use may be null; the arrays must not overlap (g may be p where the rule reads no gradient). A
// NaN gradient makes the parameter NaN.
template <class Rule, class T>
void fused_step(const Rule& rule, long n, T* p, T* g, T* state0, T* state1, T* state2, bool clear_gradients,
                const T* coefficient = nullptr, std::type_identity_t<T> limit = unlimited<T>) {
    if (n <= 0) return;
#if !defined(__CUDA_ARCH__)  // where rules are device functions, which may not hold vectors, no loop of the host is made
    const T scale = coefficient != nullptr ? rule.gradient_scale * *coefficient : rule.gradient_scale;
    parallel_for((n + impl::optim_chunk - 1) / impl::optim_chunk, [&](long task) {
        const long begin = task * impl::optim_chunk;
        const long count = n - begin < impl::optim_chunk ? n - begin : impl::optim_chunk;
        // Bound by memory; eight lanes are as fast as sixteen.
        dispatch<impl::FusedStepBody, Isa::avx2>(rule, scale, limit, count, p + begin, g + begin, Rule::states > 0 ? state0 + begin : nullptr,
                                      Rule::states > 1 ? state1 + begin : nullptr,
                                      Rule::states > 2 ? state2 + begin : nullptr, clear_gradients);
    });
#endif
}

namespace impl {
// The sum of what Body gives for chunks of [0, n), which depend on n only and are added in order.
template <class Body, class... Arrays>
double sum_in_chunks(long n, const Arrays*... arrays) {
    if (n <= 0) return 0;
    long chunk = (n + optim_partials - 1) / optim_partials;
    chunk = chunk <= 32768 ? 32768 : (chunk + 63) / 64 * 64;
    const long tasks = (n + chunk - 1) / chunk;
    double partial[optim_partials];
    parallel_for(tasks, [&](long task) {
        const long begin = task * chunk;
        dispatch<Body>(n - begin < chunk ? n - begin : chunk, (arrays + begin)..., &partial[task]);
    });
    double sum = 0;
    for (long i = 0; i < tasks; ++i) sum += partial[i];
    return sum;
}
}  // namespace impl

// Sum of the squares of g[0, n), in double.
template <class T>
double sum_of_squares(long n, const T* g) { return impl::sum_in_chunks<impl::SumOfSquaresBody>(n, g); }
// Sum of the products a[i] * b[i], in double.
template <class T>
double dot(long n, const T* a, const T* b) { return impl::sum_in_chunks<impl::DotBody>(n, a, b); }
// Sum of (a[i] * b[i])^2, in double.
template <class T>
double sum_of_squared_products(long n, const T* a, const T* b) { return impl::sum_in_chunks<impl::SumOfSquaredProductsBody>(n, a, b); }
// Sum of the absolute values of g[0, n), in double.
template <class T>
double sum_of_magnitudes(long n, const T* g) { return impl::sum_in_chunks<impl::SumOfMagnitudesBody>(n, g); }
// The largest absolute value of g[0, n), 0 for none; a NaN among them is the result.
template <class T>
double largest_magnitude(long n, const T* g) {
    if (n <= 0) return 0;
    long chunk = (n + impl::optim_partials - 1) / impl::optim_partials;
    if (chunk < 32768) chunk = 32768;
    const long tasks = (n + chunk - 1) / chunk;
    double partial[impl::optim_partials];
    parallel_for(tasks, [&](long task) {
        const long begin = task * chunk;
        dispatch<impl::LargestMagnitudeBody>(n - begin < chunk ? n - begin : chunk, g + begin, &partial[task]);
    });
    double largest = 0;
    for (long i = 0; i < tasks; ++i) largest = impl::optim_max(largest, partial[i]);
    return largest;
}

// The factor that brings a gradient of this summed square down to max_norm: min(1, max_norm / (norm + 1e-6)), exactly 1
// when it is short enough; NaN for a NaN norm.
inline double clip_coefficient(double squares, double max_norm) {
    const double factor = max_norm / (__builtin_sqrt(squares) + 1e-6);
    return factor > 1 ? 1 : factor;
}

// How many coordinates have their rate at the lower bound, inside, and at the upper bound.
struct BoundCounts {
    long at_lower, inside, at_upper;
};

// Counts them for the second moments [0, n) (AdaBound: v; AMSBound: its running maximum) as of the last step; reads
// only. A NaN counts as inside.
template <class Rule, class T>
BoundCounts bound_histogram(const Rule& rule, long n, const T* second) {
    if (n <= 0) return {0, 0, 0};
    long chunk = (n + impl::optim_partials - 1) / impl::optim_partials;
    if (chunk < 32768) chunk = 32768;
    const long tasks = (n + chunk - 1) / chunk;
    long partial[impl::optim_partials][2];
#if !defined(__CUDA_ARCH__)
    parallel_for(tasks, [&](long task) {
        const long begin = task * chunk;
        dispatch<impl::BoundHistogramBody>(rule, n - begin < chunk ? n - begin : chunk, second + begin, &partial[task][0]);
    });
#endif
    BoundCounts counts{0, n, 0};
    for (long i = 0; i < tasks; ++i) {
        counts.at_lower += partial[i][0];
        counts.at_upper += partial[i][1];
    }
    counts.inside -= counts.at_lower + counts.at_upper;
    return counts;
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
