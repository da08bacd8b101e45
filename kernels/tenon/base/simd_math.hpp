// tenon::math: elementary functions that one functor can call for scalars and for SIMD vectors.
//
// `math::exp(x)` takes float, double, simd<float, N> or simd<double, N>. Scalars go to libm (on the device: CUDA's
// functions). Float vectors are branch-free polynomials; special values (infinities, NaN, signed zeros, subnormal
// arguments) behave as in libm. Double vectors call libm lane by lane out of line: gradient checks want its accuracy,
// and the code that each expression inlines stays small.
//
// Stated errors are the largest seen over every 101st float, in units in the last place, against libm in double.
#pragma once

#include <tenon/base/simd.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace math {

using tenon::abs;
using tenon::copysign;
using tenon::floor;
using tenon::max;
using tenon::min;
using tenon::round;
using tenon::select;
using tenon::sqrt;

// ---- Scalars --------------------------------------------------------------------------------------------------------

#if defined(__CUDA_ARCH__)
#define TENON_LIBM(name) ::name
#else
#define TENON_LIBM(name) __builtin_##name
#endif
#define TENON_SCALAR_UNARY(name)                                                                \
    TENON_HD TENON_ALWAYS_INLINE float name(float x) { return TENON_LIBM(name##f)(x); }         \
    TENON_HD TENON_ALWAYS_INLINE double name(double x) { return TENON_LIBM(name)(x); }
TENON_SCALAR_UNARY(exp)
TENON_SCALAR_UNARY(expm1)
TENON_SCALAR_UNARY(log)
TENON_SCALAR_UNARY(log1p)
TENON_SCALAR_UNARY(tanh)
TENON_SCALAR_UNARY(erf)
TENON_SCALAR_UNARY(erfc)
TENON_SCALAR_UNARY(sin)
TENON_SCALAR_UNARY(cos)
TENON_SCALAR_UNARY(sqrt)
TENON_SCALAR_UNARY(floor)
TENON_SCALAR_UNARY(ceil)
TENON_SCALAR_UNARY(trunc)
TENON_SCALAR_UNARY(exp2)
TENON_SCALAR_UNARY(log2)
TENON_SCALAR_UNARY(log10)
TENON_SCALAR_UNARY(tan)
TENON_SCALAR_UNARY(asin)
TENON_SCALAR_UNARY(acos)
TENON_SCALAR_UNARY(atan)
TENON_SCALAR_UNARY(sinh)
TENON_SCALAR_UNARY(cosh)
#undef TENON_SCALAR_UNARY

TENON_HD TENON_ALWAYS_INLINE float abs(float x) { return TENON_LIBM(fabsf)(x); }
TENON_HD TENON_ALWAYS_INLINE double abs(double x) { return TENON_LIBM(fabs)(x); }
// To nearest, ties to even.
TENON_HD TENON_ALWAYS_INLINE float round(float x) { return TENON_LIBM(rintf)(x); }
TENON_HD TENON_ALWAYS_INLINE double round(double x) { return TENON_LIBM(rint)(x); }
TENON_HD TENON_ALWAYS_INLINE float copysign(float x, float s) { return TENON_LIBM(copysignf)(x, s); }
TENON_HD TENON_ALWAYS_INLINE double copysign(double x, double s) { return TENON_LIBM(copysign)(x, s); }
TENON_HD TENON_ALWAYS_INLINE float pow(float x, float y) { return TENON_LIBM(powf)(x, y); }
TENON_HD TENON_ALWAYS_INLINE double pow(double x, double y) { return TENON_LIBM(pow)(x, y); }
#define TENON_SCALAR_BINARY(name)                                                                        \
    TENON_HD TENON_ALWAYS_INLINE float name(float x, float y) { return TENON_LIBM(name##f)(x, y); }      \
    TENON_HD TENON_ALWAYS_INLINE double name(double x, double y) { return TENON_LIBM(name)(x, y); }
TENON_SCALAR_BINARY(atan2)
TENON_SCALAR_BINARY(fmod)
TENON_SCALAR_BINARY(hypot)
#undef TENON_SCALAR_BINARY
TENON_HD TENON_ALWAYS_INLINE float rsqrt(float x) { return 1.f / sqrt(x); }
TENON_HD TENON_ALWAYS_INLINE double rsqrt(double x) { return 1. / sqrt(x); }
// A NaN in either argument is the result, as in the vector versions.
TENON_HD TENON_ALWAYS_INLINE float min(float a, float b) { return b != b || b < a ? b : a; }
TENON_HD TENON_ALWAYS_INLINE double min(double a, double b) { return b != b || b < a ? b : a; }
TENON_HD TENON_ALWAYS_INLINE float max(float a, float b) { return b != b || b > a ? b : a; }
TENON_HD TENON_ALWAYS_INLINE double max(double a, double b) { return b != b || b > a ? b : a; }
// 1 / (1 + e^-x), without overflow on either side.
TENON_HD TENON_ALWAYS_INLINE float sigmoid(float x) {
    const float e = exp(-abs(x));
    return (x < 0 ? e : 1.f) / (1.f + e);
}
TENON_HD TENON_ALWAYS_INLINE double sigmoid(double x) {
    const double e = exp(-abs(x));
    return (x < 0 ? e : 1.) / (1. + e);
}

// ---- Building blocks of the vector versions -------------------------------------------------------------------------

namespace impl {

template <int N>
using Float = simd<float, N>;
template <int N>
using Int = simd<std::int32_t, N>;

// c0 + c1 x + c2 x^2 + ... as even(x^2) + x odd(x^2): two chains of half the length.
template <class V, class... Rest>
TENON_ALWAYS_INLINE void even_and_odd(const V& z, V& even, V& odd, typename V::Scalar c0, typename V::Scalar c1, Rest... rest) {
    if constexpr (sizeof...(rest) == 0) {
        even = V(c0);
        odd = V(c1);
    } else if constexpr (sizeof...(rest) == 1) {
        even = z * V(rest...) + V(c0);
        odd = V(c1);
    } else {
        even_and_odd(z, even, odd, rest...);
        even = z * even + V(c0);
        odd = z * odd + V(c1);
    }
}
template <class V, class... Coefficients>
TENON_ALWAYS_INLINE V polynomial(const V& x, Coefficients... c) {
    V even, odd;
    even_and_odd(x * x, even, odd, c...);
    return x * odd + even;
}

enum class Function { exp, expm1, log, log1p, tanh, erf, erfc, sin, cos, exp2, log2, log10, tan, asin, acos, atan, sinh, cosh };

// The scalar function for n lanes, in memory: out of line so that its users stay small.
template <Function function, class T>
TENON_NOINLINE void each_lane(const T* in, T* out, int n) {
    for (int i = 0; i < n; ++i) {
        if constexpr (function == Function::exp) out[i] = math::exp(in[i]);
        else if constexpr (function == Function::expm1) out[i] = math::expm1(in[i]);
        else if constexpr (function == Function::log) out[i] = math::log(in[i]);
        else if constexpr (function == Function::log1p) out[i] = math::log1p(in[i]);
        else if constexpr (function == Function::tanh) out[i] = math::tanh(in[i]);
        else if constexpr (function == Function::erf) out[i] = math::erf(in[i]);
        else if constexpr (function == Function::erfc) out[i] = math::erfc(in[i]);
        else if constexpr (function == Function::sin) out[i] = math::sin(in[i]);
        else if constexpr (function == Function::cos) out[i] = math::cos(in[i]);
        else if constexpr (function == Function::exp2) out[i] = math::exp2(in[i]);
        else if constexpr (function == Function::log2) out[i] = math::log2(in[i]);
        else if constexpr (function == Function::log10) out[i] = math::log10(in[i]);
        else if constexpr (function == Function::tan) out[i] = math::tan(in[i]);
        else if constexpr (function == Function::asin) out[i] = math::asin(in[i]);
        else if constexpr (function == Function::acos) out[i] = math::acos(in[i]);
        else if constexpr (function == Function::atan) out[i] = math::atan(in[i]);
        else if constexpr (function == Function::sinh) out[i] = math::sinh(in[i]);
        else out[i] = math::cosh(in[i]);
    }
}
enum class Function2 { atan2, fmod, hypot };
template <Function2 function, class T>
TENON_NOINLINE void each_lane(const T* x, const T* y, T* out, int n) {
    for (int i = 0; i < n; ++i) {
        if constexpr (function == Function2::atan2) out[i] = math::atan2(x[i], y[i]);
        else if constexpr (function == Function2::fmod) out[i] = math::fmod(x[i], y[i]);
        else out[i] = math::hypot(x[i], y[i]);
    }
}
template <Function2 function, class T, int N>
TENON_ALWAYS_INLINE simd<T, N> by_lanes(const simd<T, N>& x, const simd<T, N>& y) {
    T xs[N], ys[N], out[N];
    x.store(xs);
    y.store(ys);
    each_lane<function, T>(xs, ys, out, N);
    return simd<T, N>::load(out);
}
template <class T>
TENON_NOINLINE void each_pow(const T* x, const T* y, T* out, int n) {
    for (int i = 0; i < n; ++i) out[i] = math::pow(x[i], y[i]);
}
#if TENON_DISPATCH && !defined(__FAST_MATH__)
#define TENON_HAS_VECTOR_POW 1
// x^y = 2^(y log2 x) in double for 4 positive, normal x and finite y: the double's spare digits make up for the factor y.
TENON_ALWAYS_INLINE void pow_plain(const float* x, const float* y, float* out) {
    using D = simd<double, 4>;
    using U = simd<std::uint64_t, 4>;
    // x = 2^k m with 1/sqrt2 <= m < sqrt2; k + 1024 as an unsigned number, for which shifts exist.
    const U bits = bit_cast<std::uint64_t>(convert<double>(simd<float, 4>::load(x)));
    const U k(typename U::Raw((bits.v - 0x3fe6a09e667f3bcdull + (1024ull << 52)) >> 52));
    const D e = bit_cast<double>(U(typename U::Raw(k.v | 0x4330000000000000ull))) - D(0x1p52 + 1024);
    const D m = bit_cast<double>(U(typename U::Raw(bits.v - ((k.v - 1024) << 52))));
    // log2 m = 2 / ln2 artanh(s), s = (m - 1) / (m + 1), |s| < 0.172: seven terms leave 2^-39 of it.
    const D s = (m - D(1)) / (m + D(1)), z = s * s;
    constexpr double c = 2.8853900817779268;
    const D log2 = e + s * polynomial(z, c, c / 3, c / 5, c / 7, c / 9, c / 11, c / 13);
    D t = convert<double>(simd<float, 4>::load(y)) * log2;
    t = select(t > D(200), D(200), select(t < D(-200), D(-200), t));
    const D shifted = t + D(0x1.8p52), r = (t - (shifted - D(0x1.8p52))) * D(0.69314718055994531);
    const D power = polynomial(r, 1., 1., 1. / 2, 1. / 6, 1. / 24, 1. / 120, 1. / 720, 1. / 5040, 1. / 40320);
    const D scale = bit_cast<double>(U(typename U::Raw((bit_cast<std::uint64_t>(shifted).v + 1023) << 52)));
    convert<float>(power * scale).store(out);
}
TENON_ALWAYS_INLINE bool all_plain(const float* x, const float* y);
// Lanes with anything special in them go to libm.
TENON_TARGET_AVX2 TENON_LOOP inline void pow_avx2(const float* x, const float* y, float* out, int n) {
    for (int i = 0; i < n; i += 8) {
        if (all_plain(x + i, y + i)) {
            pow_plain(x + i, y + i, out + i);
            pow_plain(x + i + 4, y + i + 4, out + i + 4);
        } else {
            each_pow<float>(x + i, y + i, out + i, 8);
        }
    }
}
#endif
template <Function function, class T, int N>
TENON_ALWAYS_INLINE simd<T, N> by_lanes(const simd<T, N>& x) {
    T in[N], out[N];
    x.store(in);
    each_lane<function, T>(in, out, N);
    return simd<T, N>::load(out);
}

#if defined(__x86_64__)
using tenon::impl::f32x4;
using tenon::impl::f32x8;
// The instructions give their second operand when one is NaN.
inline void min_into(f32x4& out, const f32x4& a, const f32x4& b) { out = __builtin_ia32_minps(a, b); }
inline void max_into(f32x4& out, const f32x4& a, const f32x4& b) { out = __builtin_ia32_maxps(a, b); }
#if TENON_DISPATCH
TENON_TARGET_AVX2 inline void min_into(f32x8& out, const f32x8& a, const f32x8& b) { out = __builtin_ia32_minps256(a, b); }
TENON_TARGET_AVX2 inline void max_into(f32x8& out, const f32x8& a, const f32x8& b) { out = __builtin_ia32_maxps256(a, b); }
TENON_TARGET_AVX2 inline void signs_into(int& out, const f32x8& a) { out = __builtin_ia32_movmskps256(a); }
using f32x16 = Float<16>::Raw;
#if defined(__clang__)
TENON_TARGET_AVX512 inline void min_into(f32x16& out, const f32x16& a, const f32x16& b) { out = __builtin_ia32_minps512(a, b, 4); }
TENON_TARGET_AVX512 inline void max_into(f32x16& out, const f32x16& a, const f32x16& b) { out = __builtin_ia32_maxps512(a, b, 4); }
#else
TENON_TARGET_AVX512 inline void min_into(f32x16& out, const f32x16& a, const f32x16& b) { out = __builtin_ia32_minps512_mask(a, b, a, -1, 4); }
TENON_TARGET_AVX512 inline void max_into(f32x16& out, const f32x16& a, const f32x16& b) { out = __builtin_ia32_maxps512_mask(a, b, a, -1, 4); }
#endif
#endif
template <int N>
inline constexpr bool has_min_max = N == 4 || ((N == 8 || N == 16) && TENON_DISPATCH);
#else
template <int N>
inline constexpr bool has_min_max = false;
#endif
// The smaller / larger of a constant and x; a NaN in x stays.
template <int N>
TENON_ALWAYS_INLINE Float<N> at_most(const Float<N>& x, float limit) {
    const Float<N> c(limit);
    if constexpr (has_min_max<N>) {
        Float<N> r;
        min_into(r.v, c.v, x.v);
        return r;
    } else {
        return select(x > c, c, x);
    }
}
template <int N>
TENON_ALWAYS_INLINE Float<N> at_least(const Float<N>& x, float limit) {
    const Float<N> c(limit);
    if constexpr (has_min_max<N>) {
        Float<N> r;
        max_into(r.v, c.v, x.v);
        return r;
    } else {
        return select(x < c, c, x);
    }
}

// y >= 0 with the sign of x: cheaper than copysign.
template <int N>
TENON_ALWAYS_INLINE Float<N> with_sign(const Float<N>& y, const Float<N>& x) {
    const std::int32_t top = std::int32_t(0x80000000u);
    return bit_cast<float>(Int<N>(typename Int<N>::Raw(bit_cast<std::int32_t>(y).v | (bit_cast<std::int32_t>(x).v & top))));
}

// The nearest integer n of x, |x| < 2^22, as float; returns n + Bias in the low 22 bits, whatever above.
template <int Bias, int N>
TENON_ALWAYS_INLINE Int<N> nearest(const Float<N>& x, Float<N>& n) {
#if defined(__FAST_MATH__)  // there (x + magic) - magic is x
    const Int<N> i = convert<std::int32_t>(x + copysign(Float<N>(0.5f), x));
    n = convert<float>(i);
    return i + Int<N>(Bias);
#else
    const Float<N> magic(0x1.8p23f + float(Bias));  // the adder leaves the integer in the low bits of the mantissa
    const Float<N> shifted = x + magic;
    n = shifted - magic;
    return bit_cast<std::int32_t>(shifted);
#endif
}
template <int Count, int N>
TENON_ALWAYS_INLINE Int<N> shift_left(const Int<N>& i) {
    using U = simd<std::uint32_t, N>;
    return bit_cast<std::int32_t>(U(typename U::Raw(bit_cast<std::uint32_t>(i).v << Count)));
}
template <int Count, int N>
TENON_ALWAYS_INLINE Int<N> shift_right(const Int<N>& i) { return Int<N>(typename Int<N>::Raw(i.v >> Count)); }

// 2^n from n + 127 in the low bits, -126 <= n <= 127.
template <int N>
TENON_ALWAYS_INLINE Float<N> power_of_two(const Int<N>& biased) { return bit_cast<float>(shift_left<23>(biased)); }
// y * 2^n from n + 254 in the low bits, -252 <= n <= 254; rounded once when the result is subnormal.
template <int N>
TENON_ALWAYS_INLINE Float<N> scale(const Float<N>& y, const Int<N>& biased) {
    const Int<N> half = shift_right<1>(biased);
    return y * power_of_two(half) * power_of_two(biased - half);
}

// e^r - 1 for |r| <= ln2 / 2; relative error 2^-26.
template <int N>
TENON_ALWAYS_INLINE Float<N> expm1_near_zero(const Float<N>& r) {
    const Float<N> p = polynomial(r, 0x1.fffffep-2f, 0x1.5554bp-3f, 0x1.555796p-5f, 0x1.1227f6p-7f, 0x1.6ad834p-10f);
    return r + (r * r) * p;
}
// x = n ln2 + r with |r| <= ln2 / 2: sets r, returns n + Bias in the low bits. The first product is exact without FMA
// too, for |n| < 512.
template <int Bias, int N>
TENON_ALWAYS_INLINE Int<N> reduce_exp(const Float<N>& x, Float<N>& r) {
    Float<N> n;
    const Int<N> biased = nearest<Bias>(x * Float<N>(0x1.715476p+0f), n);
    r = (x - n * Float<N>(0x1.62e4p-1f)) - n * Float<N>(0x1.7f7d1cp-20f);
    return biased;
}

// log(m) - (m - 1) for 1/sqrt2 <= m < sqrt2, from f = m - 1.
template <int N>
TENON_ALWAYS_INLINE Float<N> log_correction(const Float<N>& f) {
    const Float<N> p = polynomial(f, 0x1.555554p-2f, -0x1.000228p-2f, 0x1.99a02ep-3f, -0x1.5471fcp-3f, 0x1.22d78ap-3f,
                                  -0x1.0d8180p-3f, 0x1.0545eap-3f, -0x1.385712p-4f);
    const Float<N> square = f * f;
    return (square * f) * p - square * Float<N>(0.5f);
}
// x = 2^k (1 + f) for a positive, normal x, with 1 + f in [1/sqrt2, sqrt2): returns k, sets f.
template <int N>
TENON_ALWAYS_INLINE Int<N> split_log(const Float<N>& x, Float<N>& f) {
    const Int<N> bits = bit_cast<std::int32_t>(x);
    const Int<N> k = shift_right<23>(bits - Int<N>(0x3f3504f3));
    f = bit_cast<float>(bits - shift_left<23>(k)) - Float<N>(1.f);
    return k;
}
// The results at the ends of log's domain: log(x) is `inside` where x is positive and finite.
template <int N>
TENON_ALWAYS_INLINE Float<N> log_ends(const Float<N>& x, const Float<N>& inside) {
    const Float<N> zero(0.f), infinity(__builtin_inff());
    const Float<N> below = select(x == zero, -infinity, Float<N>(__builtin_nanf("")));
    return select(x <= zero, below, select(x < infinity, inside, x));
}

template <int S, int N>
TENON_ALWAYS_INLINE bool any(const simd_mask<S, N>& mask) {
#if TENON_DISPATCH
    if constexpr (S == 4 && N == 8) {
        int signs;
        signs_into(signs, (f32x8)mask.v);
        return signs != 0;
    } else
#endif
    if constexpr (S * N == 16) {
        const auto words = (typename simd<std::int64_t, 2>::Raw)mask.v;
        return (words[0] | words[1]) != 0;
    } else {
        using Half = simd_mask<S, N / 2>;
        using Unaligned = typename simd<typename Half::Lane, N / 2>::Unaligned;
        const auto* halves = reinterpret_cast<const Unaligned*>(&mask.v);
        return any(Half(typename Half::Raw(halves[0] | halves[1])));
    }
}

#if defined(TENON_HAS_VECTOR_POW)
TENON_ALWAYS_INLINE bool all_plain(const float* x, const float* y) {
    using V = simd<float, 8>;
    const V base = V::load(x), most(0x1.fffffep+127f);
    return !any(~((base >= V(0x1p-126f)) & (base <= most) & (abs(V::load(y)) <= most)));
}
#endif

// sin(r) and cos(r) for |r| <= pi / 4.
template <int N>
TENON_ALWAYS_INLINE void sin_cos_near_zero(const Float<N>& r, Float<N>& sine, Float<N>& cosine) {
    const Float<N> z = r * r;
    sine = r + (r * z) * polynomial(z, -0x1.555546p-3f, 0x1.110776p-7f, -0x1.9952fap-13f);
    cosine = (z * z) * polynomial(z, 0x1.55554ap-5f, -0x1.6c0c28p-10f, 0x1.99e80cp-16f) +
             (Float<N>(1.f) - z * Float<N>(0.5f));
}
// a = n pi / 2 + r, 0 <= a <= 12800, |r| <= pi / 4: sets r, returns n + Bias. Up to there n has 13 bits, and its product with
// each 11-bit part of pi / 2 is exact, with FMA or without.
template <int Bias, int N>
TENON_ALWAYS_INLINE Int<N> reduce_quarters(const Float<N>& a, Float<N>& r) {
    Float<N> n;
    const Int<N> quadrant = nearest<Bias>(a * Float<N>(0x1.45f306p-1f), n);
    r = (((a - n * Float<N>(0x1.920p+0f)) - n * Float<N>(0x1.fb4p-12f)) - n * Float<N>(0x1.444p-24f)) - n * Float<N>(0x1.68c234p-39f);
    return quadrant;
}
// sin(x + quarter_turns * pi / 2) for quarter_turns 0 or 1.
template <int quarter_turns, int N>
TENON_ALWAYS_INLINE Float<N> sin_shifted(const Float<N>& x) {
    const Float<N> a = abs(x);
    if (TENON_UNLIKELY(any(a > Float<N>(12800.f))))
        return by_lanes<quarter_turns == 0 ? Function::sin : Function::cos>(x);
    Float<N> r, sine, cosine;
    const Int<N> quadrant = reduce_quarters<quarter_turns>(a, r);
    sin_cos_near_zero(r, sine, cosine);
    const auto odd = (quadrant.v & 1) != 0;
    const Float<N> y = select(simd_mask<4, N>(typename simd_mask<4, N>::Raw(odd)), cosine, sine);
    typename Int<N>::Raw sign = (quadrant.v & 2) << 30;
    if constexpr (quarter_turns == 0) sign ^= bit_cast<std::int32_t>(x).v & std::int32_t(0x80000000u);
    return bit_cast<float>(Int<N>(typename Int<N>::Raw(bit_cast<std::int32_t>(y).v ^ sign)));
}

}  // namespace impl

// ---- Float vectors --------------------------------------------------------------------------------------------------

// e^x; 1.04 ulp. Overflows to inf above 88.7228; subnormal results are correct, below -103.98 it is 0.
template <int N>
TENON_ALWAYS_INLINE simd<float, N> exp(const simd<float, N>& x) {
    simd<float, N> r;
    const auto n = impl::reduce_exp<254>(impl::at_least(impl::at_most(x, 89.f), -105.f), r);
    return impl::scale(impl::expm1_near_zero(r) + simd<float, N>(1.f), n);
}

// e^x - 1, to full relative precision near 0; 1.7 ulp.
template <int N>
TENON_ALWAYS_INLINE simd<float, N> expm1(const simd<float, N>& x) {
    using V = simd<float, N>;
    V r;
    // Half of the result first: 2^n itself may be too large for a float where e^x is not.
    const V scale = impl::power_of_two(impl::reduce_exp<126>(impl::at_least(impl::at_most(x, 89.f), -26.f), r));
    const V half = scale * impl::expm1_near_zero(r) + (scale - V(0.5f));
    return select(abs(x) < V(0x1p-25f), x, half + half);
}

// Natural logarithm: -inf at 0, NaN below; 0.84 ulp.
template <int N>
TENON_ALWAYS_INLINE simd<float, N> log(const simd<float, N>& x) {
    using V = simd<float, N>;
    V f;
    const auto subnormal = x < V(0x1p-126f);
    const auto k = impl::split_log(select(subnormal, x * V(0x1p23f), x), f);
    const V e = convert<float>(k) - select(subnormal, V(23.f), V(0.f));
    const V low = impl::log_correction(f) + e * V(0x1.7f7d1cp-20f);
    return impl::log_ends(x, e * V(0x1.62e4p-1f) + (f + low));
}

// log(1 + x), to full relative precision near 0; 1.4 ulp.
template <int N>
TENON_ALWAYS_INLINE simd<float, N> log1p(const simd<float, N>& x) {
    using V = simd<float, N>;
    const V one(1.f), u = one + x;
    // 1 + x = u + rest exactly; the rest joins f on its scale. From 2^30 on it does not matter.
    const V rest = select(x > one, one - (u - x), x - (u - one));
    V f;
    const auto k = impl::split_log(u, f);
    f += select(u < V(0x1p30f), rest * impl::power_of_two(impl::Int<N>(127) - k), V(0.f));
    const V e = convert<float>(k);
    const V low = impl::log_correction(f) + e * V(0x1.7f7d1cp-20f);
    const V y = e * V(0x1.62e4p-1f) + (f + low);
    return select(abs(x) < V(0x1p-25f), x, impl::log_ends(u, y));
}

// 2.5 ulp.
template <int N>
TENON_ALWAYS_INLINE simd<float, N> tanh(const simd<float, N>& x) {
    using V = simd<float, N>;
    V r;
    const V a = impl::at_most(abs(x), 10.f);
    const V scale = impl::power_of_two(impl::reduce_exp<127>(a * V(-2.f), r));
    const V d = (V(1.f) - scale) - scale * impl::expm1_near_zero(r);  // 1 - e^(-2|x|)
    return impl::with_sign(d / (V(2.f) - d), x);
}

// 1 / (1 + e^-x); 2.3 ulp. Subnormal results are correct.
template <int N>
TENON_ALWAYS_INLINE simd<float, N> sigmoid(const simd<float, N>& x) {
    using V = simd<float, N>;
    V r;
    const auto n = impl::reduce_exp<254>(impl::at_least(-abs(x), -105.f), r);
    const V e = impl::scale(impl::expm1_near_zero(r) + V(1.f), n);
    return select(x < V(0.f), e, V(1.f)) / (V(1.f) + e);
}

// 1.1 ulp (SSE2: 1.31).
template <int N>
TENON_ALWAYS_INLINE simd<float, N> erf(const simd<float, N>& x) {
    using V = simd<float, N>;
    const V a = abs(x);
    const V small = x + x * impl::polynomial(x * x, 0x1.06eba8p-3f, -0x1.81273ep-2f, 0x1.ce2ce6p-4f, -0x1.b7f71ap-6f,
                                             0x1.53f224p-8f, -0x1.a3515ep-11f, 0x1.4771fep-14f);
    // log(erfc(a)) is smooth, and 1 - erfc needs it to few digits; erfc(3.95) is less than half an ulp of 1.
    const V t = impl::at_most(a, 3.95f);
    const V log_erfc = impl::polynomial(t, -0x1.5d1dbcp-13f, -0x1.20b75p+0f, -0x1.4621c2p-1f, -0x1.aa72e4p-4f,
                                        0x1.6d9c5ep-6f, -0x1.91cbecp-9f, 0x1.9fb0ap-13f);
    V r;
    const V scale = impl::power_of_two(impl::reduce_exp<127>(log_erfc, r));
    const V large = (V(1.f) - scale) - scale * impl::expm1_near_zero(r);
    return select(a < V(1.f), small, impl::with_sign(large, x));
}

// 1 - erf(x), to full relative precision in the right tail (0 above 10.06); 5.2 ulp.
template <int N>
TENON_ALWAYS_INLINE simd<float, N> erfc(const simd<float, N>& x) {
    using V = simd<float, N>;
    const V t = impl::at_most(abs(x), 10.5f), one(1.f);
    // erfc(t) = e^(-t^2) F(q) / (1 + 2t), q = (t - 2) / (t + 2).
    const V q = (t - V(2.f)) / (t + V(2.f));
    const V f = impl::polynomial(q, 0x1.46e80ep+0f, -0x1.7bf616p-4f, -0x1.540846p-3f, 0x1.4ffc3cp-3f, -0x1.bc0b00p-5f,
                                 -0x1.081a36p-7f, 0x1.1add22p-7f, 0x1.585a86p-10f, -0x1.429f54p-10f, -0x1.a4834ap-12f) /
                (t + t + one);
    // t^2 in two parts, the first with 12 bits squared: a rounded t^2 would cost t^2 / 2 ulp.
    const V head = bit_cast<float>(impl::shift_left<12>(impl::shift_right<12>(bit_cast<std::int32_t>(t))));
    V r;
    const auto n = impl::reduce_exp<254>(-(head * head), r);
    r -= (t - head) * (t + head);
    const V y = impl::scale(f + f * impl::expm1_near_zero(r), n);
    return select(x < V(0.f), V(2.f) - y, y);
}

// 2.3 ulp, close to the zeros too. Arguments beyond 12800 take libm lane by lane.
template <int N>
TENON_ALWAYS_INLINE simd<float, N> sin(const simd<float, N>& x) { return impl::sin_shifted<0>(x); }
template <int N>
TENON_ALWAYS_INLINE simd<float, N> cos(const simd<float, N>& x) { return impl::sin_shifted<1>(x); }

// 3.6 ulp; arguments beyond 12800 take libm lane by lane.
template <int N>
TENON_ALWAYS_INLINE simd<float, N> tan(const simd<float, N>& x) {
    using V = simd<float, N>;
    const V a = abs(x);
    if (TENON_UNLIKELY(impl::any(a > V(12800.f)))) return impl::by_lanes<impl::Function::tan>(x);
    V r, sine, cosine;
    const auto quadrant = impl::reduce_quarters<0>(a, r);
    impl::sin_cos_near_zero(r, sine, cosine);
    const simd_mask<4, N> odd(typename simd_mask<4, N>::Raw((quadrant.v & 1) != 0));
    const V y = select(odd, -cosine, sine) / select(odd, sine, cosine);
    return bit_cast<float>(impl::Int<N>(typename impl::Int<N>::Raw(bit_cast<std::int32_t>(y).v ^ (bit_cast<std::int32_t>(x).v & std::int32_t(0x80000000u)))));
}

namespace impl {
// atan(a) for 0 <= a <= 1.
template <int N>
TENON_ALWAYS_INLINE Float<N> atan_to_one(const Float<N>& a) {
    const Float<N> z = a * a;
    return a + (a * z) * polynomial(z, -0x1.555552p-2f, 0x1.9997e0p-3f, -0x1.247374p-3f, 0x1.c4f1dcp-4f, -0x1.68e6ecp-4f, 0x1.14229cp-4f,
                                    -0x1.6e1928p-5f, 0x1.714a4ep-6f, -0x1.df9584p-8f, 0x1.23f7f6p-10f);
}
// asin(a) - a for 0 <= a <= 1/2, from a and a^2.
template <int N>
TENON_ALWAYS_INLINE Float<N> asin_correction(const Float<N>& a, const Float<N>& z) {
    return (a * z) * polynomial(z, 0x1.55554cp-3f, 0x1.33387cp-4f, 0x1.6caed2p-5f, 0x1.04919ep-5f, 0x1.d91fcap-7f, 0x1.3355b4p-5f);
}
inline constexpr float half_pi = 0x1.921fb6p+0f, half_pi_rest = -0x1.777a5cp-25f;
// e^a / 2 for a >= 0.
template <int N>
TENON_ALWAYS_INLINE Float<N> half_exp(const Float<N>& a) {
    Float<N> r;
    const auto n = reduce_exp<253>(at_most(a, 90.f), r);
    return scale(expm1_near_zero(r) + Float<N>(1.f), n);
}
}  // namespace impl

// Inverse tangent, in [-pi/2, pi/2]; 1.8 ulp (SSE2: 2.45).
template <int N>
TENON_ALWAYS_INLINE simd<float, N> atan(const simd<float, N>& x) {
    using V = simd<float, N>;
    const V a = abs(x);
    const auto large = a > V(1.f);
    const V y = impl::atan_to_one(select(large, V(1.f) / a, a));
    return impl::with_sign(select(large, (V(impl::half_pi) - y) + V(impl::half_pi_rest), y), x);
}
// The angle of (x, y), in [-pi, pi]; zeros and infinities as in libm; 2.8 ulp.
template <int N>
TENON_ALWAYS_INLINE simd<float, N> atan2(const simd<float, N>& y, const simd<float, N>& x) {
    using V = simd<float, N>;
    const V a = abs(x), b = abs(y), zero(0.f), one(1.f);
    const auto steep = b > a;
    const V larger = select(steep, b, a), smaller = select(steep, a, b);
    // 0 / 0 counts as 0, inf / inf as 1.
    const V ratio = select(larger == zero, larger, select(smaller == V(__builtin_inff()), one, smaller / larger));
    V r = impl::atan_to_one(ratio);
    r = select(steep, (V(impl::half_pi) - r) + V(impl::half_pi_rest), r);
    const auto left = bit_cast<std::int32_t>(x) < impl::Int<N>(0);
    r = select(left, (V(2 * impl::half_pi) - r) + V(2 * impl::half_pi_rest), r);
    return select((x != x) | (y != y), x + y, impl::with_sign(r, y));
}

// Inverse sine, in [-pi/2, pi/2]; NaN outside of [-1, 1]; 2 ulp.
template <int N>
TENON_ALWAYS_INLINE simd<float, N> asin(const simd<float, N>& x) {
    using V = simd<float, N>;
    const V a = abs(x);
    const auto large = a > V(0.5f);
    const V z = select(large, V(0.5f) - V(0.5f) * a, a * a);
    const V s = select(large, sqrt(z), a), c = impl::asin_correction(s, z);
    return impl::with_sign(select(large, (V(impl::half_pi) - (s + s)) - ((c + c) - V(impl::half_pi_rest)), a + c), x);
}
// Inverse cosine, in [0, pi]; NaN outside of [-1, 1]; 1.3 ulp.
template <int N>
TENON_ALWAYS_INLINE simd<float, N> acos(const simd<float, N>& x) {
    using V = simd<float, N>;
    const V a = abs(x);
    const auto large = a > V(0.5f);
    const V z = select(large, V(0.5f) - V(0.5f) * a, a * a);
    const V s = select(large, sqrt(z), impl::with_sign(a, x)), c = impl::asin_correction(s, z), twice = (s + s) + (c + c);
    const V ends = select(x < V(0.f), (V(2 * impl::half_pi) - twice) + V(2 * impl::half_pi_rest), twice);
    return select(large, ends, (V(impl::half_pi) - s) - (c - V(impl::half_pi_rest)));
}

// (e^x - e^-x) / 2; 1.65 ulp.
template <int N>
TENON_ALWAYS_INLINE simd<float, N> sinh(const simd<float, N>& x) {
    using V = simd<float, N>;
    const V a = abs(x), z = a * a;
    const V small = a + (a * z) * impl::polynomial(z, 0x1.555556p-3f, 0x1.111112p-7f, 0x1.a01a02p-13f, 0x1.71de3ap-19f);
    const V h = impl::half_exp(a);
    return impl::with_sign(select(a < V(1.f), small, h - V(0.25f) / h), x);
}
// (e^x + e^-x) / 2; 1.45 ulp.
template <int N>
TENON_ALWAYS_INLINE simd<float, N> cosh(const simd<float, N>& x) {
    using V = simd<float, N>;
    const V h = impl::half_exp(abs(x));
    return h + V(0.25f) / h;
}

// 2^x, exact for whole x; 1.03 ulp.
template <int N>
TENON_ALWAYS_INLINE simd<float, N> exp2(const simd<float, N>& x) {
    using V = simd<float, N>;
    const V a = impl::at_least(impl::at_most(x, 129.f), -152.f);
    V n;
    const auto biased = impl::nearest<254>(a, n);
    return impl::scale(impl::expm1_near_zero((a - n) * V(0x1.62e430p-1f)) + V(1.f), biased);
}
namespace impl {
// The logarithm to another base: log(x) = e ln2 + f + low, times the factor in two parts; a whole power of 2 is exact where
// the base is 2.
template <int N>
TENON_ALWAYS_INLINE Float<N> log_to_base(const Float<N>& x, float of_two, float of_two_rest, float factor, float factor_rest) {
    Float<N> f;
    const auto subnormal = x < Float<N>(0x1p-126f);
    const auto k = split_log(select(subnormal, x * Float<N>(0x1p23f), x), f);
    const Float<N> e = convert<float>(k) - select(subnormal, Float<N>(23.f), Float<N>(0.f));
    // f in two parts, the first with 12 bits: its product with the factor's 12 bits is exact.
    const Float<N> head = bit_cast<float>(Int<N>(typename Int<N>::Raw(bit_cast<std::int32_t>(f).v & std::int32_t(0xfffff000u))));
    const Float<N> rest = (f - head) + log_correction(f);
    const Float<N> low = e * Float<N>(of_two_rest) + (rest * Float<N>(factor) + (head + rest) * Float<N>(factor_rest));
    return log_ends(x, e * Float<N>(of_two) + (head * Float<N>(factor) + low));
}
}  // namespace impl
// Logarithm to base 2, exact for powers of 2; 1.02 ulp.
template <int N>
TENON_ALWAYS_INLINE simd<float, N> log2(const simd<float, N>& x) { return impl::log_to_base(x, 1.f, 0.f, 0x1.71p+0f, 0x1.51d94ap-10f); }
// Logarithm to base 10; 0.93 ulp.
template <int N>
TENON_ALWAYS_INLINE simd<float, N> log10(const simd<float, N>& x) {
    return impl::log_to_base(x, 0x1.344p-2f, 0x1.3509f8p-18f, 0x1.bcp-2f, 0x1.6f62a4p-11f);
}

// ---- Both -----------------------------------------------------------------------------------------------------------

// 1 / sqrt(x); 1.5 ulp.
template <class T, int N>
TENON_ALWAYS_INLINE simd<T, N> rsqrt(const simd<T, N>& x) { return simd<T, N>(1) / sqrt(x); }

// x^y with libm's results for negative bases, zeros, infinities and NaN; 0.7 ulp.
template <class T, int N>
TENON_ALWAYS_INLINE simd<T, N> pow(const simd<T, N>& x, const simd<T, N>& y) {
    T xs[N], ys[N], out[N];
    x.store(xs);
    y.store(ys);
#if defined(TENON_HAS_VECTOR_POW)
    if constexpr (std::is_same_v<T, float> && N >= 8) impl::pow_avx2(xs, ys, out, N);
    else
#endif
    impl::each_pow<T>(xs, ys, out, N);
    return simd<T, N>::load(out);
}

template <class T, int N>
    requires std::is_floating_point_v<T>
TENON_ALWAYS_INLINE simd<T, N> ceil(const simd<T, N>& x) { return -floor(-x); }
// Towards zero.
template <class T, int N>
    requires std::is_floating_point_v<T>
TENON_ALWAYS_INLINE simd<T, N> trunc(const simd<T, N>& x) {
    using I = typename tenon::impl::int_of<int(sizeof(T))>::type;
    return select(abs(x) < simd<T, N>(sizeof(T) == 4 ? 0x1p23 : 0x1p52), copysign(convert<T>(convert<I>(x)), x), x);
}
// The remainder of a division that is cut towards zero: exact, by libm lane by lane.
template <class T, int N>
TENON_ALWAYS_INLINE simd<T, N> fmod(const simd<T, N>& x, const simd<T, N>& y) { return impl::by_lanes<impl::Function2::fmod>(x, y); }
// sqrt(x^2 + y^2) without overflow on the way; an infinity is stronger than a NaN; 1.2 ulp.
template <class T, int N>
TENON_ALWAYS_INLINE simd<T, N> hypot(const simd<T, N>& x, const simd<T, N>& y) {
    using V = simd<T, N>;
    if constexpr (std::is_same_v<T, double>) {
        return impl::by_lanes<impl::Function2::hypot>(x, y);
    } else {
        const V a = abs(x), b = abs(y), larger = select(b > a, b, a), smaller = select(b > a, a, b), infinity(__builtin_inff());
        // A power of two brings the larger one near 1, exactly; what the smaller one loses does not count.
        const auto big = larger > V(0x1p60f), tiny = larger < V(0x1p-60f);
        const V down = select(big, V(0x1p-100f), select(tiny, V(0x1p100f), V(1.f))), up = select(big, V(0x1p100f), select(tiny, V(0x1p-100f), V(1.f)));
        const V u = larger * down, v = smaller * down;
        const V r = sqrt(u * u + v * v) * up;
        return select((a == infinity) | (b == infinity), infinity, select((x != x) | (y != y), x + y, r));
    }
}

// ---- Double vectors -------------------------------------------------------------------------------------------------

#define TENON_DOUBLE_UNARY(name)                                                 \
    template <int N>                                                             \
    TENON_ALWAYS_INLINE simd<double, N> name(const simd<double, N>& x) {         \
        return impl::by_lanes<impl::Function::name>(x);                          \
    }
TENON_DOUBLE_UNARY(exp)
TENON_DOUBLE_UNARY(expm1)
TENON_DOUBLE_UNARY(log)
TENON_DOUBLE_UNARY(log1p)
TENON_DOUBLE_UNARY(tanh)
TENON_DOUBLE_UNARY(erf)
TENON_DOUBLE_UNARY(erfc)
TENON_DOUBLE_UNARY(sin)
TENON_DOUBLE_UNARY(cos)
TENON_DOUBLE_UNARY(exp2)
TENON_DOUBLE_UNARY(log2)
TENON_DOUBLE_UNARY(log10)
TENON_DOUBLE_UNARY(tan)
TENON_DOUBLE_UNARY(asin)
TENON_DOUBLE_UNARY(acos)
TENON_DOUBLE_UNARY(atan)
TENON_DOUBLE_UNARY(sinh)
TENON_DOUBLE_UNARY(cosh)
#undef TENON_DOUBLE_UNARY
template <int N>
TENON_ALWAYS_INLINE simd<double, N> atan2(const simd<double, N>& y, const simd<double, N>& x) { return impl::by_lanes<impl::Function2::atan2>(y, x); }
template <int N>
TENON_ALWAYS_INLINE simd<double, N> sigmoid(const simd<double, N>& x) {
    using V = simd<double, N>;
    const V e = exp(-abs(x));
    return select(x < V(0), e, V(1)) / (V(1) + e);
}

#undef TENON_LIBM

}  // namespace math
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
