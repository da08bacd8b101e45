// The pickles of the Planetoid files: whatever one holds, read as features, as labels and as a graph.
#include "parts.hpp"

#include <tenon/graph/io/planetoid.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    fuzz::run(bytes, size, [](const std::string& path) { fuzz::touch(tenon::graph_detail::planetoid_features(path)); });
    fuzz::run(bytes, size, [](const std::string& path) {
        if (tenon::graph_detail::planetoid_labels(path).classes < 1) __builtin_trap();
    });
    return fuzz::run(bytes, size, [](const std::string& path) { fuzz::touch(tenon::graph_detail::planetoid_edges(path, 1000)); });
}
