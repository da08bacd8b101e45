// simd<T, N>, its masks and the 16-bit formats, lane by lane against scalar code, inside loops of every instruction set.
#include <tenon/base/dispatch.hpp>
#include <tenon/base/simd.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

using namespace tenon;

namespace {

template <class T>
std::vector<T> samples(unsigned seed) {
    std::mt19937_64 random(seed);
    std::vector<T> x(64);
    for (T& v : x) {
        if constexpr (std::is_floating_point_v<T>) v = static_cast<T>(std::uniform_real_distribution<double>(-100, 100)(random));
        else v = static_cast<T>(random());
    }
    if constexpr (std::is_floating_point_v<T>) {
        const T edges[] = {T(0), -T(0), T(1), T(-2.5), T(3.5), std::numeric_limits<T>::infinity(), -std::numeric_limits<T>::infinity(),
                           std::numeric_limits<T>::quiet_NaN(), std::numeric_limits<T>::denorm_min(), std::numeric_limits<T>::max()};
        std::size_t at = seed;
        for (const T e : edges) x[at = (at + 7) % 64] = e;
    } else {
        x[3] = std::numeric_limits<T>::min();
        x[5] = std::numeric_limits<T>::max();
        x[7] = 0;
        x[11] = static_cast<T>(-1);
    }
    x[20] = T(5);
    return x;
}

template <class T>
bool same(T a, T b) {
    if constexpr (std::is_floating_point_v<T>)
        if (std::isnan(a) && std::isnan(b)) return true;
    return std::memcmp(&a, &b, sizeof(T)) == 0;
}

enum Operation { add, subtract, multiply, divide, negate, smaller, larger, chosen, magnitude, less_mask, less_equal, greater, greater_equal,
                 equal, unequal, mask_logic, root, signs, down, nearest, operations };


// What lane arithmetic should give.
template <class T>
T expected(int operation, T a, T b) {
    using Wide = std::conditional_t<std::is_floating_point_v<T>, T, std::conditional_t<sizeof(T) == 8, std::uint64_t, std::uint32_t>>;
    const Wide x = static_cast<Wide>(a), y = static_cast<Wide>(b);
    switch (operation) {
        case add: return static_cast<T>(x + y);
        case subtract: return static_cast<T>(x - y);
        case multiply: return static_cast<T>(x * y);
        case negate: return static_cast<T>(std::is_floating_point_v<T> ? -x : Wide(0) - x);
        case smaller: return b < a || b != b ? b : a;
        case larger: return b > a || b != b ? b : a;
        case chosen: return a < b ? a : b;
        case less_mask: return T(a < b);
        case less_equal: return T(a <= b);
        case greater: return T(a > b);
        case greater_equal: return T(a >= b);
        case equal: return T(a == b);
        case unequal: return T(a != b);
        case mask_logic: return T(((a < b) ^ !(a == b)) || ((a < b) && (b > a)));
        default: break;
    }
    if constexpr (std::is_floating_point_v<T>) {
        switch (operation) {
            case divide: return a / b;
            case magnitude: return std::abs(a);
            case root: return std::sqrt(a);
            case signs: return std::copysign(a, b);
            case down: return std::floor(a);
            case nearest: return std::nearbyint(a);
            default: break;
        }
    } else if (operation == magnitude) {
        return static_cast<T>(std::is_signed_v<T> && a < 0 ? Wide(0) - x : x);
    }
    return a;
}

template <class T>
struct Arithmetic {
    template <int N>
    static TENON_ALWAYS_INLINE void lanes(const T* pa, const T* pb, T* out) {
        using V = simd<T, N>;
        const V zero(0), one(1);
        for (int i = 0; i < 64; i += N) {
            const V a = V::load(pa + i), b = V::load(pb + i);
            T* o = out + i;
            (a + b).store(o + 64 * add);
            (a - b).store(o + 64 * subtract);
            (a * b).store(o + 64 * multiply);
            (-a).store(o + 64 * negate);
            min(a, b).store(o + 64 * smaller);
            max(a, b).store(o + 64 * larger);
            select(a < b, a, b).store(o + 64 * chosen);
            abs(a).store(o + 64 * magnitude);
            select(a < b, one, zero).store(o + 64 * less_mask);
            select(a <= b, one, zero).store(o + 64 * less_equal);
            select(a > b, one, zero).store(o + 64 * greater);
            select(a >= b, one, zero).store(o + 64 * greater_equal);
            select(a == b, one, zero).store(o + 64 * equal);
            select(a != b, one, zero).store(o + 64 * unequal);
            select(((a < b) ^ ~(a == b)) | ((a < b) & (b > a)), one, zero).store(o + 64 * mask_logic);
            if constexpr (std::is_floating_point_v<T>) {
                (a / b).store(o + 64 * divide);
                sqrt(a).store(o + 64 * root);
                copysign(a, b).store(o + 64 * signs);
                floor(a).store(o + 64 * down);
                round(a).store(o + 64 * nearest);
            } else {
                for (const int operation : {int(divide), int(root), int(signs), int(down), int(nearest)}) a.store(o + 64 * operation);
            }
        }
    }
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const T* a, const T* b, T* out) {
        // As many lanes as the loop's registers hold, but at least 2 and at most 16.
        constexpr int n = Lanes * 4 / int(sizeof(T));
        lanes<(n > 16 ? 16 : n)>(a, b, out);
    }
};

template <class T>
void check_arithmetic() {
    const std::vector<T> a = samples<T>(1), b = samples<T>(2);
    std::vector<T> out(64 * operations);
    dispatch<Arithmetic<T>>(a.data(), b.data(), out.data());
    for (int operation = 0; operation < operations; ++operation)
        for (std::size_t i = 0; i < 64; ++i) {
            const T want = expected<T>(operation, a[i], b[i]), got = out[std::size_t(operation) * 64 + i];
            if (!same(want, got)) {
                INFO("operation " << operation << " on " << +a[i] << ", " << +b[i] << ": got " << +got << ", expected " << +want << ", ISA "
                                  << name(isa()));
                CHECK(same(want, got));
            }
        }
    CHECK(same(out[20 + 64 * equal], T(1)));  // lane 20 holds equal values
}

}  // namespace

TEST_CASE("arithmetic, comparison and selection are lane by lane, for every type") {
    check_arithmetic<float>();
    check_arithmetic<double>();
    check_arithmetic<std::int8_t>();
    check_arithmetic<std::uint8_t>();
    check_arithmetic<std::int16_t>();
    check_arithmetic<std::uint16_t>();
    check_arithmetic<std::int32_t>();
    check_arithmetic<std::uint32_t>();
    check_arithmetic<std::int64_t>();
    check_arithmetic<std::uint64_t>();
}

namespace {
struct Conversions {
    template <int N>
    static TENON_ALWAYS_INLINE void run(const float* x, std::int32_t* ints, double* doubles, float* back, std::int64_t* longs,
                                        std::uint32_t* bits, std::uint8_t* bytes, float* sum, float* lane) {
        using V = simd<float, N>;
        *sum = 0;
        for (int i = 0; i < 64; i += N) {
            const V v = V::load(x + i);
            convert<std::int32_t>(v).store(ints + i);
            bit_cast<std::uint32_t>(v).store(bits + i);
            convert<std::uint8_t>(convert<std::int32_t>(abs(v))).store(bytes + i);
            // 64-bit lanes in halves, as no more than 16 lanes exist and registers hold half as many.
            if constexpr (N <= 8) {
                convert<double>(v).store(doubles + i);
                convert<float>(convert<double>(v)).store(back + i);
                convert<std::int64_t>(v).store(longs + i);
                // A mask made by floats selects doubles.
                select(v < V(0), convert<double>(-v), convert<double>(v)).store(doubles + i);
            } else {
                for (int j = 0; j < N; j += 8) {
                    const auto h = simd<float, 8>::load(x + i + j);
                    convert<float>(convert<double>(h)).store(back + i + j);
                    convert<std::int64_t>(h).store(longs + i + j);
                    select(h < simd<float, 8>(0), convert<double>(-h), convert<double>(h)).store(doubles + i + j);
                }
            }
            *sum += reduce_add(v);
            for (int l = 0; l < N; ++l) lane[i + l] = v[l];
        }
    }
};
}  // namespace

TEST_CASE("conversions, bit casts, masks across widths and sums of lanes") {
    float x[64], back[64], lane[64], sum;
    std::int32_t ints[64];
    double doubles[64];
    std::int64_t longs[64];
    std::uint32_t bits[64];
    std::uint8_t bytes[64];
    float total = 0;
    for (int i = 0; i < 64; ++i) total += x[i] = float(i * 3 - 96) + 0.25f * float(i % 4);
    dispatch<Conversions>(static_cast<const float*>(x), &ints[0], &doubles[0], &back[0], &longs[0], &bits[0], &bytes[0], &sum, &lane[0]);
    for (int i = 0; i < 64; ++i) {
        CHECK(ints[i] == static_cast<std::int32_t>(x[i]));
        CHECK(doubles[i] == std::abs(double(x[i])));
        CHECK(back[i] == x[i]);
        CHECK(longs[i] == static_cast<std::int64_t>(x[i]));
        CHECK(bits[i] == __builtin_bit_cast(std::uint32_t, x[i]));
        CHECK(bytes[i] == static_cast<std::uint8_t>(std::abs(x[i])));
        CHECK(lane[i] == x[i]);
    }
    CHECK(sum == total);  // quarters of this size add exactly
}

namespace {
struct Rounding {
    template <int N>
    static TENON_ALWAYS_INLINE void run(const float* x, float* rounded, float* floored, long n) {
        for (long i = 0; i < n; i += N) {
            round(simd<float, N>::load(x + i)).store(rounded + i);
            floor(simd<float, N>::load(x + i)).store(floored + i);
        }
    }
};
}  // namespace

TEST_CASE("round and floor around every power of two, ties included") {
    std::vector<float> x;
    for (int e = -3; e <= 31; ++e)
        for (const float step : {0.f, 0.25f, 0.5f, 0.75f, 1.f, 1.5f, 2.5f}) {
            const float p = std::ldexp(1.f, e);
            for (const float v : {p + step, p - step, std::nextafter(p + step, 0.f), std::nextafter(p + step, 1e30f)}) {
                x.push_back(v);
                x.push_back(-v);
            }
        }
    while (x.size() % 16 != 0) x.push_back(0.49999997f);
    std::vector<float> rounded(x.size()), floored(x.size());
    dispatch<Rounding>(static_cast<const float*>(x.data()), rounded.data(), floored.data(), static_cast<long>(x.size()));
    for (std::size_t i = 0; i < x.size(); ++i) {
        INFO(x[i]);
        CHECK(same(rounded[i], std::nearbyint(x[i])));
        CHECK(same(floored[i], std::floor(x[i])));
    }
}

namespace {
struct Halves {
    template <int N>
    static TENON_ALWAYS_INLINE void run(const half* h, const bf16* b, float* from_half, float* from_bf16, const float* x, half* to_half,
                                        bf16* to_bf16, long n) {
        for (long i = 0; i < n; i += N) {
            load_as_float<N>(h + i).store(from_half + i);
            load_as_float<N>(b + i).store(from_bf16 + i);
            const auto v = simd<float, N>::load(x + i);
            store_float(to_half + i, v);
            store_float(to_bf16 + i, v);
        }
    }
};

// The exact value of a half, from its definition.
float half_by_definition(unsigned bits) {
    const unsigned exponent = bits >> 10 & 31, mantissa = bits & 1023;
    float value;
    if (exponent == 31) value = mantissa != 0 ? std::nanf("") : std::numeric_limits<float>::infinity();
    else if (exponent == 0) value = std::ldexp(float(mantissa), -24);
    else value = std::ldexp(float(mantissa + 1024), int(exponent) - 25);
    return bits >> 15 != 0 ? -value : value;
}
}  // namespace

TEST_CASE("all halves and bf16s load exactly; stores round to nearest even, lanes and scalars alike") {
    constexpr long n = 65536;
    std::vector<half> h(n), to_half(n);
    std::vector<bf16> b(n), to_bf16(n);
    std::vector<float> from_half(n), from_bf16(n), x(n);
    for (unsigned i = 0; i < n; ++i) {
        h[i].bits = static_cast<std::uint16_t>(i);
        b[i].bits = static_cast<std::uint16_t>(i);
    }
    // Floats at, and right beside, halfway points between neighbouring halves; then bit patterns of all kinds.
    for (unsigned i = 0; i < n; ++i) {
        const float low = half_by_definition(i / 4), high = half_by_definition(i / 4 + 1), middle = 0.5f * (low + high);
        x[i] = i % 4 == 0 ? middle : i % 4 == 1 ? std::nextafter(middle, low) : i % 4 == 2 ? std::nextafter(middle, high) : -middle;
        if (i / 4 >= 0x7bff || i % 16 == 15) x[i] = __builtin_bit_cast(float, i * 65599u);
    }
    dispatch<Halves>(static_cast<const half*>(h.data()), static_cast<const bf16*>(b.data()), from_half.data(), from_bf16.data(),
                     static_cast<const float*>(x.data()), to_half.data(), to_bf16.data(), n);
    long wrong = 0;
    for (unsigned i = 0; i < n; ++i) {
        wrong += !same(from_half[i], half_by_definition(i));
        wrong += !same(static_cast<float>(h[i]), half_by_definition(i));
        wrong += !same(from_bf16[i], __builtin_bit_cast(float, i << 16));
        wrong += !same(static_cast<float>(b[i]), __builtin_bit_cast(float, i << 16));
        // Lanes give the scalar conversion's bits; of a NaN only that it is one.
        const bool nan = std::isnan(x[i]);
        wrong += nan ? (to_half[i].bits & 0x7fff) <= 0x7c00 : to_half[i].bits != half(x[i]).bits;
        wrong += nan ? (to_bf16[i].bits & 0x7fff) <= 0x7f80 : to_bf16[i].bits != bf16(x[i]).bits;
        if (nan) continue;
        // And they are the nearest: no neighbour is closer, and of two equally close the even one was taken.
        const unsigned bits = to_half[i].bits & 0x7fffu;
        const double magnitude = std::abs(double(x[i]));
        if (bits >= 0x7c00) {
            wrong += magnitude < 65520;
        } else {
            const auto distance = [&](unsigned candidate) {
                const double value = candidate == 0x7c00 ? 65536 : double(half_by_definition(candidate));
                return std::abs(value - magnitude);
            };
            const double here = distance(bits);
            for (const unsigned other : {bits - 1, bits + 1}) {
                if (other > 0x7c00) continue;
                wrong += distance(other) < here || (distance(other) == here && bits % 2 != 0);
            }
        }
    }
    CHECK(wrong == 0);
    CHECK(bf16(0x1.01p0f).bits == 0x3f80);   // halfway: to even
    CHECK(bf16(0x1.03p0f).bits == 0x3f82);
    CHECK(bf16(0x1.010002p0f).bits == 0x3f81);
    CHECK(bf16(std::numeric_limits<float>::max()).bits == 0x7f80);
}

TEST_CASE("roots of vectors that fill less than a register") {
    const float in[2] = {4, 6.25f};
    float out[2] = {};
    sqrt(simd<float, 2>::load(in)).store(out);
    CHECK(out[0] == 2);
    CHECK(out[1] == 2.5f);
}
