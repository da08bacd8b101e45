// Recurrent layers, with PyTorch's names and layouts: RNN, GRU, LSTM over sequences, and RNNCell, GRUCell, LSTMCell for one step.
//
//     nn::LSTM<float> lstm(64, 128, key, {.layers = 2, .bidirectional = true});
//     auto [y, state] = lstm(x);                        x [T, B, 64], y [T, B, 256], state.h and state.c [4, B, 128]
//     auto [z, next] = lstm(x, state, lengths);         lengths int64 [B], in any order, 1 to T: beyond them y is 0
//     auto [w, last] = lstm(x, state.detach(), context);   dropout between layers; gradients end at the state
//
// For truncated backpropagation hand each piece of the sequence the detached state of the piece before it. States are optional: an
// empty handle is zero. All weights are uniform in +-1 / sqrt(hidden) at first. float and double.
#pragma once

#include <tenon/nn/recurrent/stack.hpp>

#include <concepts>

namespace tenon::nn {

struct RecurrentOptions {
    long layers = 1;
    bool bias = true, bidirectional = false;
    bool batch_first = false;  // x and y are [B, T, ..]; states are not
    double dropout = 0;        // of what a layer hands to the next, while the context trains
    bool variational = false;  // the same mask at all steps of a sequence (Gal and Ghahramani 2016)
};
struct RnnOptions : RecurrentOptions {
    bool relu = false;  // instead of tanh
};
struct LstmOptions : RecurrentOptions {
    long projection = 0;     // h is projected to this size (PyTorch's proj_size); 0: it is not
    bool peepholes = false;  // from the cell to i, f and o, as tensors "peephole_l0" [3, hidden]
    double forget_bias = 0;  // added to the forget gates' bias at first (Gers et al. 2000; Jozefowicz et al. 2015: 1)
};

namespace detail {

inline StackOptions stack_options(const RecurrentOptions& o) {
    StackOptions s;
    s.layers = o.layers;
    s.bias = o.bias;
    s.bidirectional = o.bidirectional;
    s.batch_first = o.batch_first;
    s.dropout = o.dropout;
    s.variational = o.variational;
    return s;
}
inline StackOptions stack_options(const LstmOptions& o) {
    StackOptions s = stack_options(static_cast<const RecurrentOptions&>(o));
    s.projection = o.projection;
    s.peepholes = o.peepholes;
    s.forget_bias = o.forget_bias;
    return s;
}

// Of modules whose state is one tensor h [layers * directions, B, hidden].
template <class T>
struct OneState {
    using State = Tensor<T, 3>;
    RecurrentStack<T> stack;

    RecurrentResult<T, State> operator()(const Tensor<T, 3>& x, const State& h = {}, const Tensor<std::int64_t, 1>& lengths = {}) const { return run(x, h, lengths, nullptr); }
    template <std::same_as<Context> C>  // a braced state is no context
    RecurrentResult<T, State> operator()(const Tensor<T, 3>& x, const C& context) const { return run(x, {}, {}, &context); }
    template <std::same_as<Context> C>  // a braced state is no context
    RecurrentResult<T, State> operator()(const Tensor<T, 3>& x, const State& h, const C& context) const { return run(x, h, {}, &context); }
    template <std::same_as<Context> C>  // a braced state is no context
    RecurrentResult<T, State> operator()(const Tensor<T, 3>& x, const State& h, const Tensor<std::int64_t, 1>& lengths, const C& context) const {
        return run(x, h, lengths, &context);
    }
    static void visit(auto& self, auto&& f) { RecurrentStack<T>::visit(self.stack, f); }

private:
    RecurrentResult<T, State> run(const Tensor<T, 3>& x, const State& h, const Tensor<std::int64_t, 1>& lengths, const Context* context) const {
        auto r = stack.run(x, h, {}, lengths, context);
        return {r.y, r.h};
    }
};

// One step: x as a sequence of length 1.
template <class T>
struct OneStep {
    const char* name = "RNNCell";
    RecurrentCell cell = RecurrentCell::tanh;
    RecurrentWeights<T> weights;

    OneStep() = default;
    OneStep(const char* name_, RecurrentCell cell_, long in, long hidden, Key key, const StackOptions& o) : name(name_), cell(cell_) {
        if (in < 1 || hidden < 1) fail<ShapeError>(name, ": sizes ", in, " -> ", hidden, ", expected at least 1 each");
        weights = make_recurrent_weights<T>(cell, in, hidden, o, key.split(1));
    }
    impl::LayerResult<T> run(const Tensor<T, 2>& x, const Tensor<T, 2>& h, const Tensor<T, 2>& c) const {
        if (!weights.weight_ih.has_value()) fail<ValueError>(name, ": this module is empty: assign one that was given its sizes");
        const Tensor<T, 3> step = x.template unsqueeze<0>();
        return impl::recurrent_layer(name, cell, contiguous(x), impl::make_sequences(name, step.record(), {}, x.device()), false, h, c, weights);
    }
    static void visit(auto& self, auto&& f) {
        f("weight_ih", self.weights.weight_ih);
        f("weight_hh", self.weights.weight_hh);
        if (self.weights.bias_ih.has_value()) f("bias_ih", self.weights.bias_ih);
        if (self.weights.bias_hh.has_value()) f("bias_hh", self.weights.bias_hh);
    }
};

}  // namespace detail

// h = tanh(W x + b_ih + U h + b_hh) (Elman 1990), or relu.
template <class T = float>
struct RNN : detail::OneState<T> {
    RNN() { this->stack.name = "RNN"; }
    // Throws ShapeError and ValueError.
    RNN(long in, long hidden, Key key, const RnnOptions& o = {})
        : detail::OneState<T>{detail::RecurrentStack<T>("RNN", o.relu ? RecurrentCell::relu : RecurrentCell::tanh, in, hidden, key, detail::stack_options(o))} {}
};
// Gated recurrent units (Cho et al. 2014), the reset gate after the product, as PyTorch.
template <class T = float>
struct GRU : detail::OneState<T> {
    GRU() { this->stack.name = "GRU"; }
    // Throws ShapeError and ValueError.
    GRU(long in, long hidden, Key key, const RecurrentOptions& o = {})
        : detail::OneState<T>{detail::RecurrentStack<T>("GRU", RecurrentCell::gru, in, hidden, key, detail::stack_options(o))} {}
};

// Long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000).
template <class T = float>
struct LSTM {
    using State = LstmState<T>;
    detail::RecurrentStack<T> stack;

    LSTM() { stack.name = "LSTM"; }
    // Throws ShapeError and ValueError.
    LSTM(long in, long hidden, Key key, const LstmOptions& o = {}) : stack("LSTM", RecurrentCell::lstm, in, hidden, key, detail::stack_options(o)) {}

    RecurrentResult<T, State> operator()(const Tensor<T, 3>& x, const State& state = {}, const Tensor<std::int64_t, 1>& lengths = {}) const { return run(x, state, lengths, nullptr); }
    template <std::same_as<Context> C>  // a braced state is no context
    RecurrentResult<T, State> operator()(const Tensor<T, 3>& x, const C& context) const { return run(x, {}, {}, &context); }
    template <std::same_as<Context> C>  // a braced state is no context
    RecurrentResult<T, State> operator()(const Tensor<T, 3>& x, const State& state, const C& context) const { return run(x, state, {}, &context); }
    template <std::same_as<Context> C>  // a braced state is no context
    RecurrentResult<T, State> operator()(const Tensor<T, 3>& x, const State& state, const Tensor<std::int64_t, 1>& lengths, const C& context) const {
        return run(x, state, lengths, &context);
    }
    static void visit(auto& self, auto&& f) { detail::RecurrentStack<T>::visit(self.stack, f); }

private:
    RecurrentResult<T, State> run(const Tensor<T, 3>& x, const State& state, const Tensor<std::int64_t, 1>& lengths, const Context* context) const {
        auto r = stack.run(x, state.h, state.c, lengths, context);
        return {r.y, {r.h, r.c}};
    }
};

// One step of a cell: x [B, F] and the state [B, hidden] (empty: zero) to the state after it.
template <class T = float>
struct RNNCell : detail::OneStep<T> {
    RNNCell() { this->name = "RNNCell"; }
    RNNCell(long in, long hidden, Key key, const RnnOptions& o = {})
        : detail::OneStep<T>("RNNCell", o.relu ? RecurrentCell::relu : RecurrentCell::tanh, in, hidden, key, detail::stack_options(o)) {}
    Tensor<T, 2> operator()(const Tensor<T, 2>& x, const Tensor<T, 2>& h = {}) const { return this->run(x, h, {}).h; }
};
template <class T = float>
struct GRUCell : detail::OneStep<T> {
    GRUCell() { this->name = "GRUCell"; }
    GRUCell(long in, long hidden, Key key, const RecurrentOptions& o = {}) : detail::OneStep<T>("GRUCell", RecurrentCell::gru, in, hidden, key, detail::stack_options(o)) {}
    Tensor<T, 2> operator()(const Tensor<T, 2>& x, const Tensor<T, 2>& h = {}) const { return this->run(x, h, {}).h; }
};
template <class T = float>
struct LSTMCell : detail::OneStep<T> {
    LSTMCell() { this->name = "LSTMCell"; }
    LSTMCell(long in, long hidden, Key key, const LstmOptions& o = {}) : detail::OneStep<T>("LSTMCell", RecurrentCell::lstm, in, hidden, key, options(o)) {}
    LstmState<T, 2> operator()(const Tensor<T, 2>& x, const LstmState<T, 2>& state = {}) const {
        const auto r = this->run(x, state.h, state.c);
        return {r.h, r.c};
    }

private:
    static detail::StackOptions options(const LstmOptions& o) {
        if (o.projection != 0 || o.peepholes) fail<ValueError>("LSTMCell: a projection or peepholes were asked for: only LSTM has them");
        return detail::stack_options(o);
    }
};

}  // namespace tenon::nn
