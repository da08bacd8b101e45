// Recorded backward passes of products, extremes over several axes and logsumexp. Norms of finite order are made of
// expressions and need none.
#pragma once

#include <tenon/core/factories.hpp>
#include <tenon/ops/norm.hpp>
#include <tenon/ops/second_order/scan.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

template <class T>
void prod_recorded(Node& any) {
    auto& node = static_cast<ProdNode<T>&>(any);
    const AxisSplit s = node.split();
    const Shape<3> sizes{{s.outer, s.n, s.inner}}, reduced{{s.outer, 1, s.inner}};
    const auto x = saved_input<T, 3>(node, 0, node.x(), sizes), dy = recorded_gradient<T, 3>(node, reduced);
    if (x.size() == 0) return accumulate_reshaped(node.inputs[0], eval(x * dy));
    if (!has_zero(x)) {
        const auto y = saved_output<T, 3>(node, node.y(), reduced);
        return accumulate_reshaped(node.inputs[0], eval(dy * y / x));
    }
    // What comes before times what comes behind.
    const Tensor<T, 3> one = ones_like(dy.detach());
    const Tensor<T, 3> before = concat<1>(one, running_product(x(all, slice(0, s.n - 1), all), false));
    const Tensor<T, 3> behind = concat<1>(running_product(x(all, slice(1), all), true), one);
    accumulate_reshaped(node.inputs[0], eval(dy * before * behind));
}

template <Peak peak, class T>
void peak_recorded(Node& any) {
    auto& node = static_cast<PeakNode<peak, T>&>(any);
    const AxisSplit s = node.split();
    const Tensor<T, 3> share = [&] {
        const no_grad constant;
        return node.share();
    }();
    accumulate_reshaped(node.inputs[0], eval(share * recorded_gradient<T, 3>(node, Shape<3>{{s.outer, 1, s.inner}})));
}

template <class T>
void logsumexp_recorded(Node& any) {
    auto& node = static_cast<LogsumexpNode<T>&>(any);
    const AxisSplit s = node.split();
    const Shape<3> reduced{{s.outer, 1, s.inner}};
    const auto x = saved_input<T, 3>(node, 0, node.x(), Shape<3>{{s.outer, s.n, s.inner}}), y = saved_output<T, 3>(node, node.y(), reduced);
    accumulate_reshaped(node.inputs[0], eval(recorded_gradient<T, 3>(node, reduced) * exp(x - y)));
}

template <class T>
struct NormEntries {
    detail::RecordedBackward entries[6] = {{&detail::node_kind<ProdNode<T>>, &prod_recorded<T>},
                                           {&detail::node_kind<LogsumexpNode<T>>, &logsumexp_recorded<T>},
                                           {&detail::node_kind<PeakNode<Peak::max, T>>, &peak_recorded<Peak::max, T>},
                                           {&detail::node_kind<PeakNode<Peak::min, T>>, &peak_recorded<Peak::min, T>},
                                           {&detail::node_kind<PeakNode<Peak::largest_magnitude, T>>, &peak_recorded<Peak::largest_magnitude, T>},
                                           {&detail::node_kind<PeakNode<Peak::smallest_magnitude, T>>, &peak_recorded<Peak::smallest_magnitude, T>}};
};
inline NormEntries<float> norm_entries_float;
inline NormEntries<double> norm_entries_double;

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
