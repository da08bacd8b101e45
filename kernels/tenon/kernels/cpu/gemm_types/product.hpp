// The blocked product of cells: panels of B packed once and shared (or, with few rows, by the task that uses them up),
// tiles of A by each task; finished tiles go through a scratch buffer in the first cache to what makes C of them.
//
// An element of C is summed in an order that K and the type alone fix: K is cut into chunks of one length; a chunk's sum
// starts at zero and takes the steps in order; what becomes of the chunks' sums is the finisher's business, which gets
// them in order.
#pragma once

#include <tenon/base/parallel.hpp>
#include <tenon/kernels/cpu/gemm/panels.hpp>
#include <tenon/kernels/cpu/gemm/types.hpp>
#include <tenon/kernels/cpu/gemm/workspace.hpp>
#include <tenon/kernels/cpu/gemm_types/pack.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace gemm_impl {

// The kernels of one instruction set for one pair of operand types.
template <class Sum>
struct CellKernels {
    using Tile = void (*)(const Cell* a, long a_row, long a_step, const Cell* b, long b_step, long cells, Sum* out);
    using Pack = void (*)(Cell* out, long lanes, long valid, const void* in, long lane_stride, long step, long steps);
    using Spread = void (*)(Cell* out, long ld, long rows, long valid, const void* in, long lane_stride, long step, long steps);
    using SumPanel = void (*)(Cell* sums, const Cell* panel, long lanes, long cells);
    long group;        // elements of a cell
    long chunk;        // most elements of a chunk of K, a multiple of 8
    long lanes, vectors;
    long rows[2];      // of a tile: large and small
    Tile tile[2][4];   // by size, by vectors
    Spread spread_a;   // A packed row by row
    Pack pack_a;       // A packed as B is: where its rows lie side by side
    Pack pack_b;
    SumPanel sum_b = nullptr;
    long shift = 0;    // how much larger than A's values the packed ones are
};
inline constexpr long most_tile_rows = 8, most_tile_columns = 48;

// A[m, k] or B[k, n] for the packer: lane i (a row of A, a column of B), step l.
struct CellOperand {
    const char* data;
    long size, lane_stride, step;
    const void* at(long lane, long l) const { return data + (lane * lane_stride + l * step) * size; }
};

// A piece of C whose chunk is summed: sums[i * ld + j], rows [row, row + rows), columns [column, column + columns).
template <class Sum>
struct CellBlock {
    const Sum* sums;
    long ld;
    long row, rows, column, columns;
    bool first, last;            // chunk of K
    const Cell* column_sums;     // of the block's columns of B; with `last` whole, null where nobody asked
};

template <class Sum>
struct CellProduct {
    const CellKernels<Sum>& kernel;
    long m, n, k;
    CellOperand a, b;
    bool column_sums;
    BlockEpilogue epilogue;

    long chunk() const { return chunk_length(k, kernel.chunk); }
    long cells(long steps) const { return (steps + kernel.group - 1) / kernel.group; }
    bool parallel() const { return 2.0 * double(m) * double(n) * double(k) >= serial_flops; }
    void handed(long row, long rows, long column, long columns) const {
        if (epilogue.run != nullptr && rows > 0 && columns > 0) epilogue.run(epilogue.context, row, rows, column, columns);
    }
    // A row of packed A takes a line more than its cells, so that the rows of a tile do not fall on the same lines of the cache.
    long row_cells(long steps) const { return cells(steps) + 16; }
    // Reading it row by row costs the tiles a little, transposing A costs the packer more: that pays where many columns use it.
    bool rows_apart() const { return a.step == 1 ? m <= 48 || n <= 256 : a.lane_stride != 1; }
    void pack_tiles(const RowTiles& tiles, const Part& part, Cell* packed, long k0, long steps) const {
        const long row = tiles.first(part.first), end = tiles.end(part.last);
        if (rows_apart()) return kernel.spread_a(packed, row_cells(steps), tiles.first(part.last) - row, end - row, a.at(row, k0), a.lane_stride, a.step, steps);
        const long middle = part.last < tiles.larges ? part.last : part.first > tiles.larges ? part.first : tiles.larges;
        const long middle_row = tiles.first(middle);
        if (part.first < middle) kernel.pack_a(packed, tiles.large, tiles.end(middle) - row, a.at(row, k0), a.lane_stride, a.step, steps);
        if (middle < part.last)
            kernel.pack_a(packed + (middle_row - row) * cells(steps), tiles.small, end - middle_row, a.at(middle_row, k0), a.lane_stride, a.step, steps);
    }
    // Panels [p, end) of the columns from `column` on, those of one width in one go.
    void pack_panels(const Panels& panels, long p, long end, Cell* packed, long column, long k0, long steps, Cell* sums) const {
        while (p < end) {
            long same = p + 1;
            while (same < end && panels.width(same) == panels.width(p)) ++same;
            const long first = panels.first(p), lanes = panels.width(p) * panels.lanes;
            kernel.pack_b(packed, lanes, panels.first(same) - first, b.at(column + first, k0), b.lane_stride, b.step, steps);
            for (; p < same; ++p, packed += lanes * cells(steps))
                if (sums != nullptr) kernel.sum_b(sums + panels.first_vector(p) * panels.lanes, packed, lanes, cells(steps));
        }
    }
    // The tiles of `part` times one panel.
    template <class Finish>
    void multiply(const RowTiles& tiles, const Part& part, const Cell* packed_a, const Cell* packed_b, long width, long steps,
                  CellBlock<Sum> block, const Finish& finish) const {
        alignas(64) Sum sums[most_tile_rows * most_tile_columns];
        const long lanes = width * kernel.lanes, row = tiles.first(part.first);
        block.sums = sums;
        block.ld = lanes;
        const bool apart = rows_apart();
        for (long t = part.first; t < part.last; ++t) {
            block.row = tiles.first(t);
            block.rows = tiles.end(t + 1) - block.row;
            kernel.tile[t >= tiles.larges][width](packed_a + (block.row - row) * (apart ? row_cells(steps) : cells(steps)), apart ? row_cells(steps) : 1,
                                                  apart ? 1 : tiles.height(t), packed_b, lanes, cells(steps), sums);
            finish(block);
        }
    }

    // Few rows: every task packs some panels of B into its own second cache and uses them up at once.
    template <class Finish>
    void flat(const Finish& finish) const {
        const RowTiles tiles(m, kernel.rows[0], kernel.rows[1]);
        const Panels panels(n, kernel.lanes, kernel.vectors);
        const Part all(tiles.count(), 1, 0);
        const long step = chunk(), rows = tiles.first(tiles.count());
        const long together = (24 + panels.most - 1) / panels.most, tasks = (panels.count + together - 1) / together;
        auto compute = [&](long index) {
            const Part span(panels.count, tasks, index);
            const long first = panels.first(span.first), end = panels.first(span.last);
            const long width = (panels.first_vector(span.last) - panels.first_vector(span.first)) * panels.lanes;
            const Workspace::Lease lease(task_workspace, std::size_t(rows * row_cells(step) + width * cells(step) + (column_sums ? width : 0)) * sizeof(Cell));
            Cell* const packed_b = lease.as<Cell>();
            Cell* const packed_a = packed_b + width * cells(step);
            Cell* const sums = column_sums ? packed_a + rows * row_cells(step) : nullptr;
            if (column_sums) std::memset(sums, 0, std::size_t(width) * sizeof(Cell));
            for (long done = 0; done < k; done += step) {
                const long now = k - done < step ? k - done : step;
                const long base = panels.first_vector(span.first) * panels.lanes;
                pack_tiles(tiles, all, packed_a, done, now);
                pack_panels(panels, span.first, span.last, packed_b, 0, done, now, column_sums ? sums - base : nullptr);
                for (long p = span.first; p < span.last; ++p) {
                    const long at = panels.first_vector(p) * panels.lanes - base, column = panels.first(p);
                    const CellBlock<Sum> block{nullptr, 0, 0, 0, column, panels.first(p + 1) - column, done == 0, done + now == k,
                                               column_sums ? sums + at : nullptr};
                    multiply(tiles, all, packed_a, packed_b + at * cells(now), panels.width(p), now, block, finish);
                }
            }
            handed(0, m, first, end - first);
        };
        if (parallel()) parallel_for(tasks, compute);
        else
            for (long t = 0; t < tasks; ++t) compute(t);
    }

    template <class Finish>
    void blocked(const Finish& finish) const {
        constexpr long slice_bytes = 6 << 20, block_rows = 144, most_columns = 2016;
        const long step = chunk(), slice_columns = n <= 2048 ? n : most_columns;
        long chunks = slice_bytes / (cells(step) * long(sizeof(Cell)) * slice_columns);
        if (chunks < 1) chunks = 1;
        const long slice_steps = chunks * step < k ? chunks * step : k;
        const RowTiles tiles(m, kernel.rows[0], kernel.rows[1]);
        const long row_tiles = tiles.count();
        for (long slice = 0; slice < n; slice += slice_columns) {
            const long columns = n - slice < slice_columns ? n - slice : slice_columns;
            const Panels panels(columns, kernel.lanes, kernel.vectors);
            // At least eight tasks where the product has that much in it, so that threads finish together.
            long row_blocks = (m + block_rows - 1) / block_rows, column_blocks = 1;
            while (row_blocks * column_blocks < 8) {
                if (row_tiles / row_blocks >= 8) row_blocks *= 2;
                else if (panels.count / column_blocks >= 8) column_blocks *= 2;
                else if (row_tiles / row_blocks >= 4) row_blocks *= 2;
                else break;
            }
            const long width = panels.vectors * panels.lanes, packed_cells = width * cells(step) * ((slice_steps + step - 1) / step);
            const Workspace::Lease lease(shared_workspace, std::size_t(packed_cells + (column_sums ? width : 0)) * sizeof(Cell));
            Cell* const packed_b = lease.as<Cell>();
            Cell* const sums = column_sums ? packed_b + packed_cells : nullptr;
            if (column_sums) std::memset(sums, 0, std::size_t(width) * sizeof(Cell));
            for (long k0 = 0; k0 < k; k0 += slice_steps) {
                const long steps = k - k0 < slice_steps ? k - k0 : slice_steps;
                // Several panels together, so that rows of B are read in long runs.
                constexpr long together = 8;
                auto pack_group = [&](long group) {
                    const long p = group * together, end = p + together < panels.count ? p + together : panels.count;
                    for (long done = 0; done < steps; done += step) {
                        const long now = steps - done < step ? steps - done : step;
                        pack_panels(panels, p, end, packed_b + width * cells(done) + panels.first_vector(p) * panels.lanes * cells(now), slice, k0 + done,
                                    now, sums);
                    }
                };
                auto compute = [&](long index) {
                    const Part part(row_tiles, row_blocks, index % row_blocks), span(panels.count, column_blocks, index / row_blocks);
                    const long row = tiles.first(part.first), row_end = tiles.end(part.last);
                    const Workspace::Lease task(task_workspace, std::size_t((tiles.first(part.last) - row) * row_cells(step)) * sizeof(Cell));
                    Cell* const packed_a = task.as<Cell>();
                    for (long done = 0; done < steps; done += step) {
                        const long now = steps - done < step ? steps - done : step;
                        pack_tiles(tiles, part, packed_a, k0 + done, now);
                        const bool last = k0 + done + now == k;
                        long open = panels.first(span.first);
                        for (long p = span.first; p < span.last; ++p) {
                            const long first = panels.first(p), end = panels.first(p + 1), at = panels.first_vector(p) * panels.lanes;
                            const CellBlock<Sum> block{nullptr, 0, 0, 0, slice + first, end - first, k0 + done == 0, last, column_sums ? sums + at : nullptr};
                            multiply(tiles, part, packed_a, packed_b + width * cells(done) + at * cells(now), panels.width(p), now, block, finish);
                            if (last && (p + 1 == span.last || (end - open) * (row_end - row) * long(sizeof(Sum)) >= 1 << 17)) {
                                handed(row, row_end - row, slice + open, end - open);
                                open = end;
                            }
                        }
                    }
                };
                if (parallel()) {
                    parallel_for((panels.count + together - 1) / together, pack_group);
                    parallel_for(row_blocks * column_blocks, compute);
                } else {
                    for (long g = 0; g * together < panels.count; ++g) pack_group(g);
                    for (long t = 0; t < row_blocks * column_blocks; ++t) compute(t);
                }
            }
        }
    }

    template <class Finish>
    void run(const Finish& finish) const {
        if (m <= 48 || double(m) * double(n) * double(k) <= 64.0 * 64 * 64) flat(finish);
        else blocked(finish);
    }
};

// Memory of the calling thread for `each` values a row: the sums of several chunks where C itself cannot hold them. A large
// C is done in parts of some rows: run(first row, rows, memory, epilogue) for each.
inline constinit thread_local Workspace partial_workspace;

template <class Kept, class Run>
void in_parts(long m, long each, const BlockEpilogue& epilogue, const Run& run) {
    if (each == 0) return run(0L, m, static_cast<Kept*>(nullptr), epilogue);
    constexpr long most_bytes = 16 << 20;
    long rows = most_bytes / (each * long(sizeof(Kept))) / 144 * 144;
    if (rows < 144) rows = 144;
    const Workspace::Lease lease(partial_workspace, std::size_t((m < rows ? m : rows) * each) * sizeof(Kept));
    struct Shifted {
        const BlockEpilogue* epilogue;
        long rows;
    } shifted{&epilogue, 0};
    BlockEpilogue mine;
    if (epilogue.run != nullptr)
        mine = {[](void* context, long row, long count, long column, long columns) {
                    const Shifted& to = *static_cast<const Shifted*>(context);
                    to.epilogue->run(to.epilogue->context, to.rows + row, count, column, columns);
                },
                &shifted};
    for (; shifted.rows < m; shifted.rows += rows)
        run(shifted.rows, m - shifted.rows < rows ? m - shifted.rows : rows, lease.as<Kept>(), mine);
}

// x, rounded here: through memory, or the compiler could contract it with an addition on one path only.
template <class V>
TENON_ALWAYS_INLINE void rounded(V& x) {
    auto v = x.v;
    asm("" : "+m"(v));
    x.v = v;
}

#define TENON_CELL_TILE(RUN, DOT, MR, NV, L) &RUN<CellTileBody<DOT, MR, NV, L>, const Cell*, long, long, const Cell*, long, long, DOT::Sum*>
#define TENON_CELL_TILES_3(RUN, DOT, L)                                                                                           \
    {{nullptr, TENON_CELL_TILE(RUN, DOT, 8, 1, L), TENON_CELL_TILE(RUN, DOT, 8, 2, L), TENON_CELL_TILE(RUN, DOT, 8, 3, L)},       \
     {nullptr, TENON_CELL_TILE(RUN, DOT, 4, 1, L), TENON_CELL_TILE(RUN, DOT, 4, 2, L), TENON_CELL_TILE(RUN, DOT, 4, 3, L)}}
#define TENON_CELL_TILES_2(RUN, DOT, L)                                                                  \
    {{nullptr, TENON_CELL_TILE(RUN, DOT, 6, 1, L), TENON_CELL_TILE(RUN, DOT, 6, 2, L), nullptr},         \
     {nullptr, TENON_CELL_TILE(RUN, DOT, 4, 1, L), TENON_CELL_TILE(RUN, DOT, 4, 2, L), nullptr}}
#define TENON_CELL_PACK(RUN, READER) &tenon::impl::RUN<PackCells<READER>, Cell*, long, long, const void*, long, long, long>
#define TENON_CELL_SPREAD(RUN, READER) &tenon::impl::RUN<SpreadCells<READER>, Cell*, long, long, long, const void*, long, long, long>
// The three packers: of A row by row, of A and of B in panels.
#define TENON_CELL_PACKERS(RUN, A, B) TENON_CELL_SPREAD(RUN, A), TENON_CELL_PACK(RUN, A), TENON_CELL_PACK(RUN, B)
#define TENON_CELL_SUM(RUN, DOT, L, UNIT) &RUN<SumCells<DOT, L, UNIT>, Cell*, const Cell*, long, long>

}  // namespace gemm_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
