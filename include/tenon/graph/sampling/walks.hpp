// Random walks (Perozzi et al., "DeepWalk", KDD 2014; Grover and Leskovec, "node2vec", KDD 2016).
#pragma once

#include <tenon/base/parallel.hpp>
#include <tenon/base/philox.hpp>
#include <tenon/graph/sampling/induced.hpp>

namespace tenon::graph {

namespace impl_sampling {

// A search in the sorted row of the target, for nodes that are there.
inline bool has_edge(const CsrPattern& in, std::int64_t source, std::int64_t target) {
    std::int32_t low = in.pointers.data()[target], high = in.pointers.data()[target + 1];
    while (low < high) {
        const std::int32_t middle = low + (high - low) / 2;
        if (in.columns.data()[middle] < source) low = middle + 1;
        else high = middle;
    }
    return low < in.pointers.data()[target + 1] && in.columns.data()[low] == source;
}

}  // namespace impl_sampling

// has_edge(g, source, target): whether there is an edge, in time logarithmic in the target's edges. On the host. Throws IndexError for
// nodes that are not there, DeviceError.
[[nodiscard]] inline bool has_edge(const Graph& g, std::int64_t source, std::int64_t target) {
    impl_sampling::check_host("has_edge", g.device());
    if (source < 0 || source >= g.sources() || target < 0 || target >= g.targets())
        fail<IndexError>("has_edge: ", static_cast<long>(source), " -> ", static_cast<long>(target), " in a graph of ", g.sources(),
                         " sources and ", g.targets(), " targets, counted from 0");
    return impl_sampling::has_edge(g.in(), source, target);
}

struct WalkOptions {
    // node2vec: how unlikely a step back (p) and a step away from the node before (q) are; 1 and 1: all edges alike.
    double p = 1, q = 1;
};

// random_walk(g, starts, length, key, {.p = 1, .q = 1}): from every start (int64 [n], repeats allowed) a walk of `length` steps along
// outgoing edges: int64 [n, length + 1]. A walk that finds no edge stays where it is. Walk i depends on (key, i) alone. With p and q a step
// to x after (t, v) has weight 1/p where x = t, 1 where t has an edge to x, 1/q else; drawn by rejection. Throws IndexError, ValueError. On
// the host.
[[nodiscard]] inline Tensor<std::int64_t, 2> random_walk(const Graph& g, const Tensor<std::int64_t, 1>& starts, long length, Key key,
                                                         WalkOptions options = {}) {
    impl_sampling::check_host("random_walk", g.device());
    if (length < 0) fail<ValueError>("random_walk: ", length, " steps, expected 0 or more");
    if (!(options.p > 0 && options.q > 0))
        fail<ValueError>("random_walk: p is ", options.p, " and q is ", options.q, ", expected more than 0");
    const Tensor<std::int64_t, 1> from_nodes = contiguous(starts);
    const long n = from_nodes.size();
    for (long i = 0; i < n; ++i) impl_sampling::check_node("random_walk", from_nodes.data()[i], i, g.nodes());
    Tensor<std::int64_t, 2> walks = empty<std::int64_t>({n, length + 1});
    const CsrPattern& out = g.out();
    const CsrPattern& in = g.in();
    const bool plain = options.p == 1 && options.q == 1;
    const double back = 1 / options.p, away = 1 / options.q, most = back > away ? (back > 1 ? back : 1) : (away > 1 ? away : 1);
    const double back_part = back / most, near_part = 1 / most, away_part = away / most;
    constexpr long chunk = 64;
    parallel_for((n + chunk - 1) / chunk, [&](long task) {
        for (long i = task * chunk; i < n && i < (task + 1) * chunk; ++i) {
            const Key own = key.split(static_cast<std::uint64_t>(i));
            std::uint64_t drawn = 0;
            std::int64_t* walk = walks.data() + i * (length + 1);
            walk[0] = from_nodes.data()[i];
            for (long s = 1; s <= length; ++s) {
                const std::int64_t v = walk[s - 1];
                const std::int32_t begin = out.pointers.data()[v], degree = out.pointers.data()[v + 1] - begin;
                walk[s] = v;
                if (degree == 0) continue;
                for (;;) {
                    const std::int64_t x =
                        out.columns.data()[begin + static_cast<std::int32_t>(
                                                       scale_to_range(random_word64(own, drawn++), static_cast<std::uint64_t>(degree)))];
                    walk[s] = x;
                    if (plain || s == 1) break;
                    const double r = unit_double(random_word64(own, drawn++));
                    const std::int64_t before = walk[s - 2];
                    if (r < (x == before ? back_part : impl_sampling::has_edge(in, before, x) ? near_part : away_part)) break;
                }
            }
        }
    });
    return walks;
}

}  // namespace tenon::graph
