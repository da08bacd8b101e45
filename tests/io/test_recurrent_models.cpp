// Recurrent modules exchange their weights with PyTorch by name, and compute what it does.
#include "../golden/golden.hpp"
#include "files.hpp"

#include <tenon/io/safetensors.hpp>
#include <tenon/nn/recurrent.hpp>
#include <tenon/ops/reduce.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <string>
#include <vector>

using namespace tenon;

namespace {

const golden::Array& stored(const std::string& key) {
    static const golden::File file = golden::read(TENON_TEST_DIR "/golden/recurrent_models.safetensors");
    const auto found = file.find(key);
    INFO(key);
    REQUIRE(found != file.end());
    return found->second;
}
Tensor<double, 3> tensor(const std::string& key) {
    const golden::Array& a = stored(key);
    Tensor<double, 3> x = empty<double>({a.shape[0], a.shape[1], a.shape[2]});
    for (long i = 0; i < x.size(); ++i) x.data()[i] = a.reals[static_cast<std::size_t>(i)];
    return x;
}
template <int R>
void check(const Tensor<double, R>& given, const std::string& key) {
    INFO(key);
    const Tensor<double, R> got = contiguous(given);
    const golden::Array& a = stored(key);
    REQUIRE(got.size() == static_cast<long>(a.reals.size()));
    double most = 0;
    for (long i = 0; i < got.size(); ++i) most = std::max(most, std::abs(got.data()[i] - a.reals[static_cast<std::size_t>(i)]));
    CHECK(most < 1e-12);
}

template <class M>
void check_model(const std::string& name, M net) {
    INFO(name);
    const std::string file = TENON_TEST_DIR "/golden/recurrent_" + name + ".safetensors";
    const auto report = io::load(file, net);
    CHECK(report.missing.empty());
    CHECK(report.unexpected.empty());
    const golden::Array& ends = stored(name + "/lengths");
    Tensor<std::int64_t, 1> lengths = empty<std::int64_t>({ends.size()});
    for (long b = 0; b < lengths.size(); ++b) lengths.data()[b] = ends.integers[static_cast<std::size_t>(b)];
    const auto x = tensor(name + "/x");
    Tensor<double, 3> y;
    if constexpr (std::is_same_v<M, nn::LSTM<double>>) {
        const auto r = net(x, {tensor(name + "/h0"), tensor(name + "/c0")}, lengths);
        y = Tensor<double, 3>(r.y.any());
        check(r.state.h, name + "/h");
        check(r.state.c, name + "/c");
    } else {
        const auto r = net(x, tensor(name + "/h0"), lengths);
        y = Tensor<double, 3>(r.y.any());
        check(r.state, name + "/h");
    }
    check(y, name + "/y");
    Tensor<double, 3> dy = empty<double>(y.shape());
    for (long i = 0; i < dy.size(); ++i) dy.data()[i] = std::cos(static_cast<double>(i));
    y.backward(dy);
    nn::for_each_tensor(net, [&](const char* key, nn::Kind, const auto& w) { check(Tensor<double, std::remove_cvref_t<decltype(w)>::rank>(w.grad()), name + "/d_" + key); });

    // What we write has PyTorch's names and sizes.
    const files::Folder folder;
    io::save(folder / "ours.safetensors", net);
    const io::Safetensors ours(folder / "ours.safetensors"), theirs(file);
    std::vector<std::string> names;
    nn::for_each_tensor(net, [&](const char* key, nn::Kind, const auto&) { names.push_back(key); });
    for (const std::string& key : names) CHECK(files::equal(ours.get(key), theirs.get(key)));
}

}  // namespace

TEST_CASE("recurrent modules take PyTorch's state dicts and compute what it does") {
    nn::LstmOptions lstm;
    lstm.layers = 2, lstm.bidirectional = true, lstm.projection = 4;
    check_model("lstm", nn::LSTM<double>(3, 6, Key{1}, lstm));
    nn::RecurrentOptions gru;
    gru.layers = 2, gru.bidirectional = true;
    check_model("gru", nn::GRU<double>(3, 5, Key{1}, gru));
    nn::RnnOptions rnn;
    rnn.relu = true, rnn.bias = false;
    check_model("rnn", nn::RNN<double>(3, 5, Key{1}, rnn));
}
