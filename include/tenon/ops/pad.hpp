// Padding, flipping, rolling, repeating: every axis of the result shows positions of the same axis of the tensor.
#pragma once

#include <tenon/kernels/cpu/add_strided.hpp>
#include <tenon/kernels/cpu/remap.hpp>
#include <tenon/ops/linear_map.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/add_strided.cuh>
#include <tenon/kernels/cuda/remap.cuh>
#endif

#include <new>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

// What stands beyond the borders: a value; the elements mirrored at the border (which itself is not repeated); the border
// itself; the other end.
enum class PadMode { constant, reflect, replicate, circular };

// How many elements pad puts before and after an axis. Negative ones cut off (constant mode only).
struct Margin { long before = 0, after = 0; };

struct PadOptions {
    PadMode mode = PadMode::constant;
    double value = 0;
};

namespace impl {

// The runs of all axes, shared by an operation and its node.
class RemapMap {
public:
    RemapMap(const detail::Record* x) : rank_(x->rank) {
        for (int i = 0; i < rank_; ++i) from_[i] = to_[i] = x->dims()[i];
    }
    // The axis becomes up to `room` runs, which add_run appends.
    void begin(int axis, long room) {
        const long bytes = (room > 0 ? room : 1) * static_cast<long>(sizeof(kernels::cpu::RemapRun));
        tables_[axis] = detail::AnyTensor(detail::new_record(DType::uint8, 1, &bytes, cpu));
        counts_[axis] = to_[axis] = 0;
    }
    // from < 0: the fill value. step: 1, -1 or 0.
    void add_run(int axis, long from, long length, long step) {
        if (length <= 0) return;
        runs(axis)[counts_[axis]++] = {to_[axis], from < 0 ? -1 : from, length, length == 1 ? 1 : step};
        to_[axis] += length;
    }
    void fill(double value) { fill_ = value; }
    int rank(bool) const { return rank_; }
    const long* dims(bool transposed) const { return transposed ? from_ : to_; }
    template <class T>
    void run(Device device, bool transposed, const T* from, T* to, bool add) const {
        kernels::cpu::AxisTable axes[max_rank];
        for (int i = 0; i < rank_; ++i)
            axes[i] = {from_[i], to_[i], nullptr, tables_[i] ? runs(i) : nullptr, tables_[i] ? counts_[i] : 0};
        if constexpr (std::is_same_v<T, bool>) {
            // Never added, so never transposed.
            TENON_RUN(device, remap(rank_, axes, from, fill_ != 0, to));
        } else {
            if (transposed) return TENON_RUN(device, remap_transposed(rank_, axes, from, to, add));
            if (!add) return TENON_RUN(device, remap(rank_, axes, from, static_cast<T>(static_cast<formula::compute_t<T>>(fill_)), to));
            // Second derivatives only: through a temporary, which holds no fill value.
            long size = 1;
            for (int i = 0; i < rank_; ++i) size *= to_[i];
            const long step = 1;
            const detail::AnyTensor own(detail::new_record(dtype_of<T>, 1, &size, device));
            T* shown = reinterpret_cast<T*>(own->data());
            TENON_RUN(device, remap(rank_, axes, from, static_cast<T>(0.f), shown));
            TENON_RUN(device, add_strided(1, &size, to, &step, static_cast<const T*>(shown), &step));
        }
    }
    void release() noexcept {}

private:
    kernels::cpu::RemapRun* runs(int axis) const { return reinterpret_cast<kernels::cpu::RemapRun*>(tables_[axis]->data()); }

    int rank_;
    long from_[max_rank], to_[max_rank], counts_[max_rank];
    detail::AnyTensor tables_[max_rank];
    double fill_ = 0;
};

template <class X>
X apply_remap(const char* operation, const X& x, const RemapMap& map) {
    return X(apply_map<typename X::Scalar>(operation, x.record(), map));
}

template <int R, int... Axes>
constexpr void check_axes() {
    static_assert(((Axes >= -R && Axes < R) && ...), "tenon: pad, flip, roll, repeat: an axis is outside of the tensor's rank");
    constexpr unsigned bits = (0u | ... | (1u << detail::normal_axis<Axes, R>()));
    static_assert(__builtin_popcount(bits) == sizeof...(Axes), "tenon: pad, flip, roll, repeat: an axis is named twice");
}

inline void set_padding(RemapMap& map, const detail::Record* x, int axis, Margin margin, PadMode mode) {
    const long n = x->dims()[axis], size = n + margin.before + margin.after, before = margin.before;
    if (margin.before == 0 && margin.after == 0) return;
    const bool cuts = margin.before < 0 || margin.after < 0;
    if (size < 0 || (cuts && mode != PadMode::constant))
        fail<ShapeError>("pad: margins ", margin.before, " and ", margin.after, " for axis ", axis, " of ", x->description(),
                         size < 0 ? ": they cut off more than there is" : ": only constant padding takes negative ones");
    map.begin(axis, 3);
    if (mode == PadMode::constant) {
        const long skipped = before < 0 ? -before : 0, cut = margin.after < 0 ? -margin.after : 0;
        map.add_run(axis, -1, before < size ? before : size, 0);
        map.add_run(axis, skipped, n - skipped - cut, 1);
        map.add_run(axis, -1, margin.after < size ? margin.after : size, 0);
        return;
    }
    if (n == 0) fail<ShapeError>("pad: axis ", axis, " of ", x->description(), " has no elements to show beyond its border");
    if (mode == PadMode::replicate) {
        map.add_run(axis, 0, before, 0);
        map.add_run(axis, 0, n, 1);
        map.add_run(axis, n - 1, margin.after, 0);
        return;
    }
    const long most = mode == PadMode::reflect ? n - 1 : n;
    if (margin.before > most || margin.after > most)
        fail<ShapeError>("pad: margins ", margin.before, " and ", margin.after, " for axis ", axis, " of ", x->description(), ": ",
                         mode == PadMode::reflect ? "a mirrored border is" : "a circular border is", " at most ", most, " wide here");
    if (mode == PadMode::reflect) {
        map.add_run(axis, before, before, -1);
        map.add_run(axis, 0, n, 1);
        map.add_run(axis, n - 2, margin.after, -1);
        return;
    }
    map.add_run(axis, n - before, before, 1);
    map.add_run(axis, 0, n, 1);
    map.add_run(axis, 0, margin.after, 1);
}

// x tiled along its own axes.
template <class X>
X tile_axes(const char* operation, const X& x, const long* counts) {
    RemapMap map(x.record());
    for (int i = 0; i < X::rank; ++i) {
        const long n = x.record()->dims()[i];
        if (counts[i] < 0) fail<ShapeError>(operation, ": count ", counts[i], " for axis ", i, ", expected 0 or more");
        if (counts[i] == 1) continue;
        map.begin(i, n == 1 ? 1 : counts[i]);
        if (n == 1) map.add_run(i, 0, counts[i], 0);
        else
            for (long k = 0; k < counts[i]; ++k) map.add_run(i, 0, n, 1);
    }
    return apply_remap(operation, x, map);
}

}  // namespace impl

// pad<Axes...>(x, {{before, after}, ...}, {.mode = PadMode::reflect}): the named axes get longer, by one margin each, in
// the order in which they are named. Constant padding puts `value` there (of any element type; negative margins cut off),
// reflect mirrors without repeating the border (margins below the axis' size), replicate repeats the border, circular
// goes on at the other end (margins up to the size). Throws ShapeError. Derivative: every element gets the sum of the
// gradients of its copies.
template <int... Axes, Expression X>
[[nodiscard]] auto pad(X&& x, const Margin (&margins)[sizeof...(Axes)], PadOptions options = {}) {
    const auto from = contiguous(impl::as_tensor(static_cast<X&&>(x)));
    using From = std::remove_const_t<decltype(from)>;
    impl::check_axes<From::rank, Axes...>();
    impl::RemapMap map(from.record());
    map.fill(options.value);
    const int axes[] = {detail::normal_axis<Axes, From::rank>()...};
    for (std::size_t i = 0; i < sizeof...(Axes); ++i) impl::set_padding(map, from.record(), axes[i], margins[i], options.mode);
    return impl::apply_remap("pad", from, map);
}

// flip<Axes...>(x): the named axes in reverse order; all of them without any. A copy. Derivative: the flipped gradient.
template <int... Axes, Expression X>
[[nodiscard]] auto flip(X&& x) {
    const auto from = contiguous(impl::as_tensor(static_cast<X&&>(x)));
    using From = std::remove_const_t<decltype(from)>;
    impl::check_axes<From::rank, Axes...>();
    impl::RemapMap map(from.record());
    for (int i = 0; i < From::rank; ++i) {
        const bool named = sizeof...(Axes) == 0 || ((detail::normal_axis<Axes, From::rank>() == i) || ...);
        const long n = from.record()->dims()[i];
        if (!named || n < 2) continue;
        map.begin(i, 1);
        map.add_run(i, n - 1, n, -1);
    }
    return impl::apply_remap("flip", from, map);
}

// roll<Axes...>(x, shifts...): element i of an axis moves to i + shift, around the end; one shift per axis, of any sign
// and size. Derivative: the gradient rolled back.
template <int... Axes, Expression X, std::integral... S>
[[nodiscard]] auto roll(X&& x, S... shifts) {
    static_assert(sizeof...(Axes) == sizeof...(S) && sizeof...(Axes) >= 1, "tenon: roll<Axes...>(x, shifts...): one shift for each axis");
    const auto from = contiguous(impl::as_tensor(static_cast<X&&>(x)));
    using From = std::remove_const_t<decltype(from)>;
    impl::check_axes<From::rank, Axes...>();
    impl::RemapMap map(from.record());
    const int axes[] = {detail::normal_axis<Axes, From::rank>()...};
    const long by[] = {static_cast<long>(shifts)...};
    for (std::size_t i = 0; i < sizeof...(Axes); ++i) {
        const long n = from.record()->dims()[axes[i]];
        if (n < 2) continue;
        const long back = (n - by[i] % n) % n;
        map.begin(axes[i], 2);
        map.add_run(axes[i], back, n - back, 1);
        map.add_run(axes[i], 0, back, 1);
    }
    return impl::apply_remap("roll", from, map);
}

// tile(x, {2, 3}): x laid out that many times along each axis, as NumPy's and PyTorch's tile: counts missing on the left
// are 1, axes missing on the left have size 1. Throws ShapeError for a negative count. Derivative: the sum over the copies.
template <Expression X, std::size_t N>
[[nodiscard]] auto tile(X&& x, const Dim (&counts)[N]) {
    const auto from = contiguous(impl::as_tensor(static_cast<X&&>(x)));
    using From = std::remove_const_t<decltype(from)>;
    constexpr int n = static_cast<int>(N), r = From::rank, rank = n > r ? n : r;
    static_assert(rank <= max_rank, "tenon: tile: the result would have more than 8 axes");
    long all[max_rank], dims[max_rank];
    for (int i = 0; i < rank; ++i) {
        all[i] = i < rank - n ? 1 : counts[i - (rank - n)].value;
        dims[i] = i < rank - r ? 1 : from.record()->dims()[i - (rank - r)];
    }
    const Tensor<typename From::Scalar, rank> whole(detail::reshape_any(from.record(), rank, dims));
    return impl::tile_axes("tile", whole, all);
}
// repeat(x, {2, 3}): the same, with at least one count for every axis, as PyTorch's Tensor.repeat.
template <Expression X, std::size_t N>
[[nodiscard]] auto repeat(X&& x, const Dim (&counts)[N]) {
    static_assert(static_cast<int>(N) >= wrap_t<X>::rank, "tenon: repeat(x, {counts}): fewer counts than the tensor has axes: see tile");
    return tile(static_cast<X&&>(x), counts);
}

// repeat_interleave<Axis>(x, n): every element of the axis n times in a row. Derivative: the sum over the copies.
template <int Axis, Expression X>
[[nodiscard]] auto repeat_interleave(X&& x, long count) {
    const auto from = contiguous(impl::as_tensor(static_cast<X&&>(x)));
    using From = std::remove_const_t<decltype(from)>;
    impl::check_axes<From::rank, Axis>();
    if (count < 0) fail<ShapeError>("repeat_interleave: count ", count, ", expected 0 or more");
    impl::RemapMap map(from.record());
    constexpr int axis = detail::normal_axis<Axis, From::rank>();
    const long n = from.shape(axis);
    map.begin(axis, n);
    for (long k = 0; k < n; ++k) map.add_run(axis, k, count, 0);
    return impl::apply_remap("repeat_interleave", from, map);
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
