// Scratch memory of a thread: two aligned buffers that only grow, so that a product allocates nothing after warm-up.
#pragma once

#include <tenon/base/scratch.hpp>

namespace tenon {
inline namespace TENON_CONFIG_NAMESPACE {
namespace kernels::cpu {
namespace gemm_impl {

class Workspace {
public:
    constexpr Workspace() = default;
    Workspace(const Workspace&) = delete;
    Workspace& operator=(const Workspace&) = delete;
    ~Workspace() { std::free(memory_); }

    // Exclusive use of a thread's buffer; a call nested inside another one on the same thread gets memory of its own.
    class Lease {
    public:
        Lease(Workspace& owner, std::size_t bytes) : owner_(owner) {
            if (owner.busy_) {
                memory_ = detail::allocate_scratch(bytes, "gemm", 4096);
                return;
            }
            if (owner.size_ < bytes) {
                std::free(owner.memory_);
                owner.memory_ = nullptr;
                owner.size_ = 0;
                owner.memory_ = detail::allocate_scratch(bytes, "gemm", 4096);
                owner.size_ = bytes;
            }
            memory_ = owner.memory_;
            owner.busy_ = borrowed_ = true;
        }
        Lease(const Lease&) = delete;
        Lease& operator=(const Lease&) = delete;
        ~Lease() {
            if (borrowed_) owner_.busy_ = false;
            else std::free(memory_);
        }
        template <class T>
        T* as() const { return static_cast<T*>(memory_); }

    private:
        Workspace& owner_;
        void* memory_ = nullptr;
        bool borrowed_ = false;
    };

private:
    void* memory_ = nullptr;
    std::size_t size_ = 0;
    bool busy_ = false;
};

// For what the tasks of a product share (packed B) and for what one task needs (packed A).
inline constinit thread_local Workspace shared_workspace;
inline constinit thread_local Workspace task_workspace;

}  // namespace gemm_impl
}  // namespace kernels::cpu
}  // namespace TENON_CONFIG_NAMESPACE
}  // namespace tenon
