// Views whose axes step through several source axes at once (a diagonal) or of which several step through the same one
// (sliding windows): what x(...), transpose and expand cannot show.
#pragma once

#include <tenon/core/factories.hpp>
#include <tenon/kernels/cpu/add_strided.hpp>
#include <tenon/ops/linear_map.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/add_strided.cuh>
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

// Element i of the view is element start + sum of i[r] * steps[r] of the source.
struct LinearView {
    int rank = 0, source_rank = 0;
    long dims[max_rank], source_dims[max_rank];
    long start[max_rank];
    long steps[max_rank][max_rank];
    // The axis of the view along which its elements overlap those of other axes, or -1.
    int overlapping = -1;

    explicit LinearView(const detail::Record* source) : source_rank(source->rank) {
        for (int i = 0; i < source_rank; ++i) {
            source_dims[i] = source->dims()[i];
            start[i] = 0;
        }
    }
    // One more axis of the view, which stands still until it is given a step.
    int add_axis(long size) {
        dims[rank] = size;
        for (int i = 0; i < source_rank; ++i) steps[rank][i] = 0;
        return rank++;
    }
    // Strides of the view in a source with the given ones; returns the offset.
    long strides(const long* source_strides, long* result) const {
        long offset = 0;
        for (int i = 0; i < source_rank; ++i) offset += start[i] * source_strides[i];
        for (int r = 0; r < rank; ++r) {
            result[r] = 0;
            for (int i = 0; i < source_rank; ++i) result[r] += steps[r][i] * source_strides[i];
        }
        return offset;
    }
};

// The view as a copy, and its transpose: elements added up where they are shown.
class LinearViewMap {
public:
    explicit LinearViewMap(const LinearView& view) : view_(view) {}
    int rank(bool transposed) const { return transposed ? view_.source_rank : view_.rank; }
    const long* dims(bool transposed) const { return transposed ? view_.source_dims : view_.dims; }
    void release() noexcept {}

    template <class T>
    void run(Device device, bool transposed, const T* from, T* to, bool add) const {
        long source[max_rank], whole[max_rank], part[max_rank], size = 1, shown = 1;
        for (int i = view_.source_rank - 1; i >= 0; --i) {
            source[i] = size;
            size *= view_.source_dims[i];
        }
        for (int i = view_.rank - 1; i >= 0; --i) {
            whole[i] = shown;
            shown *= view_.dims[i];
        }
        const long offset = view_.strides(source, part);
        if (!transposed) {
            if (shown == 0) return;
            if (add) TENON_RUN(device, add_strided(view_.rank, view_.dims, to, whole, from + offset, part));
            else TENON_RUN(device, copy_strided(view_.rank, view_.dims, to, whole, from + offset, part, static_cast<int>(sizeof(T))));
            return;
        }
        if (!add && size > 0) detail::zero_bytes(device, to, static_cast<std::size_t>(size) * sizeof(T));
        if (shown == 0) return;
        if (view_.overlapping < 0) return TENON_RUN(device, add_strided(view_.rank, view_.dims, to + offset, part, from, whole));
        // One position of the overlapping axis after the other.
        long dims[max_rank];
        for (int i = 0; i < view_.rank; ++i) dims[i] = i == view_.overlapping ? 1 : view_.dims[i];
        for (long k = 0; k < view_.dims[view_.overlapping]; ++k)
            TENON_RUN(device, add_strided(view_.rank, static_cast<const long*>(dims), to + offset + k * part[view_.overlapping], part,
                                          from + k * whole[view_.overlapping], whole));
    }

private:
    LinearView view_;
};

template <class T>
class LinearViewNode final : public detail::OperationNode<1> {
public:
    LinearViewNode(const char* operation, detail::Record* x, const LinearView& shown) : OperationNode(operation), map_(shown) {
        view = true;
        set_input(0, x);
    }
    const void* kind() const noexcept override { return &detail::node_kind<LinearViewNode>; }
    void backward() override {
        const T* dy = reinterpret_cast<const T*>(gradient()->data());
        const detail::GradientTarget to = detail::gradient_target(edges_[0]);
        map_.template run<T>(to.record->storage->device, true, dy, reinterpret_cast<T*>(to.record->data()), to.mode == 2);
    }
    const LinearViewMap& map() const { return map_; }

private:
    LinearViewMap map_;
};

// The view, recorded; no memory is moved.
template <class T>
detail::AnyTensor make_linear_view(const char* operation, const detail::Record* source, const LinearView& view) {
    long strides[max_rank];
    const long offset = view.strides(source->strides(), strides);
    detail::AnyTensor result(detail::new_view(source, view.rank, view.dims, strides, source->offset + offset * size_of(source->dtype)));
    if constexpr (Floating<T>)
        if (detail::wants_gradient(source)) detail::make_node<LinearViewNode<T>>(operation, const_cast<detail::Record*>(source), view)->set_result(result.get());
    return result;
}

// Axes a and b become one, at the end: elements [i, i + offset].
inline LinearView diagonal_view(const detail::Record* x, int a, int b, long offset) {
    LinearView view(x);
    for (int i = 0; i < x->rank; ++i)
        if (i != a && i != b) view.steps[view.add_axis(x->dims()[i])][i] = 1;
    const long rows = x->dims()[a] - (offset < 0 ? -offset : 0), columns = x->dims()[b] - (offset > 0 ? offset : 0);
    const long length = rows < columns ? rows : columns;
    const int axis = view.add_axis(length < 0 ? 0 : length);
    view.steps[axis][a] = view.steps[axis][b] = 1;
    if (length > 0) {
        view.start[a] = offset < 0 ? -offset : 0;
        view.start[b] = offset > 0 ? offset : 0;
    }
    return view;
}

}  // namespace impl

// diagonal<A, B>(x, offset): the elements whose indices along axes A and B are i and i + offset, as the last axis of a view
// of the other axes: PyTorch's diagonal. offset may be negative; beyond the matrix nothing is left. Derivative: the
// gradient goes to the diagonal.
template <int A = 0, int B = 1, class T, int R>
[[nodiscard]] Tensor<T, R - 1> diagonal(const Tensor<T, R>& x, long offset = 0) {
    static_assert(R >= 2, "tenon: diagonal: the tensor needs two axes: see diag for a vector");
    static_assert(A >= -R && A < R && B >= -R && B < R, "tenon: diagonal<A, B>: an axis is outside of the tensor's rank");
    constexpr int a = detail::normal_axis<A, R>(), b = detail::normal_axis<B, R>();
    static_assert(a != b, "tenon: diagonal<A, B>: the axes must be two");
    return Tensor<T, R - 1>(impl::make_linear_view<T>("diagonal", x.record(), impl::diagonal_view(x.record(), a, b, offset)));
}

// diag(x, offset): of a matrix its diagonal, as a copy; of a vector the square matrix that has it on its diagonal and 0
// elsewhere. Derivative: each is the other's.
template <Expression X>
[[nodiscard]] auto diag(X&& x, long offset = 0) {
    const auto from = contiguous(impl::as_tensor(static_cast<X&&>(x)));
    using From = std::remove_const_t<decltype(from)>;
    using T = typename From::Scalar;
    static_assert(From::rank == 1 || From::rank == 2, "tenon: diag: takes a vector or a matrix: see diagonal for more axes");
    static_assert(!std::is_same_v<T, bool>, "tenon: diag: of a bool tensor: write cast<float>(x) first");
    if constexpr (From::rank == 2) {
        return Tensor<T, 1>(impl::apply_map<T>("diag", from.record(), impl::LinearViewMap(impl::diagonal_view(from.record(), 0, 1, offset))));
    } else {
        const long n = from.size() + (offset < 0 ? -offset : offset);
        const Tensor<T, 2> sizes = Tensor<T, 2>(full<T>({}, T(0.f), from.device()).expand({n, n}));
        return Tensor<T, 2>(impl::apply_map<T>("diag", from.record(), impl::LinearViewMap(impl::diagonal_view(sizes.record(), 0, 1, offset)), true));
    }
}

// trace(x): the sum of a matrix' diagonal. Derivative: the identity.
template <Expression X>
[[nodiscard]] auto trace(X&& x) {
    const auto from = impl::as_tensor(static_cast<X&&>(x));
    static_assert(std::remove_const_t<decltype(from)>::rank == 2, "tenon: trace: takes a matrix");
    return sum(diagonal(from));
}

// sliding_window<Axis>(x, size, step): the windows of `size` elements that begin at 0, step, 2 step, ... of an axis, which
// becomes the number of windows; their elements are a last axis: PyTorch's Tensor.unfold. A view. Throws ShapeError where
// the window is larger than the axis. Derivative: elements in several windows get the sum.
template <int Axis, class T, int R>
[[nodiscard]] Tensor<T, R + 1> sliding_window(const Tensor<T, R>& x, long size, long step = 1) {
    static_assert(Axis >= -R && Axis < R, "tenon: sliding_window<Axis>: the axis is outside of the tensor's rank");
    static_assert(R < max_rank, "tenon: sliding_window: the result would have more than 8 axes");
    constexpr int axis = detail::normal_axis<Axis, R>();
    const detail::Record* r = x.record();
    if (size < 0 || step < 1 || size > r->dims()[axis])
        fail<ShapeError>("sliding_window: windows of ", size, " elements with step ", step, " do not fit axis ", Axis, " of ", r->description());
    impl::LinearView view(r);
    for (int i = 0; i < R; ++i) view.steps[view.add_axis(i == axis ? (r->dims()[i] - size) / step + 1 : r->dims()[i])][i] = i == axis ? step : 1;
    view.steps[view.add_axis(size)][axis] = 1;
    if (step < size) view.overlapping = R;
    return Tensor<T, R + 1>(impl::make_linear_view<T>("sliding_window", r, view));
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
