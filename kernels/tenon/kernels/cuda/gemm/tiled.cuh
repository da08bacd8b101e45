// A matrix product of any types and strides by tiles of 64 x 64 in shared memory: what cuBLASLt refuses, tiny products, and the
// reference of the tests.
//
// A Job says what is multiplied and where it goes:
//     using Sum;                                                      what products are added in
//     long batch, m, n, k;  bool a_rows, b_rows;                      whether neighbours in a row lie next to each other
//     Sum left(p, i, l), right(p, l, j);  void write(p, i, j, sum);   elements of problem p
#pragma once

#include <tenon/base/half.hpp>
#include <tenon/kernels/cpu/gemm/types.hpp>
#include <tenon/kernels/cuda/memory.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

using cpu::BlockEpilogue;
using cpu::GemmOptions;
using cpu::MatrixView;

namespace gemm_impl {

inline constexpr int tile = 64, tile_depth = 16, tile_pitch = tile + 4, tile_part = 4;

// One chain per element in order of k, so that its bits depend on its row, its column and k alone. Reads each element of A and B
// once per tile of the other side.
template <class Job>
__global__ void multiply_tiles(Job job) {
#if TENON_DEVICE_CODE
    using Sum = typename Job::Sum;
    TENON_SHARED(Sum, left, tile_depth * tile_pitch);
    TENON_SHARED(Sum, right, tile_depth * tile_pitch);
    const int t = static_cast<int>(threadIdx.x);
    const int own_row = t / 16 * tile_part, own_column = t % 16 * tile_part;
    // What a thread fetches: along the side whose elements are neighbours.
    const int deep = t % tile_depth, deep_at = t / tile_depth, wide = t % tile, wide_at = t / tile;
    const long rows = (job.m + tile - 1) / tile, columns = (job.n + tile - 1) / tile, all = rows * columns * job.batch;
    for (long at = blockIdx.x; at < all; at += gridDim.x) {
        const long p = at / (rows * columns), within = at - p * rows * columns;
        const long row = within / columns * tile, column = (within - within / columns * columns) * tile;
        Sum sums[tile_part][tile_part] = {};
        for (long first = 0; first < job.k; first += tile_depth) {
            __syncthreads();  // the last tile has been used
            for (int q = 0; q < tile_depth * tile / block_threads; ++q) {
                const int al = job.a_rows ? deep : wide_at + q * 4, ai = job.a_rows ? deep_at + q * 16 : wide;
                const int bl = job.b_rows ? wide_at + q * 4 : deep, bj = job.b_rows ? wide : deep_at + q * 16;
                left[al * tile_pitch + ai] = row + ai < job.m && first + al < job.k ? job.left(p, row + ai, first + al) : Sum(0);
                right[bl * tile_pitch + bj] = column + bj < job.n && first + bl < job.k ? job.right(p, first + bl, column + bj) : Sum(0);
            }
            __syncthreads();
            const int depth = job.k - first < tile_depth ? static_cast<int>(job.k - first) : tile_depth;
            for (int l = 0; l < depth; ++l) {
                Sum a[tile_part], b[tile_part];
                TENON_UNROLL(4)
                for (int i = 0; i < tile_part; ++i) {
                    a[i] = left[l * tile_pitch + own_row + i];
                    b[i] = right[l * tile_pitch + own_column + i];
                }
                TENON_UNROLL(4)
                for (int i = 0; i < tile_part; ++i) {
                    TENON_UNROLL(4)
                    for (int j = 0; j < tile_part; ++j) sums[i][j] += a[i] * b[j];
                }
            }
        }
        TENON_UNROLL(4)
        for (int i = 0; i < tile_part; ++i) {
            TENON_UNROLL(4)
            for (int j = 0; j < tile_part; ++j)
                if (row + own_row + i < job.m && column + own_column + j < job.n)
                    job.write(p, row + own_row + i, column + own_column + j, sums[i][j]);
        }
    }
#endif
}

template <class Job>
void run_tiles(const char* name, const Job& job) {
    const long tiles = (job.m + tile - 1) / tile * ((job.n + tile - 1) / tile) * job.batch;
    if (tiles > 0) launch(name, multiply_tiles<Job>, blocks_for(tiles, 1), block_threads, job);
}

// What products of T are added in, and what the scale is.
template <class T> struct sum_of { using type = float; };
template <> struct sum_of<double> { using type = double; };

// `batch` products of one shape; see GemmOptions. The operands of the next one lie so many elements further.
template <class T, class Out>
struct Product {
    using Sum = typename sum_of<T>::type;
    long batch, m, n, k;
    bool a_rows, b_rows;
    MatrixView<T> a, b;
    long a_batch, b_batch;
    Out* c;
    long ldc, c_batch;
    Sum alpha;
    const Out* bias;
    bool accumulate, relu;

#if TENON_DEVICE_CODE
    __device__ Sum left(long p, long i, long l) const {
        return static_cast<Sum>(a.data[p * a_batch + i * a.row_stride + l * a.column_stride]);
    }
    __device__ Sum right(long p, long l, long j) const {
        return static_cast<Sum>(b.data[p * b_batch + l * b.row_stride + j * b.column_stride]);
    }
    __device__ void write(long p, long i, long j, Sum sum) const {
        Out* to = c + p * c_batch + i * ldc + j;
        sum *= alpha;
        if (accumulate) sum += static_cast<Sum>(*to);
        if (bias != nullptr) sum += static_cast<Sum>(bias[j]);
        if (relu && sum < 0) sum = 0;
        *to = static_cast<Out>(sum);
    }
#endif
};

template <class T, class Out>
Product<T, Out> make_product(long batch, long m, long n, long k, MatrixView<T> a, long a_batch, MatrixView<T> b, long b_batch, Out* c,
                             long ldc, long c_batch, const GemmOptions<Out>& options) {
    return {batch,   m,       n,   k,       a.column_stride == 1, b.column_stride == 1, a,
            b,       a_batch, b_batch, c, ldc, c_batch, static_cast<typename sum_of<T>::type>(options.alpha),
            options.bias, options.accumulate, options.relu};
}

}  // namespace gemm_impl
}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
