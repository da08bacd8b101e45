// Link prediction: scores, losses and their gradients, the ranking measures.
#include <tenon/graph/links.hpp>
#include <tenon/ops/extreme.hpp>
#include <tenon/testing/gradcheck.hpp>

#include <catch2/catch.hpp>

#include <cmath>

using namespace tenon;

TEST_CASE("inner products and losses of graph auto-encoders", "[graph]") {
    const auto z = randn<double>({6, 3}, Key{1});
    const auto pairs = from<std::int64_t>({2, 5}, {0, 1, 5, 2, 2, 3, 1, 0, 4, 2});
    const auto one = graph::inner_product(z, pairs);
    const auto all_pairs = graph::inner_product(z);
    for (long k = 0; k < 5; ++k) {
        double expected = 0;
        for (long j = 0; j < 3; ++j) expected += z.data()[pairs.data()[k] * 3 + j] * z.data()[pairs.data()[5 + k] * 3 + j];
        CHECK(one.data()[k] == Approx(expected).epsilon(1e-14));
        CHECK(all_pairs(pairs.data()[k], pairs.data()[5 + k]).item() == Approx(expected).epsilon(1e-14));
    }
    const auto negative = from<double>({-1, 2, 800});
    double expected = 0;
    for (long k = 0; k < 5; ++k) expected -= std::log(1 / (1 + std::exp(-one.data()[k]))) / 5;
    expected += (std::log1p(std::exp(-1.0)) + std::log1p(std::exp(2.0)) + 800) / 3;
    CHECK(graph::link_loss(one, negative).item() == Approx(expected).epsilon(1e-14));

    const graph::Latent<double> latent{z, randn<double>({6, 3}, Key{2})};
    double divergence = 0;
    for (long i = 0; i < 18; ++i) {
        const double m = latent.mean.data()[i], s = latent.log_deviation.data()[i];
        divergence -= 0.5 / 6 * (1 + 2 * s - m * m - std::exp(s) * std::exp(s));
    }
    CHECK(graph::kl_loss(latent).item() == Approx(divergence).epsilon(1e-13));
    const graph::Latent<double> standard{zeros<double>({4, 2}), zeros<double>({4, 2})};
    CHECK(graph::kl_loss(standard).item() == 0);
    CHECK(max(abs(graph::sample(standard, Key{3}) - randn<double>({4, 2}, Key{3}))).item() == 0);

    testing::gradcheck(
        [&](const auto& v) {
            return graph::link_loss(graph::inner_product(v, pairs), graph::inner_product(v, from<std::int64_t>({2, 2}, {0, 4, 5, 5})));
        },
        z);
    testing::gradcheck([&](const auto& v) { return graph::inner_product(v); }, z);
    testing::gradcheck(
        [](const auto& m, const auto& s) {
            return graph::kl_loss(graph::Latent<double>{m, s});
        },
        latent.mean, latent.log_deviation);
    testing::gradcheck(
        [](const auto& m, const auto& s) {
            return graph::sample(graph::Latent<double>{m, s}, Key{4});
        },
        latent.mean, latent.log_deviation);
    CHECK_THROWS_AS(graph::inner_product(z, from<std::int64_t>({2, 1}, {0, 6})), IndexError);
    CHECK_THROWS_WITH(graph::inner_product(z, from<std::int64_t>({1, 2}, {0, 1})),
                      Catch::Contains("inner_product: the pairs are") && Catch::Contains("expected [2, n]"));
}

TEST_CASE("how well scores rank edges", "[graph]") {
    const auto list = [](std::initializer_list<double> v) { return from<double>(v); };
    CHECK(graph::link_auc(list({3, 4}), list({1, 2})) == 1);
    CHECK(graph::link_auc(list({1, 2}), list({3, 4, 5})) == 0);
    CHECK(graph::link_auc(list({1, 1}), list({1, 1, 1})) == 0.5);
    CHECK(graph::average_precision(list({3, 4}), list({1, 2})) == 1);
    // By falling score: positive, negative, positive, negative, positive: precisions 1, 2/3, 3/5.
    CHECK(graph::average_precision(list({5, 3, 1}), list({4, 2})) == Approx((1 + 2.0 / 3 + 3.0 / 5) / 3).epsilon(1e-15));
    // Equal scores are one threshold: at 2 two positives of four.
    CHECK(graph::average_precision(list({2, 2}), list({2, 2})) == 0.5);
    CHECK(std::isnan(graph::link_auc(list({1}), zeros<double>({0}))));
    CHECK(std::isnan(graph::average_precision(zeros<double>({0}), list({1}))));
    CHECK_THROWS_WITH(graph::link_auc(list({1, std::nan("")}), list({1})),
                      Catch::Contains("link_auc: the score of a positive pair, at position 1, is NaN"));
    // Against all pairs, with many ties.
    const Tensor<std::int64_t, 1> whole_p = integers({70}, Key{5}, 3, 20), whole_n = integers({90}, Key{6}, 0, 15);
    const Tensor<float, 1> p = cast<float>(whole_p), n = cast<float>(whole_n);
    double right = 0;
    for (long i = 0; i < 70; ++i)
        for (long j = 0; j < 90; ++j) right += p.data()[i] > n.data()[j] ? 1 : p.data()[i] == n.data()[j] ? 0.5 : 0;
    CHECK(graph::link_auc(p, n) == Approx(right / 6300).epsilon(1e-14));
}
