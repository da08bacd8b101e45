#include "device_agreement.hpp"

#include <tenon/ops/scan.hpp>

using namespace tenon;
using namespace device_agreement;

namespace {

// Lines of threads, warps, blocks; and cut into chunks.
constexpr Sizes lines[] = {{1, 1, 1}, {3, 31, 1}, {70, 64, 1}, {9, 65, 1}, {2, 1000, 1}, {2, 1500, 1}, {1, 9000, 1}, {3, 7, 5},
                           {1, 300, 3}, {2, 65, 40}, {1, 0, 3}, {0, 4, 1}, {2, 3, 0}};

template <class T>
void check_extremes(const Tensor<T, 3>& x) {
    const auto there = x.to(gpu);
    const auto largest = cummax<1>(x), smallest = cummin<1>(x);
    const auto found_largest = cummax<1>(there), found_smallest = cummin<1>(there);
    CHECK(same(found_largest.values, largest.values));
    CHECK(same(found_largest.indices, largest.indices));
    CHECK(same(found_smallest.values, smallest.values));
    CHECK(same(found_smallest.indices, smallest.indices));
}

}  // namespace

TEMPLATE_TEST_CASE("running sums on the device", "[cuda]", float, double, bf16) {
    using T = TestType;
    const auto f = [](const auto& x) { return cumsum<1>(x); };
    for (const Sizes& s : lines) {
        INFO(s.outer << ", " << s.n << ", " << s.inner);
        const auto x = fiftieths<T>({s.outer, s.n, s.inner});
        CHECK(value_difference(x, f) <= rounding<T>);
        CHECK(gradient_difference(x, f) <= rounding<T>);
    }
    CHECK(gradient_difference(fiftieths<T>({20, 9}), [](const auto& x) { return cumsum<0>(x.template permute<1, 0>()); }) <= rounding<T>);
    Tensor<T, 2> x = fiftieths<T>({2, 200});
    x.data()[50] = static_cast<T>(HUGE_VALF);
    x.data()[170] = static_cast<T>(-HUGE_VALF);
    x.data()[390] = static_cast<T>(NAN);
    CHECK(value_difference(x, f) <= rounding<T>);
}

TEST_CASE("running sums and products of integers on the device", "[cuda]") {
    for (const Sizes& s : lines) {
        INFO(s.outer << ", " << s.n << ", " << s.inner);
        auto x = fiftieths<std::int64_t>({s.outer, s.n, s.inner});
        CHECK(same(cumsum<1>(x.to(gpu)), cumsum<1>(x)));
        for (long i = 0; i < x.size(); ++i) x.data()[i] |= 1;
        CHECK(same(cumprod<1>(x.to(gpu)), cumprod<1>(x)));
        const auto bytes = fiftieths<std::uint8_t>({s.outer, s.n, s.inner});
        CHECK(same(cumsum<1>(bytes.to(gpu)), cumsum<1>(bytes)));
        const Tensor<bool, 3> mask = bytes > 100;
        CHECK(same(cumsum<1>(mask.to(gpu)), cumsum<1>(mask)));
    }
}

TEMPLATE_TEST_CASE("running products on the device", "[cuda]", float, double, bf16) {
    using T = TestType;
    const auto f = [](const auto& x) { return cumprod<1>(x); };
    for (const Sizes& s : lines) {
        INFO(s.outer << ", " << s.n << ", " << s.inner);
        Tensor<T, 3> x = fiftieths<T>({s.outer, s.n, s.inner});
        for (long i = 0; i < x.size(); ++i) x.data()[i] = static_cast<T>(static_cast<float>(x.data()[i]) < 0 ? -1.f : i % 9 == 0 ? 1.5f : i % 9 == 4 ? 0.625f : 1.f);
        // The same order on both devices: the same bits.
        CHECK((std::is_same_v<T, double> ? value_difference(x, f) == 0 : value_difference(x, f) <= rounding<T>));
        CHECK(gradient_difference(x, f) <= 4 * rounding<T>);
        if (x.size() == 0 || s.n < 3) continue;
        x.data()[s.inner] = static_cast<T>(0.f);
        x.data()[x.size() - 1] = static_cast<T>(0.f);
        x.data()[x.size() - 1 - s.inner] = static_cast<T>(0.f);
        CHECK(value_difference(x, f) <= rounding<T>);
        CHECK(gradient_difference(x, f) <= 4 * rounding<T>);
    }
    // Out of range, and back from a zero.
    Tensor<T, 2> x = full<T>({1, 2000}, static_cast<T>(100.f));
    x.data()[30] = static_cast<T>(0.f);
    CHECK(value_difference(x, f) == 0);
    x.data()[30] = static_cast<T>(1.f);
    x.data()[1000] = static_cast<T>(0.f);
    CHECK(value_difference(x, f) == 0);
}

TEMPLATE_TEST_CASE("running extremes on the device", "[cuda]", float, bf16, std::int64_t, std::uint8_t) {
    for (const Sizes& s : lines) {
        INFO(s.outer << ", " << s.n << ", " << s.inner);
        Tensor<TestType, 3> x = fiftieths<TestType>({s.outer, s.n, s.inner});
        check_extremes(x);
        if constexpr (Floating<TestType>) {
            if (s.n < 20) continue;
            x.data()[15 * s.inner] = static_cast<TestType>(HUGE_VALF);
            x.data()[16 * s.inner] = static_cast<TestType>(HUGE_VALF);
            check_extremes(x);
            x.data()[(s.n - 9) * s.inner] = static_cast<TestType>(NAN);
            x.data()[(s.n - 3) * s.inner] = static_cast<TestType>(NAN);
            check_extremes(x);
        }
    }
}

TEMPLATE_TEST_CASE("gradients of running extremes on the device", "[cuda]", float, bf16) {
    using T = TestType;
    CHECK(gradient_difference(fiftieths<T>({3, 70}), [](const auto& x) { return cummax<1>(x).values; }) <= 4 * rounding<T>);
    CHECK(gradient_difference(fiftieths<T>({4, 9, 5}), [](const auto& x) { return cummin<1>(x).values; }) <= 4 * rounding<T>);
    CHECK(gradient_difference(full<T>({5, 3}, T(1.f)), [](const auto& x) { return cummax<0>(x).values; }) <= 4 * rounding<T>);
}
