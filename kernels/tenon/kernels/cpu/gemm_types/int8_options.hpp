// What a product of bytes is told.
#pragma once

#include <tenon/kernels/cpu/gemm/types.hpp>

#include <cstdint>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

// A value for every row or column: data[i * step]; step 0 is one for all, null data none.
template <class T>
struct PerLane {
    const T* data = nullptr;
    long step = 0;
    PerLane from(long i) const { return data != nullptr ? PerLane{data + i * step, step} : PerLane{}; }
};

// S[i, j] = sum over l of (a[i, l] - a_zero[i]) * (b[l, j] - b_zero[j]), modulo 2^32. Then, for Out = float,
// C = relu(a_scale[i] * b_scale[j] * S + bias[j]), absent scales being one, with the product of the scales and the product with it
// rounded; for Out = int32 C = relu(S + bias[j]), modulo 2^32 too, without scales. With accumulate the old C is added before
// the bias.
template <class Out>
struct Int8Options {
    bool accumulate = false;
    PerLane<std::int32_t> a_zero = {}, b_zero = {};
    PerLane<float> a_scale = {}, b_scale = {};  // for Out = float
    const Out* bias = nullptr;                  // n values
    bool relu = false;
    BlockEpilogue epilogue = {};
};

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
