// Max pooling, banded maps and group norm against their plain versions, over odd sizes, strides and memory orders.
#include <catch2/catch.hpp>

#include "numbers.hpp"

#include <tenon/kernels/cpu/band.hpp>
#include <tenon/kernels/cpu/max_pool.hpp>

#include <cmath>
#include <limits>

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

// Memory orders: packed, channels innermost, every second element, the width outermost.
enum class Order { packed, channels_last, apart, turned };
void arrange(k::Volume& v, Order order) {
    v.pack();
    if (order == Order::channels_last) v.pack_channels_last();
    if (order == Order::apart) {
        for (long& s : v.stride) s *= 2;
        v.stride_c *= 2;
        v.stride_n *= 2;
    }
    if (order == Order::turned) {
        v.stride_c = 1;
        v.stride_n = v.c;
        v.stride[0] = v.n * v.c;
        v.stride[1] = v.stride[0] * v.size[0];
        v.stride[2] = v.stride[1] * v.size[1];
    }
}
long extent(const k::Volume& v) { return 2 * v.elements() + 1; }

// Small whole numbers, so that there are ties, with NaN and infinities among them.
template <class T>
std::vector<T> values(Random& r, long count, bool odd) {
    std::vector<T> v(static_cast<std::size_t>(count));
    for (T& x : v) {
        const long kind = odd ? r.below(40) : 40;
        const float number = static_cast<float>(r.below(17) - 8) / 4.f;
        x = static_cast<T>(kind == 0 ? std::numeric_limits<float>::quiet_NaN() : kind == 1 ? -std::numeric_limits<float>::infinity() : number);
    }
    return v;
}

}  // namespace

TEMPLATE_TEST_CASE("the largest elements of windows", "[pool]", float, double, bf16) {
    using T = TestType;
    using A = k::accumulator<T>;
    Random r;
    for (int round = 0; round < 400; ++round) {
        k::PoolShape s;
        const bool pairs = round % 4 == 3;  // two by two, side by side
        const int axes = pairs ? 2 : 1 + static_cast<int>(r.below(3));
        s.x.n = 1 + r.below(2);
        s.x.c = 1 + r.below(round % 3 == 0 ? 35 : 3);
        long taps = 1;
        for (int d = 3 - axes; d < 3; ++d) {
            k::PoolAxis& a = s.axes[d];
            const long in = 1 + r.below(d == 2 ? 45 : 8);
            if (pairs) {
                a.in = in;
                a.kernel = a.stride = 2;
                a.out = (in + (in == 1 || r.below(3) == 0 ? 1 : 0)) / 2;
            } else if (r.below(5) == 0) {
                a = k::PoolAxis::adaptive_axis(in, 1 + r.below(5));
            } else {
                a.in = in;
                a.kernel = 1 + r.below(d == 2 && r.below(4) == 0 ? 20 : 4);
                a.stride = 1 + r.below(4);
                a.dilation = 1 + r.below(3);
                const long reach = (a.kernel - 1) * a.dilation + 1;
                a.padding = r.below(reach / 2 + 1);
                const long room = in + 2 * a.padding - reach;
                a.out = room < 0 ? 0 : room / a.stride + 1;
                if (room >= 0 && room % a.stride != 0 && a.out * a.stride < in + a.padding && r.below(2) == 0) ++a.out;  // ceil_mode
            }
            s.x.size[d] = a.in;
            taps *= a.kernel;
        }
        bool empty = false;  // refused by the operation
        for (int d = 0; d < 3; ++d) {
            s.y.size[d] = s.axes[d].out;
            for (long o = 0; o < s.axes[d].out; ++o) empty = empty || s.axes[d].first_tap(o) >= s.axes[d].end_tap(o);
        }
        s.y.n = s.x.n;
        s.y.c = s.x.c;
        if (empty || s.y.elements() == 0 || taps > 256) continue;
        const Order order = static_cast<Order>(r.below(4));
        arrange(s.x, order);
        s.y.pack();
        if (order == Order::channels_last) s.y.pack_channels_last();
        INFO("round " << round << ", order " << static_cast<int>(order) << ", axes " << axes);
        const auto x = values<T>(r, extent(s.x), round % 2 == 0);
        std::vector<T> y(static_cast<std::size_t>(s.y.elements())), expected = y, without = y;
        std::vector<std::uint8_t> places(y.size()), wanted(y.size());
        for (long i = 0; i < s.y.elements(); ++i) k::MaxPoolStep<T, std::uint8_t>{s, x.data(), expected.data(), wanted.data()}(i);
        k::max_pool(s, x.data(), y.data(), places.data());
        k::max_pool(s, x.data(), without.data(), static_cast<std::uint8_t*>(nullptr));
        std::vector<std::int32_t> wide(y.size());
        std::vector<T> again = y;
        k::max_pool(s, x.data(), again.data(), wide.data());
        long wrong = 0;
        for (std::size_t i = 0; i < y.size(); ++i) {
            const auto same = [](T a, T b) {
                const A p = static_cast<A>(a), q = static_cast<A>(b);
                return p == q || (p != p && q != q);
            };
            wrong += !same(y[i], expected[i]) || !same(without[i], expected[i]) || !same(again[i], expected[i]) || places[i] != wanted[i] || wide[i] != wanted[i];
        }
        CHECK(wrong == 0);
        // Back: eighths, whose sums are exact.
        const auto dy = values<T>(r, s.y.elements(), false);
        for (const bool add : {false, true}) {
            std::vector<T> dx(static_cast<std::size_t>(s.x.elements()), T(1.f)), plain = dx;
            for (long i = 0; i < s.x.elements(); ++i) k::MaxPoolBackwardStep<T, std::uint8_t>{s, wanted.data(), dy.data(), plain.data(), add}(i);
            k::max_pool_backward(s, wanted.data(), dy.data(), dx.data(), add);
            CHECK(numbers::same_bits(dx, plain));
        }
    }
}

TEMPLATE_TEST_CASE("banded maps and their transposes", "[pool]", float, double, half) {
    using T = TestType;
    using A = k::accumulator<T>;
    Random r;
    for (int round = 0; round < 300; ++round) {
        k::BandShape s;
        const int axes = 1 + static_cast<int>(r.below(3));
        s.x.n = 1 + r.below(2);
        s.x.c = 1 + r.below(round % 3 == 0 ? 35 : 3);
        const k::BandKind kind = static_cast<k::BandKind>(round % 8);
        for (int d = 3 - axes; d < 3; ++d) {
            k::BandAxis& a = s.axes[d];
            a.kind = kind;
            a.in = 1 + r.below(d == 2 ? 60 : 7);
            if (kind == k::BandKind::box) {
                a.kernel = 1 + r.below(a.in < 5 ? a.in : 5);
                a.stride = 1 + r.below(4);
                a.padding = r.below(a.kernel / 2 + 1);
                a.include_padding = r.below(2) == 0;
                a.out = (a.in + 2 * a.padding - a.kernel) / a.stride + 1;
                if ((a.in + 2 * a.padding - a.kernel) % a.stride != 0 && a.out * a.stride < a.in + a.padding && r.below(2) == 0) ++a.out;
                if (r.below(4) == 0) a.override = 3;
            } else {
                a.out = r.below(3) == 0 ? 2 * a.in : r.below(3) == 0 ? (a.in + 1) / 2 : 1 + r.below(d == 2 ? 60 : 7);
                a.align_corners = (kind == k::BandKind::linear || kind == k::BandKind::cubic) && r.below(2) == 0;
                a.scale = a.align_corners ? (a.out > 1 ? double(a.in - 1) / double(a.out - 1) : 0) : double(a.in) / double(a.out);
            }
        }
        s.transposed = r.below(2) == 0;
        s.y.n = s.x.n;
        s.y.c = s.x.c;
        for (int d = 0; d < 3; ++d) {
            s.x.size[d] = s.transposed ? s.axes[d].out : s.axes[d].in;
            s.y.size[d] = s.transposed ? s.axes[d].in : s.axes[d].out;
        }
        const Order order = static_cast<Order>(r.below(4));
        arrange(s.x, order);
        s.y.pack();
        if (order == Order::channels_last) s.y.pack_channels_last();
        INFO("round " << round << ", kind " << static_cast<int>(kind) << ", order " << static_cast<int>(order) << ", axes " << axes << ", transposed " << s.transposed);
        const auto x = values<T>(r, extent(s.x), false);
        for (const bool add : {false, true}) {
            const std::vector<T> start(static_cast<std::size_t>(s.y.elements()), T(1.f));
            std::vector<T> expected = start;
            for (long i = 0; i < s.y.elements(); ++i) k::BandStep<T>{s, x.data(), expected.data(), add}(i);
            const auto y = numbers::on_threads(start, [&](T* to) { k::band(s, x.data(), to, add); });
            long wrong = 0;
            double worst = 0;
            // Weights are at most about 1 in sum along an axis (cubic ones 1.5), elements at most 2; transposed, up to 60 rows have a column.
            const double bound = numbers::epsilon<T>() * 4 + numbers::arithmetic<T>() * (s.transposed ? 4000 : 200);
            for (std::size_t i = 0; i < y.size(); ++i) {
                const double off = std::abs(static_cast<double>(static_cast<A>(y[i])) - static_cast<double>(static_cast<A>(expected[i]))) / (1 + std::abs(static_cast<double>(static_cast<A>(expected[i]))));
                wrong += !(off <= bound);
                worst = off > worst ? off : worst;
            }
            INFO("worst " << worst << ", bound " << bound);
            CHECK(wrong == 0);
        }
    }
}

TEST_CASE("averages of equal numbers are that number", "[pool]") {
    k::BandShape s;
    s.x.n = s.y.n = 1;
    s.x.size[1] = s.x.size[2] = 31;
    for (int d = 1; d < 3; ++d) {
        s.axes[d].in = 31;
        s.axes[d].kernel = 3;
        s.axes[d].stride = 2;
        s.axes[d].out = s.y.size[d] = 15;
    }
    s.x.pack();
    s.y.pack();
    const std::vector<float> x(31 * 31, 1.f);
    std::vector<float> y(15 * 15);
    k::band(s, x.data(), y.data(), false);
    for (float v : y) CHECK(v == 1.f);
}
