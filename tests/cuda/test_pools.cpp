// Pooling, read-outs and normalisation over the nodes of graphs on the device against the CPU, and a step of training there.
#include "device_agreement.hpp"

#include <tenon/graph/batch.hpp>
#include <tenon/graph/conv/gcn.hpp>
#include <tenon/graph/conv/graph_conv.hpp>
#include <tenon/graph/jumping_knowledge.hpp>
#include <tenon/graph/norm.hpp>
#include <tenon/graph/pool/attention.hpp>
#include <tenon/graph/pool/cluster.hpp>
#include <tenon/graph/pool/diff_pool.hpp>
#include <tenon/graph/pool/edge_pool.hpp>
#include <tenon/graph/pool/global.hpp>
#include <tenon/graph/pool/graclus.hpp>
#include <tenon/graph/pool/sag.hpp>
#include <tenon/graph/pool/set2set.hpp>
#include <tenon/graph/pool/sort.hpp>
#include <tenon/graph/pool/top_k.hpp>
#include <tenon/graph/pool/voxel.hpp>
#include <tenon/tenon.hpp>

using namespace tenon;
using namespace device_agreement;

namespace {

using X = Tensor<float, 2>;

graph::Graph some_graph() {
    return graph::Graph::from_edges(from<std::int64_t>({2, 10}, {0, 1, 5, 6, 8, 7, 3, 2, 4, 1, 1, 2, 6, 7, 8, 5, 0, 3, 8, 0}), 9);
}
Segments in_a_row() { return Segments::from_pointers(from<std::int64_t>({0, 4, 4, 9})); }
Segments mixed() { return Segments::from_indices(from<std::int64_t>({2, 0, 2, 1, 1, 0, 2, 2, 0}), 3); }

// f(module, x) on both devices: values, and the gradients of x and of the module's parameters.
template <class M, class F>
void check_module(const char* name, const M& module, const X& x, F f) {
    INFO(name);
    const auto run = [&](Device device) {
        const M own = to(module, device);
        const X leaf = leaf_on(device, x);
        const auto y = impl::as_tensor(f(own, leaf, device));
        add_gradients(y);
        return std::tuple{y.detach(), leaf, own};
    };
    const auto [y, dx, there] = run(gpu);
    const auto [y0, dx0, here] = run(cpu);
    check_close(y, y0);
    check_close(dx.grad(), dx0.grad());
    std::vector<Tensor<float, 1>> gradients;
    const auto each_gradient = [](const auto& of, auto&& use) {
        nn::for_each_tensor(of, [&](const char* parameter, nn::Kind, const auto& w) {
            if constexpr (Floating<typename std::remove_cvref_t<decltype(w)>::Scalar>)
                if (w.has_value() && w.has_grad()) use(parameter, contiguous(w.grad()).reshape({w.size()}));
        });
    };
    each_gradient(here, [&](const char*, const auto& g) { gradients.push_back(g); });
    std::size_t at = 0;
    each_gradient(there, [&](const char* parameter, const auto& g) {
        INFO(parameter);
        REQUIRE(at < gradients.size());
        check_close(g, gradients[at++]);
    });
    CHECK(at == gradients.size());
}

}  // namespace

TEST_CASE("pooling on the device", "[cuda]") {
    const auto x = fiftieths<float>({9, 4});
    const graph::Graph g = some_graph();
    for (const Segments& s : {in_a_row(), mixed()}) {
        const Segments there = s.to(gpu);
        CHECK(same(graph::segment_index(there), graph::segment_index(s)));
        const auto both = [&](auto f) {
            return gradient_difference(x, [&](const auto& v) { return f(v, v.device().is_cpu() ? s : there); });
        };
        CHECK(both([](const auto& v, const Segments& b) { return graph::sort_pool(v, 3, b); }) <= rounding<float>);
        CHECK(both([](const auto& v, const Segments& b) { return graph::pair_norm(v, b); }) <= 8 * rounding<float>);
        CHECK(both([](const auto& v, const Segments& b) { return graph::to_dense_batch(v, b).x; }) <= rounding<float>);
        CHECK(both([](const auto& v, const Segments& b) { return graph::global_mean_pool(v, b); }) <= rounding<float>);
        CHECK(both([](const auto& v, const Segments& b) { return graph::global_max_pool(v, b); }) <= rounding<float>);
        const graph::TopKPooling<float> top(4, Key{2}), top_there = to(top, gpu);
        const auto here = top(x, g, s), over_there = top_there(x.to(gpu), g.to(gpu), there);
        CHECK(same(over_there.perm, here.perm));
        CHECK(same(over_there.edges, here.edges));
        CHECK(same(over_there.graph.edge_index(), here.graph.edge_index()));
        CHECK(both([&](const auto& v, const Segments& b) {
                  return v.device().is_cpu() ? top(v, g, b).x : top_there(v, g.to(gpu), b).x;
              }) <= 8 * rounding<float>);
    }
    CHECK(same(graph::to_dense_adj<float>(g.to(gpu)), graph::to_dense_adj<float>(g)));
}

TEST_CASE("pooling layers and read-outs on the device, with their parameters", "[cuda]") {
    const auto x = fiftieths<float>({9, 4});
    const graph::Graph g = some_graph(), g_there = g.to(gpu);
    const auto graph_on = [&](Device d) { return d.is_cpu() ? g : g_there; };
    for (const Segments& s : {in_a_row(), mixed()}) {
        const Segments there = s.to(gpu);
        const auto batch_on = [&](Device d) { return d.is_cpu() ? s : there; };
        check_module("Set2Set", graph::Set2Set<float>(4, 3, Key{3}), x, [&](const auto& m, const X& v, Device d) { return m(v, batch_on(d)); });
        graph::GraphNorm<float> norm(4);
        norm.mean_scale = Tensor<float, 1>(norm.mean_scale.detach() * 0.7f).require_grad();
        check_module("GraphNorm", norm, x, [&](const auto& m, const X& v, Device d) { return m(v, batch_on(d)); });
        check_module("AttentionalAggregation",
                     graph::AttentionalAggregation<nn::Linear<float>, nn::Linear<float>>(nn::Linear<float>(4, 1, Key{4}), nn::Linear<float>(4, 3, Key{5})), x,
                     [&](const auto& m, const X& v, Device d) { return m(v, batch_on(d)); });
        check_module("SAGPooling", graph::SAGPooling<graph::GraphConv<float>>(graph::GraphConv<float>(4, 1, Key{6}), Key{7}), x,
                     [&](const auto& m, const X& v, Device d) { return m(v, graph_on(d), batch_on(d)).x; });
        graph::TopKOptions by_score;
        by_score.min_score = 0.3;
        check_module("TopKPooling by score", graph::TopKPooling<float>(4, Key{8}, by_score), x,
                     [&](const auto& m, const X& v, Device d) { return m(v, graph_on(d), batch_on(d)).x; });
    }
    const graph::EdgePooling<float> edges(4, Key{9});
    check_module("EdgePooling", edges, x, [&](const auto& m, const X& v, Device d) {
        const auto pooled = m(v, graph_on(d));
        return X(m.unpool(pooled.x, pooled));
    });
    const auto here = edges(x, g), there = to(edges, gpu)(x.to(gpu), g_there);
    CHECK(same(there.cluster, here.cluster));
    CHECK(same(there.graph.edge_index(), here.graph.edge_index()));
}

TEST_CASE("DiffPool on the device", "[cuda]") {
    const auto x = fiftieths<float>({9, 4});
    const graph::Graph g = graph::Graph::from_edges(from<std::int64_t>({2, 7}, {0, 1, 5, 6, 8, 7, 3, 1, 2, 6, 7, 8, 5, 0}), 9);
    const Segments batch = in_a_row();
    const auto run = [&](const nn::Linear<float>& scores, const X& v, Device d) {
        const auto [dense, mask] = graph::to_dense_batch(v, batch.to(d));
        const Tensor<float, 3> adjacency = graph::to_dense_adj<float>(g.to(d), batch.to(d));
        const auto pooled = graph::dense_diff_pool(dense, adjacency, Tensor<float, 3>(scores(dense)), mask);
        const long graphs = pooled.x.shape(0), clusters = pooled.x.shape(1);
        const Tensor<float, 3> all_of = concat<2>(pooled.x, pooled.adjacency);
        return X(all_of.reshape({graphs, clusters * all_of.shape(2)}) + pooled.link_loss + pooled.entropy_loss);
    };
    check_module("dense_diff_pool", nn::Linear<float>(4, 3, Key{3}), x, run);
}

TEST_CASE("clusters on the device", "[cuda]") {
    const auto x = fiftieths<float>({9, 4}), pos = fiftieths<float>({9, 2}, 3);
    const graph::Graph g = some_graph();
    for (const Segments& s : {Segments(), in_a_row()}) {
        const Segments there = s.pointers().has_value() ? s.to(gpu) : Segments();
        const auto boxes = graph::voxel_grid(pos, {1.0}, s), boxes_there = graph::voxel_grid(pos.to(gpu), {1.0}, there);
        CHECK(same(boxes_there, boxes));
        const auto check_pool = [&](auto pool) {
            CHECK(gradient_difference(x, [&](const X& v) { return pool(v, v.device().is_cpu()).x; }) <= 8 * rounding<float>);
            const auto here = pool(x, true), over_there = pool(x.to(gpu), false);
            CHECK(difference(over_there.x, here.x) <= 8 * rounding<float>);
            CHECK(same(over_there.graph.edge_index(), here.graph.edge_index()));
            CHECK(same(over_there.batch.pointers(), here.batch.pointers()));
        };
        check_pool([&](const X& v, bool on_host) {
            return on_host ? graph::avg_pool(boxes, v, g, s) : graph::avg_pool(boxes_there, v, g.to(gpu), there);
        });
        check_pool([&](const X& v, bool on_host) {
            return on_host ? graph::max_pool(boxes, v, g, s) : graph::max_pool(boxes_there, v, g.to(gpu), there);
        });
    }
    const auto w = fiftieths<float>({g.edges()}, 2);
    CHECK(same(graph::graclus<float>(g.to(gpu), Key{4}, w.to(gpu)), graph::graclus<float>(g, Key{4}, w)));
}

TEST_CASE("jumping knowledge on the device", "[cuda]") {
    const auto x = fiftieths<float>({9, 4});
    const auto layers_of = [](const X& v) { return std::vector<X>{v, X(v * 0.5f), X(tanh(v))}; };
    check_module("cat", graph::JumpingKnowledge<float>(graph::JumpMode::cat), x, [&](const auto& m, const X& v, Device) { return m(layers_of(v)); });
    check_module("maximum", graph::JumpingKnowledge<float>(graph::JumpMode::maximum), x, [&](const auto& m, const X& v, Device) { return m(layers_of(v)); });
    check_module("lstm", graph::JumpingKnowledge<float>(4, 3, Key{5}), x, [&](const auto& m, const X& v, Device) { return m(layers_of(v)); });
}

namespace {

struct Classifier {
    graph::GCNConv<float> conv;
    nn::Linear<float> out;

    explicit Classifier(Key key) : conv(4, 8, key.split(0)), out(8, 2, key.split(1)) {}
    X operator()(const X& x, const graph::Graph& g, const Segments& batch) const {
        return out(graph::global_add_pool(X(relu(conv(x, g))), batch));
    }
    static void visit(auto& self, auto&& f) {
        f("conv", self.conv);
        f("out", self.out);
    }
};

}  // namespace

TEST_CASE("a batch of graphs trains on the device as on the CPU", "[cuda]") {
    std::vector<graph::GraphData<>> graphs;
    for (long k = 0; k < 4; ++k) {
        graph::GraphData<> data;
        data.nodes = 3 + k;
        data.x = fiftieths<float>({3 + k, 4}, k);
        const auto index = empty<std::int64_t>({2, 2 + k});
        for (long e = 0; e < 2 + k; ++e) index.data()[e] = e, index.data()[2 + k + e] = (e * 2 + 1) % (3 + k);
        data.edge_index = index;
        data.graph_y = from<std::int64_t>({1}, {static_cast<std::int64_t>(k % 2)});
        graphs.push_back(data);
    }
    const graph::GraphSet set = graph::GraphSet::of(graphs);
    const auto train = [&](Device device) {
        Classifier net = to(Classifier(Key{1}), device);
        auto optimizer = optim::adam(net, {.lr = 1e-2});
        std::vector<float> losses;
        for (int step = 0; step < 3; ++step) {
            const graph::GraphSet batch = set.batch({step % 4, (step + 1) % 4, 3}).to(device);
            const Segments of_nodes = Segments::from_pointers(batch.pointers);
            const Tensor<float, 0> loss = cross_entropy(net(batch.data.x, batch.graph, of_nodes), batch.data.graph_y);
            loss.backward();
            optimizer.step();
            losses.push_back(loss.item());
        }
        return losses;
    };
    const std::vector<float> here = train(cpu), there = train(gpu);
    for (std::size_t i = 0; i < here.size(); ++i) CHECK(std::abs(there[i] - here[i]) <= 2e-5f * (1 + std::abs(here[i])));
}
