// Softmax and cross-entropy on the device against the CPU.
#include "device_agreement.hpp"

#include <tenon/tenon.hpp>

#include <tuple>

using namespace tenon;
using namespace device_agreement;

TEMPLATE_TEST_CASE("softmax on the device", "[cuda][softmax]", float, double, half) {
    const double within = tolerance<TestType>;
    const auto plain = [](Device, const auto& x) { return softmax(x); };
    const auto logarithm = [](Device, const auto& x) { return log_softmax(x); };
    for (long n : {1l, 10l, 31l, 33l, 1000l, 1500l}) {
        const long rows = n > 100 ? 2 : 35;
        agree(within, plain, numbers<TestType>({rows, n}));
        agree(within, logarithm, numbers<TestType>({rows, n}));
    }
    agree(within, [](Device, const auto& x) { return softmax<1>(x); }, numbers<TestType>({3, 5, 40}));
    agree(within, [](Device, const auto& x) { return log_softmax<0>(x); }, numbers<TestType>({33, 7}));
    agree(within, [](Device, const auto& x) { return softmax<0>(transpose(x)); }, numbers<TestType>({9, 4}));
    agree(within, plain, numbers<TestType>({0, 4}));
}

TEST_CASE("infinities and NaN in softmax on the device", "[cuda][softmax]") {
    const float inf = HUGE_VALF;
    Tensor<float, 2> x = numbers<float>({6, 40});
    x(0, 3) = -inf;
    for (long k = 0; k < 40; ++k) x(1, k) = -inf;
    x(2, 5) = inf;
    x(3, 7) = NAN;
    x(4, 0) = -inf;
    x(4, 39) = -inf;
    for (long k = 0; k < 39; ++k) x(5, k) = -inf;
    check_close(softmax(x.to(gpu)), softmax(x), 2e-5);
    check_close(log_softmax(x.to(gpu)), log_softmax(x), 2e-5);
    check_close(softmax<0>(transpose(x).to(gpu)), softmax<0>(transpose(x)), 2e-5);
}

TEMPLATE_TEST_CASE("cross-entropy on the device", "[cuda][softmax]", double, bf16) {
    const double within = tolerance<TestType>;
    using T = TestType;
    for (long n : {1l, 10l, 33l, 1100l}) {
        const long rows = n > 100 ? 3 : 35;
        auto y = indices<std::int64_t>({rows}, n);
        if (rows > 4) y.data()[4] = -100;
        agree(within, [&](Device where, const auto& x) { return cross_entropy(x, y.to(where)); }, numbers<T>({rows, n}));
        agree(within, [&](Device where, const auto& x) { return cross_entropy(x, y.to(where), no_reduction); }, numbers<T>({rows, n}));
        const auto weight = abs(numbers<T>({n}, 3)) + T(0.1f);
        const Tensor<T, 1> w = weight;
        agree(within, [&](Device where, const auto& x) {
            return cross_entropy(x, y.to(where), {.weight = w.to(where), .label_smoothing = 0.1}, Reduction::sum);
        }, numbers<T>({rows, n}));
        agree(within, [&](Device where, const auto& x) { return nll_loss(x, y.to(where), {.weight = w.to(where)}); }, numbers<T>({rows, n}));
        agree(within, [&](Device where, const auto& x, const auto& t) {
            return cross_entropy(x, t, {.weight = w.to(where), .label_smoothing = 0.2});
        }, numbers<T>({rows, n}), numbers<T>({rows, n}, 5));
    }
    auto y = indices<std::int64_t>({3, 7, 5}, 6);
    y(0, 1, 2) = 100;
    const Tensor<std::int32_t, 3> short_labels = cast<std::int32_t>(y);
    agree(
        within, [&](Device where, const auto& x) { return cross_entropy(x, short_labels.to(where), {.ignore_index = 100}); },
        numbers<T>({3, 6, 7, 5}));
    agree(
        within, [&](Device where, const auto& x) { return nll_loss(x, y.to(where), {.ignore_index = 100}, no_reduction); },
        numbers<T>({3, 6, 7, 5}));
    agree(
        within, [&](Device, const auto& x, const auto& t) { return cross_entropy(x, t); }, numbers<T>({3, 6, 7}), numbers<T>({3, 6, 7}, 5));
}

TEST_CASE("labels out of range on the device", "[cuda][softmax]") {
    const Tensor<float, 2> x = numbers<float>({40, 10});
    auto y = indices<std::int64_t>({40}, 10);
    y.data()[33] = 10;
    y.data()[37] = -1;
    CHECK_THROWS_WITH(cross_entropy(x.to(gpu), y.to(gpu)), Catch::Contains("label 10 of row 33"));
    CHECK_THROWS_WITH(nll_loss(x.to(gpu), y.to(gpu)), Catch::Contains("label 10 of row 33"));
    y.data()[33] = 2;
    CHECK_THROWS_WITH(cross_entropy(x.to(gpu), y.to(gpu)), Catch::Contains("label -1 of row 37"));
    // All ignored: NaN, and no gradient.
    const Tensor<std::int64_t, 1> none = full<std::int64_t>({40}, -100);
    agree(0, [&](Device where, const auto& z) { return cross_entropy(z, none.to(where)); }, x);
}
