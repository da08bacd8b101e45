// Partitions of a graph, and batches made of their parts (Chiang et al., "Cluster-GCN", KDD 2019).
#pragma once

#include <tenon/graph/sampling/induced.hpp>
#include <tenon/ops/random.hpp>

#include <algorithm>
#include <cmath>

namespace tenon::graph {

struct PartitionOptions {
    double slack = 0.05;  // a part has at most (1 + slack) nodes / parts, rounded up
    long sweeps = 5;      // through all nodes, moving each to the part of most of its neighbours where there is room
};

// partition(g, parts, key): which part each node is in, int64 [nodes]: nodes in the order of a breadth-first search from random starts go
// to the part that has most of their neighbours, less what is taken of its room (linear deterministic greedy: Stanton and Kliot, KDD 2012),
// then sweeps improve it. Edges count in both directions. On the host; throws ValueError.
[[nodiscard]] inline Tensor<std::int64_t, 1> partition(const Graph& g, long parts, Key key, PartitionOptions options = {}) {
    impl_sampling::check_host("partition", g.device());
    if (parts < 1) fail<ValueError>("partition: ", parts, " parts, expected at least 1");
    if (!(options.slack >= 0)) fail<ValueError>("partition: slack is ", options.slack, ", expected 0 or more");
    const long n = g.nodes();
    const CsrPattern &in = g.in(), &out = g.out();
    const double capacity = std::ceil((1 + options.slack) * static_cast<double>(n) / static_cast<double>(parts));
    Tensor<std::int64_t, 1> part = full<std::int64_t>({n}, -1);
    std::vector<long> filled(static_cast<std::size_t>(parts), 0), near(static_cast<std::size_t>(parts), 0);
    const auto each_neighbour = [&](std::int64_t v, auto&& f) {
        for (const CsrPattern* side : {&in, &out})
            for (std::int32_t p = side->pointers.data()[v]; p < side->pointers.data()[v + 1]; ++p)
                if (side->columns.data()[p] != v) f(static_cast<std::int64_t>(side->columns.data()[p]));
    };
    std::vector<std::int64_t> touched;
    const auto count_near = [&](std::int64_t v) {
        for (const std::int64_t p : touched) near[static_cast<std::size_t>(p)] = 0;
        touched.clear();
        each_neighbour(v, [&](std::int64_t u) {
            const std::int64_t p = part.data()[u];
            if (p >= 0 && near[static_cast<std::size_t>(p)]++ == 0) touched.push_back(p);
        });
        std::sort(touched.begin(), touched.end());
    };
    const Tensor<std::int64_t, 1> starts = permutation(n, key);
    std::vector<bool> queued(static_cast<std::size_t>(n), false);
    std::vector<std::int64_t> queue;
    long emptiest = 0;
    for (long k = 0; k < n; ++k) {
        if (queued[static_cast<std::size_t>(starts.data()[k])]) continue;
        queued[static_cast<std::size_t>(starts.data()[k])] = true;
        queue.assign(1, starts.data()[k]);
        for (std::size_t at = 0; at < queue.size(); ++at) {
            const std::int64_t v = queue[at];
            count_near(v);
            std::int64_t best = -1;
            double most = 0;
            for (const std::int64_t p : touched) {
                const double score = static_cast<double>(near[static_cast<std::size_t>(p)]) *
                                     (1 - static_cast<double>(filled[static_cast<std::size_t>(p)]) / capacity);
                if (score > most) {
                    most = score;
                    best = p;
                }
            }
            if (best < 0) {
                for (long p = 0; p < parts; ++p)
                    if (filled[static_cast<std::size_t>(p)] < filled[static_cast<std::size_t>(emptiest)]) emptiest = p;
                best = emptiest;
            }
            part.data()[v] = best;
            ++filled[static_cast<std::size_t>(best)];
            each_neighbour(v, [&](std::int64_t u) {
                if (queued[static_cast<std::size_t>(u)]) return;
                queued[static_cast<std::size_t>(u)] = true;
                queue.push_back(u);
            });
        }
    }
    for (long sweep = 0; sweep < options.sweeps; ++sweep) {
        bool moved = false;
        for (long v = 0; v < n; ++v) {
            count_near(v);
            const std::int64_t own = part.data()[v];
            std::int64_t best = own;
            for (const std::int64_t p : touched)
                if (near[static_cast<std::size_t>(p)] > near[static_cast<std::size_t>(best)] &&
                    static_cast<double>(filled[static_cast<std::size_t>(p)]) < capacity)
                    best = p;
            if (best == own) continue;
            --filled[static_cast<std::size_t>(own)];
            ++filled[static_cast<std::size_t>(best)];
            part.data()[v] = best;
            moved = true;
        }
        if (!moved) break;
    }
    return part;
}

// edge_cut(g, part): how many edges connect different parts; part int64 [nodes]. On the host. Throws ShapeError.
[[nodiscard]] inline long edge_cut(const Graph& g, const Tensor<std::int64_t, 1>& part) {
    if (part.size() != g.nodes()) fail<ShapeError>("edge_cut: parts of ", part.size(), " nodes for a graph of ", g.nodes());
    const Tensor<std::int64_t, 2> ends = g.edge_index().to(cpu);
    const Tensor<std::int64_t, 1> own = contiguous(part.to(cpu));
    long cut = 0;
    for (long e = 0; e < g.edges(); ++e) cut += own.data()[ends.data()[e]] != own.data()[ends.data()[g.edges() + e]];
    return cut;
}

// parts_graph(g, part, chosen): the nodes of the chosen parts, part after part, ascending in each, and all edges between them: one batch of
// Cluster-GCN, whose layers normalise the adjacency of the batch. part int64 [nodes], as partition gives it; a part may have no nodes. On
// the host. Throws ShapeError, ValueError for a part chosen twice, IndexError for one below 0 or above the last that has nodes.
[[nodiscard]] inline Sampled parts_graph(const Graph& g, const Tensor<std::int64_t, 1>& part, const std::vector<long>& chosen) {
    impl_sampling::check_host("parts_graph", g.device());
    if (part.size() != g.nodes()) fail<ShapeError>("parts_graph: parts of ", part.size(), " nodes for a graph of ", g.nodes());
    const Tensor<std::int64_t, 1> own = contiguous(part.to(cpu));
    std::int64_t last = -1;
    for (long v = 0; v < own.size(); ++v) last = std::max(last, own.data()[v]);
    // Which of the chosen each part is.
    std::vector<long> place(static_cast<std::size_t>(last + 1), -1);
    for (std::size_t k = 0; k < chosen.size(); ++k) {
        if (chosen[k] < 0 || chosen[k] > last)
            fail<IndexError>("parts_graph: there is no part ", chosen[k], ": nodes are in parts up to ", static_cast<long>(last));
        long& own_place = place[static_cast<std::size_t>(chosen[k])];
        if (own_place >= 0) fail<ValueError>("parts_graph: part ", chosen[k], " is chosen twice");
        own_place = static_cast<long>(k);
    }
    std::vector<std::vector<std::int64_t>> by_place(chosen.size());
    for (long v = 0; v < own.size(); ++v)
        if (own.data()[v] >= 0 && place[static_cast<std::size_t>(own.data()[v])] >= 0)
            by_place[static_cast<std::size_t>(place[static_cast<std::size_t>(own.data()[v])])].push_back(v);
    std::vector<std::int64_t> nodes;
    for (const std::vector<std::int64_t>& some : by_place) nodes.insert(nodes.end(), some.begin(), some.end());
    return induced_graph(g, impl_sampling::tensor_of(nodes));
}

}  // namespace tenon::graph
