// Margin losses of class scores.
#pragma once

#include <tenon/core/factories.hpp>
#include <tenon/ops/cross_entropy.hpp>
#include <tenon/ops/distance_loss.hpp>
#include <tenon/ops/index.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

template <class T = float>
struct MultiMarginOptions {
    int p = 1;  // or 2
    double margin = 1;
    Tensor<T, 1> weight = {};  // of each class
};
// multi_margin_loss(x[n, classes], labels[n]): sum over the other classes c of weight[label] * max(0, margin - x[label] + x[c])^p /
// classes. Throws IndexError for a label out of range, ValueError unless p is 1 or 2.
template <Expression E, impl::LabelType I, LossReduction R = Reduction>
[[nodiscard]] auto multi_margin_loss(E&& e, const Tensor<I, 1>& labels, MultiMarginOptions<common_scalar_t<E>> options = {}, R reduction = {}) {
    using T = common_scalar_t<E>;
    const Tensor<T, 2> x = impl::as_tensor(static_cast<E&&>(e));
    impl::check_labels("multi_margin_loss", x.record(), labels.record());
    if (options.p != 1 && options.p != 2) fail<ValueError>("multi_margin_loss: p is ", options.p, ", expected 1 or 2");
    const Tensor<I, 2> at = labels.template unsqueeze<1>();
    const Tensor<T, 2> own = gather<1>(x, at);
    const Tensor<I, 1> classes = arange<I>(0, static_cast<I>(x.shape(1)), 1, x.device());
    Tensor<T, 1> factor = full<T>({1}, static_cast<T>(1 / static_cast<double>(x.shape(1))), x.device());
    if (options.weight.has_value()) factor = index_select<0>(options.weight, labels) * (1 / static_cast<double>(x.shape(1)));
    const auto over = relu(x - own + options.margin);
    const Tensor<T, 1> rows = options.p == 1 ? sum<1>(where(classes == at, 0, over)) : sum<1>(where(classes == at, 0, square(over)));
    return impl::reduced_loss("multi_margin_loss", rows * factor, reduction);
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
