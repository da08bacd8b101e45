// Optimisers on the device against the CPU: the same steps, step by step.
#include "device_agreement.hpp"

#include <tenon/tenon.hpp>
#include <tenon/optim/average.hpp>
#include <tenon/optim/layerwise.hpp>
#include <tenon/optim/lbfgs.hpp>
#include <tenon/optim/lookahead.hpp>
#include <tenon/optim/sam.hpp>
#include <tenon/optim/sdr.hpp>
#include <tenon/optim/sign.hpp>
#include <tenon/runtime/graph.hpp>

using namespace tenon;
using namespace device_agreement;

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
    Pair<T> here(cpu), there(gpu);
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
        const double p = step(here, a, cpu, k), q = step(there, b, gpu, k);
        CHECK(q == Approx(p).epsilon(tolerance<T>));
        check_close(there.weight.detach(), here.weight.detach(), tolerance<T>);
        check_close(there.bias.detach(), here.bias.detach(), tolerance<T>);
        check_close(there.unused.detach(), here.unused.detach(), tolerance<T>);
    }
    CHECK(there.weight.device() == gpu);
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

TEST_CASE("steps of more rules on the device", "[cuda][optim]") {
    using T = float;
    steps<T>([](auto& net) { return optim::asgd(net, {.lr = 0.1, .t0 = 2}); });
    steps<T>([](auto& net) { return optim::rmsprop(net, {.lr = 0.01}); });
    steps<T>([](auto& net) { return optim::rmsprop(net, {.lr = 0.01, .eps = 0.1, .momentum = 0.9, .centered = true}); });
    steps<T>([](auto& net) { return optim::adagrad(net, {.lr = 0.1, .initial_accumulator = 0.1}); });
    steps<T>([](auto& net) { return optim::adadelta(net, {.weight_decay = 0.1}); });
    steps<T>([](auto& net) { return optim::nadam(net); });
    steps<T>([](auto& net) { return optim::radam(net, {.beta2 = 0.5}); });
    steps<T>([](auto& net) { return optim::adamax(net); });
    steps<T>([](auto& net) { return optim::adabelief(net, {.eps = 1e-4}); });
    steps<T>([](auto& net) { return optim::yogi(net); });
    steps<T>([](auto& net) { return optim::adamod(net); });
    steps<T>([](auto& net) { return optim::lion(net, {.lr = 1e-3}); });
    steps<T>([](auto& net) { return optim::rprop(net, {.lr = 1e-3}); });
}

TEMPLATE_TEST_CASE("rules with norms over each parameter, and wrappers, on the device", "[cuda][optim]", float, double) {
    using T = TestType;
    steps<T>([](auto& net) { return optim::lars(net, {.trust = 0.1, .weight_decay = 0.1}); });
    steps<T>([](auto& net) { return optim::lamb(net, {.lr = 0.01, .weight_decay = 0.1}); });
    steps<T>([](auto& net) { return optim::lookahead(optim::sgd(net, {.lr = 0.1, .momentum = 0.9}), {.every = 2}); });
}

// More parameters than a launch takes, some without elements, one of several blocks; not all adapt.
TEST_CASE("steps with norms for many parameters at once", "[cuda][optim]") {
    std::vector<kernels::cpu::Layer> layers;
    long all = 0;
    for (long i = 0; i < 150; ++i) {
        const long size = i == 60 ? 9001 : i * 37 % 90;
        layers.push_back({all, size, i % 3 != 0});
        all += (size + 15) / 16 * 16;
    }
    const auto check = [&](const auto& rule) {
        Tensor<double, 1> here[4], there[4];
        for (int i = 0; i < 4; ++i) {
            here[i] = clone(numbers<double>({all}, i + 1));
            if (i == 3)
                for (long k = 0; k < all; ++k) here[i].data()[k] *= here[i].data()[k];  // a second moment
            there[i] = clone(here[i].to(gpu));
        }
        const double coefficient = 0.75;
        const long count = static_cast<long>(layers.size());
        kernels::cpu::layerwise_steps(rule, count, layers.data(), here[0].data(), here[1].data(), here[2].data(), here[3].data(), true, &coefficient, 1.0);
        kernels::cuda::layerwise_steps(rule, count, layers.data(), reinterpret_cast<double*>(there[0].record()->data()), reinterpret_cast<double*>(there[1].record()->data()),
                                       reinterpret_cast<double*>(there[2].record()->data()), reinterpret_cast<double*>(there[3].record()->data()), true, &coefficient, 1.0);
        for (int i = 0; i < 4; ++i) check_close(there[i], here[i], 1e-12);
    };
    check(kernels::cpu::Lamb<double>({.lr = 0.01, .weight_decay = 0.1}, 3));
    check(kernels::cpu::Lars<double>({.lr = 0.01, .weight_decay = 0.1}, 3));
}

TEST_CASE("SAM, L-BFGS and averages on the device", "[cuda][optim]") {
    using T = double;
    Pair<T> here(cpu), there(gpu);
    const auto loss_of = [](auto& net, Device where) {
        const auto x = numbers<T>({5, 7, 33}).to(where);
        Tensor<T, 0> loss = mean(square(net.weight * x + net.bias - 0.5));
        loss.backward();
        return loss;
    };
    for (bool adaptive : {false, true}) {
        auto a = optim::sam(optim::sgd(here, {.lr = 0.1, .momentum = 0.9}), {.rho = 0.5, .adaptive = adaptive});
        auto b = optim::sam(optim::sgd(there, {.lr = 0.1, .momentum = 0.9}), {.rho = 0.5, .adaptive = adaptive});
        auto average = optim::ema(here, {.decay = 0.5}), other = optim::ema(there, {.decay = 0.5});
        for (int k = 0; k < 3; ++k) {
            a.step([&] { return loss_of(here, cpu); });
            b.step([&] { return loss_of(there, gpu); });
            average.update(here);
            other.update(there);
            check_close(there.weight.detach(), here.weight.detach(), 1e-12);
            check_close(other.module().weight.detach(), average.module().weight.detach(), 1e-12);
        }
    }
    auto a = optim::lbfgs(here, {.iterations = 4, .history = 3}), b = optim::lbfgs(there, {.iterations = 4, .history = 3});
    for (int k = 0; k < 2; ++k) {
        const double p = a.step([&] { return loss_of(here, cpu); }), q = b.step([&] { return loss_of(there, gpu); });
        CHECK(q == Approx(p).epsilon(1e-9));
    }
    CHECK(a.evaluations() == b.evaluations());
    check_close(there.weight.detach(), here.weight.detach(), 1e-8);
    check_close(there.unused.detach(), here.unused.detach(), 0);
}

TEST_CASE("the stochastic delta rule on the device", "[cuda][optim]") {
    using T = double;
    Pair<T> here(cpu), there(gpu);
    optim::SdrOptions options;
    options.beta = 0.5;
    options.scope = optim::SdrScope::all;
    options.scale_free = true;
    auto a = optim::sdr(optim::sgd(here, {.lr = 0.1, .momentum = 0.9}), options), b = optim::sdr(optim::sgd(there, {.lr = 0.1, .momentum = 0.9}), options);
    const auto step = [](auto& net, auto& optimiser, Device where, std::uint64_t k) {
        const auto drawn = optimiser.sample(net, Key(k));
        mean(square(drawn.weight * numbers<T>({5, 7, 33}).to(where) + drawn.bias - 0.5)).backward();
        optimiser.step();
    };
    for (std::uint64_t k = 0; k < 4; ++k) {
        check_close(b.sample(there, Key(k)).unused.detach(), a.sample(here, Key(k)).unused.detach(), 1e-12);
        step(here, a, cpu, k);
        step(there, b, gpu, k);
        check_close(there.weight.detach(), here.weight.detach(), 1e-12);
        check_close(b.deviation(there.weight), a.deviation(here.weight), 1e-12);
        check_close(b.deviation(there.bias), a.deviation(here.bias), 1e-12);
    }
    CHECK(b.noise_ratio() == Approx(a.noise_ratio()));
}

TEST_CASE("clipping and rows on the device", "[cuda][optim]") {
    Tensor<float, 2> here = clone(numbers<float>({9, 5})).require_grad(), there = clone(numbers<float>({9, 5}).to(gpu)).require_grad();
    auto a = optim::adam(here, {.lr = 0.1}), b = optim::adam(there, {.lr = 0.1});
    Tensor<std::int64_t, 1> rows = empty<std::int64_t>({3});
    rows.data()[0] = 0, rows.data()[1] = 4, rows.data()[2] = 8;
    const auto step = [&](auto& w, auto& optimiser, Device where, int k) {
        sum(square(w) * numbers<float>({9, 5}, k + 2).to(where)).backward();
        const double norm = optimiser.clip_norm(10, k == 0 ? 1.0 : k == 1 ? 2.0 : HUGE_VAL);
        optimiser.clip_value(0.2);
        if (k != 1) optimiser.only_rows(w, rows.to(where));
        optimiser.step();
        return norm;
    };
    for (int k = 0; k < 3; ++k) {
        CHECK(step(there, b, gpu, k) == Approx(step(here, a, cpu, k)).epsilon(1e-6));
        check_close(there.detach(), here.detach(), 1e-5);
    }
    // A NaN among magnitudes.
    Tensor<float, 1> g = numbers<float>({1000});
    g.data()[517] = std::nanf("");
    CHECK(std::isnan(kernels::cuda::largest_magnitude(1000, g.to(gpu).data())));
    CHECK(kernels::cuda::largest_magnitude(500, g.to(gpu).data()) == kernels::cpu::largest_magnitude(500, g.data()));
}

TEST_CASE("a norm that is not finite skips the step on the device", "[cuda][optim]") {
    Tensor<float, 1> w = clone(numbers<float>({40}).to(gpu)).require_grad();
    auto optimizer = optim::sgd(w, {.lr = 1});
    Tensor<float, 0> loss = sum(w * HUGE_VALF);
    loss.backward();
    CHECK(std::isinf(optimizer.clip_norm(1)));
    optimizer.step();
    CHECK(optimizer.statistics().skipped == 1);
    check_close(w.detach(), numbers<float>({40}), 0);
    // The gradient that was there when the optimiser was built, and one that is kept.
    Tensor<float, 1> v = clone(numbers<float>({40}).to(gpu)).require_grad();
    Tensor<float, 0> first = sum(v * v);
    first.backward();
    auto other = optim::sgd(v, {.lr = 0.5});
    other.step({.keep_gradients = true});
    check_close(v.detach(), zeros<float>({40}), 0);
    CHECK(v.has_grad());
    other.zero_grad();
    CHECK_FALSE(v.has_grad());
}

TEST_CASE("kernels of optimisers on odd ranges", "[cuda][optim]") {
    for (long n : {1l, 3l, 31l, 33l, 1000l}) {
        Tensor<float, 1> g = numbers<float>({n + 1});
        const auto there = g.to(gpu);
        CHECK(kernels::cuda::sum_of_squares(n, there.data() + 1) == Approx(kernels::cpu::sum_of_squares(n, g.data() + 1)).epsilon(1e-12));
        Tensor<float, 1> p = numbers<float>({n + 1}, 3);
        auto q = p.to(gpu);
        const kernels::cpu::Sgd<float, false> rule(kernels::cpu::sgd_scalars(1, {.lr = 0.5}));
        const float coefficient = 0.25f;
        float* none = nullptr;
        kernels::cpu::fused_step(rule, n, p.data() + 1, g.data() + 1, none, none, none, true, &coefficient);
        kernels::cuda::fused_step(rule, n, q.data() + 1, there.data() + 1, none, none, none, true, &coefficient);
        check_close(q, p, 1e-6);
        check_close(there, g, 0);
    }
    const kernels::cpu::Sgd<float, false> rule(kernels::cpu::sgd_scalars(1, {}));
    kernels::cuda::fused_step(rule, 0, static_cast<float*>(nullptr), static_cast<float*>(nullptr), static_cast<float*>(nullptr),
                              static_cast<float*>(nullptr), static_cast<float*>(nullptr), true);
    CHECK(kernels::cuda::sum_of_squares(0, static_cast<const float*>(nullptr)) == 0);
    CHECK(kernels::cuda::sum_of_squares(20000, zeros<float>({20000}, gpu).data()) == 0);
}

TEST_CASE("steps of a captured graph", "[cuda][optim]") {
    // The numbers of each step, a rate that changes between launches, and a mask that is another in every launch.
    Pair<float> here(gpu), there(gpu);
    auto a = optim::adam(here, {.lr = 0.01}), b = optim::adam(there, {.lr = 0.01});
    const auto x = numbers<float>({5, 7, 33}).to(gpu);
    const auto step = [&](Pair<float>& net, auto& optimizer, Key key) {
        Tensor<float, 0> loss = mean(square(dropout(net.weight * x + net.bias, 0.5, key)));
        loss.backward();
        optimizer.step();
        return loss;
    };
    step(here, a, Key(7));
    step(there, b, Key(7));
    runtime::Graph graph(gpu, [&] { return step(there, b, Key(5)); });
    for (int k = 0; k < 3; ++k) {
        if (k == 2) {
            a.set_lr_scale(0.5);
            b.set_lr_scale(0.5);
        }
        const auto p = step(here, a, Key(5).split(static_cast<std::uint64_t>(k))), q = graph.replay();
        check_close(q.detach(), p.detach().to(cpu), 0);
        check_close(there.weight.detach(), here.weight.detach().to(cpu), 0);
        check_close(there.bias.detach(), here.bias.detach().to(cpu), 0);
    }
    long steps_here = 0, steps_there = 0;
    const auto nothing = [](const char*, const char*, const detail::AnyTensor&) {};
    a.visit_state(nothing, [&](const char*, long& n) { steps_here += n; });
    b.visit_state(nothing, [&](const char*, long& n) { steps_there += n; });
    CHECK(steps_here == steps_there);
    CHECK(steps_here == 8);
}

TEST_CASE("rules that remember, and those with norms, in a captured graph", "[cuda][optim]") {
    const auto run = [](auto make) {
        Pair<float> here(gpu), there(gpu);
        auto a = make(here), b = make(there);
        const auto x = numbers<float>({5, 7, 33}).to(gpu);
        const auto step = [&](Pair<float>& net, auto& optimiser) {
            Tensor<float, 0> loss = mean(square(net.weight * x + net.bias));
            loss.backward();
            optimiser.step();
        };
        step(here, a);
        step(there, b);
        runtime::Graph graph(gpu, [&] { step(there, b); });
        for (int k = 0; k < 3; ++k) {
            step(here, a);
            graph.replay();
            check_close(there.weight.detach(), here.weight.detach().to(cpu), 0);
            check_close(there.bias.detach(), here.bias.detach().to(cpu), 0);
        }
    };
    run([](auto& net) { return optim::nadam(net); });
    run([](auto& net) { return optim::radam(net, {.beta2 = 0.5}); });
    run([](auto& net) { return optim::lamb(net, {.weight_decay = 0.1}); });
    run([](auto& net) { return optim::lars(net, {.weight_decay = 0.1}); });
    Pair<float> net(gpu);
    auto lookahead = optim::lookahead(optim::sgd(net));
    CHECK_THROWS_WITH(runtime::Graph(gpu, [&] { lookahead.step(); }), Catch::Contains("lookahead: cannot be part of a captured graph"));
}

TEST_CASE("cross-entropy in a captured graph", "[cuda][optim]") {
    const auto y = indices<std::int64_t>({9}, 5).to(gpu);
    Tensor<float, 2> w = clone(numbers<float>({9, 5}).to(gpu)).require_grad();
    runtime::Graph graph(gpu, [&] {
        const auto loss = cross_entropy(w, y);
        loss.backward();
        return loss;
    });
    const auto gradient = w.grad();
    Tensor<float, 2> v = numbers<float>({9, 5}).require_grad();
    const auto loss = cross_entropy(v, indices<std::int64_t>({9}, 5));
    loss.backward();
    check_close(graph.replay().detach(), loss.detach(), 1e-6);
    check_close(gradient, v.grad(), 1e-6);
}
