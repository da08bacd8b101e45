// Pooling layers, norms and jumping knowledge: golden vectors, PyTorch Geometric's results and gradients, gradient checks, batches, order
// of nodes, errors.
#include "stored.hpp"

#include <tenon/graph/jumping_knowledge.hpp>
#include <tenon/graph/norm.hpp>
#include <tenon/graph/pool/attention.hpp>
#include <tenon/graph/pool/diff_pool.hpp>
#include <tenon/graph/pool/edge_pool.hpp>
#include <tenon/graph/pool/global.hpp>
#include <tenon/graph/pool/graclus.hpp>
#include <tenon/graph/pool/sag.hpp>
#include <tenon/graph/pool/set2set.hpp>
#include <tenon/graph/pool/sort.hpp>
#include <tenon/graph/pool/voxel.hpp>
#include <tenon/nn/norm.hpp>
#include <tenon/nn/sequential.hpp>
#include <tenon/ops/pad.hpp>
#include <tenon/testing/gradcheck.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

using namespace tenon;
using graph::Graph;

namespace {

const golden::Array& stored(const std::string& key) {
    static const golden::File file = golden::read(TENON_TEST_DIR "/golden/graph_pool.safetensors");
    return stored_in(file, key);
}
template <int R>
Tensor<double, R> reals(const std::string& key) {
    const golden::Array& a = stored(key);
    Shape<R> shape;
    REQUIRE(a.shape.size() == R);
    for (int i = 0; i < R; ++i) shape.dims[i] = a.shape[static_cast<std::size_t>(i)];
    Tensor<double, R> x = empty<double>(shape);
    for (long i = 0; i < x.size(); ++i) x.data()[i] = a.reals[static_cast<std::size_t>(i)];
    return x;
}
std::vector<std::int64_t> whole(const std::string& key) { return stored(key).integers; }
template <class X>
double off(const X& given, const std::string& key) {
    INFO(key);
    return off_by(given, stored(key));
}
// The sum weighted by cos(0), cos(1), ..
template <class X>
Tensor<double, 0> weighted(const X& y) {
    X w = empty<double>(y.shape());
    for (long i = 0; i < w.size(); ++i) w.data()[i] = std::cos(static_cast<double>(i));
    return sum(y * w);
}
template <class M>
void load(M& module, const std::string& prefix) {
    nn::for_each_tensor(module, [&](const char* name, nn::Kind, auto& w) {
        const golden::Array& a = stored(prefix + "/" + name);
        INFO(prefix << "/" << name);
        REQUIRE(w.size() == a.size());
        for (long i = 0; i < w.size(); ++i) w.detach().data()[i] = a.reals[static_cast<std::size_t>(i)];
    });
}
template <class M>
void check_gradients(const M& module, const Tensor<double, 2>& x, const std::string& prefix) {
    CHECK(off(x.grad(), prefix + "/d_x") < 1e-9);
    nn::for_each_tensor(module, [&](const char* name, nn::Kind, const auto& w) {
        INFO(prefix << "/" << name);
        if (w.has_grad()) CHECK(off(w.grad(), prefix + "/d_" + name) < 1e-9);
        else
            CHECK(std::all_of(stored(prefix + "/d_" + name).reals.begin(), stored(prefix + "/d_" + name).reals.end(),
                              [](double v) { return v == 0; }));
    });
}
struct NoParameters {
    static void visit(auto&, auto&&) {}
};

Segments batch_of(std::initializer_list<std::int64_t> batch, long graphs) {
    return Segments::from_sorted(from<std::int64_t>(batch), graphs);
}
Segments stored_batch() { return batch_of({0, 0, 0, 0, 1, 1, 1, 1, 1}, 2); }
Graph stored_graph() {
    const golden::Array& a = stored("edges");
    return Graph::from_edges(from<std::int64_t>({2, a.shape[1]}, a.integers.data()), 9);
}
Tensor<double, 2> leaf() {
    Tensor<double, 2> x = reals<2>("x");
    x.require_grad();
    return x;
}
template <class T>
bool near(const Tensor<T, 2>& x, const std::vector<double>& values, double tolerance) {
    REQUIRE(x.size() == static_cast<long>(values.size()));
    for (long i = 0; i < x.size(); ++i)
        if (!(std::abs(static_cast<double>(x.data()[i]) - values[static_cast<std::size_t>(i)]) <= tolerance)) {
            UNSCOPED_INFO("element " << i << ": " << x.data()[i] << " instead of " << values[static_cast<std::size_t>(i)]);
            return false;
        }
    return true;
}

// W_1 x + W_2 (sum over incoming edges of x) + b, as PyTorch Geometric's GraphConv.
template <class T>
struct Convolution {
    nn::Linear<T> lin_rel;
    nn::Linear<T, false> lin_root;
    Convolution(long in, long out, Key key) : lin_rel(in, out, key.split(0)), lin_root(in, out, key.split(1)) {}
    Tensor<T, 2> operator()(const Tensor<T, 2>& x, const Graph& g) const {
        const Tensor<T, 2> sent = index_select<0>(x, contiguous(g.edge_index()(0, all)));
        const Tensor<T, 2> arrived = index_add<0>(zeros<T>({g.nodes(), x.shape(1)}), contiguous(g.edge_index()(1, all)), sent);
        return lin_rel(arrived) + lin_root(x);
    }
    static void visit(auto& self, auto&& f) {
        f("lin_rel", self.lin_rel);
        f("lin_root", self.lin_root);
    }
};

// A layer that takes a context.
using Net = nn::Sequential<nn::Linear<double>, nn::BatchNorm1d<double>>;
struct Noisy {
    Net inner;
    Tensor<double, 2> operator()(const Tensor<double, 2>& x, const Graph&) const { return inner(x); }
    Tensor<double, 2> operator()(const Tensor<double, 2>& x, const Graph&, const nn::Context& context) const { return inner(x, context); }
    static void visit(auto&, auto&&) {}
};

const double five_nodes[] = {-1.5, -1, -.5, 0, .5, 1, 1.5, -1.5, -1, -.5, 0, .5, 1, 1.5, -1.5};
Graph five_graph() { return Graph::from_edges(from<std::int64_t>({2, 6}, {0, 1, 1, 2, 3, 2, 1, 0, 2, 1, 2, 2}), 5); }
}  // namespace

TEMPLATE_TEST_CASE("Set2Set and top-k pooling give the published vectors", "[graph]", float, double) {
    using T = TestType;
    const double tolerance = sizeof(T) == 4 ? 2e-6 : 6e-7;
    const Tensor<T, 2> x = cast<T>(from<double>({5, 3}, five_nodes));
    const Segments batch = batch_of({0, 0, 0, 1, 1}, 2);
    graph::Set2Set<T> set(3, 2, Key{1});
    nn::for_each_tensor(set, [](const char* name, nn::Kind, auto& w) {
        using W = std::remove_cvref_t<decltype(w)>;
        for (long i = 0; i < w.size(); ++i) {
            const long columns = w.shape(-1), r = i / columns, c = i % columns;
            const std::string key = name;
            w.detach().data()[i] = W::rank == 1                 ? T(0)
                                   : key == "lstm.weight_ih_l0" ? static_cast<T>(static_cast<double>((6 * r + c) % 5 - 2) / 10)
                                                                : static_cast<T>(static_cast<double>((3 * r + c) % 7 - 3) / 10);
        }
    });
    CHECK(near(
        Tensor<T, 2>(set(x, batch).detach()),
        {0.033539, 0.016987, -0.004627, 0.046860, -0.666472, -0.166472, -0.014015, -0.034411, -0.017101, 0.235588, 0.735588, -0.480784},
        tolerance));

    graph::TopKPooling<T> top(3, Key{1});
    top.select.weight.detach().copy_from(from<T>({1, 3}, {T(1), T(-1), T(.5)}));
    const Tensor<T, 1> score = top.select.score(x, batch).detach();
    CHECK(near(Tensor<T, 2>(score.template unsqueeze<0>()), {-0.462117, 0, 0.93111, -0.16514, -0.682262}, tolerance));
    const auto pooled = top(x, five_graph(), batch);
    CHECK(list(pooled.perm) == std::vector<std::int64_t>{2, 1, 3});
    CHECK(near(Tensor<T, 2>(pooled.x.detach()), {1.396664, -1.396664, -0.931110, 0, 0, 0, 0.082570, 0, -0.082570}, tolerance));
    CHECK(list(pooled.graph.edge_index()) == std::vector<std::int64_t>{1, 0, 2, 0, 0, 1, 0, 0});
    CHECK(list(pooled.edges) == std::vector<std::int64_t>{2, 3, 4, 5});
    CHECK(list(pooled.batch.pointers()) == std::vector<std::int64_t>{0, 2, 3});
}

TEST_CASE("read-outs are PyTorch Geometric's", "[graph]") {
    const Segments batch = stored_batch();
    {
        auto x = leaf();
        graph::AttentionalAggregation pool{nn::Linear<double>(4, 1, Key{1}), nn::Linear<double>(4, 3, Key{2})};
        load(pool, "attention");
        const auto y = pool(x, batch);
        CHECK(off(y, "attention/y") < 1e-9);
        weighted(y).backward();
        check_gradients(pool, x, "attention");
    }
    {
        auto x = leaf();
        graph::Set2Set<double> pool(4, 3, Key{1});
        load(pool, "set2set");
        const auto y = pool(x, batch);
        CHECK(off(y, "set2set/y") < 1e-9);
        weighted(y).backward();
        check_gradients(pool, x, "set2set");
    }
    auto x = leaf();
    const auto y = graph::sort_pool(x, 5, batch);
    CHECK(off(y, "sort/y") < 1e-9);
    weighted(y).backward();
    check_gradients(NoParameters(), x, "sort");
}

TEST_CASE("top-k and self-attention pooling are PyTorch Geometric's", "[graph]") {
    const Segments batch = stored_batch();
    const Graph g = stored_graph();
    const auto compare = [&](auto& pool, const std::string& key) {
        INFO(key);
        auto x = leaf();
        load(pool, key);
        const auto pooled = pool(x, g, batch);
        CHECK(list(pooled.perm) == whole(key + "/perm"));
        CHECK(list(pooled.graph.edge_index()) == whole(key + "/edges"));
        CHECK(list(pooled.edges) == whole(key + "/taken"));
        CHECK(list(graph::segment_index(pooled.batch)) == whole(key + "/batch"));
        CHECK(off(pooled.x, key + "/y") < 1e-9);
        CHECK(off(pooled.score, key + "/score") < 1e-9);
        Tensor<double, 0>(weighted(pooled.x) + weighted(pooled.score)).backward();
        check_gradients(pool, x, key);
    };
    graph::TopKPooling<double> half(4, Key{1}, {.ratio = 0.5, .multiplier = 2}), three(4, Key{1}, {.count = 3}),
        high(4, Key{1}, {.min_score = 0.2}), seven(4, Key{1}, {.ratio = 0.7, .gate = graph::Gate::sigmoid});
    compare(half, "top_k");
    compare(three, "top_k_count");
    compare(high, "top_k_min");
    compare(seven, "top_k_sigmoid");
    graph::SAGPooling<Convolution<double>, double> sag(Convolution<double>(4, 1, Key{1}), Key{2}, {.ratio = 0.5});
    compare(sag, "sag");
}

TEST_CASE("self-attention pooling as in 2019: the gate of the layer's scores alone", "[graph]") {
    const Segments batch = stored_batch();
    const Graph g = stored_graph();
    const auto x = reals<2>("x");
    const Convolution<double> layer(4, 1, Key{1});
    const Tensor<double, 1> y = layer(x, g).squeeze<1>();
    for (const auto gate : {graph::Gate::tanh, graph::Gate::sigmoid, graph::Gate::none}) {
        const graph::SAGPooling<Convolution<double>, double> pool(layer, Key{2}, {.ratio = 0.5, .gate = gate}, true);
        const auto pooled = pool(x, g, batch);
        CHECK(pooled.x.shape(0) == 5);  // 2 of 4, 3 of 5
        for (long i = 0; i < 5; ++i) {
            const std::int64_t from_node = pooled.perm.data()[i];
            const double v = y.data()[from_node], score = gate == graph::Gate::tanh      ? std::tanh(v)
                                                          : gate == graph::Gate::sigmoid ? 1 / (1 + std::exp(-v))
                                                                                         : v;
            CHECK(std::abs(pooled.score.data()[i] - score) < 1e-14);
            for (long f = 0; f < 4; ++f) CHECK(std::abs(pooled.x.data()[4 * i + f] - x.data()[4 * from_node + f] * score) < 1e-14);
            // Nobody of its graph that is left out has a larger one.
            for (std::int64_t k = from_node < 4 ? 0 : 4; k < (from_node < 4 ? 4 : 9); ++k)
                if (std::count(pooled.perm.data(), pooled.perm.data() + 5, k) == 0) CHECK(y.data()[k] <= v);
        }
        std::string names;
        nn::for_each_tensor(pool, [&](const char* name, nn::Kind, const auto&) { (names += name) += ' '; });
        CHECK(names == "gnn.lin_rel.weight gnn.lin_rel.bias gnn.lin_root.weight ");
    }
}

TEST_CASE("networks inside of read-outs and pooling train: they are handed the context", "[graph]") {
    const auto x = reals<2>("x");
    const nn::Context context{Key{5}};
    const auto net = [](long out) { return Net(nn::Linear<double>(4, out, Key{1}), nn::BatchNorm1d<double>(out)); };
    const auto seen = [](const Net& n) { return n.get<1>().num_batches_tracked.item(); };
    const graph::AttentionalAggregation pool(net(1), net(3));
    const Tensor<double, 2> inference = pool(x, stored_batch());
    CHECK(max(abs(inference - pool(x, nn::Context{Key{5}, false}, stored_batch()))).item() == 0);
    CHECK(seen(pool.gate_nn) == 0);
    const Tensor<double, 2> trained = pool(x, context, stored_batch());
    CHECK((seen(pool.gate_nn) == 1 && seen(pool.nn) == 1));
    CHECK(max(abs(inference - trained)).item() > 1e-3);
    weighted(trained).backward();
    CHECK(max(abs(pool.gate_nn.get<1>().weight.grad())).item() > 0);
    const graph::AttentionalAggregation half{nn::Linear<double>(4, 1, Key{1})};
    CHECK(max(abs(half(x, context) - half(x))).item() == 0);

    const graph::SAGPooling<Noisy, double> sag(Noisy{net(1)}, Key{2});
    static_cast<void>(sag(x, stored_graph(), stored_batch()));
    CHECK(seen(sag.gnn.inner) == 0);
    const auto pooled = sag(x, stored_graph(), context, stored_batch());
    CHECK(seen(sag.gnn.inner) == 1);
    weighted(pooled.x).backward();
    CHECK(max(abs(sag.gnn.inner.get<1>().weight.grad())).item() > 0);
    const graph::SAGPooling<Convolution<double>, double> plain(Convolution<double>(4, 1, Key{1}), Key{2});
    CHECK(max(abs(plain(x, stored_graph(), context).x - plain(x, stored_graph()).x)).item() == 0);
}

TEST_CASE("dropout in edge pooling: raw scores are dropped, each by the probability given", "[graph]") {
    // Two edges into node 2: one of them is contracted, with the larger softmax and a half.
    const Graph g = Graph::from_edges(from<std::int64_t>({2, 2}, {0, 1, 2, 2}), 3);
    const auto x = from<double>({3, 1}, {1, 2.5, 0.5});
    graph::EdgePooling<double> pool(1, Key{1}, {.dropout = 0.4});
    pool.lin.weight.copy_from(from<double>({1, 2}, {0.6, 0.1}));
    pool.lin.bias.fill(0.05);
    const double keep = 1 / 0.6, a = 0.6 + 0.05 + 0.05, b = 1.5 + 0.05 + 0.05;
    const auto larger = [](double u, double v) { return std::max(1 / (1 + std::exp(v - u)), 1 / (1 + std::exp(u - v))) + 0.5; };
    const double values[] = {larger(0, 0), larger(a * keep, 0), larger(0, b * keep), larger(a * keep, b * keep)},
                 shares[] = {0.16, 0.24, 0.24, 0.36};
    const Segments whole;
    const int keys = 4000;
    double times[4] = {};
    for (int k = 0; k < keys; ++k) {
        const nn::Context context{Key{static_cast<std::uint64_t>(k)}};
        const auto pooled = pool(x, g, whole, context);
        const double score = pooled.score.data()[0];
        if (k < 50) {
            CHECK(score == pool(x, g, whole, context).score.data()[0]);
            CHECK(pool(x, g, whole, {context.key, false}).score.data()[0] == pool(x, g).score.data()[0]);
        }
        int which = -1;
        for (int i = 0; i < 4; ++i)
            if (std::abs(score - values[i]) < 1e-13) which = i;
        REQUIRE(which >= 0);
        ++times[which];
    }
    for (int i = 0; i < 4; ++i) CHECK(std::abs(times[i] / keys - shares[i]) < 4.5 * std::sqrt(shares[i] * (1 - shares[i]) / keys));
    CHECK(std::abs(pool(x, g).score.data()[0] - larger(a, b)) < 1e-13);
}

TEST_CASE("DiffPool is PyTorch Geometric's", "[graph]") {
    auto x = leaf();
    auto s = reals<3>("diff/s");
    s.require_grad();
    const auto [dense, mask] = graph::to_dense_batch(x, stored_batch());
    const auto adjacency = graph::to_dense_adj<double>(stored_graph(), stored_batch());
    CHECK(off(dense, "diff/dense") == 0);
    CHECK(off(adjacency, "diff/adjacency") == 0);
    for (long i = 0; i < mask.size(); ++i) CHECK(mask.data()[i] == (whole("diff/mask")[static_cast<std::size_t>(i)] == 1));
    const auto pooled = graph::dense_diff_pool(dense, adjacency, s, mask);
    CHECK(off(pooled.x, "diff/y") < 1e-9);
    CHECK(off(pooled.adjacency, "diff/pooled") < 1e-9);
    CHECK(off(pooled.link_loss, "diff/link") < 1e-9);
    CHECK(off(pooled.entropy_loss, "diff/entropy") < 1e-9);
    Tensor<double, 0>(weighted(pooled.x) + weighted(pooled.adjacency) + pooled.link_loss + pooled.entropy_loss).backward();
    check_gradients(NoParameters(), x, "diff");
    CHECK(off(s.grad(), "diff/d_s") < 1e-9);
}

TEST_CASE("edge pooling is PyTorch Geometric's", "[graph]") {
    auto x = leaf();
    graph::EdgePooling<double> pool(4, Key{1});
    load(pool, "edge");
    const auto pooled = pool(x, stored_graph(), stored_batch());
    const auto back = pool.unpool(pooled.x, pooled);
    CHECK(off(pooled.x, "edge/y") < 1e-9);
    CHECK(off(back, "edge/back") < 1e-9);
    CHECK(list(pooled.graph.edge_index()) == whole("edge/edges"));
    CHECK(list(graph::segment_index(pooled.batch)) == whole("edge/batch"));
    CHECK(list(pooled.cluster) == whole("edge/cluster"));
    Tensor<double, 0>(weighted(pooled.x) + weighted(back)).backward();
    check_gradients(pool, x, "edge");
}

TEST_CASE("norms and jumping knowledge are PyTorch Geometric's", "[graph]") {
    const Segments batch = stored_batch();
    {
        auto x = leaf();
        graph::GraphNorm<double> norm(4);
        load(norm, "graph_norm");
        const auto y = norm(x, batch);
        CHECK(off(y, "graph_norm/y") < 1e-9);
        weighted(y).backward();
        check_gradients(norm, x, "graph_norm");
    }
    for (const bool own : {false, true}) {
        const std::string key = own ? "pair_norm_own" : "pair_norm";
        auto x = leaf();
        const auto y = graph::pair_norm(x, batch, {.scale = 1.5, .scale_individually = own});
        CHECK(off(y, key + "/y") < 1e-9);
        weighted(y).backward();
        check_gradients(NoParameters(), x, key);
    }
    for (const auto mode : {graph::JumpMode::cat, graph::JumpMode::maximum, graph::JumpMode::lstm}) {
        const std::string key = mode == graph::JumpMode::cat ? "jump_cat" : mode == graph::JumpMode::maximum ? "jump_max" : "jump_lstm";
        auto x = leaf();
        graph::JumpingKnowledge<double> jump =
            mode == graph::JumpMode::lstm ? graph::JumpingKnowledge<double>(4, 3, Key{1}) : graph::JumpingKnowledge<double>(mode);
        load(jump, key);
        const auto y = jump({x, Tensor<double, 2>(x * x), Tensor<double, 2>(0.1 - x)});
        CHECK(off(y, key + "/y") < 1e-9);
        weighted(y).backward();
        check_gradients(jump, x, key);
    }
}

TEST_CASE("gradients of pooling layers are those of differences", "[graph]") {
    const Graph g = stored_graph();
    const Segments batch = stored_batch();
    const auto x = reals<2>("x");
    testing::gradcheck([&](const auto& v) { return graph::global_add_pool(v, batch); }, x);
    testing::gradcheck([&](const auto& v) { return graph::global_mean_pool(v, batch); }, x);
    testing::gradcheck({.kinks = true}, [&](const auto& v) { return graph::global_max_pool(v, batch); }, x);
    testing::gradcheck({.kinks = true}, [&](const auto& v) { return graph::sort_pool(v, 3, batch); }, x);
    graph::TopKPooling<double> top(4, Key{3});
    testing::gradcheck({.kinks = true}, [&](const auto& v, const auto& w) {
        graph::TopKPooling<double> own = top;
        own.select.weight = w;
        return own(v, g, batch).x;
    }, x, clone(top.select.weight));
    const auto scores = randn<double>({2, 5, 3}, Key{4});
    testing::gradcheck([&](const auto& v, const auto& s) {
        const auto [dense, mask] = graph::to_dense_batch(v, batch);
        const auto pooled = graph::dense_diff_pool(dense, graph::to_dense_adj<double>(g, batch), s, mask);
        return concat<0>({Tensor<double, 1>(pooled.x.reshape({-1})), Tensor<double, 1>(pooled.adjacency.reshape({-1})),
                          Tensor<double, 1>(pooled.link_loss.reshape({1})), Tensor<double, 1>(pooled.entropy_loss.reshape({1}))});
    }, x, scores);
    testing::gradcheck([&](const auto& w) { return graph::to_dense_adj(g, batch, -1, w); }, randn<double>({15}, Key{5}));
    const auto cluster = from<std::int64_t>({4, 4, 9, 0, 7, 7, 7, 8, 8});
    testing::gradcheck({.kinks = true}, [&](const auto& v) { return graph::max_pool(cluster, v, g, batch).x; }, x);
    testing::gradcheck([&](const auto& v) { return graph::avg_pool(cluster, v, g, batch).x; }, x);
    testing::gradcheck([&](const auto& v) { return graph::GraphNorm<double>(4)(v, batch); }, x);
    testing::gradcheck([&](const auto& v) { return graph::pair_norm(v, batch); }, x);
}

TEST_CASE("pooling: two graphs batched are two graphs, in whatever order their nodes come", "[graph]") {
    const auto x = reals<2>("x");
    const Segments batch = stored_batch();
    const Tensor<double, 2> a = contiguous(x(slice(0, 4), all)), b = contiguous(x(slice(4, 9), all));
    graph::Set2Set<double> set(4, 3, Key{1});
    graph::AttentionalAggregation attention{nn::Linear<double>(4, 1, Key{1})};
    const graph::GraphNorm<double> norm(4);
    const auto separately = [&](auto&& f) {
        return Tensor<double, 2>(concat<0>({Tensor<double, 2>(f(a, Segments())), Tensor<double, 2>(f(b, Segments()))}));
    };
    // Nodes in another order, and their batch vector with them.
    const auto order = from<std::int64_t>({6, 2, 8, 0, 4, 1, 7, 3, 5});
    const Tensor<double, 2> mixed = index_select<0>(x, order);
    const Segments mixed_batch = Segments::from_indices(index_select<0>(graph::segment_index(batch), order), 2);
    CHECK(list(graph::segment_index(mixed_batch)) == list(index_select<0>(graph::segment_index(batch), order)));
    const auto same = [&](auto&& f, bool per_node) {
        const Tensor<double, 2> together = f(x, batch), apart = separately(f), shuffled = f(mixed, mixed_batch);
        CHECK(max(abs(together - apart)).item() == 0);
        const Tensor<double, 2> wanted = per_node ? Tensor<double, 2>(index_select<0>(together, order)) : together;
        CHECK(max(abs(shuffled - wanted)).item() < 1e-13);
    };
    same([](const auto& v, const Segments& s) { return graph::global_add_pool(v, s); }, false);
    same([](const auto& v, const Segments& s) { return graph::global_mean_pool(v, s); }, false);
    same([](const auto& v, const Segments& s) { return graph::global_max_pool(v, s); }, false);
    same([&](const auto& v, const Segments& s) { return attention(v, s); }, false);
    same([](const auto& v, const Segments& s) { return graph::sort_pool(v, 5, s); }, false);
    same([](const auto& v, const Segments& s) { return graph::pair_norm(v, s); }, true);
    same([&](const auto& v, const Segments& s) { return norm(v, s); }, true);
    CHECK(max(abs(set(x, batch) - separately(set))).item() < 1e-15);  // a product of two rows sums in another order than one of one
    CHECK(max(abs(set(mixed, mixed_batch) - set(x, batch))).item() < 1e-13);
}

TEST_CASE("graclus matches neighbours, each at most once", "[graph]") {
    // A path with a heavy edge in the middle: with weights it is always matched when one of its ends comes first.
    const auto path = Graph::from_edges(from<std::int64_t>({2, 6}, {0, 1, 1, 2, 2, 3, 1, 0, 2, 1, 3, 2}), 6);
    const auto weight = from<double>({1, 1, 5, 5, 1, 1});
    long heavy = 0;
    for (std::uint64_t k = 0; k < 100; ++k) {
        for (const bool weighted_edges : {false, true}) {
            const auto c = list(weighted_edges ? graph::graclus(path, Key{k}, weight) : graph::graclus(path, Key{k}));
            REQUIRE(c.size() == 6);
            for (std::size_t i = 0; i < 6; ++i) {
                REQUIRE(c[static_cast<std::size_t>(c[i])] == c[i]);
                REQUIRE(std::count(c.begin(), c.end(), c[i]) <= 2);
                if (c[i] != static_cast<std::int64_t>(i)) REQUIRE(c[i] + 1 == static_cast<std::int64_t>(i));
            }
            REQUIRE((c[4] == 4 && c[5] == 5));
            // Maximal: no edge is left between two single nodes.
            for (std::size_t i = 0; i < 3; ++i)
                REQUIRE(!(std::count(c.begin(), c.end(), c[i]) == 1 && std::count(c.begin(), c.end(), c[i + 1]) == 1));
            if (weighted_edges) heavy += c[1] == c[2];
        }
    }
    CHECK(heavy > 30);
    CHECK(heavy < 80);
}

TEST_CASE("pooling by clusters", "[graph]") {
    const auto x = reals<2>("x");
    const auto cluster = from<std::int64_t>({40, 40, 90, 5, 70, 70, 70, 80, 80});
    const auto pooled = graph::max_pool(cluster, x, stored_graph(), stored_batch());
    CHECK(list(pooled.clusters.of_node) == std::vector<std::int64_t>{1, 1, 4, 0, 2, 2, 2, 3, 3});
    CHECK(list(pooled.clusters.first) == std::vector<std::int64_t>{3, 0, 4, 7, 2});
    // 3 -> 2, 3 -> 0, 1 <-> 2, 7 -> 6, 4 -> 7, between the clusters.
    CHECK(list(pooled.graph.edge_index()) == std::vector<std::int64_t>{0, 0, 1, 2, 3, 4, 1, 4, 4, 3, 2, 1});
    CHECK(list(graph::segment_index(pooled.batch)) == std::vector<std::int64_t>{0, 0, 1, 1, 0});
    const auto ones_per_edge = ones<double>({15});
    const auto counted = segment_sum(index_select<0>(ones_per_edge, pooled.edges.taken), pooled.edges.edges);
    CHECK(sum(counted).item() == 6);
    for (long c = 0; c < 5; ++c)
        for (long f = 0; f < 4; ++f) {
            double most = -1e9;
            for (long i = 0; i < 9; ++i)
                if (pooled.clusters.of_node.data()[i] == c) most = std::max(most, x.data()[i * 4 + f]);
            CHECK(pooled.x.data()[c * 4 + f] == most);
        }
}

TEST_CASE("voxels", "[graph]") {
    const auto pos = from<double>({6, 2}, {0, 0, .9, .9, 1, 0, 2.5, 1.1, 0, 2, 3, 3});
    // Four columns and four rows from (0, 0) to (3, 3).
    CHECK(list(graph::voxel_grid(pos, {1})) == std::vector<std::int64_t>{0, 0, 1, 6, 8, 15});
    CHECK(list(graph::voxel_grid(pos, {1, 2})) == std::vector<std::int64_t>{0, 0, 1, 2, 4, 7});
    CHECK(list(graph::voxel_grid(pos, {1}, batch_of({0, 0, 0, 1, 1, 1}, 2))) == std::vector<std::int64_t>{0, 0, 1, 22, 24, 31});
    CHECK(list(graph::voxel_grid(pos, {1}, {}, {.start = {-1}, .end = {1, 1}})) == std::vector<std::int64_t>{4, 4, 5, 8, 7, 8});
    CHECK(graph::voxel_grid(zeros<float>({0, 3}), {1}).size() == 0);
    CHECK_THROWS_WITH(graph::voxel_grid(pos, {0}), Catch::Contains("voxel_grid: size is 0, expected more than 0"));
    CHECK_THROWS_WITH(graph::voxel_grid(pos, {1, 1, 1}), Catch::Contains("voxel_grid: size has 3 numbers for 2 dimensions"));
}

TEST_CASE("pooling: no nodes, one node, graphs without nodes", "[graph]") {
    const auto none = zeros<float>({0, 4}), one = ones<float>({1, 4});
    const Graph empty_graph = Graph::from_edges(zeros<std::int64_t>({2, 0}), 0), single = Graph::from_edges(zeros<std::int64_t>({2, 0}), 1);
    CHECK(graph::global_max_pool(none).shape(0) == 1);
    CHECK(sum(abs(graph::global_mean_pool(none))).item() == 0);
    graph::TopKPooling<float> top(4, Key{1});
    CHECK(top(none, empty_graph).x.shape(0) == 0);
    CHECK(top(one, single).x.shape(0) == 1);
    graph::Set2Set<float> set(4, 2, Key{1});
    const auto y = set(one, Segments::from_pointers(from<std::int64_t>({0, 0, 1})));
    CHECK(y.shape(0) == 2);
    CHECK(sum(abs(y(0, slice(4, 8)))).item() == 0);
    CHECK(graph::sort_pool(one, 3).shape(1) == 12);
    CHECK(graph::graclus(empty_graph, Key{1}).size() == 0);
    graph::EdgePooling<float> contract(4, Key{1});
    CHECK(contract(one, single).x.shape(0) == 1);
}

TEST_CASE("pooling: errors", "[graph]") {
    const auto x = zeros<float>({9, 4});
    const Graph g = stored_graph();
    CHECK_THROWS_WITH(graph::global_add_pool(x, batch_of({0, 1}, 2)),
                      Catch::Contains("global_add_pool: float[9, 4] on cpu has 9 rows, but the batch is of 2"));
    CHECK_THROWS_WITH(graph::TopKPooling<float>(4, Key{1}, {.ratio = 1.5}), Catch::Contains("SelectTopK: ratio is 1.5"));
    CHECK_THROWS_WITH(graph::TopKPooling<float>(3, Key{1})(x, g), Catch::Contains("expected 3 channels"));
    CHECK_THROWS_WITH(graph::TopKPooling<float>(4, Key{1})(zeros<float>({8, 4}), g), Catch::Contains("for a graph of 9 nodes"));
    CHECK_THROWS_WITH(graph::sort_pool(x, 0), Catch::Contains("sort_pool: k is 0"));
    CHECK_THROWS_WITH(graph::to_dense_batch(x, stored_batch(), 3), Catch::Contains("a graph has 5 nodes, but there is room for 3"));
    CHECK_THROWS_WITH(graph::to_dense_adj<float>(g, batch_of({0, 0, 0, 0, 0, 0, 1, 1, 1}, 2)),
                      Catch::Contains("to_dense_adj: edge 8 goes from graph 0 to graph 1"));
    CHECK_THROWS_WITH(graph::JumpingKnowledge<float>()({}), Catch::Contains("JumpingKnowledge: no layers came"));
}
