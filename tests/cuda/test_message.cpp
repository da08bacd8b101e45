// Sums over the edges of graphs on the device against the CPU, with targets and sources of very many edges.
#include "device_agreement.hpp"

#include <tenon/graph/attention.hpp>
#include <tenon/graph/basis.hpp>
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

// Every way of sharing out columns: neighbouring ones, every 32nd, one each; tiles that begin within a head.
TEMPLATE_TEST_CASE("sums and attention of odd widths, with long rows and empty ones", "", float, double, half) {
    using T = TestType;
    const Graph g = hubs(40, 150, 530), there = g.to(gpu);
    for (const auto& [heads, width] : {std::pair{1l, 1l}, {1l, 3l}, {1l, 7l}, {1l, 16l}, {1l, 33l}, {1l, 100l}, {1l, 129l}, {3l, 1l},
                                       {40l, 1l}, {11l, 3l}, {5l, 7l}, {2l, 8l}, {3l, 12l}, {7l, 33l}}) {
        CAPTURE(heads, width);
        const auto h = device_agreement::eighths<T>({40, heads, width}, 1);
        const auto w = device_agreement::eighths<T>({g.edges(), heads}, 2);
        const auto s = device_agreement::eighths<T>({40, heads}, 3), t = device_agreement::eighths<T>({40, heads}, 4);
        // Sums of eighths' products are exact, those of 16 bits, too, which are added in float.
        CHECK(device_agreement::same(graph::aggregate<graph::sum>(there, h.to(gpu), w.to(gpu)), graph::aggregate<graph::sum>(g, h, w)));
        CHECK(device_agreement::same(graph::aggregate<graph::sum>(there, h.to(gpu)), graph::aggregate<graph::sum>(g, h)));
        const auto on_graph = [&](Device d) { return d.is_cpu() ? g : there; };
        device_agreement::agree([&](Device d, const auto& a, const auto& b) { return graph::aggregate<graph::mean>(on_graph(d), a, b); }, h, w);
        device_agreement::agree(
            [&](Device d, const auto& a, const auto& b, const auto& c) { return graph::gat_aggregate(on_graph(d), a, b, c); }, h, s, t);
    }
}

TEST_CASE("rows of a table that lies one element off are no vectors") {
    const Graph g = hubs(40, 150, 30), there = g.to(gpu);
    const auto all_of = device_agreement::eighths<float>({40 * 16 + 1}, 1);
    const auto off = [&](Device d) { return Tensor<float, 1>(all_of.to(d)(slice(1, 641))).reshape({40, 16}); };
    CHECK(device_agreement::same(graph::aggregate<graph::sum>(there, off(gpu)), graph::aggregate<graph::sum>(g, off(cpu))));
}

TEST_CASE("rows of sums of bases on the device, of odd sizes") {
    for (const auto& [kinds, rows, edges, bases, width] :
         {std::tuple{1l, 1l, 0l, 1l, 1l}, {1l, 2l, 5l, 1l, 3l}, {3l, 7l, 40l, 9l, 1l}, {46l, 30l, 700l, 30l, 17l}, {2l, 3l, 900l, 5l, 33l}}) {
        CAPTURE(kinds, rows, edges, bases, width);
        const auto index = empty<std::int64_t>({2, edges});
        for (long e = 0; e < edges; ++e) index.data()[e] = e * e % 101 % kinds, index.data()[edges + e] = (e * 37 + 5) % 211 % rows;
        const Graph g = Graph::bipartite(index, kinds, rows), there = g.to(gpu);
        const auto run = [&](Device d, const auto& weight, const auto& table) { return graph::basis_rows(d.is_cpu() ? g : there, weight, table); };
        device_agreement::agree(1e-11, run, device_agreement::fiftieths<double>({kinds, bases}), device_agreement::fiftieths<double>({bases, rows, width}, 2));
        // Sums of eighths' products are exact.
        device_agreement::agree(0.0, run, device_agreement::eighths<float>({kinds, bases}, 1), device_agreement::eighths<float>({bases, rows, width}, 2));
    }
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
