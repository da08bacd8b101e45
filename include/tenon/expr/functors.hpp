// The primitive functors of formulas: value and derivative, written once for SIMD lanes and for device scalars.
//
// f(x...) is the value. A derivative is either df(x..., y), the factor of dy (n-ary: one factor per argument), or
// vjp(x..., y, dy), the product itself, where a branch must be selected rather than multiplied by zero. needs says what
// the derivative reads: nothing, the output y, or the inputs; what is not read need not be saved. A functor without
// either has derivative zero. Where it reads only some of the arguments, reads(reached) says which (bits), given those
// that gradients reach. Ties and kinks follow PyTorch.
#pragma once

#include <tenon/base/simd_math.hpp>
#if TENON_CUDA
#include <tenon/base/pack.hpp>
#endif

namespace tenon {

enum class needs : unsigned char { nothing = 0, output = 1, inputs = 2, both = 3 };

inline namespace TENON_CONFIG_NAMESPACE {

// Lanes with a derivative (expr/dual.hpp): declared here, so that functors find its functions.
template <class V>
struct Dual;
namespace math {
#define TENON_DUAL_UNARY(name) \
    template <class V>         \
    TENON_ALWAYS_INLINE Dual<V> name(const Dual<V>& x);
TENON_DUAL_UNARY(abs)
TENON_DUAL_UNARY(exp)
TENON_DUAL_UNARY(expm1)
TENON_DUAL_UNARY(log)
TENON_DUAL_UNARY(log1p)
TENON_DUAL_UNARY(sqrt)
TENON_DUAL_UNARY(rsqrt)
TENON_DUAL_UNARY(tanh)
TENON_DUAL_UNARY(sigmoid)
TENON_DUAL_UNARY(erf)
TENON_DUAL_UNARY(erfc)
TENON_DUAL_UNARY(sin)
TENON_DUAL_UNARY(cos)
TENON_DUAL_UNARY(sinh)
TENON_DUAL_UNARY(cosh)
TENON_DUAL_UNARY(floor)
TENON_DUAL_UNARY(trunc)
TENON_DUAL_UNARY(round)
#undef TENON_DUAL_UNARY
template <class V>
TENON_ALWAYS_INLINE Dual<V> min(const Dual<V>& a, const Dual<V>& b);
template <class V>
TENON_ALWAYS_INLINE Dual<V> max(const Dual<V>& a, const Dual<V>& b);
template <class V>
TENON_ALWAYS_INLINE Dual<V> pow(const Dual<V>& x, const Dual<V>& p);
}  // namespace math

// What an n-ary derivative returns: one value per argument.
template <class A, class B>
struct Gradients2 { A a; B b; };
template <class A, class B, class C>
struct Gradients3 { A a; B b; C c; };
// The gradient of an argument that gets none.
struct NoGradient {};

namespace fn {

#define TENON_F template <class V> static TENON_FUNCTOR auto
#define TENON_F2 template <class V, class W> static TENON_FUNCTOR auto

// What every elementwise functor of floating point has unless it says otherwise.
struct FloatingFunctor { static constexpr bool floating_only = true; };
struct AnyFunctor { static constexpr bool floating_only = false; };

struct neg : AnyFunctor {
    static constexpr const char* name = "neg";
    static constexpr auto needs = tenon::needs::nothing;
    TENON_F f(const V& x) { return -x; }
    TENON_F df(const V&, const V&) { return V(-1); }
};
struct abs : AnyFunctor {
    static constexpr const char* name = "abs";
    static constexpr auto needs = tenon::needs::inputs;
    TENON_F f(const V& x) { return math::abs(x); }
    TENON_F vjp(const V& x, const V&, const V& dy) { return select(x > V(0), dy, select(x < V(0), -dy, V(0))); }
};
struct sign : AnyFunctor {
    static constexpr const char* name = "sign";
    TENON_F f(const V& x) { return select(x > V(0), V(1), select(x < V(0), V(-1), x)); }
};
struct square : AnyFunctor {
    static constexpr const char* name = "square";
    static constexpr auto needs = tenon::needs::inputs;
    TENON_F f(const V& x) { return x * x; }
    TENON_F df(const V& x, const V&) { return x + x; }
};
struct reciprocal : FloatingFunctor {
    static constexpr const char* name = "reciprocal";
    static constexpr auto needs = tenon::needs::output;
    TENON_F f(const V& x) { return V(1) / x; }
    TENON_F df(const V&, const V& y) { return -(y * y); }
};
struct exp : FloatingFunctor {
    static constexpr const char* name = "exp";
    static constexpr auto needs = tenon::needs::output;
    TENON_F f(const V& x) { return math::exp(x); }
    TENON_F df(const V&, const V& y) { return y; }
};
struct expm1 : FloatingFunctor {
    static constexpr const char* name = "expm1";
    static constexpr auto needs = tenon::needs::output;
    TENON_F f(const V& x) { return math::expm1(x); }
    TENON_F df(const V&, const V& y) { return y + V(1); }
};
struct log : FloatingFunctor {
    static constexpr const char* name = "log";
    static constexpr auto needs = tenon::needs::inputs;
    TENON_F f(const V& x) { return math::log(x); }
    TENON_F df(const V& x, const V&) { return V(1) / x; }
};
struct log1p : FloatingFunctor {
    static constexpr const char* name = "log1p";
    static constexpr auto needs = tenon::needs::inputs;
    TENON_F f(const V& x) { return math::log1p(x); }
    TENON_F df(const V& x, const V&) { return V(1) / (x + V(1)); }
};
struct sqrt : FloatingFunctor {
    static constexpr const char* name = "sqrt";
    static constexpr auto needs = tenon::needs::output;
    TENON_F f(const V& x) { return math::sqrt(x); }
    TENON_F df(const V&, const V& y) { return V(0.5) / y; }
};
struct rsqrt : FloatingFunctor {
    static constexpr const char* name = "rsqrt";
    static constexpr auto needs = tenon::needs::output;
    TENON_F f(const V& x) { return V(1) / math::sqrt(x); }
    TENON_F df(const V&, const V& y) { return V(-0.5) * y * y * y; }
};
struct tanh : FloatingFunctor {
    static constexpr const char* name = "tanh";
    static constexpr auto needs = tenon::needs::output;
    TENON_F f(const V& x) { return math::tanh(x); }
    TENON_F df(const V&, const V& y) { return V(1) - y * y; }
};
struct sigmoid : FloatingFunctor {
    static constexpr const char* name = "sigmoid";
    static constexpr auto needs = tenon::needs::output;
    TENON_F f(const V& x) { return math::sigmoid(x); }
    TENON_F df(const V&, const V& y) { return y * (V(1) - y); }
};
struct relu : AnyFunctor {
    static constexpr const char* name = "relu";
    static constexpr auto needs = tenon::needs::output;
    TENON_F f(const V& x) { return select(x < V(0), V(0), x); }
    TENON_F vjp(const V&, const V& y, const V& dy) { return select(y <= V(0), V(0), dy); }
};
struct silu : FloatingFunctor {
    static constexpr const char* name = "silu";
    static constexpr auto needs = tenon::needs::inputs;
    TENON_F f(const V& x) { return x * math::sigmoid(x); }
    TENON_F df(const V& x, const V&) {
        const V s = math::sigmoid(x);
        return s * (V(1) + x * (V(1) - s));
    }
};
// Exact: x * Phi(x), through erfc so that the left tail keeps its relative accuracy.
struct gelu : FloatingFunctor {
    static constexpr const char* name = "gelu";
    static constexpr auto needs = tenon::needs::inputs;
    TENON_F f(const V& x) { return V(0.5) * x * math::erfc(x * V(-0.70710678118654752440)); }
    TENON_F df(const V& x, const V&) {
        const V phi = math::exp(V(-0.5) * x * x) * V(0.39894228040143267794);
        return V(0.5) * math::erfc(x * V(-0.70710678118654752440)) + x * phi;
    }
};
// The tanh approximation of GELU.
struct gelu_tanh : FloatingFunctor {
    static constexpr const char* name = "gelu_tanh";
    static constexpr auto needs = tenon::needs::inputs;
    template <class V>
    static TENON_FUNCTOR V inner(const V& x) {
        return math::tanh(V(0.79788456080286535588) * (x + V(0.044715) * x * x * x));
    }
    TENON_F f(const V& x) { return V(0.5) * x * (V(1) + inner(x)); }
    TENON_F df(const V& x, const V&) {
        const V t = inner(x);
        return V(0.5) * (V(1) + t) +
               V(0.5) * x * (V(1) - t * t) * V(0.79788456080286535588) * (V(1) + V(3 * 0.044715) * x * x);
    }
};
struct softplus : FloatingFunctor {
    static constexpr const char* name = "softplus";
    static constexpr auto needs = tenon::needs::inputs;
    TENON_F f(const V& x) { return math::max(x, V(0)) + math::log1p(math::exp(-math::abs(x))); }
    TENON_F df(const V& x, const V&) { return math::sigmoid(x); }
};
// x * tanh(softplus(x)); with w = e^x that is x * n / (n + 2), n = w (w + 2).
struct mish : FloatingFunctor {
    static constexpr const char* name = "mish";
    static constexpr auto needs = tenon::needs::inputs;
    template <class V>
    static TENON_FUNCTOR V inner(const V& x) {
        const V w = math::exp(math::min(x, V(20)));
        const V n = w * (w + V(2));
        return n / (n + V(2));
    }
    TENON_F f(const V& x) { return x * inner(x); }
    TENON_F df(const V& x, const V&) {
        const V t = inner(x);
        return t + x * (V(1) - t * t) * math::sigmoid(x);
    }
};
struct hardswish : FloatingFunctor {
    static constexpr const char* name = "hardswish";
    static constexpr auto needs = tenon::needs::inputs;
    TENON_F f(const V& x) { return x * math::min(math::max(x + V(3), V(0)), V(6)) * V(1.0 / 6); }
    TENON_F vjp(const V& x, const V&, const V& dy) {
        return select(x <= V(-3), V(0), select(x < V(3), dy * (x * V(1.0 / 3) + V(0.5)), dy));
    }
};
struct sin : FloatingFunctor {
    static constexpr const char* name = "sin";
    static constexpr auto needs = tenon::needs::inputs;
    TENON_F f(const V& x) { return math::sin(x); }
    TENON_F df(const V& x, const V&) { return math::cos(x); }
};
struct cos : FloatingFunctor {
    static constexpr const char* name = "cos";
    static constexpr auto needs = tenon::needs::inputs;
    TENON_F f(const V& x) { return math::cos(x); }
    TENON_F df(const V& x, const V&) { return -math::sin(x); }
};
struct erf : FloatingFunctor {
    static constexpr const char* name = "erf";
    static constexpr auto needs = tenon::needs::inputs;
    TENON_F f(const V& x) { return math::erf(x); }
    TENON_F df(const V& x, const V&) { return V(1.12837916709551257390) * math::exp(-(x * x)); }
};
struct erfc : FloatingFunctor {
    static constexpr const char* name = "erfc";
    static constexpr auto needs = tenon::needs::inputs;
    TENON_F f(const V& x) { return math::erfc(x); }
    TENON_F df(const V& x, const V&) { return V(-1.12837916709551257390) * math::exp(-(x * x)); }
};
struct exp2 : FloatingFunctor {
    static constexpr const char* name = "exp2";
    static constexpr auto needs = tenon::needs::output;
    TENON_F f(const V& x) { return math::exp2(x); }
    TENON_F df(const V&, const V& y) { return y * V(0.69314718055994530942); }
};
struct log2 : FloatingFunctor {
    static constexpr const char* name = "log2";
    static constexpr auto needs = tenon::needs::inputs;
    TENON_F f(const V& x) { return math::log2(x); }
    TENON_F df(const V& x, const V&) { return V(1) / (x * V(0.69314718055994530942)); }
};
struct log10 : FloatingFunctor {
    static constexpr const char* name = "log10";
    static constexpr auto needs = tenon::needs::inputs;
    TENON_F f(const V& x) { return math::log10(x); }
    TENON_F df(const V& x, const V&) { return V(1) / (x * V(2.30258509299404568402)); }
};
struct tan : FloatingFunctor {
    static constexpr const char* name = "tan";
    static constexpr auto needs = tenon::needs::output;
    TENON_F f(const V& x) { return math::tan(x); }
    TENON_F df(const V&, const V& y) { return V(1) + y * y; }
};
struct asin : FloatingFunctor {
    static constexpr const char* name = "asin";
    static constexpr auto needs = tenon::needs::inputs;
    TENON_F f(const V& x) { return math::asin(x); }
    TENON_F df(const V& x, const V&) { return V(1) / math::sqrt(V(1) - x * x); }
};
struct acos : FloatingFunctor {
    static constexpr const char* name = "acos";
    static constexpr auto needs = tenon::needs::inputs;
    TENON_F f(const V& x) { return math::acos(x); }
    TENON_F df(const V& x, const V&) { return V(-1) / math::sqrt(V(1) - x * x); }
};
struct atan : FloatingFunctor {
    static constexpr const char* name = "atan";
    static constexpr auto needs = tenon::needs::inputs;
    TENON_F f(const V& x) { return math::atan(x); }
    TENON_F df(const V& x, const V&) { return V(1) / (x * x + V(1)); }
};
struct sinh : FloatingFunctor {
    static constexpr const char* name = "sinh";
    static constexpr auto needs = tenon::needs::inputs;
    TENON_F f(const V& x) { return math::sinh(x); }
    TENON_F df(const V& x, const V&) { return math::cosh(x); }
};
struct cosh : FloatingFunctor {
    static constexpr const char* name = "cosh";
    static constexpr auto needs = tenon::needs::inputs;
    TENON_F f(const V& x) { return math::cosh(x); }
    TENON_F df(const V& x, const V&) { return math::sinh(x); }
};
struct ceil : FloatingFunctor {
    static constexpr const char* name = "ceil";
    TENON_F f(const V& x) { return math::ceil(x); }
};
struct trunc : FloatingFunctor {
    static constexpr const char* name = "trunc";
    TENON_F f(const V& x) { return math::trunc(x); }
};
struct floor : FloatingFunctor {
    static constexpr const char* name = "floor";
    TENON_F f(const V& x) { return math::floor(x); }
};
struct round : FloatingFunctor {
    static constexpr const char* name = "round";
    TENON_F f(const V& x) { return math::round(x); }
};

struct add : AnyFunctor {
    static constexpr const char* name = "add";
    static constexpr auto needs = tenon::needs::nothing;
    TENON_F f(const V& a, const V& b) { return a + b; }
    TENON_F vjp(const V&, const V&, const V&, const V& dy) { return Gradients2<V, V>{dy, dy}; }
};
struct sub : AnyFunctor {
    static constexpr const char* name = "sub";
    static constexpr auto needs = tenon::needs::nothing;
    TENON_F f(const V& a, const V& b) { return a - b; }
    TENON_F vjp(const V&, const V&, const V&, const V& dy) { return Gradients2<V, V>{dy, -dy}; }
};
struct mul : AnyFunctor {
    static constexpr const char* name = "mul";
    static constexpr auto needs = tenon::needs::inputs;
    static constexpr unsigned reads(unsigned reached) { return (reached >> 1 & 1u) | (reached << 1 & 2u); }
    TENON_F f(const V& a, const V& b) { return a * b; }
    TENON_F vjp(const V& a, const V& b, const V&, const V& dy) { return Gradients2<V, V>{dy * b, dy * a}; }
};
struct div : FloatingFunctor {
    static constexpr const char* name = "div";
    static constexpr auto needs = tenon::needs::both;
    static constexpr unsigned reads(unsigned reached) { return (reached >> 1 & 1u) | 2u; }
    TENON_F f(const V& a, const V& b) { return a / b; }
    TENON_F vjp(const V&, const V& b, const V& y, const V& dy) {
        const V da = dy / b;
        return Gradients2<V, V>{da, -(da * y)};
    }
};
struct minimum : AnyFunctor {
    static constexpr const char* name = "minimum";
    static constexpr auto needs = tenon::needs::inputs;
    TENON_F f(const V& a, const V& b) { return math::min(a, b); }
    TENON_F vjp(const V& a, const V& b, const V&, const V& dy) {
        const V shared = select(a == b, dy * V(0.5), dy);
        return Gradients2<V, V>{select(a > b, V(0), shared), select(b > a, V(0), shared)};
    }
};
struct maximum : AnyFunctor {
    static constexpr const char* name = "maximum";
    static constexpr auto needs = tenon::needs::inputs;
    TENON_F f(const V& a, const V& b) { return math::max(a, b); }
    TENON_F vjp(const V& a, const V& b, const V&, const V& dy) {
        const V shared = select(a == b, dy * V(0.5), dy);
        return Gradients2<V, V>{select(a < b, V(0), shared), select(b < a, V(0), shared)};
    }
};
struct pow : FloatingFunctor {
    static constexpr const char* name = "pow";
    static constexpr auto needs = tenon::needs::both;
    TENON_F f(const V& x, const V& p) { return math::pow(x, p); }
    TENON_F vjp(const V& x, const V& p, const V& y, const V& dy) {
        const V dx = select(p == V(0), V(0), dy * p * math::pow(x, p - V(1)));
        const V dp = select(x == V(0), select(p >= V(0), V(0), dy * y * math::log(x)), dy * y * math::log(x));
        return Gradients2<V, V>{dx, dp};
    }
};
struct atan2 : FloatingFunctor {
    static constexpr const char* name = "atan2";
    static constexpr auto needs = tenon::needs::inputs;
    TENON_F f(const V& y, const V& x) { return math::atan2(y, x); }
    TENON_F vjp(const V& y, const V& x, const V&, const V& dy) {
        const V factor = dy / (y * y + x * x);
        return Gradients2<V, V>{factor * x, -(factor * y)};
    }
};
struct hypot : FloatingFunctor {
    static constexpr const char* name = "hypot";
    static constexpr auto needs = tenon::needs::both;
    TENON_F f(const V& a, const V& b) { return math::hypot(a, b); }
    TENON_F vjp(const V& a, const V& b, const V& y, const V& dy) { return Gradients2<V, V>{dy * (a / y), dy * (b / y)}; }
};
struct fmod : FloatingFunctor {
    static constexpr const char* name = "fmod";
    static constexpr auto needs = tenon::needs::inputs;
    TENON_F f(const V& a, const V& b) { return math::fmod(a, b); }
    TENON_F vjp(const V& a, const V& b, const V&, const V& dy) { return Gradients2<V, V>{dy, -(dy * math::trunc(a / b))}; }
};
// The result has the sign of b.
struct remainder : FloatingFunctor {
    static constexpr const char* name = "remainder";
    static constexpr auto needs = tenon::needs::inputs;
    TENON_F f(const V& a, const V& b) {
        const V r = math::fmod(a, b);
        return select(r < V(0), select(b > V(0), r + b, r), select(r > V(0), select(b < V(0), r + b, r), r));
    }
    TENON_F vjp(const V& a, const V& b, const V&, const V& dy) { return Gradients2<V, V>{dy, -(dy * math::floor(a / b))}; }
};
struct logaddexp : FloatingFunctor {
    static constexpr const char* name = "logaddexp";
    static constexpr auto needs = tenon::needs::inputs;
    TENON_F f(const V& a, const V& b) {
        // Equal infinities have no difference.
        return select(a == b, a + V(0.69314718055994530942), math::max(a, b) + math::log1p(math::exp(-math::abs(a - b))));
    }
    TENON_F vjp(const V& a, const V& b, const V&, const V& dy) { return Gradients2<V, V>{dy * math::sigmoid(a - b), dy * math::sigmoid(b - a)}; }
};
// a + w (b - a), from the nearer end.
struct lerp : FloatingFunctor {
    static constexpr const char* name = "lerp";
    static constexpr auto needs = tenon::needs::inputs;
    TENON_F f(const V& a, const V& b, const V& w) {
        const V d = b - a;
        return select(math::abs(w) < V(0.5), a + w * d, b - d * (V(1) - w));
    }
    TENON_F vjp(const V& a, const V& b, const V& w, const V&, const V& dy) { return Gradients3<V, V, V>{dy * (V(1) - w), dy * w, dy * (b - a)}; }
};
struct leaky_relu : FloatingFunctor {
    static constexpr const char* name = "leaky_relu";
    static constexpr auto needs = tenon::needs::inputs;
    TENON_F f(const V& x, const V& slope) { return select(x > V(0), x, x * slope); }
    TENON_F vjp(const V& x, const V& slope, const V&, const V& dy) {
        return Gradients2<V, V>{select(x > V(0), dy, dy * slope), select(x > V(0), V(0), dy * x)};
    }
};
struct elu : FloatingFunctor {
    static constexpr const char* name = "elu";
    static constexpr auto needs = tenon::needs::both;
    TENON_F f(const V& x, const V& alpha) { return select(x > V(0), x, alpha * math::expm1(x)); }
    TENON_F vjp(const V& x, const V& alpha, const V& y, const V& dy) {
        // At 0, where y + alpha is alpha: no second derivative there, as PyTorch.
        return Gradients2<V, V>{select(x > V(0), dy, select(x == V(0), dy * alpha, dy * (y + alpha))), select(x > V(0), V(0), dy * math::expm1(x))};
    }
};
struct clamp : AnyFunctor {
    static constexpr const char* name = "clamp";
    static constexpr auto needs = tenon::needs::inputs;
    TENON_F f(const V& x, const V& low, const V& high) { return math::min(math::max(x, low), high); }
    TENON_F vjp(const V& x, const V& low, const V& high, const V&, const V& dy) {
        const V zero(0);
        return Gradients3<V, V, V>{select(x >= low, select(x <= high, dy, zero), zero),
                                   select(x < low, select(low < high, dy, zero), zero),
                                   select(x > high, dy, select(low > high, dy, zero))};
    }
};

struct less : AnyFunctor {
    static constexpr const char* name = "less";
    TENON_F f(const V& a, const V& b) { return a < b; }
};
struct less_equal : AnyFunctor {
    static constexpr const char* name = "less_equal";
    TENON_F f(const V& a, const V& b) { return a <= b; }
};
struct greater : AnyFunctor {
    static constexpr const char* name = "greater";
    TENON_F f(const V& a, const V& b) { return a > b; }
};
struct greater_equal : AnyFunctor {
    static constexpr const char* name = "greater_equal";
    TENON_F f(const V& a, const V& b) { return a >= b; }
};
struct equal : AnyFunctor {
    static constexpr const char* name = "equal";
    TENON_F f(const V& a, const V& b) { return a == b; }
};
struct not_equal : AnyFunctor {
    static constexpr const char* name = "not_equal";
    TENON_F f(const V& a, const V& b) { return a != b; }
};
struct isnan : FloatingFunctor {
    static constexpr const char* name = "isnan";
    TENON_F f(const V& a) { return a != a; }
};
struct isinf : FloatingFunctor {
    static constexpr const char* name = "isinf";
    TENON_F f(const V& a) { return math::abs(a) == V(__builtin_inf()); }
};
struct isfinite : FloatingFunctor {
    static constexpr const char* name = "isfinite";
    TENON_F f(const V& a) { return math::abs(a) < V(__builtin_inf()); }
};
// Comparisons have masks as wide as what they compare.
struct logical_and : AnyFunctor {
    static constexpr const char* name = "logical_and";
    TENON_F2 f(const V& a, const W& b) { return a.template as<4>() & b.template as<4>(); }
};
struct logical_or : AnyFunctor {
    static constexpr const char* name = "logical_or";
    TENON_F2 f(const V& a, const W& b) { return a.template as<4>() | b.template as<4>(); }
};
struct logical_not : AnyFunctor {
    static constexpr const char* name = "logical_not";
    TENON_F f(const V& a) { return ~a; }
};
// condition ? a : b; the gradient of the branch not taken is a selected zero.
struct where : AnyFunctor {
    static constexpr const char* name = "where";
    static constexpr auto needs = tenon::needs::inputs;
    template <class M, class V>
    static TENON_FUNCTOR auto f(const M& condition, const V& a, const V& b) { return select(condition, a, b); }
    template <class M, class V>
    static TENON_FUNCTOR auto vjp(const M& condition, const V&, const V&, const V&, const V& dy) {
        return Gradients3<NoGradient, V, V>{{}, select(condition, dy, V(0)), select(condition, V(0), dy)};
    }
};

#undef TENON_F
#undef TENON_F2

// cast<T>: the conversion itself is done by the formula node.
template <class To>
struct cast { static constexpr const char* name = "cast"; };

}  // namespace fn
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
