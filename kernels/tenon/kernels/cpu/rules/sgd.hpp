// Stochastic gradient descent, with momentum, dampening and Nesterov's look ahead; its average. Memory moved per float
// parameter: 12 bytes, with momentum or the average 20.
#pragma once

#include <tenon/kernels/cpu/rules/common.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

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
    // f(name, option) for each of them.
    static void visit(auto& o, auto&& f) {
        f("lr", o.lr);
        f("lr_scale", o.lr_scale);
        f("momentum", o.momentum);
        f("dampening", o.dampening);
        f("nesterov", o.nesterov);
        f("weight_decay", o.weight_decay);
        f("decay", o.decay);
        f("maximize", o.maximize);
        f("gradient_scale", o.gradient_scale);
        f("bias_corrected", o.bias_corrected);
    }
};

// What a step needs, in double, for one value of t.
struct SgdScalars {
    double step, momentum, buffer_keep, buffer_gain, l2, keep, gradient_scale;
    bool nesterov;
};

// The scalars of step t (counted from 1) of SGD. The first step's buffer is g itself, without dampening.
// Throws ValueError for t < 1, options that are negative or not finite, and for Nesterov without momentum or with dampening.
inline SgdScalars sgd_scalars(long t, const SgdOptions& o) {
    const impl::StepFactors f = impl::step_factors("sgd", t, o);
    if (o.nesterov && !(o.momentum > 0 && o.dampening == 0))
        fail<ValueError>("sgd: nesterov needs momentum > 0 and dampening 0, got momentum ", o.momentum, " and dampening ",
                         o.dampening);
    if (!(o.momentum >= 0) || !impl::optim_finite(o.momentum) || !impl::optim_finite(o.dampening))
        fail<ValueError>("sgd: expected a finite momentum of at least 0 and a finite dampening, got ", o.momentum, " and ", o.dampening);
    if (o.bias_corrected) {
        impl::check_average("sgd", "momentum with bias_corrected", o.momentum);
        return {f.lr / impl::bias_correction(o.momentum, t), o.momentum, o.momentum, 1 - o.momentum, f.l2, f.keep, f.gradient_scale, o.nesterov};
    }
    return {f.lr, o.momentum, t == 1 ? 0 : o.momentum, t == 1 ? 1 : 1 - o.dampening, f.l2, f.keep, f.gradient_scale, o.nesterov};
}

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

struct AsgdOptions {
    double lr = 1e-2, lr_scale = 1;
    double lambd = 1e-4, alpha = 0.75;  // the rate at step t is lr / (1 + lambd * lr * (t - 1))^alpha, and p *= 1 - lambd * rate before it
    double t0 = 1e6;                    // the average follows the parameter until then
    double weight_decay = 0;
    WeightDecay decay = WeightDecay::l2;
    bool maximize = false;
    double gradient_scale = 1;
    static void visit(auto& o, auto&& f) {
        f("lr", o.lr);
        f("lr_scale", o.lr_scale);
        f("lambd", o.lambd);
        f("alpha", o.alpha);
        f("t0", o.t0);
        f("weight_decay", o.weight_decay);
        f("decay", o.decay);
        f("maximize", o.maximize);
        f("gradient_scale", o.gradient_scale);
    }
};

// Averaged SGD (Polyak and Juditsky 1992), as PyTorch has it. State: the average of the parameter since step t0.
template <class T>
struct Asgd {
    static constexpr int states = 1;
    T rate, shrink, share, l2, keep, gradient_scale;
    // Throws ValueError for t < 1 and options that are negative or not finite.
    Asgd(const AsgdOptions& o, long t) {
        const impl::StepFactors f = impl::step_factors("asgd", t, o);
        impl::check_option("asgd", "lambd", o.lambd, 0);
        impl::check_option("asgd", "alpha", o.alpha, 0);
        impl::check_option("asgd", "t0", o.t0, 0);
        const double before = double(t - 1), now = f.lr / __builtin_pow(1 + o.lambd * f.lr * before, o.alpha);
        rate = T(now);
        shrink = T(1 - o.lambd * now);
        share = T(before - o.t0 > 1 ? 1 / (before - o.t0) : 1);
        l2 = T(f.l2);
        keep = T(f.keep);
        gradient_scale = T(f.gradient_scale);
    }
    template <class V>
    TENON_FUNCTOR void operator()(V& p, const V& gradient, V& average, V&, V&) const {
        const V g = impl::with_decay(p, gradient, l2, keep);
        p = p * V(shrink) - V(rate) * g;
        average = share == T(1) ? p : average + V(share) * (p - average);
    }
};

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
