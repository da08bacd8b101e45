// CUDA's row in the table of back ends (runtime/backend.hpp), filled in by every object that is compiled with CUDA, and what
// a program can ask of the device: streams, memory statistics.
#pragma once

#include <tenon/core/device.hpp>
#include <tenon/kernels/cuda/memory.cuh>
#include <tenon/runtime/backend.hpp>

namespace tenon {
namespace cuda_detail {

inline void use_device(Device device) {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess) {
        cudaGetLastError();
        count = 0;
    }
    if (count == 0) fail<DeviceError>("device ", device, " was asked for, but no GPU is present, or its driver is too old for this CUDA version");
    if (device.index >= count) fail<DeviceError>("device ", device, " was asked for, but this machine has ", count, " GPU", count == 1 ? "" : "s");
    check(cudaSetDevice(device.index), "cudaSetDevice");
}
inline constinit thread_local int device_in_use = -1;
// Makes the device the current one of this thread.
inline void select_device(Device device) {
    if (TENON_LIKELY(device_in_use == device.index)) return;
    use_device(device);
    device_in_use = device.index;
}

inline void* backend_allocate(Device device, std::size_t bytes) {
    select_device(device);
    return device_memory().allocate(device.index, bytes);
}
inline void backend_release(Device device, void* data, std::size_t bytes) { device_memory().release(device.index, data, bytes); }
inline void backend_copy(Device to, void* destination, Device from, const void* source, std::size_t bytes) {
    if (bytes == 0) return;
    select_device(to.is_cpu() ? from : to);
    if (from.is_cpu()) return copy_in(to.index, destination, source, bytes);
    if (to.is_cpu()) return copy_out(from.index, destination, source, bytes);
    check(cudaMemcpyAsync(destination, source, bytes, cudaMemcpyDeviceToDevice, current_stream), "cudaMemcpyAsync");
}
inline void backend_zero(Device device, void* data, std::size_t bytes) {
    if (bytes == 0) return;
    select_device(device);
    check(cudaMemsetAsync(data, 0, bytes, current_stream), "cudaMemsetAsync");
}

inline const bool backend_registered = [] {
    runtime::cuda_backend = {&backend_allocate, &backend_release, &backend_copy, &backend_zero};
    return true;
}();

}  // namespace cuda_detail

namespace runtime {

// Bytes of device memory held by the library's allocator.
using DeviceMemoryStatistics = cuda_detail::DeviceStatistics;
inline DeviceMemoryStatistics memory_statistics(Device device) { return cuda_detail::device_memory().statistics(device.index); }
// Gives memory that is cached and not in use back to the driver. Waits for the device.
inline void empty_cache(Device device) { cuda_detail::device_memory().empty_cache(device.index); }

// Waits for everything that this thread's stream has been given.
inline void synchronize() { cuda_detail::check(cudaStreamSynchronize(cuda_detail::current_stream), "cudaStreamSynchronize"); }

// A stream of work on the current device.
class Stream {
public:
    Stream() { cuda_detail::check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate"); }
    ~Stream() {
        cudaStreamSynchronize(stream_);
        cudaStreamDestroy(stream_);
    }
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    cudaStream_t handle() const { return stream_; }
    void synchronize() const { cuda_detail::check(cudaStreamSynchronize(stream_), "cudaStreamSynchronize"); }

private:
    cudaStream_t stream_ = nullptr;
};

// While one lives, this thread's work goes to another stream: after everything that was given to the stream before, which
// goes on after everything given to the other one. Memory may therefore pass freely in and out.
class StreamScope {
public:
    explicit StreamScope(const Stream& stream) : before_(cuda_detail::current_stream) {
        follow(stream.handle(), before_);
        cuda_detail::current_stream = stream.handle();
    }
    ~StreamScope() {
        try {
            follow(before_, cuda_detail::current_stream);
        } catch (...) {
            cudaDeviceSynchronize();
        }
        cuda_detail::current_stream = before_;
    }
    StreamScope(const StreamScope&) = delete;
    StreamScope& operator=(const StreamScope&) = delete;

private:
    static void follow(cudaStream_t later, cudaStream_t earlier) {
        cudaEvent_t event = nullptr;
        cuda_detail::check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreate");
        const cudaError_t recorded = cudaEventRecord(event, earlier);
        const cudaError_t waits = recorded == cudaSuccess ? cudaStreamWaitEvent(later, event, 0) : recorded;
        cudaEventDestroy(event);
        cuda_detail::check(waits, "cudaStreamWaitEvent");
    }
    cudaStream_t before_;
};

}  // namespace runtime
}  // namespace tenon
