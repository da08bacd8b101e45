// Graph convolution of Kipf and Welling (2017).
#pragma once

#include <tenon/graph/conv/common.hpp>

namespace tenon::graph {

struct GcnOptions : NormOptions {
    bool normalize = true;  // false: edges' weights as they are
};

// y = A x W' + b (equation 2 there), A the adjacency with self-loops, normalised on both sides (gcn_norm, kept with the graph). x [N, in]
// dense or Csr, weights of the edges [E] or none; result [N, out], an expression. lin.weight [out, in] glorot, bias zeros. Propagates on
// whichever side of the product is narrower; nothing of size edges x features is stored. Throws ShapeError. Derivatives of x, the weights
// and the parameters.
template <class T = float, bool Bias = true>
struct GCNConv {
    nn::Linear<T, false> lin;
    Tensor<T, 1> bias;
    GcnOptions options;

    GCNConv() = default;
    GCNConv(long in, long out, Key key, const GcnOptions& o = {}) : lin(glorot_linear<T>(in, out, key)), options(o) {
        if constexpr (Bias) bias = zeros<T>({out}).require_grad();
    }

    template <class X>
    auto operator()(X&& given, const Graph& g, const Tensor<T, 1>& weight = {}) const {
        const auto x = features(static_cast<X&&>(given));
        const Tensor<T, 2> y = propagate(x, options.normalize ? gcn_norm<T>(g, weight, options) : WeightedGraph<T>{g, weight});
        if constexpr (Bias) return y + bias;
        else return y;
    }
    static void visit(auto& self, auto&& f) {
        f("lin", self.lin);
        if constexpr (Bias) f("bias", self.bias);
    }

private:
    template <class X>
    Tensor<T, 2> propagate(const X& x, const WeightedGraph<T>& a) const {
        if constexpr (!is_csr<X>)
            if (lin.weight.shape(1) < lin.weight.shape(0)) return project(sum_of(a, x), lin.weight);
        return sum_of(a, project(x, lin.weight));
    }
    static Tensor<T, 2> sum_of(const WeightedGraph<T>& a, const Tensor<T, 2>& x) {
        return a.weight.has_value() ? aggregate<sum>(a.graph, x, a.weight) : aggregate<sum>(a.graph, x);
    }
};

}  // namespace tenon::graph
