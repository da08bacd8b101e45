// Norms, products and other reductions over any axes: prod, amax, amin, norm, logsumexp, count_nonzero.
#pragma once

#include <tenon/ops/extreme.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

// How the axes of a reduction lie, at compile time.
template <int R, int... Axes>
struct ReducedAxes {
    static constexpr unsigned bits = sizeof...(Axes) == 0 ? (1u << R) - 1u : axis_bits<R, Axes...>();
    static constexpr int count = __builtin_popcount(bits);
    static constexpr int first = bits == 0 ? 0 : __builtin_ctz(bits | 1u << R), last = bits == 0 ? -1 : 31 - __builtin_clz(bits | 1u);
    static constexpr bool neighbours = last - first + 1 == count;  // count as one axis
    template <bool Keep>
    static constexpr int rank = Keep ? R : kept_axes<R, Axes...>();
};

// The tensor in memory as [outer, n, inner] around the reduced axes (a recorded copy where it is not), and these sizes.
template <class T, int R>
struct Grouped {
    Tensor<T, R> x;
    AxisSplit split;
};
template <int... Axes, class T, int R>
Grouped<T, R> group_axes(const Tensor<T, R>& x) {
    using Reduced = ReducedAxes<R, Axes...>;
    Grouped<T, R> g;
    if constexpr (Reduced::neighbours) g.x = contiguous(x);
    else g.x = contiguous(Tensor<T, R>(reduced_last(x.record(), Reduced::bits)));
    g.split = Reduced::neighbours ? split_at(g.x.record(), Reduced::first, Reduced::last) : split_at(g.x.record(), R - Reduced::count, R - 1);
    return g;
}
// A contiguous record as [outer, n, inner].
template <class T>
Tensor<T, 3> as_split(const detail::Record* r, AxisSplit s) {
    const long dims[] = {s.outer, s.n, s.inner}, strides[] = {s.n * s.inner, s.inner, 1};
    return Tensor<T, 3>(detail::AnyTensor(detail::new_view(r, 3, dims, strides, r->offset)));
}
// Writes an expression over [outer, n, inner] where a gradient goes, or adds it to what has arrived.
template <class T, class E>
void put_gradient(Edge edge, AxisSplit s, E&& e) {
    const detail::GradientTarget to = detail::gradient_target(edge);
    const Tensor<T, 3> target = as_split<T>(to.record, s);
    if (to.mode == 2) target += static_cast<E&&>(e);
    else target.copy_from(static_cast<E&&>(e));
}

// What these nodes have in common: they look at x as [outer, n, inner] and at y as [outer, inner].
template <class T>
class ReductionNode : public detail::OperationNode<1> {
public:
    ReductionNode(const char* operation, detail::Record* x, detail::Record* y, AxisSplit split) : OperationNode(operation), split_(split) {
        set_input(0, x);
        x_.save(x);
        y_.save_output(y);
    }
    void release_saved() noexcept override { x_.tensor = y_.tensor = detail::AnyTensor(); }
    const detail::Saved& x() const { return x_; }
    const detail::Saved& y() const { return y_; }
    AxisSplit split() const { return split_; }

protected:
    AxisSplit reduced() const { return {split_.outer, 1, split_.inner}; }

    AxisSplit split_;
    detail::Saved x_, y_;
};

template <class T>
class ProdNode final : public ReductionNode<T> {
public:
    ProdNode(detail::Record* x, detail::Record* y, AxisSplit split) : ReductionNode<T>("prod", x, y, split) {}
    const void* kind() const noexcept override { return &detail::node_kind<ProdNode>; }
    void backward() override {
        const AxisSplit s = this->split_;
        const T* x = reinterpret_cast<const T*>(this->x_.check(this->name)->data());
        const T* y = reinterpret_cast<const T*>(this->y_.check(this->name)->data());
        const T* dy = reinterpret_cast<const T*>(this->gradient()->data());
        const detail::GradientTarget to = detail::gradient_target(this->edges_[0]);
        TENON_RUN(to.record->storage->device, reduce_prod_backward(s.outer, s.n, s.inner, x, y, dy, reinterpret_cast<T*>(to.record->data()), to.mode == 2));
    }
};

enum class Peak { max, min, largest_magnitude, smallest_magnitude };

// What an extreme y = f(x) hands to every x: of dy an equal share to all that have the value. x is [outer, n, inner].
template <Peak peak, class T>
auto peak_share(const Tensor<T, 3>& x, const Tensor<T, 3>& y) {
    if constexpr (peak == Peak::max || peak == Peak::min) {
        const Tensor<std::int64_t, 3> hits = sum<1>(x == y, keepdim);
        return eval(where(x == y, reciprocal(cast<T>(hits)), where(isnan(y), y, 0)));
    } else {
        const Tensor<std::int64_t, 3> hits = sum<1>(abs(x) == y, keepdim);
        return eval(where(abs(x) == y, sign(x), 0) / cast<T>(maximum(hits, 1)));
    }
}
template <Peak peak, class T>
class PeakNode final : public ReductionNode<T> {
public:
    using ReductionNode<T>::ReductionNode;
    const void* kind() const noexcept override { return &detail::node_kind<PeakNode>; }
    Tensor<T, 3> share() const {
        return peak_share<peak>(as_split<T>(this->x_.check(this->name), this->split_), as_split<T>(this->y_.check(this->name), this->reduced()));
    }
    void backward() override { put_gradient<T>(this->edges_[0], this->split_, share() * as_split<T>(this->gradient(), this->reduced())); }
};

template <Peak peak, int... Axes, bool Keep, class T, int R>
auto peak_of(const char* operation, const Tensor<T, R>& x, std::bool_constant<Keep>) {
    static_assert(!std::is_same_v<T, bool>, "tenon: amax, amin of a bool tensor: write any(mask), all(mask) or cast<float>(mask) first");
    using Reduced = ReducedAxes<R, Axes...>;
    constexpr int rank = Reduced::template rank<Keep>;
    check_device(operation, x.device());
    const Grouped<T, R> g = group_axes<Axes...>(x);
    const AxisSplit s = g.split;
    if (s.n == 0) fail<ShapeError>(operation, ": ", x.record()->description(), " has no elements along the reduced axes, expected at least one");
    long dims[max_rank] = {};
    reduced_dims(x.record(), Reduced::bits, Keep, dims);
    detail::AnyTensor y(detail::new_record(dtype_of<T>, rank, dims, x.device(), operation));
    T* to = reinterpret_cast<T*>(y->data());
    const T* from = g.x.data();
    if constexpr (peak == Peak::max) TENON_RUN(x.device(), reduce_max(s.outer, s.n, s.inner, from, to, nullptr));
    else if constexpr (peak == Peak::min) TENON_RUN(x.device(), reduce_min(s.outer, s.n, s.inner, from, to, nullptr));
    else TENON_RUN(x.device(), reduce_magnitude(peak == Peak::largest_magnitude, s.outer, s.n, s.inner, from, to));
    if constexpr (Floating<T>)
        if (detail::wants_gradient(g.x.record())) detail::make_node<PeakNode<peak, T>>(operation, g.x.record(), y.get(), s)->set_result(y.get());
    return Tensor<T, rank>(static_cast<detail::AnyTensor&&>(y));
}

template <class T>
class LogsumexpNode final : public ReductionNode<T> {
public:
    LogsumexpNode(detail::Record* x, detail::Record* y, AxisSplit split) : ReductionNode<T>("logsumexp", x, y, split) {}
    const void* kind() const noexcept override { return &detail::node_kind<LogsumexpNode>; }
    void backward() override {
        put_gradient<T>(this->edges_[0], this->split_,
                        as_split<T>(this->gradient(), this->reduced()) *
                            exp(as_split<T>(this->x_.check(this->name), this->split_) - as_split<T>(this->y_.check(this->name), this->reduced())));
    }
};

template <int... Axes, bool Keep, class T, int R>
auto logsumexp_of(const Tensor<T, R>& x, std::bool_constant<Keep>) {
    static_assert(Floating<T>, "tenon: logsumexp: the input must be floating-point: write cast<float>(x) first");
    using Reduced = ReducedAxes<R, Axes...>;
    constexpr int rank = Reduced::template rank<Keep>;
    check_device("logsumexp", x.device());
    const Grouped<T, R> g = group_axes<Axes...>(x);
    long dims[max_rank] = {};
    reduced_dims(x.record(), Reduced::bits, Keep, dims);
    detail::AnyTensor y(detail::new_record(dtype_of<T>, rank, dims, x.device(), "logsumexp"));
    TENON_RUN(x.device(), reduce_logsumexp(g.split.outer, g.split.n, g.split.inner, static_cast<const T*>(g.x.data()), reinterpret_cast<T*>(y->data())));
    if (detail::wants_gradient(g.x.record())) detail::make_node<LogsumexpNode<T>>(g.x.record(), y.get(), g.split)->set_result(y.get());
    return Tensor<T, rank>(static_cast<detail::AnyTensor&&>(y));
}

template <int... Axes, bool Keep, class T, int R>
auto prod_of(const Tensor<T, R>& x, std::bool_constant<Keep>) {
    using Reduced = ReducedAxes<R, Axes...>;
    using Out = std::conditional_t<std::is_integral_v<T>, std::int64_t, T>;
    using Number = std::conditional_t<std::is_same_v<T, bool>, std::uint8_t, T>;
    constexpr int rank = Reduced::template rank<Keep>;
    check_device("prod", x.device());
    const Grouped<T, R> g = group_axes<Axes...>(x);
    long dims[max_rank] = {};
    reduced_dims(x.record(), Reduced::bits, Keep, dims);
    detail::AnyTensor y(detail::new_record(dtype_of<Out>, rank, dims, x.device(), "prod"));
    TENON_RUN(x.device(), reduce_prod(g.split.outer, g.split.n, g.split.inner, reinterpret_cast<const Number*>(g.x.data()), reinterpret_cast<Out*>(y->data())));
    if constexpr (Floating<T>)
        if (detail::wants_gradient(g.x.record())) detail::make_node<ProdNode<T>>(g.x.record(), y.get(), g.split)->set_result(y.get());
    return Tensor<Out, rank>(static_cast<detail::AnyTensor&&>(y));
}

template <int... Axes, bool Keep, class E>
auto norm_sum(E&& e, std::bool_constant<Keep>) {
    if constexpr (Keep) return sum<Axes...>(static_cast<E&&>(e), keepdim);
    else return sum<Axes...>(static_cast<E&&>(e));
}
// The roots have the subgradient 0 at 0, which a selected branch gives. Squares and powers of 16-bit numbers leave their
// range: they are added in float.
template <int... Axes, bool Keep, class T, int R>
auto euclidean_norm(const Tensor<T, R>& x, std::bool_constant<Keep> keep) {
    static_assert(Floating<T>, "tenon: norm: the input must be floating-point: write cast<float>(x) first");
    const auto s = norm_sum<Axes...>(square(cast<accumulate_t<T>>(x)), keep);
    return Tensor<T, ReducedAxes<R, Axes...>::template rank<Keep>>(cast<T>(where(s == 0, s, sqrt(where(s == 0, 1, s)))));
}

template <int... Axes, bool Keep, class T, int R>
auto norm_of(const Tensor<T, R>& x, double p, std::bool_constant<Keep> keep) {
    static_assert(Floating<T>, "tenon: norm: the input must be floating-point: write cast<float>(x) first");
    using A = accumulate_t<T>;
    using Result = Tensor<T, ReducedAxes<R, Axes...>::template rank<Keep>>;
    if (p != p) fail<ValueError>("norm: the order p is NaN");
    if (p - p != 0) {
        if (p > 0) return peak_of<Peak::largest_magnitude, Axes...>("norm", x, keep);
        return peak_of<Peak::smallest_magnitude, Axes...>("norm", x, keep);
    }
    if (p == 2) return Result(euclidean_norm<Axes...>(x, keep));
    if (p == 0) return Result(cast<T>(norm_sum<Axes...>(cast<A>(x) != 0, keep)));
    if (p == 1) return Result(cast<T>(norm_sum<Axes...>(abs(cast<A>(x)), keep)));
    const auto s = norm_sum<Axes...>(pow(abs(cast<A>(x)), p), keep);
    return Result(cast<T>(where(s == 0, p < 0 ? __builtin_inf() : 0., pow(where(s == 0, 1, s), 1 / p))));
}

}  // namespace impl

// prod<Axes...>(x): the product over the named axes, over all without any; keepdim keeps them with size 1. Floating types
// keep their type (16-bit ones multiply in float), integers and bool give int64, which wraps around. The product of nothing
// is 1. Derivative: the product of the others, without a division where zeros or results out of range forbid it.
template <int... Axes, Expression E>
[[nodiscard]] auto prod(E&& e) { return impl::prod_of<Axes...>(impl::as_tensor(static_cast<E&&>(e)), std::false_type{}); }
template <int... Axes, Expression E>
[[nodiscard]] auto prod(E&& e, KeepDim) { return impl::prod_of<Axes...>(impl::as_tensor(static_cast<E&&>(e)), std::true_type{}); }

// amax<Axes...>(x), amin<Axes...>(x): the largest / smallest element over several axes, over all without any. A NaN wins.
// Throws ShapeError where there are no elements. Derivative: shared equally by all elements that have the value (max<Axis>
// gives it to the first); NaN where the result is.
template <int... Axes, Expression E>
[[nodiscard]] auto amax(E&& e) { return impl::peak_of<impl::Peak::max, Axes...>("amax", impl::as_tensor(static_cast<E&&>(e)), std::false_type{}); }
template <int... Axes, Expression E>
[[nodiscard]] auto amax(E&& e, KeepDim) { return impl::peak_of<impl::Peak::max, Axes...>("amax", impl::as_tensor(static_cast<E&&>(e)), std::true_type{}); }
template <int... Axes, Expression E>
[[nodiscard]] auto amin(E&& e) { return impl::peak_of<impl::Peak::min, Axes...>("amin", impl::as_tensor(static_cast<E&&>(e)), std::false_type{}); }
template <int... Axes, Expression E>
[[nodiscard]] auto amin(E&& e, KeepDim) { return impl::peak_of<impl::Peak::min, Axes...>("amin", impl::as_tensor(static_cast<E&&>(e)), std::true_type{}); }

// norm<Axes...>(x), norm<Axes...>(x, p): (sum of |x|^p)^(1/p) over the named axes, over all without any; p is 2 where it is
// not given. p = 0 counts what is not 0 (no derivative), infinity is the largest |x|, -infinity the smallest; other p,
// negative ones too, by the formula. Floating types keep their type; 16-bit ones are added in float. NaN wins. Throws
// ShapeError for infinite p over no elements and ValueError for a NaN p. Derivative: sign(x) |x|^(p-1) / y^(p-1), where y is 0
// the subgradient 0; elements that share an infinite norm share its gradient.
template <int... Axes, Expression E>
[[nodiscard]] auto norm(E&& e) { return impl::euclidean_norm<Axes...>(impl::as_tensor(static_cast<E&&>(e)), std::false_type{}); }
template <int... Axes, Expression E>
[[nodiscard]] auto norm(E&& e, KeepDim) { return impl::euclidean_norm<Axes...>(impl::as_tensor(static_cast<E&&>(e)), std::true_type{}); }
template <int... Axes, Expression E>
[[nodiscard]] auto norm(E&& e, double p) { return impl::norm_of<Axes...>(impl::as_tensor(static_cast<E&&>(e)), p, std::false_type{}); }
template <int... Axes, Expression E>
[[nodiscard]] auto norm(E&& e, double p, KeepDim) { return impl::norm_of<Axes...>(impl::as_tensor(static_cast<E&&>(e)), p, std::true_type{}); }

// logsumexp<Axes...>(x): log(sum(exp(x))) over the named axes, over all without any, without overflow. Of nothing, and of
// -inf alone, it is -inf; +inf gives +inf, NaN wins. Derivative: exp(x - y), which is NaN where y is infinite and x equals it.
template <int... Axes, Expression E>
[[nodiscard]] auto logsumexp(E&& e) { return impl::logsumexp_of<Axes...>(impl::as_tensor(static_cast<E&&>(e)), std::false_type{}); }
template <int... Axes, Expression E>
[[nodiscard]] auto logsumexp(E&& e, KeepDim) { return impl::logsumexp_of<Axes...>(impl::as_tensor(static_cast<E&&>(e)), std::true_type{}); }

// count_nonzero<Axes...>(x): how many elements are not 0 (NaN is not), int64, over the named axes or over all. The argument
// may be an expression: nothing is stored.
template <int... Axes, Expression E>
[[nodiscard]] auto count_nonzero(E&& e) {
    if constexpr (std::is_same_v<common_scalar_t<E>, bool>) return sum<Axes...>(static_cast<E&&>(e));
    else return sum<Axes...>(static_cast<E&&>(e) != 0);
}
template <int... Axes, Expression E>
[[nodiscard]] auto count_nonzero(E&& e, KeepDim) {
    if constexpr (std::is_same_v<common_scalar_t<E>, bool>) return sum<Axes...>(static_cast<E&&>(e), keepdim);
    else return sum<Axes...>(static_cast<E&&>(e) != 0, keepdim);
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
