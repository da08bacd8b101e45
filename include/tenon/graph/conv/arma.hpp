// Convolution by auto-regressive moving-average filters (Bianchi et al. 2019).
#pragma once

#include <tenon/graph/conv/common.hpp>
#include <tenon/nn/dropout.hpp>

namespace tenon::graph {

struct ArmaOptions {
    long stacks = 1, layers = 1;
    bool shared_weights = false;  // of the layers of a stack
    bool relu = true;             // after every layer, the last one too
    double dropout = 0;           // of the skip connection's input, while the context trains
    // The sign and the dropout (of the propagated term too) that PyTorch Geometric had when its paper's table was made.
    bool form_of_2019 = false;
};

// Each stack: z = act(A z W_t + dropout(x) V_t + b_t) from z = x, A = D^-1/2 A D^-1/2 without added self-loops; the result is the
// stacks' mean. init_weight [K, in, out], weight [T - 1, K, out, out], root_weight [T, K, in, out] glorot; bias [T, K, 1, out] zeros.
template <class T = float>
struct ARMAConv {
    Tensor<T, 3> init_weight;
    Tensor<T, 4> weight, root_weight, bias;
    ArmaOptions options;
    Key key;

    ARMAConv() = default;
    ARMAConv(long in, long out, Key own, const ArmaOptions& o = {}) : options(o), key(own) {
        if (o.stacks < 1 || o.layers < 1) fail<ValueError>("ARMAConv: ", o.stacks, " stacks of ", o.layers, " layers, expected at least 1 each");
        const long t = o.shared_weights ? 1 : o.layers;
        init_weight = glorot<T>({o.stacks, in, out}, own.split(0));
        weight = glorot<T>({t > 2 ? t - 1 : 1, o.stacks, out, out}, own.split(1));
        root_weight = glorot<T>({t, o.stacks, in, out}, own.split(2));
        bias = zeros<T>({t, o.stacks, 1, out}).require_grad();
    }
    template <Expression X>
    Tensor<T, 2> operator()(X&& x, const Graph& g, const Tensor<T, 1>& w = {}) const { return run(features(static_cast<X&&>(x)), g, w, nullptr); }
    template <Expression X>
    Tensor<T, 2> operator()(X&& x, const Graph& g, const nn::Context& context, const Tensor<T, 1>& w = {}) const {
        return run(features(static_cast<X&&>(x)), g, w, context.training && options.dropout > 0 ? &context : nullptr);
    }
    static void visit(auto& self, auto&& f) {
        f("weight", self.weight);
        f("init_weight", self.init_weight);
        f("root_weight", self.root_weight);
        f("bias", self.bias);
    }

private:
    Tensor<T, 2> run(const Tensor<T, 2>& x, const Graph& g, const Tensor<T, 1>& w, const nn::Context* context) const {
        const WeightedGraph<T> a = gcn_norm<T>(g, w, {false, false});
        Tensor<T, 2> total;
        for (long k = 0; k < options.stacks; ++k) {
            Tensor<T, 2> z = x;
            for (long t = 0; t < options.layers; ++t) {
                const long own = options.shared_weights ? 0 : t, later = options.shared_weights || t == 0 ? 0 : t - 1;
                const auto drop = [&](const Tensor<T, 2>& v, std::uint64_t which) {
                    if (context == nullptr) return v;
                    return Tensor<T, 2>(dropout(v, options.dropout, context->key.split(key.bits).split(static_cast<std::uint64_t>(2 * (k * options.layers + t)) + which)));
                };
                const Tensor<T, 2> matrix = t == 0 ? Tensor<T, 2>(init_weight(k)) : Tensor<T, 2>(weight(later, k));
                const Tensor<T, 2> through = matmul(options.form_of_2019 ? drop(z, 1) : z, matrix);
                const Tensor<T, 2> moved = aggregate<sum>(a.graph, through, a.weight), root = matmul(drop(x, 0), Tensor<T, 2>(root_weight(own, k)));
                const T sign = options.form_of_2019 ? T(-1) : T(1);
                const Tensor<T, 2> b = bias(own, k);
                z = options.relu ? Tensor<T, 2>(eval(relu(sign * moved + root + b))) : Tensor<T, 2>(eval(sign * moved + root + b));
            }
            total = k == 0 ? z : Tensor<T, 2>(eval(total + z));
        }
        return options.stacks == 1 ? total : Tensor<T, 2>(eval(total * static_cast<T>(1.0 / static_cast<double>(options.stacks))));
    }
};

}  // namespace tenon::graph
