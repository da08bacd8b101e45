// Sparse times dense: weighted sums and means of the rows that a row's elements name, optionally of chosen elements only.
//
// x and y are [columns or rows, heads, width], weights [elements, heads] by number, or null for ones. Sums run over the
// elements of a row in their order, in blocks of 256 that are added up: the bits depend on the row alone.
#pragma once

#include <tenon/kernels/cpu/graph/lanes.hpp>
#include <tenon/kernels/cpu/graph/rows.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

// Which elements count for a column of the result: all, or those that a table names: chosen[row, h, c] (of the product's
// rows, or of its columns) is the number of the one that does.
enum class Chosen : int { all = 0, by_row = 1, by_column = 2 };

template <class T, class W = T>
struct SpmmProblem {
    CsrRows a;
    const W* weight = nullptr;
    long heads = 1, width = 1;
    const T* x = nullptr;
    const std::int32_t* chosen = nullptr;
    bool mean = false;  // divides by the number of the row's elements
    T* y = nullptr;
    bool accumulate = false;
    long weight_stride = 0;  // from one element's weights to the next's; 0: heads
    const W* second = nullptr;  // other weights, for a second result
    T* second_y = nullptr;

    TENON_HD long weights_at(long element) const { return element * (weight_stride == 0 ? heads : weight_stride); }
};

namespace reference {

// In double.
template <class T>
void spmm(const SpmmProblem<T>& p, Chosen side, double* y) {
    const long row_size = p.heads * p.width;
    for (long r = 0; r < p.a.rows; ++r)
        for (long j = 0; j < row_size; ++j) {
            double sum = 0;
            for (long k = p.a.begin(r); k < p.a.end(r); ++k) {
                const long e = p.a.edge(k), c = p.a.columns[k];
                if (side != Chosen::all && p.chosen[(side == Chosen::by_row ? r : c) * row_size + j] != e) continue;
                const double w = p.weight == nullptr ? 1 : static_cast<double>(p.weight[e * p.heads + j / p.width]);
                sum += w * static_cast<double>(p.x[c * row_size + j]);
            }
            if (p.mean && p.a.end(r) > p.a.begin(r)) sum /= static_cast<double>(p.a.end(r) - p.a.begin(r));
            y[r * row_size + j] = sum;
        }
}

}  // namespace reference

namespace impl {

// One tile of columns of a row: Q vectors whose sums stay in registers. Ahead: asks for rows some elements early. Twice: with the
// second weights too.
template <bool Weighted, Chosen Side, bool Ahead, bool Twice = false>
struct SpmmBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(const SpmmProblem<T>* problem, long first, long last) {
        const SpmmProblem<T> p = *problem;
        for (long r = first; r < last; ++r) row<Lanes>(p, r);
    }
    template <int Lanes, class T, class W>
    static TENON_ALWAYS_INLINE void row(const SpmmProblem<T, W>& p, long r) {
        using A = typename sum_type<T>::type;
        constexpr int N = move_lanes<A, Lanes>;
        const long all = p.heads * p.width;
        if (!Weighted || p.heads == 1) return columns<N, one_weight>(p, r, 0l, all, 0l);
        if (p.width % N == 0) return columns<N, weight_of_vector>(p, r, 0l, all, 0l);
        if constexpr (Weighted && std::is_same_v<A, W>) {
            if (all % N == 0 && p.width == 1) return columns<N, 1>(p, r, 0l, all, 0l);
            if constexpr (N > 2)
                if (all % N == 0 && p.width == 2) return columns<N, 2>(p, r, 0l, all, 0l);
            if constexpr (N > 4)
                if (all % N == 0 && p.width == 4) return columns<N, 4>(p, r, 0l, all, 0l);
        }
        for (long h = 0; h < p.heads; ++h) columns<N, one_weight>(p, r, h * p.width, (h + 1) * p.width, h);
    }

private:
    // How far weights reach: over the tile, over a vector of it, or over so many lanes.
    static constexpr int one_weight = 0, weight_of_vector = -1;

    template <int N, int Reach, class T, class W>
    static TENON_ALWAYS_INLINE void columns(const SpmmProblem<T, W>& p, long r, long j, long end, long head) {
        if constexpr (Side == Chosen::all) {
            if constexpr (!Twice)
                for (; j + 8 * N <= end; j += 8 * N) tile<N, 8, Reach, false>(p, r, j, N, head);
            for (; j + 4 * N <= end; j += 4 * N) tile<N, 4, Reach, false>(p, r, j, N, head);
            if (j + 2 * N <= end) tile<N, 2, Reach, false>(p, r, j, N, head), j += 2 * N;
        }
        for (; j + N <= end; j += N) tile<N, 1, Reach, false>(p, r, j, N, head);
        if constexpr (Reach <= 0)  // the others come where columns fill vectors
            if (j < end) tile<N, 1, Reach, true>(p, r, j, end - j, head);
    }
    template <int N, int Q, int Reach, bool Part, class T, class W>
    static TENON_ALWAYS_INLINE void tile(const SpmmProblem<T, W>& p, long r, long j, long rest, long head) {
        using A = typename sum_type<T>::type;
        using V = simd<A, N>;
        using P = std::conditional_t<sizeof(A) == 4, std::int32_t, std::int64_t>;
        const long stride = p.heads * p.width, begin = p.a.begin(r), end = p.a.end(r);
        const long known = p.a.elements, ahead = rows_ahead(stride * static_cast<long>(sizeof(T)));
        // Up to these rows all lanes may be read: x and by_column's names have as many rows as the matrix has columns.
        const long inside = Part ? last_inside(p.a.width, stride, j, N) : 0, inside_row = Part ? last_inside(p.a.rows, stride, j, N) : 0;
        long heads[Q] = {};
        if constexpr (Reach == weight_of_vector) {
            long h = j / p.width, at = j - h * p.width;
            TENON_UNROLL(8)
            for (int q = 0; q < Q; ++q) {
                heads[q] = h;
                at += N;
                if (at == p.width) ++h, at = 0;
            }
        }
        // What an element's weights are in vector q.
        const auto of_vector = [&](const W* weights, int q) __attribute__((always_inline)) {
            if constexpr (Reach > 0) return spread<A, N, Reach>(weights + (j + q * N) / Reach);
            else return V(static_cast<A>(weights[Reach == weight_of_vector ? heads[q] : head]));
        };
        const V zero(0);
        V total[Q], a[Q], second_total[Twice ? Q : 1], second[Twice ? Q : 1];
        TENON_UNROLL(8)
        for (int q = 0; q < Q; ++q) {
            total[q] = zero;
            if constexpr (Twice) second_total[q] = zero;
        }
        for (long block = begin; block < end; block += scatter_block) {
            const long stop = block + scatter_block < end ? block + scatter_block : end;
            TENON_UNROLL(8)
            for (int q = 0; q < Q; ++q) {
                a[q] = zero;
                if constexpr (Twice) second[q] = zero;
            }
            for (long k = block; k < stop; ++k) {
                const long c = p.a.columns[k];
                const T* from = p.x + c * stride + j;
                if constexpr (Ahead) {
                    if (k + ahead < known) {
                        const char* next = reinterpret_cast<const char*>(p.x + p.a.columns[k + ahead] * stride + j);
                        TENON_UNROLL(8)
                        for (int line = 0; line < Q * N * int(sizeof(T)); line += 64) __builtin_prefetch(next + line);
                        if (Weighted && p.a.edges != nullptr) __builtin_prefetch(p.weight + p.weights_at(p.a.edge(k + ahead)));
                    }
                }
                const long e = Weighted || Side != Chosen::all ? p.a.edge(k) : 0;
                V w(0), w2(0);
                if constexpr (Weighted && Reach == one_weight) w = of_vector(p.weight + p.weights_at(e), 0);
                if constexpr (Twice && Reach == one_weight) w2 = of_vector(p.second + p.weights_at(e), 0);
                TENON_UNROLL(8)
                for (int q = 0; q < Q; ++q) {
                    V x;
                    if constexpr (Part) x = load_within<A, N>(from + q * N, rest, c <= inside);
                    else x = move_load<A, N>(from + q * N, N);
                    if constexpr (Side != Chosen::all) {
                        const std::int32_t* names = p.chosen + (Side == Chosen::by_row ? r : c) * stride + j + q * N;
                        simd<std::int32_t, N> n;
                        if constexpr (Part) n = load_within<std::int32_t, N>(names, rest, Side == Chosen::by_row ? r <= inside_row : c <= inside);
                        else n = simd<std::int32_t, N>::load(names);
                        x = select(convert<P>(n) == simd<P, N>(static_cast<P>(e)), x, zero);
                    }
                    if constexpr (!Weighted) a[q] += x;
                    else if constexpr (Reach == one_weight) a[q] += w * x;
                    else a[q] += of_vector(p.weight + p.weights_at(e), q) * x;
                    if constexpr (Twice && Reach == one_weight) second[q] += w2 * x;
                    else if constexpr (Twice) second[q] += of_vector(p.second + p.weights_at(e), q) * x;
                }
            }
            TENON_UNROLL(8)
            for (int q = 0; q < Q; ++q) {
                total[q] += a[q];
                if constexpr (Twice) second_total[q] += second[q];
            }
        }
        if (p.mean && end > begin) {
            const V factor(static_cast<A>(1.0 / static_cast<double>(end - begin)));
            TENON_UNROLL(8)
            for (int q = 0; q < Q; ++q) total[q] *= factor;
        }
        if constexpr (Twice) {
            TENON_UNROLL(8)
            for (int q = 0; q < Q; ++q) move_store<A, N>(p.second_y + r * stride + j + q * N, second_total[q], Part ? rest : N);
        }
        T* to = p.y + r * stride + j;
        TENON_UNROLL(8)
        for (int q = 0; q < Q; ++q) {
            if (p.accumulate) total[q] += move_load<A, N>(to + q * N, Part ? rest : N);
            move_store<A, N>(to + q * N, total[q], Part ? rest : N);
        }
    }
};

}  // namespace impl

// y[r, h, c] = (accumulate ? y : 0) + (sum | mean) over the elements k of row r of weight[edge, h] * x[column, h, c]; rows
// without elements give 0.
template <Chosen Side = Chosen::all, class T>
void spmm(const SpmmProblem<T>& p) {
    const long row_bytes = p.heads * p.width * static_cast<long>(sizeof(T));
    if (row_bytes <= 0) return;
    const bool ahead = p.a.width * row_bytes > impl::near_table;
    const SpmmProblem<T>* problem = &p;
    const auto run = [&]<bool Weighted, bool Ahead>(std::bool_constant<Weighted>, std::bool_constant<Ahead>) {
        impl::for_row_pieces(p.a, row_bytes + 8, 0.02 * double(row_bytes) + 1,
                             [&](long first, long last) { dispatch<impl::SpmmBody<Weighted, Side, Ahead>, impl::graph_isa>(problem, first, last); });
    };
    if constexpr (Side != Chosen::all) p.weight != nullptr ? run(std::true_type(), std::false_type()) : run(std::false_type(), std::false_type());
    else if (p.weight != nullptr) ahead ? run(std::true_type(), std::true_type()) : run(std::true_type(), std::false_type());
    else ahead ? run(std::false_type(), std::true_type()) : run(std::false_type(), std::false_type());
}

// to[r, :] = from[r, :] / the number of elements of row r (unchanged where there are none): what an element of a mean gets back.
template <class T>
void mean_share(long rows, const std::int32_t* pointers, long stride, const T* from, T* to) {
    using A = typename impl::sum_type<T>::type;
    const long piece = 1 + 8192 / (stride < 1 ? 1 : stride);
    parallel_for((rows + piece - 1) / piece, 0.3 * double(rows) * double(stride), [&](long task) {
        for (long r = task * piece; r < rows && r < (task + 1) * piece; ++r) {
            const long count = pointers[r + 1] - pointers[r];
            const A share = static_cast<A>(1.0 / static_cast<double>(count > 0 ? count : 1));
            for (long j = r * stride; j < (r + 1) * stride; ++j) to[j] = static_cast<T>(share * static_cast<A>(from[j]));
        }
    });
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
