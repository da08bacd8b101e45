// Depthwise convolution: one channel in, one out, a kernel of its own for each. Vectors run over channels, several results
// along a row share a weight in registers; it is bound by memory. Images that are not channels-last are copied to and from
// that form, some rows at a time (contiguous ones of two axes have a better way: depthwise_planes.hpp).
#pragma once

#include <tenon/kernels/cpu/conv/patches.hpp>
#include <tenon/kernels/cpu/fold.hpp>
#include <tenon/kernels/cpu/gemm/panels.hpp>
#include <tenon/kernels/cpu/gemm/workspace.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace conv_impl {

inline bool is_depthwise(const ConvShape<3>& s) { return s.groups == s.c_in && s.c_out == s.c_in && s.groups > 1; }

// Positions q of an axis for which all taps lie inside: [low, high).
struct Interior {
    long low, high;
    TENON_ALWAYS_INLINE Interior(const PassAxis& a, long first_tap, long taps) {
        const long first = a.offset + first_tap * a.offset_step, room = a.in - 1 - first - (taps - 1) * a.offset_step;
        low = first >= 0 ? 0 : (-first + a.in_step - 1) / a.in_step;
        high = room < 0 ? 0 : room / a.in_step + 1;
        if (low > a.grid) low = a.grid;
        if (high > a.grid) high = a.grid;
        if (high < low) high = low;
    }
};

// The elements under a tile of R x Q results of three by three taps; outside of the image there are zeros.
template <class T, int R, int Q>
struct Window {
    const T* at[(R + 2) * (Q + 2)];
    TENON_ALWAYS_INLINE Window(const Pass& pass, const Source<T>& source, const T* zeros, long image, long i0, long i1, long i2) {
        const bool inside = i0 >= 0 && i0 < pass.axis[0].in;
        const T* const from = source.data + (image - source.first) * source.n + (i0 - source.origin[0]) * source.axis[0];
        for (long i = 0; i < R + 2; ++i)
            for (long j = 0; j < Q + 2; ++j) {
                const bool here = inside && i1 + i >= 0 && i1 + i < pass.axis[1].in && i2 + j >= 0 && i2 + j < pass.axis[2].in;
                at[i * (Q + 2) + j] =
                    here ? from + (i1 + i - source.origin[1]) * source.axis[1] + (i2 + j - source.origin[2]) * source.axis[2] : zeros;
            }
    }
    // Where the tiles of the next rows read what this one does not: fetched meanwhile.
    TENON_ALWAYS_INLINE void prefetch(long row, long c) const {
        TENON_UNROLL(2)
        for (int r = 0; r < R; ++r)
            TENON_UNROLL(4)
            for (int q = 0; q < Q; ++q) __builtin_prefetch(at[(r + 2) * (Q + 2) + q + 1] + R * row + c, 0, 2);
    }
};

template <class T>
struct DepthwiseJob {
    const Pass* pass;      // channels: how many there are
    Source<T> source;
    const T* w;            // [taps of the pass, w_pitch], and a row of zeros
    long w_pitch;
    T* y;                  // of row `first`; rows y_row apart, results in a row y_step
    const long* y_rows;    // where each row's results start
    long y_step;
    const T* bias;
    bool relu, accumulate;
    long first, rows;      // rows of the grid, counted through all images
};

template <class T>
struct DepthwiseBody {
    // Where a row of results finds what it reads.
    struct Row {
        const T* from;  // of the first tap for q = 0
        long i0, i1;    // positions of the first tap along the outer axes
        T* y;
    };
    // Q results from position q on, L channels from c on; Edge: some taps lie outside of the row.
    // Taps: of a row of the kernel, 0 where only the run knows.
    template <int L, int Q, bool Part, bool Edge, int Taps>
    static TENON_ALWAYS_INLINE void results(const DepthwiseJob<T>* job, const Row& row, long q, long c) {
        TENON_CONTRACT
        using V = simd<T, L>;
        const Pass& pass = *job->pass;
        const PassAxis &x0 = pass.axis[0], &x1 = pass.axis[1], &x2 = pass.axis[2];
        const Source<T>& source = job->source;
        const long width = pass.channels - c, step = x2.in_step * source.axis[2], along = x2.offset_step * source.axis[2],
                   w_pitch = job->w_pitch;
        V sum[Q];
        TENON_UNROLL(4)
        for (int i = 0; i < Q; ++i) sum[i] = V(0);
        long j_low = 0, j_high = x2.taps;
        if constexpr (Edge) {
            const long at = q * x2.in_step + x2.offset;
            while (j_low < j_high && at + j_low * x2.offset_step < 0) ++j_low;
            while (j_low < j_high && at + (j_high - 1) * x2.offset_step >= x2.in) --j_high;
        }
        for (long j0 = 0; j0 < x0.taps; ++j0) {
            const long at0 = row.i0 + j0 * x0.offset_step;
            if (at0 < 0 || at0 >= x0.in) continue;
            for (long j1 = 0; j1 < x1.taps; ++j1) {
                const long at1 = row.i1 + j1 * x1.offset_step;
                if (at1 < 0 || at1 >= x1.in) continue;
                const T* x =
                    row.from + j0 * x0.offset_step * source.axis[0] + j1 * x1.offset_step * source.axis[1] + q * step + j_low * along + c;
                const T* w = job->w + ((j0 * x1.taps + j1) * x2.taps + j_low) * w_pitch + c;
                if constexpr (Taps > 0 && !Edge) {
                    TENON_UNROLL(5)
                    for (int j = 0; j < Taps; ++j, x += along, w += w_pitch) {
                        const V by = V::load(w);
                        TENON_UNROLL(4)
                        for (int i = 0; i < Q; ++i) sum[i] = sum[i] + impl::load_some<Part, T, L>(x + i * step, width) * by;
                    }
                    continue;
                }
                for (long j = j_low; j < j_high; ++j, x += along, w += w_pitch) {
                    const V by = V::load(w);
                    TENON_UNROLL(4)
                    for (int i = 0; i < Q; ++i) sum[i] = sum[i] + impl::load_some<Part, T, L>(x + i * step, width) * by;
                }
            }
        }
        V bias(0);
        if (job->bias != nullptr) bias = impl::load_some<Part, T, L>(job->bias + c, width);
        TENON_UNROLL(4)
        for (int i = 0; i < Q; ++i) {
            T* const to = row.y + (q + i) * job->y_step + c;
            V r = sum[i];
            if (job->accumulate) r = r + impl::load_some<Part, T, L>(to, width);
            r = r + bias;
            if (job->relu) r = select(r < V(0), V(0), r);
            impl::store_some<Part, T, L>(to, r, width);
        }
    }
    // Channels inside: they are read in order.
    template <int L, int Q, bool Edge, int Taps = 0>
    static TENON_ALWAYS_INLINE void channels(const DepthwiseJob<T>* job, const Row& row, long q) {
        long c = 0;
        for (; c + L <= job->pass->channels; c += L) results<L, Q, false, Edge, Taps>(job, row, q, c);
        if (c < job->pass->channels) results<L, Q, true, Edge, Taps>(job, row, q, c);
    }
    // Three by three taps: R x Q results, which share what is read.
    template <int L, int R, int Q, bool Part>
    static TENON_ALWAYS_INLINE void tile(const DepthwiseJob<T>* job, const Window<T, R, Q>& window, T* const* y, long c) {
        TENON_CONTRACT
        using V = simd<T, L>;
        const long width = job->pass->channels - c;
        V sum[R][Q], w[9], bias(0);
        TENON_UNROLL(9)
        for (int t = 0; t < 9; ++t) w[t] = V::load(job->w + t * job->w_pitch + c);
        if (job->bias != nullptr) bias = impl::load_some<Part, T, L>(job->bias + c, width);
        TENON_UNROLL(2)
        for (int r = 0; r < R; ++r)
            TENON_UNROLL(4)
            for (int q = 0; q < Q; ++q) sum[r][q] = V(0);
        TENON_UNROLL(4)
        for (int i = 0; i < R + 2; ++i)
            TENON_UNROLL(6)
            for (int j = 0; j < Q + 2; ++j) {
                V read = impl::load_some<Part, T, L>(window.at[i * (Q + 2) + j] + c, width);
                keep_in_register(read);
                TENON_UNROLL(3)
                for (int t = 0; t < 3; ++t)
                    TENON_UNROLL(3)
                    for (int s = 0; s < 3; ++s)
                        if (i - t >= 0 && i - t < R && j - s >= 0 && j - s < Q) sum[i - t][j - s] = sum[i - t][j - s] + read * w[t * 3 + s];
            }
        TENON_UNROLL(2)
        for (int r = 0; r < R; ++r)
            TENON_UNROLL(4)
            for (int q = 0; q < Q; ++q) {
                T* const to = y[r] + q * job->y_step + c;
                V result = sum[r][q];
                if (job->accumulate) result = result + impl::load_some<Part, T, L>(to, width);
                result = result + bias;
                if (job->relu) result = select(result < V(0), V(0), result);
                impl::store_some<Part, T, L>(to, result, width);
            }
    }
    // The R x Q results from row r and position q on, channel by channel.
    template <int L, int R, int Q>
    static TENON_ALWAYS_INLINE void tiles(const DepthwiseJob<T>* job, long r, long q) {
        const Pass& pass = *job->pass;
        const PassAxis &x0 = pass.axis[0], &x1 = pass.axis[1], &x2 = pass.axis[2];
        const long at = job->first + r, q1 = at % x1.grid, q0 = at / x1.grid % x0.grid, image = at / (x1.grid * x0.grid);
        const Window<T, R, Q> window(pass, job->source, job->w + 9 * job->w_pitch, image, q0 * x0.in_step + x0.offset, q1 + x1.offset,
                                     q + x2.offset);
        T* y[R];
        for (int i = 0; i < R; ++i) y[i] = job->y + job->y_rows[r + i] + q * job->y_step;
        long c = 0;
        for (; c + L <= pass.channels; c += L) {
            window.prefetch(job->source.axis[1], c);
            TENON_UNROLL(2)
            for (int i = 0; i < R; ++i)
                TENON_UNROLL(4)
                for (int j = 0; j < Q; ++j) __builtin_prefetch(y[i] + (R * x2.grid + j) * job->y_step + c, 1, 2);
            tile<L, R, Q, false>(job, window, y, c);
        }
        if (c < pass.channels) tile<L, R, Q, true>(job, window, y, c);
    }
    template <int L, int R>
    static TENON_ALWAYS_INLINE void row_of_tiles(const DepthwiseJob<T>* job, long r) {
        const long width = job->pass->axis[2].grid;
        long q = 0;
        while (q + 4 <= width) {
            tiles<L, R, 4>(job, r, q);
            q += 4;
            // The last four once more, rather than those left one by one.
            if (!job->accumulate && q < width && q + 4 > width) q = width - 4;
        }
        for (; q < width; ++q)
            for (long i = 0; i < R; ++i) tiles<L, 1, 1>(job, r + i, q);
    }
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const DepthwiseJob<T>* job) {
        constexpr int L = int(Lanes * 4 / sizeof(T));
        const Pass& pass = *job->pass;
        if (is_three_by_three(pass)) {
            constexpr int R = Lanes >= 16 ? 2 : 1;
            for (long r = 0; r < job->rows;) {
                const bool whole = r + R <= job->rows && (job->first + r) % pass.axis[1].grid + R <= pass.axis[1].grid;
                if (whole) row_of_tiles<L, R>(job, r);
                else row_of_tiles<L, 1>(job, r);
                r += whole ? R : 1;
            }
            return;
        }
        const Source<T>& source = job->source;
        const PassAxis &x0 = pass.axis[0], &x1 = pass.axis[1], &x2 = pass.axis[2];
        const Interior inside(x2, 0, x2.taps);
        for (long r = 0; r < job->rows; ++r) {
            const long at = job->first + r, q1 = at % x1.grid, q0 = at / x1.grid % x0.grid, image = at / (x1.grid * x0.grid);
            Row row{nullptr, q0 * x0.in_step + x0.offset, q1 * x1.in_step + x1.offset, job->y + job->y_rows[r]};
            row.from = source.data + (image - source.first) * source.n + (row.i0 - source.origin[0]) * source.axis[0] +
                       (row.i1 - source.origin[1]) * source.axis[1] + (x2.offset - source.origin[2]) * source.axis[2];
            long q = 0;
            for (; q < inside.low; ++q) channels<L, 1, true>(job, row, q);
            while (q + 4 <= inside.high) {
                if (x2.taps == 3) channels<L, 4, false, 3>(job, row, q);
                else channels<L, 4, false>(job, row, q);
                q += 4;
                // The last four once more, rather than those left one by one.
                if (!job->accumulate && q < inside.high && q + 4 > inside.high) q = inside.high - 4;
            }
            for (; q < x2.grid; ++q) channels<L, 1, true>(job, row, q);
        }
    }
};

// Rows of the grid that a task takes: a quarter of a megabyte of source.
inline long rows_of_task(const Pass& pass, long value_size) {
    const long bytes = pass.channels * pass.axis[2].in * pass.axis[1].in_step * value_size, rows = (1 << 18) / (bytes < 1 ? 1 : bytes);
    const long taps = pass.axis[1].taps;
    return rows < 2 * taps ? 2 * taps : rows;
}

// weights: data[channel * kernel + tap].
template <class T>
void run_depthwise(const Pass& pass, const T* x, const ImageStrides<3>& xs, const T* weights, long kernel, T* y, const ImageStrides<3>& ys,
                   const ConvEpilogue<T>& e) {
    const long channels = pass.channels, taps = pass.taps(), width = pass.axis[2].grid;
    const long rows = pass.n * pass.axis[0].grid * pass.axis[1].grid;
    if (rows == 0 || width == 0) return;
    const double nanoseconds = 0.3 * double(rows * width * channels) * (1 + double(taps) / 16);
    const long w_pitch = (channels + 15) / 16 * 16;
    const gemm_impl::Workspace::Lease shared(gemm_impl::shared_workspace, std::size_t((taps + 1) * w_pitch) * sizeof(T));
    T* const w = shared.as<T>();
    for (long c = 0; c < w_pitch; ++c) w[taps * w_pitch + c] = T(0);
    for (long j = 0; j < taps; ++j) {
        const long t = pass.tap_index(j);
        for (long c = 0; c < channels; ++c) w[j * w_pitch + c] = weights[c * kernel + t] * (e.scale != nullptr ? e.scale[c] : T(1));
        for (long c = channels; c < w_pitch; ++c) w[j * w_pitch + c] = T(0);
    }
    const bool in_place_x = xs.channel == 1, in_place_y = ys.channel == 1;
    const long per_task = rows_of_task(pass, long(sizeof(T))), tasks = (rows + per_task - 1) / per_task;
    const ImageRows<T> to(ys, pass);
    parallel_for(tasks, nanoseconds, [&](long task) {
        const long first = task * per_task, count = first + per_task < rows ? per_task : rows - first;
        const Slab<T> slab = Slab<T>::of(pass, first * width, count * width);
        const long copy_size = in_place_x ? 0 : (slab.copy_size(pass) + 15) / 16 * 16, y_size = in_place_y ? 0 : count * width * channels;
        const gemm_impl::Workspace::Lease lease(gemm_impl::task_workspace,
                                                std::size_t(copy_size + y_size) * sizeof(T) + std::size_t(count) * sizeof(long) + 64);
        T* const scratch = lease.as<T>() + copy_size;
        long* const y_rows = reinterpret_cast<long*>((reinterpret_cast<std::uintptr_t>(scratch + y_size) + 15) / 16 * 16);
        for (long r = 0; r < count; ++r) {
            const long row = first + r, at[3] = {row / to.grid[1] % to.grid[0], row % to.grid[1], 0};
            y_rows[r] = in_place_y ? to.offset(row / (to.grid[1] * to.grid[0]), at) : r * width * channels;
        }
        // A statement of its own: nvcc 13 crashes on a choice between aggregates inside of an aggregate.
        Source<T> source{x, xs.n, {xs.axis[0], xs.axis[1], xs.axis[2]}};
        if (!in_place_x) source = slab.copy(pass, x, xs, lease.as<T>());
        DepthwiseJob<T> job{&pass,
                            source,
                            w,
                            w_pitch,
                            in_place_y ? y : scratch,
                            y_rows,
                            in_place_y ? ys.axis[2] * pass.axis[2].out_step : channels,
                            e.bias,
                            e.relu,
                            e.accumulate,
                            first,
                            count};
        if (!in_place_y && e.accumulate) to.take(y, scratch, channels, channels, first * width, count * width);
        dispatch<DepthwiseBody<T>>(&job);
        if (!in_place_y) to.put(y, scratch, channels, channels, first * width, count * width);
    });
}

}  // namespace conv_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
