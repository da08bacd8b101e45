// Order along an axis: sort, argsort, topk, kthvalue, median; of a whole tensor: unique; and searches in what is sorted.
//
// Everywhere -0 equals 0, a NaN is larger than everything, equal elements keep their order, and the result does not depend
// on the number of threads.
#pragma once

#include <tenon/core/factories.hpp>
#include <tenon/kernels/cpu/sort.hpp>
#include <tenon/ops/extreme.hpp>
#include <tenon/ops/picked.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/sort.cuh>
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

// What sort, topk, kthvalue and median return: auto [values, indices] = sort<1>(x).
template <class T, int R>
struct Ordered {
    Tensor<T, R> values;
    Tensor<std::int64_t, R> indices;
};
// What unique returns.
template <class T, int R>
struct Unique {
    Tensor<T, 1> values;
    Tensor<std::int64_t, R> inverse;  // for every element of the input the position of its value
    Tensor<std::int64_t, 1> counts;   // how often each value came
};

struct SortOptions { bool descending = false; };
// sorted: best first; else in the order of their positions.
struct TopkOptions { bool largest = true, sorted = true; };
// right: behind equal elements; else before them.
struct SearchOptions { bool right = false; };

namespace impl {

// Kernels see bool as bytes.
template <class T>
using sortable_t = std::conditional_t<std::is_same_v<T, bool>, std::uint8_t, T>;
template <class T>
const sortable_t<T>* sortable(const detail::Record* r) { return reinterpret_cast<const sortable_t<T>*>(r->data()); }
template <class T>
sortable_t<T>* sortable(detail::Record* r) { return reinterpret_cast<sortable_t<T>*>(r->data()); }

template <int Axis, int R>
constexpr int sorted_axis() {
    static_assert(Axis >= -R && Axis < R, "tenon: sort, argsort, topk, kthvalue, median: the axis is outside of the tensor's rank");
    return detail::normal_axis<Axis, R>();
}
inline std::int64_t* positions(detail::Record* r) { return reinterpret_cast<std::int64_t*>(r->data()); }

template <int RankOut, class T>
Ordered<T, RankOut> picked(const char* operation, detail::Record* x, AxisSplit s, long m, detail::AnyTensor values, detail::AnyTensor indices) {
    if constexpr (Floating<T>)
        if (detail::wants_gradient(x)) detail::make_node<PickedNode<T>>(operation, x, indices.get(), s, m)->set_result(values.get());
    return {Tensor<T, RankOut>(static_cast<detail::AnyTensor&&>(values)), Tensor<std::int64_t, RankOut>(static_cast<detail::AnyTensor&&>(indices))};
}

// The element of rank k along an axis; k counts from 0, -1: the median, which a NaN takes over.
template <bool Keep, class T, int R>
auto kth_of(const char* operation, const Tensor<T, R>& given, int axis, long k) {
    constexpr int rank = Keep ? R : R - 1;
    const Tensor<T, R> x = contiguous(given);
    check_device(operation, x.device());
    detail::Record* r = x.record();
    const AxisSplit s = split_at(r, axis);
    long dims[max_rank] = {};
    reduced_dims(r, 1u << axis, Keep, dims);
    detail::AnyTensor values(detail::new_record(dtype_of<T>, rank, dims, x.device(), operation));
    detail::AnyTensor indices(detail::new_record(DType::int64, rank, dims, x.device(), operation));
    TENON_RUN(x.device(), kth_value(s.outer, s.n, s.inner, k < 0 ? (s.n - 1) / 2 : k, sortable<T>(static_cast<const detail::Record*>(r)),
                                    sortable<T>(values.get()), positions(indices.get()), k < 0));
    return picked<rank, T>(operation, r, s, 1, static_cast<detail::AnyTensor&&>(values), static_cast<detail::AnyTensor&&>(indices));
}
template <bool Keep, int Axis, Expression E>
auto kthvalue_of(E&& e, long k) {
    const auto x = as_tensor(static_cast<E&&>(e));
    using X = std::remove_const_t<decltype(x)>;
    constexpr int axis = sorted_axis<Axis, X::rank>();
    const long n = x.record()->dims()[axis];
    if (k < 1 || k > n) fail<ValueError>("kthvalue: k = ", k, " is outside of 1 to ", n, ", the size of axis ", axis, " of ", x.record()->description());
    return kth_of<Keep>("kthvalue", x, axis, k - 1);
}
template <bool Keep, int Axis, Expression E>
auto median_of(E&& e) {
    const auto x = as_tensor(static_cast<E&&>(e));
    using X = std::remove_const_t<decltype(x)>;
    constexpr int axis = sorted_axis<Axis, X::rank>();
    if (x.record()->dims()[axis] == 0)
        fail<ShapeError>("median: ", x.record()->description(), " has no elements along axis ", axis, ", expected at least one");
    return kth_of<Keep>("median", x, axis, -1);
}

}  // namespace impl

// auto [values, indices] = sort<Axis>(x, {.descending = false}): the elements along an axis in rising (falling) order and
// the positions (int64) that they came from. Stable; NaN comes last (first). Any element type. Derivative: the gradient goes
// back to where each element came from; indices have none.
template <int Axis = -1, Expression E>
[[nodiscard]] auto sort(E&& e, SortOptions options = {}) {
    const auto x = contiguous(impl::as_tensor(static_cast<E&&>(e)));
    using X = std::remove_const_t<decltype(x)>;
    using T = typename X::Scalar;
    constexpr int axis = impl::sorted_axis<Axis, X::rank>();
    impl::check_device("sort", x.device());
    detail::Record* r = x.record();
    const impl::AxisSplit s = impl::split_at(r, axis);
    detail::AnyTensor values(detail::new_record(dtype_of<T>, X::rank, r->dims(), x.device(), "sort"));
    detail::AnyTensor indices(detail::new_record(DType::int64, X::rank, r->dims(), x.device(), "sort"));
    TENON_RUN(x.device(), sort(s.outer, s.n, s.inner, impl::sortable<T>(static_cast<const detail::Record*>(r)), impl::sortable<T>(values.get()),
                               impl::positions(indices.get()), options.descending));
    return impl::picked<X::rank, T>("sort", r, s, s.n, static_cast<detail::AnyTensor&&>(values), static_cast<detail::AnyTensor&&>(indices));
}
// argsort<Axis>(x): only the positions.
template <int Axis = -1, Expression E>
[[nodiscard]] auto argsort(E&& e, SortOptions options = {}) {
    const no_grad none;
    const auto x = contiguous(impl::as_tensor(static_cast<E&&>(e)));
    using X = std::remove_const_t<decltype(x)>;
    using T = typename X::Scalar;
    constexpr int axis = impl::sorted_axis<Axis, X::rank>();
    impl::check_device("argsort", x.device());
    const detail::Record* r = x.record();
    const impl::AxisSplit s = impl::split_at(r, axis);
    detail::AnyTensor indices(detail::new_record(DType::int64, X::rank, r->dims(), x.device(), "argsort"));
    TENON_RUN(x.device(), sort(s.outer, s.n, s.inner, impl::sortable<T>(r), static_cast<impl::sortable_t<T>*>(nullptr), impl::positions(indices.get()),
                               options.descending));
    return Tensor<std::int64_t, X::rank>(static_cast<detail::AnyTensor&&>(indices));
}

// auto [values, indices] = topk<Axis>(x, k, {.largest = true, .sorted = true}): the k largest (smallest) elements along an
// axis, [.., k, ..], best first. Of equal ones the first count; a NaN is the largest. Throws ValueError unless k is between 0
// and the size of the axis. Derivative: the gradient goes to the elements found.
template <int Axis = -1, Expression E>
[[nodiscard]] auto topk(E&& e, long k, TopkOptions options = {}) {
    const auto x = contiguous(impl::as_tensor(static_cast<E&&>(e)));
    using X = std::remove_const_t<decltype(x)>;
    using T = typename X::Scalar;
    constexpr int axis = impl::sorted_axis<Axis, X::rank>();
    impl::check_device("topk", x.device());
    detail::Record* r = x.record();
    const impl::AxisSplit s = impl::split_at(r, axis);
    if (k < 0 || k > s.n) fail<ValueError>("topk: k = ", k, " is outside of 0 to ", s.n, ", the size of axis ", axis, " of ", r->description());
    Shape<X::rank> dims = x.shape();
    dims[axis] = k;
    detail::AnyTensor values(detail::new_record(dtype_of<T>, X::rank, dims.dims, x.device(), "topk"));
    detail::AnyTensor indices(detail::new_record(DType::int64, X::rank, dims.dims, x.device(), "topk"));
    TENON_RUN(x.device(), topk(s.outer, s.n, s.inner, k, impl::sortable<T>(static_cast<const detail::Record*>(r)), impl::sortable<T>(values.get()),
                               impl::positions(indices.get()), options.largest, options.sorted));
    return impl::picked<X::rank, T>("topk", r, s, k, static_cast<detail::AnyTensor&&>(values), static_cast<detail::AnyTensor&&>(indices));
}

// auto [values, indices] = kthvalue<Axis>(x, k): the k-th smallest element along an axis (k counts from 1) and where it is,
// without the axis or, with keepdim, with size 1 there. Of equal ones the first comes first; a NaN is the largest. Throws
// ValueError unless k is between 1 and the size of the axis. Derivative: the gradient goes to the element found.
template <int Axis = -1, Expression E>
[[nodiscard]] auto kthvalue(E&& e, long k) { return impl::kthvalue_of<false, Axis>(static_cast<E&&>(e), k); }
template <int Axis = -1, Expression E>
[[nodiscard]] auto kthvalue(E&& e, long k, KeepDim) { return impl::kthvalue_of<true, Axis>(static_cast<E&&>(e), k); }

// auto [values, indices] = median<Axis>(x): the middle element along an axis, the lower of two; where there is a NaN, the
// first NaN. Throws ShapeError for an axis without elements. Derivative: the gradient goes to the element found.
template <int Axis, Expression E>
[[nodiscard]] auto median(E&& e) { return impl::median_of<false, Axis>(static_cast<E&&>(e)); }
template <int Axis, Expression E>
[[nodiscard]] auto median(E&& e, KeepDim) { return impl::median_of<true, Axis>(static_cast<E&&>(e)); }
// median(x): of all elements, as a scalar.
template <Expression E>
[[nodiscard]] auto median(E&& e) {
    const auto x = impl::as_tensor(static_cast<E&&>(e));
    return impl::median_of<false, 0>(x.reshape({-1})).values;
}

// auto [values, inverse, counts] = unique(x): the different elements, rising, as one axis; which of them each element of x
// is, in x's sizes; and how often each comes. Every NaN is a value of its own, after the others. Any element type.
// Derivative: the gradient of a value goes to the first element that has it.
template <Expression E>
[[nodiscard]] auto unique(E&& e) {
    const auto x = contiguous(impl::as_tensor(static_cast<E&&>(e)));
    using X = std::remove_const_t<decltype(x)>;
    using T = typename X::Scalar;
    impl::check_device("unique", x.device());
    detail::Record* r = x.record();
    const long n = r->size;
    // With room for n; what is returned has memory of its own size.
    const Tensor<T, 1> values = empty<T>({n}, x.device());
    const Tensor<std::int64_t, 1> firsts = empty<std::int64_t>({n}, x.device()), counts = empty<std::int64_t>({n}, x.device());
    detail::AnyTensor inverse(detail::new_record(DType::int64, X::rank, r->dims(), x.device(), "unique"));
    const long found = TENON_RUN(x.device(), unique(n, impl::sortable<T>(static_cast<const detail::Record*>(r)), impl::sortable<T>(values.record()),
                                                    firsts.data(), impl::positions(inverse.get()), counts.data()));
    Tensor<T, 1> result = clone(values(slice(0, found)));
    if constexpr (Floating<T>)
        if (detail::wants_gradient(r))
            detail::make_node<impl::PickedNode<T>>("unique", r, clone(firsts(slice(0, found))).record(), impl::AxisSplit{1, n, 1}, found)->set_result(result.record());
    return Unique<T, X::rank>{result, Tensor<std::int64_t, X::rank>(static_cast<detail::AnyTensor&&>(inverse)), clone(counts(slice(0, found)))};
}

// searchsorted(sorted, values, {.right = false}): for every value how many elements of its row of `sorted`, which rises, are
// smaller (right: or equal): where it would be inserted, int64 in the sizes of values. sorted is one axis for all values, or
// [.., n] with the leading sizes of values [.., m]. A NaN goes to the end. Throws ShapeError where the sizes differ; that
// `sorted` rises is not checked. No derivative.
template <Expression S, Expression V>
[[nodiscard]] auto searchsorted(S&& sorted, V&& values, SearchOptions options = {}) {
    const no_grad none;
    const auto rows = contiguous(impl::as_tensor(static_cast<S&&>(sorted)));
    const auto x = contiguous(impl::as_tensor(static_cast<V&&>(values)));
    using Rows = std::remove_const_t<decltype(rows)>;
    using X = std::remove_const_t<decltype(x)>;
    using T = typename X::Scalar;
    static_assert(std::is_same_v<typename Rows::Scalar, T>, "tenon: searchsorted: the values have another element type than what is sorted: write cast<T>(x)");
    static_assert(Rows::rank == 1 || Rows::rank == X::rank, "tenon: searchsorted: what is sorted has one axis, or as many as the values");
    if (!(rows.device() == x.device())) impl::fail_devices("searchsorted", rows.device(), x.device());
    impl::check_device("searchsorted", x.device());
    const detail::Record* r = rows.record();
    const detail::Record* v = x.record();
    if constexpr (Rows::rank > 1)
        for (int i = 0; i + 1 < Rows::rank; ++i)
            if (r->dims()[i] != v->dims()[i])
                fail<ShapeError>("searchsorted: the values ", v->description(), " do not have the rows of ", r->description(), " (axis ", i, ")");
    Tensor<std::int64_t, X::rank> result = empty<std::int64_t>(x.shape(), x.device());
    const long n = r->dims()[Rows::rank - 1];
    long m = v->size;
    if constexpr (Rows::rank > 1) m = v->dims()[X::rank - 1];
    TENON_RUN(x.device(), search_sorted(m > 0 ? v->size / m : 0, n, m, impl::sortable<T>(r), Rows::rank == 1, impl::sortable<T>(v), result.data(), options.right));
    return result;
}
// bucketize(x, boundaries): the same with the arguments of a reader of histograms: in which interval between the rising
// boundaries each x lies.
template <Expression V, Expression S>
[[nodiscard]] auto bucketize(V&& values, S&& boundaries, SearchOptions options = {}) {
    return searchsorted(static_cast<S&&>(boundaries), static_cast<V&&>(values), options);
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
