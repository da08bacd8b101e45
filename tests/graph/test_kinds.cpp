// Convolutions with a matrix for each kind of edge: B-splines and relations. Basis functions, derivatives, memory, errors.
#include <tenon/graph/conv/rgcn.hpp>
#include <tenon/graph/conv/spline.hpp>
#include <tenon/graph/second_order.hpp>
#include <tenon/ops/second_order.hpp>
#include <tenon/tenon.hpp>
#include <tenon/testing/gradcheck.hpp>
#include <tenon/testing/gradgradcheck.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <vector>

using namespace tenon;
using graph::Graph;
using Catch::Matchers::Contains;

namespace {

using X = Tensor<double, 2>;
using Sizes = Tensor<std::int64_t, 1>;
using Open = Tensor<std::uint8_t, 1>;

graph::SplineBasis<double> basis(double u, std::int64_t k, bool open, long degree) {
    return graph::spline_basis(from<double>({1, 1}, {u}), from<std::int64_t>({k}),
                               from<std::uint8_t>({static_cast<std::uint8_t>(open ? 1 : 0)}), degree);
}
void check_basis(const graph::SplineBasis<double>& b, const std::vector<std::int64_t>& index, const std::vector<double>& weight) {
    REQUIRE(b.weight.size() == static_cast<long>(weight.size()));
    for (std::size_t s = 0; s < weight.size(); ++s) {
        CHECK(b.index.data()[s] == index[s]);
        CHECK(std::abs(b.weight.data()[s] - weight[s]) < 6e-7);
    }
}
Graph dense(long nodes, long times) {
    const long count = nodes * nodes * times;
    const auto edges = empty<std::int64_t>({2, count});
    for (long k = 0; k < count; ++k) edges.data()[k] = k % nodes, edges.data()[count + k] = k / nodes % nodes;
    return Graph::from_edges(edges, nodes);
}
Graph small() { return Graph::from_edges(from<std::int64_t>({2, 8}, {0, 1, 1, 2, 3, 2, 0, 4, 1, 0, 2, 1, 2, 2, 1, 3}), 6); }
X weigh(const X& y) { return y * randn<double>(y.shape(), Key{7}); }

}  // namespace

TEST_CASE("B-spline basis functions are the published ones", "[graph]") {
    check_basis(basis(0.3, 5, true, 1), {1, 2}, {0.8, 0.2});
    check_basis(basis(1.0, 5, true, 1), {4, 0}, {1, 0});
    check_basis(basis(0.9, 5, false, 1), {4, 0}, {0.5, 0.5});
    check_basis(basis(0.3, 5, true, 2), {0, 1, 2}, {0.005, 0.59, 0.405});
    check_basis(basis(0.3, 5, true, 3), {0, 1, 2, 3}, {0.010667, 0.414667, 0.538667, 0.036});
    // The matrices of the first axis are neighbours.
    const auto two = graph::spline_basis(from<double>({1, 2}, {0.3, 0.9}), from<std::int64_t>({5, 3}), from<std::uint8_t>({1, 0}), 1);
    check_basis(two, {1 + 5 * 2, 2 + 5 * 2, 1, 2}, {0.8 * 0.3, 0.2 * 0.3, 0.8 * 0.7, 0.2 * 0.7});
}

TEST_CASE("B-spline basis functions add up to one, everywhere and of every degree", "[graph]") {
    for (long degree = 1; degree <= 3; ++degree)
        for (const bool open : {true, false}) {
            const long edges = 200;
            const Tensor<float, 2> u = uniform<float>({edges, 3}, Key{static_cast<std::uint64_t>(degree)});
            u.data()[0] = u.data()[4] = 0, u.data()[1] = u.data()[5] = 1;
            const std::uint8_t flag = open ? 1 : 0;
            const auto b = graph::spline_basis(u, from<std::int64_t>({5, 4, 6}), from<std::uint8_t>({flag, flag, flag}), degree);
            for (long e = 0; e < edges; ++e) {
                double total = 0;
                for (long s = 0; s < b.weight.shape(1); ++s) {
                    total += b.weight.data()[e * b.weight.shape(1) + s];
                    CHECK(b.weight.data()[e * b.weight.shape(1) + s] >= -1e-6f);
                    CHECK(b.index.data()[e * b.weight.shape(1) + s] < 120);
                }
                CHECK(std::abs(total - 1) < 2e-6);
            }
        }
}

TEST_CASE("spline convolutions: derivatives of the features, the coordinates and the weights, and second ones", "[graph]") {
    const Graph g = small();
    const X x = randn<double>({6, 3}, Key{1}), e = uniform<double>({8, 2}, Key{2}, {0.05, 0.95});
    for (long degree = 1; degree <= 3; ++degree) {
        INFO("degree " << degree);
        graph::SplineConvOptions o;
        o.degree = degree, o.open = degree != 2;
        const graph::SplineConv<double> layer(3, 2, {4, 5}, Key{3}, o);
        const auto run = [&](const X& features, const X& pseudo, const Tensor<double, 3>& weight) {
            graph::SplineConv<double> own = layer;
            own.weight = weight;
            return tenon::sum(square(weigh(own(features, g, pseudo))));
        };
        const Tensor<double, 3> w = clone(layer.weight.detach());
        CHECK_NOTHROW(testing::gradcheck([&](const auto& a, const auto& b, const auto& c) { return run(X(a), X(b), Tensor<double, 3>(c)); },
                                         x, e, w));
        if (degree == 3)
            CHECK_NOTHROW(testing::gradgradcheck(
                [&](const auto& a, const auto& b, const auto& c) { return run(X(a), X(b), Tensor<double, 3>(c)); }, x, e, w));
    }
}

TEST_CASE("relational convolutions: derivatives, and second ones", "[graph]") {
    const Graph g = small();
    const Tensor<std::int64_t, 1> types = from<std::int64_t>({0, 1, 0, 2, 1, 1, 0, 2});
    const X x = randn<double>({6, 4}, Key{1});
    graph::RgcnOptions blocks;
    blocks.blocks = 2;
    const graph::RGCNConv<double> free_matrices(4, 2, 3, Key{2}), diagonal(4, 2, 3, Key{3}, blocks);
    CHECK_NOTHROW(testing::gradcheck(
        [&](const auto& a, const auto& w) {
            auto own = free_matrices;
            own.weight = Tensor<double, 3>(w);
            return tenon::sum(square(weigh(own(X(a), g, types))));
        },
        x, clone(free_matrices.weight.detach())));
    const auto of_blocks = [&](const auto& a, const auto& w) {
        auto own = diagonal;
        own.block_weight = Tensor<double, 4>(w);
        return tenon::sum(square(weigh(own(X(a), g, types))));
    };
    CHECK_NOTHROW(testing::gradcheck(of_blocks, x, clone(diagonal.block_weight.detach())));
    CHECK_NOTHROW(testing::gradgradcheck(of_blocks, x, clone(diagonal.block_weight.detach())));
}

TEST_CASE("how edges are sorted by kind is kept with the graph, until the kinds change", "[graph]") {
    const Graph g = small();
    const X x = randn<double>({6, 3}, Key{1});
    Tensor<std::int64_t, 1> types = from<std::int64_t>({0, 1, 0, 2, 1, 1, 0, 2});
    const graph::RGCNConv<double> layer(3, 2, 3, Key{2});
    const X first = layer(x, g, types);
    types.copy_from(from<std::int64_t>({1, 1, 2, 2, 0, 0, 1, 0}));
    const X second = layer(x, g, types), fresh = layer(x, small(), clone(types));
    double moved = 0;
    for (long i = 0; i < second.size(); ++i) {
        CHECK(second.data()[i] == fresh.data()[i]);
        moved += std::abs(second.data()[i] - first.data()[i]);
    }
    CHECK(moved > 0.1);
    // Coordinates that are written to, and kernels of other sizes on the same ones.
    Tensor<double, 2> e = uniform<double>({8, 1}, Key{3});
    const graph::SplineConv<double> wide(3, 2, {5}, Key{4}), narrow(3, 2, {3}, Key{4});
    static_cast<void>(wide(x, g, e));
    const X on_narrow = narrow(x, g, e), again = narrow(x, small(), clone(e));
    e.copy_from(uniform<double>({8, 1}, Key{5}));
    const X changed = wide(x, g, e), alone = wide(x, small(), clone(e));
    for (long i = 0; i < changed.size(); ++i) {
        CHECK(on_narrow.data()[i] == again.data()[i]);
        CHECK(changed.data()[i] == alone.data()[i]);
    }
}

TEST_CASE("convolutions of kinds do not store edges x features", "[graph]") {
    // 12800 edges of 64 features would be 3.3 MB, those of the four basis functions of each 13 MB.
    const long nodes = 16, features = 64;
    const Graph once = dense(nodes, 50);
    const Tensor<float, 2> x = randn<float>({nodes, features}, Key{1}), e = uniform<float>({once.edges(), 2}, Key{2});
    const auto types = empty<std::int64_t>({once.edges()});
    for (long k = 0; k < types.size(); ++k) types.data()[k] = k % 3;
    const graph::SplineConv<float> spline(features, features, {3, 3}, Key{3});
    const graph::RGCNConv<float> relational(features, features, 3, Key{4});
    const auto peak = [&](const auto& run) {
        run();  // what is kept with the graph
        const long before = memory::statistics().live;
        memory::reset_peak();
        run();
        return memory::statistics().peak - before;
    };
    const auto own = [&] { return clone(x).require_grad(); };
    CHECK(peak([&] { tenon::sum(relational(own(), once, types)).backward(); }) < 2 << 20);
    CHECK(peak([&] { tenon::sum(spline(own(), once, e)).backward(); }) < 4 << 20);
}

TEST_CASE("bipartite graphs of kinds", "[graph]") {
    const Graph g = Graph::bipartite(from<std::int64_t>({2, 3}, {0, 1, 3, 1, 1, 0}), 4, 2);
    const X sources = randn<double>({4, 3}, Key{1}), targets = randn<double>({2, 3}, Key{2});
    const graph::RGCNConv<double> relational(3, 2, 2, Key{3});
    const X y = relational(sources, targets, g, from<std::int64_t>({0, 1, 1}));
    const graph::SplineConv<double> spline(3, 2, {4}, Key{4});
    const X e = from<double>({3, 1}, {0.1, 0.5, 0.9}), z = spline(sources, targets, g, e);
    for (long o = 0; o < 2; ++o) {
        double of_types = relational.bias.data()[o], of_basis = spline.bias.data()[o];
        const auto u = basis(0.9, 4, true, 1);
        for (long f = 0; f < 3; ++f) {
            of_types +=
                targets.data()[f] * relational.root.data()[2 * f + o] + sources.data()[9 + f] * relational.weight.data()[(3 + f) * 2 + o];
            of_basis += targets.data()[f] * spline.lin.weight.data()[3 * o + f];
            for (long s = 0; s < 2; ++s)
                of_basis += u.weight.data()[s] * sources.data()[9 + f] * spline.weight.data()[(u.index.data()[s] * 3 + f) * 2 + o];
        }
        CHECK(y.data()[o] == Approx(of_types).margin(1e-12));
        CHECK(z.data()[o] == Approx(of_basis).margin(1e-12));
    }
}

TEST_CASE("convolutions of kinds say what does not fit", "[graph]") {
    const Graph g = small();
    const X x = randn<double>({6, 3}, Key{1});
    const graph::SplineConv<double> spline(3, 2, {4, 4}, Key{1});
    CHECK_THROWS_WITH(spline(x, g, full<double>({8, 2}, 1.25)), Contains("pseudo-coordinate 0 of edge 0 is 1.25, expected 0 to 1"));
    CHECK_THROWS_WITH(spline(x, g, full<double>({8, 2}, std::nan(""))), Contains("expected 0 to 1"));
    CHECK_THROWS_WITH(spline(x, g, zeros<double>({8, 3})), Contains("for a kernel of 2 axes"));
    CHECK_THROWS_WITH(spline(x, g, zeros<double>({7, 2})), Contains("came for 8 edges"));
    CHECK_THROWS_WITH(spline(randn<double>({6, 2}, Key{1}), g, zeros<double>({8, 2})), Contains("expected 3 features"));
    CHECK_THROWS_WITH(basis(0.5, 5, true, 4), Contains("degree 4, expected 1, 2 or 3"));
    CHECK_THROWS_WITH(basis(0.5, 2, true, 2), Contains("too few for degree 2"));
    graph::SplineConvOptions o;
    o.aggregation = graph::max;
    CHECK_THROWS_WITH(graph::SplineConv<double>(3, 2, {4}, Key{1}, o), Contains("neither the sum nor the mean"));
    CHECK_THROWS_WITH(graph::SplineConv<double>(3, 2, {}, Key{1}), Contains("without axes"));
    graph::SplineConv<double> loaded(3, 2, {4, 4}, Key{1});
    loaded.kernel_size = from<std::int64_t>({4, 5});
    CHECK_THROWS_WITH(loaded(x, g, zeros<double>({8, 2})), Contains("kernel_size makes 20 matrices, weight has 16"));
    loaded.kernel_size = from<std::int64_t>({4, 4});
    loaded.options.aggregation = graph::max;
    CHECK_THROWS_WITH(loaded(x, g, zeros<double>({8, 2})), Contains("neither the sum nor the mean"));
    for (const graph::Aggregation how : {graph::product, graph::std_dev, graph::softmax_sum})
        CHECK_THROWS_WITH(graph::aggregate_edges(how, g, zeros<double>({8, 2})), Contains("messages that are formulas"));
    const graph::RGCNConv<double> relational(3, 2, 3, Key{1});
    CHECK_THROWS_WITH(relational(x, g, from<std::int64_t>({0, 1, 2})), Contains("came for 8 edges"));
    CHECK_THROWS_AS(relational(x, g, full<std::int64_t>({8}, 3)), IndexError);
    CHECK_THROWS_WITH(relational(X(), g, zeros<std::int64_t>({8})), Contains("the graph must have 3 nodes"));
    graph::RgcnOptions both;
    both.bases = both.blocks = 2;
    CHECK_THROWS_AS(graph::RGCNConv<double>(4, 2, 3, Key{1}, both), ValueError);
    both.bases = 0;
    CHECK_THROWS_WITH(graph::RGCNConv<double>(3, 2, 3, Key{1}, both), Contains("2 blocks do not divide 3 -> 2 features"));
}
