// How the paper trains and counts: full batch (or, not as there, small ones), Adam, and the test accuracy at the epoch with the lowest
// validation loss.
#pragma once

#include "../common/example.hpp"
#include "node_batches.hpp"

#include <tenon/graph/splits.hpp>
#include <tenon/graph/transforms.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace pyg_example {

struct Data {
    graph::GraphData<Features> data;  // as read
    Features normalized;              // rows that sum to 1
    graph::Graph graph;
    graph::Split fixed;
    Set set = Set::cora;
    long classes = 0;
};

struct Epoch {
    double train_loss = 0, validation_loss = 0, validation = 0, test = 0;
};
struct Outcome {
    double test = std::nan(""), last = std::nan(""), seconds = 0;  // at the epoch of the lowest validation loss; of the last one
    long epochs = 0;
    bool stopped = false;  // by Ctrl-C: no result
};

// The share of rows whose largest element is in the label's column.
inline double accuracy_of(const Hidden& logits, const Tensor<std::int64_t, 1>& labels) {
    const Hidden rows = contiguous(logits.detach()).to(cpu);
    const Tensor<std::int64_t, 1> truth = labels.to(cpu);
    long right = 0;
    for (long i = 0; i < rows.shape(0); ++i) {
        const float* const row = rows.data() + i * rows.shape(1);
        right += std::max_element(row, row + rows.shape(1)) - row == truth.data()[i];
    }
    return static_cast<double>(right) / static_cast<double>(rows.shape(0));
}

struct Judge {
    Tensor<std::int64_t, 1> nodes, labels;
    Judge(const Tensor<std::int64_t, 1>& of, const Tensor<std::int64_t, 1>& y, Device device)
        : nodes(of.to(device)), labels(index_select<0>(y, of).to(device)) {}
    Tensor<float, 0> loss(const Hidden& logits) const { return cross_entropy(index_select<0>(logits, nodes), labels); }
    double accuracy(const Hidden& logits) const { return accuracy_of(index_select<0>(logits, nodes), labels); }
};

// each(epoch, net) after every epoch. Stops early in the second half, when a validation loss lies above the mean of the `patience` ones
// before it.
template <class Net, class Each>
Outcome run_once(const Data& d, const Setting& setting, const Protocol& protocol, const graph::Split& split, Batching batching,
                 std::uint64_t seed, Device device, Each&& each) {
    Outcome outcome;
    const double begun = example::Progress::now();
    const Key key = Key(seed).split(1);
    Net net = tenon::to(Net(setting, key.split(0)), device);
    auto opt = optim::adam(net, {.lr = protocol.lr, .weight_decay = protocol.weight_decay});
    const Features& features = protocol.normalize ? d.normalized : d.data.x;
    const NodeBatches batches(batching, features, d.graph, d.data.y, split.train, key.split(2), device);
    const Features x = features.to(device);
    const graph::Graph g = d.graph.to(device);
    const Judge validating(split.validation, d.data.y, device), testing(split.test, d.data.y, device);
    double lowest = std::numeric_limits<double>::infinity();
    std::vector<double> history;
    for (int epoch = 1; epoch <= protocol.epochs; ++epoch) {
        if (example::interrupted()) {
            outcome.stopped = true;
            return outcome;
        }
        Epoch now;
        double steps = 0;
        batches.each(key.split(1).split(static_cast<std::uint64_t>(epoch)), [&](const NodeBatch& b, Key of_step) {
            const Tensor<float, 0> loss = b.loss(net(b.x, b.graph, {of_step, true}));
            loss.backward();
            opt.step();
            now.train_loss += static_cast<double>(loss.item());
            ++steps;
        });
        now.train_loss /= std::max(1.0, steps);
        {
            const no_grad none;
            const Hidden logits = net(x, g, {key, false});
            now.validation_loss = static_cast<double>(validating.loss(logits).item());
            now.validation = validating.accuracy(logits);
            now.test = testing.accuracy(logits);
            each(epoch, now, logits);
        }
        if (now.validation_loss < lowest) {
            lowest = now.validation_loss;
            outcome.test = now.test;
        }
        outcome.last = now.test;
        outcome.epochs = epoch;
        history.push_back(now.validation_loss);
        if (epoch <= protocol.epochs / 2 || static_cast<int>(history.size()) <= protocol.patience) continue;
        double mean = 0;
        for (std::size_t i = history.size() - 1 - static_cast<std::size_t>(protocol.patience); i + 1 < history.size(); ++i)
            mean += history[i] / protocol.patience;
        if (now.validation_loss > mean) break;
    }
    outcome.seconds = example::Progress::now() - begun;
    return outcome;
}

}  // namespace pyg_example
