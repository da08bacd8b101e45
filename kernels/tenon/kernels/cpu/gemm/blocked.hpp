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

template <class T, class RowPacker, class ColumnPacker>
void gemm_blocked(long m, long n, long k, const RowPacker& pack_rows, const ColumnPacker& pack_columns, T* c, long ldc,
                  const GemmOptions<T>& options) {
    const Kernels<T>& kernel = kernels<T>();
    const long chunk = chunk_of<T>(k);
    const RowTiles tiles(m, kernel.packed_rows[0], kernel.packed_rows[1]);
    const Blocking blocking = Blocking::of<T>(n, k);
    const bool parallel = 2.0 * double(m) * double(n) * double(k) >= serial_flops;
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
                long p = group * together;
                const long end = p + together < panels.count ? p + together : panels.count;
                while (p < end) {
                    long same = p + 1;
                    while (same < end && panels.width(same) == panels.width(p)) ++same;
                    const long first = panels.first(p);
                    pack_columns(packed_b + panels.first_vector(p) * panels.lanes * steps, panels.width(p) * panels.lanes,
                                 slice + first, panels.first(same) - first, k0, steps);
                    p = same;
                }
            };
            auto compute = [&](long index) {
                const Part part(row_tiles, row_blocks, index % row_blocks), span(panels.count, column_blocks, index / row_blocks);
                const long row = tiles.first(part.first), row_end = tiles.end(part.last);
                const Workspace::Lease block(task_workspace, std::size_t((tiles.first(part.last) - row) * chunk) * sizeof(T));
                T* const packed_a = block.as<T>();
                for (long done = 0; done < steps; done += chunk) {
                    const long now = steps - done < chunk ? steps - done : chunk;
                    const bool last = last_slice && done + now == steps;
                    const long middle = part.last < tiles.larges ? part.last : part.first > tiles.larges ? part.first : tiles.larges;
                    if (part.first < middle)
                        pack_rows(packed_a, tiles.large, row, tiles.end(middle) - row, k0 + done, now);
                    if (middle < part.last)
                        pack_rows(packed_a + (tiles.first(middle) - row) * now, tiles.small, tiles.first(middle),
                                  row_end - tiles.first(middle), k0 + done, now);
                    Tile<T> tile;
                    tile.a_row = 1;
                    tile.ldc = ldc;
                    tile.skip = 0;
                    tile.k = tile.chunk = now;
                    tile.alpha = options.alpha;
                    tile.load = options.accumulate || !first_slice || done > 0;
                    tile.relu = last && options.relu;
                    long handed = panels.first(span.first);
                    for (long p = span.first; p < span.last; ++p) {
                        const long first = panels.first(p), end = panels.first(p + 1), width = panels.width(p);
                        tile.b_step = width * panels.lanes;
                        tile.b = packed_b + panels.first_vector(p) * panels.lanes * steps + done * tile.b_step;
                        tile.columns = end - first;
                        tile.bias = last && options.bias != nullptr ? options.bias + slice + first : nullptr;
                        for (long t = part.first; t < part.last; ++t) {
                            const long i = tiles.first(t);
                            tile.a_step = tiles.height(t);
                            tile.a = packed_a + (i - row) * now;
                            tile.c = c + i * ldc + slice + first;
                            tile.rows = tiles.end(t + 1) - i;
                            kernel.packed[t >= tiles.larges][width](&tile);
                        }
                        if (last && (p + 1 == span.last || (end - handed) * (row_end - row) * long(sizeof(T)) >= 1 << 17)) {
                            finish_block(options.epilogue, row, row_end - row, slice + handed, end - handed);
                            handed = end;
                        }
                    }
                }
            };
            if (parallel) {
                parallel_for((panels.count + together - 1) / together, pack_group);
                parallel_for(row_blocks * column_blocks, compute);
            } else {
                for (long g = 0; g * together < panels.count; ++g) pack_group(g);
                for (long t = 0; t < row_blocks * column_blocks; ++t) compute(t);
            }
        }
    }
}

}  // namespace gemm_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
