// Products over segments of rows on the device (cpu/segment_product.hpp).
#pragma once

#include <tenon/kernels/cpu/segment_product.hpp>
#include <tenon/kernels/cuda/segment.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {
namespace segment_impl {

// Products are double where the numbers are float, as sums are.
template <class T>
struct ProductOp {
    using A = typename cpu::impl::sum_type<T>::type;
    using State = typename state_sum<A>::type;
    static constexpr bool by_row = false;
    const std::int64_t* order;
    const T* x;
    long width;
    T* y;
    TENON_FUNCTOR State start() const { return State(1); }
    TENON_FUNCTOR void add(State& product, long k, long j) const {
        product = product * static_cast<State>(static_cast<A>(x[row_of(order, k) * width + j]));
    }
    TENON_FUNCTOR void merge(State& a, const State& b) const { a = a * b; }
    TENON_FUNCTOR void finish(State& product, long s, long j, long count, bool write) const {
        if (write) y[s * width + j] = static_cast<T>(static_cast<A>(count > 0 ? product : State(0)));
    }
    TENON_FUNCTOR void row(const State&, long, long, long) const {}
};
// Threads have no rows before and behind theirs: the product of what is not 0 is divided by the row's number, and how many are 0 says
// whose derivative is something else than 0.
template <class T>
struct ProductBackwardOp {
    using A = typename cpu::impl::sum_type<T>::type;
    using Wide = typename state_sum<A>::type;
    struct State {
        Wide product;
        long zeros;
    };
    static constexpr bool by_row = true;
    const std::int64_t* order;
    const T *x, *dy;
    long width;
    T* dx;
    bool accumulate;
    TENON_FUNCTOR State start() const { return {Wide(1), 0}; }
    TENON_FUNCTOR void add(State& a, long k, long j) const {
        const Wide v = static_cast<Wide>(static_cast<A>(x[row_of(order, k) * width + j]));
        if (v == Wide(0)) ++a.zeros;
        else a.product = a.product * v;
    }
    TENON_FUNCTOR void merge(State& a, const State& b) const {
        a.product = a.product * b.product;
        a.zeros += b.zeros;
    }
    TENON_FUNCTOR void finish(State&, long, long, long, bool) const {}
    TENON_FUNCTOR void row(const State& a, long s, long k, long j) const {
        const long at = row_of(order, k) * width + j;
        const Wide v = static_cast<Wide>(static_cast<A>(x[at]));
        const Wide others = v == Wide(0) ? (a.zeros == 1 ? a.product : Wide(0)) : a.zeros == 0 ? a.product / v : Wide(0);
        const A d = static_cast<A>(others * static_cast<Wide>(static_cast<A>(dy[s * width + j])));
        dx[at] = static_cast<T>(accumulate ? static_cast<A>(static_cast<A>(dx[at]) + d) : d);
    }
};

}  // namespace segment_impl

// y[s, :] = the products over the rows of each segment, 0 where there are none.
template <class T>
void segment_product(long segments, const std::int64_t* pointers, const std::int64_t* order, long width, const T* x, T* y) {
    for_segments("segment_product", segment_impl::ProductOp<T>{order, x, width, y}, segments, pointers, width);
}
// dx[order[k], :] (+)= dy[s, :] times the product of the other rows of segment s.
template <class T>
void segment_product_backward(long segments, const std::int64_t* pointers, const std::int64_t* order, long width, const T* x, const T* dy,
                              T* dx, bool accumulate) {
    for_segments("segment_product_backward", segment_impl::ProductBackwardOp<T>{order, x, dy, width, dx, accumulate}, segments, pointers,
                 width);
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
