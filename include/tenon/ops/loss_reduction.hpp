// What becomes of the losses of single elements: every loss takes one of these as its last argument.
#pragma once

#include <tenon/ops/reduce.hpp>

namespace tenon {

// mean: over everything that counts; sum; batch_mean: the sum divided by the size of the first axis.
enum class Reduction : unsigned char { mean, sum, batch_mean };

struct NoReduction {};
// mse_loss(x, y, no_reduction): one loss for each element (each row). Of elementwise losses it is an expression, so that
// mean(weight * mse_loss(x, y, no_reduction)) is still one loop.
inline constexpr NoReduction no_reduction{};

template <class R>
concept LossReduction = std::is_same_v<std::remove_cvref_t<R>, Reduction> || std::is_same_v<std::remove_cvref_t<R>, NoReduction>;

inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

// The loss of an expression: itself, or one number by one loop each way.
template <Expression E>
auto reduced_loss(const char*, E&& e, NoReduction) {
    return static_cast<E&&>(e);
}
template <Expression E>
auto reduced_loss(const char* name, E&& e, Reduction reduction) {
    static_assert(Floating<common_scalar_t<E>>, "tenon: a loss is defined for floating-point tensors only: write cast<float>(x) first");
    const auto w = wrap(static_cast<E&&>(e));
    using W = std::remove_const_t<decltype(w)>;
    Collector c;
    w.collect(c);
    long ones[max_rank], size = 1;
    for (int i = 0; i < W::rank; ++i) {
        ones[i] = 1;
        size *= w.dims()[i];
    }
    long count = 1;
    if (reduction == Reduction::mean) count = size;
    if (reduction == Reduction::batch_mean && W::rank > 0) count = w.dims()[0];
    return Tensor<typename W::Scalar, 0>(
        evaluate_sum(formula::table<typename W::Formula, true>, c, W::rank, w.dims(), ones, 0, nullptr, w.device(), 1 / static_cast<double>(count), name));
}

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
