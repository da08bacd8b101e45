// A convolution with what follows it in inference, batch norm by running statistics and relu, as one pass.
#pragma once

#include <tenon/ops/conv.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

// scale * conv(x, weight) + shift, each output channel by its own numbers, and max(0, .) of it with relu: scale and shift [out]
// ride in the convolution's last step, no array of the output's size is read again. Shapes and errors as conv2d's; float and
// double. For inference: nothing is recorded, so x and weight must not want a gradient (throws GradError).
template <int D, class T>
[[nodiscard]] Tensor<T, D + 2> conv_scale_shift(const Tensor<T, D + 2>& given, const Tensor<T, D + 2>& given_weight, const Tensor<T, 1>& scale, const Tensor<T, 1>& shift,
                                                ConvOptions<D> options = {}, bool relu = false) {
    static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>, "tenon: conv_scale_shift: float or double: write cast<float>(x) first");
    const char* name = "conv_scale_shift";
    Tensor<T, D + 2> x = given;
    const Tensor<T, D + 2> weight = contiguous(given_weight);
    for (const detail::Record* r : {x.record(), weight.record(), scale.record(), shift.record()}) {
        if (detail::wants_gradient(r)) fail<GradError>(name, ": ", r->description(), " wants a gradient, but this is for inference: call it under no_grad");
        if (!(r->storage->device == x.device())) impl::fail_devices(name, x.device(), r->storage->device);
    }
    if (options.padding_mode != PadMode::constant) {
        x = impl::pad_images<T, D>(x, options, weight.record());
        options.padding = 0;
    }
    const Tensor<T, 1> factors = contiguous(scale), terms = contiguous(shift);
    const impl::ConvShape<D> s = impl::conv_shape<D>(x.record(), weight.record(), terms.record(), options);
    if (factors.size() != s.c_out) fail<ShapeError>(name, ": the scale is ", factors.record()->description(), ", expected [", s.c_out, "], one element for each output channel");
    // A 1x1 convolution is a plain product, and so is everything that a vendor's library runs: these take no scale.
    long taps = 1;
    for (int i = 0; i < D; ++i) taps *= s.kernel[i];
    const bool fold = taps == 1 || !x.device().is_cpu();
    Shape<D + 2> along{{s.c_out}};
    for (int i = 1; i < D + 2; ++i) along[i] = 1;
    const Tensor<T, D + 2> used = fold ? Tensor<T, D + 2>(weight * factors.reshape(along)) : weight;
    return Tensor<T, D + 2>(impl::apply_conv<T, D>(impl::ConvKind::forward, s, x.record(), used.record(), terms.record(), fold ? nullptr : factors.data(), relu));
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
