// Rows of sums of basis matrices against the plain version: odd sizes, several blocks of bases and of elements, threads.
#include "numbers.hpp"

#include <tenon/kernels/cpu/graph/basis.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

using namespace tenon;
using namespace tenon::kernels::cpu;

namespace {

// The largest error, in units of what sums of `terms` numbers of any sign below 1 may be off by, of which at most `chain` are added one
// after the other: each addition rounds a partial sum, which is hardly ever above three roots of its length.
template <class T>
double worst(const std::vector<T>& got, const std::vector<double>& expected, long terms, long chain) {
    const double unit = std::is_same_v<T, double> ? 0x1p-53 : 0x1p-24;
    double w = 0;
    for (std::size_t i = 0; i < got.size(); ++i) w = std::max(w, std::abs(static_cast<double>(got[i]) - expected[i]));
    return w / (unit * static_cast<double>(chain) * 3 * (1 + std::sqrt(static_cast<double>(terms))));
}

// Rows of random lengths, a long one and empty ones among them; numbers in random order.
struct Elements {
    std::vector<std::int32_t> pointers{0}, columns, edges;
    long rows, kinds;
    Elements(long r, long k, long longest, bool ordered, unsigned seed) : rows(r), kinds(k) {
        std::mt19937 random(seed);
        for (long i = 0; i < r; ++i) {
            const long count = i == r / 2 ? longest : static_cast<long>(random() % 5);
            for (long e = 0; e < count; ++e) columns.push_back(static_cast<std::int32_t>(random() % static_cast<unsigned>(k)));
            pointers.push_back(static_cast<std::int32_t>(columns.size()));
        }
        if (ordered) return;
        edges.resize(columns.size());
        for (std::size_t e = 0; e < edges.size(); ++e) edges[e] = static_cast<std::int32_t>(e);
        std::shuffle(edges.begin(), edges.end(), random);
    }
    long count() const { return static_cast<long>(columns.size()); }
    CsrRows view() const { return {rows, kinds, pointers.data(), columns.data(), edges.empty() ? nullptr : edges.data(), count()}; }
};

}  // namespace

TEMPLATE_TEST_CASE("rows of sums of bases and their derivatives agree with the plain ones", "", float, double) {
    using T = TestType;
    for (const long width : {1, 3, 4, 8, 11, 16, 24, 33})
        for (const long bases : {1, 3, 30, 32, 70})
            for (const bool ordered : {true, false}) {
                INFO(width << " wide, " << bases << " bases" << (ordered ? ", in order" : ""));
                const Elements e(37, 6, 300, ordered, 3);
                const auto table = numbers::random<T>(bases * e.rows * width, 1, -1, 1), weight = numbers::random<T>(e.kinds * bases, 2, -1, 1),
                           dy = numbers::random<T>(e.count() * width, 3, -1, 1);
                const BasisProblem<T> p{e.view(), {}, bases, width, table.data(), weight.data()};
                std::vector<T> y(static_cast<std::size_t>(e.count() * width), T(7)), d_table(table.size(), T(7)), d_weight(weight.size(), T(7));
                std::vector<double> y_plain(y.size()), table_plain(table.size()), weight_plain(weight.size());
                reference::basis_rows(p, y_plain.data());
                reference::basis_rows_backward(p, dy.data(), table_plain.data(), weight_plain.data());
                basis_rows(p, y.data());
                CHECK(worst(y, y_plain, bases, 32 + bases / 32) < 1);
                basis_rows_table(p, dy.data(), d_table.data(), false);
                CHECK(worst(d_table, table_plain, 300, 256 + 2) < 1);
                basis_rows_weight(p, dy.data(), d_weight.data(), false);
                CHECK(worst(d_weight, weight_plain, e.count() * width, 300) < 1);
                // Once more, added to what is there.
                basis_rows_table(p, dy.data(), d_table.data(), true);
                basis_rows_weight(p, dy.data(), d_weight.data(), true);
                for (double& x : table_plain) x *= 2;
                for (double& x : weight_plain) x *= 2;
                CHECK(worst(d_table, table_plain, 600, 256 + 3) < 1);
                CHECK(worst(d_weight, weight_plain, 2 * e.count() * width, 300) < 1);
            }
}

TEST_CASE("rows of sums of bases: one thread and two give the same bits, and without elements nothing is left as it was") {
    const Elements e(900, 46, 700, true, 5);
    const long bases = 30, width = 16;
    const auto table = numbers::random<float>(bases * e.rows * width, 1, -1, 1), weight = numbers::random<float>(e.kinds * bases, 2, -1, 1),
               dy = numbers::random<float>(e.count() * width, 3, -1, 1);
    const BasisProblem<float> p{e.view(), {}, bases, width, table.data(), weight.data()};
    const int threads = num_threads();
    std::vector<float> y[2], d_table[2], d_weight[2];
    for (int run = 0; run < 2; ++run) {
        set_num_threads(run + 1);
        y[run].resize(static_cast<std::size_t>(e.count() * width));
        d_table[run].resize(table.size());
        d_weight[run].resize(weight.size());
        basis_rows(p, y[run].data());
        basis_rows_table(p, dy.data(), d_table[run].data(), false);
        basis_rows_weight(p, dy.data(), d_weight[run].data(), false);
    }
    set_num_threads(threads);
    CHECK(numbers::same_bits(y[0], y[1]));
    CHECK(numbers::same_bits(d_table[0], d_table[1]));
    CHECK(numbers::same_bits(d_weight[0], d_weight[1]));

    const std::vector<std::int32_t> none(901, 0);
    const BasisProblem<float> empty{{900, 46, none.data(), nullptr, nullptr, 0}, {}, bases, width, table.data(), weight.data()};
    basis_rows_table(empty, dy.data(), d_table[0].data(), false);
    basis_rows_weight(empty, dy.data(), d_weight[0].data(), false);
    CHECK(std::all_of(d_table[0].begin(), d_table[0].end(), [](float x) { return x == 0; }));
    CHECK(std::all_of(d_weight[0].begin(), d_weight[0].end(), [](float x) { return x == 0; }));
}

TEST_CASE("weights' gradients of very many elements of one kind and one sign keep their digits") {
    const long rows = 60000, each = 10, width = 8;
    std::vector<std::int32_t> pointers, columns(static_cast<std::size_t>(rows * each), 0);
    for (long r = 0; r <= rows; ++r) pointers.push_back(static_cast<std::int32_t>(r * each));
    const auto table = numbers::random<float>(rows * width, 1, 0, 1), dy = numbers::random<float>(rows * each * width, 3, 0, 1);
    const std::vector<float> weight{1};
    const BasisProblem<float> p{{rows, 1, pointers.data(), columns.data(), nullptr, rows * each}, {}, 1, width, table.data(), weight.data()};
    float got = 0;
    double expected = 0;
    std::vector<double> d_table(table.size());
    reference::basis_rows_backward(p, dy.data(), d_table.data(), &expected);
    basis_rows_weight(p, dy.data(), &got, false);
    // 4096 elements add up one after the other; all of them would be off by some 1e-4.
    CHECK(std::abs(static_cast<double>(got) - expected) < 5e-6 * expected);
}
