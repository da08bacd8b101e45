// Second derivatives of moving and choosing: linear maps, views of diagonals and windows, scattering, segments, bags.
#pragma once

#include <tenon/autograd/recorded.hpp>
#include <tenon/core/factories.hpp>
#include <tenon/ops/embedding_bag.hpp>
#include <tenon/ops/linear_view.hpp>
#include <tenon/ops/pad.hpp>
#include <tenon/ops/scatter.hpp>
#include <tenon/ops/second_order/index.hpp>
#include <tenon/ops/segment.hpp>
#include <tenon/ops/triangle.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

// The transposed map, which is recorded in turn.
template <class T, class Map>
void linear_map_recorded(Node& any) {
    auto& node = static_cast<LinearMapNode<T, Map>&>(any);
    accumulate_recorded(node.inputs[0], apply_map<T>(node.name, recorded_gradient(node).get(), node.map(), !node.transposed()));
}
template <class T>
void linear_view_recorded(Node& any) {
    auto& node = static_cast<LinearViewNode<T>&>(any);
    accumulate_recorded(node.inputs[0], apply_map<T>(node.name, recorded_gradient(node).get(), node.map(), true));
}

// Gradient and indices of a scatter as [outer, n, inner] and [outer, m, inner].
template <class T>
struct ScatterParts {
    Tensor<T, 3> dy;
    Tensor<std::int64_t, 3> index;

    explicit ScatterParts(const ScatterNode<T>& node)
        : dy(recorded_gradient<T, 3>(node, Shape<3>{{node.plan().outer, node.plan().n, node.plan().inner}})),
          index(shaped<std::int64_t, 3>(detail::AnyTensor::share(node.index()), Shape<3>{{node.plan().outer, node.plan().m, node.plan().inner}})) {}
};
template <class T>
void scatter_set_recorded(Node& any) {
    auto& node = static_cast<ScatterSetNode<T>&>(any);
    const ScatterParts<T> p(node);
    accumulate_reshaped(node.inputs[0], scatter<1>(p.dy, p.index, T(0.f)));
    accumulate_reshaped(node.inputs[1], gather<1>(p.dy, p.index));
}
template <class T>
void scatter_add_recorded(Node& any) {
    auto& node = static_cast<ScatterAddNode<T>&>(any);
    const ScatterParts<T> p(node);
    accumulate_reshaped(node.inputs[0], p.dy);
    accumulate_reshaped(node.inputs[1], gather<1>(p.dy, p.index));
}
template <class T>
void scatter_mean_recorded(Node& any) {
    auto& node = static_cast<ScatterMeanNode<T>&>(any);
    const ScatterParts<T> p(node);
    using A = typename kernels::cpu::impl::sum_type<T>::type;
    const Tensor<A, 3> counts = saved_constant<A, 3>(node, node.counts(), p.dy.shape());
    const Tensor<T, 3> share = p.dy / cast<T>(maximum(counts + A(node.include_self() ? 1 : 0), A(1)));
    if (node.include_self()) accumulate_reshaped(node.inputs[0], share);
    else accumulate_reshaped(node.inputs[0], eval(where(counts > A(0), 0.f, share)));
    accumulate_reshaped(node.inputs[1], gather<1>(share, p.index));
}
template <class T>
void scatter_extreme_recorded(Node& any) {
    auto& node = static_cast<ScatterExtremeNode<T>&>(any);
    const ScatterParts<T> p(node);
    using A = typename kernels::cpu::impl::sum_type<T>::type;
    const Device device = p.dy.device();
    const Tensor<A, 3> ties = empty<A>(p.dy.shape(), device);
    const Tensor<bool, 3> own = empty<bool>(p.dy.shape(), device), equal = empty<bool>(p.index.shape(), device);
    node.find_ties(ties.data(), own.data(), equal.data());
    const Tensor<T, 3> share = p.dy / cast<T>(maximum(ties, A(1)));
    accumulate_reshaped(node.inputs[0], eval(where(own, share, 0.f)));
    accumulate_reshaped(node.inputs[1], eval(where(equal, gather<1>(share, p.index), 0.f)));
}

template <class T, class I>
void indexed_slices_recorded(Node& any) {
    auto& node = static_cast<IndexedSlicesNode<T, I>&>(any);
    const IndexedAxis& s = node.shape();
    const Tensor<std::int64_t, 1> index = wide_indices<I>(node.indices());
    const Tensor<T, 3> dy = recorded_gradient<T, 3>(node, Shape<3>{{s.outer, s.n, s.inner}});
    if (node.adds()) accumulate_reshaped(node.inputs[0], dy);
    else if (detail::wanted_now(node.inputs[0]))
        accumulate_reshaped(node.inputs[0], index_copy<1>(dy, index, zeros<T>(Shape<3>{{s.outer, index.size(), s.inner}}, dy.device())));
    if (detail::wanted_now(node.inputs[1])) accumulate_reshaped(node.inputs[1], index_select<1>(dy, index));
}

template <class T>
void segment_softmax_recorded(Node& any) {
    auto& node = static_cast<SegmentSoftmaxNode<T>&>(any);
    const long rows = node.slots[0].dims[0];
    long width = 1;
    for (int i = 1; i < node.slots[0].rank; ++i) width *= node.slots[0].dims[i];
    const Shape<2> sizes{{rows, width}};
    const auto dy = recorded_gradient<T, 2>(node, sizes);
    const auto y = saved_output<T, 2>(node, node.y(), sizes);
    const SegmentSumMap sum_map(y.record(), node.segments(), false);
    const auto sums = segment_sum(dy * y, node.segments());
    const Tensor<T, 2> back(apply_map<T>("segment_softmax", sums.record(), sum_map, true));
    accumulate_reshaped(node.inputs[0], eval(y * (dy - back)));
}

template <class T, class I>
void bag_recorded(Node& any) {
    auto& node = static_cast<BagNode<T, I>&>(any);
    const Tensor<std::int64_t, 1> index = wide_indices<I>(node.index().check(node.name));
    const Tensor<std::int64_t, 1> pointers(detail::AnyTensor::share(node.pointers().check(node.name)));
    const long count = index.size(), bags = pointers.size() - 1, width = node.width();
    const auto dy = recorded_gradient<T, 2>(node, Shape<2>{{bags, width}});
    // What each index's row gets from its bag.
    const Tensor<T, 2> lines = Tensor<T, 2>(full<T>({}, T(0.f), dy.device()).expand({count, width}));
    const Tensor<T, 2> given(apply_map<T>("embedding_bag", dy.record(), SegmentSumMap(lines.record(), Segments::from_pointers(pointers), node.mean()), true));
    const Tensor<T, 2> none = zeros<T>({node.rows(), width}, dy.device());
    if (!node.weights().tensor) return accumulate_recorded(node.inputs[0], index_add<0>(none, index, given));
    const auto weights = saved_input<T, 2>(node, 1, node.weights(), Shape<2>{{count, 1}});
    if (detail::wanted_now(node.inputs[0])) accumulate_recorded(node.inputs[0], index_add<0>(none, index, given * weights));
    if (!detail::wanted_now(node.inputs[1])) return;
    const auto table = saved_input<T, 2>(node, 0, node.table(), Shape<2>{{node.rows(), width}});
    accumulate_reshaped(node.inputs[1], sum<1>(given * index_select<0>(table, index)));
}

template <class T>
struct ShapeEntries {
    detail::RecordedBackward remap{&detail::node_kind<LinearMapNode<T, RemapMap>>, &linear_map_recorded<T, RemapMap>};
    detail::RecordedBackward strided{&detail::node_kind<LinearMapNode<T, LinearViewMap>>, &linear_map_recorded<T, LinearViewMap>};
    detail::RecordedBackward triangle{&detail::node_kind<LinearMapNode<T, TriangleMap>>, &linear_map_recorded<T, TriangleMap>};
    detail::RecordedBackward segment{&detail::node_kind<LinearMapNode<T, SegmentSumMap>>, &linear_map_recorded<T, SegmentSumMap>};
    detail::RecordedBackward choice{&detail::node_kind<LinearMapNode<T, SegmentChoiceMap>>, &linear_map_recorded<T, SegmentChoiceMap>};
    detail::RecordedBackward view{&detail::node_kind<LinearViewNode<T>>, &linear_view_recorded<T>};
    detail::RecordedBackward set{&detail::node_kind<ScatterSetNode<T>>, &scatter_set_recorded<T>};
    detail::RecordedBackward add{&detail::node_kind<ScatterAddNode<T>>, &scatter_add_recorded<T>};
    detail::RecordedBackward mean{&detail::node_kind<ScatterMeanNode<T>>, &scatter_mean_recorded<T>};
    detail::RecordedBackward extreme{&detail::node_kind<ScatterExtremeNode<T>>, &scatter_extreme_recorded<T>};
    detail::RecordedBackward slices{&detail::node_kind<IndexedSlicesNode<T, std::int64_t>>, &indexed_slices_recorded<T, std::int64_t>};
    detail::RecordedBackward small_slices{&detail::node_kind<IndexedSlicesNode<T, std::int32_t>>, &indexed_slices_recorded<T, std::int32_t>};
    detail::RecordedBackward softmax{&detail::node_kind<SegmentSoftmaxNode<T>>, &segment_softmax_recorded<T>};
    detail::RecordedBackward bag{&detail::node_kind<BagNode<T, std::int64_t>>, &bag_recorded<T, std::int64_t>};
    detail::RecordedBackward small_bag{&detail::node_kind<BagNode<T, std::int32_t>>, &bag_recorded<T, std::int32_t>};
};
inline ShapeEntries<float> shape_entries_float;
inline ShapeEntries<double> shape_entries_double;

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
