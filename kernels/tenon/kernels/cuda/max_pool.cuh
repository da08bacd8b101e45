// The largest element of every window on the device: a thread makes one element of the result, or of the gradient, which it
// adds up from the windows that hold it, in their order. Where no positions are wanted, cuDNN makes the result if it can.
#pragma once

#include <tenon/kernels/cpu/max_pool.hpp>
#include <tenon/kernels/cuda/each.cuh>
#include <tenon/kernels/cuda/pool_cudnn.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

using cpu::PoolShape;

template <class T, class P>
void max_pool(const PoolShape& s, const T* x, T* y, P* position) {
    bool plain = position == nullptr;
    cudnn::PoolWindow windows[3];
    for (int i = 0; i < 3; ++i) {
        const cpu::PoolAxis& a = s.axes[i];
        windows[i] = {a.in, a.out, a.kernel, a.stride, a.padding};
        plain = plain && !a.adaptive && (a.dilation == 1 || a.kernel == 1);
    }
    if (plain && cudnn::pool(cuda_detail::cudnn::largest, s.x, s.y, windows, false, x, y, false)) return;
    for_each_index("max_pool", s.y.elements(), cpu::MaxPoolStep<T, P>{s, x, y, position});
}
template <class T, class P>
void max_pool_backward(const PoolShape& s, const P* position, const T* dy, T* dx, bool add) {
    for_each_index("max_pool_backward", s.x.elements(), cpu::MaxPoolBackwardStep<T, P>{s, position, dy, dx, add});
}
template <class T, class P>
void max_pool_pick(const PoolShape& s, const P* position, const T* x, T* y, bool add) {
    for_each_index("max_pool_pick", s.y.elements(), cpu::MaxPoolPickStep<T, P>{s, position, x, y, add});
}
template <class P>
void pool_indices(const PoolShape& s, const P* position, std::int64_t* indices) {
    for_each_index("pool_indices", s.y.elements(), cpu::PoolIndexStep<P>{s, position, indices});
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
