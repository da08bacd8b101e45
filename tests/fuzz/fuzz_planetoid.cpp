// The eight files together.
#include "parts.hpp"

#include <tenon/graph/io/planetoid.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    const fuzz::Parts parts(bytes, size, {"ind.a.x", "ind.a.tx", "ind.a.allx", "ind.a.y", "ind.a.ty", "ind.a.ally", "ind.a.graph", "ind.a.test.index"});
    return fuzz::run(bytes, 0, [&](const std::string&) { fuzz::touch_graph(tenon::graph::read_planetoid(parts.path, "a")); });
}
