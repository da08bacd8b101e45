// More reductions over segments of rows: products and standard deviations.
#pragma once

#include <tenon/expr/operators.hpp>
#include <tenon/kernels/cpu/segment_product.hpp>
#include <tenon/ops/segment.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/segment_product.cuh>
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

template <class T>
class SegmentProductNode final : public detail::OperationNode<1> {
public:
    SegmentProductNode(detail::Record* x, const Segments& segments) : OperationNode("segment_product"), segments_(segments) {
        set_input(0, x);
        x_.save(x);
    }
    const void* kind() const noexcept override { return &detail::node_kind<SegmentProductNode>; }
    void release_saved() noexcept override {
        x_.tensor = detail::AnyTensor();
        segments_.release();
    }
    void backward() override {
        const detail::Record* x = x_.check(name);
        const detail::GradientTarget to = detail::gradient_target(edges_[0]);
        const long rows = x->dims()[0];
        TENON_RUN(x->storage->device,
                  segment_product_backward(segments_.count, segments_.begins(), segments_.rows(), rows > 0 ? x->size / rows : 0,
                                           reinterpret_cast<const T*>(x->data()), reinterpret_cast<const T*>(gradient()->data()),
                                           reinterpret_cast<T*>(to.record->data()), to.mode == 2));
    }

private:
    detail::Saved x_;
    SavedSegments segments_;
};

}  // namespace impl

// segment_product(x, segments): the products of the rows of each segment: [rows, ..] -> [segments, ..], 0 of a segment without rows. 16-bit
// types multiply in float. Throws ShapeError. Derivative: the product of the segment's other rows, also beside zeros (on a device by
// division, where the product must not overflow); there is no second one.
template <Expression X>
[[nodiscard]] auto segment_product(X&& given, const Segments& segments) {
    const auto x = contiguous(impl::as_tensor(static_cast<X&&>(given)));
    using Own = std::remove_const_t<decltype(x)>;
    using T = typename Own::Scalar;
    impl::check_segmented<Own>();
    static_assert(Floating<T>, "tenon: segment_product: the input must be floating-point: write cast<float>(x) first");
    impl::check_segments("segment_product", x.record(), segments);
    Shape<Own::rank> dims = x.shape();
    dims[0] = segments.count();
    long width = 1;
    for (int i = 1; i < Own::rank; ++i) width *= dims[i];
    const Own y = empty<T>(dims, x.device());
    TENON_RUN(x.device(), segment_product(segments.count(), segments.pointers().data(),
                                          segments.order().has_value() ? segments.order().data() : nullptr, width,
                                          static_cast<const T*>(x.data()), y.data()));
    if (detail::wants_gradient(x.record())) detail::make_node<impl::SegmentProductNode<T>>(x.record(), segments)->set_result(y.record());
    return y;
}

// segment_std(x, segments): the standard deviations of the rows of each segment, of the population (divided by their number): [rows, ..] ->
// [segments, ..], 0 of a segment without rows. A deviation of 2^-21 of the mean, in double 2^-50, is 0, too: rounding leaves as much of equal
// numbers. 16-bit types compute in float. Throws
// ShapeError. Derivative: (x - mean) / (count y), at 0 it is 0; it has a derivative of its own.
template <Expression X>
[[nodiscard]] auto segment_std(X&& given, const Segments& segments) {
    const auto x = contiguous(impl::as_tensor(static_cast<X&&>(given)));
    using Own = std::remove_const_t<decltype(x)>;
    using T = typename Own::Scalar;
    static_assert(Floating<T>, "tenon: segment_std: the input must be floating-point: write cast<float>(x) first");
    if constexpr (sizeof(T) == 2) {
        return Own(cast<T>(segment_std(cast<float>(x), segments)));
    } else {
        impl::check_segmented<Own>();
        impl::check_segments("segment_std", x.record(), segments);
        const Own average = segment_mean(x, segments);
        const impl::SegmentSumMap of_rows(x.record(), segments, false);
        const Own apart = x - Own(impl::apply_map<T>("segment_std", average.record(), of_rows, true));
        const Own variance = segment_mean(square(apart), segments);
        // As far from the mean as rounding takes equal numbers.
        const Own least = square(T(sizeof(T) == 4 ? 0x1p-21 : 0x1p-50) * average.detach());
        return Own(where(variance <= least, T(0), sqrt(where(variance <= least, T(1), variance))));
    }
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
