// Products in expressions; values, gradients and errors of the product alone are in the operator table.
#include <tenon/tenon.hpp>
#include <tenon/testing/gradcheck.hpp>

#include <catch2/catch.hpp>

#include <cmath>

using namespace tenon;

TEST_CASE("gradient checks of products with epilogues, reductions and losses") {
    const auto x = randn<double>({5, 4}, Key{1}), w = randn<double>({3, 4}, Key{2});
    const auto b = randn<double>({3}, Key{3});
    const auto c = randn<double>({5, 1}, Key{4});
    CHECK_NOTHROW(testing::gradcheck([](auto p, auto q, auto r) { return tanh(linear(p, q, r)); }, x, w, b));
    CHECK_NOTHROW(testing::gradcheck([](auto p, auto q, auto r, auto s) { return tanh(matmul(p, transpose(q)) + r) * s; }, x, w, b, c));
    CHECK_NOTHROW(testing::gradcheck([](auto p, auto q) { return sigmoid(matmul(p, transpose(q)) + matmul(p * 2.0, transpose(q))) * 3.0; }, x, w));
    CHECK_NOTHROW(testing::gradcheck([](auto p) { return mean<0>(square(p)) * 2.0; }, x));
    CHECK_NOTHROW(testing::gradcheck([](auto p) { return log_softmax<0>(p * 2.0); }, x));
    CHECK_NOTHROW(testing::gradcheck([](auto p) { return cross_entropy(p, from<std::int64_t>({0, 3, 1, 2, 2})); }, x));
    CHECK_NOTHROW(testing::gradcheck([](auto p) { return mse_loss(p, full<double>({4}, 0.25)); }, x));
    CHECK_NOTHROW(testing::gradcheck([](auto p) { return dropout(p, 0.3, Key{9}); }, x));
}

TEST_CASE("a product that is cast is computed in its own type") {
    const auto a = randn<double>({50, 7}, Key{1}).require_grad();
    const auto b = randn<double>({7, 2}, Key{2});
    const Tensor<double, 2> product = matmul(a, b);
    const Tensor<float, 2> y = cast<float>(matmul(a, b)), z = cast<float>(matmul(a, b) * 2.0) + 1.f, expected = cast<float>(product);
    for (long i = 0; i < y.size(); ++i) {
        CHECK(y.data()[i] == expected.data()[i]);
        CHECK(std::abs(z.data()[i] - (2 * expected.data()[i] + 1)) <= 1e-5f);
    }
    const Tensor<float, 0> total = sum(cast<float>(matmul(a, b)));
    total.backward();
    for (long k = 0; k < 7; ++k) CHECK(std::abs(a.grad().data()[k] - (b.data()[2 * k] + b.data()[2 * k + 1])) <= 1e-12);
}

TEST_CASE("a product that has a name is computed once") {
    const auto a = randn<float>({20, 30}, Key{1}), b = randn<float>({30, 10}, Key{2});
    const auto h = matmul(a, b);
    const Tensor<float, 2> first = h, second = h;
    CHECK(first.data() == second.data());
    const auto lazy = matmul(a, b) + 1.f;
    const Tensor<float, 2> p = relu(lazy), q = tanh(lazy);
    for (long i = 0; i < p.size(); ++i) CHECK(q.data()[i] == Approx(std::tanh(first.data()[i] + 1)).margin(1e-5));
    auto w = randn<float>({30, 10}, Key{3}).require_grad();
    const auto k = matmul(a, w);
    (sum(relu(k + 1.f)) + sum(k * k)).item();
    Tensor<float, 0> loss = sum(relu(k + 1.f)) + sum(k * k);
    loss.backward();
    CHECK(w.has_grad());
}

TEST_CASE("recorded products that nobody walks back are freed") {
    const auto x = randn<float>({8, 16}, Key{1});
    const auto w = randn<float>({4, 16}, Key{2}).require_grad();
    const auto b = zeros<float>({4}).require_grad();
    auto each = [&] {
        const Tensor<float, 2> plain = matmul(x, transpose(w)), biased = linear(x, w, b), bent = relu(linear(x, w, b)), curved = tanh(linear(x, w, b));
        const Tensor<float, 2> outer = linear(relu(linear(x, w, b)), randn<float>({2, 4}, Key{3}));
        return plain.requires_grad() && biased.requires_grad() && bent.requires_grad() && curved.requires_grad() && outer.requires_grad();
    };
    CHECK(each());
    const long before = memory::statistics().live;
    for (int i = 0; i < 10; ++i) CHECK(each());
    CHECK(memory::statistics().live == before);
}

TEST_CASE("a refused product keeps nothing of its operands") {
    const long before = memory::statistics().live;
    CHECK_THROWS_AS(matmul(randn<float>({4, 5}, Key{1}), randn<float>({6, 3}, Key{2})), ShapeError);
    CHECK_THROWS_AS(linear(randn<float>({4, 5}, Key{1}), randn<float>({6, 3}, Key{2})), ShapeError);
    CHECK(memory::statistics().live == before);
}
