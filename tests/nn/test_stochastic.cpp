// Stochastic weights: that the special cases are what they are called, moments, gradients, ties, errors.
#include <tenon/nn/conv.hpp>
#include <tenon/nn/dropout.hpp>
#include <tenon/nn/linear.hpp>
#include <tenon/nn/stochastic.hpp>
#include <tenon/ops/loss.hpp>
#include <tenon/testing/gradcheck.hpp>
#include <tenon/tenon.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <cstring>
#include <string>

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
struct One {
    Tensor<double, 2> weight;
    static void visit(auto& self, auto&& f) { f("weight", self.weight); }
};
struct Tied {
    Tensor<float, 2> weight, again;
    Tied() : weight(randn<float>({4, 4}, Key{3}).require_grad()), again(weight) {}
    static void visit(auto& self, auto&& f) {
        f("weight", self.weight);
        f("again", self.again);
    }
};
template <class T, int R>
bool same(const Tensor<T, R>& a, const Tensor<T, R>& b) {
    return a.shape() == b.shape() && std::memcmp(a.detach().data(), b.detach().data(), sizeof(T) * static_cast<std::size_t>(a.size())) == 0;
}

}  // namespace

TEST_CASE("dropout of the input is Bernoulli noise that an input unit's weights share", "[nn][stochastic]") {
    // One mask for the batch: x * m through the weights is x through the weights * m.
    const nn::Linear<double> layer(40, 7, Key{1});
    const auto x = randn<double>({9, 40}, Key{2});
    for (const double p : {0.2, 0.5}) {
        const Key key{5};
        const auto noisy = nn::with_noise(layer, nn::unit_dropout(p), key);
        const auto mask = dropout(ones<double>({1, 40}), p, key.split(0));
        const Tensor<double, 2> expected = layer(x * mask);
        CHECK(max(abs(noisy(x) - expected)).item() < 1e-13);
        CHECK(same(noisy.bias, layer.bias));
    }
}

TEST_CASE("DropConnect is dropout of the weights", "[nn][stochastic]") {
    const nn::Linear<float> layer(30, 20, Key{1});
    const auto noisy = nn::with_noise(layer, nn::drop_connect(0.3), Key{4});
    CHECK(same(noisy.weight, dropout(layer.weight, 0.3, Key{4}.split(0))));
    // A probability of 0 is the layer itself, of 1 nothing.
    CHECK(same(nn::with_noise(layer, nn::drop_connect(0), Key{4}).weight, layer.weight));
    CHECK(max(abs(nn::with_noise(layer, nn::drop_connect(1), Key{4}).weight)).item() == 0);
}

TEST_CASE("DropConnect and Gaussian dropout have the same mean and variance", "[nn][stochastic]") {
    // E[w] = mu, Var[w] = mu^2 p / (1 - p), over a parameter whose elements are all alike.
    const One wide{full<double>({500, 400}, 1.5).require_grad()};
    const double n = 200000;
    for (const double p : {0.2, 0.5})
        for (const auto& noise : {nn::drop_connect(p), nn::gaussian_dropout(p)}) {
            const auto w = nn::with_noise(wide, noise, Key{7}).weight.detach();
            const double average = mean(w).item(), variance = mean(square(w - 1.5)).item(), expected = 2.25 * p / (1 - p);
            CHECK(std::abs(average - 1.5) < 4 * std::sqrt(expected / n));
            CHECK(variance == Approx(expected).epsilon(0.02));
        }
}

TEST_CASE("many draws of a linear layer average to the layer at its means", "[nn][stochastic]") {
    const nn::Linear<double> layer(12, 4, Key{1});
    const auto x = randn<double>({3, 12}, Key{2});
    const no_grad guard;
    const Tensor<double, 2> at_means = layer(x);
    const int draws = 4096;
    for (const auto& noise : {nn::additive_noise(0.3), nn::additive_noise(0.3, NoiseFamily::uniform), nn::gaussian_dropout(0.4)}) {
        Tensor<double, 2> total = zeros<double>({3, 4}), squares = zeros<double>({3, 4});
        for (int s = 0; s < draws; ++s) {
            const Tensor<double, 2> y = nn::with_noise(layer, noise, Key{11}.split(static_cast<std::uint64_t>(s)))(x);
            total = total + y;
            squares = squares + square(y - at_means);
        }
        const Tensor<double, 2> off = abs(total / double(draws) - at_means), error = sqrt(squares / double(draws) / double(draws));
        CHECK(max(off / error).item() < 4);
    }
}

TEST_CASE("gradients are those at the drawn weights, for linear and convolution layers", "[nn][stochastic]") {
    // Finite differences of the means under a frozen draw: for additive noise they are those of the weights themselves.
    const auto x = randn<double>({3, 6}, Key{2});
    const auto image = randn<double>({2, 2, 5, 5}, Key{3});
    for (const auto& noise : {nn::additive_noise(0.4), nn::gaussian_dropout(0.3), nn::drop_connect(0.3), nn::unit_dropout(0.4)}) {
        CHECK_NOTHROW(testing::gradcheck(
            [&](auto w, auto v) {
                nn::Linear<double> layer(6, 4, Key{1});
                layer.weight = w;
                return tanh(nn::with_noise(layer, noise, Key{9})(v));
            },
            randn<double>({4, 6}, Key{4}), x));
        CHECK_NOTHROW(testing::gradcheck(
            [&](auto w, auto v) {
                nn::Conv2d<double> layer(2, 4, 3, Key{1});
                layer.weight = w;
                return tanh(nn::with_noise(layer, noise, Key{9})(v));
            },
            randn<double>({4, 2, 3, 3}, Key{5}), image));
    }
}

TEST_CASE("a draw depends on the key alone and leaves the module as it was", "[nn][stochastic]") {
    const Net net;
    const auto before = clone(net);
    const auto a = nn::with_noise(net, nn::additive_noise(0.1), Key{1}), b = nn::with_noise(net, nn::additive_noise(0.1), Key{1}),
               c = nn::with_noise(net, nn::additive_noise(0.1), Key{2});
    CHECK(same(a.first.weight, b.first.weight));
    CHECK_FALSE(same(a.first.weight, c.first.weight));
    CHECK_FALSE(same(a.first.weight, net.first.weight));
    CHECK(same(a.first.bias, net.first.bias));  // out of scope
    CHECK(same(before.first.weight, net.first.weight));
    CHECK(same(before.second.weight, net.second.weight));
    nn::WeightNoise biases_too = nn::additive_noise(0.1);
    biases_too.scope = nn::NoiseScope::all;
    CHECK_FALSE(same(nn::with_noise(net, biases_too, Key{1}).first.bias, net.first.bias));

    const auto x = randn<float>({4, 6}, Key{3});
    mean(square(a(x))).backward();
    CHECK(net.first.weight.has_grad());
    CHECK(max(abs(net.first.weight.grad())).item() > 0);
}

TEST_CASE("tied parameters are drawn once", "[nn][stochastic]") {
    const Tied tied;
    const auto noisy = nn::with_noise(tied, nn::additive_noise(0.5), Key{1});
    CHECK(noisy.weight.record() == noisy.again.record());
    sum(noisy.weight * noisy.again).backward();
    CHECK(max(abs(tied.weight.grad() - noisy.weight.detach() * 2.f)).item() < 1e-6f);
}

TEST_CASE("sharing: units and whole parameters", "[nn][stochastic]") {
    const nn::Linear<double> layer(8, 6, Key{1});
    for (const auto sharing : {nn::NoiseSharing::input, nn::NoiseSharing::output, nn::NoiseSharing::parameter}) {
        nn::WeightNoise noise = nn::additive_noise(0.5);
        noise.sharing = sharing;
        const Tensor<double, 2> e = nn::with_noise(layer, noise, Key{2}).weight.detach() - layer.weight.detach();
        bool shared = true, moved = true;
        for (long i = 0; i < 6; ++i)
            for (long j = 0; j < 8; ++j) {
                const double own = e.data()[i * 8 + j];
                const double twin = sharing == nn::NoiseSharing::input ? e.data()[j] : sharing == nn::NoiseSharing::output ? e.data()[i * 8] : e.data()[0];
                shared = shared && std::abs(own - twin) < 1e-15;
                moved = moved && own != 0;
            }
        CHECK(shared);
        CHECK(moved);
    }
}

TEST_CASE("Variational learns means and spreads", "[nn][stochastic]") {
    nn::Variational<Net> net(Net(Key{1}), {.deviation = 0.1});
    CHECK(max(abs(softplus(net.rho.first.weight.detach()) - 0.1f)).item() < 1e-6f);
    std::string names;
    nn::for_each_tensor(net, [&](const char* name, nn::Kind, const auto&) { names += std::string(name) + " "; });
    CHECK(names == "mean.first.weight mean.first.bias mean.second.weight mean.second.bias rho.first.weight rho.first.bias rho.second.weight rho.second.bias ");

    // KL(N(m, s^2) || N(0, 1)) = -log s + (s^2 + m^2) / 2 - 1/2 for each weight.
    double expected = 0;
    nn::for_each_tensor(net.mean, [&](const char*, nn::Kind, const auto& x) {
        for (long i = 0; i < x.size(); ++i) expected += -std::log(0.1) + (0.01 + double(x.detach().data()[i]) * double(x.detach().data()[i])) / 2 - 0.5;
    });
    CHECK(net.kl(1).item() == Approx(expected).epsilon(1e-5));

    // Both learn: the spread of weights that the data pins down falls, and the loss at the means too.
    const auto x = randn<float>({64, 6}, Key{2});
    const Tensor<float, 2> y = tanh(x(all, slice(0, 3)) * 2.f);
    auto optimiser = optim::adam(net, {.lr = 0.02});
    const float before = mean(square(net.mean(x) - y)).item();
    for (std::uint64_t step = 0; step < 400; ++step) {
        const auto drawn = net.sample(Key{5}.split(step));
        Tensor<float, 0> loss = mean(square(drawn(x) - y)) + net.kl(1) * 1e-5f;
        loss.backward();
        optimiser.step();
    }
    CHECK(mean(square(net.mean(x) - y)).item() < 0.1f * before);
    CHECK(mean(softplus(net.rho.second.weight.detach())).item() < 0.1f);
}

TEST_CASE("Variational: derivatives of mean, spread and divergence", "[nn][stochastic]") {
    CHECK_NOTHROW(testing::gradcheck(
        [](auto m, auto r) {
            nn::Variational<One> net(One{zeros<double>({3, 2}).require_grad()});
            net.mean.weight = m;
            net.rho.weight = r;
            return tanh(net.sample(Key{3}).weight);
        },
        randn<double>({3, 2}, Key{1}), randn<double>({3, 2}, Key{2})));
}

TEST_CASE("stochastic weights: errors", "[nn][stochastic]") {
    const Net net;
    CHECK_THROWS_WITH(nn::with_noise(net, nn::additive_noise(-1), Key{1}), Catch::Contains("with_noise: a deviation of -1, expected a finite number of at least 0"));
    CHECK_THROWS_WITH(nn::with_noise(net, nn::gaussian_dropout(1), Key{1}), Catch::Contains("with_noise: a deviation of inf"));
    CHECK_THROWS_WITH(nn::with_noise(net, nn::drop_connect(1.5), Key{1}), Catch::Contains("with_noise: Bernoulli noise of probability 1.5, expected 0 to 1"));
    CHECK_THROWS_WITH(nn::Variational<Net>(net, {.deviation = 0}), Catch::Contains("Variational: a deviation of 0 at the start, expected a number above 0"));
    CHECK_THROWS_WITH(nn::Variational<Net>(net).kl(0), Catch::Contains("Variational: a prior of deviation 0, expected a number above 0"));
}
