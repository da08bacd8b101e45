// Sums and means over axes, with an expression as prologue: read once, nothing stored; and what needs the elements of an
// axis together (extremes, variance).
#pragma once

#include <tenon/autograd/evaluate.hpp>
#include <tenon/autograd/operation_node.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

template <int Rank, int... Axes>
constexpr unsigned axis_bits() {
    static_assert(((Axes >= -Rank && Axes < Rank) && ...), "tenon: a reduction's axis is outside of the tensor's rank");
    return (0u | ... | (1u << detail::normal_axis<Axes, Rank>()));
}
template <int Rank, int... Axes>
constexpr int kept_axes() {
    static_assert(__builtin_popcount(axis_bits<Rank, Axes...>()) == sizeof...(Axes), "tenon: a reduction names an axis twice");
    return sizeof...(Axes) == 0 ? 0 : Rank - static_cast<int>(sizeof...(Axes));
}

template <int... Axes, bool Keep, class W>
auto sum_wrapped(const char* name, const W& w, std::bool_constant<Keep>, bool mean) {
    constexpr int rank = W::rank;
    constexpr unsigned bits = sizeof...(Axes) == 0 ? (1u << rank) - 1u : axis_bits<rank, Axes...>();
    constexpr int result_rank = Keep ? rank : kept_axes<rank, Axes...>();
    using T = typename W::Scalar;
    Collector c;
    w.collect(c);
    long kept[max_rank] = {}, result[max_rank] = {};
    long count = 1;
    int at = 0;
    for (int i = 0; i < rank; ++i) {
        const bool reduced = (bits >> i & 1u) != 0;
        kept[i] = reduced ? 1 : w.dims()[i];
        if (reduced) count *= w.dims()[i];
        if (Keep || !reduced) result[at++] = kept[i];
    }
    return Tensor<T, result_rank>(evaluate_sum(formula::table<typename W::Formula, true>, c, rank, w.dims(), kept, result_rank, result, w.device(),
                                               mean ? 1.0 / static_cast<double>(count) : 1.0, name));
}

// Integers and masks are summed as int64, everything else in its own type (16-bit ones accumulate in float).
template <int... Axes, class Keep, Expression E>
auto sum_any(E&& e, Keep keep) {
    using T = common_scalar_t<E>;
    if constexpr (std::is_integral_v<T> && !std::is_same_v<T, std::int64_t>)
        return sum_wrapped<Axes...>("sum", operation<fn::cast<std::int64_t>>(wrap(static_cast<E&&>(e))), keep, false);
    else return sum_wrapped<Axes...>("sum", wrap(static_cast<E&&>(e)), keep, false);
}
template <int... Axes, class Keep, Expression E>
auto mean_any(E&& e, Keep keep) {
    static_assert(Floating<common_scalar_t<E>>, "tenon: mean: the mean of an integer tensor is not an integer: write mean(cast<float>(x))");
    return sum_wrapped<Axes...>("mean", wrap(static_cast<E&&>(e)), keep, true);
}

}  // namespace impl

// sum<Axes...>(x): the sum over the named axes, over all without any. Floating types keep their type, integers and bool
// give int64. With keepdim the axes stay, with size 1. The sum over nothing is 0. Derivative: 1.
template <int... Axes, Expression E>
[[nodiscard]] auto sum(E&& e) { return impl::sum_any<Axes...>(static_cast<E&&>(e), std::false_type{}); }
template <int... Axes, Expression E>
[[nodiscard]] auto sum(E&& e, KeepDim) { return impl::sum_any<Axes...>(static_cast<E&&>(e), std::true_type{}); }
// mean<Axes...>(x): the mean, of floating types. The mean of nothing is NaN. Derivative: 1 / n.
template <int... Axes, Expression E>
[[nodiscard]] auto mean(E&& e) { return impl::mean_any<Axes...>(static_cast<E&&>(e), std::false_type{}); }
template <int... Axes, Expression E>
[[nodiscard]] auto mean(E&& e, KeepDim) { return impl::mean_any<Axes...>(static_cast<E&&>(e), std::true_type{}); }

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
