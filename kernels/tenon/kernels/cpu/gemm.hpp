// Matrix product: C[m, n] = A[m, k] B[k, n], float and double, any strides, with bias, relu, scale and accumulation.
//
// By default this header is all there is. A program that wants the kernels compiled once defines TENON_EXTERN_KERNELS
// everywhere, and in one source file TENON_INSTANTIATE_KERNELS before the include: see gemm_instances.hpp.
#pragma once

#include <tenon/kernels/cpu/gemm/types.hpp>

#if !defined(TENON_EXTERN_KERNELS) || defined(TENON_INSTANTIATE_KERNELS)
#include <tenon/kernels/cpu/gemm/reference.hpp>
#include <tenon/kernels/cpu/gemm/direct.hpp>
#include <tenon/kernels/cpu/gemm/vector.hpp>
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

// C[m, n] (rows ldc >= n apart) from the views A[m, k] and B[k, n]; see GemmOptions for what is added and applied. With
// k = 0 the product is zero. C must not overlap A, B or the bias. Bits of an element depend on k, T and the instruction
// set alone: neither on the threads nor on m, n or the strides. Throws MemoryError when scratch cannot be had.
template <class T>
void gemm(long m, long n, long k, MatrixView<T> a, MatrixView<T> b, T* c, long ldc, const GemmOptions<T>& options = {});

// `batch` products of one shape; the operands of the next one lie a, b and c_batch_stride further (0 shares one).
template <class T>
void gemm_batched(long batch, long m, long n, long k, MatrixView<T> a, long a_batch_stride, MatrixView<T> b,
                  long b_batch_stride, T* c, long ldc, long c_batch_stride, const GemmOptions<T>& options = {});

// The same for row-major A and B, rows lda and ldb apart.
template <class T>
void gemm(long m, long n, long k, const T* a, long lda, const T* b, long ldb, T* c, long ldc, const GemmOptions<T>& options = {}) {
    gemm<T>(m, n, k, MatrixView<T>{a, lda, 1}, MatrixView<T>{b, ldb, 1}, c, ldc, options);
}

#if !defined(TENON_EXTERN_KERNELS) || defined(TENON_INSTANTIATE_KERNELS)
namespace gemm_impl {

// k = 0: what is left of C, the bias and relu.
template <class T>
void gemm_empty(long m, long n, T* c, long ldc, const GemmOptions<T>& options) {
    for (long i = 0; i < m; ++i)
        for (long j = 0; j < n; ++j) {
            T r = options.accumulate ? c[i * ldc + j] : T(0);
            if (options.bias != nullptr) r += options.bias[j];
            if (options.relu && r < 0) r = 0;
            c[i * ldc + j] = r;
        }
    finish_block(options.epilogue, 0, m, 0, n);
}

}  // namespace gemm_impl

template <class T>
void gemm(long m, long n, long k, MatrixView<T> a, MatrixView<T> b, T* c, long ldc, const GemmOptions<T>& options) {
    if (m <= 0 || n <= 0) return;
    if (k <= 0) return gemm_impl::gemm_empty(m, n, c, ldc, options);
    if (n == 1 && (a.row_stride == 1 || a.column_stride == 1)) {
        const gemm_impl::VectorProduct<T> product{b.data, b.row_stride, a.data, a.row_stride, a.column_stride, c, ldc, options.bias, 0,
                                             m, k, gemm_impl::chunk_of<T>(k), options.alpha, options.accumulate, options.relu};
        return gemm_impl::gemm_vector(product, true, options.epilogue);
    }
    if (m == 1 && (b.row_stride == 1 || (b.column_stride == 1 && n * k > 4096))) {
        const gemm_impl::VectorProduct<T> product{a.data, a.column_stride, b.data, b.column_stride, b.row_stride, c, 1, options.bias, 1,
                                             n, k, gemm_impl::chunk_of<T>(k), options.alpha, options.accumulate, options.relu};
        return gemm_impl::gemm_vector(product, false, options.epilogue);
    }
    // B small enough for the second cache, and rows of A that do not fall on the same lines of the first: no need to pack A.
    const double b_bytes = double(n) * double(k) * sizeof(T);
    const bool aliased = a.column_stride == 1 && a.row_stride * long(sizeof(T)) % 2048 == 0;
    if (n <= 64 || double(m) * double(n) * double(k) <= 64.0 * 64 * 64 || (m <= 32 && b_bytes <= 1 << 18) ||
        (m <= 1024 && b_bytes <= 1 << 20 && !aliased))
        return gemm_impl::gemm_direct(m, n, k, a, b, c, ldc, options);
    const auto pack = gemm_impl::kernels<T>().pack;
    const gemm_impl::PackRows<T> rows{a, pack};
    const gemm_impl::PackColumns<T> columns{b, pack};
    if (m <= 48) gemm_impl::gemm_flat(m, n, k, rows, columns, c, ldc, options);
    else gemm_impl::gemm_blocked(m, n, k, rows, columns, c, ldc, options);
}

template <class T>
void gemm_batched(long batch, long m, long n, long k, MatrixView<T> a, long a_batch_stride, MatrixView<T> b,
                  long b_batch_stride, T* c, long ldc, long c_batch_stride, const GemmOptions<T>& options) {
    if (batch <= 0 || m <= 0 || n <= 0) return;
    auto one = [&](long p) {
        struct Shifted {
            const BlockEpilogue* epilogue;
            long rows;
        } shifted{&options.epilogue, p * m};
        GemmOptions<T> mine = options;
        if (options.epilogue.run != nullptr)
            mine.epilogue = {[](void* context, long row, long rows, long column, long columns) {
                                 const Shifted& to = *static_cast<const Shifted*>(context);
                                 to.epilogue->run(to.epilogue->context, to.rows + row, rows, column, columns);
                             },
                             &shifted};
        gemm<T>(m, n, k, MatrixView<T>{a.data + p * a_batch_stride, a.row_stride, a.column_stride},
                MatrixView<T>{b.data + p * b_batch_stride, b.row_stride, b.column_stride}, c + p * c_batch_stride, ldc, mine);
    };
    const double flops = 2.0 * double(m) * double(n) * double(k);
    // Few large products share the threads inside; many small ones are dealt out, enough of them to a task.
    if (flops >= 3e7 && batch < 8) {
        for (long p = 0; p < batch; ++p) one(p);
        return;
    }
    const double all = flops * double(batch);
    long tasks = all < gemm_impl::serial_flops ? 1 : long(2 * all / gemm_impl::serial_flops);
    if (tasks > 32) tasks = 32;
    if (tasks > batch) tasks = batch;
    parallel_for(tasks, [&](long t) {
        const gemm_impl::Part part(batch, tasks, t);
        for (long p = part.first; p < part.last; ++p) one(p);
    });
}
#endif

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

#if defined(TENON_EXTERN_KERNELS)
#include <tenon/kernels/cpu/gemm_instances.hpp>
#endif
