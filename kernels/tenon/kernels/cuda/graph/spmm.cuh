// Products of sparse rows on the device (cpu/graph/spmm.hpp, extreme.hpp, sddmm.hpp), with the order of additions of the CPU.
#pragma once

#include <tenon/kernels/cpu/graph/extreme.hpp>
#include <tenon/kernels/cpu/graph/sddmm.hpp>
#include <tenon/kernels/cuda/each.cuh>
#include <tenon/kernels/cuda/graph/sum_rows.cuh>
#include <tenon/kernels/cuda/sum.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

using cpu::Chosen;
using cpu::SddmmProblem;
using cpu::SpmmProblem;

template <Chosen Side, class T, class W = T>
struct SpmmFold {
    using State = typename cpu::impl::sum_type<T>::type;
    SpmmProblem<T, W> p;

    TENON_FUNCTOR State start() const { return State(0); }
    TENON_FUNCTOR void step(State& s, long r, long k, long j) const {
        const long stride = p.heads * p.width, c = p.a.columns[k], e = p.a.edge(k);
        if (Side != Chosen::all && p.chosen[(Side == Chosen::by_row ? r : c) * stride + j] != e) return;
        const State x = static_cast<State>(p.x[c * stride + j]);
        s += p.weight == nullptr ? x : static_cast<State>(p.weight[e * p.heads + j / p.width]) * x;
    }
    TENON_FUNCTOR State weight(long, long, long e, long h) const {
        return p.weight == nullptr ? State(1) : static_cast<State>(p.weight[e * p.heads + h]);
    }
    TENON_FUNCTOR void join(State& total, const State& part) const { total += part; }
    TENON_FUNCTOR T result(State total, long r, long j) const {
        const long begin = p.a.begin(r), end = p.a.end(r);
        if (p.mean && end > begin) total *= static_cast<State>(1.0 / static_cast<double>(end - begin));
        if (p.accumulate) total += static_cast<State>(p.y[r * p.heads * p.width + j]);
        return static_cast<T>(total);
    }
    TENON_FUNCTOR void finish(const State& total, long r, long j) const { p.y[r * p.heads * p.width + j] = result(total, r, j); }
};
// y[r, h, c] = (accumulate ? y : 0) + (sum | mean) over the elements k of row r of weight[edge, h] * x[column, h, c].
template <Chosen Side = Chosen::all, class T>
void spmm(const SpmmProblem<T>& p) {
    const SpmmFold<Side, T> fold{p};
    if constexpr (Side == Chosen::all) sum_rows("spmm", fold, p.a, RowTable<T>{p.heads, p.width, p.x, p.y});
    else fold_csr_rows("spmm", fold, p.a, p.heads * p.width);
}

template <bool Max, class T>
struct SpmmExtremeFold {
    using A = typename cpu::impl::sum_type<T>::type;
    struct State {
        A best;
        std::int32_t where;
    };
    SpmmProblem<T> p;
    std::int32_t* at;

    TENON_FUNCTOR State start() const { return {A(0), -1}; }
    TENON_FUNCTOR void step(State& s, long, long k, long j) const {
        const long e = p.a.edge(k);
        A v = static_cast<A>(p.x[p.a.columns[k] * p.heads * p.width + j]);
        if (p.weight != nullptr) v = static_cast<A>(p.weight[e * p.heads + j / p.width]) * v;
        join(s, {v, static_cast<std::int32_t>(e)});
    }
    TENON_FUNCTOR void join(State& total, const State& part) const {
        const A v = part.best;
        if (part.where < 0 || (total.where >= 0 && !(total.best == total.best && (v != v || (Max ? v > total.best : v < total.best)))))
            return;
        total = part;
    }
    TENON_FUNCTOR void finish(const State& s, long r, long j) const {
        const long i = r * p.heads * p.width + j;
        p.y[i] = static_cast<T>(s.best);
        if (at != nullptr) at[i] = s.where;
    }
};
// y[r, h, c] = the largest (smallest) of weight[edge, h] * x[column, h, c] over row r, at[r, h, c] = the number of its element.
template <bool Max, class T>
void spmm_extreme(const SpmmProblem<T>& p, std::int32_t* at) {
    fold_csr_rows("spmm_extreme", SpmmExtremeFold<Max, T>{p, at}, p.a, p.heads * p.width);
}

// A group of lanes takes an element and a head; they share out the columns of the dot product.
template <class T>
__global__ void sddmm_elements(SddmmProblem<T> p, int threads) {
#if TENON_DEVICE_CODE
    using A = typename cpu::impl::sum_type<T>::type;
    const long stride = p.heads * p.width, lane = threadIdx.x % static_cast<unsigned>(threads);
    each_head(p.a, p.heads, threads, [&](long r, long k, long h) {
        const long e = k < 0 ? 0 : p.a.edge(k);
        A sum = 0;
        if (k >= 0)
            for (long c = h * p.width + lane; c < (h + 1) * p.width; c += threads)
                if (p.chosen == nullptr || p.chosen[r * stride + c] == e)
                    sum += static_cast<A>(p.u[r * stride + c]) * static_cast<A>(p.v[p.a.columns[k] * stride + c]);
        sum = group_sum(sum, threads);
        if (k < 0 || lane != 0) return;
        T& to = p.to[e * p.heads + h];
        if (p.accumulate) sum += static_cast<A>(to);
        to = static_cast<T>(sum);
    });
#endif
}
// to[edge, h] = (accumulate ? to : 0) + u[row, h, :] . v[column, h, :], of the columns whose chosen number is the edge's.
template <class T>
void sddmm(const SddmmProblem<T>& p) {
    if (p.a.elements > 0 && p.heads > 0)
        launch("sddmm", sddmm_elements<T>, blocks_for_elements(p.a), block_threads, p, threads_of_row(p.width));
}

template <class T>
struct MeanShareStep {
    const std::int32_t* pointers;
    long stride;
    const T* from;
    T* to;
    TENON_FUNCTOR void operator()(long i) const {
        using A = typename cpu::impl::sum_type<T>::type;
        const long r = i / stride, count = pointers[r + 1] - pointers[r];
        to[i] = static_cast<T>(static_cast<A>(1.0 / static_cast<double>(count > 0 ? count : 1)) * static_cast<A>(from[i]));
    }
};
// to[r, :] = from[r, :] / the number of elements of row r.
template <class T>
void mean_share(long rows, const std::int32_t* pointers, long stride, const T* from, T* to) {
    each(rows * stride, MeanShareStep<T>{pointers, stride, from, to});
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
