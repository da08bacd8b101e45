// Scaled dot-product attention (cpu/attention.hpp): a block takes a tile of queries over all tiles of keys, or the other way round,
// and up to 64 columns of its result; scores live in shared memory, a tile at a time. No sums by atomics: gradients of keys and
// of queries are a pass each.
//
// Memory moved: q and y once; k and v once for each tile of queries, from the second cache where they fit. Backward the same, twice.
#pragma once

#include <tenon/kernels/cpu/attention.hpp>
#include <tenon/kernels/cuda/each.cuh>
#include <tenon/kernels/cuda/rng.cuh>
#include <tenon/kernels/cuda/rows.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

using cpu::AttentionProblem;

namespace attention_impl {

// Rows of a tile: 16 x 16 threads with a square of elements each. Columns of results per block; columns staged at a time.
template <class A>
inline constexpr int tile_rows = sizeof(A) == 4 ? 64 : 32;
inline constexpr int result_columns = 64, staged_columns = 32;

template <class A>
inline constexpr int score_space = tile_rows<A> * (tile_rows<A> + 1);
// Two staged operands of a score, or the columns of one of a result.
template <class A>
inline constexpr int staging_space = 2 * tile_rows<A> * (staged_columns + 1) > tile_rows<A> * (result_columns + 1)
                                         ? 2 * tile_rows<A> * (staged_columns + 1)
                                         : tile_rows<A> * (result_columns + 1);

// One head of a problem, and what a launch adds.
template <class T>
struct Head {
    const AttentionProblem<T>& p;
    Key random;
    long b, h;
#if TENON_DEVICE_CODE
    __device__ const T* query() const { return p.q + b * p.q_strides[0] + h * p.q_strides[1]; }
    __device__ const T* key() const { return p.k + b * p.k_strides[0] + h / p.group() * p.k_strides[1]; }
    __device__ const T* value() const { return p.v + b * p.v_strides[0] + h / p.group() * p.v_strides[1]; }
    __device__ long result() const { return b * p.y_strides[0] + h * p.y_strides[1]; }
    // The score of a product; -inf where it is hidden.
    __device__ accumulator<T> score(long i, long j, accumulator<T> product) const {
        using A = accumulator<T>;
        const A none = static_cast<A>(-INFINITY);
        if (i >= p.queries || j >= p.visible(b, i)) return none;
        const long at = b * p.mask_strides[0] + h * p.mask_strides[1] + i * p.mask_strides[2] + j * p.mask_strides[3];
        if (p.mask != nullptr && !p.mask[at]) return none;
        const A s = product * static_cast<A>(p.scale), bias = p.bias != nullptr ? static_cast<A>(p.bias[at]) : A(0);
        return bias == none ? none : s + bias;
    }
    // What dropout multiplies a weight by.
    __device__ accumulator<T> kept(long i, long j, std::uint64_t threshold) const {
        using A = accumulator<T>;
        if (p.dropout == 0) return A(1);
        return random_word(random, static_cast<std::uint64_t>(p.score(b, h, i, j))) < threshold ? static_cast<A>(1 / (1 - p.dropout))
                                                                                                : A(0);
    }
#endif
};

#if TENON_DEVICE_CODE
// Rows [first, first + tile) and `Columns` columns from `column` on into rows one element longer; zeros beyond the ends.
template <int Columns, class T, class A>
__device__ void stage(A* to, const T* from, long row_stride, long column_stride, long first, long rows, long column, long columns) {
    for (int k = static_cast<int>(threadIdx.x); k < tile_rows<A> * Columns; k += block_threads) {
        const int r = k / Columns, c = k % Columns;
        to[r * (Columns + 1) + c] =
            first + r < rows && column + c < columns ? static_cast<A>(from[(first + r) * row_stride + (column + c) * column_stride]) : A(0);
    }
}
// products[a][c] of rows ty * R + a of one operand with rows tx + 16 c of another.
template <class T, class A, int R>
__device__ void multiply_rows(A (&products)[R][R], A* staging, const T* left, long left_row, long left_column, long left_first,
                              long left_rows, const T* right, long right_row, long right_column, long right_first, long right_rows,
                              long width) {
    constexpr int pitch = staged_columns + 1;
    const int tx = static_cast<int>(threadIdx.x) % 16, ty = static_cast<int>(threadIdx.x) / 16;
    A* const other = staging + tile_rows<A> * pitch;
    for (int a = 0; a < R; ++a)
        for (int c = 0; c < R; ++c) products[a][c] = 0;
    for (long column = 0; column < width; column += staged_columns) {
        __syncthreads();  // what was staged before has been read
        stage<staged_columns>(staging, left, left_row, left_column, left_first, left_rows, column, width);
        stage<staged_columns>(other, right, right_row, right_column, right_first, right_rows, column, width);
        __syncthreads();
        TENON_UNROLL(8)
        for (int l = 0; l < staged_columns; ++l) {
            A x[R], y[R];
            for (int a = 0; a < R; ++a) x[a] = staging[(ty * R + a) * pitch + l];
            for (int c = 0; c < R; ++c) y[c] = other[(tx + 16 * c) * pitch + l];
            for (int a = 0; a < R; ++a)
                for (int c = 0; c < R; ++c) products[a][c] += x[a] * y[c];
        }
    }
}
// sums[a][c] += rows ty * R + a of the scores times the columns tx + 16 c of an operand's rows [first, first + tile).
template <class T, class A, int R>
__device__ void add_columns(A (&sums)[R][result_columns / 16], const A* scores, A* staging, const T* from, long row_stride,
                            long column_stride, long first, long rows, long column, long columns) {
    constexpr int tile = tile_rows<A>;
    const int tx = static_cast<int>(threadIdx.x) % 16, ty = static_cast<int>(threadIdx.x) / 16;
    __syncthreads();  // what was staged before has been read, the scores are written
    stage<result_columns>(staging, from, row_stride, column_stride, first, rows, column, columns);
    __syncthreads();
    TENON_UNROLL(8)
    for (int l = 0; l < tile; ++l) {
        A x[R];
        for (int a = 0; a < R; ++a) x[a] = scores[(ty * R + a) * (tile + 1) + l];
        for (int c = 0; c < result_columns / 16; ++c) {
            const A y = staging[l * (result_columns + 1) + tx + 16 * c];
            for (int a = 0; a < R; ++a) sums[a][c] += x[a] * y;
        }
    }
}
template <class T, class A, int R>
__device__ void write_columns(const A (&sums)[R][result_columns / 16], T* to, long stride, long first, long rows, long column, long columns,
                              A scale, bool add) {
    const int tx = static_cast<int>(threadIdx.x) % 16, ty = static_cast<int>(threadIdx.x) / 16;
    for (int a = 0; a < R; ++a)
        for (int c = 0; c < result_columns / 16; ++c) {
            const long row = first + ty * R + a, at = column + tx + 16 * c;
            if (row >= rows || at >= columns) continue;
            T& x = to[row * stride + at];
            x = static_cast<T>(add ? static_cast<A>(x) + sums[a][c] * scale : sums[a][c] * scale);
        }
}
#endif

template <class T>
__global__ void attention_forward(AttentionProblem<T> problem, LaunchKey launch_key, long tiles, T* y, accumulator<T>* lse) {
#if TENON_DEVICE_CODE
    using A = accumulator<T>;
    constexpr int tile = tile_rows<A>, R = tile / 16, share = block_threads / tile;
    TENON_SHARED(A, staging, staging_space<A>);
    TENON_SHARED(A, scores, score_space<A>);
    TENON_SHARED(A, factor, tile);
    const long head = blockIdx.x / tiles, first = (blockIdx.x - head * tiles) * tile;
    const Head<T> own{problem, launch_key.get(), head / problem.heads, head % problem.heads};
    const AttentionProblem<T>& p = own.p;
    const long last = first + tile < p.queries ? first + tile : p.queries, n = p.visible(own.b, last - 1),
               column = blockIdx.y * static_cast<long>(result_columns);
    const std::uint64_t threshold = bernoulli_threshold(1 - p.dropout);
    const int tx = static_cast<int>(threadIdx.x) % 16, ty = static_cast<int>(threadIdx.x) / 16;
    const int row = static_cast<int>(threadIdx.x) / share, lane = static_cast<int>(threadIdx.x) % share;  // of the softmax
    A largest = static_cast<A>(-INFINITY), sum = 0;
    A results[R][result_columns / 16] = {};
    for (long j = 0; j < n; j += tile) {
        A products[R][R];
        multiply_rows(products, staging, own.query(), p.q_strides[2], p.q_strides[3], first, p.queries, own.key(), p.k_strides[2],
                      p.k_strides[3], j, n, p.width);
        for (int a = 0; a < R; ++a)
            for (int c = 0; c < R; ++c)
                scores[(ty * R + a) * (tile + 1) + tx + 16 * c] = own.score(first + ty * R + a, j + tx + 16 * c, products[a][c]);
        __syncthreads();
        A* const line = scores + row * (tile + 1);
        A top = largest, part = 0;
        for (int k = lane; k < tile; k += share) top = line[k] > top ? line[k] : top;
        for (int d = share / 2; d > 0; d /= 2) {
            const A other = row_shuffle(top, d);
            top = other > top ? other : top;
        }
        const A shift = top == static_cast<A>(-INFINITY) ? A(0) : top, change = math::exp(largest - shift);
        for (int k = lane; k < tile; k += share) {
            const A e = math::exp(line[k] - shift);
            part += e;
            line[k] = e == A(0) ? e : e * own.kept(first + row, j + k, threshold);
        }
        for (int d = share / 2; d > 0; d /= 2) part += row_shuffle(part, d);
        sum = sum * change + part;
        largest = top;
        if (lane == 0) factor[row] = change;
        __syncthreads();
        for (int a = 0; a < R; ++a)
            for (int c = 0; c < result_columns / 16; ++c) results[a][c] *= factor[ty * R + a];
        add_columns(results, scores, staging, own.value(), p.v_strides[2], p.v_strides[3], j, n, column, p.value_width);
    }
    __syncthreads();
    if (lane == 0) {
        factor[row] = sum == A(0) ? A(0) : A(1) / sum;
        if (blockIdx.y == 0 && first + row < p.queries)
            lse[head * p.queries + first + row] = sum == A(0) ? static_cast<A>(INFINITY) : largest + math::log(sum);
    }
    __syncthreads();
    for (int a = 0; a < R; ++a)
        for (int c = 0; c < result_columns / 16; ++c) results[a][c] *= factor[ty * R + a];
    write_columns(results, y + own.result(), p.y_strides[2], first, p.queries, column, p.value_width, A(1), false);
#endif
}

// A warp per row: the sum of the products of y and dy.
template <class T>
__global__ void attention_delta(AttentionProblem<T> p, const T* y, const T* dy, accumulator<T>* delta) {
#if TENON_DEVICE_CODE
    using A = accumulator<T>;
    const long rows = p.batch * p.heads * p.queries, warps = static_cast<long>(gridDim.x) * (block_threads / 32), lane = threadIdx.x % 32;
    for (long r = (static_cast<long>(blockIdx.x) * block_threads + threadIdx.x) / 32; r < rows; r += warps) {
        const long head = r / p.queries,
                   at = head / p.heads * p.y_strides[0] + head % p.heads * p.y_strides[1] + r % p.queries * p.y_strides[2];
        A sum = 0;
        for (long c = lane; c < p.value_width; c += 32) sum += static_cast<A>(y[at + c]) * static_cast<A>(dy[at + c]);
        for (int d = 16; d > 0; d /= 2) sum += row_shuffle(sum, d);
        if (lane == 0) delta[r] = sum;
    }
#endif
}

template <class T>
__global__ void attention_gradient_of_queries(AttentionProblem<T> problem, LaunchKey launch_key, long tiles, const T* dy,
                                              const accumulator<T>* lse, const accumulator<T>* delta, T* dq, bool add, T* dscores) {
#if TENON_DEVICE_CODE
    using A = accumulator<T>;
    constexpr int tile = tile_rows<A>, R = tile / 16;
    TENON_SHARED(A, staging, staging_space<A>);
    TENON_SHARED(A, scores, score_space<A>);
    const long head = blockIdx.x / tiles, first = (blockIdx.x - head * tiles) * tile;
    const Head<T> own{problem, launch_key.get(), head / problem.heads, head % problem.heads};
    const AttentionProblem<T>& p = own.p;
    const long last = first + tile < p.queries ? first + tile : p.queries, n = p.visible(own.b, last - 1),
               column = blockIdx.y * static_cast<long>(result_columns);
    const std::uint64_t threshold = bernoulli_threshold(1 - p.dropout);
    const int tx = static_cast<int>(threadIdx.x) % 16, ty = static_cast<int>(threadIdx.x) / 16;
    A logs[R], deltas[R];
    for (int a = 0; a < R; ++a) {
        const long i = first + ty * R + a;
        logs[a] = i < p.queries ? lse[head * p.queries + i] : static_cast<A>(INFINITY);
        deltas[a] = i < p.queries ? delta[head * p.queries + i] : A(0);
    }
    A results[R][result_columns / 16] = {};
    for (long j = 0; j < n; j += tile) {
        A products[R][R], along[R][R];
        multiply_rows(products, staging, own.query(), p.q_strides[2], p.q_strides[3], first, p.queries, own.key(), p.k_strides[2],
                      p.k_strides[3], j, n, p.width);
        multiply_rows(along, staging, dy + own.result(), p.y_strides[2], p.y_strides[3], first, p.queries, own.value(), p.v_strides[2],
                      p.v_strides[3], j, n, p.value_width);
        for (int a = 0; a < R; ++a)
            for (int c = 0; c < R; ++c) {
                const long i = first + ty * R + a, k = j + tx + 16 * c;
                const A w = math::exp(own.score(i, k, products[a][c]) - logs[a]);
                const A ds = w == A(0) ? A(0) : w * (along[a][c] * own.kept(i, k, threshold) - deltas[a]);
                scores[(ty * R + a) * (tile + 1) + tx + 16 * c] = ds;
                if (dscores != nullptr && blockIdx.y == 0 && i < p.queries && k < p.visible(own.b, i))
                    dscores[p.score(own.b, own.h, i, k)] = static_cast<T>(ds);
            }
        if (dq != nullptr) add_columns(results, scores, staging, own.key(), p.k_strides[2], p.k_strides[3], j, n, column, p.width);
    }
    if (dq != nullptr)
        write_columns(results, dq + head * p.queries * p.width, p.width, first, p.queries, column, p.width, static_cast<A>(p.scale), add);
#endif
}

template <class T>
__global__ void attention_gradient_of_keys(AttentionProblem<T> problem, LaunchKey launch_key, long tiles, const T* dy,
                                           const accumulator<T>* lse, const accumulator<T>* delta, T* dk, bool add_dk, T* dv, bool add_dv) {
#if TENON_DEVICE_CODE
    using A = accumulator<T>;
    constexpr int tile = tile_rows<A>, R = tile / 16;
    TENON_SHARED(A, staging, staging_space<A>);
    TENON_SHARED(A, scores, score_space<A>);
    const long key_head = blockIdx.x / tiles, first = (blockIdx.x - key_head * tiles) * tile, b = key_head / problem.key_heads,
               column = blockIdx.y * static_cast<long>(result_columns);
    const Key key = launch_key.get();
    const std::uint64_t threshold = bernoulli_threshold(1 - problem.dropout);
    const int tx = static_cast<int>(threadIdx.x) % 16, ty = static_cast<int>(threadIdx.x) / 16;
    const long n = problem.length(b);
    A keys[R][result_columns / 16] = {}, values[R][result_columns / 16] = {};
    for (long g = 0; g < problem.group(); ++g) {
        const Head<T> own{problem, key, b, key_head % problem.key_heads * problem.group() + g};
        const AttentionProblem<T>& p = own.p;
        const long head = b * p.heads + own.h;
        for (long i = 0; i < p.queries; i += tile) {
            const long last = i + tile < p.queries ? i + tile : p.queries;
            if (p.visible(b, last - 1) <= first) continue;
            A products[R][R], along[R][R];
            multiply_rows(products, staging, own.key(), p.k_strides[2], p.k_strides[3], first, n, own.query(), p.q_strides[2],
                          p.q_strides[3], i, p.queries, p.width);
            multiply_rows(along, staging, own.value(), p.v_strides[2], p.v_strides[3], first, n, dy + own.result(), p.y_strides[2],
                          p.y_strides[3], i, p.queries, p.value_width);
            for (int a = 0; a < R; ++a)
                for (int c = 0; c < R; ++c) {
                    const long q = i + tx + 16 * c, k = first + ty * R + a;
                    const A w = q < p.queries ? math::exp(own.score(q, k, products[a][c]) - lse[head * p.queries + q]) : A(0);
                    const A kept = w == A(0) ? A(0) : own.kept(q, k, threshold);
                    products[a][c] = w * kept;
                    along[a][c] = w == A(0) ? A(0) : w * (along[a][c] * kept - delta[head * p.queries + q]);
                }
            if (dv != nullptr) {
                for (int a = 0; a < R; ++a)
                    for (int c = 0; c < R; ++c) scores[(ty * R + a) * (tile + 1) + tx + 16 * c] = products[a][c];
                add_columns(values, scores, staging, dy + own.result(), p.y_strides[2], p.y_strides[3], i, p.queries, column,
                            p.value_width);
                __syncthreads();  // the scores have been read
            }
            if (dk != nullptr) {
                for (int a = 0; a < R; ++a)
                    for (int c = 0; c < R; ++c) scores[(ty * R + a) * (tile + 1) + tx + 16 * c] = along[a][c];
                add_columns(keys, scores, staging, own.query(), p.q_strides[2], p.q_strides[3], i, p.queries, column, p.width);
            }
        }
    }
    if (dk != nullptr)
        write_columns(keys, dk + key_head * problem.keys * problem.width, problem.width, first, problem.keys, column, problem.width,
                      static_cast<A>(problem.scale), add_dk);
    if (dv != nullptr)
        write_columns(values, dv + key_head * problem.keys * problem.value_width, problem.value_width, first, problem.keys, column,
                      problem.value_width, A(1), add_dv);
#endif
}

template <class T>
struct ZeroStep {
    T* to;
    TENON_FUNCTOR void operator()(long i) const { to[i] = static_cast<T>(0.f); }
};
inline dim3 grid(long heads, long tiles, long columns) {
    const long chunks = (columns + result_columns - 1) / result_columns;
    if (heads * tiles >= (1l << 31) || chunks > 65535)
        fail<ShapeError>("scaled_dot_product_attention: too many heads, positions or columns for one launch");
    return dim3(static_cast<unsigned>(heads * tiles), static_cast<unsigned>(chunks < 1 ? 1 : chunks));
}

}  // namespace attention_impl

template <class T>
void attention(const AttentionProblem<T>& p, T* y, accumulator<T>* lse) {
    constexpr long tile = attention_impl::tile_rows<accumulator<T>>;
    const long tiles = (p.queries + tile - 1) / tile;
    if (p.batch * p.heads * tiles == 0) return;
    launch("scaled_dot_product_attention", attention_impl::attention_forward<T>,
           attention_impl::grid(p.batch * p.heads, tiles, p.value_width), dim3(block_threads), std::size_t(0), p, LaunchKey(p.key), tiles,
           y, lse);
}
template <class T>
void attention_backward(const AttentionProblem<T>& p, const T* y, const accumulator<T>* lse, const T* dy, T* dq, bool add_dq, T* dk,
                        bool add_dk, T* dv, bool add_dv, T* dscores) {
    using A = accumulator<T>;
    constexpr const char* name = "scaled_dot_product_attention";
    constexpr long tile = attention_impl::tile_rows<A>;
    const long rows = p.batch * p.heads * p.queries, tiles = (p.queries + tile - 1) / tile, key_tiles = (p.keys + tile - 1) / tile;
    const LaunchKey key(p.key);
    if (dscores != nullptr) for_each_index(name, rows * p.keys, attention_impl::ZeroStep<T>{dscores});
    const Scratch<A> delta(rows);
    if (rows > 0)
        launch(name, attention_impl::attention_delta<T>, blocks_for(rows, block_threads / 32), block_threads, p, y, dy, delta.get());
    if ((dq != nullptr || dscores != nullptr) && rows > 0)
        launch(name, attention_impl::attention_gradient_of_queries<T>,
               attention_impl::grid(p.batch * p.heads, tiles, dq == nullptr ? 1 : p.width), dim3(block_threads), std::size_t(0), p, key,
               tiles, dy, lse, static_cast<const A*>(delta.get()), dq, add_dq, dscores);
    const long columns = p.width > p.value_width ? p.width : p.value_width;
    if ((dk != nullptr || dv != nullptr) && p.batch * p.key_heads * key_tiles > 0)
        launch(name, attention_impl::attention_gradient_of_keys<T>, attention_impl::grid(p.batch * p.key_heads, key_tiles, columns),
               dim3(block_threads), std::size_t(0), p, key, key_tiles, dy, lse, static_cast<const A*>(delta.get()), dk, add_dk, dv, add_dv);
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
