// Pooling layers, with PyTorch's names. They hold no tensors.
#pragma once

#include <tenon/nn/module.hpp>
#include <tenon/ops/pool.hpp>

namespace tenon::nn {

// MaxPool2d layer(3, {.stride = 2, .padding = 1}): max_pool2d with these windows. MaxPool1d and MaxPool3d: over one and three axes.
template <int D>
struct MaxPool {
    PerAxis<D> kernel = 1;
    MaxPoolOptions<D> options;

    MaxPool() = default;
    explicit MaxPool(PerAxis<D> size, MaxPoolOptions<D> given = {}) : kernel(size), options(given) {}
    template <Expression X>
    auto operator()(X&& x) const {
        if constexpr (D == 1) return max_pool1d(static_cast<X&&>(x), kernel, options);
        else if constexpr (D == 2) return max_pool2d(static_cast<X&&>(x), kernel, options);
        else return max_pool3d(static_cast<X&&>(x), kernel, options);
    }
    static void visit(auto&, auto&&) {}
};
using MaxPool1d = MaxPool<1>;
using MaxPool2d = MaxPool<2>;
using MaxPool3d = MaxPool<3>;

// layer(values, indices): max_unpool2d.
template <int D>
struct MaxUnpool {
    PerAxis<D> kernel = 1;
    MaxUnpoolOptions<D> options;

    MaxUnpool() = default;
    explicit MaxUnpool(PerAxis<D> size, MaxUnpoolOptions<D> given = {}) : kernel(size), options(given) {}
    template <Expression X>
    auto operator()(X&& x, const Tensor<std::int64_t, wrap_t<X>::rank>& indices) const {
        if constexpr (D == 1) return max_unpool1d(static_cast<X&&>(x), indices, kernel, options);
        else if constexpr (D == 2) return max_unpool2d(static_cast<X&&>(x), indices, kernel, options);
        else return max_unpool3d(static_cast<X&&>(x), indices, kernel, options);
    }
    static void visit(auto&, auto&&) {}
};
using MaxUnpool1d = MaxUnpool<1>;
using MaxUnpool2d = MaxUnpool<2>;
using MaxUnpool3d = MaxUnpool<3>;

template <int D>
struct AvgPool {
    PerAxis<D> kernel = 1;
    AvgPoolOptions<D> options;

    AvgPool() = default;
    explicit AvgPool(PerAxis<D> size, AvgPoolOptions<D> given = {}) : kernel(size), options(given) {}
    template <Expression X>
    auto operator()(X&& x) const {
        if constexpr (D == 1) return avg_pool1d(static_cast<X&&>(x), kernel, options);
        else if constexpr (D == 2) return avg_pool2d(static_cast<X&&>(x), kernel, options);
        else return avg_pool3d(static_cast<X&&>(x), kernel, options);
    }
    static void visit(auto&, auto&&) {}
};
using AvgPool1d = AvgPool<1>;
using AvgPool2d = AvgPool<2>;
using AvgPool3d = AvgPool<3>;

template <int D>
struct LpPool {
    double p = 2;
    PerAxis<D> kernel = 1;
    LpPoolOptions<D> options;

    LpPool() = default;
    explicit LpPool(double norm_type, PerAxis<D> size, LpPoolOptions<D> given = {}) : p(norm_type), kernel(size), options(given) {}
    template <Expression X>
    auto operator()(X&& x) const {
        if constexpr (D == 1) return lp_pool1d(static_cast<X&&>(x), p, kernel, options);
        else if constexpr (D == 2) return lp_pool2d(static_cast<X&&>(x), p, kernel, options);
        else return lp_pool3d(static_cast<X&&>(x), p, kernel, options);
    }
    static void visit(auto&, auto&&) {}
};
using LpPool1d = LpPool<1>;
using LpPool2d = LpPool<2>;
using LpPool3d = LpPool<3>;

// AdaptiveAvgPool2d layer({7, 7}); -1 keeps a size.
template <int D>
struct AdaptiveAvgPool {
    PerAxis<D> size = 1;

    AdaptiveAvgPool() = default;
    explicit AdaptiveAvgPool(PerAxis<D> output) : size(output) {}
    template <Expression X>
    auto operator()(X&& x) const {
        if constexpr (D == 1) return adaptive_avg_pool1d(static_cast<X&&>(x), size);
        else if constexpr (D == 2) return adaptive_avg_pool2d(static_cast<X&&>(x), size);
        else return adaptive_avg_pool3d(static_cast<X&&>(x), size);
    }
    static void visit(auto&, auto&&) {}
};
using AdaptiveAvgPool1d = AdaptiveAvgPool<1>;
using AdaptiveAvgPool2d = AdaptiveAvgPool<2>;
using AdaptiveAvgPool3d = AdaptiveAvgPool<3>;

template <int D>
struct AdaptiveMaxPool {
    PerAxis<D> size = 1;

    AdaptiveMaxPool() = default;
    explicit AdaptiveMaxPool(PerAxis<D> output) : size(output) {}
    template <Expression X>
    auto operator()(X&& x) const {
        if constexpr (D == 1) return adaptive_max_pool1d(static_cast<X&&>(x), size);
        else if constexpr (D == 2) return adaptive_max_pool2d(static_cast<X&&>(x), size);
        else return adaptive_max_pool3d(static_cast<X&&>(x), size);
    }
    static void visit(auto&, auto&&) {}
};
using AdaptiveMaxPool1d = AdaptiveMaxPool<1>;
using AdaptiveMaxPool2d = AdaptiveMaxPool<2>;
using AdaptiveMaxPool3d = AdaptiveMaxPool<3>;

}  // namespace tenon::nn
