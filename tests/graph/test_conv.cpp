// Graph convolutions against vectors computed edge by edge, and what must hold of them.
#include "golden_graph.hpp"

#include <tenon/graph/conv/appnp.hpp>
#include <tenon/graph/conv/arma.hpp>
#include <tenon/graph/conv/cheb.hpp>
#include <tenon/graph/conv/gat.hpp>
#include <tenon/graph/conv/gcn.hpp>
#include <tenon/graph/conv/gin.hpp>
#include <tenon/graph/conv/graph_conv.hpp>
#include <tenon/graph/conv/sage.hpp>
#include <tenon/graph/conv/sg.hpp>
#include <tenon/testing/gradcheck.hpp>

using namespace golden_graph;

namespace {

template <class T>
void set(Tensor<T, 2>& parameter, const Tensor<T, 2>& value) { parameter = clone(value).require_grad(); }

template <class T>
graph::GCNConv<T> gcn(bool improved = false) {
    graph::GcnOptions o;
    o.improved = improved;
    graph::GCNConv<T> layer(3, 2, Key{1}, o);
    set(layer.lin.weight, turned(w_matrix<T>()));
    return layer;
}
template <class T>
graph::GATConv<T> gat(long heads, bool concat) {
    graph::GatConvOptions o;
    o.heads = heads;
    o.concat = concat;
    graph::GATConv<T> layer(3, 2, Key{1}, o);
    const auto w = turned(w_matrix<T>()), v = turned(v_matrix<T>());
    set(layer.lin.weight, heads == 1 ? w : Tensor<T, 2>(tenon::concat<0>(w, v)));
    const T src[] = {T(1), T(-0.5), T(0.3), T(0.3)}, dst[] = {T(0.25), T(0.75), T(-0.2), T(0.6)};
    layer.att_src = from<T>({1, heads, 2}, src).require_grad();
    layer.att_dst = from<T>({1, heads, 2}, dst).require_grad();
    return layer;
}

// Central differences of the sum of the result times fixed numbers, by x and by every parameter.
template <class Layer, class Call>
void check_gradients(const Layer& layer, long nodes, long in, Call call) {
    const auto weigh = [](const Tensor<double, 2>& y) { return tenon::sum(y * randn<double>(y.shape(), Key{7})); };
    CHECK_NOTHROW(
        testing::gradcheck([&](const auto& x) { return weigh(call(layer, Tensor<double, 2>(x))); }, randn<double>({nodes, in}, Key{5})));
    int count = 0;
    nn::for_each_tensor(layer, [&](const char*, nn::Kind kind, const auto&) { count += kind == nn::Kind::parameter ? 1 : 0; });
    const auto x = randn<double>({nodes, in}, Key{6});
    for (int k = 0; k < count; ++k) {
        Tensor<double, 1> start;
        int at = 0;
        std::string parameter;
        nn::for_each_tensor(layer, [&](const char* name, nn::Kind kind, const auto& p) {
            if (kind != nn::Kind::parameter || at++ != k) return;
            start = clone(contiguous(p).reshape({p.size()}));
            for (long i = 0; i < start.size(); ++i) start.data()[i] += 0.1 * std::sin(static_cast<double>(i) + 1);
            parameter = name;
        });
        INFO(parameter);
        CHECK_NOTHROW(testing::gradcheck(
            [&](const auto& flat) {
                Layer own = layer;
                int j = 0;
                nn::for_each_tensor(own, [&](const char*, nn::Kind kind, auto& p) {
                    if (kind != nn::Kind::parameter || j++ != k) return;
                    using P = std::remove_cvref_t<decltype(p)>;
                    p = P(Tensor<double, 1>(flat).reshape(p.shape()));
                });
                return weigh(call(own, x));
            },
            start));
    }
}

}  // namespace

TEMPLATE_TEST_CASE("convolutions have the golden vectors", "", float, double) {
    using T = TestType;
    const Graph g = make_graph();
    const auto x = features<T>();
    const auto w = edge_weights<T>();
    const auto a = graph::gcn_norm<T>(g, w);
    check(a.weight, {0.447214, 0.447214, 0.496139, 0.124035, 0.588348, 0.5, 0.4, 0.461538, 1.0, 1.0});
    const auto kept = a.graph.edge_index();
    CHECK(std::vector<long>(kept.data(), kept.data() + 20) ==
          std::vector<long>{0, 1, 1, 2, 3, 0, 1, 2, 3, 4, 1, 0, 2, 1, 2, 0, 1, 2, 3, 4});
    SECTION("GCN") {
        check(Tensor<T, 2>(gcn<T>()(x, g, w)), {-0.542705, 0.562426, -0.376880, 0.165055, -0.076380, -0.698435, -0.5, 0.55, 1.625, -0.025});
        check(Tensor<T, 2>(gcn<T>(true)(x, g, w)),
              {-0.615728, 0.613255, -0.354016, 0.201796, 0.038591, -0.829704, -0.5, 0.55, 1.625, -0.025});
        check(Tensor<T, 2>(gcn<T>()(x, g)), {-0.528093, 0.543918, -0.139520, -0.464226, -0.122008, -0.432457, -0.5, 0.55, 1.625, -0.025});
        check(Tensor<T, 2>(gcn<T>()(Csr<T>::from_dense(x), g, w)),
              {-0.542705, 0.562426, -0.376880, 0.165055, -0.076380, -0.698435, -0.5, 0.55, 1.625, -0.025});
    }
    SECTION("SGC, APPNP") {
        graph::SGConv<T> sg(3, 2, 2, Key{1});
        set(sg.lin.weight, turned(w_matrix<T>()));
        sg.lin.bias.fill(T(0));
        check(Tensor<T, 2>(sg(x, g)), {-0.321005, 0.082439, -0.302769, -0.076841, -0.375851, 0.018648, -0.5, 0.55, 1.625, -0.025});
        check(graph::APPNP<T>(2, 0.1)(x, g), {-0.558409, -0.491686, -0.039167, -0.231407, -0.404810, 0.156787, -0.038090, -0.470227,
                                              0.182636, -0.5, 0, 0.5, 1, 1.5, -1.5});
    }
    SECTION("Cheb, ARMA") {
        graph::ChebConv<T> cheb(3, 2, 3, Key{1});
        const auto turned_w = turned(w_matrix<T>());
        set(cheb.lins[0].weight, turned_w);
        set(cheb.lins[1].weight, Tensor<T, 2>(turned_w * T(0.5)));
        set(cheb.lins[2].weight, Tensor<T, 2>(turned_w * T(-0.25)));
        check(Tensor<T, 2>(cheb(x, g)), {-0.836167, 1.213312, -0.148667, 0.877741, 1.445083, -3.342938, -0.625, 0.6875, 2.03125, -0.03125});
        graph::ARMAConv<T> arma(3, 2, Key{1});
        arma.init_weight(0).copy_from(w_matrix<T>());
        arma.root_weight(0, 0).copy_from(v_matrix<T>());
        check(arma(x, g), {0, 0, 0.176887, 0, 0.238574, 0, 0.2, 0, 0, 1.7});
    }
    SECTION("SAGE, GraphConv, GIN") {
        for (const auto how : {graph::mean, graph::max}) {
            graph::SageOptions o;
            o.aggregation = how;
            graph::SAGEConv<T> sage(3, 2, Key{1}, o);
            set(sage.lin_l.weight, turned(w_matrix<T>()));
            set(sage.lin_r.weight, turned(v_matrix<T>()));
            sage.lin_l.bias.fill(T(0));
            if (how == graph::mean) check(sage(x, g), {-0.475, 0.075, 0.4125, -1.4125, 0.1, -0.266667, 0.2, -0.4, -1.1, 1.7});
            else check(sage(x, g), {-0.475, 0.075, 1.1, -2.7, 0.475, -0.725, 0.2, -0.4, -1.1, 1.7});
        }
        graph::GraphConv<T> conv(3, 2, Key{1});
        set(conv.lin_rel.weight, turned(w_matrix<T>()));
        set(conv.lin_root.weight, turned(v_matrix<T>()));
        conv.lin_rel.bias.fill(T(0));
        check(Tensor<T, 2>(conv(x, g, w)), {-0.475, 0.075, 0.0375, -1.0625, 1.225, -6.1, 0.2, -0.4, -1.1, 1.7});
        nn::Linear<T, false> plain(3, 2, Key{1});
        set(plain.weight, turned(w_matrix<T>()));
        check(Tensor<T, 2>(graph::GINConv<nn::Linear<T, false>, T>(plain, 0.5)(x, g)),
              {-1.5, 1.525, -0.4375, -1.3125, 1.3125, -5.7875, -0.75, 0.825, 2.4375, -0.0375});
    }
    SECTION("GAT") {
        check(Tensor<T, 2>(gat<T>(1, true)(x, g)),
              {-0.553367, 0.582020, 0.693069, -2.303785, 0.292062, -1.286244, -0.5, 0.55, 1.625, -0.025});
        check(Tensor<T, 2>(gat<T>(2, true)(x, g)),
              {-0.553367, 0.582020,  0.128037, -0.400000, 0.693069, -2.303785, 0.118438, -0.160339, 0.292062, -1.286244,
               0.211465,  -0.141601, -0.5,     0.55,      0.2,      -0.4,      1.625,    -0.025,    -1.1,     1.7});
        check(Tensor<T, 2>(gat<T>(2, false)(x, g)),
              {-0.212665, 0.091010, 0.405753, -1.232062, 0.251763, -0.713922, -0.15, 0.075, 0.2625, 0.8375});
        // The weights, row by row of the targets: what is summed up of the identity's rows. (The order of the edges is that of `kept`.)
        const auto layer = gat<T>(1, true);
        const Tensor<T, 2> h = linear(x, layer.lin.weight), s = matmul(h, layer.att_src.reshape({2, 1})),
                           t = matmul(h, layer.att_dst.reshape({2, 1}));
        const Graph& looped = graph::with_self_loops(g);
        const Tensor<T, 3> identity = Tensor<T, 2>(eye<T>(5)).reshape({5, 1, 5});
        check(Tensor<T, 3>(graph::gat_aggregate(looped, identity, s, t)),
              {0.475644, 0.524356, 0,        0,        0, 0.060583, 0.066787, 0.87263, 0, 0, 0, 0.225855, 0.555513,
               0.218632, 0,        0,        0,        0, 1,        0,        0,       0, 0, 0, 1});
        const Tensor<T, 2> score = leaky_relu(graph::gather_sources(looped, s) + graph::gather_targets(looped, t), T(0.2));
        check(Tensor<T, 2>(graph::edge_softmax(looped, score)),
              {0.060583, 0.524356, 0.225855, 0.87263, 0.218632, 0.475644, 0.066787, 0.555513, 1, 1});
    }
    SECTION("gradients of GCN") {
        auto layer = gcn<T>();
        const auto leaf = features<T>().require_grad();
        const auto r = from<T>({5, 2}, {T(-1), T(0), T(1), T(-1), T(0), T(1), T(-1), T(0), T(1), T(-1)});
        tenon::sum(layer(leaf, g, w) * r).backward();
        check(leaf.grad(), {0.420820, -0.348607, -0.018328, -0.119746, 0.060301, 0.033221, -0.275486, 0.284136, -0.028267, -1.088348,
                            0.191261, 0.558835, 1.5, -0.5, -0.6});
        check(Tensor<T, 2>(layer.lin.weight.grad().transpose()), {1.765232, -0.117098, 1.343128, -1.510973, -2.144855, 1.776416});
        const auto norm = clone(a.weight).require_grad();
        tenon::sum(graph::aggregate<graph::sum>(a.graph, Tensor<T, 2>(matmul(x, w_matrix<T>())), norm) * r).backward();
        check(norm.grad(), {-1.45, 0.375, 0.475, 3.6, 0.55, 0.75, -0.85, -2.725, 0.5, 1.65});
    }
}

TEST_CASE("convolutions pass the gradient check") {
    const Graph g = Graph::from_edges(from<std::int64_t>({2, 8}, {0, 1, 1, 2, 3, 2, 0, 4, 1, 0, 2, 1, 2, 2, 1, 3}), 6);
    const auto w = from<double>({1, 0.5, 2, 1.5, 0.7, 3, 0.2, 1.1});
    const auto plain = [&](const auto& layer, const auto& x) { return Tensor<double, 2>(layer(x, g)); };
    const auto weighted = [&](const auto& layer, const auto& x) { return Tensor<double, 2>(layer(x, g, w)); };
    SECTION("GCN") { check_gradients(graph::GCNConv<double>(3, 2, Key{1}), 6, 3, weighted); }
    SECTION("GCN that widens") { check_gradients(graph::GCNConv<double>(2, 5, Key{1}), 6, 2, plain); }
    SECTION("SGC") { check_gradients(graph::SGConv<double>(3, 2, 2, Key{1}), 6, 3, weighted); }
    SECTION("Cheb") { check_gradients(graph::ChebConv<double>(3, 2, 3, Key{1}), 6, 3, weighted); }
    SECTION("TAG") { check_gradients(graph::TAGConv<double>(3, 2, 2, Key{1}), 6, 3, weighted); }
    SECTION("ARMA") {
        graph::ArmaOptions o;
        o.stacks = 2, o.layers = 3, o.relu = false;
        check_gradients(graph::ARMAConv<double>(3, 2, Key{1}, o), 6, 3, weighted);
    }
    SECTION("GAT") {
        graph::GatConvOptions o;
        o.heads = 2;
        check_gradients(graph::GATConv<double>(3, 2, Key{1}, o), 6, 3, plain);
        o.edge_dim = 2, o.concat = false, o.dropout = 0.4;
        const auto e = randn<double>({8, 2}, Key{3});
        const nn::Context context{Key{4}};
        check_gradients(graph::GATConv<double>(3, 2, Key{1}, o), 6, 3,
                        [&](const auto& layer, const auto& x) { return Tensor<double, 2>(layer(x, g, context, e)); });
    }
    SECTION("SAGE") {
        graph::SageOptions o;
        check_gradients(graph::SAGEConv<double>(3, 2, Key{1}, o), 6, 3, plain);
        o.aggregation = graph::max, o.project = true, o.normalize = true;
        check_gradients(graph::SAGEConv<double>(3, 2, Key{2}, o), 6, 3, plain);
    }
    SECTION("GraphConv") { check_gradients(graph::GraphConv<double>(3, 2, Key{1}), 6, 3, weighted); }
    SECTION("GIN") {
        check_gradients(graph::GINConv<nn::Linear<double>, double>(nn::Linear<double>(3, 2, Key{1}), 0.3, true), 6, 3, plain);
    }
    SECTION("weights of the edges") {
        const graph::GCNConv<double> layer(3, 2, Key{1});
        const auto x = randn<double>({6, 3}, Key{5});
        CHECK_NOTHROW(testing::gradcheck([&](const auto& v) { return tenon::sum(square(layer(x, g, Tensor<double, 1>(v * 1.0)))); }, w));
    }
}

TEST_CASE("the forms of 2019 have the vectors that their definitions give by hand") {
    const Graph g = make_graph();
    const auto x = features<double>();
    // x W: (-.75 .7)(-.375 .475)(.875 -2.725)(-.5 .55)(1.625 -.025); x V: (-.1 -.4)(.35 -.4)(.1 .3)(.2 -.4)(-1.1 1.7).
    SECTION("SAGE: means of a node and its neighbours by one matrix, rows of length 1") {
        graph::SAGEConv<double> sage(3, 2, Key{1}, {.normalize = true, .form_of_2019 = true});
        set(sage.lin_l.weight, turned(w_matrix<double>()));
        sage.lin_l.bias.fill(0);
        const double a = std::sqrt(0.6615625), b = std::sqrt(2.465), c = std::sqrt(0.5525), d = std::sqrt(2.64125);
        check(sage(x, g), {-0.5625 / a, 0.5875 / a, -0.25 / b, -1.55 / b, 0, -1, -0.5 / c, 0.55 / c, 1.625 / d, -0.025 / d});
        sage.options.normalize = false;
        check(sage(x, g), {-0.5625, 0.5875, -0.25 / 3, -1.55 / 3, 0, -1.7 / 3, -0.5, 0.55, 1.625, -0.025});
        int parameters = 0;
        nn::for_each_tensor(sage, [&](const char*, nn::Kind, const auto&) { ++parameters; });
        CHECK(parameters == 2);
    }
    SECTION("ARMA: the propagated term comes with a minus sign") {
        graph::ARMAConv<double> arma(3, 2, Key{1}, {.relu = false, .form_of_2019 = true});
        arma.init_weight(0).copy_from(w_matrix<double>());
        arma.root_weight(0, 0).copy_from(v_matrix<double>());
        // Degrees 1, 2, 3, 0, 0.
        const double r2 = std::sqrt(2.0), r6 = std::sqrt(6.0);
        const std::vector<double> y = {-0.1 + 0.375 / r2, -0.4 - 0.475 / r2, 0.35 + 0.75 / r2 - 0.875 / r6, -0.4 - 0.7 / r2 + 2.725 / r6,
                                       0.1 + 0.375 / r6 - 0.875 / 3, 0.3 - 0.475 / r6 + 2.725 / 3, 0.2, -0.4, -1.1, 1.7};
        check(arma(x, g), y);
        arma.options.relu = true;
        std::vector<double> positive = y;
        for (double& v : positive) v = std::max(v, 0.0);
        check(arma(x, g), positive);
    }
    SECTION("GIN: without self-loops") {
        nn::Linear<double, false> plain(3, 2, Key{1});
        set(plain.weight, turned(w_matrix<double>()));
        check(Tensor<double, 2>(graph::GINConv<nn::Linear<double, false>, double>(plain, 0.5, false, true)(x, g)),
              {-1.5, 1.525, -0.4375, -1.3125, 0.4375, -3.0625, -0.75, 0.825, 2.4375, -0.0375});
    }
    SECTION("GraphConv: the bias is the root's") {
        graph::GraphConv<double> conv(3, 2, Key{1}, graph::sum, true);
        set(conv.lin_rel.weight, turned(w_matrix<double>()));
        set(conv.lin_root.weight, turned(v_matrix<double>()));
        std::string names;
        nn::for_each_tensor(conv, [&](const char* name, nn::Kind, const auto& p) {
            (names += name) += ' ';
            if constexpr (std::remove_cvref_t<decltype(p)>::rank == 1) p.detach().copy_from(from<double>({1, -1}));
        });
        CHECK(names == "lin_rel.weight lin_root.weight lin_root.bias ");
        check(Tensor<double, 2>(conv(x, g, edge_weights<double>())),
              {0.525, -0.925, 1.0375, -2.0625, 2.225, -7.1, 1.2, -1.4, -0.1, 0.7});
    }
    SECTION("Cheb: uniform in +-1 / sqrt(K in), the bias too; GAT: attention vectors in +-sqrt(6 / (H + 2 C))") {
        const auto largest = [](const auto& p) {
            double most = 0;
            for (long i = 0; i < p.size(); ++i) most = std::max(most, std::abs(p.data()[i]));
            return most;
        };
        const graph::ChebConv<double> cheb(50, 40, 3, Key{1}, true);
        const double bound = 1 / std::sqrt(150.0);
        for (const auto& lin : cheb.lins) CHECK((largest(lin.weight) <= bound && largest(lin.weight) > 0.99 * bound));
        CHECK((largest(cheb.bias) <= bound && largest(cheb.bias) > 0.8 * bound));
        graph::GatConvOptions o;
        o.heads = 8, o.form_of_2019 = true;
        const graph::GATConv<double> layer(5, 32, Key{1}, o);
        const double narrow = std::sqrt(6.0 / (8 + 64));
        for (const auto* att : {&layer.att_src, &layer.att_dst}) {
            CHECK((att->requires_grad() && att->shape() == Shape<3>{{1, 8, 32}}));
            CHECK((largest(*att) <= narrow && largest(*att) > 0.95 * narrow));
        }
        CHECK(layer.att_src.data()[0] != layer.att_dst.data()[0]);
    }
}

TEST_CASE("dropout in APPNP and ARMA: over many keys the mean is what comes without, the same key gives the same bits") {
    const Graph g = make_graph();
    const auto x = features<double>();
    const auto w = edge_weights<double>();
    graph::AppnpOptions appnp;
    appnp.dropout = 0.4;
    check_dropout(graph::APPNP<double>(3, 0.2, appnp, Key{1}), x, g, w);
    for (const bool form : {false, true}) {
        graph::ArmaOptions o;
        o.stacks = 2, o.layers = 2, o.relu = false, o.dropout = 0.4, o.form_of_2019 = form;
        check_dropout(graph::ARMAConv<double>(3, 2, Key{2}, o), x, g, w);
    }
    // Of GAT between sources and targets the same mask falls on the same edges.
    graph::GatConvOptions o;
    o.heads = 2, o.dropout = 0.4;
    const graph::GATConv<double> layer(3, 2, Key{3}, o);
    const nn::Context context{Key{4}};
    const Tensor<double, 2> apart = layer(x, x, g, context), together = layer(x, g, context);
    CHECK(max(abs(apart - together)).item() < 1e-14);
    CHECK(max(abs(apart - Tensor<double, 2>(layer(x, g)))).item() > 1e-3);
}

TEST_CASE("features of the edges are there where a layer was made for them, and only there") {
    const Graph g = make_graph();
    const auto x = features<double>();
    const auto e = randn<double>({6, 2}, Key{1});
    graph::GatConvOptions o;
    const graph::GATConv<double> plain(3, 2, Key{1}, o);
    o.edge_dim = 2;
    const graph::GATConv<double> attributed(3, 2, Key{1}, o);
    CHECK_THROWS_WITH(plain(x, g, e), Catch::Contains("GATConv: features of the edges, double[6, 2] on cpu, came, but edge_dim is 0"));
    CHECK_THROWS_WITH(attributed(x, g),
                      Catch::Contains("GATConv: no features of the edges came, but edge_dim is 2: expected [6, 2]"));
    CHECK_THROWS_WITH(attributed(x, g, nn::Context{Key{1}}), Catch::Contains("GATConv: no features of the edges came"));
    CHECK_THROWS_WITH(attributed(x, g, randn<double>({11, 2}, Key{1})),
                      Catch::Contains("GATConv: double[11, 2] on cpu has 11 rows, but the graph has 6 edges"));
    CHECK_THROWS_WITH(attributed(x, g, nn::Context{Key{1}}, randn<double>({6, 3}, Key{1})),
                      Catch::Contains("GATConv: features of the edges are double[6, 3] on cpu, but edge_dim is 2"));
}

TEST_CASE("convolutions without edges, of one node, permuted") {
    const auto x = randn<float>({4, 3}, Key{1});
    const Graph none = Graph::from_edges(empty<std::int64_t>({2, 0}), 4);
    graph::GCNConv<float> layer(3, 2, Key{2});
    const Tensor<float, 2> y = layer(x, none), linear_y = linear(x, layer.lin.weight);
    for (long i = 0; i < 8; ++i) CHECK(y.data()[i] == Approx(linear_y.data()[i]).margin(1e-6));
    graph::GATConv<float> attention(3, 2, Key{2});
    const Tensor<float, 2> z = attention(x, none), linear_z = linear(x, attention.lin.weight);
    for (long i = 0; i < 8; ++i) CHECK(z.data()[i] == Approx(linear_z.data()[i]).margin(1e-6));
    const Graph one = Graph::from_edges(empty<std::int64_t>({2, 0}), 1);
    const Tensor<float, 2> single = graph::SAGEConv<float>(3, 2, Key{3})(Tensor<float, 2>(x(slice(0, 1))), one);
    CHECK(single.shape(0) == 1);
    const Tensor<float, 2> same = graph::APPNP<float>(5, 1.0)(x, none);
    for (long i = 0; i < 12; ++i) CHECK(same.data()[i] == x.data()[i]);

    // The order of the edge list is nothing to the bits.
    const auto edges = from<std::int64_t>({2, 6}, {0, 1, 2, 3, 0, 3, 1, 2, 3, 0, 3, 1}),
               shuffled = from<std::int64_t>({2, 6}, {3, 0, 3, 1, 2, 0, 1, 3, 0, 2, 3, 1});
    const Tensor<float, 2> first = layer(x, Graph::from_edges(edges)), second = layer(x, Graph::from_edges(shuffled));
    for (long i = 0; i < 8; ++i) CHECK(first.data()[i] == second.data()[i]);
}

TEST_CASE("convolutions do not depend on threads") {
    const long nodes = 3000, edges = 40000;
    const auto list = empty<std::int64_t>({2, edges});
    for (long e = 0; e < edges; ++e) {
        const long a = (e * 7919) % nodes, b = (e * e + 31 * e) % (e % 3 == 0 ? 20 : nodes);
        list.data()[e] = a, list.data()[edges + e] = b;
    }
    const Graph g = Graph::from_edges(list, nodes);
    const auto x = randn<float>({nodes, 24}, Key{1});
    graph::GatConvOptions o;
    o.heads = 4, o.dropout = 0.5;
    const graph::GCNConv<float> gcn_layer(24, 16, Key{2});
    const graph::GATConv<float> gat_layer(16, 8, Key{3}, o);
    const auto run = [&](int threads) {
        set_num_threads(threads);
        for (const auto& p : {gcn_layer.lin.weight, gat_layer.lin.weight})
            if (p.has_grad()) p.zero_grad();
        if (gat_layer.att_src.has_grad()) gat_layer.att_src.zero_grad();
        const Tensor<float, 2> h = relu(gcn_layer(x, g));
        const Tensor<float, 2> y = gat_layer(h, g, nn::Context{Key{9}});
        tenon::sum(square(y)).backward();
        std::vector<float> all(y.data(), y.data() + y.size());
        for (const auto& p : {gcn_layer.lin.weight.grad(), gat_layer.lin.weight.grad()})
            all.insert(all.end(), p.data(), p.data() + p.size());
        const auto s = gat_layer.att_src.grad();
        all.insert(all.end(), s.data(), s.data() + s.size());
        return all;
    };
    const int threads = num_threads();
    const auto one = run(1), two = run(2);
    set_num_threads(threads);
    CHECK(one == two);
}

TEST_CASE("normalised weights are kept with the graph until they change") {
    const Graph g = make_graph();
    const auto w = edge_weights<float>();
    const auto a = graph::gcn_norm<float>(g, w), b = graph::gcn_norm<float>(g, w);
    CHECK(a.weight.data() == b.weight.data());
    CHECK(a.graph.same_as(b.graph));
    w.fill(1.f);
    const auto c = graph::gcn_norm<float>(g, w);
    CHECK(c.weight.data() != a.weight.data());
    CHECK(c.weight.data()[9] == 1.f);
    const auto leaf = edge_weights<float>().require_grad();
    CHECK(graph::gcn_norm<float>(g, leaf).weight.requires_grad());
    CHECK(graph::gcn_norm<float>(g).weight.data() == graph::gcn_norm<float>(g).weight.data());
}
