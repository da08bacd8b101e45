// Depthwise convolution of images whose rows are contiguous, one plane after the other. A result's sum runs over its taps in row-major
// order, in one accumulator; then what was there is added, then the bias: the same bits as depthwise.hpp.
#pragma once

#include <tenon/kernels/cpu/conv/plane_window.hpp>
#include <tenon/kernels/cpu/fold.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace conv_impl {

// What one pass computes of a block of rows of a plane.
template <class T>
struct PlanePass {
    const long* at;  // of each tap
    const T* w;      // of each tap and channel, taps apart
    long taps, rows, columns;
    long row, y_row, y_step;  // the first result's place in y
    long together;            // passes from here on that share their rows of y
    bool near;                // is_three_by_three
};
template <class T>
struct PlaneBlock {
    const PlaneWindow* window;
    T* copy;
    T* scratch;             // results of a pass whose columns do not lie side by side
    long scratch_row, scratch_size;
    Plane<T> plane;
    long first, rows;       // of the source
    long channels, x_channel, y_channel;
    const PlanePass<T>* passes;
    long count;
    T* y;
    long y_first, y_row, y_rows, y_columns;  // of y, what the passes write
    const T* bias;
    bool relu, accumulate;
};

template <class T>
struct DepthwisePlaneBody {
    // R rows and N vectors of results, the vectors from columns at[0], ... on; Part: of a single one, `width` lanes.
    template <int L, int R, int N, bool Part, bool Near>
    static TENON_ALWAYS_INLINE void tile(const PlaneBlock<T>& block, const PlanePass<T>& pass, const T* w, const T* x, const long* at,
                                         long width, T* y, long y_row, T bias) {
        TENON_CONTRACT
        using V = simd<T, L>;
        V sum[R][N];
        TENON_UNROLL(4)
        for (int r = 0; r < R; ++r)
            TENON_UNROLL(2)
            for (int v = 0; v < N; ++v) sum[r][v] = V(0);
        if constexpr (Near) {
            V by[9];
            TENON_UNROLL(9)
            for (int t = 0; t < 9; ++t) by[t] = V(w[t]);
            const T* from = x + pass.at[0];
            TENON_UNROLL(6)
            for (int i = 0; i < R + 2; ++i, from += block.window->pitch)
                TENON_UNROLL(3)
                for (int j = 0; j < 3; ++j)
                    TENON_UNROLL(2)
                    for (int v = 0; v < N; ++v) {
                        V read = V::load(from + at[v] + j);
                        keep_in_register(read);
                        TENON_UNROLL(3)
                        for (int t = 0; t < 3; ++t)
                            if (i - t >= 0 && i - t < R) sum[i - t][v] = sum[i - t][v] + read * by[t * 3 + j];
                    }
        } else {
            const long row = block.window->row_step * block.window->pitch;
            for (long t = 0; t < pass.taps; ++t) {
                const V by(w[t]);
                const T* const from = x + pass.at[t];
                TENON_UNROLL(4)
                for (int r = 0; r < R; ++r)
                    TENON_UNROLL(2)
                    for (int v = 0; v < N; ++v) sum[r][v] = sum[r][v] + V::load(from + r * row + at[v]) * by;
            }
        }
        const V add(bias);
        TENON_UNROLL(4)
        for (int r = 0; r < R; ++r)
            TENON_UNROLL(2)
            for (int v = 0; v < N; ++v) {
                T* const to = y + r * y_row + at[v];
                V result = sum[r][v];
                if (block.accumulate) result = result + impl::load_some<Part, T, L>(to, width);
                result = result + add;
                if (block.relu) result = select(result < V(0), V(0), result);
                impl::store_some<Part, T, L>(to, result, width);
            }
    }
    template <int L, int R, int N, bool Near>
    static TENON_ALWAYS_INLINE void rows(const PlaneBlock<T>& block, const PlanePass<T>& pass, const T* w, long row, T* y, long y_row,
                                         T bias, NextPlane& next) {
        next.step();
        const T* const x = block.copy + row * block.window->row_step * block.window->pitch;
        T* const to = y + row * y_row;
        const long columns = pass.columns;
        long q = 0;
        for (; q + N * L <= columns; q += N * L) {
            const long at[2] = {q, q + L};
            tile<L, R, N, false, Near>(block, pass, w, x, at, L, to, y_row, bias);
        }
        if (q == columns) return;
        // The last columns once more, rather than less than a vector.
        if (!block.accumulate && columns >= L) {
            const long at[2] = {columns - q > L ? q : columns - L, columns - L};
            if (N == 2 && columns - q > L) tile<L, R, N, false, Near>(block, pass, w, x, at, L, to, y_row, bias);
            else tile<L, R, 1, false, Near>(block, pass, w, x, at, L, to, y_row, bias);
            return;
        }
        for (; q + L <= columns; q += L) tile<L, R, 1, false, Near>(block, pass, w, x, &q, L, to, y_row, bias);
        if (q < columns) tile<L, R, 1, true, Near>(block, pass, w, x, &q, columns - q, to, y_row, bias);
    }
    template <int L, bool Near, int Lanes>
    static TENON_ALWAYS_INLINE void convolve(const PlaneBlock<T>& block, const PlanePass<T>& pass, const T* w, T* y, long y_row, T bias,
                                             NextPlane& next) {
        constexpr int R = 4, N = Lanes >= 16 ? 2 : 1;
        long row = 0;
        for (; row + R <= pass.rows; row += R) rows<L, R, N, Near>(block, pass, w, row, y, y_row, bias, next);
        if (row == pass.rows) return;
        if (!block.accumulate && pass.rows >= R) return rows<L, R, N, Near>(block, pass, w, pass.rows - R, y, y_row, bias, next);
        for (; row < pass.rows; ++row) rows<L, 1, N, Near>(block, pass, w, row, y, y_row, bias, next);
    }
    // As many lanes as a row fills.
    template <int L, int Lanes>
    static TENON_ALWAYS_INLINE void choose(const PlaneBlock<T>& block, const PlanePass<T>& pass, const T* w, T* y, long y_row, T bias,
                                           NextPlane& next) {
        if constexpr (L > 4)
            if (pass.columns < L) return choose<L / 2, Lanes>(block, pass, w, y, y_row, bias, next);
        if (pass.near) convolve<L, true, Lanes>(block, pass, w, y, y_row, bias, next);
        else convolve<L, false, Lanes>(block, pass, w, y, y_row, bias, next);
    }
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const PlaneBlock<T>* block) {
        constexpr int L = int(Lanes * 4 / sizeof(T));
        Plane<T> plane = block->plane;
        T* y = block->y;
        const long low = block->first < 0 ? 0 : block->first,
                   high = block->first + block->rows < plane.rows ? block->first + block->rows : plane.rows;
        long steps = 0;
        for (long i = 0; i < block->count; ++i) steps += (block->passes[i].rows + 3) / 4;
        for (long c = 0; c < block->channels; ++c, plane.data += block->x_channel, y += block->y_channel) {
            fill_window<T, L>(*block->window, plane, block->first, block->rows, block->copy);
            NextPlane next{NextPlane::of(plane.data + block->x_channel + low * plane.row, plane.row, high > low ? high - low : 0,
                                         plane.columns, steps + 1),
                           NextPlane::of(y + block->y_channel + block->y_first, block->y_row, block->y_rows, block->y_columns, steps + 1)};
            const T bias = block->bias != nullptr ? block->bias[c] : T(0);
            for (long i = 0; i < block->count;) {
                const PlanePass<T>& pass = block->passes[i];
                if (pass.y_step == 1) {
                    choose<L, Lanes>(*block, pass, pass.w + c * pass.taps, y + pass.row, pass.y_row, bias, next);
                    ++i;
                    continue;
                }
                const long together = pass.together, step = pass.y_step;
                for (long j = 0; j < together; ++j) {
                    const PlanePass<T>& other = block->passes[i + j];
                    T* const results = block->scratch + j * block->scratch_size;
                    if (block->accumulate)
                        for (long r = 0; r < other.rows; ++r)
                            for (long q = 0; q < other.columns; ++q)
                                results[r * block->scratch_row + q] = y[other.row + r * other.y_row + q * step];
                    choose<L, Lanes>(*block, other, other.w + c * other.taps, results, block->scratch_row, bias, next);
                }
                for (long r = 0; r < pass.rows; ++r) {
                    const T* const from = block->scratch + r * block->scratch_row;
                    T* const to = y + pass.row + r * pass.y_row;
                    if (step == 2 && together == 2) {
                        put_alternately<T, L>(to, from, from + block->scratch_size, pass.columns, block->passes[i + 1].columns);
                    } else {
                        for (long j = 0; j < together; ++j)
                            for (long q = 0; q < block->passes[i + j].columns; ++q) to[j + q * step] = from[j * block->scratch_size + q];
                    }
                }
                i += together;
            }
        }
    }
};

// All passes over one source, at most so many.
inline constexpr long plane_passes = 16;

// False where there are more axes or other layouts. Column phases of a row follow one another in `passes`.
template <class T>
bool run_depthwise_planes(const Pass* passes, long count, long channels, const T* x, const ImageStrides<3>& xs, const T* weights,
                          long kernel, T* y, const ImageStrides<3>& ys, const ConvEpilogue<T>& e) {
    const Pass& any = passes[0];
    const PassAxis& x0 = any.axis[0];
    if (count > plane_passes || x0.grid != 1 || x0.in != 1 || x0.offset != 0 || x0.taps != 1) return false;
    if ((xs.axis[2] != 1 && any.axis[2].in > 1) || ys.axis[2] != 1) return false;
    const PlaneWindow window(passes, count);
    long grid = 0, columns = 0, taps = 0;
    for (long i = 0; i < count; ++i) {
        if (passes[i].axis[1].grid > grid) grid = passes[i].axis[1].grid;
        if (passes[i].axis[2].grid > columns) columns = passes[i].axis[2].grid;
        taps += passes[i].taps();
    }
    if (any.n * grid * columns == 0) return true;
    const gemm_impl::Workspace::Lease shared(gemm_impl::shared_workspace,
                                             std::size_t(taps * channels) * sizeof(T) + std::size_t(taps + 1) * sizeof(long));
    long* const offsets = shared.as<long>();
    T* const w = reinterpret_cast<T*>(offsets + taps + 1);
    for (long i = 0, done = 0; i < count; ++i) {
        const long now = passes[i].taps();
        for (long j = 0; j < now; ++j) {
            offsets[done + j] = window.at(passes[i], j);
            const long t = passes[i].tap_index(j);
            for (long c = 0; c < channels; ++c)
                w[done * channels + c * now + j] = weights[c * kernel + t] * (e.scale != nullptr ? e.scale[c] : T(1));
        }
        done += now;
    }
    const long rows = plane_rows(window, grid, long(sizeof(T))), blocks = (grid + rows - 1) / rows,
               groups = (channels + plane_group - 1) / plane_group;
    const long copy_size = (window.rows(rows) * window.pitch + 31) / 16 * 16, scratch_row = (columns + 15) / 16 * 16,
               scratch_size = rows * scratch_row;
    const long copies = any.axis[2].out_step > 1 ? (any.axis[2].out_step < count ? any.axis[2].out_step : count) : 0;
    const double nanoseconds = 0.05 * double(any.n * grid * columns * channels) * double(4 * count + taps);
    parallel_for(any.n * groups * blocks, nanoseconds, [&](long index) {
        const long block = index % blocks, c = index / blocks % groups * plane_group, image = index / (blocks * groups),
                   first = block * rows;
        const gemm_impl::Workspace::Lease lease(gemm_impl::task_workspace, std::size_t(copy_size + copies * scratch_size) * sizeof(T));
        T* const copy = lease.as<T>();
        for (long i = 0; i < copy_size; ++i) copy[i] = T(0);
        PlanePass<T> job[plane_passes];
        long done = 0, most = 0;
        for (long i = 0; i < count; ++i) {
            const PassAxis &x1 = passes[i].axis[1], &x2 = passes[i].axis[2];
            const long now = passes[i].taps(), left = x1.grid - first;
            job[i] = {offsets + done,
                      w + done * channels + c * now,
                      now,
                      left < 0      ? 0
                      : left < rows ? left
                                    : rows,
                      x2.grid,
                      (x1.out_start + first * x1.out_step) * ys.axis[1] + x2.out_start,
                      x1.out_step * ys.axis[1],
                      x2.out_step,
                      1,
                      is_three_by_three(passes[i])};
            for (long j = i; j > 0 && passes[j - 1].axis[1].out_start == x1.out_start; --j) ++job[j - 1].together;
            if (job[i].rows > most) most = job[i].rows;
            done += now;
        }
        const PlaneBlock<T> work{&window,
                                 copy,
                                 copy + copy_size,
                                 scratch_row,
                                 scratch_size,
                                 {x + image * xs.n + c * xs.channel, xs.axis[1], any.axis[1].in, any.axis[2].in},
                                 first * window.row_step + window.first,
                                 window.rows(most),
                                 channels - c < plane_group ? channels - c : plane_group,
                                 xs.channel,
                                 ys.channel,
                                 job,
                                 count,
                                 y + image * ys.n + c * ys.channel,
                                 first * any.axis[1].out_step * ys.axis[1],
                                 ys.axis[1],
                                 most * any.axis[1].out_step,
                                 columns * any.axis[2].out_step,
                                 e.bias != nullptr ? e.bias + c : nullptr,
                                 e.relu,
                                 e.accumulate};
        dispatch<DepthwisePlaneBody<T>>(&work);
    });
    return true;
}

}  // namespace conv_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
