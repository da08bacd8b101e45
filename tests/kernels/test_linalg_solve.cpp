// Triangular systems, Cholesky and LU: against the plain loops, by their residuals, and one against two threads.
#include <catch2/catch.hpp>

#include <tenon/kernels/cpu/linalg/cholesky.hpp>
#include <tenon/kernels/cpu/linalg/lu.hpp>

#include "linalg_matrices.hpp"

using namespace tenon;
namespace k = tenon::kernels::cpu;
using namespace linalg_test;

TEMPLATE_TEST_CASE("triangular systems agree with the plain loops", "[linalg]", float, double) {
    using T = TestType;
    for (long n : {0l, 1l, 2l, 3l, 7l, 16l, 31l, 32l, 33l, 65l, 100l})
        for (long m : {0l, 1l, 2l, 5l, 16l, 37l, 130l})
            for (int variant = 0; variant < 8; ++variant) {
                const bool lower = (variant & 1) != 0, unit = (variant & 2) != 0, transposed = (variant & 4) != 0;
                auto a = random_matrix<T>(n, n, unsigned(n + variant));
                // A dominant diagonal keeps the triangle's condition low; NaN in what must not be read.
                for (long i = 0; i < n; ++i)
                    for (long j = 0; j < n; ++j) {
                        T& x = a[std::size_t(i * n + j)];
                        if (i == j) x = unit ? T(NAN) : T(2) + std::fabs(x);
                        else if ((lower != transposed) ? j > i : j < i) x = T(NAN);
                        else x /= T(n);
                    }
                const k::MatrixView<T> view = transposed ? k::MatrixView<T>{a.data(), 1, n} : k::MatrixView<T>{a.data(), n, 1};
                const auto b = random_matrix<T>(n, m, 3);
                auto x = b, expected = b;
                k::solve_triangular<T>(lower, unit, n, m, view, x.data(), m);
                k::reference::solve_triangular<T>(lower, unit, n, m, view, expected.data(), m);
                CHECK(largest_difference(x, expected) <= 8 * eps<T> * T(n + 1));
                // X A = B is A' X' = B'.
                auto right = transpose(n, m, b);
                k::solve_triangular_right<T>(lower, unit, m, n, view, right.data(), n);
                auto turned = b;
                k::reference::solve_triangular<T>(!lower, unit, n, m, {view.data, view.column_stride, view.row_stride}, turned.data(), m);
                CHECK(largest_difference(transpose(m, n, right), turned) <= 8 * eps<T> * T(n + 1));
            }
}

TEMPLATE_TEST_CASE("Cholesky factors", "[linalg]", float, double) {
    using T = TestType;
    for (long n : {0l, 1l, 2l, 3l, 4l, 5l, 8l, 17l, 32l, 33l, 63l, 64l, 100l, 250l}) {
        const long batch = n < 40 ? 3 : 1, lda = n + 2;
        auto a = std::vector<T>(std::size_t(batch * n * lda), T(7));
        for (long p = 0; p < batch; ++p) {
            const auto s = positive_definite<T>(n, unsigned(n + p));
            for (long i = 0; i < n; ++i)
                for (long j = 0; j < n; ++j) a[std::size_t((p * n + i) * lda + j)] = j <= i ? s[std::size_t(i * n + j)] : T(NAN);
        }
        const auto before = a;
        std::vector<long> failed(std::size_t(batch), 9);
        k::cholesky<T>(batch, n, a.data(), lda, n * lda, failed.data());
        for (long p = 0; p < batch; ++p) {
            CHECK(failed[std::size_t(p)] == 0);
            auto expected = rows_of(before, p * n * lda, n, n, lda);
            CHECK(k::reference::cholesky<T>(n, expected.data(), n) == 0);
            double apart = 0;
            for (long i = 0; i < n; ++i)
                for (long j = 0; j <= i; ++j)
                    apart = std::max(apart, std::fabs(double(expected[std::size_t(i * n + j)]) - double(a[std::size_t((p * n + i) * lda + j)])));
            CHECK(apart <= 40 * double(n + 1) * double(n + 1) * eps<T>);
            double worst = 0, norm = 0;
            bool zeros = true;
            for (long i = 0; i < n; ++i)
                for (long j = 0; j < n; ++j) {
                    const T l = a[std::size_t((p * n + i) * lda + j)];
                    if (j > i) {
                        zeros = zeros && l == T(0);
                        continue;
                    }
                    double sum = 0;
                    for (long q = 0; q <= j; ++q) sum += double(a[std::size_t((p * n + i) * lda + q)]) * double(a[std::size_t((p * n + j) * lda + q)]);
                    const double want = double(before[std::size_t((p * n + i) * lda + j)]);
                    worst = std::max(worst, std::fabs(sum - want));
                    norm = std::max(norm, std::fabs(want));
                }
            CHECK(zeros);
            CHECK(worst <= double(n + 1) * eps<T> * norm);
        }
        bool untouched = true;
        for (long i = 0; i < batch * n; ++i)
            for (long j = n; j < lda; ++j) untouched = untouched && a[std::size_t(i * lda + j)] == T(7);
        CHECK(untouched);
    }
}

TEMPLATE_TEST_CASE("Cholesky names the minor that is not positive", "[linalg]", float, double) {
    using T = TestType;
    for (long n : {1l, 5l, 32l, 33l, 80l, 200l})
        for (long at : {0l, n / 3, n - 1})
            for (T bad : {T(-1), T(0), T(NAN)}) {
                std::vector<T> a(std::size_t(n * n), T(0));
                for (long i = 0; i < n; ++i) a[std::size_t(i * n + i)] = i == at ? bad : T(2);
                long failed = -1;
                k::cholesky<T>(1, n, a.data(), n, n * n, &failed);
                CHECK(failed == at + 1);
            }
    // The Hilbert matrix of order 14 is positive definite, but not in float.
    const auto h = hilbert<T>(14);
    auto a = h;
    long failed = -1, expected = -1;
    k::cholesky<T>(1, 14, a.data(), 14, 196, &failed);
    auto b = h;
    expected = k::reference::cholesky<T>(14, b.data(), 14);
    CHECK((failed == 0) == (expected == 0));
    if (std::is_same_v<T, float>) CHECK(failed > 4);
}

TEMPLATE_TEST_CASE("LU factors with partial pivoting", "[linalg]", float, double) {
    using T = TestType;
    for (long m : {1l, 2l, 3l, 4l, 5l, 8l, 16l, 17l, 40l, 100l, 230l})
        for (long n : {1l, 3l, 4l, 7l, 8l, 15l, 16l, 17l, 33l, 100l, 300l}) {
            const long steps = std::min(m, n), batch = m * n < 400 ? 3 : 1;
            const auto before = random_matrix<T>(batch * m, n, unsigned(m * 1000 + n));
            auto a = before;
            std::vector<std::int32_t> pivots(std::size_t(batch * steps));
            std::vector<long> failed(std::size_t(batch), 9);
            k::lu<T>(batch, m, n, a.data(), n, m * n, pivots.data(), failed.data());
            for (long p = 0; p < batch; ++p) {
                CHECK(failed[std::size_t(p)] == 0);
                const auto lu = rows_of(a, p * m * n, m, n, n);
                auto exchanged = rows_of(before, p * m * n, m, n, n);
                for (long i = 0; i < steps; ++i) {
                    const long q = pivots[std::size_t(p * steps + i)] - 1;
                    if (q < i || q >= m) FAIL("a pivot outside of the rows that are left");
                    for (long j = 0; j < n; ++j) std::swap(exchanged[std::size_t(i * n + j)], exchanged[std::size_t(q * n + j)]);
                }
                double worst = 0, u_most = 1, l_most = 0;
                for (long i = 0; i < m; ++i)
                    for (long j = 0; j < n; ++j) {
                        double sum = 0;
                        for (long q = 0; q <= std::min(i, j) && q < steps; ++q) {
                            const double l = q == i ? 1.0 : double(lu[std::size_t(i * n + q)]);
                            if (q < i) l_most = std::max(l_most, std::fabs(l));
                            sum += l * double(lu[std::size_t(q * n + j)]);
                        }
                        worst = std::max(worst, std::fabs(sum - double(exchanged[std::size_t(i * n + j)])));
                        u_most = std::max(u_most, std::fabs(double(lu[std::size_t(i * n + j)])));
                    }
                CHECK(l_most <= 1 + 2 * eps<T>);
                CHECK(worst <= double(steps + 1) * eps<T> * u_most);
            }
        }
}

TEMPLATE_TEST_CASE("LU of singular matrices goes on and says where", "[linalg]", float, double) {
    using T = TestType;
    for (long n : {1l, 4l, 9l, 40l})
        for (long at : {0l, n / 2, n - 1}) {
            // A column of zeros stays one.
            auto a = random_matrix<T>(n, n, unsigned(n));
            for (long i = 0; i < n; ++i) a[std::size_t(i * n + at)] = 0;
            std::vector<std::int32_t> pivots(std::size_t(n), 0);
            long failed = -1;
            k::lu<T>(1, n, n, a.data(), n, n * n, pivots.data(), &failed);
            CHECK(failed == at + 1);
            for (T x : a) CHECK(std::isfinite(x));
        }
    // The first largest of equal candidates is the pivot; tiny pivots do not overflow.
    std::vector<T> a{3, 2, -1, 3, 1, 5, -3, 0, 2};
    std::vector<std::int32_t> pivots(3);
    long failed;
    k::lu<T>(1, 3, 3, a.data(), 3, 9, pivots.data(), &failed);
    CHECK(pivots[0] == 1);
    const T tiny = std::numeric_limits<T>::denorm_min();
    std::vector<T> b{tiny, 1, tiny, 3};
    k::lu<T>(1, 2, 2, b.data(), 2, 4, pivots.data(), &failed);
    CHECK(b[2] == T(1));
    CHECK(b[3] == T(2));
}

TEMPLATE_TEST_CASE("systems are solved from LU factors", "[linalg]", float, double) {
    using T = TestType;
    for (long n : {1l, 2l, 4l, 5l, 8l, 33l, 100l})
        for (long m : {1l, 3l, 40l})
            for (bool transposed : {false, true}) {
                const long batch = 2;
                const auto a = random_matrix<T>(batch * n, n, unsigned(n));
                const auto b = random_matrix<T>(batch * n, m, 5);
                auto lu = a, x = b;
                std::vector<std::int32_t> pivots(std::size_t(batch * n));
                std::vector<long> failed(2);
                k::lu<T>(batch, n, n, lu.data(), n, n * n, pivots.data(), failed.data());
                k::lu_solve<T>(batch, n, m, lu.data(), n, n * n, pivots.data(), transposed, x.data(), m, n * m);
                for (long p = 0; p < batch; ++p)
                    for (long c = 0; c < m; ++c) {
                        double size = 0, worst = 0;
                        for (long i = 0; i < n; ++i) size = std::max(size, std::fabs(double(x[std::size_t((p * n + i) * m + c)])));
                        for (long i = 0; i < n; ++i) {
                            double sum = 0;
                            for (long j = 0; j < n; ++j)
                                sum += double(a[std::size_t((p * n + (transposed ? j : i)) * n + (transposed ? i : j))]) * double(x[std::size_t((p * n + j) * m + c)]);
                            worst = std::max(worst, std::fabs(sum - double(b[std::size_t((p * n + i) * m + c)])));
                        }
                        // Backward stable: the residual is small next to |A| |x|, whatever the condition. Growth is below n here.
                        CHECK(worst <= 4 * double(n + 1) * double(n) * eps<T> * (size + 1));
                    }
            }
}

TEMPLATE_TEST_CASE("factorisations give the same bits with one and two threads", "[linalg]", float, double) {
    using T = TestType;
    const int threads = num_threads();
    for (long n : {6l, 60l, 300l}) {
        const long batch = n == 6 ? 5000 : n == 60 ? 50 : 2;
        std::vector<T> factors[2], lus[2];
        std::vector<long> failed(static_cast<std::size_t>(batch));
        std::vector<std::int32_t> pivots(std::size_t(batch * n));
        const auto s = positive_definite<T>(n, 1);
        std::vector<T> all;
        for (long p = 0; p < batch; ++p) all.insert(all.end(), s.begin(), s.end());
        const auto general = random_matrix<T>(batch * n, n, 2);
        for (int t = 0; t < 2; ++t) {
            set_num_threads(t + 1);
            factors[t] = all;
            k::cholesky<T>(batch, n, factors[t].data(), n, n * n, failed.data());
            lus[t] = general;
            k::lu<T>(batch, n, n, lus[t].data(), n, n * n, pivots.data(), failed.data());
            auto x = general;
            k::lu_solve<T>(batch, n, n, lus[t].data(), n, n * n, pivots.data(), false, x.data(), n, n * n);
            lus[t].insert(lus[t].end(), x.begin(), x.end());
        }
        CHECK(same_bits(factors[0], factors[1]));
        CHECK(same_bits(lus[0], lus[1]));
    }
    set_num_threads(threads);
}

TEMPLATE_TEST_CASE("a matrix has the same bits alone and in a batch", "[linalg]", float, double) {
    using T = TestType;
    for (long n : {1l, 2l, 3l, 4l, 7l, 8l, 9l, 16l, 20l})
        for (long batch : {1l, 2l, 5l, 16l, 19l}) {
            const auto general = random_matrix<T>(batch * n, n, unsigned(n)), sides = random_matrix<T>(batch * n, 3, 2);
            std::vector<T> definite;
            for (long p = 0; p < batch; ++p) {
                auto s = positive_definite<T>(n, unsigned(n + p));
                if (p % 3 == 1) s[0] = T(-1);  // one that fails leaves its neighbours alone
                definite.insert(definite.end(), s.begin(), s.end());
            }
            auto factors = definite, lu = general, x = sides;
            std::vector<long> failed(static_cast<std::size_t>(batch)), one(1);
            std::vector<std::int32_t> pivots(std::size_t(batch * n)), few(static_cast<std::size_t>(n));
            k::cholesky<T>(batch, n, factors.data(), n, n * n, failed.data());
            for (long p = 0; p < batch; ++p) {
                auto alone = rows_of(definite, p * n * n, n, n, n);
                k::cholesky<T>(1, n, alone.data(), n, n * n, one.data());
                CHECK(one[0] == failed[std::size_t(p)]);
                CHECK(one[0] == (p % 3 == 1 ? 1 : 0));
                if (one[0] == 0) CHECK(same_bits(alone, rows_of(factors, p * n * n, n, n, n)));
            }
            k::lu<T>(batch, n, n, lu.data(), n, n * n, pivots.data(), failed.data());
            k::lu_solve<T>(batch, n, 3, lu.data(), n, n * n, pivots.data(), false, x.data(), 3, 3 * n);
            for (long p = 0; p < batch; ++p) {
                auto alone = rows_of(general, p * n * n, n, n, n), x1 = rows_of(sides, p * n * 3, n, 3, 3);
                k::lu<T>(1, n, n, alone.data(), n, n * n, few.data(), one.data());
                k::lu_solve<T>(1, n, 3, alone.data(), n, n * n, few.data(), false, x1.data(), 3, 3 * n);
                CHECK(same_bits(alone, rows_of(lu, p * n * n, n, n, n)));
                CHECK(same_bits(x1, rows_of(x, p * n * 3, n, 3, 3)));
            }
        }
}
