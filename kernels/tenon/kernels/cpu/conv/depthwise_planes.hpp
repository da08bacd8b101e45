// Depthwise convolution of images whose rows are contiguous, one plane after the other: the rows that a block of results reads are
// copied into the first cache with the padding around them, so that every tap reads whole vectors of neighbouring columns. The
// weights' gradient is computed here for all layouts, from planes that are turned into that form where they have another.
//
// One order of summation for every layout. A result's sum runs over its taps in row-major order, in one accumulator; then what was
// there is added, then the bias. A weight's sum has one accumulator for each lane, which takes columns lane, lane + L, ...; it runs
// over images, blocks of rows, columns and rows, in this order, and the lanes are added up in halves.
#pragma once

#include <tenon/kernels/cpu/conv/planar.hpp>
#include <tenon/kernels/cpu/fold.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace conv_impl {

// Channels of an image that a task takes.
inline constexpr long plane_group = 16;

// The padded copy of the rows that some rows of results read. Along a row there is one run for each phase of the step, element u of
// which is the source's column (u + low) * step + phase.
struct PlaneWindow {
    long row_step = 1, first = 0, reach = 0;  // source row of the first tap of result row 0; rows to the last tap's
    long step = 1, low = 0, phases = 1, run = 0, pitch = 0;

    // For all passes over one source, whose steps are the same.
    PlaneWindow(const Pass* passes, long count) {
        long last = 0, high = 0, columns = 0;
        bool any = false;
        for (long i = 0; i < count; ++i) {
            const PassAxis &x1 = passes[i].axis[1], &x2 = passes[i].axis[2];
            if (x2.grid > columns) columns = x2.grid;
            if (passes[i].taps() == 0) continue;
            const TapAxis taps(x2);
            const long end = x1.offset + (x1.taps - 1) * x1.offset_step;
            if (!any || x1.offset < first) first = x1.offset;
            if (!any || end > last) last = end;
            if (!any || taps.low < low) low = taps.low;
            if (!any || taps.high > high) high = taps.high;
            if (taps.phases > phases) phases = taps.phases;
            row_step = x1.in_step;
            step = x2.in_step;
            any = true;
        }
        reach = last - first;
        // The lanes behind the last column read zeros.
        run = (columns + 15) / 16 * 16 + high - low;
        pitch = phases * run;
    }
    long rows(long results) const { return (results - 1) * row_step + reach + 1; }
    // Where tap j of a pass, counted over the two axes, finds what it reads for row 0 and column 0.
    long at(const Pass& pass, long j) const {
        const PassAxis &x1 = pass.axis[1], &x2 = pass.axis[2];
        const long j1 = j / x2.taps, j2 = j % x2.taps, phase = phases > 1 ? TapAxis::phase(x2, j2) : 0;
        return (x1.offset + j1 * x1.offset_step - first) * pitch + phase * run + TapAxis::shift(x2, j2) - low;
    }
};

// to[i] = from[2 * i], and the other way round to[2 * i] = even[i], to[2 * i + 1] = odd[i].
template <class T, int L>
TENON_ALWAYS_INLINE void take_every_second(T* to, const T* from, long count) {
    long i = 0;
    if constexpr (sizeof(T) == 4 && L >= 4) {
        constexpr int H = L / 2;
        const auto move = [&](long at) __attribute__((always_inline)) {
            using Pairs = simd<std::uint64_t, H>;
            using Pair = typename Pairs::Unaligned;
            const Pairs pairs{typename Pairs::Raw(*reinterpret_cast<const Pair*>(from + 2 * at))};
            convert<std::uint32_t>(pairs).store(reinterpret_cast<std::uint32_t*>(to + at));
        };
        // The last pair may end behind the row.
        for (; i + H < count; i += H) move(i);
        if (count > H && i < count - 1) {
            move(count - 1 - H);
            i = count - 1;
        }
    }
    for (; i < count; ++i) to[i] = from[2 * i];
}
template <class T, int L>
TENON_ALWAYS_INLINE void put_alternately(T* to, const T* even, const T* odd, long evens, long odds) {
    long i = 0;
    if constexpr (sizeof(T) == 4 && L >= 4) {
        constexpr int H = L / 2;
        using Words = simd<std::uint32_t, H>;
        using Pairs = simd<std::uint64_t, H>;
        for (; i + H <= odds; i += H) {
            const Words e = Words::load(reinterpret_cast<const std::uint32_t*>(even + i)), o = Words::load(reinterpret_cast<const std::uint32_t*>(odd + i));
            const Pairs pairs{typename Pairs::Raw(convert<std::uint64_t>(e).v | convert<std::uint64_t>(o).v << 32)};
            *reinterpret_cast<typename Pairs::Unaligned*>(to + 2 * i) = pairs.v;
        }
    }
    for (; i < odds; ++i) {
        to[2 * i] = even[i];
        to[2 * i + 1] = odd[i];
    }
    if (evens > odds) to[2 * odds] = even[odds];
}

// A plane of images: its element (0, 0), the distance of its rows, its sizes.
template <class T>
struct Plane {
    const T* data;
    long row, rows, columns;
};

// Copies what of the rows `first` ... of a plane exists; the padding has been zeroed before.
template <class T, int L>
TENON_ALWAYS_INLINE void fill_window(const PlaneWindow& window, const Plane<T>& plane, long first, long rows, T* to) {
    const long start = first < 0 ? -first : 0, stop = plane.rows - first < rows ? plane.rows - first : rows, step = window.step;
    for (long p = 0; p < window.phases; ++p) {
        const long at = window.low * step + p, left = plane.columns - at;
        long begin = at >= 0 ? 0 : (-at + step - 1) / step, end = left <= 0 ? 0 : (left + step - 1) / step;
        if (end > window.run) end = window.run;
        if (begin >= end) continue;
        T* out = to + start * window.pitch + p * window.run + begin;
        const T* from = plane.data + (first + start) * plane.row + at + begin * step;
        for (long s = start; s < stop; ++s, out += window.pitch, from += plane.row) {
            if (step == 1) {
                copy_run<T, L>(out, from, end - begin);
            } else if (step == 2) {
                take_every_second<T, L>(out, from, end - begin);
            } else {
                for (long u = 0; u < end - begin; ++u) out[u] = from[u * step];
            }
        }
    }
}

// What the next plane reads, and reads or writes, is fetched while this one is computed: its pages are others, and the hardware does
// not look ahead across them.
struct NextPlane {
    Ahead first, second;
    template <class T>
    static TENON_ALWAYS_INLINE Ahead of(const T* data, long row, long rows, long columns, long steps) {
        return row == columns ? Ahead(data, 0, rows * columns, 1, steps) : Ahead(data, row, columns, rows, steps);
    }
    TENON_ALWAYS_INLINE void step() {
        first.step();
        second.step();
    }
};

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
    static TENON_ALWAYS_INLINE void tile(const PlaneBlock<T>& block, const PlanePass<T>& pass, const T* w, const T* x, const long* at, long width, T* y, long y_row, T bias) {
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
    static TENON_ALWAYS_INLINE void rows(const PlaneBlock<T>& block, const PlanePass<T>& pass, const T* w, long row, T* y, long y_row, T bias, NextPlane& next) {
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
    static TENON_ALWAYS_INLINE void convolve(const PlaneBlock<T>& block, const PlanePass<T>& pass, const T* w, T* y, long y_row, T bias, NextPlane& next) {
        constexpr int R = 4, N = Lanes >= 16 ? 2 : 1;
        long row = 0;
        for (; row + R <= pass.rows; row += R) rows<L, R, N, Near>(block, pass, w, row, y, y_row, bias, next);
        if (row == pass.rows) return;
        if (!block.accumulate && pass.rows >= R) return rows<L, R, N, Near>(block, pass, w, pass.rows - R, y, y_row, bias, next);
        for (; row < pass.rows; ++row) rows<L, 1, N, Near>(block, pass, w, row, y, y_row, bias, next);
    }
    // As many lanes as a row fills.
    template <int L, int Lanes>
    static TENON_ALWAYS_INLINE void choose(const PlaneBlock<T>& block, const PlanePass<T>& pass, const T* w, T* y, long y_row, T bias, NextPlane& next) {
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
        const long low = block->first < 0 ? 0 : block->first, high = block->first + block->rows < plane.rows ? block->first + block->rows : plane.rows;
        long steps = 0;
        for (long i = 0; i < block->count; ++i) steps += (block->passes[i].rows + 3) / 4;
        for (long c = 0; c < block->channels; ++c, plane.data += block->x_channel, y += block->y_channel) {
            fill_window<T, L>(*block->window, plane, block->first, block->rows, block->copy);
            NextPlane next{NextPlane::of(plane.data + block->x_channel + low * plane.row, plane.row, high > low ? high - low : 0, plane.columns, steps + 1),
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
                            for (long q = 0; q < other.columns; ++q) results[r * block->scratch_row + q] = y[other.row + r * other.y_row + q * step];
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

// Rows of results whose source takes a third of the first cache.
inline long plane_rows(const PlaneWindow& window, long grid, long value_size) {
    if (grid < 1) return 1;
    const long most = (16 << 10) / (window.pitch * value_size) - window.reach, rows = most / window.row_step < 8 ? 8 : most / window.row_step;
    const long blocks = (grid + rows - 1) / rows;
    return blocks < 2 ? grid : (grid + blocks - 1) / blocks;
}

// All passes over one source, at most so many.
inline constexpr long plane_passes = 16;

// False where there are more axes or other layouts. Column phases of a row follow one another in `passes`.
template <class T>
bool run_depthwise_planes(const Pass* passes, long count, long channels, const T* x, const ImageStrides<3>& xs, const T* weights, long kernel, T* y,
                          const ImageStrides<3>& ys, const ConvEpilogue<T>& e) {
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
    const gemm_impl::Workspace::Lease shared(gemm_impl::shared_workspace, std::size_t(taps * channels) * sizeof(T) + std::size_t(taps + 1) * sizeof(long));
    long* const offsets = shared.as<long>();
    T* const w = reinterpret_cast<T*>(offsets + taps + 1);
    for (long i = 0, done = 0; i < count; ++i) {
        const long now = passes[i].taps();
        for (long j = 0; j < now; ++j) {
            offsets[done + j] = window.at(passes[i], j);
            const long t = passes[i].tap_index(j);
            for (long c = 0; c < channels; ++c) w[done * channels + c * now + j] = weights[c * kernel + t] * (e.scale != nullptr ? e.scale[c] : T(1));
        }
        done += now;
    }
    const long rows = plane_rows(window, grid, long(sizeof(T))), blocks = (grid + rows - 1) / rows, groups = (channels + plane_group - 1) / plane_group;
    const long copy_size = (window.rows(rows) * window.pitch + 31) / 16 * 16, scratch_row = (columns + 15) / 16 * 16, scratch_size = rows * scratch_row;
    const long copies = any.axis[2].out_step > 1 ? (any.axis[2].out_step < count ? any.axis[2].out_step : count) : 0;
    const double nanoseconds = 0.05 * double(any.n * grid * columns * channels) * double(4 * count + taps);
    parallel_for(any.n * groups * blocks, nanoseconds, [&](long index) {
        const long block = index % blocks, c = index / blocks % groups * plane_group, image = index / (blocks * groups), first = block * rows;
        const gemm_impl::Workspace::Lease lease(gemm_impl::task_workspace, std::size_t(copy_size + copies * scratch_size) * sizeof(T));
        T* const copy = lease.as<T>();
        for (long i = 0; i < copy_size; ++i) copy[i] = T(0);
        PlanePass<T> job[plane_passes];
        long done = 0, most = 0;
        for (long i = 0; i < count; ++i) {
            const PassAxis &x1 = passes[i].axis[1], &x2 = passes[i].axis[2];
            const long now = passes[i].taps(), left = x1.grid - first;
            job[i] = {offsets + done, w + done * channels + c * now, now, left < 0 ? 0 : left < rows ? left : rows, x2.grid,
                      (x1.out_start + first * x1.out_step) * ys.axis[1] + x2.out_start, x1.out_step * ys.axis[1], x2.out_step, 1, is_three_by_three(passes[i])};
            for (long j = i; j > 0 && passes[j - 1].axis[1].out_start == x1.out_start; --j) ++job[j - 1].together;
            if (job[i].rows > most) most = job[i].rows;
            done += now;
        }
        const PlaneBlock<T> work{&window, copy, copy + copy_size, scratch_row, scratch_size,
                                 {x + image * xs.n + c * xs.channel, xs.axis[1], any.axis[1].in, any.axis[2].in}, first * window.row_step + window.first,
                                 window.rows(most), channels - c < plane_group ? channels - c : plane_group, xs.channel, ys.channel, job, count,
                                 y + image * ys.n + c * ys.channel, first * any.axis[1].out_step * ys.axis[1], ys.axis[1], most * any.axis[1].out_step,
                                 columns * any.axis[2].out_step, e.bias != nullptr ? e.bias + c : nullptr, e.relu, e.accumulate};
        dispatch<DepthwisePlaneBody<T>>(&work);
    });
    return true;
}

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
        const long low = block->first < 0 ? 0 : block->first, high = block->first + block->rows < plane.rows ? block->first + block->rows : plane.rows;
        const long steps = (block->dy.columns + L - 1) / L * (block->near ? block->dy.rows / 4 + 1 : 1);
        const bool whole = block->dy.columns % L == 0;
        const long dy_row = whole ? block->dy.row : (block->dy.columns + L - 1) / L * L;
        for (long c = 0; c < block->channels; ++c, plane.data += block->x_channel, dy += block->dy_channel, sums += block->sums_channel) {
            fill_window<T, Most>(*block->window, plane, block->first, block->rows, block->copy);
            if (!whole)
                for (long r = 0; r < block->dy.rows; ++r) copy_run<T, Most>(block->dy_copy + r * dy_row, dy + r * block->dy.row, block->dy.columns);
            const T* const from = whole ? dy : block->dy_copy;
            NextPlane next{NextPlane::of(plane.data + block->x_channel + low * plane.row, plane.row, high > low ? high - low : 0, plane.columns, steps),
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
void run_depthwise_weights(const Pass& pass, long channels, const T* x, const ImageStrides<3>& xs, const T* dy, const ImageStrides<3>& dys, T* dw, bool accumulate) {
    const PassAxis &x0 = pass.axis[0], &x1 = pass.axis[1], &x2 = pass.axis[2];
    const PlaneWindow window(&pass, 1);
    const long taps = pass.taps(), plane_taps = x1.taps * x2.taps, lanes = plane_lanes(x2.grid, long(sizeof(T)));
    const long rows = plane_rows(window, x1.grid, long(sizeof(T))), blocks = rows == 0 ? 0 : (x1.grid + rows - 1) / rows, groups = (channels + plane_group - 1) / plane_group;
    // An image's slices along the first axis and their blocks are dealt out to partial sums where the channels are few.
    const long units = pass.n * x0.grid * blocks * (x2.grid > 0), parts = groups >= 8 || units < 1 ? 1 : units < 8 ? units : 8;
    const long apart = taps * lanes, part_size = groups * plane_group * apart;
    const long copy_size = (window.rows(rows) * window.pitch + 31) / 16 * 16, dy_size = rows * ((x2.grid + 15) / 16 * 16);
    const bool turn_x = xs.axis[2] != 1 && x2.in > 1, turn_dy = dys.axis[2] != 1 && x2.grid > 1;
    const long turned_x = turn_x ? (window.rows(rows) * x2.in * plane_group + 15) / 16 * 16 : 0, turned_dy = turn_dy ? rows * x2.grid * plane_group : 0;
    const gemm_impl::Workspace::Lease shared(gemm_impl::shared_workspace, std::size_t(parts * part_size) * sizeof(T) + std::size_t(plane_taps + 8) * sizeof(long));
    T* const sums = shared.as<T>();
    long* const offsets = reinterpret_cast<long*>(sums + (parts * part_size + 15) / 16 * 16);
    for (long j = 0; j < plane_taps; ++j) offsets[j] = window.at(pass, j);
    const double nanoseconds = 0.05 * double(pass.n * pass.pixels() * channels) * double(8 + taps);
    parallel_for(parts * groups, nanoseconds, [&](long index) {
        const long c = index % groups * plane_group, now = channels - c < plane_group ? channels - c : plane_group, part = index / groups;
        T* const own = sums + part * part_size + c * apart;
        for (long i = 0; i < plane_group * apart; ++i) own[i] = T(0);
        const gemm_impl::Part mine(units, parts, part);
        const gemm_impl::Workspace::Lease lease(gemm_impl::task_workspace, std::size_t(copy_size + dy_size + turned_x + turned_dy) * sizeof(T));
        T *const copy = lease.as<T>(), *const dy_copy = copy + copy_size, *const x_planes = dy_copy + dy_size, *const dy_planes = x_planes + turned_x;
        for (long i = 0; i < copy_size + dy_size; ++i) copy[i] = T(0);
        for (long unit = mine.first; unit < mine.last; ++unit) {
            const long block = unit % blocks, q0 = unit / blocks % x0.grid, image = unit / (blocks * x0.grid), first = block * rows;
            const long count = x1.grid - first < rows ? x1.grid - first : rows, x_first = first * x1.in_step + window.first, x_rows = window.rows(count);
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
                    const long low = x_first < 0 ? 0 : x_first, high = x_first + x_rows < x1.in ? x_first + x_rows : x1.in, have = high > low ? high - low : 0;
                    turn_into_planes(x_planes, plane.data + low * xs.axis[1], xs, now, have, x2.in);
                    plane = {x_planes, x2.in, have, x2.in};
                    x_channel = have * x2.in;
                    start = x_first - low;
                }
                const PlaneWeightsBlock<T> work{&window, copy, dy_copy, plane, {dy_from, dy_row, count, x2.grid}, start, x_rows, now, x_channel, dy_channel, offsets,
                                                plane_taps, own + j0 * plane_taps * lanes, apart, x0.taps == 1 && is_three_by_three(pass)};
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
