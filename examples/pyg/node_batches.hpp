// What one training step on nodes sees: the whole graph, or a part of it, drawn anew for every step.
#pragma once

#include "models.hpp"

#include <tenon/graph/sampling/clusters.hpp>
#include <tenon/graph/sampling/neighbours.hpp>
#include <tenon/graph/sampling/saint.hpp>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

namespace pyg_example {

// full; neighbours: of 32 training nodes and two hops around them 10 neighbours each (Hamilton et al. 2017; networks that look farther see
// no more); clusters: two of n / 250 parts (Chiang et al. 2019); saint: 200 walks of two steps, whose nodes' losses are weighted (Zeng et
// al. 2020). Layers normalise the adjacency of the part. An epoch has each training node, each part, or n drawn nodes.
enum class Batching { full, neighbours, clusters, saint };
inline const std::vector<std::string> batching_names = {"full", "neighbours", "clusters", "saint"};

struct NodeBatch {
    Features x;
    graph::Graph graph;
    Tensor<std::int64_t, 1> rows, labels;  // of the training nodes
    Tensor<float, 1> weight;               // of their losses, which are added; empty: their mean counts

    Tensor<float, 0> loss(const Hidden& logits) const {
        const Hidden own = index_select<0>(logits, rows);
        if (!weight.has_value()) return cross_entropy(own, labels);
        return sum(weight * cross_entropy(own, labels, no_reduction));
    }
};

// The rows of a sparse matrix with these numbers, on the host.
inline Features rows_of(const Features& x, const Tensor<std::int64_t, 1>& numbers) {
    const CsrPattern& p = x.structure().by_row();
    const Tensor<std::int64_t, 1> pointers = zeros<std::int64_t>({numbers.size() + 1});
    for (long i = 0; i < numbers.size(); ++i) {
        const std::int64_t r = numbers.data()[i];
        pointers.data()[i + 1] = pointers.data()[i] + p.pointers.data()[r + 1] - p.pointers.data()[r];
    }
    const long count = static_cast<long>(pointers.data()[numbers.size()]);
    const Tensor<std::int64_t, 1> columns = empty<std::int64_t>({count});
    const Tensor<float, 1> values = empty<float>({count});
    for (long i = 0; i < numbers.size(); ++i)
        for (std::int64_t to = pointers.data()[i], from = p.pointers.data()[numbers.data()[i]]; to < pointers.data()[i + 1]; ++to, ++from) {
            columns.data()[to] = p.columns.data()[from];
            values.data()[to] = x.values().data()[p.edges.data()[from]];
        }
    return Features::from_pointers(pointers, columns, values, x.shape(1));
}

class NodeBatches {
public:
    // x, g, y on the host; train: the training nodes. The parts and the weights that do not change from step to step are drawn by key.
    NodeBatches(Batching how, const Features& x, const graph::Graph& g, const Tensor<std::int64_t, 1>& y, const Tensor<std::int64_t, 1>& train,
                Key key, Device device)
        : how_(how), x_(x), graph_(g), y_(y), train_(train), device_(device), trains_(static_cast<std::size_t>(g.nodes()), false) {
        for (long i = 0; i < train.size(); ++i) trains_[static_cast<std::size_t>(train.data()[i])] = true;
        if (how == Batching::full) whole_ = {x.to(device), g.to(device), train.to(device), index_select<0>(y, train).to(device), {}};
        if (how == Batching::clusters) {
            parts_ = std::max(2l, g.nodes() / 250);
            part_ = graph::partition(g, parts_, key);
        }
        if (how == Batching::saint) {
            saint_ = std::make_unique<graph::GraphSaint>(g, graph::SaintOptions{.size = 200}, key);
            // The weights are those of a mean over all nodes; only the training nodes' losses are there.
            node_weight_ = saint_->node_weight * (static_cast<float>(g.nodes()) / static_cast<float>(train.size()));
        }
    }
    // f(batch, key of the step) for every step of an epoch; parts without a training node are passed over.
    template <class F>
    void each(Key epoch, F&& f) const {
        if (how_ == Batching::full) return f(whole_, epoch);
        const auto give = [&](const graph::Sampled& part, long step, long first = -1) {
            const NodeBatch b = batch_of(part, first);
            if (b.rows.size() > 0) f(b, epoch.split(0).split(static_cast<std::uint64_t>(step)));
        };
        const Key drawn = epoch.split(1);
        if (how_ == Batching::neighbours) {
            const Tensor<std::int64_t, 1> order = index_select<0>(train_, permutation(train_.size(), drawn.split(0)));
            for (long begin = 0, step = 0; begin < order.size(); begin += seeds, ++step) {
                const long end = std::min(begin + seeds, order.size());
                give(graph::neighbour_sample(graph_, contiguous(order(slice(begin, end))), {10, 10},
                                             drawn.split(1).split(static_cast<std::uint64_t>(step))),
                     step, end - begin);
            }
        } else if (how_ == Batching::clusters) {
            const Tensor<std::int64_t, 1> order = permutation(parts_, drawn);
            for (long k = 0; k < parts_; k += 2) {
                std::vector<long> chosen;
                for (long i = k; i < std::min(k + 2, parts_); ++i) chosen.push_back(static_cast<long>(order.data()[i]));
                give(graph::parts_graph(graph_, part_, chosen), k / 2);
            }
        } else {
            for (long nodes = 0, step = 0; nodes < graph_.nodes(); ++step) {
                const graph::Sampled part = saint_->sample(drawn.split(static_cast<std::uint64_t>(step)));
                nodes += part.nodes.size();
                give(part, step);
            }
        }
    }

private:
    static constexpr long seeds = 32;

    // Losses of the training nodes among the first `first` ones (-1: all).
    NodeBatch batch_of(const graph::Sampled& part, long first) const {
        std::vector<std::int64_t> rows;
        for (long i = 0; i < (first < 0 ? part.nodes.size() : first); ++i)
            if (trains_[static_cast<std::size_t>(part.nodes.data()[i])]) rows.push_back(i);
        const Tensor<std::int64_t, 1> own = from<std::int64_t>({rows.size()}, rows.data()), nodes = index_select<0>(part.nodes, own);
        NodeBatch b{rows_of(x_, part.nodes).to(device_), part.graph.to(device_), own.to(device_), index_select<0>(y_, nodes).to(device_), {}};
        if (how_ == Batching::saint) b.weight = index_select<0>(node_weight_, nodes).to(device_);
        return b;
    }

    Batching how_;
    Features x_;
    graph::Graph graph_;
    Tensor<std::int64_t, 1> y_, train_;
    Device device_;
    std::vector<bool> trains_;
    NodeBatch whole_;
    long parts_ = 0;
    Tensor<std::int64_t, 1> part_;
    std::unique_ptr<graph::GraphSaint> saint_;
    Tensor<float, 1> node_weight_;
};

}  // namespace pyg_example
