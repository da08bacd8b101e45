// Rows of matrices that are sums of a few.
#include "record.hpp"

#include <tenon/graph/basis.hpp>
#include <tenon/graph/second_order.hpp>

TENON_OPERATORS(graph_basis) {
    using namespace tenon;
    using namespace operators;
    using graph::Graph;
    add({.name = "graph::basis_rows", .golden = "basis_rows"},
        [](const auto& weight, const auto& bases, const auto& edges) {
            return graph::basis_rows(Graph::bipartite(edges, weight.shape(0), bases.shape(1)), weight, bases);
        },
        real<2>("weight", {500, 30}), real<3>("bases", {30, 500, 16}), integer<2>("edges", {2, 20000}, 0, 500));

    const auto g = Graph::bipartite(from<std::int64_t>({2, 2}, {0, 1, 1, 2}), 2, 3);
    add_error("basis_rows", [=] { return graph::basis_rows(g, zeros<float>({3, 2}), zeros<float>({2, 3, 4})); },
              "basis_rows: float[3, 2] on cpu has 3 rows, but the graph has 2 kinds");
    add_error("basis_rows", [=] { return graph::basis_rows(g, zeros<float>({2, 3}), zeros<float>({2, 3, 4})); }, "expected [kinds, B] and [B, rows, F]");
    add_error("basis_rows", [=] { return graph::basis_rows(g, zeros<float>({2, 2}), zeros<float>({2, 4, 4})); }, "came for a graph with 3 rows");
}
