// Depthwise convolution with three by three taps and a padding of one over contiguous planes: the rows of a plane stream by, each read where it
// lies and added to the three rows of results that it is part of. What lies beside a row is zero in registers: nothing is copied.
// Sums run over the taps in row-major order, as in depthwise.hpp.
#pragma once

#include <tenon/kernels/cpu/conv/plane_window.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace conv_impl {

template <class T>
struct PlaneRows {
    const T* x;
    T* y;
    long x_channel, x_row, y_channel, y_row;
    long channels, height, width, first, rows;  // rows of results
    const T* w;                                 // [channels, 9]
    const T* bias;                              // or null
    bool relu;
};

template <class T>
struct PlaneRowsBody {
    // Lane i of the result is lane i - 1 of `from`, the first one is zero; and the other way round.
    template <int L>
    static TENON_ALWAYS_INLINE void shift_up(simd<T, L>& to, const simd<T, L>& from) {
        const typename simd<T, L>::Raw zero{};
        if constexpr (L == 16) to.v = __builtin_shufflevector(zero, from.v, 0, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30);
        if constexpr (L == 8) to.v = __builtin_shufflevector(zero, from.v, 0, 8, 9, 10, 11, 12, 13, 14);
        if constexpr (L == 4) to.v = __builtin_shufflevector(zero, from.v, 0, 4, 5, 6);
        if constexpr (L == 2) to.v = __builtin_shufflevector(zero, from.v, 0, 2);
    }
    template <int L>
    static TENON_ALWAYS_INLINE void shift_down(simd<T, L>& to, const simd<T, L>& from) {
        const typename simd<T, L>::Raw zero{};
        if constexpr (L == 16) to.v = __builtin_shufflevector(from.v, zero, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16);
        if constexpr (L == 8) to.v = __builtin_shufflevector(from.v, zero, 1, 2, 3, 4, 5, 6, 7, 8);
        if constexpr (L == 4) to.v = __builtin_shufflevector(from.v, zero, 1, 2, 3, 4);
        if constexpr (L == 2) to.v = __builtin_shufflevector(from.v, zero, 1, 2);
    }
    // N vectors of columns from at[0], ... on; the first begins the rows (Left), the last ends them (Right).
    template <int L, int N, bool Left, bool Right>
    static TENON_ALWAYS_INLINE void strip(const PlaneRows<T>& job, const T* x, T* y, const T* weights, T bias_value, const long* at, NextPlane& next) {
        TENON_CONTRACT
        using V = simd<T, L>;
        V w[9];
        TENON_UNROLL(9)
        for (int t = 0; t < 9; ++t) w[t] = V(weights[t]);
        const V bias(bias_value);
        // Sums of the row of results above, beside and below the row that is read.
        V above[N], beside[N];
        TENON_UNROLL(2)
        for (int v = 0; v < N; ++v) above[v] = V(0), beside[v] = V(0);
        const long last = job.first + job.rows;
        const auto finish = [&](long r) __attribute__((always_inline)) {
            TENON_UNROLL(2)
            for (int v = 0; v < N; ++v) {
                V result = above[v] + bias;
                if (job.relu) result = select(result < V(0), V(0), result);
                result.store(y + r * job.y_row + at[v]);
            }
        };
        for (long i = job.first > 0 ? job.first - 1 : 0; i <= last && i < job.height; ++i) {
            const T* const row = x + i * job.x_row;
            next.step();
            V below[N];
            TENON_UNROLL(2)
            for (int v = 0; v < N; ++v) {
                V read[3];
                read[1] = V::load(row + at[v]);
                if (Left && v == 0) shift_up<L>(read[0], read[1]);
                else read[0] = V::load(row + at[v] - 1);
                if (Right && v == N - 1) shift_down<L>(read[2], read[1]);
                else read[2] = V::load(row + at[v] + 1);
                below[v] = V(0);
                TENON_UNROLL(3)
                for (int j = 0; j < 3; ++j) {
                    keep_in_register(read[j]);
                    above[v] = above[v] + read[j] * w[6 + j];
                    beside[v] = beside[v] + read[j] * w[3 + j];
                    below[v] = below[v] + read[j] * w[j];
                }
            }
            if (i > job.first) finish(i - 1);
            TENON_UNROLL(2)
            for (int v = 0; v < N; ++v) above[v] = beside[v], beside[v] = below[v];
        }
        if (last == job.height) finish(last - 1);
    }
    template <int L>
    static TENON_ALWAYS_INLINE void plane(const PlaneRows<T>& job, const T* x, T* y, const T* w, T bias, NextPlane& next) {
        const long width = job.width;
        if (width == L) {
            const long at = 0;
            return strip<L, 1, true, true>(job, x, y, w, bias, &at, next);
        }
        if (width <= 2 * L) {
            const long at[2] = {0, width - L};
            return strip<L, 2, true, true>(job, x, y, w, bias, at, next);
        }
        for (long q = 0; q < width; q += 2 * L) {
            // The last columns once more, rather than less than two vectors.
            const long from = q + 2 * L < width ? q : width - 2 * L, at[2] = {from, from + L};
            if (q == 0) strip<L, 2, true, false>(job, x, y, w, bias, at, next);
            else if (q + 2 * L < width) strip<L, 2, false, false>(job, x, y, w, bias, at, next);
            else strip<L, 2, false, true>(job, x, y, w, bias, at, next);
        }
    }
    // As many lanes as a row fills.
    template <int L>
    static TENON_ALWAYS_INLINE void planes(const PlaneRows<T>& job) {
        if constexpr (L > 4)
            if (job.width < L) return planes<L / 2>(job);
        const T* x = job.x;
        T* y = job.y;
        const long low = job.first > 0 ? job.first - 1 : 0, high = job.first + job.rows < job.height ? job.first + job.rows + 1 : job.height,
                   steps = (high - low) * ((job.width + 2 * L - 1) / (2 * L));
        for (long c = 0; c < job.channels; ++c, x += job.x_channel, y += job.y_channel) {
            NextPlane next{NextPlane::of(x + job.x_channel + low * job.x_row, job.x_row, high - low, job.width, steps),
                           NextPlane::of(y + job.y_channel + job.first * job.y_row, job.y_row, job.rows, job.width, steps)};
            plane<L>(job, x, y, job.w + 9 * c, job.bias != nullptr ? job.bias[c] : T(0), next);
        }
    }
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const PlaneRows<T>* job) {
        planes<int(Lanes * 4 / sizeof(T))>(*job);
    }
};

// False for other passes. Planes of fewer columns than a small vector are left to depthwise_planes.hpp.
template <class T>
bool run_depthwise_rows(const Pass& pass, long channels, const T* x, const ImageStrides<3>& xs, const T* weights, long kernel, T* y,
                        const ImageStrides<3>& ys, const ConvEpilogue<T>& e) {
    const PassAxis &x0 = pass.axis[0], &x1 = pass.axis[1], &x2 = pass.axis[2];
    if (x0.grid != 1 || x0.in != 1 || x0.offset != 0 || !is_three_by_three(pass) || !pass.dense() || e.accumulate || xs.axis[2] != 1 || ys.axis[2] != 1) return false;
    if (x1.offset != -1 || x2.offset != -1 || x1.grid != x1.in || x2.grid != x2.in || x2.grid < 4 || x1.grid < 2 || pass.n == 0) return false;
    const gemm_impl::Workspace::Lease shared(gemm_impl::shared_workspace, std::size_t(9 * channels) * sizeof(T));
    T* const w = shared.as<T>();
    for (long c = 0; c < channels; ++c)
        for (long t = 0; t < 9; ++t) w[9 * c + t] = weights[c * kernel + pass.tap_index(t)] * (e.scale != nullptr ? e.scale[c] : T(1));
    // Large planes in pieces that stay in the second cache.
    const long height = x1.grid, width = x2.grid, wanted = (1 << 17) / (width * long(sizeof(T))), most = wanted < 16 ? 16 : wanted, blocks = (height + most - 1) / most,
               groups = (channels + plane_group - 1) / plane_group;
    parallel_for(pass.n * groups * blocks, 0.5 * double(pass.n * channels * height * width), [&](long index) {
        const gemm_impl::Part rows(height, blocks, index % blocks);
        const long c = index / blocks % groups * plane_group, image = index / (blocks * groups), count = channels - c < plane_group ? channels - c : plane_group;
        const PlaneRows<T> job{x + image * xs.n + c * xs.channel, y + image * ys.n + c * ys.channel, xs.channel, xs.axis[1], ys.channel, ys.axis[1],
                               count, height, width, rows.first, rows.last - rows.first, w + 9 * c, e.bias != nullptr ? e.bias + c : nullptr, e.relu};
        dispatch<PlaneRowsBody<T>>(&job);
    });
    return true;
}

}  // namespace conv_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
