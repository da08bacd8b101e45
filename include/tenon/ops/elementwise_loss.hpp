// Losses that are a formula per element: one fused loop each way, whatever the reduction.
//
// x is the prediction and t the target, tensors or expressions (or a number, one of the two); shapes broadcast. All are
// differentiable in both, as often as their functors are. The last argument says how the elements become a loss:
// Reduction::mean (the default), sum, batch_mean, or no_reduction for an expression.
#pragma once

#include <tenon/expr/operators.hpp>
#include <tenon/ops/loss_reduction.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

namespace fn {
// Of a probability x and a target t: -(t log x + (1 - t) log(1 - x)), each logarithm at least -100. The derivative is
// PyTorch's: (x - t) / max(x (1 - x), 1e-12) in x (the float 1e-12), log(1 - x) - log(x) in t.
struct binary_cross_entropy : FloatingFunctor {
    static constexpr const char* name = "binary_cross_entropy";
    static constexpr auto needs = tenon::needs::inputs;
    template <class V>
    static TENON_FUNCTOR auto f(const V& x, const V& t) {
        return (t - V(1)) * math::max(math::log1p(-x), V(-100)) - t * math::max(math::log(x), V(-100));
    }
    template <class V>
    static TENON_FUNCTOR auto vjp(const V& x, const V& t, const V&, const V& dy) {
        return Gradients2<V, V>{dy * ((x - t) / math::max(x * (V(1) - x), V(0x1.197998p-40))), dy * (math::log1p(-x) - math::log(x))};
    }
};
}  // namespace fn

// (x - t)^2.
template <Operand X, Operand T, LossReduction R = Reduction>
    requires(Expression<X> || Expression<T>)
[[nodiscard]] auto mse_loss(X&& x, T&& t, R reduction = {}) {
    return impl::reduced_loss("mse_loss", square(static_cast<X&&>(x) - static_cast<T&&>(t)), reduction);
}
// |x - t|; derivative 0 where they are equal.
template <Operand X, Operand T, LossReduction R = Reduction>
    requires(Expression<X> || Expression<T>)
[[nodiscard]] auto l1_loss(X&& x, T&& t, R reduction = {}) {
    return impl::reduced_loss("l1_loss", abs(static_cast<X&&>(x) - static_cast<T&&>(t)), reduction);
}
// With d = |x - t|: d^2 / (2 beta) below beta, d - beta / 2 from there on (Girshick 2015); beta = 0 is the L1 loss. Throws
// ValueError on beta < 0.
template <Operand X, Operand T, LossReduction R = Reduction>
    requires(Expression<X> || Expression<T>)
[[nodiscard]] auto smooth_l1_loss(X&& x, T&& t, double beta = 1, R reduction = {}) {
    if (!(beta >= 0)) fail<ValueError>("smooth_l1_loss: beta is ", beta, ", expected 0 or more");
    const double factor = beta > 0 ? 0.5 / beta : 0;
    return impl::reduced_loss("smooth_l1_loss", let(abs(static_cast<X&&>(x) - static_cast<T&&>(t)), [=](auto d) { return where(d < beta, square(d) * factor, d - 0.5 * beta); }), reduction);
}
// With d = |x - t|: d^2 / 2 up to delta, delta (d - delta / 2) beyond (Huber 1964). Throws ValueError unless delta > 0.
template <Operand X, Operand T, LossReduction R = Reduction>
    requires(Expression<X> || Expression<T>)
[[nodiscard]] auto huber_loss(X&& x, T&& t, double delta = 1, R reduction = {}) {
    if (!(delta > 0)) fail<ValueError>("huber_loss: delta is ", delta, ", expected more than 0");
    return impl::reduced_loss("huber_loss", let(abs(static_cast<X&&>(x) - static_cast<T&&>(t)), [=](auto d) { return where(d < delta, square(d) * 0.5, (d - 0.5 * delta) * delta); }), reduction);
}

// -(t log x + (1 - t) log(1 - x)) of probabilities x in [0, 1] (outside: NaN); the logarithms are at least -100. weight: a
// factor per element, broadcast.
template <Operand X, Operand T, LossReduction R = Reduction>
    requires(Expression<X> || Expression<T>)
[[nodiscard]] auto binary_cross_entropy(X&& x, T&& t, R reduction = {}) {
    return impl::reduced_loss("binary_cross_entropy", impl::binary<fn::binary_cross_entropy>(static_cast<X&&>(x), static_cast<T&&>(t)), reduction);
}
template <Operand X, Operand T, Operand W, LossReduction R = Reduction>
    requires(Expression<X> || Expression<T>)
[[nodiscard]] auto binary_cross_entropy(X&& x, T&& t, W&& weight, R reduction = {}) {
    return impl::reduced_loss("binary_cross_entropy", impl::binary<fn::binary_cross_entropy>(static_cast<X&&>(x), static_cast<T&&>(t)) * static_cast<W&&>(weight), reduction);
}
// The same of logits, p = sigmoid(x): (1 - t) x + log(1 + e^-x), without overflow.
template <Expression X, Expression T, LossReduction R = Reduction>
[[nodiscard]] auto binary_cross_entropy_with_logits(X&& x, T&& t, R reduction = {}) {
    return impl::reduced_loss("binary_cross_entropy_with_logits",
                              let(static_cast<X&&>(x), [&](auto v) { return (1 - static_cast<T&&>(t)) * v + softplus(-v); }), reduction);
}
template <Expression X, Expression T, Operand W, LossReduction R = Reduction>
[[nodiscard]] auto binary_cross_entropy_with_logits(X&& x, T&& t, W&& weight, R reduction = {}) {
    return impl::reduced_loss("binary_cross_entropy_with_logits",
                              let(static_cast<X&&>(x), [&](auto v) { return (1 - static_cast<T&&>(t)) * v + softplus(-v); }) * static_cast<W&&>(weight), reduction);
}
// pos_weight: a factor for the positive term t log p, broadcast (one for each class, say). weight may be the number 1.
template <Expression X, Expression T, Operand W, Operand P, LossReduction R = Reduction>
[[nodiscard]] auto binary_cross_entropy_with_logits(X&& x, T&& t, W&& weight, P&& pos_weight, R reduction = {}) {
    return impl::reduced_loss(
        "binary_cross_entropy_with_logits",
        let(static_cast<X&&>(x), [&](auto v) {
            return let(static_cast<T&&>(t), [&](auto u) { return (1 - u) * v + ((static_cast<P&&>(pos_weight) - 1) * u + 1) * softplus(-v); });
        }) * static_cast<W&&>(weight),
        reduction);
}

struct LogTarget {};
// kl_div(x, t, log_target): the target, too, is given as logarithms.
inline constexpr LogTarget log_target{};

// Kullback-Leibler divergence of the target from the prediction, which is given as logarithms: t (log t - x), -t x where t is
// 0. As in PyTorch the mean is over elements; the divergence of the definition is Reduction::batch_mean.
template <Expression X, Expression T, LossReduction R = Reduction>
[[nodiscard]] auto kl_div(X&& x, T&& t, R reduction = {}) {
    return impl::reduced_loss("kl_div",
                              let(static_cast<T&&>(t), [&](auto u) { return where(u == 0, 0, u * log(u)) - u * static_cast<X&&>(x); }), reduction);
}
// exp(t) (t - x).
template <Expression X, Expression T, LossReduction R = Reduction>
[[nodiscard]] auto kl_div(X&& x, T&& t, LogTarget, R reduction = {}) {
    return impl::reduced_loss("kl_div", let(static_cast<T&&>(t), [&](auto u) { return exp(u) * (u - static_cast<X&&>(x)); }), reduction);
}

// Of distances x and labels y: x where y = 1, max(0, margin - x) where y = -1 (Hadsell et al. 2006).
template <Expression X, Expression Y, LossReduction R = Reduction>
[[nodiscard]] auto hinge_embedding_loss(X&& x, Y&& y, double margin = 1, R reduction = {}) {
    return impl::reduced_loss("hinge_embedding_loss", let(static_cast<X&&>(x), [&](auto v) {
        return let(static_cast<Y&&>(y), [&](auto s) { return where(s != -1, v, 0) + where(s != 1, clamp(margin - v, 0, __builtin_inf()), 0); });
    }), reduction);
}
// max(0, margin - y (a - b)): with y = 1 a should rank above b, with y = -1 below.
template <Expression A, Operand B, Operand Y, LossReduction R = Reduction>
[[nodiscard]] auto margin_ranking_loss(A&& a, B&& b, Y&& y, double margin = 0, R reduction = {}) {
    return impl::reduced_loss("margin_ranking_loss",
                              clamp(margin - static_cast<Y&&>(y) * (static_cast<A&&>(a) - static_cast<B&&>(b)), 0, __builtin_inf()), reduction);
}
// log(1 + exp(-y x)) with y = 1 or -1, without overflow.
template <Expression X, Operand Y, LossReduction R = Reduction>
[[nodiscard]] auto soft_margin_loss(X&& x, Y&& y, R reduction = {}) {
    return impl::reduced_loss("soft_margin_loss", softplus(-(static_cast<X&&>(x) * static_cast<Y&&>(y))), reduction);
}

struct GaussianNllOptions {
    bool full = false;   // with the constant log(2 pi) / 2
    double eps = 1e-6;   // least variance
};
// Negative logarithm of a Gaussian with mean x and variance v at t: (log v + (x - t)^2 / v) / 2 (Nix and Weigend 1994). Variances
// below eps count as eps, and pass their gradient on (as PyTorch's). Throws ValueError unless eps > 0.
template <Expression X, Expression T, Operand V, LossReduction R = Reduction>
[[nodiscard]] auto gaussian_nll_loss(X&& x, T&& t, V&& variance, GaussianNllOptions options = {}, R reduction = {}) {
    if (!(options.eps > 0)) fail<ValueError>("gaussian_nll_loss: eps is ", options.eps, ", expected more than 0");
    const double constant = options.full ? 0.91893853320467274178 : 0;
    const auto at_least_eps = custom([eps = options.eps](auto v) { return maximum(v, eps); }, [](auto, auto, auto dy) { return dy; });
    return impl::reduced_loss("gaussian_nll_loss", let(at_least_eps(static_cast<V&&>(variance)), [&](auto v) {
        return (log(v) + square(static_cast<X&&>(x) - static_cast<T&&>(t)) / v) * 0.5 + constant;
    }), reduction);
}

struct PoissonNllOptions {
    bool full = false;   // with Stirling's approximation of log t! for t > 1
    double eps = 1e-8;   // added to x before its logarithm
};
// Negative logarithm of a Poisson distribution at t: exp(x) - t x where x is the logarithm of the rate ...
template <Expression X, Expression T, LossReduction R = Reduction>
[[nodiscard]] auto poisson_nll_loss(X&& x, T&& t, PoissonNllOptions options = {}, R reduction = {}) {
    const double from = options.full ? 1 : __builtin_inf();
    return impl::reduced_loss("poisson_nll_loss", let(static_cast<X&&>(x), [&](auto v) {
        return let(static_cast<T&&>(t), [&](auto u) { return exp(v) - u * v + where(u > from, u * log(u) - u + log(u * 6.28318530717958647692) * 0.5, 0); });
    }), reduction);
}
// ... and x - t log(x + eps) where x is the rate.
template <Expression X, Expression T, LossReduction R = Reduction>
[[nodiscard]] auto poisson_nll_loss_of_rate(X&& x, T&& t, PoissonNllOptions options = {}, R reduction = {}) {
    const double from = options.full ? 1 : __builtin_inf();
    return impl::reduced_loss("poisson_nll_loss", let(static_cast<X&&>(x), [&](auto v) {
        return let(static_cast<T&&>(t), [&](auto u) { return v - u * log(v + options.eps) + where(u > from, u * log(u) - u + log(u * 6.28318530717958647692) * 0.5, 0); });
    }), reduction);
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
