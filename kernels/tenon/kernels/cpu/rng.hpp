// Random fills on the CPU: words, uniform, normal, Bernoulli, integers, permutations, dropout.
//
// Every value is a function of (key, index) alone: fills may be cut anywhere (`first` is the index of the first element
// written), run on any number of threads, and be repeated instead of stored. Words, uniforms, Bernoulli draws, integers
// and permutations have the same bits under every instruction set and on the device; normals agree to 8 ulp.
//
// Which words of the key an element takes:
//   32-bit draws (words, float uniform, bernoulli, dropout)   element i: word i
//   64-bit draws (double uniform, integers, permutation)      element i: words 2 i and 2 i + 1
//   normal                                                    elements 2 j and 2 j + 1 share their draws 2 j, 2 j + 1
// bf16 and half fills round the float fill.
#pragma once

#include <tenon/base/dispatch.hpp>
#include <tenon/base/parallel.hpp>
#include <tenon/base/philox.hpp>
#include <tenon/base/scratch.hpp>
#include <tenon/base/simd_math.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

namespace impl::rng {
// a + k * scale with the product rounded on its own: fused, its bits would depend on the instruction set.
template <class Raw>
TENON_ALWAYS_INLINE void shift_into(Raw& out, const Raw& a, const Raw& k, const Raw& scale) {
#if defined(__clang__)
#pragma clang fp contract(off)
    const Raw p = k * scale;
#else
    Raw p = k * scale;
#if defined(__x86_64__)
    __asm__("" : "+x"(p));  // g++ cannot look through it
#elif defined(__aarch64__)
    __asm__("" : "+w"(p));
#else
    __asm__("" : "+m"(p));
#endif
#endif
    out = a + p;
}
template <class T, int N>
TENON_ALWAYS_INLINE simd<T, N> shifted(const simd<T, N>& a, const simd<T, N>& k, const simd<T, N>& scale) {
    simd<T, N> r;
    shift_into(r.v, a.v, k.v, scale.v);
    return r;
}
}  // namespace impl::rng

// ---- Reference versions ---------------------------------------------------------------------------------------------

namespace reference {

inline void random_words(Key key, std::uint64_t first, long n, std::uint32_t* out) {
    for (long i = 0; i < n; ++i) out[i] = random_word(key, first + static_cast<std::uint64_t>(i));
}
inline void uniform(Key key, std::uint64_t first, long n, float* out, float low, float high) {
    const float scale = (high - low) * 0x1p-24f;
    for (long i = 0; i < n; ++i)
        impl::rng::shift_into(out[i], low, static_cast<float>(random_word(key, first + static_cast<std::uint64_t>(i)) >> 8), scale);
}
inline void uniform(Key key, std::uint64_t first, long n, double* out, double low, double high) {
    const double scale = (high - low) * 0x1p-53;
    for (long i = 0; i < n; ++i)
        impl::rng::shift_into(out[i], low, static_cast<double>(random_word64(key, first + static_cast<std::uint64_t>(i)) >> 11), scale);
}
// Box-Muller: the even element takes the cosine, the odd one the sine.
inline double standard_normal(double u, double v, bool odd) {
    const double radius = __builtin_sqrt(-2 * __builtin_log(u)), angle = 6.283185307179586 * v;
    return radius * (odd ? __builtin_sin(angle) : __builtin_cos(angle));
}
inline void normal(Key key, std::uint64_t first, long n, float* out, float mean, float deviation) {
    for (long i = 0; i < n; ++i) {
        const std::uint64_t at = first + static_cast<std::uint64_t>(i), even = at & ~std::uint64_t(1);
        const float u = (static_cast<float>(random_word(key, even)) + 0.5f) * 0x1p-32f;
        const double v = (static_cast<double>(random_word(key, even + 1)) + 0.5) * 0x1p-32;
        out[i] = static_cast<float>(mean + deviation * standard_normal(u, v, at & 1));
    }
}
inline void normal(Key key, std::uint64_t first, long n, double* out, double mean, double deviation) {
    for (long i = 0; i < n; ++i) {
        const std::uint64_t at = first + static_cast<std::uint64_t>(i), even = at & ~std::uint64_t(1);
        const double u = (static_cast<double>(random_word64(key, even) >> 11) + 0.5) * 0x1p-53;
        const double v = (static_cast<double>(random_word64(key, even + 1) >> 11) + 0.5) * 0x1p-53;
        out[i] = mean + deviation * standard_normal(u, v, at & 1);
    }
}
template <class Flag>
void bernoulli(Key key, std::uint64_t first, long n, Flag* out, double p) {
    const std::uint64_t threshold = bernoulli_threshold(p);
    for (long i = 0; i < n; ++i) out[i] = Flag(random_word(key, first + static_cast<std::uint64_t>(i)) < threshold);
}
template <class T>
void dropout(Key key, std::uint64_t first, long n, const T* x, T* y, double p) {
    using Compute = std::conditional_t<std::is_same_v<T, double>, double, float>;
    const std::uint64_t keep = bernoulli_threshold(1 - p);
    const Compute scale = static_cast<Compute>(1 / (1 - p));
    for (long i = 0; i < n; ++i)
        y[i] = random_word(key, first + static_cast<std::uint64_t>(i)) < keep ? T(Compute(x[i]) * scale) : T(Compute(0));
}
inline void integers(Key key, std::uint64_t first, long n, std::int64_t* out, std::int64_t low, std::int64_t high) {
    const std::uint64_t base = static_cast<std::uint64_t>(low), range = static_cast<std::uint64_t>(high) - base;
    for (long i = 0; i < n; ++i)
        out[i] = static_cast<std::int64_t>(base + scale_to_range(random_word64(key, first + static_cast<std::uint64_t>(i)), range));
}

}  // namespace reference

// ---- Philox in vectors ----------------------------------------------------------------------------------------------

namespace impl::rng {

// Elements per task: fixed, so that the split does not depend on the number of threads.
inline constexpr long chunk = 1 << 15;
// Words that one step of the consumers takes from the generator; they stay in L1.
inline constexpr int block_words = 1024;

using u64x2 = simd<std::uint64_t, 2>::Raw;
using u64x4 = simd<std::uint64_t, 4>::Raw;

// The products of the low halves of the lanes. Neither compiler's generic 64-bit product is this one instruction.
#if defined(__x86_64__) && !defined(__clang__)
using i32x4 = simd<std::int32_t, 4>::Raw;
using i32x8 = simd<std::int32_t, 8>::Raw;
inline void product_into(u64x2& out, const u64x2& a, const u64x2& b) {
    out = (u64x2)__builtin_ia32_pmuludq128((i32x4)a, (i32x4)b);
}
#if TENON_DISPATCH
TENON_TARGET_AVX2 inline void product_into(u64x4& out, const u64x4& a, const u64x4& b) {
    out = (u64x4)__builtin_ia32_pmuludq256((i32x8)a, (i32x8)b);
}
using u64x8 = simd<std::uint64_t, 8>::Raw;
typedef long long i64x8 __attribute__((vector_size(64)));
using i32x16 = simd<std::int32_t, 16>::Raw;
TENON_TARGET_AVX512 inline void product_into(u64x8& out, const u64x8& a, const u64x8& b) {
    out = (u64x8)__builtin_ia32_pmuludq512_mask((i32x16)a, (i32x16)b, (i64x8)a, 0xff);
}
#endif
#else
template <class V>
TENON_ALWAYS_INLINE void product_into(V& out, const V& a, const V& b) { out = (a & 0xffffffffu) * (b & 0xffffffffu); }
#endif

// One state word of W counters, each in the low half of a 64-bit lane: products need no shuffles, and what gathers in
// the upper halves is ignored by the next product.
template <int W>
using Lanes64 = simd<std::uint64_t, W>;

// Philox of W * Blocks consecutive counters, as 4 * W * Blocks words in order. The blocks are independent, which hides
// the latency of the products.
template <int W, int Blocks>
TENON_ALWAYS_INLINE void philox_into(std::uint32_t* out, std::uint64_t counter, std::uint32_t k0, std::uint32_t k1) {
    using V = Lanes64<W>;
    using Raw = typename V::Raw;
    Raw c0[Blocks], c1[Blocks], c2[Blocks], c3[Blocks];
    const Raw m0 = V(0xd2511f53u).v, m1 = V(0xcd9e8d57u).v;
    Raw steps{};
    for (int i = 0; i < W; ++i) steps[i] = static_cast<std::uint64_t>(i);
    TENON_UNROLL(4)
    for (int b = 0; b < Blocks; ++b) {
        c0[b] = V(counter + static_cast<std::uint64_t>(b * W)).v + steps;
        c1[b] = c0[b] >> 32;
        c2[b] = Raw{};
        c3[b] = Raw{};
    }
    TENON_UNROLL(10)
    for (int round = 0; round < 10; ++round) {
        const Raw key0 = V(k0).v, key1 = V(k1).v;
        TENON_UNROLL(4)
        for (int b = 0; b < Blocks; ++b) {
            Raw p, q;
            product_into(p, c0[b], m0);
            product_into(q, c2[b], m1);
            c0[b] = (q >> 32) ^ c1[b] ^ key0;
            c1[b] = q;
            c2[b] = (p >> 32) ^ c3[b] ^ key1;
            c3[b] = p;
        }
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    TENON_UNROLL(4)
    for (int b = 0; b < Blocks; ++b) {
        const V front(typename V::Raw((c0[b] & 0xffffffffu) | (c1[b] << 32)));
        const V back(typename V::Raw((c2[b] & 0xffffffffu) | (c3[b] << 32)));
        using Out = simd<std::uint32_t, 2 * W>;
        std::uint32_t* to = out + b * 4 * W;
        if constexpr (W == 8) {
            Out((typename Out::Raw)__builtin_shufflevector(front.v, back.v, 0, 8, 1, 9, 2, 10, 3, 11)).store(to);
            Out((typename Out::Raw)__builtin_shufflevector(front.v, back.v, 4, 12, 5, 13, 6, 14, 7, 15)).store(to + 2 * W);
        } else if constexpr (W == 4) {
            Out((typename Out::Raw)__builtin_shufflevector(front.v, back.v, 0, 4, 1, 5)).store(to);
            Out((typename Out::Raw)__builtin_shufflevector(front.v, back.v, 2, 6, 3, 7)).store(to + 2 * W);
        } else {
            Out((typename Out::Raw)__builtin_shufflevector(front.v, back.v, 0, 2)).store(to);
            Out((typename Out::Raw)__builtin_shufflevector(front.v, back.v, 1, 3)).store(to + 2 * W);
        }
    }
}

template <int Lanes>
inline constexpr int lanes64 = Lanes / 2;
template <int Lanes>
inline constexpr int blocks = Lanes == 16 ? 2 : 3;  // as the registers allow
// Counters per call of philox_into.
template <int Lanes>
inline constexpr int group = lanes64<Lanes> * blocks<Lanes>;

// `groups` groups of counters from `counter` on.
template <int Lanes>
TENON_ALWAYS_INLINE void fill_groups(std::uint32_t* out, std::uint64_t counter, long groups, Key key) {
    for (long g = 0; g < groups; ++g)
        philox_into<lanes64<Lanes>, blocks<Lanes>>(out + g * 4 * group<Lanes>,
                                                   counter + static_cast<std::uint64_t>(g * group<Lanes>), key.low(), key.high());
}

// The words [first, first + n), n <= block_words, in a buffer: returns where they start in it. The next 16 exist too,
// so that vectors may read past the end.
struct WordBuffer {
    alignas(64) std::uint32_t words[block_words + 192];

    template <int Lanes>
    TENON_ALWAYS_INLINE const std::uint32_t* fill(Key key, std::uint64_t first, long n) {
        const long skip = static_cast<long>(first & 3), per_group = 4 * group<Lanes>;
        fill_groups<Lanes>(words, first >> 2, (skip + n + 15 + per_group) / per_group, key);
        return words + skip;
    }
};

// Loads and stores of L lanes; at the end of an array they go through a padded copy.
template <int L, class T>
using Compute = simd<std::conditional_t<std::is_same_v<T, double>, double, float>, L>;
template <int L, class T>
TENON_ALWAYS_INLINE Compute<L, T> load(const T* p) {
    if constexpr (std::is_same_v<T, float> || std::is_same_v<T, double>) return Compute<L, T>::load(p);
    else return load_as_float<L>(p);
}
template <int L, class T>
TENON_ALWAYS_INLINE void store(T* p, const Compute<L, T>& v) {
    if constexpr (std::is_same_v<T, float> || std::is_same_v<T, double>) v.store(p);
    else store_float(p, v);
}
template <int L, class T>
TENON_ALWAYS_INLINE Compute<L, T> load_part(const T* p, long n) {
    if (n >= L) return load<L>(p);
    T part[L];
    for (long i = 0; i < L; ++i) part[i] = p[i < n ? i : 0];
    return load<L>(static_cast<const T*>(part));
}
template <int L, class T>
TENON_ALWAYS_INLINE void store_part(T* p, const Compute<L, T>& v, long n) {
    if (n >= L) return store<L>(p, v);
    T part[L];
    store<L>(part, v);
    for (long i = 0; i < n; ++i) p[i] = part[i];
}

// ---- Bodies: what becomes of the words ------------------------------------------------------------------------------

// The elements [begin, end) of a fill whose element 0 has index `first`.
struct WordsBody {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(Key key, std::uint64_t first, long begin, long end, std::uint32_t* out) {
        const long per_group = 4 * group<Lanes>;
        std::uint64_t at = first + static_cast<std::uint64_t>(begin);
        if ((at & 3) == 0) {
            const long groups = (end - begin) / per_group;
            fill_groups<Lanes>(out + begin, at >> 2, groups, key);
            begin += groups * per_group;
        }
        WordBuffer buffer;
        while (begin < end) {
            const long m = end - begin < block_words ? end - begin : block_words;
            const std::uint32_t* words = buffer.fill<Lanes>(key, first + static_cast<std::uint64_t>(begin), m);
            for (long i = 0; i < m; ++i) out[begin + i] = words[i];
            begin += m;
        }
    }
};

// Walks [begin, end) in blocks: Map::step(words, i, m, arguments...) makes the elements i ... i + m - 1 from their
// words, Words of them each.
template <class Map, int Words>
struct MapBody {
    template <int Lanes, class... Arguments>
    static TENON_ALWAYS_INLINE void run(Key key, std::uint64_t first, long begin, long end, Arguments... arguments) {
        WordBuffer buffer;
        constexpr long step = block_words / Words;
        for (long i = begin; i < end; i += step) {
            const long m = end - i < step ? end - i : step;
            const std::uint32_t* words = buffer.fill<Lanes>(key, (first + static_cast<std::uint64_t>(i)) * Words, m * Words);
            Map::template step<Lanes>(words, i, m, arguments...);
        }
    }
};

// Words as float lanes: the top 24 bits convert as signed integers, in one instruction.
template <int L>
TENON_ALWAYS_INLINE simd<float, L> top_bits(const std::uint32_t* words) {
    using U = simd<std::uint32_t, L>;
    return convert<float>(bit_cast<std::int32_t>(U(typename U::Raw(U::load(words).v >> 8))));
}
// The top 53 bits of 64-bit draws as double lanes. 2^84 + 2^32 high and 2^52 + low are made from bits; every difference
// and the sum are exact.
template <int L>
TENON_ALWAYS_INLINE simd<double, L> top_bits64(const std::uint32_t* words) {
    using U = simd<std::uint64_t, L>;
    using D = simd<double, L>;
    const typename U::Raw draw = (typename U::Raw)simd<std::uint32_t, 2 * L>::load(words).v >> 11;
    const D high = bit_cast<double>(U(typename U::Raw((draw >> 32) | 0x4530000000000000ull))) - D(0x1p84);
    const D low = bit_cast<double>(U(typename U::Raw((draw & 0xffffffffull) | 0x4330000000000000ull))) - D(0x1p52);
    return high + low;
}

template <class T>
struct UniformMap {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void step(const std::uint32_t* words, long i, long m, T* out, float low, float scale) {
        using V = simd<float, Lanes>;
        for (long j = 0; j < m; j += Lanes)
            store_part<Lanes>(out + i + j, shifted(V(low), top_bits<Lanes>(words + j), V(scale)), m - j);
    }
};
template <>
struct UniformMap<double> {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void step(const std::uint32_t* words, long i, long m, double* out, double low, double scale) {
        constexpr int L = Lanes / 2;
        using V = simd<double, L>;
        for (long j = 0; j < m; j += L)
            store_part<L>(out + i + j, shifted(V(low), top_bits64<L>(words + 2 * j), V(scale)), m - j);
    }
};

// word <= last, as truth values in lanes.
template <int L>
TENON_ALWAYS_INLINE simd_mask<4, L> at_or_below(const std::uint32_t* words, std::uint32_t last) {
    using U = simd<std::uint32_t, L>;
    return U::load(words) <= U(last);
}

struct BernoulliMap {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void step(const std::uint32_t* words, long i, long m, std::uint8_t* out, std::uint32_t last) {
        using U = simd<std::uint32_t, Lanes>;
        using Bytes = simd<std::uint8_t, Lanes>;
        for (long j = 0; j < m; j += Lanes) {
            const U bits(typename U::Raw((typename U::Raw)at_or_below<Lanes>(words + j, last).v & 1u));
            const Bytes flags = convert<std::uint8_t>(convert<std::uint16_t>(bits));
            if (m - j >= Lanes) {
                flags.store(out + i + j);
            } else {
                std::uint8_t part[Lanes];
                flags.store(part);
                for (long l = 0; l < m - j; ++l) out[i + j + l] = part[l];
            }
        }
    }
};

template <class T>
struct DropoutMap {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void step(const std::uint32_t* words, long i, long m, const T* x, T* y, std::uint32_t last, double scale) {
        constexpr int L = std::is_same_v<T, double> ? Lanes / 2 : Lanes;
        using V = Compute<L, T>;
        for (long j = 0; j < m; j += L) {
            const V kept = load_part<L>(x + i + j, m - j) * V(scale);
            store_part<L>(y + i + j, select(at_or_below<L>(words + j, last), kept, V(0)), m - j);
        }
    }
};

struct IntegersMap {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void step(const std::uint32_t* words, long i, long m, std::int64_t* out, std::uint64_t low,
                                         std::uint64_t range) {
        for (long j = 0; j < m; ++j) {
            const std::uint64_t draw = words[2 * j] | static_cast<std::uint64_t>(words[2 * j + 1]) << 32;
            out[i + j] = static_cast<std::int64_t>(low + scale_to_range(draw, range));
        }
    }
};

// {a0 b0 a1 b1 ...} -> {a0 a1 ...}, {b0 b1 ...}, and back.
TENON_ALWAYS_INLINE void split_pairs(const std::uint32_t* p, simd<std::uint32_t, 4>& a, simd<std::uint32_t, 4>& b) {
    const auto x = simd<std::uint32_t, 4>::load(p).v, y = simd<std::uint32_t, 4>::load(p + 4).v;
    a.v = __builtin_shufflevector(x, y, 0, 2, 4, 6);
    b.v = __builtin_shufflevector(x, y, 1, 3, 5, 7);
}
TENON_ALWAYS_INLINE void split_pairs(const std::uint32_t* p, simd<std::uint32_t, 8>& a, simd<std::uint32_t, 8>& b) {
    const auto x = simd<std::uint32_t, 8>::load(p).v, y = simd<std::uint32_t, 8>::load(p + 8).v;
    a.v = __builtin_shufflevector(x, y, 0, 2, 4, 6, 8, 10, 12, 14);
    b.v = __builtin_shufflevector(x, y, 1, 3, 5, 7, 9, 11, 13, 15);
}
TENON_ALWAYS_INLINE void split_pairs(const std::uint32_t* p, simd<std::uint32_t, 16>& a, simd<std::uint32_t, 16>& b) {
    const auto x = simd<std::uint32_t, 16>::load(p).v, y = simd<std::uint32_t, 16>::load(p + 16).v;
    a.v = __builtin_shufflevector(x, y, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    b.v = __builtin_shufflevector(x, y, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
}
TENON_ALWAYS_INLINE void join_pairs(const simd<float, 4>& a, const simd<float, 4>& b, float* out) {
    simd<float, 4>(__builtin_shufflevector(a.v, b.v, 0, 4, 1, 5)).store(out);
    simd<float, 4>(__builtin_shufflevector(a.v, b.v, 2, 6, 3, 7)).store(out + 4);
}
TENON_ALWAYS_INLINE void join_pairs(const simd<float, 8>& a, const simd<float, 8>& b, float* out) {
    simd<float, 8>(__builtin_shufflevector(a.v, b.v, 0, 8, 1, 9, 2, 10, 3, 11)).store(out);
    simd<float, 8>(__builtin_shufflevector(a.v, b.v, 4, 12, 5, 13, 6, 14, 7, 15)).store(out + 8);
}
TENON_ALWAYS_INLINE void join_pairs(const simd<float, 16>& a, const simd<float, 16>& b, float* out) {
    simd<float, 16>(__builtin_shufflevector(a.v, b.v, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)).store(out);
    simd<float, 16>(__builtin_shufflevector(a.v, b.v, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)).store(out + 16);
}

// Box-Muller of L pairs of words, as 2 L standard normals in order.
template <int L>
TENON_ALWAYS_INLINE void normal_pairs(const std::uint32_t* words, float* out) {
    using V = simd<float, L>;
    using I = simd<std::int32_t, L>;
    namespace m = tenon::math::impl;
    simd<std::uint32_t, L> first, angles;
    split_pairs(words, first, angles);
    const V u = (convert<float>(first) + V(0.5f)) * V(0x1p-32f);  // in [2^-33, 1]
    V f;
    const V e = convert<float>(m::split_log(u, f));
    const V log_u = e * V(0x1.62e4p-1f) + (f + (m::log_correction(f) + e * V(0x1.7f7d1cp-20f)));
    const V radius = sqrt(abs(log_u + log_u));

    // The nearest quarter turn and the signed distance from it, in integers: exact.
    using U = simd<std::uint32_t, L>;
    const I quadrant = bit_cast<std::int32_t>(U(typename U::Raw((angles.v + 0x20000000u) >> 30)));
    const I rest = m::shift_right<2>(m::shift_left<2>(bit_cast<std::int32_t>(angles)));
    const V angle = (convert<float>(rest) + V(0.5f)) * V(0x1.921fb6p-30f);
    V sine, cosine;
    m::sin_cos_near_zero(angle, sine, cosine);
    const simd_mask<4, L> odd(typename I::Raw((quadrant.v & 1) != 0));
    const typename I::Raw sine_sign = (quadrant.v & 2) << 30, cosine_sign = ((quadrant.v + 1) & 2) << 30;
    const V c = radius * bit_cast<float>(I(typename I::Raw(bit_cast<std::int32_t>(select(odd, sine, cosine)).v ^ cosine_sign)));
    const V s = radius * bit_cast<float>(I(typename I::Raw(bit_cast<std::int32_t>(select(odd, cosine, sine)).v ^ sine_sign)));
    join_pairs(c, s, out);
}

// The double twin, one pair of draws: for gradient checks, accuracy before speed.
inline TENON_NOINLINE void normal_pair(const std::uint32_t* words, double* out) {
    std::uint64_t draws[2];
    for (int i = 0; i < 2; ++i) draws[i] = words[2 * i] | static_cast<std::uint64_t>(words[2 * i + 1]) << 32;
    const double u = (static_cast<double>(draws[0] >> 11) + 0.5) * 0x1p-53;
    const double v = (static_cast<double>(draws[1] >> 11) + 0.5) * 0x1p-53;
    for (int i = 0; i < 2; ++i) out[i] = reference::standard_normal(u, v, i != 0);
}

// Elements whose standard normals fit into a NormalBlock.
template <class T>
inline constexpr long normal_step = block_words / (std::is_same_v<T, double> ? 2 : 1) - 2;
// Standard normals of the elements [at, at + m), m <= normal_step: where they start in z. Vectors may read past the end.
template <class T>
struct NormalBlock {
    using Parameter = std::conditional_t<std::is_same_v<T, double>, double, float>;
    WordBuffer buffer;
    alignas(64) Parameter z[normal_step<T> + 34];

    template <int Lanes>
    TENON_ALWAYS_INLINE const Parameter* fill(Key key, std::uint64_t at, long m) {
        constexpr bool wide = std::is_same_v<T, double>;
        const long odd = static_cast<long>(at & 1);
        const std::uint32_t* words = buffer.fill<Lanes>(key, (at - at % 2) * (wide ? 2 : 1), (odd + m + 1) * (wide ? 2 : 1));
        if constexpr (wide) {
            for (long j = 0; j < odd + m; j += 2) normal_pair(words + 2 * j, z + j);
        } else {
            for (long j = 0; j < odd + m; j += 2 * Lanes) normal_pairs<Lanes>(words + j, z + j);
        }
        return z + odd;
    }
};

template <class T>
struct NormalBody {
    template <int Lanes, class Parameter>
    static TENON_ALWAYS_INLINE void run(Key key, std::uint64_t first, long begin, long end, T* out, Parameter mean,
                                        Parameter deviation) {
        constexpr bool wide = std::is_same_v<T, double>;
        constexpr int L = wide ? Lanes / 2 : Lanes;
        using V = Compute<L, T>;
        NormalBlock<T> block;
        for (long i = begin; i < end; i += normal_step<T>) {
            const long m = end - i < normal_step<T> ? end - i : normal_step<T>;
            const Parameter* z = block.template fill<Lanes>(key, first + static_cast<std::uint64_t>(i), m);
            if constexpr (wide) {
                for (long j = 0; j < m; ++j) out[i + j] = mean + deviation * z[j];
            } else {
                for (long j = 0; j < m; j += L) store_part<L>(out + i + j, V(mean) + V(deviation) * V::load(z + j), m - j);
            }
        }
    }
};

// Runs Body over [0, n) in fixed chunks, on the pool's threads.
template <class Body, class... Arguments>
void in_chunks(Key key, std::uint64_t first, long n, Arguments... arguments) {
    if (n <= 0) return;
    parallel_for((n + chunk - 1) / chunk, [=](long task) {
        const long begin = task * chunk, end = n - begin < chunk ? n : begin + chunk;
        dispatch<Body>(key, first, begin, end, arguments...);
    });
}

inline void check_probability(const char* operation, double p) {
    if (!(p >= 0 && p <= 1)) fail<ValueError>(operation, ": probability ", p, ", expected 0 to 1");
}

// Sorts order[i] stably by draws[i], both permuted; `spare` arrays of the same size are scratch. Draws are uniform, so
// two or three passes over their leading bits leave next to nothing for the insertion sort that finishes exactly.
inline void sort_by_draws(long n, std::uint64_t* draws, std::int64_t* order, std::uint64_t* spare_draws, std::int64_t* spare_order) {
    if (n > 64) {
        const int bits = n <= 1 << 14 ? 8 : 11, passes = n <= 1 << 20 ? 2 : 3;
        for (int pass = 0; pass < passes; ++pass) {
            const int shift = 64 - bits * (passes - pass);
            long start[1 << 11] = {};
            const std::uint64_t mask = (std::uint64_t(1) << bits) - 1;
            for (long i = 0; i < n; ++i) ++start[(draws[i] >> shift) & mask];
            long sum = 0;
            for (long b = 0; b < 1L << bits; ++b) {
                const long count = start[b];
                start[b] = sum;
                sum += count;
            }
            for (long i = 0; i < n; ++i) {
                const long to = start[(draws[i] >> shift) & mask]++;
                spare_draws[to] = draws[i];
                spare_order[to] = order[i];
            }
            std::uint64_t* const d = draws;
            draws = spare_draws;
            spare_draws = d;
            std::int64_t* const o = order;
            order = spare_order;
            spare_order = o;
        }
        if (passes % 2 != 0) {  // the caller's arrays are the spare ones now
            for (long i = 0; i < n; ++i) spare_draws[i] = draws[i];
            for (long i = 0; i < n; ++i) spare_order[i] = order[i];
            draws = spare_draws;
            order = spare_order;
        }
    }
    for (long i = 1; i < n; ++i) {
        const std::uint64_t draw = draws[i];
        const std::int64_t value = order[i];
        long j = i;
        for (; j > 0 && draws[j - 1] > draw; --j) {
            draws[j] = draws[j - 1];
            order[j] = order[j - 1];
        }
        draws[j] = draw;
        order[j] = value;
    }
}

}  // namespace impl::rng

// ---- Fills ----------------------------------------------------------------------------------------------------------
// out holds n elements, of which out[0] is element `first` of the key's sequence.

// The words of the key.
inline void random_words(Key key, std::uint64_t first, long n, std::uint32_t* out) {
    impl::rng::in_chunks<impl::rng::WordsBody>(key, first, n, out);
}

// Uniform in [low, high]: low + k * ((high - low) * 2^-24) for a 24-bit k (T = double: 53 bits), rounded twice. For
// [0, 1) the upper end is never reached; elsewhere rounding can reach it. T: float, double, bf16, half.
template <class T, class Parameter = std::conditional_t<std::is_same_v<T, double>, double, float>>
void uniform(Key key, long n, T* out, std::type_identity_t<Parameter> low = 0, std::type_identity_t<Parameter> high = 1,
             std::uint64_t first = 0) {
    constexpr int words = std::is_same_v<T, double> ? 2 : 1;
    const Parameter unit = std::is_same_v<T, double> ? Parameter(0x1p-53) : Parameter(0x1p-24);
    const Parameter scale = (high - low) * unit;
    impl::rng::in_chunks<impl::rng::MapBody<impl::rng::UniformMap<T>, words>>(key, first, n, out, low, scale);
}

// Normal with the given mean and standard deviation, by Box-Muller. float: u = (word + 0.5) * 2^-32, |value| up to 6.77
// deviations; double: 53-bit draws, up to 8.6. T: float, double, bf16, half.
template <class T, class Parameter = std::conditional_t<std::is_same_v<T, double>, double, float>>
void normal(Key key, long n, T* out, std::type_identity_t<Parameter> mean = 0, std::type_identity_t<Parameter> deviation = 1,
            std::uint64_t first = 0) {
    impl::rng::in_chunks<impl::rng::NormalBody<T>>(key, first, n, out, mean, deviation);
}

// 1 with probability p, else 0, to within 2^-33. Throws ValueError when p is outside of [0, 1].
inline void bernoulli(Key key, long n, std::uint8_t* out, double p, std::uint64_t first = 0) {
    impl::rng::check_probability("bernoulli", p);
    const std::uint64_t threshold = bernoulli_threshold(p);
    if (threshold == 0) {
        if (n > 0) __builtin_memset(out, 0, static_cast<std::size_t>(n));
        return;
    }
    impl::rng::in_chunks<impl::rng::MapBody<impl::rng::BernoulliMap, 1>>(key, first, n, out,
                                                                        static_cast<std::uint32_t>(threshold - 1));
}
inline void bernoulli(Key key, long n, bool* out, double p, std::uint64_t first = 0) {
    static_assert(sizeof(bool) == 1);
    bernoulli(key, n, reinterpret_cast<std::uint8_t*>(out), p, first);
}

// Integers in [low, high), each value's probability off by less than 2^-64. Throws ValueError when low >= high.
inline void integers(Key key, long n, std::int64_t* out, std::int64_t low, std::int64_t high, std::uint64_t first = 0) {
    if (low >= high)
        fail<ValueError>("integers: expected low < high, got [", static_cast<long long>(low), ", ", static_cast<long long>(high), ")");
    const std::uint64_t base = static_cast<std::uint64_t>(low), range = static_cast<std::uint64_t>(high) - base;
    impl::rng::in_chunks<impl::rng::MapBody<impl::rng::IntegersMap, 2>>(key, first, n, out, base, range);
}

// A permutation of 0 ... n - 1: the stable sort by the key's 64-bit draws. Throws MemoryError (24 n bytes of scratch).
inline void permutation(Key key, long n, std::int64_t* out) {
    if (n <= 0) return;
    const detail::Scratch<std::uint64_t> scratch(3 * n);  // draws, and twins of draws and out
    std::uint64_t* draws = scratch.data();
    impl::rng::in_chunks<impl::rng::WordsBody>(key, 0, 2 * n, reinterpret_cast<std::uint32_t*>(draws));
    for (long i = 0; i < n; ++i) out[i] = i;
    impl::rng::sort_by_draws(n, draws, out, draws + n, reinterpret_cast<std::int64_t*>(draws + 2 * n));
}

// y[i] = x[i] / (1 - p) where the element is kept, else 0, whatever x[i] is. Kept are the elements that bernoulli(key,
// 1 - p) marks. Its own adjoint: the gradient of x is dropout of the gradient of y under the same key and p, so no mask
// is stored. y may be x. T: float, double, bf16, half. Throws ValueError when p is outside of [0, 1].
template <class T>
void dropout(Key key, long n, const T* x, T* y, double p, std::uint64_t first = 0) {
    impl::rng::check_probability("dropout", p);
    const std::uint64_t threshold = bernoulli_threshold(1 - p);
    if (threshold == 0) {
        for (long i = 0; i < n; ++i) y[i] = T(0.f);
        return;
    }
    impl::rng::in_chunks<impl::rng::MapBody<impl::rng::DropoutMap<T>, 1>>(key, first, n, x, y,
                                                                         static_cast<std::uint32_t>(threshold - 1), 1 / (1 - p));
}
// dx[i] = dy[i] / (1 - p) where the forward pass with this key, p and first kept the element, else 0.
template <class T>
void dropout_backward(Key key, long n, const T* dy, T* dx, double p, std::uint64_t first = 0) {
    dropout(key, n, dy, dx, p, first);
}

#if defined(TENON_KERNEL_INSTANCE)
namespace impl::rng {
TENON_KERNEL_INSTANCE void in_chunks<WordsBody, std::uint32_t*>(Key, std::uint64_t, long, std::uint32_t*);
TENON_KERNEL_INSTANCE void in_chunks<MapBody<UniformMap<float>, 1>, float*, float, float>(Key, std::uint64_t, long, float*, float, float);
TENON_KERNEL_INSTANCE void in_chunks<MapBody<UniformMap<double>, 2>, double*, double, double>(Key, std::uint64_t, long, double*, double,
                                                                                              double);
TENON_KERNEL_INSTANCE void in_chunks<NormalBody<float>, float*, float, float>(Key, std::uint64_t, long, float*, float, float);
TENON_KERNEL_INSTANCE void in_chunks<NormalBody<double>, double*, double, double>(Key, std::uint64_t, long, double*, double, double);
TENON_KERNEL_INSTANCE void in_chunks<MapBody<DropoutMap<float>, 1>, const float*, float*, std::uint32_t, double>(
    Key, std::uint64_t, long, const float*, float*, std::uint32_t, double);
}  // namespace impl::rng
#endif

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
