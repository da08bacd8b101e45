// Top-k pooling: keeps the nodes with the largest scores (Gao and Ji, "Graph U-nets", ICML 2019; Cangea et al. 2018).
#pragma once

#include <tenon/graph/points/clouds.hpp>
#include <tenon/graph/pool/batch.hpp>
#include <tenon/graph/pool/kept_graph.hpp>
#include <tenon/nn/init.hpp>
#include <tenon/nn/module.hpp>
#include <tenon/ops/mask.hpp>
#include <tenon/ops/norm.hpp>
#include <tenon/ops/reduce.hpp>

namespace tenon::graph {

enum class Gate { tanh, sigmoid, none };

struct TopKOptions {
    double ratio = 0.5;     // of a graph of n nodes ceil(ratio n) are kept
    long count = 0;         // or, above 0, so many of each
    double min_score = -1;  // or, if 0 or more, those with a higher score, which is then a softmax over the graph; at least the best
    double multiplier = 1;  // of the features that are kept
    Gate gate = Gate::tanh;
};

// How nodes are chosen: score = gate(<x, weight> / |weight|). weight [1, F], uniform in +-1 / sqrt(F) at first. Derivatives of x and
// weight, none of the choice.
template <class T = float>
struct SelectTopK {
    Tensor<T, 2> weight;
    TopKOptions options;

    SelectTopK() = default;
    // Throws ShapeError, ValueError.
    SelectTopK(long channels, Key key, TopKOptions o = {}) : options(o) {
        if (channels < 1) fail<ShapeError>("SelectTopK: ", channels, " channels, expected at least 1");
        if (o.count < 0) fail<ValueError>("SelectTopK: count is ", o.count, ", expected 1 or more (0: by ratio)");
        if (o.count == 0) impl_points::check_ratio("SelectTopK", o.ratio);
        const double bound = 1 / __builtin_sqrt(static_cast<double>(channels));
        weight = uniform<T>({1, channels}, key, {-bound, bound}).require_grad();
    }
    // One score per node: x [nodes, F] -> [nodes].
    Tensor<T, 1> score(const Tensor<T, 2>& x, const Segments& batch) const {
        if (x.shape(1) != weight.shape(1))
            fail<ShapeError>("SelectTopK: x is ", x.record()->description(), ", expected ", weight.shape(1), " channels");
        const Tensor<T, 1> along = tenon::sum<1>(x * weight);
        return gated(options.min_score >= 0 ? along : Tensor<T, 1>(along / norm(weight)), batch);
    }
    // The gate of numbers [nodes], or their softmax over each graph.
    Tensor<T, 1> gated(const Tensor<T, 1>& along, const Segments& batch) const {
        if (options.min_score >= 0) return segment_softmax(along, batch);
        switch (options.gate) {
            case Gate::tanh: return tanh(along);
            case Gate::sigmoid: return sigmoid(along);
            case Gate::none: break;
        }
        return along;
    }
    // Which nodes stay: by the scores, largest first within each graph; with min_score in their own order.
    impl_pool::Kept choose(const Tensor<T, 1>& score, const Segments& batch) const {
        if (options.min_score < 0)
            return impl_pool::largest_rows(
                score, batch, [this](long n) { return options.count > 0 ? options.count : impl_points::share(options.ratio, n); });
        const Tensor<T, 1> own = score.detach();
        const Tensor<std::int64_t, 1> graph_of = segment_index(batch);
        const Tensor<T, 1> best = index_select<0>(segment_max(own, batch).values, graph_of) - T(1e-7);
        const Tensor<bool, 1> high = own > minimum(best, static_cast<T>(options.min_score));
        const Tensor<std::int64_t, 1> rows = nonzero(high)(all, 0);
        return {contiguous(rows), Segments::from_indices(index_select<0>(graph_of, contiguous(rows)), batch.count())};
    }
    static void visit(auto& self, auto&& f) { f("weight", self.weight); }
};

namespace impl_pool {

template <class T>
PooledNodes<T> pool_selected(const SelectTopK<T>& select, const Tensor<T, 2>& x, const Tensor<T, 1>& score, const Graph& g,
                             const Segments& batch) {
    Kept kept = select.choose(score, batch);
    PooledNodes<T> result;
    result.perm = kept.rows;
    result.batch = kept.batch;
    result.score = index_select<0>(score, kept.rows);
    const Tensor<T, 2> rows = index_select<0>(x, kept.rows);
    if (select.options.multiplier == 1) result.x = rows * result.score.template unsqueeze<1>();
    else result.x = rows * result.score.template unsqueeze<1>() * static_cast<T>(select.options.multiplier);
    result.graph = kept_graph(g, kept.rows, result.edges);
    return result;
}

template <class T>
Segments nodes_of(const char* operation, const Tensor<T, 2>& x, const Graph& g, const Segments& batch) {
    if (g.nodes() != x.shape(0)) fail<ShapeError>(operation, ": ", x.record()->description(), " for a graph of ", g.nodes(), " nodes");
    return batch_of(operation, x, batch);
}

}  // namespace impl_pool

// pool(x, g, batch): the nodes with the largest scores, their features times their scores, and the edges between them: see
// PooledNodes. x [nodes, F]. Parameter "select.weight" [1, F]. (Of a device the host reads which are kept, and makes the graph.) Throws
// ShapeError. Derivative: to the kept rows of x and, through their scores, to all that the score reads.
template <class T = float>
struct TopKPooling {
    SelectTopK<T> select;

    TopKPooling() = default;
    TopKPooling(long channels, Key key, TopKOptions options = {}) : select(channels, key, options) {}
    PooledNodes<T> operator()(const Tensor<T, 2>& x, const Graph& g, const Segments& given = {}) const {
        const Segments batch = impl_pool::nodes_of("TopKPooling", x, g, given);
        return impl_pool::pool_selected(select, x, select.score(x, batch), g, batch);
    }
    static void visit(auto& self, auto&& f) { f("select", self.select); }
};

}  // namespace tenon::graph
