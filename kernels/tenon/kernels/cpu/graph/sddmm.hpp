// Sampled products: for every element of a sparse matrix the dot products of a row of one table and a row of another, the
// gradient of spmm's weights.
#pragma once

#include <tenon/kernels/cpu/graph/spmm.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

template <class T>
struct SddmmProblem {
    CsrRows a;
    long heads = 1, width = 1;
    const T *u = nullptr, *v = nullptr;    // [rows, heads, width], [columns, heads, width]
    const std::int32_t* chosen = nullptr;  // [rows, heads, width]
    T* to = nullptr;                       // [elements, heads], by number
    bool accumulate = false;
};

namespace reference {

// In double.
template <class T>
void sddmm(const SddmmProblem<T>& p, double* to) {
    const long stride = p.heads * p.width;
    for (long r = 0; r < p.a.rows; ++r)
        for (long k = p.a.begin(r); k < p.a.end(r); ++k)
            for (long h = 0; h < p.heads; ++h) {
                const long e = p.a.edge(k);
                double sum = 0;
                for (long c = h * p.width; c < (h + 1) * p.width; ++c)
                    if (p.chosen == nullptr || p.chosen[r * stride + c] == e)
                        sum += static_cast<double>(p.u[r * stride + c]) * static_cast<double>(p.v[p.a.columns[k] * stride + c]);
                to[e * p.heads + h] = sum;
            }
}

}  // namespace reference

namespace impl {

// u . v over `width` elements, as N numbers still to be added up: two sums of N lanes, whose order depends on the width alone.
// u_inside, v_inside: behind the last elements there are N more that may be read.
template <class A, int N, bool Masked, class T>
TENON_ALWAYS_INLINE simd<A, N> dot_lanes(const T* u, const T* v, const std::int32_t* chosen, long e, long width, bool u_inside, bool v_inside) {
    using V = simd<A, N>;
    using P = std::conditional_t<sizeof(A) == 4, std::int32_t, std::int64_t>;
    const V zero(0);
    V a(0), b(0);
    // (Products are masked, not factors: what was not chosen may hold a NaN.)
    const auto add = [&](V& to, const V& x, const V& y, long at, long rest) __attribute__((always_inline)) {
        if constexpr (Masked) {
            const simd<std::int32_t, N> names = load_within<std::int32_t, N>(chosen + at, rest, u_inside || rest >= N);
            to += select(convert<P>(names) == simd<P, N>(static_cast<P>(e)), x * y, zero);
        } else {
            (void)at, (void)rest;
            to += x * y;
        }
    };
    long j = 0;
    for (; j + 2 * N <= width; j += 2 * N) {
        add(a, move_load<A, N>(u + j, N), move_load<A, N>(v + j, N), j, N);
        add(b, move_load<A, N>(u + j + N, N), move_load<A, N>(v + j + N, N), j + N, N);
    }
    if (j + N <= width) {
        add(a, move_load<A, N>(u + j, N), move_load<A, N>(v + j, N), j, N);
        j += N;
    }
    if (j < width) {
        const long rest = width - j;
        V number(0);
        for (int i = 0; i < N; ++i) number.v[i] = A(i);
        const auto own = number < V(static_cast<A>(rest));
        add(b, select(own, load_within<A, N>(u + j, rest, u_inside), zero), select(own, load_within<A, N>(v + j, rest, v_inside), zero), j, rest);
    }
    return a + b;
}
template <class A, int N, bool Masked, class T>
TENON_ALWAYS_INLINE A dot_row(const T* u, const T* v, const std::int32_t* chosen, long e, long width, bool u_inside, bool v_inside) {
    return reduce_add(dot_lanes<A, N, Masked>(u, v, chosen, e, width, u_inside, v_inside));
}

template <bool Masked>
struct SddmmBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(const SddmmProblem<T>* problem, long first, long last) {
        using A = typename sum_type<T>::type;
        constexpr int N = move_lanes<A, Lanes>;
        const SddmmProblem<T> p = *problem;
        const long stride = p.heads * p.width, known = p.a.elements;
        for (long r = first; r < last; ++r)
            for (long k = p.a.begin(r); k < p.a.end(r); ++k) {
                const long c = p.a.columns[k], e = p.a.edge(k);
                if (k + 8 < known) __builtin_prefetch(p.v + p.a.columns[k + 8] * stride);
                for (long h = 0; h < p.heads; ++h) {
                    const long j = h * p.width;
                    const bool u_inside = (r * p.heads + h + 1) * p.width + N <= p.a.rows * stride, v_inside = (c * p.heads + h + 1) * p.width + N <= p.a.width * stride;
                    A sum = dot_row<A, N, Masked>(p.u + r * stride + j, p.v + c * stride + j, Masked ? p.chosen + r * stride + j : nullptr, e, p.width, u_inside, v_inside);
                    T& to = p.to[e * p.heads + h];
                    if (p.accumulate) sum += static_cast<A>(to);
                    to = static_cast<T>(sum);
                }
            }
    }
};

}  // namespace impl

// to[edge, h] = (accumulate ? to : 0) + u[row, h, :] . v[column, h, :], of the columns whose chosen number is the edge's.
template <class T>
void sddmm(const SddmmProblem<T>& p) {
    const long row_bytes = p.heads * p.width * static_cast<long>(sizeof(T));
    const SddmmProblem<T>* problem = &p;
    const auto run = [&]<bool Masked>(std::bool_constant<Masked>) {
        impl::for_row_pieces(p.a, 2 * row_bytes + 8, 0.03 * double(row_bytes) + 2,
                             [&](long first, long last) { dispatch<impl::SddmmBody<Masked>, impl::graph_isa>(problem, first, last); });
    };
    p.chosen != nullptr ? run(std::true_type()) : run(std::false_type());
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
