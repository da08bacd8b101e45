// The text format of the graph data sets that came with GIN (Xu et al., "How powerful are graph neural networks?", ICLR 2019)
// and DGCNN: the number of graphs; for each graph a line "nodes label" and a line per node, "tag degree neighbours... [numbers...]",
// nodes counted from 0. Needs zlib (-lz).
#pragma once

#include <tenon/graph/batch.hpp>
#include <tenon/graph/io/line_reader.hpp>

#include <algorithm>

namespace tenon::graph_detail {

// 0, 1, ... for the values in ascending order.
inline void number_labels(std::vector<std::int64_t>& values, long* classes = nullptr) {
    std::vector<std::int64_t> sorted = values;
    std::sort(sorted.begin(), sorted.end());
    sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
    for (std::int64_t& v : values) v = std::lower_bound(sorted.begin(), sorted.end(), v) - sorted.begin();
    if (classes != nullptr) *classes = static_cast<long>(sorted.size());
}
// One-hot rows of numbers 0 ... classes - 1. A file with more classes than nodes could ask for any memory: not more than this.
inline constexpr long most_features = 1L << 28;
inline Tensor<float, 2> one_hot_rows(const std::vector<std::int64_t>& values, long classes, const char* operation, const std::string& path) {
    const long rows = static_cast<long>(values.size());
    if (rows > 0 && classes > most_features / rows)
        fail<FileError>(operation, ": \"", path.c_str(), "\" has ", classes, " labels for ", rows, " nodes: their one-hot features would need more than 1 GiB");
    const Tensor<float, 2> x = zeros<float>({rows, classes});
    for (long i = 0; i < rows; ++i) x.data()[i * classes + values[static_cast<std::size_t>(i)]] = 1;
    return x;
}

}  // namespace tenon::graph_detail
namespace tenon::graph {

// Labels of graphs and tags of nodes are numbered in ascending order of what the file has; graph_y are the labels, x the one-hot
// tags, followed by the nodes' numbers where there are some. Edges run from the neighbours listed to the node. Throws FileError
// with the line.
inline GraphSet read_gin_text(const std::string& path) {
    constexpr const char* operation = "read_gin_text";
    graph_detail::LineReader lines(operation, path, ' ');
    if (!lines.next_filled()) lines.truncated("the number of graphs");
    const long count = lines.integer("the number of graphs");
    if (count < 1) lines.broken("expected at least one graph");
    lines.end();
    std::vector<std::int64_t> labels, tags, sources, targets;
    std::vector<float> numbers;
    std::vector<long> node_counts, edge_counts;
    long width = -1;
    for (long g = 0; g < count; ++g) {
        if (!lines.next_filled()) lines.truncated("another graph");
        const long nodes = lines.integer("a number of nodes");
        if (nodes < 0) lines.broken("a graph with a negative number of nodes");
        labels.push_back(lines.integer("the graph's label"));
        lines.end();
        const std::size_t edges_before = sources.size();
        for (long i = 0; i < nodes; ++i) {
            if (!lines.next_filled()) lines.truncated("another node");
            tags.push_back(lines.integer("a node's tag"));
            const long degree = lines.integer("a number of neighbours");
            if (degree < 0) lines.broken("a node with a negative number of neighbours");
            for (long k = 0; k < degree; ++k) {
                const long neighbour = lines.integer("a neighbour");
                if (neighbour < 0 || neighbour >= nodes) lines.broken("a neighbour that is no node of this graph");
                sources.push_back(neighbour);
                targets.push_back(i);
            }
            long own = 0;
            for (; !lines.at_end(); ++own) numbers.push_back(lines.real("a number of the node"));
            if (width >= 0 && own != width) lines.broken("a node with more or fewer numbers than those before");
            width = own;
        }
        node_counts.push_back(nodes);
        edge_counts.push_back(static_cast<long>(sources.size() - edges_before));
    }
    if (lines.next_filled()) lines.broken("the file goes on behind its last graph");
    long classes = 0;
    graph_detail::number_labels(labels);
    graph_detail::number_labels(tags, &classes);
    const Tensor<float, 2> hot = graph_detail::one_hot_rows(tags, classes, operation, path);
    std::vector<GraphData<>> graphs;
    width = width < 0 ? 0 : width;
    long node = 0, edge = 0;
    for (std::size_t g = 0; g < node_counts.size(); ++g) {
        GraphData<> data;
        data.nodes = node_counts[g];
        const auto first = static_cast<std::ptrdiff_t>(edge), last = first + static_cast<std::ptrdiff_t>(edge_counts[g]);
        data.edge_index = graph_detail::edge_index_of({sources.begin() + first, sources.begin() + last}, {targets.begin() + first, targets.begin() + last});
        data.x = empty<float>({data.nodes, classes + width});
        for (long i = 0; i < data.nodes; ++i) {
            float* const row = data.x.data() + i * (classes + width);
            if (classes > 0) std::memcpy(row, hot.data() + (node + i) * classes, static_cast<std::size_t>(classes) * sizeof(float));
            if (width > 0) std::memcpy(row + classes, numbers.data() + (node + i) * width, static_cast<std::size_t>(width) * sizeof(float));
        }
        data.graph_y = from<std::int64_t>({labels[g]});
        node += data.nodes, edge += edge_counts[g];
        graphs.push_back(data);
    }
    return GraphSet::of(graphs);
}

}  // namespace tenon::graph
