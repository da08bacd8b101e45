// Scattering: elements (scatter, scatter_add, ...) or whole slices (index_add, index_copy, index_put) of one tensor to
// positions of another, given by indices.
//
// Indices are int64 or int32, counted from 0 and checked: one outside of the axis throws IndexError before anything is
// written. Sums are added in the order of the sources and do not depend on threads.
#pragma once

#include <tenon/core/factories.hpp>
#include <tenon/kernels/cpu/add_strided.hpp>
#include <tenon/kernels/cpu/scatter.hpp>
#include <tenon/kernels/cpu/scatter_steps.hpp>
#include <tenon/ops/index.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/add_strided.cuh>
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

// Whether what x holds takes part in a scatter_mean, scatter_max or scatter_min where sources arrive.
struct ScatterOptions { bool include_self = true; };

// Whether index_put adds to what is there, or replaces it.
struct IndexPutOptions { bool accumulate = false; };

namespace impl {

// Memory for `count` elements on a device, for the duration of a call.
template <class T>
class DeviceBuffer {
public:
    DeviceBuffer(Device device, long count) : record_(detail::new_record(dtype_of<T>, 1, &count, device)) {}
    T* data() const { return reinterpret_cast<T*>(record_->data()); }

private:
    detail::AnyTensor record_;
};

// to[0, size) += from[0, size).
template <class T>
void add_run(Device device, long size, T* to, const T* from) {
    const long step = 1;
    TENON_RUN(device, add_strided(1, &size, to, &step, from, &step));
}
// Runs write(memory) on a gradient's memory where that is fresh; else on a temporary, which is added.
template <class T, class F>
void put_gradient(const detail::GradientTarget& to, F&& write) {
    T* data = reinterpret_cast<T*>(to.record->data());
    if (to.mode == 1) return write(data);
    const Device device = to.record->storage->device;
    const DeviceBuffer<T> own(device, to.record->size);
    write(own.data());
    add_run(device, to.record->size, data, static_cast<const T*>(own.data()));
}
// The gradient goes on as it is.
template <class T>
void pass_gradient(const detail::GradientTarget& to, const T* dy) {
    T* data = reinterpret_cast<T*>(to.record->data());
    const Device device = to.record->storage->device;
    const long size = to.record->size, step = 1;
    if (to.mode == 1) TENON_RUN(device, copy_strided(1, &size, data, &step, dy, &step, static_cast<int>(sizeof(T))));
    else add_run(device, size, data, dy);
}

// Where the sources of a scatter go: index is [outer, m, inner] (int64) into [outer, n, inner].
struct ScatterPlan {
    detail::AnyTensor index;
    long outer = 1, n = 1, m = 1, inner = 1;
    const std::int64_t* at() const { return reinterpret_cast<const std::int64_t*>(index->data()); }
};

// index: contiguous, of the same number of axes as x.
template <class I>
ScatterPlan plan_scatter(const char* operation, const detail::Record* x, int axis, detail::Record* index) {
    check_indices<I>(operation, index, x->dims()[axis]);
    bool part = false;
    for (int i = 0; i < x->rank; ++i) {
        if (i == axis || index->dims()[i] == x->dims()[i]) continue;
        if (index->dims()[i] > x->dims()[i])
            fail<ShapeError>(operation, ": the indices ", index->description(), " are larger than ", x->description(), " at axis ", i);
        part = true;
    }
    ScatterPlan plan;
    if (!part) {
        for (int i = 0; i < x->rank; ++i) (i < axis ? plan.outer : i == axis ? plan.n : plan.inner) *= x->dims()[i];
        plan.m = index->dims()[axis];
        if constexpr (std::is_same_v<I, std::int64_t>) {
            plan.index = detail::AnyTensor::share(index);
            return plan;
        }
    } else {
        plan.n = x->size;
        plan.m = index->size;
    }
    // As int64; where the indices cover a part of the other axes only, as positions in all of x.
    plan.index = detail::AnyTensor(detail::new_record(DType::int64, index->rank, index->dims(), index->storage->device));
    const I* from = reinterpret_cast<const I*>(index->data());
    std::int64_t* to = reinterpret_cast<std::int64_t*>(plan.index->data());
    const Device device = index->storage->device;
    if (!part) {
        TENON_RUN(device, each(index->size, kernels::cpu::ConvertStep<std::int64_t, I>{from, to}));
        return plan;
    }
    kernels::cpu::PositionStep<I> step{x->rank, axis, {}, {}, from, to};
    for (int i = 0; i < x->rank; ++i) {
        step.dims[i] = x->dims()[i];
        step.index_dims[i] = index->dims()[i];
    }
    TENON_RUN(device, each(index->size, step));
    return plan;
}

// What every node of a scatter has: x, src and where they meet.
template <class T>
class ScatterNode : public detail::OperationNode<2> {
public:
    ScatterNode(const char* operation, detail::Record* x, detail::Record* src, const ScatterPlan& plan) : OperationNode(operation), plan_(plan) {
        set_input(0, x);
        if (src != nullptr) set_input(1, src);
        index_.save(plan.index.get());
        plan_.index = detail::AnyTensor();
    }
    void release_saved() noexcept override { index_.tensor = detail::AnyTensor(); }
    const ScatterPlan& plan() const { return plan_; }
    detail::Record* index() const { return index_.check(name); }

protected:
    using Sum = typename kernels::cpu::impl::sum_type<T>::type;
    const std::int64_t* at() const { return reinterpret_cast<const std::int64_t*>(index_.check(name)->data()); }
    const T* given() const { return reinterpret_cast<const T*>(gradient()->data()); }
    // The gradient of src: what arrives for the elements that the sources went to.
    void gather_gradient(const T* dy, T* dsrc) const {
        TENON_RUN(device(), gather_axis(plan_.outer, plan_.n, plan_.m, plan_.inner, dy, at(), dsrc));
    }
    Device device() const { return index_.tensor->storage->device; }
    long size() const { return plan_.outer * plan_.n * plan_.inner; }
    long source_size() const { return plan_.outer * plan_.m * plan_.inner; }

    ScatterPlan plan_;
    detail::Saved index_;
};

// Values replaced: x keeps its gradient elsewhere.
template <class T>
class ScatterSetNode final : public ScatterNode<T> {
public:
    using ScatterNode<T>::ScatterNode;
    const void* kind() const noexcept override { return &detail::node_kind<ScatterSetNode>; }
    void backward() override {
        const ScatterPlan& p = this->plan_;
        if (this->wanted(0))
            put_gradient<T>(detail::gradient_target(this->edges_[0]), [&](T* dx) {
                detail::copy_bytes(this->device(), dx, this->given(), static_cast<std::size_t>(this->size()) * sizeof(T));
                TENON_RUN(this->device(), scatter_fill_axis(p.outer, p.n, p.m, p.inner, T(0.f), this->at(), dx));
            });
        if (this->wanted(1)) put_gradient<T>(detail::gradient_target(this->edges_[1]), [&](T* dsrc) { this->gather_gradient(this->given(), dsrc); });
    }
};

template <class T>
class ScatterAddNode final : public ScatterNode<T> {
public:
    using ScatterNode<T>::ScatterNode;
    const void* kind() const noexcept override { return &detail::node_kind<ScatterAddNode>; }
    void backward() override {
        if (this->wanted(0)) pass_gradient<T>(detail::gradient_target(this->edges_[0]), this->given());
        if (this->wanted(1)) put_gradient<T>(detail::gradient_target(this->edges_[1]), [&](T* dsrc) { this->gather_gradient(this->given(), dsrc); });
    }
};

// counts: how many sources every element has.
template <class T>
class ScatterMeanNode final : public ScatterNode<T> {
public:
    ScatterMeanNode(detail::Record* x, detail::Record* src, const ScatterPlan& plan, detail::Record* counts, bool include_self)
        : ScatterNode<T>("scatter_mean", x, src, plan), include_self_(include_self) {
        counts_.save(counts);
    }
    const void* kind() const noexcept override { return &detail::node_kind<ScatterMeanNode>; }
    void release_saved() noexcept override {
        ScatterNode<T>::release_saved();
        counts_.tensor = detail::AnyTensor();
    }
    void backward() override {
        using A = typename ScatterNode<T>::Sum;
        const A* counts = reinterpret_cast<const A*>(counts_.check(this->name)->data());
        const T* dy = this->given();
        const long size = this->size();
        const Device device = this->device();
        const DeviceBuffer<T> share(device, size);
        TENON_RUN(device, each(size, kernels::cpu::ShareStep<T, A>{dy, counts, include_self_ ? 1 : 0, share.data()}));
        if (this->wanted(1))
            put_gradient<T>(detail::gradient_target(this->edges_[1]), [&](T* dsrc) { this->gather_gradient(share.data(), dsrc); });
        if (!this->wanted(0)) return;
        if (!include_self_) TENON_RUN(device, each(size, kernels::cpu::DropCountedStep<T, A>{counts, share.data()}));
        pass_gradient<T>(detail::gradient_target(this->edges_[0]), share.data());
    }
    const detail::Saved& counts() const { return counts_; }
    bool include_self() const { return include_self_; }

private:
    detail::Saved counts_;
    bool include_self_;
};

// Elements that tie share the gradient.
template <class T>
class ScatterExtremeNode final : public ScatterNode<T> {
public:
    ScatterExtremeNode(const char* operation, detail::Record* x, detail::Record* src, const ScatterPlan& plan, detail::Record* y, bool include_self)
        : ScatterNode<T>(operation, x, src, plan), include_self_(include_self) {
        x_.save(x);
        src_.save(src);
        y_.save_output(y);
    }
    const void* kind() const noexcept override { return &detail::node_kind<ScatterExtremeNode>; }
    void release_saved() noexcept override {
        ScatterNode<T>::release_saved();
        x_.tensor = src_.tensor = y_.tensor = detail::AnyTensor();
    }
    // ties: how many of x and the sources are equal to each element of the result; own: whether x is, equal: which sources are.
    void find_ties(typename ScatterNode<T>::Sum* ties, bool* own, bool* equal) const {
        using A = typename ScatterNode<T>::Sum;
        const ScatterPlan& p = this->plan_;
        const T* x = reinterpret_cast<const T*>(x_.check(this->name)->data());
        const T* src = reinterpret_cast<const T*>(src_.check(this->name)->data());
        const T* y = reinterpret_cast<const T*>(y_.check(this->name)->data());
        const long size = this->size(), sources = this->source_size();
        const Device device = this->device();
        TENON_RUN(device, each(size, kernels::cpu::SetTrueStep{own}));
        if (!include_self_) TENON_RUN(device, scatter_fill_axis(p.outer, p.n, p.m, p.inner, false, this->at(), own));
        TENON_RUN(device, each(size, kernels::cpu::OwnTieStep<T, A>{x, y, own, ties}));
        const DeviceBuffer<T> met(device, sources);
        const DeviceBuffer<A> ones(device, sources);
        this->gather_gradient(y, met.data());
        TENON_RUN(device, each(sources, kernels::cpu::SourceTieStep<T, A>{src, met.data(), equal, ones.data()}));
        TENON_RUN(device, scatter_reduce_axis<kernels::cpu::Scatter::sum>(p.outer, p.n, p.m, p.inner, static_cast<const A*>(ones.data()), this->at(), ties));
    }
    void backward() override {
        using A = typename ScatterNode<T>::Sum;
        const T* dy = this->given();
        const long size = this->size(), sources = this->source_size();
        const Device device = this->device();
        const DeviceBuffer<A> ties(device, size);
        const DeviceBuffer<bool> own(device, size), equal(device, sources);
        find_ties(ties.data(), own.data(), equal.data());
        const DeviceBuffer<T> share(device, size);
        TENON_RUN(device, each(size, kernels::cpu::ShareStep<T, A>{dy, ties.data(), 0, share.data()}));
        if (this->wanted(1))
            put_gradient<T>(detail::gradient_target(this->edges_[1]), [&](T* dsrc) {
                this->gather_gradient(share.data(), dsrc);
                TENON_RUN(device, each(sources, kernels::cpu::DropUnlessStep<T>{equal.data(), dsrc}));
            });
        if (!this->wanted(0)) return;
        TENON_RUN(device, each(size, kernels::cpu::DropUnlessStep<T>{own.data(), share.data()}));
        pass_gradient<T>(detail::gradient_target(this->edges_[0]), share.data());
    }

private:
    detail::Saved x_, src_, y_;
    bool include_self_;
};

enum class ScatterKind { set, add, mean, max, min };

// The part of src that has an index for each of its elements: a recorded view where src is larger.
inline detail::AnyTensor source_part(const char* operation, detail::Record* src, const detail::Record* index) {
    detail::ViewMap map = detail::identity_map(src);
    bool part = false;
    for (int i = 0; i < src->rank; ++i) {
        if (index->dims()[i] > src->dims()[i])
            fail<ShapeError>(operation, ": the indices ", index->description(), " are larger than the source ", src->description(), " at axis ", i);
        part = part || index->dims()[i] != src->dims()[i];
        map.dims[i] = index->dims()[i];
    }
    return part ? detail::make_view(src, map) : detail::AnyTensor::share(src);
}

template <ScatterKind Kind, int Axis, class X, class N, class S>
auto scatter_any(const char* operation, X&& x, N&& indices, S&& source, bool include_self) {
    const auto into = contiguous(as_tensor(static_cast<X&&>(x)));
    const auto index = contiguous(as_tensor(static_cast<N&&>(indices)));
    const auto all = as_tensor(static_cast<S&&>(source));
    using Into = std::remove_const_t<decltype(into)>;
    using Index = std::remove_const_t<decltype(index)>;
    using Source = std::remove_const_t<decltype(all)>;
    using T = typename Into::Scalar;
    using I = typename Index::Scalar;
    constexpr int R = Into::rank;
    check_index_type<I>();
    static_assert(Index::rank == R && Source::rank == R, "tenon: scatter: tensor, indices and source must have the same number of axes");
    static_assert(std::is_same_v<typename Source::Scalar, T>, "tenon: scatter: the source has another element type: write cast<T>(source)");
    static_assert(Axis >= -R && Axis < R, "tenon: scatter<Axis>: the axis is outside of the tensor's rank");
    static_assert(Kind == ScatterKind::set || !std::is_same_v<T, bool>, "tenon: scatter_add, _mean, _max, _min: of a bool tensor: write cast<float>(x) first");
    static_assert(Kind != ScatterKind::mean || Floating<T>, "tenon: scatter_mean: the mean of an integer tensor is not an integer: write cast<float>(x) first");
    check_device(operation, into.device());
    if (!(into.device() == index.device())) fail_devices(operation, into.device(), index.device());
    if (!(into.device() == all.device())) fail_devices(operation, into.device(), all.device());
    const ScatterPlan plan = plan_scatter<I>(operation, into.record(), detail::normal_axis<Axis, R>(), index.record());
    const Source src = contiguous(Source(source_part(operation, all.record(), index.record())));
    const T* from = src.data();
    const std::int64_t* at = plan.at();
    const long size = into.size();
    Into y(detail::AnyTensor(detail::new_record(dtype_of<T>, R, into.record()->dims(), into.device(), operation)));
    const Device device = into.device();
    detail::copy_bytes(device, y.data(), into.data(), static_cast<std::size_t>(size) * sizeof(T));
    if constexpr (Kind == ScatterKind::set) {
        TENON_RUN(device, scatter_axis(plan.outer, plan.n, plan.m, plan.inner, from, at, y.data()));
        if constexpr (Floating<T>)
            if (detail::wants_gradient(into.record()) || detail::wants_gradient(src.record()))
                detail::make_node<ScatterSetNode<T>>(operation, into.record(), src.record(), plan)->set_result(y.record());
        return y;
    } else {
        using A = typename kernels::cpu::impl::sum_type<T>::type;
        const bool recorded = Floating<T> && (detail::wants_gradient(into.record()) || detail::wants_gradient(src.record()));
        detail::AnyTensor counts;
        if constexpr (Kind == ScatterKind::mean) {
            counts = detail::AnyTensor(detail::new_record(dtype_of<A>, R, into.record()->dims(), into.device(), operation));
            detail::zero_bytes(device, counts->data(), static_cast<std::size_t>(size) * sizeof(A));
            TENON_RUN(device, scatter_count_axis(plan.outer, plan.n, plan.m, plan.inner, at, reinterpret_cast<A*>(counts->data())));
        }
        // 16-bit types add up in float.
        const DeviceBuffer<A> wide(device, std::is_same_v<A, T> ? 0 : size);
        A* to = wide.data();
        if constexpr (std::is_same_v<A, T>) to = y.data();
        else TENON_RUN(device, each(size, kernels::cpu::ConvertStep<A, T>{y.data(), to}));
        if (!include_self) {
            A start = A(0);
            if constexpr (Kind == ScatterKind::max || Kind == ScatterKind::min) {
                if constexpr (std::is_floating_point_v<A>) start = static_cast<A>(Kind == ScatterKind::max ? -__builtin_inf() : __builtin_inf());
                else if constexpr (std::is_signed_v<A>) {
                    const A top = static_cast<A>(static_cast<std::make_unsigned_t<A>>(~std::make_unsigned_t<A>(0)) >> 1);
                    start = Kind == ScatterKind::max ? static_cast<A>(-top - 1) : top;
                } else {
                    start = Kind == ScatterKind::max ? A(0) : static_cast<A>(~A(0));
                }
            }
            TENON_RUN(device, scatter_fill_axis(plan.outer, plan.n, plan.m, plan.inner, start, at, to));
        }
        constexpr kernels::cpu::Scatter how = Kind == ScatterKind::max   ? kernels::cpu::Scatter::max
                                              : Kind == ScatterKind::min ? kernels::cpu::Scatter::min
                                                                         : kernels::cpu::Scatter::sum;
        TENON_RUN(device, scatter_reduce_axis<how>(plan.outer, plan.n, plan.m, plan.inner, from, at, to));
        if constexpr (Kind == ScatterKind::mean) {
            const A* n = reinterpret_cast<const A*>(counts->data());
            TENON_RUN(device, each(size, kernels::cpu::ShareStep<A, A>{to, n, include_self ? 1 : 0, to}));
        }
        if constexpr (!std::is_same_v<A, T>) TENON_RUN(device, each(size, kernels::cpu::ConvertStep<T, A>{to, y.data()}));
        if constexpr (Floating<T>) {
            if (!recorded) return y;
            if constexpr (Kind == ScatterKind::add) detail::make_node<ScatterAddNode<T>>(operation, into.record(), src.record(), plan)->set_result(y.record());
            else if constexpr (Kind == ScatterKind::mean)
                detail::make_node<ScatterMeanNode<T>>(into.record(), src.record(), plan, counts.get(), include_self)->set_result(y.record());
            else
                detail::make_node<ScatterExtremeNode<T>>(operation, into.record(), src.record(), plan, y.record(), include_self)->set_result(y.record());
        }
        (void)recorded;
        return y;
    }
}

// Slices of an axis: x [outer, n, inner] gets slice j of src [outer, m, inner] at index[j].
template <class T, class I>
class IndexedSlicesNode final : public detail::OperationNode<2> {
public:
    IndexedSlicesNode(const char* operation, detail::Record* x, detail::Record* indices, detail::Record* src, IndexedAxis shape, bool add)
        : OperationNode(operation), shape_(shape), add_(add) {
        set_input(0, x);
        set_input(1, src);
        indices_.save(indices);
    }
    const void* kind() const noexcept override { return &detail::node_kind<IndexedSlicesNode>; }
    void release_saved() noexcept override { indices_.tensor = detail::AnyTensor(); }
    void backward() override {
        const detail::Record* indices = indices_.check(name);
        const I* index = reinterpret_cast<const I*>(indices->data());
        const long m = indices->size;
        const IndexedAxis s = shape_;
        const Device device = indices->storage->device;
        const T* dy = reinterpret_cast<const T*>(gradient()->data());
        if (wanted(0)) {
            const detail::GradientTarget to = detail::gradient_target(edges_[0]);
            if (add_) pass_gradient<T>(to, dy);
            else
                put_gradient<T>(to, [&](T* dx) {
                    detail::copy_bytes(device, dx, dy, static_cast<std::size_t>(s.outer * s.n * s.inner) * sizeof(T));
                    TENON_RUN(device, put_slices(s.outer, s.n, m, s.inner * static_cast<long>(sizeof(T)), nullptr, index, dx));
                });
        }
        if (!wanted(1)) return;
        put_gradient<T>(detail::gradient_target(edges_[1]), [&](T* dsrc) {
            TENON_RUN(device, gather_slices(s.outer, s.n, m, s.inner * static_cast<long>(sizeof(T)), dy, index, dsrc));
        });
    }
    const IndexedAxis& shape() const { return shape_; }
    bool adds() const { return add_; }
    detail::Record* indices() const { return indices_.check(name); }

private:
    IndexedAxis shape_;
    bool add_;
    detail::Saved indices_;
};

template <class T, class I>
detail::AnyTensor put_slices(const char* operation, detail::Record* x, int axis, detail::Record* indices, detail::Record* src, bool add) {
    check_device(operation, x->storage->device);
    if (!(x->storage->device == indices->storage->device)) fail_devices(operation, x->storage->device, indices->storage->device);
    if (!(x->storage->device == src->storage->device)) fail_devices(operation, x->storage->device, src->storage->device);
    for (int i = 0; i < x->rank; ++i) {
        const long wanted = i == axis ? indices->size : x->dims()[i];
        if (src->dims()[i] != wanted)
            fail<ShapeError>(operation, ": the source is ", src->description(), ", expected size ", wanted, " at axis ", i,
                             i == axis ? " (one slice for each index)" : " as the tensor has", ", which is ", x->description());
    }
    const IndexedAxis s = indexed_axis(x, axis);
    check_indices<I>(operation, indices, s.n);
    detail::AnyTensor result(detail::new_record(x->dtype, x->rank, x->dims(), x->storage->device, operation));
    const long m = indices->size;
    const I* index = reinterpret_cast<const I*>(indices->data());
    const T* from = reinterpret_cast<const T*>(src->data());
    T* to = reinterpret_cast<T*>(result->data());
    const Device device = x->storage->device;
    if (result->size > 0) detail::copy_bytes(device, to, x->data(), static_cast<std::size_t>(result->size) * sizeof(T));
    if (s.inner > 0 && m > 0) {
        if (add) TENON_RUN(device, scatter_add_slices(s.outer, s.n, m, s.inner, from, index, to, true));
        else TENON_RUN(device, put_slices(s.outer, s.n, m, s.inner * static_cast<long>(sizeof(T)), from, index, to));
    }
    if constexpr (Floating<T>)
        if (detail::wants_gradient(x) || detail::wants_gradient(src))
            detail::make_node<IndexedSlicesNode<T, I>>(operation, x, indices, src, s, add)->set_result(result.get());
    return result;
}

template <int Axis, class X, class N, class S>
auto put_slices_any(const char* operation, X&& x, N&& indices, S&& source, bool add) {
    const auto into = contiguous(as_tensor(static_cast<X&&>(x)));
    const auto index = contiguous(as_tensor(static_cast<N&&>(indices)));
    const auto src = contiguous(as_tensor(static_cast<S&&>(source)));
    using Into = std::remove_const_t<decltype(into)>;
    using Index = std::remove_const_t<decltype(index)>;
    using Source = std::remove_const_t<decltype(src)>;
    using T = typename Into::Scalar;
    check_index_type<typename Index::Scalar>();
    static_assert(Index::rank == 1, "tenon: index_add, index_copy: the indices must have one axis");
    static_assert(Axis >= -Into::rank && Axis < Into::rank, "tenon: index_add<Axis>, index_copy<Axis>: the axis is outside of the tensor's rank");
    static_assert(Source::rank == Into::rank, "tenon: index_add, index_copy: the source must have as many axes as the tensor");
    static_assert(std::is_same_v<typename Source::Scalar, T>, "tenon: index_add, index_copy: the source has another element type: write cast<T>(source)");
    static_assert(!std::is_same_v<T, bool>, "tenon: index_add, index_copy: of a bool tensor: write cast<std::uint8_t>(x) first");
    return Into(put_slices<T, typename Index::Scalar>(operation, into.record(), detail::normal_axis<Axis, Into::rank>(), index.record(), src.record(), add));
}

// Positions of the leading axes, as rows of x seen as a matrix.
template <int K>
Tensor<std::int64_t, 1> row_positions(const char* operation, const detail::Record* x, const detail::AnyTensor (&indices)[K]) {
    const long size = indices[0]->size;
    const Device device = x->storage->device;
    check_device(operation, device);
    Tensor<std::int64_t, 1> rows = empty<std::int64_t>({size}, device);
    for (int k = 0; k < K; ++k) {
        const detail::Record* r = indices[k].get();
        for (int i = 0; i < r->rank; ++i)
            if (r->dims()[i] != indices[0]->dims()[i])
                fail<ShapeError>(operation, ": indices of different shapes, ", indices[0]->description(), " and ", r->description());
        if (!(r->storage->device == device)) fail_devices(operation, device, r->storage->device);
        const long n = x->dims()[k];
        auto collect = [&](auto zero) {
            using I = decltype(zero);
            check_indices<I>(operation, r, n);
            const I* at = reinterpret_cast<const I*>(r->data());
            TENON_RUN(device, each(size, kernels::cpu::RowStep<I>{at, k == 0 ? 0 : n, rows.data()}));
        };
        if (r->dtype == DType::int32) collect(std::int32_t(0));
        else collect(std::int64_t(0));
    }
    return rows;
}
// The sizes [rows, what the indices leave].
inline void matrix_dims(const detail::Record* x, int leading, long* dims) {
    dims[0] = dims[1] = 1;
    for (int i = 0; i < x->rank; ++i) dims[i < leading ? 0 : 1] *= x->dims()[i];
}

template <class T, int R, class... N>
constexpr void check_positions() {
    static_assert(sizeof...(N) >= 1 && sizeof...(N) <= R, "tenon: index_put, index_get: one index tensor for each leading axis, at most as many as the tensor has");
    (check_index_type<common_scalar_t<N>>(), ...);
    static_assert(((wrap_t<N>::rank == largest(wrap_t<N>::rank...)) && ...), "tenon: index_put, index_get: the index tensors must have the same number of axes");
}

}  // namespace impl

// scatter<Axis>(x, indices, src): x with src[.., j, ..] at [.., indices[.., j, ..], ..]. All have the same number of axes; the
// indices may be smaller than src (its leading part is used) and, along the other axes, than x. Of several sources of one
// element the last is taken. Throws ShapeError, IndexError. Derivative: x where nothing arrived; src where it went (all that
// went to one element, as in PyTorch).
template <int Axis, Expression X, Expression N, Expression S>
[[nodiscard]] auto scatter(X&& x, N&& indices, S&& src) {
    return impl::scatter_any<impl::ScatterKind::set, Axis>("scatter", static_cast<X&&>(x), static_cast<N&&>(indices), static_cast<S&&>(src), true);
}
// scatter<Axis>(x, indices, number): the number at those positions.
template <int Axis, Expression X, Expression N>
[[nodiscard]] auto scatter(X&& x, N&& indices, std::type_identity_t<common_scalar_t<X>> value) {
    const auto index = impl::as_tensor(static_cast<N&&>(indices));
    return scatter<Axis>(static_cast<X&&>(x), index, full<common_scalar_t<X>>(index.shape(), value, index.device()));
}
// scatter_add<Axis>(x, indices, src): x plus the sources that go to each element, in their order (16-bit types add up in
// float). Operands as of scatter. Derivative: all of x; src where it went.
template <int Axis, Expression X, Expression N, Expression S>
[[nodiscard]] auto scatter_add(X&& x, N&& indices, S&& src) {
    return impl::scatter_any<impl::ScatterKind::add, Axis>("scatter_add", static_cast<X&&>(x), static_cast<N&&>(indices), static_cast<S&&>(src), true);
}
// scatter_mean / scatter_max / scatter_min<Axis>(x, indices, src, {.include_self = true}): the mean, largest or smallest of
// the sources of each element and, with include_self, of what x holds there; elements without sources stay. A NaN is larger
// and smaller than everything. Derivative: equal shares; of several largest (smallest) each gets the same part.
template <int Axis, Expression X, Expression N, Expression S>
[[nodiscard]] auto scatter_mean(X&& x, N&& indices, S&& src, ScatterOptions options = {}) {
    return impl::scatter_any<impl::ScatterKind::mean, Axis>("scatter_mean", static_cast<X&&>(x), static_cast<N&&>(indices), static_cast<S&&>(src),
                                                            options.include_self);
}
template <int Axis, Expression X, Expression N, Expression S>
[[nodiscard]] auto scatter_max(X&& x, N&& indices, S&& src, ScatterOptions options = {}) {
    return impl::scatter_any<impl::ScatterKind::max, Axis>("scatter_max", static_cast<X&&>(x), static_cast<N&&>(indices), static_cast<S&&>(src),
                                                           options.include_self);
}
template <int Axis, Expression X, Expression N, Expression S>
[[nodiscard]] auto scatter_min(X&& x, N&& indices, S&& src, ScatterOptions options = {}) {
    return impl::scatter_any<impl::ScatterKind::min, Axis>("scatter_min", static_cast<X&&>(x), static_cast<N&&>(indices), static_cast<S&&>(src),
                                                           options.include_self);
}

// index_add<Axis>(x, indices, src): x with slice j of src added to slice indices[j] of the axis, in the order of j.
// index_copy<Axis>: replaced by it (the last of several is taken). src has x's sizes but for one slice per index. Throws
// ShapeError, IndexError. Derivative: x (index_copy: where nothing arrived); src gets the slices of the gradient at indices.
template <int Axis, Expression X, Expression N, Expression S>
[[nodiscard]] auto index_add(X&& x, N&& indices, S&& src) {
    return impl::put_slices_any<Axis>("index_add", static_cast<X&&>(x), static_cast<N&&>(indices), static_cast<S&&>(src), true);
}
template <int Axis, Expression X, Expression N, Expression S>
[[nodiscard]] auto index_copy(X&& x, N&& indices, S&& src) {
    return impl::put_slices_any<Axis>("index_copy", static_cast<X&&>(x), static_cast<N&&>(indices), static_cast<S&&>(src), false);
}

// index_get(x, i, j, ...): x[i[k], j[k], ...] for index tensors of one shape [..], one for each leading axis of x; the
// other axes follow: [.., rest...]. Throws ShapeError, IndexError. Derivative: elements chosen several times add up.
template <class T, int R, Expression... N>
[[nodiscard]] auto index_get(const Tensor<T, R>& x, N&&... indices) {
    impl::check_positions<T, R, N...>();
    constexpr int K = static_cast<int>(sizeof...(N)), own = impl::largest(wrap_t<N>::rank...), rank = own + R - K;
    static_assert(rank <= max_rank, "tenon: index_get: the result would have more than 8 axes");
    const detail::AnyTensor list[] = {contiguous(impl::as_tensor(static_cast<N&&>(indices))).any()...};
    const Tensor<std::int64_t, 1> rows = impl::row_positions("index_get", x.record(), list);
    long dims[max_rank], matrix[2];
    for (int i = 0; i < rank; ++i) dims[i] = i < own ? list[0]->dims()[i] : x.record()->dims()[i - own + K];
    impl::matrix_dims(x.record(), K, matrix);
    const Tensor<T, 2> table(detail::reshape_any(x.record(), 2, matrix));
    const Tensor<T, 2> chosen = index_select<0>(table, rows);
    return Tensor<T, rank>(detail::reshape_any(chosen.record(), rank, dims));
}

// index_put(x, values, i, j, ...): x with x[i[k], j[k], ...] = values[k], for index tensors as of index_get and values
// [.., rest...]; the last of several is taken. index_put(x, values, {.accumulate = true}, i, j, ...) adds them, in their
// order. Throws ShapeError, IndexError. Derivative: as of index_copy and index_add.
template <class T, int R, Expression V, Expression... N>
[[nodiscard]] auto index_put(const Tensor<T, R>& x, V&& values, IndexPutOptions options, N&&... indices) {
    impl::check_positions<T, R, N...>();
    constexpr int K = static_cast<int>(sizeof...(N)), own = impl::largest(wrap_t<N>::rank...), rank = own + R - K;
    static_assert(rank <= max_rank, "tenon: index_put: the values would have more than 8 axes");
    const detail::AnyTensor list[] = {contiguous(impl::as_tensor(static_cast<N&&>(indices))).any()...};
    const auto given = impl::as_tensor(static_cast<V&&>(values));
    static_assert(std::is_same_v<typename std::remove_const_t<decltype(given)>::Scalar, T>, "tenon: index_put: the values have another element type: write cast<T>(values)");
    static_assert(std::remove_const_t<decltype(given)>::rank == rank, "tenon: index_put: the values must have the axes of the indices and those that they leave");
    for (int i = 0; i < rank; ++i) {
        const long wanted = i < own ? list[0]->dims()[i] : x.record()->dims()[i - own + K];
        if (given.shape(i) != wanted)
            fail<ShapeError>("index_put: the values are ", given.record()->description(), ", expected size ", wanted, " at axis ", i,
                             i < own ? " as the indices have" : " as the tensor has");
    }
    const Tensor<std::int64_t, 1> rows = impl::row_positions("index_put", x.record(), list);
    long matrix[2], flat[2];
    impl::matrix_dims(x.record(), K, matrix);
    flat[0] = rows.size();
    flat[1] = matrix[1];
    const Tensor<T, 2> table(detail::reshape_any(x.record(), 2, matrix)), lines(detail::reshape_any(given.record(), 2, flat));
    const Tensor<T, 2> changed = options.accumulate ? index_add<0>(table, rows, lines) : index_copy<0>(table, rows, lines);
    return changed.reshape(x.shape());
}
template <class T, int R, Expression V, Expression... N>
[[nodiscard]] auto index_put(const Tensor<T, R>& x, V&& values, N&&... indices) {
    return index_put(x, static_cast<V&&>(values), IndexPutOptions{}, static_cast<N&&>(indices)...);
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
