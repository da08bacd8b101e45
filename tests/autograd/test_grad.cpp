// grad() and what stands on it: vjp, jvp, Hessian-vector products; kept and recorded graphs.
#include <tenon/tenon.hpp>
#include <tenon/autograd/functional.hpp>
#include <tenon/ops/second_order.hpp>
#include <tenon/testing/close.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <vector>

using namespace tenon;

TEST_CASE("grad returns gradients of leaves and of results, and touches no .grad()") {
    const auto x = from<double>({1, 2, 3}).require_grad(), w = from<double>({4, 5, 6}).require_grad();
    sum(x * 7.0).backward();
    const Tensor<double, 1> h = x * w;
    const Tensor<double, 0> y = sum(h * h);
    const auto [gx, gh] = grad(y, x, h, {.retain_graph = true});
    CHECK(gx.data()[1] == 2 * 10 * 5);
    CHECK(gh.data()[2] == 36);
    CHECK(x.grad().data()[1] == 7);
    CHECK_FALSE(w.has_grad());
    CHECK_FALSE(gx.requires_grad());
    // The same input twice; a container of inputs.
    const auto [once, again] = grad(y, w, w, {.retain_graph = true});
    CHECK(once.data()[0] == 8);
    CHECK(again.data()[0] == 8);
    const std::vector<Tensor<double, 1>> inputs{x, w, h};
    const auto all_of_them = grad(y, inputs, {.retain_graph = true});
    CHECK(all_of_them[0].data()[1] == gx.data()[1]);
    CHECK(all_of_them[2].data()[2] == 36);
    const auto [ga, gb, gc] = grad(y, x, w, h);
    CHECK(ga.data()[0] == 32);
    CHECK(gb.data()[0] == 8);
    CHECK(gc.data()[0] == 8);
    CHECK_THROWS_WITH(grad(y, x), Catch::Contains("already walked"));
    // An expression; a given gradient of what follows.
    CHECK(grad(sum(x * x) + 1.0, x).data()[2] == 6);
    const Tensor<double, 1> square_x = x * x;
    CHECK(grad(square_x, x, {.grad_output = from<double>({1, 0, -1})}).data()[2] == -6);
}

TEST_CASE("grad with inputs that were not used, not recorded, or of other sizes") {
    const auto x = ones<float>({3}).require_grad(), unused = ones<float>({3}).require_grad();
    const Tensor<float, 0> y = sum(x * 2.f);
    CHECK_THROWS_WITH(grad(y, unused, {.retain_graph = true}), Catch::Contains("was not used") && Catch::Contains("allow_unused"));
    const auto [gx, none] = grad(y, x, unused, {.retain_graph = true, .allow_unused = true});
    CHECK(gx.data()[0] == 2);
    CHECK_FALSE(none.has_value());
    CHECK_THROWS_WITH(grad(y, ones<float>({3})), Catch::Contains("does not require a gradient"));
    CHECK_THROWS_WITH(grad(sum(ones<float>({3})), x), Catch::Contains("does not require a gradient"));
    const Tensor<float, 1> several = x * 2.f;
    CHECK_THROWS_AS(grad(several, x), ShapeError);
    CHECK_THROWS_AS(grad(several, x, {.grad_output = ones<float>({4})}), ShapeError);
    CHECK(grad(y, y).item() == 1);
    CHECK(grad(x, x, {.grad_output = full<float>({3}, 5.f)}).data()[2] == 5);
}

TEST_CASE("grad walks only towards its inputs") {
    const auto a = ones<float>({2}).require_grad(), b = ones<float>({2}).require_grad();
    const Tensor<float, 1> p = a * 3.f, q = exp(b);
    const Tensor<float, 0> y = sum(p * q);
    CHECK(grad(y, p, {.retain_graph = true}).data()[0] == Approx(std::exp(1.f)));
    {
        // What exp(b) has saved is stale: only a pass that goes there minds.
        no_grad guard;
        b += 1.f;
    }
    CHECK(grad(y, a, {.retain_graph = true}).data()[0] == Approx(3 * std::exp(1.f)));
    CHECK_THROWS_WITH(grad(y, b, {.retain_graph = true}), Catch::Contains("overwritten"));
    CHECK(grad(y, a, {.retain_graph = true}).data()[1] == Approx(3 * std::exp(1.f)));
    // A failed pass leaves nothing behind.
    CHECK_FALSE(b.has_grad());
    CHECK_FALSE(a.has_grad());
}

TEST_CASE("a kept graph is walked twice; without keeping it the second pass says so") {
    const auto x = from<double>({0.5, -1}).require_grad();
    const Tensor<double, 0> y = sum(tanh(x) * x);
    y.backward({.retain_graph = true});
    const auto first = clone(x.grad());
    y.backward({.retain_graph = true});
    CHECK(x.grad().data()[1] == 2 * first.data()[1]);
    y.backward();
    CHECK(x.grad().data()[0] == Approx(3 * first.data()[0]).epsilon(1e-15));
    CHECK_THROWS_WITH(y.backward(), Catch::Contains("retain_graph"));
    const Tensor<double, 1> z = x * x;
    z.backward(from<double>({1, 2}), {.retain_graph = true});
    z.backward(from<double>({1, 2}));
    CHECK_THROWS_AS((z.backward(from<double>({1, 2, 3}), {.retain_graph = true})), ShapeError);
}

TEST_CASE("recorded gradients are tensors of the tape") {
    const auto x = from<double>({0.5, -1, 2}).require_grad();
    sum(x * x * x).backward({.create_graph = true});
    const Tensor<double, 1> g = x.grad();
    REQUIRE(g.requires_grad());
    CHECK(g.data()[2] == 12);
    x.zero_grad();
    CHECK(g.data()[2] == 12);
    sum(g).backward();
    CHECK(x.grad().data()[2] == 12);  // 6 x
    CHECK_FALSE(x.grad().requires_grad());
    x.zero_grad();

    // Passes add up, recorded ones on plain ones and the other way round.
    sum(x * x).backward();
    sum(x * x).backward({.create_graph = true});
    CHECK(x.grad().data()[0] == 2);
    const Tensor<double, 1> both = x.grad();
    sum(x * x).backward();
    CHECK(x.grad().data()[0] == 3);
    CHECK(both.data()[0] == 2);
    CHECK(grad(sum(both), x).data()[0] == 2);

    // A gradient penalty, as in WGAN-GP.
    const auto w = randn<double>({4, 3}, Key{1}).require_grad();
    const auto penalty = [&] {
        const auto inputs = randn<double>({5, 4}, Key{2}).require_grad();
        const Tensor<double, 0> score = sum(tanh(matmul(inputs, w)));
        const auto gi = grad(score, inputs, {.create_graph = true});
        return Tensor<double, 0>(mean(square(sqrt(sum<1>(gi * gi)) - 1.0)));
    };
    penalty().backward();
    const double before = w.data()[5], h = 1e-6;
    w.data()[5] = before + h;
    const double up = penalty().item();
    w.data()[5] = before - h;
    const double down = penalty().item();
    w.data()[5] = before;
    CHECK(w.grad().data()[5] == Approx((up - down) / (2 * h)).epsilon(1e-6));
}

TEST_CASE("third derivatives: by compositions of products yes, of an expression a sentence") {
    const auto x = from<double>({0.5, 2}).require_grad();
    const auto g = grad(sum(x * x * x), x, {.create_graph = true});
    CHECK_THROWS_WITH(grad(sum(g), x, {.create_graph = true}), Catch::Contains("third derivatives are not there"));
    const auto a = randn<double>({2, 2}, Key{1}).require_grad();
    const auto ga = grad(Tensor<double, 1>(matmul(matmul(a, a), from<double>({1, 2}))), a, {.grad_output = from<double>({1, 1}), .create_graph = true});
    const auto gga = grad(ga, a, {.grad_output = ones<double>({2, 2}), .create_graph = true});
    CHECK(gga.shape(0) == 2);
    CHECK_THROWS_WITH(grad(sum(custom([](auto v) { return round(v); }, [](auto, auto, auto dy) { return dy; })(x)), x, {.create_graph = true}),
                      Catch::Contains("custom(f, df)"));
}

TEST_CASE("vjp, jvp and Hessian-vector products") {
    const auto a = randn<double>({3, 4}, Key{1}), x = randn<double>({3, 4}, Key{2});
    const auto f = [](const auto& p, const auto& q) { return sum<1>(sin(p) * q); };
    const auto [y, pull] = vjp(f, a, x);
    CHECK(testing::close(y, eval(sum<1>(sin(a) * x))));
    const auto dy = from<double>({1, -2, 0.5});
    const auto [da, dx] = pull(dy);
    CHECK(testing::close(da, eval(dy.unsqueeze<1>() * cos(a) * x), {.relative = 1e-14}));
    CHECK(testing::close(dx, eval(dy.unsqueeze<1>() * sin(a)), {.relative = 1e-14}));
    const auto [again, unused] = pull(dy);
    CHECK(testing::close(again, da));
    CHECK_FALSE(a.requires_grad());
    CHECK_THROWS_AS(pull(ones<double>({4})), ShapeError);

    const auto va = randn<double>({3, 4}, Key{3}), vx = randn<double>({3, 4}, Key{4});
    const auto pushed = jvp(f, a, x, va, vx);
    CHECK(testing::close(pushed.tangent, eval(sum<1>(cos(a) * va * x + sin(a) * vx)), {.relative = 1e-13, .absolute = 1e-14}));
    // <dy, J v> = <J' dy, v>
    CHECK(sum(dy * pushed.tangent).item() == Approx((sum(da * va) + sum(dx * vx)).item()).epsilon(1e-12));
    CHECK(jvp([](const auto& p) { return p + 1.0; }, a, va).tangent.data()[3] == va.data()[3]);
    CHECK(jvp([](const auto& p) { return floor(p) * 1.0; }, a, va).tangent.data()[3] == 0);

    // f = sum(exp(B z)), whose Hessian is B' diag(exp(B z)) B.
    const auto b = randn<double>({5, 4}, Key{5});
    const auto z = randn<double>({4}, Key{6}), v = randn<double>({4}, Key{7});
    const auto product = hessian_vector_product([&](const auto& p) { return sum(exp(matmul(b, p))); }, z, v);
    const Tensor<double, 1> bz = matmul(b, z), bv = matmul(b, v);
    const Tensor<double, 1> expected = matmul(transpose(b), exp(bz) * bv);
    CHECK(testing::close(product, expected, {.relative = 1e-12}));
    CHECK(hessian_vector_product([](const auto& p) { return sum(p * 3.0); }, z, v).data()[0] == 0);
}

TEST_CASE("gradients of a long chain through grad, and of one node reached by many ways") {
    const auto x = ones<float>({8}).require_grad();
    Tensor<float, 1> y = x + 1.f;
    for (int i = 1; i < 100000; ++i) y = y + 1.f;
    CHECK(grad(sum(y), x).data()[3] == 1);
    Tensor<float, 1> z = x * 1.f;
    for (int i = 0; i < 20; ++i) z = z + z;
    CHECK(grad(sum(z), x).data()[0] == 1048576);
    CHECK(memory::statistics().live > 0);
}

TEST_CASE("recorded gradients of parameters in an optimiser's arena") {
    auto w = from<double>({1, 2}).require_grad();
    auto opt = optim::sgd(w, {.lr = 0.5});
    sum(w * w * w).backward({.create_graph = true});
    const Tensor<double, 1> g = w.grad();
    CHECK(g.requires_grad());
    CHECK(grad(sum(g), w, {.retain_graph = true}).data()[1] == 12);
    opt.step();
    CHECK(w.data()[0] == 1 - 0.5 * 3);
    CHECK_FALSE(w.has_grad());
    sum(w).backward();
    CHECK(w.grad().data()[0] == 1);
    CHECK_FALSE(w.grad().requires_grad());
    opt.step();
    CHECK(w.data()[0] == -1);
}
