// Convolution by auto-regressive moving-average filters (Bianchi et al. 2019).
#pragma once

#include <tenon/graph/conv/common.hpp>
#include <tenon/nn/dropout.hpp>
#include <tenon/ops/concat.hpp>

#include <vector>

namespace tenon::graph {

struct ArmaOptions {
    long stacks = 1, layers = 1;
    bool shared_weights = false;  // of the layers of a stack
    bool relu = true;             // after every layer, the last one too
    double dropout = 0;           // of the skip connection's input, while the context trains
    // The sign (of the propagated term: -) and the dropout (of that term too) that PyTorch Geometric had when its paper's table was made.
    bool form_of_2019 = false;
};

// Each stack: z = act(A z W_t + dropout(x) V_t + b_t) from z = x [N, in], dense or Csr, T times, A = D^-1/2 A D^-1/2 without added
// self-loops, weights of the edges [E] or none; the result [N, out] is the mean of the K stacks; each stack drops of x on its own.
// init_weight [K, in, out], weight [max(1, T - 1), K, out, out], root_weight [T, K, in, out] glorot; bias [T, K, 1, out] zeros; with
// shared_weights T counts as 1 in their sizes. Nothing of size edges x features is stored. Throws ShapeError, ValueError. Derivatives of x,
// the weights and the parameters.
template <class T = float>
struct ARMAConv {
    Tensor<T, 3> init_weight;
    Tensor<T, 4> weight, root_weight, bias;
    ArmaOptions options;
    Key key;

    ARMAConv() = default;
    ARMAConv(long in, long out, Key own, const ArmaOptions& o = {}) : options(o), key(own) {
        if (o.stacks < 1 || o.layers < 1)
            fail<ValueError>("ARMAConv: ", o.stacks, " stacks of ", o.layers, " layers, expected at least 1 each");
        const long t = o.shared_weights ? 1 : o.layers;
        init_weight = glorot<T>({o.stacks, in, out}, own.split(0));
        weight = glorot<T>({t > 2 ? t - 1 : 1, o.stacks, out, out}, own.split(1));
        root_weight = glorot<T>({t, o.stacks, in, out}, own.split(2));
        bias = zeros<T>({t, o.stacks, 1, out}).require_grad();
    }
    template <class X>
    Tensor<T, 2> operator()(X&& x, const Graph& g, const Tensor<T, 1>& w = {}) const {
        return run(features(static_cast<X&&>(x)), g, w, nullptr);
    }
    template <class X>
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
    // Elements that are there are dropped: of a Csr the same as of the dense matrix, since the others are 0.
    template <class X>
    static X dropped(const X& x, double p, Key own) {
        if constexpr (is_csr<X>) return x.with_values(dropout(x.values(), p, own));
        else return X(dropout(x, p, own));
    }
    // The stacks lie side by side, [N, K out]: one pass over the graph for all of them.
    template <class X>
    Tensor<T, 2> run(const X& x, const Graph& g, const Tensor<T, 1>& w, const nn::Context* context) const {
        const WeightedGraph<T> a = gcn_norm<T>(g, w, {false, false});
        const long stacks = options.stacks, nodes = x.shape(0), out = bias.shape(3);
        const auto side_by_side = [&](const Tensor<T, 3>& m) {
            return contiguous(m.template permute<1, 0, 2>()).reshape({m.shape(1), stacks * out});
        };
        const auto drop = [&](const auto& v, std::uint64_t which) {
            if (context == nullptr) return v;
            return dropped(v, options.dropout, context->key.split(key.bits).split(which));
        };
        // x times the matrices of all stacks; what is dropped of it differs between them.
        const auto products = [&](const Tensor<T, 3>& m, bool drops, std::uint64_t which) -> Tensor<T, 2> {
            if (context == nullptr || !drops) return matmul(x, side_by_side(m));
            std::vector<Tensor<T, 2>> parts;
            for (long k = 0; k < stacks; ++k)
                parts.push_back(matmul(drop(x, which + 2 * static_cast<std::uint64_t>(options.layers * k)), contiguous(m(k))));
            return stacks == 1 ? parts[0] : Tensor<T, 2>(concat<1>(parts));
        };
        const T sign = options.form_of_2019 ? T(-1) : T(1);
        Tensor<T, 2> z;
        for (long t = 0; t < options.layers; ++t) {
            const long own = options.shared_weights ? 0 : t, later = options.shared_weights || t == 0 ? 0 : t - 1;
            const std::uint64_t mask = 2 * static_cast<std::uint64_t>(t);
            Tensor<T, 2> through;
            if (t == 0) {
                through = products(init_weight, options.form_of_2019, mask + 1);
            } else {
                const Tensor<T, 2> kept = options.form_of_2019 ? drop(z, mask + 1) : z;
                const Tensor<T, 3> apart = kept.reshape({nodes, stacks, out}).template permute<1, 0, 2>();
                const Tensor<T, 3> turned = matmul(apart, Tensor<T, 3>(weight(later)));
                through = contiguous(turned.template permute<1, 0, 2>()).reshape({nodes, stacks * out});
            }
            const Tensor<T, 2> moved = aggregate<sum>(a.graph, through, a.weight),
                               root = products(Tensor<T, 3>(root_weight(own)), true, mask);
            const Tensor<T, 1> b = Tensor<T, 3>(bias(own)).reshape({stacks * out});
            z = options.relu ? Tensor<T, 2>(eval(relu(sign * moved + root + b))) : Tensor<T, 2>(eval(sign * moved + root + b));
        }
        return stacks == 1 ? z : Tensor<T, 2>(tenon::mean<1>(z.reshape({nodes, stacks, out})));
    }
};

}  // namespace tenon::graph
