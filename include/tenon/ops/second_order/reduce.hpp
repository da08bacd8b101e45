// Recorded backward passes of the variance, its root, and of dropout.
#pragma once

#include <tenon/autograd/recorded.hpp>
#include <tenon/ops/dropout.hpp>
#include <tenon/ops/extreme.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

template <class T>
void var_recorded(Node& any) {
    auto& node = static_cast<VarNode<T>&>(any);
    const AxisSplit s = node.split();
    const auto x = saved_input<T, 3>(node, 0, node.x(), Shape<3>{{s.outer, s.n, s.inner}});
    const Shape<3> one{{s.outer, 1, s.inner}};
    const auto dy = recorded_gradient<T, 3>(node, one);
    const T factor = static_cast<T>(2.0 / static_cast<double>(s.n > node.correction() ? s.n - node.correction() : 0));
    const auto mu = mean<1>(x, keepdim);
    if (!node.root().tensor) return accumulate_reshaped(node.inputs[0], eval(dy * (x - mu) * factor));
    // d sqrt(v) = dv / (2 sqrt(v)), and 0 where all elements are equal.
    const auto y = saved_output<T, 3>(node, node.root(), one);
    accumulate_reshaped(node.inputs[0], eval(where(y == T(0), T(0), dy / (y * T(2))) * (x - mu) * factor));
}
inline detail::RecordedBackward var_entries[] = {{&detail::node_kind<VarNode<float>>, &var_recorded<float>},
                                                 {&detail::node_kind<VarNode<double>>, &var_recorded<double>}};

template <class T>
void dropout_recorded(Node& any) {
    auto& node = static_cast<DropoutNode<T>&>(any);
    const auto dy = recorded_gradient(node);
    accumulate_reshaped(node.inputs[0], dropout(shaped<T, 1>(dy, Shape<1>{{dy->size}}), node.p(), node.key()));
}
inline detail::RecordedBackward dropout_entries[] = {{&detail::node_kind<DropoutNode<float>>, &dropout_recorded<float>},
                                                     {&detail::node_kind<DropoutNode<double>>, &dropout_recorded<double>}};

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
