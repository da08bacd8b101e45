// autocast and loss scaling.
#include <tenon/ops/autocast.hpp>
#include <tenon/optim/gradient_scaler.hpp>
#include <tenon/tenon.hpp>

#include <catch2/catch.hpp>

#include <cmath>

using namespace tenon;

namespace {

struct Net {
    nn::Linear<float> hidden, out;
    explicit Net(Key key) : hidden(12, 16, key.split(0)), out(16, 3, key.split(1)) {}
    auto operator()(const Tensor<float, 2>& x) const { return out(relu(hidden(x))); }
    static void visit(auto& self, auto&& f) {
        f("hidden", self.hidden);
        f("out", self.out);
    }
};

double difference(const Tensor<float, 2>& a, const Tensor<float, 2>& b) {
    double largest = 0;
    for (long i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(static_cast<double>(a.data()[i]) - static_cast<double>(b.data()[i])));
    return largest;
}

}  // namespace

TEMPLATE_TEST_CASE("autocast multiplies in 16 bits and keeps float around it", "", bf16, half) {
    const double unit = std::is_same_v<TestType, bf16> ? 0x1p-8 : 0x1p-11;
    const auto a = randn<float>({5, 40}, Key(1)), b = randn<float>({40, 7}, Key(2));
    const Tensor<float, 2> exact = matmul(a, b);
    Tensor<float, 2> rounded;
    {
        const autocast<TestType> scope;
        rounded = matmul(a, b);
        const Tensor<float, 2> outside = [&] {
            const autocast<TestType> off(false);
            return Tensor<float, 2>(matmul(a, b));
        }();
        CHECK(difference(outside, exact) == 0);
    }
    const Tensor<TestType, 2> narrow = matmul(eval(cast<TestType>(a)), eval(cast<TestType>(b)));
    CHECK(difference(rounded, eval(cast<float>(narrow))) == 0);
    CHECK(difference(rounded, exact) > 0);
    CHECK(difference(rounded, exact) < 40 * unit);
    CHECK(difference(eval(matmul(a, b)), exact) == 0);
}

TEMPLATE_TEST_CASE("a network under autocast has gradients in float, near those of float", "", bf16, half) {
    Net exact(Key(3));
    Net net = clone(exact);
    const auto x = randn<float>({9, 12}, Key(4));
    const auto labels = from<std::int64_t>({9}, {0, 1, 2, 0, 1, 2, 0, 1, 2});
    cross_entropy(exact(x), labels).backward();
    Tensor<float, 0> loss;
    {
        const autocast<TestType> scope;
        loss = cross_entropy(net(x), labels);
    }
    loss.backward();
    const Tensor<float, 2> g = net.hidden.weight.grad(), e = exact.hidden.weight.grad();
    CHECK(difference(g, e) < 0.02);
    CHECK(difference(g, e) > 0);
}

TEST_CASE("the scaler skips steps that overflow, shrinks, and grows again") {
    auto w = full<float>({4}, 1.f);
    w.require_grad();
    auto optimiser = optim::sgd(w, {.lr = 0.5});
    optim::GradientScaler scaler({.scale = 1024, .interval = 2});
    const auto step = [&](float factor) {
        scaler.scaled(Tensor<float, 0>(sum(w) * factor)).backward();
        return scaler.step(optimiser);
    };
    CHECK(step(1));
    CHECK(w.data()[0] == 0.5f);  // the scale is out again
    CHECK_FALSE(step(1e38f));    // 1e38 * 1024 is infinite
    CHECK(w.data()[0] == 0.5f);
    CHECK(scaler.scale() == 512);
    CHECK(step(1));
    CHECK(step(1));
    CHECK(scaler.scale() == 1024);
    CHECK(optimiser.statistics().skipped == 1);
}

TEST_CASE("clipping after the scale is out sees the gradients themselves") {
    auto w = full<float>({4}, 1.f);
    w.require_grad();
    auto optimiser = optim::sgd(w, {.lr = 1});
    optim::GradientScaler scaler({.scale = 256});
    scaler.scaled(Tensor<float, 0>(sum(w) * 3.f)).backward();
    CHECK(scaler.unscale(optimiser));
    CHECK(optimiser.clip_norm(3) == Approx(6));
    CHECK(scaler.step(optimiser));
    CHECK(w.data()[3] == Approx(1 - 1.5));
}

TEST_CASE("wrong options of the scaler are refused") {
    CHECK_THROWS_WITH(optim::GradientScaler({.scale = 0}), Catch::Matchers::Contains("scale 0") && Catch::Matchers::Contains("expected"));
    CHECK_THROWS_AS(optim::GradientScaler({.interval = 0}), ValueError);
}
