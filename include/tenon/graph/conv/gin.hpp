// Graph isomorphism networks (Xu et al. 2019).
#pragma once

#include <tenon/graph/conv/common.hpp>

namespace tenon::graph {

// y = nn((1 + eps) x_i + sum of the neighbours' x_j), nn a module of one's own. eps is trained or stays as it is.
template <class Module, class T = float>
struct GINConv {
    Module nn;
    Tensor<T, 1> eps;
    bool train_eps = false;

    GINConv() = default;
    explicit GINConv(Module module, double e = 0, bool train = false) : nn(module), eps(full<T>({1}, static_cast<T>(e))), train_eps(train) {
        if (train) eps.require_grad();
    }
    template <Expression X>
    auto operator()(X&& given, const Graph& g) const {
        const auto x = features(static_cast<X&&>(given));
        return nn(Tensor<T, 2>(eval((T(1) + eps) * x + aggregate<sum>(g, x))));
    }
    // A module that takes a context: dropout, batch norm in training.
    template <Expression X, class Context>
        requires requires(const Module& m, const Tensor<T, 2>& x, const Context& c) { m(x, c); }
    auto operator()(X&& given, const Graph& g, const Context& context) const {
        const auto x = features(static_cast<X&&>(given));
        return nn(Tensor<T, 2>(eval((T(1) + eps) * x + aggregate<sum>(g, x))), context);
    }
    static void visit(auto& self, auto&& f) {
        f("nn", self.nn);
        if (self.train_eps) f("eps", self.eps);
        else f("eps", tenon::nn::buffer(self.eps));
    }
};

// The same of messages relu(x_j + e_ji), e [edges, in] (Hu et al. 2020); with edge_dim their features go through lin first.
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
        const auto x = features(static_cast<X&&>(given));
        const Tensor<T, 2> e = has_lin ? Tensor<T, 2>(lin(edge_attr)) : edge_attr;
        const Tensor<T, 2> messages = relu(gather_sources(g, x) + e);
        return nn(Tensor<T, 2>(eval((T(1) + eps) * x + aggregate_edges(sum, g, messages))));
    }
    static void visit(auto& self, auto&& f) {
        f("nn", self.nn);
        if (self.has_lin) f("lin", self.lin);
        if (self.train_eps) f("eps", self.eps);
        else f("eps", tenon::nn::buffer(self.eps));
    }
};

}  // namespace tenon::graph
