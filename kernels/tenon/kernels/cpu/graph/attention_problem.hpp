// Attention of graph nodes to their neighbours (Velickovic et al. 2018): what its kernels are given, and the plain form of both passes.
//
// An edge j -> i has the score leaky_relu(source[j, h] + target[i, h] + edge[e, h]); the result is the sum over the edges of
// row i of softmax(score) * kept * h[j, h, :].
#pragma once

#include <tenon/kernels/cpu/graph/rows.hpp>

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
    // What gives the gradients of the targets' scores without those of all edges; null: not wanted. With b, the slope of an edge's
    // score (1 or `slope`): the sums over edges of softmax(score) * b * kept * h[j], [targets, heads, width], and of softmax(score) * b.
    A *bent = nullptr, *slopes = nullptr;

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

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
