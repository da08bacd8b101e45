// Scattering along an axis: sums, extremes, counts and plain values, from [outer, m, inner] into [outer, n, inner].
//
// Source [o, j, i] goes to [o, index[o, j, i], i], in the order of j. Columns are shared out between threads, never rows,
// so that bits do not depend on them.
#pragma once

#include <tenon/kernels/cpu/gather.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

// What becomes of several sources of one element (and of what was there).
enum class Scatter { sum, max, min };

namespace reference {

// The plain version: one source after the other, in the order of o, j, i.
template <Scatter How, class A, class T, class I>
void scatter_reduce_axis(long outer, long n, long m, long inner, const T* src, const I* index, A* dst) {
    for (long o = 0; o < outer; ++o)
        for (long j = 0; j < m; ++j)
            for (long i = 0; i < inner; ++i) {
                A& to = dst[(o * n + static_cast<long>(index[(o * m + j) * inner + i])) * inner + i];
                const A v = static_cast<A>(src[(o * m + j) * inner + i]);
                if (How == Scatter::sum) to = static_cast<A>(to + v);
                else if (to == to && (v != v || (How == Scatter::max ? v > to : v < to))) to = v;
            }
}

}  // namespace reference

// dst[o, index[o, j, i], i] = dst op src[o, j, i]; A is what T accumulates in. NaN wins in max and min.
template <Scatter How, class A, class T, class I>
void scatter_reduce_axis(long outer, long n, long m, long inner, const T* src, const I* index, A* dst) {
    impl::for_columns(outer, outer * m * inner, inner, [&](long o, long begin, long end) {
        for (long j = 0; j < m; ++j) {
            const I* at = index + (o * m + j) * inner;
            const T* from = src + (o * m + j) * inner;
            for (long i = begin; i < end; ++i) {
                A& to = dst[(o * n + static_cast<long>(at[i])) * inner + i];
                const A v = static_cast<A>(from[i]);
                if constexpr (How == Scatter::sum) to = static_cast<A>(to + v);
                else if constexpr (How == Scatter::max) to = v > to || v != v ? v : to;
                else to = v < to || v != v ? v : to;
            }
        }
    });
}

// dst[o, index[o, j, i], i] = value.
template <class T, class I>
void scatter_fill_axis(long outer, long n, long m, long inner, T value, const I* index, T* dst) {
    impl::for_columns(outer, outer * m * inner, inner, [&](long o, long begin, long end) {
        for (long j = 0; j < m; ++j)
            for (long i = begin; i < end; ++i) dst[(o * n + static_cast<long>(index[(o * m + j) * inner + i])) * inner + i] = value;
    });
}

// dst[o, index[o, j, i], i] += 1.
template <class A, class I>
void scatter_count_axis(long outer, long n, long m, long inner, const I* index, A* dst) {
    impl::for_columns(outer, outer * m * inner, inner, [&](long o, long begin, long end) {
        for (long j = 0; j < m; ++j)
            for (long i = begin; i < end; ++i) {
                A& to = dst[(o * n + static_cast<long>(index[(o * m + j) * inner + i])) * inner + i];
                to = static_cast<A>(to + A(1));
            }
    });
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
