// A function of tensors on the device against the same on the CPU: values and gradients.
#pragma once

#include <tenon/tenon.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <vector>

namespace agree {

// Numbers from -2 to 2 that repeat late, without a generator. Those of 16 bits are eighths, so that sums of some dozens are
// exact in whatever order and width they are added.
template <class T, int R>
tenon::Tensor<T, R> numbers(const tenon::Shape<R>& shape, long seed = 1) {
    tenon::Tensor<T, R> x = tenon::empty<T>(shape);
    for (long i = 0; i < x.size(); ++i) {
        const long n = (i * 7919 + seed * 104729) % 997;
        if constexpr (std::is_same_v<T, bool>) x.data()[i] = n % 3 == 0;
        else if constexpr (std::is_integral_v<T>) x.data()[i] = static_cast<T>(n % 23);
        else if constexpr (sizeof(T) == 2) x.data()[i] = static_cast<T>(static_cast<float>(n % 33) / 8.f - 2.f);
        else x.data()[i] = static_cast<T>(static_cast<float>(n) / 256.f - 2.f);
    }
    return x;
}
template <class I, int R>
tenon::Tensor<I, R> indices(const tenon::Shape<R>& shape, long size, long seed = 1) {
    tenon::Tensor<I, R> x = tenon::empty<I>(shape);
    for (long i = 0; i < x.size(); ++i) x.data()[i] = static_cast<I>((i * i * 31 + i * 7 + seed) % 1009 % size);
    return x;
}

template <class T>
constexpr double tolerance = std::is_same_v<T, double> ? 1e-12 : std::is_same_v<T, float> ? 2e-5 : std::is_same_v<T, tenon::bf16> ? 2e-2 : 3e-3;

template <class T, int R>
void check(const tenon::Tensor<T, R>& device, const tenon::Tensor<T, R>& host) {
    REQUIRE(device.device() == tenon::cuda(0));
    for (int i = 0; i < R; ++i) REQUIRE(device.shape(i) == host.shape(i));
    const auto a = tenon::contiguous(device.detach().to(tenon::cpu)), b = tenon::contiguous(host.detach());
    long different = 0;
    for (long i = 0; i < a.size(); ++i) {
        if constexpr (std::is_integral_v<T>) {
            different += a.data()[i] != b.data()[i];
        } else {
            const double x = static_cast<double>(a.data()[i]), y = static_cast<double>(b.data()[i]);
            const bool same = x == y || (std::isnan(x) && std::isnan(y)) || std::fabs(x - y) <= tolerance<T> * (1 + std::fabs(y));
            if (!same && different++ == 0) UNSCOPED_INFO("element " << i << " is " << x << ", expected " << y);
        }
    }
    CHECK(different == 0);
}

// f(x) on both devices, and the gradient of sum(f(x) * weights); f gets the device to bring other tensors to.
template <class T, int R, class F>
void values_and_gradients(const tenon::Tensor<T, R>& x, F f) {
    using namespace tenon;
    const Device gpu = cuda(0);
    const auto run = [&](Device device) {
        Tensor<T, R> leaf = x.to(device).detach();
        leaf = clone(leaf);
        if constexpr (Floating<T>) leaf.require_grad();
        const auto y = f(leaf, device);
        using Y = std::remove_const_t<decltype(y)>;
        if constexpr (Floating<typename Y::Scalar> && Floating<T>) {
            const auto weights = numbers<typename Y::Scalar, Y::rank>(y.shape(), 3).to(device);
            // Twice: gradients are written, then added to.
            for (int k = 0; k < 2; ++k) {
                const auto again = f(leaf, device);
                if (again.requires_grad()) sum(again * weights).backward();
            }
        }
        struct Result { Y y; Tensor<T, R> leaf; };
        return Result{y, leaf};
    };
    const auto host = run(cpu), device = run(gpu);
    check(device.y, host.y);
    if constexpr (Floating<T>)
        if (host.leaf.has_grad()) check(device.leaf.grad(), host.leaf.grad());
}

}  // namespace agree
