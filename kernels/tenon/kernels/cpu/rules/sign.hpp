// Rules that take the sign of a gradient: Lion, Rprop. Memory moved per float parameter: 20 bytes, Rprop 28.
#pragma once

#include <tenon/kernels/cpu/rules/common.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

struct LionOptions {
    double lr = 1e-4, lr_scale = 1;
    double beta1 = 0.9, beta2 = 0.99;  // equal: Signum; both 0: signSGD (Bernstein et al. 2018)
    double weight_decay = 0;
    WeightDecay decay = WeightDecay::decoupled_torch;
    bool maximize = false;
    double gradient_scale = 1;
    static void visit(auto& o, auto&& f) {
        f("lr", o.lr);
        f("lr_scale", o.lr_scale);
        f("beta1", o.beta1);
        f("beta2", o.beta2);
        f("weight_decay", o.weight_decay);
        f("decay", o.decay);
        f("maximize", o.maximize);
        f("gradient_scale", o.gradient_scale);
    }
};

// Lion (Chen et al. 2023): the sign of one average of gradients, while another is kept; a sign of 0 is 0, of NaN NaN.
// State: m.
template <class T>
struct Lion {
    static constexpr int states = 1;
    T beta1, gain1, beta2, gain2, rate, l2, keep, gradient_scale;
    // Throws ValueError for t < 1, options that are negative or not finite, betas outside [0, 1).
    Lion(const LionOptions& o, long t) {
        const impl::StepFactors f = impl::step_factors("lion", t, o);
        impl::check_betas("lion", o.beta1, o.beta2);
        beta1 = T(o.beta1);
        gain1 = T(1 - o.beta1);
        beta2 = T(o.beta2);
        gain2 = T(1 - o.beta2);
        rate = T(f.lr);
        l2 = T(f.l2);
        keep = T(f.keep);
        gradient_scale = T(f.gradient_scale);
    }
    template <class V>
    TENON_FUNCTOR void operator()(V& p, const V& gradient, V& m, V&, V&) const {
        const V g = impl::with_decay(p, gradient, l2, keep);
        p = p - V(rate) * impl::optim_sign(V(beta1) * m + V(gain1) * g);
        m = V(beta2) * m + V(gain2) * g;
    }
};

struct RpropOptions {
    double lr = 1e-2, lr_scale = 1;  // lr: the first step of every coordinate; lr_scale multiplies each
    double shrink = 0.5, grow = 1.2;
    double least = 1e-6, most = 50;  // steps stay within
    bool maximize = false;
    double gradient_scale = 1;
    static void visit(auto& o, auto&& f) {
        f("lr", o.lr);
        f("lr_scale", o.lr_scale);
        f("shrink", o.shrink);
        f("grow", o.grow);
        f("least", o.least);
        f("most", o.most);
        f("maximize", o.maximize);
        f("gradient_scale", o.gradient_scale);
    }
};

// Rprop (Riedmiller and Braun 1993): every coordinate has a step of its own, which grows while its gradient keeps its sign
// and shrinks, without a move, when it turns. For gradients of the whole data set. States: the last gradient, the steps.
template <class T>
struct Rprop {
    static constexpr int states = 2;
    T shrink, grow, least, most, scale, gradient_scale;
    // Throws ValueError for t < 1, options that are negative or not finite, shrink outside [0, 1], grow < 1, least > most.
    Rprop(const RpropOptions& o, long t) {
        impl::check_step("rprop", t);
        impl::checked_rate("rprop", o);
        impl::check_option("rprop", "shrink", o.shrink, 0, 1);
        impl::check_option("rprop", "grow", o.grow, 1);
        impl::check_option("rprop", "least", o.least, 0);
        impl::check_option("rprop", "most", o.most, o.least);
        shrink = T(o.shrink);
        grow = T(o.grow);
        least = T(o.least);
        most = T(o.most);
        scale = T(o.lr_scale);
        gradient_scale = T((o.maximize ? -1 : 1) * o.gradient_scale);
    }
    template <class V>
    TENON_FUNCTOR void operator()(V& p, const V& gradient, V& last, V& size, V&) const {
        // The product of the signs: that of the gradients may underflow to 0.
        const V turn = impl::optim_sign(gradient) * impl::optim_sign(last);
        size = impl::optim_clamp(size * select(turn > V(0), V(grow), select(turn < V(0), V(shrink), V(1))), V(least), V(most));
        last = select(turn < V(0), V(0), gradient);
        p = p - V(scale) * (size * impl::optim_sign(last));
    }
};

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
