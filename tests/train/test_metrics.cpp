// Means, accuracy, the confusion matrix and early stopping, against figures worked out by hand.
#include <catch2/catch.hpp>

#include <tenon/train/early_stopping.hpp>
#include <tenon/train/metrics.hpp>

#include <limits>

using namespace tenon;

TEST_CASE("means") {
    train::Mean mean;
    CHECK(std::isnan(mean.value()));
    mean.add(1, 3), mean.add(5, 1);
    CHECK(mean.value() == 2);
    train::MovingMean moving(0.9);
    CHECK(std::isnan(moving.value()));
    moving.add(4);
    CHECK(moving.value() == Approx(4));
    moving.add(2);
    CHECK(moving.value() == Approx((0.9 * 0.4 + 0.2) / 0.19));
    CHECK_THROWS_AS(train::MovingMean(1), ValueError);
}

TEST_CASE("accuracy counts labels among the k largest, the first of equal scores first") {
    const auto scores = from<float>({4, 3}, {0.1f, 0.7f, 0.2f, 0.5f, 0.5f, 0.0f, 0.5f, 0.5f, 0.0f, std::numeric_limits<float>::quiet_NaN(), 0.0f, 1.0f});
    const auto labels = from<std::int64_t>({1, 0, 1, 0});
    CHECK(train::count_correct(scores, labels) == 2);
    CHECK(train::count_correct(scores, labels, 2) == 3);
    CHECK(train::accuracy(scores, labels) == 0.5);
    CHECK(std::isnan(train::accuracy(empty<float>({0, 3}), empty<std::int64_t>({0}))));
    CHECK_THROWS_AS(train::accuracy(scores, from<std::int64_t>({1, 0, 1})), ShapeError);
    CHECK_THROWS_AS(train::accuracy(scores, from<std::int64_t>({1, 0, 1, 3})), IndexError);
    CHECK_THROWS_AS(train::count_correct(scores, labels, 0), ValueError);
}

TEST_CASE("confusion matrix") {
    train::ConfusionMatrix m(3);
    CHECK(std::isnan(m.accuracy()));
    m.add(from<float>({4, 3}, {9, 1, 0, 0, 1, 2, 3, 1, 2, 0, 8, 2}), from<std::int64_t>({0, 1, 1, 1}));
    CHECK(m.total() == 4);
    CHECK(m.count(0, 0) == 1);
    CHECK(m.count(1, 2) == 1);
    CHECK(m.count(1, 0) == 1);
    CHECK(m.count(1, 1) == 1);
    CHECK(m.accuracy() == 0.5);
    CHECK(m.precision(0) == 0.5);
    CHECK(m.recall(1) == Approx(1.0 / 3));
    CHECK(m.precision(2) == 0);
    CHECK(std::isnan(m.recall(2)));
    CHECK(m.f1(0) == Approx(2.0 / 3));
    CHECK(m.f1(1) == 0.5);
    CHECK(m.iou(1) == Approx(1.0 / 3));
    CHECK(m.mean_f1() == Approx((2.0 / 3 + 0.5 + 0) / 3));
    CHECK(m.mean_iou() == Approx((0.5 + 1.0 / 3 + 0) / 3));
    CHECK(m.balanced_accuracy() == Approx((1 + 1.0 / 3) / 2));
    CHECK(m.text({"cat", "dog", "bird"}) == "  true   cat   dog  bird\n   cat     1     0     0\n   dog     1     1     1\n  bird     0     0     0\n");
    CHECK_THROWS_AS(m.add(3, 0), IndexError);
    CHECK_THROWS_AS(m.add(zeros<float>({1, 2}), from<std::int64_t>({0})), ShapeError);
    CHECK_THROWS_AS(train::ConfusionMatrix(0), ValueError);
}

TEST_CASE("early stopping waits for its patience, and goes on after a restore") {
    train::EarlyStopping stopping({.patience = 2, .threshold = 0.1});
    const double nan = std::numeric_limits<double>::quiet_NaN();
    CHECK_FALSE(stopping.update(1.0));
    CHECK(stopping.improved());
    CHECK_FALSE(stopping.update(0.95));  // not better by the threshold
    CHECK_FALSE(stopping.improved());
    CHECK_FALSE(stopping.update(0.5));
    CHECK_FALSE(stopping.update(nan));
    train::EarlyStopping other({.patience = 2, .threshold = 0.1});
    other.restore(stopping.state());
    for (auto* s : {&stopping, &other}) {
        CHECK(s->update(0.6));
        CHECK(s->best() == 0.5);
        CHECK(s->best_epoch() == 3);
    }
    train::EarlyStopping up({.patience = 1, .maximise = true});
    CHECK_FALSE(up.update(0.1));
    CHECK_FALSE(up.update(0.2));
    CHECK(up.update(0.2));
    train::EarlyStopping never({.patience = 2});
    CHECK_FALSE(never.update(nan));
    CHECK(never.update(nan));
    CHECK_THROWS_AS(train::EarlyStopping({.patience = 0}), ValueError);
    CHECK_THROWS_AS(never.restore({1, 2}), ValueError);
}
