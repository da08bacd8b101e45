// A convolution and the batch norm that follows it.
#pragma once

#include <tenon/nn/conv.hpp>
#include <tenon/nn/norm.hpp>
#include <tenon/ops/conv_norm.hpp>

namespace tenon::nn {

// norm(conv(x), context), or norm.relu(conv(x), context): in training two passes, in inference without gradients one, by the
// running statistics folded into a scale and a shift (results differ from two passes by rounding).
template <class T, int D, bool Bias>
Tensor<T, D + 2> conv_norm(const Conv<T, D, Bias>& conv, const BatchNorm<T>& norm, const Tensor<T, D + 2>& x, const Context& context, bool relu = false) {
    if constexpr (std::is_same_v<T, float> || std::is_same_v<T, double>) {
        const auto wanted = [](const auto& t) { return t.has_value() && tenon::detail::wants_gradient(t.record()); };
        if (!context.training && norm.running_mean.has_value() && !wanted(x) && !wanted(conv.weight) && !wanted(conv.bias) && !wanted(norm.weight) && !wanted(norm.bias)) {
            Tensor<T, 1> scale = rsqrt(norm.running_var + norm.settings.eps), shift = -norm.running_mean;
            if (norm.settings.affine) scale = scale * norm.weight;
            if constexpr (Bias) shift = shift + conv.bias;
            shift = norm.settings.affine ? Tensor<T, 1>(shift * scale + norm.bias) : Tensor<T, 1>(shift * scale);
            return conv_scale_shift<D>(x, conv.weight, scale, shift, conv.options, relu);
        }
    }
    return relu ? Tensor<T, D + 2>(norm.relu(conv(x), context)) : Tensor<T, D + 2>(norm(conv(x), context));
}
template <class T, int D, bool Bias>
Tensor<T, D + 2> conv_norm_relu(const Conv<T, D, Bias>& conv, const BatchNorm<T>& norm, const Tensor<T, D + 2>& x, const Context& context) {
    return conv_norm(conv, norm, x, context, true);
}

}  // namespace tenon::nn
