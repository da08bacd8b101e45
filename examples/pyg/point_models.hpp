// Networks for clouds of points, with the neighbourhoods and widths of the paper's table.
#pragma once

#include <tenon/graph/conv/edge_conv.hpp>
#include <tenon/graph/conv/nn_conv.hpp>
#include <tenon/graph/conv/spline.hpp>
#include <tenon/graph/conv/x_conv.hpp>
#include <tenon/graph/points/fps.hpp>
#include <tenon/graph/points/radius.hpp>
#include <tenon/graph/pool/global.hpp>
#include <tenon/graph/transforms/edge_attributes.hpp>
#include <tenon/nn/init.hpp>
#include <tenon/tenon.hpp>

#include <cmath>
#include <string>

namespace pyg_example {

using namespace tenon;

struct PointSetting {
    long classes = 10, neighbours = 20;  // neighbours: EdgeCnn's
    // For small sets and few steps, not as published: offsets count in radii, and what the layers of MPNN and SplineCNN average is
    // normalised over the batch. (Offsets are small, and averages of neighbourhoods differ little from each other: both take long to be
    // seen.)
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

// 256-middle-classes.
struct PointHead {
    nn::Linear<> lin1, lin2, lin3;
    bool elus = false;  // instead of relu
    PointHead() = default;
    PointHead(long in, long classes, Key key, long middle = 256)
        : lin1(in, 256, key.split(0)), lin2(256, middle, key.split(1)), lin3(middle, classes, key.split(2)) {}
    Tensor<float, 2> operator()(const Tensor<float, 2>& x, const nn::Context& c) const {
        const auto bend = [this](const auto& z) { return elus ? Tensor<float, 2>(elu(z)) : Tensor<float, 2>(relu(z)); };
        const Tensor<float, 2> h = bend(lin2(bend(lin1(x))));
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
    void begin_larger(Key) {
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

// Fey et al. (2018): a matrix for every offset, between those of a grid of 5 x 5 x 5.
struct SplineCnn {
    graph::SplineConv<> conv1, conv2, conv3;
    nn::BatchNorm1d<> norm1, norm2, norm3;
    PointHead head;
    bool eased;
    SplineCnn(const PointSetting& s, Key key)
        : conv1(1, 64, {5, 5, 5}, key.split(1)),
          conv2(64, 64, {5, 5, 5}, key.split(2)),
          conv3(64, 128, {5, 5, 5}, key.split(3)),
          norm1(64),
          norm2(64),
          norm3(128),
          head(128, s.classes, key.split(4)),
          eased(s.eased) {
        head.elus = true;
    }
    // An edge meets a mean of the matrices around its offset: the fan-in of their weights are a layer's inputs, not those of all 125.
    void begin_larger(Key key) {
        std::uint64_t number = 0;
        for (auto* conv : {&conv1, &conv2, &conv3}) {
            const double bound = std::sqrt(6 / static_cast<double>(conv->weight.shape(1)));
            nn::init::uniform(conv->weight, key.split(number++), -bound, bound);
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
    Tensor<float, 2> layer(const graph::SplineConv<>& conv, const nn::BatchNorm1d<>& norm, const Cloud& at, double radius,
                           const nn::Context& c) const {
        const graph::Graph g = graph::Graph::from_edges(graph::radius_graph(at.pos, radius, at.clouds), at.pos.shape(0));
        // Of target less source, from -radius .. radius to 0 .. 1.
        const Tensor<float, 2> offset = graph::gather_targets(g, at.pos) - graph::gather_sources(g, at.pos);
        const Tensor<float, 2> y = conv(at.x, g, Tensor<float, 2>(clamp(offset * static_cast<float>(0.5 / radius) + 0.5f, 0.0, 1.0)));
        return eased ? Tensor<float, 2>(elu(norm(y, c))) : Tensor<float, 2>(elu(y));
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

// Li et al. (2018): neighbourhoods brought into a form of their own before a convolution.
struct PointCnn {
    static constexpr long least_points = 246;  // so that 32 are left for the last two layers
    graph::XConv<> conv1, conv2, conv3, conv4;
    PointHead head;
    PointCnn(const PointSetting& s, Key key)
        : conv1(0, 48, 3, 8, key.split(1), {.hidden = 32}),
          conv2(48, 96, 3, 12, key.split(2), {.hidden = 64, .dilation = 2}),
          conv3(96, 192, 3, 16, key.split(3), {.hidden = 128, .dilation = 2}),
          conv4(192, 384, 3, 16, key.split(4), {.hidden = 256, .dilation = 2}),
          head(384, s.classes, key.split(5), 128) {}
    Tensor<float, 2> operator()(const Cloud& given, const nn::Context& c) const {
        Cloud at{{}, given.pos, given.clouds};
        at.x = relu(conv1(at.x, at.pos, c, at.clouds));
        at = at.sampled(0.375);
        at.x = relu(conv2(at.x, at.pos, c, at.clouds));
        at = at.sampled(0.334);
        at.x = relu(conv3(at.x, at.pos, c, at.clouds));
        at.x = relu(conv4(at.x, at.pos, c, at.clouds));
        return head(graph::global_mean_pool(at.x, at.clouds), c);
    }
    static void visit(auto& self, auto&& f) {
        f("conv1", self.conv1);
        f("conv2", self.conv2);
        f("conv3", self.conv3);
        f("conv4", self.conv4);
        f("head", self.head);
    }
};

// f(type) with the network of that name, to be made of a PointSetting and a key. Throws ValueError.
template <class F>
void with_point_model(const std::string& name, F&& f) {
    if (name == "pointnet++") f(std::type_identity<PointNet>{});
    else if (name == "mpnn") f(std::type_identity<Mpnn>{});
    else if (name == "edgecnn") f(std::type_identity<EdgeCnn>{});
    else if (name == "splinecnn") f(std::type_identity<SplineCnn>{});
    else if (name == "pointcnn") f(std::type_identity<PointCnn>{});
    else fail<ValueError>("--models: \"", name.c_str(), "\", expected mpnn, pointnet++, edgecnn, splinecnn or pointcnn");
}

}  // namespace pyg_example
