// Normalisation of rows, forward and backward: layer norm and RMS norm.
//
// Statistics and sums are kept in float for 16-bit types, blocks of them are added in double; variances are sums of
// squared distances from the mean, in a second pass over what is in cache by then. Every tensor is read from memory and
// written once each way where a row fits into the cache. The order of every sum depends on the shape, the
// type and the instruction set only. Buffers named `workspace` have the size that the function beside it says.
#pragma once

#include <tenon/base/dispatch.hpp>
#include <tenon/base/parallel.hpp>
#include <tenon/base/simd.hpp>
#include <tenon/kernels/cpu/reduce.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

namespace reference {

// The plain versions, in double. weight and bias may be null; Centred: layer norm, else RMS norm.
template <bool Centred, class T>
void layer_norm(long rows, long n, const T* x, const T* weight, const T* bias, double eps, T* y) {
    using A = accumulator<T>;
    for (long r = 0; r < rows; ++r) {
        double mean = 0, squares = 0;
        for (long c = 0; c < n && Centred; ++c) mean += double(A(x[r * n + c])) / double(n);
        for (long c = 0; c < n; ++c) squares += (double(A(x[r * n + c])) - mean) * (double(A(x[r * n + c])) - mean);
        const double rstd = 1 / __builtin_sqrt(squares / double(n) + eps);
        for (long c = 0; c < n; ++c)
            y[r * n + c] = T(A((double(A(x[r * n + c])) - mean) * rstd * (weight ? double(A(weight[c])) : 1) + (bias ? double(A(bias[c])) : 0)));
    }
}
// dx, and dweight and dbias where not null; accumulate adds to dx.
template <bool Centred, class T>
void layer_norm_backward(long rows, long n, const T* x, const T* weight, double eps, const T* dy, T* dx, bool accumulate, double* dweight,
                         double* dbias) {
    using A = accumulator<T>;
    for (long c = 0; c < n; ++c) {
        if (dweight != nullptr) dweight[c] = 0;
        if (dbias != nullptr) dbias[c] = 0;
    }
    for (long r = 0; r < rows; ++r) {
        double mean = 0, squares = 0, s1 = 0, s2 = 0;
        for (long c = 0; c < n && Centred; ++c) mean += double(A(x[r * n + c])) / double(n);
        for (long c = 0; c < n; ++c) squares += (double(A(x[r * n + c])) - mean) * (double(A(x[r * n + c])) - mean);
        const double rstd = 1 / __builtin_sqrt(squares / double(n) + eps);
        const auto normal = [&](long c) { return (double(A(x[r * n + c])) - mean) * rstd; };
        const auto given = [&](long c) { return double(A(dy[r * n + c])) * (weight ? double(A(weight[c])) : 1); };
        for (long c = 0; c < n; ++c) {
            if (Centred) s1 += given(c) / double(n);
            s2 += given(c) * normal(c) / double(n);
            if (dweight != nullptr) dweight[c] += double(A(dy[r * n + c])) * normal(c);
            if (dbias != nullptr) dbias[c] += double(A(dy[r * n + c]));
        }
        for (long c = 0; c < n; ++c) {
            const double d = rstd * (given(c) - s1 - normal(c) * s2);
            dx[r * n + c] = T(A(d + (accumulate ? double(A(dx[r * n + c])) : 0)));
        }
    }
}

}  // namespace reference

namespace impl {

constexpr long norm_short = fold_short;  // rows up to here are turned on their side: a vector's lanes are rows
constexpr long norm_task = 16384;        // elements per task
constexpr long norm_chunks = 64;         // most partial sums of the gradients of weight and bias

template <class A, int N, class T>
TENON_ALWAYS_INLINE double row_sum(const T* x, long n) {
    if (n <= fold_block) return static_cast<double>(fold_contiguous<Fold::sum, A, N>(x, n, A(0)));
    double total = 0;
    for (long i = 0; i < n; i += fold_block) total += static_cast<double>(fold_contiguous<Fold::sum, A, N>(x + i, n - i < fold_block ? n - i : fold_block, A(0)));
    return total;
}
template <class A, int N, class T>
TENON_ALWAYS_INLINE double row_squares(const T* x, long n, A mean) {
    if (n <= fold_block) return static_cast<double>(fold_contiguous<Fold::squares, A, N>(x, n, mean));
    double total = 0;
    for (long i = 0; i < n; i += fold_block)
        total += static_cast<double>(fold_contiguous<Fold::squares, A, N>(x + i, n - i < fold_block ? n - i : fold_block, mean));
    return total;
}

template <bool Centred>
struct LayerNormBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long rows, long n, const T* x, const T* weight, const T* bias, double eps, T* y, accumulator<T>* mean,
                                        accumulator<T>* rstd) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        if (n <= norm_short) return turned<A, N>(rows, n, x, weight, bias, eps, y, mean, rstd);
        for (long r = 0; r < rows; ++r) {
            const T* from = x + r * n;
            A m(0);
            if constexpr (Centred) {
                m = A(row_sum<A, N>(from, n) / static_cast<double>(n));
                mean[r] = m;
            }
            const A s = A(1 / __builtin_sqrt(row_squares<A, N>(from, n, m) / static_cast<double>(n) + eps));
            rstd[r] = s;
            if (weight != nullptr && bias != nullptr) write<true, true, A, N>(n, from, weight, bias, m, s, y + r * n);
            else if (weight != nullptr) write<true, false, A, N>(n, from, weight, bias, m, s, y + r * n);
            else if (bias != nullptr) write<false, true, A, N>(n, from, weight, bias, m, s, y + r * n);
            else write<false, false, A, N>(n, from, weight, bias, m, s, y + r * n);
        }
    }
    template <bool Weight, bool Bias, class A, int N, class T>
    static TENON_ALWAYS_INLINE simd<A, N> value(const T* x, const T* weight, const T* bias, long c, const simd<A, N>& m,
                                                const simd<A, N>& s) {
        simd<A, N> v = load_lanes<A, N>(x + c);
        if constexpr (Centred) v = v - m;
        v = v * s;
        if constexpr (Weight) v = v * load_lanes<A, N>(weight + c);
        if constexpr (Bias) v = v + load_lanes<A, N>(bias + c);
        return v;
    }
    template <bool Weight, bool Bias, class A, int N, class T>
    static TENON_ALWAYS_INLINE void write(long n, const T* x, const T* weight, const T* bias, A mean, A rstd, T* y) {
        const simd<A, N> m(mean), s(rstd);
        // The last vector overlaps the one before it: y may be x.
        const long tail = n - N;
        const simd<A, N> last = value<Weight, Bias, A, N>(x, weight, bias, tail, m, s);
        for (long c = 0; c + N <= n; c += N) store_lanes<A, N>(y + c, value<Weight, Bias, A, N>(x, weight, bias, c, m, s));
        store_lanes<A, N>(y + tail, last);
    }
    template <class A, int N, class T>
    static TENON_ALWAYS_INLINE void turned(long rows, long n, const T* x, const T* weight, const T* bias, double eps, T* y, A* mean, A* rstd) {
        using V = simd<A, N>;
        A in[norm_short * N], lane[N];
        const V share(A(1) / A(n)), little{A(eps)};
        for (long r = 0; r < rows; r += N) {
            const long count = rows - r < N ? rows - r : N;
            turn_in<A, N>(count, n, x + r * n, in);
            V m(0), q(0);
            if constexpr (Centred) {
                for (long c = 0; c < n; ++c) m += V::load(in + c * N);
                m = m * share;
                m.store(lane);
                for (long l = 0; l < count; ++l) mean[r + l] = lane[l];
            }
            for (long c = 0; c < n; ++c) {
                const V d = V::load(in + c * N) - m;
                q += d * d;
            }
            const V s = V(1) / sqrt(q * share + little);
            s.store(lane);
            for (long l = 0; l < count; ++l) rstd[r + l] = lane[l];
            for (long c = 0; c < n; ++c) {
                V v = (V::load(in + c * N) - m) * s;
                if (weight != nullptr) v = v * V(static_cast<A>(weight[c]));
                if (bias != nullptr) v = v + V(static_cast<A>(bias[c]));
                v.store(in + c * N);
            }
            for (long c = 0; c < n; ++c)
                for (long l = 0; l < count; ++l) y[(r + l) * n + c] = static_cast<T>(in[c * N + l]);
        }
    }
};

// One chunk of rows: dx, and this chunk's sums for weight and bias (n each, written; null where not wanted).
template <bool Centred>
struct LayerNormBackwardBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long rows, long n, const T* x, const T* weight, const accumulator<T>* mean, const accumulator<T>* rstd,
                                        const T* dy, T* dx, bool accumulate, accumulator<T>* dweight, accumulator<T>* dbias) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        for (long c = 0; c < n && dweight != nullptr; ++c) dweight[c] = 0;
        for (long c = 0; c < n && dbias != nullptr; ++c) dbias[c] = 0;
        if (n <= norm_short) return turned<A, N>(rows, n, x, weight, mean, rstd, dy, dx, accumulate, dweight, dbias);
        for (long r = 0; r < rows; ++r) {
            const A m = Centred ? mean[r] : A(0);
            const T *from = x + r * n, *given = dy + r * n;
            if (weight != nullptr) row<true, A, N>(n, from, weight, m, rstd[r], given, dx ? dx + r * n : dx, accumulate, dweight, dbias);
            else row<false, A, N>(n, from, weight, m, rstd[r], given, dx ? dx + r * n : dx, accumulate, dweight, dbias);
        }
    }
    template <bool Weight, class A, int N, class T>
    static TENON_ALWAYS_INLINE void row(long n, const T* x, const T* weight, A mean, A rstd, const T* dy, T* dx, bool accumulate, A* dweight, A* dbias) {
        using V = simd<A, N>;
        const V m(mean), s(rstd);
        const long tail = n - N;
        double t1 = 0, t2 = 0;
        for (long begin = 0; begin < n; begin += fold_block) {
            const long end = begin + fold_block < n ? begin + fold_block : n;
            V a1(0), a2(0), b1(0), b2(0);
            long c = begin;
            for (; c + 2 * N <= end; c += 2 * N) {
                sums<Weight>(x, weight, dy, c, m, s, a1, a2, dweight, dbias);
                sums<Weight>(x, weight, dy, c + N, m, s, b1, b2, dweight, dbias);
            }
            for (; c + N <= end; c += N) sums<Weight>(x, weight, dy, c, m, s, a1, a2, dweight, dbias);
            if (c < end) {
                // The lanes of the last vector that the one before it has counted are counted as zero.
                const auto fresh = lane_numbers<A, N>() >= V(A(N - (end - c)));
                const V d = select(fresh, load_lanes<A, N>(dy + tail), V(0));
                const V normal = normalised(x + tail, m, s);
                const V term = select(fresh, d * normal, V(0));
                V g1 = d, g2 = term;
                if constexpr (Weight) {
                    const V w = load_lanes<A, N>(weight + tail);
                    g1 = select(fresh, d * w, V(0));
                    g2 = select(fresh, term * w, V(0));
                }
                a1 += g1;
                a2 += g2;
                if (dweight != nullptr) (V::load(dweight + tail) + term).store(dweight + tail);
                if (dbias != nullptr) (V::load(dbias + tail) + d).store(dbias + tail);
            }
            t1 += static_cast<double>(reduce_add(a1 + b1));
            t2 += static_cast<double>(reduce_add(a2 + b2));
        }
        if (dx == nullptr) return;
        const V k1{A(Centred ? t1 / static_cast<double>(n) : 0)}, k2{A(t2 / static_cast<double>(n))};
        const V last = value<Weight>(x, weight, dy, dx, tail, m, s, k1, k2, accumulate);
        for (long c = 0; c + N <= n; c += N)
            store_lanes<A, N>(dx + c, value<Weight>(x, weight, dy, dx, c, m, s, k1, k2, accumulate));
        store_lanes<A, N>(dx + tail, last);
    }
    template <class A, int N, class T>
    static TENON_ALWAYS_INLINE simd<A, N> normalised(const T* x, const simd<A, N>& m, const simd<A, N>& s) {
        if constexpr (Centred) return (load_lanes<A, N>(x) - m) * s;
        else return load_lanes<A, N>(x) * s;
    }
    template <bool Weight, class A, int N, class T>
    static TENON_ALWAYS_INLINE void sums(const T* x, const T* weight, const T* dy, long c, const simd<A, N>& m, const simd<A, N>& s,
                                         simd<A, N>& s1, simd<A, N>& s2, A* dweight, A* dbias) {
        using V = simd<A, N>;
        const V d = load_lanes<A, N>(dy + c), term = d * normalised(x + c, m, s);
        if (dweight != nullptr) (V::load(dweight + c) + term).store(dweight + c);
        if (dbias != nullptr) (V::load(dbias + c) + d).store(dbias + c);
        if constexpr (Weight) {
            const V w = load_lanes<A, N>(weight + c);
            if constexpr (Centred) s1 += d * w;
            s2 += term * w;
        } else {
            if constexpr (Centred) s1 += d;
            s2 += term;
        }
    }
    template <bool Weight, class A, int N, class T>
    static TENON_ALWAYS_INLINE simd<A, N> value(const T* x, const T* weight, const T* dy, const T* dx, long c, const simd<A, N>& m,
                                                const simd<A, N>& s, const simd<A, N>& k1, const simd<A, N>& k2, bool accumulate) {
        simd<A, N> d = load_lanes<A, N>(dy + c);
        if constexpr (Weight) d = d * load_lanes<A, N>(weight + c);
        if constexpr (Centred) d = d - k1;
        d = (d - normalised(x + c, m, s) * k2) * s;
        if (accumulate) d = d + load_lanes<A, N>(dx + c);
        return d;
    }
    template <class A, int N, class T>
    static TENON_ALWAYS_INLINE void turned(long rows, long n, const T* x, const T* weight, const A* mean, const A* rstd, const T* dy, T* dx,
                                           bool accumulate, A* dweight, A* dbias) {
        using V = simd<A, N>;
        A in[norm_short * N], given[norm_short * N], out[norm_short * N], ms[N] = {}, ss[N] = {};
        const V share(A(1) / A(n));
        for (long r = 0; r < rows; r += N) {
            const long count = rows - r < N ? rows - r : N;
            turn_in<A, N>(count, n, x + r * n, in);
            turn_in<A, N>(count, n, dy + r * n, given);  // absent rows hold zero
            for (long l = 0; l < N; ++l) {
                ms[l] = Centred && l < count ? mean[r + l] : A(0);
                ss[l] = l < count ? rstd[r + l] : A(0);
            }
            const V m = V::load(ms), s = V::load(ss);
            V s1(0), s2(0);
            for (long c = 0; c < n; ++c) {
                const V d = V::load(given + c * N), term = d * ((V::load(in + c * N) - m) * s);
                if (dweight != nullptr) dweight[c] += reduce_add(term);
                if (dbias != nullptr) dbias[c] += reduce_add(d);
                const V w(weight != nullptr ? static_cast<A>(weight[c]) : A(1));
                if constexpr (Centred) s1 += d * w;
                s2 += term * w;
            }
            if (dx == nullptr) continue;
            s1 = s1 * share;
            s2 = s2 * share;
            if (accumulate) turn_in<A, N>(count, n, dx + r * n, out);
            for (long c = 0; c < n; ++c) {
                const V w(weight != nullptr ? static_cast<A>(weight[c]) : A(1));
                V d = (V::load(given + c * N) * w - s1 - (V::load(in + c * N) - m) * s * s2) * s;
                if (accumulate) d = d + V::load(out + c * N);
                d.store(out + c * N);
            }
            for (long c = 0; c < n; ++c)
                for (long l = 0; l < count; ++l) dx[(r + l) * n + c] = static_cast<T>(out[c * N + l]);
        }
    }
};

// to[i] (+)= the sum of `parts` rows of n, in double and in order.
struct AddPartsBody {
    template <int Lanes, class A, class T>
    static TENON_ALWAYS_INLINE void run(long parts, long n, const A* from, T* to, bool accumulate) {
        constexpr int N = Lanes / 2;
        using V = simd<double, N>;
        long i = 0;
        for (; i + N <= n; i += N) {
            V total(0);
            for (long p = 0; p < parts; ++p) total += convert<double>(simd<A, N>::load(from + p * n + i));
            double lane[N];
            total.store(lane);
            for (int l = 0; l < N; ++l) put(to + i + l, lane[l], accumulate);
        }
        for (; i < n; ++i) {
            double total = 0;
            for (long p = 0; p < parts; ++p) total += static_cast<double>(from[p * n + i]);
            put(to + i, total, accumulate);
        }
    }
    template <class T>
    static TENON_ALWAYS_INLINE void put(T* to, double value, bool accumulate) {
        using A = accumulator<T>;
        *to = static_cast<T>(static_cast<A>(accumulate ? static_cast<double>(static_cast<A>(*to)) + value : value));
    }
};

constexpr long norm_chunk_rows(long rows, long n) {
    const long least = (norm_task + n - 1) / n;                        // worth a task
    const long few = (rows + norm_chunks - 1) / norm_chunks;           // not too many partial sums
    const long chunk = least > few ? least : few;
    return (chunk + 15) / 16 * 16;
}

}  // namespace impl

// Rows x [rows, n] to zero mean (Centred) and unit variance, y = (x - mean) * rstd * weight + bias with rstd = 1 /
// sqrt(variance + eps); without Centred the mean counts as zero (RMS norm). weight and bias [n] may be null. mean (only
// if Centred) and rstd [rows] are what backward reads. y may be x. T: float, double, bf16, half.
template <bool Centred, class T>
void layer_norm(long rows, long n, const T* x, const T* weight, const T* bias, double eps, T* y, accumulator<T>* mean, accumulator<T>* rstd) {
    if (rows <= 0 || n <= 0) return;
    long per = impl::norm_task / n;
    per = per < 16 ? (n > 1024 ? 1 : 16) : per / 16 * 16;
    parallel_for((rows + per - 1) / per, [&](long task) {
        const long r = task * per;
        dispatch<impl::LayerNormBody<Centred>, impl::reduce_isa>(rows - r < per ? rows - r : per, n, x + r * n, weight, bias, eps, y + r * n,
                                                                 Centred ? mean + r : mean, rstd + r);
    });
}

// Elements of workspace for layer_norm_backward.
constexpr long layer_norm_workspace(long rows, long n) {
    if (rows <= 0 || n <= 0) return 0;
    const long per = impl::norm_chunk_rows(rows, n);
    return (rows + per - 1) / per * 2 * n;
}
// With g = dy * weight: dx = rstd * (g - mean(g) - normal * mean(g * normal)) where normal = (x - mean) * rstd; dweight =
// sum over rows of dy * normal, dbias = sum over rows of dy. Each of dx, dweight and dbias may be null. The flags say
// whether they are added to.
template <bool Centred, class T>
void layer_norm_backward(long rows, long n, const T* x, const T* weight, const accumulator<T>* mean, const accumulator<T>* rstd, const T* dy, T* dx,
                         bool add_dx, T* dweight, bool add_dweight, T* dbias, bool add_dbias, accumulator<T>* workspace) {
    using A = accumulator<T>;
    const long per = rows > 0 && n > 0 ? impl::norm_chunk_rows(rows, n) : 1, chunks = rows > 0 && n > 0 ? (rows + per - 1) / per : 0;
    A *weights = workspace, *biases = workspace + chunks * n;
    parallel_for(chunks, [&](long task) {
        const long r = task * per;
        dispatch<impl::LayerNormBackwardBody<Centred>, impl::reduce_isa>(
            rows - r < per ? rows - r : per, n, x + r * n, weight, Centred ? mean + r : mean, rstd + r, dy + r * n, dx != nullptr ? dx + r * n : dx,
            add_dx, dweight != nullptr ? weights + task * n : nullptr, dbias != nullptr ? biases + task * n : nullptr);
    });
    if (dweight != nullptr) dispatch<impl::AddPartsBody, impl::reduce_isa>(chunks, n, static_cast<const A*>(weights), dweight, add_dweight);
    if (dbias != nullptr) dispatch<impl::AddPartsBody, impl::reduce_isa>(chunks, n, static_cast<const A*>(biases), dbias, add_dbias);
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
