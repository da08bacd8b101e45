// The recurrent language model: sizes of the published forms, PyTorch's numbers, tied weights, pieces of a sequence, learning, errors.
#include "../golden/golden.hpp"

#include <tenon/ops/loss.hpp>
#include <tenon/seq/language_model.hpp>
#include <tenon/tenon.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <cstring>
#include <string>

using namespace tenon;
using seq::LanguageModel;

namespace {
const golden::Array& stored(const std::string& key) {
    static const golden::File file = golden::read(TENON_TEST_DIR "/golden/language_model.safetensors");
    const auto found = file.find(key);
    INFO(key);
    REQUIRE(found != file.end());
    return found->second;
}
Tensor<std::int64_t, 2> tokens(const std::string& key) {
    const golden::Array& a = stored(key);
    Tensor<std::int64_t, 2> x = empty<std::int64_t>({a.shape[0], a.shape[1]});
    for (long i = 0; i < x.size(); ++i) x.data()[i] = a.integers[static_cast<std::size_t>(i)];
    return x;
}
template <class X>
double off(const X& given, const std::string& key) {
    const X x = contiguous(given.detach());
    const golden::Array& a = stored(key);
    REQUIRE(x.size() == static_cast<long>(a.reals.size()));
    double most = 0;
    for (long i = 0; i < x.size(); ++i) most = std::max(most, std::abs(x.data()[i] - a.reals[static_cast<std::size_t>(i)]));
    return most;
}
Tensor<std::int64_t, 2> pattern(long steps, long batch, long shift) {
    Tensor<std::int64_t, 2> x = empty<std::int64_t>({steps, batch});
    for (long t = 0; t < steps; ++t)
        for (long b = 0; b < batch; ++b) x.data()[t * batch + b] = (t + shift + 3 * b) % 7;
    return x;
}
}  // namespace

TEST_CASE("the Penn Treebank models have their published sizes", "[seq]") {
    // 4.65, 19.8 and 66.0 million, counting both biases of the LSTM as PyTorch does.
    CHECK(nn::parameter_count(LanguageModel<float>(seq::ptb_small(10000), Key{1})) == 4653200);
    CHECK(nn::parameter_count(LanguageModel<float>(seq::ptb_medium(10000), Key{1})) == 19780400);
    const LanguageModel<float> small(seq::ptb_small(100), Key{1});
    CHECK(max(abs(small.rnn.stack.weights[0].weight_hh)).item() <= 0.1f);
    CHECK(max(abs(small.encoder.weight)).item() > 0.09f);
    CHECK(max(abs(small.decoder.bias)).item() == 0);
}

TEST_CASE("the language model computes what PyTorch does", "[seq]") {
    for (const bool tied : {false, true}) {
        INFO("tied " << tied);
        const std::string prefix = tied ? "tied/" : "free/";
        LanguageModel<double> model({.vocabulary = 11, .hidden = 6, .embedding = tied ? 6 : 4, .layers = 2, .tied = tied}, Key{1});
        nn::for_each_tensor(model, [&](const char* name, nn::Kind, auto& x) {
            const golden::Array& a = stored(prefix + name);
            REQUIRE(x.size() == static_cast<long>(a.reals.size()));
            for (long i = 0; i < x.size(); ++i) x.detach().data()[i] = a.reals[static_cast<std::size_t>(i)];
        });
        const auto x = tokens(prefix + "tokens"), y = tokens(prefix + "targets");
        const auto [logits, state] = model(x);
        CHECK(off(logits, prefix + "logits") < 1e-12);
        CHECK(off(state.h, prefix + "h") < 1e-12);
        const auto loss = cross_entropy(logits.reshape({-1, 11}), y.reshape({-1}));
        loss.backward();
        nn::for_each_tensor(model, [&](const char* name, nn::Kind, const auto& w) {
            INFO(name);
            CHECK(off(w.grad(), prefix + "d_" + name) < 1e-12);
        });
        CHECK((model.encoder.weight.record() == model.decoder.weight.record()) == tied);
        // Two pieces with the state between them are the whole.
        const auto first = model(x(slice(0, 2), all)), second = model(x(slice(2, x.shape(0)), all), first.state.detach());
        CHECK(max(abs(second.logits - logits(slice(2, x.shape(0)), all, all))).item() < 1e-13);
    }
}

TEST_CASE("the language model learns a cycle", "[seq]") {
    LanguageModel<float> model({.vocabulary = 7, .hidden = 24, .layers = 1, .dropout = 0.1, .tied = true}, Key{3});
    auto optimiser = optim::adam(model, {.lr = 0.01});
    LstmState<float> state;
    float last = 0;
    for (std::uint64_t step = 0; step < 150; ++step) {
        auto [logits, after] = model(pattern(10, 4, static_cast<long>(step) * 10), state, {Key{4}.split(step)});
        auto loss = cross_entropy(logits.reshape({-1, 7}), pattern(10, 4, static_cast<long>(step) * 10 + 1).reshape({-1}));
        loss.backward();
        optimiser.clip_norm(1);
        optimiser.step();
        state = after.detach();
        last = loss.item();
    }
    CHECK(last < 0.3f);
    // The same key drops the same; inference drops nothing.
    const auto x = pattern(5, 4, 0);
    CHECK(max(abs(model(x, {}, {Key{5}}).logits - model(x, {}, {Key{5}}).logits)).item() == 0);
    CHECK(max(abs(model(x, {}, {Key{5}}).logits - model(x).logits)).item() > 0);
    CHECK(max(abs(model(x, {}, {Key{5}, false}).logits - model(x).logits)).item() == 0);
}

TEST_CASE("the language model: errors", "[seq]") {
    CHECK_THROWS_WITH(LanguageModel<float>({.vocabulary = 5, .hidden = 6, .embedding = 4, .tied = true}, Key{1}),
                      Catch::Contains("LanguageModel: tied weights with an embedding of 4 and 6 hidden units: expected as many"));
    CHECK_THROWS_WITH(LanguageModel<float>({.vocabulary = 0}, Key{1}), Catch::Contains("Embedding: sizes 0 x 200"));
    CHECK_THROWS_WITH(LanguageModel<float>({.vocabulary = 5, .init = -1}, Key{1}), Catch::Contains("LanguageModel: init is -1"));
    const LanguageModel<float> model({.vocabulary = 5, .hidden = 6}, Key{1});
    CHECK_THROWS_AS(model(pattern(3, 2, 0)), IndexError);
}
