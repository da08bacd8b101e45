// Jumping knowledge: one representation from those of all layers (Xu et al., ICML 2018).
#pragma once

#include <tenon/nn/linear.hpp>
#include <tenon/nn/recurrent.hpp>
#include <tenon/ops/concat.hpp>
#include <tenon/ops/extreme.hpp>
#include <tenon/ops/reduce.hpp>
#include <tenon/ops/softmax.hpp>

#include <vector>

namespace tenon::graph {

enum class JumpMode { cat, maximum, lstm };

// jump(xs): tensors [nodes, F] of all layers -> [nodes, layers F] (cat: side by side) or [nodes, F] (maximum: the largest element; lstm: a
// sum, weighted per node by the attention of a bidirectional LSTM over the layers). Parameters of lstm: "lstm...", "att...". Throws
// ShapeError, ValueError for no tensors. Derivatives of all layers (of the maximum: to the first layer that has it) and the parameters.
template <class T = float>
struct JumpingKnowledge {
    JumpMode mode = JumpMode::cat;
    nn::LSTM<T> lstm;
    nn::Linear<T> att;

    JumpingKnowledge() = default;
    // cat and maximum.
    explicit JumpingKnowledge(JumpMode mode_) : mode(mode_) {
        if (mode == JumpMode::lstm) fail<ValueError>("JumpingKnowledge: an LSTM needs the channels, the layers and a key");
    }
    JumpingKnowledge(long channels, long layers, Key key) : mode(JumpMode::lstm) {
        const long hidden = layers * channels / 2;
        nn::LstmOptions options;
        options.bidirectional = options.batch_first = true;
        lstm = nn::LSTM<T>(channels, hidden, key.split(0), options);
        att = nn::Linear<T>(2 * hidden, 1, key.split(1));
    }
    Tensor<T, 2> operator()(const std::vector<Tensor<T, 2>>& xs) const {
        if (xs.empty()) fail<ValueError>("JumpingKnowledge: no layers came, expected at least one");
        if (mode == JumpMode::cat) return concat<1>(xs);
        if (mode == JumpMode::maximum) return tenon::max<2>(stack<2>(xs)).values;
        const Tensor<T, 3> x = stack<1>(xs);
        const Tensor<T, 3> score = att(lstm(x).y);
        return tenon::sum<1>(x * softmax<1>(score));
    }
    static void visit(auto& self, auto&& f) {
        if (self.mode != JumpMode::lstm) return;
        f("lstm", self.lstm);
        f("att", self.att);
    }
};

}  // namespace tenon::graph
