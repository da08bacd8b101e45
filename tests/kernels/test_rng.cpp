// The random fills against their reference, at every kind of start and length, and their statistics under fixed keys.
#include <tenon/kernels/cpu/rng.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

using namespace tenon;
namespace rng = tenon::kernels::cpu;

namespace {

const Key key{0xfeedface12345678ull};

// Starts on and off the borders of counters and pairs, and across 2^32 counters; lengths around every block size.
const std::uint64_t starts[] = {0, 1, 2, 3, 5, 1023, (1ull << 34) - 7};
const long lengths[] = {0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 1000, 1021, 1022, 1023, 1024, 1025, 2049, 5000};

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

// fill(out, n, first) and reference(out, n, first) on all starts and lengths; nothing outside of the n may change.
template <class T, class Fill, class Reference>
void compare(Fill fill, Reference reference) {
    for (const std::uint64_t first : starts)
        for (const long n : lengths) {
            std::vector<T> got(static_cast<std::size_t>(n) + 2), want(got.size());
            std::memset(static_cast<void*>(got.data()), 0x5a, got.size() * sizeof(T));
            want = got;
            fill(got.data() + 1, n, first);
            reference(want.data() + 1, n, first);
            INFO("first " << first << ", n " << n << ", ISA " << name(isa()));
            CHECK(same_bits(got, want));
        }
}

// Runs fill(out) with one and with two threads on n elements.
template <class T, class Fill>
void same_with_threads(long n, Fill fill) {
    const int before = num_threads();
    std::vector<T> one(static_cast<std::size_t>(n)), two(one.size());
    set_num_threads(1);
    fill(one.data());
    set_num_threads(2);
    fill(two.data());
    set_num_threads(before);
    CHECK(same_bits(one, two));
}

constexpr long many = 1 << 20;

template <class T>
void check_moments(const std::vector<T>& x, double mean, double variance, double fourth) {
    double sum = 0, squares = 0;
    for (const T v : x) sum += double(v);
    const double m = sum / double(x.size());
    for (const T v : x) squares += (double(v) - mean) * (double(v) - mean);
    const double n = double(x.size());
    // Four standard deviations of the sample mean and of the sample variance.
    CHECK(std::abs(m - mean) < 4 * std::sqrt(variance / n));
    CHECK(std::abs(squares / n - variance) < 4 * std::sqrt((fourth - variance * variance) / n));
}
// Neighbours, and elements four apart (the same word of the next counter), are uncorrelated.
template <class T>
void check_correlations(const std::vector<T>& x, double mean, double variance) {
    for (const std::size_t lag : {1u, 2u, 3u, 4u, 64u}) {
        double sum = 0;
        for (std::size_t i = 0; i + lag < x.size(); ++i) sum += (double(x[i]) - mean) * (double(x[i + lag]) - mean);
        CHECK(std::abs(sum / double(x.size())) < 4 * variance / std::sqrt(double(x.size())));
    }
}
double chi_square(const std::vector<long>& counts, const std::vector<double>& expected) {
    double chi = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
        const double d = double(counts[i]) - expected[i];
        chi += d * d / expected[i];
    }
    return chi;
}
// A chi-square statistic with this many degrees of freedom: 4 standard deviations to either side.
void check_chi_square(double chi, double freedom) { CHECK(std::abs(chi - freedom) < 4 * std::sqrt(2 * freedom)); }

double normal_below(double z) { return 0.5 * std::erfc(-z / std::sqrt(2.)); }

}  // namespace

TEST_CASE("words are the key's words, from any start") {
    compare<std::uint32_t>([](std::uint32_t* out, long n, std::uint64_t first) { rng::random_words(key, first, n, out); },
                           [](std::uint32_t* out, long n, std::uint64_t first) { rng::reference::random_words(key, first, n, out); });
    same_with_threads<std::uint32_t>(300001, [](std::uint32_t* out) { rng::random_words(key, 0, 300001, out); });
}

TEST_CASE("uniforms are the reference's to the bit under every instruction set") {
    compare<float>([](float* out, long n, std::uint64_t first) { rng::uniform(key, n, out, -3.3f, 5.7f, first); },
                   [](float* out, long n, std::uint64_t first) { rng::reference::uniform(key, first, n, out, -3.3f, 5.7f); });
    compare<double>([](double* out, long n, std::uint64_t first) { rng::uniform(key, n, out, -3.3, 5.7, first); },
                    [](double* out, long n, std::uint64_t first) { rng::reference::uniform(key, first, n, out, -3.3, 5.7); });
    std::vector<float> x(1000);
    rng::uniform(key, 1000, x.data());
    for (long i = 0; i < 1000; ++i) CHECK(x[std::size_t(i)] == unit_float(random_word(key, std::uint64_t(i))));
    std::vector<double> d(1000);
    rng::uniform(key, 1000, d.data());
    for (long i = 0; i < 1000; ++i) CHECK(d[std::size_t(i)] == unit_double(random_word64(key, std::uint64_t(i))));
    std::vector<bf16> b(1000);
    rng::uniform(key, 1000, b.data());
    for (long i = 0; i < 1000; ++i) CHECK(b[std::size_t(i)].bits == bf16(x[std::size_t(i)]).bits);
    std::vector<half> h(1000);
    rng::uniform(key, 1000, h.data());
    for (long i = 0; i < 1000; ++i) CHECK(h[std::size_t(i)].bits == half(x[std::size_t(i)]).bits);
    same_with_threads<float>(100001, [](float* out) { rng::uniform(key, 100001, out); });
}

TEST_CASE("uniforms have the moments, the even spread and the independence of a uniform") {
    std::vector<float> x(many);
    rng::uniform(Key{1}, many, x.data());
    CHECK(*std::min_element(x.begin(), x.end()) >= 0.f);
    CHECK(*std::max_element(x.begin(), x.end()) < 1.f);
    check_moments(x, 0.5, 1. / 12, 1. / 80);
    check_correlations(x, 0.5, 1. / 12);
    std::vector<long> counts(256);
    for (const float v : x) ++counts[std::size_t(v * 256)];
    check_chi_square(chi_square(counts, std::vector<double>(256, many / 256.)), 255);
    std::vector<long> squares(256);  // pairs of neighbours on a 16 x 16 board
    for (std::size_t i = 0; i < x.size(); i += 2) ++squares[std::size_t(x[i] * 16) * 16 + std::size_t(x[i + 1] * 16)];
    check_chi_square(chi_square(squares, std::vector<double>(256, many / 512.)), 255);
}

TEST_CASE("normals agree with the double reference to 8 ulp, from any start") {
    for (const std::uint64_t first : starts)
        for (const long n : lengths) {
            std::vector<float> got(static_cast<std::size_t>(n) + 2, 99.f), want(got);
            rng::normal(key, n, got.data() + 1, 0, 1, first);
            rng::reference::normal(key, first, n, want.data() + 1, 0, 1);
            double worst = 0;
            for (std::size_t i = 0; i < got.size(); ++i)
                worst = std::max(worst, std::abs(double(got[i]) - want[i]) / (std::abs(want[i]) * 0x1p-23));
            INFO("first " << first << ", n " << n << ", ISA " << name(isa()));
            CHECK(worst <= 8);
        }
    compare<double>([](double* out, long n, std::uint64_t first) { rng::normal(key, n, out, 0, 1, first); },
                    [](double* out, long n, std::uint64_t first) { rng::reference::normal(key, first, n, out, 0, 1); });
    same_with_threads<float>(100001, [](float* out) { rng::normal(key, 100001, out); });
}

TEST_CASE("a fill cut in two is the same fill") {
    std::vector<float> whole(3000), parts(3000);
    for (const long cut : {1l, 2l, 3l, 511l, 1022l, 1023l, 2999l}) {
        rng::normal(key, 3000, whole.data(), 1.f, 2.f);
        rng::normal(key, cut, parts.data(), 1.f, 2.f);
        rng::normal(key, 3000 - cut, parts.data() + cut, 1.f, 2.f, std::uint64_t(cut));
        CHECK(same_bits(whole, parts));
        rng::uniform(key, 3000, whole.data(), 1.f, 2.f);
        rng::uniform(key, cut, parts.data(), 1.f, 2.f);
        rng::uniform(key, 3000 - cut, parts.data() + cut, 1.f, 2.f, std::uint64_t(cut));
        CHECK(same_bits(whole, parts));
    }
}

TEST_CASE("normals have the moments, the tails and the independence of a normal") {
    std::vector<float> x(many);
    rng::normal(Key{2}, many, x.data(), 3.f, 2.f);
    check_moments(x, 3, 4, 3 * 16);
    check_correlations(x, 3, 4);
    // 64 cells of equal probability between the outermost, by the distribution function itself.
    std::vector<long> counts(64);
    for (const float v : x) ++counts[std::min<std::size_t>(63, std::size_t(64 * normal_below((double(v) - 3) / 2)))];
    check_chi_square(chi_square(counts, std::vector<double>(64, many / 64.)), 63);
    const auto beyond = std::count_if(x.begin(), x.end(), [](float v) { return std::abs(v - 3) > 8; });  // 4 deviations
    const double expected = many * 2 * normal_below(-4);
    CHECK(std::abs(double(beyond) - expected) < 4 * std::sqrt(expected));
    double largest = 0;
    for (const float v : x) largest = std::max(largest, std::abs(double(v) - 3) / 2);
    CHECK(largest < 6.77);
}

TEST_CASE("bernoulli marks the words below the threshold") {
    for (const double p : {0., 1e-9, 0.3, 0.5, 1 - 1e-12, 1.}) {
        compare<std::uint8_t>(
            [p](std::uint8_t* out, long n, std::uint64_t first) { rng::bernoulli(key, n, out, p, first); },
            [p](std::uint8_t* out, long n, std::uint64_t first) { rng::reference::bernoulli(key, first, n, out, p); });
    }
    bool flags[100];
    rng::bernoulli(key, 100, flags, 0.3);
    for (std::uint64_t i = 0; i < 100; ++i) CHECK(flags[i] == (random_word(key, i) < bernoulli_threshold(0.3)));
    std::vector<std::uint8_t> x(many);
    rng::bernoulli(Key{3}, many, x.data(), 0.3);
    check_moments(x, 0.3, 0.21, 0.3 * std::pow(0.7, 4) + 0.7 * std::pow(0.3, 4));
    check_correlations(x, 0.3, 0.21);
    same_with_threads<std::uint8_t>(100001, [](std::uint8_t* out) { rng::bernoulli(key, 100001, out, 0.4); });
    CHECK_THROWS_AS(rng::bernoulli(key, 100, flags, -0.1), ValueError);
    CHECK_THROWS_AS(rng::bernoulli(key, 100, flags, std::nan("")), ValueError);
}

namespace {
template <class T>
void check_dropout(double p) {
    for (const std::uint64_t first : starts)
        for (const long n : {0l, 1l, 5l, 16l, 1027l, 4100l}) {
            std::vector<T> x(static_cast<std::size_t>(n)), y(x.size() + 1, T(7.f)), want(y);
            for (std::size_t i = 0; i < x.size(); ++i) x[i] = T(float(i % 97) - 48.5f);
            rng::dropout(key, n, x.data(), y.data(), p, first);
            rng::reference::dropout(key, first, n, x.data(), want.data(), p);
            INFO("p " << p << ", first " << first << ", n " << n << ", ISA " << name(isa()));
            CHECK(same_bits(y, want));
            // In place.
            std::vector<T> z = x;
            rng::dropout(key, n, z.data(), z.data(), p, first);
            y.pop_back();
            CHECK(same_bits(z, y));
        }
}
}  // namespace

TEST_CASE("dropout keeps what bernoulli marks, scales it, and forgets the rest") {
    for (const double p : {0., 0.25, 0.5, 0.9, 1.}) {
        check_dropout<float>(p);
        check_dropout<double>(p);
        check_dropout<bf16>(p);
        check_dropout<half>(p);
    }
    std::vector<std::uint8_t> keep(10000);
    rng::bernoulli(key, 10000, keep.data(), 0.6, 3);
    std::vector<float> x(10000, 2.f), y(10000), dx(10000);
    rng::dropout(key, 10000, x.data(), y.data(), 0.4, 3);
    rng::dropout_backward(key, 10000, x.data(), dx.data(), 0.4, 3);
    for (std::size_t i = 0; i < y.size(); ++i) CHECK(y[i] == (keep[i] ? 2.f * float(1 / 0.6) : 0.f));
    CHECK(same_bits(y, dx));
    // A dropped NaN is gone, for it is selected away and not multiplied.
    std::vector<float> bad(1000, std::nanf(""));
    rng::dropout(key, 1000, bad.data(), bad.data(), 0.5);
    CHECK(std::count(bad.begin(), bad.end(), 0.f) > 400);
    same_with_threads<float>(100001, [](float* out) {
        const std::vector<float> ones(100001, 1.f);
        rng::dropout(key, 100001, ones.data(), out, 0.5);
    });
    CHECK_THROWS_AS(rng::dropout(key, 1, x.data(), y.data(), 1.5), ValueError);
}

TEST_CASE("integers cover their range evenly") {
    const std::int64_t least = std::numeric_limits<std::int64_t>::min(), most = std::numeric_limits<std::int64_t>::max();
    for (const auto& [low, high] : {std::pair<std::int64_t, std::int64_t>{-3, 10}, {0, 1}, {least, most}, {1ll << 40, (1ll << 40) + 7}})
        compare<std::int64_t>(
            [low = low, high = high](std::int64_t* out, long n, std::uint64_t first) { rng::integers(key, n, out, low, high, first); },
            [low = low, high = high](std::int64_t* out, long n, std::uint64_t first) {
                rng::reference::integers(key, first, n, out, low, high);
            });
    std::vector<std::int64_t> x(many);
    rng::integers(Key{4}, many, x.data(), -50, 50);
    std::vector<long> counts(100);
    for (const std::int64_t v : x) {
        REQUIRE((v >= -50 && v < 50));
        ++counts[std::size_t(v + 50)];
    }
    check_chi_square(chi_square(counts, std::vector<double>(100, many / 100.)), 99);
    same_with_threads<std::int64_t>(100001, [](std::int64_t* out) { rng::integers(key, 100001, out, 0, 1000); });
    CHECK_THROWS_AS(rng::integers(key, 1, x.data(), 5, 5), ValueError);
    try {
        rng::integers(key, 1, x.data(), 5, 3);
        FAIL("an empty range was accepted");
    } catch (const ValueError& error) {
        CHECK(error.what() == std::string("tenon: integers: expected low < high, got [5, 3)"));
    }
}

TEST_CASE("a permutation is the stable sort by the key's 64-bit draws") {
    // Lengths around each change of the sort's passes.
    for (const long n : {0l, 1l, 2l, 3l, 64l, 65l, 1000l, (1l << 14), (1l << 14) + 1, 100003l, (1l << 20) + 5}) {
        std::vector<std::int64_t> order(static_cast<std::size_t>(n) + 1, -7), want(static_cast<std::size_t>(n));
        rng::permutation(key, n, order.data());
        CHECK(order.back() == -7);
        order.pop_back();
        std::iota(want.begin(), want.end(), 0);
        std::vector<std::uint64_t> draws(want.size());
        for (std::size_t i = 0; i < draws.size(); ++i) draws[i] = random_word64(key, i);
        std::stable_sort(want.begin(), want.end(), [&](std::int64_t a, std::int64_t b) { return draws[std::size_t(a)] < draws[std::size_t(b)]; });
        INFO("n " << n);
        CHECK(order == want);
    }
    // Equal draws keep their order: forced, for the key's own never collide here.
    for (const std::size_t n : {50u, 3000u, 40000u}) {
        std::vector<std::uint64_t> draws(n), spare(n);
        std::vector<std::int64_t> order(n), spare_order(n);
        for (std::size_t i = 0; i < n; ++i) draws[i] = (i * 2654435761u % 13) << 60 | (i % 3), order[i] = std::int64_t(i);
        const std::vector<std::uint64_t> original = draws;
        rng::impl::rng::sort_by_draws(long(n), draws.data(), order.data(), spare.data(), spare_order.data());
        bool sorted = true;
        for (std::size_t i = 1; i < n; ++i) {
            const std::size_t a = std::size_t(order[i - 1]), b = std::size_t(order[i]);
            sorted = sorted && (original[a] < original[b] || (original[a] == original[b] && a < b));
        }
        CHECK(sorted);
    }
    // Every place is equally likely for the first element.
    std::vector<long> counts(8);
    for (std::uint64_t i = 0; i < 8000; ++i) {
        std::int64_t p[8];
        rng::permutation(Key{5}.split(i), 8, p);
        ++counts[std::size_t(std::find(p, p + 8, 0) - p)];
    }
    check_chi_square(chi_square(counts, std::vector<double>(8, 1000.)), 7);
}
