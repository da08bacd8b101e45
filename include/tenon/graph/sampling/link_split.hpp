// Edges to learn from and edges to predict.
#pragma once

#include <tenon/graph/sampling/negatives.hpp>

#include <algorithm>

namespace tenon::graph {

struct LinkSplitOptions {
    double validation = 0.1, test = 0.2;  // parts of the edges
    bool undirected = false;              // every edge comes in both directions: both go the same way, one of them is predicted
    double negatives = 1;                 // pairs without an edge for every edge to predict
};
struct LinkPart {
    Graph graph;                                  // what messages pass along
    Tensor<std::int64_t, 2> positive, negative;   // pairs to predict as edges, and as none
};
struct LinkSplit { LinkPart train, validation, test; };

namespace impl_sampling {

// The edges between the same two nodes as one list, lists in the order of their first edge.
struct EdgeLists {
    std::vector<std::int64_t> edges;
    std::vector<long> begins;
    long count() const { return static_cast<long>(begins.size()) - 1; }
};
// undirected: of edges in either direction those from the smaller node; as many must lead back. Throws ValueError naming one that
// none leads back to.
inline EdgeLists edges_by_pair(const char* operation, const Graph& g, bool undirected) {
    const std::int64_t *const source = g.edge_index().data(), *const target = source + g.edges();
    const std::size_t count = static_cast<std::size_t>(g.edges());
    std::vector<std::int64_t> pair(count), order(count), list(count, -1);
    for (std::size_t e = 0; e < count; ++e) {
        const bool turned = undirected && source[e] > target[e];
        pair[e] = turned ? target[e] * g.targets() + source[e] : source[e] * g.targets() + target[e];
        order[e] = static_cast<std::int64_t>(e);
    }
    const auto pair_of = [&](std::int64_t e) { return pair[static_cast<std::size_t>(e)]; };
    std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) { return pair_of(a) < pair_of(b); });
    std::vector<std::int64_t> there, back;
    for (std::size_t begin = 0, end = 0; begin < count; begin = end) {
        there.clear(), back.clear();
        for (; end < count && pair_of(order[end]) == pair_of(order[begin]); ++end)
            (undirected && source[order[end]] > target[order[end]] ? back : there).push_back(order[end]);
        if (undirected && source[order[begin]] != target[order[begin]] && there.size() != back.size()) {
            const std::int64_t e = there.size() > back.size() ? there[back.size()] : back[there.size()];
            fail<ValueError>(operation, ": edge ", static_cast<long>(e), ", ", static_cast<long>(source[e]), " -> ",
                             static_cast<long>(target[e]), ", has no edge back, but undirected was asked for");
        }
        for (const std::int64_t e : there) list[static_cast<std::size_t>(e)] = there[0];
    }
    // Numbered by their first edge, which for the time being stands for them.
    EdgeLists lists{{}, {0}};
    std::vector<long> number(count, 0);
    for (std::size_t e = 0; e < count; ++e) {
        if (list[e] < 0) continue;
        if (list[e] == static_cast<std::int64_t>(e)) number[e] = lists.count(), lists.begins.push_back(0);
        list[e] = number[static_cast<std::size_t>(list[e])];
        ++lists.begins[static_cast<std::size_t>(list[e]) + 1];
    }
    for (std::size_t k = 1; k < lists.begins.size(); ++k) lists.begins[k] += lists.begins[k - 1];
    lists.edges.resize(static_cast<std::size_t>(lists.begins.back()));
    std::vector<long> next(lists.begins.begin(), lists.begins.end() - 1);
    for (std::size_t e = 0; e < count; ++e)
        if (list[e] >= 0)
            lists.edges[static_cast<std::size_t>(next[static_cast<std::size_t>(list[e])]++)] = static_cast<std::int64_t>(e);
    return lists;
}

}  // namespace impl_sampling

// random_link_split(g, key, {.validation = 0.1, .test = 0.2}): edges in random order are shared out; messages pass along training edges
// (test: along those of training and validation), so that no edge predicts itself: edges between the same two nodes go to one part, and
// the parts count such pairs, rounded down. Pairs without an edge are none of the whole graph and come in one part only, with undirected
// in one direction only. Of pairs that come several times every edge is listed, of undirected ones those from the smaller node. On the
// host. Throws ValueError, with undirected for an edge without one back, which it names.
[[nodiscard]] inline LinkSplit random_link_split(const Graph& g, Key key, LinkSplitOptions options = {}) {
    impl_sampling::check_host("random_link_split", g.device());
    if (!(options.validation >= 0 && options.test >= 0 && options.validation + options.test <= 1))
        fail<ValueError>("random_link_split: parts of ", options.validation, " and ", options.test,
                         ", expected 0 or more, and at most 1 together");
    if (!(options.negatives >= 0))
        fail<ValueError>("random_link_split: ", options.negatives, " pairs without an edge per edge, expected 0 or more");
    if (options.undirected) static_cast<void>(g.nodes());  // sources and targets must be the same nodes
    const Tensor<std::int64_t, 2>& ends = g.edge_index();
    const long edges = g.edges();
    const impl_sampling::EdgeLists lists = impl_sampling::edges_by_pair("random_link_split", g, options.undirected);
    const long n = lists.count();
    const long validation = static_cast<long>(options.validation * static_cast<double>(n) + 1e-9),
               test = static_cast<long>(options.test * static_cast<double>(n) + 1e-9), train = n - validation - test;
    const Tensor<std::int64_t, 1> order = permutation(n, key.split(0));
    const auto part = [&](long begin, long end, bool both) {
        std::vector<std::int64_t> source, target;
        for (long k = begin; k < end; ++k) {
            const std::size_t list = static_cast<std::size_t>(order.data()[k]);
            for (long at = lists.begins[list]; at < lists.begins[list + 1]; ++at) {
                const std::int64_t e = lists.edges[static_cast<std::size_t>(at)];
                source.push_back(ends.data()[e]);
                target.push_back(ends.data()[edges + e]);
            }
        }
        if (both)
            for (std::size_t k = 0, count = source.size(); k < count; ++k)
                if (source[k] != target[k]) {
                    source.push_back(target[k]);
                    target.push_back(source[k]);
                }
        return impl_sampling::pairs_of(source, target);
    };
    const auto graph_of = [&](long end) {
        const Tensor<std::int64_t, 2> index = part(0, end, options.undirected);
        return g.sources() == g.targets() ? Graph::from_edges(index, g.nodes()) : Graph::bipartite(index, g.sources(), g.targets());
    };
    LinkSplit split;
    split.train.graph = split.validation.graph = graph_of(train);
    split.test.graph = graph_of(train + validation);
    split.train.positive = part(0, train, false);
    split.validation.positive = part(train, train + validation, false);
    split.test.positive = part(train + validation, n, false);
    const auto wanted = [&](const LinkPart& p) {
        return static_cast<long>(options.negatives * static_cast<double>(p.positive.shape(1)) + 1e-9);
    };
    const Tensor<std::int64_t, 2> pairs = negative_sampling(g, wanted(split.train) + wanted(split.validation) + wanted(split.test),
                                                            key.split(1), {.undirected = options.undirected});
    // Where there are too few, those to be judged come first.
    long at = 0;
    for (LinkPart* const p : {&split.test, &split.validation, &split.train}) {
        const long begin = at;
        at = std::min(at + wanted(*p), pairs.shape(1));
        p->negative = contiguous(pairs(all, slice(begin, at)));
    }
    return split;
}

}  // namespace tenon::graph
