// Choosing by a mask: positions of true elements, the elements themselves, and writing to them.
#pragma once

#include <tenon/core/factories.hpp>
#include <tenon/kernels/cpu/mask.hpp>
#include <tenon/ops/scatter.hpp>
#include <tenon/ops/split.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/mask.cuh>
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

// Row-major positions of the true elements of a contiguous mask.
inline Tensor<std::int64_t, 1> true_positions(const char* operation, const detail::Record* mask) {
    const Device device = mask->storage->device;
    check_device(operation, device);
    const bool* data = reinterpret_cast<const bool*>(mask->data());
    const DeviceBuffer<std::int64_t> starts(device, TENON_RUN(device, mask_pieces(mask->size)));
    const long total = TENON_RUN(device, count_mask(mask->size, data, starts.data()));
    Tensor<std::int64_t, 1> positions = empty<std::int64_t>({total}, device);
    TENON_RUN(device, mask_positions(mask->size, data, starts.data(), total, positions.data()));
    return positions;
}

// A mask broadcast to the sizes of x.
template <int R, class M>
Tensor<bool, R> mask_of(const char* operation, const detail::Record* x, M&& given) {
    const auto mask = as_tensor(static_cast<M&&>(given));
    using Mask = std::remove_const_t<decltype(mask)>;
    static_assert(std::is_same_v<typename Mask::Scalar, bool>, "tenon: masked_select, masked_scatter: the mask must be bool, such as x > 0");
    static_assert(Mask::rank <= R, "tenon: masked_select, masked_scatter: the mask has more axes than the tensor");
    detail::ViewMap map;
    map.rank = R;
    constexpr int extra = R - Mask::rank;
    for (int i = 0; i < Mask::rank; ++i) map.start[i] = 0;
    for (int i = 0; i < R; ++i) {
        const long n = x->dims()[i], have = i < extra ? 1 : mask.record()->dims()[i - extra];
        if (have != n && have != 1)
            fail<ShapeError>(operation, ": the mask ", mask.record()->description(), " does not fit ", x->description(), " at axis ", i);
        map.axis[i] = i < extra || have != n ? -1 : i - extra;
        map.step[i] = 1;
        map.dims[i] = n;
    }
    return contiguous(Tensor<bool, R>(detail::make_view(mask.record(), map)));
}

}  // namespace impl

// nonzero(x): the indices of the elements that are not 0 (true), in row-major order: int64 [count, rank]. A NaN is not 0.
template <Expression X>
[[nodiscard]] Tensor<std::int64_t, 2> nonzero(X&& x) {
    const no_grad none;
    using T = common_scalar_t<X>;
    constexpr int R = wrap_t<X>::rank;
    const auto mask = [&] {
        if constexpr (std::is_same_v<T, bool>) return contiguous(impl::as_tensor(static_cast<X&&>(x)));
        else return contiguous(eval(static_cast<X&&>(x) != static_cast<formula::compute_t<T>>(0)));
    }();
    const Tensor<std::int64_t, 1> flat = impl::true_positions("nonzero", mask.record());
    const Device device = mask.device();
    Tensor<std::int64_t, 2> result = empty<std::int64_t>({flat.size(), R}, device);
    kernels::cpu::CoordinateStep step{R, {}, flat.data(), result.data()};
    for (int i = 0; i < R; ++i) step.dims[i] = mask.record()->dims()[i];
    TENON_RUN(device, each(flat.size(), step));
    return result;
}
// auto [rows, columns] = where(mask): the same, one tensor of indices for each axis: what index_get and index_put take.
template <Expression M>
[[nodiscard]] auto where(M&& mask) {
    constexpr int R = wrap_t<M>::rank;
    static_assert(R >= 1, "tenon: where(mask): a scalar has no indices");
    const Tensor<std::int64_t, 2> all_axes = nonzero(static_cast<M&&>(mask));
    Chunks<std::int64_t, 1, R> result;
    for (int i = 0; i < R; ++i) result.pieces[i] = clone(all_axes(all, i));
    return result;
}

// masked_select(x, mask): the elements of x where the mask (broadcast to x) is true, in row-major order, as one axis.
// Throws ShapeError. Derivative: the gradient goes to the elements chosen.
template <Expression X, Expression M>
[[nodiscard]] auto masked_select(X&& x, M&& mask) {
    const auto from = impl::as_tensor(static_cast<X&&>(x));
    using From = std::remove_const_t<decltype(from)>;
    const auto full_mask = impl::mask_of<From::rank>("masked_select", from.record(), static_cast<M&&>(mask));
    return index_select<0>(from.reshape({-1}), impl::true_positions("masked_select", full_mask.record()));
}
// masked_fill(x, mask, value): the value where the mask is true, x elsewhere; an expression, which broadcasts. Derivative: 0
// where filled.
template <Expression X, Expression M>
[[nodiscard]] auto masked_fill(X&& x, M&& mask, std::type_identity_t<formula::compute_t<common_scalar_t<X>>> value) {
    return where(static_cast<M&&>(mask), value, static_cast<X&&>(x));
}
// masked_scatter(x, mask, src): x with the elements where the mask (broadcast to x) is true replaced by the first elements
// of src, in row-major order of both. Throws ShapeError where src has too few. Derivative: x elsewhere; src what was used.
template <Expression X, Expression M, Expression S>
[[nodiscard]] auto masked_scatter(X&& x, M&& mask, S&& src) {
    const auto into = impl::as_tensor(static_cast<X&&>(x));
    using Into = std::remove_const_t<decltype(into)>;
    const auto given = impl::as_tensor(static_cast<S&&>(src));
    static_assert(std::is_same_v<typename std::remove_const_t<decltype(given)>::Scalar, typename Into::Scalar>,
                  "tenon: masked_scatter: the source has another element type: write cast<T>(source)");
    const auto full_mask = impl::mask_of<Into::rank>("masked_scatter", into.record(), static_cast<M&&>(mask));
    const Tensor<std::int64_t, 1> positions = impl::true_positions("masked_scatter", full_mask.record());
    if (given.size() < positions.size())
        fail<ShapeError>("masked_scatter: the mask has ", positions.size(), " true elements, but the source ", given.record()->description(), " has ", given.size());
    return index_copy<0>(into.reshape({-1}), positions, given.reshape({-1})(slice(0, positions.size()))).reshape(into.shape());
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
