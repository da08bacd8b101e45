// Convolution layers: sizes, initial values, names, memory formats, training, errors.
#include <tenon/tenon.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <string>
#include <vector>

using namespace tenon;

TEST_CASE("layers have the weights and the sizes that their options say") {
    const nn::Conv2d<> conv(6, 8, {3, 5}, Key{1}, {.stride = 2, .padding = {1, 2}, .groups = 2});
    CHECK(conv.weight.shape() == Shape<4>{{8, 3, 3, 5}});
    CHECK(conv.bias.shape() == Shape<1>{{8}});
    CHECK(conv(zeros<float>({2, 6, 9, 12})).shape() == Shape<4>{{2, 8, 5, 6}});
    const nn::ConvTranspose2d<double> back(8, 6, 4, Key{1}, {.stride = 2, .padding = 1, .groups = 2});
    CHECK(back.weight.shape() == Shape<4>{{8, 3, 4, 4}});
    CHECK(back.bias.shape() == Shape<1>{{6}});
    CHECK(back(zeros<double>({2, 8, 5, 6})).shape() == Shape<4>{{2, 6, 10, 12}});
    CHECK(nn::Conv1d<>(2, 3, 3, Key{1})(zeros<float>({1, 2, 7})).shape() == Shape<3>{{1, 3, 5}});
    CHECK(nn::Conv3d<>(2, 3, 1, Key{1})(zeros<float>({1, 2, 3, 4, 5})).shape() == Shape<5>{{1, 3, 3, 4, 5}});
    CHECK(nn::ConvTranspose1d<>(2, 3, 3, Key{1})(zeros<float>({1, 2, 7})).shape() == Shape<3>{{1, 3, 9}});
    CHECK(nn::ConvTranspose3d<>(2, 3, 2, Key{1})(zeros<float>({1, 2, 3, 4, 5})).shape() == Shape<5>{{1, 3, 4, 5, 6}});
}

TEST_CASE("initial values are uniform within 1 / sqrt(fan in)") {
    const nn::Conv2d<> conv(16, 64, 3, Key{5});
    const double bound = 1 / std::sqrt(16 * 9.0);
    CHECK(max(abs(conv.weight)).item() <= bound);
    CHECK(max(abs(conv.weight)).item() > 0.99 * bound);
    CHECK(std::abs(mean(square(conv.weight)).item() - bound * bound / 3) < 0.05 * bound * bound / 3);
    CHECK(max(abs(conv.bias)).item() <= bound);
    CHECK(conv.weight.requires_grad());
}

TEST_CASE("parameters have PyTorch's names") {
    std::vector<std::string> names;
    nn::Conv2d<> with(1, 1, 1, Key{1});
    nn::ConvTranspose1d<float, false> without(1, 1, 1, Key{1});
    const auto collect = [&](const char* name, auto&) { names.push_back(name); };
    nn::Conv2d<>::visit(with, collect);
    nn::ConvTranspose1d<float, false>::visit(without, collect);
    CHECK(names == std::vector<std::string>{"weight", "bias", "weight"});
}

TEST_CASE("a convolution keeps the memory format of its input, and its values do not depend on it") {
    const auto x = randn<float>({2, 5, 7, 6}, Key{1});
    const nn::Conv2d<> conv(5, 9, 3, Key{2}, {.padding = 1});
    const auto y = conv(x), z = conv(channels_last(x));
    CHECK(y.record()->contiguous);
    CHECK(impl::is_channels_last(z.record()));
    CHECK(z.shape() == y.shape());
    CHECK(max(abs(y - z)).item() == 0);
    CHECK(max(abs(channels_last(x) - x)).item() == 0);
    const auto leaf = randn<float>({2, 5, 7, 6}, Key{1}).require_grad();
    sum(square(conv(channels_last(leaf)))).backward();
    const auto expected = clone(leaf.grad().detach());
    const auto other = randn<float>({2, 5, 7, 6}, Key{1}).require_grad();
    sum(square(conv(other))).backward();
    CHECK(max(abs(expected - other.grad())).item() <= 1e-4);
}

TEST_CASE("a convolution learns the filter that made its targets") {
    const auto x = randn<float>({8, 2, 8, 8}, Key{1});
    const nn::Conv2d<> wanted(2, 3, 3, Key{2}, {.padding = 1});
    nn::Conv2d<> net(2, 3, 3, Key{3}, {.padding = 1});
    const Tensor<float, 4> target = wanted(x).detach();
    auto opt = optim::sgd(net, {.lr = 0.3f, .momentum = 0.9f});
    float last = 0;
    for (int i = 0; i < 300; ++i) {
        const Tensor<float, 0> loss = mean(square(net(x) - target));
        loss.backward();
        opt.step();
        last = loss.item();
    }
    CHECK(last < 1e-6f);
    CHECK(max(abs(net.weight - wanted.weight)).item() < 1e-3f);
}

TEST_CASE("layers refuse sizes that make no sense") {
    CHECK_THROWS_WITH(nn::Conv2d<>(0, 3, 3, Key{1}), Catch::Contains("Conv2d: 0 -> 3 channels in 1 groups, kernel [3, 3]"));
    CHECK_THROWS_WITH(nn::Conv1d<>(4, 6, 3, Key{1}, {.groups = 4}), Catch::Contains("Conv1d: 4 -> 6 channels in 4 groups"));
    CHECK_THROWS_AS(nn::ConvTranspose3d<>(4, 6, {1, 0, 1}, Key{1}), ShapeError);
}
