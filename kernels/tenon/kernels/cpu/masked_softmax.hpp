// Softmax and log-softmax over the elements that a mask keeps, forward and backward.
//
// A hidden element has probability 0 (logarithm -inf) and gets a zero gradient, whatever it holds: it is chosen away, not
// multiplied by zero. So does a row of which nothing is kept. Backward knows hidden elements by their output.
#pragma once

#include <tenon/kernels/cpu/softmax.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

namespace reference {

// The plain versions, in double; the mask has the sizes of x.
template <bool Log, class T>
void masked_softmax(long outer, long n, long inner, const T* x, const bool* mask, T* y) {
    using A = accumulator<T>;
    for (long o = 0; o < outer; ++o)
        for (long i = 0; i < inner; ++i) {
            const long at = o * n * inner + i;
            double largest = -__builtin_inf(), sum = 0;
            for (long k = at; k < at + n * inner; k += inner)
                if (mask[k] && (double(A(x[k])) > largest || A(x[k]) != A(x[k]))) largest = double(A(x[k]));
            for (long k = at; k < at + n * inner; k += inner)
                if (mask[k]) sum += __builtin_exp(double(A(x[k])) - largest);
            for (long k = at; k < at + n * inner; k += inner) {
                const double d = double(A(x[k])) - largest;
                const bool hidden = !mask[k] || largest == -__builtin_inf();
                y[k] = T(A(hidden ? (Log ? -__builtin_inf() : 0) : Log ? d - __builtin_log(sum) : __builtin_exp(d) / sum));
            }
        }
}

}  // namespace reference

namespace impl {

// N truth values of a mask that goes `step` (0 or 1) for each element.
template <bool Part, class A, int N>
TENON_ALWAYS_INLINE typename simd<A, N>::Mask load_mask(const bool* mask, long step, long count) {
    using Lane = typename simd<A, N>::Mask::Lane;
    using V = simd<Lane, N>;
    if (step == 0) return V(Lane(*mask)) != V(0);
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(mask);
    if constexpr (Part) {
        std::uint8_t lane[N] = {};
        __builtin_memcpy(lane, bytes, static_cast<unsigned long>(count));
        return convert<Lane>(simd<std::uint8_t, N>::load(lane)) != V(0);
    } else {
        (void)count;
        return convert<Lane>(simd<std::uint8_t, N>::load(bytes)) != V(0);
    }
}

// Calls f(part, offset, lanes) for the vectors of n elements; the last may be a part.
template <int N, class F>
TENON_ALWAYS_INLINE void for_vectors(long n, F&& f) {
    long c = 0;
    for (; c + N <= n; c += N) f(std::false_type{}, c, static_cast<long>(N));
    if (c < n) f(std::true_type{}, c, n - c);
}

template <bool Log>
struct MaskedRowsBody {
    // Row r of x begins its mask at masks + offsets[r].
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long rows, long n, const T* x, const bool* masks, const long* offsets, long step, T* y) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        using V = simd<A, N>;
        const V none(-A(__builtin_inf()));
        for (long r = 0; r < rows; ++r) {
            const T* from = x + r * n;
            T* to = y + r * n;
            const bool* mask = masks + offsets[r];
            V m = none;
            for_vectors<N>(n, [&](auto part, long c, long count) {
                m = max(m, select(load_mask<part.value, A, N>(mask + c * step, step, count), load_some<part.value, A, N>(from + c, count), none));
            });
            A lane[N];
            m.store(lane);
            A largest = lane[0];
            for (int l = 1; l < N; ++l) largest = fold_scalars<Fold::max>(largest, lane[l]);
            if (largest == -A(__builtin_inf())) {
                for (long c = 0; c < n; ++c) to[c] = static_cast<T>(Log ? -A(__builtin_inf()) : A(0));
                continue;
            }
            const V top(largest);
            double total = 0;
            for (long begin = 0; begin < n; begin += fold_block) {
                const long width = begin + fold_block < n ? fold_block : n - begin;
                V sum(0);
                for_vectors<N>(width, [&](auto part, long i, long count) {
                    const long c = begin + i;
                    const auto kept = load_mask<part.value, A, N>(mask + c * step, step, count);
                    V e = select(kept, row_exp(load_some<part.value, A, N>(from + c, count) - top), V(0));
                    if constexpr (part.value) e = select(lane_numbers<A, N>() < V(A(count)), e, V(0));
                    sum += e;
                });
                total += static_cast<double>(reduce_add(sum));
            }
            const V factor(A(1 / total)), logs(Log ? A(math::log(total)) : A(0)), zero(0);
            for_vectors<N>(n, [&](auto part, long c, long count) {
                const auto kept = load_mask<part.value, A, N>(mask + c * step, step, count);
                const V d = load_some<part.value, A, N>(from + c, count) - top;
                V v;
                if constexpr (Log) v = select(kept, d - logs, none);
                else v = select(kept, row_exp(d) * factor, zero);
                store_some<part.value, A, N>(to + c, v, count);
            });
        }
    }
};
// `width` neighbouring rows of [n, inner], lanes along inner; the mask has the sizes of x.
template <bool Log>
struct MaskedAxisBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long n, long inner, long width, const T* x, const bool* mask, T* y) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        using V = simd<A, N>;
        for_vectors<N>(width, [&](auto part, long j, long count) {
            constexpr bool P = part.value;
            const V none(-A(__builtin_inf())), zero(0);
            V m = none, sum(0);
            for (long k = j; k < n * inner; k += inner) m = max(m, select(load_mask<P, A, N>(mask + k, 1, count), load_some<P, A, N>(x + k, count), none));
            const auto empty = m == none;
            for (long k = j; k < n * inner; k += inner)
                sum += select(load_mask<P, A, N>(mask + k, 1, count), row_exp(load_some<P, A, N>(x + k, count) - m), zero);
            const V factor = V(1) / sum, logs = Log ? math::log(sum) : zero;
            for (long k = j; k < n * inner; k += inner) {
                const V d = load_some<P, A, N>(x + k, count) - m;
                const V hidden = Log ? none : zero;
                V v;
                if constexpr (Log) v = d - logs;
                else v = row_exp(d) * factor;
                store_some<P, A, N>(y + k, select(empty, hidden, select(load_mask<P, A, N>(mask + k, 1, count), v, hidden)), count);
            }
        });
    }
};

template <bool Log>
struct MaskedBackward {
    // What hides an element, its part of the sum, and its gradient.
    template <class V>
    static TENON_ALWAYS_INLINE auto hidden(const V& y) {
        if constexpr (Log) return y == V(-typename V::Scalar(__builtin_inf()));
        else return y == V(0);
    }
    template <class V>
    static TENON_ALWAYS_INLINE V term(const V& y, const V& dy) {
        if constexpr (Log) return select(hidden(y), V(0), dy);
        else return select(hidden(y), V(0), dy * y);
    }
    template <class V>
    static TENON_ALWAYS_INLINE V value(const V& y, const V& dy, const V& sum) {
        if constexpr (Log) return select(hidden(y), V(0), dy - row_exp(y) * sum);
        else return select(hidden(y), V(0), y * (dy - sum));
    }
};
template <bool Log>
struct MaskedRowsBackwardBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long rows, long n, const T* y, const T* dy, T* dx, bool accumulate) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        using V = simd<A, N>;
        for (long r = 0; r < rows; ++r) {
            const T *p = y + r * n, *q = dy + r * n;
            T* to = dx + r * n;
            double total = 0;
            for (long begin = 0; begin < n; begin += fold_block) {
                V sum(0);
                for_vectors<N>(begin + fold_block < n ? fold_block : n - begin, [&](auto part, long i, long count) {
                    // Lanes beyond the row hold zero in dy.
                    sum += MaskedBackward<Log>::term(load_some<part.value, A, N>(p + begin + i, count), load_some<part.value, A, N>(q + begin + i, count));
                });
                total += static_cast<double>(reduce_add(sum));
            }
            const V sum{A(total)};
            for_vectors<N>(n, [&](auto part, long c, long count) {
                V v = MaskedBackward<Log>::value(load_some<part.value, A, N>(p + c, count), load_some<part.value, A, N>(q + c, count), sum);
                if (accumulate) v = v + load_some<part.value, A, N>(to + c, count);
                store_some<part.value, A, N>(to + c, v, count);
            });
        }
    }
};
template <bool Log>
struct MaskedAxisBackwardBody {
    template <int Lanes, class T>
    static TENON_ALWAYS_INLINE void run(long n, long inner, long width, const T* y, const T* dy, T* dx, bool accumulate) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        using V = simd<A, N>;
        for_vectors<N>(width, [&](auto part, long j, long count) {
            constexpr bool P = part.value;
            V sum(0);
            for (long k = j; k < n * inner; k += inner) sum += MaskedBackward<Log>::term(load_some<P, A, N>(y + k, count), load_some<P, A, N>(dy + k, count));
            for (long k = j; k < n * inner; k += inner) {
                V v = MaskedBackward<Log>::value(load_some<P, A, N>(y + k, count), load_some<P, A, N>(dy + k, count), sum);
                if (accumulate) v = v + load_some<P, A, N>(dx + k, count);
                store_some<P, A, N>(dx + k, v, count);
            }
        });
    }
};

}  // namespace impl

// y = softmax (with Log: its logarithm) of rows x [rows, n] over the elements that are kept: true at masks[offsets[r] + k * step]
// for element k of row r, step 0 or 1. Hidden elements give 0 (-inf), as do rows of which nothing above -inf is kept.
template <bool Log, class T>
void masked_softmax_rows(long rows, long n, const T* x, const bool* masks, const long* offsets, long step, T* y) {
    impl::for_rows(rows, n, [&](long first, long count) {
        dispatch<impl::MaskedRowsBody<Log>, impl::reduce_isa>(count, n, x + first * n, masks, offsets + first, step, y + first * n);
    });
}
// The same over the middle axis of [outer, n, inner], with a mask of these sizes.
template <bool Log, class T>
void masked_softmax(long outer, long n, long inner, const T* x, const bool* mask, T* y) {
    impl::for_axis(outer, n, inner, [&](long at, long width) { dispatch<impl::MaskedAxisBody<Log>, impl::reduce_isa>(n, inner, width, x + at, mask + at, y + at); });
}
// From y alone: the gradient of elements with y = 0 (with Log: -inf) is zero. accumulate adds to dx.
template <bool Log, class T>
void masked_softmax_backward(long outer, long n, long inner, const T* y, const T* dy, T* dx, bool accumulate) {
    if (inner == 1)
        impl::for_rows(outer, n, [&](long first, long count) {
            dispatch<impl::MaskedRowsBackwardBody<Log>, impl::reduce_isa>(count, n, y + first * n, dy + first * n, dx + first * n, accumulate);
        });
    else
        impl::for_axis(outer, n, inner, [&](long at, long width) {
            dispatch<impl::MaskedAxisBackwardBody<Log>, impl::reduce_isa>(n, inner, width, y + at, dy + at, dx + at, accumulate);
        });
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
