// Images of up to three spatial axes, with any strides: what kernels of pooling and resampling read and write.
#pragma once

#include <tenon/base/config.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

// [n, c, size...]; axes that an operation does not have come first, with size 1.
struct Volume {
    long n = 1, c = 1, size[3] = {1, 1, 1};
    long stride_n = 0, stride_c = 0, stride[3] = {0, 0, 0};

    TENON_HD long points() const { return size[0] * size[1] * size[2]; }
    TENON_HD long elements() const { return n * c * points(); }
    // The channels of a point are neighbours in memory.
    bool channels_last() const { return stride_c == 1 && c > 1; }

    // The same sizes in row-major order, or with the channels innermost.
    void pack() {
        stride[2] = 1;
        stride[1] = size[2];
        stride[0] = size[1] * size[2];
        stride_c = points();
        stride_n = c * points();
    }
    void pack_channels_last() {
        stride_c = 1;
        stride[2] = c;
        stride[1] = size[2] * c;
        stride[0] = size[1] * size[2] * c;
        stride_n = c * points();
    }
};

// An element's position, from its number in row-major order.
struct VolumePoint {
    long n, c, at[3];
};
TENON_FUNCTOR VolumePoint volume_point(const Volume& v, long i) {
    VolumePoint p;
    if (v.elements() <= 0x7fffffffl) {  // division of small numbers is several times as fast
        unsigned rest = static_cast<unsigned>(i);
        for (int d = 2; d >= 0; --d) {
            const unsigned size = static_cast<unsigned>(v.size[d]), before = rest / size;
            p.at[d] = rest - before * size;
            rest = before;
        }
        const unsigned c = static_cast<unsigned>(v.c);
        p.n = rest / c;
        p.c = rest - static_cast<unsigned>(p.n) * c;
        return p;
    }
    for (int d = 2; d >= 0; --d) {
        p.at[d] = i % v.size[d];
        i /= v.size[d];
    }
    p.n = i / v.c;
    p.c = i % v.c;
    return p;
}
TENON_FUNCTOR long volume_offset(const Volume& v, const VolumePoint& p) {
    return p.n * v.stride_n + p.c * v.stride_c + p.at[0] * v.stride[0] + p.at[1] * v.stride[1] + p.at[2] * v.stride[2];
}

// The rows (along the last axis) of an image one after the other, in row-major order: counted, because next to a short row's work
// the divisions would show.
struct VolumeRow {
    long plane, n, c, d, h;

    VolumeRow(const Volume& v, long row) {
        h = row % v.size[1];
        d = row / v.size[1] % v.size[0];
        plane = row / v.size[1] / v.size[0];
        c = plane % v.c;
        n = plane / v.c;
    }
    void next(const Volume& v) {
        if (++h < v.size[1]) return;
        h = 0;
        if (++d < v.size[0]) return;
        d = 0;
        ++plane;
        if (++c < v.c) return;
        c = 0;
        ++n;
    }
};

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
