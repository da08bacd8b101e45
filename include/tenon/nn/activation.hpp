// Activation functions as modules, for nn::Sequential. What they return is an expression: it joins the loop of what follows.
#pragma once

#include <tenon/nn/module.hpp>
#include <tenon/ops/softmax.hpp>

namespace tenon::nn {

#define TENON_ACTIVATION(Name, formula)                                      \
    struct Name {                                                            \
        template <Expression X>                                              \
        auto operator()(X&& x) const { return formula(static_cast<X&&>(x)); } \
        static void visit(auto&, auto&&) {}                                  \
    };
TENON_ACTIVATION(ReLU, relu)
TENON_ACTIVATION(Sigmoid, sigmoid)
TENON_ACTIVATION(Tanh, tanh)
TENON_ACTIVATION(SiLU, silu)
TENON_ACTIVATION(SELU, selu)
TENON_ACTIVATION(Softplus, softplus)
TENON_ACTIVATION(Mish, mish)
TENON_ACTIVATION(Hardswish, hardswish)
#undef TENON_ACTIVATION

// x where it is above 0, slope * x elsewhere.
struct LeakyReLU {
    double negative_slope = 0.01;
    LeakyReLU() = default;
    explicit LeakyReLU(double slope) : negative_slope(slope) {}
    template <Expression X>
    auto operator()(X&& x) const { return leaky_relu(static_cast<X&&>(x), negative_slope); }
    static void visit(auto&, auto&&) {}
};
struct ELU {
    double alpha = 1;
    ELU() = default;
    explicit ELU(double scale) : alpha(scale) {}
    template <Expression X>
    auto operator()(X&& x) const { return elu(static_cast<X&&>(x), alpha); }
    static void visit(auto&, auto&&) {}
};
// x * Phi(x); GELU<true>: its tanh approximation.
template <bool TanhApproximation = false>
struct GELU {
    template <Expression X>
    auto operator()(X&& x) const {
        if constexpr (TanhApproximation) return gelu_tanh(static_cast<X&&>(x));
        else return gelu(static_cast<X&&>(x));
    }
    static void visit(auto&, auto&&) {}
};
// Between two bounds.
struct Hardtanh {
    double low = -1, high = 1;
    Hardtanh() = default;
    Hardtanh(double least, double most) : low(least), high(most) {}
    template <Expression X>
    auto operator()(X&& x) const { return clamp(static_cast<X&&>(x), low, high); }
    static void visit(auto&, auto&&) {}
};
struct ReLU6 {
    template <Expression X>
    auto operator()(X&& x) const { return clamp(static_cast<X&&>(x), 0, 6); }
    static void visit(auto&, auto&&) {}
};
struct Hardsigmoid {
    template <Expression X>
    auto operator()(X&& x) const { return clamp(static_cast<X&&>(x) + 3, 0, 6) / 6; }
    static void visit(auto&, auto&&) {}
};
template <int Axis = -1>
struct Softmax {
    template <Expression X>
    auto operator()(X&& x) const { return softmax<Axis>(static_cast<X&&>(x)); }
    static void visit(auto&, auto&&) {}
};
template <int Axis = -1>
struct LogSoftmax {
    template <Expression X>
    auto operator()(X&& x) const { return log_softmax<Axis>(static_cast<X&&>(x)); }
    static void visit(auto&, auto&&) {}
};

}  // namespace tenon::nn
