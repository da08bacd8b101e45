#include "device_agreement.hpp"

#include <tenon/ops/count.hpp>

using namespace tenon;
using namespace device_agreement;

TEMPLATE_TEST_CASE("bincount on the device", "[cuda]", std::int64_t, std::int32_t) {
    using I = TestType;
    for (const long n : {0l, 1l, 1000l, 9000l})
        for (const long largest : {1l, 200l, 9000l}) {
            INFO(n << " numbers up to " << largest);
            Tensor<I, 1> x = empty<I>({n});
            for (long i = 0; i < n; ++i) x.data()[i] = static_cast<I>(i * 7919 % (largest + 1));
            CHECK(same(bincount(x.to(gpu)), bincount(x)));
            CHECK(same(bincount(x.to(gpu), 300), bincount(x, 300)));
            const auto f = [&](const auto& w) { return bincount(x.to(w.device()), w, 30); };
            CHECK(value_difference(fiftieths<float>({n}), f) <= rounding<float>);
            CHECK(value_difference(fiftieths<bf16>({n}), f) <= rounding<bf16>);
            CHECK(gradient_difference(fiftieths<float>({n}), f) == 0);
        }
    Tensor<I, 1> x = zeros<I>({50});
    x.data()[33] = -2;
    CHECK_THROWS_WITH(bincount(x.to(gpu)), Catch::Matchers::Contains("-2 at position 33"));
    CHECK_THROWS_AS(bincount(zeros<I>({3}, gpu), zeros<float>({3})), DeviceError);
}

TEMPLATE_TEST_CASE("histograms on the device", "[cuda]", float, double, bf16) {
    using T = TestType;
    const auto check = [](const auto& found, const auto& wanted) {
        CHECK(same(found.counts, wanted.counts));
        CHECK(same(found.edges, wanted.edges));
    };
    for (const long n : {0l, 1l, 1000l, 9000l}) {
        Tensor<T, 2> x = fiftieths<T>({n, 1});
        for (const long bins : {1l, 10l, 8300l}) {
            INFO(n << " elements, " << bins << " bins");
            if (bins < 256 || !std::is_same_v<T, bf16>) check(histogram(x.to(gpu), bins), histogram(x, bins));
            check(histogram(x.to(gpu), bins, -1.5, 0.75), histogram(x, bins, -1.5, 0.75));
        }
        if (n > 5) {
            x.data()[1] = static_cast<T>(NAN);
            x.data()[2] = static_cast<T>(HUGE_VALF);
        }
        const Tensor<T, 1> edges = from<T>({T(-2.f), T(-0.5f), T(0.f), T(0.125f), T(1.98f)});
        check(histogram(x.to(gpu), edges.to(gpu)), histogram(x, edges));
    }
    CHECK_THROWS_AS(histogram(fiftieths<T>({5}).to(gpu), zeros<T>({3})), DeviceError);
}
