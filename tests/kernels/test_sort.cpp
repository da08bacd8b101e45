// Sorting, top-k, k-th elements, unique elements and searches against the plain stable sort: every type, short and long
// lines, ties, NaN, signed zeros, one and two threads.
#include <catch2/catch.hpp>

#include <tenon/kernels/cpu/sort.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

using namespace tenon;
namespace k = tenon::kernels::cpu;

namespace {

template <class T>
T number(double v) {
    return static_cast<T>(static_cast<k::accumulator<T>>(v));
}
// Numbers with ties, and in floating types NaN of both signs, infinities and zeros of both signs.
template <class T>
std::vector<T> mixed(long count, unsigned seed, double low, double high) {
    std::vector<T> v(static_cast<std::size_t>(count));
    unsigned long long state = 88172645463325252ull + seed * 0x9e3779b97f4a7c15ull;
    for (std::size_t i = 0; i < v.size(); ++i) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        const double u = low + double(state >> 11) * 0x1p-53 * (high - low);
        v[i] = number<T>(std::is_integral_v<T> || state % 3 == 0 ? std::trunc(u) : u);
        if constexpr (!std::is_integral_v<T>) {
            constexpr double inf = std::numeric_limits<double>::infinity();
            if (state % 41 == 0) v[i] = number<T>(state % 2 ? std::nan("") : -std::nan(""));
            else if (state % 43 == 0) v[i] = number<T>(state % 2 ? inf : -inf);
            else if (state % 17 == 0) v[i] = number<T>(state % 2 ? 0. : -0.);
        }
    }
    return v;
}
template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(static_cast<const void*>(a.data()), static_cast<const void*>(b.data()), a.size() * sizeof(T)) == 0);
}

struct Shape {
    long outer, n, inner;
};
const Shape shapes[] = {{1, 1, 1}, {3, 2, 1}, {2, 24, 1}, {2, 25, 1}, {1, 49, 1}, {2, 100, 1}, {1, 159, 1}, {1, 160, 1}, {2, 161, 1}, {1, 700, 1}, {2, 5, 3}, {1, 200, 7}, {3, 33, 40}, {0, 3, 1}, {2, 0, 3}};
#define SHAPE_INFO(s) INFO("[" << s.outer << ", " << s.n << ", " << s.inner << "]")

template <class T>
struct Sorted {
    std::vector<T> values;
    std::vector<std::int64_t> indices;
};
template <class T>
Sorted<T> reference(const Shape& s, const std::vector<T>& x, bool descending) {
    Sorted<T> r{std::vector<T>(x.size()), std::vector<std::int64_t>(x.size())};
    k::reference::sort(s.outer, s.n, s.inner, x.data(), r.values.data(), r.indices.data(), descending);
    return r;
}

}  // namespace

TEMPLATE_TEST_CASE("sort", "[sort]", float, double, bf16, half, std::int8_t, std::uint8_t, std::int32_t, std::int64_t) {
    using T = TestType;
    for (const Shape& s : shapes)
        for (bool descending : {false, true}) {
            SHAPE_INFO(s);
            const auto x = mixed<T>(s.outer * s.n * s.inner, 1, std::is_unsigned_v<T> ? 0 : -100, 100);
            const Sorted<T> expected = reference(s, x, descending);
            for (int threads : {1, 2}) {
                set_num_threads(threads);
                std::vector<T> values(x.size());
                std::vector<std::int64_t> indices(x.size()), only(x.size());
                k::sort(s.outer, s.n, s.inner, x.data(), values.data(), indices.data(), descending);
                CHECK(indices == expected.indices);
                CHECK(same_bits(values, expected.values));
                k::sort(s.outer, s.n, s.inner, x.data(), static_cast<T*>(nullptr), only.data(), descending);
                CHECK(only == expected.indices);
            }
        }
}

TEMPLATE_TEST_CASE("long lines, by several threads", "[sort]", float, double, bf16, std::uint8_t, std::int64_t) {
    using T = TestType;
    const long n = 300007;
    for (bool descending : {false, true}) {
        const auto x = mixed<T>(n, 2, std::is_same_v<T, std::int64_t> ? -1e15 : 0, std::is_same_v<T, std::int64_t> ? 1e15 : 250);
        std::vector<T> one(x.size()), two(x.size());
        std::vector<std::int64_t> one_at(x.size()), two_at(x.size());
        set_num_threads(1);
        k::sort(1, n, 1, x.data(), one.data(), one_at.data(), descending);
        set_num_threads(2);
        k::sort(1, n, 1, x.data(), two.data(), two_at.data(), descending);
        CHECK(one_at == two_at);
        CHECK(same_bits(one, two));
        long wrong = 0;
        std::vector<bool> seen(x.size());
        for (std::size_t i = 0; i < x.size(); ++i) {
            const std::size_t at = static_cast<std::size_t>(one_at[i]);
            wrong += seen[at] || std::memcmp(static_cast<const void*>(&x[at]), static_cast<const void*>(&one[i]), sizeof(T)) != 0;
            seen[at] = true;
            if (i == 0) continue;
            const auto a = static_cast<k::accumulator<T>>(one[i - 1]), b = static_cast<k::accumulator<T>>(one[i]);
            const bool tie = a == b || (a != a && b != b), rising = a == a && (b != b || a < b), falling = b == b && (a != a || a > b);
            wrong += tie ? one_at[i - 1] >= one_at[i] : descending ? !falling : !rising;
        }
        CHECK(wrong == 0);
    }
}

TEMPLATE_TEST_CASE("top-k is the beginning of the sort", "[sort]", float, double, bf16, half, std::uint8_t, std::int32_t, std::int64_t) {
    using T = TestType;
    for (const Shape& s : shapes)
        for (bool largest : {true, false}) {
            SHAPE_INFO(s);
            const auto x = mixed<T>(s.outer * s.n * s.inner, 3, std::is_unsigned_v<T> ? 0 : -50, 50);
            const Sorted<T> expected = reference(s, x, largest);
            for (long count : {0l, 1l, 3l, 10l, 64l, 65l, 100l, 700l}) {
                if (count > s.n) continue;
                for (bool sorted : {true, false}) {
                    std::vector<T> values(std::size_t(s.outer * count * s.inner));
                    std::vector<std::int64_t> indices(values.size());
                    k::topk(s.outer, s.n, s.inner, count, x.data(), values.data(), indices.data(), largest, sorted);
                    long wrong = 0;
                    for (long line = 0; line < s.outer * s.inner; ++line) {
                        const long from = line / s.inner * s.n * s.inner + line % s.inner, to = line / s.inner * count * s.inner + line % s.inner;
                        std::vector<std::int64_t> want;
                        for (long j = 0; j < count; ++j) want.push_back(expected.indices[std::size_t(from + j * s.inner)]);
                        if (!sorted) std::sort(want.begin(), want.end());
                        for (long j = 0; j < count; ++j) {
                            const std::size_t i = std::size_t(to + j * s.inner);
                            wrong += indices[i] != want[std::size_t(j)];
                            wrong += std::memcmp(static_cast<const void*>(&values[i]), static_cast<const void*>(&x[std::size_t(from + indices[i] * s.inner)]), sizeof(T)) != 0;
                        }
                    }
                    CHECK(wrong == 0);
                }
            }
        }
}

TEMPLATE_TEST_CASE("the k-th element", "[sort]", float, double, half, std::int8_t, std::int64_t) {
    using T = TestType;
    for (const Shape& s : shapes) {
        SHAPE_INFO(s);
        const auto x = mixed<T>(s.outer * s.n * s.inner, 4, -30, 30);
        const Sorted<T> expected = reference(s, x, false);
        for (long rank : {0l, 1l, s.n / 2, s.n - 1}) {
            if (rank >= s.n || rank < 0) continue;
            std::vector<T> values(std::size_t(s.outer * s.inner));
            std::vector<std::int64_t> indices(values.size()), want, want_nan;
            k::kth_value(s.outer, s.n, s.inner, rank, x.data(), values.data(), indices.data(), false);
            for (long line = 0; line < s.outer * s.inner; ++line) {
                const long from = line / s.inner * s.n * s.inner + line % s.inner;
                want.push_back(expected.indices[std::size_t(from + rank * s.inner)]);
                want_nan.push_back(want.back());
                if constexpr (!std::is_integral_v<T>)
                    for (long j = s.n - 1; j >= 0; --j) {
                        const auto v = static_cast<k::accumulator<T>>(x[std::size_t(from + j * s.inner)]);
                        if (v != v) want_nan.back() = j;
                    }
            }
            CHECK(indices == want);
            k::kth_value(s.outer, s.n, s.inner, rank, x.data(), values.data(), indices.data(), true);
            CHECK(indices == want_nan);
        }
    }
}

TEST_CASE("unique elements", "[sort]") {
    const float nan = std::nanf("");
    const std::vector<float> x = {2, -0.f, 7, 2, nan, 0.f, 2, nan, -1};
    std::vector<float> values(9);
    std::vector<std::int64_t> firsts(9), inverse(9), counts(9);
    REQUIRE(k::unique(9, x.data(), values.data(), firsts.data(), inverse.data(), counts.data()) == 6);
    CHECK((values[0] == -1 && values[1] == 0 && values[2] == 2 && values[3] == 7 && std::isnan(values[4]) && std::isnan(values[5])));
    CHECK(std::vector<std::int64_t>(counts.begin(), counts.begin() + 6) == std::vector<std::int64_t>{1, 2, 3, 1, 1, 1});
    CHECK(std::vector<std::int64_t>(firsts.begin(), firsts.begin() + 6) == std::vector<std::int64_t>{8, 1, 0, 2, 4, 7});
    CHECK(inverse == std::vector<std::int64_t>{2, 1, 3, 2, 4, 1, 2, 5, 0});
    CHECK(k::unique(0, x.data(), values.data(), firsts.data(), inverse.data(), counts.data()) == 0);
}

TEMPLATE_TEST_CASE("searches in sorted rows", "[sort]", float, double, bf16, std::int32_t, std::int64_t) {
    using T = TestType;
    for (long n : {0l, 1l, 2l, 7l, 100l}) {
        const long rows = 3, m = 50;
        std::vector<T> sorted, values;
        for (long r = 0; r < rows; ++r)
            for (long i = 0; i < n; ++i) sorted.push_back(number<T>(double(i / 3) + double(r)));
        for (long i = 0; i < rows * m; ++i) values.push_back(number<T>(double(i % 41) - 2));
        if constexpr (!std::is_integral_v<T>) values[5] = number<T>(std::nan(""));
        for (bool right : {false, true})
            for (bool shared : {false, true}) {
                std::vector<std::int64_t> out(values.size());
                k::search_sorted(rows, n, m, sorted.data(), shared, values.data(), out.data(), right);
                for (long i = 0; i < rows * m; ++i) {
                    const auto v = static_cast<k::accumulator<T>>(values[std::size_t(i)]);
                    long expected = 0;
                    for (long j = 0; j < n; ++j) {
                        const auto e = static_cast<k::accumulator<T>>(sorted[std::size_t((shared ? 0 : i / m * n) + j)]);
                        expected += v != v || (right ? e <= v : e < v);
                    }
                    CHECK(out[std::size_t(i)] == expected);
                }
            }
    }
}
