// Convolution over 1, 2 or 3 spatial axes: forward, backward to the data and backward to the weights; float and double, any
// strides of the images, groups, dilation, uneven padding.
//
// By default this header is all there is. A program that wants the kernels compiled once defines TENON_EXTERN_KERNELS
// everywhere, and in one source file TENON_INSTANTIATE_KERNELS before the include: see conv_instances.hpp.
#pragma once

#include <tenon/base/precision.hpp>
#include <tenon/kernels/cpu/conv/shape.hpp>
#include <tenon/kernels/cpu/conv/winograd.hpp>
#include <tenon/kernels/cpu/gemm.hpp>

#if !defined(TENON_EXTERN_KERNELS) || defined(TENON_INSTANTIATE_KERNELS)
#include <tenon/kernels/cpu/conv/backward_weights.hpp>
#include <tenon/kernels/cpu/conv/depthwise.hpp>
#include <tenon/kernels/cpu/conv/depthwise_planes.hpp>
#include <tenon/kernels/cpu/conv/depthwise_rows.hpp>
#include <tenon/kernels/cpu/conv/depthwise_weights.hpp>
#include <tenon/kernels/cpu/conv/few_pixels.hpp>
#include <tenon/kernels/cpu/conv/implicit_gemm.hpp>
#include <tenon/kernels/cpu/conv/planar.hpp>
#include <tenon/kernels/cpu/conv/pointwise.hpp>
#include <tenon/kernels/cpu/conv/reference.hpp>
#include <tenon/kernels/cpu/conv/small_images.hpp>
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

// How a convolution is computed, and which of its three products.
enum class ConvAlgorithm { implicit_gemm, depthwise, winograd };
enum class ConvProduct { forward, data, weights };

// The choice is made by the shape alone, the batch included, and by set_conv_precision (runtime/precision.hpp).
template <int D>
ConvAlgorithm conv_algorithm(const ConvShape<D>& s, ConvProduct product) {
    if (s.groups == s.c_in && s.c_out == s.c_in && s.groups > 1) return ConvAlgorithm::depthwise;
    if constexpr (D == 2)
        if (__atomic_load_n(&tenon::detail::winograd_outputs, __ATOMIC_RELAXED) != 0 && winograd_pays(s, product == ConvProduct::weights)) return ConvAlgorithm::winograd;
    return ConvAlgorithm::implicit_gemm;
}

// y[n, c_out, out...] = conv(x[n, c_in, in...], w[c_out, c_in / groups, kernel...]), then the epilogue. The order of the
// sums depends on the shape, the batch included: results do not depend on the number of threads or on the strides.
// y must not overlap what is read. Throws MemoryError when scratch cannot be had.
template <class T, int D>
void conv_forward(const ConvShape<D>& shape, const T* x, const ImageStrides<D>& x_strides, const T* w, T* y, const ImageStrides<D>& y_strides,
                  const ConvEpilogue<T>& epilogue = {});

// The gradient of x from that of y, and the transposed convolution; the epilogue's channels are those of x.
template <class T, int D>
void conv_backward_data(const ConvShape<D>& shape, const T* dy, const ImageStrides<D>& dy_strides, const T* w, T* dx,
                        const ImageStrides<D>& dx_strides, const ConvEpilogue<T>& epilogue = {});

// The gradient of w, contiguous as w is; added to dw with accumulate.
template <class T, int D>
void conv_backward_weights(const ConvShape<D>& shape, const T* x, const ImageStrides<D>& x_strides, const T* dy,
                           const ImageStrides<D>& dy_strides, T* dw, bool accumulate = false);

#if !defined(TENON_EXTERN_KERNELS) || defined(TENON_INSTANTIATE_KERNELS)
namespace conv_impl {

// Channels side by side, where there is but one it does not matter.
inline WinogradTile winograd_tile() { return __atomic_load_n(&tenon::detail::winograd_outputs, __ATOMIC_RELAXED) == 2 ? WinogradTile::f2x2 : WinogradTile::f4x4; }

inline ImageStrides<3> normal(ImageStrides<3> s, long channels) {
    if (channels == 1) s.channel = 1;
    return s;
}

// Contiguous images with few result channels are convolved as planes (measured: 1.1 to 9 times the speed of channels-last inside up
// to 64 channels, less beyond; with results that are channels-last themselves only for a handful).
template <class T>
void run_dense(const PassJob<T>& job) {
    if (has_few_pixels<T>(job.pass)) return run_few_pixels(job);
    if (run_small_images(job)) return;
    const bool planes = job.ys.channel != 1 || job.pass.results == 1;
    if (planar_fits(job) && job.pass.results <= (planes ? 64 : 16)) run_planar(job);
    else run_pass(job);
}

template <class T>
void run_dense_weights(const WeightsJob<T>& job) {
    if (run_small_images_weights(job)) return;
    if (planar_weights_fits(job)) run_planar_weights(job);
    else run_weights(job);
}

template <class T>
void forward(const ConvShape<3>& s, const T* x, const ImageStrides<3>& x_strides, const T* w, T* y, const ImageStrides<3>& y_strides,
             const ConvEpilogue<T>& e) {
    const ImageStrides<3> xs = normal(x_strides, s.c_in), ys = normal(y_strides, s.c_out);
    const long kernel = s.kernel_size(), in = s.group_in(), out = s.group_out();
    Pass pass = forward_pass(s);
    if (is_depthwise(s)) {
        if (run_depthwise_rows(pass, s.c_in, x, xs, w, kernel, y, ys, e)) return;
        if (run_depthwise_planes(&pass, 1, s.c_in, x, xs, w, kernel, y, ys, e)) return;
        pass.channels = pass.results = s.c_in;
        return run_depthwise(pass, x, xs, w, kernel, y, ys, e);
    }
    const bool pointwise = is_pointwise(s) && e.scale == nullptr;
    for (long g = 0; g < s.groups; ++g)
        if (!pointwise || !run_pointwise<T>(s, in, out, x + g * in * xs.channel, xs, {w + g * out * in, in, 1}, y + g * out * ys.channel, ys,
                                            e.bias ? e.bias + g * out : nullptr, e.relu, e.accumulate))
            run_dense(PassJob<T>{pass, x + g * in * xs.channel, xs, {w + g * out * in * kernel, in * kernel, kernel, kernel, e.scale ? e.scale + g * out : nullptr},
                            y + g * out * ys.channel, ys, e.bias ? e.bias + g * out : nullptr, e.relu, e.accumulate});
}

template <class T>
void backward_data(const ConvShape<3>& s, const T* dy, const ImageStrides<3>& dy_strides, const T* w, T* dx, const ImageStrides<3>& dx_strides,
                   const ConvEpilogue<T>& e) {
    const ImageStrides<3> dys = normal(dy_strides, s.c_out), dxs = normal(dx_strides, s.c_in);
    const long kernel = s.kernel_size(), in = s.group_in(), out = s.group_out();
    if (is_depthwise(s)) {
        Pass phases[plane_passes];
        long count = 0;
        for_phases(s, [&](const Pass& pass) {
            if (count < plane_passes) phases[count] = pass;
            ++count;
        });
        if (count == 1 && run_depthwise_rows(phases[0], s.c_in, dy, dys, w, kernel, dx, dxs, e)) return;
        if (count == 0 || run_depthwise_planes(phases, count, s.c_in, dy, dys, w, kernel, dx, dxs, e)) return;
        return for_phases(s, [&](Pass pass) {
            pass.channels = pass.results = s.c_in;
            run_depthwise(pass, dy, dys, w, kernel, dx, dxs, e);
        });
    }
    const bool pointwise = is_pointwise(s) && e.scale == nullptr;
    for (long g = 0; g < s.groups; ++g)
        if (!pointwise || !run_pointwise<T>(s, out, in, dy + g * out * dys.channel, dys, {w + g * out * in, 1, in}, dx + g * in * dxs.channel, dxs,
                                            e.bias ? e.bias + g * in : nullptr, e.relu, e.accumulate))
        for_phases(s, [&](const Pass& pass) {
            run_dense(PassJob<T>{pass, dy + g * out * dys.channel, dys, {w + g * out * in * kernel, kernel, in * kernel, kernel, e.scale ? e.scale + g * in : nullptr},
                                dx + g * in * dxs.channel, dxs, e.bias ? e.bias + g * in : nullptr, e.relu, e.accumulate});
        });
}

template <class T>
void backward_weights(const ConvShape<3>& s, const T* x, const ImageStrides<3>& x_strides, const T* dy, const ImageStrides<3>& dy_strides, T* dw,
                      bool accumulate) {
    const ImageStrides<3> xs = normal(x_strides, s.c_in), dys = normal(dy_strides, s.c_out);
    const long kernel = s.kernel_size(), in = s.group_in(), out = s.group_out();
    Pass pass = forward_pass(s);
    if (is_depthwise(s)) return run_depthwise_weights(pass, s.c_in, x, xs, dy, dys, dw, accumulate);
    const bool pointwise = is_pointwise(s);
    for (long g = 0; g < s.groups; ++g)
        if (!pointwise || !run_pointwise_weights<T>(s, x + g * in * xs.channel, xs, dy + g * out * dys.channel, dys, dw + g * out * in, accumulate))
            run_dense_weights(WeightsJob<T>{pass, x + g * in * xs.channel, xs, dy + g * out * dys.channel, dys, dw + g * out * in * kernel, accumulate});
}

}  // namespace conv_impl

template <class T, int D>
void conv_forward(const ConvShape<D>& shape, const T* x, const ImageStrides<D>& x_strides, const T* w, T* y, const ImageStrides<D>& y_strides,
                  const ConvEpilogue<T>& epilogue) {
    if constexpr (D == 2)
        if (conv_algorithm(shape, ConvProduct::forward) == ConvAlgorithm::winograd) return winograd_forward<T>(shape, x, x_strides, w, y, y_strides, epilogue, conv_impl::winograd_tile());
    conv_impl::forward<T>(conv_impl::lift(shape), x, conv_impl::lift(x_strides), w, y, conv_impl::lift(y_strides), epilogue);
}
template <class T, int D>
void conv_backward_data(const ConvShape<D>& shape, const T* dy, const ImageStrides<D>& dy_strides, const T* w, T* dx,
                        const ImageStrides<D>& dx_strides, const ConvEpilogue<T>& epilogue) {
    if constexpr (D == 2)
        if (conv_algorithm(shape, ConvProduct::data) == ConvAlgorithm::winograd) return winograd_backward_data<T>(shape, dy, dy_strides, w, dx, dx_strides, epilogue, conv_impl::winograd_tile());
    conv_impl::backward_data<T>(conv_impl::lift(shape), dy, conv_impl::lift(dy_strides), w, dx, conv_impl::lift(dx_strides), epilogue);
}
template <class T, int D>
void conv_backward_weights(const ConvShape<D>& shape, const T* x, const ImageStrides<D>& x_strides, const T* dy,
                           const ImageStrides<D>& dy_strides, T* dw, bool accumulate) {
    if constexpr (D == 2)
        if (conv_algorithm(shape, ConvProduct::weights) == ConvAlgorithm::winograd) return winograd_backward_weights<T>(shape, x, x_strides, dy, dy_strides, dw, accumulate, conv_impl::winograd_tile());
    conv_impl::backward_weights<T>(conv_impl::lift(shape), x, conv_impl::lift(x_strides), dy, conv_impl::lift(dy_strides), dw, accumulate);
}
#endif

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

#if defined(TENON_EXTERN_KERNELS)
#include <tenon/kernels/cpu/conv_instances.hpp>
#endif
