// log(sum(exp(x))) over the middle axis of [outer, n, inner], without overflow. x is read from memory once: a sum belongs to
// the largest element so far, and is scaled when a larger one comes.
#pragma once

#include <tenon/kernels/cpu/fold.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

namespace reference {

template <class T>
void reduce_logsumexp(long outer, long n, long inner, const T* x, T* out) {
    each_output(outer, n, inner, x, [&](long at, const T* p) {
        double largest = -__builtin_inf();
        long double sum = 0;
        for (long k = 0; k < n; ++k) {
            const double v = double(accumulator<T>(p[k * inner]));
            if (v > largest || v != v) largest = v;
        }
        const double shift = largest - largest == 0 ? largest : 0;
        for (long k = 0; k < n; ++k) sum += __builtin_exp(double(accumulator<T>(p[k * inner])) - shift);
        out[at] = T(accumulator<T>(__builtin_log(double(sum)) + shift));
    });
}

}  // namespace reference

namespace impl {

// Exponentials of long rows of floats are worth 16 lanes; comparisons stay at 8 (see reduce_isa).
template <class T>
inline constexpr Isa row_isa = std::is_same_v<T, float> ? Isa::avx512 : reduce_isa;
template <class A, int N>
inline constexpr int fold_lanes = N > 32 / int(sizeof(A)) ? 32 / int(sizeof(A)) : N;

// e^x for x that is at most little above 0, or NaN. What would be subnormal is 0: from -88.1 down the factor 2^n has the bits
// of zero, so that no comparison is needed.
template <class A, int N>
TENON_ALWAYS_INLINE simd<A, N> row_exp(const simd<A, N>& x) {
    if constexpr (std::is_same_v<A, float>) {
        simd<float, N> r;
        const auto n = math::impl::reduce_exp<127>(math::impl::at_least(x, -88.1f), r);
        return (math::impl::expm1_near_zero(r) + simd<float, N>(1.f)) * math::impl::power_of_two(n);
    } else {
        return math::exp(x);
    }
}

// From `one + k` on, N numbers of which the last k are 1 and the others 0.
template <class A, int N>
struct LastLanes {
    A one[2 * N];
    constexpr LastLanes() : one() {
        for (int i = 0; i < N; ++i) one[N + i] = A(1);
    }
};
template <class A, int N>
inline constexpr LastLanes<A, N> last_lanes;

// Sum of exp(x - m) over a row of at least N elements; with Store, the exponentials go to y. Asks for what lies behind, which is
// the next row as a rule: memory would wait while this one is in L1.
template <bool Store, class A, int N, class T>
TENON_ALWAYS_INLINE double row_exponentials(const T* x, long n, A largest, T* y) {
    using V = simd<A, N>;
    const V m(largest);
    // The last vector overlaps the one before it; it is read before y, which may be x, is written.
    const V last = load_lanes<A, N>(x + n - N);
    double total = 0;
    for (long begin = 0; begin < n; begin += fold_block) {
        const long end = begin + fold_block < n ? begin + fold_block : n;
        V a(0), b(0);
        long i = begin;
        for (; i + 2 * N <= end; i += 2 * N) {
            prefetch_ahead<2 * N>(x + n + i);
            const V e = row_exp(load_lanes<A, N>(x + i) - m), f = row_exp(load_lanes<A, N>(x + i + N) - m);
            if constexpr (Store) {
                store_lanes<A, N>(y + i, e);
                store_lanes<A, N>(y + i + N, f);
            }
            a += e;
            b += f;
        }
        for (; i + N <= end; i += N) {
            const V e = row_exp(load_lanes<A, N>(x + i) - m);
            if constexpr (Store) store_lanes<A, N>(y + i, e);
            a += e;
        }
        if (i < end) {
            const V e = row_exp(last - m);
            if constexpr (Store) store_lanes<A, N>(y + n - N, e);
            // (Exponentials are finite or NaN, and a NaN has been counted.)
            b += e * V::load(last_lanes<A, N>.one + (end - i));
        }
        total += static_cast<double>(reduce_add(a + b));
    }
    return total;
}

// The sum of exponentials of some numbers, relative to the largest of them. Where that is not finite it is the result, and
// the sum means nothing.
struct ExponentialSum {
    double top = -__builtin_inf(), sum = 0;
    TENON_ALWAYS_INLINE void join(double their_top, double theirs) {
        const double larger = fold_scalars<Fold::max>(top, their_top);
        if (larger - larger == 0) {
            if (top != larger) sum = top - top == 0 ? sum * __builtin_exp(top - larger) : 0;
            if (their_top != larger) theirs = their_top - their_top == 0 ? theirs * __builtin_exp(their_top - larger) : 0;
            sum += theirs;
        }
        top = larger;
    }
};

// out[i] = log(sum[i]) + top[i], or top[i] where that is not finite.
struct LogSumsBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long count, const ExponentialSum* sums, T* out) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        A lane[N] = {};
        for (long i = 0; i < count; i += N) {
            const long here = count - i < N ? count - i : N;
            for (long l = 0; l < here; ++l) lane[l] = static_cast<A>(sums[i + l].sum);
            math::log(simd<A, N>::load(lane)).store(lane);
            for (long l = 0; l < here; ++l) {
                const double top = sums[i + l].top;
                out[i + l] = static_cast<T>(top - top == 0 ? lane[l] + static_cast<A>(top) : static_cast<A>(top));
            }
        }
    }
};

// Items of rows as FoldRowsBody's.
struct LogSumExpRowsBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(const T* x, long n, long part, long parts, long first, long count, ExponentialSum* out) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        using V = simd<A, N>;
        if (n <= fold_short) {
            if constexpr (Lanes <= 8) {
                A in[fold_short * N], tops[N], sums[N];
                for (long i = 0; i < count; i += N) {
                    const long rows = count - i < N ? count - i : N;
                    turn_in<A, N>(rows, n, x + (first + i) * n, in);
                    V top = V::load(in), sum(0);
                    for (long c = 1; c < n; ++c) top = max(top, V::load(in + c * N));
                    for (long c = 0; c < n; ++c) sum += row_exp(V::load(in + c * N) - top);
                    top.store(tops);
                    sum.store(sums);
                    for (long l = 0; l < rows; ++l) out[i + l] = {static_cast<double>(tops[l]), static_cast<double>(sums[l])};
                }
            }
            return;
        }
        for (long item = first; item < first + count; ++item) {
            const long row = item / parts, begin = (item % parts) * part;
            const long end = begin + part < n ? begin + part : n;
            ExponentialSum all;
            for (long at = begin; at < end; at += fold_block) {
                const long length = end - at < fold_block ? end - at : fold_block;
                const T* p = x + row * n + at;
                const A top = fold_contiguous<Fold::max, A, fold_lanes<A, N>>(p, length, A(0));
                all.join(static_cast<double>(top), top - top == 0 ? row_exponentials<false, A, N>(p, length, top, static_cast<T*>(nullptr)) : 0);
            }
            out[item - first] = all;
        }
    }
};

constexpr long logsumexp_width = 1024;  // most columns per task

// Columns [0, width) of `rows` rows that lie `stride` apart, eight rows per visit. A sum is NaN where an element is NaN or
// inf. Where all are -inf it is 0, its top the least number: log(0) is right.
struct LogSumExpColumnsBody {
    template <int Lanes, class T, class A>
    static TENON_ALWAYS_INLINE void run(const T* x, long rows, long stride, long width, A* top, A* sum) {
        constexpr int N = Lanes * 4 / int(sizeof(A));
        for (long j = 0; j < width; j += N) {
            simd<A, N>(std::is_same_v<A, double> ? A(-__DBL_MAX__) : A(-__FLT_MAX__)).store(top + j);
            simd<A, N>(0).store(sum + j);
        }
        for (long r = 0; r < rows; r += 8) {
            const long deep = rows - r < 8 ? rows - r : 8;
            const T* p = x + r * stride;
            long j = 0;
            if (deep == 8)
                for (; j + N <= width; j += N) visit<false, A, N>(p + j, stride, 8, N, top + j, sum + j);
            for (; j + N <= width; j += N) visit<false, A, N>(p + j, stride, deep, N, top + j, sum + j);
            if (j < width) visit<true, A, N>(p + j, stride, deep, width - j, top + j, sum + j);
        }
    }

private:
    template <bool Part, class A, int N, class T>
    static TENON_ALWAYS_INLINE void visit(const T* p, long stride, long deep, long lanes, A* top, A* sum) {
        using V = simd<A, N>;
        const V before = V::load(top);
        V m = before;
        if (!Part) prefetch_visit<8>(p, stride);
        TENON_UNROLL(8)
        for (long r = 0; r < deep; ++r) m = larger(m, load_some<Part, A, N>(p + r * stride, lanes));
        V a(0), b = V::load(sum) * row_exp(before - m);
        TENON_UNROLL(8)
        for (long r = 0; r < deep; ++r) (r % 2 == 0 ? a : b) += row_exp(load_some<Part, A, N>(p + r * stride, lanes) - m);
        m.store(top);
        (a + b).store(sum);
    }
    // (The machine's instruction: a NaN may get lost here, it stays in the sum.)
    template <class A, int N>
    static TENON_ALWAYS_INLINE simd<A, N> larger(const simd<A, N>& a, const simd<A, N>& b) {
        if constexpr (std::is_same_v<A, float> && math::impl::has_min_max<N>) {
            simd<A, N> r;
            math::impl::max_into(r.v, a.v, b.v);
            return r;
        } else {
            return select(b > a, b, a);
        }
    }
};

}  // namespace impl

// log(sum(exp(x))) over the axis, without overflow; an empty axis gives -inf.
template <class T>
void reduce_logsumexp(long outer, long n, long inner, const T* x, T* out) {
    using A = accumulator<T>;
    if (outer <= 0 || inner <= 0) return;
    if (n <= 0) {
        for (long i = 0; i < outer * inner; ++i) out[i] = static_cast<T>(-static_cast<A>(__builtin_inf()));
        return;
    }
    const impl::Scratch<impl::ExponentialSum> all(outer * inner);
    if (inner == 1) {
        const auto join = [](impl::ExponentialSum& sums, const impl::ExponentialSum& more) { sums.join(more.top, more.sum); };
        const auto finish = [&](long row, const impl::ExponentialSum& sums) { all[row] = sums; };
        if (n <= impl::fold_short) impl::fold_each_row<impl::ExponentialSum, impl::LogSumExpRowsBody, impl::reduce_isa>(outer, n, x, 0.4, join, finish);
        else impl::fold_each_row<impl::ExponentialSum, impl::LogSumExpRowsBody, impl::row_isa<T>>(outer, n, x, 0.4, join, finish);
    } else {
        const impl::ColumnTasks tasks(outer, n, inner, impl::logsumexp_width);
        const impl::Scratch<A> tops(outer * tasks.parts * inner), sums(outer * tasks.parts * inner);
        tasks.run(0.4, [&](long o, long p, long first, long rows, long j, long width) {
            // (Whole vectors are written.)
            alignas(64) A top[impl::logsumexp_width], sum[impl::logsumexp_width];
            dispatch<impl::LogSumExpColumnsBody, impl::row_isa<T>>(x + (o * n + first) * inner + j, rows, inner, width, static_cast<A*>(top), static_cast<A*>(sum));
            const long at = (o * tasks.parts + p) * inner + j;
            for (long k = 0; k < width; ++k) {
                if (sum[k] != sum[k]) {
                    // NaN, or inf - inf: the largest element says which.
                    A largest = static_cast<A>(x[(o * n + first) * inner + j + k]);
                    for (long r = 1; r < rows; ++r) largest = impl::fold_scalars<impl::Fold::max>(largest, static_cast<A>(x[(o * n + first + r) * inner + j + k]));
                    top[k] = largest;
                }
                tops[at + k] = top[k];
                sums[at + k] = sum[k];
            }
        });
        parallel_for(outer, 10. * double(outer * tasks.parts) * double(inner), [&](long o) {
            for (long k = 0; k < inner; ++k) {
                impl::ExponentialSum total;
                for (long p = 0; p < tasks.parts; ++p)
                    total.join(static_cast<double>(tops[(o * tasks.parts + p) * inner + k]), static_cast<double>(sums[(o * tasks.parts + p) * inner + k]));
                all[o * inner + k] = total;
            }
        });
    }
    constexpr long piece = 1024;
    parallel_for((outer * inner + piece - 1) / piece, 2. * double(outer) * double(inner), [&](long task) {
        const long first = task * piece, count = outer * inner - first < piece ? outer * inner - first : piece;
        dispatch<impl::LogSumsBody, impl::reduce_isa>(count, static_cast<const impl::ExponentialSum*>(all.data() + first), out + first);
    });
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
