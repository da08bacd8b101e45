// A recurrent language model: embedding, LSTM, scores of the next token.
#pragma once

#include <tenon/nn/dropout.hpp>
#include <tenon/nn/embedding.hpp>
#include <tenon/nn/linear.hpp>
#include <tenon/nn/recurrent.hpp>

namespace tenon::seq {

struct LanguageModelOptions {
    long vocabulary = 0;       // tokens
    long hidden = 200;         // units of each layer
    long embedding = 0;        // 0: as many as hidden
    long layers = 2;
    double dropout = 0;        // behind the embedding, between layers, and before the scores
    bool variational = false;  // the same mask at all steps (Gal and Ghahramani 2016)
    bool tied = false;         // the scores' weights are the embedding's (Press and Wolf 2017): embedding as large as hidden
    double init = 0;           // all weights but biases of the scores uniform in +-init at first; 0: as the layers do
};
// The models of Zaremba, Sutskever and Vinyals (2014) for the Penn Treebank: 200, 650 and 1500 units, read 20, 35 and 35 steps at a time.
inline LanguageModelOptions ptb_small(long vocabulary) { return {.vocabulary = vocabulary, .hidden = 200, .init = 0.1}; }
inline LanguageModelOptions ptb_medium(long vocabulary) { return {.vocabulary = vocabulary, .hidden = 650, .dropout = 0.5, .init = 0.05}; }
inline LanguageModelOptions ptb_large(long vocabulary) { return {.vocabulary = vocabulary, .hidden = 1500, .dropout = 0.65, .init = 0.04}; }

template <class T>
struct LanguageResult {
    Tensor<T, 3> logits;      // [steps, batch, vocabulary]
    LstmState<T> state;
};

// auto [logits, state] = model(tokens, state, context): tokens int64 [steps, batch]; an empty state is zero. Without a context it is
// inference. For truncated backpropagation hand on state.detach(). Names are those of PyTorch's example: encoder, rnn, decoder.
template <class T = float>
struct LanguageModel {
    nn::Embedding<T> encoder;
    nn::LSTM<T> rnn;
    nn::Linear<T> decoder;
    nn::Dropout before, behind;

    LanguageModel() = default;
    // Throws ShapeError and ValueError.
    LanguageModel(const LanguageModelOptions& o, Key key) : before(o.dropout, key.split(3)), behind(o.dropout, key.split(4)) {
        const long width = o.embedding > 0 ? o.embedding : o.hidden;
        if (o.tied && width != o.hidden)
            fail<ValueError>("LanguageModel: tied weights with an embedding of ", width, " and ", o.hidden, " hidden units: expected as many");
        if (!(o.init >= 0 && o.init < __builtin_inf())) fail<ValueError>("LanguageModel: init is ", o.init, ": expected a finite number of at least 0");
        encoder = nn::Embedding<T>(o.vocabulary, width, key.split(0));
        nn::LstmOptions options;
        options.layers = o.layers, options.dropout = o.layers > 1 ? o.dropout : 0, options.variational = o.variational;
        rnn = nn::LSTM<T>(width, o.hidden, key.split(1), options);
        decoder = nn::Linear<T>(o.hidden, o.vocabulary, key.split(2));
        if (o.tied) decoder.weight = encoder.weight;
        if (o.init == 0) return;
        std::uint64_t number = 5;
        nn::for_each_tensor(*this, [&](const char*, nn::Kind, auto& x) {
            using X = std::remove_cvref_t<decltype(x)>;
            const no_grad guard;
            x.copy_from(X(uniform<T>(x.shape(), key.split(number++), {-o.init, o.init})));
        });
        const no_grad guard;
        decoder.bias.fill(T(0));
    }

    LanguageResult<T> operator()(const Tensor<std::int64_t, 2>& tokens, const LstmState<T>& state, const nn::Context& context) const { return run(tokens, state, &context); }
    LanguageResult<T> operator()(const Tensor<std::int64_t, 2>& tokens, const LstmState<T>& state = {}) const { return run(tokens, state, nullptr); }

    static void visit(auto& self, auto&& f) {
        f("encoder", self.encoder);
        f("rnn", self.rnn);
        f("decoder", self.decoder);
    }

private:
    LanguageResult<T> run(const Tensor<std::int64_t, 2>& tokens, const LstmState<T>& state, const nn::Context* context) const {
        Tensor<T, 3> x = encoder(tokens);
        if (context == nullptr) {
            auto [y, after] = rnn(x, state);
            return {decoder(y), after};
        }
        x = before(x, *context);
        auto [y, after] = rnn(x, state, *context);
        return {decoder(behind(y, *context)), after};
    }
};

}  // namespace tenon::seq
