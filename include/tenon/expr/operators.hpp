// The elementwise operations that users write. Every one takes tensors or expressions (and numbers, where there are
// several operands), broadcasts as NumPy does, keeps the element type, and returns an expression; its derivative is
// the one of the functor named in expr/functors.hpp.
#pragma once

#include <tenon/expr/expression.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

#define TENON_BINARY_OPERATOR(symbol, functor)                                              \
    template <Operand A, Operand B>                                                         \
        requires(Expression<A> || Expression<B>)                                            \
    [[nodiscard]] auto operator symbol(A&& a, B&& b) {                                      \
        return impl::binary<fn::functor>(static_cast<A&&>(a), static_cast<B&&>(b));         \
    }
TENON_BINARY_OPERATOR(+, add)
TENON_BINARY_OPERATOR(-, sub)
TENON_BINARY_OPERATOR(*, mul)
TENON_BINARY_OPERATOR(/, div)
TENON_BINARY_OPERATOR(<, less)
TENON_BINARY_OPERATOR(<=, less_equal)
TENON_BINARY_OPERATOR(>, greater)
TENON_BINARY_OPERATOR(>=, greater_equal)
TENON_BINARY_OPERATOR(==, equal)
TENON_BINARY_OPERATOR(!=, not_equal)
#undef TENON_BINARY_OPERATOR

template <Expression A, Expression B>
[[nodiscard]] auto operator&&(A&& a, B&& b) {
    static_assert(std::is_same_v<common_scalar_t<A>, bool> && std::is_same_v<common_scalar_t<B>, bool>,
                  "tenon: && of tensors: both must be bool, such as the result of a comparison");
    return operation<fn::logical_and>(wrap_as<bool>(static_cast<A&&>(a)), wrap_as<bool>(static_cast<B&&>(b)));
}
template <Expression A, Expression B>
[[nodiscard]] auto operator||(A&& a, B&& b) {
    static_assert(std::is_same_v<common_scalar_t<A>, bool> && std::is_same_v<common_scalar_t<B>, bool>,
                  "tenon: || of tensors: both must be bool, such as the result of a comparison");
    return operation<fn::logical_or>(wrap_as<bool>(static_cast<A&&>(a)), wrap_as<bool>(static_cast<B&&>(b)));
}
template <Expression E>
[[nodiscard]] auto operator!(E&& e) {
    static_assert(std::is_same_v<common_scalar_t<E>, bool>, "tenon: ! of a tensor: it must be bool, such as the result of a comparison");
    return operation<fn::logical_not>(wrap(static_cast<E&&>(e)));
}

#define TENON_UNARY(function, functor)                        \
    template <Expression E>                                   \
    [[nodiscard]] auto function(E&& e) {                      \
        return impl::unary<fn::functor>(static_cast<E&&>(e)); \
    }
TENON_UNARY(operator-, neg)
TENON_UNARY(abs, abs)                // |x|; derivative sign(x), 0 at 0
TENON_UNARY(sign, sign)              // -1, 0 or 1 (NaN stays); derivative 0
TENON_UNARY(square, square)          // x * x
TENON_UNARY(reciprocal, reciprocal)  // 1 / x
TENON_UNARY(exp, exp)
TENON_UNARY(expm1, expm1)            // exp(x) - 1, accurate near 0
TENON_UNARY(log, log)
TENON_UNARY(log1p, log1p)            // log(1 + x), accurate near 0
TENON_UNARY(sqrt, sqrt)
TENON_UNARY(rsqrt, rsqrt)            // 1 / sqrt(x)
TENON_UNARY(tanh, tanh)
TENON_UNARY(sigmoid, sigmoid)        // 1 / (1 + exp(-x))
TENON_UNARY(relu, relu)              // max(x, 0); derivative 0 at 0
TENON_UNARY(silu, silu)              // x * sigmoid(x)
TENON_UNARY(gelu, gelu)              // x * Phi(x), exact
TENON_UNARY(gelu_tanh, gelu_tanh)    // its tanh approximation
TENON_UNARY(softplus, softplus)      // log(1 + exp(x)), without overflow
TENON_UNARY(mish, mish)              // x * tanh(softplus(x))
TENON_UNARY(hardswish, hardswish)    // x * clamp(x + 3, 0, 6) / 6
TENON_UNARY(sin, sin)
TENON_UNARY(cos, cos)
TENON_UNARY(erf, erf)
TENON_UNARY(erfc, erfc)              // 1 - erf(x), accurate in the right tail
TENON_UNARY(exp2, exp2)              // 2^x
TENON_UNARY(log2, log2)
TENON_UNARY(log10, log10)
TENON_UNARY(tan, tan)
TENON_UNARY(asin, asin)              // NaN outside of [-1, 1]
TENON_UNARY(acos, acos)
TENON_UNARY(atan, atan)
TENON_UNARY(sinh, sinh)
TENON_UNARY(cosh, cosh)
TENON_UNARY(floor, floor)            // derivative 0
TENON_UNARY(ceil, ceil)              // derivative 0
TENON_UNARY(trunc, trunc)            // towards zero; derivative 0
TENON_UNARY(round, round)            // to nearest, ties to even; derivative 0
TENON_UNARY(isnan, isnan)            // bool
TENON_UNARY(isinf, isinf)            // bool: an infinity of either sign
TENON_UNARY(isfinite, isfinite)      // bool: neither infinite nor NaN
#undef TENON_UNARY

// The smaller / larger of two, NaN if either is; a tie shares the gradient.
template <Operand A, Operand B>
    requires(Expression<A> || Expression<B>)
[[nodiscard]] auto minimum(A&& a, B&& b) { return impl::binary<fn::minimum>(static_cast<A&&>(a), static_cast<B&&>(b)); }
template <Operand A, Operand B>
    requires(Expression<A> || Expression<B>)
[[nodiscard]] auto maximum(A&& a, B&& b) { return impl::binary<fn::maximum>(static_cast<A&&>(a), static_cast<B&&>(b)); }
template <Operand A, Operand B>
    requires(Expression<A> || Expression<B>)
[[nodiscard]] auto min(A&& a, B&& b) { return impl::binary<fn::minimum>(static_cast<A&&>(a), static_cast<B&&>(b)); }
template <Operand A, Operand B>
    requires(Expression<A> || Expression<B>)
[[nodiscard]] auto max(A&& a, B&& b) { return impl::binary<fn::maximum>(static_cast<A&&>(a), static_cast<B&&>(b)); }
// x to the power p.
template <Operand A, Operand B>
    requires(Expression<A> || Expression<B>)
[[nodiscard]] auto pow(A&& x, B&& p) { return impl::binary<fn::pow>(static_cast<A&&>(x), static_cast<B&&>(p)); }
// The angle of the point (x, y), in [-pi, pi].
template <Operand A, Operand B>
    requires(Expression<A> || Expression<B>)
[[nodiscard]] auto atan2(A&& y, B&& x) { return impl::binary<fn::atan2>(static_cast<A&&>(y), static_cast<B&&>(x)); }
// sqrt(a^2 + b^2), without overflow on the way; the derivative at the origin is NaN.
template <Operand A, Operand B>
    requires(Expression<A> || Expression<B>)
[[nodiscard]] auto hypot(A&& a, B&& b) { return impl::binary<fn::hypot>(static_cast<A&&>(a), static_cast<B&&>(b)); }
// The remainder of a / b with the sign of a (fmod) or of b (remainder), of floating types; NaN for b = 0 and infinite a.
// Derivative: 1 for a, minus the quotient without its fraction for b.
template <Operand A, Operand B>
    requires(Expression<A> || Expression<B>)
[[nodiscard]] auto fmod(A&& a, B&& b) { return impl::binary<fn::fmod>(static_cast<A&&>(a), static_cast<B&&>(b)); }
template <Operand A, Operand B>
    requires(Expression<A> || Expression<B>)
[[nodiscard]] auto remainder(A&& a, B&& b) { return impl::binary<fn::remainder>(static_cast<A&&>(a), static_cast<B&&>(b)); }
// log(exp(a) + exp(b)), without overflow.
template <Operand A, Operand B>
    requires(Expression<A> || Expression<B>)
[[nodiscard]] auto logaddexp(A&& a, B&& b) { return impl::binary<fn::logaddexp>(static_cast<A&&>(a), static_cast<B&&>(b)); }
// a + weight * (b - a).
template <Expression A, Operand B, Operand W>
[[nodiscard]] auto lerp(A&& a, B&& b, W&& weight) {
    return impl::ternary<fn::lerp>(static_cast<A&&>(a), static_cast<B&&>(b), static_cast<W&&>(weight));
}
// min(max(x, low), high); gradient 1 within the bounds (both included), 0 outside.
template <Expression X, Operand L, Operand H>
[[nodiscard]] auto clamp(X&& x, L&& low, H&& high) {
    return impl::ternary<fn::clamp>(static_cast<X&&>(x), static_cast<L&&>(low), static_cast<H&&>(high));
}
// x where positive, slope * x elsewhere.
template <Expression X, Operand S = float>
[[nodiscard]] auto leaky_relu(X&& x, S&& slope = 0.01f) {
    return impl::binary<fn::leaky_relu>(static_cast<X&&>(x), static_cast<S&&>(slope));
}
// x where positive, alpha * (exp(x) - 1) elsewhere.
template <Expression X, Operand S = float>
[[nodiscard]] auto elu(X&& x, S&& alpha = 1.f) {
    return impl::binary<fn::elu>(static_cast<X&&>(x), static_cast<S&&>(alpha));
}
// Self-normalising ELU (Klambauer et al. 2017).
template <Expression X>
[[nodiscard]] auto selu(X&& x) { return elu(static_cast<X&&>(x), 1.6732632423543772) * 1.0507009873554805; }

// condition ? a : b per element; a NaN or infinity of the branch not taken does not reach a gradient.
template <Expression C, Operand A, Operand B>
    requires(Expression<A> || Expression<B>)
[[nodiscard]] auto where(C&& condition, A&& a, B&& b) {
    static_assert(std::is_same_v<common_scalar_t<C>, bool>, "tenon: where(condition, a, b): the condition must be bool, such as x > 0");
    using T = common_scalar_t<A, B>;
    if constexpr (Expression<A> && Expression<B>)
        static_assert(std::is_same_v<common_scalar_t<A>, common_scalar_t<B>>,
                      "tenon: where(condition, a, b): a and b have different element types: write cast<T>(x) on one of them");
    return operation<fn::where>(wrap(static_cast<C&&>(condition)), wrap_as<T>(static_cast<A&&>(a)), wrap_as<T>(static_cast<B&&>(b)));
}

// The values as element type T, as static_cast does; the gradient is cast back.
template <Element T, Expression E>
[[nodiscard]] auto cast(E&& e) {
    return operation<fn::cast<T>>(wrap(static_cast<E&&>(e)));
}

// let(e, [](auto v) { ... }): computes e once per element and uses it as v several times.
template <Expression E, class F>
[[nodiscard]] auto let(E&& e, F&& f) {
    using Tag = std::remove_cvref_t<F>;
    auto value = wrap(static_cast<E&&>(e));
    using Value = decltype(value);
    Reference<Tag, typename Value::Scalar, Value::rank> reference;
    for (int i = 0; i < Value::rank; ++i) reference.sizes.dims[i] = value.dims()[i];
    reference.where = value.device();
    auto body = wrap(f(reference));
    return LetExpression<Tag, Value, decltype(body)>(static_cast<Value&&>(value), static_cast<decltype(body)&&>(body));
}

// custom(f, df): the function x -> f(x) whose derivative is df(x, y, dy), both written as lambdas over placeholders that
// are called once. Tensors that they capture are constants to it.
template <class F, class D>
struct CustomFunction {
    F f;
    D df;
    template <Expression E>
    [[nodiscard]] auto operator()(E&& e) const {
        auto argument = wrap(static_cast<E&&>(e));
        using A = decltype(argument);
        using T = typename A::Scalar;
        Shape<A::rank> sizes;
        for (int i = 0; i < A::rank; ++i) sizes.dims[i] = argument.dims()[i];
        const Reference<F, T, A::rank> x{{}, sizes, argument.device()};
        auto value = wrap(f(x));
        static_assert(std::is_same_v<typename decltype(value)::Scalar, T>, "tenon: custom(f, df): f must keep the element type");
        const Reference<YTag<F>, T, A::rank> y{{}, sizes, argument.device()};
        const Reference<DyTag<F>, T, A::rank> dy{{}, sizes, argument.device()};
        auto derivative = wrap(df(x, y, dy));
        static_assert(std::is_same_v<typename decltype(derivative)::Scalar, T>, "tenon: custom(f, df): df must keep the element type");
        return CustomExpression<F, A, decltype(value), decltype(derivative)>(
            static_cast<A&&>(argument), static_cast<decltype(value)&&>(value), static_cast<decltype(derivative)&&>(derivative));
    }
};
template <class F, class D>
[[nodiscard]] CustomFunction<F, D> custom(F f, D df) { return {f, df}; }

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
