// Precision of products on devices that trade it for speed.
#pragma once

#include <tenon/base/precision.hpp>

namespace tenon {

// allow_tf32(true): products of floats on CUDA devices may round their operands to TF32 (10 bits of mantissa, relative error of a
// term up to 2^-10) and run on tensor cores, several times faster. Default: off, products are those of float. Whole program.
inline void allow_tf32(bool allowed) { __atomic_store_n(&detail::tf32_allowed, allowed, __ATOMIC_RELAXED); }
inline bool is_tf32_allowed() { return __atomic_load_n(&detail::tf32_allowed, __ATOMIC_RELAXED); }

}  // namespace tenon
