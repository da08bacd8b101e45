// The graph between the nodes that a pooling layer keeps.
#pragma once

#include <tenon/graph/graph.hpp>
#include <tenon/ops/index.hpp>
#include <tenon/ops/segment.hpp>

#include <vector>

namespace tenon::graph {

// What a pooling layer that drops nodes leaves: node i is node perm[i] of the graph before.
template <class T>
struct PooledNodes {
    Tensor<T, 2> x;                 // [kept, F]
    Graph graph;                    // between the kept nodes, edges in the order in which they were
    Segments batch;                 // the kept nodes of each graph
    Tensor<std::int64_t, 1> perm;   // [kept]
    Tensor<T, 1> score;             // [kept]
    Tensor<std::int64_t, 1> edges;  // which edges are left: attributes are index_select<0>(edge_attr, edges)
};

namespace impl_pool {

// Edges whose ends are both among `perm` (distinct nodes), with the nodes' places there. On the host.
inline Graph kept_graph(const Graph& g, const Tensor<std::int64_t, 1>& perm, Tensor<std::int64_t, 1>& edges) {
    const Tensor<std::int64_t, 1> rows = perm.to(cpu);
    const Tensor<std::int64_t, 2> from_to = g.edge_index().to(cpu);
    std::vector<std::int64_t> place(static_cast<std::size_t>(g.nodes()), -1);
    for (long i = 0; i < rows.size(); ++i) place[static_cast<std::size_t>(rows.data()[i])] = i;
    const long count = g.edges();
    std::vector<std::int64_t> left;
    for (long e = 0; e < count; ++e)
        if (place[static_cast<std::size_t>(from_to.data()[e])] >= 0 && place[static_cast<std::size_t>(from_to.data()[count + e])] >= 0)
            left.push_back(e);
    const long many = static_cast<long>(left.size());
    Tensor<std::int64_t, 2> between = empty<std::int64_t>({2, many});
    edges = empty<std::int64_t>({many});
    for (long k = 0; k < many; ++k) {
        const std::int64_t e = left[static_cast<std::size_t>(k)];
        edges.data()[k] = e;
        for (long end = 0; end < 2; ++end)
            between.data()[end * many + k] = place[static_cast<std::size_t>(from_to.data()[end * count + e])];
    }
    edges = edges.to(perm.device());
    return Graph::from_edges(between.to(g.device()), rows.size());
}

}  // namespace impl_pool
}  // namespace tenon::graph
