// Attention to neighbours, forward: the rows of targets.
#pragma once

#include <tenon/kernels/cpu/fold.hpp>
#include <tenon/kernels/cpu/graph/attention_problem.hpp>
#include <tenon/kernels/cpu/graph/heads.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace impl {

template <bool Ahead>
struct NeighbourForwardBody {
    // room: 2 times `apart`, (longest row + N) * padded heads numbers, and 3 * padded heads (or 3 N) more.
    template <int Lanes, class T, class A>
    static TENON_ALWAYS_INLINE void run(const NeighbourAttention<T>* problem, T* y, long first, long last, A* room, long apart) {
        const NeighbourAttention<T> p = *problem;
        constexpr int N = move_lanes<A, Lanes>;
        const long padded = padded_heads<N>(p.heads), step = padded < N ? N : padded;
        const Row<A> row{room, room + apart, room + 2 * apart, room + 2 * apart + step, room + 2 * apart + 2 * step};
        SpmmProblem<T, A> product{p.a, nullptr, p.heads, p.width, p.h, nullptr, false, y, false, padded};
        product.a.edges = nullptr;
        for (long r = first; r < last; ++r) {
            if (p.heads % N == 0) whole<N>(p, r, row);
            else if (p.heads == 1) single<N>(p, r, row);
            else some<N>(p, r, padded, step, row);
            product.weight = row.weight - p.a.begin(r) * padded;
            if constexpr (std::is_same_v<A, T>)
                if (p.bent != nullptr) {
                    product.second = row.bent - p.a.begin(r) * padded;
                    product.second_y = p.bent;
                    SpmmBody<true, Chosen::all, Ahead, true>::template row<Lanes>(product, r);
                    continue;
                }
            SpmmBody<true, Chosen::all, Ahead>::template row<Lanes>(product, r);
        }
    }

private:
    // Of a row's edges [edges, padded heads]: weights, and the same times the scores' slopes, if wanted. Of its heads: the largest score,
    // and sums before anything is dropped.
    template <class A>
    struct Row {
        A *weight, *bent, *top, *sum, *bent_sum;
    };
    // Heads fill vectors.
    template <int N, class T, class A>
    static TENON_ALWAYS_INLINE void whole(const NeighbourAttention<T>& p, long r, const Row<A>& row) {
        using V = simd<A, N>;
        const long begin = p.a.begin(r), count = p.a.end(r) - begin, heads = p.heads;
        for (long h = 0; h < heads; h += N) {
            const V target = move_load<A, N>(p.target + r * heads + h, N);
            V top(-__builtin_inf()), norm(0), slopes(0);
            for (long k = 0; k < count; ++k) {
                if (Ahead && begin + k + 16 < p.a.elements) __builtin_prefetch(p.source + p.a.columns[begin + k + 16] * heads + h);
                V raw = move_load<A, N>(p.source + p.a.columns[begin + k] * heads + h, N) + target;
                if (p.edge != nullptr) raw += move_load<A, N>(p.edge + p.a.edge(begin + k) * heads + h, N);
                raw.store(row.weight + k * heads + h);
                top = max(top, leaky<A, N>(raw, p.slope));
            }
            for (long k = 0; k < count; ++k) {
                const V raw = V::load(row.weight + k * heads + h), slope = bend<A, N>(raw, p.slope);
                const V weight = math::exp(leaky<A, N>(raw, p.slope) - top);
                norm += weight;
                weight.store(row.weight + k * heads + h);
                if (p.bent != nullptr) {
                    slopes += weight * slope;
                    slope.store(row.bent + k * heads + h);
                }
            }
            if (count == 0) top = V(0), norm = V(1);
            if (p.top != nullptr) {
                top.store(p.top + r * heads + h);
                norm.store(p.norm + r * heads + h);
            }
            const V factor = V(1) / norm;
            for (long k = 0; k < count; ++k) {
                V weight = V::load(row.weight + k * heads + h) * factor;
                if (p.kept != nullptr) weight *= keep_factors<A, N>(p.kept + p.a.edge(begin + k) * heads + h, p.keep_scale);
                weight.store(row.weight + k * heads + h);
                if (p.bent != nullptr) (weight * V::load(row.bent + k * heads + h)).store(row.bent + k * heads + h);
            }
            if (p.bent != nullptr) (slopes * factor).store(p.slopes + r * heads + h);
        }
    }
    // One head: lanes are edges.
    template <int N, class T, class A>
    static TENON_ALWAYS_INLINE void single(const NeighbourAttention<T>& p, long r, const Row<A>& row) {
        using V = simd<A, N>;
        const long begin = p.a.begin(r), end = p.a.end(r);
        const V target(static_cast<A>(p.target[r])), nothing(-__builtin_inf()), place = lane_numbers<A, N>();
        V top = nothing, sum(0), slopes(0);
        for (long k = begin; k < end; k += N) {
            V raw;
            TENON_UNROLL(8)
            for (int i = 0; i < N; ++i) raw.v[i] = static_cast<A>(p.source[p.a.columns[k + i < end ? k + i : k]]);
            raw += target;
            if (p.edge != nullptr) {
                V more;
                TENON_UNROLL(8)
                for (int i = 0; i < N; ++i) more.v[i] = static_cast<A>(p.edge[p.a.edge(k + i < end ? k + i : k)]);
                raw += more;
            }
            raw.store(row.weight + (k - begin));
            top = max(top, select(place < V(static_cast<A>(end - k)), leaky<A, N>(raw, p.slope), nothing));
        }
        top = largest_everywhere(top);
        for (long k = begin; k < end; k += N) {
            const V raw = V::load(row.weight + (k - begin)), slope = bend<A, N>(raw, p.slope);
            const V weight = select(place < V(static_cast<A>(end - k)), math::exp(leaky<A, N>(raw, p.slope) - top), V(0));
            sum += weight;
            slopes += weight * slope;
            weight.store(row.weight + (k - begin));
            slope.store(row.bent + (k - begin));
        }
        const A total = begin < end ? sum_everywhere(sum)[0] : A(1), factor = A(1) / total;
        for (long k = begin; k < end; k += N) {
            V weight = V::load(row.weight + (k - begin)) * V(factor);
            if (p.kept != nullptr) {
                V keep;
                TENON_UNROLL(8)
                for (int i = 0; i < N; ++i) keep.v[i] = p.keep(p.a.edge(k + i < end ? k + i : k), 0l);
                weight *= keep;
            }
            weight.store(row.weight + (k - begin));
            if (p.bent != nullptr) (weight * V::load(row.bent + (k - begin))).store(row.bent + (k - begin));
        }
        if (p.top != nullptr) {
            p.top[r] = begin < end ? top[0] : A(0);
            p.norm[r] = total;
        }
        if (p.bent != nullptr) p.slopes[r] = sum_everywhere(slopes)[0] * factor;
    }
    // Any number of heads, padded to a part of a vector or to whole ones.
    template <int N, class T, class A>
    static TENON_ALWAYS_INLINE void some(const NeighbourAttention<T>& p, long r, long padded, long step, const Row<A>& row) {
        using V = simd<A, N>;
        const long begin = p.a.begin(r), count = p.a.end(r) - begin, flat = count * padded, end = (flat + step - 1) / step * step;
        A *const score = row.weight, *const bent = row.bent;
        for (long k = 0; k < count; ++k) {
            const long j = p.a.columns[begin + k], e = p.a.edge(begin + k);
            A* to = score + k * padded;
            for (long h = 0; h < p.heads; ++h) to[h] = p.raw(j, r, e, h);
            for (long h = p.heads; h < padded; ++h) to[h] = 0;
        }
        for (long i = flat; i < end; ++i) score[i] = 0;
        for (long i = 0; i < end; i += N) {
            const V raw = V::load(score + i);
            bend<A, N>(raw, p.slope).store(bent + i);
            leaky<A, N>(raw, p.slope).store(score + i);
        }
        for (long i = flat; i < end; ++i) score[i] = static_cast<A>(-__builtin_inf());
        for (long g = 0; g < step; g += N) {
            V best(-__builtin_inf());
            for (long i = g; i < end; i += step) best = max(best, V::load(score + i));
            best.store(row.top + g);
        }
        // Lanes of several edges: the largest of each head, put back into all of them.
        A* const top = row.top;
        for (long h = 0; padded < N && h < padded; ++h) {
            for (long i = h + padded; i < N; i += padded) top[h] = top[i] > top[h] || top[i] != top[i] ? top[i] : top[h];
            for (long i = h + padded; i < N; i += padded) top[i] = top[h];
        }
        for (long g = 0; g < step; g += N) {
            const V best = V::load(top + g);
            V total(0), slopes(0);
            for (long i = g; i < end; i += step) {
                const V v = math::exp(V::load(score + i) - best);
                total += v;
                slopes += v * V::load(bent + i);
                v.store(score + i);
            }
            total.store(row.sum + g);
            slopes.store(row.bent_sum + g);
        }
        for (long h = 0; padded < N && h < padded; ++h)
            for (long i = h + padded; i < N; i += padded) {
                row.sum[h] += row.sum[i];
                row.bent_sum[h] += row.bent_sum[i];
            }
        for (long h = 0; h < p.heads; ++h) {
            const A total = count > 0 ? row.sum[h] : A(1);
            row.sum[h] = total;
            if (p.top != nullptr) {
                p.top[r * p.heads + h] = count > 0 ? top[h] : A(0);
                p.norm[r * p.heads + h] = total;
            }
            if (p.bent != nullptr) p.slopes[r * p.heads + h] = row.bent_sum[h] / total;
        }
        // Into all lanes again, those of padding too.
        for (long h = p.heads; h < padded; ++h) row.sum[h] = A(1);
        for (long i = padded; i < step; ++i) row.sum[i] = row.sum[i - padded];
        for (long g = 0; g < step; g += N) {
            const V factor = V(1) / V::load(row.sum + g);
            for (long i = g; i < end; i += step) (V::load(score + i) * factor).store(score + i);
        }
        for (long k = 0; p.kept != nullptr && k < count; ++k)
            for (long h = 0; h < p.heads; ++h) score[k * padded + h] *= p.keep(p.a.edge(begin + k), h);
        for (long i = 0; i < end; i += N) (V::load(score + i) * V::load(bent + i)).store(bent + i);
    }
};

}  // namespace impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
