// Rules whose rate depends on norms over a whole parameter: LARS and LAMB. Two passes: the first brings the state up to date
// and gives the two numbers of each element whose squares are added up, the second moves the parameter by the ratio of the
// sums. Memory moved per float parameter: LARS 28 bytes, LAMB 40 (a parameter that stays in cache: 20 and 28).
#pragma once

#include <tenon/kernels/cpu/rules/common.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

struct LarsOptions {
    double lr = 1e-1, lr_scale = 1;
    double momentum = 0.9, dampening = 0;
    bool nesterov = false;
    double trust = 1e-3, eps = 1e-8;
    bool vectors = false;  // has the ratio on parameters of fewer than two axes, too (biases, the weights of norms)
    double weight_decay = 0;
    bool maximize = false;
    double gradient_scale = 1;
    static void visit(auto& o, auto&& f) {
        f("lr", o.lr);
        f("lr_scale", o.lr_scale);
        f("momentum", o.momentum);
        f("dampening", o.dampening);
        f("nesterov", o.nesterov);
        f("trust", o.trust);
        f("eps", o.eps);
        f("vectors", o.vectors);
        f("weight_decay", o.weight_decay);
        f("maximize", o.maximize);
        f("gradient_scale", o.gradient_scale);
    }
};

// LARS (You, Gitman and Ginsburg 2017): SGD with momentum, of gradients that are scaled by
// trust * |p| / (|g| + weight_decay * |p| + eps); 1 where one of the norms is 0. State: the momentum buffer.
template <class T>
struct Lars {
    static constexpr int states = 1;
    // Does the first pass read and write the state, and the second read the gradient?
    static constexpr bool writes_state = false, reads_gradient = true;
    double trust, decay, eps64;
    T rate, momentum, buffer_keep, buffer_gain, l2, gradient_scale;
    bool nesterov;
    // Throws ValueError for t < 1, options that are negative or not finite, Nesterov without momentum or with dampening.
    Lars(const LarsOptions& o, long t) {
        impl::check_step("lars", t);
        const double lr = impl::checked_rate("lars", o);
        impl::check_option("lars", "momentum", o.momentum, 0);
        impl::check_option("lars", "dampening", o.dampening, 0);
        impl::check_option("lars", "trust", o.trust, 0);
        impl::check_option("lars", "eps", o.eps, 0);
        impl::check_option("lars", "weight_decay", o.weight_decay, 0);
        if (o.nesterov && !(o.momentum > 0 && o.dampening == 0))
            fail<ValueError>("lars: nesterov needs momentum > 0 and dampening 0, got momentum ", o.momentum, " and dampening ", o.dampening);
        trust = o.trust;
        decay = o.weight_decay;
        eps64 = o.eps;
        rate = T(lr);
        momentum = T(o.momentum);
        buffer_keep = T(t == 1 ? 0 : o.momentum);
        buffer_gain = T(t == 1 ? 1 : 1 - o.dampening);
        l2 = T(o.weight_decay);
        gradient_scale = T((o.maximize ? -1 : 1) * o.gradient_scale);
        nesterov = o.nesterov;
    }
    template <class V>
    TENON_FUNCTOR void measure(const V& p, const V& g, V&, V&, V&, V& first, V& second) const {
        first = p;
        second = g;
    }
    TENON_FUNCTOR T ratio(double parameters, double gradients) const {
        if (parameters == 0 || gradients == 0) return T(1);
        const double p = impl::optim_sqrt(parameters), g = impl::optim_sqrt(gradients);
        return T(trust * p / (g + decay * p + eps64));
    }
    template <class V>
    TENON_FUNCTOR void move(V& p, const V& gradient, V& buffer, V&, V&, const V& factor) const {
        V g = factor * (gradient + V(l2) * p);
        buffer = V(buffer_keep) * buffer + V(buffer_gain) * g;
        if (nesterov) g = g + V(momentum) * buffer;
        else g = buffer;
        p = p - V(rate) * g;
    }
};

struct LambOptions {
    double lr = 1e-3, lr_scale = 1;
    double beta1 = 0.9, beta2 = 0.999, eps = 1e-6;
    bool bias_correction = true;
    bool vectors = true;  // has the ratio on parameters of fewer than two axes, too
    double weight_decay = 0;
    bool maximize = false;
    double gradient_scale = 1;
    static void visit(auto& o, auto&& f) {
        f("lr", o.lr);
        f("lr_scale", o.lr_scale);
        f("beta1", o.beta1);
        f("beta2", o.beta2);
        f("eps", o.eps);
        f("bias_correction", o.bias_correction);
        f("vectors", o.vectors);
        f("weight_decay", o.weight_decay);
        f("maximize", o.maximize);
        f("gradient_scale", o.gradient_scale);
    }
};

// LAMB (You et al. 2020): Adam's step u with weight decay in it, times |p| / |u|; times 1 where one of the norms is 0.
// States: m, v.
template <class T>
struct Lamb {
    static constexpr int states = 2;
    static constexpr bool writes_state = true, reads_gradient = false;
    T beta1, gain1, beta2, gain2, eps, first_root, second_root, rate, decay, gradient_scale;
    // Throws ValueError for t < 1, options that are negative or not finite, betas outside [0, 1).
    Lamb(const LambOptions& o, long t) {
        impl::check_step("lamb", t);
        const double lr = impl::checked_rate("lamb", o);
        impl::check_betas("lamb", o.beta1, o.beta2);
        impl::check_option("lamb", "eps", o.eps, 0);
        impl::check_option("lamb", "weight_decay", o.weight_decay, 0);
        beta1 = T(o.beta1);
        gain1 = T(1 - o.beta1);
        beta2 = T(o.beta2);
        gain2 = T(1 - o.beta2);
        eps = T(o.eps);
        first_root = T(o.bias_correction ? 1 / impl::bias_correction(o.beta1, t) : 1);
        second_root = T(o.bias_correction ? 1 / __builtin_sqrt(impl::bias_correction(o.beta2, t)) : 1);
        rate = T(lr);
        decay = T(o.weight_decay);
        gradient_scale = T((o.maximize ? -1 : 1) * o.gradient_scale);
    }
    template <class V>
    TENON_FUNCTOR V update(const V& p, const V& m, const V& v) const {
        return (V(first_root) * m) / (impl::optim_sqrt(v) * V(second_root) + V(eps)) + V(decay) * p;
    }
    template <class V>
    TENON_FUNCTOR void measure(const V& p, const V& g, V& m, V& v, V&, V& first, V& second) const {
        m = V(beta1) * m + V(gain1) * g;
        v = V(beta2) * v + V(gain2) * (g * g);
        first = p;
        second = update(p, m, v);
    }
    TENON_FUNCTOR T ratio(double parameters, double updates) const {
        if (parameters == 0 || updates == 0) return T(1);
        return T(impl::optim_sqrt(parameters / updates));
    }
    template <class V>
    TENON_FUNCTOR void move(V& p, const V&, V& m, V& v, V&, const V& factor) const { p = p - V(rate) * (factor * update(p, m, v)); }
};

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
