// Adjacency matrices as graph convolutions use them: with self-loops, and divided by the square roots of both ends' degrees.
#pragma once

#include <tenon/graph/edges.hpp>
#include <tenon/ops/concat.hpp>

namespace tenon::graph {

// A graph and a weight for each of its edges.
template <class T>
struct WeightedGraph {
    Graph graph;
    Tensor<T, 1> weight;
};

struct NormOptions {
    bool improved = false;        // self-loops of weight 2 instead of 1
    bool add_self_loops = true;   // to nodes that have none
};

inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

// What becomes of a graph's edges when self-loops go: those that are none, in their order, and the last self-loop of each node.
struct LoopSplit {
    Tensor<std::int64_t, 1> kept, loop;  // [edges that are none], [nodes], -1: none
    Graph without, with;                 // with: one for each node, behind the others
};
struct LoopSplits final : graph_detail::Attachment {
    LoopSplit split;
    explicit LoopSplits(const Graph& g) : Attachment(Graph::kind_of<LoopSplits>()) {
        const long nodes = g.nodes(), edges = g.edges();
        const auto index = g.edge_index().to(cpu);
        const std::int64_t *source = index.data(), *target = source + edges;
        long count = 0;
        for (long e = 0; e < edges; ++e) count += source[e] != target[e] ? 1 : 0;
        const auto kept = empty<std::int64_t>({count}), loop = full<std::int64_t>({nodes}, -1);
        const auto without = empty<std::int64_t>({2, count}), with = empty<std::int64_t>({2, count + nodes});
        long at = 0;
        for (long e = 0; e < edges; ++e) {
            if (source[e] == target[e]) {
                loop.data()[source[e]] = e;
                continue;
            }
            kept.data()[at] = e;
            without.data()[at] = with.data()[at] = source[e];
            without.data()[count + at] = with.data()[count + nodes + at] = target[e];
            ++at;
        }
        for (long i = 0; i < nodes; ++i) with.data()[count + i] = with.data()[2 * count + nodes + i] = i;
        const Device device = g.device();
        split = {kept.to(device), loop.to(device), Graph::from_edges(without.to(device), nodes), Graph::from_edges(with.to(device), nodes)};
    }
};
inline const LoopSplit& loop_split(const Graph& g) {
    return g.attached<LoopSplits>([](const LoopSplits&) { return true; }, [&] { return new LoopSplits(g); }).split;
}

// The last normalised weights of each kind, kept with the graph.
template <class T>
struct KeptNorms final : graph_detail::Attachment {
    struct Entry {
        bool made = false;
        Tensor<T, 1> of;  // held, so that no other tensor can come to lie there
        unsigned version = 0;
        Tensor<T, 1> result;  // the weights only: the graph may be the one that keeps them
    };
    KeptNorms() : Attachment(Graph::kind_of<KeptNorms>()) {}
    mutable int lock = 0;
    mutable Entry entries[4];
};

// Weights of the edges that are none and of the self-loops, recorded where w wants gradients.
template <class T>
Tensor<T, 1> loop_weights(const Graph& g, const Tensor<T, 1>& w, double fill) {
    const LoopSplit& split = loop_split(g);
    const Tensor<T, 1> rest =
        w.has_value() ? Tensor<T, 1>(index_select<0>(w, split.kept)) : Tensor<T, 1>(ones<T>({split.kept.size()}, g.device()));
    const Tensor<T, 1> fresh = full<T>({g.nodes()}, static_cast<T>(fill), g.device());
    if (w.has_value() && g.edges() > 0) {
        const Tensor<std::int64_t, 1> place = where(split.loop < std::int64_t(0), std::int64_t(0), split.loop);
        const Tensor<T, 1> own = where(split.loop < std::int64_t(0), fresh, index_select<0>(w, place));
        return concat<0>(rest, own);
    }
    return concat<0>(rest, fresh);
}
template <class T>
Tensor<T, 1> symmetric_norm(const Graph& g, const Tensor<T, 1>& w) {
    const Tensor<T, 1> degree = segment_sum(w, target_segments(g));
    const Tensor<T, 1> scale = where(degree > T(0), rsqrt(degree), T(0));
    return gather_sources(g, scale) * w * gather_targets(g, scale);
}

}  // namespace impl

// The graph with exactly one self-loop at every node, behind its other edges; self-loops that it had are dropped (with their
// weights: gcn_norm keeps those).
inline const Graph& with_self_loops(const Graph& g) { return impl::loop_split(g).with; }
inline const Graph& without_self_loops(const Graph& g) { return impl::loop_split(g).without; }

// gcn_norm<T>(g, w): the weights w (empty: ones) divided by the square roots of the weighted in-degrees of both ends (Kipf and
// Welling 2017), after nodes without a self-loop have got one; w / sqrt(d d') with 0 where a degree is not positive. The
// edges of the result: those that are no self-loops, in their order, then the self-loops of nodes 0, 1, .... The result for weights
// that want no gradient is kept with the graph, until other weights come or these are written to. Derivative of w.
template <class T>
[[nodiscard]] WeightedGraph<T> gcn_norm(const Graph& g, const Tensor<T, 1>& w = {}, const NormOptions& options = {}) {
    if (w.has_value()) impl::check_nodes("gcn_norm", g, w.record(), g.edges(), "edges");
    static_cast<void>(g.nodes());  // sources and targets must be the same nodes
    const Graph& on = options.add_self_loops ? with_self_loops(g) : g;
    const auto make = [&] {
        if (options.add_self_loops) return impl::symmetric_norm(on, impl::loop_weights(g, w, options.improved ? 2 : 1));
        return impl::symmetric_norm(on, w.has_value() ? w : ones<T>({g.edges()}, g.device()));
    };
    if (w.has_value() && detail::wants_gradient(w.record())) return {on, make()};
    const auto& kept =
        g.attached<impl::KeptNorms<T>>([](const impl::KeptNorms<T>&) { return true; }, [] { return new impl::KeptNorms<T>; });
    auto& entry = kept.entries[(options.improved ? 2 : 0) + (options.add_self_loops ? 1 : 0)];
    {
        const detail::FirstUse guard(kept.lock);
        const bool same =
            entry.of.has_value() == w.has_value() &&
            (!w.has_value() || (entry.of.record()->storage == w.record()->storage && entry.of.record()->offset == w.record()->offset &&
                                entry.of.stride(0) == w.stride(0) && entry.version == w.record()->storage->version));
        if (entry.made && same) return {on, entry.result};
    }
    const no_grad unrecorded;
    Tensor<T, 1> result = make();
    const detail::FirstUse guard(kept.lock);
    entry.result = result;
    entry.of = w.has_value() ? w.detach() : w;
    entry.version = w.has_value() ? w.record()->storage->version : 0;
    entry.made = true;
    return {on, result};
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon::graph
