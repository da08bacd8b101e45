// AdaBound and AMSBound (Luo et al. 2019). Memory moved per float parameter: 28 bytes, AMSBound 36.
#pragma once

#include <tenon/kernels/cpu/rules/common.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

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
    // f(name, option) for each of them.
    static void visit(auto& o, auto&& f) {
        f("lr", o.lr);
        f("lr_scale", o.lr_scale);
        f("final_lr", o.final_lr);
        f("gamma", o.gamma);
        f("beta1", o.beta1);
        f("beta2", o.beta2);
        f("eps", o.eps);
        f("weight_decay", o.weight_decay);
        f("decay", o.decay);
        f("maximize", o.maximize);
        f("gradient_scale", o.gradient_scale);
        f("hi_cap", o.hi_cap);
        f("bias_correction", o.bias_correction);
        f("theory_decay", o.theory_decay);
    }
};

// What a step needs, in double, for one value of t.
struct AdaBoundScalars {
    double beta1, gain1, beta2, gain2, eps;
    double step;    // lr * sqrt(1 - beta2^t) / (1 - beta1^t): rate = clamp(step / (sqrt(v) + eps), lo, hi)
    double lo, hi;
    double l2, keep, gradient_scale;
};

// The scalars of step t (counted from 1) of AdaBound and AMSBound (Luo et al. 2019, the released code).
// The bounds scale with lr_scale; gamma = 0 leaves them open (0, hi_cap). Throws ValueError for t < 1, betas outside
// [0, 1), options that are negative or not finite (hi_cap may be infinite).
inline AdaBoundScalars adabound_scalars(long t, const AdaBoundOptions& o) {
    impl::check_betas("adabound", o.beta1, o.beta2);
    if (!(o.final_lr >= 0 && o.gamma >= 0 && o.hi_cap >= 0 && impl::optim_finite(o.final_lr) && impl::optim_finite(o.gamma)))
        fail<ValueError>("adabound: expected final_lr, gamma and hi_cap >= 0, got ", o.final_lr, ", ", o.gamma, " and ", o.hi_cap);
    impl::check_option("adabound", "eps", o.eps, 0);
    const double final_lr = o.final_lr * o.lr_scale;
    const impl::StepFactors f = impl::step_factors("adabound", t, o, final_lr);
    const double correction1 = o.bias_correction ? impl::bias_correction(o.beta1, t) : 1;
    const double correction2 = o.bias_correction ? impl::bias_correction(o.beta2, t) : 1;
    const double shrink = o.theory_decay ? 1 / __builtin_sqrt(double(t)) : 1;
    double lo = 0, hi = __builtin_inf();
    if (o.gamma > 0) {
        lo = final_lr * (1 - 1 / (o.gamma * double(t) + 1));
        hi = final_lr * (1 + 1 / (o.gamma * double(t)));
    }
    if (hi > o.hi_cap) hi = o.hi_cap;
    if (lo > hi) lo = hi;
    return {o.beta1, 1 - o.beta1, o.beta2, 1 - o.beta2, o.eps, shrink * f.lr * __builtin_sqrt(correction2) / correction1,
            shrink * lo, shrink * hi, f.l2, f.keep, f.gradient_scale};
}

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

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
