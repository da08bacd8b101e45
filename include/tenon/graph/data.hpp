// GraphData: a graph and what is known of its nodes and edges, as data sets give it.
#pragma once

#include <tenon/graph/graph.hpp>

#include <tuple>

namespace tenon::graph {

// What the rows of a field belong to; decides how the fields of many graphs become those of one (batch.hpp). An index into
// nodes counts them along its last axis, and is raised by the number of nodes before its graph's.
enum class Of { node, edge, graph, index_into_nodes };

// A field of a struct D: what it is called, what its rows belong to, and where it is.
template <Of What, class D, class M>
struct Field {
    static constexpr Of of = What;
    using Data = D;
    using Value = M;
    const char* name;
    M D::* member;
};
template <class D, class M>
constexpr Field<Of::node, D, M> of_nodes(const char* name, M D::* member) { return {name, member}; }
template <class D, class M>
constexpr Field<Of::edge, D, M> of_edges(const char* name, M D::* member) { return {name, member}; }
template <class D, class M>
constexpr Field<Of::graph, D, M> of_graph(const char* name, M D::* member) { return {name, member}; }
template <class D, class M>
constexpr Field<Of::index_into_nodes, D, M> index_into_nodes(const char* name, M D::* member) { return {name, member}; }

// A graph with N nodes and E edges. What a data set does not have stays empty (has_value() is false). X: the nodes' features,
// dense or sparse (Csr<float>). A struct of one's own with edge_index, nodes and fields() batches as well.
template <class X = Tensor<float, 2>>
struct GraphData {
    Tensor<std::int64_t, 2> edge_index;  // [2, E]: row 0 sources, row 1 targets
    long nodes = 0;
    X x;                                 // [N, F]
    Tensor<float, 2> edge_attr;          // [E, D]
    Tensor<float, 2> pos;                // [N, 2 or 3]
    Tensor<std::int64_t, 1> y;           // [N]: labels of nodes
    Tensor<std::int64_t, 1> graph_y;     // [1]: the label of the graph
    Tensor<float, 2> graph_target;       // [1, D]: numbers to predict of the graph
    Tensor<std::int64_t, 2> face;        // [3, M]: triangles of a mesh
    Tensor<std::int64_t, 1> train, validation, test;  // nodes of a split

    static constexpr auto fields() {
        using D = GraphData;
        return std::make_tuple(of_nodes("x", &D::x), of_edges("edge_attr", &D::edge_attr), of_nodes("pos", &D::pos), of_nodes("y", &D::y), of_graph("graph_y", &D::graph_y),
                               of_graph("graph_target", &D::graph_target), index_into_nodes("face", &D::face), index_into_nodes("train", &D::train),
                               index_into_nodes("validation", &D::validation), index_into_nodes("test", &D::test));
    }

    long edges() const { return edge_index.has_value() ? edge_index.shape(1) : 0; }
    // Its structure for layers; keep it, since sorting the edges is what costs. Throws as Graph::from_edges does.
    Graph graph() const { return Graph::from_edges(edge_index, nodes); }
    GraphData to(Device device) const {
        GraphData moved = *this;
        if (moved.edge_index.has_value()) moved.edge_index = edge_index.to(device);
        std::apply([&](const auto&... field) { ((filled(moved.*field.member) ? void(moved.*field.member = (this->*field.member).to(device)) : void()), ...); }, fields());
        return moved;
    }

private:
    template <class T, int R>
    static bool filled(const Tensor<T, R>& field) { return field.has_value(); }
    template <class T>
    static bool filled(const Csr<T>& field) { return field.structure().has_value(); }
};

}  // namespace tenon::graph
