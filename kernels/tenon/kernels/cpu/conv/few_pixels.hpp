// A pass over so few pixels that its weights are the bigger operand, each used for a handful of tiles: the patches of all pixels
// are packed once, and a task packs one panel of the weights into its second cache and uses it up there, so that the
// weights are read once and written nowhere else.
#pragma once

#include <tenon/kernels/cpu/conv/patches.hpp>
#include <tenon/kernels/cpu/conv/weights.hpp>
#include <tenon/kernels/cpu/gemm/blocked.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace conv_impl {

using gemm_impl::chunk_of;
using gemm_impl::Kernels;
using gemm_impl::Panels;
using gemm_impl::Part;
using gemm_impl::Tile;
using gemm_impl::Workspace;

// The tiles of packed patches stay in the second cache beside a panel.
template <class T>
bool has_few_pixels(const Pass& pass) {
    const long total = pass.n * pass.pixels();
    return total <= 144 && 4 * total <= pass.results * 3 && total * pass.steps() * long(sizeof(T)) <= 4 << 20;
}

template <class T>
void run_few_pixels(const PassJob<T>& job) {
    const Pass& pass = job.pass;
    const long total = pass.n * pass.pixels(), n = pass.results, k = pass.steps();
    const Kernels<T>& kernel = gemm_impl::kernels<T>(n);
    const Panels panels(n, kernel.lanes, kernel.vectors);
    const gemm_impl::RowTiles tiles(total, kernel.packed_rows[0], kernel.packed_rows[1]);
    const Part all(tiles.count(), 1, 0);
    const long chunk = chunk_of<T>(k), chunks = (k + chunk - 1) / chunk, pitch = pitch_of<T>(chunk), rows = tiles.first(tiles.count());

    // The tiles of one chunk of the sums after the other.
    const bool in_place_x = job.xs.channel == 1 || pass.channels == 1;
    const Slab<T> slab = Slab<T>::of(pass, 0, total);
    const long copy_size = in_place_x ? 0 : (slab.copy_size(pass) + 15) / 16 * 16;
    const Workspace::Lease shared(gemm_impl::shared_workspace, std::size_t(copy_size + rows * k) * sizeof(T) + 64);
    T* const packed_a = shared.as<T>() + copy_size;
    const Source<T> source = in_place_x ? Source<T>{job.x, job.xs.n, {job.xs.axis[0], job.xs.axis[1], job.xs.axis[2]}}
                                        : slab.copy(pass, job.x, job.xs, shared.as<T>());
    parallel_for(chunks, 2.0 * double(rows * k), [&](long index) {
        const long done = index * chunk, now = k - done < chunk ? k - done : chunk;
        const Workspace::Lease lease(gemm_impl::task_workspace, std::size_t(total * pitch) * sizeof(T));
        pack_patches(PatchJob<T>{&pass, source, lease.as<T>(), pitch, 0, total, done, now});
        gemm_impl::pack_tiles(gemm_impl::PackRows<T>{{lease.as<T>(), pitch, 1}, kernel.pack}, tiles, all, packed_a + rows * done, 0, now);
    });

    long ldc = 0;
    const long grid[3] = {pass.axis[0].grid, pass.axis[1].grid, pass.axis[2].grid};
    const bool in_place_y = job.ys.channel == 1 && pass.dense() && even_pixels(job.ys, pass.n, grid, ldc);
    const ImageRows<T> to(job.ys, pass);
    parallel_for(panels.count, 2.0 * double(total) * double(n) * double(k) * gemm_impl::nanoseconds_per_flop, [&](long p) {
        const long lanes = panels.width(p) * panels.lanes, first = panels.first(p), columns = panels.first(p + 1) - first, c_pitch = pitch_of<T>(lanes);
        const long packing = job.weights.kernel * panel_channels(job.weights.kernel) * lanes;
        const Workspace::Lease lease(gemm_impl::task_workspace, std::size_t(k * lanes + packing + (in_place_y ? 0 : total * c_pitch)) * sizeof(T));
        T* const packed_b = lease.as<T>();
        T* const scratch_c = packed_b + k * lanes + packing;
        T* const y = job.y + first * job.ys.channel;
        const PanelJob<T> panel{&pass, job.weights, packed_b, packed_b + k * lanes, lanes, first, columns};
        dispatch<PanelBody<T>>(&panel);
        if (!in_place_y && job.accumulate) to.take(y, scratch_c, c_pitch, columns, 0, total);
        Tile<T> tile;
        tile.a_row = 1;
        tile.ldc = in_place_y ? ldc : c_pitch;
        tile.skip = 0;
        tile.alpha = 1;
        tile.b_step = lanes;
        tile.columns = columns;
        for (long done = 0; done < k; done += chunk) {
            const long now = k - done < chunk ? k - done : chunk;
            const bool last = done + now == k;
            tile.k = tile.chunk = now;
            tile.load = job.accumulate || done > 0;
            tile.relu = last && job.relu;
            tile.bias = last && job.bias != nullptr ? job.bias + first : nullptr;
            tile.b = packed_b + done * lanes;
            for (long t = 0; t < tiles.count(); ++t) {
                const long i = tiles.first(t);
                tile.a = packed_a + rows * done + i * now;
                tile.a_step = tiles.height(t);
                tile.rows = tiles.end(t + 1) - i;
                tile.c = (in_place_y ? y : scratch_c) + i * tile.ldc;
                kernel.packed[t >= tiles.larges][panels.width(p)](&tile);
            }
        }
        if (!in_place_y) to.put(y, scratch_c, c_pitch, columns, 0, total);
    });
}

}  // namespace conv_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
