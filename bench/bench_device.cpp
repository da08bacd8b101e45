// What a training program does, on the CPU or on a GPU: fused formulas and their gradients, reductions, rows, sorts, products,
// the optimiser, a small network's step, sums and attention over a graph. Bandwidths are compared with a copy in the same run; times bear the names of
// torch_cuda.py.
//
// Usage: bench_device [--device cpu|cuda] [--tiny]
#include "on_device.hpp"
#include "rmat.hpp"

#include <tenon/graph/conv/gat.hpp>
#include <tenon/graph/edges.hpp>
#include <tenon/ops/matmul_half.hpp>
#include <tenon/runtime/graph.hpp>
#include <tenon/runtime/precision.hpp>

#include <string>
#include <vector>

using namespace tenon;
using bench::Clock;

namespace {

class Cases {
public:
    explicit Cases(const Clock& clock) : clock_(clock), options_(clock.options()) {}

    // f moves at least so many bytes.
    template <class F>
    void moves(const std::string& name, double bytes, F&& f) const {
        const double seconds = clock_.best(f);
        bench::print_bandwidth(options_, name.c_str(), bytes, seconds, bench::copy_seconds(clock_, static_cast<std::size_t>(bytes)));
        bench::print(options_, name.c_str(), "us", 1e6 * seconds);
    }
    template <class F>
    void computes(const std::string& name, double operations, F&& f) const {
        bench::print(options_, name.c_str(), "GF/s", 1e-9 * operations / clock_.best(f));
    }
    template <class F>
    void takes(const std::string& name, F&& f) const { bench::print(options_, name.c_str(), "us", 1e6 * clock_.best(f)); }

    Device device() const { return options_.device; }
    bool tiny() const { return options_.tiny; }

private:
    const Clock& clock_;
    const bench::Options& options_;
};

void formulas(const Cases& c) {
    const long rows = c.tiny() ? 16 : 16384, columns = c.tiny() ? 64 : 4096, n = rows * columns;
    const double bytes = 4 * static_cast<double>(n);
    const auto x = randn<float>({rows, columns}, Key{1}, c.device()).require_grad(), w = randn<float>({rows, columns}, Key{2}, c.device()).require_grad(),
               b = randn<float>({rows, columns}, Key{3}, c.device()).require_grad();
    const auto dy = randn<float>({rows, columns}, Key{4}, c.device());
    const auto row = randn<float>({columns}, Key{5}, c.device()).require_grad(), scale = randn<float>({columns}, Key{6}, c.device()).require_grad();
    const auto clear = [&] { x.zero_grad(), w.zero_grad(), b.zero_grad(), row.zero_grad(), scale.zero_grad(); };
    const auto quietly = [](auto f) {
        return [f] {
            const no_grad guard;
            f();
        };
    };
    c.moves("silu(x*w+b) forward", 4 * bytes, quietly([&] { const Tensor<float, 2> y = silu(x * w + b); }));
    // Backward reads x, w, b and the gradient, which is copied first, and writes three.
    c.moves("silu(x*w+b) forward+backward", (4 + 2 + 7) * bytes, [&] {
        const Tensor<float, 2> y = silu(x * w + b);
        y.backward(dy);
        clear();
    });
    c.moves("x*scale+row forward+backward, rows broadcast", (2 + 2 + 3) * bytes, [&] {
        const Tensor<float, 2> y = x * scale + row;
        y.backward(dy);
        clear();
    });
    c.moves("sum", bytes, quietly([&] { const auto s = sum(x); }));
    c.moves("sum over axis 0", bytes, quietly([&] { const auto s = sum<0>(x); }));
    c.moves("sum over axis 1", bytes, quietly([&] { const auto s = sum<1>(x); }));
    c.moves("mean(square(x-w)) forward+backward", (2 + 4) * bytes, [&] {
        mean(square(x - w)).backward();
        clear();
    });
    c.moves("softmax over axis 1", 2 * bytes, quietly([&] { const auto y = softmax<-1>(x); }));
    c.moves("softmax over axis 1 forward+backward", (2 + 2 + 3) * bytes, [&] {
        softmax<-1>(x).backward(dy);
        clear();
    });
    c.moves("layer_norm over axis 1", 2 * bytes, quietly([&] { const auto y = layer_norm<1>(x); }));
    c.moves("transposed copy", 2 * bytes, quietly([&] { const auto y = clone(x.transpose<0, 1>()); }));
    c.moves("cumsum over axis 1", 2 * bytes, quietly([&] { const auto y = cumsum<1>(x); }));
    const auto labels = integers({rows}, Key{7}, 0, columns, c.device());
    c.moves("cross_entropy forward+backward", (1 + 2) * bytes, [&] {
        cross_entropy(x, labels).backward();
        clear();
    });
    const auto indices = integers({rows}, Key{8}, 0, rows, c.device());
    c.moves("embedding", 2 * bytes, quietly([&] { const auto y = embedding(x, indices); }));
}
void sorting(const Cases& c) {
    const long n = c.tiny() ? 3000 : 1l << 24;
    const auto x = randn<float>({n}, Key{1}, c.device());
    c.takes("sort 16M float", [&] { const auto y = sort<0>(x); });
    c.takes("top 1000 of 16M", [&] { const auto y = topk<0>(x, c.tiny() ? 10 : 1000); });
}
template <class T>
void product(const Cases& c, const std::string& name, long m, long n, long k) {
    const no_grad guard;
    const Tensor<T, 2> a = cast<T>(randn<float>({m, k}, Key{1}, c.device())), b = cast<T>(randn<float>({k, n}, Key{2}, c.device()));
    c.computes(name, 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k), [&] { const Tensor<T, 2> y = matmul(a, b); });
}
void products(const Cases& c) {
    for (const long size : c.tiny() ? std::vector<long>{16} : std::vector<long>{512, 2048, 8192}) {
        const std::string shape = " " + std::to_string(size) + "x" + std::to_string(size) + "x" + std::to_string(size);
        product<float>(c, "gemm float" + shape, size, size, size);
        allow_tf32(true);
        product<float>(c, "gemm tf32" + shape, size, size, size);
        allow_tf32(false);
        product<bf16>(c, "gemm bf16" + shape, size, size, size);
    }
}
void optimisers(const Cases& c) {
    const long n = c.tiny() ? 4096 : 1l << 26;
    const auto p = randn<float>({n}, Key{1}, c.device()).require_grad();
    auto optimizer = optim::adam(p);
    p.backward(ones<float>({n}, c.device()));
    c.moves("adam 64M parameters", 28 * static_cast<double>(n), [&] { optimizer.step({.keep_gradients = true}); });
}

struct Mlp {
    nn::Linear<float> first, second, third;
    Mlp(long in, long a, long b, Key key) : first(in, a, key.split(0)), second(a, b, key.split(1)), third(b, 10, key.split(2)) {}
    Tensor<float, 2> operator()(const Tensor<float, 2>& x) const { return third(relu(second(relu(first(x))))); }
    static void visit(auto& self, auto&& f) { f("first", self.first), f("second", self.second), f("third", self.third); }
};
void network(const Cases& c) {
    const long batch = c.tiny() ? 8 : 128, in = c.tiny() ? 24 : 784;
    const auto x = randn<float>({batch, in}, Key{1}, c.device());
    const auto y = integers({batch}, Key{2}, 0, 10, c.device());
    const auto run = [&](const std::string& name, bool captured) {
        Mlp net = to(Mlp(in, 256, 128, Key{42}), c.device());
        auto optimizer = optim::adam(net, {.lr = 1e-3});
        const auto step = [&] {
            const Tensor<float, 0> loss = cross_entropy(net(x), y);
            loss.backward();
            optimizer.step();
            return loss;
        };
        if (captured) {
            runtime::Graph graph(c.device(), step);
            c.takes(name, [&] { graph.replay(); });
        } else {
            c.takes(name, step);
        }
    };
    run("mlp 784-256-128-10 b128 adam step", false);
    run("mlp 784-256-128-10 b128 adam step in a graph", true);
}

// Over a graph that no cache holds: 2^20 nodes, 2^24 edges (on the CPU fewer).
void graphs(const Cases& c) {
    const int scale = c.tiny() ? 6 : c.device().is_cpu() ? 16 : 20;
    const graph::Graph g = graph::Graph::from_edges(rmat::edges(scale), 1l << scale).to(c.device());
    static_cast<void>(g.out());
    const std::string on = "rmat" + std::to_string(scale) + " ";
    const double nodes = static_cast<double>(g.nodes()), edges = static_cast<double>(g.edges());
    const auto w = uniform<float>({g.edges()}, Key{1}, {0, 1}, c.device());
    for (const long f : {16l, 64l, 128l}) {
        const auto x = randn<float>({g.nodes(), f}, Key{2}, c.device()).require_grad(), dy = randn<float>({g.nodes(), f}, Key{3}, c.device());
        const std::string size = " F" + std::to_string(f);
        // A neighbour's row, its number and a weight for each edge; the result once.
        const double row = 4 * static_cast<double>(f), bytes = edges * (row + 8) + nodes * row;
        c.moves(on + "spmm" + size, bytes, [&] {
            const no_grad guard;
            const Tensor<float, 2> y = graph::aggregate<graph::sum>(g, x, w);
        });
        c.moves(on + "spmm forward+backward" + size, 2 * bytes, [&] {
            graph::aggregate<graph::sum>(g, x, w).backward(dy);
            x.zero_grad();
        });
        if (f == 128) continue;  // messages and their gradients would fill the memory
        c.takes(on + "gather, scatter forward+backward" + size, [&] {
            const Tensor<float, 2> m = graph::gather_sources(g, x) * w.reshape({g.edges(), 1});
            Tensor<float, 2>(graph::aggregate_edges(graph::sum, g, m)).backward(dy);
            x.zero_grad();
        });
        const graph::GATConv<float> gat = to(graph::GATConv<float>(f, f / 8, Key{5}, {.heads = 8, .add_self_loops = false}), c.device());
        c.takes(on + "gat of 8 heads forward" + size, [&] {
            const no_grad guard;
            const Tensor<float, 2> y = gat(x, g);
        });
        c.takes(on + "gat of 8 heads forward+backward" + size, [&] {
            Tensor<float, 2>(gat(x, g)).backward(dy);
            x.zero_grad();
        });
    }
}

}  // namespace

int main(int count, char** arguments) {
    const bench::Options options = bench::parse(count, arguments);
    const Clock clock(options);
    const Cases cases(clock);
    formulas(cases);
    sorting(cases);
    products(cases);
    optimisers(cases);
    network(cases);
    graphs(cases);
}
