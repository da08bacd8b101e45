// What every CUDA kernel needs: error checks, the current stream, launches, shared memory, division by constants.
//
// Kernels are launched through cudaLaunchKernelEx alone, and their bodies stand between #if TENON_DEVICE_CODE: nvcc's
// host pass may not see what they call (config.hpp, TENON_FUNCTOR).
#pragma once

#include <tenon/base/error.hpp>

#include <cuda_runtime.h>

namespace tenon {
namespace cuda_detail {

// The stream that this thread launches on; null is the device's default stream.
inline constinit thread_local cudaStream_t current_stream = nullptr;

[[noreturn]] TENON_COLD inline void fail_cuda(const char* call, cudaError_t status) {
    if (status == cudaErrorNoKernelImageForDevice) {
        int device = 0, major = 0, minor = 0;
        cudaGetDevice(&device);
        cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
        cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
        fail<DeviceError>(call, ": this program holds no CUDA code for the GPU present, whose architecture is ", major * 10 + minor,
                          "\n       hint: compile with -arch=native, or with CMAKE_CUDA_ARCHITECTURES=", major * 10 + minor);
    }
    fail<DeviceError>(call, ": CUDA reports \"", cudaGetErrorString(status), "\" (", cudaGetErrorName(status), ")");
}
inline void check(cudaError_t status, const char* call) {
    if (TENON_UNLIKELY(status != cudaSuccess)) {
        cudaGetLastError();  // the error has been reported: it does not stick to the next call
        fail_cuda(call, status);
    }
}

// A property of the current device, asked once.
inline int multiprocessors() {
    static const int count = [] {
        int device = 0, n = 0;
        check(cudaGetDevice(&device), "cudaGetDevice");
        check(cudaDeviceGetAttribute(&n, cudaDevAttrMultiProcessorCount, device), "cudaDeviceGetAttribute");
        return n < 1 ? 1 : n;
    }();
    return count;
}

// Is the current stream's work being recorded (into a graph) rather than done? Nothing can be waited for then.
inline bool capturing() {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    if (cudaStreamIsCapturing(current_stream, &status) != cudaSuccess) cudaGetLastError();
    return status != cudaStreamCaptureStatusNone;
}

}  // namespace cuda_detail

inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cuda {

inline constexpr int block_threads = 256;

// kernel<<<grid, block, shared, current stream>>>(arguments...)
template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared, Arguments&&... arguments) {
    cudaLaunchConfig_t config{};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared;
    config.stream = cuda_detail::current_stream;
    cuda_detail::check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), name);
}
template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), long blocks, int threads, Arguments&&... arguments) {
    launch(name, kernel, dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(threads)), std::size_t(0),
           static_cast<Arguments&&>(arguments)...);
}
// Blocks of `per_block` elements for n of them, at most as many as keep the device busy: kernels step through the rest.
inline long blocks_for(long n, long per_block, long waves = 16) {
    const long wanted = (n + per_block - 1) / per_block, most = waves * cuda_detail::multiprocessors();
    return wanted < 1 ? 1 : wanted < most ? wanted : most;
}

// Shared memory of a block: an array of a size known to the compiler, and one whose size the launch gives.
#if defined(TENON_CUDA_EMULATOR)
#define TENON_SHARED(T, name, count)     \
    static char name##_declaration;      \
    T* const name = ::cuda_emulator::shared_array<T>(count, &name##_declaration)
#define TENON_SHARED_DYNAMIC(T, name) T* const name = ::cuda_emulator::shared_dynamic<T>()
#else
#define TENON_SHARED(T, name, count) __shared__ T name[count]
#define TENON_SHARED_DYNAMIC(T, name)                              \
    extern __shared__ __align__(16) char tenon_shared_memory[];    \
    T* const name = reinterpret_cast<T*>(tenon_shared_memory)
#endif

// Division of numbers below 2^31 by a divisor known before the launch, as a multiplication (Granlund and Montgomery,
// "Division by invariant integers using multiplication", PLDI 1994).
struct Divisor {
    unsigned divisor = 1, multiplier = 1, shift = 0;

    Divisor() = default;
    explicit Divisor(unsigned d) : divisor(d) {
        if (d == 0) return;  // of an empty space, which nobody walks
        while (shift < 31 && (1u << shift) < d) ++shift;
        multiplier = static_cast<unsigned>(((std::uint64_t(1) << 32) * ((std::uint64_t(1) << shift) - d)) / d + 1);
    }
#if TENON_DEVICE_CODE
    TENON_HD unsigned quotient(unsigned n) const {
        return static_cast<unsigned>((static_cast<std::uint64_t>(__umulhi(n, multiplier)) + n) >> shift);
    }
#endif
};

}  // namespace kernels::cuda
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
