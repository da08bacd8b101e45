// Graph operations and training steps: what a fused sum over neighbours costs beside messages written out, attention, and whole
// steps of GCN and GAT on a graph of Cora's size. bench/graph_torch.py is the peer: it draws the same R-MAT graph.
//   bench_graph [--threads n] [--filter text] [--scale n]     2^scale nodes and 16 edges for each; 18
#include "copying.hpp"
#include "peak_memory.hpp"
#include "rmat.hpp"
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

bool chosen(const std::string& name) { return name.find(filter) != std::string::npos; }

// bytes: what must be read and written at least, to compare with copying as much; 0: not compared.
template <class F>
void measure(const std::string& name, F&& f, double bytes = 0) {
    if (!chosen(name)) return;
    const double time = timing::seconds(f, 0.7);
    std::printf("{\"case\": \"%s\", \"unit\": \"us\", \"value\": %.6g, \"lib\": \"ours\", \"threads\": %d, \"isa\": \"%s\"}\n", name.c_str(), 1e6 * time, num_threads(),
                tenon::name(isa()));
    std::fflush(stdout);
    if (bytes == 0) return;
    static copying::Copy copy;
    copying::print(name, bytes, time, timing::seconds([&] { copy(bytes); }, 0.3));
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
    static constexpr double dropped = 0.5;
    graph::GCNConv<float> conv1{Cora::words, 16, Key{1}}, conv2{16, Cora::classes, Key{2}};
    template <class X>
    Tensor<float, 2> operator()(const X& x, const Graph& g, Key key) const {
        const Tensor<float, 2> h = relu(conv1(x, g));
        return conv2(dropout(h, dropped, key), g);
    }
    static void visit(auto& self, auto&& f) { f("conv1", self.conv1), f("conv2", self.conv2); }
};
struct Gat {
    static constexpr double dropped = 0.6;
    graph::GATConv<float> conv1{Cora::words, 8, Key{1}, {.heads = 8, .dropout = dropped}}, conv2{64, Cora::classes, Key{2}, {.concat = false, .dropout = dropped}};
    template <class X>
    Tensor<float, 2> operator()(const X& x, const Graph& g, Key key) const {
        const nn::Context context{key};
        const Tensor<float, 2> h = elu(conv1(x, g, context));
        return conv2(dropout(h, dropped, key.split(1)), g, context);
    }
    static void visit(auto& self, auto&& f) { f("conv1", self.conv1), f("conv2", self.conv2); }
};

template <class Net, class X, class Prepare>
void measure_step(const std::string& name, const Cora& cora, const X& x, Prepare prepare) {
    Net net;
    auto optimiser = optim::adam(net, {.lr = 0.01, .weight_decay = 5e-4});
    std::uint64_t step = 0;
    const auto labels = Tensor<std::int64_t, 1>(index_select<0>(cora.labels, cora.train));
    measure(name, [&] {
        const Key key = Key{3}.split(step++);
        cross_entropy(Tensor<float, 2>(index_select<0>(net(prepare(x, key.split(9)), cora.g, key), cora.train)), labels).backward();
        optimiser.step();
    });
}
// A training step without and with dropout of X, which is sparse, or dense as the peer has it.
template <class Net>
void measure_steps(const std::string& name, const Cora& cora) {
    const auto same = [](const auto& x, Key) { return x; };
    const auto dense = cora.x.to_dense();
    measure_step<Net>(name + "/sparse_x", cora, cora.x, same);
    measure_step<Net>(name + "/dense_x", cora, dense, same);
    measure_step<Net>(name + "/sparse_x/dropout", cora, cora.x, [](const Csr<float>& x, Key key) { return x.with_values(dropout(x.values(), Net::dropped, key)); });
    measure_step<Net>(name + "/dense_x/dropout", cora, dense, [](const Tensor<float, 2>& x, Key key) { return dropout(x, Net::dropped, key); });
}

// Eight heads of f / 8 channels; on the graph as it is.
struct Attention {
    graph::GATConv<float> layer;
    Tensor<float, 2> x, dy;

    Attention(const Graph& g, long f) : layer(f, f / 8, Key{5}, {.heads = 8, .add_self_loops = false}), x(randn<float>({g.nodes(), f}, Key{2}).require_grad()), dy(randn<float>({g.nodes(), f}, Key{3})) {}
    void fused(const Graph& g) const {
        x.zero_grad();
        Tensor<float, 2>(layer(x, g)).backward(dy);
    }
    // As messages of all edges.
    void materialised(const Graph& g) const {
        const long heads = 8, width = x.shape(1) / heads;
        const Tensor<float, 3> h = Tensor<float, 2>(layer.lin(x)).reshape({g.nodes(), heads, width});
        const Tensor<float, 2> s = tenon::sum<-1>(h * layer.att_src), t = tenon::sum<-1>(h * layer.att_dst);
        const Tensor<float, 2> score = leaky_relu(graph::gather_sources(g, s) + graph::gather_targets(g, t), 0.2f), alpha = graph::edge_softmax(g, score);
        const Tensor<float, 3> m = alpha.reshape({g.edges(), heads, 1}) * graph::gather_sources(g, h);
        const Tensor<float, 2> y = Tensor<float, 3>(graph::aggregate_edges(graph::sum, g, m)).reshape({g.nodes(), heads * width}) + layer.bias;
        y.backward(dy);
    }
};

void measure_peak(const std::string& name, const Graph& g, long f) {
    if (!chosen(name)) return;
    const double fused = 1e-6 * peak_memory::of([&] { Attention(g, f).fused(g); });
    const double materialised = 1e-6 * peak_memory::of([&] { Attention(g, f).materialised(g); });
    std::printf("{\"case\": \"%s\", \"unit\": \"MB\", \"value\": %.4g, \"lib\": \"ours\", \"threads\": %d, \"isa\": \"%s\"}\n", name.c_str(), fused, num_threads(), tenon::name(isa()));
    std::printf("{\"case\": \"%s\", \"unit\": \"MB\", \"ours\": %.4g, \"peer\": \"materialised\", \"peer_value\": %.4g, \"ratio\": %.3f, \"threads\": %d, \"isa\": \"%s\"}\n", name.c_str(), fused,
                materialised, materialised / fused, num_threads(), tenon::name(isa()));
    std::fflush(stdout);
}

void measure_sums(const std::string& on, const Graph& g, long f) {
    const auto w = uniform<float>({g.edges()}, Key{1}, {0, 1});
    const auto x = randn<float>({g.nodes(), f}, Key{2}), dy = randn<float>({g.nodes(), f}, Key{3});
    const auto leaf = clone(x).require_grad();
    const std::string size = "/F" + std::to_string(f);
    // Every neighbour's row once for each edge, what says which it is, and weights; the result once.
    const double row = 4. * static_cast<double>(f), edges = static_cast<double>(g.edges()), nodes = static_cast<double>(g.nodes());
    const double once = edges * (row + 4) + nodes * row, weighted = once + 4 * edges;
    {
        const no_grad inference;
        measure(on + "spmm" + size, [&] { static_cast<void>(graph::aggregate<graph::sum>(g, x, w)); }, weighted);
        measure(on + "spmm_max" + size, [&] { static_cast<void>(graph::aggregate<graph::max>(g, x)); }, once);
        measure(on + "gather_scatter" + size, [&] {
            const Tensor<float, 2> m = graph::gather_sources(g, x) * w.reshape({g.edges(), 1});
            static_cast<void>(graph::aggregate_edges(graph::sum, g, m));
        });
    }
    measure(on + "spmm_forward_backward" + size, [&] {
        leaf.zero_grad();
        graph::aggregate<graph::sum>(g, leaf, w).backward(dy);
    }, 2 * weighted);
    measure(on + "gather_scatter_forward_backward" + size, [&] {
        leaf.zero_grad();
        const Tensor<float, 2> m = graph::gather_sources(g, leaf) * w.reshape({g.edges(), 1});
        Tensor<float, 2>(graph::aggregate_edges(graph::sum, g, m)).backward(dy);
    });
    const auto difference = [](auto h, auto e) { return e * relu(h.source - h.target); };
    {
        const no_grad inference;
        measure(on + "message" + size, [&] { static_cast<void>(graph::aggregate<graph::sum>(g, difference, graph::node(x), graph::edge(w))); }, weighted + nodes * row);
    }
    measure(on + "message_forward_backward" + size, [&] {
        leaf.zero_grad();
        graph::aggregate<graph::sum>(g, difference, graph::node(leaf), graph::edge(w)).backward(dy);
    });
    if (f > 64) return;  // messages and their gradients would fill the memory
    {
        const no_grad inference;
        measure(on + "message_parts" + size, [&] {
            const Tensor<float, 2> m = w.reshape({g.edges(), 1}) * relu(graph::gather_sources(g, x) - graph::gather_targets(g, x));
            static_cast<void>(graph::aggregate_edges(graph::sum, g, m));
        });
    }
    measure(on + "message_parts_forward_backward" + size, [&] {
        leaf.zero_grad();
        const Tensor<float, 2> m = w.reshape({g.edges(), 1}) * relu(graph::gather_sources(g, leaf) - graph::gather_targets(g, leaf));
        Tensor<float, 2>(graph::aggregate_edges(graph::sum, g, m)).backward(dy);
    });
}

}  // namespace

int main(int argc, char** argv) {
    if (const char* wish = std::getenv("TENON_BENCH_FILTER")) filter = wish;
    int threads = num_threads(), scale = 18;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (std::strcmp(argv[i], "--threads") == 0) threads = std::atoi(argv[i + 1]);
        if (std::strcmp(argv[i], "--filter") == 0) filter = argv[i + 1];
        if (std::strcmp(argv[i], "--scale") == 0) scale = std::atoi(argv[i + 1]);
    }
    if (filter.find("rmat") == std::string::npos) {
        set_num_threads(threads);
        const Cora cora;
        measure_steps<Gcn>("graph/gcn_cora_step", cora);
        measure_steps<Gat>("graph/gat_cora_step", cora);
        if (filter.find("cora") != std::string::npos) return 0;
    }
    set_num_threads(1);  // until memory is measured, by children: threads stay behind
    const std::string on = "graph/rmat" + std::to_string(scale) + "/";
    const Graph g = Graph::from_edges(rmat::edges(scale), 1l << scale);
    static_cast<void>(g.out());
    for (const long f : {16l, 64l}) measure_peak(on + "gat_peak/F" + std::to_string(f), g, f);
    set_num_threads(threads);
    for (const long f : {16l, 64l}) {
        // Forward a neighbour's row and its scores; backward a row of the gradient, and the target's score, maximum, sum and product.
        const double nodes = static_cast<double>(g.nodes()), edges = static_cast<double>(g.edges()), row = 4. * static_cast<double>(f), heads = 4 * 8;
        const double bytes = edges * (2 * (row + 4) + 5 * heads) + nodes * 8 * row;
        const std::string size = "/F" + std::to_string(f);
        const Attention attention(g, f);
        measure(on + "gat_forward_backward" + size, [&] { attention.fused(g); }, bytes);
        // Without the layer's products: what the bytes are counted for.
        const auto h = randn<float>({g.nodes(), 8, f / 8}, Key{6}).require_grad(), dy = randn<float>({g.nodes(), 8, f / 8}, Key{7});
        const auto s = randn<float>({g.nodes(), 8}, Key{8}).require_grad(), t = randn<float>({g.nodes(), 8}, Key{9}).require_grad();
        measure(on + "gat_aggregate_forward_backward" + size, [&] {
            h.zero_grad(), s.zero_grad(), t.zero_grad();
            graph::gat_aggregate(g, h, s, t).backward(dy);
        }, bytes);
    }
    for (const long f : {16l, 64l, 128l}) measure_sums(on, g, f);
}
