// Kernels of one element at a stride of one: images are matrices as they lie, [channels, pixels] or [pixels, channels], and all
// three products are plain matrix products.
#pragma once

#include <tenon/kernels/cpu/conv/pointwise_pixels.hpp>
#include <tenon/kernels/cpu/conv/pointwise_weights.hpp>
#include <tenon/kernels/cpu/gemm.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace conv_impl {

inline bool is_pointwise(const ConvShape<3>& s) {
    for (int i = 0; i < 3; ++i)
        if (s.kernel[i] != 1 || s.stride[i] != 1 || s.padding_begin[i] != 0 || s.out[i] != s.in[i]) return false;
    return true;
}
// Both images are [channels, pixels] with neighbouring pixels, or both [pixels, channels] through the whole batch.
enum class MatrixForm { none, planes, pixels };
inline MatrixForm matrix_form(const ConvShape<3>& s, const ImageStrides<3>& a, const ImageStrides<3>& b, long& a_pitch, long& b_pitch) {
    if (a.channel == 1 && b.channel == 1 && even_pixels(a, s.n, s.in, a_pitch) && even_pixels(b, s.n, s.in, b_pitch)) return MatrixForm::pixels;
    if (even_pixels(a, 1, s.in, a_pitch) && even_pixels(b, 1, s.in, b_pitch) && a_pitch == 1 && b_pitch == 1) return MatrixForm::planes;
    return MatrixForm::none;
}

// y [to, pixels] = w [to, from] x [from, pixels], w by its strides; false where the images do not lie so.
template <class T>
bool run_pointwise(const ConvShape<3>& s, long from, long to, const T* x, const ImageStrides<3>& xs, MatrixView<T> w, T* y, const ImageStrides<3>& ys,
                   const T* bias, bool relu, bool accumulate) {
    long x_pitch = 0, y_pitch = 0;
    const MatrixForm form = matrix_form(s, xs, ys, x_pitch, y_pitch);
    const long pixels = s.in_size();
    GemmOptions<T> options;
    options.relu = relu;
    options.accumulate = accumulate;
    if (form == MatrixForm::pixels) {
        if (has_many_pixels<T>(s.n * pixels, from, to)) {
            multiply_pixels(s.n * pixels, from, to, x, x_pitch, w, y, y_pitch, bias, relu, accumulate);
            return true;
        }
        options.bias = bias;
        gemm<T>(s.n * pixels, to, from, MatrixView<T>{x, x_pitch, 1}, MatrixView<T>{w.data, w.column_stride, w.row_stride}, y, y_pitch, options);
        return true;
    }
    if (form != MatrixForm::planes) return false;
    if (pixels >= 128 && from > 0 && to > 0 && s.n > 0) {
        multiply_planes(PlanesProduct<T>{s.n, from, to, pixels, x, xs.n, xs.channel, w, y, ys.n, ys.channel, bias, relu, accumulate});
        return true;
    }
    if (bias != nullptr) {
        // A product adds one number to each of its columns; these are rows.
        parallel_for(s.n * to, 0.1 * double(s.n * to * pixels), [&](long i) {
            T* const row = y + i / to * ys.n + i % to * ys.channel;
            const T value = bias[i % to];
            if (accumulate)
                for (long p = 0; p < pixels; ++p) row[p] += value;
            else
                for (long p = 0; p < pixels; ++p) row[p] = value;
        });
        options.accumulate = true;
    }
    gemm_batched<T>(s.n, to, pixels, from, w, 0, MatrixView<T>{x, xs.channel, 1}, xs.n, y, ys.channel, ys.n, options);
    return true;
}

// dw [out, in] = the sum of dy [out, pixels] x' over the images; false where they are not planes of enough pixels.
template <class T>
bool run_pointwise_weights(const ConvShape<3>& s, const T* x, const ImageStrides<3>& xs, const T* dy, const ImageStrides<3>& dys, T* dw, bool accumulate) {
    long x_pitch = 0, dy_pitch = 0;
    const long pixels = s.in_size(), in = s.group_in(), out = s.group_out();
    if (pixels < 128 || s.n == 0 || matrix_form(s, xs, dys, x_pitch, dy_pitch) != MatrixForm::planes) return false;
    const PlanesView<T> of_x{x, xs.n, xs.channel, in}, of_dy{dy, dys.n, dys.channel, out};
    // The smaller operand is the one that is turned.
    if (has_many_blocks<T>(s.n, pixels, out, in)) {
        if (in < out) multiply_planes_weights(s.n, pixels, of_dy, of_x, dw, false, accumulate);
        else multiply_planes_weights(s.n, pixels, of_x, of_dy, dw, true, accumulate);
        return true;
    }
    GemmOptions<T> options;
    for (long b = 0; b < s.n; ++b) {
        options.accumulate = accumulate || b > 0;
        gemm<T>(out, in, pixels, MatrixView<T>{dy + b * dys.n, dys.channel, 1}, MatrixView<T>{x + b * xs.n, 1, xs.channel}, dw, in, options);
    }
    return true;
}

}  // namespace conv_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
