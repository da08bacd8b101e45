// Losses on the device against the CPU.
#include "device_agreement.hpp"

#include <tenon/tenon.hpp>

#include <tuple>

using namespace tenon;
using namespace device_agreement;

TEST_CASE("losses of elements on the device", "[cuda][loss]") {
    const auto x = numbers<float>({33, 7}), y = numbers<float>({33, 7}, 4);
    const double within = 1e-5;
    agree(within, [](Device, const auto& a, const auto& b) { return mse_loss(a, b); }, x, y);
    agree(within, [](Device, const auto& a, const auto& b) { return l1_loss(a, b, Reduction::sum); }, x, y);
    agree(within, [](Device, const auto& a, const auto& b) { return huber_loss(a, b, 1, no_reduction); }, x, y);
    agree(within, [](Device, const auto& a, const auto& b) { return binary_cross_entropy_with_logits(a, sigmoid(b)); }, x, y);
    agree(within, [](Device, const auto& a, const auto& b) { return kl_div(log_softmax(a), softmax(b), Reduction::batch_mean); }, x, y);
}

TEST_CASE("connectionist temporal classification goes through the host", "[cuda][loss]") {
    const auto x = numbers<float>({9, 2, 5});
    Tensor<std::int64_t, 2> targets = empty<std::int64_t>({2, 3});
    for (long i = 0; i < 6; ++i) targets.data()[i] = 1 + i % 4;
    Tensor<std::int64_t, 1> in = full<std::int64_t>({2}, 9), out = full<std::int64_t>({2}, 3);
    in.data()[1] = 7;
    out.data()[1] = 2;
    agree(1e-5, [&](Device where, const auto& a) { return ctc_loss(log_softmax(a), targets.to(where), in.to(where), out.to(where)); }, x);
    CHECK_THROWS_AS(ctc_loss(log_softmax(x.to(gpu)), targets, in, out), DeviceError);
}
