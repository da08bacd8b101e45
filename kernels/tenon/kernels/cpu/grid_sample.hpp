// An image read at any points: what spatial transformers do (Jaderberg et al. 2015).
#pragma once

#include <tenon/base/simd_math.hpp>
#include <tenon/kernels/cpu/each.hpp>
#include <tenon/kernels/cpu/pairs.hpp>
#include <tenon/kernels/cpu/reduce.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {

enum class GridMode : unsigned char { bilinear, nearest, bicubic };
// What lies beyond the borders: zeros, the border itself, or the image mirrored.
enum class GridPadding : unsigned char { zeros, border, reflection };

namespace kernels::cpu {

// x [n, c, size...] of 2 or 3 axes (the first of `size` is 1 for 2), grid [n, points, axes] with the last axis' coordinate first,
// each from -1 (the first border, or the first element's centre with align_corners) to 1.
struct GridShape {
    long n = 1, c = 1, size[3] = {1, 1, 1}, points = 0;
    int axes = 2;
    GridMode mode = GridMode::bilinear;
    GridPadding padding = GridPadding::zeros;
    bool align_corners = false;

    TENON_HD long plane() const { return size[0] * size[1] * size[2]; }
    TENON_HD int most_taps() const { return mode == GridMode::nearest ? 1 : mode == GridMode::bicubic ? 16 : axes == 2 ? 4 : 8; }
};

// The elements that a point is made of: where, how much, and how that changes with each of the point's coordinates.
template <class A>
struct GridTaps {
    int count = 0;
    long offset[16];
    A weight[16], slope[3][16];
};

namespace impl {

template <class A>
TENON_FUNCTOR A grid_floor(A v) {
    const A t = static_cast<A>(static_cast<long>(v));
    return t > v ? t - A(1) : t;
}
// A position within the image, and the factor that its derivative gets.
template <class A>
TENON_FUNCTOR A grid_bounded(const GridShape& s, A v, long size, A& slope) {
    if (s.padding == GridPadding::reflection) {
        const A low = s.align_corners ? A(0) : A(-0.5), span = s.align_corners ? static_cast<A>(size - 1) : static_cast<A>(size);
        if (span == A(0)) {
            slope = 0;
            return A(0);
        }
        A apart = v - low;
        if (apart < A(0)) {
            apart = -apart;
            slope = -slope;
        }
        if (!(apart < A(1e9))) apart = 0;  // not finite, or so far that no digit is left
        const A turns = grid_floor(apart / span), rest = apart - turns * span;
        if (static_cast<long>(turns) % 2 == 0) {
            v = rest + low;
        } else {
            v = span - rest + low;
            slope = -slope;
        }
    }
    if (s.padding != GridPadding::zeros) {
        const A last = static_cast<A>(size - 1);
        if (!(v > A(0))) {
            slope = 0;
            return A(0);
        }
        if (v >= last) {
            slope = 0;
            return last;
        }
        return v;
    }
    return v > A(-1e9) && v < A(1e9) ? v : A(-100);
}
// Keys' filter with a = -0.75 for the four neighbours of a point t beyond the second, and its derivative.
template <class A>
TENON_FUNCTOR void grid_cubic(A t, A (&w)[4], A (&dw)[4]) {
    const A a = A(-0.75);
    const auto near = [a](A d) { return ((a + A(2)) * d - (a + A(3))) * d * d + A(1); };
    const auto far = [a](A d) { return ((a * d - A(5) * a) * d + A(8) * a) * d - A(4) * a; };
    const auto near_slope = [a](A d) { return (A(3) * (a + A(2)) * d - A(2) * (a + A(3))) * d; };
    const auto far_slope = [a](A d) { return (A(3) * a * d - A(10) * a) * d + A(8) * a; };
    w[0] = far(t + A(1));
    w[1] = near(t);
    w[2] = near(A(1) - t);
    w[3] = far(A(2) - t);
    dw[0] = far_slope(t + A(1));
    dw[1] = near_slope(t);
    dw[2] = -near_slope(A(1) - t);
    dw[3] = -far_slope(A(2) - t);
}

}  // namespace impl

// The taps of the point at `at`.
template <class T, class A>
TENON_FUNCTOR void grid_taps(const GridShape& s, const T* at, GridTaps<A>& taps) {
    A v[3], slope[3];
    long size[3];
    for (int a = 0; a < s.axes; ++a) {
        size[a] = s.size[2 - a];
        const A g = static_cast<A>(at[a]), n = static_cast<A>(size[a]);
        v[a] = s.align_corners ? (g + A(1)) / A(2) * (n - A(1)) : ((g + A(1)) * n - A(1)) / A(2);
        slope[a] = s.align_corners ? (n - A(1)) / A(2) : n / A(2);
    }
    taps.count = 0;
    const auto inside = [&](int a, long i) { return i >= 0 && i < size[a]; };
    if (s.mode == GridMode::nearest) {
        long offset = 0, scale = 1;
        for (int a = 0; a < s.axes; ++a) {
            const A b = impl::grid_bounded(s, v[a], size[a], slope[a]);
            long i = static_cast<long>(impl::grid_floor(b + A(0.5)));
            if (static_cast<A>(i) - b == A(0.5) && i % 2 != 0) --i;  // to even
            if (!inside(a, i)) return;
            offset += i * scale;
            scale *= size[a];
        }
        taps.count = 1;
        taps.offset[0] = offset;
        taps.weight[0] = 1;
        for (int a = 0; a < s.axes; ++a) taps.slope[a][0] = 0;
        return;
    }
    if (s.mode == GridMode::bicubic) {
        long low[2];
        A w[2][4], dw[2][4];
        for (int a = 0; a < 2; ++a) {
            const A b = v[a] > A(-1e9) && v[a] < A(1e9) ? v[a] : A(-100);
            low[a] = static_cast<long>(impl::grid_floor(b));
            impl::grid_cubic(b - static_cast<A>(low[a]), w[a], dw[a]);
        }
        for (int j = 0; j < 4; ++j)
            for (int i = 0; i < 4; ++i) {
                A none = 1;
                const long x = static_cast<long>(impl::grid_bounded(s, static_cast<A>(low[0] + i - 1), size[0], none));
                const long y = static_cast<long>(impl::grid_bounded(s, static_cast<A>(low[1] + j - 1), size[1], none));
                if (!inside(0, x) || !inside(1, y)) continue;
                taps.offset[taps.count] = y * size[0] + x;
                taps.weight[taps.count] = w[0][i] * w[1][j];
                taps.slope[0][taps.count] = dw[0][i] * w[1][j] * slope[0];
                taps.slope[1][taps.count++] = w[0][i] * dw[1][j] * slope[1];
            }
        return;
    }
    long low[3];
    A part[3];
    for (int a = 0; a < s.axes; ++a) {
        const A b = impl::grid_bounded(s, v[a], size[a], slope[a]);
        low[a] = static_cast<long>(impl::grid_floor(b));
        part[a] = b - static_cast<A>(low[a]);
    }
    for (int corner = 0; corner < 1 << s.axes; ++corner) {
        long offset = 0, scale = 1;
        A weight = 1;
        bool seen = true;
        for (int a = 0; a < s.axes; ++a) {
            const int up = corner >> a & 1;
            seen = seen && inside(a, low[a] + up);
            offset += (low[a] + up) * scale;
            scale *= size[a];
            weight = weight * (up ? part[a] : A(1) - part[a]);
        }
        if (!seen) continue;
        taps.offset[taps.count] = offset;
        taps.weight[taps.count] = weight;
        for (int a = 0; a < s.axes; ++a) {
            A d = corner >> a & 1 ? slope[a] : -slope[a];
            for (int b = 0; b < s.axes; ++b)
                if (b != a) d = d * (corner >> b & 1 ? part[b] : A(1) - part[b]);
            taps.slope[a][taps.count] = d;
        }
        ++taps.count;
    }
}

// The plain steps, which a device runs: an element of y [n, c, points]; a point's gradient; a point's taps as keys and weights.
template <class T>
struct GridSampleStep {
    GridShape s;
    const T *x, *grid;
    T* y;
    TENON_FUNCTOR void operator()(long i) const {
        using A = accumulator<T>;
        const long plane = i / s.points, p = i % s.points, b = plane / s.c;
        GridTaps<A> taps;
        grid_taps(s, grid + (b * s.points + p) * s.axes, taps);
        const T* from = x + plane * s.plane();
        A sum = 0;
        for (int k = 0; k < taps.count; ++k) sum = sum + taps.weight[k] * static_cast<A>(from[taps.offset[k]]);
        y[i] = static_cast<T>(sum);
    }
};
template <class T>
struct GridGradientStep {
    GridShape s;
    const T *x, *grid, *dy;
    T* dgrid;
    bool add;
    TENON_FUNCTOR void operator()(long i) const {
        using A = accumulator<T>;
        const long b = i / s.points, p = i % s.points;
        GridTaps<A> taps;
        grid_taps(s, grid + i * s.axes, taps);
        A sum[3] = {0, 0, 0};
        for (long c = 0; c < s.c; ++c) {
            const T* from = x + (b * s.c + c) * s.plane();
            const A d = static_cast<A>(dy[(b * s.c + c) * s.points + p]);
            for (int k = 0; k < taps.count; ++k) {
                const A v = d * static_cast<A>(from[taps.offset[k]]);
                for (int a = 0; a < s.axes; ++a) sum[a] = sum[a] + taps.slope[a][k] * v;
            }
        }
        for (int a = 0; a < s.axes; ++a) {
            T& to = dgrid[i * s.axes + a];
            to = static_cast<T>(add ? static_cast<A>(to) + sum[a] : sum[a]);
        }
    }
};
// Missing taps get the key n * plane.
template <class T>
struct GridKeysStep {
    GridShape s;
    const T* grid;
    std::int64_t* keys;
    T* weights;
    TENON_FUNCTOR void operator()(long i) const {
        using A = accumulator<T>;
        GridTaps<A> taps;
        grid_taps(s, grid + i * s.axes, taps);
        const int most = s.most_taps();
        for (int k = 0; k < most; ++k) {
            const bool there = k < taps.count;
            keys[i * most + k] = there ? i / s.points * s.plane() + taps.offset[k] : s.n * s.plane();
            weights[i * most + k] = static_cast<T>(there ? taps.weight[k] : A(0));
        }
    }
};

namespace impl {

constexpr long grid_block = 128;  // points whose taps are kept

// The taps of a block of points, tap by tap: what lanes of neighbouring points read. A missing tap has offset -1 and weight 0.
template <class A>
class GridBlock {
public:
    explicit GridBlock(const GridShape& s) : most_(s.most_taps()), offsets_(most_ * grid_block), weights_(most_ * grid_block) {}
    template <class T>
    void fill(const GridShape& s, const T* grid, long count) {
        GridTaps<A> taps;
        for (long p = 0; p < count; ++p) {
            grid_taps(s, grid + p * s.axes, taps);
            for (int k = 0; k < most_; ++k) {
                const bool there = k < taps.count;
                offsets_[k * grid_block + p] = there ? static_cast<std::int32_t>(taps.offset[k]) : -1;
                weights_[k * grid_block + p] = there ? taps.weight[k] : A(0);
            }
        }
    }
    int most() const { return most_; }
    const std::int32_t* offsets() const { return offsets_.data(); }
    const A* weights() const { return weights_.data(); }

private:
    int most_;
    Scratch<std::int32_t> offsets_;
    Scratch<A> weights_;
};

struct GridReadBody {
    template <int Lanes, class A, class T>
    static TENON_ALWAYS_INLINE void run(int most, const std::int32_t* offsets, const A* weights, long count, const T* x, T* y) {
        constexpr int N = Lanes * 4 / int(sizeof(A));
        long p = 0;
        if constexpr (std::is_same_v<T, A>) {
            using V = simd<A, N>;
            using I = simd<std::int32_t, N>;
            for (; p + N <= count; p += N) {
                V sum(0);
                for (int k = 0; k < most; ++k) {
                    const I at = I::load(offsets + k * grid_block + p);
                    const V v = gather_lanes<A, N>(x, max(at, I(0)));
                    sum = select(at >= I(0), sum + V::load(weights + k * grid_block + p) * v, sum);
                }
                sum.store(y + p);
            }
        }
        for (; p < count; ++p) {
            A sum = 0;
            for (int k = 0; k < most; ++k) {
                const std::int32_t at = offsets[k * grid_block + p];
                if (at >= 0) sum = sum + weights[k * grid_block + p] * static_cast<A>(x[at]);
            }
            y[p] = static_cast<T>(sum);
        }
    }
};

}  // namespace impl

// y [n, c, points] = x at the points of the grid. Planes below 2^31 elements.
template <class T>
void grid_sample(const GridShape& s, const T* x, const T* grid, T* y) {
    using A = accumulator<T>;
    const long blocks = (s.points + impl::grid_block - 1) / impl::grid_block, group = 8;
    parallel_for((s.n * blocks + group - 1) / group, [&](long task) {
        impl::GridBlock<A> taps(s);
        for (long block = task * group; block < (task + 1) * group && block < s.n * blocks; ++block) {
            const long b = block / blocks, first = block % blocks * impl::grid_block;
            const long count = s.points - first < impl::grid_block ? s.points - first : impl::grid_block;
            taps.fill(s, grid + (b * s.points + first) * s.axes, count);
            for (long c = 0; c < s.c; ++c)
                dispatch<impl::GridReadBody, impl::reduce_isa>(taps.most(), taps.offsets(), taps.weights(), count, x + (b * s.c + c) * s.plane(),
                                                               y + (b * s.c + c) * s.points + first);
        }
    });
}
// dx (+)= dy spread over the elements that each point was made of. A plane is the work of one task, which takes the points in order.
template <class T>
void grid_sample_backward_input(const GridShape& s, const T* grid, const T* dy, T* dx, bool add) {
    using A = accumulator<T>;
    const long plane = s.plane(), together = 16, groups = (s.c + together - 1) / together;
    if (plane <= 0) return;
    parallel_for(s.n * groups, [&](long task) {
        const long b = task / groups, c0 = task % groups * together, channels = s.c - c0 < together ? s.c - c0 : together;
        constexpr bool direct = std::is_same_v<T, A>;
        const impl::Scratch<A> own(direct ? 1 : channels * plane);
        impl::GridBlock<A> taps(s);
        T* out = dx + (b * s.c + c0) * plane;
        A* to;
        if constexpr (direct) to = out;
        else to = own.data();
        if (!direct || !add) std::memset(static_cast<void*>(to), 0, static_cast<std::size_t>(channels * plane) * sizeof(A));
        for (long first = 0; first < s.points; first += impl::grid_block) {
            const long count = s.points - first < impl::grid_block ? s.points - first : impl::grid_block;
            taps.fill(s, grid + (b * s.points + first) * s.axes, count);
            const std::int32_t* offsets = taps.offsets();
            const A* weights = taps.weights();
            for (long c = 0; c < channels; ++c) {
                const T* from = dy + (b * s.c + c0 + c) * s.points + first;
                A* into = to + c * plane;
                for (int k = 0; k < taps.most(); ++k)
                    for (long p = 0; p < count; ++p) {
                        const std::int32_t at = offsets[k * impl::grid_block + p];
                        if (at >= 0) into[at] += weights[k * impl::grid_block + p] * static_cast<A>(from[p]);
                    }
            }
        }
        if constexpr (!direct)
            for (long i = 0; i < channels * plane; ++i) out[i] = static_cast<T>(add ? static_cast<A>(out[i]) + to[i] : to[i]);
    });
}
// dgrid (+)= the gradient of the points.
template <class T>
void grid_sample_backward_grid(const GridShape& s, const T* x, const T* grid, const T* dy, T* dgrid, bool add) {
    const GridGradientStep<T> step{s, x, grid, dy, dgrid, add};
    const long points = s.n * s.points, blocks = (points + impl::grid_block - 1) / impl::grid_block;
    parallel_for(blocks, [&](long task) {
        for (long i = task * impl::grid_block; i < (task + 1) * impl::grid_block && i < points; ++i) step(i);
    });
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
