// Edge pooling: contracts the edges with the largest scores (Diehl, "Edge contraction pooling for graph neural networks", 2019).
#pragma once

#include <tenon/graph/edges.hpp>
#include <tenon/graph/pool/cluster.hpp>
#include <tenon/nn/dropout.hpp>
#include <tenon/nn/linear.hpp>
#include <tenon/ops/concat.hpp>

namespace tenon::graph {

struct EdgePoolingOptions {
    double dropout = 0;  // of the raw scores
    double add = 0.5;    // to the scores, which are a softmax over the edges into each node
};

template <class T>
struct PooledByEdges {
    Tensor<T, 2> x;
    Graph graph;
    Segments batch;
    Tensor<std::int64_t, 1> cluster;  // [nodes before]: what each has become
    Tensor<T, 1> score;               // [nodes after]: of the contracted edge, 1 where a node stays alone
};

// pool(x, g, batch), x [nodes, F]: edges are scored by lin([x_source, x_target]), a softmax over each node's incoming edges, plus `add`; by
// falling score (of equal ones the first) an edge between two nodes that are both still there is contracted: their features add up, times
// the score. Other nodes stay. unpool(x, pooled) goes back. Contraction runs on the host. pool(x, g, batch, context) drops raw scores
// while it trains. Parameters "lin.weight" [1, 2 F], "lin.bias" [1]. Throws ShapeError. Derivative: to x, and to the scores of contracted
// edges.
template <class T = float>
struct EdgePooling {
    nn::Linear<T> lin;
    nn::Dropout dropout;
    double add = 0.5;

    EdgePooling() = default;
    // Throws ShapeError, ValueError.
    EdgePooling(long channels, Key key, EdgePoolingOptions options = {})
        : lin(2 * channels, 1, key.split(0)), dropout(options.dropout, key.split(1)), add(options.add) {}

    PooledByEdges<T> operator()(const Tensor<T, 2>& x, const Graph& g, const Segments& batch, const nn::Context& context) const {
        return run(x, g, batch, &context);
    }
    PooledByEdges<T> operator()(const Tensor<T, 2>& x, const Graph& g, const Segments& batch = {}) const {
        return run(x, g, batch, nullptr);
    }

    // Features [nodes after, F] back on the nodes before: those of its cluster, divided by the score.
    Tensor<T, 2> unpool(const Tensor<T, 2>& x, const PooledByEdges<T>& pooled) const {
        return index_select<0>(x / pooled.score.template unsqueeze<1>(), pooled.cluster);
    }
    static void visit(auto& self, auto&& f) { f("lin", self.lin); }

private:
    PooledByEdges<T> run(const Tensor<T, 2>& x, const Graph& g, const Segments& given, const nn::Context* context) const {
        if (g.nodes() != x.shape(0)) fail<ShapeError>("EdgePooling: ", x.record()->description(), " for a graph of ", g.nodes(), " nodes");
        const Segments batch = impl_pool::batch_of("EdgePooling", x, given);
        const Tensor<T, 2> raw = lin(concat<1>({gather_sources(g, x), gather_targets(g, x)}));
        Tensor<T, 1> score = raw.template squeeze<1>();
        if (context != nullptr) score = Tensor<T, 1>(dropout(score, *context));
        score = Tensor<T, 1>(edge_softmax(g, score) + static_cast<T>(add));

        const Tensor<std::int64_t, 1> by_score = argsort(score.detach(), {.descending = true}).to(cpu);
        const Tensor<std::int64_t, 2> ends = g.edge_index().to(cpu);
        const long n = g.nodes(), edges = g.edges();
        std::vector<std::int64_t> contracted;
        Tensor<std::int64_t, 1> cluster = full<std::int64_t>({n}, -1);
        std::int64_t* c = cluster.data();
        std::int64_t count = 0;
        for (long k = 0; k < edges; ++k) {
            const std::int64_t e = by_score.data()[k], a = ends.data()[e], b = ends.data()[edges + e];
            if (c[a] >= 0 || c[b] >= 0) continue;
            c[a] = c[b] = count++;
            contracted.push_back(e);
        }
        for (long i = 0; i < n; ++i)
            if (c[i] < 0) c[i] = count++;
        PooledByEdges<T> result;
        result.cluster = cluster.to(x.device());
        const long many = static_cast<long>(contracted.size());
        const Tensor<T, 1> own = index_select<0>(score, from<std::int64_t>({many}, contracted.data(), x.device()));
        result.score = concat<0>({own, ones<T>({static_cast<long>(count) - many}, x.device())});
        const Clusters clusters = consecutive(result.cluster);
        result.x = segment_sum(x, clusters.nodes) * result.score.template unsqueeze<1>();
        result.graph = pool_edges(g, clusters, true).graph;
        result.batch = Segments::from_indices(index_select<0>(segment_index(batch), clusters.first), batch.count());
        return result;
    }
};

}  // namespace tenon::graph
