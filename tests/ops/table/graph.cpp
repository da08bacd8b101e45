// Operations over graphs and products with sparse matrices.
#include "record.hpp"

#include <tenon/graph/conv/spline.hpp>
#include <tenon/graph/second_order.hpp>

TENON_OPERATORS(graph) {
    using namespace tenon;
    using namespace operators;
    using graph::Graph;
    const auto edges = integer<2>("edges", {2, 20000}, 0, 2000);
    const auto x = real<2>("x", {2000, 64});
    const auto heads = real<3>("x", {2000, 8, 8});
    const auto of = [](const auto& nodes, const auto& e) { return Graph::from_edges(e, nodes.shape(0)); };
#define TENON_AGGREGATE(how, kinked)                                                                                                             \
    add<halves>({.name = "graph::aggregate, " #how, .golden = "aggregate/" #how, .kinks = kinked},                                               \
                [of](const auto& a, const auto& e) { return graph::aggregate<graph::how>(of(a, e), a); }, x, edges);                             \
    add({.name = "graph::aggregate, " #how ", weighted", .golden = "aggregate_weighted/" #how, .kinks = kinked},                                 \
        [of](const auto& a, const auto& e, const auto& w) { return graph::aggregate(graph::how, of(a, e), a, w); }, x, edges, real<1>("w", {20000})); \
    add({.name = "graph::aggregate, " #how ", weighted by head", .golden = "aggregate_heads/" #how, .kinks = kinked},                            \
        [of](const auto& a, const auto& e, const auto& w) { return graph::aggregate(graph::how, of(a, e), a, w); }, heads, edges, real<2>("w", {20000, 8}))
    TENON_AGGREGATE(sum, false);
    TENON_AGGREGATE(mean, false);
    TENON_AGGREGATE(max, true);
    TENON_AGGREGATE(min, true);
#undef TENON_AGGREGATE
    const auto messages = real<2>("m", {20000, 16});
    add({.name = "graph::aggregate_edges, sum", .golden = "aggregate_edges/sum"},
        [](const auto& m, const auto& e) { return graph::aggregate_edges(graph::sum, Graph::from_edges(e, 5 * m.shape(0) / 7), m); }, messages, edges);
    add({.name = "graph::aggregate_edges, mean", .golden = "aggregate_edges/mean"},
        [](const auto& m, const auto& e) { return graph::aggregate_edges(graph::mean, Graph::from_edges(e, 5 * m.shape(0) / 7), m); }, messages, edges);
    add({.name = "graph::aggregate_edges, max", .golden = "aggregate_edges/max", .kinks = true},
        [](const auto& m, const auto& e) { return graph::aggregate_edges(graph::max, Graph::from_edges(e, 5 * m.shape(0) / 7), m); }, messages, edges);
    add({.name = "graph::aggregate_edges, min", .golden = "aggregate_edges/min", .kinks = true},
        [](const auto& m, const auto& e) { return graph::aggregate_edges(graph::min, Graph::from_edges(e, 5 * m.shape(0) / 7), m); }, messages, edges);
    add({.name = "graph::gather_sources", .golden = "gather_sources"}, [of](const auto& a, const auto& e) { return graph::gather_sources(of(a, e), a); }, x, edges);
    add({.name = "graph::gather_targets", .golden = "gather_targets"}, [of](const auto& a, const auto& e) { return graph::gather_targets(of(a, e), a); }, x, edges);
    add({.name = "graph::edge_softmax", .golden = "edge_softmax"}, [](const auto& a, const auto& e) { return graph::edge_softmax(Graph::from_edges(e, 5 * a.shape(0) / 7), a); },
        real<2>("x", {20000, 8}), edges);
    add<halves>({.name = "graph::sddmm", .golden = "sddmm"}, [of](const auto& u, const auto& v, const auto& e) { return graph::sddmm(of(u, e), u, v); }, real<2>("u", {2000, 64}),
                real<2>("v", {2000, 64}), edges);
    add({.name = "graph::sddmm, by head", .golden = "sddmm_heads"}, [of](const auto& u, const auto& v, const auto& e) { return graph::sddmm(of(u, e), u, v); },
        real<3>("u", {2000, 8, 8}), real<3>("v", {2000, 8, 8}), edges);
    const auto h = real<3>("h", {2000, 8, 8});
    const auto s = real<2>("s", {2000, 8}), t = real<2>("t", {2000, 8});
    add<halves>({.name = "graph::gat_aggregate", .golden = "gat_aggregate"},
                [of](const auto& a, const auto& b, const auto& c, const auto& e) { return graph::gat_aggregate(of(a, e), a, b, c); }, h, s, t, edges);
    add({.name = "graph::gat_aggregate, with edges", .golden = "gat_aggregate_edges"},
        [of](const auto& a, const auto& b, const auto& c, const auto& d, const auto& e) { return graph::gat_aggregate(of(a, e), a, b, c, d); }, h, s, t, real<2>("e", {20000, 8}),
        edges);
    const auto pointers = integer<1>("pointers", {2}, 0, 1), columns = integer<1>("columns", {0}, 0, 5);
    add<halves>({.name = "matmul, sparse", .golden = "matmul_csr"},
                [](const auto& v, const auto& a, const auto& p, const auto& c) {
                    return matmul(Csr<typename std::remove_cvref_t<decltype(v)>::Scalar>::from_pointers(p, c, v, a.shape(0)), a);
                },
                real<1>("values", {0}), real<2>("x", {5, 64}), pointers, columns);
    add({.name = "matmul, sparse times vector", .golden = "matmul_csr_vector"},
        [](const auto& v, const auto& a, const auto& p, const auto& c) {
            return matmul(Csr<typename std::remove_cvref_t<decltype(v)>::Scalar>::from_pointers(p, c, v, a.shape(0)), a);
        },
        real<1>("values", {0}), real<1>("x", {5}), pointers, columns);
    add({.name = "matmul_transposed, sparse", .golden = "matmul_csr_transposed"},
        [](const auto& v, const auto& a, const auto& p, const auto& c) {
            return matmul_transposed(Csr<typename std::remove_cvref_t<decltype(v)>::Scalar>::from_pointers(p, c, v, 5), a);
        },
        real<1>("values", {0}), real<2>("x", {1, 64}), pointers, columns);

    // Between the knots it is a polynomial, at them it has kinks.
    const auto sizes = [](std::initializer_list<std::int64_t> numbers) { return from<std::int64_t>(numbers); };
    const auto open = [](std::initializer_list<std::uint8_t> marks) { return from<std::uint8_t>(marks); };
    add({.name = "graph::spline_basis, degree 1", .golden = "spline_basis_1", .kinks = true},
        [=](const auto& p) { return graph::spline_basis(p, sizes({3, 4}), open({1, 0}), 1).weight; }, real<2>("pseudo", {20000, 2}, 0, 1));
    add({.name = "graph::spline_basis, degree 2", .golden = "spline_basis_2", .kinks = true},
        [=](const auto& p) { return graph::spline_basis(p, sizes({5, 4, 3}), open({1, 0, 1}), 2).weight; }, real<2>("pseudo", {20000, 3}, 0, 1));
    add({.name = "graph::spline_basis, degree 3", .golden = "spline_basis_3", .kinks = true},
        [=](const auto& p) { return graph::spline_basis(p, sizes({6}), open({1}), 3).weight; }, real<2>("pseudo", {20000, 1}, 0, 1));

    const auto g = Graph::from_edges(from<std::int64_t>({2, 2}, {0, 1, 1, 2}));
    const auto y = zeros<float>({4, 2});
    add_error("aggregate", [=] { return graph::aggregate(graph::sum, g, y); }, "aggregate: float[4, 2] on cpu has 4 rows, but the graph has 3 sources");
    add_error("aggregate", [=] { return graph::aggregate(graph::sum, g, zeros<float>({3, 2}), zeros<float>({3})); }, "float[3] on cpu has 3 rows, but the graph has 2 edges");
    add_error("aggregate", [=] { return graph::aggregate(graph::sum, g, zeros<float>({3, 4}), zeros<float>({2, 3})); }, "of 3 heads came for float[3, 4]");
    add_error("sddmm", [=] { return graph::sddmm(g, zeros<float>({3, 4}), zeros<float>({3, 5})); }, "differ in axis 1");
    add_error("gat_aggregate", [=] { return graph::gat_aggregate(g, zeros<float>({3, 2, 4}), zeros<float>({3, 2}), zeros<float>({3, 1})); }, "scores float[3, 1] on cpu came for 2 heads");
    add_error("matmul", [] { return matmul(Csr<float>::from_dense(ones<float>({2, 3})), zeros<float>({2, 2})); }, "the sparse matrix is [2, 3], the other operand float[2, 2]");
    add_error("spline_basis", [=] { return graph::spline_basis(zeros<float>({3, 2}), sizes({3, 4}), open({1, 0}), 4); }, "degree 4, expected 1, 2 or 3");
    add_error("spline_basis", [=] { return graph::spline_basis(zeros<float>({3, 2}), sizes({3}), open({1}), 1); }, "float[3, 2] on cpu for a kernel of 1 axes");
    add_error("spline_basis", [=] { return graph::spline_basis(full<float>({3, 1}, 1.5f), sizes({3}), open({1}), 1); }, "pseudo-coordinate 0 of edge 0 is 1.5, expected 0 to 1");
    add_error("spline_basis", [=] { return graph::spline_basis(zeros<float>({3, 1}), sizes({2}), open({1}), 2); }, "2 matrices along axis 0 are too few for degree 2");
    add_error("Segments", [] { return Segments::from_pointers(from<std::int64_t>({0, 2}), from<std::int64_t>({1, 1})).count(); }, "row 1 comes twice");
}
