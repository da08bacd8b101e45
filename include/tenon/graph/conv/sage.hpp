// GraphSAGE (Hamilton et al. 2017).
#pragma once

#include <tenon/graph/conv/common.hpp>
#include <tenon/ops/norm.hpp>

namespace tenon::graph {

struct SageOptions {
    Aggregation aggregation = Aggregation::mean;
    bool project = false;      // neighbours go through relu(lin(x)) first (the paper's pooling, with max)
    bool normalize = false;    // rows of the result to length 1
    bool root_weight = true;   // false: without W_r x
    // One matrix for the node and its neighbours, which are averaged together: the form that PyTorch Geometric had in 2019, there
    // with normalize. Self-loops are added; lin_l alone is used.
    bool form_of_2019 = false;
};

// y_i = W_l aggregate(x_j) + b + W_r x_i (algorithm 1 there). x [N, in]; result [N, out]. lin_l (with bias), lin_r [out, in], lin [in, in]:
// PyTorch's default. Nothing of size edges x features is stored. Throws ShapeError. Derivatives of x and the parameters.
template <class T = float>
struct SAGEConv {
    nn::Linear<T> lin_l, lin;
    nn::Linear<T, false> lin_r;
    SageOptions options;

    SAGEConv() = default;
    SAGEConv(long in, long out, Key key, const SageOptions& o = {}) : lin_l(in, out, key.split(0)), options(o) {
        if (o.root_weight && !o.form_of_2019) lin_r = nn::Linear<T, false>(in, out, key.split(1));
        if (o.project) lin = nn::Linear<T>(in, in, key.split(2));
    }
    template <Expression X>
    Tensor<T, 2> operator()(X&& given, const Graph& g) const {
        const Tensor<T, 2> x = features(static_cast<X&&>(given));
        return run(x, x, options.form_of_2019 ? with_self_loops(g) : g);
    }
    // Of a bipartite graph.
    template <Expression X, Expression Y>
    Tensor<T, 2> operator()(X&& sources, Y&& targets, const Graph& g) const {
        return run(features(static_cast<X&&>(sources)), features(static_cast<Y&&>(targets)), g);
    }
    static void visit(auto& self, auto&& f) {
        if (self.options.project) f("lin", self.lin);
        f("lin_l", self.lin_l);
        if (self.options.root_weight && !self.options.form_of_2019) f("lin_r", self.lin_r);
    }

private:
    Tensor<T, 2> run(const Tensor<T, 2>& given, const Tensor<T, 2>& own, const Graph& g) const {
        impl::check_nodes("SAGEConv", g, own.record(), g.targets(), "targets");
        const Tensor<T, 2> x = options.project ? Tensor<T, 2>(eval(relu(lin(given)))) : given;
        Tensor<T, 2> y = lin_l(aggregate(options.aggregation, g, x));
        if (options.root_weight && !options.form_of_2019) y = eval(y + lin_r(own));
        if (!options.normalize) return y;
        return y / maximum(norm<-1>(y, keepdim), T(1e-12));
    }
};

}  // namespace tenon::graph
