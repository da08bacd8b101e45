// Noise on weights: the kernel against its reference, its moments, and that what is dropped is what dropout drops.
#include <tenon/kernels/cpu/perturb.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

using namespace tenon;
using namespace tenon::kernels::cpu;

namespace {
const NoiseFamily families[] = {NoiseFamily::gaussian, NoiseFamily::uniform, NoiseFamily::bernoulli};
template <class T>
std::vector<T> values(long n, double low, double high, std::uint64_t key) {
    std::vector<T> v(static_cast<std::size_t>(n));
    uniform(Key{key}, n, v.data(), static_cast<T>(low), static_cast<T>(high));
    return v;
}
}  // namespace

TEMPLATE_TEST_CASE("perturb agrees with its reference", "[kernels][perturb]", float, double) {
    using T = TestType;
    const double bound = std::is_same_v<T, float> ? 2e-6 : 1e-14;
    for (const NoiseFamily family : families)
        for (const bool multiplicative : {false, true})
            for (const long n : {0L, 1L, 7L, 63L, 1021L, 1022L, 3000L, 40001L})
                for (const std::uint64_t first : {std::uint64_t(0), std::uint64_t(1), std::uint64_t(4095)}) {
                    const NoiseKind kind{family, multiplicative, 0.3};
                    const std::size_t size = static_cast<std::size_t>(n);
                    const auto mean = values<T>(n, -1, 1, 1), deviation = values<T>(n, 0, 1, 2), dout = values<T>(n, -1, 1, 3);
                    std::vector<T> a(size + 1, T(7)), b(size + 1, T(7)), c(size + 1, T(7)), d(size + 1, T(7)), e(size + 1, T(7)), f(size + 1, T(7));
                    double worst = 0;
                    for (const T* s : {deviation.data(), static_cast<const T*>(nullptr)}) {
                        perturb(kind, Key{9}, n, mean.data(), s, T(0.25), a.data(), first);
                        reference::perturb(kind, Key{9}, n, mean.data(), s, T(0.25), b.data(), first);
                        perturb_backward(kind, Key{9}, n, mean.data(), s, T(0.25), dout.data(), c.data(), d.data(), first);
                        reference::perturb_backward(kind, Key{9}, n, mean.data(), s, T(0.25), dout.data(), e.data(), f.data(), first);
                        for (std::size_t i = 0; i < size; ++i)
                            worst = std::max({worst, std::abs(double(a[i] - b[i])), std::abs(double(c[i] - e[i])), std::abs(double(d[i] - f[i]))});
                    }
                    CAPTURE(static_cast<int>(family), multiplicative, n, first);
                    CHECK(worst < bound);
                    CHECK((a[size] == T(7) && c[size] == T(7) && d[size] == T(7)));
                }
}

TEMPLATE_TEST_CASE("perturb does not depend on where it is cut, and may work in place", "[kernels][perturb]", float, double) {
    using T = TestType;
    const long n = 70001, cut = 32769;
    auto mean = values<T>(n, -1, 1, 1);
    const auto deviation = values<T>(n, 0, 1, 2);
    for (const NoiseFamily family : families) {
        const NoiseKind kind{family, false, 0.6};
        std::vector<T> whole(n), parts(n);
        perturb(kind, Key{4}, n, mean.data(), deviation.data(), T(0), whole.data());
        perturb(kind, Key{4}, cut, mean.data(), deviation.data(), T(0), parts.data());
        perturb(kind, Key{4}, n - cut, mean.data() + cut, deviation.data() + cut, T(0), parts.data() + cut, cut);
        CHECK(std::memcmp(whole.data(), parts.data(), sizeof(T) * n) == 0);
        parts = mean;
        perturb(kind, Key{4}, n, parts.data(), deviation.data(), T(0), parts.data());
        CHECK(std::memcmp(whole.data(), parts.data(), sizeof(T) * n) == 0);
    }
}

TEST_CASE("the noise has mean 0, variance 1 and no correlation", "[kernels][perturb]") {
    const long n = 1000000;
    const std::vector<double> zero(n, 0.0);
    const double four = 4 / std::sqrt(double(n));
    std::vector<double> other(n), e(n);
    perturb(NoiseKind{}, Key{6}, n, zero.data(), static_cast<const double*>(nullptr), 1.0, other.data());
    for (const NoiseFamily family : families) {
        const double p = 0.2;
        perturb({family, false, p}, Key{5}, n, zero.data(), static_cast<const double*>(nullptr), 1.0, e.data());
        double sum = 0, square = 0, fourth = 0, lag = 0, across = 0;
        for (std::size_t i = 0; i < e.size(); ++i) {
            sum += e[i];
            square += e[i] * e[i];
            fourth += e[i] * e[i] * e[i] * e[i];
            if (i > 0) lag += e[i] * e[i - 1];
            across += e[i] * other[i];
        }
        // Fourth moments: 3, 9/5, and (1 - 3 p (1 - p)) / (p (1 - p)).
        const double expected = family == NoiseFamily::gaussian ? 3 : family == NoiseFamily::uniform ? 1.8 : (1 - 3 * p * (1 - p)) / (p * (1 - p));
        CHECK(std::abs(sum / n) < four);
        CHECK(std::abs(square / n - 1) < four * std::sqrt(expected - 1));
        CHECK(fourth / n == Approx(expected).epsilon(0.05));
        CHECK(std::abs(lag / n) < four);
        CHECK(std::abs(across / n) < four);
    }
}

TEST_CASE("Bernoulli noise drops what dropout drops", "[kernels][perturb]") {
    const long n = 5000;
    const std::vector<float> one(n, 1.0f);
    std::vector<float> dropped(n), noisy(n);
    for (const double p : {0.001, 0.25, 0.9}) {
        dropout(Key{8}, n, one.data(), dropped.data(), p);
        perturb({NoiseFamily::bernoulli, true, p}, Key{8}, n, one.data(), static_cast<const float*>(nullptr), static_cast<float>(std::sqrt(p / (1 - p))), noisy.data());
        bool same = true;
        for (std::size_t i = 0; i < dropped.size(); ++i) same = same && std::abs(dropped[i] - noisy[i]) <= 4e-7f * (1 + dropped[i]);
        CHECK(same);
    }
    float x = 0;
    CHECK_THROWS_WITH(perturb({NoiseFamily::bernoulli, true, 1}, Key{8}, 1, &x, static_cast<const float*>(nullptr), 1.0f, &x),
                      Catch::Contains("perturb: Bernoulli noise of probability 1, expected a number between 0 and 1"));
}
