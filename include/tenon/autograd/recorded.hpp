// Backward passes that are recorded themselves (create_graph). A class of nodes that can do that names itself by kind(),
// and a function registered for the kind builds the gradients of the node's inputs as recorded operations:
//
//     template <class T>
//     void softmax_recorded(Node& any) {
//         auto& node = static_cast<SoftmaxNode<T>&>(any);
//         const Shape<3> sizes{{outer, n, inner}};
//         const auto dy = recorded_gradient<T, 3>(node, sizes);      // what has arrived, under a fixed rank
//         const auto y = saved_output<T, 3>(node, node.y(), sizes);  // with its node put back; saved_input for an input
//         accumulate_reshaped(node.inputs[0], eval(y * (dy - sum<1>(dy * y, keepdim))));  // back under the input's sizes
//     }
//     inline detail::RecordedBackward softmax_entry{&detail::node_kind<SoftmaxNode<float>>, &softmax_recorded<float>};
//
// These functions live in ops/second_order/ and cost those who include <tenon/ops/second_order.hpp>.
#pragma once

#include <tenon/autograd/evaluate.hpp>

namespace tenon {
namespace detail {

// Registers itself, when a program starts.
struct RecordedBackward {
    const void* kind;
    void (*run)(Node&);
    RecordedBackward* next;

    RecordedBackward(const void* of, void (*function)(Node&));
};
inline constinit RecordedBackward* recorded_backwards[251] = {};
inline RecordedBackward*& recorded_bucket(const void* kind) { return recorded_backwards[reinterpret_cast<std::uintptr_t>(kind) % 251]; }
inline RecordedBackward::RecordedBackward(const void* of, void (*function)(Node&)) : kind(of), run(function), next(recorded_bucket(of)) {
    recorded_bucket(of) = this;
}

// Nodes that came out of a recorded derivative and have none of their own.
inline char third_order_kind = 0;

// The gradients of the inputs of a node, as recorded operations. Throws GradError where nothing is registered.
inline void run_recorded(Node& node) {
    const void* kind = node.kind();
    if (kind != nullptr)
        for (const RecordedBackward* entry = recorded_bucket(kind); entry != nullptr; entry = entry->next)
            if (entry->kind == kind) return entry->run(node);
    if (kind == &third_order_kind)
        fail<GradError>("create_graph: third derivatives are not there: \"", node.name, "\" is itself the recorded derivative of an expression",
                        "\n       hint: take the last derivative without create_graph");
    fail<GradError>("create_graph: the operation \"", node.name, "\" has no second derivative",
                    kind != nullptr ? " here\n       hint: include <tenon/ops/second_order.hpp>" : "");
}

}  // namespace detail

inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

template <class T>
detail::AnyTensor recorded_sum_of(detail::Record* a, detail::Record* b) {
    Collector c;
    c.add(a);
    c.add(b);
    detail::AnyTensor result;
    evaluate(formula::table<formula::Op<fn::add, formula::In<T>, formula::In<T>>, true>, c, a->rank, a->dims(), a->storage->device, &result);
    return result;
}
inline detail::AnyTensor recorded_add(detail::Record* a, detail::Record* b) {
    switch (a->dtype) {
        case DType::float32: return recorded_sum_of<float>(a, b);
        case DType::float64: return recorded_sum_of<double>(a, b);
        case DType::bfloat16: return recorded_sum_of<bf16>(a, b);
        default: return recorded_sum_of<half>(a, b);
    }
}

// A leaf's gradient becomes the tensor t, which may be recorded. What lies in an optimiser's arena stays there.
inline void set_leaf_gradient(Node::Slot& slot, detail::AnyTensor t) {
    if (slot.gradient && slot.gradient->storage->data_class == -1) {
        detail::Record* to = slot.gradient.get();
        copy_records(to, t.get());
        detail::note_write(to->storage, "backward");
        detail::AnyTensor same(detail::new_view(to, to->rank, to->dims(), to->strides(), to->offset));
        same->is_view = false;
        detail::attach_again(same.get(), t->node, t->slot);
        slot.gradient = static_cast<detail::AnyTensor&&>(same);
    } else {
        // Later passes add to it in place: it must be nobody else's.
        const bool shared = t->references > 1 || t->storage->references > 1;
        slot.gradient = shared ? recorded_copy_any(t.get()) : static_cast<detail::AnyTensor&&>(t);
    }
    slot.has = true;
}

// Adds a recorded gradient of an edge's output to what has arrived before. t has the sizes of that output. Does nothing
// where nobody asked (detail::wanted_now(edge), which saves the computation).
inline void accumulate_recorded(Edge edge, detail::AnyTensor t) {
    if (!detail::wanted_now(edge)) return;
    Node::Slot& slot = edge.node->slots[edge.slot];
    bool fits = t->rank == slot.rank && t->dtype == slot.dtype;
    for (int i = 0; fits && i < slot.rank; ++i) fits = t->dims()[i] == slot.dims[i];
    if (TENON_UNLIKELY(!fits))
        fail<Error>("create_graph: a recorded derivative is ", t->description(), ", but belongs to an output of \"", edge.node->name, "\" that is ",
                    detail::Description{slot.dtype, slot.rank, slot.dims, slot.device});
    if (edge.node->leaf) detail::claim(edge.node);
    if (!t->contiguous) t = recorded_copy_any(t.get());
    if (slot.has) t = recorded_add(slot.gradient.get(), t.get());
    if (edge.node->leaf) return set_leaf_gradient(slot, static_cast<detail::AnyTensor&&>(t));
    slot.gradient = static_cast<detail::AnyTensor&&>(t);
    slot.has = true;
}
template <class T, int R>
void accumulate_recorded(Edge edge, const Tensor<T, R>& t) { accumulate_recorded(edge, t.any()); }
// The same for a result under other sizes, such as [outer, n, inner].
template <class T, int R>
void accumulate_reshaped(Edge edge, const Tensor<T, R>& t) {
    if (!detail::wanted_now(edge)) return;
    Node::Slot& slot = edge.node->slots[edge.slot];
    accumulate_recorded(edge, detail::reshape_any(t.record(), slot.rank, slot.dims));
}

// A saved tensor that was input k, with the node that made it.
inline detail::AnyTensor saved_input(const Node& node, int k, const detail::Saved& saved) {
    const detail::Record* r = saved.check(node.name);
    detail::AnyTensor again(detail::new_view(r, r->rank, r->dims(), r->strides(), r->offset));
    detail::attach_again(again.get(), node.inputs[k].node, node.inputs[k].slot);
    return again;
}
// A saved tensor that was the node's own output.
inline detail::AnyTensor saved_output(Node& node, const detail::Saved& saved, int slot = 0) {
    const detail::Record* r = saved.check(node.name);
    detail::AnyTensor again(detail::new_view(r, r->rank, r->dims(), r->strides(), r->offset));
    detail::attach_again(again.get(), &node, slot);
    return again;
}
// A saved tensor that no gradient flows to.
inline detail::AnyTensor saved_constant(const Node& node, const detail::Saved& saved) {
    const detail::Record* r = saved.check(node.name);
    return detail::AnyTensor(detail::new_view(r, r->rank, r->dims(), r->strides(), r->offset));
}
// The gradient that has arrived at an output, recorded as it is; zeros where none has.
inline detail::AnyTensor recorded_gradient(const Node& node, int slot = 0) {
    const Node::Slot& s = node.slots[slot];
    if (s.has) return s.gradient;
    detail::AnyTensor zero(detail::new_record(s.dtype, s.rank, s.dims, s.device));
    detail::zero_bytes(zero->storage->device, zero->data(), static_cast<std::size_t>(zero->size) * static_cast<std::size_t>(size_of(s.dtype)));
    return zero;
}

// The same elements under a rank that is known to the compiler: a recorded view.
template <class T, int R>
Tensor<T, R> shaped(const detail::AnyTensor& x, Shape<R> sizes) {
    return Tensor<T, R>(detail::reshape_any(x.get(), R, sizes.dims));
}
template <class T, int R>
Tensor<T, R> saved_input(const Node& node, int k, const detail::Saved& saved, Shape<R> sizes) {
    return shaped<T, R>(saved_input(node, k, saved), sizes);
}
template <class T, int R>
Tensor<T, R> saved_output(Node& node, const detail::Saved& saved, Shape<R> sizes) {
    return shaped<T, R>(saved_output(node, saved), sizes);
}
template <class T, int R>
Tensor<T, R> saved_constant(const Node& node, const detail::Saved& saved, Shape<R> sizes) {
    return shaped<T, R>(saved_constant(node, saved), sizes);
}
template <class T, int R>
Tensor<T, R> recorded_gradient(const Node& node, Shape<R> sizes) {
    return shaped<T, R>(recorded_gradient(node), sizes);
}

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
