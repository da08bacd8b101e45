// Points in the boxes of a regular grid.
#pragma once

#include <tenon/graph/points/clouds.hpp>
#include <tenon/graph/pool/batch.hpp>

#include <cmath>
#include <limits>
#include <vector>

namespace tenon::graph {

struct VoxelOptions {
    std::vector<double> start, end;  // the corners of the grid; empty: those of the points
};

// voxel_grid(pos, size, batch): for points pos [n, dims] the number of the box with edges `size` (one, or one per dimension) that
// each is in, int64 [n], for max_pool and avg_pool: floor((p - start) / size) per dimension, the first dimension counting fastest, the
// graph slowest. Points outside of [start, end] are in the nearest box. On the host. No derivative. Throws ShapeError, and ValueError
// for sizes that are not positive and for coordinates that are not finite.
template <class T>
[[nodiscard]] Tensor<std::int64_t, 1> voxel_grid(const Tensor<T, 2>& given, const std::vector<double>& size, const Segments& batch = {},
                                                 const VoxelOptions& options = {}) {
    const Tensor<T, 2> pos = impl_points::checked_points("voxel_grid", given.to(cpu));
    const long n = pos.shape(0), dims = pos.shape(1);
    const auto corner = [dims](const char* what, const std::vector<double>& given_corner) {
        if (!given_corner.empty() && given_corner.size() != 1 && static_cast<long>(given_corner.size()) != dims)
            fail<ShapeError>("voxel_grid: ", what, " has ", given_corner.size(), " numbers for ", dims, " dimensions");
    };
    corner("size", size), corner("start", options.start), corner("end", options.end);
    if (size.empty()) fail<ShapeError>("voxel_grid: no size came");
    const auto pick = [](const std::vector<double>& from_list, long d) {
        return from_list[from_list.size() == 1 ? 0 : static_cast<std::size_t>(d)];
    };
    const Tensor<std::int64_t, 1> graph_of = segment_index(impl_pool::batch_of("voxel_grid", pos, batch.to(cpu)));
    Tensor<std::int64_t, 1> cluster = zeros<std::int64_t>({n});
    std::int64_t stride = 1;
    for (long d = 0; d < dims; ++d) {
        const double edge = pick(size, d);
        if (!(edge > 0)) fail<ValueError>("voxel_grid: size is ", edge, ", expected more than 0");
        double low = std::numeric_limits<double>::infinity(), high = -low;
        for (long i = 0; i < n; ++i) {
            const double p = static_cast<double>(pos.data()[i * dims + d]);
            low = p < low ? p : low;
            high = p > high ? p : high;
        }
        if (!options.start.empty()) low = pick(options.start, d);
        if (!options.end.empty()) high = pick(options.end, d);
        if (n == 0) low = high = 0;
        const double boxes = std::floor((high - low) / edge) + 1;
        if (!(boxes >= 1 && boxes * static_cast<double>(stride) < 4e18))
            fail<ValueError>("voxel_grid: ", boxes, " boxes along dimension ", d, ": size ", edge, " does not fit the grid from ", low,
                             " to ", high);
        for (long i = 0; i < n; ++i) {
            double at = std::floor((static_cast<double>(pos.data()[i * dims + d]) - low) / edge);
            at = at < 0 ? 0 : at > boxes - 1 ? boxes - 1 : at;
            cluster.data()[i] += stride * static_cast<std::int64_t>(at);
        }
        stride *= static_cast<std::int64_t>(boxes);
    }
    for (long i = 0; i < n; ++i) cluster.data()[i] += stride * graph_of.data()[i];
    return cluster.to(given.device());
}

}  // namespace tenon::graph
