// The instances of the matrix product, for programs that compile the kernels once.
//
// Define TENON_EXTERN_KERNELS for every source file (a compiler flag); then gemm.hpp declares and nothing more. One
// source file provides the code:
//     #define TENON_INSTANTIATE_KERNELS
//     #include <tenon/kernels/cpu/instances.hpp>
// which holds all kernels that are compiled once.
// The files must agree in compiler, optimisation and -m flags, which the inline namespace names: a program that mixes
// them fails to link instead of misbehaving.
#pragma once

#include <tenon/kernels/cpu/gemm.hpp>

#if defined(TENON_EXTERN_KERNELS) || defined(TENON_INSTANTIATE_KERNELS)
#if defined(TENON_INSTANTIATE_KERNELS)
#define TENON_GEMM_INSTANCE template
#else
#define TENON_GEMM_INSTANCE extern template
#endif
namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
#define TENON_GEMM_INSTANCES(T)                                                                                     \
    TENON_GEMM_INSTANCE void gemm<T>(long, long, long, MatrixView<T>, MatrixView<T>, T*, long, const GemmOptions<T>&); \
    TENON_GEMM_INSTANCE void gemm_batched<T>(long, long, long, long, MatrixView<T>, long, MatrixView<T>, long, T*,   \
                                             long, long, const GemmOptions<T>&);
TENON_GEMM_INSTANCES(float)
TENON_GEMM_INSTANCES(double)
#undef TENON_GEMM_INSTANCES
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
#undef TENON_GEMM_INSTANCE
#endif
