// Convolution on the device: the functions of cpu/conv.hpp.
#pragma once

#include <tenon/kernels/cuda/conv/own.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

template <class T, int D>
void conv_forward(const ConvShape<D>& shape, const T* x, const ImageStrides<D>& x_strides, const T* w, T* y, const ImageStrides<D>& y_strides,
                  const ConvEpilogue<T>& epilogue = {}) {
    own::conv_forward<T>(conv_impl::lift(shape), x, conv_impl::lift(x_strides), w, y, conv_impl::lift(y_strides), epilogue);
}

template <class T, int D>
void conv_backward_data(const ConvShape<D>& shape, const T* dy, const ImageStrides<D>& dy_strides, const T* w, T* dx,
                        const ImageStrides<D>& dx_strides, const ConvEpilogue<T>& epilogue = {}) {
    own::conv_backward_data<T>(conv_impl::lift(shape), dy, conv_impl::lift(dy_strides), w, dx, conv_impl::lift(dx_strides), epilogue);
}

template <class T, int D>
void conv_backward_weights(const ConvShape<D>& shape, const T* x, const ImageStrides<D>& x_strides, const T* dy,
                           const ImageStrides<D>& dy_strides, T* dw, bool accumulate = false) {
    own::conv_backward_weights<T>(conv_impl::lift(shape), x, conv_impl::lift(x_strides), dy, conv_impl::lift(dy_strides), dw, accumulate);
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
