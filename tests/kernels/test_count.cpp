// Counting into bins against plain loops; many elements by one and two threads.
#include <catch2/catch.hpp>

#include <tenon/kernels/cpu/count.hpp>

#include <cmath>
#include <vector>

using namespace tenon;
namespace k = tenon::kernels::cpu;

namespace {
std::vector<double> uniform(std::size_t count, unsigned seed, double low, double high) {
    std::vector<double> v(count);
    unsigned long long state = 88172645463325252ull + seed * 0x9e3779b97f4a7c15ull;
    for (double& x : v) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        x = low + double(state >> 11) * 0x1p-53 * (high - low);
    }
    return v;
}
}  // namespace

TEMPLATE_TEST_CASE("bincount", "[count]", std::int32_t, std::int64_t) {
    using I = TestType;
    for (const std::size_t n : {0ul, 1ul, 1000ul, 300001ul})
        for (const long bins : {1l, 7l, 100000l}) {
            std::vector<I> x;
            for (double v : uniform(n, 1, 0, double(bins))) x.push_back(static_cast<I>(v));
            std::vector<std::int64_t> expected(std::size_t(bins), 0), counts(std::size_t(bins), 5);
            std::vector<double> sums(std::size_t(bins), 0);
            const auto weights = uniform(n, 2, -1, 1);
            for (std::size_t i = 0; i < n; ++i) {
                ++expected[std::size_t(x[i])];
                sums[std::size_t(x[i])] += weights[i];
            }
            for (int threads : {1, 2}) {
                set_num_threads(threads);
                k::bincount(long(n), x.data(), bins, counts.data());
                CHECK(counts == expected);
            }
            std::vector<double> got(std::size_t(bins), 5);
            k::bincount(long(n), x.data(), weights.data(), bins, got.data());
            CHECK(got == sums);
        }
}

TEMPLATE_TEST_CASE("histogram", "[count]", float, double, bf16) {
    using T = TestType;
    for (const long bins : {1l, 3l, 10l, 64l})
        for (bool even : {true, false}) {
            std::vector<T> edges;
            for (long i = 0; i <= bins; ++i) {
                const double edge = even ? -1 + 3. * double(i) / double(bins) : -1 + 3. * std::pow(double(i) / double(bins), 2);
                edges.push_back(T(static_cast<k::accumulator<T>>(edge)));
            }
            std::vector<T> x = edges;  // the edges themselves are where rounding shows
            for (double v : uniform(200000, 3, -2, 3)) x.push_back(T(static_cast<k::accumulator<T>>(v)));
            x.push_back(T(static_cast<k::accumulator<T>>(std::nan(""))));
            std::vector<std::int64_t> expected(std::size_t(bins), 0), counts(std::size_t(bins), 5);
            for (const T& v : x) {
                const long b = k::reference::find_bin(static_cast<k::accumulator<T>>(v), bins, edges.data());
                if (b >= 0) ++expected[std::size_t(b)];
            }
            for (int threads : {1, 2}) {
                set_num_threads(threads);
                k::histogram(long(x.size()), x.data(), bins, edges.data(), even, counts.data());
                CHECK(counts == expected);
            }
        }
}
