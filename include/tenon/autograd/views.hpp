// How views are recorded: the gradient of a view goes to the part of the source's gradient that it shows.
#pragma once

#include <tenon/autograd/fused.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

// Adds what a view shows to where it shows it (write: the rest is set to zero).
inline void spread_view(const detail::ViewMap& map, detail::Record* to, detail::Record* shown, bool write) {
    const auto put = [](detail::Record* there, detail::Record* from, bool add) {
        if (add) add_records(there, from);
        else copy_records(there, from);
    };
    if (map.reshape) {
        detail::AnyTensor same(detail::new_view(shown, to->rank, to->dims(), to->strides(), shown->offset));
        return put(to, same.get(), !write);
    }
    detail::AnyTensor part(detail::apply_map(to, map));
    // Where the view shows everything once, its gradient is written straight; otherwise it is added to zeros.
    bool expanded = false;
    for (int i = 0; i < map.rank; ++i) expanded = expanded || (map.axis[i] < 0 && map.dims[i] != 1);
    const bool whole = part->size == to->size && !expanded;
    if (write && !whole)
        detail::zero_bytes(to->storage->device, to->data(), static_cast<std::size_t>(to->size) * static_cast<std::size_t>(size_of(to->dtype)));
    if (!expanded) return put(part.get(), shown, !write || !whole);
    // Expanded axes are summed first.
    long summed[max_rank];
    for (int i = 0; i < map.rank; ++i) summed[i] = map.axis[i] < 0 ? 1 : map.dims[i];
    detail::AnyTensor sum(detail::new_record(shown->dtype, map.rank, summed, shown->storage->device));
    Collector c;
    c.add(shown);
    switch (shown->dtype) {
        case DType::float32: run_reduction(formula::table<formula::In<float>, false>, c, map.rank, map.dims, sum.get(), summed, 1); break;
        case DType::float64: run_reduction(formula::table<formula::In<double>, false>, c, map.rank, map.dims, sum.get(), summed, 1); break;
        case DType::bfloat16: run_reduction(formula::table<formula::In<bf16>, false>, c, map.rank, map.dims, sum.get(), summed, 1); break;
        default: run_reduction(formula::table<formula::In<half>, false>, c, map.rank, map.dims, sum.get(), summed, 1);
    }
    detail::AnyTensor once(detail::new_view(part.get(), map.rank, summed, part->strides(), part->offset));
    put(once.get(), sum.get(), true);
}

class ViewNode final : public Node {
public:
    ViewNode(detail::Record* source, const detail::ViewMap& map) : Node("view", &slot_, 1, &input_, 1), map_(map) {
        view = true;
        input_ = detail::edge_to(source);
        detail::retain(input_.node);
        depth = input_.node->depth + 1;
    }
    const void* kind() const noexcept override { return &detail::node_kind<ViewNode>; }
    const detail::ViewMap& map() const { return map_; }
    Slot& slot() { return slot_; }
    void backward() override {
        const detail::GradientTarget to = detail::gradient_target(input_);
        spread_view(map_, to.record, slot_.gradient.get(), to.mode == 1);
    }

private:
    Slot slot_;
    Edge input_;
    detail::ViewMap map_;
};

inline void record_view(detail::Record* source, detail::Record* view, const detail::ViewMap& map) {
    ViewNode* node = new ViewNode(source, map);
    detail::set_slot(node->slot(), view);
    detail::attach(view, node, 0);
}

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
