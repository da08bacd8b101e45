// Augmentation: what each function does to known images, that a key decides alone, and what it refuses.
#include <catch2/catch.hpp>

#include <tenon/data/augment.hpp>

#include <algorithm>
#include <set>

using namespace tenon;

namespace {

// Values that tell where a pixel was.
Tensor<float, 4> numbered(long n, long c, long h, long w) {
    auto x = empty<float>({n, c, h, w});
    for (long i = 0; i < x.size(); ++i) x.data()[i] = static_cast<float>(i + 1);
    return x;
}
Tensor<float, 4> coloured(long n, long h, long w) {
    auto x = empty<float>({n, 3, h, w});
    for (long i = 0; i < x.size(); ++i) x.data()[i] = static_cast<float>((i * 37) % 101) / 100.0f;
    return x;
}
bool equal(const Tensor<float, 4>& a, const Tensor<float, 4>& b) {
    return a.size() == b.size() && std::equal(a.data(), a.data() + a.size(), b.data());
}

}  // namespace

TEST_CASE("a crop is a part of the padded image") {
    const auto x = numbered(40, 2, 5, 6);
    const auto y = data::random_crop(x, {.height = 4, .width = 5, .padding = 2, .fill = -1}, Key(3));
    REQUIRE(y.shape() == Shape<4>{{40, 2, 4, 5}});
    std::set<std::pair<long, long>> places;
    for (long i = 0; i < 40; ++i) {
        bool found = false;
        for (long top = -2; top <= 3 && !found; ++top)
            for (long left = -2; left <= 3 && !found; ++left) {
                bool same = true;
                for (long c = 0; c < 2; ++c)
                    for (long r = 0; r < 4; ++r)
                        for (long k = 0; k < 5; ++k) {
                            const long py = top + r, px = left + k;
                            const float expected = py < 0 || py >= 5 || px < 0 || px >= 6 ? -1.0f : x.data()[((i * 2 + c) * 5 + py) * 6 + px];
                            same = same && y.data()[((i * 2 + c) * 4 + r) * 5 + k] == expected;
                        }
                if (same) found = true, places.insert({top, left});
            }
        CHECK(found);
    }
    CHECK(places.size() > 10);
    CHECK(equal(data::random_crop(x, {}, Key(1)), x));
    CHECK_THROWS_AS(data::random_crop(x, {.height = 10, .padding = 2}, Key(1)), ValueError);
    CHECK_THROWS_AS(data::random_crop(x, {.padding = -1}, Key(1)), ValueError);
}

TEST_CASE("a flip mirrors, with its probability") {
    const auto x = numbered(1000, 1, 2, 3);
    CHECK(equal(data::random_flip(x, {.horizontal = 0}, Key(1)), x));
    const auto mirrored = data::random_flip(x, {.horizontal = 1}, Key(1));
    const auto upset = data::random_flip(x, {.horizontal = 0, .vertical = 1}, Key(1));
    for (long i = 0; i < 1000; ++i)
        for (long r = 0; r < 2; ++r)
            for (long k = 0; k < 3; ++k) {
                CHECK(mirrored.data()[(i * 2 + r) * 3 + k] == x.data()[(i * 2 + r) * 3 + 2 - k]);
                CHECK(upset.data()[(i * 2 + r) * 3 + k] == x.data()[(i * 2 + 1 - r) * 3 + k]);
            }
    const auto some = data::random_flip(x, Key(2));
    long flipped = 0;
    for (long i = 0; i < 1000; ++i) flipped += some.data()[i * 6] != x.data()[i * 6];
    CHECK(flipped > 430);  // 500 expected, deviation 15.8
    CHECK(flipped < 570);
    CHECK_THROWS_AS(data::random_flip(x, {.horizontal = 1.5}, Key(1)), ValueError);
}

TEST_CASE("a rotation keeps the centre and turns the rest") {
    auto x = zeros<float>({30, 1, 9, 9});
    for (long i = 0; i < 30; ++i) x.data()[i * 81 + 40] = 1, x.data()[i * 81 + 4 * 9 + 7] = 2;
    CHECK(equal(data::random_rotation(x, 0, Key(1)), x));
    const auto y = data::random_rotation(x, 90, Key(5));
    for (long i = 0; i < 30; ++i) {
        CHECK(y.data()[i * 81 + 40] == Approx(1).margin(1e-6));
        // The bright pixel is three pixels away from the centre, whatever the angle: its light is found around there.
        double weight = 0, far = 0;
        for (long p = 0; p < 81; ++p) {
            if (p == 40) continue;
            const double v = static_cast<double>(y.data()[i * 81 + p]);
            const double dy = static_cast<double>(p / 9 - 4), dx = static_cast<double>(p % 9 - 4);
            weight += v;
            far += v * std::sqrt(dx * dx + dy * dy);
        }
        CHECK(weight == Approx(2).margin(0.7));
        CHECK(far / weight == Approx(3).margin(0.4));
    }
    CHECK_THROWS_AS(data::random_rotation(x, -1, Key(1)), ValueError);
}

TEST_CASE("colour jitter: each amount does its own") {
    const auto x = coloured(6, 5, 7);
    CHECK(equal(data::colour_jitter(x, {}, Key(1)), x));
    const long pixels = 35;
    const auto grey_of = [&](const Tensor<float, 4>& y, long i, long p) {
        const float* at = y.data() + i * 3 * pixels + p;
        return 0.299 * static_cast<double>(at[0]) + 0.587 * static_cast<double>(at[pixels]) + 0.114 * static_cast<double>(at[2 * pixels]);
    };
    const auto bright = data::colour_jitter(x, {.brightness = 0.4}, Key(2));
    for (long i = 0; i < 6; ++i) {
        double factor = 0;
        for (long p = 0; p < 3 * pixels; ++p) {
            const double v = static_cast<double>(x.data()[i * 3 * pixels + p]), now = static_cast<double>(bright.data()[i * 3 * pixels + p]);
            if (now < 1 && v > 0) {
                if (factor == 0) factor = now / v;
                CHECK(now == Approx(v * factor).margin(1e-6));
            }
        }
        CHECK(factor >= 0.6);
        CHECK(factor <= 1.4);
    }
    // The grey of a pixel stays under a change of saturation that clips nothing; hue leaves largest and smallest channel.
    auto soft = coloured(6, 5, 7);
    for (long k = 0; k < soft.size(); ++k) soft.data()[k] = 0.4f + 0.2f * soft.data()[k];
    const auto pale = data::colour_jitter(soft, {.saturation = 0.5}, Key(3));
    const auto turned = data::colour_jitter(x, {.hue = 0.5}, Key(4));
    long moved = 0;
    for (long i = 0; i < 6; ++i)
        for (long p = 0; p < pixels; ++p) {
            CHECK(grey_of(pale, i, p) == Approx(grey_of(soft, i, p)).margin(1e-6));
            const auto channels = [&](const Tensor<float, 4>& y) {
                const float* at = y.data() + i * 3 * pixels + p;
                std::vector<float> v{at[0], at[pixels], at[2 * pixels]};
                return v;
            };
            const auto before = channels(x), after = channels(turned);
            CHECK(*std::max_element(before.begin(), before.end()) == Approx(*std::max_element(after.begin(), after.end())).margin(1e-6));
            CHECK(*std::min_element(before.begin(), before.end()) == Approx(*std::min_element(after.begin(), after.end())).margin(1e-6));
            moved += std::abs(before[0] - after[0]) > 0.05f;
        }
    CHECK(moved > 50);
    CHECK_THROWS_AS(data::colour_jitter(zeros<float>({1, 2, 3, 3}), {}, Key(1)), ShapeError);
    CHECK_THROWS_AS(data::colour_jitter(x, {.hue = 0.6}, Key(1)), ValueError);
}

TEST_CASE("a third of the hue circle turns red into green") {
    float r = 1, g = 0, b = 0;
    data::impl_augment::turn_hue(r, g, b, 1.0f / 3);
    CHECK(r == Approx(0).margin(1e-6));
    CHECK(g == Approx(1).margin(1e-6));
    CHECK(b == Approx(0).margin(1e-6));
}

TEST_CASE("cutout fills a square, cut at the edges") {
    const auto x = numbered(50, 2, 8, 8);
    const auto y = data::cutout(x, 4, Key(9));
    for (long i = 0; i < 50; ++i)
        for (long c = 0; c < 2; ++c) {
            long gone = 0;
            for (long p = 0; p < 64; ++p) {
                const long at = (i * 2 + c) * 64 + p;
                if (y.data()[at] == 0) ++gone;
                else CHECK(y.data()[at] == x.data()[at]);
                CHECK((y.data()[i * 128 + p] == 0) == (y.data()[i * 128 + 64 + p] == 0));
            }
            CHECK(gone >= 4);
            CHECK(gone <= 16);
        }
    CHECK(equal(data::cutout(x, 4, Key(9), 0), x));
    CHECK_THROWS_AS(data::cutout(x, 0, Key(9)), ValueError);
}

TEST_CASE("normalise gives each channel its own mean and deviation") {
    const auto x = coloured(3, 4, 4);
    data::ChannelStatistics statistics;
    for (int c = 0; c < 3; ++c) statistics.mean[c] = 0.1f * static_cast<float>(c), statistics.deviation[c] = 0.5f + static_cast<float>(c);
    const auto y = data::normalise(x, statistics);
    for (long i = 0; i < x.size(); ++i) {
        const int c = static_cast<int>(i / 16 % 3);
        CHECK(y.data()[i] == (x.data()[i] - statistics.mean[c]) / statistics.deviation[c]);
    }
    statistics.deviation[1] = 0;
    CHECK_THROWS_AS(data::normalise(x, statistics), ValueError);
}

TEST_CASE("mixup blends images and labels by one share") {
    const auto x = numbered(16, 1, 2, 2);
    auto labels = empty<std::int64_t>({16});
    for (long i = 0; i < 16; ++i) labels.data()[i] = i % 5;
    const auto mixed = data::mixup(x, labels, 5, 0.4, Key(11));
    CHECK(mixed.share > 0);
    CHECK(mixed.share < 1);
    for (long i = 0; i < 16; ++i) {
        double sum = 0;
        for (long c = 0; c < 5; ++c) sum += static_cast<double>(mixed.targets.data()[i * 5 + c]);
        CHECK(sum == Approx(1));
        CHECK(mixed.targets.data()[i * 5 + i % 5] >= Approx(mixed.share));
        // x_i = 4 i + 1, ...: the partner follows from the value, and its label from the partner.
        const double partner = ((static_cast<double>(mixed.images.data()[i * 4]) - mixed.share * static_cast<double>(4 * i + 1)) / (1 - mixed.share) - 1) / 4;
        CHECK(partner == Approx(std::round(partner)).margin(1e-3));
        if (std::lround(partner) % 5 != i % 5) CHECK(mixed.targets.data()[i * 5 + std::lround(partner) % 5] == Approx(1 - mixed.share));
    }
    double mean = 0, square = 0;
    for (int k = 0; k < 2000; ++k) {
        const double share = data::mixup(x, labels, 5, 0.4, Key(k)).share;
        mean += share / 2000, square += share * share / 2000;
    }
    CHECK(mean == Approx(0.5).margin(0.03));
    CHECK(square - mean * mean == Approx(0.25 / 1.8).margin(0.012));  // of Beta(a, a): 1 / (4 (2 a + 1))
    CHECK_THROWS_AS(data::mixup(x, labels, 4, 0.4, Key(1)), IndexError);
    CHECK_THROWS_AS(data::mixup(x, labels, 5, 0, Key(1)), ValueError);
    CHECK_THROWS_AS(data::mixup(x, empty<std::int64_t>({3}), 5, 0.4, Key(1)), ShapeError);
}

TEST_CASE("augmentation is a function of the key, for any number of threads and any beginning of the epoch") {
    const auto x = coloured(33, 8, 8);
    const int threads = num_threads();
    std::vector<Tensor<float, 4>> made;
    for (const int t : {1, 2}) {
        set_num_threads(t);
        made.push_back(data::cutout(data::random_rotation(data::random_flip(data::random_crop(x, {.padding = 2}, Key(1)), Key(2)), 20, Key(3)), 3, Key(4)));
    }
    set_num_threads(threads);
    CHECK(equal(made[0], made[1]));
    CHECK_FALSE(equal(data::random_crop(x, {.padding = 2}, Key(1)), data::random_crop(x, {.padding = 2}, Key(2))));

    const data::ColourDataset set(zeros<std::uint8_t>({20, 3, 4, 4}), zeros<std::int64_t>({20}));
    const auto make = [&](long first) {
        std::vector<float> seen;
        const auto noisy = data::augmented(set, Key(8), [](data::ColourBatch batch, Key key) {
            batch.images.fill(static_cast<float>(key.low() % 1000));
            return batch;
        });
        for (auto [images, labels] : data::batches(noisy, {.size = 4, .shuffle = Key(5), .first = first})) seen.push_back(images.data()[0]);
        return seen;
    };
    const auto whole = make(0), late = make(3);
    REQUIRE(whole.size() == 5);
    REQUIRE(late.size() == 2);
    CHECK(whole[3] == late[0]);
    CHECK(whole[4] == late[1]);
    CHECK(std::set<float>(whole.begin(), whole.end()).size() == 5);
}
