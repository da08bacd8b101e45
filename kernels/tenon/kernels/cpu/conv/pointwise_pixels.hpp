// Kernels of one element over images stored channels last: y [pixels, to] = x [pixels, from] w'. The weights are packed once and stay in
// the second cache; x is read where it lies, a tile of pixels times all panels of weights. What the next tile reads and
// writes is asked for meanwhile, a line every other step: several rows of a page at once are no stream that the hardware would follow.
//
// Sums as in gemm/tile.hpp, K being the channels.
#pragma once

#include <tenon/kernels/cpu/conv/pointwise_planes.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace conv_impl {

template <class T>
struct PixelsBlock {
    const T* x;           // of the first pixel
    long x_pitch;
    const T* w;           // packed panels
    const Panels* panels;
    T* y;
    long y_pitch, pixels, steps;
    const T* bias;        // of each result channel, filled up to whole vectors; never null
    bool load, relu;
};

template <class T>
struct PixelsBody {
    template <int L, int MR, int NV>
    static TENON_ALWAYS_INLINE void tile(const PixelsBlock<T>& block, const T* a, const T* b, T* y, const T* bias, long columns, Ahead& next_x, Ahead& next_y) {
        TENON_CONTRACT
        using V = simd<T, L>;
        constexpr int line = int(64 / sizeof(T)), width = NV * L, groups = (MR + 2) / 3;
        Ahead x_ahead = next_x, y_ahead = next_y;
        const long row = block.x_pitch, steps = block.steps;
        V sum[MR][NV];
        TENON_UNROLL(32)
        for (int i = 0; i < MR; ++i)
            TENON_UNROLL(4)
            for (int v = 0; v < NV; ++v) sum[i][v] = V(0);
        // One pointer for every three rows: a pointer each would not fit the registers.
        const T* start[groups];
        TENON_UNROLL(8)
        for (int g = 0; g < groups; ++g) start[g] = a + 3 * g * row;
        for (long l = 0; l < steps; ++l) {
            if (l % 2 == 0) x_ahead.step();
            else y_ahead.step();
            V read[NV];
            TENON_UNROLL(4)
            for (int v = 0; v < NV; ++v) read[v] = V::load(b + v * L);
            TENON_UNROLL(4)
            for (int j = 0; j < width; j += line) __builtin_prefetch(b + 8 * width + j);
            TENON_UNROLL(32)
            for (int i = 0; i < MR; ++i) {
                const V by(start[i / 3][i % 3 * row]);
                TENON_UNROLL(4)
                for (int v = 0; v < NV; ++v) sum[i][v] = sum[i][v] + by * read[v];
            }
            b += width;
            TENON_UNROLL(8)
            for (int g = 0; g < groups; ++g) ++start[g];
        }
        next_x = x_ahead;
        next_y = y_ahead;
        T* c = y;
        long pitch = block.y_pitch;
        alignas(64) T part[MR * width];
        if (columns != width) {
            c = part;
            pitch = width;
            for (long i = 0; i < MR; ++i)
                for (long j = 0; j < width; ++j) part[i * width + j] = block.load && j < columns ? y[i * block.y_pitch + j] : T(0);
        }
        if (block.load)
            TENON_UNROLL(32)
            for (int i = 0; i < MR; ++i)
                TENON_UNROLL(4)
                for (int v = 0; v < NV; ++v) sum[i][v] = sum[i][v] + V::load(c + i * pitch + v * L);
        TENON_UNROLL(4)
        for (int v = 0; v < NV; ++v) {
            const V add = V::load(bias + v * L);
            TENON_UNROLL(32)
            for (int i = 0; i < MR; ++i) {
                V r = sum[i][v] + add;
                if (block.relu) r = select(r < V(0), V(0), r);
                r.store(c + i * pitch + v * L);
            }
        }
        if (columns != width)
            for (long i = 0; i < MR; ++i)
                for (long j = 0; j < columns; ++j) y[i * block.y_pitch + j] = part[i * width + j];
    }
    template <int L, int MR>
    static TENON_ALWAYS_INLINE void pixels(const PixelsBlock<T>& block, long first, long rest) {
        const Panels& panels = *block.panels;
        const T* const x = block.x + first * block.x_pitch;
        T* const y = block.y + first * block.y_pitch;
        const long slots = (panels.count * block.steps + 1) / 2, rows = rest < MR ? rest : MR;
        Ahead next_x, next_y;
        if (rest > 0) {
            next_x = Ahead(x + MR * block.x_pitch, block.x_pitch, block.steps, rows, slots);
            next_y = Ahead(y + MR * block.y_pitch, block.y_pitch, panels.columns, rows, slots);
        }
        const T* w = block.w;
        for (long p = 0; p < panels.count; ++p) {
            const long column = panels.first(p), columns = panels.first(p + 1) - column;
            if (panels.width(p) == 2) tile<L, MR, 2>(block, x, w, y + column, block.bias + column, columns, next_x, next_y);
            else tile<L, MR, 1>(block, x, w, y + column, block.bias + column, columns, next_x, next_y);
            w += panels.width(p) * L * block.steps;
        }
    }
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const PixelsBlock<T>* block) {
        constexpr int L = int(Lanes * 4 / sizeof(T)), large = Lanes >= 16 ? 12 : 6;
        long i = 0;
        for (; i + large <= block->pixels; i += large) pixels<L, large>(*block, i, block->pixels - i - large);
        for (; i < block->pixels; ++i) pixels<L, 1>(*block, i, 0);
    }
};

// Large images, and weights that leave room in the second cache for what passes by.
template <class T>
bool has_many_pixels(long pixels, long from, long to) {
    return from > 0 && to >= 24 && chunk_of<T>(from) == from && from * to * long(sizeof(T)) <= 1 << 19 && pixels * (from + to) * long(sizeof(T)) > 1 << 20;
}

template <class T>
void multiply_pixels(long pixels, long from, long to, const T* x, long x_pitch, MatrixView<T> w, T* y, long y_pitch, const T* bias, bool relu, bool accumulate) {
    const Kernels<T>& kernel = gemm_impl::kernels<T>();
    const Panels panels(to, kernel.lanes, kernel.vectors);
    const long width = panels.vectors * panels.lanes;
    const Workspace::Lease shared(gemm_impl::shared_workspace, std::size_t(width * (from + 1)) * sizeof(T));
    T *const packed = shared.as<T>(), *const add = packed + width * from;
    gemm_impl::pack_panels(gemm_impl::PackColumns<T>{{w.data, w.column_stride, w.row_stride}, kernel.pack}, panels, 0, panels.count, packed, 0, 0, from);
    // Nothing added leaves -0 as it is.
    for (long j = 0; j < width; ++j) add[j] = j < to && bias != nullptr ? bias[j] : T(-0.0);
    const long unit = kernel.strided[2][0].rows, tiles = (pixels + unit - 1) / unit, tasks = tiles < 32 ? tiles : 32;
    parallel_for(tasks, 2.0 * double(from) * double(to) * double(pixels) * gemm_impl::nanoseconds_per_flop, [&](long index) {
        const Part mine(tiles, tasks, index);
        const long first = mine.first * unit, last = mine.last * unit < pixels ? mine.last * unit : pixels;
        const PixelsBlock<T> block{x + first * x_pitch, x_pitch, packed, &panels, y + first * y_pitch, y_pitch, last - first, from, add, accumulate, relu};
        dispatch<PixelsBody<T>>(&block);
    });
}

}  // namespace conv_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
