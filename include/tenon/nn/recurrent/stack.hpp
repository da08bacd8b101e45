// Layers and directions of recurrent weights on top of each other: what RNN, GRU and LSTM have in common.
#pragma once

#include <tenon/nn/context.hpp>
#include <tenon/nn/module.hpp>
#include <tenon/ops/concat.hpp>
#include <tenon/ops/dropout.hpp>
#include <tenon/ops/random.hpp>
#include <tenon/ops/recurrent.hpp>

#include <vector>

namespace tenon::nn::detail {

struct StackOptions {
    long layers = 1;
    bool bias = true, bidirectional = false, batch_first = false;
    double dropout = 0;
    bool variational = false;
    long projection = 0;
    bool peepholes = false;
    double forget_bias = 0;
};

// Weights of one layer in one direction, uniform in +-1 / sqrt(hidden).
template <class T>
RecurrentWeights<T> make_recurrent_weights(RecurrentCell cell, long in, long hidden, const StackOptions& o, Key key) {
    const long rows = hidden * (cell == RecurrentCell::lstm ? 4 : cell == RecurrentCell::gru ? 3 : 1), out = o.projection > 0 ? o.projection : hidden;
    const double bound = 1 / __builtin_sqrt(static_cast<double>(hidden));
    RecurrentWeights<T> w;
    w.weight_ih = uniform<T>({rows, in}, key.split(0), {-bound, bound}).require_grad();
    w.weight_hh = uniform<T>({rows, out}, key.split(1), {-bound, bound}).require_grad();
    if (o.bias) {
        w.bias_ih = uniform<T>({rows}, key.split(2), {-bound, bound});
        if (cell == RecurrentCell::lstm && o.forget_bias != 0)
            for (long j = hidden; j < 2 * hidden; ++j) w.bias_ih.data()[j] += static_cast<T>(o.forget_bias);
        w.bias_ih.require_grad();
        w.bias_hh = uniform<T>({rows}, key.split(3), {-bound, bound}).require_grad();
    }
    if (o.projection > 0) w.weight_hr = uniform<T>({out, hidden}, key.split(4), {-bound, bound}).require_grad();
    if (o.peepholes) w.peephole = uniform<T>({3, hidden}, key.split(5), {-bound, bound}).require_grad();
    return w;
}

template <class T>
struct RecurrentStack {
    const char* name = "RNN";
    RecurrentCell cell = RecurrentCell::tanh;
    long in = 0, hidden = 0;
    StackOptions options;
    Key key;
    std::vector<RecurrentWeights<T>> weights;  // by layer, then direction

    RecurrentStack() = default;
    RecurrentStack(const char* name_, RecurrentCell cell_, long in_, long hidden_, Key key_, const StackOptions& o)
        : name(name_), cell(cell_), in(in_), hidden(hidden_), options(o), key(key_) {
        if (in < 1 || hidden < 1) fail<ShapeError>(name, ": sizes ", in, " -> ", hidden, ", expected at least 1 each");
        if (o.layers < 1) fail<ValueError>(name, ": ", o.layers, " layers, expected at least 1");
        if (!(o.dropout >= 0 && o.dropout <= 1)) fail<ValueError>(name, ": dropout ", o.dropout, ", expected 0 to 1");
        if (o.projection < 0 || o.projection >= hidden) fail<ValueError>(name, ": projection to ", o.projection, " from ", hidden, ", expected fewer (0: none)");
        for (long layer = 0; layer < o.layers; ++layer)
            for (long d = 0; d < directions(); ++d)
                weights.push_back(make_recurrent_weights<T>(cell, layer == 0 ? in : directions() * out(), hidden, o, key.split(static_cast<std::uint64_t>(layer * 2 + d + 1))));
    }

    long directions() const { return options.bidirectional ? 2 : 1; }
    long out() const { return options.projection > 0 ? options.projection : hidden; }

    struct Result {
        Tensor<T, 3> y, h, c;
    };
    // h and c may be empty handles; so may lengths. Without a context nothing is dropped.
    Result run(const Tensor<T, 3>& given, const Tensor<T, 3>& h, const Tensor<T, 3>& c, const Tensor<std::int64_t, 1>& lengths, const Context* context) const {
        if (weights.empty()) fail<ValueError>(name, ": this module is empty: assign one that was given its sizes");
        Tensor<T, 3> x = given;
        if (options.batch_first) x = given.template permute<1, 0, 2>();
        const long count = options.layers * directions(), batch = x.shape(1);
        const auto expect = [&](const char* what, const Tensor<T, 3>& state, long width) {
            if (!state.has_value() || (state.shape(0) == count && state.shape(1) == batch && state.shape(2) == width)) return;
            fail<ShapeError>(name, ": ", what, " is ", state.record()->description(), ", input is ", given.record()->description(), ": expected [", count, ", ", batch, ", ", width,
                             "] (layers * directions, batch, size)");
        };
        expect("h0", h, out());
        expect("c0", c, hidden);
        impl::recurrent_shape(name, cell, x.record(), batch, weights[0], nullptr, nullptr);
        const impl::Sequences sequences = impl::make_sequences(name, x.record(), lengths, x.device());
        const auto state = [&](const Tensor<T, 3>& all, long k) { return all.has_value() ? impl::sort_state(sequences, Tensor<T, 2>(all(k))) : Tensor<T, 2>(); };
        Tensor<T, 2> y = impl::pack_sequences(sequences, x);
        std::vector<Tensor<T, 2>> hs, cs;
        for (long layer = 0; layer < options.layers; ++layer) {
            Tensor<T, 2> outputs[2];
            for (long d = 0; d < directions(); ++d) {
                const long k = layer * directions() + d;
                const auto r = impl::recurrent_layer(name, cell, y, sequences, d == 1, state(h, k), state(c, k), weights[static_cast<std::size_t>(k)]);
                outputs[d] = r.y;
                hs.push_back(impl::restore_state(sequences, r.h));
                if (r.c.has_value()) cs.push_back(impl::restore_state(sequences, r.c));
            }
            Tensor<T, 2> joined = outputs[0];
            if (directions() == 2) joined = concat<1>({outputs[0], outputs[1]});
            if (layer + 1 < options.layers && context != nullptr && context->training && options.dropout > 0)
                joined = dropped(joined, sequences, context->key.split(key.bits).split(static_cast<std::uint64_t>(layer)));
            y = joined;
        }
        Result result{impl::pad_sequences(sequences, y), joined_states(hs), cs.empty() ? Tensor<T, 3>() : joined_states(cs)};
        if (options.batch_first) {
            const Tensor<T, 3> first = result.y.template permute<1, 0, 2>();
            result.y = first;
        }
        return result;
    }

    static void visit(auto& self, auto&& f) {
        long k = 0;
        for (auto& w : self.weights) {
            const long layer = k / self.directions();
            const char* const suffix = k % self.directions() == 1 ? "_reverse" : "";
            const auto put = [&](const char* what, auto& x) {
                if (!x.has_value()) return;
                Message text;
                text << what << layer << suffix;
                f(text.text(), x);
            };
            put("weight_ih_l", w.weight_ih);
            put("weight_hh_l", w.weight_hh);
            put("bias_ih_l", w.bias_ih);
            put("bias_hh_l", w.bias_hh);
            put("weight_hr_l", w.weight_hr);
            put("peephole_l", w.peephole);
            ++k;
        }
    }

private:
    static Tensor<T, 3> joined_states(const std::vector<Tensor<T, 2>>& states) { return states.size() == 1 ? states[0].template unsqueeze<0>() : stack<0>(states); }
    Tensor<T, 2> dropped(const Tensor<T, 2>& y, const impl::Sequences& sequences, Key own) const {
        if (!options.variational) return dropout(y, options.dropout, own);
        // One mask for each sequence, the same at all its steps.
        const long width = y.shape(1);
        const Tensor<T, 2> mask = dropout(ones<T>({sequences.batch, width}, y.device()), options.dropout, own);
        if (sequences.even) return Tensor<T, 3>(y.reshape({sequences.steps, sequences.batch, width}) * mask).reshape({sequences.rows, width});
        return y * index_select<0>(index_select<0>(mask, sequences.order), sequences.sequence);
    }
};

}  // namespace tenon::nn::detail
