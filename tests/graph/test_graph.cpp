// Graphs and sparse matrices: their order, and what they refuse.
#include <tenon/graph/graph.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <random>
#include <string>
#include <tuple>
#include <vector>

using namespace tenon;
using graph::Graph;

namespace {

std::vector<int> list(const Tensor<std::int32_t, 1>& x) { return {x.data(), x.data() + x.size()}; }

template <class E, class F>
std::string error_of(F f) {
    try {
        static_cast<void>(f());
    } catch (const E& e) {
        return e.what();
    }
    return "nothing was thrown";
}
bool contains(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST_CASE("edges are sorted by target, source and position") {
    //                                                    0  1  2  3  4  5  6
    const auto edges = from<std::int64_t>({2, 7}, {0, 1, 1, 2, 3, 2, 1,  //
                                                   1, 0, 2, 1, 2, 2, 2});
    const Graph g = Graph::from_edges(edges, 5);
    CHECK(g.nodes() == 5);
    CHECK(g.edges() == 7);
    CHECK(list(g.in().pointers) == std::vector<int>{0, 1, 3, 7, 7, 7});
    CHECK(list(g.in().columns) == std::vector<int>{1, 0, 2, 1, 1, 2, 3});
    CHECK(list(g.in().edges) == std::vector<int>{1, 0, 3, 2, 6, 5, 4});
    CHECK_FALSE(g.in().in_order);
    CHECK(list(g.out().pointers) == std::vector<int>{0, 1, 4, 6, 7, 7});
    CHECK(list(g.out().columns) == std::vector<int>{1, 0, 2, 2, 1, 2, 2});
    CHECK(list(g.out().edges) == std::vector<int>{0, 1, 2, 6, 3, 5, 4});
    CHECK(Graph::from_edges(edges).nodes() == 4);
    const Graph same = g;
    CHECK(same.same_as(g));
    CHECK(&same.out() == &g.out());
}

TEST_CASE("a graph agrees with sorting its edges") {
    std::mt19937 random(3);
    for (const auto& [sources, targets, count] : {std::tuple{17l, 5l, 200l}, {1l, 1l, 4l}, {40l, 60l, 30l}, {3l, 0l, 0l}}) {
        const auto edges = empty<std::int64_t>({2, count});
        for (long k = 0; k < count; ++k) {
            edges.data()[k] = static_cast<long>(random() % static_cast<unsigned>(sources));
            edges.data()[count + k] = static_cast<long>(random() % static_cast<unsigned>(targets));
        }
        const Graph g = Graph::bipartite(edges, sources, targets);
        std::vector<std::tuple<long, long, long>> by_target, by_source;
        for (long k = 0; k < count; ++k) {
            by_target.push_back({edges.data()[count + k], edges.data()[k], k});
            by_source.push_back({edges.data()[k], edges.data()[count + k], k});
        }
        std::sort(by_target.begin(), by_target.end());
        std::sort(by_source.begin(), by_source.end());
        const auto listed = [](const CsrPattern& p) {
            std::vector<std::tuple<long, long, long>> all;
            REQUIRE(p.pointers.size() == p.rows + 1);
            REQUIRE(p.pointers.data()[0] == 0);
            for (long r = 0; r < p.rows; ++r)
                for (long k = p.pointers.data()[r]; k < p.pointers.data()[r + 1]; ++k)
                    all.push_back({r, p.columns.data()[k], p.edges.data()[k]});
            return all;
        };
        CHECK(listed(g.in()) == by_target);
        CHECK(listed(g.out()) == by_source);
    }
}

TEST_CASE("edges in order are known to be") {
    const Graph g = Graph::from_edges(from<std::int64_t>({2, 3}, {1, 0, 1, 0, 1, 2}), 3);
    CHECK(g.in().in_order);
    CHECK_FALSE(g.out().in_order);
    const Graph none = Graph::from_edges(empty<std::int64_t>({2, 0}), 3);
    CHECK(none.nodes() == 3);
    CHECK(none.edges() == 0);
    CHECK(list(none.out().pointers) == std::vector<int>{0, 0, 0, 0});
    CHECK(Graph::from_edges(empty<std::int64_t>({2, 0})).nodes() == 0);
    const Graph strided = Graph::from_edges(from<std::int64_t>({3, 2}, {1, 0, 0, 1, 1, 2}).transpose(), 3);
    CHECK(list(strided.in().columns) == list(g.in().columns));
}

TEST_CASE("a graph names the edge that does not fit") {
    const auto edges = from<std::int64_t>({2, 3}, {0, 1, 5, 1, 0, 2});
    CHECK(contains(error_of<IndexError>([&] { return Graph::from_edges(edges, 3); }), "edge 2 is 5 -> 2, but there are 3 nodes"));
    CHECK(contains(error_of<IndexError>([&] { return Graph::bipartite(edges, 6, 2); }), "edge 2 is 5 -> 2, but there are 2 targets"));
    CHECK(contains(error_of<IndexError>([&] {
                       return Graph::from_edges(from<std::int64_t>({2, 1}, {0, -1}));
                   }),
                   "edge 0 is 0 -> -1, but there is 1 node,"));
    CHECK(contains(error_of<ShapeError>([&] { return Graph::from_edges(edges.transpose()); }), "expected [2, E]"));
    CHECK(contains(error_of<ShapeError>([&] { return Graph::from_edges(zeros<std::int64_t>({5, 2})); }), "transpose()"));
    CHECK(contains(error_of<ValueError>([&] { return Graph::from_edges(edges, -2); }), "-2 nodes"));
    CHECK(contains(error_of<ShapeError>([&] { return Graph::bipartite(edges, 6, 3).nodes(); }), "6 sources and 3 targets"));
    CHECK(contains(error_of<Error>([&] { return Graph().edges(); }), "this graph is empty"));
}

TEST_CASE("a sparse matrix holds what it was made of") {
    const auto dense = from<float>({3, 4}, {0, 1, 0, 2, 0, 0, 0, 0, 3, 0, 0, -1});
    const auto a = Csr<float>::from_dense(dense);
    CHECK(a.elements() == 4);
    CHECK(a.shape(0) == 3);
    CHECK(a.shape(1) == 4);
    CHECK(list(a.structure().by_row().pointers) == std::vector<int>{0, 2, 2, 4});
    CHECK(list(a.structure().by_row().columns) == std::vector<int>{1, 3, 0, 3});
    CHECK(list(a.structure().by_column().edges) == std::vector<int>{2, 0, 1, 3});
    const auto back = a.to_dense();
    for (long i = 0; i < 12; ++i) CHECK(back.data()[i] == dense.data()[i]);
    const auto p = from<std::int64_t>({0, 2, 2});
    const auto v = from<float>({1, 2});
    CHECK(contains(error_of<IndexError>([&] {
                       return Csr<float>::from_pointers(p, from<std::int64_t>({0, 7}), v, 4);
                   }),
                   "column 7 of element 1 is out of range, expected 0 to 3"));
    CHECK(contains(error_of<ValueError>([&] {
                       return Csr<float>::from_pointers(from<std::int64_t>({0, 3, 2}), from<std::int64_t>({0, 1}), v, 4);
                   }),
                   "go down at position 2"));
    CHECK(contains(error_of<ValueError>([&] {
                       return Csr<float>::from_pointers(from<std::int64_t>({0, 1}), from<std::int64_t>({0, 1}), v, 4);
                   }),
                   "from 0 to 1, expected 0 to 2"));
    CHECK(contains(error_of<ShapeError>([&] { return Csr<float>::from_pointers(p, from<std::int64_t>({0}), v, 4); }),
                   "1 columns, but the values are float[2]"));
    CHECK(contains(error_of<ShapeError>([&] { return a.with_values(v); }), "float[2] on cpu came as the values of 4 elements"));
}
