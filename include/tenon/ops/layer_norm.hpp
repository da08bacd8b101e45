// Normalisation: of rows over their last axes (layer norm, RMS norm) and of channels over everything else (batch norm).
#pragma once

#include <tenon/autograd/operation_node.hpp>
#include <tenon/kernels/cpu/layer_norm.hpp>
#include <tenon/ops/axis.hpp>
#include <tenon/ops/copy.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/norm.cuh>
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

namespace impl {

template <class A>
constexpr DType statistics_dtype() { return std::is_same_v<A, double> ? DType::float64 : DType::float32; }

template <class T>
const T* data_or_null(const detail::AnyTensor& x) { return x ? reinterpret_cast<const T*>(x->data()) : nullptr; }

// The gradient of a tensor that may want none: where it goes, and whether it is added to.
template <class T>
struct OptionalTarget {
    T* data = nullptr;
    bool add = false;
    explicit OptionalTarget(Edge edge) {
        if (edge.node == nullptr) return;
        const detail::GradientTarget to = detail::gradient_target(edge);
        data = reinterpret_cast<T*>(to.record->data());
        add = to.mode == 2;
    }
};

template <class T, bool Centred>
class LayerNormNode final : public detail::OperationNode<3> {
public:
    using A = kernels::cpu::accumulator<T>;
    LayerNormNode(detail::Record* x, detail::Record* weight, detail::Record* bias, long rows, long n, double eps, detail::AnyTensor mean,
                  detail::AnyTensor rstd)
        : OperationNode(Centred ? "layer_norm" : "rms_norm"),
          mean_(static_cast<detail::AnyTensor&&>(mean)), rstd_(static_cast<detail::AnyTensor&&>(rstd)), rows_(rows), n_(n), eps_(eps) {
        set_input(0, x);
        x_.save(x);
        if (weight != nullptr) {
            set_input(1, weight);
            weight_.save(weight);
        }
        if (bias != nullptr) set_input(2, bias);
    }
    const void* kind() const noexcept override { return &detail::node_kind<LayerNormNode>; }
    const detail::Saved& x() const { return x_; }
    const detail::Saved& weight() const { return weight_; }
    long rows() const { return rows_; }
    long n() const { return n_; }
    double eps() const { return eps_; }
    void release_saved() noexcept override { x_.tensor = weight_.tensor = mean_ = rstd_ = detail::AnyTensor(); }
    void backward() override {
        const T* x = reinterpret_cast<const T*>(x_.check(name)->data());
        const T* weight = weight_.tensor ? reinterpret_cast<const T*>(weight_.check(name)->data()) : nullptr;
        const long space = TENON_RUN(rstd_->storage->device, layer_norm_workspace(rows_, n_));
        const detail::AnyTensor workspace(detail::new_record(statistics_dtype<A>(), 1, &space, rstd_->storage->device));
        const OptionalTarget<T> dx(edges_[0]), dweight(edges_[1]), dbias(edges_[2]);
        TENON_RUN(rstd_->storage->device, layer_norm_backward<Centred>(rows_, n_, x, weight, data_or_null<A>(mean_), reinterpret_cast<const A*>(rstd_->data()),
                                                   reinterpret_cast<const T*>(gradient()->data()), dx.data, dx.add, dweight.data, dweight.add, dbias.data,
                                                   dbias.add, reinterpret_cast<A*>(workspace->data())));
    }

private:
    detail::Saved x_, weight_;
    detail::AnyTensor mean_, rstd_;
    long rows_, n_;
    double eps_;
};

// weight and bias may be null; they have the sizes of the last `axes` axes of x.
template <class T, bool Centred>
detail::AnyTensor row_norm(detail::Record* x, int axes, detail::Record* weight, detail::Record* bias, double eps) {
    using A = kernels::cpu::accumulator<T>;
    const char* name = Centred ? "layer_norm" : "rms_norm";
    const Device device = x->storage->device;
    check_device(name, device);
    for (const detail::Record* p : {weight, bias}) {
        if (p == nullptr) continue;
        for (int i = 0; i < axes; ++i)
            if (p->dims()[i] != x->dims()[x->rank - axes + i])
                fail<ShapeError>(name, ": ", p == weight ? "weight" : "bias", " is ", p->description(), ", input is ", x->description(), ": expected the sizes of the last ",
                                 axes, axes == 1 ? " axis" : " axes", " of the input");
        if (!(p->storage->device == device)) fail_devices(name, device, p->storage->device);
    }
    if (!(eps >= 0)) fail<ValueError>(name, ": eps is ", eps, ", expected 0 or more");
    long rows = 1, n = 1;
    for (int i = 0; i < x->rank; ++i) (i < x->rank - axes ? rows : n) *= x->dims()[i];
    detail::AnyTensor y(detail::new_record(dtype_of<T>, x->rank, x->dims(), device, name)), mean;
    detail::AnyTensor rstd(detail::new_record(statistics_dtype<A>(), 1, &rows, device));
    if constexpr (Centred) mean = detail::AnyTensor(detail::new_record(statistics_dtype<A>(), 1, &rows, device));
    TENON_RUN(device, layer_norm<Centred>(rows, n, reinterpret_cast<const T*>(x->data()), weight ? reinterpret_cast<const T*>(weight->data()) : nullptr,
                                      bias ? reinterpret_cast<const T*>(bias->data()) : nullptr, eps, reinterpret_cast<T*>(y->data()),
                                      mean ? reinterpret_cast<A*>(mean->data()) : nullptr, reinterpret_cast<A*>(rstd->data())));
    if (detail::wants_gradient(x) || (weight != nullptr && detail::wants_gradient(weight)) || (bias != nullptr && detail::wants_gradient(bias)))
        detail::make_node<LayerNormNode<T, Centred>>(x, weight, bias, rows, n, eps, static_cast<detail::AnyTensor&&>(mean), static_cast<detail::AnyTensor&&>(rstd))
            ->set_result(y.get());
    return y;
}

// A handle on contiguous memory; empty stays empty.
template <class T, int R>
Tensor<T, R> contiguous_or_empty(const Tensor<T, R>& x) { return x.has_value() ? contiguous(x) : x; }
template <class T, int R>
detail::Record* record_or_null(const Tensor<T, R>& x) { return x.has_value() ? x.record() : nullptr; }

template <bool Centred, int Axes, class E, class T>
auto row_norm_of(E&& e, const Tensor<T, Axes>& weight, const Tensor<T, Axes>& bias, double eps) {
    const auto given = as_tensor(static_cast<E&&>(e));
    using X = std::remove_const_t<decltype(given)>;
    static_assert(Floating<T>, "tenon: layer_norm, rms_norm: the input must be floating-point: write cast<float>(x) first");
    static_assert(Axes >= 1 && Axes <= X::rank, "tenon: layer_norm<Axes>, rms_norm<Axes>: the number of normalised axes is 1 to the input's rank");
    const X x = contiguous(given);
    const Tensor<T, Axes> w = contiguous_or_empty(weight), b = contiguous_or_empty(bias);
    return X(row_norm<T, Centred>(x.record(), Axes, record_or_null(w), record_or_null(b), eps));
}

}  // namespace impl

// layer_norm(x, weight, bias): (x - mean) / sqrt(variance + eps) * weight + bias (Ba et al. 2016), with mean and variance
// (squared distances divided by the count) of each row of the last axes: as many as weight has, or layer_norm<Axes>(x). weight
// and bias have the sizes of those axes; an empty handle leaves one out. Floating types, 16-bit ones with float statistics.
// Throws ShapeError where sizes differ, ValueError on eps < 0. Derivatives of x, weight and bias in one pass.
template <int Axes = 1, Expression E>
[[nodiscard]] auto layer_norm(E&& x, double eps = 1e-5) {
    using T = common_scalar_t<E>;
    return impl::row_norm_of<true, Axes>(static_cast<E&&>(x), Tensor<T, Axes>(), Tensor<T, Axes>(), eps);
}
template <Expression E, int Axes>
[[nodiscard]] auto layer_norm(E&& x, const Tensor<common_scalar_t<E>, Axes>& weight, const Tensor<common_scalar_t<E>, Axes>& bias = {}, double eps = 1e-5) {
    return impl::row_norm_of<true, Axes>(static_cast<E&&>(x), weight, bias, eps);
}
// rms_norm(x, weight): x / sqrt(mean(x^2) + eps) * weight (Zhang and Sennrich 2019) over the last axes, as layer_norm. By
// default eps is the distance from 1 to the next number of the type that statistics are kept in, as PyTorch's.
template <int Axes = 1, Expression E>
[[nodiscard]] auto rms_norm(E&& x, double eps = -1) {
    using T = common_scalar_t<E>;
    return impl::row_norm_of<false, Axes>(static_cast<E&&>(x), Tensor<T, Axes>(), Tensor<T, Axes>(), eps == -1 ? (std::is_same_v<T, double> ? 0x1p-52 : 0x1p-23) : eps);
}
template <Expression E, int Axes>
[[nodiscard]] auto rms_norm(E&& x, const Tensor<common_scalar_t<E>, Axes>& weight, double eps = -1) {
    using T = common_scalar_t<E>;
    return impl::row_norm_of<false, Axes>(static_cast<E&&>(x), weight, Tensor<T, Axes>(), eps == -1 ? (std::is_same_v<T, double> ? 0x1p-52 : 0x1p-23) : eps);
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
