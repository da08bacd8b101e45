// Normalisation and masked softmax on the device against the CPU.
#include "device_agreement.hpp"

#include <tenon/tenon.hpp>

#include <tuple>

using namespace tenon;
using namespace device_agreement;

TEMPLATE_TEST_CASE("layer norm on the device", "[cuda][norm]", double, half) {
    using T = TestType;
    const double within = tolerance<T>;
    const auto layer = [](Device, const auto& x, const auto& w, const auto& b) { return layer_norm(x, w, b); };
    for (long n : {2l, 10l, 33l, 1000l, 1100l})
        agree(within, layer, numbers<T>({n > 100 ? 3 : 35, n}), numbers<T>({n}, 3), numbers<T>({n}, 5));
    agree(within, [](Device, const auto& x, const auto& w) { return rms_norm(x, w); }, numbers<T>({70, 40}), numbers<T>({40}, 3));
    agree(within, [](Device, const auto& x) { return layer_norm<2>(x); }, numbers<T>({3, 4, 5}));
    agree(within, [](Device, const auto& x, const auto& w) { return rms_norm(transpose(x), w); }, numbers<T>({5, 9}), numbers<T>({5}, 3));
    agree(within, layer, numbers<T>({0, 4}), numbers<T>({4}, 3), numbers<T>({4}, 5));
}

TEMPLATE_TEST_CASE("batch norm on the device", "[cuda][norm]", double, half) {
    using T = TestType;
    const double within = tolerance<T>;
    const auto compare_norm = [&](const auto& x) {
        const long c = x.shape(1);
        agree(within, [&](Device where, const auto& a, const auto& w, const auto& b) {
            const Tensor<T, 1> mean = zeros<T>({c}, where), variance = ones<T>({c}, where);
            const auto y = batch_norm(a, w, b, mean, variance);
            const Tensor<T, 1> m = mean, v = variance;
            return eval(y * T(0.5f) + batch_norm_inference(a, w, b, m, v));
        }, x, numbers<T>({c}, 3), numbers<T>({c}, 5));
        agree(within, [](Device, const auto& a) { return batch_norm(a); }, x);
        agree(within, [&](Device where, const auto& a, const auto& w, const auto& b) {
            const Tensor<T, 1> mean = full<T>({c}, T(0.3f), where), variance = full<T>({c}, T(2.f), where);
            return eval(batch_norm(a, w, b, {}, {}, {.relu = true}) * T(0.5f) + batch_norm_inference(a, w, b, mean, variance, {.relu = true}));
        }, x, numbers<T>({c}, 3), numbers<T>({c}, 5));
    };
    compare_norm(numbers<T>({35, 3}));
    compare_norm(numbers<T>({140, 33}));
    compare_norm(numbers<T>({3, 5, 7}));
    compare_norm(numbers<T>({3, 5, 8, 9}));
    compare_norm(numbers<T>({2, 3, 67}));
}

TEST_CASE("many points of a channel on the device", "[cuda][norm]") {
    Tensor<float, 3> x = numbers<float>({3, 2, 3000});
    x += 100.f;
    agree(2e-4, [](Device, const auto& a) { return batch_norm(a); }, x);
    nn::BatchNorm<float> here(2), there = to(nn::BatchNorm<float>(2), gpu);
    nn::Context training{Key(1), true};
    for (int k = 0; k < 2; ++k) {
        const auto y = here(x, training), z = there(x.to(gpu), training);
        check_close(z.detach(), y.detach(), 2e-4);
    }
    check_close(there.running_mean, here.running_mean, 1e-5);
    check_close(there.running_var, here.running_var, 1e-4);
    CHECK(there.num_batches_tracked.item() == 2);
    check_close(there(x.to(gpu)).detach(), here(x).detach(), 2e-4);
}

TEST_CASE("masked softmax on the device", "[cuda][norm]") {
    using T = float;
    const double within = tolerance<T>;
    const auto mask = [](auto x) {
        auto m = empty<bool>(x.shape());
        for (long i = 0; i < m.size(); ++i) m.data()[i] = i * 7 % 5 > 1 && i / 40 != 1;
        return m;
    };
    const auto check = [&](const auto& x, const auto& m, auto f) {
        agree(
            within, [&](Device where, const auto& a) { return f(a, m.to(where)); }, x);
    };
    const auto plain = [](const auto& x, const auto& m) { return softmax(x, m); };
    const auto logarithm = [](const auto& x, const auto& m) { return exp(log_softmax(x, m)); };
    check(numbers<T>({6, 40}), mask(numbers<float>({6, 40})), plain);
    check(numbers<T>({6, 40}), mask(numbers<float>({6, 40})), logarithm);
    check(numbers<T>({6, 40}), mask(numbers<float>({6, 1})), plain);
    check(numbers<T>({6, 20}), mask(numbers<float>({20})), plain);
    check(numbers<T>({2, 3, 4, 33}), mask(numbers<float>({2, 1, 1, 33})), plain);
    check(numbers<T>({3, 5, 7}), mask(numbers<float>({3, 5, 1})), [](const auto& x, const auto& m) { return softmax<1>(x, m); });
    check(numbers<T>({3, 5, 7}), mask(numbers<float>({3, 5, 7})), [](const auto& x, const auto& m) { return exp(log_softmax<0>(x, m)); });
    Tensor<float, 2> x = numbers<float>({4, 5});
    for (long k = 0; k < 5; ++k) x(0, k) = -HUGE_VALF;
    x(1, 2) = NAN;
    x(2, 0) = -HUGE_VALF;
    x(3, 1) = HUGE_VALF;
    const auto all_kept = full<bool>({4, 5}, true);
    check_close(softmax(x.to(gpu), all_kept.to(gpu)), softmax(x, all_kept), 2e-5);
    check_close(log_softmax(x.to(gpu), all_kept.to(gpu)), log_softmax(x, all_kept), 2e-5);
}
