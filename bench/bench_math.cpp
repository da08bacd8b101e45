// Elementary functions and random fills on 4096 floats, which stay in L1: nanoseconds per element, one thread.
// Prints one JSON object per line; "value" is the best of the rounds, "median" their median, "peer" the same loop
// over the C library's scalar function (or, for random numbers, over std::mt19937) in the same run.
// Usage: bench_math [name]; TENON_ISA=sse2|avx2|avx512 lowers the instruction set.
#include <tenon/base/dispatch.hpp>
#include <tenon/base/simd_math.hpp>
#include <tenon/kernels/cpu/rng.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <random>
#include <vector>

namespace {

using namespace tenon;

constexpr long count = 4096;
constexpr int rounds = 51, passes = 40;

template <class Function>
struct Map {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(const float* x, float* y) {
        using V = simd<float, Lanes>;
        for (long i = 0; i < count; i += Lanes) Function::f(V::load(x + i)).store(y + i);
    }
};

// Nanoseconds per element of one measurement.
template <class F>
double time(F&& f) {
    const auto start = std::chrono::steady_clock::now();
    for (int p = 0; p < passes; ++p) {
        f();
        __asm__ volatile("" ::: "memory");
    }
    const std::chrono::duration<double, std::nano> spent = std::chrono::steady_clock::now() - start;
    return spent.count() / (double(count) * passes);
}

struct Case {
    const char *name, *peer_name;
    std::function<void()> ours, peer;
    std::vector<double> mine{}, theirs{};
};
std::vector<Case> cases;
const char* wanted = nullptr;

void add(const char* name, const char* peer_name, std::function<void()> ours, std::function<void()> peer) {
    if (wanted == nullptr || std::strcmp(wanted, name) == 0) cases.push_back({name, peer_name, ours, peer});
}

// Every case once per round, so that a slow spell of the machine hits all of them and not one.
void run_all() {
    for (int r = 0; r < rounds; ++r)
        for (Case& c : cases) {
            c.mine.push_back(time(c.ours));
            c.theirs.push_back(time(c.peer));
        }
    for (Case& c : cases) {
        std::sort(c.mine.begin(), c.mine.end());
        std::sort(c.theirs.begin(), c.theirs.end());
        std::printf("{\"case\":\"%s\",\"unit\":\"ns/element\",\"value\":%.4f,\"median\":%.4f,\"threads\":1,"
                    "\"isa\":\"%s\",\"peer\":\"%s\",\"peer_value\":%.4f,\"peer_median\":%.4f}\n",
                    c.name, c.mine[0], c.mine[rounds / 2], tenon::name(isa()), c.peer_name, c.theirs[0],
                    c.theirs[rounds / 2]);
    }
}

template <class Function>
void function(const char* name, float low, float high) {
    static float x[count], y[count];
    std::mt19937 bits(1);
    std::uniform_real_distribution<float> uniform(low, high);
    for (float& v : x) v = uniform(bits);
    add(name, "libm", [] { dispatch<Map<Function>>(static_cast<const float*>(x), static_cast<float*>(y)); },
        [] {
            for (long i = 0; i < count; ++i) y[i] = Function::peer(x[i]);
        });
}

#define FUNCTION(name, expression, scalar)                                      \
    struct name {                                                               \
        template <class V>                                                      \
        static TENON_ALWAYS_INLINE V f(const V& x) { return expression; }       \
        static float peer(float x) { return scalar; }                           \
    };
FUNCTION(Copy, x, x)
FUNCTION(Exp, math::exp(x), std::exp(x))
FUNCTION(Expm1, math::expm1(x), std::expm1(x))
FUNCTION(Log, math::log(x), std::log(x))
FUNCTION(Log1p, math::log1p(x), std::log1p(x))
FUNCTION(Tanh, math::tanh(x), std::tanh(x))
FUNCTION(Sigmoid, math::sigmoid(x), 1.f / (1.f + std::exp(-x)))
FUNCTION(Erf, math::erf(x), std::erf(x))
FUNCTION(Erfc, math::erfc(x), std::erfc(x))
FUNCTION(Gelu, V(0.5f) * x * math::erfc(x * V(-0.70710678f)), 0.5f * x * std::erfc(x * -0.70710678f))
FUNCTION(Sin, math::sin(x), std::sin(x))
FUNCTION(Cos, math::cos(x), std::cos(x))
FUNCTION(Pow, math::pow(x, V(1.7f)), std::pow(x, 1.7f))
FUNCTION(Sqrt, math::sqrt(x), std::sqrt(x))
FUNCTION(Rsqrt, math::rsqrt(x), 1.f / std::sqrt(x))

// Random fills against the standard library's generator and distributions.
void random_numbers() {
    namespace rng = kernels::cpu;
    static std::uint32_t words[count];
    static float x[count], y[count];
    static std::uint8_t flags[count];
    static std::int64_t integers[count];
    static const Key key{1};
    static std::mt19937 generator(1);
    for (float& v : x) v = 1.f;
    add("random words", "mt19937", [] { rng::random_words(key, 0, count, words); },
        [] {
            for (std::uint32_t& w : words) w = static_cast<std::uint32_t>(generator());
        });
    add("uniform", "mt19937", [] { rng::uniform(key, count, y); },
        [] {
            std::uniform_real_distribution<float> draw(0, 1);
            for (float& v : y) v = draw(generator);
        });
    add("normal", "mt19937", [] { rng::normal(key, count, y); },
        [] {
            std::normal_distribution<float> draw;
            for (float& v : y) v = draw(generator);
        });
    add("bernoulli", "mt19937", [] { rng::bernoulli(key, count, flags, 0.5); },
        [] {
            std::bernoulli_distribution draw(0.5);
            for (std::uint8_t& f : flags) f = draw(generator);
        });
    add("dropout", "mt19937", [] { rng::dropout(key, count, x, y, 0.5); },
        [] {
            for (long i = 0; i < count; ++i) y[i] = generator() < 0x80000000u ? x[i] * 2.f : 0.f;
        });
    add("random integers", "mt19937", [] { rng::integers(key, count, integers, 0, 1000); },
        [] {
            std::uniform_int_distribution<std::int64_t> draw(0, 999);
            for (std::int64_t& i : integers) i = draw(generator);
        });
    add("permutation", "std::shuffle", [] { rng::permutation(key, count, integers); },
        [] {
            for (long i = 0; i < count; ++i) integers[i] = i;
            std::shuffle(integers, integers + count, generator);
        });
}

}  // namespace

int main(int argc, char** argv) {
    if (argc > 1) wanted = argv[1];
    function<Copy>("copy", -1, 1);
    function<Exp>("exp", -20, 20);
    function<Expm1>("expm1", -5, 5);
    function<Log>("log", 1e-3f, 1e3f);
    function<Log1p>("log1p", -0.9f, 10);
    function<Tanh>("tanh", -5, 5);
    function<Sigmoid>("sigmoid", -10, 10);
    function<Erf>("erf", -3, 3);
    function<Erfc>("erfc", -3, 5);
    function<Gelu>("gelu", -4, 4);
    function<Sin>("sin", -10, 10);
    function<Cos>("cos", -10, 10);
    function<Pow>("pow", 0.01f, 10);
    function<Sqrt>("sqrt", 0, 10);
    function<Rsqrt>("rsqrt", 0.1f, 10);
    random_numbers();
    set_num_threads(1);
    run_all();
}
