// Normalisation layers: names, running statistics, training against inference; gradients of the operations.
#include <tenon/nn/norm.hpp>
#include <tenon/ops/random.hpp>
#include <tenon/ops/reduce.hpp>
#include <tenon/testing/gradcheck.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <string>
#include <vector>

using namespace tenon;

namespace {

template <class M>
std::vector<std::string> names(const M& module, nn::Kind kind) {
    std::vector<std::string> found;
    nn::for_each_tensor(module, [&](const char* name, nn::Kind k, const auto&) {
        if (k == kind) found.push_back(name);
    });
    return found;
}
template <class T, int R>
bool same(const Tensor<T, R>& a, const Tensor<T, R>& b) {
    return a.shape() == b.shape() && std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(T)) == 0;
}

}  // namespace

TEST_CASE("normalisation layers name their tensors as PyTorch does, buffers apart from parameters") {
    using Names = std::vector<std::string>;
    CHECK(names(nn::LayerNorm<float>(4), nn::Kind::parameter) == Names{"weight", "bias"});
    CHECK(names(nn::LayerNorm<float, 1, false>(4), nn::Kind::parameter) == Names{"weight"});
    CHECK(names(nn::RMSNorm<float>(4), nn::Kind::parameter) == Names{"weight"});
    CHECK(nn::parameter_count(nn::LayerNorm<float, 2>({4, 3})) == 24);
    const nn::BatchNorm1d<float> layer(4);
    CHECK(names(layer, nn::Kind::parameter) == Names{"weight", "bias"});
    CHECK(names(layer, nn::Kind::buffer) == Names{"running_mean", "running_var", "num_batches_tracked"});
    CHECK(nn::parameter_count(layer) == 8);
    CHECK(names(nn::BatchNorm1d<float>(4, {.affine = false}), nn::Kind::parameter).empty());
    CHECK(names(nn::BatchNorm1d<float>(4, {.track_running_stats = false}), nn::Kind::buffer).empty());
    CHECK_THROWS_AS(nn::BatchNorm1d<float>(0), ShapeError);
    const auto copy = clone(layer);
    CHECK(copy.running_mean.data() != layer.running_mean.data());
}

TEST_CASE("batch norm keeps running statistics by momentum or as plain averages") {
    const auto first = randn<double>({6, 3}, Key{1});
    const auto second = randn<double>({4, 3, 5}, Key{2});
    const auto moments = [](const auto& x, long c, double& mean, double& variance) {
        const long n = x.shape(0), inner = x.size() / n / 3;
        mean = variance = 0;
        for (long o = 0; o < n; ++o)
            for (long i = 0; i < inner; ++i) mean += x.data()[(o * 3 + c) * inner + i] / double(n * inner);
        for (long o = 0; o < n; ++o)
            for (long i = 0; i < inner; ++i) variance += std::pow(x.data()[(o * 3 + c) * inner + i] - mean, 2) / double(n * inner - 1);
    };
    for (bool cumulative : {false, true}) {
        const nn::BatchNorm1d<double> layer(3, {.momentum = 0.3, .cumulative = cumulative});
        const Tensor<double, 2> a = layer(first, nn::Context{Key{}});
        const Tensor<double, 3> b = layer(second, nn::Context{Key{}});
        CHECK(layer.num_batches_tracked.item() == 2);
        for (long c = 0; c < 3; ++c) {
            double m1, v1, m2, v2;
            moments(first, c, m1, v1);
            moments(second, c, m2, v2);
            const double mean = cumulative ? (m1 + m2) / 2 : 0.7 * (0.3 * m1) + 0.3 * m2;
            const double variance = cumulative ? (v1 + v2) / 2 : 0.7 * (0.7 + 0.3 * v1) + 0.3 * v2;
            CHECK(layer.running_mean.data()[c] == Approx(mean).epsilon(1e-12));
            CHECK(layer.running_var.data()[c] == Approx(variance).epsilon(1e-12));
            CHECK(a.data()[c] == Approx((first.data()[c] - m1) / std::sqrt(v1 * 5 / 6 + 1e-5)).epsilon(1e-12));
        }
        // Inference uses them and leaves them alone.
        const auto before = clone(layer.running_mean);
        const Tensor<double, 2> y = layer(first);
        CHECK(same(before, layer.running_mean));
        CHECK(layer.num_batches_tracked.item() == 2);
        CHECK(same(y, Tensor<double, 2>(layer(first, nn::Context{Key{}, false}))));
        for (long c = 0; c < 3; ++c)
            CHECK(y.data()[c] == Approx((first.data()[c] - layer.running_mean.data()[c]) / std::sqrt(layer.running_var.data()[c] + 1e-5)).epsilon(1e-12));
    }
    const nn::BatchNorm1d<double> untracked(3, {.track_running_stats = false});
    CHECK(same(Tensor<double, 2>(untracked(first)), Tensor<double, 2>(untracked(first, nn::Context{Key{}}))));
}

TEST_CASE("errors of the normalisations name what came") {
    const auto x = randn<float>({4, 3}, Key{1});
    CHECK_THROWS_WITH(layer_norm(x, ones<float>({4})), Catch::Contains("layer_norm: weight is float[4]") && Catch::Contains("float[4, 3]"));
    CHECK_THROWS_WITH(layer_norm(x, -1.0), Catch::Contains("eps is -1"));
    CHECK_THROWS_WITH(batch_norm(x, ones<float>({4})), Catch::Contains("batch_norm: weight is float[4]") && Catch::Contains("3 channels"));
    CHECK_THROWS_WITH(batch_norm(x(slice(0, 1))), Catch::Contains("one value per channel") && Catch::Contains("hint"));
    CHECK_THROWS_WITH(batch_norm_inference(x, {}, {}, {}, {}), Catch::Contains("no running statistics"));
}

TEST_CASE("gradients of the normalisations") {
    const auto x = randn<double>({5, 4, 6}, Key{1});
    const auto m = randn<double>({3, 40}, Key{8});
    const auto w = uniform<double>({6}, Key{2}, {0.5, 2.0}), b = randn<double>({6}, Key{3}), c = uniform<double>({4}, Key{5}, {0.5, 2.0}), d = randn<double>({4}, Key{6});
    const auto w2 = uniform<double>({4, 6}, Key{4}, {0.5, 2.0});
    CHECK_NOTHROW(testing::gradcheck([](auto p) { return layer_norm(p); }, x));
    CHECK_NOTHROW(testing::gradcheck([](auto p, auto u, auto v) { return layer_norm(p, u, v); }, x, w, b));
    CHECK_NOTHROW(testing::gradcheck([](auto p, auto u) { return layer_norm(p, u); }, x, w2));
    CHECK_NOTHROW(testing::gradcheck([](auto p, auto u) { return rms_norm(p, u); }, x, w));
    CHECK_NOTHROW(testing::gradcheck([](auto p) { return rms_norm(tanh(p)); }, m));
    CHECK_NOTHROW(testing::gradcheck([](auto p, auto u, auto v) { return batch_norm(p, u, v); }, x, c, d));
    CHECK_NOTHROW(testing::gradcheck([](auto p) { return batch_norm(p); }, m));
    const auto mean = randn<double>({4}, Key{6}), variance = uniform<double>({4}, Key{7}, {0.5, 2.0});
    CHECK_NOTHROW(testing::gradcheck([&](auto p, auto u, auto v) { return batch_norm_inference(p, u, v, mean, variance); }, x, c, d));
    // A view, and a weight alone.
    CHECK_NOTHROW(testing::gradcheck([](auto p) { return layer_norm(p.transpose()); }, m));
    CHECK_NOTHROW(testing::gradcheck([&](auto u) { return layer_norm(x, u); }, w));
}

TEST_CASE("batch norm with a relu that follows is the two after another", "[nn][norm]") {
    for (const bool training : {true, false}) {
        nn::BatchNorm2d<double> a(3), b(3);
        for (auto* layer : {&a, &b}) {
            layer->weight.copy_from(from<double>({0.5, -1, 2}));
            layer->bias.copy_from(from<double>({0.25, 0, -1}));
            layer->running_mean.copy_from(from<double>({0.1, -0.2, 0.3}));
        }
        const nn::Context context{Key{1}, training};
        const auto x = randn<double>({4, 3, 5, 6}, Key{2}), g = randn<double>({4, 3, 5, 6}, Key{3});
        const auto u = clone(x).require_grad(), v = clone(x).require_grad();
        const Tensor<double, 4> y = relu(a(u, context)), z = b.relu(v, context);
        CHECK(max(abs(y - z)).item() == 0);
        sum(y * g).backward();
        sum(z * g).backward();
        CHECK(max(abs(u.grad() - v.grad())).item() < 1e-14);
        CHECK(max(abs(a.weight.grad() - b.weight.grad())).item() < 1e-13);
        CHECK(max(abs(a.bias.grad() - b.bias.grad())).item() < 1e-13);
        CHECK(max(abs(a.running_mean - b.running_mean)).item() == 0);
        CHECK(a.num_batches_tracked.item() == b.num_batches_tracked.item());
    }
}
