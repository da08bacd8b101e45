// Kernels of one element over planes: y [to, pixels] = w [to, from] x [from, pixels]. The weights are packed once for all images. A panel
// of x, two vectors of pixels from every channel, is read where it lies by the first tile of results, which leaves a copy in the first
// cache for the others; what the next panels read is asked for meanwhile, a line every few steps: the planes lie on pages of their own,
// where the hardware does not look ahead, and many requests at once would stall what follows.
//
// Sums as in gemm/tile.hpp, K being the channels: the bits are those of a plain product.
#pragma once

#include <tenon/kernels/cpu/conv/layout.hpp>
#include <tenon/kernels/cpu/gemm/blocked.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace conv_impl {

using gemm_impl::chunk_of;
using gemm_impl::Kernels;
using gemm_impl::Panels;
using gemm_impl::Part;
using gemm_impl::RowTiles;
using gemm_impl::Workspace;

// Some panels of an image times all weights, one chunk of the sums.
template <class T>
struct PlanesBlock {
    const T* w;          // packed tiles
    const RowTiles* tiles;
    const Panels* panels;
    long first, last;    // panels
    const T* x;          // of the chunk's first channel and the image's first pixel
    long x_pitch;
    T* packed;           // the panels of x
    T* y;
    long y_pitch, steps;
    const T* bias;       // of each result channel, filled up to whole tiles, or null
    bool load, relu;
    Ahead* next;
};

template <class T>
struct PlanesBody {
    // MR results of NV vectors of pixels. First: b lies in the image, b_step apart, and a copy goes to `packed`.
    template <int L, int MR, int NV, bool First>
    static TENON_ALWAYS_INLINE void tile(const PlanesBlock<T>& block, const T* a, const T* b, long b_step, T* packed, T* y, const T* bias, long rows,
                                         long columns) {
        TENON_CONTRACT
        using V = simd<T, L>;
        constexpr int line = int(64 / sizeof(T)), width = NV * L;
        alignas(64) T part[MR * width];
        const bool whole = rows == MR && columns == width;
        Ahead next = *block.next;
        V sum[MR][NV];
        TENON_UNROLL(32)
        for (int i = 0; i < MR; ++i)
            TENON_UNROLL(4)
            for (int v = 0; v < NV; ++v) sum[i][v] = V(0);
        const T* touch = y;
        const T* const bottom = y + (rows - 1) * block.y_pitch;
        const long steps = block.steps;
        for (long l = 0; l < steps; ++l) {
            if (l % 2 == 0) next.step();
            V read[NV];
            TENON_UNROLL(4)
            for (int v = 0; v < NV; ++v) read[v] = V::load(b + v * L);
            if constexpr (First)
                TENON_UNROLL(4)
                for (int v = 0; v < NV; ++v) read[v].store(packed + v * L);
            TENON_UNROLL(4)
            for (int j = 0; j < width; j += line) {
                __builtin_prefetch(touch + j, 1);
                __builtin_prefetch(First ? b + 6 * b_step + j : b + 32 * width + j);
            }
            touch += touch < bottom ? block.y_pitch : 0;
            __builtin_prefetch(a + 32 * MR);
            TENON_UNROLL(32)
            for (int i = 0; i < MR; ++i) {
                const V by(a[i]);
                TENON_UNROLL(4)
                for (int v = 0; v < NV; ++v) sum[i][v] = sum[i][v] + by * read[v];
            }
            a += MR;
            b += First ? b_step : width;
            packed += First ? width : 0;
        }
        *block.next = next;
        T* c = y;
        long pitch = block.y_pitch;
        if (!whole) {
            c = part;
            pitch = width;
            if (block.load)
                for (long i = 0; i < rows; ++i)
                    for (long j = 0; j < width; ++j) part[i * width + j] = j < columns ? y[i * block.y_pitch + j] : T(0);
        }
        if (block.load)
            TENON_UNROLL(32)
            for (int i = 0; i < MR; ++i)
                TENON_UNROLL(4)
                for (int v = 0; v < NV; ++v) sum[i][v] = sum[i][v] + V::load(c + i * pitch + v * L);
        if (bias != nullptr)
            TENON_UNROLL(32)
            for (int i = 0; i < MR; ++i)
                TENON_UNROLL(4)
                for (int v = 0; v < NV; ++v) sum[i][v] = sum[i][v] + V(bias[i]);
        if (block.relu)
            TENON_UNROLL(32)
            for (int i = 0; i < MR; ++i)
                TENON_UNROLL(4)
                for (int v = 0; v < NV; ++v) sum[i][v] = select(sum[i][v] < V(0), V(0), sum[i][v]);
        TENON_UNROLL(32)
        for (int i = 0; i < MR; ++i)
            TENON_UNROLL(4)
            for (int v = 0; v < NV; ++v) sum[i][v].store(c + i * pitch + v * L);
        if (!whole)
            for (long i = 0; i < rows; ++i) copy_run<T, L>(y + i * block.y_pitch, part + i * width, columns);
    }
    template <int L, int MR>
    static TENON_ALWAYS_INLINE void row(const PlanesBlock<T>& block, long t) {
        const Panels& panels = *block.panels;
        const long first = block.tiles->first(t), rows = block.tiles->end(t + 1) - first;
        const T* const a = block.w + first * block.steps;
        const T* const bias = block.bias != nullptr ? block.bias + first : nullptr;
        T* packed = block.packed;
        for (long p = block.first; p < block.last; ++p) {
            const long column = panels.first(p), columns = panels.first(p + 1) - column, vectors = panels.width(p);
            T* const y = block.y + first * block.y_pitch + column;
            if (vectors == 1) tile<L, MR, 1, false>(block, a, packed, 0, nullptr, y, bias, rows, columns);
            else if (t == 0 && columns == 2 * L) tile<L, MR, 2, true>(block, a, block.x + column, block.x_pitch, packed, y, bias, rows, columns);
            else tile<L, MR, 2, false>(block, a, packed, 0, nullptr, y, bias, rows, columns);
            packed += vectors * L * block.steps;
        }
    }
    // What the first tile will not copy: panels that are not two whole vectors.
    template <int L>
    static TENON_ALWAYS_INLINE void pack(const PlanesBlock<T>& block) {
        const Panels& panels = *block.panels;
        T* packed = block.packed;
        for (long p = block.first; p < block.last; ++p) {
            const long column = panels.first(p), columns = panels.first(p + 1) - column, width = panels.width(p) * L;
            if (columns < 2 * L)
                for (long l = 0; l < block.steps; ++l) {
                    copy_run<T, L>(packed + l * width, block.x + l * block.x_pitch + column, columns);
                    for (long j = columns; j < width; ++j) packed[l * width + j] = T(0);
                }
            packed += width * block.steps;
        }
    }
    // Tiles of the heights that gemm_impl::kernels has for the same instruction set.
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const PlanesBlock<T>* block) {
        constexpr int L = int(Lanes * 4 / sizeof(T)), large = Lanes >= 16 ? 12 : 6, small = Lanes >= 16 ? 8 : Lanes >= 8 ? 4 : 6;
        pack<L>(*block);
        for (long t = 0; t < block->tiles->count(); ++t) {
            if (t < block->tiles->larges) row<L, large>(*block, t);
            else row<L, small>(*block, t);
        }
    }
};

// For n images, x_image and y_image apart; bias: per row of y, or null.
template <class T>
struct PlanesProduct {
    long n, from, to, pixels;
    const T* x;
    long x_image, x_pitch;
    MatrixView<T> w;
    T* y;
    long y_image, y_pitch;
    const T* bias;
    bool relu, accumulate;
};

template <class T>
void multiply_planes(const PlanesProduct<T>& job) {
    const Kernels<T>& kernel = gemm_impl::kernels<T>();
    const RowTiles tiles(job.to, kernel.packed_rows[0], kernel.packed_rows[1]);
    const Panels panels(job.pixels, kernel.lanes, kernel.vectors);
    const Part all(tiles.count(), 1, 0);
    const long from = job.from, chunk = chunk_of<T>(from), rows = tiles.first(tiles.count());
    const Workspace::Lease shared(gemm_impl::shared_workspace, std::size_t(rows * (from + 1)) * sizeof(T));
    T* const w = shared.as<T>();
    T* const bias = job.bias != nullptr ? w + rows * from : nullptr;
    for (long done = 0; done < from; done += chunk)
        gemm_impl::pack_tiles(gemm_impl::PackRows<T>{job.w, kernel.pack}, tiles, all, w + rows * done, done, from - done < chunk ? from - done : chunk);
    if (bias != nullptr)
        for (long i = 0; i < rows; ++i) bias[i] = i < job.to ? job.bias[i] : T(0);
    // Panels that are used up together stay in the first cache; those that large weights pass by, in the second.
    const long panel_bytes = chunk * panels.most * panels.lanes * long(sizeof(T)), room = 3 << 16;
    const long together = panel_bytes > room ? 1 : room / panel_bytes;
    const long groups = (panels.count + together - 1) / together, count = job.n * groups, tasks = count < 32 ? count : 32;
    parallel_for(tasks, 2.0 * double(from) * double(job.to) * double(job.pixels * job.n) * gemm_impl::nanoseconds_per_flop, [&](long index) {
        const Part mine(count, tasks, index);
        const Workspace::Lease lease(gemm_impl::task_workspace, std::size_t(together * panel_bytes));
        for (long g = mine.first; g < mine.last; ++g) {
            const long image = g / groups, first = g % groups * together, last = first + together < panels.count ? first + together : panels.count;
            const long column = panels.first(first), columns = panels.first(last) - column, after = (g + 1) % groups * together,
                       after_column = panels.first(after), after_last = after + together < panels.count ? after + together : panels.count;
            const T* const x = job.x + image * job.x_image;
            for (long done = 0; done < from; done += chunk) {
                const long now = from - done < chunk ? from - done : chunk, slots = tiles.count() * (last - first) * ((now + 1) / 2);
                const bool end = done + now == from;
                Ahead next;
                if (!end) next = Ahead(x + (done + now) * job.x_pitch + column, job.x_pitch, columns, from - done - now < chunk ? from - done - now : chunk, slots);
                else if (g + 1 < mine.last)
                    next = Ahead(job.x + (g + 1) / groups * job.x_image + after_column, job.x_pitch, panels.first(after_last) - after_column, chunk, slots);
                const PlanesBlock<T> block{w + rows * done, &tiles,      &panels, first, last, x + done * job.x_pitch, job.x_pitch, lease.as<T>(),
                                           job.y + image * job.y_image, job.y_pitch, now, end ? bias : nullptr, job.accumulate || done > 0, end && job.relu, &next};
                dispatch<PlanesBody<T>>(&block);
            }
        }
    });
}

}  // namespace conv_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
