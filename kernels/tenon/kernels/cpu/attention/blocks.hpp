// Blocks of attention: how operands are packed for the micro-kernels of the matrix product, and the products of blocks.
//
// A block of scores is [keys, ld], a column for each query: the product of packed keys with packed queries. The same block is
// then the left operand of all others, read along its rows (sums over queries) or its columns (sums over keys).
#pragma once

#include <tenon/kernels/cpu/attention/problem.hpp>
#include <tenon/kernels/cpu/attention/strips.hpp>
#include <tenon/kernels/cpu/gemm/kernel_table.hpp>
#include <tenon/kernels/cpu/gemm/workspace.hpp>
#include <tenon/kernels/cpu/rng.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace attention_impl {

// Sizes of a block: two of scores and what they are made of fit the second cache, and 96 is a multiple of every tile's rows.
inline constexpr long block_queries = 96, block_keys = 96;

// Hands out a piece of scratch memory; without memory it counts.
template <class A>
struct Pieces {
    A* memory = nullptr;
    long used = 0;
    A* take(long count) {
        A* piece = memory == nullptr ? nullptr : memory + used;
        used += (count + 15) / 16 * 16;
        return piece;
    }
};

// Rows of an operand in the arithmetic type: where they lie, or a scaled copy.
template <class A>
struct Rows {
    const A* data;
    long row_stride, column_stride;
};

template <class T>
struct Blocks {
    using A = accumulator<T>;
    const AttentionProblem<T>& p;
    const gemm_impl::Kernels<A>& table;
    long lanes, strip, panel, ld;  // of a vector; queries of a strip; keys of a packed tile; queries of a block, filled up to strips

    explicit Blocks(const AttentionProblem<T>& problem)
        : p(problem),
          table(gemm_impl::kernels<A>(p.queries)),
          lanes(table.lanes),
          strip(p.queries <= lanes ? lanes : 2 * lanes),
          panel(table.packed_rows[0]),
          ld(round_up(p.queries < block_queries ? p.queries : block_queries, strip)) {}

    static constexpr long round_up(long n, long unit) { return (n + unit - 1) / unit * unit; }
    long padded(long columns) const { return round_up(columns, lanes); }
    long key_rows() const { return round_up(block_keys, panel); }
    long query_blocks() const { return (p.queries + block_queries - 1) / block_queries; }
    long key_blocks() const { return (p.keys + block_keys - 1) / block_keys; }
    static long rows_of(long count, long first, long block) { return count - first < block ? count - first : block; }

    // Keys of the block from j on that some query of [i, i + rows) sees.
    long seen(long b, long i, long rows, long j) const {
        const long n = p.visible(b, i + rows - 1) - j;
        return n < 0 ? 0 : n < block_keys ? n : block_keys;
    }

    // `staging` takes what must be copied: rows * columns.
    Rows<A> rows(long count, long columns, const T* from, long row_stride, long column_stride, A scale, A* staging) const {
        if constexpr (std::is_same_v<T, A>)
            if (scale == A(1)) return {from, row_stride, column_stride};
        dispatch<StageBody, Isa::avx2>(count, columns, from, row_stride, column_stride, scale, staging);
        return {staging, columns, 1};
    }
    // For products over the columns: rows become lanes, `width` of them a panel.
    void pack_lanes(A* out, long width, long count, long columns, const Rows<A>& x) const {
        table.pack(out, width, count, x.data, x.row_stride, x.column_stride, columns);
    }
    // For products over the rows: panels of two vectors of columns, then one if there is one left.
    void pack_steps(A* out, long count, long columns, const Rows<A>& x) const {
        const long wide = padded(columns) / (2 * lanes) * 2 * lanes, first = wide < columns ? wide : columns;
        if (first > 0) table.pack(out, 2 * lanes, first, x.data, x.column_stride, x.row_stride, count);
        if (first < columns)
            table.pack(out + wide * count, lanes, columns - first, x.data + first * x.column_stride, x.column_stride, x.row_stride, count);
    }

    // scores[k, c] for `keys` keys (whole tiles are written) and `queries` queries (whole strips).
    void scores(long keys, long queries, long width, const A* packed_keys, const A* packed_queries, A* out) const {
        const auto run = table.packed[0][strip / lanes];
        for (long c = 0; c < queries; c += strip)
            for (long k = 0; k < keys; k += panel) {
                const gemm_impl::Tile<A> tile{packed_keys + k * width,
                                              1,
                                              panel,
                                              packed_queries + c * width,
                                              strip,
                                              out + k * ld + c,
                                              ld,
                                              0,
                                              panel,
                                              strip,
                                              width,
                                              gemm_impl::chunk_of<A>(width),
                                              nullptr,
                                              A(1),
                                              false,
                                              false};
                run(&tile);
            }
    }
    // c[rows, padded columns] += the product over `steps` of a with what pack_steps has made of `packed` rows.
    void add_product(long rows, const A* a, long a_row, long a_step, long steps, const A* b, long packed, long columns, A* c) const {
        const long ldc = padded(columns);
        for (long j = 0; j < ldc;) {
            const long vectors = ldc - j >= 2 * lanes ? 2 : 1;
            const auto* kernel = table.strided[vectors];
            for (long i = 0; i < rows; i += kernel->rows) {
                while (kernel->rows > rows - i) ++kernel;
                const gemm_impl::Tile<A> tile{a + i * a_row,
                                              a_row,
                                              a_step,
                                              b + j * packed,
                                              vectors * lanes,
                                              c + i * ldc + j,
                                              ldc,
                                              0,
                                              kernel->rows,
                                              vectors * lanes,
                                              steps,
                                              steps,
                                              nullptr,
                                              A(1),
                                              true,
                                              false};
                kernel->run(&tile);
            }
            j += vectors * lanes;
        }
    }

    // Runs a body over strips in the widest vectors that divide one.
    template <class Body, class... Arguments>
    void over_strips(Arguments... arguments) const {
        if (strip * long(sizeof(A)) % 64 == 0)
            dispatch<Body>(arguments...);
        else
            dispatch<Body, Isa::avx2>(arguments...);
    }

    // What masks and dropout need of a block: its elements row by row, and turned.
    static long tile_space() { return block_queries * block_keys; }
    long turned_space() const { return block_keys * ld; }
    void turn(long rows, long keys, const A* from, A* to) const { table.pack(to, ld, rows, from, keys, 1, keys); }

    // Hides and shifts scores of the block of queries [i, i + rows) and keys [j, j + keys).
    void apply_mask(long b, long h, long i, long rows, long j, long keys, A* scores, A* flat, A* turned) const {
        const long width = round_up(rows, strip), first = i + 1 + p.keys - p.queries - j;
        if (p.causal && first < keys) dispatch<CausalBody, Isa::avx2>(keys, width, scores, ld, first);
        if (p.mask == nullptr && p.bias == nullptr) return;
        const long* s = p.mask_strides;
        const long at = b * s[0] + h * s[1] + i * s[2] + j * s[3], lines = s[2] == 0 ? 1 : rows;
        if (p.mask != nullptr)
            dispatch<FlagsBody<false>, Isa::avx2>(lines, keys, p.mask + at, s[2], s[3], A(0), flat);
        else
            dispatch<StageBody, Isa::avx2>(lines, keys, p.bias + at, s[2], s[3], A(1), flat);
        if (s[2] != 0) turn(rows, keys, flat, turned);
        dispatch<AddBiasBody, Isa::avx2>(keys, width, scores, ld, static_cast<const A*>(s[2] == 0 ? flat : turned), s[2] == 0 ? 0l : ld);
    }
    // 1 / (1 - dropout) where an element is kept, else 0: a column for each query.
    void draw_kept(long b, long h, long i, long rows, long j, long keys, A* flat, A* turned) const {
        bool kept[block_keys];
        for (long r = 0; r < rows; ++r) {
            bernoulli(p.key, keys, static_cast<bool*>(kept), 1 - p.dropout, static_cast<std::uint64_t>(p.score(b, h, i + r, j)));
            dispatch<FlagsBody<true>, Isa::avx2>(1l, keys, static_cast<const bool*>(kept), 0l, 1l, A(1 / (1 - p.dropout)), flat + r * keys);
        }
        turn(rows, keys, flat, turned);
    }

    const T* query(long b, long h, long i) const { return p.q + b * p.q_strides[0] + h * p.q_strides[1] + i * p.q_strides[2]; }
    const T* key(long b, long kh, long j) const { return p.k + b * p.k_strides[0] + kh * p.k_strides[1] + j * p.k_strides[2]; }
    const T* value(long b, long kh, long j) const { return p.v + b * p.v_strides[0] + kh * p.v_strides[1] + j * p.v_strides[2]; }
    long result(long b, long h, long i) const { return b * p.y_strides[0] + h * p.y_strides[1] + i * p.y_strides[2]; }
};

}  // namespace attention_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
