// Recorded backward passes of running sums and products, and of everything that picks elements along an axis.
#pragma once

#include <tenon/ops/concat.hpp>
#include <tenon/ops/extreme.hpp>
#include <tenon/ops/norm.hpp>
#include <tenon/ops/scan.hpp>
#include <tenon/ops/second_order/index.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

template <class T>
Tensor<T, 3> running_sum(const Tensor<T, 3>& x, bool reverse) {
    const Tensor<T, 3> whole = contiguous(x);
    return Tensor<T, 3>(cumsum_record<T>(whole.record(), split_at(whole.record(), 1), reverse));
}
template <class T>
Tensor<T, 3> running_product(const Tensor<T, 3>& x, bool reverse) {
    const Tensor<T, 3> whole = contiguous(x);
    return Tensor<T, 3>(cumprod_record<T>(whole.record(), split_at(whole.record(), 1), reverse));
}

template <class T>
void cumsum_recorded(Node& any) {
    auto& node = static_cast<CumsumNode<T>&>(any);
    const AxisSplit s = node.split();
    const auto dy = recorded_gradient<T, 3>(node, Shape<3>{{s.outer, s.n, s.inner}});
    accumulate_reshaped(node.inputs[0], running_sum(dy, !node.reverse()));
}

// Waits for the answer where x is on a device.
template <class T>
bool has_zero(const Tensor<T, 3>& x) { return tenon::any(x == T(0)).item(); }

template <class T>
void cumprod_recorded(Node& any) {
    auto& node = static_cast<CumprodNode<T>&>(any);
    const AxisSplit s = node.split();
    const Shape<3> sizes{{s.outer, s.n, s.inner}};
    const auto x = saved_input<T, 3>(node, 0, node.x(), sizes), dy = recorded_gradient<T, 3>(node, sizes);
    if (x.size() == 0) return accumulate_reshaped(node.inputs[0], eval(dy + x));
    if (!has_zero(x)) {
        const auto y = saved_output<T, 3>(node, node.y(), sizes);
        return accumulate_reshaped(node.inputs[0], eval(running_sum(Tensor<T, 3>(dy * y), !node.reverse()) / x));
    }
    // With a zero there is nothing to divide by: the factors of every element are multiplied again.
    Tensor<T, 3> dx;
    for (long k = 0; k < s.n; ++k) {
        const auto here = dy(all, slice(k, k + 1), all);
        const Slice before = node.reverse() ? slice(k + 1) : slice(0, k), behind = node.reverse() ? slice(0, k) : slice(k + 1);
        const Tensor<T, 3> factors = running_product(x(all, behind, all), node.reverse());
        const Tensor<T, 3> one = prod<1>(x(all, before, all), keepdim) * (here + sum<1>(dy(all, behind, all) * factors, keepdim));
        dx = k == 0 ? one : concat<1>(dx, one);
    }
    accumulate_reshaped(node.inputs[0], dx);
}

template <class T>
void picked_recorded(Node& any) {
    auto& node = static_cast<PickedNode<T>&>(any);
    const AxisSplit s = node.split();
    const auto dy = recorded_gradient<T, 3>(node, Shape<3>{{s.outer, node.picked(), s.inner}});
    accumulate_reshaped(node.inputs[0], add_up<T>(dy, wide_indices<std::int64_t>(node.indices().check(node.name)), {s.outer, s.n, s.inner}, node.picked()));
}

template <class T>
struct ScanEntries {
    detail::RecordedBackward entries[3] = {{&detail::node_kind<CumsumNode<T>>, &cumsum_recorded<T>},
                                           {&detail::node_kind<CumprodNode<T>>, &cumprod_recorded<T>},
                                           {&detail::node_kind<PickedNode<T>>, &picked_recorded<T>}};
};
inline ScanEntries<float> scan_entries_float;
inline ScanEntries<double> scan_entries_double;

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
