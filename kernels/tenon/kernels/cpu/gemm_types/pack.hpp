// Packing of narrow types into panels of cells. A reader says how a cell comes about; PackCells walks the operand: lanes
// that lie side by side are read as vectors, steps that lie side by side go through 4 x 4 transposes of cells, other
// strides element by element.
#pragma once

#include <tenon/base/dispatch.hpp>
#include <tenon/base/simd.hpp>
#include <tenon/kernels/cpu/gemm_types/dots.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace gemm_impl {

// A reader has: Source; group, the elements of a cell; swaps, whether steps 2 l and 2 l + 1 trade places; and
//   lanes<N>(out, p, step)   N cells of neighbouring elements p[0 .. N), their elements `step` apart
//   steps<N>(p)              N cells that follow one another, from N * group elements in a row; N is 4, or `most` of the lanes
//   one(p, step, count)      one cell of `count` <= group elements, the others zero

// g++ converts bytes to 32 bits one by one; interleaved they get there in vectors.
typedef std::uint8_t bytes_x16 __attribute__((vector_size(16)));
typedef std::uint16_t shorts_x8 __attribute__((vector_size(16)));

// The first N bytes from p on, N = 4, 8 or 16; the rest zeros.
template <int N>
TENON_ALWAYS_INLINE void load_bytes(bytes_x16& out, const void* p) {
    if constexpr (N == 16) {
        typedef std::uint8_t unaligned __attribute__((vector_size(16), aligned(1), may_alias));
        out = *static_cast<const unaligned*>(p);
    } else if constexpr (N == 8) {
        typedef long long word __attribute__((aligned(1), may_alias));
        typedef long long words __attribute__((vector_size(16)));
        out = (bytes_x16)words{*static_cast<const word*>(p), 0};
    } else {
        typedef int word __attribute__((aligned(1), may_alias));
        typedef int words __attribute__((vector_size(16)));
        out = (bytes_x16)words{*static_cast<const word*>(p), 0, 0, 0};
    }
}
TENON_ALWAYS_INLINE void interleave_low(bytes_x16& out, const bytes_x16& a, const bytes_x16& b) {
    out = __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}
TENON_ALWAYS_INLINE void interleave_high(bytes_x16& out, const bytes_x16& a, const bytes_x16& b) {
    out = __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
}
template <class V>
TENON_ALWAYS_INLINE void store_cells(Cell* out, const V& v) {
    *reinterpret_cast<simd<Cell, 4>::Unaligned*>(out) = (simd<Cell, 4>::Raw)v;
}

// Pairs of bf16, as they lie.
struct ReadPairs {
    using Source = bf16;
    static constexpr int group = 2;
    static constexpr bool swaps = false;
    template <int N>
    static TENON_ALWAYS_INLINE void lanes(Cell* out, const Source* p, long step) {
        using H = simd<std::uint16_t, N>;
        const auto low = convert<Cell>(H::load(reinterpret_cast<const std::uint16_t*>(p)));
        const auto high = convert<Cell>(H::load(reinterpret_cast<const std::uint16_t*>(p + step)));
        simd<Cell, N>(typename simd<Cell, N>::Raw(low.v | high.v << 16)).store(out);
    }
    template <int Lanes> static constexpr int most = Lanes;
    template <int N, int Lanes = N>
    static TENON_ALWAYS_INLINE simd<Cell, N> steps(const Source* p) {
        return simd<Cell, N>(typename simd<Cell, N>::Raw(*reinterpret_cast<const typename simd<Cell, N>::Unaligned*>(p)));
    }
    static TENON_ALWAYS_INLINE Cell one(const Source* p, long step, long count) {
        return p[0].bits | static_cast<Cell>(count > 1 ? p[step].bits : 0) << 16;
    }};

#if TENON_DISPATCH
TENON_TARGET_AVX512 inline void half_to_floats(floats_x16& out, const half* p) {
    typedef std::uint16_t halves __attribute__((vector_size(32), aligned(2), may_alias));
    asm("vcvtph2ps %1, %0" : "=v"(out) : "m"(*reinterpret_cast<const halves*>(p)));
}
#endif

// Floats from bf16 or half. Those of bf16 trade places in pairs, which is the order of Bf16Dot: where nothing is
// subnormal, both give the same bits.
template <class T>
struct ReadFloats {
    using Source = T;
    static constexpr int group = 1;
    static constexpr bool swaps = std::is_same_v<T, bf16>;
    template <int N>
    static TENON_ALWAYS_INLINE void lanes(Cell* out, const Source* p, long) { load<N>(p).store(out); }
    template <int Lanes> static constexpr int most = Lanes;
    template <int N, int Lanes = N>
    static TENON_ALWAYS_INLINE simd<Cell, N> steps(const Source* p) {
        using V = simd<Cell, N>;
        if constexpr (swaps) {
            // A pair is 32 bits of memory: its halves go to the wrong ends of 64.
            using P = simd<std::uint64_t, N / 2>;
            using H = simd<Cell, N / 2>;
            const auto pair = convert<std::uint64_t>(H(typename H::Raw(*reinterpret_cast<const typename H::Unaligned*>(p))));
            return V((typename V::Raw)typename P::Raw((pair.v & 0xffff0000u) | pair.v << 48));
        } else {
#if TENON_DISPATCH
            // Four halves of a machine that converts eight.
            if constexpr (N == 4 && Lanes > 4) {
                typedef long long words __attribute__((vector_size(16)));
                typedef long long word __attribute__((aligned(2), may_alias));
                tenon::impl::f32x4 floats;
                tenon::impl::half_to_float_into(floats, (tenon::impl::i16x8)words{*reinterpret_cast<const word*>(p), 0});
                return V((typename V::Raw)floats);
            }
#endif
            return load<N>(p);
        }
    }
    static TENON_ALWAYS_INLINE Cell one(const Source* p, long, long) { return __builtin_bit_cast(Cell, static_cast<float>(*p)); }

private:
    template <int N>
    static TENON_ALWAYS_INLINE simd<Cell, N> load(const Source* p) {
#if TENON_DISPATCH
        if constexpr (std::is_same_v<T, half> && N == 16) {
            floats_x16 floats;
            half_to_floats(floats, p);
            return simd<Cell, N>((typename simd<Cell, N>::Raw)floats);
        }
#endif
        return bit_cast<Cell>(load_as_float<N>(p));
    }
};

// Pairs of 16-bit integers from bytes.
template <class T>
struct ReadWidened {
    using Source = T;
    static constexpr int group = 2;
    static constexpr bool swaps = false;
    template <int N>
    static TENON_ALWAYS_INLINE void lanes(Cell* out, const Source* p, long step) {
        bytes_x16 low, high, pairs;
        load_bytes<N>(low, p);
        load_bytes<N>(high, p + step);
        interleave_low(pairs, low, high);
        widen<N>(out, pairs);
        if constexpr (N == 16) {
            interleave_high(pairs, low, high);
            widen<8>(out + 8, pairs);
        }
    }
    template <int Lanes> static constexpr int most = Lanes < 8 ? Lanes : 8;
    template <int N, int Lanes = N>
    static TENON_ALWAYS_INLINE simd<Cell, N> steps(const Source* p) {
        if constexpr (N == 4) {
            bytes_x16 bytes;
            load_bytes<8>(bytes, p);
            Cell cells[4];
            widen<4>(cells, bytes);
            return simd<Cell, 4>::load(cells);
        } else {
            return simd<Cell, N>((typename simd<Cell, N>::Raw)convert<std::int16_t>(simd<T, 2 * N>::load(p)).v);
        }
    }
    static TENON_ALWAYS_INLINE Cell one(const Source* p, long step, long count) {
        const Cell low = static_cast<std::uint16_t>(p[0]), high = count > 1 ? static_cast<std::uint16_t>(p[step]) : 0u;
        return low | high << 16;
    }

private:
    // A byte on top of a zero one, shifted down with its sign. Four cells from the low half; with N = 8 or more the others too.
    template <int N>
    static TENON_ALWAYS_INLINE void widen(Cell* out, const bytes_x16& bytes) {
        using Word = typename vector_of<std::conditional_t<std::is_signed_v<T>, std::int16_t, std::uint16_t>, 8>::type;
        bytes_x16 words;
        interleave_low(words, bytes_x16{}, bytes);
        store_cells(out, (Word)words >> 8);
        if constexpr (N >= 8) {
            interleave_high(words, bytes_x16{}, bytes);
            store_cells(out + 4, (Word)words >> 8);
        }
    }
};

// Quads of bytes. Flipped, a signed byte becomes the unsigned one that is 128 larger.
template <class T, bool Flipped>
struct ReadQuads {
    using Source = T;
    static constexpr int group = 4;
    static constexpr bool swaps = false;
    static constexpr Cell mask = Flipped ? 0x80808080u : 0u;
    template <int N>
    static TENON_ALWAYS_INLINE void lanes(Cell* out, const Source* p, long step) {
        bytes_x16 b0, b1, b2, b3, low, high;
        load_bytes<N>(b0, p);
        load_bytes<N>(b1, p + step);
        load_bytes<N>(b2, p + 2 * step);
        load_bytes<N>(b3, p + 3 * step);
        interleave_low(low, b0, b1);
        interleave_low(high, b2, b3);
        interleave<N>(out, low, high);
        if constexpr (N == 16) {
            interleave_high(low, b0, b1);
            interleave_high(high, b2, b3);
            interleave<8>(out + 8, low, high);
        }
    }
    template <int Lanes> static constexpr int most = Lanes;
    template <int N, int Lanes = N>
    static TENON_ALWAYS_INLINE simd<Cell, N> steps(const Source* p) {
        return simd<Cell, N>(typename simd<Cell, N>::Raw(*reinterpret_cast<const typename simd<Cell, N>::Unaligned*>(p) ^ mask));
    }
    static TENON_ALWAYS_INLINE Cell one(const Source* p, long step, long count) {
        Cell cell = 0;
        for (long g = 0; g < count; ++g) cell |= static_cast<Cell>(static_cast<std::uint8_t>(p[g * step])) << (8 * g);
        return cell ^ mask;
    }

private:
    template <int N>
    static TENON_ALWAYS_INLINE void interleave(Cell* out, const bytes_x16& low, const bytes_x16& high) {
        const auto a = (shorts_x8)low, b = (shorts_x8)high;
        store_cells(out, (simd<Cell, 4>::Raw)__builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11) ^ mask);
        if constexpr (N >= 8) store_cells(out + 4, (simd<Cell, 4>::Raw)__builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15) ^ mask);
    }
};

// in[i * lane_stride + l * step] for i < valid and `steps` values of l, as panels of `lanes` cells that follow one another:
// out[(i / lanes * cells + l) * lanes + i % lanes], cells = steps / group rounded up; the last panel is filled up with zeros.
template <class Reader>
struct PackCells {
    using Source = typename Reader::Source;

    // Where cell l begins.
    static TENON_ALWAYS_INLINE long begin(long l, long steps) {
        if constexpr (Reader::swaps) return (l ^ 1) < steps ? l ^ 1 : l;
        else return l * Reader::group;
    }
    static TENON_ALWAYS_INLINE Cell one(const Source* row, long l, long step, long steps) {
        const long from = begin(l, steps), left = steps - from;
        return Reader::one(row + from * step, step, left < Reader::group ? left : Reader::group);
    }

    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(Cell* out, long lanes, long valid, const void* source, long lane_stride, long step, long steps) {
        const Source* in = static_cast<const Source*>(source);
        const long cells = (steps + Reader::group - 1) / Reader::group;
        if (lane_stride == 1) {
            for (long l = 0; l < cells; ++l) {
                const long from = begin(l, steps);
                const bool whole = steps - from >= Reader::group;
                const Source* row = in + from * step;
                Cell* to = out + l * lanes;
                for (long left = valid; left > 0; left -= lanes, row += lanes, to += lanes * cells) {
                    const long count = left < lanes ? left : lanes;
                    long i = 0;
                    // The next rows start on other pages, where the hardware does not look ahead.
                    for (long g = 0; g < Reader::group; ++g)
                        for (long ahead = 0; ahead < count; ahead += long(64 / sizeof(Source)))
                            __builtin_prefetch(row + (6 * Reader::group + g) * step + ahead);
                    if (whole) {
                        for (; i + Lanes <= count; i += Lanes) Reader::template lanes<Lanes>(to + i, row + i, step);
                        if constexpr (Lanes > 4)
                            for (; i + 4 <= count; i += 4) Reader::template lanes<4>(to + i, row + i, step);
                    }
                    for (; i < count; ++i) to[i] = Reader::one(row + i, step, whole ? Reader::group : steps - from);
                    for (; i < lanes; ++i) to[i] = 0;
                }
            }
            return;
        }
        for (long left = valid; left > 0; left -= lanes, in += lanes * lane_stride, out += lanes * cells) {
            const long count = left < lanes ? left : lanes;
            long i = 0;
            if (step == 1) {
                const long whole = steps / Reader::group / 4 * 4;
                for (; i + 4 <= count; i += 4) {
                    const Source* row[4];
                    for (long r = 0; r < 4; ++r) row[r] = in + (i + r) * lane_stride;
                    for (long l = 0; l < whole; l += 4) {
                        const auto r0 = Reader::template steps<4, Lanes>(row[0] + l * Reader::group), r1 = Reader::template steps<4, Lanes>(row[1] + l * Reader::group);
                        const auto r2 = Reader::template steps<4, Lanes>(row[2] + l * Reader::group), r3 = Reader::template steps<4, Lanes>(row[3] + l * Reader::group);
                        const auto t0 = __builtin_shufflevector(r0.v, r1.v, 0, 4, 1, 5), t1 = __builtin_shufflevector(r2.v, r3.v, 0, 4, 1, 5);
                        const auto t2 = __builtin_shufflevector(r0.v, r1.v, 2, 6, 3, 7), t3 = __builtin_shufflevector(r2.v, r3.v, 2, 6, 3, 7);
                        using U = typename simd<Cell, 4>::Unaligned;
                        Cell* to = out + l * lanes + i;
                        *reinterpret_cast<U*>(to) = __builtin_shufflevector(t0, t1, 0, 1, 4, 5);
                        *reinterpret_cast<U*>(to + lanes) = __builtin_shufflevector(t0, t1, 2, 3, 6, 7);
                        *reinterpret_cast<U*>(to + 2 * lanes) = __builtin_shufflevector(t2, t3, 0, 1, 4, 5);
                        *reinterpret_cast<U*>(to + 3 * lanes) = __builtin_shufflevector(t2, t3, 2, 3, 6, 7);
                    }
                    for (long l = whole; l < cells; ++l)
                        for (long r = 0; r < 4; ++r) out[l * lanes + i + r] = one(row[r], l, 1, steps);
                }
            }
            for (; i < lanes; ++i)
                for (long l = 0; l < cells; ++l) out[l * lanes + i] = i < count ? one(in + i * lane_stride, l, step, steps) : 0;
        }
    }
};

// The same operand row by row: out[i * ld + l] for i < valid, and zeros for the i from there to `rows`. No transposes where
// steps lie side by side: the usual A.
template <class Reader>
struct SpreadCells {
    using Source = typename Reader::Source;
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(Cell* out, long ld, long rows, long valid, const void* source, long lane_stride, long step, long steps) {
        constexpr int wide = Reader::template most<Lanes>;
        const long cells = (steps + Reader::group - 1) / Reader::group, whole = steps / Reader::group;
        const Source* in = static_cast<const Source*>(source);
        for (long i = 0; i < rows; ++i, out += ld, in += lane_stride) {
            long l = 0;
            if (i >= valid) {
                for (; l < cells; ++l) out[l] = 0;
                in -= lane_stride;
                continue;
            }
            if (step == 1) {
                for (; l + wide <= whole; l += wide) Reader::template steps<wide>(in + l * Reader::group).store(out + l);
                if constexpr (wide > 4)
                    for (; l + 4 <= whole; l += 4) Reader::template steps<4, Lanes>(in + l * Reader::group).store(out + l);
            }
            for (; l < cells; ++l) out[l] = PackCells<Reader>::one(in, l, step, steps);
        }
    }
};

// sums[j] += the sum of b over K, for the `lanes` columns of a packed panel; Dot multiplies unit by b.
template <class Dot, int Lanes, Cell Unit>
struct SumCells {
    template <int>
    static TENON_ALWAYS_INLINE void run(Cell* sums, const Cell* panel, long lanes, long cells) {
        using V = typename vector_of<Cell, Lanes>::type;
        using U = typename vector_of<Cell, Lanes>::unaligned;
        const V unit = Unit - V{};
        for (long j = 0; j < lanes; j += Lanes) {
            V sum = *reinterpret_cast<const U*>(sums + j);
            for (long l = 0; l < cells; ++l) {
                const V b = *reinterpret_cast<const U*>(panel + l * lanes + j);
                Dot::template add<Lanes>(sum, unit, b);
            }
            *reinterpret_cast<U*>(sums + j) = sum;
        }
    }
};

}  // namespace gemm_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
