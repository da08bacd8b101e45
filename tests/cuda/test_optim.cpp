// Optimisers on the device against the CPU: the same steps, step by step.
#include "compare.hpp"

#include <tenon/optim/optimizer.hpp>
#include <tenon/runtime/graph.hpp>

using namespace tenon;
using namespace compare;

namespace {

template <class T>
struct Pair {
    Tensor<T, 2> weight;
    Tensor<T, 1> bias, unused;
    explicit Pair(Device where)
        : weight(clone(numbers<T>({7, 33}).to(where)).require_grad()), bias(clone(numbers<T>({33}, 5).to(where)).require_grad()),
          unused(clone(numbers<T>({21}, 2).to(where)).require_grad()) {}
    static void visit(auto& self, auto&& f) {
        f("weight", self.weight);
        f("unused", self.unused);
        f("bias", self.bias);
    }
};

// Parameters after a few steps on both devices; the last one has a norm to be clipped.
template <class T, class Make>
void steps(Make make) {
    Pair<T> here(cpu), there(device);
    auto a = make(here), b = make(there);
    const auto step = [](auto& net, auto& optimizer, Device where, int k) {
        const auto x = numbers<T>({5, 7, 33}, k + 1).to(where);
        Tensor<T, 0> loss = mean(square(net.weight * x + net.bias - T(0.5f)));
        if (k == 3) loss = loss + sum(net.unused) * T(0.01f);
        loss.backward();
        const double norm = k >= 2 ? optimizer.clip_norm(0.01) : 0;
        optimizer.step();
        return norm;
    };
    for (int k = 0; k < 5; ++k) {
        const double p = step(here, a, cpu, k), q = step(there, b, device, k);
        CHECK(q == Approx(p).epsilon(tolerance<T>()));
        same(there.weight.detach(), here.weight.detach(), tolerance<T>());
        same(there.bias.detach(), here.bias.detach(), tolerance<T>());
        same(there.unused.detach(), here.unused.detach(), tolerance<T>());
    }
    CHECK(there.weight.device() == device);
    CHECK_FALSE(there.weight.has_grad());
    if constexpr (requires { a.bound_histogram(); }) {
        const auto c = a.bound_histogram(), d = b.bound_histogram();
        CHECK(c.at_lower == d.at_lower);
        CHECK(c.inside == d.inside);
        CHECK(c.at_upper == d.at_upper);
        CHECK(d.at_lower + d.inside + d.at_upper == 7 * 33 + 33 + 21);
    }
}

}  // namespace

TEMPLATE_TEST_CASE("optimiser steps on the device", "[cuda][optim]", float, double) {
    using T = TestType;
    steps<T>([](auto& net) { return optim::sgd(net, {.lr = 0.1}); });
    steps<T>([](auto& net) { return optim::sgd(net, {.lr = 0.1, .momentum = 0.9, .nesterov = true, .weight_decay = 0.01}); });
    steps<T>([](auto& net) { return optim::sgd(net, {.lr = 0.1, .momentum = 0.9}); });
    steps<T>([](auto& net) { return optim::adam(net, {.lr = 0.01}); });
    steps<T>([](auto& net) { return optim::adamw(net, {.lr = 0.01, .weight_decay = 0.05}); });
    steps<T>([](auto& net) { return optim::amsgrad(net, {.lr = 0.01}); });
    steps<T>([](auto& net) { return optim::adabound(net, {.lr = 0.01, .final_lr = 0.02, .gamma = 0.1}); });
    steps<T>([](auto& net) { return optim::amsbound(net, {.lr = 0.01, .final_lr = 0.02, .gamma = 0.1}); });
}

TEST_CASE("a norm that is not finite skips the step on the device", "[cuda][optim]") {
    Tensor<float, 1> w = clone(numbers<float>({40}).to(device)).require_grad();
    auto optimizer = optim::sgd(w, {.lr = 1});
    Tensor<float, 0> loss = sum(w * HUGE_VALF);
    loss.backward();
    CHECK(std::isinf(optimizer.clip_norm(1)));
    optimizer.step();
    CHECK(optimizer.statistics().skipped == 1);
    same(w.detach(), numbers<float>({40}), 0);
    // The gradient that was there when the optimiser was built, and one that is kept.
    Tensor<float, 1> v = clone(numbers<float>({40}).to(device)).require_grad();
    Tensor<float, 0> first = sum(v * v);
    first.backward();
    auto other = optim::sgd(v, {.lr = 0.5});
    other.step({.keep_gradients = true});
    same(v.detach(), zeros<float>({40}), 0);
    CHECK(v.has_grad());
    other.zero_grad();
    CHECK_FALSE(v.has_grad());
}

TEST_CASE("kernels of optimisers on odd ranges", "[cuda][optim]") {
    for (long n : {1l, 3l, 31l, 33l, 1000l}) {
        Tensor<float, 1> g = numbers<float>({n + 1});
        const auto there = g.to(device);
        CHECK(kernels::cuda::sum_of_squares(n, there.data() + 1) == Approx(kernels::cpu::sum_of_squares(n, g.data() + 1)).epsilon(1e-12));
        Tensor<float, 1> p = numbers<float>({n + 1}, 3);
        auto q = p.to(device);
        const kernels::cpu::Sgd<float, false> rule(kernels::cpu::sgd_scalars(1, {.lr = 0.5}));
        const float coefficient = 0.25f;
        float* none = nullptr;
        kernels::cpu::fused_step(rule, n, p.data() + 1, g.data() + 1, none, none, none, true, &coefficient);
        kernels::cuda::fused_step(rule, n, q.data() + 1, there.data() + 1, none, none, none, true, &coefficient);
        same(q, p, 1e-6);
        same(there, g, 0);
    }
    const kernels::cpu::Sgd<float, false> rule(kernels::cpu::sgd_scalars(1, {}));
    kernels::cuda::fused_step(rule, 0, static_cast<float*>(nullptr), static_cast<float*>(nullptr), static_cast<float*>(nullptr),
                              static_cast<float*>(nullptr), static_cast<float*>(nullptr), true);
    CHECK(kernels::cuda::sum_of_squares(0, static_cast<const float*>(nullptr)) == 0);
    CHECK(kernels::cuda::sum_of_squares(20000, zeros<float>({20000}, device).data()) == 0);
}

TEST_CASE("steps of a captured graph", "[cuda][optim]") {
    // The numbers of each step, a rate that changes between launches, and a mask that is another in every launch.
    Pair<float> here(device), there(device);
    auto a = optim::adam(here, {.lr = 0.01}), b = optim::adam(there, {.lr = 0.01});
    const auto x = numbers<float>({5, 7, 33}).to(device);
    const auto step = [&](Pair<float>& net, auto& optimizer, Key key) {
        Tensor<float, 0> loss = mean(square(dropout(net.weight * x + net.bias, 0.5, key)));
        loss.backward();
        optimizer.step();
        return loss;
    };
    step(here, a, Key(7));
    step(there, b, Key(7));
    runtime::Graph graph(device, [&] { return step(there, b, Key(5)); });
    for (int k = 0; k < 3; ++k) {
        if (k == 2) {
            a.set_lr_scale(0.5);
            b.set_lr_scale(0.5);
        }
        const auto p = step(here, a, Key(5).split(static_cast<std::uint64_t>(k))), q = graph.replay();
        same(q.detach(), p.detach().to(cpu), 0);
        same(there.weight.detach(), here.weight.detach().to(cpu), 0);
        same(there.bias.detach(), here.bias.detach().to(cpu), 0);
    }
    long steps_here = 0, steps_there = 0;
    const auto nothing = [](const char*, const char*, const detail::AnyTensor&) {};
    a.visit_state(nothing, [&](const char*, long& n) { steps_here += n; });
    b.visit_state(nothing, [&](const char*, long& n) { steps_there += n; });
    CHECK(steps_here == steps_there);
    CHECK(steps_here == 8);
}

TEST_CASE("cross-entropy in a captured graph", "[cuda][optim]") {
    const auto y = labels({9}, 5).to(device);
    Tensor<float, 2> w = clone(numbers<float>({9, 5}).to(device)).require_grad();
    runtime::Graph graph(device, [&] {
        const auto loss = cross_entropy(w, y);
        loss.backward();
        return loss;
    });
    const auto gradient = w.grad();
    Tensor<float, 2> v = numbers<float>({9, 5}).require_grad();
    const auto loss = cross_entropy(v, labels({9}, 5));
    loss.backward();
    same(graph.replay().detach(), loss.detach(), 1e-6);
    same(gradient, v.grad(), 1e-6);
}
