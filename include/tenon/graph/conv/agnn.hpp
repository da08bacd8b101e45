// Attention by similarity (Thekumparampil et al. 2018).
#pragma once

#include <tenon/graph/conv/common.hpp>
#include <tenon/ops/norm.hpp>

namespace tenon::graph {

// y_i = sum over the edges j -> i of softmax(beta cos(x_i, x_j)) x_j, with one self-loop at every node; beta [1] is trained from 1.
// x [N, F]; result [N, F]. A few numbers for each edge are stored, nothing of size edges x features. Throws ShapeError. Derivatives of x
// and beta.
template <class T = float>
struct AGNNConv {
    Tensor<T, 1> beta;
    bool add_self_loops = true, requires_grad = true;

    explicit AGNNConv(bool train = true, bool loops = true) : beta(ones<T>({1})), add_self_loops(loops), requires_grad(train) {
        if (train) beta.require_grad();
    }
    template <Expression X>
    Tensor<T, 2> operator()(X&& given, const Graph& plain) const {
        const Tensor<T, 2> x = features(static_cast<X&&>(given));
        const Graph& g = add_self_loops ? with_self_loops(plain) : plain;
        const Tensor<T, 2> unit = x / maximum(norm<-1>(x, keepdim), T(1e-12));
        return aggregate<sum>(g, x, edge_softmax(g, beta * sddmm(g, unit, unit)));
    }
    static void visit(auto& self, auto&& f) {
        if (self.requires_grad) f("beta", self.beta);
        else f("beta", nn::buffer(self.beta));
    }
};

}  // namespace tenon::graph
