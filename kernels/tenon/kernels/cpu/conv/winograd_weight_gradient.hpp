// The gradient of the kernels by transformed tiles: dw = G^T [sum over tiles of (B^T d B) * (A dY A^T)] G.
//
// Tiles come in blocks: all threads transform a block, then the (m + 2)^2 products [c_in x tiles] [tiles x c_out] of it are
// dealt out and added to what the blocks before have left. So an element is summed in an order that the shape alone decides.
#pragma once

#include <tenon/kernels/cpu/conv/winograd_convolve.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace winograd_impl {

// dw[k, c, 3, 3] from the input x and the output's gradient dy, `top` and `left` zeros before x's first row and column.
template <class T>
struct WeightGradient {
    long images;
    Image<const T> x, dy;
    long top, left;
    T* dw;
    bool accumulate;
};

template <class T, int M>
void weight_gradient(const WeightGradient<T>& problem) {
    constexpr long I = M + 2, positions = I * I;
    const Kernels<T>& kernel = gemm_impl::kernels<T>();
    const long channels = problem.x.channels, out_channels = problem.dy.channels, lanes = kernel.lanes;
    const Panels panels(out_channels, lanes, kernel.vectors);
    const Grid grid{(problem.dy.height + M - 1) / M, (problem.dy.width + M - 1) / M};
    const long tiles = problem.images * grid.rows * grid.columns;

    const long v_tile = odd_lines<T>((channels + lanes - 1) / lanes * lanes), z_tile = odd_lines<T>(panels.vectors * lanes);
    constexpr long bytes = 2 << 20;
    long block = bytes / (positions * (v_tile + z_tile) * long(sizeof(T))) / 16 * 16;
    if (block > 256) block = 256;
    if (block < 96) block = 96;
    const long blocks = (tiles + block - 1) / block;
    const long v_stride = odd_lines<T>(block * v_tile), z_stride = odd_lines<T>(block * z_tile), sum_row = panels.vectors * lanes,
               sum_stride = odd_lines<T>(channels * sum_row);

    const Workspace::Lease shared(gemm_impl::shared_workspace, std::size_t(positions * (v_stride + z_stride + sum_stride)) * sizeof(T));
    T* const v = shared.as<T>();
    T* const z = v + positions * v_stride;
    T* const sums = z + positions * z_stride;
    // Channels beyond the last are multiplied along in the last vector: they must be numbers.
    if (out_channels < sum_row)
        for (long xi = 0; xi < positions; ++xi)
            for (long t = 0; t < block; ++t)
                for (long k = out_channels; k < sum_row; ++k) z[xi * z_stride + t * z_tile + k] = T(0);

    for (long b = 0; b < blocks; ++b) {
        const Part part(tiles, blocks, b);
        const long count = part.last - part.first;
        // Some tiles of x or of dy.
        constexpr long together = Run::most;
        const long parts = (count + together - 1) / together;
        const double flops = 2.0 * double(positions) * double(count) * double(channels) * double(out_channels);
        parallel_for(2 * parts, 2.0 * double(positions) * double(count * (channels + out_channels)) * 0.05, [&](long index) {
            const Part some(count, parts, index / 2);
            const long first = part.first + some.first, last = part.first + some.last;
            if (index % 2 == 0) {
                const DataJob<T> job{problem.x, problem.top, problem.left, grid, first, last, v + some.first * v_tile, v_stride, v_tile};
                dispatch<DataBody<T, M, false>>(&job);
            } else {
                const DataJob<T> job{problem.dy, 0, 0, grid, first, last, z + some.first * z_tile, z_stride, z_tile};
                dispatch<DataBody<T, M, true>>(&job);
            }
        });
        parallel_for(positions, flops * gemm_impl::nanoseconds_per_flop, [&](long xi) {
            Tile<T> tile;
            tile.a_row = 1;
            tile.a_step = v_tile;
            tile.b_step = z_tile;
            tile.ldc = sum_row;
            tile.k = tile.chunk = count;
            tile.bias = nullptr;
            tile.alpha = T(1);
            tile.load = b > 0;
            tile.relu = false;
            tile.a = v + xi * v_stride;
            for (long p = 0; p < panels.count; ++p) {
                const long column = panels.first(p), width = panels.width(p);
                tile.b = z + xi * z_stride + column;
                tile.columns = width * lanes;
                tile.c = sums + xi * sum_stride + column;
                multiply_rows(kernel, tile, width, channels);
            }
        });
    }
    const long parts = (channels + weight_block - 1) / weight_block;
    parallel_for(parts, double(positions * channels * out_channels) * 0.2, [&](long index) {
        const long first = index * weight_block, last = first + weight_block < channels ? first + weight_block : channels;
        const WeightGradientJob<T> job{sums, sum_stride, sum_row, first, last, channels, out_channels, problem.dw, problem.accumulate};
        dispatch<WeightGradientBody<T, M>>(&job);
    });
}

}  // namespace winograd_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
