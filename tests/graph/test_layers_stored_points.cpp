// Convolutions of relations and of points against PyTorch Geometric's own, with its parameters: results and gradients of everything.
#include "stored_layers.hpp"

#include <tenon/graph/conv/dynamic_edge.hpp>
#include <tenon/graph/conv/rgcn.hpp>
#include <tenon/graph/conv/spline.hpp>
#include <tenon/graph/conv/x_conv.hpp>

using namespace stored_layers;

namespace {

using X = Tensor<double, 2>;
const Key key{1};

void relational(const std::string& name, const graph::RGCNConv<double>& module) {
    compare(name, module, [g = edges()](const auto& m, const X& x) { return X(m(x, g, types())); }, input(name, "x"));
}
void bare(const std::string& name, const graph::RGCNConv<double>& module) {
    compare(name, module, [g = edges()](const auto& m) { return X(m(X(), g, types())); });
}
void spline(const std::string& name, const graph::SplineConv<double>& module) {
    compare(
        name, module, [g = edges()](const auto& m, const X& x, const X& e) { return X(m(x, g, e)); }, input(name, "x"), input(name, "e"));
}

}  // namespace

TEST_CASE("relational convolutions are PyTorch Geometric's", "[graph]") {
    graph::RgcnOptions o;
    relational("rgcn", graph::RGCNConv<double>(3, 2, 4, key));
    o.aggregation = graph::sum, o.root_weight = false;
    relational("rgcn_sum", graph::RGCNConv<double>(3, 2, 4, key, o));
    o.aggregation = graph::max, o.root_weight = true, o.bases = 2;
    relational("rgcn_max", graph::RGCNConv<double>(3, 2, 4, key, o));
    relational("rgcn_bases", graph::RGCNConv<double>(3, 2, 4, 2, key));
    o = {};
    o.blocks = 2;
    relational("rgcn_blocks", graph::RGCNConv<double>(6, 4, 4, key, o));
    bare("rgcn_bare", graph::RGCNConv<double>(7, 3, 4, key));
    bare("rgcn_bare_bases", graph::RGCNConv<double>(7, 3, 4, 2, key));
}

TEST_CASE("spline convolutions are PyTorch Geometric's", "[graph]") {
    graph::SplineConvOptions o;
    spline("spline", graph::SplineConv<double>(3, 2, {4}, key));
    spline("spline_2d", graph::SplineConv<double>(3, 2, {3, 4}, key));
    o.open = false;
    spline("spline_closed", graph::SplineConv<double>(3, 2, {3, 2}, key, o));
    o.open = true, o.degree = 2, o.aggregation = graph::sum;
    const graph::SplineConv<double> mixed(3, 2, {4, 3, 3}, key, o);
    mixed.is_open_spline.data()[1] = 0;
    spline("spline_mixed", mixed);
    o.degree = 3, o.aggregation = graph::mean, o.root_weight = false;
    spline("spline_cubic", graph::SplineConv<double>(3, 2, {5, 4}, key, o));
}

TEST_CASE("networks on pairs of points are PyTorch Geometric's", "[graph]") {
    const Graph g = edges();
    const auto mlp = [](long in, long hidden, long out) {
        return nn::Sequential(nn::Linear<double>(in, hidden, key), nn::Tanh(), nn::Linear<double>(hidden, out, key));
    };
    const nn::Sequential rectified(nn::Linear<double>(6, 5, key), nn::ReLU(), nn::Linear<double>(5, 2, key));
    compare("edge", graph::EdgeConv(rectified), [&](const auto& m, const X& x) { return X(m(x, g)); }, input("edge", "x"));
    compare(
        "point", graph::PointNetConv(mlp(5, 6, 4), nn::Linear<double>(4, 2, key)),
        [&](const auto& m, const X& x, const X& pos) { return m(x, pos, g); }, input("point", "x"), input("point", "pos"));
    compare(
        "point_positions", graph::PointNetConv(nn::Linear<double>(2, 4, key), graph::NoModule(), false),
        [&](const auto& m, const X& pos) { return m(X(), pos, g); }, input("point_positions", "pos"));
    compare(
        "dynamic_edge", graph::DynamicEdgeConv(nn::Linear<double>(6, 4, key), 3),
        [&](const auto& m, const X& x) { return X(m(x, clouds())); }, input("dynamic_edge", "x"));
    compare("dynamic_edge_mean", graph::DynamicEdgeConv(nn::Sequential(nn::Linear<double>(6, 4, key), nn::Tanh()), 4, graph::mean),
            [&](const auto& m, const X& x) { return X(m(x)); }, input("dynamic_edge_mean", "x"));
}

TEST_CASE("X-convolutions are PyTorch Geometric's", "[graph]") {
    graph::XConvOptions o;
    o.hidden = 4;
    const nn::Context context{Key{3}};
    compare(
        "x_conv_training", graph::XConv<double>(3, 5, 2, 3, key, o),
        [&](const auto& m, const X& x, const X& pos) { return m(x, pos, context, clouds()); }, input("x_conv_training", "x"),
        input("x_conv_training", "pos"));
    o = {};
    o.dilation = 3;
    compare(
        "x_conv", graph::XConv<double>(4, 12, 3, 2, key, o), [&](const auto& m, const X& x, const X& pos) { return m(x, pos, clouds()); },
        input("x_conv", "x"), input("x_conv", "pos"));
    o = {};
    o.hidden = 5;
    compare("x_conv_positions", graph::XConv<double>(0, 4, 2, 3, key, o), [&](const auto& m, const X& pos) { return m(X(), pos, context); },
            input("x_conv_positions", "pos"));
}
