// What a convolution is told: its sizes, how its images lie in memory, and what happens to the result.
#pragma once

#include <tenon/base/config.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

// A convolution over D (1, 2 or 3) spatial axes. The input is [n, c_in, in...], the output [n, c_out, out...], the weight
// [c_out, c_in / groups, kernel...], contiguous. Element o of an output's axis reads elements
// o * stride - padding_begin + t * dilation, t = 0 ... kernel - 1, of the input's, of which those outside count as zeros.
template <int D>
struct ConvShape {
    long n = 1, c_in = 1, c_out = 1, groups = 1;
    long in[D], out[D], kernel[D], stride[D], padding_begin[D], padding_end[D], dilation[D];

    // The output's size along an axis; below 1 where the (padded) input is smaller than the (dilated) kernel.
    long output_size(int axis) const {
        const long room = in[axis] + padding_begin[axis] + padding_end[axis] - dilation[axis] * (kernel[axis] - 1) - 1;
        return room < 0 ? 0 : room / stride[axis] + 1;
    }
    long group_in() const { return c_in / groups; }
    long group_out() const { return c_out / groups; }
    // Elements of a kernel, of an input image's channel and of an output image's channel.
    long kernel_size() const { return product(kernel); }
    long in_size() const { return product(in); }
    long out_size() const { return product(out); }
    // Multiply-adds counted twice, those with zeros of the padding too.
    double flops() const {
        return 2.0 * double(n) * double(c_out) * double(out_size()) * double(group_in()) * double(kernel_size());
    }

private:
    static long product(const long* sizes) {
        long p = 1;
        for (int i = 0; i < D; ++i) p *= sizes[i];
        return p;
    }
};

// How images lie in memory: the element of image b, channel c at position p is data[b * n + c * channel + sum of p[i] * axis[i]].
// Any strides; the fast ones are those of contiguous images (`contiguous`) and of channels-last ones (`channels_last`).
template <int D>
struct ImageStrides {
    long n = 0, channel = 0, axis[D];

    // [n, channels, sizes...] in row-major order.
    static ImageStrides contiguous(long channels, const long* sizes) {
        ImageStrides s;
        long step = 1;
        for (int i = D - 1; i >= 0; --i) {
            s.axis[i] = step;
            step *= sizes[i];
        }
        s.channel = step;
        s.n = step * channels;
        return s;
    }
    // The same sizes, stored as [n, sizes..., channels].
    static ImageStrides channels_last(long channels, const long* sizes) {
        ImageStrides s;
        s.channel = 1;
        long step = channels;
        for (int i = D - 1; i >= 0; --i) {
            s.axis[i] = step;
            step *= sizes[i];
        }
        s.n = step;
        return s;
    }
};

// y = relu(scale * sum + bias), per output channel: the bias of a layer, or the scale and shift of batch normalization in
// inference. With accumulate: y = relu(y + scale * sum + bias).
template <class T>
struct ConvEpilogue {
    const T* scale = nullptr;  // c_out values, or null for 1
    const T* bias = nullptr;   // c_out values, or null for 0
    bool relu = false;         // a NaN passes
    bool accumulate = false;
};

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
