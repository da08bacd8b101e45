// Images in other sizes: interpolation along every spatial axis, and the exchange of channels for points.
#pragma once

#include <tenon/ops/band.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

// PyTorch's names; linear is bilinear of two axes and trilinear of three, cubic is bicubic of two.
enum class Interpolation { nearest, nearest_exact, linear, cubic };

struct InterpolateOptions {
    Interpolation mode = Interpolation::nearest;
    bool align_corners = false;  // linear and cubic: the corners of both images are the same points, else their borders are
    bool antialias = false;      // linear and cubic: filters as wide as the step where the image shrinks
};

namespace impl {

template <class X>
auto interpolate_any(X&& e, const long* sizes, const double* factors, const InterpolateOptions& o) {
    const auto x = as_tensor(static_cast<X&&>(e));
    using In = std::remove_const_t<decltype(x)>;
    using T = typename In::Scalar;
    constexpr int D = In::rank - 2;
    static_assert(Floating<T>, "tenon: interpolate: the input must be floating-point: write cast<float>(x) first");
    const bool filters = o.mode == Interpolation::linear || o.mode == Interpolation::cubic;
    if (!filters && (o.align_corners || o.antialias)) fail<ValueError>("interpolate: align_corners and antialias are for linear and cubic interpolation");
    using kernels::cpu::BandKind;
    kernels::cpu::BandAxis axes[D];
    for (int i = 0; i < D; ++i) {
        kernels::cpu::BandAxis& a = axes[i];
        a.in = x.shape(2 + i);
        if (factors != nullptr && !(factors[i] > 0)) fail<ValueError>("interpolate: factor ", factors[i], " for axis ", 2 + i, ", expected more than 0");
        a.out = factors != nullptr ? static_cast<long>(static_cast<double>(a.in) * factors[i]) : sizes[i];
        if (a.in < 1 || a.out < 1) fail<ShapeError>("interpolate: axis ", 2 + i, " of ", x.record()->description(), " to size ", a.out, ", expected at least 1 each");
        a.kind = o.mode == Interpolation::nearest         ? BandKind::nearest
                 : o.mode == Interpolation::nearest_exact ? BandKind::nearest_exact
                 : o.mode == Interpolation::linear        ? (o.antialias ? BandKind::smooth_linear : BandKind::linear)
                                                          : (o.antialias ? BandKind::smooth_cubic : BandKind::cubic);
        a.align_corners = o.align_corners;
        if (o.align_corners) a.scale = a.out > 1 ? static_cast<double>(a.in - 1) / static_cast<double>(a.out - 1) : 0;
        else a.scale = factors != nullptr ? 1 / factors[i] : static_cast<double>(a.in) / static_cast<double>(a.out);
    }
    return In(apply_band<T>("interpolate", x.record(), BandMap(x.record(), D, axes)));
}

// x [N, C * down^2, H, W] seen as [N, C, down, down, H, W], its axes in another order, and the result's sizes.
template <class In>
In shuffled(const In& x, long n, long c, long r, long h, long w, bool up) {
    long dims[max_rank];
    for (int i = 0; i < In::rank; ++i) dims[i] = x.shape(i);
    dims[In::rank - 3] = up ? c : c * r * r;
    dims[In::rank - 2] = up ? h * r : h;
    dims[In::rank - 1] = up ? w * r : w;
    const auto apart = up ? contiguous(x.reshape({n, c, r, r, h, w}).template permute<0, 1, 4, 2, 5, 3>())
                          : contiguous(x.reshape({n, c, h, r, w, r}).template permute<0, 1, 3, 5, 2, 4>());
    return In(detail::reshape_any(apart.record(), In::rank, dims));
}

}  // namespace impl

// interpolate(x, {64, 64}, {.mode = Interpolation::linear}): x [N, C, sizes...] with the spatial sizes given (one number for all
// of them, or one each). Throws ShapeError, ValueError. Linear in x; derivative: the transposed map, summed in a fixed order.
template <Expression X>
    requires(wrap_t<X>::rank >= 3 && wrap_t<X>::rank <= 5)
[[nodiscard]] auto interpolate(X&& x, PerAxis<wrap_t<X>::rank - 2> size, InterpolateOptions options = {}) {
    return impl::interpolate_any(static_cast<X&&>(x), size.value, nullptr, options);
}
// interpolate_by(x, 2.5, options): sizes times a factor, rounded down, with steps of 1 / factor. PyTorch's scale_factor.
template <Expression X>
    requires(wrap_t<X>::rank >= 3 && wrap_t<X>::rank <= 5)
[[nodiscard]] auto interpolate_by(X&& x, double factor, InterpolateOptions options = {}) {
    const double factors[] = {factor, factor, factor};
    return impl::interpolate_any(static_cast<X&&>(x), nullptr, factors, options);
}
// The same with a factor for each axis.
template <Expression X>
    requires(wrap_t<X>::rank >= 4 && wrap_t<X>::rank <= 5)
[[nodiscard]] auto interpolate_by(X&& x, const double (&factors)[wrap_t<X>::rank - 2], InterpolateOptions options = {}) {
    return impl::interpolate_any(static_cast<X&&>(x), nullptr, factors, options);
}

// pixel_shuffle(x, r): [.., C * r * r, H, W] to [.., C, H * r, W * r]: a point's r * r channels become r x r points (Shi et al.
// 2016). Throws ShapeError. pixel_unshuffle: the inverse. Derivative of each: the other.
template <Expression X>
[[nodiscard]] auto pixel_shuffle(X&& e, long r) {
    const auto x = contiguous(impl::as_tensor(static_cast<X&&>(e)));
    using In = std::remove_const_t<decltype(x)>;
    static_assert(In::rank == 3 || In::rank == 4, "tenon: pixel_shuffle: the input must be [N, C, H, W] or [C, H, W]");
    const long c = x.shape(In::rank - 3), n = In::rank == 4 ? x.shape(0) : 1;
    if (r < 1 || c % (r * r) != 0)
        fail<ShapeError>("pixel_shuffle: factor ", r, " for ", x.record()->description(), ": expected a number whose square divides the ", c, " channels");
    return impl::shuffled(x, n, c / (r * r), r, x.shape(In::rank - 2), x.shape(In::rank - 1), true);
}
template <Expression X>
[[nodiscard]] auto pixel_unshuffle(X&& e, long r) {
    const auto x = contiguous(impl::as_tensor(static_cast<X&&>(e)));
    using In = std::remove_const_t<decltype(x)>;
    static_assert(In::rank == 3 || In::rank == 4, "tenon: pixel_unshuffle: the input must be [N, C, H, W] or [C, H, W]");
    const long h = x.shape(In::rank - 2), w = x.shape(In::rank - 1), n = In::rank == 4 ? x.shape(0) : 1;
    if (r < 1 || h % r != 0 || w % r != 0)
        fail<ShapeError>("pixel_unshuffle: factor ", r, " for ", x.record()->description(), ": expected a number that divides both sizes");
    return impl::shuffled(x, n, x.shape(In::rank - 3), r, h / r, w / r, false);
}
// channel_shuffle(x, groups): channels g * (C / groups) + k to k * groups + g (Zhang et al. 2018). x [N, C, ...].
template <Expression X>
[[nodiscard]] auto channel_shuffle(X&& e, long groups) {
    const auto x = contiguous(impl::as_tensor(static_cast<X&&>(e)));
    using In = std::remove_const_t<decltype(x)>;
    static_assert(In::rank >= 2, "tenon: channel_shuffle: the input must be [N, C, ...]");
    const long c = x.shape(1), n = x.shape(0);
    if (groups < 1 || c % groups != 0) fail<ShapeError>("channel_shuffle: ", groups, " groups of the ", c, " channels of ", x.record()->description());
    const long inner = n * c == 0 ? 0 : x.size() / (n * c);
    const auto apart = contiguous(x.reshape({n, groups, c / groups, inner}).template permute<0, 2, 1, 3>());
    return In(detail::reshape_any(apart.record(), In::rank, x.record()->dims()));
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
