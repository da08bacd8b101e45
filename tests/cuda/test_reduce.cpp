#include "device_agreement.hpp"

#include <tenon/ops/norm.hpp>

#include <limits>

using namespace tenon;
using namespace device_agreement;

namespace {

template <class T>
void check_extremes(const Tensor<T, 3>& x) {
    const auto there = x.to(gpu);
    const auto largest = max<1>(x), smallest = min<1>(x);
    const auto found_largest = max<1>(there), found_smallest = min<1>(there);
    CHECK(same(found_largest.values, largest.values));
    CHECK(same(found_largest.indices, largest.indices));
    CHECK(same(found_smallest.values, smallest.values));
    CHECK(same(found_smallest.indices, smallest.indices));
    CHECK(same(argmax<1>(there), argmax<1>(x)));
    CHECK(same(amin<1>(there), amin<1>(x)));
    if (x.size() > 0) CHECK(same(argmin(there), argmin(x)));
}

}  // namespace

TEMPLATE_TEST_CASE("extremes on the device", "[cuda]", float, bf16, std::int64_t, std::uint8_t) {
    for (const Sizes& s : all_sizes) {
        INFO(s.outer << ", " << s.n << ", " << s.inner);
        check_extremes(fiftieths<TestType>({s.outer, s.n, s.inner}));
    }
}

TEST_CASE("NaN, infinities and the ends of a type in extremes on the device", "[cuda]") {
    for (const Sizes& s : {Sizes{2, 33, 1}, Sizes{2, 2000, 1}, Sizes{1, 60, 40}, Sizes{1, 600, 2}}) {
        Tensor<float, 3> x = fiftieths<float>({s.outer, s.n, s.inner});
        for (long k = 0; k < s.n; k += 7) x.data()[k * s.inner] = k % 2 == 0 ? HUGE_VALF : -HUGE_VALF;
        check_extremes(x);
        x.data()[(s.n - 2) * s.inner] = NAN;
        x.data()[(s.n - 4) * s.inner] = -NAN;
        check_extremes(x);
        CHECK(value_difference(x, [](const auto& v) { return norm<1>(v, HUGE_VAL); }) == 0);
        CHECK(value_difference(x, [](const auto& v) { return norm<1>(v, -HUGE_VAL); }) == 0);
        check_extremes(full<float>({s.outer, s.n, s.inner}, -HUGE_VALF));
        check_extremes(full<std::int64_t>({s.outer, s.n, s.inner}, std::numeric_limits<std::int64_t>::min()));
        check_extremes(full<std::int8_t>({s.outer, s.n, s.inner}, std::int8_t(127)));
    }
    CHECK_THROWS_AS(max<1>(zeros<float>({2, 0}, gpu)), ShapeError);
    CHECK_THROWS_AS(amax(zeros<float>({0}, gpu)), ShapeError);
}

TEMPLATE_TEST_CASE("gradients of extremes on the device", "[cuda]", float, bf16) {
    using T = TestType;
    CHECK(gradient_difference(fiftieths<T>({3, 41}), [](const auto& x) { return max<1>(x).values; }) == 0);
    CHECK(gradient_difference(fiftieths<T>({4, 9, 5}), [](const auto& x) { return min<1>(x, keepdim).values; }) == 0);
    CHECK(gradient_difference(fiftieths<T>({700}), [](const auto& x) { return max(x); }) == 0);
    CHECK(gradient_difference(fiftieths<T>({4, 9, 5}), [](const auto& x) { return amax<0, 2>(x); }) <= rounding<T>);
    CHECK(gradient_difference(fiftieths<T>({4, 9, 5}), [](const auto& x) { return norm<1>(x, HUGE_VAL); }) <= rounding<T>);
}

TEMPLATE_TEST_CASE("variances on the device", "[cuda]", float, double, bf16) {
    using T = TestType;
    for (const Sizes& s : all_sizes) {
        INFO(s.outer << ", " << s.n << ", " << s.inner);
        const auto x = fiftieths<T>({s.outer, s.n, s.inner});
        CHECK(value_difference(x, [](const auto& v) { return var<1>(v, {.correction = 0}); }) <= rounding<T>);
        if (s.n == 1) continue;  // not a number
        CHECK(value_difference(x, [](const auto& v) { return std_dev<1>(v); }) <= rounding<T>);
        CHECK(gradient_difference(x, [](const auto& v) { return var<1>(v); }) <= rounding<T>);
    }
    CHECK(gradient_difference(fiftieths<T>({6, 20}), [](const auto& v) { return std_dev<0>(v.template permute<1, 0>()); }) <= 2 * rounding<T>);
    CHECK(gradient_difference(fiftieths<T>({3, 4, 5}), [](const auto& v) { return var<0, 2>(v); }) <= rounding<T>);
    CHECK(gradient_difference(full<T>({3, 4}, T(2.f)), [](const auto& v) { return std_dev<1>(v); }) == 0);
    CHECK(value_difference(zeros<T>({2, 0}), [](const auto& v) { return var<1>(v); }) == 0);
    CHECK(value_difference(zeros<T>({2, 1}), [](const auto& v) { return var<1>(v); }) == 0);
}

TEST_CASE("a variance far from zero, and one of an outlier, on the device", "[cuda]") {
    Tensor<double, 2> x = fiftieths<double>({3, 2100});
    x += 1e6;
    // Deviations of 1 from 1e6 are known to 1e-10.
    CHECK(value_difference(x, [](const auto& v) { return var<1>(v); }) < 1e-9);
    Tensor<float, 2> outlier = fiftieths<float>({2, 2100});
    outlier.data()[0] = 1e8f;
    CHECK(value_difference(outlier, [](const auto& v) { return var<1>(v); }) < 4e-6);
    outlier.data()[1] = HUGE_VALF;
    CHECK(value_difference(outlier, [](const auto& v) { return var<1>(v); }) < 4e-6);
}
