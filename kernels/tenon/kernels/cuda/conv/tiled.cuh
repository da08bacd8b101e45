// Convolution, forward and backward to the data, as a matrix product that nobody stores: results [channels, pixels] = weights
// [channels, steps] x patches [steps, pixels], a step being a kernel position and a channel of the source. A block makes a tile of
// 64 x 64, 16 steps at a time; a thread makes 4 x 4 of it.
//
// Which kernel position, channel and offset a step is, 16 threads find out once for the block, one step ahead (TapRow); which image
// and position a pixel is, its thread finds out before the loop. What is left inside is an addition, three comparisons and a read.
// What the next step needs is read while the current one is multiplied; shared memory is doubled, so that one barrier is enough.
//
// 16-bit types lie so in memory and are widened on their way into shared memory: sums, and what is multiplied, are floats.
//
// Costs of a tile in float: 16 steps read 4 KiB of weights and at most 4 KiB of the source, mostly from the L2 cache (tiles of
// different channels of the same pixels run side by side), for 131072 FLOP: 16 FLOP per byte. 17.5 KiB of shared memory (34.5 in
// double), 256 threads and 80 registers each: three blocks, 768 threads, on a multiprocessor. In shared memory a warp's 2 reads of 16
// bytes a thread pass three wavefronts for 512 multiply-adds, four cycles.
//
// One chain of sums per result, in order of its steps: its bits depend on neither layout nor neighbours.
#pragma once

#include <tenon/kernels/cuda/conv/geometry.cuh>
#include <tenon/kernels/cuda/memory.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {
namespace conv_impl {

inline constexpr int side = 64, depth = 16, pitch = side + 4, share = 4;
static_assert(block_threads == (side / share) * (side / share) && block_threads * share == side * depth);

// Four neighbours, read and written in words of 16 bytes (8 in 16-bit types).
template <class T>
struct alignas(sizeof(T) * share < 16 ? sizeof(T) * share : 16) Quad {
    T at[share];
};
// A step of a tile: where it reads, relative to a pixel's origin.
struct alignas(16) TapRow {
    int offset, by[3];
};

template <class T>
struct TileJob {
    PassOperands<T> pass;
    const T* packed;  // [group, part, step, channel], steps filled up to whole tiles' with zeros, and channels too
    long group_weights;
    int packed_results;
    Divisor result_tiles, channels;
};

#if TENON_DEVICE_CODE
TENON_HD inline TapRow tap_row(int step, const Part& part, const Divisor& channels, const IntStrides& s) {
    if (step >= part.steps) return {0, {nowhere, nowhere, nowhere}};
    const int tap = static_cast<int>(channels.quotient(static_cast<unsigned>(step)));
    const Tap t(tap, part, s);
    return {t.offset + (step - tap * static_cast<int>(channels.divisor)) * s.channel, {t.by[0], t.by[1], t.by[2]}};
}
template <class T>
TENON_HD Quad<accumulator<T>> widened(const Quad<T>& q) {
    Quad<accumulator<T>> r;
    for (int i = 0; i < share; ++i) r.at[i] = static_cast<accumulator<T>>(q.at[i]);
    return r;
}
// sums += left's column times right's row, 16 times.
template <class T>
TENON_HD void multiply_quads(const Quad<T>* left, const Quad<T>* right, T (&sums)[share][share]) {
    TENON_UNROLL(8)
    for (int l = 0; l < depth; ++l) {
        const Quad<T> a = left[l * (pitch / share)], b = right[l * (pitch / share)];
        TENON_UNROLL(4)
        for (int i = 0; i < share; ++i) {
            TENON_UNROLL(4)
            for (int j = 0; j < share; ++j) sums[i][j] += a.at[i] * b.at[j];
        }
    }
}
#endif

// Quads: the source's channels lie next to each other, in fours that begin where a Quad may; a thread then reads four
// channels of a pixel at once, otherwise one channel of every fourth step, so that a warp reads neighbouring pixels.
template <class T, bool Quads>
__global__ void __launch_bounds__(block_threads, 3) conv_tiles(TileJob<T> job, Parts parts) {
#if TENON_DEVICE_CODE
    using A = accumulator<T>;
    TENON_SHARED(Quad<A>, left, 2 * depth * pitch / share);
    TENON_SHARED(Quad<A>, right, 2 * depth * pitch / share);
    TENON_SHARED(TapRow, rows, 2 * depth);
    constexpr int buffer = depth * pitch / share;
    const PassOperands<T>& pass = job.pass;
    const Part& part = parts.part[blockIdx.z];
    const int pixel_tile = static_cast<int>(job.result_tiles.quotient(blockIdx.x));
    const int first_result = static_cast<int>(blockIdx.x - static_cast<unsigned>(pixel_tile) * job.result_tiles.divisor) * side;
    const int first_pixel = pixel_tile * side, group = static_cast<int>(blockIdx.y);
    if (first_pixel >= part.pixels) return;  // the whole block: another pass has more pixels
    const int t = static_cast<int>(threadIdx.x);

    const int column = Quads ? t / 4 : t % side;
    const T* source = pass.source + group * pass.channels * pass.source_strides.channel;
    int at[3] = {nowhere, nowhere, nowhere};
    if (first_pixel + column < part.pixels) {
        const Origin origin(Pixel(first_pixel + column, part), part, pass.source_strides);
        source += origin.offset;
        for (int i = 0; i < 3; ++i) at[i] = origin.at[i];
    }
    const T* weights = job.packed + group * job.group_weights + part.weights + static_cast<long>(t / 16) * job.packed_results +
                       first_result + t % 16 * share;

    Quad<T> a, b;
    const auto fetch = [&](int first, const TapRow* row) {
        a = *reinterpret_cast<const Quad<T>*>(weights + static_cast<long>(first) * job.packed_results);
        TENON_UNROLL(4)
        for (int q = 0; q < (Quads ? 1 : share); ++q) {
            const TapRow r = row[Quads ? t % 4 * share : t / side + q * share];
            const bool here = inside(at[0] + r.by[0], part.axis[0].in) && inside(at[1] + r.by[1], part.axis[1].in) &&
                              inside(at[2] + r.by[2], part.axis[2].in);
            if constexpr (Quads) {
                b = Quad<T>{};
                if (here) b = *reinterpret_cast<const Quad<T>*>(source + r.offset);
            } else {
                b.at[q] = here ? source[r.offset] : T(0);
            }
        }
    };

    A sums[share][share] = {};
    const int tiles = (part.steps + depth - 1) / depth;
    if (t < depth) put(rows[t], tap_row(t, part, job.channels, pass.source_strides));
    __syncthreads();
    if (tiles > 0) fetch(0, rows);
    for (int k = 0; k < tiles; ++k) {
        const int now = k % 2, next = 1 - now;
        put(left[now * buffer + t / 16 * (pitch / share) + t % 16], widened(a));
        A* const to = reinterpret_cast<A*>(right + now * buffer);
        TENON_UNROLL(4)
        for (int q = 0; q < share; ++q)
            to[Quads ? (t % 4 * share + q) * pitch + column : (t / side + q * share) * pitch + column] = static_cast<A>(b.at[q]);
        if (t < depth) put(rows[next * depth + t], tap_row((k + 1) * depth + t, part, job.channels, pass.source_strides));
        __syncthreads();
        if (k + 1 < tiles) fetch((k + 1) * depth, rows + next * depth);
        multiply_quads(left + now * buffer + t / 16, right + now * buffer + t % 16, sums);
    }

    TENON_UNROLL(4)
    for (int j = 0; j < share; ++j) {
        const int pixel = first_pixel + t % 16 * share + j;
        if (pixel >= part.pixels) continue;
        T* const to = pass.result + result_offset(Pixel(pixel, part), part, pass.result_strides);
        TENON_UNROLL(4)
        for (int i = 0; i < share; ++i) {
            const int result = first_result + t / 16 * share + i, channel = group * pass.results + result;
            if (result < pass.results) finish_result(pass.epilogue, to + channel * pass.result_strides.channel, channel, sums[i][j]);
        }
    }
#endif
}

// packed[group, part, step, channel] = w: read once each, so that tiles read whole rows.
template <class T>
__global__ void conv_pack_weights(const T* w, WeightStrides strides, T* packed, long group_weights, int packed_results, int results,
                                  Divisor channels, Parts parts) {
#if TENON_DEVICE_CODE
    const Part& part = parts.part[blockIdx.z];
    const int rows = (part.steps + depth - 1) / depth * depth, group = static_cast<int>(blockIdx.y);
    const int result = static_cast<int>(blockIdx.x) % (packed_results / side) * side + static_cast<int>(threadIdx.x) % side;
    for (int step = static_cast<int>(blockIdx.x) / (packed_results / side) * share + static_cast<int>(threadIdx.x) / side; step < rows;
         step += static_cast<int>(gridDim.x) / (packed_results / side) * share) {
        T value = T(0);
        if (step < part.steps && result < results) {
            const int tap = static_cast<int>(channels.quotient(static_cast<unsigned>(step)));
            const Tap place(tap, part, IntStrides{});
            value = w[group * strides.group + result * strides.result +
                      (step - tap * static_cast<int>(channels.divisor)) * strides.channel + place.index];
        }
        packed[group * group_weights + part.weights + static_cast<long>(step) * packed_results + result] = value;
    }
#endif
}

template <class T>
bool in_quads(const T* data, const IntStrides& s, long channels) {
    bool r = s.channel == 1 && channels % share == 0 && s.n % share == 0 && reinterpret_cast<std::uintptr_t>(data) % alignof(Quad<T>) == 0;
    for (int i = 0; i < 3; ++i) r = r && s.axis[i] % share == 0;
    return r;
}

template <class T>
void run_tiles(const char* name, const PassOperands<T>& pass, const T* w, const WeightStrides& weights, long groups, Parts parts) {
    const long result_tiles = (pass.results + side - 1) / side, packed_results = result_tiles * side;
    long group_weights = 0, pixels = 0, most_steps = 0;
    for (int i = 0; i < parts.count; ++i) {
        Part& p = parts.part[i];
        p.weights = group_weights;
        const long steps = (static_cast<long>(p.steps) + depth - 1) / depth * depth;
        group_weights += steps * packed_results;
        if (steps > most_steps) most_steps = steps;
        if (p.pixels > pixels) pixels = p.pixels;
    }
    if (pixels == 0) return;
    const Scratch<T> packed(groups * group_weights);
    const Divisor channels(static_cast<unsigned>(pass.channels));
    const bool quads = in_quads(pass.source, pass.source_strides, pass.channels);
    const dim3 threads(static_cast<unsigned>(block_threads));
    constexpr long most = 65535;  // of the grid's second axis
    for (long first = 0; first < groups; first += most) {
        const unsigned some = static_cast<unsigned>(groups - first < most ? groups - first : most),
                       count = static_cast<unsigned>(parts.count);
        TileJob<T> job{pass,
                       packed.get() + first * group_weights,
                       group_weights,
                       static_cast<int>(packed_results),
                       Divisor(static_cast<unsigned>(result_tiles)),
                       channels};
        if (most_steps > 0)
            launch("conv_pack_weights", conv_pack_weights<T>,
                   dim3(static_cast<unsigned>(result_tiles * blocks_for(most_steps, share, 4)), some, count), threads, std::size_t(0),
                   w + first * weights.group, weights, packed.get() + first * group_weights, group_weights,
                   static_cast<int>(packed_results), pass.results, channels, parts);
        job.pass.source += first * pass.channels * pass.source_strides.channel;
        job.pass.result += first * pass.results * pass.result_strides.channel;
        if (job.pass.epilogue.scale != nullptr) job.pass.epilogue.scale += first * pass.results;
        if (job.pass.epilogue.bias != nullptr) job.pass.epilogue.bias += first * pass.results;
        const dim3 grid(static_cast<unsigned>((pixels + side - 1) / side * result_tiles), some, count);
        if (quads) launch(name, conv_tiles<T, true>, grid, threads, std::size_t(0), job, parts);
        else launch(name, conv_tiles<T, false>, grid, threads, std::size_t(0), job, parts);
    }
}

}  // namespace conv_impl
}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
