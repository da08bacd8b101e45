// Reductions of a contiguous [outer, n, inner] over its middle axis by an operation that says what is kept of elements.
//
// Which element meets which in what order depends on the sizes alone. Rows of up to 1024 elements take a warp each; longer
// ones, and those of a few columns, a block, whose threads read neighbouring elements; everything else a thread per column.
// Where there are too few outputs to fill the device, the axis is cut into chunks whose states meet in a second launch.
//
// An operation has
//   Local, State        what a thread keeps while it reads, and what is handed on (4-byte multiples, without padding)
//   begin()             a Local of nothing
//   add(local, at, r)   reads element `at` of the input, row r of the axis
//   close(local)        its State
//   combine(a, b)       State of both; a's elements are not behind b's only where an operation does not care
//   finish(out, state)  writes output `out`
#pragma once

#include <tenon/kernels/cuda/memory.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

#if TENON_DEVICE_CODE
// The value of lane + d, or of lane ^ d, for anything made of 4-byte words.
template <class S>
__device__ inline S shuffle_down(const S& s, unsigned d) {
    static_assert(sizeof(S) % 4 == 0);
    unsigned words[sizeof(S) / 4];
    __builtin_memcpy(words, &s, sizeof(S));
    for (unsigned& word : words) word = __shfl_down_sync(0xffffffffu, word, d);
    S r;
    __builtin_memcpy(&r, words, sizeof(S));
    return r;
}
template <class S>
__device__ inline S shuffle_up(const S& s, unsigned d) {
    static_assert(sizeof(S) % 4 == 0);
    unsigned words[sizeof(S) / 4];
    __builtin_memcpy(words, &s, sizeof(S));
    for (unsigned& word : words) word = __shfl_up_sync(0xffffffffu, word, d);
    S r;
    __builtin_memcpy(&r, words, sizeof(S));
    return r;
}
template <class Op>
__device__ inline typename Op::State fold_warp(const Op& op, typename Op::State s) {
    for (unsigned d = 16; d > 0; d /= 2) s = op.combine(s, shuffle_down(s, d));
    return s;  // of the whole warp in lane 0
}
#endif

// A warp per output, inner == 1.
template <class Op>
__global__ void fold_rows(Op op, long n, long outputs) {
#if TENON_DEVICE_CODE
    const unsigned lane = threadIdx.x % 32;
    const long warps = static_cast<long>(gridDim.x) * (blockDim.x / 32);
    for (long m = (static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x) / 32; m < outputs; m += warps) {
        typename Op::Local local = op.begin();
        for (long r = lane; r < n; r += 32) op.add(local, m * n + r, r);
        const typename Op::State s = fold_warp(op, op.close(local));
        if (lane == 0) op.finish(m, s);
    }
#endif
}
// A block per outer index and chunk of rows: neighbouring threads take neighbouring elements of whole rows.
template <class Op>
__global__ void fold_planes(Op op, long n, unsigned inner, long outer, long chunk, typename Op::State* partial) {
#if TENON_DEVICE_CODE
    using State = typename Op::State;
    TENON_SHARED(State, states, block_threads);
    const unsigned groups = block_threads / inner, group = threadIdx.x / inner, column = threadIdx.x - group * inner;
    const long first = blockIdx.y * chunk, last = first + chunk < n ? first + chunk : n;
    unsigned top = 1;
    while (top < groups) top *= 2;
    for (long o = blockIdx.x; o < outer; o += gridDim.x) {
        typename Op::Local local = op.begin();
        if (group < groups)
            for (long r = first + group; r < last; r += groups) op.add(local, (o * n + r) * inner + column, r);
        __syncthreads();  // the states of the outer index before have been read
        states[threadIdx.x] = op.close(local);
        for (unsigned half_of = top / 2; half_of > 0; half_of /= 2) {
            __syncthreads();
            if (group < half_of && group + half_of < groups)
                states[threadIdx.x] = op.combine(states[threadIdx.x], states[threadIdx.x + half_of * inner]);
        }
        if (group == 0) {
            const long m = o * inner + column;
            if (partial == nullptr) op.finish(m, states[threadIdx.x]);
            else partial[blockIdx.y * outer * inner + m] = states[threadIdx.x];
        }
    }
#endif
}
// A thread per output and chunk of rows.
template <class Op>
__global__ void fold_columns(Op op, long n, long inner, long outputs, long chunk, typename Op::State* partial) {
#if TENON_DEVICE_CODE
    const long first = blockIdx.y * chunk, last = first + chunk < n ? first + chunk : n;
    for (long m = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x; m < outputs; m += static_cast<long>(gridDim.x) * blockDim.x) {
        const long o = m / inner, start = o * n * inner + (m - o * inner);
        typename Op::Local local = op.begin();
        for (long r = first; r < last; ++r) op.add(local, start + r * inner, r);
        if (partial == nullptr) op.finish(m, op.close(local));
        else partial[blockIdx.y * outputs + m] = op.close(local);
    }
#endif
}
// A warp per output brings the chunks' states together.
template <class Op>
__global__ void fold_chunks(Op op, long chunks, long outputs, const typename Op::State* partial) {
#if TENON_DEVICE_CODE
    const unsigned lane = threadIdx.x % 32;
    const long warps = static_cast<long>(gridDim.x) * (blockDim.x / 32);
    for (long m = (static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x) / 32; m < outputs; m += warps) {
        typename Op::State s = op.close(op.begin());
        for (long c = lane; c < chunks; c += 32) s = op.combine(s, partial[c * outputs + m]);
        s = fold_warp(op, s);
        if (lane == 0) op.finish(m, s);
    }
#endif
}

template <class Op>
void fold_axis(const char* name, long outer, long n, long inner, const Op& op) {
    using State = typename Op::State;
    const long outputs = outer * inner;
    if (outputs <= 0) return;
    if (inner == 1 && n <= 1024) return launch(name, fold_rows<Op>, blocks_for(outputs, block_threads / 32), block_threads, op, n, outputs);
    const bool planes = inner <= 32 && n * inner > 1024;
    // Chunks of at least 16384 elements for blocks, of 64 for threads, and no more than fill the device a few times.
    const long units = planes ? outer : (outputs + block_threads - 1) / block_threads;
    const long wanted = units < 1024 ? (1024 + units - 1) / units : 1, most = planes ? n * inner / 16384 : n / 64;
    long chunks = wanted < most ? wanted : most;
    if (chunks < 1) chunks = 1;
    const long chunk = n > 0 ? (n + chunks - 1) / chunks : 1;
    chunks = n > 0 ? (n + chunk - 1) / chunk : 1;
    const Scratch<State> partial(chunks > 1 ? chunks * outputs : 1);
    State* const to = chunks > 1 ? partial.get() : nullptr;
    const dim3 grid(static_cast<unsigned>(planes ? blocks_for(outer, 1) : blocks_for(outputs, block_threads)), static_cast<unsigned>(chunks));
    if (planes) launch(name, fold_planes<Op>, grid, dim3(block_threads), std::size_t(0), op, n, static_cast<unsigned>(inner), outer, chunk, to);
    else launch(name, fold_columns<Op>, grid, dim3(block_threads), std::size_t(0), op, n, inner, outputs, chunk, to);
    if (chunks > 1) launch(name, fold_chunks<Op>, blocks_for(outputs, block_threads / 32), block_threads, op, chunks, outputs, to);
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
