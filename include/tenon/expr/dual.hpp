// Dual<V>: lanes that carry the derivative along one direction with them. A functor's derivative, run on them, gives its
// own derivative: no second derivative is written by hand. Comparisons look at the values.
#pragma once

#include <tenon/expr/functors.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

template <class V>
struct Dual {
    V v, t;  // value and tangent

    TENON_ALWAYS_INLINE Dual() {}
    TENON_ALWAYS_INLINE Dual(const Dual& o) : v(o.v), t(o.t) {}
    TENON_ALWAYS_INLINE Dual(const V& value, const V& tangent) : v(value), t(tangent) {}
    template <class S>
        requires std::is_arithmetic_v<S>
    TENON_ALWAYS_INLINE explicit Dual(S number) : v(number), t(0) {}
    TENON_ALWAYS_INLINE Dual& operator=(const Dual& o) {
        v = o.v;
        t = o.t;
        return *this;
    }

    friend TENON_ALWAYS_INLINE Dual operator+(const Dual& a, const Dual& b) { return Dual(a.v + b.v, a.t + b.t); }
    friend TENON_ALWAYS_INLINE Dual operator-(const Dual& a, const Dual& b) { return Dual(a.v - b.v, a.t - b.t); }
    friend TENON_ALWAYS_INLINE Dual operator*(const Dual& a, const Dual& b) { return Dual(a.v * b.v, a.t * b.v + a.v * b.t); }
    friend TENON_ALWAYS_INLINE Dual operator/(const Dual& a, const Dual& b) {
        const V q = a.v / b.v;
        return Dual(q, (a.t - q * b.t) / b.v);
    }
    friend TENON_ALWAYS_INLINE Dual operator-(const Dual& a) { return Dual(-a.v, -a.t); }
    friend TENON_ALWAYS_INLINE auto operator<(const Dual& a, const Dual& b) { return a.v < b.v; }
    friend TENON_ALWAYS_INLINE auto operator<=(const Dual& a, const Dual& b) { return a.v <= b.v; }
    friend TENON_ALWAYS_INLINE auto operator>(const Dual& a, const Dual& b) { return a.v > b.v; }
    friend TENON_ALWAYS_INLINE auto operator>=(const Dual& a, const Dual& b) { return a.v >= b.v; }
    friend TENON_ALWAYS_INLINE auto operator==(const Dual& a, const Dual& b) { return a.v == b.v; }
    friend TENON_ALWAYS_INLINE auto operator!=(const Dual& a, const Dual& b) { return a.v != b.v; }
};

template <class M, class V>
TENON_ALWAYS_INLINE Dual<V> select(const M& mask, const Dual<V>& a, const Dual<V>& b) {
    return Dual<V>(select(mask, a.v, b.v), select(mask, a.t, b.t));
}

namespace math {

template <class V>
TENON_ALWAYS_INLINE Dual<V> abs(const Dual<V>& x) {
    return Dual<V>(abs(x.v), select(x.v > V(0), x.t, select(x.v < V(0), -x.t, V(0))));
}
template <class V>
TENON_ALWAYS_INLINE Dual<V> exp(const Dual<V>& x) {
    const V y = exp(x.v);
    return Dual<V>(y, y * x.t);
}
template <class V>
TENON_ALWAYS_INLINE Dual<V> expm1(const Dual<V>& x) {
    const V y = expm1(x.v);
    return Dual<V>(y, (y + V(1)) * x.t);
}
template <class V>
TENON_ALWAYS_INLINE Dual<V> log(const Dual<V>& x) { return Dual<V>(log(x.v), x.t / x.v); }
template <class V>
TENON_ALWAYS_INLINE Dual<V> log1p(const Dual<V>& x) { return Dual<V>(log1p(x.v), x.t / (V(1) + x.v)); }
template <class V>
TENON_ALWAYS_INLINE Dual<V> sqrt(const Dual<V>& x) {
    const V y = sqrt(x.v);
    return Dual<V>(y, V(0.5) * x.t / y);
}
template <class V>
TENON_ALWAYS_INLINE Dual<V> rsqrt(const Dual<V>& x) {
    const V y = V(1) / sqrt(x.v);
    return Dual<V>(y, V(-0.5) * y * y * y * x.t);
}
template <class V>
TENON_ALWAYS_INLINE Dual<V> tanh(const Dual<V>& x) {
    const V y = tanh(x.v);
    return Dual<V>(y, (V(1) - y * y) * x.t);
}
template <class V>
TENON_ALWAYS_INLINE Dual<V> sigmoid(const Dual<V>& x) {
    const V y = sigmoid(x.v);
    return Dual<V>(y, y * (V(1) - y) * x.t);
}
template <class V>
TENON_ALWAYS_INLINE Dual<V> erf(const Dual<V>& x) { return Dual<V>(erf(x.v), V(1.12837916709551257390) * exp(-(x.v * x.v)) * x.t); }
template <class V>
TENON_ALWAYS_INLINE Dual<V> erfc(const Dual<V>& x) { return Dual<V>(erfc(x.v), V(-1.12837916709551257390) * exp(-(x.v * x.v)) * x.t); }
template <class V>
TENON_ALWAYS_INLINE Dual<V> sin(const Dual<V>& x) { return Dual<V>(sin(x.v), cos(x.v) * x.t); }
template <class V>
TENON_ALWAYS_INLINE Dual<V> cos(const Dual<V>& x) { return Dual<V>(cos(x.v), -(sin(x.v) * x.t)); }
template <class V>
TENON_ALWAYS_INLINE Dual<V> sinh(const Dual<V>& x) { return Dual<V>(sinh(x.v), cosh(x.v) * x.t); }
template <class V>
TENON_ALWAYS_INLINE Dual<V> cosh(const Dual<V>& x) { return Dual<V>(cosh(x.v), sinh(x.v) * x.t); }
template <class V>
TENON_ALWAYS_INLINE Dual<V> trunc(const Dual<V>& x) { return Dual<V>(trunc(x.v), V(0)); }
template <class V>
TENON_ALWAYS_INLINE Dual<V> floor(const Dual<V>& x) { return Dual<V>(floor(x.v), V(0)); }
template <class V>
TENON_ALWAYS_INLINE Dual<V> round(const Dual<V>& x) { return Dual<V>(round(x.v), V(0)); }
template <class V>
TENON_ALWAYS_INLINE Dual<V> min(const Dual<V>& a, const Dual<V>& b) {
    return Dual<V>(min(a.v, b.v), select(a.v == b.v, V(0.5) * (a.t + b.t), select(a.v < b.v, a.t, b.t)));
}
template <class V>
TENON_ALWAYS_INLINE Dual<V> max(const Dual<V>& a, const Dual<V>& b) {
    return Dual<V>(max(a.v, b.v), select(a.v == b.v, V(0.5) * (a.t + b.t), select(a.v > b.v, a.t, b.t)));
}
// A base or an exponent that does not move adds nothing, also where its own derivative is infinite or NaN.
template <class V>
TENON_ALWAYS_INLINE Dual<V> pow(const Dual<V>& x, const Dual<V>& p) {
    const V y = pow(x.v, p.v);
    const V along_x = select(p.v == V(0), V(0), p.v * pow(x.v, p.v - V(1)) * x.t);
    const V along_p = select(p.t == V(0), V(0), select(x.v == V(0), select(p.v >= V(0), V(0), y * log(x.v) * p.t), y * log(x.v) * p.t));
    return Dual<V>(y, select(x.t == V(0), V(0), along_x) + along_p);
}

}  // namespace math
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
