// Matrix products of bf16 and half: matmul, linear, einsum and nn::Linear take these types where this header is included, with
// everything that rides in a product's epilogue.
//
// Sums are made in float and rounded once: after bias and relu where those ride in the registers; any other formula that
// follows runs on the rounded product, as PyTorch does it. Gradients have the operands' type; where a batch shares an operand,
// its gradient is summed in float over the batch and rounded once. No second derivatives. See kernels/cpu/gemm_half.hpp for the
// order of the sums.
#pragma once

#include <tenon/kernels/cpu/gemm_half.hpp>
#include <tenon/ops/matmul.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/gemm_half.cuh>
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

template <> inline constexpr bool has_product<bf16> = true;
template <> inline constexpr bool has_product<half> = true;

template <class T>
struct HalfProductSum {
    using type = float;
    using View = kernels::cpu::MatrixView<T>;
    template <class Out>
    static void multiply([[maybe_unused]] Device device, [[maybe_unused]] long batch, long m, long n, long k, View a, [[maybe_unused]] long a_batch, View b,
                         [[maybe_unused]] long b_batch, Out* c, [[maybe_unused]] long c_batch, bool accumulate) {
        kernels::cpu::GemmOptions<Out> options;
        options.accumulate = accumulate;
#if TENON_CUDA
        if (!device.is_cpu()) return kernels::cuda::gemm_half_batched<T, Out>(batch, m, n, k, a, a_batch, b, b_batch, c, n, c_batch, options);
#endif
        kernels::cpu::gemm_half<T, Out>(m, n, k, a, b, c, n, options);
    }
    static void round(Device device, long count, const float* sums, T* gradient, bool add) { TENON_RUN(device, round_sums<T>(count, sums, gradient, add)); }
};
template <> struct ProductSum<bf16> : HalfProductSum<bf16> {};
template <> struct ProductSum<half> : HalfProductSum<half> {};

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
