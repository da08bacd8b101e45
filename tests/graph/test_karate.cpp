// Zachary's karate club (1977): four groups found from one known member each. Its 34 nodes are too few for more than three in four to
// be right on average, as they are with any correct build.
#include <tenon/graph/conv/gcn.hpp>
#include <tenon/tenon.hpp>

#include <catch2/catch.hpp>

#include <vector>

using namespace tenon;
using graph::Graph;

namespace {

// Of every member those with larger numbers that it is linked with.
const std::vector<std::vector<std::int64_t>> linked = {{1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 17, 19, 21, 31},
                                                       {2, 3, 7, 13, 17, 19, 21, 30},
                                                       {3, 7, 8, 9, 13, 27, 28, 32},
                                                       {7, 12, 13},
                                                       {6, 10},
                                                       {6, 10, 16},
                                                       {16},
                                                       {},
                                                       {30, 32, 33},
                                                       {33},
                                                       {},
                                                       {},
                                                       {},
                                                       {33},
                                                       {32, 33},
                                                       {32, 33},
                                                       {},
                                                       {},
                                                       {32, 33},
                                                       {33},
                                                       {32, 33},
                                                       {},
                                                       {32, 33},
                                                       {25, 27, 29, 32, 33},
                                                       {25, 27, 31},
                                                       {31},
                                                       {29, 33},
                                                       {33},
                                                       {31, 33},
                                                       {32, 33},
                                                       {32, 33},
                                                       {32, 33},
                                                       {33}};
const std::int64_t groups[34] = {1, 1, 1, 1, 3, 3, 3, 1, 0, 1, 3, 1, 1, 1, 0, 0, 3, 1, 0, 1, 0, 1, 0, 0, 2, 2, 0, 0, 2, 0, 0, 2, 0, 0};

Graph club() {
    std::vector<std::int64_t> source, target;
    for (std::size_t i = 0; i < linked.size(); ++i)
        for (const std::int64_t j : linked[i]) {
            const std::int64_t own = static_cast<std::int64_t>(i);
            source.push_back(own), target.push_back(j);
            source.push_back(j), target.push_back(own);
        }
    source.insert(source.end(), target.begin(), target.end());
    return Graph::from_edges(from<std::int64_t>({2, static_cast<long>(target.size())}, source.data()), 34);
}

struct Net {
    graph::GCNConv<> first, second;
    explicit Net(Key key) : first(34, 16, key.split(0)), second(16, 4, key.split(1)) {}
    Tensor<float, 2> operator()(const Tensor<float, 2>& x, const Graph& g, const nn::Context& context) const {
        const Tensor<float, 2> h = relu(first(x, g));
        return second(context.training ? Tensor<float, 2>(dropout(h, 0.5, context.key)) : h, g);
    }
    static void visit(auto& self, auto&& f) {
        f("first", self.first);
        f("second", self.second);
    }
};

double accuracy(Key key, const Graph& g) {
    const Tensor<float, 2> x = eye<float>(34);
    const auto known = from<std::int64_t>({8, 0, 24, 4}), labels = from<std::int64_t>({0, 1, 2, 3});  // the first member of each group
    Net net(key.split(0));
    auto optimiser = optim::adam(net, {.lr = 0.01, .weight_decay = 5e-4});
    for (std::uint64_t epoch = 0; epoch < 200; ++epoch) {
        const Tensor<float, 2> y = net(x, g, nn::Context{key.split(1).split(epoch)});
        cross_entropy(Tensor<float, 2>(index_select<0>(y, known)), labels).backward();
        optimiser.step();
    }
    const no_grad unrecorded;
    const auto found = argmax<1>(net(x, g, nn::Context{key, false}));
    long right = 0;
    for (long i = 0; i < 34; ++i) right += found.data()[i] == groups[i] ? 1 : 0;
    return static_cast<double>(right) / 34;
}

}  // namespace

TEST_CASE("the karate club falls into its groups", "[graph]") {
    const Graph g = club();
    REQUIRE(g.edges() == 156);
    double total = 0;
    for (std::uint64_t run = 0; run < 20; ++run) total += accuracy(Key{run}, g);
    INFO("mean accuracy of 20 runs: " << total / 20);
    CHECK(total / 20 >= 0.75);
    CHECK(total / 20 <= 0.85);
    // The same key, the same result.
    CHECK(accuracy(Key{3}, g) == accuracy(Key{3}, g));
}
