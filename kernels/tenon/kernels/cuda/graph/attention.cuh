// Attention of graph nodes to their neighbours on the device (cpu/graph/attention.hpp). Weights are computed again wherever they
// are needed; backward keeps two numbers per edge and head for its own time.
#pragma once

#include <tenon/kernels/cpu/graph/attention.hpp>
#include <tenon/kernels/cuda/graph/spmm.cuh>
#include <tenon/kernels/cuda/staging.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

using cpu::NeighbourAttention;

// A thread takes a row and head: the largest score, and the sum of exponentials.
template <class T>
__global__ void neighbour_norms(NeighbourAttention<T> p) {
#if TENON_DEVICE_CODE
    using A = typename NeighbourAttention<T>::A;
    const long total = p.a.rows * p.heads, stride = static_cast<long>(gridDim.x) * blockDim.x;
    for (long at = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x; at < total; at += stride) {
        const long r = at / p.heads, h = at - r * p.heads, begin = p.a.begin(r), end = p.a.end(r);
        A top = static_cast<A>(-__builtin_inf()), sum = 0;
        for (long k = begin; k < end; ++k) {
            const A v = p.leaky(p.raw(p.a.columns[k], r, p.a.edge(k), h));
            top = v > top || v != v ? v : top;
        }
        for (long k = begin; k < end; ++k) sum += math::exp(p.leaky(p.raw(p.a.columns[k], r, p.a.edge(k), h)) - top);
        p.top[at] = end > begin ? top : A(0);
        p.norm[at] = end > begin ? sum : A(1);
    }
#endif
}
template <class T>
__global__ void neighbour_rows(NeighbourAttention<T> p, T* y, int threads) {
#if TENON_DEVICE_CODE
    using A = typename NeighbourAttention<T>::A;
    const long stride = p.heads * p.width, groups = static_cast<long>(gridDim.x) * blockDim.x / threads;
    for (long r = (static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x) / threads; r < p.a.rows; r += groups)
        for (long c = threadIdx.x % static_cast<unsigned>(threads); c < stride; c += threads) {
            const long h = c / p.width;
            const A top = p.top[r * p.heads + h], factor = A(1) / p.norm[r * p.heads + h];
            A sum = 0;
            for (long k = p.a.begin(r); k < p.a.end(r); ++k) {
                const long j = p.a.columns[k], e = p.a.edge(k);
                sum += math::exp(p.leaky(p.raw(j, r, e, h)) - top) * factor * p.keep(e, h) * static_cast<A>(p.h[j * stride + c]);
            }
            y[r * stride + c] = static_cast<T>(sum);
        }
#endif
}
template <class T>
void neighbour_attention(const NeighbourAttention<T>& given, T* y) {
    using A = typename NeighbourAttention<T>::A;
    if (given.a.rows <= 0 || given.heads * given.width <= 0) return;
    NeighbourAttention<T> p = given;
    const long count = given.top == nullptr ? 2 * p.a.rows * p.heads : 0;
    const Scratch<A> room(count);
    if (given.top == nullptr) p.top = room.get(), p.norm = room.get() + p.a.rows * p.heads;
    launch("neighbour_attention", neighbour_norms<T>, blocks_for(p.a.rows * p.heads, block_threads), block_threads, p);
    const int threads = threads_of_row(p.heads * p.width);
    launch("neighbour_attention", neighbour_rows<T>, blocks_for(p.a.rows, block_threads / threads), block_threads, p, y, threads);
}

// A warp takes a target and head by head the dot product dy . y.
template <class T>
__global__ void neighbour_shares(NeighbourAttention<T> p, const T* y, const T* dy, typename NeighbourAttention<T>::A* shares) {
#if TENON_DEVICE_CODE
    using A = typename NeighbourAttention<T>::A;
    const long total = p.a.rows * p.heads, warps = static_cast<long>(gridDim.x) * (blockDim.x / 32), lane = threadIdx.x % 32;
    for (long at = static_cast<long>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32; at < total; at += warps) {
        A sum = 0;
        if constexpr (std::is_same_v<A, T>) {
            for (long c = lane; c < p.width; c += 32) sum += dy[at * p.width + c] * y[at * p.width + c];
        } else {  // y was rounded
            const long i = at / p.heads, h = at - i * p.heads;
            for (long k = p.a.begin(i); k < p.a.end(i); ++k) {
                const long j = p.a.columns[k], e = p.a.edge(k);
                const A weight = math::exp(p.leaky(p.raw(j, i, e, h)) - p.top[at]) / p.norm[at] * p.keep(e, h);
                for (long c = lane; c < p.width; c += 32) sum += weight * static_cast<A>(dy[at * p.width + c]) * static_cast<A>(p.h[(j * p.heads + h) * p.width + c]);
            }
        }
        sum = warp_sum(sum);
        if (lane == 0) shares[at] = sum;
    }
#endif
}
// A warp takes a source: weights and the gradients of scores of its edges.
template <class T>
__global__ void neighbour_scores(NeighbourAttention<T> p, const T* dy, const typename NeighbourAttention<T>::A* shares,
                                 typename NeighbourAttention<T>::A* scores, typename NeighbourAttention<T>::A* weights) {
#if TENON_DEVICE_CODE
    using A = typename NeighbourAttention<T>::A;
    const long stride = p.heads * p.width, warps = static_cast<long>(gridDim.x) * (blockDim.x / 32), lane = threadIdx.x % 32;
    for (long j = static_cast<long>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32; j < p.a.rows; j += warps)
        for (long k = p.a.begin(j); k < p.a.end(j); ++k) {
            const long i = p.a.columns[k], e = p.a.edge(k);
            for (long h = 0; h < p.heads; ++h) {
                A dot = 0;
                for (long c = h * p.width + lane; c < (h + 1) * p.width; c += 32) dot += static_cast<A>(dy[i * stride + c]) * static_cast<A>(p.h[j * stride + c]);
                dot = warp_sum(dot);
                if (lane != 0) continue;
                const long at = i * p.heads + h;
                const A raw = p.raw(j, i, e, h), alpha = math::exp(p.leaky(raw) - p.top[at]) / p.norm[at], keep = p.keep(e, h);
                scores[e * p.heads + h] = alpha * (keep * dot - shares[at]) * (raw > 0 ? A(1) : p.slope);
                weights[e * p.heads + h] = alpha * keep;
            }
        }
#endif
}
// to[row, head] (+)= the sum over the row's edges.
template <class T, class A>
struct EdgeSumStep {
    CsrRows a;
    long heads;
    const A* scores;
    T* to;
    bool add;
    TENON_FUNCTOR void operator()(long at) const {
        const long r = at / heads, h = at - r * heads;
        A total = 0;
        for (long k = a.begin(r); k < a.end(r); ++k) total += scores[a.edge(k) * heads + h];
        to[at] = static_cast<T>(add ? static_cast<A>(to[at]) + total : total);
    }
};
template <class T, class A>
struct EdgeScoreStep {
    const A* scores;
    T* to;
    bool add;
    TENON_FUNCTOR void operator()(long i) const { to[i] = static_cast<T>(add ? static_cast<A>(to[i]) + scores[i] : scores[i]); }
};
template <class T, class A>
__global__ void neighbour_sums(cpu::SpmmProblem<T, A> p, int threads) {
#if TENON_DEVICE_CODE
    const long stride = p.heads * p.width, groups = static_cast<long>(gridDim.x) * blockDim.x / threads;
    for (long r = (static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x) / threads; r < p.a.rows; r += groups)
        for (long c = threadIdx.x % static_cast<unsigned>(threads); c < stride; c += threads) {
            A total = 0;
            for (long k = p.a.begin(r); k < p.a.end(r); ++k)
                total += p.weight[p.a.edge(k) * p.heads + c / p.width] * static_cast<A>(p.x[p.a.columns[k] * stride + c]);
            T& to = p.y[r * stride + c];
            to = static_cast<T>(p.accumulate ? static_cast<A>(to) + total : total);
        }
#endif
}
template <class T>
void neighbour_attention_backward(const NeighbourAttention<T>& p, const CsrRows& by_source, const T* y, const T* dy, T* dh, bool add_h, T* ds, bool add_s, T* dt,
                                  bool add_t, T* de, bool add_e, typename NeighbourAttention<T>::A* scores) {
    using A = typename NeighbourAttention<T>::A;
    const long heads = p.heads, edges = by_source.elements;
    if (heads <= 0) return;
    const Scratch<A> shares(p.a.rows * heads), weights(edges * heads);
    if (p.a.rows > 0)
        launch("neighbour_attention", neighbour_shares<T>, blocks_for(p.a.rows * heads, block_threads / 32), block_threads, p, y, dy, shares.get());
    NeighbourAttention<T> turned = p;
    turned.a = by_source;
    if (by_source.rows > 0)
        launch("neighbour_attention", neighbour_scores<T>, blocks_for(by_source.rows, block_threads / 32), block_threads, turned, dy,
               static_cast<const A*>(shares.get()), scores, weights.get());
    if (dh != nullptr && by_source.rows > 0) {
        const cpu::SpmmProblem<T, A> product{by_source, weights.get(), heads, p.width, dy, nullptr, false, dh, add_h, 0};
        const int threads = threads_of_row(heads * p.width);
        launch("neighbour_attention", neighbour_sums<T, A>, blocks_for(by_source.rows, block_threads / threads), block_threads, product, threads);
    }
    if (ds != nullptr) each(by_source.rows * heads, EdgeSumStep<T, A>{by_source, heads, scores, ds, add_s});
    if (dt != nullptr) each(p.a.rows * heads, EdgeSumStep<T, A>{p.a, heads, scores, dt, add_t});
    if (de != nullptr) each(edges * heads, EdgeScoreStep<T, A>{scores, de, add_e});
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
