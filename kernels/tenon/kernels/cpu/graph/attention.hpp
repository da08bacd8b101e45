// Attention of graph nodes to their neighbours, forward and backward in one pass over the edges each (attention_problem.hpp): of
// the softmax only the maximum and the sum of each row and head are kept; weights are computed again.
#pragma once

#include <tenon/kernels/cpu/graph/attention_backward.hpp>
#include <tenon/kernels/cpu/graph/attention_forward.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace impl {

inline long longest_row(const CsrRows& a, long first, long last) {
    long longest = 0;
    for (long r = first; r < last; ++r) longest = a.end(r) - a.begin(r) > longest ? a.end(r) - a.begin(r) : longest;
    return longest;
}

}  // namespace impl

// y [targets, heads, width]. top and norm are for backward, and may be null; so are bent and slopes, of which T must not be rounded.
template <class T>
void neighbour_attention(const NeighbourAttention<T>& p, T* y) {
    using A = typename NeighbourAttention<T>::A;
    const long row_bytes = p.heads * p.width * static_cast<long>(sizeof(T));
    if (row_bytes <= 0) return;
    const NeighbourAttention<T>* problem = &p;
    const bool ahead = p.a.width * row_bytes > impl::near_table;
    impl::for_row_pieces(p.a, row_bytes + 16 * p.heads, 0.03 * double(row_bytes) + 4 * double(p.heads), [&](long first, long last) {
        const long apart = (impl::longest_row(p.a, first, last) + 16) * (2 * p.heads + 16);
        const impl::Scratch<A> room(2 * apart + 8 * p.heads + 64);
        if (ahead) dispatch<impl::NeighbourForwardBody<true>, impl::graph_isa>(problem, y, first, last, room.data(), apart);
        else dispatch<impl::NeighbourForwardBody<false>, impl::graph_isa>(problem, y, first, last, room.data(), apart);
    });
}

// dh (+)=, ds (+)=, dt (+)=, de (+)= from dy; each may be null; dt is written first where forward kept `bent`, after ds else.
// by_source: the same edges in rows of sources; p.a is by target.
// scores: room for [edges, heads], which take part if de is wanted, or dt without what forward may keep for it; may be null else.
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
    const impl::Scratch<A> shares(p.a.rows * 4 * heads);
    const NeighbourAttention<T>* by_target = &p;
    impl::for_row_pieces(p.a, row_bytes, 0.03 * double(row_bytes) + 4 * double(heads), [&](long first, long last) {
        dispatch<impl::NeighbourShares<T>, impl::graph_isa>(by_target, p.a.rows, y, dy, shares.data(), p.bent != nullptr ? dt : nullptr, add_t, first, last);
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
        const impl::Scratch<A> room(3 * apart + 2 * heads + 16);
        if (ahead) dispatch<impl::NeighbourBackwardBody<true>, impl::graph_isa>(problem, dy, all_shares, dh, add_h, ds, add_s, scores, first, last, block, room.data(), apart);
        else dispatch<impl::NeighbourBackwardBody<false>, impl::graph_isa>(problem, dy, all_shares, dh, add_h, ds, add_s, scores, first, last, block, room.data(), apart);
    });
    if (dt != nullptr && p.bent == nullptr)
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
