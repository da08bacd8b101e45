#include "device_agreement.hpp"

#include <tenon/ops/norm.hpp>

using namespace tenon;
using namespace device_agreement;

TEMPLATE_TEST_CASE("logsumexp on the device", "[cuda]", float, double, bf16) {
    using T = TestType;
    const auto f = [](const auto& x) { return logsumexp<1>(x); };
    for (const Sizes& s : all_sizes) {
        INFO(s.outer << ", " << s.n << ", " << s.inner);
        const auto x = fiftieths<T>({s.outer, s.n, s.inner});
        CHECK(value_difference(x, f) <= rounding<T>);
        CHECK(gradient_difference(x, f) <= rounding<T>);
    }
    Tensor<T, 2> x = fiftieths<T>({7, 40});
    const T inf = static_cast<T>(HUGE_VALF);
    for (long k = 0; k < 40; ++k) x.data()[40 + k] = -inf;
    x.data()[2 * 40 + 5] = inf;
    x.data()[3 * 40] = -inf;
    x.data()[4 * 40 + 33] = static_cast<T>(NAN);
    x.data()[5 * 40] = static_cast<T>(NAN);
    x.data()[5 * 40 + 7] = inf;
    x.data()[6 * 40 + 1] = static_cast<T>(1000.f);
    CHECK(value_difference(x, f) <= rounding<T>);
    CHECK(value_difference(zeros<T>({2, 0}), f) == 0);
}

TEMPLATE_TEST_CASE("products on the device", "[cuda]", float, double, half) {
    using T = TestType;
    const auto f = [](const auto& x) { return prod<1>(x); };
    for (const Sizes& s : all_sizes) {
        INFO(s.outer << ", " << s.n << ", " << s.inner);
        // Near 1, so that products stay plain numbers.
        Tensor<T, 3> x = fiftieths<T>({s.outer, s.n, s.inner});
        for (long i = 0; i < x.size(); ++i) x.data()[i] = static_cast<T>(static_cast<float>(x.data()[i]) < 0 ? -1.f : i % 9 == 0 ? 1.5f : i % 9 == 4 ? 0.625f : 1.f);
        CHECK(value_difference(x, f) <= 4 * rounding<T>);
        CHECK(gradient_difference(x, f) <= 4 * rounding<T>);
        if (x.size() == 0 || s.n < 3) continue;
        x.data()[s.inner] = static_cast<T>(0.f);  // one zero in the first line, two in the last
        x.data()[x.size() - 1] = static_cast<T>(0.f);
        x.data()[x.size() - 1 - s.inner] = static_cast<T>(0.f);
        CHECK(value_difference(x, f) <= 4 * rounding<T>);
        CHECK(gradient_difference(x, f) <= 4 * rounding<T>);
    }
}
TEST_CASE("products of integers wrap around on the device", "[cuda]") {
    for (const Sizes& s : all_sizes) {
        auto x = fiftieths<std::int64_t>({s.outer, s.n, s.inner});
        for (long i = 0; i < x.size(); ++i) x.data()[i] |= 1;
        CHECK(same(prod<1>(x.to(gpu)), prod<1>(x)));
        const auto bytes = fiftieths<std::uint8_t>({s.outer, s.n, s.inner});
        CHECK(same(prod<1>(bytes.to(gpu)), prod<1>(bytes)));
    }
}

TEMPLATE_TEST_CASE("norms and masks on the device", "[cuda]", float, bf16) {
    using T = TestType;
    const auto x = fiftieths<T>({4, 33, 3});
    for (const double p : {2., 0., 1., 3., -1.}) {
        INFO(p);
        CHECK(value_difference(x, [&](const auto& v) { return norm<1>(v, p); }) <= 4 * rounding<T>);
        if (p != 0) CHECK(gradient_difference(x, [&](const auto& v) { return norm<0, 2>(v, p, keepdim); }) <= 4 * rounding<T>);
    }
    const auto there = x.to(gpu);
    CHECK(same(any<1>(there > T(1.9f)), any<1>(x > T(1.9f))));
    CHECK(same(count<0>(there > T(1.f)), count<0>(x > T(1.f))));
    CHECK(tenon::all(there < T(5.f)).to(cpu).item());
    CHECK_FALSE(tenon::all(there < T(1.f)).to(cpu).item());
    CHECK(same(count_nonzero(there), count_nonzero(x)));
}
