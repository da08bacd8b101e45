// Copies: between devices, into contiguous memory, and of values without the tape.
#pragma once

#include <tenon/autograd/evaluate.hpp>
#include <tenon/autograd/operation_node.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
// A contiguous copy in memory of its own, without gradient record.
template <class T, int R>
[[nodiscard]] Tensor<T, R> clone(const Tensor<T, R>& x) {
    detail::AnyTensor result(detail::new_record(dtype_of<T>, R, x.record()->dims(), x.device()));
    impl::copy_records(result.get(), x.record());
    return Tensor<T, R>(static_cast<detail::AnyTensor&&>(result));
}
// x itself where it is contiguous, else a copy (recorded).
template <class T, int R>
[[nodiscard]] Tensor<T, R> contiguous(const Tensor<T, R>& x) {
    return x.is_contiguous() ? x : Tensor<T, R>(impl::recorded_copy_any(x.record()));
}
template <class T, int R, std::size_t N>
[[nodiscard]] auto reshape(const Tensor<T, R>& x, const Dim (&sizes)[N]) { return x.reshape(sizes); }
template <int... Axes, class T, int R>
[[nodiscard]] Tensor<T, R> permute(const Tensor<T, R>& x) { return x.template permute<Axes...>(); }

}  // namespace TENON_CONFIG_NAMESPACE

namespace detail {
template <class Tag>
AnyTensor contiguous_copy(const Record* source) {
    return impl::recorded_copy_any(const_cast<Record*>(source));
}
}  // namespace detail

inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

// A contiguous copy on another device, without gradient record.
inline detail::AnyTensor transferred(detail::Record* source, Device target) {
    const Device device = source->storage->device;
    const runtime::Backend& backend = runtime::backend(target.is_cpu() ? device : target);
    detail::AnyTensor packed = detail::AnyTensor::share(source);
    if (!source->contiguous) {
        packed = detail::AnyTensor(detail::new_record(source->dtype, source->rank, source->dims(), device));
        copy_records(packed.get(), source);
    }
    detail::AnyTensor result(detail::new_record(source->dtype, source->rank, source->dims(), target, "to"));
    backend.copy(target, result->data(), device, packed->data(), static_cast<std::size_t>(source->size) * static_cast<std::size_t>(size_of(source->dtype)));
    return result;
}

// The gradient goes back to where the tensor came from.
class TransferNode final : public detail::OperationNode<1> {
public:
    explicit TransferNode(detail::Record* source) : OperationNode("to") { set_input(0, source); }
    const void* kind() const noexcept override { return &detail::node_kind<TransferNode>; }
    void backward() override {
        const detail::GradientTarget to = detail::gradient_target(edges_[0]);
        const detail::AnyTensor back = transferred(slot_.gradient.get(), to.record->storage->device);
        if (to.mode == 2) add_records(to.record, back.get());
        else copy_records(to.record, back.get());
    }
};
inline detail::AnyTensor recorded_transfer(detail::Record* source, Device target) {
    detail::AnyTensor result = transferred(source, target);
    if (detail::wants_gradient(source)) detail::make_node<TransferNode>(source)->set_result(result.get());
    return result;
}

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE

// The tensor on another device: itself where it is there already, else a copy, whose gradient comes back to this one.
template <Element T, int Rank>
Tensor<T, Rank> Tensor<T, Rank>::to(Device target) const {
    if (device() == target) return *this;
    return Tensor(impl::recorded_transfer(record(), target));
}

}  // namespace tenon
