// The blocked product: B is packed once and shared, every task packs its own rows of A and fills its own block of C.
//
// A slice of B (all columns that fit, some chunks of K) stays in the last-level cache; a block of A in the second; one
// panel of B, or one tile of A, in the first. Blocks come from the shape alone.
#pragma once

#include <tenon/base/parallel.hpp>
#include <tenon/kernels/cpu/gemm/packers.hpp>
#include <tenon/kernels/cpu/gemm/panels.hpp>
#include <tenon/kernels/cpu/gemm/workspace.hpp>

namespace tenon::kernels::cpu {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

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
    static Blocking of(long n, long k, long packed_rows) {
        constexpr long bytes = 6 << 20;
        Blocking blocking;
        const long chunk = chunk_of<T>(k);
        blocking.slice_columns = n <= 2048 ? n : 2016;
        long chunks = bytes / (chunk * long(sizeof(T)) * blocking.slice_columns);
        if (chunks < 1) chunks = 1;
        blocking.slice_steps = chunks * chunk < k ? chunks * chunk : k;
        blocking.block_rows = 144 / packed_rows * packed_rows;
        return blocking;
    }
};

template <class T, class RowPacker, class ColumnPacker>
void gemm_blocked(long m, long n, long k, const RowPacker& pack_rows, const ColumnPacker& pack_columns, T* c, long ldc,
                  const GemmOptions<T>& options) {
    const Kernels<T>& kernel = kernels<T>();
    const long chunk = chunk_of<T>(k), tile_rows = kernel.packed_rows;
    const Blocking blocking = Blocking::of<T>(n, k, tile_rows);
    const bool parallel = 2.0 * double(m) * double(n) * double(k) >= serial_flops;
    const long row_tiles = (m + tile_rows - 1) / tile_rows;
    for (long slice = 0; slice < n; slice += blocking.slice_columns) {
        const long columns = n - slice < blocking.slice_columns ? n - slice : blocking.slice_columns;
        const Panels panels(columns, kernel.lanes, kernel.vectors);
        // At least eight tasks where the product has that much in it, so that threads finish together.
        long row_blocks = (row_tiles * tile_rows + blocking.block_rows - 1) / blocking.block_rows;
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
            auto pack_panel = [&](long p) {
                const long first = panels.first(p), lanes = panels.width(p) * panels.lanes;
                pack_columns(packed_b + panels.first_vector(p) * panels.lanes * steps, lanes, slice + first,
                             panels.first(p + 1) - first, k0, steps);
            };
            auto compute = [&](long index) {
                const Part tiles(row_tiles, row_blocks, index % row_blocks), span(panels.count, column_blocks, index / row_blocks);
                const long row = tiles.first * tile_rows;
                const long row_end = tiles.last * tile_rows < m ? tiles.last * tile_rows : m;
                const Workspace::Lease block(task_workspace, std::size_t((tiles.last - tiles.first) * tile_rows * chunk) * sizeof(T));
                T* const packed_a = block.as<T>();
                for (long done = 0; done < steps; done += chunk) {
                    const long now = steps - done < chunk ? steps - done : chunk;
                    const bool last = last_slice && done + now == steps;
                    for (long i = row; i < row_end; i += tile_rows)
                        pack_rows(packed_a + (i - row) * now, tile_rows, i, row_end - i < tile_rows ? row_end - i : tile_rows, k0 + done, now);
                    Tile<T> tile;
                    tile.a_row = 1;
                    tile.a_step = tile_rows;
                    tile.ldc = ldc;
                    tile.k = tile.chunk = now;
                    tile.alpha = options.alpha;
                    tile.load = options.accumulate || !first_slice || done > 0;
                    tile.relu = last && options.relu;
                    long handed = panels.first(span.first);
                    for (long p = span.first; p < span.last; ++p) {
                        const long first = panels.first(p), end = panels.first(p + 1), width = panels.width(p);
                        const auto run = kernel.packed[width];
                        tile.b_step = width * panels.lanes;
                        tile.b = packed_b + panels.first_vector(p) * panels.lanes * steps + done * tile.b_step;
                        tile.columns = end - first;
                        tile.bias = last && options.bias != nullptr ? options.bias + slice + first : nullptr;
                        for (long i = row; i < row_end; i += tile_rows) {
                            tile.a = packed_a + (i - row) * now;
                            tile.c = c + i * ldc + slice + first;
                            tile.rows = row_end - i < tile_rows ? row_end - i : tile_rows;
                            run(&tile);
                        }
                        if (last && (p + 1 == span.last || (end - handed) * (row_end - row) * long(sizeof(T)) >= 1 << 17)) {
                            finish_block(options.epilogue, row, row_end - row, slice + handed, end - handed);
                            handed = end;
                        }
                    }
                }
            };
            if (parallel) {
                parallel_for(panels.count, pack_panel);
                parallel_for(row_blocks * column_blocks, compute);
            } else {
                for (long p = 0; p < panels.count; ++p) pack_panel(p);
                for (long t = 0; t < row_blocks * column_blocks; ++t) compute(t);
            }
        }
    }
}

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon::kernels::cpu
