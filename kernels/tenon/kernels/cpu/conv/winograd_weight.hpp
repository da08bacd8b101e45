// 3 x 3 kernels to U = G g G^T, in panels for the micro-kernels, and sums of products to gradients of kernels, G^T dU G.
#pragma once

#include <tenon/kernels/cpu/conv/winograd_planes.hpp>
#include <tenon/kernels/cpu/conv/winograd_tile.hpp>
#include <tenon/kernels/cpu/gemm/panels.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace winograd_impl {

// Kernels in memory: tap t (row by row) of input channel c for output channel k lies at data[k * out_stride + c * in_stride + t]. With
// `rotated` the taps count from the end: the convolution that takes gradients back to the input.
template <class T>
struct Weights {
    const T* data;
    long out_stride, in_stride;
    bool rotated;
};

// At least n elements, an odd number of cache lines: the (m + 2)^2 streams of a transform, that far apart, share out the sets of
// a cache evenly (a power of two apart they would all fall on the same few).
template <class T>
constexpr long odd_lines(long n) {
    constexpr long line = 64 / long(sizeof(T));
    return ((n + line - 1) / line | 1) * line;
}

// Input channels that are transformed together.
inline constexpr long weight_block = 16;

// U of input channels [first, last) for one panel of `columns` output channels (a multiple of the lanes, at most two vectors), of which
// `valid` exist (the others get zeros), from w on: u[xi * xi_stride + c * columns + column].
template <class T>
struct WeightJob {
    Weights<T> w;
    long first, last;
    long columns, valid;
    T* u;
    long xi_stride;
    typename gemm_impl::Kernels<T>::PackFunction pack;
};

template <class T, int M>
struct WeightBody {
    static constexpr int I = M + 2;
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const WeightJob<T>* job) {
        TENON_CONTRACT
        constexpr int L = int(Lanes * 4 / sizeof(T));
        using V = simd<T, L>;
        const Weights<T> w = job->w;
        const long columns = job->columns;
        // packed[(c * 9 + t) * columns + column]
        alignas(64) T packed[weight_block * 9 * 2 * L];
        for (long c = job->first; c < job->last; c += weight_block) {
            const long count = job->last - c < weight_block ? job->last - c : weight_block;
            const T* const from = w.data + c * w.in_stride;
            const long together = w.in_stride == 9 ? count : 1;
            for (long i = 0; i < count; i += together)
                job->pack(packed + i * 9 * columns, columns, job->valid, from + i * w.in_stride, w.out_stride, 1L, together * 9);
            for (long i = 0; i < count; ++i) {
                for (long column = 0; column < columns; column += L) {
                    const T* const g = packed + i * 9 * columns + column;
                    const long first_tap = w.rotated ? 8 * columns : 0, tap = w.rotated ? -columns : columns;
                    V half[I][3];
                    TENON_UNROLL(3)
                    for (int t = 0; t < 3; ++t) {
                        V taps[3], u[I];
                        TENON_UNROLL(3)
                        for (int s = 0; s < 3; ++s) taps[s] = V::load(g + first_tap + (s * 3 + t) * tap);
                        Transform<M>::weight(taps, u);
                        TENON_UNROLL(8)
                        for (int x = 0; x < I; ++x) half[x][t] = u[x];
                    }
                    T* to = job->u + (c + i) * columns + column;
                    TENON_UNROLL(8)
                    for (int x = 0; x < I; ++x) {
                        V u[I];
                        Transform<M>::weight(half[x], u);
                        TENON_UNROLL(8)
                        for (int y = 0; y < I; ++y, to += job->xi_stride) u[y].store(to);
                    }
                }
            }
        }
    }
};

// Gradients of the kernels of input channels [first, last), from sums[xi * xi_stride + c * row_stride + k] for all output
// channels k (whole vectors may be read), to dw[(k * channels + c) * 9 + t], or added to what is there.
template <class T>
struct WeightGradientJob {
    const T* sums;
    long xi_stride, row_stride;
    long first, last, channels, out_channels;
    T* dw;
    bool accumulate;
};

template <class T, int M>
struct WeightGradientBody {
    static constexpr int I = M + 2;
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const WeightGradientJob<T>* job) {
        TENON_CONTRACT
        constexpr int L = int(Lanes * 4 / sizeof(T));
        using V = simd<T, L>;
        alignas(64) T taps[(weight_block * 9 + L) * L];
        for (long c = job->first; c < job->last; c += weight_block) {
            const long count = job->last - c < weight_block ? job->last - c : weight_block;
            for (long k = 0; k < job->out_channels; k += L) {
                for (long i = 0; i < count; ++i) {
                    const T* from = job->sums + (c + i) * job->row_stride + k;
                    V half[3][I];
                    TENON_UNROLL(8)
                    for (int y = 0; y < I; ++y) {
                        V column[I], g[3];
                        TENON_UNROLL(8)
                        for (int x = 0; x < I; ++x) column[x] = V::load(from + (x * I + y) * job->xi_stride);
                        Transform<M>::weight_gradient(column, g);
                        TENON_UNROLL(3)
                        for (int t = 0; t < 3; ++t) half[t][y] = g[t];
                    }
                    TENON_UNROLL(3)
                    for (int t = 0; t < 3; ++t) {
                        V g[3];
                        Transform<M>::weight_gradient(half[t], g);
                        TENON_UNROLL(3)
                        for (int s = 0; s < 3; ++s) g[s].store(taps + (i * 9 + t * 3 + s) * L);
                    }
                }
                const long valid = job->out_channels - k < L ? job->out_channels - k : L;
                write_planes<T, L>(Planes<T>{job->dw + (k * job->channels + c) * 9, job->channels * 9, valid}, taps, count * 9,
                                   job->accumulate, false);
            }
        }
    }
};

}  // namespace winograd_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
