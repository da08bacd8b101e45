// Reductions that need the elements of an axis together: extremes and their positions, variance; and what is asked of
// masks: any, all, count.
#pragma once

#include <tenon/kernels/cpu/reduce.hpp>
#include <tenon/ops/axis.hpp>
#include <tenon/ops/copy.hpp>
#include <tenon/ops/reduce.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/reduce.cuh>
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

// Divide the sum of squares by n - correction: 1 estimates the variance of a population from a sample, 0 is the variance
// of the elements themselves.
struct VarOptions { long correction = 1; };

// What max<Axis> and min<Axis> return: auto [values, indices] = max<1>(x).
template <class T, int R>
struct Extreme {
    Tensor<T, R> values;
    Tensor<std::int64_t, R> indices;
};

namespace impl {

// Backward of choosing one element per output.
template <class T>
class ChoiceNode final : public detail::OperationNode<1> {
public:
    ChoiceNode(const char* operation, detail::Record* x, detail::Record* indices, AxisSplit split) : OperationNode(operation), split_(split) {
        set_input(0, x);
        indices_.save(indices);
    }
    const void* kind() const noexcept override { return &detail::node_kind<ChoiceNode>; }
    const detail::Saved& indices() const { return indices_; }
    AxisSplit split() const { return split_; }
    void release_saved() noexcept override { indices_.tensor = detail::AnyTensor(); }
    void backward() override {
        const std::int64_t* indices = reinterpret_cast<const std::int64_t*>(indices_.check(name)->data());
        const T* dy = reinterpret_cast<const T*>(gradient()->data());
        const detail::GradientTarget to = detail::gradient_target(edges_[0]);
        TENON_RUN(to.record->storage->device, reduce_select_backward(split_.outer, split_.n, split_.inner, dy, indices,
                                                                     reinterpret_cast<T*>(to.record->data()), to.mode == 2));
    }

private:
    AxisSplit split_;
    detail::Saved indices_;
};

struct Chosen { detail::AnyTensor values, indices; };

// Extremes of axes [first, last] of a contiguous x (which are treated as one).
template <bool Max, class T>
Chosen choose(const char* operation, detail::Record* x, int first, int last, int rank, const long* dims, bool want_values, bool want_indices) {
    static_assert(!std::is_same_v<T, bool>, "tenon: max, min, argmax and argmin of a bool tensor: write any(mask), all(mask) or cast<float>(mask) first");
    check_device(operation, x->storage->device);
    const AxisSplit s = split_at(x, first, last);
    if (s.n == 0) fail<ShapeError>(operation, ": ", x->description(), " has no elements along the reduced axis, expected at least one");
    Chosen chosen;
    const bool recorded = want_values && detail::wants_gradient(x);
    if (want_values) chosen.values = detail::AnyTensor(detail::new_record(dtype_of<T>, rank, dims, x->storage->device, operation));
    if (want_indices || recorded) chosen.indices = detail::AnyTensor(detail::new_record(DType::int64, rank, dims, x->storage->device, operation));
    const T* data = reinterpret_cast<const T*>(x->data());
    T* values = want_values ? reinterpret_cast<T*>(chosen.values->data()) : nullptr;
    std::int64_t* indices = chosen.indices ? reinterpret_cast<std::int64_t*>(chosen.indices->data()) : nullptr;
    if constexpr (Max) TENON_RUN(x->storage->device, reduce_max(s.outer, s.n, s.inner, data, values, indices));
    else TENON_RUN(x->storage->device, reduce_min(s.outer, s.n, s.inner, data, values, indices));
    if constexpr (Floating<T>)
        if (recorded) detail::make_node<ChoiceNode<T>>(operation, x, chosen.indices.get(), s)->set_result(chosen.values.get());
    return chosen;
}

// The sizes without the axes in `bits`, or with size 1 there; returns the rank.
inline int reduced_dims(const detail::Record* x, unsigned bits, bool keep, long* dims) {
    int rank = 0;
    for (int i = 0; i < x->rank; ++i) {
        const bool reduced = (bits >> i & 1u) != 0;
        if (keep || !reduced) dims[rank++] = reduced ? 1 : x->dims()[i];
    }
    return rank;
}

template <bool Max, int Axis, bool Keep, class T, int R>
Extreme<T, Keep ? R : R - 1> extreme(const char* operation, const Tensor<T, R>& x) {
    static_assert(Axis >= -R && Axis < R, "tenon: max<Axis>, min<Axis>: the axis is outside of the tensor's rank");
    constexpr int axis = detail::normal_axis<Axis, R>();
    const Tensor<T, R> whole = contiguous(x);
    long dims[max_rank] = {};
    const int rank = reduced_dims(whole.record(), 1u << axis, Keep, dims);
    Chosen c = choose<Max, T>(operation, whole.record(), axis, axis, rank, dims, true, true);
    return {Tensor<T, Keep ? R : R - 1>(static_cast<detail::AnyTensor&&>(c.values)),
            Tensor<std::int64_t, Keep ? R : R - 1>(static_cast<detail::AnyTensor&&>(c.indices))};
}
template <bool Max, class T, int R>
Tensor<T, 0> extreme_of_all(const char* operation, const Tensor<T, R>& x) {
    const Tensor<T, R> whole = contiguous(x);
    return Tensor<T, 0>(choose<Max, T>(operation, whole.record(), 0, R - 1, 0, nullptr, true, false).values);
}
template <bool Max, int Axis, bool Keep, Expression E>
auto position(const char* operation, E&& e) {
    const no_grad none;
    const auto whole = contiguous(as_tensor(static_cast<E&&>(e)));
    using X = std::remove_const_t<decltype(whole)>;
    constexpr int R = X::rank;
    static_assert(Axis >= -R && Axis < R, "tenon: argmax<Axis>, argmin<Axis>: the axis is outside of the tensor's rank");
    constexpr int axis = detail::normal_axis<Axis, R>();
    long dims[max_rank] = {};
    const int rank = reduced_dims(whole.record(), 1u << axis, Keep, dims);
    return Tensor<std::int64_t, Keep ? R : R - 1>(choose<Max, typename X::Scalar>(operation, whole.record(), axis, axis, rank, dims, false, true).indices);
}
template <bool Max, Expression E>
Tensor<std::int64_t, 0> position_in_all(const char* operation, E&& e) {
    const no_grad none;
    const auto whole = contiguous(as_tensor(static_cast<E&&>(e)));
    using X = std::remove_const_t<decltype(whole)>;
    return Tensor<std::int64_t, 0>(choose<Max, typename X::Scalar>(operation, whole.record(), 0, X::rank - 1, 0, nullptr, false, true).indices);
}

// Backward of the variance, and of its root.
template <class T>
class VarNode final : public detail::OperationNode<1> {
public:
    VarNode(const char* operation, detail::Record* x, detail::Record* mean, AxisSplit split, long correction)
        : OperationNode(operation), split_(split), correction_(correction) {
        set_input(0, x);
        x_.save(x);
        mean_.save(mean);
    }
    void save_root(detail::Record* root) { root_.save_output(root); }
    const void* kind() const noexcept override { return &detail::node_kind<VarNode>; }
    const detail::Saved& x() const { return x_; }
    const detail::Saved& root() const { return root_; }  // empty for a variance
    AxisSplit split() const { return split_; }
    long correction() const { return correction_; }
    void release_saved() noexcept override { x_.tensor = mean_.tensor = root_.tensor = detail::AnyTensor(); }
    void backward() override {
        using A = kernels::cpu::accumulator<T>;
        const T* x = reinterpret_cast<const T*>(x_.check(name)->data());
        const A* mean = reinterpret_cast<const A*>(mean_.check(name)->data());
        const T* dy = reinterpret_cast<const T*>(gradient()->data());
        detail::AnyTensor scaled;
        if (root_.tensor) {
            // d sqrt(v) = dv / (2 sqrt(v)), and 0 where all elements are equal.
            const T* root = reinterpret_cast<const T*>(root_.check(name)->data());
            scaled = detail::AnyTensor(detail::new_record(dtype_of<T>, gradient()->rank, gradient()->dims(), gradient()->storage->device));
            T* to = reinterpret_cast<T*>(scaled->data());
            TENON_RUN(scaled->storage->device, square_roots_backward(scaled->size, root, dy, to));
            dy = to;
        }
        const detail::GradientTarget to = detail::gradient_target(edges_[0]);
        TENON_RUN(to.record->storage->device, reduce_var_backward(split_.outer, split_.n, split_.inner, x, mean, dy, correction_,
                                                                  reinterpret_cast<T*>(to.record->data()), to.mode == 2));
    }

private:
    AxisSplit split_;
    long correction_;
    detail::Saved x_, mean_, root_;
};

// The tensor with the reduced axes moved behind the others: a recorded view.
inline detail::AnyTensor reduced_last(const detail::Record* x, unsigned bits) {
    detail::ViewMap map = detail::identity_map(x);
    int at = 0;
    for (unsigned pass = 0; pass < 2; ++pass)
        for (int i = 0; i < x->rank; ++i) {
            if ((bits >> i & 1u) != pass) continue;
            map.axis[at] = i;
            map.dims[at++] = x->dims()[i];
        }
    return detail::make_view(x, map);
}

template <bool Root, int... Axes, bool Keep, Expression E>
auto variance(E&& e, long correction, std::bool_constant<Keep>) {
    Tensor x = as_tensor(static_cast<E&&>(e));
    using T = typename decltype(x)::Scalar;
    constexpr int R = decltype(x)::rank;
    constexpr const char* operation = Root ? "std_dev" : "var";
    static_assert(Floating<T>, "tenon: var, std_dev: defined for floating-point tensors: write cast<float>(x) first");
    constexpr unsigned bits = sizeof...(Axes) == 0 ? (1u << R) - 1u : axis_bits<R, Axes...>();
    constexpr int result_rank = Keep ? R : kept_axes<R, Axes...>();
    if (correction < 0) fail<ValueError>(operation, ": correction ", correction, ", expected 0 or more");
    check_device(operation, x.device());
    long dims[max_rank] = {};
    reduced_dims(x.record(), bits, Keep, dims);
    // Neighbouring axes are one; others are brought together first.
    constexpr int first = bits == 0 ? 0 : __builtin_ctz(bits | 1u << R), last = bits == 0 ? -1 : 31 - __builtin_clz(bits | 1u);
    constexpr int count = __builtin_popcount(bits);
    constexpr bool neighbours = last - first + 1 == count;
    if constexpr (!neighbours) x = Tensor<T, R>(reduced_last(x.record(), bits));
    x = contiguous(x);
    const AxisSplit s = neighbours ? split_at(x.record(), first, last) : split_at(x.record(), R - count, R - 1);
    using A = kernels::cpu::accumulator<T>;
    detail::AnyTensor result(detail::new_record(dtype_of<T>, result_rank, dims, x.device(), operation));
    detail::AnyTensor mean(detail::new_record(dtype_of<A>, result_rank, dims, x.device(), operation));
    T* values = reinterpret_cast<T*>(result->data());
    TENON_RUN(x.device(), reduce_var(s.outer, s.n, s.inner, static_cast<const T*>(x.data()), correction, values, reinterpret_cast<A*>(mean->data())));
    if constexpr (Root) TENON_RUN(x.device(), square_roots(result->size, values));
    if (detail::wants_gradient(x.record())) {
        VarNode<T>* node = detail::make_node<VarNode<T>>(operation, x.record(), mean.get(), s, correction);
        if constexpr (Root) node->save_root(result.get());
        node->set_result(result.get());
    }
    return Tensor<T, result_rank>(static_cast<detail::AnyTensor&&>(result));
}

template <class E>
constexpr void check_mask() {
    static_assert(std::is_same_v<common_scalar_t<E>, bool>, "tenon: any, all and count take a bool tensor, such as the result of a comparison: x > 0");
}

}  // namespace impl

// auto [values, indices] = max<Axis>(x): the largest elements along an axis and where they are (int64), without the axis
// or, with keepdim, with size 1 there. Of several largest the first counts; a NaN is larger than everything (in min
// smaller), the first one. Throws ShapeError for an axis without elements. Derivative: the gradient goes to the element
// found; indices have none.
template <int Axis, Expression E>
[[nodiscard]] auto max(E&& e) { return impl::extreme<true, Axis, false>("max", impl::as_tensor(static_cast<E&&>(e))); }
template <int Axis, Expression E>
[[nodiscard]] auto max(E&& e, KeepDim) { return impl::extreme<true, Axis, true>("max", impl::as_tensor(static_cast<E&&>(e))); }
template <int Axis, Expression E>
[[nodiscard]] auto min(E&& e) { return impl::extreme<false, Axis, false>("min", impl::as_tensor(static_cast<E&&>(e))); }
template <int Axis, Expression E>
[[nodiscard]] auto min(E&& e, KeepDim) { return impl::extreme<false, Axis, true>("min", impl::as_tensor(static_cast<E&&>(e))); }
// max(x): the largest element, as a scalar. Ties, NaN, errors and derivative as above.
template <Expression E>
[[nodiscard]] auto max(E&& e) { return impl::extreme_of_all<true>("max", impl::as_tensor(static_cast<E&&>(e))); }
template <Expression E>
[[nodiscard]] auto min(E&& e) { return impl::extreme_of_all<false>("min", impl::as_tensor(static_cast<E&&>(e))); }

// argmax<Axis>(x): only where the largest elements are; argmax(x): the position of the largest of all in row-major order.
template <int Axis, Expression E>
[[nodiscard]] auto argmax(E&& e) { return impl::position<true, Axis, false>("argmax", static_cast<E&&>(e)); }
template <int Axis, Expression E>
[[nodiscard]] auto argmax(E&& e, KeepDim) { return impl::position<true, Axis, true>("argmax", static_cast<E&&>(e)); }
template <Expression E>
[[nodiscard]] auto argmax(E&& e) { return impl::position_in_all<true>("argmax", static_cast<E&&>(e)); }
template <int Axis, Expression E>
[[nodiscard]] auto argmin(E&& e) { return impl::position<false, Axis, false>("argmin", static_cast<E&&>(e)); }
template <int Axis, Expression E>
[[nodiscard]] auto argmin(E&& e, KeepDim) { return impl::position<false, Axis, true>("argmin", static_cast<E&&>(e)); }
template <Expression E>
[[nodiscard]] auto argmin(E&& e) { return impl::position_in_all<false>("argmin", static_cast<E&&>(e)); }

// var<Axes...>(x, {.correction = 1}): the variance over the named axes, over all without any; two passes, 16-bit types
// accumulate in float. NaN over no elements and over n <= correction equal ones. Throws ValueError for a negative correction.
// Derivative: 2 (x - mean) / (n - correction).
template <int... Axes, Expression E>
[[nodiscard]] auto var(E&& e, VarOptions options = {}) {
    return impl::variance<false, Axes...>(static_cast<E&&>(e), options.correction, std::false_type{});
}
template <int... Axes, Expression E>
[[nodiscard]] auto var(E&& e, KeepDim) { return impl::variance<false, Axes...>(static_cast<E&&>(e), 1, std::true_type{}); }
template <int... Axes, Expression E>
[[nodiscard]] auto var(E&& e, VarOptions options, KeepDim) {
    return impl::variance<false, Axes...>(static_cast<E&&>(e), options.correction, std::true_type{});
}
// std_dev<Axes...>(x, {.correction = 1}): its square root; derivative 0 where all elements are equal.
template <int... Axes, Expression E>
[[nodiscard]] auto std_dev(E&& e, VarOptions options = {}) {
    return impl::variance<true, Axes...>(static_cast<E&&>(e), options.correction, std::false_type{});
}
template <int... Axes, Expression E>
[[nodiscard]] auto std_dev(E&& e, KeepDim) { return impl::variance<true, Axes...>(static_cast<E&&>(e), 1, std::true_type{}); }
template <int... Axes, Expression E>
[[nodiscard]] auto std_dev(E&& e, VarOptions options, KeepDim) {
    return impl::variance<true, Axes...>(static_cast<E&&>(e), options.correction, std::true_type{});
}

// count<Axes...>(mask): how many elements are true, int64. any<Axes...>(mask): whether one is, bool (false of nothing).
// The mask may be an expression: any(x > 0) stores nothing.
template <int... Axes, Expression E>
[[nodiscard]] auto count(E&& mask) {
    impl::check_mask<E>();
    return sum<Axes...>(static_cast<E&&>(mask));
}
template <int... Axes, Expression E>
[[nodiscard]] auto any(E&& mask) {
    impl::check_mask<E>();
    return eval(sum<Axes...>(static_cast<E&&>(mask)) > 0);
}

}  // namespace TENON_CONFIG_NAMESPACE

// all(mask): whether every element is true, a bool scalar (true of nothing). Along axes: !any<Axes...>(!mask).
template <class E>
auto All::operator()(const E& mask) const {
    impl::check_mask<E>();
    return eval(!any(!mask));
}

}  // namespace tenon
