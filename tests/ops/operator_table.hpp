// The table of elementwise operations: one record each, which drives the comparison with PyTorch's values, the gradient
// checks, the variants of views, sizes and threads, and the benchmark of every operation. Adding an operation is adding a
// record here (and its golden values in golden/make.py).
#pragma once

#include "../golden/elementwise.hpp"

#include <tenon/tenon.hpp>

namespace operators {

using namespace tenon;

// Where a gradient check draws its inputs: an interval without kinks.
struct Domain { double low, high; };

// A unary record: name, formula, bound on the error relative to the value in double and in float (in float also a bound
// relative to 1 for what cancels), domain.
#define TENON_UNARY_TABLE(X)                                                   \
    X(neg, -x, 0, 0, 0, -3, 3)                                                 \
    X(abs, abs(x), 0, 0, 0, 0.5, 3)                                            \
    X(sign, sign(x), 0, 0, 0, 0.5, 3)                                          \
    X(square, square(x), 1e-15, 1e-7, 0, -3, 3)                                \
    X(reciprocal, reciprocal(x), 1e-15, 2e-7, 0, 0.5, 3)                       \
    X(exp, exp(x), 1e-15, 3e-7, 0, -3, 3)                                      \
    X(expm1, expm1(x), 1e-15, 5e-7, 0, -3, 3)                                  \
    X(log, log(x), 1e-15, 3e-7, 0, 0.5, 3)                                     \
    X(log1p, log1p(x), 1e-15, 3e-7, 0, -0.5, 3)                                \
    X(sqrt, sqrt(x), 1e-15, 2e-7, 0, 0.5, 3)                                   \
    X(rsqrt, rsqrt(x), 1e-15, 3e-7, 0, 0.5, 3)                                 \
    X(tanh, tanh(x), 1e-15, 6e-7, 1e-7, -3, 3)                                 \
    X(sigmoid, sigmoid(x), 2e-15, 6e-7, 1e-7, -3, 3)                           \
    X(relu, relu(x), 0, 0, 0, 0.5, 3)                                          \
    X(leaky_relu, leaky_relu(x, 0.01), 1e-15, 2e-7, 0, -3, -0.5)               \
    X(elu, elu(x), 1e-15, 5e-7, 1e-7, -3, -0.5)                                \
    X(selu, selu(x), 1e-15, 6e-7, 1e-7, -3, -0.5)                              \
    X(silu, silu(x), 2e-15, 1e-6, 2e-7, -3, 3)                                 \
    /* erfc amplifies the rounding of its argument by x^2: 900 at the last point */ \
    X(gelu, gelu(x), 2e-13, 4e-6, 3e-7, -3, 3)                                 \
    X(gelu_tanh, gelu_tanh(x), 1e-15, 1e-6, 5e-7, -3, 3)                       \
    X(softplus, softplus(x), 1e-14, 1e-6, 1e-7, -3, 3)                         \
    X(mish, mish(x), 1e-14, 2e-6, 5e-7, -3, 3)                                 \
    X(hardswish, hardswish(x), 1e-15, 5e-7, 2e-7, -2.5, 2.5)                   \
    X(sin, sin(x), 1e-15, 3e-7, 1e-7, -3, 3)                                   \
    X(cos, cos(x), 1e-15, 3e-7, 1e-7, -3, 3)                                   \
    X(erf, erf(x), 1e-15, 5e-7, 0, -3, 3)                                      \
    X(floor, floor(x), 0, 0, 0, 0.1, 0.9)                                      \
    X(round, round(x), 0, 0, 0, 0.6, 0.9)                                      \
    X(clamp, clamp(x, -1, 2), 0, 0, 0, -0.9, 1.9)

// A binary record: name, formula, bounds as above, domain of both.
#define TENON_BINARY_TABLE(X)                         \
    X(add, a + b, 1e-15, 1e-7, 0, -3, 3)              \
    X(sub, a - b, 1e-15, 1e-7, 0, -3, 3)              \
    X(mul, a * b, 1e-15, 1e-7, 0, -3, 3)              \
    X(div, a / b, 1e-15, 2e-7, 0, 0.5, 3)             \
    X(minimum, minimum(a, b), 0, 0, 0, -3, 3)         \
    X(maximum, maximum(a, b), 0, 0, 0, -3, 3)         \
    X(pow, pow(a, b), 1e-15, 1e-6, 0, 0.5, 3)

struct Bounds { double in_double, in_float, in_float_absolute; };

template <class F>
struct Unary {
    const char* name;
    F formula;
    Bounds bounds;
    Domain domain;
    const double *x, *y, *dx;
    int count;
};
template <class F>
struct Binary {
    const char* name;
    F formula;
    Bounds bounds;
    Domain domain;
    const double *a, *b, *y, *da, *db;
    int count;
};

// Calls visit(record) for every unary / binary operation.
template <class V>
void for_each_unary(V&& visit) {
#define TENON_RECORD(name, formula, d, f, fa, low, high)                                                                      \
    {                                                                                                                         \
        auto lambda = [](const auto& x) { return formula; };                                                                  \
        visit(Unary<decltype(lambda)>{#name, lambda, {d, f, fa}, {low, high}, golden::name::x, golden::name::y, golden::name::dx, \
                                      static_cast<int>(sizeof golden::name::x / sizeof(double))});                            \
    }
    TENON_UNARY_TABLE(TENON_RECORD)
#undef TENON_RECORD
}
template <class V>
void for_each_binary(V&& visit) {
#define TENON_RECORD(name, formula, d, f, fa, low, high)                                                                         \
    {                                                                                                                            \
        auto lambda = [](const auto& a, const auto& b) { return formula; };                                                      \
        visit(Binary<decltype(lambda)>{#name, lambda, {d, f, fa}, {low, high}, golden::name::a, golden::name::b, golden::name::y, \
                                       golden::name::da, golden::name::db, static_cast<int>(sizeof golden::name::a / sizeof(double))}); \
    }
    TENON_BINARY_TABLE(TENON_RECORD)
#undef TENON_RECORD
}

}  // namespace operators
