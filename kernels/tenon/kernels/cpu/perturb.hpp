// Weights with noise: mean + deviation * e or mean * (1 + deviation * e), where e has mean 0 and variance 1 and is a function of
// (key, index) alone. The backward pass draws it again, so it is never stored.
//
// Memory per float: mean and deviation read, the result written, 12 bytes; drawing a normal takes longer than moving them.
#pragma once

#include <tenon/kernels/cpu/rng.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {

// What e is: normal; uniform in [-sqrt(3), sqrt(3)]; or of two values, -sqrt((1 - p) / p) with probability p and
// sqrt(p / (1 - p)) else, in the places that dropout under the same key and p drops and keeps.
enum class NoiseFamily : std::uint8_t { gaussian, uniform, bernoulli };

struct NoiseKind {
    NoiseFamily family = NoiseFamily::gaussian;
    bool multiplicative = false;
    double p = 0.5;  // bernoulli only, in (0, 1)
};

namespace impl {

inline void check_noise(const char* operation, const NoiseKind& kind) {
    if (kind.family == NoiseFamily::bernoulli && !(kind.p > 0 && kind.p < 1))
        fail<ValueError>(operation, ": Bernoulli noise of probability ", kind.p, ", expected a number between 0 and 1");
}
constexpr double root_of_three = 1.7320508075688772;

// The numbers of a family: uniform starts at low and moves by step for each draw; Bernoulli is low above `keep`, high at or
// below it.
template <class T>
struct NoiseNumbers {
    NoiseFamily family;
    bool multiplicative;
    std::uint32_t keep;
    T low, high, step;
    explicit NoiseNumbers(const NoiseKind& kind) : family(kind.family), multiplicative(kind.multiplicative), keep(0), low(T(-root_of_three)), high(0), step(0) {
        if (family == NoiseFamily::uniform) step = T(2 * root_of_three) * (sizeof(T) == 8 ? T(0x1p-53) : T(0x1p-24));
        if (family != NoiseFamily::bernoulli) return;
        const std::uint64_t kept = bernoulli_threshold(1 - kind.p);  // of the draw's 2^32 values
        keep = static_cast<std::uint32_t>(kept > 0 ? kept - 1 : 0);
        low = T(-__builtin_sqrt((1 - kind.p) / kind.p));
        high = T(__builtin_sqrt(kind.p / (1 - kind.p)));
    }
};

}  // namespace impl

// ---- Reference versions ---------------------------------------------------------------------------------------------

namespace reference {

// The noise of element i.
template <class T>
T standard_noise(const NoiseKind& kind, Key key, std::uint64_t i) {
    const impl::NoiseNumbers<T> numbers(kind);
    T e;
    if (kind.family == NoiseFamily::gaussian) normal(key, i, 1, &e, T(0), T(1));
    else if (kind.family == NoiseFamily::uniform) uniform(key, i, 1, &e, T(-impl::root_of_three), T(impl::root_of_three));
    else e = random_word(key, i) <= numbers.keep ? numbers.high : numbers.low;
    return e;
}
template <class T>
void perturb(const NoiseKind& kind, Key key, long n, const T* mean, const T* deviation, T constant, T* out, std::uint64_t first = 0) {
    for (long i = 0; i < n; ++i) {
        const T term = (deviation != nullptr ? deviation[i] : constant) * standard_noise<T>(kind, key, first + static_cast<std::uint64_t>(i));
        out[i] = kind.multiplicative ? mean[i] + mean[i] * term : mean[i] + term;
    }
}
template <class T>
void perturb_backward(const NoiseKind& kind, Key key, long n, const T* mean, const T* deviation, T constant, const T* dout, T* dmean, T* ddeviation,
                      std::uint64_t first = 0) {
    for (long i = 0; i < n; ++i) {
        const T e = standard_noise<T>(kind, key, first + static_cast<std::uint64_t>(i)), d = deviation != nullptr ? deviation[i] : constant;
        if (dmean != nullptr) dmean[i] = kind.multiplicative ? dout[i] + dout[i] * (d * e) : dout[i];
        if (ddeviation != nullptr) ddeviation[i] = (kind.multiplicative ? dout[i] * mean[i] : dout[i]) * e;
    }
}

}  // namespace reference

// ---- Fast versions --------------------------------------------------------------------------------------------------

namespace impl {

template <class T>
struct NoiseBlock {
    rng::NormalBlock<T> normal;
    // The noise of the elements [at, at + m), m <= normal_step.
    template <int Lanes>
    TENON_ALWAYS_INLINE const T* fill(const NoiseNumbers<T>& numbers, Key key, std::uint64_t at, long m) {
        constexpr bool wide = std::is_same_v<T, double>;
        constexpr int L = wide ? Lanes / 2 : Lanes;
        using V = simd<T, L>;
        if (numbers.family == NoiseFamily::gaussian) return normal.template fill<Lanes>(key, at, m);
        T* z = normal.z;
        if (numbers.family == NoiseFamily::uniform) {
            const std::uint32_t* words = normal.buffer.template fill<Lanes>(key, at * (wide ? 2 : 1), m * (wide ? 2 : 1));
            for (long j = 0; j < m; j += L) {
                if constexpr (wide) rng::shifted(V(numbers.low), rng::top_bits64<L>(words + 2 * j), V(numbers.step)).store(z + j);
                else rng::shifted(V(numbers.low), rng::top_bits<L>(words + j), V(numbers.step)).store(z + j);
            }
        } else {
            const std::uint32_t* words = normal.buffer.template fill<Lanes>(key, at, m);
            for (long j = 0; j < m; j += L) select(rng::at_or_below<L>(words + j, numbers.keep), V(numbers.high), V(numbers.low)).store(z + j);
        }
        return z;
    }
};

template <class T>
struct PerturbBody {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(Key key, std::uint64_t first, long begin, long end, NoiseNumbers<T> numbers, const T* mean, const T* deviation, T constant, T* out) {
        constexpr int L = std::is_same_v<T, double> ? Lanes / 2 : Lanes;
        using V = simd<T, L>;
        NoiseBlock<T> block;
        for (long i = begin; i < end; i += rng::normal_step<T>) {
            const long m = end - i < rng::normal_step<T> ? end - i : rng::normal_step<T>;
            const T* z = block.template fill<Lanes>(numbers, key, first + static_cast<std::uint64_t>(i), m);
            for (long j = 0; j < m; j += L) {
                const long left = m - j;
                const V value = rng::load_part<L>(mean + i + j, left);
                const V term = (deviation != nullptr ? V(rng::load_part<L>(deviation + i + j, left)) : V(constant)) * V::load(z + j);
                rng::store_part<L>(out + i + j, numbers.multiplicative ? V(value + value * term) : V(value + term), left);
            }
        }
    }
};

template <class T>
struct PerturbBackwardBody {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(Key key, std::uint64_t first, long begin, long end, NoiseNumbers<T> numbers, const T* mean, const T* deviation, T constant,
                                        const T* dout, T* dmean, T* ddeviation) {
        constexpr int L = std::is_same_v<T, double> ? Lanes / 2 : Lanes;
        using V = simd<T, L>;
        NoiseBlock<T> block;
        for (long i = begin; i < end; i += rng::normal_step<T>) {
            const long m = end - i < rng::normal_step<T> ? end - i : rng::normal_step<T>;
            const T* z = block.template fill<Lanes>(numbers, key, first + static_cast<std::uint64_t>(i), m);
            for (long j = 0; j < m; j += L) {
                const long left = m - j;
                const V e = V::load(z + j), d = rng::load_part<L>(dout + i + j, left);
                if (dmean != nullptr) {
                    const V term = (deviation != nullptr ? V(rng::load_part<L>(deviation + i + j, left)) : V(constant)) * e;
                    rng::store_part<L>(dmean + i + j, numbers.multiplicative ? V(d + d * term) : d, left);
                }
                if (ddeviation != nullptr) {
                    const V by = numbers.multiplicative ? V(d * V(rng::load_part<L>(mean + i + j, left))) : d;
                    rng::store_part<L>(ddeviation + i + j, by * e, left);
                }
            }
        }
    }
};

}  // namespace impl

// out = mean + deviation * e, or mean * (1 + deviation * e) where the kind is multiplicative; deviation null: `constant` for all.
// out may be mean. T: float or double. Throws ValueError for a Bernoulli probability outside of (0, 1).
template <class T>
void perturb(const NoiseKind& kind, Key key, long n, const T* mean, const T* deviation, T constant, T* out, std::uint64_t first = 0) {
    impl::check_noise("perturb", kind);
    impl::rng::in_chunks<impl::PerturbBody<T>>(key, first, n, impl::NoiseNumbers<T>(kind), mean, deviation, constant, out);
}
// dmean and ddeviation, each null where it is not wanted, from dout.
template <class T>
void perturb_backward(const NoiseKind& kind, Key key, long n, const T* mean, const T* deviation, T constant, const T* dout, T* dmean, T* ddeviation,
                      std::uint64_t first = 0) {
    impl::check_noise("perturb", kind);
    impl::rng::in_chunks<impl::PerturbBackwardBody<T>>(key, first, n, impl::NoiseNumbers<T>(kind), mean, deviation, constant, dout, dmean, ddeviation);
}

}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
