// L elements in a device thread's registers, with the interface of simd (base/simd.hpp), so that functors serve both.
#pragma once

#include <tenon/base/half.hpp>
#include <tenon/base/simd_math.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

template <int L>
struct pack_mask {
    bool v[L];

    template <int>
    TENON_FUNCTOR pack_mask as() const { return *this; }
    friend TENON_FUNCTOR pack_mask operator&(const pack_mask& a, const pack_mask& b) {
        pack_mask r;
        for (int i = 0; i < L; ++i) r.v[i] = a.v[i] && b.v[i];
        return r;
    }
    friend TENON_FUNCTOR pack_mask operator|(const pack_mask& a, const pack_mask& b) {
        pack_mask r;
        for (int i = 0; i < L; ++i) r.v[i] = a.v[i] || b.v[i];
        return r;
    }
    friend TENON_FUNCTOR pack_mask operator~(const pack_mask& a) {
        pack_mask r;
        for (int i = 0; i < L; ++i) r.v[i] = !a.v[i];
        return r;
    }
};

template <class T, int L>
struct pack {
    using Scalar = T;
    using Mask = pack_mask<L>;
    static constexpr int lanes = L;
    T v[L];

    pack() = default;
    template <class S>
        requires std::is_arithmetic_v<S>
    TENON_FUNCTOR explicit pack(S value) {
        for (int i = 0; i < L; ++i) v[i] = static_cast<T>(value);
    }

#define TENON_PACK_OPERATOR(op)                                              \
    friend TENON_FUNCTOR pack operator op(const pack& a, const pack& b) {    \
        pack r;                                                              \
        for (int i = 0; i < L; ++i) r.v[i] = static_cast<T>(a.v[i] op b.v[i]); \
        return r;                                                            \
    }
    TENON_PACK_OPERATOR(+)
    TENON_PACK_OPERATOR(-)
    TENON_PACK_OPERATOR(*)
    TENON_PACK_OPERATOR(/)
#undef TENON_PACK_OPERATOR
#define TENON_PACK_COMPARISON(op)                                            \
    friend TENON_FUNCTOR Mask operator op(const pack& a, const pack& b) {    \
        Mask r;                                                              \
        for (int i = 0; i < L; ++i) r.v[i] = a.v[i] op b.v[i];               \
        return r;                                                            \
    }
    TENON_PACK_COMPARISON(<)
    TENON_PACK_COMPARISON(<=)
    TENON_PACK_COMPARISON(>)
    TENON_PACK_COMPARISON(>=)
    TENON_PACK_COMPARISON(==)
    TENON_PACK_COMPARISON(!=)
#undef TENON_PACK_COMPARISON
    friend TENON_FUNCTOR pack operator-(const pack& a) {
        pack r;
        for (int i = 0; i < L; ++i) r.v[i] = static_cast<T>(-a.v[i]);
        return r;
    }
};

template <class T, int L>
TENON_FUNCTOR pack<T, L> select(const pack_mask<L>& mask, const pack<T, L>& a, const pack<T, L>& b) {
    pack<T, L> r;
    for (int i = 0; i < L; ++i) r.v[i] = mask.v[i] ? a.v[i] : b.v[i];
    return r;
}
template <class To, class T, int L>
TENON_FUNCTOR pack<To, L> convert(const pack<T, L>& a) {
    pack<To, L> r;
    for (int i = 0; i < L; ++i) r.v[i] = static_cast<To>(a.v[i]);
    return r;
}

namespace math {
#define TENON_PACK_UNARY(name)                                       \
    template <class T, int L>                                        \
    TENON_FUNCTOR pack<T, L> name(const pack<T, L>& x) {             \
        pack<T, L> r;                                                \
        for (int i = 0; i < L; ++i) r.v[i] = math::name(x.v[i]);     \
        return r;                                                    \
    }
TENON_PACK_UNARY(exp)
TENON_PACK_UNARY(expm1)
TENON_PACK_UNARY(exp2)
TENON_PACK_UNARY(log)
TENON_PACK_UNARY(log1p)
TENON_PACK_UNARY(log2)
TENON_PACK_UNARY(log10)
TENON_PACK_UNARY(sqrt)
TENON_PACK_UNARY(rsqrt)
TENON_PACK_UNARY(tanh)
TENON_PACK_UNARY(sigmoid)
TENON_PACK_UNARY(erf)
TENON_PACK_UNARY(erfc)
TENON_PACK_UNARY(sin)
TENON_PACK_UNARY(cos)
TENON_PACK_UNARY(tan)
TENON_PACK_UNARY(asin)
TENON_PACK_UNARY(acos)
TENON_PACK_UNARY(atan)
TENON_PACK_UNARY(sinh)
TENON_PACK_UNARY(cosh)
TENON_PACK_UNARY(floor)
TENON_PACK_UNARY(ceil)
TENON_PACK_UNARY(trunc)
TENON_PACK_UNARY(round)
#undef TENON_PACK_UNARY
#define TENON_PACK_BINARY(name)                                                     \
    template <class T, int L>                                                       \
    TENON_FUNCTOR pack<T, L> name(const pack<T, L>& x, const pack<T, L>& y) {       \
        pack<T, L> r;                                                               \
        for (int i = 0; i < L; ++i) r.v[i] = math::name(x.v[i], y.v[i]);            \
        return r;                                                                   \
    }
TENON_PACK_BINARY(pow)
TENON_PACK_BINARY(atan2)
TENON_PACK_BINARY(hypot)
TENON_PACK_BINARY(fmod)
#undef TENON_PACK_BINARY
template <class T, int L>
TENON_FUNCTOR pack<T, L> abs(const pack<T, L>& x) {
    if constexpr (std::is_floating_point_v<T>) {
        pack<T, L> r;
        for (int i = 0; i < L; ++i) r.v[i] = math::abs(x.v[i]);
        return r;
    } else if constexpr (std::is_unsigned_v<T>) {
        return x;
    } else {
        return select(x < pack<T, L>(0), -x, x);
    }
}
// The smaller / larger of two; a NaN in either is the result.
template <class T, int L>
TENON_FUNCTOR pack<T, L> min(const pack<T, L>& a, const pack<T, L>& b) { return select((b < a) | (b != b), b, a); }
template <class T, int L>
TENON_FUNCTOR pack<T, L> max(const pack<T, L>& a, const pack<T, L>& b) { return select((b > a) | (b != b), b, a); }
}  // namespace math

// Elements in memory. splat: one element for all lanes. L elements are read in accesses of up to 16 bytes, so that the
// address must be a multiple of L elements.
template <class T>
struct packed_compute { using type = T; };
template <> struct packed_compute<bf16> { using type = float; };
template <> struct packed_compute<half> { using type = float; };

template <class T, int L>
struct alignas(sizeof(T) * L <= 16 ? sizeof(T) * L : 16) PackStorage { T v[L]; };

template <class T, int L>
TENON_FUNCTOR pack<typename packed_compute<T>::type, L> load_pack(const T* p, bool splat) {
    using C = typename packed_compute<T>::type;
    pack<C, L> r;
    if (L > 1 && !splat) {
        const PackStorage<T, L> s = *reinterpret_cast<const PackStorage<T, L>*>(p);
        for (int i = 0; i < L; ++i) r.v[i] = static_cast<C>(s.v[i]);
    } else {
        const C one = static_cast<C>(*p);
        for (int i = 0; i < L; ++i) r.v[i] = one;
    }
    return r;
}
template <int L>
TENON_FUNCTOR pack_mask<L> load_pack_mask(const bool* p, bool splat) {
    pack_mask<L> r;
    if (L > 1 && !splat) {
        const PackStorage<std::uint8_t, L> s = *reinterpret_cast<const PackStorage<std::uint8_t, L>*>(p);
        for (int i = 0; i < L; ++i) r.v[i] = s.v[i] != 0;
    } else {
        const bool one = *p;
        for (int i = 0; i < L; ++i) r.v[i] = one;
    }
    return r;
}
template <class T, class C, int L>
TENON_FUNCTOR void store_pack(T* p, const pack<C, L>& x) {
    PackStorage<T, L> s;
    for (int i = 0; i < L; ++i) s.v[i] = static_cast<T>(x.v[i]);
    *reinterpret_cast<PackStorage<T, L>*>(p) = s;
}
template <int L>
TENON_FUNCTOR void store_pack_mask(bool* p, const pack_mask<L>& x) {
    PackStorage<std::uint8_t, L> s;
    for (int i = 0; i < L; ++i) s.v[i] = x.v[i] ? 1 : 0;
    *reinterpret_cast<PackStorage<std::uint8_t, L>*>(p) = s;
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
