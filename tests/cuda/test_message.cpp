// Sums over the edges of graphs on the device against the CPU, with targets and sources of very many edges.
#include "device_agreement.hpp"

#include <tenon/graph/attention.hpp>
#include <tenon/graph/message.hpp>

using namespace tenon;
using graph::Graph;

namespace {

const Device gpu = cuda(0);

// `hub` edges into node 3, as many out of node 5, others between; nodes without any.
Graph hubs(long nodes, long edges, long hub) {
    const auto index = empty<std::int64_t>({2, edges + 2 * hub});
    unsigned state = 7;
    const auto random = [&](long n) { return static_cast<std::int64_t>((state = state * 1664525u + 1013904223u) >> 8) % n; };
    for (long k = 0; k < edges + 2 * hub; ++k) {
        index.data()[k] = k >= edges + hub ? 5 : random(nodes - 1);
        index.data()[edges + 2 * hub + k] = k >= edges && k < edges + hub ? 3 : random(nodes - 2);
    }
    return Graph::from_edges(index, nodes);
}

template <class T, int R>
Tensor<T, R> on(Device device, const Tensor<T, R>& x) { return clone(x).to(device).require_grad(); }
template <class A, class B>
void close(const A& found, const B& wanted, double bound) {
    const double d = device_agreement::difference(found, wanted);
    CHECK(d <= bound);
}

// f(g, x, w) and its gradients on both devices, twice to the same bits.
template <class F, int R>
void check(const Graph& g, const Tensor<double, R>& x, const Tensor<double, 1>& w, F f) {
    const Graph there = g.to(gpu);
    const auto x0 = on(cpu, x);
    const auto w0 = on(cpu, w);
    const Tensor<double, R> wanted = f(g, x0, w0);
    const auto dy = device_agreement::fiftieths<double>({wanted.shape(0), wanted.shape(1)}, 5);
    wanted.backward(dy);
    for (int repeat = 0; repeat < 2; ++repeat) {
        const auto x1 = on(gpu, x);
        const auto w1 = on(gpu, w);
        const Tensor<double, R> y = f(there, x1, w1);
        y.backward(dy.to(gpu));
        close(y.detach(), wanted.detach(), 1e-10);
        close(x1.grad(), x0.grad(), 1e-9);
        close(w1.grad(), w0.grad(), 1e-9);
    }
}

}  // namespace

TEST_CASE("weighted sums and extremes over rows of ten thousand edges") {
    for (const auto& [edges, hub] : {std::pair{300l, 10000l}, {40l, 513l}, {700l, 512l}, {5l, 0l}}) {
        CAPTURE(edges, hub);
        const Graph g = hubs(60, edges, hub);
        const auto x = device_agreement::fiftieths<double>({60, 7});
        const auto w = device_agreement::fiftieths<double>({g.edges()}, 2);
        check(g, x, w, [](const Graph& of, const auto& a, const auto& b) { return graph::aggregate<graph::sum>(of, a, b); });
        check(g, x, w, [](const Graph& of, const auto& a, const auto& b) { return graph::aggregate<graph::mean>(of, a, b); });
        check(g, x, w, [](const Graph& of, const auto& a, const auto& b) { return graph::aggregate<graph::max>(of, a, b); });
    }
}

TEST_CASE("a row of ten thousand edges is added up in the order of the CPU") {
    const Graph g = hubs(60, 300, 10000);
    const auto x = device_agreement::fiftieths<float>({60, 1});
    const auto ones_of = full<float>({g.edges()}, 1.f);
    CHECK(device_agreement::same(graph::aggregate<graph::sum>(g.to(gpu), x.to(gpu), ones_of.to(gpu)),
                                 graph::aggregate<graph::sum>(g, x, ones_of)));
}

TEST_CASE("attention with targets and sources of ten thousand edges") {
    const Graph g = hubs(60, 300, 10000), there = g.to(gpu);
    const auto h = device_agreement::fiftieths<double>({60, 2, 3});
    const auto s = device_agreement::fiftieths<double>({60, 2}, 2), t = device_agreement::fiftieths<double>({60, 2}, 3);
    const auto run = [&](const Graph& of, Device device) {
        const auto a = on(device, h);
        const auto b = on(device, s), c = on(device, t);
        const Tensor<double, 3> y = graph::gat_aggregate(of, a, b, c);
        y.backward(device_agreement::fiftieths<double>({60, 2, 3}, 4).to(device));
        return std::tuple{y.detach(), a.grad(), b.grad(), c.grad()};
    };
    const auto [y, dh, ds, dt] = run(g, cpu);
    const auto [y1, dh1, ds1, dt1] = run(there, gpu);
    close(y1, y, 1e-11);
    close(dh1, dh, 1e-10);
    close(ds1, ds, 1e-9);
    close(dt1, dt, 1e-9);
}

TEST_CASE("messages that are formulas") {
    for (const auto& [edges, hub] : {std::pair{300l, 10000l}, {200l, 0l}}) {
        CAPTURE(edges, hub);
        const Graph g = hubs(40, edges, hub);
        const auto x = device_agreement::fiftieths<double>({40, 5});
        const auto w = Tensor<double, 1>(abs(device_agreement::fiftieths<double>({g.edges()}, 2)) + 0.5);
        const auto all_of = [&]<graph::Aggregation How>(std::integral_constant<graph::Aggregation, How>) {
            check(g, x, w, [](const Graph& of, const auto& a, const auto& b) {
                return graph::aggregate<How>(of, [](auto n, auto e) { return e * (n.source - n.target); }, graph::node(a), graph::edge(b));
            });
        };
        all_of(std::integral_constant<graph::Aggregation, graph::mean>());
        all_of(std::integral_constant<graph::Aggregation, graph::max>());
        all_of(std::integral_constant<graph::Aggregation, graph::std_dev>());
        all_of(std::integral_constant<graph::Aggregation, graph::softmax_sum>());
        if (hub == 0) all_of(std::integral_constant<graph::Aggregation, graph::product>());
    }
}
