// Between lanes and heads: of several vectors the sums of their lanes, and numbers repeated over the lanes that they belong to.
#pragma once

#include <tenon/base/simd.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu::impl {

// The sums of neighbouring lanes, those of a before those of b; of eight lanes alternately four lanes of each, which takes half of
// the instructions.
template <class A>
TENON_ALWAYS_INLINE simd<A, 2> pair_sums(const simd<A, 2>& a, const simd<A, 2>& b) {
    using V = simd<A, 2>;
    return V(typename V::Raw(__builtin_shufflevector(a.v, b.v, 0, 2))) + V(typename V::Raw(__builtin_shufflevector(a.v, b.v, 1, 3)));
}
template <class A>
TENON_ALWAYS_INLINE simd<A, 4> pair_sums(const simd<A, 4>& a, const simd<A, 4>& b) {
    using V = simd<A, 4>;
    return V(typename V::Raw(__builtin_shufflevector(a.v, b.v, 0, 2, 4, 6))) + V(typename V::Raw(__builtin_shufflevector(a.v, b.v, 1, 3, 5, 7)));
}
template <class A>
TENON_ALWAYS_INLINE simd<A, 8> pair_sums(const simd<A, 8>& a, const simd<A, 8>& b) {
    using V = simd<A, 8>;
    return V(typename V::Raw(__builtin_shufflevector(a.v, b.v, 0, 2, 8, 10, 4, 6, 12, 14))) +
           V(typename V::Raw(__builtin_shufflevector(a.v, b.v, 1, 3, 9, 11, 5, 7, 13, 15)));
}
// {a0 ... a3 b0 ... b3} + {a4 ... b4 ...}: the halves of both.
template <class A>
TENON_ALWAYS_INLINE simd<A, 8> half_sums(const simd<A, 8>& a, const simd<A, 8>& b) {
    using V = simd<A, 8>;
    return V(typename V::Raw(__builtin_shufflevector(a.v, b.v, 0, 1, 2, 3, 8, 9, 10, 11))) +
           V(typename V::Raw(__builtin_shufflevector(a.v, b.v, 4, 5, 6, 7, 12, 13, 14, 15)));
}
// Lane i: the sum of the lanes of v[i], neighbours first. Which vectors lie side by side changes no bits.
template <class A>
TENON_ALWAYS_INLINE simd<A, 2> lane_sums(const simd<A, 2> (&v)[2]) { return pair_sums(v[0], v[1]); }
template <class A>
TENON_ALWAYS_INLINE simd<A, 4> lane_sums(const simd<A, 4> (&v)[4]) { return pair_sums(pair_sums(v[0], v[1]), pair_sums(v[2], v[3])); }
template <class A>
TENON_ALWAYS_INLINE simd<A, 8> lane_sums(const simd<A, 8> (&v)[8]) {
    return half_sums(pair_sums(pair_sums(v[0], v[1]), pair_sums(v[2], v[3])), pair_sums(pair_sums(v[4], v[5]), pair_sums(v[6], v[7])));
}

// Of up to N vectors the sums of as many neighbouring lanes, in their order.
template <class A, int N>
TENON_ALWAYS_INLINE simd<A, N> group_sums(const simd<A, N> (&v)[1]) { return v[0]; }
template <class A, int N>
TENON_ALWAYS_INLINE simd<A, N> group_sums(const simd<A, N> (&v)[N]) { return lane_sums(v); }
template <class A>
TENON_ALWAYS_INLINE simd<A, 4> group_sums(const simd<A, 4> (&v)[2]) { return pair_sums(v[0], v[1]); }
template <class A>
TENON_ALWAYS_INLINE simd<A, 8> group_sums(const simd<A, 8> (&v)[2]) {
    const simd<A, 8> s = pair_sums(v[0], v[1]);
    return simd<A, 8>(typename simd<A, 8>::Raw(__builtin_shufflevector(s.v, s.v, 0, 1, 4, 5, 2, 3, 6, 7)));
}
template <class A>
TENON_ALWAYS_INLINE simd<A, 8> group_sums(const simd<A, 8> (&v)[4]) {
    const simd<A, 8> s = pair_sums(pair_sums(v[0], v[1]), pair_sums(v[2], v[3]));
    return simd<A, 8>(typename simd<A, 8>::Raw(__builtin_shufflevector(s.v, s.v, 0, 4, 1, 5, 2, 6, 3, 7)));
}

// Lanes half a vector on, a quarter, ...
template <int Step, class A>
TENON_ALWAYS_INLINE simd<A, 2> turned(const simd<A, 2>& a) { return simd<A, 2>(typename simd<A, 2>::Raw(__builtin_shufflevector(a.v, a.v, 1, 0))); }
template <int Step, class A>
TENON_ALWAYS_INLINE simd<A, 4> turned(const simd<A, 4>& a) {
    if constexpr (Step == 2) return simd<A, 4>(typename simd<A, 4>::Raw(__builtin_shufflevector(a.v, a.v, 2, 3, 0, 1)));
    else return simd<A, 4>(typename simd<A, 4>::Raw(__builtin_shufflevector(a.v, a.v, 1, 0, 3, 2)));
}
template <int Step, class A>
TENON_ALWAYS_INLINE simd<A, 8> turned(const simd<A, 8>& a) {
    if constexpr (Step == 4) return simd<A, 8>(typename simd<A, 8>::Raw(__builtin_shufflevector(a.v, a.v, 4, 5, 6, 7, 0, 1, 2, 3)));
    else if constexpr (Step == 2) return simd<A, 8>(typename simd<A, 8>::Raw(__builtin_shufflevector(a.v, a.v, 2, 3, 0, 1, 6, 7, 4, 5)));
    else return simd<A, 8>(typename simd<A, 8>::Raw(__builtin_shufflevector(a.v, a.v, 1, 0, 3, 2, 5, 4, 7, 6)));
}
// The largest lane, the sum of the lanes, in every lane: without a way through memory, where short rows would wait for it.
template <class A, int N>
TENON_ALWAYS_INLINE simd<A, N> largest_everywhere(const simd<A, N>& a) {
    simd<A, N> r = a;
    if constexpr (N > 4) r = max(r, turned<4>(r));
    if constexpr (N > 2) r = max(r, turned<2>(r));
    return max(r, turned<1>(r));
}
template <class A, int N>
TENON_ALWAYS_INLINE simd<A, N> sum_everywhere(const simd<A, N>& a) {
    simd<A, N> r = a;
    if constexpr (N > 4) r += turned<4>(r);
    if constexpr (N > 2) r += turned<2>(r);
    return r + turned<1>(r);
}

// Each of a few numbers in `Width` lanes side by side.
template <class A, int N, int Width>
TENON_ALWAYS_INLINE simd<A, N> spread(const A* p) {
    using V = simd<A, N>;
    if constexpr (Width == 1) {
        return V::load(p);
    } else {
        const auto few = simd<A, N / Width>::load(p);
        if constexpr (N == 4) return V(typename V::Raw(__builtin_shufflevector(few.v, few.v, 0, 0, 1, 1)));
        else if constexpr (Width == 2) return V(typename V::Raw(__builtin_shufflevector(few.v, few.v, 0, 0, 1, 1, 2, 2, 3, 3)));
        else return V(typename V::Raw(__builtin_shufflevector(few.v, few.v, 0, 0, 0, 0, 1, 1, 1, 1)));
    }
}

}  // namespace kernels::cpu::impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
