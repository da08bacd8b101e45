// An image read at any points on the device (cpu/grid_sample.hpp). The gradient of the image is a sum over the points that read an
// element, of which there may be any number: their keys are sorted, and each element adds up its own, in the points' order.
#pragma once

#include <tenon/kernels/cpu/grid_sample.hpp>
#include <tenon/kernels/cuda/each.cuh>
#include <tenon/kernels/cuda/segment.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

using cpu::GridShape;

template <class T>
void grid_sample(const GridShape& s, const T* x, const T* grid, T* y) {
    for_each_index("grid_sample", s.n * s.c * s.points, cpu::GridSampleStep<T>{s, x, grid, y});
}
template <class T>
void grid_sample_backward_grid(const GridShape& s, const T* x, const T* grid, const T* dy, T* dgrid, bool add) {
    for_each_index("grid_sample_backward", s.n * s.points, cpu::GridGradientStep<T>{s, x, grid, dy, dgrid, add});
}

// to [n, rows, columns] = from [n, columns, rows], each matrix turned; add: onto what is there.
template <class T>
struct TurnStep {
    long rows, columns;
    const T* from;
    T* to;
    bool add;
    TENON_FUNCTOR void operator()(long i) const {
        using A = cpu::accumulator<T>;
        const long size = rows * columns, matrix = i / size, r = i % size / columns, c = i % columns;
        const T v = from[matrix * size + c * rows + r];
        to[i] = add ? static_cast<T>(static_cast<A>(to[i]) + static_cast<A>(v)) : v;
    }
};
// Which point a tap belongs to, in sorted order.
struct TapPointStep {
    const std::int64_t* order;
    int most;
    std::int64_t* points;
    TENON_FUNCTOR void operator()(long i) const { points[i] = order[i] / most; }
};
template <class T>
struct TapWeightStep {
    const std::int64_t* order;
    const T* weights;
    T* sorted;
    TENON_FUNCTOR void operator()(long i) const { sorted[i] = weights[order[i]]; }
};

template <class T>
void grid_sample_backward_input(const GridShape& s, const T* grid, const T* dy, T* dx, bool add) {
    const long rows = s.n * s.plane(), count = s.n * s.points * s.most_taps();
    if (rows <= 0 || s.c <= 0) return;
    const Scratch<std::int64_t> keys(count), order(count), points(count), pointers(rows + 2);
    const Scratch<T> weights(count), sorted(count), turned(s.n * s.points * s.c), sums(rows * s.c);
    for_each_index("grid_sample_backward", s.n * s.points, cpu::GridKeysStep<T>{s, grid, keys.get(), weights.get()});
    sort_positions(count, static_cast<const std::int64_t*>(keys.get()), rows + 1, order.get());
    sorted_pointers(count, rows + 1, static_cast<const std::int64_t*>(keys.get()), static_cast<const std::int64_t*>(order.get()), pointers.get());
    for_each_index("grid_sample_backward", count, TapPointStep{order.get(), s.most_taps(), points.get()});
    for_each_index("grid_sample_backward", count, TapWeightStep<T>{order.get(), weights.get(), sorted.get()});
    for_each_index("grid_sample_backward", s.n * s.points * s.c, TurnStep<T>{s.points, s.c, dy, turned.get(), false});
    segment_sum(rows, static_cast<const std::int64_t*>(pointers.get()), static_cast<const std::int64_t*>(points.get()), static_cast<const T*>(sorted.get()), s.c,
                static_cast<const T*>(turned.get()), false, sums.get(), false);
    for_each_index("grid_sample_backward", rows * s.c, TurnStep<T>{s.c, s.plane(), sums.get(), dx, add});
}

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
