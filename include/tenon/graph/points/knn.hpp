// The k nearest neighbours of points, and the graph of them.
#pragma once

#include <tenon/graph/points/clouds.hpp>
#include <tenon/kernels/cpu/points/nearest.hpp>
#include <tenon/ops/norm.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/points/nearest.cuh>
#endif

namespace tenon::graph {

struct KnnOptions {
    bool loop = false;    // knn_graph: whether a point is a neighbour of itself
    bool cosine = false;  // by the angle between the rows instead of their distance
};

inline namespace TENON_CONFIG_NAMESPACE {
namespace impl_points {

// Rows of length 1: their distances rise with the angle. A row of zeros stays.
template <class T>
Tensor<T, 2> directions(const Tensor<T, 2>& x) {
    const Tensor<T, 2> length = norm<1>(x, keepdim);
    return x / where(length > T(0), length, T(1));
}

// [2, pairs]: queries (rows of y) and their neighbours (rows of x), query after query, nearest first; queries_last: the other
// way round. limit: of the squared distance; k: the most of each query, -1: all.
template <class T>
Tensor<std::int64_t, 2> pairs(const char* operation, const Tensor<T, 2>& x, const Tensor<T, 2>& y, const Segments& x_clouds,
                              const Segments& y_clouds, long k, T limit, bool skip_self, bool queries_last) {
    const Device device = x.device();
    if (!(y.device() == device)) tenon::impl::fail_devices(operation, device, y.device());
    if (x.shape(1) != y.shape(1))
        fail<ShapeError>(operation, ": the points are ", x.record()->description(), ", the queries ", y.record()->description(),
                         ": expected as many coordinates");
    const Tensor<std::int64_t, 1> from = pointers(operation, x, x_clouds), to = pointers(operation, y, y_clouds);
    if (from.size() != to.size())
        fail<ShapeError>(operation, ": points of ", from.size() - 1, " clouds and queries of ", to.size() - 1, ": expected as many");
    long largest = 1;
    for (long c = 0; c + 1 < from.size(); ++c) {
        const long n = static_cast<long>(from.data()[c + 1] - from.data()[c]);
        largest = n > largest ? n : largest;
    }
    const long queries = y.shape(0);
    // All neighbours: room for more as long as somebody's is full.
    long room = k < 0 ? 64 : k;
    const Tensor<std::int64_t, 1> all_points = from.to(device), all_queries = to.to(device), found = empty<std::int64_t>({queries}, device);
    Tensor<std::int64_t, 1> index, count;
    for (;;) {
        room = room < largest ? room : largest;
        index = empty<std::int64_t>({queries * room}, device);
        TENON_RUN(device,
                  nearest(from.size() - 1, static_cast<const std::int64_t*>(all_points.data()),
                          static_cast<const std::int64_t*>(all_queries.data()), queries, x.shape(1), static_cast<const T*>(x.data()),
                          static_cast<const T*>(y.data()), room, limit, skip_self, index.data(), found.data()));
        count = found.to(cpu);
        if (k >= 0 || room == largest) break;
        bool full = false;
        for (long q = 0; q < queries && !full; ++q) full = count.data()[q] == room;
        if (!full) break;
        room *= 4;
    }
    index = index.to(cpu);
    long total = 0;
    for (long q = 0; q < queries; ++q) total += static_cast<long>(count.data()[q]);
    Tensor<std::int64_t, 2> result = empty<std::int64_t>({2, total});
    std::int64_t *query = result.data() + (queries_last ? total : 0), *neighbour = result.data() + (queries_last ? 0 : total);
    for (long q = 0; q < queries; ++q)
        for (long s = 0; s < count.data()[q]; ++s) {
            *query++ = q;
            *neighbour++ = index.data()[q * room + s];
        }
    return result.to(device);
}
inline void check_k(const char* operation, long k) {
    if (k < 1) fail<ValueError>(operation, ": k is ", k, ", expected at least 1");
}

}  // namespace impl_points

// knn(x, y, k, x_clouds, y_clouds): for every row of y [m, dims] the k nearest rows of x [n, dims] in the cloud of the same
// number (all where it has fewer): int64 [2, pairs], row 0 the rows of y, ascending, row 1 those of x, nearest first; of equally
// far ones the lower row comes first. float and double. (Of a device's points the host waits for the result, and lists it.) Throws
// ShapeError, and ValueError for k < 1 and for coordinates that are not finite. No derivative.
template <class T>
[[nodiscard]] Tensor<std::int64_t, 2> knn(const Tensor<T, 2>& x, const Tensor<T, 2>& y, long k, const Segments& x_clouds = {},
                                          const Segments& y_clouds = {}, KnnOptions options = {}) {
    impl_points::check_k("knn", k);
    Tensor<T, 2> points = impl_points::checked_points("knn", x), queries = impl_points::checked_points("knn", y);
    if (options.cosine) {
        points = impl_points::directions(points);
        queries = impl_points::directions(queries);
    }
    return impl_points::pairs("knn", points, queries, x_clouds, y_clouds, k, static_cast<T>(__builtin_inf()), false, false);
}

// knn_graph(x, k, clouds): edges int64 [2, edges] from the k nearest neighbours (row 0) to every point (row 1, ascending),
// nearest first. Without {.loop = true} a point is left out before the search, so that among duplicates every point still has k
// neighbours. Otherwise as knn.
template <class T>
[[nodiscard]] Tensor<std::int64_t, 2> knn_graph(const Tensor<T, 2>& x, long k, const Segments& clouds = {}, KnnOptions options = {}) {
    impl_points::check_k("knn_graph", k);
    Tensor<T, 2> points = impl_points::checked_points("knn_graph", x);
    if (options.cosine) points = impl_points::directions(points);
    return impl_points::pairs("knn_graph", points, points, clouds, clouds, k, static_cast<T>(__builtin_inf()), !options.loop, true);
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon::graph
