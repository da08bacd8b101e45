// Transforms of edges and features, and splits.
#include "../io/files.hpp"

#include <tenon/graph/splits.hpp>
#include <tenon/graph/transforms.hpp>

using namespace tenon;
using files::error_of, files::has;

namespace {

using Longs = std::vector<std::int64_t>;
using Floats = std::vector<float>;
Longs flat(const Tensor<std::int64_t, 2>& x) { return {x.data(), x.data() + x.size()}; }
Longs flat(const Tensor<std::int64_t, 1>& x) { return {x.data(), x.data() + x.size()}; }
Floats flat(const Tensor<float, 2>& x) { return {x.data(), x.data() + x.size()}; }
Floats flat(const Tensor<float, 1>& x) { return {x.data(), x.data() + x.size()}; }

// 2 -> 0 twice, 0 -> 1, 1 -> 1, 3 -> 2.
const auto edge_index = [] { return from<std::int64_t>({2, 5}, {2, 0, 2, 1, 3, 0, 1, 0, 1, 2}); };
const auto weights = [] { return from<float>({5, 1}, {1, 2, 4, 8, 16}); };

}  // namespace

TEST_CASE("coalesce sorts and adds up, to_undirected does so in both directions", "[transforms]") {
    const auto once = graph::coalesce(edge_index(), 4, weights());
    CHECK(flat(once.edge_index) == Longs{0, 1, 2, 3, 1, 1, 0, 2});
    CHECK(flat(once.edge_attr) == Floats{2, 8, 5, 16});
    CHECK(flat(once.edges) == Longs{1, 3, 0, 4});
    CHECK(!graph::coalesce(edge_index(), 4).edge_attr.has_value());
    const auto both = graph::to_undirected(edge_index(), 4, weights());
    CHECK(flat(both.edge_index) == Longs{0, 0, 1, 1, 2, 2, 3, 1, 2, 0, 1, 0, 3, 2});
    CHECK(flat(both.edge_attr) == Floats{2, 5, 2, 16, 5, 16, 16});
    CHECK(flat(both.edges) == Longs{1, 0, 1, 3, 0, 4, 4});
    CHECK(graph::to_undirected(zeros<std::int64_t>({2, 0}), 3).edge_index.size() == 0);
    // A view reads as what it is.
    const auto turned = from<std::int64_t>({5, 2}, {2, 0, 0, 1, 2, 0, 1, 1, 3, 2});
    CHECK(flat(graph::coalesce(turned.transpose(), 4).edge_index) == flat(once.edge_index));
}

TEST_CASE("self-loops go and come", "[transforms]") {
    const auto without = graph::remove_self_loops(edge_index(), 4, weights());
    CHECK(flat(without.edge_index) == Longs{2, 0, 2, 3, 0, 1, 0, 2});
    CHECK(flat(without.edge_attr) == Floats{1, 2, 4, 16});
    CHECK(flat(without.edges) == Longs{0, 1, 2, 4});
    const auto with = graph::add_self_loops(without.edge_index, 4, without.edge_attr, 0.5f);
    CHECK(flat(with.edge_index) == Longs{2, 0, 2, 3, 0, 1, 2, 3, 0, 1, 0, 2, 0, 1, 2, 3});
    CHECK(flat(with.edge_attr) == Floats{1, 2, 4, 16, 0.5f, 0.5f, 0.5f, 0.5f});
    CHECK(flat(with.edges) == Longs{0, 1, 2, 3, -1, -1, -1, -1});
}

TEST_CASE("degrees, one-hot degrees, constants", "[transforms]") {
    CHECK(flat(graph::degree(edge_index(), 5)) == Floats{1, 1, 2, 1, 0});
    CHECK(flat(graph::degree(edge_index(), 5, graph::End::target)) == Floats{2, 2, 1, 0, 0});
    CHECK(flat(graph::one_hot_degree(edge_index(), 4, 2)) == Floats{0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0});
    CHECK(has(error_of<ValueError>([] { graph::one_hot_degree(edge_index(), 4, 1); }), "node 2 has degree 2, the largest was given as 1"));
    CHECK(flat(graph::constant(2, 3)) == Floats{3, 3});
}

TEST_CASE("features are normalised as PyTorch Geometric does: dense and sparse alike", "[transforms]") {
    const auto x = from<float>({3, 2}, {3, 1, 0, 0, 0.25f, 0.5f});
    CHECK(flat(graph::normalize_features(x)) == Floats{0.75f, 0.25f, 0, 0, 0.25f, 0.5f});
    CHECK(flat(graph::normalize_features(Csr<float>::from_dense(x)).to_dense()) == Floats{0.75f, 0.25f, 0, 0, 0.25f, 0.5f});
    CHECK(flat(graph::normalize_features(from<float>({2, 2}, {-1, 1, 0, 2}))) == Floats{0, 1, 0.25f, 0.75f});
    CHECK(flat(x) == Floats{3, 1, 0, 0, 0.25f, 0.5f});
    CHECK(has(error_of<ValueError>([] { graph::normalize_features(Csr<float>::from_dense(from<float>({1, 2}, {-1, 1}))); }), "row 0 is -1"));
}

TEST_CASE("subgraphs and neighbourhoods", "[transforms]") {
    const auto part = graph::subgraph(from<std::int64_t>({2, 0, 3}), edge_index(), 4, weights());
    CHECK(flat(part.nodes) == Longs{2, 0, 3});
    CHECK(flat(part.edges.edge_index) == Longs{0, 0, 2, 1, 1, 0});
    CHECK(flat(part.edges.edge_attr) == Floats{1, 4, 16});
    CHECK(flat(part.edges.edges) == Longs{0, 2, 4});
    CHECK(has(error_of<ValueError>([] { graph::subgraph(from<std::int64_t>({1, 1}), edge_index(), 4); }), "node 1 is listed twice"));
    CHECK(has(error_of<IndexError>([] { graph::subgraph(from<std::int64_t>({4}), edge_index(), 4); }), "node 4 of 4"));
    const auto seed = from<std::int64_t>({1});
    CHECK(flat(graph::k_hop(seed, 0, edge_index(), 4).nodes) == Longs{1});
    CHECK(flat(graph::k_hop(seed, 1, edge_index(), 4).nodes) == Longs{1, 0});
    CHECK(flat(graph::k_hop(seed, 2, edge_index(), 4).nodes) == Longs{1, 0, 2});
    const auto all = graph::k_hop(seed, 9, edge_index(), 4);
    CHECK(flat(all.nodes) == Longs{1, 0, 2, 3});
    CHECK(flat(all.edges.edge_index) == Longs{2, 1, 2, 0, 3, 1, 0, 1, 0, 2});
    CHECK(has(error_of<IndexError>([] { graph::coalesce(edge_index(), 3); }), "edge 4 is 3 -> 2, but there are 3 nodes"));
    CHECK(has(error_of<ShapeError>([] { graph::coalesce(edge_index(), 4, zeros<float>({4, 1})); }), "expected a row for each of 5 edges"));
    CHECK(has(error_of<ShapeError>([] { graph::degree(zeros<std::int64_t>({3, 2}), 4); }), "expected [2, E]"));
}

TEST_CASE("random splits: so many of each class, nothing twice, the same for the same key", "[splits]") {
    const Tensor<std::int64_t, 1> y = empty<std::int64_t>({300});
    for (long i = 0; i < 300; ++i) y.data()[i] = i % 7 == 6 ? -1 : i % 3;
    const auto split = graph::random_split(y, Key{1}, {.per_class = 5, .validation = 50, .test = 100});
    CHECK(split.train.size() == 15);
    CHECK(split.validation.size() == 50);
    CHECK(split.test.size() == 100);
    std::vector<int> seen(300), classes(3);
    for (const auto* part : {&split.train, &split.validation, &split.test})
        for (std::int64_t i : flat(*part)) {
            CHECK(y.data()[i] >= 0);
            ++seen[static_cast<std::size_t>(i)];
        }
    for (int count : seen) CHECK(count <= 1);
    for (std::int64_t i : flat(split.train)) ++classes[static_cast<std::size_t>(y.data()[i])];
    CHECK(classes == std::vector<int>{5, 5, 5});
    CHECK(flat(graph::random_split(y, Key{1}, {.per_class = 5, .validation = 50, .test = 100}).test) == flat(split.test));
    CHECK(flat(graph::random_split(y, Key{2}, {.per_class = 5, .validation = 50, .test = 100}).test) != flat(split.test));
    CHECK(has(error_of<ValueError>([&] { graph::random_split(y, Key{1}, {.per_class = 101}); }), "fewer than the 101 for training"));
    CHECK(has(error_of<ValueError>([&] { graph::random_split(y, Key{1}); }), "nodes are left, fewer than 500 for validation"));
}

TEST_CASE("stratified folds: all rows once, classes spread evenly", "[splits]") {
    const Tensor<std::int64_t, 1> y = empty<std::int64_t>({188});
    for (long i = 0; i < 188; ++i) y.data()[i] = i < 63 ? 0 : 1;
    const auto folds = graph::stratified_folds(y, 10, Key{3});
    std::vector<int> seen(188);
    for (const auto& fold : folds) {
        CHECK((fold.size() == 18 || fold.size() == 19));
        long zeros_here = 0;
        for (std::int64_t i : flat(fold)) ++seen[static_cast<std::size_t>(i)], zeros_here += y.data()[i] == 0;
        CHECK((zeros_here == 6 || zeros_here == 7));
    }
    CHECK(seen == std::vector<int>(188, 1));
    const auto split = graph::fold_split(folds, 0);
    CHECK(flat(split.test) == flat(folds[0]));
    CHECK(flat(split.validation) == flat(folds[9]));
    CHECK(split.train.size() + split.validation.size() + split.test.size() == 188);
    CHECK(has(error_of<ValueError>([&] { graph::stratified_folds(y, 1, Key{}); }), "1 folds of 188 rows"));
    CHECK(has(error_of<IndexError>([&] { graph::fold_split(folds, 10); }), "fold 10 of 10"));
}
