// Recurrent sequences against the plain version: every cell, lengths that run out, both directions, widths that fill no vector.
#include <tenon/base/parallel.hpp>
#include <tenon/kernels/cpu/recurrent.hpp>
#include <tenon/kernels/cpu/recurrent/reference.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

using namespace tenon;
using namespace tenon::kernels::cpu;

namespace {

template <class T>
struct Numbers {
    std::uint64_t state;
    std::vector<T> operator()(long count) {
        std::vector<T> all(static_cast<std::size_t>(count));
        for (T& v : all) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            v = static_cast<T>(static_cast<double>(state >> 40) / double(1 << 23) - 1);
        }
        return all;
    }
};
template <class T>
void check_close(const std::vector<T>& got, const std::vector<T>& expected, const char* what) {
    INFO(what);
    REQUIRE(got.size() == expected.size());
    double most = 0, scale = 1;
    for (std::size_t i = 0; i < got.size(); ++i) {
        most = std::max(most, std::abs(static_cast<double>(got[i]) - static_cast<double>(expected[i])));
        scale = std::max(scale, std::abs(static_cast<double>(expected[i])));
        if (std::isnan(static_cast<double>(got[i])) != std::isnan(static_cast<double>(expected[i]))) most = INFINITY;
    }
    // Rounding of sums of up to a few hundred terms, carried through a handful of steps.
    CHECK(most <= scale * (sizeof(T) == 4 ? 2e-4 : 1e-12));
}
template <class T>
const T* in(const std::vector<T>& v) { return v.empty() ? nullptr : v.data(); }
template <class T>
T* out(std::vector<T>& v) { return v.empty() ? nullptr : v.data(); }

template <class T>
void check_cell(RecurrentCell cell, std::vector<long> sizes, long hidden, long projected, bool reverse, bool states, bool peepholes) {
    RecurrentShape s{cell, reverse, static_cast<long>(sizes.size()), sizes.empty() ? 0 : sizes[0], hidden, projected > 0 ? projected : hidden, sizes.data(), nullptr};
    std::vector<long> offsets;
    long rows = 0;
    for (const long size : sizes) offsets.push_back(rows), rows += size;
    s.offsets = offsets.data();
    INFO("cell " << int(cell) << ", " << s.steps << " steps, batch " << s.batch << ", hidden " << hidden << ", out " << s.out << (reverse ? ", reverse" : ""));
    const bool lstm = cell == RecurrentCell::lstm, plain = s.kept_gates() == 1;
    const long kept = s.kept_gates() * hidden, b = s.batch;
    Numbers<T> numbers{static_cast<std::uint64_t>(hidden * 31 + b)};
    auto scaled = [&](long count) {
        std::vector<T> w = numbers(count);
        for (T& v : w) v = static_cast<T>(v / std::sqrt(static_cast<double>(hidden)));
        return w;
    };
    const std::vector<T> w_hh = scaled(s.weight_gates() * hidden * s.out), b_q = cell == RecurrentCell::gru ? numbers(hidden) : std::vector<T>(),
                         w_hr = projected > 0 ? scaled(s.out * hidden) : std::vector<T>(), p = peepholes ? numbers(3 * hidden) : std::vector<T>();
    const std::vector<T> h0 = states ? numbers(b * s.out) : std::vector<T>(), c0 = states && lstm ? numbers(b * hidden) : std::vector<T>();
    const std::vector<T> sums = numbers(rows * kept);

    struct Run {
        std::vector<T> gates, cells, y, h, c, dgates, dh, projected, dpeephole, dh0, dc0;
    };
    const std::vector<T> dy = numbers(rows * s.out), dh_n = numbers(b * s.out), dc_n = lstm ? numbers(b * hidden) : std::vector<T>();
    const auto size = [](long n) { return static_cast<std::size_t>(n); };
    const auto run = [&](bool plainly) {
        Run r;
        r.y.assign(size(rows * s.out), T(7));
        if (plain) r.y = sums;
        else r.gates = sums;
        r.cells.assign(size(lstm ? rows * hidden : 0), T(7));
        r.h.assign(size(b * s.out), T(0));
        r.c.assign(size(lstm ? b * hidden : 0), T(0));
        if (plainly && states) r.h = h0;
        if (plainly && states && lstm) r.c = c0;
        std::vector<T> room(size(3 * hidden + s.out));
        const RecurrentForward<T> f{w_hh.data(), in(b_q), in(w_hr), in(p), in(h0), in(c0), plain ? out(r.y) : out(r.gates), out(r.cells), out(r.y), out(r.h), out(r.c)};
        if (plainly) reference::recurrent_forward(s, f, out(r.h), out(r.c), room.data());
        else recurrent_forward(s, f);
        r.dgates.assign(size(rows * kept), T(7));
        r.dh.assign(size(projected > 0 ? rows * s.out : 0), T(7));
        r.projected.assign(size(projected > 0 ? rows * hidden : 0), T(7));
        r.dpeephole.assign(size(peepholes ? rows * 3 * hidden : 0), T(7));
        r.dh0.assign(size(b * s.out), T(1));
        r.dc0.assign(size(lstm ? b * hidden : 0), T(1));
        // What is there is added to, or (the plain version) starts as dh_n and dc_n.
        if (plainly) r.dh0 = dh_n;
        if (plainly && lstm) r.dc0 = dc_n;
        const RecurrentBackward<T> g{w_hh.data(), in(w_hr), in(p), in(h0), in(c0), plain ? in(r.y) : in(r.gates), in(r.cells), in(r.y), dy.data(), dh_n.data(), in(dc_n),
                                     out(r.dgates), out(r.dh), out(r.projected), out(r.dpeephole), out(r.dh0), out(r.dc0), true, true};
        if (plainly) reference::recurrent_backward(s, g, out(r.dh0), out(r.dc0), room.data());
        else recurrent_backward(s, g);
        if (plainly)
            for (auto* v : {&r.dh0, &r.dc0})
                for (T& x : *v) x += T(1);
        return r;
    };
    const Run got = run(false), expected = run(true);
    check_close(got.y, expected.y, "y");
    check_close(got.gates, expected.gates, "gates");
    check_close(got.cells, expected.cells, "cells");
    check_close(got.h, expected.h, "h_n");
    check_close(got.c, expected.c, "c_n");
    check_close(got.dgates, expected.dgates, "dgates");
    check_close(got.dh, expected.dh, "dh");
    check_close(got.projected, expected.projected, "projected");
    check_close(got.dpeephole, expected.dpeephole, "dpeephole");
    check_close(got.dh0, expected.dh0, "dh0");
    check_close(got.dc0, expected.dc0, "dc0");
}

}  // namespace

TEMPLATE_TEST_CASE("recurrent sequences agree with the plain version", "", float, double) {
    for (const RecurrentCell cell : {RecurrentCell::tanh, RecurrentCell::gru, RecurrentCell::lstm})
        for (const bool reverse : {false, true})
            for (const bool states : {false, true}) {
                for (const long hidden : {1, 3, 16, 29, 64}) check_cell<TestType>(cell, {5, 5, 3, 1}, hidden, 0, reverse, states, false);
                for (const std::vector<long>& sizes : {std::vector<long>{1}, std::vector<long>{13, 13, 13}, std::vector<long>{41, 30, 30, 2}}) check_cell<TestType>(cell, sizes, 24, 0, reverse, states, false);
            }
    // Weights beyond the second cache and K in several pieces; rows that would fall on the same lines.
    check_cell<TestType>(RecurrentCell::lstm, {14, 9}, 300, 0, true, true, false);
    check_cell<TestType>(RecurrentCell::gru, {14, 9}, 560, 0, false, true, false);
    check_cell<TestType>(RecurrentCell::lstm, {9, 9, 4}, 128, 0, false, true, false);
    for (const bool reverse : {false, true})
        for (const bool peepholes : {false, true})
            for (const long hidden : {5, 33}) check_cell<TestType>(RecurrentCell::lstm, {9, 7, 7, 2}, hidden, 4, reverse, true, peepholes);
    check_cell<TestType>(RecurrentCell::lstm, {9, 7, 7, 2}, 19, 0, false, false, true);
}

TEMPLATE_TEST_CASE("products over rows are sums over all of them", "", float, double) {
    Numbers<TestType> numbers{5};
    struct Size { long m, n, k, lda; };
    for (const Size& s : {Size{1, 1, 1, 1}, Size{23, 5, 63, 23}, Size{24, 2, 64, 30}, Size{192, 64, 1100, 256}, Size{80, 70, 65, 80}, Size{30, 1, 200, 30}, Size{25, 33, 0, 25}})
        for (const bool add : {false, true}) {
            INFO(s.m << " x " << s.n << " over " << s.k << (add ? ", added" : ""));
            const std::vector<TestType> a = numbers(s.k * s.lda), b = numbers(s.k * s.n), old = numbers(s.m * s.n);
            std::vector<TestType> got = old, expected = old;
            gemm_over_rows(s.m, s.n, s.k, a.data(), s.lda, b.data(), got.data(), add);
            for (long i = 0; i < s.m; ++i)
                for (long j = 0; j < s.n; ++j) {
                    double sum = 0;
                    for (long l = 0; l < s.k; ++l) sum += static_cast<double>(a[static_cast<std::size_t>(l * s.lda + i)]) * static_cast<double>(b[static_cast<std::size_t>(l * s.n + j)]);
                    TestType& to = expected[static_cast<std::size_t>(i * s.n + j)];
                    to = static_cast<TestType>(sum + (add ? static_cast<double>(to) : 0));
                }
            check_close(got, expected, "C");
        }
}

TEST_CASE("the bits of a sequence depend neither on the threads nor on how its rows are shared out") {
    struct Threads {  // puts the number of threads back
        int before = num_threads();
        ~Threads() { set_num_threads(before); }
    } scope;
    // Rows go to tasks of up to 48 with one thread, of up to 24 with several; those of the last step end inside one.
    for (const long batch : {20, 39, 90})
        for (const RecurrentCell cell : {RecurrentCell::gru, RecurrentCell::lstm}) {
            INFO("cell " << int(cell) << ", batch " << batch);
            const long hidden = 40, sizes[] = {batch, batch, batch / 2}, offsets[] = {0, batch, 2 * batch}, rows = 2 * batch + batch / 2;
            const RecurrentShape s{cell, false, 3, batch, hidden, hidden, sizes, offsets};
            Numbers<float> numbers{9};
            const std::vector<float> w = numbers(s.weight_gates() * hidden * hidden), sums = numbers(rows * 4 * hidden), dy = numbers(rows * hidden), h0 = numbers(batch * hidden);
            const auto run = [&](int threads) {
                set_num_threads(threads);
                const auto size = [&](long width) { return static_cast<std::size_t>(rows * width); };
                std::vector<float> gates = sums, cells(size(hidden)), y(size(hidden)), dgates(size(4 * hidden)), h(h0.size()), c(h0.size()), dh0(h0.size()), dc0(h0.size());
                const bool lstm = cell == RecurrentCell::lstm;
                recurrent_forward(s, RecurrentForward<float>{w.data(), nullptr, nullptr, nullptr, h0.data(), nullptr, gates.data(), lstm ? cells.data() : nullptr, y.data(), h.data(),
                                                             lstm ? c.data() : nullptr});
                recurrent_backward(s, RecurrentBackward<float>{w.data(), nullptr, nullptr, h0.data(), nullptr, gates.data(), lstm ? cells.data() : nullptr, y.data(), dy.data(), nullptr,
                                                               nullptr, dgates.data(), nullptr, nullptr, nullptr, dh0.data(), lstm ? dc0.data() : nullptr, false, false});
                return std::vector<std::vector<float>>{y, gates, h, c, dgates, dh0, dc0};
            };
            const auto alone = run(1);
            CHECK(alone[0][1] != 0.f);
            for (const int threads : {2, 3}) CHECK(run(threads) == alone);
        }
}
