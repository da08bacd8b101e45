// Images to tiles of transformed data, B^T d B, and the gradient's images to A dY A^T; sums of products to output images,
// A^T M A, with the epilogue.
//
// Channels are lanes. A run of neighbouring tiles of one row is done at once: the columns that two tiles share are
// transformed once, and images stored plane by plane are transposed in the first cache.
#pragma once

#include <tenon/kernels/cpu/conv/shape.hpp>
#include <tenon/kernels/cpu/conv/winograd_planes.hpp>
#include <tenon/kernels/cpu/conv/winograd_tile.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace winograd_impl {

// Images in memory; strides in elements.
template <class T>
struct Image {
    T* data;
    long image_stride, channel_stride, row_stride, column_stride;
    long channels, height, width;

    TENON_ALWAYS_INLINE T* at(long image, long channel, long row, long column) const {
        return data + image * image_stride + channel * channel_stride + row * row_stride + column * column_stride;
    }
    // Whether a channel is one run of values.
    bool contiguous_planes() const { return column_stride == 1 && row_stride == width; }
};

// Tiles of an image; those of a batch are counted image by image, row by row.
struct Grid {
    long rows, columns;
};

// Tiles [first, first + count) lie side by side, from column `column` of row `row` of the grid of image `image` on.
struct Run {
    long image, row, column, count;
    static constexpr long most = 12;
    TENON_ALWAYS_INLINE Run(const Grid& grid, long first, long last) {
        const long line = first / grid.columns;
        column = first - line * grid.columns;
        image = line / grid.rows;
        row = line - image * grid.rows;
        count = grid.columns - column < last - first ? grid.columns - column : last - first;
        if (count > most) count = most;
    }
};

// v[xi * xi_stride + (tile - first) * tile_stride + channel]. tile_stride must have room for whole vectors.
template <class T>
struct DataJob {
    Image<const T> image;
    long top, left;  // padding
    Grid grid;
    long first, last;
    T* v;
    long xi_stride, tile_stride;
};

// Gradient: A dY A^T of tiles of m x m; else B^T d B of tiles of (m + 2) x (m + 2) that overlap by two.
template <class T, int M, bool Gradient>
struct DataBody {
    static constexpr int I = M + 2, window = Gradient ? M : I;

    template <class V>
    static TENON_ALWAYS_INLINE void transform(V (&d)[I]) {
        if constexpr (Gradient) {
            V y[M];
            TENON_UNROLL(8)
            for (int i = 0; i < M; ++i) y[i] = d[i];
            Transform<M>::output_gradient(y, d);
        } else {
            Transform<M>::data(d);
        }
    }

    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const DataJob<T>* job) {
        TENON_CONTRACT
        constexpr int L = int(Lanes * 4 / sizeof(T));
        using V = simd<T, L>;
        const Image<const T> image = job->image;
        // patch[(column * I + row) * L + lane]: columns of the window, transformed in place.
        alignas(64) T patch[(Run::most * M + window - M) * I * L];
        alignas(64) T zeros[L] = {};
        for (long tile = job->first; tile < job->last;) {
            const Run run(job->grid, tile, job->last);
            const long top = run.row * M - job->top, left = run.column * M - job->left, columns = run.count * M + window - M;
            // What of the window lies inside the image.
            const long row0 = top < 0 ? -top : 0, row1 = image.height - top < window ? image.height - top : window;
            const long column0 = left < 0 ? -left : 0, column1 = image.width - left < columns ? image.width - left : columns;
            for (long j = 0; j < columns; ++j) {
                if (j == column0) j = column1;
                if (j >= columns) break;
                TENON_UNROLL(8)
                for (int i = 0; i < I; ++i) V(T(0)).store(patch + (j * I + i) * L);
            }
            for (long c = 0; c < image.channels; c += L) {
                // The last vector overlaps the one before.
                const long channel = image.channels - c >= L || image.channels < L ? c : image.channels - L;
                const long valid = image.channels < L ? image.channels : L;
                if (image.channel_stride == 1 && valid == L) {
                    const T* from[window];
                    long step[window];
                    TENON_UNROLL(8)
                    for (int i = 0; i < window; ++i) {
                        const bool inside = i >= row0 && i < row1;
                        from[i] = inside ? image.at(run.image, channel, top + i, left + column0) : zeros;
                        step[i] = inside ? image.column_stride : 0;
                    }
                    for (long j = column0; j < column1; ++j) {
                        V d[I];
                        TENON_UNROLL(8)
                        for (int i = 0; i < window; ++i) {
                            d[i] = V::load(from[i]);
                            from[i] += step[i];
                        }
                        transform(d);
                        TENON_UNROLL(8)
                        for (int i = 0; i < I; ++i) d[i].store(patch + (j * I + i) * L);
                    }
                } else {
                    for (long j = column0; j < column1; ++j) {
                        for (long i = 0; i < row0; ++i) V(T(0)).store(patch + (j * I + i) * L);
                        for (long i = row1; i < window; ++i) V(T(0)).store(patch + (j * I + i) * L);
                    }
                    if (image.column_stride == 1) read<L>(image, run, channel, valid, top, left, row0, row1, column0, column1, patch);
                    else
                        for (long j = column0; j < column1; ++j)
                            for (long i = row0; i < row1; ++i)
                                for (long l = 0; l < L; ++l)
                                    patch[(j * I + i) * L + l] = l < valid ? *image.at(run.image, channel + l, top + i, left + j) : T(0);
                    for (long j = column0; j < column1; ++j) {
                        V d[I];
                        TENON_UNROLL(8)
                        for (int i = 0; i < window; ++i) d[i] = V::load(patch + (j * I + i) * L);
                        transform(d);
                        TENON_UNROLL(8)
                        for (int i = 0; i < I; ++i) d[i].store(patch + (j * I + i) * L);
                    }
                }
                T* v = job->v + (tile - job->first) * job->tile_stride + channel;
                const T* from = patch;
                for (long t = 0; t < run.count; ++t, v += job->tile_stride, from += M * I * L) {
                    T* to = v;
                    TENON_UNROLL(8)
                    for (int i = 0; i < I; ++i) {
                        V d[I];
                        TENON_UNROLL(8)
                        for (int j = 0; j < window; ++j) d[j] = V::load(from + (j * I + i) * L);
                        transform(d);
                        TENON_UNROLL(8)
                        for (int j = 0; j < I; ++j, to += job->xi_stride) d[j].store(to);
                    }
                }
            }
            tile += run.count;
        }
    }

    // Rows [row0, row1) and columns [column0, column1) of the window from planes.
    template <int L>
    static TENON_ALWAYS_INLINE void read(const Image<const T>& image, const Run& run, long channel, long valid, long top, long left,
                                         long row0, long row1, long column0, long column1, T* patch) {
        using U = typename vector_of<T, L>::unaligned;
        const bool whole = image.contiguous_planes();
        const long width = column1 - column0;
        // Whole rows that follow one another are read as one.
        const bool joined = whole && width == image.width;
        const long size = whole ? image.height * image.width : image.width;
        const long lines = joined ? 1 : row1 - row0, count = joined ? (row1 - row0) * width : width;
        for (long line = 0; line < lines; ++line) {
            const long row = row0 + line, start = whole ? (top + row) * image.width + left + column0 : left + column0;
            const Planes<const T> planes{whole ? image.at(run.image, channel, 0, 0) : image.at(run.image, channel, top + row, 0),
                                         image.channel_stride, valid};
            T* to = patch + (column0 * I + row) * L;
            long across = 0;
            for (long q = 0; q < count; q += L) {
                long from = start + q;
                if (from + L > size) from = size >= L ? size - L : 0;
                const long skip = start + q - from, end = skip + count - q;
                typename vector_of<T, L>::type r[L];
                read_planes<T, L>(planes, from, size, r);
                TENON_UNROLL(16)
                for (int l = 0; l < L; ++l) {
                    if (l < skip || l >= end) continue;
                    *reinterpret_cast<U*>(to) = r[l];
                    to += I * L;
                    if (++across == width) {
                        across = 0;
                        to += (1 - width * I) * L;
                    }
                }
            }
        }
    }
};

// m[xi * xi_stride + (tile - first) * tile_stride + channel] to channels [channel, channel + channels) of the image; whole
// vectors of m may be read.
template <class T>
struct OutputJob {
    Image<T> image;
    Grid grid;
    long first, last;
    const T* m;
    long xi_stride, tile_stride;
    long channel, channels;
    ConvEpilogue<T> epilogue;
};

template <class T, int M>
struct OutputBody {
    static constexpr int I = M + 2;

    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const OutputJob<T>* job) {
        TENON_CONTRACT
        constexpr int L = int(Lanes * 4 / sizeof(T));
        using V = simd<T, L>;
        const Image<T> image = job->image;
        const ConvEpilogue<T> epilogue = job->epilogue;
        // Pixels of a run, rows of them, each a vector of channels; one transpose may read beyond.
        alignas(64) T pixels[(M * Run::most * M + L) * L];
        for (long tile = job->first; tile < job->last;) {
            const Run run(job->grid, tile, job->last);
            const long top = run.row * M, left = run.column * M;
            const long rows = image.height - top < M ? image.height - top : M;
            const long columns = image.width - left < run.count * M ? image.width - left : run.count * M;
            for (long k = 0; k < job->channels; k += L) {
                const long channel = job->channel + k, valid = job->channels - k < L ? job->channels - k : L;
                const bool direct = image.channel_stride == 1 && valid == L;
                const bool accumulate = epilogue.accumulate && direct, relu = epilogue.relu && (direct || !epilogue.accumulate);
                alignas(64) T scales[L] = {}, biases[L] = {};
                if (epilogue.scale != nullptr) copy_values<T, L>(scales, epilogue.scale + channel, valid);
                if (epilogue.bias != nullptr) copy_values<T, L>(biases, epilogue.bias + channel, valid);
                const T* m = job->m + (tile - job->first) * job->tile_stride + k;
                for (long t = 0; t < run.count; ++t, m += job->tile_stride) {
                    V half[M][I];
                    TENON_UNROLL(8)
                    for (int j = 0; j < I; ++j) {
                        V column[I], y[M];
                        TENON_UNROLL(8)
                        for (int i = 0; i < I; ++i) column[i] = V::load(m + (i * I + j) * job->xi_stride);
                        Transform<M>::output(column, y);
                        TENON_UNROLL(8)
                        for (int i = 0; i < M; ++i) half[i][j] = y[i];
                    }
                    const long wide = columns - t * M < M ? columns - t * M : M;
                    T* to = direct ? image.at(run.image, channel, top, left + t * M) : pixels + t * M * L;
                    const long row_step = direct ? image.row_stride : columns * L, step = direct ? image.column_stride : L;
                    TENON_UNROLL(8)
                    for (int i = 0; i < M; ++i) {
                        V y[M];
                        Transform<M>::output(half[i], y);
                        if (epilogue.scale != nullptr) {
                            TENON_UNROLL(8)
                            for (int j = 0; j < M; ++j) y[j] = y[j] * V::load(scales);
                        }
                        if (epilogue.bias != nullptr) {
                            TENON_UNROLL(8)
                            for (int j = 0; j < M; ++j) y[j] = y[j] + V::load(biases);
                        }
                        if (i >= rows) continue;
                        TENON_UNROLL(8)
                        for (int j = 0; j < M; ++j) {
                            if (j >= wide) continue;
                            if (accumulate) y[j] = V::load(to + j * step) + y[j];
                            if (relu) y[j] = select(y[j] < V(T(0)), V(T(0)), y[j]);
                            y[j].store(to + j * step);
                        }
                        to += row_step;
                    }
                }
                if (!direct) write<L>(image, run, channel, valid, top, left, rows, columns, pixels, epilogue);
            }
            tile += run.count;
        }
    }

    template <int L>
    static TENON_ALWAYS_INLINE void write(const Image<T>& image, const Run& run, long channel, long valid, long top, long left, long rows,
                                          long columns, const T* pixels, const ConvEpilogue<T>& epilogue) {
        if (image.column_stride == 1) {
            const bool joined = columns == image.width && image.contiguous_planes();
            const long lines = joined ? 1 : rows, count = joined ? rows * columns : columns;
            for (long line = 0; line < lines; ++line)
                write_planes<T, L>(Planes<T>{image.at(run.image, channel, top + line, left), image.channel_stride, valid},
                                   pixels + line * columns * L, count, epilogue.accumulate, epilogue.relu);
            return;
        }
        for (long i = 0; i < rows; ++i)
            for (long j = 0; j < columns; ++j)
                for (long l = 0; l < valid; ++l) {
                    T* const to = image.at(run.image, channel + l, top + i, left + j);
                    T y = pixels[(i * columns + j) * L + l];
                    if (epilogue.accumulate) {
                        y = *to + y;
                        if (epilogue.relu && y < T(0)) y = T(0);
                    }
                    *to = y;
                }
    }
};

}  // namespace winograd_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
