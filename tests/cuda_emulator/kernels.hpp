// Kernels of the emulator's tests. nvcc compiles them too (compile_with_nvcc.sh): what runs here is CUDA.
#pragma once

#include <cuda_runtime.h>

#if defined(TENON_CUDA_EMULATOR)
#define TEST_SHARED(T, name, count)             \
    static const char name##_key = 0;           \
    T* const name = ::cuda_emulator::shared_array<T>(count, &name##_key)
#define TEST_SHARED_DYNAMIC(T, name) T* const name = ::cuda_emulator::shared_dynamic<T>()
#else
#define TEST_SHARED(T, name, count) __shared__ T name[count]
#define TEST_SHARED_DYNAMIC(T, name)                          \
    extern __shared__ __align__(16) unsigned char name##_bytes[]; \
    T* const name = reinterpret_cast<T*>(name##_bytes)
#endif

template <class T>
__device__ __forceinline__ T warp_sum(T value) {
    for (unsigned offset = 16; offset > 0; offset /= 2) value += __shfl_down_sync(0xffffffffu, value, offset);
    return value;
}

// out[block] = the sum of the block's part of in.
template <class T>
__global__ void __launch_bounds__(1024) block_sum(const T* __restrict__ in, T* __restrict__ out, int n) {
    TEST_SHARED(T, partial, 32);
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    T value = warp_sum(i < n ? in[i] : T(0));
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
    __syncthreads();
    if (threadIdx.x < 32) {
        value = warp_sum(threadIdx.x < (blockDim.x + 31) / 32 ? partial[threadIdx.x] : T(0));
        if (threadIdx.x == 0) out[blockIdx.x] = value;
    }
}

// Inclusive scan of one block, in dynamic shared memory.
template <class T>
__global__ void scan_block(const T* in, T* out, int n) {
    TEST_SHARED_DYNAMIC(T, buffer);
    const int i = static_cast<int>(threadIdx.x);
    buffer[i] = i < n ? in[i] : T(0);
    __syncthreads();
    for (int offset = 1; offset < static_cast<int>(blockDim.x); offset *= 2) {
        T add = i >= offset ? buffer[i - offset] : T(0);
        __syncthreads();
        buffer[i] += add;
        __syncthreads();
    }
    if (i < n) out[i] = buffer[i];
}

// counts[v] += how often v occurs: first in shared memory, then in device memory.
template <int bins>
__global__ void histogram(const unsigned char* in, unsigned* counts, int n) {
    TEST_SHARED(unsigned, local, bins);
    for (unsigned i = threadIdx.x; i < bins; i += blockDim.x) local[i] = 0;
    __syncthreads();
    for (int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); i < n; i += static_cast<int>(gridDim.x * blockDim.x))
        atomicAdd(&local[in[i] % bins], 1u);
    __syncthreads();
    for (unsigned i = threadIdx.x; i < bins; i += blockDim.x) atomicAdd(&counts[i], local[i]);
}

// out [columns, rows] = in [rows, columns] transposed, by tiles of 32 x 32 in blocks of 32 x 8 threads.
template <class T>
__global__ void transpose(const T* in, T* out, int rows, int columns) {
    TEST_SHARED(T, tile, 32 * 33);
    const int x = static_cast<int>(threadIdx.x), column = static_cast<int>(blockIdx.x) * 32 + x;
    for (int y = static_cast<int>(threadIdx.y); y < 32; y += static_cast<int>(blockDim.y)) {
        const int row = static_cast<int>(blockIdx.y) * 32 + y;
        if (row < rows && column < columns) tile[y * 33 + x] = in[row * columns + column];
    }
    __syncthreads();
    const int row = static_cast<int>(blockIdx.y) * 32 + x;
    for (int y = static_cast<int>(threadIdx.y); y < 32; y += static_cast<int>(blockDim.y)) {
        const int to = static_cast<int>(blockIdx.x) * 32 + y;
        if (row < rows && to < columns) out[to * rows + row] = tile[x * 33 + y];
    }
}

// y = a x + y, four floats at a time.
template <class T>
__global__ void axpy4(float a, const T* x, T* y, int n) {
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (i >= n) return;
    T u = x[i], v = y[i];
    v.x += a * u.x;
    v.y += a * u.y;
    v.z += a * u.z;
    v.w += a * u.w;
    y[i] = v;
}

// *out = the sum of in by the block that finishes last.
template <class T>
__global__ void sum_by_last_block(const T* in, T* partials, unsigned* arrived, T* out, int n) {
    TEST_SHARED(T, partial, 32);
    TEST_SHARED(bool, last, 1);
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    T value = warp_sum(i < n ? in[i] : T(0));
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = value;
    __syncthreads();
    if (threadIdx.x == 0) {
        T total = T(0);
        for (unsigned w = 0; w < blockDim.x / 32; ++w) total += partial[w];
        partials[blockIdx.x] = total;
        __threadfence();
        last[0] = atomicAdd(arrived, 1u) == gridDim.x - 1;
    }
    __syncthreads();
    if (last[0] && threadIdx.x == 0) {
        T total = T(0);
        for (unsigned b = 0; b < gridDim.x; ++b) total += partials[b];
        *out = total;
    }
}

// What a warp's votes, matches and reductions give; eleven numbers per thread.
template <class T>
__global__ void warp_operations(const T* in, T* out) {
    const unsigned all = 0xffffffffu;
    const T value = in[threadIdx.x];
    T* row = out + threadIdx.x * 11;
    row[0] = static_cast<T>(__ballot_sync(all, value % 2 == 0));
    row[1] = static_cast<T>(__any_sync(all, value == in[7]));
    row[2] = static_cast<T>(__all_sync(all, value >= 0));
    row[3] = static_cast<T>(__match_any_sync(all, value % 3));
    row[4] = __reduce_add_sync(all, value);
    row[5] = __reduce_min_sync(all, value);
    row[6] = __reduce_max_sync(all, value);
    row[7] = __shfl_sync(all, value, 3, 8);
    row[8] = __shfl_up_sync(all, value, 1);
    row[9] = __shfl_xor_sync(all, value, 5);
    row[10] = static_cast<T>(__syncthreads_count(value % 2 == 0));
}
