// Personalised propagation of predictions (Klicpera et al. 2019).
#pragma once

#include <tenon/graph/conv/common.hpp>
#include <tenon/nn/dropout.hpp>

namespace tenon::graph {

struct AppnpOptions : NormOptions {
    double dropout = 0;  // of the edges' weights, afresh in every step, while the context trains
};

// z = x, then K times z = (1 - alpha) A z + alpha x (equation 4 there), A as in GCNConv. x [N, F], weights of the edges [E] or none; result
// [N, F]. No parameters. Nothing of size edges x features is stored. Throws ShapeError, ValueError. Derivatives of x and the weights.
template <class T = float>
struct APPNP {
    long steps = 10;
    double alpha = 0.1;
    AppnpOptions options;
    Key key;

    APPNP() = default;
    APPNP(long k, double teleport, const AppnpOptions& o = {}, Key own = {}) : steps(k), alpha(teleport), options(o), key(own) {
        if (k < 0) fail<ValueError>("APPNP: ", k, " steps, expected 0 or more");
    }
    template <Expression X>
    Tensor<T, 2> operator()(X&& x, const Graph& g, const Tensor<T, 1>& weight = {}) const {
        return run(features(static_cast<X&&>(x)), g, weight, nullptr);
    }
    template <Expression X>
    Tensor<T, 2> operator()(X&& x, const Graph& g, const nn::Context& context, const Tensor<T, 1>& weight = {}) const {
        return run(features(static_cast<X&&>(x)), g, weight, context.training && options.dropout > 0 ? &context : nullptr);
    }
    static void visit(auto&, auto&&) {}

private:
    Tensor<T, 2> run(const Tensor<T, 2>& x, const Graph& g, const Tensor<T, 1>& weight, const nn::Context* context) const {
        const WeightedGraph<T> a = gcn_norm<T>(g, weight, options);
        const T keep = static_cast<T>(1 - alpha), back = static_cast<T>(alpha);
        Tensor<T, 2> z = x;
        for (long k = 0; k < steps; ++k) {
            const Tensor<T, 1> w =
                context == nullptr ? a.weight
                                   : dropout(a.weight, options.dropout, context->key.split(key.bits).split(static_cast<std::uint64_t>(k)));
            z = eval(keep * aggregate<sum>(a.graph, z, w) + back * x);
        }
        return z;
    }
};

}  // namespace tenon::graph
