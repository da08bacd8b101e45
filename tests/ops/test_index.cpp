#include <catch2/catch.hpp>

#include <tenon/base/parallel.hpp>
#include <tenon/ops/index.hpp>
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

TEMPLATE_TEST_CASE("index_select along each axis", "", float, double, bf16, std::int64_t, std::int8_t, bool) {
    using T = TestType;
    Tensor<T, 3> x = empty<T>({4, 5, 6});
    for (long i = 0; i < x.size(); ++i) x.data()[i] = static_cast<T>(static_cast<float>((i * 7) % 101 % (sizeof(T) == 1 ? 2 : 101)));
    const auto at = from<std::int64_t>({3, 0, 0, 2, 3, 1, 3});
    const auto small = from<std::int32_t>({3, 0, 0, 2, 3, 1, 3});
    const auto a = index_select<0>(x, at);
    const auto b = index_select<1>(x, small);
    const auto c = index_select<-1>(x, at);
    const auto d = index_select<0>(x.template permute<2, 0, 1>(), at);  // of a view
    CHECK(a.shape() == Shape<3>{{7, 5, 6}});
    CHECK(b.shape() == Shape<3>{{4, 7, 6}});
    CHECK(c.shape() == Shape<3>{{4, 5, 7}});
    for (long m = 0; m < 7; ++m) {
        const long from_row = at(m).item();
        for (long i = 0; i < 5; ++i)
            for (long j = 0; j < 6; ++j) REQUIRE(a(m, i, j).item() == x(from_row, i, j).item());
        for (long i = 0; i < 4; ++i)
            for (long j = 0; j < 6; ++j) REQUIRE(b(i, m, j).item() == x(i, from_row, j).item());
        for (long i = 0; i < 4; ++i)
            for (long j = 0; j < 5; ++j) {
                REQUIRE(c(i, j, m).item() == x(i, j, from_row).item());
                REQUIRE(d(m, i, j).item() == x(i, j, from_row).item());
            }
    }
}

TEST_CASE("gather") {
    const auto x = randn<float>({3, 5, 4}, Key{1});
    const auto at = integers({3, 6, 4}, Key{2}, 0, 5);
    const auto y = gather<1>(x, at);
    for (long i = 0; i < 3; ++i)
        for (long j = 0; j < 6; ++j)
            for (long k = 0; k < 4; ++k) REQUIRE(y(i, j, k).item() == x(i, at(i, j, k).item(), k).item());
    // Along the last axis, of a view, by indices of 32 bits that are an expression.
    const auto moved = x.permute<2, 1, 0>();
    const Tensor<std::int64_t, 3> columns = integers({4, 5, 2}, Key{3}, 0, 3);
    const auto z = gather<-1>(moved, cast<std::int32_t>(columns));
    for (long i = 0; i < 4; ++i)
        for (long j = 0; j < 5; ++j)
            for (long k = 0; k < 2; ++k) REQUIRE(z(i, j, k).item() == x(columns(i, j, k).item(), j, i).item());
    // Indices smaller than x along other axes mean its leading part.
    const auto part = gather<0>(x, from<std::int64_t>({1, 2, 2}, {2, 0, 1, 2}));
    CHECK(testing::close(part, from<float>({1, 2, 2}, {x(2, 0, 0).item(), x(0, 0, 1).item(), x(1, 1, 0).item(), x(2, 1, 1).item()})));
    // As PyTorch's manual has it.
    CHECK(testing::close(gather<1>(from<std::int64_t>({2, 2}, {1, 2, 3, 4}), from<std::int64_t>({2, 2}, {0, 0, 1, 0})),
                         from<std::int64_t>({2, 2}, {1, 1, 4, 3})));
    CHECK(gather<1>(from<bool>({1, 2}, {true, false}), from<std::int64_t>({1, 1}, {1})).item() == false);
    CHECK(gather<0>(zeros<float>({0, 3}), zeros<std::int64_t>({0, 3})).size() == 0);
}

TEST_CASE("embedding") {
    const auto weight = randn<float>({10, 3}, Key{5});
    const auto at = integers({2, 7}, Key{6}, 0, 10);
    const auto y = embedding(weight, at);
    CHECK(y.shape() == Shape<3>{{2, 7, 3}});
    for (long i = 0; i < 2; ++i)
        for (long j = 0; j < 7; ++j)
            for (long k = 0; k < 3; ++k) REQUIRE(y(i, j, k).item() == weight(at(i, j).item(), k).item());
    CHECK(testing::close(embedding(weight, at.transpose()), y.permute<1, 0, 2>()));
    CHECK(testing::close(embedding(weight.transpose(), from<std::int32_t>({2})), weight.transpose()(slice(2, 3))));
    CHECK(testing::close(embedding(weight, full<std::int64_t>({}, 4)), weight(4)));
    CHECK(embedding(weight, zeros<std::int64_t>({0, 2})).shape() == Shape<3>{{0, 2, 3}});
}

TEST_CASE("gradients of indexing") {
    const auto x = randn<double>({4, 5, 3}, Key{7});
    const auto at = from<std::int64_t>({2, 0, 2, 2});
    const auto single = integers({4, 6, 3}, Key{8}, 0, 5);
    testing::gradcheck([&](const auto& a) { return index_select<0>(a, at); }, x);
    testing::gradcheck([&](const auto& a) { return index_select<1>(a, at) * 2.0; }, x);
    testing::gradcheck([&](const auto& a) { return index_select<-1>(square(a), at); }, x);
    testing::gradcheck([&](const auto& a) { return index_select<1>(a.transpose(), cast<std::int32_t>(at)); }, x);
    testing::gradcheck([&](const auto& a) { return gather<1>(a, single); }, x);
    testing::gradcheck([&](const auto& a) { return gather<1>(a, single(slice(0, 2), all, slice(1, 3))); }, x);
    testing::gradcheck([&](const auto& a) { return gather<0>(a.transpose(), single(slice(0, 4), slice(0, 3), all) * 0 + 3); }, x);
    // Used twice: the later gradient adds.
    testing::gradcheck([&](const auto& a) { return sum(index_select<0>(a, at)) + sum(square(index_select<1>(a, at))) + sum(gather<1>(a, single)) + sum(a); }, x);
    const auto wide = randn<double>({3, 4, 40}, Key{9});
    testing::gradcheck([&](const auto& a) { return index_select<1>(a, at); }, wide);
    testing::gradcheck([](const auto& w) { return embedding(w, integers({3, 4}, Key{10}, 0, 6)); }, randn<double>({6, 5}, Key{11}));
}

TEST_CASE("embedding's backward tells the rows that it touched") {
    const auto weight = zeros<float>({8, 2}).require_grad();
    const auto y = embedding(weight, from<std::int64_t>({2, 2}, {6, 1, 6, 3}));
    CHECK_THROWS_AS(touched_rows(y), GradError);
    sum(y).backward();
    CHECK(testing::close(touched_rows(y), from<std::int64_t>({1, 3, 6})));
    CHECK(testing::close(weight.grad(), from<float>({8, 2}, {0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 2, 2, 0, 0})));
    CHECK_THROWS_AS(touched_rows(weight), GradError);
    const auto other = index_select<0>(weight, from<std::int64_t>({1}));
    CHECK_THROWS_AS(touched_rows(other), GradError);
}

TEST_CASE("16-bit tables add up in float") {
    // 1 + 300 times 2^-8: adding one by one in bf16 would stay at 1.
    auto weight = zeros<bf16>({3, 1}).require_grad();
    Tensor<std::int64_t, 1> at = zeros<std::int64_t>({301});
    const auto y = embedding(weight, at);
    Tensor<bf16, 2> dy = full<bf16>({301, 1}, bf16(0x1p-8f));
    dy.data()[0] = bf16(1.f);
    y.backward(dy);
    CHECK(static_cast<float>(weight.grad()(0, 0).item()) == Approx(1 + 300 * 0x1p-8).epsilon(0x1p-8));
    auto again = zeros<bf16>({2, 3}).require_grad();
    index_select<1>(again, at).backward(full<bf16>({2, 301}, bf16(0x1p-8f)));
    CHECK(static_cast<float>(again.grad()(1, 0).item()) == Approx(301 * 0x1p-8).epsilon(0x1p-8));
}

TEST_CASE("indices out of range") {
    const auto x = zeros<float>({4, 5});
    CHECK_THROWS_AS(index_select<0>(x, from<std::int64_t>({4})), IndexError);
    CHECK_THAT(message_of([&] { (void)index_select<1>(x, from<std::int64_t>({0, 1, 5})); }),
               Contains("index_select: index 5 at position [2] of the indices is out of range, expected 0 to 4"));
    CHECK_THAT(message_of([&] { (void)embedding(x, from<std::int32_t>({2, 2}, {0, 3, -1, 9})); }),
               Contains("embedding: index -1 at position [1, 0]") && Contains("expected 0 to 3") && Contains("negative indices do not count from the end"));
    CHECK_THAT(message_of([&] { (void)gather<1>(x, from<std::int64_t>({4, 1}, {0, 0, 0, 7})); }),
               Contains("gather: index 7 at position [3, 0]") && Contains("expected 0 to 4"));
    CHECK_THAT(message_of([&] { (void)index_select<0>(zeros<float>({0, 2}), from<std::int64_t>({0})); }), Contains("axis without elements"));
    CHECK_THAT(message_of([&] { (void)gather<1>(x, zeros<std::int64_t>({5, 1})); }), Contains("larger than float[4, 5] on cpu at axis 0"));
    CHECK(index_select<0>(zeros<float>({0, 2}), zeros<std::int64_t>({0})).shape() == Shape<2>{{0, 2}});
    CHECK(index_select<1>(x, zeros<std::int64_t>({0})).shape() == Shape<2>{{4, 0}});
}

TEST_CASE("indices that were overwritten stop backward") {
    const auto x = randn<float>({4, 3}, Key{1}).require_grad();
    auto at = from<std::int64_t>({1, 2});
    const auto y = index_select<0>(x, at);
    const auto z = gather<0>(x, zeros<std::int64_t>({1, 3}));
    at.fill(0);
    CHECK_THROWS_AS(sum(y).backward(), GradError);
    CHECK_NOTHROW(sum(z).backward());
}

TEST_CASE("indexing does not depend on threads") {
    const int before = num_threads();
    const auto x = randn<float>({300, 41, 17}, Key{12});
    const auto rows = integers({5000}, Key{13}, 0, 300);
    const auto columns = integers({77}, Key{14}, 0, 41);
    const auto single = integers({300, 50, 17}, Key{15}, 0, 41);
    auto gradients = [&] {
        const auto leaf = clone(x).require_grad();
        const auto a = index_select<0>(leaf, rows);
        const auto b = index_select<1>(leaf, columns);
        const auto c = gather<1>(leaf, single);
        Tensor<float, 0> loss = sum(a * a) + sum(b * b * b) + sum(square(c));
        loss.backward();
        return clone(leaf.grad());
    };
    set_num_threads(1);
    const auto one = gradients();
    set_num_threads(2);
    const auto two = gradients();
    set_num_threads(before);
    CHECK(std::memcmp(one.data(), two.data(), static_cast<std::size_t>(one.size()) * sizeof(float)) == 0);
}
