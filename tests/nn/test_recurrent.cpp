// Recurrent modules: packed batches against sequences one by one, directions, layers, states, dropout, names, edges.
#include <tenon/nn/recurrent.hpp>
#include <tenon/ops/random.hpp>
#include <tenon/ops/reduce.hpp>
#include <tenon/ops/second_order.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

using namespace tenon;

namespace {

template <class T, int R>
bool same(const Tensor<T, R>& a, const Tensor<T, R>& b) {
    const auto x = contiguous(a), y = contiguous(b);
    return x.shape() == y.shape() && std::memcmp(x.data(), y.data(), static_cast<std::size_t>(x.size()) * sizeof(T)) == 0;
}
template <class T, int R>
double distance(const Tensor<T, R>& a, const Tensor<T, R>& b) {
    const auto x = contiguous(a), y = contiguous(b);
    REQUIRE(x.shape() == y.shape());
    double most = 0;
    for (long i = 0; i < x.size(); ++i) most = std::max(most, std::abs(static_cast<double>(x.data()[i]) - static_cast<double>(y.data()[i])));
    return most;
}
template <class M>
std::vector<std::string> names(const M& module) {
    std::vector<std::string> found;
    nn::for_each_tensor(module, [&](const char* name, nn::Kind, const auto&) { found.push_back(name); });
    return found;
}
template <class M>
std::vector<Tensor<double, 1>> gradients(const M& module) {
    std::vector<Tensor<double, 1>> found;
    nn::for_each_tensor(module, [&](const char*, nn::Kind, const auto& w) {
        const Tensor<double, 1> g = clone(w.grad()).reshape({-1});
        found.push_back(g);
        w.zero_grad();
    });
    return found;
}
template <class F>
std::string error_of(F&& f) {
    try {
        f();
    } catch (const Error& error) {
        return error.what();
    }
    return "nothing was thrown";
}

}  // namespace

TEMPLATE_TEST_CASE("a batch of unequal lengths is the sequences one by one", "", nn::LSTM<double>, nn::GRU<double>, nn::RNN<double>) {
    const long steps = 6, batch = 5, in = 3, hidden = 7;
    for (const bool bidirectional : {false, true}) {
        INFO((bidirectional ? "both directions" : "forward"));
        TestType module;
        if constexpr (std::is_same_v<TestType, nn::RNN<double>>) {
            nn::RnnOptions o;
            o.layers = 2, o.bidirectional = bidirectional;
            module = TestType(in, hidden, Key{1}, o);
        } else if constexpr (std::is_same_v<TestType, nn::LSTM<double>>) {
            nn::LstmOptions o;
            o.layers = 2, o.bidirectional = bidirectional, o.projection = 4, o.peepholes = true;
            module = TestType(in, hidden, Key{1}, o);
        } else {
            nn::RecurrentOptions o;
            o.layers = 2, o.bidirectional = bidirectional;
            module = TestType(in, hidden, Key{1}, o);
        }
        constexpr bool lstm = std::is_same_v<TestType, nn::LSTM<double>>;
        const long count = bidirectional ? 4 : 2, out = lstm ? 4 : hidden;
        const auto x = randn<double>({steps, batch, in}, Key{2}).require_grad();
        const auto h = randn<double>({count, batch, out}, Key{3}).require_grad(), c = randn<double>({count, batch, hidden}, Key{4}).require_grad();
        const auto dy = randn<double>({steps, batch, out * (bidirectional ? 2 : 1)}, Key{5}), dh = randn<double>({count, batch, out}, Key{6});
        const auto lengths = from<std::int64_t>({2, 6, 1, 4, 4});
        const auto run = [&](const Tensor<double, 3>& a, const Tensor<double, 3>& h0, const Tensor<double, 3>& c0, const Tensor<std::int64_t, 1>& ends, Tensor<double, 3>& h_n) {
            if constexpr (lstm) {
                const auto r = module(a, {h0, c0}, ends);
                h_n = r.state.h;
                return r.y;
            } else {
                static_cast<void>(c0);
                const auto r = module(a, h0, ends);
                h_n = r.state;
                return r.y;
            }
        };
        Tensor<double, 3> h_n;
        const Tensor<double, 3> y = run(x, h, c, lengths, h_n);
        Tensor<double, 0>(sum(y * dy) + sum(h_n * dh)).backward();
        const auto together = gradients(module);
        const Tensor<double, 3> dx = clone(x.grad()), dh0 = clone(h.grad());
        x.zero_grad();
        h.zero_grad();
        if (lstm) c.zero_grad();
        for (long b = 0; b < batch; ++b) {
            INFO("sequence " << b);
            const long length = lengths.data()[b];
            Tensor<double, 3> state;
            const Tensor<double, 3> own = run(x(slice(0, length), slice(b, b + 1)), h(all, slice(b, b + 1)), c(all, slice(b, b + 1)), {}, state);
            CHECK(distance(own, Tensor<double, 3>(y(slice(0, length), slice(b, b + 1)))) < 1e-13);
            CHECK(distance(state, Tensor<double, 3>(h_n(all, slice(b, b + 1)))) < 1e-13);
            for (long t = length; t < steps; ++t)
                for (long j = 0; j < y.shape(2); ++j) CHECK(y(t, b, j).item() == 0);
            Tensor<double, 0>(sum(own * dy(slice(0, length), slice(b, b + 1))) + sum(state * dh(all, slice(b, b + 1)))).backward();
        }
        const auto one_by_one = gradients(module);
        REQUIRE(together.size() == one_by_one.size());
        for (std::size_t k = 0; k < together.size(); ++k) CHECK(distance(together[k], one_by_one[k]) < 1e-12);
        CHECK(distance(dx, Tensor<double, 3>(x.grad())) < 1e-13);
        CHECK(distance(dh0, Tensor<double, 3>(h.grad())) < 1e-13);
    }
}

TEST_CASE("the other direction is the sequence turned round") {
    const auto x = randn<double>({5, 3, 4}, Key{1});
    const nn::GRU<double> gru(4, 6, Key{2});
    const auto& w = gru.stack.weights[0];
    Tensor<double, 3> turned = empty<double>({5, 3, 4});
    for (long t = 0; t < 5; ++t) turned(t).copy_from(x(4 - t));
    const auto back = gru_layer(x, {}, w, {.reverse = true});
    const auto forward = gru_layer(turned, {}, w);
    for (long t = 0; t < 5; ++t) CHECK(same(Tensor<double, 2>(back.y(t)), Tensor<double, 2>(forward.y(4 - t))));
    CHECK(same(back.state, forward.state));
}

TEST_CASE("cells step by step are the layer over the sequence") {
    const auto x = randn<double>({4, 3, 5}, Key{1});
    nn::LSTMCell<double> lstm_cell(5, 6, Key{2});
    nn::GRUCell<double> gru_cell(5, 6, Key{2});
    nn::RNNCell<double> rnn_cell(5, 6, Key{2}, [] { nn::RnnOptions o; o.relu = true; return o; }());
    const auto lstm = lstm_layer(x, {}, lstm_cell.weights);
    const auto gru = gru_layer(x, {}, gru_cell.weights), rnn = rnn_layer(x, {}, rnn_cell.weights, {}, true);
    LstmState<double, 2> state;
    Tensor<double, 2> h, e;
    for (long t = 0; t < 4; ++t) {
        state = lstm_cell(x(t), state);
        const Tensor<double, 2> next = gru_cell(x(t), h), plain = rnn_cell(x(t), e);
        CHECK(distance(state.h, Tensor<double, 2>(lstm.y(t))) < 1e-14);
        CHECK(distance(next, Tensor<double, 2>(gru.y(t))) < 1e-14);
        CHECK(distance(plain, Tensor<double, 2>(rnn.y(t))) < 1e-14);
        h = Tensor<double, 2>(next);
        e = Tensor<double, 2>(plain);
    }
    CHECK(distance(state.c, lstm.state.c) < 1e-14);
    CHECK(names(lstm_cell) == std::vector<std::string>{"weight_ih", "weight_hh", "bias_ih", "bias_hh"});
}

TEST_CASE("gradients end where the state is detached") {
    const nn::LSTM<double> lstm(3, 4, Key{1});
    const auto x = randn<double>({6, 2, 3}, Key{2}).require_grad();
    const auto first = lstm(x(slice(0, 3)));
    const auto second = lstm(x(slice(3, 6)), first.state.detach());
    const auto whole = lstm(x);
    CHECK(distance(Tensor<double, 3>(whole.y(slice(3, 6))), second.y) < 1e-14);
    sum(second.y).backward();
    for (long i = 0; i < 3 * 2 * 3; ++i) CHECK(x.grad().data()[i] == 0);
    x.zero_grad();
    sum(lstm(x(slice(3, 6)), lstm(x(slice(0, 3))).state).y).backward();
    const Tensor<double, 3> through = clone(x.grad());
    x.zero_grad();
    sum(Tensor<double, 3>(lstm(x).y(slice(3, 6)))).backward();
    CHECK(distance(through, Tensor<double, 3>(x.grad())) < 1e-13);
}

TEST_CASE("recurrent modules name their tensors as PyTorch does") {
    nn::LstmOptions o;
    o.layers = 2, o.bidirectional = true, o.projection = 3;
    const nn::LSTM<float> lstm(4, 5, Key{1}, o);
    CHECK(names(lstm) == std::vector<std::string>{"weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "weight_hr_l0", "weight_ih_l0_reverse", "weight_hh_l0_reverse",
                                                  "bias_ih_l0_reverse", "bias_hh_l0_reverse", "weight_hr_l0_reverse", "weight_ih_l1", "weight_hh_l1", "bias_ih_l1", "bias_hh_l1",
                                                  "weight_hr_l1", "weight_ih_l1_reverse", "weight_hh_l1_reverse", "bias_ih_l1_reverse", "bias_hh_l1_reverse", "weight_hr_l1_reverse"});
    CHECK(lstm.stack.weights[2].weight_ih.shape() == Shape<2>{{20, 6}});
    CHECK(lstm.stack.weights[2].weight_hh.shape() == Shape<2>{{20, 3}});
    nn::RecurrentOptions plain;
    plain.bias = false;
    CHECK(names(nn::GRU<float>(4, 5, Key{1}, plain)) == std::vector<std::string>{"weight_ih_l0", "weight_hh_l0"});
    const double bound = 1 / std::sqrt(5.0);
    double most = 0;
    nn::for_each_tensor(lstm, [&](const char*, nn::Kind, const auto& w) {
        for (long i = 0; i < w.size(); ++i) most = std::max(most, std::abs(static_cast<double>(w.data()[i])));
    });
    CHECK(most <= bound);
    CHECK(most > 0.95 * bound);
    nn::LstmOptions remember;
    remember.forget_bias = 1;
    const auto with = nn::LSTM<float>(4, 5, Key{1}, remember), without = nn::LSTM<float>(4, 5, Key{1});
    for (long j = 0; j < 20; ++j)
        CHECK(with.stack.weights[0].bias_ih.data()[j] == without.stack.weights[0].bias_ih.data()[j] + (j >= 5 && j < 10 ? 1.f : 0.f));
    const auto copy = clone(lstm);
    CHECK(copy.stack.weights[0].weight_hh.data() != lstm.stack.weights[0].weight_hh.data());
}

TEST_CASE("dropout between layers: of elements, or of units over the whole sequence") {
    nn::RecurrentOptions o;
    o.layers = 2, o.dropout = 0.5;
    const nn::GRU<float> plain(3, 8, Key{1}, o);
    o.variational = true;
    const nn::GRU<float> variational(3, 8, Key{1}, o);
    const auto x = randn<float>({5, 4, 3}, Key{2});
    const nn::Context training{Key{3}, true}, inference{Key{3}, false};
    const auto y = plain(x).y;
    CHECK(same(plain(x, inference).y, y));
    CHECK(same(plain(x, training).y, plain(x, training).y));
    CHECK_FALSE(same(plain(x, training).y, y));
    CHECK_FALSE(same(plain(x, training).y, plain(x, nn::Context{Key{4}, true}).y));
    CHECK_FALSE(same(plain(x, training).y, variational(x, training).y));
    // A unit that is dropped is dropped at all steps: what the second layer got is the first one's output times one mask.
    const Tensor<float, 2> mask = dropout(ones<float>({4, 8}), 0.5, training.key.split(variational.stack.key.bits).split(0));
    const auto first = gru_layer(x, {}, variational.stack.weights[0]);
    const auto second = gru_layer(Tensor<float, 3>(first.y * mask), {}, variational.stack.weights[1]);
    CHECK(same(second.y, variational(x, training).y));
    // The mask goes with the sequence, wherever its length puts it.
    const auto lengths = from<std::int64_t>({2, 5, 3, 5});
    const auto uneven = variational(x, {}, lengths, training).y;
    CHECK(distance(Tensor<float, 2>(uneven(2, slice(1, 3))), Tensor<float, 2>(second.y(2, slice(1, 3)))) < 1e-6);
    CHECK(distance(Tensor<float, 1>(uneven(4, 3)), Tensor<float, 1>(second.y(4, 3))) < 1e-6);
}

TEST_CASE("recurrent modules take batches first") {
    nn::RecurrentOptions o;
    o.batch_first = true;
    const nn::GRU<float> gru(3, 4, Key{1}, o);
    const auto x = randn<float>({5, 2, 3}, Key{2});
    const auto r = gru(Tensor<float, 3>(x.permute<1, 0, 2>()));
    const auto plain = gru_layer(x, {}, gru.stack.weights[0]);
    CHECK(r.y.shape() == Shape<3>{{2, 5, 4}});
    CHECK(same(Tensor<float, 3>(r.y.permute<1, 0, 2>()), plain.y));
    CHECK(r.state.shape() == Shape<3>{{1, 2, 4}});
}

TEST_CASE("recurrent results do not depend on the number of threads") {
    const auto x = randn<float>({7, 37, 50}, Key{1});
    Tensor<std::int64_t, 1> lengths = empty<std::int64_t>({37});
    for (long b = 0; b < 37; ++b) lengths.data()[b] = 1 + (b * 5) % 7;
    const auto run = [&](int threads) {
        set_num_threads(threads);
        std::vector<Tensor<float, 1>> results;
        const auto keep = [&](const auto& t) {
            const Tensor<float, 1> copy = clone(contiguous(t)).reshape({-1});
            results.push_back(copy);
        };
        nn::LstmOptions o;
        o.layers = 2, o.bidirectional = true;
        for (const long width : {130, 300}) {
            const nn::LSTM<float> lstm(50, width, Key{2}, o);
            const nn::GRU<float> gru(50, width, Key{2});
            const auto a = lstm(x, {}, lengths);
            const auto b = gru(x, {}, lengths);
            keep(a.y), keep(a.state.c), keep(b.y), keep(b.state);
            Tensor<float, 0>(sum(square(a.y)) + sum(square(b.y)) + sum(square(b.state))).backward();
            nn::for_each_tensor(lstm, [&](const char*, nn::Kind, const auto& w) { keep(w.grad()); });
            nn::for_each_tensor(gru, [&](const char*, nn::Kind, const auto& w) { keep(w.grad()); });
        }
        set_num_threads(2);
        return results;
    };
    const auto one = run(1), two = run(2);
    REQUIRE(one.size() == two.size());
    for (std::size_t k = 0; k < one.size(); ++k) CHECK(same(one[k], two[k]));
}

TEST_CASE("a sequence gives the same bits in any batch") {
    const nn::LSTM<float> lstm(20, 70, Key{1});
    const auto x = randn<float>({4, 45, 20}, Key{2});
    const auto y = lstm(x).y;
    for (const long b : {0, 17, 44}) CHECK(same(lstm(Tensor<float, 3>(x(all, slice(b, b + 1)))).y, Tensor<float, 3>(y(all, slice(b, b + 1)))));
}

TEST_CASE("recurrent layers without steps or without sequences") {
    const nn::LSTM<double> lstm(3, 4, Key{1});
    const auto h = randn<double>({1, 2, 4}, Key{2}).require_grad(), c = randn<double>({1, 2, 4}, Key{3}).require_grad();
    const auto none = lstm(zeros<double>({0, 2, 3}), {h, c});
    CHECK(none.y.shape() == Shape<3>{{0, 2, 4}});
    CHECK(same(none.state.h, Tensor<double, 3>(h)));
    CHECK(same(none.state.c, Tensor<double, 3>(c)));
    Tensor<double, 0>(sum(none.state.h) + sum(none.y) + sum(none.state.c * 2.0)).backward();
    for (long i = 0; i < 8; ++i) {
        CHECK(h.grad().data()[i] == 1);
        CHECK(c.grad().data()[i] == 2);
    }
    nn::for_each_tensor(lstm, [](const char*, nn::Kind, const auto& w) {
        for (long i = 0; i < w.size(); ++i) CHECK(w.grad().data()[i] == 0);
        w.zero_grad();
    });
    const auto empty_batch = lstm(zeros<double>({3, 0, 3}));
    CHECK(empty_batch.y.shape() == Shape<3>{{3, 0, 4}});
    CHECK(empty_batch.state.h.shape() == Shape<3>{{1, 0, 4}});
    sum(empty_batch.y).backward();
    nn::for_each_tensor(lstm, [](const char*, nn::Kind, const auto& w) {
        for (long i = 0; i < w.size(); ++i) CHECK(w.grad().data()[i] == 0);
    });
}

TEST_CASE("recurrent modules say what is wrong") {
    const nn::LSTM<float> lstm(3, 4, Key{1});
    const auto x = zeros<float>({5, 2, 3});
    const auto says = [](const std::string& text, const char* part) {
        INFO(text);
        CHECK(text.find(part) != std::string::npos);
    };
    says(error_of([&] { static_cast<void>(lstm(zeros<float>({5, 2, 7}))); }), "LSTM: input is float[5, 2, 7] on cpu with 7 features");
    says(error_of([&] { static_cast<void>(lstm(x, {zeros<float>({2, 2, 4}), {}})); }), "LSTM: h0 is float[2, 2, 4] on cpu, input is float[5, 2, 3] on cpu: expected [1, 2, 4]");
    says(error_of([&] { static_cast<void>(lstm(x, {{}, zeros<float>({1, 3, 4})})); }), "LSTM: c0 is float[1, 3, 4] on cpu");
    says(error_of([&] { static_cast<void>(lstm(x, {}, from<std::int64_t>({6, 1}))); }), "LSTM: length 6 of sequence 0, expected 1 to 5");
    says(error_of([&] { static_cast<void>(lstm(x, {}, from<std::int64_t>({5, 0}))); }), "LSTM: length 0 of sequence 1, expected 1 to 5");
    says(error_of([&] { static_cast<void>(nn::LSTM<float>()(x)); }), "LSTM: this module is empty");
    says(error_of([&] { nn::GRU<float>(0, 4, Key{1}); }), "GRU: sizes 0 -> 4");
    says(error_of([&] { nn::LstmOptions o; o.projection = 4; nn::LSTM<float>(3, 4, Key{1}, o); }), "LSTM: projection to 4 from 4");
    says(error_of([&] { nn::RecurrentOptions o; o.layers = 0; nn::GRU<float>(3, 4, Key{1}, o); }), "GRU: 0 layers");
    says(error_of([&] { nn::RecurrentOptions o; o.dropout = 1.5; nn::GRU<float>(3, 4, Key{1}, o); }), "GRU: dropout 1.5");
    says(error_of([&] { nn::LstmOptions o; o.peepholes = true; nn::LSTMCell<float>(3, 4, Key{1}, o); }), "LSTMCell: a projection or peepholes were asked for");
    says(error_of([&] {
             const auto y = lstm(Tensor<float, 3>(x.detach()).require_grad()).y;
             sum(y).backward({.create_graph = true});
         }),
         "create_graph: the operation \"LSTM\" has no second derivative");
}
