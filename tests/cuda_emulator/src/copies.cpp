// Allocation, copies and fills, with the checks that the runtime makes and those that it does not.
#include <stdlib.h>
#include <string.h>

#include <memory>
#include <vector>

#include "host.hpp"
#include "memory.hpp"
#include "stream.hpp"

using namespace cuda_emulator;

#define API_CALL                                    \
    std::lock_guard lock(mutex());                  \
    if (sticky() != cudaSuccess) return finish(sticky())

namespace {

cudaMemPool_t default_pool() { return reinterpret_cast<cudaMemPool_t>(8); }
unsigned long long release_threshold = 0;

struct Copy {
    char* to;
    const char* from;
    size_t to_pitch, from_pitch, width, height;
    const char* name;
};

bool on_device(const void* pointer) {
    return in_arena(pointer) || host_kind(reinterpret_cast<uintptr_t>(pointer), 1) == Host::managed;
}

// The error of a copy whose ends do not fit its kind or their memory, with a fault that says so.
cudaError_t check(const Copy& copy, cudaMemcpyKind kind) {
    if (copy.width == 0 || copy.height == 0) return cudaSuccess;
    if (kind < 0 || kind > 4) return finish(cudaErrorInvalidMemcpyDirection);
    if (copy.to == nullptr || copy.from == nullptr) return refuse(cudaErrorInvalidValue, "%s: a null pointer", copy.name);
    if (copy.height > 1 && (copy.width > copy.to_pitch || copy.width > copy.from_pitch))
        return refuse(cudaErrorInvalidPitchValue, "%s: rows of %zu bytes with pitches of %zu and %zu", copy.name, copy.width, copy.to_pitch,
                      copy.from_pitch);
    const char* kinds[] = {"cudaMemcpyHostToHost", "cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost", "cudaMemcpyDeviceToDevice"};
    if (kind != cudaMemcpyDefault) {
        const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
        const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
        // Managed memory is both.
        if (to_device ? !on_device(copy.to) : in_arena(copy.to))
            return refuse(cudaErrorInvalidValue, "%s with %s: the destination is %s", copy.name, kinds[kind],
                          describe(reinterpret_cast<uintptr_t>(copy.to)).c_str());
        if (from_device ? !on_device(copy.from) : in_arena(copy.from))
            return refuse(cudaErrorInvalidValue, "%s with %s: the source is %s", copy.name, kinds[kind],
                          describe(reinterpret_cast<uintptr_t>(copy.from)).c_str());
    }
    return cudaSuccess;
}

cudaError_t check_row(const Copy& copy, const void* pointer, bool write) {
    if (!in_arena(pointer)) return cudaSuccess;
    if (uintptr_t bad = first_inaccessible(reinterpret_cast<uintptr_t>(pointer), copy.width); bad != 0)
        return refuse(cudaErrorInvalidValue, "%s: %s of %zu bytes reaches %s", copy.name, write ? "write" : "read", copy.width,
                      describe(bad).c_str());
    return cudaSuccess;
}

cudaError_t run(const Copy& copy) {
    for (size_t row = 0; row < copy.height; ++row) {
        char* to = copy.to + row * copy.to_pitch;
        const char* from = copy.from + row * copy.from_pitch;
        if (cudaError_t error = check_row(copy, to, true)) return error;
        if (cudaError_t error = check_row(copy, from, false)) return error;
        const uintptr_t target = reinterpret_cast<uintptr_t>(to), source = reinterpret_cast<uintptr_t>(from);
        __real_memcpy(to, from, copy.width);
        if (in_arena(from) && in_arena(to)) {
            __real_memcpy(state_of(target), state_of(source), copy.width);
        } else if (in_arena(to)) {
            mark_written(target, copy.width);
        } else if (in_arena(from)) {
            if (uintptr_t bad = first_unwritten(source, copy.width); bad != 0)
                keep_fault(
                    text("%s: uninitialised: the host gets device memory that nobody wrote, at %s", copy.name, describe(bad).c_str()));
        }
    }
    return cudaSuccess;
}

bool pageable(const void* pointer) { return !in_arena(pointer) && host_kind(reinterpret_cast<uintptr_t>(pointer), 1) == Host::pageable; }

cudaError_t copy_async(Copy copy, cudaMemcpyKind kind, cudaStream_t stream, bool synchronous) {
    API_CALL;
    if (!known_stream(stream)) return finish(cudaErrorInvalidResourceHandle);
    if (synchronous)
        if (cudaError_t error = refuse_in_capture(cudaErrorStreamCaptureImplicit)) return error;
    if (cudaError_t error = check(copy, kind)) return error;
    if (copy.width == 0 || copy.height == 0) return cudaSuccess;
    const bool capturing = is_capturing(stream);
    // Bounds are known now (in a capture, the memory may be the graph's); what is freed in between is found when the copy runs.
    for (size_t row = 0; row < copy.height && !capturing; row += copy.height > 1 ? copy.height - 1 : 1) {
        if (cudaError_t error = check_row(copy, copy.to + row * copy.to_pitch, true)) return error;
        if (cudaError_t error = check_row(copy, copy.from + row * copy.from_pitch, false)) return error;
    }
    if (!capturing && pageable(copy.from) && !synchronous) {
        // The runtime has taken such a source before it returns.
        auto staged = std::make_shared<std::vector<char>>(copy.width * copy.height);
        for (size_t row = 0; row < copy.height; ++row)
            __real_memcpy(staged->data() + row * copy.width, copy.from + row * copy.from_pitch, copy.width);
        Copy from_staged = copy;
        from_staged.from = staged->data();
        from_staged.from_pitch = copy.width;
        return enqueue(stream, cudaGraphNodeTypeMemcpy, [from_staged, staged] { return run(from_staged); });
    }
    cudaError_t error = enqueue(stream, cudaGraphNodeTypeMemcpy, [copy] { return run(copy); });
    if (error != cudaSuccess) return error;
    return synchronous || (!capturing && pageable(copy.to)) ? finish(drain(stream)) : cudaSuccess;
}

cudaError_t fill(void* pointer, int value, size_t bytes, cudaStream_t stream) {
    API_CALL;
    if (!known_stream(stream)) return finish(cudaErrorInvalidResourceHandle);
    if (bytes == 0) return cudaSuccess;
    auto work = [=] {
        Copy as_copy{static_cast<char*>(pointer), nullptr, bytes, 0, bytes, 1, "cudaMemset"};
        if (cudaError_t error = check_row(as_copy, pointer, true)) return error;
        __real_memset(pointer, value, bytes);
        if (in_arena(pointer)) mark_written(reinterpret_cast<uintptr_t>(pointer), bytes);
        return cudaSuccess;
    };
    if (pageable(pointer))
        return refuse(cudaErrorInvalidValue, "cudaMemset of %s", describe(reinterpret_cast<uintptr_t>(pointer)).c_str());
    if (in_arena(pointer) && !is_capturing(stream))
        if (uintptr_t bad = first_inaccessible(reinterpret_cast<uintptr_t>(pointer), bytes); bad != 0)
            return refuse(cudaErrorInvalidValue, "cudaMemset: write of %zu bytes reaches %s", bytes, describe(bad).c_str());
    return enqueue(stream, cudaGraphNodeTypeMemset, work);
}

// Memory of a graph lives as long as the graph, and is there between its two nodes.
std::shared_ptr<void> graph_owner(void* pointer) {
    return std::shared_ptr<void>(pointer, [](void* p) { free_device(p); });
}

}  // namespace

namespace cuda_emulator {

cudaError_t malloc_device(void** pointer, size_t bytes) {
    API_CALL;
    if (pointer == nullptr) return finish(cudaErrorInvalidValue);
    if (cudaError_t error = refuse_in_capture(cudaErrorStreamCaptureUnsupported)) return error;
    *pointer = nullptr;
    if (bytes == 0) return cudaSuccess;
    *pointer = allocate_device(bytes);
    return finish(*pointer == nullptr ? cudaErrorMemoryAllocation : cudaSuccess);
}

cudaError_t malloc_async(void** pointer, size_t bytes, cudaStream_t stream) {
    API_CALL;
    if (pointer == nullptr) return finish(cudaErrorInvalidValue);
    if (!known_stream(stream)) return finish(cudaErrorInvalidResourceHandle);
    *pointer = nullptr;
    if (bytes == 0) return cudaSuccess;
    void* got = allocate_device(bytes);
    if (got == nullptr) {
        // What waits in the streams may free memory.
        if (!is_capturing(stream)) drain_all();
        got = allocate_device(bytes);
    }
    if (got == nullptr) return finish(cudaErrorMemoryAllocation);
    *pointer = got;
    if (!is_capturing(stream)) return cudaSuccess;
    hide_device(got);
    return enqueue(stream, cudaGraphNodeTypeMemAlloc, [owner = graph_owner(got)] {
        revive_device(owner.get());
        return cudaSuccess;
    });
}

cudaError_t malloc_host(void** pointer, size_t bytes, unsigned) {
    API_CALL;
    if (pointer == nullptr) return finish(cudaErrorInvalidValue);
    *pointer = bytes == 0 ? nullptr : allocate_host(bytes, false);
    return finish(bytes != 0 && *pointer == nullptr ? cudaErrorMemoryAllocation : cudaSuccess);
}

cudaError_t malloc_managed(void** pointer, size_t bytes) {
    API_CALL;
    if (pointer == nullptr || bytes == 0) return finish(cudaErrorInvalidValue);
    *pointer = allocate_host(bytes, true);
    return finish(*pointer == nullptr ? cudaErrorMemoryAllocation : cudaSuccess);
}

}  // namespace cuda_emulator

extern "C" {

cudaError_t cudaFree(void* pointer) {
    std::lock_guard lock(mutex());
    if (pointer == nullptr) return finish(sticky());
    if (cudaError_t error = refuse_in_capture(cudaErrorStreamCaptureUnsupported)) return error;
    drain_all();
    if (!in_arena(pointer) && free_host(pointer)) return finish(sticky());
    if (!free_device(pointer))
        return refuse(cudaErrorInvalidValue, "cudaFree of %s", describe(reinterpret_cast<uintptr_t>(pointer)).c_str());
    return finish(sticky());
}

cudaError_t cudaFreeAsync(void* pointer, cudaStream_t stream) {
    API_CALL;
    if (pointer == nullptr) return finish(cudaErrorInvalidValue);
    if (!known_stream(stream)) return finish(cudaErrorInvalidResourceHandle);
    if (allocation_of(reinterpret_cast<uintptr_t>(pointer)) != reinterpret_cast<uintptr_t>(pointer))
        return refuse(cudaErrorInvalidValue, "cudaFreeAsync of %s", describe(reinterpret_cast<uintptr_t>(pointer)).c_str());
    if (is_capturing(stream))
        return enqueue(stream, cudaGraphNodeTypeMemFree, [pointer] {
            hide_device(pointer);
            return cudaSuccess;
        });
    return enqueue(stream, cudaGraphNodeTypeMemFree, [pointer] {
        if (!free_device(pointer)) return refuse(cudaErrorInvalidValue, "cudaFreeAsync of memory that was freed before");
        return cudaSuccess;
    });
}

cudaError_t cudaFreeHost(void* pointer) {
    std::lock_guard lock(mutex());
    if (pointer == nullptr) return cudaSuccess;
    drain_all();
    return free_host(pointer) ? cudaSuccess : refuse(cudaErrorInvalidValue, "cudaFreeHost of memory that cudaMallocHost did not give");
}

cudaError_t cudaHostRegister(void* pointer, size_t bytes, unsigned) {
    API_CALL;
    if (pointer == nullptr || bytes == 0) return finish(cudaErrorInvalidValue);
    return finish(register_host(pointer, bytes) ? cudaSuccess : cudaErrorHostMemoryAlreadyRegistered);
}
cudaError_t cudaHostUnregister(void* pointer) {
    std::lock_guard lock(mutex());
    drain_all();
    return finish(unregister_host(pointer) ? cudaSuccess : cudaErrorHostMemoryNotRegistered);
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    return copy_async({static_cast<char*>(to), static_cast<const char*>(from), bytes, bytes, bytes, 1, "cudaMemcpyAsync"}, kind, stream,
                      false);
}
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
    return copy_async({static_cast<char*>(to), static_cast<const char*>(from), bytes, bytes, bytes, 1, "cudaMemcpy"}, kind, nullptr, true);
}
cudaError_t cudaMemcpyPeerAsync(void* to, int to_device, const void* from, int from_device, size_t bytes, cudaStream_t stream) {
    if (to_device != 0 || from_device != 0) return finish(cudaErrorInvalidDevice);
    return cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream);
}
cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width, size_t height,
                              cudaMemcpyKind kind, cudaStream_t stream) {
    return copy_async({static_cast<char*>(to), static_cast<const char*>(from), to_pitch, from_pitch, width, height, "cudaMemcpy2DAsync"},
                      kind, stream, false);
}
cudaError_t cudaMemcpy2D(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width, size_t height, cudaMemcpyKind kind) {
    return copy_async({static_cast<char*>(to), static_cast<const char*>(from), to_pitch, from_pitch, width, height, "cudaMemcpy2D"}, kind,
                      nullptr, true);
}
cudaError_t cudaMemsetAsync(void* pointer, int value, size_t bytes, cudaStream_t stream) { return fill(pointer, value, bytes, stream); }
cudaError_t cudaMemset(void* pointer, int value, size_t bytes) { return fill(pointer, value, bytes, nullptr); }

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
    API_CALL;
    if (attributes == nullptr) return finish(cudaErrorInvalidValue);
    *attributes = {cudaMemoryTypeUnregistered, -2, nullptr, const_cast<void*>(pointer)};
    const uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
    if (in_arena(pointer)) {
        if (allocation_of(address) != 0) *attributes = {cudaMemoryTypeDevice, 0, const_cast<void*>(pointer), nullptr};
    } else if (Host kind = host_kind(address, 1); kind != Host::pageable) {
        void* same = const_cast<void*>(pointer);
        *attributes = {kind == Host::managed ? cudaMemoryTypeManaged : cudaMemoryTypeHost, 0, same, same};
    }
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
    API_CALL;
    *total = memory_capacity();
    *free = memory_used() > *total ? 0 : *total - memory_used();
    return cudaSuccess;
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int device) {
    API_CALL;
    if (device != 0) return finish(cudaErrorInvalidDevice);
    *pool = default_pool();
    return cudaSuccess;
}
cudaError_t cudaDeviceGetMemPool(cudaMemPool_t* pool, int device) { return cudaDeviceGetDefaultMemPool(pool, device); }

cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value) {
    API_CALL;
    if (pool != default_pool() || value == nullptr) return finish(cudaErrorInvalidValue);
    if (attribute == cudaMemPoolAttrReleaseThreshold) release_threshold = *static_cast<unsigned long long*>(value);
    return cudaSuccess;
}
cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value) {
    API_CALL;
    if (pool != default_pool() || value == nullptr) return finish(cudaErrorInvalidValue);
    switch (attribute) {
        case cudaMemPoolAttrReleaseThreshold: *static_cast<unsigned long long*>(value) = release_threshold; break;
        case cudaMemPoolAttrReservedMemCurrent:
        case cudaMemPoolAttrUsedMemCurrent: *static_cast<unsigned long long*>(value) = memory_used(); break;
        case cudaMemPoolAttrReservedMemHigh:
        case cudaMemPoolAttrUsedMemHigh: *static_cast<unsigned long long*>(value) = memory_high(); break;
        default: *static_cast<int*>(value) = 1;
    }
    return cudaSuccess;
}
cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t) {
    API_CALL;
    return finish(pool == default_pool() ? cudaSuccess : cudaErrorInvalidValue);
}
}
