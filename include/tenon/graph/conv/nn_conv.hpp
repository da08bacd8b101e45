// Edge-conditioned convolution (Gilmer et al. 2017; Simonovsky and Komodakis 2017), without a matrix for every edge.
#pragma once

#include <tenon/graph/conv/common.hpp>

namespace tenon::graph {

// y_i = x_i W_root + sum or mean over the edges j -> i of x_j M(e_ji) + b (Gilmer et al.'s edge network), where M(e) is lin_nn(nn(e)),
// in * out numbers read as a matrix [in, out]. nn is a module of one's own that gives `hidden` numbers for each edge; its last, linear
// layer is lin_nn. Being linear, it moves behind the sum: each node's neighbours are summed up hidden + 1 times, and multiplied once.
// x [N, in], features of the edges [E, D]; result [N, out]. lin_nn and lin, the root's: PyTorch's default; bias zeros. Stored are E x
// hidden and N x hidden x in numbers, nothing of size edges x features. Throws ShapeError, ValueError. Derivatives of x, the features of
// the edges and the parameters.
template <class Module, class T = float>
struct NNConv {
    Module nn;
    tenon::nn::Linear<T> lin_nn;
    tenon::nn::Linear<T, false> lin;
    Tensor<T, 1> bias;
    Aggregation aggregation = Aggregation::sum;
    long in = 0, out = 0;
    bool root_weight = true;

    NNConv() = default;
    NNConv(long inputs, long outputs, Module module, long hidden, Key key, Aggregation how = Aggregation::sum, bool root = true)
        : nn(module),
          lin_nn(hidden, inputs * outputs, key.split(0)),
          bias(zeros<T>({outputs}).require_grad()),
          aggregation(how),
          in(inputs),
          out(outputs),
          root_weight(root) {
        if (how != Aggregation::sum && how != Aggregation::mean)
            fail<ValueError>("NNConv: the aggregation is neither the sum nor the mean");
        if (root) lin = tenon::nn::Linear<T, false>(inputs, outputs, key.split(1));
    }
    template <Expression X>
    Tensor<T, 2> operator()(X&& given, const Graph& g, const Tensor<T, 2>& edge_attr) const {
        const Tensor<T, 2> x = features(static_cast<X&&>(given));
        return run(x, x, g, nn(edge_attr));
    }
    // A module that takes a context: dropout, batch norm in training.
    template <Expression X>
    Tensor<T, 2> operator()(X&& given, const Graph& g, const tenon::nn::Context& context, const Tensor<T, 2>& edge_attr) const {
        const Tensor<T, 2> x = features(static_cast<X&&>(given));
        return run(x, x, g, tenon::nn::detail::call(nn, edge_attr, context));
    }
    // Of a bipartite graph: x [sources, in] and [targets, in].
    template <Expression X, Expression Y>
    Tensor<T, 2> operator()(X&& sources, Y&& targets, const Graph& g, const Tensor<T, 2>& edge_attr) const {
        return run(features(static_cast<X&&>(sources)), features(static_cast<Y&&>(targets)), g, nn(edge_attr));
    }
    template <Expression X, Expression Y>
    Tensor<T, 2> operator()(X&& sources, Y&& targets, const Graph& g, const tenon::nn::Context& context,
                            const Tensor<T, 2>& edge_attr) const {
        return run(features(static_cast<X&&>(sources)), features(static_cast<Y&&>(targets)), g,
                   tenon::nn::detail::call(nn, edge_attr, context));
    }
    static void visit(auto& self, auto&& f) {
        f("bias", self.bias);
        f("nn", self.nn);
        f("lin_nn", self.lin_nn);
        if (self.root_weight) f("lin", self.lin);
    }

private:
    // z: what nn gives for each edge.
    Tensor<T, 2> run(const Tensor<T, 2>& x, const Tensor<T, 2>& own, const Graph& g, const Tensor<T, 2>& z) const {
        const long nodes = x.shape(0), hidden = lin_nn.weight.shape(1);
        if (x.shape(1) != in) fail<ShapeError>("NNConv: x is ", x.record()->description(), ", expected ", in, " features");
        impl::check_nodes("NNConv", g, own.record(), g.targets(), "targets");
        if (z.shape(1) != hidden)
            fail<ShapeError>("NNConv: the network gives ", z.record()->description(), ", expected ", hidden, " numbers for each edge");
        const Tensor<T, 3> copies = contiguous(x.reshape({nodes, 1, in}).expand({nodes, hidden, in}));
        const Tensor<T, 2> near = aggregate(aggregation, g, copies, z).reshape({g.targets(), hidden * in});
        const Tensor<T, 2> matrices =
            contiguous(lin_nn.weight.reshape({in, out, hidden}).template permute<2, 0, 1>()).reshape({hidden * in, out});
        Tensor<T, 2> y = matmul(near, matrices);
        y = eval(y + matmul(aggregate(aggregation, g, x), lin_nn.bias.reshape({in, out})));
        if (root_weight) y = eval(y + lin(own));
        return y + bias;
    }
};

}  // namespace tenon::graph
