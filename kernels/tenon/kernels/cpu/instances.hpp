// The kernels that a program built with TENON_EXTERN_KERNELS compiles once: the source file that holds them is
//     #define TENON_INSTANTIATE_KERNELS
//     #include <tenon/kernels/cpu/instances.hpp>
#pragma once

#include <tenon/kernels/cpu/attention.hpp>
#include <tenon/kernels/cpu/batch_norm.hpp>
#include <tenon/kernels/cpu/conv.hpp>
#include <tenon/kernels/cpu/cross_entropy.hpp>
#include <tenon/kernels/cpu/gather.hpp>
#include <tenon/kernels/cpu/gemm.hpp>
#include <tenon/kernels/cpu/gemm_half.hpp>
#include <tenon/kernels/cpu/gemm_int8.hpp>
#include <tenon/kernels/cpu/graph/instances.hpp>
#include <tenon/kernels/cpu/recurrent.hpp>
#include <tenon/kernels/cpu/reduce.hpp>
#include <tenon/kernels/cpu/rng.hpp>
#include <tenon/kernels/cpu/segment.hpp>
