// Graph transformers' convolution (Shi et al. 2021): scaled products of queries and keys over edges.
#pragma once

#include <tenon/graph/conv/common.hpp>
#include <tenon/nn/dropout.hpp>

namespace tenon::graph {

struct TransformerConvOptions {
    long heads = 1;
    bool concat = true;       // heads side by side, else their mean
    double dropout = 0;       // of the weights, while the context trains
    long edge_dim = 0;        // of features of the edges, added to keys and values (and then stored for every edge)
    bool root_weight = true;  // adds lin_skip of the node itself
};

// y_i = lin_skip(x_i) + sum over the edges j -> i of softmax(query_i . (key_j + e) / sqrt(out)) (value_j + e), e = lin_edge of the
// edge's features [E, edge_dim]. x [N, in]; result [N, heads * out] or [N, out]. All PyTorch's default. Without features of the edges
// nothing of size edges x features is stored, with them edges x heads x out. Throws ShapeError, ValueError. Derivatives of x, the features
// of the edges and the parameters.
template <class T = float>
struct TransformerConv {
    nn::Linear<T> lin_key, lin_query, lin_value, lin_skip;
    nn::Linear<T, false> lin_edge;
    TransformerConvOptions options;
    long width = 0;
    Key own;

    TransformerConv() = default;
    TransformerConv(long in, long out, Key key, const TransformerConvOptions& o = {})
        : lin_key(in, o.heads * out, key.split(0)),
          lin_query(in, o.heads * out, key.split(1)),
          lin_value(in, o.heads * out, key.split(2)),
          options(o),
          width(out),
          own(key) {
        if (o.root_weight) lin_skip = nn::Linear<T>(in, o.concat ? o.heads * out : out, key.split(3));
        if (o.edge_dim > 0) lin_edge = nn::Linear<T, false>(o.edge_dim, o.heads * out, key.split(4));
    }
    template <Expression X>
    Tensor<T, 2> operator()(X&& given, const Graph& g, const Tensor<T, 2>& edge_attr = {}) const {
        const Tensor<T, 2> x = features(static_cast<X&&>(given));
        return run(x, x, g, edge_attr, nullptr);
    }
    template <Expression X>
    Tensor<T, 2> operator()(X&& given, const Graph& g, const nn::Context& context, const Tensor<T, 2>& edge_attr = {}) const {
        const Tensor<T, 2> x = features(static_cast<X&&>(given));
        return run(x, x, g, edge_attr, &context);
    }
    // Of a bipartite graph: x [sources, in] and [targets, in].
    template <Expression X, Expression Y>
    Tensor<T, 2> operator()(X&& sources, Y&& targets, const Graph& g, const Tensor<T, 2>& edge_attr = {}) const {
        return run(features(static_cast<X&&>(sources)), features(static_cast<Y&&>(targets)), g, edge_attr, nullptr);
    }
    template <Expression X, Expression Y>
    Tensor<T, 2> operator()(X&& sources, Y&& targets, const Graph& g, const nn::Context& context,
                            const Tensor<T, 2>& edge_attr = {}) const {
        return run(features(static_cast<X&&>(sources)), features(static_cast<Y&&>(targets)), g, edge_attr, &context);
    }
    static void visit(auto& self, auto&& f) {
        f("lin_key", self.lin_key);
        f("lin_query", self.lin_query);
        f("lin_value", self.lin_value);
        if (self.options.edge_dim > 0) f("lin_edge", self.lin_edge);
        if (self.options.root_weight) f("lin_skip", self.lin_skip);
    }

private:
    Tensor<T, 2> run(const Tensor<T, 2>& x, const Tensor<T, 2>& node, const Graph& g, const Tensor<T, 2>& edge_attr,
                     const nn::Context* context) const {
        impl::check_edge_attr("TransformerConv", g, edge_attr, options.edge_dim);
        const long heads = options.heads, nodes = node.shape(0);
        const auto split = [&](const Tensor<T, 2>& y) { return y.reshape({y.shape(0), heads, width}); };
        const Tensor<T, 3> query = split(lin_query(node)), key = split(lin_key(x)), value = split(lin_value(x));
        const bool with_edges = options.edge_dim > 0;
        const T scale = static_cast<T>(1 / __builtin_sqrt(static_cast<double>(width)));
        Tensor<T, 2> score = sddmm(g, query, key);
        Tensor<T, 3> e;
        if (with_edges) {
            e = split(lin_edge(edge_attr));
            score = eval(score + tenon::sum<-1>(gather_targets(g, query) * e));
        }
        Tensor<T, 2> weight = edge_softmax(g, score * scale);
        if (context != nullptr && context->training && options.dropout > 0)
            weight = dropout(weight, options.dropout, context->key.split(own.bits));
        Tensor<T, 3> y = aggregate<sum>(g, value, weight);
        if (with_edges) y = eval(y + aggregate_edges(sum, g, e * weight.reshape({g.edges(), heads, 1})));
        const Tensor<T, 2> all_heads = options.concat ? y.reshape({nodes, heads * width}) : Tensor<T, 2>(tenon::mean<1>(y));
        return options.root_weight ? Tensor<T, 2>(eval(all_heads + lin_skip(node))) : all_heads;
    }
};

}  // namespace tenon::graph
