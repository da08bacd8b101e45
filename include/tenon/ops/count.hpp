// Counting into bins: bincount and histogram.
#pragma once

#include <tenon/core/factories.hpp>
#include <tenon/kernels/cpu/count.hpp>
#include <tenon/ops/extreme.hpp>
#include <tenon/ops/index.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/count.cuh>
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

// What histogram returns: how many elements lie in each interval, and its bins + 1 edges.
template <class T>
struct Histogram {
    Tensor<std::int64_t, 1> counts;
    Tensor<T, 1> edges;
};

namespace impl {

// How many bins the numbers of x need: one more than the largest, at least `least`.
template <class I>
long bins_on_host(long n, const I* p, long least) {
    long bins = least;
    for (long i = 0; i < n; ++i) {
        const long v = static_cast<long>(p[i]);
        if (TENON_UNLIKELY(v < 0)) fail<ValueError>("bincount: ", v, " at position ", i, ", expected no negative numbers");
        bins = v >= bins ? v + 1 : bins;
    }
    return bins;
}
template <class I>
long bins_for(const Tensor<I, 1>& x, long least) {
    if (least < 0) fail<ValueError>("bincount: minlength ", least, ", expected 0 or more");
    if (x.device().is_cpu()) return bins_on_host(x.size(), static_cast<const I*>(x.data()), least);
    const no_grad none;
    if (x.size() == 0) return least;
    if (min(x).item() < 0) return bins_on_host(x.size(), static_cast<const I*>(x.to(cpu).data()), least);  // to say where
    const long largest = static_cast<long>(max(x).item());
    return largest >= least ? largest + 1 : least;
}

template <class T, class I>
class BincountNode final : public detail::OperationNode<1> {
public:
    BincountNode(detail::Record* weights, detail::Record* x) : OperationNode("bincount") {
        set_input(0, weights);
        x_.save(x);
    }
    const void* kind() const noexcept override { return &detail::node_kind<BincountNode>; }
    const detail::Saved& x() const { return x_; }
    void release_saved() noexcept override { x_.tensor = detail::AnyTensor(); }
    void backward() override {
        const detail::Record* x = x_.check(name);
        const I* at = reinterpret_cast<const I*>(x->data());
        const T* dy = reinterpret_cast<const T*>(gradient()->data());
        const detail::GradientTarget to = detail::gradient_target(edges_[0]);
        TENON_RUN(to.record->storage->device, bincount_backward(x->size, at, dy, reinterpret_cast<T*>(to.record->data()), to.mode == 2));
    }

private:
    detail::Saved x_;
};

template <class T, int R>
Histogram<T> histogram_of(const Tensor<T, R>& given, const Tensor<T, 1>& edges, bool uniform) {
    const Tensor<T, R> x = contiguous(given);
    check_device("histogram", x.device());
    const long bins = edges.size() - 1;
    if (!(x.device() == edges.device())) fail_devices("histogram", x.device(), edges.device());
    Histogram<T> result{empty<std::int64_t>({bins}, x.device()), edges};
    TENON_RUN(x.device(), histogram(x.size(), static_cast<const T*>(x.data()), bins, static_cast<const T*>(edges.data()), uniform, result.counts.data()));
    return result;
}
template <class T, int R>
Histogram<T> even_histogram(const Tensor<T, R>& x, long bins, double low, double high) {
    static_assert(Floating<T>, "tenon: histogram: defined for floating-point tensors: write cast<float>(x), or bincount(x) for whole numbers");
    if (bins < 1) fail<ValueError>("histogram: ", bins, " bins, expected at least one");
    if (!(low - low == 0 && high - high == 0)) fail<ValueError>("histogram: the range from ", low, " to ", high, " is not finite");
    if (low > high) fail<ValueError>("histogram: the range from ", low, " to ", high, " falls");
    if (low == high) low -= 0.5, high += 0.5;
    Tensor<T, 1> edges = empty<T>({bins + 1});
    // From the nearer end, so that both ends are exact.
    const double step = (high - low) / static_cast<double>(bins);
    for (long i = 0; i <= bins; ++i) {
        const double edge = 2 * i <= bins ? low + step * static_cast<double>(i) : high - step * static_cast<double>(bins - i);
        edges.data()[i] = static_cast<T>(static_cast<accumulate_t<T>>(edge));
    }
    return histogram_of(x, edges.to(x.device()), true);
}

}  // namespace impl

// bincount(x, minlength = 0): how often each whole number 0, 1, .. comes in x (one axis, int64 or int32), int64 [bins]; bins is
// one more than the largest, at least minlength. Throws ValueError for negative numbers. No derivative.
template <Expression E>
[[nodiscard]] Tensor<std::int64_t, 1> bincount(E&& e, long minlength = 0) {
    const auto x = contiguous(impl::as_tensor(static_cast<E&&>(e)));
    using X = std::remove_const_t<decltype(x)>;
    using I = typename X::Scalar;
    impl::check_index_type<I>();
    static_assert(X::rank == 1, "tenon: bincount: x must have one axis");
    impl::check_device("bincount", x.device());
    const long bins = impl::bins_for(x, minlength);
    Tensor<std::int64_t, 1> counts = empty<std::int64_t>({bins}, x.device());
    TENON_RUN(x.device(), bincount(x.size(), static_cast<const I*>(x.data()), bins, counts.data()));
    return counts;
}
// bincount(x, weights, minlength = 0): the sum of the weights (floating-point, one for each of x) where x is 0, 1, .., in
// their type, added in double and in order. Throws ShapeError where the sizes differ. Derivative: every weight gets the
// gradient of its bin.
template <Expression E, Expression W>
[[nodiscard]] auto bincount(E&& e, W&& w, long minlength = 0) {
    const auto x = contiguous(impl::as_tensor(static_cast<E&&>(e)));
    const auto weights = contiguous(impl::as_tensor(static_cast<W&&>(w)));
    using X = std::remove_const_t<decltype(x)>;
    using Weights = std::remove_const_t<decltype(weights)>;
    using I = typename X::Scalar;
    using T = typename Weights::Scalar;
    impl::check_index_type<I>();
    static_assert(X::rank == 1 && Weights::rank == 1, "tenon: bincount: x and the weights must have one axis");
    static_assert(Floating<T>, "tenon: bincount: the weights must be floating-point");
    impl::check_device("bincount", x.device());
    if (!(x.device() == weights.device())) impl::fail_devices("bincount", x.device(), weights.device());
    if (x.size() != weights.size())
        fail<ShapeError>("bincount: ", weights.record()->description(), " has not one weight for each of ", x.record()->description());
    const long bins = impl::bins_for(x, minlength);
    Tensor<T, 1> sums = empty<T>({bins}, x.device());
    TENON_RUN(x.device(), bincount(x.size(), static_cast<const I*>(x.data()), static_cast<const T*>(weights.data()), bins, sums.data()));
    if (detail::wants_gradient(weights.record())) detail::make_node<impl::BincountNode<T, I>>(weights.record(), x.record())->set_result(sums.record());
    return sums;
}

// auto [counts, edges] = histogram(x, bins, low, high): how many elements lie in each of `bins` equal intervals from low to
// high (int64), and their bins + 1 edges. An interval holds its lower edge, the last one both; what lies outside, and NaN,
// counts nowhere. x is floating-point, of any rank. Throws ValueError for no bins and for a falling or infinite range. No
// derivative.
template <Expression E>
[[nodiscard]] auto histogram(E&& e, long bins, double low, double high) {
    return impl::even_histogram(impl::as_tensor(static_cast<E&&>(e)), bins, low, high);
}
// histogram(x, bins): from the smallest to the largest element; where all are equal, half around them; 0 to 1 for no elements.
template <Expression E>
[[nodiscard]] auto histogram(E&& e, long bins) {
    const no_grad none;
    const auto x = impl::as_tensor(static_cast<E&&>(e));
    if (x.size() == 0) return impl::even_histogram(x, bins, 0, 1);
    return impl::even_histogram(x, bins, static_cast<double>(min(x).item()), static_cast<double>(max(x).item()));
}
// histogram(x, edges): between given edges, which rise (not checked) and are at least two.
template <Expression E, class T>
[[nodiscard]] Histogram<T> histogram(E&& e, const Tensor<T, 1>& edges) {
    const auto x = impl::as_tensor(static_cast<E&&>(e));
    static_assert(std::is_same_v<typename std::remove_cvref_t<decltype(x)>::Scalar, T>, "tenon: histogram: the edges must have the element type of x");
    if (edges.size() < 2) fail<ShapeError>("histogram: ", edges.record()->description(), " as edges, expected at least two");
    return impl::histogram_of(x, contiguous(edges.detach()), false);
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
