// PNG files carry checksums that no mutation would hit: most mutants get the right ones.
#include "reader.hpp"

#include <tenon/io/image.hpp>

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* bytes, std::size_t size, std::size_t most);

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* bytes, std::size_t size, std::size_t most, unsigned seed) {
    namespace io = tenon::io::detail;
    size = LLVMFuzzerMutate(bytes, size, most);
    if (seed % 8 == 0 || size < 8 || bytes[0] != 0x89) return size;
    for (std::size_t at = 8; size - at >= 12;) {
        const std::size_t length = io::png_number(bytes + at);
        if (length > size - at - 12) break;
        const std::uint32_t checksum = io::png_checksum(bytes + at + 4, 4 + length);
        for (int i = 0; i < 4; ++i) bytes[at + 8 + length + static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(checksum >> (24 - 8 * i));
        at += 12 + length;
    }
    return size;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    return fuzz::run(bytes, size, [](const std::string& path) { fuzz::touch(tenon::io::read_image(path, {.max_pixels = 1 << 20})); });
}
