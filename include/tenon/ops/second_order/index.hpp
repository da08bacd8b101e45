// Recorded backward passes of choosing elements by index, extremes included: gradients are added up where the elements came
// from, and the derivative of that is choosing again.
#pragma once

#include <tenon/autograd/recorded.hpp>
#include <tenon/ops/extreme.hpp>
#include <tenon/ops/index.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

// [outer, m, inner] added up in [outer, n, inner] by one index per element.
template <class T, class I>
class AddUpNode final : public detail::OperationNode<1> {
public:
    AddUpNode(detail::Record* dy, const detail::Record* indices, IndexedAxis shape, long m) : OperationNode("derivative of gather"), shape_(shape), m_(m) {
        set_input(0, dy);
        indices_.save(const_cast<detail::Record*>(indices));
    }
    void release_saved() noexcept override { indices_.tensor = detail::AnyTensor(); }
    const void* kind() const noexcept override { return &detail::node_kind<AddUpNode>; }
    Tensor<I, 3> indices() const { return saved_constant<I, 3>(*this, indices_, Shape<3>{{shape_.outer, m_, shape_.inner}}); }
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
template <class T, class I>
void add_up_recorded(Node& any) {
    auto& node = static_cast<AddUpNode<T, I>&>(any);
    accumulate_reshaped(node.inputs[0], gather<1>(recorded_gradient<T, 3>(node, node.sizes()), node.indices()));
}
template <class T, class I>
Tensor<T, 3> add_up(const Tensor<T, 3>& dy, const detail::Record* indices, IndexedAxis s, long m) {
    const Tensor<T, 3> from = contiguous(dy);
    const long dims[] = {s.outer, s.n, s.inner};
    const Tensor<T, 3> result(detail::AnyTensor(detail::new_record(dtype_of<T>, 3, dims, dy.device())));
    TENON_RUN(from.device(), scatter_add_axis(s.outer, s.n, m, s.inner, static_cast<const T*>(from.data()), reinterpret_cast<const I*>(indices->data()),
                                              result.data(), false));
    if (detail::wants_gradient(from.record())) detail::make_node<AddUpNode<T, I>>(from.record(), indices, s, m)->set_result(result.record());
    return result;
}

template <class T, class I>
void gather_recorded(Node& any) {
    auto& node = static_cast<GatherNode<T, I>&>(any);
    const IndexedAxis s = node.shape();
    const auto dy = recorded_gradient<T, 3>(node, Shape<3>{{s.outer, node.chosen(), s.inner}});
    accumulate_reshaped(node.inputs[0], add_up<T, I>(dy, node.indices().check(node.name), s, node.chosen()));
}
template <class T>
void choice_recorded(Node& any) {
    auto& node = static_cast<ChoiceNode<T>&>(any);
    const AxisSplit s = node.split();
    const auto dy = recorded_gradient<T, 3>(node, Shape<3>{{s.outer, 1, s.inner}});
    accumulate_reshaped(node.inputs[0], add_up<T, std::int64_t>(dy, node.indices().check(node.name), {s.outer, s.n, s.inner}, 1));
}

// The same for slices that are chosen by one list of indices.
template <class T, class I>
class AddUpSlicesNode final : public detail::OperationNode<1> {
public:
    AddUpSlicesNode(detail::Record* dy, const detail::Record* indices, IndexedAxis shape) : OperationNode("derivative of index_select"), shape_(shape) {
        set_input(0, dy);
        indices_.save(const_cast<detail::Record*>(indices));
    }
    void release_saved() noexcept override { indices_.tensor = detail::AnyTensor(); }
    const void* kind() const noexcept override { return &detail::node_kind<AddUpSlicesNode>; }
    Tensor<I, 1> indices() const { return saved_constant<I, 1>(*this, indices_, Shape<1>{{indices_.tensor->size}}); }
    Shape<3> sizes() const { return {{shape_.outer, shape_.n, shape_.inner}}; }
    void backward() override {
        AddUpNode<T, I>::accumulate_plain(edges_[0], index_select<1>(recorded_gradient<T, 3>(*this, sizes()), indices()).record());
    }

private:
    IndexedAxis shape_;
    detail::Saved indices_;
};
template <class T, class I>
void add_up_slices_recorded(Node& any) {
    auto& node = static_cast<AddUpSlicesNode<T, I>&>(any);
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
    if (detail::wants_gradient(dy.record())) detail::make_node<AddUpSlicesNode<T, I>>(dy.record(), indices, s)->set_result(result.record());
    accumulate_reshaped(node.inputs[0], result);
}

template <class T, class I>
struct IndexEntries {
    detail::RecordedBackward entries[4] = {{&detail::node_kind<GatherNode<T, I>>, &gather_recorded<T, I>},
                                           {&detail::node_kind<AddUpNode<T, I>>, &add_up_recorded<T, I>},
                                           {&detail::node_kind<SelectNode<T, I>>, &select_recorded<T, I>},
                                           {&detail::node_kind<AddUpSlicesNode<T, I>>, &add_up_slices_recorded<T, I>}};
};
inline IndexEntries<float, std::int64_t> index_entries_f64;
inline IndexEntries<float, std::int32_t> index_entries_f32;
inline IndexEntries<double, std::int64_t> index_entries_d64;
inline IndexEntries<double, std::int32_t> index_entries_d32;
inline detail::RecordedBackward choice_entries[] = {{&detail::node_kind<ChoiceNode<float>>, &choice_recorded<float>},
                                                    {&detail::node_kind<ChoiceNode<double>>, &choice_recorded<double>}};

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
