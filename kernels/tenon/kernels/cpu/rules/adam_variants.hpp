// Rules with Adam's two moments and another step: NAdam, RAdam, Adamax. Memory moved per float parameter: 28 bytes.
#pragma once

#include <tenon/kernels/cpu/rules/common.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

struct NadamOptions {
    double lr = 2e-3, lr_scale = 1;
    double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
    double momentum_decay = 4e-3;  // the momentum of step t is mu_t = beta1 * (1 - 0.96^(t * momentum_decay) / 2)
    double weight_decay = 0;
    WeightDecay decay = WeightDecay::l2;
    bool maximize = false;
    double gradient_scale = 1;
    static void visit(auto& o, auto&& f) {
        f("lr", o.lr);
        f("lr_scale", o.lr_scale);
        f("beta1", o.beta1);
        f("beta2", o.beta2);
        f("eps", o.eps);
        f("momentum_decay", o.momentum_decay);
        f("weight_decay", o.weight_decay);
        f("decay", o.decay);
        f("maximize", o.maximize);
        f("gradient_scale", o.gradient_scale);
    }
};
// mu_t.
inline double nadam_momentum(const NadamOptions& o, long t) { return o.beta1 * (1 - 0.5 * __builtin_pow(0.96, double(t) * o.momentum_decay)); }

// Adam with Nesterov's look ahead (Dozat 2016), as PyTorch has it since 1.14. States: m, v.
template <class T>
struct Nadam {
    static constexpr int states = 2;
    T beta1, gain1, beta2, gain2, eps, gradient_step, momentum_step, root, l2, keep, gradient_scale;
    // product: mu_1 * ... * mu_t. Throws ValueError for t < 1, options that are negative or not finite, betas outside [0, 1).
    Nadam(const NadamOptions& o, long t, double product) {
        const impl::StepFactors f = impl::step_factors("nadam", t, o);
        impl::check_betas("nadam", o.beta1, o.beta2);
        impl::check_option("nadam", "eps", o.eps, 0);
        impl::check_option("nadam", "momentum_decay", o.momentum_decay, 0);
        const double now = nadam_momentum(o, t), next = nadam_momentum(o, t + 1);
        beta1 = T(o.beta1);
        gain1 = T(1 - o.beta1);
        beta2 = T(o.beta2);
        gain2 = T(1 - o.beta2);
        eps = T(o.eps);
        gradient_step = T(f.lr * (1 - now) / (1 - product));
        momentum_step = T(f.lr * next / (1 - product * next));
        root = T(1 / __builtin_sqrt(impl::bias_correction(o.beta2, t)));
        l2 = T(f.l2);
        keep = T(f.keep);
        gradient_scale = T(f.gradient_scale);
    }
    template <class V>
    TENON_FUNCTOR void operator()(V& p, const V& gradient, V& m, V& v, V&) const {
        const V g = impl::with_decay(p, gradient, l2, keep);
        m = V(beta1) * m + V(gain1) * g;
        v = V(beta2) * v + V(gain2) * (g * g);
        p = p - (V(gradient_step) * g + V(momentum_step) * m) / (impl::optim_sqrt(v) * V(root) + V(eps));
    }
};

struct RadamOptions {
    double lr = 1e-3, lr_scale = 1;
    double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
    double weight_decay = 0;
    WeightDecay decay = WeightDecay::l2;
    bool maximize = false;
    double gradient_scale = 1;
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
    }
};

// Rectified Adam (Liu et al. 2020): plain momentum while the second moment rests on too few gradients (five steps at the
// default beta2). eps joins the uncorrected sqrt(v). States: m, v.
template <class T>
struct Radam {
    static constexpr int states = 2;
    T beta1, gain1, beta2, gain2, eps, step, l2, keep, gradient_scale;
    bool rectified;
    // Throws ValueError for t < 1, options that are negative or not finite, betas outside [0, 1).
    Radam(const RadamOptions& o, long t) {
        const impl::StepFactors f = impl::step_factors("radam", t, o);
        impl::check_betas("radam", o.beta1, o.beta2);
        impl::check_option("radam", "eps", o.eps, 0);
        const double correction2 = impl::bias_correction(o.beta2, t), limit = 2 / (1 - o.beta2) - 1;
        const double length = limit - 2 * double(t) * (1 - correction2) / correction2;
        rectified = length > 5;
        double rate = f.lr / impl::bias_correction(o.beta1, t);
        if (rectified)
            rate *= __builtin_sqrt(correction2 * (length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length));
        beta1 = T(o.beta1);
        gain1 = T(1 - o.beta1);
        beta2 = T(o.beta2);
        gain2 = T(1 - o.beta2);
        eps = T(o.eps);
        step = T(rate);
        l2 = T(f.l2);
        keep = T(f.keep);
        gradient_scale = T(f.gradient_scale);
    }
    template <class V>
    TENON_FUNCTOR void operator()(V& p, const V& gradient, V& m, V& v, V&) const {
        const V g = impl::with_decay(p, gradient, l2, keep);
        m = V(beta1) * m + V(gain1) * g;
        v = V(beta2) * v + V(gain2) * (g * g);
        V d = m;
        if (rectified) d = m / (impl::optim_sqrt(v) + V(eps));
        p = p - V(step) * d;
    }
};

struct AdamaxOptions {
    double lr = 2e-3, lr_scale = 1;
    double beta1 = 0.9, beta2 = 0.999, eps = 1e-8;
    double weight_decay = 0;
    WeightDecay decay = WeightDecay::l2;
    bool maximize = false;
    double gradient_scale = 1;
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
    }
};

// Adamax (Kingma and Ba 2015, section 7.1): the second moment is a decayed maximum of |g| + eps. States: m, u.
template <class T>
struct Adamax {
    static constexpr int states = 2;
    T beta1, gain1, beta2, eps, step, l2, keep, gradient_scale;
    // Throws ValueError for t < 1, options that are negative or not finite, betas outside [0, 1).
    Adamax(const AdamaxOptions& o, long t) {
        const impl::StepFactors f = impl::step_factors("adamax", t, o);
        impl::check_betas("adamax", o.beta1, o.beta2);
        impl::check_option("adamax", "eps", o.eps, 0);
        beta1 = T(o.beta1);
        gain1 = T(1 - o.beta1);
        beta2 = T(o.beta2);
        eps = T(o.eps);
        step = T(f.lr / impl::bias_correction(o.beta1, t));
        l2 = T(f.l2);
        keep = T(f.keep);
        gradient_scale = T(f.gradient_scale);
    }
    template <class V>
    TENON_FUNCTOR void operator()(V& p, const V& gradient, V& m, V& u, V&) const {
        const V g = impl::with_decay(p, gradient, l2, keep);
        m = V(beta1) * m + V(gain1) * g;
        u = impl::optim_max(V(beta2) * u, impl::optim_abs(g) + V(eps));
        p = p - V(step) * (m / u);
    }
};

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
