// Variance over the middle axis of [outer, n, inner], and its backward. x is read from memory once.
//
// Rows: a block's mean and its squared distances from it, the second while the block is in L1. Columns: a chunk of rows is
// shifted by the mean of its first eight, which lies no further from the chunk's mean than four of its standard deviations:
// sums of distances and of their squares lose four bits at most. Blocks and chunks are merged by their means, in double
// (Chan, Golub and LeVeque 1979).
#pragma once

#include <tenon/kernels/cpu/fold.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

namespace reference {

template <class T>
void reduce_var(long outer, long n, long inner, const T* x, long correction, T* variance, accumulator<T>* mean) {
    each_output(outer, n, inner, x, [&](long at, const T* p) {
        long double sum = 0, squares = 0;
        for (long k = 0; k < n; ++k) sum += double(accumulator<T>(p[k * inner]));
        const long double m = sum / static_cast<long double>(n);
        for (long k = 0; k < n; ++k) squares += (double(accumulator<T>(p[k * inner])) - m) * (double(accumulator<T>(p[k * inner])) - m);
        variance[at] = T(accumulator<T>(squares / static_cast<long double>(n > correction ? n - correction : 0)));
        mean[at] = accumulator<T>(m);
    });
}

}  // namespace reference

namespace impl {

// Mean and squared distances from it of some numbers, and how to take in more.
struct Moments {
    double count = 0, mean = 0, squares = 0;
    TENON_ALWAYS_INLINE void join(double points, double their_mean, double their_squares) {
        const double total = count + points, apart = their_mean - mean;
        mean += apart * (points / total);
        squares += their_squares + apart * apart * (count * points / total);
        count = total;
    }
};

// Items of rows as FoldRowsBody's.
struct VarRowsBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(const T* x, long n, long part, long parts, long first, long count, Moments* out) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        using V = simd<A, N>;
        if (n <= fold_short) {
            A in[fold_short * N], means[N], squares[N];
            for (long i = 0; i < count; i += N) {
                const long rows = count - i < N ? count - i : N;
                turn_in<A, N>(rows, n, x + (first + i) * n, in);
                V sum(0), q(0);
                for (long c = 0; c < n; ++c) sum += V::load(in + c * N);
                double wide[N];
                sum.store(means);
                for (int l = 0; l < N; ++l) {
                    wide[l] = static_cast<double>(means[l]) / static_cast<double>(n);
                    means[l] = static_cast<A>(wide[l]);
                }
                const V m = V::load(means);
                for (long c = 0; c < n; ++c) {
                    const V d = V::load(in + c * N) - m;
                    q += d * d;
                }
                q.store(squares);
                for (long l = 0; l < rows; ++l) out[i + l] = {static_cast<double>(n), wide[l], from_rounded(n, wide[l], means[l], squares[l])};
            }
            return;
        }
        for (long item = first; item < first + count; ++item) {
            const long row = item / parts, begin = (item % parts) * part;
            const long end = begin + part < n ? begin + part : n;
            Moments all;
            for (long at = begin; at < end; at += fold_block) {
                const long length = end - at < fold_block ? end - at : fold_block;
                const T* p = x + row * n + at;
                const double mean = static_cast<double>(fold_contiguous<Fold::sum, A, N>(p, length, A(0))) / static_cast<double>(length);
                const A m = static_cast<A>(mean);
                // (The next block is asked for: memory would wait while this one is in L1.)
                all.join(static_cast<double>(length), mean, from_rounded(length, mean, m, fold_sums<Fold::squares, A, N, true>(p, length, m)));
            }
            out[item - first] = all;
        }
    }
    // The distances were taken from the rounded mean: what that added is known.
    template <class A>
    static TENON_ALWAYS_INLINE double from_rounded(long n, double mean, A rounded, A squares) {
        const double off = mean - static_cast<double>(rounded);
        return static_cast<double>(squares) - static_cast<double>(n) * off * off;
    }
};

constexpr long var_chunk = 128;   // rows that share a shift
constexpr long var_width = 1024;  // most columns per task

// Columns [0, width) of `rows` rows that lie `stride` apart.
struct VarColumnsBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(const T* x, long rows, long stride, long width, double* mean, double* squares) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        alignas(64) A shift[var_width], sum[var_width], square[var_width];
        for (long first = 0; first < rows; first += var_chunk) {
            const long count = rows - first < var_chunk ? rows - first : var_chunk;
            for (long r = 0; r < count; r += 8) {
                const long deep = count - r < 8 ? count - r : 8;
                const T* p = x + (first + r) * stride;
                long j = 0;
                if (deep == 8 && r == 0)
                    for (; j + N <= width; j += N) whole_visit<true, A, N>(p + j, stride, shift + j, sum + j, square + j);
                else if (deep == 8)
                    for (; j + N <= width; j += N) whole_visit<false, A, N>(p + j, stride, shift + j, sum + j, square + j);
                for (; j + N <= width; j += N) visit<false, A, N>(p + j, stride, deep, N, r == 0, shift + j, sum + j, square + j);
                if (j < width) visit<true, A, N>(p + j, stride, deep, width - j, r == 0, shift + j, sum + j, square + j);
            }
            join<A, N>(static_cast<double>(first), static_cast<double>(count), width, shift, sum, square, mean, squares);
        }
    }

private:
    // Eight rows of one vector of columns; the first ones of a chunk make its shift.
    template <bool Fresh, class A, int N, class T>
    static TENON_ALWAYS_INLINE void whole_visit(const T* p, long stride, A* shift, A* sum, A* square) {
        using V = simd<A, N>;
        prefetch_visit<8>(p, stride);
        V s, a(0), b(0), q(0), t(0);
        if constexpr (Fresh) {
            s = ((load_lanes<A, N>(p) + load_lanes<A, N>(p + stride)) + (load_lanes<A, N>(p + 2 * stride) + load_lanes<A, N>(p + 3 * stride))) +
                ((load_lanes<A, N>(p + 4 * stride) + load_lanes<A, N>(p + 5 * stride)) + (load_lanes<A, N>(p + 6 * stride) + load_lanes<A, N>(p + 7 * stride)));
            s = s * V(A(0.125));
            s.store(shift);
        } else {
            s = V::load(shift);
            a = V::load(sum);
            q = V::load(square);
        }
        TENON_UNROLL(4)
        for (int k = 0; k < 8; k += 2) {
            const V d = load_lanes<A, N>(p + k * stride) - s, e = load_lanes<A, N>(p + (k + 1) * stride) - s;
            a += d;
            b += e;
            q += d * d;
            t += e * e;
        }
        (a + b).store(sum);
        (q + t).store(square);
    }
    // Fewer.
    template <bool Part, class A, int N, class T>
    static TENON_ALWAYS_INLINE void visit(const T* p, long stride, long deep, long lanes, bool fresh, A* shift, A* sum, A* square) {
        using V = simd<A, N>;
        V s, a(0), q(0);
        if (fresh) {
            s = load_some<Part, A, N>(p, lanes);
            for (long r = 1; r < deep; ++r) s += load_some<Part, A, N>(p + r * stride, lanes);
            s = s * V(A(1) / static_cast<A>(deep));
            s.store(shift);
        } else {
            s = V::load(shift);
            a = V::load(sum);
            q = V::load(square);
        }
        for (long r = 0; r < deep; ++r) {
            const V d = load_some<Part, A, N>(p + r * stride, lanes) - s;
            a += d;
            q += d * d;
        }
        a.store(sum);
        q.store(square);
    }
    template <class A, int N>
    static TENON_ALWAYS_INLINE void join(double seen, double count, long width, const A* shift, const A* sum, const A* square, double* mean, double* squares) {
        using D = simd<double, N>;
        const double total = seen + count;
        const D share(1 / count), weight(count / total), apart_weight(seen * count / total);
        for (long j = 0; j < width; j += N) {
            const D a = convert<double>(simd<A, N>::load(sum + j)), q = convert<double>(simd<A, N>::load(square + j));
            const D m = convert<double>(simd<A, N>::load(shift + j)) + a * share, own = q - a * a * share;
            if (seen == 0) {
                m.store(mean + j);
                own.store(squares + j);
                continue;
            }
            const D before = D::load(mean + j), apart = m - before;
            (before + apart * weight).store(mean + j);
            (D::load(squares + j) + (own + apart * apart * apart_weight)).store(squares + j);
        }
    }
};

struct VarBackwardBody {
    template <int Lanes, class T, class A>
    static TENON_ALWAYS_INLINE void run(const T* x, long count, const A* mean, A uniform_mean, const A* factor, A uniform_factor, bool accumulate, T* dx) {
        constexpr int N = Lanes * 4 / int(sizeof(A));
        long i = 0;
        for (; i + N <= count; i += N) step<false, A, N>(x, i, N, mean, uniform_mean, factor, uniform_factor, accumulate, dx);
        if (i < count) step<true, A, N>(x, i, count - i, mean, uniform_mean, factor, uniform_factor, accumulate, dx);
    }
    template <bool Part, class A, int N, class T>
    static TENON_ALWAYS_INLINE void step(const T* x, long i, long count, const A* mean, A uniform_mean, const A* factor, A uniform_factor,
                                         bool accumulate, T* dx) {
        using V = simd<A, N>;
        V m(uniform_mean), f(uniform_factor);
        if (mean != nullptr) m = load_some<Part, A, N>(mean + i, count);
        if (factor != nullptr) f = load_some<Part, A, N>(factor + i, count);
        V r = (load_some<Part, A, N>(x + i, count) - m) * f;
        if (accumulate) r = r + load_some<Part, A, N>(dx + i, count);
        store_some<Part, A, N>(dx + i, r, count);
    }
};

}  // namespace impl

// Variance over the axis, divided by n - correction, and the mean (null: not wanted). NaN where n <= correction.
template <class T>
void reduce_var(long outer, long n, long inner, const T* x, long correction, T* variance, accumulator<T>* mean) {
    using A = accumulator<T>;
    if (outer <= 0 || inner <= 0) return;
    const double divisor = static_cast<double>(n > correction ? n - correction : 0);
    const auto finish = [&](long at, double their_mean, double squares) {
        if (mean != nullptr) mean[at] = static_cast<A>(their_mean);
        variance[at] = static_cast<T>(static_cast<A>((squares < 0 ? 0 : squares) / divisor));
    };
    if (n <= 0) {
        for (long i = 0; i < outer * inner; ++i) finish(i, __builtin_nan(""), __builtin_nan(""));
        return;
    }
    if (inner == 1) {
        impl::fold_each_row<impl::Moments, impl::VarRowsBody, impl::reduce_isa>(
            outer, n, x, 0.15, [](impl::Moments& all, const impl::Moments& more) { all.join(more.count, more.mean, more.squares); },
            [&](long row, const impl::Moments& m) { finish(row, m.mean, m.squares); });
        return;
    }
    const impl::ColumnTasks tasks(outer, n, inner, impl::var_width);
    const impl::Scratch<double> means(tasks.parts > 1 ? outer * tasks.parts * inner : 0), squares(tasks.parts > 1 ? outer * tasks.parts * inner : 0);
    tasks.run(0.15, [&](long o, long p, long first, long rows, long j, long width) {
        // (Whole vectors are written.)
        alignas(64) double m[impl::var_width], q[impl::var_width];
        dispatch<impl::VarColumnsBody, impl::reduce_isa>(x + (o * n + first) * inner + j, rows, inner, width, static_cast<double*>(m), static_cast<double*>(q));
        for (long k = 0; k < width; ++k) {
            if (tasks.parts == 1) {
                finish(o * inner + j + k, m[k], q[k]);
            } else {
                means[(o * tasks.parts + p) * inner + j + k] = m[k];
                squares[(o * tasks.parts + p) * inner + j + k] = q[k];
            }
        }
    });
    if (tasks.parts == 1) return;
    for (long o = 0; o < outer; ++o)
        for (long k = 0; k < inner; ++k) {
            impl::Moments all;
            for (long p = 0; p < tasks.parts; ++p) {
                const long at = (o * tasks.parts + p) * inner + k;
                all.join(static_cast<double>(tasks.rows(p)), means[at], squares[at]);
            }
            finish(o * inner + k, all.mean, all.squares);
        }
}

// Backward of the variance: dx = 2 (x - mean) / (n - correction) * dy; accumulate adds to dx.
template <class T>
void reduce_var_backward(long outer, long n, long inner, const T* x, const accumulator<T>* mean, const T* dy, long correction,
                         T* dx, bool accumulate) {
    using A = accumulator<T>;
    if (outer <= 0 || n <= 0 || inner <= 0) return;
    const A scale = static_cast<A>(2. / double(n > correction ? n - correction : 0));
    if (inner == 1) {
        long group = 32768 / n;
        if (group < 1) group = 1;
        parallel_for((outer + group - 1) / group, [&](long task) {
            const long last = (task + 1) * group < outer ? (task + 1) * group : outer;
            for (long o = task * group; o < last; ++o)
                dispatch<impl::VarBackwardBody, impl::reduce_isa>(x + o * n, n, static_cast<const A*>(nullptr), mean[o], static_cast<const A*>(nullptr),
                                                           scale * static_cast<A>(dy[o]), accumulate, dx + o * n);
        });
        return;
    }
    const impl::Scratch<A> factor(outer * inner);
    for (long i = 0; i < outer * inner; ++i) factor[i] = scale * static_cast<A>(dy[i]);
    const long rows = inner >= 32768 ? 1 : 32768 / inner, per = (n + rows - 1) / rows;
    parallel_for(outer * per, [&](long task) {
        const long o = task / per, first = task % per * rows, last = first + rows < n ? first + rows : n;
        for (long r = first; r < last; ++r)
            dispatch<impl::VarBackwardBody, impl::reduce_isa>(x + (o * n + r) * inner, inner, mean + o * inner, A(0),
                                                       static_cast<const A*>(factor.data() + o * inner), A(0), accumulate, dx + (o * n + r) * inner);
    });
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
