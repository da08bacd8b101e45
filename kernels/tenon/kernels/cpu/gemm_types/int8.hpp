// Products of bytes with sums in 32 bits: the kernels by instruction set, and what makes C of the sums.
//
// Integer sums are exact modulo 2^32, whatever the order. vpdpbusd takes unsigned bytes of A: signed ones are packed 128
// larger, and 128 times the sums of B's columns is taken off at the end, with the zero points.
#pragma once

#include <tenon/kernels/cpu/gemm_types/int8_options.hpp>
#include <tenon/kernels/cpu/gemm_types/product.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace gemm_impl {

// Rows of sums into C, or into what is kept for the next chunk. Pointers are to the block's first element; null ones do not count.
template <class Out>
struct Int8Finish {
    const Cell* sums;
    long ld, rows, columns;
    const Cell* partial;      // of the chunks before
    Cell* kept;               // for the chunks to come, or null: then c is finished
    long ld_kept;
    const Cell* column_sums;  // of B
    const Cell* row_terms;    // k * zero point of A - sum of the row of A: what B's zero points are multiplied by
    long shift;
    PerLane<std::int32_t> a_zero, b_zero;
    PerLane<float> a_scale, b_scale;
    bool accumulate;
    const Out* bias;
    bool relu;
    Out* c;
    long ldc;
};

template <class Out>
struct Int8FinishBody {
    template <int L, class T>
    static TENON_ALWAYS_INLINE simd<T, L> spread(const PerLane<T>& values, long j, long count) {
        if (values.step == 0) return simd<T, L>(*values.data);
        if (values.step == 1 && count >= L) return simd<T, L>::load(values.data + j);
        alignas(64) T lanes[L] = {};
        for (long i = 0; i < L && i < count; ++i) lanes[i] = values.data[(j + i) * values.step];
        return simd<T, L>::load(lanes);
    }
    // `count` values, the rest zeros.
    template <int L, class T>
    static TENON_ALWAYS_INLINE simd<T, L> part(const T* p, long count) {
        if (count >= L) return simd<T, L>::load(p);
        alignas(64) T lanes[L] = {};
        for (long i = 0; i < count; ++i) lanes[i] = p[i];
        return simd<T, L>::load(lanes);
    }
    template <int L, class T>
    static TENON_ALWAYS_INLINE void put(T* p, const simd<T, L>& x, long count) {
        if (count >= L) return x.store(p);
        alignas(64) T lanes[L];
        x.store(lanes);
        for (long i = 0; i < count; ++i) p[i] = lanes[i];
    }
    template <int L>
    static TENON_ALWAYS_INLINE void run(const Int8Finish<Out>* job) {
        using U = simd<Cell, L>;
        using F = simd<float, L>;
        for (long i = 0; i < job->rows; ++i) {
            const std::int32_t zero = job->a_zero.data != nullptr ? job->a_zero.data[i * job->a_zero.step] : 0;
            const Cell column_factor = static_cast<Cell>(zero) + static_cast<Cell>(job->shift);
            Out* const c = job->c + i * job->ldc;
            for (long j = 0; j < job->columns; j += L) {
                const long count = job->columns - j;
                U r = U::load(job->sums + i * job->ld + j);
                if (job->partial != nullptr) r = r + part<L>(job->partial + i * job->ld_kept + j, count);
                if (job->kept != nullptr) {
                    put<L>(job->kept + i * job->ld_kept + j, r, count);
                    continue;
                }
                if (job->column_sums != nullptr) r = r - U(column_factor) * part<L>(job->column_sums + j, count);
                if (job->b_zero.data != nullptr) r = r + bit_cast<Cell>(spread<L>(job->b_zero, j, count)) * U(job->row_terms[i]);
                if constexpr (std::is_same_v<Out, float>) {
                    F y = convert<float>(bit_cast<std::int32_t>(r));
                    // The scales multiplied first; every step rounded, so that all machines give the same bits.
                    F scale(job->a_scale.data != nullptr ? job->a_scale.data[i * job->a_scale.step] : 1.0f);
                    if (job->b_scale.data != nullptr) scale = scale * spread<L>(job->b_scale, j, count);
                    y = y * scale;
                    rounded(y);
                    if (job->accumulate) y = y + part<L>(c + j, count);
                    if (job->bias != nullptr) y = y + part<L>(job->bias + j, count);
                    if (job->relu) y = select(y < F(0), F(0), y);
                    put<L>(c + j, y, count);
                } else {
                    using I = simd<std::int32_t, L>;
                    I y = bit_cast<std::int32_t>(r);
                    if (job->accumulate) y = y + part<L>(c + j, count);
                    if (job->bias != nullptr) y = y + part<L>(job->bias + j, count);
                    if (job->relu) y = select(y < I(0), I(0), y);
                    put<L>(c + j, y, count);
                }
            }
        }
    }
};

// terms[i] = k * zero point - sum over row i of A[rows, k].
template <class T>
struct RowTermsBody {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(Cell* terms, const T* a, long row_stride, long column_stride, long rows, long k, const std::int32_t* zero, long zero_step) {
        for (long i = 0; i < rows; ++i, a += row_stride) {
            Cell sum = 0;
            long l = 0;
            if (column_stride == 1) {
                simd<Cell, Lanes> lanes(0);
                for (; l + Lanes <= k; l += Lanes) lanes += convert<Cell>(convert<std::int16_t>(simd<T, Lanes>::load(a + l)));
                sum = reduce_add(lanes);
            }
            for (; l < k; ++l) sum += static_cast<Cell>(a[l * column_stride]);
            terms[i] = (zero != nullptr ? static_cast<Cell>(k) * static_cast<Cell>(zero[i * zero_step]) : 0u) - sum;
        }
    }
};

inline constexpr long int16_chunk = 1024, int8_chunk = 2048;
inline constexpr Cell ones16 = 0x00010001u, ones8 = 0x01010101u;

#if TENON_DISPATCH
// Unsigned bytes need no shift.
template <class T>
inline constexpr bool flipped = std::is_same_v<T, std::int8_t>;
template <class T>
using ReadLeft = ReadQuads<T, flipped<T>>;
using ReadRight = ReadQuads<std::int8_t, false>;
template <class T>
inline constexpr CellKernels<Cell> int8_dot_kernels = {
    4, int8_chunk, 16, 3, {8, 4}, TENON_CELL_TILES_3(run_avx512_vnni, Int8Dot, 16),
    TENON_CELL_PACKERS(run_avx512, ReadLeft<T>, ReadRight), TENON_CELL_SUM(run_avx512_vnni, Int8Dot, 16, ones8), flipped<T> ? 128 : 0};
template <class T>
inline constexpr CellKernels<Cell> int16_kernels_avx512 = {
    2, int16_chunk, 16, 3, {8, 4}, TENON_CELL_TILES_3(tenon::impl::run_avx512, Int16Dot, 16),
    TENON_CELL_PACKERS(run_avx512, ReadWidened<T>, ReadWidened<std::int8_t>), TENON_CELL_SUM(tenon::impl::run_avx512, Int16Dot, 16, ones16)};
template <class T>
inline constexpr CellKernels<Cell> int16_kernels_avx2 = {
    2, int16_chunk, 8, 2, {6, 4}, TENON_CELL_TILES_2(tenon::impl::run_avx2, Int16Dot, 8),
    TENON_CELL_PACKERS(run_avx2, ReadWidened<T>, ReadWidened<std::int8_t>), TENON_CELL_SUM(tenon::impl::run_avx2, Int16Dot, 8, ones16)};
#endif
template <class T>
inline constexpr CellKernels<Cell> int16_kernels_baseline = {
    2, int16_chunk, 4, 2, {6, 4}, TENON_CELL_TILES_2(tenon::impl::run_baseline, Int16Dot, 4),
    TENON_CELL_PACKERS(run_baseline, ReadWidened<T>, ReadWidened<std::int8_t>), TENON_CELL_SUM(tenon::impl::run_baseline, Int16Dot, 4, ones16)};

template <class T>
const CellKernels<Cell>& int8_kernels() {
#if TENON_DISPATCH
    if (has_int8_dot()) return int8_dot_kernels<T>;
    if (isa() == Isa::avx512) return int16_kernels_avx512<T>;
    if (isa() >= Isa::avx2) return int16_kernels_avx2<T>;
#endif
    return int16_kernels_baseline<T>;
}

// The product with given kernels; m and n at least 1.
template <class T, class Out>
void int8_product(const CellKernels<Cell>& kernel, long m, long n, long k, MatrixView<T> a, MatrixView<std::int8_t> b, Out* c, long ldc,
                  const Int8Options<Out>& options) {
    const bool chunks = chunk_length(k, kernel.chunk) < k;
    in_parts<Cell>(m, (chunks ? n : 0) + (options.b_zero.data != nullptr ? 1 : 0), options.epilogue, [&](long first, long rows, Cell* memory, const BlockEpilogue& epilogue) {
        const T* const from = a.data + first * a.row_stride;
        Out* const part = c + first * ldc;
        const PerLane<std::int32_t> a_zero = options.a_zero.from(first);
        Cell* terms = nullptr;
        if (options.b_zero.data != nullptr) {
            terms = memory;
            memory += rows;
        }
        if (terms != nullptr) {
            const long tasks = (rows + 63) / 64;
            auto sum = [&](long t) {
                const long i = t * 64, count = rows - i < 64 ? rows - i : 64;
                const PerLane<std::int32_t> zero = a_zero.from(i);
                dispatch<RowTermsBody<T>>(terms + i, from + i * a.row_stride, a.row_stride, a.column_stride, count, k, zero.data, zero.step);
            };
            if (double(rows) * double(k) > 1e5) parallel_for(tasks, sum);
            else
                for (long t = 0; t < tasks; ++t) sum(t);
        }
        const CellProduct<Cell> product{kernel, rows, n, k,
                                        {reinterpret_cast<const char*>(from), 1, a.row_stride, a.column_stride},
                                        {reinterpret_cast<const char*>(b.data), 1, b.column_stride, b.row_stride},
                                        kernel.shift != 0 || a_zero.data != nullptr, epilogue};
        product.run([&](const CellBlock<Cell>& block) {
            Cell* const kept = memory + block.row * n + block.column;
            const Int8Finish<Out> job{block.sums, block.ld, block.rows, block.columns, block.first ? nullptr : kept, block.last ? nullptr : kept, n,
                                      block.column_sums, terms != nullptr ? terms + block.row : nullptr, kernel.shift, a_zero.from(block.row),
                                      options.b_zero.from(block.column), options.a_scale.from(first + block.row), options.b_scale.from(block.column),
                                      options.accumulate, options.bias != nullptr ? options.bias + block.column : nullptr, options.relu,
                                      part + block.row * ldc + block.column, ldc};
            dispatch<Int8FinishBody<Out>>(&job);
        });
    });
}

}  // namespace gemm_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
