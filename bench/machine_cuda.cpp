// What the GPU can do at most, measured: a copy within its memory, and multiply-adds in registers. Prints one JSON object.
// Usage: bench_machine --device cuda [--tiny]
#include "on_device.hpp"

namespace {

using namespace tenon;

constexpr int chains = 8, steps = 4096;

template <class T>
__global__ void multiply_add(T* out, T factor, int rounds) {
#if TENON_DEVICE_CODE
    T sum[chains];
    for (int i = 0; i < chains; ++i) sum[i] = static_cast<T>(threadIdx.x + static_cast<unsigned>(i));
    for (int r = 0; r < rounds; ++r)
        for (int i = 0; i < chains; ++i) sum[i] = sum[i] * factor + factor;
    T all = 0;
    for (int i = 0; i < chains; ++i) all += sum[i];
    if (all == T(-1)) out[0] = all;  // never: the compiler does not know
#endif
}
double peak(const bench::Clock& clock) {
    const int rounds = clock.options().tiny ? 4 : steps;
    const long blocks = clock.options().tiny ? 1 : 32l * cuda_detail::multiprocessors();
    const auto out = zeros<float>({1}, clock.options().device);
    const double seconds = clock.best([&] {
        kernels::cuda::launch("peak", &multiply_add<float>, blocks, kernels::cuda::block_threads, out.data(), 0.5f, rounds);
    });
    return 2e-9 * chains * rounds * static_cast<double>(blocks) * kernels::cuda::block_threads / seconds;
}

}  // namespace

int main(int count, char** arguments) {
    const bench::Options options = bench::parse(count, arguments);
    const bench::Clock clock(options);
    cudaDeviceProp properties;
    cuda_detail::check(cudaGetDeviceProperties(&properties, options.device.index), "cudaGetDeviceProperties");
    const std::size_t bytes = options.tiny ? 1u << 16 : std::size_t(1) << 30;
    std::printf("{\"machine\": \"%s\", \"cores\": 1, \"isa\": \"sm_%d%d\", \"multiprocessors\": %d, \"fma_peak_gf_one\": %.1f, \"copy_gb\": %.1f}\n",
                properties.name, properties.major, properties.minor, properties.multiProcessorCount, peak(clock),
                1e-9 * static_cast<double>(bytes) / bench::copy_seconds(clock, bytes));
}
