// Anomaly mode: which operation made the first NaN.
#include <tenon/tenon.hpp>
#include <tenon/autograd/anomaly.hpp>
#include <tenon/autograd/functional.hpp>
#include <tenon/ops/second_order.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <limits>

using namespace tenon;
using Catch::Contains;

TEST_CASE("a NaN in a result is named where it arises: operation, element, sizes, scope") {
    const auto x = from<double>({1, -1, 2}).require_grad();
    Tensor<double, 1> silent = log(x) * 2.0;  // outside of the mode nothing is looked at
    CHECK(std::isnan(silent.data()[1]));
    const anomaly mode;
    const named_scope outer("encoder");
    {
        const named_scope inner("layer 3");
        CHECK_THROWS_WITH(eval(log(x)), Contains("the operation \"log\" gave NaN") && Contains("element [1]") && Contains("double[3]") &&
                                            Contains("recorded in: encoder / layer 3"));
    }
    CHECK_THROWS_AS(eval(sqrt(x)), AnomalyError);
    CHECK_THROWS_WITH(sum(sqrt(x) * 0.0), Contains("\"sum\" gave NaN") && Contains("recorded in: encoder") && !Contains("layer 3"));
    CHECK_NOTHROW(sum(x * x).backward());
    CHECK(x.grad().data()[1] == -2);
    // Nothing is recorded of what wants no gradient.
    CHECK_NOTHROW(eval(log(x.detach())));
}

TEST_CASE("a NaN in a gradient is named with where the operation was recorded") {
    const auto x = from<float>({4, 0, 1}).require_grad();
    const anomaly mode;
    Tensor<float, 0> y;
    {
        const named_scope scope("norm");
        const Tensor<float, 1> root = sqrt(x);
        y = sum(root * from<float>({1, 0, 1}));  // 0 * inf in the backward of sqrt
    }
    CHECK_THROWS_WITH(y.backward({.retain_graph = true}), Contains("the backward of \"sqrt\" gave NaN") && Contains("element [1]") &&
                                                              Contains("input 0, float[3]") && Contains("recorded in: norm"));
    x.zero_grad();
    const Tensor<float, 1> z = x * 2.f;
    CHECK_THROWS_WITH(z.backward(full<float>({3}, std::numeric_limits<float>::quiet_NaN())), Contains("began with") && Contains("\"mul\" is NaN"));
}

TEST_CASE("products are looked at before what follows them; views, 16-bit and strided results too") {
    const float infinity = std::numeric_limits<float>::infinity();
    const auto a = from<float>({infinity, infinity, 1, 1}).reshape({2, 2});
    const auto w = from<float>({1, 1, -1, 1}).reshape({2, 2});
    auto leaf = clone(w).require_grad();
    {
        const anomaly mode;
        CHECK_THROWS_WITH((Tensor<float, 2>(relu(matmul(a, leaf)))), Contains("\"matmul\" gave NaN") && Contains("element [0, 0]"));
        CHECK_THROWS_WITH((Tensor<float, 2>(relu(matmul(a, leaf)))), Contains("float[2, 2]"));
        const auto half_leaf = from<half>({half(-1.f), half(1.f)}).require_grad();
        CHECK_THROWS_WITH(eval(log(half_leaf)), Contains("element [0]"));
        CHECK_NOTHROW(transpose(leaf)(0));
        CHECK_THROWS_WITH(softmax<0>(transpose(leaf)(0) * infinity), Contains("NaN"));
    }
    CHECK_NOTHROW((Tensor<float, 2>(relu(matmul(a, leaf)))));
}

TEST_CASE("recorded passes are looked at, the mode nests and ends, errors leave the tape usable") {
    const auto x = from<double>({0.0, 4.0}).require_grad();
    {
        const anomaly mode;
        {
            const anomaly again;
            CHECK_THROWS_AS(eval(log(x * -1.0)), AnomalyError);
        }
        CHECK_THROWS_AS(eval(log(x * -1.0)), AnomalyError);
        // log'' is infinite at 0; times a zero it is NaN.
        const auto g = grad(sum(log(x)), x, {.create_graph = true});
        CHECK_THROWS_AS(grad(g, x, {.grad_output = from<double>({0, 1}), .retain_graph = true}), AnomalyError);
    }
    CHECK(std::isnan(eval(log(x * -1.0)).data()[1]));
    CHECK_FALSE(x.has_grad());
    sum(x * x).backward();
    CHECK(x.grad().data()[1] == 8);
}
