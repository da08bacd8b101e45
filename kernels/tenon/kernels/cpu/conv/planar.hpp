// A pass over contiguous images without patches: results [channels, pixels] = weights x shifted images. A block of rows of each
// channel is copied once, with zeros for the padding and one plane per phase of the stride, so that what a tap reads of
// neighbouring pixels are vectors at a fixed distance, which a table gives for each (tap, channel). The rows of a block follow one
// another with the padding in between, and so do the results, whose few excess columns nobody reads.
#pragma once

#include <tenon/kernels/cpu/conv/backward_weights.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace conv_impl {

// Shifts and phases of the taps along an axis: position q * in_step + o of the source is element q + shift of phase o mod in_step.
struct TapAxis {
    long low, high;  // shifts
    long phases;     // 1, or all of a stride
    static long shift(const PassAxis& a, long j) {
        const long o = a.offset + j * a.offset_step;
        return o >= 0 ? o / a.in_step : -((-o + a.in_step - 1) / a.in_step);
    }
    static long phase(const PassAxis& a, long j) { return a.offset + j * a.offset_step - shift(a, j) * a.in_step; }
    explicit TapAxis(const PassAxis& a) : low(shift(a, 0)), high(low), phases(1) {
        for (long j = 1; j < a.taps; ++j) {
            const long s = shift(a, j);
            if (s < low) low = s;
            if (s > high) high = s;
        }
        for (long j = 0; j < a.taps; ++j)
            if (phase(a, j) != 0) phases = a.in_step;
    }
    long reach() const { return high - low; }
};

template <class T>
struct PlanarBlock {
    const T* a;           // packed rows of weights
    const T* b;
    const long* offsets;  // of b, for each k
    T* c;
    long ldc, rows, columns, k, chunk;
    const T* bias;        // one per row, rounded up; never null
    bool relu;
};

// Heights of tiles, in the order in which they are tried.
inline long planar_height(long lanes, long rows) {
    if (lanes >= 16) return rows >= 12 && rows != 16 ? 12 : rows >= 8 ? 8 : rows >= 5 ? 6 : rows >= 3 ? 4 : rows;
    return rows >= 5 ? 6 : rows >= 3 ? 4 : rows;
}

template <class T>
struct PlanarBody {
    template <int L, int MR, int NV>
    static TENON_ALWAYS_INLINE void tile(const PlanarBlock<T>& job, const T* a, const T* bias, long row, long column) {
        TENON_CONTRACT
        using V = typename vector_of<T, L>::type;
        using U = typename vector_of<T, L>::unaligned;
        const T* const b = job.b + column;
        const long* offsets = job.offsets;
        T* const c = job.c + row * job.ldc + column;
        for (long done = 0; done < job.k; done += job.chunk) {
            const long steps = job.k - done < job.chunk ? job.k - done : job.chunk;
            V sum[MR][NV];
            TENON_UNROLL(32)
            for (int i = 0; i < MR; ++i)
                TENON_UNROLL(4)
                for (int v = 0; v < NV; ++v) sum[i][v] = V{};
            for (long l = 0; l < steps; ++l, a += MR) {
                const T* const from = b + *offsets++;
                V x[NV];
                TENON_UNROLL(4)
                for (int v = 0; v < NV; ++v) x[v] = *reinterpret_cast<const U*>(from + v * L);
                TENON_UNROLL(32)
                for (int i = 0; i < MR; ++i) {
                    const V w = a[i] - V{};
                    TENON_UNROLL(4)
                    for (int v = 0; v < NV; ++v) sum[i][v] = sum[i][v] + w * x[v];
                }
            }
            const bool last = done + steps == job.k;
            TENON_UNROLL(32)
            for (int i = 0; i < MR; ++i)
                TENON_UNROLL(4)
                for (int v = 0; v < NV; ++v) {
                    U* const to = reinterpret_cast<U*>(c + i * job.ldc + v * L);
                    V r = sum[i][v];
                    if (done > 0) r = r + *to;
                    if (last) {
                        r = r + bias[i];
                        if (job.relu) r = r < V{} ? V{} : r;
                    }
                    *to = r;
                }
        }
    }
    template <int L, int MR, int NV>
    static TENON_ALWAYS_INLINE void row_of_tiles(const PlanarBlock<T>& job, const T* a, const T* bias, long row) {
        long column = 0;
        for (; column + (NV - 1) * L < job.columns; column += NV * L) tile<L, MR, NV>(job, a, bias, row, column);
        for (; column < job.columns; column += L) tile<L, MR, 1>(job, a, bias, row, column);
    }
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const PlanarBlock<T>* job) {
        constexpr int L = int(Lanes * 4 / sizeof(T));
        const T* a = job->a;
        for (long row = 0; row < job->rows;) {
            const long height = planar_height(Lanes, job->rows - row);
            const T* const bias = job->bias + row;
            if constexpr (Lanes >= 16) {
                if (height == 12) row_of_tiles<L, 12, 2>(*job, a, bias, row);
                if (height == 8) row_of_tiles<L, 8, 2>(*job, a, bias, row);
                if (height == 6) row_of_tiles<L, 6, 4>(*job, a, bias, row);
                if (height == 4) row_of_tiles<L, 4, 4>(*job, a, bias, row);
                if (height == 2) row_of_tiles<L, 2, 4>(*job, a, bias, row);
                if (height == 1) row_of_tiles<L, 1, 4>(*job, a, bias, row);
            } else {
                if (height == 6) row_of_tiles<L, 6, 2>(*job, a, bias, row);
                if (height == 4) row_of_tiles<L, 4, 3>(*job, a, bias, row);
                if (height == 2) row_of_tiles<L, 2, 4>(*job, a, bias, row);
                if (height == 1) row_of_tiles<L, 1, 4>(*job, a, bias, row);
            }
            a += height * job->k;
            row += height;
        }
    }
};

// A row of a plane: element u is source[(u + low) * step + phase], zero outside of [0, in).
template <class T>
struct PlaneRow {
    const T* from;  // position 0
    long stride, in, step, phase, low, count;
};
template <class T>
struct PlaneBody {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(T* to, const PlaneRow<T>* row, long rows, long to_step, long from_step) {
        constexpr int L = int(Lanes * 4 / sizeof(T));
        const long first = row->low * row->step + row->phase, step = row->step;
        long begin = first >= 0 ? 0 : (-first + step - 1) / step, end = row->in - 1 - first < 0 ? 0 : (row->in - 1 - first) / step + 1;
        if (begin > row->count) begin = row->count;
        if (end > row->count) end = row->count;
        if (end < begin) end = begin;
        const T* from = row->from + (first + begin * step) * row->stride;
        for (long r = 0; r < rows; ++r, to += to_step, from += from_step) {
            zero_run<T, L>(to, begin);
            if (step * row->stride == 1) {
                copy_run<T, L>(to + begin, from, end - begin);
            } else {
                const long apart = step * row->stride;
                for (long u = begin; u < end; ++u) to[u] = from[(u - begin) * apart];
            }
            zero_run<T, L>(to + end, row->count - end);
        }
    }
};

// What a block needs, for as many rows of the grid.
struct PlanarPlan {
    TapAxis rows, columns;
    long pitch, phases;
    explicit PlanarPlan(const Pass& pass)
        : rows(pass.axis[1]), columns(pass.axis[2]), pitch(pass.axis[2].grid + columns.reach()), phases(rows.phases * columns.phases) {}
    long plane(long count) const { return (count + rows.reach()) * pitch; }
};

// The planes that rows [first, first + rows) of the grid read, of all channels of an image.
template <class T>
void copy_planes(const Pass& pass, const PlanarPlan& plan, const T* x, const ImageStrides<3>& xs, long first, long rows, long plane, T* to_planes) {
    const PassAxis &x1 = pass.axis[1], &x2 = pass.axis[2];
    const long have = rows + plan.rows.reach();
    for (long ch = 0; ch < pass.channels; ++ch)
        for (long p1 = 0; p1 < plan.rows.phases; ++p1)
            for (long p2 = 0; p2 < plan.columns.phases; ++p2) {
                T* const to = to_planes + (ch * plan.phases + p1 * plan.columns.phases + p2) * plane;
                // Of the rows of this plane, those inside the image.
                const long start = (first + plan.rows.low) * x1.in_step + p1;
                long begin = start >= 0 ? 0 : (-start + x1.in_step - 1) / x1.in_step, end = x1.in - 1 - start < 0 ? 0 : (x1.in - 1 - start) / x1.in_step + 1;
                if (begin > have) begin = have;
                if (end > have) end = have;
                if (end < begin) end = begin;
                for (long i = 0; i < begin * plan.pitch; ++i) to[i] = T(0);
                const T* const from = x + ch * xs.channel + (start + begin * x1.in_step) * xs.axis[1];
                const PlaneRow<T> row{from, xs.axis[2], x2.in, x2.in_step, p2, plan.columns.low, plan.pitch};
                dispatch<PlaneBody<T>>(to + begin * plan.pitch, &row, end - begin, plan.pitch, x1.in_step * xs.axis[1]);
                for (long i = end * plan.pitch; i < plane; ++i) to[i] = T(0);
            }
}
// Where tap and channel k of a result lie in the planes.
inline void set_offsets(const Pass& pass, const PlanarPlan& plan, long plane, long* offsets) {
    const PassAxis &x1 = pass.axis[1], &x2 = pass.axis[2];
    for (long j = 0; j < pass.taps(); ++j) {
        const long j1 = j / x2.taps, j2 = j % x2.taps;
        const long phase = (plan.rows.phases > 1 ? TapAxis::phase(x1, j1) : 0) * plan.columns.phases + (plan.columns.phases > 1 ? TapAxis::phase(x2, j2) : 0);
        const long at = (TapAxis::shift(x1, j1) - plan.rows.low) * plan.pitch + TapAxis::shift(x2, j2) - plan.columns.low;
        for (long c = 0; c < pass.channels; ++c) offsets[j * pass.channels + c] = (c * plan.phases + phase) * plane + at;
    }
}

// Whether this way can compute a pass: two axes at most, of planes whose rows are contiguous.
template <class T>
bool planar_fits(const PassJob<T>& job) {
    const Pass& p = job.pass;
    return p.axis[0].grid == 1 && p.axis[0].taps == 1 && p.axis[0].in == 1 && p.axis[0].offset == 0 && p.steps() > 0 && (job.xs.axis[2] == 1 || p.axis[2].in == 1);
}

template <class T>
void run_planar(const PassJob<T>& job) {
    const Pass& pass = job.pass;
    const PassAxis &x1 = pass.axis[1], &x2 = pass.axis[2];
    const long m = pass.results, k = pass.steps(), taps = pass.taps(), channels = pass.channels, grid = x1.grid;
    if (pass.n * pass.pixels() == 0 || m == 0) return;
    const PlanarPlan plan(pass);
    const long lanes = isa() == Isa::avx512 ? 16 : isa() == Isa::avx2 ? 8 : 4, vector = lanes * 4 / long(sizeof(T)), slack = 4 * vector;
    // Rows of the grid in a block: source and results stay in the second cache.
    long count = 1;
    while (count < grid && (plan.plane(count + 1) * channels * plan.phases + (count + 1) * plan.pitch * m) * long(sizeof(T)) <= (3 << 18) &&
           (count + 1) * plan.pitch <= 2048)
        ++count;
    const long blocks = (grid + count - 1) / count;
    count = (grid + blocks - 1) / blocks;
    const long plane = plan.plane(count), columns = (count - 1) * plan.pitch + x2.grid, ldc = (columns + slack + 15) / 16 * 16;

    const gemm_impl::Workspace::Lease shared(gemm_impl::shared_workspace, std::size_t((m + 12) * k + m + 12) * sizeof(T) + std::size_t(k + 1) * sizeof(long));
    long* const offsets = shared.as<long>();
    T* const a = reinterpret_cast<T*>(offsets + k + 1);
    T* const bias = a + (m + 12) * k;
    for (long i = 0; i < m + 12; ++i) bias[i] = job.bias != nullptr && i < m ? job.bias[i] : T(0);
    set_offsets(pass, plan, plane, offsets);
    long padded = 0;
    for (long row = 0; row < m;) {
        const long height = planar_height(lanes, m - row);
        T* const tile = a + row * k;
        const WeightView<T>& w = job.weights;
        for (long j = 0; j < taps; ++j) {
            const long t = pass.tap_index(j);
            for (long c = 0; c < channels; ++c)
                for (long i = 0; i < height; ++i)
                    tile[(j * channels + c) * height + i] =
                        row + i < m ? w.data[(row + i) * w.result + c * w.source + t] * (w.scale != nullptr ? w.scale[row + i] : T(1)) : T(0);
        }
        row += height;
        padded = row;
    }
    const bool planes_y = job.ys.axis[2] * x2.out_step == 1;
    const double nanoseconds = 2.0 * double(pass.n * pass.pixels()) * double(m) * double(k) * gemm_impl::nanoseconds_per_flop;
    parallel_for(pass.n * blocks, nanoseconds, [&](long index) {
        const long image = index / blocks, first = index % blocks * count, rows = first + count < grid ? count : grid - first;
        if (rows <= 0) return;
        const long size = (channels * plan.phases * plane + slack + 15) / 16 * 16;
        const gemm_impl::Workspace::Lease lease(gemm_impl::task_workspace, std::size_t(size + padded * ldc) * sizeof(T));
        T *const source = lease.as<T>(), *const c = source + size;
        for (long i = channels * plan.phases * plane; i < size; ++i) source[i] = T(0);
        copy_planes(pass, plan, job.x + image * job.xs.n, job.xs, first, rows, plane, source);
        const PlanarBlock<T> block{a, source, offsets, c, ldc, m, (rows - 1) * plan.pitch + x2.grid, k, chunk_of<T>(k), bias, job.relu && !job.accumulate};
        dispatch<PlanarBody<T>>(&block);
        for (long r = 0; r < rows; ++r) {
            const T* const from = c + r * plan.pitch;
            T* const to = job.y + image * job.ys.n + x1.out_start * job.ys.axis[1] + (first + r) * x1.out_step * job.ys.axis[1] + x2.out_start * job.ys.axis[2] +
                          pass.axis[0].out_start * job.ys.axis[0];
            if (job.accumulate) {
                for (long o = 0; o < m; ++o)
                    for (long q = 0; q < x2.grid; ++q) {
                        T& y = to[o * job.ys.channel + q * x2.out_step * job.ys.axis[2]];
                        y += from[o * ldc + q];
                        if (job.relu && y < 0) y = 0;
                    }
            } else if (planes_y) {
                dispatch<CopyRowsBody<T>>(to, job.ys.channel, from, ldc, m, x2.grid);
            } else if (job.ys.channel == 1) {
                transpose(to, job.ys.axis[2] * x2.out_step, from, ldc, m, x2.grid);
            } else {
                for (long o = 0; o < m; ++o)
                    for (long q = 0; q < x2.grid; ++q) to[o * job.ys.channel + q * x2.out_step * job.ys.axis[2]] = from[o * ldc + q];
            }
        }
    });
}

// The weight's gradient from planes: each of its elements is a dot product of a plane of dy with a shifted plane of x, summed in
// vectors that are added up at the end.
template <class T>
struct PlanarWeightsBlock {
    const T* x;
    const long* offsets;
    const T* dy;
    long dy_pitch, rows, columns, k;  // columns: whole vectors, dy is zero where there is no result
    long images, x_image, dy_image;   // so many, and how far apart
    T* sums;                          // [rows, k, lanes]
};
template <class T>
struct PlanarWeightsBody {
    template <int L, int MR, int NR>
    static TENON_ALWAYS_INLINE void tile(const PlanarWeightsBlock<T>& job, long row, long l) {
        TENON_CONTRACT
        using V = typename vector_of<T, L>::type;
        using U = typename vector_of<T, L>::unaligned;
        V sum[MR][NR];
        T* const sums = job.sums + (row * job.k + l) * L;
        TENON_UNROLL(8)
        for (int i = 0; i < MR; ++i)
            TENON_UNROLL(8)
            for (int j = 0; j < NR; ++j) sum[i][j] = *reinterpret_cast<const U*>(sums + (i * job.k + j) * L);
        for (long image = 0; image < job.images; ++image) {
            const T* dy = job.dy + image * job.dy_image + row * job.dy_pitch;
            const T* x[NR];
            TENON_UNROLL(8)
            for (int j = 0; j < NR; ++j) x[j] = job.x + image * job.x_image + job.offsets[l + j];
            for (long p = 0; p < job.columns; p += L) {
                V d[MR];
                TENON_UNROLL(8)
                for (int i = 0; i < MR; ++i) d[i] = *reinterpret_cast<const U*>(dy + i * job.dy_pitch + p);
                TENON_UNROLL(8)
                for (int j = 0; j < NR; ++j) {
                    const V v = *reinterpret_cast<const U*>(x[j] + p);
                    TENON_UNROLL(8)
                    for (int i = 0; i < MR; ++i) sum[i][j] = sum[i][j] + d[i] * v;
                }
            }
        }
        TENON_UNROLL(8)
        for (int i = 0; i < MR; ++i)
            TENON_UNROLL(8)
            for (int j = 0; j < NR; ++j) *reinterpret_cast<U*>(sums + (i * job.k + j) * L) = sum[i][j];
    }
    template <int L, int MR, int NR>
    static TENON_ALWAYS_INLINE void row_of_tiles(const PlanarWeightsBlock<T>& job, long row) {
        long l = 0;
        for (; l + NR <= job.k; l += NR) tile<L, MR, NR>(job, row, l);
        for (; l < job.k; ++l) tile<L, MR, 1>(job, row, l);
    }
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const PlanarWeightsBlock<T>* job) {
        constexpr int L = int(Lanes * 4 / sizeof(T)), NR = 4, most = Lanes >= 16 ? 6 : 3;
        long row = 0;
        for (; row + most <= job->rows; row += most) row_of_tiles<L, most, NR>(*job, row);
        if (most == 6 && row + 4 <= job->rows) {
            row_of_tiles<L, 4, NR>(*job, row);
            row += 4;
        }
        for (; row + 2 <= job->rows; row += 2) row_of_tiles<L, 2, NR>(*job, row);
        if (row < job->rows) row_of_tiles<L, 1, NR>(*job, row);
    }
};

// Whether this way pays: planes on both sides, and sums in vectors that stay in the second cache.
template <class T>
bool planar_weights_fits(const WeightsJob<T>& job) {
    const Pass& p = job.pass;
    const auto plane = [&](const ImageStrides<3>& s, long last) { return s.axis[2] == 1 || last == 1; };
    return p.axis[0].grid == 1 && p.axis[0].taps == 1 && p.axis[0].in == 1 && p.axis[0].offset == 0 && plane(job.xs, p.axis[2].in) &&
           plane(job.dys, p.axis[2].grid) && p.results * p.steps() <= (3 << 18) / 64;
}

template <class T>
void run_planar_weights(const WeightsJob<T>& job) {
    const Pass& pass = job.pass;
    const PassAxis &x1 = pass.axis[1], &x2 = pass.axis[2];
    const long m = pass.results, k = pass.steps(), taps = pass.taps(), channels = pass.channels, grid = x1.grid;
    const PlanarPlan plan(pass);
    const long lanes = isa() == Isa::avx512 ? 16 : isa() == Isa::avx2 ? 8 : 4, vector = lanes * 4 / long(sizeof(T));
    long count = 1;
    while (count < grid && (plan.plane(count + 1) * channels * plan.phases + (count + 1) * plan.pitch * m) * long(sizeof(T)) <= (3 << 18)) ++count;
    long blocks = (grid + count - 1) / count;
    count = blocks == 0 ? 0 : (grid + blocks - 1) / blocks;
    const long plane = plan.plane(count), dy_pitch = (count * plan.pitch + vector + 15) / 16 * 16, tasks = pass.n * blocks, parts = tasks < 8 ? (tasks < 1 ? 1 : tasks) : 8;
    const long apart = m * k * vector, x_image = (channels * plan.phases * plane + 2 * vector + 15) / 16 * 16;
    // Small images are summed several at a time.
    long together = blocks == 1 ? (1 << 19) / ((x_image + m * dy_pitch) * long(sizeof(T))) : 1;
    together = together < 1 ? 1 : together > 16 ? 16 : together;
    const gemm_impl::Workspace::Lease shared(gemm_impl::shared_workspace, std::size_t(parts * apart) * sizeof(T) + std::size_t(k + 8) * sizeof(long));
    long* const offsets = shared.as<long>();
    T* const sums = reinterpret_cast<T*>(offsets + (k + 7) / 8 * 8);
    set_offsets(pass, plan, plane, offsets);
    const double nanoseconds = 2.0 * double(pass.n * pass.pixels()) * double(m) * double(k) * gemm_impl::nanoseconds_per_flop;
    parallel_for(parts, nanoseconds, [&](long part) {
        T* const own = sums + part * apart;
        for (long i = 0; i < apart; ++i) own[i] = T(0);
        const Part mine(tasks, parts, part);
        const gemm_impl::Workspace::Lease lease(gemm_impl::task_workspace, std::size_t(together * (x_image + m * dy_pitch)) * sizeof(T));
        T *const source = lease.as<T>(), *const dy = source + together * x_image;
        for (long task = mine.first; task < mine.last; task += together) {
            const long images = mine.last - task < together ? mine.last - task : together;
            const long first = task % blocks * count, rows = first + count < grid ? count : grid - first;
            if (rows <= 0) continue;
            for (long g = 0; g < images; ++g) {
                const long image = task / blocks + g;
                T *const x_to = source + g * x_image, *const dy_to = dy + g * m * dy_pitch;
                copy_planes(pass, plan, job.x + image * job.xs.n, job.xs, first, rows, plane, x_to);
                for (long i = channels * plan.phases * plane; i < x_image; ++i) x_to[i] = T(0);
                for (long o = 0; o < m; ++o) {
                    const PlaneRow<T> row{job.dy + image * job.dys.n + first * job.dys.axis[1] + o * job.dys.channel, 1, x2.grid, 1, 0, 0, plan.pitch};
                    dispatch<PlaneBody<T>>(dy_to + o * dy_pitch, &row, rows, plan.pitch, job.dys.axis[1]);
                    for (long i = rows * plan.pitch; i < dy_pitch; ++i) dy_to[o * dy_pitch + i] = T(0);
                }
            }
            const long columns = ((rows - 1) * plan.pitch + x2.grid + vector - 1) / vector * vector;
            const PlanarWeightsBlock<T> block{source, offsets, dy, dy_pitch, m, columns, k, images, x_image, m * dy_pitch, own};
            dispatch<PlanarWeightsBody<T>>(&block);
        }
    });
    parallel_for(m, double(parts * apart) * 0.2, [&](long o) {
        for (long j = 0; j < taps; ++j)
            for (long c = 0; c < channels; ++c) {
                const T* const at = sums + (o * k + j * channels + c) * vector;
                T lane[16];
                for (long l = 0; l < vector; ++l) {
                    lane[l] = at[l];
                    for (long part = 1; part < parts; ++part) lane[l] += at[part * apart + l];
                }
                for (long half = vector / 2; half > 0; half /= 2)
                    for (long l = 0; l < half; ++l) lane[l] += lane[l + half];
                T& to = job.dw[(o * channels + c) * taps + j];
                to = job.accumulate ? to + lane[0] : lane[0];
            }
    });
}

}  // namespace conv_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
