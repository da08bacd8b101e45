// Recurrent layers. A record's result is y, h_n and c_n in a row.
#include "record.hpp"

#include <tenon/ops/recurrent.hpp>

namespace {

auto flat(const auto& x) { return x.reshape({-1}); }
auto all_of(const auto& r) {
    if constexpr (requires { r.state.c; }) return tenon::concat<0>(flat(r.y), flat(r.state.h), flat(r.state.c));
    else return tenon::concat<0>(flat(r.y), flat(r.state));
}
template <class X>
using Weights = tenon::RecurrentWeights<typename std::remove_cvref_t<X>::Scalar>;

}  // namespace

TENON_OPERATORS(recurrent) {
    using namespace tenon;
    using namespace operators;
    const auto x = real<3>("x", {35, 20, 200}), x_gru = real<3>("x", {60, 160, 64}), x_rnn = real<3>("x", {35, 20, 100});
    const auto h0 = real<2>("h0", {20, 200}), c0 = real<2>("c0", {20, 200}), h0_gru = real<2>("h0", {160, 64}), h0_rnn = real<2>("h0", {20, 72});
    const auto w_ih = real<2>("w_ih", {800, 200}, -0.1, 0.1), w_hh = real<2>("w_hh", {800, 200}, -0.1, 0.1);
    const auto b_ih = real<1>("b_ih", {800}), b_hh = real<1>("b_hh", {800});
    const auto gru_ih = real<2>("w_ih", {192, 64}, -0.1, 0.1), gru_hh = real<2>("w_hh", {192, 64}, -0.1, 0.1);
    const auto gru_b_ih = real<1>("b_ih", {192}), gru_b_hh = real<1>("b_hh", {192});
    const auto rnn_ih = real<2>("w_ih", {72, 100}, -0.1, 0.1), rnn_hh = real<2>("w_hh", {72, 72}, -0.1, 0.1);
    const auto rnn_b_ih = real<1>("b_ih", {72}), rnn_b_hh = real<1>("b_hh", {72});

    add({.name = "lstm_layer", .golden = "lstm"},
        [](const auto& a, const auto& h, const auto& c, const auto& wi, const auto& wh, const auto& bi, const auto& bh) {
            return all_of(lstm_layer(a, {h, c}, Weights<decltype(a)>{wi, wh, bi, bh}));
        },
        x, h0, c0, w_ih, w_hh, b_ih, b_hh);
    add({.name = "lstm_layer, lengths", .golden = "lstm_lengths"},
        [](const auto& a, const auto& h, const auto& c, const auto& wi, const auto& wh, const auto& bi, const auto& bh, const auto& lengths) {
            return all_of(lstm_layer(a, {h, c}, Weights<decltype(a)>{wi, wh, bi, bh}, {.lengths = lengths}));
        },
        x, h0, c0, w_ih, w_hh, b_ih, b_hh, integer<1>("lengths", {20}, 1, 36));
    add({.name = "lstm_layer, lengths, reverse", .golden = "lstm_reverse"},
        [](const auto& a, const auto& h, const auto& c, const auto& wi, const auto& wh, const auto& bi, const auto& bh, const auto& lengths) {
            return all_of(lstm_layer(a, {h, c}, Weights<decltype(a)>{wi, wh, bi, bh}, {.reverse = true, .lengths = lengths}));
        },
        real<3>("x"), real<2>("h0"), real<2>("c0"), real<2>("w_ih"), real<2>("w_hh"), real<1>("b_ih"), real<1>("b_hh"), integer<1>("lengths"));
    add({.name = "lstm_layer, no state, no biases", .golden = "lstm_plain"},
        [](const auto& a, const auto& wi, const auto& wh) { return all_of(lstm_layer(a, {}, Weights<decltype(a)>{wi, wh})); }, real<3>("x"), real<2>("w_ih"), real<2>("w_hh"));
    add({.name = "lstm_layer, projection", .golden = "lstm_projection"},
        [](const auto& a, const auto& h, const auto& c, const auto& wi, const auto& wh, const auto& bi, const auto& bh, const auto& wr, const auto& lengths) {
            return all_of(lstm_layer(a, {h, c}, Weights<decltype(a)>{wi, wh, bi, bh, wr}, {.lengths = lengths}));
        },
        x, real<2>("h0", {20, 60}), c0, w_ih, real<2>("w_hh", {800, 60}, -0.1, 0.1), b_ih, b_hh, real<2>("w_hr", {60, 200}, -0.1, 0.1), integer<1>("lengths", {20}, 1, 36));
    add({.name = "lstm_layer, peepholes", .golden = "lstm_peephole"},
        [](const auto& a, const auto& h, const auto& c, const auto& wi, const auto& wh, const auto& bi, const auto& bh, const auto& p) {
            return all_of(lstm_layer(a, {h, c}, Weights<decltype(a)>{wi, wh, bi, bh, {}, p}));
        },
        x, h0, c0, w_ih, w_hh, b_ih, b_hh, real<2>("p", {3, 200}));
    add({.name = "gru_layer", .golden = "gru"},
        [](const auto& a, const auto& h, const auto& wi, const auto& wh, const auto& bi, const auto& bh) { return all_of(gru_layer(a, h, Weights<decltype(a)>{wi, wh, bi, bh})); },
        x_gru, h0_gru, gru_ih, gru_hh, gru_b_ih, gru_b_hh);
    add({.name = "gru_layer, lengths", .golden = "gru_lengths"},
        [](const auto& a, const auto& h, const auto& wi, const auto& wh, const auto& bi, const auto& bh, const auto& lengths) {
            return all_of(gru_layer(a, h, Weights<decltype(a)>{wi, wh, bi, bh}, {.lengths = lengths}));
        },
        x_gru, h0_gru, gru_ih, gru_hh, gru_b_ih, gru_b_hh, integer<1>("lengths", {160}, 1, 61));
    add({.name = "gru_layer, lengths, reverse", .golden = "gru_reverse"},
        [](const auto& a, const auto& h, const auto& wi, const auto& wh, const auto& bi, const auto& bh, const auto& lengths) {
            return all_of(gru_layer(a, h, Weights<decltype(a)>{wi, wh, bi, bh}, {.reverse = true, .lengths = lengths}));
        },
        real<3>("x"), real<2>("h0"), real<2>("w_ih"), real<2>("w_hh"), real<1>("b_ih"), real<1>("b_hh"), integer<1>("lengths"));
    add({.name = "gru_layer, no state, no biases", .golden = "gru_plain"},
        [](const auto& a, const auto& wi, const auto& wh) { return all_of(gru_layer(a, {}, Weights<decltype(a)>{wi, wh})); }, real<3>("x"), real<2>("w_ih"), real<2>("w_hh"));
    add({.name = "rnn_layer", .golden = "rnn_tanh"},
        [](const auto& a, const auto& h, const auto& wi, const auto& wh, const auto& bi, const auto& bh) { return all_of(rnn_layer(a, h, Weights<decltype(a)>{wi, wh, bi, bh})); },
        x_rnn, h0_rnn, rnn_ih, rnn_hh, rnn_b_ih, rnn_b_hh);
    add({.name = "rnn_layer, lengths, reverse", .golden = "rnn_tanh_reverse"},
        [](const auto& a, const auto& h, const auto& wi, const auto& wh, const auto& bi, const auto& bh, const auto& lengths) {
            return all_of(rnn_layer(a, h, Weights<decltype(a)>{wi, wh, bi, bh}, {.reverse = true, .lengths = lengths}));
        },
        x_rnn, h0_rnn, rnn_ih, rnn_hh, rnn_b_ih, rnn_b_hh, integer<1>("lengths", {20}, 1, 36));
    add({.name = "rnn_layer, relu", .golden = "rnn_relu", .kinks = true},
        [](const auto& a, const auto& h, const auto& wi, const auto& wh, const auto& bi, const auto& bh) { return all_of(rnn_layer(a, h, Weights<decltype(a)>{wi, wh, bi, bh}, {}, true)); },
        x_rnn, h0_rnn, rnn_ih, rnn_hh, rnn_b_ih, rnn_b_hh);
    add({.name = "rnn_layer, relu, lengths", .golden = "rnn_relu_lengths", .kinks = true},
        [](const auto& a, const auto& h, const auto& wi, const auto& wh, const auto& bi, const auto& bh, const auto& lengths) {
            return all_of(rnn_layer(a, h, Weights<decltype(a)>{wi, wh, bi, bh}, {.lengths = lengths}, true));
        },
        real<3>("x"), real<2>("h0"), real<2>("w_ih"), real<2>("w_hh"), real<1>("b_ih"), real<1>("b_hh"), integer<1>("lengths"));

    const auto z = zeros<float>({4, 3, 5});
    const RecurrentWeights<float> w{zeros<float>({24, 5}), zeros<float>({24, 6}), zeros<float>({24}), zeros<float>({24})};
    add_error("lstm_layer", [=] { return lstm_layer(zeros<float>({4, 3, 7}), {}, w); }, "input is float[4, 3, 7] on cpu with 7 features (its last axis), weight_ih is float[24, 5] on cpu");
    add_error("lstm_layer", [=] { return lstm_layer(z, {zeros<float>({3, 5}), {}}, w); }, "h0 is float[3, 5] on cpu, input is float[4, 3, 5] on cpu, weight_ih is float[24, 5] on cpu: expected [3, 6]");
    add_error("lstm_layer", [=] { return lstm_layer(z, {{}, zeros<float>({2, 6})}, w); }, "c0 is float[2, 6] on cpu");
    add_error("lstm_layer", [=] { return lstm_layer(z, {}, w, {.lengths = from<std::int64_t>({1, 0, 4})}); }, "length 0 of sequence 1, expected 1 to 4");
    add_error("lstm_layer", [=] { return lstm_layer(z, {}, w, {.lengths = from<std::int64_t>({1, 2, 5})}); }, "length 5 of sequence 2, expected 1 to 4");
    add_error("lstm_layer", [=] { return lstm_layer(z, {}, w, {.lengths = from<std::int64_t>({1, 2})}); }, "expected one length for each of the 3 sequences");
    add_error("lstm_layer", [=] { return lstm_layer(z, {}, {zeros<float>({10, 5}), zeros<float>({10, 2})}); }, "expected 4 * hidden rows");
    add_error("lstm_layer", [=] { return lstm_layer(z, {}, {w.weight_ih, w.weight_hh, zeros<float>({23})}); }, "bias_ih is float[23] on cpu");
    add_error("lstm_layer", [=] { return lstm_layer(z, {}, {w.weight_ih, w.weight_hh, {}, {}, zeros<float>({6, 6})}); }, "expected a projection from 6 to fewer");
    add_error("gru_layer", [=] { return gru_layer(z, {}, {w.weight_ih, zeros<float>({24, 6})}); }, "weight_hh is float[24, 6] on cpu");
    add_error("gru_layer", [=] { return gru_layer(z, {}, {w.weight_ih, w.weight_hh, {}, {}, {}, zeros<float>({3, 8})}); }, "only an LSTM has them");
}
