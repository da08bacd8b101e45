// Optimisers on modules: arenas, aliases, kept gradients, skipped parameters, clipping, and bits that do not depend on
// the number of threads.
#include <tenon/tenon.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <cstring>
#include <limits>

using namespace tenon;

namespace {

struct Mlp {
    nn::Linear<float> first, second, third;
    explicit Mlp(Key key) : first(64, 48, key.split(0)), second(48, 32, key.split(1)), third(32, 10, key.split(2)) {}
    Tensor<float, 2> operator()(const Tensor<float, 2>& x) const { return third(relu(second(relu(first(x))))); }
    static void visit(auto& self, auto&& f) {
        f("first", self.first);
        f("second", self.second);
        f("third", self.third);
    }
};

struct Two {
    Tensor<double, 1> a, b;
    static void visit(auto& self, auto&& f) {
        f("a", self.a);
        f("b", self.b);
    }
};

template <class T, int R>
bool same(const Tensor<T, R>& a, const Tensor<T, R>& b) {
    return std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(T)) == 0;
}

template <class Make>
Mlp train(int threads, Make make) {
    set_num_threads(threads);
    Mlp net(Key{42});
    auto optimizer = make(net);
    const auto x = randn<float>({512, 64}, Key{1});
    const auto y = integers({512}, Key{2}, 0, 10);
    for (int step = 0; step < 30; ++step) {
        auto loss = cross_entropy(net(x), y);
        loss.backward();
        optimizer.step();
    }
    set_num_threads(2);
    return net;
}

}  // namespace

TEST_CASE("the same seed gives the same weights, with one thread, with two, and again") {
    auto adabound = [](Mlp& net) { return optim::adabound(net, {.lr = 1e-2, .final_lr = 0.1, .weight_decay = 1e-4}); };
    const Mlp one = train(1, adabound), two = train(2, adabound), again = train(2, adabound);
    CHECK(same(one.first.weight, two.first.weight));
    CHECK(same(one.third.bias, two.third.bias));
    CHECK(same(two.first.weight, again.first.weight));
    CHECK_FALSE(same(one.first.weight, Mlp(Key{42}).first.weight));
}

TEST_CASE("every rule lowers the loss of a small classifier") {
    const auto x = randn<float>({256, 64}, Key{1});
    const auto y = integers({256}, Key{2}, 0, 10);
    auto final_loss = [&](auto make) {
        Mlp net(Key{3});
        auto optimizer = make(net);
        for (int step = 0; step < 200; ++step) {
            cross_entropy(net(x), y).backward();
            optimizer.step();
        }
        return cross_entropy(net(x), y).item();
    };
    CHECK(final_loss([](Mlp& n) { return optim::sgd(n, {.lr = 0.1, .momentum = 0.9}); }) < 0.2f);
    CHECK(final_loss([](Mlp& n) { return optim::sgd(n, {.lr = 0.1, .momentum = 0.9, .nesterov = true}); }) < 0.2f);
    CHECK(final_loss([](Mlp& n) { return optim::adam(n, {.lr = 3e-3}); }) < 0.2f);
    CHECK(final_loss([](Mlp& n) { return optim::adamw(n, {.lr = 3e-3, .weight_decay = 0.01}); }) < 0.2f);
    CHECK(final_loss([](Mlp& n) { return optim::amsgrad(n, {.lr = 3e-3}); }) < 0.2f);
    CHECK(final_loss([](Mlp& n) { return optim::adabound(n, {.lr = 3e-3}); }) < 0.2f);
    CHECK(final_loss([](Mlp& n) { return optim::amsbound(n, {.lr = 3e-3}); }) < 0.2f);
}

TEST_CASE("handles and views follow their parameter into the arena") {
    Mlp net(Key{1});
    const auto handle = net.first.weight;
    const auto row = net.first.weight.detach()(2);
    const float before = row.data()[5];
    auto optimizer = optim::sgd(net, {.lr = 1});
    CHECK(handle.data() == net.first.weight.data());
    CHECK(row.data() == net.first.weight.data() + 2 * 64);
    CHECK(row.data()[5] == before);
    sum(net.first.weight).backward();
    optimizer.step();
    CHECK(row.data()[5] == before - 1);
    CHECK(handle.data()[2 * 64 + 5] == before - 1);
}

TEST_CASE("a parameter without a gradient is left alone, its step count too") {
    Two net;
    net.a = ones<double>({3}).require_grad();
    net.b = ones<double>({5}).require_grad();
    auto optimizer = optim::adam(net, {.lr = 0.1});
    for (int i = 0; i < 3; ++i) {
        sum(square(net.a)).backward();
        optimizer.step();
    }
    CHECK(net.b.data()[0] == 1);
    CHECK(net.a.data()[0] != 1);
    // The first step of b is its first: Adam moves by lr whatever the gradient.
    sum(net.b * 100.0).backward();
    optimizer.step();
    CHECK(net.b.data()[4] == Approx(0.9).epsilon(1e-9));
}

TEST_CASE("a kept gradient keeps its values over the next step and backward") {
    Two net;
    net.a = ones<double>({3}).require_grad();
    net.b = ones<double>({5}).require_grad();
    auto optimizer = optim::sgd(net, {.lr = 0.5});
    sum(net.a * 3.0).backward();
    const auto kept = net.a.grad();
    optimizer.step();
    CHECK(kept.data()[1] == 3);
    CHECK_FALSE(net.a.has_grad());
    sum(net.a * 7.0).backward();
    CHECK(kept.data()[1] == 3);
    CHECK(net.a.grad().data()[1] == 7);
    optimizer.step();
    CHECK(net.a.data()[0] == 1 - 1.5 - 3.5);
}

TEST_CASE("gradients add up between steps, and keep_gradients leaves them") {
    Two net;
    net.a = zeros<double>({2}).require_grad();
    net.b = zeros<double>({2}).require_grad();
    auto optimizer = optim::sgd(net, {.lr = 1});
    sum(net.a * 2.0).backward();
    sum(net.a * 3.0).backward();
    optimizer.step({.keep_gradients = true});
    CHECK(net.a.data()[0] == -5);
    optimizer.step();
    CHECK(net.a.data()[0] == -10);
    CHECK_FALSE(net.a.has_grad());
}

TEST_CASE("tied parameters are updated once") {
    Two net;
    net.a = ones<double>({4}).require_grad();
    net.b = net.a;
    auto optimizer = optim::sgd(net, {.lr = 1});
    sum(net.a + net.b).backward();
    CHECK(net.a.grad().data()[0] == 2);
    optimizer.step();
    CHECK(net.b.data()[0] == -1);
}

TEST_CASE("two optimisers on one parameter, or none to train, are errors") {
    Two net;
    net.a = ones<double>({4}).require_grad();
    net.b = ones<double>({4}).require_grad();
    {
        auto optimizer = optim::sgd(net);
        CHECK_THROWS_WITH(optim::adam(net), Catch::Contains("adam: parameter \"a\" belongs to another optimiser"));
        auto moved = static_cast<decltype(optimizer)&&>(optimizer);
        CHECK_THROWS_AS(optim::adam(net), GradError);
    }
    auto after = optim::adam(net);
    sum(net.a).backward();
    after.step();
    CHECK(net.a.data()[0] < 1);

    Two fixed;
    fixed.a = fixed.b = ones<double>({4});
    CHECK_THROWS_WITH(optim::sgd(fixed), Catch::Contains("\"a\" wants no gradient"));
    CHECK_THROWS_WITH(optim::adam(fixed, {.beta1 = 1.5}), Catch::Contains("adam: expected betas in [0, 1), got 1.5"));
}

TEST_CASE("clip_norm returns the norm and scales the next step only") {
    Two net;
    net.a = zeros<double>({1}).require_grad();
    net.b = zeros<double>({1}).require_grad();
    auto optimizer = optim::sgd(net, {.lr = 1});
    sum(net.a * 3.0 + net.b * 4.0).backward();
    CHECK(optimizer.clip_norm(1) == Approx(5));
    optimizer.step();
    CHECK(net.a.data()[0] == Approx(-0.6).epsilon(1e-6));
    CHECK(net.b.data()[0] == Approx(-0.8).epsilon(1e-6));
    sum(net.a * 3.0 + net.b * 4.0).backward();
    CHECK(optimizer.clip_norm(10) == Approx(5));
    optimizer.step();
    CHECK(net.a.data()[0] == Approx(-3.6).epsilon(1e-6));

    sum(net.a * std::numeric_limits<double>::infinity()).backward();
    optimizer.clip_norm(1);
    const double before = net.a.data()[0];
    optimizer.step();
    CHECK(net.a.data()[0] == before);
    CHECK(optimizer.statistics().skipped == 1);
    CHECK_FALSE(net.a.has_grad());
    CHECK_THROWS_AS(optimizer.clip_norm(0), ValueError);
}

TEST_CASE("a schedule's factor scales the rate, and AdaBound's bounds with it") {
    Two net;
    net.a = zeros<double>({1}).require_grad();
    net.b = zeros<double>({1}).require_grad();
    auto optimizer = optim::sgd(net, {.lr = 1});
    optimizer.set_lr_scale(0.25);
    sum(net.a).backward();
    optimizer.step();
    CHECK(net.a.data()[0] == -0.25);
}

TEST_CASE("the band of AdaBound closes: every coordinate ends at a bound") {
    Mlp net(Key{9});
    auto optimizer = optim::adabound(net, {.lr = 1e-3, .final_lr = 0.1, .gamma = 1e6});
    const auto x = randn<float>({64, 64}, Key{1});
    const auto y = integers({64}, Key{2}, 0, 10);
    cross_entropy(net(x), y).backward();
    optimizer.step();
    const auto counts = optimizer.bound_histogram();
    CHECK(counts.at_lower + counts.inside + counts.at_upper == nn::parameter_count(net));
    CHECK(counts.inside < nn::parameter_count(net) / 100);
}

TEST_CASE("a step does not let a tape read what it has overwritten") {
    Two net;
    net.a = ones<double>({3}).require_grad();
    net.b = ones<double>({3}).require_grad();
    auto optimizer = optim::sgd(net, {.lr = 1});
    auto early = sum(square(net.a));
    sum(net.a).backward();
    optimizer.step();
    CHECK_THROWS_WITH(early.backward(), Catch::Contains("overwritten") && Catch::Contains("\"sgd\""));
}
