// Self-attention pooling: top-k pooling whose scores see the graph (Lee, Lee, Kang, "Self-attention graph pooling", ICML 2019).
#pragma once

#include <tenon/graph/pool/top_k.hpp>
#include <tenon/nn/sequential.hpp>

namespace tenon::graph {

// pool(x, g, batch): as TopKPooling, the scores being gate(gnn(x, g) w / |w|): gnn is any layer to [nodes, 1], w one number
// (of which, after the division, the sign is left). With form_of_2019 they are gate(gnn(x, g)) alone (equation 3 there), without w.
// pool(x, g, context, batch) hands the context to gnn. Parameters "gnn..." and "select.weight". Throws ShapeError. Derivative: to the kept
// rows of x and, through their scores, to x and the parameters.
template <class Layer, class T = float>
struct SAGPooling {
    Layer gnn;
    SelectTopK<T> select;
    bool form_of_2019 = false;

    SAGPooling() = default;
    SAGPooling(Layer layer, Key key, TopKOptions options = {}, bool as_in_2019 = false)
        : gnn(static_cast<Layer&&>(layer)), select(1, key, options), form_of_2019(as_in_2019) {}
    PooledNodes<T> operator()(const Tensor<T, 2>& x, const Graph& g, const Segments& batch = {}) const {
        return run(x, gnn(x, g), g, batch);
    }
    PooledNodes<T> operator()(const Tensor<T, 2>& x, const Graph& g, const nn::Context& context, const Segments& batch = {}) const {
        if constexpr (requires { gnn(x, g, context); }) return run(x, gnn(x, g, context), g, batch);
        else return run(x, gnn(x, g), g, batch);
    }
    static void visit(auto& self, auto&& f) {
        f("gnn", self.gnn);
        if (!self.form_of_2019) f("select", self.select);
    }

private:
    PooledNodes<T> run(const Tensor<T, 2>& x, const Tensor<T, 2>& attention, const Graph& g, const Segments& given) const {
        const Segments batch = impl_pool::nodes_of("SAGPooling", x, g, given);
        if (attention.shape(0) != x.shape(0) || attention.shape(1) != 1)
            fail<ShapeError>("SAGPooling: the layer gives ", attention.record()->description(), ", expected [", x.shape(0), ", 1]");
        const Tensor<T, 1> score = form_of_2019 ? select.gated(attention.template squeeze<1>(), batch) : select.score(attention, batch);
        return impl_pool::pool_selected(select, x, score, g, batch);
    }
};

}  // namespace tenon::graph
