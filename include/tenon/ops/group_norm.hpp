// Group norm, instance norm and local response norm of images.
#pragma once

#include <tenon/kernels/cpu/group_norm.hpp>
#include <tenon/ops/batch_norm.hpp>
#include <tenon/ops/pool.hpp>
#include <tenon/ops/reduce.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/group_norm.cuh>
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

template <class T>
class GroupNormNode final : public detail::OperationNode<3> {
public:
    using A = kernels::cpu::accumulator<T>;
    GroupNormNode(const char* operation, detail::Record* x, detail::Record* weight, detail::Record* bias, const kernels::cpu::GroupShape& shape, double eps,
                  detail::AnyTensor mean, detail::AnyTensor rstd)
        : OperationNode(operation), mean_(static_cast<detail::AnyTensor&&>(mean)), rstd_(static_cast<detail::AnyTensor&&>(rstd)), shape_(shape), eps_(eps) {
        set_input(0, x);
        x_.save(x);
        if (weight != nullptr) {
            set_input(1, weight);
            weight_.save(weight);
        }
        if (bias != nullptr) set_input(2, bias);
    }
    const void* kind() const noexcept override { return &detail::node_kind<GroupNormNode>; }
    const detail::Saved& x() const { return x_; }
    const detail::Saved& weight() const { return weight_; }
    const kernels::cpu::GroupShape& shape() const { return shape_; }
    double eps() const { return eps_; }
    void release_saved() noexcept override { x_.tensor = weight_.tensor = mean_ = rstd_ = detail::AnyTensor(); }
    void backward() override {
        const Device device = rstd_->storage->device;
        const T* x = reinterpret_cast<const T*>(x_.check(name)->data());
        const T* weight = weight_.tensor ? reinterpret_cast<const T*>(weight_.check(name)->data()) : nullptr;
        const long space = TENON_RUN(device, group_norm_workspace(shape_));
        const detail::AnyTensor workspace(detail::new_record(DType::float64, 1, &space, device));
        const OptionalTarget<T> dx(edges_[0]), dw(edges_[1]), db(edges_[2]);
        TENON_RUN(device, group_norm_backward(shape_, x, weight, reinterpret_cast<const A*>(mean_->data()), reinterpret_cast<const A*>(rstd_->data()),
                                              reinterpret_cast<const T*>(gradient()->data()), dx.data, dx.add, dw.data, dw.add, db.data, db.add,
                                              reinterpret_cast<double*>(workspace->data())));
    }

private:
    detail::Saved x_, weight_;
    detail::AnyTensor mean_, rstd_;
    kernels::cpu::GroupShape shape_;
    double eps_;
};

// A contiguous x [N, C, ...]; weight and bias may be null.
template <class T>
detail::AnyTensor grouped_norm(const char* operation, detail::Record* x, long groups, detail::Record* weight, detail::Record* bias, double eps) {
    using A = kernels::cpu::accumulator<T>;
    const Device device = x->storage->device;
    check_device(operation, device);
    const AxisSplit split = split_at(x, 1);
    if (groups < 1 || split.n % groups != 0)
        fail<ShapeError>(operation, ": ", groups, " groups of the ", split.n, " channels (axis 1) of ", x->description(), ": expected a number that divides them");
    for (const detail::Record* p : {weight, bias}) {
        if (p == nullptr) continue;
        if (p->size != split.n)
            fail<ShapeError>(operation, ": ", p == weight ? "weight" : "bias", " is ", p->description(), ", input is ", x->description(), ": expected one element for each of the ",
                             split.n, " channels (axis 1)");
        if (!(p->storage->device == device)) fail_devices(operation, device, p->storage->device);
    }
    if (!(eps >= 0)) fail<ValueError>(operation, ": eps is ", eps, ", expected 0 or more");
    const kernels::cpu::GroupShape shape{split.outer, groups, split.n / groups, split.inner};
    const long rows = shape.rows();
    detail::AnyTensor y(detail::new_record(dtype_of<T>, x->rank, x->dims(), device, operation));
    detail::AnyTensor mean(detail::new_record(statistics_dtype<A>(), 1, &rows, device)), rstd(detail::new_record(statistics_dtype<A>(), 1, &rows, device));
    TENON_RUN(device, group_norm(shape, reinterpret_cast<const T*>(x->data()), weight ? reinterpret_cast<const T*>(weight->data()) : nullptr,
                                 bias ? reinterpret_cast<const T*>(bias->data()) : nullptr, eps, reinterpret_cast<T*>(y->data()), reinterpret_cast<A*>(mean->data()),
                                 reinterpret_cast<A*>(rstd->data())));
    if (detail::wants_gradient(x) || (weight != nullptr && detail::wants_gradient(weight)) || (bias != nullptr && detail::wants_gradient(bias)))
        detail::make_node<GroupNormNode<T>>(operation, x, weight, bias, shape, eps, static_cast<detail::AnyTensor&&>(mean), static_cast<detail::AnyTensor&&>(rstd))
            ->set_result(y.get());
    return y;
}

template <class T, class E>
auto grouped_norm_of(const char* operation, E&& e, long groups, const Tensor<T, 1>& weight, const Tensor<T, 1>& bias, double eps) {
    const auto given = as_tensor(static_cast<E&&>(e));
    using X = std::remove_const_t<decltype(given)>;
    static_assert(Floating<T>, "tenon: group_norm, instance_norm: the input must be floating-point: write cast<float>(x) first");
    static_assert(X::rank >= 2, "tenon: group_norm, instance_norm: the input must be [N, C, ...]");
    const X x = contiguous(given);
    const Tensor<T, 1> w = contiguous_or_empty(weight), b = contiguous_or_empty(bias);
    return X(grouped_norm<T>(operation, x.record(), groups < 0 ? x.shape(1) : groups, record_or_null(w), record_or_null(b), eps));
}

}  // namespace impl

// group_norm(x, groups, weight, bias): (x - mean) / sqrt(variance + eps) * weight + bias (Wu and He 2018) for x [N, C, ...], with
// mean and variance (divided by the count) of each image's channels in `groups` equal groups. weight and bias [C]; an empty handle
// leaves one out. Floating types, 16-bit ones with float statistics. Throws ShapeError, ValueError. Derivatives of x, weight and
// bias in one pass.
template <Expression E>
[[nodiscard]] auto group_norm(E&& x, long groups, const Tensor<common_scalar_t<E>, 1>& weight = {}, const Tensor<common_scalar_t<E>, 1>& bias = {}, double eps = 1e-5) {
    return impl::grouped_norm_of<common_scalar_t<E>>("group_norm", static_cast<E&&>(x), groups < 0 ? 0 : groups, weight, bias, eps);
}
// instance_norm(x, weight, bias): the same with a group for each channel (Ulyanov et al. 2016).
template <Expression E>
[[nodiscard]] auto instance_norm(E&& x, const Tensor<common_scalar_t<E>, 1>& weight = {}, const Tensor<common_scalar_t<E>, 1>& bias = {}, double eps = 1e-5) {
    const auto given = impl::as_tensor(static_cast<E&&>(x));
    if (given.shape(0) * given.shape(1) > 0 && given.size() == given.shape(0) * given.shape(1))
        fail<ValueError>("instance_norm: one value per channel in ", given.record()->description(), ": the variance of an image needs more");
    return impl::grouped_norm_of<common_scalar_t<E>>("instance_norm", given, -1, weight, bias, eps);
}

struct LocalResponseOptions { double alpha = 1e-4, beta = 0.75, k = 1; };
// local_response_norm(x, size): x / (k + alpha * mean of x^2 over `size` neighbouring channels)^beta for x [N, C, ...], zeros beyond
// the first and last channel (Krizhevsky et al. 2012, with PyTorch's mean).
template <Expression E>
[[nodiscard]] auto local_response_norm(E&& e, long size, LocalResponseOptions options = {}) {
    const auto x = contiguous(impl::as_tensor(static_cast<E&&>(e)));
    using X = std::remove_const_t<decltype(x)>;
    static_assert(X::rank >= 3, "tenon: local_response_norm: the input must be [N, C, L, ...]");
    if (size < 1) fail<ValueError>("local_response_norm: size ", size, ", expected at least 1");
    const long n = x.shape(0), c = x.shape(1), inner = n * c == 0 ? 0 : x.size() / (n * c);
    // Channels as the first spatial axis of an image. Before them lie size / 2 zeros, after them (size - 1) / 2.
    const auto squares = eval(square(x)).reshape({n, 1l, c, inner});
    kernels::cpu::BandAxis axes[2];
    axes[0].in = axes[0].out = c;
    axes[0].kernel = size;
    axes[0].padding = size / 2;
    axes[0].override = static_cast<double>(size);
    axes[1].in = axes[1].out = inner;
    axes[1].override = 1;
    using T = typename X::Scalar;
    const Tensor<T, 4> means(impl::apply_band<T>("local_response_norm", squares.record(), impl::BandMap(squares.record(), 2, axes)));
    const X around(detail::reshape_any(means.record(), X::rank, x.record()->dims()));
    return eval(x / pow(around * options.alpha + options.k, options.beta));
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
