// Reductions over segments of rows: against the plain loops.
#include <catch2/catch.hpp>

#include <tenon/kernels/cpu/segment_product.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

using namespace tenon;
namespace k = tenon::kernels::cpu;

namespace {

struct Random {
    unsigned long long state = 88172645463325252ull;
    long below(long n) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        return static_cast<long>((state >> 11) % static_cast<unsigned long long>(n));
    }
};

struct Segmented {
    std::vector<std::int64_t> pointers, order;
    long rows;
};
// Segments of random lengths, some empty, one long; the order is a permutation.
Segmented segmented(long segments, unsigned seed) {
    Random r;
    r.state += seed * 0x9e3779b97f4a7c15ull;
    Segmented s;
    s.pointers = {0};
    for (long i = 0; i < segments; ++i) s.pointers.push_back(s.pointers.back() + (i == 3 ? 700 : r.below(4) == 0 ? 0 : r.below(20)));
    s.rows = long(s.pointers.back());
    for (long i = 0; i < s.rows; ++i) s.order.push_back(i);
    for (long i = s.rows - 1; i > 0; --i) std::swap(s.order[std::size_t(i)], s.order[std::size_t(r.below(i + 1))]);
    return s;
}
template <class T>
std::vector<T> numbers(long count, unsigned seed) {
    Random r;
    r.state += seed * 0x9e3779b97f4a7c15ull;
    std::vector<T> v(static_cast<std::size_t>(count));
    for (T& x : v) x = T(static_cast<float>(r.below(401) - 200) / 64.f);
    return v;
}
template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}
template <class F>
void both_thread_counts(F f) {
    const int before = num_threads();
    for (int threads : {1, 2}) {
        set_num_threads(threads);
        f();
    }
    set_num_threads(before);
}
template <class T>
constexpr double unit = std::is_same_v<T, double> ? 0x1p-52 : std::is_same_v<T, float> ? 0x1p-23 : std::is_same_v<T, half> ? 0x1p-10 : 0x1p-7;

}  // namespace

TEMPLATE_TEST_CASE("sums and means of segments", "[segment]", float, double, bf16, half) {
    using T = TestType;
    for (long segments : {0l, 1l, 2l, 60l, 3000l})
        for (long width : {1l, 2l, 5l, 8l, 16l, 33l, 64l, 100l}) {
            if (segments * width > 100000) continue;
            const Segmented s = segmented(segments, 1);
            const auto x = numbers<T>(s.rows * width, 2);
            for (const std::int64_t* order : {static_cast<const std::int64_t*>(nullptr), s.order.data()}) {
                std::vector<double> expected(std::size_t(segments * width));
                k::reference::segment_sum(segments, s.pointers.data(), order, width, x.data(), expected.data());
                for (bool mean : {false, true})
                    for (bool accumulate : {false, true}) {
                        std::vector<T> first;
                        both_thread_counts([&] {
                            std::vector<T> y(expected.size(), T(2.f));
                            k::segment_sum(segments, s.pointers.data(), order, static_cast<const T*>(nullptr), width, x.data(), mean, y.data(), accumulate);
                            bool right = true;
                            for (std::size_t i = 0; i < y.size(); ++i) {
                                const std::size_t at = i / std::size_t(width);
                                const double count = double(s.pointers[at + 1] - s.pointers[at]);
                                const double wanted = (mean && count > 0 ? expected[i] / count : expected[i]) + (accumulate ? 2 : 0);
                                // Sums of multiples of 1/64 are exact in float; means round twice, and 16-bit results once.
                                right = right && std::abs(double(y[i]) - wanted) <= unit<T> * (std::abs(wanted) + (mean ? 8 : 0));
                            }
                            CHECK(right);
                            if (first.empty()) first = y;
                            CHECK(same_bits(first, y));
                        });
                    }
                // <sum(x), dy> = <x, backward(dy)>.
                const auto dy = numbers<T>(segments * width, 3);
                for (bool mean : {false, true}) {
                    std::vector<T> dx(x.size(), T(1.f));
                    both_thread_counts([&] {
                        k::segment_sum_backward(segments, s.pointers.data(), order, width, dy.data(), mean, dx.data(), false);
                        bool right = true;
                        for (long seg = 0; seg < segments; ++seg) {
                            const double count = double(s.pointers[std::size_t(seg) + 1] - s.pointers[std::size_t(seg)]);
                            for (long p = s.pointers[std::size_t(seg)]; p < s.pointers[std::size_t(seg) + 1]; ++p)
                                for (long j = 0; j < width; ++j) {
                                    const double wanted = double(dy[std::size_t(seg * width + j)]) / (mean ? count : 1);
                                    const double got = double(dx[std::size_t((order == nullptr ? p : order[p]) * width + j)]);
                                    // The factor and the product round; tiny halves are subnormal.
                                    right = right && std::abs(got - wanted) <= 2 * unit<T> * std::abs(wanted) + (std::is_same_v<T, half> ? 0x1p-25 : 0);
                                }
                        }
                        CHECK(right);
                    });
                    if (mean) continue;
                    std::vector<T> twice = dx;
                    k::segment_sum_backward(segments, s.pointers.data(), order, width, dy.data(), false, twice.data(), true);
                    bool right = true;
                    for (std::size_t i = 0; i < dx.size(); ++i) right = right && float(twice[i]) == 2 * float(dx[i]);
                    CHECK(right);
                }
            }
        }
}

TEMPLATE_TEST_CASE("weighted sums of rows by index", "[segment]", float, double) {
    using T = TestType;
    // Bags of a table: rows come several times, indices of 32 bits.
    const Segmented s = segmented(50, 4);
    for (long width : {1l, 3l, 16l, 40l, 64l}) {
        const auto table = numbers<T>(30 * width, 5);
        const auto weights = numbers<T>(s.rows, 6);
        std::vector<std::int32_t> index(std::size_t(s.rows));
        Random r;
        for (auto& i : index) i = std::int32_t(r.below(30));
        std::vector<T> y(std::size_t(50 * width));
        k::segment_sum(50l, s.pointers.data(), static_cast<const std::int32_t*>(index.data()), weights.data(), width, table.data(), false, y.data(), false);
        bool right = true;
        for (long b = 0; b < 50; ++b)
            for (long j = 0; j < width; ++j) {
                double wanted = 0, size = 0;
                for (long p = s.pointers[std::size_t(b)]; p < s.pointers[std::size_t(b) + 1]; ++p) {
                    const double term = double(weights[std::size_t(p)]) * double(table[std::size_t(index[std::size_t(p)] * width + j)]);
                    wanted += term;
                    size += std::abs(term);
                }
                right = right && std::abs(double(y[std::size_t(b * width + j)]) - wanted) <= 8 * unit<T> * size;
            }
        CHECK(right);
    }
}

TEMPLATE_TEST_CASE("extremes of segments", "[segment]", float, double, bf16, std::int32_t, std::int64_t) {
    using T = TestType;
    for (long width : {1l, 3l, 16l, 21l, 64l}) {
        const Segmented s = segmented(80, 7);
        auto x = numbers<T>(s.rows * width, 8);
        if constexpr (std::is_floating_point_v<T>)
            for (std::size_t i = 0; i < x.size(); i += 97) x[i] = i % 2 == 0 ? std::numeric_limits<T>::quiet_NaN() : -std::numeric_limits<T>::infinity();
        for (const std::int64_t* order : {static_cast<const std::int64_t*>(nullptr), s.order.data()}) {
            auto check = [&](auto max) {
                constexpr bool Max = decltype(max)::value;
                std::vector<std::int64_t> expected(std::size_t(80 * width)), at(expected.size());
                std::vector<T> y(expected.size());
                k::reference::segment_extreme<Max>(80, s.pointers.data(), order, width, x.data(), expected.data());
                both_thread_counts([&] {
                    k::segment_extreme<Max>(80l, s.pointers.data(), order, width, x.data(), y.data(), at.data());
                    CHECK(at == expected);
                    bool right = true;
                    for (std::size_t i = 0; i < y.size(); ++i) {
                        const T wanted = expected[i] < 0 ? T(0.f) : x[std::size_t(expected[i] * width) + i % std::size_t(width)];
                        right = right && std::memcmp(&y[i], &wanted, sizeof(T)) == 0;
                    }
                    CHECK(right);
                });
                if constexpr (!std::is_integral_v<T>) {
                    const auto dy = numbers<T>(80 * width, 9);
                    std::vector<T> dx(x.size(), T(0.f)), wanted(x.size(), T(0.f));
                    k::segment_choice_backward(80l, width, dy.data(), expected.data(), dx.data(), s.rows);
                    for (std::size_t i = 0; i < dy.size(); ++i)
                        if (expected[i] >= 0) wanted[std::size_t(expected[i] * width) + i % std::size_t(width)] = dy[i];
                    CHECK(same_bits(dx, wanted));
                }
            };
            check(std::true_type());
            check(std::false_type());
        }
    }
}

TEMPLATE_TEST_CASE("softmax of segments", "[segment]", float, double, bf16) {
    using T = TestType;
    for (long width : {1l, 2l, 8l, 19l, 64l}) {
        const Segmented s = segmented(90, 10);
        const auto x = numbers<T>(s.rows * width, 11), dy = numbers<T>(s.rows * width, 12);
        for (const std::int64_t* order : {static_cast<const std::int64_t*>(nullptr), s.order.data()}) {
            std::vector<double> expected(x.size());
            k::reference::segment_softmax(90, s.pointers.data(), order, width, x.data(), expected.data());
            std::vector<T> first;
            both_thread_counts([&] {
                std::vector<T> y(x.size()), dx(x.size(), T(1.f));
                k::segment_softmax(90l, s.pointers.data(), order, width, x.data(), y.data());
                double worst = 0;
                for (std::size_t i = 0; i < y.size(); ++i) worst = std::max(worst, std::abs(double(y[i]) - expected[i]) / expected[i]);
                CHECK(worst < 32 * unit<T>);
                if (first.empty()) first = y;
                CHECK(same_bits(first, y));
                // Sums of dy * y over 700 terms: each rounds once.
                for (bool accumulate : {false, true}) {
                    std::fill(dx.begin(), dx.end(), T(1.f));
                    k::segment_softmax_backward(90l, s.pointers.data(), order, width, y.data(), dy.data(), dx.data(), accumulate);
                    worst = 0;
                    for (std::size_t seg = 0; seg < 90; ++seg)
                        for (long j = 0; j < width; ++j) {
                            double sum = 0;
                            auto at = [&](long p) { return std::size_t((order == nullptr ? p : order[p]) * width + j); };
                            for (long p = s.pointers[seg]; p < s.pointers[seg + 1]; ++p) sum += double(y[at(p)]) * double(dy[at(p)]);
                            for (long p = s.pointers[seg]; p < s.pointers[seg + 1]; ++p) {
                                const double wanted = double(y[at(p)]) * (double(dy[at(p)]) - sum) + (accumulate ? 1 : 0);
                                worst = std::max(worst, std::abs(double(dx[at(p)]) - wanted) / (std::abs(wanted) + double(y[at(p)]) * 4));
                            }
                        }
                    CHECK(worst < 16 * unit<T>);
                }
            });
        }
    }
}

TEST_CASE("softmax of a segment without finite values", "[segment]") {
    const double inf = std::numeric_limits<double>::infinity();
    const std::int64_t pointers[] = {0, 2, 4};
    const double x[] = {-inf, -inf, -inf, 1};
    double y[4];
    k::segment_softmax(2l, pointers, static_cast<const std::int64_t*>(nullptr), 1, x, y);
    CHECK(std::isnan(y[0]));
    CHECK((y[2] == 0 && y[3] == 1));
}

TEMPLATE_TEST_CASE("products of segments", "[segment]", float, double, bf16) {
    using T = TestType;
    for (long width : {1l, 3l, 8l, 19l, 64l}) {
        // Numbers around 1, some of them 0 (among which the long segment has several).
        const Segmented s = segmented(90, 13);
        std::vector<T> x(std::size_t(s.rows * width));
        Random r;
        for (T& v : x) v = T(r.below(40) == 0 ? 0.f : (r.below(2) == 0 ? -1.f : 1.f) * (1 + static_cast<float>(r.below(33) - 16) / 256.f));
        const auto dy = numbers<T>(90 * width, 14);
        for (const std::int64_t* order : {static_cast<const std::int64_t*>(nullptr), s.order.data()}) {
            std::vector<double> expected(std::size_t(90 * width)), derivative(x.size());
            k::reference::segment_product(90, s.pointers.data(), order, width, x.data(), expected.data());
            k::reference::segment_product_backward(90, s.pointers.data(), order, width, x.data(), dy.data(), derivative.data());
            // A product of n numbers rounds n times in float, and once more to 16 bits.
            const double bound = 700 * (std::is_same_v<T, double> ? 0x1p-53 : 0x1p-24) + (sizeof(T) == 2 ? unit<T> : 0);
            std::vector<T> first;
            both_thread_counts([&] {
                std::vector<T> y(expected.size(), T(7.f)), dx(x.size(), T(5.f));
                k::segment_product(90l, s.pointers.data(), order, width, x.data(), y.data());
                k::segment_product_backward(90l, s.pointers.data(), order, width, x.data(), dy.data(), dx.data(), false);
                bool right = true;
                for (std::size_t i = 0; i < y.size(); ++i) right = right && std::abs(double(y[i]) - expected[i]) <= bound * std::abs(expected[i]);
                CHECK(right);
                for (std::size_t i = 0; i < dx.size(); ++i)
                    right = right && std::abs(double(dx[i]) - derivative[i]) <= bound * std::abs(derivative[i]);
                CHECK(right);
                std::vector<T> twice = dx;
                k::segment_product_backward(90l, s.pointers.data(), order, width, x.data(), dy.data(), twice.data(), true);
                for (std::size_t i = 0; i < dx.size(); ++i) right = right && float(twice[i]) == 2 * float(dx[i]);
                CHECK(right);
                y.insert(y.end(), dx.begin(), dx.end());
                if (first.empty()) first = y;
                CHECK(same_bits(first, y));
            });
        }
    }
}
