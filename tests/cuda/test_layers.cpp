// Every convolution on the device against the CPU: results, and the gradients of x and of the parameters.
#include "../graph/every_layer.hpp"

#include <catch2/catch.hpp>

#include <cmath>

using namespace every_layer;

namespace {

// Within some roundings of the largest number there.
void check_close(const Numbers& found, const Numbers& wanted) {
    INFO(wanted.name);
    REQUIRE(found.name == wanted.name);
    REQUIRE(found.values.size() == wanted.values.size());
    double largest = 1, worst = 0;
    for (std::size_t i = 0; i < wanted.values.size(); ++i) {
        const double off = std::abs(static_cast<double>(found.values[i]) - static_cast<double>(wanted.values[i]));
        largest = std::max(largest, std::abs(static_cast<double>(wanted.values[i])));
        worst = off <= worst ? worst : off;  // NaN, too
    }
    CHECK(worst <= 4e-6 * largest);
}
void check(const Layers& layers) {
    const std::vector<Input> graphs = {make(24, some_edges(24, 90, Key{1}), Key{2}), make(3, {}, Key{3})};
    for (const Layer& layer : layers)
        for (const Input& i : graphs) {
            INFO(layer.name << ", " << i.g.edges() << " edges");
            const std::vector<Numbers> here = layer.gradients(i, cpu), there = layer.gradients(i, cuda());
            REQUIRE(there.size() == here.size());
            for (std::size_t k = 0; k < here.size(); ++k) check_close(there[k], here[k]);
            // There is something to compare.
            CHECK((i.g.edges() == 0 || here.size() >= 2));
        }
    // Once the graph has what is kept with it nothing goes through the host: a call can be captured.
    for (const Layer& layer : layers) {
        INFO(layer.name);
        const std::vector<Numbers> results = layer.captured(graphs[0]);
        CHECK(results[0].values == results[1].values);
    }
}

}  // namespace

TEST_CASE("layers on the device: products with the adjacency matrix", "[cuda]") {
    Layers layers;
    add_products(layers, Key{11});
    check(layers);
}
TEST_CASE("layers on the device: attention", "[cuda]") {
    Layers layers;
    add_attention(layers, Key{11});
    check(layers);
}
TEST_CASE("layers on the device: networks on edges", "[cuda]") {
    Layers layers;
    add_edge_networks(layers, Key{11});
    check(layers);
}
TEST_CASE("layers on the device: relations and splines", "[cuda]") {
    Layers layers;
    add_kinds(layers, Key{11});
    for (const long bases : {0l, 4l})
        for (const graph::Aggregation how : {graph::mean, graph::sum}) {
            graph::RgcnOptions options;
            options.bases = bases, options.aggregation = how;
            // Without features the weights stand for the nodes: as many as the first graph has. (The other has features, of zeros.)
            const auto call = [](const auto& layer, const Input& i) {
                if (i.g.nodes() == 24) return layer({}, i.g, i.types);
                return layer(X(matmul(i.x, zeros<float>({in, 24}, i.x.device()))), i.g, i.types);
            };
            add(layers, "RGCN without features", graph::RGCNConv<float>(24, 3, relations, Key{12}, options), call);
        }
    check(layers);
}
