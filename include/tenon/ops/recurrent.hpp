// Recurrent layers as functions: one layer, one direction, all steps. nn/recurrent.hpp stacks them.
//
// x is [T, B, F], y is [T, B, H]. `lengths` (int64, one for each sequence, in any order, 1 to T) ends sequences early: beyond its
// length y is 0, and the state that comes back is the one after a sequence's last step. With reverse the last step comes first, each
// sequence from its own end. States are optional: an empty handle is zero.
//
// float and double. Throws ShapeError, ValueError and DeviceError. Derivatives of x, states and weights; there is no second one.
#pragma once

#include <tenon/ops/recurrent/layer.hpp>

namespace tenon {

// The state of an LSTM: of a layer h [B, H] (or [B, P]) and c [B, H], of a module [layers * directions, B, ..].
template <class T, int R = 3>
struct LstmState {
    Tensor<T, R> h, c;
    LstmState detach() const { return {h.detach(), c.detach()}; }
};
template <class T, class State>
struct RecurrentResult {
    Tensor<T, 3> y;
    State state;
};

struct RecurrentOptions {
    bool reverse = false;
    Tensor<std::int64_t, 1> lengths{};  // empty: all sequences have T steps
};

inline namespace TENON_CONFIG_NAMESPACE {
namespace impl {

template <class T>
LayerResult<T> layer_of_padded(const char* operation, RecurrentCell cell, const Tensor<T, 3>& x, const Tensor<T, 2>& h0, const Tensor<T, 2>& c0, const RecurrentWeights<T>& w,
                               const RecurrentOptions& options, Tensor<T, 3>& y) {
    static_assert(std::is_same_v<T, float> || std::is_same_v<T, double>, "tenon: recurrent layers are defined for float and double: write cast<float>(x)");
    const Sequences sequences = make_sequences(operation, x.record(), options.lengths, x.device());
    // Sizes first: an index beyond a state too short would name something else.
    recurrent_shape(operation, cell, x.record(), x.shape(1), w, record_or_null(h0), record_or_null(c0));
    const LayerResult<T> r = recurrent_layer(operation, cell, pack_sequences(sequences, x), sequences, options.reverse, sort_state(sequences, h0), sort_state(sequences, c0), w);
    y = pad_sequences(sequences, r.y);
    return {r.y, restore_state(sequences, r.h), restore_state(sequences, r.c)};
}

}  // namespace impl

// i, f, o = sigmoid(W_i x + U_i h + b_i), ...; g = tanh(W_g x + U_g h + b_g); c = f c + i g; h = o tanh(c).
// auto [y, state] = lstm_layer(x, {h0, c0}, weights, {.reverse = true});
template <class T>
[[nodiscard]] RecurrentResult<T, LstmState<T, 2>> lstm_layer(const Tensor<T, 3>& x, const LstmState<T, 2>& state, const RecurrentWeights<T>& weights, const RecurrentOptions& options = {}) {
    Tensor<T, 3> y;
    const auto r = impl::layer_of_padded("lstm", RecurrentCell::lstm, x, state.h, state.c, weights, options, y);
    return {y, {r.h, r.c}};
}
// r, z = sigmoid(W x + U h + b); n = tanh(W_n x + b_in + r (U_n h + b_hn)); h = (1 - z) n + z h.
template <class T>
[[nodiscard]] RecurrentResult<T, Tensor<T, 2>> gru_layer(const Tensor<T, 3>& x, const Tensor<T, 2>& h0, const RecurrentWeights<T>& weights, const RecurrentOptions& options = {}) {
    if (weights.weight_hr.has_value() || weights.peephole.has_value()) fail<ValueError>("gru: a projection or peepholes came: only an LSTM has them");
    Tensor<T, 3> y;
    const auto r = impl::layer_of_padded("gru", RecurrentCell::gru, x, h0, Tensor<T, 2>(), weights, options, y);
    return {y, r.h};
}
// h = tanh(W x + U h + b), or relu.
template <class T>
[[nodiscard]] RecurrentResult<T, Tensor<T, 2>> rnn_layer(const Tensor<T, 3>& x, const Tensor<T, 2>& h0, const RecurrentWeights<T>& weights, const RecurrentOptions& options = {},
                                                         bool relu = false) {
    if (weights.weight_hr.has_value() || weights.peephole.has_value()) fail<ValueError>("rnn: a projection or peepholes came: only an LSTM has them");
    Tensor<T, 3> y;
    const auto r = impl::layer_of_padded("rnn", relu ? RecurrentCell::relu : RecurrentCell::tanh, x, h0, Tensor<T, 2>(), weights, options, y);
    return {y, r.h};
}

}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
