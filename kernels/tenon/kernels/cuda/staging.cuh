// Copies between the host's memory and the device's, through page-locked buffers: what goes to the device has been read on return
// and travels while the host goes on; what comes from it travels while the host empties the buffer before.
#pragma once

#include <tenon/kernels/cuda/launch.cuh>

#include <pthread.h>

namespace tenon {
namespace cuda_detail {

// The page-locked buffers, each with the event behind its last copy, in the order in which these were given to the device.
class Staging {
public:
    static constexpr std::size_t room = std::size_t(2) << 20;
    static constexpr int wanted = 4;  // per device, before one that is on its way is waited for
    struct Buffer {
        char* data = nullptr;
        cudaEvent_t event = nullptr;
        int device = 0;
        Buffer* next = nullptr;
    };

    // A buffer that nobody uses; null where the system locks no more pages.
    Buffer* take(int device) {
        Buffer* found = first_free(device);
        if (found != nullptr) {
            check(cudaEventSynchronize(found->event), "cudaEventSynchronize");
            return found;
        }
        Buffer* const fresh = new Buffer;
        fresh->device = device;
        if (cudaHostAlloc(reinterpret_cast<void**>(&fresh->data), room, cudaHostAllocPortable) == cudaSuccess &&
            cudaEventCreateWithFlags(&fresh->event, cudaEventDisableTiming) == cudaSuccess)
            return fresh;
        cudaGetLastError();
        if (fresh->data != nullptr) cudaFreeHost(fresh->data);
        delete fresh;
        return nullptr;
    }
    void give_back(Buffer* buffer) noexcept {
        const Guard guard(mutex_);
        buffer->next = nullptr;
        *(last_ == nullptr ? &first_ : &last_->next) = buffer;
        last_ = buffer;
    }

private:
    struct Guard {
        pthread_mutex_t& mutex;
        explicit Guard(pthread_mutex_t& m) : mutex(m) { pthread_mutex_lock(&mutex); }
        ~Guard() { pthread_mutex_unlock(&mutex); }
    };
    // The one that has waited longest, unless it is still on its way and there may be more.
    Buffer* first_free(int device) {
        const Guard guard(mutex_);
        Buffer** at = &first_;
        Buffer* before = nullptr;
        while (*at != nullptr && (*at)->device != device) {
            before = *at;
            at = &before->next;
        }
        Buffer* const found = *at;
        if (found == nullptr) {
            ++made_[device];
            return nullptr;
        }
        if (made_[device] < wanted && cudaEventQuery(found->event) != cudaSuccess) {
            cudaGetLastError();  // on its way is no error
            ++made_[device];
            return nullptr;
        }
        *at = found->next;
        if (last_ == found) last_ = before;
        return found;
    }

    pthread_mutex_t mutex_ = PTHREAD_MUTEX_INITIALIZER;
    Buffer *first_ = nullptr, *last_ = nullptr;
    int made_[128] = {};
};
inline Staging& staging() {
    static Staging* own = new Staging;
    return *own;
}

inline void refuse_captured_copy(const char* which) {
    if (TENON_UNLIKELY(capturing()))
        fail<DeviceError>("copy ", which, ": not while a graph is captured: the host's memory would be gone at the launch",
                          "\n       hint: make the tensor before, and write into it with copy_from; read results after replay()");
}

// The host's bytes to the device, in the current stream. The host's memory has been read on return; nothing is waited for as long as
// the buffers suffice.
inline void copy_in(int device, void* to, const void* from, std::size_t bytes) {
    refuse_captured_copy("from the host");
    for (std::size_t done = 0; done < bytes;) {
        const std::size_t some = bytes - done < Staging::room ? bytes - done : Staging::room;
        Staging::Buffer* const buffer = staging().take(device);
        const char* source = static_cast<const char*>(from) + done;
        if (buffer != nullptr) source = static_cast<const char*>(std::memcpy(buffer->data, source, some));
        cudaError_t status = cudaMemcpyAsync(static_cast<char*>(to) + done, source, some, cudaMemcpyHostToDevice, current_stream);
        if (buffer != nullptr) {
            if (status == cudaSuccess) status = cudaEventRecord(buffer->event, current_stream);
            staging().give_back(buffer);
        }
        check(status, "cudaMemcpyAsync");
        done += some;
    }
}
// The device's bytes to the host, where they have arrived on return.
inline void copy_out(int device, void* to, const void* from, std::size_t bytes) {
    refuse_captured_copy("to the host");
    struct Part {
        Staging::Buffer* buffer;
        std::size_t at, bytes;
    } parts[2] = {};
    struct GiveBack {
        Part* parts;
        ~GiveBack() {
            for (int k = 0; k < 2; ++k)
                if (parts[k].buffer != nullptr) staging().give_back(parts[k].buffer);
        }
    } const guard{parts};
    const auto arrive = [&](Part& part) {
        if (part.buffer == nullptr) return;
        check(cudaEventSynchronize(part.buffer->event), "cudaEventSynchronize");
        std::memcpy(static_cast<char*>(to) + part.at, part.buffer->data, part.bytes);
        staging().give_back(part.buffer);
        part.buffer = nullptr;
    };
    int k = 0;
    for (std::size_t done = 0; done < bytes; k ^= 1) {
        Part& part = parts[k];
        arrive(part);
        const std::size_t some = bytes - done < Staging::room ? bytes - done : Staging::room;
        part = {staging().take(device), done, some};
        char* const target = part.buffer != nullptr ? part.buffer->data : static_cast<char*>(to) + done;
        check(cudaMemcpyAsync(target, static_cast<const char*>(from) + done, some, cudaMemcpyDeviceToHost, current_stream), "cudaMemcpyAsync");
        if (part.buffer != nullptr) check(cudaEventRecord(part.buffer->event, current_stream), "cudaEventRecord");
        else check(cudaStreamSynchronize(current_stream), "cudaStreamSynchronize");
        done += some;
    }
    arrive(parts[k]);
    arrive(parts[k ^ 1]);
}

}  // namespace cuda_detail
}  // namespace tenon
