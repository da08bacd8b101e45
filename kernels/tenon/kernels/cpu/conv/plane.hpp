// One plane in, one plane out: 3x3 taps one apart at a stride of one, as a depthwise convolution of contiguous images consists
// of. The plane is copied into the first cache with its padding; then the nine weights stay in registers, and what is loaded of
// a row of the source serves the three rows of results that read it.
#pragma once

#include <tenon/kernels/cpu/conv/backward_weights.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace conv_impl {

// Rows of a plane with what lies around it: element u of row s is the source's (first + s, low + u), zero outside of it.
template <class T>
struct PaddedPlane {
    const T* from;  // the source's (0, 0)
    long from_row, in_rows, in_columns;
    long first, low, rows, pitch;

    template <int L>
    TENON_ALWAYS_INLINE void copy(T* to) const {
        long begin = low < 0 ? -low : 0, end = in_columns - low;
        if (begin > pitch) begin = pitch;
        if (end > pitch) end = pitch;
        if (end < begin) end = begin;
        using V = typename vector_of<T, L>::type;
        using U = typename vector_of<T, L>::unaligned;
        // Whole vectors, which the copy then overwrites: g++ makes calls of memset of loops over single zeros.
        const bool whole = pitch >= L && begin <= L && pitch - end <= L;
        for (long s = 0; s < rows; ++s, to += pitch) {
            const bool inside = first + s >= 0 && first + s < in_rows;
            if (inside && whole) {
                *reinterpret_cast<U*>(to) = V{};
                *reinterpret_cast<U*>(to + pitch - L) = V{};
            } else {
                zero_run<T, L>(to, pitch);
            }
            if (inside) copy_run<T, L>(to + begin, from + (first + s) * from_row + low + begin, end - begin);
        }
    }
};

// A broadcast that stays one instruction (base/simd.hpp).
template <class T, int L>
TENON_ALWAYS_INLINE void broadcast(typename vector_of<T, L>::type& to, T value) {
    if constexpr (sizeof(T) * L <= 16) to = value - typename vector_of<T, L>::type{};
    else
        for (int l = 0; l < L; ++l) to[l] = value;
}

// Keeps what has been read in a register: g++ would rather read it again for each of its uses.
template <class V>
TENON_ALWAYS_INLINE void keep_in_register([[maybe_unused]] V& v) {
#if defined(__x86_64__)
    __asm__("" : "+v"(v));
#elif defined(__aarch64__)
    if constexpr (sizeof(V) == 16) __asm__("" : "+w"(v));
#endif
}

// f(width) with the most lanes that a row fills; rows have four elements at least.
template <int L>
struct Width {
    static constexpr int lanes = L;
};
template <class T, int L, class F>
TENON_ALWAYS_INLINE void for_width(long columns, F f) {
    if constexpr (L > 4)
        if (columns < L) return for_width<T, L / 2>(columns, f);
    f(Width<L>{});
}

template <class T>
struct PlaneJob {
    PaddedPlane<T> source;
    T* padded;
    const T* weights;  // nine
    T bias;
    bool relu, accumulate;
    T* y;
    long y_row, rows, columns;
    const T *next_x, *next_y;  // what the next plane reads and writes: fetched meanwhile
};
template <class T>
struct PlaneConvolution {
    // R rows and N vectors of results, the vectors from columns at[0], ... on; Part: of a single one, `width` lanes.
    template <int L, int R, int N, bool Part>
    static TENON_ALWAYS_INLINE void tile(const PlaneJob<T>& job, const typename vector_of<T, L>::type* w, long row, const long* at, long width) {
        TENON_CONTRACT
        using V = typename vector_of<T, L>::type;
        using U = typename vector_of<T, L>::unaligned;
        V sum[R][N];
        TENON_UNROLL(4)
        for (int r = 0; r < R; ++r)
            TENON_UNROLL(2)
            for (int v = 0; v < N; ++v) sum[r][v] = w[9];
        const T* x = job.padded + row * job.source.pitch;
        TENON_UNROLL(6)
        for (int i = 0; i < R + 2; ++i, x += job.source.pitch)
            TENON_UNROLL(3)
            for (int j = 0; j < 3; ++j)
                TENON_UNROLL(2)
                for (int v = 0; v < N; ++v) {
                    V read = *reinterpret_cast<const U*>(x + at[v] + j);
                    keep_in_register(read);
                    TENON_UNROLL(3)
                    for (int t = 0; t < 3; ++t)
                        if (i - t >= 0 && i - t < R) sum[i - t][v] = sum[i - t][v] + read * w[t * 3 + j];
                }
        T* y = job.y + row * job.y_row;
        TENON_UNROLL(4)
        for (int r = 0; r < R; ++r, y += job.y_row)
            TENON_UNROLL(2)
            for (int v = 0; v < N; ++v) {
                V result = sum[r][v];
                if constexpr (Part) {
                    alignas(64) T lane[L];
                    if (job.accumulate) {
                        copy_part<T, L>(lane, y + at[v], width);
                        result = result + *reinterpret_cast<const V*>(lane);
                    }
                    if (job.relu) result = result < V{} ? V{} : result;
                    *reinterpret_cast<V*>(lane) = result;
                    copy_part<T, L>(y + at[v], lane, width);
                } else {
                    U* const to = reinterpret_cast<U*>(y + at[v]);
                    if (job.accumulate) result = result + *to;
                    if (job.relu) result = result < V{} ? V{} : result;
                    *to = result;
                }
            }
    }
    template <int L, int R, int N>
    static TENON_ALWAYS_INLINE void rows(const PlaneJob<T>& job, const typename vector_of<T, L>::type* w, long row) {
        for (long r = row; r < row + R; ++r)
            for (long c = 0; c < job.columns; c += 64 / long(sizeof(T))) {
                __builtin_prefetch(job.next_x + r * job.source.from_row + c);
                __builtin_prefetch(job.next_y + r * job.y_row + c, 1);
            }
        long q = 0;
        for (; q + N * L <= job.columns; q += N * L) {
            const long at[2] = {q, q + L};
            tile<L, R, N, false>(job, w, row, at, L);
        }
        if (q == job.columns) return;
        // The last columns once more, rather than less than a vector.
        if (!job.accumulate && job.columns >= L) {
            const long at[2] = {job.columns - q > L ? q : job.columns - L, job.columns - L};
            if (N == 2 && job.columns - q > L) tile<L, R, N, false>(job, w, row, at, L);
            else tile<L, R, 1, false>(job, w, row, at, L);
            return;
        }
        for (; q + L <= job.columns; q += L) tile<L, R, 1, false>(job, w, row, &q, L);
        if (q < job.columns) tile<L, R, 1, true>(job, w, row, &q, job.columns - q);
    }
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const PlaneJob<T>* job) {
        for_width<T, int(Lanes * 4 / sizeof(T))>(job->columns, [&](auto width) __attribute__((always_inline)) { convolve<decltype(width)::lanes, Lanes>(job); });
    }
    template <int L, int Lanes>
    static TENON_ALWAYS_INLINE void convolve(const PlaneJob<T>* job) {
        constexpr int R = 4, N = Lanes >= 16 ? 2 : 1;
        job->source.template copy<L>(job->padded);
        typename vector_of<T, L>::type w[10];
        TENON_UNROLL(9)
        for (int t = 0; t < 9; ++t) broadcast<T, L>(w[t], job->weights[t]);
        broadcast<T, L>(w[9], job->bias);
        long row = 0;
        for (; row + R <= job->rows; row += R) rows<L, R, N>(*job, w, row);
        if (row == job->rows) return;
        if (!job->accumulate && job->rows >= R) return rows<L, R, N>(*job, w, job->rows - R);
        for (; row < job->rows; ++row) rows<L, 1, N>(*job, w, row);
    }
};

// Nine taps that are neighbours, at a stride of one.
inline bool is_plane_pass(const Pass& p) {
    const auto along = [](const PassAxis& a) { return a.taps == 3 && a.in_step == 1 && a.offset_step == 1 && a.dense(); };
    return p.channels == 1 && p.results == 1 && along(p.axis[1]) && along(p.axis[2]);
}
// Rows of results of which the padded source takes half of the first cache.
inline long plane_rows(const Pass& p, long value_size) {
    const long grid = p.axis[1].grid, most = (24 << 10) / ((p.axis[2].grid + 2) * value_size), rows = most < 10 ? 8 : most - 2;
    const long blocks = (grid + rows - 1) / rows;
    return blocks < 2 ? grid : (grid + blocks - 1) / blocks;
}
template <class T>
PaddedPlane<T> padded_plane(const Pass& p, const T* x, const ImageStrides<3>& xs, long image, long first, long rows) {
    return {x + image * xs.n, xs.axis[1], p.axis[1].in, p.axis[2].in, first + p.axis[1].offset, p.axis[2].offset, rows + 2, p.axis[2].grid + 2};
}

// False where the pass or its layout is another.
template <class T>
bool run_plane(const PassJob<T>& job) {
    const Pass& pass = job.pass;
    if (!is_plane_pass(pass) || job.ys.axis[2] != 1 || job.xs.axis[2] != 1 || pass.axis[2].grid < 4) return false;
    T weights[9];
    for (long t = 0; t < 9; ++t) weights[t] = job.weights.data[pass.tap_index(t)] * (job.weights.scale != nullptr ? job.weights.scale[0] : T(1));
    const long grid = pass.axis[1].grid, columns = pass.axis[2].grid, count = plane_rows(pass, long(sizeof(T))), blocks = (grid + count - 1) / count;
    const double nanoseconds = 0.4 * double(pass.n * pass.pixels());
    parallel_for(pass.n * blocks, nanoseconds, [&](long index) {
        const long image = index / blocks, first = index % blocks * count, rows = first + count < grid ? count : grid - first;
        const PaddedPlane<T> source = padded_plane(pass, job.x, job.xs, image, first, rows);
        // A vector may reach beyond the last row.
        const gemm_impl::Workspace::Lease lease(gemm_impl::task_workspace, std::size_t(source.rows * source.pitch + 32) * sizeof(T));
        // Image by image, and then the next channel of those side by side.
        const bool last = image + 1 == pass.n;
        const long next_x = (last ? job.xs.channel - image * job.xs.n : job.xs.n), next_y = last ? job.ys.channel - image * job.ys.n : job.ys.n;
        const PlaneJob<T> plane{source, lease.as<T>(), weights, job.bias != nullptr ? job.bias[0] : T(0), job.relu, job.accumulate,
                                job.y + image * job.ys.n + first * job.ys.axis[1], job.ys.axis[1], rows, columns,
                                source.from + next_x, job.y + image * job.ys.n + next_y};
        dispatch<PlaneConvolution<T>>(&plane);
    });
    return true;
}

// The gradient of the nine weights, added to sums [9, lanes].
template <class T>
struct PlaneWeightsJob {
    PaddedPlane<T> source;
    T* padded;
    const T* dy;
    long dy_row, rows, columns;
    T* sums;
    long lanes;
    const T *next_x, *next_dy;
};
template <class T>
struct PlaneWeights {
    // R rows of dy, a vector of each from column q on; Part: of which `keep` tells those that have not been counted.
    template <int L, int R, bool Part, class I>
    static TENON_ALWAYS_INLINE void add(const PlaneWeightsJob<T>& job, typename vector_of<T, L>::type* sum, long row, long q, const I& keep) {
        TENON_CONTRACT
        using V = typename vector_of<T, L>::type;
        using U = typename vector_of<T, L>::unaligned;
        const T* const dy = job.dy + row * job.dy_row + q;
        V d[R];
        TENON_UNROLL(4)
        for (int r = 0; r < R; ++r) {
            d[r] = *reinterpret_cast<const U*>(dy + r * job.dy_row);
            if constexpr (Part) d[r] = (V)((I)d[r] & keep);
        }
        const T* x = job.padded + row * job.source.pitch + q;
        TENON_UNROLL(6)
        for (int i = 0; i < R + 2; ++i, x += job.source.pitch)
            TENON_UNROLL(3)
            for (int j = 0; j < 3; ++j) {
                V read = *reinterpret_cast<const U*>(x + j);
                keep_in_register(read);
                TENON_UNROLL(3)
                for (int t = 0; t < 3; ++t)
                    if (i - t >= 0 && i - t < R) sum[t * 3 + j] = sum[t * 3 + j] + read * d[i - t];
            }
    }
    template <int L, int R, class I>
    static TENON_ALWAYS_INLINE void rows(const PlaneWeightsJob<T>& job, typename vector_of<T, L>::type* sum, long row, const I& keep) {
        for (long r = row; r < row + R; ++r)
            for (long c = 0; c < job.columns; c += 64 / long(sizeof(T))) {
                __builtin_prefetch(job.next_x + r * job.source.from_row + c);
                __builtin_prefetch(job.next_dy + r * job.dy_row + c);
            }
        long q = 0;
        for (; q + L <= job.columns; q += L) add<L, R, false>(job, sum, row, q, keep);
        if (q < job.columns) add<L, R, true>(job, sum, row, job.columns - L, keep);
    }
    template <int L>
    static TENON_ALWAYS_INLINE void accumulate(const PlaneWeightsJob<T>* job) {
        using V = typename vector_of<T, L>::type;
        using U = typename vector_of<T, L>::unaligned;
        using I = typename vector_of<typename tenon::impl::int_of<sizeof(T)>::type, L>::type;
        job->source.template copy<L>(job->padded);
        V sum[9];
        TENON_UNROLL(9)
        for (int t = 0; t < 9; ++t) sum[t] = *reinterpret_cast<const U*>(job->sums + t * job->lanes);
        I keep;
        for (int l = 0; l < L; ++l) keep[l] = l < (L - job->columns % L) % L ? 0 : -1;
        long row = 0;
        for (; row + 4 <= job->rows; row += 4) rows<L, 4>(*job, sum, row, keep);
        for (; row < job->rows; ++row) rows<L, 1>(*job, sum, row, keep);
        TENON_UNROLL(9)
        for (int t = 0; t < 9; ++t) *reinterpret_cast<U*>(job->sums + t * job->lanes) = sum[t];
    }
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const PlaneWeightsJob<T>* job) {
        for_width<T, int(Lanes * 4 / sizeof(T))>(job->columns, [&](auto width) __attribute__((always_inline)) { accumulate<decltype(width)::lanes>(job); });
    }
};

// False where the pass or its layout is another.
template <class T>
bool run_plane_weights(const WeightsJob<T>& job) {
    const Pass& pass = job.pass;
    if (!is_plane_pass(pass) || job.xs.axis[2] != 1 || job.dys.axis[2] != 1 || pass.axis[2].grid < 4) return false;
    constexpr long lanes = 16, apart = 9 * lanes;
    const long grid = pass.axis[1].grid, columns = pass.axis[2].grid, count = plane_rows(pass, long(sizeof(T))), blocks = (grid + count - 1) / count;
    const long tasks = pass.n * blocks, parts = tasks < 8 ? tasks : 8;
    T sums[8 * apart];
    parallel_for(parts, 0.4 * double(pass.n * pass.pixels()), [&](long part) {
        T* const own = sums + part * apart;
        for (long i = 0; i < apart; ++i) own[i] = T(0);
        const Part mine(tasks, parts, part);
        const gemm_impl::Workspace::Lease lease(gemm_impl::task_workspace, std::size_t((count + 2) * (columns + 2) + 32) * sizeof(T));
        for (long task = mine.first; task < mine.last; ++task) {
            const long image = task / blocks, first = task % blocks * count, rows = first + count < grid ? count : grid - first;
            if (rows <= 0) continue;
            const PaddedPlane<T> source = padded_plane(pass, job.x, job.xs, image, first, rows);
            const T* const dy = job.dy + image * job.dys.n + first * job.dys.axis[1];
            const bool last = image + 1 == pass.n;
            const PlaneWeightsJob<T> plane{source, lease.as<T>(), dy, job.dys.axis[1], rows, columns, own, lanes,
                                           source.from + (last ? job.xs.channel - image * job.xs.n : job.xs.n),
                                           dy + (last ? job.dys.channel - image * job.dys.n : job.dys.n)};
            dispatch<PlaneWeights<T>>(&plane);
        }
    });
    for (long t = 0; t < 9; ++t) {
        T lane[lanes];
        for (long l = 0; l < lanes; ++l) {
            lane[l] = T(0);
            for (long part = 0; part < parts; ++part) lane[l] += sums[part * apart + t * lanes + l];
        }
        for (long half = lanes / 2; half > 0; half /= 2)
            for (long l = 0; l < half; ++l) lane[l] += lane[l + half];
        job.dw[t] = job.accumulate ? job.dw[t] + lane[0] : lane[0];
    }
    return true;
}

}  // namespace conv_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
