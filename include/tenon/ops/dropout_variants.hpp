// Dropout of whole features, and the one that keeps mean and variance of self-normalising networks.
#pragma once

#include <tenon/ops/dropout.hpp>
#include <tenon/ops/random.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

template <int R>
Tensor<bool, R> kept(const char* operation, const long* dims, Device device, Key key, double p) {
    if (!(p >= 0 && p <= 1)) fail<ValueError>(operation, ": probability ", p, ", expected 0 to 1");
    return Tensor<bool, R>(random<bool>(operation, R, dims, device, [&](long n, bool* out) { TENON_RUN(device, bernoulli(key, n, out, 1 - p)); }));
}

}  // namespace impl

// feature_dropout(x[n, c, ...], p, key): sets whole features (everything behind the first two axes) to 0 with probability p and
// divides the others by 1 - p (Tompson et al. 2015). The same key gives the same features. Floating types; throws ValueError
// where p is not in [0, 1]. Derivative: the same for the gradient.
template <Expression E>
[[nodiscard]] auto feature_dropout(E&& e, double p, Key key) {
    const auto x = impl::as_tensor(static_cast<E&&>(e));
    using X = std::remove_const_t<decltype(x)>;
    static_assert(X::rank >= 2, "tenon: feature_dropout: the input must be [n, c] or [n, c, ...]");
    static_assert(Floating<typename X::Scalar>, "tenon: feature_dropout: defined for floating-point tensors: write cast<float>(x) first");
    long dims[X::rank];
    for (int i = 0; i < X::rank; ++i) dims[i] = i < 2 ? x.shape(i) : 1;
    return eval(where(impl::kept<X::rank>("feature_dropout", dims, x.device(), key, p), x * (p < 1 ? 1 / (1 - p) : 0), 0));
}
// alpha_dropout(x, p, key): sets each element to the limit of SELU at -inf with probability p, then scales and shifts all so that
// mean 0 and variance 1 stay (Klambauer et al. 2017). Floating types; throws ValueError where p is not in [0, 1]; p = 1 gives
// zeros. Derivative: the factor where kept, 0 elsewhere.
template <Expression E>
[[nodiscard]] auto alpha_dropout(E&& e, double p, Key key) {
    const auto x = impl::as_tensor(static_cast<E&&>(e));
    using X = std::remove_const_t<decltype(x)>;
    static_assert(Floating<typename X::Scalar>, "tenon: alpha_dropout: defined for floating-point tensors: write cast<float>(x) first");
    constexpr double limit = -1.7580993408473766;
    const double a = p < 1 ? 1 / __builtin_sqrt((1 - p) * (1 + p * limit * limit)) : 0;
    return eval(where(impl::kept<X::rank>("alpha_dropout", x.record()->dims(), x.device(), key, p), x * a, a * limit) - a * limit * p);
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
