// Adding between strided layouts.
#pragma once

#include <tenon/base/pack.hpp>
#include <tenon/kernels/cpu/add_strided.hpp>
#include <tenon/kernels/cuda/sum.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

template <class T>
__global__ void add_elements(T* to, Walk to_walk, const T* from, Walk from_walk, unsigned count) {
#if TENON_DEVICE_CODE
    using A = typename cpu::impl::sum_type<T>::type;
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x) {
        T& target = to[to_walk.offset(i)];
        target = static_cast<T>(static_cast<A>(target) + static_cast<A>(from[from_walk.offset(i)]));
    }
#endif
}
// Both contiguous and aligned: four neighbours per thread.
template <class T>
__global__ void add_vectors(T* to, const T* from, long vectors) {
#if TENON_DEVICE_CODE
    const long stride = static_cast<long>(gridDim.x) * blockDim.x;
    for (long i = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x; i < vectors; i += stride)
        store_pack(to + 4 * i, load_pack<T, 4>(to + 4 * i, false) + load_pack<T, 4>(from + 4 * i, false));
#endif
}

// dst[i, j, ...] += src[i, j, ...] over `shape`, for any strides (in elements). No two points may share an element of dst.
// Reads both sides and writes one.
template <class T>
void add_strided(int rank, const long* shape, T* dst, const long* dst_strides, const T* src, const long* src_strides) {
    cpu::impl::CopyPlan p;
    if (rank > cpu::elementwise_max_rank) fail<ShapeError>("add: rank ", rank, " is above ", cpu::elementwise_max_rank);
    if (!cpu::impl::plan_copy(p, rank, shape, dst_strides, src_strides)) return;
    constexpr std::uintptr_t alignment = sizeof(T) * 4 < 16 ? sizeof(T) * 4 : 16;
    if (p.rank == 1 && p.to[0] == 1 && p.from[0] == 1 && p.shape[0] % 4 == 0 &&
        (reinterpret_cast<std::uintptr_t>(dst) | reinterpret_cast<std::uintptr_t>(src)) % alignment == 0)
        return launch("add", add_vectors<T>, blocks_for(p.shape[0] / 4, block_threads), block_threads, dst, src, p.shape[0] / 4);
    long row = 1;
    for (int i = 1; i < p.rank; ++i) row *= p.shape[i];
    const long whole = p.rank == 0 ? 1 : p.shape[0], largest = 1l << 30;
    if (row > largest) fail<ShapeError>("add: more than 2^30 elements behind the first axis");
    for (long done = 0; done < whole;) {
        const long some = whole - done < largest / row ? whole - done : largest / row;
        Walk to_walk, from_walk;
        for (int i = 0; i < p.rank; ++i) {
            to_walk.push(i == 0 ? some : p.shape[i], p.to[i]);
            from_walk.push(i == 0 ? some : p.shape[i], p.from[i]);
        }
        launch("add", add_elements<T>, blocks_for(some * row, block_threads), block_threads, dst + (p.rank == 0 ? 0 : done * p.to[0]), to_walk,
               src + (p.rank == 0 ? 0 : done * p.from[0]), from_walk, static_cast<unsigned>(some * row));
        done += some;
    }
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
