// Normalisation, forward and backward: of rows (layer norm, RMS norm) and of channels (batch norm).
//
// Statistics and sums are kept in float for 16-bit types, blocks of them are added in double; variances are sums of
// squared distances from the mean, in a second pass over what is in cache by then. Every tensor is read from memory and
// written once each way where a row (a channel) fits into the cache. The order of every sum depends on the shape, the
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
// Mean and variance (divided by the count) of each channel of [outer, channels, inner].
template <class T>
void channel_moments(long outer, long channels, long inner, const T* x, double* mean, double* variance) {
    using A = accumulator<T>;
    const double count = double(outer * inner);
    for (long c = 0; c < channels; ++c) {
        long double sum = 0, squares = 0;
        for (long o = 0; o < outer; ++o)
            for (long i = 0; i < inner; ++i) sum += double(A(x[(o * channels + c) * inner + i]));
        mean[c] = double(sum) / count;
        for (long o = 0; o < outer; ++o)
            for (long i = 0; i < inner; ++i) {
                const double d = double(A(x[(o * channels + c) * inner + i])) - mean[c];
                squares += d * d;
            }
        variance[c] = double(squares) / count;
    }
}
template <class T>
void batch_norm(long outer, long channels, long inner, const T* x, const T* weight, const T* bias, double eps, const double* mean,
                const double* variance, T* y, bool relu = false) {
    using A = accumulator<T>;
    for (long o = 0; o < outer; ++o)
        for (long c = 0; c < channels; ++c)
            for (long i = 0; i < inner; ++i) {
                const long at = (o * channels + c) * inner + i;
                const double normal = (double(A(x[at])) - mean[c]) / __builtin_sqrt(variance[c] + eps);
                const double value = normal * (weight ? double(A(weight[c])) : 1) + (bias ? double(A(bias[c])) : 0);
                y[at] = T(A(relu && value < 0 ? 0 : value));
            }
}
// training: the statistics were those of x, and depend on it.
template <class T>
void batch_norm_backward(long outer, long channels, long inner, const T* x, const T* weight, double eps, const double* mean, const double* variance,
                         bool training, const T* dy, T* dx, bool accumulate, double* dweight, double* dbias) {
    using A = accumulator<T>;
    const double count = double(outer * inner);
    for (long c = 0; c < channels; ++c) {
        const double rstd = 1 / __builtin_sqrt(variance[c] + eps);
        double s1 = 0, s2 = 0;
        for (long o = 0; o < outer; ++o)
            for (long i = 0; i < inner; ++i) {
                const long at = (o * channels + c) * inner + i;
                s1 += double(A(dy[at]));
                s2 += double(A(dy[at])) * (double(A(x[at])) - mean[c]) * rstd;
            }
        dweight[c] = s2;
        dbias[c] = s1;
        for (long o = 0; o < outer; ++o)
            for (long i = 0; i < inner; ++i) {
                const long at = (o * channels + c) * inner + i;
                const double normal = (double(A(x[at])) - mean[c]) * rstd, d = double(A(dy[at]));
                const double g = rstd * (weight ? double(A(weight[c])) : 1) * (training ? d - s1 / count - normal * s2 / count : d);
                dx[at] = T(A(g + (accumulate ? double(A(dx[at])) : 0)));
            }
    }
}

}  // namespace reference

namespace impl {

// ---- rows -----------------------------------------------------------------------------------------------------------

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

// ---- channels ---------------------------------------------------------------------------------------------------------
//
// [outer, channels, inner]: the planes of a channel are `inner` contiguous elements. Short planes are taken together: a
// row of the matrix [outer, channels * inner] has one column for each position of each channel, and lanes run over columns.

constexpr long plane_short = 32;     // planes below this are taken together
constexpr long column_block = 64;    // columns per block
constexpr long column_rows = 64;     // rows that are added in A before a double takes over
constexpr int channel_parts = 16;    // most parts of the rows of a block

enum class ChannelSum { values, squares, gradients, rectified };

// The gradient where the forward pass came out above 0: it is computed again, which saves reading it.
template <class V>
TENON_ALWAYS_INLINE V rectified(const V& d, const V& x, const V& m, const V& a, const V& b) {
    return select((x - m) * a + b <= V(0), V(0), d);
}

// Sums over the planes of one channel: of x; of (x - mean)^2; of dy and dy * (x - mean), dy as it is or rectified. Asks for what lies `ahead` of each
// element (0: for nothing): planes lie far apart, where the machine's prefetchers do not follow.
template <ChannelSum what>
struct PlaneSumsBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long planes, long stride, long inner, const T* x, const T* dy, accumulator<T> mean, double* out, long ahead = 0,
                                        accumulator<T> factor = 0, accumulator<T> shift = 0) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        constexpr bool of_gradients = what == ChannelSum::gradients || what == ChannelSum::rectified;
        using V = simd<A, N>;
        const V m(mean), a(factor), b(shift);
        V a1(0), a2(0), b1(0), b2(0);
        double t1 = 0, t2 = 0;
        long seen = 0;
        for (long p = 0; p < planes; ++p) {
            const T *q = x + p * stride, *d = of_gradients ? dy + p * stride : q;
            for (long begin = 0; begin < inner; begin += fold_block) {
                const long end = begin + fold_block < inner ? begin + fold_block : inner;
                long i = begin;
                for (; i + 2 * N <= end; i += 2 * N) {
                    if (ahead != 0) {
                        prefetch_ahead<2 * N>(q + ahead + i);
                        if constexpr (of_gradients) prefetch_ahead<2 * N>(d + ahead + i);
                    }
                    add<A, N>(q + i, d + i, m, a, b, a1, a2);
                    add<A, N>(q + i + N, d + i + N, m, a, b, b1, b2);
                }
                for (; i + N <= end; i += N) add<A, N>(q + i, d + i, m, a, b, a1, a2);
                if (i < end) {
                    // The last vector overlaps the one before it; the lanes seen already count for nothing.
                    const auto fresh = lane_numbers<A, N>() >= V(A(N - (end - i)));
                    V e1(0), e2(0);
                    add<A, N>(q + inner - N, d + inner - N, m, a, b, e1, e2);
                    b1 += select(fresh, e1, V(0));
                    b2 += select(fresh, e2, V(0));
                }
                seen += end - begin;
                if (seen < fold_block) continue;
                seen = 0;
                t1 += static_cast<double>(reduce_add(a1 + b1));
                t2 += static_cast<double>(reduce_add(a2 + b2));
                a1 = a2 = b1 = b2 = V(0);
            }
        }
        out[0] = t1 + static_cast<double>(reduce_add(a1 + b1));
        out[1] = t2 + static_cast<double>(reduce_add(a2 + b2));
    }
    template <class A, int N, class T>
    static TENON_ALWAYS_INLINE void add(const T* x, const T* dy, const simd<A, N>& m, const simd<A, N>& a, const simd<A, N>& b, simd<A, N>& s1, simd<A, N>& s2) {
        const simd<A, N> v = load_lanes<A, N>(x);
        if constexpr (what == ChannelSum::values) {
            s1 += v;
        } else if constexpr (what == ChannelSum::squares) {
            s1 += (v - m) * (v - m);
        } else {
            simd<A, N> d = load_lanes<A, N>(dy);
            if constexpr (what == ChannelSum::rectified) d = rectified(d, v, m, a, b);
            s1 += d;
            s2 += d * (v - m);
        }
    }
};

// Mean and squared distances of one channel's planes, group by group: a group's distances are taken while it is in L1, and the
// next one is asked for.
constexpr long plane_group = 2048;  // elements, at least
struct PlaneMomentsBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long planes, long stride, long inner, const T* x, double* out) {
        using A = accumulator<T>;
        Moments all;
        const long group = inner < plane_group ? plane_group / inner : 1;
        for (long p = 0; p < planes; p += group) {
            const long count = planes - p < group ? planes - p : group;
            const double points = static_cast<double>(count * inner);
            double sum[2];
            PlaneSumsBody<ChannelSum::values>::template run<Lanes>(count, stride, inner, x + p * stride, x, A(0), sum);
            const double mean = sum[0] / points;
            const A rounded = static_cast<A>(mean);
            PlaneSumsBody<ChannelSum::squares>::template run<Lanes>(count, stride, inner, x + p * stride, x, rounded, sum, group * stride);
            const double off = mean - static_cast<double>(rounded);
            all.join(points, mean, sum[0] - points * off * off);
        }
        out[0] = all.mean;
        out[1] = all.squares < 0 ? 0 : all.squares;
    }
};

// y = (x - m) * a + b, or `low` where that is less; dx = (dy - k1 - (x - m) * k2) * a, over the planes of one channel; without Training,
// dx = dy * a. Relu: of the gradient rectified.
struct PlaneApplyBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long planes, long stride, long inner, const T* x, accumulator<T> mean, accumulator<T> factor,
                                        accumulator<T> shift, accumulator<T> low, T* y) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        using V = simd<A, N>;
        const V m(mean), a(factor), b(shift), least(low);
        const long tail = inner - N;
        for (long p = 0; p < planes; ++p) {
            const T* q = x + p * stride;
            T* to = y + p * stride;
            const V last = value(load_lanes<A, N>(q + tail), m, a, b, least);
            long i = 0;
            for (; i + 2 * N <= inner; i += 2 * N) {
                prefetch_ahead<2 * N>(q + stride + i);
                prefetch_ahead<2 * N, 1>(to + stride + i);
                const V first = value(load_lanes<A, N>(q + i), m, a, b, least), second = value(load_lanes<A, N>(q + i + N), m, a, b, least);
                store_lanes<A, N>(to + i, first);
                store_lanes<A, N>(to + i + N, second);
            }
            for (; i + N <= inner; i += N) store_lanes<A, N>(to + i, value(load_lanes<A, N>(q + i), m, a, b, least));
            store_lanes<A, N>(to + tail, last);
        }
    }
    // A NaN stays one.
    template <class V>
    static TENON_ALWAYS_INLINE V value(const V& x, const V& m, const V& a, const V& b, const V& low) {
        const V y = (x - m) * a + b;
        return select(y < low, low, y);
    }
};
template <bool Training, bool Relu>
struct PlaneGradientBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long planes, long stride, long inner, const T* x, const T* dy, accumulator<T> mean, accumulator<T> factor,
                                        accumulator<T> shift, accumulator<T> first, accumulator<T> second, T* dx, bool accumulate) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        using V = simd<A, N>;
        const V m(mean), a(factor), b(shift), k1(first), k2(second);
        const long tail = inner - N;
        for (long p = 0; p < planes; ++p) {
            const T *q = x + p * stride, *d = dy + p * stride;
            T* to = dx + p * stride;
            const V last = value(q + tail, d + tail, to + tail, m, a, b, k1, k2, accumulate);
            long i = 0;
            for (; i + 2 * N <= inner; i += 2 * N) {
                if constexpr (Training || Relu) prefetch_ahead<2 * N>(q + stride + i);
                prefetch_ahead<2 * N>(d + stride + i);
                prefetch_ahead<2 * N, 1>(to + stride + i);
                const V low = value(q + i, d + i, to + i, m, a, b, k1, k2, accumulate), high = value(q + i + N, d + i + N, to + i + N, m, a, b, k1, k2, accumulate);
                store_lanes<A, N>(to + i, low);
                store_lanes<A, N>(to + i + N, high);
            }
            for (; i + N <= inner; i += N) store_lanes<A, N>(to + i, value(q + i, d + i, to + i, m, a, b, k1, k2, accumulate));
            store_lanes<A, N>(to + tail, last);
        }
    }
    template <class A, int N, class T>
    static TENON_ALWAYS_INLINE simd<A, N> value(const T* x, const T* dy, const T* dx, const simd<A, N>& m, const simd<A, N>& a, const simd<A, N>& b,
                                                const simd<A, N>& k1, const simd<A, N>& k2, bool accumulate) {
        simd<A, N> d = load_lanes<A, N>(dy);
        if constexpr (Relu) d = rectified(d, load_lanes<A, N>(x), m, a, b);
        if constexpr (Training) d = d - k1 - (load_lanes<A, N>(x) - m) * k2;
        d = d * a;
        if (accumulate) d = d + load_lanes<A, N>(dx);
        return d;
    }
};

// The same over `width` <= column_block neighbouring columns, with one number for each column in m, a, b, k1, k2.
template <ChannelSum what>
struct ColumnSumsBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long rows, long stride, long width, const T* x, const T* dy, const accumulator<T>* m, const accumulator<T>* a,
                                        const accumulator<T>* b, double* first, double* second) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        constexpr bool of_gradients = what == ChannelSum::gradients || what == ChannelSum::rectified;
        for (long c = 0; c < width; ++c) first[c] = second[c] = 0;
        for (long r = 0; r < rows; r += column_rows) {
            const long count = rows - r < column_rows ? rows - r : column_rows;
            long c = 0;
            for (; c + N <= width; c += N) block<false, A, N>(count, stride, N, x + r * stride + c, of_gradients ? dy + r * stride + c : dy, m + c, a + c, b + c, first + c, second + c);
            if (c < width) block<true, A, N>(count, stride, width - c, x + r * stride + c, of_gradients ? dy + r * stride + c : dy, m + c, a + c, b + c, first + c, second + c);
        }
    }
    template <bool Part, class A, int N, class T>
    static TENON_ALWAYS_INLINE void block(long rows, long stride, long width, const T* x, const T* dy, const A* means, const A* factors, const A* shifts, double* first,
                                          double* second) {
        using V = simd<A, N>;
        const V m = load_some<Part, A, N>(means, width);
        V a(0), b(0), s1(0), s2(0);
        if constexpr (what == ChannelSum::rectified) {
            a = load_some<Part, A, N>(factors, width);
            b = load_some<Part, A, N>(shifts, width);
        }
        for (long r = 0; r < rows; ++r) {
            const V v = load_some<Part, A, N>(x + r * stride, width);
            if constexpr (what == ChannelSum::values) {
                s1 += v;
            } else if constexpr (what == ChannelSum::squares) {
                s1 += (v - m) * (v - m);
            } else {
                V d = load_some<Part, A, N>(dy + r * stride, width);
                if constexpr (what == ChannelSum::rectified) d = rectified(d, v, m, a, b);
                s1 += d;
                s2 += d * (v - m);
            }
        }
        A lane1[N], lane2[N];
        s1.store(lane1);
        s2.store(lane2);
        for (long l = 0; l < width; ++l) {
            first[l] += static_cast<double>(lane1[l]);
            second[l] += static_cast<double>(lane2[l]);
        }
    }
};
struct ColumnApplyBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long rows, long stride, long width, const T* x, const accumulator<T>* m, const accumulator<T>* a,
                                        const accumulator<T>* b, accumulator<T> low, T* y) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        for (long r = 0; r < rows; ++r) {
            long c = 0;
            for (; c + N <= width; c += N) element<false, A, N>(N, x + r * stride + c, m + c, a + c, b + c, low, y + r * stride + c);
            if (c < width) element<true, A, N>(width - c, x + r * stride + c, m + c, a + c, b + c, low, y + r * stride + c);
        }
    }
    template <bool Part, class A, int N, class T>
    static TENON_ALWAYS_INLINE void element(long width, const T* x, const A* m, const A* a, const A* b, A low, T* y) {
        const auto v = PlaneApplyBody::value(load_some<Part, A, N>(x, width), load_some<Part, A, N>(m, width), load_some<Part, A, N>(a, width), load_some<Part, A, N>(b, width),
                                             simd<A, N>(low));
        store_some<Part, A, N>(y, v, width);
    }
};
template <bool Training, bool Relu>
struct ColumnGradientBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long rows, long stride, long width, const T* x, const T* dy, const accumulator<T>* m, const accumulator<T>* a,
                                        const accumulator<T>* b, const accumulator<T>* k1, const accumulator<T>* k2, T* dx, bool accumulate) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        for (long r = 0; r < rows; ++r) {
            const long at = r * stride;
            long c = 0;
            for (; c + N <= width; c += N) element<false, A, N>(N, x + at + c, dy + at + c, m + c, a + c, b + c, k1 + c, k2 + c, dx + at + c, accumulate);
            if (c < width) element<true, A, N>(width - c, x + at + c, dy + at + c, m + c, a + c, b + c, k1 + c, k2 + c, dx + at + c, accumulate);
        }
    }
    template <bool Part, class A, int N, class T>
    static TENON_ALWAYS_INLINE void element(long width, const T* x, const T* dy, const A* m, const A* a, const A* b, const A* k1, const A* k2, T* dx, bool accumulate) {
        auto d = load_some<Part, A, N>(dy, width);
        if constexpr (Relu)
            d = rectified(d, load_some<Part, A, N>(x, width), load_some<Part, A, N>(m, width), load_some<Part, A, N>(a, width), load_some<Part, A, N>(b, width));
        if constexpr (Training)
            d = d - load_some<Part, A, N>(k1, width) -
                (load_some<Part, A, N>(x, width) - load_some<Part, A, N>(m, width)) * load_some<Part, A, N>(k2, width);
        d = d * load_some<Part, A, N>(a, width);
        if (accumulate) d = d + load_some<Part, A, N>(dx, width);
        store_some<Part, A, N>(dx, d, width);
    }
};

// How [outer, channels, inner] is cut: blocks of whole channels, each in `parts` runs of rows. By the shape alone.
struct ChannelPlan {
    long outer, channels, inner;
    bool columns;
    long width;      // channels per block
    long blocks, parts, rows;
    long per_task;   // blocks per task where there is one part

    constexpr ChannelPlan(long o, long c, long i) : outer(o), channels(c), inner(i), columns(i < plane_short), width(1), blocks(0), parts(1), rows(o), per_task(1) {
        if (columns && inner > 0) width = column_block / inner;
        if (outer <= 0 || channels <= 0 || inner <= 0) return;
        if (width > channels) width = channels;
        blocks = (channels + width - 1) / width;
        const long elements = outer * inner * width;
        if (blocks < 8 && elements > 131072) parts = elements / 65536 < channel_parts ? elements / 65536 : channel_parts;
        if (parts > outer) parts = outer;
        rows = (outer + parts - 1) / parts;
        parts = (outer + rows - 1) / rows;
        per_task = norm_task / elements > 0 ? norm_task / elements : 1;
    }
    long first_channel(long block) const { return block * width; }
    long channel_count(long block) const { return channels - block * width < width ? channels - block * width : width; }
    long first_row(long part) const { return part * rows; }
    long row_count(long part) const { return outer - part * rows < rows ? outer - part * rows : rows; }

    // sums(block, part) for all parts, then finish(block), then apply(block, part): while a block is in cache, if it has
    // one part only.
    template <class Sums, class Finish, class Apply>
    void run(Sums&& sums, Finish&& finish, Apply&& apply) const {
        if (parts == 1) {
            parallel_for((blocks + per_task - 1) / per_task, [&](long task) {
                for (long block = task * per_task; block < (task + 1) * per_task && block < blocks; ++block) {
                    sums(block, 0);
                    finish(block);
                    apply(block, 0);
                }
            });
            return;
        }
        parallel_for(blocks * parts, [&](long task) { sums(task / parts, task % parts); });
        for (long block = 0; block < blocks; ++block) finish(block);
        parallel_for(blocks * parts, [&](long task) { apply(task / parts, task % parts); });
    }
};

// One number per column, from one per channel.
template <class A>
struct ColumnNumbers {
    A value[column_block];
    template <class F>
    ColumnNumbers(long channels, long inner, F&& of_channel) {
        for (long c = 0; c < channels; ++c) {
            const A v = of_channel(c);
            for (long i = 0; i < inner; ++i) value[c * inner + i] = v;
        }
    }
};

template <class T>
void channel_apply(const ChannelPlan& plan, long block, long part, const T* x, const T* weight, const T* bias, const accumulator<T>* mean,
                   const accumulator<T>* rstd, accumulator<T> low, T* y) {
    using A = accumulator<T>;
    const long c0 = plan.first_channel(block), count = plan.channel_count(block), stride = plan.channels * plan.inner;
    const long at = plan.first_row(part) * stride + c0 * plan.inner, rows = plan.row_count(part);
    const auto factor = [&](long c) { return weight != nullptr ? rstd[c0 + c] * static_cast<A>(weight[c0 + c]) : rstd[c0 + c]; };
    const auto shift = [&](long c) { return bias != nullptr ? static_cast<A>(bias[c0 + c]) : A(0); };
    if (plan.columns) {
        const ColumnNumbers<A> m(count, plan.inner, [&](long c) { return mean[c0 + c]; }), a(count, plan.inner, factor), b(count, plan.inner, shift);
        dispatch<ColumnApplyBody, reduce_isa>(rows, stride, count * plan.inner, x + at, m.value, a.value, b.value, low, y + at);
    } else {
        for (long c = 0; c < count; ++c)
            dispatch<PlaneApplyBody, reduce_isa>(rows, stride, plan.inner, x + at + c * plan.inner, mean[c0 + c], factor(c), shift(c), low, y + at + c * plan.inner);
    }
}

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

// Elements (double) of workspace for batch_norm and batch_norm_backward.
constexpr long batch_norm_workspace(long outer, long channels, long inner) {
    return 2 * channels * impl::ChannelPlan(outer, channels, inner).parts;
}
// Every channel of x [outer, channels, inner] to zero mean and unit variance: y = (x - mean) * rstd * weight + bias with
// rstd = 1 / sqrt(variance + eps); weight and bias [channels] may be null. Writes mean, variance (squared distances divided by
// outer * inner) and rstd [channels]. What is less than `low` becomes that: 0 for a relu that follows. y may be x. T: float, double,
// bf16, half.
template <class T>
void batch_norm(long outer, long channels, long inner, const T* x, const T* weight, const T* bias, double eps, T* y, accumulator<T>* mean,
                accumulator<T>* variance, accumulator<T>* rstd, double* workspace, accumulator<T> low = -__builtin_inff()) {
    using A = accumulator<T>;
    using impl::ChannelSum;
    const impl::ChannelPlan plan(outer, channels, inner);
    const long stride = channels * inner;
    plan.run(
        [&](long block, long part) {
            const long c0 = plan.first_channel(block), count = plan.channel_count(block), rows = plan.row_count(part);
            const T* from = x + plan.first_row(part) * stride + c0 * inner;
            double* out = workspace + 2 * (part * channels + c0);  // mean and squares of this part
            const double points = static_cast<double>(rows * inner);
            double ignored[impl::column_block], sum[impl::column_block];
            if (plan.columns) {
                const impl::ColumnNumbers<A> zero(count, inner, [](long) { return A(0); });
                dispatch<impl::ColumnSumsBody<ChannelSum::values>, impl::reduce_isa>(rows, stride, count * inner, from, from, zero.value, zero.value, zero.value, sum, ignored);
                for (long c = 0; c < count; ++c) {
                    double total = 0;
                    for (long i = 0; i < inner; ++i) total += sum[c * inner + i];
                    out[2 * c] = static_cast<double>(static_cast<A>(total / points));
                }
                const impl::ColumnNumbers<A> m(count, inner, [&](long c) { return static_cast<A>(out[2 * c]); });
                dispatch<impl::ColumnSumsBody<ChannelSum::squares>, impl::reduce_isa>(rows, stride, count * inner, from, from, m.value, m.value, m.value, sum, ignored);
                for (long c = 0; c < count; ++c) {
                    double total = 0;
                    for (long i = 0; i < inner; ++i) total += sum[c * inner + i];
                    out[2 * c + 1] = total;
                }
                return;
            }
            for (long c = 0; c < count; ++c) dispatch<impl::PlaneMomentsBody, impl::reduce_isa>(rows, stride, inner, from + c * inner, out + 2 * c);
        },
        [&](long block) {
            for (long c = plan.first_channel(block); c < plan.first_channel(block) + plan.channel_count(block); ++c) {
                // Parts are merged by their means (Chan, Golub, LeVeque 1979).
                double seen = 0, m = 0, squares = 0;
                for (long part = 0; part < plan.parts; ++part) {
                    const double points = static_cast<double>(plan.row_count(part) * inner), total = seen + points;
                    const double apart = workspace[2 * (part * channels + c)] - m;
                    m += apart * points / total;
                    squares += workspace[2 * (part * channels + c) + 1] + apart * apart * seen * points / total;
                    seen = total;
                }
                mean[c] = static_cast<A>(m);
                variance[c] = static_cast<A>(squares / seen);
                rstd[c] = static_cast<A>(1 / __builtin_sqrt(squares / seen + eps));
            }
        },
        [&](long block, long part) { impl::channel_apply(plan, block, part, x, weight, bias, mean, rstd, low, y); });
}
// The same with statistics that are given: mean and rstd [channels].
template <class T>
void batch_norm_with(long outer, long channels, long inner, const T* x, const T* weight, const T* bias, const accumulator<T>* mean,
                     const accumulator<T>* rstd, T* y, accumulator<T> low = -__builtin_inff()) {
    const impl::ChannelPlan plan(outer, channels, inner);
    plan.run([](long, long) {}, [](long) {}, [&](long block, long part) { impl::channel_apply(plan, block, part, x, weight, bias, mean, rstd, low, y); });
}
// With Training (the statistics were those of x): dx = weight * rstd * (dy - mean(dy) - normal * mean(dy * normal)) where
// normal = (x - mean) * rstd; else dx = weight * rstd * dy. dweight = sum of dy * normal, dbias = sum of dy. dx, dweight and
// dbias may be null. The flags say whether they are added to. Relu (the forward pass had low = 0): dy counts where the result
// was above 0, which x, weight and bias say again.
template <bool Training, bool Relu = false, class T>
void batch_norm_backward(long outer, long channels, long inner, const T* x, const T* weight, const T* bias, const accumulator<T>* mean, const accumulator<T>* rstd,
                         const T* dy, T* dx, bool add_dx, T* dweight, bool add_dweight, T* dbias, bool add_dbias, double* workspace) {
    using A = accumulator<T>;
    using impl::ChannelSum;
    const impl::ChannelPlan plan(outer, channels, inner);
    const long stride = channels * inner;
    const bool summed = Training || dweight != nullptr || dbias != nullptr;
    const double points = static_cast<double>(outer * inner);
    constexpr ChannelSum kind = Relu ? ChannelSum::rectified : ChannelSum::gradients;
    const auto factor_of = [&](long c) { return weight != nullptr ? rstd[c] * static_cast<A>(weight[c]) : rstd[c]; };
    const auto shift_of = [&](long c) { return Relu && bias != nullptr ? static_cast<A>(bias[c]) : A(0); };
    const auto put = [](T* to, double value, bool add) { *to = static_cast<T>(static_cast<A>(add ? static_cast<double>(static_cast<A>(*to)) + value : value)); };
    if (plan.blocks == 0)
        for (long c = 0; c < channels; ++c) {
            if (dweight != nullptr) put(dweight + c, 0, add_dweight);
            if (dbias != nullptr) put(dbias + c, 0, add_dbias);
        }
    plan.run(
        [&](long block, long part) {
            if (!summed) return;
            const long c0 = plan.first_channel(block), count = plan.channel_count(block), rows = plan.row_count(part);
            const long at = plan.first_row(part) * stride + c0 * inner;
            double* out = workspace + 2 * (part * channels + c0);
            if (!plan.columns) {
                for (long c = 0; c < count; ++c)
                    dispatch<impl::PlaneSumsBody<kind>, impl::reduce_isa>(rows, stride, inner, x + at + c * inner, dy + at + c * inner, mean[c0 + c], out + 2 * c, stride,
                                                                          factor_of(c0 + c), shift_of(c0 + c));
                return;
            }
            double first[impl::column_block], second[impl::column_block];
            const impl::ColumnNumbers<A> m(count, inner, [&](long c) { return mean[c0 + c]; }), a(count, inner, [&](long c) { return factor_of(c0 + c); }),
                b(count, inner, [&](long c) { return shift_of(c0 + c); });
            dispatch<impl::ColumnSumsBody<kind>, impl::reduce_isa>(rows, stride, count * inner, x + at, dy + at, m.value, a.value, b.value, first, second);
            for (long c = 0; c < count; ++c) {
                out[2 * c] = out[2 * c + 1] = 0;
                for (long i = 0; i < inner; ++i) {
                    out[2 * c] += first[c * inner + i];
                    out[2 * c + 1] += second[c * inner + i];
                }
            }
        },
        [&](long block) {
            if (!summed) return;
            for (long c = plan.first_channel(block); c < plan.first_channel(block) + plan.channel_count(block); ++c) {
                double first = 0, second = 0;
                for (long part = 0; part < plan.parts; ++part) {
                    first += workspace[2 * (part * channels + c)];
                    second += workspace[2 * (part * channels + c) + 1];
                }
                const double r = static_cast<double>(rstd[c]);
                if (dweight != nullptr) put(dweight + c, second * r, add_dweight);
                if (dbias != nullptr) put(dbias + c, first, add_dbias);
                workspace[2 * c] = first / points;
                workspace[2 * c + 1] = second * r * r / points;
            }
        },
        [&](long block, long part) {
            if (dx == nullptr) return;
            const long c0 = plan.first_channel(block), count = plan.channel_count(block), rows = plan.row_count(part);
            const long at = plan.first_row(part) * stride + c0 * inner;
            const auto factor = [&](long c) { return factor_of(c0 + c); };
            const auto shift = [&](long c) { return shift_of(c0 + c); };
            const auto first = [&](long c) { return Training ? static_cast<A>(workspace[2 * (c0 + c)]) : A(0); };
            const auto second = [&](long c) { return Training ? static_cast<A>(workspace[2 * (c0 + c) + 1]) : A(0); };
            if (!plan.columns) {
                for (long c = 0; c < count; ++c)
                    dispatch<impl::PlaneGradientBody<Training, Relu>, impl::reduce_isa>(rows, stride, inner, x + at + c * inner, dy + at + c * inner, mean[c0 + c],
                                                                                        factor(c), shift(c), first(c), second(c), dx + at + c * inner, add_dx);
                return;
            }
            const impl::ColumnNumbers<A> m(count, inner, [&](long c) { return mean[c0 + c]; }), a(count, inner, factor), b(count, inner, shift),
                k1(count, inner, first), k2(count, inner, second);
            dispatch<impl::ColumnGradientBody<Training, Relu>, impl::reduce_isa>(rows, stride, count * inner, x + at, dy + at, m.value, a.value, b.value, k1.value,
                                                                                 k2.value, dx + at, add_dx);
        });
}

// running[c * stride] = (1 - momentum) * itself + momentum * factor * now[c].
template <class T>
void move_running(long channels, const accumulator<T>* now, double momentum, double factor, T* running, long stride) {
    using A = accumulator<T>;
    const double keep = 1 - momentum;
    for (long c = 0; c < channels; ++c) {
        T& r = running[c * stride];
        r = static_cast<T>(static_cast<A>(keep * static_cast<double>(static_cast<A>(r)) + momentum * factor * static_cast<double>(now[c])));
    }
}
// mean and rstd for batch_norm_with, from running statistics.
template <class T>
void read_running(long channels, const T* running_mean, long mean_stride, const T* running_variance, long variance_stride, double eps, accumulator<T>* mean,
                  accumulator<T>* rstd) {
    using A = accumulator<T>;
    for (long c = 0; c < channels; ++c) {
        mean[c] = static_cast<A>(running_mean[c * mean_stride]);
        rstd[c] = static_cast<A>(1 / __builtin_sqrt(static_cast<double>(static_cast<A>(running_variance[c * variance_stride])) + eps));
    }
}

#if defined(TENON_KERNEL_INSTANCE)
#define TENON_BATCH_NORM_BACKWARD_INSTANCE(T, Training, Relu)                                                                             \
    TENON_KERNEL_INSTANCE void batch_norm_backward<Training, Relu, T>(long, long, long, const T*, const T*, const T*, const T*, const T*, \
                                                                      const T*, T*, bool, T*, bool, T*, bool, double*);
#define TENON_BATCH_NORM_INSTANCES(T)                                                                                                     \
    TENON_KERNEL_INSTANCE void batch_norm<T>(long, long, long, const T*, const T*, const T*, double, T*, T*, T*, T*, double*, T);         \
    TENON_KERNEL_INSTANCE void batch_norm_with<T>(long, long, long, const T*, const T*, const T*, const T*, const T*, T*, T);             \
    TENON_BATCH_NORM_BACKWARD_INSTANCE(T, true, false)                                                                                    \
    TENON_BATCH_NORM_BACKWARD_INSTANCE(T, true, true)                                                                                     \
    TENON_BATCH_NORM_BACKWARD_INSTANCE(T, false, false)                                                                                   \
    TENON_BATCH_NORM_BACKWARD_INSTANCE(T, false, true)
TENON_BATCH_NORM_INSTANCES(float)
TENON_BATCH_NORM_INSTANCES(double)
#undef TENON_BATCH_NORM_INSTANCES
#undef TENON_BATCH_NORM_BACKWARD_INSTANCE
#endif

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
