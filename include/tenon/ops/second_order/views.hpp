// Recorded backward passes of views and of joining tensors: what a view shows goes back to where it shows it, and the
// derivative of that is the view.
#pragma once

#include <tenon/autograd/recorded.hpp>
#include <tenon/ops/concat.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

class SpreadNode final : public detail::OperationNode<1> {
public:
    SpreadNode(const detail::ViewMap& map, detail::Record* shown) : OperationNode("derivative of a view"), map_(map) { set_input(0, shown); }
    const void* kind() const noexcept override { return &detail::node_kind<SpreadNode>; }
    const detail::ViewMap& map() const { return map_; }
    void backward() override {
        const detail::Record* arrived = gradient();
        detail::AnyTensor part(detail::apply_map(arrived, map_));
        const detail::GradientTarget to = detail::gradient_target(edges_[0]);
        if (to.mode == 2) add_records(to.record, part.get());
        else copy_records(to.record, part.get());
    }

private:
    detail::ViewMap map_;
};

// A tensor of zeros that shows `shown` under the map.
inline detail::AnyTensor spread(const detail::ViewMap& map, const detail::AnyTensor& shown, const Node::Slot& like) {
    if (map.reshape) {
        long dims[max_rank];
        for (int i = 0; i < like.rank; ++i) dims[i] = like.dims[i];
        return detail::reshape_any(shown.get(), like.rank, dims);
    }
    detail::AnyTensor result(detail::new_record(like.dtype, like.rank, like.dims, like.device));
    spread_view(map, result.get(), shown.get(), true);
    if (detail::wants_gradient(shown.get())) detail::make_node<SpreadNode>(map, shown.get())->set_result(result.get());
    return result;
}

inline void view_recorded(Node& any) {
    ViewNode& node = static_cast<ViewNode&>(any);
    const Edge to = node.inputs[0];
    accumulate_recorded(to, spread(node.map(), recorded_gradient(node), to.node->slots[to.slot]));
}
inline void spread_recorded(Node& any) {
    SpreadNode& node = static_cast<SpreadNode&>(any);
    accumulate_recorded(node.inputs[0], detail::make_view(recorded_gradient(node).get(), node.map()));
}
inline void concat_recorded(Node& any) {
    ConcatNode& node = static_cast<ConcatNode&>(any);
    const detail::AnyTensor dy = recorded_gradient(node);
    for (int k = 0; k < node.input_count; ++k) {
        if (!detail::wanted_now(node.inputs[k])) continue;
        const ConcatNode::Part part = node.part(k);
        detail::ViewMap map = detail::identity_map(dy.get());
        map.start[node.axis()] = part.length == 0 ? 0 : part.begin;
        if (part.length >= 0) {
            map.dims[node.axis()] = part.length;
        } else {
            --map.rank;
            for (int i = node.axis(); i < map.rank; ++i) {
                map.axis[i] = map.axis[i + 1];
                map.dims[i] = map.dims[i + 1];
            }
        }
        accumulate_recorded(node.inputs[k], detail::make_view(dy.get(), map));
    }
}
inline detail::RecordedBackward view_entries[] = {{&detail::node_kind<ViewNode>, &view_recorded},
                                                  {&detail::node_kind<SpreadNode>, &spread_recorded},
                                                  {&detail::node_kind<ConcatNode>, &concat_recorded}};

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
