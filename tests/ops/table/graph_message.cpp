// Messages over the edges of graphs that are formulas.
#include "record.hpp"

#include <tenon/graph/message.hpp>
#include <tenon/graph/second_order.hpp>

TENON_OPERATORS(graph_message) {
    using namespace tenon;
    using namespace operators;
    using graph::Graph;
    const auto edges = integer<2>("edges", {2, 20000}, 0, 2000);
    const auto x = real<2>("x", {2000, 64});
    const auto w = real<1>("w", {20000});
    const auto of = [](const auto& nodes, const auto& e) { return Graph::from_edges(e, nodes.shape(0)); };
#define TENON_MESSAGES(how, kinked)                                                                                                   \
    add({.name = "graph::aggregate, formula, " #how, .golden = #how, .kinks = kinked},                                                \
        [of](const auto& a, const auto& e, const auto& weight) {                                                                      \
            return graph::aggregate<graph::how>(                                                                                      \
                of(a, e), [](auto n, auto v) { return v * tanh(n.source - n.target); }, graph::node(a), graph::edge(weight));         \
        },                                                                                                                            \
        x, edges, w)
    TENON_MESSAGES(sum, false);
    TENON_MESSAGES(mean, false);
    TENON_MESSAGES(max, true);
    TENON_MESSAGES(min, true);
    TENON_MESSAGES(product, false);
    TENON_MESSAGES(std_dev, true);
    TENON_MESSAGES(softmax_sum, false);
#undef TENON_MESSAGES
    add(
        {.name = "graph::aggregate, formula by head", .golden = "heads", .kinks = true},
        [of](const auto& a, const auto& e, const auto& weight, const auto& bias) {
            return graph::aggregate<graph::sum>(
                of(a, e), [&](auto n, auto v) { return v * relu(n.source + bias) * n.target; }, graph::node(a), graph::edge(weight));
        },
        real<3>("x", {2000, 8, 8}), edges, real<2>("w", {20000, 8}), real<1>("b", {8}));

    const auto g = Graph::from_edges(from<std::int64_t>({2, 2}, {0, 1, 1, 2}));
    add_error(
        "aggregate",
        [=] {
            return graph::aggregate<graph::sum>(
                g, [](auto n) { return n.source; }, graph::node(zeros<float>({4, 2})));
        },
        "aggregate: float[4, 2] on cpu has 4 rows, but the graph has 3 nodes");
    add_error("aggregate", [=] { return graph::aggregate<graph::max>(g, [](auto e) { return 2.f * e; }, graph::edge(zeros<float>({3}))); },
              "aggregate: float[3] on cpu has 3 rows, but the graph has 2 edges");
}
