// The elementary functions against libm in double, in ulp, and at every special value.
#include <tenon/base/dispatch.hpp>
#include <tenon/base/simd_math.hpp>

#include <catch2/catch.hpp>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

using namespace tenon;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

// Distance of `got` from the exact value, in units in the last place of the float next to it. Signs of zero, infinities
// and NaN count as 1e9 where they differ.
double ulps(double exact, float got) {
    if (std::isnan(exact)) return std::isnan(got) ? 0 : 1e9;
    const float nearest = static_cast<float>(exact);
    if (std::isinf(nearest) || std::isinf(got)) {
        if (nearest == got) return 0;
        // exact may round to inf although the largest float is within an ulp of it
        return !std::isinf(exact) && std::abs(got) == std::numeric_limits<float>::max() ? 1 : 1e9;
    }
    if (nearest == 0 && got == 0) return std::signbit(nearest) == std::signbit(got) ? std::abs(exact) / 0x1p-149 : 1e9;
    int exponent;
    std::frexp(exact, &exponent);
    return std::abs(got - exact) / std::ldexp(1.0, std::max(exponent - 24, -149));
}

template <class F>
struct Apply {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const float* x, float* y, long n) {
        using V = simd<float, Lanes>;
        for (long i = 0; i < n; i += Lanes) F::f(V::load(x + i)).store(y + i);
    }
};

// F of every x, in the lanes of the instruction set in use.
template <class F>
std::vector<float> apply(std::vector<float> x) {
    const std::size_t n = x.size();
    x.resize((n + 15) / 16 * 16, 1.f);
    std::vector<float> y(x.size());
    dispatch<Apply<F>>(static_cast<const float*>(x.data()), y.data(), static_cast<long>(x.size()));
    y.resize(n);
    return y;
}

struct Worst {
    double ulp = 0;
    float at = 0, got = 0;
};
template <class F>
Worst worst_of(const std::vector<float>& x) {
    const std::vector<float> y = apply<F>(x);
    Worst worst;
    for (std::size_t i = 0; i < x.size(); ++i) {
        const double u = ulps(F::exact(x[i]), y[i]);
        if (!(u <= worst.ulp)) worst = {u, x[i], y[i]};
    }
    return worst;
}

// Bit patterns over the whole range of floats, at a stride that meets every exponent and sign many times.
std::vector<float> everywhere() {
    std::vector<float> x;
    for (std::uint64_t bits = 0; bits < (1ull << 32); bits += 8191) x.push_back(__builtin_bit_cast(float, static_cast<std::uint32_t>(bits)));
    return x;
}
std::vector<float> between(float low, float high) {
    std::mt19937 random(1);
    std::uniform_real_distribution<float> uniform(low, high);
    std::vector<float> x(200000);
    for (float& v : x) v = uniform(random);
    return x;
}
std::vector<float> special() {
    using limits = std::numeric_limits<float>;
    std::vector<float> x = {0.f,     limits::denorm_min(), 0x1.fffffcp-127f, limits::min(), 0x1p-60f,  0x1p-25f, 0x1p-24f, 0.25f,
                            0.5f,    0.70710677f,          0.70710683f,      0.99999994f,   1.f,       1.0000001f, 1.4142135f, 1.4142137f,
                            2.f,     3.95f,                4.f,              9.01f,         10.05f,    10.1f,    16.6f,    17.4f,
                            26.f,    87.33f,               87.34f,           88.72f,        88.7228f,  88.7229f, 88.73f,   89.f,
                            103.2f,  103.97f,              103.98f,          104.f,         150.f,     12799.99f, 12800.f, 0x1p23f,
                            0x1p24f, 0x1p30f,              0x1p31f,          0x1p127f,      limits::max(), infinity, not_a_number};
    const std::size_t positive = x.size();
    for (std::size_t i = 0; i < positive; ++i) x.push_back(-x[i]);
    return x;
}

template <class F>
void check(double limit, float low, float high) {
    for (const std::vector<float>& x : {special(), everywhere(), between(low, high)}) {
        const Worst worst = worst_of<F>(x);
        INFO("at " << worst.at << ": got " << worst.got << ", exact " << F::exact(worst.at) << ", ISA " << name(isa()));
        CHECK(worst.ulp <= limit);
    }
}

#define FUNCTION(name, value, reference)                                  \
    struct name {                                                         \
        template <class V>                                                \
        static TENON_ALWAYS_INLINE V f(const V& x) { return value; }      \
        static double exact(double x) { return reference; }               \
    };
FUNCTION(Exp, math::exp(x), std::exp(x))
FUNCTION(Expm1, math::expm1(x), std::expm1(x))
FUNCTION(Log, math::log(x), std::log(x))
FUNCTION(Log1p, math::log1p(x), std::log1p(x))
FUNCTION(Tanh, math::tanh(x), std::tanh(x))
FUNCTION(Sigmoid, math::sigmoid(x), 1 / (1 + std::exp(-x)))
FUNCTION(Erf, math::erf(x), std::erf(x))
FUNCTION(Erfc, math::erfc(x), std::erfc(x))
FUNCTION(Sin, math::sin(x), std::sin(x))
FUNCTION(Cos, math::cos(x), std::cos(x))
FUNCTION(Sqrt, math::sqrt(x), std::sqrt(x))
FUNCTION(Rsqrt, math::rsqrt(x), 1 / std::sqrt(x))
FUNCTION(Floor, math::floor(x), std::floor(x))
FUNCTION(Round, math::round(x), std::nearbyint(x))
FUNCTION(Ceil, math::ceil(x), std::ceil(x))
FUNCTION(Trunc, math::trunc(x), std::trunc(x))
FUNCTION(Exp2, math::exp2(x), std::exp2(x))
FUNCTION(Log2, math::log2(x), std::log2(x))
FUNCTION(Log10, math::log10(x), std::log10(x))
FUNCTION(Tan, math::tan(x), std::tan(x))
FUNCTION(Asin, math::asin(x), std::asin(x))
FUNCTION(Acos, math::acos(x), std::acos(x))
FUNCTION(Atan, math::atan(x), std::atan(x))
FUNCTION(Sinh, math::sinh(x), std::sinh(x))
FUNCTION(Cosh, math::cosh(x), std::cosh(x))
FUNCTION(Gelu, V(0.5f) * x * math::erfc(x * V(-0.70710678f)), 0.5 * x * std::erfc(x * -0.70710678118654752))

}  // namespace

TEST_CASE("exp, expm1, log and log1p keep their stated error everywhere") {
    check<Exp>(1.05, -104, 89);
    check<Expm1>(1.7, -3, 3);
    check<Log>(0.85, 0, 10);
    check<Log1p>(1.5, -1, 3);
}

TEST_CASE("tanh, sigmoid, erf and erfc keep their stated error everywhere") {
    check<Tanh>(2.6, -5, 5);
    check<Sigmoid>(2.3, -20, 20);
    check<Erf>(1.35, -4, 4);
    check<Erfc>(5.2, -4, 10.1f);
}

TEST_CASE("sin and cos keep their stated error everywhere, far arguments included") {
    check<Sin>(2.4, -100, 100);
    check<Cos>(2.4, -100, 100);
    check<Sin>(2.4, -12900, 12900);
    check<Cos>(2.4, -12900, 12900);
}

TEST_CASE("sin and cos stay accurate where they pass through zero") {
    // The floats next to k pi / 2, where all leading digits cancel in the argument reduction.
    std::vector<float> x;
    for (int k = 1; k < 8140; ++k) {
        const float near = static_cast<float>(k * 1.5707963267948966);
        x.push_back(near);
        x.push_back(std::nextafter(near, 0.f));
        x.push_back(std::nextafter(near, infinity));
    }
    // Up to here the reduction is exact to 2^-46.
    for (const Worst& worst : {worst_of<Sin>(x), worst_of<Cos>(x)}) {
        INFO("at " << worst.at << ": got " << worst.got << ", ISA " << name(isa()));
        CHECK(worst.ulp <= 2.5);
    }
}

TEST_CASE("sqrt is correctly rounded; rsqrt, floor and round keep their stated error") {
    check<Sqrt>(0.5, 0, 100);
    check<Rsqrt>(1.5, 0, 100);
    check<Floor>(0, -100, 100);
    check<Round>(0, -100, 100);
}

TEST_CASE("exp2, log2, log10, ceil and trunc keep their stated error everywhere") {
    check<Exp2>(1.03, -151, 129);
    check<Log2>(1.02, 0, 10);
    check<Log10>(0.93, 0, 10);
    check<Ceil>(0, -100, 100);
    check<Trunc>(0, -100, 100);
    for (int k = -149; k < 128; ++k) {
        const float power = std::ldexp(1.f, k);
        CHECK(apply<Log2>({power})[0] == float(k));
        CHECK(apply<Exp2>({float(k)})[0] == power);
    }
}

TEST_CASE("tan, its inverse and the hyperbolic functions keep their stated error everywhere") {
    check<Tan>(3.6, -100, 100);
    check<Tan>(3.6, -12900, 12900);
    check<Asin>(2.0, -1, 1);
    check<Acos>(1.3, -1, 1);
    check<Atan>(2.45, -5, 5);
    check<Sinh>(1.65, -3, 3);
    check<Cosh>(1.45, -3, 3);
}

TEST_CASE("gelu by erfc keeps its relative precision in the left tail") {
    const std::vector<float> x = between(-8, 4), y = apply<Gelu>(x);
    double worst = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
        const double exact = Gelu::exact(x[i]);
        // A relative error of t = x / sqrt2 costs 2 t^2 = x^2 times as much of erfc: 2^-24 from rounding the product,
        // 0.3 * 2^-24 from rounding 1 / sqrt2. Erfc itself and the two products cost 6.5 * 2^-24 at most.
        worst = std::max(worst, std::abs(y[i] - exact) / (std::abs(exact) * (6.5 + 1.3 * x[i] * x[i])));
    }
    CHECK(worst <= 0x1p-24);
}

TEST_CASE("one lane's special value does not disturb its neighbours") {
    for (const float intruder : {infinity, -infinity, not_a_number, 1e30f, -1.f}) {
        const std::vector<float> clean(16, 0.75f);
        std::vector<float> mixed = clean;
        mixed[5] = intruder;
        const auto same_but = [](const std::vector<float>& a, const std::vector<float>& b) {
            for (std::size_t i = 0; i < 16; ++i)
                if (i != 5 && a[i] != b[i]) return false;
            return true;
        };
        CHECK(same_but(apply<Exp>(clean), apply<Exp>(mixed)));
        CHECK(same_but(apply<Log>(clean), apply<Log>(mixed)));
        CHECK(same_but(apply<Erf>(clean), apply<Erf>(mixed)));
        // A far argument sends all lanes to libm: equal to the last place, not to the last bit.
        const std::vector<float> a = apply<Sin>(clean), b = apply<Sin>(mixed);
        for (std::size_t i = 0; i < 16; ++i)
            if (i != 5) CHECK(std::abs(a[i] - b[i]) <= 0x1p-24f);
    }
}

namespace {
struct PowBody {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const float* x, const float* y, float* out, long n) {
        using V = simd<float, Lanes>;
        for (long i = 0; i < n; i += Lanes) math::pow(V::load(x + i), V::load(y + i)).store(out + i);
    }
};
}  // namespace

TEST_CASE("pow has libm's results for every pair of special values, and its accuracy elsewhere") {
    std::vector<float> x, y;
    std::vector<float> values = special();
    for (const float v : {3.f, -3.f, 7.f, -7.f, 1.5f, -1.5f, 0x1.fffffep23f, 0x1.fffffep22f, -0x1p23f}) values.push_back(v);
    for (const float a : values)
        for (const float b : values) {
            x.push_back(a);
            y.push_back(b);
        }
    const std::vector<float> bases = between(0, 30), exponents = between(-20, 20);
    x.insert(x.end(), bases.begin(), bases.end());
    y.insert(y.end(), exponents.begin(), exponents.end());
    const std::size_t n = x.size();
    x.resize((n + 15) / 16 * 16, 1.f);
    y.resize(x.size(), 1.f);
    std::vector<float> out(x.size());
    dispatch<PowBody>(static_cast<const float*>(x.data()), static_cast<const float*>(y.data()), out.data(), static_cast<long>(x.size()));
    Worst worst;
    float with = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const double u = ulps(std::pow(double(x[i]), double(y[i])), out[i]);
        if (!(u <= worst.ulp)) worst = {u, x[i], out[i]}, with = y[i];
    }
    INFO(worst.at << " ^ " << with << " = " << worst.got << ", exact " << std::pow(double(worst.at), double(with)));
    CHECK(worst.ulp <= 0.7);
}

namespace {
template <class F>
struct ApplyPair {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const float* x, const float* y, float* out, long n) {
        using V = simd<float, Lanes>;
        for (long i = 0; i < n; i += Lanes) F::f(V::load(x + i), V::load(y + i)).store(out + i);
    }
};
#define FUNCTION2(name, value, reference)                                        \
    struct name {                                                                \
        template <class V>                                                       \
        static TENON_ALWAYS_INLINE V f(const V& x, const V& y) { return value; } \
        static double exact(double x, double y) { return reference; }            \
    };
FUNCTION2(Atan2, math::atan2(x, y), std::atan2(x, y))
FUNCTION2(Hypot, math::hypot(x, y), std::hypot(x, y))
FUNCTION2(Fmod, math::fmod(x, y), std::fmod(x, y))

// Every pair of special values, and many ordinary ones.
template <class F>
void check_pairs(double limit) {
    std::vector<float> x, y;
    for (const float a : special())
        for (const float b : special()) {
            x.push_back(a);
            y.push_back(b);
        }
    const std::vector<float> a = between(-30, 30), b = between(-20, 20);
    x.insert(x.end(), a.begin(), a.end());
    y.insert(y.end(), b.rbegin(), b.rend());
    const std::size_t n = x.size();
    x.resize((n + 15) / 16 * 16, 1.f);
    y.resize(x.size(), 1.f);
    std::vector<float> out(x.size());
    dispatch<ApplyPair<F>>(static_cast<const float*>(x.data()), static_cast<const float*>(y.data()), out.data(), static_cast<long>(x.size()));
    Worst worst;
    float with = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const double u = ulps(F::exact(double(x[i]), double(y[i])), out[i]);
        if (!(u <= worst.ulp)) worst = {u, x[i], out[i]}, with = y[i];
    }
    INFO("of " << worst.at << " and " << with << ": got " << worst.got << ", exact " << F::exact(double(worst.at), double(with)) << ", ISA " << name(isa()));
    CHECK(worst.ulp <= limit);
}
}  // namespace

TEST_CASE("atan2, hypot and fmod have libm's results for every pair of special values, and their stated error elsewhere") {
    check_pairs<Atan2>(2.8);
    check_pairs<Hypot>(1.2);
    check_pairs<Fmod>(0.5);
}

TEST_CASE("double vectors agree with libm to the bit") {
    const double values[] = {0., -0., 0.3, -0.7, 1.5, -3., 20., 700., 1e-310, 1e300, std::numeric_limits<double>::infinity(), -1.};
    using V = simd<double, 4>;
    const auto same = [](double a, double b) { return std::memcmp(&a, &b, sizeof a) == 0 || (std::isnan(a) && std::isnan(b)); };
    for (const double a : values)
        for (const double b : values) {
            alignas(32) double in[4] = {a, b, -a, 0.5}, other[4] = {b, 2., 3., a};
            const V x = V::load(in);
            for (int i = 0; i < 4; ++i) {
                CHECK(same(math::exp(x)[i], std::exp(in[i])));
                CHECK(same(math::expm1(x)[i], std::expm1(in[i])));
                CHECK(same(math::log(x)[i], std::log(in[i])));
                CHECK(same(math::log1p(x)[i], std::log1p(in[i])));
                CHECK(same(math::tanh(x)[i], std::tanh(in[i])));
                CHECK(same(math::erf(x)[i], std::erf(in[i])));
                CHECK(same(math::erfc(x)[i], std::erfc(in[i])));
                CHECK(same(math::sin(x)[i], std::sin(in[i])));
                CHECK(same(math::cos(x)[i], std::cos(in[i])));
                CHECK(same(math::sqrt(x)[i], std::sqrt(in[i])));
                CHECK(same(math::exp2(x)[i], std::exp2(in[i])));
                CHECK(same(math::log2(x)[i], std::log2(in[i])));
                CHECK(same(math::log10(x)[i], std::log10(in[i])));
                CHECK(same(math::tan(x)[i], std::tan(in[i])));
                CHECK(same(math::asin(x)[i], std::asin(in[i])));
                CHECK(same(math::acos(x)[i], std::acos(in[i])));
                CHECK(same(math::atan(x)[i], std::atan(in[i])));
                CHECK(same(math::sinh(x)[i], std::sinh(in[i])));
                CHECK(same(math::cosh(x)[i], std::cosh(in[i])));
                CHECK(same(math::ceil(x)[i], std::ceil(in[i])));
                CHECK(same(math::trunc(x)[i], std::trunc(in[i])));
                CHECK(same(math::atan2(x, V::load(other))[i], std::atan2(in[i], other[i])));
                CHECK(same(math::fmod(x, V::load(other))[i], std::fmod(in[i], other[i])));
                CHECK(same(math::hypot(x, V::load(other))[i], std::hypot(in[i], other[i])));
                CHECK(same(math::sigmoid(x)[i], math::sigmoid(in[i])));
                CHECK(same(math::pow(x, V::load(other))[i], std::pow(in[i], other[i])));
            }
        }
}

namespace {
// A functor as users of the kernels write it: one text for scalars and vectors.
struct Formula {
    template <class V>
    TENON_ALWAYS_INLINE V operator()(const V& x) const {
        const V e = math::exp(-math::abs(x)) + math::sqrt(math::max(x, V(0)));
        return math::select(x > V(0), math::tanh(e) * math::sigmoid(x), math::min(math::log1p(e), math::cos(math::sin(x)))) +
               math::copysign(math::floor(e), x) - math::round(math::erf(x)) + math::rsqrt(V(1) + math::expm1(math::abs(x))) +
               math::pow(V(1) + e, V(1.5f)) * math::erfc(x) + math::log(V(2) + e);
    }
};
template <class T, int N>
void compare_formula() {
    std::vector<T> x(static_cast<std::size_t>(64 * N));
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = T(i) * T(0.11) - T(N * 3);
    const T tolerance = sizeof(T) == 4 ? T(1e-5) : T(1e-13);
    for (std::size_t i = 0; i < x.size(); i += N) {
        const auto y = Formula{}(simd<T, N>::load(&x[i]));
        for (int l = 0; l < N; ++l) {
            const T scalar = Formula{}(x[i + std::size_t(l)]);
            CHECK(std::abs(y[l] - scalar) <= tolerance * (1 + std::abs(scalar)));
        }
    }
}
}  // namespace

TEST_CASE("a functor gives the same for scalars and vectors") {
    compare_formula<float, 4>();
    compare_formula<double, 2>();
    CHECK(math::sigmoid(-100.f) == std::exp(-100.f));
    CHECK(math::sigmoid(1000.) == 1.);
    CHECK(std::isnan(math::min(1.f, not_a_number)));
    CHECK(std::isnan(math::min(not_a_number, 1.f)));
    CHECK(std::isnan(math::max(1., std::nan(""))));
    CHECK(std::isnan(math::max(std::nan(""), 1.)));
    CHECK(math::min(2.f, -3.f) == -3.f);
    CHECK(math::max(2.f, -3.f) == 2.f);
    CHECK(math::round(2.5f) == 2.f);
    CHECK(math::select(true, 1.f, 2.f) == 1.f);
}
