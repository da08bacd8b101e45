// A pass as a matrix product: results [pixels, channels] = patches [pixels, taps * channels] x weights. Tasks take pixels (and,
// where those are few, result channels); each packs the patches of a block of pixels, one chunk of the sums at a time, into
// its second cache. Images that are not channels-last are copied to and from that form block by block.
//
// K, in the sense of gemm/tile.hpp, is (tap, source channel): the bits of a result depend on its own sum alone, neither on
// threads nor on layouts, and on the batch only in that few pixels in all go another way (few_pixels.hpp).
#pragma once

#include <tenon/kernels/cpu/conv/patches.hpp>
#include <tenon/kernels/cpu/conv/weights.hpp>
#include <tenon/kernels/cpu/gemm/direct.hpp>

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

// Rows [0, rows) of a tile's columns, by the kernels that waste least.
template <class T>
TENON_ALWAYS_INLINE void run_rows(const Kernels<T>& kernel, Tile<T>& tile, long width, const T* a, long a_row, T* c, long first, long rows) {
    while (rows > 0) {
        const auto& choice = gemm_impl::pick_rows(kernel, width, rows, first);
        tile.skip = choice.rows > rows ? choice.rows - rows : 0;
        tile.rows = choice.rows;
        first -= tile.skip;
        tile.a = a + first * a_row;
        tile.c = c + first * tile.ldc;
        choice.run(&tile);
        first += choice.rows;
        rows -= choice.rows - tile.skip;
    }
}

// The end of what pixel p reads, counted through all images.
template <class T>
const T* last_read(const Pass& pass, const Source<T>& source, long p) {
    const long pixels = pass.pixels(), row = pass.axis[2].grid, plane = pass.axis[1].grid * row;
    const long q[3] = {p % pixels / plane, p % plane / row, p % row};
    const T* at = source.data + p / pixels * source.n + pass.channels;
    for (int i = 0; i < 3; ++i) {
        const PassAxis& a = pass.axis[i];
        const long last = q[i] * a.in_step + a.offset + (a.taps - 1) * a.offset_step;
        at += (last < 0 ? 0 : last < a.in ? last : a.in - 1) * source.axis[i];
    }
    return at;
}

// Sums of nothing.
template <class T>
void run_empty(const PassJob<T>& job) {
    const ImageRows<T> to(job.ys, job.pass);
    const long pixels = job.pass.pixels();
    for (long p = 0; p < job.pass.n * pixels; ++p) {
        const long at[3] = {p % pixels / (to.grid[1] * to.grid[2]), p % pixels / to.grid[2] % to.grid[1], p % to.grid[2]};
        T* const y = job.y + to.offset(p / pixels, at);
        for (long c = 0; c < job.pass.results; ++c) {
            T value = job.accumulate ? y[c * job.ys.channel] : T(0);
            if (job.bias != nullptr) value += job.bias[c];
            if (job.relu && value < 0) value = 0;
            y[c * job.ys.channel] = value;
        }
    }
}

template <class T>
void run_pass(const PassJob<T>& job) {
    const Pass& pass = job.pass;
    const long pixels = pass.pixels(), total = pass.n * pixels, n = pass.results, k = pass.steps();
    if (total == 0 || n == 0) return;
    if (k == 0) return run_empty(job);
    const Kernels<T>& kernel = gemm_impl::kernels<T>(n);
    const Panels panels(n, kernel.lanes, kernel.vectors);
    const double flops = 2.0 * double(total) * double(n) * double(k), nanoseconds = flops * gemm_impl::nanoseconds_per_flop;

    // The longest chunk of patches is a quarter of a megabyte.
    const long chunk = chunk_of<T>(k), pitch = pitch_of<T>(chunk);
    long block = (1 << 18) / (pitch * long(sizeof(T))) / 24 * 24;
    block = block < 96 ? 96 : block > 960 ? 960 : block;

    // Where the results lie: rows of a matrix, or scratch of theirs.
    long ldc = 0;
    const long grid[3] = {pass.axis[0].grid, pass.axis[1].grid, pass.axis[2].grid};
    const bool in_place_y = job.ys.channel == 1 && pass.dense() && even_pixels(job.ys, pass.n, grid, ldc);
    const bool in_place_x = job.xs.channel == 1 || pass.channels == 1;
    // Patches of one tap, at a step of one, are the images themselves.
    const long in[3] = {pass.axis[0].in, pass.axis[1].in, pass.axis[2].in};
    long x_pitch = 0;
    const bool no_patches = in_place_x && pass.is_identity() && even_pixels(job.xs, pass.n, in, x_pitch);

    // Tasks: the pixels of a block, or what a copy of the source wants to be: several rows, so that few are copied twice.
    long span = block;
    if (!in_place_x) {
        int axis = 0;
        while (axis < 2 && pass.axis[axis].grid == 1) ++axis;
        long unit = 1, values = pass.channels;
        for (int i = axis + 1; i < 3; ++i) unit *= pass.axis[i].grid, values *= pass.axis[i].in;
        const PassAxis& a = pass.axis[axis];
        const long halo = (a.taps - 1) * a.offset_step + 1 - a.in_step;
        long units = (1 << 19) / (values * a.in_step * long(sizeof(T)));
        if (units < 3 * halo / a.in_step) units = 3 * halo / a.in_step;
        if (units < 1) units = 1;
        if (units >= a.grid) span = pixels * (block / pixels > 1 ? block / pixels : 1);
        else span = unit * units;
    }
    if (span > total) span = total;
    const long spans = (total + span - 1) / span;
    long column_blocks = 1;
    while (spans * column_blocks < 8 && panels.count / column_blocks >= 2) column_blocks *= 2;

    const Workspace::Lease packed(gemm_impl::shared_workspace, std::size_t(panels.vectors * panels.lanes * k) * sizeof(T));
    T* const packed_b = packed.as<T>();
    parallel_for(panels.count, double(n * k) * 1.0, [&](long p) {
        const long lanes = panels.width(p) * panels.lanes;
        const Workspace::Lease scratch(gemm_impl::task_workspace, std::size_t(job.weights.kernel * panel_channels(job.weights.kernel) * lanes) * sizeof(T));
        const PanelJob<T> panel{&pass, job.weights, packed_b + panels.first_vector(p) * panels.lanes * k, scratch.as<T>(), lanes,
                                panels.first(p), panels.first(p + 1) - panels.first(p)};
        dispatch<PanelBody<T>>(&panel);
    });

    auto compute = [&](long index) {
        const long begin = index / column_blocks * span, end = begin + span < total ? begin + span : total;
        const Part columns(panels.count, column_blocks, index % column_blocks);
        const long column = panels.first(columns.first), width = panels.first(columns.last) - column;
        const Slab<T> slab = Slab<T>::of(pass, begin, end - begin);
        const long rows = end - begin < block ? end - begin : block, c_pitch = pitch_of<T>(width);
        const long copy_size = in_place_x ? 0 : (slab.copy_size(pass) + 15) / 16 * 16, patch_size = no_patches ? 0 : rows * pitch;
        const Workspace::Lease lease(gemm_impl::task_workspace,
                                     std::size_t(copy_size + patch_size + (in_place_y ? 0 : rows * c_pitch)) * sizeof(T) + 64);
        T* const patches = lease.as<T>() + copy_size;
        T* const scratch_c = patches + patch_size;
        const Source<T> source = in_place_x ? Source<T>{job.x, job.xs.n, {job.xs.axis[0], job.xs.axis[1], job.xs.axis[2]}}
                                            : slab.copy(pass, job.x, job.xs, lease.as<T>());
        const ImageRows<T> to(job.ys, pass);
        T* const y = job.y + column * job.ys.channel;
        for (long p = begin; p < end; p += block) {
            const long count = end - p < block ? end - p : block;
            T* const c = in_place_y ? y + p * ldc : scratch_c;
            Tile<T> tile;
            tile.ldc = in_place_y ? ldc : c_pitch;
            tile.alpha = 1;
            tile.a_step = 1;
            if (!in_place_y && job.accumulate) to.take(y, c, c_pitch, width, p, count);
            // What the next block's patches read beyond this one's comes into the second cache while this one is multiplied.
            Ahead next;
            if (in_place_x && !no_patches && p + count < total) {
                const long after = p + 2 * count < total ? p + 2 * count : total;
                const T *const from = last_read(pass, source, p + count - 1), *const until = last_read(pass, source, after - 1);
                const long high = kernel.strided[panels.most][0].rows, steps = (k + chunk - 1) / chunk * ((count + high - 1) / high) * (columns.last - columns.first);
                if (until > from && until - from <= (1 << 20) / long(sizeof(T))) next = Ahead(from, 0, until - from, 1, steps);
            }
            for (long done = 0; done < k; done += chunk) {
                const long now = k - done < chunk ? k - done : chunk;
                const bool last = done + now == k;
                const T* a = patches;
                if (no_patches) {
                    a = job.x + p * x_pitch + done;
                    tile.a_row = x_pitch;
                } else {
                    pack_patches(PatchJob<T>{&pass, source, patches, pitch, p, count, done, now});
                    tile.a_row = pitch;
                }
                tile.k = tile.chunk = now;
                tile.load = job.accumulate || done > 0;
                tile.relu = last && job.relu;
                const long group = gemm_impl::group_of<T>(panels, now);
                for (long g = columns.first; g < columns.last; g += group) {
                    const long g_end = g + group < columns.last ? g + group : columns.last;
                    const long high = kernel.strided[panels.width(g)][0].rows;
                    for (long i = 0; i < count; i += high)
                        for (long q = g; q < g_end; ++q) {
                            const long first = panels.first(q), vectors = panels.width(q);
                            next.step();
                            tile.b_step = vectors * panels.lanes;
                            tile.b = packed_b + panels.first_vector(q) * panels.lanes * k + done * tile.b_step;
                            tile.columns = panels.first(q + 1) - first;
                            tile.bias = last && job.bias != nullptr ? job.bias + first : nullptr;
                            run_rows(kernel, tile, vectors, a, tile.a_row, c + (first - column), i, count - i < high ? count - i : high);
                        }
                }
            }
            if (!in_place_y) to.put(y, scratch_c, c_pitch, width, p, count);
        }
    };
    parallel_for(spans * column_blocks, nanoseconds, compute);
}

}  // namespace conv_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
