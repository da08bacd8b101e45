// Operations on a device against the same on the CPU: values, and gradients where the inputs want them.
#pragma once

#include <tenon/core/factories.hpp>
#include <tenon/ops/copy.hpp>
#include <tenon/ops/reduce.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <cstring>
#include <tuple>
#include <utility>

namespace device_agreement {

using namespace tenon;

inline const Device gpu = cuda(0);

// [outer, n, inner] that take every way through a reduction: warps, blocks, columns, chunks of each.
struct Sizes { long outer, n, inner; };
constexpr Sizes all_sizes[] = {{1, 1, 1}, {3, 31, 1}, {5, 33, 1}, {2, 1000, 1}, {2, 1025, 1}, {1, 40000, 1}, {3, 7, 5},
                               {1, 500, 3}, {2, 300, 32}, {2, 65, 33}, {1, 300, 40}, {0, 4, 3}, {2, 3, 0}};

// x[i] = f(i).
template <class T, int R, class F>
Tensor<T, R> made(const Shape<R>& sizes, F f) {
    Tensor<T, R> x = empty<T>(sizes);
    for (long i = 0; i < x.size(); ++i) x.data()[i] = static_cast<T>(f(i));
    return x;
}
// From -2 to 2, repeating late. Those of 16 bits are eighths, so that sums of some dozens are exact in whatever order and width.
template <class T, int R>
Tensor<T, R> numbers(const Shape<R>& sizes, long seed = 1) {
    return made<T>(sizes, [&](long i) {
        const long n = (i * 7919 + seed * 104729) % 997;
        if constexpr (std::is_same_v<T, bool>) return n % 3 == 0;
        else if constexpr (std::is_integral_v<T>) return n % 23;
        else if constexpr (sizeof(T) == 2) return static_cast<float>(n % 33) / 8.f - 2.f;
        else return static_cast<float>(n) / 256.f - 2.f;
    });
}
// In [-2, 2) in steps of 1/50: equal ones come in short rows, and sums are rounded.
template <class T, int R>
Tensor<T, R> fiftieths(const Shape<R>& sizes, long seed = 1) {
    return made<T>(sizes, [&](long i) {
        const long k = (i * 7919 + i / 197 * 31 + seed * 1047) % 200;
        if constexpr (std::is_integral_v<T>) return std::is_unsigned_v<T> ? k : k - 100;
        else return static_cast<float>(k - 100) * 0.02f;
    });
}
// Multiples of 1/8 in [-2, 2): sums of their products are exact in float, in whatever order.
template <class T, int R>
Tensor<T, R> eighths(const Shape<R>& sizes, unsigned seed) {
    unsigned state = seed * 2654435761u + 1;
    return made<T>(sizes, [&](long) {
        state = state * 1664525u + 1013904223u;
        return (static_cast<float>(state >> 27) - 16.0f) / 8.0f;
    });
}
// In [0, size).
template <class I, int R>
Tensor<I, R> indices(const Shape<R>& sizes, long size, long seed = 1) {
    return made<I>(sizes, [&](long i) { return (i * i * 31 + i * 7 + seed) % 1009 % size; });
}
template <std::size_t R>
Shape<static_cast<int>(R)> shape_of(const Dim (&sizes)[R]) {
    Shape<static_cast<int>(R)> shape;
    for (std::size_t i = 0; i < R; ++i) shape.dims[i] = sizes[i].value;
    return shape;
}
template <class T, std::size_t R>
auto numbers(const Dim (&sizes)[R], long seed = 1) { return numbers<T>(shape_of(sizes), seed); }
template <class T, std::size_t R>
auto fiftieths(const Dim (&sizes)[R], long seed = 1) { return fiftieths<T>(shape_of(sizes), seed); }
template <class T, std::size_t R>
auto eighths(const Dim (&sizes)[R], unsigned seed) { return eighths<T>(shape_of(sizes), seed); }
template <class I, std::size_t R>
auto indices(const Dim (&sizes)[R], long size, long seed = 1) { return indices<I>(shape_of(sizes), size, seed); }

// A few roundings of the type that results are stored in, and for float of what they are computed in.
template <class T>
constexpr double rounding = std::is_same_v<T, double> ? 1e-12 : std::is_same_v<T, float> ? 4e-6 : std::is_same_v<T, half> ? 0x1p-10 : 0x1p-7;
// Those of sums of some dozens, whose terms cancel in part.
template <class T>
constexpr double tolerance = std::is_same_v<T, double> ? 1e-12 : std::is_same_v<T, float> ? 2e-5 : std::is_same_v<T, half> ? 3e-3 : 2e-2;

// Largest error relative to 1 + |wanted|, and where; infinite where sizes, integers, infinities or NaN differ.
struct Difference {
    double worst = 0, found = 0, wanted = 0;
    long at = -1;
};
template <class T, int R>
Difference compare(const Tensor<T, R>& found, const Tensor<T, R>& wanted) {
    const Tensor<T, R> a = contiguous(found.detach().to(cpu)), b = contiguous(wanted.detach().to(cpu));
    Difference r;
    for (int i = 0; i < R; ++i)
        if (a.shape(i) != b.shape(i)) r.worst = HUGE_VAL;
    for (long i = 0; i < a.size() && r.worst < HUGE_VAL; ++i) {
        const T x = a.data()[i], y = b.data()[i];
        if (std::memcmp(static_cast<const void*>(&x), static_cast<const void*>(&y), sizeof(T)) == 0) continue;
        const double p = static_cast<double>(x), q = static_cast<double>(y);
        if (p == q && !std::is_integral_v<T>) continue;
        if (std::isnan(p) && std::isnan(q)) continue;
        const bool comparable = !std::is_integral_v<T> && std::isfinite(p) && std::isfinite(q);
        const double off = comparable ? std::abs(p - q) / (1 + std::abs(q)) : HUGE_VAL;
        if (off > r.worst) r = {off, p, q, i};
    }
    return r;
}
template <class T, int R>
double difference(const Tensor<T, R>& found, const Tensor<T, R>& wanted) { return compare(found, wanted).worst; }
template <class T, int R>
bool same(const Tensor<T, R>& found, const Tensor<T, R>& wanted) { return difference(found, wanted) == 0; }

// Checks what a device found.
template <class T, int R>
void check_close(const Tensor<T, R>& found, const Tensor<T, R>& wanted, double within = tolerance<T>) {
    REQUIRE(found.device() == gpu);
    const Difference d = compare(found, wanted);
    INFO("element " << d.at << " is " << d.found << ", expected " << d.wanted);
    CHECK(d.worst <= within);
}

// The gradient that results are given, through a sum: exact in every type, never 0.
template <class T, int R>
void add_gradients(const Tensor<T, R>& y) {
    if constexpr (Floating<T>)
        if (y.requires_grad()) {
            const auto weights = made<T>(y.shape(), [](long i) { return static_cast<float>(i * 7919 % 997 % 9) * 0.25f - 0.875f; });
            Tensor<T, 0>(sum(y * weights.to(y.device()))).backward();
        }
}
// f(x...), or f(device, x...) to bring other tensors to.
template <class F, class... X>
auto result_of(F& f, Device device, const X&... x) {
    if constexpr (std::is_invocable_v<F&, Device, const X&...>) return impl::as_tensor(f(device, x...));
    else return impl::as_tensor(f(x...));
}
template <class T, int R>
Tensor<T, R> leaf_on(Device device, const Tensor<T, R>& x) {
    Tensor<T, R> leaf = clone(x.to(device).detach());
    if constexpr (Floating<T>) leaf.require_grad();
    return leaf;
}

// f's difference between the devices: of its values, or of the gradients after two backward passes, of which the second adds.
template <class T, int R, class F>
double value_difference(const Tensor<T, R>& x, F f) {
    return difference(result_of(f, gpu, x.to(gpu)), result_of(f, cpu, x));
}
template <class T, int R, class F>
double gradient_difference(const Tensor<T, R>& x, F f) {
    const auto gradient = [&](Device device) {
        const Tensor<T, R> leaf = leaf_on(device, x);
        for (int pass = 0; pass < 2; ++pass) add_gradients(result_of(f, device, leaf));
        return leaf.grad().detach();
    };
    return difference(gradient(gpu), gradient(cpu));
}

// Checks both: f's values and the gradients of all inputs.
template <class F, class... X>
void agree(double within, F f, const X&... inputs) {
    const auto run = [&](Device device) {
        std::tuple<X...> leaves{leaf_on(device, inputs)...};
        const auto of_leaves = [&](const auto&... leaf) { return result_of(f, device, leaf...); };
        auto y = std::apply(of_leaves, leaves);
        add_gradients(y);
        add_gradients(std::apply(of_leaves, leaves));
        return std::make_pair(y.detach(), leaves);
    };
    const auto found = run(gpu), wanted = run(cpu);
    check_close(found.first, wanted.first, within);
    const auto check_gradient = [&](const auto& there, const auto& here) {
        REQUIRE(there.has_grad() == here.has_grad());
        if (here.has_grad()) check_close(there.grad(), here.grad(), within);
    };
    [&]<std::size_t... K>(std::index_sequence<K...>) {
        (check_gradient(std::get<K>(found.second), std::get<K>(wanted.second)), ...);
    }(std::index_sequence_for<X...>{});
}
template <class F, class T, int... R>
    requires(!std::is_arithmetic_v<F>)
void agree(F f, const Tensor<T, R>&... inputs) { agree(tolerance<T>, f, inputs...); }

}  // namespace device_agreement
