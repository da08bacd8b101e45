// The device's properties, errors and faults.
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <unordered_map>

#include "../emulator/control.hpp"
#include "host.hpp"
#include "memory.hpp"
#include "stream.hpp"

namespace cuda_emulator {

namespace {

std::string& fault = *new std::string;
cudaError_t device_error = cudaSuccess;
thread_local cudaError_t last_error = cudaSuccess;
int device_count = 1;
std::unordered_map<const void*, Function>& functions = *new std::unordered_map<const void*, Function>;

cudaDeviceProp make_properties() {
    cudaDeviceProp p = {};
    strcpy(p.name, "tenon CUDA emulator");
    p.sharedMemPerBlock = 48 << 10;
    p.totalConstMem = 64 << 10;
    p.sharedMemPerMultiprocessor = 228 << 10;
    p.sharedMemPerBlockOptin = 227 << 10;
    p.reservedSharedMemPerBlock = 1 << 10;
    p.regsPerBlock = p.regsPerMultiprocessor = 65536;
    p.warpSize = 32;
    p.maxThreadsPerBlock = 1024;
    p.maxThreadsDim[0] = p.maxThreadsDim[1] = 1024;
    p.maxThreadsDim[2] = 64;
    p.maxGridSize[0] = 2147483647;
    p.maxGridSize[1] = p.maxGridSize[2] = 65535;
    p.major = 9;
    p.multiProcessorCount = 132;
    p.maxThreadsPerMultiProcessor = 2048;
    p.maxBlocksPerMultiProcessor = 32;
    p.l2CacheSize = 50 << 20;
    p.memoryBusWidth = 5120;
    p.clockRate = 1980000;
    p.memoryClockRate = 2619000;
    p.canMapHostMemory = p.concurrentKernels = p.unifiedAddressing = p.managedMemory = p.concurrentManagedAccess = 1;
    p.asyncEngineCount = 3;
    p.cooperativeLaunch = p.streamPrioritiesSupported = p.memoryPoolsSupported = p.clusterLaunch = 1;
    return p;
}
cudaDeviceProp device_properties = make_properties();

// A program must not end well with a fault that nobody looked at.
void at_end() {
    bool bad = false;
    if (!fault.empty()) {
        fprintf(stderr, "cuda emulator: the program ends with an uncleared fault: %s\n", fault.c_str());
        bad = true;
    }
    const char* leaks = getenv("TENON_EMULATOR_LEAKS");
    if (leaks != nullptr && strcmp(leaks, "0") != 0 && live_memory().allocations != 0) {
        fprintf(stderr, "cuda emulator: device memory leaks:\n%s", describe_live_memory());
        bad = true;
    }
    if (bad) {
        fflush(nullptr);
        _exit(99);
    }
}
__attribute__((constructor(102))) void register_end() { atexit(at_end); }

cudaError_t no_device(int device) {
    if (device_count == 0) return cudaErrorNoDevice;
    return device < 0 || device >= device_count ? cudaErrorInvalidDevice : cudaSuccess;
}

}  // namespace

std::recursive_mutex& mutex() {
    static std::recursive_mutex& lock = *new std::recursive_mutex;
    return lock;
}

std::string text(const char* format, ...) {
    char buffer[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(buffer, sizeof buffer, format, arguments);
    va_end(arguments);
    return buffer;
}

cudaError_t finish(cudaError_t error) {
    if (error != cudaSuccess && error != cudaErrorNotReady) last_error = error;
    return error;
}
cudaError_t sticky() { return device_count == 0 ? cudaErrorNoDevice : device_error; }
void set_sticky(cudaError_t error) {
    if (device_error == cudaSuccess) device_error = error;
    last_error = error;
}
void keep_fault(const std::string& what) {
    if (!fault.empty()) return;
    fault = what;
    fprintf(stderr, "cuda emulator: %s\n", what.c_str());
}
cudaError_t refuse(cudaError_t error, const char* format, ...) {
    char buffer[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(buffer, sizeof buffer, format, arguments);
    va_end(arguments);
    keep_fault(buffer);
    return finish(error);
}

const char* last_fault() {
    std::lock_guard lock(mutex());
    return fault.c_str();
}
void record_fault(const char* what) {
    std::lock_guard lock(mutex());
    keep_fault(what);
}
void clear() {
    std::lock_guard lock(mutex());
    fault.clear();
    device_error = cudaSuccess;
    last_error = cudaSuccess;
    drop_work();
}
void set_device_count(int count) { device_count = count; }

Function& function(const void* kernel) { return functions[kernel]; }
const cudaDeviceProp& properties() { return device_properties; }

cudaError_t function_set_attribute(const void* kernel, cudaFuncAttribute attribute, int value) {
    std::lock_guard lock(mutex());
    if (sticky() != cudaSuccess) return finish(sticky());
    if (kernel == nullptr) return finish(cudaErrorInvalidDeviceFunction);
    if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout)
        return finish(value < -1 || value > 100 ? cudaErrorInvalidValue : cudaSuccess);
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value < 0 || size_t(value) > device_properties.sharedMemPerBlockOptin)
        return finish(cudaErrorInvalidValue);
    function(kernel).dynamic_limit = value;
    return cudaSuccess;
}

cudaError_t function_get_attributes(cudaFuncAttributes* attributes, const void* kernel) {
    std::lock_guard lock(mutex());
    if (attributes == nullptr) return finish(cudaErrorInvalidValue);
    *attributes = {};
    attributes->maxThreadsPerBlock = 1024;
    attributes->numRegs = 32;
    attributes->ptxVersion = attributes->binaryVersion = 90;
    attributes->maxDynamicSharedSizeBytes = function(kernel).dynamic_limit;
    return cudaSuccess;
}

cudaError_t occupancy(int* blocks, const void*, int block_size, size_t dynamic_shared) {
    std::lock_guard lock(mutex());
    if (sticky() != cudaSuccess) return finish(sticky());
    if (blocks == nullptr || block_size < 1 || block_size > 1024) return finish(cudaErrorInvalidValue);
    const auto& p = device_properties;
    const int warps = (block_size + 31) / 32;
    int count = p.maxThreadsPerMultiProcessor / (warps * 32);
    if (count > p.maxBlocksPerMultiProcessor) count = p.maxBlocksPerMultiProcessor;
    const int by_shared = static_cast<int>(p.sharedMemPerMultiprocessor / (dynamic_shared + p.reservedSharedMemPerBlock));
    *blocks = dynamic_shared > p.sharedMemPerBlockOptin ? 0 : count < by_shared ? count : by_shared;
    return cudaSuccess;
}

cudaError_t copy_symbol(const void* symbol, size_t symbol_size, const void* source, size_t bytes, size_t offset) {
    std::lock_guard lock(mutex());
    if (sticky() != cudaSuccess) return finish(sticky());
    if (offset > symbol_size || bytes > symbol_size - offset) return finish(cudaErrorInvalidValue);
    __real_memcpy(static_cast<char*>(const_cast<void*>(symbol)) + offset, source, bytes);
    return cudaSuccess;
}

}  // namespace cuda_emulator

using namespace cuda_emulator;

extern "C" {

cudaError_t cudaGetLastError() {
    cudaError_t error = last_error;
    last_error = device_error;
    return error;
}
cudaError_t cudaPeekAtLastError() { return last_error; }
const char* cudaGetErrorName(cudaError_t error) {
    switch (error) {
#define X(name, value, text) case name: return #name;
#include "../emulator/errors.inc"
#undef X
    }
    return "unrecognized error code";
}
const char* cudaGetErrorString(cudaError_t error) {
    switch (error) {
#define X(name, value, text) case name: return text;
#include "../emulator/errors.inc"
#undef X
    }
    return "unrecognized error code";
}

cudaError_t cudaRuntimeGetVersion(int* version) { return *version = CUDART_VERSION, cudaSuccess; }
cudaError_t cudaDriverGetVersion(int* version) { return *version = CUDART_VERSION, cudaSuccess; }
cudaError_t cudaGetDeviceCount(int* count) {
    *count = device_count;
    return finish(device_count == 0 ? cudaErrorNoDevice : cudaSuccess);
}
cudaError_t cudaSetDevice(int device) { return finish(no_device(device)); }
cudaError_t cudaGetDevice(int* device) {
    *device = 0;
    return finish(no_device(0));
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* result, int device) {
    if (cudaError_t error = no_device(device)) return finish(error);
    *result = device_properties;
    result->totalGlobalMem = memory_capacity();
    return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
    if (cudaError_t error = no_device(device)) return finish(error);
    const auto& p = device_properties;
    switch (attribute) {
        case cudaDevAttrMaxThreadsPerBlock: *value = p.maxThreadsPerBlock; break;
        case cudaDevAttrMaxBlockDimX: *value = p.maxThreadsDim[0]; break;
        case cudaDevAttrMaxBlockDimY: *value = p.maxThreadsDim[1]; break;
        case cudaDevAttrMaxBlockDimZ: *value = p.maxThreadsDim[2]; break;
        case cudaDevAttrMaxGridDimX: *value = p.maxGridSize[0]; break;
        case cudaDevAttrMaxGridDimY: *value = p.maxGridSize[1]; break;
        case cudaDevAttrMaxGridDimZ: *value = p.maxGridSize[2]; break;
        case cudaDevAttrMaxSharedMemoryPerBlock: *value = static_cast<int>(p.sharedMemPerBlock); break;
        case cudaDevAttrTotalConstantMemory: *value = static_cast<int>(p.totalConstMem); break;
        case cudaDevAttrWarpSize: *value = p.warpSize; break;
        case cudaDevAttrMaxRegistersPerBlock: *value = p.regsPerBlock; break;
        case cudaDevAttrClockRate: *value = p.clockRate; break;
        case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; break;
        case cudaDevAttrIntegrated: *value = p.integrated; break;
        case cudaDevAttrCanMapHostMemory: *value = p.canMapHostMemory; break;
        case cudaDevAttrConcurrentKernels: *value = p.concurrentKernels; break;
        case cudaDevAttrMemoryClockRate: *value = p.memoryClockRate; break;
        case cudaDevAttrGlobalMemoryBusWidth: *value = p.memoryBusWidth; break;
        case cudaDevAttrL2CacheSize: *value = p.l2CacheSize; break;
        case cudaDevAttrMaxThreadsPerMultiProcessor: *value = p.maxThreadsPerMultiProcessor; break;
        case cudaDevAttrAsyncEngineCount: *value = p.asyncEngineCount; break;
        case cudaDevAttrUnifiedAddressing: *value = p.unifiedAddressing; break;
        case cudaDevAttrComputeCapabilityMajor: *value = p.major; break;
        case cudaDevAttrComputeCapabilityMinor: *value = p.minor; break;
        case cudaDevAttrStreamPrioritiesSupported: *value = p.streamPrioritiesSupported; break;
        case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *value = static_cast<int>(p.sharedMemPerMultiprocessor); break;
        case cudaDevAttrMaxRegistersPerMultiprocessor: *value = p.regsPerMultiprocessor; break;
        case cudaDevAttrManagedMemory: *value = p.managedMemory; break;
        case cudaDevAttrPageableMemoryAccess: *value = p.pageableMemoryAccess; break;
        case cudaDevAttrConcurrentManagedAccess: *value = p.concurrentManagedAccess; break;
        case cudaDevAttrCooperativeLaunch: *value = p.cooperativeLaunch; break;
        case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = static_cast<int>(p.sharedMemPerBlockOptin); break;
        case cudaDevAttrMaxBlocksPerMultiprocessor: *value = p.maxBlocksPerMultiProcessor; break;
        case cudaDevAttrReservedSharedMemoryPerBlock: *value = static_cast<int>(p.reservedSharedMemPerBlock); break;
        case cudaDevAttrMemoryPoolsSupported: *value = p.memoryPoolsSupported; break;
        case cudaDevAttrClusterLaunch: *value = p.clusterLaunch; break;
        default: return finish(cudaErrorInvalidValue);
    }
    return cudaSuccess;
}
cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}
cudaError_t cudaDeviceCanAccessPeer(int* can, int, int) { return *can = 0, cudaSuccess; }
cudaError_t cudaDeviceReset() {
    std::lock_guard lock(mutex());
    drop_work();
    free_all_device();
    device_error = last_error = cudaSuccess;
    return cudaSuccess;
}
}
