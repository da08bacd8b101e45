// Networks for graphs: layers whose results are joined, a read-out, and two linear layers.
#pragma once

#include <tenon/graph/batch.hpp>
#include <tenon/graph/conv/gcn.hpp>
#include <tenon/graph/conv/gin.hpp>
#include <tenon/graph/conv/sage.hpp>
#include <tenon/graph/jumping_knowledge.hpp>
#include <tenon/graph/pool/global.hpp>
#include <tenon/tenon.hpp>

#include <string>

namespace pyg_example {

using namespace tenon;

struct GcnLayer {
    graph::GCNConv<> conv;
    GcnLayer(long in, long out, Key key) : conv(in, out, key) {}
    Tensor<float, 2> operator()(const Tensor<float, 2>& x, const graph::Graph& g, const nn::Context&) const { return relu(conv(x, g)); }
    static void visit(auto& self, auto&& f) { f("conv", self.conv); }
};
// As it was when the paper's table was made.
struct SageLayer {
    graph::SAGEConv<> conv;
    SageLayer(long in, long out, Key key) : conv(in, out, key, {.normalize = true, .form_of_2019 = true}) {}
    Tensor<float, 2> operator()(const Tensor<float, 2>& x, const graph::Graph& g, const nn::Context&) const { return relu(conv(x, g)); }
    static void visit(auto& self, auto&& f) { f("conv", self.conv); }
};
template <bool TrainEps>
struct GinLayer {
    using Network = nn::Sequential<nn::Linear<>, nn::ReLU, nn::Linear<>, nn::ReLU, nn::BatchNorm1d<>>;
    graph::GINConv<Network> conv;
    GinLayer(long in, long out, Key key)
        : conv(Network(nn::Linear<>(in, out, key.split(0)), nn::ReLU(), nn::Linear<>(out, out, key.split(1)), nn::ReLU(),
                       nn::BatchNorm1d<>(out)),
               0, TrainEps) {}
    Tensor<float, 2> operator()(const Tensor<float, 2>& x, const graph::Graph& g, const nn::Context& c) const { return conv(x, g, c); }
    static void visit(auto& self, auto&& f) { f("conv", self.conv); }
};
// Does not see the edges.
struct PointwiseLayer {
    nn::Linear<> lin;
    PointwiseLayer(long in, long out, Key key) : lin(in, out, key) {}
    Tensor<float, 2> operator()(const Tensor<float, 2>& x, const graph::Graph&, const nn::Context&) const { return relu(lin(x)); }
    static void visit(auto& self, auto&& f) { f("lin", self.lin); }
};

struct GraphSetting {
    long features = 0, classes = 0, layers = 3, hidden = 32;
    bool sum = false;  // the read-out, else the mean
    long kept = 10;    // nodes of a graph that SortPool keeps
    long nodes = 0;    // of the set's first graph, of which DiffPool makes a quarter
};

template <class Layer>
struct GraphNet {
    std::vector<Layer> layers;
    nn::Linear<> lin1, lin2;
    bool sum_of_nodes;

    GraphNet(const GraphSetting& s, Key key)
        : lin1(s.layers * s.hidden, s.hidden, key.split(0)), lin2(s.hidden, s.classes, key.split(1)), sum_of_nodes(s.sum) {
        for (long i = 0; i < s.layers; ++i)
            layers.emplace_back(i == 0 ? s.features : s.hidden, s.hidden, key.split(2).split(static_cast<std::uint64_t>(i)));
    }
    Tensor<float, 2> operator()(const graph::GraphSet& b, const nn::Context& c) const {
        std::vector<Tensor<float, 2>> levels;
        for (std::size_t i = 0; i < layers.size(); ++i) levels.push_back(layers[i](i == 0 ? b.data.x : levels.back(), b.graph, c));
        const Tensor<float, 2> joined = concat<1>(levels);
        const Segments graphs = Segments::from_pointers(b.pointers);
        const Tensor<float, 2> h =
            relu(lin1(sum_of_nodes ? graph::global_add_pool(joined, graphs) : graph::global_mean_pool(joined, graphs)));
        return lin2(c.training ? Tensor<float, 2>(dropout(h, 0.5, c.key.split(1))) : h);
    }
    static void visit(auto& self, auto&& f) {
        f("layers", self.layers);
        f("lin1", self.lin1);
        f("lin2", self.lin2);
    }
};

}  // namespace pyg_example
