// What the machine can do at most, measured: multiply-adds in registers and memcpy, for one thread and for all.
// Prints one JSON object.
#include <tenon/base/dispatch.hpp>
#include <tenon/base/parallel.hpp>
#include <tenon/base/simd.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

constexpr long steps = 200000;
constexpr int chains = 12;  // enough independent ones to cover the latency of two units

struct MultiplyAdd {
    template <int Lanes>
    static TENON_ALWAYS_INLINE void run(float* out, float factor) {
        using V = tenon::simd<float, Lanes>;
        V sum[chains];
        const V a(factor), b(factor);
        TENON_UNROLL(16)
        for (int i = 0; i < chains; ++i) sum[i] = V(float(i));
        for (long s = 0; s < steps; ++s) {
            TENON_UNROLL(16)
            for (int i = 0; i < chains; ++i) sum[i] = sum[i] * a + b;
        }
        V all(0);
        TENON_UNROLL(16)
        for (int i = 0; i < chains; ++i) all += sum[i];
        all.store(out);
    }
};

int lanes() { return tenon::isa() == tenon::Isa::avx512 ? 16 : tenon::isa() == tenon::Isa::avx2 ? 8 : 4; }

// GF/s of all threads together, best of several.
double fma_peak(int threads) {
    tenon::set_num_threads(threads);
    double best = 1e9;
    for (int repeat = 0; repeat < 30; ++repeat) {
        const double start = now();
        tenon::parallel_for(threads, [](long) {
            alignas(64) float out[16];
            tenon::dispatch<MultiplyAdd>(&out[0], 0.5f);
            __asm__ volatile("" ::"m"(out));
        });
        best = std::min(best, now() - start);
    }
    return 2.0 * double(steps) * chains * lanes() * threads / best * 1e-9;
}

// GB/s, read and write counted, best of several.
double copy_speed(int threads, std::size_t bytes, int passes) {
    tenon::set_num_threads(threads);
    const std::unique_ptr<char[]> from(new char[bytes * std::size_t(threads)]), to(new char[bytes * std::size_t(threads)]);
    std::memset(from.get(), 1, bytes * std::size_t(threads));
    std::memset(to.get(), 2, bytes * std::size_t(threads));
    double best = 1e9;
    for (int repeat = 0; repeat < 15; ++repeat) {
        const double start = now();
        tenon::parallel_for(threads, [&](long t) {
            for (int pass = 0; pass < passes; ++pass) {
                std::memcpy(to.get() + std::size_t(t) * bytes, from.get() + std::size_t(t) * bytes, bytes);
                __asm__ volatile("" ::"r"(to.get()) : "memory");
            }
        });
        best = std::min(best, now() - start);
    }
    return 2.0 * double(bytes) * passes * threads / best * 1e-9;
}

std::string cpu_name() {
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);)
        if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
    return "unknown";
}

}  // namespace

int main() {
    const int most = tenon::num_threads();
    std::printf("{\"machine\": \"%s\", \"cores\": %d, \"isa\": \"%s\"", cpu_name().c_str(), most, tenon::name(tenon::isa()));
    for (int threads = 1; threads <= most; threads += most > 1 ? most - 1 : 1) {
        const char* who = threads == 1 ? "one" : "all";
        std::printf(", \"fma_peak_gf_%s\": %.1f, \"memcpy_gb_%s\": %.1f, \"memcpy_cache_gb_%s\": %.1f", who, fma_peak(threads), who,
                    copy_speed(threads, std::size_t(1) << 27, 1), who, copy_speed(threads, std::size_t(1) << 17, 2000));
    }
    std::printf("}\n");
}
