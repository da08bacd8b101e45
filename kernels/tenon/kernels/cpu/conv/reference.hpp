// Convolution as its definition has it: what the fast code is compared with.
#pragma once

#include <tenon/kernels/cpu/conv/shape.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu::reference {

// Calls f(image, out channel, in channel within the group, output position, kernel position, input position) for every
// product of a convolution, those with the padding left out.
template <int D, class F>
void for_products(const ConvShape<D>& s, F f) {
    const long outs = s.out_size(), taps = s.kernel_size();
    for (long b = 0; b < s.n; ++b)
        for (long o = 0; o < s.c_out; ++o)
            for (long c = 0; c < s.group_in(); ++c)
                for (long p = 0; p < outs; ++p)
                    for (long t = 0; t < taps; ++t) {
                        long out[D], tap[D], in[D], rest = p, rest_tap = t;
                        bool inside = true;
                        for (int i = D - 1; i >= 0; --i) {
                            out[i] = rest % s.out[i];
                            tap[i] = rest_tap % s.kernel[i];
                            rest /= s.out[i];
                            rest_tap /= s.kernel[i];
                            in[i] = out[i] * s.stride[i] - s.padding_begin[i] + tap[i] * s.dilation[i];
                            inside = inside && in[i] >= 0 && in[i] < s.in[i];
                        }
                        if (inside) f(b, o, c, out, t, in);
                    }
}

template <int D>
long at(const ImageStrides<D>& strides, long image, long channel, const long* position) {
    long offset = image * strides.n + channel * strides.channel;
    for (int i = 0; i < D; ++i) offset += position[i] * strides.axis[i];
    return offset;
}

// The three products below add to sums of doubles, which the caller has cleared: y, dx and dw laid out as their strides say
// (dw like w).
template <class T, int D>
void conv_forward(const ConvShape<D>& s, const T* x, const ImageStrides<D>& xs, const T* w, double* y, const ImageStrides<D>& ys) {
    for_products(s, [&](long b, long o, long c, const long* out, long t, const long* in) {
        const long channel = o / s.group_out() * s.group_in() + c;
        y[at(ys, b, o, out)] += double(x[at(xs, b, channel, in)]) * double(w[(o * s.group_in() + c) * s.kernel_size() + t]);
    });
}
template <class T, int D>
void conv_backward_data(const ConvShape<D>& s, const T* dy, const ImageStrides<D>& dys, const T* w, double* dx, const ImageStrides<D>& dxs) {
    for_products(s, [&](long b, long o, long c, const long* out, long t, const long* in) {
        const long channel = o / s.group_out() * s.group_in() + c;
        dx[at(dxs, b, channel, in)] += double(dy[at(dys, b, o, out)]) * double(w[(o * s.group_in() + c) * s.kernel_size() + t]);
    });
}
template <class T, int D>
void conv_backward_weights(const ConvShape<D>& s, const T* x, const ImageStrides<D>& xs, const T* dy, const ImageStrides<D>& dys, double* dw) {
    for_products(s, [&](long b, long o, long c, const long* out, long t, const long* in) {
        const long channel = o / s.group_out() * s.group_in() + c;
        dw[(o * s.group_in() + c) * s.kernel_size() + t] += double(x[at(xs, b, channel, in)]) * double(dy[at(dys, b, o, out)]);
    });
}

}  // namespace kernels::cpu::reference
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
