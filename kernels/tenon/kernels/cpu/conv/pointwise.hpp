// Kernels of one element at a stride of one: images are matrices as they lie, [channels, pixels] or [pixels, channels], and all
// three products are plain matrix products.
#pragma once

#include <tenon/kernels/cpu/conv/layout.hpp>
#include <tenon/kernels/cpu/gemm.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace conv_impl {

inline bool is_pointwise(const ConvShape<3>& s) {
    for (int i = 0; i < 3; ++i)
        if (s.kernel[i] != 1 || s.stride[i] != 1 || s.padding_begin[i] != 0 || s.out[i] != s.in[i]) return false;
    return true;
}
// Both images are [channels, pixels] with neighbouring pixels, or both [pixels, channels] through the whole batch.
enum class MatrixForm { none, planes, pixels };
inline MatrixForm matrix_form(const ConvShape<3>& s, const ImageStrides<3>& a, const ImageStrides<3>& b, long& a_pitch, long& b_pitch) {
    if (a.channel == 1 && b.channel == 1 && even_pixels(a, s.n, s.in, a_pitch) && even_pixels(b, s.n, s.in, b_pitch)) return MatrixForm::pixels;
    if (even_pixels(a, 1, s.in, a_pitch) && even_pixels(b, 1, s.in, b_pitch) && a_pitch == 1 && b_pitch == 1) return MatrixForm::planes;
    return MatrixForm::none;
}

// Large planes and few results: what a product packs of x is used so little that it should not leave the second cache, and takes
// so long to arrive that the next piece has to be asked for while one is multiplied.
template <class T>
bool has_large_planes(long from, long to, long pixels) {
    return to > 48 && to <= 128 && pixels >= 4096 && from * to * long(sizeof(T)) <= 1 << 19 && gemm_impl::kernels<T>().lanes * long(sizeof(T)) >= 32;
}

// y [to, pixels] = w x [from, pixels] and what the options say but for bias, alpha and epilogue.
template <class T>
void multiply_planes(long from, long to, long pixels, const T* x, long x_pitch, MatrixView<T> w, T* y, long y_pitch, const GemmOptions<T>& options) {
    using namespace gemm_impl;
    const Kernels<T>& kernel = kernels<T>(pixels);
    const RowTiles tiles(to, kernel.packed_rows[0], kernel.packed_rows[1]);
    const Panels panels(pixels, kernel.lanes, kernel.vectors);
    const Part all(tiles.count(), 1, 0);
    const long chunk = chunk_of<T>(from), rows = tiles.first(tiles.count());
    const Workspace::Lease shared(shared_workspace, std::size_t(rows * from) * sizeof(T));
    T* const packed_w = shared.as<T>();
    for (long done = 0; done < from; done += chunk)
        pack_tiles(PackRows<T>{w, kernel.pack}, tiles, all, packed_w + rows * done, done, from - done < chunk ? from - done : chunk);
    // Panels that are packed together: three eighths of a megabyte.
    const long panel_bytes = chunk * panels.most * panels.lanes * long(sizeof(T)), together = panel_bytes > 3 << 16 ? 2 : (3 << 17) / panel_bytes;
    const long groups = (panels.count + together - 1) / together, tasks = groups < 32 ? groups : 32;
    parallel_for(tasks, 2.0 * double(from) * double(to) * double(pixels) * nanoseconds_per_flop, [&](long index) {
        const Part mine(groups, tasks, index);
        const Workspace::Lease lease(task_workspace, std::size_t(together * panel_bytes));
        T* const packed_x = lease.as<T>();
        Tile<T> tile;
        tile.a_row = 1;
        tile.ldc = y_pitch;
        tile.skip = 0;
        tile.alpha = 1;
        tile.bias = nullptr;
        for (long g = mine.first; g < mine.last; ++g) {
            const long p_begin = g * together, p_end = p_begin + together < panels.count ? p_begin + together : panels.count;
            const long column = panels.first(p_begin), columns = panels.first(p_end) - column, steps = tiles.count() * (p_end - p_begin);
            for (long done = 0; done < from; done += chunk) {
                const long now = from - done < chunk ? from - done : chunk;
                const bool last = done + now == from;
                pack_panels(PackColumns<T>{{x, x_pitch, 1}, kernel.pack}, panels, p_begin, p_end, packed_x, 0, done, now);
                Ahead next;
                if (!last) next = Ahead(x + (done + now) * x_pitch + column, x_pitch, columns, from - done - now < chunk ? from - done - now : chunk, steps);
                else if (g + 1 < mine.last) next = Ahead(x + column + columns, x_pitch, columns, chunk, steps);
                tile.k = tile.chunk = now;
                tile.load = options.accumulate || done > 0;
                tile.relu = last && options.relu;
                for (long t = 0; t < tiles.count(); ++t) {
                    const long i = tiles.first(t);
                    tile.a_step = tiles.height(t);
                    tile.a = packed_w + rows * done + i * now;
                    tile.rows = tiles.end(t + 1) - i;
                    for (long p = p_begin; p < p_end; ++p) {
                        const long first = panels.first(p), width = panels.width(p);
                        next.step();
                        tile.b_step = width * panels.lanes;
                        tile.b = packed_x + (panels.first_vector(p) - panels.first_vector(p_begin)) * panels.lanes * now;
                        tile.columns = panels.first(p + 1) - first;
                        tile.c = y + i * y_pitch + first;
                        kernel.packed[t >= tiles.larges][width](&tile);
                    }
                }
            }
        }
    });
}

// y [to, pixels] = w [to, from] x [from, pixels], w by its strides; false where the images do not lie so.
template <class T>
bool run_pointwise(const ConvShape<3>& s, long from, long to, const T* x, const ImageStrides<3>& xs, MatrixView<T> w, T* y, const ImageStrides<3>& ys,
                   const T* bias, bool relu, bool accumulate) {
    long x_pitch = 0, y_pitch = 0;
    const MatrixForm form = matrix_form(s, xs, ys, x_pitch, y_pitch);
    const long pixels = s.in_size();
    GemmOptions<T> options;
    options.relu = relu;
    options.accumulate = accumulate;
    if (form == MatrixForm::pixels) {
        options.bias = bias;
        gemm<T>(s.n * pixels, to, from, MatrixView<T>{x, x_pitch, 1}, MatrixView<T>{w.data, w.column_stride, w.row_stride}, y, y_pitch, options);
        return true;
    }
    if (form != MatrixForm::planes) return false;
    if (bias != nullptr) {
        // A product adds one number to each of its columns; these are rows.
        parallel_for(s.n * to, 0.1 * double(s.n * to * pixels), [&](long i) {
            T* const row = y + i / to * ys.n + i % to * ys.channel;
            const T value = bias[i % to];
            if (accumulate)
                for (long p = 0; p < pixels; ++p) row[p] += value;
            else
                for (long p = 0; p < pixels; ++p) row[p] = value;
        });
        options.accumulate = true;
    }
    if (has_large_planes<T>(from, to, pixels)) {
        for (long b = 0; b < s.n; ++b) multiply_planes(from, to, pixels, x + b * xs.n, xs.channel, w, y + b * ys.n, ys.channel, options);
        return true;
    }
    gemm_batched<T>(s.n, to, pixels, from, w, 0, MatrixView<T>{x, xs.channel, 1}, xs.n, y, ys.channel, ys.n, options);
    return true;
}

// dw [out, in] = the sum of dy [out, pixels] x' over the images; false where they are not planes of enough pixels.
template <class T>
bool run_pointwise_weights(const ConvShape<3>& s, const T* x, const ImageStrides<3>& xs, const T* dy, const ImageStrides<3>& dys, T* dw, bool accumulate) {
    long x_pitch = 0, dy_pitch = 0;
    const long pixels = s.in_size(), in = s.group_in(), out = s.group_out();
    if (pixels < 128 || s.n == 0 || matrix_form(s, xs, dys, x_pitch, dy_pitch) != MatrixForm::planes) return false;
    GemmOptions<T> options;
    // One operand is transposed, better the smaller one; the other is read where it lies, unless its rows share lines of the cache.
    if (out <= 64 && out < in && xs.channel * long(sizeof(T)) % 2048 != 0) {
        const gemm_impl::Workspace::Lease lease(gemm_impl::task_workspace, std::size_t(in * out) * sizeof(T));
        T* const turned = lease.as<T>();
        for (long b = 0; b < s.n; ++b) {
            options.accumulate = b > 0;
            gemm<T>(in, out, pixels, MatrixView<T>{x + b * xs.n, xs.channel, 1}, MatrixView<T>{dy + b * dys.n, 1, dys.channel}, turned, out, options);
        }
        for (long o = 0; o < out; ++o)
            for (long i = 0; i < in; ++i) dw[o * in + i] = accumulate ? dw[o * in + i] + turned[i * out + o] : turned[i * out + o];
        return true;
    }
    for (long b = 0; b < s.n; ++b) {
        options.accumulate = accumulate || b > 0;
        gemm<T>(out, in, pixels, MatrixView<T>{dy + b * dys.n, dys.channel, 1}, MatrixView<T>{x + b * xs.n, 1, xs.channel}, dw, in, options);
    }
    return true;
}

}  // namespace conv_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
