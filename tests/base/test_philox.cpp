// Philox against published vectors; keys and the conversions from words.
#include <tenon/base/philox.hpp>

#include <catch2/catch.hpp>

#include <set>
#include <vector>

using namespace tenon;

// The vectors that Random123 ships for philox4x32 with 10 rounds.
static_assert(philox4x32({{0, 0, 0, 0}}, 0, 0) == PhiloxWords{{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}});
static_assert(philox4x32({{~0u, ~0u, ~0u, ~0u}}, ~0u, ~0u) == PhiloxWords{{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}});
static_assert(philox4x32({{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}, 0xa4093822, 0x299f31d0) ==
              PhiloxWords{{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}});

TEST_CASE("philox gives the published vectors at run time too") {
    volatile std::uint32_t zero = 0;
    const PhiloxWords w = philox4x32({{zero, zero, zero, zero}}, zero, zero);
    CHECK(w == PhiloxWords{{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}});
}

TEST_CASE("a split is the first two words of philox under the counter {index, tag}") {
    const Key key{42};
    CHECK(key.low() == 42);
    CHECK(key.high() == 0);
    const PhiloxWords w = philox4x32({{3, 0, Key::split_tag, 0}}, 42, 0);
    CHECK(key.split(3).low() == w[0]);
    CHECK(key.split(3).high() == w[1]);
    const PhiloxWords far = philox4x32({{5, 1, Key::split_tag, 0}}, 42, 0);
    CHECK(key.split((1ull << 32) + 5).low() == far[0]);
    // Bits that must never change: models are reproduced from them.
    CHECK(Key{42}.split(3).bits == 0x43deabba33546edeull);
    CHECK(Key{}.bits == 0);
    CHECK(Key{-1}.bits == ~0ull);
}

TEST_CASE("splits differ from each other, from their parent, and from splits of splits") {
    std::set<std::uint64_t> seen;
    const Key key{7};
    seen.insert(key.bits);
    for (std::uint64_t i = 0; i < 1000; ++i) {
        seen.insert(key.split(i).bits);
        seen.insert(key.split(i).split(0).bits);
        seen.insert(key.split(0).split(i + 1).bits);
        seen.insert(Key{i + 8}.split(0).bits);
        seen.insert(random_word64(key, i));
    }
    CHECK(seen.size() == 5001);
}

TEST_CASE("words are numbered through the counters") {
    const Key key{0x0123456789abcdefull};
    for (const std::uint64_t i : {0ull, 1ull, 2ull, 3ull, 4ull, 1000001ull, (1ull << 34) - 1, (1ull << 34), (1ull << 40) + 3}) {
        const std::uint64_t counter = i / 4;
        const PhiloxWords w = philox4x32({{static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32), 0, 0}},
                                         0x89abcdefu, 0x01234567u);
        CHECK(random_word(key, i) == w[static_cast<int>(i % 4)]);
        CHECK(random_word64(key, i) == (random_word(key, 2 * i) | static_cast<std::uint64_t>(random_word(key, 2 * i + 1)) << 32));
    }
}

TEST_CASE("the conversions from words meet their ends") {
    CHECK(unit_float(0) == 0.f);
    CHECK(unit_float(255) == 0.f);
    CHECK(unit_float(256) == 0x1p-24f);
    CHECK(unit_float(~0u) == 1 - 0x1p-24f);
    CHECK(unit_double(~0ull) == 1 - 0x1p-53);
    CHECK(bernoulli_threshold(0) == 0);
    CHECK(bernoulli_threshold(-1) == 0);
    CHECK(bernoulli_threshold(__builtin_nan("")) == 0);
    CHECK(bernoulli_threshold(0.5) == 1ull << 31);
    CHECK(bernoulli_threshold(0x1p-32) == 1);
    CHECK(bernoulli_threshold(1 - 0x1p-50) == 1ull << 32);
    CHECK(bernoulli_threshold(1) == 1ull << 32);
    CHECK(bernoulli_threshold(2) == 1ull << 32);
    CHECK(scale_to_range(0, 10) == 0);
    CHECK(scale_to_range(~0ull, 10) == 9);
    CHECK(scale_to_range(1ull << 63, 10) == 5);
    CHECK(scale_to_range((1ull << 63) - 1, 10) == 4);
    CHECK(scale_to_range(~0ull, ~0ull) == ~0ull - 1);
    CHECK(scale_to_range(12345, 1) == 0);
}
