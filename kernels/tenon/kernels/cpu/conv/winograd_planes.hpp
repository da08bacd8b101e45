// Channels as lanes: pixels of L planes (contiguous images) become vectors of L channels, and back, by transposes of L x L
// values in registers.
#pragma once

#include <tenon/base/simd.hpp>
#include <tenon/kernels/cpu/gemm/vector.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace winograd_impl {

using tenon::impl::vector_of;

// Copies the first `width` <= L values.
template <class T, int L>
TENON_ALWAYS_INLINE void copy_values(T* to, const T* from, long width) {
    using U = typename vector_of<T, L>::unaligned;
    if (width == L) *reinterpret_cast<U*>(to) = *reinterpret_cast<const U*>(from);
    else gemm_impl::copy_part<T, L>(to, from, width);
}

// Element j of r[i] and element i of r[j] change places.
template <class T, int L>
TENON_ALWAYS_INLINE void transpose(typename vector_of<T, L>::type (&r)[L]) {
    if constexpr (L < 16) {
        gemm_impl::VectorDotsBody<T>::template transpose<L>(r);
    } else {
        using V = typename vector_of<T, L>::type;
        V t[16], u[16];
        // Within 128 bits: 4 x 4 blocks side by side ...
        TENON_UNROLL(8)
        for (int i = 0; i < 16; i += 2) {
            t[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
            t[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
        }
        TENON_UNROLL(4)
        for (int i = 0; i < 16; i += 4) {
            TENON_UNROLL(2)
            for (int j = 0; j < 2; ++j) {
                u[i + 2 * j] = __builtin_shufflevector(t[i + j], t[i + j + 2], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
                u[i + 2 * j + 1] =
                    __builtin_shufflevector(t[i + j], t[i + j + 2], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
            }
        }
        // ... then the 4 x 4 blocks among themselves.
#define TENON_QUARTERS_EVEN(x, y) __builtin_shufflevector(x, y, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27)
#define TENON_QUARTERS_ODD(x, y) __builtin_shufflevector(x, y, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31)
        TENON_UNROLL(4)
        for (int i = 0; i < 4; ++i) {
            const V a = TENON_QUARTERS_EVEN(u[i], u[i + 4]), b = TENON_QUARTERS_EVEN(u[i + 8], u[i + 12]);
            const V c = TENON_QUARTERS_ODD(u[i], u[i + 4]), d = TENON_QUARTERS_ODD(u[i + 8], u[i + 12]);
            r[i] = TENON_QUARTERS_EVEN(a, b);
            r[i + 4] = TENON_QUARTERS_EVEN(c, d);
            r[i + 8] = TENON_QUARTERS_ODD(a, b);
            r[i + 12] = TENON_QUARTERS_ODD(c, d);
        }
#undef TENON_QUARTERS_EVEN
#undef TENON_QUARTERS_ODD
    }
}

// Planes of contiguous values, `stride` apart; those from `valid` on are not there.
template <class T>
struct Planes {
    T* data;
    long stride, valid;
};

// Values [first, first + L) of L planes of `size` values, as L vectors of channels; lanes that are not there hold values of
// the last plane. Reads nothing outside of the planes: values before 0 or from size on are arbitrary.
template <class T, int L>
TENON_ALWAYS_INLINE void read_planes(const Planes<const T>& planes, long first, long size, typename vector_of<T, L>::type (&r)[L]) {
    using U = typename vector_of<T, L>::unaligned;
    if (first >= 0 && first + L <= size) {
        const T* p = planes.data + first;
        TENON_UNROLL(16)
        for (int l = 0; l < L; ++l) {
            r[l] = *reinterpret_cast<const U*>(p);
            if (l + 1 < planes.valid) p += planes.stride;
        }
    } else {
        const long from = first < 0 ? 0 : first, width = first + L < size ? first + L - from : size - from;
        for (int l = 0; l < L; ++l) {
            alignas(64) T part[L] = {};
            if (width > 0)
                copy_values<T, L>(part + (from - first), planes.data + (l < planes.valid ? l : planes.valid - 1) * planes.stride + from,
                                  width);
            r[l] = *reinterpret_cast<const U*>(part);
        }
    }
    transpose<T, L>(r);
}

// The `count` vectors of channels from `pixels` on become values [0, count) of the planes, or are added to them, then `relu`. Up to L - 1
// vectors behind the last one are read.
template <class T, int L>
TENON_ALWAYS_INLINE void write_planes(const Planes<T>& planes, const T* pixels, long count, bool accumulate, bool relu) {
    using V = typename vector_of<T, L>::type;
    using U = typename vector_of<T, L>::unaligned;
    for (long q = 0; q < count; q += L) {
        // The last vectors overlap the ones before, but where old values are added.
        long from = q, width = count - q < L ? count - q : L;
        if (width < L && count >= L && !accumulate) {
            from = count - L;
            width = L;
        }
        V r[L];
        TENON_UNROLL(16)
        for (int l = 0; l < L; ++l) r[l] = *reinterpret_cast<const U*>(pixels + (from + l) * L);
        transpose<T, L>(r);
        if (width == L && planes.valid == L && !accumulate) {
            T* p = planes.data + from;
            TENON_UNROLL(16)
            for (int l = 0; l < L; ++l, p += planes.stride) *reinterpret_cast<U*>(p) = r[l];
        } else {
            alignas(64) T rows[L][L];
            TENON_UNROLL(16)
            for (int l = 0; l < L; ++l) *reinterpret_cast<U*>(rows[l]) = r[l];
            for (long l = 0; l < planes.valid; ++l) {
                T* const p = planes.data + l * planes.stride + from;
                alignas(64) T part[L] = {};
                if (accumulate) {
                    copy_values<T, L>(part, p, width);
                    V sum = *reinterpret_cast<const U*>(rows[l]) + *reinterpret_cast<const U*>(part);
                    if (relu) sum = sum < V{} ? V{} : sum;
                    *reinterpret_cast<U*>(rows[l]) = sum;
                }
                copy_values<T, L>(p, rows[l], width);
            }
        }
    }
}

}  // namespace winograd_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
