// Coordinates and classes: meshgrid, one_hot.
#pragma once

#include <tenon/core/factories.hpp>
#include <tenon/kernels/cpu/one_hot.hpp>
#include <tenon/ops/index.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/one_hot.cuh>
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

// A vector along one axis of a grid: a recorded view.
inline detail::AnyTensor grid_axis(const detail::Record* x, int axis, int rank, const long* dims) {
    detail::ViewMap map;
    map.rank = rank;
    map.start[0] = 0;
    for (int i = 0; i < rank; ++i) {
        map.axis[i] = i == axis ? 0 : -1;
        map.step[i] = 1;
        map.dims[i] = dims[i];
    }
    return detail::make_view(x, map);
}
template <bool Swapped, class... X>
auto meshgrid_of(const X&... x) {
    constexpr int n = static_cast<int>(sizeof...(X));
    static_assert(n >= 2 && n <= 4, "tenon: meshgrid: takes two to four vectors");
    static_assert(((X::rank == 1) && ...), "tenon: meshgrid: takes vectors");
    const detail::Record* records[] = {x.record()...};
    long dims[n];
    const auto place = [](int k) { return Swapped && k < 2 ? 1 - k : k; };
    for (int k = 0; k < n; ++k) dims[place(k)] = records[k]->dims()[0];
    int k = 0;
    const auto next = [&] {
        const int axis = place(k);
        return grid_axis(records[k++], axis, n, dims);
    };
    return Results<Tensor<typename X::Scalar, n>...>{Tensor<typename X::Scalar, n>(next())...};
}

}  // namespace impl

// auto [rows, columns] = meshgrid(a, b): the coordinates of a grid, [a.size, b.size] each: rows[i, j] = a[i], columns[i, j] =
// b[j]; of up to four vectors. Views without memory of their own. Derivative: the sum over the copies.
template <class... T>
[[nodiscard]] auto meshgrid(const Tensor<T, 1>&... x) { return impl::meshgrid_of<false>(x...); }
// meshgrid_xy(x, y): the first two axes exchanged, [y.size, x.size], as for images ("xy" indexing).
template <class... T>
[[nodiscard]] auto meshgrid_xy(const Tensor<T, 1>&... x) { return impl::meshgrid_of<true>(x...); }

// one_hot<T>(indices, classes): 1 at the index and 0 elsewhere, along a new last axis: [..] -> [.., classes]; int64 unless T
// says otherwise. Throws IndexError for an index outside of [0, classes). No derivative.
template <Element T = std::int64_t, Expression N>
[[nodiscard]] auto one_hot(N&& indices, long classes) {
    const auto index = contiguous(impl::as_tensor(static_cast<N&&>(indices)));
    using Index = std::remove_const_t<decltype(index)>;
    using I = typename Index::Scalar;
    impl::check_index_type<I>();
    static_assert(Index::rank < max_rank, "tenon: one_hot: the result would have more than 8 axes");
    impl::check_device("one_hot", index.device());
    if (classes < 0) fail<ValueError>("one_hot: ", classes, " classes, expected 0 or more");
    impl::check_indices<I>("one_hot", index.record(), classes);
    Shape<Index::rank + 1> dims;
    for (int i = 0; i < Index::rank; ++i) dims.dims[i] = index.record()->dims()[i];
    dims.dims[Index::rank] = classes;
    Tensor<T, Index::rank + 1> result = empty<T>(dims, index.device());
    TENON_RUN(index.device(), one_hot(index.size(), classes, static_cast<const I*>(index.data()), result.data()));
    return result;
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
