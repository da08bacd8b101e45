#include "parts.hpp"

#include <tenon/graph/io/ogb_csv.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    const fuzz::Parts parts(bytes, size, {"num-node-list.csv", "num-edge-list.csv", "edge.csv", "node-feat.csv", "edge-feat.csv", "node-label.csv", "graph-label.csv",
                                          "train.csv", "valid.csv", "test.csv"});
    static_cast<void>(fuzz::run(bytes, 0, [&](const std::string&) {
        const auto split = tenon::graph::read_ogb_split(parts.path);
        for (const auto* part : {&split.train, &split.validation, &split.test}) fuzz::touch(tenon::io::Array(*part));
    }));
    return fuzz::run(bytes, 0, [&](const std::string&) { fuzz::touch_graph(tenon::graph::read_ogb_csv(parts.path, {.add_inverse_edge = true}).data); });
}
