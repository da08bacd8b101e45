// Matrices for the tests of factorisations, and what is measured of the results, in double.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

namespace linalg_test {

template <class T>
inline constexpr T eps = std::numeric_limits<T>::epsilon();

struct Numbers {
    unsigned long long state;
    explicit Numbers(unsigned seed) : state(seed * 0x9e3779b97f4a7c15ull + 88172645463325252ull) {
        for (int i = 0; i < 8; ++i) next();
    }
    double next() {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        return double(state >> 11) * 0x1p-52 - 1;
    }
};
template <class T>
std::vector<T> random_matrix(long m, long n, unsigned seed) {
    Numbers numbers(seed);
    std::vector<T> a(std::size_t(m * n));
    for (T& x : a) x = T(numbers.next());
    return a;
}
template <class T>
std::vector<T> transpose(long m, long n, const std::vector<T>& a) {
    std::vector<T> t(a.size());
    for (long i = 0; i < m; ++i)
        for (long j = 0; j < n; ++j) t[std::size_t(j * m + i)] = a[std::size_t(i * n + j)];
    return t;
}
template <class T>
std::vector<T> rows_of(const std::vector<T>& a, long offset, long m, long n, long lda) {
    std::vector<T> r(std::size_t(m * n));
    for (long i = 0; i < m; ++i)
        for (long j = 0; j < n; ++j) r[std::size_t(i * n + j)] = a[std::size_t(offset + i * lda + j)];
    return r;
}
template <class T>
std::vector<T> positive_definite(long n, unsigned seed) {
    const auto g = random_matrix<T>(n, n, seed);
    std::vector<T> a(std::size_t(n * n));
    for (long i = 0; i < n; ++i)
        for (long j = 0; j <= i; ++j) {
            double sum = i == j ? 0.5 : 0;
            for (long q = 0; q < n; ++q) sum += double(g[std::size_t(i * n + q)]) * double(g[std::size_t(j * n + q)]);
            a[std::size_t(i * n + j)] = a[std::size_t(j * n + i)] = T(sum);
        }
    return a;
}
template <class T>
std::vector<T> symmetric(long n, unsigned seed) {
    auto a = random_matrix<T>(n, n, seed);
    for (long i = 0; i < n; ++i)
        for (long j = 0; j < i; ++j) a[std::size_t(j * n + i)] = a[std::size_t(i * n + j)];
    return a;
}
template <class T>
std::vector<T> hilbert(long n) {
    std::vector<T> a(std::size_t(n * n));
    for (long i = 0; i < n; ++i)
        for (long j = 0; j < n; ++j) a[std::size_t(i * n + j)] = T(1.0 / double(i + j + 1));
    return a;
}
template <class T>
T largest_difference(const std::vector<T>& a, const std::vector<T>& b) {
    T worst = a.size() == b.size() ? T(0) : T(INFINITY);
    for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
        const T d = std::fabs(a[i] - b[i]);
        if (!(d <= worst)) worst = d;  // NaN is the worst
    }
    return worst;
}
template <class T>
double frobenius(const std::vector<T>& a) {
    double sum = 0;
    for (T x : a) sum += double(x) * double(x);
    return std::sqrt(sum);
}
// |Q'Q - I|, the largest element, for the columns of Q[m, n].
template <class T>
double orthogonality(long m, long n, const std::vector<T>& q) {
    double worst = 0;
    for (long i = 0; i < n; ++i)
        for (long j = 0; j <= i; ++j) {
            double sum = i == j ? -1 : 0;
            for (long r = 0; r < m; ++r) sum += double(q[std::size_t(r * n + i)]) * double(q[std::size_t(r * n + j)]);
            worst = std::max(worst, std::fabs(sum));
            if (sum != sum) return INFINITY;
        }
    return worst;
}
// |A - U diag(s) V|, Frobenius, for U[m, r], V[r, n]; s may be empty: all ones.
template <class T>
double residual(long m, long n, long r, const std::vector<T>& a, const std::vector<T>& u, const std::vector<T>& s, const std::vector<T>& v) {
    double total = 0;
    std::vector<double> row(static_cast<std::size_t>(n));
    for (long i = 0; i < m; ++i) {
        for (long j = 0; j < n; ++j) row[std::size_t(j)] = -double(a[std::size_t(i * n + j)]);
        for (long q = 0; q < r; ++q) {
            const double f = double(u[std::size_t(i * r + q)]) * (s.empty() ? 1.0 : double(s[std::size_t(q)]));
            for (long j = 0; j < n; ++j) row[std::size_t(j)] += f * double(v[std::size_t(q * n + j)]);
        }
        for (double x : row) total += x * x;
    }
    return total == total ? std::sqrt(total) : INFINITY;
}
template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

}  // namespace linalg_test
