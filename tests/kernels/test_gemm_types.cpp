// Products of bf16, half and bytes, bit for bit against plain loops; instructions against their plain twins.
#include "matrices.hpp"

#include <tenon/kernels/cpu/gemm_half.hpp>
#include <tenon/kernels/cpu/gemm_int8.hpp>
#include <tenon/kernels/cpu/gemm_types/half.hpp>
#include <tenon/kernels/cpu/gemm_types/int8.hpp>
#include <tenon/kernels/cpu/gemm_types/reference.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

namespace cpu = tenon::kernels::cpu;
using matrices::mode, matrices::Operand, matrices::Random, matrices::Threads;
using tenon::bf16;
using tenon::half;
using std::int32_t;
using std::int8_t;
using std::uint8_t;

namespace {

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) { return std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0; }

// A NaN is a NaN, whatever its bits.
template <class T>
bool same_values(const std::vector<T>& a, const std::vector<T>& b) {
    for (std::size_t i = 0; i < a.size(); ++i) {
        const float x = static_cast<float>(a[i]), y = static_cast<float>(b[i]);
        if (!(x == y && std::signbit(x) == std::signbit(y)) && !(std::isnan(x) && std::isnan(y))) return false;
    }
    return true;
}

// The plain loops take minutes over the larger shapes under a sanitizer, which looks at addresses: one mode of four shows them.
bool too_slow([[maybe_unused]] double products, [[maybe_unused]] int number) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return products > 1e5 && number % 4 != 0;
#else
    return false;
#endif
}

template <class T, class Out>
void check_half(Random& random, long m, long n, long k, const Operand<T>& a, const Operand<T>& b, int number, long gap) {
    if (too_slow(static_cast<double>(m * n * k), number)) return;
    const auto bias = random.values<Out>(n);
    auto c = random.values<Out>(m * (n + gap) + 1), expected = c;
    const auto options = mode<Out>(number, bias.data(), -0.7);
    cpu::gemm_half<T, Out>(m, n, k, a.view, b.view, c.data(), n + gap, options);
    cpu::reference::gemm_half<T, Out>(m, n, k, a.view, b.view, expected.data(), n + gap, options, false);
    INFO("m " << m << " n " << n << " k " << k << " strides a " << a.view.row_stride << "," << a.view.column_stride << " b " << b.view.row_stride << ","
              << b.view.column_stride << " mode " << number);
    REQUIRE(same_bits(c, expected));
}

template <class T>
cpu::PerLane<T> lanes_of(const std::vector<T>& values, bool each) { return {values.data(), each ? 1 : 0}; }

// Bit k of `number` switches part k of the options on.
template <class Out>
cpu::Int8Options<Out> int8_mode(int number, const std::vector<int32_t>& zeros, const std::vector<float>& scales, const Out* bias) {
    cpu::Int8Options<Out> options;
    options.accumulate = (number & 1) != 0;
    options.bias = (number & 2) != 0 ? bias : nullptr;
    options.relu = (number & 4) != 0;
    if ((number & 8) != 0) options.a_zero = lanes_of(zeros, (number & 1) != 0);
    if ((number & 16) != 0) options.b_zero = lanes_of(zeros, (number & 2) != 0);
    if constexpr (std::is_same_v<Out, float>) {
        if ((number & 32) != 0) options.a_scale = lanes_of(scales, (number & 4) != 0);
        if ((number & 64) != 0) options.b_scale = lanes_of(scales, (number & 8) != 0);
    }
    return options;
}

template <class T, class Out>
void check_int8(Random& random, long m, long n, long k, const Operand<T>& a, const Operand<int8_t>& b, int number, long gap) {
    if (too_slow(static_cast<double>(m * n * k), number)) return;
    std::vector<int32_t> zeros(static_cast<std::size_t>(m > n ? m : n));
    for (int32_t& z : zeros) z = static_cast<int32_t>(random.below(256)) - 128;
    const auto scales = random.values<float>(m > n ? m : n);
    const auto bias = random.values<Out>(n);
    auto c = random.values<Out>(m * (n + gap) + 1), expected = c;
    const auto options = int8_mode<Out>(number, zeros, scales, bias.data());
    cpu::gemm_int8<T, Out>(m, n, k, a.view, b.view, c.data(), n + gap, options);
    cpu::reference::gemm_int8<T, Out>(m, n, k, a.view, b.view, expected.data(), n + gap, options);
    INFO("m " << m << " n " << n << " k " << k << " strides a " << a.view.row_stride << "," << a.view.column_stride << " b " << b.view.row_stride << ","
              << b.view.column_stride << " mode " << number);
    REQUIRE(same_bits(c, expected));
}

const long some_shapes[][3] = {{1, 37, 70}, {37, 1, 70}, {1, 1, 900}, {5, 23, 800}, {70, 7, 16}, {33, 100, 30}, {150, 140, 420}, {60, 300, 77},
                               {301, 10, 513}, {20, 530, 201}, {97, 99, 1031}, {64, 64, 2100}};

}  // namespace

TEMPLATE_TEST_CASE("16-bit products are those of plain loops, bit for bit, for every combination of small sizes", "[gemm]", bf16, half) {
    Random random(1);
    const long sizes[] = {1, 2, 3, 7, 8, 17, 33, 49, 67};
    int number = 0;
    for (long m : sizes)
        for (long n : sizes)
            for (long k : sizes) {
                ++number;
                const Operand<TestType> a(random, m, k, (number & 1) != 0, number % 3), b(random, k, n, (number & 2) != 0, number % 5);
                check_half<TestType, TestType>(random, m, n, k, a, b, number * 7 % 16, number % 4);
                check_half<TestType, float>(random, m, n, k, a, b, number * 11 % 16, number % 3);
            }
}

TEMPLATE_TEST_CASE("16-bit products in every mode and layout", "[gemm]", bf16, half) {
    Random random(2);
    for (const auto& s : some_shapes)
        for (int layout = 0; layout < 4; ++layout) {
            const Operand<TestType> a(random, s[0], s[2], (layout & 1) != 0, 1), b(random, s[2], s[1], (layout & 2) != 0, 2);
            for (int number = layout; number < 16; number += 5) {
                check_half<TestType, TestType>(random, s[0], s[1], s[2], a, b, number, layout);
                check_half<TestType, float>(random, s[0], s[1], s[2], a, b, 15 - number, 0);
            }
        }
    const Operand<TestType> a(random, 40, 30, false, 3, 2), b(random, 30, 20, true, 1, 3);
    check_half<TestType, TestType>(random, 40, 20, 30, a, b, 15, 1);
}

TEMPLATE_TEST_CASE("16-bit products with broadcast operands", "[gemm]", bf16, half) {
    Random random(3);
    const long shapes[][3] = {{3, 5, 7}, {40, 30, 20}, {1, 50, 33}, {120, 130, 140}};
    for (const auto& s : shapes)
        for (int zero = 0; zero < 16; ++zero) {
            Operand<TestType> a(random, s[0], s[2], false, 0), b(random, s[2], s[1], false, 0);
            if (zero & 1) a.view.row_stride = 0;
            if (zero & 2) a.view.column_stride = 0;
            if (zero & 4) b.view.row_stride = 0;
            if (zero & 8) b.view.column_stride = 0;
            check_half<TestType, float>(random, s[0], s[1], s[2], a, b, 0, 1);
        }
}

TEMPLATE_TEST_CASE("a 16-bit result is the rounded float result", "[gemm]", bf16, half) {
    Random random(4);
    for (const auto& s : some_shapes) {
        const long m = s[0], n = s[1], k = s[2];
        const Operand<TestType> a(random, m, k, false, 0), b(random, k, n, false, 0);
        std::vector<TestType> c(static_cast<std::size_t>(m * n));
        std::vector<float> wide(c.size());
        cpu::gemm_half<TestType, TestType>(m, n, k, a.view, b.view, c.data(), n);
        cpu::gemm_half<TestType, float>(m, n, k, a.view, b.view, wide.data(), n);
        for (std::size_t i = 0; i < c.size(); ++i) REQUIRE(c[i].bits == TestType(wide[i]).bits);
        double worst = 0;
        for (long i = 0; i < m; ++i)
            for (long j = 0; j < n; ++j) {
                double sum = 0;
                for (long l = 0; l < k; ++l)
                    sum += double(float(a.view.data[i * a.view.row_stride + l])) * double(float(b.view.data[l * b.view.row_stride + j]));
                worst = std::fmax(worst, std::fabs(sum - double(wide[static_cast<std::size_t>(i * n + j)])));
            }
        // Products are exact: one rounding for each step, of a sum below k.
        CHECK(worst <= 0x1p-24 * double(k) * 1.5 + 0x1p-22);
    }
}

TEMPLATE_TEST_CASE("16-bit products of nothing", "[gemm]", bf16, half) {
    std::vector<TestType> c = {TestType(1.f), TestType(2.f), TestType(3.f), TestType(-4.f), TestType(5.f), TestType(6.f)};
    const auto before = c;
    const TestType bias[] = {TestType(1.f), TestType(-20.f), TestType(3.f)};
    cpu::GemmOptions<TestType> options;
    options.accumulate = true;
    cpu::gemm<TestType>(0, 3, 4, nullptr, 4, nullptr, 3, c.data(), 3);
    cpu::gemm<TestType>(2, 0, 4, nullptr, 4, nullptr, 3, c.data(), 3);
    cpu::gemm<TestType>(2, 3, 0, nullptr, 0, nullptr, 3, c.data(), 3, options);
    CHECK(same_bits(c, before));
    options.bias = bias;
    options.relu = true;
    cpu::gemm<TestType>(2, 3, 0, nullptr, 0, nullptr, 3, c.data(), 3, options);
    CHECK(same_bits(c, {TestType(2.f), TestType(0.f), TestType(6.f), TestType(0.f), TestType(0.f), TestType(9.f)}));
    cpu::gemm<TestType>(2, 3, 0, nullptr, 0, nullptr, 3, c.data(), 3);
    CHECK(same_bits(c, std::vector<TestType>(6, TestType(0.f))));
}

TEMPLATE_TEST_CASE("16-bit products let NaN and infinity through, zeros times NaN too, and round to infinity", "[gemm]", bf16, half) {
    const TestType nan(std::numeric_limits<float>::quiet_NaN()), inf(std::numeric_limits<float>::infinity());
    const long shapes[][3] = {{1, 20, 9}, {20, 1, 9}, {9, 9, 9}, {20, 100, 50}, {130, 150, 600}};
    for (const auto& s : shapes) {
        const long m = s[0], n = s[1], k = s[2];
        std::vector<TestType> a(static_cast<std::size_t>(m * k), TestType(0.f)), b(static_cast<std::size_t>(k * n), TestType(1.f));
        std::vector<TestType> c(static_cast<std::size_t>(m * n), TestType(7.f));
        b[static_cast<std::size_t>((k / 2) * n + n - 1)] = nan;
        a[static_cast<std::size_t>((m - 1) * k)] = inf;
        cpu::GemmOptions<TestType> options;
        options.relu = true;
        cpu::gemm<TestType>(m, n, k, a.data(), k, b.data(), n, c.data(), n, options);
        for (long i = 0; i < m; ++i)
            for (long j = 0; j < n; ++j) {
                const float x = c[static_cast<std::size_t>(i * n + j)];
                INFO("m " << m << " n " << n << " element " << i << "," << j << " is " << x);
                if (j == n - 1) REQUIRE(std::isnan(x));
                else REQUIRE(x == (i == m - 1 ? std::numeric_limits<float>::infinity() : 0.0f));
            }
    }
    // The largest values: the sum is finite in float and rounds to infinity in half.
    const TestType most(std::is_same_v<TestType, half> ? 65504.0f : 1.0e30f), one(1.0f);
    std::vector<TestType> a(20, most), b(20, one);
    float wide = 0;
    TestType narrow(0.f);
    cpu::gemm_half<TestType, float>(1, 1, 20, {a.data(), 20, 1}, {b.data(), 1, 1}, &wide, 1);
    cpu::gemm_half<TestType, TestType>(1, 1, 20, {a.data(), 20, 1}, {b.data(), 1, 1}, &narrow, 1);
    CHECK(std::isfinite(wide));
    CHECK(std::isinf(float(narrow)) == std::is_same_v<TestType, half>);
}

TEST_CASE("half's subnormals count", "[gemm]") {
    Random random(5);
    std::vector<half> a(60), b(60);
    for (half& x : a) x.bits = static_cast<std::uint16_t>(random.below(1024));
    for (half& x : b) x = half(static_cast<float>(random.below(2000)));
    for (long n : {1L, 6L, 30L}) {
        const long k = 60 / n, m = 60 / k;
        std::vector<float> c(static_cast<std::size_t>(m * n)), expected = c;
        cpu::gemm_half<half, float>(m, n, k, {a.data(), k, 1}, {b.data(), n, 1}, c.data(), n);
        cpu::reference::gemm_half<half, float>(m, n, k, {a.data(), k, 1}, {b.data(), n, 1}, expected.data(), n, cpu::GemmOptions<float>{}, false);
        CHECK(same_bits(c, expected));
        CHECK(c[0] > 0);
    }
}

TEMPLATE_TEST_CASE("the bits of an element of a 16-bit product depend on k alone", "[gemm]", bf16, half) {
    Random random(6);
    const long shapes[][3] = {{70, 90, 33}, {150, 200, 900}, {33, 10, 800}, {9, 1000, 1200}, {1, 200, 900}, {200, 1, 900}};
    for (const auto& s : shapes)
        for (int number : {0, 15}) {
            const long m = s[0], n = s[1], k = s[2];
            const Operand<TestType> a(random, m, k, false, 0), b(random, k, n, false, 0);
            const auto bias = random.values<TestType>(n), start = random.values<TestType>(m * n);
            const auto options = mode<TestType>(number, bias.data(), -0.7);
            auto whole = start;
            {
                Threads one(1);
                cpu::gemm<TestType>(m, n, k, a.view, b.view, whole.data(), n, options);
            }
            for (int threads : {2, 3}) {
                Threads several(threads);
                auto again = start;
                cpu::gemm<TestType>(m, n, k, a.view, b.view, again.data(), n, options);
                REQUIRE(same_bits(again, whole));
            }
            for (int trial = 0; trial < 24; ++trial) {
                const long i0 = random.below(m), j0 = random.below(n);
                const long rows = trial % 4 == 0 ? 1 : 1 + random.below(m - i0), columns = trial % 4 == 1 ? 1 : 1 + random.below(n - j0);
                auto part = start;
                auto sliced = options;
                if (sliced.bias != nullptr) sliced.bias += j0;
                cpu::gemm<TestType>(rows, columns, k, {a.view.data + i0 * k, k, 1}, {b.view.data + j0, n, 1}, part.data() + i0 * n + j0, n, sliced);
                for (long i = 0; i < m; ++i)
                    for (long j = 0; j < n; ++j) {
                        const bool inside = i >= i0 && i < i0 + rows && j >= j0 && j < j0 + columns;
                        const std::size_t at = static_cast<std::size_t>(i * n + j);
                        if (part[at].bits != (inside ? whole : start)[at].bits) FAIL("m " << m << " n " << n << " k " << k << " element " << i << "," << j);
                    }
            }
        }
}

TEMPLATE_TEST_CASE("a batch of 16-bit products is its products", "[gemm]", bf16, half) {
    Random random(7);
    const long shapes[][4] = {{1, 5, 6, 7}, {300, 1, 32, 5}, {17, 20, 30, 40}, {3, 200, 210, 390}, {12, 64, 64, 64}, {40, 6, 5, 0}};
    for (const auto& s : shapes)
        for (int shared = 0; shared < 4; ++shared) {
            const long batch = s[0], m = s[1], n = s[2], k = s[3];
            const auto a = random.values<TestType>(batch * m * k + 1), b = random.values<TestType>(batch * k * n + 1);
            const auto start = random.values<TestType>(batch * m * n), bias = random.values<TestType>(n);
            const long a_stride = (shared & 1) != 0 ? 0 : m * k, b_stride = (shared & 2) != 0 ? 0 : k * n;
            auto together = start, single = start;
            const auto options = mode<TestType>(shared * 5, bias.data(), -0.7);
            for (long p = 0; p < batch; ++p)
                cpu::gemm<TestType>(m, n, k, {a.data() + p * a_stride, k, 1}, {b.data() + p * b_stride, n, 1}, single.data() + p * m * n, n, options);
            cpu::gemm_batched<TestType>(batch, m, n, k, {a.data(), k, 1}, a_stride, {b.data(), n, 1}, b_stride, together.data(), n, m * n, options);
            CHECK(same_bits(together, single));
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
template <class T>
struct Negate {
    T* c;
    long ldc;
    static void run(void* context, long row, long rows, long column, long columns) {
        const Negate& self = *static_cast<Negate*>(context);
        for (long i = row; i < row + rows; ++i)
            for (long j = column; j < column + columns; ++j) self.c[i * self.ldc + j] = T(-self.c[i * self.ldc + j]);
    }
};
}  // namespace

TEST_CASE("narrow products hand every element of C to the block epilogue once, finished", "[gemm]") {
    Random random(8);
    // The last two are done in parts of some rows.
    const long shapes[][3] = {{1, 1, 1}, {1, 300, 20}, {300, 1, 20}, {3, 7, 0}, {20, 700, 90}, {257, 301, 450}, {90, 2100, 70}, {500, 70, 600},
                              {400, 20000, 1}, {400, 15000, 513}};
    for (const auto& s : shapes) {
        const long m = s[0], n = s[1], k = s[2];
        INFO("m " << m << " n " << n << " k " << k);
        const auto a = random.values<bf16>(m * k + 1), b = random.values<bf16>(k * n + 1);
        Cover cover{n, std::vector<int>(static_cast<std::size_t>(m * n), 0)};
        std::vector<bf16> c(static_cast<std::size_t>(m * n)), plain = c;
        cpu::GemmOptions<bf16> options;
        options.epilogue = {&Cover::mark, &cover};
        cpu::gemm<bf16>(m, n, k, a.data(), k, b.data(), n, plain.data(), n, options);
        CHECK(cover.count == std::vector<int>(cover.count.size(), 1));
        Negate<bf16> negate{c.data(), n};
        options.epilogue = {&Negate<bf16>::run, &negate};
        cpu::gemm<bf16>(m, n, k, a.data(), k, b.data(), n, c.data(), n, options);
        for (bf16& x : plain) x = bf16(-x);
        CHECK(same_bits(c, plain));

        const auto ai = random.values<uint8_t>(m * k + 1);
        const auto bi = random.values<int8_t>(k * n + 1);
        cover.count.assign(cover.count.size(), 0);
        const std::vector<int32_t> zero = {3};
        std::vector<int32_t> ci(static_cast<std::size_t>(m * n));
        cpu::Int8Options<int32_t> int8_options;
        int8_options.b_zero = lanes_of(zero, false);
        int8_options.epilogue = {&Cover::mark, &cover};
        cpu::gemm_int8<uint8_t, int32_t>(m, n, k, {ai.data(), k, 1}, {bi.data(), n, 1}, ci.data(), n, int8_options);
        CHECK(cover.count == std::vector<int>(cover.count.size(), 1));
    }
}

TEMPLATE_TEST_CASE("byte products are those of plain loops for every combination of small sizes", "[gemm]", int8_t, uint8_t) {
    Random random(9);
    const long sizes[] = {1, 2, 3, 5, 8, 17, 33, 49, 67};
    int number = 0;
    for (long m : sizes)
        for (long n : sizes)
            for (long k : sizes) {
                ++number;
                const Operand<TestType> a(random, m, k, (number & 1) != 0, number % 3);
                const Operand<int8_t> b(random, k, n, (number & 2) != 0, number % 5);
                check_int8<TestType, int32_t>(random, m, n, k, a, b, number * 7 % 32, number % 4);
                check_int8<TestType, float>(random, m, n, k, a, b, number * 11 % 128, number % 3);
            }
}

TEMPLATE_TEST_CASE("byte products in every mode and layout, of several chunks too", "[gemm]", int8_t, uint8_t) {
    Random random(10);
    const long shapes[][3] = {{1, 37, 4500}, {37, 1, 2049}, {5, 23, 800}, {70, 7, 16}, {150, 140, 421}, {301, 10, 1025}, {20, 530, 202}, {97, 99, 4103}};
    for (const auto& s : shapes)
        for (int layout = 0; layout < 4; ++layout) {
            const Operand<TestType> a(random, s[0], s[2], (layout & 1) != 0, 1);
            const Operand<int8_t> b(random, s[2], s[1], (layout & 2) != 0, 2);
            for (int number = layout; number < 128; number += 23) check_int8<TestType, float>(random, s[0], s[1], s[2], a, b, number, layout);
            for (int number = layout; number < 32; number += 11) check_int8<TestType, int32_t>(random, s[0], s[1], s[2], a, b, number, 0);
        }
    const Operand<TestType> a(random, 40, 30, false, 3, 2);
    const Operand<int8_t> b(random, 30, 20, true, 1, 3);
    check_int8<TestType, int32_t>(random, 40, 20, 30, a, b, 31, 1);
}

TEMPLATE_TEST_CASE("byte products of extremes neither saturate nor overflow on the way", "[gemm]", int8_t, uint8_t) {
    // 255 * -128 + 255 * -128 is far beyond 16 bits, where vpmaddubsw would stop.
    const long most = std::numeric_limits<TestType>::max(), least = std::numeric_limits<TestType>::min();
    for (long av : {most, least})
        for (long bv : {-128L, 127L})
            for (long k : {1L, 2L, 3L, 4L, 7L, 300L, 2051L, 65793L}) {
                const long m = 9, n = 21;
                const std::vector<TestType> a(static_cast<std::size_t>(m * k), static_cast<TestType>(av));
                const std::vector<int8_t> b(static_cast<std::size_t>(k * n), static_cast<int8_t>(bv));
                std::vector<int32_t> c(static_cast<std::size_t>(m * n));
                cpu::gemm_int8<TestType, int32_t>(m, n, k, {a.data(), k, 1}, {b.data(), n, 1}, c.data(), n);
                INFO("a " << av << " b " << bv << " k " << k);
                CHECK(c == std::vector<int32_t>(c.size(), static_cast<int32_t>(av * bv * k)));
            }
}

TEST_CASE("byte products: the same bits for any number of threads, any part and any batch mate", "[gemm]") {
    Random random(11);
    const long m = 170, n = 210, k = 2300;
    const Operand<int8_t> a(random, m, k, false, 0), b(random, k, n, false, 0);
    const auto scales = random.values<float>(n), bias = random.values<float>(n);
    const std::vector<int32_t> zeros = {5};
    cpu::Int8Options<float> options;
    options.a_zero = lanes_of(zeros, false);
    options.b_scale = lanes_of(scales, true);
    options.bias = bias.data();
    std::vector<float> whole(static_cast<std::size_t>(m * n)), again = whole;
    {
        Threads one(1);
        cpu::gemm_int8<int8_t, float>(m, n, k, a.view, b.view, whole.data(), n, options);
    }
    Threads two(2);
    cpu::gemm_int8<int8_t, float>(m, n, k, a.view, b.view, again.data(), n, options);
    CHECK(same_bits(whole, again));
    for (long i = 0; i < m; ++i) cpu::gemm_int8<int8_t, float>(1, n, k, {a.view.data + i * k, k, 1}, b.view, again.data() + i * n, n, options);
    CHECK(same_bits(whole, again));
}

namespace {
namespace plain {
using cpu::gemm_impl::Cell;
using cpu::gemm_impl::CellKernels;
using namespace cpu::gemm_impl;
// The kernels of the sixteen-lane instructions, in code that every machine runs.
constexpr CellKernels<float> bf16_kernels = {2, cpu::half_chunk, 16, 3, {8, 4}, TENON_CELL_TILES_3(tenon::impl::run_baseline, Bf16DotPlain, 16),
                                             TENON_CELL_PACKERS(run_baseline, ReadPairs, ReadPairs)};
template <class T>
using ReadLeftPlain = ReadQuads<T, std::is_same_v<T, int8_t>>;
using ReadRightPlain = ReadQuads<int8_t, false>;
template <class T>
constexpr CellKernels<Cell> int8_kernels = {4, int8_chunk, 16, 3, {8, 4}, TENON_CELL_TILES_3(tenon::impl::run_baseline, Int8DotPlain, 16),
                                            TENON_CELL_PACKERS(run_baseline, ReadLeftPlain<T>, ReadRightPlain),
                                            TENON_CELL_SUM(tenon::impl::run_baseline, Int8DotPlain, 16, ones8), std::is_same_v<T, int8_t> ? 128 : 0};
template <class T>
constexpr CellKernels<Cell> int16_kernels = {2, int16_chunk, 16, 3, {8, 4}, TENON_CELL_TILES_3(tenon::impl::run_baseline, Int16DotPlain, 16),
                                             TENON_CELL_PACKERS(run_baseline, ReadWidened<T>, ReadWidened<int8_t>),
                                             TENON_CELL_SUM(tenon::impl::run_baseline, Int16DotPlain, 16, ones16)};
}  // namespace plain

// Any bits at all: subnormals, infinities, NaN.
std::vector<bf16> any_bf16(Random& random, long n, int kind) {
    std::vector<bf16> v(static_cast<std::size_t>(n));
    for (bf16& x : v) {
        unsigned bits = random.next();
        // Of the smallest exponents in part, so that products and sums are subnormal in float.
        if (kind == 1) bits = (bits & 0x807fu) | static_cast<unsigned>(random.below(80)) << 7;
        if (kind == 2) bits = (bits & 0x807fu) | static_cast<unsigned>(60 + random.below(8)) << 7;
        x.bits = static_cast<std::uint16_t>(bits);
    }
    return v;
}
}  // namespace

TEST_CASE("the plain twin of vdpbf16ps follows its rules, and so does the instruction", "[gemm]") {
    Random random(12);
    const long shapes[][3] = {{8, 48, 2}, {3, 17, 33}, {40, 70, 90}, {1, 33, 700}, {100, 20, 41}};
    for (const auto& s : shapes)
        for (int kind = 0; kind < 3; ++kind) {
            const long m = s[0], n = s[1], k = s[2];
            const auto a = any_bf16(random, m * k, kind), b = any_bf16(random, k * n, kind);
            const cpu::MatrixView<bf16> va{a.data(), k, 1}, vb{b.data(), n, 1};
            std::vector<float> expected(static_cast<std::size_t>(m * n)), c = expected;
            const cpu::GemmOptions<float> options;
            INFO("m " << m << " n " << n << " k " << k << " kind " << kind);
            cpu::reference::gemm_half<bf16, float>(m, n, k, va, vb, expected.data(), n, options, true);
            cpu::gemm_impl::half_product<bf16, float>(plain::bf16_kernels, m, n, k, va, vb, c.data(), n, options);
            CHECK(same_values(c, expected));
#if TENON_DISPATCH
            if (tenon::isa() != tenon::Isa::avx512 || !__builtin_cpu_supports("avx512bf16")) continue;
            cpu::gemm_impl::half_product<bf16, float>(cpu::gemm_impl::bf16_dot_kernels, m, n, k, va, vb, c.data(), n, options);
            CHECK(same_values(c, expected));
#endif
        }
}

TEST_CASE("products by vdpbf16ps have the bits of those in floats, away from subnormals", "[gemm]") {
    Random random(13);
    for (const auto& s : some_shapes)
        for (int layout = 0; layout < 4; ++layout) {
            const long m = s[0], n = s[1], k = s[2];
            const Operand<bf16> a(random, m, k, (layout & 1) != 0, 1), b(random, k, n, (layout & 2) != 0, 2);
            std::vector<bf16> c(static_cast<std::size_t>(m * n)), expected = c;
            cpu::gemm<bf16>(m, n, k, a.view, b.view, expected.data(), n);
            if (m * n * k < 100000) {
                cpu::gemm_impl::half_product<bf16, bf16>(plain::bf16_kernels, m, n, k, a.view, b.view, c.data(), n, {});
                CHECK(same_bits(c, expected));
            }
#if TENON_DISPATCH
            if (tenon::isa() != tenon::Isa::avx512 || !__builtin_cpu_supports("avx512bf16")) continue;
            cpu::gemm_impl::half_product<bf16, bf16>(cpu::gemm_impl::bf16_dot_kernels, m, n, k, a.view, b.view, c.data(), n, {});
            CHECK(same_bits(c, expected));
#endif
        }
}

TEMPLATE_TEST_CASE("the plain twins of vpmaddwd and vpdpbusd, and the instructions", "[gemm]", int8_t, uint8_t) {
    Random random(14);
    const long shapes[][3] = {{8, 48, 4}, {3, 17, 33}, {60, 70, 90}, {1, 33, 2500}, {100, 20, 41}};
    const std::vector<int32_t> zeros = {-7};
    for (const auto& s : shapes)
        for (int layout = 0; layout < 4; ++layout) {
            const long m = s[0], n = s[1], k = s[2];
            const Operand<TestType> a(random, m, k, (layout & 1) != 0, 1);
            const Operand<int8_t> b(random, k, n, (layout & 2) != 0, 2);
            cpu::Int8Options<int32_t> options;
            if (layout & 1) options.a_zero = lanes_of(zeros, false);
            std::vector<int32_t> expected(static_cast<std::size_t>(m * n));
            cpu::reference::gemm_int8<TestType, int32_t>(m, n, k, a.view, b.view, expected.data(), n, options);
            auto run = [&](const cpu::gemm_impl::CellKernels<cpu::gemm_impl::Cell>& kernels) {
                std::vector<int32_t> c(expected.size(), 77);
                cpu::gemm_impl::int8_product<TestType, int32_t>(kernels, m, n, k, a.view, b.view, c.data(), n, options);
                return c == expected;
            };
            INFO("m " << m << " n " << n << " k " << k << " layout " << layout);
            CHECK(run(plain::int8_kernels<TestType>));
            CHECK(run(plain::int16_kernels<TestType>));
            CHECK(run(cpu::gemm_impl::int16_kernels_baseline<TestType>));
#if TENON_DISPATCH
            if (tenon::isa() >= tenon::Isa::avx2) CHECK(run(cpu::gemm_impl::int16_kernels_avx2<TestType>));
            if (tenon::isa() != tenon::Isa::avx512) continue;
            CHECK(run(cpu::gemm_impl::int16_kernels_avx512<TestType>));
            if (__builtin_cpu_supports("avx512vnni")) CHECK(run(cpu::gemm_impl::int8_dot_kernels<TestType>));
#endif
        }
}

TEST_CASE("extensions beyond the named instruction set follow it", "[gemm]") {
    for (tenon::Isa lower : {tenon::Isa::baseline, tenon::Isa::avx2}) {
        CHECK_FALSE(tenon::impl::choose_extensions(lower).bf16);
        CHECK_FALSE(tenon::impl::choose_extensions(lower).vnni);
    }
    if (tenon::isa() != tenon::Isa::avx512) {
        CHECK_FALSE(tenon::has_bf16_dot());
        CHECK_FALSE(tenon::has_int8_dot());
    }
}
