// Second derivatives of operations over graphs: include this and <tenon/ops/second_order.hpp>, which has those of what they are made of.
#pragma once

#include <tenon/graph/attention.hpp>
#include <tenon/graph/basis.hpp>
#include <tenon/graph/edges.hpp>
#include <tenon/ops/dropout.hpp>
#include <tenon/ops/second_order/sparse.hpp>

namespace tenon::graph {
inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

// Attention written out, edge by edge.
template <class T>
void gat_recorded(Node& any) {
    auto& node = static_cast<GatNode<T>&>(any);
    const Graph& g = node.graph();
    const GatOptions& o = node.options();
    const long heads = node.saved(0).tensor->dims()[1], width = node.saved(0).tensor->dims()[2];
    const auto input = [&]<int R>(int k, Shape<R> sizes) { return saved_input<T, R>(node, k, node.saved(k), sizes); };
    const auto dy = contiguous(recorded_gradient<T, 3>(node, Shape<3>{{g.targets(), heads, width}}));
    const auto h = input(0, Shape<3>{{g.sources(), heads, width}});
    Tensor<T, 2> raw =
        gather_sources(g, input(1, Shape<2>{{g.sources(), heads}})) + gather_targets(g, input(2, Shape<2>{{g.targets(), heads}}));
    if (node.saved(3).tensor) raw = eval(raw + input(3, Shape<2>{{g.edges(), heads}}));
    const T slope = static_cast<T>(o.negative_slope);
    const auto drop = [&](const Tensor<T, 2>& x) { return o.dropout == 0 ? x : dropout(x, o.dropout, o.key); };
    const Tensor<T, 2> alpha = edge_softmax(g, eval(where(raw > T(0), raw, slope * raw)));
    const Tensor<T, 2> d_alpha = drop(sddmm(g, dy, h));
    const Tensor<T, 2> total = aggregate_edges(Aggregation::sum, g, eval(alpha * d_alpha));
    const Tensor<T, 2> d_score = alpha * (d_alpha - gather_targets(g, total));
    const Tensor<T, 2> d_raw = where(raw > T(0), d_score, slope * d_score);
    if (detail::wanted_now(node.inputs[0]))
        accumulate_reshaped(node.inputs[0],
                            sparse_product<T>(SparseProduct{g.structure(), false, false, heads, width, {}}, true, dy, drop(alpha)));
    if (detail::wanted_now(node.inputs[1])) accumulate_reshaped(node.inputs[1], segment_sum(d_raw, source_segments(g)));
    if (detail::wanted_now(node.inputs[2])) accumulate_reshaped(node.inputs[2], segment_sum(d_raw, target_segments(g)));
    if (node.saved(3).tensor && detail::wanted_now(node.inputs[3])) accumulate_reshaped(node.inputs[3], d_raw);
}

// Rows of every basis for every edge.
template <class T>
void basis_recorded(Node& any) {
    auto& node = static_cast<BasisNode<T>&>(any);
    const Graph& g = node.graph();
    const long bases = node.bases().tensor->dims()[0], width = node.bases().tensor->dims()[2], edges = g.edges();
    const Tensor<T, 3> dy = contiguous(recorded_gradient<T, 3>(node, Shape<3>{{edges, 1, width}}));
    if (detail::wanted_now(node.inputs[0])) {
        const auto tables = saved_input<T, 3>(node, 1, node.bases(), Shape<3>{{bases, g.targets(), width}});
        const Tensor<T, 3> rows = gather_targets(g, contiguous(tables.template permute<1, 0, 2>()));
        const Tensor<T, 2> products = tenon::sum<2>(rows * dy);
        accumulate_reshaped(node.inputs[0], segment_sum(products, source_segments(g)));
    }
    if (detail::wanted_now(node.inputs[1])) {
        const Tensor<T, 2> of_edges = gather_sources(g, saved_input<T, 2>(node, 0, node.weight(), Shape<2>{{g.sources(), bases}}));
        const Tensor<T, 3> shares = of_edges.reshape({edges, bases, 1}) * dy;
        const Tensor<T, 3> total = aggregate_edges(Aggregation::sum, g, shares);
        accumulate_reshaped(node.inputs[1], contiguous(total.template permute<1, 0, 2>()));
    }
}

template <class T>
struct GraphEntries {
    detail::RecordedBackward gat{&detail::node_kind<GatNode<T>>, &gat_recorded<T>}, basis{&detail::node_kind<BasisNode<T>>, &basis_recorded<T>};
};
inline GraphEntries<float> graph_entries_float;
inline GraphEntries<double> graph_entries_double;

}  // namespace impl
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon::graph
