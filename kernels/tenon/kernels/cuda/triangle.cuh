// The lower or upper triangle of matrices on the device.
#pragma once

#include <tenon/kernels/cpu/triangle.hpp>
#include <tenon/kernels/cuda/launch.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

// A block's row of threads walks along matrix rows, so that nothing is divided per element.
template <class T>
__global__ void triangle_rows(long total, long rows, long columns, long offset, bool lower, const T* x, T* y, bool add) {
#if TENON_DEVICE_CODE
    using A = typename cpu::impl::sum_type<T>::type;
    const long down = static_cast<long>(gridDim.x) * blockDim.y, right = static_cast<long>(gridDim.y) * blockDim.x;
    for (long row = static_cast<long>(blockIdx.x) * blockDim.y + threadIdx.y; row < total; row += down) {
        const long edge = row % rows + offset;
        for (long j = static_cast<long>(blockIdx.y) * blockDim.x + threadIdx.x; j < columns; j += right) {
            const bool kept = lower ? j <= edge : j >= edge;
            const long at = row * columns + j;
            if (!add) y[at] = kept ? x[at] : static_cast<T>(A(0));
            else if (kept) y[at] = static_cast<T>(static_cast<A>(y[at]) + static_cast<A>(x[at]));
        }
    }
#endif
}
// y = the triangle of each matrix of x [batch, rows, columns], 0 elsewhere; add: y += it. Reads what is kept and writes all.
template <class T>
void triangle(long batch, long rows, long columns, long offset, bool lower, const T* x, T* y, bool add) {
    if (batch <= 0 || rows <= 0 || columns <= 0) return;
    unsigned across = 32;
    while (across < static_cast<unsigned>(block_threads) && across < static_cast<unsigned long>(columns)) across *= 2;
    const dim3 block(across, block_threads / across);
    const long tiles = (columns + across - 1) / across;
    const dim3 grid(static_cast<unsigned>(blocks_for(batch * rows, block.y)), static_cast<unsigned>(tiles < 64 ? tiles : 64));
    launch("triangle", triangle_rows<T>, grid, block, std::size_t(0), batch * rows, rows, columns, offset, lower, x, y, add);
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
