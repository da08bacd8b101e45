// Convolutions with 3 x 3 kernels and stride 1 by Winograd's minimal filtering: F(4x4, 3x3) needs a quarter of the multiplications
// of the plain sum, F(2x2, 3x3) 4/9. (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015.)
//
// Rounding errors relative to the results' root mean square, normal inputs, as measured under every instruction set (rms / largest of
// 25,000 results; a plain float sum over 256 channels: 3e-7 to 8e-7 / 2e-6 to 6e-6, by the order of its terms):
//     float                                F(4x4, 3x3)          F(2x2, 3x3)
//     forward, 64 channels                 8.3e-7 / 7e-6        2.8e-7 / 1.6e-6
//     forward, 256 channels                1.5e-6 / 1.4e-5      5.0e-7 / 2.7e-6
//     backward weights, 98 / 392 tiles     1.0e-6 / 7.6e-6      4.6e-7 / 2.4e-6
// In double the same times 2^-29. Backward data is a forward pass. An infinity or a NaN in an input reaches, as a NaN, all
// outputs of the tiles that read it, not only those of its own 3 x 3 window.
#pragma once

#include <tenon/kernels/cpu/conv/shape.hpp>

#if !defined(TENON_EXTERN_KERNELS) || defined(TENON_INSTANTIATE_KERNELS)
#include <tenon/kernels/cpu/conv/winograd_weight_gradient.hpp>
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

// The outputs of a tile: f4x4 is the fast one, f2x2 keeps as close to the exact result as the plain sum does.
enum class WinogradTile : int { f2x2 = 2, f4x4 = 4 };

// Whether the functions below can compute it: kernel 3 x 3, stride and dilation 1, padding 0 to 2 on every side, at least one output.
inline bool winograd_fits(const ConvShape<2>& shape) {
    for (int i = 0; i < 2; ++i) {
        if (shape.kernel[i] != 3 || shape.stride[i] != 1 || shape.dilation[i] != 1) return false;
        if (shape.padding_begin[i] < 0 || shape.padding_begin[i] > 2 || shape.padding_end[i] < 0 || shape.padding_end[i] > 2) return false;
        if (shape.in[i] < 1 || shape.out[i] < 1 || shape.out[i] != shape.output_size(i)) return false;
    }
    return true;
}

// Whether F(4x4, 3x3) is the faster way to a convolution that fits, as close as measurements came (one thread, AVX2 and AVX-512, both
// layouts, against the implicit matrix product). It saves three multiplications of four, and pays for transforms of images, which want
// eight channels to fill vectors, and of the weight, which wants tiles to be used for: a tile is four by four outputs. It came out ahead from
// c_in * c_out = 256 * tiles^2 on down (64 channels at 8 x 8, 256 at 14 x 14), 2 to 3 times from 16 tiles on; the weight's
// gradient, which transforms back as well, from 4096 * tiles on down and eight tiles.
inline bool winograd_pays(const ConvShape<2>& shape, bool of_weights = false) {
    if (!winograd_fits(shape) || shape.group_in() < 8 || shape.group_out() < 8) return false;
    const double tiles = double(shape.n) * double((shape.out[0] + 3) / 4) * double((shape.out[1] + 3) / 4);
    const double most = of_weights ? (tiles < 8 ? 0 : 4096 * tiles) : 256 * tiles * tiles;
    return double(shape.group_in()) * double(shape.group_out()) <= most;
}

// The three products of a convolution that fits; T is float or double. x and dx are [n, c_in, in...], y and dy [n, c_out, out...] by
// any strides, fast where channels or columns are contiguous; w and dw are contiguous [c_out, c_in / groups, 3, 3]. Results must not
// overlap inputs. Bits depend neither on the threads nor, but for backward weights, on the batch. They throw MemoryError
// when scratch cannot be had, which a thread keeps for the next call.

// y = relu(scale * conv(x, w) + bias), see ConvEpilogue.
template <class T>
void winograd_forward(const ConvShape<2>& shape, const T* x, const ImageStrides<2>& x_strides, const T* w, T* y,
                      const ImageStrides<2>& y_strides, const ConvEpilogue<T>& epilogue = {}, WinogradTile tile = WinogradTile::f4x4);

// dx, the gradient of the input for the gradient dy of the output: dy convolved with the kernels, rotated by half a turn, channels in and
// out swapped. The epilogue counts the c_in channels of dx.
template <class T>
void winograd_backward_data(const ConvShape<2>& shape, const T* dy, const ImageStrides<2>& dy_strides, const T* w, T* dx,
                            const ImageStrides<2>& dx_strides, const ConvEpilogue<T>& epilogue = {},
                            WinogradTile tile = WinogradTile::f4x4);

// dw, the gradient of the kernels, or added to what dw holds.
template <class T>
void winograd_backward_weights(const ConvShape<2>& shape, const T* x, const ImageStrides<2>& x_strides, const T* dy,
                               const ImageStrides<2>& dy_strides, T* dw, bool accumulate = false, WinogradTile tile = WinogradTile::f4x4);

#if !defined(TENON_EXTERN_KERNELS) || defined(TENON_INSTANTIATE_KERNELS)
namespace winograd_impl {

template <class T>
Image<T> image(T* data, const ImageStrides<2>& strides, long channels, const long* sizes) {
    return {data, strides.n, strides.channel, strides.axis[0], strides.axis[1], channels, sizes[0], sizes[1]};
}

template <class T>
void convolve(const Convolution<T>& problem, WinogradTile tile) {
    if (tile == WinogradTile::f4x4) convolve<T, 4>(problem);
    else convolve<T, 2>(problem);
}

// The part of the epilogue that concerns channels from `channel` on.
template <class T>
ConvEpilogue<T> from_channel(ConvEpilogue<T> epilogue, long channel) {
    if (epilogue.scale != nullptr) epilogue.scale += channel;
    if (epilogue.bias != nullptr) epilogue.bias += channel;
    return epilogue;
}

}  // namespace winograd_impl

template <class T>
void winograd_forward(const ConvShape<2>& shape, const T* x, const ImageStrides<2>& x_strides, const T* w, T* y,
                      const ImageStrides<2>& y_strides, const ConvEpilogue<T>& epilogue, WinogradTile tile) {
    using namespace winograd_impl;
    const long in = shape.group_in(), out = shape.group_out();
    for (long g = 0; g < shape.groups; ++g)
        convolve<T>({shape.n, image(x + g * in * x_strides.channel, x_strides, in, shape.in),
                     image(y + g * out * y_strides.channel, y_strides, out, shape.out), shape.padding_begin[0], shape.padding_begin[1],
                     {w + g * out * in * 9, in * 9, 9, false}, from_channel(epilogue, g * out)},
                    tile);
}

template <class T>
void winograd_backward_data(const ConvShape<2>& shape, const T* dy, const ImageStrides<2>& dy_strides, const T* w, T* dx,
                            const ImageStrides<2>& dx_strides, const ConvEpilogue<T>& epilogue, WinogradTile tile) {
    using namespace winograd_impl;
    const long in = shape.group_in(), out = shape.group_out();
    for (long g = 0; g < shape.groups; ++g)
        convolve<T>({shape.n,
                     image(dy + g * out * dy_strides.channel, dy_strides, out, shape.out),
                     image(dx + g * in * dx_strides.channel, dx_strides, in, shape.in),
                     2 - shape.padding_begin[0],
                     2 - shape.padding_begin[1],
                     {w + g * out * in * 9, 9, in * 9, true},
                     from_channel(epilogue, g * in)},
                    tile);
}

template <class T>
void winograd_backward_weights(const ConvShape<2>& shape, const T* x, const ImageStrides<2>& x_strides, const T* dy,
                               const ImageStrides<2>& dy_strides, T* dw, bool accumulate, WinogradTile tile) {
    using namespace winograd_impl;
    const long in = shape.group_in(), out = shape.group_out();
    for (long g = 0; g < shape.groups; ++g) {
        const WeightGradient<T> problem{shape.n, image(x + g * in * x_strides.channel, x_strides, in, shape.in),
                                        image(dy + g * out * dy_strides.channel, dy_strides, out, shape.out), shape.padding_begin[0],
                                        shape.padding_begin[1], dw + g * out * in * 9, accumulate};
        if (tile == WinogradTile::f4x4) weight_gradient<T, 4>(problem);
        else weight_gradient<T, 2>(problem);
    }
}
#endif

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

#if defined(TENON_EXTERN_KERNELS) || defined(TENON_INSTANTIATE_KERNELS)
#if defined(TENON_INSTANTIATE_KERNELS)
#define TENON_WINOGRAD_INSTANCE template
#else
#define TENON_WINOGRAD_INSTANCE extern template
#endif
namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
#define TENON_WINOGRAD_INSTANCES(T)                                                                                            \
    TENON_WINOGRAD_INSTANCE void winograd_forward<T>(const ConvShape<2>&, const T*, const ImageStrides<2>&, const T*, T*,       \
                                                     const ImageStrides<2>&, const ConvEpilogue<T>&, WinogradTile);             \
    TENON_WINOGRAD_INSTANCE void winograd_backward_data<T>(const ConvShape<2>&, const T*, const ImageStrides<2>&, const T*, T*, \
                                                           const ImageStrides<2>&, const ConvEpilogue<T>&, WinogradTile);       \
    TENON_WINOGRAD_INSTANCE void winograd_backward_weights<T>(const ConvShape<2>&, const T*, const ImageStrides<2>&, const T*,  \
                                                              const ImageStrides<2>&, T*, bool, WinogradTile);
TENON_WINOGRAD_INSTANCES(float)
TENON_WINOGRAD_INSTANCES(double)
#undef TENON_WINOGRAD_INSTANCES
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
#undef TENON_WINOGRAD_INSTANCE
#endif
