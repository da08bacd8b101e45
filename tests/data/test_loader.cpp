// Batches: order, contents, the thread in the background, and what happens when something goes wrong in it.
#include <tenon/data/image_dataset.hpp>
#include <tenon/data/loader.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <stdexcept>

using namespace tenon;
using data::batches;

namespace {
// A data set whose batches are the rows themselves.
struct Numbers {
    long count;
    long fail_at = -1;
    mutable int calls = 0;
    struct Batch {
        std::vector<long> rows;
        long first;
    };
    long size() const { return count; }
    Batch batch(const long* rows, long n) const {
        __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED);
        for (long i = 0; i < n; ++i)
            if (rows[i] == fail_at) throw std::runtime_error("row " + std::to_string(fail_at));
        return {std::vector<long>(rows, rows + n), n > 0 ? rows[0] : -1};
    }
};
std::vector<std::vector<long>> collect(const Numbers& numbers, data::BatchOptions options) {
    std::vector<std::vector<long>> all;
    for (auto& [rows, first] : batches(numbers, options)) {
        CHECK(first == rows[0]);
        all.push_back(rows);
    }
    return all;
}
data::ImageDataset images(long count) {
    const long shape[3] = {count, 2, 3};
    Tensor<std::uint8_t, 3> x(tenon::detail::AnyTensor(tenon::detail::new_record(DType::uint8, 3, shape, cpu)));
    Tensor<std::int64_t, 1> y(tenon::detail::AnyTensor(tenon::detail::new_record(DType::int64, 1, shape, cpu)));
    for (long i = 0; i < count * 6; ++i) x.data()[i] = static_cast<std::uint8_t>(i * 37);
    for (long i = 0; i < count; ++i) y.data()[i] = i;
    return {x, y, 0.25f, 0.5f};
}
}  // namespace

TEST_CASE("a permutation is the stable order of the key's 64-bit draws", "[permutation]") {
    for (long count : {0L, 1L, 2L, 255L, 1000L, 70000L}) {
        INFO(count << " rows");
        const std::vector<long> rows = data::permutation(Key{3}, count);
        std::vector<long> expected(static_cast<std::size_t>(count));
        for (long i = 0; i < count; ++i) expected[static_cast<std::size_t>(i)] = i;
        std::stable_sort(expected.begin(), expected.end(), [](long a, long b) {
            return random_word64(Key{3}, static_cast<std::uint64_t>(a)) < random_word64(Key{3}, static_cast<std::uint64_t>(b));
        });
        CHECK(rows == expected);
    }
    CHECK(data::permutation(Key{1}, -1).empty());
    CHECK(data::permutation(Key{1}, 100) != data::permutation(Key{2}, 100));
    // These bits are part of the format: a run of years ago can be repeated.
    CHECK(data::permutation(Key{42}, 8) == std::vector<long>{2, 1, 7, 3, 0, 4, 6, 5});
}

TEST_CASE("permutations are uniform enough for a chi-square test", "[permutation]") {
    // Where does row 0 of 10 end up, over 10,000 keys: 9 degrees of freedom, beyond 33.7 once in 10,000 times.
    long count[10] = {};
    for (std::uint64_t i = 0; i < 10000; ++i) {
        const std::vector<long> rows = data::permutation(Key{5}.split(i), 10);
        ++count[std::find(rows.begin(), rows.end(), 0) - rows.begin()];
    }
    double chi = 0;
    for (long c : count) chi += double((c - 1000) * (c - 1000)) / 1000.0;
    CHECK(chi < 33.7);
}

TEST_CASE("batches cover every row once, in order or shuffled", "[loader]") {
    const Numbers numbers{10};
    CHECK(collect(numbers, {.size = 4}) == std::vector<std::vector<long>>{{0, 1, 2, 3}, {4, 5, 6, 7}, {8, 9}});
    CHECK(collect(numbers, {.size = 4, .drop_last = true}) == std::vector<std::vector<long>>{{0, 1, 2, 3}, {4, 5, 6, 7}});
    CHECK(collect(numbers, {.size = 5}).size() == 2);
    CHECK(collect(numbers, {.size = 100}).size() == 1);
    CHECK(collect(numbers, {.size = 100, .drop_last = true}).empty());
    CHECK(collect(Numbers{0}, {.size = 4}).empty());
    std::vector<long> seen;
    for (const auto& rows : collect(numbers, {.size = 3, .shuffle = Key{7}})) seen.insert(seen.end(), rows.begin(), rows.end());
    CHECK(seen == data::permutation(Key{7}, 10));
}

TEST_CASE("the thread changes nothing in order and contents", "[loader]") {
    const Numbers numbers{1003};
    const auto reference = collect(numbers, {.size = 10, .shuffle = Key{11}, .prefetch = 0});
    for (int prefetch : {1, 2, 3, 50, 1000}) {
        INFO("prefetch " << prefetch);
        CHECK(collect(numbers, {.size = 10, .shuffle = Key{11}, .prefetch = prefetch}) == reference);
    }
    CHECK(collect(numbers, {.size = 10, .shuffle = Key{12}}) != reference);
}

TEST_CASE("images and labels arrive together, the same bits with and without the thread", "[loader]") {
    const data::ImageDataset set = images(50);
    std::vector<float> plain, ahead;
    std::vector<std::int64_t> plain_labels;
    for (auto [x, y] : batches(set, {.size = 7, .shuffle = Key{1}, .prefetch = 0})) {
        plain.insert(plain.end(), x.data(), x.data() + x.size());
        plain_labels.insert(plain_labels.end(), y.data(), y.data() + y.size());
    }
    std::vector<Tensor<float, 2>> kept;  // batches may outlive their turn
    for (auto [x, y] : batches(set, {.size = 7, .shuffle = Key{1}})) kept.push_back(x);
    for (const auto& x : kept) ahead.insert(ahead.end(), x.data(), x.data() + x.size());
    REQUIRE(plain.size() == 300);
    CHECK(plain == ahead);
    for (std::size_t i = 0; i < 50; ++i)
        for (std::size_t p = 0; p < 6; ++p) {
            const int pixel = static_cast<std::uint8_t>((static_cast<std::size_t>(plain_labels[i]) * 6 + p) * 37);
            CHECK(plain[i * 6 + p] == (static_cast<float>(pixel) / 255.0f - 0.25f) / 0.5f);
        }
}

TEST_CASE("a range can be run again and left early", "[loader]") {
    const Numbers numbers{1000};
    auto range = batches(numbers, {.size = 10, .shuffle = Key{2}});
    CHECK(range.size() == 100);
    CHECK(range.rows() == 1000);
    std::vector<long> first, second;
    for (auto& [rows, start] : range) {
        first.push_back(start);
        if (first.size() == 3) break;
    }
    for (auto& [rows, start] : range) second.push_back(start);
    CHECK(second.size() == 100);
    CHECK(std::equal(first.begin(), first.end(), second.begin()));
    // Never begun, begun and dropped at once.
    { const auto unused = batches(numbers, {.size = 10}); }
    for (int i = 0; i < 200; ++i)
        for (auto& batch : batches(numbers, {.size = 10})) {
            CHECK(batch.rows.size() == 10);
            break;
        }
    // The thread keeps no more ready than it was told to.
    const Numbers counted{1000};
    auto waiting = batches(counted, {.size = 10, .prefetch = 2});
    auto at = waiting.begin();
    ++at;
    for (int i = 0; i < 1000; ++i) sched_yield();
    CHECK(__atomic_load_n(&counted.calls, __ATOMIC_RELAXED) <= 4);
}

TEST_CASE("an exception of the data set arrives at its batch", "[loader]") {
    for (int prefetch : {0, 1, 2, 8}) {
        INFO("prefetch " << prefetch);
        const Numbers numbers{100, 55};
        long good = 0;
        std::string text;
        auto range = batches(numbers, {.size = 10, .prefetch = prefetch});
        try {
            for (auto& [rows, start] : range) good += static_cast<long>(rows.size());
        } catch (const std::runtime_error& error) {
            text = error.what();
        }
        CHECK(good == 50);
        CHECK(text == "row 55");
        // And again, from the start.
        good = 0;
        CHECK_THROWS_AS(([&] {
                            for (auto& [rows, start] : range) good += static_cast<long>(rows.size());
                        }()),
                        std::runtime_error);
        CHECK(good == 50);
    }
    const Numbers at_once{100, 0};
    CHECK_THROWS_AS(batches(at_once, {.size = 10}).begin(), std::runtime_error);
    CHECK_THROWS_AS(batches(at_once, {.size = 0}), ValueError);
    CHECK_THROWS_AS(batches(at_once, {.size = 1, .prefetch = -1}), ValueError);
}

TEST_CASE("a range that begins further on gives what the whole one gives from there", "[loader]") {
    for (const long rows : {0L, 1L, 95L, 100L})
        for (const int prefetch : {0, 1, 3, 50}) {
            const Numbers numbers{rows};
            const data::BatchOptions whole{.size = 10, .shuffle = Key{4}, .prefetch = prefetch};
            const auto all_batches = collect(numbers, whole);
            for (const long first : {0L, 1L, 7L, 9L, 10L, 11L, 1000L}) {
                INFO(rows << " rows, prefetch " << prefetch << ", first " << first);
                data::BatchOptions rest = whole;
                rest.first = first;
                const std::size_t skipped = std::min(static_cast<std::size_t>(first), all_batches.size());
                CHECK(collect(numbers, rest) == std::vector<std::vector<long>>(all_batches.begin() + static_cast<long>(skipped), all_batches.end()));
                auto range = batches(numbers, rest);
                CHECK(range.size() == static_cast<long>(all_batches.size()));
                for (int round = 0; round < 2; ++round) {  // and again, from there
                    std::size_t count = 0;
                    for ([[maybe_unused]] auto& batch : range) ++count;
                    CHECK(count == all_batches.size() - skipped);
                }
            }
        }
    const Numbers one{1};
    CHECK_THROWS_AS(batches(one, {.size = 1, .first = -1}), ValueError);
}
