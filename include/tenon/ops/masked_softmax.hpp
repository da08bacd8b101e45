// Softmax and its logarithm over the elements that a mask keeps.
#pragma once

#include <tenon/kernels/cpu/masked_softmax.hpp>
#include <tenon/ops/softmax.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/masked_softmax.cuh>
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

template <bool Log>
struct MaskedSoftmax {
    static constexpr const char* name = Log ? "masked log_softmax" : "masked softmax";
    template <class T>
    static void backward(Device device, AxisSplit s, const T* y, const T* dy, T* dx, bool add) {
        TENON_RUN(device, masked_softmax_backward<Log>(s.outer, s.n, s.inner, y, dy, dx, add));
    }
};

// The mask broadcasts to x.
template <class T, bool Log>
detail::AnyTensor masked_softmax_of(detail::Record* x, int axis, detail::Record* mask) {
    const char* name = Log ? "log_softmax" : "softmax";
    const Device device = x->storage->device;
    check_device(name, device);
    if (!(mask->storage->device == device)) fail_devices(name, device, mask->storage->device);
    bool fits = mask->rank <= x->rank;
    for (int i = 1; fits && i <= mask->rank; ++i) fits = mask->dims()[mask->rank - i] == x->dims()[x->rank - i] || mask->dims()[mask->rank - i] == 1;
    if (!fits) fail<ShapeError>(name, ": the mask is ", mask->description(), ", input ", x->description(), ": expected a mask that broadcasts to the input");
    const AxisSplit split = split_at(x, axis);
    detail::AnyTensor y(detail::new_record(dtype_of<T>, x->rank, x->dims(), device, name));
    const T* from = reinterpret_cast<const T*>(x->data());
    T* to = reinterpret_cast<T*>(y->data());
    long strides[max_rank];
    broadcast_strides(strides, x->rank, mask->rank, mask->dims(), mask->strides());
#if TENON_CUDA
    if (!device.is_cpu()) kernels::cuda::masked_softmax<Log>(x->rank, x->dims(), axis, from, reinterpret_cast<const bool*>(mask->data()), strides, to);
    else
#endif
    if (split.inner == 1 && (strides[axis] == 0 || strides[axis] == 1) && x->size > 0) {
        // Where each row's mask begins.
        const detail::AnyTensor starts(detail::new_record(DType::int64, 1, &split.outer, device));
        long* offset = reinterpret_cast<long*>(starts->data());
        long index[max_rank] = {}, at = 0;
        for (long r = 0; r < split.outer; ++r) {
            offset[r] = at;
            for (int i = axis - 1; i >= 0; --i) {
                at += strides[i];
                if (++index[i] < x->dims()[i]) break;
                at -= strides[i] * index[i];
                index[i] = 0;
            }
        }
        kernels::cpu::masked_softmax_rows<Log>(split.outer, split.n, from, reinterpret_cast<const bool*>(mask->data()), offset, strides[axis], to);
    } else {
        const detail::AnyTensor spread(detail::new_view(mask, x->rank, x->dims(), strides, mask->offset)), whole(detail::new_record(DType::boolean, x->rank, x->dims(), device));
        copy_records(whole.get(), spread.get());
        kernels::cpu::masked_softmax<Log>(split.outer, split.n, split.inner, from, reinterpret_cast<const bool*>(whole->data()), to);
    }
    if (detail::wants_gradient(x)) detail::make_node<SoftmaxNode<T, MaskedSoftmax<Log>>>(x, y.get(), split)->set_result(y.get());
    return y;
}
template <int Axis, bool Log, class E, class M>
auto masked_softmax_any(E&& e, M&& m) {
    const auto given = as_tensor(static_cast<E&&>(e));
    using X = std::remove_const_t<decltype(given)>;
    using T = typename X::Scalar;
    static_assert(Floating<T>, "tenon: softmax: the input must be floating-point: write cast<float>(x) first");
    static_assert(Axis >= -X::rank && Axis < X::rank, "tenon: softmax<Axis>: the axis is outside of the tensor's rank");
    // In rows of its own: which kernel runs, and so the order of sums, does not depend on its strides.
    const auto mask = contiguous(as_tensor(static_cast<M&&>(m)));
    static_assert(std::remove_const_t<decltype(mask)>::rank <= X::rank, "tenon: softmax(x, mask): the mask has more axes than the input");
    const X x = contiguous(given);
    return X(masked_softmax_of<T, Log>(x.record(), detail::normal_axis<Axis, X::rank>(), mask.record()));
}

}  // namespace impl

// softmax<Axis>(x, mask): over the elements where the mask is true; the mask is bool and broadcasts to x. The others are 0 and
// get a zero gradient, whatever they hold, as does a row of which nothing above -inf is kept. Derivative as of softmax.
template <int Axis = -1, Expression E, Expression M>
    requires(std::is_same_v<common_scalar_t<M>, bool>)
[[nodiscard]] auto softmax(E&& x, M&& mask) { return impl::masked_softmax_any<Axis, false>(static_cast<E&&>(x), static_cast<M&&>(mask)); }
// log_softmax<Axis>(x, mask): its logarithm, -inf where the mask is false; the gradient there is zero.
template <int Axis = -1, Expression E, Expression M>
    requires(std::is_same_v<common_scalar_t<M>, bool>)
[[nodiscard]] auto log_softmax(E&& x, M&& mask) { return impl::masked_softmax_any<Axis, true>(static_cast<E&&>(x), static_cast<M&&>(mask)); }

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
