// Operations on a device against the same on the CPU: results and gradients.
#pragma once

#include <tenon/tenon.hpp>

#include <catch2/catch.hpp>

#include <cmath>

namespace compare {

using namespace tenon;

inline const Device device = Device::parse("cuda");

// Numbers in [-2, 2) without a pattern.
template <class T, std::size_t R>
Tensor<T, static_cast<int>(R)> numbers(const Dim (&sizes)[R], long seed = 1) {
    Tensor<T, static_cast<int>(R)> x = empty<T>(sizes);
    for (long i = 0; i < x.size(); ++i) x.data()[i] = static_cast<T>(static_cast<float>((i * 7919 + seed * 104729) % 4001) / 1000.f - 2.f);
    return x;
}
template <std::size_t R>
Tensor<std::int64_t, static_cast<int>(R)> labels(const Dim (&sizes)[R], long classes) {
    Tensor<std::int64_t, static_cast<int>(R)> x = empty<std::int64_t>(sizes);
    for (long i = 0; i < x.size(); ++i) x.data()[i] = (i * 31 + 7) % classes;
    return x;
}

// Rounding errors of the type's computations; a 16-bit result also rounds once more.
template <class T>
double tolerance() { return std::is_same_v<T, double> ? 1e-12 : std::is_same_v<T, float> ? 2e-5 : 0.02; }

template <class T, int R>
void same(const Tensor<T, R>& found, const Tensor<T, R>& wanted, double within) {
    const Tensor<T, R> a = contiguous(found.to(cpu)), b = contiguous(wanted);
    REQUIRE(a.size() == b.size());
    for (int i = 0; i < R; ++i) REQUIRE(a.shape(i) == b.shape(i));
    double worst = 0;
    long at = -1;
    for (long i = 0; i < a.size(); ++i) {
        const double p = static_cast<double>(a.data()[i]), q = static_cast<double>(b.data()[i]);
        if (p == q || (std::isnan(p) && std::isnan(q))) continue;
        const double off = std::isfinite(p) && std::isfinite(q) ? std::abs(p - q) / (1 + std::abs(q)) : HUGE_VAL;
        if (!(off <= worst)) {
            worst = off;
            at = i;
        }
    }
    if (!(worst <= within)) {
        INFO("element " << at << " of " << a.size() << ": device " << static_cast<double>(a.data()[at]) << ", CPU "
                        << static_cast<double>(b.data()[at]));
        CHECK(worst <= within);
    } else {
        CHECK(worst <= within);
    }
}

// f(device, x...) of tensors that want gradients, on both; the second pass adds to the gradients of the first.
template <class F, class T, int... R>
void both(double within, F f, const Tensor<T, R>&... x) {
    const auto run = [&](Device where) {
        std::tuple<Tensor<T, R>...> leaves(clone(x.to(where)).require_grad()...);
        auto y = std::apply([&](const auto&... leaf) { return eval(f(where, leaf...)); }, leaves);
        for (int pass = 0; pass < 2; ++pass) {
            const auto again = pass == 0 ? y : std::apply([&](const auto&... leaf) { return eval(f(where, leaf...)); }, leaves);
            auto factors = empty<T>(again.shape());
            for (long i = 0; i < factors.size(); ++i) factors.data()[i] = static_cast<T>(static_cast<float>(i % 5) * 0.5f - 0.75f);
            Tensor<T, 0> loss = sum(again * factors.to(where));
            loss.backward();
        }
        return std::tuple_cat(std::make_tuple(y.detach()),
                              std::apply([](const auto&... leaf) { return std::make_tuple(leaf.grad()...); }, leaves));
    };
    const auto wanted = run(cpu), found = run(device);
    [&]<std::size_t... I>(std::index_sequence<I...>) { (same(std::get<I>(found), std::get<I>(wanted), within), ...); }
    (std::make_index_sequence<sizeof...(R) + 1>());
}

}  // namespace compare
