// Arithmetic intrinsics: bits, conversions, rounding, and the functions of CUDA's mathematics library that the C library lacks.
#pragma once

#include <limits.h>
#include <math.h>

template <class T>
T __ldg(const T* pointer) {
    return *pointer;
}
template <class T>
T __ldcs(const T* pointer) {
    return *pointer;
}
template <class T>
T __ldcg(const T* pointer) {
    return *pointer;
}
template <class T>
void __stcs(T* pointer, T value) {
    *pointer = value;
}

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline int __clzll(long long x) { return x == 0 ? 64 : __builtin_clzll(static_cast<unsigned long long>(x)); }
inline unsigned __brev(unsigned x) {
    x = (x >> 1 & 0x55555555u) | (x & 0x55555555u) << 1;
    x = (x >> 2 & 0x33333333u) | (x & 0x33333333u) << 2;
    x = (x >> 4 & 0x0f0f0f0fu) | (x & 0x0f0f0f0fu) << 4;
    return __builtin_bswap32(x);
}
inline unsigned long long __brevll(unsigned long long x) {
    return static_cast<unsigned long long>(__brev(static_cast<unsigned>(x))) << 32 | __brev(static_cast<unsigned>(x >> 32));
}
inline int __mulhi(int a, int b) { return static_cast<int>((static_cast<long long>(a) * b) >> 32); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>((static_cast<unsigned long long>(a) * b) >> 32); }
inline long long __mul64hi(long long a, long long b) {
    return static_cast<long long>((static_cast<__int128>(a) * b) >> 64);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return static_cast<unsigned long long>((static_cast<unsigned __int128>(a) * b) >> 64);
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
    shift &= 31;
    return shift == 0 ? high : high << shift | low >> (32 - shift);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
    shift &= 31;
    return shift == 0 ? low : high << (32 - shift) | low >> shift;
}

inline int __float_as_int(float x) { return __builtin_bit_cast(int, x); }
inline unsigned __float_as_uint(float x) { return __builtin_bit_cast(unsigned, x); }
inline float __int_as_float(int x) { return __builtin_bit_cast(float, x); }
inline float __uint_as_float(unsigned x) { return __builtin_bit_cast(float, x); }
inline long long __double_as_longlong(double x) { return __builtin_bit_cast(long long, x); }
inline double __longlong_as_double(long long x) { return __builtin_bit_cast(double, x); }

inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
// The volatile keeps the compiler from contracting what the caller wants rounded twice.
inline float __fadd_rn(float a, float b) { volatile float r = a + b; return r; }
inline float __fsub_rn(float a, float b) { volatile float r = a - b; return r; }
inline float __fmul_rn(float a, float b) { volatile float r = a * b; return r; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline float __frsqrt_rn(float a) { return static_cast<float>(1.0 / sqrt(static_cast<double>(a))); }
inline double __dadd_rn(double a, double b) { volatile double r = a + b; return r; }
inline double __dmul_rn(double a, double b) { volatile double r = a * b; return r; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __dsqrt_rn(double a) { return sqrt(a); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __saturatef(float a) { return a > 0.0f ? (a < 1.0f ? a : 1.0f) : 0.0f; }

// Conversions clamp and give 0 for NaN, as the instructions do.
namespace cuda_emulator {
template <class I, class F>
I clamp_to(F x, F low, F high, I least, I greatest) {
    return x != x ? I(0) : x <= low ? least : x >= high ? greatest : static_cast<I>(x);
}
}  // namespace cuda_emulator
inline int __float2int_rz(float x) { return cuda_emulator::clamp_to(x, -0x1p31f, 0x1p31f, INT_MIN, INT_MAX); }
inline int __float2int_rn(float x) { return __float2int_rz(nearbyintf(x)); }
inline int __float2int_rd(float x) { return __float2int_rz(floorf(x)); }
inline int __float2int_ru(float x) { return __float2int_rz(ceilf(x)); }
inline unsigned __float2uint_rz(float x) { return cuda_emulator::clamp_to(x, 0.0f, 0x1p32f, 0u, UINT_MAX); }
inline unsigned __float2uint_rn(float x) { return __float2uint_rz(nearbyintf(x)); }
inline long long __float2ll_rz(float x) { return cuda_emulator::clamp_to(x, -0x1p63f, 0x1p63f, LLONG_MIN, LLONG_MAX); }
inline long long __float2ll_rn(float x) { return __float2ll_rz(nearbyintf(x)); }
inline int __double2int_rz(double x) { return cuda_emulator::clamp_to(x, -0x1p31, 0x1p31, INT_MIN, INT_MAX); }
inline int __double2int_rn(double x) { return __double2int_rz(nearbyint(x)); }
inline long long __double2ll_rz(double x) { return cuda_emulator::clamp_to(x, -0x1p63, 0x1p63, LLONG_MIN, LLONG_MAX); }
inline long long __double2ll_rn(double x) { return __double2ll_rz(nearbyint(x)); }
inline float __double2float_rn(double x) { return static_cast<float>(x); }
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline float __uint2float_rn(unsigned x) { return static_cast<float>(x); }
inline float __ll2float_rn(long long x) { return static_cast<float>(x); }
inline double __int2double_rn(int x) { return x; }
inline double __ll2double_rn(long long x) { return static_cast<double>(x); }

inline float rsqrtf(float x) { return static_cast<float>(1.0 / sqrt(static_cast<double>(x))); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float rcbrtf(float x) { return 1.0f / cbrtf(x); }
inline double rcbrt(double x) { return 1.0 / cbrt(x); }
inline float normcdff(float x) { return static_cast<float>(0.5 * erfc(-static_cast<double>(x) * 0.70710678118654752440)); }
inline double normcdf(double x) { return 0.5 * erfc(-x * 0.70710678118654752440); }
inline void sincospif(float x, float* s, float* c) {
    *s = static_cast<float>(sin(M_PI * fmod(static_cast<double>(x), 2.0)));
    *c = static_cast<float>(cos(M_PI * fmod(static_cast<double>(x), 2.0)));
}
inline float sinpif(float x) { return static_cast<float>(sin(M_PI * fmod(static_cast<double>(x), 2.0))); }
inline float cospif(float x) { return static_cast<float>(cos(M_PI * fmod(static_cast<double>(x), 2.0))); }
inline double sinpi(double x) { return sin(M_PI * fmod(x, 2.0)); }
inline double cospi(double x) { return cos(M_PI * fmod(x, 2.0)); }
inline void __sincosf(float x, float* s, float* c) { sincosf(x, s, c); }
// The C library declares __expf, __logf and their like (and does not export them): math.cpp defines them.

#define TENON_EMULATOR_MIN_MAX(T)                                  \
    inline T min(T a, T b) { return b < a ? b : a; }               \
    inline T max(T a, T b) { return a < b ? b : a; }
TENON_EMULATOR_MIN_MAX(int)
TENON_EMULATOR_MIN_MAX(unsigned)
TENON_EMULATOR_MIN_MAX(long)
TENON_EMULATOR_MIN_MAX(unsigned long)
TENON_EMULATOR_MIN_MAX(long long)
TENON_EMULATOR_MIN_MAX(unsigned long long)
#undef TENON_EMULATOR_MIN_MAX
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }

inline long long clock64() { return 0; }
inline void __nanosleep(unsigned) {}
[[noreturn]] void __trap();
