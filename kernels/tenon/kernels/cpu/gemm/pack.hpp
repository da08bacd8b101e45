// Packing: a panel of `lanes` rows of A (or columns of B) becomes out[l * lanes + i], what the micro-kernel reads in
// order. Contiguous lanes are copied, contiguous steps go through 4 x 4 transposes, other strides element by element.
#pragma once

#include <tenon/base/dispatch.hpp>
#include <tenon/base/simd.hpp>
#include <tenon/kernels/cpu/gemm/types.hpp>

namespace tenon::kernels::cpu {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

using tenon::impl::vector_of;

// in[i * lane_stride + l * step] for i < valid, zeros for valid <= i < lanes; `steps` values of l. Writes
// steps * lanes values.
template <class T>
struct PackBody {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(T* out, long lanes, long valid, const T* in, long lane_stride, long step, long steps) {
        constexpr int L = int(Lanes * 4 / sizeof(T));
        if (lane_stride == 1) {
            using U = typename vector_of<T, L>::unaligned;
            for (long l = 0; l < steps; ++l, out += lanes, in += step) {
                long i = 0;
                for (; i + L <= valid; i += L) *reinterpret_cast<U*>(out + i) = *reinterpret_cast<const U*>(in + i);
                for (; i < valid; ++i) out[i] = in[i];
                for (; i < lanes; ++i) out[i] = T(0);
            }
            return;
        }
        long i = 0;
        if (step == 1) {
            using V = typename vector_of<T, 4>::type;
            using U = typename vector_of<T, 4>::unaligned;
            for (; i + 4 <= valid; i += 4) {
                const T* p = in + i * lane_stride;
                T* o = out + i;
                long l = 0;
                for (; l + 4 <= steps; l += 4, p += 4, o += 4 * lanes) {
                    const V r0 = *reinterpret_cast<const U*>(p), r1 = *reinterpret_cast<const U*>(p + lane_stride);
                    const V r2 = *reinterpret_cast<const U*>(p + 2 * lane_stride), r3 = *reinterpret_cast<const U*>(p + 3 * lane_stride);
                    const V t0 = __builtin_shufflevector(r0, r1, 0, 4, 1, 5), t1 = __builtin_shufflevector(r2, r3, 0, 4, 1, 5);
                    const V t2 = __builtin_shufflevector(r0, r1, 2, 6, 3, 7), t3 = __builtin_shufflevector(r2, r3, 2, 6, 3, 7);
                    *reinterpret_cast<U*>(o) = __builtin_shufflevector(t0, t1, 0, 1, 4, 5);
                    *reinterpret_cast<U*>(o + lanes) = __builtin_shufflevector(t0, t1, 2, 3, 6, 7);
                    *reinterpret_cast<U*>(o + 2 * lanes) = __builtin_shufflevector(t2, t3, 0, 1, 4, 5);
                    *reinterpret_cast<U*>(o + 3 * lanes) = __builtin_shufflevector(t2, t3, 2, 3, 6, 7);
                }
                for (; l < steps; ++l, ++p, o += lanes)
                    for (int r = 0; r < 4; ++r) o[r] = p[r * lane_stride];
            }
        }
        for (; i < valid; ++i)
            for (long l = 0; l < steps; ++l) out[l * lanes + i] = in[i * lane_stride + l * step];
        for (; i < lanes; ++i)
            for (long l = 0; l < steps; ++l) out[l * lanes + i] = T(0);
    }
};

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon::kernels::cpu
