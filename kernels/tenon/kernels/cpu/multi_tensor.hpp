// Optimiser steps over flat arenas: one loop reads parameter, gradient and state and writes parameter and state.
//
// An arena is cut into segments (contiguous ranges with one set of hyper-parameters); callers loop over segments. A rule
// is a small functor that holds its scalars, computed once on the host in double and cast once to T. Traffic per float
// parameter: SGD 12 bytes, with momentum 20, Adam and AdaBound 28, AMSGrad and AMSBound 36; clearing gradients in the
// same pass adds the 4 bytes of the store and saves a pass.
#pragma once

#include <tenon/base/dispatch.hpp>
#include <tenon/base/error.hpp>
#include <tenon/base/parallel.hpp>
#include <tenon/base/simd.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

// How weight decay enters a step.
enum class WeightDecay {
    l2,               // g += wd * p before the moments
    decoupled_torch,  // p *= 1 - lr * wd, as AdamW
    decoupled_final,  // p *= 1 - final_lr * wd (both scaled by lr_scale): AdaBound's asymptotic step; AdaBound only
    decoupled_ref,    // p *= 1 - wd, whatever the rate: what the first AdaBoundW did
};

struct SgdOptions {
    double lr = 1e-3;
    double lr_scale = 1;  // factor owned by a schedule
    double momentum = 0, dampening = 0;
    bool nesterov = false;
    double weight_decay = 0;
    WeightDecay decay = WeightDecay::l2;
    bool maximize = false;
    double gradient_scale = 1;  // multiplies every gradient (1 / loss scale, clipping)
    // Averages instead of sums: buffer = momentum * buffer + (1 - momentum) * g and step lr / (1 - momentum^t), the
    // method that AdaBound ends in; dampening is not read then.
    bool bias_corrected = false;
};
struct AdamOptions {
    double lr = 1e-3, lr_scale = 1;
    double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
    double weight_decay = 0;
    WeightDecay decay = WeightDecay::l2;
    bool maximize = false;
    double gradient_scale = 1;
    bool bias_correction = true;
};
struct AdaBoundOptions {
    double lr = 1e-3, lr_scale = 1;  // lr_scale multiplies the bounds as well
    double final_lr = 0.1, gamma = 1e-3;
    double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
    double weight_decay = 0;
    WeightDecay decay = WeightDecay::l2;
    bool maximize = false;
    double gradient_scale = 1;
    double hi_cap = __builtin_inf();  // the upper bound never exceeds it (the first steps allow 1000 * final_lr)
    bool bias_correction = true;
    bool theory_decay = false;  // divides the clamped rate by sqrt(t), as the regret analysis does
};

// What a step needs, in double, for one value of t.
struct SgdScalars {
    double step, momentum, buffer_keep, buffer_gain, l2, keep, gradient_scale;
    bool nesterov;
};
struct AdamScalars {
    double beta1, gain1, beta2, gain2, eps;
    double step;     // lr / (1 - beta1^t)
    double root;     // 1 / sqrt(1 - beta2^t): denominator = sqrt(v) * root + eps
    double l2, keep, gradient_scale;
};
struct AdaBoundScalars {
    double beta1, gain1, beta2, gain2, eps;
    double step;    // lr * sqrt(1 - beta2^t) / (1 - beta1^t): rate = clamp(step / (sqrt(v) + eps), lo, hi)
    double lo, hi;
    double l2, keep, gradient_scale;
};

namespace impl {
inline void check_step(const char* name, long t) {
    if (t < 1) fail<ValueError>(name, ": the step count starts at 1, got ", t);
}
inline void check_betas(const char* name, double beta1, double beta2) {
    if (!(beta1 >= 0 && beta1 < 1 && beta2 >= 0 && beta2 < 1))
        fail<ValueError>(name, ": expected betas in [0, 1), got ", beta1, " and ", beta2);
}
struct DecayFactors {
    double l2, keep;
};
inline DecayFactors decay_factors(const char* name, WeightDecay decay, double weight_decay, double lr, double final_lr) {
    switch (decay) {
        case WeightDecay::l2: return {weight_decay, 1};
        case WeightDecay::decoupled_torch: return {0, 1 - lr * weight_decay};
        case WeightDecay::decoupled_ref: return {0, 1 - weight_decay};
        case WeightDecay::decoupled_final: break;
    }
    if (final_lr < 0) fail<ValueError>(name, ": decoupled_final needs a final_lr, which only AdaBound and AMSBound have");
    return {0, 1 - final_lr * weight_decay};
}
}  // namespace impl

// The scalars of step t (counted from 1) of SGD. The first step's buffer is g itself, without dampening.
// Throws ValueError for t < 1 and for Nesterov without momentum or with dampening.
inline SgdScalars sgd_scalars(long t, const SgdOptions& o) {
    impl::check_step("sgd", t);
    if (o.nesterov && !(o.momentum > 0 && o.dampening == 0))
        fail<ValueError>("sgd: nesterov needs momentum > 0 and dampening 0, got momentum ", o.momentum, " and dampening ",
                         o.dampening);
    const double lr = o.lr * o.lr_scale;
    const impl::DecayFactors decay = impl::decay_factors("sgd", o.decay, o.weight_decay, lr, -1);
    if (o.bias_corrected)
        return {lr / (1 - __builtin_pow(o.momentum, double(t))), o.momentum, o.momentum, 1 - o.momentum,
                decay.l2, decay.keep, (o.maximize ? -1 : 1) * o.gradient_scale, o.nesterov};
    return {lr,       o.momentum, t == 1 ? 0 : o.momentum,        t == 1 ? 1 : 1 - o.dampening,
            decay.l2, decay.keep, (o.maximize ? -1 : 1) * o.gradient_scale, o.nesterov};
}

// The scalars of step t (counted from 1) of Adam, AdamW (decay = decoupled_torch) and AMSGrad.
// Throws ValueError for t < 1 and betas outside [0, 1).
inline AdamScalars adam_scalars(long t, const AdamOptions& o) {
    impl::check_step("adam", t);
    impl::check_betas("adam", o.beta1, o.beta2);
    const double lr = o.lr * o.lr_scale;
    // Powers in double: float(0.999) alone is off by 1.3e-5 of 1 - beta2.
    const double correction1 = o.bias_correction ? 1 - __builtin_pow(o.beta1, double(t)) : 1;
    const double correction2 = o.bias_correction ? 1 - __builtin_pow(o.beta2, double(t)) : 1;
    const impl::DecayFactors decay = impl::decay_factors("adam", o.decay, o.weight_decay, lr, -1);
    return {o.beta1, 1 - o.beta1, o.beta2, 1 - o.beta2, o.eps, lr / correction1, 1 / __builtin_sqrt(correction2),
            decay.l2, decay.keep, (o.maximize ? -1 : 1) * o.gradient_scale};
}

// The scalars of step t (counted from 1) of AdaBound and AMSBound (Luo et al. 2019, the released code).
// The bounds scale with lr_scale; gamma = 0 leaves them open (0, hi_cap). Throws ValueError for t < 1, betas outside
// [0, 1), a negative final_lr, gamma or hi_cap.
inline AdaBoundScalars adabound_scalars(long t, const AdaBoundOptions& o) {
    impl::check_step("adabound", t);
    impl::check_betas("adabound", o.beta1, o.beta2);
    if (!(o.final_lr >= 0 && o.gamma >= 0 && o.hi_cap >= 0))
        fail<ValueError>("adabound: expected final_lr, gamma and hi_cap >= 0, got ", o.final_lr, ", ", o.gamma, " and ", o.hi_cap);
    const double lr = o.lr * o.lr_scale, final_lr = o.final_lr * o.lr_scale;
    const double correction1 = o.bias_correction ? 1 - __builtin_pow(o.beta1, double(t)) : 1;
    const double correction2 = o.bias_correction ? 1 - __builtin_pow(o.beta2, double(t)) : 1;
    const double shrink = o.theory_decay ? 1 / __builtin_sqrt(double(t)) : 1;
    double lo = 0, hi = __builtin_inf();
    if (o.gamma > 0) {
        lo = final_lr * (1 - 1 / (o.gamma * double(t) + 1));
        hi = final_lr * (1 + 1 / (o.gamma * double(t)));
    }
    if (hi > o.hi_cap) hi = o.hi_cap;
    if (lo > hi) lo = hi;
    const impl::DecayFactors decay = impl::decay_factors("adabound", o.decay, o.weight_decay, lr, final_lr);
    return {o.beta1, 1 - o.beta1, o.beta2, 1 - o.beta2, o.eps, shrink * lr * __builtin_sqrt(correction2) / correction1,
            shrink * lo, shrink * hi, decay.l2, decay.keep, (o.maximize ? -1 : 1) * o.gradient_scale};
}

namespace impl {
#if defined(__CUDA_ARCH__)
TENON_FUNCTOR float optim_sqrt(float a) { return ::sqrtf(a); }
TENON_FUNCTOR double optim_sqrt(double a) { return ::sqrt(a); }
#else
TENON_ALWAYS_INLINE float optim_sqrt(float a) { return __builtin_sqrtf(a); }
TENON_ALWAYS_INLINE double optim_sqrt(double a) { return __builtin_sqrt(a); }
#endif
template <class T, int N>
TENON_ALWAYS_INLINE simd<T, N> optim_sqrt(const simd<T, N>& a) { return sqrt(a); }
// The larger of two; a NaN in either is the result.
template <class V>
TENON_FUNCTOR V optim_max(const V& a, const V& b) { return select(b > a, b, select(b != b, b, a)); }
// eta held to [lo, hi]; every comparison with NaN is false, so a NaN comes through.
template <class V>
TENON_FUNCTOR V optim_clamp(const V& eta, const V& lo, const V& hi) {
    const V raised = select(eta < lo, lo, eta);
    return select(raised > hi, hi, raised);
}
}  // namespace impl

// A rule (the device takes its steps too, an element at a time): `states` buffers of the parameters' size, `gradient_scale`, and operator()(p, g, s0, s1, s2) over a scalar or
// a simd vector; g comes scaled already. Any struct of this form can be given to fused_step.

// SGD. State with momentum: the buffer.
template <class T, bool Momentum, bool Nesterov = false>
struct Sgd {
    static constexpr int states = Momentum ? 1 : 0;
    T step, momentum, buffer_keep, buffer_gain, l2, keep, gradient_scale;
    explicit Sgd(const SgdScalars& s)
        : step(T(s.step)), momentum(T(s.momentum)), buffer_keep(T(s.buffer_keep)), buffer_gain(T(s.buffer_gain)),
          l2(T(s.l2)), keep(T(s.keep)), gradient_scale(T(s.gradient_scale)) {}
    template <class V>
    TENON_FUNCTOR void operator()(V& p, const V& gradient, V& buffer, V&, V&) const {
        V g = gradient;
        if (l2 != T(0)) g = g + V(l2) * p;
        if (keep != T(1)) p = p * V(keep);
        if constexpr (Momentum) {
            buffer = V(buffer_keep) * buffer + V(buffer_gain) * g;
            if constexpr (Nesterov) g = g + V(momentum) * buffer;
            else g = buffer;
        }
        p = p - V(step) * g;
    }
};

// Adam, AdamW and, with Amsgrad, AMSGrad. States: m, v, the running maximum of v.
template <class T, bool Amsgrad = false>
struct Adam {
    static constexpr int states = Amsgrad ? 3 : 2;
    T beta1, gain1, beta2, gain2, eps, step, root, l2, keep, gradient_scale;
    explicit Adam(const AdamScalars& s)
        : beta1(T(s.beta1)), gain1(T(s.gain1)), beta2(T(s.beta2)), gain2(T(s.gain2)), eps(T(s.eps)), step(T(s.step)),
          root(T(s.root)), l2(T(s.l2)), keep(T(s.keep)), gradient_scale(T(s.gradient_scale)) {}
    template <class V>
    TENON_FUNCTOR void operator()(V& p, const V& gradient, V& m, V& v, V& largest) const {
        V g = gradient;
        if (l2 != T(0)) g = g + V(l2) * p;
        if (keep != T(1)) p = p * V(keep);
        m = V(beta1) * m + V(gain1) * g;
        v = V(beta2) * v + V(gain2) * (g * g);
        V second = v;
        if constexpr (Amsgrad) second = largest = impl::optim_max(largest, v);
        p = p - V(step) * (m / (impl::optim_sqrt(second) * V(root) + V(eps)));
    }
};

// AdaBound and, with Amsbound, AMSBound: Adam's rate held between two bounds that close in on final_lr.
// eps joins the uncorrected sqrt(v), unlike Adam's. States: m, v, the running maximum of v.
template <class T, bool Amsbound = false>
struct AdaBound {
    static constexpr int states = Amsbound ? 3 : 2;
    T beta1, gain1, beta2, gain2, eps, step, lo, hi, l2, keep, gradient_scale;
    explicit AdaBound(const AdaBoundScalars& s)
        : beta1(T(s.beta1)), gain1(T(s.gain1)), beta2(T(s.beta2)), gain2(T(s.gain2)), eps(T(s.eps)), step(T(s.step)),
          lo(T(s.lo)), hi(T(s.hi)), l2(T(s.l2)), keep(T(s.keep)), gradient_scale(T(s.gradient_scale)) {}
    // The rate before it is held to the bounds, for a second moment v.
    template <class V>
    TENON_FUNCTOR V free_rate(const V& v) const {
        return V(step) / (impl::optim_sqrt(v) + V(eps));
    }
    template <class V>
    TENON_FUNCTOR void operator()(V& p, const V& gradient, V& m, V& v, V& largest) const {
        V g = gradient;
        if (l2 != T(0)) g = g + V(l2) * p;
        if (keep != T(1)) p = p * V(keep);
        m = V(beta1) * m + V(gain1) * g;
        v = V(beta2) * v + V(gain2) * (g * g);
        V second = v;
        if constexpr (Amsbound) second = largest = impl::optim_max(largest, v);
        p = p - impl::optim_clamp(free_rate(second), V(lo), V(hi)) * m;
    }
};

namespace reference {

// The plain step: one element after the other.
template <class Rule, class T>
void fused_step(const Rule& rule, long n, T* p, T* g, T* state0, T* state1, T* state2, bool clear_gradients,
                const T* coefficient = nullptr) {
    const T scale = coefficient != nullptr ? rule.gradient_scale * *coefficient : rule.gradient_scale;
    for (long i = 0; i < n; ++i) {
        T none = 0;
        rule(p[i], T(scale * g[i]), Rule::states > 0 ? state0[i] : none, Rule::states > 1 ? state1[i] : none,
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
    static TENON_ALWAYS_INLINE void run(Rule rule, T scale, long n, T* p, T* g, T* state0, T* state1, T* state2, bool clear) {
        constexpr int N = Lanes * 4 / int(sizeof(T));
        using V = simd<T, N>;
        const V zero(0), factor(scale);
        V s0(0), s1(0), s2(0);
        long i = 0;
        for (; i + N <= n; i += N) {
            V value = V::load(p + i);
            const V gradient = factor * V::load(g + i);
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
            const V gradient = factor * V::load(lane[1]);
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
// *coefficient (null: 1), and g is set to 0 in the same pass if clear_gradients. T is float or double; states that the
// rule does not use may be null; the arrays must not overlap. A NaN gradient makes the parameter NaN.
template <class Rule, class T>
void fused_step(const Rule& rule, long n, T* p, T* g, T* state0, T* state1, T* state2, bool clear_gradients,
                const T* coefficient = nullptr) {
    if (n <= 0) return;
#if !defined(__CUDA_ARCH__)  // where rules are device functions, which may not hold vectors, no loop of the host is made
    const T scale = coefficient != nullptr ? rule.gradient_scale * *coefficient : rule.gradient_scale;
    parallel_for((n + impl::optim_chunk - 1) / impl::optim_chunk, [&](long task) {
        const long begin = task * impl::optim_chunk;
        const long count = n - begin < impl::optim_chunk ? n - begin : impl::optim_chunk;
        // Bound by memory; eight lanes are as fast as sixteen.
        dispatch<impl::FusedStepBody, Isa::avx2>(rule, scale, count, p + begin, g + begin, Rule::states > 0 ? state0 + begin : nullptr,
                                      Rule::states > 1 ? state1 + begin : nullptr,
                                      Rule::states > 2 ? state2 + begin : nullptr, clear_gradients);
    });
#endif
}

// Sum of the squares of g[0, n), in double. Chunks depend on n only and are added in order.
template <class T>
double sum_of_squares(long n, const T* g) {
    if (n <= 0) return 0;
    long chunk = (n + impl::optim_partials - 1) / impl::optim_partials;
    chunk = chunk <= 32768 ? 32768 : (chunk + 63) / 64 * 64;
    const long tasks = (n + chunk - 1) / chunk;
    double partial[impl::optim_partials];
    parallel_for(tasks, [&](long task) {
        const long begin = task * chunk;
        dispatch<impl::SumOfSquaresBody>(n - begin < chunk ? n - begin : chunk, g + begin, &partial[task]);
    });
    double sum = 0;
    for (long i = 0; i < tasks; ++i) sum += partial[i];
    return sum;
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
