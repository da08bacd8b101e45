// What benchmark programs that run on the CPU or on a GPU share: the options, the clock, the copy that bandwidths are compared
// with.
//
//   --device cpu|cuda[:<index>]    --tiny: sizes and repeats that only show that everything runs
#pragma once

#include <tenon/tenon.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace bench {

using namespace tenon;

struct Options {
    Device device = cpu;
    bool tiny = false;
    const char* family = nullptr;  // the one argument without a name
};
inline Options parse(int count, char** arguments) {
    Options options;
    for (int i = 1; i < count; ++i) {
        if (std::strcmp(arguments[i], "--device") == 0 && i + 1 < count) options.device = Device::parse(arguments[++i]);
        else if (std::strcmp(arguments[i], "--tiny") == 0) options.tiny = true;
        else options.family = arguments[i];
    }
    return options;
}

// Least seconds of one call. On a GPU events around many calls measure, so that the host waits only at the end: what one call
// costs where the host is slower than the device counts, as it does in use.
class Clock {
public:
    explicit Clock(const Options& options) : options_(options) {
#if TENON_CUDA
        if (options.device.is_cpu()) return;
        cuda_detail::select_device(options.device);
        cuda_detail::check(cudaEventCreate(&start_), "cudaEventCreate");
        cuda_detail::check(cudaEventCreate(&stop_), "cudaEventCreate");
#endif
    }
    Clock(const Clock&) = delete;
    Clock& operator=(const Clock&) = delete;
    ~Clock() {
#if TENON_CUDA
        if (start_ != nullptr) cudaEventDestroy(start_);
        if (stop_ != nullptr) cudaEventDestroy(stop_);
#endif
    }
    const Options& options() const { return options_; }

    template <class F>
    double best(F&& f) const {
        f();  // takes the memory, chooses algorithms
        if (options_.tiny) return samples(1, 1, f);
        const double once = samples(1, 1, f);
        const int calls = once > 2e-3 ? 1 : static_cast<int>(2e-3 / std::max(once, 1e-8)) + 1;
        return samples(static_cast<int>(std::min(50.0, 0.2 / (once * calls))) + 3, calls, f);
    }

private:
    template <class F>
    double samples(int count, int calls, F& f) const {
        double least = 1e9;
        for (int s = 0; s < count; ++s) least = std::min(least, one(calls, f) / calls);
        return std::max(least, 1e-9);
    }
    template <class F>
    double one(int calls, F& f) const {
#if TENON_CUDA
        if (!options_.device.is_cpu()) {
            cuda_detail::check(cudaEventRecord(start_, cuda_detail::current_stream), "cudaEventRecord");
            for (int i = 0; i < calls; ++i) f();
            cuda_detail::check(cudaEventRecord(stop_, cuda_detail::current_stream), "cudaEventRecord");
            cuda_detail::check(cudaEventSynchronize(stop_), "cudaEventSynchronize");
            float milliseconds = 0;
            cuda_detail::check(cudaEventElapsedTime(&milliseconds, start_, stop_), "cudaEventElapsedTime");
            return 1e-3 * static_cast<double>(milliseconds);
        }
#endif
        const auto start = std::chrono::steady_clock::now();
        for (int i = 0; i < calls; ++i) f();
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    }

    Options options_;
#if TENON_CUDA
    cudaEvent_t start_ = nullptr, stop_ = nullptr;
#endif
};

// Seconds of a copy within the device that reads and writes so many bytes together.
inline double copy_seconds(const Clock& clock, std::size_t bytes) {
    const Dim words = static_cast<long>(bytes / 8 + 1);
    const Device device = clock.options().device;
    const auto from = full<float>({words}, 1.f, device), to = zeros<float>({words}, device);
    return clock.best([&] {
        if (device.is_cpu()) {
            std::memcpy(to.data(), from.data(), bytes / 2);
            __asm__ volatile("" ::"r"(to.data()) : "memory");
        } else {
            runtime::backend(device).copy(device, to.data(), device, from.data(), bytes / 2);
        }
    });
}

inline const char* copy_name(Device device) { return device.is_cpu() ? "memcpy" : "copy"; }
inline const char* where(Device device) { return device.is_cpu() ? tenon::name(isa()) : "cuda"; }
inline int threads(Device device) { return device.is_cpu() ? num_threads() : 1; }

inline void print(const Options& o, const char* name, const char* unit, double value) {
    std::printf("{\"case\":\"%s\",\"unit\":\"%s\",\"value\":%.5g,\"lib\":\"ours\",\"threads\":%d,\"isa\":\"%s\"}\n", name, unit, value,
                threads(o.device), where(o.device));
    std::fflush(stdout);
}
// Seconds of a call that must move so many bytes, beside the copy's: bandwidths.
inline void print_bandwidth(const Options& o, const char* name, double bytes, double seconds, double copy) {
    std::printf("{\"case\":\"%s\",\"unit\":\"GB/s\",\"ours\":%.5g,\"peer\":\"%s\",\"peer_value\":%.5g,\"ratio\":%.3f,", name, 1e-9 * bytes / seconds,
                copy_name(o.device), 1e-9 * bytes / copy, copy / seconds);
    std::printf("\"threads\":%d,\"isa\":\"%s\"}\n", threads(o.device), where(o.device));
    std::fflush(stdout);
}

}  // namespace bench
