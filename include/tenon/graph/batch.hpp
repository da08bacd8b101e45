// Batch: many small graphs as one, block after block, so that a layer runs over all of them at once. Nothing crosses between
// the blocks: a layer gives each graph the same bits as alone (all but Set2Set, whose products are over rows of graphs).
#pragma once

#include <tenon/graph/data.hpp>

#include <array>
#include <string>
#include <utility>
#include <vector>

namespace tenon::graph_detail {

// Rows begin ... end - 1 of a field, with `shift` added where it is an index.
template <class M>
struct Piece {
    const M* from;
    long begin, end;
    std::int64_t shift;
};

inline bool has_value(const auto& field) {
    if constexpr (requires { field.has_value(); }) return field.has_value();
    else return field.structure().has_value();
}
template <graph::Of What, class T, int R>
long rows_of(const Tensor<T, R>& field) { return field.shape(What == graph::Of::index_into_nodes ? R - 1 : 0); }
template <graph::Of What, class T>
long rows_of(const Csr<T>& field) { return field.shape(0); }

template <class T, int R>
Tensor<T, R> in_memory(const Tensor<T, R>& field) { return contiguous(field.detach().to(cpu)); }
template <class T>
Csr<T> in_memory(const Csr<T>& field) { return field.to(cpu).with_values(contiguous(field.values().detach().to(cpu))); }

// The pieces one behind the other; at least one.
template <graph::Of What, class T, int R>
Tensor<T, R> joined(const char* name, const std::vector<Piece<Tensor<T, R>>>& pieces) {
    static_assert(R >= 1, "a field of a batch needs an axis that runs over nodes, edges or graphs");
    constexpr int axis = What == graph::Of::index_into_nodes ? R - 1 : 0;
    Shape<R> shape = pieces[0].from->shape();
    long total = 0, outer = 1, inner = 1;
    for (const auto& piece : pieces) {
        for (int i = 0; i < R; ++i)
            if (i != axis && piece.from->shape(i) != shape.dims[i])
                fail<ShapeError>("Batch: ", name, " is ", piece.from->record()->description(), " of one graph and ",
                                 pieces[0].from->record()->description(),
                                 " of another, expected the same sizes beside axis ", axis);
        total += piece.end - piece.begin;
    }
    for (int i = 0; i < R; ++i) (i < axis ? outer : inner) *= i == axis ? 1 : shape.dims[i];
    shape.dims[axis] = total;
    const Tensor<T, R> result = empty<T>(shape);
    for (long o = 0; o < outer; ++o) {
        T* to = result.data() + o * total * inner;
        for (const auto& piece : pieces) {
            const long count = (piece.end - piece.begin) * inner;
            const T* const from = piece.from->data() + (o * piece.from->shape(axis) + piece.begin) * inner;
            if constexpr (What == graph::Of::index_into_nodes) {
                for (long k = 0; k < count; ++k) to[k] = from[k] + static_cast<T>(piece.shift);
            } else if (count > 0) {
                std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(T));
            }
            to += count;
        }
    }
    return result;
}
template <graph::Of What, class T>
Csr<T> joined(const char* name, const std::vector<Piece<Csr<T>>>& pieces) {
    static_assert(What != graph::Of::index_into_nodes, "a sparse matrix is no index");
    const long width = pieces[0].from->shape(1);
    long rows = 0, elements = 0;
    for (const auto& piece : pieces) {
        const std::int32_t* const pointers = piece.from->structure().by_row().pointers.data();
        if (piece.from->shape(1) != width)
            fail<ShapeError>("Batch: ", name, " has ", piece.from->shape(1), " columns in one graph and ", width, " in another");
        rows += piece.end - piece.begin;
        elements += pointers[piece.end] - pointers[piece.begin];
    }
    const Tensor<std::int64_t, 1> all = empty<std::int64_t>({rows + 1}), columns = empty<std::int64_t>({elements});
    const Tensor<T, 1> values = empty<T>({elements});
    long row = 0, at = 0;
    for (const auto& piece : pieces) {
        const CsrPattern& pattern = piece.from->structure().by_row();
        for (long r = piece.begin; r < piece.end; ++r) {
            all.data()[row++] = at;
            for (long k = pattern.pointers.data()[r]; k < pattern.pointers.data()[r + 1]; ++k, ++at) {
                columns.data()[at] = pattern.columns.data()[k];
                values.data()[at] = piece.from->values().data()[pattern.edges.data()[k]];
            }
        }
    }
    all.data()[rows] = at;
    return Csr<T>::from_pointers(all, columns, values, width);
}

// Rows begin ... end - 1 of a pattern, whose columns and edges first_edge ... end_edge - 1 are theirs alone, with what is added to those.
struct RowBlock {
    long begin, end, first_edge, end_edge;
    std::int32_t columns, edges;
};
// The blocks one behind the other: sorted as they were. row_of, column_of: of every edge; false where the pattern is not that of these
// edges, or a block's are not its own.
inline bool joined(const CsrPattern& from, const std::vector<RowBlock>& blocks, long rows, long count, const std::int64_t* row_of,
                   const std::int64_t* column_of, CsrPattern& p) {
    p = CsrPattern{rows, rows, empty<std::int32_t>({rows + 1}), empty<std::int32_t>({count}), empty<std::int32_t>({count}), true, 0};
    const std::int32_t *pointers = from.pointers.data(), *columns = from.columns.data(), *edges = from.edges.data();
    long row = 0, at = 0;
    for (const RowBlock& block : blocks) {
        for (long r = block.begin; r < block.end; ++r) {
            p.pointers.data()[row++] = static_cast<std::int32_t>(at + pointers[r] - pointers[block.begin]);
            if (pointers[r + 1] - pointers[r] > p.longest) p.longest = pointers[r + 1] - pointers[r];
        }
        if (pointers[block.end] - pointers[block.begin] != block.end_edge - block.first_edge) return false;
        for (long r = block.begin, k = pointers[block.begin]; k < pointers[block.end]; ++k, ++at) {
            while (k >= pointers[r + 1]) ++r;
            const long e = edges[k];
            if (e < block.first_edge || e >= block.end_edge || columns[k] < block.begin || columns[k] >= block.end || row_of[e] != r ||
                column_of[e] != columns[k])
                return false;
            p.columns.data()[at] = columns[k] + block.columns;
            p.edges.data()[at] = edges[k] + block.edges;
            p.in_order = p.in_order && p.edges.data()[at] == at;
        }
    }
    p.pointers.data()[rows] = static_cast<std::int32_t>(at);
    return true;
}

}  // namespace tenon::graph_detail
namespace tenon::graph {

// D: GraphData, or a struct with edge_index [2, E], nodes and fields(). A whole data set of graphs is a Batch too, of which
// batch() takes some by copying slices; that makes it a data set for data::batches:
//     for (const auto& b : data::batches(set, {.size = 128, .shuffle = key})) net(b.data.x, b.graph, b.index, b.size());
template <class D = GraphData<>>
class Batch {
public:
    D data;                            // all graphs as one: nodes and edges one graph's after the other's
    Graph graph;                       // of data.edge_index
    Tensor<std::int64_t, 1> index;     // [N]: which graph a node is of
    Tensor<std::int64_t, 1> pointers;  // [B + 1]: the first node of each graph

    Batch() = default;
    // A field must be there in every graph or in none. Throws ValueError for no graphs, ShapeError where a field has not as many
    // rows as there are nodes or edges, or other sizes in another graph, IndexError for an edge or index to a node that is not
    // there; each with the number of the graph.
    static Batch of(const std::vector<D>& graphs) {
        if (graphs.empty()) fail<ValueError>("Batch: no graphs came, expected at least one");
        Batch b;
        std::vector<D> here = graphs;
        std::vector<graph_detail::Piece<Tensor<std::int64_t, 2>>> edges;
        b.node_pointers_ = {0}, b.edge_pointers_ = {0};
        for (std::size_t i = 0; i < here.size(); ++i) {
            D& g = here[i];
            if (g.nodes < 0) fail<ValueError>("Batch: graph ", static_cast<long>(i), " has ", g.nodes, " nodes");
            g.edge_index = g.edge_index.has_value() ? graph_detail::in_memory(g.edge_index) : zeros<std::int64_t>({2, 0});
            if (g.edge_index.shape(0) != 2)
                fail<ShapeError>("Batch: edge_index of graph ", static_cast<long>(i), " is ", g.edge_index.record()->description(),
                                 ", expected [2, E]");
            check_index("edge_index", static_cast<long>(i), g.edge_index, g.nodes);
            edges.push_back({&g.edge_index, 0, g.edge_index.shape(1), b.node_pointers_.back()});
            b.node_pointers_.push_back(b.node_pointers_.back() + g.nodes);
            b.edge_pointers_.push_back(b.edge_pointers_.back() + g.edge_index.shape(1));
        }
        b.data.edge_index = graph_detail::joined<graph::Of::index_into_nodes>("edge_index", edges);
        b.for_each_field([&](const auto& field, std::vector<long>& rows) {
            using F = std::remove_cvref_t<decltype(field)>;
            if (!graph_detail::has_value(here[0].*field.member)) {
                for (std::size_t i = 1; i < here.size(); ++i)
                    if (graph_detail::has_value(here[i].*field.member))
                        fail<ShapeError>("Batch: graph ", static_cast<long>(i), " has ", field.name, ", graph 0 has not");
                return;
            }
            std::vector<graph_detail::Piece<typename F::Value>> pieces;
            rows = {0};
            for (std::size_t i = 0; i < here.size(); ++i) {
                auto& value = here[i].*field.member;
                if (!graph_detail::has_value(value))
                    fail<ShapeError>("Batch: graph 0 has ", field.name, ", graph ", static_cast<long>(i), " has not");
                value = graph_detail::in_memory(value);
                const long count = graph_detail::rows_of<F::of>(value);
                const long expected = F::of == graph::Of::node   ? here[i].nodes
                                      : F::of == graph::Of::edge ? here[i].edge_index.shape(1)
                                                                 : count;
                if (count != expected)
                    fail<ShapeError>("Batch: ", field.name, " of graph ", static_cast<long>(i), " has ", count, " rows, expected ",
                                     expected, ", one for each ",
                                     F::of == graph::Of::node ? "node" : "edge");
                if constexpr (F::of == graph::Of::index_into_nodes) check_index(field.name, static_cast<long>(i), value, here[i].nodes);
                pieces.push_back({&value, 0, count, b.node_pointers_[i]});
                rows.push_back(rows.back() + count);
            }
            b.data.*field.member = graph_detail::joined<F::of>(field.name, pieces);
        });
        b.finish();
        return b;
    }

    // How many graphs.
    long size() const { return node_pointers_.empty() ? 0 : static_cast<long>(node_pointers_.size()) - 1; }
    // The graphs named, in that order, as a batch. Throws IndexError.
    Batch batch(const long* rows, long count) const {
        Batch b;
        b.node_pointers_ = {0}, b.edge_pointers_ = {0};
        if (count < 1) fail<ValueError>("Batch: ", count, " graphs asked for, expected at least one");
        for (long i = 0; i < count; ++i) {
            if (rows[i] < 0 || rows[i] >= size()) fail<IndexError>("Batch: graph ", rows[i], " of ", size());
            b.node_pointers_.push_back(b.node_pointers_.back() + length(node_pointers_, rows[i]));
            b.edge_pointers_.push_back(b.edge_pointers_.back() + length(edge_pointers_, rows[i]));
        }
        take(b, rows, count);
        b.finish(joined_graph(b, rows, count));
        return b;
    }
    Batch batch(const std::vector<long>& rows) const { return batch(rows.data(), static_cast<long>(rows.size())); }
    // One graph as it was before. Throws IndexError.
    D operator[](long i) const {
        Batch b;
        if (i < 0 || i >= size()) fail<IndexError>("Batch: graph ", i, " of ", size());
        b.node_pointers_ = {0, length(node_pointers_, i)};
        take(b, &i, 1);
        b.data.nodes = b.node_pointers_.back();
        return b.data;
    }
    std::vector<D> unbatch() const {
        std::vector<D> graphs;
        for (long i = 0; i < size(); ++i) graphs.push_back((*this)[i]);
        return graphs;
    }
    // On a device, where graphs can be computed with but not taken out again.
    Batch to(Device device) const {
        Batch b = *this;
        b.data = data.to(device);
        b.graph = graph.to(device);
        b.index = index.to(device);
        b.pointers = pointers.to(device);
        return b;
    }

private:
    static constexpr std::size_t field_count = std::tuple_size_v<decltype(D::fields())>;

    static long length(const std::vector<long>& at, long i) {
        return at[static_cast<std::size_t>(i) + 1] - at[static_cast<std::size_t>(i)];
    }
    template <class T, int R>
    static void check_index(const char* name, long graph_number, const Tensor<T, R>& index, long nodes) {
        for (long k = 0; k < index.size(); ++k)
            if (index.data()[k] < 0 || index.data()[k] >= nodes)
                fail<IndexError>("Batch: ", name, " of graph ", graph_number, " names node ", static_cast<long>(index.data()[k]),
                                 ", expected 0 to ", nodes - 1);
    }
    template <class F>
    void for_each_field(F&& f) {
        std::size_t i = 0;
        std::apply([&](const auto&... field) { (f(field, field_pointers_[i++]), ...); }, D::fields());
    }
    // Fills the fields of b, whose node pointers are there, from the graphs named.
    void take(Batch& b, const long* rows, long count) const {
        if (!data.edge_index.device().is_cpu())
            fail<DeviceError>("Batch: this batch is on a device\n       hint: take graphs out of the one on the CPU, then move them");
        std::vector<graph_detail::Piece<Tensor<std::int64_t, 2>>> edges;
        const auto shift = [&](long i) {
            return b.node_pointers_[static_cast<std::size_t>(i)] - node_pointers_[static_cast<std::size_t>(rows[i])];
        };
        for (long i = 0; i < count; ++i) {
            const std::size_t g = static_cast<std::size_t>(rows[i]);
            edges.push_back({&data.edge_index, edge_pointers_[g], edge_pointers_[g + 1], shift(i)});
        }
        check_size("edge_index", data.edge_index.shape(1), edge_pointers_.back());
        b.data.edge_index = graph_detail::joined<graph::Of::index_into_nodes>("edge_index", edges);
        std::size_t number = 0;
        b.for_each_field([&](const auto& field, std::vector<long>& to) {
            using F = std::remove_cvref_t<decltype(field)>;
            const auto& from = data.*field.member;
            // A field that was added to the batch itself has the rows of what it is of.
            const std::vector<long>& own = field_pointers_[number++];
            const std::vector<long>& at = !own.empty()                  ? own
                                          : F::of == graph::Of::node ? node_pointers_
                                          : F::of == graph::Of::edge ? edge_pointers_
                                                                     : own;
            if (!graph_detail::has_value(from)) return;
            if (at.empty())
                fail<ShapeError>("Batch: ", field.name, " was not there when the batch was made: which rows are of which graph?");
            check_size(field.name, graph_detail::rows_of<F::of>(from), at.back());
            std::vector<graph_detail::Piece<typename F::Value>> pieces;
            to = {0};
            for (long i = 0; i < count; ++i) {
                const std::size_t g = static_cast<std::size_t>(rows[i]);
                pieces.push_back({&from, at[g], at[g + 1], shift(i)});
                to.push_back(to.back() + at[g + 1] - at[g]);
            }
            b.data.*field.member = graph_detail::joined<F::of>(field.name, pieces);
        });
    }
    static void check_size(const char* name, long rows, long expected) {
        if (rows != expected) fail<ShapeError>("Batch: ", name, " has ", rows, " rows, the batch was made with ", expected);
    }
    // The graph of b, whose edges are those of the graphs named, without sorting them again; an empty handle where this batch's
    // own graph is not that of its edges, or these reach from one graph into another.
    Graph joined_graph(const Batch& b, const long* rows, long count) const {
        const long edges = edge_pointers_.back(), total = b.node_pointers_.back();
        if (!graph.has_value() || !graph.device().is_cpu() || !data.edge_index.is_contiguous() || graph.edges() != edges ||
            graph.sources() != node_pointers_.back() || graph.targets() != node_pointers_.back() ||
            graph.edge_index().data() != data.edge_index.data() || total > detail::most_indices ||
            b.edge_pointers_.back() > detail::most_indices)
            return {};
        std::vector<graph_detail::RowBlock> blocks;
        for (long i = 0; i < count; ++i) {
            const std::size_t to = static_cast<std::size_t>(i), from = static_cast<std::size_t>(rows[i]);
            blocks.push_back({node_pointers_[from], node_pointers_[from + 1], edge_pointers_[from], edge_pointers_[from + 1],
                              static_cast<std::int32_t>(b.node_pointers_[to] - node_pointers_[from]),
                              static_cast<std::int32_t>(b.edge_pointers_[to] - edge_pointers_[from])});
        }
        const std::int64_t *const source = data.edge_index.data(), *const target = source + edges;
        CsrPattern in, out;
        if (!graph_detail::joined(graph.in(), blocks, total, b.edge_pointers_.back(), target, source, in) ||
            !graph_detail::joined(graph.out(), blocks, total, b.edge_pointers_.back(), source, target, out))
            return {};
        return Graph::from_structure(b.data.edge_index, CsrStructure(in, out));
    }
    void finish(Graph known = {}) {
        const long count = size(), nodes = node_pointers_.back();
        data.nodes = nodes;
        index = empty<std::int64_t>({nodes});
        pointers = empty<std::int64_t>({count + 1});
        for (long i = 0; i < count; ++i) {
            pointers.data()[i] = node_pointers_[static_cast<std::size_t>(i)];
            for (long k = node_pointers_[static_cast<std::size_t>(i)]; k < node_pointers_[static_cast<std::size_t>(i) + 1]; ++k)
                index.data()[k] = i;
        }
        pointers.data()[count] = nodes;
        graph = known.has_value() ? known : Graph::from_edges(data.edge_index, nodes);
    }

    std::vector<long> node_pointers_, edge_pointers_;
    std::array<std::vector<long>, field_count> field_pointers_;
};

// A data set of graphs.
using GraphSet = Batch<GraphData<>>;

}  // namespace tenon::graph
