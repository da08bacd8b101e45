// Checkpoints carry a checksum that no mutation would hit: most mutants get the right one, so that what is behind it is
// reached.
#include "reader.hpp"

#include <tenon/io/checkpoint.hpp>
#include <tenon/nn/linear.hpp>
#include <tenon/optim/optimizer.hpp>

#include <cstring>

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* bytes, std::size_t size, std::size_t most);

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* bytes, std::size_t size, std::size_t most, unsigned seed) {
    namespace io = tenon::io::detail;
    size = LLVMFuzzerMutate(bytes, size, most);
    std::uint64_t length = 0;
    if (seed % 8 == 0 || size < 8) return size;
    std::memcpy(&length, bytes, 8);
    if (length > size - 8) return size;
    char* header = reinterpret_cast<char*>(bytes) + 8;
    const std::size_t place = io::checksum_place(header, static_cast<std::size_t>(length));
    if (place == length) return size;
    std::memcpy(header + place, io::checkpoint_zeros, 8);
    std::uint32_t checksum = io::crc(0, bytes + 8 + length, size - 8 - static_cast<std::size_t>(length));
    checksum = io::crc(io::crc(checksum, &length, 8), header, static_cast<std::size_t>(length));
    std::memcpy(header + place, io::hexadecimal(checksum).data(), 8);
    return size;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
    return fuzz::run(bytes, size, [](const std::string& path) {
        static tenon::nn::Linear<float> layer = fuzz::layer(1, 2);
        static auto optimiser = tenon::optim::sgd(layer, {.momentum = 0.5});
        tenon::io::load_checkpoint(path, layer, optimiser);
    });
}
