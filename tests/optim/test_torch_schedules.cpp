// Every schedule against torch.optim.lr_scheduler's values.
#include "../golden/golden.hpp"

#include <tenon/optim/schedule_cycles.hpp>
#include <tenon/optim/scheduler.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <limits>

using namespace tenon;
using namespace tenon::optim;

namespace {

const std::vector<double>& golden_values(const std::string& name) {
    static const golden::File file = golden::read(TENON_TEST_DIR "/golden/optim.safetensors");
    return file.at("schedule/" + name).reals;
}
template <class S>
void check(const char* name, const S& schedule) {
    static_assert(Schedule<S>);
    const std::vector<double>& expected = golden_values(name);
    REQUIRE(expected.size() == 45);
    for (std::size_t step = 0; step < expected.size(); ++step) {
        INFO(name << " at step " << step);
        CHECK(schedule(static_cast<long>(step)) == Approx(expected[step]).epsilon(1e-11).margin(1e-14));
    }
    // In any order, and before the first step.
    CHECK(schedule(7) == Approx(expected[7]).epsilon(1e-11));
    CHECK(schedule(0) == schedule(-3));
}
void check_plateau(const char* name, const char* values, ReduceOnPlateau plateau, double sign = 1) {
    const std::vector<double>&inputs = golden_values(values), &expected = golden_values(name);
    REQUIRE(inputs.size() == expected.size());
    for (std::size_t i = 0; i < inputs.size(); ++i) {
        INFO(name << " at value " << i);
        CHECK(plateau(sign * inputs[i]) == Approx(expected[i]).epsilon(1e-12));
    }
}
// What a scheduler does to an optimiser.
struct Rate {
    double scale = -1, momentum = -1;
    void set_lr_scale(double x) { scale = x; }
    void set_momentum(double x) { momentum = x; }
};

}  // namespace

TEST_CASE("schedules of steps are torch's", "[schedule]") {
    check("step", StepDecay(7, 0.5));
    check("multi_step", MultiStep({3, 8, 9, 30}, 0.3));
    check("exponential", Exponential(0.93));
    check("constant", ConstantFactor(0.25, 6));
    check("linear", Linear(0.1, 0.7, 12));
    check("cosine", Cosine(44, 0.05));
    check("polynomial", Polynomial(20, 2.5));
    check("lambda", [](long step) { return 1 / (1 + 0.1 * static_cast<double>(step < 0 ? 0 : step)); });
    check("multiplicative", Multiplicative([](long step) { return 1 - 1 / static_cast<double>((step + 1) * (step + 1)); }));
    check("sequential", Sequence(LinearWarmup(5, 0.1), 5, Sequence(Constant{}, 7, Exponential(0.9))));
    check("chained", LinearWarmup(6, 0.2) * StepDecay(10, 0.5));
}

TEST_CASE("schedules that come back are torch's", "[schedule]") {
    check("warm_restarts", WarmRestarts(5, 2, 0.1));
    check("warm_restarts_same", WarmRestarts(6));
    check("cyclic", Cyclic(0.25, 4, 6));
    check("cyclic_triangular2", Cyclic(0.25, 5, 0, Cyclic::Mode::triangular2));
    check("cyclic_exp_range", Cyclic(0.25, 5, 5, Cyclic::Mode::decaying, 0.98));
    check("one_cycle", OneCycle(46));
    check("one_cycle_linear", OneCycle(46, {.rise = 0.4, .first = 0.1, .last = 1e-3, .linear = true}));
    check("one_cycle_three", OneCycle(46, {.rise = 0.25, .three_phases = true}));
    for (std::size_t step = 0; step < 45; ++step) {
        INFO("step " << step);
        CHECK(OneCycle(46).momentum(static_cast<long>(step)) == Approx(golden_values("one_cycle_momentum")[step]).epsilon(1e-12));
        CHECK(OneCycle(46, {.rise = 0.25, .three_phases = true}).momentum(static_cast<long>(step)) == Approx(golden_values("one_cycle_three_momentum")[step]).epsilon(1e-12));
    }
}

TEST_CASE("one cycle starts, peaks and ends where it says", "[schedule]") {
    const OneCycle schedule(100);
    CHECK(schedule(0) == Approx(1.0 / 25));
    CHECK(schedule(29) == Approx(1.0));
    CHECK(schedule(99) == Approx(1.0 / 25 / 1e4));
    CHECK(schedule(1000) == schedule(99));
    CHECK(schedule.momentum(0) == 0.95);
    CHECK(schedule.momentum(29) == Approx(0.85));
    for (long total : {2l, 3l, 4l, 7l})
        for (long step = 0; step < total; ++step) CHECK(std::isfinite(OneCycle(total)(step)));
}

TEST_CASE("a plateau is torch's", "[schedule]") {
    check_plateau("plateau/default", "plateau/losses", ReduceOnPlateau({.patience = 2}));
    check_plateau("plateau/cooldown", "plateau/losses", ReduceOnPlateau({.factor = 0.5, .patience = 1, .threshold = 1e-3, .cooldown = 3, .least = 0.05}));
    check_plateau("plateau/absolute", "plateau/losses", ReduceOnPlateau({.factor = 0.5, .patience = 2, .threshold = 0.05, .relative = false}));
    check_plateau("plateau/max", "plateau/losses", ReduceOnPlateau({.factor = 0.5, .patience = 2, .maximize = true}), -1);
    check_plateau("plateau/eps", "plateau/losses", ReduceOnPlateau({.factor = 0.5, .patience = 0, .eps = 0.01}));
    // NaN from the start is no better than nothing.
    ReduceOnPlateau plateau({.factor = 0.5, .patience = 1});
    CHECK(plateau(std::numeric_limits<double>::quiet_NaN()) == 1);
    CHECK(plateau(std::numeric_limits<double>::quiet_NaN()) == 0.5);
}

TEST_CASE("a plateau and a scheduler go on from their numbers", "[schedule]") {
    const std::vector<double>& losses = golden_values("plateau/losses");
    const auto numbers_of = [](auto& part) {
        std::vector<double> values;
        part.visit_numbers([&](const char*, auto& x) { values.push_back(static_cast<double>(x)); });
        return values;
    };
    const PlateauOptions options{.factor = 0.5, .patience = 1, .cooldown = 2};
    for (std::size_t stop = 0; stop < losses.size(); ++stop) {
        ReduceOnPlateau straight(options), resumed(options);
        for (std::size_t i = 0; i < stop; ++i) straight(losses[i]);
        const std::vector<double> kept = numbers_of(straight);
        std::size_t at = 0;
        resumed.visit_numbers([&](const char*, auto& x) { x = static_cast<std::remove_cvref_t<decltype(x)>>(kept[at++]); });
        for (std::size_t i = stop; i < losses.size(); ++i) CHECK(straight(losses[i]) == resumed(losses[i]));
    }

    Scheduler scheduler(OneCycle(20));
    Rate rate;
    for (long step = 0; step < 25; ++step) {
        scheduler(rate);
        CHECK(rate.scale == OneCycle(20)(step));
        CHECK(rate.momentum == OneCycle(20).momentum(step));
    }
    CHECK(numbers_of(scheduler) == std::vector<double>{25});
}

TEST_CASE("schedules refuse what they cannot be", "[schedule]") {
    CHECK_THROWS_AS(WarmRestarts(0), ValueError);
    CHECK_THROWS_AS(WarmRestarts(3, 0), ValueError);
    CHECK_THROWS_AS(Cyclic(0.1, 0), ValueError);
    CHECK_THROWS_AS(Cyclic(0.1, 2, -1), ValueError);
    CHECK_THROWS_AS(OneCycle(1), ValueError);
    CHECK_THROWS_WITH(OneCycle(9, {.rise = 0.7, .three_phases = true}), Catch::Contains("rise is 0.7: expected a number in (0, 0.5]"));
    CHECK_THROWS_AS(OneCycle(9, {.rise = std::nan("")}), ValueError);
    CHECK_THROWS_AS(Polynomial(0), ValueError);
    CHECK_THROWS_AS(Polynomial(3, -1), ValueError);
    CHECK_THROWS_AS(Linear(0, 1, 0), ValueError);
    CHECK_THROWS_AS(ConstantFactor(0.5, -1), ValueError);
    CHECK_THROWS_WITH(ReduceOnPlateau({.factor = 1}), Catch::Contains("factor is 1: expected a number in [0, 1)"));
    CHECK_THROWS_AS(ReduceOnPlateau({.patience = -1}), ValueError);
    CHECK_THROWS_AS(ReduceOnPlateau({.threshold = std::nan("")}), ValueError);
}
