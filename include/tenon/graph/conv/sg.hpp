// Simple graph convolution (Wu et al. 2019).
#pragma once

#include <tenon/graph/conv/common.hpp>

namespace tenon::graph {

// y = A^K x W' + b, A as in GCNConv. What comes before the product does not depend on the parameters: layer.propagate(x, g) once, and
// layer.lin of it in every step, is the same. x [N, in], weights of the edges [E] or none; result [N, out], an expression. lin [out, in]:
// PyTorch's default. Nothing of size edges x features is stored. Throws ShapeError, ValueError. Derivatives of x, the weights and the
// parameters.
template <class T = float>
struct SGConv {
    nn::Linear<T> lin;
    long steps = 1;
    NormOptions options;

    SGConv() = default;
    SGConv(long in, long out, long k, Key key, const NormOptions& o = {}) : lin(in, out, key), steps(k), options(o) {
        if (k < 0) fail<ValueError>("SGConv: ", k, " steps, expected 0 or more");
    }
    template <class X>
    Tensor<T, 2> propagate(X&& given, const Graph& g, const Tensor<T, 1>& weight = {}) const {
        Tensor<T, 2> x = features(static_cast<X&&>(given));
        const WeightedGraph<T> a = gcn_norm<T>(g, weight, options);
        for (long k = 0; k < steps; ++k) x = aggregate<sum>(a.graph, x, a.weight);
        return x;
    }
    template <class X>
    auto operator()(X&& x, const Graph& g, const Tensor<T, 1>& weight = {}) const { return lin(propagate(static_cast<X&&>(x), g, weight)); }

    static void visit(auto& self, auto&& f) { f("lin", self.lin); }
};

}  // namespace tenon::graph
