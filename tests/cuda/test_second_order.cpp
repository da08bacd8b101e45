// Second derivatives of expressions on the device against the CPU's.
#include <tenon/autograd/functional.hpp>
#include <tenon/ops/second_order/fused.hpp>
#include <tenon/tenon.hpp>

#include <catch2/catch.hpp>

#include <cmath>

using namespace tenon;

namespace {

template <class T>
void check(double bound) {
    const auto run = [](Device device) {
        const auto leaf = [&]<int R>(const Shape<R>& shape, double step) {
            Tensor<T, R> x = empty<T>(shape);
            for (long i = 0; i < x.size(); ++i) x.data()[i] = static_cast<T>(std::sin(step * static_cast<double>(i) + 0.3));
            return clone(x.to(device)).require_grad();
        };
        const auto x = leaf(Shape<2>{{7, 12}}, 0.7);
        const auto w = leaf(Shape<1>{{12}}, 1.1);
        const auto s = leaf(Shape<1>{{1}}, 0.2);
        // A broadcast row and a number; x twice.
        const auto f = [&] { return mean(tanh(x * w + s) * x + sigmoid(x)); };
        const auto g = grad(f(), x, {.create_graph = true});
        sum(g * g).backward();
        f().backward({.create_graph = true});
        return std::make_tuple(g.detach().to(cpu), x.grad().detach().to(cpu), w.grad().detach().to(cpu), s.grad().detach().to(cpu));
    };
    const auto here = run(cpu), there = run(cuda());
    const auto same = [&](const auto& a, const auto& b) {
        REQUIRE(a.size() == b.size());
        double worst = 0, largest = 0;
        for (long i = 0; i < a.size(); ++i) {
            worst = std::max(worst, std::abs(static_cast<double>(a.data()[i]) - static_cast<double>(b.data()[i])));
            largest = std::max(largest, std::abs(static_cast<double>(b.data()[i])));
        }
        CHECK(largest > 0);
        CHECK(worst <= bound * (1 + largest));
    };
    same(std::get<0>(there), std::get<0>(here));
    same(std::get<1>(there), std::get<1>(here));
    same(std::get<2>(there), std::get<2>(here));
    same(std::get<3>(there), std::get<3>(here));
}

}  // namespace

TEST_CASE("second derivatives on the device are the CPU's") {
    check<double>(1e-13);
    check<float>(1e-5);
}
