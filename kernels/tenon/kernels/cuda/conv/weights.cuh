// The gradient of a convolution's weight: dw [channels out, (tap, channel in)] = dy [channels out, pixels] x patches [pixels, (tap,
// channel in)], in the tiles of tiled.cuh. Few results and long sums: pixels are split between blocks, each of which leaves its sums,
// and a second kernel adds them up in order. The split follows the shape alone, so that every device makes the same bits.
//
// Costs of a tile: 16 pixels read 4 KiB of dy and 4 KiB of x in float for 131072 FLOP; shared memory and threads as in tiled.cuh.
#pragma once

#include <tenon/kernels/cuda/conv/tiled.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {
namespace conv_impl {

template <class T>
struct GradientJob {
    const T *x, *dy;
    IntStrides x_strides, dy_strides;
    T* dw;
    accumulator<T>* parts;  // null: none; their sums [split, group, channel out, tap, channel in]
    int ins, outs;  // of a group
    int columns;    // taps * ins
    int kernel;
    int chunk;      // pixels of a split
    bool accumulate;
    Divisor column_tiles, ins_divisor;
};

#if TENON_DEVICE_CODE
// A pixel of the sum: where its dy lies, and from where its patch of x is reached.
struct PixelRow {
    int dy, x, at[3];
};
TENON_HD inline PixelRow pixel_row(int pixel, int end, const Part& part, const IntStrides& x, const IntStrides& dy) {
    if (pixel >= end) return {-1, 0, {nowhere, nowhere, nowhere}};
    const Pixel p(pixel, part);
    const Origin o(p, part, x);
    return {result_offset(p, part, dy), o.offset, {o.at[0], o.at[1], o.at[2]}};
}
// Column j: tap and channel.
TENON_HD inline TapRow column_row(int j, int columns, const Part& part, const Divisor& ins, const IntStrides& x) {
    if (j >= columns) return {0, {nowhere, nowhere, nowhere}};
    const int tap = static_cast<int>(ins.quotient(static_cast<unsigned>(j)));
    const Tap t(tap, part, x);
    return {t.offset + (j - tap * static_cast<int>(ins.divisor)) * x.channel, {t.by[0], t.by[1], t.by[2]}};
}
// dw's element of column j: w has the taps of a channel next to each other.
TENON_HD inline long gradient_offset(long row, int j, int columns, int kernel, const Divisor& ins) {
    const int tap = static_cast<int>(ins.quotient(static_cast<unsigned>(j)));
    return row * columns + static_cast<long>(j - tap * static_cast<int>(ins.divisor)) * kernel + tap;
}
template <class T>
TENON_HD void finish_gradient(const GradientJob<T>& job, unsigned split, long rows, long row, int j, accumulator<T> sum) {
    if (job.parts != nullptr) {
        job.parts[(split * rows + row) * job.columns + j] = sum;
    } else {
        T& to = job.dw[gradient_offset(row, j, job.columns, job.kernel, job.ins_divisor)];
        to = static_cast<T>(job.accumulate ? static_cast<accumulator<T>>(to) + sum : sum);
    }
}
#endif

// Quads: the channels of both images lie next to each other, in fours; a thread then reads four of a pixel, otherwise one channel of
// every 16th row, so that a warp reads neighbouring pixels.
template <class T, bool Quads>
__global__ void __launch_bounds__(block_threads, 3) conv_gradient_tiles(GradientJob<T> job, Part part) {
#if TENON_DEVICE_CODE
    using A = accumulator<T>;
    TENON_SHARED(Quad<A>, left, 2 * depth * pitch / share);
    TENON_SHARED(Quad<A>, right, 2 * depth * pitch / share);
    TENON_SHARED(PixelRow, rows, 2 * depth);
    TENON_SHARED(TapRow, column_rows, side);
    constexpr int buffer = depth * pitch / share;
    const int t = static_cast<int>(threadIdx.x), group = static_cast<int>(blockIdx.y);
    const int row_tile = static_cast<int>(job.column_tiles.quotient(blockIdx.x));
    const int first_row = row_tile * side,
              first_column = (static_cast<int>(blockIdx.x) - row_tile * static_cast<int>(job.column_tiles.divisor)) * side;
    const int begin = static_cast<int>(blockIdx.z) * job.chunk, end = part.pixels - begin < job.chunk ? part.pixels : begin + job.chunk;
    const T* const x = job.x + group * job.ins * job.x_strides.channel;
    const T* const dy = job.dy + (group * job.outs + first_row) * job.dy_strides.channel;

    Quad<T> a, b;
    const auto here = [&](const PixelRow& r, const TapRow& c) {
        return inside(r.at[0] + c.by[0], part.axis[0].in) && inside(r.at[1] + c.by[1], part.axis[1].in) &&
               inside(r.at[2] + c.by[2], part.axis[2].in);
    };
    const auto fetch = [&](const PixelRow* row) {
        if constexpr (Quads) {
            const PixelRow r = row[t / 16];
            const TapRow c = column_rows[t % 16 * share];
            a = b = Quad<T>{};
            if (r.dy >= 0 && first_row + t % 16 * share < job.outs) a = *reinterpret_cast<const Quad<T>*>(dy + r.dy + t % 16 * share);
            if (here(r, c)) b = *reinterpret_cast<const Quad<T>*>(x + r.x + c.offset);
        } else {
            const PixelRow r = row[t % 16];
            TENON_UNROLL(4)
            for (int q = 0; q < share; ++q) {
                const int i = t / 16 + q * 16;
                const TapRow c = column_rows[i];
                a.at[q] = r.dy >= 0 && first_row + i < job.outs ? dy[r.dy + i * job.dy_strides.channel] : T(0);
                b.at[q] = here(r, c) ? x[r.x + c.offset] : T(0);
            }
        }
    };

    A sums[share][share] = {};
    const int tiles = (end - begin + depth - 1) / depth;
    if (t < side) put(column_rows[t], column_row(first_column + t, job.columns, part, job.ins_divisor, job.x_strides));
    if (t < depth) put(rows[t], pixel_row(begin + t, end, part, job.x_strides, job.dy_strides));
    __syncthreads();
    if (tiles > 0) fetch(rows);
    for (int k = 0; k < tiles; ++k) {
        const int now = k % 2, next = 1 - now;
        if constexpr (Quads) {
            put(left[now * buffer + t / 16 * (pitch / share) + t % 16], widened(a));
            put(right[now * buffer + t / 16 * (pitch / share) + t % 16], widened(b));
        } else {
            A *const l = reinterpret_cast<A*>(left + now * buffer), *const r = reinterpret_cast<A*>(right + now * buffer);
            TENON_UNROLL(4)
            for (int q = 0; q < share; ++q) {
                l[t % 16 * pitch + t / 16 + q * 16] = static_cast<A>(a.at[q]);
                r[t % 16 * pitch + t / 16 + q * 16] = static_cast<A>(b.at[q]);
            }
        }
        if (t < depth) put(rows[next * depth + t], pixel_row(begin + (k + 1) * depth + t, end, part, job.x_strides, job.dy_strides));
        __syncthreads();
        if (k + 1 < tiles) fetch(rows + next * depth);
        multiply_quads(left + now * buffer + t / 16, right + now * buffer + t % 16, sums);
    }

    TENON_UNROLL(4)
    for (int i = 0; i < share; ++i) {
        TENON_UNROLL(4)
        for (int j = 0; j < share; ++j) {
            const int row = first_row + t / 16 * share + i, column = first_column + t % 16 * share + j;
            if (row < job.outs && column < job.columns)
                finish_gradient(job, blockIdx.z, static_cast<long>(gridDim.y) * job.outs, static_cast<long>(group) * job.outs + row, column,
                                sums[i][j]);
        }
    }
#endif
}

// Groups that would leave a tile mostly empty: a block for an element of dw and a chunk of pixels.
template <class T>
__global__ void conv_gradient_direct(GradientJob<T> job, Part part, Divisor columns, Divisor outs, long rows) {
#if TENON_DEVICE_CODE
    using A = accumulator<T>;
    TENON_SHARED(A, warps, block_threads / 32);
    const unsigned row = columns.quotient(blockIdx.x), group = outs.quotient(row);
    const int j = static_cast<int>(blockIdx.x - row * columns.divisor);
    const int begin = static_cast<int>(blockIdx.y) * job.chunk, end = part.pixels - begin < job.chunk ? part.pixels : begin + job.chunk;
    const TapRow c = column_row(j, job.columns, part, job.ins_divisor, job.x_strides);
    const T* const x = job.x + static_cast<int>(group) * job.ins * job.x_strides.channel + c.offset;
    const T* const dy = job.dy + static_cast<int>(row) * job.dy_strides.channel;
    A sum = 0;
    for (int pixel = begin + static_cast<int>(threadIdx.x); pixel < end; pixel += block_threads) {
        const PixelRow r = pixel_row(pixel, end, part, job.x_strides, job.dy_strides);
        if (inside(r.at[0] + c.by[0], part.axis[0].in) && inside(r.at[1] + c.by[1], part.axis[1].in) &&
            inside(r.at[2] + c.by[2], part.axis[2].in))
            sum += product(x[r.x], dy[r.dy]);
    }
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_down_sync(0xffffffffu, sum, static_cast<unsigned>(offset));
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int w = 1; w < block_threads / 32; ++w) sum += warps[w];
        finish_gradient(job, blockIdx.y, rows, row, j, sum);
    }
#endif
}

template <class T>
__global__ void conv_gradient_add(const accumulator<T>* parts, int splits, T* dw, long rows, int columns, int kernel,
                                  Divisor columns_divisor, Divisor ins, bool accumulate) {
#if TENON_DEVICE_CODE
    const long count = rows * columns;
    for (long i = blockIdx.x * static_cast<long>(blockDim.x) + threadIdx.x; i < count; i += static_cast<long>(gridDim.x) * blockDim.x) {
        accumulator<T> sum = parts[i];
        for (int s = 1; s < splits; ++s) sum += parts[s * count + i];
        const unsigned row = columns_divisor.quotient(static_cast<unsigned>(i));
        const int j = static_cast<int>(static_cast<unsigned>(i) - row * columns_divisor.divisor);
        T& to = dw[gradient_offset(row, j, columns, kernel, ins)];
        to = static_cast<T>(accumulate ? static_cast<accumulator<T>>(to) + sum : sum);
    }
#endif
}

// Into how many parts sums over `pixels` are cut: enough blocks for a large device (528: four on each of 132 multiprocessors), at
// least `least` pixels in each and no chain of more than `longest`.
inline long gradient_splits(long blocks, long pixels, long least, long longest) {
    const long filling = (528 + blocks - 1) / blocks, short_enough = (pixels + longest - 1) / longest;
    long splits = filling > short_enough ? filling : short_enough;
    if (splits > (pixels + least - 1) / least) splits = (pixels + least - 1) / least;
    return splits < 1 ? 1 : splits > 4096 ? 4096 : splits;
}

template <class T>
void run_gradient(const ConvShape<3>& s, const T* x, const ImageStrides<3>& xs, const T* dy, const ImageStrides<3>& dys, T* dw,
                  bool accumulate, bool direct) {
    const Part part(cpu::conv_impl::forward_pass(s));
    const long ins = s.group_in(), outs = s.group_out(), columns = ins * part.taps, rows = s.c_out;
    if (rows * columns == 0) return;
    GradientJob<T> job{x,
                       dy,
                       IntStrides(xs),
                       IntStrides(dys),
                       dw,
                       nullptr,
                       static_cast<int>(ins),
                       static_cast<int>(outs),
                       static_cast<int>(columns),
                       part.taps,
                       0,
                       accumulate,
                       Divisor(static_cast<unsigned>((columns + side - 1) / side)),
                       Divisor(static_cast<unsigned>(ins))};
    const long tiles = (columns + side - 1) / side * ((outs + side - 1) / side);
    long splits =
        direct ? gradient_splits(rows * columns, part.pixels, 2048, 1 << 20) : gradient_splits(tiles * s.groups, part.pixels, 256, 8192);
    const long chunk = ((part.pixels + splits - 1) / splits + depth - 1) / depth * depth;
    splits = chunk == 0 ? 1 : (part.pixels + chunk - 1) / chunk;
    job.chunk = static_cast<int>(chunk);
    const Scratch<accumulator<T>> sums(splits > 1 ? splits * rows * columns : 0);
    job.parts = sums.get();
    const dim3 threads(static_cast<unsigned>(block_threads));
    if (direct) {
        launch("conv_backward_weights", conv_gradient_direct<T>, dim3(static_cast<unsigned>(rows * columns), static_cast<unsigned>(splits)),
               threads, std::size_t(0), job, part, Divisor(static_cast<unsigned>(columns)), Divisor(static_cast<unsigned>(outs)), rows);
    } else {
        const dim3 grid(static_cast<unsigned>(tiles), static_cast<unsigned>(s.groups), static_cast<unsigned>(splits));
        const bool quads = in_quads(x, job.x_strides, ins) && in_quads(dy, job.dy_strides, outs);
        if (quads) launch("conv_backward_weights", conv_gradient_tiles<T, true>, grid, threads, std::size_t(0), job, part);
        else launch("conv_backward_weights", conv_gradient_tiles<T, false>, grid, threads, std::size_t(0), job, part);
    }
    if (job.parts != nullptr)
        launch("conv_backward_weights", conv_gradient_add<T>, blocks_for(rows * columns, block_threads), block_threads, sums.get(),
               static_cast<int>(splits), dw, rows, static_cast<int>(columns), part.taps, Divisor(static_cast<unsigned>(columns)),
               Divisor(static_cast<unsigned>(ins)), accumulate);
}

}  // namespace conv_impl
}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
