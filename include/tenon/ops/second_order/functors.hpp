// What second derivatives do with one functor over a block of elements: its value and tangent, and what its derivative
// adds to the gradients of its arguments, with the tangent of that.
//
// Functors act per element, so their Jacobian is diagonal and the product with it is the same in both directions: the
// tangent of y along t is the sum over arguments of vjp(x..., y, t_i), and the derivative of vjp is vjp on dual numbers.
#pragma once

#include <tenon/expr/dual.hpp>
#include <tenon/expr/formula.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

// Positions of a step's operands. Masks are int32 lanes (0 or -1), integers of any type int64.
struct StepOperand {
    enum : int { x = 0, tangent = 3, y = 6, y_tangent = 7, dy = 8, dy_tangent = 9, dx = 10, dx_tangent = 13, count = 16 };
};

template <class Fn, class V>
constexpr int arity() {
    if constexpr (requires(const V& v) { Fn::f(v); }) return 1;
    else if constexpr (requires(const V& v) { Fn::f(v, v); }) return 2;
    else if constexpr (requires(const V& v) { Fn::f(v, v, v); }) return 3;
    else return 0;
}

// The derivative with respect to every argument, whatever form the functor gives it in.
template <class V>
struct Adjoint1 { V a; };
template <class Fn, class V>
TENON_ALWAYS_INLINE auto functor_vjp(const V& x, const V& y, const V& dy) {
    if constexpr (requires { Fn::vjp(x, y, dy); }) return Adjoint1<V>{Fn::vjp(x, y, dy)};
    else return Adjoint1<V>{dy * Fn::df(x, y)};
}

// A gradient that does not move adds nothing, also where the derivative is infinite.
template <class Fn, class V>
TENON_ALWAYS_INLINE auto functor_vjp(const Dual<V>& x, const Dual<V>& y, const Dual<V>& dy) {
    if constexpr (requires { Fn::vjp(x, y, dy); }) {
        return Adjoint1<Dual<V>>{Fn::vjp(x, y, dy)};
    } else {
        const Dual<V> d = Fn::df(x, y);
        return Adjoint1<Dual<V>>{Dual<V>(dy.v * d.v, select(dy.t == V(0), V(0), dy.t * d.v) + dy.v * d.t)};
    }
}

template <class T, int L>
TENON_ALWAYS_INLINE simd<T, L> load_step(const char* base, long i) {
    return simd<T, L>::load(reinterpret_cast<const T*>(base) + i);
}
template <class T, int L>
TENON_ALWAYS_INLINE void store_step(char* base, long i, const simd<T, L>& v) {
    v.store(reinterpret_cast<T*>(base) + i);
}
template <int S, int L>
TENON_ALWAYS_INLINE void store_step(char* base, long i, const simd_mask<S, L>& m) {
    const auto narrow = m.template as<4>();
    simd<std::int32_t, L>(typename simd<std::int32_t, L>::Raw(narrow.v)).store(reinterpret_cast<std::int32_t*>(base) + i);
}
template <int L>
TENON_ALWAYS_INLINE simd_mask<4, L> load_mask(const char* base, long i) {
    return simd_mask<4, L>(typename simd_mask<4, L>::Raw(simd<std::int32_t, L>::load(reinterpret_cast<const std::int32_t*>(base) + i).v));
}
template <class T, int L>
TENON_ALWAYS_INLINE void add_step(char* base, long i, const simd<T, L>& v) {
    if (base != nullptr) store_step<T, L>(base, i, load_step<T, L>(base, i) + v);
}

template <class Fn, class T>
struct TangentLoop {
    template <int L>
    static TENON_ALWAYS_INLINE void run(char* const* p, long n, bool given) {
        using O = StepOperand;
        using V = simd<T, L>;
        for (long i = 0; i < n; i += L) {
            if constexpr (std::is_same_v<Fn, fn::where>) {
                const auto m = load_mask<L>(p[O::x], i);
                store_step<T, L>(p[O::y], i, select(m, load_step<T, L>(p[O::x + 1], i), load_step<T, L>(p[O::x + 2], i)));
                if (p[O::y_tangent] == nullptr) continue;
                V b(0), c(0);
                if (p[O::tangent + 1] != nullptr) b = load_step<T, L>(p[O::tangent + 1], i);
                if (p[O::tangent + 2] != nullptr) c = load_step<T, L>(p[O::tangent + 2], i);
                store_step<T, L>(p[O::y_tangent], i, select(m, b, c));
            } else if constexpr (std::is_same_v<Fn, fn::logical_not>) {
                store_step(p[O::y], i, ~load_mask<L>(p[O::x], i));
            } else if constexpr (std::is_same_v<Fn, fn::logical_and> || std::is_same_v<Fn, fn::logical_or>) {
                store_step(p[O::y], i, Fn::f(load_mask<L>(p[O::x], i), load_mask<L>(p[O::x + 1], i)));
            } else {
                constexpr int count = arity<Fn, V>();
                V a = load_step<T, L>(p[O::x], i), b = a, c = a;
                if constexpr (count > 1) b = load_step<T, L>(p[O::x + 1], i);
                if constexpr (count > 2) c = load_step<T, L>(p[O::x + 2], i);
                const auto value = [&] {
                    if constexpr (count == 1) return Fn::f(a);
                    else if constexpr (count == 2) return Fn::f(a, b);
                    else return Fn::f(a, b, c);
                };
                if constexpr (!formula::differentiable<Fn>() || !std::is_floating_point_v<T>) {
                    store_step(p[O::y], i, value());
                } else {
                    V y;
                    if (given) y = load_step<T, L>(p[O::y], i);
                    else store_step<T, L>(p[O::y], i, y = value());
                    if (p[O::y_tangent] == nullptr) continue;
                    V t(0);
                    const auto along = [&](int k) { return load_step<T, L>(p[O::tangent + k], i); };
                    if (p[O::tangent] != nullptr) {
                        if constexpr (count == 1) t = functor_vjp<Fn>(a, y, along(0)).a;
                        else if constexpr (count == 2) t = Fn::vjp(a, b, y, along(0)).a;
                        else t = Fn::vjp(a, b, c, y, along(0)).a;
                    }
                    if constexpr (count > 1)
                        if (p[O::tangent + 1] != nullptr) {
                            if constexpr (count == 2) t = t + Fn::vjp(a, b, y, along(1)).b;
                            else t = t + Fn::vjp(a, b, c, y, along(1)).b;
                        }
                    if constexpr (count > 2)
                        if (p[O::tangent + 2] != nullptr) t = t + Fn::vjp(a, b, c, y, along(2)).c;
                    store_step<T, L>(p[O::y_tangent], i, t);
                }
            }
        }
    }
};

// Tangents that are not there point to zeros.
template <class Fn, class T>
struct AdjointLoop {
    template <int L>
    static TENON_ALWAYS_INLINE void run(char* const* p, long n, bool) {
        using O = StepOperand;
        using V = simd<T, L>;
        using D = Dual<V>;
        for (long i = 0; i < n; i += L) {
            const auto dual = [&](int value, int tangent) { return D(load_step<T, L>(p[value], i), load_step<T, L>(p[tangent], i)); };
            const D dy = dual(O::dy, O::dy_tangent);
            const auto add = [&](int k, const D& g) {
                add_step<T, L>(p[O::dx + k], i, g.v);
                add_step<T, L>(p[O::dx_tangent + k], i, g.t);
            };
            if constexpr (std::is_same_v<Fn, fn::where>) {
                const auto m = load_mask<L>(p[O::x], i);
                add(1, select(m, dy, D(0)));
                add(2, select(m, D(0), dy));
            } else {
                const D y = dual(O::y, O::y_tangent), a = dual(O::x, O::tangent);
                constexpr int count = arity<Fn, V>();
                if constexpr (count == 1) {
                    add(0, functor_vjp<Fn>(a, y, dy).a);
                } else if constexpr (count == 2) {
                    const auto g = Fn::vjp(a, dual(O::x + 1, O::tangent + 1), y, dy);
                    add(0, g.a);
                    add(1, g.b);
                } else {
                    const auto g = Fn::vjp(a, dual(O::x + 1, O::tangent + 1), dual(O::x + 2, O::tangent + 2), y, dy);
                    add(0, g.a);
                    add(1, g.b);
                    add(2, g.c);
                }
            }
        }
    }
};

template <class Loop>
TENON_LOOP void step_baseline(char* const* p, long n, bool given) { Loop::template run<4>(p, n, given); }
#if TENON_DISPATCH
template <class Loop>
TENON_TARGET_AVX2 TENON_LOOP void step_avx2(char* const* p, long n, bool given) { Loop::template run<8>(p, n, given); }
template <class Loop>
constexpr formula::FunctorKernels::Run step_wide = &step_avx2<Loop>;
#else
template <class Loop>
constexpr formula::FunctorKernels::Run step_wide = &step_baseline<Loop>;
#endif

// Gives a functor of formulas its second derivative.
template <class Fn>
bool enable_second_order() {
#if !defined(__CUDA_ARCH__)  // where functors are device functions, which may not hold vectors, no loop of the host is made
    formula::FunctorKernels& k = formula::functor_kernels<Fn>;
    constexpr bool logical = std::is_same_v<Fn, fn::logical_and> || std::is_same_v<Fn, fn::logical_or> || std::is_same_v<Fn, fn::logical_not>;
    if constexpr (!logical) {
        k.tangent[0][0] = &step_baseline<TangentLoop<Fn, float>>;
        k.tangent[0][1] = step_wide<TangentLoop<Fn, float>>;
        k.tangent[1][0] = &step_baseline<TangentLoop<Fn, double>>;
        k.tangent[1][1] = step_wide<TangentLoop<Fn, double>>;
    }
    if constexpr (!Fn::floating_only) k.tangent[2][0] = k.tangent[2][1] = &step_baseline<TangentLoop<Fn, std::int64_t>>;
    if constexpr (formula::differentiable<Fn>()) {
        k.adjoint[0][0] = &step_baseline<AdjointLoop<Fn, float>>;
        k.adjoint[0][1] = step_wide<AdjointLoop<Fn, float>>;
        k.adjoint[1][0] = &step_baseline<AdjointLoop<Fn, double>>;
        k.adjoint[1][1] = step_wide<AdjointLoop<Fn, double>>;
    }
#endif
    return true;
}
template <class... Fn>
bool enable_second_orders() { return (enable_second_order<Fn>() && ...); }

// Every functor of expr/functors.hpp.
inline const bool second_order_functors = enable_second_orders<
    fn::neg, fn::abs, fn::sign, fn::square, fn::reciprocal, fn::exp, fn::expm1, fn::log, fn::log1p, fn::sqrt, fn::rsqrt, fn::tanh, fn::sigmoid, fn::relu,
    fn::silu, fn::gelu, fn::gelu_tanh, fn::softplus, fn::mish, fn::hardswish, fn::sin, fn::cos, fn::erf, fn::floor, fn::round, fn::add, fn::sub, fn::mul,
    fn::div, fn::minimum, fn::maximum, fn::pow, fn::leaky_relu, fn::elu, fn::clamp, fn::less, fn::less_equal, fn::greater, fn::greater_equal, fn::equal,
    fn::not_equal, fn::isnan, fn::isinf, fn::isfinite, fn::erfc, fn::exp2, fn::log2, fn::log10, fn::tan, fn::asin, fn::acos, fn::atan, fn::sinh, fn::cosh,
    fn::ceil, fn::trunc, fn::atan2, fn::hypot, fn::fmod, fn::remainder, fn::logaddexp, fn::lerp, fn::logical_and, fn::logical_or, fn::logical_not, fn::where>();

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
