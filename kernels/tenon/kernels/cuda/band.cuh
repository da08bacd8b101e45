// Average pooling and interpolation on the device (cpu/band.hpp): a thread makes one element, and computes the weights that it
// needs: no table travels to the device.
#pragma once

#include <tenon/kernels/cpu/band.hpp>
#include <tenon/kernels/cuda/each.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

using cpu::BandShape;

template <class T>
void band(const BandShape& s, const T* x, T* y, bool add) {
    for_each_index("band", s.y.elements(), cpu::BandStep<T>{s, x, y, add});
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
