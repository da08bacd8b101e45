// Connectionist temporal classification: sequences of labels without alignment to the input.
#pragma once

#include <tenon/kernels/cpu/ctc.hpp>
#include <tenon/ops/cross_entropy.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

struct CtcOptions {
    long blank = 0;
    bool zero_infinity = false;  // sequences without an alignment count as 0, with zero gradient, rather than inf and NaN
};

namespace impl {

// Lengths and starts of the sequences of a batch, checked.
struct CtcBatch {
    long time, batch, classes, most;
    detail::AnyTensor numbers;  // int64 [3, batch]: first, input length, target length
    long* first() const { return reinterpret_cast<long*>(numbers->data()); }
    long* input_lengths() const { return first() + batch; }
    long* target_lengths() const { return first() + 2 * batch; }
};
template <class I>
CtcBatch ctc_batch(const detail::Record* x, const detail::Record* targets, const Tensor<I, 1>& input_lengths, const Tensor<I, 1>& target_lengths, long blank) {
    CtcBatch b{x->dims()[0], x->dims()[1], x->dims()[2], 0, {}};
    for (const Tensor<I, 1>* lengths : {&input_lengths, &target_lengths})
        if (lengths->size() != b.batch)
            fail<ShapeError>("ctc_loss: log_probs are ", x->description(), ", ", lengths == &input_lengths ? "input" : "target", "_lengths ", lengths->record()->description(),
                             ": expected one length for each of the ", b.batch, " sequences (axis 1)");
    if (blank < 0 || blank >= b.classes) fail<IndexError>("ctc_loss: blank is ", blank, ", outside of [0, ", b.classes, ")");
    const bool padded = targets->rank == 2;
    if (padded && targets->dims()[0] != b.batch)
        fail<ShapeError>("ctc_loss: log_probs are ", x->description(), ", targets ", targets->description(), ": expected one row for each of the ", b.batch, " sequences");
    const long sizes[] = {3, b.batch};
    b.numbers = detail::AnyTensor(detail::new_record(DType::int64, 2, sizes, x->storage->device));
    long at = 0;
    for (long n = 0; n < b.batch; ++n) {
        const long in = static_cast<long>(input_lengths.data()[n * input_lengths.stride(0)]), out = static_cast<long>(target_lengths.data()[n * target_lengths.stride(0)]);
        if (in < 0 || in > b.time) fail<ValueError>("ctc_loss: input length ", in, " of sequence ", n, ", expected 0 to ", b.time, " (axis 0 of ", x->description(), ")");
        const long room = padded ? targets->dims()[1] : targets->dims()[0] - at;
        if (out < 0 || out > room) fail<ValueError>("ctc_loss: target length ", out, " of sequence ", n, ", expected 0 to ", room, " (targets are ", targets->description(), ")");
        b.first()[n] = padded ? n * targets->dims()[1] : at;
        b.input_lengths()[n] = in;
        b.target_lengths()[n] = out;
        at += out;
        if (out > b.most) b.most = out;
        const I* labels = reinterpret_cast<const I*>(targets->data()) + b.first()[n];
        for (long k = 0; k < out; ++k)
            if (labels[k] < 0 || static_cast<long>(labels[k]) >= b.classes)
                fail<IndexError>("ctc_loss: label ", static_cast<long long>(labels[k]), " at ", k, " of sequence ", n, " is outside of [0, ", b.classes, ")");
    }
    if (!padded && at != targets->dims()[0])
        fail<ShapeError>("ctc_loss: target lengths add up to ", at, ", targets are ", targets->description());
    return b;
}

template <class T, class I>
class CtcNode final : public detail::OperationNode<1> {
public:
    using A = kernels::cpu::accumulator<T>;
    CtcNode(detail::Record* x, detail::Record* targets, CtcBatch batch, CtcOptions options, detail::AnyTensor alphas, detail::AnyTensor totals, detail::AnyTensor losses,
            bool none, Reduction reduction)
        : OperationNode("ctc_loss"), batch_(static_cast<CtcBatch&&>(batch)), options_(options), alphas_(static_cast<detail::AnyTensor&&>(alphas)),
          totals_(static_cast<detail::AnyTensor&&>(totals)), losses_(static_cast<detail::AnyTensor&&>(losses)), none_(none), reduction_(reduction) {
        set_input(0, x);
        x_.save(x);
        targets_.save(targets);
    }
    void release_saved() noexcept override { x_.tensor = targets_.tensor = batch_.numbers = alphas_ = totals_ = losses_ = detail::AnyTensor(); }
    void backward() override {
        const detail::Record *x = x_.check(name), *targets = targets_.check(name);
        const long space = kernels::cpu::ctc_scratch(batch_.batch, batch_.classes, batch_.most);
        const detail::AnyTensor scratch(detail::new_record(accumulator_dtype<A>(), 1, &space, x->storage->device)), scale(detail::new_record(DType::float64, 1, &batch_.batch, x->storage->device));
        const double* losses = reinterpret_cast<const double*>(losses_->data());
        double* factors = reinterpret_cast<double*>(scale->data());
        const T* dy = reinterpret_cast<const T*>(gradient()->data());
        for (long n = 0; n < batch_.batch; ++n) {
            const double given = static_cast<double>(static_cast<A>(dy[none_ ? n : 0]));
            factors[n] = options_.zero_infinity && losses[n] == __builtin_inf() ? 0 : given * sequence_scale(batch_, n, none_, reduction_);
        }
        const detail::GradientTarget to = detail::gradient_target(edges_[0]);
        kernels::cpu::ctc_loss_backward(batch_.time, batch_.batch, batch_.classes, reinterpret_cast<const T*>(x->data()), reinterpret_cast<const I*>(targets->data()), batch_.first(),
                                        batch_.input_lengths(), batch_.target_lengths(), batch_.most, options_.blank, losses, reinterpret_cast<A*>(alphas_->data()),
                                        reinterpret_cast<double*>(totals_->data()), reinterpret_cast<A*>(scratch->data()), factors, reinterpret_cast<T*>(to.record->data()),
                                        to.mode == 2);
    }
    // The factor of one sequence's loss. The mean is over sequences, each divided by its number of labels.
    static double sequence_scale(const CtcBatch& batch, long n, bool none, Reduction reduction) {
        if (none || reduction == Reduction::sum) return 1;
        const double share = 1 / static_cast<double>(batch.batch);
        if (reduction == Reduction::batch_mean) return share;
        const long labels = batch.target_lengths()[n];
        return share / static_cast<double>(labels > 0 ? labels : 1);
    }

private:
    detail::Saved x_, targets_;
    CtcBatch batch_;
    CtcOptions options_;
    detail::AnyTensor alphas_, totals_, losses_;
    bool none_;
    Reduction reduction_;
};

template <class T, class I>
detail::AnyTensor ctc_loss_of(detail::Record* x, detail::Record* targets, const Tensor<I, 1>& input_lengths, const Tensor<I, 1>& target_lengths, CtcOptions options, bool none,
                              Reduction reduction) {
    using A = kernels::cpu::accumulator<T>;
    const Device device = x->storage->device;
    check_cpu("ctc_loss", device);
    CtcBatch batch = ctc_batch(x, targets, input_lengths, target_lengths, options.blank);
    const long elements = kernels::cpu::ctc_alphas(batch.batch, batch.time, batch.most), steps = batch.batch * batch.time,
               space = kernels::cpu::ctc_scratch(batch.batch, batch.classes, batch.most);
    detail::AnyTensor alphas(detail::new_record(accumulator_dtype<A>(), 1, &elements, device)), totals(detail::new_record(DType::float64, 1, &steps, device)),
        losses(detail::new_record(DType::float64, 1, &batch.batch, device));
    const detail::AnyTensor scratch(detail::new_record(accumulator_dtype<A>(), 1, &space, device));
    double* loss = reinterpret_cast<double*>(losses->data());
    kernels::cpu::ctc_loss(batch.time, batch.batch, batch.classes, reinterpret_cast<const T*>(x->data()), reinterpret_cast<const I*>(targets->data()), batch.first(),
                           batch.input_lengths(), batch.target_lengths(), batch.most, options.blank, loss, reinterpret_cast<A*>(alphas->data()),
                           reinterpret_cast<double*>(totals->data()), reinterpret_cast<A*>(scratch->data()));
    detail::AnyTensor result(detail::new_record(dtype_of<T>, none ? 1 : 0, &batch.batch, device, "ctc_loss"));
    T* to = reinterpret_cast<T*>(result->data());
    double total = batch.batch == 0 && reduction != Reduction::sum ? __builtin_nan("") : 0;
    for (long n = 0; n < batch.batch; ++n) {
        const double value = options.zero_infinity && loss[n] == __builtin_inf() ? 0 : loss[n];
        if (none) to[n] = static_cast<T>(static_cast<A>(value));
        total += value * CtcNode<T, I>::sequence_scale(batch, n, none, reduction);
    }
    if (!none) *to = static_cast<T>(static_cast<A>(total));
    if (detail::wants_gradient(x))
        detail::make_node<CtcNode<T, I>>(x, targets, static_cast<CtcBatch&&>(batch), options, static_cast<detail::AnyTensor&&>(alphas), static_cast<detail::AnyTensor&&>(totals),
                                         static_cast<detail::AnyTensor&&>(losses), none, reduction)
            ->set_result(result.get());
    return result;
}

}  // namespace impl

// ctc_loss(log_probs[time, n, classes], targets, input_lengths[n], target_lengths[n]): -log of the probability that the n-th input
// says its targets, over all alignments (Graves et al. 2006). log_probs come from log_softmax over the classes, targets are
// padded rows [n, most] or one sequence after the other [sum of target_lengths], int64 or int32 as the lengths. mean divides each
// loss by its number of targets (at least 1), then by n; no_reduction gives [n]. A target that does not fit into its input has
// loss inf (see zero_infinity). Throws ShapeError, IndexError for a label or blank out of range, ValueError for a length.
// Derivative: that in the logits before log_softmax, which log_softmax passes on as it is (PyTorch's); not in log_probs taken
// for themselves.
template <Expression E, impl::LabelType I, int L, LossReduction R = Reduction>
[[nodiscard]] auto ctc_loss(E&& log_probs, const Tensor<I, L>& targets, const Tensor<I, 1>& input_lengths, const Tensor<I, 1>& target_lengths, CtcOptions options = {},
                            R reduction = {}) {
    using T = common_scalar_t<E>;
    static_assert(L == 1 || L == 2, "tenon: ctc_loss: targets must be [n, most] or all labels one after the other");
    static_assert(Floating<T>, "tenon: ctc_loss: log_probs must be floating-point");
    using Result = Tensor<T, impl::is_none<R> ? 1 : 0>;
    const Tensor<T, 3> given = contiguous(Tensor<T, 3>(impl::as_tensor(static_cast<E&&>(log_probs))));
    const Device device = given.device();
    for (Device other : {targets.device(), input_lengths.device(), target_lengths.device()})
        if (!(other == device)) impl::fail_devices("ctc_loss", device, other);
    // A recursion of many short steps: from a device it goes through the host, and its gradient back.
    const Tensor<T, 3> x = given.to(cpu);
    const Tensor<I, L> labels = contiguous(targets.to(cpu));
    const Result result(
        impl::ctc_loss_of<T, I>(x.record(), labels.record(), input_lengths.to(cpu), target_lengths.to(cpu), options, impl::is_none<R>, impl::reduction_of(reduction)));
    return Result(result.to(device));
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
