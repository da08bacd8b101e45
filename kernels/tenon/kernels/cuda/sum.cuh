// Sums over some axes of a strided space, in a fixed order: the space of summed axes is cut into chunks by its size
// alone, each chunk is summed in registers and across threads, and the chunks are added in order, in double.
//
// Where the innermost axis is summed, a warp or a block takes one output; where it is kept, each thread takes one, so that
// neighbouring threads read neighbouring elements either way.
#pragma once

#include <tenon/base/half.hpp>
#include <tenon/kernels/cpu/elementwise.hpp>
#include <tenon/kernels/cuda/memory.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

using cpu::ElementKind;

// Row-major coordinates over some axes, and where they lead to in memory.
struct Walk {
    int rank = 0;
    Divisor dims[cpu::elementwise_max_rank];
    long strides[cpu::elementwise_max_rank];

    void push(long dim, long stride) {
        dims[rank] = Divisor(static_cast<unsigned>(dim));
        strides[rank++] = stride;
    }
#if TENON_DEVICE_CODE
    TENON_HD long offset(unsigned flat) const {
        long at = 0;
        for (int i = rank - 1; i > 0; --i) {
            const unsigned rest = dims[i].quotient(flat);
            at += static_cast<long>(flat - rest * dims[i].divisor) * strides[i];
            flat = rest;
        }
        return rank > 0 ? at + static_cast<long>(flat) * strides[0] : at;
    }
#endif
};

template <class T> struct sum_types { using thread = float; using partial = double; };
template <> struct sum_types<double> { using thread = double; using partial = double; };
template <> struct sum_types<std::int64_t> { using thread = std::int64_t; using partial = std::int64_t; };

// Sum over the threads of a warp; every lane has it.
#if TENON_DEVICE_CODE
template <class V>
__device__ inline V warp_sum(V value) {
    for (int d = 16; d > 0; d /= 2) value += __shfl_xor_sync(0xffffffffu, value, d);
    return value;
}
// Over the threads of a block of `threads`, a multiple of 32; every thread has it. Every thread must call.
template <class V>
__device__ inline V block_sum(V value, int threads) {
    TENON_SHARED(V, warps, 32);
    value = warp_sum(value);
    __syncthreads();  // an earlier sum's values have been read
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
    __syncthreads();
    V total = warps[0];
    for (int w = 1; w < threads / 32; ++w) total += warps[w];
    return total;
}
template <class T, class P>
__device__ inline void write_sum(T* out, long m, P total, int mode, double scale) {
    if constexpr (std::is_same_v<T, std::int64_t>) {
        out[m] = mode == 2 ? out[m] + total : total;
    } else if constexpr (std::is_same_v<T, double>) {
        out[m] = mode == 2 ? out[m] + total * scale : total * scale;
    } else {
        const float value = static_cast<float>(total * scale);
        out[m] = static_cast<T>(mode == 2 ? static_cast<float>(out[m]) + value : value);
    }
}
#endif

template <class T>
struct SumJob {
    const T* data;
    T* out;
    typename sum_types<T>::partial* partial;  // null where there is one chunk
    Walk kept, summed;
    unsigned elements, summed_size, chunk;  // of outputs, of what falls on each, of that per chunk
    int mode;
    double scale;
};

// Threads per output: 32 or the whole block.
template <class T, int Threads>
__global__ void sum_inner(SumJob<T> job) {
#if TENON_DEVICE_CODE
    using S = typename sum_types<T>::thread;
    using P = typename sum_types<T>::partial;
    constexpr unsigned per_block = block_threads / Threads;
    const unsigned lane = threadIdx.x % Threads;
    const unsigned first = blockIdx.y * job.chunk;
    const unsigned last = first + job.chunk < job.summed_size ? first + job.chunk : job.summed_size;
    // Every thread of the block goes around as often as the others: block_sum has barriers.
    for (unsigned base = blockIdx.x * per_block; base < job.elements; base += gridDim.x * per_block) {
        const unsigned m = base + threadIdx.x / Threads;
        S total = 0;
        if (m < job.elements) {
            const T* from = job.data + job.kept.offset(m);
            for (unsigned r = first + lane; r < last; r += Threads) total += static_cast<S>(from[job.summed.offset(r)]);
        }
        const P whole = Threads == 32 ? warp_sum(static_cast<P>(total)) : block_sum(static_cast<P>(total), block_threads);
        if (lane == 0 && m < job.elements) {
            if (job.partial == nullptr) write_sum(job.out, m, whole, job.mode, job.scale);
            else job.partial[static_cast<long>(blockIdx.y) * job.elements + m] = whole;
        }
    }
#endif
}
template <class T>
__global__ void sum_outer(SumJob<T> job) {
#if TENON_DEVICE_CODE
    using S = typename sum_types<T>::thread;
    using P = typename sum_types<T>::partial;
    const unsigned first = blockIdx.y * job.chunk;
    const unsigned last = first + job.chunk < job.summed_size ? first + job.chunk : job.summed_size;
    for (unsigned m = blockIdx.x * blockDim.x + threadIdx.x; m < job.elements; m += gridDim.x * blockDim.x) {
        const T* from = job.data + job.kept.offset(m);
        S total = 0;
        for (unsigned r = first; r < last; ++r) total += static_cast<S>(from[job.summed.offset(r)]);
        if (job.partial == nullptr) write_sum(job.out, m, static_cast<P>(total), job.mode, job.scale);
        else job.partial[static_cast<long>(blockIdx.y) * job.elements + m] = static_cast<P>(total);
    }
#endif
}
// A warp adds the chunks of one output.
template <class T>
__global__ void sum_chunks(SumJob<T> job, unsigned chunks) {
#if TENON_DEVICE_CODE
    using P = typename sum_types<T>::partial;
    const unsigned lane = threadIdx.x % 32;
    for (unsigned m = (blockIdx.x * blockDim.x + threadIdx.x) / 32; m < job.elements; m += gridDim.x * blockDim.x / 32) {
        P total = 0;
        for (unsigned c = lane; c < chunks; c += 32) total += job.partial[static_cast<long>(c) * job.elements + m];
        total = warp_sum(total);
        if (lane == 0) write_sum(job.out, m, total, job.mode, job.scale);
    }
#endif
}
// Outputs that nothing falls on.
template <class T>
__global__ void sum_nothing(T* out, unsigned elements, int mode, float value) {
#if TENON_DEVICE_CODE
    for (unsigned m = blockIdx.x * blockDim.x + threadIdx.x; m < elements; m += gridDim.x * blockDim.x)
        if (mode != 2) out[m] = static_cast<T>(value);
#endif
}

template <class T>
void sum_space_as(const T* data, int rank, const long* dims, const long* strides, const long* out_strides, T* out, int mode, double scale) {
    SumJob<T> job{};
    job.data = data;
    job.out = out;
    job.mode = mode;
    job.scale = scale;
    long elements = 1, summed = 1;
    for (int i = 0; i < rank; ++i) {
        if (dims[i] == 1) continue;
        if (out_strides[i] != 0) {
            job.kept.push(dims[i], strides[i]);
            elements *= dims[i];
        } else {
            job.summed.push(dims[i], strides[i]);
            summed *= dims[i];
        }
    }
    if (elements >= (1l << 31) || summed >= (1l << 31)) fail<ShapeError>("sum: more than 2^31 elements along the kept or the summed axes");
    job.elements = static_cast<unsigned>(elements);
    job.summed_size = static_cast<unsigned>(summed);
    if (elements == 0) return;
    if (summed == 0) return launch("sum", sum_nothing<T>, blocks_for(elements, block_threads), block_threads, out, job.elements, mode,
                                   static_cast<float>(0 * scale));  // a mean of nothing is NaN
    int innermost = rank - 1;
    while (innermost > 0 && dims[innermost] == 1) --innermost;
    const bool outer = rank > 0 && out_strides[innermost] != 0 && dims[innermost] >= 8;
    const long least = outer ? 64 : 16384;  // elements per chunk
    long chunks = (summed + least - 1) / least;
    if (chunks > 1024) chunks = 1024;
    const long chunk = (summed + chunks - 1) / chunks;
    chunks = (summed + chunk - 1) / chunk;
    job.chunk = static_cast<unsigned>(chunk);
    Scratch<typename sum_types<T>::partial> partial(chunks > 1 ? chunks * elements : 1);
    if (chunks > 1) job.partial = partial.get();
    const auto grid = [&](long per_block) {
        return dim3(static_cast<unsigned>(blocks_for(elements, per_block)), static_cast<unsigned>(chunks));
    };
    if (outer) launch("sum", sum_outer<T>, grid(block_threads), dim3(block_threads), std::size_t(0), job);
    else if (chunk <= 1024) launch("sum", sum_inner<T, 32>, grid(block_threads / 32), dim3(block_threads), std::size_t(0), job);
    else launch("sum", sum_inner<T, block_threads>, grid(1), dim3(block_threads), std::size_t(0), job);
    if (chunks > 1) launch("sum", sum_chunks<T>, blocks_for(elements, block_threads / 32), block_threads, job, static_cast<unsigned>(chunks));
}

// out = (mode 2: out +) scale times the sum of what falls on each of its elements. Strides are in elements of the space; out
// is contiguous, with stride 0 along summed axes.
inline void sum_space(ElementKind kind, const char* data, int rank, const long* dims, const long* strides, const long* out_strides, char* out,
                      int mode, double scale) {
    const auto run = [&]<class T>(T*) {
        sum_space_as(reinterpret_cast<const T*>(data), rank, dims, strides, out_strides, reinterpret_cast<T*>(out), mode, scale);
    };
    switch (kind) {
        case ElementKind::float32: return run(static_cast<float*>(nullptr));
        case ElementKind::float64: return run(static_cast<double*>(nullptr));
        case ElementKind::bfloat16: return run(static_cast<bf16*>(nullptr));
        case ElementKind::float16: return run(static_cast<half*>(nullptr));
        case ElementKind::int64: return run(static_cast<std::int64_t*>(nullptr));
        case ElementKind::other: break;
    }
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
