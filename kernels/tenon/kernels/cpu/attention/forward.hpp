// Attention forward: blocks of queries pass over blocks of keys; each row of the softmax is rescaled as its maximum rises.
#pragma once

#include <tenon/kernels/cpu/attention/blocks.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace attention_impl {

template <class T>
struct Forward : Blocks<T> {
    using Base = Blocks<T>;
    using A = typename Base::A;
    using Base::ld, Base::p;
    T* y;
    A* lse;

    Forward(const AttentionProblem<T>& problem, T* result, A* logs) : Base(problem), y(result), lse(logs) {}

    // Query blocks [first, last) of one head.
    void run(long b, long h, long first, long last) const {
        const long kh = h / p.group(), width = p.width, blocks = last - first, out = this->padded(p.value_width);
        const bool masked = p.mask != nullptr || p.bias != nullptr, drops = p.dropout > 0;
        Pieces<A> pieces;
        A *queries, *keys, *values, *scores, *results, *largest, *sums, *factor, *staging, *flat, *turned, *kept;
        const auto lay_out = [&] {
            queries = pieces.take(blocks * ld * width);
            keys = pieces.take(this->key_rows() * width);
            values = pieces.take(block_keys * out);
            scores = pieces.take(this->key_rows() * ld);
            results = pieces.take(blocks * block_queries * out);
            largest = pieces.take(blocks * ld);
            sums = pieces.take(blocks * ld);
            factor = pieces.take(ld);
            staging = pieces.take(block_queries * (width > p.value_width ? width : p.value_width));
            flat = pieces.take(masked || drops ? this->tile_space() : 0);
            turned = pieces.take(masked ? this->turned_space() : 0);
            kept = pieces.take(drops ? this->turned_space() : 0);
        };
        lay_out();
        const gemm_impl::Workspace::Lease lease(gemm_impl::task_workspace, static_cast<std::size_t>(pieces.used) * sizeof(A));
        pieces = {lease.as<A>(), 0};
        lay_out();
        for (long q = 0; q < blocks; ++q) {
            const long i = (first + q) * block_queries, rows = Base::rows_of(p.queries, i, block_queries);
            this->pack_lanes(queries + q * ld * width, this->strip, rows, width,
                             this->rows(rows, width, this->query(b, h, i), p.q_strides[2], p.q_strides[3], A(p.scale), staging));
        }
        for (long c = 0; c < blocks * ld; ++c) largest[c] = -A(__builtin_inf()), sums[c] = 0;
        for (long c = 0; c < blocks * block_queries * out; ++c) results[c] = 0;

        const long end = last * block_queries < p.queries ? last * block_queries : p.queries, n = p.visible(b, end - 1);
        for (long j = 0; j < n; j += block_keys) {
            const long there = Base::rows_of(p.length(b), j, block_keys);
            this->pack_lanes(keys, this->panel, there, width,
                             this->rows(there, width, this->key(b, kh, j), p.k_strides[2], p.k_strides[3], A(1), staging));
            this->pack_steps(values, there, p.value_width,
                             this->rows(there, p.value_width, this->value(b, kh, j), p.v_strides[2], p.v_strides[3], A(1), staging));
            for (long q = 0; q < blocks; ++q) {
                const long i = (first + q) * block_queries, rows = Base::rows_of(p.queries, i, block_queries),
                           seen = this->seen(b, i, rows, j);
                if (seen == 0) continue;
                this->scores(seen, rows, width, keys, queries + q * ld * width, scores);
                this->apply_mask(b, h, i, rows, j, seen, scores, flat, turned);
                if (drops) this->draw_kept(b, h, i, rows, j, seen, flat, kept);
                this->template over_strips<SoftmaxStripBody>(seen, Base::round_up(rows, this->strip), scores, ld,
                                                             static_cast<const A*>(drops ? kept : nullptr), largest + q * ld, sums + q * ld,
                                                             factor);
                A* const to = results + q * block_queries * out;
                dispatch<ScaleRowsBody, Isa::avx2>(rows, out, to, static_cast<const A*>(factor));
                this->add_product(rows, scores, 1, ld, seen, values, there, p.value_width, to);
            }
        }
        for (long q = 0; q < blocks; ++q) {
            const long i = (first + q) * block_queries, rows = Base::rows_of(p.queries, i, block_queries);
            A* const log = lse + (b * p.heads + h) * p.queries + i;
            for (long r = 0; r < rows; ++r) {
                const A sum = sums[q * ld + r];
                factor[r] = sum == A(0) ? A(0) : A(1) / sum;
                log[r] = sum == A(0) ? A(__builtin_inf()) : largest[q * ld + r] + A(math::log(sum));
            }
            dispatch<WriteRowsBody, Isa::avx2>(rows, p.value_width, static_cast<const A*>(results + q * block_queries * out), out,
                                               static_cast<const A*>(factor), 1l, y + this->result(b, h, i), p.y_strides[2], false);
        }
    }

    void run() const {
        const long blocks = this->query_blocks(), threads = num_threads();
        // Long runs of queries share the packing of keys; what is shared does not show in the bits.
        long many = blocks;
        while (many > 2 && p.batch * p.heads * ((blocks + many - 1) / many) < 4 * threads) many = (many + 1) / 2;
        if (many > 8) many = 8;
        const long parts = (blocks + many - 1) / many;
        const double work = 0.02 * double(p.batch * p.heads) * double(p.queries) * double(p.keys) * double(p.width + p.value_width);
        parallel_for(p.batch * p.heads * parts, work, [&](long task) {
            const long head = task / parts, part = task % parts;
            run(head / p.heads, head % p.heads, part * many, (part + 1) * many < blocks ? (part + 1) * many : blocks);
        });
    }
};

}  // namespace attention_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
