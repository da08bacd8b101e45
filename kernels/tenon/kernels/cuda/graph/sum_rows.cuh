// Weighted sums of the rows of a table that a sparse row's elements name. A group of threads takes a row and up to four columns per
// thread of it, so that its elements are walked once for 128 columns. Between them the threads work out what the elements weigh, one
// element and head each, and hand columns and weights round; they add up in the order of the CPU.
#pragma once

#include <tenon/kernels/cuda/graph/fold_rows.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

// x and y are [columns or rows, heads, width].
template <class T>
struct RowTable {
    long heads, width;
    const T* x;
    T* y;
};

// Q neighbouring elements, read and written by as few instructions as there can be.
template <class T, int Q>
struct alignas(Q * sizeof(T) < 16 ? Q * sizeof(T) : 16) TableVector {
    T v[Q];
};

// A thread has Q columns: neighbouring ones (Vectors), or every threads-th. fold is as for fold_csr_rows, without step: weight(row, column,
// edge, head) is an element's, result(total, row, j) what is written.
template <int Q, bool Vectors, class Fold, class T>
__global__ void __launch_bounds__(block_threads, sizeof(typename Fold::State) == 8 ? 2 : Q == 1 || Vectors ? 4 : 3)
sum_row_blocks(Fold fold, RowTable<T> table, CsrRows a, int threads, typename Fold::State* parts) {
#if TENON_DEVICE_CODE
    using State = typename Fold::State;
    using Vector = TableVector<T, Q>;
    constexpr unsigned everyone = 0xffffffffu;
    constexpr int weights = Vectors ? 1 : Q, block_of = static_cast<int>(row_block);
    constexpr int at_once = Q == 1 || (Vectors && sizeof(State) == 4) ? 4 : 2;  // elements whose rows a thread waits for together
    const int lane = static_cast<int>(threadIdx.x) % threads, step = Vectors ? 1 : threads;
    const int width = static_cast<int>(table.width), columns = static_cast<int>(table.heads) * width;
    each_row_block(a, threads, parts != nullptr, [&](int r, int begin, int end, long part) {
        const int count = end - begin;
        for (int tile = 0; tile < columns; tile += Q * threads) {
            const int last = tile + Q * threads < columns ? tile + Q * threads : columns, first_head = tile / width;
            const int heads = (last - 1) / width - first_head + 1, round = threads / heads;  // elements of a round
            const int own_element = lane / heads, own_head = first_head + lane - own_element * heads;
            const int first = tile + (Vectors ? Q * lane : lane);
            const bool there = first < last;
            int slot[weights];  // which lane of an element's has the weight
            TENON_UNROLL(4)
            for (int q = 0; q < weights; ++q) slot[q] = first + q * step < last ? (first + q * step) / width - first_head : 0;
            State total[Q];
            TENON_UNROLL(4)
            for (int q = 0; q < Q; ++q) total[q] = fold.start();
            for (int block = 0; __any_sync(everyone, block < count); block += block_of) {
                const int stop = block + block_of < count ? block + block_of : count;
                State sum[Q];
                TENON_UNROLL(4)
                for (int q = 0; q < Q; ++q) sum[q] = fold.start();
                for (int k = block; __any_sync(everyone, k < stop); k += round) {
                    int column = 0;
                    State weight(0);
                    if (own_element < round && k + own_element < stop) {
                        column = a.columns[begin + k + own_element];
                        weight = fold.weight(r, column, a.edge(begin + k + own_element), own_head);
                    }
                    for (int i = 0; i < round && __any_sync(everyone, k + i < stop); i += at_once) {
                        Vector x[at_once];
                        State w[at_once][weights];
                        TENON_UNROLL(4)
                        for (int u = 0; u < at_once; ++u) {
                            const int from = i + u < round ? (i + u) * heads : 0;
                            const long row = __shfl_sync(everyone, column, from, threads);
                            TENON_UNROLL(4)
                            for (int q = 0; q < weights; ++q)
                                w[u][q] = q > 0 && heads == 1 ? w[u][0] : __shfl_sync(everyone, weight, from + slot[q], threads);
                            if (!there || i + u >= round || k + i + u >= stop) continue;
                            const T* const at = table.x + row * columns + first;
                            if constexpr (Vectors) {
                                x[u] = *reinterpret_cast<const Vector*>(at);
                            } else {
                                TENON_UNROLL(4)
                                for (int q = 0; q < Q; ++q)
                                    if (first + q * step < last) x[u].v[q] = at[q * step];
                            }
                        }
                        TENON_UNROLL(4)
                        for (int u = 0; u < at_once; ++u) {
                            if (!there || i + u >= round || k + i + u >= stop) continue;
                            TENON_UNROLL(4)
                            for (int q = 0; q < Q; ++q)
                                if (Vectors || first + q * step < last) sum[q] += w[u][Vectors ? 0 : q] * static_cast<State>(x[u].v[q]);
                        }
                    }
                }
                TENON_UNROLL(4)
                for (int q = 0; q < Q; ++q) fold.join(total[q], sum[q]);
            }
            if (r < 0 || !there) continue;
            if (part >= 0) {
                TENON_UNROLL(4)
                for (int q = 0; q < Q; ++q)
                    if (first + q * step < last) parts[part * columns + first + q * step] = total[q];
            } else if constexpr (Vectors) {
                Vector y;
                TENON_UNROLL(4)
                for (int q = 0; q < Q; ++q) y.v[q] = fold.result(total[q], r, first + q);
                *reinterpret_cast<Vector*>(table.y + static_cast<long>(r) * columns + first) = y;
            } else {
                TENON_UNROLL(4)
                for (int q = 0; q < Q; ++q)
                    if (first + q * step < last) fold.finish(total[q], r, first + q * step);
            }
        }
    });
#endif
}
// For every row r and column j: fold.finish(sum, r, j), the sum over the elements of weight(r, column, edge, j / width) * x[column, j].
template <class Fold, class T>
void sum_rows(const char* name, const Fold& fold, const CsrRows& a, const RowTable<T>& table) {
    const long columns = table.heads * table.width;
    if (a.rows <= 0 || columns <= 0) return;
    const auto run = [&]<int Q, bool Vectors>(std::integral_constant<int, Q>, std::bool_constant<Vectors>, int threads) {
        fold_and_join(name, fold, a, columns, threads, [&](long blocks, typename Fold::State* parts) {
            launch(name, sum_row_blocks<Q, Vectors, Fold, T>, blocks, block_threads, fold, table, a, threads, parts);
        });
    };
    using Four = std::integral_constant<int, 4>;
    const auto aligned = [](const T* p) { return reinterpret_cast<std::uintptr_t>(p) % alignof(TableVector<T, 4>) == 0; };
    // A round needs a thread for every head of a tile.
    if (columns >= 16 && table.width % 4 == 0 && aligned(table.x) && aligned(table.y))
        run(Four(), std::true_type(), threads_of_row(columns / 4));
    else if (columns > 32 && (table.heads == 1 || table.width >= 5)) run(Four(), std::false_type(), 32);
    else run(std::integral_constant<int, 1>(), std::false_type(), threads_of_row(columns));
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
