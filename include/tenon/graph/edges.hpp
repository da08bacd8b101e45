// Between nodes and edges: what a node has, given to its edges; what edges have, brought together at nodes. Rows of edges are in
// the order of edge_index.
#pragma once

#include <tenon/graph/aggregate.hpp>
#include <tenon/ops/segment.hpp>

namespace tenon::graph {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

// The edges of each target and of each source, as segments, kept with the graph.
struct EdgeSegments final : graph_detail::Attachment {
    Segments by_target, by_source;
    EdgeSegments(Segments targets, Segments sources) : Attachment(Graph::kind_of<EdgeSegments>()), by_target(targets), by_source(sources) {}
};
inline Segments segments_of(const CsrPattern& given) {
    const CsrPattern p = given.to(cpu);
    const Tensor<std::int64_t, 1> order = empty<std::int64_t>({p.elements()});
    for (long k = 0; k < p.elements(); ++k) order.data()[k] = p.edges.data()[k];
    return (p.in_order ? Segments::from_pointers(p.pointers) : Segments::from_pointers(p.pointers, order)).to(given.device());
}
inline const EdgeSegments& edge_segments(const Graph& g) {
    return g.attached<EdgeSegments>([](const EdgeSegments&) { return true; },
                                    [&] { return new EdgeSegments(segments_of(g.in()), segments_of(g.out())); });
}

template <class X>
auto gathered(const char* name, const Graph& g, X&& given, bool targets) {
    const auto x = contiguous(as_tensor(static_cast<X&&>(given)));
    using Own = std::remove_const_t<decltype(x)>;
    static_assert(Own::rank >= 1, "tenon: gather_sources, gather_targets: a scalar has no rows");
    check_nodes(name, g, x.record(), targets ? g.targets() : g.sources(), targets ? "targets" : "sources");
    const EdgeSegments& segments = edge_segments(g);
    // The sum over a node's edges, backwards.
    long dims[max_rank], none[max_rank] = {};
    for (int i = 0; i < Own::rank; ++i) dims[i] = x.record()->dims()[i];
    dims[0] = g.edges();
    const detail::AnyTensor sizes(detail::new_view(x.record(), Own::rank, dims, none, x.record()->offset));
    return Own(apply_map<typename Own::Scalar>(name, x.record(),
                                               SegmentSumMap(sizes.get(), targets ? segments.by_target : segments.by_source, false), true));
}

}  // namespace impl

// The edges of every target (source) as segments of the rows of an edge tensor, in the order of g.in() (g.out()).
inline const Segments& target_segments(const Graph& g) { return impl::edge_segments(g).by_target; }
inline const Segments& source_segments(const Graph& g) { return impl::edge_segments(g).by_source; }

// x[source of e, ...] for every edge e: [sources, ...] -> [edges, ...]. Throws ShapeError. Derivative: sums over the edges of
// a source.
template <Expression X>
[[nodiscard]] auto gather_sources(const Graph& g, X&& x) { return impl::gathered("gather_sources", g, static_cast<X&&>(x), false); }
template <Expression X>
[[nodiscard]] auto gather_targets(const Graph& g, X&& x) { return impl::gathered("gather_targets", g, static_cast<X&&>(x), true); }

// The sum (mean, max, min) of messages [edges, ...] at their targets: [targets, ...]; 0 where there are none. For messages that
// a formula over x and weights cannot say (aggregate); these are stored. (Products and their kind: edge_folds.hpp.) Throws ShapeError,
// ValueError. Derivative: as of segment_sum and its kind.
template <Expression M>
[[nodiscard]] auto aggregate_edges(Aggregation how, const Graph& g, M&& messages) {
    const auto m = impl::operand(static_cast<M&&>(messages));
    impl::check_nodes("aggregate_edges", g, m.record(), g.edges(), "edges");
    const Segments& s = target_segments(g);
    switch (how) {
        case Aggregation::sum: return segment_sum(m, s);
        case Aggregation::mean: return segment_mean(m, s);
        case Aggregation::max: return segment_max(m, s).values;
        case Aggregation::min: return segment_min(m, s).values;
        default: break;
    }
    fail<ValueError>("aggregate_edges: product, std_dev and softmax_sum are chosen at compile time: aggregate_edges<graph::product>(g, "
                     "messages) of <tenon/graph/edge_folds.hpp>, or for messages that are formulas <tenon/graph/message.hpp>");
}

// softmax over the edges of each target: [edges] or [edges, heads]. Derivative: y * (dy - sum of dy * y).
template <Expression X>
[[nodiscard]] auto edge_softmax(const Graph& g, X&& scores) {
    const auto x = impl::operand(static_cast<X&&>(scores));
    impl::check_nodes("edge_softmax", g, x.record(), g.edges(), "edges");
    return segment_softmax(x, target_segments(g));
}

// sddmm(g, u, v): the dot products of what the nodes at both ends of an edge have, u [targets, C] and v [sources, C] -> [edges],
// or of their heads, [targets, H, C] and [sources, H, C] -> [edges, H]. Throws ShapeError. Derivatives of both: weighted sums
// of the other over a node's edges.
template <Expression U, Expression V>
[[nodiscard]] auto sddmm(const Graph& g, U&& targets, V&& sources) {
    const auto u = impl::operand(static_cast<U&&>(targets));
    const auto v = impl::operand(static_cast<V&&>(sources));
    using Own = std::remove_const_t<decltype(u)>;
    using T = typename Own::Scalar;
    static_assert(std::is_same_v<Own, std::remove_const_t<decltype(v)>>, "tenon: sddmm: both operands must have one element type and rank");
    static_assert(Own::rank == 2 || Own::rank == 3, "tenon: sddmm: operands are [nodes, C] or [nodes, heads, C]");
    impl::check_nodes("sddmm", g, u.record(), g.targets(), "targets");
    impl::check_nodes("sddmm", g, v.record(), g.sources(), "sources");
    for (int i = 1; i < Own::rank; ++i)
        if (u.shape(i) != v.shape(i))
            fail<ShapeError>("sddmm: ", u.record()->description(), " and ", v.record()->description(), " differ in axis ", i);
    const long heads = Own::rank == 3 ? u.shape(1) : 1, dims[2] = {g.edges(), heads};
    const impl::SparseProduct p{g.structure(), false, false, heads, u.shape(-1), {}};
    return Tensor<T, Own::rank - 1>(impl::sddmm_of<T>("sddmm", p, u.record(), v.record(), Own::rank - 1, dims));
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon::graph
