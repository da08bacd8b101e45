// Sizes, axes and index tags.
#pragma once

#include <tenon/base/error.hpp>
#include <tenon/core/device.hpp>
#include <tenon/core/dtype.hpp>

#include <concepts>
#include <cstddef>

namespace tenon {

inline constexpr int max_rank = 8;

// One entry of a shape list: any integer type, without narrowing warnings.
struct Dim {
    long value;
    template <std::integral I>
    constexpr Dim(I size) : value(static_cast<long>(size)) {}
};

// The sizes of a tensor of R axes.
template <int R>
struct Shape {
    long dims[R > 0 ? R : 1] = {};

    constexpr long operator[](int axis) const { return dims[axis]; }
    constexpr long& operator[](int axis) { return dims[axis]; }
    static constexpr int rank() { return R; }
    constexpr long size() const {
        long n = 1;
        for (int i = 0; i < R; ++i) n *= dims[i];
        return n;
    }
    constexpr bool operator==(const Shape& other) const {
        for (int i = 0; i < R; ++i)
            if (dims[i] != other.dims[i]) return false;
        return true;
    }
};

// The shape of a scalar: what `{}` means where a shape is expected.
struct ScalarShape {};

// x(slice(0, 128)): indices start, start + step, ... below stop. Negative start and stop count from the end, and both
// are clamped to the axis, as in NumPy. step > 0.
inline constexpr long slice_end = __LONG_MAX__;
struct Slice { long start = 0, stop = slice_end, step = 1; };
constexpr Slice slice(long start, long stop = slice_end, long step = 1) { return {start, stop, step}; }

// x(all, 3): the whole axis. Also the reduction of a boolean tensor, all(x): defined with the reductions.
struct All {
    template <class E>
    auto operator()(const E& e) const;
};
inline constexpr All all{};

struct KeepDim {};
// sum<1>(x, keepdim): the reduced axis stays, with size 1.
inline constexpr KeepDim keepdim{};

namespace detail {

inline Message& add_dims(Message& message, const long* dims, int rank) {
    message << '[';
    for (int i = 0; i < rank; ++i) {
        if (i > 0) message << ", ";
        message << dims[i];
    }
    return message << ']';
}

// Prints as "float[64, 256] on cpu" in an error text.
struct Description {
    DType dtype;
    int rank;
    const long* dims;
    Device device;
};
inline Message& operator<<(Message& message, const Description& d) {
    message << name(d.dtype);
    add_dims(message, d.dims, d.rank);
    return message << " on " << d.device;
}
// Prints as "[64, 256]".
struct Sizes {
    int rank;
    const long* dims;
};
inline Message& operator<<(Message& message, const Sizes& s) { return add_dims(message, s.dims, s.rank); }

// The number of elements; throws ShapeError on a negative size or an overflow, of the strides of an empty shape too.
inline long checked_size(const char* operation, const long* dims, int rank) {
    long reach = 1;
    bool none = false;
    for (int i = 0; i < rank; ++i) {
        if (dims[i] < 0) fail<ShapeError>(operation, ": negative size in shape ", Sizes{rank, dims}, " (axis ", i, ")");
        none = none || dims[i] == 0;
        if (__builtin_mul_overflow(reach, dims[i] > 0 ? dims[i] : 1, &reach) || reach > (1l << 56))
            fail<ShapeError>(operation, ": shape ", Sizes{rank, dims}, " has too many elements");
    }
    return none ? 0 : reach;
}

template <int Axis, int Rank>
constexpr int normal_axis() {
    return Axis < 0 ? Axis + Rank : Axis;
}

}  // namespace detail
}  // namespace tenon
