// Convolutions by a network on pairs of points: EdgeConv (Wang et al. 2019) and PointNetConv (Qi et al. 2017).
#pragma once

#include <tenon/graph/conv/common.hpp>

namespace tenon::graph {

// y_i = max over the edges j -> i of nn([x_i, x_j - x_i]), nn a module of one's own from 2 * in columns; 0 where there are no
// edges. The pairs are stored.
template <class Module>
struct EdgeConv {
    Module nn;
    Aggregation aggregation = Aggregation::max;

    EdgeConv() = default;
    explicit EdgeConv(Module module, Aggregation how = Aggregation::max) : nn(module), aggregation(how) {}
    template <Expression X>
    auto operator()(X&& given, const Graph& g) const {
        const auto x = features(static_cast<X&&>(given));
        using Own = std::remove_const_t<decltype(x)>;
        const Own own = gather_targets(g, x), difference = gather_sources(g, x) - own;
        return aggregate_edges(aggregation, g, Own(nn(Own(concat<1>(own, difference)))));
    }
    // A module that takes a context.
    template <Expression X, class Context>
        requires requires(const Module& m, const std::remove_cvref_t<X>& x, const Context& c) { m(x, c); }
    auto operator()(X&& given, const Graph& g, const Context& context) const {
        const auto x = features(static_cast<X&&>(given));
        using Own = std::remove_const_t<decltype(x)>;
        const Own own = gather_targets(g, x), difference = gather_sources(g, x) - own;
        return aggregate_edges(aggregation, g, Own(nn(Own(concat<1>(own, difference)), context)));
    }
    static void visit(auto& self, auto&& f) { f("nn", self.nn); }
};

struct NoModule {
    template <class X>
    X operator()(const X& x) const { return x; }
    static void visit(auto&, auto&&) {}
};

// y_i = global_nn(max over the edges j -> i of local_nn([x_j, p_j - p_i])); x may be empty (has_value() false): positions alone.
// With add_self_loops every node is its own neighbour once.
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
        return (*this)(x, pos, pos, add_self_loops ? with_self_loops(g) : g);
    }
    // Of a bipartite graph: neighbours with positions `pos`, centres with `centres`.
    template <class T>
    Tensor<T, 2> operator()(const Tensor<T, 2>& x, const Tensor<T, 2>& pos, const Tensor<T, 2>& centres, const Graph& g) const {
        const Tensor<T, 2> offset = gather_sources(g, pos) - gather_targets(g, centres);
        const Tensor<T, 2> message = x.has_value() ? Tensor<T, 2>(concat<1>(gather_sources(g, x), offset)) : offset;
        return global_nn(Tensor<T, 2>(aggregate_edges(max, g, Tensor<T, 2>(local_nn(message)))));
    }
    static void visit(auto& self, auto&& f) {
        f("local_nn", self.local_nn);
        f("global_nn", self.global_nn);
    }
};

}  // namespace tenon::graph
