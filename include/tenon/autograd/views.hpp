// How views are recorded: the gradient of a view goes to the part of the source's gradient that it shows.
#pragma once

#include <tenon/autograd/fused.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

class ViewNode final : public Node {
public:
    ViewNode(detail::Record* source, const detail::ViewMap& map) : Node("view", &slot_, 1, &input_, 1), map_(map) {
        view = true;
        input_ = detail::edge_to(source);
        detail::retain(input_.node);
        depth = input_.node->depth + 1;
    }
    void backward() override {
        detail::Record* gradient = slot_.gradient.get();
        Slot& target = input_.node->slots[input_.slot];
        if (map_.reshape) {
            const detail::GradientTarget to = detail::gradient_target(input_);
            detail::AnyTensor same(detail::new_view(gradient, to.record->rank, to.record->dims(), to.record->strides(), gradient->offset));
            put(to.record, same.get(), to.mode == 2);
            return;
        }
        const bool first = !target.has;
        const detail::GradientTarget to = detail::gradient_target(input_);
        detail::AnyTensor part(detail::apply_map(to.record, map_));
        // Where the view shows everything once, its gradient is written straight; otherwise it is added to zeros.
        bool expanded = false;
        for (int i = 0; i < map_.rank; ++i) expanded = expanded || (map_.axis[i] < 0 && map_.dims[i] != 1);
        const bool whole = part->size == to.record->size && !expanded;
        if (first && !whole)
            std::memset(to.record->data(), 0, static_cast<std::size_t>(to.record->size) * static_cast<std::size_t>(size_of(to.record->dtype)));
        if (!expanded) return put(part.get(), gradient, !first || !whole);
        // Expanded axes are summed first.
        long summed[max_rank];
        for (int i = 0; i < map_.rank; ++i) summed[i] = map_.axis[i] < 0 ? 1 : map_.dims[i];
        detail::AnyTensor sum(detail::new_record(gradient->dtype, map_.rank, summed, gradient->storage->device));
        Collector c;
        c.add(gradient);
        switch (gradient->dtype) {
            case DType::float32: run_reduction(formula::table<formula::In<float>, false>, c, map_.rank, map_.dims, sum.get(), summed, 1); break;
            case DType::float64: run_reduction(formula::table<formula::In<double>, false>, c, map_.rank, map_.dims, sum.get(), summed, 1); break;
            case DType::bfloat16: run_reduction(formula::table<formula::In<bf16>, false>, c, map_.rank, map_.dims, sum.get(), summed, 1); break;
            default: run_reduction(formula::table<formula::In<half>, false>, c, map_.rank, map_.dims, sum.get(), summed, 1);
        }
        detail::AnyTensor once(detail::new_view(part.get(), map_.rank, summed, part->strides(), part->offset));
        put(once.get(), sum.get(), true);
    }

private:
    static void put(detail::Record* to, detail::Record* from, bool add) {
        if (add) add_records(to, from);
        else copy_records(to, from);
    }

    Slot slot_;
    Edge input_;
    detail::ViewMap map_;

public:
    Slot& slot() { return slot_; }
};

inline void record_view(detail::Record* source, detail::Record* view, const detail::ViewMap& map) {
    ViewNode* node = new ViewNode(source, map);
    detail::set_slot(node->slot(), view);
    detail::attach(view, node, 0);
}

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
