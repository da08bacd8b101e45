// Choosing elements by index: rows of a table (embedding), slices of an axis (index_select), single elements (gather).
//
// Indices are int64 or int32, are counted from 0 and are checked: one outside of the axis throws IndexError before
// anything is read. Gradients are added up in the order of the indices, so that they do not depend on threads.
#pragma once

#include <tenon/autograd/operation_node.hpp>
#include <tenon/kernels/cpu/gather.hpp>
#include <tenon/kernels/cpu/slices.hpp>
#include <tenon/ops/copy.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/scatter.cuh>
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

template <class I>
concept IndexType = std::is_same_v<I, std::int64_t> || std::is_same_v<I, std::int32_t>;

template <class I>
TENON_COLD void fail_index(const char* operation, const detail::Record* indices, long at, long size) {
    I found;
    const Device device = indices->storage->device;
    const I* place = reinterpret_cast<const I*>(indices->data()) + at;
    if (device.is_cpu()) found = *place;
    else runtime::backend(device).copy(cpu, &found, device, place, sizeof(I));
    const long value = static_cast<long>(found);
    long position[max_rank];
    for (int i = indices->rank - 1; i >= 0; --i) {
        position[i] = at % indices->dims()[i];
        at /= indices->dims()[i];
    }
    if (size == 0) fail<IndexError>(operation, ": index ", value, " at position ", detail::Sizes{indices->rank, position}, " into an axis without elements");
    fail<IndexError>(operation, ": index ", value, " at position ", detail::Sizes{indices->rank, position}, " of the indices is out of range, expected 0 to ", size - 1,
                     value < 0 ? "\n       hint: negative indices do not count from the end" : "");
}
template <class I>
void check_indices(const char* operation, const detail::Record* indices, long size) {
    const long bad = TENON_RUN(indices->storage->device, find_bad_index(reinterpret_cast<const I*>(indices->data()), indices->size, size));
    if (TENON_UNLIKELY(bad >= 0)) fail_index<I>(operation, indices, bad, size);
}

struct IndexedAxis { long outer = 1, n = 1, inner = 1; };
inline IndexedAxis indexed_axis(const detail::Record* r, int axis) {
    IndexedAxis s;
    for (int i = 0; i < r->rank; ++i) (i < axis ? s.outer : i == axis ? s.n : s.inner) *= r->dims()[i];
    return s;
}

// Rows of a table that were chosen; after backward `touched` lists those with a gradient, ascending.
class RowsNode : public detail::OperationNode<1> {
public:
    using OperationNode::OperationNode;
    detail::AnyTensor touched;
    // On a device listing them would make the host wait: the indices are kept until somebody asks.
    detail::AnyTensor chosen;
    virtual void list_touched() = 0;
};
// Told apart by its address.
inline constexpr char embedding_name[] = "embedding";

// x [outer, n, inner] -> [outer, m, inner], the same m indices for every outer one.
template <class T, class I>
class SelectNode final : public RowsNode {
public:
    SelectNode(const char* operation, detail::Record* x, detail::Record* indices, IndexedAxis shape) : RowsNode(operation), shape_(shape) {
        set_input(0, x);
        indices_.save(indices);
    }
    void release_saved() noexcept override { indices_.tensor = detail::AnyTensor(); }
    const void* kind() const noexcept override { return &detail::node_kind<SelectNode>; }
    const detail::Saved& indices() const { return indices_; }
    IndexedAxis shape() const { return shape_; }
    void backward() override {
        detail::Record* indices = indices_.check(name);
        const T* dy = reinterpret_cast<const T*>(gradient()->data());
        const detail::GradientTarget to = detail::gradient_target(edges_[0]);
        add_up(indices, dy, reinterpret_cast<T*>(to.record->data()), to.mode == 1);
    }
    // dx[.., indices[j], ..] += dy[.., j, ..], from zero where dx is to be cleared.
    void add_up(detail::Record* indices, const T* dy, T* dx, bool clear) {
        const I* index = reinterpret_cast<const I*>(indices->data());
        const Device device = indices->storage->device;
        const long m = indices->size;
        std::int64_t* rows = nullptr;
        if (name == embedding_name) {
            const long most = m < shape_.n ? m : shape_.n;
            if (device.is_cpu()) {
                touched = detail::AnyTensor(detail::new_record(DType::int64, 1, &most, cpu));
                rows = reinterpret_cast<std::int64_t*>(touched->data());
            } else {
                touched = detail::AnyTensor();
                chosen = detail::AnyTensor::share(indices);
            }
        }
        const long found = TENON_RUN(device, scatter_add_slices(shape_.outer, shape_.n, m, shape_.inner, dy, index, dx, !clear, rows));
        const long step = 1;
        if (rows != nullptr) touched = detail::AnyTensor(detail::new_view(touched.get(), 1, &found, &step, 0));
    }
    void list_touched() override {
#if TENON_CUDA
        if (touched || !chosen) return;
        const long most = chosen->size < shape_.n ? chosen->size : shape_.n, step = 1;
        check_device(name, chosen->storage->device);
        touched = detail::AnyTensor(detail::new_record(DType::int64, 1, &most, chosen->storage->device));
        const long found = kernels::cuda::different_indices(chosen->size, reinterpret_cast<const I*>(chosen->data()), shape_.n,
                                                            reinterpret_cast<std::int64_t*>(touched->data()));
        touched = detail::AnyTensor(detail::new_view(touched.get(), 1, &found, &step, 0));
        chosen = detail::AnyTensor();
#endif
    }

private:
    IndexedAxis shape_;
    detail::Saved indices_;
};

template <class T, class I>
detail::AnyTensor select_slices(const char* operation, detail::Record* x, int axis, detail::Record* indices, int rank, const long* dims) {
    check_device(operation, x->storage->device);
    if (!(x->storage->device == indices->storage->device)) fail_devices(operation, x->storage->device, indices->storage->device);
    const IndexedAxis s = indexed_axis(x, axis);
    check_indices<I>(operation, indices, s.n);
    detail::AnyTensor result(detail::new_record(x->dtype, rank, dims, x->storage->device, operation));
    const long m = indices->size, slice = s.inner * static_cast<long>(sizeof(T));
    const I* index = reinterpret_cast<const I*>(indices->data());
    TENON_RUN(x->storage->device, gather_slices(s.outer, s.n, m, slice, x->data(), index, result->data()));
    if constexpr (Floating<T>)
        if (detail::wants_gradient(x)) detail::make_node<SelectNode<T, I>>(operation, x, indices, s)->set_result(result.get());
    return result;
}

// dx[.., indices[.., j, ..], ..] += dy[.., j, ..].
template <class T, class I>
class GatherNode final : public detail::OperationNode<1> {
public:
    GatherNode(detail::Record* x, detail::Record* indices, IndexedAxis shape, long m) : OperationNode("gather"), shape_(shape), m_(m) {
        set_input(0, x);
        indices_.save(indices);
    }
    void release_saved() noexcept override { indices_.tensor = detail::AnyTensor(); }
    const void* kind() const noexcept override { return &detail::node_kind<GatherNode>; }
    const detail::Saved& indices() const { return indices_; }
    IndexedAxis shape() const { return shape_; }
    long chosen() const { return m_; }
    void backward() override {
        const I* index = reinterpret_cast<const I*>(indices_.check(name)->data());
        const T* dy = reinterpret_cast<const T*>(gradient()->data());
        const detail::GradientTarget to = detail::gradient_target(edges_[0]);
        TENON_RUN(to.record->storage->device,
                  scatter_add_axis(shape_.outer, shape_.n, m_, shape_.inner, dy, index, reinterpret_cast<T*>(to.record->data()), to.mode == 2));
    }

private:
    IndexedAxis shape_;
    long m_;
    detail::Saved indices_;
};

template <class I>
constexpr void check_index_type() {
    static_assert(IndexType<I>, "tenon: indices are int64 or int32 tensors: write cast<std::int64_t>(i)");
}

}  // namespace impl

// index_select<Axis>(x, indices): the slices of x at the indices (one axis of int64 or int32), in their order, repeats
// allowed: x [.., n, ..] -> [.., m, ..]. Any element type. Throws IndexError. Derivative: slices chosen several times add
// up, in the order of the indices.
template <int Axis, Expression X, Expression N>
[[nodiscard]] auto index_select(X&& x, N&& indices) {
    const auto from = contiguous(impl::as_tensor(static_cast<X&&>(x)));
    const auto index = contiguous(impl::as_tensor(static_cast<N&&>(indices)));
    using From = std::remove_const_t<decltype(from)>;
    using Index = std::remove_const_t<decltype(index)>;
    using I = typename Index::Scalar;
    impl::check_index_type<I>();
    static_assert(Index::rank == 1, "tenon: index_select: the indices must have one axis");
    static_assert(Axis >= -From::rank && Axis < From::rank, "tenon: index_select<Axis>: the axis is outside of the tensor's rank");
    constexpr int axis = detail::normal_axis<Axis, From::rank>();
    Shape<From::rank> dims = from.shape();
    dims[axis] = index.size();
    return From(impl::select_slices<typename From::Scalar, I>("index_select", from.record(), axis, index.record(), From::rank, dims.dims));
}

// embedding(weight, indices): the rows of weight [n, dim] at indices of any number of axes: [.., dim]. Throws IndexError.
// Derivative: as of index_select; the rows that backward has touched are told by touched_rows(result).
template <class T, Expression N>
[[nodiscard]] auto embedding(const Tensor<T, 2>& weight, N&& indices) {
    const Tensor<T, 2> table = contiguous(weight);
    const auto index = contiguous(impl::as_tensor(static_cast<N&&>(indices)));
    using Index = std::remove_const_t<decltype(index)>;
    using I = typename Index::Scalar;
    impl::check_index_type<I>();
    constexpr int R = Index::rank;
    static_assert(R < max_rank, "tenon: embedding: the result would have more than 8 axes");
    Shape<R + 1> dims;
    for (int i = 0; i < R; ++i) dims[i] = index.record()->dims()[i];
    dims[R] = table.record()->dims()[1];
    return Tensor<T, R + 1>(impl::select_slices<T, I>(impl::embedding_name, table.record(), 0, index.record(), R + 1, dims.dims));
}

// The rows of the weight to which backward has given a gradient through this result of embedding, ascending: [rows].
// Throws GradError where it is not such a result or backward has not run.
template <class T, int R>
[[nodiscard]] Tensor<std::int64_t, 1> touched_rows(const Tensor<T, R>& y) {
    Node* node = y.record()->node;
    if (node == nullptr || node->name != impl::embedding_name) fail<GradError>("touched_rows: ", y.record()->description(), " is not a recorded result of embedding");
    impl::RowsNode* rows = static_cast<impl::RowsNode*>(node);
    rows->list_touched();
    if (!rows->touched) fail<GradError>("touched_rows: backward has not run through ", y.record()->description());
    return Tensor<std::int64_t, 1>(rows->touched);
}

// gather<Axis>(x, indices): y[i, j, k] = x[i, indices[i, j, k], k] (for Axis = 1): one index per element of the result,
// which has the indices' sizes; along the other axes those may be smaller than x's (its leading part is meant then). Any
// element type. Throws ShapeError and IndexError. Derivative: elements chosen several times add up, in order.
template <int Axis, Expression X, Expression N>
[[nodiscard]] auto gather(X&& x, N&& indices) {
    auto from = impl::as_tensor(static_cast<X&&>(x));
    const auto index = contiguous(impl::as_tensor(static_cast<N&&>(indices)));
    using From = decltype(from);
    using Index = std::remove_const_t<decltype(index)>;
    using T = typename From::Scalar;
    using I = typename Index::Scalar;
    impl::check_index_type<I>();
    constexpr int R = From::rank;
    static_assert(Index::rank == R, "tenon: gather: the indices must have as many axes as the tensor");
    static_assert(Axis >= -R && Axis < R, "tenon: gather<Axis>: the axis is outside of the tensor's rank");
    constexpr int axis = detail::normal_axis<Axis, R>();
    impl::check_device("gather", from.device());
    if (!(from.device() == index.device())) impl::fail_devices("gather", from.device(), index.device());
    detail::ViewMap map = detail::identity_map(from.record());
    bool part = false;
    for (int i = 0; i < R; ++i) {
        const long have = from.record()->dims()[i], want = index.record()->dims()[i];
        if (i == axis || have == want) continue;
        if (want > have)
            fail<ShapeError>("gather: the indices ", index.record()->description(), " are larger than ", from.record()->description(), " at axis ", i);
        map.dims[i] = want;
        part = true;
    }
    if (part) from = From(detail::make_view(from.record(), map));
    from = contiguous(from);
    const impl::IndexedAxis s = impl::indexed_axis(from.record(), axis);
    impl::check_indices<I>("gather", index.record(), s.n);
    detail::AnyTensor result(detail::new_record(dtype_of<T>, R, index.record()->dims(), from.device(), "gather"));
    const long m = index.record()->dims()[axis];
    TENON_RUN(from.device(), gather_axis(s.outer, s.n, m, s.inner, static_cast<const T*>(from.data()), static_cast<const I*>(index.data()), reinterpret_cast<T*>(result->data())));
    if constexpr (Floating<T>)
        if (detail::wants_gradient(from.record())) detail::make_node<impl::GatherNode<T, I>>(from.record(), index.record(), s, m)->set_result(result.get());
    return From(static_cast<detail::AnyTensor&&>(result));
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
