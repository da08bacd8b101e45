// Copies: between devices, into contiguous memory, and of values without the tape.
#pragma once

#include <tenon/autograd/evaluate.hpp>

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

// The tensor on another device: itself where it is there already, else a copy without gradient record.
template <Element T, int Rank>
Tensor<T, Rank> Tensor<T, Rank>::to(Device target) const {
    if (device() == target) return *this;
    const detail::Record* r = record();
    const runtime::Backend& backend = runtime::backend(target.is_cpu() ? device() : target);
    detail::AnyTensor source = r->contiguous ? any_ : impl::recorded_copy_any(record());
    detail::AnyTensor result(detail::new_record(r->dtype, r->rank, r->dims(), target, "to"));
    backend.copy(target, result->data(), device(), source->data(), static_cast<std::size_t>(r->size) * sizeof(T));
    return Tensor(static_cast<detail::AnyTensor&&>(result));
}

}  // namespace tenon
