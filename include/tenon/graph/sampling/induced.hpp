// The part of a graph between some of its nodes, at the cost of their edges alone.
#pragma once

#include <tenon/graph/graph.hpp>
#include <tenon/graph/sampling/local_ids.hpp>

namespace tenon::graph {

// Node i is node nodes[i] of the whole, edge e of `graph` (by its edge_index) is edge edges[e].
struct Sampled {
    Tensor<std::int64_t, 1> nodes;
    Graph graph;
    Tensor<std::int64_t, 1> edges;
};

namespace impl_sampling {

inline Tensor<std::int64_t, 1> tensor_of(const std::vector<std::int64_t>& values) {
    return from<std::int64_t>({values.size()}, values.data());
}
inline Tensor<std::int64_t, 2> pairs_of(const std::vector<std::int64_t>& first, const std::vector<std::int64_t>& second) {
    const long n = static_cast<long>(first.size());
    Tensor<std::int64_t, 2> pairs = empty<std::int64_t>({2, n});
    for (long k = 0; k < n; ++k) {
        pairs.data()[k] = first[static_cast<std::size_t>(k)];
        pairs.data()[n + k] = second[static_cast<std::size_t>(k)];
    }
    return pairs;
}
inline void check_host(const char* operation, Device device) {
    if (!device.is_cpu())
        fail<DeviceError>(operation,
                          ": sampling runs on the host, expected a graph on cpu\n       hint: sample first, and move what was sampled");
}
inline void check_node(const char* operation, std::int64_t node, long position, long nodes) {
    if (node < 0 || node >= nodes)
        fail<IndexError>(operation, ": node ", static_cast<long>(node), " at position ", position, " is out of range, expected 0 to ",
                         nodes - 1);
}

}  // namespace impl_sampling

// induced_graph(g, nodes): the distinct nodes given, int64 [n], in their order, and all edges between them, sorted by target. Throws
// IndexError, ValueError for a node that comes twice. On the host.
[[nodiscard]] inline Sampled induced_graph(const Graph& g, const Tensor<std::int64_t, 1>& given) {
    impl_sampling::check_host("induced_graph", g.device());
    const Tensor<std::int64_t, 1> nodes = contiguous(given);
    impl_sampling::LocalIds ids(nodes.size());
    for (long i = 0; i < nodes.size(); ++i) {
        impl_sampling::check_node("induced_graph", nodes.data()[i], i, g.nodes());
        if (ids.number(nodes.data()[i]) != i)
            fail<ValueError>("induced_graph: node ", static_cast<long>(nodes.data()[i]), " comes twice, at position ", i, " again");
    }
    const CsrPattern& in = g.in();
    std::vector<std::int64_t> source, target, edges;
    for (long i = 0; i < nodes.size(); ++i) {
        const std::int64_t v = nodes.data()[i];
        for (std::int32_t p = in.pointers.data()[v]; p < in.pointers.data()[v + 1]; ++p) {
            const std::int64_t own = ids.find(in.columns.data()[p]);
            if (own < 0) continue;
            source.push_back(own);
            target.push_back(i);
            edges.push_back(in.edges.data()[p]);
        }
    }
    return {nodes, Graph::from_edges(impl_sampling::pairs_of(source, target), nodes.size()), impl_sampling::tensor_of(edges)};
}

}  // namespace tenon::graph
