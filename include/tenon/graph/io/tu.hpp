// Graph data sets in the text format of the TU Dortmund collection (Morris et al., "TUDataset: a collection of benchmark datasets
// for learning with graphs", 2020): <name>_A.txt, <name>_graph_indicator.txt, <name>_graph_labels.txt and what else there is.
// Each may be packed with gzip. Needs zlib (-lz).
#pragma once

#include <tenon/graph/io/gin_text.hpp>

namespace tenon::graph {

struct TuOptions {
    bool node_attributes = false;  // the nodes' numbers, before the one-hot labels; left out in most published results
    bool edge_attributes = false;  // the edges' numbers and, behind them, their one-hot labels
};

}  // namespace tenon::graph
namespace tenon::graph_detail {

// Rows of numbers parted by commas, all of one length.
struct NumberRows {
    std::vector<float> values;
    long rows = 0, width = 0;
};
inline NumberRows read_number_rows(const char* operation, const std::string& path) {
    NumberRows result;
    LineReader lines(operation, path, ',');
    while (lines.next_filled()) {
        long own = 0;
        for (; own == 0 || !lines.at_end(); ++own) result.values.push_back(lines.real("a number"));
        if (result.rows > 0 && own != result.width) lines.broken("a line with more or fewer numbers than those before");
        result.width = own;
        ++result.rows;
    }
    return result;
}
// One integer a line.
inline std::vector<std::int64_t> read_integers(const char* operation, const std::string& path) {
    std::vector<std::int64_t> values;
    LineReader lines(operation, path, ',');
    while (lines.next_filled()) {
        values.push_back(lines.integer("an integer"));
        lines.end();
    }
    return values;
}
inline void same_length(const char* operation, const std::string& path, long lines, long expected, const char* of) {
    if (lines != expected)
        fail<FileError>(operation, ": \"", path.c_str(), "\" has ", lines, " lines, expected ", expected, ", one for each ", of, "\nhint: are all files of one data set, and whole?");
}
// Appends columns to rows.
inline void put_columns(const Tensor<float, 2>& to, long at, const float* from, long width) {
    for (long r = 0; r < to.shape(0); ++r)
        for (long c = 0; c < width; ++c) to.data()[r * to.shape(1) + at + c] = from[r * width + c];
}

}  // namespace tenon::graph_detail
namespace tenon::graph {

// The data set `name` in a folder. graph_y are the labels of graphs, numbered in ascending order (graph_target, where it has
// attributes of graphs); x the one-hot labels of nodes, less the smallest label; without labels, x is empty. Self-loops are
// left out, and so are duplicate edges, of which the first one's attributes count; edges are sorted by source and target.
// Throws FileError with the file and the line.
inline GraphSet read_tu(const std::string& folder, const std::string& name, const TuOptions& options = {}) {
    constexpr const char* operation = "read_tu";
    const auto path_of = [&](const char* what) { return graph_detail::plain_or_packed(folder + "/" + name + "_" + what + ".txt"); };
    struct Edge {
        std::int64_t source, target;
        long line;
    };

    // Which graph a node is of: counted from 1, in order.
    std::vector<long> first;
    std::vector<std::int64_t> graph_of;
    {
        graph_detail::LineReader lines(operation, path_of("graph_indicator"), ',');
        long current = 0;
        while (lines.next_filled()) {
            const long g = lines.integer("the number of a graph");
            lines.end();
            if (g < 1 || (g != current && g != current + 1)) lines.broken("the numbers of graphs must begin with 1 and go up by one");
            if (g != current) first.push_back(static_cast<long>(graph_of.size()));
            current = g;
            graph_of.push_back(g - 1);
        }
        if (graph_of.empty()) lines.truncated("a node");
        first.push_back(static_cast<long>(graph_of.size()));
    }
    const long nodes = static_cast<long>(graph_of.size()), count = static_cast<long>(first.size()) - 1;

    std::vector<Edge> edges;
    long edge_lines = 0;
    {
        graph_detail::LineReader lines(operation, path_of("A"), ',');
        while (lines.next_filled()) {
            const long source = lines.integer("a node"), target = lines.integer("a node");
            lines.end();
            if (source < 1 || source > nodes || target < 1 || target > nodes) lines.broken("an edge of a node that graph_indicator does not have");
            if (graph_of[static_cast<std::size_t>(source - 1)] != graph_of[static_cast<std::size_t>(target - 1)]) lines.broken("an edge between two graphs");
            if (source != target) edges.push_back({source - 1, target - 1, edge_lines});
            ++edge_lines;
        }
    }
    std::sort(edges.begin(), edges.end(), [](const Edge& a, const Edge& b) { return a.source != b.source ? a.source < b.source : a.target != b.target ? a.target < b.target : a.line < b.line; });
    edges.erase(std::unique(edges.begin(), edges.end(), [](const Edge& a, const Edge& b) { return a.source == b.source && a.target == b.target; }), edges.end());

    // Labels and attributes of nodes or edges as columns.
    const auto columns = [&](const char* attributes, const char* labels, bool wanted, long lines, const char* of) {
        Tensor<float, 2> hot;
        graph_detail::NumberRows numbers;
        if (graph_detail::is_there(path_of(labels))) {
            std::vector<std::int64_t> values = graph_detail::read_integers(operation, path_of(labels));
            graph_detail::same_length(operation, path_of(labels), static_cast<long>(values.size()), lines, of);
            if (!values.empty()) {
                const std::int64_t smallest = *std::min_element(values.begin(), values.end());
                std::int64_t largest = 0, span = 0;
                for (std::int64_t v : values) {
                    if (__builtin_sub_overflow(v, smallest, &span) || span > graph_detail::most_features)
                        fail<FileError>(operation, ": \"", path_of(labels).c_str(), "\" has labels from ", static_cast<long>(smallest), " to ", static_cast<long>(v), ": too many for one-hot features");
                    largest = span > largest ? span : largest;
                }
                for (std::int64_t& v : values) v -= smallest;
                hot = graph_detail::one_hot_rows(values, static_cast<long>(largest) + 1, operation, path_of(labels));
            }
        }
        if (wanted && graph_detail::is_there(path_of(attributes))) {
            numbers = graph_detail::read_number_rows(operation, path_of(attributes));
            graph_detail::same_length(operation, path_of(attributes), numbers.rows, lines, of);
        }
        const long hot_width = hot.has_value() ? hot.shape(1) : 0;
        if (numbers.rows == 0) return hot;
        const Tensor<float, 2> all = empty<float>({lines, numbers.width + hot_width});
        graph_detail::put_columns(all, 0, numbers.values.data(), numbers.width);
        if (hot_width > 0) graph_detail::put_columns(all, numbers.width, hot.data(), hot_width);
        return all;
    };
    const Tensor<float, 2> x = columns("node_attributes", "node_labels", options.node_attributes, nodes, "node");
    const Tensor<float, 2> edge_attr = options.edge_attributes ? columns("edge_attributes", "edge_labels", true, edge_lines, "edge") : Tensor<float, 2>{};
    std::vector<std::int64_t> labels;
    graph_detail::NumberRows graph_numbers;
    if (graph_detail::is_there(path_of("graph_attributes"))) {
        graph_numbers = graph_detail::read_number_rows(operation, path_of("graph_attributes"));
        graph_detail::same_length(operation, path_of("graph_attributes"), graph_numbers.rows, count, "graph");
    }
    if (graph_numbers.rows == 0 || graph_detail::is_there(path_of("graph_labels"))) {
        labels = graph_detail::read_integers(operation, path_of("graph_labels"));
        graph_detail::same_length(operation, path_of("graph_labels"), static_cast<long>(labels.size()), count, "graph");
        graph_detail::number_labels(labels);
    }

    std::vector<GraphData<>> graphs;
    std::size_t at = 0;
    for (long g = 0; g < count; ++g) {
        const long begin = first[static_cast<std::size_t>(g)], end = first[static_cast<std::size_t>(g) + 1];
        GraphData<> data;
        data.nodes = end - begin;
        std::size_t stop = at;
        while (stop < edges.size() && edges[stop].source < end) ++stop;
        const long own = static_cast<long>(stop - at);
        data.edge_index = empty<std::int64_t>({2, own});
        if (edge_attr.has_value()) data.edge_attr = empty<float>({own, edge_attr.shape(1)});
        for (long k = 0; k < own; ++k) {
            const Edge& edge = edges[at + static_cast<std::size_t>(k)];
            data.edge_index.data()[k] = edge.source - begin;
            data.edge_index.data()[own + k] = edge.target - begin;
            if (edge_attr.has_value())
                std::memcpy(data.edge_attr.data() + k * edge_attr.shape(1), edge_attr.data() + edge.line * edge_attr.shape(1), static_cast<std::size_t>(edge_attr.shape(1)) * sizeof(float));
        }
        at = stop;
        if (x.has_value()) data.x = from<float>({data.nodes, x.shape(1)}, x.data() + begin * x.shape(1));
        if (!labels.empty()) data.graph_y = from<std::int64_t>({labels[static_cast<std::size_t>(g)]});
        if (graph_numbers.rows > 0) data.graph_target = from<float>({1, graph_numbers.width}, graph_numbers.values.data() + g * graph_numbers.width);
        graphs.push_back(data);
    }
    return GraphSet::of(graphs);
}

}  // namespace tenon::graph
