#include "parts.hpp"

#include <tenon/graph/io/off.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    return fuzz::run(bytes, size, [](const std::string& path) { fuzz::touch_graph(tenon::graph::read_off(path)); });
}
