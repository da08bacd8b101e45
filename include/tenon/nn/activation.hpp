// Activation functions as modules, for nn::Sequential. What they return is an expression: it joins the loop of what follows.
#pragma once

#include <tenon/core/factories.hpp>
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
// x where it is above 0, weight * x elsewhere, with one slope for all or one for each channel (axis 1), trained (He et al. 2015).
template <class T = float>
struct PReLU {
    Tensor<T, 1> weight;

    explicit PReLU(long channels = 1, double slope = 0.25) : weight(full<T>({channels}, static_cast<T>(slope)).require_grad()) {
        if (channels < 1) fail<ShapeError>("PReLU: ", channels, " channels, expected at least 1");
    }
    template <Expression X>
    auto operator()(X&& given) const {
        const auto x = impl::as_tensor(static_cast<X&&>(given));
        constexpr int rank = std::remove_const_t<decltype(x)>::rank;
        if constexpr (rank < 2) {
            return where(x > T(0), x, x * weight);
        } else {
            Shape<rank - 1> sizes;
            for (int i = 0; i < rank - 1; ++i) sizes[i] = i == 0 ? weight.shape(0) : 1;
            const Tensor<T, rank - 1> slopes(tenon::detail::reshape_any(weight.record(), rank - 1, sizes.dims));
            return where(x > T(0), x, x * slopes);
        }
    }
    static void visit(auto& self, auto&& f) { f("weight", self.weight); }
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
