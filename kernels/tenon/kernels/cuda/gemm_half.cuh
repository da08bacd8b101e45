// Matrix product of bf16 and half into their own type or float: the functions of cpu/gemm_half.hpp.
#pragma once

#include <tenon/kernels/cpu/gemm_half.hpp>
#include <tenon/kernels/cuda/gemm.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

template <class T, class Out>
void gemm_half_batched(long batch, long m, long n, long k, MatrixView<T> a, long a_batch_stride, MatrixView<T> b, long b_batch_stride,
                       Out* c, long ldc, long c_batch_stride, const GemmOptions<Out>& options = {}) {
    gemm_impl::multiply(
        gemm_impl::make_product<T, Out>(batch, m, n, k, a, a_batch_stride, b, b_batch_stride, c, ldc, c_batch_stride, options));
}
template <class T, class Out>
void gemm_half(long m, long n, long k, MatrixView<T> a, MatrixView<T> b, Out* c, long ldc, const GemmOptions<Out>& options = {}) {
    cuda::gemm_half_batched<T, Out>(1, m, n, k, a, 0, b, 0, c, ldc, 0, options);
}

// Neighbours that are moved at once.
template <class T>
struct alignas(4 * sizeof(T)) Four { T values[4]; };

// Four elements to a thread. Moves six bytes per element, or eight where it adds.
template <class T>
__global__ void round_elements(long count, const float* from, T* to, bool add, bool aligned) {
#if TENON_DEVICE_CODE
    const long step = 4 * static_cast<long>(gridDim.x) * blockDim.x;
    for (long i = 4 * (blockIdx.x * static_cast<long>(blockDim.x) + threadIdx.x); i < count; i += step) {
        if (aligned && i + 4 <= count) {
            const Four<float> sums = *reinterpret_cast<const Four<float>*>(from + i);
            Four<T> result{};
            if (add) result = *reinterpret_cast<const Four<T>*>(to + i);
            for (int q = 0; q < 4; ++q)
                result.values[q] = static_cast<T>(add ? static_cast<float>(result.values[q]) + sums.values[q] : sums.values[q]);
            *reinterpret_cast<Four<T>*>(to + i) = result;
        } else {
            for (long q = i; q < i + 4 && q < count; ++q) to[q] = static_cast<T>(add ? static_cast<float>(to[q]) + from[q] : from[q]);
        }
    }
#endif
}
template <class T>
void round_sums(long count, const float* from, T* to, bool add) {
    const bool aligned = reinterpret_cast<std::uintptr_t>(from) % 16 == 0 && reinterpret_cast<std::uintptr_t>(to) % 8 == 0;
    if (count > 0) launch("round", round_elements<T>, blocks_for(count, 4 * block_threads), block_threads, count, from, to, add, aligned);
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
