// Operators that are not elementwise, against PyTorch's values and gradients in double, and gradient checks.
#include "../golden/operators.hpp"

#include <tenon/tenon.hpp>
#include <tenon/testing/gradcheck.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <cstring>

using namespace tenon;

namespace {

template <class T, std::size_t R>
Tensor<T, int(R)> of(const Dim (&sizes)[R], const double* values) {
    auto t = empty<T>(sizes);
    for (long i = 0; i < t.size(); ++i) t.data()[i] = static_cast<T>(values[i]);
    return t;
}
template <class T, int R>
void check(const Tensor<T, R>& got, const double* expected) {
    for (long i = 0; i < got.size(); ++i) {
        INFO("element " << i);
        CHECK(static_cast<double>(got.data()[i]) == Approx(expected[i]).epsilon(std::is_same_v<T, double> ? 1e-11 : 2e-5).margin(std::is_same_v<T, double> ? 1e-13 : 2e-6));
    }
}
// Backward with the weights cos(i) that the golden gradients use.
template <class T, int R>
void run_backward(const Tensor<T, R>& y) {
    Tensor<T, R> weights = empty_like(y);
    for (long i = 0; i < y.size(); ++i) weights.data()[i] = static_cast<T>(std::cos(double(i)));
    y.backward(weights);
}

}  // namespace

TEMPLATE_TEST_CASE("matrix products have PyTorch's values and gradients", "", float, double) {
    using T = TestType;
    {
        namespace g = golden::matmul;
        auto a = of<T>({3, 4}, g::a).require_grad(), b = of<T>({4, 5}, g::b).require_grad();
        // The same from transposed memory.
        const Tensor<T, 2> y = matmul(a, b);
        check(y, g::y);
        run_backward(y);
        check(a.grad(), g::d_a);
        check(b.grad(), g::d_b);
        check(Tensor<T, 2>(matmul(clone(transpose(a)).transpose(), clone(transpose(b)).transpose())), g::y);
    }
    {
        namespace g = golden::matmul_batched;
        auto a = of<T>({2, 1, 3, 4}, g::a).require_grad();
        auto b = of<T>({3, 4, 2}, g::b).require_grad();
        const Tensor<T, 4> y = matmul(a, b);
        check(y, g::y);
        run_backward(y);
        check(a.grad(), g::d_a);
        check(b.grad(), g::d_b);
    }
    {
        namespace g = golden::matmul_vector;
        auto a = of<T>({4}, g::a).require_grad();
        auto b = of<T>({2, 4, 3}, g::b).require_grad();
        const Tensor<T, 2> y = matmul(a, b);
        check(y, g::y);
        run_backward(y);
        check(a.grad(), g::d_a);
        check(b.grad(), g::d_b);
    }
    {
        namespace g = golden::linear_relu;
        auto x = of<T>({5, 4}, g::x).require_grad(), w = of<T>({3, 4}, g::w).require_grad();
        auto b = of<T>({3}, g::b).require_grad();
        const Tensor<T, 2> y = relu(linear(x, w, b));
        check(y, g::y);
        run_backward(y);
        check(x.grad(), g::d_x);
        check(w.grad(), g::d_w);
        check(b.grad(), g::d_b);
    }
    {
        namespace g = golden::linear_silu;
        auto x = of<T>({2, 5, 4}, g::x).require_grad();
        auto w = of<T>({3, 4}, g::w).require_grad();
        auto b = of<T>({3}, g::b).require_grad();
        const Tensor<T, 3> y = silu(linear(x, w, b));
        check(y, g::y);
        run_backward(y);
        check(x.grad(), g::d_x);
        check(w.grad(), g::d_w);
        check(b.grad(), g::d_b);
    }
}

TEMPLATE_TEST_CASE("softmax, losses and reductions have PyTorch's values and gradients", "", float, double) {
    using T = TestType;
    {
        namespace g = golden::softmax;
        auto x = of<T>({3, 5}, g::x).require_grad();
        const auto y = softmax<1>(x);
        check(y, g::y);
        run_backward(y);
        check(x.grad(), g::d_x);
    }
    {
        namespace g = golden::softmax_first;
        auto x = of<T>({3, 2, 2}, g::x).require_grad();
        const auto y = softmax<0>(x);
        check(y, g::y);
        run_backward(y);
        check(x.grad(), g::d_x);
    }
    {
        namespace g = golden::log_softmax;
        auto x = of<T>({3, 5}, g::x).require_grad();
        const auto y = log_softmax(x);
        check(y, g::y);
        run_backward(y);
        check(x.grad(), g::d_x);
    }
    {
        namespace g = golden::cross_entropy;
        auto x = of<T>({5, 6}, g::x).require_grad();
        const auto y = cross_entropy(x, of<std::int64_t>({5}, g::labels));
        check(y, g::y);
        y.backward();
        check(x.grad(), g::d_x);
        check(cross_entropy(x, of<std::int32_t>({5}, g::labels)), g::y);
    }
    {
        namespace g = golden::sum_axis;
        auto x = of<T>({2, 3, 4}, g::x).require_grad();
        const auto y = sum<1>(x);
        check(y, g::y);
        run_backward(y);
        check(x.grad(), g::d_x);
    }
    {
        namespace g = golden::mean_axes;
        auto x = of<T>({2, 3, 4}, g::x).require_grad();
        const auto y = mean<0, 2>(x);
        check(y, g::y);
        run_backward(y);
        check(x.grad(), g::d_x);
    }
    {
        namespace g = golden::var_axis;
        auto x = of<T>({2, 5, 3}, g::x).require_grad();
        const auto y = var<1>(x);
        check(y, g::y);
        run_backward(y);
        check(x.grad(), g::d_x);
    }
    {
        namespace g = golden::max_axis;
        auto x = of<T>({2, 5, 3}, g::x).require_grad();
        const auto [values, indices] = max<1>(x);
        check(values, g::y);
        run_backward(values);
        check(x.grad(), g::d_x);
    }
    {
        namespace g = golden::broadcast;
        auto x = of<T>({3, 1, 2}, g::x).require_grad();
        auto w = of<T>({4, 1}, g::w).require_grad();
        auto b = of<T>({2}, g::b).require_grad();
        const Tensor<T, 3> y = tanh(x * w + b) * x;
        check(y, g::y);
        run_backward(y);
        check(x.grad(), g::d_x);
        check(w.grad(), g::d_w);
        check(b.grad(), g::d_b);
    }
}

TEMPLATE_TEST_CASE("indexing and joining have PyTorch's values and gradients", "", float, double) {
    using T = TestType;
    {
        namespace g = golden::index_select;
        auto x = of<T>({4, 3}, g::x).require_grad();
        const auto y = index_select<0>(x, of<std::int64_t>({4}, g::indices));
        check(y, g::y);
        run_backward(y);
        check(x.grad(), g::d_x);
    }
    {
        namespace g = golden::gather;
        auto x = of<T>({3, 4}, g::x).require_grad();
        const auto y = gather<1>(x, of<std::int64_t>({3, 2}, g::indices));
        check(y, g::y);
        run_backward(y);
        check(x.grad(), g::d_x);
    }
    {
        namespace g = golden::concat;
        auto a = of<T>({2, 3}, g::a).require_grad(), b = of<T>({2, 2}, g::b).require_grad();
        const auto y = concat<1>(a, b * b);
        check(y, g::y);
        run_backward(y);
        check(a.grad(), g::d_a);
        check(b.grad(), g::d_b);
    }
}

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

TEST_CASE("errors name the operation and what came") {
    const auto x = zeros<float>({2, 3});
    CHECK_THROWS_WITH(matmul(x, zeros<float>({2, 3})), Catch::Contains("matmul: inner sizes differ: left is float[2, 3] on cpu") && Catch::Contains("did you mean transpose(right)?"));
    CHECK_THROWS_WITH(x + zeros<float>({4, 3}), Catch::Contains("add: shapes cannot be broadcast") && Catch::Contains("float[4, 3] on cpu"));
    CHECK_THROWS_WITH(cross_entropy(x, from<std::int64_t>({0, 3})), Catch::Contains("cross_entropy: label 3 of row 1 is outside of [0, 3)"));
    CHECK_THROWS_AS(cross_entropy(x, from<std::int64_t>({0})), ShapeError);
    CHECK_THROWS_WITH(index_select<0>(x, from<std::int64_t>({0, 2})), Catch::Contains("2"));
    CHECK_THROWS_AS(index_select<0>(x, from<std::int64_t>({-1})), IndexError);
    CHECK_THROWS_AS(concat<0>({x, zeros<float>({2, 4})}), ShapeError);
    CHECK_THROWS_AS(x.reshape({4, 2}), ShapeError);
    CHECK_THROWS_AS(x(5), IndexError);
    CHECK_THROWS_AS(x.item(), ShapeError);
    CHECK_THROWS_AS(dropout(x, 1.5, Key{1}), ValueError);
    CHECK_THROWS_WITH(zeros<float>({2}, cuda(0)), Catch::Contains("cuda:0") && Catch::Contains("nvcc"));
    CHECK_THROWS_AS(zeros<float>({-1}), ShapeError);
}
