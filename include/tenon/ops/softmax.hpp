// Softmax and its logarithm over one axis.
#pragma once

#include <tenon/kernels/cpu/softmax.hpp>
#include <tenon/ops/axis.hpp>
#include <tenon/ops/copy.hpp>
#include <tenon/autograd/operation_node.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/softmax.cuh>
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

// How: its name as an operation, and its backward kernel.
template <class T, class How>
class SoftmaxNode final : public detail::OperationNode<1> {
public:
    SoftmaxNode(detail::Record* x, detail::Record* y, AxisSplit split) : OperationNode(How::name), split_(split) {
        set_input(0, x);
        y_.save_output(y);
    }
    const void* kind() const noexcept override { return &detail::node_kind<SoftmaxNode>; }
    const detail::Saved& y() const { return y_; }
    AxisSplit split() const { return split_; }
    void release_saved() noexcept override { y_.tensor = detail::AnyTensor(); }
    void backward() override {
        const T* y = reinterpret_cast<const T*>(y_.check(name)->data());
        const T* dy = reinterpret_cast<const T*>(gradient()->data());
        const detail::GradientTarget to = detail::gradient_target(edges_[0]);
        How::backward(to.record->storage->device, split_, y, dy, reinterpret_cast<T*>(to.record->data()), to.mode == 2);
    }

private:
    detail::Saved y_;
    AxisSplit split_;
};

struct WholeSoftmax {
    static constexpr const char* name = "softmax";
    template <class T>
    static void backward(Device device, AxisSplit s, const T* y, const T* dy, T* dx, bool add) {
        TENON_RUN(device, softmax_backward(s.outer, s.n, s.inner, y, dy, dx, add));
    }
};
struct WholeLogSoftmax {
    static constexpr const char* name = "log_softmax";
    template <class T>
    static void backward(Device device, AxisSplit s, const T* y, const T* dy, T* dx, bool add) {
        TENON_RUN(device, log_softmax_backward(s.outer, s.n, s.inner, y, dy, dx, add));
    }
};

template <int Axis, bool Log, class E>
auto softmax_any(E&& e) {
    const char* name = Log ? "log_softmax" : "softmax";
    auto given = as_tensor(static_cast<E&&>(e));
    using X = decltype(given);
    using T = typename X::Scalar;
    static_assert(Floating<T>, "tenon: softmax: the input must be floating-point: write cast<float>(x) first");
    static_assert(Axis >= -X::rank && Axis < X::rank, "tenon: softmax<Axis>: the axis is outside of the tensor's rank");
    check_device(name, given.device());
    const X x = contiguous(given);
    detail::Record* r = x.record();
    const AxisSplit split = split_at(r, detail::normal_axis<Axis, X::rank>());
    X y(detail::AnyTensor(detail::new_record(dtype_of<T>, X::rank, r->dims(), x.device(), name)));
    if constexpr (Log) TENON_RUN(x.device(), log_softmax(split.outer, split.n, split.inner, x.data(), y.data()));
    else TENON_RUN(x.device(), softmax(split.outer, split.n, split.inner, x.data(), y.data()));
    if (detail::wants_gradient(r)) detail::make_node<SoftmaxNode<T, std::conditional_t<Log, WholeLogSoftmax, WholeSoftmax>>>(r, y.record(), split)->set_result(y.record());
    return y;
}

}  // namespace impl

// softmax<Axis>(x): exp(x) / sum(exp(x)) over an axis, in one numerically safe pass; a row of -inf gives NaN.
// Derivative from the output: y * (dy - sum(dy * y)).
template <int Axis = -1, Expression E>
[[nodiscard]] auto softmax(E&& e) { return impl::softmax_any<Axis, false>(static_cast<E&&>(e)); }
// log_softmax<Axis>(x): its logarithm. Derivative from the output: dy - exp(y) * sum(dy).
template <int Axis = -1, Expression E>
[[nodiscard]] auto log_softmax(E&& e) { return impl::softmax_any<Axis, true>(static_cast<E&&>(e)); }

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
