// Convolution on the device: the functions of cpu/conv.hpp. cuDNN makes them where it is found and has an algorithm; otherwise, and
// where a group has a channel only (depthwise), the library's own kernels do (conv/own.cuh). 16-bit images and weights are
// read as they are and summed in float.
#pragma once

#include <tenon/kernels/cuda/conv/cudnn.cuh>
#include <tenon/kernels/cuda/conv/own.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {
namespace conv_impl {

// f(convolution of some images, the first of them): all at once if their offsets fit 32 bits, otherwise as many as do.
template <class F>
void for_images(ConvShape<3> s, const ImageStrides<3>& xs, const ImageStrides<3>& ys, F f) {
    const long all = s.n;
    long some = all;
    while (!own::fits(s, xs, ys) && some > 1) s.n = some = (some + 1) / 2;
    if (!own::fits(s, xs, ys)) some = all;  // a single image does not: the plain kernels
    long first = 0;
    do {
        s.n = all - first < some ? all - first : some;
        f(s, first);
        first += some;
    } while (first < all);
}
inline bool depthwise(const ConvShape<3>& s) { return s.groups > 1 && s.group_in() == 1 && s.group_out() <= own::few_results; }

}  // namespace conv_impl

template <class T, int D>
void conv_forward(const ConvShape<D>& shape, const T* x, const ImageStrides<D>& x_strides, const T* w, T* y,
                  const ImageStrides<D>& y_strides, const ConvEpilogue<T>& epilogue = {}) {
    const ImageStrides<3> xs = conv_impl::lift(x_strides), ys = conv_impl::lift(y_strides);
    conv_impl::for_images(conv_impl::lift(shape), xs, ys, [&](const ConvShape<3>& s, long first) {
        if (conv_impl::depthwise(s) || !cudnn::conv_forward<T>(s, x + first * xs.n, xs, w, y + first * ys.n, ys, epilogue))
            own::conv_forward<T>(s, x + first * xs.n, xs, w, y + first * ys.n, ys, epilogue);
    });
}

template <class T, int D>
void conv_backward_data(const ConvShape<D>& shape, const T* dy, const ImageStrides<D>& dy_strides, const T* w, T* dx,
                        const ImageStrides<D>& dx_strides, const ConvEpilogue<T>& epilogue = {}) {
    const ImageStrides<3> dxs = conv_impl::lift(dx_strides), dys = conv_impl::lift(dy_strides);
    conv_impl::for_images(conv_impl::lift(shape), dxs, dys, [&](const ConvShape<3>& s, long first) {
        if (conv_impl::depthwise(s) || !cudnn::conv_backward_data<T>(s, dy + first * dys.n, dys, w, dx + first * dxs.n, dxs, epilogue))
            own::conv_backward_data<T>(s, dy + first * dys.n, dys, w, dx + first * dxs.n, dxs, epilogue);
    });
}

template <class T, int D>
void conv_backward_weights(const ConvShape<D>& shape, const T* x, const ImageStrides<D>& x_strides, const T* dy,
                           const ImageStrides<D>& dy_strides, T* dw, bool accumulate = false) {
    const ImageStrides<3> xs = conv_impl::lift(x_strides), dys = conv_impl::lift(dy_strides);
    conv_impl::for_images(conv_impl::lift(shape), xs, dys, [&](const ConvShape<3>& s, long first) {
        const bool add = accumulate || first > 0;
        if (conv_impl::depthwise(s) || !cudnn::conv_backward_weights<T>(s, x + first * xs.n, xs, dy + first * dys.n, dys, dw, add))
            own::conv_backward_weights<T>(s, x + first * xs.n, xs, dy + first * dys.n, dys, dw, add);
    });
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
