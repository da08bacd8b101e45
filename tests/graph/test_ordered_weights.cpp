// Weights that are kept in the order of a graph's rows: the same sums bit by bit, and never those of weights that were written to.
#include <tenon/graph/aggregate.hpp>
#include <tenon/tenon.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <cstring>

using namespace tenon;
using graph::Graph;

namespace {

Graph some_graph(long nodes, long edges) {
    const auto index = empty<std::int64_t>({2, edges});
    for (long k = 0; k < 2 * edges; ++k) index.data()[k] = static_cast<std::int64_t>((k * 7919 + k / 31 * 104729) % nodes);
    return Graph::from_edges(index, nodes);
}
bool same_bits(const Tensor<float, 2>& a, const Tensor<float, 2>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(float)) == 0;
}

}  // namespace

TEST_CASE("weights that come again give the same bits, forward and backward", "[graph]") {
    const long nodes = 3000, edges = 300000;
    const Graph g = some_graph(nodes, edges);
    const auto w = uniform<float>({edges}, Key{1}, {0, 1});
    const auto x = randn<float>({nodes, 16}, Key{2}).require_grad(), dy = randn<float>({nodes, 16}, Key{3});
    Tensor<float, 2> first, first_gradient;
    for (int time = 0; time < 4; ++time) {
        x.zero_grad();
        const Tensor<float, 2> y = graph::aggregate<graph::sum>(g, x, w);
        y.backward(dy);
        if (time == 0) {
            first = clone(y.detach());
            first_gradient = clone(x.grad());
        }
        CHECK(same_bits(y, first));
        CHECK(same_bits(x.grad(), first_gradient));
    }
    // Twice as much by the same handle, written past all records.
    for (long e = 0; e < edges; ++e) w.data()[e] *= 2;
    for (int time = 0; time < 3; ++time) {
        const Tensor<float, 2> y = graph::aggregate<graph::sum>(g, x, w);
        CHECK(same_bits(y, Tensor<float, 2>(first * 2.f)));
    }
    // All signs, then back: a change that hardly moves any sum of the bytes.
    for (const float sign : {-1.f, 1.f}) {
        for (long e = 0; e < edges; ++e) w.data()[e] = -w.data()[e];
        for (int time = 0; time < 4; ++time) {
            const Tensor<float, 2> y = graph::aggregate<graph::sum>(g, x, w);
            CHECK(same_bits(y, Tensor<float, 2>(first * (2.f * sign))));
        }
    }
    // One weight of many.
    const Tensor<float, 2> before = graph::aggregate<graph::sum>(g, x, w).detach();
    w.data()[12345] += 8;
    const Tensor<float, 2> after = graph::aggregate<graph::sum>(g, x, w).detach();
    const long target = g.edge_index().data()[edges + 12345], source = g.edge_index().data()[12345];
    for (long i = 0; i < nodes; ++i)
        for (long c = 0; c < 16; ++c) {
            const float change = after.data()[i * 16 + c] - before.data()[i * 16 + c];
            if (i != target) CHECK(change == 0);
            else CHECK(std::abs(change - 8 * x.data()[source * 16 + c]) < 1e-3f);
        }
}

TEST_CASE("weights of heads, and several in turns", "[graph]") {
    const long nodes = 2000, edges = 100000, heads = 4;
    const Graph g = some_graph(nodes, edges);
    const auto x = randn<float>({nodes, heads, 4}, Key{2});
    const Tensor<float, 2> w[3] = {uniform<float>({edges, heads}, Key{1}, {0, 1}), uniform<float>({edges, heads}, Key{5}, {0, 1}), uniform<float>({edges, heads}, Key{6}, {0, 1})};
    Tensor<float, 2> first[3];
    for (int time = 0; time < 9; ++time) {
        const int k = time < 5 ? time % 3 : time % 2;
        const Tensor<float, 2> y = graph::aggregate<graph::mean>(g, x, w[k]).reshape({nodes, heads * 4});
        if (!first[k].has_value()) first[k] = y;
        CHECK(same_bits(y, first[k]));
    }
}
