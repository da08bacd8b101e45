// Batch norm: every channel (axis 1) over all other axes, from the statistics of the batch or from running ones.
#pragma once

#include <tenon/kernels/cpu/batch_norm.hpp>
#include <tenon/ops/layer_norm.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/channel_norm.cuh>
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

struct BatchNormOptions {
    double eps = 1e-5;
    double momentum = 0.1;  // running = (1 - momentum) * running + momentum * of this batch
    bool relu = false;      // max(0, .) follows: in the same pass, and without keeping what comes between
};

namespace impl {

template <class T>
class BatchNormNode final : public detail::OperationNode<3> {
public:
    using A = kernels::cpu::accumulator<T>;
    BatchNormNode(detail::Record* x, detail::Record* weight, detail::Record* bias, AxisSplit split, bool training, double eps, bool relu, detail::AnyTensor mean,
                  detail::AnyTensor rstd)
        : OperationNode("batch_norm"), mean_(static_cast<detail::AnyTensor&&>(mean)), rstd_(static_cast<detail::AnyTensor&&>(rstd)), split_(split), training_(training), relu_(relu), eps_(eps) {
        set_input(0, x);
        x_.save(x);
        if (weight != nullptr) {
            set_input(1, weight);
            weight_.save(weight);
        }
        if (bias == nullptr) return;
        set_input(2, bias);
        if (relu) bias_.save(bias);
    }
    const void* kind() const noexcept override { return &detail::node_kind<BatchNormNode>; }
    const detail::Saved& x() const { return x_; }
    const detail::Saved& weight() const { return weight_; }
    const detail::Saved& bias() const { return bias_; }  // where relu follows
    bool relu() const { return relu_; }
    AxisSplit split() const { return split_; }
    bool training() const { return training_; }
    double eps() const { return eps_; }
    const detail::AnyTensor& mean() const { return mean_; }
    const detail::AnyTensor& rstd() const { return rstd_; }
    void release_saved() noexcept override { x_.tensor = weight_.tensor = bias_.tensor = mean_ = rstd_ = detail::AnyTensor(); }
    void backward() override {
        const T* x = reinterpret_cast<const T*>(x_.check(name)->data());
        const T* weight = weight_.tensor ? reinterpret_cast<const T*>(weight_.check(name)->data()) : nullptr;
        const T* dy = reinterpret_cast<const T*>(gradient()->data());
        const A *mean = reinterpret_cast<const A*>(mean_->data()), *rstd = reinterpret_cast<const A*>(rstd_->data());
        const long space = TENON_RUN(rstd_->storage->device, batch_norm_workspace(split_.outer, split_.n, split_.inner));
        const detail::AnyTensor workspace(detail::new_record(DType::float64, 1, &space, rstd_->storage->device));
        double* room = reinterpret_cast<double*>(workspace->data());
        const OptionalTarget<T> dx(edges_[0]), dw(edges_[1]), db(edges_[2]);
        const T* bias = bias_.tensor ? reinterpret_cast<const T*>(bias_.check(name)->data()) : nullptr;
        const auto run = [&]<bool Training, bool Relu>(std::bool_constant<Training>, std::bool_constant<Relu>) {
            TENON_RUN(rstd_->storage->device, batch_norm_backward<Training, Relu>(split_.outer, split_.n, split_.inner, x, weight, bias, mean, rstd, dy, dx.data, dx.add, dw.data,
                                                                                dw.add, db.data, db.add, room));
        };
        if (training_ && relu_) run(std::true_type(), std::true_type());
        else if (training_) run(std::true_type(), std::false_type());
        else if (relu_) run(std::false_type(), std::true_type());
        else run(std::false_type(), std::false_type());
    }

private:
    detail::Saved x_, weight_, bias_;
    detail::AnyTensor mean_, rstd_;
    AxisSplit split_;
    bool training_, relu_;
    double eps_;
};

// Each of weight, bias and the running statistics may be null. With running statistics and training they are updated;
// without training they are what x is normalised by.
template <class T>
detail::AnyTensor channel_norm(detail::Record* x, detail::Record* weight, detail::Record* bias, detail::Record* running_mean, detail::Record* running_variance,
                               bool training, const BatchNormOptions& options) {
    using A = kernels::cpu::accumulator<T>;
    const Device device = x->storage->device;
    check_device("batch_norm", device);
    const AxisSplit split = split_at(x, 1);
    const char* names[] = {"weight", "bias", "running_mean", "running_var"};
    detail::Record* given[] = {weight, bias, running_mean, running_variance};
    for (int k = 0; k < 4; ++k) {
        if (given[k] == nullptr) continue;
        if (given[k]->size != split.n)
            fail<ShapeError>("batch_norm: ", names[k], " is ", given[k]->description(), ", input is ", x->description(), ": expected one element for each of the ",
                             split.n, " channels (axis 1)");
        if (!(given[k]->storage->device == device)) fail_devices("batch_norm", device, given[k]->storage->device);
    }
    if (!training && (running_mean == nullptr || running_variance == nullptr))
        fail<ValueError>("batch_norm: not training, and no running statistics came: they are what the input is normalised by");
    if (!(options.eps >= 0)) fail<ValueError>("batch_norm: eps is ", options.eps, ", expected 0 or more");
    const long points = split.outer * split.inner;
    if (training && points == 1)
        fail<ValueError>("batch_norm: one value per channel in ", x->description(), ": the variance of a batch needs more\n       hint: a larger batch, or inference");
    detail::AnyTensor y(detail::new_record(dtype_of<T>, x->rank, x->dims(), device, "batch_norm"));
    detail::AnyTensor mean(detail::new_record(statistics_dtype<A>(), 1, &split.n, device)), rstd(detail::new_record(statistics_dtype<A>(), 1, &split.n, device));
    A *m = reinterpret_cast<A*>(mean->data()), *s = reinterpret_cast<A*>(rstd->data());
    const T *from = reinterpret_cast<const T*>(x->data()), *w = weight ? reinterpret_cast<const T*>(weight->data()) : nullptr,
            *b = bias ? reinterpret_cast<const T*>(bias->data()) : nullptr;
    T* to = reinterpret_cast<T*>(y->data());
    const A low = options.relu ? A(0) : -static_cast<A>(__builtin_inff());
    if (training) {
        const long space = TENON_RUN(device, batch_norm_workspace(split.outer, split.n, split.inner));
        const detail::AnyTensor workspace(detail::new_record(DType::float64, 1, &space, device)), variance(detail::new_record(statistics_dtype<A>(), 1, &split.n, device));
        TENON_RUN(device, batch_norm(split.outer, split.n, split.inner, from, w, b, options.eps, to, m, reinterpret_cast<A*>(variance->data()), s,
                                 reinterpret_cast<double*>(workspace->data()), low));
        if (points > 0) {
            // The running variance is the unbiased one.
            const double unbiased = static_cast<double>(points) / static_cast<double>(points - 1);
            const auto move = [&](detail::Record* r, const detail::AnyTensor& now, double factor) {
                TENON_RUN(device, move_running(split.n, reinterpret_cast<const A*>(now->data()), options.momentum, factor, reinterpret_cast<T*>(r->data()), r->strides()[0]));
            };
            if (running_mean != nullptr) move(running_mean, mean, 1);
            if (running_variance != nullptr) move(running_variance, variance, unbiased);
            for (detail::Record* r : {running_mean, running_variance})
                if (r != nullptr) detail::note_write(r->storage, "batch_norm");
        }
    } else {
        TENON_RUN(device, read_running(split.n, reinterpret_cast<const T*>(running_mean->data()), running_mean->strides()[0],
                                       reinterpret_cast<const T*>(running_variance->data()), running_variance->strides()[0], options.eps, m, s));
        TENON_RUN(device, batch_norm_with(split.outer, split.n, split.inner, from, w, b, m, s, to, low));
    }
    if (detail::wants_gradient(x) || (weight != nullptr && detail::wants_gradient(weight)) || (bias != nullptr && detail::wants_gradient(bias)))
        detail::make_node<BatchNormNode<T>>(x, weight, bias, split, training, options.eps, options.relu, static_cast<detail::AnyTensor&&>(mean), static_cast<detail::AnyTensor&&>(rstd))
            ->set_result(y.get());
    return y;
}

template <class T, class E>
auto batch_norm_of(E&& e, const Tensor<T, 1>& weight, const Tensor<T, 1>& bias, const Tensor<T, 1>& running_mean, const Tensor<T, 1>& running_variance, bool training,
                   const BatchNormOptions& options) {
    const auto given = as_tensor(static_cast<E&&>(e));
    using X = std::remove_const_t<decltype(given)>;
    static_assert(Floating<T>, "tenon: batch_norm: the input must be floating-point: write cast<float>(x) first");
    static_assert(X::rank >= 2, "tenon: batch_norm: the input must be [N, C] or [N, C, ...]");
    const X x = contiguous(given);
    const Tensor<T, 1> w = contiguous_or_empty(weight), b = contiguous_or_empty(bias);
    return X(channel_norm<T>(x.record(), record_or_null(w), record_or_null(b), record_or_null(running_mean), record_or_null(running_variance), training, options));
}

}  // namespace impl

// batch_norm(x, weight, bias): (x - mean) / sqrt(variance + eps) * weight + bias (Ioffe and Szegedy 2015) for x [N, C] or [N, C,
// ...], with mean and variance (divided by the count) of each channel over all other axes. weight and bias [C]; an empty
// handle leaves one out. running_mean and running_var [C], where given, move towards this batch's statistics (the unbiased
// variance) by options.momentum, unrecorded. With options.relu, max(0, .) of it in the
// same pass. Floating types, 16-bit ones with float statistics. Throws ShapeError where sizes
// differ, ValueError where a channel has one value only. Derivatives of x, weight and bias in one pass.
template <Expression E>
[[nodiscard]] auto batch_norm(E&& x, const Tensor<common_scalar_t<E>, 1>& weight = {}, const Tensor<common_scalar_t<E>, 1>& bias = {},
                              const Tensor<common_scalar_t<E>, 1>& running_mean = {}, const Tensor<common_scalar_t<E>, 1>& running_var = {},
                              BatchNormOptions options = {}) {
    return impl::batch_norm_of<common_scalar_t<E>>(static_cast<E&&>(x), weight, bias, running_mean, running_var, true, options);
}
// The same for inference: normalised by the running statistics, which stay as they are and are constants to the derivative.
template <Expression E>
[[nodiscard]] auto batch_norm_inference(E&& x, const Tensor<common_scalar_t<E>, 1>& weight, const Tensor<common_scalar_t<E>, 1>& bias,
                                        const Tensor<common_scalar_t<E>, 1>& running_mean, const Tensor<common_scalar_t<E>, 1>& running_var,
                                        BatchNormOptions options = {}) {
    return impl::batch_norm_of<common_scalar_t<E>>(static_cast<E&&>(x), weight, bias, running_mean, running_var, false, options);
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
