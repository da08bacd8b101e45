// Networks for graphs that differ in how the nodes become one row: "global" read-outs behind GraphSAGE layers, and pooling in between.
#pragma once

#include "graph_models.hpp"

#include <tenon/graph/conv/graph_conv.hpp>
#include <tenon/graph/pool/attention.hpp>
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
// The nodes with the largest last features, five neighbours in that order at a time through one linear layer: a convolution.
struct SortReadOut {
    static constexpr long window = 5, channels = 32;
    long width, kept;
    nn::Linear<> conv;
    SortReadOut(const GraphSetting& s, Key key)
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

// Behind every second layer the four fifths of the nodes that score best stay; what all levels have, averaged, is joined.
struct TopKNet {
    std::vector<graph::GraphConv<>> layers;
    std::vector<graph::TopKPooling<>> pools;
    nn::Linear<> lin1, lin2;

    TopKNet(const GraphSetting& s, Key key) : lin1(s.layers * s.hidden, s.hidden, key.split(0)), lin2(s.hidden, s.classes, key.split(1)) {
        for (long i = 0; i < s.layers; ++i) {
            const Key own = key.split(2).split(static_cast<std::uint64_t>(i));
            layers.emplace_back(i == 0 ? s.features : s.hidden, s.hidden, own.split(0), graph::mean);
            if (i % 2 == 1 && i + 1 < s.layers) pools.emplace_back(s.hidden, own.split(1), graph::TopKOptions{.ratio = 0.8});
        }
    }
    Tensor<float, 2> operator()(const graph::GraphSet& b, const nn::Context& c) const {
        Tensor<float, 2> x = b.data.x;
        graph::Graph g = b.graph;
        Segments graphs = Segments::from_pointers(b.pointers);
        std::vector<Tensor<float, 2>> levels;
        for (std::size_t i = 0; i < layers.size(); ++i) {
            x = relu(layers[i](x, g));
            levels.push_back(graph::global_mean_pool(x, graphs));
            if (i % 2 == 0 || i + 1 == layers.size()) continue;
            const graph::PooledNodes<float> kept = pools[i / 2](x, g, graphs);
            x = kept.x, g = kept.graph, graphs = kept.batch;
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

// f(type) with the network of that name. Throws ValueError.
template <class F>
void with_graph_model(const std::string& name, F&& f) {
    if (name == "gcn") f(std::type_identity<GraphNet<GcnLayer>>{});
    else if (name == "sage") f(std::type_identity<GraphNet<SageLayer>>{});
    else if (name == "gin-0") f(std::type_identity<GraphNet<GinLayer<false>>>{});
    else if (name == "gin-eps") f(std::type_identity<GraphNet<GinLayer<true>>>{});
    else if (name == "mlp") f(std::type_identity<GraphNet<PointwiseLayer>>{});
    else if (name == "top-k") f(std::type_identity<TopKNet>{});
    else if (name == "sage-nojk") f(std::type_identity<ReadOutNet<MeanReadOut>>{});
    else if (name == "attention") f(std::type_identity<ReadOutNet<AttentionReadOut>>{});
    else if (name == "set2set") f(std::type_identity<ReadOutNet<Set2SetReadOut>>{});
    else if (name == "sort") f(std::type_identity<ReadOutNet<SortReadOut>>{});
    else
        fail<ValueError>("--models: \"", name.c_str(),
                         "\", expected gcn, sage, gin-0, gin-eps, top-k, sage-nojk, attention, set2set, sort or mlp");
}

}  // namespace pyg_example
