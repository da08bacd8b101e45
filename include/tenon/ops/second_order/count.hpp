// Recorded backward pass of weighted counts: every weight gets the gradient of its bin.
#pragma once

#include <tenon/ops/count.hpp>
#include <tenon/ops/second_order/index.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

template <class T, class I>
void bincount_recorded(Node& any) {
    auto& node = static_cast<BincountNode<T, I>&>(any);
    accumulate_recorded(node.inputs[0], index_select<0>(Tensor<T, 1>(recorded_gradient(node)), wide_indices<I>(node.x().check(node.name))));
}
inline detail::RecordedBackward bincount_entries[] = {{&detail::node_kind<BincountNode<float, std::int64_t>>, &bincount_recorded<float, std::int64_t>},
                                                      {&detail::node_kind<BincountNode<float, std::int32_t>>, &bincount_recorded<float, std::int32_t>},
                                                      {&detail::node_kind<BincountNode<double, std::int64_t>>, &bincount_recorded<double, std::int64_t>},
                                                      {&detail::node_kind<BincountNode<double, std::int32_t>>, &bincount_recorded<double, std::int32_t>}};

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
