// The convolution by transformed tiles: V = B^T d B, M[xi] = V[xi] U[xi] for the (m + 2)^2 positions xi, y = A^T M A.
//
// A task takes a block of tiles, transforms them once, and goes through the output channels in groups: the products of a
// group and the transform of its sums stay in the second cache. U streams by, transformed once per call.
#pragma once

#include <tenon/base/parallel.hpp>
#include <tenon/kernels/cpu/conv/winograd_image.hpp>
#include <tenon/kernels/cpu/conv/winograd_weight.hpp>
#include <tenon/kernels/cpu/gemm/direct.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace winograd_impl {

using gemm_impl::Kernels;
using gemm_impl::Panels;
using gemm_impl::Part;
using gemm_impl::Tile;
using gemm_impl::Workspace;

// y[image, k] = sum over c and taps of x[image, c] * w, `top` and `left` zeros before the first row and column.
template <class T>
struct Convolution {
    long images;
    Image<const T> x;
    Image<T> y;
    long top, left;
    Weights<T> w;
    ConvEpilogue<T> epilogue;
};

// All rows of a product whose A lies anywhere: the tiles that `tile` describes, over `rows` rows.
template <class T>
TENON_ALWAYS_INLINE void multiply_rows(const Kernels<T>& kernel, Tile<T>& tile, long width, long rows) {
    const T* const a = tile.a;
    T* const c = tile.c;
    for (long i = 0; i < rows;) {
        const auto& choice = gemm_impl::pick_rows(kernel, width, rows - i, tile.load ? 0 : i);
        tile.skip = choice.rows > rows - i ? choice.rows - (rows - i) : 0;
        tile.rows = choice.rows;
        tile.a = a + (i - tile.skip) * tile.a_row;
        tile.c = c + (i - tile.skip) * tile.ldc;
        choice.run(&tile);
        i += choice.rows - tile.skip;
    }
    tile.a = a;
    tile.c = c;
}

template <class T, int M>
void convolve(const Convolution<T>& problem) {
    constexpr long I = M + 2, positions = I * I;
    const Kernels<T>& kernel = gemm_impl::kernels<T>();
    const long channels = problem.x.channels, lanes = kernel.lanes;
    const Panels panels(problem.y.channels, lanes, kernel.vectors);
    const Grid grid{(problem.y.height + M - 1) / M, (problem.y.width + M - 1) / M};
    const long tiles = problem.images * grid.rows * grid.columns;

    const long panel_columns = panels.most * lanes;
    auto u_stride = [&](long p) { return odd_lines<T>(channels * panels.width(p) * lanes); };
    const long panel_stride = positions * odd_lines<T>(channels * panel_columns);
    const long tile_stride = odd_lines<T>((channels + lanes - 1) / lanes * lanes);

    // V, the sums of a group and the panels of U that pass by share the second cache. Fewer tiles than 36 read U too often, and a few
    // more than half a megabyte of V cost more than they save; small problems are cut finer, so that threads have something to share.
    constexpr long unit = 12, bytes = 1 << 19;
    long block = bytes / (positions * tile_stride * long(sizeof(T))) / unit * unit;
    block = block > 48 ? 48 : block < 36 ? 36 : block;
    while (block > 2 * unit && (tiles + block - 1) / block < 8) block -= unit;
    const long blocks = (tiles + block - 1) / block;
    // Output channels of a group: long runs of channels for images stored channels last, fewer open pages for planes.
    const long wanted = (problem.y.channel_stride == 1 ? 256 : 128) / long(sizeof(T));
    const long group = (wanted + panel_columns - 1) / panel_columns, groups = (panels.count + group - 1) / group;
    // With few tiles two tasks transform the same ones and share the output channels.
    const long apart = blocks >= 8 || groups < 2 ? 1 : 2;
    const long v_stride = odd_lines<T>(block * tile_stride), group_columns = group * panel_columns,
               m_stride = odd_lines<T>(block * group_columns);

    const Workspace::Lease shared(gemm_impl::shared_workspace, std::size_t(panels.count * panel_stride) * sizeof(T));
    T* const u = shared.as<T>();
    constexpr long together = 4 * weight_block;
    const long parts = (channels + together - 1) / together;
    parallel_for(panels.count * parts, 0.3 * double(positions * channels * panels.columns), [&](long index) {
        const long p = index / parts, first = index % parts * together;
        const long column = panels.first(p);
        Weights<T> w = problem.w;
        w.data += column * w.out_stride;
        const WeightJob<T> job{w,
                               first,
                               first + together < channels ? first + together : channels,
                               panels.width(p) * lanes,
                               panels.first(p + 1) - column,
                               u + p * panel_stride,
                               u_stride(p),
                               kernel.pack};
        dispatch<WeightBody<T, M>>(&job);
    });

    const double flops = 2.0 * double(positions) * double(tiles) * double(channels) * double(panels.columns);
    parallel_for(blocks * apart, flops * gemm_impl::nanoseconds_per_flop, [&](long index) {
        const Part part(tiles, blocks, index / apart);
        const Part mine(groups, apart, index % apart);
        const long count = part.last - part.first;
        const Workspace::Lease task(gemm_impl::task_workspace, std::size_t(positions * (v_stride + m_stride)) * sizeof(T));
        T* const v = task.as<T>();
        T* const m = v + positions * v_stride;
        const DataJob<T> data{problem.x, problem.top, problem.left, grid, part.first, part.last, v, v_stride, tile_stride};
        dispatch<DataBody<T, M, false>>(&data);
        Tile<T> tile;
        tile.a_row = tile_stride;
        tile.a_step = 1;
        tile.ldc = group_columns;
        tile.k = channels;
        tile.chunk = gemm_impl::chunk_of<T>(channels);
        tile.bias = nullptr;
        tile.alpha = T(1);
        tile.load = tile.relu = false;
        for (long g = mine.first; g < mine.last; ++g) {
            const long first = g * group, last = first + group < panels.count ? first + group : panels.count;
            const long column = panels.first(first);
            for (long xi = 0; xi < positions; ++xi) {
                for (long p = first; p < last; ++p) {
                    const long width = panels.width(p);
                    tile.a = v + xi * v_stride;
                    tile.b = u + p * panel_stride + xi * u_stride(p);
                    tile.b_step = tile.columns = width * lanes;
                    tile.c = m + xi * m_stride + (panels.first(p) - column);
                    multiply_rows(kernel, tile, width, count);
                }
            }
            const OutputJob<T> output{
                problem.y, grid, part.first, part.last, m, m_stride, group_columns, column, panels.first(last) - column, problem.epilogue};
            dispatch<OutputBody<T, M>>(&output);
        }
    });
}

}  // namespace winograd_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
