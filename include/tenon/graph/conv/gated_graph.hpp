// Gated graph networks (Li et al. 2016).
#pragma once

#include <tenon/graph/conv/common.hpp>
#include <tenon/nn/recurrent.hpp>

namespace tenon::graph {

// h = x, padded with zeros to `out` columns; then for every layer l: m_i = sum over the edges of w_ji (h_j W_l), h = GRU(m, h), one
// cell for all layers. x [N, in], weights of the edges [E] or none; result [N, out]. weight [layers, out, out] uniform in +-1 / sqrt(out),
// rnn as nn::GRUCell. Nothing of size edges x features is stored. Throws ShapeError, also where x is wider than out. Derivatives of x, the
// weights and the parameters.
template <class T = float>
struct GatedGraphConv {
    Tensor<T, 3> weight;
    nn::GRUCell<T> rnn;

    GatedGraphConv() = default;
    GatedGraphConv(long out, long layers, Key key) : rnn(out, out, key.split(0)) {
        const double bound = 1 / __builtin_sqrt(static_cast<double>(out));
        weight = uniform<T>({layers, out, out}, key.split(1), {-bound, bound}).require_grad();
    }
    template <Expression X>
    Tensor<T, 2> operator()(X&& given, const Graph& g, const Tensor<T, 1>& w = {}) const {
        Tensor<T, 2> h = features(static_cast<X&&>(given));
        const long out = weight.shape(2), in = h.shape(1);
        if (in > out) fail<ShapeError>("GatedGraphConv: ", h.record()->description(), " is wider than the layer, ", out, " columns");
        if (in < out) h = concat<1>(h, zeros<T>({h.shape(0), out - in}, h.device()));
        for (long l = 0; l < weight.shape(0); ++l) {
            const Tensor<T, 2> through = matmul(h, weight(l)),
                               m = w.has_value() ? aggregate<sum>(g, through, w) : aggregate<sum>(g, through);
            h = rnn(m, h);
        }
        return h;
    }
    static void visit(auto& self, auto&& f) {
        f("weight", self.weight);
        f("rnn", self.rnn);
    }
};

}  // namespace tenon::graph
