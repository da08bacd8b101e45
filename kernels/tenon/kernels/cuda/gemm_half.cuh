// Matrix product of bf16 and half into their own type or float: the functions of cpu/gemm_half.hpp.
#pragma once

#include <tenon/kernels/cpu/gemm_half.hpp>
#include <tenon/kernels/cuda/gemm.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

template <class T, class Out>
void gemm_half_batched(long batch, long m, long n, long k, MatrixView<T> a, long a_batch_stride, MatrixView<T> b, long b_batch_stride, Out* c, long ldc,
                       long c_batch_stride, const GemmOptions<Out>& options = {}) {
    gemm_impl::multiply(gemm_impl::make_product<T, Out>(batch, m, n, k, a, a_batch_stride, b, b_batch_stride, c, ldc, c_batch_stride, options));
}
template <class T, class Out>
void gemm_half(long m, long n, long k, MatrixView<T> a, MatrixView<T> b, Out* c, long ldc, const GemmOptions<Out>& options = {}) {
    gemm_half_batched<T, Out>(1, m, n, k, a, 0, b, 0, c, ldc, 0, options);
}

// Moves six bytes per element, or eight where it adds.
template <class T>
__global__ void round_elements(long count, const float* from, T* to, bool add) {
#if TENON_DEVICE_CODE
    for (long i = blockIdx.x * static_cast<long>(blockDim.x) + threadIdx.x; i < count; i += static_cast<long>(gridDim.x) * blockDim.x)
        to[i] = static_cast<T>(add ? static_cast<float>(to[i]) + from[i] : from[i]);
#endif
}
template <class T>
void round_sums(long count, const float* from, T* to, bool add) {
    if (count > 0) launch("round", round_elements<T>, blocks_for(count, block_threads), block_threads, count, from, to, add);
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
