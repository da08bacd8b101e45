#include "reader.hpp"

#include <tenon/io/image.hpp>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    return fuzz::run(bytes, size, [](const std::string& path) { fuzz::touch(tenon::io::read_image(path, {.max_pixels = 1 << 20})); });
}
