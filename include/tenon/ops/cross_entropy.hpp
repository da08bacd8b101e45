// Losses of class predictions: cross-entropy from logits, with labels or with a target for each class, and the negative
// log-likelihood of labels.
#pragma once

#include <tenon/autograd/operation_node.hpp>
#include <tenon/kernels/cpu/cross_entropy.hpp>
#include <tenon/ops/axis.hpp>
#include <tenon/ops/copy.hpp>
#include <tenon/ops/loss_reduction.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/cross_entropy.cuh>
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

template <class T = float>
struct CrossEntropyOptions {
    Tensor<T, 1> weight = {};    // of each class
    long ignore_index = -100;    // rows with this label count for nothing (labels only)
    double label_smoothing = 0;  // this much of the target is spread over all classes
};

namespace impl {

template <class I>
concept LabelType = std::is_same_v<I, std::int64_t> || std::is_same_v<I, std::int32_t>;

template <class A>
constexpr DType accumulator_dtype() { return std::is_same_v<A, double> ? DType::float64 : DType::float32; }

// How the losses of rows become a result, and the gradient of that the gradients of rows. What counts is a number on the
// losses' device: nobody waits for it.
struct RowReduction {
    bool none = false;
    double scale = 1;           // of the sum
    detail::AnyTensor counted;  // that the sum is divided by, double [1]; null: by nothing

    const double* divisor() const { return counted ? reinterpret_cast<const double*>(counted->data()) : nullptr; }
    template <class T>
    detail::AnyTensor gradients(const detail::Record* dy, long rows, Device device) const {
        using A = kernels::cpu::accumulator<T>;
        detail::AnyTensor each(detail::new_record(accumulator_dtype<A>(), 1, &rows, device));
        TENON_RUN(device, row_gradients(rows, reinterpret_cast<const T*>(dy->data()), none, divisor(), scale, reinterpret_cast<A*>(each->data())));
        return each;
    }
};
// Of `batches` batches, and what was counted.
inline RowReduction row_reduction(bool none, Reduction reduction, detail::AnyTensor counted, long batches) {
    if (none || reduction == Reduction::sum) return {none, 1, {}};
    if (reduction == Reduction::mean) return {false, 1, static_cast<detail::AnyTensor&&>(counted)};
    return {false, 1 / static_cast<double>(batches), {}};
}
inline detail::AnyTensor new_counter(Device device) {
    const long one = 1;
    return detail::AnyTensor(detail::new_record(DType::float64, 1, &one, device));
}
template <class T>
detail::AnyTensor reduce_rows(const detail::AnyTensor& losses, const RowReduction& reduction, int rank, const long* dims, const char* name) {
    using A = kernels::cpu::accumulator<T>;
    const A* from = reinterpret_cast<const A*>(losses->data());
    detail::AnyTensor result(detail::new_record(dtype_of<T>, reduction.none ? rank : 0, dims, losses->storage->device, name));
    T* to = reinterpret_cast<T*>(result->data());
    const Device device = losses->storage->device;
    if (reduction.none) TENON_RUN(device, round_losses(losses->size, from, to));
    else TENON_RUN(device, sum_losses(losses->size, from, reduction.divisor(), reduction.scale, to));
    return result;
}

// Weights of classes in the type that losses are computed in; none stays none.
template <class T>
detail::AnyTensor class_weights(const char* name, const Tensor<T, 1>& weight, const detail::Record* x) {
    using A = kernels::cpu::accumulator<T>;
    if (!weight.has_value()) return {};
    if (weight.size() != x->dims()[1])
        fail<ShapeError>(name, ": weight is ", weight.record()->description(), ", input is ", x->description(), ": expected one element for each of the ", x->dims()[1],
                         " classes (axis 1)");
    if (!(weight.device() == x->storage->device)) fail_devices(name, x->storage->device, weight.device());
    const no_grad none;
    if constexpr (std::is_same_v<A, T>) return detail::AnyTensor::share(clone(weight).record());
    else return detail::AnyTensor::share(Tensor<A, 1>(cast<A>(weight)).record());
}
inline void check_labels(const char* name, const detail::Record* x, const detail::Record* labels) {
    bool fits = labels->rank == x->rank - 1;
    for (int i = 0; fits && i < labels->rank; ++i) fits = labels->dims()[i] == x->dims()[i == 0 ? 0 : i + 1];
    if (!fits)
        fail<ShapeError>(name, ": logits are ", x->description(), ", labels ", labels->description(), x->rank == 2 ? ": expected one label for each row"
                                                                                                               : ": expected the sizes of the logits without their axis 1");
    if (!(labels->storage->device == x->storage->device)) fail_devices(name, x->storage->device, labels->storage->device);
    check_device(name, x->storage->device);
}
template <class I>
[[noreturn]] TENON_COLD void fail_label(const char* name, detail::Record* labels, long at, long columns) {
    const detail::AnyTensor here = labels->storage->device.is_cpu() ? detail::AnyTensor::share(labels) : transferred(labels, cpu);
    const long long label = reinterpret_cast<const I*>(here->data())[at];
    if (labels->rank == 1) fail<IndexError>(name, ": label ", label, " of row ", at, " is outside of [0, ", columns, ")");
    long position[max_rank];
    for (int i = labels->rank - 1; i >= 0; --i) {
        position[i] = at % labels->dims()[i];
        at /= labels->dims()[i];
    }
    fail<IndexError>(name, ": label ", label, " at position ", detail::Sizes{labels->rank, position}, " is outside of [0, ", columns, ")");
}
inline void check_smoothing(double smoothing) {
    if (!(smoothing >= 0 && smoothing <= 1)) fail<ValueError>("cross_entropy: label_smoothing is ", smoothing, ", expected 0 to 1");
}

template <class T, class I>
class CrossEntropyNode final : public detail::OperationNode<1> {
public:
    using A = kernels::cpu::accumulator<T>;
    CrossEntropyNode(detail::Record* x, detail::Record* labels, detail::AnyTensor lse, detail::AnyTensor weight, AxisSplit split, long ignore_index, double smoothing,
                     RowReduction reduction)
        : OperationNode("cross_entropy"), lse_(static_cast<detail::AnyTensor&&>(lse)), weight_(static_cast<detail::AnyTensor&&>(weight)), split_(split),
          ignore_index_(ignore_index), smoothing_(smoothing), reduction_(reduction) {
        set_input(0, x);
        x_.save(x);
        labels_.save(labels);
    }
    const void* kind() const noexcept override { return &detail::node_kind<CrossEntropyNode>; }
    const detail::Saved& x() const { return x_; }
    const detail::Saved& labels() const { return labels_; }
    AxisSplit split() const { return split_; }
    long ignore_index() const { return ignore_index_; }
    double smoothing() const { return smoothing_; }
    const detail::AnyTensor& weights() const { return weight_; }
    const A* weight() const { return weight_ ? reinterpret_cast<const A*>(weight_->data()) : nullptr; }
    const RowReduction& reduction() const { return reduction_; }
    void release_saved() noexcept override { x_.tensor = labels_.tensor = lse_ = weight_ = reduction_.counted = detail::AnyTensor(); }
    void backward() override {
        const detail::Record *x = x_.check(name), *labels = labels_.check(name);
        const detail::AnyTensor scale = reduction_.gradients<T>(gradient(), split_.outer * split_.inner, x->storage->device);
        const detail::GradientTarget to = detail::gradient_target(edges_[0]);
        TENON_RUN(x->storage->device, cross_entropy_backward(split_.outer, split_.n, split_.inner, reinterpret_cast<const T*>(x->data()), reinterpret_cast<const I*>(labels->data()),
                                             ignore_index_, smoothing_, weight(), reinterpret_cast<const A*>(lse_->data()),
                                             reinterpret_cast<const A*>(lse_->data()) + split_.outer * split_.inner, reinterpret_cast<const A*>(scale->data()), reinterpret_cast<T*>(to.record->data()), to.mode == 2));
    }

private:
    detail::Saved x_, labels_;
    detail::AnyTensor lse_, weight_;
    AxisSplit split_;
    long ignore_index_;
    double smoothing_;
    RowReduction reduction_;
};

template <class T, class I>
detail::AnyTensor cross_entropy_of(detail::Record* x, detail::Record* labels, const CrossEntropyOptions<T>& options, bool none, Reduction reduction) {
    using A = kernels::cpu::accumulator<T>;
    check_labels("cross_entropy", x, labels);
    check_smoothing(options.label_smoothing);
    detail::AnyTensor weight = class_weights("cross_entropy", options.weight, x);
    const AxisSplit split = split_at(x, 1);
    const long rows = labels->size;
    const long twice = 2 * rows;
    detail::AnyTensor lse(detail::new_record(accumulator_dtype<A>(), 1, &twice, x->storage->device)), losses(detail::new_record(accumulator_dtype<A>(), 1, &rows, x->storage->device));
    const detail::AnyTensor counted = new_counter(x->storage->device);
    const long bad = TENON_RUN(x->storage->device, cross_entropy(split.outer, split.n, split.inner, reinterpret_cast<const T*>(x->data()), reinterpret_cast<const I*>(labels->data()),
                                                 options.ignore_index, options.label_smoothing, weight ? reinterpret_cast<const A*>(weight->data()) : nullptr,
                                                 reinterpret_cast<A*>(losses->data()), reinterpret_cast<A*>(lse->data()), reinterpret_cast<A*>(lse->data()) + rows, reinterpret_cast<double*>(counted->data())));
    if (bad >= 0) fail_label<I>("cross_entropy", labels, bad, split.n);
    const RowReduction how = row_reduction(none, reduction, counted, split.outer);
    detail::AnyTensor result = reduce_rows<T>(losses, how, labels->rank, labels->dims(), "cross_entropy");
    if (detail::wants_gradient(x)) {
        detail::make_node<CrossEntropyNode<T, I>>(x, labels, static_cast<detail::AnyTensor&&>(lse), static_cast<detail::AnyTensor&&>(weight), split, options.ignore_index,
                                                  options.label_smoothing, how)
            ->set_result(result.get());
    }
    return result;
}

template <class T>
class SoftCrossEntropyNode final : public detail::OperationNode<2> {
public:
    using A = kernels::cpu::accumulator<T>;
    SoftCrossEntropyNode(detail::Record* x, detail::Record* t, detail::AnyTensor lse, detail::AnyTensor total, detail::AnyTensor weight, AxisSplit split, double smoothing,
                         RowReduction reduction)
        : OperationNode("cross_entropy"), lse_(static_cast<detail::AnyTensor&&>(lse)), total_(static_cast<detail::AnyTensor&&>(total)),
          weight_(static_cast<detail::AnyTensor&&>(weight)), split_(split), smoothing_(smoothing), reduction_(reduction) {
        set_input(0, x);
        set_input(1, t);
        x_.save(x);
        t_.save(t);
    }
    const void* kind() const noexcept override { return &detail::node_kind<SoftCrossEntropyNode>; }
    const detail::Saved& x() const { return x_; }
    const detail::Saved& targets() const { return t_; }
    AxisSplit split() const { return split_; }
    double smoothing() const { return smoothing_; }
    const detail::AnyTensor& weights() const { return weight_; }
    const A* weight() const { return weight_ ? reinterpret_cast<const A*>(weight_->data()) : nullptr; }
    const RowReduction& reduction() const { return reduction_; }
    void release_saved() noexcept override { x_.tensor = t_.tensor = lse_ = total_ = weight_ = detail::AnyTensor(); }
    void backward() override {
        const detail::Record *x = x_.check(name), *t = t_.check(name);
        const detail::AnyTensor scale = reduction_.gradients<T>(gradient(), split_.outer * split_.inner, x->storage->device);
        T* to[2] = {};
        bool add[2] = {};
        for (int k = 0; k < 2; ++k) {
            if (!wanted(k)) continue;
            const detail::GradientTarget target = detail::gradient_target(edges_[k]);
            to[k] = reinterpret_cast<T*>(target.record->data());
            add[k] = target.mode == 2;
        }
        if (to[0] == to[1]) {  // x is its own target
            backward_into(x, t, scale, to[0], add[0], nullptr, false);
            backward_into(x, t, scale, nullptr, false, to[1], add[1]);
            return;
        }
        backward_into(x, t, scale, to[0], add[0], to[1], add[1]);
    }

private:
    void backward_into(const detail::Record* x, const detail::Record* t, const detail::AnyTensor& scale, T* dx, bool add_dx, T* dt, bool add_dt) const {
        TENON_RUN(x->storage->device, soft_cross_entropy_backward(split_.outer, split_.n, split_.inner, reinterpret_cast<const T*>(x->data()), reinterpret_cast<const T*>(t->data()), smoothing_,
                                                  weight(), reinterpret_cast<const A*>(lse_->data()), reinterpret_cast<const A*>(lse_->data()) + split_.outer * split_.inner,
                                                  reinterpret_cast<const A*>(total_->data()),
                                                  reinterpret_cast<const A*>(scale->data()), dx, add_dx, dt, add_dt));
    }

    detail::Saved x_, t_;
    detail::AnyTensor lse_, total_, weight_;
    AxisSplit split_;
    double smoothing_;
    RowReduction reduction_;
};

template <class T>
detail::AnyTensor soft_cross_entropy_of(detail::Record* x, detail::Record* t, const CrossEntropyOptions<T>& options, bool none, Reduction reduction) {
    using A = kernels::cpu::accumulator<T>;
    for (int i = 0; i < x->rank; ++i)
        if (x->dims()[i] != t->dims()[i])
            fail<ShapeError>("cross_entropy: logits are ", x->description(), ", targets ", t->description(), ": expected one target for each logit");
    if (!(t->storage->device == x->storage->device)) fail_devices("cross_entropy", x->storage->device, t->storage->device);
    check_device("cross_entropy", x->storage->device);
    check_smoothing(options.label_smoothing);
    detail::AnyTensor weight = class_weights("cross_entropy", options.weight, x);
    const AxisSplit split = split_at(x, 1);
    const long rows = split.outer * split.inner;
    detail::AnyTensor parts[3];
    const long sizes[] = {rows, 2 * rows, rows};
    for (int k = 0; k < 3; ++k) parts[k] = detail::AnyTensor(detail::new_record(accumulator_dtype<A>(), 1, sizes + k, x->storage->device));
    if (split.n > 0)
        TENON_RUN(x->storage->device, soft_cross_entropy(split.outer, split.n, split.inner, reinterpret_cast<const T*>(x->data()), reinterpret_cast<const T*>(t->data()), options.label_smoothing,
                                         weight ? reinterpret_cast<const A*>(weight->data()) : nullptr, reinterpret_cast<A*>(parts[0]->data()),
                                         reinterpret_cast<A*>(parts[1]->data()), reinterpret_cast<A*>(parts[1]->data()) + rows, reinterpret_cast<A*>(parts[2]->data())));
    else
        detail::zero_bytes(x->storage->device, parts[0]->data(), static_cast<std::size_t>(rows) * sizeof(A));
    RowReduction how = row_reduction(none, reduction, {}, split.outer);
    if (!none && reduction == Reduction::mean) how.scale = 1 / static_cast<double>(rows);
    long dims[max_rank] = {};
    for (int i = 0; i < x->rank - 1; ++i) dims[i] = x->dims()[i == 0 ? 0 : i + 1];
    detail::AnyTensor result = reduce_rows<T>(parts[0], how, x->rank - 1, dims, "cross_entropy");
    if (detail::wants_gradient(x) || detail::wants_gradient(t))
        detail::make_node<SoftCrossEntropyNode<T>>(x, t, static_cast<detail::AnyTensor&&>(parts[1]), static_cast<detail::AnyTensor&&>(parts[2]),
                                                   static_cast<detail::AnyTensor&&>(weight), split, options.label_smoothing, how)
            ->set_result(result.get());
    return result;
}

template <class T, class I>
class NllNode final : public detail::OperationNode<1> {
public:
    using A = kernels::cpu::accumulator<T>;
    NllNode(detail::Record* x, detail::Record* labels, detail::AnyTensor weight, AxisSplit split, long ignore_index, RowReduction reduction)
        : OperationNode("nll_loss"), weight_(static_cast<detail::AnyTensor&&>(weight)), split_(split), ignore_index_(ignore_index), reduction_(reduction) {
        set_input(0, x);
        labels_.save(labels);
    }
    const void* kind() const noexcept override { return &detail::node_kind<NllNode>; }
    const detail::Saved& labels() const { return labels_; }
    AxisSplit split() const { return split_; }
    long ignore_index() const { return ignore_index_; }
    const detail::AnyTensor& weights() const { return weight_; }
    const A* weight() const { return weight_ ? reinterpret_cast<const A*>(weight_->data()) : nullptr; }
    const RowReduction& reduction() const { return reduction_; }
    void release_saved() noexcept override { labels_.tensor = weight_ = reduction_.counted = detail::AnyTensor(); }
    void backward() override {
        const detail::Record* labels = labels_.check(name);
        const detail::AnyTensor scale = reduction_.gradients<T>(gradient(), labels->size, labels->storage->device);
        const detail::GradientTarget to = detail::gradient_target(edges_[0]);
        TENON_RUN(labels->storage->device, nll_loss_backward(split_.outer, split_.n, split_.inner, reinterpret_cast<const I*>(labels->data()), ignore_index_, weight(),
                                        reinterpret_cast<const A*>(scale->data()), reinterpret_cast<T*>(to.record->data()), to.mode == 2));
    }

private:
    detail::Saved labels_;
    detail::AnyTensor weight_;
    AxisSplit split_;
    long ignore_index_;
    RowReduction reduction_;
};
template <class T, class I>
detail::AnyTensor nll_loss_of(detail::Record* x, detail::Record* labels, const Tensor<T, 1>& weights, long ignore_index, bool none, Reduction reduction) {
    using A = kernels::cpu::accumulator<T>;
    check_labels("nll_loss", x, labels);
    detail::AnyTensor weight = class_weights("nll_loss", weights, x);
    const AxisSplit split = split_at(x, 1);
    const detail::AnyTensor losses(detail::new_record(accumulator_dtype<A>(), 1, &labels->size, x->storage->device));
    const detail::AnyTensor counted = new_counter(x->storage->device);
    const long bad = TENON_RUN(x->storage->device, nll_loss(split.outer, split.n, split.inner, reinterpret_cast<const T*>(x->data()), reinterpret_cast<const I*>(labels->data()), ignore_index,
                                            weight ? reinterpret_cast<const A*>(weight->data()) : nullptr, reinterpret_cast<A*>(losses->data()), reinterpret_cast<double*>(counted->data())));
    if (bad >= 0) fail_label<I>("nll_loss", labels, bad, split.n);
    const RowReduction how = row_reduction(none, reduction, counted, split.outer);
    detail::AnyTensor result = reduce_rows<T>(losses, how, labels->rank, labels->dims(), "nll_loss");
    if (detail::wants_gradient(x))
        detail::make_node<NllNode<T, I>>(x, labels, static_cast<detail::AnyTensor&&>(weight), split, ignore_index, how)->set_result(result.get());
    return result;
}

template <class X>
constexpr void check_class_input() {
    static_assert(X::rank >= 2, "tenon: cross_entropy, nll_loss: the input must be [rows, classes] or [rows, classes, ...]");
    static_assert(Floating<typename X::Scalar>, "tenon: cross_entropy, nll_loss: the input must be floating-point");
}
template <class R>
constexpr bool is_none = std::is_same_v<std::remove_cvref_t<R>, NoReduction>;
template <class R>
constexpr Reduction reduction_of(const R& r) {
    if constexpr (is_none<R>) return Reduction::sum;
    else return r;
}

}  // namespace impl

// cross_entropy(logits[n, classes, ...], labels[n, ...]): -log softmax(logits)[label], labels int64 or int32, one for each row
// (and position behind the class axis). Options: weight of each class, ignore_index, label_smoothing. mean divides by the sum
// of the weights of the labels that count (none: NaN, as PyTorch), batch_mean by n; no_reduction gives a tensor like labels.
// Throws ShapeError, and IndexError for a label outside of [0, classes). Derivative: (softmax - target) * weight, in one pass.
template <Expression E, impl::LabelType I, int L, LossReduction R = Reduction>
[[nodiscard]] auto cross_entropy(E&& logits, const Tensor<I, L>& labels, CrossEntropyOptions<common_scalar_t<E>> options = {}, R reduction = {}) {
    const auto given = impl::as_tensor(static_cast<E&&>(logits));
    using X = std::remove_const_t<decltype(given)>;
    impl::check_class_input<X>();
    static_assert(L == X::rank - 1, "tenon: cross_entropy(logits, labels): labels must have one axis less than logits (all but the classes)");
    const X x = contiguous(given);
    const Tensor<I, L> y = contiguous(labels);
    return Tensor<common_scalar_t<E>, impl::is_none<R> ? L : 0>(
        impl::cross_entropy_of<common_scalar_t<E>, I>(x.record(), y.record(), options, impl::is_none<R>, impl::reduction_of(reduction)));
}
// cross_entropy(logits, targets): a target for each logit (probabilities of the classes), -sum_c weight[c] target[c] log
// softmax(logits)[c]; mean divides by the number of rows. A class with target 0 counts for nothing, even at -inf. Derivatives in
// logits and targets, in one pass.
template <Expression E, Expression P, LossReduction R = Reduction>
    requires(Floating<common_scalar_t<P>>)
[[nodiscard]] auto cross_entropy(E&& logits, P&& targets, CrossEntropyOptions<common_scalar_t<E>> options = {}, R reduction = {}) {
    const auto given = impl::as_tensor(static_cast<E&&>(logits));
    const auto wanted = impl::as_tensor(static_cast<P&&>(targets));
    using X = std::remove_const_t<decltype(given)>;
    impl::check_class_input<X>();
    static_assert(std::is_same_v<X, std::remove_const_t<decltype(wanted)>>,
                  "tenon: cross_entropy(logits, targets): targets must have the logits' element type and rank; labels must be int64 or int32");
    const X x = contiguous(given), t = contiguous(wanted);
    return Tensor<common_scalar_t<E>, impl::is_none<R> ? X::rank - 1 : 0>(
        impl::soft_cross_entropy_of<common_scalar_t<E>>(x.record(), t.record(), options, impl::is_none<R>, impl::reduction_of(reduction)));
}
template <Expression E, class Y, LossReduction R>
[[nodiscard]] auto cross_entropy(E&& logits, Y&& labels, R reduction) {
    return cross_entropy(static_cast<E&&>(logits), static_cast<Y&&>(labels), CrossEntropyOptions<common_scalar_t<E>>(), reduction);
}

template <class T = float>
struct NllOptions {
    Tensor<T, 1> weight = {};  // of each class
    long ignore_index = -100;  // rows with this label count for nothing
};
// nll_loss(x[n, classes, ...], labels[n, ...]): -x[label] for logarithms of probabilities x, with weights, labels and reductions as
// in cross_entropy.
template <Expression E, impl::LabelType I, int L, LossReduction R = Reduction>
[[nodiscard]] auto nll_loss(E&& e, const Tensor<I, L>& labels, NllOptions<common_scalar_t<E>> options = {}, R reduction = {}) {
    const auto given = impl::as_tensor(static_cast<E&&>(e));
    using X = std::remove_const_t<decltype(given)>;
    impl::check_class_input<X>();
    static_assert(L == X::rank - 1, "tenon: nll_loss(x, labels): labels must have one axis less than x (all but the classes)");
    const X x = contiguous(given);
    const Tensor<I, L> y = contiguous(labels);
    return Tensor<common_scalar_t<E>, impl::is_none<R> ? L : 0>(
        impl::nll_loss_of<common_scalar_t<E>, I>(x.record(), y.record(), options.weight, options.ignore_index, impl::is_none<R>, impl::reduction_of(reduction)));
}
template <Expression E, class Y, LossReduction R>
[[nodiscard]] auto nll_loss(E&& x, Y&& labels, R reduction) {
    return nll_loss(static_cast<E&&>(x), static_cast<Y&&>(labels), NllOptions<common_scalar_t<E>>(), reduction);
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
