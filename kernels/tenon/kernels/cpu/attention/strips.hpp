// What happens between the products of attention, on blocks of scores [keys, ld] whose columns are queries: a vector's lanes
// are queries, so that maxima, sums and statistics of a row of the softmax need no sums across lanes.
#pragma once

#include <tenon/kernels/cpu/masked_softmax.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace attention_impl {

using impl::for_vectors;
using impl::load_lanes;
using impl::load_some;
using impl::row_exp;
using impl::store_some;

// rows x columns from anywhere into rows that lie `columns` apart, times `scale`.
struct StageBody {
    template <int Lanes, class T, class A>
    static TENON_ALWAYS_INLINE void run(long rows, long columns, const T* from, long row_stride, long column_stride, A scale, A* to) {
        constexpr int N = Lanes * 4 / int(sizeof(A));
        using V = simd<A, N>;
        for (long r = 0; r < rows; ++r, from += row_stride, to += columns) {
            if (column_stride == 1)
                for_vectors<N>(columns, [&](auto part, long c, long count) {
                    store_some<part.value, A, N>(to + c, load_some<part.value, A, N>(from + c, count) * V(scale), count);
                });
            else
                for (long c = 0; c < columns; ++c) to[c] = static_cast<A>(from[c * column_stride]) * scale;
        }
    }
};

// 0 where a truth value is set, -inf elsewhere (Keep: `scale` and 0), row after row.
template <bool Keep>
struct FlagsBody {
    template <int Lanes, class A>
    static TENON_ALWAYS_INLINE void run(long rows, long columns, const bool* from, long row_stride, long column_stride, A scale, A* to) {
        constexpr int N = Lanes * 4 / int(sizeof(A));
        using V = simd<A, N>;
        const A yes = Keep ? scale : A(0), no = Keep ? A(0) : -A(__builtin_inf());
        for (long r = 0; r < rows; ++r, from += row_stride, to += columns) {
            if (column_stride == 1 || column_stride == 0)
                for_vectors<N>(columns, [&](auto part, long c, long count) {
                    const auto flags = impl::load_mask<part.value, A, N>(from + c * column_stride, column_stride, count);
                    store_some<part.value, A, N>(to + c, select(flags, V(yes), V(no)), count);
                });
            else
                for (long c = 0; c < columns; ++c) to[c] = from[c * column_stride] ? yes : no;
        }
    }
};

// Adds a tile [keys, ld], or (step 0) one value for each key; -inf hides, whatever the score is.
struct AddBiasBody {
    template <int Lanes, class A>
    static TENON_ALWAYS_INLINE void run(long keys, long width, A* scores, long ld, const A* bias, long step) {
        constexpr int N = Lanes * 4 / int(sizeof(A));
        using V = simd<A, N>;
        const V none(-A(__builtin_inf()));
        for (long k = 0; k < keys; ++k)
            for (long c = 0; c < width; c += N) {
                const V add = step == 0 ? V(bias[k]) : V::load(bias + k * step + c);
                select(add == none, none, V::load(scores + k * ld + c) + add).store(scores + k * ld + c);
            }
    }
};

// Hides key k from column c where k >= first + c.
struct CausalBody {
    template <int Lanes, class A>
    static TENON_ALWAYS_INLINE void run(long keys, long width, A* scores, long ld, long first) {
        constexpr int N = Lanes * 4 / int(sizeof(A));
        using V = simd<A, N>;
        const V none(-A(__builtin_inf())), lane = impl::lane_numbers<A, N>();
        for (long c = 0; c < width; c += N) {
            const V seen = lane + V(A(first + c));
            for (long k = first + c < 0 ? 0 : first + c; k < keys; ++k) {
                A* s = scores + k * ld + c;
                select(V(A(k)) < seen, V::load(s), none).store(s);
            }
        }
    }
};

// One more block of keys for `width` queries: scores become exponentials (times `keep`, where there is dropout); the largest
// score and the sum so far are brought up to date, factor is what the results so far are to be multiplied by.
struct SoftmaxStripBody {
    template <int Lanes, class A>
    static TENON_ALWAYS_INLINE void run(long keys, long width, A* scores, long ld, const A* keep, A* largest, A* sums, A* factor) {
        constexpr int N = Lanes * 4 / int(sizeof(A));
        using V = simd<A, N>;
        const V none(-A(__builtin_inf()));
        for (long c = 0; c < width; c += N) {
            A* s = scores + c;
            const V before = V::load(largest + c);
            V tops[4];
            TENON_UNROLL(4)
            for (int u = 0; u < 4; ++u) tops[u] = before;
            long k = 0;
            for (; k + 4 <= keys; k += 4) {
                TENON_UNROLL(4)
                for (int u = 0; u < 4; ++u) {
                    const V x = V::load(s + (k + u) * ld);
                    tops[u] = select(x > tops[u], x, tops[u]);
                }
            }
            for (; k < keys; ++k) {
                const V x = V::load(s + k * ld);
                tops[0] = select(x > tops[0], x, tops[0]);
            }
            tops[0] = select(tops[1] > tops[0], tops[1], tops[0]);
            tops[2] = select(tops[3] > tops[2], tops[3], tops[2]);
            const V top = select(tops[2] > tops[0], tops[2], tops[0]);
            // Nothing seen yet: any finite number will do.
            const V shift = select(top == none, V(0), top);
            const V change = row_exp(before - shift);
            V sum(0);
            if (keep == nullptr)
                for (k = 0; k < keys; ++k) {
                    const V e = row_exp(V::load(s + k * ld) - shift);
                    sum += e;
                    e.store(s + k * ld);
                }
            else
                for (k = 0; k < keys; ++k) {
                    const V e = row_exp(V::load(s + k * ld) - shift);
                    sum += e;
                    (e * V::load(keep + k * ld + c)).store(s + k * ld);
                }
            top.store(largest + c);
            (V::load(sums + c) * change + sum).store(sums + c);
            change.store(factor + c);
        }
    }
};

// Scores become probabilities (times keep), `along` (the products of values with the result's gradient) the scores' gradient.
struct GradientStripBody {
    template <int Lanes, class A>
    static TENON_ALWAYS_INLINE void run(long keys, long width, A* scores, A* along, long ld, const A* keep, const A* lse, const A* delta) {
        constexpr int N = Lanes * 4 / int(sizeof(A));
        using V = simd<A, N>;
        const V zero(0);
        for (long c = 0; c < width; c += N) {
            const V l = V::load(lse + c), d = V::load(delta + c);
            for (long k = 0; k < keys; ++k) {
                A *s = scores + k * ld + c, *g = along + k * ld + c;
                const V p = row_exp(V::load(s) - l);
                V dp = V::load(g);
                if (keep != nullptr) {
                    const V kept = V::load(keep + k * ld + c);
                    (p * kept).store(s);
                    dp *= kept;
                } else {
                    p.store(s);
                }
                select(p == zero, zero, p * (dp - d)).store(g);
            }
        }
    }
};

// rows [rows, width] times a factor each.
struct ScaleRowsBody {
    template <int Lanes, class A>
    static TENON_ALWAYS_INLINE void run(long rows, long width, A* x, const A* factor) {
        constexpr int N = Lanes * 4 / int(sizeof(A));
        using V = simd<A, N>;
        for (long r = 0; r < rows; ++r, x += width) {
            if (factor[r] == A(1)) continue;
            const V f(factor[r]);
            for (long c = 0; c < width; c += N) (V::load(x + c) * f).store(x + c);
        }
    }
};

// Rows out into memory, times a factor (each its own, or factors[0] with step 0), perhaps added to what is there.
struct WriteRowsBody {
    template <int Lanes, class T, class A>
    static TENON_ALWAYS_INLINE void run(long rows, long columns, const A* from, long from_stride, const A* factors, long step, T* to,
                                        long to_stride, bool add) {
        constexpr int N = Lanes * 4 / int(sizeof(A));
        using V = simd<A, N>;
        for (long r = 0; r < rows; ++r, from += from_stride, to += to_stride) {
            const V f(factors[r * step]);
            for_vectors<N>(columns, [&](auto part, long c, long count) {
                V x = load_some<part.value, A, N>(from + c, count) * f;
                if (add) x += load_some<part.value, A, N>(to + c, count);
                store_some<part.value, A, N>(to + c, x, count);
            });
        }
    }
};

// The sum of each row's products of y and dy.
struct DeltaBody {
    template <int Lanes, class T, class A>
    static TENON_ALWAYS_INLINE void run(long rows, long columns, const T* y, const T* dy, long stride, A* delta) {
        constexpr int N = Lanes * 4 / int(sizeof(A));
        for (long r = 0; r < rows; ++r) {
            simd<A, N> sum(0);
            for_vectors<N>(columns, [&](auto part, long c, long count) {
                sum += load_some<part.value, A, N>(y + r * stride + c, count) * load_some<part.value, A, N>(dy + r * stride + c, count);
            });
            delta[r] = reduce_add(sum);
        }
    }
};

}  // namespace attention_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
