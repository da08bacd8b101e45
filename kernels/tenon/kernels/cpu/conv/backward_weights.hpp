// The weight's gradient: dw [c_out, taps * channels] = (dy [pixels, c_out])' x patches. The pixels are dealt out to a number
// of partial results that depends on the shape alone, and those are added in order.
#pragma once

#include <tenon/kernels/cpu/conv/implicit_gemm.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace conv_impl {

template <class T>
struct WeightsJob {
    Pass pass;  // forward
    const T* x;
    ImageStrides<3> xs;
    const T* dy;
    ImageStrides<3> dys;
    T* dw;      // [results, channels, kernel]
    bool accumulate;
};

// to[c * taps + t] (+)= the sum of from[part * apart + t * channels + c] over the parts.
template <class T>
struct AddPartsBody {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(T* to, const T* from, T* row, long parts, long apart, long taps, long channels, bool add) {
        constexpr int L = int(Lanes * 4 / sizeof(T));
        using V = typename vector_of<T, L>::type;
        using U = typename vector_of<T, L>::unaligned;
        const long k = taps * channels;
        // The rows of parts are padded to whole vectors.
        for (long i = 0; i < k; i += L) {
            V sum = *reinterpret_cast<const U*>(from + i);
            for (long s = 1; s < parts; ++s) sum = sum + *reinterpret_cast<const U*>(from + s * apart + i);
            *reinterpret_cast<U*>(row + i) = sum;
        }
        if (add) {
            for (long c = 0; c < channels; ++c)
                for (long t = 0; t < taps; ++t) to[c * taps + t] += row[t * channels + c];
        } else {
            TransposeBody<T>::template run<Lanes>(to, taps, row, channels, taps, channels);
        }
    }
};

// Where the gradient has more rows than there are pixels, ordering the patches as it is costs less than ordering it afterwards.
template <class T>
bool has_few_pixels(const WeightsJob<T>& job) {
    const long total = job.pass.n * job.pass.pixels();
    return total > 0 && total <= job.pass.results && chunk_of<T>(total) == total && total * job.pass.steps() * long(sizeof(T)) <= 4 << 20;
}

template <class T>
void run_weights_of_few_pixels(const WeightsJob<T>& job) {
    const Pass& pass = job.pass;
    const long total = pass.n * pass.pixels(), m = pass.results, k = pass.steps(), taps = pass.taps(), pitch = pitch_of<T>(k), m_pitch = pitch_of<T>(m);
    const Kernels<T>& kernel = gemm_impl::kernels<T>(k);
    const Panels panels(k, kernel.lanes, kernel.vectors);
    const gemm_impl::RowTiles tiles(m, kernel.packed_rows[0], kernel.packed_rows[1]);
    const bool in_place_x = job.xs.channel == 1 || pass.channels == 1;
    const long grid[3] = {pass.axis[0].grid, pass.axis[1].grid, pass.axis[2].grid};
    MatrixView<T> dy{job.dy, job.dys.channel, 0};
    const bool in_place_dy = even_pixels(job.dys, pass.n, grid, dy.column_stride);
    const Slab<T> slab = Slab<T>::of(pass, 0, total);
    const long copy_size = in_place_x ? 0 : (slab.copy_size(pass) + 15) / 16 * 16, dy_size = in_place_dy ? 0 : total * m_pitch;
    const long ordered_size = taps == 1 ? 0 : total * pitch;
    const Workspace::Lease shared(gemm_impl::shared_workspace,
                                  std::size_t(copy_size + dy_size + total * pitch + ordered_size + panels.vectors * panels.lanes * total) * sizeof(T) + 64);
    T* const rows_dy = shared.as<T>() + copy_size;
    T* const patches = rows_dy + dy_size;
    T* const ordered = taps == 1 ? patches : patches + total * pitch;
    T* const packed_b = ordered + total * pitch;
    const Source<T> source = in_place_x ? Source<T>{job.x, job.xs.n, {job.xs.axis[0], job.xs.axis[1], job.xs.axis[2]}}
                                        : slab.copy(pass, job.x, job.xs, shared.as<T>());
    if (!in_place_dy) {
        ImageRows<T>(job.dys, pass).take(job.dy, rows_dy, m_pitch, m, 0, total);
        dy = {rows_dy, 1, m_pitch};
    }
    const long pieces = total < 8 ? total : 8;
    parallel_for(pieces, double(total * k), [&](long index) {
        const Part mine(total, pieces, index);
        pack_patches(PatchJob<T>{&pass, source, patches + mine.first * pitch, pitch, mine.first, mine.last - mine.first, 0, k});
        for (long p = mine.first; taps > 1 && p < mine.last; ++p) transpose(ordered + p * pitch, taps, patches + p * pitch, pass.channels, taps, pass.channels);
    });
    const gemm_impl::PackColumns<T> pack_columns{{ordered, pitch, 1}, kernel.pack};
    const long groups = panels.count < 8 ? panels.count : 8;
    parallel_for(groups, 0.5 * double(total * k), [&](long index) {
        const Part mine(panels.count, groups, index);
        gemm_impl::pack_panels(pack_columns, panels, mine.first, mine.last, packed_b + panels.first_vector(mine.first) * panels.lanes * total, 0, 0, total);
    });
    const long blocks = tiles.count() < 16 ? tiles.count() : 16;
    parallel_for(blocks, 2.0 * double(total) * double(m) * double(k) * gemm_impl::nanoseconds_per_flop, [&](long index) {
        const Part mine(tiles.count(), blocks, index);
        const Workspace::Lease lease(gemm_impl::task_workspace, std::size_t((tiles.first(mine.last) - tiles.first(mine.first)) * total) * sizeof(T));
        gemm_impl::pack_tiles(gemm_impl::PackRows<T>{dy, kernel.pack}, tiles, mine, lease.as<T>(), 0, total);
        Tile<T> tile;
        tile.a_row = 1;
        tile.ldc = k;
        tile.skip = 0;
        tile.alpha = 1;
        tile.k = tile.chunk = total;
        tile.load = job.accumulate;
        tile.relu = false;
        const long group = gemm_impl::group_of<T>(panels, total);
        for (long p = 0; p < panels.count; p += group) {
            Part span(panels.count, 1, 0);
            span.first = p;
            if (p + group < panels.count) span.last = p + group;
            gemm_impl::multiply_panels(kernel, tile, tiles, mine, lease.as<T>(), panels, span, packed_b + panels.first_vector(p) * panels.lanes * total,
                                       total, job.dw, static_cast<const T*>(nullptr));
        }
    });
}

template <class T>
void run_weights(const WeightsJob<T>& job) {
    if (has_few_pixels(job)) return run_weights_of_few_pixels(job);
    const Pass& pass = job.pass;
    const long pixels = pass.pixels(), total = pass.n * pixels, m = pass.results, k = pass.steps(), taps = pass.taps();
    const double nanoseconds = 2.0 * double(total) * double(m) * double(k) * gemm_impl::nanoseconds_per_flop;
    const Kernels<T>& kernel = gemm_impl::kernels<T>(k);
    const bool in_place_x = job.xs.channel == 1 || pass.channels == 1;
    const long grid[3] = {pass.axis[0].grid, pass.axis[1].grid, pass.axis[2].grid};
    long dy_pitch = 0, x_pitch = 0;
    const bool in_place_dy = (job.dys.channel == 1 || m == 1) && even_pixels(job.dys, pass.n, grid, dy_pitch);
    // Patches of one tap at a step of one are the images themselves. They are copied all the same, as rows of a power of two apart
    // would share lines of the first cache (measured: 0.92 of the speed where they lie).
    const bool images = in_place_x && pass.is_identity() && even_pixels(job.xs, pass.n, grid, x_pitch);

    // Columns of the patches that a task packs at once, and rows of them: half a megabyte.
    constexpr long most_columns = 1024 * 4 / long(sizeof(T));
    const long column_blocks = (k + most_columns - 1) / most_columns;
    const long block_columns = ((k + column_blocks - 1) / column_blocks + 15) / 16 * 16, pitch = pitch_of<T>(block_columns);
    long block = (1 << 19) / (pitch * long(sizeof(T)));
    block = block > 256 ? 256 : block < 96 ? 96 : block;
    long span = block;
    if (!in_place_x) {
        int axis = 0;
        while (axis < 2 && pass.axis[axis].grid == 1) ++axis;
        long unit = 1;
        for (int i = axis + 1; i < 3; ++i) unit *= pass.axis[i].grid;
        const PassAxis& a = pass.axis[axis];
        const long halo = (a.taps - 1) * a.offset_step + 1 - a.in_step;
        long units = (block + unit - 1) / unit;
        if (units < 3 * halo / a.in_step) units = 3 * halo / a.in_step;
        if (units >= a.grid) span = pixels * (block / pixels > 1 ? block / pixels : 1);
        else span = unit * units;
    }
    if (span > total) span = total;
    const long spans = total == 0 ? 0 : (total + span - 1) / span;

    // The height of tiles that wastes fewest rows.
    long height = 0, waste = 0;
    for (const auto* choice = kernel.strided[2];; ++choice) {
        const long more = (m + choice->rows - 1) / choice->rows * choice->rows - m;
        if (choice->rows % 2 == 0 && (height == 0 || more * 20 + m < waste * 20)) height = choice->rows, waste = more;
        if (choice->rows == 1) break;
    }
    // Eight partial results where the pixels are many, and together no more than 32 MB.
    const long row = (k + 15) / 16 * 16 + 16, apart = m * row;
    long parts = 8 / column_blocks;
    while (parts > 1 && parts * apart * long(sizeof(T)) > 32 << 20) parts /= 2;
    if (parts > spans) parts = spans;
    if (parts < 1) parts = 1;
    const Workspace::Lease shared(gemm_impl::shared_workspace, std::size_t(parts * apart + row) * sizeof(T));
    T* const partial = shared.as<T>();

    auto compute = [&](long index) {
        const long part = index / column_blocks, k0 = index % column_blocks * block_columns;
        const long columns = k - k0 < block_columns ? k - k0 : block_columns;
        const Panels panels(columns, kernel.lanes, kernel.vectors);
        const Part mine(spans, parts, part);
        T* const c = partial + part * apart + k0;
        long copy_size = 0;
        if (!in_place_x)
            for (long s = mine.first; s < mine.last; ++s) {
                const long begin = s * span, count = (begin + span < total ? begin + span : total) - begin;
                const long size = (Slab<T>::of(pass, begin, count).copy_size(pass) + 15) / 16 * 16;
                if (size > copy_size) copy_size = size;
            }
        const long m_pitch = pitch_of<T>(m), packed_size = (m + height - 1) / height * height * block;
        const Workspace::Lease lease(gemm_impl::task_workspace,
                                     std::size_t(copy_size + block * pitch + packed_size + (in_place_dy ? 0 : block * m_pitch)) * sizeof(T) + 64);
        T* const patches = lease.as<T>() + copy_size;
        T* const packed_dy = patches + block * pitch;
        T* const scratch_dy = packed_dy + packed_size;
        const ImageRows<T> from(job.dys, pass);
        // What no patch fills is multiplied too, into columns that nobody reads.
        for (long r = 0; r < block; ++r)
            for (long j = columns; j < pitch; ++j) patches[r * pitch + j] = T(0);
        bool first_block = true;
        for (long s = mine.first; s < mine.last; ++s) {
            const long begin = s * span, end = begin + span < total ? begin + span : total;
            const Source<T> source = in_place_x ? Source<T>{job.x, job.xs.n, {job.xs.axis[0], job.xs.axis[1], job.xs.axis[2]}}
                                                : Slab<T>::of(pass, begin, end - begin).copy(pass, job.x, job.xs, lease.as<T>());
            for (long p = begin; p < end; p += block) {
                const long count = end - p < block ? end - p : block;
                pack_patches(PatchJob<T>{&pass, source, patches, pitch, p, count, k0, columns});
                // The images' next rows come into the second cache while these are multiplied.
                Ahead next;
                const long rest = (mine.last * span < total ? mine.last * span : total) - p - count;
                if (images) next = Ahead(job.x + (p + count) * x_pitch + k0, x_pitch, columns, rest < block ? rest : block, panels.count * ((m + height - 1) / height));
                const T* a = job.dy + p * dy_pitch;
                long a_step = dy_pitch;
                if (!in_place_dy) {
                    from.take(job.dy, scratch_dy, m_pitch, m, p, count);
                    a = scratch_dy;
                    a_step = m_pitch;
                }
                kernel.pack(packed_dy, height, m, a, 1, a_step, count);
                Tile<T> tile;
                tile.skip = 0;
                tile.ldc = row;
                tile.alpha = 1;
                tile.a_row = 1;
                tile.a_step = height;
                tile.k = tile.chunk = count;
                tile.load = !first_block;
                tile.relu = false;
                tile.bias = nullptr;
                tile.b_step = pitch;
                for (long q = 0; q < panels.count; ++q) {
                    const long first = panels.first(q), width = panels.width(q);
                    const auto* choice = kernel.strided[width];
                    while (choice->rows > height) ++choice;
                    tile.b = patches + first;
                    // Whole vectors: the rows of the partial results have room for them.
                    tile.columns = width * panels.lanes;
                    for (long i = 0; i < m; i += height) {
                        next.step();
                        for (long r = 0; r < height && i + r < m; r += choice->rows) {
                            tile.a = packed_dy + i * count + r;
                            tile.c = c + first + (i + r) * row;
                            tile.rows = m - i - r < choice->rows ? m - i - r : choice->rows;
                            choice->run(&tile);
                        }
                    }
                }
                first_block = false;
            }
        }
        if (first_block)
            for (long i = 0; i < m; ++i)
                for (long j = 0; j < columns; ++j) c[i * row + j] = T(0);
    };
    parallel_for(parts * column_blocks, nanoseconds, compute);
    const long rows = m < 16 ? m : 16;
    parallel_for(rows, double(parts * m * k) * 0.5, [&](long index) {
        const Part mine(m, rows, index);
        const Workspace::Lease lease(gemm_impl::task_workspace, std::size_t(row) * sizeof(T));
        for (long o = mine.first; o < mine.last; ++o)
            dispatch<AddPartsBody<T>>(job.dw + o * k, partial + o * row, lease.as<T>(), parts, apart, taps, pass.channels, job.accumulate);
    });
}

}  // namespace conv_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
