// Normalisation layers.
#pragma once

#include <tenon/core/factories.hpp>
#include <tenon/nn/context.hpp>
#include <tenon/nn/module.hpp>
#include <tenon/ops/batch_norm.hpp>
#include <tenon/ops/layer_norm.hpp>

namespace tenon::nn {

// Layer norm over the last Axes axes, whose sizes are given: LayerNorm<>(256), LayerNorm<float, 2>({8, 8}). weight (ones at
// first) and bias (zeros) have those sizes.
template <class T = float, int Axes = 1, bool Bias = true>
struct LayerNorm {
    Tensor<T, Axes> weight, bias;
    double eps = 1e-5;

    LayerNorm() = default;
    explicit LayerNorm(const Dim (&sizes)[Axes], double epsilon = 1e-5) : weight(ones<T>(sizes)), eps(epsilon) {
        weight.require_grad();
        if constexpr (Bias) bias = zeros<T>(sizes).require_grad();
    }

    explicit LayerNorm(long size, double epsilon = 1e-5)
        requires(Axes == 1)
        : LayerNorm({Dim(size)}, epsilon) {}

    template <Expression X>
    auto operator()(X&& x) const { return layer_norm(static_cast<X&&>(x), weight, bias, eps); }

    static void visit(auto& self, auto&& f) {
        f("weight", self.weight);
        if constexpr (Bias) f("bias", self.bias);
    }
};

// RMS norm over the last Axes axes. weight: ones at first. Without an eps it is that of rms_norm.
template <class T = float, int Axes = 1>
struct RMSNorm {
    Tensor<T, Axes> weight;
    double eps = -1;

    RMSNorm() = default;
    explicit RMSNorm(const Dim (&sizes)[Axes], double epsilon = -1) : weight(ones<T>(sizes)), eps(epsilon) { weight.require_grad(); }

    explicit RMSNorm(long size, double epsilon = -1)
        requires(Axes == 1)
        : RMSNorm({Dim(size)}, epsilon) {}

    template <Expression X>
    auto operator()(X&& x) const { return rms_norm(static_cast<X&&>(x), weight, eps); }

    static void visit(auto& self, auto&& f) { f("weight", self.weight); }
};

struct BatchNormSettings {
    double eps = 1e-5;
    double momentum = 0.1;
    bool cumulative = false;  // running statistics are the plain averages over all batches so far (PyTorch's momentum=None)
    bool affine = true;
    bool track_running_stats = true;
};

// Batch norm of channels (axis 1). layer(x, context) normalises by the batch while context.training, and moves the running
// statistics; layer(x) is inference by them (by the batch where none are tracked). Copies share the running statistics, as
// they share parameters. Throws ShapeError below 1 channel.
template <class T = float>
struct BatchNorm {
    Tensor<T, 1> weight, bias, running_mean, running_var;
    Tensor<std::int64_t, 0> num_batches_tracked;
    BatchNormSettings settings;

    BatchNorm() = default;
    explicit BatchNorm(long channels, BatchNormSettings given = {}) : settings(given) {
        if (channels < 1) fail<ShapeError>("BatchNorm: ", channels, " channels, expected at least 1");
        if (settings.affine) {
            weight = ones<T>({channels}).require_grad();
            bias = zeros<T>({channels}).require_grad();
        }
        if (settings.track_running_stats) {
            running_mean = zeros<T>({channels});
            running_var = ones<T>({channels});
            num_batches_tracked = zeros<std::int64_t>({});
        }
    }

    template <Expression X>
    auto operator()(X&& x, const Context& context) const {
        if (!context.training) return (*this)(static_cast<X&&>(x));
        BatchNormOptions options{settings.eps, settings.momentum};
        if (!running_mean.has_value()) return batch_norm(static_cast<X&&>(x), weight, bias, running_mean, running_var, options);
        if (settings.cumulative) options.momentum = 1 / static_cast<double>(num_batches_tracked.item() + 1);
        auto y = batch_norm(static_cast<X&&>(x), weight, bias, running_mean, running_var, options);
        num_batches_tracked += 1;  // where it lies: nobody waits for a device
        return y;
    }
    template <Expression X>
    auto operator()(X&& x) const {
        if (!running_mean.has_value()) return batch_norm(static_cast<X&&>(x), weight, bias, running_mean, running_var, {settings.eps, settings.momentum});
        return batch_norm_inference(static_cast<X&&>(x), weight, bias, running_mean, running_var, {settings.eps, settings.momentum});
    }

    static void visit(auto& self, auto&& f) {
        if (self.settings.affine) {
            f("weight", self.weight);
            f("bias", self.bias);
        }
        if (self.settings.track_running_stats) {
            f("running_mean", buffer(self.running_mean));
            f("running_var", buffer(self.running_var));
            f("num_batches_tracked", buffer(self.num_batches_tracked));
        }
    }
};

// Of [N, C] and [N, C, L]: the layer that PyTorch calls so; a higher rank is a compile error.
template <class T = float>
struct BatchNorm1d : BatchNorm<T> {
    using BatchNorm<T>::BatchNorm;

    template <Expression X, class... C>
    auto operator()(X&& x, const C&... context) const {
        static_assert(wrap_t<X>::rank == 2 || wrap_t<X>::rank == 3, "tenon: BatchNorm1d: the input must be [N, C] or [N, C, L]");
        return BatchNorm<T>::operator()(static_cast<X&&>(x), context...);
    }
};

}  // namespace tenon::nn
