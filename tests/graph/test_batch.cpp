// Batches of graphs: what is concatenated, what is raised, and that taking apart gives back what went in.
#include "../io/files.hpp"

#include <tenon/data/loader.hpp>
#include <tenon/graph/aggregate.hpp>
#include <tenon/graph/batch.hpp>

using namespace tenon;
using files::error_of, files::has;
using graph::Batch, graph::GraphData;

namespace {

// A graph with this many nodes and edges, everything in it a function of the key.
GraphData<> make(Key key, long nodes, long edges) {
    GraphData<> g;
    g.nodes = nodes;
    g.edge_index = empty<std::int64_t>({2, edges});
    for (long k = 0; k < 2 * edges; ++k)
        g.edge_index.data()[k] = static_cast<std::int64_t>(random_word(key, static_cast<std::uint64_t>(k))) % nodes;
    g.x = randn<float>({nodes, 3}, key.split(1));
    g.edge_attr = randn<float>({edges, 2}, key.split(2));
    g.y = empty<std::int64_t>({nodes});
    for (long i = 0; i < nodes; ++i) g.y.data()[i] = i % 3;
    g.graph_y = from<std::int64_t>({nodes % 2});
    g.train = from<std::int64_t>({nodes - 1, 0});
    g.face = from<std::int64_t>({3, 1}, {0, nodes - 1, nodes / 2});
    return g;
}
template <class T, int R>
bool same(const Tensor<T, R>& a, const Tensor<T, R>& b) {
    return a.has_value() == b.has_value() && (!a.has_value() || files::equal(io::Array(a), io::Array(b)));
}
void check_same(const GraphData<>& a, const GraphData<>& b) {
    CHECK(a.nodes == b.nodes);
    CHECK(same(a.edge_index, b.edge_index));
    CHECK(same(a.x, b.x));
    CHECK(same(a.edge_attr, b.edge_attr));
    CHECK(same(a.pos, b.pos));
    CHECK(same(a.y, b.y));
    CHECK(same(a.graph_y, b.graph_y));
    CHECK(same(a.face, b.face));
    CHECK(same(a.train, b.train));
    CHECK(same(a.test, b.test));
}
std::vector<std::int64_t> flat(const auto& x) { return {x.data(), x.data() + x.size()}; }

}  // namespace

TEST_CASE("rows are concatenated, indices raised by the nodes before", "[batch]") {
    const std::vector<GraphData<>> graphs = {make(Key{1}, 3, 4), make(Key{2}, 1, 0), make(Key{3}, 5, 7)};
    const auto b = Batch<>::of(graphs);
    CHECK(b.size() == 3);
    CHECK(b.data.nodes == 9);
    CHECK(flat(b.index) == std::vector<std::int64_t>{0, 0, 0, 1, 2, 2, 2, 2, 2});
    CHECK(flat(b.pointers) == std::vector<std::int64_t>{0, 3, 4, 9});
    CHECK(flat(b.data.train) == std::vector<std::int64_t>{2, 0, 3, 3, 8, 4});
    CHECK(flat(b.data.face) == std::vector<std::int64_t>{0, 3, 4, 2, 3, 8, 1, 3, 6});
    CHECK(flat(b.data.graph_y) == std::vector<std::int64_t>{1, 1, 1});
    CHECK(b.data.edge_index.shape(1) == 11);
    CHECK(b.data.edge_index(1, 4).item() == graphs[2].edge_index(1, 0).item() + 4);
    CHECK(b.graph.nodes() == 9);
    CHECK(!b.data.pos.has_value());
    const auto back = b.unbatch();
    for (std::size_t i = 0; i < graphs.size(); ++i) check_same(back[i], graphs[i]);
}

TEST_CASE("a batch of some is the same as a batch made of those", "[batch]") {
    std::vector<GraphData<>> graphs;
    for (int i = 0; i < 7; ++i) graphs.push_back(make(Key{10 + i}, 1 + i, 2 * i));
    const auto whole = Batch<>::of(graphs);
    const auto some = whole.batch({5, 0, 5, 3});
    const auto direct = Batch<>::of({graphs[5], graphs[0], graphs[5], graphs[3]});
    check_same(some.data, direct.data);
    CHECK(same(some.index, direct.index));
    CHECK(same(some.pointers, direct.pointers));
    check_same(some[2], graphs[5]);
    check_same(whole.batch({2})[0], graphs[2]);
    // The graph's order is taken over, not made again.
    const auto check_pattern = [](const CsrPattern& a, const CsrPattern& b) {
        CHECK(same(a.pointers, b.pointers));
        CHECK(same(a.columns, b.columns));
        CHECK(same(a.edges, b.edges));
        CHECK(a.in_order == b.in_order);
        CHECK(a.longest == b.longest);
    };
    for (const auto& rows : {std::vector<long>{5, 0, 5, 3}, {1, 2}, {0}, {0, 0}, {6, 5, 4, 3, 2, 1, 0}}) {
        const auto b = whole.batch(rows);
        const auto sorted = graph::Graph::from_edges(b.data.edge_index, b.data.nodes);
        check_pattern(b.graph.in(), sorted.in());
        check_pattern(b.graph.out(), sorted.out());
        CHECK(same(b.graph.edge_index(), b.data.edge_index));
    }
    // A batch whose edges were replaced has a graph of its own still; what is taken from it has that of the new edges.
    auto changed = whole;
    changed.data.edge_index = clone(whole.data.edge_index);
    std::swap(changed.data.edge_index.data()[0], changed.data.edge_index.data()[whole.data.edge_index.shape(1)]);
    const auto part = changed.batch({1, 2});
    check_pattern(part.graph.in(), graph::Graph::from_edges(part.data.edge_index, part.data.nodes).in());
    // Nor is an order taken over that edges written to in place no longer have, ...
    auto written = Batch<>::of(graphs);
    const long edges = written.data.edge_index.shape(1), last = written.data.nodes - 1;
    written.data.edge_index.data()[edges - 1] = last, written.data.edge_index.data()[2 * edges - 1] = last;
    const auto after = written.batch({6});
    check_pattern(after.graph.in(), graph::Graph::from_edges(after.data.edge_index, after.data.nodes).in());
    CHECK(after.data.edge_index.data()[after.data.edge_index.shape(1) - 1] == 6);
    // ... and edges that reach into another graph are refused.
    auto crossed = Batch<>::of(graphs);
    crossed.data.edge_index = clone(crossed.data.edge_index);
    crossed.data.edge_index.data()[edges - 1] = 0;
    crossed.graph = graph::Graph::from_edges(crossed.data.edge_index, crossed.data.nodes);
    CHECK_THROWS_AS(crossed.batch({6}), IndexError);
    CHECK_THROWS_AS(crossed.batch({6, 1}), IndexError);
}

TEST_CASE("a layer over a batch gives every graph the bits that it gives it alone", "[batch]") {
    std::vector<GraphData<>> graphs;
    for (int i = 0; i < 5; ++i) graphs.push_back(make(Key{30 + i}, 2 + 3 * i, 9 * i));
    const auto b = Batch<>::of(graphs);
    const Tensor<float, 2> together = graph::aggregate<graph::mean>(b.graph, b.data.x);
    long row = 0;
    for (const auto& g : graphs) {
        const Tensor<float, 2> alone = graph::aggregate<graph::mean>(g.graph(), g.x);
        CHECK(std::memcmp(alone.data(), together.data() + 3 * row, static_cast<std::size_t>(alone.size()) * sizeof(float)) == 0);
        row += g.nodes;
    }
}

TEST_CASE("sparse features and structs of one's own batch as well", "[batch]") {
    GraphData<Csr<float>> a, b;
    a.nodes = 2, b.nodes = 3;
    a.x = Csr<float>::from_dense(from<float>({2, 2}, {0, 1, 2, 0}));
    b.x = Csr<float>::from_dense(from<float>({3, 2}, {0, 0, 3, 4, 0, 5}));
    const auto both = Batch<GraphData<Csr<float>>>::of({a, b, a});
    const auto dense = both.data.x.to_dense();
    CHECK(std::vector<float>(dense.data(), dense.data() + dense.size()) == std::vector<float>{0, 1, 2, 0, 0, 0, 3, 4, 0, 5, 0, 1, 2, 0});
    CHECK(both.batch({1})[0].x.elements() == 3);

    struct Molecule {
        Tensor<std::int64_t, 2> edge_index;
        long nodes = 0;
        Tensor<double, 3> frames;               // of nodes
        Tensor<std::int64_t, 2> hydrogen_bonds;  // [2, H]
        static constexpr auto fields() {
            return std::make_tuple(graph::of_nodes("frames", &Molecule::frames),
                                   graph::index_into_nodes("hydrogen_bonds", &Molecule::hydrogen_bonds));
        }
    };
    Molecule water{from<std::int64_t>({2, 2}, {0, 1, 1, 2}), 3, randn<double>({3, 2, 2}, Key{1}), from<std::int64_t>({2, 1}, {0, 2})};
    const auto molecules = Batch<Molecule>::of({water, water});
    CHECK(flat(molecules.data.hydrogen_bonds) == std::vector<std::int64_t>{0, 3, 2, 5});
    CHECK(molecules.data.frames.shape(0) == 6);
    CHECK(same(molecules[1].frames, water.frames));
}

TEST_CASE("a set of graphs is a data set for data::batches: every graph once, whatever runs ahead", "[batch]") {
    std::vector<GraphData<>> graphs;
    for (int i = 0; i < 10; ++i) {
        graphs.push_back(make(Key{50 + i}, 2 + i, 3));
        graphs.back().graph_y = from<std::int64_t>({i});
    }
    const auto set = graph::GraphSet::of(graphs);
    std::vector<std::int64_t> first;
    for (int prefetch : {0, 2}) {
        std::vector<std::int64_t> seen;
        std::vector<long> sizes;
        for (const auto& b : data::batches(set, {.size = 4, .shuffle = Key{3}, .prefetch = prefetch})) {
            sizes.push_back(b.size());
            for (std::int64_t label : flat(b.data.graph_y)) seen.push_back(label);
        }
        CHECK(sizes == std::vector<long>{4, 4, 2});
        if (first.empty()) first = seen;
        CHECK(seen == first);
        std::sort(seen.begin(), seen.end());
        for (std::size_t i = 0; i < 10; ++i) CHECK(seen[i] == static_cast<std::int64_t>(i));
    }
}

TEST_CASE("what does not batch says which graph and which field", "[batch]") {
    const auto error = [](auto&& change) {
        std::vector<GraphData<>> graphs = {make(Key{1}, 3, 4), make(Key{2}, 4, 2)};
        change(graphs[1]);
        return error_of([&] { Batch<>::of(graphs); });
    };
    CHECK(has(error([](auto& g) { g.x = {}; }), "graph 0 has x, graph 1 has not"));
    CHECK(has(error([](auto& g) { g.pos = zeros<float>({4, 3}); }), "graph 1 has pos, graph 0 has not"));
    CHECK(has(error([](auto& g) { g.x = zeros<float>({3, 3}); }), "x of graph 1 has 3 rows, expected 4, one for each node"));
    CHECK(has(error([](auto& g) { g.x = zeros<float>({4, 2}); }), "expected the same sizes beside axis 0"));
    CHECK(has(error([](auto& g) { g.edge_attr = zeros<float>({3, 2}); }),
              "edge_attr of graph 1 has 3 rows, expected 2, one for each edge"));
    CHECK(has(error([](auto& g) { g.edge_index = from<std::int64_t>({2, 1}, {0, 4}); }),
              "edge_index of graph 1 names node 4, expected 0 to 3"));
    CHECK(has(error([](auto& g) { g.train = from<std::int64_t>({-1}); }), "train of graph 1 names node -1"));
    CHECK(has(error_of([] { Batch<>::of({}); }), "no graphs came"));
    const auto b = Batch<>::of({make(Key{1}, 3, 4)});
    CHECK(has(error_of<IndexError>([&] { b.batch({1}); }), "graph 1 of 1"));
    CHECK(has(error_of<IndexError>([&] { static_cast<void>(b[-1]); }), "graph -1 of 1"));
}
