// The blocked product: B is packed once and shared, every task packs its own rows of A and fills its own block of C.
//
// A slice of B (all columns that fit, some chunks of K) stays in the last-level cache; a block of A in the second; one
// panel of B, or one tile of A, in the first. Blocks come from the shape alone.
#pragma once

#include <tenon/base/parallel.hpp>
#include <tenon/kernels/cpu/gemm/packers.hpp>
#include <tenon/kernels/cpu/gemm/panels.hpp>
#include <tenon/kernels/cpu/gemm/workspace.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace gemm_impl {

// Hands a finished block to the user, in pieces that are still in cache.
inline void finish_block(const BlockEpilogue& epilogue, long row, long rows, long column, long columns) {
    if (epilogue.run != nullptr && rows > 0 && columns > 0) epilogue.run(epilogue.context, row, rows, column, columns);
}

// How a product of this shape is cut.
struct Blocking {
    long slice_columns;   // columns of B packed at once
    long slice_steps;     // steps of K packed at once, whole chunks
    long block_rows;      // most rows of a task
    template <class T>
    static Blocking of(long n, long k) {
        constexpr long bytes = 6 << 20;
        Blocking blocking;
        const long chunk = chunk_of<T>(k);
        blocking.slice_columns = n <= 2048 ? n : 2016;
        long chunks = bytes / (chunk * long(sizeof(T)) * blocking.slice_columns);
        if (chunks < 1) chunks = 1;
        blocking.slice_steps = chunks * chunk < k ? chunks * chunk : k;
        blocking.block_rows = 144;
        return blocking;
    }
};

// Packs rows of A tile by tile: large tiles, then small ones.
template <class T, class RowPacker>
void pack_tiles(const RowPacker& pack_rows, const RowTiles& tiles, const Part& part, T* packed_a, long k0, long steps) {
    const long row = tiles.first(part.first), row_end = tiles.end(part.last);
    const long middle = part.last < tiles.larges ? part.last : part.first > tiles.larges ? part.first : tiles.larges;
    const long middle_row = tiles.first(middle);
    if (part.first < middle) pack_rows(packed_a, tiles.large, row, tiles.end(middle) - row, k0, steps);
    if (middle < part.last)
        pack_rows(packed_a + (middle_row - row) * steps, tiles.small, middle_row, row_end - middle_row, k0, steps);
}

// Packs the panels [p, end), those of one width in one go.
template <class T, class ColumnPacker>
void pack_panels(const ColumnPacker& pack_columns, const Panels& panels, long p, long end, T* packed_b, long column, long k0, long steps) {
    while (p < end) {
        long same = p + 1;
        while (same < end && panels.width(same) == panels.width(p)) ++same;
        const long first = panels.first(p);
        pack_columns(packed_b, panels.width(p) * panels.lanes, column + first, panels.first(same) - first, k0, steps);
        packed_b += (panels.first_vector(same) - panels.first_vector(p)) * panels.lanes * steps;
        p = same;
    }
}

// The tiles of `part` times the panels of `span`, one chunk of K: packed_b holds the panels of the span, `apart` steps of
// each, of which the chunk starts at `done`. Tiles are outside, panels inside: a tile of A stays in the first cache while C
// is walked along its rows, page by page.
template <class T>
void multiply_panels(const Kernels<T>& kernel, Tile<T>& tile, const RowTiles& tiles, const Part& part, const T* packed_a, const Panels& panels,
                     const Part& span, const T* packed_b, long apart, T* c, const T* bias, long done = 0) {
    const long row = tiles.first(part.first);
    for (long t = part.first; t < part.last; ++t) {
        const long i = tiles.first(t);
        tile.a_step = tiles.height(t);
        tile.a = packed_a + (i - row) * tile.k;
        tile.rows = tiles.end(t + 1) - i;
        for (long p = span.first; p < span.last; ++p) {
            const long first = panels.first(p), width = panels.width(p);
            tile.b_step = width * panels.lanes;
            tile.b = packed_b + (panels.first_vector(p) - panels.first_vector(span.first)) * panels.lanes * apart + done * tile.b_step;
            tile.columns = panels.first(p + 1) - first;
            tile.c = c + i * tile.ldc + first;
            tile.bias = bias != nullptr ? bias + first : nullptr;
            kernel.packed[t >= tiles.larges][width](&tile);
        }
    }
}

// Panels whose slice of B a task goes through at once: half a megabyte, to stay in the second cache.
template <class T>
long group_of(const Panels& panels, long steps) {
    const long count = (1 << 19) / (panels.most * panels.lanes * steps * long(sizeof(T)));
    return count < 1 ? 1 : count;
}

// Few rows: every task packs some panels of B into its own second cache and uses them up at once.
template <class T, class RowPacker, class ColumnPacker>
void gemm_flat(long m, long n, long k, const RowPacker& pack_rows, const ColumnPacker& pack_columns, T* c, long ldc,
               const GemmOptions<T>& options) {
    const Kernels<T>& kernel = kernels<T>(n);
    const RowTiles tiles(m, kernel.packed_rows[0], kernel.packed_rows[1]);
    const Panels panels(n, kernel.lanes, kernel.vectors);
    const Part all(tiles.count(), 1, 0);
    const long chunk = chunk_of<T>(k), rows = tiles.first(tiles.count());
    const long together = (24 + panels.most - 1) / panels.most;
    const long tasks = (panels.count + together - 1) / together;
    auto compute = [&](long index) {
        const Part span(panels.count, tasks, index);
        const long first = panels.first(span.first), end = panels.first(span.last);
        const long vectors = panels.first_vector(span.last) - panels.first_vector(span.first);
        const Workspace::Lease block(task_workspace, std::size_t((rows + vectors * panels.lanes) * chunk) * sizeof(T));
        T* const packed_b = block.as<T>();
        T* const packed_a = packed_b + vectors * panels.lanes * chunk;
        Tile<T> tile;
        tile.skip = 0;
        tile.a_row = 1;
        tile.ldc = ldc;
        tile.alpha = options.alpha;
        for (long done = 0; done < k; done += chunk) {
            const long now = k - done < chunk ? k - done : chunk;
            const bool last = done + now == k;
            pack_tiles(pack_rows, tiles, all, packed_a, done, now);
            pack_panels(pack_columns, panels, span.first, span.last, packed_b, 0, done, now);
            tile.k = tile.chunk = now;
            tile.load = options.accumulate || done > 0;
            tile.relu = last && options.relu;
            multiply_panels(kernel, tile, tiles, all, packed_a, panels, span, packed_b, now, c, last ? options.bias : nullptr);
        }
        finish_block(options.epilogue, 0, m, first, end - first);
    };
    parallel_for(tasks, 2.0 * double(m) * double(n) * double(k) * nanoseconds_per_flop, compute);
}

template <class T, class RowPacker, class ColumnPacker>
void gemm_blocked(long m, long n, long k, const RowPacker& pack_rows, const ColumnPacker& pack_columns, T* c, long ldc,
                  const GemmOptions<T>& options) {
    const Kernels<T>& kernel = kernels<T>();
    const long chunk = chunk_of<T>(k);
    const RowTiles tiles(m, kernel.packed_rows[0], kernel.packed_rows[1]);
    const Blocking blocking = Blocking::of<T>(n, k);
    const double nanoseconds = 2.0 * double(m) * double(n) * double(k) * nanoseconds_per_flop;
    const long row_tiles = tiles.count();
    for (long slice = 0; slice < n; slice += blocking.slice_columns) {
        const long columns = n - slice < blocking.slice_columns ? n - slice : blocking.slice_columns;
        const Panels panels(columns, kernel.lanes, kernel.vectors);
        // At least eight tasks where the product has that much in it, so that threads finish together.
        long row_blocks = (m + blocking.block_rows - 1) / blocking.block_rows;
        long column_blocks = 1;
        while (row_blocks * column_blocks < 8) {
            if (row_tiles / row_blocks >= 8) row_blocks *= 2;
            else if (panels.count / column_blocks >= 8) column_blocks *= 2;
            else if (row_tiles / row_blocks >= 4) row_blocks *= 2;
            else break;
        }
        for (long k0 = 0; k0 < k; k0 += blocking.slice_steps) {
            const long steps = k - k0 < blocking.slice_steps ? k - k0 : blocking.slice_steps;
            const bool first_slice = k0 == 0, last_slice = k0 + steps == k;
            const Workspace::Lease packed(shared_workspace, std::size_t(panels.vectors * panels.lanes * steps) * sizeof(T));
            T* const packed_b = packed.as<T>();
            // Several panels together, so that rows of B are read in long runs.
            constexpr long together = 8;
            auto pack_group = [&](long group) {
                const long p = group * together, end = p + together < panels.count ? p + together : panels.count;
                pack_panels(pack_columns, panels, p, end, packed_b + panels.first_vector(p) * panels.lanes * steps, slice, k0, steps);
            };
            auto compute = [&](long index) {
                const Part part(row_tiles, row_blocks, index % row_blocks), span(panels.count, column_blocks, index / row_blocks);
                const long row = tiles.first(part.first), row_end = tiles.end(part.last);
                const Workspace::Lease block(task_workspace, std::size_t((tiles.first(part.last) - row) * chunk) * sizeof(T));
                T* const packed_a = block.as<T>();
                for (long done = 0; done < steps; done += chunk) {
                    const long now = steps - done < chunk ? steps - done : chunk;
                    const bool last = last_slice && done + now == steps;
                    pack_tiles(pack_rows, tiles, part, packed_a, k0 + done, now);
                    Tile<T> tile;
                    tile.a_row = 1;
                    tile.ldc = ldc;
                    tile.skip = 0;
                    tile.k = tile.chunk = now;
                    tile.alpha = options.alpha;
                    tile.load = options.accumulate || !first_slice || done > 0;
                    tile.relu = last && options.relu;
                    const long group = group_of<T>(panels, now);
                    const T* const bias = last && options.bias != nullptr ? options.bias + slice : nullptr;
                    for (long p = span.first; p < span.last; p += group) {
                        Part now_span = span;
                        now_span.first = p;
                        if (p + group < span.last) now_span.last = p + group;
                        // A panel of several chunks holds them one after the other.
                        const T* const at = packed_b + panels.first_vector(p) * panels.lanes * steps;
                        multiply_panels(kernel, tile, tiles, part, packed_a, panels, now_span, at, steps, c + slice, bias, done);
                        if (last) {
                            const long first = panels.first(p), end = panels.first(now_span.last);
                            finish_block(options.epilogue, row, row_end - row, slice + first, end - first);
                        }
                    }
                }
            };
            parallel_for((panels.count + together - 1) / together, nanoseconds, pack_group);
            parallel_for(row_blocks * column_blocks, nanoseconds, compute);
        }
    }
}

}  // namespace gemm_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
