// Random fills on the device (cpu/rng.hpp): the same element takes the same words of the key.
//
// A thread computes one counter's four words: four elements of 32-bit draws, two of 64-bit draws. Every result is the CPU's to
// the bit but normals, which agree to 8 ulp. Memory moved: the output once (dropout: the input once as well).
#pragma once

#include <tenon/base/half.hpp>
#include <tenon/base/pack.hpp>
#include <tenon/kernels/cpu/rng.hpp>
#include <tenon/kernels/cuda/capture.cuh>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

#if TENON_DEVICE_CODE
namespace rng_impl {

// a + k * scale with the product rounded on its own, as on the CPU.
__device__ inline float shifted(float a, float k, float scale) { return __fadd_rn(a, __fmul_rn(k, scale)); }
__device__ inline double shifted(double a, double k, double scale) { return __dadd_rn(a, __dmul_rn(k, scale)); }
__device__ inline std::uint64_t draw(const PhiloxWords& w, int i) {
    return w.word[2 * i] | static_cast<std::uint64_t>(w.word[2 * i + 1]) << 32;
}

// Box-Muller of two words: the cosine for the even element, the sine for the odd one.
__device__ inline void normal_pair(std::uint32_t first, std::uint32_t angle, float* out) {
    const float u = (static_cast<float>(first) + 0.5f) * 0x1p-32f;
    const float radius = math::sqrt(math::abs(2.f * math::log(u)));
    // The nearest quarter turn and the signed distance from it, in integers: exact.
    const std::uint32_t quadrant = (angle + 0x20000000u) >> 30;
    const std::int32_t rest = static_cast<std::int32_t>(angle << 2) >> 2;
    const float turn = (static_cast<float>(rest) + 0.5f) * 0x1.921fb6p-30f, sine = math::sin(turn), cosine = math::cos(turn);
    const float c = quadrant & 1 ? sine : cosine, s = quadrant & 1 ? cosine : sine;
    out[0] = radius * ((quadrant + 1) & 2 ? -c : c);
    out[1] = radius * (quadrant & 2 ? -s : s);
}
__device__ inline void normal_pair(std::uint64_t first, std::uint64_t angle, double* out) {
    const double u = (static_cast<double>(first >> 11) + 0.5) * 0x1p-53, v = (static_cast<double>(angle >> 11) + 0.5) * 0x1p-53;
    const double radius = math::sqrt(-2 * math::log(u)), turn = 6.283185307179586 * v;
    out[0] = radius * math::cos(turn);
    out[1] = radius * math::sin(turn);
}

}  // namespace rng_impl
#endif

// Fills: what becomes of a counter's words, `count` elements.
struct WordsFill {
    static constexpr int count = 4;
    using Out = std::uint32_t;
#if TENON_DEVICE_CODE
    __device__ void operator()(const PhiloxWords& w, Out* out) const {
        for (int i = 0; i < 4; ++i) out[i] = w.word[i];
    }
#endif
};
template <class T>
struct UniformFill {
    static constexpr int count = std::is_same_v<T, double> ? 2 : 4;
    using Out = T;
    typename packed_compute<T>::type low, scale;
#if TENON_DEVICE_CODE
    __device__ void operator()(const PhiloxWords& w, Out* out) const {
        for (int i = 0; i < count; ++i) {
            if constexpr (count == 2) out[i] = rng_impl::shifted(low, static_cast<double>(rng_impl::draw(w, i) >> 11), scale);
            else out[i] = static_cast<T>(rng_impl::shifted(low, static_cast<float>(w.word[i] >> 8), scale));
        }
    }
#endif
};
template <class T>
struct NormalFill {
    static constexpr int count = std::is_same_v<T, double> ? 2 : 4;
    using Out = T;
    typename packed_compute<T>::type mean, deviation;
#if TENON_DEVICE_CODE
    __device__ void operator()(const PhiloxWords& w, Out* out) const {
        typename packed_compute<T>::type z[count];
        if constexpr (count == 2) {
            rng_impl::normal_pair(rng_impl::draw(w, 0), rng_impl::draw(w, 1), z);
        } else {
            rng_impl::normal_pair(w.word[0], w.word[1], z);
            rng_impl::normal_pair(w.word[2], w.word[3], z + 2);
        }
        for (int i = 0; i < count; ++i) out[i] = static_cast<T>(mean + deviation * z[i]);
    }
#endif
};
struct BernoulliFill {
    static constexpr int count = 4;
    using Out = std::uint8_t;
    std::uint64_t threshold;
#if TENON_DEVICE_CODE
    __device__ void operator()(const PhiloxWords& w, Out* out) const {
        for (int i = 0; i < 4; ++i) out[i] = w.word[i] < threshold;
    }
#endif
};
struct IntegersFill {
    static constexpr int count = 2;
    using Out = std::int64_t;
    std::uint64_t low, range;
#if TENON_DEVICE_CODE
    __device__ void operator()(const PhiloxWords& w, Out* out) const {
        for (int i = 0; i < 2; ++i) out[i] = static_cast<Out>(low + scale_to_range(rng_impl::draw(w, i), range));
    }
#endif
};

// A key as kernels get it: in a captured graph its split by the number of the launch, from the device's memory.
struct LaunchKey {
    Key key;
    const Key* fresh = nullptr;

    explicit LaunchKey(Key k) : key(k) {
        if (cuda_detail::capture != nullptr)
            fresh = cuda_detail::capture->value<Key>([k](long launch) { return k.split(static_cast<std::uint64_t>(launch)); });
    }
#if TENON_DEVICE_CODE
    __device__ Key get() const { return fresh != nullptr ? *fresh : key; }
#endif
};

// Thread t of `counters` takes the counter first / count + t; `skip` elements of the first lie before the array.
template <class Fill>
__global__ void random_kernel(Fill fill, LaunchKey launch_key, std::uint64_t counter, long counters, int skip, long n, bool aligned,
                              typename Fill::Out* out) {
#if TENON_DEVICE_CODE
    using T = typename Fill::Out;
    using Values = PackStorage<T, Fill::count>;
    const Key key = launch_key.get();
    const long step = static_cast<long>(gridDim.x) * blockDim.x;
    for (long t = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x; t < counters; t += step) {
        Values values;
        fill(random_words_at(key, counter + static_cast<std::uint64_t>(t)), values.v);
        const long at = t * Fill::count - skip;
        if (aligned && at + Fill::count <= n) {
            *reinterpret_cast<Values*>(out + at) = values;
        } else {
            for (int i = 0; i < Fill::count; ++i)
                if (at + i >= 0 && at + i < n) out[at + i] = values.v[i];
        }
    }
#endif
}
template <class T>
__global__ void dropout_kernel(LaunchKey launch_key, std::uint64_t counter, long counters, int skip, long n, bool aligned,
                               std::uint64_t keep, typename packed_compute<T>::type scale, const T* x, T* y) {
#if TENON_DEVICE_CODE
    using A = typename packed_compute<T>::type;
    using Values = PackStorage<T, 4>;
    const Key key = launch_key.get();
    const long step = static_cast<long>(gridDim.x) * blockDim.x;
    for (long t = static_cast<long>(blockIdx.x) * blockDim.x + threadIdx.x; t < counters; t += step) {
        const PhiloxWords w = random_words_at(key, counter + static_cast<std::uint64_t>(t));
        const long at = t * 4 - skip;
        const auto value = [&](int i, T from) {
            return w.word[i] < keep ? static_cast<T>(static_cast<A>(from) * scale) : static_cast<T>(A(0));
        };
        if (aligned && at + 4 <= n) {
            Values values = *reinterpret_cast<const Values*>(x + at);
            for (int i = 0; i < 4; ++i) values.v[i] = value(i, values.v[i]);
            *reinterpret_cast<Values*>(y + at) = values;
        } else {
            for (int i = 0; i < 4; ++i)
                if (at + i >= 0 && at + i < n) y[at + i] = value(i, x[at + i]);
        }
    }
#endif
}

namespace rng_impl {

template <int Count>
struct Span {
    std::uint64_t counter;
    int skip;
    long counters;
    Span(std::uint64_t first, long n)
        : counter(first / Count), skip(static_cast<int>(first % Count)), counters((n + skip + Count - 1) / Count) {}
};
inline bool fits(const void* p, std::size_t bytes) { return reinterpret_cast<std::uintptr_t>(p) % (bytes < 16 ? bytes : 16) == 0; }

template <class Fill>
void fill(const char* name, const Fill& fill, Key key, std::uint64_t first, long n, typename Fill::Out* out) {
    if (n <= 0) return;
    const Span<Fill::count> span(first, n);
    const bool aligned = span.skip == 0 && fits(out, Fill::count * sizeof(*out));
    launch(name, random_kernel<Fill>, blocks_for(span.counters, block_threads), block_threads, fill, LaunchKey(key), span.counter,
           span.counters, span.skip, n, aligned, out);
}

}  // namespace rng_impl

inline void random_words(Key key, std::uint64_t first, long n, std::uint32_t* out) {
    rng_impl::fill("random_words", WordsFill(), key, first, n, out);
}

template <class T, class Parameter = std::conditional_t<std::is_same_v<T, double>, double, float>>
void uniform(Key key, long n, T* out, std::type_identity_t<Parameter> low = 0, std::type_identity_t<Parameter> high = 1,
             std::uint64_t first = 0) {
    const Parameter unit = std::is_same_v<T, double> ? Parameter(0x1p-53) : Parameter(0x1p-24);
    rng_impl::fill("uniform", UniformFill<T>{low, (high - low) * unit}, key, first, n, out);
}
template <class T, class Parameter = std::conditional_t<std::is_same_v<T, double>, double, float>>
void normal(Key key, long n, T* out, std::type_identity_t<Parameter> mean = 0, std::type_identity_t<Parameter> deviation = 1,
            std::uint64_t first = 0) {
    rng_impl::fill("normal", NormalFill<T>{mean, deviation}, key, first, n, out);
}
inline void bernoulli(Key key, long n, std::uint8_t* out, double p, std::uint64_t first = 0) {
    cpu::impl::rng::check_probability("bernoulli", p);
    rng_impl::fill("bernoulli", BernoulliFill{bernoulli_threshold(p)}, key, first, n, out);
}
inline void bernoulli(Key key, long n, bool* out, double p, std::uint64_t first = 0) {
    bernoulli(key, n, reinterpret_cast<std::uint8_t*>(out), p, first);
}
inline void integers(Key key, long n, std::int64_t* out, std::int64_t low, std::int64_t high, std::uint64_t first = 0) {
    if (low >= high)
        fail<ValueError>("integers: expected low < high, got [", static_cast<long long>(low), ", ", static_cast<long long>(high), ")");
    const std::uint64_t base = static_cast<std::uint64_t>(low);
    rng_impl::fill("integers", IntegersFill{base, static_cast<std::uint64_t>(high) - base}, key, first, n, out);
}
// Sorted on the host: it is drawn once for an epoch.
inline void permutation(Key key, long n, std::int64_t* out) {
    if (n <= 0) return;
    const tenon::detail::Scratch<std::int64_t> host(n);
    cpu::permutation(key, n, host.data());
    cuda_detail::copy_in(cuda_detail::current_device(), out, host.data(), static_cast<std::size_t>(n) * sizeof(std::int64_t));
}
template <class T>
void dropout(Key key, long n, const T* x, T* y, double p, std::uint64_t first = 0) {
    cpu::impl::rng::check_probability("dropout", p);
    if (n <= 0) return;
    const rng_impl::Span<4> span(first, n);
    const bool aligned = span.skip == 0 && rng_impl::fits(x, 4 * sizeof(T)) && rng_impl::fits(y, 4 * sizeof(T));
    const std::uint64_t keep = bernoulli_threshold(1 - p);
    launch("dropout", dropout_kernel<T>, blocks_for(span.counters, block_threads), block_threads, LaunchKey(key), span.counter,
           span.counters, span.skip, n, aligned, keep, static_cast<typename packed_compute<T>::type>(1 / (1 - p)), x, y);
}
template <class T>
void dropout_backward(Key key, long n, const T* dy, T* dx, double p, std::uint64_t first = 0) { dropout(key, n, dy, dx, p, first); }

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
