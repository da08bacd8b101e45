// Layers that are simpler ones for special weights or graphs.
#include <tenon/graph/conv/appnp.hpp>
#include <tenon/graph/conv/cheb.hpp>
#include <tenon/graph/conv/edge_conv.hpp>
#include <tenon/graph/conv/gat.hpp>
#include <tenon/graph/conv/gatv2.hpp>
#include <tenon/graph/conv/gcn.hpp>
#include <tenon/graph/conv/gin.hpp>
#include <tenon/graph/conv/graph_conv.hpp>
#include <tenon/graph/conv/rgcn.hpp>
#include <tenon/graph/conv/sage.hpp>
#include <tenon/graph/conv/sg.hpp>
#include <tenon/graph/conv/spline.hpp>
#include <tenon/graph/pool/set2set.hpp>
#include <tenon/tenon.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <vector>

using namespace tenon;
using graph::Graph;

namespace {

using X = Tensor<double, 2>;
const Key key{5};

bool near(const X& a, const X& b) {
    REQUIRE(a.size() == b.size());
    for (long i = 0; i < a.size(); ++i)
        if (!(std::abs(a.data()[i] - b.data()[i]) <= 1e-12 * (1 + std::abs(b.data()[i])))) {
            UNSCOPED_INFO("element " << i << ": " << a.data()[i] << " instead of " << b.data()[i]);
            return false;
        }
    return true;
}
// No loops, no edge twice; node 6 is isolated.
Graph some() { return Graph::from_edges(from<std::int64_t>({2, 9}, {0, 1, 1, 2, 3, 0, 4, 5, 2, 1, 0, 2, 1, 2, 3, 3, 4, 5}), 7); }
Graph without_edges(long nodes) { return Graph::from_edges(empty<std::int64_t>({2, 0}), nodes); }
// The sums over in-neighbours.
X summed(const Graph& g, const X& x) {
    const X y = zeros<double>({g.targets(), x.shape(1)});
    for (long e = 0; e < g.edges(); ++e)
        for (long f = 0; f < x.shape(1); ++f)
            y.data()[g.edge_index().data()[g.edges() + e] * x.shape(1) + f] += x.data()[g.edge_index().data()[e] * x.shape(1) + f];
    return y;
}
X identity(long n) { return eye<double>(n); }

}  // namespace

TEST_CASE("without edges layers of the graph are layers of the nodes", "[graph]") {
    const X x = randn<double>({7, 3}, Key{1});
    const Graph none = without_edges(7);
    const graph::GCNConv<double> gcn(3, 2, key);
    CHECK(near(gcn(x, none), X(linear(x, gcn.lin.weight))));
    const graph::SGConv<double> sg(3, 2, 3, key);
    CHECK(near(sg(x, none), X(sg.lin(x))));
    const graph::GATConv<double> gat(3, 2, key);
    CHECK(near(gat(x, none), X(linear(x, gat.lin.weight))));
    const graph::SAGEConv<double> sage(3, 2, key);
    CHECK(near(sage(x, none), X(sage.lin_r(x) + sage.lin_l.bias)));
    const graph::GraphConv<double> conv(3, 2, key);
    CHECK(near(conv(x, none), X(conv.lin_root(x) + conv.lin_rel.bias)));
    const graph::RGCNConv<double> relational(3, 2, 4, key);
    CHECK(near(relational(x, none, empty<std::int64_t>({0})), X(matmul(x, relational.root))));
    const graph::SplineConv<double> spline(3, 2, {4, 4}, key);
    CHECK(near(spline(x, none, empty<double>({0, 2})), X(spline.lin(x))));
    const graph::EdgeConv<nn::Linear<double>> edge(nn::Linear<double>(6, 2, key));
    CHECK(near(edge(x, none), zeros<double>({7, 2})));
}

TEST_CASE("propagation: K times the normalised adjacency, or none of it", "[graph]") {
    const Graph g = some();
    const X x = randn<double>({7, 3}, Key{1});
    // SGC = K GCNs of the identity, then the linear layer.
    graph::GCNConv<double> step(3, 3, key);
    step.lin.weight = identity(3).require_grad();
    const graph::SGConv<double> sg(3, 2, 3, key);
    X moved = x;
    for (int k = 0; k < 3; ++k) moved = step(moved, g);
    CHECK(near(sg(x, g), X(sg.lin(moved))));
    CHECK(near(graph::APPNP<double>(4, 1.0)(x, g), x));
    CHECK(near(graph::APPNP<double>(0, 0.1)(x, g), x));
    CHECK(near(graph::APPNP<double>(1, 0.0)(x, g), step(x, g)));
    const graph::ChebConv<double> cheb(3, 2, 1, key);
    CHECK(near(cheb(x, g), X(linear(x, cheb.lins[0].weight))));
}

TEST_CASE("Chebyshev polynomials are those of the dense Laplacian, whatever its largest eigenvalue", "[graph]") {
    // A self-loop, which is left out, and nodes without edges.
    const Graph g = Graph::from_edges(from<std::int64_t>({2, 8}, {0, 1, 1, 2, 3, 2, 4, 0, 1, 0, 2, 1, 2, 2, 3, 4}), 7);
    const auto w = from<double>({1, 0.5, 2, 1.5, 0.7, 3, 0.2, 1.1});
    const X x = randn<double>({7, 3}, Key{1});
    for (const bool weighted : {false, true}) {
        X adjacency = zeros<double>({7, 7});
        std::vector<double> degree(7, 0);
        for (long e = 0; e < 8; ++e) {
            const std::int64_t from_node = g.edge_index().data()[e], to = g.edge_index().data()[8 + e];
            if (from_node == to) continue;
            adjacency.data()[7 * to + from_node] += weighted ? w.data()[e] : 1;
            degree[static_cast<std::size_t>(from_node)] += weighted ? w.data()[e] : 1;
        }
        for (const double lambda : {2.0, 1.3, 3.7})
            for (const long out : {2l, 5l}) {
                X laplacian = zeros<double>({7, 7});
                for (std::size_t i = 0; i < 7; ++i)
                    for (std::size_t j = 0; j < 7; ++j) {
                        const double d = degree[i] * degree[j], a = d > 0 ? adjacency.data()[7 * i + j] / std::sqrt(d) : 0;
                        laplacian.data()[7 * i + j] = 2 / lambda * ((i == j ? 1 : 0) - a) - (i == j ? 1 : 0);
                    }
                const graph::ChebConv<double> cheb(3, out, 4, key);
                X before = x, now = matmul(laplacian, x), y = linear(x, cheb.lins[0].weight) + linear(now, cheb.lins[1].weight);
                for (std::size_t k = 2; k < 4; ++k) {
                    const X next = 2.0 * X(matmul(laplacian, now)) - before;
                    before = now, now = next;
                    y = y + linear(now, cheb.lins[k].weight);
                }
                INFO("lambda " << lambda << ", weights " << weighted << ", " << out << " columns");
                CHECK(near(cheb(x, g, weighted ? w : Tensor<double, 1>(), lambda), y));
            }
    }
    const graph::ChebConv<double> cheb(3, 2, 3, key);
    for (const double lambda : {0.0, -2.0, std::nan(""), HUGE_VAL})
        CHECK_THROWS_WITH(cheb(x, g, w, lambda), Catch::Contains("ChebConv: lambda_max is "));
    CHECK_THROWS_WITH(cheb(x, g, from<double>({1, 2, 3})), Catch::Contains("ChebConv: double[3] on cpu has 3 rows, but the graph has 8 edges"));
    // Fewer edges than weights: the kept ones would all be there.
    CHECK_THROWS_AS(cheb(x, g, ones<double>({9})), ShapeError);
}

TEST_CASE("attention that scores nothing is a mean, and its weights add up to one", "[graph]") {
    const Graph g = some(), looped = graph::with_self_loops(g);
    const X x = randn<double>({7, 3}, Key{1});
    graph::GatConvOptions o;
    o.heads = 2;
    graph::GATConv<double> gat(3, 2, key, o);
    gat.att_src.fill(0.0);
    gat.att_dst.fill(0.0);
    const X average = graph::aggregate<graph::mean>(looped, x);
    CHECK(near(gat(x, g), X(linear(average, gat.lin.weight))));
    // Of features that are ones everywhere attention makes ones, whatever it scores.
    graph::GATv2Conv<double> v2(3, 2, key, o);
    const X scores = randn<double>({looped.edges(), 3}, Key{2}) * 20.0;
    const X weights = graph::edge_softmax(looped, scores);
    CHECK(near(graph::aggregate_edges(graph::sum, looped, weights), ones<double>({7, 3})));
    v2.att.fill(0.0);
    CHECK(near(v2(x, g), X(v2.lin_l(average))));
}

TEST_CASE("sums of neighbours: the root's share, averages, and what tells multisets apart", "[graph]") {
    const Graph g = some();
    const X x = randn<double>({7, 3}, Key{1});
    // GIN with eps = -1 leaves the root out.
    const nn::Linear<double> net(3, 2, key);
    const graph::GINConv<nn::Linear<double>, double> rootless(net, -1.0), gin(net, 0.5);
    CHECK(near(rootless(x, g), X(net(summed(g, x)))));
    CHECK(near(gin(x, g), X(net(X(summed(g, x) + x * 1.5)))));
    // Mean SAGE on a ring with W_l = I is the neighbours' average.
    const Graph ring = Graph::from_edges(from<std::int64_t>({2, 8}, {0, 1, 2, 3, 1, 2, 3, 0, 1, 2, 3, 0, 0, 1, 2, 3}));
    const X four = randn<double>({4, 3}, Key{2});
    graph::SageOptions o;
    o.root_weight = false;
    graph::SAGEConv<double> sage(3, 3, key, o);
    sage.lin_l.weight = identity(3).require_grad();
    sage.lin_l.bias.fill(0.0);
    CHECK(near(sage(four, ring), X(summed(ring, four) * 0.5)));
    // Twice two members at node 0, once each at node 1: only sums tell them apart.
    const Graph halves = Graph::bipartite(from<std::int64_t>({2, 6}, {0, 1, 2, 3, 4, 5, 0, 0, 0, 0, 1, 1}), 6, 2);
    const X pairs = from<double>({6, 1}, {2, 2, 5, 5, 2, 5});
    const X totals = graph::aggregate<graph::sum>(halves, pairs), averages = graph::aggregate<graph::mean>(halves, pairs);
    CHECK(totals.data()[0] != totals.data()[1]);
    const X largest = graph::aggregate<graph::max>(halves, pairs);
    CHECK(averages.data()[0] == averages.data()[1]);
    CHECK(largest.data()[0] == largest.data()[1]);
}

TEST_CASE("one relation is GraphConv's mean, one spline matrix as well", "[graph]") {
    const Graph g = some();
    const X x = randn<double>({7, 3}, Key{1});
    graph::RGCNConv<double> relational(3, 2, 1, key);
    graph::GraphConv<double> conv(3, 2, key, graph::mean);
    conv.lin_rel.bias.fill(0.0);
    conv.lin_rel.weight = clone(Tensor<double, 2>(relational.weight(0)).transpose().detach()).require_grad();
    conv.lin_root.weight = clone(relational.root.transpose().detach()).require_grad();
    CHECK(near(relational(x, g, zeros<std::int64_t>({9})), conv(x, g)));
    // All matrices the same: the basis adds up to one.
    graph::SplineConv<double> spline(3, 2, {4, 3}, key);
    for (long k = 0; k < 12; ++k) spline.weight(k).copy_from(relational.weight(0));
    spline.lin.weight = conv.lin_root.weight;
    CHECK(near(spline(x, g, uniform<double>({9, 2}, Key{2})), conv(x, g)));
}

TEST_CASE("Set2Set does not see the order of a graph's nodes", "[graph]") {
    const X x = randn<double>({7, 3}, Key{1}), turned = index_select<0>(x, from<std::int64_t>({3, 0, 2, 1, 6, 4, 5}));
    const auto batch = Segments::from_sorted(from<std::int64_t>({0, 0, 0, 0, 1, 1, 1}), 2);
    const graph::Set2Set<double> pool(3, 3, key);
    CHECK(near(pool(turned, batch), pool(x, batch)));
}
