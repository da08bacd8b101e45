// Linear: y = x W' + b.
#pragma once

#include <tenon/nn/init.hpp>
#include <tenon/nn/module.hpp>
#include <tenon/ops/matmul.hpp>

namespace tenon::nn {

// A fully connected layer. weight [out, in], bias [out], both uniform in +-1 / sqrt(in) at first (PyTorch's default).
// layer(x) maps [..., in] to [..., out] and is an expression: what follows it rides in the product's epilogue.
template <class T = float, bool Bias = true>
struct Linear {
    Tensor<T, 2> weight;
    Tensor<T, 1> bias;

    // An empty layer, to be assigned.
    Linear() = default;
    // Throws ShapeError on sizes below 1.
    Linear(long in, long out, Key key) {
        if (in < 1 || out < 1) fail<ShapeError>("Linear: sizes ", in, " -> ", out, ", expected at least 1 each");
        const double bound = 1 / __builtin_sqrt(static_cast<double>(in));
        weight = uniform<T>({out, in}, key.split(0), {-bound, bound}).require_grad();
        if constexpr (Bias) bias = uniform<T>({out}, key.split(1), {-bound, bound}).require_grad();
    }

    template <Expression X>
    auto operator()(X&& x) const {
        if constexpr (Bias) return linear(static_cast<X&&>(x), weight, bias);
        else return linear(static_cast<X&&>(x), weight);
    }

    static void visit(auto& self, auto&& f) {
        f("weight", self.weight);
        if constexpr (Bias) f("bias", self.bias);
    }
};

}  // namespace tenon::nn
