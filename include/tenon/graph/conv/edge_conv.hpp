// Convolutions by a network on pairs of points: EdgeConv (Wang et al. 2019) and PointNetConv (Qi et al. 2017).
#pragma once

#include <tenon/graph/conv/common.hpp>

namespace tenon::graph {

// y_i = max (sum, mean, min) over the edges j -> i of nn([x_i, x_j - x_i]), nn a module of one's own from 2 * in columns; 0 where there
// are no edges. x [N, in]; result [N, nn's]. The pairs are stored, edges x 2 in, and what nn makes of them. Throws ShapeError. Derivatives
// of x and nn's parameters; of an extreme all of it goes to the edge found.
template <class Module>
struct EdgeConv {
    Module nn;
    Aggregation aggregation = Aggregation::max;

    EdgeConv() = default;
    explicit EdgeConv(Module module, Aggregation how = Aggregation::max) : nn(module), aggregation(how) {}
    template <Expression X>
    auto operator()(X&& given, const Graph& g) const {
        const auto x = features(static_cast<X&&>(given));
        return aggregate_edges(aggregation, g, nn(pairs(x, x, g)));
    }
    // A module that takes a context.
    template <Expression X, class Context>
        requires requires(const Module& m, const std::remove_cvref_t<X>& x, const Context& c) { m(x, c); }
    auto operator()(X&& given, const Graph& g, const Context& context) const {
        const auto x = features(static_cast<X&&>(given));
        return aggregate_edges(aggregation, g, nn(pairs(x, x, g), context));
    }
    // Of a bipartite graph: x_j [sources, in] and x_i [targets, in].
    template <Expression X, Expression Y>
    auto operator()(X&& sources, Y&& targets, const Graph& g) const {
        return aggregate_edges(aggregation, g, nn(pairs(features(static_cast<X&&>(sources)), features(static_cast<Y&&>(targets)), g)));
    }
    template <Expression X, Expression Y, class Context>
        requires requires(const Module& m, const std::remove_cvref_t<X>& x, const Context& c) { m(x, c); }
    auto operator()(X&& sources, Y&& targets, const Graph& g, const Context& context) const {
        const auto both = pairs(features(static_cast<X&&>(sources)), features(static_cast<Y&&>(targets)), g);
        return aggregate_edges(aggregation, g, nn(both, context));
    }
    static void visit(auto& self, auto&& f) { f("nn", self.nn); }

private:
    template <class T>
    static Tensor<T, 2> pairs(const Tensor<T, 2>& x, const Tensor<T, 2>& node, const Graph& g) {
        const Tensor<T, 2> own = gather_targets(g, node), difference = gather_sources(g, x) - own;
        return concat<1>(own, difference);
    }
};

struct NoModule {
    template <class X>
    X operator()(const X& x) const { return x; }
    static void visit(auto&, auto&&) {}
};

// y_i = global_nn(max over the edges j -> i of local_nn([x_j, p_j - p_i])). x [N, in], positions [N, D]; x may be empty (has_value()
// false): positions alone. With add_self_loops every node is its own neighbour once. What local_nn reads and gives is stored for every
// edge. Throws ShapeError. Derivatives of x, the positions and the networks' parameters.
template <class Local, class Global = NoModule>
struct PointNetConv {
    Local local_nn;
    Global global_nn;
    bool add_self_loops = true;

    PointNetConv() = default;
    explicit PointNetConv(Local local, Global global = {}, bool loops = true) : local_nn(local), global_nn(global), add_self_loops(loops) {}
    // Of one set of points.
    template <class T>
    Tensor<T, 2> operator()(const Tensor<T, 2>& x, const Tensor<T, 2>& pos, const Graph& g) const {
        return run(x, pos, pos, add_self_loops ? with_self_loops(g) : g);
    }
    // Of a bipartite graph: neighbours with positions `pos`, centres with `centres`.
    template <class T>
    Tensor<T, 2> operator()(const Tensor<T, 2>& x, const Tensor<T, 2>& pos, const Tensor<T, 2>& centres, const Graph& g) const {
        return run(x, pos, centres, g);
    }
    // The context goes to the networks that take one: dropout, batch norm in training.
    template <class T>
    Tensor<T, 2> operator()(const Tensor<T, 2>& x, const Tensor<T, 2>& pos, const Graph& g, const nn::Context& context) const {
        return run(x, pos, pos, add_self_loops ? with_self_loops(g) : g, context);
    }
    template <class T>
    Tensor<T, 2> operator()(const Tensor<T, 2>& x, const Tensor<T, 2>& pos, const Tensor<T, 2>& centres, const Graph& g,
                            const nn::Context& context) const {
        return run(x, pos, centres, g, context);
    }
    static void visit(auto& self, auto&& f) {
        f("local_nn", self.local_nn);
        f("global_nn", self.global_nn);
    }

private:
    template <class T, class... C>
    Tensor<T, 2> run(const Tensor<T, 2>& x, const Tensor<T, 2>& pos, const Tensor<T, 2>& centres, const Graph& g,
                     const C&... context) const {
        const Tensor<T, 2> offset = gather_sources(g, pos) - gather_targets(g, centres);
        const Tensor<T, 2> message = x.has_value() ? Tensor<T, 2>(concat<1>(gather_sources(g, x), offset)) : offset;
        const Tensor<T, 2> local = nn::detail::call(local_nn, message, context...);
        return nn::detail::call(global_nn, Tensor<T, 2>(aggregate_edges(max, g, local)), context...);
    }
};

}  // namespace tenon::graph
