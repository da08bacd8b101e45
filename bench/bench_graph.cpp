// Graph operations and training steps: what a fused sum over neighbours costs beside messages written out, and whole steps of GCN
// and GAT on a graph of Cora's size. bench/graph_torch.py is the peer.
//   bench_graph [--threads n] [--filter text]
#include "timing.hpp"

#include <tenon/graph/conv/gat.hpp>
#include <tenon/graph/conv/gcn.hpp>
#include <tenon/graph/message.hpp>
#include <tenon/tenon.hpp>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <utility>
#include <vector>

using namespace tenon;
using graph::Graph;

namespace {

std::string filter;

template <class F>
void measure(const std::string& name, F&& f) {
    if (name.find(filter) == std::string::npos) return;
    std::printf("{\"case\": \"%s\", \"unit\": \"us\", \"value\": %.6g, \"lib\": \"ours\", \"threads\": %d, \"isa\": \"%s\"}\n", name.c_str(), 1e6 * timing::seconds(f, 1.0),
                num_threads(), tenon::name(isa()));
    std::fflush(stdout);
}

Graph graph_of(const std::vector<std::pair<long, long>>& edges, long nodes) {
    const long count = static_cast<long>(edges.size());
    const auto index = empty<std::int64_t>({2, count});
    for (long e = 0; e < count; ++e) {
        index.data()[e] = edges[static_cast<std::size_t>(e)].first;
        index.data()[count + e] = edges[static_cast<std::size_t>(e)].second;
    }
    return Graph::from_edges(index, nodes);
}

// R-MAT (Chakrabarti et al. 2004) with the parameters of Graph 500: a few nodes have most edges.
Graph rmat(int scale, long count) {
    std::mt19937_64 random(1);
    std::vector<std::pair<long, long>> edges;
    for (long e = 0; e < count; ++e) {
        long a = 0, b = 0;
        for (int bit = 0; bit < scale; ++bit) {
            const double u = static_cast<double>(random() >> 11) * 0x1p-53;
            a = 2 * a + (u >= 0.76 ? 1 : 0);
            b = 2 * b + ((u >= 0.57 && u < 0.76) || u >= 0.95 ? 1 : 0);
        }
        edges.emplace_back(a, b);
    }
    return graph_of(edges, 1l << scale);
}

struct Cora {
    static constexpr long nodes = 2708, words = 1433, classes = 7, links = 5278, filled = 49216;
    Graph g;
    Csr<float> x;
    Tensor<std::int64_t, 1> labels = integers({nodes}, Key{4}, 0, classes), train = arange<std::int64_t>(140);

    Cora() {
        std::mt19937_64 random(2);
        std::vector<std::pair<long, long>> edges;
        for (long k = 0; k < links; ++k) {
            const long a = static_cast<long>(random() % nodes), b = static_cast<long>(random() % nodes);
            edges.emplace_back(a, b);
            edges.emplace_back(b, a);
        }
        g = graph_of(edges, nodes);
        const auto pointers = zeros<std::int64_t>({nodes + 1}), columns = empty<std::int64_t>({filled});
        for (long i = 0; i < nodes; ++i) pointers.data()[i + 1] = (i + 1) * filled / nodes;
        const auto values = empty<float>({filled});
        for (long i = 0, k = 0; i < nodes; ++i)
            for (const long row = static_cast<long>(pointers.data()[i + 1] - pointers.data()[i]); k < pointers.data()[i + 1]; ++k) {
                columns.data()[k] = static_cast<long>(random() % words);
                values.data()[k] = 1.f / static_cast<float>(row);
            }
        x = Csr<float>::from_pointers(pointers, columns, values, words);
    }
};

struct Gcn {
    graph::GCNConv<float> conv1{Cora::words, 16, Key{1}}, conv2{16, Cora::classes, Key{2}};
    template <class X>
    Tensor<float, 2> operator()(const X& x, const Graph& g, Key key) const {
        const Tensor<float, 2> h = relu(conv1(x, g));
        return conv2(dropout(h, 0.5, key), g);
    }
    static void visit(auto& self, auto&& f) { f("conv1", self.conv1), f("conv2", self.conv2); }
};
struct Gat {
    graph::GATConv<float> conv1{Cora::words, 8, Key{1}, {.heads = 8, .dropout = 0.6}}, conv2{64, Cora::classes, Key{2}, {.concat = false, .dropout = 0.6}};
    template <class X>
    Tensor<float, 2> operator()(const X& x, const Graph& g, Key key) const {
        const nn::Context context{key};
        const Tensor<float, 2> h = elu(conv1(x, g, context));
        return conv2(dropout(h, 0.6, key.split(1)), g, context);
    }
    static void visit(auto& self, auto&& f) { f("conv1", self.conv1), f("conv2", self.conv2); }
};

template <class Net, class X, class Prepare>
void measure_step(const std::string& name, const Cora& cora, const X& x, double decay, Prepare prepare) {
    Net net;
    auto optimiser = optim::adam(net, {.lr = 0.01, .weight_decay = decay});
    std::uint64_t step = 0;
    const auto labels = Tensor<std::int64_t, 1>(index_select<0>(cora.labels, cora.train));
    measure(name, [&] {
        const Key key = Key{3}.split(step++);
        cross_entropy(Tensor<float, 2>(index_select<0>(net(prepare(x, key.split(9)), cora.g, key), cora.train)), labels).backward();
        optimiser.step();
    });
}

}  // namespace

int main(int argc, char** argv) {
    for (int i = 1; i + 1 < argc; i += 2) {
        if (std::strcmp(argv[i], "--threads") == 0) set_num_threads(std::atoi(argv[i + 1]));
        if (std::strcmp(argv[i], "--filter") == 0) filter = argv[i + 1];
    }
    const Cora cora;
    const auto same = [](const auto& x, Key) { return x; };
    measure_step<Gcn>("graph/gcn_cora_step/sparse_x", cora, cora.x, 5e-4, same);
    measure_step<Gcn>("graph/gcn_cora_step/dense_x", cora, cora.x.to_dense(), 5e-4, same);
    measure_step<Gat>("graph/gat_cora_step/sparse_x", cora, cora.x, 5e-4, [](const Csr<float>& x, Key key) { return x.with_values(dropout(x.values(), 0.6, key)); });
    measure_step<Gat>("graph/gat_cora_step/dense_x", cora, cora.x.to_dense(), 5e-4, [](const Tensor<float, 2>& x, Key key) { return dropout(x, 0.6, key); });

    const Graph g = rmat(15, 1l << 19);
    static_cast<void>(g.out());
    const auto w = uniform<float>({g.edges()}, Key{1}, {0, 1});
    for (const long f : {16l, 64l, 128l}) {
        const auto x = randn<float>({g.nodes(), f}, Key{2});
        const std::string size = "/F" + std::to_string(f);
        {
            const no_grad inference;
            measure("graph/spmm" + size, [&] { static_cast<void>(graph::aggregate<graph::sum>(g, x, w)); });
            measure("graph/spmm_max" + size, [&] { static_cast<void>(graph::aggregate<graph::max>(g, x)); });
            measure("graph/gather_scatter" + size, [&] {
                const Tensor<float, 2> m = graph::gather_sources(g, x) * w.reshape({g.edges(), 1});
                static_cast<void>(graph::aggregate_edges(graph::sum, g, m));
            });
        }
        const auto leaf = clone(x).require_grad(), dy = randn<float>({g.nodes(), f}, Key{3});
        measure("graph/spmm_forward_backward" + size, [&] {
            leaf.zero_grad();
            graph::aggregate<graph::sum>(g, leaf, w).backward(dy);
        });
        const auto difference = [](auto h, auto e) { return e * relu(h.source - h.target); };
        measure("graph/message_forward_backward" + size, [&] {
            leaf.zero_grad();
            graph::aggregate<graph::sum>(g, difference, graph::node(leaf), graph::edge(w)).backward(dy);
        });
        {
            const no_grad inference;
            measure("graph/message" + size, [&] { static_cast<void>(graph::aggregate<graph::sum>(g, difference, graph::node(x), graph::edge(w))); });
            measure("graph/message_parts" + size, [&] {
                const Tensor<float, 2> m = w.reshape({g.edges(), 1}) * relu(graph::gather_sources(g, x) - graph::gather_targets(g, x));
                static_cast<void>(graph::aggregate_edges(graph::sum, g, m));
            });
        }
        measure("graph/message_parts_forward_backward" + size, [&] {
            leaf.zero_grad();
            const Tensor<float, 2> m = w.reshape({g.edges(), 1}) * relu(graph::gather_sources(g, leaf) - graph::gather_targets(g, leaf));
            Tensor<float, 2>(graph::aggregate_edges(graph::sum, g, m)).backward(dy);
        });
        measure("graph/gather_scatter_forward_backward" + size, [&] {
            leaf.zero_grad();
            const Tensor<float, 2> m = graph::gather_sources(g, leaf) * w.reshape({g.edges(), 1});
            Tensor<float, 2>(graph::aggregate_edges(graph::sum, g, m)).backward(dy);
        });
    }
}
