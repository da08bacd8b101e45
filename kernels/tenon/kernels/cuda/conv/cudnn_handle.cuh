// Handles of cuDNN, one for each thread and device, and its names of element types.
#pragma once

#include <tenon/base/half.hpp>
#include <tenon/kernels/cuda/conv/cudnn_library.cuh>

#include <pthread.h>

namespace tenon {
namespace cuda_detail {

template <class T>
constexpr int cudnn_type = std::is_same_v<T, double>  ? cudnn::data_double
                           : std::is_same_v<T, float> ? cudnn::data_float
                           : std::is_same_v<T, half>  ? cudnn::data_half
                                                      : cudnn::data_bfloat16;

// Handles, which one thread at a time may use, and never destroyed: at a program's end the driver may be gone. A thread that ends
// leaves its handle to the next.
class CudnnHandles {
public:
    static constexpr int most_devices = 128;
    cudnn::Handle take(int device) {
        if (device < 0 || device >= most_devices) fail<DeviceError>("cudnnCreate: device ", device);
        pthread_mutex_lock(&mutex_);
        Node* const node = free_[device];
        if (node != nullptr) free_[device] = node->next;
        pthread_mutex_unlock(&mutex_);
        cudnn::Handle handle = nullptr;
        if (node != nullptr) {
            handle = node->handle;
            delete node;
        } else {
            check(cudnn_library(), cudnn_library().cudnnCreate(&handle), "cudnnCreate");
        }
        return handle;
    }
    void give_back(int device, cudnn::Handle handle) {
        pthread_mutex_lock(&mutex_);
        free_[device] = new Node{handle, free_[device]};
        pthread_mutex_unlock(&mutex_);
    }

private:
    struct Node { cudnn::Handle handle; Node* next; };
    pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
    Node* free_[most_devices] = {};
};
inline CudnnHandles& cudnn_handles() {
    static CudnnHandles* const handles = new CudnnHandles;
    return *handles;
}

// Those of a thread, given back when it ends.
class CudnnThread {
public:
    CudnnThread() = default;
    CudnnThread(const CudnnThread&) = delete;
    CudnnThread& operator=(const CudnnThread&) = delete;
    ~CudnnThread() {
        for (int device = 0; device < CudnnHandles::most_devices; ++device)
            if (handles_[device] != nullptr) cudnn_handles().give_back(device, handles_[device]);
    }
    cudnn::Handle handle(int device) {
        if (device < 0 || device >= CudnnHandles::most_devices || handles_[device] == nullptr) {
            const cudnn::Handle fresh = cudnn_handles().take(device);
            handles_[device] = fresh;
        }
        return handles_[device];
    }

private:
    cudnn::Handle handles_[CudnnHandles::most_devices] = {};
};
// This thread's handle, on the current stream.
inline cudnn::Handle cudnn_handle(int device) {
    static thread_local CudnnThread thread;
    const cudnn::Handle handle = thread.handle(device);
    check(cudnn_library(), cudnn_library().cudnnSetStream(handle, current_stream), "cudnnSetStream");
    return handle;
}

}  // namespace cuda_detail
}  // namespace tenon
