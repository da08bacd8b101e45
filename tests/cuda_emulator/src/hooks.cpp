// The program's code is compiled with the thread sanitizer's instrumentation (and the undefined-behaviour sanitizer's for alignment) but
// linked with this file in place of their runtimes: every load and store of unmodified kernel and host code calls a function below.
#include <stdio.h>
#include <string.h>

#include <atomic>

#include "../emulator/control.hpp"
#include "access.hpp"
#include "host.hpp"
#include "memory.hpp"
#include "races.hpp"
#include "running.hpp"

extern "C" char __executable_start, end;

namespace cuda_emulator {

bool check_races = true;

namespace {

std::string place(const void* address) { return function_name(address); }

[[gnu::noinline, gnu::cold]] void host_touches_device(uintptr_t address, size_t bytes, bool write, const void* from) {
    std::lock_guard lock(mutex());
    keep_fault(text("host code %s %zu bytes of device memory: %s, in %s", write ? "writes" : "reads", bytes, describe(address).c_str(),
                    place(from).c_str()));
}

[[gnu::noinline, gnu::cold]] void bad_access(uintptr_t address, size_t bytes, bool write) {
    OutsideKernel outside;
    uintptr_t bad = first_inaccessible(address, bytes);
    if (bad == 0) return;
    bool freed = in_arena(bad) && !in_shared(bad) && describe(bad).find("freed") != std::string::npos;
    kernel_fault(cudaErrorIllegalAddress, "%s: %s of %zu bytes at %s", freed ? "use after free" : "out of bounds", write ? "write" : "read",
                 bytes, describe(bad).c_str());
}

[[gnu::noinline, gnu::cold]] void unwritten_read(uintptr_t address, size_t bytes) {
    OutsideKernel outside;
    kernel_fault(cudaErrorLaunchFailure, "uninitialised: read of %zu bytes that nobody wrote, at %s", bytes,
                 describe(first_unwritten(address, bytes)).c_str());
}

[[gnu::noinline, gnu::cold]] void other_memory(uintptr_t address, size_t bytes, bool write) {
    OutsideKernel outside;
    if (address - running.arguments_low < running.arguments_high - running.arguments_low && !write) return;
    uintptr_t low = reinterpret_cast<uintptr_t>(&__executable_start), top = reinterpret_cast<uintptr_t>(&end);
    if (address - low < top - low) {
        // Constants and tables; the compiler of device code refuses everything else.
        if (!write) return;
        kernel_fault(cudaErrorIllegalAddress, "host memory: write of %zu bytes to a variable of the program at %#zx", bytes,
                     size_t(address));
    }
    bool whole = false;
    if (host_kind(address, bytes, &whole) != Host::pageable && whole) return;
    if (address < 4096)
        kernel_fault(cudaErrorIllegalAddress, "null pointer: %s of %zu bytes at %#zx", write ? "write" : "read", bytes, size_t(address));
    kernel_fault(cudaErrorIllegalAddress, "host memory: %s of %zu bytes at %#zx, which is not device memory", write ? "write" : "read",
                 bytes, size_t(address));
}

[[gnu::noinline, gnu::cold]] void misaligned(uintptr_t address, size_t bytes, const char* what) {
    OutsideKernel outside;
    kernel_fault(cudaErrorMisalignedAddress, "misaligned: %s of %zu bytes at %s", what, bytes, describe(address).c_str());
}

[[gnu::noinline, gnu::cold]] void race(uintptr_t address, uint64_t other, bool other_writes, bool write) {
    OutsideKernel outside;
    const char* verbs = other_writes ? write ? "write after write" : "read after write" : "write after read";
    if (race_epoch(other) < running.block_epoch || other & race_blocks)
        kernel_fault(cudaErrorLaunchFailure, "race between blocks: %s of another block of this launch, at %s", verbs,
                     describe(address).c_str());
    kernel_fault(cudaErrorLaunchFailure, "race: %s of thread %u without a barrier between, at %s", verbs, race_thread(other),
                 describe(address).c_str());
}

// Is the current thread's access unordered with the recorded one?
inline bool conflicts(uint64_t record, uint64_t own, bool is_read_record) {
    uint32_t epoch = race_epoch(record);
    if ((record & own & race_atomic) != 0) return false;
    if ((record & own & (uint64_t(15) << race_bytes_shift)) == 0) return false;
    if (epoch < running.block_epoch || (is_read_record && record & race_blocks)) return !running.block_acquired;
    if (epoch != race_epoch(own)) return false;
    if (is_read_record && record & race_warps) return true;
    unsigned thread = race_thread(record), self = race_thread(own);
    if (thread / 32 != self / 32) return true;
    if (race_warp_interval(record) != race_warp_interval(own)) return false;
    return thread != self || (is_read_record && record & race_lanes);
}

// The record of reads, of which `before` were, after one more.
inline uint64_t with_read(uint64_t before, uint64_t own, uint32_t since) {
    uint64_t flags = 0;
    if (race_epoch(before) < since) return own;
    if (race_epoch(before) < running.block_epoch) {
        flags = race_blocks;
    } else {
        flags = before & race_blocks;
        if (race_epoch(before) == race_epoch(own)) {
            flags |= before & race_warps;
            if (race_thread(before) / 32 != race_thread(own) / 32) flags |= race_warps;
            else if (race_warp_interval(before) == race_warp_interval(own))
                flags |= (before & race_lanes) | (race_thread(before) != race_thread(own) ? race_lanes : 0);
        }
    }
    return own | flags;
}

inline void record_granule(uintptr_t granule, unsigned bytes, bool write, bool atomic) {
    Race& record = *reinterpret_cast<Race*>(races_base + (granule - arena_base) / 4 * sizeof(Race));
    // Each block has shared memory of its own, at the same addresses.
    const uint32_t since = in_shared(granule) ? running.block_epoch : running.launch_epoch;
    const uint64_t own = running.stamp | uint64_t(bytes) << race_bytes_shift | (atomic ? race_atomic : 0);
    if (race_epoch(record.write) >= since && conflicts(record.write, own, false)) race(granule, record.write, true, write);
    if (write) {
        if (race_epoch(record.read) >= since && conflicts(record.read, own, true)) race(granule, record.read, false, true);
        for (uint64_t part : record.byte_read)
            if (race_epoch(part) >= since && conflicts(part, own, true)) race(granule, part, false, true);
        record.write = own;
    } else if (bytes == 15) {
        record.read = with_read(record.read, own, since);
    } else {
        for (int i = 0; i < 4; ++i)
            if ((bytes >> i & 1) != 0)
                record.byte_read[i] = with_read(record.byte_read[i],
                                                (own & ~(uint64_t(15) << race_bytes_shift)) | uint64_t(1) << (race_bytes_shift + i), since);
    }
}

inline void record_races(uintptr_t address, size_t bytes, bool write, bool atomic) {
    uintptr_t last = address + bytes - 1;
    for (uintptr_t granule = address & ~uintptr_t(3); granule <= last; granule += 4) {
        unsigned mask = 15;
        if (granule < address) mask &= 15u << (address - granule);
        if (granule + 3 > last) mask &= 15u >> (granule + 3 - last);
        record_granule(granule, mask, write, atomic);
    }
}

template <size_t bytes>
inline bool all_written(const uint8_t* states) {
    if constexpr (bytes == 1) return *states == written;
    else if constexpr (bytes == 2) { uint16_t v; memcpy(&v, states, 2); return v == 0x0303; }
    else if constexpr (bytes == 4) { uint32_t v; memcpy(&v, states, 4); return v == 0x03030303; }
    else {
        uint64_t v = ~uint64_t(0), w;
        for (size_t i = 0; i < bytes; i += 8) { memcpy(&w, states + i, 8); v &= w ^ 0xfcfcfcfcfcfcfcfc; }
        return v == ~uint64_t(0);
    }
}

inline void device_range(uintptr_t address, size_t bytes, bool write, bool read) {
    for (size_t i = 0; i < bytes; ++i) {
        if (!in_arena(address + i) || *state_of(address + i) == inaccessible) {
            bad_access(address, bytes, write);
            break;
        }
    }
    if (read && first_unwritten(address, bytes) != 0) unwritten_read(address, bytes);
    if (write) mark_written(address, bytes);
}

// Not inlined: a program has thousands of calls of each function, but few paths through it are hot.
template <size_t bytes>
inline void access(void* pointer, bool write, const void* from) {
    uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
    if (in_arena(address)) {
        if (!in_kernel) return host_touches_device(address, bytes, write, from);
        if (__builtin_expect(++running.accesses > access_limit, 0)) endless();
        if (bytes > 1 && address % bytes != 0)
            misaligned(address, bytes, write ? "write" : "read");
        if (!all_written<bytes>(state_of(address))) device_range(address, bytes, write, !write);
        if (check_races) record_races(address, bytes, write, false);
    } else if (in_kernel && address - running.stack_low >= running.stack_high - running.stack_low) {
        other_memory(address, bytes, write);
    }
}

inline void access_range(const void* pointer, size_t bytes, bool write, const void* from) {
    if (bytes == 0) return;
    uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
    if (in_arena(address)) {
        if (!in_kernel) return host_touches_device(address, bytes, write, from);
        device_range(address, bytes, write, !write);
        if (check_races) record_races(address, bytes, write, false);
    } else if (in_kernel && address - running.stack_low >= running.stack_high - running.stack_low) {
        other_memory(address, bytes, write);
    }
}

}  // namespace

void atomic_access(void* pointer, size_t bytes, bool reads) {
    uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
    if (!in_kernel) return host_touches_device(address, bytes, true, __builtin_return_address(0));
    if (in_arena(address)) {
        if (address % bytes != 0)
            misaligned(address, bytes, "atomic operation");
        device_range(address, bytes, true, reads);
        if (check_races) record_races(address, bytes, true, true);
        running.block_acquired = true;
    } else if (address - running.stack_low >= running.stack_high - running.stack_low) {
        other_memory(address, bytes, true);
    }
}

}  // namespace cuda_emulator

using namespace cuda_emulator;

extern "C" {

#define ACCESS(bytes)                                                                                                   \
    void __tsan_read##bytes(void* p) { access<bytes>(p, false, __builtin_return_address(0)); }                          \
    void __tsan_write##bytes(void* p) { access<bytes>(p, true, __builtin_return_address(0)); }                          \
    void __tsan_volatile_read##bytes(void* p) { access<bytes>(p, false, __builtin_return_address(0)); }                 \
    void __tsan_volatile_write##bytes(void* p) { access<bytes>(p, true, __builtin_return_address(0)); }                 \
    void __tsan_unaligned_read##bytes(void* p) { access_range(p, bytes, false, __builtin_return_address(0)); }          \
    void __tsan_unaligned_write##bytes(void* p) { access_range(p, bytes, true, __builtin_return_address(0)); }          \
    void __tsan_read_write##bytes(void* p) {                                                                            \
        access<bytes>(p, false, __builtin_return_address(0));                                                           \
        access<bytes>(p, true, __builtin_return_address(0));                                                            \
    }
ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)
#undef ACCESS

void __tsan_read_range(void* p, size_t bytes) { access_range(p, bytes, false, __builtin_return_address(0)); }
void __tsan_write_range(void* p, size_t bytes) { access_range(p, bytes, true, __builtin_return_address(0)); }
void __tsan_vptr_update(void** p, void*) { access<8>(p, true, __builtin_return_address(0)); }
void __tsan_vptr_read(void** p) { access<8>(p, false, __builtin_return_address(0)); }
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

// Calls of the C library's functions come here through the linker's --wrap.
void* __real_memmove(void*, const void*, size_t);
void* __wrap_memcpy(void* to, const void* from, size_t bytes) {
    access_range(from, bytes, false, __builtin_return_address(0));
    access_range(to, bytes, true, __builtin_return_address(0));
    return __real_memcpy(to, from, bytes);
}
void* __wrap_memmove(void* to, const void* from, size_t bytes) {
    access_range(from, bytes, false, __builtin_return_address(0));
    access_range(to, bytes, true, __builtin_return_address(0));
    return __real_memmove(to, from, bytes);
}
void* __wrap_memset(void* to, int value, size_t bytes) {
    access_range(to, bytes, true, __builtin_return_address(0));
    return __real_memset(to, value, bytes);
}
void* __tsan_memcpy(void* to, const void* from, size_t bytes) { return __wrap_memcpy(to, from, bytes); }
void* __tsan_memmove(void* to, const void* from, size_t bytes) { return __wrap_memmove(to, from, bytes); }
void* __tsan_memset(void* to, int value, size_t bytes) { return __wrap_memset(to, value, bytes); }

// What the alignment sanitizer calls with the pointer that it found wanting; null passes it too, and is left to the access itself.
struct TypeMismatch {
    void* location[2];
    void* type;
    unsigned char log_alignment, kind;
};
void __ubsan_handle_type_mismatch_v1(TypeMismatch* data, void* pointer) {
    if (pointer == nullptr || !in_arena(pointer) || !in_kernel) return;
    OutsideKernel outside;
    kernel_fault(cudaErrorMisalignedAddress, "misaligned: access that needs %u-byte alignment at %s, %s:%u", 1u << data->log_alignment,
                 describe(reinterpret_cast<uintptr_t>(pointer)).c_str(), static_cast<const char*>(data->location[0]),
                 static_cast<unsigned>(reinterpret_cast<uintptr_t>(data->location[1])));
}
void __ubsan_handle_alignment_assumption(void*, uintptr_t, uintptr_t, uintptr_t) {}

// Atomic operations of host code (std::atomic): done as they are.
#define ATOMIC(bits, T)                                                                                                            \
    T __tsan_atomic##bits##_load(const volatile T* p, int) {                                                                       \
        access<sizeof(T)>(const_cast<T*>(p), false, __builtin_return_address(0));                                                  \
        return __atomic_load_n(p, __ATOMIC_SEQ_CST);                                                                               \
    }                                                                                                                              \
    void __tsan_atomic##bits##_store(volatile T* p, T v, int) {                                                                    \
        access<sizeof(T)>(const_cast<T*>(p), true, __builtin_return_address(0));                                                   \
        __atomic_store_n(p, v, __ATOMIC_SEQ_CST);                                                                                  \
    }                                                                                                                              \
    T __tsan_atomic##bits##_exchange(volatile T* p, T v, int) { return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST); }              \
    T __tsan_atomic##bits##_fetch_add(volatile T* p, T v, int) { return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST); }              \
    T __tsan_atomic##bits##_fetch_sub(volatile T* p, T v, int) { return __atomic_fetch_sub(p, v, __ATOMIC_SEQ_CST); }              \
    T __tsan_atomic##bits##_fetch_and(volatile T* p, T v, int) { return __atomic_fetch_and(p, v, __ATOMIC_SEQ_CST); }              \
    T __tsan_atomic##bits##_fetch_or(volatile T* p, T v, int) { return __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST); }                \
    T __tsan_atomic##bits##_fetch_xor(volatile T* p, T v, int) { return __atomic_fetch_xor(p, v, __ATOMIC_SEQ_CST); }              \
    T __tsan_atomic##bits##_fetch_nand(volatile T* p, T v, int) { return __atomic_fetch_nand(p, v, __ATOMIC_SEQ_CST); }            \
    int __tsan_atomic##bits##_compare_exchange_strong(volatile T* p, T* expected, T v, int, int) {                                 \
        return __atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                             \
    }                                                                                                                              \
    int __tsan_atomic##bits##_compare_exchange_weak(volatile T* p, T* expected, T v, int, int) {                                   \
        return __atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                             \
    }                                                                                                                              \
    T __tsan_atomic##bits##_compare_exchange_val(volatile T* p, T expected, T v, int, int) {                                       \
        __atomic_compare_exchange_n(p, &expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                                   \
        return expected;                                                                                                           \
    }
ATOMIC(8, uint8_t)
ATOMIC(16, uint16_t)
ATOMIC(32, uint32_t)
ATOMIC(64, uint64_t)
#undef ATOMIC
void __tsan_atomic_thread_fence(int) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
void __tsan_atomic_signal_fence(int) { __atomic_signal_fence(__ATOMIC_SEQ_CST); }
}

namespace cuda_emulator {

bool check_read(const void* pointer, size_t bytes, const char* what) {
    std::lock_guard lock(mutex());
    uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
    if (bytes == 0) return true;
    bool whole = false;
    if (!in_arena(address) && host_kind(address, bytes, &whole) != Host::pageable && whole) return true;
    if (uintptr_t bad = first_inaccessible(address, bytes); bad != 0) {
        keep_fault(text("%s: read of %zu bytes reaches %s", what, bytes, describe(bad).c_str()));
        return false;
    }
    if (uintptr_t bad = first_unwritten(address, bytes); bad != 0) {
        keep_fault(text("%s: uninitialised: read of %zu bytes reaches unwritten memory at %s", what, bytes, describe(bad).c_str()));
        return false;
    }
    return true;
}

bool check_write(void* pointer, size_t bytes, const char* what) {
    std::lock_guard lock(mutex());
    uintptr_t address = reinterpret_cast<uintptr_t>(pointer);
    if (bytes == 0) return true;
    bool whole = false;
    if (!in_arena(address) && host_kind(address, bytes, &whole) != Host::pageable && whole) return true;
    if (uintptr_t bad = first_inaccessible(address, bytes); bad != 0) {
        keep_fault(text("%s: write of %zu bytes reaches %s", what, bytes, describe(bad).c_str()));
        return false;
    }
    mark_written(address, bytes);
    return true;
}

}  // namespace cuda_emulator
