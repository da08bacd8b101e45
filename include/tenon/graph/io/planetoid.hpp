// Cora, CiteSeer and PubMed in the files of the Planetoid release (Yang, Cohen, Salakhutdinov, "Revisiting semi-supervised
// learning with graph embeddings", ICML 2016): ind.<name>.{x,tx,allx,y,ty,ally,graph,test.index}. Needs zlib (-lz).
#pragma once

#include <tenon/graph/data.hpp>
#include <tenon/graph/io/line_reader.hpp>
#include <tenon/graph/io/pickle.hpp>

#include <algorithm>

namespace tenon::graph {

// The eight files.
struct PlanetoidFiles {
    std::string x, tx, allx, y, ty, ally, graph, test_index;
    static PlanetoidFiles in(const std::string& folder, const std::string& name) {
        const std::string stem = folder + "/ind." + name + ".";
        return {stem + "x", stem + "tx", stem + "allx", stem + "y", stem + "ty", stem + "ally", stem + "graph", stem + "test.index"};
    }
};

}  // namespace tenon::graph
namespace tenon::graph_detail {

// Labels of rows [n, classes] that have a single 1; a row of zeros has label 0, as NumPy's argmax has it.
struct PlanetoidLabels {
    std::vector<std::int64_t> labels;
    long classes = 0;
};
inline PlanetoidLabels planetoid_labels(const std::string& path) {
    const Pickle pickle("read_planetoid", path);
    const PickleArray array = pickle.array(pickle.root(), "labels as an array of int32 [nodes, classes]");
    const std::size_t at = pickle.object(pickle.root()).at;
    if (array.is_float || array.columns < 1) pickle.wrong(at, "labels as an array of int32 [nodes, classes]", "another array");
    PlanetoidLabels result{std::vector<std::int64_t>(static_cast<std::size_t>(array.rows)), array.columns};
    for (long i = 0; i < array.rows; ++i) {
        long ones = 0;
        for (long c = 0; c < array.columns; ++c) {
            const std::int32_t value = array.integer(i * array.columns + c);
            if (value != 0 && value != 1) pickle.wrong(at, "labels of zeros and ones", "another number");
            if (value == 1) result.labels[static_cast<std::size_t>(i)] = c;
            ones += value;
        }
        if (ones > 1) pickle.wrong(at, "one label for a node", "several");
    }
    return result;
}
inline Csr<float> planetoid_features(const std::string& path) {
    const Pickle pickle("read_planetoid", path);
    return pickle.csr(pickle.root(), "features as a csr_matrix of float32");
}
// The list of neighbours as edges in both directions, without self-loops, each once, sorted by source and target.
inline Tensor<std::int64_t, 2> planetoid_edges(const std::string& path, long nodes) {
    const Pickle pickle("read_planetoid", path);
    const std::size_t at = pickle.root().kind == PickleKind::object || pickle.root().kind == PickleKind::dictionary ? pickle.object(pickle.root()).at : 0;
    std::vector<std::pair<std::int64_t, std::int64_t>> edges;
    pickle.adjacency(pickle.root(), [&](std::int64_t node, const std::vector<PickleValue>& neighbours) {
        if (node < 0 || node >= nodes) pickle.wrong(at, "a graph of the nodes that have features", "a node beyond them");
        for (const PickleValue& neighbour : neighbours) {
            if (neighbour.number < 0 || neighbour.number >= nodes) pickle.wrong(at, "a graph of the nodes that have features", "a neighbour beyond them");
            if (neighbour.number == node) continue;
            edges.emplace_back(node, neighbour.number);
            edges.emplace_back(neighbour.number, node);
        }
    });
    std::sort(edges.begin(), edges.end());
    edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
    const long count = static_cast<long>(edges.size());
    const Tensor<std::int64_t, 2> index = empty<std::int64_t>({2, count});
    for (long k = 0; k < count; ++k) {
        index.data()[k] = edges[static_cast<std::size_t>(k)].first;
        index.data()[count + k] = edges[static_cast<std::size_t>(k)].second;
    }
    return index;
}

}  // namespace tenon::graph_detail
namespace tenon::graph {

// Features [N, F] sparse, labels, edges in both directions without self-loops or duplicates, and the public split: 20 nodes of
// each class for training (the rows of x), the 500 after them for validation, test.index for testing. Nodes that no file
// describes (CiteSeer has 15) have no features, label 0, and are in no part of the split. Throws FileError with the file and
// the offset or line; no code of the pickles is executed.
inline GraphData<Csr<float>> read_planetoid(const PlanetoidFiles& files) {
    constexpr const char* operation = "read_planetoid";
    const Csr<float> first = graph_detail::planetoid_features(files.x), known = graph_detail::planetoid_features(files.allx), tested = graph_detail::planetoid_features(files.tx);
    const graph_detail::PlanetoidLabels y = graph_detail::planetoid_labels(files.y), known_y = graph_detail::planetoid_labels(files.ally), tested_y = graph_detail::planetoid_labels(files.ty);
    const auto same = [&](long a, const std::string& file_a, long b, const std::string& file_b, const char* what) {
        if (a != b) fail<FileError>(operation, ": \"", file_a.c_str(), "\" has ", a, " ", what, ", \"", file_b.c_str(), "\" has ", b, "\nhint: are all eight files of one data set?");
    };
    const long width = known.shape(1), labelled = known.shape(0);
    same(first.shape(0), files.x, static_cast<long>(y.labels.size()), files.y, "rows");
    same(known.shape(0), files.allx, static_cast<long>(known_y.labels.size()), files.ally, "rows");
    same(tested.shape(0), files.tx, static_cast<long>(tested_y.labels.size()), files.ty, "rows");
    same(first.shape(1), files.x, width, files.allx, "columns");
    same(tested.shape(1), files.tx, width, files.allx, "columns");
    same(y.classes, files.y, known_y.classes, files.ally, "columns");
    same(tested_y.classes, files.ty, known_y.classes, files.ally, "columns");
    const long training = first.shape(0), validating = 500 < labelled - training ? 500 : labelled - training;
    if (training > labelled) fail<FileError>(operation, ": \"", files.x.c_str(), "\" has ", training, " rows, more than the ", labelled, " of \"", files.allx.c_str(), '"');

    // Row k of tx belongs to node test.index[k]; the nodes lie behind those of allx.
    std::vector<std::int64_t> test_nodes;
    graph_detail::LineReader lines(operation, files.test_index, ' ');
    std::int64_t last = labelled - 1;
    while (lines.next_filled()) {
        const long node = lines.integer("a node");
        lines.end();
        if (node < labelled) lines.broken("a node that allx has already, or a negative one");
        // A few nodes may be described nowhere; a file that lies must not cost memory.
        if (node >= labelled + 16 * (tested.shape(0) + 1)) lines.broken("a node far beyond those of the other files");
        test_nodes.push_back(node);
        if (node > last) last = node;
    }
    same(static_cast<long>(test_nodes.size()), files.test_index, tested.shape(0), files.tx, "test nodes");
    const long nodes = last + 1;

    GraphData<Csr<float>> data;
    data.nodes = nodes;
    std::vector<long> row_of(static_cast<std::size_t>(nodes - labelled), -1);
    for (std::size_t k = 0; k < test_nodes.size(); ++k) {
        long& row = row_of[static_cast<std::size_t>(test_nodes[k] - labelled)];
        if (row >= 0) fail<FileError>(operation, ": \"", files.test_index.c_str(), "\" has node ", static_cast<long>(test_nodes[k]), " twice");
        row = static_cast<long>(k);
    }
    const CsrPattern &a = known.structure().by_row(), &b = tested.structure().by_row();
    const long elements = known.elements() + tested.elements();
    const Tensor<std::int64_t, 1> pointers = empty<std::int64_t>({nodes + 1}), columns = empty<std::int64_t>({elements});
    const Tensor<float, 1> values = empty<float>({elements});
    data.y = zeros<std::int64_t>({nodes});
    long at = 0;
    const auto append = [&](const Csr<float>& from, const CsrPattern& pattern, long row) {
        for (long k = pattern.pointers.data()[row]; k < pattern.pointers.data()[row + 1]; ++k, ++at) {
            columns.data()[at] = pattern.columns.data()[k];
            values.data()[at] = from.values().data()[k];
        }
    };
    for (long i = 0; i < nodes; ++i) {
        pointers.data()[i] = at;
        if (i < labelled) {
            append(known, a, i);
            data.y.data()[i] = known_y.labels[static_cast<std::size_t>(i)];
        } else if (const long row = row_of[static_cast<std::size_t>(i - labelled)]; row >= 0) {
            append(tested, b, row);
            data.y.data()[i] = tested_y.labels[static_cast<std::size_t>(row)];
        }
    }
    pointers.data()[nodes] = at;
    data.x = Csr<float>::from_pointers(pointers, columns, values, width);
    data.edge_index = graph_detail::planetoid_edges(files.graph, nodes);
    data.train = arange<std::int64_t>(training);
    data.validation = arange<std::int64_t>(training, training + validating);
    data.test = graph_detail::tensor_of(test_nodes);
    return data;
}
// The data set `name` (cora, citeseer, pubmed) in a folder.
inline GraphData<Csr<float>> read_planetoid(const std::string& folder, const std::string& name) { return read_planetoid(PlanetoidFiles::in(folder, name)); }

}  // namespace tenon::graph
