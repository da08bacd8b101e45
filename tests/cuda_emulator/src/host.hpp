// The host side's state: the lock over everything, errors and faults.
#pragma once

#include <mutex>
#include <string>

#include "../emulator/runtime_api.hpp"

namespace cuda_emulator {

std::recursive_mutex& mutex();
std::string text(const char* format, ...) __attribute__((format(printf, 1, 2)));

// Ends an API call: remembers an error for cudaGetLastError.
cudaError_t finish(cudaError_t);
// The error that a kernel fault left on the device, or cudaSuccess.
cudaError_t sticky();
void set_sticky(cudaError_t);
// Keeps the first fault.
void keep_fault(const std::string&);
// An API call was refused: error, with a fault that says why.
cudaError_t refuse(cudaError_t, const char* format, ...) __attribute__((format(printf, 2, 3)));

// The name of a function of this program, from its symbol table.
std::string function_name(const void*);

struct Function {
    int dynamic_limit = 48 << 10;
};
Function& function(const void* kernel);
const cudaDeviceProp& properties();

// The order of blocks, warps and lanes; see scheduler.cpp.
std::string order_text();

// A launch with its arguments copied; run by a stream or by a graph.
struct Launch {
    void (*kernel)();
    void (*call)(void (*)(), void*);
    uint3 grid, block;
    size_t dynamic_shared;
    std::string arguments;
};
cudaError_t run_launch(Launch&);

}  // namespace cuda_emulator
