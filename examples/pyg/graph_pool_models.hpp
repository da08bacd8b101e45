// Networks for graphs that differ in how the nodes become one row: "global" read-outs behind GraphSAGE layers, and pooling in between.
#pragma once

#include "graph_models.hpp"

#include <tenon/graph/conv/graph_conv.hpp>
#include <tenon/graph/pool/attention.hpp>
#include <tenon/graph/pool/cluster.hpp>
#include <tenon/graph/pool/diff_pool.hpp>
#include <tenon/graph/pool/graclus.hpp>
#include <tenon/graph/pool/set2set.hpp>
#include <tenon/graph/pool/sort.hpp>
#include <tenon/graph/pool/top_k.hpp>

namespace pyg_example {

struct MeanReadOut {
    long width;
    MeanReadOut(const GraphSetting& s, Key) : width(s.hidden) {}
    Tensor<float, 2> operator()(const Tensor<float, 2>& x, const Segments& graphs) const { return graph::global_mean_pool(x, graphs); }
    static void visit(auto&, auto&&) {}
};
struct AttentionReadOut {
    long width;
    graph::AttentionalAggregation<nn::Linear<>> att;
    AttentionReadOut(const GraphSetting& s, Key key) : width(s.hidden), att(nn::Linear<>(s.hidden, 1, key)) {}
    Tensor<float, 2> operator()(const Tensor<float, 2>& x, const Segments& graphs) const { return att(x, graphs); }
    static void visit(auto& self, auto&& f) { f("att", self.att); }
};
struct Set2SetReadOut {
    long width;
    graph::Set2Set<> set2set;
    Set2SetReadOut(const GraphSetting& s, Key key) : width(2 * s.hidden), set2set(s.hidden, 4, key) {}
    Tensor<float, 2> operator()(const Tensor<float, 2>& x, const Segments& graphs) const { return set2set(x, graphs); }
    static void visit(auto& self, auto&& f) { f("set2set", self.set2set); }
};
// The nodes with the largest last features, one after the other.
struct SortReadOut {
    long width, kept;
    SortReadOut(const GraphSetting& s, Key) : width(s.kept * s.hidden), kept(s.kept) {}
    Tensor<float, 2> operator()(const Tensor<float, 2>& x, const Segments& graphs) const { return graph::sort_pool(x, kept, graphs); }
    static void visit(auto&, auto&&) {}
};
// Five neighbours in that order at a time through one linear layer: a convolution, as Zhang et al. (2018) have behind the sorting.
struct SortConvReadOut {
    static constexpr long window = 5, channels = 32;
    long width, kept;
    nn::Linear<> conv;
    SortConvReadOut(const GraphSetting& s, Key key)
        : width(channels * (s.kept - window + 1)), kept(s.kept), conv(window * s.hidden, channels, key) {}
    Tensor<float, 2> operator()(const Tensor<float, 2>& x, const Segments& graphs) const {
        const long features = x.shape(1), places = kept - window + 1;
        const Tensor<float, 3> rows = graph::sort_pool(x, kept, graphs).reshape({graphs.count(), kept, features});
        std::vector<Tensor<float, 3>> shifted;
        for (long at = 0; at < window; ++at) shifted.push_back(Tensor<float, 3>(rows(all, slice(at, at + places), all)));
        const Tensor<float, 2> windows = concat<2>(shifted).reshape({graphs.count() * places, window * features});
        return Tensor<float, 2>(relu(conv(windows))).reshape({graphs.count(), places * channels});
    }
    static void visit(auto& self, auto&& f) { f("conv", self.conv); }
};

template <class ReadOut>
struct ReadOutNet {
    std::vector<SageLayer> layers;
    ReadOut read_out;
    nn::Linear<> lin1, lin2;

    ReadOutNet(const GraphSetting& s, Key key)
        : read_out(s, key.split(3)), lin1(read_out.width, s.hidden, key.split(0)), lin2(s.hidden, s.classes, key.split(1)) {
        for (long i = 0; i < s.layers; ++i)
            layers.emplace_back(i == 0 ? s.features : s.hidden, s.hidden, key.split(2).split(static_cast<std::uint64_t>(i)));
    }
    Tensor<float, 2> operator()(const graph::GraphSet& b, const nn::Context& c) const {
        Tensor<float, 2> x = b.data.x;
        for (const SageLayer& layer : layers) x = layer(x, b.graph, c);
        const Tensor<float, 2> h = relu(lin1(read_out(x, Segments::from_pointers(b.pointers))));
        return lin2(c.training ? Tensor<float, 2>(dropout(h, 0.5, c.key.split(1))) : h);
    }
    static void visit(auto& self, auto&& f) {
        f("layers", self.layers);
        f("read_out", self.read_out);
        f("lin1", self.lin1);
        f("lin2", self.lin2);
    }
};

// What is left of the nodes, their edges and which graph they are of.
struct Level {
    Tensor<float, 2> x;
    graph::Graph graph;
    Segments graphs;
};
// The four fifths of the nodes that score best.
struct TopKPool {
    graph::TopKPooling<> pool;
    TopKPool(long width, Key key) : pool(width, key, {.ratio = 0.8}) {}
    Level operator()(const Level& at, Key) const {
        const graph::PooledNodes<float> kept = pool(at.x, at.graph, at.graphs);
        return {kept.x, kept.graph, kept.batch};
    }
    static void visit(auto& self, auto&& f) { f("pool", self.pool); }
};
// Pairs of neighbours, matched in random order, become one node with the larger features.
struct GraclusPool {
    GraclusPool(long, Key) {}
    Level operator()(const Level& at, Key key) const {
        const graph::PooledClusters<float> pairs = graph::max_pool(graph::graclus(at.graph, key), at.x, at.graph, at.graphs);
        return {pairs.x, pairs.graph, pairs.batch};
    }
    static void visit(auto&, auto&&) {}
};

// Fewer nodes behind every second layer; what all levels have, averaged, is joined.
template <class Pool>
struct PooledNet {
    std::vector<graph::GraphConv<>> layers;
    std::vector<Pool> pools;
    nn::Linear<> lin1, lin2;

    PooledNet(const GraphSetting& s, Key key) : lin1(s.layers * s.hidden, s.hidden, key.split(0)), lin2(s.hidden, s.classes, key.split(1)) {
        for (long i = 0; i < s.layers; ++i) {
            const Key own = key.split(2).split(static_cast<std::uint64_t>(i));
            layers.emplace_back(i == 0 ? s.features : s.hidden, s.hidden, own.split(0), graph::mean);
            if (i % 2 == 1 && i + 1 < s.layers) pools.emplace_back(s.hidden, own.split(1));
        }
    }
    Tensor<float, 2> operator()(const graph::GraphSet& b, const nn::Context& c) const {
        Level at{b.data.x, b.graph, Segments::from_pointers(b.pointers)};
        std::vector<Tensor<float, 2>> levels;
        for (std::size_t i = 0; i < layers.size(); ++i) {
            at.x = relu(layers[i](at.x, at.graph));
            levels.push_back(graph::global_mean_pool(at.x, at.graphs));
            if (i % 2 == 1 && i + 1 < layers.size()) at = pools[i / 2](at, c.key.split(2).split(i));
        }
        const Tensor<float, 2> h = relu(lin1(concat<1>(levels)));
        return lin2(c.training ? Tensor<float, 2>(dropout(h, 0.5, c.key.split(1))) : h);
    }
    static void visit(auto& self, auto&& f) {
        f("layers", self.layers);
        f("pools", self.pools);
        f("lin1", self.lin1);
        f("lin2", self.lin2);
    }
};

// Two layers of GraphSAGE over dense graphs, in the form of 2019 (a node's and its neighbours' mean, rows of length 1); what both have is
// joined and goes through a linear layer. x [graphs, n, in]; near [graphs, n, n], whose rows are the weights of the mean.
struct DenseBlock {
    nn::Linear<> conv1, conv2, lin;
    DenseBlock(long in, long hidden, long out, Key key)
        : conv1(in, hidden, key.split(0)), conv2(hidden, out, key.split(1)), lin(hidden + out, out, key.split(2)) {}
    Tensor<float, 3> operator()(const Tensor<float, 3>& x, const Tensor<float, 3>& near) const {
        const Tensor<float, 3> first = layer(conv1, x, near), second = layer(conv2, first, near);
        return along(lin, concat<2>(first, second));
    }
    static void visit(auto& self, auto&& f) {
        f("conv1", self.conv1);
        f("conv2", self.conv2);
        f("lin", self.lin);
    }

private:
    static Tensor<float, 3> along(const nn::Linear<>& layer, const Tensor<float, 3>& x) {
        const Tensor<float, 2> y = layer(x.reshape({x.shape(0) * x.shape(1), x.shape(2)}));
        return y.reshape({x.shape(0), x.shape(1), y.shape(1)});
    }
    static Tensor<float, 3> layer(const nn::Linear<>& conv, const Tensor<float, 3>& x, const Tensor<float, 3>& near) {
        const Tensor<float, 3> y = along(conv, Tensor<float, 3>(matmul(near, x)));
        return relu(y / maximum(norm<-1>(y, keepdim), 1e-12f));
    }
};

// Ying et al. (2018): a block says how nodes are shared out among a quarter as many clusters, and so on; what all levels have, averaged,
// is joined. The losses of the assignment are left out, as in the paper's comparison. (There the padding counts in the average; here a
// graph's own nodes do, so that a graph does not depend on the others of its batch.)
struct DiffPoolNet {
    std::vector<DenseBlock> embeddings, assignments;
    nn::Linear<> lin1, lin2;

    DiffPoolNet(const GraphSetting& s, Key key) : lin1(levels(s) * s.hidden, s.hidden, key.split(0)), lin2(s.hidden, s.classes, key.split(1)) {
        long clusters = s.nodes;
        for (long i = 0; i < levels(s); ++i) {
            const Key own = key.split(2).split(static_cast<std::uint64_t>(i));
            const long in = i == 0 ? s.features : s.hidden;
            clusters = (clusters + 3) / 4;
            embeddings.emplace_back(in, s.hidden, s.hidden, own.split(0));
            if (i + 1 < levels(s)) assignments.emplace_back(in, s.hidden, clusters, own.split(1));
        }
    }
    // A block has two layers.
    static long levels(const GraphSetting& s) { return std::max(1l, s.layers / 2); }
    Tensor<float, 2> operator()(const graph::GraphSet& b, const nn::Context& c) const {
        const Segments graphs = Segments::from_pointers(b.pointers);
        graph::DenseNodes<float> at = graph::to_dense_batch(b.data.x, graphs);
        const long n = at.x.shape(1);
        // Both directions of an edge are there: the matrices are symmetric.
        Tensor<float, 3> adjacency = graph::to_dense_adj<float>(b.graph, graphs, n);
        Tensor<float, 3> near = adjacency + eye<float>(n, n, adjacency.device());
        const Tensor<float, 3> here = cast<float>(at.mask.unsqueeze<2>());
        Tensor<float, 3> share = here / tenon::sum<1>(here, keepdim);
        std::vector<Tensor<float, 2>> levels;
        for (std::size_t i = 0;; ++i) {
            near = near / maximum(tenon::sum<2>(near, keepdim), 1e-12f);
            const Tensor<float, 3> x = relu(embeddings[i](at.x, near));
            levels.push_back(tenon::sum<1>(x * share));
            if (i + 1 == embeddings.size()) break;
            const graph::DiffPooled<float> pooled = graph::dense_diff_pool(x, adjacency, assignments[i](at.x, near), at.mask);
            at = {pooled.x, {}};
            near = adjacency = pooled.adjacency;
            share = full<float>({1, 1, 1}, 1.0f / static_cast<float>(pooled.x.shape(1)), x.device());
        }
        const Tensor<float, 2> h = relu(lin1(concat<1>(levels)));
        return lin2(c.training ? Tensor<float, 2>(dropout(h, 0.5, c.key.split(1))) : h);
    }
    static void visit(auto& self, auto&& f) {
        f("embeddings", self.embeddings);
        f("assignments", self.assignments);
        f("lin1", self.lin1);
        f("lin2", self.lin2);
    }
};

// f(type) with the network of that name. Throws ValueError.
template <class F>
void with_graph_model(const std::string& name, F&& f) {
    if (name == "gcn") f(std::type_identity<GraphNet<GcnLayer>>{});
    else if (name == "sage") f(std::type_identity<GraphNet<SageLayer>>{});
    else if (name == "gin-0") f(std::type_identity<GraphNet<GinLayer<false>>>{});
    else if (name == "gin-eps") f(std::type_identity<GraphNet<GinLayer<true>>>{});
    else if (name == "mlp") f(std::type_identity<GraphNet<PointwiseLayer>>{});
    else if (name == "top-k") f(std::type_identity<PooledNet<TopKPool>>{});
    else if (name == "graclus") f(std::type_identity<PooledNet<GraclusPool>>{});
    else if (name == "diffpool") f(std::type_identity<DiffPoolNet>{});
    else if (name == "sage-nojk") f(std::type_identity<ReadOutNet<MeanReadOut>>{});
    else if (name == "attention") f(std::type_identity<ReadOutNet<AttentionReadOut>>{});
    else if (name == "set2set") f(std::type_identity<ReadOutNet<Set2SetReadOut>>{});
    else if (name == "sort") f(std::type_identity<ReadOutNet<SortReadOut>>{});
    else if (name == "sort-conv") f(std::type_identity<ReadOutNet<SortConvReadOut>>{});
    else
        fail<ValueError>("--models: \"", name.c_str(),
                         "\", expected gcn, sage, gin-0, gin-eps, graclus, top-k, diffpool, sage-nojk, attention, set2set, sort, sort-conv or mlp");
}

}  // namespace pyg_example
