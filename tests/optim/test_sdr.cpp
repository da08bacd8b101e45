// The stochastic delta rule: reference trajectories, where it is plain SGD, the start of the deviations, schedules, gradients at
// the drawn weights, bounds, resuming, errors.
#include <tenon/nn/conv.hpp>
#include <tenon/nn/linear.hpp>
#include <tenon/ops/loss.hpp>
#include <tenon/optim/sdr.hpp>
#include <tenon/tenon.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

using namespace tenon;

namespace {

struct Net {
    nn::Linear<float> first, second;
    explicit Net(Key key = Key{1}) : first(6, 5, key.split(0)), second(5, 3, key.split(1)) {}
    Tensor<float, 2> operator()(const Tensor<float, 2>& x) const { return second(tanh(first(x))); }
    static void visit(auto& self, auto&& f) {
        f("first", self.first);
        f("second", self.second);
    }
};
struct Convolutions {
    nn::Conv2d<double> conv{2, 3, 3, Key{1}};
    nn::Linear<double> out{27, 4, Key{2}};
    Tensor<double, 2> operator()(const Tensor<double, 4>& x) const { return out(eval(tanh(conv(x))).reshape({x.shape(0), 27})); }
    static void visit(auto& self, auto&& f) {
        f("conv", self.conv);
        f("out", self.out);
    }
};
struct One {
    Tensor<double, 2> weight;
    static void visit(auto& self, auto&& f) { f("weight", self.weight); }
};
template <class T, int R>
bool same(const Tensor<T, R>& a, const Tensor<T, R>& b) {
    return a.shape() == b.shape() && std::memcmp(a.detach().data(), b.detach().data(), sizeof(T) * static_cast<std::size_t>(a.size())) == 0;
}
std::vector<float> parameters(const Net& net) {
    std::vector<float> all;
    nn::for_each_tensor(net, [&](const char*, nn::Kind, const auto& x) { all.insert(all.end(), x.detach().data(), x.detach().data() + x.size()); });
    return all;
}

// The problem of the paper's card: six weights, given noise, gradient A (w* - c) + 0.1 sin(0.7 t + i).
template <class T>
struct Problem {
    Tensor<T, 1> mean = empty<T>({6});
    Problem() {
        for (int i = 0; i < 6; ++i) mean.data()[i] = static_cast<T>(0.5 * std::cos(i + 1));
        mean.require_grad();
    }
    void start(const Tensor<T, 1>& deviation) const {
        for (int i = 0; i < 6; ++i) deviation.data()[i] = static_cast<T>(0.05 * (i + 1) / 6);
    }
    void set_gradient(const Tensor<T, 1>& deviation, int t) const {
        const double a[] = {.1, 1, .5, .01, .8, .3};
        Tensor<T, 1> g = empty<T>({6});
        for (int i = 0; i < 6; ++i) {
            const double noise = std::sqrt(2.0) * std::sin(1.3 * t + 2 * i);
            const double w = static_cast<double>(mean.detach().data()[i]) + static_cast<double>(deviation.data()[i]) * noise;
            g.data()[i] = static_cast<T>(a[i] * (w - 0.3 * std::sin(i + 1)) + 0.1 * std::sin(0.7 * t + i));
        }
        sum(mean * g).backward();
    }
};
template <class T>
double off(const Tensor<T, 1>& x, const double (&expected)[6]) {
    double worst = 0;
    for (int i = 0; i < 6; ++i) worst = std::max(worst, std::abs(static_cast<double>(x.detach().data()[i]) - expected[i]));
    return worst;
}
optim::SdrOptions plain(double beta, double zeta, long every = 1) {
    optim::SdrOptions o;
    o.beta = beta;
    o.zeta = zeta;
    o.every = every;
    o.max_ratio = __builtin_inf();
    o.scope = optim::SdrScope::all;
    return o;
}

}  // namespace

TEMPLATE_TEST_CASE("SDR follows its reference trajectories", "[optim][sdr]", float, double) {
    using T = TestType;
    const double bound = std::is_same_v<T, double> ? 1e-9 : 1e-5;
    {
        const Problem<T> problem;
        auto mean = problem.mean;
        auto opt = optim::sdr(optim::sgd(mean, {.lr = 0.05}), plain(0.1, 0.7));
        const auto deviation = opt.deviation(mean);
        problem.start(deviation);
        for (int t = 1; t <= 100; ++t) {
            problem.set_gradient(deviation, t);
            opt.step();
            if (t == 1) {
                CHECK(off(mean, {.2667847370, -.1888027049, -.4829642140, -.3241427842, .1293570321, .4753918144}) < bound);
                CHECK(off(deviation, {.0105463156, .0386456654, .0343448480, .0270839701, .0466303515, .0415706605}) < bound);
            }
        }
        CHECK(off(mean, {.2613831455, .2649208196, -.0079749044, -.3185329859, -.2758182825, .0469035067}) < bound);
        CHECK(off(deviation, {.0139347359, .0159531901, .0107562928, .0130435685, .0188775480, .0104354801}) < bound);
    }
    {
        const Problem<T> problem;
        auto mean = problem.mean;
        auto opt = optim::sdr(optim::sgd(mean, {.lr = 0.05}), plain(0.1, 0.7, 5));
        const auto deviation = opt.deviation(mean);
        problem.start(deviation);
        for (int t = 1; t <= 100; ++t) {
            problem.set_gradient(deviation, t);
            opt.step();
        }
        CHECK(off(mean, {.2613660423, .2656953248, -.0076605569, -.3185285979, -.2756748630, .0468497975}) < bound);
        CHECK(off(deviation, {.0129666477, .0200320369, .0139118235, .0118115131, .0191410700, .0153085828}) < bound);
    }
    {
        const Problem<T> problem;
        auto mean = problem.mean;
        auto opt = optim::sdr(optim::sgd(mean, {.lr = 0.05, .momentum = 0.9}), plain(0.05, 0.98, 2));
        const auto deviation = opt.deviation(mean);
        problem.start(deviation);
        for (int t = 1; t <= 100; ++t) {
            opt.set_zeta(std::pow(0.98, 1 + (t - 1) / 10));
            problem.set_gradient(deviation, t);
            opt.step();
        }
        CHECK(off(mean, {.2641778832, .2800564901, .0377158139, -.2536616417, -.2921572215, -.0788058300}) < bound);
        CHECK(off(deviation, {.0159252445, .0197477222, .0159319562, .0158651565, .0193775026, .0153512364}) < bound);
    }
}

TEST_CASE("without deviations SDR is the inner optimiser to the bit", "[optim][sdr]") {
    const auto x = randn<float>({16, 6}, Key{3}), y = randn<float>({16, 3}, Key{4});
    Net a, b;
    auto plain_sgd = optim::sgd(a, {.lr = 0.1, .momentum = 0.9, .nesterov = true, .weight_decay = 1e-4});
    optim::SdrOptions none;
    none.initial = 0;
    none.beta = 0;
    auto opt = optim::sdr(optim::sgd(b, {.lr = 0.1, .momentum = 0.9, .nesterov = true, .weight_decay = 1e-4}), none);
    for (std::uint64_t step = 0; step < 20; ++step) {
        mean(square(a(x) - y)).backward();
        plain_sgd.step();
        const Net noisy = opt.sample(b, Key{5}.split(step));
        mean(square(noisy(x) - y)).backward();
        opt.step();
    }
    CHECK(parameters(a) == parameters(b));
    CHECK(opt.noise_ratio() == 0);
}

TEST_CASE("zeta and beta at their ends", "[optim][sdr]") {
    const auto x = randn<float>({16, 6}, Key{3}), y = randn<float>({16, 3}, Key{4});
    for (const double zeta : {1.0, 0.0}) {
        Net net;
        optim::SdrOptions o;
        o.beta = 0;
        o.zeta = zeta;
        o.max_ratio = __builtin_inf();
        auto opt = optim::sdr(optim::sgd(net, {.lr = 0.1}), o);
        const auto before = clone(opt.deviation(net.first.weight));
        for (std::uint64_t step = 0; step < 3; ++step) {
            mean(square(opt.sample(net, Key{5}.split(step))(x) - y)).backward();
            opt.step();
            if (zeta == 1) CHECK(same(opt.deviation(net.first.weight), before));
            else CHECK(max(opt.deviation(net.first.weight)).item() == 0);
        }
    }
}

TEST_CASE("the deviations start between 0 and half of sqrt(2 / n)", "[optim][sdr]") {
    Net net;
    auto opt = optim::sdr(optim::sgd(net, {.lr = 0.1}));
    for (const auto& weight : {net.first.weight, net.second.weight}) {
        const auto s = opt.deviation(weight);
        const float most = 0.5f * std::sqrt(2.f / static_cast<float>(s.size()));
        CHECK(min(s).item() == 0);
        CHECK(max(s).item() == Approx(most));
    }
    Tensor<float, 2> wide = zeros<float>({100, 50}).require_grad();
    auto other = optim::sdr(optim::sgd(wide, {.lr = 0.1}));
    const float share = mean(other.deviation(wide)).item() / max(other.deviation(wide)).item();
    CHECK(share > 0.3f);
    CHECK(share < 0.7f);
    // One element spans nothing.
    Tensor<float, 2> one = zeros<float>({1, 1}).require_grad();
    auto third = optim::sdr(optim::sgd(one, {.lr = 0.1}));
    CHECK(third.deviation(one).data()[0] == 0);
}

TEST_CASE("the published schedules", "[optim][sdr]") {
    // Two updates an epoch multiply the deviations by zeta0^(2 + E (E - 1)) in E epochs.
    for (const double zeta0 : {0.7, 0.999})
        for (const long epochs : {1L, 5L, 10L}) {
            double factor = 1;
            for (long e = 0; e < epochs; ++e) factor *= optim::sdr_geometric(zeta0, e) * optim::sdr_geometric(zeta0, e);
            CHECK(factor == Approx(std::pow(zeta0, 2 + epochs * (epochs - 1))).epsilon(1e-10));
        }
    CHECK(optim::sdr_geometric(0.9, 7, 2) == Approx(std::pow(0.9, 3)));
    double factor = 1;
    for (long e = 0; e < 10; ++e) factor *= optim::sdr_exponential(0.5, e) * optim::sdr_exponential(0.5, e);
    CHECK(factor == Approx(std::pow(0.5, 20) * std::exp(-7.2)).epsilon(1e-10));

    // The first half of the parameters shrinks by another factor.
    Net net;
    optim::SdrOptions o = plain(0, 0.5);
    o.first_half = 0.9;
    auto opt = optim::sdr(optim::sgd(net, {.lr = 0}), o);
    const auto first = clone(opt.deviation(net.first.weight)), second = clone(opt.deviation(net.second.weight));
    for (int i = 0; i < 4; ++i) {
        mean(net(randn<float>({4, 6}, Key{9}))).backward();
        opt.step();
    }
    CHECK(max(abs(opt.deviation(net.first.weight) - first * float(std::pow(0.45, 4)))).item() < 1e-8f);
    CHECK(max(abs(opt.deviation(net.second.weight) - second * 0.0625f)).item() < 1e-8f);
}

TEST_CASE("gradients are taken at the drawn weights, into the means", "[optim][sdr]") {
    // Against finite differences of the loss by the drawn weights, the draw frozen: of a convolution's weights and through a layer.
    Convolutions net;
    const auto x = randn<double>({3, 2, 5, 5}, Key{6});
    const auto y = randn<double>({3, 4}, Key{7});
    optim::SdrOptions o = plain(0.1, 0.9);
    o.initial = 8;
    auto opt = optim::sdr(optim::sgd(net, {.lr = 0.1}), o);
    const Convolutions noisy = opt.sample(net, Key{8});
    const auto means = clone(net.conv.weight.detach()), drawn = clone(noisy.conv.weight.detach());
    CHECK_FALSE(same(means, drawn));
    const auto loss_at = [&](const Convolutions& n) { return mean(square(n(x) - y)); };
    loss_at(noisy).backward();
    CHECK(same(net.conv.weight.detach(), means));  // the means have not moved
    CHECK(noisy.conv.weight.grad().data() == net.conv.weight.grad().data());
    for (const bool convolution : {true, false}) {
        const long size = convolution ? net.conv.weight.size() : net.out.weight.size();
        double worst = 0;
        for (long i = 0; i < size; i += 5) {
            const no_grad guard;
            double* const w = convolution ? noisy.conv.weight.detach().data() + i : noisy.out.weight.detach().data() + i;
            const double here = *w, h = 1e-5;
            *w = here + h;
            const double above = loss_at(noisy).item();
            *w = here - h;
            const double below = loss_at(noisy).item();
            *w = here;
            const double got = convolution ? net.conv.weight.grad().data()[i] : net.out.weight.grad().data()[i];
            worst = std::max(worst, std::abs((above - below) / (2 * h) - got));
        }
        CHECK(worst < 1e-8);
    }
    // Drawing again leaves this draw as it is, and the same key draws the same.
    const auto again = opt.sample(net, Key{8}), other = opt.sample(net, Key{9});
    CHECK(same(again.conv.weight, noisy.conv.weight));
    CHECK_FALSE(same(other.conv.weight, noisy.conv.weight));
    CHECK(same(noisy.conv.weight.detach(), drawn));
    // Two passes before a step add up, as gradients do.
    opt.zero_grad();
    loss_at(again).backward();
    const auto once = clone(net.out.weight.grad());
    loss_at(again).backward();
    CHECK(max(abs(net.out.weight.grad() - once * 2.0)).item() < 1e-15);
}

TEST_CASE("draws spread as the deviations say", "[optim][sdr]") {
    Tensor<double, 2> w = full<double>({200, 500}, 2.0).require_grad();
    auto opt = optim::sdr(optim::sgd(w, {.lr = 0.1}), plain(0.1, 0.9));
    opt.deviation(w).fill(0.3);
    const no_grad guard;
    const One drawn = opt.sample(One{w}, Key{4});
    const double n = 100000, deviation = std::sqrt(mean(square(drawn.weight - 2.0)).item());
    CHECK(std::abs(mean(drawn.weight).item() - 2) < 4 * 0.3 / std::sqrt(n));
    CHECK(std::abs(deviation - 0.3) < 4 * 0.3 / std::sqrt(2 * n));
    CHECK(opt.noise_ratio() == Approx(0.15));
}

TEST_CASE("the noise of a sharp valley grows without a bound, and stays with one", "[optim][sdr]") {
    // Loss h w^2 / 2: E s' = zeta (1 + 0.8 beta h) s, 1.26 a step here.
    for (const bool bounded : {false, true}) {
        One net{full<double>({1, 64}, 1.0).require_grad()};
        optim::SdrOptions o = plain(0.1, 0.9);
        if (bounded) o.max_ratio = 0.5;
        auto opt = optim::sdr(optim::sgd(net, {.lr = 0.01}), o);
        opt.deviation(net.weight).fill(0.01);
        for (std::uint64_t step = 0; step < 100; ++step) {
            sum(square(opt.sample(net, Key{3}.split(step)).weight) * 2.5).backward();
            opt.step();
        }
        if (bounded) CHECK(opt.noise_ratio() <= 0.5 + 1e-12);
        else CHECK(max(opt.deviation(net.weight)).item() > 1e3);
    }
}

TEST_CASE("a gradient that is not finite is named, and changes nothing", "[optim][sdr]") {
    Net net;
    auto opt = optim::sdr(optim::sgd(net, {.lr = 0.1}));
    const auto before = parameters(net);
    const auto deviation = clone(opt.deviation(net.second.weight));
    sum(net.second.weight * std::numeric_limits<float>::quiet_NaN()).backward();
    CHECK_THROWS_WITH(opt.step(), Catch::Contains("sdr: the gradient of \"second.weight\" is not finite"));
    CHECK(parameters(net) == before);
    CHECK(same(opt.deviation(net.second.weight), deviation));
    // With a scaled loss such steps are expected, and skipped.
    CHECK_FALSE(opt.unscale(1.0 / 1024));
    CHECK_NOTHROW(opt.step());
    CHECK(parameters(net) == before);
    CHECK(same(opt.deviation(net.second.weight), deviation));
    CHECK(opt.statistics().skipped == 1);
}

TEST_CASE("SDR options: dynamic rule, free of scale, bounds below", "[optim][sdr]") {
    Tensor<double, 2> w = full<double>({1, 4}, 2.0).require_grad();
    optim::SdrOptions o = plain(0.1, 0.5);
    o.rule = optim::SdrRule::dynamic;
    o.scale_free = true;
    o.max_ratio = 0.1;
    o.min_ratio = 0.04;
    auto opt = optim::sdr(optim::sgd(w, {.lr = 0}), o);
    opt.deviation(w).fill(0.2);
    Tensor<double, 2> g = empty<double>({1, 4});
    const double given[] = {0, 2, -2, 8};  // root mean square sqrt(18)
    for (int i = 0; i < 4; ++i) g.data()[i] = given[i];
    sum(w * g).backward();
    opt.step();
    // 0.5 * 0.2 + 0.1 |g| / sqrt(18), held to [0.08, 0.2].
    for (int i = 0; i < 4; ++i)
        CHECK(opt.deviation(w).data()[i] == Approx(std::min(0.2, std::max(0.08, 0.1 + 0.1 * std::abs(given[i]) / std::sqrt(18.0)))));
    o.rule = optim::SdrRule::decay;
    Tensor<double, 2> v = full<double>({1, 4}, 2.0).require_grad();
    auto decay = optim::sdr(optim::sgd(v, {.lr = 0}), o);
    decay.deviation(v).fill(0.2);
    sum(v * g).backward();
    decay.step();
    for (int i = 0; i < 4; ++i)
        CHECK(decay.deviation(v).data()[i] == Approx(std::min(0.2, std::max(0.08, 0.5 * (0.2 + 0.1 * std::abs(given[i]) / std::sqrt(18.0))))));
}

TEST_CASE("SDR: what is in scope", "[optim][sdr]") {
    Net net;
    auto opt = optim::sdr(optim::sgd(net, {.lr = 0.1}));
    const Net noisy = opt.sample(net, Key{1});
    CHECK(noisy.first.bias.record() == net.first.bias.record());
    CHECK_FALSE(same(noisy.first.weight, net.first.weight));
    CHECK_THROWS_WITH(opt.deviation(net.first.bias), Catch::Contains("is not a parameter with noise"));
    std::string names;
    opt.noise_ratios([&](const char* name, double ratio) {
        names += std::string(name) + " ";
        CHECK(ratio > 0);
    });
    CHECK(names == "first.weight second.weight ");

    Net everything;
    optim::SdrOptions biases_too;
    biases_too.scope = optim::SdrScope::all;
    auto published = optim::sdr(optim::sgd(everything, {.lr = 0.1}), biases_too);
    CHECK_FALSE(same(published.sample(everything, Key{1}).first.bias, everything.first.bias));
}

TEST_CASE("SDR: errors", "[optim][sdr]") {
    Net net, stranger;
    const auto with = [&](auto change) {
        optim::SdrOptions o;
        change(o);
        Net own;
        static_cast<void>(optim::sdr(optim::sgd(own, {.lr = 0.1}), o));
    };
    CHECK_THROWS_WITH(with([](auto& o) { o.beta = -1; }), Catch::Contains("sdr: beta is -1: expected a finite number of at least 0"));
    CHECK_THROWS_WITH(with([](auto& o) { o.zeta = std::nan(""); }), Catch::Contains("sdr: zeta is nan"));
    CHECK_THROWS_WITH(with([](auto& o) { o.every = 0; }), Catch::Contains("sdr: every is 0: expected at least 1"));
    CHECK_THROWS_WITH(with([](auto& o) { o.min_ratio = 0.7; }), Catch::Contains("sdr: ratios from 0.7 to 0.5: expected 0 <= min_ratio <= max_ratio"));
    auto opt = optim::sdr(optim::sgd(net, {.lr = 0.1}));
    CHECK_THROWS_WITH(opt.sample(stranger, Key{1}), Catch::Contains("sdr: none of the parameters of this module belongs to the optimiser"));
    CHECK_THROWS_WITH(opt.set_zeta(-1), Catch::Contains("sdr: zeta is -1"));
}
