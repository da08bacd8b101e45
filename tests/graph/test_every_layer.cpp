// What must hold of every convolution: of batches, threads, orders of nodes and edges, and of graphs with next to nothing in them.
#include "every_layer.hpp"

#include <catch2/catch.hpp>

#include <cmath>
#include <cstring>

using namespace every_layer;

namespace {

const Layers& layers() {
    static const Layers all_layers = [] {
        const Key key{11};
        Layers list;
        add_products(list, key);
        add_attention(list, key);
        add_edge_networks(list, key);
        add_kinds(list, key);
        return list;
    }();
    return all_layers;
}

// Edges in another order.
Input reordered(const Input& i, const std::vector<long>& order) {
    Input o = i;
    const auto by = empty<std::int64_t>({static_cast<long>(order.size())});
    std::copy(order.begin(), order.end(), by.data());
    o.g = Graph::from_edges(index_select<1>(i.g.edge_index(), by), i.g.nodes());
    o.e = index_select<0>(i.e, by);
    o.w = index_select<0>(i.w, by);
    o.types = index_select<0>(i.types, by);
    return o;
}
bool same_bits(const float* a, const float* b, long count) {
    return std::memcmp(a, b, static_cast<std::size_t>(count) * sizeof(float)) == 0;
}
bool finite(const X& y) { return std::all_of(y.data(), y.data() + y.size(), [](float v) { return std::isfinite(v); }); }
bool near(const X& a, const X& b, double tolerance) {
    REQUIRE(a.size() == b.size());
    for (long i = 0; i < a.size(); ++i)
        if (!(std::abs(a.data()[i] - b.data()[i]) <= tolerance * (1 + std::abs(b.data()[i])))) {
            UNSCOPED_INFO("element " << i << ": " << a.data()[i] << " instead of " << b.data()[i]);
            return false;
        }
    return true;
}

}  // namespace

TEST_CASE("layers: graphs of a batch have the bits that they have alone, a single node and none without edges too", "[graph]") {
    const std::vector<Input> parts = {make(9, some_edges(9, 30, Key{1}), Key{2}), make(1, {}, Key{3}),
                                      make(20, some_edges(20, 70, Key{4}), Key{5}), make(4, {}, Key{6}), make(1, {{0, 0}}, Key{7})};
    Input both;
    std::vector<X> x, e;
    std::vector<Tensor<float, 1>> w;
    std::vector<Tensor<std::int64_t, 1>> types;
    std::vector<Tensor<std::int64_t, 2>> edges;
    long nodes = 0;
    for (const Input& p : parts) {
        x.push_back(p.x), e.push_back(p.e), w.push_back(p.w), types.push_back(p.types);
        edges.push_back(p.g.edge_index() + static_cast<std::int64_t>(nodes));
        nodes += p.g.nodes();
    }
    both.g = Graph::from_edges(concat<1>(edges), nodes);
    both.x = concat<0>(x), both.e = concat<0>(e), both.w = concat<0>(w), both.types = concat<0>(types);
    for (const Layer& layer : layers()) {
        INFO(layer.name);
        const X together = layer.run(both);
        CHECK(finite(together));
        long row = 0;
        for (const Input& p : parts) {
            INFO("the graph of " << p.g.nodes() << " nodes and " << p.g.edges() << " edges");
            const X alone = layer.run(p);
            REQUIRE(alone.shape(0) == p.g.nodes());
            CHECK(same_bits(alone.data(), together.data() + row * together.shape(1), alone.size()));
            row += p.g.nodes();
        }
    }
}

TEST_CASE("layers: neither threads nor the order of the edges are seen in the bits", "[graph]") {
    const Input i = make(2000, some_edges(2000, 30000, Key{1}), Key{2});
    std::vector<long> order(static_cast<std::size_t>(i.g.edges()));
    for (std::size_t k = 0; k < order.size(); ++k) order[k] = static_cast<long>((k * 4999) % order.size());
    {
        std::vector<long> sorted = order;
        std::sort(sorted.begin(), sorted.end());
        for (std::size_t k = 0; k < sorted.size(); ++k) REQUIRE(sorted[k] == static_cast<long>(k));
    }
    const Input shuffled = reordered(i, order);
    const int threads = num_threads();
    for (const Layer& layer : layers()) {
        INFO(layer.name);
        // The result, and the gradient of x.
        const auto run = [&](const Input& given, int t) {
            set_num_threads(t);
            Input own = given;
            own.x = clone(given.x).require_grad();
            const X y = layer.run(own);
            tenon::sum(square(y)).backward();
            const X dx = contiguous(own.x.grad());
            std::vector<float> numbers(y.data(), y.data() + y.size());
            numbers.insert(numbers.end(), dx.data(), dx.data() + dx.size());
            return numbers;
        };
        const std::vector<float> one = run(i, 1), two = run(i, 2), other = run(shuffled, 2);
        CHECK(same_bits(one.data(), two.data(), static_cast<long>(one.size())));
        CHECK(same_bits(one.data(), other.data(), static_cast<long>(one.size())));
    }
    set_num_threads(threads);
}

TEST_CASE("layers: permuted nodes have permuted results", "[graph]") {
    const long nodes = 30;
    const auto edges = some_edges(nodes, 100, Key{1});
    const Input i = make(nodes, edges, Key{2});
    const auto place = [&](long v) { return (7 * v + 3) % nodes; };
    Input p = i;
    const auto index = empty<std::int64_t>({2, i.g.edges()});
    const auto back = empty<std::int64_t>({nodes});
    for (long k = 0; k < 2 * i.g.edges(); ++k) index.data()[k] = place(static_cast<long>(i.g.edge_index().data()[k]));
    for (long v = 0; v < nodes; ++v) back.data()[v] = place(v);
    p.g = Graph::from_edges(index, nodes);
    p.x = empty<float>({nodes, in});
    for (long v = 0; v < nodes; ++v)
        for (long f = 0; f < in; ++f) p.x.data()[place(v) * in + f] = i.x.data()[v * in + f];
    for (const Layer& layer : layers()) {
        INFO(layer.name);
        CHECK(near(index_select<0>(layer.run(p), back), layer.run(i), 2e-5));
    }
}

TEST_CASE("layers: sources and targets apart are what they are as nodes of one graph", "[graph]") {
    // Edges from 12 nodes to 7 others, also as one graph of 19, in which these follow those.
    const long sources = 12, targets = 7;
    std::vector<std::pair<long, long>> edges;
    for (const auto& [a, b] : some_edges(sources, 60, Key{1}))
        if (b < targets - 1) edges.push_back({a, sources + b});
    const Input whole = make(sources + targets, edges, Key{2}), square = make(20, some_edges(20, 70, Key{3}), Key{4});
    Input apart = whole;
    const auto index = clone(whole.g.edge_index());
    for (long e = 0; e < whole.g.edges(); ++e) index.data()[whole.g.edges() + e] -= sources;
    apart.g = Graph::bipartite(index, sources, targets);
    const X s = clone(whole.x(slice(0, sources))), t = clone(whole.x(slice(sources, sources + targets)));
    long count = 0;
    for (const Layer& layer : layers()) {
        if (!layer.between) continue;
        INFO(layer.name);
        CHECK(near(layer.between(square.x, square.x, square), layer.run(square), 2e-5));
        if (layer.loops) {
            CHECK_THROWS_AS(layer.between(s, t, apart), ValueError);
            continue;
        }
        ++count;
        const X y = layer.run(whole);
        CHECK(near(layer.between(s, t, apart), clone(y(slice(sources, sources + targets))), 2e-5));
        CHECK_THROWS_AS(layer.between(t, s, apart), ShapeError);
        CHECK_THROWS_AS(layer.between(s, clone(t(slice(0, 1))), apart), ShapeError);  // one row is not meant for all
        // The gradients as well.
        Input own = whole;
        own.x = clone(whole.x).require_grad();
        tenon::sum(tenon::square(X(layer.run(own)(slice(sources, sources + targets))))).backward();
        const X s2 = clone(s).require_grad(), t2 = clone(t).require_grad();
        tenon::sum(tenon::square(layer.between(s2, t2, apart))).backward();
        const X dx = contiguous(own.x.grad());
        CHECK(near(contiguous(s2.grad()), clone(dx(slice(0, sources))), 2e-4));
        if (t2.has_grad()) CHECK(near(contiguous(t2.grad()), clone(dx(slice(sources, sources + targets))), 2e-4));
    }
    CHECK(count >= 19);
}

TEST_CASE("layers: a ring of six is two rings of three to them", "[graph]") {
    std::vector<std::pair<long, long>> six, threes;
    for (long v = 0; v < 6; ++v) {
        six.push_back({v, (v + 1) % 6}), six.push_back({(v + 1) % 6, v});
        const long next = v / 3 * 3 + (v + 1) % 3;
        threes.push_back({v, next}), threes.push_back({next, v});
    }
    Input a = make(6, six, Key{1}), b = make(6, threes, Key{1});
    for (Input* i : {&a, &b}) {
        for (long k = 0; k < 6 * in; ++k) i->x.data()[k] = 0.3f * static_cast<float>(k % in) - 0.5f;
        i->e.fill(0.4f);
        i->w.fill(1.f);
        i->types.fill(1);
    }
    for (const Layer& layer : layers()) {
        INFO(layer.name);
        const X one = layer.run(a), other = layer.run(b);
        for (long v = 0; v < 6; ++v) {
            CHECK(same_bits(one.data(), one.data() + v * one.shape(1), one.shape(1)));
            CHECK(same_bits(one.data(), other.data() + v * one.shape(1), one.shape(1)));
        }
    }
}

TEST_CASE("layers: an edge that comes twice", "[graph]") {
    const auto edges = some_edges(10, 30, Key{1});
    auto twice = edges;
    twice.insert(twice.end(), edges.begin(), edges.end());
    const Input i = make(10, edges, Key{2}), j = make(10, twice, Key{2});
    for (const Layer& layer : layers()) {
        INFO(layer.name);
        CHECK(finite(layer.run(j)));
        // Of averages and extremes all edges twice are all edges once.
        const bool average = layer.name == "SAGE" || layer.name == "GraphConv of means" || layer.name == "GMM" || layer.name == "Spline" ||
                             layer.name.rfind("RGCN", 0) == 0 || layer.name.rfind("Transformer", 0) == 0;
        if (layer.extremes || average) CHECK(near(layer.run(j), layer.run(i), 2e-5));
    }
    // Of sums an edge that comes twice is one of twice the weight.
    Input heavy = i;
    heavy.w = Tensor<float, 1>(i.w * 2.f);
    for (const Layer& layer : layers())
        if (layer.name == "GraphConv" || layer.name == "GatedGraph") CHECK(near(layer.run(j), layer.run(heavy), 2e-5));
}

TEST_CASE("layers: gradients where there are no edges", "[graph]") {
    for (const long nodes : {1l, 5l}) {
        const Input none = make(nodes, {}, Key{1});
        for (const Layer& layer : layers()) {
            INFO(layer.name);
            Input i = none;
            i.x = clone(none.x).require_grad();
            const X y = layer.run(i);
            CHECK(y.shape(0) == nodes);
            if (!y.requires_grad()) continue;
            tenon::sum(square(y)).backward();
            if (i.x.has_grad()) CHECK(finite(contiguous(i.x.grad())));
        }
    }
}
