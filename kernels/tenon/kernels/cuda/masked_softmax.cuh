// Softmax and log-softmax over the elements that a mask keeps (cpu/masked_softmax.hpp). The mask is read where it lies,
// broadcast axes included.
//
// Memory moved: x, its mask and y once; backward y, dy and dx once.
#pragma once

#include <tenon/kernels/cuda/softmax.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

// Where the mask of a row begins (by the axes in front of and behind the row's), and its step along the row.
struct RowMask {
    const bool* mask;
    Walk outer, inner;
    long step;
#if TENON_DEVICE_CODE
    TENON_HD const bool* row(const Rows& rows, long r) const {
        const unsigned o = rows.by_inner.quotient(static_cast<unsigned>(r));
        return mask + outer.offset(o) + inner.offset(static_cast<unsigned>(r) - o * rows.by_inner.divisor);
    }
#endif
};

template <bool Log, Group G, class T>
__global__ void masked_softmax_rows(Rows rows, const T* x, RowMask mask, T* y) {
#if TENON_DEVICE_CODE
    using A = accumulator<T>;
    for_rows<G>(rows, [&](long r, long at, bool exists) {
        const bool* kept = exists ? mask.row(rows, r) : nullptr;
        Spread<A> s = no_spread<A>();
        for_elements<G>(rows, exists, [&](long c, long k) {
            if (kept[c * mask.step]) add_to(s, static_cast<A>(x[at + k]));
        });
        s = row_combine<G>(s, MergeSpreads());
        // Nothing above -inf is kept, unless a NaN is.
        const bool nothing = s.largest == static_cast<A>(-INFINITY) && s.sum == s.sum;
        if (!(s.largest - s.largest == A(0))) s.sum = static_cast<A>(NAN);
        const A factor = A(1) / s.sum, logs = Log ? math::log(s.sum) : A(0), hidden = Log ? static_cast<A>(-INFINITY) : A(0);
        for_elements<G>(rows, exists, [&](long c, long k) {
            A v = hidden;
            if (!nothing && kept[c * mask.step]) {
                const A d = static_cast<A>(x[at + k]) - s.largest;
                v = Log ? d - logs : math::exp(d) * factor;
            }
            y[at + k] = static_cast<T>(v);
        });
    });
#endif
}
template <bool Log, Group G, class T>
__global__ void masked_softmax_rows_backward(Rows rows, const T* y, const T* dy, T* dx, bool accumulate) {
#if TENON_DEVICE_CODE
    using A = accumulator<T>;
    const auto hides = [](A p) { return Log ? p == static_cast<A>(-INFINITY) : p == A(0); };
    for_rows<G>(rows, [&](long, long at, bool exists) {
        A sum = 0;
        for_elements<G>(rows, exists, [&](long, long k) {
            const A p = static_cast<A>(y[at + k]);
            if (!hides(p)) sum += static_cast<A>(dy[at + k]) * (Log ? A(1) : p);
        });
        sum = row_sum<G>(sum);
        for_elements<G>(rows, exists, [&](long, long k) {
            const A p = static_cast<A>(y[at + k]), d = static_cast<A>(dy[at + k]);
            const A r = hides(p) ? A(0) : Log ? d - math::exp(p) * sum : p * (d - sum);
            dx[at + k] = static_cast<T>(accumulate ? static_cast<A>(dx[at + k]) + r : r);
        });
    });
#endif
}

// Over `axis` of x, whose sizes are dims; strides are the mask's, 0 along axes that it is broadcast over.
template <bool Log, class T>
void masked_softmax(int rank, const long* dims, int axis, const T* x, const bool* mask, const long* strides, T* y) {
    long outer = 1, inner = 1;
    RowMask kept{mask, {}, {}, strides[axis]};
    for (int i = 0; i < rank; ++i) {
        if (dims[i] == 0) return;
        if (i == axis) continue;
        (i < axis ? outer : inner) *= dims[i];
        (i < axis ? kept.outer : kept.inner).push(dims[i], strides[i]);
    }
    const Rows rows("softmax", outer, dims[axis], inner);
    with_group(rows, [&]<Group G>(std::integral_constant<Group, G>, long blocks) {
        launch("softmax", masked_softmax_rows<Log, G, T>, blocks, block_threads, rows, x, kept, y);
    });
}
template <bool Log, class T>
void masked_softmax_backward(long outer, long n, long inner, const T* y, const T* dy, T* dx, bool accumulate) {
    const Rows rows("softmax", outer, n, inner);
    if (rows.count == 0 || n == 0) return;
    with_group(rows, [&]<Group G>(std::integral_constant<Group, G>, long blocks) {
        launch("softmax", masked_softmax_rows_backward<Log, G, T>, blocks, block_threads, rows, y, dy, dx, accumulate);
    });
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
