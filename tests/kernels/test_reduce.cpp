// Reductions along an axis against the plain loops, for every type, many shapes, and the special values.
#include "numbers.hpp"

#include <tenon/kernels/cpu/reduce.hpp>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

using namespace tenon;
namespace k = tenon::kernels::cpu;
using numbers::epsilon, numbers::on_threads, numbers::value;

namespace {

struct Shape {
    long outer, n, inner;
};
const Shape shapes[] = {{1, 1, 1},   {1, 2, 1},    {3, 1, 4},     {2, 3, 1},    {5, 7, 1},      {4, 8, 1},    {3, 15, 1},   {2, 16, 1},
                        {2, 17, 1},  {300, 10, 1}, {7, 63, 1},    {7, 64, 1},   {7, 65, 1},     {3, 1000, 1}, {2, 4095, 1}, {2, 4096, 1},
                        {2, 4097, 1}, {1, 65536, 1}, {2, 65537, 1}, {1, 200003, 1}, {1, 5, 2},  {2, 3, 3},    {3, 4, 7},    {2, 9, 8},
                        {2, 5, 15},  {2, 5, 16},   {3, 5, 17},    {2, 33, 31},  {1, 7, 63},     {1, 7, 64},   {2, 7, 65},   {1, 3, 511},
                        {1, 3, 513}, {1, 6, 1500}, {1, 1024, 5},  {1, 1025, 20}, {2, 3000, 33}, {40, 3, 3},   {0, 4, 2},    {2, 4, 0}};

template <class T>
std::vector<T> random(long count, unsigned seed, int low, int high) {
    std::vector<T> v(static_cast<std::size_t>(count));
    unsigned long long state = 88172645463325252ull + seed * 0x9e3779b97f4a7c15ull;
    for (T& x : v) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        const double u = double(state >> 11) * 0x1p-53;
        if constexpr (std::is_integral_v<T>) x = static_cast<T>(low + static_cast<int>(u * (high - low + 1)));
        else x = T(static_cast<k::accumulator<T>>(low + u * (high - low)));
    }
    return v;
}
#define SHAPE_INFO(s) INFO("[" << s.outer << ", " << s.n << ", " << s.inner << "]")

}  // namespace

TEMPLATE_TEST_CASE("sum, mean, product, variance, logsumexp", "[reduce]", float, double, bf16, half) {
    using T = TestType;
    for (const Shape& s : shapes) {
        SHAPE_INFO(s);
        const auto x = random<T>(s.outer * s.n * s.inner, 1, -1, 2);
        const long outputs = s.outer * s.inner;
        std::vector<T> expected(static_cast<std::size_t>(outputs));
        // Sums of n numbers of size 2 in chains of at most n / 64 + 64: a bound on rounding, then the output's own rounding.
        const double accumulate = std::is_same_v<T, double> ? 0x1p-52 : 0x1p-23;
        const double chain = double(s.n) * accumulate * (double(s.n < 1024 ? s.n : 1024) / 16 + 2);
        auto compare = [&](const std::vector<T>& out, double absolute) {
            for (long i = 0; i < outputs; ++i) {
                const double a = value(out[std::size_t(i)]), b = value(expected[std::size_t(i)]);
                if (std::isnan(b)) CHECK(std::isnan(a));
                else if (std::isinf(b)) CHECK(a == b);
                else CHECK(std::abs(a - b) <= absolute + epsilon<T>() * std::abs(b));
            }
        };
        k::reference::reduce_sum(s.outer, s.n, s.inner, x.data(), expected.data());
        compare(on_threads<T>(outputs, [&](T* out) { k::reduce_sum(s.outer, s.n, s.inner, x.data(), out); }), chain);
        std::vector<k::accumulator<T>> sums(expected.size());  // the sum itself may exceed what T holds
        k::reference::reduce_sum(s.outer, s.n, s.inner, x.data(), sums.data());
        for (std::size_t i = 0; i < sums.size(); ++i)
            expected[i] = T(static_cast<k::accumulator<T>>(double(sums[i]) / double(s.n)));
        compare(on_threads<T>(outputs, [&](T* out) { k::reduce_mean(s.outer, s.n, s.inner, x.data(), out); }),
                chain / double(s.n) + epsilon<T>() * 2);
        k::reference::reduce_logsumexp(s.outer, s.n, s.inner, x.data(), expected.data());
        compare(on_threads<T>(outputs, [&](T* out) { k::reduce_logsumexp(s.outer, s.n, s.inner, x.data(), out); }),
                accumulate * (double(s.n < 1024 ? s.n : 1024) / 16 + 4));
        std::vector<k::accumulator<T>> mean(expected.size()), mean_expected(expected.size());
        for (long correction : {0l, 1l}) {
            k::reference::reduce_var(s.outer, s.n, s.inner, x.data(), correction, expected.data(), mean_expected.data());
            compare(on_threads<T>(outputs, [&](T* out) { k::reduce_var(s.outer, s.n, s.inner, x.data(), correction, out, mean.data()); }),
                    3 * accumulate * (double(s.n < 1024 ? s.n : 1024) / 16 + 2));
            for (long i = 0; i < outputs; ++i)
                CHECK(std::abs(double(mean[std::size_t(i)]) - double(mean_expected[std::size_t(i)])) <= chain / double(s.n) + 1e-30);
        }
        // Factors near one, so that the product neither vanishes nor overflows.
        auto y = x;
        for (T& e : y) e = T(static_cast<k::accumulator<T>>(1 + value(e) / double(s.n + 1)));
        k::reference::reduce_prod(s.outer, s.n, s.inner, y.data(), expected.data());
        const auto product = on_threads<T>(outputs, [&](T* out) { k::reduce_prod(s.outer, s.n, s.inner, y.data(), out); });
        for (long i = 0; i < outputs; ++i) {
            const double a = value(product[std::size_t(i)]), b = value(expected[std::size_t(i)]);
            CHECK(std::abs(a - b) <= std::abs(b) * (epsilon<T>() + accumulate * double(s.n)));
        }
    }
}

TEMPLATE_TEST_CASE("integer sums and products are exact", "[reduce]", std::int8_t, std::uint8_t, std::int32_t, std::int64_t) {
    using T = TestType;
    for (const Shape& s : shapes) {
        SHAPE_INFO(s);
        const auto x = random<T>(s.outer * s.n * s.inner, 2, std::is_unsigned_v<T> ? 0 : -100, 120);
        const long outputs = s.outer * s.inner;
        std::vector<std::int64_t> expected(static_cast<std::size_t>(outputs));
        k::reference::reduce_sum(s.outer, s.n, s.inner, x.data(), expected.data());
        CHECK(on_threads<std::int64_t>(outputs, [&](std::int64_t* out) { k::reduce_sum(s.outer, s.n, s.inner, x.data(), out); }) == expected);
        if (s.n <= 8) {
            k::reference::reduce_prod(s.outer, s.n, s.inner, x.data(), expected.data());
            CHECK(on_threads<std::int64_t>(outputs, [&](std::int64_t* out) { k::reduce_prod(s.outer, s.n, s.inner, x.data(), out); }) == expected);
        }
    }
}

TEMPLATE_TEST_CASE("maximum and minimum with their first position", "[reduce]", float, double, bf16, half, std::uint8_t, std::int32_t,
                   std::int64_t) {
    using T = TestType;
    for (const Shape& s : shapes) {
        SHAPE_INFO(s);
        const long outputs = s.outer * s.inner;
        for (int variant = 0; variant < 2; ++variant) {
            auto x = random<T>(s.outer * s.n * s.inner, 3, 0, variant == 0 ? 5 : 120);  // with and without many ties
            if (variant == 0)
                for (T& e : x) e = T(static_cast<k::accumulator<T>>(std::floor(value(e))));
            if constexpr (!std::is_integral_v<T>)
                if (variant == 1)
                    for (std::size_t i = 5; i < x.size(); i += 23) x[i] = T(std::numeric_limits<float>::quiet_NaN());
            for (int sign : {1, -1}) {
                std::vector<T> expected(static_cast<std::size_t>(outputs));
                std::vector<std::int64_t> at(static_cast<std::size_t>(outputs));
                k::reference::reduce_extreme(sign, s.outer, s.n, s.inner, x.data(), expected.data(), at.data());
                auto run = [&](T* values, std::int64_t* indices) {
                    if (sign > 0) k::reduce_max(s.outer, s.n, s.inner, x.data(), values, indices);
                    else k::reduce_min(s.outer, s.n, s.inner, x.data(), values, indices);
                };
                CHECK(on_threads<std::int64_t>(outputs, [&](std::int64_t* out) { run(nullptr, out); }) == at);
                std::vector<T> values(expected.size());
                const auto alone = on_threads<T>(outputs, [&](T* out) { run(out, nullptr); });
                std::vector<std::int64_t> again(at.size());
                run(values.data(), again.data());
                CHECK(again == at);
                for (std::size_t i = 0; i < values.size(); ++i) {
                    const double e = value(expected[i]);
                    CHECK((std::isnan(e) ? std::isnan(value(values[i])) : value(values[i]) == e));
                    CHECK((std::isnan(e) ? std::isnan(value(alone[i])) : value(alone[i]) == e));
                }
            }
        }
    }
}

TEST_CASE("extremes of integers reach the ends of their range", "[reduce]") {
    const std::int64_t low = std::numeric_limits<std::int64_t>::min(), high = std::numeric_limits<std::int64_t>::max();
    std::int64_t value = 0, at = 0;
    std::vector<std::int64_t> x(19, low);
    k::reduce_max(1, 19, 1, x.data(), &value, &at);
    CHECK((value == low && at == 0));
    x.assign(19, high);
    k::reduce_min(1, 19, 1, x.data(), &value, &at);
    CHECK((value == high && at == 0));
    x[7] = high - 1;
    k::reduce_min(1, 19, 1, x.data(), &value, &at);
    CHECK((value == high - 1 && at == 7));
    std::vector<std::int32_t> y(21, std::numeric_limits<std::int32_t>::min());
    std::int32_t small = 0;
    k::reduce_max(1, 21, 1, y.data(), &small, &at);
    CHECK((small == std::numeric_limits<std::int32_t>::min() && at == 0));
}

TEST_CASE("empty axes", "[reduce]") {
    float out[2] = {9, 9};
    const float* none = nullptr;
    k::reduce_sum(1, 0, 2, none, out);
    CHECK((out[0] == 0 && out[1] == 0));
    k::reduce_prod(2, 0, 1, none, out);
    CHECK((out[0] == 1 && out[1] == 1));
    k::reduce_mean(2, 0, 1, none, out);
    CHECK(std::isnan(out[0]));
    k::reduce_logsumexp(2, 0, 1, none, out);
    CHECK(out[0] == -std::numeric_limits<float>::infinity());
    float mean[2];
    k::reduce_var(2, 0, 1, none, 1, out, mean);
    CHECK((std::isnan(out[0]) && std::isnan(mean[0])));
    CHECK_THROWS_AS(k::reduce_max(2, 0, 1, none, out, static_cast<std::int64_t*>(nullptr)), ShapeError);
}

TEST_CASE("infinities in logsumexp", "[reduce]") {
    const float inf = std::numeric_limits<float>::infinity();
    for (long inner : {1l, 3l}) {
        std::vector<float> x(static_cast<std::size_t>(20 * inner), -inf), out(static_cast<std::size_t>(inner));
        k::reduce_logsumexp(1, 20, inner, x.data(), out.data());
        for (float o : out) CHECK(o == -inf);
        for (long i = 0; i < inner; ++i) x[std::size_t(4 * inner + i)] = 1000;
        k::reduce_logsumexp(1, 20, inner, x.data(), out.data());
        for (float o : out) CHECK(o == 1000);
        for (long i = 0; i < inner; ++i) x[std::size_t(5 * inner + i)] = inf;
        k::reduce_logsumexp(1, 20, inner, x.data(), out.data());
        for (float o : out) CHECK(o == inf);
        for (long i = 0; i < inner; ++i) x[std::size_t(6 * inner + i)] = std::nanf("");
        k::reduce_logsumexp(1, 20, inner, x.data(), out.data());
        for (float o : out) CHECK(std::isnan(o));
    }
}

TEST_CASE("an output's bits depend on its own elements only", "[reduce]") {
    // The same column alone, among others, and as a row of a larger batch.
    for (long n : {10l, 1000l, 70000l}) {
        const auto x = random<float>(n * 3, 5, -1, 1);
        float all[3], alone = 0;
        k::reduce_sum(3, n, 1, x.data(), all);
        k::reduce_sum(1, n, 1, x.data() + n, &alone);
        CHECK(all[1] == alone);
        const long wide = 70;
        const auto y = random<float>(n * wide, 6, -1, 1);
        std::vector<float> columns(static_cast<std::size_t>(wide)), few(5);
        k::reduce_sum(1, n, wide, y.data(), columns.data());
        std::vector<float> part(static_cast<std::size_t>(n * 5));
        for (long r = 0; r < n; ++r)
            for (long j = 0; j < 5; ++j) part[std::size_t(r * 5 + j)] = y[std::size_t(r * wide + 61 + j)];
        k::reduce_sum(1, n, 5, part.data(), few.data());
        for (long j = 0; j < 5; ++j) CHECK(few[std::size_t(j)] == columns[std::size_t(61 + j)]);
    }
}

TEMPLATE_TEST_CASE("backward of selection and variance", "[reduce]", float, double, bf16) {
    using T = TestType;
    for (const Shape& s : shapes) {
        SHAPE_INFO(s);
        const long count = s.outer * s.n * s.inner, outputs = s.outer * s.inner;
        const auto x = random<T>(count, 1, -1, 2), dy = random<T>(outputs, 2, -1, 1), before = random<T>(count, 3, -1, 1);
        std::vector<T> values(static_cast<std::size_t>(outputs));
        std::vector<std::int64_t> at(values.size());
        k::reduce_max(s.outer, s.n, s.inner, x.data(), values.data(), at.data());
        std::vector<k::accumulator<T>> mean(values.size());
        k::reduce_var(s.outer, s.n, s.inner, x.data(), 1, values.data(), mean.data());
        for (bool accumulate : {false, true}) {
            const auto chosen = on_threads<T>(count, [&](T* dx) {
                std::copy(before.begin(), before.end(), dx);
                k::reduce_select_backward(s.outer, s.n, s.inner, dy.data(), at.data(), dx, accumulate);
            });
            const auto spread = on_threads<T>(count, [&](T* dx) {
                std::copy(before.begin(), before.end(), dx);
                k::reduce_var_backward(s.outer, s.n, s.inner, x.data(), mean.data(), dy.data(), 1, dx, accumulate);
            });
            for (long i = 0; i < count; ++i) {
                const long output = i / (s.n * s.inner) * s.inner + i % s.inner, position = i / s.inner % s.n;
                const double base = accumulate ? value(before[std::size_t(i)]) : 0;
                const double d = value(dy[std::size_t(output)]);
                const double expected = base + (at[std::size_t(output)] == position ? d : 0);
                CHECK(std::abs(value(chosen[std::size_t(i)]) - expected) <= epsilon<T>() * std::abs(expected));
                if (s.n > 1) {
                    const double e = base + 2 * (value(x[std::size_t(i)]) - double(mean[std::size_t(output)])) / double(s.n - 1) * d;
                    CHECK(std::abs(value(spread[std::size_t(i)]) - e) <= 8 * epsilon<T>() * (std::abs(e) + std::abs(base)) + 1e-6 * epsilon<T>());
                }
            }
        }
    }
}

TEST_CASE("variance keeps its digits far from zero, after a jump and beside an outlier", "[reduce]") {
    // [outer, n, inner] with the same series in every column: a mean of 4096 units, a jump, one outlier among the rows that
    // columns are shifted by.
    for (const Shape& s : {Shape{2, 1000, 1}, Shape{1, 70000, 1}, Shape{1, 1000, 40}, Shape{2, 700, 3}, Shape{1, 3000, 300}})
        for (int kind : {0, 1, 2}) {
            SHAPE_INFO(s);
            INFO("kind " << kind);
            const auto noise = random<float>(s.n, 5, -1, 1);
            std::vector<float> x(static_cast<std::size_t>(s.outer * s.n * s.inner)), out(static_cast<std::size_t>(s.outer * s.inner)), expected(out.size());
            std::vector<float> mean(out.size()), mean_expected(out.size());
            for (long o = 0; o < s.outer; ++o)
                for (long r = 0; r < s.n; ++r)
                    for (long i = 0; i < s.inner; ++i)
                        x[std::size_t((o * s.n + r) * s.inner + i)] =
                            noise[std::size_t(r)] + (kind == 0 ? 4096.f : kind == 1 ? (r < 100 ? 0.f : 4096.f) : (r == 3 ? 4096.f : 0.f));
            k::reference::reduce_var(s.outer, s.n, s.inner, x.data(), 1, expected.data(), mean_expected.data());
            k::reduce_var(s.outer, s.n, s.inner, x.data(), 1, out.data(), mean.data());
            for (std::size_t i = 0; i < out.size(); ++i) {
                // Each distance is rounded where the numbers lie (kind 0: 2^-12 of their spread); a chunk's shift costs 16 roundings more.
                CHECK(std::abs(double(out[i]) - double(expected[i])) <= (kind == 0 ? 1e-4 : 4e-6) * double(expected[i]));
                // Of the outlier's chunk: 128 distances of 512, 18 roundings of their sum.
                CHECK(std::abs(double(mean[i]) - double(mean_expected[i])) <=
                      0x1p-22 * std::abs(double(mean_expected[i])) + 1e-6 + (kind == 2 ? 18 * 0x1p-24 * 128 * 512 / double(s.n) : 0));
            }
        }
}

TEST_CASE("logsumexp of columns and rows with infinities and NaN", "[reduce]") {
    const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
    for (const Shape& s : {Shape{1, 40, 1}, Shape{1, 9, 20}, Shape{1, 2100, 17}, Shape{1, 5000, 1}})
        for (long at : {0l, 5l, s.n - 1}) {
            SHAPE_INFO(s);
            std::vector<float> x(static_cast<std::size_t>(s.n * s.inner), 0.5f), out(static_cast<std::size_t>(s.inner));
            const auto run = [&](float fill, float value) {
                for (long i = 0; i < s.n * s.inner; ++i) x[std::size_t(i)] = i / s.inner == at ? value : fill;
                k::reduce_logsumexp(1, s.n, s.inner, x.data(), out.data());
                return out[std::size_t(s.inner / 2)];
            };
            CHECK(run(0.5f, inf) == inf);
            CHECK(run(-inf, -inf) == -inf);
            CHECK(run(-inf, 3.f) == 3.f);
            CHECK(run(-1000.f, -3.f) == -3.f);
            CHECK(std::isnan(run(0.5f, nan)));
            CHECK(std::isnan(run(inf, nan)));
            CHECK(run(inf, 0.f) == inf);
            CHECK(std::abs(run(1000.f, 1000.f) - (1000.f + std::log(float(s.n)))) <= 2e-4f);
        }
}
