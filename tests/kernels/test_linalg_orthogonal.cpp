// QR, symmetric eigenvalues and singular values: residuals, orthogonality and known spectra at n * eps.
#include <catch2/catch.hpp>

#include <tenon/kernels/cpu/linalg/eigh.hpp>
#include <tenon/kernels/cpu/linalg/qr.hpp>
#include <tenon/kernels/cpu/linalg/svd.hpp>

#include "linalg_matrices.hpp"

using namespace tenon;
namespace k = tenon::kernels::cpu;
using namespace linalg_test;

namespace {

template <class T>
void check_qr(long m, long n, const std::vector<T>& a, bool complete) {
    const long steps = std::min(m, n), r_rows = complete ? m : steps;
    std::vector<T> q(std::size_t(m * r_rows), T(9)), r(std::size_t(r_rows * n), T(9));
    k::qr<T>(1, m, n, a.data(), complete, q.data(), r.data());
    CAPTURE(m, n, complete);
    CHECK(orthogonality(m, r_rows, q) <= 4 * double(m + 1) * double(eps<T>));
    CHECK(residual(m, n, r_rows, a, q, {}, r) <= 4 * double(n + 1) * double(eps<T>) * frobenius(a));
    for (long i = 0; i < r_rows; ++i)
        for (long j = 0; j < std::min(i, n); ++j) CHECK(r[std::size_t(i * n + j)] == T(0));
    // R alone is the same R.
    auto alone = r;
    std::fill(alone.begin(), alone.end(), T(5));
    k::qr<T>(1, m, n, a.data(), complete, static_cast<T*>(nullptr), alone.data());
    CHECK(same_bits(alone, r));
}

template <class T>
std::vector<T> check_eigh(long n, const std::vector<T>& a, bool lower = true) {
    auto given = a;
    for (long i = 0; i < n; ++i)
        for (long j = 0; j < n; ++j)
            if (lower ? j > i : j < i) given[std::size_t(i * n + j)] = T(NAN);  // must not be read
    std::vector<T> w(static_cast<std::size_t>(n)), v(a.size()), alone(w.size());
    long failed = 7;
    k::eigh<T>(1, n, given.data(), lower, w.data(), v.data(), &failed);
    CAPTURE(n);
    CHECK(failed == 0);
    CHECK(orthogonality(n, n, v) <= 4 * double(n + 2) * double(eps<T>));
    CHECK(residual(n, n, n, a, v, w, transpose(n, n, v)) <= 4 * double(n + 2) * double(eps<T>) * frobenius(a));
    for (long i = 1; i < n; ++i) CHECK(w[std::size_t(i - 1)] <= w[std::size_t(i)]);
    k::eigh<T>(1, n, given.data(), lower, alone.data(), static_cast<T*>(nullptr), &failed);
    CHECK(failed == 0);
    // With and without vectors the same steps are taken.
    CHECK(same_bits(alone, w));
    return w;
}

template <class T>
std::vector<T> check_svd(long m, long n, const std::vector<T>& a) {
    const long r = std::min(m, n), most = std::max(m, n);
    std::vector<T> u(std::size_t(m * r)), s(static_cast<std::size_t>(r)), vt(std::size_t(r * n)), alone(s.size());
    long failed = 7;
    k::svd<T>(1, m, n, a.data(), u.data(), s.data(), vt.data(), &failed);
    CAPTURE(m, n);
    CHECK(failed == 0);
    CHECK(orthogonality(m, r, u) <= 4 * double(most + 2) * double(eps<T>));
    CHECK(orthogonality(n, r, transpose(r, n, vt)) <= 4 * double(most + 2) * double(eps<T>));
    CHECK(residual(m, n, r, a, u, s, vt) <= 4 * double(most + 2) * double(eps<T>) * frobenius(a));
    for (long i = 0; i < r; ++i) {
        CHECK(s[std::size_t(i)] >= T(0));
        if (i > 0) CHECK(s[std::size_t(i - 1)] >= s[std::size_t(i)]);
    }
    k::svd<T>(1, m, n, a.data(), static_cast<T*>(nullptr), alone.data(), static_cast<T*>(nullptr), &failed);
    CHECK(same_bits(alone, s));
    return s;
}

// Q diag(w) Q' for a random orthogonal Q.
template <class T>
std::vector<T> with_spectrum(const std::vector<double>& w, unsigned seed) {
    const long n = long(w.size());
    const auto g = random_matrix<double>(n, n, seed);
    std::vector<double> q(g.size()), r(g.size());
    k::reference::qr<double>(n, n, g.data(), q.data(), r.data());
    std::vector<T> a(g.size());
    for (long i = 0; i < n; ++i)
        for (long j = 0; j <= i; ++j) {
            double sum = 0;
            for (long p = 0; p < n; ++p) sum += q[std::size_t(i * n + p)] * w[std::size_t(p)] * q[std::size_t(j * n + p)];
            a[std::size_t(i * n + j)] = a[std::size_t(j * n + i)] = T(sum);
        }
    return a;
}

}  // namespace

TEMPLATE_TEST_CASE("QR: orthogonal, and its product is the matrix", "[linalg]", float, double) {
    using T = TestType;
    for (long m : {1l, 2l, 3l, 8l, 31l, 32l, 33l, 65l, 120l})
        for (long n : {1l, 2l, 4l, 8l, 32l, 33l, 64l, 70l, 130l}) {
            const auto a = random_matrix<T>(m, n, unsigned(m * 100 + n));
            check_qr<T>(m, n, a, false);
            check_qr<T>(m, n, a, true);
        }
    // The same signs and, up to rounding, the same numbers as the plain loops.
    for (long n : {5l, 40l}) {
        const long m = n + 3;
        const auto a = random_matrix<T>(m, n, 4);
        std::vector<T> q(std::size_t(m * m)), r(std::size_t(m * n)), q2(q.size()), r2(r.size());
        k::qr<T>(1, m, n, a.data(), true, q.data(), r.data());
        k::reference::qr<T>(m, n, a.data(), q2.data(), r2.data());
        CHECK(largest_difference(q, q2) <= 200 * eps<T>);
        CHECK(largest_difference(r, r2) <= 400 * eps<T>);
    }
}

TEMPLATE_TEST_CASE("QR of matrices that lack rank or live at the ends of the range", "[linalg]", float, double) {
    using T = TestType;
    for (long n : {1l, 6l, 50l}) {
        check_qr<T>(n, n, std::vector<T>(std::size_t(n * n), T(0)), false);
        check_qr<T>(n + 4, n, std::vector<T>(std::size_t((n + 4) * n), T(1)), true);
        check_qr<T>(n, n, hilbert<T>(n), false);
        for (T unit : {std::numeric_limits<T>::min() * T(1 << 10), std::numeric_limits<T>::max() / T(1 << 12)}) {
            auto a = random_matrix<T>(n + 2, n, 3);
            const auto plain = a;
            for (T& x : a) x *= unit;
            std::vector<T> q(a.size()), r(std::size_t(n * n));
            k::qr<T>(1, n + 2, n, a.data(), false, q.data(), r.data());
            CHECK(orthogonality(n + 2, n, q) <= 8 * double(n + 3) * double(eps<T>));
            for (T& x : r) x /= unit;
            CHECK(residual(n + 2, n, n, plain, q, {}, r) <= 8 * double(n + 1) * double(eps<T>) * frobenius(plain));
        }
    }
}

TEMPLATE_TEST_CASE("eigenvalues and eigenvectors of symmetric matrices", "[linalg]", float, double) {
    using T = TestType;
    for (long n : {1l, 2l, 3l, 4l, 5l, 8l, 16l, 33l, 64l, 65l, 97l, 130l, 200l}) {
        const auto a = symmetric<T>(n, unsigned(n));
        const auto w = check_eigh<T>(n, a);
        check_eigh<T>(n, a, false);
        auto copy = std::vector<double>(a.begin(), a.end());
        std::vector<double> expected(static_cast<std::size_t>(n)), v(copy.size());
        if (n > 70) continue;
        k::reference::eigh<double>(n, copy.data(), expected.data(), v.data());
        for (long i = 0; i < n; ++i)
            CHECK(std::fabs(double(w[std::size_t(i)]) - expected[std::size_t(i)]) <= 2 * double(n + 2) * double(eps<T>) * frobenius(a));
    }
}

TEMPLATE_TEST_CASE("eigenvalues that are known", "[linalg]", float, double) {
    using T = TestType;
    for (long n : {2l, 10l, 40l, 90l}) {
        // Second differences: 2 - 2 cos(pi k / (n + 1)).
        std::vector<T> a(std::size_t(n * n), T(0));
        for (long i = 0; i < n; ++i) {
            a[std::size_t(i * n + i)] = 2;
            if (i > 0) a[std::size_t(i * n + i - 1)] = a[std::size_t((i - 1) * n + i)] = -1;
        }
        auto w = check_eigh<T>(n, a);
        for (long i = 0; i < n; ++i)
            CHECK(std::fabs(double(w[std::size_t(i)]) - (2 - 2 * std::cos(M_PI * double(i + 1) / double(n + 1)))) <= 8 * double(n) * double(eps<T>));
        // Diagonal, in any order; all equal; zero; rank one.
        std::vector<T> d(std::size_t(n * n), T(0));
        for (long i = 0; i < n; ++i) d[std::size_t(i * n + i)] = T((i * 7) % n);
        w = check_eigh<T>(n, d);
        for (long i = 0; i < n; ++i) CHECK(w[std::size_t(i)] == T(n % 7 == 0 ? (i / 7) * 7 : i));
        for (long i = 0; i < n; ++i) d[std::size_t(i * n + i)] = T(3);
        for (T x : check_eigh<T>(n, d)) CHECK(x == T(3));
        for (T x : check_eigh<T>(n, std::vector<T>(std::size_t(n * n), T(0)))) CHECK(x == T(0));
        w = check_eigh<T>(n, std::vector<T>(std::size_t(n * n), T(1)));
        CHECK(std::fabs(double(w.back()) - double(n)) <= 4 * double(n) * double(eps<T>) * double(n));
    }
    // Repeated, clustered and graded spectra.
    std::vector<double> repeated, graded, clustered;
    for (int i = 0; i < 60; ++i) {
        repeated.push_back(i < 30 ? -1 : 2);
        graded.push_back(std::pow(10.0, -i / 6.0));
        clustered.push_back(1 + 1e-9 * i);
    }
    for (const auto& spectrum : {repeated, graded, clustered}) {
        auto w = check_eigh<T>(60, with_spectrum<T>(spectrum, 5));
        auto sorted = spectrum;
        std::sort(sorted.begin(), sorted.end());
        for (int i = 0; i < 60; ++i) CHECK(std::fabs(double(w[std::size_t(i)]) - sorted[std::size_t(i)]) <= 300 * double(eps<T>));
    }
    check_eigh<T>(30, hilbert<T>(30));
    // Ends of the range.
    for (T unit : {std::numeric_limits<T>::min() * T(1 << 8), std::numeric_limits<T>::max() / T(1 << 8)}) {
        auto a = symmetric<T>(12, 3);
        const auto w = check_eigh<T>(12, a);
        for (T& x : a) x *= unit;
        std::vector<T> scaled(12), v(144);
        long failed = 7;
        k::eigh<T>(1, 12, a.data(), true, scaled.data(), v.data(), &failed);
        CHECK(failed == 0);
        CHECK(orthogonality(12, 12, v) <= 60 * double(eps<T>));
        for (std::size_t i = 0; i < 12; ++i) CHECK(std::fabs(scaled[i] / unit - w[i]) <= 100 * eps<T>);
    }
    auto bad = symmetric<T>(9, 2);
    bad[9 * 4 + 2] = T(NAN);
    std::vector<T> w(9), v(81);
    long failed = 0;
    k::eigh<T>(1, 9, bad.data(), true, w.data(), v.data(), &failed);
    CHECK(failed == -1);
}

TEMPLATE_TEST_CASE("singular values and vectors", "[linalg]", float, double) {
    using T = TestType;
    for (long m : {1l, 2l, 3l, 5l, 8l, 20l, 33l, 66l, 100l, 150l})
        for (long n : {1l, 2l, 4l, 8l, 17l, 65l, 66l, 110l}) {
            const auto a = random_matrix<T>(m, n, unsigned(m * 100 + n));
            const auto s = check_svd<T>(m, n, a);
            if (m < n || m > 70) continue;
            const std::vector<double> exact(a.begin(), a.end());
            std::vector<double> u(exact.size()), expected(static_cast<std::size_t>(n)), vt(std::size_t(n * n));
            k::reference::svd<double>(m, n, exact.data(), u.data(), expected.data(), vt.data());
            for (long i = 0; i < n; ++i)
                CHECK(std::fabs(double(s[std::size_t(i)]) - expected[std::size_t(i)]) <= 2 * double(m + 2) * double(eps<T>) * expected[0]);
        }
}

TEMPLATE_TEST_CASE("singular values that are known", "[linalg]", float, double) {
    using T = TestType;
    for (long n : {2l, 7l, 40l, 80l}) {
        for (T x : check_svd<T>(n, n, std::vector<T>(std::size_t(n * n), T(0)))) CHECK(x == T(0));
        auto s = check_svd<T>(n + 5, n, std::vector<T>(std::size_t((n + 5) * n), T(1)));
        CHECK(std::fabs(double(s[0]) - std::sqrt(double(n * (n + 5)))) <= 8 * double(n + 5) * double(eps<T>) * double(n));
        CHECK(double(s[1]) <= 8 * double(n + 5) * double(eps<T>) * double(n));
        std::vector<T> d(std::size_t(n * n), T(0));
        for (long i = 0; i < n; ++i) d[std::size_t(i * n + i)] = T(i % 2 == 0 ? i + 1 : -i - 1);
        s = check_svd<T>(n, n, d);
        for (long i = 0; i < n; ++i) CHECK(s[std::size_t(i)] == T(n - i));
        for (long i = 0; i < n; ++i) d[std::size_t(i * n + i)] = T(1);
        for (T x : check_svd<T>(n, n, d)) CHECK(x == T(1));
        check_svd<T>(n, n, hilbert<T>(n));
        // Bidiagonal with a zero inside and at the end of the diagonal.
        for (long zero : {0l, n / 2, n - 1}) {
            std::vector<T> b(std::size_t(n * n), T(0));
            for (long i = 0; i < n; ++i) {
                b[std::size_t(i * n + i)] = i == zero ? T(0) : T(1);
                if (i + 1 < n) b[std::size_t(i * n + i + 1)] = T(1);
            }
            check_svd<T>(n, n, b);
        }
    }
    // Graded diagonals with something beside them: small values keep their digits.
    const long n = 20;
    std::vector<T> b(std::size_t(n * n), T(0));
    double product = 1;
    for (long i = 0; i < n; ++i) {
        const T x = T(std::pow(2.0, double(-i)));
        b[std::size_t(i * n + i)] = x;
        product *= double(x);
        if (i + 1 < n) b[std::size_t(i * n + i + 1)] = x / 2;
    }
    auto s = check_svd<T>(n, n, b);
    double found = 1;
    for (T x : s) found *= double(x);
    CHECK(std::fabs(found / product - 1) <= 400 * double(eps<T>));
    for (T unit : {std::numeric_limits<T>::min() * T(1 << 8), std::numeric_limits<T>::max() / T(1 << 8)}) {
        auto a = random_matrix<T>(12, 9, 3);
        s = check_svd<T>(12, 9, a);
        for (T& x : a) x *= unit;
        std::vector<T> u(108), scaled(9), vt(81);
        long failed = 7;
        k::svd<T>(1, 12, 9, a.data(), u.data(), scaled.data(), vt.data(), &failed);
        CHECK(failed == 0);
        CHECK(orthogonality(12, 9, u) <= 60 * double(eps<T>));
        for (std::size_t i = 0; i < 9; ++i) CHECK(std::fabs(scaled[i] / unit - s[i]) <= 100 * eps<T>);
    }
    auto bad = random_matrix<T>(6, 4, 2);
    bad[7] = T(INFINITY);
    std::vector<T> u(24), values(4), vt(16);
    long failed = 0;
    k::svd<T>(1, 6, 4, bad.data(), u.data(), values.data(), vt.data(), &failed);
    CHECK(failed == -1);
}

TEMPLATE_TEST_CASE("batches, and one against two threads", "[linalg]", float, double) {
    using T = TestType;
    const int threads = num_threads();
    for (long n : {4l, 40l, 150l}) {
        const long batch = n == 4 ? 600 : n == 40 ? 6 : 1, m = n + 3;
        const auto a = random_matrix<T>(batch * n, n, 1);
        const auto tall = random_matrix<T>(batch * m, n, 2);
        std::vector<T> all[2];
        for (int t = 0; t < 2; ++t) {
            set_num_threads(t + 1);
            std::vector<T> w(std::size_t(batch * n)), v(a.size()), q(tall.size()), r(a.size()), u(tall.size()), s(w.size()), vt(a.size());
            std::vector<long> failed(static_cast<std::size_t>(batch));
            k::eigh<T>(batch, n, a.data(), true, w.data(), v.data(), failed.data());
            k::qr<T>(batch, m, n, tall.data(), false, q.data(), r.data());
            k::svd<T>(batch, m, n, tall.data(), u.data(), s.data(), vt.data(), failed.data());
            for (const auto* part : {&w, &v, &q, &r, &u, &s, &vt}) all[t].insert(all[t].end(), part->begin(), part->end());
            // Every matrix of a batch as if it were alone.
            for (long p = 0; p < batch; p += batch / 2 + 1) {
                std::vector<T> w1(static_cast<std::size_t>(n)), v1(std::size_t(n * n));
                k::eigh<T>(1, n, a.data() + p * n * n, true, w1.data(), v1.data(), failed.data());
                CHECK(same_bits(w1, rows_of(w, p * n, 1, n, n)));
                CHECK(same_bits(v1, rows_of(v, p * n * n, n, n, n)));
            }
        }
        CHECK(same_bits(all[0], all[1]));
    }
    set_num_threads(threads);
}
