// What is done to graphs before training, on lists of edges [2, E] (row 0 sources, row 1 targets) and on features, on the CPU. What is
// returned is fresh, without gradient record; edges keep their order unless said otherwise. Edges must name nodes 0 ... nodes - 1: an
// edge that does not is an IndexError with its number.
#pragma once

#include <tenon/core/csr.hpp>
#include <tenon/ops/copy.hpp>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace tenon::graph {

// Edges and what is known of them: attributes [E, D] (empty where none came), and for each the number it had before.
struct Edges {
    Tensor<std::int64_t, 2> edge_index;
    Tensor<float, 2> edge_attr;
    Tensor<std::int64_t, 1> edges;
};

}  // namespace tenon::graph
namespace tenon::graph_detail {

struct EdgeList {
    Tensor<std::int64_t, 2> index;
    Tensor<float, 2> attributes;
    long count = 0;
    std::int64_t source(long k) const { return index.data()[k]; }
    std::int64_t target(long k) const { return index.data()[count + k]; }
};
inline EdgeList checked_edges(const char* operation, const Tensor<std::int64_t, 2>& edge_index, long nodes, const Tensor<float, 2>& edge_attr = {}) {
    if (edge_index.shape(0) != 2) fail<ShapeError>(operation, ": edge_index is ", edge_index.record()->description(), ", expected [2, E]");
    if (nodes < 0) fail<ValueError>(operation, ": ", nodes, " nodes");
    EdgeList list{contiguous(edge_index.detach().to(cpu)), {}, edge_index.shape(1)};
    for (long k = 0; k < list.count; ++k)
        if (list.source(k) < 0 || list.source(k) >= nodes || list.target(k) < 0 || list.target(k) >= nodes)
            fail<IndexError>(operation, ": edge ", k, " is ", static_cast<long>(list.source(k)), " -> ", static_cast<long>(list.target(k)), ", but there are ", nodes, " nodes");
    if (edge_attr.has_value()) {
        if (edge_attr.shape(0) != list.count) fail<ShapeError>(operation, ": edge_attr is ", edge_attr.record()->description(), ", expected a row for each of ", list.count, " edges");
        list.attributes = contiguous(edge_attr.detach().to(cpu));
    }
    return list;
}
// The edges numbered, in that order.
inline graph::Edges chosen_edges(const EdgeList& list, const std::vector<long>& chosen) {
    const long count = static_cast<long>(chosen.size()), width = list.attributes.has_value() ? list.attributes.shape(1) : 0;
    graph::Edges result{empty<std::int64_t>({2, count}), {}, empty<std::int64_t>({count})};
    if (list.attributes.has_value()) result.edge_attr = empty<float>({count, width});
    for (long k = 0; k < count; ++k) {
        const long from = chosen[static_cast<std::size_t>(k)];
        result.edge_index.data()[k] = list.source(from);
        result.edge_index.data()[count + k] = list.target(from);
        result.edges.data()[k] = from;
        if (width > 0) std::memcpy(result.edge_attr.data() + k * width, list.attributes.data() + from * width, static_cast<std::size_t>(width) * sizeof(float));
    }
    return result;
}
inline std::vector<long> by_source_and_target(const EdgeList& list) {
    std::vector<long> order(static_cast<std::size_t>(list.count));
    for (long k = 0; k < list.count; ++k) order[static_cast<std::size_t>(k)] = k;
    std::stable_sort(order.begin(), order.end(), [&](long a, long b) { return list.source(a) != list.source(b) ? list.source(a) < list.source(b) : list.target(a) < list.target(b); });
    return order;
}

}  // namespace tenon::graph_detail
namespace tenon::graph {

// Every edge once, sorted by source and target; attributes of duplicates are added up in the order in which they came. `edges`
// names the first of each.
inline Edges coalesce(const Tensor<std::int64_t, 2>& edge_index, long nodes, const Tensor<float, 2>& edge_attr = {}) {
    const graph_detail::EdgeList list = graph_detail::checked_edges("coalesce", edge_index, nodes, edge_attr);
    const std::vector<long> order = graph_detail::by_source_and_target(list);
    std::vector<long> firsts;
    for (std::size_t i = 0; i < order.size(); ++i)
        if (i == 0 || list.source(order[i]) != list.source(order[i - 1]) || list.target(order[i]) != list.target(order[i - 1])) firsts.push_back(order[i]);
    Edges result = graph_detail::chosen_edges(list, firsts);
    if (!list.attributes.has_value() || firsts.size() == order.size()) return result;
    const long width = list.attributes.shape(1);
    long at = -1;
    for (std::size_t i = 0; i < order.size(); ++i) {
        if (at + 1 < static_cast<long>(firsts.size()) && order[i] == firsts[static_cast<std::size_t>(at + 1)]) {
            ++at;
            continue;
        }
        for (long c = 0; c < width; ++c) result.edge_attr.data()[at * width + c] += list.attributes.data()[order[i] * width + c];
    }
    return result;
}

// Every edge in both directions, once, sorted by source and target; attributes of an edge and of those that are the same or its
// reverse are added up. A self-loop is its own reverse, and counts twice, as in PyTorch Geometric.
inline Edges to_undirected(const Tensor<std::int64_t, 2>& edge_index, long nodes, const Tensor<float, 2>& edge_attr = {}) {
    const graph_detail::EdgeList list = graph_detail::checked_edges("to_undirected", edge_index, nodes, edge_attr);
    const Tensor<std::int64_t, 2> both = empty<std::int64_t>({2, 2 * list.count});
    for (long k = 0; k < list.count; ++k) {
        both.data()[k] = both.data()[3 * list.count + k] = list.source(k);
        both.data()[list.count + k] = both.data()[2 * list.count + k] = list.target(k);
    }
    Tensor<float, 2> attributes;
    if (list.attributes.has_value()) {
        const long width = list.attributes.shape(1);
        attributes = empty<float>({2 * list.count, width});
        const std::size_t bytes = static_cast<std::size_t>(list.count * width) * sizeof(float);
        if (bytes > 0) {
            std::memcpy(attributes.data(), list.attributes.data(), bytes);
            std::memcpy(attributes.data() + list.count * width, list.attributes.data(), bytes);
        }
    }
    Edges result = coalesce(both, nodes, attributes);
    for (long k = 0; k < result.edges.size(); ++k) result.edges.data()[k] %= list.count;
    return result;
}

inline Edges remove_self_loops(const Tensor<std::int64_t, 2>& edge_index, long nodes, const Tensor<float, 2>& edge_attr = {}) {
    const graph_detail::EdgeList list = graph_detail::checked_edges("remove_self_loops", edge_index, nodes, edge_attr);
    std::vector<long> kept;
    for (long k = 0; k < list.count; ++k)
        if (list.source(k) != list.target(k)) kept.push_back(k);
    return graph_detail::chosen_edges(list, kept);
}

// A self-loop for each node behind the edges, whether or not it has one; their attributes are `fill`, and they have number -1.
inline Edges add_self_loops(const Tensor<std::int64_t, 2>& edge_index, long nodes, const Tensor<float, 2>& edge_attr = {}, float fill = 1) {
    const graph_detail::EdgeList list = graph_detail::checked_edges("add_self_loops", edge_index, nodes, edge_attr);
    const long count = list.count + nodes;
    Edges result{empty<std::int64_t>({2, count}), {}, empty<std::int64_t>({count})};
    for (long k = 0; k < count; ++k) {
        const bool loop = k >= list.count;
        result.edge_index.data()[k] = loop ? k - list.count : list.source(k);
        result.edge_index.data()[count + k] = loop ? k - list.count : list.target(k);
        result.edges.data()[k] = loop ? -1 : k;
    }
    if (list.attributes.has_value()) {
        const long width = list.attributes.shape(1);
        result.edge_attr = full<float>({count, width}, fill);
        if (list.count * width > 0) std::memcpy(result.edge_attr.data(), list.attributes.data(), static_cast<std::size_t>(list.count * width) * sizeof(float));
    }
    return result;
}

// Which end of an edge counts.
enum class End { source, target };

// How many edges begin (or end) at each node, [nodes].
inline Tensor<float, 1> degree(const Tensor<std::int64_t, 2>& edge_index, long nodes, End end = End::source) {
    const graph_detail::EdgeList list = graph_detail::checked_edges("degree", edge_index, nodes);
    const Tensor<float, 1> degrees = zeros<float>({nodes});
    std::vector<long> counts(static_cast<std::size_t>(nodes));
    for (long k = 0; k < list.count; ++k) ++counts[static_cast<std::size_t>(end == End::source ? list.source(k) : list.target(k))];
    for (long i = 0; i < nodes; ++i) degrees.data()[i] = static_cast<float>(counts[static_cast<std::size_t>(i)]);
    return degrees;
}
// The degrees as one-hot features, [nodes, largest + 1]. Throws ValueError for a node with more edges than `largest`.
inline Tensor<float, 2> one_hot_degree(const Tensor<std::int64_t, 2>& edge_index, long nodes, long largest, End end = End::source) {
    const Tensor<float, 1> degrees = degree(edge_index, nodes, end);
    if (largest < 0) fail<ValueError>("one_hot_degree: the largest degree is ", largest);
    const Tensor<float, 2> x = zeros<float>({nodes, largest + 1});
    for (long i = 0; i < nodes; ++i) {
        const long d = static_cast<long>(degrees.data()[i]);
        if (d > largest) fail<ValueError>("one_hot_degree: node ", i, " has degree ", d, ", the largest was given as ", largest);
        x.data()[i * (largest + 1) + d] = 1;
    }
    return x;
}
// One feature of the same value for each node.
inline Tensor<float, 2> constant(long nodes, float value = 1) { return full<float>({nodes, 1}, value); }

// Features less the smallest of all, then every row divided by its sum where that is above 1, as PyTorch Geometric's NormalizeFeatures:
// rows of words' counts become frequencies.
inline Tensor<float, 2> normalize_features(const Tensor<float, 2>& x) {
    const Tensor<float, 2> y = clone(x.detach().to(cpu));
    const long rows = y.shape(0), width = y.shape(1);
    if (y.size() == 0) return y;
    float smallest = y.data()[0];
    for (long i = 0; i < y.size(); ++i) smallest = y.data()[i] < smallest ? y.data()[i] : smallest;
    for (long r = 0; r < rows; ++r) {
        float* const row = y.data() + r * width;
        float total = 0;
        for (long c = 0; c < width; ++c) total += row[c] -= smallest;
        for (long c = 0; c < width; ++c) row[c] /= total > 1 ? total : 1;
    }
    return y;
}
// The same of sparse features. Throws ValueError for one below 0, which would make the zeros something else.
inline Csr<float> normalize_features(const Csr<float>& x) {
    const CsrPattern rows = x.structure().by_row().to(cpu);
    const Tensor<float, 1> values = clone(x.values().detach().to(cpu));
    for (long r = 0; r < rows.rows; ++r) {
        float total = 0;
        for (long k = rows.pointers.data()[r]; k < rows.pointers.data()[r + 1]; ++k) {
            const float value = values.data()[rows.edges.data()[k]];
            if (value < 0) fail<ValueError>("normalize_features: a feature of row ", r, " is ", static_cast<double>(value), ", expected 0 or more in a sparse matrix");
            total += value;
        }
        for (long k = rows.pointers.data()[r]; k < rows.pointers.data()[r + 1]; ++k) values.data()[rows.edges.data()[k]] /= total > 1 ? total : 1;
    }
    return x.with_values(values.to(x.device()));
}

// A part of a graph: which nodes, in their new numbers' order, and the edges among them in those numbers.
struct Subgraph {
    Tensor<std::int64_t, 1> nodes;
    Edges edges;
};

// The graph among the nodes listed, numbered in the order of the list. Throws IndexError for a node that is not there, ValueError for
// one that is listed twice.
inline Subgraph subgraph(const Tensor<std::int64_t, 1>& subset, const Tensor<std::int64_t, 2>& edge_index, long nodes, const Tensor<float, 2>& edge_attr = {}) {
    const graph_detail::EdgeList list = graph_detail::checked_edges("subgraph", edge_index, nodes, edge_attr);
    const Tensor<std::int64_t, 1> chosen = clone(subset.detach().to(cpu));
    std::vector<std::int64_t> number(static_cast<std::size_t>(nodes), -1);
    for (long i = 0; i < chosen.size(); ++i) {
        const std::int64_t node = chosen.data()[i];
        if (node < 0 || node >= nodes) fail<IndexError>("subgraph: node ", static_cast<long>(node), " of ", nodes);
        if (number[static_cast<std::size_t>(node)] >= 0) fail<ValueError>("subgraph: node ", static_cast<long>(node), " is listed twice");
        number[static_cast<std::size_t>(node)] = i;
    }
    const auto new_number = [&](std::int64_t node) { return number[static_cast<std::size_t>(node)]; };
    std::vector<long> kept;
    for (long k = 0; k < list.count; ++k)
        if (new_number(list.source(k)) >= 0 && new_number(list.target(k)) >= 0) kept.push_back(k);
    Subgraph result{chosen, graph_detail::chosen_edges(list, kept)};
    for (long k = 0; k < result.edges.edge_index.size(); ++k) result.edges.edge_index.data()[k] = new_number(result.edges.edge_index.data()[k]);
    return result;
}

// The graph among the nodes from which a seed can be reached in at most `hops` edges, those that a network of so many layers looks at for
// the seeds: the seeds first, as listed, then the others by distance and number. Throws ValueError for a negative number of hops.
inline Subgraph k_hop(const Tensor<std::int64_t, 1>& seeds, long hops, const Tensor<std::int64_t, 2>& edge_index, long nodes, const Tensor<float, 2>& edge_attr = {}) {
    if (hops < 0) fail<ValueError>("k_hop: ", hops, " hops");
    const graph_detail::EdgeList list = graph_detail::checked_edges("k_hop", edge_index, nodes);
    const Tensor<std::int64_t, 1> first = contiguous(seeds.detach().to(cpu));
    std::vector<std::int64_t> found(first.data(), first.data() + first.size());
    std::vector<bool> seen(static_cast<std::size_t>(nodes));
    for (std::int64_t node : found) {
        if (node < 0 || node >= nodes) fail<IndexError>("k_hop: node ", static_cast<long>(node), " of ", nodes);
        seen[static_cast<std::size_t>(node)] = true;
    }
    const CsrPattern in = tenon::detail::sort_by_row(nodes, nodes, list.count, [&](long k) { return list.target(k); }, [&](long k) { return list.source(k); }, [](long k) { return k; });
    std::size_t begin = 0;
    for (long hop = 0; hop < hops && begin < found.size(); ++hop) {
        const std::size_t end = found.size();
        for (; begin < end; ++begin)
            for (long k = in.pointers.data()[found[begin]]; k < in.pointers.data()[found[begin] + 1]; ++k) {
                const std::int64_t source = in.columns.data()[k];
                if (seen[static_cast<std::size_t>(source)]) continue;
                seen[static_cast<std::size_t>(source)] = true;
                found.push_back(source);
            }
        std::sort(found.begin() + static_cast<std::ptrdiff_t>(end), found.end());
    }
    return subgraph(from<std::int64_t>({static_cast<long>(found.size())}, found.data()), edge_index, nodes, edge_attr);
}

}  // namespace tenon::graph
