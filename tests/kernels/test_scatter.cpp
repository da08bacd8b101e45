// Scattering along an axis, triangles, strided sums, masks: against the plain loops.
#include <catch2/catch.hpp>

#include <tenon/kernels/cpu/add_strided.hpp>
#include <tenon/kernels/cpu/mask.hpp>
#include <tenon/kernels/cpu/scatter.hpp>
#include <tenon/kernels/cpu/triangle.hpp>

#include <cstring>
#include <limits>
#include <vector>

using namespace tenon;
namespace k = tenon::kernels::cpu;

namespace {

struct Random {
    unsigned long long state = 88172645463325252ull;
    long below(long n) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        return static_cast<long>((state >> 11) % static_cast<unsigned long long>(n));
    }
};
template <class T>
std::vector<T> numbers(long count, unsigned seed) {
    Random r;
    r.state += seed * 0x9e3779b97f4a7c15ull;
    std::vector<T> v(static_cast<std::size_t>(count));
    for (T& x : v) x = T(static_cast<float>(r.below(201) - 100));
    return v;
}
template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

}  // namespace

TEMPLATE_TEST_CASE("scattered sums and extremes", "[scatter]", float, double, std::int32_t) {
    using T = TestType;
    const int before = num_threads();
    const long shapes[][4] = {{1, 5, 30, 1}, {4, 7, 9, 1}, {3, 4, 2, 5}, {1, 300, 4000, 30}, {2, 6, 500, 300}, {0, 2, 2, 2}, {1, 3, 0, 4}};
    for (const auto& s : shapes) {
        const long outer = s[0], n = s[1], m = s[2], inner = s[3];
        INFO(outer << " " << n << " " << m << " " << inner);
        auto src = numbers<T>(outer * m * inner, 1);
        if constexpr (std::is_floating_point_v<T>)
            for (std::size_t i = 0; i < src.size(); i += 41) src[i] = std::numeric_limits<T>::quiet_NaN();
        Random r;
        std::vector<std::int64_t> index(src.size());
        for (auto& i : index) i = r.below(n);
        auto check = [&](auto how) {
            constexpr k::Scatter How = decltype(how)::value;
            const auto start = numbers<T>(outer * n * inner, 2);
            auto expected = start;
            k::reference::scatter_reduce_axis<How>(outer, n, m, inner, src.data(), index.data(), expected.data());
            for (int threads : {1, 2}) {
                set_num_threads(threads);
                auto y = start;
                k::scatter_reduce_axis<How>(outer, n, m, inner, static_cast<const T*>(src.data()), static_cast<const std::int64_t*>(index.data()), y.data());
                CHECK(same_bits(y, expected));
            }
        };
        check(std::integral_constant<k::Scatter, k::Scatter::sum>());
        check(std::integral_constant<k::Scatter, k::Scatter::max>());
        check(std::integral_constant<k::Scatter, k::Scatter::min>());
        std::vector<T> counts(std::size_t(outer * n * inner)), ones(src.size(), T(1)), expected(counts.size());
        k::scatter_count_axis(outer, n, m, inner, static_cast<const std::int64_t*>(index.data()), counts.data());
        k::reference::scatter_reduce_axis<k::Scatter::sum>(outer, n, m, inner, ones.data(), index.data(), expected.data());
        CHECK(counts == expected);
        k::scatter_fill_axis(outer, n, m, inner, T(-7), static_cast<const std::int64_t*>(index.data()), counts.data());
        bool right = true;
        for (std::size_t i = 0; i < counts.size(); ++i) right = right && counts[i] == (expected[i] > T(0) ? T(-7) : T(0));
        CHECK(right);
    }
    set_num_threads(before);
}

TEMPLATE_TEST_CASE("triangles", "[triangle]", float, double, bf16, std::int64_t) {
    using T = TestType;
    for (long rows : {0l, 1l, 7l, 90l})
        for (long columns : {0l, 1l, 9l, 70l})
            for (long offset : {-200l, -90l, -3l, 0l, 1l, 5l, 70l, 200l})
                for (bool lower : {false, true}) {
                    const auto x = numbers<T>(3 * rows * columns, 3);
                    auto expected = x, y = x;
                    k::reference::triangle(3, rows, columns, offset, lower, x.data(), expected.data());
                    k::triangle(3, rows, columns, offset, lower, x.data(), y.data(), false);
                    CHECK(same_bits(y, expected));
                    k::triangle(3, rows, columns, offset, lower, x.data(), y.data(), true);
                    bool right = true;
                    for (std::size_t i = 0; i < y.size(); ++i) right = right && static_cast<float>(y[i]) == 2 * static_cast<float>(expected[i]);
                    CHECK(right);
                }
}

TEMPLATE_TEST_CASE("strided sums", "[add]", float, double, bf16) {
    using T = TestType;
    Random r;
    const int before = num_threads();
    for (int round = 0; round < 200; ++round) {
        const int rank = static_cast<int>(r.below(5));
        long shape[5], to[5], from[5], size_to = 1, size_from = 1;
        for (int d = rank - 1; d >= 0; --d) {
            shape[d] = 1 + r.below(round % 7 == 0 ? 60 : 8);
            to[d] = size_to * (1 + r.below(2));
            size_to = to[d] * shape[d];
            from[d] = r.below(5) == 0 ? 0 : size_from;
            if (from[d] != 0) size_from *= shape[d];
        }
        if (size_to > 200000) continue;
        if (rank >= 2 && r.below(2) == 0) {
            std::swap(from[0], from[1]);
            if (shape[0] != shape[1]) size_from = shape[0] * from[0] + shape[1] * from[1] + size_from;
        }
        const auto src = numbers<T>(size_from + 1, 5), start = numbers<T>(size_to + 1, 6);
        auto expected = start;
        k::reference::add_strided(rank, shape, expected.data(), to, src.data(), from);
        for (int threads : {1, 2}) {
            set_num_threads(threads);
            auto y = start;
            k::add_strided(rank, shape, y.data(), to, src.data(), from);
            CHECK(same_bits(y, expected));
        }
    }
    set_num_threads(before);
}

TEST_CASE("positions of a mask", "[mask]") {
    Random r;
    for (long size : {0l, 1l, 7l, 8l, 100l, 4000l, 65535l, 65536l, 65537l, 300000l})
        for (long density : {1l, 2l, 50l}) {
            std::vector<char> bytes(std::size_t(size) + 1);
            bool* mask = reinterpret_cast<bool*>(bytes.data());
            for (long i = 0; i < size; ++i) mask[i] = r.below(density) == 0;
            std::vector<std::int64_t> expected(std::size_t(size) + 1), got(expected.size());
            std::vector<long> starts(std::size_t(k::mask_pieces(size)) + 1);
            const long count = k::reference::mask_positions(size, mask, expected.data());
            CHECK(k::count_mask(size, mask, starts.data()) == count);
            k::mask_positions(size, mask, starts.data(), count, got.data());
            expected.resize(std::size_t(count));
            got.resize(std::size_t(count));
            CHECK(got == expected);
        }
}
