// Running sums, products and extremes along an axis.
#pragma once

#include <tenon/kernels/cpu/scan.hpp>
#include <tenon/ops/copy.hpp>
#include <tenon/ops/picked.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/scan.cuh>
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

// What cummax and cummin return: auto [values, indices] = cummax<1>(x).
template <class T, int R>
struct Running {
    Tensor<T, R> values;
    Tensor<std::int64_t, R> indices;
};

namespace impl {

template <class T>
class CumsumNode final : public detail::OperationNode<1> {
public:
    CumsumNode(detail::Record* x, AxisSplit split, bool reverse) : OperationNode("cumsum"), split_(split), reverse_(reverse) { set_input(0, x); }
    const void* kind() const noexcept override { return &detail::node_kind<CumsumNode>; }
    void backward() override {
        const T* dy = reinterpret_cast<const T*>(gradient()->data());
        const detail::GradientTarget to = detail::gradient_target(edges_[0]);
        TENON_RUN(to.record->storage->device,
                  cumsum(split_.outer, split_.n, split_.inner, dy, reinterpret_cast<T*>(to.record->data()), !reverse_, to.mode == 2));
    }
    AxisSplit split() const { return split_; }
    bool reverse() const { return reverse_; }

private:
    AxisSplit split_;
    bool reverse_;
};

template <class T>
class CumprodNode final : public detail::OperationNode<1> {
public:
    CumprodNode(detail::Record* x, detail::Record* y, AxisSplit split, bool reverse) : OperationNode("cumprod"), split_(split), reverse_(reverse) {
        set_input(0, x);
        x_.save(x);
        y_.save_output(y);
    }
    const void* kind() const noexcept override { return &detail::node_kind<CumprodNode>; }
    void release_saved() noexcept override { x_.tensor = y_.tensor = detail::AnyTensor(); }
    void backward() override {
        const T* x = reinterpret_cast<const T*>(x_.check(name)->data());
        const T* y = reinterpret_cast<const T*>(y_.check(name)->data());
        const T* dy = reinterpret_cast<const T*>(gradient()->data());
        const detail::GradientTarget to = detail::gradient_target(edges_[0]);
        TENON_RUN(to.record->storage->device,
                  cumprod_backward(split_.outer, split_.n, split_.inner, x, y, dy, reinterpret_cast<T*>(to.record->data()), to.mode == 2, reverse_));
    }
    const detail::Saved& x() const { return x_; }
    const detail::Saved& y() const { return y_; }
    AxisSplit split() const { return split_; }
    bool reverse() const { return reverse_; }

private:
    AxisSplit split_;
    bool reverse_;
    detail::Saved x_, y_;
};

// Integers and bool run in int64, everything else keeps its type.
template <class T>
using running_t = std::conditional_t<std::is_integral_v<T>, std::int64_t, T>;
// What kernels see of a bool.
template <class T>
using number_t = std::conditional_t<std::is_same_v<T, bool>, std::uint8_t, T>;

// The running sum of a contiguous record whose axes count as [outer, n, inner].
template <class T>
detail::AnyTensor cumsum_record(detail::Record* x, AxisSplit s, bool reverse) {
    using Out = running_t<T>;
    detail::AnyTensor result(detail::new_record(dtype_of<Out>, x->rank, x->dims(), x->storage->device, "cumsum"));
    TENON_RUN(x->storage->device,
              cumsum(s.outer, s.n, s.inner, reinterpret_cast<const number_t<T>*>(x->data()), reinterpret_cast<Out*>(result->data()), reverse));
    if constexpr (Floating<T>)
        if (detail::wants_gradient(x)) detail::make_node<CumsumNode<T>>(x, s, reverse)->set_result(result.get());
    return result;
}

// The same of the running product.
template <class T>
detail::AnyTensor cumprod_record(detail::Record* x, AxisSplit s, bool reverse) {
    using Out = running_t<T>;
    detail::AnyTensor y(detail::new_record(dtype_of<Out>, x->rank, x->dims(), x->storage->device, "cumprod"));
    TENON_RUN(x->storage->device,
              cumprod(s.outer, s.n, s.inner, reinterpret_cast<const number_t<T>*>(x->data()), reinterpret_cast<Out*>(y->data()), reverse));
    if constexpr (Floating<T>)
        if (detail::wants_gradient(x)) detail::make_node<CumprodNode<T>>(x, y.get(), s, reverse)->set_result(y.get());
    return y;
}

template <int Axis, class T, int R>
constexpr int checked_axis() {
    static_assert(Axis >= -R && Axis < R, "tenon: cumsum, cumprod, cummax, cummin: the axis is outside of the tensor's rank");
    return detail::normal_axis<Axis, R>();
}

template <bool Max, int Axis, Expression E>
auto running_extreme(const char* operation, E&& e) {
    const auto x = contiguous(as_tensor(static_cast<E&&>(e)));
    using X = std::remove_const_t<decltype(x)>;
    using T = typename X::Scalar;
    constexpr int axis = checked_axis<Axis, T, X::rank>();
    check_device(operation, x.device());
    detail::Record* r = x.record();
    const AxisSplit s = split_at(r, axis);
    detail::AnyTensor values(detail::new_record(dtype_of<T>, X::rank, r->dims(), x.device(), operation));
    detail::AnyTensor indices(detail::new_record(DType::int64, X::rank, r->dims(), x.device(), operation));
    const number_t<T>* from = reinterpret_cast<const number_t<T>*>(r->data());
    number_t<T>* to = reinterpret_cast<number_t<T>*>(values->data());
    std::int64_t* at = reinterpret_cast<std::int64_t*>(indices->data());
    if constexpr (Max) TENON_RUN(x.device(), cummax(s.outer, s.n, s.inner, from, to, at));
    else TENON_RUN(x.device(), cummin(s.outer, s.n, s.inner, from, to, at));
    if constexpr (Floating<T>)
        if (detail::wants_gradient(r)) detail::make_node<PickedNode<T>>(operation, r, indices.get(), s, s.n)->set_result(values.get());
    return Running<T, X::rank>{X(static_cast<detail::AnyTensor&&>(values)), Tensor<std::int64_t, X::rank>(static_cast<detail::AnyTensor&&>(indices))};
}

}  // namespace impl

// cumsum<Axis>(x): y[k] = x[0] + ... + x[k] along the axis, in x's sizes. Floating types keep their type and are added in
// double, integers and bool give int64, which wraps around. An infinity or NaN stays from where it came. Derivative: the
// running sum of dy from the end.
template <int Axis, Expression E>
[[nodiscard]] auto cumsum(E&& e) {
    const auto x = contiguous(impl::as_tensor(static_cast<E&&>(e)));
    using X = std::remove_const_t<decltype(x)>;
    using T = typename X::Scalar;
    constexpr int axis = impl::checked_axis<Axis, T, X::rank>();
    impl::check_device("cumsum", x.device());
    return Tensor<impl::running_t<T>, X::rank>(impl::cumsum_record<T>(x.record(), impl::split_at(x.record(), axis), false));
}

// cumprod<Axis>(x): y[k] = x[0] * ... * x[k]. Types as of cumsum; floating types are multiplied in double. Derivative: sum
// over j >= k of dy[j] y[j] / x[k], exact at zeros too, where it is the product of the others.
template <int Axis, Expression E>
[[nodiscard]] auto cumprod(E&& e) {
    const auto x = contiguous(impl::as_tensor(static_cast<E&&>(e)));
    using X = std::remove_const_t<decltype(x)>;
    using T = typename X::Scalar;
    constexpr int axis = impl::checked_axis<Axis, T, X::rank>();
    impl::check_device("cumprod", x.device());
    return Tensor<impl::running_t<T>, X::rank>(impl::cumprod_record<T>(x.record(), impl::split_at(x.record(), axis), false));
}

// auto [values, indices] = cummax<Axis>(x): the largest of x[0 .. k] and where it is (int64). Of several largest the last
// counts; a NaN is larger than everything (in cummin smaller) and stays, the indices following to the latest NaN.
// Derivative: the gradient goes to the elements found; indices have none.
template <int Axis, Expression E>
[[nodiscard]] auto cummax(E&& e) { return impl::running_extreme<true, Axis>("cummax", static_cast<E&&>(e)); }
template <int Axis, Expression E>
[[nodiscard]] auto cummin(E&& e) { return impl::running_extreme<false, Axis>("cummin", static_cast<E&&>(e)); }

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
