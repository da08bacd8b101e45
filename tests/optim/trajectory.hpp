// The problem of tests/golden/optim.py: trajectories of optimisers on a quadratic with a moving linear term.
#pragma once

#include "../golden/golden.hpp"

#include <tenon/tenon.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>

namespace trajectory {

using namespace tenon;

inline const golden::File& file() {
    static const golden::File read = golden::read(TENON_TEST_DIR "/golden/optim.safetensors");
    return read;
}

// The starting point as a parameter.
template <class T>
Tensor<T, 1> start() {
    const std::vector<double>& p0 = file().at("problem/p0").reals;
    Tensor<T, 1> p = empty<T>({static_cast<long>(p0.size())});
    for (long i = 0; i < p.size(); ++i) p.data()[i] = static_cast<T>(p0[static_cast<std::size_t>(i)]);
    return p.require_grad();
}
// The gradient of step t at p.
template <class T>
void set_gradient(const Tensor<T, 1>& p, int t) {
    const std::vector<double>&a = file().at("problem/a").reals, &c = file().at("problem/c").reals;
    Tensor<T, 1> g = empty<T>({p.size()});
    for (long i = 0; i < p.size(); ++i) {
        const std::size_t k = static_cast<std::size_t>(i);
        g.data()[i] = static_cast<T>(a[k]) * (p.detach().data()[i] - static_cast<T>(c[k])) + static_cast<T>(0.1 * std::sin(0.7 * t + static_cast<double>(i)));
    }
    sum(p * g).backward();
}
template <class T>
double tolerance() { return std::is_same_v<T, double> ? 1e-11 : 2e-6; }

// 50 steps of the optimiser that make(p) builds against the golden ones.
template <class T, class Make>
void check(const char* name, Make make) {
    const golden::Array& expected = file().at(std::string(name) + "/p");
    Tensor<T, 1> p = start<T>();
    auto optimiser = make(p);
    std::size_t row = 0;
    for (int t = 1; t <= 50; ++t) {
        set_gradient(p, t);
        optimiser.step();
        if (t != 1 && t != 5 && t != 6 && t != 20 && t != 50) continue;
        double worst = 0;
        for (long i = 0; i < p.size(); ++i) {
            const double wanted = expected.reals[row * static_cast<std::size_t>(p.size()) + static_cast<std::size_t>(i)];
            const double off = std::abs(static_cast<double>(p.detach().data()[i]) - wanted) / std::max(1.0, std::abs(wanted));
            if (!(off <= worst)) worst = off;
        }
        INFO(name << " after step " << t);
        CHECK(worst <= tolerance<T>());
        ++row;
    }
    CHECK(row == 5);
}

}  // namespace trajectory
