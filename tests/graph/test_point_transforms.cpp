// Transforms of positions, meshes and edges: PyTorch Geometric's results, gradients, randomness by keys, the synthetic shapes.
#include "stored.hpp"

#include <tenon/graph/points/knn.hpp>
#include <tenon/graph/synthetic_shapes.hpp>
#include <tenon/graph/transforms/edge_attributes.hpp>
#include <tenon/graph/transforms/mesh.hpp>
#include <tenon/graph/transforms/position.hpp>
#include <tenon/graph/transforms/structure.hpp>
#include <tenon/testing/gradcheck.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

using namespace tenon;
using graph::Graph;

namespace {

const golden::Array& stored(const std::string& key) {
    static const golden::File file = golden::read(TENON_TEST_DIR "/golden/graph_transforms.safetensors");
    return stored_in(file, key);
}
Tensor<std::int64_t, 2> whole(const std::string& key) {
    const golden::Array& a = stored(key);
    return from<std::int64_t>({a.shape[0], a.shape[1]}, a.integers.data());
}
Tensor<double, 2> positions(long dims = 3) { return contiguous(from<double>({7, 3}, stored("pos").reals.data())(all, slice(0, dims))); }
double off(const Tensor<double, 2>& given, const std::string& key) {
    INFO(key);
    return off_by(given, stored(key));
}
// The stored edges without loops.
Graph simple_graph() {
    const auto given = list(whole("edges"));
    std::vector<std::int64_t> source, target;
    for (std::size_t e = 0; e < given.size() / 2; ++e)
        if (given[e] != given[given.size() / 2 + e]) {
            source.push_back(given[e]);
            target.push_back(given[given.size() / 2 + e]);
        }
    const std::size_t n = source.size();
    source.insert(source.end(), target.begin(), target.end());
    return Graph::from_edges(from<std::int64_t>({2, n}, source.data()), 7);
}
double most(const Tensor<double, 2>& x) { return Tensor<double, 0>(amax(abs(x))).item(); }

}  // namespace

TEST_CASE("attributes of edges are PyTorch Geometric's", "[graph]") {
    const Graph g = simple_graph();
    for (const auto& [name, options] :
         {std::pair<std::string, graph::EdgeAttributeOptions>{"plain", {.normalize = false}}, {"normalised", {}}, {"max", {.max = 5}}}) {
        INFO(name);
        CHECK(off(graph::cartesian(positions(), g, options), "cartesian/" + name) < 1e-12);
        CHECK(off(graph::edge_distance(positions(), g, options), "distance/" + name) < 1e-12);
        CHECK(off(graph::polar(positions(2), g, options), "polar/" + name) < 1e-12);
        CHECK(off(graph::spherical(positions(), g, options), "spherical/" + name) < 1e-12);
    }
    const graph::EdgeAttributeOptions plain{.normalize = false};
    testing::gradcheck([&](const auto& p) { return graph::cartesian(p, g, {.max = 4}); }, positions());
    testing::gradcheck([&](const auto& p) { return graph::edge_distance(p, g, plain); }, positions());
    testing::gradcheck([&](const auto& p) { return graph::polar(p, g, plain); }, positions(2));
    testing::gradcheck([&](const auto& p) { return graph::spherical(p, g, plain); }, positions());
    // An edge without length, and no edges.
    const auto loop = graph::spherical(positions(), Graph::from_edges(from<std::int64_t>({2, 1}, {2, 2}), 7));
    CHECK(loop.data()[0] == 0);
    CHECK(loop.data()[1] == 0);
    CHECK(loop.data()[2] == 0.5);
    CHECK(graph::cartesian(positions(), Graph::from_edges(zeros<std::int64_t>({2, 0}), 7)).shape(0) == 0);
    CHECK_THROWS_WITH(graph::polar(positions(), g), Catch::Contains("polar: double[7, 3] on cpu, expected points in 2 dimensions"));
    CHECK_THROWS_WITH(graph::cartesian(zeros<double>({6, 3}), g), Catch::Contains("for a graph of 7 nodes"));
}

TEST_CASE("graphs made from graphs are PyTorch Geometric's", "[graph]") {
    const Graph g = Graph::from_edges(whole("edges"), 7), symmetric = Graph::from_edges(whole("symmetric"), 7);
    CHECK(off(graph::local_degree_profile<double>(g), "profile") < 3e-7);  // which there is computed in float, of numbers up to 4
    const auto directed = graph::line_graph(g, true);
    CHECK(list(directed.graph.edge_index()) == list(whole("line_directed")));
    CHECK(directed.nodes.shape(1) == 12);  // one edge comes twice
    const auto undirected = graph::line_graph(symmetric, false);
    CHECK(list(undirected.graph.edge_index()) == list(whole("line_undirected")));
    CHECK(list(graph::line_graph(g, false).graph.edge_index()) == list(whole("line_undirected")));
    // By the adjacency matrix and its square.
    std::vector<std::int64_t> source, target;
    const auto ends = list(whole("edges"));
    const std::size_t count = ends.size() / 2;
    const auto edge = [&](std::int64_t a, std::int64_t b) {
        for (std::size_t e = 0; e < count; ++e)
            if (ends[e] == a && ends[count + e] == b) return true;
        return false;
    };
    for (std::int64_t a = 0; a < 7; ++a)
        for (std::int64_t c = 0; c < 7; ++c) {
            bool reached = edge(a, c);
            for (std::int64_t b = 0; b < 7; ++b) reached = reached || (a != c && edge(a, b) && edge(b, c));
            if (!reached) continue;
            source.push_back(a);
            target.push_back(c);
        }
    source.insert(source.end(), target.begin(), target.end());
    CHECK(list(graph::two_hop(g).edge_index()) == source);
    CHECK(list(graph::face_to_edge(whole("faces"), 7).edge_index()) == list(whole("face_to_edge")));
    const Graph none = Graph::from_edges(zeros<std::int64_t>({2, 0}), 0);
    CHECK(graph::line_graph(none, true).graph.nodes() == 0);
    CHECK(graph::two_hop(none).edges() == 0);
    CHECK(graph::local_degree_profile(none).shape(0) == 0);
    CHECK_THROWS_WITH(graph::face_to_edge(whole("faces"), 6), Catch::Contains("face_to_edge: face 2 names vertex 6, but there are 6"));
}

TEST_CASE("scale and rotation are normalised", "[graph]") {
    const auto pos = positions();
    CHECK(off(graph::normalize_scale(pos), "normalize_scale") < 1e-14);
    CHECK(sum(abs(graph::normalize_scale(ones<double>({3, 3})))).item() == 0);
    // The eigenvectors' signs are free there.
    CHECK(off(Tensor<double, 2>(abs(graph::normalize_rotation(pos))), "extent") < 1e-12);
    // Turned points give the same, but for signs; distances stay, and so does the orientation.
    const auto turned = graph::random_rotate(graph::random_rotate(graph::centered(pos), {0, 360}, 0, Key{1}), {0, 360}, 2, Key{2});
    CHECK(most(Tensor<double, 2>(abs(graph::normalize_rotation(turned)) - abs(graph::normalize_rotation(graph::centered(pos))))) < 1e-12);
    const auto axes = graph::normalize_rotation(eye<double>(3));
    CHECK(det(axes).item() == Approx(1).epsilon(1e-12));
    testing::gradcheck({.kinks = true}, [](const auto& p) { return graph::normalize_scale(p); }, pos);
}

TEST_CASE("random moves do what they say", "[graph]") {
    const auto pos = positions();
    const auto lengths = [](const Tensor<double, 2>& p) { return Tensor<double, 2>(norm<1>(p, keepdim)); };
    long flipped = 0;
    for (std::uint64_t k = 0; k < 200; ++k) {
        const auto f = graph::random_flip(pos, 1, Key{k}, 0.25);
        const bool changed = f.data()[1] != pos.data()[1];
        flipped += changed;
        for (long i = 0; i < 21; ++i) REQUIRE(f.data()[i] == (changed && i % 3 == 1 ? -pos.data()[i] : pos.data()[i]));
        const auto scaled = graph::random_scale(pos, {0.5, 2}, Key{k});
        const double factor = scaled.data()[0] / pos.data()[0];
        REQUIRE((factor > 0.499 && factor < 2.001));
        REQUIRE(most(Tensor<double, 2>(scaled - pos * factor)) < 1e-12);
        const auto moved = graph::random_translate(pos, 0.1, Key{k});
        REQUIRE(most(Tensor<double, 2>(moved - pos)) <= 0.1);
    }
    CHECK(flipped > 25);
    CHECK(flipped < 80);
    for (long axis = 0; axis < 3; ++axis) {
        const auto turned = graph::random_rotate(pos, {-180, 180}, axis, Key{5});
        CHECK(most(Tensor<double, 2>(lengths(turned) - lengths(pos))) < 1e-12);
        for (long i = 0; i < 7; ++i) CHECK(turned.data()[3 * i + axis] == Approx(pos.data()[3 * i + axis]).epsilon(1e-14));
    }
    // As PyTorch Geometric turns: [[cos, sin], [-sin, cos]].
    const auto quarter = graph::random_rotate(from<double>({1, 2}, {1, 0}), {90, 90}, 0, Key{1});
    CHECK(std::abs(quarter.data()[0]) < 1e-15);
    CHECK(quarter.data()[1] == -1);
    const auto about_y = graph::random_rotate(from<double>({1, 3}, {1, 0, 0}), {90, 90}, 1, Key{1});
    CHECK(about_y.data()[2] == 1);
    const auto sheared = graph::random_shear(eye<double>(3), 0.3, Key{6});
    for (long i = 0; i < 9; ++i)
        CHECK((i % 4 == 0 ? sheared.data()[i] == 1 : std::abs(sheared.data()[i]) <= 0.3 && sheared.data()[i] != 0));
    testing::gradcheck([](const auto& p) { return graph::random_shear(graph::random_rotate(p, {10, 80}, 1, Key{7}), 0.2, Key{8}); }, pos);
    CHECK_THROWS_WITH(graph::random_rotate(zeros<float>({2, 4}), {0, 1}, 0, Key{1}),
                      Catch::Contains("expected points in 2 or 3 dimensions"));
    CHECK_THROWS_WITH(graph::random_flip(pos, 3, Key{1}), Catch::Contains("random_flip: axis 3 of points in 3 dimensions"));
}

TEST_CASE("points on a surface are uniform by area", "[graph]") {
    // Two triangles in planes of their own, the second of three times the area, and one without any.
    const auto pos = from<double>({6, 3}, {0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 5, 3, 0, 5, 0, 1, 5});
    const auto faces = from<std::int64_t>({3, 3}, {0, 3, 0, 1, 4, 0, 2, 5, 0});
    const long n = 40000;
    const auto s = graph::sample_points(pos, faces, n, Key{1});
    double first = 0, x = 0, y = 0;
    std::vector<double> quarters(4, 0);
    for (long i = 0; i < n; ++i) {
        const double* p = s.pos.data() + 3 * i;
        const long face = static_cast<long>(s.face.data()[i]);
        REQUIRE((face == 0 || face == 1));
        REQUIRE(p[2] == (face == 0 ? 0 : 5));
        const double u = face == 0 ? p[0] : p[0] / 3, v = p[1];
        REQUIRE((u >= 0 && v >= 0 && u + v <= 1 + 1e-12));
        first += face == 0;
        x += u;
        y += v;
        // A triangle's four halves of its sides make four equal parts.
        ++quarters[u > 0.5 ? 0 : v > 0.5 ? 1 : u + v < 0.5 ? 2 : 3];
        REQUIRE(s.normal.data()[3 * i + 2] == 1);
    }
    CHECK(first == Approx(n / 4.0).margin(4 * std::sqrt(n * 3.0 / 16)));
    CHECK(x / n == Approx(1.0 / 3).margin(0.005));
    CHECK(y / n == Approx(1.0 / 3).margin(0.005));
    for (const double q : quarters) CHECK(q == Approx(n / 4.0).margin(4 * std::sqrt(n * 3.0 / 16)));
    // Point i does not depend on how many are drawn.
    const auto fewer = graph::sample_points(pos, faces, 10, Key{1});
    for (long i = 0; i < 30; ++i) CHECK(fewer.pos.data()[i] == s.pos.data()[i]);
    CHECK(graph::sample_points(pos, faces, 0, Key{1}).pos.shape(0) == 0);
    CHECK_THROWS_WITH(graph::sample_points(pos, from<std::int64_t>({3, 1}, {0, 0, 0}), 5, Key{1}),
                      Catch::Contains("sample_points: the surface's area is 0"));
    CHECK_THROWS_WITH(graph::sample_points(pos, from<std::int64_t>({3, 1}, {0, 1, 6}), 5, Key{1}),
                      Catch::Contains("face 0 names vertex 6, but there are 6"));
    CHECK_THROWS_WITH(graph::sample_points(pos, from<std::int64_t>({1, 3}, {0, 1, 2}), 5, Key{1}), Catch::Contains("expected [3, faces]"));
}

TEST_CASE("the synthetic shapes", "[graph]") {
    const auto s = graph::synthetic_shapes(Key{1}, {.per_class = 12});
    CHECK(s.pos.shape(0) == 120 * 256);
    CHECK(s.clouds.count() == 120);
    CHECK(amax(abs(s.pos)).item() <= 1);
    CHECK(amax(abs(s.pos)).item() > 0.99f);
    const auto length = norm<1>(s.normal);
    CHECK(amin(length).item() == Approx(1).epsilon(1e-5));
    // Cloud i depends on its number alone.
    const auto few = graph::synthetic_shapes(Key{1}, {.per_class = 1});
    CHECK(amax(abs(few.pos - s.pos(slice(0, 2560), all))).item() == 0);
    CHECK(amax(abs(graph::synthetic_shapes(Key{2}, {.per_class = 1}).pos - few.pos)).item() > 0.1f);
    // Unlike: by the histogram of distances from the middle and of heights, a cloud's nearest other cloud is mostly of its own shape.
    const long bins = 12;
    Tensor<float, 2> features = zeros<float>({120, 2 * bins});
    for (long c = 0; c < 120; ++c)
        for (long i = 0; i < 256; ++i) {
            const float* p = s.pos.data() + (c * 256 + i) * 3;
            const float r = std::sqrt(p[0] * p[0] + p[1] * p[1]);
            const auto bin = [&](float v) { return std::min(bins - 1, static_cast<long>(v * static_cast<float>(bins))); };
            features.data()[c * 2 * bins + bin(std::min(r, 0.999f))] += 1;
            features.data()[c * 2 * bins + bins + bin((p[2] + 1) / 2)] += 1;
        }
    const auto nearest = graph::knn_graph(features, 1);
    long right = 0;
    for (long e = 0; e < 120; ++e) right += nearest.data()[e] % 10 == nearest.data()[120 + e] % 10;
    CHECK(right > 84);
    CHECK_THROWS_WITH(graph::synthetic_shapes(Key{1}, {.points = 0}), Catch::Contains("synthetic_shapes: 40 clouds of 0 points per class"));
}
