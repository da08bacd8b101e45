// Attributed graphs in the .npz files of graph2gauss ("Deep Gaussian embedding of graphs", ICLR 2018) and of Shchur et al.
// ("Pitfalls of graph neural network evaluation", 2018): adj_data, adj_indices, adj_indptr, adj_shape, attr_* and labels. Needs zlib.
#pragma once

#include <tenon/graph/data.hpp>
#include <tenon/graph/io/line_reader.hpp>
#include <tenon/io/npz.hpp>

#include <algorithm>
#include <utility>

namespace tenon::graph_detail {

// Whole numbers of a member, of whatever integer type.
inline std::vector<std::int64_t> npz_integers(const io::Npz& archive, const std::string& path, const std::string& name) {
    const io::Array array = archive.get(name);
    if (array.rank() != 1) fail<FileError>("read_npz_graph: \"", path.c_str(), "\", member \"", name.c_str(), "\": expected one axis, got ", array.record()->description());
    std::vector<std::int64_t> values(static_cast<std::size_t>(array.size()));
    const auto take = [&](const auto& x) {
        const auto rows = contiguous(x);
        for (long i = 0; i < rows.size(); ++i) values[static_cast<std::size_t>(i)] = static_cast<std::int64_t>(rows.data()[i]);
    };
    if (array.dtype() == DType::int64) take(array.as<std::int64_t, 1>());
    else if (array.dtype() == DType::int32) take(array.as<std::int32_t, 1>());
    else if (array.dtype() == DType::uint8) take(array.as<std::uint8_t, 1>());
    else if (array.dtype() == DType::int8) take(array.as<std::int8_t, 1>());
    else fail<FileError>("read_npz_graph: \"", path.c_str(), "\", member \"", name.c_str(), "\": expected whole numbers, got ", array.record()->description());
    return values;
}
inline std::vector<float> npz_numbers(const io::Npz& archive, const std::string& path, const std::string& name) {
    const io::Array array = archive.get(name);
    if (array.rank() == 1 && array.dtype() == DType::float32) {
        const auto x = contiguous(array.as<float, 1>());
        return {x.data(), x.data() + x.size()};
    }
    if (array.rank() == 1 && array.dtype() == DType::float64) {
        const auto x = contiguous(array.as<double, 1>());
        std::vector<float> values;
        for (long i = 0; i < x.size(); ++i) values.push_back(static_cast<float>(x.data()[i]));
        return values;
    }
    const std::vector<std::int64_t> whole = npz_integers(archive, path, name);
    std::vector<float> values;
    for (std::int64_t v : whole) values.push_back(static_cast<float>(v));
    return values;
}
// The matrix stored as <prefix>_data, _indices, _indptr, _shape; pattern and values are checked.
inline Csr<float> npz_matrix(const io::Npz& archive, const std::string& path, const std::string& prefix) {
    const std::vector<std::int64_t> pointers = npz_integers(archive, path, prefix + "_indptr"), columns = npz_integers(archive, path, prefix + "_indices"),
                                    shape = npz_integers(archive, path, prefix + "_shape");
    const std::vector<float> values = npz_numbers(archive, path, prefix + "_data");
    try {
        if (shape.size() != 2 || shape[0] != static_cast<std::int64_t>(pointers.size()) - 1) fail<ShapeError>("the shape is not that of the row pointers");
        return Csr<float>::from_pointers(tensor_of(pointers), tensor_of(columns), tensor_of(values), static_cast<long>(shape[1]));
    } catch (const Error& error) {
        fail<FileError>("read_npz_graph: \"", path.c_str(), "\", member \"", prefix.c_str(), "\" is no sparse matrix: ", error.what());
    }
}

}  // namespace tenon::graph_detail
namespace tenon::graph {

struct NpzGraphOptions {
    bool binary_features = true;  // every feature above 0 becomes 1, as the papers have it; others are dropped
};

// x are the attributes, y the labels (where there are some), edges those of the adjacency matrix in both directions, without
// self-loops or duplicates, sorted by source and target. Throws FileError, DtypeError or ShapeError with the file and the member.
inline GraphData<Csr<float>> read_npz_graph(const std::string& path, const NpzGraphOptions& options = {}) {
    const io::Npz archive(path);
    const Csr<float> adjacency = graph_detail::npz_matrix(archive, path, "adj");
    const long nodes = adjacency.shape(0);
    if (adjacency.shape(1) != nodes) fail<FileError>("read_npz_graph: \"", path.c_str(), "\", member \"adj\" is ", nodes, " x ", adjacency.shape(1), ", expected as many rows as columns");
    std::vector<std::pair<std::int64_t, std::int64_t>> edges;
    const CsrPattern& rows = adjacency.structure().by_row();
    for (long r = 0; r < nodes; ++r)
        for (long k = rows.pointers.data()[r]; k < rows.pointers.data()[r + 1]; ++k) {
            const std::int64_t c = rows.columns.data()[k];
            if (c == r || adjacency.values().data()[k] == 0) continue;
            edges.emplace_back(r, c), edges.emplace_back(c, r);
        }
    std::sort(edges.begin(), edges.end());
    edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
    GraphData<Csr<float>> data;
    data.nodes = nodes;
    std::vector<std::int64_t> sources, targets;
    for (const auto& [source, target] : edges) sources.push_back(source), targets.push_back(target);
    data.edge_index = graph_detail::edge_index_of(sources, targets);
    if (archive.contains("attr_data")) {
        data.x = graph_detail::npz_matrix(archive, path, "attr");
        if (data.x.shape(0) != nodes) fail<FileError>("read_npz_graph: \"", path.c_str(), "\", member \"attr\" has ", data.x.shape(0), " rows, expected ", nodes, ", one for each node");
        if (options.binary_features) {
            const CsrPattern& all = data.x.structure().by_row();
            std::vector<std::int64_t> pointers = {0}, columns;
            for (long r = 0; r < nodes; ++r) {
                for (long k = all.pointers.data()[r]; k < all.pointers.data()[r + 1]; ++k)
                    if (data.x.values().data()[k] > 0) columns.push_back(all.columns.data()[k]);
                pointers.push_back(static_cast<std::int64_t>(columns.size()));
            }
            data.x = Csr<float>::from_pointers(graph_detail::tensor_of(pointers), graph_detail::tensor_of(columns), ones<float>({static_cast<long>(columns.size())}), data.x.shape(1));
        }
    }
    if (archive.contains("labels")) {
        const std::vector<std::int64_t> labels = graph_detail::npz_integers(archive, path, "labels");
        if (static_cast<long>(labels.size()) != nodes) fail<FileError>("read_npz_graph: \"", path.c_str(), "\", member \"labels\" has ", static_cast<long>(labels.size()), " entries, expected ", nodes);
        data.y = graph_detail::tensor_of(labels);
    }
    return data;
}

}  // namespace tenon::graph
