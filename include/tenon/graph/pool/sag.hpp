// Self-attention pooling: top-k pooling whose scores see the graph (Lee, Lee, Kang, "Self-attention graph pooling", ICML 2019).
#pragma once

#include <tenon/graph/pool/top_k.hpp>

namespace tenon::graph {

// pool(x, g, batch): as TopKPooling, the scores being gate(gnn(x, g) w / |w|): gnn is any layer to [nodes, 1], w one number
// (of which, after the division, the sign is left). Parameters "gnn..." and "select.weight".
template <class Layer, class T = float>
struct SAGPooling {
    Layer gnn;
    SelectTopK<T> select;

    SAGPooling() = default;
    SAGPooling(Layer layer, Key key, TopKOptions options = {}) : gnn(static_cast<Layer&&>(layer)), select(1, key, options) {}
    PooledNodes<T> operator()(const Tensor<T, 2>& x, const Graph& g, const Segments& batch = {}) const {
        const Tensor<T, 2> score = gnn(x, g);
        if (score.shape(0) != x.shape(0) || score.shape(1) != 1)
            fail<ShapeError>("SAGPooling: the layer gives ", score.record()->description(), ", expected [", x.shape(0), ", 1]");
        return impl_pool::pool_selected("SAGPooling", select, x, score, g, batch);
    }
    static void visit(auto& self, auto&& f) {
        f("gnn", self.gnn);
        f("select", self.select);
    }
};

}  // namespace tenon::graph
