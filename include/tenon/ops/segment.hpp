// Reductions over segments of rows: the rows of one segment are neighbours (row pointers, sorted indices), or are brought
// together by a stable sort, once (unsorted indices).
#pragma once

#include <tenon/core/factories.hpp>
#include <tenon/kernels/cpu/scatter_steps.hpp>
#include <tenon/kernels/cpu/segment.hpp>
#include <tenon/ops/extreme.hpp>
#include <tenon/ops/index.hpp>
#include <tenon/ops/linear_map.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/segment.cuh>
#endif

namespace tenon {

// Which rows belong together. Made once, used by any number of operations, forward and backward:
//     const auto s = Segments::from_indices(batch, graphs);
//     auto pooled = segment_mean(x, s);
class Segments {
public:
    Segments() = default;
    // Segment s is the rows [pointers[s], pointers[s + 1]), as in CSR: int64 or int32, beginning with 0. Throws ValueError
    // where they go down, ShapeError where there are none.
    template <class I>
    static Segments from_pointers(const Tensor<I, 1>& pointers);
    // The same of rows in another order: segment s is the rows order[k] for those k; every row comes once. Throws ShapeError
    // where order is not as long, IndexError and ValueError.
    template <class I>
    static Segments from_pointers(const Tensor<I, 1>& pointers, const Tensor<std::int64_t, 1>& order);
    // Row k belongs to segment indices[k]; ascending. count: how many segments there are; -1: up to the largest index.
    // Throws ValueError where the indices go down, IndexError where they are out of range.
    template <class I>
    static Segments from_sorted(const Tensor<I, 1>& indices, long count = -1);
    // The same of indices in any order: sorted stably, so that the rows of a segment keep theirs.
    template <class I>
    static Segments from_indices(const Tensor<I, 1>& indices, long count = -1);

    // On another device: operands are on the segments' own. (From pointers or sorted indices on a device they are checked on
    // the host, which waits; from indices they are sorted on the device.)
    Segments to(Device device) const;

    long count() const { return pointers_.size() - 1; }
    long rows() const { return rows_; }
    // [count + 1], int64: where each segment begins, in order().
    const Tensor<std::int64_t, 1>& pointers() const { return pointers_; }
    // The rows, segment after segment; an empty handle where they lie so already.
    const Tensor<std::int64_t, 1>& order() const { return order_; }

private:
    Tensor<std::int64_t, 1> pointers_, order_;
    long rows_ = 0;
};

inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

template <class I>
long segment_count(const char* operation, const Tensor<I, 1>& indices, long count) {
    check_index_type<I>();
    check_device(operation, indices.device());
    if (count < -1) fail<ValueError>(operation, ": ", count, " segments, expected 0 or more (-1: up to the largest index)");
    if (count == -1) {
        count = 0;
        const Tensor<I, 1> host = indices.device().is_cpu() ? indices : indices.detach().to(cpu);
        for (long k = 0; k < host.size(); ++k) count = static_cast<long>(host.data()[k]) >= count ? static_cast<long>(host.data()[k]) + 1 : count;
    }
    check_indices<I>(operation, indices.record(), count);
    return count;
}

// What the operations keep of Segments.
struct SavedSegments {
    detail::Saved pointers, order;
    long count = 0;

    explicit SavedSegments(const Segments& s) : count(s.count()) {
        pointers.save(s.pointers().record());
        if (s.order().has_value()) order.save(s.order().record());
    }
    const std::int64_t* begins() const { return reinterpret_cast<const std::int64_t*>(pointers.check("segments")->data()); }
    const std::int64_t* rows() const {
        return order.tensor ? reinterpret_cast<const std::int64_t*>(order.check("segments")->data()) : nullptr;
    }
    void release() noexcept { pointers.tensor = order.tensor = detail::AnyTensor(); }
};

// [rows, ...] -> [segments, ...] and back.
class SegmentDims {
public:
    SegmentDims(const detail::Record* x, long count) : rank_(x->rank) {
        for (int i = 0; i < rank_; ++i) {
            from_[i] = to_[i] = x->dims()[i];
            if (i > 0) width_ *= x->dims()[i];
        }
        to_[0] = count;
    }
    int rank(bool) const { return rank_; }
    const long* dims(bool transposed) const { return transposed ? from_ : to_; }
    long width() const { return width_; }
    template <class T>
    void clear(Device device, bool transposed, T* to) const {
        const long size = (transposed ? from_[0] : to_[0]) * width_;
        if (size > 0) detail::zero_bytes(device, to, static_cast<std::size_t>(size) * sizeof(T));
    }

private:
    int rank_;
    long from_[max_rank], to_[max_rank], width_ = 1;
};

// Sums or means of segments; transposed, every row gets (its share of) what its segment has.
class SegmentSumMap : public SegmentDims {
public:
    SegmentSumMap(const detail::Record* x, const Segments& s, bool mean) : SegmentDims(x, s.count()), segments_(s), mean_(mean) {}
    template <class T>
    void run(Device device, bool transposed, const T* from, T* to, bool add) const {
        if (transposed) TENON_RUN(device, segment_sum_backward(segments_.count, segments_.begins(), segments_.rows(), width(), from, mean_, to, add));
        else
            TENON_RUN(device,
                      segment_sum(segments_.count, segments_.begins(), segments_.rows(), static_cast<const T*>(nullptr), width(), from, mean_, to, add));
    }
    void release() noexcept { segments_.release(); }

private:
    SavedSegments segments_;
    bool mean_;
};

// One row chosen per segment and column (-1: none); transposed, the chosen one gets what is there.
class SegmentChoiceMap : public SegmentDims {
public:
    SegmentChoiceMap(const detail::Record* x, long count, detail::Record* at) : SegmentDims(x, count), count_(count) { at_.save(at); }
    template <class T>
    void run(Device device, bool transposed, const T* from, T* to, bool add) const {
        const std::int64_t* at = reinterpret_cast<const std::int64_t*>(at_.check("segments")->data());
        if (!add) clear(device, transposed, to);
        if (transposed) TENON_RUN(device, segment_choice_backward(count_, width(), from, at, to, dims(true)[0]));
        else TENON_RUN(device, each(count_ * width(), kernels::cpu::ChoiceStep<T>{at, from, width(), to}));
    }
    void release() noexcept { at_.tensor = detail::AnyTensor(); }

private:
    detail::Saved at_;
    long count_;
};

inline void check_segments(const char* operation, const detail::Record* x, const Segments& s) {
    check_device(operation, x->storage->device);
    if (!s.pointers().has_value()) fail<ShapeError>(operation, ": the segments are empty: make them with Segments::from_pointers or from_indices");
    if (x->dims()[0] != s.rows())
        fail<ShapeError>(operation, ": ", x->description(), " has ", x->dims()[0], " rows, but the segments are of ", s.rows());
    if (!(x->storage->device == s.pointers().device())) fail_devices(operation, x->storage->device, s.pointers().device());
}
template <class X>
constexpr void check_segmented() {
    static_assert(X::rank >= 1, "tenon: segment_sum, _mean, _max, _min, _softmax: a scalar has no rows");
    static_assert(!std::is_same_v<typename X::Scalar, bool>, "tenon: segment_sum, _mean, _max, _min, _softmax: of a bool tensor: write cast<float>(x) first");
}

template <bool Mean, class X>
auto segment_total(const char* operation, X&& given, const Segments& segments) {
    const auto x = contiguous(as_tensor(static_cast<X&&>(given)));
    using Own = std::remove_const_t<decltype(x)>;
    check_segmented<Own>();
    static_assert(!Mean || Floating<typename Own::Scalar>, "tenon: segment_mean: the mean of an integer tensor is not an integer: write cast<float>(x) first");
    check_segments(operation, x.record(), segments);
    return Own(apply_map<typename Own::Scalar>(operation, x.record(), SegmentSumMap(x.record(), segments, Mean)));
}
template <bool Max, class X>
auto segment_extreme(const char* operation, X&& given, const Segments& segments) {
    const auto x = contiguous(as_tensor(static_cast<X&&>(given)));
    using Own = std::remove_const_t<decltype(x)>;
    using T = typename Own::Scalar;
    check_segmented<Own>();
    check_segments(operation, x.record(), segments);
    Shape<Own::rank> dims = x.shape();
    dims[0] = segments.count();
    Extreme<T, Own::rank> result{empty<T>(dims, x.device()), empty<std::int64_t>(dims, x.device())};
    long width = 1;
    for (int i = 1; i < Own::rank; ++i) width *= dims[i];
    TENON_RUN(x.device(), segment_extreme<Max>(segments.count(), segments.pointers().data(), segments.order().has_value() ? segments.order().data() : nullptr, width,
                                               static_cast<const T*>(x.data()), result.values.data(), result.indices.data()));
    if constexpr (Floating<T>)
        if (detail::wants_gradient(x.record()))
            detail::make_node<LinearMapNode<T, SegmentChoiceMap>>(operation, x.record(), SegmentChoiceMap(x.record(), segments.count(), result.indices.record()), false)
                ->set_result(result.values.record());
    return result;
}

template <class T>
class SegmentSoftmaxNode final : public detail::OperationNode<1> {
public:
    SegmentSoftmaxNode(detail::Record* x, detail::Record* y, const Segments& segments) : OperationNode("segment_softmax"), segments_(segments) {
        set_input(0, x);
        y_.save_output(y);
        kept_ = segments;
    }
    const void* kind() const noexcept override { return &detail::node_kind<SegmentSoftmaxNode>; }
    void release_saved() noexcept override {
        y_.tensor = detail::AnyTensor();
        segments_.release();
        kept_ = Segments();
    }
    void backward() override {
        const detail::Record* y = y_.check(name);
        const detail::GradientTarget to = detail::gradient_target(edges_[0]);
        const long rows = y->dims()[0];
        TENON_RUN(y->storage->device, segment_softmax_backward(segments_.count, segments_.begins(), segments_.rows(), rows > 0 ? y->size / rows : 0,
                                                               reinterpret_cast<const T*>(y->data()), reinterpret_cast<const T*>(gradient()->data()),
                                                               reinterpret_cast<T*>(to.record->data()), to.mode == 2));
    }
    const detail::Saved& y() const { return y_; }
    const Segments& segments() const { return kept_; }

private:
    detail::Saved y_;
    SavedSegments segments_;
    Segments kept_;
};

}  // namespace impl

// segment_sum(x, segments), segment_mean(x, segments): the sums (means) of the rows of each segment: [rows, ..] -> [segments,
// ..]. A segment without rows gives 0. 16-bit types add up in float. Throws ShapeError. Derivative: every row gets its
// segment's gradient (its share of it).
template <Expression X>
[[nodiscard]] auto segment_sum(X&& x, const Segments& segments) { return impl::segment_total<false>("segment_sum", static_cast<X&&>(x), segments); }
template <Expression X>
[[nodiscard]] auto segment_mean(X&& x, const Segments& segments) { return impl::segment_total<true>("segment_mean", static_cast<X&&>(x), segments); }
// auto [values, rows] = segment_max(x, segments): the largest elements of each segment and column, and the rows that they
// are in (int64). Of several the first counts; a NaN is larger (in segment_min smaller) than everything. A segment without
// rows gives 0 and row -1. Derivative: the gradient goes to the element found.
template <Expression X>
[[nodiscard]] auto segment_max(X&& x, const Segments& segments) { return impl::segment_extreme<true>("segment_max", static_cast<X&&>(x), segments); }
template <Expression X>
[[nodiscard]] auto segment_min(X&& x, const Segments& segments) { return impl::segment_extreme<false>("segment_min", static_cast<X&&>(x), segments); }

// segment_softmax(x, segments): exp(x) / sum of exp(x) over the rows of the same segment, per column; computed from the
// difference to the largest. A segment of -inf alone gives NaN. Derivative from the output: y * (dy - sum(dy * y)).
template <Expression X>
[[nodiscard]] auto segment_softmax(X&& given, const Segments& segments) {
    const auto x = contiguous(impl::as_tensor(static_cast<X&&>(given)));
    using Own = std::remove_const_t<decltype(x)>;
    using T = typename Own::Scalar;
    impl::check_segmented<Own>();
    static_assert(Floating<T>, "tenon: segment_softmax: the input must be floating-point: write cast<float>(x) first");
    impl::check_segments("segment_softmax", x.record(), segments);
    Own y = empty<T>(x.shape(), x.device());
    TENON_RUN(x.device(), segment_softmax(segments.count(), segments.pointers().data(), segments.order().has_value() ? segments.order().data() : nullptr,
                                          x.shape(0) > 0 ? x.size() / x.shape(0) : 0, static_cast<const T*>(x.data()), y.data()));
    if (detail::wants_gradient(x.record())) detail::make_node<impl::SegmentSoftmaxNode<T>>(x.record(), y.record(), segments)->set_result(y.record());
    return y;
}

}  // namespace TENON_CONFIG_NAMESPACE

template <class I>
Segments Segments::from_pointers(const Tensor<I, 1>& given) {
    impl::check_index_type<I>();
    if (!given.device().is_cpu()) return from_pointers(given.detach().to(cpu)).to(given.device());
    if (given.size() < 1) fail<ShapeError>("Segments: no row pointers came, expected one more than there are segments");
    Segments s;
    if constexpr (std::is_same_v<I, std::int64_t>) s.pointers_ = contiguous(given.detach());
    else s.pointers_ = cast<std::int64_t>(given);
    const std::int64_t* p = s.pointers_.data();
    if (p[0] != 0) fail<ValueError>("Segments: the row pointers begin with ", static_cast<long>(p[0]), ", expected 0");
    for (long k = 0; k < s.count(); ++k)
        if (p[k + 1] < p[k])
            fail<ValueError>("Segments: the row pointers go down at position ", k + 1, ", from ", static_cast<long>(p[k]), " to ", static_cast<long>(p[k + 1]),
                             "\n       hint: indices of segments go to Segments::from_indices");
    s.rows_ = static_cast<long>(p[s.count()]);
    return s;
}
template <class I>
Segments Segments::from_pointers(const Tensor<I, 1>& pointers, const Tensor<std::int64_t, 1>& given) {
    Segments s = from_pointers(pointers.detach().to(cpu));
    const Tensor<std::int64_t, 1> order = contiguous(given.detach()), host = order.to(cpu);
    if (host.size() != s.rows_) fail<ShapeError>("Segments: an order ", given.record()->description(), " came for ", s.rows_, " rows");
    impl::check_indices<std::int64_t>("Segments", host.record(), s.rows_);
    const Tensor<bool, 1> seen = zeros<bool>({s.rows_});
    for (long k = 0; k < s.rows_; ++k) {
        bool& here = seen.data()[host.data()[k]];
        if (here) fail<ValueError>("Segments: row ", static_cast<long>(host.data()[k]), " comes twice in the order, again at position ", k);
        here = true;
    }
    s = s.to(order.device());
    s.order_ = order;
    return s;
}
template <class I>
Segments Segments::from_sorted(const Tensor<I, 1>& given, long count) {
    if (!given.device().is_cpu()) return from_sorted(given.detach().to(cpu), count).to(given.device());
    const Tensor<I, 1> indices = contiguous(given);
    count = impl::segment_count("Segments", indices, count);
    const I* at = indices.data();
    for (long k = 1; k < indices.size(); ++k)
        if (at[k] < at[k - 1])
            fail<ValueError>("Segments: the indices go down at position ", k, ", from ", static_cast<long>(at[k - 1]), " to ", static_cast<long>(at[k]),
                             "\n       hint: Segments::from_indices takes them in any order");
    Segments s;
    s.rows_ = indices.size();
    s.pointers_ = empty<std::int64_t>({count + 1});
    kernels::cpu::sorted_pointers(s.rows_, count, at, nullptr, s.pointers_.data());
    return s;
}
template <class I>
Segments Segments::from_indices(const Tensor<I, 1>& given, long count) {
    const Tensor<I, 1> indices = contiguous(given);
    count = impl::segment_count("Segments", indices, count);
    const Device device = indices.device();
    Segments s;
    s.rows_ = indices.size();
    s.pointers_ = empty<std::int64_t>({count + 1}, device);
    const I* at = indices.data();
    bool ascending = device.is_cpu();
    for (long k = 1; k < s.rows_ && ascending; ++k) ascending = at[k] >= at[k - 1];
    if (!ascending) {
        s.order_ = empty<std::int64_t>({s.rows_}, device);
        TENON_RUN(device, sort_positions(s.rows_, at, count, s.order_.data()));
    }
    TENON_RUN(device, sorted_pointers(s.rows_, count, at, ascending ? nullptr : static_cast<const std::int64_t*>(s.order_.data()), s.pointers_.data()));
    return s;
}
inline Segments Segments::to(Device device) const {
    Segments s = *this;
    if (pointers_.has_value()) s.pointers_ = pointers_.to(device);
    if (order_.has_value()) s.order_ = order_.to(device);
    return s;
}

}  // namespace tenon
