// What passes over graphs need at most, forward and backward, beside the same from gathered edges.
#include <tenon/graph/attention.hpp>
#include <tenon/graph/conv/agnn.hpp>
#include <tenon/graph/conv/gcn.hpp>
#include <tenon/graph/conv/gmm.hpp>
#include <tenon/graph/conv/nn_conv.hpp>
#include <tenon/graph/conv/transformer.hpp>
#include <tenon/graph/edges.hpp>
#include <tenon/graph/message.hpp>
#include <tenon/tenon.hpp>

#include <catch2/catch.hpp>

using namespace tenon;
using graph::Graph;

namespace {

// Bytes above what was there, at the highest point of f().
template <class F>
long peak(F f) {
    f();  // gradients and what is kept with the graph come here
    const long before = memory::statistics().live;
    memory::reset_peak();
    f();
    return memory::statistics().peak - before;
}

Graph some_graph(long nodes, long edges) {
    const auto index = empty<std::int64_t>({2, edges});
    for (long k = 0; k < 2 * edges; ++k) index.data()[k] = static_cast<std::int64_t>((k * 7919 + k / 31 * 104729) % nodes);
    return Graph::from_edges(index, nodes);
}

}  // namespace

TEST_CASE("attention and its derivatives take a quarter of the memory of gathered edges, or less", "[graph]") {
    const long nodes = 4000, edges = 80000, heads = 8, width = 16;
    const Graph g = some_graph(nodes, edges);
    const auto h = randn<float>({nodes, heads, width}, Key{1}).require_grad();
    const auto s = randn<float>({nodes, heads}, Key{2}).require_grad();
    const auto t = randn<float>({nodes, heads}, Key{3}).require_grad();
    const auto dy = randn<float>({nodes, heads, width}, Key{4});
    const long fused = peak([&] { graph::gat_aggregate(g, h, s, t).backward(dy); });
    const long gathered = peak([&] {
        const Tensor<float, 2> score = leaky_relu(graph::gather_sources(g, s) + graph::gather_targets(g, t), 0.2f);
        const Tensor<float, 2> alpha = graph::edge_softmax(g, score);
        const Tensor<float, 3> m = alpha.reshape({edges, heads, 1}) * graph::gather_sources(g, h);
        graph::aggregate_edges(graph::sum, g, m).backward(dy);
    });
    CAPTURE(fused, gathered);
    CHECK(gathered >= 2 * edges * heads * width * 4);  // two tensors of edges and channels at least
    CHECK(4 * fused <= gathered);
    // The values and the scores' gradients of every edge, besides what nodes have: nothing of edges times channels.
    CHECK(fused <= 4 * (3 * edges * heads + 6 * nodes * heads * width) + (4 << 20));
}

TEST_CASE("layers and messages and their derivatives store less than a quarter of edges x features", "[graph]") {
    using X = Tensor<float, 2>;
    const long nodes = 1000, edges = 100000, width = 128;
    const Graph g = some_graph(nodes, edges);
    const X x = randn<float>({nodes, width}, Key{1}).require_grad();
    const auto w = uniform<float>({edges}, Key{2}).require_grad();
    const X e = uniform<float>({edges, 2}, Key{3}).require_grad();
    const auto check = [&](const char* name, auto&& f) {
        const long most = peak([&] { tenon::sum(X(f())).backward(); });
        INFO(name << ": " << most << " bytes, edges x features are " << 4 * edges * width);
        CHECK(most < edges * width);  // of 4 bytes each
    };
    check("a formula", [&] {
        return graph::aggregate<graph::sum>(
            g, [](auto h, auto a) { return a * tanh(h.source - h.target); }, graph::node(x), graph::edge(w));
    });
    const graph::GCNConv<> gcn(width, width, Key{4});
    check("GCN", [&] { return gcn(x, g, w); });
    const graph::NNConv<nn::Linear<>> edge_network(width, width, nn::Linear<>(2, 3, Key{4}), 3, Key{5});
    check("NNConv", [&] { return edge_network(x, g, e); });
    const graph::GMMConv<> gmm(width, width, 2, 2, Key{4});
    check("GMM", [&] { return gmm(x, g, e); });
    const graph::AGNNConv<> agnn;
    check("AGNN", [&] { return agnn(x, g); });
    graph::TransformerConvOptions options;
    options.heads = 4;
    const graph::TransformerConv<> transformer(width, width / 4, Key{4}, options);
    check("Transformer", [&] { return transformer(x, g); });
}
