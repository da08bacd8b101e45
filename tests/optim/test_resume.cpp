// What an optimiser hands to a checkpoint is all that it needs to go on: states, step counts, numbers.
#include "trajectory.hpp"

#include <tenon/optim/layerwise.hpp>
#include <tenon/optim/lookahead.hpp>
#include <tenon/optim/sam.hpp>
#include <tenon/optim/sign.hpp>

#include <cstring>

using namespace tenon;

namespace {

// Everything that one optimiser keeps becomes another's, as io::load_checkpoint does it.
template <class Optimizer>
void hand_over(Optimizer& from, Optimizer& to) {
    std::vector<detail::AnyTensor> tensors;
    std::vector<long> steps;
    std::vector<double> numbers;
    std::string names, others;
    from.visit_state(
        [&](const char* parameter, const char* state, const detail::AnyTensor& values) {
            tensors.push_back(values);
            names += std::string(parameter) + "." + state + " ";
        },
        [&](const char*, long& n) { steps.push_back(n); });
    from.visit_numbers([&](const char* name, auto& x) {
        numbers.push_back(static_cast<double>(x));
        names += std::string(name) + " ";
    });
    std::size_t tensor = 0, step = 0, number = 0;
    to.visit_state(
        [&](const char* parameter, const char* state, const detail::AnyTensor& values) {
            others += std::string(parameter) + "." + state + " ";
            const detail::AnyTensor& source = tensors[tensor++];
            std::memcpy(values->data(), source->data(), static_cast<std::size_t>(source->size) * static_cast<std::size_t>(size_of(source->dtype)));
        },
        [&](const char*, long& n) { n = steps[step++]; });
    to.visit_numbers([&](const char* name, auto& x) {
        others += std::string(name) + " ";
        x = static_cast<std::remove_cvref_t<decltype(x)>>(numbers[number++]);
    });
    CHECK(names == others);
    to.check_numbers();
}

template <class Make>
void check_resume(Make make) {
    Tensor<double, 1> p = trajectory::start<double>(), q = trajectory::start<double>();
    auto straight = make(p, 1.0), resumed = make(q, 0.5);  // the second with another schedule's factor
    const auto step = [](auto& optimiser, const Tensor<double, 1>& x, int t) {
        trajectory::set_gradient(x, t);
        if constexpr (requires { optimiser.ascend(); }) {
            optimiser.ascend();
            trajectory::set_gradient(x, t);
            optimiser.descend();
        } else {
            optimiser.step();
        }
    };
    for (int t = 1; t <= 7; ++t) step(straight, p, t);
    hand_over(straight, resumed);
    std::memcpy(q.data(), p.detach().data(), sizeof(double) * static_cast<std::size_t>(p.size()));
    for (int t = 8; t <= 20; ++t) {
        step(straight, p, t);
        step(resumed, q, t);
    }
    INFO(decltype(straight)::rule_name);
    CHECK(std::memcmp(p.detach().data(), q.detach().data(), sizeof(double) * static_cast<std::size_t>(p.size())) == 0);
}

}  // namespace

TEST_CASE("every rule goes on from what it hands over, to the bit", "[optim]") {
    check_resume([](auto& p, double s) { return optim::sgd(p, {.lr = 0.1, .lr_scale = s, .momentum = 0.9}); });
    check_resume([](auto& p, double s) { return optim::asgd(p, {.lr = 0.1, .lr_scale = s, .t0 = 3}); });
    check_resume([](auto& p, double s) { return optim::adam(p, {.lr_scale = s}); });
    check_resume([](auto& p, double s) { return optim::adamw(p, {.lr_scale = s}); });
    check_resume([](auto& p, double s) { return optim::amsgrad(p, {.lr_scale = s}); });
    check_resume([](auto& p, double s) { return optim::adabound(p, {.lr_scale = s}); });
    check_resume([](auto& p, double s) { return optim::amsbound(p, {.lr_scale = s}); });
    check_resume([](auto& p, double s) { return optim::rmsprop(p, {.lr_scale = s, .momentum = 0.9, .centered = true}); });
    check_resume([](auto& p, double s) { return optim::adagrad(p, {.lr_scale = s, .lr_decay = 0.1, .initial_accumulator = 0.1}); });
    check_resume([](auto& p, double s) { return optim::adadelta(p, {.lr_scale = s}); });
    check_resume([](auto& p, double s) { return optim::nadam(p, {.lr_scale = s}); });
    check_resume([](auto& p, double s) { return optim::radam(p, {.lr_scale = s}); });
    check_resume([](auto& p, double s) { return optim::adamax(p, {.lr_scale = s}); });
    check_resume([](auto& p, double s) { return optim::adabelief(p, {.lr_scale = s}); });
    check_resume([](auto& p, double s) { return optim::yogi(p, {.lr_scale = s}); });
    check_resume([](auto& p, double s) { return optim::adamod(p, {.lr_scale = s}); });
    check_resume([](auto& p, double s) { return optim::lion(p, {.lr_scale = s}); });
    check_resume([](auto& p, double s) { return optim::rprop(p, {.lr_scale = s}); });
    check_resume([](auto& p, double s) { return optim::lars(p, {.lr_scale = s, .vectors = true}); });
    check_resume([](auto& p, double s) { return optim::lamb(p, {.lr_scale = s}); });
    check_resume([](auto& p, double s) { return optim::lookahead(optim::sgd(p, {.lr = 0.1, .lr_scale = s, .momentum = 0.9}), {.every = 3}); });
    check_resume([](auto& p, double s) { return optim::sam(optim::sgd(p, {.lr = 0.1, .lr_scale = s, .momentum = 0.9})); });
}

TEST_CASE("a schedule's momentum is for those that have one", "[optim]") {
    Tensor<double, 1> p = trajectory::start<double>(), q = trajectory::start<double>();
    auto plain = optim::sgd(p, {.lr = 1}), moving = optim::sgd(q, {.lr = 1, .momentum = 0.5});
    for (auto* optimiser : {&plain, &moving}) optimiser->set_momentum(0.9);
    CHECK(plain.options().momentum == 0);
    CHECK(moving.options().momentum == 0.9);
    trajectory::set_gradient(p, 1);
    CHECK_NOTHROW(plain.step());
}
