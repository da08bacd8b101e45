// Gradient checkpointing: the same gradients, less memory.
#include <tenon/tenon.hpp>
#include <tenon/autograd/checkpoint.hpp>
#include <tenon/autograd/hooks.hpp>
#include <tenon/testing/gradgradcheck.hpp>

#include <catch2/catch.hpp>

#include <cstring>
#include <vector>

using namespace tenon;

namespace {

template <class X>
bool same_bits(const X& a, const X& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(*a.data())) == 0;
}

}  // namespace

TEST_CASE("values and gradients are those of the plain function, bit for bit, with captured parameters and random numbers") {
    const auto x = randn<float>({6, 8}, Key{1}).require_grad(), w = randn<float>({8, 8}, Key{2}).require_grad();
    const auto bias = randn<float>({8}, Key{3}).require_grad();
    const auto block = [=](const Tensor<float, 2>& h) { return Tensor<float, 2>(dropout(tanh(matmul(h, w) + bias), 0.3, Key{4}) + h); };
    int runs = 0;
    const auto counted = [&, block](const Tensor<float, 2>& h) {
        ++runs;
        return block(h);
    };
    const Tensor<float, 2> plain = block(block(x));
    sum(square(plain)).backward();
    const auto gx = clone(x.grad()), gw = clone(w.grad());
    const auto gb = clone(bias.grad());
    for (const auto& t : {x, w}) t.zero_grad();
    bias.zero_grad();
    const Tensor<float, 2> y = checkpoint(counted, checkpoint(counted, x));
    CHECK(same_bits(y, plain));
    CHECK(runs == 2);
    const Tensor<float, 0> loss = sum(square(y));
    loss.backward({.retain_graph = true});
    CHECK(runs == 4);
    CHECK(same_bits(x.grad(), gx));
    CHECK(same_bits(w.grad(), gw));
    CHECK(same_bits(bias.grad(), gb));

    // grad() through it: of an input, of what it captures, leaving .grad() alone; twice, since the graph was kept.
    const auto [dx, dw] = grad(loss, x, w, {.retain_graph = true});
    CHECK(same_bits(dx, gx));
    CHECK(same_bits(dw, gw));
    CHECK(same_bits(w.grad(), gw));
    CHECK(same_bits(grad(loss, bias), gb));
    CHECK_THROWS_WITH(loss.backward(), Catch::Contains("already walked"));
    for (const auto& t : {x, w}) t.zero_grad();
    bias.zero_grad();
    no_grad guard;
    CHECK_FALSE(Tensor<float, 2>(checkpoint(block, x)).requires_grad());
}

TEST_CASE("several inputs and outputs, constants, nested checkpoints, recorded tensors that are captured") {
    const auto a = randn<double>({4}, Key{1}).require_grad(), b = randn<double>({4}, Key{2}).require_grad();
    const auto f = [](const Tensor<double, 1>& x, const Tensor<double, 1>& y, double s) { return outputs(sin(x * y) * s, x + y); };
    const auto [p, q] = checkpoint(f, a, b, 3.0);
    sum(p * q).backward();
    const auto ga = clone(a.grad()), gb = clone(b.grad());
    a.zero_grad();
    b.zero_grad();
    sum(sin(a * b) * 3.0 * (a + b)).backward();
    for (int i = 0; i < 4; ++i) {
        CHECK(a.grad().data()[i] == Approx(ga.data()[i]).epsilon(1e-13));
        CHECK(b.grad().data()[i] == Approx(gb.data()[i]).epsilon(1e-13));
    }
    a.zero_grad();
    b.zero_grad();

    // h is captured, and also used outside: its own history is walked once, with both gradients.
    const Tensor<double, 1> h = exp(a);
    const auto inner = [=](const Tensor<double, 1>& x) { return x * h * h; };
    const auto outer = [=](const Tensor<double, 1>& x) { return checkpoint(inner, Tensor<double, 1>(sin(x))) + a * h; };
    const Tensor<double, 1> nested = checkpoint(outer, b);
    sum(nested * h).backward();
    const auto na = clone(a.grad()), nb = clone(b.grad());
    a.zero_grad();
    b.zero_grad();
    const Tensor<double, 1> k = exp(a);
    sum((sin(b) * k * k + a * k) * k).backward();
    for (int i = 0; i < 4; ++i) {
        CHECK(a.grad().data()[i] == Approx(na.data()[i]).epsilon(1e-12));
        CHECK(b.grad().data()[i] == Approx(nb.data()[i]).epsilon(1e-12));
    }
    a.zero_grad();
    b.zero_grad();

    // A function that hands back its input, one that ignores it, one whose result wants no gradient.
    sum(checkpoint([](const Tensor<double, 1>& x) { return x; }, a) * 2.0).backward();
    CHECK(a.grad().data()[0] == 2);
    sum(checkpoint([=](const Tensor<double, 1>&) { return Tensor<double, 1>(b * 3.0); }, a)).backward();
    CHECK(a.grad().data()[0] == 2);
    CHECK(b.grad().data()[0] == 3);
    CHECK_FALSE(checkpoint([](const Tensor<double, 1>&) { return ones<double>({2}); }, a).requires_grad());
    a.zero_grad();
    b.zero_grad();

    // Inputs that were overwritten are noticed; hooks of captured leaves run once.
    int calls = 0;
    b.register_hook([&](const Tensor<double, 1>&) { ++calls; });
    sum(checkpoint([=](const Tensor<double, 1>& x) { return x * b; }, a) * b).backward();
    CHECK(calls == 1);
    const Tensor<double, 1> c = a * 1.0;
    const Tensor<double, 0> stale = sum(checkpoint([](const Tensor<double, 1>& x) { return exp(x); }, c));
    {
        no_grad guard;
        c += 1.0;
    }
    CHECK_THROWS_WITH(stale.backward(), Catch::Contains("\"checkpoint\" had saved was overwritten"));
}

TEST_CASE("first and second derivatives through a checkpoint") {
    const auto x = randn<double>({3, 4}, Key{1}), w = randn<double>({4, 4}, Key{2});
    const auto net = [](const auto& a, const auto& b) {
        return checkpoint([=](const Tensor<double, 2>& h) { return tanh(matmul(h, b)) * h; }, a);
    };
    testing::gradcheck(net, x, w);
    testing::gradgradcheck(net, x, w);
}

TEST_CASE("a chain of checkpoints keeps only their inputs") {
    const long n = 100000;
    const auto x = full<float>({n}, 0.5f).require_grad();
    const auto segment = [](const Tensor<float, 1>& h) {
        Tensor<float, 1> y = tanh(h);
        for (int i = 1; i < 8; ++i) y = tanh(y);
        return y;
    };
    const auto bytes = [&](bool checkpoints) {
        const auto before = memory::statistics().live;
        Tensor<float, 1> y = x;
        for (int i = 0; i < 4; ++i) y = checkpoints ? checkpoint(segment, y) : segment(y);
        const auto after = memory::statistics().live;
        sum(y).backward();
        return after - before;
    };
    const auto plain = bytes(false);
    const auto gradient = clone(x.grad());
    x.zero_grad();
    const auto saved = bytes(true);
    CHECK(same_bits(x.grad(), gradient));
    CHECK(saved * 7 < plain);
}
