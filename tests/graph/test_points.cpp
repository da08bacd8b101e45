// Farthest points, nearest neighbours and neighbours within a radius: golden vectors, brute force, duplicates, batches, threads, errors.
#include <tenon/graph/points/fps.hpp>
#include <tenon/graph/points/knn.hpp>
#include <tenon/graph/points/radius.hpp>
#include <tenon/ops/random.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <vector>

using namespace tenon;

namespace {

using Rows = std::vector<std::vector<long>>;

// The rows of x beside each query, of [2, pairs] whose queries are in row `query`.
Rows lists(const Tensor<std::int64_t, 2>& pairs, long queries, int query) {
    Rows rows(static_cast<std::size_t>(queries));
    for (long e = 0; e < pairs.shape(1); ++e) {
        const long q = static_cast<long>(pairs.data()[query * pairs.shape(1) + e]);
        REQUIRE(q >= 0);
        REQUIRE(q < queries);
        if (e > 0) REQUIRE(q >= pairs.data()[query * pairs.shape(1) + e - 1]);
        rows[static_cast<std::size_t>(q)].push_back(static_cast<long>(pairs.data()[(1 - query) * pairs.shape(1) + e]));
    }
    return rows;
}
std::vector<long> values(const Tensor<std::int64_t, 1>& x) { return {x.data(), x.data() + x.size()}; }

// All by the plain loop of the definition, cloud by cloud.
template <class T>
Rows expected(const Tensor<T, 2>& x, const Tensor<T, 2>& y, const std::vector<long>& x_begins, const std::vector<long>& y_begins, long k,
              double limit, bool skip_self) {
    Rows rows(static_cast<std::size_t>(y.shape(0)));
    const long dims = x.shape(1);
    for (std::size_t c = 0; c + 1 < x_begins.size(); ++c)
        for (long q = y_begins[c]; q < y_begins[c + 1]; ++q) {
            const long n = x_begins[c + 1] - x_begins[c];
            std::vector<std::int64_t> found(static_cast<std::size_t>(k < 0 ? n : k) + 1);
            const long count = kernels::cpu::reference::nearest(n, dims, static_cast<const T*>(x.data()) + x_begins[c] * dims,
                                                                static_cast<const T*>(y.data()) + q * dims, k < 0 ? n : k,
                                                                static_cast<T>(limit), skip_self ? q - x_begins[c] : -1, found.data());
            for (long s = 0; s < count; ++s)
                rows[static_cast<std::size_t>(q)].push_back(x_begins[c] + static_cast<long>(found[static_cast<std::size_t>(s)]));
        }
    return rows;
}
Segments clouds_of(const std::vector<long>& begins) {
    Tensor<std::int64_t, 1> p = empty<std::int64_t>({begins.size()});
    for (std::size_t i = 0; i < begins.size(); ++i) p.data()[i] = begins[i];
    return Segments::from_pointers(p);
}
// Coordinates that are small integers: distances are exact and many are equal.
template <class T>
Tensor<T, 2> lattice(long n, long dims, long width, Key key) {
    const Tensor<std::int64_t, 2> whole = integers({n, dims}, key, 0, width);
    return cast<T>(whole);
}

const double six_points[] = {0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 1, 1, 1, .5, 0, 0};

template <class T>
void compare_all(long dims) {
    INFO("dims " << dims << ", " << name(dtype_of<T>));
    // Ties and duplicates; clouds below and above the size from which the tree is used; an empty one.
    const std::vector<long> begins = {0, 700, 700, 790, 1017}, query_begins = {0, 45, 50, 120, 151};
    const Tensor<T, 2> x = lattice<T>(1017, dims, dims == 1 ? 40 : 6, Key{11}), y = lattice<T>(151, dims, 6, Key{12});
    const Segments xs = clouds_of(begins), ys = clouds_of(query_begins);
    for (const long k : {1, 2, 7, 33, 1000}) {
        INFO("k " << k);
        CHECK(lists(graph::knn(x, y, k, xs, ys), 151, 0) == expected(x, y, begins, query_begins, k, 1e30, false));
        CHECK(lists(graph::knn_graph(x, k, xs), 1017, 1) == expected(x, x, begins, begins, k, 1e30, true));
    }
    CHECK(lists(graph::knn_graph(x, 3, xs, {.loop = true}), 1017, 1) == expected(x, x, begins, begins, 3, 1e30, false));
    for (const double r : {0.0, 1.0, 1.5, 3.0}) {
        INFO("r " << r);
        CHECK(lists(graph::radius(x, y, r, xs, ys), 151, 0) == expected(x, y, begins, query_begins, 32, r * r, false));
        CHECK(lists(graph::radius_graph(x, r, xs, {.max_neighbours = 5}), 1017, 1) == expected(x, x, begins, begins, 5, r * r, true));
        CHECK(lists(graph::radius_graph(x, r, xs, {.max_neighbours = -1, .loop = true}), 1017, 1) ==
              expected(x, x, begins, begins, -1, r * r, false));
    }
    // Generic positions, one cloud.
    const Tensor<T, 2> p = randn<T>({1500, dims}, Key{13});
    const std::vector<long> whole = {0, 1500};
    if constexpr (std::is_same_v<T, double>) {
        CHECK(lists(graph::knn_graph(p, 20), 1500, 1) == expected(p, p, whole, whole, 20, 1e30, true));
        CHECK(lists(graph::radius_graph(p, 0.4, {}, {.max_neighbours = -1}), 1500, 1) == expected(p, p, whole, whole, -1, 0.4 * 0.4, true));
    }
    for (const double ratio : {0.01, 0.25, 1.0}) {
        INFO("ratio " << ratio);
        std::vector<long> kept;
        for (std::size_t c = 0; c + 1 < begins.size(); ++c) {
            const long n = begins[c + 1] - begins[c], m = static_cast<long>(std::ceil(ratio * static_cast<double>(n)));
            std::vector<std::int64_t> one(static_cast<std::size_t>(m));
            if (n > 0)
                kernels::cpu::reference::farthest_points(n, dims, static_cast<const T*>(x.data()) + begins[c] * dims, 0, m, one.data());
            for (const auto i : one) kept.push_back(begins[c] + static_cast<long>(i));
        }
        CHECK(values(graph::fps(x, xs, {.ratio = ratio})) == kept);
    }
}

}  // namespace

TEST_CASE("the published example of six points", "[graph]") {
    const auto x = from<double>({6, 3}, six_points);
    CHECK(values(graph::fps(x)) == std::vector<long>{0, 3, 2});
    CHECK(lists(graph::knn_graph(x, 2), 6, 1) == Rows{{5, 1}, {5, 0}, {4, 0}, {4, 0}, {1, 5}, {0, 1}});
    CHECK(lists(graph::radius_graph(x, 1), 6, 1) == Rows{{5}, {5}, {}, {}, {}, {0, 1}});
    CHECK(lists(graph::radius_graph(x, 1.1), 6, 1) == Rows{{5, 1}, {5, 0}, {}, {}, {}, {0, 1}});
}

TEST_CASE("neighbours and farthest points are those of the definition", "[graph]") {
    for (const long dims : {1, 2, 3, 4, 7}) {
        compare_all<float>(dims);
        compare_all<double>(dims);
    }
}

TEST_CASE("wide features: all blocks of points, all sizes of the last group of queries", "[graph]") {
    const Tensor<double, 2> x = randn<double>({900, 64}, Key{1});
    for (const long m : {1, 2, 3, 5, 33}) {
        const Tensor<double, 2> y = randn<double>({m, 64}, Key{2});
        CHECK(lists(graph::knn(x, y, 9), m, 0) == expected(x, y, {0, 900}, {0, m}, 9, 1e30, false));
    }
    const Tensor<float, 2> z = lattice<float>(3000, 24, 3, Key{3});
    CHECK(lists(graph::knn_graph(z, 6), 3000, 1) == expected(z, z, {0, 3000}, {0, 3000}, 6, 1e30, true));
}

TEST_CASE("duplicates: every point keeps k neighbours, none is chosen twice", "[graph]") {
    const auto x = full<float>({300, 3}, 2.f);
    const Rows rows = lists(graph::knn_graph(x, 4), 300, 1);
    for (long i = 0; i < 300; ++i) {
        std::vector<long> nearest;
        for (long j = 0; nearest.size() < 4; ++j)
            if (j != i) nearest.push_back(j);
        CHECK(rows[static_cast<std::size_t>(i)] == nearest);
    }
    std::vector<long> all_points = values(graph::fps(x, {}, {.ratio = 1}));
    std::sort(all_points.begin(), all_points.end());
    for (long i = 0; i < 300; ++i) REQUIRE(all_points[static_cast<std::size_t>(i)] == i);
}

TEST_CASE("neighbours by angle", "[graph]") {
    const auto x = from<double>({5, 2}, {1, 0, 10, 1, 0, 2, 3, 3, 0, 0});
    // From (1, 0): (10, 1) at 5.7 degrees, (3, 3) at 45; the row of zeros has cosine 0, as (0, 2), and distance 1 from unit rows.
    CHECK(lists(graph::knn(x, from<double>({1, 2}, {2, 0}), 3, {}, {}, {.cosine = true}), 1, 0) == Rows{{0, 1, 3}});
    CHECK(lists(graph::knn_graph(x, 1, {}, {.cosine = true}), 5, 1) == Rows{{1}, {0}, {3}, {1}, {0}});
}

TEST_CASE("a random start is a point of the cloud and depends on the key alone", "[graph]") {
    const auto x = randn<float>({60, 3}, Key{1});
    const Segments clouds = clouds_of({0, 20, 60});
    std::vector<bool> seen(60);
    for (std::uint64_t k = 0; k < 200; ++k) {
        const auto kept = values(graph::fps(x, clouds, {.count = 2, .start = Key{k}}));
        REQUIRE(kept.size() == 4);
        REQUIRE(kept[0] < 20);
        REQUIRE((kept[2] >= 20 && kept[2] < 60));
        REQUIRE(kept == values(graph::fps(x, clouds, {.count = 2, .start = Key{k}})));
        seen[static_cast<std::size_t>(kept[0])] = seen[static_cast<std::size_t>(kept[2])] = true;
    }
    CHECK(std::count(seen.begin(), seen.end(), true) > 55);
}

TEST_CASE("ratios that are no binary fractions", "[graph]") {
    const auto x = randn<float>({10, 3}, Key{1});
    for (int tenth = 1; tenth <= 10; ++tenth) CHECK(graph::fps(x, {}, {.ratio = tenth / 10.0}).size() == tenth);
    CHECK(graph::fps(x, {}, {.ratio = 0.11}).size() == 2);
}

TEST_CASE("points: the bits do not depend on threads or on how the points lie in memory", "[graph]") {
    const auto x = randn<float>({20000, 3}, Key{5}), wide = randn<float>({700, 40}, Key{6});
    const Tensor<float, 2> turned = contiguous(x.transpose()).transpose();
    const int before = num_threads();
    set_num_threads(1);
    const auto fps = values(graph::fps(x, {}, {.count = 50})), knn = values(graph::knn_graph(x, 5).reshape({-1})),
               other = values(graph::knn_graph(wide, 5).reshape({-1}));
    set_num_threads(2);
    CHECK(values(graph::fps(x, {}, {.count = 50})) == fps);
    CHECK(values(graph::knn_graph(x, 5).reshape({-1})) == knn);
    CHECK(values(graph::knn_graph(wide, 5).reshape({-1})) == other);
    CHECK(values(graph::knn_graph(turned, 5).reshape({-1})) == knn);
    set_num_threads(before);
    CHECK(values(graph::radius_graph(x, 0.05, {}, {.max_neighbours = 7}).reshape({-1})).size() % 2 == 0);
}

TEST_CASE("points: no points, one point", "[graph]") {
    const auto none = zeros<float>({0, 3}), one = zeros<float>({1, 3});
    CHECK(graph::fps(none).size() == 0);
    CHECK(graph::knn_graph(none, 3).shape(1) == 0);
    CHECK(graph::knn(none, one, 3).shape(1) == 0);
    CHECK(graph::knn(one, none, 3).shape(1) == 0);
    CHECK(values(graph::fps(one)) == std::vector<long>{0});
    CHECK(graph::knn_graph(one, 3).shape(1) == 0);
    CHECK(lists(graph::knn_graph(one, 3, {}, {.loop = true}), 1, 1) == Rows{{0}});
    CHECK(lists(graph::radius_graph(one, 1, {}, {.loop = true}), 1, 1) == Rows{{0}});
}

TEST_CASE("points: errors", "[graph]") {
    auto x = zeros<float>({4, 3});
    CHECK_THROWS_WITH(graph::fps(x, {}, {.ratio = 0}), Catch::Contains("fps: ratio is 0, expected more than 0 and at most 1"));
    CHECK_THROWS_WITH(graph::knn_graph(x, 0), Catch::Contains("knn_graph: k is 0, expected at least 1"));
    CHECK_THROWS_WITH(graph::radius_graph(x, -1), Catch::Contains("radius_graph: the radius is -1, expected 0 or more"));
    CHECK_THROWS_WITH(graph::radius(x, x, 1, {}, {}, {.max_neighbours = 0}), Catch::Contains("radius: max_neighbours is 0"));
    CHECK_THROWS_WITH(graph::knn(x, zeros<float>({4, 2}), 1),
                      Catch::Contains("knn: the points are") && Catch::Contains("expected as many coordinates"));
    CHECK_THROWS_WITH(graph::knn(x, x, 1, clouds_of({0, 2, 4})), Catch::Contains("knn: points of 2 clouds and queries of 1"));
    CHECK_THROWS_WITH(graph::fps(x, clouds_of({0, 3})), Catch::Contains("has 4 points, but the clouds have 3"));
    CHECK_THROWS_WITH(graph::fps(x, Segments::from_indices(from<std::int64_t>({1, 0, 1, 0}))),
                      Catch::Contains("the points of a cloud must be neighbours"));
    x.data()[7] = __builtin_inff();
    CHECK_THROWS_WITH(graph::knn_graph(x, 1), Catch::Contains("knn_graph: coordinate 1 of point 2 is inf, expected finite ones"));
}
