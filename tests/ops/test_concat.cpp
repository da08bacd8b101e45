#include <catch2/catch.hpp>

#include <tenon/base/parallel.hpp>
#include <tenon/ops/concat.hpp>
#include <tenon/ops/random.hpp>
#include <tenon/ops/reduce.hpp>
#include <tenon/testing/gradcheck.hpp>

#include <string>
#include <vector>

using namespace tenon;
using Catch::Matchers::Contains;

namespace {

template <class F>
std::string message_of(F&& f) {
    try {
        f();
    } catch (const Error& e) {
        return e.what();
    }
    return "nothing was thrown";
}

}  // namespace

TEMPLATE_TEST_CASE("concat along each axis", "", float, double, bf16, std::int64_t, std::uint8_t, bool) {
    using T = TestType;
    auto make = [](long a, long b, long c, long seed) {
        Tensor<T, 3> x = empty<T>({a, b, c});
        for (long i = 0; i < x.size(); ++i) x.data()[i] = static_cast<T>(static_cast<float>((i * 5 + seed) % (sizeof(T) == 1 ? 2 : 97)));
        return x;
    };
    const auto a = make(2, 3, 4, 0), b = make(2, 5, 4, 1), none = make(2, 0, 4, 0);
    const auto y = concat<1>({a, none, b, a});
    CHECK(y.shape() == Shape<3>{{2, 11, 4}});
    CHECK(y.is_contiguous());
    CHECK(testing::close(y(all, slice(0, 3)), a));
    CHECK(testing::close(y(all, slice(3, 8)), b));
    CHECK(testing::close(y(all, slice(8, 11)), a));
    // Views, along the first and the last axis.
    const auto first = concat<0>({a.template permute<1, 0, 2>(), b.template permute<1, 0, 2>()});
    CHECK(testing::close(first.template permute<1, 0, 2>(), y(all, slice(0, 8))));
    const auto last = concat<-1>({a.transpose(), b.transpose()});
    CHECK(testing::close(last.transpose(), y(all, slice(0, 8))));
    CHECK(testing::close(concat<2>({a}), a));

    const auto s = stack<1>({a, make(2, 3, 4, 1)});
    CHECK(s.shape() == Shape<4>{{2, 2, 3, 4}});
    CHECK(testing::close(s(all, 0), a));
    CHECK(testing::close(s(all, 1), make(2, 3, 4, 1)));
    const auto end = stack<-1>({a.transpose(), a.transpose()});
    CHECK(end.shape() == Shape<4>{{2, 4, 3, 2}});
    CHECK(testing::close(end(all, all, all, 1), a.transpose()));
}

TEST_CASE("operands: lists, containers, expressions") {
    const auto a = from<float>({1, 2}), b = from<float>({3});
    CHECK(testing::close(concat<0>(a * 2.f, b, a), from<float>({2, 4, 3, 1, 2})));
    CHECK(testing::close(concat<0>(a), a));
    std::vector<Tensor<float, 1>> many;
    for (int i = 0; i < 300; ++i) many.push_back(full<float>({i % 3}, static_cast<float>(i)));
    const auto y = concat<0>(many);
    REQUIRE(y.size() == 300);
    CHECK(y(0).item() == 1.f);
    CHECK(y(299).item() == 299.f);
    many.assign(4, a);
    CHECK(stack<0>(many).shape() == Shape<2>{{4, 2}});
    CHECK(testing::close(stack<1>(a + 1.f, a), from<float>({2, 2}, {2, 1, 3, 2})));
    CHECK(testing::close(stack<0>({full<float>({}, 1.f), full<float>({}, 2.f)}), from<float>({1, 2})));
    CHECK(concat<0>({zeros<float>({0, 3}), zeros<float>({0, 3})}).shape() == Shape<2>{{0, 3}});
    // The result has memory of its own.
    auto only = concat<0>({a});
    only.fill(9.f);
    CHECK(a(0).item() == 1.f);
}

TEST_CASE("gradients of concat and stack") {
    const auto a = randn<double>({2, 3, 4}, Key{1}), b = randn<double>({2, 2, 4}, Key{2}), c = randn<double>({2, 3, 4}, Key{3});
    testing::gradcheck([](const auto& x, const auto& y) { return concat<1>({x, y, x}); }, a, b);
    testing::gradcheck([](const auto& x, const auto& y) { return square(concat<-2>(x * 2.0, y, square(y))); }, a, b);
    testing::gradcheck([](const auto& x, const auto& y) { return concat<2>({x.transpose(), y.transpose()}); }, a, b);
    testing::gradcheck([](const auto& x, const auto& y) { return stack<0>({x, y, x}); }, a, c);
    testing::gradcheck([](const auto& x, const auto& y) { return stack<3>({x, y}); }, a, c);
    testing::gradcheck([](const auto& x, const auto& y) { return sum(x) + sum(square(stack<1>({x, y}))) + sum(concat<0>({y, x})); }, a, c);

    // Only one operand wants a gradient; the leaf is a view's source.
    const auto leaf = randn<float>({4, 3}, Key{4}).require_grad();
    const auto constant = ones<float>({2, 3});
    const auto y = concat<0>({constant, leaf(slice(1, 3))});
    y.backward(y.detach() * 0.f + 3.f);
    CHECK(testing::close(leaf.grad(), from<float>({4, 3}, {0, 0, 0, 3, 3, 3, 3, 3, 3, 0, 0, 0})));
    const no_grad guard;
    CHECK_FALSE(concat<0>({leaf, leaf}).requires_grad());
}

TEST_CASE("a chain of concatenations over many operands") {
    auto leaf = ones<float>({2}).require_grad();
    std::vector<Tensor<float, 1>> parts;
    for (int i = 0; i < 1000; ++i) parts.push_back(leaf * static_cast<float>(i));
    sum(concat<0>(parts)).backward();
    CHECK(testing::close(leaf.grad(), full<float>({2}, 499500.f)));
}

TEST_CASE("operands that do not fit") {
    const auto a = zeros<float>({2, 3}), b = zeros<float>({2, 4}), c = zeros<float>({3, 3});
    CHECK_THROWS_AS(concat<0>({a, c, b}), ShapeError);
    CHECK_THAT(message_of([&] { (void)concat<0>({a, c, b}); }),
               Contains("concat: operand 2 is float[2, 4] on cpu, but operand 0 is float[2, 3] on cpu: they differ at axis 1") && Contains("hint"));
    CHECK_THAT(message_of([&] { (void)stack<0>({a, a, c}); }), Contains("stack: operand 2 is float[3, 3] on cpu"));
    CHECK_THROWS_AS(concat<0>(std::vector<Tensor<float, 2>>{}), ShapeError);
    CHECK_THROWS_AS(concat<0>({a, Tensor<float, 2>()}), Error);
}

TEST_CASE("concat does not depend on threads") {
    const int before = num_threads();
    const auto x = randn<float>({64, 300, 33}, Key{5});
    auto result = [&] {
        const auto leaf = clone(x).require_grad();
        const auto y = concat<1>({leaf, leaf.permute<0, 1, 2>(), leaf(all, slice(3, 200))});
        const auto z = stack<-1>({leaf, leaf});
        Tensor<float, 0> loss = sum(square(y)) + sum(z * z * z);
        loss.backward();
        return concat<0>({y.detach().reshape({-1}), leaf.grad().reshape({-1})});
    };
    set_num_threads(1);
    const auto one = result();
    set_num_threads(2);
    const auto two = result();
    set_num_threads(before);
    CHECK(std::memcmp(one.data(), two.data(), static_cast<std::size_t>(one.size()) * sizeof(float)) == 0);
}
