// Joining tensors along an axis that they have, or along a new one.
#pragma once

#include <tenon/autograd/operation_node.hpp>
#include <tenon/kernels/cpu/gather.hpp>
#include <tenon/ops/copy.hpp>

#include <initializer_list>
#include <new>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

// The part [begin, begin + length) of an axis, or, with length < 0, its index `begin` without the axis.
inline detail::AnyTensor axis_part(const detail::Record* whole, int axis, long begin, long length) {
    long dims[max_rank], strides[max_rank];
    int rank = 0;
    for (int i = 0; i < whole->rank; ++i) {
        if (i == axis && length < 0) continue;
        dims[rank] = i == axis ? length : whole->dims()[i];
        strides[rank++] = whole->strides()[i];
    }
    const long offset = whole->size == 0 ? 0 : begin * whole->strides()[axis] * size_of(whole->dtype);
    return detail::AnyTensor(detail::new_view(whole, rank, dims, strides, whole->offset + offset));
}

// Each operand's gradient is its part of the result's.
class ConcatNode final : public Node {
public:
    struct Part { long begin, length; };

    static ConcatNode* make(const char* operation, int axis, long count) {
        const std::size_t parts = static_cast<std::size_t>(count);
        const int block_class = detail::checked_size_class(sizeof(ConcatNode) + parts * (sizeof(Edge) + sizeof(Part)));
        char* block = static_cast<char*>(detail::allocate_class(block_class));
        Edge* edges = reinterpret_cast<Edge*>(block + sizeof(ConcatNode));
        for (std::size_t k = 0; k < parts; ++k) new (edges + k) Edge;
        ConcatNode* node = new (block) ConcatNode(operation, axis, edges, static_cast<int>(count));
        node->block_class = static_cast<short>(block_class);
        node->parts_ = reinterpret_cast<Part*>(edges + parts);
        return node;
    }
    void connect(long k, detail::Record* r, Part part) {
        parts_[k] = part;
        if (r->node == nullptr) return;
        inputs[k] = detail::edge_to(r);
        detail::retain(inputs[k].node);
        if (inputs[k].node->depth >= depth) depth = inputs[k].node->depth + 1;
    }
    void set_result(detail::Record* r) {
        detail::set_slot(slot_, r);
        detail::attach(r, this, 0);
    }
    const void* kind() const noexcept override { return &detail::node_kind<ConcatNode>; }
    int axis() const { return axis_; }
    Part part(int k) const { return parts_[k]; }
    void backward() override {
        for (int k = 0; k < input_count; ++k) {
            if (inputs[k].node == nullptr) continue;
            const detail::GradientTarget to = detail::gradient_target(inputs[k]);
            const detail::AnyTensor part = axis_part(slot_.gradient.get(), axis_, parts_[k].begin, parts_[k].length);
            if (to.mode == 2) add_records(to.record, part.get());
            else copy_records(to.record, part.get());
        }
    }

private:
    ConcatNode(const char* operation, int axis, Edge* edges, int count) : Node(operation, &slot_, 1, edges, count), axis_(axis) {}

    Slot slot_;
    int axis_;
    Part* parts_ = nullptr;
};

// operand(k) gives the k-th record. stacked: along a new axis of the result.
template <class Operand>
detail::AnyTensor join_records(const char* operation, int axis, bool stacked, long count, Operand operand) {
    if (count < 1) fail<ShapeError>(operation, ": no tensors came, expected at least one");
    if (count > 0x7fffffffl) fail<ShapeError>(operation, ": ", count, " tensors are too many");
    const detail::Record* first = operand(0l);
    const int rank = first->rank;
    long dims[max_rank] = {}, total = 0;
    for (long k = 0; k < count; ++k) {
        const detail::Record* r = operand(k);
        if (!(r->storage->device == first->storage->device)) fail_devices(operation, first->storage->device, r->storage->device);
        for (int i = 0; i < rank; ++i)
            if (r->dims()[i] != first->dims()[i] && (stacked || i != axis))
                fail<ShapeError>(operation, ": operand ", k, " is ", r->description(), ", but operand 0 is ", first->description(), ": they differ at axis ", i,
                                 stacked ? "\n       hint: all sizes must agree" : "\n       hint: all sizes but those of the joined axis must agree");
        total += stacked ? 1 : r->dims()[axis];
    }
    int at = 0;
    for (int i = 0; i < rank + (stacked ? 1 : 0); ++i) dims[i] = i == axis ? total : first->dims()[stacked ? at++ : i];
    check_device(operation, first->storage->device);
    detail::AnyTensor result(detail::new_record(first->dtype, rank + (stacked ? 1 : 0), dims, first->storage->device, operation));
    bool recorded = false;
    long begin = 0;
    for (long k = 0; k < count; ++k) {
        const detail::Record* r = operand(k);
        const long length = stacked ? -1 : r->dims()[axis];
        const detail::AnyTensor part = axis_part(result.get(), axis, begin, length);
        copy_records(part.get(), r);
        recorded = recorded || detail::wants_gradient(r);
        begin += stacked ? 1 : length;
    }
    if (!recorded) return result;
    ConcatNode* node = ConcatNode::make(operation, axis, count);
    try {
        begin = 0;
        for (long k = 0; k < count; ++k) {
            detail::Record* r = operand(k);
            const long length = stacked ? -1 : r->dims()[axis];
            node->connect(k, r, {begin, length});
            begin += stacked ? 1 : length;
        }
    } catch (...) {
        detail::release_node(node);
        throw;
    }
    node->set_result(result.get());
    return result;
}

template <int Axis, int R>
constexpr int concat_axis() {
    static_assert(R >= 1, "tenon: concat: scalars have no axis to join along: write stack<0>(...)");
    static_assert(Axis >= -R && Axis < R, "tenon: concat<Axis>: the axis is outside of the tensors' rank");
    return detail::normal_axis<Axis, R>();
}
template <int Axis, int R>
constexpr int stack_axis() {
    static_assert(R < max_rank, "tenon: stack: the result would have more than 8 axes");
    static_assert(Axis >= -R - 1 && Axis <= R, "tenon: stack<Axis>: the axis is outside of the result's rank");
    return detail::normal_axis<Axis, R + 1>();
}

// Tensors held by a container with data() and size(), such as a std::vector.
template <class C>
concept TensorList = !Expression<C> && requires(const C& c) {
    c.data()->record();
    static_cast<long>(c.size());
};

template <class... E>
constexpr void check_join() {
    static_assert((std::is_same_v<common_scalar_t<E...>, common_scalar_t<E>> && ...),
                  "tenon: concat and stack: the operands have different element types: write cast<T>(x) on one of them");
    static_assert(((wrap_t<E>::rank == largest(wrap_t<E>::rank...)) && ...), "tenon: concat and stack: the operands have different numbers of axes");
}

}  // namespace impl

// concat<Axis>({a, b, c}): the tensors one after the other along an axis; all other sizes must agree. Also of a container
// of tensors, and as concat<Axis>(a, b * 2, c) of tensors and expressions. The result is contiguous. Throws ShapeError
// (naming the operand) and DeviceError. Derivative: each operand gets its part of the gradient.
template <int Axis, class T, int R>
[[nodiscard]] Tensor<T, R> concat(std::initializer_list<Tensor<T, R>> list) {
    return Tensor<T, R>(impl::join_records("concat", impl::concat_axis<Axis, R>(), false, static_cast<long>(list.size()),
                                           [&](long k) { return list.begin()[k].record(); }));
}
template <int Axis, impl::TensorList C>
[[nodiscard]] auto concat(const C& list) {
    using X = std::remove_cvref_t<decltype(*list.data())>;
    return X(impl::join_records("concat", impl::concat_axis<Axis, X::rank>(), false, static_cast<long>(list.size()),
                                [&](long k) { return list.data()[k].record(); }));
}
template <int Axis, Expression A, Expression... E>
[[nodiscard]] auto concat(A&& a, E&&... rest) {
    impl::check_join<A, E...>();
    using X = Tensor<common_scalar_t<A>, wrap_t<A>::rank>;
    const X parts[] = {X(static_cast<A&&>(a)), X(static_cast<E&&>(rest))...};
    return X(impl::join_records("concat", impl::concat_axis<Axis, X::rank>(), false, 1 + static_cast<long>(sizeof...(E)),
                                [&](long k) { return parts[k].record(); }));
}

// stack<Axis>({a, b, c}): tensors of the same sizes along a new axis of the result. Operands and errors as of concat.
template <int Axis, class T, int R>
[[nodiscard]] Tensor<T, R + 1> stack(std::initializer_list<Tensor<T, R>> list) {
    return Tensor<T, R + 1>(impl::join_records("stack", impl::stack_axis<Axis, R>(), true, static_cast<long>(list.size()),
                                               [&](long k) { return list.begin()[k].record(); }));
}
template <int Axis, impl::TensorList C>
[[nodiscard]] auto stack(const C& list) {
    using X = std::remove_cvref_t<decltype(*list.data())>;
    return Tensor<typename X::Scalar, X::rank + 1>(impl::join_records("stack", impl::stack_axis<Axis, X::rank>(), true, static_cast<long>(list.size()),
                                                                      [&](long k) { return list.data()[k].record(); }));
}
template <int Axis, Expression A, Expression... E>
[[nodiscard]] auto stack(A&& a, E&&... rest) {
    impl::check_join<A, E...>();
    using X = Tensor<common_scalar_t<A>, wrap_t<A>::rank>;
    const X parts[] = {X(static_cast<A&&>(a)), X(static_cast<E&&>(rest))...};
    return Tensor<typename X::Scalar, X::rank + 1>(impl::join_records("stack", impl::stack_axis<Axis, X::rank>(), true, 1 + static_cast<long>(sizeof...(E)),
                                                                      [&](long k) { return parts[k].record(); }));
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
