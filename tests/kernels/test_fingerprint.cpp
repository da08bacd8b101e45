// Fingerprints of memory: equal for equal bytes, different wherever something differs.
#include <tenon/kernels/cpu/fingerprint.hpp>

#include <catch2/catch.hpp>

#include <cstring>
#include <vector>

using namespace tenon;
using kernels::cpu::fingerprint;

TEST_CASE("a fingerprint sees every change of a byte, and nothing else") {
    // Less than a vector, odd sizes, several pieces.
    for (const long bytes : {0l, 1l, 3l, 4l, 130l, 1027l, 4 * (1l << 16), 4 * (1l << 16) + 5, 4 * (3l << 16) + 4 * 35 + 2}) {
        INFO(bytes);
        std::vector<unsigned char> memory(static_cast<std::size_t>(bytes) + 1);
        for (long i = 0; i < bytes; ++i) memory[static_cast<std::size_t>(i)] = static_cast<unsigned char>(7 * i + i / 251);
        const auto before = fingerprint(memory.data(), bytes);
        const std::vector<unsigned char> copy = memory;
        CHECK(fingerprint(copy.data(), bytes) == before);
        for (long i = 0; i < bytes; i += 1 + bytes / 97) {
            unsigned char& byte = memory[static_cast<std::size_t>(i)];
            byte = static_cast<unsigned char>(byte ^ 16);
            CHECK_FALSE(fingerprint(memory.data(), bytes) == before);
            byte = static_cast<unsigned char>(byte ^ 16);
        }
        CHECK(fingerprint(memory.data(), bytes) == before);
        CHECK_FALSE(fingerprint(memory.data(), bytes + 1) == before);
    }
}

TEST_CASE("words that change places change the fingerprint") {
    std::vector<float> numbers(200000);
    for (std::size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(i);
    const long bytes = static_cast<long>(numbers.size() * sizeof(float));
    const auto before = fingerprint(numbers.data(), bytes);
    for (const std::size_t apart : {std::size_t(1), std::size_t(32), std::size_t(1) << 16, std::size_t(100000)}) {
        std::swap(numbers[5], numbers[5 + apart]);
        CHECK_FALSE(fingerprint(numbers.data(), bytes) == before);
        std::swap(numbers[5], numbers[5 + apart]);
    }
    CHECK(fingerprint(numbers.data(), bytes) == before);
}
