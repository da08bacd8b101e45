// The convolution of "Weisfeiler and Leman go neural" (Morris et al. 2019).
#pragma once

#include <tenon/graph/conv/common.hpp>

namespace tenon::graph {

// y_i = W_rel aggregate(w_ji x_j) + b + W_root x_i. x [N, in], weights of the edges [E] or none; result [N, out]. Both PyTorch's default.
template <class T = float>
struct GraphConv {
    nn::Linear<T> lin_rel;
    nn::Linear<T, false> lin_root;
    Aggregation aggregation = Aggregation::sum;

    GraphConv() = default;
    GraphConv(long in, long out, Key key, Aggregation how = Aggregation::sum)
        : lin_rel(in, out, key.split(0)), lin_root(in, out, key.split(1)), aggregation(how) {}
    template <Expression X>
    auto operator()(X&& given, const Graph& g, const Tensor<T, 1>& weight = {}) const {
        const Tensor<T, 2> x = features(static_cast<X&&>(given));
        const Tensor<T, 2> near = weight.has_value() ? aggregate(aggregation, g, x, weight) : aggregate(aggregation, g, x);
        const Tensor<T, 2> y = lin_rel(near);
        return y + lin_root(x);
    }
    static void visit(auto& self, auto&& f) {
        f("lin_rel", self.lin_rel);
        f("lin_root", self.lin_root);
    }
};

}  // namespace tenon::graph
