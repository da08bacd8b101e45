// Clouds of points: the rows of one tensor, cloud after cloud, told apart by Segments (of row pointers or of a sorted batch
// vector). Empty segments mean that all rows are one cloud.
//
//     const auto clouds = Segments::from_sorted(batch, graphs);
//     const auto kept = graph::fps(pos, clouds, {.ratio = 0.25});
//     const auto edges = graph::knn_graph(pos, 20, clouds);
#pragma once

#include <tenon/ops/copy.hpp>
#include <tenon/ops/extreme.hpp>
#include <tenon/ops/segment.hpp>

namespace tenon::graph {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl_points {

// Row pointers on the host, checked against the rows.
template <class T>
Tensor<std::int64_t, 1> pointers(const char* operation, const Tensor<T, 2>& x, const Segments& clouds) {
    if (!clouds.pointers().has_value()) return from<std::int64_t>({0, static_cast<std::int64_t>(x.shape(0))});
    if (clouds.order().has_value())
        fail<ValueError>(operation,
                         ": the points of a cloud must be neighbours: make the segments with Segments::from_sorted or from_pointers");
    if (clouds.rows() != x.shape(0))
        fail<ShapeError>(operation, ": ", x.record()->description(), " has ", x.shape(0), " points, but the clouds have ", clouds.rows());
    return clouds.pointers().to(cpu);
}

// Contiguous, without gradient. Throws ValueError where a coordinate is infinite or NaN: no distance would be one. (Of a device's points
// the host waits for the answer.)
template <class T>
Tensor<T, 2> checked_points(const char* operation, const Tensor<T, 2>& given) {
    static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>, "tenon: points are float or double tensors");
    tenon::impl::check_device(operation, given.device());
    const Tensor<T, 2> x = contiguous(given.detach());
    if (x.shape(0) > 0x7fffffff) fail<ShapeError>(operation, ": ", x.record()->description(), ": expected at most 2147483647 points");
    if (!x.device().is_cpu()) {
        if (Tensor<bool, 0>(tenon::all(isfinite(x))).item()) return x;
        return checked_points(operation, x.to(cpu));  // throws
    }
    const T* p = x.data();
    T probe(0);
    for (long i = 0; i < x.size(); ++i) probe += p[i] * T(0);  // infinities and NaN become NaN
    if (probe == T(0)) return x;
    for (long i = 0; i < x.size(); ++i)
        if (p[i] * T(0) != T(0))
            fail<ValueError>(operation, ": coordinate ", i % x.shape(1), " of point ", i / x.shape(1), " is ", static_cast<double>(p[i]),
                             ", expected finite ones");
    return x;
}

// ceil(ratio n), undisturbed by ratios that are no binary fractions: 0.7 of 10 are 7.
inline long share(double ratio, long n) {
    const long m = static_cast<long>(__builtin_ceil(ratio * static_cast<double>(n) * (1 - 1e-12)));
    return m < n ? m : n;
}
inline void check_ratio(const char* operation, double ratio) {
    if (!(ratio > 0 && ratio <= 1)) fail<ValueError>(operation, ": ratio is ", ratio, ", expected more than 0 and at most 1");
}

}  // namespace impl_points
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon::graph
