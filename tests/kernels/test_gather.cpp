// Rows by index and back, gather along an axis, strided copies: against the plain loops.
#include <catch2/catch.hpp>

#include <tenon/kernels/cpu/gather.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <set>
#include <vector>

using namespace tenon;
namespace k = tenon::kernels::cpu;

namespace {

struct Random {
    unsigned long long state = 88172645463325252ull;
    unsigned long long word() {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        return state >> 11;
    }
    long below(long n) { return static_cast<long>(word() % static_cast<unsigned long long>(n)); }
};
template <class T>
std::vector<T> numbers(long count, unsigned seed) {
    Random r;
    r.state += seed * 0x9e3779b97f4a7c15ull;
    std::vector<T> v(static_cast<std::size_t>(count));
    for (T& x : v) x = T(static_cast<float>(r.below(2001) - 1000) / 512.f);
    return v;
}
template <class I>
std::vector<I> indices(long count, long size, unsigned seed) {
    Random r;
    r.state += seed * 0x9e3779b97f4a7c15ull;
    std::vector<I> v(static_cast<std::size_t>(count));
    for (I& x : v) x = static_cast<I>(r.below(size));
    return v;
}
template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

}  // namespace

TEMPLATE_TEST_CASE("indices out of range are found", "[gather]", std::int64_t, std::int32_t) {
    using I = TestType;
    for (long count : {0l, 1l, 3l, 15l, 16l, 17l, 64l, 65l, 200l}) {
        auto index = indices<I>(count, 10, 1);
        CHECK(k::find_bad_index(index.data(), count, 10) == -1);
        for (long at = 0; at < count; ++at)
            for (I bad : {I(-1), I(10), std::numeric_limits<I>::max(), std::numeric_limits<I>::min()}) {
                const I good = index[std::size_t(at)];
                index[std::size_t(at)] = bad;
                CHECK(k::find_bad_index(index.data(), count, 10) == at);
                if (at + 1 < count) {
                    const I next = index.back();
                    index.back() = bad;
                    CHECK(k::find_bad_index(index.data(), count, 10) == at);
                    index.back() = next;
                }
                index[std::size_t(at)] = good;
            }
        if (count > 0) CHECK(k::find_bad_index(index.data(), count, 0) == 0);
    }
}

TEMPLATE_TEST_CASE("rows are gathered", "[gather]", std::int64_t, std::int32_t) {
    using I = TestType;
    for (long width : {0l, 1l, 2l, 3l, 4l, 8l, 16l, 17l, 300l})
        for (long count : {0l, 1l, 7l, 1000l, 40000l}) {
            if (count * width > 1000000) continue;
            const auto src = numbers<float>(50 * width, 2);
            const auto index = indices<I>(count, 50, 3);
            std::vector<float> out(std::size_t(count * width)), expected(out.size());
            k::gather_rows(count, width * 4, src.data(), index.data(), out.data());
            k::reference::gather_rows(count, width, src.data(), index.data(), expected.data());
            CHECK(same_bits(out, expected));
            std::vector<std::uint8_t> bytes(std::size_t(50 * width)), got(out.size()), wanted(out.size());
            for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = std::uint8_t(i * 7);
            k::gather_rows(count, width, bytes.data(), index.data(), got.data());
            k::reference::gather_rows(count, width, bytes.data(), index.data(), wanted.data());
            CHECK(got == wanted);
        }
}

TEST_CASE("results beyond the caches are streamed", "[gather]") {
    const long width = 32, count = 300001;
    const auto src = numbers<float>(1000 * width, 5);
    const auto index = indices<std::int64_t>(count, 1000, 6);
    float* out = static_cast<float*>(std::aligned_alloc(64, std::size_t(count * width) * 4));
    std::vector<float> expected(std::size_t(count * width));
    k::gather_rows(count, width * 4, src.data(), index.data(), out);
    k::reference::gather_rows(count, width, src.data(), index.data(), expected.data());
    CHECK(std::memcmp(out, expected.data(), expected.size() * 4) == 0);
    std::free(out);
}

TEMPLATE_TEST_CASE("positions are sorted stably", "[gather]", std::int64_t, std::int32_t) {
    using I = TestType;
    for (long size : {1l, 2l, 7l, 300l, 5000l, 3000000l, 2000000000l})
        for (long count : {0l, 1l, 2l, 24l, 25l, 1000l, 20000l}) {
            const auto index = indices<I>(count, size, 4);
            std::vector<std::int64_t> order(static_cast<std::size_t>(count)), expected(order.size());
            for (std::size_t i = 0; i < order.size(); ++i) expected[i] = std::int64_t(i);
            std::stable_sort(expected.begin(), expected.end(), [&](std::int64_t a, std::int64_t b) { return index[std::size_t(a)] < index[std::size_t(b)]; });
            k::sort_positions(count, index.data(), size, order.data());
            INFO("size " << size << " count " << count);
            CHECK(order == expected);
        }
}

TEMPLATE_TEST_CASE("rows are added where they came from", "[gather]", float, double, bf16, half) {
    using T = TestType;
    const double epsilon = std::is_same_v<T, double> ? 0x1p-52 : std::is_same_v<T, float> ? 0x1p-23 : std::is_same_v<T, half> ? 0x1p-10 : 0x1p-7;
    for (long width : {1l, 3l, 8l, 16l, 17l, 63l, 64l, 100l})
        for (long rows : {1l, 5l, 400l, 100000l})
            for (long count : {0l, 1l, 20l, 700l, 3000l}) {
                if (rows * width > 2000000) continue;
                INFO("width " << width << " rows " << rows << " count " << count);
                const auto src = numbers<T>(count * width, 5), before = numbers<T>(rows * width, 6);
                const auto index = indices<std::int64_t>(count, rows, 7);
                for (bool accumulate : {false, true}) {
                    auto one = before, two = before;
                    std::vector<std::int64_t> touched(std::size_t(std::min(count, rows)));
                    set_num_threads(1);
                    const long different = k::scatter_add_rows(count, width, src.data(), index.data(), rows, one.data(), accumulate, touched.data());
                    set_num_threads(2);
                    k::scatter_add_rows(count, width, src.data(), index.data(), rows, two.data(), accumulate);
                    CHECK(same_bits(one, two));
                    const std::set<std::int64_t> expected_rows(index.begin(), index.end());
                    CHECK(std::vector<std::int64_t>(touched.begin(), touched.begin() + different) ==
                          std::vector<std::int64_t>(expected_rows.begin(), expected_rows.end()));
                    std::vector<double> expected(before.size(), 0.), largest(before.size(), 0.);
                    if (accumulate)
                        for (std::size_t i = 0; i < before.size(); ++i) expected[i] = double(before[i]);
                    k::reference::scatter_add_rows(count, width, src.data(), index.data(), expected.data());
                    // Inputs are multiples of 2^-9 below 2: float and double sums of them are exact.
                    bool right = true;
                    for (std::size_t i = 0; i < before.size(); ++i) {
                        const bool exact = sizeof(T) > 2;
                        right = right && std::abs(double(one[i]) - expected[i]) <= (exact ? 0 : epsilon * std::abs(expected[i]));
                    }
                    CHECK(right);
                }
            }
}

TEST_CASE("one row that is hit very often", "[gather]") {
    const long count = 100000, width = 20;
    const std::vector<float> src(std::size_t(count * width), 0.1f);
    const std::vector<std::int32_t> index(std::size_t(count), 2);
    std::vector<float> dst(std::size_t(5 * width), 1.f);
    CHECK(k::scatter_add_rows(count, width, src.data(), index.data(), 5, dst.data(), true) == 1);
    for (long j = 0; j < width; ++j) CHECK(dst[std::size_t(2 * width + j)] == Approx(1 + count * double(0.1f)).epsilon(1e-5));
    CHECK(dst[0] == 1);
}

TEMPLATE_TEST_CASE("gather and scatter along an axis", "[gather]", float, double, std::int64_t) {
    using T = TestType;
    const long shapes[][4] = {{1, 5, 3, 1}, {4, 7, 9, 1}, {3, 4, 2, 5}, {2, 6, 50, 33}, {1, 300, 400, 70}, {5000, 3, 4, 1}, {1, 4, 0, 3}, {0, 2, 2, 2}};
    for (const auto& s : shapes) {
        const long outer = s[0], n = s[1], m = s[2], inner = s[3];
        INFO(outer << " " << n << " " << m << " " << inner);
        std::vector<T> src, dy;
        for (float f : numbers<float>(outer * n * inner, 8)) src.push_back(T(f * 512));
        for (float f : numbers<float>(outer * m * inner, 9)) dy.push_back(T(f * 512));
        const auto index = indices<std::int32_t>(outer * m * inner, n, 10);
        std::vector<T> out(dy.size()), expected(dy.size());
        k::gather_axis(outer, n, m, inner, src.data(), index.data(), out.data());
        k::reference::gather_axis(outer, n, m, inner, src.data(), index.data(), expected.data());
        CHECK(out == expected);
        // <gather(src), dy> = <src, scatter_add(dy)>: whole numbers, so both sides are exact.
        for (bool accumulate : {false, true}) {
            std::vector<T> dx(src.size(), T(3));
            set_num_threads(1);
            k::scatter_add_axis(outer, n, m, inner, dy.data(), index.data(), dx.data(), accumulate);
            std::vector<T> again(src.size(), T(3));
            set_num_threads(2);
            k::scatter_add_axis(outer, n, m, inner, dy.data(), index.data(), again.data(), accumulate);
            CHECK(dx == again);
            double left = 0, right = 0;
            for (std::size_t i = 0; i < out.size(); ++i) left += double(out[i]) * double(dy[i]);
            for (std::size_t i = 0; i < src.size(); ++i) right += double(src[i]) * (double(dx[i]) - (accumulate ? 3 : 0));
            CHECK(left == right);
        }
        std::vector<T> written(src), wanted(src);
        k::scatter_axis(outer, n, m, inner, dy.data(), index.data(), written.data());
        for (long o = 0; o < outer; ++o)
            for (long j = 0; j < m; ++j)
                for (long i = 0; i < inner; ++i)
                    wanted[std::size_t((o * n + index[std::size_t((o * m + j) * inner + i)]) * inner + i)] = dy[std::size_t((o * m + j) * inner + i)];
        CHECK(written == wanted);
    }
}

namespace {

// Copies a permuted, sliced view of a random shape both ways and compares whole buffers.
template <int Size>
void check_copies() {
    Random r;
    for (int round = 0; round < 400; ++round) {
        const int rank = static_cast<int>(r.below(5));
        long shape[5], to[5], from[5];
        int order_to[5] = {0, 1, 2, 3, 4}, order_from[5] = {0, 1, 2, 3, 4};
        for (int d = 0; d < rank; ++d) shape[d] = r.below(8) == 0 ? r.below(3) : 1 + r.below(round % 4 == 0 ? 70 : 9);
        long total = 1;
        for (int d = 0; d < rank; ++d) total *= shape[d];
        if (total > 300000) continue;
        auto layout = [&](int* order, long* strides, bool broadcast) {
            for (int d = rank - 1; d > 0; --d) std::swap(order[d], order[r.below(d + 1)]);
            long step = 1 + (r.below(3) == 0 ? r.below(3) : 0);
            for (int d = 0; d < rank; ++d) {
                strides[order[d]] = step;
                if (broadcast && r.below(6) == 0) strides[order[d]] = 0;
                else step *= shape[order[d]] + (r.below(3) == 0 ? 1 : 0);
                if (step == 0) step = 1;
            }
            return step;
        };
        const long to_size = layout(order_to, to, false) + 4, from_size = layout(order_from, from, true) + 4;
        std::vector<std::uint8_t> src(std::size_t(from_size * Size)), dst(std::size_t(to_size * Size), 0xcd);
        for (std::uint8_t& b : src) b = std::uint8_t(r.word());
        long to_start = 0, from_start = 0;
        for (int d = 0; d < rank; ++d) {  // some axes run backwards
            if (shape[d] > 1 && r.below(5) == 0) to_start += (shape[d] - 1) * to[d], to[d] = -to[d];
            if (shape[d] > 1 && r.below(5) == 0) from_start += (shape[d] - 1) * from[d], from[d] = -from[d];
        }
        auto expected = dst, two = dst;
        set_num_threads(1);
        k::copy_strided(rank, shape, dst.data() + to_start * Size, to, src.data() + from_start * Size, from, Size);
        set_num_threads(2);
        k::copy_strided(rank, shape, two.data() + to_start * Size, to, src.data() + from_start * Size, from, Size);
        k::reference::copy_strided(rank, shape, expected.data() + to_start * Size, to, src.data() + from_start * Size, from, Size);
        INFO("round " << round << " rank " << rank);
        CHECK(dst == expected);
        CHECK(two == expected);
    }
}

}  // namespace

TEST_CASE("strided copies of every element size", "[gather]") {
    check_copies<1>();
    check_copies<2>();
    check_copies<4>();
    check_copies<8>();
    check_copies<16>();
    long shape[] = {1}, stride[] = {1};
    char a[3] = {}, b[3] = {};
    CHECK_THROWS_AS(([&] { shape[0] = 2; k::copy_strided(1, shape, a, stride, b, stride, 3); }()), DtypeError);
}

TEST_CASE("large copies, transposes and fills", "[gather]") {
    const long n = 700, m = 900;
    const auto x = numbers<float>(n * m, 11);
    std::vector<float> y(x.size()), z(x.size());
    const long shape[] = {m, n}, transposed[] = {1, m}, dense[] = {n, 1};
    k::copy_strided(2, shape, y.data(), dense, x.data(), transposed, 4);
    bool right = true;
    for (long i = 0; i < m; ++i)
        for (long j = 0; j < n; ++j) right = right && y[std::size_t(i * n + j)] == x[std::size_t(j * m + i)];
    CHECK(right);
    const long flat[] = {n * m}, one[] = {1};
    k::copy_strided(1, flat, z.data(), one, x.data(), one, 4);
    CHECK(same_bits(x, z));
    const float value = 2.5f;
    const long inside[] = {n, m - 2}, strides[] = {m, 1};
    k::fill_strided(2, inside, z.data() + 1, strides, &value, 4);
    for (long i = 0; i < n; ++i)
        for (long j = 0; j < m; ++j) right = right && z[std::size_t(i * m + j)] == (j == 0 || j == m - 1 ? x[std::size_t(i * m + j)] : 2.5f);
    CHECK(right);
}

TEMPLATE_TEST_CASE("transposes beyond the caches", "[gather]", float, double) {
    using T = TestType;
    // Rows of whole cache lines, which are streamed, and others; sizes that leave rests of tiles.
    for (long m : {2048l, 2043l})
        for (long n : {4096l, 4112l}) {
            T* x = static_cast<T*>(std::aligned_alloc(64, std::size_t((m * n + 16) / 16 * 16) * sizeof(T)));
            T* y = static_cast<T*>(std::aligned_alloc(64, std::size_t((m * n + 16) / 16 * 16) * sizeof(T)));
            for (long i = 0; i < m * n; ++i) x[i] = static_cast<T>(i);
            const long shape[] = {n, m}, transposed[] = {1, n}, dense[] = {m, 1};
            k::copy_strided(2, shape, y, dense, x, transposed, static_cast<int>(sizeof(T)));
            long wrong = 0;
            for (long i = 0; i < n; ++i)
                for (long j = 0; j < m; ++j) wrong += y[i * m + j] != x[j * n + i] ? 1 : 0;
            CHECK(wrong == 0);
            std::free(x);
            std::free(y);
        }
}

TEMPLATE_TEST_CASE("rows added to more rows than a cache holds", "[gather]", float, double, std::int64_t) {
    // Dealt out to bands: the same bits as one source after the other, whatever the threads.
    using T = TestType;
    for (const auto& [rows, width, count] : {std::array<long, 3>{70000, 19, 90001}, std::array<long, 3>{3000, 200, 65536}}) {
        const auto src = numbers<T>(count * width, 21);
        const auto index = indices<std::int32_t>(count, rows, 22);
        std::vector<T> expected(std::size_t(rows * width), T(1)), out;
        for (long i = 0; i < count; ++i)
            for (long j = 0; j < width; ++j) {
                T& to = expected[std::size_t(index[std::size_t(i)] * width + j)];
                to = static_cast<T>(to + src[std::size_t(i * width + j)]);
            }
        const int before = num_threads();
        for (int threads : {1, 3}) {
            set_num_threads(threads);
            out.assign(std::size_t(rows * width), T(1));
            CHECK(k::scatter_add_rows(count, width, src.data(), index.data(), rows, out.data(), true) == -1);
            CHECK(same_bits(out, expected));
        }
        set_num_threads(before);
    }
}
