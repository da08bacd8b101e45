// Graph attention whose scores are not of rank one (Brody et al. 2022).
#pragma once

#include <tenon/graph/conv/gat.hpp>

namespace tenon::graph {

// l = x W_l' + b_l, r = x W_r' + b_r in heads; y_i = sum over the edges j -> i of softmax(att . leaky_relu(r_i + l_j + e W_e')) l_j, +
// bias (equation 7 there). x [N, in], features of the edges e [E, edge_dim]; result [N, heads * out] or [N, out], an expression.
// Self-loops as in GATConv. lin_l, lin_r (glorot, biases PyTorch's default), att [1, H, C] glorot, bias zeros. The scores' inputs are
// stored, edges x heads x out. Throws ShapeError, ValueError. Derivatives of x, e and the parameters.
template <class T = float>
struct GATv2Conv {
    nn::Linear<T> lin_l, lin_r;
    nn::Linear<T, false> lin_edge;
    Tensor<T, 3> att;
    Tensor<T, 1> bias;
    GatConvOptions options;
    Key key;

    GATv2Conv() = default;
    GATv2Conv(long in, long out, Key own, const GatConvOptions& o = {})
        : lin_l(in, o.heads * out, own.split(0)), lin_r(in, o.heads * out, own.split(1)), att(glorot<T>({1, o.heads, out}, own.split(2))),
          bias(zeros<T>({o.concat ? o.heads * out : out}).require_grad()), options(o), key(own) {
        lin_l.weight = glorot<T>({o.heads * out, in}, own.split(3));
        lin_r.weight = glorot<T>({o.heads * out, in}, own.split(4));
        if (o.edge_dim > 0) lin_edge = glorot_linear<T>(o.edge_dim, o.heads * out, own.split(5));
    }
    template <Expression X>
    auto operator()(X&& given, const Graph& g, const Tensor<T, 2>& edge_attr = {}) const {
        const Tensor<T, 2> x = features(static_cast<X&&>(given));
        return run(x, x, g, edge_attr, nullptr) + bias;
    }
    template <Expression X>
    auto operator()(X&& given, const Graph& g, const nn::Context& context, const Tensor<T, 2>& edge_attr = {}) const {
        const Tensor<T, 2> x = features(static_cast<X&&>(given));
        return run(x, x, g, edge_attr, &context) + bias;
    }
    // Of a bipartite graph: x [sources, in] and [targets, in]; add_self_loops is for as many sources as targets.
    template <Expression X, Expression Y>
    auto operator()(X&& sources, Y&& targets, const Graph& g, const Tensor<T, 2>& edge_attr = {}) const {
        return run(features(static_cast<X&&>(sources)), features(static_cast<Y&&>(targets)), g, edge_attr, nullptr) + bias;
    }
    template <Expression X, Expression Y>
    auto operator()(X&& sources, Y&& targets, const Graph& g, const nn::Context& context, const Tensor<T, 2>& edge_attr = {}) const {
        return run(features(static_cast<X&&>(sources)), features(static_cast<Y&&>(targets)), g, edge_attr, &context) + bias;
    }
    static void visit(auto& self, auto&& f) {
        f("att", self.att);
        f("bias", self.bias);
        f("lin_l", self.lin_l);
        f("lin_r", self.lin_r);
        if (self.options.edge_dim > 0) f("lin_edge", self.lin_edge);
    }

private:
    Tensor<T, 2> run(const Tensor<T, 2>& x, const Tensor<T, 2>& own, const Graph& given, const Tensor<T, 2>& edge_attr,
                     const nn::Context* context) const {
        impl::check_edge_attr("GATv2Conv", given, edge_attr, options.edge_dim);
        const Graph& g = impl::looped("GATv2Conv", given, options.add_self_loops);
        const long heads = options.heads, width = att.shape(2), nodes = own.shape(0);
        const Tensor<T, 2> left = lin_l(x), right = lin_r(own);
        const Tensor<T, 3> values = left.reshape({x.shape(0), heads, width});
        Tensor<T, 2> both = gather_sources(g, left) + gather_targets(g, right);
        if (options.edge_dim > 0)
            both = eval(both + project(options.add_self_loops ? GATConv<T>::looped(given, edge_attr) : edge_attr, lin_edge.weight));
        const T slope = static_cast<T>(options.negative_slope);
        Tensor<T, 2> weight =
            edge_softmax(g, Tensor<T, 2>(tenon::sum<-1>(leaky_relu(both.reshape({g.edges(), heads, width}), slope) * att)));
        if (context != nullptr && context->training && options.dropout > 0)
            weight = dropout(weight, options.dropout, context->key.split(key.bits));
        const Tensor<T, 3> y = aggregate<sum>(g, values, weight);
        if (options.concat) return y.reshape({nodes, heads * width});
        return heads == 1 ? y.reshape({nodes, width}) : Tensor<T, 2>(tenon::mean<1>(y));
    }
};

}  // namespace tenon::graph
