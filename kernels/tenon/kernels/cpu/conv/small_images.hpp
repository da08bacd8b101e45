// Small contiguous images and as many result channels as vectors have lanes, as in LeNet's second layer: rows of a few pixels would leave
// many lanes of vectors over pixels empty (planar.hpp), so vectors run over the results and each element of the source is broadcast.
// The sums run in the same order as there, but for the weights' gradient, which goes from pixel to pixel.
#pragma once

#include <tenon/kernels/cpu/conv/planar.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace conv_impl {

// Rows, pixels of a row and vectors of results in a tile.
constexpr int small_rows(int lanes) { return lanes >= 16 ? 2 : 1; }
constexpr int small_pixels(int lanes) { return lanes >= 16 ? 10 : 5; }
constexpr int small_vectors(int lanes) { return lanes >= 16 ? 1 : 2; }

template <class T>
struct SmallImages {
    const Pass* pass;
    const T* x;           // planes of an image
    const long* offsets;  // of each (tap, channel)
    long pitch;           // of the planes' rows
    const T* w;           // [taps * channels, lanes]
    const T* bias;        // [lanes]
    long lanes;           // whole tiles
    bool relu;
    T* y;                 // [pixels, lanes]
};
template <class T>
struct SmallImagesBody {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const SmallImages<T>* job) {
        TENON_CONTRACT
        constexpr int L = int(Lanes * 4 / sizeof(T)), R = small_rows(Lanes), P = small_pixels(Lanes), N = small_vectors(Lanes);
        using V = simd<T, L>;
        const long height = job->pass->axis[1].grid, width = job->pass->axis[2].grid, k = job->pass->steps(), lanes = job->lanes;
        for (long o = 0; o < lanes; o += N * L)
            for (long i = 0; i < height; i += R)
                for (long j = 0; j < width; j += P) {
                    // The last rows and pixels once more, rather than less than a tile.
                    const long r = i + R > height ? height - R : i, q = j + P > width ? width - P : j, pitch = job->pitch;
                    const T *const x = job->x + r * pitch + q, *w = job->w + o;
                    V sum[R * P][N];
                    TENON_UNROLL(20)
                    for (int p = 0; p < R * P; ++p)
                        TENON_UNROLL(2)
                        for (int v = 0; v < N; ++v) sum[p][v] = V(0);
                    for (long l = 0; l < k; ++l, w += lanes) {
                        const T* const first = x + job->offsets[l];
                        const T* const from[2] = {first, first + pitch};
                        V by[N];
                        TENON_UNROLL(2)
                        for (int v = 0; v < N; ++v) by[v] = V::load(w + v * L);
                        TENON_UNROLL(20)
                        for (int p = 0; p < R * P; ++p) {
                            const V read(from[p / P][p % P]);
                            TENON_UNROLL(2)
                            for (int v = 0; v < N; ++v) sum[p][v] = sum[p][v] + by[v] * read;
                        }
                    }
                    T* const y = job->y + (r * width + q) * lanes + o;
                    TENON_UNROLL(20)
                    for (int p = 0; p < R * P; ++p)
                        TENON_UNROLL(2)
                        for (int v = 0; v < N; ++v) {
                            V result = sum[p][v] + V::load(job->bias + o + v * L);
                            if (job->relu) result = select(result < V(0), V(0), result);
                            result.store(y + (p / P * width + p % P) * lanes + v * L);
                        }
                }
    }
};

// The lanes in use of vectors over results, and of vectors over the pixels of whole rows.
inline long vector_lanes(long value_size) { return (isa() == Isa::avx512 ? 16 : isa() == Isa::avx2 ? 8 : 4) * 4 / value_size; }
inline long small_lanes(long results, long value_size) {
    const long most = isa() == Isa::avx512 ? 16 : isa() == Isa::avx2 ? 8 : 4, tile = vector_lanes(value_size) * small_vectors(int(most));
    return (results + tile - 1) / tile * tile;
}
template <class T>
bool is_small(const Pass& pass, const ImageStrides<3>& xs) {
    const PassAxis &x0 = pass.axis[0], &x1 = pass.axis[1], &x2 = pass.axis[2];
    if (x0.grid != 1 || x0.taps != 1 || x0.in != 1 || x0.offset != 0 || pass.steps() == 0 || pass.n * pass.pixels() == 0) return false;
    if (xs.axis[2] != 1 || pass.results < 8 || x2.in_step != 1 || x1.in_step != 1) return false;
    const PlanarPlan plan(pass);
    const long lanes = small_lanes(pass.results, long(sizeof(T)));
    if ((plan.plane(x1.grid) * pass.channels + pass.pixels() * lanes) * long(sizeof(T)) > 3 << 16) return false;
    const long vector = vector_lanes(long(sizeof(T))), pixels = (x1.grid - 1) * plan.pitch + x2.grid,
               tile = small_pixels(isa() == Isa::avx512 ? 16 : 8);
    const long across = (pixels + vector - 1) / vector * vector * pass.results,
               along = x1.grid * ((x2.grid + tile - 1) / tile * tile) * lanes;
    return x1.grid > 1 && x2.grid >= tile && 10 * along < 9 * across;
}

// False where another way is better.
template <class T>
bool run_small_images(const PassJob<T>& job) {
    const Pass& pass = job.pass;
    const long k = pass.steps(), m = pass.results, taps = pass.taps(), channels = pass.channels, height = pass.axis[1].grid,
               width = pass.axis[2].grid;
    if (!pass.dense() || job.accumulate || chunk_of<T>(k) < k || !is_small<T>(pass, job.xs) || (job.ys.axis[2] != 1 && job.ys.channel != 1))
        return false;
    const PlanarPlan plan(pass);
    const long plane = plan.plane(height), lanes = small_lanes(m, long(sizeof(T)));
    const gemm_impl::Workspace::Lease shared(gemm_impl::shared_workspace,
                                             std::size_t((k + 1) * lanes) * sizeof(T) + std::size_t(k) * sizeof(long));
    T *const w = shared.as<T>(), *const bias = w + k * lanes;
    long* const offsets = reinterpret_cast<long*>(bias + lanes);
    set_offsets(pass, plan, plane, offsets);
    for (long o = 0; o < lanes; ++o) {
        bias[o] = o < m && job.bias != nullptr ? job.bias[o] : T(0);
        for (long j = 0; j < taps; ++j)
            for (long c = 0; c < channels; ++c)
                w[(j * channels + c) * lanes + o] =
                    o < m ? job.weights.data[o * job.weights.result + c * job.weights.source + pass.tap_index(j)] *
                                (job.weights.scale != nullptr ? job.weights.scale[o] : T(1))
                          : T(0);
    }
    parallel_for(pass.n, 2.0 * double(pass.n * pass.pixels()) * double(m * k) * gemm_impl::nanoseconds_per_flop, [&](long image) {
        const long x_size = (channels * plane + 15) / 16 * 16;
        const gemm_impl::Workspace::Lease lease(gemm_impl::task_workspace, std::size_t(x_size + height * width * lanes) * sizeof(T));
        T *const x = lease.as<T>(), *const y = x + x_size;
        copy_planes(pass, plan, job.x + image * job.xs.n, job.xs, 0, height, plane, x);
        const SmallImages<T> small{&pass, x, offsets, plan.pitch, w, bias, lanes, job.relu, y};
        dispatch<SmallImagesBody<T>>(&small);
        const long size[3] = {1, height, width};
        ImageRows<T>(job.ys, size).put(job.y + image * job.ys.n, y, lanes, m, 0, height * width);
    });
    return true;
}

// The weights' gradient: sums [channels * kernel rows, kernel columns, lanes], each the product of dy with one shifted plane.
template <class T>
struct SmallImagesWeights {
    const T* x;
    const long* offsets;   // of each row of a kernel
    const T* dy;           // [pixels, lanes]
    long pitch, height, width, lanes, rows;
    T* sums;
};
template <class T, int K>
struct SmallImagesWeightsBody {
    // R rows of kernels of K taps.
    template <int L, int R, int N>
    static TENON_ALWAYS_INLINE void add(const SmallImagesWeights<T>& job, long row, long o) {
        TENON_CONTRACT
        using V = simd<T, L>;
        T* const sums = job.sums + row * K * job.lanes + o;
        V sum[R * K][N];
        TENON_UNROLL(25)
        for (int i = 0; i < R * K; ++i)
            TENON_UNROLL(2)
            for (int v = 0; v < N; ++v) sum[i][v] = V::load(sums + i * job.lanes + v * L);
        const T* dy = job.dy + o;
        for (long r = 0; r < job.height; ++r) {
            const T* x[R];
            TENON_UNROLL(8)
            for (int i = 0; i < R; ++i) x[i] = job.x + job.offsets[row + i] + r * job.pitch;
            for (long q = 0; q < job.width; ++q, dy += job.lanes) {
                V by[N];
                TENON_UNROLL(2)
                for (int v = 0; v < N; ++v) by[v] = V::load(dy + v * L);
                TENON_UNROLL(8)
                for (int i = 0; i < R; ++i)
                    TENON_UNROLL(5)
                    for (int j = 0; j < K; ++j) {
                        const V read(x[i][q + j]);
                        TENON_UNROLL(2)
                        for (int v = 0; v < N; ++v) sum[i * K + j][v] = sum[i * K + j][v] + by[v] * read;
                    }
            }
        }
        TENON_UNROLL(25)
        for (int i = 0; i < R * K; ++i)
            TENON_UNROLL(2)
            for (int v = 0; v < N; ++v) sum[i][v].store(sums + i * job.lanes + v * L);
    }
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const SmallImagesWeights<T>* job) {
        constexpr int L = int(Lanes * 4 / sizeof(T)), N = small_vectors(Lanes), R = (Lanes >= 16 ? 25 : 6) / K;
        for (long o = 0; o < job->lanes; o += N * L) {
            long row = 0;
            for (; row + R <= job->rows; row += R) add<L, R, N>(*job, row, o);
            for (; row < job->rows; ++row) add<L, 1, N>(*job, row, o);
        }
    }
};

template <class T>
bool run_small_images_weights(const WeightsJob<T>& job) {
    const Pass& pass = job.pass;
    const PassAxis &x1 = pass.axis[1], &x2 = pass.axis[2];
    if ((x2.taps != 3 && x2.taps != 5) || x2.offset_step != 1 || (job.dys.axis[2] != 1 && job.dys.channel != 1) ||
        !is_small<T>(pass, job.xs))
        return false;
    const PlanarPlan plan(pass);
    const long m = pass.results, k = pass.steps(), channels = pass.channels, height = x1.grid, width = x2.grid, pixels = height * width;
    const long plane = plan.plane(height), lanes = small_lanes(m, long(sizeof(T))), rows = channels * x1.taps, apart = k * lanes;
    // Eight partial results, whatever the number of threads.
    const long parts = pass.n < 8 ? pass.n : 8;
    const gemm_impl::Workspace::Lease shared(gemm_impl::shared_workspace,
                                             std::size_t(parts * apart) * sizeof(T) + std::size_t(rows) * sizeof(long));
    T* const sums = shared.as<T>();
    long* const offsets = reinterpret_cast<long*>(sums + parts * apart);
    for (long c = 0; c < channels; ++c)
        for (long j = 0; j < x1.taps; ++j) offsets[c * x1.taps + j] = c * plane + (TapAxis::shift(x1, j) - plan.rows.low) * plan.pitch;
    parallel_for(parts, 2.0 * double(pass.n * pixels) * double(m * k) * gemm_impl::nanoseconds_per_flop, [&](long part) {
        T* const own = sums + part * apart;
        for (long i = 0; i < apart; ++i) own[i] = T(0);
        const long x_size = (channels * plane + 15) / 16 * 16;
        const gemm_impl::Workspace::Lease lease(gemm_impl::task_workspace, std::size_t(x_size + pixels * lanes) * sizeof(T));
        T *const x = lease.as<T>(), *const dy = x + x_size;
        // Lanes of no result stay zero.
        for (long i = 0; i < pixels * lanes; ++i) dy[i] = T(0);
        const long size[3] = {1, height, width};
        const ImageRows<T> from(job.dys, size);
        const gemm_impl::Part mine(pass.n, parts, part);
        for (long image = mine.first; image < mine.last; ++image) {
            copy_planes(pass, plan, job.x + image * job.xs.n, job.xs, 0, height, plane, x);
            from.take(job.dy + image * job.dys.n, dy, lanes, m, 0, pixels);
            const SmallImagesWeights<T> small{x, offsets, dy, plan.pitch, height, width, lanes, rows, own};
            if (x2.taps == 5) dispatch<SmallImagesWeightsBody<T, 5>>(&small);
            else dispatch<SmallImagesWeightsBody<T, 3>>(&small);
        }
    });
    // Rows of kernels are [channel, row], as in the weights.
    for (long o = 0; o < m; ++o)
        for (long i = 0; i < k; ++i) {
            T sum = sums[i * lanes + o];
            for (long part = 1; part < parts; ++part) sum += sums[part * apart + i * lanes + o];
            T& to = job.dw[o * k + i];
            to = job.accumulate ? to + sum : sum;
        }
    return true;
}

}  // namespace conv_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
