// The transforms of F(m, 3): m outputs of a correlation with 3 weights from m + 2 products, y = A^T [(G g) * (B^T d)],
// and their transposes. (Winograd, "Arithmetic Complexity of Computations", 1980; for convolutions Lavin and Gray, 2015.)
//
// Over V = simd<T, L> or T. Applied to rows and columns they give F(m x m, 3 x 3): (m + 2)^2 products for m^2 * 9.
#pragma once

#include <tenon/base/config.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace winograd_impl {

template <int M>
struct Transform;

// Points 0, +-5/8, +-3/2, infinity: half the rounding error of 0, +-1, +-2, infinity, and B and A stay exact.
template <>
struct Transform<4> {
    static constexpr int outputs = 4, inputs = 6;
    static constexpr double a = 0.625, b = 1.5, aa = a * a, bb = b * b;

    // d = B^T d
    template <class V>
    static TENON_ALWAYS_INLINE void data(V (&d)[6]) {
        const V a_(a), b_(b), aa_(aa), bb_(bb), sum(aa + bb), both(aa * bb);
        const V even_a = d[4] - bb_ * d[2], odd_a = d[3] - bb_ * d[1];
        const V even_b = d[4] - aa_ * d[2], odd_b = d[3] - aa_ * d[1];
        const V first = (d[4] - sum * d[2]) + both * d[0], last = (d[5] - sum * d[3]) + both * d[1];
        d[0] = first;
        d[1] = even_a + a_ * odd_a;
        d[2] = even_a - a_ * odd_a;
        d[3] = even_b + b_ * odd_b;
        d[4] = even_b - b_ * odd_b;
        d[5] = last;
    }
    // y = A^T m
    template <class V>
    static TENON_ALWAYS_INLINE void output(const V (&m)[6], V (&y)[4]) {
        const V sum_a = m[1] + m[2], diff_a = m[1] - m[2], sum_b = m[3] + m[4], diff_b = m[3] - m[4];
        y[0] = (m[0] + sum_a) + sum_b;
        y[1] = V(a) * diff_a + V(b) * diff_b;
        y[2] = V(aa) * sum_a + V(bb) * sum_b;
        y[3] = (m[5] + V(a * aa) * diff_a) + V(b * bb) * diff_b;
    }
    // z = A y
    template <class V>
    static TENON_ALWAYS_INLINE void output_gradient(const V (&y)[4], V (&z)[6]) {
        const V even_a = y[0] + V(aa) * y[2], odd_a = V(a) * y[1] + V(a * aa) * y[3];
        const V even_b = y[0] + V(bb) * y[2], odd_b = V(b) * y[1] + V(b * bb) * y[3];
        z[0] = y[0];
        z[1] = even_a + odd_a;
        z[2] = even_a - odd_a;
        z[3] = even_b + odd_b;
        z[4] = even_b - odd_b;
        z[5] = y[3];
    }
    // The products of the differences of a point with all others.
    static constexpr double at_0 = 1 / (aa * bb), at_a = 1 / (2 * aa * (aa - bb)), at_b = 1 / (2 * bb * (bb - aa));
    // u = G g
    template <class V>
    static TENON_ALWAYS_INLINE void weight(const V (&g)[3], V (&u)[6]) {
        const V even_a = V(at_a) * g[0] + V(at_a * aa) * g[2], odd_a = V(at_a * a) * g[1];
        const V even_b = V(at_b) * g[0] + V(at_b * bb) * g[2], odd_b = V(at_b * b) * g[1];
        u[0] = V(at_0) * g[0];
        u[1] = even_a + odd_a;
        u[2] = even_a - odd_a;
        u[3] = even_b + odd_b;
        u[4] = even_b - odd_b;
        u[5] = g[2];
    }
    // g = G^T u
    template <class V>
    static TENON_ALWAYS_INLINE void weight_gradient(const V (&u)[6], V (&g)[3]) {
        const V sum_a = u[1] + u[2], diff_a = u[1] - u[2], sum_b = u[3] + u[4], diff_b = u[3] - u[4];
        g[0] = V(at_0) * u[0] + (V(at_a) * sum_a + V(at_b) * sum_b);
        g[1] = V(at_a * a) * diff_a + V(at_b * b) * diff_b;
        g[2] = u[5] + (V(at_a * aa) * sum_a + V(at_b * bb) * sum_b);
    }
};

// Points 0, +-1, infinity.
template <>
struct Transform<2> {
    static constexpr int outputs = 2, inputs = 4;

    template <class V>
    static TENON_ALWAYS_INLINE void data(V (&d)[4]) {
        const V first = d[0] - d[2], sum = d[1] + d[2], diff = d[2] - d[1], last = d[3] - d[1];
        d[0] = first;
        d[1] = sum;
        d[2] = diff;
        d[3] = last;
    }
    template <class V>
    static TENON_ALWAYS_INLINE void output(const V (&m)[4], V (&y)[2]) {
        y[0] = m[0] + (m[1] + m[2]);
        y[1] = m[3] + (m[1] - m[2]);
    }
    template <class V>
    static TENON_ALWAYS_INLINE void output_gradient(const V (&y)[2], V (&z)[4]) {
        z[0] = y[0];
        z[1] = y[0] + y[1];
        z[2] = y[0] - y[1];
        z[3] = y[1];
    }
    template <class V>
    static TENON_ALWAYS_INLINE void weight(const V (&g)[3], V (&u)[4]) {
        const V even = V(0.5) * (g[0] + g[2]), odd = V(0.5) * g[1];
        u[0] = g[0];
        u[1] = even + odd;
        u[2] = even - odd;
        u[3] = g[2];
    }
    template <class V>
    static TENON_ALWAYS_INLINE void weight_gradient(const V (&u)[4], V (&g)[3]) {
        const V half_sum = V(0.5) * (u[1] + u[2]);
        g[0] = u[0] + half_sum;
        g[1] = V(0.5) * (u[1] - u[2]);
        g[2] = u[3] + half_sum;
    }
};

}  // namespace winograd_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
