// What the factorisations share: loops over contiguous rows, scratch memory, and how a batch is dealt over the threads.
//
// Rows shorter than a vector are common here, so every loop ends in vectors of falling width. The order of a sum depends
// on its length and the instruction set alone.
#pragma once

#include <tenon/base/dispatch.hpp>
#include <tenon/base/parallel.hpp>
#include <tenon/base/simd.hpp>
#include <tenon/kernels/cpu/gemm/types.hpp>
#include <tenon/kernels/cpu/gemm/workspace.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace linalg_impl {

using gemm_impl::Workspace;

// Scratch of a whole factorisation, and of a leaf inside of it.
inline constinit thread_local Workspace outer_workspace;
inline constinit thread_local Workspace leaf_workspace;

// Lanes of T where a float vector has Lanes.
template <class T, int Lanes>
inline constexpr int width_of = Lanes * 4 / static_cast<int>(sizeof(T));

template <class T>
inline constexpr T epsilon = std::is_same_v<T, float> ? T(0x1p-23) : T(0x1p-52);
// The smallest normal number.
template <class T>
inline constexpr T smallest = std::is_same_v<T, float> ? T(0x1p-126) : T(0x1p-1022);

template <class T>
TENON_ALWAYS_INLINE T scalar_abs(T x) {
    if constexpr (std::is_same_v<T, float>) return __builtin_fabsf(x);
    else return __builtin_fabs(x);
}
template <class T>
TENON_ALWAYS_INLINE T scalar_sqrt(T x) {
    if constexpr (std::is_same_v<T, float>) return __builtin_sqrtf(x);
    else return __builtin_sqrt(x);
}
template <class T>
TENON_ALWAYS_INLINE T with_sign(T magnitude, T sign) {
    if constexpr (std::is_same_v<T, float>) return __builtin_copysignf(magnitude, sign);
    else return __builtin_copysign(magnitude, sign);
}
template <class T>
TENON_ALWAYS_INLINE bool is_finite(T x) { return x - x == T(0); }

// y += alpha x
template <int N, class T>
TENON_ALWAYS_INLINE void axpy(long n, T alpha, const T* x, T* y) {
    long i = 0;
    {
        using V = simd<T, N>;
        const V a(alpha);
        for (; i + N <= n; i += N) (V::load(y + i) + a * V::load(x + i)).store(y + i);
    }
    if constexpr (N > 2) {
        if (i < n) axpy<N / 2>(n - i, alpha, x + i, y + i);
    } else {
        if (i < n) y[i] += alpha * x[i];
    }
}
// y = alpha y
template <int N, class T>
TENON_ALWAYS_INLINE void scale(long n, T alpha, T* y) {
    long i = 0;
    {
        using V = simd<T, N>;
        const V a(alpha);
        for (; i + N <= n; i += N) (a * V::load(y + i)).store(y + i);
    }
    if constexpr (N > 2) {
        if (i < n) scale<N / 2>(n - i, alpha, y + i);
    } else {
        if (i < n) y[i] *= alpha;
    }
}
// y = y / d: half an ulp, where a product with the inverse has one and a half.
template <int N, class T>
TENON_ALWAYS_INLINE void divide(long n, T d, T* y) {
    long i = 0;
    {
        using V = simd<T, N>;
        const V by(d);
        for (; i + N <= n; i += N) (V::load(y + i) / by).store(y + i);
    }
    if constexpr (N > 2) {
        if (i < n) divide<N / 2>(n - i, d, y + i);
    } else {
        if (i < n) y[i] /= d;
    }
}
// The sum of x y.
template <int N, class T>
TENON_ALWAYS_INLINE T dot(long n, const T* x, const T* y) {
    using V = simd<T, N>;
    T sum = 0;
    long i = 0;
    if (n >= N) {
        V a(0);
        if (n >= 4 * N) {
            V b(0), c(0), d(0);
            for (; i + 4 * N <= n; i += 4 * N) {
                a += V::load(x + i) * V::load(y + i);
                b += V::load(x + i + N) * V::load(y + i + N);
                c += V::load(x + i + 2 * N) * V::load(y + i + 2 * N);
                d += V::load(x + i + 3 * N) * V::load(y + i + 3 * N);
            }
            a = (a + b) + (c + d);
        }
        for (; i + N <= n; i += N) a += V::load(x + i) * V::load(y + i);
        sum = reduce_add(a);
    }
    if constexpr (N > 2) {
        if (i < n) sum += dot<N / 2>(n - i, x + i, y + i);
    } else {
        if (i < n) sum += x[i] * y[i];
    }
    return sum;
}
// The largest magnitude; NaN where there is one.
template <int N, class T>
TENON_ALWAYS_INLINE T largest_magnitude(long n, const T* x) {
    T most = 0;
    long i = 0;
    if (n >= N) {
        using V = simd<T, N>;
        V a(0);
        for (; i + N <= n; i += N) a = max(a, abs(V::load(x + i)));
        for (int l = 0; l < N; ++l)
            if (a[l] > most || a[l] != a[l]) most = a[l];
    }
    for (; i < n; ++i) {
        const T v = scalar_abs(x[i]);
        if (v > most || v != v) most = v;
    }
    return most;
}
// Rows a and b turned: a' = c a + s b, b' = c b - s a.
template <int N, class T>
TENON_ALWAYS_INLINE void rotate(long n, T c, T s, T* a, T* b) {
    long i = 0;
    {
        using V = simd<T, N>;
        const V vc(c), vs(s);
        for (; i + N <= n; i += N) {
            const V x = V::load(a + i), y = V::load(b + i);
            (vc * x + vs * y).store(a + i);
            (vc * y - vs * x).store(b + i);
        }
    }
    if constexpr (N > 2) {
        if (i < n) rotate<N / 2>(n - i, c, s, a + i, b + i);
    } else {
        if (i < n) {
            const T x = a[i], y = b[i];
            a[i] = c * x + s * y;
            b[i] = c * y - s * x;
        }
    }
}

// out[columns, rows] = the transpose of in[rows, columns], in blocks that stay in the first cache.
template <class T>
TENON_NOINLINE void transpose_into(long rows, long columns, const T* in, long in_stride, T* out, long out_stride) {
    constexpr long block = 16;
    for (long i0 = 0; i0 < rows; i0 += block) {
        const long i1 = i0 + block < rows ? i0 + block : rows;
        for (long j0 = 0; j0 < columns; j0 += block) {
            const long j1 = j0 + block < columns ? j0 + block : columns;
            for (long j = j0; j < j1; ++j)
                for (long i = i0; i < i1; ++i) out[j * out_stride + i] = in[i * in_stride + j];
        }
    }
}
template <class T>
inline void copy_rows(long rows, long columns, const T* in, long in_stride, T* out, long out_stride) {
    if (columns <= 0) return;
    for (long i = 0; i < rows; ++i) std::memcpy(out + i * out_stride, in + i * in_stride, static_cast<std::size_t>(columns) * sizeof(T));
}
template <class T>
inline void clear_rows(long rows, long columns, T* out, long stride) {
    if (columns <= 0) return;
    for (long i = 0; i < rows; ++i) std::memset(out + i * stride, 0, static_cast<std::size_t>(columns) * sizeof(T));
}

// Calls f(first, last) for runs of a batch: small matrices are dealt over the threads, enough of them to a task; a few
// large ones follow each other and share the threads inside.
template <class F>
void for_matrices(long batch, double flops, F&& f) {
    if (batch <= 0) return;
    if (flops >= 3e7 && batch < 8) {
        for (long p = 0; p < batch; ++p) f(p, p + 1);
        return;
    }
    long tasks = static_cast<long>(flops * static_cast<double>(batch) / 2e5);
    tasks = tasks > 64 ? 64 : tasks;
    tasks = tasks > batch ? batch : tasks < 1 ? 1 : tasks;
    parallel_for(tasks, [&](long t) { f(batch * t / tasks, batch * (t + 1) / tasks); });
}

}  // namespace linalg_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
