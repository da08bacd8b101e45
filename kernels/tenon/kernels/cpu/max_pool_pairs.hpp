// The largest elements of windows of two by two that do not overlap, the pooling of most image classifiers: two rows of the image
// make a row of the result, without a copy of either. Results and positions are those of max_pool.hpp, bit for bit.
#pragma once

#include <tenon/base/parallel.hpp>
#include <tenon/kernels/cpu/fold.hpp>
#include <tenon/kernels/cpu/pairs.hpp>
#include <tenon/kernels/cpu/pool_shape.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace impl {

constexpr long pool_task = 32768;  // elements per task

inline bool is_pairs(const PoolShape& s) {
    for (int i = 1; i < 3; ++i) {
        const PoolAxis& a = s.axes[i];
        if (a.adaptive || a.kernel != 2 || a.stride != 2 || a.padding != 0 || a.dilation != 1 || 2 * a.out > a.in) return false;
    }
    return s.axes[0].kernel == 1 && s.x.size[0] == 1 && s.y.size[0] == 1;
}

// A plane of `rows` rows of n results. x_step, y_step: from one row of x, or of y and position, to the next.
template <bool With>
struct MaxPairsBody {
    template <int Lanes, class T, class P>
    static TENON_ALWAYS_INLINE void run(long rows, long n, const T* x, long x_step, T* y, P* position, long y_step) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        for (long r = 0; r < rows; ++r, x += 2 * x_step, y += y_step) {
            row<A, N>(n, x, x + x_step, y, position);
            if constexpr (With) position += y_step;
        }
    }
    template <class A, int N, class T, class P>
    static TENON_ALWAYS_INLINE void row(long n, const T* above, const T* below, T* y, P* position) {
        if (n >= N) {
            long i = 0;
            for (; i + N <= n; i += N) block<A, N>(above + 2 * i, below + 2 * i, y + i, With ? position + i : position);
            // The last block overlaps the one before it.
            if (i < n) block<A, N>(above + 2 * (n - N), below + 2 * (n - N), y + n - N, With ? position + n - N : position);
        } else if constexpr (N * sizeof(A) > 16) {
            row<A, N / 2>(n, above, below, y, position);
        } else {
            for (long i = 0; i < n; ++i) {
                A best = lowest_value<A>();
                int code = 0;
                const A taps[4] = {static_cast<A>(above[2 * i]), static_cast<A>(above[2 * i + 1]), static_cast<A>(below[2 * i]),
                                   static_cast<A>(below[2 * i + 1])};
                for (int k = 0; k < 4; ++k) {
                    if (!(taps[k] > best) && taps[k] == taps[k]) continue;
                    best = taps[k];
                    code = k;
                }
                y[i] = static_cast<T>(best);
                if constexpr (With) position[i] = static_cast<P>(code);
            }
        }
    }
    template <class A, int N, class T, class P>
    static TENON_ALWAYS_INLINE void block(const T* above, const T* below, T* y, P* position) {
        using V = simd<A, N>;
        using I = simd<std::int32_t, N>;
        V taps[4];
        split_pairs(load_lanes<A, N>(above), load_lanes<A, N>(above + N), taps[0], taps[1]);
        split_pairs(load_lanes<A, N>(below), load_lanes<A, N>(below + N), taps[2], taps[3]);
        V best(lowest_value<A>());
        I code(0);
        TENON_UNROLL(4)
        for (int k = 0; k < 4; ++k) {
            if constexpr (With) {
                const auto wins = (taps[k] > best) | (taps[k] != taps[k]);
                best = select(wins, taps[k], best);
                code = select(wins, I(k), code);
            } else {
                best = max(best, taps[k]);
            }
        }
        if constexpr (With) store_codes(position, code);
        store_lanes<A, N>(y, best);
    }
};

// The gradient of a plane: `rows` rows of n into rows of x that are `width` long.
struct MaxPairsBackwardBody {
    template <int Lanes, class T, class P>
    static TENON_ALWAYS_INLINE void run(long rows, long n, long width, const P* position, long step, const T* dy, T* dx) {
        using A = accumulator<T>;
        constexpr int N = Lanes * 4 / int(sizeof(A));
        for (long r = 0; r < rows; ++r, position += step, dy += n, dx += 2 * width) {
            row<A, N>(n, position, dy, dx, dx + width);
            for (long i = 2 * n; i < width; ++i) dx[i] = dx[width + i] = T(0);
        }
    }
    template <class A, int N, class T, class P>
    static TENON_ALWAYS_INLINE void row(long n, const P* position, const T* dy, T* above, T* below) {
        if (n >= N) {
            long i = 0;
            for (; i + N <= n; i += N) block<A, N>(position + i, dy + i, above + 2 * i, below + 2 * i);
            if (i < n) block<A, N>(position + n - N, dy + n - N, above + 2 * (n - N), below + 2 * (n - N));
        } else if constexpr (N * sizeof(A) > 16) {
            row<A, N / 2>(n, position, dy, above, below);
        } else {
            for (long i = 0; i < n; ++i) {
                const A g = A(0) + static_cast<A>(dy[i]);
                for (int k = 0; k < 2; ++k) {
                    above[2 * i + k] = static_cast<T>(position[i] == k ? g : A(0));
                    below[2 * i + k] = static_cast<T>(position[i] == k + 2 ? g : A(0));
                }
            }
        }
    }
    template <class A, int N, class T, class P>
    static TENON_ALWAYS_INLINE void block(const P* position, const T* dy, T* above, T* below) {
        using V = simd<A, N>;
        // Codes as numbers of the gradient's type, so that its lanes are chosen by a comparison of as many bits. As where several
        // windows may meet, the gradient is added to zero: a negative zero becomes a positive one.
        const V code = load_lanes<A, N>(position), zero(A(0)), g = zero + load_lanes<A, N>(dy);
        V taps[4], first, second;
        TENON_UNROLL(4)
        for (int k = 0; k < 4; ++k) taps[k] = select(code == V(A(k)), g, zero);
        join_pairs(taps[0], taps[1], first, second);
        store_lanes<A, N>(above, first);
        store_lanes<A, N>(above + N, second);
        join_pairs(taps[2], taps[3], first, second);
        store_lanes<A, N>(below, first);
        store_lanes<A, N>(below + N, second);
    }
};

template <class F>
void for_planes(const PoolShape& s, F&& f) {
    const long planes = s.x.n * s.x.c, points = s.x.points();
    long per = points > pool_task ? 1 : pool_task / points;
    parallel_for((planes + per - 1) / per, [&](long task) {
        for (long plane = task * per; plane < (task + 1) * per && plane < planes; ++plane) f(plane, plane / s.x.c, plane % s.x.c);
    });
}

template <bool With, class T, class P>
void max_pool_pairs(const PoolShape& s, const T* x, T* y, P* position) {
    for_planes(s, [&](long, long n, long c) {
        const long at = n * s.y.stride_n + c * s.y.stride_c;
        dispatch<MaxPairsBody<With>, reduce_isa>(s.axes[1].out, s.axes[2].out, x + n * s.x.stride_n + c * s.x.stride_c, s.x.stride[1], y + at,
                                                 With ? position + at : position, s.y.stride[1]);
    });
}
// dx = dy at the positions; dy and dx packed.
template <class T, class P>
void max_pool_pairs_backward(const PoolShape& s, const P* position, const T* dy, T* dx) {
    const PoolAxis &h = s.axes[1], &w = s.axes[2];
    for_planes(s, [&](long plane, long n, long c) {
        T* const to = dx + plane * s.x.points();
        dispatch<MaxPairsBackwardBody, reduce_isa>(h.out, w.out, w.in, position + n * s.y.stride_n + c * s.y.stride_c, s.y.stride[1],
                                                   dy + plane * s.y.points(), to);
        for (long i = 2 * h.out * w.in; i < s.x.points(); ++i) to[i] = T(0);
    });
}

}  // namespace impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
