// Farthest points and nearest neighbours on the device: the same as on the CPU.
#include "device_agreement.hpp"

#include <tenon/graph/points/fps.hpp>
#include <tenon/graph/points/knn.hpp>
#include <tenon/graph/points/radius.hpp>
#include <tenon/ops/random.hpp>

using namespace tenon;
using namespace device_agreement;

TEMPLATE_TEST_CASE("points on the device", "[cuda]", float, double) {
    using T = TestType;
    // Small whole numbers: distances are exact, and many are equal.
    const Segments clouds = Segments::from_pointers(from<std::int64_t>({0, 1, 40, 40, 47, 150})), query_clouds = Segments::from_pointers(from<std::int64_t>({0, 3, 9, 11, 11, 45}));
    for (const long dims : {1, 3, 9}) {
        INFO("dims " << dims);
        const Tensor<T, 2> x = cast<T>(integers({150, dims}, Key{1}, 0, 5)), y = cast<T>(integers({45, dims}, Key{2}, 0, 5));
        const auto x_there = x.to(gpu), y_there = y.to(gpu);
        for (const long k : {1, 7, 32, 33, 60}) {
            INFO("k " << k);
            CHECK(same(graph::knn(x_there, y_there, k, clouds, query_clouds), graph::knn(x, y, k, clouds, query_clouds)));
            CHECK(same(graph::knn_graph(x_there, k, clouds.to(gpu)), graph::knn_graph(x, k, clouds)));
        }
        CHECK(same(graph::knn_graph(x_there, 4, {}, {.loop = true, .cosine = true}), graph::knn_graph(x, 4, {}, {.loop = true, .cosine = true})));
        CHECK(same(graph::radius(x_there, y_there, 2, clouds, query_clouds), graph::radius(x, y, 2, clouds, query_clouds)));
        CHECK(same(graph::radius_graph(x_there, 3, {}, {.max_neighbours = -1}), graph::radius_graph(x, 3, {}, {.max_neighbours = -1})));
        for (const double ratio : {0.1, 0.5, 1.0}) CHECK(same(graph::fps(x_there, clouds, {.ratio = ratio}), graph::fps(x, clouds, {.ratio = ratio})));
        CHECK(same(graph::fps(x_there, {}, {.count = 20, .start = Key{3}}), graph::fps(x, {}, {.count = 20, .start = Key{3}})));
    }
    CHECK(graph::knn_graph(zeros<T>({0, 3}).to(gpu), 3).shape(1) == 0);
    Tensor<T, 2> bad = zeros<T>({3, 2});
    bad.data()[3] = static_cast<T>(NAN);
    CHECK_THROWS_WITH(graph::fps(bad.to(gpu)), Catch::Contains("fps: coordinate 1 of point 1 is nan"));
}
