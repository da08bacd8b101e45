// Lookahead, SAM and averages of weights.
#include "trajectory.hpp"

#include <tenon/optim/average.hpp>
#include <tenon/optim/batch_norm_statistics.hpp>
#include <tenon/optim/bounds.hpp>
#include <tenon/optim/lookahead.hpp>
#include <tenon/optim/sam.hpp>

#include <cstring>
#include <limits>

using namespace tenon;

namespace {

struct Net {
    Tensor<double, 2> weight;
    Tensor<float, 1> bias;
    Tensor<double, 0> frozen;
    Tensor<std::int64_t, 0> seen;
    explicit Net(double value)
        : weight(full<double>({3, 5}, value).require_grad()), bias(full<float>({7}, static_cast<float>(value)).require_grad()), frozen(full<double>({}, value)),
          seen(full<std::int64_t>({}, static_cast<std::int64_t>(value))) {}
    static void visit(auto& self, auto&& f) {
        f("weight", self.weight);
        f("bias", self.bias);
        f("frozen", nn::frozen(self.frozen));
        f("seen", nn::buffer(self.seen));
    }
    void set(double value) {
        weight.fill(value);
        bias.fill(static_cast<float>(value));
        frozen.fill(value);
        seen.fill(static_cast<std::int64_t>(value));
    }
};
struct BatchNormNet {
    nn::BatchNorm1d<double> norm{3};
    std::vector<nn::BatchNorm1d<double>> more{nn::BatchNorm1d<double>(3)};
    Tensor<double, 2> operator()(const Tensor<double, 2>& x, const nn::Context& context) const { return more[0](Tensor<double, 2>(norm(x, context)), context); }
    static void visit(auto& self, auto&& f) {
        f("norm", self.norm);
        f("more", self.more);
    }
};
template <class T, int R>
bool all_are(const Tensor<T, R>& x, double value, double within = 0) {
    for (long i = 0; i < x.size(); ++i)
        if (!(std::abs(static_cast<double>(x.detach().data()[i]) - value) <= within)) return false;
    return true;
}

}  // namespace

TEST_CASE("Lookahead follows its reference trajectory", "[optim][lookahead]") {
    // Inner SGD of rate 0.1 and momentum 0.9, k = 5, alpha = 0.5, on the six-dimensional problem of tests/kernels/test_multi_tensor.cpp.
    const double a[] = {.1, 1, 5, .01, 2, .5};
    const double expected[] = {0.2638475140, 0.2778014675, 0.0242058058, -0.2541464575, -0.2935636959, -0.0788548055};
    Tensor<double, 1> p = empty<double>({6});
    for (int i = 0; i < 6; ++i) p.data()[i] = .5 * std::cos(i + 1.);
    p.require_grad();
    auto optimiser = optim::lookahead(optim::sgd(p, {.lr = .1, .momentum = .9}));
    for (int t = 1; t <= 100; ++t) {
        Tensor<double, 1> g = empty<double>({6});
        for (int i = 0; i < 6; ++i) g.data()[i] = a[i] * (p.detach().data()[i] - .3 * std::sin(i + 1.)) + .1 * std::sin(.7 * t + i);
        sum(p * g).backward();
        optimiser.step();
    }
    for (int i = 0; i < 6; ++i) CHECK(p.detach().data()[i] == Approx(expected[i]).margin(1e-9));
}

TEST_CASE("Lookahead's slow weights follow every k-th step, those of later groups, too", "[optim][lookahead]") {
    Net net(1), other(2);
    auto optimiser = optim::lookahead(optim::sgd(net, {.lr = 1}), {.every = 3, .alpha = 0.25});
    optimiser.add_group(other, optim::SgdOptions{.lr = 2});
    const auto step = [&] {
        sum(net.weight + other.weight).backward();
        optimiser.step();
    };
    step();
    step();
    CHECK(all_are(net.weight, -1));
    step();
    CHECK(all_are(net.weight, 1 + 0.25 * -3));
    CHECK(all_are(other.weight, 2 + 0.25 * -6));
    CHECK(all_are(net.bias, 1));
    step();
    CHECK(all_are(net.weight, 0.25 - 1));
    // A step that is skipped is none.
    sum(net.weight * std::numeric_limits<double>::infinity()).backward();
    optimiser.clip_norm(1);
    optimiser.step();
    CHECK(all_are(net.weight, -0.75));
    step();
    CHECK(all_are(net.weight, -1.75));
    step();
    CHECK(all_are(net.weight, 0.25 + 0.25 * -3));
    CHECK(optimiser.statistics().skipped == 1);
    CHECK(std::string(decltype(optimiser)::rule_name) == "lookahead+sgd");
    Net third(0);
    CHECK_THROWS_WITH(optim::lookahead(optim::sgd(third), {.every = 0}), Catch::Contains("lookahead: every 0"));
    CHECK_THROWS_AS(optim::lookahead(optim::sgd(third), {.alpha = std::nan("")}), ValueError);
}

TEST_CASE("SAM takes the gradient at the top of the ball, and comes back to the bit", "[optim][sam]") {
    for (bool adaptive : {false, true}) {
        Tensor<double, 1> p = trajectory::start<double>();
        const Tensor<double, 1> before = clone(p);
        const long n = p.size();
        Tensor<double, 1> h = empty<double>({n});
        for (long i = 0; i < n; ++i) h.data()[i] = 0.5 + 0.1 * static_cast<double>(i % 7);
        auto optimiser = optim::sam(optim::sgd(p, {.lr = 0.1}), {.rho = 0.3, .adaptive = adaptive});
        int calls = 0;
        const auto closure = [&] {
            ++calls;
            Tensor<double, 0> loss = sum(square(p) * h) * 0.5;
            loss.backward();
            return loss;
        };
        const double loss = optimiser.step(closure).item();
        CHECK(calls == 2);
        // By hand.
        double squares = 0, first = 0;
        for (long i = 0; i < n; ++i) {
            const double x = before.data()[i], g = h.data()[i] * x;
            squares += (adaptive ? x * g : g) * (adaptive ? x * g : g);
            first += 0.5 * h.data()[i] * x * x;
        }
        CHECK(loss == Approx(first).epsilon(1e-12));
        const double scale = 0.3 / std::sqrt(squares);
        for (long i = 0; i < n; ++i) {
            const double x = before.data()[i], g = h.data()[i] * x, top = x + scale * (adaptive ? x * x * g : g);
            CHECK(p.detach().data()[i] == Approx(x - 0.1 * h.data()[i] * top).epsilon(1e-10));
        }
        CHECK_FALSE(p.has_grad());
        // The way back.
        const Tensor<double, 1> here = clone(p);
        closure();
        optimiser.ascend();
        CHECK(std::memcmp(here.data(), p.detach().data(), sizeof(double) * static_cast<std::size_t>(n)) != 0);
        CHECK_THROWS_AS(optimiser.ascend(), GradError);
        optimiser.descend();  // without a gradient: nothing but the way back
        CHECK(std::memcmp(here.data(), p.detach().data(), sizeof(double) * static_cast<std::size_t>(n)) == 0);
        CHECK_THROWS_AS(optimiser.descend(), GradError);
    }
    Net net(1);
    CHECK_THROWS_WITH(optim::sam(optim::adam(net), {.rho = -1}), Catch::Contains("sam: rho is -1"));
}

TEST_CASE("SAM leaves parameters without a gradient alone, and moves none by a gradient that is not finite", "[optim][sam]") {
    Net net(1);
    auto optimiser = optim::sam(optim::adam(net, {.lr = 0.1}));
    sum(net.bias * 2.0f).backward();
    optimiser.ascend();
    CHECK(all_are(net.weight, 1));
    CHECK_FALSE(all_are(net.bias, 1));
    sum(net.bias * 2.0f).backward();
    optimiser.descend();
    CHECK(all_are(net.weight, 1));
    CHECK(all_are(net.bias, 0.9, 1e-6));
    sum(net.weight * std::numeric_limits<double>::quiet_NaN()).backward();
    optimiser.ascend();
    CHECK(all_are(net.weight, 1));
    optimiser.descend();
}

TEST_CASE("the equal average is the mean of what it saw", "[optim][average]") {
    Net net(0);
    auto average = optim::swa(net);
    double total = 0;
    for (int n = 1; n <= 9; ++n) {
        net.set(n * n);
        average.update(net);
        total += n * n;
        CHECK(all_are(average.module().weight, total / n, 1e-12));
        CHECK(all_are(average.module().bias, total / n, 1e-5));
        CHECK(average.module().seen.item() == n * n);       // buffers and frozen tensors are the last ones
        CHECK(average.module().frozen.item() == n * n);
    }
    CHECK(average.updates() == 9);
    CHECK(all_are(net.weight, 81));
}

TEST_CASE("the exponential average starts from what it is told to", "[optim][average]") {
    Net net(5);
    auto average = optim::ema(net, {.decay = 0.75, .start = 2});
    net.set(7);
    average.update(net);
    CHECK(all_are(average.module().weight, 7));  // the first update copies
    net.set(3);
    average.update(net);
    CHECK(all_are(average.module().weight, 3));  // and those before the start
    net.set(11);
    average.update(net);
    CHECK(all_are(average.module().weight, 0.75 * 3 + 0.25 * 11));
    CHECK(all_are(average.module().bias, 5));
    CHECK_THROWS_WITH(optim::ema(net, {.decay = 1}), Catch::Contains("average: decay 1"));
    CHECK_THROWS_AS(optim::ema(net, {.decay = -0.5}), ValueError);
    CHECK_THROWS_AS(optim::ema(net, {.decay = std::nan("")}), ValueError);
    CHECK_THROWS_AS(optim::ema(net, {.start = -1}), ValueError);
}

TEST_CASE("the average of a trained network follows the arena of its optimiser", "[optim][average]") {
    Net net(1);
    auto average = optim::ema(net, {.decay = 0.5});
    auto optimiser = optim::sgd(net, {.lr = 1});
    double expected = 0;
    for (int n = 0; n < 4; ++n) {
        sum(net.weight).backward();
        optimiser.step();
        average.update(net);
        expected = n == 0 ? 0 : 0.5 * expected + 0.5 * -n;
        CHECK(all_are(average.module().weight, expected, 1e-12));
    }
    std::string names;
    nn::for_each_tensor(average, [&](const char* name, nn::Kind, const auto&) { names += std::string(name) + " "; });
    CHECK(names == "module.weight module.bias module.frozen module.seen n_averaged ");
}

TEST_CASE("averaged weights get statistics of their own", "[optim][average]") {
    BatchNormNet net;
    const nn::Context training{Key{1}};
    const Tensor<double, 2> a = randn<double>({6, 3}, Key{2}), b = randn<double>({4, 3}, Key{3}) * 3.0 + 1.0;
    for (int i = 0; i < 3; ++i) net(a, training);
    auto average = optim::swa(net);
    average.update(net);
    optim::recompute_statistics(average.module(), [&] {
        average.module()(a, training);
        average.module()(b, training);
    });
    for (auto* layer : {&average.module().norm, &average.module().more[0]}) {
        CHECK_FALSE(layer->settings.cumulative);
        CHECK(layer->num_batches_tracked.item() == 2);
    }
    // The mean over both batches of what reaches the first layer.
    for (long c = 0; c < 3; ++c) {
        double mean_a = 0, mean_b = 0;
        for (long i = 0; i < 6; ++i) mean_a += a.data()[3 * i + c] / 6;
        for (long i = 0; i < 4; ++i) mean_b += b.data()[3 * i + c] / 4;
        CHECK(average.module().norm.running_mean.data()[c] == Approx((mean_a + mean_b) / 2).margin(1e-12));
    }
    CHECK(net.norm.num_batches_tracked.item() == 3);
    // A function that throws leaves the settings, too.
    CHECK_THROWS_AS(optim::recompute_statistics(average.module(), [] { fail<ValueError>("stop"); }), ValueError);
    CHECK_FALSE(average.module().norm.settings.cumulative);
}

TEST_CASE("the regret constant of bounds", "[optim]") {
    const double gamma = 1e-3, final_lr = 0.1;
    const auto lower = [&](long t) { return final_lr * (1 - 1 / (gamma * static_cast<double>(t) + 1)); };
    const auto upper = [&](long t) { return final_lr * (1 + 1 / (gamma * static_cast<double>(t))); };
    const double bound = (1 + 2 / gamma) / final_lr;
    CHECK(optim::regret_constant(lower, upper, 100000) <= bound);
    CHECK(optim::regret_constant(lower, upper, 100000) > bound / 2);
    // An upper bound that rises as the steps do spoils it: the constant grows without end.
    const auto rising = [](long t) { return 1 + static_cast<double>(t); };
    CHECK(optim::regret_constant([](long) { return 0.1; }, rising, 1000) > 9000);
    CHECK(optim::regret_constant([](long) { return 0.1; }, rising, 10000) > 90000);
    CHECK_THROWS_WITH(optim::regret_constant([](long) { return 0.0; }, rising, 3), Catch::Contains("the bounds of step 1 are 0 and 2"));
}
