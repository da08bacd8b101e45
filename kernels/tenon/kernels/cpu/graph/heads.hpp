// Numbers of several heads side by side: padding, which weights are kept, dot products.
#pragma once

#include <tenon/base/simd_math.hpp>
#include <tenon/kernels/cpu/graph/sddmm.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace impl {

// Heads side by side, padded so that whole vectors hold whole groups of heads or groups whole vectors.
template <int N>
constexpr long padded_heads(long heads) {
    if (heads >= N) return (heads + N - 1) / N * N;
    long padded = 1;
    while (padded < heads) padded *= 2;
    return padded;
}

// Whether the weights of N heads are kept, as factors.
template <class A, int N>
TENON_ALWAYS_INLINE simd<A, N> keep_factors(const bool* kept, A scale) {
    // The bytes are told apart by masks: g++ would convert them lane by lane.
    using I = std::conditional_t<sizeof(A) == 4, std::int32_t, std::int64_t>;
    using V = simd<I, N>;
    V bytes, own;
    TENON_UNROLL(8)
    for (int i = 0; i < N; ++i) own.v[i] = I(0xff) << (8 * (i % 4) % 32);
    if constexpr (N == 8) {
        std::uint64_t word;
        __builtin_memcpy(&word, kept, 8);
        const typename V::Raw words = (typename V::Raw)simd<std::uint64_t, 4>(word).v;
        bytes.v = __builtin_shufflevector(words, words, 0, 0, 0, 0, 1, 1, 1, 1);
    } else {
        std::uint32_t word = 0;
        __builtin_memcpy(&word, kept, N);
        bytes = V(static_cast<I>(word));
    }
    return select(V(typename V::Raw(bytes.v & own.v)) != V(0), simd<A, N>(scale), simd<A, N>(0));
}
template <class A, int N>
TENON_ALWAYS_INLINE simd<A, N> leaky(const simd<A, N>& x, A slope) {
    return select(x > simd<A, N>(0), x, simd<A, N>(slope) * x);
}
// Its derivative.
template <class A, int N>
TENON_ALWAYS_INLINE simd<A, N> bend(const simd<A, N>& x, A slope) {
    return select(x > simd<A, N>(0), simd<A, N>(1), simd<A, N>(slope));
}

template <class A, int N>
TENON_ALWAYS_INLINE void exp_in_place(A* p, long count) {
    for (long i = 0; i < count; i += N) math::exp(simd<A, N>::load(p + i)).store(p + i);
}

// dot_lanes where the width is whole vectors.
template <class A, int N, class T>
TENON_ALWAYS_INLINE simd<A, N> exact_lanes(long width, const T* from, const T* to) {
    simd<A, N> a = move_load<A, N>(from, N) * move_load<A, N>(to, N);
    for (long j = N; j < width; j += N) a += move_load<A, N>(from + j, N) * move_load<A, N>(to + j, N);
    return a;
}
// dots[u] = the sum over `width` elements of the products of what at(u, from, to) points to, in tables that end at end_from and
// end_to. N dot products at a time, however few belong to an edge; writes up to N - 1 more. Exact: the width is whole vectors.
template <class A, int N, bool Exact, class T, class At>
TENON_ALWAYS_INLINE void dot_units(long count, long width, const T* end_from, const T* end_to, At&& at, A* dots) {
    using V = simd<A, N>;
    const long whole = width / N * N + N;  // elements that vectors cover
    for (long u = 0; u < count; u += N) {
        V lanes[N];
        TENON_UNROLL(8)
        for (int q = 0; q < N; ++q) {
            lanes[q] = V(0);
            if (u + q >= count) continue;
            const T *from = nullptr, *to = nullptr;
            at(u + q, from, to);
            if constexpr (Exact) lanes[q] = exact_lanes<A, N>(width, from, to);
            else lanes[q] = dot_lanes<A, N, false>(from, to, nullptr, 0l, width, end_from - from >= whole, end_to - to >= whole);
        }
        lane_sums(lanes).store(dots + u);
    }
}
// The same of `heads` heads side by side, N at a time: of Width < N elements each, in whole vectors, or of any number of whole ones.
template <class A, int N, int Width, class T>
TENON_ALWAYS_INLINE void dot_heads(long heads, const T* from, const T* to, A* dots) {
    using V = simd<A, N>;
    for (long h = 0; h < heads; h += N) {
        V lanes[Width];
        TENON_UNROLL(8)
        for (int q = 0; q < Width; ++q) lanes[q] = move_load<A, N>(from + h * Width + q * N, N) * move_load<A, N>(to + h * Width + q * N, N);
        group_sums(lanes).store(dots + h);
    }
}

}  // namespace impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
