#include "reader.hpp"

#include <tenon/io/npy.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    return fuzz::run(bytes, size, [](const std::string& path) { fuzz::touch(tenon::io::read_npy(path)); });
}
