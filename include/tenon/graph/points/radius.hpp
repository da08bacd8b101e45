// The neighbours of points within a radius, and the graph of them.
#pragma once

#include <tenon/graph/points/knn.hpp>

namespace tenon::graph {

struct RadiusOptions {
    long max_neighbours = 32;  // the nearest so many of each point; -1: all
    bool loop = false;         // radius_graph: whether a point is a neighbour of itself
};

inline namespace TENON_CONFIG_NAMESPACE {
namespace impl_points {

template <class T>
T squared_radius(const char* operation, double r, const RadiusOptions& options) {
    if (!(r >= 0)) fail<ValueError>(operation, ": the radius is ", r, ", expected 0 or more");
    if (options.max_neighbours == 0 || options.max_neighbours < -1)
        fail<ValueError>(operation, ": max_neighbours is ", options.max_neighbours, ", expected 1 or more (-1: all)");
    return static_cast<T>(r * r);
}

}  // namespace impl_points

// radius(x, y, r, x_clouds, y_clouds, {.max_neighbours = 32}): for every row of y [m, dims] the rows of x [n, dims] in the cloud
// of the same number with a squared distance below r^2 (strictly); of more than max_neighbours the nearest. Result, order,
// devices, errors and types as of knn.
template <class T>
[[nodiscard]] Tensor<std::int64_t, 2> radius(const Tensor<T, 2>& x, const Tensor<T, 2>& y, double r, const Segments& x_clouds = {},
                                             const Segments& y_clouds = {}, RadiusOptions options = {}) {
    const T limit = impl_points::squared_radius<T>("radius", r, options);
    return impl_points::pairs("radius", impl_points::checked_points("radius", x), impl_points::checked_points("radius", y), x_clouds,
                              y_clouds, options.max_neighbours, limit, false, false);
}

// radius_graph(x, r, clouds, {.max_neighbours = 32, .loop = false}): edges int64 [2, edges] from those neighbours (row 0) to every
// point (row 1, ascending), nearest first; a point does not count as its own unless loop.
template <class T>
[[nodiscard]] Tensor<std::int64_t, 2> radius_graph(const Tensor<T, 2>& x, double r, const Segments& clouds = {},
                                                   RadiusOptions options = {}) {
    const T limit = impl_points::squared_radius<T>("radius_graph", r, options);
    const Tensor<T, 2> points = impl_points::checked_points("radius_graph", x);
    return impl_points::pairs("radius_graph", points, points, clouds, clouds, options.max_neighbours, limit, !options.loop, true);
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon::graph
