// Hooks on leaves and on results.
#include <tenon/tenon.hpp>
#include <tenon/autograd/functional.hpp>
#include <tenon/autograd/hooks.hpp>
#include <tenon/ops/second_order.hpp>

#include <catch2/catch.hpp>

using namespace tenon;

TEST_CASE("a hook sees the gradient of a result, and may replace it") {
    const auto x = from<double>({1, 2}).require_grad();
    const Tensor<double, 1> h = x * 3.0;
    double seen = 0;
    int calls = 0;
    h.register_hook([&](const Tensor<double, 1>& g) {
        seen = g.data()[1];
        ++calls;
    });
    auto handle = h.register_hook([](const auto& g) { return g * 10.0; });
    const Tensor<double, 0> y = sum(h * h);
    y.backward({.retain_graph = true});
    CHECK(seen == 12);
    CHECK(x.grad().data()[1] == 12 * 10 * 3);
    handle.remove();
    x.zero_grad();
    y.backward({.retain_graph = true});
    CHECK(x.grad().data()[1] == 36);
    CHECK(calls == 2);
    // grad() runs hooks too: x's gradient, and h's own as the hook leaves it.
    h.register_hook([](const Tensor<double, 1>& g) { return eval(g + 1.0); });
    const auto [gx, gh] = grad(y, x, h);
    CHECK(gh.data()[0] == 7);
    CHECK(gx.data()[0] == 21);
    CHECK(calls == 3);
}

TEST_CASE("a hook of a leaf sees what one pass brings, all of it, once") {
    const auto x = from<double>({1, 2}).require_grad();
    int calls = 0;
    double seen = 0;
    auto handle = x.register_hook([&](const Tensor<double, 1>& g) {
        ++calls;
        seen = g.data()[0];
        return eval(g * 2.0);
    });
    const Tensor<double, 1> h = x * 1.0;
    sum(x * 3.0 + x * h + h).backward();
    CHECK(calls == 1);
    CHECK(seen == 3 + 2 + 1);
    CHECK(x.grad().data()[0] == 12);
    sum(x).backward();
    CHECK(seen == 1);
    CHECK(calls == 2);
    CHECK(x.grad().data()[0] == 14);
    handle.remove();
    sum(x).backward();
    CHECK(x.grad().data()[0] == 15);
    CHECK(calls == 2);
}

TEST_CASE("hooks run in order, may throw, may keep what they see; errors are sentences") {
    const auto x = from<double>({1, 2}).require_grad();
    x.register_hook([](const Tensor<double, 1>& g) { return eval(g + 1.0); });
    x.register_hook([](const Tensor<double, 1>& g) { return eval(g * 5.0); });
    Tensor<double, 1> kept;
    auto keeping = x.register_hook([&](const Tensor<double, 1>& g) { kept = g; });
    sum(x * 2.0).backward();
    CHECK(x.grad().data()[0] == 15);
    sum(x * 2.0).backward();
    CHECK(x.grad().data()[0] == 30);
    CHECK(kept.data()[0] == 15);
    keeping.remove();

    auto throwing = x.register_hook([](const Tensor<double, 1>&) { fail<ValueError>("not today"); });
    CHECK_THROWS_AS(sum(x).backward(), ValueError);
    throwing.remove();
    CHECK(x.grad().data()[0] == 30);  // as before the pass that failed
    sum(x).backward();
    CHECK(x.grad().data()[0] == 40);

    const Tensor<double, 1> h = x * 1.0;
    h.register_hook([](const Tensor<double, 1>&) { return ones<double>({3}); });
    CHECK_THROWS_AS(sum(h).backward(), ShapeError);
    CHECK_THROWS_WITH((ones<double>({2}).register_hook([](const Tensor<double, 1>&) {})), Catch::Contains("does not require a gradient"));
    // A handle outlives its tensor.
    auto orphan = Tensor<double, 1>(x * 1.0).register_hook([](const Tensor<double, 1>&) {});
    orphan.remove();
}

TEST_CASE("hooks of parameters in an arena, of outputs of one node, and in recorded passes") {
    auto w = from<double>({1, 2}).require_grad();
    auto opt = optim::sgd(w, {.lr = 1});
    w.register_hook([](const Tensor<double, 1>& g) { return eval(g * 0.5); });
    sum(w * 4.0).backward();
    sum(w * 4.0).backward();
    CHECK(w.grad().data()[1] == 4);
    opt.step();
    CHECK(w.data()[0] == -3);

    const auto x = from<double>({0.5}).require_grad();
    const auto [a, b] = eval(x * 2.0, x * 3.0);
    b.register_hook([](const Tensor<double, 1>& g) { return eval(g * 100.0); });
    sum(a + b).backward();
    CHECK(x.grad().item() == 302);
    x.zero_grad();

    // What a hook computes in a recorded pass is recorded.
    const Tensor<double, 1> h = x * x;
    h.register_hook([](const Tensor<double, 1>& g) { return eval(g * g); });
    const auto g = grad(sum(h * h), x, {.create_graph = true});  // (2 h)^2 2 x
    CHECK(g.item() == Approx(0.25));
    // 2 (2 h)^2, and by way of h, whose hook squares again what comes: (8 h 2 x)^2 2 x. PyTorch's value.
    CHECK(grad(sum(g), x).item() == Approx(4.5));
    x.register_hook([](const Tensor<double, 1>& v) { return eval(v * v); });
    sum(x * x).backward({.create_graph = true});
    CHECK(x.grad().item() == 1);
    CHECK(x.grad().requires_grad());
    x.zero_grad();
}
