// A pass over so few pixels that its weights are the bigger operand: they are read once and where they lie, each a factor of some vectors
// of pixels. The patches are [source channel, tap, pixel], built from padded planes; their pixels beyond whole vectors, if only one or
// two, are dot products with the weights of a tile while these are in cache.
//
// The sums run over (source channel, tap), chunks of whole channels.
#pragma once

#include <tenon/kernels/cpu/conv/planar.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace conv_impl {

// Vectors of pixels in a tile, and how many results that leaves registers for.
constexpr int few_vectors(int lanes) { return lanes >= 16 ? 4 : 3; }
constexpr int few_results(int lanes, int vectors) { return (lanes >= 16 ? 24 : 12) / vectors; }
// Results in a multiple of which tasks are cut.
inline constexpr long few_unit = 24;
// Places of a kernel whose sums are kept apart.
inline constexpr long few_places = 1024;

// The choice is made by sizes alone, the batch included: for all layouts the sums run in the same order. Copied are whole images, so
// those of which most is not read are left to others.
template <class T>
bool has_few_pixels(const Pass& pass) {
    const long total = pass.n * pass.pixels();
    return total > 0 && total <= 144 && 4 * total <= pass.results * 3 && pass.results > 64 && pass.steps() > 0 && total * pass.steps() * long(sizeof(T)) <= 4 << 20 &&
           pass.axis[0].in <= 2 * pass.axis[0].grid * pass.axis[0].taps && PlanarPlan(pass).phases <= pass.taps();
}

// The pixels as vectors, and the rest, where there may be one. (Its pixels meet all places of the kernel, those without a tap with a 0: that
// must not be where an infinite weight lies.)
struct FewPixels {
    long lanes, total, rest, vectors, pitch;
    FewPixels(long total_, long lanes_, bool with_rest) : lanes(lanes_), total(total_), rest(total % lanes) {
        if (!with_rest || total < lanes || rest > lanes / 8) rest = 0;
        vectors = (total - rest + lanes - 1) / lanes;
        pitch = vectors * lanes;
    }
};

// What of the patches the planes of some channels hold.
template <class T>
struct FewPatches {
    const Pass* pass;
    const PlanarPlan* plan;
    const T* planes;       // of each position along the outermost axis, which lie plane_apart apart
    long plane, plane_apart, channels;
    T* out;                // [channel, tap, pixel], of the first pixel of this image
    long pitch;
};
template <class T>
struct FewPatchesBody {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const FewPatches<T>* job) {
        constexpr int L = int(8 * 4 / sizeof(T)) < int(Lanes * 4 / sizeof(T)) ? int(8 * 4 / sizeof(T)) : int(Lanes * 4 / sizeof(T));
        const Pass& pass = *job->pass;
        const PlanarPlan& plan = *job->plan;
        const PassAxis &x0 = pass.axis[0], &x1 = pass.axis[1], &x2 = pass.axis[2];
        const long width = x2.grid, whole = (width + L - 1) / L * L, taps = pass.taps();
        for (long c = 0; c < job->channels; ++c)
            for (long j = 0; j < taps; ++j) {
                const long j2 = j % x2.taps, j1 = j / x2.taps % x1.taps, j0 = j / (x2.taps * x1.taps);
                const long phase = (plan.rows.phases > 1 ? TapAxis::phase(x1, j1) : 0) * plan.columns.phases + (plan.columns.phases > 1 ? TapAxis::phase(x2, j2) : 0);
                const long at = (c * plan.phases + phase) * job->plane + (TapAxis::shift(x1, j1) - plan.rows.low) * plan.pitch + TapAxis::shift(x2, j2) - plan.columns.low;
                T* to = job->out + (c * taps + j) * job->pitch;
                const T* const end = to + pass.pixels();
                for (long q0 = 0; q0 < x0.grid; ++q0) {
                    const long i0 = q0 * x0.in_step + x0.offset + j0 * x0.offset_step;
                    if (i0 < 0 || i0 >= x0.in) {
                        zero_run<T, L>(to, x1.grid * width);
                        to += x1.grid * width;
                        continue;
                    }
                    const T* from = job->planes + i0 * job->plane_apart + at;
                    for (long q1 = 0; q1 < x1.grid; ++q1, from += plan.pitch, to += width) {
                        // A row may run over into the next ones of the image, which are written after it.
                        if (to + whole > end) copy_run<T, L>(to, from, width);
                        else
                            for (long q = 0; q < width; q += L) simd<T, L>::load(from + q).store(to + q);
                    }
                }
            }
    }
};

// Some results from one chunk of the sums.
template <class T>
struct FewPixelsBlock {
    const T* w;               // of the chunk's first channel and result 0
    long result, source, kernel;
    const long* taps;         // places in the kernel
    long tap_count, channels;
    const T* patches;         // of the chunk
    const T* rest;            // of the chunk: per pixel of the rest, [channel, place in the kernel], channels rest_pitch apart
    long rest_apart, rest_pitch, patch_pitch;
    const FewPixels* pixels;
    long first, last;         // results
    T* c;                     // [result, pitch + rest]
    long ldc;
    bool load;
};

template <class T>
struct FewPixelsBody {
    template <int L, int MR, int NV>
    static TENON_ALWAYS_INLINE void tile(const FewPixelsBlock<T>& block, long row, long skip, long panel) {
        TENON_CONTRACT
        using V = simd<T, L>;
        constexpr long line = long(64 / sizeof(T));
        const long pitch = block.patch_pitch, result = block.result;
        const T* b = block.patches + panel * L;
        const T* channel = block.w + row * result;
        // The weights of the next tile, for the first panel only: rows of weights, or one run of a line and more for each channel.
        // Behind the last one: of the next chunk's first.
        const long ahead = row + MR < block.last ? MR * result : (block.first - row) * result + block.channels * block.source;
        const long ahead_step = result < line ? line : result, ahead_count = panel > 0 ? 0 : result < line ? (MR * result + line - 1) / line : MR;
        V sum[MR][NV];
        TENON_UNROLL(24)
        for (int i = 0; i < MR; ++i)
            TENON_UNROLL(4)
            for (int v = 0; v < NV; ++v) sum[i][v] = V(0);
        for (long s = 0; s < block.channels; ++s, channel += block.source) {
            for (long i = 0; i < ahead_count; ++i) __builtin_prefetch(channel + ahead + i * ahead_step, 0, 2);
            for (long j = 0; j < block.tap_count; ++j) {
                const T* const at = channel + block.taps[j];
                V read[NV];
                TENON_UNROLL(4)
                for (int v = 0; v < NV; ++v) read[v] = V::load(b + v * L);
                TENON_UNROLL(4)
                for (long v = 0; v < NV * L; v += line) __builtin_prefetch(b + 16 * pitch + v);
                TENON_UNROLL(24)
                for (int i = 0; i < MR; ++i) {
                    const V by(at[i * result]);
                    TENON_UNROLL(4)
                    for (int v = 0; v < NV; ++v) sum[i][v] = sum[i][v] + by * read[v];
                }
                b += pitch;
            }
        }
        alignas(64) T out[MR * NV * L];
        TENON_UNROLL(24)
        for (int i = 0; i < MR; ++i)
            TENON_UNROLL(4)
            for (int v = 0; v < NV; ++v) sum[i][v].store(out + (i * NV + v) * L);
        for (long i = skip; i < MR; ++i)
            TENON_UNROLL(4)
            for (int v = 0; v < NV; ++v) {
                T* const c = block.c + (row + i) * block.ldc + (panel + v) * L;
                V r = V::load(out + (i * NV + v) * L);
                if (block.load) r = r + V::load(c);
                r.store(c);
            }
    }
    // The panel's tiles are as many results high as its vectors leave registers for.
    template <int L, int Lanes, int NV>
    static TENON_ALWAYS_INLINE void rows(const FewPixelsBlock<T>& block, long first, long last, long panel) {
        constexpr int MR = few_results(Lanes, NV);
        for (long row = first; row < last; row += MR) {
            // The last tile begins earlier, where it would end behind the weights.
            const long at = row + MR > last ? last - MR : row;
            tile<L, MR, NV>(block, at, row - at, panel);
        }
    }
    // The pixels beyond whole vectors, of results [first, last), at most few_unit.
    template <int L>
    static TENON_ALWAYS_INLINE void rest(const FewPixelsBlock<T>& block, long first, long last) {
        TENON_CONTRACT
        using V = simd<T, L>;
        const long kernel = block.kernel, count = last - first;
        T sums[few_unit];
        for (long p = 0; p < block.pixels->rest; ++p) {
            const T* const q = block.rest + p * block.rest_apart;
            if (block.source == kernel) {
                // A result's weights lie side by side: a dot product, four at a time.
                const long k = block.channels * kernel;
                for (long r = 0; r < count; r += 4) {
                    const T* w[4];
                    V sum[4];
                    TENON_UNROLL(4)
                    for (int i = 0; i < 4; ++i) w[i] = block.w + (first + (r + i < count ? r + i : count - 1)) * block.result, sum[i] = V(0);
                    long l = 0;
                    for (; l + L <= k; l += L) {
                        const V by = V::load(q + l);
                        TENON_UNROLL(4)
                        for (int i = 0; i < 4; ++i) sum[i] = sum[i] + V::load(w[i] + l) * by;
                    }
                    for (int i = 0; i < 4 && r + i < count; ++i) {
                        T lane[L];
                        sum[i].store(lane);
                        for (int half = L / 2; half > 0; half /= 2)
                            for (int j = 0; j < half; ++j) lane[j] += lane[j + half];
                        for (long j = l; j < k; ++j) lane[0] += w[i][j] * q[j];
                        sums[r + i] = lane[0];
                    }
                }
            } else {
                // A channel's weights of all results lie side by side: a sum for each place in the kernel, added up in the end.
                constexpr long most = few_places;
                alignas(64) T of_place[most];
                const long together = kernel * count <= most ? count : most / kernel, step = L % kernel;
                for (long r = 0; r < count; r += together) {
                    const long now = count - r < together ? count - r : together, k = now * kernel;
                    for (long i = 0; i < k; ++i) of_place[i] = T(0);
                    for (long s = 0; s < block.channels; ++s) {
                        const T* const w = block.w + s * block.source + (first + r) * kernel;
                        // Repeats itself after every kernel.
                        const T* const from = q + s * block.rest_pitch;
                        long at = 0, l = 0;
                        for (; l + L <= k; l += L) {
                            __builtin_prefetch(w + 2 * block.source + l);
                            (V::load(of_place + l) + V::load(w + l) * V::load(from + at)).store(of_place + l);
                            at += step;
                            if (at >= kernel) at -= kernel;
                        }
                        for (long j = 0; l + j < k; ++j) of_place[l + j] += w[l + j] * from[at + j];
                    }
                    for (long i = 0; i < now; ++i) {
                        T sum = of_place[i * kernel];
                        for (long t = 1; t < kernel; ++t) sum += of_place[i * kernel + t];
                        sums[r + i] = sum;
                    }
                }
            }
            T* const c = block.c + first * block.ldc + block.pixels->pitch + p;
            for (long i = 0; i < count; ++i) c[i * block.ldc] = block.load ? c[i * block.ldc] + sums[i] : sums[i];
        }
    }
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const FewPixelsBlock<T>* block) {
        constexpr int L = int(Lanes * 4 / sizeof(T)), most = few_vectors(Lanes);
        const long vectors = block->pixels->vectors, count = (vectors + most - 1) / most;
        for (long row = block->first; row < block->last; row += few_unit) {
            const long end = row + few_unit < block->last ? row + few_unit : block->last;
            for (long p = 0, panel = 0; p < count; ++p) {
                const long width = vectors * (p + 1) / count - panel;
                if (width == 1) rows<L, Lanes, 1>(*block, row, end, panel);
                if (width == 2) rows<L, Lanes, 2>(*block, row, end, panel);
                if (width == 3) rows<L, Lanes, 3>(*block, row, end, panel);
                if constexpr (most >= 4)
                    if (width == 4) rows<L, Lanes, 4>(*block, row, end, panel);
                panel += width;
            }
            rest<L>(*block, row, end);
        }
    }
};

template <class T>
void run_few_pixels(const PassJob<T>& job) {
    const Pass& pass = job.pass;
    const PassAxis &x0 = pass.axis[0], &x1 = pass.axis[1], &x2 = pass.axis[2];
    const long n = pass.results, k = pass.steps(), taps = pass.taps(), channels = pass.channels, kernel = job.weights.kernel;
    const PlanarPlan plan(pass);
    const FewPixels pixels(pass.n * pass.pixels(), gemm_impl::kernels<T>().lanes, taps == kernel && kernel <= few_places && !pass.is_identity());
    const long pitch = pixels.pitch + (pixels.rest > 0 ? pixels.lanes : 0), ldc = pitch, plane = plan.plane(x1.grid);
    const bool in_rows = job.weights.source == kernel;
    const long rest_pitch = in_rows ? kernel : kernel + pixels.lanes, rest_apart = channels * rest_pitch;
    long chunk = chunk_of<T>(k) / taps;
    if (chunk < 1) chunk = 1;
    const Workspace::Lease shared(gemm_impl::shared_workspace, std::size_t(taps) * sizeof(long) + std::size_t((k + 1) * pitch + n * ldc + pixels.rest * rest_apart) * sizeof(T) + 64);
    T *const patches = shared.as<T>(), *const c = patches + (k + 1) * pitch, *const rest = c + n * ldc;
    long* const places = reinterpret_cast<long*>((reinterpret_cast<std::uintptr_t>(rest + pixels.rest * rest_apart) + 15) / 16 * 16);
    for (long j = 0; j < taps; ++j) places[j] = pass.tap_index(j);

    constexpr long together = 16;
    const long groups = (channels + together - 1) / together;
    parallel_for(groups, 0.5 * double(k * pixels.total), [&](long group) {
        const long first = group * together, now = channels - first < together ? channels - first : together, apart = now * plan.phases * plane;
        const Workspace::Lease lease(gemm_impl::task_workspace, std::size_t(x0.in * apart + 16) * sizeof(T));
        Pass some = pass;
        some.channels = now;
        T* const to = patches + first * taps * pitch;
        for (long r = 0; r < now * taps; ++r)
            for (long p = pixels.total; p < pitch; ++p) to[r * pitch + p] = T(0);
        for (long image = 0; image < pass.n; ++image) {
            for (long i = 0; i < x0.in; ++i)
                copy_planes(some, plan, job.x + image * job.xs.n + first * job.xs.channel + i * job.xs.axis[0], job.xs, 0, x1.grid, plane, lease.as<T>() + i * apart);
            const FewPatches<T> part{&pass, &plan, lease.as<T>(), plane, apart, now, to + image * pass.pixels(), pitch};
            dispatch<FewPatchesBody<T>>(&part);
        }
        for (long p = 0; p < pixels.rest; ++p) {
            T* const q = rest + p * rest_apart + first * rest_pitch;
            for (long i = 0; i < now * rest_pitch; ++i) q[i] = T(0);
            for (long s = 0; s < now; ++s)
                for (long j = 0; j < taps; ++j)
                    for (long at = places[j]; at < rest_pitch; at += kernel) q[s * rest_pitch + at] = to[(s * taps + j) * pitch + pixels.pitch + p];
        }
    });

    // Few tasks: each goes through all patches.
    const long units = (n + few_unit - 1) / few_unit, tasks = units < 4 ? units : 4;
    const ImageRows<T> rows(job.ys, pass);
    parallel_for(tasks, 2.0 * double(pixels.total) * double(n) * double(k) * gemm_impl::nanoseconds_per_flop, [&](long index) {
        const Part mine(units, tasks, index);
        FewPixelsBlock<T> block{job.weights.data, job.weights.result, job.weights.source, kernel, places, taps, 0, patches, rest, rest_apart, rest_pitch, pitch,
                                &pixels, mine.first * few_unit, mine.last * few_unit < n ? mine.last * few_unit : n, c, ldc, false};
        for (long done = 0; done < channels; done += chunk) {
            block.channels = channels - done < chunk ? channels - done : chunk;
            block.w = job.weights.data + done * job.weights.source;
            block.patches = patches + done * taps * pitch;
            block.rest = rest + done * rest_pitch;
            block.load = done > 0;
            dispatch<FewPixelsBody<T>>(&block);
        }
        for (long image = 0, p = 0; image < pass.n; ++image)
            for (long q0 = 0; q0 < x0.grid; ++q0)
                for (long q1 = 0; q1 < x1.grid; ++q1, p += x2.grid) {
                    const long at[3] = {q0, q1, 0}, step = x2.out_step * job.ys.axis[2];
                    T* const y = job.y + rows.offset(image, at);
                    for (long o = block.first; o < block.last; ++o) {
                        const T scale = job.weights.scale != nullptr ? job.weights.scale[o] : T(1), bias = job.bias != nullptr ? job.bias[o] : T(0);
                        for (long q = 0; q < x2.grid; ++q) {
                            T& to = y[o * job.ys.channel + q * step];
                            T value = scale * c[o * ldc + p + q];
                            if (job.accumulate) value += to;
                            value += bias;
                            to = job.relu && value < 0 ? T(0) : value;
                        }
                    }
                }
    });
}

}  // namespace conv_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
