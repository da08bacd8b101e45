// What rows of images need of vectors: pairs of neighbours taken apart into first and second ones and put together again, as a
// stride of two does, and lanes from anywhere.
#pragma once

#include <tenon/base/simd.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace impl {

using tenon::impl::f32x4;
using tenon::impl::f32x8;
using tenon::impl::f64x2;
using tenon::impl::f64x4;
typedef int index_x8 __attribute__((vector_size(32)));
typedef int index_x4 __attribute__((vector_size(16)));

// Functions of the target that go through references, as in base/simd.hpp: in baseline code g++ would take the wide vectors apart.
inline void split_into(f32x4& even, f32x4& odd, const f32x4& a, const f32x4& b) {
    even = __builtin_shufflevector(a, b, 0, 2, 4, 6);
    odd = __builtin_shufflevector(a, b, 1, 3, 5, 7);
}
inline void split_into(f64x2& even, f64x2& odd, const f64x2& a, const f64x2& b) {
    even = __builtin_shufflevector(a, b, 0, 2);
    odd = __builtin_shufflevector(a, b, 1, 3);
}
inline void join_into(f32x4& a, f32x4& b, const f32x4& even, const f32x4& odd) {
    a = __builtin_shufflevector(even, odd, 0, 4, 1, 5);
    b = __builtin_shufflevector(even, odd, 2, 6, 3, 7);
}
inline void join_into(f64x2& a, f64x2& b, const f64x2& even, const f64x2& odd) {
    a = __builtin_shufflevector(even, odd, 0, 2);
    b = __builtin_shufflevector(even, odd, 1, 3);
}
#if TENON_DISPATCH
TENON_TARGET_AVX2 inline void split_into(f32x8& even, f32x8& odd, const f32x8& a, const f32x8& b) {
    even = __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14);
    odd = __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
}
TENON_TARGET_AVX2 inline void split_into(f64x4& even, f64x4& odd, const f64x4& a, const f64x4& b) {
    even = __builtin_shufflevector(a, b, 0, 2, 4, 6);
    odd = __builtin_shufflevector(a, b, 1, 3, 5, 7);
}
TENON_TARGET_AVX2 inline void join_into(f32x8& a, f32x8& b, const f32x8& even, const f32x8& odd) {
    a = __builtin_shufflevector(even, odd, 0, 8, 1, 9, 2, 10, 3, 11);
    b = __builtin_shufflevector(even, odd, 4, 12, 5, 13, 6, 14, 7, 15);
}
TENON_TARGET_AVX2 inline void join_into(f64x4& a, f64x4& b, const f64x4& even, const f64x4& odd) {
    a = __builtin_shufflevector(even, odd, 0, 4, 1, 5);
    b = __builtin_shufflevector(even, odd, 2, 6, 3, 7);
}
// The two compilers have names of their own for the gathering instructions.
#if defined(__clang__)
#define TENON_GATHER_F32X8 __builtin_ia32_gatherd_ps256
#define TENON_GATHER_F64X4 __builtin_ia32_gatherd_pd256
#else
#define TENON_GATHER_F32X8 __builtin_ia32_gathersiv8sf
#define TENON_GATHER_F64X4 __builtin_ia32_gathersiv4df
#endif
typedef long long every_x4 __attribute__((vector_size(32)));
TENON_TARGET_AVX2 inline void gather_into(f32x8& out, const float* p, const index_x8& index) {
    const f32x8 none = {};
    const index_x8 every = {-1, -1, -1, -1, -1, -1, -1, -1};
    out = TENON_GATHER_F32X8(none, p, index, (f32x8)every, 4);
}
TENON_TARGET_AVX2 inline void gather_into(f64x4& out, const double* p, const index_x4& index) {
    const f64x4 none = {};
    const every_x4 every = {-1, -1, -1, -1};
    out = TENON_GATHER_F64X4(none, p, index, (f64x4)every, 8);
}
#undef TENON_GATHER_F32X8
#undef TENON_GATHER_F64X4
#endif

// Numbers from 0 to 255 as bytes or integers; g++ 12 converts vectors to bytes lane by lane.
typedef unsigned long long twos_x2 __attribute__((vector_size(16)));
inline void store_bytes(unsigned char* p, const index_x4& codes) {
    const twos_x2 pairs = (twos_x2)codes, joined = pairs | pairs >> 24;
    const std::uint32_t all = std::uint32_t(joined[0] & 0xffff) | std::uint32_t(joined[1]) << 16;
    __builtin_memcpy(p, &all, 4);
}
#if TENON_DISPATCH
typedef unsigned char bytes_x32 __attribute__((vector_size(32)));
typedef unsigned char bytes_x8 __attribute__((vector_size(8)));
TENON_TARGET_AVX2 inline void store_bytes(unsigned char* p, const index_x8& codes) {
    const bytes_x32 bytes = (bytes_x32)codes;
    const bytes_x8 low = __builtin_shufflevector(bytes, bytes, 0, 4, 8, 12, 16, 20, 24, 28);
    __builtin_memcpy(p, &low, 8);
}
#endif
template <class P, int N>
TENON_ALWAYS_INLINE void store_codes(P* p, const simd<std::int32_t, N>& codes) {
    if constexpr (sizeof(P) == 1 && (N == 4 || (N == 8 && TENON_DISPATCH))) store_bytes(p, codes.v);
    else convert<P>(codes).store(p);
}

// Lane i is p[index[i]].
template <class A, int N>
TENON_ALWAYS_INLINE simd<A, N> gather_lanes(const A* p, const simd<std::int32_t, N>& index) {
    simd<A, N> r;
#if TENON_DISPATCH
    if constexpr (N * sizeof(A) == 32) {
        gather_into(r.v, p, index.v);
        return r;
    }
#endif
    for (int i = 0; i < N; ++i) r.v[i] = p[index[i]];
    return r;
}

// Elements 0, 2, 4, ... and 1, 3, 5, ... of the 2 N elements of a and b.
template <class A, int N>
TENON_ALWAYS_INLINE void split_pairs(const simd<A, N>& a, const simd<A, N>& b, simd<A, N>& even, simd<A, N>& odd) {
    split_into(even.v, odd.v, a.v, b.v);
}
// The inverse.
template <class A, int N>
TENON_ALWAYS_INLINE void join_pairs(const simd<A, N>& even, const simd<A, N>& odd, simd<A, N>& a, simd<A, N>& b) {
    join_into(a.v, b.v, even.v, odd.v);
}

}  // namespace impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
