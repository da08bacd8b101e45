// Which nodes or graphs are for training, validation and testing, drawn by a key.
#pragma once

#include <tenon/core/factories.hpp>
#include <tenon/data/permutation.hpp>
#include <tenon/ops/copy.hpp>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace tenon::graph {

// Lists of nodes (or of graphs), int64.
struct Split {
    Tensor<std::int64_t, 1> train, validation, test;
};

struct RandomSplitOptions {
    long per_class = 20, validation = 500, test = 1000;
};

}  // namespace tenon::graph
namespace tenon::graph_detail {

inline Tensor<std::int64_t, 1> index_list(const std::vector<long>& values, std::size_t begin, std::size_t end) {
    const Tensor<std::int64_t, 1> list = empty<std::int64_t>({static_cast<long>(end - begin)});
    for (std::size_t i = begin; i < end; ++i) list.data()[i - begin] = values[i];
    return list;
}
// The rows of each label, in their order. Labels below 0 stand for none.
inline std::vector<std::vector<long>> rows_by_label(const char* operation, const Tensor<std::int64_t, 1>& y) {
    const Tensor<std::int64_t, 1> labels = contiguous(y.detach().to(cpu));
    std::vector<std::vector<long>> rows;
    for (long i = 0; i < labels.size(); ++i) {
        const std::int64_t label = labels.data()[i];
        if (label < 0) continue;
        if (label > 1000000) fail<ValueError>(operation, ": label ", static_cast<long>(label), " of row ", i, ", expected the numbers of classes, 0 to 1000000");
        if (static_cast<std::size_t>(label) >= rows.size()) rows.resize(static_cast<std::size_t>(label) + 1);
        rows[static_cast<std::size_t>(label)].push_back(i);
    }
    return rows;
}
inline void shuffle(std::vector<long>& values, Key key) {
    const std::vector<long> order = data::permutation(key, static_cast<long>(values.size())), before = values;
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = before[static_cast<std::size_t>(order[i])];
}

}  // namespace tenon::graph_detail
namespace tenon::graph {

// The random split of Fey and Lenssen, "Fast graph representation learning with PyTorch Geometric" (2019), and Shchur et al.,
// "Pitfalls of graph neural network evaluation" (2018): `per_class` nodes of every class for training, and of the rest, shuffled,
// the first `validation` and the next `test`. Nodes with a label below 0 are in no part. Throws ValueError where a class or the
// rest is too small.
inline Split random_split(const Tensor<std::int64_t, 1>& y, Key key, const RandomSplitOptions& options = {}) {
    if (options.per_class < 0 || options.validation < 0 || options.test < 0) fail<ValueError>("random_split: negative sizes");
    std::vector<std::vector<long>> classes = graph_detail::rows_by_label("random_split", y);
    std::vector<long> train, rest;
    for (std::size_t c = 0; c < classes.size(); ++c) {
        if (static_cast<long>(classes[c].size()) < options.per_class)
            fail<ValueError>("random_split: class ", static_cast<long>(c), " has ", static_cast<long>(classes[c].size()), " nodes, fewer than the ", options.per_class, " for training");
        graph_detail::shuffle(classes[c], key.split(c + 1));
        const auto middle = classes[c].begin() + options.per_class;
        train.insert(train.end(), classes[c].begin(), middle);
        rest.insert(rest.end(), middle, classes[c].end());
    }
    if (options.validation + options.test > static_cast<long>(rest.size()))
        fail<ValueError>("random_split: ", static_cast<long>(rest.size()), " nodes are left, fewer than ", options.validation, " for validation and ", options.test, " for testing");
    std::sort(rest.begin(), rest.end());
    graph_detail::shuffle(rest, key.split(0));
    const std::size_t validation = static_cast<std::size_t>(options.validation), test = static_cast<std::size_t>(options.test);
    return {graph_detail::index_list(train, 0, train.size()), graph_detail::index_list(rest, 0, validation), graph_detail::index_list(rest, validation, validation + test)};
}

// The rows in k parts of nearly equal size, each with nearly the same share of every class: the classes' shuffled rows are dealt
// out one after the other. Rows with a label below 0 are in no part. Throws ValueError unless 2 <= k <= the number of rows.
inline std::vector<Tensor<std::int64_t, 1>> stratified_folds(const Tensor<std::int64_t, 1>& y, long k, Key key) {
    std::vector<std::vector<long>> classes = graph_detail::rows_by_label("stratified_folds", y);
    std::size_t count = 0;
    for (const std::vector<long>& rows : classes) count += rows.size();
    if (k < 2 || k > static_cast<long>(count)) fail<ValueError>("stratified_folds: ", k, " folds of ", static_cast<long>(count), " rows, expected 2 to as many as there are rows");
    std::vector<std::vector<long>> folds(static_cast<std::size_t>(k));
    std::size_t next = 0;
    for (std::size_t c = 0; c < classes.size(); ++c) {
        graph_detail::shuffle(classes[c], key.split(c));
        for (long row : classes[c]) {
            folds[next].push_back(row);
            next = (next + 1) % folds.size();
        }
    }
    std::vector<Tensor<std::int64_t, 1>> lists;
    for (std::vector<long>& fold : folds) {
        std::sort(fold.begin(), fold.end());
        lists.push_back(graph_detail::index_list(fold, 0, fold.size()));
    }
    return lists;
}
// Fold i of those for testing, the one before it for validation, the rest for training. Throws IndexError.
inline Split fold_split(const std::vector<Tensor<std::int64_t, 1>>& folds, long i) {
    const long k = static_cast<long>(folds.size());
    if (i < 0 || i >= k) fail<IndexError>("fold_split: fold ", i, " of ", k);
    const long before = (i + k - 1) % k;
    std::vector<long> train;
    for (long f = 0; f < k; ++f)
        if (f != i && f != before)
            for (long r = 0; r < folds[static_cast<std::size_t>(f)].size(); ++r) train.push_back(static_cast<long>(folds[static_cast<std::size_t>(f)].data()[r]));
    std::sort(train.begin(), train.end());
    return {graph_detail::index_list(train, 0, train.size()), folds[static_cast<std::size_t>(before)], folds[static_cast<std::size_t>(i)]};
}

}  // namespace tenon::graph
