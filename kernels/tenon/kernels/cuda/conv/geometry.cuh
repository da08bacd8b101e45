// What the kernels of a convolution need of its geometry, in 32 bits: a pass (cpu/conv/pass.hpp) with the divisors that take
// a number apart into positions, and where results go.
#pragma once

#include <tenon/kernels/cpu/conv/pass.hpp>
#include <tenon/kernels/cpu/fold.hpp>
#include <tenon/kernels/cuda/launch.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

using cpu::accumulator;  // float for 16-bit types: they are widened in registers, and rounded where a result is written
using cpu::ConvEpilogue;
using cpu::ConvShape;
using cpu::ImageStrides;

namespace conv_impl {

using cpu::conv_impl::lift;
using cpu::conv_impl::Pass;

// Positions that no image has: far from every one, and from overflow when two are added.
inline constexpr int nowhere = -(1 << 30);

inline bool fits_int(long n) { return n >= -(1l << 30) && n < 1l << 30; }

// Strides of images, in elements.
struct IntStrides {
    int n, channel, axis[3];
    IntStrides() = default;
    explicit IntStrides(const ImageStrides<3>& s) : n(static_cast<int>(s.n)), channel(static_cast<int>(s.channel)), axis{} {
        for (int i = 0; i < 3; ++i) axis[i] = static_cast<int>(s.axis[i]);
    }
};
// Whether every offset into so many images fits 32 bits.
inline bool offsets_fit(const ImageStrides<3>& s, long n, long channels, const long* sizes) {
    long reach = 0;
    const auto add = [&](long size, long stride) {
        if (size > 1) reach += (size - 1) * (stride < 0 ? -stride : stride);
    };
    add(n, s.n);
    add(channels, s.channel);
    for (int i = 0; i < 3; ++i) add(sizes[i], s.axis[i]);
    return fits_int(reach);
}
// The stride of an axis of one element says nothing, and could be anything.
inline ImageStrides<3> without_single(ImageStrides<3> s, long n, long channels, const long* sizes) {
    if (n == 1) s.n = 0;
    if (channels == 1) s.channel = 0;
    for (int i = 0; i < 3; ++i)
        if (sizes[i] == 1) s.axis[i] = 0;
    return s;
}

struct PartAxis {
    int in, in_step, offset, offset_step, tap, tap_step, out_start, out_step, kernel;
    Divisor grid, taps;
};
// A pass over all images.
struct Part {
    PartAxis axis[3];
    int pixels;        // results of a channel
    int taps, steps;   // kernel positions; products in a sum
    long weights = 0;  // where its packed weights begin
    Part() = default;
    explicit Part(const Pass& p)
        : axis{}, pixels(static_cast<int>(p.n * p.pixels())), taps(static_cast<int>(p.taps())), steps(static_cast<int>(p.steps())) {
        for (int i = 0; i < 3; ++i) {
            const cpu::conv_impl::PassAxis& a = p.axis[i];
            const auto narrow = [](long n) { return static_cast<int>(n); };
            axis[i] = {narrow(a.in),       narrow(a.in_step),   narrow(a.offset),   narrow(a.offset_step),
                       narrow(a.tap),      narrow(a.tap_step),  narrow(a.out_start), narrow(a.out_step),
                       narrow(a.kernel),   Divisor(static_cast<unsigned>(a.grid)), Divisor(static_cast<unsigned>(a.taps))};
        }
    }
};
// The passes of one launch: a strided backward pass has several, which would each be too small to fill a device.
inline constexpr int most_parts = 8;
struct Parts {
    Part part[most_parts];
    int count = 0;
};

// A weight of a group, w[result, channel, tap].
struct WeightStrides {
    long group, result, channel;
};

// What makes results from a source: y from x, or dx from dy.
template <class T>
struct PassOperands {
    const T* source;
    IntStrides source_strides;
    T* result;
    IntStrides result_strides;
    ConvEpilogue<T> epilogue;
    int channels, results;  // of a group
};

#if TENON_DEVICE_CODE
// n = ((first * b + second) * c + third): the three digits.
struct Digits {
    int at[3];
    TENON_HD Digits(unsigned n, const Divisor& b, const Divisor& c) {
        const unsigned upper = c.quotient(n), top = b.quotient(upper);
        at[0] = static_cast<int>(top);
        at[1] = static_cast<int>(upper - top * b.divisor);
        at[2] = static_cast<int>(n - upper * c.divisor);
    }
};
// Pixel n of a pass: its image and position in the grid.
struct Pixel {
    int image, at[3];
    TENON_HD Pixel(int n, const Part& part) {
        const Digits d(static_cast<unsigned>(n), part.axis[1].grid, part.axis[2].grid);
        image = static_cast<int>(part.axis[0].grid.quotient(static_cast<unsigned>(d.at[0])));
        at[0] = d.at[0] - image * static_cast<int>(part.axis[0].grid.divisor);
        at[1] = d.at[1];
        at[2] = d.at[2];
    }
};
// Where a pixel's sum begins in the source: the offset of the position that tap 0 reads, and the position.
struct Origin {
    int offset, at[3];
    TENON_HD Origin(const Pixel& p, const Part& part, const IntStrides& s) : offset(p.image * s.n) {
        for (int i = 0; i < 3; ++i) {
            at[i] = p.at[i] * part.axis[i].in_step + part.axis[i].offset;
            offset += at[i] * s.axis[i];
        }
    }
};
// A tap, as a distance from the origin, and its place in the kernel.
struct Tap {
    int offset, by[3], index;
    TENON_HD Tap(int n, const Part& part, const IntStrides& s) : offset(0), index(0) {
        const Digits d(static_cast<unsigned>(n), part.axis[1].taps, part.axis[2].taps);
        for (int i = 0; i < 3; ++i) {
            const PartAxis& a = part.axis[i];
            by[i] = d.at[i] * a.offset_step;
            offset += by[i] * s.axis[i];
            index = index * a.kernel + a.tap + d.at[i] * a.tap_step;
        }
    }
};
// to = value, as a statement of its own: what a call returns straight into memory the emulator's instrumentation does not see.
template <class V>
TENON_HD void put(V& to, const V& value) { to = value; }
TENON_HD inline bool inside(int at, int size) { return static_cast<unsigned>(at) < static_cast<unsigned>(size); }

TENON_HD inline int result_offset(const Pixel& p, const Part& part, const IntStrides& s) {
    int offset = p.image * s.n;
    for (int i = 0; i < 3; ++i) offset += (part.axis[i].out_start + p.at[i] * part.axis[i].out_step) * s.axis[i];
    return offset;
}
template <class T>
TENON_HD accumulator<T> product(T a, T b) { return static_cast<accumulator<T>>(a) * static_cast<accumulator<T>>(b); }
// to = epilogue(sum) of a channel.
template <class T>
TENON_HD void finish_result(const ConvEpilogue<T>& e, T* to, long channel, accumulator<T> sum) {
    using A = accumulator<T>;
    if (e.scale != nullptr) sum *= static_cast<A>(e.scale[channel]);
    if (e.accumulate) sum += static_cast<A>(*to);
    if (e.bias != nullptr) sum += static_cast<A>(e.bias[channel]);
    if (e.relu && sum < 0) sum = 0;
    *to = static_cast<T>(sum);
}
#endif

}  // namespace conv_impl
}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
