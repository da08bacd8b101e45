// Losses of distances and angles between rows.
#pragma once

#include <tenon/autograd/evaluate.hpp>
#include <tenon/ops/elementwise_loss.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

// cosine_similarity<Axis>(a, b): a . b / (max(|a|, eps) max(|b|, eps)) over an axis; shapes broadcast. Derivative 0 through a
// norm below eps.
template <int Axis = 1, Expression A, Expression B>
[[nodiscard]] auto cosine_similarity(A&& a, B&& b, double eps = 1e-8) {
    const auto x = impl::as_tensor(static_cast<A&&>(a));
    const auto y = impl::as_tensor(static_cast<B&&>(b));
    const auto xx = sum<Axis>(square(x)), yy = sum<Axis>(square(y));
    return eval(sum<Axis>(x * y) * rsqrt(maximum(xx, eps * eps)) * rsqrt(maximum(yy, eps * eps)));
}
// Of rows a and b [N, D] and labels y [N]: 1 - cos where y = 1, max(0, cos - margin) where y = -1.
template <Expression A, Expression B, Expression Y, LossReduction R = Reduction>
[[nodiscard]] auto cosine_embedding_loss(A&& a, B&& b, Y&& y, double margin = 0, R reduction = {}) {
    const auto u = impl::as_tensor(static_cast<A&&>(a));
    const auto v = impl::as_tensor(static_cast<B&&>(b));
    // As PyTorch: the squares get 1e-12 rather than the norms a bound.
    const auto uu = sum<-1>(square(u)), vv = sum<-1>(square(v)), uv = sum<-1>(u * v);
    return impl::reduced_loss("cosine_embedding_loss", let(uv * rsqrt((uu + 1e-12) * (vv + 1e-12)), [&](auto c) {
        return let(static_cast<Y&&>(y), [&](auto s) { return where(s == 1, 1 - c, 0) + where(s == -1, clamp(c - margin, 0, __builtin_inf()), 0); });
    }), reduction);
}

// The p-norm of a - b + eps over the last axis; eps keeps its derivative finite. Throws ValueError unless p > 0 and finite.
template <Expression A, Expression B>
[[nodiscard]] auto pairwise_distance(A&& a, B&& b, double p = 2, double eps = 1e-6) {
    if (!(p > 0) || p == __builtin_inf()) fail<ValueError>("pairwise_distance: p is ", p, ", expected more than 0 and finite");
    const auto x = impl::as_tensor(static_cast<A&&>(a));
    const auto y = impl::as_tensor(static_cast<B&&>(b));
    if (p == 2) return eval(sqrt(sum<-1>(square(x - y + eps))));
    return eval(pow(sum<-1>(pow(abs(x - y + eps), p)), 1 / p));
}
struct TripletOptions {
    double margin = 1, p = 2, eps = 1e-6;
    bool swap = false;  // the negative counts from the anchor or the positive, whichever is nearer (Balntas et al. 2016)
};
// max(0, margin + d(anchor, positive) - d(anchor, negative)) with pairwise_distance d (Schroff et al. 2015).
template <Expression A, Expression P, Expression N, LossReduction R = Reduction>
[[nodiscard]] auto triplet_margin_loss(A&& anchor, P&& positive, N&& negative, TripletOptions options = {}, R reduction = {}) {
    const auto a = impl::as_tensor(static_cast<A&&>(anchor));
    const auto p = impl::as_tensor(static_cast<P&&>(positive));
    const auto n = impl::as_tensor(static_cast<N&&>(negative));
    const auto near = pairwise_distance(a, p, options.p, options.eps);
    auto far = pairwise_distance(a, n, options.p, options.eps);
    if (options.swap) far = minimum(far, pairwise_distance(p, n, options.p, options.eps));
    return impl::reduced_loss("triplet_margin_loss", clamp(near - far + options.margin, 0, __builtin_inf()), reduction);
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
