// The one translation unit that holds the heavy kernels of a program built with TENON_EXTERN_KERNELS.
#define TENON_INSTANTIATE_KERNELS
#include <tenon/kernels/cpu/attention.hpp>
#include <tenon/kernels/cpu/conv.hpp>
#include <tenon/kernels/cpu/gemm.hpp>
#include <tenon/kernels/cpu/gemm_half.hpp>
#include <tenon/kernels/cpu/gemm_int8.hpp>
#include <tenon/kernels/cpu/recurrent.hpp>
