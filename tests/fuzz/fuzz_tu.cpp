#include "parts.hpp"

#include <tenon/graph/io/tu.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    const fuzz::Parts parts(bytes, size, {"a_graph_indicator.txt", "a_A.txt", "a_graph_labels.txt", "a_node_labels.txt", "a_node_attributes.txt", "a_edge_labels.txt",
                                          "a_edge_attributes.txt", "a_graph_attributes.txt"});
    return fuzz::run(bytes, 0, [&](const std::string&) {
        fuzz::touch_graph(tenon::graph::read_tu(parts.path, "a", {.node_attributes = true, .edge_attributes = true}).data);
    });
}
