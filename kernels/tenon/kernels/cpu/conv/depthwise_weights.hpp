// The gradient of a depthwise convolution's weights, from planes; images of another layout are turned, some rows at a time, so that there
// is one order of summation for all. A weight's sum has one accumulator for each lane, which takes columns lane, lane + L, ...; it
// runs over images, blocks of rows, columns and rows, in this order, and the lanes are added up in halves.
#pragma once

#include <tenon/kernels/cpu/conv/plane_window.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace conv_impl {

// The gradient of the weights from a block of rows of some planes, added to sums [channels, taps, lanes].
template <class T>
struct PlaneWeightsBlock {
    const PlaneWindow* window;
    T *copy, *dy_copy;
    Plane<T> plane, dy;     // dy: the block's rows
    long first, rows;       // of the source
    long channels, x_channel, dy_channel;
    const long* at;
    long taps;
    T* sums;
    long sums_channel;
    bool near;
};
template <class T>
struct PlaneWeightsBody {
    // R rows of dy, a vector of each.
    template <int L, int R>
    static TENON_ALWAYS_INLINE void add_near(simd<T, L>* sum, const T* x, long pitch, const T* dy, long dy_row) {
        TENON_CONTRACT
        using V = simd<T, L>;
        V d[R];
        TENON_UNROLL(4)
        for (int r = 0; r < R; ++r) d[r] = V::load(dy + r * dy_row);
        TENON_UNROLL(6)
        for (int i = 0; i < R + 2; ++i, x += pitch)
            TENON_UNROLL(3)
            for (int j = 0; j < 3; ++j) {
                V read = V::load(x + j);
                keep_in_register(read);
                TENON_UNROLL(3)
                for (int t = 0; t < 3; ++t)
                    if (i - t >= 0 && i - t < R) sum[t * 3 + j] = sum[t * 3 + j] + read * d[i - t];
            }
    }
    // G taps from tap t on.
    template <int L, int G, bool Near>
    static TENON_ALWAYS_INLINE void add(const PlaneWeightsBlock<T>& block, const T* dy, long dy_row, T* sums, long t, NextPlane& next) {
        TENON_CONTRACT
        using V = simd<T, L>;
        V sum[G];
        TENON_UNROLL(9)
        for (int g = 0; g < G; ++g) sum[g] = V::load(sums + (t + g) * L);
        const long pitch = block.window->pitch, row = block.window->row_step * pitch, rows = block.dy.rows;
        for (long q = 0; q < block.dy.columns; q += L) {
            const T* d = dy + q;
            next.step();
            if constexpr (Near) {
                const T* x = block.copy + block.at[0] + q;
                long r = 0;
                for (; r + 4 <= rows; r += 4, x += 4 * pitch, d += 4 * dy_row) {
                    add_near<L, 4>(sum, x, pitch, d, dy_row);
                    next.step();
                }
                for (; r < rows; ++r, x += pitch, d += dy_row) add_near<L, 1>(sum, x, pitch, d, dy_row);
            } else {
                const T* x[G];
                TENON_UNROLL(9)
                for (int g = 0; g < G; ++g) x[g] = block.copy + block.at[t + g] + q;
                for (long r = 0; r < rows; ++r, d += dy_row) {
                    const V by = V::load(d);
                    TENON_UNROLL(9)
                    for (int g = 0; g < G; ++g) sum[g] = sum[g] + V::load(x[g] + r * row) * by;
                }
            }
        }
        TENON_UNROLL(9)
        for (int g = 0; g < G; ++g) sum[g].store(sums + (t + g) * L);
    }
    // The fewest lanes that hold a row: the same as plane_lanes says.
    template <int L, int Most>
    static TENON_ALWAYS_INLINE void choose(const PlaneWeightsBlock<T>* block) {
        if constexpr (L > 4)
            if (block->dy.columns <= L / 2) return choose<L / 2, Most>(block);
        Plane<T> plane = block->plane;
        const T* dy = block->dy.data;
        T* sums = block->sums;
        const long low = block->first < 0 ? 0 : block->first,
                   high = block->first + block->rows < plane.rows ? block->first + block->rows : plane.rows;
        const long steps = (block->dy.columns + L - 1) / L * (block->near ? block->dy.rows / 4 + 1 : 1);
        const bool whole = block->dy.columns % L == 0;
        const long dy_row = whole ? block->dy.row : (block->dy.columns + L - 1) / L * L;
        for (long c = 0; c < block->channels; ++c, plane.data += block->x_channel, dy += block->dy_channel, sums += block->sums_channel) {
            fill_window<T, Most>(*block->window, plane, block->first, block->rows, block->copy);
            if (!whole)
                for (long r = 0; r < block->dy.rows; ++r)
                    copy_run<T, Most>(block->dy_copy + r * dy_row, dy + r * block->dy.row, block->dy.columns);
            const T* const from = whole ? dy : block->dy_copy;
            NextPlane next{NextPlane::of(plane.data + block->x_channel + low * plane.row, plane.row, high > low ? high - low : 0,
                                         plane.columns, steps),
                           NextPlane::of(dy + block->dy_channel, block->dy.row, block->dy.rows, block->dy.columns, steps)};
            if (block->near) {
                add<L, 9, true>(*block, from, dy_row, sums, 0, next);
                continue;
            }
            long t = 0;
            for (; t + 9 <= block->taps; t += 9) add<L, 9, false>(*block, from, dy_row, sums, t, next);
            for (; t + 5 <= block->taps; t += 5) add<L, 5, false>(*block, from, dy_row, sums, t, next);
            for (; t + 3 <= block->taps; t += 3) add<L, 3, false>(*block, from, dy_row, sums, t, next);
            for (; t < block->taps; ++t) add<L, 1, false>(*block, from, dy_row, sums, t, next);
        }
    }
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const PlaneWeightsBlock<T>* block) {
        constexpr int L = int(Lanes * 4 / sizeof(T));
        choose<L, L>(block);
    }
};
inline long plane_lanes(long columns, long value_size) {
    long lanes = (isa() == Isa::avx512 ? 16 : isa() == Isa::avx2 ? 8 : 4) * 4 / value_size;
    while (lanes > 4 && columns <= lanes / 2) lanes /= 2;
    return lanes;
}

// Planes [channels, rows, columns] of an image of another layout.
template <class T>
void turn_into_planes(T* to, const T* from, const ImageStrides<3>& s, long channels, long rows, long columns) {
    const long size = rows * columns;
    if (s.channel == 1) {
        const bool together = s.axis[1] == columns * s.axis[2];
        for (long r = 0; r < (together ? 1 : rows); ++r)
            transpose(to + r * columns, size, from + r * s.axis[1], s.axis[2], together ? size : columns, channels);
        return;
    }
    for (long c = 0; c < channels; ++c)
        for (long r = 0; r < rows; ++r)
            for (long q = 0; q < columns; ++q) to[c * size + r * columns + q] = from[c * s.channel + r * s.axis[1] + q * s.axis[2]];
}

template <class T>
void run_depthwise_weights(const Pass& pass, long channels, const T* x, const ImageStrides<3>& xs, const T* dy, const ImageStrides<3>& dys,
                           T* dw, bool accumulate) {
    const PassAxis &x0 = pass.axis[0], &x1 = pass.axis[1], &x2 = pass.axis[2];
    const PlaneWindow window(&pass, 1);
    const long taps = pass.taps(), plane_taps = x1.taps * x2.taps, lanes = plane_lanes(x2.grid, long(sizeof(T)));
    const long rows = plane_rows(window, x1.grid, long(sizeof(T))), blocks = rows == 0 ? 0 : (x1.grid + rows - 1) / rows,
               groups = (channels + plane_group - 1) / plane_group;
    // An image's slices along the first axis and their blocks are dealt out to partial sums where the channels are few.
    const long units = pass.n * x0.grid * blocks * (x2.grid > 0), parts = groups >= 8 || units < 1 ? 1 : units < 8 ? units : 8;
    const long apart = taps * lanes, part_size = groups * plane_group * apart;
    const long copy_size = (window.rows(rows) * window.pitch + 31) / 16 * 16, dy_size = rows * ((x2.grid + 15) / 16 * 16);
    const bool turn_x = xs.axis[2] != 1 && x2.in > 1, turn_dy = dys.axis[2] != 1 && x2.grid > 1;
    const long turned_x = turn_x ? (window.rows(rows) * x2.in * plane_group + 15) / 16 * 16 : 0,
               turned_dy = turn_dy ? rows * x2.grid * plane_group : 0;
    const gemm_impl::Workspace::Lease shared(gemm_impl::shared_workspace,
                                             std::size_t(parts * part_size) * sizeof(T) + std::size_t(plane_taps + 8) * sizeof(long));
    T* const sums = shared.as<T>();
    long* const offsets = reinterpret_cast<long*>(sums + (parts * part_size + 15) / 16 * 16);
    for (long j = 0; j < plane_taps; ++j) offsets[j] = window.at(pass, j);
    const double nanoseconds = 0.05 * double(pass.n * pass.pixels() * channels) * double(8 + taps);
    parallel_for(parts * groups, nanoseconds, [&](long index) {
        const long c = index % groups * plane_group, now = channels - c < plane_group ? channels - c : plane_group, part = index / groups;
        T* const own = sums + part * part_size + c * apart;
        for (long i = 0; i < plane_group * apart; ++i) own[i] = T(0);
        const gemm_impl::Part mine(units, parts, part);
        const gemm_impl::Workspace::Lease lease(gemm_impl::task_workspace,
                                                std::size_t(copy_size + dy_size + turned_x + turned_dy) * sizeof(T));
        T *const copy = lease.as<T>(), *const dy_copy = copy + copy_size, *const x_planes = dy_copy + dy_size,
                 *const dy_planes = x_planes + turned_x;
        for (long i = 0; i < copy_size + dy_size; ++i) copy[i] = T(0);
        for (long unit = mine.first; unit < mine.last; ++unit) {
            const long block = unit % blocks, q0 = unit / blocks % x0.grid, image = unit / (blocks * x0.grid), first = block * rows;
            const long count = x1.grid - first < rows ? x1.grid - first : rows, x_first = first * x1.in_step + window.first,
                       x_rows = window.rows(count);
            if (count <= 0) continue;
            // Rows outside of the image are others than the last block's.
            if (blocks > 1)
                for (long i = 0; i < copy_size; ++i) copy[i] = T(0);
            const T* dy_from = dy + image * dys.n + q0 * dys.axis[0] + first * dys.axis[1] + c * dys.channel;
            long dy_row = dys.axis[1], dy_channel = dys.channel;
            if (turn_dy) {
                turn_into_planes(dy_planes, dy_from, dys, now, count, x2.grid);
                dy_from = dy_planes, dy_row = x2.grid, dy_channel = count * x2.grid;
            }
            for (long j0 = 0; j0 < x0.taps; ++j0) {
                const long i0 = q0 * x0.in_step + x0.offset + j0 * x0.offset_step;
                if (i0 < 0 || i0 >= x0.in) continue;
                Plane<T> plane{x + image * xs.n + i0 * xs.axis[0] + c * xs.channel, xs.axis[1], x1.in, x2.in};
                long x_channel = xs.channel, start = x_first;
                if (turn_x) {
                    const long low = x_first < 0 ? 0 : x_first, high = x_first + x_rows < x1.in ? x_first + x_rows : x1.in,
                               have = high > low ? high - low : 0;
                    turn_into_planes(x_planes, plane.data + low * xs.axis[1], xs, now, have, x2.in);
                    plane = {x_planes, x2.in, have, x2.in};
                    x_channel = have * x2.in;
                    start = x_first - low;
                }
                const PlaneWeightsBlock<T> work{&window,
                                                copy,
                                                dy_copy,
                                                plane,
                                                {dy_from, dy_row, count, x2.grid},
                                                start,
                                                x_rows,
                                                now,
                                                x_channel,
                                                dy_channel,
                                                offsets,
                                                plane_taps,
                                                own + j0 * plane_taps * lanes,
                                                apart,
                                                x0.taps == 1 && is_three_by_three(pass)};
                dispatch<PlaneWeightsBody<T>>(&work);
            }
        }
    });
    for (long c = 0; c < channels; ++c)
        for (long t = 0; t < taps; ++t) {
            T lane[16];
            for (long l = 0; l < lanes; ++l) {
                lane[l] = sums[c * apart + t * lanes + l];
                for (long part = 1; part < parts; ++part) lane[l] += sums[part * part_size + c * apart + t * lanes + l];
            }
            for (long half = lanes / 2; half > 0; half /= 2)
                for (long l = 0; l < half; ++l) lane[l] += lane[l + half];
            T& to = dw[c * taps + t];
            to = accumulate ? to + lane[0] : lane[0];
        }
}

}  // namespace conv_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
