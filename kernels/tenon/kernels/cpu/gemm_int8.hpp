// Matrix product of bytes: C[m, n] = A[m, k] B[k, n], A of int8 or uint8, B of int8, summed exactly in 32 bits, any strides; C
// of int32, or of float through scales by row and column, with zero points, bias and relu.
//
// A program built with TENON_EXTERN_KERNELS gets the code from its instantiating source file, which includes this header
// too: see gemm_instances.hpp.
#pragma once

#include <tenon/kernels/cpu/gemm_types/int8_options.hpp>

#include <type_traits>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

// See Int8Options for what C is. Sums are exact while |sum| < 2^31, which holds for k <= 65 793 without zero points, and wrap
// beyond; nothing saturates on the way. The bits of C are the same under every instruction set, for any number of threads.
// With k = 0 the product is zero. C must not overlap A, B or the bias. Throws MemoryError when scratch cannot be had.
template <class T, class Out>
void gemm_int8(long m, long n, long k, MatrixView<T> a, MatrixView<std::int8_t> b, Out* c, long ldc, const Int8Options<Out>& options = {});

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon

#if !defined(TENON_EXTERN_KERNELS) || defined(TENON_INSTANTIATE_KERNELS)
#include <tenon/kernels/cpu/gemm_types/int8.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
template <class T, class Out>
void gemm_int8(long m, long n, long k, MatrixView<T> a, MatrixView<std::int8_t> b, Out* c, long ldc, const Int8Options<Out>& options) {
    static_assert(std::is_same_v<T, std::int8_t> || std::is_same_v<T, std::uint8_t>, "tenon: gemm_int8: the left operand is int8 or uint8");
    static_assert(std::is_same_v<Out, std::int32_t> || std::is_same_v<Out, float>, "tenon: gemm_int8: the result is int32 or float");
    if (m <= 0 || n <= 0) return;
    if (k > 0) return gemm_impl::int8_product<T, Out>(gemm_impl::int8_kernels<T>(), m, n, k, a, b, c, ldc, options);
    for (long i = 0; i < m; ++i)
        for (long j = 0; j < n; ++j) {
            // In unsigned arithmetic, where sums of integers wrap.
            using Wide = std::conditional_t<std::is_same_v<Out, float>, float, std::uint32_t>;
            Wide r = options.accumulate ? static_cast<Wide>(c[i * ldc + j]) : Wide(0);
            if (options.bias != nullptr) r += static_cast<Wide>(options.bias[j]);
            const Out value = static_cast<Out>(r);
            c[i * ldc + j] = options.relu && value < 0 ? Out(0) : value;
        }
    if (options.epilogue.run != nullptr) options.epilogue.run(options.epilogue.context, 0, m, 0, n);
}
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
#endif

#if defined(TENON_EXTERN_KERNELS)
#if defined(TENON_INSTANTIATE_KERNELS)
#define TENON_GEMM_INSTANCE template
#else
#define TENON_GEMM_INSTANCE extern template
#endif
namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
#define TENON_GEMM_INT8_INSTANCE(T, OUT) \
    TENON_GEMM_INSTANCE void gemm_int8<T, OUT>(long, long, long, MatrixView<T>, MatrixView<std::int8_t>, OUT*, long, const Int8Options<OUT>&);
TENON_GEMM_INT8_INSTANCE(std::int8_t, std::int32_t)
TENON_GEMM_INT8_INSTANCE(std::int8_t, float)
TENON_GEMM_INT8_INSTANCE(std::uint8_t, std::int32_t)
TENON_GEMM_INT8_INSTANCE(std::uint8_t, float)
#undef TENON_GEMM_INT8_INSTANCE
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
#undef TENON_GEMM_INSTANCE
#endif
