// The same function on the CPU and on the device: results and gradients.
#pragma once

#include <tenon/ops/copy.hpp>
#include <tenon/ops/reduce.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <tuple>
#include <utility>

namespace agreement {

using namespace tenon;

// Multiples of 1/8 in [-2, 2): sums of their products are exact in float, in whatever order.
template <class T, int R>
Tensor<T, R> numbers(Shape<R> sizes, unsigned seed) {
    Tensor<T, R> x = full<T>(sizes, T(0.0f));
    unsigned state = seed * 2654435761u + 1;
    for (long i = 0; i < x.size(); ++i) {
        state = state * 1664525u + 1013904223u;
        x.data()[i] = static_cast<T>((static_cast<float>(state >> 27) - 16.0f) / 8.0f);
    }
    return x;
}
template <class T, std::size_t R>
Tensor<T, static_cast<int>(R)> numbers(const long (&sizes)[R], unsigned seed) {
    Shape<static_cast<int>(R)> shape;
    for (std::size_t i = 0; i < R; ++i) shape.dims[i] = sizes[i];
    return numbers<T>(shape, seed);
}

// |a - b| <= bound * (1 + |a|), or both NaN, everywhere.
template <class T, int R>
void check_close(const Tensor<T, R>& want, const Tensor<T, R>& have, double bound) {
    REQUIRE(want.size() == have.size());
    const Tensor<T, R> a = contiguous(want.detach()), b = contiguous(have.detach().to(cpu));
    long wrong = 0, first = -1;
    for (long i = 0; i < a.size(); ++i) {
        const double x = static_cast<double>(a.data()[i]), y = static_cast<double>(b.data()[i]);
        if (std::fabs(x - y) <= bound * (1 + std::fabs(x)) || (std::isnan(x) && std::isnan(y)) || x == y) continue;
        ++wrong;
        if (first < 0) first = i;
    }
    const double wanted = first < 0 ? 0 : static_cast<double>(a.data()[first]), got = first < 0 ? 0 : static_cast<double>(b.data()[first]);
    CAPTURE(first, wanted, got, bound);
    CHECK(wrong == 0);
}

// Values and gradients of f at the inputs; gradients of a sum with weights, taken `times` times.
template <class F, class... X>
void agree(double bound, F f, const X&... inputs) {
    const std::tuple<X...> here{clone(inputs)...}, there{inputs.to(cuda())...};
    std::apply([](auto&... x) { (x.require_grad(), ...); }, const_cast<std::tuple<X...>&>(here));
    std::apply([](auto&... x) { (x.require_grad(), ...); }, const_cast<std::tuple<X...>&>(there));
    const auto y = impl::as_tensor(std::apply(f, here));
    const auto z = impl::as_tensor(std::apply(f, there));
    CHECK(z.device() == cuda());
    check_close(y, z, bound);
    using Y = std::remove_const_t<decltype(y)>;
    Shape<Y::rank> sizes;
    for (int i = 0; i < Y::rank; ++i) sizes.dims[i] = y.shape(i);
    const Y weights = numbers<typename Y::Scalar>(sizes, 99);
    for (int times = 0; times < 2; ++times) {
        sum(impl::as_tensor(std::apply(f, here)) * weights).backward();
        sum(impl::as_tensor(std::apply(f, there)) * weights.to(cuda())).backward();
        [&]<std::size_t... K>(std::index_sequence<K...>) {
            (check_close(std::get<K>(here).grad(), std::get<K>(there).grad(), bound), ...);
        }(std::index_sequence_for<X...>{});
    }
}

}  // namespace agreement
