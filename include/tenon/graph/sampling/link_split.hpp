// Edges to learn from and edges to predict.
#pragma once

#include <tenon/graph/sampling/negatives.hpp>

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

// random_link_split(g, key, {.validation = 0.1, .test = 0.2}): edges in random order are shared out; messages pass along training edges
// (test: along those of training and validation), so that no edge predicts itself. Pairs without an edge are none of the whole graph
// and come in one part only. Numbers are rounded down. Throws ValueError.
[[nodiscard]] inline LinkSplit random_link_split(const Graph& g, Key key, LinkSplitOptions options = {}) {
    impl_sampling::check_host("random_link_split", g.device());
    if (!(options.validation >= 0 && options.test >= 0 && options.validation + options.test <= 1))
        fail<ValueError>("random_link_split: parts of ", options.validation, " and ", options.test,
                         ", expected 0 or more, and at most 1 together");
    if (!(options.negatives >= 0))
        fail<ValueError>("random_link_split: ", options.negatives, " pairs without an edge per edge, expected 0 or more");
    const Tensor<std::int64_t, 2>& ends = g.edge_index();
    const long edges = g.edges();
    std::vector<std::int64_t> eligible;
    for (long e = 0; e < edges; ++e) {
        if (options.undirected && ends.data()[e] > ends.data()[edges + e]) {
            if (!has_edge(g, ends.data()[edges + e], ends.data()[e]))
                fail<ValueError>("random_link_split: edge ", e, ", ", static_cast<long>(ends.data()[e]), " -> ",
                                 static_cast<long>(ends.data()[edges + e]), ", has no edge back, but undirected was asked for");
            continue;
        }
        eligible.push_back(e);
    }
    const long n = static_cast<long>(eligible.size());
    const long validation = static_cast<long>(options.validation * static_cast<double>(n) + 1e-9),
               test = static_cast<long>(options.test * static_cast<double>(n) + 1e-9), train = n - validation - test;
    const Tensor<std::int64_t, 1> order = permutation(n, key.split(0));
    const auto part = [&](long begin, long end, bool both) {
        std::vector<std::int64_t> source, target;
        for (long k = begin; k < end; ++k) {
            const std::int64_t e = eligible[static_cast<std::size_t>(order.data()[k])];
            source.push_back(ends.data()[e]);
            target.push_back(ends.data()[edges + e]);
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
    const auto wanted = [&](long k) { return static_cast<long>(options.negatives * static_cast<double>(k) + 1e-9); };
    const Tensor<std::int64_t, 2> pairs = negative_sampling(g, wanted(train) + wanted(validation) + wanted(test), key.split(1));
    // Where there are too few, those to be judged come first.
    long at = 0;
    const auto take = [&](long k) {
        const long begin = at;
        at = at + wanted(k) < pairs.shape(1) ? at + wanted(k) : pairs.shape(1);
        return contiguous(pairs(all, slice(begin, at)));
    };
    split.test.negative = take(test);
    split.validation.negative = take(validation);
    split.train.negative = take(train);
    return split;
}

}  // namespace tenon::graph
