// Convolution layers.
#pragma once

#include <tenon/nn/init.hpp>
#include <tenon/nn/module.hpp>
#include <tenon/ops/conv.hpp>

namespace tenon::nn {

namespace impl {

// weight and bias uniform in +-1 / sqrt(fan_in), PyTorch's default; what it calls fan_in is the product of all axes of the weight
// but the first, for transposed convolutions too.
template <class T, int D, bool Bias>
struct ConvParameters {
    Tensor<T, D + 2> weight;
    Tensor<T, 1> bias;

    ConvParameters() = default;
    // The weight is [first, second, kernel...], the bias [outputs].
    ConvParameters(long first, long second, long outputs, const PerAxis<D>& kernel, Key key) {
        Shape<D + 2> shape{{first, second}};
        double fan_in = static_cast<double>(second);
        for (int i = 0; i < D; ++i) {
            shape[2 + i] = kernel[i];
            fan_in *= static_cast<double>(kernel[i]);
        }
        const double bound = 1 / __builtin_sqrt(fan_in);
        weight = uniform<T>(shape, key.split(0), {-bound, bound}).require_grad();
        if constexpr (Bias) bias = uniform<T>({outputs}, key.split(1), {-bound, bound}).require_grad();
    }
    static void check(const char* name, long in, long out, const PerAxis<D>& kernel, long groups) {
        bool fits = in >= 1 && out >= 1 && groups >= 1 && in % groups == 0 && out % groups == 0;
        for (int i = 0; i < D; ++i) fits = fits && kernel[i] >= 1;
        if (!fits)
            fail<ShapeError>(name, ": ", in, " -> ", out, " channels in ", groups, " groups, kernel ", tenon::detail::Sizes{D, kernel.value},
                             ": expected sizes of at least 1 and groups that divide the channels");
    }
    static void visit(auto& self, auto&& f) {
        f("weight", self.weight);
        if constexpr (Bias) f("bias", self.bias);
    }
};

template <int D, bool Transposed, class X, class T>
auto convolve(X&& x, const Tensor<T, D + 2>& weight, const Tensor<T, 1>& bias, const auto& options) {
    if constexpr (Transposed && D == 1) return conv_transpose1d(static_cast<X&&>(x), weight, bias, options);
    else if constexpr (Transposed && D == 2) return conv_transpose2d(static_cast<X&&>(x), weight, bias, options);
    else if constexpr (Transposed) return conv_transpose3d(static_cast<X&&>(x), weight, bias, options);
    else if constexpr (D == 1) return conv1d(static_cast<X&&>(x), weight, bias, options);
    else if constexpr (D == 2) return conv2d(static_cast<X&&>(x), weight, bias, options);
    else return conv3d(static_cast<X&&>(x), weight, bias, options);
}

}  // namespace impl

// A convolution over D axes, from [batch, in, sizes...] to [batch, out, sizes...]; see conv2d for the options. weight
// [out, in / groups, kernel...] and bias [out], both uniform in +-1 / sqrt(in / groups * kernel elements) at first.
template <class T, int D, bool Bias = true>
struct Conv : impl::ConvParameters<T, D, Bias> {
    ConvOptions<D> options;

    // An empty layer, to be assigned.
    Conv() = default;
    // Throws ShapeError on sizes below 1 and on groups that do not divide the channels.
    Conv(long in, long out, PerAxis<D> kernel, Key key, ConvOptions<D> given = {})
        : impl::ConvParameters<T, D, Bias>((impl::ConvParameters<T, D, Bias>::check(name(), in, out, kernel, given.groups), out), in / given.groups, out, kernel, key),
          options(given) {}

    template <Expression X>
    auto operator()(X&& x) const { return impl::convolve<D, false>(static_cast<X&&>(x), this->weight, this->bias, options); }

private:
    static constexpr const char* name() { return D == 1 ? "Conv1d" : D == 2 ? "Conv2d" : "Conv3d"; }
};
template <class T = float, bool Bias = true>
using Conv1d = Conv<T, 1, Bias>;
template <class T = float, bool Bias = true>
using Conv2d = Conv<T, 2, Bias>;
template <class T = float, bool Bias = true>
using Conv3d = Conv<T, 3, Bias>;

// A transposed convolution, see conv_transpose2d; weight [in, out / groups, kernel...].
template <class T, int D, bool Bias = true>
struct ConvTranspose : impl::ConvParameters<T, D, Bias> {
    ConvTransposeOptions<D> options;

    ConvTranspose() = default;
    // Throws ShapeError on sizes below 1 and on groups that do not divide the channels.
    ConvTranspose(long in, long out, PerAxis<D> kernel, Key key, ConvTransposeOptions<D> given = {})
        : impl::ConvParameters<T, D, Bias>((impl::ConvParameters<T, D, Bias>::check(name(), in, out, kernel, given.groups), in), out / given.groups, out, kernel, key),
          options(given) {}

    template <Expression X>
    auto operator()(X&& x) const { return impl::convolve<D, true>(static_cast<X&&>(x), this->weight, this->bias, options); }

private:
    static constexpr const char* name() { return D == 1 ? "ConvTranspose1d" : D == 2 ? "ConvTranspose2d" : "ConvTranspose3d"; }
};
template <class T = float, bool Bias = true>
using ConvTranspose1d = ConvTranspose<T, 1, Bias>;
template <class T = float, bool Bias = true>
using ConvTranspose2d = ConvTranspose<T, 2, Bias>;
template <class T = float, bool Bias = true>
using ConvTranspose3d = ConvTranspose<T, 3, Bias>;

}  // namespace tenon::nn
