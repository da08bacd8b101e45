// Convolution layers.
#pragma once

#include <tenon/nn/init.hpp>
#include <tenon/nn/module.hpp>
#include <tenon/ops/conv.hpp>

namespace tenon::nn {

namespace detail {

// Throws ShapeError on sizes below 1 and on groups that do not divide the channels.
template <int D>
void check_conv(bool transposed, long in, long out, const PerAxis<D>& kernel, long groups) {
    bool fits = in >= 1 && out >= 1 && groups >= 1 && in % groups == 0 && out % groups == 0;
    for (int i = 0; i < D; ++i) fits = fits && kernel[i] >= 1;
    if (!fits)
        fail<ShapeError>(transposed ? "ConvTranspose" : "Conv", D, "d: ", in, " -> ", out, " channels in ", groups, " groups, kernel ",
                         tenon::detail::Sizes{D, kernel.value}, ": expected sizes of at least 1 and groups that divide the channels");
}
// Sets weight [first, second, kernel...] and bias [outputs] to uniform values in +-1 / sqrt(second * kernel elements): PyTorch's
// default, for transposed convolutions too.
template <class T, int D>
void set_conv(Tensor<T, D + 2>& weight, Tensor<T, 1>* bias, long first, long second, long outputs, const PerAxis<D>& kernel, Key key) {
    Shape<D + 2> shape{{first, second}};
    double fan_in = static_cast<double>(second);
    for (int i = 0; i < D; ++i) {
        shape[2 + i] = kernel[i];
        fan_in *= static_cast<double>(kernel[i]);
    }
    const double bound = 1 / __builtin_sqrt(fan_in);
    weight = uniform<T>(shape, key.split(0), {-bound, bound}).require_grad();
    if (bias != nullptr) *bias = uniform<T>({outputs}, key.split(1), {-bound, bound}).require_grad();
}

}  // namespace detail

// A convolution over D axes, from [batch, in, sizes...] to [batch, out, sizes...]; see conv2d for the options. weight
// [out, in / groups, kernel...] and bias [out].
template <class T, int D, bool Bias = true>
struct Conv {
    Tensor<T, D + 2> weight;
    Tensor<T, 1> bias;
    ConvOptions<D> options;

    // An empty layer, to be assigned.
    Conv() = default;
    // Throws ShapeError on sizes below 1 and on groups that do not divide the channels.
    Conv(long in, long out, PerAxis<D> kernel, Key key, ConvOptions<D> given = {}) : options(given) {
        detail::check_conv(false, in, out, kernel, given.groups);
        detail::set_conv<T, D>(weight, Bias ? &bias : nullptr, out, in / given.groups, out, kernel, key);
    }

    template <Expression X>
    auto operator()(X&& x) const {
        if constexpr (D == 1) return conv1d(static_cast<X&&>(x), weight, bias, options);
        else if constexpr (D == 2) return conv2d(static_cast<X&&>(x), weight, bias, options);
        else return conv3d(static_cast<X&&>(x), weight, bias, options);
    }

    static void visit(auto& self, auto&& f) {
        f("weight", self.weight);
        if constexpr (Bias) f("bias", self.bias);
    }
};
template <class T = float, bool Bias = true>
using Conv1d = Conv<T, 1, Bias>;
template <class T = float, bool Bias = true>
using Conv2d = Conv<T, 2, Bias>;
template <class T = float, bool Bias = true>
using Conv3d = Conv<T, 3, Bias>;

// A transposed convolution over D axes; see conv_transpose2d. weight [in, out / groups, kernel...] and bias [out].
template <class T, int D, bool Bias = true>
struct ConvTranspose {
    Tensor<T, D + 2> weight;
    Tensor<T, 1> bias;
    ConvTransposeOptions<D> options;

    // An empty layer, to be assigned.
    ConvTranspose() = default;
    // Throws ShapeError on sizes below 1 and on groups that do not divide the channels.
    ConvTranspose(long in, long out, PerAxis<D> kernel, Key key, ConvTransposeOptions<D> given = {}) : options(given) {
        detail::check_conv(true, in, out, kernel, given.groups);
        detail::set_conv<T, D>(weight, Bias ? &bias : nullptr, in, out / given.groups, out, kernel, key);
    }

    template <Expression X>
    auto operator()(X&& x) const {
        if constexpr (D == 1) return conv_transpose1d(static_cast<X&&>(x), weight, bias, options);
        else if constexpr (D == 2) return conv_transpose2d(static_cast<X&&>(x), weight, bias, options);
        else return conv_transpose3d(static_cast<X&&>(x), weight, bias, options);
    }

    static void visit(auto& self, auto&& f) {
        f("weight", self.weight);
        if constexpr (Bias) f("bias", self.bias);
    }
};
template <class T = float, bool Bias = true>
using ConvTranspose1d = ConvTranspose<T, 1, Bias>;
template <class T = float, bool Bias = true>
using ConvTranspose2d = ConvTranspose<T, 2, Bias>;
template <class T = float, bool Bias = true>
using ConvTranspose3d = ConvTranspose<T, 3, Bias>;

}  // namespace tenon::nn
