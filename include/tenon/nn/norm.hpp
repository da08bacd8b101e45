// Normalisation layers.
#pragma once

#include <tenon/core/factories.hpp>
#include <tenon/nn/context.hpp>
#include <tenon/nn/module.hpp>
#include <tenon/ops/batch_norm.hpp>
#include <tenon/ops/group_norm.hpp>
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
    auto operator()(X&& x, const Context& context) const { return apply(static_cast<X&&>(x), context.training, false); }
    template <Expression X>
    auto operator()(X&& x) const { return apply(static_cast<X&&>(x), false, false); }
    // relu(layer(x, context)) in one pass each way, which keeps nothing between the two.
    template <Expression X>
    auto relu(X&& x, const Context& context) const { return apply(static_cast<X&&>(x), context.training, true); }
    template <Expression X>
    auto relu(X&& x) const { return apply(static_cast<X&&>(x), false, true); }

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

private:
    template <Expression X>
    auto apply(X&& x, bool training, bool relu_follows) const {
        BatchNormOptions options{settings.eps, settings.momentum, relu_follows};
        if (!training && running_mean.has_value()) return batch_norm_inference(static_cast<X&&>(x), weight, bias, running_mean, running_var, options);
        if (!running_mean.has_value()) return batch_norm(static_cast<X&&>(x), weight, bias, running_mean, running_var, options);
        if (settings.cumulative) options.momentum = 1 / static_cast<double>(num_batches_tracked.item() + 1);
        auto y = batch_norm(static_cast<X&&>(x), weight, bias, running_mean, running_var, options);
        num_batches_tracked += 1;  // where it lies: nobody waits for a device
        return y;
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
// Of images [N, C, H, W] and [N, C, D, H, W].
template <class T = float>
struct BatchNorm2d : BatchNorm<T> {
    using BatchNorm<T>::BatchNorm;

    template <Expression X, class... C>
    auto operator()(X&& x, const C&... context) const {
        static_assert(wrap_t<X>::rank == 4, "tenon: BatchNorm2d: the input must be [N, C, H, W]");
        return BatchNorm<T>::operator()(static_cast<X&&>(x), context...);
    }
};
template <class T = float>
struct BatchNorm3d : BatchNorm<T> {
    using BatchNorm<T>::BatchNorm;

    template <Expression X, class... C>
    auto operator()(X&& x, const C&... context) const {
        static_assert(wrap_t<X>::rank == 5, "tenon: BatchNorm3d: the input must be [N, C, D, H, W]");
        return BatchNorm<T>::operator()(static_cast<X&&>(x), context...);
    }
};

// Group norm of [N, C, ...]: GroupNorm<>(groups, channels). weight (ones at first) and bias (zeros) [channels]. Throws ShapeError
// where the groups do not divide the channels.
template <class T = float>
struct GroupNorm {
    Tensor<T, 1> weight, bias;
    long groups = 1;
    double eps = 1e-5;
    bool affine = true;

    GroupNorm() = default;
    explicit GroupNorm(long number, long channels, double epsilon = 1e-5, bool with_weights = true) : groups(number), eps(epsilon), affine(with_weights) {
        if (number < 1 || channels < 1 || channels % number != 0)
            fail<ShapeError>("GroupNorm: ", number, " groups of ", channels, " channels: expected a number that divides them");
        if (!affine) return;
        weight = ones<T>({channels}).require_grad();
        bias = zeros<T>({channels}).require_grad();
    }

    template <Expression X>
    auto operator()(X&& x) const { return group_norm(static_cast<X&&>(x), groups, weight, bias, eps); }

    static void visit(auto& self, auto&& f) {
        if (!self.affine) return;
        f("weight", self.weight);
        f("bias", self.bias);
    }
};

struct InstanceNormSettings {
    double eps = 1e-5;
    double momentum = 0.1;
    bool affine = false;
    bool track_running_stats = false;
};

// Instance norm of [N, C, L, ...] (PyTorch's InstanceNorm1d, 2d and 3d in one). With track_running_stats, layer(x, context) moves
// them towards the averages over a batch's images while context.training, and layer(x) is inference by them; else both normalise
// every image by itself.
template <class T = float>
struct InstanceNorm {
    Tensor<T, 1> weight, bias, running_mean, running_var;
    Tensor<std::int64_t, 0> num_batches_tracked;
    InstanceNormSettings settings;

    InstanceNorm() = default;
    explicit InstanceNorm(long channels, InstanceNormSettings given = {}) : settings(given) {
        if (channels < 1) fail<ShapeError>("InstanceNorm: ", channels, " channels, expected at least 1");
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
    auto operator()(X&& given, const Context& context) const {
        const auto x = impl::as_tensor(static_cast<X&&>(given));
        if (!context.training) return (*this)(x);
        auto y = instance_norm(x, weight, bias, settings.eps);
        if (settings.track_running_stats) track(x);
        return y;
    }
    template <Expression X>
    auto operator()(X&& x) const {
        if (!running_mean.has_value()) return instance_norm(static_cast<X&&>(x), weight, bias, settings.eps);
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
            f("num_batches_tracked", buffer(self.num_batches_tracked));  // PyTorch's never counts either
        }
    }

private:
    template <class X>
    void track(const X& x) const {
        const no_grad unrecorded;
        const auto images = contiguous(x.detach()).reshape({x.shape(0), x.shape(1), -1});
        const T share = static_cast<T>(settings.momentum), keep = static_cast<T>(1 - settings.momentum);
        running_mean.copy_from(running_mean * keep + mean<0>(mean<2>(images)) * share);
        running_var.copy_from(running_var * keep + mean<0>(var<2>(images)) * share);
    }
};
template <class T = float>
using InstanceNorm1d = InstanceNorm<T>;
template <class T = float>
using InstanceNorm2d = InstanceNorm<T>;
template <class T = float>
using InstanceNorm3d = InstanceNorm<T>;

// local_response_norm over `size` neighbouring channels.
struct LocalResponseNorm {
    long size = 1;
    LocalResponseOptions options;

    LocalResponseNorm() = default;
    explicit LocalResponseNorm(long channels, LocalResponseOptions given = {}) : size(channels), options(given) {}
    template <Expression X>
    auto operator()(X&& x) const { return local_response_norm(static_cast<X&&>(x), size, options); }
    static void visit(auto&, auto&&) {}
};

}  // namespace tenon::nn
