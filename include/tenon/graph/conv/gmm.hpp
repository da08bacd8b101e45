// Mixture-model convolution (Monti et al. 2017).
#pragma once

#include <tenon/graph/conv/common.hpp>

namespace tenon::graph {

// y_i = x_i W_root + mean (sum, an extreme) over the edges j -> i of sum over k < K of exp(-1/2 sum over d of (e_d - mu_kd)^2 / (1e-15 +
// sigma_kd^2)) x_j G_k + b, e the D pseudo-coordinates of an edge. A mean of sums, as PyTorch Geometric computes
// it (its documentation divides by K). x [N, in], edge_attr [E, D]; result [N, out]. g [in, K * out], mu, sigma [K, D] and root begin as
// glorot, bias zeros. Stored are E x K x D and N x K x out numbers, nothing of size edges x features. Throws ShapeError. Derivatives of x,
// the coordinates and the parameters.
template <class T = float>
struct GMMConv {
    Tensor<T, 2> g, mu, sigma;
    nn::Linear<T, false> root;
    Tensor<T, 1> bias;
    Aggregation aggregation = Aggregation::mean;
    bool root_weight = true;

    GMMConv() = default;
    GMMConv(long in, long out, long dim, long kernels, Key key, Aggregation how = Aggregation::mean, bool with_root = true)
        : g(glorot<T>({in, kernels * out}, key.split(0))),
          mu(glorot<T>({kernels, dim}, key.split(1))),
          sigma(glorot<T>({kernels, dim}, key.split(2))),
          bias(zeros<T>({out}).require_grad()),
          aggregation(how),
          root_weight(with_root) {
        if (with_root) root = glorot_linear<T>(in, out, key.split(3));
    }
    template <Expression X>
    Tensor<T, 2> operator()(X&& given, const Graph& edges, const Tensor<T, 2>& edge_attr) const {
        const Tensor<T, 2> x = features(static_cast<X&&>(given));
        return run(x, x, edges, edge_attr);
    }
    // Of a bipartite graph: x [sources, in] and [targets, in].
    template <Expression X, Expression Y>
    Tensor<T, 2> operator()(X&& sources, Y&& targets, const Graph& edges, const Tensor<T, 2>& edge_attr) const {
        return run(features(static_cast<X&&>(sources)), features(static_cast<Y&&>(targets)), edges, edge_attr);
    }
    static void visit(auto& self, auto&& f) {
        f("g", self.g);
        f("mu", self.mu);
        f("sigma", self.sigma);
        if (self.root_weight) f("root", self.root);
        f("bias", self.bias);
    }

private:
    Tensor<T, 2> run(const Tensor<T, 2>& x, const Tensor<T, 2>& own, const Graph& edges, const Tensor<T, 2>& edge_attr) const {
        impl::check_nodes("GMMConv", edges, own.record(), edges.targets(), "targets");
        impl::check_edge_attr("GMMConv", edges, edge_attr, mu.shape(1));
        const long kernels = mu.shape(0), dim = mu.shape(1), out = bias.shape(0), count = edge_attr.shape(0);
        const Tensor<T, 3> e = edge_attr.reshape({count, 1, dim}), m = mu.reshape({1, kernels, dim}), s = sigma.reshape({1, kernels, dim});
        const Tensor<T, 2> weight = exp(T(-0.5) * tenon::sum<-1>(square(e - m) / (T(1e-15) + square(s))));
        const Tensor<T, 2> through = matmul(x, g);
        Tensor<T, 2> y = tenon::sum<1>(aggregate(aggregation, edges, through.reshape({x.shape(0), kernels, out}), weight));
        if (root_weight) y = eval(y + root(own));
        return y + bias;
    }
};

}  // namespace tenon::graph
