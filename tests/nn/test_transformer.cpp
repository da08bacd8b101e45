// Attention layers, positions and the Transformer against PyTorch's, and decoding step by step against the whole pass.
#include <catch2/catch.hpp>

#include <tenon/io/safetensors.hpp>
#include <tenon/nn/transformer.hpp>
#include <tenon/testing/gradcheck.hpp>

#include "../golden/golden.hpp"
#include "../io/files.hpp"

#include <cmath>

using namespace tenon;

namespace {

const golden::File& cases() {
    static const golden::File file = golden::read(TENON_TEST_DIR "/golden/transformer.safetensors");
    return file;
}
Tensor<double, 3> given(const std::string& name) {
    const golden::Array& x = cases().at(name);
    return from<double>({x.shape[0], x.shape[1], x.shape[2]}, x.reals.data());
}
template <int R>
void check_near(const std::string& name, const Tensor<double, R>& got, double bound = 1e-11) {
    INFO(name);
    const auto values = contiguous(got.detach());
    const golden::Array& expected = cases().at(name);
    REQUIRE(expected.size() == values.size());
    double worst = 0;
    for (long i = 0; i < values.size(); ++i) worst = std::max(worst, std::abs(values.data()[i] - expected.reals[std::size_t(i)]));
    CHECK(worst <= bound);
}
template <int R>
double distance(const Tensor<double, R>& a, const Tensor<double, R>& b) {
    REQUIRE(a.shape() == b.shape());
    const auto x = contiguous(a.detach()), y = contiguous(b.detach());
    double most = 0;
    for (long i = 0; i < x.size(); ++i) most = std::max(most, std::abs(x.data()[i] - y.data()[i]));
    return most;
}

template <class Net, class F>
void check_module(const std::string& name, Net net, F&& run) {
    INFO(name);
    const auto report = io::load(TENON_TEST_DIR "/golden/transformer_" + name + ".safetensors", net);
    CHECK(report.missing.empty());
    CHECK(report.unexpected.empty());
    const auto x = given(name + "/x").require_grad(), memory = given(name + "/memory").require_grad();
    const Tensor<double, 3> y = run(net, x, memory);
    check_near(name + "/y", y);
    auto weight = empty_like(y.detach());
    for (long i = 0; i < weight.size(); ++i) weight.data()[i] = std::cos(static_cast<double>(i));
    y.backward(weight);
    check_near(name + "/d_x", x.grad(), 1e-10);
    if (cases().count(name + "/d_memory") != 0) check_near(name + "/d_memory", memory.grad(), 1e-10);
    nn::for_each_tensor(net,
                        [&](const char* path, nn::Kind, const auto& tensor) { check_near(name + "/d_" + path, tensor.grad(), 1e-10); });
    // The other way round: the names and shapes that PyTorch reads.
    const files::Folder folder;
    io::save(folder / "ours.safetensors", net);
    Net other = clone(net);
    nn::for_each_tensor(other, [](const char*, nn::Kind, auto& tensor) { tensor.copy_from(tensor.detach() * 0.0); });
    io::load(folder / "ours.safetensors", other);
    CHECK(distance(run(other, x, memory), y) == 0);
}

const nn::TransformerSettings post{
    .feedforward = 12, .dropout = 0.1, .activation = nn::FeedForward::relu, .norm_first = false, .rotary = false, .eps = 1e-5};
const nn::TransformerSettings pre{
    .feedforward = 12, .dropout = 0.1, .activation = nn::FeedForward::relu, .norm_first = true, .rotary = false, .eps = 1e-5};

}  // namespace

TEST_CASE("multi-head attention is PyTorch's") {
    const auto lengths = from<std::int64_t>({5, 3});
    check_module("multihead", nn::MultiheadAttention<double>(8, 2, Key{1}),
                 [&](const auto& net, const auto& x, const auto&) { return net(x, {.lengths = lengths}); });
    nn::MultiheadAttention<double> net(8, 2, Key{1});
    io::load(TENON_TEST_DIR "/golden/transformer_multihead.safetensors", net);
    check_near("cross/y", net(given("cross/x"), given("cross/memory")));
    CHECK_THROWS_WITH(nn::MultiheadAttention<>(8, 3, Key{1}),
                      Catch::Contains("3 heads: expected a number of heads that divides the width"));
    CHECK_THROWS_WITH(net(zeros<double>({1, 2, 7})), Catch::Contains("double[1, 2, 7]") && Catch::Contains("expected [B, T, 8]"));
}
TEST_CASE("the Transformer's layers are PyTorch's") {
    nn::TransformerSettings gelus = pre;
    gelus.activation = nn::FeedForward::gelu;
    const auto lengths = from<std::int64_t>({5, 3});
    check_module("encoder_layer", nn::TransformerEncoderLayer<double>(8, 2, Key{1}, post),
                 [](const auto& net, const auto& x, const auto&) { return net(x, {.causal = true}); });
    check_module("encoder", nn::TransformerEncoder<double>(2, 8, 2, Key{1}, gelus),
                 [&](const auto& net, const auto& x, const auto&) { return net(x, {.lengths = lengths}); });
    check_module("decoder_layer", nn::TransformerDecoderLayer<double>(8, 2, Key{1}, pre),
                 [](const auto& net, const auto& x, const auto& m) { return net(x, m, {.causal = true}); });
    check_module("decoder", nn::TransformerDecoder<double>(2, 8, 2, Key{1}, post),
                 [](const auto& net, const auto& x, const auto& m) { return net(x, m, {.causal = true}); });
}

TEST_CASE("decoding with a cache is the whole causal pass") {
    nn::TransformerSettings turned = pre;
    turned.rotary = true;
    for (const auto& settings : {post, pre, turned}) {
        const nn::TransformerEncoder<double> encoder(2, 8, 2, Key{1}, settings);
        const nn::TransformerDecoder<double> decoder(2, 8, 2, Key{2}, settings);
        const auto x = randn<double>({3, 40, 8}, Key{3}), memory = randn<double>({3, 6, 8}, Key{4});
        const auto lengths = from<std::int64_t>({6, 2, 0});
        const Tensor<double, 3> whole = encoder(x, {.causal = true}), decoded = decoder(x, memory, {.causal = true}, {.lengths = lengths});
        std::vector<nn::KeyValueCache<double>> caches;
        auto cache = decoder.start(memory);
        for (long at = 0; at < 40;) {
            const long n = at == 0 ? 5 : 1;
            const Tensor<double, 3> now = x(all, slice(at, at + n));
            CHECK(distance(encoder.step(now, caches), Tensor<double, 3>(whole(all, slice(at, at + n)))) < 1e-12);
            CHECK(distance(decoder.step(now, cache, {.lengths = lengths}), Tensor<double, 3>(decoded(all, slice(at, at + n)))) < 1e-12);
            at += n;
        }
        CHECK(caches[0].length == 40);
    }
    const nn::TransformerDecoder<double> decoder(2, 8, 2, Key{2}, pre);
    nn::TransformerDecoder<double>::Cache none;
    CHECK_THROWS_WITH(decoder.step(zeros<double>({1, 1, 8}), none), Catch::Contains("it comes from start(memory)"));
}

TEST_CASE("dropout in the Transformer follows the context") {
    const nn::TransformerEncoder<float> net(2, 8, 2, Key{1}, post);
    const auto x = randn<float>({2, 5, 8}, Key{2});
    const auto bits = [](const Tensor<float, 3>& y) { return std::vector<float>(y.data(), y.data() + y.size()); };
    const Tensor<float, 3> plain = net(x), inference = net(x, {}, nn::Context{Key{3}, false}), once = net(x, {}, nn::Context{Key{3}, true}),
                           again = net(x, {}, nn::Context{Key{3}, true}), other = net(x, {}, nn::Context{Key{4}, true});
    CHECK(bits(plain) == bits(inference));
    CHECK(bits(once) == bits(again));
    CHECK(bits(once) != bits(other));
    CHECK(bits(once) != bits(plain));
}

TEST_CASE("positions: sinusoids, learned, rotary, buckets") {
    const auto table = nn::sinusoidal_positions<double>(3, 6, 10);
    for (long i = 0; i < 3; ++i)
        for (long c = 0; c < 6; ++c) {
            const double angle = double(10 + i) / std::pow(10000.0, double(c / 2 * 2) / 6);
            CHECK(table.data()[i * 6 + c] == Approx(c % 2 == 0 ? std::sin(angle) : std::cos(angle)).margin(1e-14));
        }
    CHECK_THROWS_WITH(nn::sinusoidal_positions(3, 5), Catch::Contains("width 5, expected an even number"));

    const nn::LearnedPositions<float> learned(8, 4, Key{1});
    CHECK(learned(3, 2).data() == learned.weight.data() + 8);
    CHECK_THROWS_WITH(learned(3, 6), Catch::Contains("positions 6 to 9, expected 0 to 8"));

    // Products depend on the difference of positions alone, and lengths do not change.
    const auto q = randn<double>({1, 6}, Key{2}), k = randn<double>({1, 6}, Key{3});
    const auto product = [&](long i, long j) { return sum(nn::rotary(q, i) * nn::rotary(k, j)).item(); };
    CHECK(product(3, 1) == Approx(product(10, 8)).epsilon(1e-12));
    CHECK(product(3, 1) != Approx(product(3, 2)).epsilon(1e-3));
    CHECK(sum(square(nn::rotary(q, 5))).item() == Approx(sum(square(q)).item()).epsilon(1e-12));
    CHECK(distance(nn::rotary(q, 0), q) == 0);
    CHECK_NOTHROW(testing::gradcheck([](const auto& x) { return nn::rotary(x, 3); }, randn<double>({2, 3, 4}, Key{4})));
    CHECK_THROWS_WITH(nn::rotary(zeros<float>({2, 3})), Catch::Contains("expected an even number"));

    const nn::RelativeBias<double> both(2, Key{1}), behind(2, Key{1}, {.buckets = 16, .most = 100, .bidirectional = false});
    for (long d = -200; d <= 200; ++d) {
        CHECK(both.bucket(d) == cases().at("buckets/both").integers[std::size_t(d + 200)]);
        CHECK(behind.bucket(d) == cases().at("buckets/behind").integers[std::size_t(d + 200)]);
    }
    const auto bias = both(3, 5);
    CHECK(bias.shape() == Shape<4>{1, 2, 3, 5});
    CHECK(contiguous(bias.detach()).data()[0] == both.weight.data()[both.bucket(-2) * 2]);
    nn::MultiheadAttention<double> net(8, 2, Key{1});
    sum(square(net(randn<double>({2, 4, 8}, Key{5}), {.bias = both(4, 4)}))).backward();
    CHECK(both.weight.has_grad());
    CHECK_THROWS_WITH(nn::RelativeBias<>(2, Key{1}, {.buckets = 2}), Catch::Contains("2 buckets"));
}

TEST_CASE("additive attention is its formula, and stores nothing of size Tq x Tk x A") {
    nn::AdditiveAttention<double> net(3, 4, 5, Key{1});
    const auto q = randn<double>({2, 3, 3}, Key{2}), k = randn<double>({2, 6, 4}, Key{3}), v = randn<double>({2, 6, 2}, Key{4});
    const auto lengths = from<std::int64_t>({4, 0});
    const auto [context, weights] = net(q, net.project(k), v, lengths);
    const Tensor<double, 3> wq = net.query_proj(q), wk = net.key_proj(k);
    for (long b = 0; b < 2; ++b)
        for (long i = 0; i < 3; ++i) {
            double scores[6] = {}, total = 0;
            const long n = b == 0 ? 4 : 0;
            for (long j = 0; j < n; ++j) {
                for (long a = 0; a < 5; ++a)
                    scores[j] += net.v.data()[a] * std::tanh(wq.data()[(b * 3 + i) * 5 + a] + wk.data()[(b * 6 + j) * 5 + a]);
                total += std::exp(scores[j]);
            }
            for (long j = 0; j < 6; ++j)
                CHECK(weights.data()[(b * 3 + i) * 6 + j] == Approx(j < n ? std::exp(scores[j]) / total : 0).epsilon(1e-12));
            for (long c = 0; c < 2; ++c) {
                double expected = 0;
                for (long j = 0; j < n; ++j) expected += std::exp(scores[j]) / total * v.data()[(b * 6 + j) * 2 + c];
                CHECK(context.data()[(b * 3 + i) * 2 + c] == Approx(expected).margin(1e-14));
            }
        }
    CHECK_NOTHROW(testing::gradcheck([&](const auto& x) { return net(x, net.project(k), v, lengths).context; }, q));
    CHECK_NOTHROW(testing::gradcheck([&](const auto& x) { return net(q, net.project(x), v).context; }, k));
    CHECK_THROWS_WITH(net(q, k, v), Catch::Contains("AdditiveAttention") && Catch::Contains("[2, Tk, 5]"));

    const long n = 200, hidden = 64;
    nn::AdditiveAttention<float> large(hidden, hidden, hidden, Key{1});
    const auto x = randn<float>({4, n, hidden}, Key{2}).require_grad();
    memory::reset_peak();
    const long before = memory::statistics().live;
    sum(large(x, large.project(x), x).context).backward();
    const long full_size = 4 * n * n * hidden * 4;  // 41 MB
    CHECK(memory::statistics().peak - before < full_size / 4);
}

TEST_CASE("location-sensitive attention is its formula, over several steps") {
    nn::LocationSensitiveAttention<double> net(3, 4, 5, Key{1}, {.filters = 2, .kernel = 3});
    const auto q = randn<double>({2, 3}, Key{2});
    const auto k = randn<double>({2, 6, 4}, Key{3}), v = randn<double>({2, 6, 2}, Key{4});
    const auto lengths = from<std::int64_t>({6, 3});
    const auto projected = net.project(k);
    auto state = net.start(projected);
    std::vector<double> last(12, 0), all_before(12, 0);
    const Tensor<double, 2> wq = net.query_proj(q);
    for (int step = 0; step < 3; ++step) {
        const Tensor<double, 2> context = net(q, projected, v, state, lengths);
        for (long b = 0; b < 2; ++b) {
            const long n = b == 0 ? 6 : 3;
            double weights[6] = {}, total = 0;
            for (long j = 0; j < 6; ++j) {
                double score = 0;
                for (long a = 0; a < 5; ++a) {
                    double inner = wq.data()[b * 5 + a] + projected.data()[(b * 6 + j) * 5 + a] + net.bias.data()[a];
                    for (long f = 0; f < 2; ++f) {
                        double filtered = 0;
                        for (long t = 0; t < 3; ++t) {
                            const long at = j + t - 1;
                            if (at < 0 || at >= 6) continue;
                            filtered += net.location_conv.data()[(f * 2 + 0) * 3 + t] * last[std::size_t(b * 6 + at)] +
                                        net.location_conv.data()[(f * 2 + 1) * 3 + t] * all_before[std::size_t(b * 6 + at)];
                        }
                        inner += net.location_proj.weight.data()[a * 2 + f] * filtered;
                    }
                    score += net.v.data()[a] * std::tanh(inner);
                }
                weights[j] = j < n ? std::exp(score) : 0;
                total += weights[j];
            }
            double expected[2] = {};
            for (long j = 0; j < 6; ++j) {
                weights[j] /= total;
                CHECK(state.weights.data()[b * 6 + j] == Approx(weights[j]).margin(1e-13));
                for (long c = 0; c < 2; ++c) expected[c] += weights[j] * v.data()[(b * 6 + j) * 2 + c];
                last[std::size_t(b * 6 + j)] = weights[j];
                all_before[std::size_t(b * 6 + j)] += weights[j];
            }
            for (long c = 0; c < 2; ++c) CHECK(context.data()[b * 2 + c] == Approx(expected[c]).margin(1e-13));
        }
    }
    CHECK_NOTHROW(testing::gradcheck(
        [&](const auto& x) {
            auto moving = net.start(projected);
            static_cast<void>(net(x, projected, v, moving));
            return net(x, projected, v, moving);
        },
        q));
    CHECK_THROWS_WITH(nn::LocationSensitiveAttention<>(3, 4, 5, Key{1}, {.kernel = 4}),
                      Catch::Contains("kernel 4, expected an odd number"));
}
