// Messages that are there already, brought together at their targets in any of the ways that messages as formulas are.
#pragma once

#include <tenon/graph/edges.hpp>
#include <tenon/ops/segment_folds.hpp>

namespace tenon::graph {
inline namespace TENON_CONFIG_NAMESPACE {

// aggregate_edges<graph::product>(g, messages): messages [edges, ...] at their targets, [targets, ...], 0 where there are none: the sum,
// mean, max, min, product, std_dev (of the population) or softmax_sum (the sum weighted by the softmax over the edges, feature by feature).
// Throws ShapeError. Derivative: as of segment_sum, segment_product, segment_std and their kind.
template <Aggregation How, Expression M>
[[nodiscard]] auto aggregate_edges(const Graph& g, M&& messages) {
    if constexpr (How == Aggregation::product || How == Aggregation::std_dev || How == Aggregation::softmax_sum) {
        const auto m = impl::operand(static_cast<M&&>(messages));
        using Own = std::remove_const_t<decltype(m)>;
        impl::check_nodes("aggregate_edges", g, m.record(), g.edges(), "edges");
        const Segments& s = target_segments(g);
        if constexpr (How == Aggregation::product) return segment_product(m, s);
        else if constexpr (How == Aggregation::std_dev) return segment_std(m, s);
        else return segment_sum(Own(segment_softmax(m, s) * m), s);
    } else {
        return aggregate_edges(How, g, static_cast<M&&>(messages));
    }
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon::graph
