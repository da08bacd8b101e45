// The windows of pooling: along one axis, and of an image.
#pragma once

#include <tenon/kernels/cpu/volume.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

// The windows along one axis: window o begins at start(o) and has a tap every `dilation` elements; those from first_tap(o) up
// to end_tap(o) lie within the axis.
struct PoolAxis {
    long in = 1, out = 1, kernel = 1, stride = 1, padding = 0, dilation = 1;
    bool adaptive = false;  // window o is [o * in / out, (o + 1) * in / out), rounded outwards; kernel: no window has more taps

    TENON_FUNCTOR long start(long o) const { return adaptive ? o * in / out : o * stride - padding; }
    TENON_FUNCTOR long first_tap(long o) const {
        const long s = start(o);
        return s >= 0 ? 0 : dilation == 1 ? -s : (-s + dilation - 1) / dilation;
    }
    TENON_FUNCTOR long end_tap(long o) const {
        const long s = start(o);
        if (adaptive) return ((o + 1) * in + out - 1) / out - s;
        if (s + (kernel - 1) * dilation < in) return kernel;
        return s >= in ? 0 : dilation == 1 ? in - s : (in - s + dilation - 1) / dilation;
    }
    // All windows that hold element i are among first_window(i) ... end_window(i) - 1.
    TENON_FUNCTOR long first_window(long i) const {
        if (adaptive) return i * out / in;
        const long reach = i + padding - (kernel - 1) * dilation;
        return reach <= 0 ? 0 : (reach + stride - 1) / stride;
    }
    TENON_FUNCTOR long end_window(long i) const {
        if (adaptive) return ((i + 1) * out + in - 1) / in;
        const long last = (i + padding) / stride + 1;
        return last < out ? last : out;
    }
    // The tap of window o that is element i, or -1.
    TENON_FUNCTOR long tap(long o, long i) const {
        const long apart = i - start(o);
        if (apart < 0 || apart % dilation != 0) return -1;
        return apart / dilation < end_tap(o) ? apart / dilation : -1;
    }
    static PoolAxis adaptive_axis(long in, long out) {
        PoolAxis a;
        a.in = in;
        a.out = out;
        a.adaptive = true;
        if (out > 0) a.kernel = in % out == 0 ? in / out : (in + out - 1) / out + 1;
        // Equal windows side by side.
        if (out > 0 && in % out == 0) {
            a.adaptive = false;
            a.stride = a.kernel;
        }
        return a;
    }
};

// The windows of an image. x and y may have any strides; positions lie where y's elements do.
struct PoolShape {
    Volume x, y;
    PoolAxis axes[3];
    long taps() const { return axes[0].kernel * axes[1].kernel * axes[2].kernel; }
    // Where the tap with this number of window o lies in its plane, row-major.
    TENON_FUNCTOR long source(const VolumePoint& o, long position) const {
        const long w = position % axes[2].kernel, rest = position / axes[2].kernel, h = rest % axes[1].kernel, d = rest / axes[1].kernel;
        return ((axes[0].start(o.at[0]) + d * axes[0].dilation) * x.size[1] + axes[1].start(o.at[1]) + h * axes[1].dilation) * x.size[2] +
               axes[2].start(o.at[2]) + w * axes[2].dilation;
    }
};

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
