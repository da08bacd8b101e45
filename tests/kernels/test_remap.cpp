// Axes moved by tables, and back: against the plain loops.
#include <catch2/catch.hpp>

#include <tenon/kernels/cpu/remap.hpp>

#include <algorithm>
#include <cstring>
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

// A random table: shifted, turned, clamped, repeated, or anything.
std::vector<std::int64_t> table(Random& r, long from) {
    const long to = 1 + r.below(2 * from + 3), kind = r.below(6), shift = r.below(5) - 2;
    std::vector<std::int64_t> source(static_cast<std::size_t>(to));
    for (long i = 0; i < to; ++i) {
        long at = i + shift;
        if (kind == 0) at = at < 0 || at >= from ? -1 : at;
        else if (kind == 1) at = at < 0 ? 0 : at >= from ? from - 1 : at;
        else if (kind == 2) at = from - 1 - i < 0 ? -1 : from - 1 - i;
        else if (kind == 3) at = i % from;
        else if (kind == 4) at = i / 2 < from ? i / 2 : -1;
        else at = r.below(from + 1) - 1;
        source[static_cast<std::size_t>(i)] = at;
    }
    return source;
}

}  // namespace

TEMPLATE_TEST_CASE("axes follow their tables", "[remap]", float, double, bf16, std::int64_t, std::int8_t, bool) {
    using T = TestType;
    Random r;
    const int before = num_threads();
    for (int round = 0; round < 300; ++round) {
        const int rank = static_cast<int>(r.below(5));
        k::AxisTable axes[5];
        std::vector<std::int64_t> tables[5];
        long from = 1, to = 1;
        for (int d = 0; d < rank; ++d) {
            axes[d].from = axes[d].to = 1 + r.below(d + 1 == rank ? 40 : 7);
            if (r.below(3) != 0) {
                tables[d] = table(r, axes[d].from);
                axes[d].to = static_cast<long>(tables[d].size());
                axes[d].source = tables[d].data();
            }
            from *= axes[d].from;
            to *= axes[d].to;
        }
        // Whole numbers: sums are exact in every order (bf16: small ones).
        auto number = [&](long limit) { return std::is_same_v<T, bool> ? T(r.below(2) != 0) : T(static_cast<float>(r.below(limit))); };
        T* x = static_cast<T*>(std::malloc(sizeof(T) * static_cast<std::size_t>(from)));
        T* y = static_cast<T*>(std::malloc(sizeof(T) * static_cast<std::size_t>(to)));
        T* expected = static_cast<T*>(std::malloc(sizeof(T) * static_cast<std::size_t>(to)));
        T* dx = static_cast<T*>(std::malloc(sizeof(T) * static_cast<std::size_t>(from)));
        T* wanted = static_cast<T*>(std::malloc(sizeof(T) * static_cast<std::size_t>(from)));
        for (long i = 0; i < from; ++i) x[i] = number(100);
        INFO("round " << round << " rank " << rank);
        k::reference::remap(rank, axes, x, T(1.f), expected);
        for (int threads : {1, 2}) {
            set_num_threads(threads);
            std::memset(static_cast<void*>(y), 0x55, sizeof(T) * static_cast<std::size_t>(to));
            k::remap(rank, axes, x, T(1.f), y);
            CHECK(std::memcmp(y, expected, sizeof(T) * static_cast<std::size_t>(to)) == 0);
        }
        if constexpr (!std::is_same_v<T, bool>) {
        for (long i = 0; i < to; ++i) y[i] = std::is_same_v<T, bf16> ? T(static_cast<float>(r.below(2)) * 0.25f) : number(2);
        for (bool accumulate : {false, true})
            for (int threads : {1, 2}) {
                set_num_threads(threads);
                for (long i = 0; i < from; ++i) {
                    dx[i] = T(3.f);
                    wanted[i] = accumulate ? dx[i] : T(0.f);
                }
                // The plain sum rounds bf16 at every step: compared where it is exact.
                k::reference::remap_transposed(rank, axes, y, wanted);
                k::remap_transposed(rank, axes, y, dx, accumulate);
                bool right = true;
                for (long i = 0; i < from; ++i) right = right && (dx[i] == wanted[i] || (sizeof(T) == 2 && static_cast<float>(wanted[i]) > 60));
                CHECK(right);
            }
        }
        for (void* p : {static_cast<void*>(x), static_cast<void*>(y), static_cast<void*>(expected), static_cast<void*>(dx), static_cast<void*>(wanted)}) std::free(p);
    }
    set_num_threads(before);
}

TEST_CASE("axes given by runs are those given by tables", "[remap]") {
    // Filled, copied, turned, repeated: as the first and as the last axis.
    const k::RemapRun runs[] = {{0, -1, 2, 0}, {2, 0, 5, 1}, {7, 3, 4, -1}, {11, 4, 3, 0}};
    const std::int64_t source[] = {-1, -1, 0, 1, 2, 3, 4, 3, 2, 1, 0, 4, 4, 4};
    const k::AxisTable by_runs{5, 14, nullptr, runs, 4}, by_table{5, 14, source}, plain{3, 3, nullptr};
    std::vector<float> x(15), y(42), expected(42), dx(15), wanted(15);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = float(i + 1);
    for (bool first : {false, true}) {
        const k::AxisTable a[] = {first ? by_runs : plain, first ? plain : by_runs}, b[] = {first ? by_table : plain, first ? plain : by_table};
        k::remap(2, a, x.data(), -1.f, y.data());
        k::reference::remap(2, b, x.data(), -1.f, expected.data());
        CHECK(y == expected);
        std::fill(wanted.begin(), wanted.end(), 0.f);
        k::remap_transposed(2, a, y.data(), dx.data(), false);
        k::reference::remap_transposed(2, b, y.data(), wanted.data());
        CHECK(dx == wanted);
    }
    // An outer axis that keeps nothing.
    const k::AxisTable nothing[] = {{3, 0, nullptr, runs, 0}, {5, 5, nullptr}};
    std::fill(dx.begin(), dx.end(), 5.f);
    k::remap_transposed(2, nothing, y.data(), dx.data(), false);
    CHECK(dx == std::vector<float>(15, 0.f));
}

TEST_CASE("long rows are cut into pieces", "[remap]") {
    const long from = 300000, to = 300100;
    std::vector<std::int64_t> source(to);
    std::vector<double> x(from), y(to), expected(to), dx(from);
    for (long i = 0; i < from; ++i) x[std::size_t(i)] = double(i);
    for (bool turned : {false, true}) {
        for (long i = 0; i < to; ++i) {
            const long at = i - 50;
            source[std::size_t(i)] = at < 0 || at >= from ? -1 : turned ? from - 1 - at : at;
        }
        const k::AxisTable axis{from, to, source.data()};
        k::remap(1, &axis, x.data(), -1.0, y.data());
        k::reference::remap(1, &axis, x.data(), -1.0, expected.data());
        CHECK(y == expected);
        k::remap_transposed(1, &axis, y.data(), dx.data(), false);
        CHECK(dx == x);
    }
    // An axis without elements, and a result without any.
    const k::AxisTable none{0, 3, source.data()};
    source.assign(3, -1);
    k::remap(1, &none, x.data(), 7.0, y.data());
    CHECK((y[0] == 7 && y[2] == 7));
    const k::AxisTable empty{3, 0, source.data()};
    dx.assign(3, 5);
    k::remap_transposed(1, &empty, y.data(), dx.data(), false);
    CHECK(dx == std::vector<double>(3, 0));
}
