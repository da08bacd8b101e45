// The direct product, for C too small, too narrow or too flat to pay for packing A: tiles read A where it lies and B
// too when its rows are contiguous (a ragged last panel is packed). K is not cut into slices, so that long rows of A
// are read as one stream.
#pragma once

#include <tenon/kernels/cpu/gemm/blocked.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace gemm_impl {

// The strided kernel for the next `rows` rows of a tile, of which it may take fewer, or more when there are `before`
// rows above them to compute again: one larger kernel beats several small ones.
template <class T>
TENON_ALWAYS_INLINE const typename Kernels<T>::Strided& pick_rows(const Kernels<T>& kernel, long width, long rows, long before) {
    const auto* choice = kernel.strided[width];
    if (rows >= choice->rows) {
        // Sixteen rows are 8 + 8 rather than 12 + 4, and twenty are 10 + 10.
        if (rows > choice->rows && rows <= 2 * choice[1].rows)
            while (2 * choice[1].rows >= rows) ++choice;
        return *choice;
    }
    while (choice[1].rows >= rows) ++choice;
    if (choice->rows == rows || (choice->rows <= rows + before && choice->rows * 2 <= rows * 3)) return *choice;
    while (choice->rows > rows) ++choice;
    return *choice;
}

template <class T>
struct DirectProduct {
    const Kernels<T>& kernel;
    const Panels panels;
    long m, k;
    MatrixView<T> a;
    const T* b;            // rows of B where it lies, or null when all is packed
    long b_step;
    const T* packed_b;     // of panels from packed_from on
    long packed_from;
    T* c;
    long ldc;
    const GemmOptions<T>& options;

    // Rows [row, row_end) of panels [p0, p1).
    void fill(long row, long row_end, long p0, long p1) const {
        Tile<T> tile;
        tile.a_row = a.row_stride;
        tile.a_step = a.column_stride;
        tile.ldc = ldc;
        tile.k = k;
        tile.chunk = chunk_of<T>(k);
        tile.alpha = options.alpha;
        tile.load = options.accumulate;
        tile.relu = options.relu;
        long from = 0;
        auto aim = [&](long p) {
            const long first = panels.first(p);
            tile.columns = panels.first(p + 1) - first;
            if (p >= packed_from) {
                tile.b = packed_b + (panels.first_vector(p) - panels.first_vector(packed_from)) * panels.lanes * k;
                tile.b_step = panels.width(p) * panels.lanes;
            } else {
                tile.b = b + first;
                tile.b_step = b_step;
            }
            tile.b += from * tile.b_step;
            tile.bias = options.bias != nullptr && from + tile.k == k ? options.bias + first : nullptr;
            tile.c = c + first;
        };
        auto run = [&](long p, long i, long rows) {
            const long width = panels.width(p);
            T* const top = tile.c;
            while (rows > 0) {
                const auto& choice = pick_rows(kernel, width, rows, i);
                tile.skip = choice.rows > rows ? choice.rows - rows : 0;
                tile.rows = choice.rows;
                i -= tile.skip;
                tile.a = a.data + i * a.row_stride + from * a.column_stride;
                tile.c = top + i * ldc;
                choice.run(&tile);
                i += choice.rows;
                rows -= choice.rows - tile.skip;
            }
            tile.c = top;
        };
        if (row_end - row > panels.columns && p1 - p0 > 1) {
            // Where K has several chunks, the panel of one stays in the first cache for some tiles.
            const long tile_rows = kernel.strided[panels.width(p0)][0].rows, group = k > tile.chunk ? 8 * tile_rows : tile_rows;
            for (long i = row; i < row_end; i += group) {
                for (from = 0; from < k; from += tile.chunk) {
                    tile.k = k - from < tile.chunk ? k - from : tile.chunk;
                    tile.load = options.accumulate || from > 0;
                    tile.relu = options.relu && from + tile.k == k;
                    for (long p = p0; p < p1; ++p) {
                        aim(p);
                        run(p, i, row_end - i < group ? row_end - i : group);
                    }
                }
            }
        } else {
            for (long p = p0; p < p1; ++p) {
                aim(p);
                run(p, row, row_end - row);
            }
        }
        finish_block(options.epilogue, row, row_end - row, panels.first(p0), panels.first(p1) - panels.first(p0));
    }
};

template <class T>
void gemm_direct(long m, long n, long k, MatrixView<T> a, MatrixView<T> b, T* c, long ldc, const GemmOptions<T>& options) {
    const Kernels<T>& kernel = kernels<T>(n);
    const Panels panels(n, kernel.lanes, kernel.vectors);
    const bool in_place = b.column_stride == 1 || n == 1;
    // Rows a multiple of a power of two apart share few lines of the first cache: with many rows of A to use it, a packed
    // panel is cheaper there, and where every row starts a new page. Panels wider than a line live in the second cache anyway.
    const long apart = b.row_stride * long(sizeof(T)), power = apart & -apart, lines = 512 / (power <= 64 ? 1 : power < 4096 ? power / 64 : 64);
    const bool far = m >= 64 && kernel.lanes * long(sizeof(T)) <= 32 && (2 * k > lines || (apart > 1024 && m >= 192));
    const long packed_from = !in_place || far ? 0 : n % kernel.lanes != 0 ? panels.count - 1 : panels.count;
    const long packed = (panels.vectors - panels.first_vector(packed_from)) * panels.lanes * k;
    // Small packed panels live on the stack.
    constexpr long on_stack = 4096 / long(sizeof(T));
    alignas(64) T small[on_stack];
    auto go = [&](T* packed_b) {
        const double flops = 2.0 * double(m) * double(n) * double(k);
        auto pack_panel = [&](long index) {
            const long p = packed_from + index, first = panels.first(p);
            kernel.pack(packed_b + (panels.first_vector(p) - panels.first_vector(packed_from)) * panels.lanes * k,
                        panels.width(p) * panels.lanes, panels.first(p + 1) - first, b.data + first * b.column_stride,
                        b.column_stride, b.row_stride, k);
        };
        parallel_for(panels.count - packed_from, 0.3 * double(packed), pack_panel);
        const DirectProduct<T> product{kernel, panels, m, k, a, b.data, b.row_stride, packed_b, packed_from, c, ldc, options};
        if (flops < serial_flops) return product.fill(0, m, 0, panels.count);
        long tasks = flops >= 16 * serial_flops ? 32 : long(2 * flops / serial_flops);
        if (m >= n) {
            const long unit = kernel.strided[panels.width(0)][0].rows, tiles = (m + unit - 1) / unit;
            if (tasks > tiles) tasks = tiles;
            parallel_for(tasks, [&](long t) {
                const Part part(tiles, tasks, t);
                product.fill(part.first * unit, part.last * unit < m ? part.last * unit : m, 0, panels.count);
            });
        } else {
            if (tasks > panels.count) tasks = panels.count;
            parallel_for(tasks, [&](long t) {
                const Part part(panels.count, tasks, t);
                product.fill(0, m, part.first, part.last);
            });
        }
    };
    if (packed <= on_stack) return go(small);
    const Workspace::Lease lease(shared_workspace, std::size_t(packed) * sizeof(T));
    go(lease.as<T>());
}

}  // namespace gemm_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
