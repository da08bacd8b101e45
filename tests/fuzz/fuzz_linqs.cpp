#include "parts.hpp"

#include <tenon/graph/io/linqs.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    const fuzz::Parts parts(bytes, size, {"papers", "cites"});
    const std::string papers = parts.path + "/papers", cites = parts.path + "/cites";
    fuzz::run(bytes, 0, [&](const std::string&) { fuzz::touch_graph(tenon::graph::read_linqs(papers, cites).data); });
    return fuzz::run(bytes, 0, [&](const std::string&) { fuzz::touch_graph(tenon::graph::read_linqs_tab(papers, cites).data); });
}
