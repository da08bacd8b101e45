// Graphs and features made from the edges of a graph alone. On the host.
#pragma once

#include <tenon/graph/graph.hpp>

#include <algorithm>
#include <cmath>
#include <vector>

namespace tenon::graph {

namespace impl_structure {

// Pairs a * n + b as a graph, sorted, each once.
inline Graph graph_of(std::vector<std::int64_t>& pairs, long nodes, Device device) {
    std::sort(pairs.begin(), pairs.end());
    pairs.erase(std::unique(pairs.begin(), pairs.end()), pairs.end());
    const long edges = static_cast<long>(pairs.size());
    Tensor<std::int64_t, 2> index = empty<std::int64_t>({2, edges});
    for (long e = 0; e < edges; ++e) {
        index.data()[e] = pairs[static_cast<std::size_t>(e)] / nodes;
        index.data()[edges + e] = pairs[static_cast<std::size_t>(e)] % nodes;
    }
    return Graph::from_edges(index.to(device), nodes);
}

}  // namespace impl_structure

// local_degree_profile(g): for each node its number of outgoing edges and, of those of the nodes that they lead to, the smallest, the
// largest, the mean and the standard deviation (divided by n): [nodes, 5]; zeros without edges. (Cai and Wang, 2018.)
template <class T = float>
[[nodiscard]] Tensor<T, 2> local_degree_profile(const Graph& g) {
    const CsrPattern out = g.out().to(cpu);
    const auto degree = [&](long v) { return static_cast<double>(out.pointers.data()[v + 1] - out.pointers.data()[v]); };
    Tensor<T, 2> profile = zeros<T>({g.nodes(), 5});
    for (long v = 0; v < g.nodes(); ++v) {
        const double n = degree(v);
        if (n == 0) continue;
        double low = 0, high = 0, total = 0, squares = 0;
        for (std::int32_t p = out.pointers.data()[v]; p < out.pointers.data()[v + 1]; ++p) {
            const double d = degree(out.columns.data()[p]);
            low = p == out.pointers.data()[v] || d < low ? d : low;
            high = d > high ? d : high;
            total += d;
        }
        for (std::int32_t p = out.pointers.data()[v]; p < out.pointers.data()[v + 1]; ++p) {
            const double away = degree(out.columns.data()[p]) - total / n;
            squares += away * away;
        }
        T* to = profile.data() + 5 * v;
        to[0] = static_cast<T>(n);
        to[1] = static_cast<T>(low);
        to[2] = static_cast<T>(high);
        to[3] = static_cast<T>(total / n);
        to[4] = static_cast<T>(std::sqrt(squares / n));
    }
    return profile.to(g.device());
}

struct LineGraph {
    Graph graph;
    Tensor<std::int64_t, 2> nodes;  // [2, nodes]: the edge of the graph before that each node stands for
};
// line_graph(g, directed): edges become nodes, each pair of nodes once, sorted. Directed: node a -> b leads to every node b -> c.
// Undirected: the pairs {a, b}, a < b (loops are left out; a direction alone counts as both), lead to all with a common end.
[[nodiscard]] inline LineGraph line_graph(const Graph& g, bool directed) {
    const long n = g.nodes(), edges = g.edges();
    const Tensor<std::int64_t, 2> ends = g.edge_index().to(cpu);
    std::vector<std::int64_t> own;
    for (long e = 0; e < edges; ++e) {
        const std::int64_t a = ends.data()[e], b = ends.data()[edges + e];
        if (directed) own.push_back(a * n + b);
        else if (a != b) own.push_back((a < b ? a : b) * n + (a < b ? b : a));
    }
    std::sort(own.begin(), own.end());
    own.erase(std::unique(own.begin(), own.end()), own.end());
    const long count = static_cast<long>(own.size());
    LineGraph result;
    result.nodes = empty<std::int64_t>({2, count});
    std::vector<std::vector<std::int64_t>> at(
        static_cast<std::size_t>(n));  // directed: those that begin at a node; else those that touch it
    for (long k = 0; k < count; ++k) {
        const std::int64_t a = own[static_cast<std::size_t>(k)] / n, b = own[static_cast<std::size_t>(k)] % n;
        result.nodes.data()[k] = a;
        result.nodes.data()[count + k] = b;
        at[static_cast<std::size_t>(a)].push_back(k);
        if (!directed) at[static_cast<std::size_t>(b)].push_back(k);
    }
    std::vector<std::int64_t> pairs;
    for (long k = 0; k < count; ++k) {
        for (const std::int64_t next : at[static_cast<std::size_t>(result.nodes.data()[count + k])])
            if (directed || next != k) pairs.push_back(k * count + next);
        if (directed) continue;
        for (const std::int64_t next : at[static_cast<std::size_t>(result.nodes.data()[k])])
            if (next != k) pairs.push_back(k * count + next);
    }
    result.graph = impl_structure::graph_of(pairs, count, g.device());
    result.nodes = result.nodes.to(g.device());
    return result;
}

// two_hop(g): the edges, and one from a to c wherever there are edges a -> b -> c and a is not c: each pair once, sorted by (source,
// target).
[[nodiscard]] inline Graph two_hop(const Graph& g) {
    const CsrPattern out = g.out().to(cpu);
    std::vector<std::int64_t> pairs, reached;
    const long n = g.nodes();
    for (long a = 0; a < n; ++a) {
        reached.clear();
        for (std::int32_t p = out.pointers.data()[a]; p < out.pointers.data()[a + 1]; ++p) {
            const std::int64_t b = out.columns.data()[p];
            pairs.push_back(a * n + b);
            for (std::int32_t q = out.pointers.data()[b]; q < out.pointers.data()[b + 1]; ++q)
                if (out.columns.data()[q] != a) reached.push_back(out.columns.data()[q]);
        }
        std::sort(reached.begin(), reached.end());
        reached.erase(std::unique(reached.begin(), reached.end()), reached.end());
        for (const std::int64_t c : reached) pairs.push_back(a * n + c);
    }
    return impl_structure::graph_of(pairs, n, g.device());
}

}  // namespace tenon::graph
