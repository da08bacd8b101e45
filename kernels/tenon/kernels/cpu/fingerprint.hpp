// A fingerprint of memory: whether numbers are still the ones that something was computed from.
#pragma once

#include <tenon/base/dispatch.hpp>
#include <tenon/base/parallel.hpp>
#include <tenon/base/simd.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

struct Fingerprint {
    std::uint64_t first = 0, second = 0;
    friend bool operator==(const Fingerprint&, const Fingerprint&) = default;
};

namespace impl {

constexpr long fingerprint_lanes = 32, fingerprint_piece = 1l << 16;  // words

// Every lane is a polynomial of its words with an odd base: one word that changes always changes it.
struct FingerprintBody {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const std::uint32_t* words, long count, std::uint32_t* lanes) {
        using V = simd<std::uint32_t, 8>;
        const V base(0x9e3779b1u);
        V state[4];
        TENON_UNROLL(4)
        for (int q = 0; q < 4; ++q) state[q] = V(std::uint32_t(q + 1));
        long i = 0;
        for (; i + fingerprint_lanes <= count; i += fingerprint_lanes) {
            TENON_UNROLL(4)
            for (int q = 0; q < 4; ++q) state[q] = state[q] * base + V::load(words + i + 8 * q);
        }
        TENON_UNROLL(4)
        for (int q = 0; q < 4; ++q) state[q].store(lanes + 8 * q);
        for (int lane = 0; i < count; ++i, ++lane) lanes[lane] = lanes[lane] * 0x9e3779b1u + words[i];
    }
};

}  // namespace impl

// Of `bytes` bytes. Equal for equal bytes, under one instruction set and another; of others it differs wherever a single word of
// four bytes differs, and else but for one chance in 2^32 and more.
inline Fingerprint fingerprint(const void* data, long bytes) {
    using namespace impl;
    const long words = bytes / 4, pieces = (words + fingerprint_piece - 1) / fingerprint_piece;
    const std::uint32_t* const from = static_cast<const std::uint32_t*>(data);
    Fingerprint f{static_cast<std::uint64_t>(bytes), 0};
    const auto join = [&](std::uint64_t word) {
        f.first = (f.first ^ word) * 0x9e3779b97f4a7c15u;
        f.first ^= f.first >> 32;
        f.second = (f.second + word) * 0xd1342543de82ef95u + 1;
    };
    constexpr long group = 64;
    for (long begin = 0; begin < pieces; begin += group) {
        const long count = pieces - begin < group ? pieces - begin : group;
        std::uint32_t lanes[group * fingerprint_lanes];
        parallel_for(count, 0.05 * double(count) * double(fingerprint_piece), [&](long k) {
            const long at = (begin + k) * fingerprint_piece, some = words - at < fingerprint_piece ? words - at : fingerprint_piece;
            dispatch<FingerprintBody, Isa::avx2>(from + at, some, static_cast<std::uint32_t*>(lanes + k * fingerprint_lanes));
        });
        for (long k = 0; k < count * fingerprint_lanes; ++k) join(lanes[k]);
    }
    for (long i = 4 * words; i < bytes; ++i) join(static_cast<const unsigned char*>(data)[i]);
    return f;
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
