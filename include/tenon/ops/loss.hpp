// Losses: numbers to call backward() on.
#pragma once

#include <tenon/ops/reduce.hpp>
#include <tenon/ops/softmax.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

struct CrossEntropyOptions { long ignore_index = -100; };

namespace impl {

template <class T, class I>
class CrossEntropyNode final : public detail::OperationNode<1> {
public:
    CrossEntropyNode(detail::Record* x, detail::Record* labels, detail::AnyTensor lse, long ignore_index, long counted)
        : OperationNode("cross_entropy"), lse_(static_cast<detail::AnyTensor&&>(lse)), ignore_index_(ignore_index), counted_(counted) {
        set_input(0, x);
        x_.save(x);
        labels_.save(labels);
    }
    const void* kind() const noexcept override { return &detail::node_kind<CrossEntropyNode>; }
    const detail::Saved& x() const { return x_; }
    const detail::Saved& labels() const { return labels_; }
    long ignore_index() const { return ignore_index_; }
    long counted() const { return counted_; }
    void release_saved() noexcept override { x_.tensor = labels_.tensor = lse_ = detail::AnyTensor(); }
    void backward() override {
        using A = kernels::cpu::accumulator<T>;
        const detail::Record *x = x_.check(name), *labels = labels_.check(name);
        const long rows = x->dims()[0], columns = x->dims()[1];
        const double dy = static_cast<double>(static_cast<A>(*reinterpret_cast<const T*>(gradient()->data())));
        detail::AnyTensor scale(detail::new_record(lse_->dtype, 1, &rows, x->storage->device));
        const A each = static_cast<A>(counted_ > 0 ? dy / static_cast<double>(counted_) : 0);
        for (long i = 0; i < rows; ++i) reinterpret_cast<A*>(scale->data())[i] = each;
        const detail::GradientTarget to = detail::gradient_target(edges_[0]);
        kernels::cpu::cross_entropy_backward(rows, columns, reinterpret_cast<const T*>(x->data()), reinterpret_cast<const I*>(labels->data()), ignore_index_,
                                             reinterpret_cast<const A*>(lse_->data()), reinterpret_cast<const A*>(scale->data()),
                                             reinterpret_cast<T*>(to.record->data()), to.mode == 2);
    }

private:
    detail::Saved x_, labels_;
    detail::AnyTensor lse_;
    long ignore_index_, counted_;
};

}  // namespace impl

// cross_entropy(logits[n, classes], labels[n]): the mean over rows of -log softmax(logits)[label], labels int64 or int32.
// Rows whose label is ignore_index count for nothing (all ignored: NaN, as PyTorch). Throws ShapeError, and IndexError
// for a label outside of [0, classes). Derivative: (softmax - onehot) / rows, in one pass.
template <Expression E, class I>
[[nodiscard]] auto cross_entropy(E&& logits, const Tensor<I, 1>& labels, CrossEntropyOptions options = {}) {
    static_assert(std::is_same_v<I, std::int64_t> || std::is_same_v<I, std::int32_t>, "tenon: cross_entropy: labels must be int64 or int32");
    auto given = impl::as_tensor(static_cast<E&&>(logits));
    using X = decltype(given);
    using T = typename X::Scalar;
    using A = kernels::cpu::accumulator<T>;
    static_assert(X::rank == 2, "tenon: cross_entropy(logits, labels): logits must be [rows, classes]");
    static_assert(Floating<T>, "tenon: cross_entropy: logits must be floating-point");
    if (labels.shape(0) != given.shape(0))
        fail<ShapeError>("cross_entropy: logits are ", given.record()->description(), ", labels ", labels.record()->description(), ": expected one label for each row");
    if (!(labels.device() == given.device())) impl::fail_devices("cross_entropy", given.device(), labels.device());
    impl::check_cpu("cross_entropy", given.device());
    const X x = contiguous(given);
    const Tensor<I, 1> y = contiguous(labels);
    const long rows = x.shape(0), columns = x.shape(1);
    constexpr DType accumulated = std::is_same_v<A, double> ? DType::float64 : DType::float32;
    detail::AnyTensor lse(detail::new_record(accumulated, 1, &rows, x.device())), losses(detail::new_record(accumulated, 1, &rows, x.device()));
    long counted = 0;
    const long bad = kernels::cpu::cross_entropy(rows, columns, x.data(), y.data(), options.ignore_index, reinterpret_cast<A*>(losses->data()),
                                                 reinterpret_cast<A*>(lse->data()), &counted);
    if (bad >= 0)
        fail<IndexError>("cross_entropy: label ", static_cast<long long>(y.data()[bad]), " of row ", bad, " is outside of [0, ", columns, ")");
    double total = 0;
    for (long i = 0; i < rows; ++i) total += static_cast<double>(reinterpret_cast<const A*>(losses->data())[i]);
    Tensor<T, 0> result(detail::AnyTensor(detail::new_record(dtype_of<T>, 0, nullptr, x.device())));
    *result.data() = static_cast<T>(static_cast<A>(total / static_cast<double>(counted)));
    if (detail::wants_gradient(x.record()))
        detail::make_node<impl::CrossEntropyNode<T, I>>(x.record(), y.record(), static_cast<detail::AnyTensor&&>(lse), options.ignore_index, counted)
            ->set_result(result.record());
    return result;
}

// mse_loss(x, y): mean((x - y)^2), one loop each way.
template <Operand A, Operand B>
    requires(Expression<A> || Expression<B>)
[[nodiscard]] auto mse_loss(A&& x, B&& y) {
    return mean(square(static_cast<A&&>(x) - static_cast<B&&>(y)));
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
