// The recorded backward pass of noise on weights: noise again, of the same key.
#pragma once

#include <tenon/autograd/recorded.hpp>
#include <tenon/core/factories.hpp>
#include <tenon/ops/perturb.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

template <class T>
void perturb_recorded(Node& any) {
    auto& node = static_cast<PerturbNode<T>&>(any);
    const Shape<1> flat{{recorded_gradient(node)->size}};
    const auto dy = recorded_gradient<T, 1>(node, flat);
    const NoiseKind noise = node.noise();
    if (node.inputs[0].node != nullptr) {
        if (!noise.multiplicative) accumulate_reshaped(node.inputs[0], dy);
        else if (!node.deviation().tensor) accumulate_reshaped(node.inputs[0], perturb(dy, node.constant(), noise, node.key()));
        else accumulate_reshaped(node.inputs[0], perturb(dy, saved_input<T, 1>(node, 1, node.deviation(), flat), noise, node.key()));
    }
    if (node.inputs[1].node != nullptr) {
        NoiseKind plain = noise;
        plain.multiplicative = false;
        const Tensor<T, 1> by = noise.multiplicative ? eval(dy * saved_input<T, 1>(node, 0, node.mean(), flat)) : dy;
        accumulate_reshaped(node.inputs[1], perturb(zeros<T>(flat, by.device()), by, plain, node.key()));
    }
}
inline detail::RecordedBackward perturb_entries[] = {{&detail::node_kind<PerturbNode<float>>, &perturb_recorded<float>},
                                                     {&detail::node_kind<PerturbNode<double>>, &perturb_recorded<double>}};

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
