// Softmax with a mask against the plain loops: odd sizes, hidden NaN and infinities, rows of nothing, broadcast masks, threads.
#include <catch2/catch.hpp>

#include <tenon/kernels/cpu/masked_softmax.hpp>

#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

using namespace tenon;
namespace k = tenon::kernels::cpu;

namespace {

template <class T, bool Log>
void check(long outer, long n, long inner) {
    using A = k::accumulator<T>;
    INFO("[" << outer << ", " << n << ", " << inner << "], log " << Log);
    const long size = outer * n * inner;
    unsigned long long state = 88172645463325252ull + static_cast<unsigned long long>(size);
    const auto next = [&] { return state ^= state << 13, state ^= state >> 7, state ^= state << 17, double(state >> 11) * 0x1p-53; };
    std::vector<T> x(std::size_t(size), T(A(0))), y(x), expected(x), dy(x), dx(x);
    const auto mask = std::make_unique<bool[]>(std::size_t(size) + 1);
    for (long i = 0; i < size; ++i) {
        const std::size_t at = std::size_t(i);
        x[at] = T(A(8 * next() - 4));
        dy[at] = T(A(2 * next() - 1));
        mask[at] = next() < 0.6 && i / inner / n != 1;  // the second matrix keeps nothing
        if (!mask[at]) x[at] = T(A(i % 3 == 0 ? NAN : INFINITY)), dy[at] = T(A(NAN));
    }
    std::vector<long> offsets;
    for (long r = 0; r < outer; ++r) offsets.push_back(r * n);
    std::vector<T> results[2];
    for (int threads : {1, 2}) {
        set_num_threads(threads);
        if (inner == 1) k::masked_softmax_rows<Log>(outer, n, x.data(), mask.get(), offsets.data(), 1, y.data());
        else k::masked_softmax<Log>(outer, n, inner, x.data(), mask.get(), y.data());
        results[threads - 1] = y;
    }
    CHECK(std::memcmp(results[0].data(), results[1].data(), y.size() * sizeof(T)) == 0);
    k::reference::masked_softmax<Log>(outer, n, inner, x.data(), mask.get(), expected.data());
    const double unit = std::is_same_v<T, double> ? 0x1p-52 : 0x1p-23, out = std::is_same_v<T, half> ? 0x1p-10 : std::is_same_v<T, bf16> ? 0x1p-7 : unit;
    bool good = true, hidden = true;
    for (std::size_t i = 0; i < y.size(); ++i) {
        const double got = double(A(y[i])), e = double(A(expected[i]));
        if (std::isinf(e) || e == 0) hidden = hidden && got == e;
        else good = good && std::abs(got - e) <= (out + unit * (24 + double(n) / 8)) * (std::abs(e) + (Log ? 1 : 0)) + 1e-7 * (std::is_same_v<T, half> ? 1 : 0);
    }
    CHECK(good);
    CHECK(hidden);
    for (const bool accumulate : {false, true}) {
        for (T& v : dx) v = T(A(0.5));
        k::masked_softmax_backward<Log>(outer, n, inner, y.data(), dy.data(), dx.data(), accumulate);
        for (long o = 0; o < outer; ++o)
            for (long i = 0; i < inner; ++i) {
                double sum = 0;
                const auto at = [&](long c) { return std::size_t((o * n + c) * inner + i); };
                const auto kept = [&](long c) { return Log ? double(A(y[at(c)])) != -INFINITY : double(A(y[at(c)])) != 0; };
                for (long c = 0; c < n; ++c)
                    if (kept(c)) sum += double(A(dy[at(c)])) * (Log ? 1 : double(A(y[at(c)])));
                for (long c = 0; c < n; ++c) {
                    const double p = double(A(y[at(c)])), d = double(A(dy[at(c)]));
                    const double want = (kept(c) ? (Log ? d - std::exp(p) * sum : p * (d - sum)) : 0) + (accumulate ? 0.5 : 0);
                    good = good && std::abs(double(A(dx[at(c)])) - want) <= out * std::abs(want) + unit * (16 + double(n)) * (1 + std::abs(sum)) + 1e-7 * (std::is_same_v<T, half> ? 1 : 0);
                }
            }
        CHECK(good);
    }
}

}  // namespace

TEMPLATE_TEST_CASE("softmax with a mask", "[softmax]", float, double, bf16, half) {
    for (long n : {1l, 2l, 7l, 8l, 31l, 33l, 300l, 5000l}) {
        check<TestType, false>(3, n, 1);
        check<TestType, true>(3, n, 1);
    }
    for (long inner : {2l, 7l, 8l, 65l}) {
        check<TestType, false>(3, 5, inner);
        check<TestType, true>(2, 19, inner);
    }
}

TEST_CASE("masks that rows share", "[softmax]") {
    const float x[] = {1, 2, 3, 4, 5, 6};
    const bool one[] = {true, false, true}, all[] = {true}, none[] = {false};
    const long same[] = {0, 0};
    float y[6];
    k::masked_softmax_rows<false>(2, 3, x, one, same, 1, y);
    for (int r : {0, 3}) {
        CHECK(y[r] == Approx(1 / (1 + std::exp(2.))));
        CHECK(y[r + 1] == 0);
        CHECK(y[r + 2] == Approx(1 / (1 + std::exp(-2.))));
    }
    k::masked_softmax_rows<false>(2, 3, x, all, same, 0, y);
    CHECK(y[0] + y[1] + y[2] == Approx(1));
    k::masked_softmax_rows<false>(2, 3, x, none, same, 0, y);
    CHECK((y[0] == 0 && y[5] == 0));
}
