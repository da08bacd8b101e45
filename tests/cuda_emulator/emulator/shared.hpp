// Shared memory of the running block.
#pragma once

#include <stddef.h>

namespace cuda_emulator {

// The same key gives every thread of the block the same memory.
void* shared_bytes(size_t bytes, size_t alignment, const void* key);
void* shared_dynamic_bytes(size_t alignment);

template <class T>
T* shared_array(size_t count, const void* key) {
    return static_cast<T*>(shared_bytes(count * sizeof(T), alignof(T), key));
}
template <class T>
T* shared_dynamic() {
    return static_cast<T*>(shared_dynamic_bytes(alignof(T)));
}

}  // namespace cuda_emulator
