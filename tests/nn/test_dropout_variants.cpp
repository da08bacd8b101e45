// Feature dropout and alpha dropout: what is kept, moments, repetition, gradients, errors.
#include <tenon/ops/dropout_variants.hpp>
#include <tenon/ops/reduce.hpp>
#include <tenon/testing/gradcheck.hpp>

#include <catch2/catch.hpp>

#include <cmath>

using namespace tenon;

TEST_CASE("feature dropout drops whole features") {
    const auto x = uniform<float>({40, 30, 7}, Key{1}, {1, 2});
    const auto y = feature_dropout(x, 0.25, Key{2});
    long kept = 0;
    bool whole = true;
    for (long f = 0; f < 1200; ++f) {
        const bool keeps = y.data()[f * 7] != 0;
        kept += keeps;
        for (long i = 0; i < 7; ++i) whole = whole && y.data()[f * 7 + i] == (keeps ? Approx(x.data()[f * 7 + i] / 0.75f) : Approx(0));
    }
    CHECK(whole);
    CHECK(std::abs(kept - 900) < 75);  // five deviations
    CHECK(std::memcmp(y.data(), feature_dropout(x, 0.25, Key{2}).data(), 4 * 8400) == 0);
    CHECK(std::memcmp(y.data(), feature_dropout(x, 0.25, Key{3}).data(), 4 * 8400) != 0);
    CHECK(sum(abs(feature_dropout(x, 1, Key{2}))).item() == 0);
    CHECK_NOTHROW(testing::gradcheck([](auto v) { return feature_dropout(v, 0.5, Key{4}); }, randn<double>({4, 3, 2}, Key{5})));
    CHECK_THROWS_WITH(feature_dropout(x, -0.5, Key{1}), Catch::Contains("feature_dropout: probability -0.5"));
}

TEST_CASE("alpha dropout keeps mean and variance") {
    const auto x = randn<double>({100000}, Key{1});
    for (double p : {0.0, 0.1, 0.5}) {
        const auto y = alpha_dropout(x, p, Key{2});
        const double mean_of = mean(y).item(), square_of = mean(square(y)).item();
        CHECK(std::abs(mean_of) < 0.02);
        CHECK(std::abs(square_of - 1) < 0.03);
    }
    CHECK(sum(abs(alpha_dropout(x, 1, Key{2}))).item() == 0);
    CHECK_NOTHROW(testing::gradcheck([](auto v) { return alpha_dropout(v, 0.5, Key{4}); }, randn<double>({20}, Key{5})));
    CHECK_THROWS_WITH(alpha_dropout(x, 1.5, Key{1}), Catch::Contains("alpha_dropout: probability 1.5"));
}
