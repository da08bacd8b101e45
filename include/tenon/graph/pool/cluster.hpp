// Pooling by clusters: the nodes of a cluster become one node.
#pragma once

#include <tenon/graph/graph.hpp>
#include <tenon/graph/pool/batch.hpp>

#include <algorithm>
#include <vector>

namespace tenon::graph {

// Clusters counted without gaps, in the order of their ids.
struct Clusters {
    Segments nodes;                    // the nodes of each cluster
    Tensor<std::int64_t, 1> of_node;   // [nodes]: the cluster of each
    Tensor<std::int64_t, 1> first;     // [clusters]: its first node
    long count() const { return first.size(); }
};

// consecutive(cluster): from any ids, int64 [nodes]. (On the host.)
[[nodiscard]] inline Clusters consecutive(const Tensor<std::int64_t, 1>& cluster) {
    const Tensor<std::int64_t, 1> given = contiguous(cluster.to(cpu));
    std::vector<std::int64_t> ids(given.data(), given.data() + given.size());
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    Clusters c;
    const long many = static_cast<long>(ids.size());
    c.of_node = empty<std::int64_t>({given.size()});
    c.first = full<std::int64_t>({many}, -1);
    for (long i = 0; i < given.size(); ++i) {
        const std::int64_t own = std::lower_bound(ids.begin(), ids.end(), given.data()[i]) - ids.begin();
        c.of_node.data()[i] = own;
        if (c.first.data()[own] < 0) c.first.data()[own] = i;
    }
    const Device device = cluster.device();
    c.of_node = c.of_node.to(device);
    c.first = c.first.to(device);
    c.nodes = Segments::from_indices(c.of_node, many);
    return c;
}

struct PooledEdges {
    Graph graph;      // between clusters: every pair that an edge connects, once, sorted by (source, target)
    Segments edges;   // the edges behind each of them: attributes are segment_sum(index_select<0>(attr, taken), edges)
    Tensor<std::int64_t, 1> taken;  // the edges that do not vanish inside of a cluster (all with keep_loops), as given
};

// pool_edges(g, clusters): what is left of the edges. Edges inside of a cluster vanish, unless keep_loops. (On the host.)
[[nodiscard]] inline PooledEdges pool_edges(const Graph& g, const Clusters& clusters, bool keep_loops = false) {
    if (clusters.of_node.size() != g.nodes())
        fail<ShapeError>("pool_edges: clusters of ", clusters.of_node.size(), " nodes for a graph of ", g.nodes());
    const Tensor<std::int64_t, 1> of = clusters.of_node.to(cpu);
    const Tensor<std::int64_t, 2> ends = g.edge_index().to(cpu);
    const long many = clusters.count(), edges = g.edges();
    std::vector<std::int64_t> taken, keys;
    for (long e = 0; e < edges; ++e) {
        const std::int64_t a = of.data()[ends.data()[e]], b = of.data()[ends.data()[edges + e]];
        if (a == b && !keep_loops) continue;
        taken.push_back(e);
        keys.push_back(a * many + b);
    }
    std::vector<std::int64_t> ids = keys;
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    Tensor<std::int64_t, 1> group = empty<std::int64_t>({keys.size()});
    for (std::size_t k = 0; k < keys.size(); ++k) group.data()[k] = std::lower_bound(ids.begin(), ids.end(), keys[k]) - ids.begin();
    const long left = static_cast<long>(ids.size());
    Tensor<std::int64_t, 2> between = empty<std::int64_t>({2, left});
    for (long k = 0; k < left; ++k) {
        between.data()[k] = ids[static_cast<std::size_t>(k)] / many;
        between.data()[left + k] = ids[static_cast<std::size_t>(k)] % many;
    }
    PooledEdges result;
    const Device device = g.device();
    result.graph = Graph::from_edges(between.to(device), many);
    result.edges = Segments::from_indices(group.to(device), left);
    result.taken = from<std::int64_t>({taken.size()}, taken.data(), device);
    return result;
}

template <class T>
struct PooledClusters {
    Tensor<T, 2> x;     // [clusters, F]
    Graph graph;        // between clusters
    Segments batch;     // the clusters of each graph
    Clusters clusters;
    PooledEdges edges;  // which edges each edge of the graph stands for
};

namespace impl_pool {

template <class T, class F>
PooledClusters<T> pool_clusters(const char* operation, const Tensor<std::int64_t, 1>& cluster, const Tensor<T, 2>& x, const Graph& g,
                                const Segments& given, F&& reduce) {
    if (cluster.size() != x.shape(0)) fail<ShapeError>(operation, ": ", cluster.size(), " clusters for ", x.record()->description());
    const Segments batch = batch_of(operation, x, given);
    PooledClusters<T> result;
    result.clusters = consecutive(cluster);
    result.edges = pool_edges(g, result.clusters);
    result.graph = result.edges.graph;
    result.x = reduce(x, result.clusters.nodes);
    result.batch = Segments::from_indices(index_select<0>(segment_index(batch), result.clusters.first), batch.count());
    return result;
}

}  // namespace impl_pool

// max_pool(cluster, x, g, batch), avg_pool: the nodes with the same id in `cluster` (int64 [nodes], of graclus or voxel_grid)
// become one, with the largest (mean) features; edges between clusters count once, those inside vanish. A cluster belongs to the
// graph of its first node. Derivative as of segment_max and segment_mean. Throws ShapeError.
template <class T>
[[nodiscard]] PooledClusters<T> max_pool(const Tensor<std::int64_t, 1>& cluster, const Tensor<T, 2>& x, const Graph& g,
                                         const Segments& batch = {}) {
    return impl_pool::pool_clusters("max_pool", cluster, x, g, batch,
                                    [](const auto& rows, const Segments& s) { return segment_max(rows, s).values; });
}
template <class T>
[[nodiscard]] PooledClusters<T> avg_pool(const Tensor<std::int64_t, 1>& cluster, const Tensor<T, 2>& x, const Graph& g,
                                         const Segments& batch = {}) {
    return impl_pool::pool_clusters("avg_pool", cluster, x, g, batch,
                                    [](const auto& rows, const Segments& s) { return segment_mean(rows, s); });
}

}  // namespace tenon::graph
