// A pass: what the forward convolution and each phase of the backward one have in common. A grid of results, each a sum over
// taps; along an axis result q reads position q * in_step + offset + j * offset_step of the source with tap
// tap + j * tap_step of the kernel, j = 0 ... taps - 1, and goes to position out_start + q * out_step. Offsets ascend with j.
//
// Backward through a stride s: the input's positions fall into s phases, and each meets only every s-th tap (or so, under
// dilation). A phase is a dense pass of its own: nothing is multiplied by zeros that a stride would have inserted.
#pragma once

#include <tenon/kernels/cpu/conv/shape.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace conv_impl {

struct PassAxis {
    long grid, in;             // results; the source's size
    long in_step, offset, offset_step;
    long taps, tap, tap_step;
    long out_start, out_step;
    long kernel;               // the whole kernel's size
    bool dense() const { return out_start == 0 && out_step == 1; }
};

struct Pass {
    long n, channels, results;  // images, source channels and result channels of a group
    PassAxis axis[3];

    long pixels() const { return axis[0].grid * axis[1].grid * axis[2].grid; }  // of an image
    long taps() const { return axis[0].taps * axis[1].taps * axis[2].taps; }
    long steps() const { return taps() * channels; }  // products in a sum
    // The place in the kernel of tap j, counted through the pass's taps in row-major order.
    long tap_index(long j) const {
        const long j2 = j % axis[2].taps, j1 = j / axis[2].taps % axis[1].taps, j0 = j / (axis[2].taps * axis[1].taps);
        return ((axis[0].tap + j0 * axis[0].tap_step) * axis[1].kernel + axis[1].tap + j1 * axis[1].tap_step) * axis[2].kernel + axis[2].tap +
               j2 * axis[2].tap_step;
    }
    // Result q reads position q alone.
    bool is_identity() const {
        bool r = taps() == 1;
        for (const PassAxis& a : axis) r = r && a.offset == 0 && (a.in_step == 1 || a.grid == 1) && a.grid == a.in;
        return r;
    }
    bool dense() const { return axis[0].dense() && axis[1].dense() && axis[2].dense(); }
};

// Three by three taps that are neighbours, at a stride of one.
inline bool is_three_by_three(const Pass& p) {
    const auto along = [](const PassAxis& a) { return a.taps == 3 && a.in_step == 1 && a.offset_step == 1; };
    return p.axis[0].taps == 1 && along(p.axis[1]) && along(p.axis[2]);
}

inline Pass forward_pass(const ConvShape<3>& s) {
    Pass p{s.n, s.group_in(), s.group_out(), {}};
    for (int i = 0; i < 3; ++i) p.axis[i] = {s.out[i], s.in[i], s.stride[i], -s.padding_begin[i], s.dilation[i], s.kernel[i], 0, 1, 0, 1, s.kernel[i]};
    return p;
}

// Phase r of an axis: positions r, r + stride, ... of the input, from the output.
inline PassAxis backward_axis(const ConvShape<3>& s, int i, long r) {
    const long stride = s.stride[i], dilation = s.dilation[i], reach = r + s.padding_begin[i];
    PassAxis a{};
    a.grid = r < s.in[i] ? (s.in[i] - r + stride - 1) / stride : 0;
    a.in = s.out[i];
    a.in_step = 1;
    a.out_start = r;
    a.out_step = stride;
    a.kernel = s.kernel[i];
    // Taps t with (reach - t * dilation) divisible by the stride: every `apart`-th, if any.
    long first = -1, apart = 0;
    for (long t = 0; t < s.kernel[i] && apart == 0; ++t)
        if ((reach - t * dilation) % stride == 0) {
            if (first < 0) first = t;
            else apart = t - first;
        }
    if (first < 0) return a;
    if (apart == 0) apart = s.kernel[i];
    a.taps = (s.kernel[i] - 1 - first) / apart + 1;
    a.tap = first + (a.taps - 1) * apart;  // the last one reads the lowest position
    a.tap_step = -apart;
    a.offset = (reach - a.tap * dilation) / stride;  // divisible, so that the sign does not matter
    a.offset_step = apart * dilation / stride;
    return a;
}

// Calls f(pass) for every phase of the backward pass that has results.
template <class F>
void for_phases(const ConvShape<3>& s, F f) {
    Pass p{s.n, s.group_out(), s.group_in(), {}};
    for (long a = 0; a < s.stride[0] && a < s.in[0]; ++a)
        for (long b = 0; b < s.stride[1] && b < s.in[1]; ++b)
            for (long c = 0; c < s.stride[2] && c < s.in[2]; ++c) {
                p.axis[0] = backward_axis(s, 0, a);
                p.axis[1] = backward_axis(s, 1, b);
                p.axis[2] = backward_axis(s, 2, c);
                f(p);
            }
}

// The same convolution over three axes, of which those in front have one element.
template <int D>
ConvShape<3> lift(const ConvShape<D>& s) {
    ConvShape<3> r;
    r.n = s.n;
    r.c_in = s.c_in;
    r.c_out = s.c_out;
    r.groups = s.groups;
    for (int i = 0; i < 3; ++i) {
        const int j = i - (3 - D);
        r.in[i] = j < 0 ? 1 : s.in[j];
        r.out[i] = j < 0 ? 1 : s.out[j];
        r.kernel[i] = j < 0 ? 1 : s.kernel[j];
        r.stride[i] = j < 0 ? 1 : s.stride[j];
        r.padding_begin[i] = j < 0 ? 0 : s.padding_begin[j];
        r.padding_end[i] = j < 0 ? 0 : s.padding_end[j];
        r.dilation[i] = j < 0 ? 1 : s.dilation[j];
    }
    return r;
}
template <int D>
ImageStrides<3> lift(const ImageStrides<D>& s) {
    ImageStrides<3> r;
    r.n = s.n;
    r.channel = s.channel;
    for (int i = 0; i < 3; ++i) r.axis[i] = i < 3 - D ? 0 : s.axis[i - (3 - D)];
    return r;
}

}  // namespace conv_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
