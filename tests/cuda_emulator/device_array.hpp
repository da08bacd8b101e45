// An array in device memory, for the emulator's tests.
#pragma once

#include <cuda_runtime.h>

#include <utility>
#include <vector>

template <class T>
struct DeviceArray {
    T* data = nullptr;
    size_t size = 0;

    explicit DeviceArray(size_t count) : size(count) { cudaMalloc(&data, count * sizeof(T)); }
    explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
        cudaMemcpy(data, values.data(), size * sizeof(T), cudaMemcpyHostToDevice);
    }
    DeviceArray(const DeviceArray&) = delete;
    DeviceArray& operator=(const DeviceArray&) = delete;
    // clear() before: a device with a fault refuses.
    ~DeviceArray() { cudaFree(data); }

    std::vector<T> get() const {
        std::vector<T> values(size);
        cudaMemcpy(values.data(), data, size * sizeof(T), cudaMemcpyDeviceToHost);
        return values;
    }
};

template <class... Expected, class... Actual>
cudaError_t launch(dim3 grid, dim3 block, size_t shared, cudaStream_t stream, void (*kernel)(Expected...), Actual&&... arguments) {
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared;
    config.stream = stream;
    return cudaLaunchKernelEx(&config, kernel, std::forward<Actual>(arguments)...);
}
