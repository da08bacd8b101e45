// Every convolution in one list, for what must hold of all of them, on the CPU and on a device.
#pragma once

#include <tenon/graph/conv/agnn.hpp>
#include <tenon/graph/conv/appnp.hpp>
#include <tenon/graph/conv/arma.hpp>
#include <tenon/graph/conv/cheb.hpp>
#include <tenon/graph/conv/edge_conv.hpp>
#include <tenon/graph/conv/gated_graph.hpp>
#include <tenon/graph/conv/gatv2.hpp>
#include <tenon/graph/conv/gcn.hpp>
#include <tenon/graph/conv/gin.hpp>
#include <tenon/graph/conv/gmm.hpp>
#include <tenon/graph/conv/graph_conv.hpp>
#include <tenon/graph/conv/nn_conv.hpp>
#include <tenon/graph/conv/rgcn.hpp>
#include <tenon/graph/conv/sage.hpp>
#include <tenon/graph/conv/sg.hpp>
#include <tenon/graph/conv/spline.hpp>
#include <tenon/graph/conv/transformer.hpp>
#include <tenon/tenon.hpp>
#if TENON_CUDA
#include <tenon/runtime/graph.hpp>
#endif

#include <algorithm>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace every_layer {

using namespace tenon;
using graph::Graph;
using X = Tensor<float, 2>;

constexpr long in = 5, relations = 3;

// A graph, features of its nodes, and two numbers between 0 and 1, a positive weight and a type for each edge.
struct Input {
    Graph g;
    X x, e;
    Tensor<float, 1> w;
    Tensor<std::int64_t, 1> types;

    Input to(Device device) const { return {g.to(device), x.to(device), e.to(device), w.to(device), types.to(device)}; }
};
struct Numbers {
    std::string name;
    std::vector<float> values;
};
struct Layer {
    std::string name;
    std::function<X(const Input&)> run;
    bool extremes = false;  // of several edges the largest: duplicates change nothing
    bool loops = false;     // adds self-loops, which are between the same nodes only
    // Of sources and targets that are different nodes: their features, and a bipartite graph with the features of its edges.
    std::function<X(const X&, const X&, const Input&)> between = nullptr;
    // Of the layer on a device: its result, and the gradients of x and of the parameters by the sum of the result times numbers in it.
    std::function<std::vector<Numbers>(const Input&, Device)> gradients = nullptr;
    // Its result there, and that of a captured call.
    std::function<std::vector<Numbers>(const Input&)> captured = nullptr;
};
using Layers = std::vector<Layer>;

template <class T, int R>
Numbers numbers_of(const char* name, const Tensor<T, R>& given) {
    const Tensor<T, R> x = contiguous(given.detach().to(cpu));
    return {name, std::vector<float>(x.data(), x.data() + x.size())};
}
template <class Module, class Call>
void add(Layers& list, const char* name, const Module& layer, Call call) {
    list.push_back({name, [layer, call](const Input& i) { return X(call(layer, i)); }});
#if !TENON_CUDA
    if constexpr (requires(const X& x, const Input& i) { call(layer, x, x, i); })
        list.back().between = [layer, call](const X& s, const X& t, const Input& i) { return X(call(layer, s, t, i)); };
#else
    list.back().gradients = [layer, call](const Input& given, Device device) {
        const Module there = to(layer, device);
        Input i = given.to(device);
        i.x = clone(i.x).require_grad();
        const X y = call(there, i);
        std::vector<Numbers> result{numbers_of("the result", y)};
        if (!y.requires_grad()) return result;
        const X dy = empty<float>({y.shape(0), y.shape(1)});
        for (long k = 0; k < dy.size(); ++k) dy.data()[k] = static_cast<float>(k * 7919 % 997 % 9) * 0.25f - 0.875f;
        y.backward(dy.to(device));
        if (i.x.has_grad()) result.push_back(numbers_of("x", i.x.grad()));
        nn::for_each_tensor(there, [&](const char* parameter, nn::Kind, const auto& w) {
            if constexpr (Floating<typename std::remove_cvref_t<decltype(w)>::Scalar>)
                if (w.has_value() && w.has_grad()) result.push_back(numbers_of(parameter, w.grad()));
        });
        return result;
    };
    list.back().captured = [layer, call](const Input& given) {
        const Module there = to(layer, cuda());
        const Input i = given.to(cuda());
        const no_grad guard;
        const Numbers eager = numbers_of("the result", X(call(there, i)));
        runtime::Graph graph(cuda(), [&] { return X(call(there, i)); });
        return std::vector<Numbers>{eager, numbers_of("the result", graph.replay())};
    };
#endif
}
// With the features of nodes, or, where a layer has such a call, of sources and targets.
template <auto... Field>
struct Call {
    auto operator()(const auto& layer, const Input& i) const { return layer(i.x, i.g, i.*Field...); }
    auto operator()(const auto& layer, const X& s, const X& t, const Input& i) const -> decltype(layer(s, t, i.g, i.*Field...)) {
        return layer(s, t, i.g, i.*Field...);
    }
};
inline constexpr Call<> plain;
inline constexpr Call<&Input::w> weighted;
inline constexpr Call<&Input::e> attributed;
inline constexpr Call<&Input::types> typed;

// (Templates: what a program does not call it does not compile.)
template <class Float = float>
void add_products(Layers& list, Key key) {
    add(list, "GCN", graph::GCNConv<Float>(in, 4, key), weighted);
    add(list, "GCN that widens", graph::GCNConv<Float>(in, 9, key), weighted);
    add(list, "SGC", graph::SGConv<Float>(in, 4, 2, key), weighted);
    add(list, "APPNP", graph::APPNP<Float>(3, 0.1), weighted);
    add(list, "Cheb", graph::ChebConv<Float>(in, 4, 3, key), weighted);
    add(list, "TAG", graph::TAGConv<Float>(in, 4, 2, key), weighted);
    graph::ArmaOptions arma;
    arma.stacks = arma.layers = 2;
    add(list, "ARMA", graph::ARMAConv<Float>(in, 4, key, arma), weighted);
    add(list, "SAGE", graph::SAGEConv<Float>(in, 4, key), plain);
    graph::SageOptions sage;
    sage.aggregation = graph::max, sage.project = true, sage.normalize = true;
    add(list, "SAGE of maxima", graph::SAGEConv<Float>(in, 4, key, sage), plain);
    list.back().extremes = true;
    add(list, "GraphConv", graph::GraphConv<Float>(in, 4, key), weighted);
    add(list, "GraphConv of means", graph::GraphConv<Float>(in, 4, key, graph::mean), weighted);
    add(list, "GIN", graph::GINConv<nn::Linear<Float>>(nn::Linear<Float>(in, 4, key), 0.2, true), plain);
}
template <class Float = float>
void add_attention(Layers& list, Key key) {
    graph::GatConvOptions gat;
    gat.heads = 2;
    graph::GatConvOptions with_edges = gat;
    with_edges.edge_dim = 2, with_edges.concat = false;
    for (const bool loops : {true, false}) {
        gat.add_self_loops = with_edges.add_self_loops = loops;
        const std::size_t first = list.size();
        add(list, loops ? "GAT" : "GAT without loops", graph::GATConv<Float>(in, 4, key, gat), plain);
        add(list, loops ? "GATv2" : "GATv2 without loops", graph::GATv2Conv<Float>(in, 4, key, gat), plain);
        add(list, loops ? "GAT with edges" : "GAT with edges, without loops", graph::GATConv<Float>(in, 4, key, with_edges), attributed);
        add(list, loops ? "GATv2 with edges" : "GATv2 with edges, without loops", graph::GATv2Conv<Float>(in, 4, key, with_edges), attributed);
        for (std::size_t k = first; k < list.size(); ++k) list[k].loops = loops;
    }
    graph::TransformerConvOptions transformer;
    transformer.heads = 2;
    add(list, "Transformer", graph::TransformerConv<Float>(in, 4, key, transformer), plain);
    transformer.edge_dim = 2;
    add(list, "Transformer with edges", graph::TransformerConv<Float>(in, 4, key, transformer), attributed);
    add(list, "AGNN", graph::AGNNConv<Float>(), plain);
}
template <class Float = float>
void add_edge_networks(Layers& list, Key key) {
    add(list, "GINE", graph::GINEConv<nn::Linear<Float>>(nn::Linear<Float>(in, 4, key), 2, in, key.split(1)), attributed);
    add(list, "GatedGraph", graph::GatedGraphConv<Float>(6, 2, key), weighted);
    add(list, "NNConv", graph::NNConv<nn::Linear<Float>>(in, 4, nn::Linear<Float>(2, 3, key), 3, key.split(1)), attributed);
    add(list, "GMM", graph::GMMConv<Float>(in, 4, 2, 3, key), attributed);
    add(list, "EdgeConv", graph::EdgeConv<nn::Linear<Float>>(nn::Linear<Float>(2 * in, 4, key)), plain);
    list.back().extremes = true;
    add(list, "PointNet", graph::PointNetConv<nn::Linear<Float>>(nn::Linear<Float>(in + 2, 4, key)),
        [](const auto& layer, const Input& i) { return layer(i.x, X(i.x(tenon::all, slice(0, 2)) * 0.5f), i.g); });
    list.back().extremes = true;
}
template <class Float = float>
void add_kinds(Layers& list, Key key) {
    add(list, "RGCN", graph::RGCNConv<Float>(in, 4, relations, key), typed);
    add(list, "RGCN of bases", graph::RGCNConv<Float>(in, 4, relations, 2, key), typed);
    graph::RgcnOptions maxima;
    maxima.aggregation = graph::max;
    add(list, "RGCN of maxima", graph::RGCNConv<Float>(in, 4, relations, key, maxima), typed);
    list.back().extremes = true;
    graph::RgcnOptions blocks;
    blocks.blocks = 5;
    add(list, "RGCN of blocks", graph::RGCNConv<Float>(in, 10, relations, key, blocks), typed);
    add(list, "Spline", graph::SplineConv<Float>(in, 4, {5, 3}, key), attributed);
    graph::SplineConvOptions closed;
    closed.open = false, closed.degree = 2, closed.aggregation = graph::sum;
    add(list, "Spline, closed", graph::SplineConv<Float>(in, 4, {4, 5}, key, closed), attributed);
}

// Numbers for each edge that depend on its ends alone.
inline Input make(long nodes, const std::vector<std::pair<long, long>>& edges, Key key) {
    Input i;
    const long count = static_cast<long>(edges.size());
    const auto index = empty<std::int64_t>({2, count});
    i.e = empty<float>({count, 2});
    i.w = empty<float>({count});
    i.types = empty<std::int64_t>({count});
    for (long k = 0; k < count; ++k) {
        const auto [a, b] = edges[static_cast<std::size_t>(k)];
        index.data()[k] = a;
        index.data()[count + k] = b;
        i.e.data()[2 * k] = static_cast<float>((7 * a + 3 * b) % 11) / 11;
        i.e.data()[2 * k + 1] = static_cast<float>((5 * a + 2 * b) % 13) / 12;
        i.w.data()[k] = static_cast<float>(1 + (a + 2 * b) % 4) / 2;
        i.types.data()[k] = (a + b) % relations;
    }
    i.g = Graph::from_edges(index, nodes);
    i.x = randn<float>({nodes, in}, key);
    return i;
}
// Pairs without repetition, some of them loops.
inline std::vector<std::pair<long, long>> some_edges(long nodes, long count, Key key) {
    const auto draw = uniform<double>({count, 2}, key);
    const auto node = [&](long k) { return static_cast<long>(draw.data()[k] * static_cast<double>(nodes)); };
    std::vector<std::pair<long, long>> edges;
    for (long k = 0; k < count; ++k) edges.push_back({node(2 * k), node(2 * k + 1)});
    std::sort(edges.begin(), edges.end());
    edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
    return edges;
}

}  // namespace every_layer
