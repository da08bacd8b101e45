// Products of sparse rows on the device (cpu/graph/spmm.hpp, extreme.hpp, sddmm.hpp): a group of threads takes a row, neighbours
// neighbouring columns, each thread the row's elements in their order and in the same blocks as on the CPU.
#pragma once

#include <tenon/kernels/cpu/graph/extreme.hpp>
#include <tenon/kernels/cpu/graph/sddmm.hpp>
#include <tenon/kernels/cuda/each.cuh>
#include <tenon/kernels/cuda/sum.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

using cpu::Chosen;
using cpu::CsrRows;
using cpu::SddmmProblem;
using cpu::SpmmProblem;

// Threads of a row: few where it is narrow, so that a warp has several rows.
inline int threads_of_row(long columns) {
    int threads = 1;
    while (threads < 32 && threads < columns) threads *= 2;
    return threads;
}

template <Chosen Side, class T>
__global__ void spmm_rows(SpmmProblem<T> p, int threads) {
#if TENON_DEVICE_CODE
    using A = typename cpu::impl::sum_type<T>::type;
    const long stride = p.heads * p.width, groups = static_cast<long>(gridDim.x) * blockDim.x / threads;
    for (long r = (static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x) / threads; r < p.a.rows; r += groups) {
        const long begin = p.a.begin(r), end = p.a.end(r);
        for (long j = threadIdx.x % static_cast<unsigned>(threads); j < stride; j += threads) {
            const long h = j / p.width;
            A total = 0;
            for (long block = begin; block < end; block += cpu::impl::scatter_block) {
                const long stop = block + cpu::impl::scatter_block < end ? block + cpu::impl::scatter_block : end;
                A a = 0;
                for (long k = block; k < stop; ++k) {
                    const long c = p.a.columns[k], e = p.a.edge(k);
                    if (Side != Chosen::all && p.chosen[(Side == Chosen::by_row ? r : c) * stride + j] != e) continue;
                    const A x = static_cast<A>(p.x[c * stride + j]);
                    a += p.weight == nullptr ? x : static_cast<A>(p.weight[e * p.heads + h]) * x;
                }
                total += a;
            }
            if (p.mean && end > begin) total *= static_cast<A>(1.0 / static_cast<double>(end - begin));
            T& to = p.y[r * stride + j];
            if (p.accumulate) total += static_cast<A>(to);
            to = static_cast<T>(total);
        }
    }
#endif
}
// y[r, h, c] = (accumulate ? y : 0) + (sum | mean) over the elements k of row r of weight[edge, h] * x[column, h, c].
template <Chosen Side = Chosen::all, class T>
void spmm(const SpmmProblem<T>& p) {
    if (p.a.rows <= 0 || p.heads * p.width <= 0) return;
    const int threads = threads_of_row(p.heads * p.width);
    launch("spmm", spmm_rows<Side, T>, blocks_for(p.a.rows, block_threads / threads), block_threads, p, threads);
}

template <bool Max, class T>
__global__ void spmm_extreme_rows(SpmmProblem<T> p, std::int32_t* at, int threads) {
#if TENON_DEVICE_CODE
    using A = typename cpu::impl::sum_type<T>::type;
    const long stride = p.heads * p.width, groups = static_cast<long>(gridDim.x) * blockDim.x / threads;
    for (long r = (static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x) / threads; r < p.a.rows; r += groups)
        for (long j = threadIdx.x % static_cast<unsigned>(threads); j < stride; j += threads) {
            const long h = j / p.width;
            A best = 0;
            std::int32_t where = -1;
            for (long k = p.a.begin(r); k < p.a.end(r); ++k) {
                const long e = p.a.edge(k);
                A v = static_cast<A>(p.x[p.a.columns[k] * stride + j]);
                if (p.weight != nullptr) v = static_cast<A>(p.weight[e * p.heads + h]) * v;
                if (where >= 0 && !(best == best && (v != v || (Max ? v > best : v < best)))) continue;
                best = v;
                where = static_cast<std::int32_t>(e);
            }
            p.y[r * stride + j] = static_cast<T>(best);
            at[r * stride + j] = where;
        }
#endif
}
// y[r, h, c] = the largest (smallest) of weight[edge, h] * x[column, h, c] over row r, at[r, h, c] = the number of its element.
template <bool Max, class T>
void spmm_extreme(const SpmmProblem<T>& p, std::int32_t* at) {
    if (p.a.rows <= 0 || p.heads * p.width <= 0) return;
    const int threads = threads_of_row(p.heads * p.width);
    launch("spmm_extreme", spmm_extreme_rows<Max, T>, blocks_for(p.a.rows, block_threads / threads), block_threads, p, at, threads);
}

// A warp takes a row; its lanes share out the columns of an element's dot product.
template <class T>
__global__ void sddmm_rows(SddmmProblem<T> p) {
#if TENON_DEVICE_CODE
    using A = typename cpu::impl::sum_type<T>::type;
    const long stride = p.heads * p.width, warps = static_cast<long>(gridDim.x) * (blockDim.x / 32), lane = threadIdx.x % 32;
    for (long r = static_cast<long>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32; r < p.a.rows; r += warps)
        for (long k = p.a.begin(r); k < p.a.end(r); ++k) {
            const long e = p.a.edge(k);
            for (long h = 0; h < p.heads; ++h) {
                A sum = 0;
                for (long c = h * p.width + lane; c < (h + 1) * p.width; c += 32)
                    if (p.chosen == nullptr || p.chosen[r * stride + c] == e)
                        sum += static_cast<A>(p.u[r * stride + c]) * static_cast<A>(p.v[p.a.columns[k] * stride + c]);
                sum = warp_sum(sum);
                if (lane != 0) continue;
                T& to = p.to[e * p.heads + h];
                if (p.accumulate) sum += static_cast<A>(to);
                to = static_cast<T>(sum);
            }
        }
#endif
}
// to[edge, h] = (accumulate ? to : 0) + u[row, h, :] . v[column, h, :], of the columns whose chosen number is the edge's.
template <class T>
void sddmm(const SddmmProblem<T>& p) {
    if (p.a.rows > 0 && p.heads > 0) launch("sddmm", sddmm_rows<T>, blocks_for(p.a.rows, block_threads / 32), block_threads, p);
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
