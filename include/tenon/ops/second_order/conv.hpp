// Recorded backward passes of convolutions: convolutions again.
#pragma once

#include <tenon/autograd/recorded.hpp>
#include <tenon/ops/conv.hpp>
#include <tenon/ops/reduce.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

inline detail::AnyTensor recorded_contiguous(const detail::AnyTensor& x) { return x->contiguous ? x : recorded_copy_any(x.get()); }

template <class T, int D>
void conv_recorded(Node& any) {
    auto& node = static_cast<ConvNode<T, D>&>(any);
    const ConvShape<D>& s = node.shape();
    const detail::AnyTensor d = recorded_contiguous(recorded_gradient(node));
    const auto give = [&](int k, ConvKind kind, const detail::AnyTensor& a, const detail::AnyTensor& b) {
        accumulate_recorded(node.inputs[k], apply_conv<T, D>(kind, s, a.get(), b.get()));
    };
    if (detail::wanted_now(node.inputs[0])) {
        const detail::AnyTensor b = saved_input(node, 1, node.b());
        if (node.product() == ConvKind::forward) give(0, ConvKind::data, d, b);
        else if (node.product() == ConvKind::data) give(0, ConvKind::forward, d, b);
        else give(0, ConvKind::data, b, d);
    }
    if (detail::wanted_now(node.inputs[1])) {
        const detail::AnyTensor a = saved_input(node, 0, node.a());
        if (node.product() == ConvKind::forward) give(1, ConvKind::weights, a, d);
        else if (node.product() == ConvKind::data) give(1, ConvKind::weights, d, a);
        else give(1, ConvKind::forward, a, d);
    }
    if (detail::wanted_now(node.inputs[2])) {
        const long n = d->dims()[0], channels = d->dims()[1];
        const Shape<3> flat{{n, channels, n * channels == 0 ? 0 : d->size / (n * channels)}};
        accumulate_recorded(node.inputs[2], Tensor<T, 1>(sum<0, 2>(shaped<T, 3>(d, flat))));
    }
}

inline detail::RecordedBackward conv_entries[] = {
    {&detail::node_kind<ConvNode<float, 1>>, &conv_recorded<float, 1>},   {&detail::node_kind<ConvNode<float, 2>>, &conv_recorded<float, 2>},
    {&detail::node_kind<ConvNode<float, 3>>, &conv_recorded<float, 3>},   {&detail::node_kind<ConvNode<double, 1>>, &conv_recorded<double, 1>},
    {&detail::node_kind<ConvNode<double, 2>>, &conv_recorded<double, 2>}, {&detail::node_kind<ConvNode<double, 3>>, &conv_recorded<double, 3>},
#if TENON_CUDA  // on the CPU 16-bit convolutions are float's
    {&detail::node_kind<ConvNode<bf16, 1>>, &conv_recorded<bf16, 1>},     {&detail::node_kind<ConvNode<bf16, 2>>, &conv_recorded<bf16, 2>},
    {&detail::node_kind<ConvNode<bf16, 3>>, &conv_recorded<bf16, 3>},     {&detail::node_kind<ConvNode<half, 1>>, &conv_recorded<half, 1>},
    {&detail::node_kind<ConvNode<half, 2>>, &conv_recorded<half, 2>},     {&detail::node_kind<ConvNode<half, 3>>, &conv_recorded<half, 3>},
#endif
};

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
