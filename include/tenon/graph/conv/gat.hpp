// Graph attention (Velickovic et al. 2018).
#pragma once

#include <tenon/graph/attention.hpp>
#include <tenon/graph/conv/common.hpp>
#include <tenon/nn/dropout.hpp>

namespace tenon::graph {

struct GatConvOptions {
    long heads = 1;
    bool concat = true;  // heads side by side, else their mean
    double negative_slope = 0.2;
    double dropout = 0;  // of the attention weights, while the context trains
    bool add_self_loops = true;
    long edge_dim = 0;   // of features of the edges, which add to the scores
    // Attention vectors begin as halves of one [1, H, 2 C], as PyTorch Geometric kept them when its paper's table was made: glorot of H +
    // 2 C, narrower. (Of GATConv alone.)
    bool form_of_2019 = false;
};

// h = x W' in heads; y_i = sum over the edges j -> i of softmax(leaky_relu(h_j . att_src + h_i . att_dst + e_ji W_e' . att_edge)) h_j, +
// bias (equations 1 to 6 there). Self-loops are replaced by one for every node; its features are the mean of those of the edges that
// arrive. x [N, in] dense or Csr, features of the edges e [E, edge_dim]; result [N, heads * out] or [N, out], an expression. lin.weight,
// att_src, att_dst [1, H, C] glorot, bias zeros. What is kept for backward says gat_aggregate; of the edges with features E x heads
// x out are stored. Throws ShapeError, ValueError. Derivatives of x, e and the parameters.
template <class T = float>
struct GATConv {
    nn::Linear<T, false> lin, lin_edge;
    Tensor<T, 3> att_src, att_dst, att_edge;
    Tensor<T, 1> bias;
    GatConvOptions options;
    Key key;

    GATConv() = default;
    GATConv(long in, long out, Key own, const GatConvOptions& o = {})
        : lin(glorot_linear<T>(in, o.heads * out, own.split(0))),
          att_src(glorot<T>({1, o.heads, out}, own.split(1))),
          att_dst(glorot<T>({1, o.heads, out}, own.split(2))),
          bias(zeros<T>({o.concat ? o.heads * out : out}).require_grad()),
          options(o),
          key(own) {
        if (o.form_of_2019) {
            const Tensor<T, 3> both = glorot<T>({1, o.heads, 2 * out}, own.split(1)).detach();
            att_dst = clone(both(all, all, slice(0, out))).require_grad();
            att_src = clone(both(all, all, slice(out, 2 * out))).require_grad();
        }
        if (o.edge_dim == 0) return;
        lin_edge = glorot_linear<T>(o.edge_dim, o.heads * out, own.split(3));
        att_edge = glorot<T>({1, o.heads, out}, own.split(4));
    }
    template <class X>
    auto operator()(X&& x, const Graph& g, const Tensor<T, 2>& edge_attr = {}) const {
        impl::check_edge_attr("GATConv", g, edge_attr, options.edge_dim);
        return run(features(static_cast<X&&>(x)), g, edge_attr, nullptr) + bias;
    }
    template <class X>
    auto operator()(X&& x, const Graph& g, const nn::Context& context, const Tensor<T, 2>& edge_attr = {}) const {
        impl::check_edge_attr("GATConv", g, edge_attr, options.edge_dim);
        return run(features(static_cast<X&&>(x)), g, edge_attr, context.training && options.dropout > 0 ? &context : nullptr) + bias;
    }
    // Of a bipartite graph: x [sources, in] and [targets, in]; add_self_loops is for as many sources as targets.
    template <class X, class Y>
        requires(Expression<Y> || is_csr<std::remove_cvref_t<Y>>)
    auto operator()(X&& sources, Y&& targets, const Graph& g, const Tensor<T, 2>& edge_attr = {}) const {
        return between(features(static_cast<X&&>(sources)), features(static_cast<Y&&>(targets)), g, edge_attr, nullptr) + bias;
    }
    template <class X, class Y>
        requires(Expression<Y> || is_csr<std::remove_cvref_t<Y>>)
    auto operator()(X&& sources, Y&& targets, const Graph& g, const nn::Context& context, const Tensor<T, 2>& edge_attr = {}) const {
        return between(features(static_cast<X&&>(sources)), features(static_cast<Y&&>(targets)), g, edge_attr,
                       context.training && options.dropout > 0 ? &context : nullptr) +
               bias;
    }
    // Features of the edges of with_self_loops(g).
    static Tensor<T, 2> looped(const Graph& g, const Tensor<T, 2>& edge_attr) {
        const Tensor<T, 2> rest = index_select<0>(edge_attr, impl::loop_split(g).kept);
        return concat<0>(rest, Tensor<T, 2>(aggregate_edges(mean, without_self_loops(g), rest)));
    }

    static void visit(auto& self, auto&& f) {
        f("att_src", self.att_src);
        f("att_dst", self.att_dst);
        if (self.options.edge_dim > 0) f("att_edge", self.att_edge);
        f("bias", self.bias);
        f("lin", self.lin);
        if (self.options.edge_dim > 0) f("lin_edge", self.lin_edge);
    }

private:
    // Attention vectors as a matrix [heads * width, heads]: dot products with the heads of all nodes are one product, which takes
    // less time than sums of short rows of up to 16 heads, for all that most of it is 0 (a node with an infinite feature has no finite
    // score of any head then).
    static Tensor<T, 2> by_head(const Tensor<T, 3>& att) {
        const long heads = att.shape(1), width = att.shape(2);
        const Tensor<T, 2> own = eye<T>(heads, heads, att.device());
        const Tensor<T, 3> spread = att.reshape({heads, width, 1}) * own.reshape({heads, 1, heads});
        return spread.reshape({heads * width, heads});
    }
    template <class X>
    Tensor<T, 2> run(const X& x, const Graph& given, const Tensor<T, 2>& edge_attr, const nn::Context* context) const {
        const Graph& g = options.add_self_loops ? with_self_loops(given) : given;
        const Tensor<T, 2> flat = project(x, lin.weight);
        const long heads = options.heads, width = att_src.shape(2), nodes = flat.shape(0);
        const Tensor<T, 3> h = flat.reshape({nodes, heads, width});
        // (On a device the matrix would come from the host, which a captured graph cannot have.)
        Tensor<T, 2> s, t;
        if (h.device().is_cpu() && heads <= 16) {
            const Tensor<T, 2> both = matmul(flat, tenon::concat<1>(by_head(att_src), by_head(att_dst)));
            s = both(all, slice(0, heads)), t = both(all, slice(heads, 2 * heads));
        } else {
            s = tenon::sum<-1>(h * att_src), t = tenon::sum<-1>(h * att_dst);
        }
        GatOptions o{options.negative_slope, 0, {}};
        if (context != nullptr) {
            o.dropout = options.dropout;
            o.key = context->key.split(key.bits);
        }
        Tensor<T, 3> y;
        if (options.edge_dim > 0 && edge_attr.has_value()) {
            const Tensor<T, 2> attributes = options.add_self_loops ? looped(given, edge_attr) : edge_attr;
            const Tensor<T, 3> e = project(attributes, lin_edge.weight).reshape({g.edges(), heads, width});
            y = gat_aggregate(g, h, s, t, Tensor<T, 2>(tenon::sum<-1>(e * att_edge)), o);
        } else {
            y = gat_aggregate(g, h, s, t, o);
        }
        if (options.concat) return y.reshape({nodes, heads * width});
        return heads == 1 ? y.reshape({nodes, width}) : Tensor<T, 2>(tenon::mean<1>(y));
    }
    // Scores of sources and of targets that are not the same nodes.
    template <class X, class Y>
    Tensor<T, 2> between(const X& x, const Y& own, const Graph& given, const Tensor<T, 2>& edge_attr, const nn::Context* context) const {
        impl::check_edge_attr("GATConv", given, edge_attr, options.edge_dim);
        const Graph& g = impl::looped("GATConv", given, options.add_self_loops);
        const long heads = options.heads, width = att_src.shape(2), nodes = own.shape(0);
        const auto split = [&](const Tensor<T, 2>& y) { return y.reshape({y.shape(0), heads, width}); };
        const auto score = [](const Tensor<T, 3>& y, const Tensor<T, 3>& att) { return Tensor<T, 2>(tenon::sum<-1>(y * att)); };
        const Tensor<T, 3> h = split(project(x, lin.weight));
        const Tensor<T, 2> s = score(h, att_src), t = score(split(project(own, lin.weight)), att_dst);
        GatOptions o{options.negative_slope, 0, {}};
        if (context != nullptr) {
            o.dropout = options.dropout;
            o.key = context->key.split(key.bits);
        }
        Tensor<T, 3> y;
        if (options.edge_dim > 0) {
            const Tensor<T, 2> attributes = options.add_self_loops ? looped(given, edge_attr) : edge_attr;
            y = gat_aggregate(g, h, s, t, score(split(project(attributes, lin_edge.weight)), att_edge), o);
        } else {
            y = gat_aggregate(g, h, s, t, o);
        }
        if (options.concat) return y.reshape({nodes, heads * width});
        return heads == 1 ? y.reshape({nodes, width}) : Tensor<T, 2>(tenon::mean<1>(y));
    }
};

}  // namespace tenon::graph
