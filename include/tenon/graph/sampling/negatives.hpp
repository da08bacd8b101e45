// Pairs of nodes without an edge, to be told from those with one.
#pragma once

#include <tenon/graph/sampling/walks.hpp>
#include <tenon/ops/random.hpp>

#include <unordered_set>

namespace tenon::graph {

struct NegativeOptions {
    bool loops = false;       // whether a node may be paired with itself (bipartite graphs: always)
    bool undirected = false;  // negative_sampling: pairs in no direction, the smaller node first, between which no edge leads either way
};

// negative_sampling(g, count, key): distinct pairs (source, target) that are no edges, int64 [2, count], uniform among all of them, in
// random order; fewer where there are not so many. Duplicate edges count once. On the host. Throws ValueError, and ShapeError for
// undirected pairs of a bipartite graph.
[[nodiscard]] inline Tensor<std::int64_t, 2> negative_sampling(const Graph& g, long count, Key key, NegativeOptions options = {}) {
    impl_sampling::check_host("negative_sampling", g.device());
    if (count < 0) fail<ValueError>("negative_sampling: ", count, " pairs asked for, expected 0 or more");
    if (options.undirected) static_cast<void>(g.nodes());  // sources and targets must be the same nodes
    const long sources = g.sources(), targets = g.targets();
    const bool loops = options.loops || sources != targets;
    const CsrPattern& in = g.in();
    const auto is_edge = [&](std::int64_t a, std::int64_t b) { return impl_sampling::has_edge(in, a, b); };
    // Whether a pair is one that may be asked for, an edge or not, and whether it is none.
    const auto is_pair = [&](std::int64_t a, std::int64_t b) { return (loops || a != b) && (!options.undirected || a <= b); };
    const auto counts = [&](std::int64_t a, std::int64_t b) {
        return is_pair(a, b) && !is_edge(a, b) && (!options.undirected || !is_edge(b, a));
    };
    // Pairs less those that are edges, each of which is counted where it is met first.
    long left = options.undirected ? targets * (targets - 1) / 2 + (loops ? targets : 0) : sources * targets - (loops ? 0 : targets);
    for (long v = 0; v < targets; ++v)
        for (std::int32_t p = in.pointers.data()[v]; p < in.pointers.data()[v + 1]; ++p) {
            const std::int64_t u = in.columns.data()[p];
            if (p > in.pointers.data()[v] && in.columns.data()[p - 1] == u) continue;
            left -= is_pair(u, v) || (options.undirected && u > v && !is_edge(v, u)) ? 1 : 0;
        }
    if (count > left) count = left;
    std::vector<std::int64_t> source, target;
    if (2 * count > left || 8 * left < sources * targets) {
        // Most of what is left, or little left: list it, and take a random part.
        std::vector<std::int64_t> all_pairs;
        all_pairs.reserve(static_cast<std::size_t>(left));
        for (long a = 0; a < sources; ++a)
            for (long b = 0; b < targets; ++b)
                if (counts(a, b)) all_pairs.push_back(a * targets + b);
        const Tensor<std::int64_t, 1> order = permutation(left, key);
        for (long k = 0; k < count; ++k) {
            const std::int64_t pair = all_pairs[static_cast<std::size_t>(order.data()[k])];
            source.push_back(pair / targets);
            target.push_back(pair % targets);
        }
    } else {
        std::unordered_set<std::int64_t> seen;
        for (std::uint64_t drawn = 0; static_cast<long>(source.size()) < count; ++drawn) {
            const std::int64_t pair = static_cast<std::int64_t>(
                scale_to_range(random_word64(key, drawn), static_cast<std::uint64_t>(sources) * static_cast<std::uint64_t>(targets)));
            if (!counts(pair / targets, pair % targets) || !seen.insert(pair).second) continue;
            source.push_back(pair / targets);
            target.push_back(pair % targets);
        }
    }
    return impl_sampling::pairs_of(source, target);
}

// structured_negative_sampling(g, key): for every edge (source, target) another target to which that source has no edge, int64 [edges],
// uniform among those. Edge e's draw depends on (key, e) alone. Throws ValueError naming a source that has an edge to every target.
[[nodiscard]] inline Tensor<std::int64_t, 1> structured_negative_sampling(const Graph& g, Key key, NegativeOptions options = {}) {
    impl_sampling::check_host("structured_negative_sampling", g.device());
    const bool loops = options.loops || g.sources() != g.targets();
    const Tensor<std::int64_t, 2>& ends = g.edge_index();
    const long edges = g.edges(), targets = g.targets();
    Tensor<std::int64_t, 1> result = empty<std::int64_t>({edges});
    for (long e = 0; e < edges; ++e) {
        const std::int64_t a = ends.data()[e];
        const Key own = key.split(static_cast<std::uint64_t>(e));
        std::int64_t found = -1;
        for (std::uint64_t k = 0; k < 64 && found < 0; ++k) {
            const std::int64_t b = static_cast<std::int64_t>(scale_to_range(random_word64(own, k), static_cast<std::uint64_t>(targets)));
            if ((loops || a != b) && !impl_sampling::has_edge(g.in(), a, b)) found = b;
        }
        if (found < 0) {
            std::vector<std::int64_t> free;
            for (long b = 0; b < targets; ++b)
                if ((loops || a != b) && !impl_sampling::has_edge(g.in(), a, b)) free.push_back(b);
            if (free.empty())
                fail<ValueError>("structured_negative_sampling: node ", static_cast<long>(a), ", the source of edge ", e,
                                 ", has an edge to every target");
            found = free[static_cast<std::size_t>(scale_to_range(random_word64(own, 64), free.size()))];
        }
        result.data()[e] = found;
    }
    return result;
}

}  // namespace tenon::graph
