// EdgeConv on the graph of the nearest neighbours in the space of the features (Wang et al., "Dynamic graph CNN", 2019).
#pragma once

#include <tenon/graph/conv/edge_conv.hpp>
#include <tenon/graph/points/knn.hpp>

namespace tenon::graph {

// EdgeConv on knn_graph(x, k, clouds), made anew in every call; a point is one of its own k neighbours. x [points, in]; result [points,
// nn's]. Derivatives as EdgeConv's; none of the choice of the neighbours. Throws what knn_graph and EdgeConv throw, ValueError for k < 1.
template <class Module>
struct DynamicEdgeConv {
    Module nn;
    long k = 1;
    Aggregation aggregation = Aggregation::max;

    DynamicEdgeConv() = default;
    DynamicEdgeConv(Module module, long neighbours, Aggregation how = Aggregation::max) : nn(module), k(neighbours), aggregation(how) {
        if (neighbours < 1) fail<ValueError>("DynamicEdgeConv: k is ", neighbours, ", expected at least 1");
    }
    template <Expression X>
    auto operator()(X&& given, const Segments& clouds = {}) const {
        const auto x = features(static_cast<X&&>(given));
        return EdgeConv<Module>(nn, aggregation)(x, near(x, clouds));
    }
    // A module that takes a context.
    template <Expression X, class Context>
        requires requires(const Module& m, const std::remove_cvref_t<X>& x, const Context& c) { m(x, c); }
    auto operator()(X&& given, const Context& context, const Segments& clouds = {}) const {
        const auto x = features(static_cast<X&&>(given));
        return EdgeConv<Module>(nn, aggregation)(x, near(x, clouds), context);
    }
    static void visit(auto& self, auto&& f) { f("nn", self.nn); }

private:
    template <class T>
    Graph near(const Tensor<T, 2>& x, const Segments& clouds) const {
        return Graph::from_edges(knn_graph(x, k, clouds, {.loop = true}), x.shape(0));
    }
};

}  // namespace tenon::graph
