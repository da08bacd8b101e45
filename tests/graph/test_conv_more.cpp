// Convolutions with attention by products, networks on edges and several matrices: vectors computed edge by edge, and gradients.
#include "golden_graph.hpp"

#include <tenon/graph/conv/agnn.hpp>
#include <tenon/graph/conv/edge_conv.hpp>
#include <tenon/graph/conv/gated_graph.hpp>
#include <tenon/graph/conv/gatv2.hpp>
#include <tenon/graph/conv/gin.hpp>
#include <tenon/graph/conv/gmm.hpp>
#include <tenon/graph/conv/nn_conv.hpp>
#include <tenon/graph/conv/rgcn.hpp>
#include <tenon/graph/conv/transformer.hpp>
#include <tenon/nn/activation.hpp>
#include <tenon/nn/norm.hpp>
#include <tenon/testing/gradcheck.hpp>

using namespace golden_graph;

namespace {

template <class T>
Tensor<T, 2> pattern(long rows, long columns, long modulus, double centre) {
    const Tensor<T, 2> x = empty<T>({rows, columns});
    for (long i = 0; i < rows * columns; ++i) x.data()[i] = static_cast<T>((static_cast<double>(i % modulus) - centre) / 10);
    return x;
}
struct Same {
    template <class X>
    X operator()(const X& x) const { return x; }
    static void visit(auto&, auto&&) {}
};

// By x, and by every parameter of the layer at once.
template <class Layer, class Call>
void check_gradients(const Layer& layer, const Tensor<double, 2>& x, Call call) {
    const auto weigh = [](const Tensor<double, 2>& y) { return tenon::sum(y * randn<double>(y.shape(), Key{7})); };
    CHECK_NOTHROW(testing::gradcheck([&](const auto& v) { return weigh(call(layer, Tensor<double, 2>(v))); }, x));
    std::vector<double> all;
    nn::for_each_tensor(layer, [&](const char*, nn::Kind kind, const auto& p) {
        if (kind == nn::Kind::parameter) all.insert(all.end(), p.data(), p.data() + p.size());
    });
    for (std::size_t i = 0; i < all.size(); ++i) all[i] += 0.1 * std::sin(static_cast<double>(i) + 1);
    CHECK_NOTHROW(testing::gradcheck(
        [&](const auto& flat) {
            Layer own = layer;
            long at = 0;
            nn::for_each_tensor(own, [&](const char*, nn::Kind kind, auto& p) {
                if (kind != nn::Kind::parameter) return;
                using P = std::remove_cvref_t<decltype(p)>;
                const long size = p.size();
                p = P(Tensor<double, 1>(Tensor<double, 1>(flat)(slice(at, at + size))).reshape(p.shape()));
                at += size;
            });
            return weigh(call(own, x));
        },
        from<double>({static_cast<long>(all.size())}, all.data())));
}

}  // namespace

TEMPLATE_TEST_CASE("more convolutions have the golden vectors", "", float, double) {
    using T = TestType;
    const Graph g = make_graph();
    const auto x = features<T>();
    const auto w = edge_weights<T>();
    SECTION("AGNN") {
        check(graph::AGNNConv<T>()(x, g), {-1.221426, -0.721426, -0.221426, -0.041650, -0.007885, 0.492115, 1.037882, -1.032149, -0.532149,
                                           -0.5, 0, 0.5, 1, 1.5, -1.5});
    }
    SECTION("EdgeConv") {
        nn::Linear<T, false> linear_layer(6, 2, Key{1});
        linear_layer.weight = turned(Tensor<T, 2>(tenon::concat<0>(w_matrix<T>(), v_matrix<T>())));
        check(Tensor<T, 2>(graph::EdgeConv<nn::Linear<T, false>>(linear_layer)(x, g)),
              {-0.3, 0.7, -0.625, 1.175, 1.125, -2.725, 0, 0, 0, 0});
    }
    SECTION("NNConv") {
        graph::NNConv<Same, T> conv(3, 2, Same(), 1, Key{1}, graph::sum, false);
        conv.lin_nn.weight = clone(w_matrix<T>().reshape({6, 1}));
        conv.lin_nn.bias = clone(v_matrix<T>().reshape({6}));
        check(conv(x, g, w.reshape({6, 1})), {-0.025, 0.075, -0.3125, -0.7625, 1.775, -6.9, 0, 0, 0, 0});
    }
    SECTION("GMM") {
        graph::GMMConv<T> conv(3, 2, 1, 2, Key{1}, graph::mean, false);
        conv.g = Tensor<T, 2>(tenon::concat<1>(w_matrix<T>(), v_matrix<T>()));
        conv.mu = from<T>({2, 1}, {T(0), T(1)});
        conv.sigma = from<T>({2, 1}, {T(1), T(0.5)});
        check(conv(x, g, w.reshape({6, 1})), {0.122551, -0.111898, 0.138970, -1.099137, -0.011550, -0.028025, 0, 0, 0, 0});
    }
    SECTION("GatedGraphConv") {
        graph::GatedGraphConv<T> conv(3, 1, Key{1});
        conv.weight = from<T>({1, 3, 3}, {T(0.2), T(-0.1), T(0.3), T(0), T(0.4), T(-0.2), T(0.1), T(0.1), T(0.1)});
        nn::for_each_tensor(conv.rnn, [](const char* name, nn::Kind, auto& p) {
            const std::string n = name;
            if constexpr (std::remove_cvref_t<decltype(p)>::rank == 2)
                p.copy_from(n == "weight_ih" ? pattern<T>(9, 3, 5, 2) : pattern<T>(9, 3, 7, 3));
            else if constexpr (std::remove_cvref_t<decltype(p)>::rank == 1)
                for (long i = 0; i < 9; ++i) p.data()[i] = static_cast<T>((n == "bias_ih" ? 0.01 : -0.01) * static_cast<double>(i));
        });
        check(conv(x, g), {-0.885759, -0.191086, -0.332791, -0.038827, 0.219879, 0.669996, 0.500027, -0.805608, -0.546793, -0.224097,
                           0.048088, 0.304540, 0.447475, 1.083209, -0.645639});
    }
}

TEST_CASE("more convolutions pass the gradient check") {
    const Graph g = Graph::from_edges(from<std::int64_t>({2, 8}, {0, 1, 1, 2, 3, 2, 0, 4, 1, 0, 2, 1, 2, 2, 1, 3}), 6);
    const auto x = randn<double>({6, 3}, Key{5}), e = randn<double>({8, 2}, Key{6});
    const auto plain = [&](const auto& layer, const auto& v) { return Tensor<double, 2>(layer(v, g)); };
    const auto attributed = [&](const auto& layer, const auto& v) { return Tensor<double, 2>(layer(v, g, e)); };
    SECTION("AGNN") { check_gradients(graph::AGNNConv<double>(), x, plain); }
    SECTION("GATv2") {
        graph::GatConvOptions o;
        o.heads = 2, o.edge_dim = 2;
        check_gradients(graph::GATv2Conv<double>(3, 2, Key{1}, o), x, attributed);
        o.concat = false, o.edge_dim = 0;
        check_gradients(graph::GATv2Conv<double>(3, 2, Key{1}, o), x, plain);
    }
    SECTION("Transformer") {
        graph::TransformerConvOptions o;
        o.heads = 2, o.edge_dim = 2;
        check_gradients(graph::TransformerConv<double>(3, 2, Key{1}, o), x, attributed);
        o.concat = false, o.edge_dim = 0;
        check_gradients(graph::TransformerConv<double>(3, 2, Key{1}, o), x, plain);
    }
    SECTION("GatedGraph") { check_gradients(graph::GatedGraphConv<double>(4, 2, Key{1}), x, plain); }
    SECTION("EdgeConv") { check_gradients(graph::EdgeConv<nn::Linear<double>>(nn::Linear<double>(6, 2, Key{1})), x, plain); }
    SECTION("PointNet") {
        check_gradients(graph::PointNetConv<nn::Linear<double>>(nn::Linear<double>(5, 2, Key{1})), x,
                        [&](const auto& layer, const auto& v) { return layer(v, Tensor<double, 2>(v(all, slice(0, 2)) * 0.5), g); });
    }
    SECTION("NNConv") {
        check_gradients(graph::NNConv<nn::Linear<double>, double>(3, 2, nn::Linear<double>(2, 4, Key{2}), 4, Key{1}, graph::mean), x,
                        attributed);
    }
    SECTION("GMM") { check_gradients(graph::GMMConv<double>(3, 2, 2, 3, Key{1}), x, attributed); }
    SECTION("RGCN") {
        const auto types = from<std::int64_t>({0, 1, 0, 2, 1, 1, 0, 2});
        check_gradients(graph::RGCNConv<double>(3, 2, 3, 2, Key{1}), x,
                        [&](const auto& layer, const auto& v) { return layer(v, g, types); });
        // Sums of means, written out.
        const graph::RGCNConv<double> conv(3, 2, 3, 2, Key{1});
        const auto y = conv(x, g, types);
        std::vector<double> expected(12, 0.0);
        for (long i = 0; i < 6; ++i)
            for (long o = 0; o < 2; ++o) {
                double& to = expected[static_cast<std::size_t>(2 * i + o)];
                for (long f = 0; f < 3; ++f) to += x.data()[3 * i + f] * conv.root.data()[2 * f + o];
                for (long r = 0; r < 3; ++r) {
                    double total = 0, count = 0;
                    for (long k = 0; k < 8; ++k) {
                        if (g.edge_index().data()[8 + k] != i || types.data()[k] != r) continue;
                        ++count;
                        for (long f = 0; f < 3; ++f)
                            for (long b = 0; b < 2; ++b)
                                total += x.data()[3 * g.edge_index().data()[k] + f] * conv.comp.data()[2 * r + b] *
                                         conv.weight.data()[(b * 3 + f) * 2 + o];
                    }
                    if (count > 0) to += total / count;
                }
            }
        check(y, expected);
        // Without features a node's row of the identity stands for it.
        const graph::RGCNConv<double> bare(6, 2, 3, 2, Key{2});
        const auto one = bare(Tensor<double, 2>(), g, types), other = bare(eye<double>(6), g, types);
        check(one, std::vector<double>(other.data(), other.data() + 12));
    }
}

TEST_CASE("dropout of attention: over many keys the mean is what comes without, the same key gives the same bits") {
    const Graph g = make_graph();
    const auto x = features<double>(), e = randn<double>({6, 2}, Key{3});
    graph::GatConvOptions o;
    o.heads = 2, o.dropout = 0.4, o.edge_dim = 2;
    check_dropout(graph::GATv2Conv<double>(3, 2, Key{1}, o), x, g, e);
    graph::TransformerConvOptions t;
    t.heads = 2, t.dropout = 0.4;
    check_dropout(graph::TransformerConv<double>(3, 2, Key{1}, t), x, g);
    t.edge_dim = 2;
    check_dropout(graph::TransformerConv<double>(3, 2, Key{1}, t), x, g, e);
    // Between sources and targets the same mask falls on the same edges.
    const nn::Context context{Key{4}};
    o.add_self_loops = false;
    const graph::GATv2Conv<double> gat(3, 2, Key{1}, o);
    const graph::TransformerConv<double> transformer(3, 2, Key{1}, t);
    CHECK(max(abs(Tensor<double, 2>(gat(x, x, g, context, e)) - Tensor<double, 2>(gat(x, g, context, e)))).item() == 0);
    CHECK(max(abs(transformer(x, x, g, context, e) - transformer(x, g, context, e))).item() == 0);
}

TEST_CASE("more layers say which features of the edges do not fit") {
    const Graph g = make_graph();
    const auto x = features<double>(), e = randn<double>({6, 2}, Key{3}), short_e = randn<double>({1, 2}, Key{3});
    graph::GatConvOptions o;
    graph::TransformerConvOptions t;
    const graph::GATv2Conv<double> gat(3, 2, Key{1}, o);
    const graph::TransformerConv<double> transformer(3, 2, Key{1}, t);
    o.edge_dim = t.edge_dim = 2;
    const graph::GATv2Conv<double> gat_edges(3, 2, Key{1}, o);
    const graph::TransformerConv<double> transformer_edges(3, 2, Key{1}, t);
    CHECK_THROWS_WITH(gat(x, g, e), Catch::Contains("GATv2Conv: features of the edges, double[6, 2] on cpu, came, but edge_dim is 0"));
    CHECK_THROWS_WITH(gat_edges(x, g), Catch::Contains("GATv2Conv: no features of the edges came, but edge_dim is 2"));
    CHECK_THROWS_WITH(gat_edges(x, g, randn<double>({11, 2}, Key{3})), Catch::Contains("has 11 rows, but the graph has 6 edges"));
    CHECK_THROWS_WITH(transformer(x, g, e), Catch::Contains("TransformerConv: features of the edges, double[6, 2] on cpu, came"));
    CHECK_THROWS_WITH(transformer_edges(x, g), Catch::Contains("TransformerConv: no features of the edges came, but edge_dim is 2"));
    CHECK_THROWS_WITH(transformer_edges(x, g, short_e), Catch::Contains("has 1 rows, but the graph has 6 edges"));
    // A single row is not meant for all of the edges.
    const graph::GINEConv<Same, double> gine(Same(), 2, 3, Key{1});
    CHECK_THROWS_WITH(gine(x, g, short_e), Catch::Contains("GINEConv: double[1, 2] on cpu has 1 rows, but the graph has 6 edges"));
    CHECK_THROWS_WITH(gine(x, g, x), Catch::Contains("GINEConv: double[5, 3] on cpu has 5 rows, but the graph has 6 edges"));
    const graph::GMMConv<double> gmm(3, 2, 2, 2, Key{1});
    CHECK_THROWS_WITH(gmm(x, g, short_e), Catch::Contains("GMMConv: double[1, 2] on cpu has 1 rows, but the graph has 6 edges"));
    CHECK_THROWS_WITH(gmm(x, g, Tensor<double, 2>()), Catch::Contains("GMMConv: no features of the edges came"));
    const graph::NNConv<Same, double> edges(3, 2, Same(), 2, Key{1});
    CHECK_THROWS_WITH(edges(x, g, randn<double>({6, 3}, Key{1})),
                      Catch::Contains("NNConv: the network gives double[6, 3] on cpu, expected 2 numbers for each edge"));
    // Self-loops are between the same nodes.
    const Graph between = Graph::bipartite(from<std::int64_t>({2, 2}, {0, 4, 1, 0}), 5, 2);
    CHECK_THROWS_WITH(gat(x, Tensor<double, 2>(x(slice(0, 2))), between),
                      Catch::Contains("GATv2Conv: no self-loops can be added between 5 sources and 2 targets"));
}

TEST_CASE("networks inside of layers train: they are handed the context") {
    using Net = nn::Sequential<nn::Linear<double>, nn::BatchNorm1d<double>>;
    const Graph g = make_graph();
    const auto x = features<double>(), e = randn<double>({6, 2}, Key{3});
    const nn::Context context{Key{5}}, resting{Key{5}, false};
    const auto net = [](long in, long out, std::uint64_t k) {
        return Net(nn::Linear<double>(in, out, Key{k}), nn::BatchNorm1d<double>(out));
    };
    // Normalised by the batch while training, by the running statistics else; these have seen one batch then.
    const auto trains = [&](const Net& inner, auto&& call, auto&& plain) {
        const Tensor<double, 2> inference = plain(), same = call(resting);
        CHECK(max(abs(inference - same)).item() == 0);
        CHECK(inner.template get<1>().num_batches_tracked.item() == 0);
        const Tensor<double, 2> trained = call(context);
        CHECK(max(abs(inference - trained)).item() > 1e-3);
        CHECK(inner.template get<1>().num_batches_tracked.item() == 1);
        tenon::sum(square(trained)).backward();
        CHECK(inner.template get<0>().weight.has_grad());
        CHECK(max(abs(inner.template get<1>().weight.grad())).item() > 0);
    };
    const graph::NNConv<Net, double> edges(3, 2, net(2, 4, 1), 4, Key{2});
    trains(edges.nn, [&](const nn::Context& c) { return edges(x, g, c, e); }, [&] { return edges(x, g, e); });
    const graph::GINEConv<Net, double> gine(net(3, 4, 1), 2, 3, Key{2});
    trains(gine.nn, [&](const nn::Context& c) { return Tensor<double, 2>(gine(x, g, c, e)); },
           [&] { return Tensor<double, 2>(gine(x, g, e)); });
    const graph::PointNetConv<Net, Net> point(net(5, 4, 1), net(4, 2, 2));
    const Tensor<double, 2> pos = randn<double>({5, 2}, Key{4});
    trains(point.local_nn, [&](const nn::Context& c) { return point(x, pos, g, c); }, [&] { return point(x, pos, g); });
    CHECK(point.global_nn.get<1>().num_batches_tracked.item() == 1);
    // Between different nodes the same.
    const Graph apart = Graph::bipartite(from<std::int64_t>({2, 6}, {0, 4, 1, 2, 3, 2, 1, 0, 2, 1, 2, 2}), 5, 3);
    const Tensor<double, 2> t = randn<double>({3, 3}, Key{6});
    const auto rests = [&](const Net& inner, auto&& call, auto&& plain) {
        const double before = static_cast<double>(inner.template get<1>().num_batches_tracked.item());
        CHECK(max(abs(Tensor<double, 2>(call(resting)) - Tensor<double, 2>(plain()))).item() == 0);
        CHECK(Tensor<double, 2>(call(context)).shape(0) == 3);
        CHECK(static_cast<double>(inner.template get<1>().num_batches_tracked.item()) == before + 1);
    };
    rests(edges.nn, [&](const nn::Context& c) { return edges(x, t, apart, c, e); }, [&] { return edges(x, t, apart, e); });
    rests(gine.nn, [&](const nn::Context& c) { return gine(x, t, apart, c, e); }, [&] { return gine(x, t, apart, e); });
    const Tensor<double, 2> centres = randn<double>({3, 2}, Key{7});
    rests(point.local_nn, [&](const nn::Context& c) { return point(x, pos, centres, apart, c); },
          [&] { return point(x, pos, centres, apart); });
    const graph::GINConv<Net, double> gin(net(3, 4, 1));
    rests(gin.nn, [&](const nn::Context& c) { return gin(x, t, apart, c); }, [&] { return gin(x, t, apart); });
    const graph::EdgeConv<Net> pairs_of(net(6, 4, 1));
    rests(pairs_of.nn, [&](const nn::Context& c) { return pairs_of(x, t, apart, c); }, [&] { return pairs_of(x, t, apart); });
    // A network that takes no context is called without.
    const graph::PointNetConv<nn::Linear<double>> bare(nn::Linear<double>(5, 2, Key{1}));
    CHECK(max(abs(bare(x, pos, g, context) - bare(x, pos, g))).item() == 0);
}
