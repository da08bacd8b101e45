// Rules with Adam's step and another second moment: AdaBelief, Yogi, AdaMod. Memory moved per float parameter: 28 bytes, AdaMod 36.
#pragma once

#include <tenon/kernels/cpu/rules/common.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

struct AdaBeliefOptions {
    double lr = 1e-3, lr_scale = 1;
    double beta1 = 0.9, beta2 = 0.999, eps = 1e-16;
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

// AdaBelief (Zhuang et al. 2020, algorithm 2): the second moment is that of g - m; eps is added to it at every step, and to its
// root. States: m, s.
template <class T>
struct AdaBelief {
    static constexpr int states = 2;
    T beta1, gain1, beta2, gain2, eps, step, root, l2, keep, gradient_scale;
    // Throws ValueError for t < 1, options that are negative or not finite, betas outside [0, 1).
    AdaBelief(const AdaBeliefOptions& o, long t) {
        const impl::StepFactors f = impl::step_factors("adabelief", t, o);
        impl::check_betas("adabelief", o.beta1, o.beta2);
        impl::check_option("adabelief", "eps", o.eps, 0);
        beta1 = T(o.beta1);
        gain1 = T(1 - o.beta1);
        beta2 = T(o.beta2);
        gain2 = T(1 - o.beta2);
        eps = T(o.eps);
        step = T(f.lr / impl::bias_correction(o.beta1, t));
        root = T(1 / __builtin_sqrt(impl::bias_correction(o.beta2, t)));
        l2 = T(f.l2);
        keep = T(f.keep);
        gradient_scale = T(f.gradient_scale);
    }
    template <class V>
    TENON_FUNCTOR void operator()(V& p, const V& gradient, V& m, V& s, V&) const {
        const V g = impl::with_decay(p, gradient, l2, keep);
        m = V(beta1) * m + V(gain1) * g;
        const V off = g - m;
        s = V(beta2) * s + V(gain2) * (off * off) + V(eps);
        p = p - V(step) * (m / (impl::optim_sqrt(s) * V(root) + V(eps)));
    }
};

struct YogiOptions {
    double lr = 1e-2, lr_scale = 1;
    double beta1 = 0.9, beta2 = 0.999, eps = 1e-3;
    double initial_accumulator = 1e-6;  // what v starts from
    bool bias_correction = true;        // the paper's algorithm has none
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
        f("initial_accumulator", o.initial_accumulator);
        f("bias_correction", o.bias_correction);
        f("weight_decay", o.weight_decay);
        f("decay", o.decay);
        f("maximize", o.maximize);
        f("gradient_scale", o.gradient_scale);
    }
};

// Yogi (Zaheer et al. 2018): v moves towards g^2 by (1 - beta2) * g^2, whatever lies between them. States: m, v.
template <class T>
struct Yogi {
    static constexpr int states = 2;
    T beta1, gain1, gain2, eps, step, root, l2, keep, gradient_scale;
    // Throws ValueError for t < 1, options that are negative or not finite, betas outside [0, 1).
    Yogi(const YogiOptions& o, long t) {
        const impl::StepFactors f = impl::step_factors("yogi", t, o);
        impl::check_betas("yogi", o.beta1, o.beta2);
        impl::check_option("yogi", "eps", o.eps, 0);
        impl::check_option("yogi", "initial_accumulator", o.initial_accumulator, 0);
        beta1 = T(o.beta1);
        gain1 = T(1 - o.beta1);
        gain2 = T(1 - o.beta2);
        eps = T(o.eps);
        step = T(o.bias_correction ? f.lr / impl::bias_correction(o.beta1, t) : f.lr);
        root = T(o.bias_correction ? 1 / __builtin_sqrt(impl::bias_correction(o.beta2, t)) : 1);
        l2 = T(f.l2);
        keep = T(f.keep);
        gradient_scale = T(f.gradient_scale);
    }
    template <class V>
    TENON_FUNCTOR void operator()(V& p, const V& gradient, V& m, V& v, V&) const {
        const V g = impl::with_decay(p, gradient, l2, keep);
        m = V(beta1) * m + V(gain1) * g;
        const V square = g * g;
        v = v - V(gain2) * (impl::optim_sign(v - square) * square);
        p = p - V(step) * (m / (impl::optim_sqrt(v) * V(root) + V(eps)));
    }
};

struct AdaModOptions {
    double lr = 1e-3, lr_scale = 1;
    double beta1 = 0.9, beta2 = 0.999, beta3 = 0.999, eps = 1e-8;
    double weight_decay = 0;
    WeightDecay decay = WeightDecay::l2;
    bool maximize = false;
    double gradient_scale = 1;
    static void visit(auto& o, auto&& f) {
        f("lr", o.lr);
        f("lr_scale", o.lr_scale);
        f("beta1", o.beta1);
        f("beta2", o.beta2);
        f("beta3", o.beta3);
        f("eps", o.eps);
        f("weight_decay", o.weight_decay);
        f("decay", o.decay);
        f("maximize", o.maximize);
        f("gradient_scale", o.gradient_scale);
    }
};

// AdaMod (Ding et al. 2019): each rate is at most the running average of itself. States: m, v, the average rate.
template <class T>
struct AdaMod {
    static constexpr int states = 3;
    T beta1, gain1, beta2, gain2, beta3, gain3, eps, rate, step, root, l2, keep, gradient_scale;
    // Throws ValueError for t < 1, options that are negative or not finite, betas outside [0, 1).
    AdaMod(const AdaModOptions& o, long t) {
        const impl::StepFactors f = impl::step_factors("adamod", t, o);
        impl::check_betas("adamod", o.beta1, o.beta2);
        impl::check_average("adamod", "beta3", o.beta3);
        impl::check_option("adamod", "eps", o.eps, 0);
        beta1 = T(o.beta1);
        gain1 = T(1 - o.beta1);
        beta2 = T(o.beta2);
        gain2 = T(1 - o.beta2);
        beta3 = T(o.beta3);
        gain3 = T(1 - o.beta3);
        eps = T(o.eps);
        rate = T(f.lr);
        step = T(1 / impl::bias_correction(o.beta1, t));
        root = T(1 / __builtin_sqrt(impl::bias_correction(o.beta2, t)));
        l2 = T(f.l2);
        keep = T(f.keep);
        gradient_scale = T(f.gradient_scale);
    }
    template <class V>
    TENON_FUNCTOR void operator()(V& p, const V& gradient, V& m, V& v, V& average) const {
        const V g = impl::with_decay(p, gradient, l2, keep);
        m = V(beta1) * m + V(gain1) * g;
        v = V(beta2) * v + V(gain2) * (g * g);
        const V eta = V(rate) / (impl::optim_sqrt(v) * V(root) + V(eps));
        average = V(beta3) * average + V(gain3) * eta;
        p = p - select(average < eta, average, eta) * (V(step) * m);
    }
};

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
