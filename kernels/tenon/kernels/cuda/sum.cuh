// Sums of what the threads of a loop compute, in a fixed order, and nothing of the loop's size in memory.
//
// Along the summed axes the space is cut into chunks by its size alone. A thread adds up in shared memory, in the type of
// sum_types; threads and chunks meet in double. Where the innermost axis is summed, threads that are neighbours share an element of
// the result, from one to a whole block by how much falls on it; where it is kept, each thread has elements of its own, so that
// neighbours read neighbours either way.
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
template <class T>
inline constexpr bool summable = std::is_same_v<T, float> || std::is_same_v<T, double> || std::is_same_v<T, bf16> || std::is_same_v<T, half> ||
                                 std::is_same_v<T, std::int64_t>;

inline constexpr int vector_elements = 4;  // of a thread's step, where operands allow

// Where a sum goes: out = (mode 2: out +) scale * sum, contiguous.
struct SumTarget {
    char* out;
    double scale;
    ElementKind kind;
    unsigned char mode;
};
// How the threads of a loop share a space of which some axes are summed. Sizes are in units of a thread's work: vectors or
// single elements. Where the lanes of a vector are elements of the result (`apart`), unit = summed * kept units + kept, else
// kept * summed units + summed.
struct Sums {
    static constexpr int most = 4;  // results of one loop
    int count = 0;                  // 0: nothing is summed
    bool apart = false;
    unsigned elements = 0;          // of a result
    unsigned vectors = 0;           // kept units that are vectors, where the lanes are apart
    unsigned kept = 0, summed = 0;
    unsigned chunk = 0;             // summed units per chunk, of which there are gridDim.y
    unsigned per_block = 1;         // kept units that a block takes at a time, a power of two
    unsigned cell = 4;              // bytes of an accumulator
    SumTarget targets[most];
    void* partial = nullptr;        // [count, chunks, elements] of 8 bytes; null where there is one chunk

    std::size_t shared_bytes() const { return static_cast<std::size_t>(count) * (apart ? vector_elements : 1) * block_threads * cell; }
};

// A thread's accumulators: one per result, or one per result and lane.
struct SumCells {
    char* own = nullptr;  // the first one of this thread
    unsigned stride = 0;  // bytes from one accumulator to the next
    bool apart = false;

    template <class T, class V>
    TENON_FUNCTOR void add(int k, const V& value) const {
        using S = typename sum_types<T>::thread;
        if (apart) {
            for (int l = 0; l < V::lanes; ++l)
                *reinterpret_cast<S*>(own + static_cast<unsigned>(k * vector_elements + l) * stride) += static_cast<S>(value.v[l]);
        } else {
            S total = static_cast<S>(value.v[0]);
            for (int l = 1; l < V::lanes; ++l) total += static_cast<S>(value.v[l]);
            *reinterpret_cast<S*>(own + static_cast<unsigned>(k) * stride) += total;
        }
    }
};

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
// A total as the target's type wants it, and what is there already.
template <class P>
__device__ inline void write_sum(const SumTarget& t, unsigned m, P total) {
    if constexpr (std::is_same_v<P, std::int64_t>) {
        std::int64_t* const out = reinterpret_cast<std::int64_t*>(t.out) + m;
        *out = t.mode == 2 ? *out + total : total;
    } else {
        const double scaled = total * t.scale;
        const auto put = [&]<class T>(T* out) {
            const float value = static_cast<float>(scaled);
            out[m] = static_cast<T>(t.mode == 2 ? static_cast<float>(out[m]) + value : value);
        };
        switch (t.kind) {
            case ElementKind::float64: {
                double* const out = reinterpret_cast<double*>(t.out) + m;
                *out = t.mode == 2 ? *out + scaled : scaled;
                break;
            }
            case ElementKind::bfloat16: put(reinterpret_cast<bf16*>(t.out)); break;
            case ElementKind::float16: put(reinterpret_cast<half*>(t.out)); break;
            default: put(reinterpret_cast<float*>(t.out));
        }
    }
}
template <class P>
__device__ inline void put_sum(const Sums& s, int k, unsigned m, P total) {
    if (s.partial == nullptr) write_sum(s.targets[k], m, total);
    else static_cast<P*>(s.partial)[(static_cast<long>(k) * gridDim.y + blockIdx.y) * s.elements + m] = total;
}

// Brings the block's accumulators of one round together: those of threads that share a kept unit.
template <class S, class P>
__device__ inline void finish_sum(const Sums& s, const SumCells& cells, int k, unsigned unit) {
    const unsigned threads = block_threads / s.per_block;  // that share one
    if (s.apart) {
        if (threadIdx.x >= s.per_block || unit >= s.kept) return;
        const bool vector = unit < s.vectors;
        const unsigned m = vector ? unit * vector_elements : s.vectors * vector_elements + (unit - s.vectors);
        for (unsigned l = 0; l < (vector ? vector_elements : 1u); ++l) {
            const char* const first = cells.own + (static_cast<unsigned>(k) * vector_elements + l) * cells.stride;
            P total = 0;
            for (unsigned t = 0; t < threads; ++t) total += static_cast<P>(*reinterpret_cast<const S*>(first + t * s.per_block * s.cell));
            put_sum(s, k, m + l, total);
        }
    } else {
        P total = static_cast<P>(*reinterpret_cast<const S*>(cells.own + static_cast<unsigned>(k) * cells.stride));
        if (threads > 32) {
            total = block_sum(total, block_threads);
        } else {
            for (unsigned d = threads / 2; d > 0; d /= 2) total += __shfl_xor_sync(0xffffffffu, total, static_cast<int>(d));
        }
        if (threadIdx.x % threads == 0 && unit < s.kept) put_sum(s, k, unit, total);
    }
}

// Calls step(unit) for this thread's share of `units`, with `cells` to add to where something is summed, and writes the sums. One
// loop for both, so that a kernel holds what it computes once.
template <class F>
__device__ inline void for_units(const Sums& s, SumCells& cells, unsigned units, F step) {
    const bool summing = s.count > 0;
    const unsigned threads = block_threads / s.per_block;
    unsigned across = 0, first = blockIdx.x * blockDim.x + threadIdx.x, last = units, stride = gridDim.x * blockDim.x, accumulators = 0;
    if (summing) {
        TENON_SHARED_DYNAMIC(char, shared);
        cells.own = shared + threadIdx.x * s.cell;
        cells.stride = block_threads * s.cell;
        cells.apart = s.apart;
        accumulators = static_cast<unsigned>(s.count) * (s.apart ? vector_elements : 1u);
        across = s.apart ? threadIdx.x % s.per_block : threadIdx.x / threads;
        first = blockIdx.y * s.chunk + (s.apart ? threadIdx.x / s.per_block : threadIdx.x % threads);
        last = (blockIdx.y + 1) * s.chunk < s.summed ? (blockIdx.y + 1) * s.chunk : s.summed;
        stride = threads;
    }
    const unsigned kept = summing ? s.kept : gridDim.x;  // else each block goes around once
    // Every thread of the block goes around as often as the others: there are barriers.
    for (unsigned round = blockIdx.x * s.per_block; round < kept; round += gridDim.x * s.per_block) {
        const unsigned unit = round + across;
        for (unsigned a = 0; a < accumulators; ++a)
            for (unsigned b = 0; b < s.cell; b += 4) *reinterpret_cast<unsigned*>(cells.own + a * cells.stride + b) = 0;
        const unsigned base = !summing ? 0 : s.apart ? unit : unit * s.summed, scale = summing && s.apart ? s.kept : 1;
        if (unit < kept)
            for (unsigned r = first; r < last; r += stride) step(base + r * scale);
        if (!summing) return;
        if (s.apart) __syncthreads();
        for (int k = 0; k < s.count; ++k) switch (s.targets[k].kind) {
            case ElementKind::float64: finish_sum<double, double>(s, cells, k, unit); break;
            case ElementKind::int64: finish_sum<std::int64_t, std::int64_t>(s, cells, k, unit); break;
            default: finish_sum<float, double>(s, cells, k, unit);
        }
        if (s.apart) __syncthreads();
    }
}
#endif

// A warp adds the chunks of one element, result by result: two may be the same memory, the second one adding.
template <class Plan>
__global__ void sum_chunks(Plan s, unsigned chunks) {
#if TENON_DEVICE_CODE
    const unsigned lane = threadIdx.x % 32;
    const auto add = [&]<class P>(P total, int k, unsigned m) {
        const P* const partial = static_cast<const P*>(s.partial) + static_cast<long>(k) * chunks * s.elements + m;
        for (unsigned c = lane; c < chunks; c += 32) total += partial[static_cast<long>(c) * s.elements];
        total = warp_sum(total);
        if (lane == 0) write_sum(s.targets[k], m, total);
    };
    for (unsigned m = (blockIdx.x * blockDim.x + threadIdx.x) / 32; m < s.elements; m += gridDim.x * blockDim.x / 32)
        for (int k = 0; k < s.count; ++k) {
            if (s.targets[k].kind == ElementKind::int64) add(std::int64_t(0), k, m);
            else add(0.0, k, m);
        }
#endif
}
inline void launch_sum_chunks(const Sums& s, unsigned chunks) {
    launch("sum", &sum_chunks<Sums>, blocks_for(s.elements, block_threads / 32), block_threads, s, chunks);
}

// Completes a plan of which count, targets, apart, elements, vectors, kept and summed are known; returns the launch's grid.
inline dim3 plan_sums(Sums& s) {
    const auto power_above = [](unsigned n, unsigned most) {
        unsigned p = 1;
        while (p < n && p < most) p *= 2;
        return p;
    };
    unsigned threads;  // that share a kept unit
    if (s.apart) threads = block_threads / power_above(s.kept, block_threads);
    else threads = s.summed > 512 ? block_threads : power_above(s.summed, 32);
    s.per_block = block_threads / threads;
    for (int k = 0; k < s.count; ++k)
        if (s.targets[k].kind == ElementKind::float64 || s.targets[k].kind == ElementKind::int64) s.cell = 8;
    // Chunks of at least 16 steps per thread, and no more of them than fill the device a few times.
    const unsigned blocks = (s.kept + s.per_block - 1) / s.per_block, wanted = blocks < 1024 ? 1024 / blocks : 1;
    const unsigned most = s.summed / (16 * threads);
    unsigned chunks = wanted < most ? wanted : most;
    if (chunks < 1) chunks = 1;
    s.chunk = (s.summed + chunks - 1) / chunks;
    chunks = (s.summed + s.chunk - 1) / s.chunk;
    return dim3(static_cast<unsigned>(blocks_for(s.kept, s.per_block)), chunks);
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
