// Graph convolutions against PyTorch Geometric's own, with its parameters: results and gradients of everything.
#include "stored_layers.hpp"

#include <tenon/graph/conv/agnn.hpp>
#include <tenon/graph/conv/appnp.hpp>
#include <tenon/graph/conv/arma.hpp>
#include <tenon/graph/conv/cheb.hpp>
#include <tenon/graph/conv/gat.hpp>
#include <tenon/graph/conv/gated_graph.hpp>
#include <tenon/graph/conv/gatv2.hpp>
#include <tenon/graph/conv/gcn.hpp>
#include <tenon/graph/conv/gin.hpp>
#include <tenon/graph/conv/gmm.hpp>
#include <tenon/graph/conv/graph_conv.hpp>
#include <tenon/graph/conv/nn_conv.hpp>
#include <tenon/graph/conv/sage.hpp>
#include <tenon/graph/conv/sg.hpp>
#include <tenon/graph/conv/transformer.hpp>
#include <tenon/graph/pool/sag.hpp>

using namespace stored_layers;

namespace {

using X = Tensor<double, 2>;
using W = Tensor<double, 1>;

// Of x alone, of x and weights of the edges, of x and their features.
template <class M>
void plain(const std::string& name, const M& module) {
    compare(name, module, [g = edges()](const M& m, const X& x) { return X(m(x, g)); }, input(name, "x"));
}
template <class M>
void weighted(const std::string& name, const M& module) {
    compare(
        name, module, [g = edges()](const M& m, const X& x, const W& w) { return X(m(x, g, w)); }, input(name, "x"), input<1>(name, "w"));
}
template <class M>
void attributed(const std::string& name, const M& module) {
    compare(name, module, [g = edges()](const M& m, const X& x, const X& e) { return X(m(x, g, e)); }, input(name, "x"), input(name, "e"));
}

const Key key{1};

}  // namespace

TEST_CASE("spectral convolutions are PyTorch Geometric's", "[graph]") {
    graph::GcnOptions gcn;
    weighted("gcn", graph::GCNConv<double>(3, 4, key));
    gcn.improved = true;
    weighted("gcn_improved", graph::GCNConv<double>(3, 2, key, gcn));
    gcn.improved = false, gcn.add_self_loops = false;
    plain("gcn_no_loops", graph::GCNConv<double>(3, 2, key, gcn));
    weighted("sg", graph::SGConv<double>(3, 2, 3, key));
    weighted("appnp", graph::APPNP<double>(4, 0.2));
    weighted("cheb", graph::ChebConv<double>(3, 2, 4, key));
    weighted("tag", graph::TAGConv<double>(3, 2, 3, key));
    graph::ArmaOptions arma;
    arma.stacks = 2, arma.layers = 3;
    weighted("arma", graph::ARMAConv<double>(3, 2, key, arma));
    arma.shared_weights = true, arma.relu = false;
    plain("arma_shared", graph::ARMAConv<double>(3, 2, key, arma));
}

TEST_CASE("attention over graphs is PyTorch Geometric's", "[graph]") {
    graph::GatConvOptions two, three;
    two.heads = 2;
    three.heads = 3, three.concat = false, three.edge_dim = 2;
    plain("gat", graph::GATConv<double>(3, 4, key, two));
    attributed("gat_edges", graph::GATConv<double>(3, 4, key, three));
    plain("gatv2", graph::GATv2Conv<double>(3, 4, key, two));
    attributed("gatv2_edges", graph::GATv2Conv<double>(3, 4, key, three));
    graph::TransformerConvOptions t2, t3;
    t2.heads = 2;
    t3.heads = 3, t3.concat = false, t3.edge_dim = 2;
    plain("transformer", graph::TransformerConv<double>(3, 4, key, t2));
    attributed("transformer_edges", graph::TransformerConv<double>(3, 4, key, t3));
    plain("agnn", graph::AGNNConv<double>());
}

TEST_CASE("sums over neighbours are PyTorch Geometric's", "[graph]") {
    graph::SageOptions sage;
    plain("sage", graph::SAGEConv<double>(3, 4, key));
    sage.aggregation = graph::max, sage.project = true, sage.normalize = true;
    plain("sage_max", graph::SAGEConv<double>(3, 4, key, sage));
    weighted("graph_conv", graph::GraphConv<double>(3, 4, key));
    weighted("graph_conv_mean", graph::GraphConv<double>(3, 4, key, graph::mean));
    const nn::Sequential mlp(nn::Linear<double>(3, 5, key), nn::ReLU(), nn::Linear<double>(5, 2, key));
    plain("gin", graph::GINConv<std::remove_const_t<decltype(mlp)>, double>(mlp, 0.3, true));
    attributed("gine", graph::GINEConv<nn::Linear<double>, double>(nn::Linear<double>(3, 2, key), 2, 3, key, 0, true));
    attributed("gine_plain", graph::GINEConv<nn::Linear<double>, double>(nn::Linear<double>(3, 2, key), 0.2));
    weighted("gated_graph", graph::GatedGraphConv<double>(4, 3, key));
}

TEST_CASE("convolutions with features of edges are PyTorch Geometric's", "[graph]") {
    const nn::Sequential before(nn::Linear<double>(2, 4, key), nn::Tanh());
    attributed("nn_conv", graph::NNConv<std::remove_const_t<decltype(before)>, double>(3, 2, before, 4, key, graph::mean));
    attributed("gmm", graph::GMMConv<double>(3, 2, 2, 3, key));
}

TEST_CASE("pooling by another layer's scores is PyTorch Geometric's", "[graph]") {
    const auto pooled = [g = edges()](const auto& m, const X& x) { return m(x, g).x; };
    graph::SAGPooling<graph::GraphConv<double>, double> sag(graph::GraphConv<double>(3, 1, key), key, {.ratio = 0.6});
    compare("sag", sag, pooled, input("sag", "x"));
    graph::SAGPooling<graph::GATConv<double>, double> attention(graph::GATConv<double>(3, 1, key), key, {.ratio = 0.6});
    compare("sag_gat", attention, pooled, input("sag_gat", "x"));
}
