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
    Tensor<T, 0> each = recorded_gradient<T, 0>(node, Shape<0>()) * how.scale;
    if (how.counted) {
        const auto counted = shaped<double, 0>(how.counted, Shape<0>());
        each = each * cast<T>(where(counted == 0, 0, 1 / counted));
    }
    return each.expand({s.outer, 1, s.inner});
}
// The weight of each class (ones where none is given) times a factor, as [1, classes, 1].
template <class T>
Tensor<T, 3> class_factors(AxisSplit s, const detail::AnyTensor& weight, double factor, Device device) {
    const Shape<3> sizes{{1, s.n, 1}};
    if (!weight) return full<T>(sizes, static_cast<T>(factor), device);
    return shaped<T, 3>(weight, sizes) * factor;
}
// Which class each row's label is, [outer, classes, inner], and which rows count.
template <class I>
struct LabelMasks {
    Tensor<bool, 3> hit, used;
    template <class N>
    explicit LabelMasks(const N& node) {
        const AxisSplit s = node.split();
        const auto labels = saved_constant<I, 3>(node, node.labels(), Shape<3>{{s.outer, 1, s.inner}});
        const Tensor<I, 3> classes = arange<I>(0, static_cast<I>(s.n), 1, labels.device()).reshape({1, s.n, 1});
        used = labels != static_cast<I>(node.ignore_index());
        hit = labels == classes && used;
    }
};

// dx = (softmax(x) * the sum of the row's targets - targets) * the row's gradient, and nothing for rows that do not count.
template <class T, class I>
void cross_entropy_recorded(Node& any) {
    auto& node = static_cast<CrossEntropyNode<T, I>&>(any);
    const AxisSplit s = node.split();
    const auto x = saved_input<T, 3>(node, 0, node.x(), Shape<3>{{s.outer, s.n, s.inner}});
    const LabelMasks<I> labels(node);
    const double flat = node.smoothing() / static_cast<double>(s.n);
    const Tensor<T, 3> weight = class_factors<T>(s, node.weights(), 1, x.device());
    const Tensor<T, 3> target = where(labels.used, (cast<T>(labels.hit) * static_cast<T>(1 - node.smoothing()) + static_cast<T>(flat)) * weight, T(0));
    const Tensor<T, 3> total = sum<1>(target, keepdim);
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
    const Tensor<T, 3> dy = row_gradients<T>(node, s, node.reduction()), keep = class_factors<T>(s, node.weights(), 1 - node.smoothing(), x.device()),
                       flat = class_factors<T>(s, node.weights(), node.smoothing() / static_cast<double>(s.n), x.device());
    const Tensor<T, 3> u = t * keep + flat;
    accumulate_reshaped(node.inputs[0], eval((softmax<1>(x) * sum<1>(u, keepdim) - u) * dy));
    accumulate_reshaped(node.inputs[1], eval(-(log_softmax<1>(x) * keep * dy)));
}
// Linear in x: the gradient of a row goes to the label's place.
template <class T, class I>
void nll_recorded(Node& any) {
    auto& node = static_cast<NllNode<T, I>&>(any);
    const AxisSplit s = node.split();
    const LabelMasks<I> labels(node);
    const Tensor<T, 3> place = where(labels.hit, -class_factors<T>(s, node.weights(), 1, labels.hit.device()), 0);
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
