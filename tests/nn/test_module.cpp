// Modules: names, copies and aliases, tied weights, initialisers, the linear layer.
#include <tenon/tenon.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <string>
#include <vector>

using namespace tenon;

namespace {

struct Mlp {
    nn::Linear<float> hidden, out;
    explicit Mlp(Key key) : hidden(6, 5, key.split(0)), out(5, 3, key.split(1)) {}
    Tensor<float, 2> operator()(const Tensor<float, 2>& x) const { return out(relu(hidden(x))); }
    static void visit(auto& self, auto&& f) {
        f("hidden", self.hidden);
        f("out", self.out);
    }
};

struct Stack {
    std::vector<nn::Linear<float>> layers;
    Tensor<float, 1> running, fixed;
    static void visit(auto& self, auto&& f) {
        f("layers", self.layers);
        f("running", nn::buffer(self.running));
        f("fixed", nn::frozen(self.fixed));
    }
};

struct Tied {
    Tensor<float, 2> a, b;
    static void visit(auto& self, auto&& f) {
        f("a", self.a);
        f("b", self.b);
    }
};

template <class T, int R>
bool same(const Tensor<T, R>& a, const Tensor<T, R>& b) {
    return a.shape() == b.shape() && std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(T)) == 0;
}

}  // namespace

TEST_CASE("visit names tensors as PyTorch's state dict does, with their kind") {
    Stack net;
    net.layers.emplace_back(2, 3, Key{1});
    net.layers.emplace_back(3, 4, Key{2});
    net.running = zeros<float>({3});
    net.fixed = zeros<float>({3});
    std::vector<std::string> names;
    std::vector<nn::Kind> kinds;
    nn::for_each_tensor(net, [&](const char* name, nn::Kind kind, auto&) {
        names.push_back(name);
        kinds.push_back(kind);
    });
    CHECK(names == std::vector<std::string>{"layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias", "running", "fixed"});
    CHECK(kinds[3] == nn::Kind::parameter);
    CHECK(kinds[4] == nn::Kind::buffer);
    CHECK(kinds[5] == nn::Kind::frozen);
    const Stack& constant = net;
    CHECK(nn::parameter_count(constant) == 2 * 3 + 3 + 3 * 4 + 4);
}

TEST_CASE("a copied net shares its parameters, a cloned one does not") {
    Mlp net(Key{7});
    Mlp alias = net;
    Mlp copy = clone(net);
    CHECK(alias.hidden.weight.data() == net.hidden.weight.data());
    CHECK(copy.hidden.weight.data() != net.hidden.weight.data());
    CHECK(same(copy.hidden.weight, net.hidden.weight));
    CHECK(copy.hidden.weight.requires_grad());
    net.hidden.weight.copy_from(zeros<float>({5, 6}));
    CHECK(alias.hidden.weight.data()[3] == 0);
    CHECK(copy.hidden.weight.data()[3] != 0);

    const auto x = randn<float>({4, 6}, Key{3});
    sum(copy(x)).backward();
    CHECK(copy.out.bias.has_grad());
    CHECK_FALSE(net.out.bias.has_grad());
}

TEST_CASE("tied tensors stay tied in a clone") {
    Tied net;
    net.a = randn<float>({3, 3}, Key{1}).require_grad();
    net.b = net.a;
    Tied copy = clone(net);
    CHECK(copy.a.data() == copy.b.data());
    CHECK(copy.a.data() != net.a.data());
    sum(matmul(copy.a, ones<float>({3, 2}))).backward();
    CHECK(copy.b.has_grad());
}

TEST_CASE("the linear layer is x W' + b, over any leading axes") {
    nn::Linear<double> layer(4, 3, Key{5});
    const auto x = randn<double>({2, 5, 4}, Key{6});
    const Tensor<double, 3> y = layer(x);
    REQUIRE(y.shape() == Shape<3>{2, 5, 3});
    for (long i = 0; i < 10; ++i)
        for (long o = 0; o < 3; ++o) {
            double expected = layer.bias.data()[o];
            for (long k = 0; k < 4; ++k) expected += x.data()[i * 4 + k] * layer.weight.data()[o * 4 + k];
            CHECK(y.data()[i * 3 + o] == Approx(expected).epsilon(1e-12));
        }
    nn::Linear<double, false> plain(4, 3, Key{5});
    CHECK(same(plain.weight, layer.weight));
    const Tensor<double, 3> without = plain(x);
    CHECK(without.data()[0] == Approx(y.data()[0] - layer.bias.data()[0]).epsilon(1e-12));
    CHECK_THROWS_WITH(layer(randn<double>({2, 5}, Key{1})),
                      Catch::Contains("linear: inner sizes differ") && Catch::Contains("double[2, 5]") && Catch::Contains("double[3, 4]"));
    CHECK_THROWS_AS(nn::Linear<float>(0, 3, Key{1}), ShapeError);
}

TEST_CASE("initialisers have the variance they promise and depend on the key alone") {
    const Tensor<float, 2> w = zeros<float>({400, 300});
    auto deviation = [&] {
        double s = 0, q = 0;
        for (long i = 0; i < w.size(); ++i) s += w.data()[i], q += double(w.data()[i]) * w.data()[i];
        const double m = s / double(w.size());
        return std::sqrt(q / double(w.size()) - m * m);
    };
    nn::init::xavier_uniform(w, Key{1});
    CHECK(deviation() == Approx(std::sqrt(2.0 / 700)).epsilon(0.01));
    nn::init::xavier_normal(w, Key{1});
    CHECK(deviation() == Approx(std::sqrt(2.0 / 700)).epsilon(0.01));
    nn::init::kaiming_uniform(w, Key{1});
    CHECK(deviation() == Approx(std::sqrt(2.0 / 300)).epsilon(0.01));
    nn::init::kaiming_normal(w, Key{1});
    CHECK(deviation() == Approx(std::sqrt(2.0 / 300)).epsilon(0.01));
    const auto before = clone(w);
    nn::init::kaiming_normal(w, Key{1});
    CHECK(same(before, w));
    nn::init::constant(w, 0.5);
    CHECK(w.data()[17] == 0.5f);
}

TEST_CASE("dropout: inference passes on, masks differ between modules and steps, and repeat for the same key") {
    const nn::Dropout a(0.4, Key{1}), b(0.4, Key{2});
    const auto x = ones<float>({1000});
    CHECK(same(a(x), x));
    CHECK(same(a(x, {Key{5}, false}), x));
    const auto first = a(x, {Key{5}});
    CHECK(same(first, a(x, {Key{5}})));
    CHECK_FALSE(same(first, b(x, {Key{5}})));
    CHECK_FALSE(same(first, a(x, {Key{6}})));
    long kept = 0;
    for (long i = 0; i < 1000; ++i) {
        CHECK((first.data()[i] == 0 || first.data()[i] == Approx(1 / 0.6)));
        kept += first.data()[i] != 0;
    }
    CHECK(std::abs(kept - 600) < 80);
    CHECK_THROWS_AS(nn::Dropout(1.5, Key{1}), ValueError);
}

TEST_CASE("embedding looks rows up, and its gradient falls on them") {
    nn::Embedding<float> table(5, 3, Key{1});
    const auto indices = from<std::int64_t>({2, 2}, {4, 0, 4, 2});
    const auto y = table(indices);
    REQUIRE(y.shape() == Shape<3>{2, 2, 3});
    CHECK(y.data()[0] == table.weight.data()[12]);
    sum(y).backward();
    const auto g = table.weight.grad();
    CHECK(g.data()[12] == 2);
    CHECK(g.data()[0] == 1);
    CHECK(g.data()[3] == 0);
    CHECK_THROWS_WITH(table(from<std::int64_t>({5})), Catch::Contains("5"));
    CHECK_THROWS_AS(nn::Embedding<float>(0, 3, Key{1}), ShapeError);
}
