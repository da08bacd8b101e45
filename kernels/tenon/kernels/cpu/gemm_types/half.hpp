// Products of bf16 and half with sums in float: the kernels by instruction set, and what makes C of the sums.
#pragma once

#include <tenon/kernels/cpu/gemm_types/product.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace gemm_impl {

template <int L, class T>
TENON_ALWAYS_INLINE simd<float, L> load_lanes(const T* p) {
    if constexpr (std::is_same_v<T, float>) return simd<float, L>::load(p);
    else return load_as_float<L>(p);
}
template <int L, class T>
TENON_ALWAYS_INLINE void store_lanes(T* p, const simd<float, L>& x) {
    if constexpr (std::is_same_v<T, float>) x.store(p);
    else store_float<L>(p, x);
}

// Rows of sums into C, or into what is kept for the next chunk. Pointers are to the block's first element; null ones do not count.
template <class Out>
struct HalfFinish {
    const float* sums;
    long ld, rows, columns;
    float alpha;
    const Out* old;        // added to
    const float* partial;  // of the chunks before
    float* kept;           // for the chunks to come, or null: then c is finished
    long ld_kept;
    Out* c;
    long ldc;
    const Out* bias;
    bool relu;
};

template <class Out>
struct HalfFinishBody {
    template <int L>
    static TENON_ALWAYS_INLINE void vector(const HalfFinish<Out>* job, const float* sums, const Out* old, const float* partial, const Out* bias, float* kept,
                                           Out* c) {
        using V = simd<float, L>;
        V r = V::load(sums);
        if (job->alpha != 1.0f) {
            r = r * V(job->alpha);
            rounded(r);
        }
        if (old != nullptr) r = r + load_lanes<L>(old);
        if (partial != nullptr) r = r + V::load(partial);
        if (bias != nullptr) r = r + load_lanes<L>(bias);
        if (kept != nullptr) return r.store(kept);
        if (job->relu) r = select(r < V(0), V(0), r);
        store_lanes<L>(c, r);
    }
    template <class T>
    static TENON_ALWAYS_INLINE void copy(T* to, const T* from, long count) {
        for (long i = 0; i < count; ++i) to[i] = from[i];
    }
    template <int L>
    static TENON_ALWAYS_INLINE void run(const HalfFinish<Out>* job) {
        for (long i = 0; i < job->rows; ++i) {
            const float* const sums = job->sums + i * job->ld;
            const Out* const old = job->old != nullptr ? job->old + i * job->ldc : nullptr;
            const float* const partial = job->partial != nullptr ? job->partial + i * job->ld_kept : nullptr;
            float* const kept = job->kept != nullptr ? job->kept + i * job->ld_kept : nullptr;
            Out* const c = job->c + i * job->ldc;
            long j = 0;
            for (; j + L <= job->columns; j += L)
                vector<L>(job, sums + j, old != nullptr ? old + j : nullptr, partial != nullptr ? partial + j : nullptr,
                          job->bias != nullptr ? job->bias + j : nullptr, kept != nullptr ? kept + j : nullptr, c + j);
            const long rest = job->columns - j;
            if (rest == 0) continue;
            // The last columns go through buffers of a whole vector (sums may be read that far).
            alignas(64) Out old_rest[L] = {}, bias_rest[L] = {}, c_rest[L];
            alignas(64) float partial_rest[L] = {}, kept_rest[L];
            if (old != nullptr) copy(old_rest, old + j, rest);
            if (partial != nullptr) copy(partial_rest, partial + j, rest);
            if (job->bias != nullptr) copy(bias_rest, job->bias + j, rest);
            vector<L>(job, sums + j, old != nullptr ? old_rest : nullptr, partial != nullptr ? partial_rest : nullptr,
                      job->bias != nullptr ? bias_rest : nullptr, kept != nullptr ? kept_rest : nullptr, c_rest);
            if (kept != nullptr) copy(kept + j, kept_rest, rest);
            else copy(c + j, c_rest, rest);
        }
    }
};

#if TENON_DISPATCH
inline constexpr CellKernels<float> bf16_dot_kernels = {2, half_chunk, 16, 3, {8, 4}, TENON_CELL_TILES_3(run_avx512_bf16, Bf16Dot, 16),
                                                        TENON_CELL_PACKERS(run_avx512, ReadPairs, ReadPairs)};
template <class T>
inline constexpr CellKernels<float> float_kernels_avx512 = {1, half_chunk, 16, 3, {8, 4}, TENON_CELL_TILES_3(tenon::impl::run_avx512, FloatDot, 16),
                                                            TENON_CELL_PACKERS(run_avx512, ReadFloats<T>, ReadFloats<T>)};
template <class T>
inline constexpr CellKernels<float> float_kernels_avx2 = {1, half_chunk, 8, 2, {6, 4}, TENON_CELL_TILES_2(tenon::impl::run_avx2, FloatDot, 8),
                                                          TENON_CELL_PACKERS(run_avx2, ReadFloats<T>, ReadFloats<T>)};
#endif
template <class T>
inline constexpr CellKernels<float> float_kernels_baseline = {1, half_chunk, 4, 2, {6, 4}, TENON_CELL_TILES_2(tenon::impl::run_baseline, FloatDot, 4),
                                                              TENON_CELL_PACKERS(run_baseline, ReadFloats<T>, ReadFloats<T>)};

template <class T>
const CellKernels<float>& half_kernels() {
#if TENON_DISPATCH
    if (std::is_same_v<T, bf16> && has_bf16_dot()) return bf16_dot_kernels;
    if (isa() == Isa::avx512) return float_kernels_avx512<T>;
    if (isa() >= Isa::avx2) return float_kernels_avx2<T>;
#endif
    return float_kernels_baseline<T>;
}

// The product with given kernels; m, n and k at least 1.
template <class T, class Out>
void half_product(const CellKernels<float>& kernel, long m, long n, long k, MatrixView<T> a, MatrixView<T> b, Out* c, long ldc,
                  const GemmOptions<Out>& options) {
    const bool chunks = chunk_length(k, kernel.chunk) < k;
    in_parts<float>(m, chunks && !std::is_same_v<Out, float> ? n : 0, options.epilogue, [&](long first, long rows, float* memory, const BlockEpilogue& epilogue) {
        Out* const part = c + first * ldc;
        const CellProduct<float> product{kernel, rows, n, k,
                                         {reinterpret_cast<const char*>(a.data + first * a.row_stride), long(sizeof(T)), a.row_stride, a.column_stride},
                                         {reinterpret_cast<const char*>(b.data), long(sizeof(T)), b.column_stride, b.row_stride}, false, epilogue};
        product.run([&](const CellBlock<float>& block) {
            Out* const to = part + block.row * ldc + block.column;
            // C of floats keeps the sums of the chunks itself.
            float* kept = memory + block.row * n + block.column;
            long ld_kept = n;
            if constexpr (std::is_same_v<Out, float>) kept = to, ld_kept = ldc;
            const HalfFinish<Out> job{block.sums, block.ld, block.rows, block.columns, static_cast<float>(options.alpha),
                                      block.first && options.accumulate ? to : nullptr, block.first ? nullptr : kept, block.last ? nullptr : kept, ld_kept, to, ldc,
                                      block.last && options.bias != nullptr ? options.bias + block.column : nullptr, options.relu};
            dispatch<HalfFinishBody<Out>>(&job);
        });
    });
}

}  // namespace gemm_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
