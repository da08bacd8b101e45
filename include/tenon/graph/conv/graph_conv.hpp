// The convolution of "Weisfeiler and Leman go neural" (Morris et al. 2019).
#pragma once

#include <tenon/graph/conv/common.hpp>

namespace tenon::graph {

// y_i = W_rel aggregate(w_ji x_j) + b + W_root x_i, the sum, mean or an extreme over the edges j -> i. x [N, in],
// weights of the edges [E] or none; result [N, out], an expression. lin_rel, lin_root [out, in], bias [out]: PyTorch's default. With
// form_of_2019 the bias is lin_root's, by name, as PyTorch Geometric had it. Stored is what the nodes have, nothing of size edges x
// features. Throws ShapeError. Derivatives of x, the weights and the parameters.
template <class T = float>
struct GraphConv {
    nn::Linear<T> lin_rel;
    nn::Linear<T, false> lin_root;
    Aggregation aggregation = Aggregation::sum;
    bool form_of_2019 = false;

    GraphConv() = default;
    GraphConv(long in, long out, Key key, Aggregation how = Aggregation::sum, bool as_in_2019 = false)
        : lin_rel(in, out, key.split(0)), lin_root(in, out, key.split(1)), aggregation(how), form_of_2019(as_in_2019) {}
    template <Expression X>
    auto operator()(X&& given, const Graph& g, const Tensor<T, 1>& weight = {}) const {
        const Tensor<T, 2> x = features(static_cast<X&&>(given));
        return run(x, x, g, weight);
    }
    // Of a bipartite graph: x [sources, in] and [targets, in].
    template <Expression X, Expression Y>
    auto operator()(X&& sources, Y&& targets, const Graph& g, const Tensor<T, 1>& weight = {}) const {
        return run(features(static_cast<X&&>(sources)), features(static_cast<Y&&>(targets)), g, weight);
    }
    static void visit(auto& self, auto&& f) {
        if (self.form_of_2019) {
            f("lin_rel.weight", self.lin_rel.weight);
            f("lin_root.weight", self.lin_root.weight);
            f("lin_root.bias", self.lin_rel.bias);
            return;
        }
        f("lin_rel", self.lin_rel);
        f("lin_root", self.lin_root);
    }

private:
    auto run(const Tensor<T, 2>& x, const Tensor<T, 2>& own, const Graph& g, const Tensor<T, 1>& weight) const {
        impl::check_nodes("GraphConv", g, own.record(), g.targets(), "targets");
        const Tensor<T, 2> near = weight.has_value() ? aggregate(aggregation, g, x, weight) : aggregate(aggregation, g, x);
        const Tensor<T, 2> y = lin_rel(near);
        return y + lin_root(own);
    }
};

}  // namespace tenon::graph
