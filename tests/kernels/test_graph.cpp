// Kernels over the rows of sparse matrices against their plain versions.
#include <tenon/kernels/cpu/graph/attention.hpp>
#include <tenon/kernels/cpu/graph/extreme.hpp>
#include <tenon/kernels/cpu/graph/sddmm.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

using namespace tenon;
using namespace tenon::kernels::cpu;

namespace {

struct Matrix {
    std::vector<std::int32_t> pointers, columns, edges;
    long rows, width;

    // Rows of random lengths, a long one and empty ones among them; numbers in random order.
    Matrix(long r, long w, long longest, unsigned seed, bool ordered = false) : pointers(1, 0), rows(r), width(w) {
        std::mt19937 random(seed);
        for (long i = 0; i < r; ++i) {
            const long count = i == r / 2 ? longest : static_cast<long>(random() % 7) - 1;
            for (long k = 0; k < count; ++k) columns.push_back(static_cast<std::int32_t>(random() % static_cast<unsigned>(w)));
            pointers.push_back(static_cast<std::int32_t>(columns.size()));
        }
        edges.resize(columns.size());
        for (std::size_t k = 0; k < edges.size(); ++k) edges[k] = static_cast<std::int32_t>(k);
        if (!ordered)
            for (std::size_t k = edges.size(); k > 1; --k) std::swap(edges[k - 1], edges[random() % k]);
        is_ordered = ordered;
    }
    CsrRows view() const { return {rows, width, pointers.data(), columns.data(), is_ordered ? nullptr : edges.data(), count()}; }
    long count() const { return static_cast<long>(columns.size()); }
    bool is_ordered;
};

template <class T>
std::vector<T> numbers(long count, unsigned seed) {
    std::mt19937 random(seed);
    std::vector<T> v(static_cast<std::size_t>(count));
    for (T& x : v) x = static_cast<T>(static_cast<float>(random() % 2001) / 1000 - 1);
    return v;
}
template <class T>
void check(const std::vector<T>& got, const std::vector<double>& expected, double bound) {
    REQUIRE(got.size() == expected.size());
    double worst = 0;
    for (std::size_t i = 0; i < got.size(); ++i) worst = std::max(worst, std::abs(static_cast<double>(got[i]) - expected[i]) / (1 + std::abs(expected[i])));
    CHECK(worst <= bound);
}
template <class T> constexpr double bound = std::is_same_v<T, double> ? 1e-13 : std::is_same_v<T, float> ? 1e-5 : 0x1p-7;

struct Size { long heads, width; };
const Size sizes[] = {{1, 1}, {1, 7}, {1, 16}, {1, 33}, {1, 64}, {1, 131}, {8, 8}, {3, 5}, {2, 16}, {4, 24}};

}  // namespace

TEMPLATE_TEST_CASE("weighted sums of rows agree with the plain ones", "", float, double, bf16) {
    using T = TestType;
    for (const Size size : sizes)
        for (const bool ordered : {true, false})
            for (const bool weighted : {true, false})
                for (const bool mean : {true, false}) {
                    INFO(size.heads << " x " << size.width << (ordered ? " ordered" : "") << (weighted ? " weighted" : "") << (mean ? " mean" : ""));
                    const Matrix a(23, 17, 700, 5, ordered);
                    const long row = size.heads * size.width;
                    const auto x = numbers<T>(a.width * row, 1), w = numbers<T>(a.count() * size.heads, 2);
                    std::vector<T> y(static_cast<std::size_t>(a.rows * row), T(77.f));
                    SpmmProblem<T> p{a.view(), weighted ? w.data() : nullptr, size.heads, size.width, x.data(), nullptr, mean, y.data(), false};
                    spmm(p);
                    std::vector<double> expected(y.size());
                    reference::spmm(p, Chosen::all, expected.data());
                    check(y, expected, bound<T>);
                    p.accumulate = true;
                    spmm(p);
                    for (double& e : expected) e *= 2;
                    check(y, expected, 2 * bound<T>);
                }
}

// Whether the extremes in y are there bit by bit where nobody asks for their elements.
template <bool Max, class T>
bool without_names(const SpmmProblem<T>& given) {
    std::vector<T> y(static_cast<std::size_t>(given.a.rows * given.heads * given.width), T(55));
    SpmmProblem<T> p = given;
    p.y = y.data();
    spmm_extreme<Max>(p, nullptr);
    return std::memcmp(y.data(), given.y, y.size() * sizeof(T)) == 0;
}

TEMPLATE_TEST_CASE("extremes of rows and what is chosen agree with the plain ones", "", float, double) {
    using T = TestType;
    for (const Size size : sizes)
        for (const bool weighted : {true, false}) {
            INFO(size.heads << " x " << size.width << (weighted ? " weighted" : ""));
            const Matrix a(23, 17, 300, 6);
            const long row = size.heads * size.width;
            auto x = numbers<T>(a.width * row, 1);
            const auto w = numbers<T>(a.count() * size.heads, 2);
            x[3] = static_cast<T>(NAN);
            x[static_cast<std::size_t>(row)] = static_cast<T>(-HUGE_VAL);
            std::vector<T> y(static_cast<std::size_t>(a.rows * row), T(77));
            std::vector<std::int32_t> at(y.size()), expected_at(y.size());
            SpmmProblem<T> p{a.view(), weighted ? w.data() : nullptr, size.heads, size.width, x.data(), nullptr, false, y.data(), false};
            spmm_extreme<true>(p, at.data());
            reference::spmm_extreme<true>(p, expected_at.data());
            CHECK(at == expected_at);
            CHECK(without_names<true>(p));
            spmm_extreme<false>(p, at.data());
            reference::spmm_extreme<false>(p, expected_at.data());
            CHECK(at == expected_at);
            CHECK(without_names<false>(p));

            const auto clean = numbers<T>(a.width * row, 4);
            p.x = clean.data();
            p.chosen = at.data();
            std::vector<double> expected(y.size());
            spmm<Chosen::by_row>(p);
            reference::spmm(p, Chosen::by_row, expected.data());
            check(y, expected, bound<T>);

            const auto u = numbers<T>(a.rows * row, 7);
            std::vector<T> to(static_cast<std::size_t>(a.count() * size.heads), T(5));
            const SddmmProblem<T> s{a.view(), size.heads, size.width, u.data(), clean.data(), at.data(), to.data(), false};
            sddmm(s);
            std::vector<double> dots(to.size());
            reference::sddmm(s, dots.data());
            check(to, dots, 4 * bound<T>);

            // The transpose, with the table of what is chosen on its columns.
            Matrix t(17, 23, 250, 8);
            SpmmProblem<T> q{t.view(), weighted ? w.data() : nullptr, size.heads, size.width, u.data(), at.data(), false, nullptr, false};
            const auto more = numbers<T>(t.count() * size.heads, 3);
            if (weighted) q.weight = more.data();
            std::vector<T> back(static_cast<std::size_t>(t.rows * row));
            q.y = back.data();
            spmm<Chosen::by_column>(q);
            std::vector<double> expected_back(back.size());
            reference::spmm(q, Chosen::by_column, expected_back.data());
            check(back, expected_back, bound<T>);
        }
}

TEMPLATE_TEST_CASE("sampled products agree with the plain ones", "", float, double, bf16) {
    using T = TestType;
    for (const Size size : sizes) {
        INFO(size.heads << " x " << size.width);
        const Matrix a(23, 17, 100, 9);
        const long row = size.heads * size.width;
        const auto u = numbers<T>(a.rows * row, 1), v = numbers<T>(a.width * row, 2);
        std::vector<T> to(static_cast<std::size_t>(a.count() * size.heads), T(1.f));
        SddmmProblem<T> p{a.view(), size.heads, size.width, u.data(), v.data(), nullptr, to.data(), true};
        sddmm(p);
        std::vector<double> expected(to.size());
        reference::sddmm(p, expected.data());
        for (double& e : expected) e += 1;
        check(to, expected, 4 * bound<T>);
    }
}

// Rows by column.
Matrix transposed(const Matrix& a) {
    Matrix t = a;
    t.rows = a.width, t.width = a.rows;
    t.pointers.assign(1, 0);
    t.columns.clear(), t.edges.clear();
    t.is_ordered = false;
    for (long c = 0; c < a.width; ++c) {
        for (long r = 0; r < a.rows; ++r)
            for (long k = a.pointers[static_cast<std::size_t>(r)]; k < a.pointers[static_cast<std::size_t>(r) + 1]; ++k)
                if (a.columns[static_cast<std::size_t>(k)] == c) {
                    t.columns.push_back(static_cast<std::int32_t>(r));
                    t.edges.push_back(a.edges[static_cast<std::size_t>(k)]);
                }
        t.pointers.push_back(static_cast<std::int32_t>(t.columns.size()));
    }
    return t;
}

TEMPLATE_TEST_CASE("attention to neighbours and its derivatives agree with the plain ones", "", float, double) {
    using T = TestType;
    const Size heads_and_widths[] = {{1, 1}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, {2, 3}, {3, 17}, {8, 8}, {16, 2}, {8, 4}, {8, 2}, {4, 4}, {4, 2}, {4, 1}, {2, 2}, {2, 1}, {8, 1}, {9, 1}, {8, 12}, {4, 32}, {8, 0}, {1, 0}};
    for (const Size size : heads_and_widths)
        for (const bool with_edges : {true, false})
            for (const bool drops : {true, false})
                for (const long longest : {90, 700}) {
                    INFO(size.heads << " x " << size.width << ", " << longest);
                    // Turned: the long row is a source's.
                    const Matrix straight(23, 17, longest, 12), a = longest > 100 ? transposed(straight) : straight, b = transposed(a);
                    const long row = size.heads * size.width;
                    const auto h = numbers<T>(a.width * row, 1), s = numbers<T>(a.width * size.heads, 2), t = numbers<T>(a.rows * size.heads, 3),
                               e = numbers<T>(a.count() * size.heads, 4), dy = numbers<T>(a.rows * row, 5);
                    const std::unique_ptr<bool[]> kept(new bool[e.size()]);
                    for (std::size_t i = 0; i < e.size(); ++i) kept[i] = e[i] > T(-0.3);
                    std::vector<T> top(t.size()), norm(t.size());
                    NeighbourAttention<T> p;
                    p.a = a.view();
                    p.heads = size.heads, p.width = size.width;
                    p.h = h.data(), p.source = s.data(), p.target = t.data(), p.edge = with_edges ? e.data() : nullptr;
                    p.kept = drops ? kept.get() : nullptr;
                    p.keep_scale = T(2);
                    p.top = top.data(), p.norm = norm.data();
                    std::vector<T> y(static_cast<std::size_t>(a.rows * row), T(3));
                    neighbour_attention(p, y.data());
                    std::vector<double> expected(y.size());
                    reference::neighbour_attention(p, expected.data());
                    check(y, expected, bound<T>);

                    std::vector<T> dh(h.size(), T(1)), ds(s.size(), T(1)), dt(t.size(), T(2)), de(e.size(), T(2)), scores(e.size());
                    neighbour_attention_backward(p, b.view(), y.data(), dy.data(), dh.data(), true, ds.data(), true, dt.data(), false, de.data(), false, scores.data());
                    std::vector<double> h_expected(dh.size()), s_expected(ds.size(), 1), t_expected(dt.size()), e_expected(de.size());
                    reference::neighbour_attention_backward(p, dy.data(), h_expected.data(), e_expected.data());
                    for (long r = 0; r < a.rows; ++r)
                        for (long k = p.a.begin(r); k < p.a.end(r); ++k)
                            for (long q = 0; q < size.heads; ++q) {
                                const double d = e_expected[static_cast<std::size_t>(p.a.edge(k) * size.heads + q)];
                                s_expected[static_cast<std::size_t>(p.a.columns[k] * size.heads + q)] += d;
                                t_expected[static_cast<std::size_t>(r * size.heads + q)] += d;
                            }
                    for (double& x : h_expected) x += 1;
                    check(de, e_expected, 4 * bound<T>);
                    check(dh, h_expected, 4 * bound<T>);
                    check(ds, s_expected, 4 * bound<T>);
                    check(dt, t_expected, 4 * bound<T>);

                    std::vector<T> again(h.size(), T(7));
                    T* const none = nullptr;
                    neighbour_attention_backward(p, b.view(), y.data(), dy.data(), again.data(), false, none, false, none, false, none, false, scores.data());
                    for (double& x : h_expected) x -= 1;
                    check(again, h_expected, 4 * bound<T>);

                    // With what forward may keep, and no room for scores of edges.
                    std::vector<T> bent(y.size(), T(9)), slopes(t.size(), T(9));
                    p.bent = bent.data(), p.slopes = slopes.data();
                    y.assign(y.size(), T(4));
                    neighbour_attention(p, y.data());
                    check(y, expected, bound<T>);
                    ds.assign(ds.size(), T(1)), dt.assign(dt.size(), T(5));
                    neighbour_attention_backward(p, b.view(), y.data(), dy.data(), again.data(), false, ds.data(), true, dt.data(), true, none, false, none);
                    for (double& x : t_expected) x += 5;
                    check(again, h_expected, 4 * bound<T>);
                    check(ds, s_expected, 4 * bound<T>);
                    if (size.width > 0) check(dt, t_expected, 4 * bound<T>);
                }
}

TEST_CASE("sums over rows do not depend on threads") {
    const Matrix a(3000, 500, 20000, 10);
    const auto x = numbers<float>(a.width * 40, 1), w = numbers<float>(a.count(), 2);
    std::vector<float> one(static_cast<std::size_t>(a.rows * 40)), two(one.size());
    SpmmProblem<float> p{a.view(), w.data(), 1, 40, x.data(), nullptr, false, one.data(), false};
    const int threads = num_threads();
    set_num_threads(1);
    spmm(p);
    set_num_threads(2);
    p.y = two.data();
    spmm(p);
    set_num_threads(threads);
    CHECK(one == two);
}
