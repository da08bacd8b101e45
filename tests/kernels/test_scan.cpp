// Running sums, products and extremes along an axis against the plain loops: every type, odd shapes, long rows in parts,
// one and two threads, special values.
#include "numbers.hpp"

#include <tenon/kernels/cpu/scan.hpp>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

using namespace tenon;
namespace k = tenon::kernels::cpu;
using numbers::epsilon, numbers::on_threads, numbers::random, numbers::value;

namespace {

struct Shape {
    long outer, n, inner;
};
const Shape shapes[] = {{1, 1, 1},  {1, 7, 1},    {3, 8, 1},     {2, 9, 1},      {5, 17, 1},   {2, 1000, 1},  {1, 32768, 1}, {1, 32769, 1}, {1, 100003, 1}, {300, 5, 1},
                        {1, 3, 2},  {2, 5, 7},    {2, 5, 8},     {3, 4, 9},      {1, 33, 65},  {2, 3, 513},   {1, 5, 1500},  {1, 1025, 3},  {1, 4000, 40},  {7, 300, 11},
                        {0, 3, 2},  {2, 0, 3},    {2, 3, 0},     {1, 70000, 2}};

// The first position where they differ by more than a relative and an absolute bound, or -1.
template <class A, class B>
long differs(const std::vector<A>& a, const std::vector<B>& b, double relative, double absolute) {
    for (std::size_t i = 0; i < a.size(); ++i) {
        const double u = value(a[i]), v = value(b[i]);
        if (std::isnan(u) && std::isnan(v)) continue;
        if (!(std::abs(u - v) <= absolute + relative * std::abs(v)) && u != v) return static_cast<long>(i);
    }
    return -1;
}
#define SHAPE_INFO(s) INFO("[" << s.outer << ", " << s.n << ", " << s.inner << "]")

}  // namespace

TEMPLATE_TEST_CASE("running sum", "[scan]", float, double, bf16, half, std::int8_t, std::uint8_t, std::int32_t, std::int64_t) {
    using T = TestType;
    using Out = std::conditional_t<std::is_integral_v<T>, std::int64_t, T>;
    for (const Shape& s : shapes)
        for (bool reverse : {false, true}) {
            SHAPE_INFO(s);
            const long count = s.outer * s.n * s.inner;
            const auto x = random<T>(count, 1, std::is_unsigned_v<T> ? 0 : -3, 3);
            std::vector<Out> expected(static_cast<std::size_t>(count));
            k::reference::cumsum(s.outer, s.n, s.inner, x.data(), expected.data(), reverse);
            const auto y = on_threads<Out>(count, [&](Out* out) { k::cumsum(s.outer, s.n, s.inner, x.data(), out, reverse); });
            // Double sums in another order, then the output's own rounding.
            CHECK(differs(y, expected, epsilon<Out>(), std::is_integral_v<T> ? 0 : double(s.n) * 3 * 0x1p-50) == -1);
            const auto added = on_threads<Out>(count, [&](Out* out) { k::cumsum(s.outer, s.n, s.inner, x.data(), out, reverse, true); });
            for (Out& e : expected) e = static_cast<Out>(static_cast<k::accumulator<Out>>(value(e) + 1));
            CHECK(differs(added, expected, 2 * epsilon<Out>(), 2 * epsilon<Out>() + double(s.n) * 3 * 0x1p-50) == -1);
        }
}

TEMPLATE_TEST_CASE("running product", "[scan]", float, double, bf16, half, std::int8_t, std::int32_t, std::int64_t) {
    using T = TestType;
    using Out = std::conditional_t<std::is_integral_v<T>, std::int64_t, T>;
    for (const Shape& s : shapes) {
        SHAPE_INFO(s);
        const long count = s.outer * s.n * s.inner;
        const auto x = random<T>(count, 2, std::is_integral_v<T> ? -3 : -1.6, std::is_integral_v<T> ? 4 : 1.6);
        std::vector<Out> expected(static_cast<std::size_t>(count));
        k::reference::cumprod(s.outer, s.n, s.inner, x.data(), expected.data());
        const auto y = on_threads<Out>(count, [&](Out* out) { k::cumprod(s.outer, s.n, s.inner, x.data(), out); });
        const double smallest = std::is_same_v<T, half> ? 0x1p-24 : std::is_same_v<T, double> ? 0x1p-1074 : std::is_same_v<T, float> ? 0x1p-149 : 0x1p-133;
        CHECK(differs(y, expected, epsilon<Out>() + (std::is_integral_v<T> ? 0 : double(s.n) * 0x1p-51), std::is_integral_v<T> ? 0 : 4 * smallest) == -1);
    }
}

TEST_CASE("running sums and products of special values", "[scan]") {
    const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
    const std::vector<float> x = {3e38f, 3e38f, -3e38f, -3e38f, 1e38f, inf, 2.f, -1.f, -inf, 1.f, 0.f, 5.f};
    std::vector<float> y(x.size());
    k::cumsum(1, 12, 1, x.data(), y.data());
    const std::vector<float> sums = {3e38f, inf, 3e38f, 0.f, 1e38f, inf, inf, inf, nan, nan, nan, nan};
    CHECK(differs(y, sums, 0, 0) == -1);
    // Products that leave float's range on the way, and one that leaves double's in between.
    const std::vector<float> z = {1e38f, 1e38f, 1e-38f, 1e-38f, 0.f, 3.f, inf, 1.f, 2.f};
    y.resize(z.size());
    k::cumprod(1, 9, 1, z.data(), y.data());
    CHECK(differs(y, std::vector<float>{1e38f, inf, 1e38f, 1.f, 0.f, 0.f, nan, nan, nan}, 1e-6, 0) == -1);
    const std::vector<double> far = {1e-300, 1e200, 1e200, 1e-100, 1e-200, 1e200, 1e200, 1e100, 1e-300, 1e150};
    std::vector<double> products(far.size());
    k::cumprod(1, 10, 1, far.data(), products.data());
    CHECK(differs(products, std::vector<double>{1e-300, 1e-100, 1e100, 1., 1e-200, 1., 1e200, 1e300, 1., 1e150}, 1e-12, 0) == -1);
    std::vector<float> w(100000, 2.f), out(100000);
    for (std::size_t i = 0; i < 50000; ++i) w[i] = 0.5f;
    k::cumprod(1, 100000, 1, w.data(), out.data());
    CHECK(out[10] == std::ldexp(1.f, -11));
    CHECK(out[99999] == 0);  // it was 0 in the middle, even in double
}

TEMPLATE_TEST_CASE("running extremes", "[scan]", float, double, bf16, half, std::uint8_t, std::int32_t, std::int64_t) {
    using T = TestType;
    for (const Shape& s : shapes)
        for (bool largest : {false, true}) {
            SHAPE_INFO(s);
            const long count = s.outer * s.n * s.inner;
            auto x = random<T>(count, 3, 0, 60);  // with many ties
            if constexpr (!std::is_integral_v<T>)
                for (std::size_t i = 0; i < x.size(); ++i)
                    if (i % 97 == 31) x[i] = T(static_cast<k::accumulator<T>>(std::nan("")));
            std::vector<T> expected(static_cast<std::size_t>(count));
            std::vector<std::int64_t> where(expected.size());
            k::reference::cumulative_extreme(largest, s.outer, s.n, s.inner, x.data(), expected.data(), where.data());
            std::vector<T> values(expected.size());
            const auto indices = on_threads<std::int64_t>(count, [&](std::int64_t* out) {
                if (largest) k::cummax(s.outer, s.n, s.inner, x.data(), values.data(), out);
                else k::cummin(s.outer, s.n, s.inner, x.data(), values.data(), out);
            });
            CHECK(indices == where);
            CHECK(differs(values, expected, 0, 0) == -1);
        }
}

TEMPLATE_TEST_CASE("backward of the running product", "[scan]", float, double, bf16) {
    using T = TestType;
    for (const Shape& s : {Shape{1, 1, 1}, Shape{2, 9, 1}, Shape{2, 7, 3}, Shape{1, 12, 70}, Shape{40, 6, 2}})
        for (int zeros : {0, 1, 2, 4}) {
            SHAPE_INFO(s);
            const long count = s.outer * s.n * s.inner;
            auto x = random<T>(count, 4, 0.5, 1.5);
            const auto dy = random<T>(count, 5, -1, 1);
            for (long o = 0; o < s.outer; ++o)
                for (long j = 0; j < s.inner; j += zeros == 4 ? 2 : 1)
                    for (int z = 0; z < zeros; ++z) x[std::size_t(o * s.n * s.inner + (3 + 7 * z + j) % s.n * s.inner + j)] = T(0.f);
            std::vector<T> y(x.size());
            std::vector<double> expected(x.size());
            k::cumprod(s.outer, s.n, s.inner, x.data(), y.data());
            k::reference::cumprod_backward(s.outer, s.n, s.inner, x.data(), dy.data(), expected.data());
            const auto dx = on_threads<T>(count, [&](T* out) { k::cumprod_backward(s.outer, s.n, s.inner, x.data(), y.data(), dy.data(), out, false); });
            // y is rounded to T, up to n terms of size 1.5^n / 0.5 add up.
            const double absolute = epsilon<T>() * 40 * std::pow(1.5, double(s.n));
            CHECK(differs(dx, expected, epsilon<T>(), absolute) == -1);
            const auto added = on_threads<T>(count, [&](T* out) { k::cumprod_backward(s.outer, s.n, s.inner, x.data(), y.data(), dy.data(), out, true); });
            for (double& e : expected) e += 1;
            CHECK(differs(added, expected, 2 * epsilon<T>(), absolute) == -1);
        }
}
