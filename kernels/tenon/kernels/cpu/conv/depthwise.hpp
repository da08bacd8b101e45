// Depthwise convolution: one channel in, one out, a kernel of its own for each. Vectors run over channels, several results
// along a row share a weight in registers; it is bound by memory. Images that are not channels-last are copied to and from
// that form, some rows at a time (contiguous ones of two axes have a better way: planar.hpp).
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

template <class T>
struct DepthwiseJob {
    const Pass* pass;      // channels: how many there are
    Source<T> source;
    const T* w;            // [taps of the pass, w_pitch]
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
        const long width = pass.channels - c, step = x2.in_step * source.axis[2], along = x2.offset_step * source.axis[2], w_pitch = job->w_pitch;
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
                const T* x = row.from + j0 * x0.offset_step * source.axis[0] + j1 * x1.offset_step * source.axis[1] + q * step + j_low * along + c;
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
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const DepthwiseJob<T>* job) {
        constexpr int L = int(Lanes * 4 / sizeof(T));
        const Pass& pass = *job->pass;
        const Source<T>& source = job->source;
        const PassAxis &x0 = pass.axis[0], &x1 = pass.axis[1], &x2 = pass.axis[2];
        const Interior inside(x2, 0, x2.taps);
        for (long r = 0; r < job->rows; ++r) {
            const long at = job->first + r, q1 = at % x1.grid, q0 = at / x1.grid % x0.grid, image = at / (x1.grid * x0.grid);
            Row row{nullptr, q0 * x0.in_step + x0.offset, q1 * x1.in_step + x1.offset, job->y + job->y_rows[r]};
            row.from = source.data + (image - source.first) * source.n + (row.i0 - source.origin[0]) * source.axis[0] + (row.i1 - source.origin[1]) * source.axis[1] +
                       (x2.offset - source.origin[2]) * source.axis[2];
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
    const gemm_impl::Workspace::Lease shared(gemm_impl::shared_workspace, std::size_t(taps * w_pitch + 1) * sizeof(T));
    T* const w = shared.as<T>();
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
        const gemm_impl::Workspace::Lease lease(gemm_impl::task_workspace, std::size_t(copy_size + y_size) * sizeof(T) + std::size_t(count) * sizeof(long) + 64);
        T* const scratch = lease.as<T>() + copy_size;
        long* const y_rows = reinterpret_cast<long*>((reinterpret_cast<std::uintptr_t>(scratch + y_size) + 15) / 16 * 16);
        for (long r = 0; r < count; ++r) {
            const long row = first + r, at[3] = {row / to.grid[1] % to.grid[0], row % to.grid[1], 0};
            y_rows[r] = in_place_y ? to.offset(row / (to.grid[1] * to.grid[0]), at) : r * width * channels;
        }
        DepthwiseJob<T> job{&pass, in_place_x ? Source<T>{x, xs.n, {xs.axis[0], xs.axis[1], xs.axis[2]}} : slab.copy(pass, x, xs, lease.as<T>()),
                            w, w_pitch, in_place_y ? y : scratch, y_rows, in_place_y ? ys.axis[2] * pass.axis[2].out_step : channels, e.bias, e.relu, e.accumulate,
                            first, count};
        if (!in_place_y && e.accumulate) to.take(y, scratch, channels, channels, first * width, count * width);
        dispatch<DepthwiseBody<T>>(&job);
        if (!in_place_y) to.put(y, scratch, channels, channels, first * width, count * width);
    });
}

// The gradient of the kernels, [taps, pitch], added up over rows of the grid.
template <class T>
struct DepthwiseWeightsJob {
    const Pass* pass;
    Source<T> source;
    const T* dy;
    const long* dy_rows;
    long dy_step;
    T* dw;
    long pitch, first, rows;
};

template <class T>
struct DepthwiseWeightsBody {
    struct Row {
        const T* from;  // of the first tap for q = 0
        long i0, i1;
        const T* dy;
    };
    // Q results from position q on, L channels from c on; the sums stay in the first cache.
    template <int L, int Q, bool Part, bool Edge>
    static TENON_ALWAYS_INLINE void add(const DepthwiseWeightsJob<T>* job, const Row& row, long q, long c) {
        TENON_CONTRACT
        using V = simd<T, L>;
        const Pass& pass = *job->pass;
        const PassAxis &x0 = pass.axis[0], &x1 = pass.axis[1], &x2 = pass.axis[2];
        const Source<T>& source = job->source;
        const long width = pass.channels - c, step = x2.in_step * source.axis[2], along = x2.offset_step * source.axis[2], pitch = job->pitch;
        V d[Q];
        TENON_UNROLL(4)
        for (int i = 0; i < Q; ++i) d[i] = impl::load_some<Part, T, L>(row.dy + (q + i) * job->dy_step + c, width);
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
                const T* x = row.from + j0 * x0.offset_step * source.axis[0] + j1 * x1.offset_step * source.axis[1] + q * step + j_low * along + c;
                T* dw = job->dw + ((j0 * x1.taps + j1) * x2.taps + j_low) * pitch + c;
                for (long j = j_low; j < j_high; ++j, x += along, dw += pitch) {
                    V sum = V::load(dw);
                    TENON_UNROLL(4)
                    for (int i = 0; i < Q; ++i) sum = sum + impl::load_some<Part, T, L>(x + i * step, width) * d[i];
                    sum.store(dw);
                }
            }
        }
    }
    template <int L, int Q, bool Edge>
    static TENON_ALWAYS_INLINE void channels(const DepthwiseWeightsJob<T>* job, const Row& row, long q) {
        long c = 0;
        for (; c + L <= job->pass->channels; c += L) add<L, Q, false, Edge>(job, row, q, c);
        if (c < job->pass->channels) add<L, Q, true, Edge>(job, row, q, c);
    }
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const DepthwiseWeightsJob<T>* job) {
        constexpr int L = int(Lanes * 4 / sizeof(T));
        const Pass& pass = *job->pass;
        const Source<T>& source = job->source;
        const PassAxis &x0 = pass.axis[0], &x1 = pass.axis[1], &x2 = pass.axis[2];
        const Interior inside(x2, 0, x2.taps);
        for (long r = 0; r < job->rows; ++r) {
            const long at = job->first + r, q1 = at % x1.grid, q0 = at / x1.grid % x0.grid, image = at / (x1.grid * x0.grid);
            Row row{nullptr, q0 * x0.in_step + x0.offset, q1 * x1.in_step + x1.offset, job->dy + job->dy_rows[r]};
            row.from = source.data + (image - source.first) * source.n + (row.i0 - source.origin[0]) * source.axis[0] + (row.i1 - source.origin[1]) * source.axis[1] +
                       (x2.offset - source.origin[2]) * source.axis[2];
            long q = 0;
            for (; q < inside.low; ++q) channels<L, 1, true>(job, row, q);
            for (; q + 4 <= inside.high; q += 4) channels<L, 4, false>(job, row, q);
            for (; q < x2.grid; ++q) channels<L, 1, true>(job, row, q);
        }
    }
};

template <class T>
void run_depthwise_weights(const Pass& pass, const T* x, const ImageStrides<3>& xs, const T* dy, const ImageStrides<3>& dys, T* dw, bool accumulate) {
    const long channels = pass.channels, taps = pass.taps(), width = pass.axis[2].grid;
    const long rows = pass.n * pass.axis[0].grid * pass.axis[1].grid, pitch = (channels + 15) / 16 * 16;
    const double nanoseconds = 0.3 * double(rows * width * channels) * (1 + double(taps) / 16);
    const bool in_place_x = xs.channel == 1, in_place_dy = dys.channel == 1;
    const long per_task = rows_of_task(pass, long(sizeof(T))), blocks = (rows + per_task - 1) / per_task;
    // Each part adds up some of the blocks.
    const long parts = blocks < 16 ? (blocks < 1 ? 1 : blocks) : 16;
    const gemm_impl::Workspace::Lease shared(gemm_impl::shared_workspace, std::size_t(parts * taps * pitch + 1) * sizeof(T));
    T* const partial = shared.as<T>();
    const ImageRows<T> from(dys, pass);
    parallel_for(parts, nanoseconds, [&](long part) {
        T* const own = partial + part * taps * pitch;
        for (long i = 0; i < taps * pitch; ++i) own[i] = T(0);
        const gemm_impl::Part mine(blocks, parts, part);
        for (long block = mine.first; block < mine.last; ++block) {
            const long first = block * per_task, count = first + per_task < rows ? per_task : rows - first;
            const Slab<T> slab = Slab<T>::of(pass, first * width, count * width);
            const long copy_size = in_place_x ? 0 : (slab.copy_size(pass) + 15) / 16 * 16, dy_size = in_place_dy ? 0 : count * width * channels;
            const gemm_impl::Workspace::Lease lease(gemm_impl::task_workspace, std::size_t(copy_size + dy_size) * sizeof(T) + std::size_t(count) * sizeof(long) + 64);
            T* const scratch = lease.as<T>() + copy_size;
            long* const dy_rows = reinterpret_cast<long*>((reinterpret_cast<std::uintptr_t>(scratch + dy_size) + 15) / 16 * 16);
            for (long r = 0; r < count; ++r) {
                const long row = first + r, at[3] = {row / from.grid[1] % from.grid[0], row % from.grid[1], 0};
                dy_rows[r] = in_place_dy ? from.offset(row / (from.grid[1] * from.grid[0]), at) : r * width * channels;
            }
            if (!in_place_dy) from.take(dy, scratch, channels, channels, first * width, count * width);
            const DepthwiseWeightsJob<T> job{&pass, in_place_x ? Source<T>{x, xs.n, {xs.axis[0], xs.axis[1], xs.axis[2]}} : slab.copy(pass, x, xs, lease.as<T>()),
                                             in_place_dy ? dy : scratch, dy_rows, in_place_dy ? dys.axis[2] : channels, own, pitch, first, count};
            dispatch<DepthwiseWeightsBody<T>>(&job);
        }
    });
    for (long c = 0; c < channels; ++c)
        for (long t = 0; t < taps; ++t) {
            T sum = partial[t * pitch + c];
            for (long part = 1; part < parts; ++part) sum += partial[(part * taps + t) * pitch + c];
            T& to = dw[c * taps + t];
            to = accumulate ? to + sum : sum;
        }
}

}  // namespace conv_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
