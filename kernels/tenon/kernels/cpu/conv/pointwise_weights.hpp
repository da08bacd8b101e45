// The weights' gradient of kernels of one element from planes: dw [out, in] = the sum of dy [out, pixels] x' over the images. Pixels come
// in blocks: the operand of fewer channels is turned into panels, the other is read where it lies, row by row as the hardware
// looks ahead. Blocks are dealt out to partial results, so many as the shape says, which are added in order.
#pragma once

#include <tenon/kernels/cpu/conv/implicit_gemm.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace conv_impl {

// n images of `channels` planes.
template <class T>
struct PlanesView {
    const T* data;
    long image, pitch, channels;
};

// Pixels of a block, and whether there are enough of them.
inline constexpr long weights_block = 512;
template <class T>
bool has_many_blocks(long n, long pixels, long rows, long columns) {
    const long blocks = n * ((pixels + weights_block - 1) / weights_block);
    return pixels >= 128 && blocks >= 8 && rows >= 12 && columns >= 12 && rows * columns * long(sizeof(T)) <= 2 << 20;
}

// dw[r * row + c * column] (+)= the sum over images and pixels of r's plane times c's; rows.channels >= columns.channels.
template <class T>
void multiply_planes_weights(long n, long pixels, const PlanesView<T>& rows, const PlanesView<T>& columns, T* dw, bool turned, bool accumulate) {
    const Kernels<T>& kernel = gemm_impl::kernels<T>(columns.channels);
    const long m = rows.channels, width = columns.channels, pitch = pitch_of<T>(width);
    const Panels panels(width, kernel.lanes, kernel.vectors);
    const long of_image = (pixels + weights_block - 1) / weights_block, blocks = n * of_image, parts = blocks < 8 ? blocks : 8, apart = m * pitch;
    // Rows of a power of two apart would share lines of the first cache.
    const bool aliased = rows.pitch * long(sizeof(T)) % 2048 == 0;
    constexpr long copy_pitch = weights_block + 16;
    const Workspace::Lease shared(gemm_impl::shared_workspace, std::size_t(parts * apart) * sizeof(T));
    T* const partial = shared.as<T>();
    parallel_for(parts, 2.0 * double(n * pixels) * double(m) * double(width) * gemm_impl::nanoseconds_per_flop, [&](long part) {
        const Part mine(blocks, parts, part);
        const long packed_size = panels.vectors * panels.lanes * weights_block;
        const Workspace::Lease lease(gemm_impl::task_workspace, std::size_t(packed_size + (aliased ? m * copy_pitch : 0)) * sizeof(T));
        T* const packed = lease.as<T>();
        T* const copy = packed + packed_size;
        Tile<T> tile;
        tile.ldc = pitch;
        tile.alpha = 1;
        tile.a_step = 1;
        tile.relu = false;
        tile.bias = nullptr;
        for (long b = mine.first; b < mine.last; ++b) {
            const long image = b / of_image, first = b % of_image * weights_block, now = first + weights_block < pixels ? weights_block : pixels - first;
            gemm_impl::pack_panels(gemm_impl::PackColumns<T>{{columns.data + image * columns.image + first, 1, columns.pitch}, kernel.pack}, panels, 0,
                                   panels.count, packed, 0, 0, now);
            const T* a = rows.data + image * rows.image + first;
            tile.a_row = rows.pitch;
            if (aliased) {
                dispatch<CopyRowsBody<T>>(copy, copy_pitch, a, rows.pitch, m, now);
                a = copy;
                tile.a_row = copy_pitch;
            }
            tile.k = tile.chunk = now;
            tile.load = b > mine.first;
            const long high = kernel.strided[panels.most][0].rows;
            for (long i = 0; i < m; i += high) {
                for (long p = 0; p < panels.count; ++p) {
                    const long column = panels.first(p), vectors = panels.width(p);
                    tile.b_step = vectors * panels.lanes;
                    tile.b = packed + panels.first_vector(p) * panels.lanes * now;
                    // Whole vectors: the rows of the partial results have room for them.
                    tile.columns = tile.b_step;
                    run_rows(kernel, tile, vectors, a, tile.a_row, partial + part * apart + column, i, m - i < high ? m - i : high);
                }
            }
        }
    });
    // The sum of the parts, then where it belongs.
    for (long i = 0; i < m; ++i)
        for (long j = 0; j < width; ++j) {
            T sum = partial[i * pitch + j];
            for (long part = 1; part < parts; ++part) sum += partial[part * apart + i * pitch + j];
            T& to = turned ? dw[j * m + i] : dw[i * width + j];
            to = accumulate ? to + sum : sum;
        }
}

}  // namespace conv_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
