// Graph isomorphism networks (Xu et al. 2019).
#pragma once

#include <tenon/graph/conv/common.hpp>

namespace tenon::graph {

// y_i = nn((1 + eps) x_i + sum over the edges j -> i of x_j) (equation 4.1), nn a module of one's own from in columns. eps [1] is trained
// or stays as it is. x [N, in]; the result is nn's. With form_of_2019 self-loops are left out, as PyTorch Geometric did. Nothing of size
// edges x features is stored. Throws ShapeError. Derivatives of x, eps and nn's parameters.
template <class Module, class T = float>
struct GINConv {
    Module nn;
    Tensor<T, 1> eps;
    bool train_eps = false, form_of_2019 = false;

    GINConv() = default;
    explicit GINConv(Module module, double e = 0, bool train = false, bool as_in_2019 = false)
        : nn(module), eps(full<T>({1}, static_cast<T>(e))), train_eps(train), form_of_2019(as_in_2019) {
        if (train) eps.require_grad();
    }
    template <Expression X>
    auto operator()(X&& given, const Graph& g) const {
        const Tensor<T, 2> x = features(static_cast<X&&>(given));
        return nn(total(x, x, g));
    }
    // A module that takes a context: dropout, batch norm in training.
    template <Expression X, class Context>
        requires requires(const Module& m, const Tensor<T, 2>& x, const Context& c) { m(x, c); }
    auto operator()(X&& given, const Graph& g, const Context& context) const {
        const Tensor<T, 2> x = features(static_cast<X&&>(given));
        return nn(total(x, x, g), context);
    }
    // Of a bipartite graph: x [sources, in] and [targets, in].
    template <Expression X, Expression Y>
    auto operator()(X&& sources, Y&& targets, const Graph& g) const {
        return nn(total(features(static_cast<X&&>(sources)), features(static_cast<Y&&>(targets)), g));
    }
    template <Expression X, Expression Y, class Context>
        requires requires(const Module& m, const Tensor<T, 2>& x, const Context& c) { m(x, c); }
    auto operator()(X&& sources, Y&& targets, const Graph& g, const Context& context) const {
        return nn(total(features(static_cast<X&&>(sources)), features(static_cast<Y&&>(targets)), g), context);
    }
    static void visit(auto& self, auto&& f) {
        f("nn", self.nn);
        if (self.train_eps) f("eps", self.eps);
        else f("eps", tenon::nn::buffer(self.eps));
    }

private:
    Tensor<T, 2> total(const Tensor<T, 2>& x, const Tensor<T, 2>& own, const Graph& g) const {
        impl::check_nodes("GINConv", g, own.record(), g.targets(), "targets");
        return eval((T(1) + eps) * own + aggregate<sum>(form_of_2019 ? without_self_loops(g) : g, x));
    }
};

// The same of messages relu(x_j + e_ji) (Hu et al. 2020, section 5), e [edges, in]; with edge_dim their features [edges, edge_dim] go
// through lin first (PyTorch's default). The messages are stored, edges x in. Throws ShapeError. Derivatives of x, e, eps and the
// parameters.
template <class Module, class T = float>
struct GINEConv {
    Module nn;
    tenon::nn::Linear<T> lin;
    Tensor<T, 1> eps;
    bool train_eps = false, has_lin = false;

    GINEConv() = default;
    explicit GINEConv(Module module, double e = 0, bool train = false)
        : nn(module), eps(full<T>({1}, static_cast<T>(e))), train_eps(train) {
        if (train) eps.require_grad();
    }
    GINEConv(Module module, long edge_dim, long in, Key key, double e = 0, bool train = false) : GINEConv(module, e, train) {
        lin = tenon::nn::Linear<T>(edge_dim, in, key);
        has_lin = true;
    }
    template <Expression X>
    auto operator()(X&& given, const Graph& g, const Tensor<T, 2>& edge_attr) const {
        const Tensor<T, 2> x = features(static_cast<X&&>(given));
        return nn(total(x, x, g, edge_attr));
    }
    // A module that takes a context: dropout, batch norm in training.
    template <Expression X>
    auto operator()(X&& given, const Graph& g, const tenon::nn::Context& context, const Tensor<T, 2>& edge_attr) const {
        const Tensor<T, 2> x = features(static_cast<X&&>(given));
        return tenon::nn::detail::call(nn, total(x, x, g, edge_attr), context);
    }
    // Of a bipartite graph: x [sources, in] and [targets, in].
    template <Expression X, Expression Y>
    auto operator()(X&& sources, Y&& targets, const Graph& g, const Tensor<T, 2>& edge_attr) const {
        return nn(total(features(static_cast<X&&>(sources)), features(static_cast<Y&&>(targets)), g, edge_attr));
    }
    template <Expression X, Expression Y>
    auto operator()(X&& sources, Y&& targets, const Graph& g, const tenon::nn::Context& context, const Tensor<T, 2>& edge_attr) const {
        return tenon::nn::detail::call(
            nn, total(features(static_cast<X&&>(sources)), features(static_cast<Y&&>(targets)), g, edge_attr), context);
    }
    static void visit(auto& self, auto&& f) {
        f("nn", self.nn);
        if (self.has_lin) f("lin", self.lin);
        if (self.train_eps) f("eps", self.eps);
        else f("eps", tenon::nn::buffer(self.eps));
    }

private:
    Tensor<T, 2> total(const Tensor<T, 2>& x, const Tensor<T, 2>& own, const Graph& g, const Tensor<T, 2>& edge_attr) const {
        impl::check_nodes("GINEConv", g, own.record(), g.targets(), "targets");
        impl::check_edge_attr("GINEConv", g, edge_attr, has_lin ? lin.weight.shape(1) : x.shape(1));
        const Tensor<T, 2> e = has_lin ? Tensor<T, 2>(lin(edge_attr)) : edge_attr;
        const Tensor<T, 2> messages = relu(gather_sources(g, x) + e);
        return eval((T(1) + eps) * own + aggregate_edges(sum, g, messages));
    }
};

}  // namespace tenon::graph
