// Rows of sums of basis matrices on the device (cpu/graph/basis.hpp): a thread has a column of a row of the tables, with all its elements.
#pragma once

#include <tenon/kernels/cpu/graph/basis.hpp>
#include <tenon/kernels/cuda/each.cuh>
#include <tenon/kernels/cuda/sum.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

using cpu::BasisProblem;

template <class T>
struct BasisRowsStep {
    BasisProblem<T> p;
    T* y;
    TENON_FUNCTOR void operator()(long i) const {
        const long r = i / p.width, j = i - r * p.width;
        for (long k = p.a.begin(r); k < p.a.end(r); ++k) {
            const T* const w = p.weight + p.a.columns[k] * p.bases;
            T total = 0;
            for (long from = 0; from < p.bases; from += cpu::impl::basis_block) {
                const long stop = from + cpu::impl::basis_block < p.bases ? from + cpu::impl::basis_block : p.bases;
                T sum = 0;
                for (long b = from; b < stop; ++b) sum += w[b] * p.table[p.place(b, r) + j];
                total += sum;
            }
            y[p.a.edge(k) * p.width + j] = total;
        }
    }
};
// y[element, :] = sum over b of weight[kind, b] * bases[b, row, :].
template <class T>
void basis_rows(const BasisProblem<T>& p, T* y) {
    for_each_index("basis_rows", p.a.rows * p.width, BasisRowsStep<T>{p, y});
}

template <class T>
struct BasisTableStep {
    BasisProblem<T> p;
    const T* dy;
    T* to;
    bool add;
    TENON_FUNCTOR void operator()(long i) const {
        const long flat = i / p.width, j = i - flat * p.width, b = flat / p.a.rows, r = flat - b * p.a.rows;
        T total = 0;
        for (long block = p.a.begin(r); block < p.a.end(r); block += cpu::impl::scatter_block) {
            const long stop = block + cpu::impl::scatter_block < p.a.end(r) ? block + cpu::impl::scatter_block : p.a.end(r);
            T sum = 0;
            for (long k = block; k < stop; ++k) sum += p.weight[p.a.columns[k] * p.bases + b] * dy[p.a.edge(k) * p.width + j];
            total += sum;
        }
        to[i] = add ? to[i] + total : total;
    }
};
// to[b, row, :] = (add ? to : 0) + sum over the row's elements of weight[kind, b] * dy[element, :].
template <class T>
void basis_rows_table(const BasisProblem<T>& p, const T* dy, T* to, bool add) {
    for_each_index("basis_rows", p.bases * p.a.rows * p.width, BasisTableStep<T>{p, dy, to, add});
}

// A block has a kind and a basis, its threads share out all products of that pair.
template <class T>
__global__ void basis_weight_cells(BasisProblem<T> p, const T* dy, T* to, bool add) {
#if TENON_DEVICE_CODE
    for (long cell = blockIdx.x; cell < p.by_kind.rows * p.bases; cell += gridDim.x) {
        const long kind = cell / p.bases, b = cell - kind * p.bases;
        const long begin = p.by_kind.begin(kind), count = (p.by_kind.end(kind) - begin) * p.width;
        double sum = 0;  // of any number of products
        for (long i = threadIdx.x; i < count; i += block_threads) {
            const long at = i / p.width, j = i - at * p.width, k = begin + at;
            sum += static_cast<double>(p.table[p.place(b, p.by_kind.columns[k]) + j] * dy[p.by_kind.edge(k) * p.width + j]);
        }
        const double total = block_sum(sum, block_threads);
        if (threadIdx.x == 0) to[cell] = static_cast<T>((add ? static_cast<double>(to[cell]) : 0.0) + total);
    }
#endif
}
// to[kind, b] = (add ? to : 0) + sum over the kind's elements of bases[b, row, :] . dy[element, :].
template <class T>
void basis_rows_weight(const BasisProblem<T>& p, const T* dy, T* to, bool add) {
    const long cells = p.by_kind.rows * p.bases;
    if (cells > 0) launch("basis_rows", basis_weight_cells<T>, blocks_for(cells, 1), block_threads, p, dy, to, add);
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
