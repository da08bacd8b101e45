// Every compiler and platform switch of the library, in one place.
#pragma once

#define TENON_VERSION_MAJOR 0
#define TENON_VERSION_MINOR 1
#define TENON_VERSION_PATCH 0

#if !defined(__GNUC__)
#error "tenon needs g++ >= 12 or clang++ >= 14 (it uses their vector extensions)"
#elif !defined(__clang__) && !defined(__CUDACC__) && __GNUC__ < 12
#error "tenon needs g++ >= 12: this compiler is older"
#elif defined(__clang__) && __clang_major__ < 14
#error "tenon needs clang++ >= 14: this compiler is older"
#endif
#if __cplusplus < 202002L
#error "tenon needs C++20: compile with -std=c++20"
#endif

#define TENON_ALWAYS_INLINE inline __attribute__((always_inline))
#define TENON_NOINLINE __attribute__((noinline))
#define TENON_COLD __attribute__((noinline, cold))
#define TENON_LIKELY(x) __builtin_expect(!!(x), 1)
#define TENON_UNLIKELY(x) __builtin_expect(!!(x), 0)

// TENON_UNROLL(8) for (...): loops over accumulators must be unrolled whole, or g++ keeps them on the stack.
#define TENON_PRAGMA(x) _Pragma(#x)
#if defined(__clang__) || defined(__CUDA_ARCH__)
#define TENON_UNROLL(n) TENON_PRAGMA(unroll n)
#else
#define TENON_UNROLL(n) TENON_PRAGMA(GCC unroll n)
#endif

#if defined(__CUDACC__)
#pragma nv_diag_suppress 1675  // "unrecognized GCC pragma": it is for the host compiler
#define TENON_HD __host__ __device__
#define TENON_CONFIG_COMPILER cuda
#else
#define TENON_HD
#if defined(TENON_CUDA_EMULATOR)
#define TENON_CONFIG_COMPILER emulator
#else
#define TENON_CONFIG_COMPILER cpu
#endif
#endif

// TENON_CUDA: this translation unit holds CUDA's kernels, compiled by nvcc or, in the tests, by any compiler against an
// emulated CUDA runtime. TENON_DEVICE_CODE: the pass that compiles the bodies of kernels.
#if defined(__CUDACC__) || defined(TENON_CUDA_EMULATOR)
#define TENON_CUDA 1
#else
#define TENON_CUDA 0
#endif
// TENON_CUBLAS: products on CUDA devices go through cuBLASLt, so that programs that use them link it; 0: the library's own kernel.
#if !defined(TENON_CUBLAS)
#if defined(__CUDACC__) && __has_include(<cublasLt.h>)
#define TENON_CUBLAS 1
#else
#define TENON_CUBLAS 0
#endif
#endif
#if defined(__CUDA_ARCH__) || defined(TENON_CUDA_EMULATOR)
#define TENON_DEVICE_CODE 1
#else
#define TENON_DEVICE_CODE 0
#endif

// A functor that serves SIMD lanes and device scalars. nvcc refuses vector types in anything it may have to compile for
// the device, so functors are device functions in the device pass only, where no host loop is instantiated, and host
// functions in the host pass, where the bodies of kernels are empty.
#if defined(__CUDA_ARCH__)
#define TENON_FUNCTOR __host__ __device__ inline
#else
#define TENON_FUNCTOR TENON_ALWAYS_INLINE
#endif

// TENON_KERNEL_INSTANCE void f<float>(...): compiled once in a program built with TENON_EXTERN_KERNELS, by the source file that
// defines TENON_INSTANTIATE_KERNELS; declared everywhere else.
#if defined(TENON_INSTANTIATE_KERNELS)
#define TENON_KERNEL_INSTANCE template
#elif defined(TENON_EXTERN_KERNELS)
#define TENON_KERNEL_INSTANCE extern template
#endif

// Run-time choice of the instruction set. Without optimisation nothing is inlined into the target functions, so an
// unoptimised build keeps to the baseline width; so does a program with an emulated device, whose host code is there to
// be compared with.
#if defined(__x86_64__) && defined(__OPTIMIZE__) && !defined(__CUDA_ARCH__) && !defined(TENON_CUDA_EMULATOR)
#define TENON_DISPATCH 1
#define TENON_TARGET_AVX2 __attribute__((target("avx2,fma,f16c")))
#define TENON_TARGET_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")))
#define TENON_TARGET_AVX512_BF16 __attribute__((target("avx512bf16,avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")))
#define TENON_TARGET_AVX512_VNNI __attribute__((target("avx512vnni,avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")))
#else
#define TENON_DISPATCH 0
#define TENON_TARGET_AVX2
#define TENON_TARGET_AVX512
#define TENON_TARGET_AVX512_BF16
#define TENON_TARGET_AVX512_VNNI
#endif
// A loop compiled for one instruction set: everything it calls must be inlined into it.
#define TENON_LOOP __attribute__((flatten, noinline))

// Which code a function that instantiates kernels holds depends on the flags of its translation unit. The inline
// namespace names them, so that objects built with different flags (or by nvcc) link into one program.
#if defined(__OPTIMIZE__)
#define TENON_CONFIG_OPT o1
#else
#define TENON_CONFIG_OPT o0
#endif
#if defined(__AVX512F__)
#define TENON_CONFIG_ISA avx512
#elif defined(__AVX2__)
#define TENON_CONFIG_ISA avx2
#else
#define TENON_CONFIG_ISA base
#endif
#if defined(__FAST_MATH__)
#define TENON_CONFIG_MATH fast
#else
#define TENON_CONFIG_MATH ieee
#endif
#define TENON_CONFIG_JOIN2(a, b, c, d, e) v0_1_##a##_##b##_##c##_##d##_##e
#define TENON_CONFIG_JOIN(a, b, c, d, e) TENON_CONFIG_JOIN2(a, b, c, d, e)
#if defined(__clang__)
#define TENON_CONFIG_VENDOR clang
#else
#define TENON_CONFIG_VENDOR gcc
#endif
#define TENON_CONFIG_NAMESPACE \
    TENON_CONFIG_JOIN(TENON_CONFIG_COMPILER, TENON_CONFIG_VENDOR, TENON_CONFIG_ISA, TENON_CONFIG_OPT, TENON_CONFIG_MATH)

namespace tenon {
// Code whose instructions depend on compiler flags lives in here.
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {}
#if TENON_CUDA
namespace kernels::cuda {}
#endif
}
}  // namespace tenon
