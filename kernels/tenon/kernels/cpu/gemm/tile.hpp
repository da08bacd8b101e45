// The micro-kernel: a tile of C in registers, one broadcast of A times a row of vectors of B per step.
//
// The rule that makes the bits of an element independent of the path: K is cut into chunks by chunk_of(K) alone. Within
// a chunk, one accumulator starts at zero and takes a * b in order of k, each step one fused multiply-add (a product
// and a sum where the machine has none). The chunks' sums s are added in order: c = c + alpha * s (alpha * s
// rounded), the first one to the old C when accumulating, else to nothing. Bias and relu follow. Every path calls this code or repeats its steps.
#pragma once

#include <tenon/base/dispatch.hpp>
#include <tenon/base/simd.hpp>
#include <tenon/kernels/cpu/gemm/pack.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace gemm_impl {

// The length of the chunks of K (the last one may be shorter).
template <class T>
constexpr long chunk_of(long k) {
    constexpr long most = sizeof(T) == 4 ? 512 : 256;
    if (k <= most) return k;
    const long chunks = (k + most - 1) / most;
    return ((k + chunks - 1) / chunks + 7) / 8 * 8;
}

// One tile: C[rows, columns] from `k` steps, which are whole chunks but for the last.
template <class T>
struct Tile {
    const T* a;         // a[i * a_row + l * a_step]; packed tiles are a[l * MR + i]
    long a_row, a_step;
    const T* b;         // b[l * b_step + j]
    long b_step;
    T* c;
    long ldc;
    long skip, rows;    // rows [skip, rows) of the tile are stored
    long columns;
    long k, chunk;
    const T* bias;      // of the tile's first column, or null
    T alpha;
    bool load;          // the first chunk adds to what C holds
    bool relu;
};

// alpha * sum, rounded here: through memory, or the compiler could contract it with the addition on one path only.
template <class V, class T>
TENON_ALWAYS_INLINE void scale_by(V& sum, T alpha) {
    V scaled = sum * alpha;
    asm("" : "+m"(scaled));
    sum = scaled;
}

// What happens to finished sums: where they go, and what is added and applied.
template <class T>
struct Finish {
    T* c;
    long ldc, rows, columns;
    T alpha;
    bool load;          // added to what C holds
    const T* bias;      // of the first column, or null
    bool relu;
};

// Finished sums into C, row after row; sums[i * stride + j] may be read up to a whole vector. Out of line and shared by all
// tiles: it is most of their code and little of their time.
template <class T>
struct FinishBody {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const Finish<T>* job, const T* sums, long stride) {
        constexpr int L = int(Lanes * 4 / sizeof(T));
        using V = typename vector_of<T, L>::type;
        using U = typename vector_of<T, L>::unaligned;
        const long columns = job->columns, ldc = job->ldc, rest = columns % L;
        const T alpha = job->alpha;
        const bool load = job->load, relu = job->relu;
        const T* const bias = job->bias;
        alignas(64) T last_bias[L] = {};
        if (bias != nullptr) copy_part<T, L>(last_bias, bias + (columns - rest), rest);
        // Where the rows of C touch, a vector may run over into the rows below, which are written after it.
        const bool over = !load && ldc == columns;
        long room = over ? job->rows * columns : columns;
        T* c = job->c;
        long i = 0;
        if (over && columns <= L && alpha == T(1)) {
            // Narrow results: one vector a row.
            const V add = *reinterpret_cast<const U*>(rest != 0 || bias == nullptr ? last_bias : bias);
            for (; i < job->rows && room >= L; ++i, c += columns, sums += stride, room -= columns) {
                V r = *reinterpret_cast<const U*>(sums);
                if (bias != nullptr) r = r + add;
                if (relu) r = r < V{} ? V{} : r;
                *reinterpret_cast<U*>(c) = r;
            }
        }
        for (; i < job->rows; ++i, c += ldc, sums += stride) {
            for (long j = 0; j < columns; j += L) {
                const long width = columns - j;
                V r = *reinterpret_cast<const U*>(sums + j);
                if (alpha != T(1)) scale_by(r, alpha);
                if (load) {
                    alignas(64) T old[L];
                    const T* from = c + j;
                    if (width < L) {
                        for (int l = 0; l < L; ++l) old[l] = T(0);
                        copy_part<T, L>(old, from, width);
                        from = old;
                    }
                    r = r + *reinterpret_cast<const U*>(from);
                }
                if (bias != nullptr) r = r + *reinterpret_cast<const U*>(width < L ? last_bias : bias + j);
                if (relu) r = r < V{} ? V{} : r;
                if (j + L <= room) {
                    *reinterpret_cast<U*>(c + j) = r;
                } else {
                    alignas(64) T part[L];
                    *reinterpret_cast<U*>(part) = r;
                    copy_part<T, L>(c + j, part, width);
                }
            }
            if (over) room -= columns;
        }
    }
};

template <int Lanes, class T>
TENON_ALWAYS_INLINE void finish(const Finish<T>* job, const T* sums, long stride) {
    using Body = FinishBody<T>;
#if TENON_DISPATCH
    if constexpr (Lanes == 16) return tenon::impl::run_avx512<Body>(job, sums, stride);
    if constexpr (Lanes == 8) return tenon::impl::run_avx2<Body>(job, sums, stride);
#endif
    tenon::impl::run_baseline<Body>(job, sums, stride);
}

template <class T, int MR, int NV, bool Packed = false>
struct TileBody {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const Tile<T>* tile) {
        TENON_CONTRACT
        constexpr int L = int(Lanes * 4 / sizeof(T));
        using V = typename vector_of<T, L>::type;
        using U = typename vector_of<T, L>::unaligned;
        const T* b = tile->b;
        const T* const a = tile->a;
        const long b_step = tile->b_step, a_step = Packed ? MR : tile->a_step, rows = tile->rows;
        bool load = tile->load;
        long left = tile->k;
        // One pointer for every three rows: a pointer each would not fit the registers.
        constexpr int groups = Packed ? 1 : (MR + 2) / 3;
        const long a_row = Packed ? 1 : tile->a_row;
        const T* start[groups];
        TENON_UNROLL(8)
        for (int g = 0; g < groups; ++g) start[g] = a + 3 * g * a_row;
        do {
            const long steps = left < tile->chunk ? left : tile->chunk;
            left -= steps;
            // C is touched when the sums are ready: its lines travel meanwhile. Many are asked for a row per step, as more
            // requests than the first cache can hold open stall what follows.
            constexpr bool spread = Packed && MR * NV > 12;
            const T* next = tile->c + tile->skip * tile->ldc;
            const T* const bottom = tile->c + (rows - 1) * tile->ldc;
            if (!spread && load)
                for (; next <= bottom; next += tile->ldc)
                    for (long j = 0; j < NV * L; j += long(64 / sizeof(T))) __builtin_prefetch(next + j, 1);
            V sum[MR][NV];
            TENON_UNROLL(32)
            for (int i = 0; i < MR; ++i)
                TENON_UNROLL(4)
                for (int v = 0; v < NV; ++v) sum[i][v] = V{};
            for (long l = 0; l < steps; ++l) {
                V row[NV];
                TENON_UNROLL(4)
                for (int v = 0; v < NV; ++v) row[v] = *reinterpret_cast<const U*>(b + v * L);
                if constexpr (spread) {
                    TENON_UNROLL(4)
                    for (int j = 0; j < NV * L; j += int(64 / sizeof(T))) __builtin_prefetch(next + j, 1);
                    next += next < bottom ? tile->ldc : 0;
                }
                // B comes from the second cache, tiles of A from there or the first. The hardware does not look far beyond a page.
                if constexpr (MR * NV >= 12) {
                    const T* const ahead = b + (Packed ? 32 * NV * L : 6 * b_step);
                    TENON_UNROLL(4)
                    for (int j = 0; j < NV * L; j += int(64 / sizeof(T))) __builtin_prefetch(ahead + j);
                    if constexpr (Packed) __builtin_prefetch(start[0] + 32 * MR);
                }
                TENON_UNROLL(32)
                for (int i = 0; i < MR; ++i) {
                    const V x = (Packed ? start[0][i] : start[i / 3][i % 3 * a_row]) - V{};
                    TENON_UNROLL(4)
                    for (int v = 0; v < NV; ++v) sum[i][v] = sum[i][v] + x * row[v];
                }
                b += Packed ? NV * L : b_step;
                TENON_UNROLL(8)
                for (int g = 0; g < groups; ++g) start[g] += a_step;
            }
            const bool last = left == 0;
            const T* bias = last ? tile->bias : nullptr;
            const bool relu = last && tile->relu;
            T* const c = tile->c;
            const long ldc = tile->ldc;
            if (rows - tile->skip == MR && tile->columns == NV * L && tile->alpha == T(1) && bias == nullptr && !relu) {
                if (load)
                    TENON_UNROLL(32)
                    for (int i = 0; i < MR; ++i)
                        TENON_UNROLL(4)
                        for (int v = 0; v < NV; ++v) sum[i][v] = sum[i][v] + *reinterpret_cast<const U*>(c + i * ldc + v * L);
                TENON_UNROLL(32)
                for (int i = 0; i < MR; ++i)
                    TENON_UNROLL(4)
                    for (int v = 0; v < NV; ++v) *reinterpret_cast<U*>(c + i * ldc + v * L) = sum[i][v];
            } else {
                alignas(64) T buffer[MR][NV * L];
                TENON_UNROLL(32)
                for (int i = 0; i < MR; ++i)
                    TENON_UNROLL(4)
                    for (int v = 0; v < NV; ++v) *reinterpret_cast<V*>(&buffer[i][v * L]) = sum[i][v];
                const Finish<T> job{c + tile->skip * ldc, ldc, rows - tile->skip, tile->columns, tile->alpha, load, bias, relu};
                finish<Lanes>(&job, static_cast<const T*>(buffer[tile->skip]), long(NV * L));
            }
            load = true;
        } while (left > 0);
    }
};

}  // namespace gemm_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
