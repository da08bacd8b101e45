// Attention of graph nodes to their neighbours (Velickovic et al. 2018), forward and backward in one pass over the edges each:
// of the softmax only the maximum and the sum of each row and head are kept; weights are computed again.
//
// An edge j -> i has the score leaky_relu(source[j, h] + target[i, h] + edge[e, h]); the result is the sum over the edges of
// row i of softmax(score) * kept * h[j, h, :].
#pragma once

#include <tenon/base/simd_math.hpp>
#include <tenon/kernels/cpu/fold.hpp>
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

// In double, from rows by target: gradients of h, and of the scores of edges before the leaky_relu.
template <class T>
void neighbour_attention_backward(const NeighbourAttention<T>& p, const T* dy, double* dh, double* scores) {
    for (long i = 0; i < p.a.width * p.heads * p.width; ++i) dh[i] = 0;
    for (long r = 0; r < p.a.rows; ++r)
        for (long h = 0; h < p.heads; ++h) {
            const auto raw = [&](long k) {
                return static_cast<double>(p.source[p.a.columns[k] * p.heads + h]) + static_cast<double>(p.target[r * p.heads + h]) +
                       (p.edge == nullptr ? 0 : static_cast<double>(p.edge[p.a.edge(k) * p.heads + h]));
            };
            const auto slope = [&](long k) { return raw(k) > 0 ? 1 : static_cast<double>(p.slope); };
            const auto keep = [&](long k) { return static_cast<double>(p.keep(p.a.edge(k), h)); };
            const auto place = [&](long k) { return (p.a.columns[k] * p.heads + h) * p.width; };
            const auto dot = [&](long k) {
                double sum = 0;
                for (long c = 0; c < p.width; ++c) sum += static_cast<double>(dy[(r * p.heads + h) * p.width + c]) * static_cast<double>(p.h[place(k) + c]);
                return sum;
            };
            double top = -__builtin_inf(), norm = 0, share = 0;
            for (long k = p.a.begin(r); k < p.a.end(r); ++k) top = slope(k) * raw(k) > top ? slope(k) * raw(k) : top;
            for (long k = p.a.begin(r); k < p.a.end(r); ++k) norm += __builtin_exp(slope(k) * raw(k) - top);
            const auto alpha = [&](long k) { return __builtin_exp(slope(k) * raw(k) - top) / norm; };
            for (long k = p.a.begin(r); k < p.a.end(r); ++k) share += alpha(k) * keep(k) * dot(k);
            for (long k = p.a.begin(r); k < p.a.end(r); ++k) {
                scores[p.a.edge(k) * p.heads + h] = alpha(k) * (keep(k) * dot(k) - share) * slope(k);
                for (long c = 0; c < p.width; ++c) dh[place(k) + c] += alpha(k) * keep(k) * static_cast<double>(dy[(r * p.heads + h) * p.width + c]);
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
    // The bytes are told apart by masks: g++ would convert them lane by lane.
    using I = std::conditional_t<sizeof(A) == 4, std::int32_t, std::int64_t>;
    using V = simd<I, N>;
    V bytes, own;
    TENON_UNROLL(8)
    for (int i = 0; i < N; ++i) own.v[i] = I(0xff) << (8 * (i % 4) % 32);
    if constexpr (N == 8) {
        std::uint64_t word;
        __builtin_memcpy(&word, kept, 8);
        const typename V::Raw words = (typename V::Raw)simd<std::uint64_t, 4>(word).v;
        bytes.v = __builtin_shufflevector(words, words, 0, 0, 0, 0, 1, 1, 1, 1);
    } else {
        std::uint32_t word = 0;
        __builtin_memcpy(&word, kept, N);
        bytes = V(static_cast<I>(word));
    }
    return select(V(typename V::Raw(bytes.v & own.v)) != V(0), simd<A, N>(scale), simd<A, N>(0));
}
template <class A, int N>
TENON_ALWAYS_INLINE simd<A, N> leaky(const simd<A, N>& x, A slope) {
    return select(x > simd<A, N>(0), x, simd<A, N>(slope) * x);
}

template <class A, int N>
TENON_ALWAYS_INLINE void exp_in_place(A* p, long count) {
    for (long i = 0; i < count; i += N) math::exp(simd<A, N>::load(p + i)).store(p + i);
}

// dot_lanes where the width is whole vectors.
template <class A, int N, class T>
TENON_ALWAYS_INLINE simd<A, N> exact_lanes(long width, const T* from, const T* to) {
    simd<A, N> a = move_load<A, N>(from, N) * move_load<A, N>(to, N);
    for (long j = N; j < width; j += N) a += move_load<A, N>(from + j, N) * move_load<A, N>(to + j, N);
    return a;
}
// dots[u] = the sum over `width` elements of the products of what at(u, from, to) points to, in tables that end at end_from and
// end_to. N dot products at a time, however few belong to an edge; writes up to N - 1 more. Exact: the width is whole vectors.
template <class A, int N, bool Exact, class T, class At>
TENON_ALWAYS_INLINE void dot_units(long count, long width, const T* end_from, const T* end_to, At&& at, A* dots) {
    using V = simd<A, N>;
    const long whole = width / N * N + N;  // elements that vectors cover
    for (long u = 0; u < count; u += N) {
        V lanes[N];
        TENON_UNROLL(8)
        for (int q = 0; q < N; ++q) {
            lanes[q] = V(0);
            if (u + q >= count) continue;
            const T *from = nullptr, *to = nullptr;
            at(u + q, from, to);
            if constexpr (Exact) lanes[q] = exact_lanes<A, N>(width, from, to);
            else lanes[q] = dot_lanes<A, N, false>(from, to, nullptr, 0l, width, end_from - from >= whole, end_to - to >= whole);
        }
        lane_sums(lanes).store(dots + u);
    }
}
// The same of `heads` heads side by side, N at a time: of Width < N elements each, in whole vectors, or of any number of whole ones.
template <class A, int N, int Width, class T>
TENON_ALWAYS_INLINE void dot_heads(long heads, const T* from, const T* to, A* dots) {
    using V = simd<A, N>;
    for (long h = 0; h < heads; h += N) {
        V lanes[Width];
        TENON_UNROLL(8)
        for (int q = 0; q < Width; ++q) lanes[q] = move_load<A, N>(from + h * Width + q * N, N) * move_load<A, N>(to + h * Width + q * N, N);
        group_sums(lanes).store(dots + h);
    }
}

template <bool Ahead>
struct NeighbourForwardBody {
    // room: (longest row + N) * padded heads + 2 * padded heads numbers.
    template <int Lanes, class T, class A>
    static TENON_ALWAYS_INLINE void run(const NeighbourAttention<T>* problem, T* y, long first, long last, A* room) {
        const NeighbourAttention<T> p = *problem;
        constexpr int N = move_lanes<A, Lanes>;
        const long padded = padded_heads<N>(p.heads), step = padded < N ? N : padded;
        A* const score = room + 2 * step;
        SpmmProblem<T, A> product{p.a, nullptr, p.heads, p.width, p.h, nullptr, false, y, false, padded};
        product.a.edges = nullptr;
        for (long r = first; r < last; ++r) {
            if (p.heads % N == 0) whole<N>(p, r, score);
            else if (p.heads == 1) single<N>(p, r, score);
            else some<N>(p, r, padded, step, room, score);
            product.weight = score - p.a.begin(r) * padded;
            SpmmBody<true, Chosen::all, Ahead>::template row<Lanes>(product, r);
        }
    }

private:
    // Weights of a row's edges: heads fill vectors.
    template <int N, class T, class A>
    static TENON_ALWAYS_INLINE void whole(const NeighbourAttention<T>& p, long r, A* score) {
        using V = simd<A, N>;
        const long begin = p.a.begin(r), count = p.a.end(r) - begin, heads = p.heads;
        for (long h = 0; h < heads; h += N) {
            const V target = move_load<A, N>(p.target + r * heads + h, N);
            V top(-__builtin_inf()), norm(0);
            for (long k = 0; k < count; ++k) {
                if (Ahead && begin + k + 16 < p.a.elements) __builtin_prefetch(p.source + p.a.columns[begin + k + 16] * heads + h);
                V v = move_load<A, N>(p.source + p.a.columns[begin + k] * heads + h, N) + target;
                if (p.edge != nullptr) v += move_load<A, N>(p.edge + p.a.edge(begin + k) * heads + h, N);
                v = leaky<A, N>(v, p.slope);
                v.store(score + k * heads + h);
                top = max(top, v);
            }
            for (long k = 0; k < count; ++k) {
                const V v = math::exp(V::load(score + k * heads + h) - top);
                v.store(score + k * heads + h);
                norm += v;
            }
            if (count == 0) top = V(0), norm = V(1);
            if (p.top != nullptr) {
                top.store(p.top + r * heads + h);
                norm.store(p.norm + r * heads + h);
            }
            const V factor = V(1) / norm;
            for (long k = 0; k < count; ++k) {
                V v = V::load(score + k * heads + h) * factor;
                if (p.kept != nullptr) v *= keep_factors<A, N>(p.kept + p.a.edge(begin + k) * heads + h, p.keep_scale);
                v.store(score + k * heads + h);
            }
        }
    }
    // One head: lanes are edges.
    template <int N, class T, class A>
    static TENON_ALWAYS_INLINE void single(const NeighbourAttention<T>& p, long r, A* score) {
        using V = simd<A, N>;
        const long begin = p.a.begin(r), end = p.a.end(r);
        const V target(static_cast<A>(p.target[r])), nothing(-__builtin_inf()), place = lane_numbers<A, N>();
        V top = nothing, sum(0);
        for (long k = begin; k < end; k += N) {
            V v;
            TENON_UNROLL(8)
            for (int i = 0; i < N; ++i) v.v[i] = static_cast<A>(p.source[p.a.columns[k + i < end ? k + i : k]]);
            v += target;
            if (p.edge != nullptr) {
                V more;
                TENON_UNROLL(8)
                for (int i = 0; i < N; ++i) more.v[i] = static_cast<A>(p.edge[p.a.edge(k + i < end ? k + i : k)]);
                v += more;
            }
            v = select(place < V(static_cast<A>(end - k)), leaky<A, N>(v, p.slope), nothing);
            v.store(score + (k - begin));
            top = max(top, v);
        }
        top = largest_everywhere(top);
        for (long k = begin; k < end; k += N) {
            const V v = math::exp(V::load(score + (k - begin)) - top);
            v.store(score + (k - begin));
            sum += v;
        }
        sum = sum_everywhere(sum);
        if (p.top != nullptr) {
            p.top[r] = begin < end ? top[0] : A(0);
            p.norm[r] = begin < end ? sum[0] : A(1);
        }
        const V factor = V(1) / sum;
        for (long k = begin; k < end; k += N) {
            V v = V::load(score + (k - begin)) * factor;
            if (p.kept != nullptr) {
                V keep;
                TENON_UNROLL(8)
                for (int i = 0; i < N; ++i) keep.v[i] = p.keep(p.a.edge(k + i < end ? k + i : k), 0l);
                v *= keep;
            }
            v.store(score + (k - begin));
        }
    }
    // Any number of heads, padded to a part of a vector or to whole ones.
    template <int N, class T, class A>
    static TENON_ALWAYS_INLINE void some(const NeighbourAttention<T>& p, long r, long padded, long step, A* room, A* score) {
        using V = simd<A, N>;
        A *const top = room, *const sum = room + step;
        const long begin = p.a.begin(r), count = p.a.end(r) - begin, flat = count * padded, end = (flat + step - 1) / step * step;
        for (long k = 0; k < count; ++k) {
            const long j = p.a.columns[begin + k], e = p.a.edge(begin + k);
            A* to = score + k * padded;
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
        for (long k = 0; p.kept != nullptr && k < count; ++k)
            for (long h = 0; h < p.heads; ++h) score[k * padded + h] *= p.keep(p.a.edge(begin + k), h);
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
        const long heads = p.heads, width = p.width;
        const long all = targets * heads * width;
        for (long i = first; i < last; ++i) {
            A* const to = shares + i * 4 * heads;
            long h = 0;
            for (; h + N <= heads; h += N) {
                move_load<A, N>(p.target + i * heads + h, N).store(to + h);
                simd<A, N>::load(p.top + i * heads + h).store(to + heads + h);
                (simd<A, N>(1) / simd<A, N>::load(p.norm + i * heads + h)).store(to + 2 * heads + h);
            }
            for (; h < heads; ++h) {
                to[h] = static_cast<A>(p.target[i * heads + h]);
                to[heads + h] = p.top[i * heads + h];
                to[2 * heads + h] = A(1) / p.norm[i * heads + h];
            }
        }
        if constexpr (std::is_same_v<A, T>) {
            // Of several rows at once, where few heads belong to each.
            A dots[32 + N];
            for (long i = first * heads; i < last * heads; i += 32) {
                const long count = last * heads - i < 32 ? last * heads - i : 32;
                const auto operands = [&](long u, const T*& from, const T*& with) __attribute__((always_inline)) {
                    from = dy + (i + u) * width;
                    with = y + (i + u) * width;
                };
                if (width > 0 && width % N == 0) dot_units<A, N, true>(count, width, dy + all, y + all, operands, static_cast<A*>(dots));
                else dot_units<A, N, false>(count, width, dy + all, y + all, operands, static_cast<A*>(dots));
                long row = i / heads, h = i - row * heads;
                for (long u = 0; u < count; ++u) {
                    shares[(row * 4 + 3) * heads + h] = dots[u];
                    if (++h == heads) h = 0, ++row;
                }
            }
            return;
        }
        for (long i = first; i < last; ++i)
            for (long h = 0; h < heads; ++h) {
                const long at = i * heads + h;
                const bool inside = (at + 1) * width + N <= all;
                A total = 0;
                for (long k = p.a.begin(i); k < p.a.end(i); ++k) {
                    const long j = p.a.columns[k], e = p.a.edge(k);
                    const bool v_inside = (j * heads + h + 1) * width + N <= p.a.width * heads * width;
                    const A dot = dot_row<A, N, false>(dy + at * width, p.h + (j * heads + h) * width, nullptr, 0l, width, inside, v_inside);
                    total += static_cast<A>(__builtin_expf(static_cast<float>(p.leaky(p.raw(j, i, e, h)) - p.top[at]))) * p.keep(e, h) * dot;
                }
                shares[(i * 4 + 3) * heads + h] = total / p.norm[at];
            }
    }
};

constexpr long backward_block = 128;  // edges that are worked on together

template <bool Ahead>
struct NeighbourBackwardBody {
    // Rows are sources. room: 3 times `apart`, (edges of a block + N) * padded heads numbers, and padded heads more.
    template <int Lanes, class T, class A>
    static TENON_ALWAYS_INLINE void run(const NeighbourAttention<T>* problem, const T* dy, const A* shares, T* dh, bool add_h, T* ds, bool add_s, A* scores,
                                        long first, long last, long block, A* room, long apart) {
        const NeighbourAttention<T> p = *problem;
        constexpr int N = move_lanes<A, Lanes>;
        const long heads = p.heads, padded = padded_heads<N>(heads), stride = heads * p.width;
        A *const weight = room, *const dots = room + apart, *const slopes = room + 2 * apart, *const own = room + 3 * apart;
        std::int32_t ends[2];
        SpmmProblem<T, A> product{p.a, nullptr, heads, p.width, dy, nullptr, false, dh, add_h, padded};
        product.a.edges = nullptr;
        product.a.pointers = ends;
        for (long j = first; j < last; ++j) {
            const long begin = p.a.begin(j), end = p.a.end(j);
            for (long h = 0; h < padded; ++h) own[h] = 0;
            product.accumulate = add_h;
            product.y = dh == nullptr ? nullptr : dh + j * stride;
            long at = begin;
            do {
                const long count = end - at < block ? end - at : block;
                row_dots<N>(p, dy, j, at, count, padded, dots);
                if (heads % N == 0) whole<N>(p, shares, j, at, count, dots, scores, weight, own);
                else if (heads == 1) single<N>(p, shares, j, at, count, dots, scores, weight, own);
                else some<N>(p, shares, j, at, count, padded, dots, slopes, scores, weight, own);
                if (dh != nullptr) {
                    ends[0] = static_cast<std::int32_t>(at);
                    ends[1] = static_cast<std::int32_t>(at + count);
                    product.weight = weight - at * padded;
                    SpmmBody<true, Chosen::all, false>::template row<Lanes>(product, 0l);
                    product.accumulate = true;
                }
                at += count;
            } while (at < end);
            for (long h = 0; ds != nullptr && h < heads; ++h) {
                T& to = ds[j * heads + h];
                to = static_cast<T>(add_s ? static_cast<A>(to) + own[h] : own[h]);
            }
        }
    }

private:
    // Gradients of the scores of edges at ... and what their gradients dy count, where heads fill vectors.
    template <int N, class T, class A>
    static TENON_ALWAYS_INLINE void whole(const NeighbourAttention<T>& p, const A* shares, long j, long at, long count, const A* dots, A* scores, A* weight, A* own) {
        using V = simd<A, N>;
        const long heads = p.heads;
        for (long h = 0; h < heads; h += N) {
            const V source = move_load<A, N>(p.source + j * heads + h, N);
            V total = V::load(own + h);
            for (long k = 0; k < count; ++k) {
                if (Ahead && h == 0) prefetch_row(p.a, shares, 4 * heads, at + k, 16l);
                const long i = p.a.columns[at + k], e = p.a.edge(at + k);
                const A* share = shares + i * 4 * heads + h;
                V raw = source + V::load(share);
                if (p.edge != nullptr) raw += move_load<A, N>(p.edge + e * heads + h, N);
                const V alpha = math::exp(leaky<A, N>(raw, p.slope) - V::load(share + heads)) * V::load(share + 2 * heads);
                const V keep = p.kept == nullptr ? V(1) : keep_factors<A, N>(p.kept + e * heads + h, p.keep_scale);
                const V d = alpha * (keep * V::load(dots + k * heads + h) - V::load(share + 3 * heads)) * select(raw > V(0), V(1), V(p.slope));
                d.store(scores + e * heads + h);
                total += d;
                (alpha * keep).store(weight + k * heads + h);
            }
            total.store(own + h);
        }
    }
    // One head: lanes are edges.
    template <int N, class T, class A>
    static TENON_ALWAYS_INLINE void single(const NeighbourAttention<T>& p, const A* shares, long j, long at, long count, const A* dots, A* scores, A* weight, A* own) {
        using V = simd<A, N>;
        const V source(static_cast<A>(p.source[j])), place = lane_numbers<A, N>();
        V total(0);
        for (long k = 0; k < count; k += N) {
            V raw = source, top, factor, share, keep(1);
            TENON_UNROLL(8)
            for (int i = 0; i < N; ++i) {
                const long edge = k + i < count ? at + k + i : at + k;
                if (Ahead) prefetch_row(p.a, shares, 4l, edge, 16l);
                const A* from = shares + 4l * p.a.columns[edge];
                raw.v[i] += from[0];
                top.v[i] = from[1];
                factor.v[i] = from[2];
                share.v[i] = from[3];
            }
            if (p.edge != nullptr || p.kept != nullptr) {
                TENON_UNROLL(8)
                for (int i = 0; i < N; ++i) {
                    const long e = p.a.edge(k + i < count ? at + k + i : at + k);
                    if (p.edge != nullptr) raw.v[i] += static_cast<A>(p.edge[e]);
                    keep.v[i] = p.keep(e, 0l);
                }
            }
            const V alpha = math::exp(leaky<A, N>(raw, p.slope) - top) * factor;
            const V d = alpha * (keep * V::load(dots + k) - share) * select(raw > V(0), V(1), V(p.slope));
            (alpha * keep).store(weight + k);
            total += select(place < V(static_cast<A>(count - k)), d, V(0));
            TENON_UNROLL(8)
            for (int i = 0; i < N; ++i)
                if (k + i < count) scores[p.a.edge(at + k + i)] = d[i];
        }
        own[0] += reduce_add(total);
    }
    template <int N, class T, class A>
    static TENON_ALWAYS_INLINE void some(const NeighbourAttention<T>& p, const A* shares, long j, long at, long count, long padded, const A* dots, A* slopes, A* scores,
                                         A* weight, A* own) {
        const long heads = p.heads;
        for (long k = 0; k < count; ++k) {
            if (Ahead) prefetch_row(p.a, shares, 4 * heads, at + k, 16l);
            const long i = p.a.columns[at + k], e = p.a.edge(at + k);
            const A* share = shares + i * 4 * heads;
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
        for (long h = 0; h < heads; ++h) {
            A total = own[h];
            for (long k = 0; k < count; ++k) {
                const long i = p.a.columns[at + k], e = p.a.edge(at + k), place = k * padded + h;
                const A* share = shares + i * 4 * heads;
                const A alpha = weight[place] * share[2 * heads + h], keep = p.keep(e, h);
                const A d = alpha * (keep * dots[place] - share[3 * heads + h]) * slopes[place];
                scores[e * heads + h] = d;
                total += d;
                weight[place] = alpha * keep;
            }
            own[h] = total;
        }
    }
    // dots[k, h] = h[j, h, :] . dy[i, h, :] of the edges j -> i from `at` on.
    template <int N, class T, class A>
    static TENON_ALWAYS_INLINE void row_dots(const NeighbourAttention<T>& p, const T* dy, long j, long at, long count, long padded, A* dots) {
        const long heads = p.heads, width = p.width, stride = heads * width, ahead = rows_ahead(stride * static_cast<long>(sizeof(T)));
        const T* const own = p.h + j * stride;
        if (heads % N == 0 && width == 1) return head_dots<N, 1>(p, dy, own, at, count, ahead, dots);
        if constexpr (N > 2)
            if (heads % N == 0 && width == 2) return head_dots<N, 2>(p, dy, own, at, count, ahead, dots);
        if constexpr (N > 4)
            if (heads % N == 0 && width == 4) return head_dots<N, 4>(p, dy, own, at, count, ahead, dots);
        if (heads % N == 0 && width == N) return head_dots<N, N>(p, dy, own, at, count, ahead, dots);
        if (heads == 1 && width < N) return narrow_dots<N>(p, dy, own, at, count, ahead, dots);
        long k = 0, h = 0;
        const auto operands = [&](long, const T*& from, const T*& with) __attribute__((always_inline)) {
            if (Ahead && h == 0) prefetch_row(p.a, dy, stride, at + k, ahead);
            from = own + h * width;
            with = dy + p.a.columns[at + k] * stride + h * width;
            if (++h == heads) h = 0, ++k;
        };
        const T *const end_own = p.h + p.a.rows * stride, *const end_dy = dy + p.a.width * stride;
        if (width > 0 && width % N == 0) dot_units<A, N, true>(count * heads, width, end_own, end_dy, operands, dots);
        else dot_units<A, N, false>(count * heads, width, end_own, end_dy, operands, dots);
        // From the back: what is moved lies behind.
        for (long edge = count - 1; padded > heads && edge > 0; --edge)
            for (long q = heads - 1; q >= 0; --q) dots[edge * padded + q] = dots[edge * heads + q];
    }
    // Of one head that is less than a vector: its own row is loaded once.
    template <int N, class T, class A>
    static TENON_ALWAYS_INLINE void narrow_dots(const NeighbourAttention<T>& p, const T* dy, const T* own, long at, long count, long ahead, A* dots) {
        using V = simd<A, N>;
        const long width = p.width, last = last_inside(p.a.width, width, 0l, N);
        const V zero(0), mine = move_load<A, N>(own, width);
        const auto inside = lane_numbers<A, N>() < V(static_cast<A>(width));
        for (long k = 0; k < count; k += N) {
            V lanes[N];
            TENON_UNROLL(8)
            for (int q = 0; q < N; ++q) {
                lanes[q] = zero;
                if (k + q >= count) continue;
                if (Ahead) prefetch_row(p.a, dy, width, at + k + q, ahead);
                const long i = p.a.columns[at + k + q];
                lanes[q] = select(inside, mine * load_within<A, N>(dy + i * width, width, i <= last), zero);
            }
            lane_sums(lanes).store(dots + k);
        }
    }
    template <int N, int Width, class T, class A>
    static TENON_ALWAYS_INLINE void head_dots(const NeighbourAttention<T>& p, const T* dy, const T* own, long at, long count, long ahead, A* dots) {
        const long heads = p.heads, stride = heads * Width;
        for (long k = 0; k < count; ++k) {
            if (Ahead) prefetch_row(p.a, dy, stride, at + k, ahead);
            dot_heads<A, N, Width>(heads, own, dy + p.a.columns[at + k] * stride, dots + k * heads);
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
    const bool ahead = p.a.width * row_bytes > impl::near_table;
    impl::for_row_pieces(p.a, row_bytes + 16 * p.heads, 0.03 * double(row_bytes) + 4 * double(p.heads), [&](long first, long last) {
        const impl::MoveBuffer<A> room((impl::longest_row(p.a, first, last) + 48) * (2 * p.heads + 16));
        if (ahead) dispatch<impl::NeighbourForwardBody<true>, impl::graph_isa>(problem, y, first, last, room.data());
        else dispatch<impl::NeighbourForwardBody<false>, impl::graph_isa>(problem, y, first, last, room.data());
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
    if (row_bytes <= 0) {
        // Scores of nothing.
        const auto clear = [heads](T* to, bool add, long rows) {
            for (long i = 0; to != nullptr && !add && i < rows * heads; ++i) to[i] = T(0);
        };
        clear(ds, add_s, p.a.width), clear(dt, add_t, p.a.rows), clear(de, add_e, p.a.elements);
        return;
    }
    const impl::MoveBuffer<A> shares(p.a.rows * 4 * heads);
    const NeighbourAttention<T>* by_target = &p;
    impl::for_row_pieces(p.a, row_bytes, 0.03 * double(row_bytes) + 4 * double(heads), [&](long first, long last) {
        dispatch<impl::NeighbourShares<T>, impl::graph_isa>(by_target, p.a.rows, y, dy, shares.data(), first, last);
    });
    NeighbourAttention<T> turned = p;
    turned.a = by_source;
    const NeighbourAttention<T>* problem = &turned;
    const A* all_shares = shares.data();
    const bool ahead = by_source.width * row_bytes > impl::near_table;
    impl::for_row_pieces(by_source, 2 * row_bytes + 32 * heads, 0.06 * double(row_bytes) + 8 * double(heads), [&](long first, long last) {
        // A sum that is rounded to 16 bits is added up at once.
        const long longest = impl::longest_row(by_source, first, last), block = std::is_same_v<A, T> && longest > impl::backward_block ? impl::backward_block : longest;
        const long apart = (block + 16) * (2 * heads + 16);
        const impl::MoveBuffer<A> room(3 * apart + 2 * heads + 16);
        if (ahead) dispatch<impl::NeighbourBackwardBody<true>, impl::graph_isa>(problem, dy, all_shares, dh, add_h, ds, add_s, scores, first, last, block, room.data(), apart);
        else dispatch<impl::NeighbourBackwardBody<false>, impl::graph_isa>(problem, dy, all_shares, dh, add_h, ds, add_s, scores, first, last, block, room.data(), apart);
    });
    if (dt != nullptr)
        impl::for_row_pieces(p.a, 16 * heads, 2 * double(heads), [&](long first, long last) {
            for (long i = first; i < last; ++i)
                for (long h = 0; h < heads; h += 8) {
                    const long some = heads - h < 8 ? heads - h : 8;
                    A total[8] = {};
                    for (long k = p.a.begin(i); k < p.a.end(i); ++k) {
                        const A* from = scores + p.a.edge(k) * heads + h;
                        if (k + 16 < p.a.elements) __builtin_prefetch(scores + p.a.edge(k + 16) * heads + h);
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
