// The matrix product against its reference, in every mode, and the promise that bits depend on k alone.
#include "matrices.hpp"

#include <tenon/kernels/cpu/gemm/reference.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace cpu = tenon::kernels::cpu;
using matrices::mode, matrices::Operand, matrices::Random, matrices::Threads;

namespace {

template <class T>
double tolerance(long k, bool repeated) {
    const double unit = sizeof(T) == 4 ? 0x1p-24 : 0x1p-53, steps = static_cast<double>(k);
    return unit * (repeated ? steps * steps : steps * 1.5 + 4);
}

// Inputs are in [-1, 1). Roundings of independent terms partly cancel; those of a repeated term (`repeated`) all go the
// same way, where only the worst case holds: k roundings of values up to k.
template <class T>
void check(long m, long n, long k, const Operand<T>& a, const Operand<T>& b, Random& random, const cpu::GemmOptions<T>& options, long gap,
           bool repeated = false) {
    const long ldc = n + gap;
    std::vector<T> c = random.values<T>(m * ldc + 1), expected = c;
    cpu::gemm<T>(m, n, k, a.view, b.view, c.data(), ldc, options);
    cpu::reference::gemm<T>(m, n, k, a.view, b.view, expected.data(), ldc, options);
    double worst = 0;
    bool untouched = true;
    for (long i = 0; i < m; ++i)
        for (long j = 0; j < ldc; ++j) {
            const std::size_t at = static_cast<std::size_t>(i * ldc + j);
            if (j < n) worst = std::fmax(worst, std::fabs(static_cast<double>(c[at]) - static_cast<double>(expected[at])));
            else untouched = untouched && c[at] == expected[at];
        }
    untouched = untouched && c.back() == expected.back();
    INFO("m " << m << " n " << n << " k " << k << " strides a " << a.view.row_stride << "," << a.view.column_stride << " b "
              << b.view.row_stride << "," << b.view.column_stride << " accumulate " << options.accumulate << " bias "
              << (options.bias != nullptr) << " relu " << options.relu << " alpha " << options.alpha);
    REQUIRE(worst <= tolerance<T>(k, repeated));
    REQUIRE(untouched);
}

}  // namespace

TEMPLATE_TEST_CASE("gemm agrees with the reference on every combination of small sizes", "[gemm]", float, double) {
    Random random(1);
    const long sizes[] = {1, 2, 3, 5, 7, 8, 13, 16, 17, 31, 48, 49, 64, 97, 130};
    int number = 0;
    for (long m : sizes)
        for (long n : sizes)
            for (long k : sizes) {
                ++number;
                const Operand<TestType> a(random, m, k, (number & 1) != 0, number % 3), b(random, k, n, (number & 2) != 0, number % 5);
                const auto bias = random.values<TestType>(n);
                check<TestType>(m, n, k, a, b, random, mode<TestType>(number * 7 % 16, bias.data(), -0.75), number % 4);
            }
}

TEMPLATE_TEST_CASE("gemm in every mode and layout, direct and blocked", "[gemm]", float, double) {
    Random random(2);
    const long shapes[][3] = {{1, 37, 70}, {37, 1, 70}, {1, 1, 900}, {5, 23, 800}, {70, 7, 16}, {33, 100, 30}, {150, 140, 420},
                              {301, 10, 500}, {20, 530, 200}, {97, 259, 785}};
    for (const auto& s : shapes)
        for (int layout = 0; layout < 4; ++layout)
            for (int number = 0; number < 16; ++number) {
                const Operand<TestType> a(random, s[0], s[2], (layout & 1) != 0, 1), b(random, s[2], s[1], (layout & 2) != 0, 2);
                const auto bias = random.values<TestType>(s[1]);
                check<TestType>(s[0], s[1], s[2], a, b, random, mode<TestType>(number, bias.data(), -0.75), layout);
            }
}

TEMPLATE_TEST_CASE("gemm reads any strides: gaps in both directions, broadcast rows, columns and scalars", "[gemm]", float, double) {
    Random random(3);
    const long shapes[][3] = {{3, 5, 7}, {40, 30, 20}, {1, 50, 33}, {50, 1, 33}, {120, 130, 140}};
    for (const auto& s : shapes) {
        const long m = s[0], n = s[1], k = s[2];
        const Operand<TestType> a(random, m, k, false, 3, 2), b(random, k, n, true, 1, 3);
        check<TestType>(m, n, k, a, b, random, {}, 0);
        for (int zero = 0; zero < 16; ++zero) {
            Operand<TestType> za(random, m, k, false, 0), zb(random, k, n, false, 0);
            if (zero & 1) za.view.row_stride = 0;
            if (zero & 2) za.view.column_stride = 0;
            if (zero & 4) zb.view.row_stride = 0;
            if (zero & 8) zb.view.column_stride = 0;
            check<TestType>(m, n, k, za, zb, random, {}, 1, true);
        }
    }
}

TEMPLATE_TEST_CASE("gemm with an empty dimension", "[gemm]", float, double) {
    std::vector<TestType> c = {1, 2, 3, -4, 5, 6};
    const auto before = c;
    const TestType bias[] = {1, -20, 3};
    cpu::GemmOptions<TestType> options;
    options.accumulate = true;
    cpu::gemm<TestType>(0, 3, 4, nullptr, 4, nullptr, 3, c.data(), 3);
    cpu::gemm<TestType>(2, 0, 4, nullptr, 4, nullptr, 3, c.data(), 3);
    cpu::gemm<TestType>(2, 3, 0, nullptr, 0, nullptr, 3, c.data(), 3, options);
    CHECK(c == before);
    options.bias = bias;
    options.relu = true;
    cpu::gemm<TestType>(2, 3, 0, nullptr, 0, nullptr, 3, c.data(), 3, options);
    CHECK(c == std::vector<TestType>{2, 0, 6, 0, 0, 9});
    cpu::gemm<TestType>(2, 3, 0, nullptr, 0, nullptr, 3, c.data(), 3);
    CHECK(c == std::vector<TestType>(6, 0));
}

TEMPLATE_TEST_CASE("gemm lets NaN and infinity through, zeros times NaN too", "[gemm]", float, double) {
    const TestType nan = std::numeric_limits<TestType>::quiet_NaN(), inf = std::numeric_limits<TestType>::infinity();
    const long shapes[][3] = {{1, 20, 9}, {20, 1, 9}, {9, 9, 9}, {20, 100, 50}, {130, 150, 200}};
    for (const auto& s : shapes) {
        const long m = s[0], n = s[1], k = s[2];
        std::vector<TestType> a(static_cast<std::size_t>(m * k), 0), b(static_cast<std::size_t>(k * n), 1);
        std::vector<TestType> c(static_cast<std::size_t>(m * n), 7);
        b[static_cast<std::size_t>((k / 2) * n + n - 1)] = nan;
        a[static_cast<std::size_t>((m - 1) * k)] = inf;
        cpu::GemmOptions<TestType> options;
        options.relu = true;
        cpu::gemm<TestType>(m, n, k, a.data(), k, b.data(), n, c.data(), n, options);
        for (long i = 0; i < m; ++i)
            for (long j = 0; j < n; ++j) {
                const TestType x = c[static_cast<std::size_t>(i * n + j)];
                INFO("m " << m << " n " << n << " element " << i << "," << j << " is " << x);
                if (j == n - 1) REQUIRE(std::isnan(x));
                else REQUIRE(x == (i == m - 1 ? inf : TestType(0)));
            }
    }
}

namespace {
struct Cover {
    long n;
    std::vector<int> count;
    static void mark(void* context, long row, long rows, long column, long columns) {
        Cover& self = *static_cast<Cover*>(context);
        for (long i = row; i < row + rows; ++i)
            for (long j = column; j < column + columns; ++j)
                __atomic_add_fetch(&self.count[static_cast<std::size_t>(i * self.n + j)], 1, __ATOMIC_RELAXED);
    }
};
// Reads what the product must have finished: doubles every element of the block.
struct Doubler {
    float* c;
    long ldc;
    static void run(void* context, long row, long rows, long column, long columns) {
        const Doubler& self = *static_cast<Doubler*>(context);
        for (long i = row; i < row + rows; ++i)
            for (long j = column; j < column + columns; ++j) self.c[i * self.ldc + j] *= 2;
    }
};
}  // namespace

TEST_CASE("gemm hands every element of C to the block epilogue once, finished", "[gemm]") {
    Random random(4);
    const long shapes[][3] = {{1, 1, 1}, {1, 300, 20}, {300, 1, 20}, {40, 10, 64}, {3, 7, 0}, {700, 16, 90}, {20, 700, 90},
                              {257, 301, 450}, {90, 2100, 70}, {500, 70, 2000}};
    for (const auto& s : shapes) {
        const long m = s[0], n = s[1], k = s[2];
        Cover cover{n, std::vector<int>(static_cast<std::size_t>(m * n), 0)};
        const auto a = random.values<float>(m * k + 1), b = random.values<float>(k * n + 1);
        std::vector<float> c(static_cast<std::size_t>(m * n)), plain = c;
        cpu::GemmOptions<float> options;
        options.epilogue = {&Cover::mark, &cover};
        cpu::gemm(m, n, k, a.data(), k, b.data(), n, c.data(), n, options);
        INFO("m " << m << " n " << n << " k " << k);
        CHECK(cover.count == std::vector<int>(static_cast<std::size_t>(m * n), 1));
        Doubler doubler{c.data(), n};
        options.epilogue = {&Doubler::run, &doubler};
        cpu::gemm(m, n, k, a.data(), k, b.data(), n, c.data(), n, options);
        cpu::gemm(m, n, k, a.data(), k, b.data(), n, plain.data(), n);
        for (float& x : plain) x *= 2;
        CHECK(c == plain);
    }
}

namespace {
template <class T>
bool same_bits(const T* a, const T* b, long n) { return std::memcmp(a, b, static_cast<std::size_t>(n) * sizeof(T)) == 0; }
}  // namespace

TEMPLATE_TEST_CASE("the bits of an element depend on k alone", "[gemm]", float, double) {
    Random random(5);
    const long shapes[][3] = {{70, 90, 33}, {150, 200, 900}, {33, 10, 800}, {9, 1000, 1200}, {260, 330, 257}, {1, 200, 900}, {200, 1, 900}};
    for (const auto& s : shapes)
        for (int number : {0, 15}) {
            const long m = s[0], n = s[1], k = s[2];
            const Operand<TestType> a(random, m, k, false, 0), b(random, k, n, false, 0);
            const auto bias = random.values<TestType>(n), start = random.values<TestType>(m * n);
            const auto options = mode<TestType>(number, bias.data(), -0.75);
            INFO("m " << m << " n " << n << " k " << k << " mode " << number);
            auto whole = start;
            {
                Threads one(1);
                cpu::gemm<TestType>(m, n, k, a.view, b.view, whole.data(), n, options);
            }
            for (int threads : {2, 3}) {
                Threads several(threads);
                auto again = start;
                cpu::gemm<TestType>(m, n, k, a.view, b.view, again.data(), n, options);
                REQUIRE(again == whole);
            }
            // Sub-products of many sizes.
            for (int trial = 0; trial < 24; ++trial) {
                const long i0 = random.below(m), j0 = random.below(n);
                const long rows = trial % 4 == 0 ? 1 : 1 + random.below(m - i0), columns = trial % 4 == 1 ? 1 : 1 + random.below(n - j0);
                auto part = start;
                auto sliced = options;
                if (sliced.bias != nullptr) sliced.bias += j0;
                cpu::gemm<TestType>(rows, columns, k, {a.view.data + i0 * k, k, 1}, {b.view.data + j0, n, 1},
                                    part.data() + i0 * n + j0, n, sliced);
                for (long i = i0; i < i0 + rows; ++i) {
                    INFO("rows " << i0 << "+" << rows << " columns " << j0 << "+" << columns);
                    REQUIRE(same_bits(&part[static_cast<std::size_t>(i * n + j0)], &whole[static_cast<std::size_t>(i * n + j0)], columns));
                }
            }
            // Transposed copies of the operands, in all four layouts.
            std::vector<TestType> at(static_cast<std::size_t>(m * k)), bt(static_cast<std::size_t>(k * n));
            for (long i = 0; i < m; ++i)
                for (long l = 0; l < k; ++l) at[static_cast<std::size_t>(l * m + i)] = a.memory[static_cast<std::size_t>(i * k + l)];
            for (long l = 0; l < k; ++l)
                for (long j = 0; j < n; ++j) bt[static_cast<std::size_t>(j * k + l)] = b.memory[static_cast<std::size_t>(l * n + j)];
            const cpu::MatrixView<TestType> ta{at.data(), 1, m}, tb{bt.data(), 1, k};
            for (int layout = 1; layout < 4; ++layout) {
                auto again = start;
                cpu::gemm<TestType>(m, n, k, (layout & 1) != 0 ? ta : a.view, (layout & 2) != 0 ? tb : b.view, again.data(), n, options);
                REQUIRE(again == whole);
                auto row = start;
                cpu::gemm<TestType>(1, n, k, (layout & 1) != 0 ? ta : a.view, (layout & 2) != 0 ? tb : b.view, row.data(), n, options);
                REQUIRE(same_bits(row.data(), whole.data(), n));
            }
        }
}

TEMPLATE_TEST_CASE("a batch is its products, bit for bit, whatever is shared", "[gemm]", float, double) {
    Random random(6);
    const long shapes[][4] = {{1, 5, 6, 7}, {300, 1, 32, 5}, {17, 20, 30, 40}, {64, 1, 1, 9}, {3, 200, 210, 390}, {12, 64, 64, 64}, {40, 6, 5, 0}};
    for (const auto& s : shapes)
        for (int shared = 0; shared < 4; ++shared) {
            const long batch = s[0], m = s[1], n = s[2], k = s[3];
            const auto a = random.values<TestType>(batch * m * k + 1), b = random.values<TestType>(batch * k * n + 1);
            const auto start = random.values<TestType>(batch * m * n), bias = random.values<TestType>(n);
            const long a_stride = (shared & 1) != 0 ? 0 : m * k, b_stride = (shared & 2) != 0 ? 0 : k * n;
            auto together = start, single = start;
            auto options = mode<TestType>(shared * 5, bias.data(), -0.75);
            for (long p = 0; p < batch; ++p)
                cpu::gemm<TestType>(m, n, k, {a.data() + p * a_stride, k, 1}, {b.data() + p * b_stride, n, 1}, single.data() + p * m * n, n, options);
            Cover cover{n, std::vector<int>(static_cast<std::size_t>(batch * m * n), 0)};
            options.epilogue = {&Cover::mark, &cover};
            cpu::gemm_batched<TestType>(batch, m, n, k, {a.data(), k, 1}, a_stride, {b.data(), n, 1}, b_stride, together.data(), n, m * n, options);
            INFO("batch " << batch << " m " << m << " n " << n << " k " << k << " shared " << shared);
            CHECK(together == single);
            CHECK(cover.count == std::vector<int>(static_cast<std::size_t>(batch * m * n), 1));
        }
}

TEST_CASE("gemm inside tasks and inside its own epilogue", "[gemm]") {
    Random random(7);
    const auto a = random.values<float>(200 * 200), b = random.values<float>(200 * 200);
    std::vector<float> expected(200 * 200), c(4 * 200 * 200);
    cpu::gemm(200, 200, 200, a.data(), 200, b.data(), 200, expected.data(), 200);
    tenon::parallel_for(4, [&](long t) { cpu::gemm(200, 200, 200, a.data(), 200, b.data(), 200, c.data() + t * 40000, 200); });
    for (long t = 0; t < 4; ++t) CHECK(same_bits(c.data() + t * 40000, expected.data(), 40000));
    struct Inner {
        const float *a, *b;
        static void run(void* context, long, long, long, long) {
            const Inner& self = *static_cast<Inner*>(context);
            std::vector<float> d(100 * 130);
            cpu::gemm(100, 130, 200, self.a, 200, self.b, 200, d.data(), 130);
        }
    } inner{b.data(), a.data()};
    cpu::GemmOptions<float> options;
    options.epilogue = {&Inner::run, &inner};
    std::vector<float> outer(200 * 200);
    cpu::gemm(200, 200, 200, a.data(), 200, b.data(), 200, outer.data(), 200, options);
    CHECK(outer == expected);
}
