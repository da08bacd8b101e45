#include <catch2/catch.hpp>

#include <tenon/base/parallel.hpp>
#include <tenon/ops/extreme.hpp>
#include <tenon/ops/random.hpp>
#include <tenon/testing/gradcheck.hpp>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

using namespace tenon;
using Catch::Matchers::Contains;

namespace {

constexpr float nan_value = std::numeric_limits<float>::quiet_NaN();

// The plain version over the middle axis of [a, n, b].
template <class T, class X>
void check_extremes(const X& x, bool largest, const Tensor<T, 2>& values, const Tensor<std::int64_t, 2>& indices) {
    for (long i = 0; i < x.shape(0); ++i)
        for (long k = 0; k < x.shape(2); ++k) {
            long best = 0;
            for (long j = 1; j < x.shape(1); ++j) {
                const double b = static_cast<double>(x(i, best, k).item()), v = static_cast<double>(x(i, j, k).item());
                if (largest ? v > b : v < b) best = j;
            }
            REQUIRE(indices(i, k).item() == best);
            REQUIRE(static_cast<double>(values(i, k).item()) == static_cast<double>(x(i, best, k).item()));
        }
}

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

TEMPLATE_TEST_CASE("extremes along each axis", "", float, double, bf16, half, std::int64_t, std::int32_t, std::uint8_t, std::int8_t) {
    using T = TestType;
    const Tensor<std::int64_t, 3> draws = integers({5, 19, 7}, Key{3}, 0, 40);
    const Tensor<T, 3> x = cast<T>(draws);
    auto [largest, at] = max<1>(x);
    check_extremes<T>(x, true, largest, at);
    auto [smallest, where] = min<1>(x);
    check_extremes<T>(x, false, smallest, where);
    // The last and the first axis, through views whose middle axis they are.
    auto last = max<-1>(x);
    check_extremes<T>(x.template permute<0, 2, 1>(), true, last.values, last.indices);
    auto first = min<0>(x);
    check_extremes<T>(x.template permute<1, 0, 2>(), false, first.values, first.indices);
    // A view as the input.
    auto view = max<1>(x.template permute<0, 2, 1>());
    CHECK(testing::close(view.values, last.values));
    CHECK(testing::close(view.indices, last.indices));
}

TEST_CASE("extremes of everything, and positions alone") {
    const auto x = from<float>({2, 3}, {4, -1, 9, 9, 2, -1});
    CHECK(max(x).item() == 9.f);
    CHECK(min(x).item() == -1.f);
    CHECK(argmax(x).item() == 2);  // of several the first
    CHECK(argmin(x).item() == 1);
    CHECK(argmax(x.transpose()).item() == 1);  // in the view's own order: 4 9 -1 2 9 -1
    CHECK(testing::close(argmax<1>(x), from<std::int64_t>({2, 0})));
    CHECK(testing::close(argmin<0>(x), from<std::int64_t>({0, 0, 1})));
    CHECK(testing::close(argmax<0>(x, keepdim), from<std::int64_t>({1, 3}, {1, 1, 0})));
    CHECK(testing::close(argmin<-1>(x * -1.f), from<std::int64_t>({2, 0})));
    auto [values, indices] = max<1>(x, keepdim);
    CHECK(values.shape() == Shape<2>{{2, 1}});
    CHECK(testing::close(values, from<float>({2, 1}, {9, 9})));
    CHECK(testing::close(indices, from<std::int64_t>({2, 1}, {2, 0})));
    CHECK(max(full<float>({}, 3.f)).item() == 3.f);
    CHECK(argmax(full<float>({}, 3.f)).item() == 0);
    // Elementwise max keeps its meaning.
    CHECK(testing::close(max(x, 3.f), from<float>({2, 3}, {4, 3, 9, 9, 3, 3})));
}

TEST_CASE("a NaN wins, the first one") {
    const auto x = from<float>({2, 4}, {1, nan_value, 7, nan_value, 3, 2, 1, 0});
    auto [largest, at] = max<1>(x);
    CHECK(std::isnan(largest(0).item()));
    CHECK(at(0).item() == 1);
    CHECK(at(1).item() == 0);
    CHECK(argmin<1>(x)(0).item() == 1);
    auto columns = min<0>(x);
    CHECK(columns.values(0).item() == 1.f);
    CHECK(std::isnan(columns.values(1).item()));
    CHECK(columns.indices(3).item() == 0);
    CHECK(std::isnan(max(x).item()));
    CHECK(std::isnan(min(x).item()));
}

TEST_CASE("extremes of nothing") {
    const auto none = zeros<float>({3, 0});
    CHECK_THROWS_AS(max(none), ShapeError);
    CHECK_THROWS_AS(argmin(none), ShapeError);
    CHECK_THAT(message_of([&] { (void)max<1>(none); }), Contains("max: float[3, 0] on cpu has no elements along the reduced axis"));
    auto [values, indices] = max<0>(none);  // no outputs at all
    CHECK(values.size() == 0);
    CHECK(indices.size() == 0);
}

TEST_CASE("gradients of extremes") {
    const auto x = randn<double>({3, 5, 4}, Key{11});
    testing::gradcheck([](const auto& a) { return max<1>(a).values; }, x);
    testing::gradcheck([](const auto& a) { return min<-1>(square(a) + 1.0).values; }, x);
    testing::gradcheck([](const auto& a) { return max<0>(a.template permute<2, 0, 1>(), keepdim).values; }, x);
    testing::gradcheck([](const auto& a) { return max(a) * min(a); }, x);
    // Used twice: the second gradient adds to the first.
    testing::gradcheck([](const auto& a) { return sum(max<1>(a).values) + sum(min<1>(a).values) + sum(a); }, x);

    auto tied = from<float>({4}, {2, 7, 7, 1}).require_grad();
    max(tied).backward();
    CHECK(testing::close(tied.grad(), from<float>({4}, {0, 1, 0, 0})));

    auto leaf = randn<bf16>({4, 6}, Key{1}).require_grad();
    auto [values, indices] = max<1>(leaf);
    CHECK_FALSE(indices.requires_grad());
    values.backward(ones<bf16>({4}));
    CHECK(static_cast<float>(sum(leaf.grad()).item()) == 4.f);
    CHECK_FALSE(argmax<1>(leaf).requires_grad());
}

TEST_CASE("indices that were overwritten stop backward") {
    auto x = randn<float>({3, 4}, Key{2}).require_grad();
    auto [values, indices] = max<1>(x);
    indices.fill(0);
    CHECK_THROWS_AS(sum(values).backward(), GradError);
}

TEST_CASE("variance") {
    const auto x = randn<double>({4, 6, 5}, Key{21});
    auto plain = [&](long i, long k, long correction) {
        double mean = 0, squares = 0;
        for (long j = 0; j < 6; ++j) mean += x(i, j, k).item() / 6;
        for (long j = 0; j < 6; ++j) squares += (x(i, j, k).item() - mean) * (x(i, j, k).item() - mean);
        return squares / static_cast<double>(6 - correction);
    };
    for (long correction : {0l, 1l, 2l}) {
        const auto v = var<1>(x, {.correction = correction});
        const auto s = std_dev<1>(x, {.correction = correction});
        for (long i = 0; i < 4; ++i)
            for (long k = 0; k < 5; ++k) {
                REQUIRE(v(i, k).item() == Approx(plain(i, k, correction)).epsilon(1e-13));
                REQUIRE(s(i, k).item() == Approx(std::sqrt(plain(i, k, correction))).epsilon(1e-13));
            }
    }
    // Hand-checked: 1 2 3 4 has 5/3 with the correction and 5/4 without.
    const auto few = from<float>({1, 2, 3, 4});
    CHECK(var(few).item() == Approx(5.0 / 3));
    CHECK(var(few, {.correction = 0}).item() == 1.25f);
    CHECK(std_dev(few, {.correction = 0}).item() == Approx(std::sqrt(1.25)));
    // Several axes: neighbours, others, all.
    const auto kept = x.permute<1, 0, 2>().reshape({6, 20});
    CHECK(testing::close(var<0, 2>(x), var<1>(kept)));
    CHECK(testing::close(var<0, 1>(x), var<0>(x.reshape({24, 5}))));
    CHECK(testing::close(var<1, 2>(x, {.correction = 0}, keepdim), var<1>(x.reshape({4, 30}), {.correction = 0}).reshape({4, 1, 1})));
    CHECK(testing::close(var(x), var<0>(x.reshape({120}))));
    CHECK(testing::close(var<2>(x.transpose()), var<1>(x)));
    CHECK(var<-1>(x, keepdim).shape() == Shape<3>{{4, 6, 1}});
    CHECK(var<0, 2>(x, keepdim).shape() == Shape<3>{{1, 6, 1}});
    // 16-bit input: as in float, rounded once.
    const Tensor<bf16, 3> low = cast<bf16>(x);
    CHECK(testing::close(var<0, 2>(low), eval(cast<bf16>(var<0, 2>(cast<float>(low))))));
}

TEST_CASE("variance of too few") {
    CHECK(std::isnan(var(from<float>({3.f})).item()));
    CHECK(var(from<float>({3.f}), {.correction = 0}).item() == 0.f);
    CHECK(std::isnan(var(zeros<float>({0})).item()));
    CHECK(var<1>(zeros<float>({0, 3})).size() == 0);
    CHECK_THROWS_AS(var(ones<float>({4}), {.correction = -1}), ValueError);
}

TEST_CASE("gradients of variance") {
    const auto x = randn<double>({3, 5, 4}, Key{31});
    testing::gradcheck([](const auto& a) { return var<1>(a); }, x);
    testing::gradcheck([](const auto& a) { return var<-1>(a * a, {.correction = 0}); }, x);
    testing::gradcheck([](const auto& a) { return var<0, 2>(a, keepdim); }, x);
    testing::gradcheck([](const auto& a) { return var(a); }, x);
    testing::gradcheck([](const auto& a) { return std_dev<0>(a); }, x);
    testing::gradcheck([](const auto& a) { return std_dev<0, 2>(a.transpose(), {.correction = 2}); }, x);
    testing::gradcheck([](const auto& a) { return sum(a) + std_dev(a) + var(a); }, x);
    // Equal elements: the root has no slope there; 0 is taken.
    auto flat = ones<float>({2, 3}).require_grad();
    sum(std_dev<1>(flat)).backward();
    CHECK(testing::close(flat.grad(), zeros<float>({2, 3})));
    Tensor<float, 3> leaf = cast<float>(x);
    leaf.require_grad();
    auto wide = clone(x).require_grad();
    sum(square(var<1>(leaf))).backward();
    sum(square(var<1>(wide))).backward();
    CHECK(testing::close(leaf.grad(), eval(cast<float>(wide.grad())), {.relative = 1e-5, .absolute = 1e-6}));
}

TEST_CASE("any, all, count") {
    const auto x = from<float>({2, 3}, {1, -2, 3, 4, 5, 6});
    CHECK(any(x < 0.f).item());
    CHECK_FALSE(any(x > 6.f).item());
    CHECK(tenon::all(x > -3.f).item());
    CHECK_FALSE(tenon::all(x > 0.f).item());
    CHECK(count(x > 2.f).item() == 4);
    CHECK(testing::close(count<1>(x > 2.f), from<std::int64_t>({1, 3})));
    CHECK(testing::close(any<0>(x < 0.f), from<bool>({false, true, false})));
    const Tensor<bool, 2> mask = x > 0.f;
    CHECK(count(mask.transpose()).item() == 5);
    CHECK(x(tenon::all, 1).size() == 2);  // still the index tag
    const auto none = zeros<bool>({0, 3});
    CHECK_FALSE(any(none).item());
    CHECK(tenon::all(none).item());
    CHECK(count(none).item() == 0);
}

TEST_CASE("extremes and variances do not depend on threads") {
    const int before = num_threads();
    const auto x = randn<float>({37, 1031, 9}, Key{41});
    auto everything = [&] {
        std::vector<char> bytes;
        auto keep = [&](const auto& t) {
            const char* p = reinterpret_cast<const char*>(t.data());
            bytes.insert(bytes.end(), p, p + static_cast<std::size_t>(t.size()) * sizeof(*t.data()));
        };
        auto leaf = clone(x).require_grad();
        keep(max<1>(x).values);
        keep(argmin<2>(x));
        keep(max(x));
        keep(var<0, 2>(x));
        keep(std_dev<1>(x));
        Tensor<float, 0> loss = sum(square(var<1>(leaf))) + sum(min<0>(leaf).values);
        loss.backward();
        keep(leaf.grad());
        return bytes;
    };
    set_num_threads(1);
    const auto one = everything();
    set_num_threads(2);
    const auto two = everything();
    set_num_threads(before);
    CHECK(one == two);
}
