// Layers of images with state against PyTorch's, and the containers that hold layers.
#include "../golden/golden.hpp"

#include <tenon/nn/activation.hpp>
#include <tenon/nn/dropout.hpp>
#include <tenon/nn/linear.hpp>
#include <tenon/nn/norm.hpp>
#include <tenon/nn/parametrize.hpp>
#include <tenon/nn/pool.hpp>
#include <tenon/nn/resample.hpp>
#include <tenon/nn/sequential.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <string>
#include <vector>

using namespace tenon;

namespace {

const golden::File& file() {
    static const golden::File f = golden::read(std::string(TENON_TEST_DIR) + "/golden/layers.safetensors");
    return f;
}
template <int R>
Tensor<double, R> tensor(const std::string& name) {
    const golden::Array& a = file().at(name);
    REQUIRE(a.shape.size() == static_cast<std::size_t>(R));
    Shape<R> shape;
    for (int i = 0; i < R; ++i) shape[i] = a.shape[static_cast<std::size_t>(i)];
    Tensor<double, R> x = empty<double>(shape);
    for (long i = 0; i < x.size(); ++i) x.data()[i] = a.reals[static_cast<std::size_t>(i)];
    return x;
}
template <int R>
void check(const Tensor<double, R>& given, const std::string& name) {
    INFO(name);
    const Tensor<double, R> x = contiguous(given.detach());
    const golden::Array& a = file().at(name);
    REQUIRE(x.size() == a.size());
    for (int i = 0; i < R; ++i) REQUIRE(x.shape(i) == a.shape[static_cast<std::size_t>(i)]);
    double worst = 0;
    for (long i = 0; i < x.size(); ++i) worst = std::max(worst, std::abs(x.data()[i] - a.reals[static_cast<std::size_t>(i)]));
    CHECK(worst < 1e-11);
}
template <int R>
void run_backward(const Tensor<double, R>& y) {
    Tensor<double, R> weights = empty<double>(y.shape());
    for (long i = 0; i < weights.size(); ++i) weights.data()[i] = std::cos(static_cast<double>(i));
    sum(y * weights).backward();
}
const nn::Context training{Key{1}, true};

template <int R, class L>
void check_running(L& layer, const std::string& name) {
    for (long k = 0; k < 2; ++k) {
        const std::string key = name + "/" + std::to_string(k);
        const auto y = layer(tensor<R>(key + "/x"), training);
        check(y, key + "/y");
        run_backward(y);
        check(layer.weight.grad(), key + "/d_weight");
        check(layer.bias.grad(), key + "/d_bias");
        layer.weight.zero_grad();
        layer.bias.zero_grad();
        check(layer.running_mean, key + "/running_mean");
        check(layer.running_var, key + "/running_var");
        CHECK(layer.num_batches_tracked.item() == file().at(key + "/num_batches_tracked").integers[0]);
    }
    check(layer(tensor<R>(name + "/inference/x")), name + "/inference/y");
}
template <class M>
std::vector<std::string> names(const M& module) {
    std::vector<std::string> all;
    nn::for_each_tensor(module, [&](const char* name, nn::Kind kind, const auto&) { all.push_back(std::string(name) + (kind == nn::Kind::buffer ? " buffer" : "")); });
    return all;
}
using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("running statistics of images are PyTorch's") {
    nn::BatchNorm2d<double> two(3);
    check_running<4>(two, "batch_norm2d");
    nn::BatchNorm3d<double> three(3);
    check_running<5>(three, "batch_norm3d");
    nn::InstanceNorm2d<double> instance(3, {.affine = true, .track_running_stats = true});
    check_running<4>(instance, "instance_norm2d");
    CHECK(names(two) == Names{"weight", "bias", "running_mean buffer", "running_var buffer", "num_batches_tracked buffer"});
    CHECK(names(nn::InstanceNorm<double>(3)).empty());
    CHECK(names(nn::GroupNorm<double>(2, 4)) == Names{"weight", "bias"});
    CHECK_THROWS_AS(nn::GroupNorm<double>(3, 4), ShapeError);
}

TEST_CASE("spectral norm is PyTorch's") {
    nn::SpectralNorm layer(nn::Linear<double>(5, 3, Key{1}), Key{2});
    layer.settings.n_power_iterations = 2;
    CHECK(names(layer) == Names{"bias", "parametrizations.weight.original", "parametrizations.weight.0._u buffer", "parametrizations.weight.0._v buffer"});
    const std::string start = "spectral_norm/start/", weight = "parametrizations.weight.original", u = "parametrizations.weight.0._u", v = "parametrizations.weight.0._v";
    {
        const no_grad unrecorded;
        layer.layer.bias.copy_from(tensor<1>(start + "bias"));
        layer.original.copy_from(tensor<2>(start + weight));
        layer.u.copy_from(tensor<1>(start + u));
        layer.v.copy_from(tensor<1>(start + v));
    }
    const auto x = tensor<2>("spectral_norm/x");
    const auto step = [&](const std::string& key, bool trains) {
        const Tensor<double, 2> y = trains ? eval(layer(x, training)) : eval(layer(x));
        check(y, key + "/y");
        run_backward(y);
        check(layer.original.grad(), key + "/d_" + weight);
        check(layer.layer.bias.grad(), key + "/d_bias");
        layer.original.zero_grad();
        layer.layer.bias.zero_grad();
        check(layer.u, key + "/" + u);
        check(layer.v, key + "/" + v);
    };
    step("spectral_norm/0", true);
    step("spectral_norm/1", true);
    step("spectral_norm/inference", false);
    // Two passes before one backward: each has the vectors that it was computed with.
    const Tensor<double, 2> first = layer(x, training), second = layer(x, training);
    CHECK_NOTHROW(sum(first + second).backward());
}

TEST_CASE("a weight's own estimate of its largest singular value") {
    nn::SpectralNorm layer(nn::Linear<double>(30, 20, Key{1}), Key{2}, {.n_power_iterations = 300});
    const Tensor<double, 2> w = layer.weight(true).detach();
    // The largest singular value is 1 now: what power iteration from anywhere else finds.
    Tensor<double, 1> v = randn<double>({30}, Key{9});
    double length = 0;
    for (int i = 0; i < 2000; ++i) {
        const Tensor<double, 1> u = matmul(w, v);
        v = matmul(w.transpose<0, 1>(), u);
        length = norm(v).item();
        v = v / length;
    }
    CHECK(std::abs(std::sqrt(length) - 1) < 1e-9);
}

TEST_CASE("weight norm is PyTorch's") {
    nn::WeightNorm layer(nn::Linear<double>(5, 3, Key{1}));
    CHECK(names(layer) == Names{"bias", "parametrizations.weight.original0", "parametrizations.weight.original1"});
    const std::string start = "weight_norm/start/", g = "parametrizations.weight.original0", v = "parametrizations.weight.original1";
    {
        const no_grad unrecorded;
        layer.layer.bias.copy_from(tensor<1>(start + "bias"));
        layer.g.copy_from(tensor<2>(start + g));
        layer.v.copy_from(tensor<2>(start + v));
    }
    const Tensor<double, 2> y = layer(tensor<2>("weight_norm/x"));
    check(y, "weight_norm/0/y");
    run_backward(y);
    check(layer.g.grad(), "weight_norm/0/d_" + g);
    check(layer.v.grad(), "weight_norm/0/d_" + v);
    // At first it changes nothing.
    const nn::Linear<double> plain(5, 3, Key{4});
    const auto x = randn<double>({2, 5}, Key{5});
    const Tensor<double, 2> difference = nn::WeightNorm(plain)(x) - plain(x);
    CHECK(max(abs(difference)).item() < 1e-14);
}

TEST_CASE("modules one after the other") {
    nn::Sequential net(nn::MaxPool2d(2), nn::Flatten(), nn::Linear<double>(8, 3, Key{1}), nn::ReLU(), nn::Dropout(0.5, Key{2}), nn::Linear<double>(3, 2, Key{3}));
    CHECK(names(net) == Names{"2.weight", "2.bias", "5.weight", "5.bias"});
    const auto x = randn<double>({4, 2, 4, 4}, Key{4});
    const Tensor<double, 2> hidden = relu(net.get<2>()(max_pool2d(x, 2).reshape({4, 8})));
    const Tensor<double, 2> expected = net.get<5>()(hidden), inference = net(x);
    CHECK(max(abs(expected - inference)).item() < 1e-14);
    // The context reaches the dropout alone.
    const nn::Context context{Key{7}, true};
    const Tensor<double, 2> dropped = net.get<5>()(net.get<4>()(hidden, context)), trained = net(x, context);
    CHECK(max(abs(dropped - trained)).item() < 1e-14);
    CHECK(max(abs(trained - inference)).item() > 0);
    auto copy = clone(net);
    copy.get<2>().weight.fill(0);
    CHECK(max(abs(eval(net(x)) - inference)).item() == 0);
    // State in the middle.
    nn::Sequential normed(nn::BatchNorm2d<double>(2), nn::LeakyReLU(0.1), nn::AdaptiveAvgPool2d(1), nn::Flatten());
    const Tensor<double, 2> y = normed(x, context);
    CHECK(y.shape(1) == 2);
    CHECK(normed.get<0>().num_batches_tracked.item() == 1);
    CHECK(names(nn::Sequential(nn::Sequential(nn::Linear<double, false>(1, 1, Key{1})), nn::Identity())) == Names{"0.0.weight"});
}

TEST_CASE("layers without tensors are their operations") {
    const auto x = randn<float>({2, 8, 6, 6}, Key{1});
    const auto same = [](const auto& a, const auto& b) { return a.size() == b.size() && std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(float)) == 0; };
    CHECK(same(nn::MaxPool2d(3, {.stride = 2, .padding = 1})(x), max_pool2d(x, 3, {.stride = 2, .padding = 1})));
    CHECK(same(nn::AvgPool2d({2, 3})(x), avg_pool2d(x, {2, 3})));
    CHECK(same(nn::AdaptiveAvgPool2d({-1, 2})(x), adaptive_avg_pool2d(x, {-1, 2})));
    CHECK(same(nn::AdaptiveMaxPool2d(2)(x), adaptive_max_pool2d(x, 2)));
    CHECK(same(nn::LpPool2d(2, 2)(x), lp_pool2d(x, 2, 2)));
    CHECK(same(nn::Upsample(2, {.mode = Interpolation::linear})(x), interpolate_by(x, 2, {.mode = Interpolation::linear})));
    CHECK(same(nn::PixelShuffle(2)(x), pixel_shuffle(x, 2)));
    CHECK(same(nn::PixelUnshuffle(2)(nn::PixelShuffle(2)(x)), x));
    CHECK(same(nn::ChannelShuffle(4)(nn::ChannelShuffle(2)(x)), x));
    const auto p = max_pool2d_with_indices(x, 2);
    CHECK(same(nn::MaxUnpool2d(2)(p.values, p.indices), max_unpool2d(p.values, p.indices, 2)));
    CHECK(same(nn::GroupNorm<float>(2, 8)(x), group_norm(x, 2)));
    CHECK(same(nn::LocalResponseNorm(5)(x), local_response_norm(x, 5)));
    CHECK(same(eval(nn::Hardsigmoid()(x)), eval(clamp(x + 3, 0, 6) / 6)));
    CHECK(same(eval(nn::GELU()(x)), eval(gelu(x))));
    CHECK(same(nn::Softmax<1>()(x), softmax<1>(x)));
    nn::PReLU<float> slopes(8);
    CHECK(same(eval(slopes(x)), eval(leaky_relu(x, 0.25))));
    slopes.weight.fill(0.5f);
    sum(slopes(x)).backward();
    CHECK(std::abs(slopes.weight.grad().data()[3] - sum(minimum(x(all, 3), 0.f)).item()) < 1e-4);
}

TEST_CASE("channels-last images stay channels-last") {
    const auto x = randn<float>({2, 16, 9, 7}, Key{1});
    const auto turned = contiguous(x.permute<0, 2, 3, 1>()).permute<0, 3, 1, 2>();
    const auto layout = [](const auto& y) { return y.record()->strides()[1] == 1 && !y.is_contiguous(); };
    CHECK(layout(max_pool2d(turned, 3, {.stride = 2, .padding = 1})));
    CHECK(layout(max_pool2d_with_indices(turned, 2).indices));
    CHECK(layout(avg_pool2d(turned, 2)));
    CHECK(layout(interpolate(turned, 12)));
    CHECK(max_pool2d(x, 2).is_contiguous());
    // A slice of the channels is read where it lies.
    const auto part = x(all, slice(3, 9));
    const auto difference = avg_pool2d(part, 2) - avg_pool2d(clone(part), 2);
    CHECK(max(abs(eval(difference))).item() == 0);
    const auto difference_max = max_pool2d(part, 2) - max_pool2d(clone(part), 2);
    CHECK(max(abs(eval(difference_max))).item() == 0);
}
