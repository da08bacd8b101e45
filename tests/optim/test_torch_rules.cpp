// Every rule that torch.optim has, against its trajectories over 50 steps.
#include "trajectory.hpp"

#include <tenon/optim/sign.hpp>

using namespace tenon;
using trajectory::check;

namespace {
constexpr optim::WeightDecay decoupled = optim::WeightDecay::decoupled_torch;
}

TEMPLATE_TEST_CASE("SGD follows torch.optim", "[optim]", float, double) {
    using T = TestType;
    check<T>("sgd/plain", [](auto& p) { return optim::sgd(p, {.lr = 0.1}); });
    check<T>("sgd/momentum", [](auto& p) { return optim::sgd(p, {.lr = 0.1, .momentum = 0.9, .dampening = 0.5, .weight_decay = 0.02}); });
    check<T>("sgd/nesterov", [](auto& p) { return optim::sgd(p, {.lr = 0.1, .momentum = 0.9, .nesterov = true}); });
    check<T>("sgd/maximize", [](auto& p) { return optim::sgd(p, {.lr = 0.01, .momentum = 0.5, .weight_decay = 0.1, .maximize = true}); });
    check<T>("asgd/plain", [](auto& p) { return optim::asgd(p, {.lr = 0.05}); });
    check<T>("asgd/averaged", [](auto& p) { return optim::asgd(p, {.lr = 0.05, .lambd = 0.02, .alpha = 0.6, .t0 = 10, .weight_decay = 0.05}); });
}

TEMPLATE_TEST_CASE("Adam and its relatives follow torch.optim", "[optim]", float, double) {
    using T = TestType;
    check<T>("adam/plain", [](auto& p) { return optim::adam(p, {.lr = 0.01}); });
    check<T>("adam/decay", [](auto& p) { return optim::adam(p, {.lr = 0.01, .beta1 = 0.8, .beta2 = 0.99, .eps = 1e-3, .weight_decay = 0.1}); });
    check<T>("adam/amsgrad", [](auto& p) { return optim::amsgrad(p, {.lr = 0.01, .beta2 = 0.9}); });
    check<T>("adamw/plain", [](auto& p) { return optim::adamw(p, {.lr = 0.01}); });
    check<T>("adamw/decay", [](auto& p) { return optim::adamw(p, {.lr = 0.01, .weight_decay = 0.3}); });
    check<T>("adamax/plain", [](auto& p) { return optim::adamax(p, {.lr = 0.01}); });
    check<T>("adamax/decay", [](auto& p) { return optim::adamax(p, {.lr = 0.01, .beta1 = 0.8, .beta2 = 0.9, .eps = 1e-2, .weight_decay = 0.1}); });
    check<T>("nadam/plain", [](auto& p) { return optim::nadam(p, {.lr = 0.01}); });
    check<T>("nadam/decay", [](auto& p) { return optim::nadam(p, {.lr = 0.01, .momentum_decay = 0.02, .weight_decay = 0.1}); });
    check<T>("nadam/decoupled", [](auto& p) { return optim::nadam(p, {.lr = 0.01, .weight_decay = 0.1, .decay = decoupled}); });
    check<T>("radam/plain", [](auto& p) { return optim::radam(p, {.lr = 0.01}); });
    check<T>("radam/decay", [](auto& p) { return optim::radam(p, {.lr = 0.01, .beta2 = 0.9, .weight_decay = 0.1}); });
    check<T>("radam/decoupled", [](auto& p) { return optim::radam(p, {.lr = 0.01, .weight_decay = 0.1, .decay = decoupled}); });
}

TEMPLATE_TEST_CASE("rules without a first moment follow torch.optim", "[optim]", float, double) {
    using T = TestType;
    check<T>("rmsprop/plain", [](auto& p) { return optim::rmsprop(p, {.lr = 0.01}); });
    check<T>("rmsprop/momentum", [](auto& p) { return optim::rmsprop(p, {.lr = 0.01, .alpha = 0.9, .momentum = 0.8, .weight_decay = 0.05}); });
    check<T>("rmsprop/centered", [](auto& p) { return optim::rmsprop(p, {.lr = 0.01, .eps = 1e-2, .centered = true}); });
    check<T>("rmsprop/both", [](auto& p) { return optim::rmsprop(p, {.lr = 0.01, .eps = 1e-2, .momentum = 0.8, .centered = true}); });
    check<T>("adagrad/plain", [](auto& p) { return optim::adagrad(p, {.lr = 0.1}); });
    check<T>("adagrad/decay",
             [](auto& p) { return optim::adagrad(p, {.lr = 0.1, .lr_decay = 0.05, .initial_accumulator = 0.2, .eps = 1e-3, .weight_decay = 0.1}); });
    check<T>("adadelta/plain", [](auto& p) { return optim::adadelta(p); });
    check<T>("adadelta/decay", [](auto& p) { return optim::adadelta(p, {.lr = 0.5, .rho = 0.8, .eps = 1e-3, .weight_decay = 0.1}); });
    check<T>("rprop/plain", [](auto& p) { return optim::rprop(p, {.lr = 0.01}); });
    check<T>("rprop/bounds", [](auto& p) { return optim::rprop(p, {.lr = 0.02, .shrink = 0.4, .grow = 1.5, .least = 0.005, .most = 0.1}); });
}

TEST_CASE("the average of ASGD is torch.optim's", "[optim]") {
    Tensor<double, 1> p = trajectory::start<double>();
    auto optimiser = optim::asgd(p, {.lr = 0.05, .lambd = 0.02, .alpha = 0.6, .t0 = 10, .weight_decay = 0.05});
    for (int t = 1; t <= 50; ++t) {
        trajectory::set_gradient(p, t);
        optimiser.step();
    }
    const std::vector<double>& expected = trajectory::file().at("asgd/averaged/average").reals;
    int seen = 0;
    optimiser.visit_state(
        [&](const char*, const char* state, const detail::AnyTensor& values) {
            CHECK(std::string(state) == "average");
            const Tensor<double, 1> average(values);
            for (long i = 0; i < average.size(); ++i) CHECK(average.data()[i] == Approx(expected[static_cast<std::size_t>(i)]).margin(1e-12));
            ++seen;
        },
        [](const char*, long& steps) { CHECK(steps == 50); });
    CHECK(seen == 1);
    Tensor<double, 1> copy = zeros<double>({p.size()});
    optimiser.copy_state("average", copy);
    for (long i = 0; i < copy.size(); ++i) CHECK(copy.data()[i] == Approx(expected[static_cast<std::size_t>(i)]).margin(1e-12));
    CHECK_THROWS_WITH(optimiser.copy_state("m", copy), Catch::Contains("copy_state: asgd keeps no \"m\" of \"parameter\""));
}
