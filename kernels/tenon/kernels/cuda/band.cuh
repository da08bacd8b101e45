// Average pooling and interpolation on the device (cpu/band.hpp): a thread makes one element, and computes the weights that it
// needs: no table travels to the device. Averages of windows go through cuDNN where it can express them.
#pragma once

#include <tenon/kernels/cpu/band.hpp>
#include <tenon/kernels/cuda/each.cuh>
#include <tenon/kernels/cuda/pool_cudnn.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

using cpu::BandShape;

namespace cudnn {

template <class T>
bool average_pool(const BandShape& s, const T* x, T* y, bool add) {
    PoolWindow windows[3];
    bool plain = true, padded = false, with_padding = true;
    for (int i = 0; i < 3; ++i) {
        const cpu::BandAxis& a = s.axes[i];
        windows[i] = {a.in, a.out, a.kernel, a.stride, a.padding};
        plain = plain && a.kind == cpu::BandKind::box && a.override == 0;
        padded = padded || a.padding > 0;
        with_padding = with_padding && (a.padding == 0 || a.include_padding);
    }
    const int mode = !padded || with_padding ? cuda_detail::cudnn::average_with_padding : cuda_detail::cudnn::average_without_padding;
    return plain && pool(mode, s.transposed ? s.y : s.x, s.transposed ? s.x : s.y, windows, s.transposed, x, y, add);
}

}  // namespace cudnn

template <class T>
void band(const BandShape& s, const T* x, T* y, bool add) {
    if (cudnn::average_pool(s, x, y, add)) return;
    for_each_index("band", s.y.elements(), cpu::BandStep<T>{s, x, y, add});
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
