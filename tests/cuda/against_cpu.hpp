// Operations on a device against the same on the CPU: values, and gradients where the input wants them.
#pragma once

#include <tenon/core/factories.hpp>
#include <tenon/ops/copy.hpp>
#include <tenon/ops/reduce.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <cstring>

namespace against_cpu {

using namespace tenon;

inline const Device gpu = cuda(0);

// [outer, n, inner] that take every way through a reduction: warps, blocks, columns, chunks of each.
struct Sizes { long outer, n, inner; };
constexpr Sizes all_sizes[] = {{1, 1, 1}, {3, 31, 1}, {5, 33, 1}, {2, 1000, 1}, {2, 1025, 1}, {1, 40000, 1}, {3, 7, 5},
                               {1, 500, 3}, {2, 300, 32}, {2, 65, 33}, {1, 300, 40}, {0, 4, 3}, {2, 3, 0}};

// Numbers in [-2, 2) in steps of 1/50 without a pattern: exact ties come, in 16-bit types too.
template <class T, std::size_t R>
Tensor<T, static_cast<int>(R)> numbers(const Dim (&sizes)[R], long seed = 1) {
    Tensor<T, static_cast<int>(R)> x = empty<T>(sizes);
    for (long i = 0; i < x.size(); ++i) {
        const long k = (i * 7919 + i / 197 * 31 + seed * 1047) % 200;
        if constexpr (std::is_integral_v<T>) x.data()[i] = static_cast<T>(std::is_unsigned_v<T> ? k : k - 100);
        else x.data()[i] = static_cast<T>(static_cast<float>(k - 100) * 0.02f);
    }
    return x;
}

// Largest error relative to 1 + |wanted|; infinite where sizes, infinities or NaN differ.
template <class T, int R>
double difference(const Tensor<T, R>& found, const Tensor<T, R>& wanted) {
    const Tensor<T, R> a = contiguous(found.detach().to(cpu)), b = contiguous(wanted.detach().to(cpu));
    for (int i = 0; i < R; ++i)
        if (a.shape(i) != b.shape(i)) return HUGE_VAL;
    double worst = 0;
    for (long i = 0; i < a.size(); ++i) {
        if (std::memcmp(static_cast<const void*>(a.data() + i), static_cast<const void*>(b.data() + i), sizeof(T)) == 0) continue;
        const double p = static_cast<double>(a.data()[i]), q = static_cast<double>(b.data()[i]);
        if (p == q || (std::isnan(p) && std::isnan(q))) continue;
        if (std::is_integral_v<T> || !std::isfinite(p) || !std::isfinite(q)) return HUGE_VAL;
        worst = std::max(worst, std::abs(p - q) / (1 + std::abs(q)));
    }
    return worst;
}
template <class T, int R>
bool same(const Tensor<T, R>& found, const Tensor<T, R>& wanted) { return difference(found, wanted) == 0; }

// A few roundings of the type that results are stored in, and for float of what they are computed in.
template <class T>
constexpr double rounding = std::is_same_v<T, double> ? 1e-12 : std::is_same_v<T, float> ? 4e-6 : std::is_same_v<T, half> ? 0x1p-10 : 0x1p-7;

// f(x) on both devices: the values' difference, or that of the gradients after two backward passes (the second adds).
template <class T, int R, class F>
double of_values(const Tensor<T, R>& x, F f) { return difference(f(x.to(gpu)), f(x)); }
template <class T, int R, class F>
double of_gradients(const Tensor<T, R>& x, F f) {
    const auto gradient = [&](Device device) {
        const Tensor<T, R> leaf = clone(x.to(device)).require_grad();
        for (int pass = 0; pass < 2; ++pass) {
            const auto y = f(leaf);
            auto weights = empty<T>(y.shape());
            for (long i = 0; i < weights.size(); ++i) weights.data()[i] = static_cast<T>(static_cast<float>(i % 5) * 0.5f - 0.75f);
            Tensor<T, 0>(sum(y * weights.to(device))).backward();
        }
        return leaf.grad().detach();
    };
    return difference(gradient(gpu), gradient(cpu));
}

}  // namespace against_cpu
