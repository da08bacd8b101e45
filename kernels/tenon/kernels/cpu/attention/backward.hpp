// Attention backward: probabilities are computed again from the logarithms of their sums.
//
// Gradients of a block of keys sum over blocks of queries in order, those of queries over blocks of keys in order. Where there
// are heads enough for the threads, one task does both for a head and computes every score once; else blocks of keys and
// blocks of queries are tasks of two passes. The sums, and so the bits, are the same.
#pragma once

#include <tenon/kernels/cpu/attention/blocks.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace attention_impl {

// Where gradients go: packed [batch, heads, positions, features], null where none is wanted. scores [batch, heads, queries, keys].
template <class T>
struct AttentionGradients {
    T *dq = nullptr, *dk = nullptr, *dv = nullptr, *scores = nullptr;
    bool add_dq = false, add_dk = false, add_dv = false;
};

template <class T>
struct Backward : Blocks<T> {
    using Base = Blocks<T>;
    using A = typename Base::A;
    using Base::ld, Base::p;
    const T *y, *dy;
    const A* lse;
    const A* delta;
    AttentionGradients<T> to;

    Backward(const AttentionProblem<T>& problem, const T* result, const A* logs, const T* gradient, const A* sums,
             const AttentionGradients<T>& gradients)
        : Base(problem), y(result), dy(gradient), lse(logs), delta(sums), to(gradients) {}

    // One query head and a block of its queries, as products need it.
    struct Query {
        long h, i, rows;
        A *lanes, *steps, *gradient_lanes, *gradient_steps, *lse, *delta, *dq;
    };

    // Key blocks [j_first, j_last) of a key head against query blocks [i_first, i_last) of query heads [h_first, h_last) that read it.
    void run(long b, long h_first, long h_last, long i_first, long i_last, long j_first, long j_last, bool for_keys,
             bool for_queries) const {
        const long kh = h_first / p.group(), width = p.width, value_width = p.value_width, wide = this->padded(width),
                   out = this->padded(value_width);
        const long blocks = i_last - i_first, count = (h_last - h_first) * blocks;
        const bool masked = p.mask != nullptr || p.bias != nullptr, drops = p.dropout > 0, want_dq = for_queries && to.dq != nullptr;
        const bool want_dk = for_keys && to.dk != nullptr, want_dv = for_keys && to.dv != nullptr;
        const bool want_scores = for_queries && to.scores != nullptr, want_products = want_dq || want_dk || want_scores;
        Pieces<A> pieces;
        A *all, *keys, *key_steps, *values, *scores, *along, *dk, *dv, *staging, *flat, *turned, *kept;
        const long lane_space = (ld * width + 15) / 16 * 16, step_space = block_queries * wide,
                   gradient_lane_space = (ld * value_width + 15) / 16 * 16, gradient_step_space = block_queries * out;
        const long each = lane_space + step_space + gradient_lane_space + gradient_step_space + 2 * ld + (want_dq ? step_space : 0);
        const auto lay_out = [&] {
            all = pieces.take(count * each);
            keys = pieces.take(this->key_rows() * width);
            key_steps = pieces.take(block_keys * wide);
            values = pieces.take(this->key_rows() * value_width);
            scores = pieces.take(this->key_rows() * ld);
            along = pieces.take(this->key_rows() * ld);
            dk = pieces.take(block_keys * wide);
            dv = pieces.take(block_keys * out);
            staging = pieces.take(block_queries * (width > value_width ? width : value_width));
            flat = pieces.take(masked || drops || want_scores ? this->tile_space() : 0);
            turned = pieces.take(masked ? this->turned_space() : 0);
            kept = pieces.take(drops ? this->turned_space() : 0);
        };
        lay_out();
        const gemm_impl::Workspace::Lease lease(gemm_impl::task_workspace, static_cast<std::size_t>(pieces.used) * sizeof(A));
        pieces = {lease.as<A>(), 0};
        lay_out();

        const auto query_at = [&](long index) {
            Query q;
            q.h = h_first + index / blocks;
            q.i = (i_first + index % blocks) * block_queries;
            q.rows = Base::rows_of(p.queries, q.i, block_queries);
            q.lanes = all + index * each;
            q.steps = q.lanes + lane_space;
            q.gradient_lanes = q.steps + step_space;
            q.gradient_steps = q.gradient_lanes + gradient_lane_space;
            q.lse = q.gradient_steps + gradient_step_space;
            q.delta = q.lse + ld;
            q.dq = q.delta + ld;
            return q;
        };
        for (long index = 0; index < count; ++index) {
            const Query q = query_at(index);
            const Rows<A> x = this->rows(q.rows, width, this->query(b, q.h, q.i), p.q_strides[2], p.q_strides[3], A(p.scale), staging);
            this->pack_lanes(q.lanes, this->strip, q.rows, width, x);
            if (want_dk) this->pack_steps(q.steps, q.rows, width, x);
            const Rows<A> g =
                this->rows(q.rows, value_width, dy + this->result(b, q.h, q.i), p.y_strides[2], p.y_strides[3], A(1), staging);
            this->pack_lanes(q.gradient_lanes, this->strip, q.rows, value_width, g);
            if (want_dv) this->pack_steps(q.gradient_steps, q.rows, value_width, g);
            const long row = (b * p.heads + q.h) * p.queries + q.i;
            for (long c = 0; c < ld; ++c) {
                q.lse[c] = c < q.rows ? lse[row + c] : A(__builtin_inf());
                q.delta[c] = c < q.rows ? delta[row + c] : A(0);
            }
            if (want_dq)
                for (long c = 0; c < step_space; ++c) q.dq[c] = 0;
        }

        for (long block = j_first; block < j_last; ++block) {
            const long j = block * block_keys, rows = Base::rows_of(p.keys, j, block_keys), length = p.length(b),
                       there = length <= j ? 0 : Base::rows_of(length, j, block_keys);
            if (want_dk)
                for (long c = 0; c < rows * wide; ++c) dk[c] = 0;
            if (want_dv)
                for (long c = 0; c < rows * out; ++c) dv[c] = 0;
            if (there > 0) {
                const Rows<A> k = this->rows(there, width, this->key(b, kh, j), p.k_strides[2], p.k_strides[3], A(1), staging);
                this->pack_lanes(keys, this->panel, there, width, k);
                if (want_dq) this->pack_steps(key_steps, there, width, k);
                this->pack_lanes(values, this->panel, there, value_width,
                                 this->rows(there, value_width, this->value(b, kh, j), p.v_strides[2], p.v_strides[3], A(1), staging));
            }
            for (long index = 0; there > 0 && index < count; ++index) {
                const Query q = query_at(index);
                const long seen = this->seen(b, q.i, q.rows, j);
                if (seen == 0) continue;
                this->scores(seen, q.rows, width, keys, q.lanes, scores);
                this->apply_mask(b, q.h, q.i, q.rows, j, seen, scores, flat, turned);
                this->scores(seen, q.rows, value_width, values, q.gradient_lanes, along);
                if (drops) this->draw_kept(b, q.h, q.i, q.rows, j, seen, flat, kept);
                this->template over_strips<GradientStripBody>(seen, Base::round_up(q.rows, this->strip), scores, along, ld,
                                                              static_cast<const A*>(drops ? kept : nullptr), static_cast<const A*>(q.lse),
                                                              static_cast<const A*>(q.delta));
                if (want_dv) this->add_product(seen, scores, ld, 1, q.rows, q.gradient_steps, q.rows, value_width, dv);
                if (!want_products) continue;
                if (want_dk) this->add_product(seen, along, ld, 1, q.rows, q.steps, q.rows, width, dk);
                if (want_dq) this->add_product(q.rows, along, 1, ld, seen, key_steps, there, width, q.dq);
                if (want_scores) write_scores(b, q, j, seen, along);
            }
            const A one(1);
            const long at = (b * p.key_heads + kh) * p.keys + j;
            if (want_dk)
                dispatch<WriteRowsBody, Isa::avx2>(rows, width, static_cast<const A*>(dk), wide, &one, 0l, to.dk + at * width, width,
                                                   to.add_dk);
            if (want_dv)
                dispatch<WriteRowsBody, Isa::avx2>(rows, value_width, static_cast<const A*>(dv), out, &one, 0l, to.dv + at * value_width,
                                                   value_width, to.add_dv);
        }
        for (long index = 0; want_dq && index < count; ++index) {
            const Query q = query_at(index);
            const A scale = static_cast<A>(p.scale);
            dispatch<WriteRowsBody, Isa::avx2>(q.rows, width, static_cast<const A*>(q.dq), wide, &scale, 0l,
                                               to.dq + ((b * p.heads + q.h) * p.queries + q.i) * width, width, to.add_dq);
        }
    }
    void write_scores(long b, const Query& q, long j, long seen, const A* along) const {
        for (long r = 0; r < q.rows; ++r)
            for (long k = 0; k < seen; ++k) to.scores[p.score(b, q.h, q.i + r, j + k)] = static_cast<T>(along[k * ld + r]);
    }

    void run() const {
        const long i_blocks = this->query_blocks(), j_blocks = this->key_blocks(), threads = num_threads(), heads = p.batch * p.key_heads,
                   group = p.group();
        const double work = 0.05 * double(p.batch * p.heads) * double(p.queries) * double(p.keys) * double(p.width + p.value_width);
        const bool keys = to.dk != nullptr || to.dv != nullptr, queries = to.dq != nullptr || to.scores != nullptr;
        if (!(keys && queries) || threads == 1 || work < fork_nanoseconds || heads >= 2 * threads || heads % threads == 0) {
            if (keys && queries) {
                parallel_for(heads, work, [&](long task) {
                    const long b = task / p.key_heads, kh = task % p.key_heads;
                    run(b, kh * group, (kh + 1) * group, 0, i_blocks, 0, j_blocks, true, true);
                });
                return;
            }
        }
        // Several blocks a task where there are enough of them: what is packed on the other side serves them all.
        if (keys) {
            const long most = 1 + heads * j_blocks / (4 * threads), per = most < j_blocks ? most : j_blocks,
                       parts = (j_blocks + per - 1) / per;
            parallel_for(heads * parts, work, [&](long task) {
                const long head = task / parts, first = task % parts * per, kh = head % p.key_heads;
                run(head / p.key_heads, kh * group, (kh + 1) * group, 0, i_blocks, first, first + per < j_blocks ? first + per : j_blocks,
                    true, false);
            });
        }
        if (queries) {
            const long all = p.batch * p.heads, most = 1 + all * i_blocks / (4 * threads), per = most < i_blocks ? most : i_blocks,
                       parts = (i_blocks + per - 1) / per;
            parallel_for(all * parts, work, [&](long task) {
                const long head = task / parts, first = task % parts * per, h = head % p.heads;
                run(head / p.heads, h, h + 1, first, first + per < i_blocks ? first + per : i_blocks, 0, j_blocks, false, true);
            });
        }
    }
};

}  // namespace attention_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
