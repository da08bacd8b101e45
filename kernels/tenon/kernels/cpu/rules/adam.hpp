// Adam (Kingma and Ba 2015), AdamW (Loshchilov and Hutter 2019) and AMSGrad (Reddi et al. 2018). Memory moved per float parameter: 28 bytes, AMSGrad 36.
#pragma once

#include <tenon/kernels/cpu/rules/common.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

struct AdamOptions {
    double lr = 1e-3, lr_scale = 1;
    double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
    double weight_decay = 0;
    WeightDecay decay = WeightDecay::l2;
    bool maximize = false;
    double gradient_scale = 1;
    bool bias_correction = true;
    // f(name, option) for each of them.
    static void visit(auto& o, auto&& f) {
        f("lr", o.lr);
        f("lr_scale", o.lr_scale);
        f("beta1", o.beta1);
        f("beta2", o.beta2);
        f("eps", o.eps);
        f("weight_decay", o.weight_decay);
        f("decay", o.decay);
        f("maximize", o.maximize);
        f("gradient_scale", o.gradient_scale);
        f("bias_correction", o.bias_correction);
    }
};

struct AdamWOptions {
    double lr = 1e-3, lr_scale = 1;
    double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
    double weight_decay = 0.01;
    WeightDecay decay = WeightDecay::decoupled_torch;
    bool maximize = false;
    double gradient_scale = 1;
    bool bias_correction = true;
    static void visit(auto& o, auto&& f) {
        f("lr", o.lr);
        f("lr_scale", o.lr_scale);
        f("beta1", o.beta1);
        f("beta2", o.beta2);
        f("eps", o.eps);
        f("weight_decay", o.weight_decay);
        f("decay", o.decay);
        f("maximize", o.maximize);
        f("gradient_scale", o.gradient_scale);
        f("bias_correction", o.bias_correction);
    }
};

// What a step needs, in double, for one value of t.
struct AdamScalars {
    double beta1, gain1, beta2, gain2, eps;
    double step;     // lr / (1 - beta1^t)
    double root;     // 1 / sqrt(1 - beta2^t): denominator = sqrt(v) * root + eps
    double l2, keep, gradient_scale;
};

namespace impl {
template <class Options>
AdamScalars adam_scalars(const char* name, long t, const Options& o) {
    const StepFactors f = step_factors(name, t, o);
    check_betas(name, o.beta1, o.beta2);
    check_option(name, "eps", o.eps, 0);
    const double correction1 = o.bias_correction ? bias_correction(o.beta1, t) : 1;
    const double correction2 = o.bias_correction ? bias_correction(o.beta2, t) : 1;
    return {o.beta1, 1 - o.beta1, o.beta2, 1 - o.beta2, o.eps, f.lr / correction1, 1 / __builtin_sqrt(correction2), f.l2, f.keep, f.gradient_scale};
}
}  // namespace impl
// The scalars of step t (counted from 1) of Adam and AMSGrad, and of AdamW.
// Throws ValueError for t < 1, options that are negative or not finite, and betas outside [0, 1).
inline AdamScalars adam_scalars(long t, const AdamOptions& o) { return impl::adam_scalars("adam", t, o); }
inline AdamScalars adamw_scalars(long t, const AdamWOptions& o) { return impl::adam_scalars("adamw", t, o); }

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

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
