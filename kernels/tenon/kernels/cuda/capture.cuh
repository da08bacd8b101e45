// What a captured graph reads anew at every launch: numbers that the host computes (a step's rates, keys of random numbers)
// lie in device memory, and are brought there before each launch.
#pragma once

#include <tenon/kernels/cuda/memory.cuh>

#include <type_traits>

namespace tenon {
namespace cuda_detail {

class Capture {
public:
    static constexpr std::size_t room = std::size_t(64) << 10;

    Capture() {
        host_ = static_cast<char*>(std::malloc(room));
        if (host_ == nullptr) fail<MemoryError>("graph: out of memory");
        const cudaError_t status = cudaMalloc(reinterpret_cast<void**>(&device_), room);
        if (status != cudaSuccess) {
            std::free(host_);
            check(status, "cudaMalloc");
        }
    }
    ~Capture() {
        while (values_ != nullptr) {
            Value* v = values_;
            values_ = v->next;
            delete v;
        }
        cudaFree(device_);
        std::free(host_);
    }
    Capture(const Capture&) = delete;
    Capture& operator=(const Capture&) = delete;

    // A T on the device, to which update(launch) writes before every launch (0, 1, 2, ...).
    template <class T, class F>
    const T* value(F update) {
        static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= room);
        const std::size_t at = (used_ + 15) / 16 * 16;
        if (at + sizeof(T) > room) fail<MemoryError>("graph: more than ", room, " bytes of numbers that change from launch to launch");
        used_ = at + sizeof(T);
        struct Updated final : Value {
            F f;
            char* to;
            Updated(F function, char* destination) : f(static_cast<F&&>(function)), to(destination) {}
            void run(long launch) override {
                const T fresh = f(launch);
                std::memcpy(to, &fresh, sizeof fresh);
            }
        };
        Value* fresh = new Updated(static_cast<F&&>(update), host_ + at);
        *(last_ == nullptr ? &values_ : &last_->next) = fresh;
        last_ = fresh;
        return reinterpret_cast<const T*>(device_ + at);
    }
    // Brings all values up to date: in the current stream, before the launch.
    void bring(long launch) {
        for (Value* v = values_; v != nullptr; v = v->next) v->run(launch);
        if (used_ > 0) copy_in(current_device(), device_, host_, used_);
    }

private:
    struct Value {
        Value* next = nullptr;
        virtual void run(long launch) = 0;
        virtual ~Value() = default;
    };
    char *host_ = nullptr, *device_ = nullptr;
    std::size_t used_ = 0;
    Value *values_ = nullptr, *last_ = nullptr;
};
// The capture that this thread's work goes into.
inline constinit thread_local Capture* capture = nullptr;

}  // namespace cuda_detail
}  // namespace tenon
