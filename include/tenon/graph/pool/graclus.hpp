// Graclus: pairs of nodes, by greedy matching (Dhillon, Guan, Kulis, "Weighted graph cuts without eigenvectors", TPAMI 2007).
#pragma once

#include <tenon/graph/graph.hpp>
#include <tenon/ops/random.hpp>

namespace tenon::graph {

// graclus(g, key, weight): a cluster id per node, int64 [nodes], for max_pool and avg_pool. Nodes are visited in random order; one
// that is still alone takes its first neighbour (by index along its outgoing edges) that is alone too, with weights [edges] the one
// with the heaviest edge (of equal ones the last); the id is the smaller of the two nodes. On the host. No derivative. Throws
// ShapeError.
template <class T = float>
[[nodiscard]] Tensor<std::int64_t, 1> graclus(const Graph& g, Key key, const Tensor<T, 1>& weight = {}) {
    const long n = g.nodes();
    if (weight.has_value() && weight.size() != g.edges())
        fail<ShapeError>("graclus: ", weight.size(), " weights for ", g.edges(), " edges");
    const Tensor<T, 1> heavy = weight.has_value() ? contiguous(weight.detach().to(cpu)) : Tensor<T, 1>();
    const CsrPattern out = g.out().to(cpu);
    const Tensor<std::int64_t, 1> order = permutation(n, key);
    Tensor<std::int64_t, 1> cluster = full<std::int64_t>({n}, -1);
    std::int64_t* c = cluster.data();
    for (long k = 0; k < n; ++k) {
        const std::int64_t u = order.data()[k];
        if (c[u] >= 0) continue;
        std::int64_t mate = u;
        T most(0);
        for (std::int32_t p = out.pointers.data()[u]; p < out.pointers.data()[u + 1]; ++p) {
            const std::int64_t v = out.columns.data()[p];
            if (v == u || c[v] >= 0) continue;
            if (!heavy.has_value()) {
                mate = v;
                break;
            }
            const T w = heavy.data()[out.edges.data()[p]];
            if (mate == u || w >= most) {
                mate = v;
                most = w;
            }
        }
        c[u] = c[mate] = u < mate ? u : mate;
    }
    return cluster.to(g.device());
}

}  // namespace tenon::graph
