// L-BFGS against torch.optim.LBFGS on Rosenbrock's function, and what its line search promises.
#include "../golden/golden.hpp"

#include <tenon/optim/lbfgs.hpp>
#include <tenon/tenon.hpp>

#include <catch2/catch.hpp>

#include <cmath>

using namespace tenon;

namespace {

const golden::File& file() {
    static const golden::File read = golden::read(TENON_TEST_DIR "/golden/optim.safetensors");
    return read;
}
template <class T = double>
Tensor<T, 1> start() {
    const std::vector<double>& values = file().at("lbfgs/start").reals;
    Tensor<T, 1> p = empty<T>({static_cast<long>(values.size())});
    for (long i = 0; i < p.size(); ++i) p.data()[i] = static_cast<T>(values[static_cast<std::size_t>(i)]);
    return p.require_grad();
}
template <class T>
Tensor<T, 0> rosenbrock(const Tensor<T, 1>& p) {
    const long n = p.size();
    const auto head = p(slice(0, n - 1)), tail = p(slice(1, n));
    return sum(square(tail - square(head)) * T(100) + square(T(1) - head));
}
void check(const char* name, const optim::LbfgsOptions& options) {
    const golden::Array &expected = file().at(std::string("lbfgs/") + name + "/p"), &evaluations = file().at(std::string("lbfgs/") + name + "/evaluations");
    auto p = start();
    auto optimiser = optim::lbfgs(p, options);
    for (std::size_t step = 0; step < 6; ++step) {
        optimiser.step([&] {
            auto loss = rosenbrock(p);
            loss.backward();
            return loss;
        });
        INFO(name << " after step " << step + 1);
        CHECK(optimiser.evaluations() == evaluations.integers[step]);
        for (std::size_t i = 0; i < 10; ++i) CHECK(p.detach().data()[i] == Approx(expected.reals[step * 10 + i]).epsilon(1e-6).margin(1e-6));
    }
}

struct Net {
    Tensor<double, 2> a;
    Tensor<float, 1> b;
    Tensor<double, 1> unused;
    static void visit(auto& self, auto&& f) {
        f("a", self.a);
        f("b", self.b);
        f("unused", self.unused);
    }
};

}  // namespace

TEST_CASE("L-BFGS follows torch.optim", "[optim][lbfgs]") {
    check("wolfe", {.iterations = 8, .history = 5});
    check("wolfe_short", {.lr = 0.5, .iterations = 20, .history = 3});
    check("plain", {.lr = 0.002, .iterations = 10, .history = 4, .strong_wolfe = false});
}

TEMPLATE_TEST_CASE("L-BFGS finds the minimum of Rosenbrock's function", "[optim][lbfgs]", float, double) {
    auto p = start<TestType>();
    auto optimiser = optim::lbfgs(p);
    double loss = 0;
    for (int step = 0; step < 15; ++step)
        loss = optimiser.step([&] {
            auto now = rosenbrock(p);
            now.backward();
            return now;
        });
    CHECK(loss < 1e-8);
    for (long i = 0; i < p.size(); ++i) CHECK(p.detach().data()[i] == Approx(1).margin(1e-3));
    CHECK_FALSE(p.has_grad());
}

TEST_CASE("L-BFGS takes several parameters, of which the loss may not reach all", "[optim][lbfgs]") {
    // A quadratic: done within a step, and not a gradient calculation more than needed.
    Net net{ones<double>({2, 3}).require_grad(), ones<float>({5}).require_grad(), ones<double>({4}).require_grad()};
    sum(net.unused * 7.0).backward();  // a gradient from before
    auto optimiser = optim::lbfgs(net);
    optimiser.step([&] {
        Tensor<double, 0> first = sum(square(net.a - 3.0)) * 2.0;
        first.backward();
        Tensor<float, 0> second = sum(square(net.b + 2.0f));
        second.backward();
        return first.item() + static_cast<double>(second.item());
    });
    for (long i = 0; i < 6; ++i) CHECK(net.a.detach().data()[i] == Approx(3).margin(1e-5));
    for (long i = 0; i < 5; ++i) CHECK(net.b.detach().data()[i] == Approx(-2).margin(1e-5));
    for (long i = 0; i < 4; ++i) CHECK(net.unused.detach().data()[i] == 1);
}

TEST_CASE("the line search gives a point of the strong Wolfe conditions", "[optim][lbfgs]") {
    // Functions of one variable with minima near and far, from a first step that is far off.
    const auto check_one = [](auto f, auto slope, double first) {
        using Point = optim::LinePoint<double>;
        long evaluations = 0;
        const auto at = [&](double t) { return Point{t, f(t), slope(t), slope(t)}; };
        const Point found = optim::strong_wolfe(at, at(0), first, 1.0, evaluations);
        INFO("from " << first << " to " << found.t);
        CHECK(found.loss <= f(0) + 1e-4 * found.t * slope(0));
        CHECK(std::abs(found.slope) <= -0.9 * slope(0) + 1e-12);
        CHECK(found.gradient == found.slope);
        CHECK(evaluations <= 26);
    };
    for (double first : {1e-4, 0.1, 1.0, 7.0, 300.0}) {
        check_one([](double t) { return (t - 1) * (t - 1); }, [](double t) { return 2 * (t - 1); }, first);
        check_one([](double t) { return std::cosh(t - 2); }, [](double t) { return std::sinh(t - 2); }, first);
        check_one([](double t) { return -t * std::exp(-t); }, [](double t) { return (t - 1) * std::exp(-t); }, first);
        check_one([](double t) { return std::sqrt(1 + (t - 3) * (t - 3)); }, [](double t) { return (t - 3) / std::sqrt(1 + (t - 3) * (t - 3)); }, first);
    }
}

TEST_CASE("L-BFGS refuses what it cannot be", "[optim][lbfgs]") {
    auto p = start();
    CHECK_THROWS_WITH(optim::lbfgs(p, {.lr = -1}), Catch::Contains("lbfgs: lr is -1"));
    CHECK_THROWS_WITH(optim::lbfgs(p, {.lr = std::nan("")}), Catch::Contains("lbfgs: lr is nan"));
    CHECK_THROWS_WITH(optim::lbfgs(p, {.history = 0}), Catch::Contains("history 0"));
    CHECK_THROWS_AS(optim::lbfgs(p, {.iterations = 0}), ValueError);
    auto optimiser = optim::lbfgs(p);
    CHECK_THROWS_AS(optim::lbfgs(p), GradError);
}
