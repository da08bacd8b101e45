// Messages as formulas: the fused loops against gathers, the formula over all edges, and segments.
#include <tenon/graph/edge_folds.hpp>
#include <tenon/graph/message.hpp>
#include <tenon/tenon.hpp>
#include <tenon/ops/second_order.hpp>
#include <tenon/graph/second_order.hpp>
#include <tenon/testing/gradcheck.hpp>
#include <tenon/testing/gradgradcheck.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

using namespace tenon;
using graph::Aggregation;
using graph::Graph;
using kernels::cpu::MessageFold;

namespace {

// Every combination of formula, fold and type is loops of its own, which take seconds to compile: tests share what they can.
constexpr auto weighted = [](const auto& x, const auto& e) { return e * tanh(x.source - x.target); };
constexpr auto product_of_ends = [](const auto& s, const auto& t) { return s * t; };
constexpr auto twice = [](const auto& s) { return 2.f * s; };

template <class A, class B>
double off(const A& a, const B& b) {
    if (a.size() == 0) return 0;
    return static_cast<double>(max(abs(a - b)).item());
}
template <class A, class B>
bool same_bits(const A& a, const B& b) {
    return std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(typename A::Scalar)) == 0;
}

// Some nodes without edges, duplicates, one target with more edges than are added up at a time.
Graph some_graph(long nodes, long edges, long hub) {
    const auto index = empty<std::int64_t>({2, edges + hub});
    unsigned state = 7;
    const auto random = [&](long n) { return static_cast<std::int64_t>((state = state * 1664525u + 1013904223u) >> 8) % n; };
    for (long k = 0; k < edges + hub; ++k) {
        index.data()[k] = random(nodes - 1);
        index.data()[edges + hub + k] = k < edges ? random(nodes - 2) : 3;
    }
    return Graph::from_edges(index, nodes);
}

template <Aggregation How, class T>
Tensor<T, 2> folded(const Graph& g, const Tensor<T, 2>& m) {
    return graph::aggregate_edges<How>(g, m);
}

template <Aggregation How, class T>
void compare(const Graph& g, long features, double tolerance) {
    const auto h = randn<T>({g.nodes(), features}, Key{1}).require_grad(), h2 = clone(h.detach()).require_grad();
    const auto w = uniform<T>({g.edges()}, Key{2}, {T(.5), T(1)}).require_grad(), w2 = clone(w.detach()).require_grad();
    const auto dy = randn<T>({g.nodes(), features}, Key{3});
    const Tensor<T, 2> y = graph::aggregate<How>(g, weighted, graph::node(h), graph::edge(w));
    const Tensor<T, 2> m = w2.reshape({g.edges(), 1}) * tanh(graph::gather_sources(g, h2) - graph::gather_targets(g, h2));
    const Tensor<T, 2> expected = folded<How>(g, m);
    INFO("fold " << static_cast<int>(How) << ", " << features << " features");
    CHECK(off(y.detach(), expected.detach()) < tolerance);
    y.backward(dy);
    expected.backward(dy);
    CHECK(off(h.grad(), h2.grad()) < tolerance * 4);
    CHECK(off(w.grad(), w2.grad()) < tolerance * 4);
    // A gradient that is there is added to.
    const Tensor<T, 2> again = graph::aggregate<How>(g, weighted, graph::node(h), graph::edge(w));
    again.backward(dy);
    CHECK(off(h.grad(), Tensor<T, 2>(h2.grad() * T(2))) < tolerance * 8);
    CHECK(off(w.grad(), Tensor<T, 1>(w2.grad() * T(2))) < tolerance * 8);
    // No gradient asked for: the same values.
    const no_grad inference;
    CHECK(same_bits(y.detach(), graph::aggregate<How>(g, weighted, graph::node(h), graph::edge(w))));
}

template <Aggregation How>
void check_gradients(const Graph& g) {
    const auto h = randn<double>({g.nodes(), 3}, Key{4}), w = uniform<double>({g.edges(), 1}, Key{5}, {.5, 1.});
    using Matrix = Tensor<double, 2>;
    const std::function<Matrix(const Matrix&, const Matrix&)> f = [&](const Matrix& a, const Matrix& b) {
        return graph::aggregate<How>(g, weighted, graph::node(a), graph::edge(b));
    };
    CHECK_NOTHROW(testing::gradcheck(f, h, w));
    if constexpr (How != graph::product) CHECK_NOTHROW(testing::gradgradcheck(f, h, w));
    else CHECK_THROWS_AS(testing::gradgradcheck(f, h, w), GradError);
}

template <class F>
std::string error_of(F f) {
    try {
        static_cast<void>(f());
    } catch (const Error& e) {
        return e.what();
    }
    return "nothing was thrown";
}

}  // namespace

TEST_CASE("messages are what gathers, the formula and segments give", "[graph]") {
    const Graph g = some_graph(40, 150, 600);
    for (const long features : {1l, 3l, 8l, 16l, 29l}) {
        compare<graph::sum, double>(g, features, 1e-11);
        compare<graph::mean, double>(g, features, 1e-12);
        compare<graph::max, double>(g, features, 1e-12);
        compare<graph::min, double>(g, features, 1e-12);
        compare<graph::std_dev, double>(g, features, 1e-9);
        compare<graph::softmax_sum, double>(g, features, 1e-12);
        if (features <= 8) compare<graph::product, double>(some_graph(40, 150, 0), features, 1e-12);
        compare<graph::sum, float>(g, features, 3e-4);
        compare<graph::max, float>(g, features, 1e-5);
    }
}

TEST_CASE("every fold of messages has its derivatives", "[graph]") {
    const Graph g = some_graph(7, 12, 0);
    check_gradients<graph::sum>(g);
    check_gradients<graph::mean>(g);
    check_gradients<graph::max>(g);
    check_gradients<graph::min>(g);
    check_gradients<graph::product>(g);
    check_gradients<graph::std_dev>(g);
    check_gradients<graph::softmax_sum>(g);
}

TEST_CASE("folds of messages agree with the plain reference", "[graph]") {
    const Graph g = some_graph(30, 90, 40);
    const auto x = randn<double>({30, 5}, Key{1});
    const auto w = uniform<double>({g.edges()}, Key{2}, {.5, 1.});
    const auto check = [&]<Aggregation How>(std::integral_constant<Aggregation, How>) {
        const Tensor<double, 2> y = graph::aggregate<How>(g, weighted, graph::node(x), graph::edge(w));
        std::vector<double> expected(150);
        kernels::cpu::reference::message_aggregate(
            impl::csr_rows(g.in()), static_cast<MessageFold>(How), 5,
            [&](long s, long t, long e, long j) { return w.data()[e] * std::tanh(x.data()[5 * s + j] - x.data()[5 * t + j]); },
            expected.data());
        for (std::size_t i = 0; i < expected.size(); ++i) CHECK(std::abs(y.data()[i] - expected[i]) <= 1e-12 * (1 + std::abs(expected[i])));
    };
    check(std::integral_constant<Aggregation, graph::sum>());
    check(std::integral_constant<Aggregation, graph::mean>());
    check(std::integral_constant<Aggregation, graph::max>());
    check(std::integral_constant<Aggregation, graph::min>());
    check(std::integral_constant<Aggregation, graph::product>());
    check(std::integral_constant<Aggregation, graph::std_dev>());
    check(std::integral_constant<Aggregation, graph::softmax_sum>());
}

TEST_CASE("the derivative of a product is right beside zeros", "[graph]") {
    const Graph g = Graph::from_edges(from<std::int64_t>({2, 6}, {0, 1, 2, 0, 1, 2, 0, 0, 0, 1, 1, 2}), 3);
    const auto w = from<double>({6, 2}, {2, 0, 3, 5, 4, 7, 0, 6, 0, 2, 3, 0}).require_grad();
    const Tensor<double, 2> y = graph::aggregate<graph::product>(g, [](auto e) { return e + 0.0; }, graph::edge(w));
    CHECK(y.detach().data()[0] == 24);
    CHECK(y.detach().data()[1] == 0);
    y.backward(ones<double>({3, 2}));
    const std::vector<double> expected{12, 35, 8, 0, 6, 0, 0, 2, 0, 6, 1, 1};
    for (std::size_t i = 0; i < 12; ++i) CHECK(w.grad().data()[i] == expected[i]);
}

TEST_CASE("of several extremes the first edge gets the gradient, and targets without edges are 0", "[graph]") {
    const Graph g = Graph::from_edges(from<std::int64_t>({2, 4}, {2, 1, 1, 0, 0, 0, 0, 0}), 3);
    const auto x = from<float>({3, 1}, {1, 4, 4}).require_grad();
    const Tensor<float, 2> y = graph::aggregate<graph::max>(g, twice, graph::source(x));
    CHECK(y.detach().data()[0] == 8);
    CHECK(y.detach().data()[1] == 0);
    y.backward(ones<float>({3, 1}));
    CHECK(x.grad().data()[1] == 2);
    CHECK(x.grad().data()[2] == 0);
}

TEST_CASE("messages of heads, with weights of heads, captured tensors and integers", "[graph]") {
    const Graph g = some_graph(20, 60, 10);
    const auto h = randn<double>({20, 2, 5}, Key{1});
    const auto w = randn<double>({g.edges(), 2}, Key{2});
    const auto b = randn<double>({5}, Key{3});
    const auto s = randn<double>({}, Key{4});
    const auto kind = empty<std::int64_t>({g.edges()});
    for (long k = 0; k < g.edges(); ++k) kind.data()[k] = k % 3;
    const auto fused = [&](const auto& x, const auto& e, const auto& bias, const auto& scale) {
        return graph::aggregate<graph::sum>(
            g,
            [&](auto n, auto a, auto t) {
                return let(n.source + bias, [&](auto v) { return where(t == 1, a * v * n.target, scale * v); });
            },
            graph::node(x), graph::edge(e), graph::edge(kind));
    };
    const auto parts = [&](const auto& x, const auto& e, const auto& bias, const auto& scale) {
        const Tensor<double, 3> v = graph::gather_sources(g, x) + bias, t = graph::gather_targets(g, x);
        const auto of = kind.reshape({g.edges(), 1, 1});
        return graph::aggregate_edges(graph::sum, g,
                                      Tensor<double, 3>(where(of == std::int64_t(1), e.reshape({g.edges(), 2, 1}) * v * t, scale * v)));
    };
    CHECK(off(Tensor<double, 3>(fused(h, w, b, s)), parts(h, w, b, s)) < 1e-12);
    const auto gradients = [&](const auto& f) {
        const auto x = clone(h).require_grad();
        const auto e = clone(w).require_grad();
        const auto bias = clone(b).require_grad();
        const auto scale = clone(s).require_grad();
        f(x, e, bias, scale).backward(randn<double>({20, 2, 5}, Key{5}));
        return std::tuple{x.grad(), e.grad(), bias.grad(), scale.grad()};
    };
    const auto [dx, de, db, ds] = gradients(fused);
    const auto [dx2, de2, db2, ds2] = gradients(parts);
    CHECK(off(dx, dx2) < 1e-12);
    CHECK(off(de, de2) < 1e-12);
    CHECK(off(db, db2) < 1e-11);
    CHECK(off(ds, ds2) < 1e-11);
    CHECK_NOTHROW(testing::gradgradcheck(fused, h, w, b, s));
}

TEST_CASE("messages of one number, of 16-bit numbers, between different nodes, over no edges", "[graph]") {
    const Graph g = Graph::bipartite(from<std::int64_t>({2, 5}, {0, 3, 1, 2, 0, 1, 0, 1, 1, 2}), 4, 3);
    const auto a = from<float>({4}, {1, 2, 3, 4}).require_grad(), b = from<float>({3}, {10, 20, 30}).require_grad();
    const Tensor<float, 1> y = graph::aggregate<graph::sum>(g, product_of_ends, graph::source(a), graph::target(b));
    CHECK(y.detach().data()[0] == 40);
    CHECK(y.detach().data()[1] == 120);
    CHECK(y.detach().data()[2] == 30);
    y.backward(ones<float>({3}));
    CHECK(a.grad().data()[0] == 50);
    CHECK(b.grad().data()[1] == 6);

    const Graph many = some_graph(30, 300, 0);
    const auto x = Tensor<bf16, 2>(cast<bf16>(randn<float>({30, 9}, Key{1}))).require_grad();
    const auto e = Tensor<bf16, 1>(cast<bf16>(randn<float>({300}, Key{2}))).require_grad();
    const auto wide = Tensor<float, 2>(cast<float>(x.detach())).require_grad();
    const auto f = Tensor<float, 1>(cast<float>(e.detach())).require_grad();
    const auto half_of = [&](const auto& p, const auto& q) {
        return graph::aggregate<graph::mean>(
            many, [](auto n, auto w) { return w * (n.source + n.target); }, graph::node(p), graph::edge(q));
    };
    const auto narrow_y = half_of(x, e);
    const auto wide_y = half_of(wide, f);
    CHECK(off(Tensor<float, 2>(cast<float>(narrow_y.detach())), wide_y.detach()) < 0.01);
    narrow_y.backward(ones<bf16>({30, 9}));
    wide_y.backward(ones<float>({30, 9}));
    CHECK(off(Tensor<float, 2>(cast<float>(x.grad())), wide.grad()) < 0.03);
    CHECK(off(Tensor<float, 1>(cast<float>(e.grad())), f.grad()) < 0.03);

    // No features: the gradient of a number per edge is a sum of nothing.
    const auto w = full<float>({5}, 2).require_grad();
    const Tensor<float, 2> nothing = graph::aggregate<graph::sum>(g, product_of_ends, graph::source(zeros<float>({4, 0})), graph::edge(w));
    CHECK(nothing.shape(1) == 0);
    nothing.backward(zeros<float>({3, 0}));
    for (long i = 0; i < 5; ++i) CHECK(w.grad().data()[i] == 0);

    const Graph none = Graph::from_edges(empty<std::int64_t>({2, 0}), 4);
    a.zero_grad();
    const Tensor<float, 1> zero = graph::aggregate<graph::max>(none, twice, graph::source(a));
    zero.backward(ones<float>({4}));
    for (long i = 0; i < 4; ++i) CHECK((zero.detach().data()[i] == 0 && a.grad().data()[i] == 0));
}

TEST_CASE("fields of one tensor, in a let's value and in its body", "[graph]") {
    const Graph g = some_graph(20, 60, 10);
    const auto x = randn<double>({20, 5}, Key{1});
    const auto w = randn<double>({g.edges(), 5}, Key{2});
    const auto fused = [&](const auto& n, const auto& e) {
        return graph::aggregate<graph::sum>(
            g,
            [](const auto& a, const auto& own, const auto& same) {
                return let(a.source * own, [=](auto v) { return v * v * a.source + tanh(v) * a.target * own + same; });
            },
            graph::node(n), graph::edge(e), graph::edge(e));
    };
    const auto parts = [&](const auto& n, const auto& e) {
        const Tensor<double, 2> s = graph::gather_sources(g, n), t = graph::gather_targets(g, n), v = s * e;
        return graph::aggregate_edges(graph::sum, g, Tensor<double, 2>(v * v * s + tanh(v) * t * e + e));
    };
    const auto dy = randn<double>({20, 5}, Key{3});
    const auto gradients = [&](const auto& f, int times) {
        const auto n = clone(x).require_grad(), e = clone(w).require_grad();
        for (int k = 0; k < times; ++k) f(n, e).backward(dy);
        return std::pair{n.grad(), e.grad()};
    };
    for (const int times : {1, 2}) {
        const auto [dx, dw] = gradients(fused, times);
        const auto [dx2, dw2] = gradients(parts, times);
        CHECK(off(dx, dx2) < 1e-11);
        CHECK(off(dw, dw2) < 1e-11);
    }
    CHECK_NOTHROW(testing::gradgradcheck(fused, x, w));
}

TEST_CASE("messages have the same bits with one thread and two", "[graph]") {
    const Graph g = some_graph(3000, 30000, 900);
    const auto x = randn<float>({3000, 21}, Key{1});
    const auto run = [&](int threads) {
        const int before = num_threads();
        set_num_threads(threads);
        const auto leaf = clone(x).require_grad();
        const auto s = full<float>({21}, 1.5f).require_grad();
        const Tensor<float, 2> y = graph::aggregate<graph::softmax_sum>(
            g, [&](auto n) { return s * n.source * sigmoid(n.target); }, graph::node(leaf));
        y.backward(ones<float>({3000, 21}));
        set_num_threads(before);
        return std::tuple{y.detach(), leaf.grad(), s.grad()};
    };
    const auto [y, dx, ds] = run(1);
    const auto [y2, dx2, ds2] = run(2);
    CHECK(same_bits(y, y2));
    CHECK(same_bits(dx, dx2));
    CHECK(same_bits(ds, ds2));
}

TEST_CASE("a spread within rounding has no derivative, recorded or not", "[graph]") {
    // Three times 0.1, whose mean is rounded.
    const Graph g = Graph::bipartite(from<std::int64_t>({2, 3}, {0, 1, 2, 0, 0, 0}), 3, 1);
    for (const bool recorded : {false, true}) {
        const auto x = full<float>({3}, 0.1f).require_grad();
        const Tensor<float, 1> y = graph::aggregate<graph::std_dev>(g, [](auto s) { return 1.f * s; }, graph::source(x));
        CHECK(y.detach().data()[0] == 0);
        const auto dx = grad(sum(y), x, {.create_graph = recorded});
        for (long i = 0; i < 3; ++i) CHECK(dx.detach().data()[i] == 0);
    }
}

TEST_CASE("messages refuse fields that do not fit", "[graph]") {
    const Graph g = Graph::bipartite(from<std::int64_t>({2, 2}, {0, 1, 0, 1}), 3, 2);
    const Tensor<float, 2> x = zeros<float>({3, 4});
    const auto w = zeros<float>({2});
    CHECK(error_of([&] {
              return graph::aggregate<graph::sum>(g, product_of_ends, graph::source(zeros<float>({2, 4})), graph::edge(w));
          }).find("float[2, 4] on cpu has 2 rows, but the graph has 3 sources") != std::string::npos);
    CHECK(error_of([&] {
              return graph::aggregate<graph::sum>(g, product_of_ends, graph::source(x), graph::edge(zeros<float>({3})));
          }).find("but the graph has 2 edges") != std::string::npos);
    CHECK(error_of([&] {
              return graph::aggregate<graph::max>(g, [](const auto& n) { return twice(n.source); }, graph::node(zeros<float>({3})));
          }).find("have no common number of nodes") != std::string::npos);
    CHECK(error_of([&] {
              return graph::aggregate<graph::sum>(g, product_of_ends, graph::source(x), graph::target(zeros<float>({2, 5})));
          }).find("cannot be broadcast") != std::string::npos);
}
