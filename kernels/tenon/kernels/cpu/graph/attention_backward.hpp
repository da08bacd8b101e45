// Attention to neighbours, backward: what targets tell their edges, and the rows of sources.
#pragma once

#include <tenon/kernels/cpu/fold.hpp>
#include <tenon/kernels/cpu/graph/attention_problem.hpp>
#include <tenon/kernels/cpu/graph/heads.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace impl {

// shares[i]: target, top, 1 / norm and dy . y of node i, [4, heads]: what backward reads of a target, in one place. Where y was
// rounded to 16 bits, its product with dy is taken from the edges again: gradients of scores are differences to it.
// dt, where forward has kept what it takes: the sum over a target's edges of softmax(score) * (kept * dy . h[j] - dy . y) * slope.
template <class T>
struct NeighbourShares {
    using A = typename sum_type<T>::type;
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const NeighbourAttention<T>* problem, long targets, const T* y, const T* dy, A* shares, T* dt, bool add_t, long first,
                                        long last) {
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
            A dots[32 + N], bent[32 + N];
            for (long i = first * heads; i < last * heads; i += 32) {
                const long count = last * heads - i < 32 ? last * heads - i : 32;
                const auto products = [&](const T* table, A* to) __attribute__((always_inline)) {
                    const auto operands = [&](long u, const T*& from, const T*& with) __attribute__((always_inline)) {
                        from = dy + (i + u) * width;
                        with = table + (i + u) * width;
                    };
                    if (width > 0 && width % N == 0) dot_units<A, N, true>(count, width, dy + all, table + all, operands, to);
                    else dot_units<A, N, false>(count, width, dy + all, table + all, operands, to);
                };
                products(y, dots);
                if (dt != nullptr) products(p.bent, bent);
                long row = i / heads, h = i - row * heads;
                for (long u = 0; u < count; ++u) {
                    shares[(row * 4 + 3) * heads + h] = dots[u];
                    // (Of no edges nothing: the gradient may be infinite.)
                    if (dt != nullptr) dt[i + u] = (add_t ? dt[i + u] : A(0)) + (p.a.begin(row) < p.a.end(row) ? bent[u] - dots[u] * p.slopes[i + u] : A(0));
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
        if (p.heads == N && dh != nullptr) {
            const auto of_width = [&]<int Width>(std::integral_constant<int, Width>) __attribute__((always_inline)) {
                one_vector<N, Width>(p, shares, dy, dh, add_h, ds, add_s, scores, first, last, block, room, apart);
            };
            if (p.width == 1) return of_width(std::integral_constant<int, 1>());
            if (p.width == 2) return of_width(std::integral_constant<int, 2>());
            if constexpr (N >= 4)
                if (p.width == 4) return of_width(std::integral_constant<int, 4>());
            if constexpr (N >= 8)
                if (p.width == 8) return of_width(std::integral_constant<int, 8>());
        }
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
    // Heads that fill one vector, Width elements each, in two sweeps over a block of edges: first weights, whose chains of operations
    // are long, then what reads the gradients.
    template <int N, int Width, class T, class A>
    static TENON_ALWAYS_INLINE void one_vector(const NeighbourAttention<T>& p, const A* shares, const T* dy, T* dh, bool add_h, T* ds, bool add_s, A* scores, long first,
                                               long last, long block, A* room, long apart) {
        using V = simd<A, N>;
        // (Where rows have to be waited for, questions for them are spread evenly.)
        constexpr long stride = N * Width, together = Ahead ? 1 : backward_block;
        const long ahead = rows_ahead(stride * static_cast<long>(sizeof(T)));
        A *const weight = room, *const bent = room + apart, *const kept_bent = p.kept == nullptr ? bent : room + 2 * apart;
        for (long j = first; j < last; ++j) {
            const T* const own = p.h + j * stride;
            const V source = move_load<A, N>(p.source + j * N, N);
            const long end = p.a.end(j);
            V total(0);
            long at = p.a.begin(j);
            bool add = add_h;
            do {
                const long stop = end - at < block ? end : at + block;
                V sum[Width];
                TENON_UNROLL(8)
                for (int q = 0; q < Width; ++q) sum[q] = V(0);
                for (long k = at; k < stop; k += together) {
                    const long count = stop - k < together ? stop - k : together;
                    for (long u = 0; u < count; ++u) {
                        if (Ahead) prefetch_row(p.a, shares, 4l * N, k + u, ahead), prefetch_row(p.a, dy, stride, k + u, ahead);
                        const A* share = shares + p.a.columns[k + u] * 4l * N;
                        V raw = source + V::load(share);
                        if (p.edge != nullptr) raw += move_load<A, N>(p.edge + p.a.edge(k + u) * N, N);
                        const V slope = bend<A, N>(raw, p.slope);
                        V alpha = math::exp(leaky<A, N>(raw, p.slope) - V::load(share + N)) * V::load(share + 2 * N);
                        (alpha * slope).store(bent + u * N);
                        if (p.kept != nullptr) {
                            alpha *= keep_factors<A, N>(p.kept + p.a.edge(k + u) * N, p.keep_scale);
                            (alpha * slope).store(kept_bent + u * N);
                        }
                        alpha.store(weight + u * N);
                    }
                    for (long u = 0; u < count; ++u) {
                        const long i = p.a.columns[k + u];
                        const T* from = dy + i * stride;
                        const A* w = weight + u * N;
                        V lanes[Width];
                        TENON_UNROLL(8)
                        for (int q = 0; q < Width; ++q) {
                            const V x = move_load<A, N>(from + q * N, N);
                            lanes[q] = x * move_load<A, N>(own + q * N, N);
                            if constexpr (Width == N) sum[q] += V(w[q]) * x;
                            else sum[q] += spread<A, N, Width>(w + q * N / Width) * x;
                        }
                        const V d = V::load(kept_bent + u * N) * group_sums(lanes) - V::load(bent + u * N) * V::load(shares + i * 4l * N + 3 * N);
                        total += d;
                        if (scores != nullptr) d.store(scores + p.a.edge(k + u) * N);
                    }
                }
                TENON_UNROLL(8)
                for (int q = 0; q < Width; ++q) {
                    T* const to = dh + j * stride + q * N;
                    move_store<A, N>(to, add ? move_load<A, N>(to, N) + sum[q] : sum[q], N);
                }
                add = true;
                at = stop;
            } while (at < end);
            if (ds != nullptr) move_store<A, N>(ds + j * N, add_s ? move_load<A, N>(ds + j * N, N) + total : total, N);
        }
    }
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
                const V d = alpha * (keep * V::load(dots + k * heads + h) - V::load(share + 3 * heads)) * bend<A, N>(raw, p.slope);
                if (scores != nullptr) d.store(scores + e * heads + h);
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
            const V d = alpha * (keep * V::load(dots + k) - share) * bend<A, N>(raw, p.slope);
            (alpha * keep).store(weight + k);
            total += select(place < V(static_cast<A>(count - k)), d, V(0));
            TENON_UNROLL(8)
            for (int i = 0; i < N; ++i)
                if (scores != nullptr && k + i < count) scores[p.a.edge(at + k + i)] = d[i];
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
                if (scores != nullptr) scores[e * heads + h] = d;
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

}  // namespace impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
