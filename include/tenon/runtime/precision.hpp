// Where products and convolutions trade precision for speed.
#pragma once

#include <tenon/base/precision.hpp>

namespace tenon {

// allow_tf32(true): products of floats on CUDA devices may round their operands to TF32 (10 bits of mantissa, relative error of a
// term up to 2^-10) and run on tensor cores, several times faster. Default: off, products are those of float. Whole program.
inline void allow_tf32(bool allowed) { __atomic_store_n(&detail::tf32_allowed, allowed, __ATOMIC_RELAXED); }
inline bool is_tf32_allowed() { return __atomic_load_n(&detail::tf32_allowed, __ATOMIC_RELAXED); }

// Rounding errors of 3x3 convolutions on the CPU, relative to the root mean square of the results (256 channels; kernels/cpu/conv/winograd.hpp
// has the measured table): fast 1.5e-6, by Winograd's F(4x4, 3x3) where that is faster; close 5e-7, by F(2x2, 3x3); exact the plain sum's,
// 3e-7 to 8e-7, and a NaN or an infinity touches only the outputs whose window it lies in.
enum class ConvPrecision { fast, close, exact };
// Default: fast. Whole program; not while convolutions run.
inline void set_conv_precision(ConvPrecision precision) {
    __atomic_store_n(&detail::winograd_outputs, precision == ConvPrecision::fast ? 4 : precision == ConvPrecision::close ? 2 : 0, __ATOMIC_RELAXED);
}
inline ConvPrecision conv_precision() {
    const int outputs = __atomic_load_n(&detail::winograd_outputs, __ATOMIC_RELAXED);
    return outputs == 4 ? ConvPrecision::fast : outputs == 2 ? ConvPrecision::close : ConvPrecision::exact;
}

}  // namespace tenon
