// Depthwise convolution: one channel in, one out, a kernel of its own for each. Vectors run over channels, several results
// along a row share a weight in registers; it is bound by memory. Images that are not channels-last are copied to and from
// that form, some rows at a time.
#pragma once

#include <tenon/kernels/cpu/conv/patches.hpp>
#include <tenon/kernels/cpu/gemm/panels.hpp>
#include <tenon/kernels/cpu/gemm/workspace.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace conv_impl {

inline bool is_depthwise(const ConvShape<3>& s) { return s.groups == s.c_in && s.c_out == s.c_in && s.groups > 1; }

// Some lanes of memory: all of them, or the first `width`.
template <class T, int L>
TENON_ALWAYS_INLINE typename vector_of<T, L>::type load_lanes(const T* from, long width) {
    using V = typename vector_of<T, L>::type;
    using U = typename vector_of<T, L>::unaligned;
    if (TENON_LIKELY(width >= L)) return *reinterpret_cast<const U*>(from);
    alignas(64) T part[L] = {};
    copy_part<T, L>(part, from, width);
    return *reinterpret_cast<const V*>(part);
}
template <class T, int L, class V>
TENON_ALWAYS_INLINE void store_lanes(T* to, long width, const V& v) {
    using U = typename vector_of<T, L>::unaligned;
    if (TENON_LIKELY(width >= L)) {
        *reinterpret_cast<U*>(to) = v;
        return;
    }
    alignas(64) T part[L];
    *reinterpret_cast<V*>(part) = v;
    copy_part<T, L>(to, part, width);
}

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
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const DepthwiseJob<T>* job) {
        TENON_CONTRACT
        constexpr int L = int(Lanes * 4 / sizeof(T)), Q = 4;
        using V = typename vector_of<T, L>::type;
        const Pass& pass = *job->pass;
        const Source<T>& source = job->source;
        const PassAxis &x0 = pass.axis[0], &x1 = pass.axis[1], &x2 = pass.axis[2];
        const long channels = pass.channels, step = x2.in_step * source.axis[2], along = x2.offset_step * source.axis[2], y_step = job->y_step;
        // Results whose taps lie inside the row: [q_low, q_high).
        const long room = x2.in - 1 - x2.offset - (x2.taps - 1) * x2.offset_step;
        long q_low = x2.offset >= 0 ? 0 : (-x2.offset + x2.in_step - 1) / x2.in_step, q_high = room < 0 ? 0 : room / x2.in_step + 1;
        if (q_low > x2.grid) q_low = x2.grid;
        if (q_high > x2.grid) q_high = x2.grid;
        for (long r = 0; r < job->rows; ++r) {
            const long row = job->first + r, q1 = row % x1.grid, q0 = row / x1.grid % x0.grid, image = row / (x1.grid * x0.grid);
            // The taps that fall inside the image along the outer axes.
            const long i0 = q0 * x0.in_step + x0.offset, i1 = q1 * x1.in_step + x1.offset;
            const T* const from = source.data + (image - source.first) * source.n + (i0 - source.origin[0]) * source.axis[0] +
                                  (i1 - source.origin[1]) * source.axis[1] + (x2.offset - source.origin[2]) * source.axis[2];
            T* const y = job->y + job->y_rows[r];
            for (long c = 0; c < channels; c += L) {
                const long width = channels - c;
                const V bias = job->bias != nullptr ? load_lanes<T, L>(job->bias + c, width) : V{};
                const auto finish = [&](long q, V sum) __attribute__((always_inline)) {
                    T* const to = y + q * y_step + c;
                    if (job->accumulate) sum = sum + load_lanes<T, L>(to, width);
                    sum = sum + bias;
                    if (job->relu) sum = sum < V{} ? V{} : sum;
                    store_lanes<T, L>(to, width, sum);
                };
                const auto each_row = [&](auto&& f) __attribute__((always_inline)) {
                    for (long j0 = 0; j0 < x0.taps; ++j0) {
                        const long at0 = i0 + j0 * x0.offset_step;
                        if (at0 < 0 || at0 >= x0.in) continue;
                        for (long j1 = 0; j1 < x1.taps; ++j1) {
                            const long at1 = i1 + j1 * x1.offset_step;
                            if (at1 < 0 || at1 >= x1.in) continue;
                            f(from + j0 * x0.offset_step * source.axis[0] + j1 * x1.offset_step * source.axis[1] + c,
                              job->w + (j0 * x1.taps + j1) * x2.taps * job->w_pitch + c);
                        }
                    }
                };
                long q = 0;
                while (q < x2.grid) {
                    if (q >= q_low && q + Q <= q_high) {
                        V sum[Q];
                        TENON_UNROLL(4)
                        for (int i = 0; i < Q; ++i) sum[i] = V{};
                        each_row([&](const T* x, const T* w) __attribute__((always_inline)) {
                            x += q * step;
                            for (long j = 0; j < x2.taps; ++j, x += along, w += job->w_pitch) {
                                const V by = load_lanes<T, L>(w, L);
                                TENON_UNROLL(4)
                                for (int i = 0; i < Q; ++i) sum[i] = sum[i] + load_lanes<T, L>(x + i * step, width) * by;
                            }
                        });
                        TENON_UNROLL(4)
                        for (int i = 0; i < Q; ++i) finish(q + i, sum[i]);
                        q += Q;
                        continue;
                    }
                    V sum{};
                    each_row([&](const T* x, const T* w) __attribute__((always_inline)) {
                        for (long j = 0; j < x2.taps; ++j) {
                            const long at = q * x2.in_step + x2.offset + j * x2.offset_step;
                            if (at >= 0 && at < x2.in) sum = sum + load_lanes<T, L>(x + q * step + j * along, width) * load_lanes<T, L>(w + j * job->w_pitch, L);
                        }
                    });
                    finish(q++, sum);
                }
            }
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
    // Sums for N taps of a row of the kernel.
    template <int L, int N, class V>
    static TENON_ALWAYS_INLINE void add_row(V* sum, const PassAxis& a, const T* x, long axis, const T* dy, long dy_step, long j, long width) {
        TENON_CONTRACT
        const long step = a.in_step * axis, along = a.offset_step * axis, first = a.offset + j * a.offset_step, last = first + (N - 1) * a.offset_step;
        const long room = a.in - 1 - last;
        long q_low = first >= 0 ? 0 : (-first + a.in_step - 1) / a.in_step, q_high = room < 0 ? 0 : room / a.in_step + 1;
        if (q_low > a.grid) q_low = a.grid;
        if (q_high > a.grid) q_high = a.grid;
        if (q_high < q_low) q_high = q_low;
        const auto edge = [&](long q) __attribute__((always_inline)) {
            const V d = load_lanes<T, L>(dy + q * dy_step, width);
            TENON_UNROLL(8)
            for (int i = 0; i < N; ++i) {
                const long at = q * a.in_step + first + i * a.offset_step;
                if (at >= 0 && at < a.in) sum[i] = sum[i] + load_lanes<T, L>(x + q * step + i * along, width) * d;
            }
        };
        for (long q = 0; q < q_low; ++q) edge(q);
        for (long q = q_low; q < q_high; ++q) {
            const V d = load_lanes<T, L>(dy + q * dy_step, width);
            TENON_UNROLL(8)
            for (int i = 0; i < N; ++i) sum[i] = sum[i] + load_lanes<T, L>(x + q * step + i * along, width) * d;
        }
        for (long q = q_high; q < a.grid; ++q) edge(q);
    }
    template <int L, int N>
    static TENON_ALWAYS_INLINE void taps(const DepthwiseWeightsJob<T>* job, const T* x, const T* dy, T* dw, long j, long width) {
        using V = typename vector_of<T, L>::type;
        V sum[N];
        TENON_UNROLL(8)
        for (int i = 0; i < N; ++i) sum[i] = load_lanes<T, L>(dw + i * job->pitch, L);
        const PassAxis& a = job->pass->axis[2];
        add_row<L, N>(sum, a, x + j * a.offset_step * job->source.axis[2], job->source.axis[2], dy, job->dy_step, j, width);
        TENON_UNROLL(8)
        for (int i = 0; i < N; ++i) store_lanes<T, L>(dw + i * job->pitch, L, sum[i]);
    }
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const DepthwiseWeightsJob<T>* job) {
        constexpr int L = int(Lanes * 4 / sizeof(T));
        const Pass& pass = *job->pass;
        const Source<T>& source = job->source;
        const PassAxis &x0 = pass.axis[0], &x1 = pass.axis[1], &x2 = pass.axis[2];
        for (long r = 0; r < job->rows; ++r) {
            const long row = job->first + r, q1 = row % x1.grid, q0 = row / x1.grid % x0.grid, image = row / (x1.grid * x0.grid);
            const T* const dy = job->dy + job->dy_rows[r];
            for (long j0 = 0; j0 < x0.taps; ++j0) {
                const long i0 = q0 * x0.in_step + x0.offset + j0 * x0.offset_step;
                if (i0 < 0 || i0 >= x0.in) continue;
                for (long j1 = 0; j1 < x1.taps; ++j1) {
                    const long i1 = q1 * x1.in_step + x1.offset + j1 * x1.offset_step;
                    if (i1 < 0 || i1 >= x1.in) continue;
                    const T* const x = source.data + (image - source.first) * source.n + (i0 - source.origin[0]) * source.axis[0] +
                                       (i1 - source.origin[1]) * source.axis[1] + (x2.offset - source.origin[2]) * source.axis[2];
                    T* const dw = job->dw + (j0 * x1.taps + j1) * x2.taps * job->pitch;
                    for (long c = 0; c < pass.channels; c += L) {
                        const long width = pass.channels - c;
                        long j = 0;
                        for (; j + 3 <= x2.taps; j += 3) taps<L, 3>(job, x + c, dy + c, dw + j * job->pitch + c, j, width);
                        for (; j < x2.taps; ++j) taps<L, 1>(job, x + c, dy + c, dw + j * job->pitch + c, j, width);
                    }
                }
            }
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
