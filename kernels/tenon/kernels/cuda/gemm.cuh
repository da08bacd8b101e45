// Matrix product: C[m, n] = A[m, k] B[k, n] of float, double, bf16 and half, any strides, with bias, relu, scale and accumulation:
// the functions of cpu/gemm.hpp. Half precision is summed in float and rounded once.
//
// cuBLASLt makes the product, the bias and relu where it can. What it refuses, and what is too small to be worth its call, goes
// through tiles (gemm/tiled.cuh).
#pragma once

#include <tenon/kernels/cuda/gemm/cublas.cuh>
#include <tenon/kernels/cuda/gemm/tiled.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {
namespace gemm_impl {

// What an epilogue would have done to C[rows, n]. Reads and writes C once.
template <class Out>
__global__ void finish_rows(Out* c, long ldc, long c_batch, long m, long rows, long n, const Out* bias, bool relu) {
#if TENON_DEVICE_CODE
    using Sum = typename sum_of<Out>::type;
    for (long r = blockIdx.y; r < rows; r += gridDim.y) {
        Out* const row = c + r / m * c_batch + r % m * ldc;
        for (long j = blockIdx.x * static_cast<long>(blockDim.x) + threadIdx.x; j < n; j += static_cast<long>(gridDim.x) * blockDim.x) {
            Sum value = static_cast<Sum>(row[j]);
            if (bias != nullptr) value += static_cast<Sum>(bias[j]);
            if (relu && value < 0) value = 0;
            row[j] = static_cast<Out>(value);
        }
    }
#endif
}

inline dim3 grid_of_rows(long rows, long n) {
    const long across = blocks_for(n, block_threads, 1), down = blocks_for(rows, 1, 16);
    return dim3(static_cast<unsigned>(across), static_cast<unsigned>(down));
}

#if TENON_CUBLAS
// Whether cuBLASLt has made the product.
template <class T, class Out>
bool multiply_readable(const Product<T, Out>& x) {
    constexpr long most = 65535;
    const CublasMatrix<T> a(x.batch, x.m, x.k, x.a, x.a_batch), b(x.batch, x.k, x.n, x.b, x.b_batch);
    for (long first = 0; first < x.batch; first += most) {
        const long count = x.batch - first < most ? x.batch - first : most;
        CublasOperand<T> left = a.operand, right = b.operand;
        left.data += first * left.batch_stride;
        right.data += first * right.batch_stride;
        Out* const c = x.c + first * x.c_batch;
        const bool aligned = reinterpret_cast<std::uintptr_t>(x.bias) % 16 == 0;  // the epilogue may read it in wide words
        const bool inside = (x.bias != nullptr || x.relu) && aligned;
        // The bias of a product in another type than its result's has no fixed type.
        const auto epilogue = static_cast<CublasEpilogue>((x.bias != nullptr ? 4 : 0) + (x.relu ? 2 : 0));
        if (inside && (std::is_same_v<T, float> || std::is_same_v<T, Out>) && !std::is_same_v<T, double> &&
            multiply_cublas<T, Out>(count, x.m, x.n, x.k, left, right, c, x.ldc, x.c_batch, x.alpha, x.accumulate, epilogue, x.bias))
            continue;
        // Half precision is rounded once: nothing may follow a rounded result.
        const bool follows = x.bias != nullptr || x.relu;
        if (follows && !std::is_same_v<Out, float> && !std::is_same_v<Out, double>) return false;
        if (!multiply_cublas<T, Out>(count, x.m, x.n, x.k, left, right, c, x.ldc, x.c_batch, x.alpha, x.accumulate, CublasEpilogue::none,
                                     nullptr))
            return false;
        if (follows)
            launch("gemm", finish_rows<Out>, grid_of_rows(count * x.m, x.n), dim3(block_threads), std::size_t(0), c, x.ldc, x.c_batch, x.m,
                   count * x.m, x.n, x.bias, x.relu);
    }
    return true;
}
#endif

template <class T, class Out>
void multiply(const Product<T, Out>& x) {
    if (x.batch <= 0 || x.m <= 0 || x.n <= 0) return;
#if TENON_CUBLAS
    // A handful of blocks with a few steps each end before cuBLASLt has been called.
    const bool tiny = x.m <= tile && x.n <= tile && x.k <= tile && x.batch <= 16;
    if (x.k > 0 && !tiny && multiply_readable(x)) return;
#endif
    run_tiles("gemm", x);
}

}  // namespace gemm_impl

// See cpu/gemm.hpp; the block epilogue, if any, runs once over the whole result, on the host, after the launch. Bits depend on the
// shape, the types and the device.
template <class T>
void gemm_batched(long batch, long m, long n, long k, MatrixView<T> a, long a_batch_stride, MatrixView<T> b, long b_batch_stride, T* c,
                  long ldc, long c_batch_stride, const GemmOptions<T>& options = {}) {
    gemm_impl::multiply(
        gemm_impl::make_product<T, T>(batch, m, n, k, a, a_batch_stride, b, b_batch_stride, c, ldc, c_batch_stride, options));
    if (options.epilogue.run != nullptr && batch > 0 && m > 0 && n > 0) options.epilogue.run(options.epilogue.context, 0, batch * m, 0, n);
}
template <class T>
void gemm(long m, long n, long k, MatrixView<T> a, MatrixView<T> b, T* c, long ldc, const GemmOptions<T>& options = {}) {
    cuda::gemm_batched<T>(1, m, n, k, a, 0, b, 0, c, ldc, 0, options);
}
template <class T>
void gemm(long m, long n, long k, const T* a, long lda, const T* b, long ldb, T* c, long ldc, const GemmOptions<T>& options = {}) {
    cuda::gemm<T>(m, n, k, MatrixView<T>{a, lda, 1}, MatrixView<T>{b, ldb, 1}, c, ldc, options);
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
