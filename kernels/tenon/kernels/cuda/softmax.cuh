// Softmax and log-softmax, forward and backward (cpu/softmax.hpp): one kernel each.
//
// Memory moved: x once and y once (a row is read twice, the second time from cache); backward y, dy and dx once.
#pragma once

#include <tenon/kernels/cuda/rows.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

template <bool Log, Group G, class T>
__global__ void softmax_rows(Rows rows, const T* x, T* y) {
#if TENON_DEVICE_CODE
    using A = accumulator<T>;
    for_rows<G>(rows, [&](long, long at, bool exists) {
        Spread<A> s = no_spread<A>();
        for_elements<G>(rows, exists, [&](long, long k) { add_to(s, static_cast<A>(x[at + k])); });
        s = row_spread<G>(s);
        const A factor = A(1) / s.sum, logs = Log ? math::log(s.sum) : A(0);
        for_elements<G>(rows, exists, [&](long, long k) {
            const A d = static_cast<A>(x[at + k]) - s.largest;
            y[at + k] = static_cast<T>(Log ? d - logs : math::exp(d) * factor);
        });
    });
#endif
}
template <bool Log, Group G, class T>
__global__ void softmax_rows_backward(Rows rows, const T* y, const T* dy, T* dx, bool accumulate) {
#if TENON_DEVICE_CODE
    using A = accumulator<T>;
    for_rows<G>(rows, [&](long, long at, bool exists) {
        A sum = 0;
        for_elements<G>(rows, exists, [&](long, long k) { sum += static_cast<A>(dy[at + k]) * (Log ? A(1) : static_cast<A>(y[at + k])); });
        sum = row_sum<G>(sum);
        for_elements<G>(rows, exists, [&](long, long k) {
            const A p = static_cast<A>(y[at + k]), d = static_cast<A>(dy[at + k]);
            const A r = Log ? d - math::exp(p) * sum : p * (d - sum);
            dx[at + k] = static_cast<T>(accumulate ? static_cast<A>(dx[at + k]) + r : r);
        });
    });
#endif
}

namespace softmax_impl {

template <bool Log, class T>
void run(long outer, long n, long inner, const T* x, T* y) {
    const Rows rows(Log ? "log_softmax" : "softmax", outer, n, inner);
    if (rows.count == 0 || n == 0) return;
    with_group(rows, [&]<Group G>(std::integral_constant<Group, G>, long blocks) {
        launch(Log ? "log_softmax" : "softmax", softmax_rows<Log, G, T>, blocks, block_threads, rows, x, y);
    });
}
template <bool Log, class T>
void run_backward(long outer, long n, long inner, const T* y, const T* dy, T* dx, bool accumulate) {
    const Rows rows(Log ? "log_softmax" : "softmax", outer, n, inner);
    if (rows.count == 0 || n == 0) return;
    with_group(rows, [&]<Group G>(std::integral_constant<Group, G>, long blocks) {
        launch(Log ? "log_softmax" : "softmax", softmax_rows_backward<Log, G, T>, blocks, block_threads, rows, y, dy, dx, accumulate);
    });
}

}  // namespace softmax_impl

template <class T>
void softmax(long outer, long n, long inner, const T* x, T* y) { softmax_impl::run<false>(outer, n, inner, x, y); }
template <class T>
void log_softmax(long outer, long n, long inner, const T* x, T* y) { softmax_impl::run<true>(outer, n, inner, x, y); }
template <class T>
void softmax_backward(long outer, long n, long inner, const T* y, const T* dy, T* dx, bool accumulate) {
    softmax_impl::run_backward<false>(outer, n, inner, y, dy, dx, accumulate);
}
template <class T>
void log_softmax_backward(long outer, long n, long inner, const T* y, const T* dy, T* dx, bool accumulate) {
    softmax_impl::run_backward<true>(outer, n, inner, y, dy, dx, accumulate);
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
