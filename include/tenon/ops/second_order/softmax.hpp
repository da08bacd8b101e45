// Recorded backward passes of softmax, its logarithm and the cross-entropy.
#pragma once

#include <tenon/autograd/recorded.hpp>
#include <tenon/core/factories.hpp>
#include <tenon/ops/loss.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

template <class T, class How>
void softmax_recorded(Node& any) {
    auto& node = static_cast<SoftmaxNode<T, How>&>(any);
    const AxisSplit s = node.split();
    const Shape<3> sizes{{s.outer, s.n, s.inner}};
    const auto y = saved_output<T, 3>(node, node.y(), sizes), dy = recorded_gradient<T, 3>(node, sizes);
    if constexpr (std::is_same_v<How, WholeLogSoftmax>) accumulate_reshaped(node.inputs[0], eval(dy - exp(y) * sum<1>(dy, keepdim)));
    else accumulate_reshaped(node.inputs[0], eval(y * (dy - sum<1>(dy * y, keepdim))));
}

// The gradients of rows, [outer, 1, inner], recorded, from what has arrived.
template <class T>
Tensor<T, 3> row_gradients(const Node& node, AxisSplit s, const RowReduction& how) {
    const Shape<3> rows{{s.outer, 1, s.inner}};
    if (how.none) return recorded_gradient<T, 3>(node, rows);
    const Tensor<T, 0> each = recorded_gradient<T, 0>(node, Shape<0>()) * how.scale;
    return each.expand({s.outer, 1, s.inner});
}
// The weight of each class as [1, classes, 1].
template <class T, class A>
Tensor<T, 3> class_factors(AxisSplit s, const A* weight, double factor) {
    Tensor<T, 3> w = full<T>({1, s.n, 1}, static_cast<T>(factor));
    for (long c = 0; c < s.n && weight != nullptr; ++c) w.data()[c] = static_cast<T>(factor * static_cast<double>(weight[c]));
    return w;
}

// dx = (softmax(x) * the sum of the row's targets - targets) * the row's gradient, and nothing for rows that do not count.
template <class T, class I>
void cross_entropy_recorded(Node& any) {
    auto& node = static_cast<CrossEntropyNode<T, I>&>(any);
    const AxisSplit s = node.split();
    const auto x = saved_input<T, 3>(node, 0, node.x(), Shape<3>{{s.outer, s.n, s.inner}});
    const detail::AnyTensor saved = saved_constant(node, node.labels());
    const I* labels = reinterpret_cast<const I*>(saved->data());
    const auto* weight = node.weight();
    const Tensor<T, 3> target = zeros<T>({s.outer, s.n, s.inner}), total = zeros<T>({s.outer, 1, s.inner});
    for (long o = 0; o < s.outer; ++o)
        for (long i = 0; i < s.inner; ++i) {
            const long label = static_cast<long>(labels[o * s.inner + i]);
            if (label == node.ignore_index()) continue;
            double sum = 0;
            for (long c = 0; c < s.n; ++c) {
                const double t = ((c == label ? 1 - node.smoothing() : 0) + node.smoothing() / static_cast<double>(s.n)) * (weight != nullptr ? static_cast<double>(weight[c]) : 1);
                target.data()[(o * s.n + c) * s.inner + i] = static_cast<T>(t);
                sum += t;
            }
            total.data()[o * s.inner + i] = static_cast<T>(sum);
        }
    accumulate_reshaped(node.inputs[0], eval(where(total != T(0), (softmax<1>(x) * total - target) * row_gradients<T>(node, s, node.reduction()), T(0))));
}
// The same with targets u = (1 - smoothing) t + smoothing / classes; dt = -(1 - smoothing) * weight * log softmax(x) * the row's
// gradient.
template <class T>
void soft_cross_entropy_recorded(Node& any) {
    auto& node = static_cast<SoftCrossEntropyNode<T>&>(any);
    const AxisSplit s = node.split();
    const Shape<3> sizes{{s.outer, s.n, s.inner}};
    const auto x = saved_input<T, 3>(node, 0, node.x(), sizes), t = saved_input<T, 3>(node, 1, node.targets(), sizes);
    const Tensor<T, 3> dy = row_gradients<T>(node, s, node.reduction()), keep = class_factors<T>(s, node.weight(), 1 - node.smoothing()),
                       flat = class_factors<T>(s, node.weight(), node.smoothing() / static_cast<double>(s.n));
    const Tensor<T, 3> u = t * keep + flat;
    accumulate_reshaped(node.inputs[0], eval((softmax<1>(x) * sum<1>(u, keepdim) - u) * dy));
    accumulate_reshaped(node.inputs[1], eval(-(log_softmax<1>(x) * keep * dy)));
}
// Linear in x: the gradient of a row goes to the label's place.
template <class T, class I>
void nll_recorded(Node& any) {
    auto& node = static_cast<NllNode<T, I>&>(any);
    const AxisSplit s = node.split();
    const detail::AnyTensor saved = saved_constant(node, node.labels());
    const I* labels = reinterpret_cast<const I*>(saved->data());
    const Tensor<T, 3> place = zeros<T>({s.outer, s.n, s.inner});
    for (long o = 0; o < s.outer; ++o)
        for (long i = 0; i < s.inner; ++i) {
            const long label = static_cast<long>(labels[o * s.inner + i]);
            if (label != node.ignore_index()) place.data()[(o * s.n + label) * s.inner + i] = node.weight() != nullptr ? static_cast<T>(-node.weight()[label]) : T(-1);
        }
    accumulate_reshaped(node.inputs[0], eval(where(place != T(0), place * row_gradients<T>(node, s, node.reduction()), T(0))));
}

inline detail::RecordedBackward softmax_entries[] = {{&detail::node_kind<SoftmaxNode<float, WholeSoftmax>>, &softmax_recorded<float, WholeSoftmax>},
                                                     {&detail::node_kind<SoftmaxNode<float, WholeLogSoftmax>>, &softmax_recorded<float, WholeLogSoftmax>},
                                                     {&detail::node_kind<SoftmaxNode<double, WholeSoftmax>>, &softmax_recorded<double, WholeSoftmax>},
                                                     {&detail::node_kind<SoftmaxNode<double, WholeLogSoftmax>>, &softmax_recorded<double, WholeLogSoftmax>},
                                                     {&detail::node_kind<CrossEntropyNode<float, std::int64_t>>, &cross_entropy_recorded<float, std::int64_t>},
                                                     {&detail::node_kind<CrossEntropyNode<float, std::int32_t>>, &cross_entropy_recorded<float, std::int32_t>},
                                                     {&detail::node_kind<CrossEntropyNode<double, std::int64_t>>, &cross_entropy_recorded<double, std::int64_t>},
                                                     {&detail::node_kind<CrossEntropyNode<double, std::int32_t>>, &cross_entropy_recorded<double, std::int32_t>},
                                                     {&detail::node_kind<SoftCrossEntropyNode<float>>, &soft_cross_entropy_recorded<float>},
                                                     {&detail::node_kind<SoftCrossEntropyNode<double>>, &soft_cross_entropy_recorded<double>},
                                                     {&detail::node_kind<NllNode<float, std::int64_t>>, &nll_recorded<float, std::int64_t>},
                                                     {&detail::node_kind<NllNode<float, std::int32_t>>, &nll_recorded<float, std::int32_t>},
                                                     {&detail::node_kind<NllNode<double, std::int64_t>>, &nll_recorded<double, std::int64_t>},
                                                     {&detail::node_kind<NllNode<double, std::int32_t>>, &nll_recorded<double, std::int32_t>}};

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
