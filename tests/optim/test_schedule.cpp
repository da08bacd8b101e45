// Schedules against their closed forms, written out over the first values.
#include <tenon/optim/schedule.hpp>

#include <catch2/catch.hpp>

#include <cmath>

using namespace tenon;
using namespace tenon::optim;

namespace {
template <class S, class F>
void check_first(const S& schedule, F&& expected, long count = 40) {
    static_assert(Schedule<S>);
    for (long step = 0; step < count; ++step) {
        INFO("step " << step);
        const double want = expected(step);
        CHECK(std::abs(schedule(step) - want) <= 1e-15 * std::max(1.0, std::abs(want)));
    }
}
}  // namespace

TEST_CASE("a step schedule drops by its factor every so many steps", "[schedule]") {
    const double table[] = {1, 1, 1, .5, .5, .5, .25, .25, .25, .125, .125, .125, .0625};
    check_first(StepDecay(3, 0.5), [&](long s) { return table[s]; }, 13);
    check_first(StepDecay(7), [](long s) { return std::pow(0.1, double(s / 7)); });
    CHECK(StepDecay(3)(-5) == 1.0);
    CHECK_THROWS_AS(StepDecay(0), ValueError);
}

TEST_CASE("a multi-step schedule drops at its milestones", "[schedule]") {
    check_first(MultiStep({3, 8, 9}, 0.5), [](long s) { return s < 3 ? 1.0 : s < 8 ? .5 : s < 9 ? .25 : .125; });
    check_first(MultiStep({}), [](long) { return 1.0; });
    CHECK_THROWS_AS(MultiStep({5, 5}), ValueError);
    CHECK_THROWS_AS(MultiStep({5, 4}), ValueError);
    CHECK_THROWS_AS(MultiStep({1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17}), ValueError);
}

TEST_CASE("an exponential schedule multiplies once per step", "[schedule]") {
    double running = 1.0;
    for (long step = 0; step < 60; ++step, running *= 0.9) CHECK(Exponential(0.9)(step) == Approx(running).epsilon(1e-13));
}

TEST_CASE("a cosine schedule goes from one to its last value and stays there", "[schedule]") {
    const double pi = std::acos(-1.0);
    check_first(Cosine(20), [&](long s) { return s >= 20 ? 0.0 : (1 + std::cos(pi * double(s) / 20)) / 2; });
    check_first(Cosine(10, 0.25), [&](long s) { return s >= 10 ? .25 : .25 + .75 * (1 + std::cos(pi * double(s) / 10)) / 2; });
    CHECK(Cosine(10)(5) == Approx(0.5).epsilon(1e-15));
    CHECK(Cosine(10)(1000000) == 0.0);
    CHECK_THROWS_AS(Cosine(0), ValueError);
}

TEST_CASE("a linear warm-up rises to one", "[schedule]") {
    check_first(LinearWarmup(5), [](long s) { return s >= 5 ? 1.0 : double(s) / 5; });
    check_first(LinearWarmup(8, 0.5), [](long s) { return s >= 8 ? 1.0 : .5 + .5 * double(s) / 8; });
    CHECK_THROWS_AS(LinearWarmup(-1), ValueError);
}

TEST_CASE("schedules chain one after the other and multiply", "[schedule]") {
    const Sequence chained(LinearWarmup(4, 0.2), 4, Cosine(10));
    check_first(chained, [](long s) { return s < 4 ? LinearWarmup(4, 0.2)(s) : Cosine(10)(s - 4); });
    CHECK(chained(4) == 1.0);
    check_first(LinearWarmup(5) * StepDecay(3, 0.5), [](long s) { return LinearWarmup(5)(s) * StepDecay(3, 0.5)(s); });
    const Sequence nested(LinearWarmup(2), 2, Sequence(Constant{}, 3, Exponential(0.5)));
    check_first(nested, [](long s) { return s < 2 ? double(s) / 2 : s < 5 ? 1.0 : std::pow(0.5, double(s - 5)); });
    CHECK_THROWS_AS(Sequence(Constant{}, 0, Constant{}), ValueError);
}
