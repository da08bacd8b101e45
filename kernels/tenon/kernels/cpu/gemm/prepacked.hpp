// A product whose right operand is packed once and used many times, as the weights of a recurrent layer are.
//
// It runs on the calling thread: who has many of them shares them out. The bits are those of gemm (tile.hpp).
#pragma once

#include <tenon/kernels/cpu/gemm/direct.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace gemm_impl {

// Elements of B[k, n] in its packed form.
template <class T>
long prepacked_size(long n, long k) {
    const Kernels<T>& kernel = kernels<T>(n);
    return Panels(n, kernel.lanes, kernel.vectors).vectors * kernel.lanes * k;
}
// Panel after panel, each over the whole of K. `packed` is aligned to 64 bytes.
template <class T>
void prepack(long n, long k, MatrixView<T> b, T* packed) {
    const Kernels<T>& kernel = kernels<T>(n);
    const Panels panels(n, kernel.lanes, kernel.vectors);
    const PackColumns<T> pack{b, kernel.pack};
    constexpr long together = 8;
    parallel_for((panels.count + together - 1) / together, 0.3 * double(n) * double(k), [&](long task) {
        const long p = task * together, end = p + together < panels.count ? p + together : panels.count;
        pack_panels(pack, panels, p, end, packed + panels.first_vector(p) * panels.lanes * k, 0, 0, k);
    });
}

// Up to this size B stays in the second cache, and packing rows of A does not pay.
inline constexpr long prepacked_direct = 1 << 20;

// Elements of scratch for products with up to m rows.
template <class T>
long prepacked_scratch(long m, long n, long k) {
    return n * k * long(sizeof(T)) <= prepacked_direct ? 0 : (m + 12) * chunk_of<T>(k);
}
// C[m, n] = A[m, k] B, B as prepack has left it; see GemmOptions.
template <class T>
void gemm_prepacked(long m, long n, long k, MatrixView<T> a, const T* packed, T* c, long ldc, const GemmOptions<T>& options, T* scratch) {
    if (m <= 0 || n <= 0 || k <= 0) return;
    const Kernels<T>& kernel = kernels<T>(n);
    const Panels panels(n, kernel.lanes, kernel.vectors);
    if (n * k * long(sizeof(T)) <= prepacked_direct) {
        const DirectProduct<T> product{kernel, panels, m, k, a, nullptr, 0, packed, 0, c, ldc, options};
        return product.fill(0, m, 0, panels.count);
    }
    const RowTiles tiles(m, kernel.packed_rows[0], kernel.packed_rows[1]);
    const Part all(tiles.count(), 1, 0);
    const PackRows<T> pack_rows{a, kernel.pack};
    const long chunk = chunk_of<T>(k), group = group_of<T>(panels, chunk);
    Tile<T> tile;
    tile.skip = 0;
    tile.a_row = 1;
    tile.ldc = ldc;
    tile.alpha = options.alpha;
    for (long done = 0; done < k; done += chunk) {
        const long now = k - done < chunk ? k - done : chunk;
        const bool last = done + now == k;
        pack_tiles(pack_rows, tiles, all, scratch, done, now);
        tile.k = tile.chunk = now;
        tile.load = options.accumulate || done > 0;
        tile.relu = last && options.relu;
        for (long p = 0; p < panels.count; p += group) {
            Part span(panels.count, 1, 0);
            span.first = p;
            if (p + group < panels.count) span.last = p + group;
            multiply_panels(kernel, tile, tiles, all, scratch, panels, span, packed + panels.first_vector(p) * panels.lanes * k, k, c,
                            last ? options.bias : nullptr, done);
        }
    }
}

}  // namespace gemm_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
