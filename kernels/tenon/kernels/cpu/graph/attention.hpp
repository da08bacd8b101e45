// Attention of graph nodes to their neighbours (Velickovic et al. 2018), forward and backward in one pass over the edges each:
// of the softmax only the maximum and the sum of each row and head are kept; weights are computed again.
//
// An edge j -> i has the score leaky_relu(source[j, h] + target[i, h] + edge[e, h]); the result is the sum over the edges of
// row i of softmax(score) * kept * h[j, h, :].
#pragma once

#include <tenon/base/simd_math.hpp>
#include <tenon/kernels/cpu/graph/sddmm.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

template <class T>
struct NeighbourAttention {
    using A = typename impl::sum_type<T>::type;
    CsrRows a;                         // by target; in backward by source
    long heads = 1, width = 1;
    const T* h = nullptr;              // [sources, heads, width]
    const T *source = nullptr, *target = nullptr, *edge = nullptr;  // [sources, heads], [targets, heads], [edges, heads] or null
    A slope = A(0.2f);                 // of scores below 0
    const bool* kept = nullptr;        // [edges, heads]: weights that are not dropped; null: all
    A keep_scale = 1;                  // of those
    A *top = nullptr, *norm = nullptr; // [targets, heads]: largest score, sum of exponentials

    TENON_HD A raw(long j, long i, long e, long head) const {
        const A sum = static_cast<A>(source[j * heads + head]) + static_cast<A>(target[i * heads + head]);
        return edge == nullptr ? sum : sum + static_cast<A>(edge[e * heads + head]);
    }
    TENON_HD A leaky(A x) const { return x > 0 ? x : slope * x; }
    // (A product: a branch would be guessed wrong half of the time.)
    TENON_HD A keep(long e, long head) const { return kept == nullptr ? A(1) : static_cast<A>(static_cast<int>(kept[e * heads + head])) * keep_scale; }
};

namespace reference {

// In double.
template <class T>
void neighbour_attention(const NeighbourAttention<T>& p, double* y) {
    for (long r = 0; r < p.a.rows; ++r)
        for (long h = 0; h < p.heads; ++h) {
            const auto score = [&](long k) {
                const long j = p.a.columns[k], e = p.a.edge(k);
                const double v = static_cast<double>(p.source[j * p.heads + h]) + static_cast<double>(p.target[r * p.heads + h]) +
                                 (p.edge == nullptr ? 0 : static_cast<double>(p.edge[e * p.heads + h]));
                return v > 0 ? v : static_cast<double>(p.slope) * v;
            };
            double top = -__builtin_inf(), norm = 0;
            for (long k = p.a.begin(r); k < p.a.end(r); ++k) top = score(k) > top ? score(k) : top;
            for (long k = p.a.begin(r); k < p.a.end(r); ++k) norm += __builtin_exp(score(k) - top);
            for (long c = 0; c < p.width; ++c) {
                double sum = 0;
                for (long k = p.a.begin(r); k < p.a.end(r); ++k)
                    sum += __builtin_exp(score(k) - top) / norm * static_cast<double>(p.keep(p.a.edge(k), h)) *
                           static_cast<double>(p.h[(p.a.columns[k] * p.heads + h) * p.width + c]);
                y[(r * p.heads + h) * p.width + c] = sum;
            }
        }
}

}  // namespace reference

namespace impl {

// Heads side by side, padded so that whole vectors hold whole groups of heads or groups whole vectors.
template <int N>
constexpr long padded_heads(long heads) {
    if (heads >= N) return (heads + N - 1) / N * N;
    long padded = 1;
    while (padded < heads) padded *= 2;
    return padded;
}

// Whether the weights of N heads are kept, as factors.
template <class A, int N>
TENON_ALWAYS_INLINE simd<A, N> keep_factors(const bool* kept, A scale) {
    return convert<A>(simd<std::uint8_t, N>::load(reinterpret_cast<const std::uint8_t*>(kept))) * simd<A, N>(scale);
}
template <class A, int N>
TENON_ALWAYS_INLINE simd<A, N> leaky(const simd<A, N>& x, A slope) {
    return select(x > simd<A, N>(0), x, simd<A, N>(slope) * x);
}

template <class A, int N>
TENON_ALWAYS_INLINE void exp_in_place(A* p, long count) {
    for (long i = 0; i < count; i += N) math::exp(simd<A, N>::load(p + i)).store(p + i);
}

struct NeighbourForwardBody {
    // room: (longest row + N) * padded heads + 2 * padded heads numbers.
    template <int Lanes, class T, class A>
    static TENON_ALWAYS_INLINE void run(const NeighbourAttention<T>* problem, T* y, long first, long last, A* room) {
        const NeighbourAttention<T> p = *problem;
        constexpr int N = move_lanes<A, Lanes>;
        using V = simd<A, N>;
        const long padded = padded_heads<N>(p.heads), step = padded < N ? N : padded;
        A *const top = room, *const sum = room + step, *const score = room + 2 * step;
        SpmmProblem<T, A> product{p.a, nullptr, p.heads, p.width, p.h, nullptr, false, y, false, padded};
        product.a.edges = nullptr;
        for (long r = first; r < last; ++r) {
            const long begin = p.a.begin(r), count = p.a.end(r) - begin, flat = count * padded, end = (flat + step - 1) / step * step;
            for (long k = 0; k < count; ++k) {
                const long j = p.a.columns[begin + k], e = p.a.edge(begin + k);
                A* to = score + k * padded;
                if (padded == p.heads && padded % N == 0) {
                    for (long h = 0; h < padded; h += N) {
                        V v = move_load<A, N>(p.source + j * padded + h, N) + move_load<A, N>(p.target + r * padded + h, N);
                        if (p.edge != nullptr) v += move_load<A, N>(p.edge + e * padded + h, N);
                        v.store(to + h);
                    }
                    continue;
                }
                for (long h = 0; h < p.heads; ++h) to[h] = p.raw(j, r, e, h);
                for (long h = p.heads; h < padded; ++h) to[h] = 0;
            }
            for (long i = flat; i < end; ++i) score[i] = 0;
            for (long i = 0; i < end; i += N) leaky<A, N>(V::load(score + i), p.slope).store(score + i);
            for (long i = flat; i < end; ++i) score[i] = static_cast<A>(-__builtin_inf());
            for (long g = 0; g < step; g += N) {
                V best(-__builtin_inf());
                for (long i = g; i < end; i += step) best = max(best, V::load(score + i));
                best.store(top + g);
            }
            // Lanes of several edges: the largest of each head, put back into all of them.
            for (long h = 0; padded < N && h < padded; ++h) {
                for (long i = h + padded; i < N; i += padded) top[h] = top[i] > top[h] || top[i] != top[i] ? top[i] : top[h];
                for (long i = h + padded; i < N; i += padded) top[i] = top[h];
            }
            for (long g = 0; g < step; g += N) {
                const V best = V::load(top + g);
                V total(0);
                for (long i = g; i < end; i += step) {
                    const V v = math::exp(V::load(score + i) - best);
                    total += v;
                    v.store(score + i);
                }
                total.store(sum + g);
            }
            for (long h = 0; padded < N && h < padded; ++h) {
                for (long i = h + padded; i < N; i += padded) sum[h] += sum[i];
                for (long i = h + padded; i < N; i += padded) sum[i] = sum[h];
            }
            for (long h = 0; p.top != nullptr && h < p.heads; ++h) {
                p.top[r * p.heads + h] = count > 0 ? top[h] : A(0);
                p.norm[r * p.heads + h] = count > 0 ? sum[h] : A(1);
            }
            for (long g = 0; g < step; g += N) {
                const V factor = V(1) / V::load(sum + g);
                for (long i = g; i < end; i += step) (V::load(score + i) * factor).store(score + i);
            }
            for (long k = 0; p.kept != nullptr && k < count; ++k) {
                const long e = p.a.edge(begin + k);
                if (padded == p.heads && padded % N == 0)
                    for (long h = 0; h < padded; h += N) (V::load(score + k * padded + h) * keep_factors<A, N>(p.kept + e * padded + h, p.keep_scale)).store(score + k * padded + h);
                else
                    for (long h = 0; h < p.heads; ++h) score[k * padded + h] *= p.keep(e, h);
            }
            product.weight = score - begin * padded;
            SpmmBody<true, Chosen::all, false>::template row<Lanes>(product, r);
        }
    }
};

// shares[i]: target, top, 1 / norm and dy . y of node i, [4, heads]: what backward reads of a target, in one place. Where y was
// rounded to 16 bits, its product with dy is taken from the edges again: gradients of scores are differences to it.
template <class T>
struct NeighbourShares {
    using A = typename sum_type<T>::type;
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const NeighbourAttention<T>* problem, long targets, const T* y, const T* dy, A* shares, long first, long last) {
        constexpr int N = move_lanes<A, Lanes>;
        const NeighbourAttention<T> p = *problem;
        for (long i = first; i < last; ++i)
            for (long h = 0; h < p.heads; ++h) {
                const long at = i * p.heads + h;
                const bool inside = (at + 1) * p.width + N <= targets * p.heads * p.width;
                A* to = shares + i * 4 * p.heads + h;
                to[0] = static_cast<A>(p.target[at]);
                to[p.heads] = p.top[at];
                to[2 * p.heads] = A(1) / p.norm[at];
                if constexpr (std::is_same_v<A, T>) {
                    to[3 * p.heads] = dot_row<A, N, false>(dy + at * p.width, y + at * p.width, nullptr, 0l, p.width, inside, inside);
                } else {
                    A total = 0;
                    for (long k = p.a.begin(i); k < p.a.end(i); ++k) {
                        const long j = p.a.columns[k], e = p.a.edge(k);
                        const bool v_inside = (j * p.heads + h + 1) * p.width + N <= p.a.width * p.heads * p.width;
                        const A dot = dot_row<A, N, false>(dy + at * p.width, p.h + (j * p.heads + h) * p.width, nullptr, 0l, p.width, inside, v_inside);
                        total += static_cast<A>(__builtin_expf(static_cast<float>(p.leaky(p.raw(j, i, e, h)) - p.top[at]))) * p.keep(e, h) * dot;
                    }
                    to[3 * p.heads] = total / p.norm[at];
                }
            }
    }
};

struct NeighbourBackwardBody {
    // Rows are sources. room: 3 * (longest row + N) * padded heads numbers.
    template <int Lanes, class T, class A>
    static TENON_ALWAYS_INLINE void run(const NeighbourAttention<T>* problem, const T* dy, const A* shares, T* dh, bool add_h, T* ds, bool add_s, A* scores,
                                        long first, long last, A* room, long apart) {
        const NeighbourAttention<T> p = *problem;
        constexpr int N = move_lanes<A, Lanes>;
        using V = simd<A, N>;
        const long heads = p.heads, padded = padded_heads<N>(heads), stride = heads * p.width;
        const bool whole = heads % N == 0;
        A *const weight = room, *const dots = room + apart, *const slopes = room + 2 * apart;
        SpmmProblem<T, A> product{p.a, nullptr, heads, p.width, dy, nullptr, false, dh, add_h, padded};
        product.a.edges = nullptr;
        for (long j = first; j < last; ++j) {
            const long begin = p.a.begin(j), count = p.a.end(j) - begin;
            for (long k = 0; k < count; ++k) {
                const long i = p.a.columns[begin + k], e = p.a.edge(begin + k);
                const A* share = shares + i * 4 * heads;
                for (long h = 0; h < heads; ++h) {
                    const bool u_inside = (j * heads + h + 1) * p.width + N <= p.a.rows * stride, v_inside = (i * heads + h + 1) * p.width + N <= p.a.width * stride;
                    dots[k * padded + h] =
                        dot_row<A, N, false>(p.h + j * stride + h * p.width, dy + i * stride + h * p.width, nullptr, 0l, p.width, u_inside, v_inside);
                }
                if (whole) {
                    for (long h = 0; h < heads; h += N) {
                        V raw = move_load<A, N>(p.source + j * heads + h, N) + V::load(share + h);
                        if (p.edge != nullptr) raw += move_load<A, N>(p.edge + e * heads + h, N);
                        select(raw > V(0), V(1), V(p.slope)).store(slopes + k * heads + h);
                        (leaky<A, N>(raw, p.slope) - V::load(share + heads + h)).store(weight + k * heads + h);
                    }
                    continue;
                }
                for (long h = 0; h < heads; ++h) {
                    A raw = static_cast<A>(p.source[j * heads + h]) + share[h];
                    if (p.edge != nullptr) raw += static_cast<A>(p.edge[e * heads + h]);
                    slopes[k * padded + h] = raw > 0 ? A(1) : p.slope;
                    weight[k * padded + h] = slopes[k * padded + h] * raw - share[heads + h];
                }
                for (long h = heads; h < padded; ++h) weight[k * padded + h] = 0;
            }
            for (long i = count * padded; i % N != 0; ++i) weight[i] = 0;
            exp_in_place<A, N>(weight, count * padded);
            for (long h = 0; whole && h < heads; h += N) {
                V total(0);
                for (long k = 0; k < count; ++k) {
                    const long i = p.a.columns[begin + k], e = p.a.edge(begin + k), at = k * heads + h;
                    const A* share = shares + i * 4 * heads + h;
                    const V alpha = V::load(weight + at) * V::load(share + 2 * heads);
                    const V keep = p.kept == nullptr ? V(1) : keep_factors<A, N>(p.kept + e * heads + h, p.keep_scale);
                    const V d = alpha * (keep * V::load(dots + at) - V::load(share + 3 * heads)) * V::load(slopes + at);
                    d.store(scores + e * heads + h);
                    total += d;
                    (alpha * keep).store(weight + at);
                }
                if (ds == nullptr) continue;
                if (add_s) total += move_load<A, N>(ds + j * heads + h, N);
                move_store<A, N>(ds + j * heads + h, total, N);
            }
            for (long h = 0; !whole && h < heads; ++h) {
                A total = 0;
                for (long k = 0; k < count; ++k) {
                    const long i = p.a.columns[begin + k], e = p.a.edge(begin + k), at = k * padded + h;
                    const A* share = shares + i * 4 * heads;
                    const A alpha = weight[at] * share[2 * heads + h], keep = p.keep(e, h);
                    const A d = alpha * (keep * dots[at] - share[3 * heads + h]) * slopes[at];
                    scores[e * heads + h] = d;
                    total += d;
                    weight[at] = alpha * keep;
                }
                if (ds == nullptr) continue;
                if (add_s) total += static_cast<A>(ds[j * heads + h]);
                ds[j * heads + h] = static_cast<T>(total);
            }
            if (dh == nullptr) continue;
            product.weight = weight - begin * padded;
            SpmmBody<true, Chosen::all, false>::template row<Lanes>(product, j);
        }
    }
};

inline long longest_row(const CsrRows& a, long first, long last) {
    long longest = 0;
    for (long r = first; r < last; ++r) longest = a.end(r) - a.begin(r) > longest ? a.end(r) - a.begin(r) : longest;
    return longest;
}

}  // namespace impl

// y [targets, heads, width]. top and norm are for backward, and may be null.
template <class T>
void neighbour_attention(const NeighbourAttention<T>& p, T* y) {
    using A = typename NeighbourAttention<T>::A;
    const long row_bytes = p.heads * p.width * static_cast<long>(sizeof(T));
    if (row_bytes <= 0) return;
    const NeighbourAttention<T>* problem = &p;
    impl::for_row_pieces(p.a, row_bytes + 16 * p.heads, 0.03 * double(row_bytes) + 4 * double(p.heads), [&](long first, long last) {
        const impl::MoveBuffer<A> room((impl::longest_row(p.a, first, last) + 48) * (2 * p.heads + 16));
        dispatch<impl::NeighbourForwardBody, impl::graph_isa>(problem, y, first, last, room.data());
    });
}

// dh (+)=, ds (+)=, dt (+)=, de (+)= from dy; each may be null. by_source: the same edges in rows of sources; p.a is by target.
// scores: room for [edges, heads].
template <class T>
void neighbour_attention_backward(const NeighbourAttention<T>& p, const CsrRows& by_source, const T* y, const T* dy, T* dh, bool add_h, T* ds, bool add_s, T* dt,
                                  bool add_t, T* de, bool add_e, typename NeighbourAttention<T>::A* scores) {
    using A = typename NeighbourAttention<T>::A;
    const long row_bytes = p.heads * p.width * static_cast<long>(sizeof(T)), heads = p.heads;
    if (heads <= 0) return;
    const impl::MoveBuffer<A> shares(p.a.rows * 4 * heads);
    const NeighbourAttention<T>* by_target = &p;
    impl::for_row_pieces(p.a, row_bytes, 0.03 * double(row_bytes) + 4 * double(heads), [&](long first, long last) {
        dispatch<impl::NeighbourShares<T>, impl::graph_isa>(by_target, p.a.rows, y, dy, shares.data(), first, last);
    });
    NeighbourAttention<T> turned = p;
    turned.a = by_source;
    const NeighbourAttention<T>* problem = &turned;
    const A* all_shares = shares.data();
    impl::for_row_pieces(by_source, 2 * row_bytes + 32 * heads, 0.06 * double(row_bytes) + 8 * double(heads), [&](long first, long last) {
        const long apart = (impl::longest_row(by_source, first, last) + 16) * (2 * heads + 16);
        const impl::MoveBuffer<A> room(3 * apart);
        dispatch<impl::NeighbourBackwardBody, impl::graph_isa>(problem, dy, all_shares, dh, add_h, ds, add_s, scores, first, last, room.data(), apart);
    });
    if (dt != nullptr)
        impl::for_row_pieces(p.a, 16 * heads, 2 * double(heads), [&](long first, long last) {
            for (long i = first; i < last; ++i)
                for (long h = 0; h < heads; h += 8) {
                    const long some = heads - h < 8 ? heads - h : 8;
                    A total[8] = {};
                    for (long k = p.a.begin(i); k < p.a.end(i); ++k) {
                        const A* from = scores + p.a.edge(k) * heads + h;
                        if (some == 8)
                            for (int q = 0; q < 8; ++q) total[q] += from[q];
                        else
                            for (long q = 0; q < some; ++q) total[q] += from[q];
                    }
                    for (long q = 0; q < some; ++q) {
                        T& to = dt[i * heads + h + q];
                        to = static_cast<T>(add_t ? static_cast<A>(to) + total[q] : total[q]);
                    }
                }
        });
    if (de != nullptr)
        for (long i = 0; i < p.a.elements * heads; ++i)
            de[i] = static_cast<T>(add_e ? static_cast<A>(de[i]) + scores[i] : scores[i]);
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
