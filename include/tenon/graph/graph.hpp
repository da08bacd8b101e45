// Graph: who is connected to whom. Edges run from sources to targets, and layers add up at the targets.
#pragma once

#include <tenon/core/csr.hpp>
#include <tenon/ops/copy.hpp>

namespace tenon {

namespace graph_detail {

// Something that is computed from a graph once and kept with it, found again by its kind.
struct Attachment {
    explicit Attachment(const void* of) : kind(of) {}
    Attachment(const Attachment&) = delete;
    Attachment& operator=(const Attachment&) = delete;
    virtual ~Attachment() = default;
    const void* kind;
    Attachment* next = nullptr;
};

struct GraphState {
    int references = 1, lock = 0;
    Tensor<std::int64_t, 2> edge_index;
    CsrStructure structure;
    Attachment* attachments = nullptr;

    GraphState() = default;
    GraphState(const GraphState&) = delete;
    GraphState& operator=(const GraphState&) = delete;
    ~GraphState() {
        while (attachments != nullptr) {
            Attachment* const a = attachments;
            attachments = a->next;
            delete a;
        }
    }
};

}  // namespace graph_detail

namespace graph {

// A directed graph, in general bipartite: `sources()` nodes that send, `targets()` nodes that receive; of an ordinary graph
// they are the same nodes. Made once from a list of edges, checked then, and never changed: a cheap handle, copies share.
//     const auto g = Graph::from_edges(edge_index);
// Duplicate edges and self-loops are edges like any other.
class Graph {
public:
    // An empty handle.
    Graph() = default;
    // edge_index [2, E]: row 0 sources, row 1 targets, in any order. nodes: how many there are, isolated ones included; -1: up
    // to the largest id. Throws ShapeError, and IndexError with the edge that names a node which is not there.
    static Graph from_edges(const Tensor<std::int64_t, 2>& edge_index, long nodes = -1) {
        if (nodes < -1) fail<ValueError>("Graph: ", nodes, " nodes, expected 0 or more (-1: up to the largest id)");
        return make(edge_index, nodes, nodes, true);
    }
    // Sources and targets are different nodes, each counted from 0.
    static Graph bipartite(const Tensor<std::int64_t, 2>& edge_index, long sources, long targets) {
        if (sources < 0 || targets < 0) fail<ValueError>("Graph: ", sources, " sources and ", targets, " targets, expected 0 or more");
        return make(edge_index, sources, targets, false);
    }

    // Of edges that are sorted already: the structure must be that of edge_index [2, E], contiguous; nothing is checked.
    static Graph from_structure(const Tensor<std::int64_t, 2>& edge_index, const CsrStructure& structure) {
        Graph g;
        g.state_ = detail::Shared<graph_detail::GraphState>(new graph_detail::GraphState);
        g.state_->edge_index = edge_index;
        g.state_->structure = structure;
        return g;
    }

    bool has_value() const { return static_cast<bool>(state_); }
    long sources() const { return state()->structure.columns(); }
    long targets() const { return state()->structure.rows(); }
    // Of a graph with as many sources as targets. Throws ShapeError else.
    long nodes() const {
        if (sources() != targets())
            fail<ShapeError>("Graph: ", sources(), " sources and ", targets(), " targets have no common number of nodes");
        return targets();
    }
    long edges() const { return state()->structure.elements(); }
    Device device() const { return state()->structure.device(); }
    // As given: [2, E].
    const Tensor<std::int64_t, 2>& edge_index() const { return state()->edge_index; }

    // Edges by target: row i lists the sources of its edges (`columns`) and their places in edge_index (`edges`), sorted by
    // source, edges between the same nodes as given.
    const CsrPattern& in() const { return state()->structure.by_row(); }
    // Edges by source: row j lists the targets; made on first use.
    const CsrPattern& out() const { return state()->structure.by_column(); }
    // Both, as the structure of the adjacency matrix [targets, sources].
    const CsrStructure& structure() const { return state()->structure; }

    // A copy on another device.
    Graph to(Device device) const {
        if (device == this->device()) return *this;
        return from_structure(edge_index().to(device), structure().to(device));
    }
    bool same_as(const Graph& other) const { return state_.get() == other.state_.get(); }

    // What make() computes, an A derived from graph_detail::Attachment, or what an earlier call with the same `kind` that fits has
    // left: for layers that keep something with the graph.
    template <class A, class Fits, class Make>
    const A& attached(Fits&& fits, Make&& make) const {
        graph_detail::GraphState* const s = state();
        {
            const detail::FirstUse guard(s->lock);
            for (const graph_detail::Attachment* a = s->attachments; a != nullptr; a = a->next)
                if (a->kind == kind_of<A>() && fits(static_cast<const A&>(*a))) return static_cast<const A&>(*a);
        }
        A* const fresh = make();
        const detail::FirstUse guard(s->lock);
        fresh->next = s->attachments;
        s->attachments = fresh;
        return *fresh;
    }
    // The kind of an attachment A, for its base.
    template <class A>
    static const void* kind_of() {
        return &kind_address<A>;
    }

private:
    template <class A>
    static inline char kind_address = 0;

    graph_detail::GraphState* state() const {
        if (TENON_UNLIKELY(!state_))
            fail<Error>("Graph: this graph is empty: it was default-constructed\n       hint: make one with Graph::from_edges");
        return state_.get();
    }
    static Graph make(const Tensor<std::int64_t, 2>& edge_index, long sources, long targets, bool square);

    detail::Shared<graph_detail::GraphState> state_;
};

inline Graph Graph::make(const Tensor<std::int64_t, 2>& given, long sources, long targets, bool square) {
    if (given.shape(0) != 2)
        fail<ShapeError>("Graph: edge_index is ", given.record()->description(), ", expected [2, E]: a row of sources and a row of targets",
                         given.shape(1) == 2 ? "\n       hint: transpose() turns a list of pairs [E, 2]" : "");
    const Tensor<std::int64_t, 2> edge_index = contiguous(given.detach()), host = edge_index.to(cpu);
    const long count = host.shape(1);
    const std::int64_t *source = host.data(), *target = source + count;
    if (square && sources < 0) {
        std::int64_t largest = -1;
        for (long k = 0; k < 2 * count; ++k) largest = source[k] > largest ? source[k] : largest;
        sources = targets = static_cast<long>(largest) + 1;
    }
    if (sources > detail::most_indices || targets > detail::most_indices || count > detail::most_indices)
        fail<ValueError>("Graph: ", sources, " sources, ", targets, " targets and ", count, " edges, expected fewer than 2^31 of each");
    for (long k = 0; k < count; ++k) {
        const bool bad_source = source[k] < 0 || source[k] >= sources, bad_target = target[k] < 0 || target[k] >= targets;
        if (TENON_LIKELY(!bad_source && !bad_target)) continue;
        const long many = bad_source ? sources : targets;
        fail<IndexError>("Graph: edge ", k, " is ", static_cast<long>(source[k]), " -> ", static_cast<long>(target[k]), ", but there ",
                         many == 1 ? "is " : "are ", many,
                         square       ? " node"
                         : bad_source ? " source"
                                      : " target",
                         many == 1 ? "" : "s", ", counted from 0");
    }
    const CsrPattern by_source = detail::sort_by_row(
        sources, targets, count, [&](long k) { return source[k]; }, [&](long k) { return target[k]; }, [](long k) { return k; });
    return from_structure(edge_index, CsrStructure(detail::transposed(by_source).to(given.device())));
}

}  // namespace graph
}  // namespace tenon
