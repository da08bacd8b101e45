// Counter-based random numbers: Philox 4x32 with 10 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
// SC 2011) under explicit, splittable keys. The same code and the same bits on the host and on the device.
//
// The words of a key are numbered: word i is word i % 4 of Philox(key, counter i / 4), the counter being the four words
// {low half of i / 4, high half of i / 4, 0, 0}. Fills of 32-bit draws give word i to element i in row-major order;
// 64-bit draws give element i the words 2 i (low half) and 2 i + 1 (high half).
#pragma once

#include <tenon/base/config.hpp>

#include <cstdint>
#include <type_traits>

namespace tenon {

// Four words: a counter, or what Philox makes of one.
struct PhiloxWords {
    std::uint32_t word[4];
    TENON_HD constexpr std::uint32_t operator[](int i) const { return word[i]; }
    friend constexpr bool operator==(const PhiloxWords&, const PhiloxWords&) = default;
};

// Philox 4x32-10 of a counter under the key words k0, k1.
TENON_HD constexpr PhiloxWords philox4x32(PhiloxWords counter, std::uint32_t k0, std::uint32_t k1) {
    std::uint32_t c0 = counter.word[0], c1 = counter.word[1], c2 = counter.word[2], c3 = counter.word[3];
    for (int round = 0; round < 10; ++round) {
        const std::uint64_t a = 0xd2511f53ull * c0, b = 0xcd9e8d57ull * c2;
        c0 = static_cast<std::uint32_t>(b >> 32) ^ c1 ^ k0;
        c1 = static_cast<std::uint32_t>(b);
        c2 = static_cast<std::uint32_t>(a >> 32) ^ c3 ^ k1;
        c3 = static_cast<std::uint32_t>(a);
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    return {{c0, c1, c2, c3}};
}

// A source of random numbers, as a value: who needs randomness takes a key, and gives `key.split(i)` to its i-th part.
// Splits are independent of each other and of the numbers drawn from the key itself.
struct Key {
    std::uint64_t bits = 0;  // low half: first key word, high half: second

    constexpr Key() = default;
    template <class Integer>
        requires std::is_integral_v<Integer>
    TENON_HD constexpr explicit Key(Integer seed) : bits(static_cast<std::uint64_t>(seed)) {}

    // The first two words of Philox(key, counter {index, tag}); the tag keeps splits apart from drawn numbers, whose
    // counters have zeros there.
    TENON_HD constexpr Key split(std::uint64_t index) const {
        const PhiloxWords w =
            philox4x32({{static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32), split_tag, 0}}, low(), high());
        return Key(w.word[0] | static_cast<std::uint64_t>(w.word[1]) << 32);
    }
    TENON_HD constexpr std::uint32_t low() const { return static_cast<std::uint32_t>(bits); }
    TENON_HD constexpr std::uint32_t high() const { return static_cast<std::uint32_t>(bits >> 32); }
    friend constexpr bool operator==(const Key&, const Key&) = default;

    static constexpr std::uint32_t split_tag = 0x53504c54u;
};

// The words 4 counter ... 4 counter + 3 of a key.
TENON_HD constexpr PhiloxWords random_words_at(Key key, std::uint64_t counter) {
    return philox4x32({{static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32), 0, 0}}, key.low(),
                      key.high());
}
// Word i of a key.
TENON_HD constexpr std::uint32_t random_word(Key key, std::uint64_t i) {
    return random_words_at(key, i >> 2).word[static_cast<int>(i & 3)];
}
// The i-th 64-bit draw of a key: words 2 i (low half) and 2 i + 1.
TENON_HD constexpr std::uint64_t random_word64(Key key, std::uint64_t i) {
    const PhiloxWords w = random_words_at(key, i >> 1);
    const int at = static_cast<int>(i & 1) * 2;
    return w.word[at] | static_cast<std::uint64_t>(w.word[at + 1]) << 32;
}

// A word as a float in [0, 1), multiples of 2^-24; a 64-bit draw as a double in [0, 1), multiples of 2^-53.
TENON_HD constexpr float unit_float(std::uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }
TENON_HD constexpr double unit_double(std::uint64_t draw) { return static_cast<double>(draw >> 11) * 0x1p-53; }

// An event of probability p happens where word < bernoulli_threshold(p): p to within 2^-33, never for 0, always for 1.
// p outside of [0, 1] or NaN counts as the nearer end, NaN as 0.
TENON_HD constexpr std::uint64_t bernoulli_threshold(double p) {
    if (!(p > 0)) return 0;
    if (p >= 1) return std::uint64_t(1) << 32;
    return static_cast<std::uint64_t>(p * 0x1p32 + 0.5);
}

// floor(draw * range / 2^64): a number in [0, range), each value's probability off by less than 2^-64.
TENON_HD constexpr std::uint64_t scale_to_range(std::uint64_t draw, std::uint64_t range) {
    __extension__ using Wide = unsigned __int128;
    return static_cast<std::uint64_t>(static_cast<Wide>(draw) * range >> 64);
}

}  // namespace tenon
