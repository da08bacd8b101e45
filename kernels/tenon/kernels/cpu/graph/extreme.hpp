// The largest or smallest weighted neighbour, column by column, and which edge it came by.
#pragma once

#include <tenon/kernels/cpu/graph/spmm.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

namespace reference {

// The number of the first element of the row with the largest (smallest) product, a NaN being larger (smaller) than
// everything; -1 where the row is empty.
template <bool Max, class T>
void spmm_extreme(const SpmmProblem<T>& p, std::int32_t* at) {
    const long stride = p.heads * p.width;
    for (long r = 0; r < p.a.rows; ++r)
        for (long j = 0; j < stride; ++j) {
            double best = 0;
            at[r * stride + j] = -1;
            for (long k = p.a.begin(r); k < p.a.end(r); ++k) {
                const long e = p.a.edge(k);
                const double w = p.weight == nullptr ? 1 : static_cast<double>(p.weight[e * p.heads + j / p.width]);
                const double v = w * static_cast<double>(p.x[p.a.columns[k] * stride + j]);
                if (k == p.a.begin(r) || (best == best && (v != v || (Max ? v > best : v < best)))) {
                    best = v;
                    at[r * stride + j] = static_cast<std::int32_t>(e);
                }
            }
        }
}

}  // namespace reference

namespace impl {

// Named: which element it was is wanted. Where it is not, the largest (smallest) numbers alone are kept, and a tile in which a
// NaN came is done again.
template <bool Max, bool Weighted, bool Named>
struct SpmmExtremeBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(const SpmmProblem<T>* problem, std::int32_t* at, long first, long last) {
        constexpr int N = move_lanes<typename sum_type<T>::type, Lanes>;
        const SpmmProblem<T> p = *problem;
        for (long r = first; r < last; ++r)
            for (long h = 0; h < (Weighted ? p.heads : 1); ++h) {
                const long width = Weighted ? p.width : p.heads * p.width;
                long j = h * width;
                const long end = j + width;
                if constexpr (Named) {
                    for (; j + 2 * N <= end; j += 2 * N) named<N, 2, false>(p, at, r, j, N, h);
                    if (j + N <= end) named<N, 1, false>(p, at, r, j, N, h), j += N;
                    if (j < end) named<N, 1, true>(p, at, r, j, end - j, h);
                } else {
                    for (; j + 8 * N <= end; j += 8 * N) plain<N, 8, false>(p, r, j, N, h);
                    if (j + 4 * N <= end) plain<N, 4, false>(p, r, j, N, h), j += 4 * N;
                    if (j + 2 * N <= end) plain<N, 2, false>(p, r, j, N, h), j += 2 * N;
                    if (j + N <= end) plain<N, 1, false>(p, r, j, N, h), j += N;
                    if (j < end) plain<N, 1, true>(p, r, j, end - j, h);
                }
            }
    }

private:
    template <int N, int Q, class T>
    static TENON_ALWAYS_INLINE void ahead(const SpmmProblem<T>& p, long k, long j) {
        if (k + 8 >= p.a.elements) return;
        const char* next = reinterpret_cast<const char*>(p.x + p.a.columns[k + 8] * p.heads * p.width + j);
        TENON_UNROLL(8)
        for (int line = 0; line < Q * N * int(sizeof(T)); line += 64) __builtin_prefetch(next + line);
    }
    template <int N, int Q, bool Part, class T>
    static TENON_ALWAYS_INLINE void plain(const SpmmProblem<T>& p, long r, long j, long rest, long head) {
        using A = typename sum_type<T>::type;
        using V = simd<A, N>;
        const long stride = p.heads * p.width, begin = p.a.begin(r), end = p.a.end(r);
        const long inside = Part ? last_inside(p.a.width, stride, j, N) : 0;
        const V start(begin < end ? (Max ? -A(__builtin_inf()) : A(__builtin_inf())) : A(0));
        V best[Q];
        TENON_UNROLL(8)
        for (int q = 0; q < Q; ++q) best[q] = start;
        V bad(0);
        for (long k = begin; k < end; ++k) {
            const long c = p.a.columns[k];
            ahead<N, Q>(p, k, j);
            const T* from = p.x + c * stride + j;
            V w(0);
            if constexpr (Weighted) w = V(static_cast<A>(p.weight[p.a.edge(k) * p.heads + head]));
            TENON_UNROLL(8)
            for (int q = 0; q < Q; ++q) {
                V v;
                if constexpr (Part) v = load_within<A, N>(from, rest, c <= inside);
                else v = move_load<A, N>(from + q * N, N);
                if constexpr (Weighted) v = w * v;
                bad = select(v != v, v, bad);
                best[q] = select(Max ? v > best[q] : v < best[q], v, best[q]);
            }
        }
        if (const A any = reduce_add(bad); TENON_UNLIKELY(any != any)) {
            TENON_UNROLL(8)
            for (int q = 0; q < Q; ++q)
                SpmmExtremeBody<Max, Weighted, true>::template named<N, 1, Part>(p, nullptr, r, j + q * N, rest, head);
            return;
        }
        TENON_UNROLL(8)
        for (int q = 0; q < Q; ++q) move_store<A, N>(p.y + r * stride + j + q * N, best[q], Part ? rest : N);
    }
    template <int N, int Q, bool Part, class T>
    static TENON_ALWAYS_INLINE void named(const SpmmProblem<T>& p, std::int32_t* at, long r, long j, long rest, long head) {
        using A = typename sum_type<T>::type;
        using V = simd<A, N>;
        using P = std::conditional_t<sizeof(A) == 4, std::int32_t, std::int64_t>;
        const long stride = p.heads * p.width, begin = p.a.begin(r), end = p.a.end(r);
        const long inside = Part ? last_inside(p.a.width, stride, j, N) : 0;
        V best[Q];
        simd<P, N> where[Q];
        TENON_UNROLL(2)
        for (int q = 0; q < Q; ++q) best[q] = V(0), where[q] = simd<P, N>(-1);
        for (long k = begin; k < end; ++k) {
            const long c = p.a.columns[k], e = p.a.edge(k);
            ahead<N, Q>(p, k, j);
            const T* from = p.x + c * stride + j;
            V w(0);
            if constexpr (Weighted) w = V(static_cast<A>(p.weight[e * p.heads + head]));
            const simd<P, N> number(static_cast<P>(e));
            TENON_UNROLL(2)
            for (int q = 0; q < Q; ++q) {
                V v;
                if constexpr (Part) v = load_within<A, N>(from, rest, c <= inside);
                else v = move_load<A, N>(from + q * N, N);
                if constexpr (Weighted) v = w * v;
                if (k == begin) {
                    best[q] = v;
                    where[q] = number;
                    continue;
                }
                const auto better = ((Max ? v > best[q] : v < best[q]) | (v != v)) & (best[q] == best[q]);
                best[q] = select(better, v, best[q]);
                where[q] = select(better, number, where[q]);
            }
        }
        TENON_UNROLL(2)
        for (int q = 0; q < Q; ++q) {
            move_store<A, N>(p.y + r * stride + j + q * N, best[q], Part ? rest : N);
            if (at == nullptr) continue;
            std::int32_t* to = at + r * stride + j + q * N;
            for (long i = 0; i < (Part ? rest : N); ++i) to[i] = static_cast<std::int32_t>(where[q][static_cast<int>(i)]);
        }
    }
    template <bool, bool, bool>
    friend struct SpmmExtremeBody;
};

}  // namespace impl

// y[r, h, c] = the largest (smallest) of weight[edge, h] * x[column, h, c] over the elements of row r, 0 where there are none;
// at[r, h, c] = the number of the first element that has it, or -1 (at null: not wanted). A NaN counts as larger (smaller) than
// everything.
template <bool Max, class T>
void spmm_extreme(const SpmmProblem<T>& p, std::int32_t* at) {
    const long row_bytes = p.heads * p.width * static_cast<long>(sizeof(T));
    if (row_bytes <= 0) return;
    const SpmmProblem<T>* problem = &p;
    const auto run = [&]<bool Weighted, bool Named>(std::bool_constant<Weighted>, std::bool_constant<Named>) {
        impl::for_row_pieces(p.a, row_bytes + 8, 0.05 * double(row_bytes) + 1, [&](long first, long last) {
            dispatch<impl::SpmmExtremeBody<Max, Weighted, Named>, impl::graph_isa>(problem, at, first, last);
        });
    };
    if (at != nullptr) p.weight != nullptr ? run(std::true_type(), std::true_type()) : run(std::false_type(), std::true_type());
    else p.weight != nullptr ? run(std::true_type(), std::false_type()) : run(std::false_type(), std::false_type());
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
