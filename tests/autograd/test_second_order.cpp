// Second derivatives: every functor, broadcasting, sums, let and where, products, softmax, indices, views, against
// differences of the first derivatives; and the rules about graphs that are walked more than once.
#include <tenon/tenon.hpp>
#include <tenon/testing/gradgradcheck.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <cstring>
#include <initializer_list>
#include <limits>

using namespace tenon;
using testing::gradgradcheck;

namespace {

Tensor<double, 2> normal(long rows, long columns, unsigned seed) { return randn<double>({rows, columns}, Key{seed}); }
// In (low, high), away from both ends.
Tensor<double, 2> between(double low, double high, unsigned seed) { return uniform<double>({3, 5}, Key{seed}, {low, high}); }

}  // namespace

TEST_CASE("second derivatives of every functor of one argument") {
    const auto any = normal(3, 7, 1), positive = between(0.3, 3, 2);
    gradgradcheck([](const auto& x) { return -x; }, any);
    gradgradcheck([](const auto& x) { return abs(x); }, any);
    gradgradcheck([](const auto& x) { return sign(x) * x; }, any);
    gradgradcheck([](const auto& x) { return square(x); }, any);
    gradgradcheck([](const auto& x) { return reciprocal(x); }, positive);
    gradgradcheck([](const auto& x) { return exp(x); }, any);
    gradgradcheck([](const auto& x) { return expm1(x); }, any);
    gradgradcheck([](const auto& x) { return log(x); }, positive);
    gradgradcheck([](const auto& x) { return log1p(x); }, positive);
    gradgradcheck([](const auto& x) { return sqrt(x); }, positive);
    gradgradcheck([](const auto& x) { return rsqrt(x); }, positive);
    gradgradcheck([](const auto& x) { return tanh(x); }, any);
    gradgradcheck([](const auto& x) { return sigmoid(x); }, any);
    gradgradcheck([](const auto& x) { return relu(x); }, any);
    gradgradcheck([](const auto& x) { return silu(x); }, any);
    gradgradcheck([](const auto& x) { return gelu(x); }, any);
    gradgradcheck([](const auto& x) { return gelu_tanh(x); }, any);
    gradgradcheck([](const auto& x) { return softplus(x); }, any);
    gradgradcheck([](const auto& x) { return mish(x); }, any);
    gradgradcheck([](const auto& x) { return hardswish(x); }, any);
    gradgradcheck([](const auto& x) { return sin(x); }, any);
    gradgradcheck([](const auto& x) { return cos(x); }, any);
    gradgradcheck([](const auto& x) { return erf(x); }, any);
    gradgradcheck([](const auto& x) { return floor(x) * x + round(x) * x; }, any);
    gradgradcheck([](const auto& x) { return cast<double>(cast<double>(x)) * x; }, any);
}

TEST_CASE("second derivatives of every functor of several arguments") {
    const auto a = normal(3, 7, 1), b = normal(3, 7, 2), positive = eval(square(b) + 0.3);
    gradgradcheck([](const auto& x, const auto& y) { return x + y; }, a, b);
    gradgradcheck([](const auto& x, const auto& y) { return x - y; }, a, b);
    gradgradcheck([](const auto& x, const auto& y) { return x * y; }, a, b);
    gradgradcheck([](const auto& x, const auto& y) { return x / y; }, a, positive);
    gradgradcheck([](const auto& x, const auto& y) { return minimum(x, y) * x; }, a, b);
    gradgradcheck([](const auto& x, const auto& y) { return maximum(x, y) * y; }, a, b);
    gradgradcheck([](const auto& x, const auto& y) { return pow(x, y); }, positive, a);
    gradgradcheck([](const auto& x) { return pow(x, 3.0); }, a);
    gradgradcheck([](const auto& x) { return pow(2.0, x); }, a);
    gradgradcheck([](const auto& x, const auto& s) { return leaky_relu(x, s); }, a, b);
    gradgradcheck([](const auto& x, const auto& s) { return elu(x, s); }, a, positive);
    gradgradcheck([](const auto& x) { return selu(x); }, a);
    gradgradcheck([](const auto& x, const auto& y) { return clamp(x, y - 1.0, y + 0.5) * x; }, a, b);
    gradgradcheck([](const auto& x, const auto& y) { return where(x > y, x * x * y, sin(x) * y); }, a, b);
    gradgradcheck([](const auto& x, const auto& y) { return where((x > y && x < 1.0) || !(y <= 0.0) || isnan(x) || x == y, tanh(x * y), x / (y + 9.0)); }, a, b);
}

TEST_CASE("second derivatives of broadcast leaves, of one tensor used several times, of sums and means") {
    const auto x = randn<double>({4, 3, 5}, Key{1});
    const auto row = randn<double>({5}, Key{2});
    const auto column = normal(3, 1, 3);
    const auto scalar = full<double>({}, 0.7);
    gradgradcheck([](const auto& a, const auto& r, const auto& c, const auto& s) { return sigmoid(a * r + c * s) * c; }, x, row, column, scalar);
    gradgradcheck([](const auto& a) { return a * sin(a) * exp(a * 0.3); }, x);
    gradgradcheck([](const auto& a, const auto& r) { return sum(square(a) * r * a); }, x, row);
    gradgradcheck([](const auto& a, const auto& r) { return sum<1>(square(a) * tanh(r)); }, x, row);
    gradgradcheck([](const auto& a, const auto& c) { return mean<0, 2>(a * a * c, keepdim); }, x, column);
    gradgradcheck([](const auto& a) { return mean(exp(a)) * sum<0>(a); }, x);
    gradgradcheck([](const auto& r, const auto& c) { return exp(r * c); }, row, column);
    gradgradcheck([](const auto& a, const auto& r) {
        auto [p, q] = eval(tanh(a * r), a * a);
        return p * q + exp(p);
    }, x, row);
    gradgradcheck([](const auto& a) { return mse_loss(tanh(a), sin(a)); }, x);
}

TEST_CASE("second derivatives of let and of branches") {
    const auto x = normal(5, 9, 4), w = normal(1, 9, 5);
    gradgradcheck([](const auto& a, const auto& b) { return let(exp(a * b), [](auto v) { return v * v + sin(v); }); }, x, w);
    gradgradcheck([](const auto& a) { return let(a * 2.0, [=](auto v) { return let(v * a, [=](auto u) { return u * v * tanh(u); }); }); }, x);
    gradgradcheck([](const auto& a) { return let(square(a), [=](auto v) { return where(a > 0.0, sqrt(v + 0.1) * v, v * v); }); }, x);

    // The derivative of the branch not taken is infinite or NaN: it stays out.
    const auto zero = from<double>({0.0, 4.0}).require_grad();
    const Tensor<double, 0> y = sum(where(zero > 1.0, sqrt(zero) * log(zero), zero * zero));
    const auto g = grad(y, zero, {.create_graph = true});
    const auto h = grad(sum(g), zero);
    CHECK(h.data()[0] == 2);
    // (sqrt(x) log(x))'' = -log(x) / (4 x^1.5)
    CHECK(h.data()[1] == Approx(-std::log(4.0) / 32));
}

TEST_CASE("second derivatives of products and of what is fused with them") {
    const auto a = normal(4, 3, 1), b = normal(3, 5, 2), weight = normal(5, 3, 4);
    const auto bias = randn<double>({5}, Key{3});
    gradgradcheck([](const auto& x, const auto& y) { return matmul(x, y); }, a, b);
    gradgradcheck([](const auto& x, const auto& y, const auto& c) { return tanh(matmul(x, y) + c); }, a, b, bias);
    gradgradcheck({.kinks = true}, [](const auto& x, const auto& y, const auto& c) { return square(relu(matmul(x, y) + c)); }, a, b, bias);
    gradgradcheck([](const auto& x, const auto& w, const auto& c) { return sigmoid(linear(x, w, c)); }, a, weight, bias);
    gradgradcheck([](const auto& x, const auto& w) { return exp(linear(x, w) * 0.3) * 2.0; }, a, weight);
    gradgradcheck([](const auto& x, const auto& w) { return silu(linear(x, w)); }, randn<double>({2, 4, 3}, Key{5}), weight);
    gradgradcheck([](const auto& x, const auto& y) { return square(matmul(x, y)); }, randn<double>({2, 4, 3}, Key{5}), randn<double>({2, 3, 2}, Key{6}));
    gradgradcheck([](const auto& x, const auto& y) { return square(matmul(x, y)); }, randn<double>({2, 1, 4, 3}, Key{5}), randn<double>({3, 3, 2}, Key{6}));
    gradgradcheck([](const auto& x, const auto& y) { return square(matmul(x, y)); }, randn<double>({3}, Key{5}), randn<double>({3}, Key{6}));
    gradgradcheck([](const auto& x, const auto& y) { return square(matmul(x, y)); }, randn<double>({3}, Key{5}), randn<double>({2, 3, 4}, Key{6}));
    gradgradcheck([](const auto& x, const auto& y) { return square(matmul(x, y)); }, randn<double>({2, 4, 3}, Key{5}), randn<double>({3}, Key{6}));
    gradgradcheck([](const auto& x) { return matmul(x, transpose(x)); }, a);
    // A product whose left side is a constant, and one whose right side is.
    gradgradcheck([&](const auto& x) { return matmul(a, square(x)); }, b);
    gradgradcheck([&](const auto& x) { return square(matmul(x, b)); }, a);
}

TEST_CASE("second derivatives of softmax, losses, extremes, variance") {
    const auto x = normal(4, 6, 1);
    const auto cube = randn<double>({3, 4, 2}, Key{2});
    const auto labels = from<std::int64_t>({0, 5, -100, 2});
    gradgradcheck([](const auto& a) { return softmax<1>(a * 0.7); }, x);
    gradgradcheck([](const auto& a) { return log_softmax<0>(a); }, x);
    gradgradcheck([](const auto& a) { return softmax<1>(a) * log_softmax<1>(a); }, cube);
    gradgradcheck([](const auto& a, const auto& l) { return cross_entropy(tanh(a) * 2.0, l); }, x, labels);
    gradgradcheck([](const auto& a) { return square(max<1>(a).values) * min<0>(a).values(slice(0, 1)); }, normal(1, 6, 3));
    gradgradcheck([](const auto& a) { return exp(max<1>(a * a).values); }, cube);
    gradgradcheck([](const auto& a) { return square(max(a)) * min(a); }, x);
    gradgradcheck([](const auto& a) { return var<1>(a) * std_dev<1>(a); }, cube);
    gradgradcheck([](const auto& a) { return std_dev<0, 2>(a, {.correction = 0}); }, cube);
    gradgradcheck([](const auto& a) { return var(sin(a)); }, cube);
}

TEST_CASE("second derivatives of indices, joins, views, copies, dropout") {
    const auto x = normal(4, 6, 1), y = normal(4, 6, 2);
    const auto rows = from<std::int64_t>({3, 0, 0, 2, 3});
    const auto picks = from<std::int32_t>({0, 5, 5, 1, 2, 2, 0, 0}).reshape({4, 2});
    gradgradcheck([](const auto& a, const auto& i) { return square(index_select<0>(sin(a), i)); }, x, rows);
    gradgradcheck([](const auto& a, const auto& i) { return square(index_select<1>(a, i)); }, x, rows);
    gradgradcheck([](const auto& a, const auto& i) { return exp(embedding(a, i)); }, x, rows);
    gradgradcheck([](const auto& a, const auto& i) { return square(gather<1>(exp(a), i)); }, x, picks);
    gradgradcheck([](const auto& a, const auto& b) { return square(concat<1>(a, b * a)); }, x, y);
    gradgradcheck([](const auto& a, const auto& b) { return exp(stack<1>(a, b * a)); }, x, y);
    gradgradcheck([](const auto& a) { return square(a(slice(1, 4, 2), slice(0, 3))) * a(0, slice(3, 6)); }, x);
    gradgradcheck([](const auto& a) { return square(transpose(a).reshape({3, 8})); }, x);
    gradgradcheck([](const auto& a) { return a.template unsqueeze<1>().expand({4, 3, 6}) * a.template unsqueeze<0>().expand({4, 4, 6})(all, slice(1, 4)); }, x);
    gradgradcheck([](const auto& a) { return square(contiguous(transpose(a))) * a(2, 3); }, x);
    gradgradcheck([](const auto& a) { return square(dropout(tanh(a), 0.4, Key{3})); }, x);
}

namespace {

// The derivative of the sum of f's gradient.
template <class F>
Tensor<double, 1> second(F f, std::initializer_list<double> values) {
    const auto x = from<double>(values).require_grad();
    const auto g = grad(sum(f(x)), x, {.create_graph = true});
    return g.requires_grad() ? grad(sum(g), x, {.allow_unused = true}) : zeros<double>({x.size()});
}
bool equal(const Tensor<double, 1>& got, std::initializer_list<double> expected) {
    long i = 0;
    for (const double e : expected) {
        const double v = got.data()[i++];
        if (!(v == e || std::abs(v - e) <= 1e-12 * (1 + std::abs(e)))) return false;
    }
    return i == got.size();
}

}  // namespace

TEST_CASE("kinks, ties and ends of the domain are PyTorch's") {
    const double infinity = std::numeric_limits<double>::infinity();
    CHECK(equal(second([](const auto& x) { return relu(x) * x; }, {0, 1, -1}), {0, 2, 0}));
    CHECK(equal(second([](const auto& x) { return abs(x) * x; }, {0, 1, -2}), {0, 2, -2}));
    CHECK(equal(second([](const auto& x) { return leaky_relu(x, 0.1) * x; }, {0, 1, -2}), {0.2, 2, 0.2}));
    CHECK(equal(second([](const auto& x) { return elu(x); }, {0, 1, -1}), {0, 0, 0.36787944117144233}));
    CHECK(equal(second([](const auto& x) { return selu(x); }, {0, 1, -1}), {0, 0, 0.646768603034814}));
    CHECK(equal(second([](const auto& x) { return hardswish(x); }, {-3, 0, 3, -4, 4}), {0, 1.0 / 3, 0, 0, 0}));
    CHECK(equal(second([](const auto& x) { return clamp(x, -1.0, 1.0) * x; }, {-1, 1, 0.5, 2}), {2, 2, 2, 0}));
    CHECK(equal(second([](const auto& x) { return pow(x, 2.0); }, {0, -1.5}), {2, 2}));
    CHECK(equal(second([](const auto& x) { return pow(x, 3.0); }, {0, -1.5}), {0, -9}));
    CHECK(equal(second([](const auto& x) { return pow(x, 1.0); }, {0, -1.5}), {0, 0}));
    CHECK(equal(second([](const auto& x) { return pow(x, 1.5); }, {0, 4}), {infinity, 0.375}));
    CHECK(equal(second([](const auto& x) { return sqrt(x); }, {0, 4}), {-infinity, -0.03125}));
    CHECK(equal(second([](const auto& x) { return silu(x); }, {-2, 0, 3}), {0.050062168694706914, 0.5, -0.03232140452100613}));
    CHECK(equal(second([](const auto& x) { return mish(x); }, {-2, 0, 3}), {0.035027081852659236, 0.64, -0.030266496639326814}));
    CHECK(equal(second([](const auto& x) { return gelu(x); }, {-2, 0, 3}), {-0.10798193302637613, 0.7978845608028654, -0.031022938883566054}));
    CHECK(equal(second([](const auto& x) { return gelu_tanh(x); }, {-2, 0, 3}), {-0.10787507995107845, 0.7978845608028654, -0.03176765888607492}));
    CHECK(equal(second([](const auto& x) { return std_dev(x); }, {2, 2, 2}), {0, 0, 0}));

    const auto a = from<double>({1, 2, 3}).require_grad(), b = from<double>({1, 3, 2}).require_grad();
    const auto [ga, gb] = grad(sum(minimum(a, b) * maximum(a, b)), a, b, {.create_graph = true});
    const auto [ha, hb] = grad(sum(ga * ga * gb), a, b);
    CHECK(equal(ha, {1.5, 9, 4}));
    CHECK(equal(hb, {1.5, 12, 12}));
    const auto x = from<double>({1, 3, 3, 2, 2, 1}).require_grad();
    const auto g = grad(sum(square(max<1>(x.reshape({2, 3})).values)), x, {.create_graph = true});
    CHECK(equal(grad(sum(g * arange<double>(6)), x), {0, 2, 0, 6, 0, 0}));
}

TEST_CASE("second derivatives of expressions with other element types in them") {
    const auto x = from<float>({0.5f, -1, 2, 3}).require_grad();
    const auto i = from<std::int32_t>({0, 1, 2, 300});
    const auto bytes = from<std::uint8_t>({250, 2, 3, 4});
    const auto mask = eval(i > 0);
    const auto y = sum(where(i + 1 < 3 && !(mask && x > 1.f), x * x * x, sin(x) * x) * cast<float>(i * i - i + 1) * cast<float>(bytes + bytes));
    const auto g = grad(y, x, {.create_graph = true});
    const auto h = grad(sum(g), x);
    const float weights[] = {244, 4, 3 * 6, 89701 * 8};  // 250 + 250 wraps to 244
    for (int k = 0; k < 2; ++k) CHECK(h.data()[k] == Approx(6 * x.data()[k] * weights[k]));
    for (int k = 2; k < 4; ++k) {
        const double v = static_cast<double>(x.data()[k]);
        CHECK(h.data()[k] == Approx((2 * std::cos(v) - v * std::sin(v)) * static_cast<double>(weights[k])).epsilon(1e-5));
    }
    const auto z = from<half>({half(0.5f), half(-2.f)}).require_grad();
    const auto gz = grad(sum(z * z * z), z, {.create_graph = true});
    CHECK(static_cast<float>(grad(sum(gz), z).data()[1]) == -12.f);
    const auto w = from<bf16>({bf16(0.5f), bf16(-2.f)}).require_grad();
    const auto d = from<double>({3, 4}).require_grad();
    const auto [gw, gd] = grad(sum(cast<double>(w) * cast<double>(w) * d * d), w, d, {.create_graph = true});
    const auto [hw, hd] = grad(sum(cast<double>(gw)) + sum(gd), w, d);
    CHECK(static_cast<float>(hw.data()[1]) == 2 * 16.f + 4 * -2 * 4.f);
    CHECK(hd.data()[1] == 4.0 * -2 * 4 + 2.0 * 4);
}

TEST_CASE("second derivatives do not depend on the number of threads, nor on strides") {
    const auto run = [](bool strided) {
        const auto base = randn<float>({257, 301}, Key{1});
        const auto x = (strided ? contiguous(transpose(clone(transpose(base)))) : clone(base)).require_grad();
        const auto row = randn<float>({301}, Key{2}).require_grad(), column = randn<float>({257}, Key{3}).require_grad();
        const auto y = sum(tanh(x * row) * column.unsqueeze<1>() + x * x);
        const auto [gx, gr] = grad(y, x, row, {.create_graph = true});
        return grad(sum(square(gx)) + sum(gr * gr), x, row, column);
    };
    set_num_threads(1);
    const auto one = run(false);
    set_num_threads(2);
    const auto two = run(false), other = run(true);
    const auto same = [](const auto& a, const auto& b) { return std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * 4) == 0; };
    CHECK(same(one.first, two.first));
    CHECK(same(one.second, two.second));
    CHECK(same(one.third, two.third));
    CHECK(same(one.third, other.third));
}
