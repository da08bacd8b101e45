// Data sets of graphs, found by name below a folder.
#pragma once

#include "options.hpp"

#include <tenon/graph/io/tu.hpp>
#include <tenon/graph/transforms.hpp>

#include <cctype>
#include <cmath>
#include <filesystem>

namespace pyg_example {

using namespace tenon;

struct GraphSetData {
    graph::GraphSet set;
    std::string name;
    long classes = 0;
    bool degrees = false;  // features are degrees
};

// Where nodes have no labels (or all the same), degrees stand for them: one-hot, or standardised where there are too many.
inline Tensor<float, 2> degree_features(const Tensor<std::int64_t, 2>& edge_index, long nodes) {
    const Tensor<float, 1> degrees = graph::degree(edge_index, nodes);
    float largest = 0;
    double sum = 0, squares = 0;
    for (long i = 0; i < nodes; ++i) {
        const double d = static_cast<double>(degrees.data()[i]);
        largest = std::max(largest, degrees.data()[i]);
        sum += d, squares += d * d;
    }
    if (largest < 1000) return graph::one_hot_degree(edge_index, nodes, static_cast<long>(largest));
    const double n = static_cast<double>(nodes), mean = sum / n, deviation = std::sqrt(std::max(1e-12, (squares - sum * mean) / (n - 1)));
    const Tensor<float, 1> standard = (degrees - static_cast<float>(mean)) / static_cast<float>(deviation);
    return standard.reshape({nodes, 1});
}

// <folder>/MUTAG_A.txt, <folder>/MUTAG/MUTAG_A.txt (also below raw/), or the text format of GIN, <folder>/MUTAG.txt. Throws FileError.
inline GraphSetData read_graph_set(const std::string& folder, const std::string& wanted) {
    namespace fs = std::filesystem;
    GraphSetData d;
    for (const char c : wanted) d.name += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    std::string joined;  // GIN's files have no hyphens in their names
    for (const char c : d.name)
        if (c != '-' && c != '_') joined += c;
    const auto there = [](const std::string& path) { return fs::exists(path) || fs::exists(path + ".gz"); };
    bool found = false;
    for (const std::string& place : {folder, folder + "/" + d.name, folder + "/" + d.name + "/raw", folder + "/raw"}) {
        if (found) break;
        if (there(place + "/" + d.name + "_A.txt")) {
            d.set = graph::read_tu(place, d.name);
            found = true;
        } else if (there(place + "/" + joined + ".txt")) {
            d.set = graph::read_gin_text(place + "/" + joined + ".txt");
            found = true;
        }
    }
    if (!found)
        fail<FileError>("--data: no ", d.name.c_str(), " in \"", folder.c_str(), "\", expected ", d.name.c_str(),
                        "_A.txt and its like\nhint: unpack ", "https://www.chrsmrrs.com/graphkerneldatasets/", d.name.c_str(),
                        ".zip (the TU Dortmund collection) and name the folder by --data");
    if (!d.set.data.graph_y.has_value()) fail<FileError>("--data: ", d.name.c_str(), " has no labels of graphs");
    if (!d.set.data.x.has_value() || d.set.data.x.shape(1) < 2) {
        d.set.data.x = degree_features(d.set.data.edge_index, d.set.data.nodes);
        d.degrees = true;
    }
    for (long i = 0; i < d.set.size(); ++i) d.classes = std::max(d.classes, static_cast<long>(d.set.data.graph_y.data()[i]) + 1);
    return d;
}

}  // namespace pyg_example
