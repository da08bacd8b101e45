// Graphs that stand in for data sets one does not have where only time counts: as many nodes, edges, features and words.
#pragma once

#include "protocol.hpp"

#include <tenon/base/philox.hpp>

#include <algorithm>
#include <vector>

namespace pyg_example {

struct Sizes {
    long nodes, edges, features, words, classes;  // edges in both directions; words: non-zero features
};

// Undirected, without loops or duplicates; every edge has one end that is drawn evenly, and one that prefers some nodes, as citations
// do.
inline Tensor<std::int64_t, 2> synthetic_edges(long nodes, long edges, Key key) {
    std::vector<std::pair<long, long>> pairs;
    const double n = static_cast<double>(nodes);
    for (std::uint64_t draw = 0; static_cast<long>(pairs.size()) < edges / 2;) {
        for (long missing = edges / 2 - static_cast<long>(pairs.size()); missing > 0; --missing, draw += 2) {
            const double even = unit_double(random_word64(key, draw)), skewed = unit_double(random_word64(key, draw + 1));
            const long a = static_cast<long>(n * even), b = static_cast<long>(n * skewed * skewed);
            if (a != b) pairs.emplace_back(std::min(a, b), std::max(a, b));
        }
        std::sort(pairs.begin(), pairs.end());
        pairs.erase(std::unique(pairs.begin(), pairs.end()), pairs.end());
    }
    const long count = static_cast<long>(pairs.size());
    const Tensor<std::int64_t, 2> index = empty<std::int64_t>({2, 2 * count});
    std::int64_t* const p = index.data();
    for (long k = 0; k < count; ++k) {
        const auto [a, b] = pairs[static_cast<std::size_t>(k)];
        p[k] = p[3 * count + k] = a;
        p[count + k] = p[2 * count + k] = b;
    }
    return index;
}

// Every node has the mean number of words, or one more.
inline Features synthetic_words(const Sizes& s, Key key) {
    const Tensor<std::int64_t, 1> pointers = empty<std::int64_t>({s.nodes + 1}), columns = empty<std::int64_t>({s.words});
    pointers.data()[0] = 0;
    std::vector<long> row;
    for (long i = 0; i < s.nodes; ++i) {
        const long begin = static_cast<long>(pointers.data()[i]), end = s.words * (i + 1) / s.nodes;
        const Key own = key.split(static_cast<std::uint64_t>(i));
        row.clear();
        for (std::uint64_t draw = 0; static_cast<long>(row.size()) < end - begin; ++draw) {
            const long word = static_cast<long>(static_cast<double>(s.features) * unit_double(random_word64(own, draw)));
            if (std::find(row.begin(), row.end(), word) == row.end()) row.push_back(word);
        }
        std::sort(row.begin(), row.end());
        std::copy(row.begin(), row.end(), columns.data() + begin);
        pointers.data()[i + 1] = end;
    }
    return Features::from_pointers(pointers, columns, full<float>({s.words}, 1), s.features);
}

inline Tensor<std::int64_t, 1> synthetic_labels(long count, long classes, Key key) {
    const Tensor<std::int64_t, 1> labels = empty<std::int64_t>({count});
    for (long i = 0; i < count; ++i)
        labels.data()[i] =
            static_cast<std::int64_t>(static_cast<double>(classes) * unit_double(random_word64(key, static_cast<std::uint64_t>(i))));
    return labels;
}

inline Data synthetic_data(Set set, const Sizes& s, Key key) {
    Data d;
    d.set = set;
    d.data.nodes = s.nodes;
    d.data.edge_index = synthetic_edges(s.nodes, s.edges, key.split(0));
    d.data.x = synthetic_words(s, key.split(1));
    d.data.y = synthetic_labels(s.nodes, s.classes, key.split(2));
    d.normalized = graph::normalize_features(d.data.x);
    d.graph = d.data.graph();
    d.fixed.train = arange<std::int64_t>(20 * s.classes);
    d.classes = s.classes;
    return d;
}

}  // namespace pyg_example
