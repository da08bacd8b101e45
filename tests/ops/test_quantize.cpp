// Quantisation and products of the integers, against the same in double.
#include <tenon/ops/quantize.hpp>
#include <tenon/tenon.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <limits>

using namespace tenon;

TEMPLATE_TEST_CASE("quantisation rounds to even, clamps, and sends NaN to the zero point", "", std::int8_t, std::uint8_t) {
    const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
    const auto x = from<float>({0.0f, 0.25f, 0.75f, -0.25f, -0.76f, 1000.0f, -1000.0f, inf, -inf, nan});
    const Tensor<TestType, 1> q = quantize_per_tensor<TestType>(x, {.scale = 0.5f, .zero_point = 3});
    const int low = std::numeric_limits<TestType>::min(), high = std::numeric_limits<TestType>::max();
    const int expected[] = {3, 3, 5, 3, 1, high, low, high, low, 3};
    for (long i = 0; i < 10; ++i) CHECK(int(q.data()[i]) == expected[i]);
    const Tensor<float, 1> back = dequantize_per_tensor(q, {.scale = 0.5f, .zero_point = 3});
    for (long i = 0; i < 10; ++i) CHECK(back.data()[i] == float(expected[i] - 3) * 0.5f);
}

TEST_CASE("quantisation by channel, of strided inputs and of expressions") {
    const auto x = randn<float>({6, 4, 5}, Key{1});
    const auto scales = uniform<float>({4}, Key{2}, {0.01, 0.1});
    const auto zero_points = from<std::int32_t>({-3, 0, 7, 100});
    const Quantization by{.scales = scales, .zero_points = zero_points};
    const Tensor<std::int8_t, 3> q = quantize_per_channel<1>(x, by);
    const Tensor<std::int8_t, 3> turned = quantize_per_channel<0>(x.permute<1, 0, 2>() + 0.f, by);
    const Tensor<float, 3> back = dequantize_per_channel<-2>(q, by);
    for (long i = 0; i < 6; ++i)
        for (long c = 0; c < 4; ++c)
            for (long j = 0; j < 5; ++j) {
                const long at = (i * 4 + c) * 5 + j;
                double value = std::nearbyint(double(x.data()[at] / scales.data()[c])) + zero_points.data()[c];
                value = std::fmin(std::fmax(value, -128), 127);
                REQUIRE(double(q.data()[at]) == value);
                REQUIRE(turned.data()[(c * 6 + i) * 5 + j] == q.data()[at]);
                REQUIRE(back.data()[at] == float(value - zero_points.data()[c]) * scales.data()[c]);
            }
    // Without zero points they are 0; differences are exact in 32 bits.
    const Tensor<float, 1> wide = dequantize_per_tensor(from<std::int32_t>({1 << 30, -5}), {.scale = 2.f, .zero_point = 1});
    CHECK(wide.data()[1] == -12.f);
    CHECK(quantize_per_channel<0>(zeros<float>({4}), {.scales = scales}).data()[2] == 0);
    CHECK(quantize_per_tensor(zeros<float>({0, 3}), {.scale = 1.f}).size() == 0);
    const Tensor<float, 1> leaf = eval(scales + 0.f).require_grad();
    CHECK_FALSE(quantize_per_tensor(leaf, {.scale = 1.f}).requires_grad());
}

namespace {
template <class Q>
Tensor<Q, 2> bytes(long m, long n, Key key) {
    const double low = std::is_same_v<Q, std::int8_t> ? -128 : 0;
    return cast<Q>(floor(uniform<float>({m, n}, key, {low, low + 256})));
}
}  // namespace

TEMPLATE_TEST_CASE("products of bytes", "", std::int8_t, std::uint8_t) {
    const auto a = bytes<TestType>(7, 40, Key{3});
    const auto b = bytes<std::int8_t>(40, 9, Key{4}), w = bytes<std::int8_t>(9, 40, Key{5});
    const Tensor<double, 2> da = cast<double>(a), db = cast<double>(b), dw = cast<double>(w);
    auto same = [](const auto& got, const auto& expected) {
        REQUIRE(got.shape() == expected.shape());
        for (long i = 0; i < got.size(); ++i) REQUIRE(double(got.data()[i]) == expected.data()[i]);
    };
    same(matmul_int8(a, b), Tensor<double, 2>(matmul(da, db)));
    same(linear_int8(a, w), Tensor<double, 2>(matmul(da, transpose(dw))));
    same(matmul_int8(a, transpose(w)), Tensor<double, 2>(matmul(da, transpose(dw))));
    same(matmul_int8(a(2), b), Tensor<double, 1>(matmul(da(2), db)));
    same(matmul_int8(a.reshape({7, 2, 20}), b.reshape({2, 20, 9})(0)), Tensor<double, 3>(matmul(da.reshape({7, 2, 20}), db.reshape({2, 20, 9})(0))));
    same(matmul_int8(a.reshape({7, 1, 2, 20}), b.reshape({2, 20, 9})), Tensor<double, 4>(matmul(da.reshape({7, 1, 2, 20}), db.reshape({2, 20, 9}))));

    const auto rows = uniform<float>({7}, Key{6}, {0.001, 0.1}), columns = uniform<float>({9}, Key{7}, {0.001, 0.1}), bias = randn<float>({9}, Key{8});
    const auto row_zeros = from<std::int32_t>({1, -2, 3, -128, 127, 0, 7});
    const auto column_zeros = from<std::int32_t>({0, 5, -6, 127, -128, 1, 2, 3, 4});
    const Quantization qa{.scales = rows, .zero_points = row_zeros}, qb{.scales = columns, .zero_points = column_zeros};
    const Tensor<float, 2> y = matmul_int8(a, qa, b, qb, {.bias = bias, .relu = true});
    const Tensor<float, 2> z = linear_int8(a, {.scale = 0.25f, .zero_point = 9}, w, {.scales = columns});
    for (long i = 0; i < 7; ++i)
        for (long j = 0; j < 9; ++j) {
            long sum = 0, linear_sum = 0;
            for (long l = 0; l < 40; ++l) {
                sum += (long(a.data()[i * 40 + l]) - row_zeros.data()[i]) * (long(b.data()[l * 9 + j]) - column_zeros.data()[j]);
                linear_sum += (long(a.data()[i * 40 + l]) - 9) * long(w.data()[j * 40 + l]);
            }
            const float scale = rows.data()[i] * columns.data()[j], scaled = float(sum) * scale, expected = scaled + bias.data()[j];
            REQUIRE(y.data()[i * 9 + j] == Approx(expected > 0 ? expected : 0.f).epsilon(1e-6).margin(1e-6));
            REQUIRE(z.data()[i * 9 + j] == float(linear_sum) * (0.25f * columns.data()[j]));
        }
    // By row, rows counted through the leading axes.
    const Tensor<float, 3> deep = matmul_int8(eval(a + TestType(0)).reshape({7, 1, 40}), qa, b, qb, {.bias = bias, .relu = true});
    for (long i = 0; i < 63; ++i) REQUIRE(deep.data()[i] == y.data()[i]);
    const Tensor<std::int32_t, 2> nothing = matmul_int8(zeros<TestType>({3, 0}), zeros<std::int8_t>({0, 2}));
    for (long i = 0; i < 6; ++i) CHECK(nothing.data()[i] == 0);
}

TEST_CASE("a quantised layer is close to the layer") {
    const auto x = randn<float>({32, 256}, Key{10}), w = randn<float>({64, 256}, Key{11});
    const Quantization qx{.scale = 4.f / 127}, qw{.scales = eval(max<1>(abs(w)).values / 127.f)};
    const Tensor<float, 2> y = linear_int8(quantize_per_tensor(x, qx), qx, quantize_per_channel<0>(w, qw), qw), exact = linear(x, w);
    // Independent roundings of both: a variance of scale^2 / 12 each.
    double worst = 0;
    for (long i = 0; i < y.size(); ++i) worst = std::fmax(worst, std::fabs(double(y.data()[i] - exact.data()[i])));
    CHECK(worst < 5 * std::sqrt(256 * 2 / 12.0) * (4.0 / 127));
    CHECK(worst > 0);
}

TEST_CASE("errors of quantisation and of products of bytes") {
    using Catch::Contains;
    const auto x = zeros<float>({2, 3});
    const auto q = zeros<std::int8_t>({2, 3});
    CHECK_THROWS_WITH(quantize_per_tensor(x, {.scale = 0.f}), Contains("quantize_per_tensor: scale 0 of channel 0 is not a positive number"));
    CHECK_THROWS_WITH(quantize_per_tensor(x, {.scales = from<float>({1.f})}), Contains("quantize_per_channel<Axis>(x, q) takes them"));
    CHECK_THROWS_WITH(quantize_per_channel<1>(x, {.scales = from<float>({1.f, 2.f})}), Contains("scales are float[2] on cpu, expected one for each of the 3 channels"));
    CHECK_THROWS_WITH(quantize_per_channel<1>(x, {.scales = from<float>({1.f, -2.f, 1.f})}), Contains("scale -2 of channel 1"));
    CHECK_THROWS_WITH(dequantize_per_channel<0>(q, {.zero_points = from<std::int32_t>({1})}), Contains("expected one for each of the 2 channels"));
    CHECK_THROWS_WITH(matmul_int8(q, q), Contains("matmul_int8: inner sizes differ: left is int8[2, 3] on cpu"));
    CHECK_THROWS_WITH(linear_int8(q, zeros<std::int8_t>({2, 4})), Contains("linear_int8: inner sizes differ"));
    CHECK_THROWS_WITH(matmul_int8(zeros<std::int8_t>({2, 1, 3}), zeros<std::int8_t>({3, 3, 1})), Contains("int8[2, 1, 3]") && Contains("matmul_int8: batch axes cannot be broadcast"));
    CHECK_THROWS_WITH(linear_int8(q, {}, q, {.scales = from<float>({1.f})}), Contains("linear_int8: scales are float[1] on cpu, expected one for each of the 2 columns"));
    CHECK_THROWS_WITH(linear_int8(q, {}, q, {}, {.bias = from<float>({1.f})}), Contains("bias is float[1] on cpu, expected one value for each of the 2 columns"));
    CHECK_THROWS_WITH(matmul_int8(q, {.scales = from<float>({1.f, 1.f})}, zeros<std::int8_t>({4, 3, 5}), {}), Contains("quantise the left operand by tensor"));
}
