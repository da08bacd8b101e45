// What the rules of optimisers share: weight decay, checks of options, and arithmetic that is the same over a scalar and over
// a simd vector.
//
// A rule is a small functor that holds the numbers of one step, computed on the host in double and cast once to T: `states`
// buffers of the parameters' size, `gradient_scale`, and operator()(p, g, s0, s1, s2) over a scalar or a simd vector; g comes
// scaled already. Any struct of this form can be given to fused_step (multi_tensor.hpp). The device takes its steps too, an
// element at a time.
#pragma once

#include <tenon/base/error.hpp>
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

namespace impl {

inline bool optim_finite(double x) { return x - x == 0; }
inline void check_step(const char* name, long t) {
    if (t < 1) fail<ValueError>(name, ": the step count starts at 1, got ", t);
}
// Every comparison with NaN is false, so NaN is refused as well.
inline void check_option(const char* name, const char* option, double value, double least, double most = __builtin_inf()) {
    if (value >= least && value <= most && optim_finite(value)) return;
    if (most < __builtin_inf()) fail<ValueError>(name, ": ", option, " is ", value, ": expected a number in [", least, ", ", most, "]");
    fail<ValueError>(name, ": ", option, " is ", value, ": expected a finite number of at least ", least);
}
inline void check_average(const char* name, const char* option, double value) {
    if (!(value >= 0 && value < 1)) fail<ValueError>(name, ": ", option, " is ", value, ": expected a number in [0, 1)");
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
        case WeightDecay::decoupled_final:
            if (final_lr < 0) fail<ValueError>(name, ": decoupled_final needs a final_lr, which only AdaBound and AMSBound have");
            return {0, 1 - final_lr * weight_decay};
    }
    fail<ValueError>(name, ": the weight decay's mode is ", static_cast<int>(decay), ": expected one of the four of WeightDecay");
}

// The numbers that every rule has, from options with lr, lr_scale, weight_decay, decay, maximize and gradient_scale. Throws
// ValueError for t < 1, a rate, factor or decay that is negative or not finite.
struct StepFactors {
    double lr, l2, keep, gradient_scale;
};
template <class Options>
double checked_rate(const char* name, const Options& o) {
    check_option(name, "lr", o.lr, 0);
    check_option(name, "lr_scale", o.lr_scale, 0);
    if (!optim_finite(o.gradient_scale)) fail<ValueError>(name, ": gradient_scale is ", o.gradient_scale, ": expected a finite number");
    return o.lr * o.lr_scale;
}
template <class Options>
StepFactors step_factors(const char* name, long t, const Options& o, double final_lr = -1) {
    check_step(name, t);
    const double lr = checked_rate(name, o);
    check_option(name, "weight_decay", o.weight_decay, 0);
    const DecayFactors decay = decay_factors(name, o.decay, o.weight_decay, lr, final_lr);
    return {lr, decay.l2, decay.keep, (o.maximize ? -1 : 1) * o.gradient_scale};
}

// Powers in double: float(0.999) alone is off by 1.3e-5 of 1 - beta2.
inline double bias_correction(double beta, long t) { return 1 - __builtin_pow(beta, double(t)); }

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
// x held to [lo, hi]; every comparison with NaN is false, so a NaN comes through.
template <class V>
TENON_FUNCTOR V optim_clamp(const V& x, const V& lo, const V& hi) {
    const V raised = select(x < lo, lo, x);
    return select(raised > hi, hi, raised);
}
// 1, -1, or x itself where that is 0 or NaN.
template <class V>
TENON_FUNCTOR V optim_sign(const V& x) { return select(x > V(0), V(1), select(x < V(0), V(-1), x)); }
template <class V>
TENON_FUNCTOR V optim_abs(const V& x) { return select(x < V(0), -x, x); }

// Weight decay: what it adds to the gradient, and what it takes from the parameter.
template <class V, class T>
TENON_FUNCTOR V with_decay(V& p, const V& gradient, T l2, T keep) {
    V g = gradient;
    if (l2 != T(0)) g = g + V(l2) * p;
    if (keep != T(1)) p = p * V(keep);
    return g;
}

}  // namespace impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
