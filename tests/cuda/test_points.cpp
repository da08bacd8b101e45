// Farthest points and nearest neighbours on the device, and pooling layers there: the same as on the CPU.
#include "device_agreement.hpp"

#include <tenon/graph/norm.hpp>
#include <tenon/graph/points/fps.hpp>
#include <tenon/graph/points/knn.hpp>
#include <tenon/graph/points/radius.hpp>
#include <tenon/graph/pool/diff_pool.hpp>
#include <tenon/graph/pool/sort.hpp>
#include <tenon/graph/pool/top_k.hpp>
#include <tenon/nn/module.hpp>

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

TEST_CASE("pooling on the device", "[cuda]") {
    const auto x = fiftieths<float>({9, 4});
    const Segments batch = Segments::from_pointers(from<std::int64_t>({0, 4, 4, 9})), mixed = Segments::from_indices(from<std::int64_t>({2, 0, 2, 1, 1, 0, 2, 2, 0}), 3);
    const graph::Graph g = graph::Graph::from_edges(from<std::int64_t>({2, 7}, {0, 1, 5, 6, 8, 7, 3, 1, 2, 6, 7, 8, 5, 0}), 9);
    for (const Segments& s : {batch, mixed}) {
        const Segments there = s.to(gpu);
        CHECK(same(graph::segment_index(there), graph::segment_index(s)));
        const auto both = [&](auto f) { return gradient_difference(x, [&](const auto& v) { return f(v, v.device().is_cpu() ? s : there); }); };
        CHECK(both([](const auto& v, const Segments& b) { return graph::sort_pool(v, 3, b); }) <= rounding<float>);
        CHECK(both([](const auto& v, const Segments& b) { return graph::pair_norm(v, b); }) <= 8 * rounding<float>);
        CHECK(both([](const auto& v, const Segments& b) { return graph::to_dense_batch(v, b).x; }) <= rounding<float>);
        const graph::TopKPooling<float> top(4, Key{2}), top_there = to(top, gpu);
        const auto here = top(x, g, s), over_there = top_there(x.to(gpu), g.to(gpu), there);
        CHECK(same(over_there.perm, here.perm));
        CHECK(same(over_there.edges, here.edges));
        CHECK(same(over_there.graph.edge_index(), here.graph.edge_index()));
        CHECK(both([&](const auto& v, const Segments& b) { return v.device().is_cpu() ? top(v, g, b).x : top_there(v, g.to(gpu), b).x; }) <= 8 * rounding<float>);
    }
    CHECK(same(graph::to_dense_adj<float>(g.to(gpu)), graph::to_dense_adj<float>(g)));
}
