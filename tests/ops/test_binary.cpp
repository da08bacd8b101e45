// Every binary record of the operator table, comparisons and selections, and 16-bit storage.
#include "elementwise_checks.hpp"

using namespace operators;

TEST_CASE("binary operations have PyTorch's values and derivatives, in float and double") {
    for_each_binary([](const auto& record) {
        check_golden_binary<double>(record);
        check_golden_binary<float>(record);
    });
}
TEST_CASE("binary operations pass the gradient check, broadcast both ways") {
    for_each_binary([](const auto& record) {
        INFO(record.name);
        const Range range{record.domain.low, record.domain.high};
        const auto a = uniform<double>({3, 4}, Key{5}, range), b = uniform<double>({3, 4}, Key{6}, range);
        CHECK_NOTHROW(testing::gradcheck(record.formula, a, b));
        CHECK_NOTHROW(testing::gradcheck(record.formula, a, uniform<double>({4}, Key{7}, range)));
        CHECK_NOTHROW(testing::gradcheck(record.formula, uniform<double>({3, 1}, Key{8}, range), b));
        CHECK_NOTHROW(testing::gradcheck(record.formula, uniform<double>({3, 1}, Key{8}, range), uniform<double>({2, 1, 4}, Key{9}, range)));
        CHECK_NOTHROW(testing::gradcheck([&](auto x) { return record.formula(x, 1.5); }, a));
    });
}
TEST_CASE("binary operations do not depend on the threads") {
    for_each_binary([](const auto& record) {
        INFO(record.name);
        const Range range{record.domain.low, record.domain.high};
        const auto a = uniform<float>({300, 211}, Key{1}, range).require_grad();
        const auto b = uniform<float>({211}, Key{2}, range).require_grad();
        auto run = [&](int threads) {
            set_num_threads(threads);
            const Tensor<float, 2> y = record.formula(a, b);
            y.backward(ones_like(y));
            const auto db = clone(b.grad());
            a.zero_grad();
            b.zero_grad();
            set_num_threads(2);
            return db;
        };
        CHECK(same_bits(run(1), run(2)));
    });
}
TEST_CASE("16-bit storage computes in float and rounds once") {
    check_storage<bf16>(Unary<decltype([](const auto& x) { return tanh(x); })>{"tanh", {}, {}, {-3, 3}, nullptr, nullptr, nullptr, 0});
    check_storage<half>(Unary<decltype([](const auto& x) { return silu(x); })>{"silu", {}, {}, {-3, 3}, nullptr, nullptr, nullptr, 0});
    check_storage<half>(Unary<decltype([](const auto& x) { return x * 2.f + x; })>{"fma", {}, {}, {-3, 3}, nullptr, nullptr, nullptr, 0});
}
TEST_CASE("comparisons, masks and where follow IEEE, NaN included") {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const auto a = from<float>({1, 2, nan, 0, -0.f, 3, 4, 5, 6}), b = from<float>({1, 3, 1, nan, 0, 2, 4, 6, 5});
    const Tensor<bool, 1> lt = a < b, le = a <= b, gt = a > b, ge = a >= b, eq = a == b, ne = a != b;
    const Tensor<bool, 1> mix = (a < b || a == 3.f) && !(b == 6.f), missing = isnan(a);
    const Tensor<float, 1> chosen = where(a < b, a, b * 10.f);
    for (long i = 0; i < a.size(); ++i) {
        const float x = a.data()[i], y = b.data()[i];
        CHECK(lt.data()[i] == (x < y));
        CHECK(le.data()[i] == (x <= y));
        CHECK(gt.data()[i] == (x > y));
        CHECK(ge.data()[i] == (x >= y));
        CHECK(eq.data()[i] == (x == y));
        CHECK(ne.data()[i] == (x != y));
        CHECK(mix.data()[i] == ((x < y || x == 3.f) && !(y == 6.f)));
        CHECK(missing.data()[i] == std::isnan(x));
        const float expected = x < y ? x : y * 10;
        CHECK((chosen.data()[i] == expected || (std::isnan(expected) && std::isnan(chosen.data()[i]))));
    }
    const auto mask = from<bool>({true, false, true});
    const Tensor<double, 1> numbers = cast<double>(mask) * 2.0;
    CHECK(numbers.data()[0] == 2);
    CHECK(numbers.data()[1] == 0);
    const Tensor<std::int64_t, 1> whole = cast<std::int64_t>(from<float>({1.9f, -1.9f, 7}));
    CHECK(whole.data()[0] == 1);
    CHECK(whole.data()[1] == -1);
    const auto counted = sum(from<bool>({true, true, false}));
    CHECK(counted.item() == 2);
}
TEST_CASE("integers of every width add, subtract, multiply and compare") {
    const auto i8 = from<std::int8_t>({-128, 127, 5}), j8 = from<std::int8_t>({1, 1, -7});
    const Tensor<std::int8_t, 1> p = i8 + j8;
    CHECK(p.data()[0] == -127);
    CHECK(p.data()[2] == -2);
    const Tensor<std::uint8_t, 1> u = from<std::uint8_t>({200, 3}) * from<std::uint8_t>({1, 80});
    CHECK(u.data()[1] == 240);
    const Tensor<std::int64_t, 1> l = maximum(from<std::int64_t>({1l << 40, -5}), from<std::int64_t>({3, 4})) - 1;
    CHECK(l.data()[0] == (1l << 40) - 1);
    CHECK(l.data()[1] == 3);
    const Tensor<bool, 1> less = from<std::int32_t>({1, 5}) < 3;
    CHECK(less.data()[0]);
    CHECK_FALSE(less.data()[1]);
}
TEST_CASE("infinity and NaN in the branch not taken do not reach a gradient") {
    const auto x = from<double>({0, 4, -1}).require_grad();
    sum(where(x > 0.0, sqrt(x), x * 2.0)).backward();
    CHECK(x.grad().data()[0] == 2);
    CHECK(x.grad().data()[1] == Approx(0.25));
    CHECK(x.grad().data()[2] == 2);
    x.zero_grad();
    sum(where(x > 0.0, log(x), zeros_like(x))).backward();
    CHECK(x.grad().data()[0] == 0);
    CHECK(x.grad().data()[2] == 0);
}

TEST_CASE("conditions over elements of different widths combine") {
    const auto a = from<std::int64_t>({3}, {1, 2, 3}), b = from<std::int64_t>({3}, {1, 5, 3});
    const auto x = from<double>({3}, {1, 2, -3});
    const auto f = from<float>({3}, {1, -1, 1});
    const Tensor<bool, 1> positive = f > 0.f;
    const Tensor<bool, 1> both = a == b && positive, either = x > 0. || f > 0.f, neither = !(a == b && x > 0.);
    const Tensor<float, 1> chosen = where(a == b && positive, f, 0.f);
    for (long i = 0; i < 3; ++i) {
        CHECK(both.data()[i] == (i != 1));
        CHECK(either.data()[i]);
        CHECK(neither.data()[i] == (i != 0));
        CHECK(chosen.data()[i] == (i == 1 ? 0 : 1));
    }
}
