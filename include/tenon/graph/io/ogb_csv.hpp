// Graphs in the raw files of the Open Graph Benchmark (Hu et al., NeurIPS 2020): edge.csv, num-node-list.csv, num-edge-list.csv and,
// where there are some, node-feat.csv, edge-feat.csv, node-label.csv, graph-label.csv; each plain or as .csv.gz. Needs zlib (-lz).
#pragma once

#include <tenon/graph/io/tu.hpp>

namespace tenon::graph {

struct OgbOptions {
    bool add_inverse_edge = false;  // each edge is followed by its reverse, with the same features: for the sets that list one direction
};

// All graphs in a folder ("raw" of a downloaded data set). Labels of nodes and graphs are integers; a field that says nan is -1.
// Throws FileError with the file and the line.
inline GraphSet read_ogb_csv(const std::string& folder, const OgbOptions& options = {}) {
    constexpr const char* operation = "read_ogb_csv";
    const auto path_of = [&](const char* what) { return graph_detail::plain_or_packed(folder + "/" + what + ".csv"); };
    const std::vector<std::int64_t> node_counts = graph_detail::read_integers(operation, path_of("num-node-list")),
        edge_counts = graph_detail::read_integers(operation, path_of("num-edge-list"));
    if (node_counts.empty())
        fail<FileError>(operation, ": \"", path_of("num-node-list").c_str(), "\" is empty: expected a number of nodes for each graph");
    graph_detail::same_length(operation, path_of("num-edge-list"), static_cast<long>(edge_counts.size()),
                              static_cast<long>(node_counts.size()), "graph");
    const auto total = [&](const std::vector<std::int64_t>& counts, const char* file) {
        long all = 0;
        for (std::size_t i = 0; i < counts.size(); ++i)
            if (counts[i] < 0 || counts[i] > tenon::detail::most_indices ||
                (all += static_cast<long>(counts[i])) > tenon::detail::most_indices)
                fail<FileError>(operation, ": \"", path_of(file).c_str(), "\", line ", static_cast<long>(i) + 1,
                                ": expected counts of 0 or more, below 2^31 in all, got ", static_cast<long>(counts[i]));
        return all;
    };
    const long nodes = total(node_counts, "num-node-list"), edges = total(edge_counts, "num-edge-list");

    // What has a row per node must be there before memory is taken for the nodes claimed.
    const auto rows = [&](const char* file, long expected, const char* of) {
        graph_detail::NumberRows numbers;
        if (graph_detail::is_there(path_of(file))) {
            numbers = graph_detail::read_number_rows(operation, path_of(file));
            graph_detail::same_length(operation, path_of(file), numbers.rows, expected, of);
        }
        return numbers;
    };
    const auto labels_of = [&](const char* file, long expected, const char* of) {
        std::vector<std::int64_t> labels;
        if (!graph_detail::is_there(path_of(file))) return labels;
        graph_detail::LineReader lines(operation, path_of(file), ',');
        while (lines.next_filled()) {
            const std::string_view field = lines.word("a label");
            lines.end();
            if (field == "nan") {
                labels.push_back(-1);
                continue;
            }
            const float value = lines.parse_real(field, "a label");
            const std::int64_t label = value > -1e15f && value < 1e15f ? static_cast<std::int64_t>(value) : -1;
            if (static_cast<float>(label) != value) lines.broken_field("an integer", field);
            labels.push_back(label);
        }
        graph_detail::same_length(operation, path_of(file), static_cast<long>(labels.size()), expected, of);
        return labels;
    };
    const graph_detail::NumberRows x = rows("node-feat", nodes, "node"), edge_attr = rows("edge-feat", edges, "edge");
    const std::vector<std::int64_t> y = labels_of("node-label", nodes, "node"),
                                    graph_y = labels_of("graph-label", static_cast<long>(node_counts.size()), "graph");
    if (x.rows == 0 && y.empty() && nodes > 64 * (edges + 1) + (1 << 20))
        fail<FileError>(operation, ": \"", path_of("num-node-list").c_str(), "\" claims ", nodes,
                        " nodes, of which nearly all have neither features nor edges");

    graph_detail::LineReader lines(operation, path_of("edge"), ',');
    std::vector<GraphData<>> graphs;
    long first_node = 0, first_edge = 0;
    std::vector<std::int64_t> sources, targets;
    for (std::size_t g = 0; g < node_counts.size(); ++g) {
        GraphData<> data;
        data.nodes = static_cast<long>(node_counts[g]);
        sources.clear(), targets.clear();
        for (long k = 0; k < edge_counts[g]; ++k) {
            if (!lines.next_filled()) lines.truncated("another edge");
            const long source = lines.integer("a node"), target = lines.integer("a node");
            lines.end();
            if (source < 0 || source >= data.nodes || target < 0 || target >= data.nodes)
                lines.broken("an edge of a node that its graph does not have");
            sources.push_back(source), targets.push_back(target);
            if (options.add_inverse_edge) sources.push_back(target), targets.push_back(source);
        }
        data.edge_index = graph_detail::edge_index_of(sources, targets);
        if (x.rows > 0) data.x = from<float>({data.nodes, x.width}, x.values.data() + first_node * x.width);
        if (edge_attr.rows > 0) {
            const long copies = options.add_inverse_edge ? 2 : 1, count = static_cast<long>(edge_counts[g]);
            data.edge_attr = empty<float>({copies * count, edge_attr.width});
            for (long k = 0; k < copies * count; ++k)
                std::memcpy(data.edge_attr.data() + k * edge_attr.width,
                            edge_attr.values.data() + (first_edge + k / copies) * edge_attr.width,
                            static_cast<std::size_t>(edge_attr.width) * sizeof(float));
        }
        if (!y.empty()) data.y = from<std::int64_t>({data.nodes}, y.data() + first_node);
        if (!graph_y.empty()) data.graph_y = from<std::int64_t>({graph_y[g]});
        first_node += data.nodes, first_edge += static_cast<long>(edge_counts[g]);
        graphs.push_back(data);
    }
    if (lines.next_filled()) lines.broken("the file goes on behind the last graph's edges");
    return GraphSet::of(graphs);
}

// Which nodes or graphs are for training, validation and testing: split/<type>/{train,valid,test}.csv of a data set.
struct OgbSplit {
    Tensor<std::int64_t, 1> train, validation, test;
};
inline OgbSplit read_ogb_split(const std::string& folder) {
    const auto list = [&](const char* what) {
        return graph_detail::tensor_of(
            graph_detail::read_integers("read_ogb_split", graph_detail::plain_or_packed(folder + "/" + what + ".csv")));
    };
    return {list("train"), list("valid"), list("test")};
}

}  // namespace tenon::graph
