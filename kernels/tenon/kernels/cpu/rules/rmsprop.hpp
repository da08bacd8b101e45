// Rules that divide by a root of squared gradients, without a first moment: RMSprop, Adagrad, Adadelta. Memory moved per float
// parameter: 20 bytes (RMSprop with momentum or centred 28, with both 36), Adadelta 28.
#pragma once

#include <tenon/kernels/cpu/rules/common.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

struct RmspropOptions {
    double lr = 1e-2, lr_scale = 1;
    double alpha = 0.99, eps = 1e-8;
    double momentum = 0;
    bool centered = false;  // divides by the standard deviation: takes the square of the mean gradient off
    double weight_decay = 0;
    WeightDecay decay = WeightDecay::l2;
    bool maximize = false;
    double gradient_scale = 1;
    static void visit(auto& o, auto&& f) {
        f("lr", o.lr);
        f("lr_scale", o.lr_scale);
        f("alpha", o.alpha);
        f("eps", o.eps);
        f("momentum", o.momentum);
        f("centered", o.centered);
        f("weight_decay", o.weight_decay);
        f("decay", o.decay);
        f("maximize", o.maximize);
        f("gradient_scale", o.gradient_scale);
    }
};

// RMSprop (Tieleman and Hinton 2012; centred: Graves 2013). States: the mean square, then the momentum buffer, then the mean
// gradient, as far as there are.
template <class T, bool Momentum, bool Centered>
struct Rmsprop {
    static constexpr int states = 1 + Momentum + Centered;
    T alpha, gain, eps, momentum, rate, l2, keep, gradient_scale;
    // Throws ValueError for t < 1, options that are negative or not finite, alpha outside [0, 1).
    Rmsprop(const RmspropOptions& o, long t) {
        const impl::StepFactors f = impl::step_factors("rmsprop", t, o);
        impl::check_average("rmsprop", "alpha", o.alpha);
        impl::check_option("rmsprop", "eps", o.eps, 0);
        impl::check_option("rmsprop", "momentum", o.momentum, 0);
        alpha = T(o.alpha);
        gain = T(1 - o.alpha);
        eps = T(o.eps);
        momentum = T(o.momentum);
        rate = T(f.lr);
        l2 = T(f.l2);
        keep = T(f.keep);
        gradient_scale = T(f.gradient_scale);
    }
    template <class V>
    TENON_FUNCTOR void operator()(V& p, const V& gradient, V& v, V& second, V& third) const {
        const V g = impl::with_decay(p, gradient, l2, keep);
        v = V(alpha) * v + V(gain) * (g * g);
        V spread = v;
        if constexpr (Centered) {
            V& mean = Momentum ? third : second;
            mean = mean + V(gain) * (g - mean);
            // Rounding may bring a variance of nothing below 0.
            const V variance = v - mean * mean;
            spread = select(variance < V(0), V(0), variance);
        }
        V d = g / (impl::optim_sqrt(spread) + V(eps));
        if constexpr (Momentum) d = second = V(momentum) * second + d;
        p = p - V(rate) * d;
    }
};

struct AdagradOptions {
    double lr = 1e-2, lr_scale = 1;
    double lr_decay = 0;             // the rate at step t is lr / (1 + (t - 1) * lr_decay)
    double initial_accumulator = 0;  // what the sum of squares starts from
    double eps = 1e-10;
    double weight_decay = 0;
    WeightDecay decay = WeightDecay::l2;
    bool maximize = false;
    double gradient_scale = 1;
    static void visit(auto& o, auto&& f) {
        f("lr", o.lr);
        f("lr_scale", o.lr_scale);
        f("lr_decay", o.lr_decay);
        f("initial_accumulator", o.initial_accumulator);
        f("eps", o.eps);
        f("weight_decay", o.weight_decay);
        f("decay", o.decay);
        f("maximize", o.maximize);
        f("gradient_scale", o.gradient_scale);
    }
};

// Adagrad (Duchi, Hazan and Singer 2011). State: the sum of squares.
template <class T>
struct Adagrad {
    static constexpr int states = 1;
    T rate, eps, l2, keep, gradient_scale;
    // Throws ValueError for t < 1 and options that are negative or not finite.
    Adagrad(const AdagradOptions& o, long t) {
        const impl::StepFactors f = impl::step_factors("adagrad", t, o);
        impl::check_option("adagrad", "lr_decay", o.lr_decay, 0);
        impl::check_option("adagrad", "initial_accumulator", o.initial_accumulator, 0);
        impl::check_option("adagrad", "eps", o.eps, 0);
        rate = T(f.lr / (1 + double(t - 1) * o.lr_decay));
        eps = T(o.eps);
        l2 = T(f.l2);
        keep = T(f.keep);
        gradient_scale = T(f.gradient_scale);
    }
    template <class V>
    TENON_FUNCTOR void operator()(V& p, const V& gradient, V& sum, V&, V&) const {
        const V g = impl::with_decay(p, gradient, l2, keep);
        sum = sum + g * g;
        p = p - V(rate) * (g / (impl::optim_sqrt(sum) + V(eps)));
    }
};

struct AdadeltaOptions {
    double lr = 1, lr_scale = 1;
    double rho = 0.9, eps = 1e-6;
    double weight_decay = 0;
    WeightDecay decay = WeightDecay::l2;
    bool maximize = false;
    double gradient_scale = 1;
    static void visit(auto& o, auto&& f) {
        f("lr", o.lr);
        f("lr_scale", o.lr_scale);
        f("rho", o.rho);
        f("eps", o.eps);
        f("weight_decay", o.weight_decay);
        f("decay", o.decay);
        f("maximize", o.maximize);
        f("gradient_scale", o.gradient_scale);
    }
};

// Adadelta (Zeiler 2012); eps stands inside of both roots. States: the mean squares of gradients and of updates.
template <class T>
struct Adadelta {
    static constexpr int states = 2;
    T rate, rho, gain, eps, l2, keep, gradient_scale;
    // Throws ValueError for t < 1, options that are negative or not finite, rho outside [0, 1).
    Adadelta(const AdadeltaOptions& o, long t) {
        const impl::StepFactors f = impl::step_factors("adadelta", t, o);
        impl::check_average("adadelta", "rho", o.rho);
        impl::check_option("adadelta", "eps", o.eps, 0);
        rate = T(f.lr);
        rho = T(o.rho);
        gain = T(1 - o.rho);
        eps = T(o.eps);
        l2 = T(f.l2);
        keep = T(f.keep);
        gradient_scale = T(f.gradient_scale);
    }
    template <class V>
    TENON_FUNCTOR void operator()(V& p, const V& gradient, V& squares, V& updates, V&) const {
        const V g = impl::with_decay(p, gradient, l2, keep);
        squares = V(rho) * squares + V(gain) * (g * g);
        // One root of the quotient instead of a quotient of two.
        const V d = g * impl::optim_sqrt((updates + V(eps)) / (squares + V(eps)));
        updates = V(rho) * updates + V(gain) * (d * d);
        p = p - V(rate) * d;
    }
};

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
