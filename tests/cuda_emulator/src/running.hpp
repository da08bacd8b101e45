// What the access checks need to know about the kernel that is running. One kernel runs at a time, on whatever host thread launched it.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "../emulator/runtime_api.hpp"

namespace cuda_emulator {

struct Running {
    // Memory of its own: the current fibre's stack and the arguments.
    uintptr_t stack_low, stack_high;
    uintptr_t arguments_low, arguments_high;
    // (barrier interval, thread, warp interval) of the current thread; see races.hpp.
    uint64_t stamp;
    uint32_t launch_epoch, block_epoch;
    bool block_acquired;
    // Of the current thread since it last ran.
    uint32_t accesses;
};
extern Running running;
// Set on the host thread that runs a kernel: other host threads go on as host code.
extern thread_local bool in_kernel __attribute__((tls_model("initial-exec")));

// While the emulator's own code does more than look at a state: its copies are not the kernel's.
struct OutsideKernel {
    bool before = in_kernel;
    OutsideKernel() { in_kernel = false; }
    ~OutsideKernel() { in_kernel = before; }
};

// Records the fault with kernel, block and thread and leaves the kernel.
[[noreturn]] void kernel_fault(cudaError_t, const char* format, ...) __attribute__((format(printf, 2, 3)));

constexpr uint32_t access_limit = 100u << 20;
[[noreturn]] void endless();

}  // namespace cuda_emulator
