// Matrix product of bf16 and half, summed in float: C[m, n] = A[m, k] B[k, n] with C in the operands' type or in float, any
// strides, with bias, relu, scale and accumulation.
//
// A program built with TENON_EXTERN_KERNELS gets the code from its instantiating source file, which includes this header
// too: see gemm_instances.hpp.
#pragma once

#include <tenon/base/half.hpp>
#include <tenon/kernels/cpu/gemm.hpp>

#include <type_traits>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

// As for floats; the scale is a float, and C is rounded once, when bias and relu are done.
template <class T>
    requires(std::is_same_v<T, bf16> || std::is_same_v<T, half>)
struct GemmOptions<T> {
    bool accumulate = false;
    float alpha = 1;
    const T* bias = nullptr;
    bool relu = false;
    BlockEpilogue epilogue = {};
};

// C = relu(alpha * A B + bias), or relu(C + alpha * A B + bias) with accumulate: T is bf16 or half, Out is T or float, and
// an Out of T is the rounded Out of float. With k = 0 the product is zero. C must not overlap A, B or the bias.
//
// Bits. K is cut into chunks of chunk_length(k, 512); within a chunk one float sum per element takes a * b in order of k,
// each step rounded once; the pairs (2 l, 2 l + 1) of bf16 in the order 2 l + 1, 2 l, which is vdpbf16ps's. Products of
// these types are exact in float, so the bits of an element depend on k alone and are those of every instruction set, as
// long as products and sums stay clear of float's subnormals and overflow: vdpbf16ps takes subnormals for zero (on
// machines with avx512_bf16 and TENON_EXTENSIONS not 0), and without FMA (baseline) a product overflows by itself.
// Throws MemoryError when scratch cannot be had.
template <class T, class Out>
void gemm_half(long m, long n, long k, MatrixView<T> a, MatrixView<T> b, Out* c, long ldc, const GemmOptions<Out>& options = {});

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

#if !defined(TENON_EXTERN_KERNELS) || defined(TENON_INSTANTIATE_KERNELS)
#include <tenon/kernels/cpu/gemm_types/half.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
template <class T, class Out>
void gemm_half(long m, long n, long k, MatrixView<T> a, MatrixView<T> b, Out* c, long ldc, const GemmOptions<Out>& options) {
    static_assert(std::is_same_v<T, bf16> || std::is_same_v<T, half>, "tenon: gemm_half: the operands are bf16 or half");
    static_assert(std::is_same_v<Out, T> || std::is_same_v<Out, float>, "tenon: gemm_half: the result has the operands' type or is float");
    if (m <= 0 || n <= 0) return;
    if (k > 0) return gemm_impl::half_product<T, Out>(gemm_impl::half_kernels<T>(), m, n, k, a, b, c, ldc, options);
    for (long i = 0; i < m; ++i)
        for (long j = 0; j < n; ++j) {
            float r = options.accumulate ? static_cast<float>(c[i * ldc + j]) : 0.0f;
            if (options.bias != nullptr) r += static_cast<float>(options.bias[j]);
            c[i * ldc + j] = options.relu && r < 0 ? Out(0.0f) : Out(r);
        }
    if (options.epilogue.run != nullptr) options.epilogue.run(options.epilogue.context, 0, m, 0, n);
}
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
#endif

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

// Sums made in float, each rounded once: to = from, or to + from.
template <class T>
void round_sums(long count, const float* from, T* to, bool add) {
    for (long i = 0; i < count; ++i) to[i] = T(add ? static_cast<float>(to[i]) + from[i] : from[i]);
}

// gemm and gemm_batched serve these types as they serve floats.
template <>
inline void gemm<bf16>(long m, long n, long k, MatrixView<bf16> a, MatrixView<bf16> b, bf16* c, long ldc, const GemmOptions<bf16>& options) {
    gemm_half<bf16, bf16>(m, n, k, a, b, c, ldc, options);
}
template <>
inline void gemm<half>(long m, long n, long k, MatrixView<half> a, MatrixView<half> b, half* c, long ldc, const GemmOptions<half>& options) {
    gemm_half<half, half>(m, n, k, a, b, c, ldc, options);
}

#if defined(TENON_EXTERN_KERNELS)
#if defined(TENON_INSTANTIATE_KERNELS)
#define TENON_GEMM_INSTANCE template
#else
#define TENON_GEMM_INSTANCE extern template
#endif
#define TENON_GEMM_HALF_INSTANCES(T)                                                                                                        \
    TENON_GEMM_INSTANCE void gemm_half<T, T>(long, long, long, MatrixView<T>, MatrixView<T>, T*, long, const GemmOptions<T>&);              \
    TENON_GEMM_INSTANCE void gemm_half<T, float>(long, long, long, MatrixView<T>, MatrixView<T>, float*, long, const GemmOptions<float>&);  \
    TENON_GEMM_INSTANCE void gemm_batched<T>(long, long, long, long, MatrixView<T>, long, MatrixView<T>, long, T*, long, long,              \
                                             const GemmOptions<T>&);
TENON_GEMM_HALF_INSTANCES(bf16)
TENON_GEMM_HALF_INSTANCES(half)
#undef TENON_GEMM_HALF_INSTANCES
#undef TENON_GEMM_INSTANCE
#endif

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
