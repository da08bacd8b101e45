// Networks for clouds of points, with the neighbourhoods and widths of the paper's table.
#pragma once

#include <tenon/graph/conv/edge_conv.hpp>
#include <tenon/graph/conv/nn_conv.hpp>
#include <tenon/graph/points/fps.hpp>
#include <tenon/graph/points/radius.hpp>
#include <tenon/graph/pool/global.hpp>
#include <tenon/graph/transforms/edge_attributes.hpp>
#include <tenon/tenon.hpp>

#include <cmath>
#include <string>

namespace pyg_example {

using namespace tenon;

struct PointSetting {
    long classes = 10, neighbours = 20;  // neighbours: EdgeCnn's
    // For small sets and few steps, not as published: offsets count in radii, and what the MPNN's layers average is normalised over the
    // batch. (Offsets are small, and averages of neighbourhoods differ little from each other: both take long to be seen.)
    bool eased = false;
};

// Points of some clouds, and what is known of them.
struct Cloud {
    Tensor<float, 2> x, pos;  // x may be empty
    Segments clouds;

    // Far apart, of every cloud that share.
    Cloud sampled(double ratio) const {
        const Tensor<std::int64_t, 1> kept = graph::fps(pos, clouds, {.ratio = ratio});
        const Tensor<std::int64_t, 1> before = clouds.pointers().to(cpu), after = empty<std::int64_t>({before.size()});
        after.data()[0] = 0;
        for (long c = 0; c + 1 < before.size(); ++c)
            after.data()[c + 1] =
                after.data()[c] + graph::impl_points::share(ratio, static_cast<long>(before.data()[c + 1] - before.data()[c]));
        Cloud s{{}, index_select<0>(pos, kept), Segments::from_pointers(after).to(pos.device())};
        if (x.has_value()) s.x = index_select<0>(x, kept);
        return s;
    }
};

// 256-256-classes.
struct PointHead {
    nn::Linear<> lin1, lin2, lin3;
    PointHead() = default;
    PointHead(long in, long classes, Key key)
        : lin1(in, 256, key.split(0)), lin2(256, 256, key.split(1)), lin3(256, classes, key.split(2)) {}
    Tensor<float, 2> operator()(const Tensor<float, 2>& x, const nn::Context& c) const {
        const Tensor<float, 2> h = relu(lin2(Tensor<float, 2>(relu(lin1(x)))));
        return lin3(c.training ? Tensor<float, 2>(dropout(h, 0.5, c.key.split(1))) : h);
    }
    static void visit(auto& self, auto&& f) {
        f("lin1", self.lin1);
        f("lin2", self.lin2);
        f("lin3", self.lin3);
    }
};

using Two = nn::Sequential<nn::Linear<>, nn::ReLU, nn::Linear<>>;
inline Two two(long in, long middle, long out, Key key) {
    return Two(nn::Linear<>(in, middle, key.split(0)), nn::ReLU(), nn::Linear<>(middle, out, key.split(1)));
}
using Three = nn::Sequential<nn::Linear<>, nn::ReLU, nn::Linear<>, nn::ReLU, nn::Linear<>>;
inline Three three(long in, long a, long b, long out, Key key) {
    return Three(nn::Linear<>(in, a, key.split(0)), nn::ReLU(), nn::Linear<>(a, b, key.split(1)), nn::ReLU(),
                 nn::Linear<>(b, out, key.split(2)));
}

// Qi et al. (2017): ever fewer points that look ever farther.
struct PointNet {
    graph::PointNetConv<Two> conv1, conv2, conv3;
    PointHead head;
    bool eased;
    PointNet(const PointSetting& s, Key key)
        : conv1(two(3, 64, 64, key.split(1))),
          conv2(two(67, 128, 128, key.split(2))),
          conv3(two(131, 256, 256, key.split(3))),
          head(256, s.classes, key.split(4)),
          eased(s.eased) {}
    Tensor<float, 2> operator()(const Cloud& given, const nn::Context& c) const {
        Cloud at = given;
        at.x = layer(conv1, at, 0.2);
        at = at.sampled(0.5);
        at.x = layer(conv2, at, 0.4);
        at = at.sampled(0.25);
        return head(graph::global_max_pool(layer(conv3, at, 1.0), at.clouds), c);
    }
    Tensor<float, 2> layer(const graph::PointNetConv<Two>& conv, const Cloud& at, double radius) const {
        const graph::Graph g = graph::Graph::from_edges(graph::radius_graph(at.pos, radius, at.clouds), at.pos.shape(0));
        return relu(conv(at.x, eased ? Tensor<float, 2>(at.pos * static_cast<float>(1 / radius)) : at.pos, g));
    }
    static void visit(auto& self, auto&& f) {
        f("conv1", self.conv1);
        f("conv2", self.conv2);
        f("conv3", self.conv3);
        f("head", self.head);
    }
};

// Gilmer et al. (2017): a matrix for every edge, by a network of where it leads.
struct Mpnn {
    using Network = nn::Sequential<nn::Linear<>, nn::ReLU>;
    graph::NNConv<Network> conv1, conv2, conv3;
    nn::BatchNorm1d<> norm1, norm2, norm3;
    PointHead head;
    bool eased;
    static graph::NNConv<Network> conv(long in, long out, Key key) {
        return graph::NNConv<Network>(in, out, Network(nn::Linear<>(3, 25, key.split(0)), nn::ReLU()), 25, key.split(1),
                                      graph::Aggregation::mean);
    }
    Mpnn(const PointSetting& s, Key key)
        : conv1(conv(1, 64, key.split(1))),
          conv2(conv(64, 64, key.split(2))),
          conv3(conv(64, 128, key.split(3))),
          norm1(64),
          norm2(64),
          norm3(128),
          head(128, s.classes, key.split(4)),
          eased(s.eased) {}
    // A layer's output adds up its inputs times the network's outputs: both numbers are the fan-in of the matrices' weights.
    void divide_by_inputs() {
        for (auto* conv : {&conv1, &conv2, &conv3}) {
            const float share = static_cast<float>(1 / std::sqrt(static_cast<double>(conv->in)));
            conv->lin_nn.weight.copy_from(conv->lin_nn.weight.detach() * share);
            conv->lin_nn.bias.copy_from(conv->lin_nn.bias.detach() * share);
        }
    }
    Tensor<float, 2> operator()(const Cloud& given, const nn::Context& c) const {
        Cloud at = given;
        at.x = ones<float>({at.pos.shape(0), 1}, at.pos.device());
        at.x = layer(conv1, norm1, at, 0.2, c);
        at = at.sampled(0.5);
        at.x = layer(conv2, norm2, at, 0.4, c);
        at = at.sampled(0.25);
        return head(graph::global_mean_pool(layer(conv3, norm3, at, 1.0, c), at.clouds), c);
    }
    Tensor<float, 2> layer(const graph::NNConv<Network>& conv, const nn::BatchNorm1d<>& norm, const Cloud& at, double radius,
                           const nn::Context& c) const {
        const graph::Graph g = graph::Graph::from_edges(graph::radius_graph(at.pos, radius, at.clouds), at.pos.shape(0));
        if (!eased) return relu(conv(at.x, g, graph::cartesian(at.pos, g)));
        const Tensor<float, 2> offset = (graph::gather_sources(g, at.pos) - graph::gather_targets(g, at.pos)) * static_cast<float>(1 / radius);
        return relu(norm(Tensor<float, 2>(conv(at.x, g, offset)), c));
    }
    static void visit(auto& self, auto&& f) {
        f("conv1", self.conv1);
        f("conv2", self.conv2);
        f("conv3", self.conv3);
        if (self.eased) {
            f("norm1", self.norm1);
            f("norm2", self.norm2);
            f("norm3", self.norm3);
        }
        f("head", self.head);
    }
};

// Wang et al. (2019): neighbours in space, then neighbours by what the first layer makes of them.
struct EdgeCnn {
    graph::EdgeConv<Three> conv1, conv2;
    nn::Linear<> lin;
    PointHead head;
    long neighbours;
    EdgeCnn(const PointSetting& s, Key key)
        : conv1(three(6, 64, 64, 64, key.split(1))),
          conv2(three(128, 128, 128, 256, key.split(2))),
          lin(256, 512, key.split(3)),
          head(512, s.classes, key.split(4)),
          neighbours(s.neighbours) {}
    Tensor<float, 2> operator()(const Cloud& at, const nn::Context& c) const {
        const Tensor<float, 2> first = layer(conv1, at.pos, at.clouds), second = layer(conv2, first, at.clouds);
        return head(graph::global_max_pool(Tensor<float, 2>(relu(lin(second))), at.clouds), c);
    }
    Tensor<float, 2> layer(const graph::EdgeConv<Three>& conv, const Tensor<float, 2>& x, const Segments& clouds) const {
        return relu(conv(x, graph::Graph::from_edges(graph::knn_graph(x, neighbours, clouds), x.shape(0))));
    }
    static void visit(auto& self, auto&& f) {
        f("conv1", self.conv1);
        f("conv2", self.conv2);
        f("lin", self.lin);
        f("head", self.head);
    }
};

// f(type) with the network of that name, to be made of a PointSetting and a key. Throws ValueError.
template <class F>
void with_point_model(const std::string& name, F&& f) {
    if (name == "pointnet++") f(std::type_identity<PointNet>{});
    else if (name == "mpnn") f(std::type_identity<Mpnn>{});
    else if (name == "edgecnn") f(std::type_identity<EdgeCnn>{});
    else fail<ValueError>("--models: \"", name.c_str(), "\", expected mpnn, pointnet++ or edgecnn");
}

}  // namespace pyg_example
