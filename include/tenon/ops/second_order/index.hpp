// Recorded backward passes of choosing elements by index, extremes included: gradients are added up where the elements came
// from, and the derivative of that is choosing again.
#pragma once

#include <tenon/autograd/recorded.hpp>
#include <tenon/ops/extreme.hpp>
#include <tenon/ops/index.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

// Indices that a first pass has saved, as int64: whatever it took, second passes need one set of instances.
template <class I>
Tensor<std::int64_t, 1> wide_indices(const detail::Record* r) {
    const detail::AnyTensor same(detail::new_view(r, r->rank, r->dims(), r->strides(), r->offset));
    const auto flat = shaped<I, 1>(same, Shape<1>{{r->size}});
    if constexpr (std::is_same_v<I, std::int64_t>) return flat;
    else return eval(cast<std::int64_t>(flat));
}

// [outer, m, inner] added up in [outer, n, inner] by one index per element.
template <class T>
class AddUpNode final : public detail::OperationNode<1> {
public:
    AddUpNode(detail::Record* dy, detail::Record* indices, IndexedAxis shape, long m) : OperationNode("derivative of gather"), shape_(shape), m_(m) {
        set_input(0, dy);
        indices_.save(indices);
    }
    void release_saved() noexcept override { indices_.tensor = detail::AnyTensor(); }
    const void* kind() const noexcept override { return &detail::node_kind<AddUpNode>; }
    Tensor<std::int64_t, 3> indices() const { return saved_constant<std::int64_t, 3>(*this, indices_, Shape<3>{{shape_.outer, m_, shape_.inner}}); }
    Shape<3> sizes() const { return {{shape_.outer, shape_.n, shape_.inner}}; }
    void backward() override {
        const auto u = recorded_gradient<T, 3>(*this, sizes());
        accumulate_plain(edges_[0], gather<1>(u, indices()).record());
    }
    static void accumulate_plain(Edge edge, detail::Record* r) {
        const detail::GradientTarget to = detail::gradient_target(edge);
        const detail::AnyTensor same(detail::new_view(r, to.record->rank, to.record->dims(), to.record->strides(), r->offset));
        if (to.mode == 2) add_records(to.record, same.get());
        else copy_records(to.record, same.get());
    }

private:
    IndexedAxis shape_;
    long m_;
    detail::Saved indices_;
};
template <class T>
void add_up_recorded(Node& any) {
    auto& node = static_cast<AddUpNode<T>&>(any);
    accumulate_reshaped(node.inputs[0], gather<1>(recorded_gradient<T, 3>(node, node.sizes()), node.indices()));
}
template <class T>
Tensor<T, 3> add_up(const Tensor<T, 3>& dy, const Tensor<std::int64_t, 1>& indices, IndexedAxis s, long m) {
    const Tensor<T, 3> from = contiguous(dy);
    const long dims[] = {s.outer, s.n, s.inner};
    const Tensor<T, 3> result(detail::AnyTensor(detail::new_record(dtype_of<T>, 3, dims, dy.device())));
    TENON_RUN(from.device(), scatter_add_axis(s.outer, s.n, m, s.inner, static_cast<const T*>(from.data()),
                                              static_cast<const std::int64_t*>(indices.data()), result.data(), false));
    if (detail::wants_gradient(from.record())) detail::make_node<AddUpNode<T>>(from.record(), indices.record(), s, m)->set_result(result.record());
    return result;
}

template <class T, class I>
void gather_recorded(Node& any) {
    auto& node = static_cast<GatherNode<T, I>&>(any);
    const IndexedAxis s = node.shape();
    const auto dy = recorded_gradient<T, 3>(node, Shape<3>{{s.outer, node.chosen(), s.inner}});
    accumulate_reshaped(node.inputs[0], add_up<T>(dy, wide_indices<I>(node.indices().check(node.name)), s, node.chosen()));
}
template <class T>
void choice_recorded(Node& any) {
    auto& node = static_cast<ChoiceNode<T>&>(any);
    const AxisSplit s = node.split();
    const auto dy = recorded_gradient<T, 3>(node, Shape<3>{{s.outer, 1, s.inner}});
    accumulate_reshaped(node.inputs[0], add_up<T>(dy, wide_indices<std::int64_t>(node.indices().check(node.name)), {s.outer, s.n, s.inner}, 1));
}

// The same for slices that are chosen by one list of indices.
template <class T>
class AddUpSlicesNode final : public detail::OperationNode<1> {
public:
    AddUpSlicesNode(detail::Record* dy, detail::Record* indices, IndexedAxis shape) : OperationNode("derivative of index_select"), shape_(shape) {
        set_input(0, dy);
        indices_.save(indices);
    }
    void release_saved() noexcept override { indices_.tensor = detail::AnyTensor(); }
    const void* kind() const noexcept override { return &detail::node_kind<AddUpSlicesNode>; }
    Tensor<std::int64_t, 1> indices() const { return saved_constant<std::int64_t, 1>(*this, indices_, Shape<1>{{indices_.tensor->size}}); }
    Shape<3> sizes() const { return {{shape_.outer, shape_.n, shape_.inner}}; }
    void backward() override {
        AddUpNode<T>::accumulate_plain(edges_[0], index_select<1>(recorded_gradient<T, 3>(*this, sizes()), indices()).record());
    }

private:
    IndexedAxis shape_;
    detail::Saved indices_;
};
template <class T>
void add_up_slices_recorded(Node& any) {
    auto& node = static_cast<AddUpSlicesNode<T>&>(any);
    accumulate_reshaped(node.inputs[0], index_select<1>(recorded_gradient<T, 3>(node, node.sizes()), node.indices()));
}
template <class T, class I>
void select_recorded(Node& any) {
    auto& node = static_cast<SelectNode<T, I>&>(any);
    const IndexedAxis s = node.shape();
    detail::Record* indices = node.indices().check(node.name);
    const Tensor<T, 3> dy = contiguous(recorded_gradient<T, 3>(node, Shape<3>{{s.outer, indices->size, s.inner}}));
    const long dims[] = {s.outer, s.n, s.inner};
    const Tensor<T, 3> result(detail::AnyTensor(detail::new_record(dtype_of<T>, 3, dims, dy.device())));
    node.add_up(indices, dy.data(), result.data(), true);
    if (detail::wants_gradient(dy.record()))
        detail::make_node<AddUpSlicesNode<T>>(dy.record(), wide_indices<I>(indices).record(), s)->set_result(result.record());
    accumulate_reshaped(node.inputs[0], result);
}

template <class T>
struct IndexEntries {
    detail::RecordedBackward entries[7] = {{&detail::node_kind<GatherNode<T, std::int64_t>>, &gather_recorded<T, std::int64_t>},
                                           {&detail::node_kind<GatherNode<T, std::int32_t>>, &gather_recorded<T, std::int32_t>},
                                           {&detail::node_kind<SelectNode<T, std::int64_t>>, &select_recorded<T, std::int64_t>},
                                           {&detail::node_kind<SelectNode<T, std::int32_t>>, &select_recorded<T, std::int32_t>},
                                           {&detail::node_kind<AddUpNode<T>>, &add_up_recorded<T>},
                                           {&detail::node_kind<AddUpSlicesNode<T>>, &add_up_slices_recorded<T>},
                                           {&detail::node_kind<ChoiceNode<T>>, &choice_recorded<T>}};
};
inline IndexEntries<float> index_entries_float;
inline IndexEntries<double> index_entries_double;

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
