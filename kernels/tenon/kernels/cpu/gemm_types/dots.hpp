// Cells: what a product of narrow types packs, and how two of them are multiplied.
//
// A cell is 32 bits: one float, a pair of bf16, a pair of 16-bit or a quad of 8-bit integers that follow one another in
// K. Panels of cells are laid out as panels of floats are, and one step of the micro-kernel adds to every lane of a sum
// the product of two cells:
//   FloatDot      sum = fma(a, b, sum), or a rounded product and a sum where the machine has no FMA
//   Bf16Dot       sum = fma(a.low, b.low, fma(a.high, b.high, sum)): vdpbf16ps, which rounds each step to nearest even and
//                 takes subnormal inputs and results for zero
//   Int16Dot      sum += a.low * b.low + a.high * b.high, modulo 2^32: vpmaddwd, exact for values of nine bits
//   Int8Dot       sum += the four products of unsigned bytes of a and signed bytes of b, modulo 2^32: vpdpbusd
// A dot that needs an instruction by name has a plain twin of the same bits.
#pragma once

#include <tenon/base/dispatch.hpp>
#include <tenon/base/simd.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

// K is cut into chunks of this length (the last one may be shorter), at most `most` long, a multiple of 8.
constexpr long chunk_length(long k, long most) {
    if (k <= most) return k;
    const long chunks = (k + most - 1) / most;
    return ((k + chunks - 1) / chunks + 7) / 8 * 8;
}
inline constexpr long half_chunk = 512;  // of bf16 and half

namespace reference {

// One lane of vdpbf16ps.
inline float dot_bf16(float sum, std::uint32_t a, std::uint32_t b) {
    auto flush = [](float x) { return __builtin_fabsf(x) < 0x1p-126f ? __builtin_copysignf(0.0f, x) : x; };
    auto low = [&](std::uint32_t cell) { return flush(__builtin_bit_cast(float, cell << 16)); };
    auto high = [&](std::uint32_t cell) { return flush(__builtin_bit_cast(float, cell & 0xffff0000u)); };
    return flush(__builtin_fmaf(low(a), low(b), flush(__builtin_fmaf(high(a), high(b), flush(sum)))));
}
// One lane of vpmaddwd and vpaddd.
constexpr std::uint32_t dot_int16(std::uint32_t sum, std::uint32_t a, std::uint32_t b) {
    for (int g = 0; g < 32; g += 16)
        sum += static_cast<std::uint32_t>(static_cast<std::int16_t>(a >> g)) * static_cast<std::uint32_t>(static_cast<std::int16_t>(b >> g));
    return sum;
}
// One lane of vpdpbusd.
constexpr std::uint32_t dot_int8(std::uint32_t sum, std::uint32_t a, std::uint32_t b) {
    for (int g = 0; g < 32; g += 8) sum += static_cast<std::uint8_t>(a >> g) * static_cast<std::uint32_t>(static_cast<std::int8_t>(b >> g));
    return sum;
}

}  // namespace reference

namespace gemm_impl {

using tenon::impl::vector_of;
using Cell = std::uint32_t;
typedef Cell cells_x4 __attribute__((vector_size(16)));
typedef Cell cells_x8 __attribute__((vector_size(32)));
typedef Cell cells_x16 __attribute__((vector_size(64)));
typedef float floats_x16 __attribute__((vector_size(64)));

// A cell in every lane.
template <int L>
TENON_ALWAYS_INLINE void broadcast_cell(typename vector_of<Cell, L>::type& out, const Cell* cell) {
    out = *cell - typename vector_of<Cell, L>::type{};
}

struct FloatDot {
    using Sum = float;
    template <int L>
    static TENON_ALWAYS_INLINE void broadcast(typename vector_of<Cell, L>::type& out, const Cell* cell) {
        typedef float aliased __attribute__((may_alias));
        out = (typename vector_of<Cell, L>::type)(*reinterpret_cast<const aliased*>(cell) - typename vector_of<float, L>::type{});
    }
    template <int L>
    static TENON_ALWAYS_INLINE void add(typename vector_of<float, L>::type& sum, const typename vector_of<Cell, L>::type& a,
                                        const typename vector_of<Cell, L>::type& b) {
        TENON_CONTRACT
        using V = typename vector_of<float, L>::type;
        sum = sum + (V)a * (V)b;
    }
};

struct Bf16DotPlain {
    using Sum = float;
    template <int L>
    static TENON_ALWAYS_INLINE void broadcast(typename vector_of<Cell, L>::type& out, const Cell* cell) { broadcast_cell<L>(out, cell); }
    template <int L>
    static TENON_ALWAYS_INLINE void add(typename vector_of<float, L>::type& sum, const typename vector_of<Cell, L>::type& a,
                                        const typename vector_of<Cell, L>::type& b) {
        for (int i = 0; i < L; ++i) sum[i] = reference::dot_bf16(sum[i], a[i], b[i]);
    }
};

struct Int16DotPlain {
    using Sum = Cell;
    template <int L>
    static TENON_ALWAYS_INLINE void broadcast(typename vector_of<Cell, L>::type& out, const Cell* cell) { broadcast_cell<L>(out, cell); }
    template <int L>
    static TENON_ALWAYS_INLINE void add(typename vector_of<Cell, L>::type& sum, const typename vector_of<Cell, L>::type& a,
                                        const typename vector_of<Cell, L>::type& b) {
        using I = typename vector_of<std::int32_t, L>::type;
        using V = typename vector_of<Cell, L>::type;
        sum = sum + (V)((I)a >> 16) * (V)((I)b >> 16) + (V)((I)(a << 16) >> 16) * (V)((I)(b << 16) >> 16);
    }
};

struct Int8DotPlain {
    using Sum = Cell;
    template <int L>
    static TENON_ALWAYS_INLINE void broadcast(typename vector_of<Cell, L>::type& out, const Cell* cell) { broadcast_cell<L>(out, cell); }
    template <int L>
    static TENON_ALWAYS_INLINE void add(typename vector_of<Cell, L>::type& sum, const typename vector_of<Cell, L>::type& a,
                                        const typename vector_of<Cell, L>::type& b) {
        using I = typename vector_of<std::int32_t, L>::type;
        using V = typename vector_of<Cell, L>::type;
        TENON_UNROLL(4)
        for (int g = 0; g < 32; g += 8) sum = sum + ((a >> g) & 0xffu) * (V)((I)(b << (24 - g)) >> 24);
    }
};

#if defined(__x86_64__)
inline void multiply_int16(cells_x4& out, const cells_x4& a, const cells_x4& b) {
    typedef short shorts __attribute__((vector_size(16)));
    out = (cells_x4)__builtin_ia32_pmaddwd128((shorts)a, (shorts)b);
}
#if TENON_DISPATCH
TENON_TARGET_AVX2 inline void multiply_int16(cells_x8& out, const cells_x8& a, const cells_x8& b) {
    typedef short shorts __attribute__((vector_size(32)));
    out = (cells_x8)__builtin_ia32_pmaddwd256((shorts)a, (shorts)b);
}
// Spelled out, as g++ makes permutations of one wide load out of neighbouring broadcasts.
TENON_TARGET_AVX2 inline void spread_cell(cells_x8& out, const Cell* cell) { asm("vpbroadcastd %1, %0" : "=x"(out) : "m"(*cell)); }
TENON_TARGET_AVX512 inline void spread_cell(cells_x16& out, const Cell* cell) { asm("vpbroadcastd %1, %0" : "=v"(out) : "m"(*cell)); }
// The compilers disagree about the builtins of these, and about their types.
TENON_TARGET_AVX512 inline void multiply_int16(cells_x16& out, const cells_x16& a, const cells_x16& b) {
    asm("vpmaddwd %2, %1, %0" : "=v"(out) : "v"(a), "v"(b));
}
TENON_TARGET_AVX512_BF16 inline void add_bf16(floats_x16& sum, const cells_x16& a, const cells_x16& b) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
}
TENON_TARGET_AVX512_VNNI inline void add_int8(cells_x16& sum, const cells_x16& a, const cells_x16& b) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
}
#endif
#endif

struct Int16Dot {
    using Sum = Cell;
    template <int L>
    static TENON_ALWAYS_INLINE void broadcast(typename vector_of<Cell, L>::type& out, const Cell* cell) {
#if TENON_DISPATCH
        if constexpr (L >= 8) return spread_cell(out, cell);
#endif
        broadcast_cell<L>(out, cell);
    }
    template <int L>
    static TENON_ALWAYS_INLINE void add(typename vector_of<Cell, L>::type& sum, const typename vector_of<Cell, L>::type& a,
                                        const typename vector_of<Cell, L>::type& b) {
#if defined(__x86_64__)
        typename vector_of<Cell, L>::type products;
        multiply_int16(products, a, b);
        sum = sum + products;
#else
        Int16DotPlain::add<L>(sum, a, b);
#endif
    }
};

#if TENON_DISPATCH
struct Bf16Dot {
    using Sum = float;
    template <int L>
    static TENON_ALWAYS_INLINE void broadcast(cells_x16& out, const Cell* cell) { spread_cell(out, cell); }
    template <int L>
    static TENON_ALWAYS_INLINE void add(floats_x16& sum, const cells_x16& a, const cells_x16& b) {
        static_assert(L == 16);
        add_bf16(sum, a, b);
    }
};
struct Int8Dot {
    using Sum = Cell;
    template <int L>
    static TENON_ALWAYS_INLINE void broadcast(cells_x16& out, const Cell* cell) { spread_cell(out, cell); }
    template <int L>
    static TENON_ALWAYS_INLINE void add(cells_x16& sum, const cells_x16& a, const cells_x16& b) {
        static_assert(L == 16);
        add_int8(sum, a, b);
    }
};
#endif

// A tile of sums: rows of A broadcast, a row of vectors of B, one dot each per step. a[i * a_row + l * a_step] and
// b[l * b_step + j] are packed; the sums of `cells` steps, started at zero, go to out[i * NV * Lanes + j].
template <class Dot, int MR, int NV, int Lanes>
struct CellTileBody {
    using Sum = typename Dot::Sum;
    template <int>
    static TENON_ALWAYS_INLINE void run(const Cell* a, long a_row, long a_step, const Cell* b, long b_step, long cells, Sum* out) {
        using V = typename vector_of<Sum, Lanes>::type;
        using U = typename vector_of<Sum, Lanes>::unaligned;
        using C = typename vector_of<Cell, Lanes>::type;
        using CU = typename vector_of<Cell, Lanes>::unaligned;
        V sum[MR][NV];
        TENON_UNROLL(32)
        for (int i = 0; i < MR; ++i)
            TENON_UNROLL(4)
            for (int v = 0; v < NV; ++v) sum[i][v] = V{};
        // One pointer for every three rows: a pointer each would not fit the registers.
        constexpr int groups = (MR + 2) / 3;
        const Cell* start[groups];
        TENON_UNROLL(8)
        for (int g = 0; g < groups; ++g) start[g] = a + 3 * g * a_row;
        for (long l = 0; l < cells; ++l) {
            C row[NV];
            TENON_UNROLL(4)
            for (int v = 0; v < NV; ++v) row[v] = *reinterpret_cast<const CU*>(b + v * Lanes);
            TENON_UNROLL(32)
            for (int i = 0; i < MR; ++i) {
                C x;
                Dot::template broadcast<Lanes>(x, start[i / 3] + i % 3 * a_row);
                TENON_UNROLL(4)
                for (int v = 0; v < NV; ++v) Dot::template add<Lanes>(sum[i][v], x, row[v]);
            }
            // A panel of a whole chunk is larger than the first cache: its lines travel ahead of their use.
            TENON_UNROLL(4)
            for (int j = 0; j < NV * Lanes; j += 16) __builtin_prefetch(b + 8 * b_step + j);
            b += b_step;
            TENON_UNROLL(8)
            for (int g = 0; g < groups; ++g) start[g] += a_step;
        }
        TENON_UNROLL(32)
        for (int i = 0; i < MR; ++i)
            TENON_UNROLL(4)
            for (int v = 0; v < NV; ++v) *reinterpret_cast<U*>(out + (i * NV + v) * Lanes) = sum[i][v];
    }
};

#if TENON_DISPATCH
template <class Body, class... Arguments>
TENON_TARGET_AVX512_BF16 TENON_LOOP void run_avx512_bf16(Arguments... arguments) {
    Body::template run<16>(arguments...);
}
template <class Body, class... Arguments>
TENON_TARGET_AVX512_VNNI TENON_LOOP void run_avx512_vnni(Arguments... arguments) {
    Body::template run<16>(arguments...);
}
#endif

}  // namespace gemm_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
