// Normalisation of rows: layer norm and RMS norm, forward and backward (cpu/layer_norm.hpp).
//
// Memory moved: x and y once (the statistics' passes over a row find it in cache); backward x, dy and dx once, and x and dy
// once more for the gradients of weight and bias, which are sums over rows in fixed chunks.
#pragma once

#include <tenon/kernels/cuda/rows.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

template <bool Centred, Group G, class T>
__global__ void layer_norm_rows(Rows rows, const T* x, const T* weight, const T* bias, double eps, T* y, accumulator<T>* mean,
                                accumulator<T>* rstd) {
#if TENON_DEVICE_CODE
    using A = accumulator<T>;
    for_rows<G>(rows, [&](long r, long at, bool exists) {
        A m = 0, squares = 0;
        if constexpr (Centred) {
            for_elements<G>(rows, exists, [&](long, long k) { m += static_cast<A>(x[at + k]); });
            m = row_sum<G>(m) / static_cast<A>(rows.n);
        }
        for_elements<G>(rows, exists, [&](long, long k) {
            const A d = static_cast<A>(x[at + k]) - m;
            squares += d * d;
        });
        squares = row_sum<G>(squares);
        const A s = static_cast<A>(1 / math::sqrt(static_cast<double>(squares) / static_cast<double>(rows.n) + eps));
        if (exists && RowGroup<G>::lane() == 0) {
            if constexpr (Centred) mean[r] = m;
            rstd[r] = s;
        }
        for_elements<G>(rows, exists, [&](long c, long k) {
            A v = (static_cast<A>(x[at + k]) - m) * s;
            if (weight != nullptr) v *= static_cast<A>(weight[c]);
            if (bias != nullptr) v += static_cast<A>(bias[c]);
            y[at + k] = static_cast<T>(v);
        });
    });
#endif
}
template <bool Centred, Group G, class T>
__global__ void layer_norm_rows_backward(Rows rows, const T* x, const T* weight, const accumulator<T>* mean, const accumulator<T>* rstd,
                                         const T* dy, T* dx, bool add_dx) {
#if TENON_DEVICE_CODE
    using A = accumulator<T>;
    for_rows<G>(rows, [&](long r, long at, bool exists) {
        const A m = Centred && exists ? mean[r] : A(0), s = exists ? rstd[r] : A(0);
        A along = 0, across = 0;
        for_elements<G>(rows, exists, [&](long c, long k) {
            const A g = static_cast<A>(dy[at + k]) * (weight != nullptr ? static_cast<A>(weight[c]) : A(1));
            across += g;
            along += g * ((static_cast<A>(x[at + k]) - m) * s);
        });
        if constexpr (Centred) across = row_sum<G>(across) / static_cast<A>(rows.n);
        along = row_sum<G>(along) / static_cast<A>(rows.n);
        for_elements<G>(rows, exists, [&](long c, long k) {
            const A g = static_cast<A>(dy[at + k]) * (weight != nullptr ? static_cast<A>(weight[c]) : A(1));
            const A d = s * (g - (Centred ? across : A(0)) - (static_cast<A>(x[at + k]) - m) * s * along);
            dx[at + k] = static_cast<T>(add_dx ? static_cast<A>(dx[at + k]) + d : d);
        });
    });
#endif
}

// A block's sums of dy * normal and of dy over `chunk` rows of 32 columns, eight threads to a column.
template <bool Centred, class T>
__global__ void layer_norm_column_sums(long rows, long n, long chunk, const T* x, const accumulator<T>* mean, const accumulator<T>* rstd,
                                       const T* dy, accumulator<T>* weights, accumulator<T>* biases) {
#if TENON_DEVICE_CODE
    using A = accumulator<T>;
    const long first = blockIdx.y * chunk, last = first + chunk < rows ? first + chunk : rows;
    for (long base = blockIdx.x * 32l; base < n; base += gridDim.x * 32l) {
        const long c = base + threadIdx.x % 32;
        A w = 0, b = 0;
        for (long r = first + threadIdx.x / 32; r < last && c < n; r += 8) {
            const A d = static_cast<A>(dy[r * n + c]);
            w += d * ((static_cast<A>(x[r * n + c]) - (Centred ? mean[r] : A(0))) * rstd[r]);
            b += d;
        }
        w = row_sum<Group::columns>(w);
        b = row_sum<Group::columns>(b);
        if (c < n && threadIdx.x < 32) {
            weights[blockIdx.y * n + c] = w;
            biases[blockIdx.y * n + c] = b;
        }
    }
#endif
}
// to (+)= the sum of `parts` rows.
template <class T>
__global__ void add_parts(long parts, long n, const accumulator<T>* from, T* to, bool add) {
#if TENON_DEVICE_CODE
    using A = accumulator<T>;
    for (long c = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x; c < n; c += static_cast<long>(gridDim.x) * blockDim.x) {
        double sum = 0;
        for (long p = 0; p < parts; ++p) sum += static_cast<double>(from[p * n + c]);
        to[c] = static_cast<T>(static_cast<A>(add ? static_cast<double>(static_cast<A>(to[c])) + sum : sum));
    }
#endif
}

namespace norm_impl {

constexpr long chunk_rows(long rows) {
    const long few = (rows + 127) / 128;  // at most so many partial sums
    return few > 64 ? few : 64;
}

}  // namespace norm_impl

template <bool Centred, class T>
void layer_norm(long rows, long n, const T* x, const T* weight, const T* bias, double eps, T* y, accumulator<T>* mean,
                accumulator<T>* rstd) {
    const Rows all("layer_norm", rows, n, 1);
    if (rows == 0 || n == 0) return;
    with_row_group(all, [&]<Group G>(std::integral_constant<Group, G>, long blocks) {
        launch("layer_norm", layer_norm_rows<Centred, G, T>, blocks, block_threads, all, x, weight, bias, eps, y, mean, rstd);
    });
}
constexpr long layer_norm_workspace(long rows, long n) {
    const long chunk = norm_impl::chunk_rows(rows);
    return (rows + chunk - 1) / chunk * 2 * n;
}
template <bool Centred, class T>
void layer_norm_backward(long rows, long n, const T* x, const T* weight, const accumulator<T>* mean, const accumulator<T>* rstd,
                         const T* dy, T* dx, bool add_dx, T* dweight, bool add_dweight, T* dbias, bool add_dbias,
                         accumulator<T>* workspace) {
    const Rows all("layer_norm", rows, n, 1);
    if (n == 0) return;
    if (dx != nullptr && rows > 0)
        with_row_group(all, [&]<Group G>(std::integral_constant<Group, G>, long blocks) {
            launch("layer_norm", layer_norm_rows_backward<Centred, G, T>, blocks, block_threads, all, x, weight, mean, rstd, dy, dx,
                   add_dx);
        });
    if (dweight == nullptr && dbias == nullptr) return;
    const long chunk = norm_impl::chunk_rows(rows), chunks = (rows + chunk - 1) / chunk;
    accumulator<T>*weights = workspace, *biases = workspace + chunks * n;
    if (rows > 0)
        launch("layer_norm", layer_norm_column_sums<Centred, T>,
               dim3(static_cast<unsigned>(blocks_for(n, 32)), static_cast<unsigned>(chunks)), dim3(block_threads), std::size_t(0), rows, n,
               chunk, x, mean, rstd, dy, weights, biases);
    const long blocks = blocks_for(n, block_threads);
    if (dweight != nullptr) launch("layer_norm", add_parts<T>, blocks, block_threads, chunks, n, weights, dweight, add_dweight);
    if (dbias != nullptr) launch("layer_norm", add_parts<T>, blocks, block_threads, chunks, n, biases, dbias, add_dbias);
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
