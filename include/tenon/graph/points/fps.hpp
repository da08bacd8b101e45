// Farthest point sampling.
#pragma once

#include <tenon/base/philox.hpp>
#include <tenon/graph/points/clouds.hpp>
#include <tenon/kernels/cpu/points/farthest.hpp>
#if TENON_CUDA
#include <tenon/kernels/cuda/points/farthest.cuh>
#endif

#include <optional>

namespace tenon::graph {

struct FpsOptions {
    double ratio = 0.5;            // of a cloud of n points ceil(ratio n) are kept
    long count = 0;                // or, above 0, so many of each (all of a smaller one)
    std::optional<Key> start = {};  // begin at a random point of each cloud, not at its first
};

inline namespace TENON_CONFIG_NAMESPACE {
// fps(x, clouds, {.ratio = 0.5}): rows of x [n, dims] that lie far apart: of each cloud first the start, then always the point
// farthest from those chosen (squared distances; of several the first), int64, cloud after cloud in the order of choice. No
// point comes twice, duplicates come last. Throws ShapeError, and ValueError for a ratio outside of (0, 1] and for coordinates that are
// not finite. No derivative: take index_select<0>(x, rows). (Eldar et al. 1997; Qi et al. 2017.)
template <class T>
[[nodiscard]] Tensor<std::int64_t, 1> fps(const Tensor<T, 2>& given, const Segments& clouds = {}, FpsOptions options = {}) {
    if (options.count < 0) fail<ValueError>("fps: count is ", options.count, ", expected 1 or more (0: by ratio)");
    if (options.count == 0) impl_points::check_ratio("fps", options.ratio);
    const Tensor<T, 2> x = impl_points::checked_points("fps", given);
    const Tensor<std::int64_t, 1> pointers = impl_points::pointers("fps", x, clouds);
    const long many = pointers.size() - 1;
    Tensor<std::int64_t, 1> begins = empty<std::int64_t>({many + 1}), starts = empty<std::int64_t>({many});
    begins.data()[0] = 0;
    for (long c = 0; c < many; ++c) {
        const long first = static_cast<long>(pointers.data()[c]), n = static_cast<long>(pointers.data()[c + 1]) - first;
        const long m = options.count > 0 ? (options.count < n ? options.count : n) : impl_points::share(options.ratio, n);
        begins.data()[c + 1] = begins.data()[c] + m;
        starts.data()[c] = first;
        if (options.start && n > 0)
            starts.data()[c] += static_cast<std::int64_t>(
                scale_to_range(random_word64(*options.start, static_cast<std::uint64_t>(c)), static_cast<std::uint64_t>(n)));
    }
    const Device device = given.device();
    const Tensor<std::int64_t, 1> chosen = empty<std::int64_t>({begins.data()[many]}, device), all_clouds = pointers.to(device),
                                  parts = begins.to(device), first = starts.to(device);
    TENON_RUN(device, farthest_points(many, static_cast<const std::int64_t*>(all_clouds.data()), x.shape(0), x.shape(1),
                                      static_cast<const T*>(x.data()), static_cast<const std::int64_t*>(parts.data()),
                                      static_cast<const std::int64_t*>(first.data()), chosen.data()));
    return chosen;
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon::graph
