// Recorded backward passes of softmax, its logarithm and the cross-entropy.
#pragma once

#include <tenon/autograd/recorded.hpp>
#include <tenon/ops/loss.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

template <class T, bool Log>
void softmax_recorded(Node& any) {
    auto& node = static_cast<SoftmaxNode<T, Log>&>(any);
    const AxisSplit s = node.split();
    const Shape<3> sizes{{s.outer, s.n, s.inner}};
    const auto y = saved_output<T, 3>(node, node.y(), sizes), dy = recorded_gradient<T, 3>(node, sizes);
    if constexpr (Log) accumulate_reshaped(node.inputs[0], eval(dy - exp(y) * sum<1>(dy, keepdim)));
    else accumulate_reshaped(node.inputs[0], eval(y * (dy - sum<1>(dy * y, keepdim))));
}

// dx = (softmax(x) - onehot) dy / rows that count, and nothing for those that do not.
template <class T, class I>
void cross_entropy_recorded(Node& any) {
    auto& node = static_cast<CrossEntropyNode<T, I>&>(any);
    const Tensor<T, 2> x(saved_input(node, 0, node.x()));
    const Tensor<T, 0> dy(recorded_gradient(node));
    const Tensor<I, 1> labels(saved_constant(node, node.labels()));
    const long rows = x.shape(0), columns = x.shape(1);
    const Tensor<T, 2> target(detail::AnyTensor(detail::new_record(dtype_of<T>, 2, x.record()->dims(), x.device())));
    const long column[] = {rows, 1};
    const Tensor<T, 2> weight(detail::AnyTensor(detail::new_record(dtype_of<T>, 2, column, x.device())));
    const T each = static_cast<T>(1.0 / static_cast<double>(node.counted() > 0 ? node.counted() : 1));
    for (long i = 0; i < rows; ++i) {
        const long label = static_cast<long>(labels.data()[i]);
        const bool counts = label != node.ignore_index();
        weight.data()[i] = counts ? each : T(0);
        for (long j = 0; j < columns; ++j) target.data()[i * columns + j] = counts && j == label ? each : T(0);
    }
    accumulate_recorded(node.inputs[0], eval(where(weight != T(0), (softmax<1>(x) * weight - target) * dy, T(0))));
}

inline detail::RecordedBackward softmax_entries[] = {{&detail::node_kind<SoftmaxNode<float, false>>, &softmax_recorded<float, false>},
                                                     {&detail::node_kind<SoftmaxNode<float, true>>, &softmax_recorded<float, true>},
                                                     {&detail::node_kind<SoftmaxNode<double, false>>, &softmax_recorded<double, false>},
                                                     {&detail::node_kind<SoftmaxNode<double, true>>, &softmax_recorded<double, true>},
                                                     {&detail::node_kind<CrossEntropyNode<float, std::int64_t>>, &cross_entropy_recorded<float, std::int64_t>},
                                                     {&detail::node_kind<CrossEntropyNode<float, std::int32_t>>, &cross_entropy_recorded<float, std::int32_t>},
                                                     {&detail::node_kind<CrossEntropyNode<double, std::int64_t>>, &cross_entropy_recorded<double, std::int64_t>},
                                                     {&detail::node_kind<CrossEntropyNode<double, std::int32_t>>, &cross_entropy_recorded<double, std::int32_t>}};

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
