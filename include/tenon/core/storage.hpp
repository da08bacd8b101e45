// Storage: a reference-counted piece of memory that tensors and their views share.
#pragma once

#include <tenon/core/allocator.hpp>
#include <tenon/core/device.hpp>
#include <tenon/runtime/backend.hpp>

namespace tenon::detail {

struct Storage {
    int references;
    unsigned version;          // counts writes; a saved tensor whose version has moved on is an error in backward
    unsigned recorded_writes;  // counts writes that went onto the tape
    short header_class;        // size class of this header (and of the data, where they are one block)
    short data_class;          // size class of the data, -1: not ours to free, -2: inside the header's block
    Device device;
    int exported;              // how often it is lent out (DLPack): above 0 it may not move
    char* data;
    std::size_t bytes;
    const char* writer;        // the operation that wrote last, for error texts
    void (*release_owner)(void* owner);
    void* owner;               // what keeps foreign memory alive
};

inline constexpr std::size_t storage_header = 128;
static_assert(sizeof(Storage) <= storage_header);

inline Storage* new_storage(std::size_t bytes, Device device) {
    const bool inside = device.is_cpu() && bytes <= 1024;
    const int header_class = size_class(inside ? storage_header + bytes : storage_header);
    Storage* storage = static_cast<Storage*>(allocate_class(header_class));
    *storage = Storage{1, 0, 0, static_cast<short>(header_class), -2, device, 0, nullptr, bytes, "", nullptr, nullptr};
    if (inside) {
        storage->data = reinterpret_cast<char*>(storage) + storage_header;
        if (TENON_UNLIKELY(under_address_sanitizer())) {
            forbid(storage + 1, storage_header - sizeof(Storage));
            forbid(storage->data + bytes, size_of_class(header_class) - storage_header - bytes);
        }
        return storage;
    }
    try {
        if (device.is_cpu()) {
            int data_class = checked_size_class(bytes);
            storage->data = static_cast<char*>(allocate_near_class(data_class));
            storage->data_class = static_cast<short>(data_class);
            if (TENON_UNLIKELY(under_address_sanitizer())) forbid(storage->data + bytes, size_of_class(data_class) - bytes);
        } else {
            storage->data = static_cast<char*>(runtime::backend(device).allocate(device, bytes));
            storage->data_class = -3;
        }
    } catch (...) {
        release_class(storage, header_class);
        throw;
    }
    return storage;
}

// Bytes on a device, on any device; the device's own order of work holds.
inline void copy_bytes(Device device, void* to, const void* from, std::size_t bytes) {
    if (device.is_cpu()) std::memcpy(to, from, bytes);
    else runtime::backend(device).copy(device, to, device, from, bytes);
}
inline void zero_bytes(Device device, void* data, std::size_t bytes) {
    if (device.is_cpu()) std::memset(data, 0, bytes);
    else runtime::backend(device).zero(device, data, bytes);
}

// Memory that somebody else owns; release_owner(owner) is called when the last tensor is gone.
inline Storage* new_foreign_storage(void* data, std::size_t bytes, Device device, void* owner, void (*release_owner)(void*)) {
    const int header_class = size_class(storage_header);
    Storage* storage = static_cast<Storage*>(allocate_class(header_class));
    *storage = Storage{1,     0,    0,  static_cast<short>(header_class), -1, device, 0, static_cast<char*>(data),
                       bytes, "", release_owner, owner};
    return storage;
}

inline void release_data(Storage* storage) noexcept {
    if (storage->data_class >= 0) release_class(storage->data, storage->data_class);
    else if (storage->data_class == -3) runtime::backend(storage->device).release(storage->device, storage->data, storage->bytes);
    if (storage->release_owner != nullptr) storage->release_owner(storage->owner);
    storage->release_owner = nullptr;
}

inline void retain(Storage* storage) noexcept { __atomic_add_fetch(&storage->references, 1, __ATOMIC_RELAXED); }
TENON_NOINLINE inline void destroy(Storage* storage) noexcept {
    release_data(storage);
    release_class(storage, storage->header_class);
}
inline void release(Storage* storage) noexcept {
    if (__atomic_sub_fetch(&storage->references, 1, __ATOMIC_ACQ_REL) == 0) destroy(storage);
}

// Moves the contents into `destination` (part of `owner`, which is kept alive). Every tensor and view of the storage
// follows, since they hold the storage and an offset.
inline void reseat(Storage* storage, char* destination, Storage* owner) {
    if (storage->exported)
        fail<Error>("optimiser: a parameter's memory is lent out through DLPack and may not move into the arena");
    copy_bytes(storage->device, destination, storage->data, storage->bytes);
    retain(owner);
    release_data(storage);
    storage->data = destination;
    storage->data_class = -1;
    storage->owner = owner;
    storage->release_owner = [](void* held) { release(static_cast<Storage*>(held)); };
}

// Notes a write: saved tensors that share the storage are stale from here on.
inline void note_write(Storage* storage, const char* operation) noexcept {
    ++storage->version;
    storage->writer = operation;
}

}  // namespace tenon::detail
