// simd<T, N>: N lanes of T as a value with arithmetic, over the vector extensions of g++ and clang.
//
// The struct has a user-provided copy constructor, so that it never crosses a function call in registers: code built
// for different instruction sets then agrees about how it is passed, inlined or not. All of it is always_inline
// baseline code; inside a loop with a target attribute it becomes that target's instructions. What the extensions
// cannot express is a plain function with a target attribute that works through references.
#pragma once

#include <tenon/base/half.hpp>

#include <concepts>
#include <cstdint>
#include <type_traits>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

namespace impl {

// g++ drops a dependent vector_size, so every width is spelled out.
template <class T, int N>
struct vector_of;
#define TENON_VECTOR(T, N)                                                                                    \
    template <>                                                                                               \
    struct vector_of<T, N> {                                                                                  \
        typedef T type __attribute__((vector_size(sizeof(T) * N)));                                           \
        typedef T unaligned __attribute__((vector_size(sizeof(T) * N), aligned(alignof(T)), may_alias));      \
    };
#define TENON_VECTORS(T) TENON_VECTOR(T, 2) TENON_VECTOR(T, 4) TENON_VECTOR(T, 8) TENON_VECTOR(T, 16)
TENON_VECTORS(float)
TENON_VECTORS(double)
TENON_VECTORS(std::int8_t)
TENON_VECTORS(std::uint8_t)
TENON_VECTORS(std::int16_t)
TENON_VECTORS(std::uint16_t)
TENON_VECTORS(std::int32_t)
TENON_VECTORS(std::uint32_t)
TENON_VECTORS(std::int64_t)
TENON_VECTORS(std::uint64_t)
#undef TENON_VECTORS
#undef TENON_VECTOR

template <int Bytes>
struct int_of;
template <> struct int_of<1> { using type = std::int8_t; };
template <> struct int_of<2> { using type = std::int16_t; };
template <> struct int_of<4> { using type = std::int32_t; };
template <> struct int_of<8> { using type = std::int64_t; };

// The type that the arithmetic of T is done in: signed integers wrap, as their unsigned twins do.
template <class T>
struct wrapping { using type = T; };
template <> struct wrapping<std::int8_t> { using type = std::uint8_t; };
template <> struct wrapping<std::int16_t> { using type = std::uint16_t; };
template <> struct wrapping<std::int32_t> { using type = std::uint32_t; };
template <> struct wrapping<std::int64_t> { using type = std::uint64_t; };

}  // namespace impl

// N truth values, as lanes of S bytes that are all ones or all zeros.
template <int S, int N>
struct simd_mask {
    using Lane = typename impl::int_of<S>::type;
    using Raw = typename impl::vector_of<Lane, N>::type;
    Raw v;

    TENON_ALWAYS_INLINE simd_mask() {}
    TENON_ALWAYS_INLINE simd_mask(const simd_mask& o) : v(o.v) {}
    TENON_ALWAYS_INLINE explicit simd_mask(const Raw& raw) : v(raw) {}
    TENON_ALWAYS_INLINE simd_mask& operator=(const simd_mask& o) { v = o.v; return *this; }

    template <int S2>
    TENON_ALWAYS_INLINE simd_mask<S2, N> as() const {
        if constexpr (S2 == S) return *this;
        else return simd_mask<S2, N>(__builtin_convertvector(v, typename simd_mask<S2, N>::Raw));
    }
    friend TENON_ALWAYS_INLINE simd_mask operator&(const simd_mask& a, const simd_mask& b) { return simd_mask(a.v & b.v); }
    friend TENON_ALWAYS_INLINE simd_mask operator|(const simd_mask& a, const simd_mask& b) { return simd_mask(a.v | b.v); }
    friend TENON_ALWAYS_INLINE simd_mask operator^(const simd_mask& a, const simd_mask& b) { return simd_mask(a.v ^ b.v); }
    friend TENON_ALWAYS_INLINE simd_mask operator~(const simd_mask& a) { return simd_mask(~a.v); }
};

template <class T, int N>
struct simd {
    using Scalar = T;
    using Raw = typename impl::vector_of<T, N>::type;
    using Unaligned = typename impl::vector_of<T, N>::unaligned;
    using Mask = simd_mask<int(sizeof(T)), N>;
    static constexpr int lanes = N;
    Raw v;
    using Wrapping = typename impl::vector_of<typename impl::wrapping<T>::type, N>::type;

    TENON_ALWAYS_INLINE simd() {}
    TENON_ALWAYS_INLINE simd(const simd& o) : v(o.v) {}
    TENON_ALWAYS_INLINE explicit simd(const Raw& raw) : v(raw) {}
    template <class S>
        requires std::is_arithmetic_v<S>
    TENON_ALWAYS_INLINE explicit simd(S value) {
        // Lane by lane becomes one broadcast. As vector arithmetic or as an initialiser, g++ takes a vector wider than
        // the baseline's registers apart before it is inlined into a wider target, and never puts it together again.
        const T x = static_cast<T>(value);
        if constexpr (sizeof(Raw) <= 16) v = x - Raw{};
        else
            for (int i = 0; i < N; ++i) v[i] = x;
    }
    TENON_ALWAYS_INLINE simd& operator=(const simd& o) { v = o.v; return *this; }

    static TENON_ALWAYS_INLINE simd load(const T* p) {
        // A copy with a name: clang binds the reference of simd(Raw(...)) to the memory itself, which is not aligned.
        const Raw raw = *reinterpret_cast<const Unaligned*>(p);
        return simd(raw);
    }
    TENON_ALWAYS_INLINE void store(T* p) const { *reinterpret_cast<Unaligned*>(p) = v; }
    TENON_ALWAYS_INLINE T operator[](int i) const { return v[i]; }

// clang contracts a * b + c only where it is told so; g++ does it by default.
#if defined(__clang__)
#define TENON_CONTRACT _Pragma("clang fp contract(fast)")
#else
#define TENON_CONTRACT
#endif
    friend TENON_ALWAYS_INLINE simd operator+(const simd& a, const simd& b) { TENON_CONTRACT return simd((Raw)((Wrapping)a.v + (Wrapping)b.v)); }
    friend TENON_ALWAYS_INLINE simd operator-(const simd& a, const simd& b) { TENON_CONTRACT return simd((Raw)((Wrapping)a.v - (Wrapping)b.v)); }
    friend TENON_ALWAYS_INLINE simd operator*(const simd& a, const simd& b) { TENON_CONTRACT return simd((Raw)((Wrapping)a.v * (Wrapping)b.v)); }
    friend TENON_ALWAYS_INLINE simd operator/(const simd& a, const simd& b) { return simd(Raw(a.v / b.v)); }
    friend TENON_ALWAYS_INLINE simd operator-(const simd& a) { return simd((Raw)(-(Wrapping)a.v)); }
    friend TENON_ALWAYS_INLINE Mask operator<(const simd& a, const simd& b) { return Mask(typename Mask::Raw(a.v < b.v)); }
    friend TENON_ALWAYS_INLINE Mask operator<=(const simd& a, const simd& b) { return Mask(typename Mask::Raw(a.v <= b.v)); }
    friend TENON_ALWAYS_INLINE Mask operator>(const simd& a, const simd& b) { return Mask(typename Mask::Raw(a.v > b.v)); }
    friend TENON_ALWAYS_INLINE Mask operator>=(const simd& a, const simd& b) { return Mask(typename Mask::Raw(a.v >= b.v)); }
    friend TENON_ALWAYS_INLINE Mask operator==(const simd& a, const simd& b) { return Mask(typename Mask::Raw(a.v == b.v)); }
    friend TENON_ALWAYS_INLINE Mask operator!=(const simd& a, const simd& b) { return Mask(typename Mask::Raw(a.v != b.v)); }
    TENON_ALWAYS_INLINE simd& operator+=(const simd& o) { return *this = *this + o; }
    TENON_ALWAYS_INLINE simd& operator-=(const simd& o) { return *this = *this - o; }
    TENON_ALWAYS_INLINE simd& operator*=(const simd& o) { return *this = *this * o; }
};

template <class V>
inline constexpr bool is_simd = false;
template <class T, int N>
inline constexpr bool is_simd<simd<T, N>> = true;

// mask ? a : b, lane by lane; neither side's NaN reaches the other.
template <int S, class T, int N>
TENON_ALWAYS_INLINE simd<T, N> select(const simd_mask<S, N>& mask, const simd<T, N>& a, const simd<T, N>& b) {
    return simd<T, N>(typename simd<T, N>::Raw(mask.template as<int(sizeof(T))>().v ? a.v : b.v));
}
template <class T>
    requires std::is_arithmetic_v<T>
TENON_HD TENON_ALWAYS_INLINE T select(bool mask, T a, T b) { return mask ? a : b; }

// The same bits under another lane type.
template <class To, class T, int N>
    requires(sizeof(To) == sizeof(T))
TENON_ALWAYS_INLINE simd<To, N> bit_cast(const simd<T, N>& a) {
    return simd<To, N>((typename simd<To, N>::Raw)a.v);
}
// Value conversion, as static_cast of every lane.
template <class To, class T, int N>
TENON_ALWAYS_INLINE simd<To, N> convert(const simd<T, N>& a) {
    if constexpr (std::is_same_v<To, T>) return a;
    else return simd<To, N>(typename simd<To, N>::Raw(__builtin_convertvector(a.v, typename simd<To, N>::Raw)));
}

namespace impl {
// Machine instructions without an operator, by width. Wider vectors are done in halves.
typedef float f32x4 __attribute__((vector_size(16)));
typedef float f32x8 __attribute__((vector_size(32)));
typedef double f64x2 __attribute__((vector_size(16)));
typedef double f64x4 __attribute__((vector_size(32)));
typedef short i16x8 __attribute__((vector_size(16)));

#if defined(__x86_64__)
inline void sqrt_into(f32x4& out, const f32x4& a) { out = __builtin_ia32_sqrtps(a); }
inline void sqrt_into(f64x2& out, const f64x2& a) { out = __builtin_ia32_sqrtpd(a); }
#if TENON_DISPATCH
#define TENON_HAS_YMM_HELPERS 1
TENON_TARGET_AVX2 inline void sqrt_into(f32x8& out, const f32x8& a) { out = __builtin_ia32_sqrtps256(a); }
TENON_TARGET_AVX2 inline void sqrt_into(f64x4& out, const f64x4& a) { out = __builtin_ia32_sqrtpd256(a); }
TENON_TARGET_AVX2 inline void half_to_float_into(f32x8& out, const i16x8& a) { out = __builtin_ia32_vcvtph2ps256(a); }
TENON_TARGET_AVX2 inline void half_to_float_into(f32x4& out, const i16x8& a) { out = __builtin_ia32_vcvtph2ps(a); }
TENON_TARGET_AVX2 inline void float_to_half_into(i16x8& out, const f32x8& a) { out = __builtin_ia32_vcvtps2ph256(a, 0); }
#endif
#endif
}  // namespace impl

template <class T, int N>
    requires std::is_floating_point_v<T>
TENON_ALWAYS_INLINE simd<T, N> sqrt(const simd<T, N>& a) {
    simd<T, N> r;
    // Less than a register: element by element.
    if constexpr (N * sizeof(T) < 16) {
        for (int i = 0; i < N; ++i) r.v[i] = sizeof(T) == 4 ? T(__builtin_sqrtf(float(a.v[i]))) : T(__builtin_sqrt(double(a.v[i])));
        return r;
    }
#if defined(__x86_64__)
#if TENON_DISPATCH
    constexpr int part = N * sizeof(T) >= 32 ? 32 / sizeof(T) : 16 / sizeof(T);
#else
    constexpr int part = 16 / sizeof(T);
#endif
    using Part = typename impl::vector_of<T, part>;
    TENON_UNROLL(8)
    for (int i = 0; i < int(N / part); ++i) {
        typename Part::type out;
        const typename Part::type in = reinterpret_cast<const typename Part::unaligned*>(&a.v)[i];
        impl::sqrt_into(out, in);
        reinterpret_cast<typename Part::unaligned*>(&r.v)[i] = out;
    }
#else
    for (int i = 0; i < N; ++i) r.v[i] = sizeof(T) == 4 ? T(__builtin_sqrtf(float(a.v[i]))) : T(__builtin_sqrt(double(a.v[i])));
#endif
    return r;
}
template <class T, int N>
TENON_ALWAYS_INLINE simd<T, N> abs(const simd<T, N>& a) {
    if constexpr (std::is_floating_point_v<T>) {
        using I = typename impl::int_of<sizeof(T)>::type;
        using U = std::make_unsigned_t<I>;
        return bit_cast<T>(simd<U, N>(typename simd<U, N>::Raw(bit_cast<U>(a).v & simd<U, N>(U(~U(0)) >> 1).v)));
    } else if constexpr (std::is_unsigned_v<T>) {
        return a;
    } else {
        return select(a < simd<T, N>(0), -a, a);
    }
}
template <class T, int N>
TENON_ALWAYS_INLINE simd<T, N> copysign(const simd<T, N>& magnitude, const simd<T, N>& sign) {
    using U = std::make_unsigned_t<typename impl::int_of<sizeof(T)>::type>;
    const U top = U(U(1) << (8 * sizeof(T) - 1));
    return bit_cast<T>(simd<U, N>(typename simd<U, N>::Raw((bit_cast<U>(magnitude).v & U(~top)) | (bit_cast<U>(sign).v & top))));
}
// The smaller / larger of two; a NaN in either is the result (PyTorch's minimum / maximum).
template <class T, int N>
TENON_ALWAYS_INLINE simd<T, N> min(const simd<T, N>& a, const simd<T, N>& b) {
    const simd<T, N> r = select(b < a, b, a);
    if constexpr (std::is_floating_point_v<T>) return select(b != b, b, r);
    else return r;
}
template <class T, int N>
TENON_ALWAYS_INLINE simd<T, N> max(const simd<T, N>& a, const simd<T, N>& b) {
    const simd<T, N> r = select(b > a, b, a);
    if constexpr (std::is_floating_point_v<T>) return select(b != b, b, r);
    else return r;
}
// Rounds towards minus infinity / to nearest even.
template <class T, int N>
    requires std::is_floating_point_v<T>
TENON_ALWAYS_INLINE simd<T, N> floor(const simd<T, N>& a) {
    using I = typename impl::int_of<sizeof(T)>::type;
    using V = simd<T, N>;
    const V t = convert<T>(convert<I>(a));
    const V r = select(t > a, t - V(1), t);
    return select(abs(a) < V(sizeof(T) == 4 ? 0x1p23 : 0x1p52), copysign(r, a), a);
}
template <class T, int N>
    requires std::is_floating_point_v<T>
TENON_ALWAYS_INLINE simd<T, N> round(const simd<T, N>& a) {
    using V = simd<T, N>;
    // Adding and taking away 2^(bits - 1) rounds in the adder; opaque to -ffast-math it is not, but there NaN and signs
    // are not promised either.
    const V magic(sizeof(T) == 4 ? 0x1p23 : 0x1p52);
    const V r = (abs(a) + magic) - magic;
    return select(abs(a) < magic, copysign(r, a), a);
}
// The sum of the lanes, halves first: the order depends on N only.
template <class T, int N>
TENON_ALWAYS_INLINE T reduce_add(const simd<T, N>& a) {
    if constexpr (N == 2) {
        return a.v[0] + a.v[1];
    } else {
        using H = simd<T, N / 2>;
        const auto* halves = reinterpret_cast<const typename H::Unaligned*>(&a.v);
        return reduce_add(H(typename H::Raw(halves[0] + halves[1])));
    }
}

// Loads and stores of the 16-bit storage formats, as float lanes.
template <int N>
TENON_ALWAYS_INLINE simd<float, N> load_as_float(const bf16* p) {
    const auto bits = simd<std::uint16_t, N>::load(reinterpret_cast<const std::uint16_t*>(p));
    return bit_cast<float>(simd<std::uint32_t, N>(typename simd<std::uint32_t, N>::Raw(convert<std::uint32_t>(bits).v << 16)));
}
template <int N>
TENON_ALWAYS_INLINE void store_float(bf16* p, const simd<float, N>& a) {
    using U = simd<std::uint32_t, N>;
    const auto u = bit_cast<std::uint32_t>(a).v;
    const typename U::Raw rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
    const U r = select(a != a, U(typename U::Raw((u >> 16) | 0x40u)), U(rounded));
    convert<std::uint16_t>(r).store(reinterpret_cast<std::uint16_t*>(p));
}
template <int N>
TENON_ALWAYS_INLINE simd<float, N> load_as_float(const half* p) {
    simd<float, N> r;
#if TENON_DISPATCH
    if constexpr (N >= 8) {
        TENON_UNROLL(2)
        for (int i = 0; i < N / 8; ++i) {
            impl::f32x8 out;
            const impl::i16x8 in = *(reinterpret_cast<const typename simd<short, 8>::Unaligned*>(p) + i);
            impl::half_to_float_into(out, in);
            reinterpret_cast<typename simd<float, 8>::Unaligned*>(&r.v)[i] = out;
        }
        return r;
    }
#endif
    for (int i = 0; i < N; ++i) r.v[i] = detail::half_value(p[i].bits);
    return r;
}
template <int N>
TENON_ALWAYS_INLINE void store_float(half* p, const simd<float, N>& a) {
#if TENON_DISPATCH
    if constexpr (N >= 8) {
        TENON_UNROLL(2)
        for (int i = 0; i < N / 8; ++i) {
            impl::i16x8 out;
            const impl::f32x8 in = reinterpret_cast<const typename simd<float, 8>::Unaligned*>(&a.v)[i];
            impl::float_to_half_into(out, in);
            *(reinterpret_cast<typename simd<short, 8>::Unaligned*>(p) + i) = out;
        }
        return;
    }
#endif
    for (int i = 0; i < N; ++i) p[i].bits = detail::half_bits(a.v[i]);
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
