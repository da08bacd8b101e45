// Pooling of images [N, C, sizes...] (or [C, sizes...]) with one, two or three spatial axes: the largest element, the average or
// the p-norm of windows. Channels-last inputs are read as they lie, and give channels-last results.
#pragma once

#include <tenon/kernels/cpu/max_pool.hpp>
#include <tenon/ops/band.hpp>
#include <tenon/ops/extreme.hpp>
#include <tenon/ops/reduce.hpp>
#include <tenon/ops/scatter.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/max_pool.cuh>
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

// stride 0: the kernel's size. ceil_mode: windows that reach beyond the end are kept, as long as they begin before it.
template <int D>
struct MaxPoolOptions {
    PerAxis<D> stride = 0, padding = 0, dilation = 1;
    bool ceil_mode = false;
};
// count_include_pad: the padding's zeros count as elements. divisor_override: what sums are divided by; 0: the windows' sizes.
template <int D>
struct AvgPoolOptions {
    PerAxis<D> stride = 0, padding = 0;
    bool ceil_mode = false, count_include_pad = true;
    long divisor_override = 0;
};
template <int D>
struct LpPoolOptions {
    PerAxis<D> stride = 0;
    bool ceil_mode = false;
};
// output_size 0: (input - 1) * stride - 2 * padding + kernel.
template <int D>
struct MaxUnpoolOptions {
    PerAxis<D> stride = 0, padding = 0, output_size = 0;
};

namespace impl {

// The sizes of windows along one axis, checked; PyTorch's rules.
inline long pool_output(const char* operation, const detail::Record* x, int axis, long kernel, long stride, long padding, long dilation, bool ceil_mode) {
    const long in = x->dims()[axis];
    if (kernel < 1 || stride < 1 || dilation < 1 || padding < 0)
        fail<ValueError>(operation, ": kernel ", kernel, ", stride ", stride, ", dilation ", dilation, ", padding ", padding,
                         ": expected at least 1 each, and no negative padding");
    const long reach = (kernel - 1) * dilation + 1;
    if (padding > reach / 2) fail<ValueError>(operation, ": padding ", padding, " is more than half of a window that reaches over ", reach, " elements");
    const long room = in + 2 * padding - reach;
    long out = room < 0 ? 0 : (room + (ceil_mode ? stride - 1 : 0)) / stride + 1;
    if (room < 0 && ceil_mode && room + stride - 1 >= 0) out = 1;
    if (ceil_mode && out > 0 && (out - 1) * stride >= in + padding) --out;
    if (in < 1 || out < 1)
        fail<ShapeError>(operation, ": axis ", axis, " of ", x->description(), " has no room for a window that reaches over ", reach, " elements",
                         padding > 0 ? " with padding " : "", padding > 0 ? padding : 0l);
    return out;
}

// x = the elements of windows at saved positions, which is linear in x: the derivative of max pooling.
class PoolPickMap {
public:
    PoolPickMap(const kernels::cpu::PoolShape& shape, const detail::AnyTensor& positions, int rank, const long* from, const long* to)
        : shape_(shape), positions_(positions), rank_(rank) {
        for (int i = 0; i < rank; ++i) {
            from_[i] = from[i];
            to_[i] = to[i];
        }
    }
    int rank(bool) const { return rank_; }
    const long* dims(bool transposed) const { return transposed ? from_ : to_; }
    void release() noexcept { positions_ = detail::AnyTensor(); }
    template <class T>
    void run(Device device, bool transposed, const T* from, T* to, bool add) const {
        if (positions_->dtype == DType::uint8) run_as<std::uint8_t>(device, transposed, from, to, add);
        else run_as<std::int32_t>(device, transposed, from, to, add);
    }

private:
    template <class P, class T>
    void run_as(Device device, bool transposed, const T* from, T* to, bool add) const {
        const P* positions = reinterpret_cast<const P*>(positions_->data());
        if (transposed) TENON_RUN(device, max_pool_backward(shape_, positions, from, to, add));
        else TENON_RUN(device, max_pool_pick(shape_, positions, from, to, add));
    }

    kernels::cpu::PoolShape shape_;
    detail::AnyTensor positions_;
    int rank_;
    long from_[max_rank], to_[max_rank];
};

struct Pooled { detail::AnyTensor values, indices; };

template <class P, class T>
Pooled max_pool_with(const char* operation, detail::Record* x, int spatial, const kernels::cpu::PoolAxis* axes, bool want_indices) {
    const Device device = x->storage->device;
    long dims[max_rank];
    kernels::cpu::PoolShape shape;
    for (int i = 0; i < x->rank; ++i) dims[i] = x->dims()[i];
    for (int i = 0; i < spatial; ++i) {
        shape.axes[3 - spatial + i] = axes[i];
        dims[x->rank - spatial + i] = axes[i].out;
    }
    Pooled result;
    result.values = new_image(operation, dtype_of<T>, x, spatial, dims);
    shape.x = volume_of(x, spatial);
    shape.y = volume_of(result.values.get(), spatial);
    const bool recorded = detail::wants_gradient(x);
    detail::AnyTensor positions;
    if (recorded || want_indices) positions = new_image(operation, dtype_of<P>, x, spatial, dims);
    P* places = positions ? reinterpret_cast<P*>(positions->data()) : nullptr;
    TENON_RUN(device, max_pool(shape, reinterpret_cast<const T*>(x->data()), reinterpret_cast<T*>(result.values->data()), places));
    if (want_indices) {
        result.indices = new_image(operation, DType::int64, x, spatial, dims);
        TENON_RUN(device, pool_indices(shape, static_cast<const P*>(places), reinterpret_cast<std::int64_t*>(result.indices->data())));
    }
    if (recorded) {
        shape.x.pack();
        detail::make_node<LinearMapNode<T, PoolPickMap>>(operation, x, PoolPickMap(shape, positions, x->rank, x->dims(), dims), false)->set_result(result.values.get());
    }
    return result;
}
template <class T>
Pooled max_pool_of(const char* operation, detail::Record* x, int spatial, const kernels::cpu::PoolAxis* axes, bool want_indices) {
    check_device(operation, x->storage->device);
    long taps = 1;
    for (int i = 0; i < spatial; ++i) taps *= axes[i].kernel;
    return taps <= 256 ? max_pool_with<std::uint8_t, T>(operation, x, spatial, axes, want_indices)
                       : max_pool_with<std::int32_t, T>(operation, x, spatial, axes, want_indices);
}

template <int D, bool Indices, class X>
auto max_pool_any(const char* operation, X&& e, const PerAxis<D>& kernel, const MaxPoolOptions<D>& o) {
    const auto x = as_tensor(static_cast<X&&>(e));
    using In = std::remove_const_t<decltype(x)>;
    using T = typename In::Scalar;
    static_assert(Floating<T>, "tenon: max_pool: the input must be floating-point: write cast<float>(x) first");
    check_image_rank<D, In::rank>();
    kernels::cpu::PoolAxis axes[D];
    for (int i = 0; i < D; ++i) {
        kernels::cpu::PoolAxis& a = axes[i];
        a.in = x.shape(In::rank - D + i);
        a.kernel = kernel[i];
        a.stride = o.stride[i] == 0 ? kernel[i] : o.stride[i];
        a.padding = o.padding[i];
        a.dilation = o.dilation[i];
        a.out = pool_output(operation, x.record(), In::rank - D + i, a.kernel, a.stride, a.padding, a.dilation, o.ceil_mode);
        // Dilated taps may all miss a short axis.
        for (long w = 0; w < a.out && a.dilation > 1; ++w)
            if (a.first_tap(w) >= a.end_tap(w))
                fail<ValueError>(operation, ": window ", w, " along axis ", In::rank - D + i, " of ", x.record()->description(), " would hold nothing but padding");
    }
    Pooled p = max_pool_of<T>(operation, x.record(), D, axes, Indices);
    if constexpr (Indices)
        return Extreme<T, In::rank>{In(static_cast<detail::AnyTensor&&>(p.values)), Tensor<std::int64_t, In::rank>(static_cast<detail::AnyTensor&&>(p.indices))};
    else return In(static_cast<detail::AnyTensor&&>(p.values));
}

// -1 keeps the size.
inline long adaptive_output(const char* operation, const detail::Record* x, int axis, long asked) {
    const long in = x->dims()[axis], out = asked == -1 ? in : asked;
    if (out < 1) fail<ShapeError>(operation, ": output size ", asked, " for axis ", axis, " of ", x->description(), ", expected at least 1, or -1 to keep the size");
    if (in < 1) fail<ShapeError>(operation, ": axis ", axis, " of ", x->description(), " has no elements");
    return out;
}

template <int D, bool Indices, class X>
auto adaptive_max_pool_any(const char* operation, X&& e, const PerAxis<D>& size) {
    const auto x = as_tensor(static_cast<X&&>(e));
    using In = std::remove_const_t<decltype(x)>;
    using T = typename In::Scalar;
    static_assert(Floating<T>, "tenon: adaptive_max_pool: the input must be floating-point: write cast<float>(x) first");
    check_image_rank<D, In::rank>();
    kernels::cpu::PoolAxis axes[D];
    for (int i = 0; i < D; ++i)
        axes[i] = kernels::cpu::PoolAxis::adaptive_axis(x.shape(In::rank - D + i), adaptive_output(operation, x.record(), In::rank - D + i, size[i]));
    Pooled p = max_pool_of<T>(operation, x.record(), D, axes, Indices);
    if constexpr (Indices)
        return Extreme<T, In::rank>{In(static_cast<detail::AnyTensor&&>(p.values)), Tensor<std::int64_t, In::rank>(static_cast<detail::AnyTensor&&>(p.indices))};
    else return In(static_cast<detail::AnyTensor&&>(p.values));
}

template <int D, class X>
auto avg_pool_any(const char* operation, X&& e, const PerAxis<D>& kernel, const AvgPoolOptions<D>& o) {
    const auto x = as_tensor(static_cast<X&&>(e));
    using In = std::remove_const_t<decltype(x)>;
    using T = typename In::Scalar;
    static_assert(Floating<T>, "tenon: avg_pool: the input must be floating-point: write cast<float>(x) first");
    check_image_rank<D, In::rank>();
    if (o.divisor_override < 0) fail<ValueError>(operation, ": divisor_override ", o.divisor_override, ", expected 1 or more, or 0 for the windows' sizes");
    kernels::cpu::BandAxis axes[D];
    for (int i = 0; i < D; ++i) {
        kernels::cpu::BandAxis& a = axes[i];
        a.in = x.shape(In::rank - D + i);
        a.kernel = kernel[i];
        a.stride = o.stride[i] == 0 ? kernel[i] : o.stride[i];
        a.padding = o.padding[i];
        a.include_padding = o.count_include_pad;
        if (o.divisor_override > 0) a.override = i == 0 ? static_cast<double>(o.divisor_override) : 1;
        a.out = pool_output(operation, x.record(), In::rank - D + i, a.kernel, a.stride, a.padding, 1, o.ceil_mode);
    }
    return In(apply_band<T>(operation, x.record(), BandMap(x.record(), D, axes)));
}

template <int D, class X>
auto adaptive_avg_pool_any(const char* operation, X&& e, const PerAxis<D>& size) {
    const auto x = as_tensor(static_cast<X&&>(e));
    using In = std::remove_const_t<decltype(x)>;
    using T = typename In::Scalar;
    static_assert(Floating<T>, "tenon: adaptive_avg_pool: the input must be floating-point: write cast<float>(x) first");
    check_image_rank<D, In::rank>();
    kernels::cpu::BandAxis axes[D];
    bool whole = true;
    for (int i = 0; i < D; ++i) {
        axes[i].in = x.shape(In::rank - D + i);
        axes[i].out = adaptive_output(operation, x.record(), In::rank - D + i, size[i]);
        axes[i].kind = kernels::cpu::BandKind::adaptive;
        whole = whole && axes[i].out == 1;
    }
    // A device's threads share the sum of a plane only where it is a reduction.
    if (whole && !x.device().is_cpu() && x.is_contiguous() && x.size() > 0) {
        long planes = 1, dims[max_rank];
        for (int i = 0; i < In::rank; ++i) planes *= dims[i] = i < In::rank - D ? x.shape(i) : 1;
        const auto means = mean<1>(x.reshape({planes, x.size() / planes}));
        return In(detail::reshape_any(means.record(), In::rank, dims));
    }
    return In(apply_band<T>(operation, x.record(), BandMap(x.record(), D, axes)));
}

// PyTorch's: of the signed sum of powers.
template <int D, class X>
auto lp_pool_any(const char* operation, X&& e, double p, const PerAxis<D>& kernel, const LpPoolOptions<D>& o) {
    if (!(p != 0)) fail<ValueError>(operation, ": norm type ", p, ", expected a number other than 0");
    long taps = 1;
    for (long k : kernel.value) taps *= k;
    const auto powers = avg_pool_any<D>(operation, pow(static_cast<X&&>(e), p), kernel, {.stride = o.stride, .ceil_mode = o.ceil_mode});
    return eval(pow(sign(powers) * relu(abs(powers)) * static_cast<double>(taps), 1 / p));
}

template <int D, class X>
auto max_unpool_any(const char* operation, X&& e, const Tensor<std::int64_t, wrap_t<X>::rank>& indices, const PerAxis<D>& kernel, const MaxUnpoolOptions<D>& o) {
    const auto x = contiguous(as_tensor(static_cast<X&&>(e)));
    using In = std::remove_const_t<decltype(x)>;
    check_image_rank<D, In::rank>();
    for (int i = 0; i < In::rank; ++i)
        if (indices.shape(i) != x.shape(i))
            fail<ShapeError>(operation, ": the input is ", x.record()->description(), ", the indices are ", indices.record()->description(), ": expected the same sizes");
    long planes = 1, points = 1, own = 1, dims[max_rank];
    for (int i = 0; i < In::rank - D; ++i) planes *= dims[i] = x.shape(i);
    for (int i = 0; i < D; ++i) {
        const int axis = In::rank - D + i;
        const long stride = o.stride[i] == 0 ? kernel[i] : o.stride[i];
        dims[axis] = o.output_size[i] == 0 ? (x.shape(axis) - 1) * stride - 2 * o.padding[i] + kernel[i] : o.output_size[i];
        if (dims[axis] < 1) fail<ShapeError>(operation, ": output size ", dims[axis], " along axis ", axis, " of ", x.record()->description(), ", expected at least 1");
        points *= dims[axis];
        own *= x.shape(axis);
    }
    const auto flat = x.reshape({planes, own});
    const auto y = scatter<1>(zeros<typename In::Scalar>({planes, points}, x.device()), contiguous(indices).reshape({planes, own}), flat);
    return In(detail::reshape_any(y.record(), In::rank, dims));
}

}  // namespace impl

// max_pool2d(x, 3, {.stride = 2, .padding = 1}): the largest element of every window of an image, as PyTorch: padding (at most
// half a window) is never chosen, a NaN always is, the first of equal elements is. max_pool1d and max_pool3d: over one and three
// axes. Floating types. Throws ShapeError, ValueError. Derivative: the gradient goes to the element chosen, of which a byte per
// window is kept.
#define TENON_POOL_FUNCTIONS(D)                                                                                                             \
    template <Expression X>                                                                                                                 \
    [[nodiscard]] auto max_pool##D##d(X&& x, PerAxis<D> kernel, MaxPoolOptions<D> options = {}) {                                           \
        return impl::max_pool_any<D, false>("max_pool" #D "d", static_cast<X&&>(x), kernel, options);                                       \
    }                                                                                                                                       \
    template <Expression X>                                                                                                                 \
    [[nodiscard]] auto max_pool##D##d_with_indices(X&& x, PerAxis<D> kernel, MaxPoolOptions<D> options = {}) {                              \
        return impl::max_pool_any<D, true>("max_pool" #D "d", static_cast<X&&>(x), kernel, options);                                        \
    }                                                                                                                                       \
    template <Expression X>                                                                                                                 \
    [[nodiscard]] auto max_unpool##D##d(X&& x, const Tensor<std::int64_t, wrap_t<X>::rank>& indices, PerAxis<D> kernel,                     \
                                        MaxUnpoolOptions<D> options = {}) {                                                                 \
        return impl::max_unpool_any<D>("max_unpool" #D "d", static_cast<X&&>(x), indices, kernel, options);                                 \
    }                                                                                                                                       \
    template <Expression X>                                                                                                                 \
    [[nodiscard]] auto adaptive_max_pool##D##d(X&& x, PerAxis<D> size) {                                                                    \
        return impl::adaptive_max_pool_any<D, false>("adaptive_max_pool" #D "d", static_cast<X&&>(x), size);                                \
    }                                                                                                                                       \
    template <Expression X>                                                                                                                 \
    [[nodiscard]] auto adaptive_max_pool##D##d_with_indices(X&& x, PerAxis<D> size) {                                                       \
        return impl::adaptive_max_pool_any<D, true>("adaptive_max_pool" #D "d", static_cast<X&&>(x), size);                                 \
    }                                                                                                                                       \
    template <Expression X>                                                                                                                 \
    [[nodiscard]] auto avg_pool##D##d(X&& x, PerAxis<D> kernel, AvgPoolOptions<D> options = {}) {                                           \
        return impl::avg_pool_any<D>("avg_pool" #D "d", static_cast<X&&>(x), kernel, options);                                              \
    }                                                                                                                                       \
    template <Expression X>                                                                                                                 \
    [[nodiscard]] auto adaptive_avg_pool##D##d(X&& x, PerAxis<D> size) {                                                                    \
        return impl::adaptive_avg_pool_any<D>("adaptive_avg_pool" #D "d", static_cast<X&&>(x), size);                                       \
    }                                                                                                                                       \
    template <Expression X>                                                                                                                 \
    [[nodiscard]] auto lp_pool##D##d(X&& x, double p, PerAxis<D> kernel, LpPoolOptions<D> options = {}) {                                   \
        return impl::lp_pool_any<D>("lp_pool" #D "d", static_cast<X&&>(x), p, kernel, options);                                             \
    }
// max_pool2d_with_indices(...): {values, indices}, where an index is the position of the element in its channel's image.
// max_unpool2d(values, indices, kernel, options): zeros with the values put back at the indices; of several for one place the
// last stays. Derivative: the gradient at the indices.
// avg_pool2d(x, 3, {.stride = 2, .padding = 1}): the average of every window. adaptive_avg_pool2d(x, {7, 7}) and
// adaptive_max_pool2d: as many windows as asked for (-1: as many as there are elements), which may overlap where the sizes do
// not divide. Derivatives: the gradient spread over the window, or as of max_pool2d.
// lp_pool2d(x, p, kernel): (sum of x^p over a window)^(1/p); sums below 0 keep their sign, as PyTorch.
TENON_POOL_FUNCTIONS(1)
TENON_POOL_FUNCTIONS(2)
TENON_POOL_FUNCTIONS(3)
#undef TENON_POOL_FUNCTIONS

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
