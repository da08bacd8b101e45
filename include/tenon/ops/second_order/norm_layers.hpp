// Recorded backward passes of layer norm, RMS norm, batch norm, group norm and masked softmax.
#pragma once

#include <tenon/autograd/recorded.hpp>
#include <tenon/core/factories.hpp>
#include <tenon/ops/batch_norm.hpp>
#include <tenon/ops/group_norm.hpp>
#include <tenon/ops/layer_norm.hpp>
#include <tenon/ops/masked_softmax.hpp>
#include <tenon/ops/reduce.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

// With normal = (x - mean) * rstd and g = dy * weight: dx = rstd * (g - mean(g) - normal * mean(g * normal)).
template <class T, bool Centred>
void layer_norm_recorded(Node& any) {
    auto& node = static_cast<LayerNormNode<T, Centred>&>(any);
    const Shape<2> sizes{{node.rows(), node.n()}}, row{{1, node.n()}};
    const auto x = saved_input<T, 2>(node, 0, node.x(), sizes), dy = recorded_gradient<T, 2>(node, sizes);
    Tensor<T, 2> centred = x;
    if constexpr (Centred) centred = x - mean<1>(x, keepdim);
    const Tensor<T, 2> rstd = rsqrt(mean<1>(square(centred), keepdim) + node.eps());
    const Tensor<T, 2> normal = centred * rstd;
    Tensor<T, 2> g = dy;
    if (node.weight().tensor) g = dy * saved_input<T, 2>(node, 1, node.weight(), row);
    const auto along = mean<1>(g * normal, keepdim);
    if constexpr (Centred) accumulate_reshaped(node.inputs[0], eval(rstd * (g - mean<1>(g, keepdim) - normal * along)));
    else accumulate_reshaped(node.inputs[0], eval(rstd * (g - normal * along)));
    accumulate_reshaped(node.inputs[1], sum<0>(dy * normal));
    accumulate_reshaped(node.inputs[2], sum<0>(dy));
}

template <class T>
void batch_norm_recorded(Node& any) {
    auto& node = static_cast<BatchNormNode<T>&>(any);
    const AxisSplit s = node.split();
    const Shape<3> sizes{{s.outer, s.n, s.inner}}, channels{{1, s.n, 1}};
    const auto x = saved_input<T, 3>(node, 0, node.x(), sizes);
    Tensor<T, 3> dy = recorded_gradient<T, 3>(node, sizes), centre, rstd;
    if (node.training()) {
        centre = mean<0, 2>(x, keepdim);
        rstd = rsqrt(mean<0, 2>(square(x - centre), keepdim) + node.eps());
    } else {
        centre = shaped<T, 3>(node.mean(), channels);
        rstd = shaped<T, 3>(node.rstd(), channels);
    }
    const Tensor<T, 3> normal = (x - centre) * rstd;
    if (node.relu()) {
        Tensor<T, 3> y = normal;
        if (node.weight().tensor) y = y * saved_input<T, 3>(node, 1, node.weight(), channels);
        if (node.bias().tensor) y = y + saved_input<T, 3>(node, 2, node.bias(), channels);
        dy = where(y.detach() > T(0), dy, T(0));
    }
    Tensor<T, 3> g = dy;
    if (node.weight().tensor) g = dy * saved_input<T, 3>(node, 1, node.weight(), channels);
    if (node.training()) {
        const auto even = mean<0, 2>(g, keepdim), along = mean<0, 2>(g * normal, keepdim);
        accumulate_reshaped(node.inputs[0], eval(rstd * (g - even - normal * along)));
    } else {
        accumulate_reshaped(node.inputs[0], eval(rstd * g));
    }
    accumulate_reshaped(node.inputs[1], sum<0, 2>(dy * normal));
    accumulate_reshaped(node.inputs[2], sum<0, 2>(dy));
}

template <class T>
void group_norm_recorded(Node& any) {
    auto& node = static_cast<GroupNormNode<T>&>(any);
    const auto& s = node.shape();
    const Shape<4> sizes{{s.n, s.groups, s.per, s.inner}}, channels{{1, s.groups, s.per, 1}};
    const auto x = saved_input<T, 4>(node, 0, node.x(), sizes), dy = recorded_gradient<T, 4>(node, sizes);
    const Tensor<T, 4> centred = x - mean<2, 3>(x, keepdim);
    const Tensor<T, 4> rstd = rsqrt(mean<2, 3>(square(centred), keepdim) + node.eps());
    const Tensor<T, 4> normal = centred * rstd;
    Tensor<T, 4> g = dy;
    if (node.weight().tensor) g = dy * saved_input<T, 4>(node, 1, node.weight(), channels);
    const auto even = mean<2, 3>(g, keepdim), along = mean<2, 3>(g * normal, keepdim);
    accumulate_reshaped(node.inputs[0], eval(rstd * (g - even - normal * along)));
    accumulate_reshaped(node.inputs[1], sum<0, 3>(dy * normal));
    accumulate_reshaped(node.inputs[2], sum<0, 3>(dy));
}

template <class T, bool Log>
void masked_softmax_recorded(Node& any) {
    auto& node = static_cast<SoftmaxNode<T, MaskedSoftmax<Log>>&>(any);
    const AxisSplit s = node.split();
    const Shape<3> sizes{{s.outer, s.n, s.inner}};
    const auto y = saved_output<T, 3>(node, node.y(), sizes), dy = recorded_gradient<T, 3>(node, sizes);
    if constexpr (Log) {
        const T none = static_cast<T>(-__builtin_inf());
        accumulate_reshaped(node.inputs[0], eval(where(y == none, T(0), dy - exp(y) * sum<1>(where(y == none, T(0), dy), keepdim))));
    } else {
        accumulate_reshaped(node.inputs[0], eval(where(y == T(0), T(0), y * (dy - sum<1>(where(y == T(0), T(0), dy * y), keepdim)))));
    }
}

inline detail::RecordedBackward norm_layer_entries[] = {{&detail::node_kind<LayerNormNode<float, false>>, &layer_norm_recorded<float, false>},
                                                        {&detail::node_kind<LayerNormNode<float, true>>, &layer_norm_recorded<float, true>},
                                                        {&detail::node_kind<LayerNormNode<double, false>>, &layer_norm_recorded<double, false>},
                                                        {&detail::node_kind<LayerNormNode<double, true>>, &layer_norm_recorded<double, true>},
                                                        {&detail::node_kind<BatchNormNode<float>>, &batch_norm_recorded<float>},
                                                        {&detail::node_kind<BatchNormNode<double>>, &batch_norm_recorded<double>},
                                                        {&detail::node_kind<GroupNormNode<float>>, &group_norm_recorded<float>},
                                                        {&detail::node_kind<GroupNormNode<double>>, &group_norm_recorded<double>},
                                                        {&detail::node_kind<SoftmaxNode<float, MaskedSoftmax<false>>>, &masked_softmax_recorded<float, false>},
                                                        {&detail::node_kind<SoftmaxNode<float, MaskedSoftmax<true>>>, &masked_softmax_recorded<float, true>},
                                                        {&detail::node_kind<SoftmaxNode<double, MaskedSoftmax<false>>>, &masked_softmax_recorded<double, false>},
                                                        {&detail::node_kind<SoftmaxNode<double, MaskedSoftmax<true>>>, &masked_softmax_recorded<double, true>}};

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
