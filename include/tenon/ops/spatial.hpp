// What operations on images share: one number per spatial axis, and how images lie in memory.
#pragma once

#include <tenon/core/tensor.hpp>
#include <tenon/kernels/cpu/volume.hpp>

namespace tenon {

// A number for each of D spatial axes: 3 for all of them, or {3, 5}.
template <int D>
struct PerAxis {
    long value[D];

    template <std::integral I>
    constexpr PerAxis(I same) {
        for (long& v : value) v = static_cast<long>(same);
    }
    template <std::integral... I>
        requires(sizeof...(I) == D && D > 1)
    constexpr PerAxis(I... each) : value{static_cast<long>(each)...} {}
    constexpr long operator[](int axis) const { return value[axis]; }
    constexpr bool operator==(const PerAxis&) const = default;
};

inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

// A tensor [N, C, sizes...] or [C, sizes...] of D spatial axes.
inline kernels::cpu::Volume volume_of(const detail::Record* x, int spatial) {
    kernels::cpu::Volume v;
    const int before = x->rank - spatial;
    if (before == 2) {
        v.n = x->dims()[0];
        v.stride_n = x->strides()[0];
    }
    v.c = x->dims()[before - 1];
    v.stride_c = x->strides()[before - 1];
    for (int i = 0; i < spatial; ++i) {
        v.size[3 - spatial + i] = x->dims()[before + i];
        v.stride[3 - spatial + i] = x->strides()[before + i];
    }
    return v;
}
// Row-major, or channels-last where x is.
inline detail::AnyTensor new_image(const char* operation, DType dtype, const detail::Record* x, int spatial, const long* dims) {
    detail::AnyTensor y(detail::new_record(dtype, x->rank, dims, x->storage->device, operation));
    kernels::cpu::Volume packed = volume_of(x, spatial);
    const kernels::cpu::Volume own = packed;
    packed.pack_channels_last();
    bool last = own.channels_last() && !x->contiguous;
    for (int i = 0; i < 3; ++i) last = last && (own.size[i] == 1 || own.stride[i] == packed.stride[i]);
    last = last && (own.n == 1 || own.stride_n == packed.stride_n);
    if (!last) return y;
    kernels::cpu::Volume made = volume_of(y.get(), spatial);
    made.pack_channels_last();
    const int before = x->rank - spatial;
    if (before == 2) y->strides()[0] = made.stride_n;
    y->strides()[before - 1] = 1;
    for (int i = 0; i < spatial; ++i) y->strides()[before + i] = made.stride[3 - spatial + i];
    y->contiguous = detail::is_contiguous(y->rank, y->dims(), y->strides());
    return y;
}
template <int D, int R>
constexpr void check_image_rank() {
    static_assert(R == D + 2 || R == D + 1, "tenon: pooling, interpolation: the input must be [N, C, sizes...] or [C, sizes...]");
}
inline kernels::cpu::Volume packed_volume(const long* dims, int rank, int spatial) {
    kernels::cpu::Volume v;
    const int before = rank - spatial;
    if (before == 2) v.n = dims[0];
    v.c = dims[before - 1];
    for (int i = 0; i < spatial; ++i) v.size[3 - spatial + i] = dims[before + i];
    v.pack();
    return v;
}

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
