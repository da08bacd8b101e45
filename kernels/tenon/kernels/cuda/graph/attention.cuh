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

// Of every row and head: the largest score, and the sum of exponentials.
template <class T>
struct NeighbourNorms {
    using A = typename NeighbourAttention<T>::A;
    struct State {
        A top, sum;
    };
    NeighbourAttention<T> p;

    TENON_FUNCTOR State start() const { return {-A(__builtin_inf()), A(0)}; }
    TENON_FUNCTOR void step(State& s, long r, long k, long h) const {
        const A score = p.leaky(p.raw(p.a.columns[k], r, p.a.edge(k), h));
        if (s.sum == A(0)) {
            s = {score, A(1)};
        } else if (score > s.top || score != score) {
            s.sum = s.sum * math::exp(s.top - score) + A(1);
            s.top = score;
        } else {
            s.sum += score == s.top ? A(1) : math::exp(score - s.top);  // (both may be -infinity)
        }
    }
    TENON_FUNCTOR void join(State& total, const State& part) const {
        if (part.sum == A(0)) return;
        if (total.sum == A(0)) {
            total = part;
            return;
        }
        if (part.top == total.top) {
            total.sum += part.sum;
            return;
        }
        const A top = part.top > total.top || part.top != part.top ? part.top : total.top;
        total.sum = total.sum * math::exp(total.top - top) + part.sum * math::exp(part.top - top);
        total.top = top;
    }
    TENON_FUNCTOR void finish(const State& s, long r, long h) const {
        const bool any = p.a.end(r) > p.a.begin(r);
        p.top[r * p.heads + h] = any ? s.top : A(0);
        p.norm[r * p.heads + h] = any ? s.sum : A(1);
    }
};
template <class T>
struct NeighbourRows {
    using State = typename NeighbourAttention<T>::A;
    NeighbourAttention<T> p;
    T* y;

    TENON_FUNCTOR State start() const { return State(0); }
    TENON_FUNCTOR State weight(long r, long j, long e, long h) const {
        const long at = r * p.heads + h;
        return math::exp(p.leaky(p.raw(j, r, e, h)) - p.top[at]) * (State(1) / p.norm[at]) * p.keep(e, h);
    }
    TENON_FUNCTOR void join(State& total, const State& part) const { total += part; }
    TENON_FUNCTOR T result(const State& s, long, long) const { return static_cast<T>(s); }
    TENON_FUNCTOR void finish(const State& s, long r, long c) const { y[r * p.heads * p.width + c] = static_cast<T>(s); }
};
template <class T>
void neighbour_attention(const NeighbourAttention<T>& given, T* y) {
    using A = typename NeighbourAttention<T>::A;
    if (given.a.rows <= 0 || given.heads * given.width <= 0) return;
    NeighbourAttention<T> p = given;
    const long count = given.top == nullptr ? 2 * p.a.rows * p.heads : 0;
    const Scratch<A> room(count);
    if (given.top == nullptr) p.top = room.get(), p.norm = room.get() + p.a.rows * p.heads;
    fold_csr_rows_in_pairs("neighbour_attention", NeighbourNorms<T>{p}, p.a, p.heads);
    sum_rows("neighbour_attention", NeighbourRows<T>{p, y}, p.a, RowTable<T>{p.heads, p.width, p.h, y});
}

// A group of lanes takes a target and a head: the dot product dy . y.
template <class T>
__global__ void neighbour_shares(NeighbourAttention<T> p, const T* y, const T* dy, int threads, typename NeighbourAttention<T>::A* shares) {
#if TENON_DEVICE_CODE
    using A = typename NeighbourAttention<T>::A;
    const long total = p.a.rows * p.heads, groups = static_cast<long>(gridDim.x) * blockDim.x / threads;
    const long lane = threadIdx.x % static_cast<unsigned>(threads), own = (static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x) / threads;
    for (long base = own - own % (32 / threads); base < total; base += groups) {  // (as often in every lane of a warp)
        const long at = base + own % (32 / threads);
        A sum = 0;
        if (at < total) {
            if constexpr (std::is_same_v<A, T>) {
                for (long c = lane; c < p.width; c += threads) sum += dy[at * p.width + c] * y[at * p.width + c];
            } else {  // y was rounded
                const long i = at / p.heads, h = at - i * p.heads;
                for (long k = p.a.begin(i); k < p.a.end(i); ++k) {
                    const long j = p.a.columns[k], e = p.a.edge(k);
                    const A weight = math::exp(p.leaky(p.raw(j, i, e, h)) - p.top[at]) / p.norm[at] * p.keep(e, h);
                    for (long c = lane; c < p.width; c += threads)
                        sum += weight * static_cast<A>(dy[at * p.width + c]) * static_cast<A>(p.h[(j * p.heads + h) * p.width + c]);
                }
            }
        }
        sum = group_sum(sum, threads);
        if (lane == 0 && at < total) shares[at] = sum;
    }
#endif
}
// A group of lanes takes an edge and a head: its weight and the gradient of its score. Rows are sources.
template <class T>
__global__ void neighbour_scores(NeighbourAttention<T> p, const T* dy, const typename NeighbourAttention<T>::A* shares, int threads,
                                 typename NeighbourAttention<T>::A* scores, typename NeighbourAttention<T>::A* weights) {
#if TENON_DEVICE_CODE
    using A = typename NeighbourAttention<T>::A;
    const long stride = p.heads * p.width, lane = threadIdx.x % static_cast<unsigned>(threads);
    each_head(p.a, p.heads, threads, [&](long j, long k, long h) {
        const long i = k < 0 ? 0 : p.a.columns[k];
        A dot = 0;
        if (k >= 0)
            for (long c = h * p.width + lane; c < (h + 1) * p.width; c += threads)
                dot += static_cast<A>(dy[i * stride + c]) * static_cast<A>(p.h[j * stride + c]);
        dot = group_sum(dot, threads);
        if (k < 0 || lane != 0) return;
        const long e = p.a.edge(k), at = i * p.heads + h;
        const A raw = p.raw(j, i, e, h), alpha = math::exp(p.leaky(raw) - p.top[at]) / p.norm[at], keep = p.keep(e, h);
        scores[e * p.heads + h] = alpha * (keep * dot - shares[at]) * (raw > 0 ? A(1) : p.slope);
        weights[e * p.heads + h] = alpha * keep;
    });
#endif
}
// to[row, head] (+)= the sum over the row's edges.
template <class T, class A>
struct EdgeSums {
    using State = A;
    CsrRows a;
    long heads;
    const A* scores;
    T* to;
    bool add;

    TENON_FUNCTOR State start() const { return A(0); }
    TENON_FUNCTOR void step(State& s, long, long k, long h) const { s += scores[a.edge(k) * heads + h]; }
    TENON_FUNCTOR void join(State& total, const State& part) const { total += part; }
    TENON_FUNCTOR void finish(const State& s, long r, long h) const {
        T& out = to[r * heads + h];
        out = static_cast<T>(add ? static_cast<A>(out) + s : s);
    }
};
template <class T, class A>
struct EdgeScoreStep {
    const A* scores;
    T* to;
    bool add;
    TENON_FUNCTOR void operator()(long i) const { to[i] = static_cast<T>(add ? static_cast<A>(to[i]) + scores[i] : scores[i]); }
};
template <class T>
void neighbour_attention_backward(const NeighbourAttention<T>& p, const CsrRows& by_source, const T* y, const T* dy, T* dh, bool add_h,
                                  T* ds, bool add_s, T* dt, bool add_t, T* de, bool add_e, typename NeighbourAttention<T>::A* scores) {
    using A = typename NeighbourAttention<T>::A;
    const long heads = p.heads, edges = by_source.elements;
    if (heads <= 0) return;
    const Scratch<A> shares(p.a.rows * heads), weights(edges * heads);
    const int threads = threads_of_row(p.width);
    if (p.a.rows > 0)
        launch("neighbour_attention", neighbour_shares<T>, blocks_for(p.a.rows * heads, block_threads / threads), block_threads, p, y, dy,
               threads, shares.get());
    NeighbourAttention<T> turned = p;
    turned.a = by_source;
    if (edges > 0)
        launch("neighbour_attention", neighbour_scores<T>, blocks_for_elements(by_source), block_threads, turned, dy,
               static_cast<const A*>(shares.get()), threads, scores, weights.get());
    if (dh != nullptr) {
        const cpu::SpmmProblem<T, A> product{by_source, weights.get(), heads, p.width, dy, nullptr, false, dh, add_h, 0};
        sum_rows("neighbour_attention", SpmmFold<Chosen::all, T, A>{product}, by_source, RowTable<T>{heads, p.width, dy, dh});
    }
    if (ds != nullptr) fold_csr_rows_in_pairs("neighbour_attention", EdgeSums<T, A>{by_source, heads, scores, ds, add_s}, by_source, heads);
    if (dt != nullptr) fold_csr_rows_in_pairs("neighbour_attention", EdgeSums<T, A>{p.a, heads, scores, dt, add_t}, p.a, heads);
    if (de != nullptr) each(edges * heads, EdgeScoreStep<T, A>{scores, de, add_e});
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
