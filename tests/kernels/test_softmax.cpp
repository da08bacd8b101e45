// Softmax, log-softmax and cross-entropy against the plain loops in double, with the special values.
#include "numbers.hpp"

#include <tenon/kernels/cpu/cross_entropy.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

using namespace tenon;
namespace k = tenon::kernels::cpu;
using numbers::arithmetic, numbers::epsilon, numbers::on_threads, numbers::random, numbers::same_bits, numbers::value;

namespace {

struct Shape {
    long outer, n, inner;
};
const Shape shapes[] = {{1, 1, 1},    {5, 2, 1},     {128, 10, 1}, {33, 7, 1},  {3, 15, 1},  {17, 16, 1}, {3, 31, 1},  {20, 32, 1},
                        {3, 33, 1},   {2, 47, 1},    {2, 64, 1},   {5, 65, 1},  {2, 1000, 1}, {3, 4096, 1}, {2, 4097, 1}, {2, 32000, 1},
                        {400, 100, 1}, {2, 3, 2},    {2, 21, 7},   {1, 5, 8},   {2, 9, 16},  {2, 4, 17},  {1, 19, 64}, {2, 6, 65},
                        {1, 3, 400},  {300, 4, 3},   {0, 3, 1},    {3, 0, 2}};

template <class T>
double tiny() {  // half has subnormals within reach
    return std::is_same_v<T, half> ? 0x1p-25 : 1e-37;
}
std::ostream& operator<<(std::ostream& out, const Shape& s) { return out << "[" << s.outer << ", " << s.n << ", " << s.inner << "]"; }
#define SHAPE_INFO(s) INFO(s)

}  // namespace

TEMPLATE_TEST_CASE("softmax and log-softmax forward", "[softmax]", float, double, bf16, half) {
    using T = TestType;
    for (const Shape& s : shapes) {
        SHAPE_INFO(s);
        const auto x = random<T>(s.outer * s.n * s.inner, 1, -6, 6);
        std::vector<T> expected(x.size()), start(x.size());
        const auto y = on_threads<T>(start, [&](T* out) { k::softmax(s.outer, s.n, s.inner, x.data(), out); });
        k::reference::softmax<false>(s.outer, s.n, s.inner, x.data(), expected.data());
        // e^(x - max) carries the rounding of x - max (|x - max| <= 12) and of up to n / lanes additions.
        const double relative = epsilon<T>() + arithmetic<T>() * (16 + double(s.n < 4096 ? s.n : 4096) / 8);
        for (std::size_t i = 0; i < y.size(); ++i)
            CHECK(std::abs(value(y[i]) - value(expected[i])) <= relative * value(expected[i]) + tiny<T>());
        const auto l = on_threads<T>(start, [&](T* out) { k::log_softmax(s.outer, s.n, s.inner, x.data(), out); });
        k::reference::softmax<true>(s.outer, s.n, s.inner, x.data(), expected.data());
        for (std::size_t i = 0; i < l.size(); ++i)
            CHECK(std::abs(value(l[i]) - value(expected[i])) <= epsilon<T>() * std::abs(value(expected[i])) + relative - epsilon<T>());
        auto in_place = x;
        k::softmax(s.outer, s.n, s.inner, in_place.data(), in_place.data());
        CHECK(same_bits(in_place, y));
    }
}

TEMPLATE_TEST_CASE("softmax and log-softmax backward", "[softmax]", float, double, bf16, half) {
    using T = TestType;
    for (const Shape& s : shapes) {
        SHAPE_INFO(s);
        const auto x = random<T>(s.outer * s.n * s.inner, 1, -3, 3), dy = random<T>(long(x.size()), 2, -1, 1), before = random<T>(long(x.size()), 3, -1, 1);
        std::vector<T> y(x.size()), l(x.size());
        k::softmax(s.outer, s.n, s.inner, x.data(), y.data());
        k::log_softmax(s.outer, s.n, s.inner, x.data(), l.data());
        for (bool accumulate : {false, true}) {
            auto expected = before;
            const auto dx = on_threads<T>(before, [&](T* out) { k::softmax_backward(s.outer, s.n, s.inner, y.data(), dy.data(), out, accumulate); });
            k::reference::softmax_backward<false>(s.outer, s.n, s.inner, y.data(), dy.data(), expected.data(), accumulate);
            const double slack = arithmetic<T>() * (8 + double(s.n < 4096 ? s.n : 4096) / 8);
            for (std::size_t i = 0; i < dx.size(); ++i)
                CHECK(std::abs(value(dx[i]) - value(expected[i])) <= epsilon<T>() * std::abs(value(expected[i])) + slack * value(y[i]) +
                                                                        (accumulate ? slack : 0) + tiny<T>());
            if (!accumulate)
                for (int which = 0; which < 2; ++which) {  // dx may be dy, or y
                    auto place = which == 0 ? dy : y;
                    k::softmax_backward(s.outer, s.n, s.inner, which == 0 ? y.data() : place.data(), which == 0 ? place.data() : dy.data(),
                                        place.data(), false);
                    CHECK(same_bits(place, dx));
                }
            expected = before;
            const auto dl = on_threads<T>(before, [&](T* out) { k::log_softmax_backward(s.outer, s.n, s.inner, l.data(), dy.data(), out, accumulate); });
            k::reference::softmax_backward<true>(s.outer, s.n, s.inner, l.data(), dy.data(), expected.data(), accumulate);
            for (std::size_t i = 0; i < dl.size(); ++i)
                CHECK(std::abs(value(dl[i]) - value(expected[i])) <=
                      epsilon<T>() * std::abs(value(expected[i])) + 4 * slack * (1 + std::exp(value(l[i])) * std::sqrt(double(s.n))));
        }
    }
}

TEMPLATE_TEST_CASE("cross-entropy forward and backward", "[softmax]", float, double, bf16, half) {
    using T = TestType;
    using A = k::accumulator<T>;
    for (const Shape& s : shapes) {
        if (s.inner != 1 || s.n == 0) continue;
        SHAPE_INFO(s);
        const long rows = s.outer, columns = s.n;
        const auto x = random<T>(rows * columns, 4, -4, 4);
        std::vector<std::int64_t> labels;
        std::vector<std::int32_t> small;
        for (long r = 0; r < rows; ++r) labels.push_back(r % 7 == 3 ? -100 : (r * 31 + 5) % columns);
        for (std::int64_t l : labels) small.push_back(static_cast<std::int32_t>(l));
        const auto scale = random<A>(rows, 5, 0.1, 1);
        std::vector<A> lse(static_cast<std::size_t>(rows)), top(lse), expected(lse.size()), zeros(lse.size());
        long counted = -1;
        const auto loss = on_threads<A>(zeros, [&](A* out) {
            CHECK(k::cross_entropy(rows, columns, x.data(), labels.data(), -100, out, top.data(), lse.data(), &counted) == -1);
        });
        CHECK(counted == std::count_if(labels.begin(), labels.end(), [](std::int64_t l) { return l >= 0; }));
        auto again = zeros;
        k::cross_entropy(rows, columns, x.data(), small.data(), -100, again.data(), top.data(), lse.data(), &counted);
        CHECK(same_bits(again, loss));
        k::reference::cross_entropy(rows, columns, 1l, x.data(), labels.data(), -100, 0., static_cast<const A*>(nullptr), static_cast<const A*>(nullptr), expected.data(), static_cast<T*>(nullptr), false);
        const double relative = arithmetic<T>() * (16 + double(columns < 4096 ? columns : 4096) / 8);
        for (std::size_t r = 0; r < loss.size(); ++r)
            CHECK(std::abs(double(loss[r]) - double(expected[r])) <= relative * (1 + std::abs(double(expected[r]))));
        for (bool accumulate : {false, true}) {
            const auto before = random<T>(rows * columns, 6, -1, 1);
            auto gradient = before;
            const auto dx = on_threads<T>(before, [&](T* out) {
                k::cross_entropy_backward(rows, columns, x.data(), labels.data(), -100, top.data(), lse.data(), scale.data(), out, accumulate);
            });
            if (!accumulate) {
                auto place = x;
                k::cross_entropy_backward(rows, columns, place.data(), labels.data(), -100, top.data(), lse.data(), scale.data(), place.data(), false);
                CHECK(same_bits(place, dx));
            }
            k::reference::cross_entropy(rows, columns, 1l, x.data(), labels.data(), -100, 0., static_cast<const A*>(nullptr), scale.data(), static_cast<A*>(nullptr), gradient.data(), accumulate);
            for (std::size_t i = 0; i < dx.size(); ++i)
                CHECK(std::abs(value(dx[i]) - value(gradient[i])) <= epsilon<T>() * std::abs(value(gradient[i])) + 2 * relative);
        }
    }
}

TEMPLATE_TEST_CASE("cross-entropy with weights, smoothing, positions and targets", "[softmax]", float, double, bf16, half) {
    using T = TestType;
    using A = k::accumulator<T>;
    const Shape forms[] = {{1, 1, 1}, {5, 7, 1}, {40, 31, 1}, {3, 33, 1}, {6, 81, 1}, {2, 5000, 1}, {2, 3, 5}, {3, 21, 19}, {1, 40, 70}, {200, 4, 3}};
    for (const Shape& s : forms)
        for (int form = 0; form < 4; ++form) {
            SHAPE_INFO(s << ", form " << form);
            const bool weighted = (form & 1) != 0;
            const double smoothing = form >= 2 ? 0.125 : 0;
            const long rows = s.outer * s.inner, size = rows * s.n;
            const auto x = random<T>(size, 4, -4, 4), before = random<T>(size, 6, -1, 1);
            auto targets = random<T>(size, 7, 0, 1);
            for (std::size_t i = 0; i < targets.size(); i += 3) targets[i] = T(A(0));
            const auto weights = random<A>(s.n, 8, 0.5, 2), scale = random<A>(rows, 5, 0.1, 1);
            const A* weight = weighted ? weights.data() : nullptr;
            std::vector<std::int64_t> labels;
            for (long r = 0; r < rows; ++r) labels.push_back(r % 7 == 3 ? -100 : (r * 31 + 5) % s.n);
            std::vector<A> lse(std::size_t(rows), A(0)), top(lse), total(lse), zeros(lse), expected(lse);
            double counted = 0;
            const double relative = arithmetic<T>() * (32 + double(s.n) / 4);
            const auto near = [&](double got, double want, double span) { return std::abs(got - want) <= relative * span * (1 + std::abs(want)); };
            const auto loss = on_threads<A>(zeros, [&](A* out) {
                CHECK(k::cross_entropy(s.outer, s.n, s.inner, x.data(), labels.data(), -100, smoothing, weight, out, top.data(), lse.data(), &counted) == -1);
            });
            k::reference::cross_entropy(s.outer, s.n, s.inner, x.data(), labels.data(), -100, smoothing, weight, static_cast<const A*>(nullptr), expected.data(), static_cast<T*>(nullptr), false);
            bool good = true;
            for (std::size_t r = 0; r < loss.size(); ++r) good = good && near(double(loss[r]), double(expected[r]), 4);
            CHECK(good);
            for (bool accumulate : {false, true}) {
                auto want = before;
                const auto dx = on_threads<T>(before, [&](T* out) {
                    k::cross_entropy_backward(s.outer, s.n, s.inner, x.data(), labels.data(), -100, smoothing, weight, top.data(), lse.data(), scale.data(), out, accumulate);
                });
                k::reference::cross_entropy(s.outer, s.n, s.inner, x.data(), labels.data(), -100, smoothing, weight, scale.data(), static_cast<A*>(nullptr), want.data(), accumulate);
                good = true;
                for (std::size_t i = 0; i < dx.size(); ++i) good = good && std::abs(value(dx[i]) - value(want[i])) <= epsilon<T>() * std::abs(value(want[i])) + 8 * relative + tiny<T>();
                CHECK(good);
            }
            const auto soft = on_threads<A>(zeros, [&](A* out) {
                k::soft_cross_entropy(s.outer, s.n, s.inner, x.data(), targets.data(), smoothing, weight, out, top.data(), lse.data(), total.data());
            });
            k::reference::soft_cross_entropy(s.outer, s.n, s.inner, x.data(), targets.data(), smoothing, weight, static_cast<const A*>(nullptr), expected.data(), static_cast<T*>(nullptr), false);
            good = true;
            for (std::size_t r = 0; r < soft.size(); ++r) good = good && near(double(soft[r]), double(expected[r]), 4);
            CHECK(good);
            for (bool accumulate : {false, true}) {
                auto want = before;
                std::vector<T> dt;
                const auto dx = on_threads<T>(before, [&](T* out) {
                    dt = before;
                    k::soft_cross_entropy_backward(s.outer, s.n, s.inner, x.data(), targets.data(), smoothing, weight, top.data(), lse.data(), total.data(), scale.data(), out, accumulate,
                                                   dt.data(), accumulate);
                });
                k::reference::soft_cross_entropy(s.outer, s.n, s.inner, x.data(), targets.data(), smoothing, weight, scale.data(), static_cast<A*>(nullptr), want.data(), accumulate);
                good = true;
                for (std::size_t i = 0; i < dx.size(); ++i) {
                    const double sum = double(total[i / std::size_t(s.n * s.inner) * std::size_t(s.inner) + i % std::size_t(s.inner)]) + 1;
                    good = good && std::abs(value(dx[i]) - value(want[i])) <= epsilon<T>() * std::abs(value(want[i])) + 8 * relative * sum + tiny<T>();
                    const std::size_t row = i / std::size_t(s.n * s.inner) * std::size_t(s.inner) + i % std::size_t(s.inner), column = i / std::size_t(s.inner) % std::size_t(s.n);
                    const double d = double(scale[row]) * (1 - smoothing) * (weighted ? double(weights[column]) : 1) * (double(top[row]) + double(lse[row]) - value(x[i])) + (accumulate ? value(before[i]) : 0);
                    good = good && std::abs(value(dt[i]) - d) <= epsilon<T>() * std::abs(d) + 8 * relative;
                }
                CHECK(good);
            }
        }
}

TEST_CASE("labels out of range are reported", "[softmax]") {
    std::vector<float> x(40, 0.f), loss(4, -7.f), lse(4), top(4);
    std::int64_t labels[] = {0, 9, 10, -1};
    long counted = 0;
    CHECK(k::cross_entropy(4, 10, x.data(), labels, -100, loss.data(), top.data(), lse.data(), &counted) == 2);
    labels[2] = 3;
    CHECK(k::cross_entropy(4, 10, x.data(), labels, -100, loss.data(), top.data(), lse.data(), &counted) == 3);
    CHECK(loss[0] == -7.f);
    CHECK(k::cross_entropy(4, 10, x.data(), labels, -1, loss.data(), top.data(), lse.data(), &counted) == -1);
    CHECK(counted == 3);
    CHECK(loss[3] == 0);
    CHECK(loss[0] == Approx(std::log(10.)).epsilon(1e-6));
    // An ignore index that is also a column.
    CHECK(k::cross_entropy(3, 10, x.data(), labels, 9, loss.data(), top.data(), lse.data(), &counted) == -1);
    CHECK((counted == 2 && loss[1] == 0));
}

TEST_CASE("infinities, NaN and large arguments", "[softmax]") {
    const float inf = std::numeric_limits<float>::infinity();
    for (long n : {5l, 40l}) {
        std::vector<float> x(static_cast<std::size_t>(n), -inf), y(x.size());
        k::softmax(1, n, 1, x.data(), y.data());
        for (float v : y) CHECK(std::isnan(v));
        x[3] = 2;
        k::softmax(1, n, 1, x.data(), y.data());
        for (long i = 0; i < n; ++i) CHECK(y[std::size_t(i)] == (i == 3 ? 1.f : 0.f));
        k::log_softmax(1, n, 1, x.data(), y.data());
        for (long i = 0; i < n; ++i) CHECK(y[std::size_t(i)] == (i == 3 ? 0.f : -inf));
        std::fill(x.begin(), x.end(), 1000.f);
        k::softmax(1, n, 1, x.data(), y.data());
        for (float v : y) CHECK(v == Approx(1. / double(n)).epsilon(1e-6));
        x[1] = std::nanf("");
        k::softmax(1, n, 1, x.data(), y.data());
        for (float v : y) CHECK(std::isnan(v));
        x[1] = inf;
        k::softmax(1, n, 1, x.data(), y.data());
        for (float v : y) CHECK(std::isnan(v));
    }
}

TEST_CASE("a row's bits do not depend on its neighbours", "[softmax]") {
    for (long n : {10l, 32l, 33l, 1000l}) {
        const auto x = random<float>(37 * n, 8, -5, 5);
        std::vector<float> all(x.size()), one(static_cast<std::size_t>(n)), loss(37), lse(37), top(37);
        k::softmax(37, n, 1, x.data(), all.data());
        const std::vector<std::int64_t> labels(37, 1);
        long counted = 0;
        k::cross_entropy(37, n, x.data(), labels.data(), -100, loss.data(), top.data(), lse.data(), &counted);
        for (long r : {0l, 15l, 16l, 36l}) {
            k::softmax(1, n, 1, x.data() + r * n, one.data());
            CHECK(std::memcmp(one.data(), all.data() + r * n, std::size_t(n) * 4) == 0);
            float a = 0, b = 0, c = 0;
            k::cross_entropy(1, n, x.data() + r * n, labels.data(), -100, &a, &c, &b, &counted);
            CHECK((a == loss[std::size_t(r)] && b == lse[std::size_t(r)]));
        }
    }
}
