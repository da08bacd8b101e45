// Packing: a panel of `lanes` rows of A (or columns of B) becomes out[l * lanes + i], what the micro-kernel reads in
// order. Contiguous lanes are copied, contiguous steps go through 4 x 4 transposes, other strides element by element.
#pragma once

#include <tenon/base/dispatch.hpp>
#include <tenon/base/simd.hpp>
#include <tenon/kernels/cpu/gemm/types.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace gemm_impl {

using tenon::impl::vector_of;

// Copies the first `width` < L values, as two overlapping moves of a power of two.
template <class T, int L>
TENON_ALWAYS_INLINE void copy_part(T* to, const T* from, long width) {
    if constexpr (L > 1) {
        constexpr int H = L / 2;
        if (width >= H) {
            if constexpr (H >= 2) {
                using V = typename vector_of<T, H>::type;
                using U = typename vector_of<T, H>::unaligned;
                const V low = *reinterpret_cast<const U*>(from), high = *reinterpret_cast<const U*>(from + width - H);
                *reinterpret_cast<U*>(to) = low;
                *reinterpret_cast<U*>(to + width - H) = high;
            } else {
                *to = *from;
            }
            return;
        }
        copy_part<T, H>(to, from, width);
    }
}

// `lanes` is even. in[i * lane_stride + l * step] for i < valid and `steps` values of l, as panels of `lanes` values of i (the last one
// filled up with zeros) that follow one another: out[(i / lanes * steps + l) * lanes + i % lanes].
template <class T>
struct PackBody {
    // `width` lanes (2 or 4) from four rows of contiguous steps, of which `rows` exist; S steps (4 or 8) at a time.
    template <int S>
    static TENON_ALWAYS_INLINE void transpose(T* out, long width, long lanes, const T* in, long lane_stride, long rows, long steps) {
        using V = typename vector_of<T, S>::type;
        using U = typename vector_of<T, S>::unaligned;
        using V4 = typename vector_of<T, 4>::type;
        using U4 = typename vector_of<T, 4>::unaligned;
        using U2 = typename vector_of<T, 2>::unaligned;
        // Rows that are not there read the first one; their lanes are zeroed.
        const T* p[4] = {in, rows > 1 ? in + lane_stride : in, rows > 2 ? in + 2 * lane_stride : in, rows > 3 ? in + 3 * lane_stride : in};
        const V4 keep{T(1), T(rows > 1), T(rows > 2), T(rows > 3)};
        long l = 0;
        for (; l + S <= steps; l += S) {
            const V r0 = *reinterpret_cast<const U*>(p[0] + l), r1 = *reinterpret_cast<const U*>(p[1] + l);
            const V r2 = *reinterpret_cast<const U*>(p[2] + l), r3 = *reinterpret_cast<const U*>(p[3] + l);
            V4 o[S];
            if constexpr (S == 4) {
                const V t0 = __builtin_shufflevector(r0, r1, 0, 4, 1, 5), t1 = __builtin_shufflevector(r2, r3, 0, 4, 1, 5);
                const V t2 = __builtin_shufflevector(r0, r1, 2, 6, 3, 7), t3 = __builtin_shufflevector(r2, r3, 2, 6, 3, 7);
                o[0] = __builtin_shufflevector(t0, t1, 0, 1, 4, 5), o[1] = __builtin_shufflevector(t0, t1, 2, 3, 6, 7);
                o[2] = __builtin_shufflevector(t2, t3, 0, 1, 4, 5), o[3] = __builtin_shufflevector(t2, t3, 2, 3, 6, 7);
            } else {
                // Two transposes side by side, each within its half of the registers.
                const V t0 = __builtin_shufflevector(r0, r1, 0, 8, 1, 9, 4, 12, 5, 13), t1 = __builtin_shufflevector(r2, r3, 0, 8, 1, 9, 4, 12, 5, 13);
                const V t2 = __builtin_shufflevector(r0, r1, 2, 10, 3, 11, 6, 14, 7, 15), t3 = __builtin_shufflevector(r2, r3, 2, 10, 3, 11, 6, 14, 7, 15);
                const V u0 = __builtin_shufflevector(t0, t1, 0, 1, 8, 9, 4, 5, 12, 13), u1 = __builtin_shufflevector(t0, t1, 2, 3, 10, 11, 6, 7, 14, 15);
                const V u2 = __builtin_shufflevector(t2, t3, 0, 1, 8, 9, 4, 5, 12, 13), u3 = __builtin_shufflevector(t2, t3, 2, 3, 10, 11, 6, 7, 14, 15);
                o[0] = __builtin_shufflevector(u0, u0, 0, 1, 2, 3), o[4] = __builtin_shufflevector(u0, u0, 4, 5, 6, 7);
                o[1] = __builtin_shufflevector(u1, u1, 0, 1, 2, 3), o[5] = __builtin_shufflevector(u1, u1, 4, 5, 6, 7);
                o[2] = __builtin_shufflevector(u2, u2, 0, 1, 2, 3), o[6] = __builtin_shufflevector(u2, u2, 4, 5, 6, 7);
                o[3] = __builtin_shufflevector(u3, u3, 0, 1, 2, 3), o[7] = __builtin_shufflevector(u3, u3, 4, 5, 6, 7);
            }
            TENON_UNROLL(8)
            for (int s = 0; s < S; ++s, out += lanes) {
                if (rows < width) o[s] = keep != V4{} ? o[s] : V4{};
                if (width == 4) *reinterpret_cast<U4*>(out) = o[s];
                else *reinterpret_cast<U2*>(out) = __builtin_shufflevector(o[s], o[s], 0, 1);
            }
        }
        for (; l < steps; ++l, out += lanes)
            for (long i = 0; i < width; ++i) out[i] = i < rows ? p[i][l] : T(0);
    }

    // The same for contiguous lanes: some rows at a time, a panel after the other while their lines are in the first cache.
    template <int N>
    static TENON_ALWAYS_INLINE void copy_panels(T* out, long valid, const T* in, long step, long steps) {
        using U8 = typename vector_of<T, 8>::unaligned;
        using U4 = typename vector_of<T, 4>::unaligned;
        constexpr long together = 8;
        for (long l = 0; l < steps; l += together) {
            const long now = steps - l < together ? steps - l : together;
            long first = 0;
            for (; first + N <= valid; first += N) {
                const T* from = in + l * step + first;
                T* to = out + first * steps + l * N;
                // The next rows start on other pages, where the hardware does not look ahead.
                const T* ahead = from + now * step;
                for (long s = 0; s < now; ++s, from += step, ahead += step, to += N) {
                    __builtin_prefetch(ahead);
                    *reinterpret_cast<U8*>(to) = *reinterpret_cast<const U8*>(from);
                    if constexpr (N == 12) *reinterpret_cast<U4*>(to + 8) = *reinterpret_cast<const U4*>(from + 8);
                }
            }
            if (first < valid)
                for (long s = l; s < l + now; ++s)
                    for (long i = 0; i < N; ++i) out[first * steps + s * N + i] = first + i < valid ? in[s * step + first + i] : T(0);
        }
    }

    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(T* out, long lanes, long valid, const T* in, long lane_stride, long step, long steps) {
        constexpr int L = int(Lanes * 4 / sizeof(T));
        using U = typename vector_of<T, L>::unaligned;
        using U4 = typename vector_of<T, 4>::unaligned;
        constexpr int S = Lanes >= 8 && sizeof(T) == 4 ? 8 : 4;
        if (lane_stride == 1) {
            // Tiles of eight and twelve rows are the ones that most packed products have.
            if (lanes == 12) return copy_panels<12>(out, valid, in, step, steps);
            if (lanes == 8) return copy_panels<8>(out, valid, in, step, steps);
            for (long l = 0; l < steps; ++l, out += lanes, in += step) {
                const T* from = in;
                T* to = out;
                for (long left = valid; left > 0; left -= lanes, from += lanes, to += lanes * steps) {
                    const long count = left < lanes ? left : lanes;
                    long i = 0;
                    // The next rows start on other pages, where the hardware does not look ahead.
                    for (long ahead = 0; ahead < count; ahead += long(64 / sizeof(T))) __builtin_prefetch(from + 6 * step + ahead);
                    for (; i + L <= count; i += L) *reinterpret_cast<U*>(to + i) = *reinterpret_cast<const U*>(from + i);
                    if (L > 4)
                        for (; i + 4 <= count; i += 4) *reinterpret_cast<U4*>(to + i) = *reinterpret_cast<const U4*>(from + i);
                    for (; i < count; ++i) to[i] = from[i];
                    for (; i < lanes; ++i) to[i] = T(0);
                }
            }
            return;
        }
        for (long left = valid; left > 0; left -= lanes, in += lanes * lane_stride, out += lanes * steps) {
            const long count = left < lanes ? left : lanes;
            if (step != 1) {
                for (long l = 0; l < steps; ++l)
                    for (long i = 0; i < lanes; ++i) out[l * lanes + i] = i < count ? in[i * lane_stride + l * step] : T(0);
                continue;
            }
            // Sixteen steps at a time use up the cache lines that they touch.
            for (long l = 0; l < steps; l += 16) {
                const long now = steps - l < 16 ? steps - l : 16;
                long i = 0;
                for (; i < count; i += 4) {
                    const T* from = in + i * lane_stride + l;
                    transpose<S>(out + l * lanes + i, lanes - i >= 4 ? 4 : 2, lanes, from, lane_stride, count - i, now);
                }
                for (; i < lanes; i += 4)
                    for (long s = 0; s < now; ++s)
                        for (long r = i; r < i + 4 && r < lanes; ++r) out[(l + s) * lanes + r] = T(0);
            }
        }
    }
};

}  // namespace gemm_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
