// Rows of matrices that are weighted sums of a few basis matrices: of the matrix of each kind only the rows that are asked for are
// ever made.
//
// Row r of the sparse matrix is a row of the tables, its columns are kinds: element k of row r asks for row r of the matrix of kind
// columns[k], sum over b of weight[kind, b] * bases[b, r, :]. Rows come one after the other, so that the tables, which are large, are
// read once and in their order.
#pragma once

#include <tenon/kernels/cpu/fold.hpp>
#include <tenon/kernels/cpu/graph/rows.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

template <class T>
struct BasisProblem {
    CsrRows a;                  // [rows of a table, kinds]
    CsrRows by_kind;            // the same elements, [kinds, rows of a table]; read by the device's weights alone
    long bases = 0, width = 0;  // tables, elements of a row
    const T* table = nullptr;   // [bases, rows, width]
    const T* weight = nullptr;  // [kinds, bases]

    TENON_HD long place(long basis, long row) const { return (basis * a.rows + row) * width; }
};

namespace reference {

// All in double. y [elements, width], by number.
template <class T>
void basis_rows(const BasisProblem<T>& p, double* y) {
    for (long r = 0; r < p.a.rows; ++r)
        for (long k = p.a.begin(r); k < p.a.end(r); ++k)
            for (long j = 0; j < p.width; ++j) {
                double sum = 0;
                for (long b = 0; b < p.bases; ++b)
                    sum += static_cast<double>(p.weight[p.a.columns[k] * p.bases + b]) * static_cast<double>(p.table[p.place(b, r) + j]);
                y[p.a.edge(k) * p.width + j] = sum;
            }
}
// What arrives at y, dy [elements, width], handed on to the tables [bases, rows, width] and to the weights [kinds, bases].
template <class T>
void basis_rows_backward(const BasisProblem<T>& p, const T* dy, double* d_table, double* d_weight) {
    for (long i = 0; i < p.bases * p.a.rows * p.width; ++i) d_table[i] = 0;
    for (long i = 0; i < p.a.width * p.bases; ++i) d_weight[i] = 0;
    for (long r = 0; r < p.a.rows; ++r)
        for (long k = p.a.begin(r); k < p.a.end(r); ++k)
            for (long b = 0; b < p.bases; ++b)
                for (long j = 0; j < p.width; ++j) {
                    const double g = static_cast<double>(dy[p.a.edge(k) * p.width + j]);
                    d_table[p.place(b, r) + j] += static_cast<double>(p.weight[p.a.columns[k] * p.bases + b]) * g;
                    d_weight[p.a.columns[k] * p.bases + b] += static_cast<double>(p.table[p.place(b, r) + j]) * g;
                }
}

}  // namespace reference

namespace impl {

constexpr long basis_block = 32;   // tables whose rows are held at a time
constexpr long basis_ahead = 4;    // rows asked for early: there are more tables than the machine follows by itself
constexpr long basis_chunks = 16;  // most parts of the sums over all rows

// Calls f.template operator()<Q, Part>(first column, columns) for tiles of Q vectors of N.
template <int N, class F>
TENON_ALWAYS_INLINE void basis_tiles(long width, F&& f) {
    long j = 0;
    for (; j + 2 * N <= width; j += 2 * N) f.template operator()<2, false>(j, long(N));
    if (j + N <= width) {
        f.template operator()<1, false>(j, long(N));
        j += N;
    }
    if (j < width) f.template operator()<1, true>(j, width - j);
}
// One tile of the rows of `count` tables from table `first` on, next to each other. (In place they may all fall into one set of the
// cache, where the tables' size is a power of two.)
template <int N, int Q, bool Part, class T>
TENON_ALWAYS_INLINE void hold_bases(const BasisProblem<T>& p, long r, long first, long count, long j, long rest, T* held) {
    const bool ahead = r + basis_ahead < p.a.rows;
    for (long b = 0; b < count; ++b) {
        const T* from = p.table + p.place(first + b, r) + j;
        if (ahead) __builtin_prefetch(from + basis_ahead * p.width);
        TENON_UNROLL(2)
        for (int q = 0; q < Q; ++q) load_some<Part, T, N>(from + q * N, rest).store(held + (b * Q + q) * N);
    }
}

struct BasisRowsBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(const BasisProblem<T>* problem, T* y, long first, long last) {
        constexpr int N = move_lanes<T, Lanes>;
        const BasisProblem<T> p = *problem;
        for (long r = first; r < last; ++r) {
            if (p.a.begin(r) == p.a.end(r)) continue;
            basis_tiles<N>(p.width, [&]<int Q, bool Part>(long j, long rest) __attribute__((always_inline)) { tile<N, Q, Part>(p, y, r, j, rest); });
        }
    }

private:
    template <int N, int Q, bool Part, class T>
    static TENON_ALWAYS_INLINE void tile(const BasisProblem<T>& p, T* y, long r, long j, long rest) {
        using V = simd<T, N>;
        T held[basis_block * Q * N];
        for (long from = 0; from < p.bases; from += basis_block) {
            const long count = p.bases - from < basis_block ? p.bases - from : basis_block;
            hold_bases<N, Q, Part>(p, r, from, count, j, rest, held);
            for (long k = p.a.begin(r); k < p.a.end(r); ++k) {
                const T* w = p.weight + p.a.columns[k] * p.bases + from;
                T* to = y + p.a.edge(k) * p.width + j;
                V sum[Q];
                TENON_UNROLL(2)
                for (int q = 0; q < Q; ++q) sum[q] = V(0);
                for (long b = 0; b < count; ++b) {
                    const V factor(w[b]);
                    TENON_UNROLL(2)
                    for (int q = 0; q < Q; ++q) sum[q] += factor * V::load(held + (b * Q + q) * N);
                }
                TENON_UNROLL(2)
                for (int q = 0; q < Q; ++q) {
                    if (from > 0) sum[q] += load_some<Part, T, N>(to + q * N, rest);
                    store_some<Part, T, N>(to + q * N, sum[q], rest);
                }
            }
        }
    }
};

struct BasisTableBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(const BasisProblem<T>* problem, const T* dy, T* to, bool add, long first, long last) {
        constexpr int N = move_lanes<T, Lanes>;
        const BasisProblem<T> p = *problem;
        for (long r = first; r < last; ++r) {
            if (add && p.a.begin(r) == p.a.end(r)) continue;
            basis_tiles<N>(p.width, [&]<int Q, bool Part>(long j, long rest) __attribute__((always_inline)) { tile<N, Q, Part>(p, dy, to, add, r, j, rest); });
        }
    }

private:
    template <int N, int Q, bool Part, class T>
    static TENON_ALWAYS_INLINE void tile(const BasisProblem<T>& p, const T* dy, T* to, bool add, long r, long j, long rest) {
        using V = simd<T, N>;
        const bool ahead = r + basis_ahead < p.a.rows;
        for (long b = 0; b < p.bases; ++b) {
            T* const place = to + p.place(b, r) + j;
            if (ahead) __builtin_prefetch(place + basis_ahead * p.width, 1);
            V total[Q], sum[Q];
            TENON_UNROLL(2)
            for (int q = 0; q < Q; ++q) total[q] = V(0);
            for (long block = p.a.begin(r); block < p.a.end(r); block += scatter_block) {
                const long stop = block + scatter_block < p.a.end(r) ? block + scatter_block : p.a.end(r);
                TENON_UNROLL(2)
                for (int q = 0; q < Q; ++q) sum[q] = V(0);
                for (long k = block; k < stop; ++k) {
                    const V factor(p.weight[p.a.columns[k] * p.bases + b]);
                    const T* from = dy + p.a.edge(k) * p.width + j;
                    TENON_UNROLL(2)
                    for (int q = 0; q < Q; ++q) sum[q] += factor * load_some<Part, T, N>(from + q * N, rest);
                }
                TENON_UNROLL(2)
                for (int q = 0; q < Q; ++q) total[q] += sum[q];
            }
            TENON_UNROLL(2)
            for (int q = 0; q < Q; ++q) {
                if (add) total[q] += load_some<Part, T, N>(place + q * N, rest);
                store_some<Part, T, N>(place + q * N, total[q], rest);
            }
        }
    }
};

// partial [kinds, bases, lanes] = of some rows the products that make up the weights' gradients, lane by lane.
struct BasisWeightBody {
    static constexpr int lanes = 8;
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(const BasisProblem<T>* problem, const T* dy, T* partial, long first, long last) {
        constexpr int N = (move_lanes<T, Lanes>) < lanes ? (move_lanes<T, Lanes>) : lanes;
        const BasisProblem<T> p = *problem;
        for (long i = 0; i < p.a.width * p.bases * lanes; ++i) partial[i] = 0;
        for (long r = first; r < last; ++r) {
            if (p.a.begin(r) == p.a.end(r)) continue;
            basis_tiles<N>(p.width, [&]<int Q, bool Part>(long j, long rest) __attribute__((always_inline)) { tile<N, Q, Part>(p, dy, partial, r, j, rest); });
        }
    }

private:
    template <int N, int Q, bool Part, class T>
    static TENON_ALWAYS_INLINE void tile(const BasisProblem<T>& p, const T* dy, T* partial, long r, long j, long rest) {
        using V = simd<T, N>;
        T held[basis_block * Q * N];
        for (long from = 0; from < p.bases; from += basis_block) {
            const long count = p.bases - from < basis_block ? p.bases - from : basis_block;
            hold_bases<N, Q, Part>(p, r, from, count, j, rest, held);
            for (long k = p.a.begin(r); k < p.a.end(r); ++k) {
                T* to = partial + (p.a.columns[k] * p.bases + from) * lanes;
                V g[Q];
                TENON_UNROLL(2)
                for (int q = 0; q < Q; ++q) g[q] = load_some<Part, T, N>(dy + p.a.edge(k) * p.width + j + q * N, rest);
                for (long b = 0; b < count; ++b) {
                    V sum = V::load(to + b * lanes);
                    TENON_UNROLL(2)
                    for (int q = 0; q < Q; ++q) sum += g[q] * V::load(held + (b * Q + q) * N);
                    sum.store(to + b * lanes);
                }
            }
        }
    }
};

template <class T>
long basis_bytes(const BasisProblem<T>& p) {
    // Of a row: its tables', and some elements.
    return (p.bases + 4) * p.width * static_cast<long>(sizeof(T));
}

}  // namespace impl

// y[element, :] = sum over b of weight[kind, b] * bases[b, row, :], in the order of the bases, blocks of 32 of them added up.
template <class T>
void basis_rows(const BasisProblem<T>& p, T* y) {
    if (p.width <= 0 || p.a.elements <= 0) return;
    if (p.bases <= 0) {
        for (long i = 0; i < p.a.elements * p.width; ++i) y[i] = T(0);
        return;
    }
    const BasisProblem<T>* problem = &p;
    impl::for_row_pieces(p.a, impl::basis_bytes(p), 0.1 * double(p.bases) * double(p.width), [&](long first, long last) {
        dispatch<impl::BasisRowsBody, impl::graph_isa>(problem, y, first, last);
    });
}

// to[b, row, :] = (add ? to : 0) + sum over the row's elements of weight[kind, b] * dy[element, :], in their order.
template <class T>
void basis_rows_table(const BasisProblem<T>& p, const T* dy, T* to, bool add) {
    if (p.width <= 0 || p.bases <= 0) return;
    const BasisProblem<T>* problem = &p;
    impl::for_row_pieces(p.a, impl::basis_bytes(p), 0.1 * double(p.bases) * double(p.width), [&](long first, long last) {
        dispatch<impl::BasisTableBody, impl::graph_isa>(problem, dy, to, add, first, last);
    });
}

// to[kind, b] = (add ? to : 0) + sum over the kind's elements of bases[b, row, :] . dy[element, :]: chunks of rows that depend on the
// sizes alone, brought together in double.
template <class T>
void basis_rows_weight(const BasisProblem<T>& p, const T* dy, T* to, bool add) {
    constexpr int lanes = impl::BasisWeightBody::lanes;
    const long cells = p.a.width * p.bases;
    if (cells <= 0) return;
    // Parts that do not cost more to bring together than to make.
    long chunks = p.a.elements * p.width / (64 * lanes * (p.a.width < 1 ? 1 : p.a.width)) + 1;
    if (chunks > impl::basis_chunks) chunks = impl::basis_chunks;
    const impl::Scratch<double> sums(chunks * cells);
    const long total = p.a.elements + p.a.rows;
    const auto first_row = [&](long chunk) {
        long low = 0, high = p.a.rows;
        while (low < high) {
            const long middle = (low + high) / 2;
            if ((p.a.pointers[middle] + middle) * chunks < total * chunk) low = middle + 1;
            else high = middle;
        }
        return low;
    };
    // Rows whose products are added up one after the other: sums of T, brought into double before they get long.
    const long together = 4096 < 64 * p.a.width ? 64 * p.a.width : 4096;
    const BasisProblem<T>* problem = &p;
    double* const parts = sums.data();
    parallel_for(chunks, 0.2 * double(p.a.elements) * double(p.bases) * double(p.width < lanes ? lanes : p.width) / lanes, [&](long chunk) {
        const impl::Scratch<T> room(cells * lanes);
        T* const partial = room.data();
        double* const own = parts + chunk * cells;
        for (long i = 0; i < cells; ++i) own[i] = 0;
        const long last = chunk + 1 == chunks ? p.a.rows : first_row(chunk + 1);
        for (long row = first_row(chunk); row < last;) {
            long end = row + 1;
            while (end < last && p.a.pointers[end] - p.a.pointers[row] < together) ++end;
            dispatch<impl::BasisWeightBody, impl::graph_isa>(problem, dy, partial, row, end);
            for (long i = 0; i < cells; ++i)
                for (int l = 0; l < lanes; ++l) own[i] += static_cast<double>(partial[i * lanes + l]);
            row = end;
        }
    });
    const long share = 256;
    parallel_for((cells + share - 1) / share, double(cells) * double(chunks), [&](long piece) {
        for (long i = piece * share; i < cells && i < (piece + 1) * share; ++i) {
            double sum = 0;
            for (long chunk = 0; chunk < chunks; ++chunk) sum += parts[chunk * cells + i];
            to[i] = static_cast<T>((add ? static_cast<double>(to[i]) : 0.0) + sum);
        }
    });
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
