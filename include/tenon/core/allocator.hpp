// The caching allocator of host memory: 64-byte aligned blocks in size classes, never given back inside a training
// loop. Small blocks come from a free list of the thread, others (and what overflows) from shared ones.
#pragma once

#include <tenon/base/error.hpp>

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>

// AddressSanitizer's functions where it is in the program, null elsewhere. Weak symbols and no macro: objects compiled with
// and without the sanitizer share the functions below in one program, so these must not differ.
extern "C" {
__attribute__((weak)) void __asan_poison_memory_region(const volatile void* address, std::size_t bytes);
__attribute__((weak)) void __asan_unpoison_memory_region(const volatile void* address, std::size_t bytes);
}

namespace tenon {
namespace memory {

struct Statistics {
    long live = 0;          // bytes in use, rounded up to size classes
    long peak = 0;          // the largest that live has been (within 1 MiB per thread)
    long cached = 0;        // bytes held for reuse in the shared lists
    long system_calls = 0;  // how often memory was asked of the system
};

}  // namespace memory

namespace detail {

// Classes in units of 64 bytes: 1, 2, 3, 4, then 2^k * {5, 6, 7, 8} up to 1 MiB, then 2^k * {17, ..., 32}: what rounding up wastes of
// large blocks is memory that a program notices.
constexpr int fine_class = 4 * 13, size_class_count = fine_class + 16 * 34;
constexpr std::size_t size_of_class(int index) {
    if (index < 4) return static_cast<std::size_t>(index + 1) * 64;
    if (index < fine_class) return (std::size_t(5 + index % 4) << (index / 4 - 1)) * 64;
    return (std::size_t(17 + (index - fine_class) % 16) << (10 + (index - fine_class) / 16)) * 64;
}
constexpr int size_class(std::size_t bytes) {
    const std::size_t units = bytes <= 64 ? 1 : (bytes + 63) / 64;
    if (units <= 4) return static_cast<int>(units) - 1;
    const int top = 63 - __builtin_clzll(units - 1);  // 2^top <= units - 1
    if (top >= 14) return fine_class + 16 * (top - 14) + static_cast<int>(((units - 1) >> (top - 4)) & 15);
    return 4 * (top - 1) + static_cast<int>(((units - 1) >> (top - 2)) & 3);
}
static_assert(size_of_class(size_class(64)) == 64 && size_of_class(size_class(65)) == 128);
static_assert(size_of_class(size_class(256)) == 256 && size_of_class(size_class(257)) == 320);
static_assert(size_of_class(size_class(448)) == 448 && size_of_class(size_class(449)) == 512);
static_assert(size_of_class(size_class(1 << 20)) == 1 << 20 && size_of_class(size_class((1 << 20) + 1)) == 17 << 16);
static_assert(size_of_class(size_class(17 << 16)) == 17 << 16 && size_of_class(size_class((17 << 16) + 1)) == 18 << 16);
static_assert(size_of_class(size_class(1 << 21)) == 1 << 21 && size_of_class(size_class((1 << 21) + 1)) == 17 << 17);

// Under the sanitizer a block in a free list is out of bounds, but for its link (the leak check follows it). The link is not
// the first word: that is where records count their references, and a count that is read too late must be noticed.
struct FreeBlock {
    void* unused;
    FreeBlock* next;
};

inline bool under_address_sanitizer() { return __asan_poison_memory_region != nullptr; }
TENON_COLD inline void forbid(void* data, std::size_t bytes) noexcept { __asan_poison_memory_region(data, bytes); }
TENON_COLD inline void permit_block(void* data, int index) noexcept { __asan_unpoison_memory_region(data, size_of_class(index)); }
TENON_COLD inline void forbid_free_block(void* data, int index) noexcept {
    __asan_poison_memory_region(data, size_of_class(index));
    __asan_unpoison_memory_region(&static_cast<FreeBlock*>(data)->next, sizeof(FreeBlock*));
}

struct SharedLists {
    int lock = 0;
    FreeBlock* head[size_class_count] = {};
    long live = 0, peak = 0, cached = 0, system_calls = 0;
    unsigned colour = 0;

    void acquire() {
        while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE) != 0)
            while (__atomic_load_n(&lock, __ATOMIC_RELAXED) != 0) sched_yield();
    }
    void release() { __atomic_store_n(&lock, 0, __ATOMIC_RELEASE); }
};
// Never destroyed: tensors may live in static objects.
inline SharedLists& shared_lists() {
    static SharedLists* lists = new SharedLists;
    return *lists;
}

constexpr int local_classes = 20;  // up to 2 KiB
constexpr int local_limit = 256;   // blocks kept per class and thread
struct LocalLists {
    FreeBlock* head[local_classes];
    int count[local_classes];
    long live;
    bool registered;
};
inline constinit thread_local LocalLists local_lists{};

inline void account(LocalLists& local, long bytes) {
    local.live += bytes;
    if (local.live > (1 << 20) || local.live < -(1 << 20)) {
        SharedLists& shared = shared_lists();
        shared.acquire();
        shared.live += local.live;
        if (shared.live > shared.peak) shared.peak = shared.live;
        shared.release();
        local.live = 0;
    }
}

// What a thread still holds goes to the shared lists when it ends.
TENON_COLD inline void drain_local_lists(void*) {
    LocalLists& local = local_lists;
    SharedLists& shared = shared_lists();
    shared.acquire();
    for (int c = 0; c < local_classes; ++c) {
        while (FreeBlock* block = local.head[c]) {
            local.head[c] = block->next;
            block->next = shared.head[c];
            shared.head[c] = block;
            shared.cached += static_cast<long>(size_of_class(c));
        }
        local.count[c] = 0;
    }
    shared.live += local.live;
    local.live = 0;
    local.registered = false;
    shared.release();
}

TENON_COLD inline void register_thread(LocalLists& local) {
    static const pthread_key_t key = [] {
        pthread_key_t fresh;
        pthread_key_create(&fresh, drain_local_lists);
        return fresh;
    }();
    pthread_setspecific(key, &local);
    local.registered = true;
}

TENON_COLD inline void* allocate_from_system(int index) {
    const std::size_t bytes = size_of_class(index);
    SharedLists& shared = shared_lists();
    shared.acquire();
    ++shared.system_calls;
    // Blocks of a page and more start at different cache sets, so that operands of equal size do not evict each other.
    const std::size_t shift = bytes >= 4096 ? 64 * (1 + 2 * (shared.colour++ % 16)) : 0;
    shared.release();
    char* block = nullptr;
    if (bytes >= (std::size_t(1) << 21)) {
        const std::size_t huge = std::size_t(1) << 21, whole = bytes + shift + huge;
        void* mapping = mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (mapping != MAP_FAILED) {
            block = reinterpret_cast<char*>((reinterpret_cast<std::uintptr_t>(mapping) + huge - 1) / huge * huge);
            madvise(block, bytes + shift, MADV_HUGEPAGE);
        }
    } else {
        block = static_cast<char*>(std::aligned_alloc(64, (bytes + shift + 63) / 64 * 64));
    }
    if (block == nullptr) {
        fail<MemoryError>("out of memory: asked for ", bytes, " bytes; in use ", shared.live, " bytes, cached for reuse ",
                          shared.cached, " bytes");
    }
    if (TENON_UNLIKELY(under_address_sanitizer())) forbid(block, shift);
    return block + shift;
}

// Takes a block of the class, or of one of the `above` next ones, which index then is.
TENON_NOINLINE inline void* allocate_shared(int& index, int above) {
    SharedLists& shared = shared_lists();
    shared.acquire();
    FreeBlock* block = shared.head[index];
    for (int near = index + 1; block == nullptr && near <= index + above && near < size_class_count; ++near)
        if (shared.head[near] != nullptr) block = shared.head[index = near];
    if (block != nullptr) {
        shared.head[index] = block->next;
        shared.cached -= static_cast<long>(size_of_class(index));
    }
    shared.release();
    if (block == nullptr) return allocate_from_system(index);
    if (TENON_UNLIKELY(under_address_sanitizer())) permit_block(block, index);
    return block;
}

TENON_NOINLINE inline void release_shared(void* data, int index) {
    if (TENON_UNLIKELY(under_address_sanitizer())) forbid_free_block(data, index);
    SharedLists& shared = shared_lists();
    shared.acquire();
    FreeBlock* block = static_cast<FreeBlock*>(data);
    block->next = shared.head[index];
    shared.head[index] = block;
    shared.cached += static_cast<long>(size_of_class(index));
    shared.release();
}

inline void* allocate_block(int& index, int above) {
    LocalLists& local = local_lists;
    if (TENON_UNLIKELY(!local.registered)) register_thread(local);
    void* result = nullptr;
    if (index < local_classes) {
        if (FreeBlock* block = local.head[index]) {
            local.head[index] = block->next;
            --local.count[index];
            if (TENON_UNLIKELY(under_address_sanitizer())) permit_block(block, index);
            result = block;
        }
    }
    if (result == nullptr) result = allocate_shared(index, above);
    account(local, static_cast<long>(size_of_class(index)));  // last: a failed request holds nothing
    return result;
}
// A block of at least the size of the class, aligned to 64 bytes. Throws MemoryError.
inline void* allocate_class(int index) { return allocate_block(index, 0); }
// The same for data: of a large class it may be a block half as large again, where one lies in the lists and none of the class does, so
// that a program that needs many sizes one after the other does not keep one of each. index becomes the class that it goes back to.
inline void* allocate_near_class(int& index) { return allocate_block(index, index >= fine_class ? 8 : 0); }
inline void release_class(void* data, int index) noexcept {
    LocalLists& local = local_lists;
    // A thread that only ever frees has something to hand over at its end, too.
    if (TENON_UNLIKELY(!local.registered)) register_thread(local);
    account(local, -static_cast<long>(size_of_class(index)));
    if (index < local_classes && local.count[index] < local_limit) {
        FreeBlock* block = static_cast<FreeBlock*>(data);
        block->next = local.head[index];
        local.head[index] = block;
        ++local.count[index];
        if (TENON_UNLIKELY(under_address_sanitizer())) forbid_free_block(data, index);
        return;
    }
    release_shared(data, index);
}

// The class of a size; throws MemoryError where no class is large enough.
inline int checked_size_class(std::size_t bytes) {
    if (bytes > (std::size_t(1) << 46)) fail<MemoryError>("out of memory: asked for ", bytes, " bytes");
    return size_class(bytes);
}

}  // namespace detail

namespace memory {

// What host memory the library holds.
inline Statistics statistics() {
    detail::SharedLists& shared = detail::shared_lists();
    shared.acquire();
    shared.live += detail::local_lists.live;
    detail::local_lists.live = 0;
    if (shared.live > shared.peak) shared.peak = shared.live;
    Statistics result{shared.live, shared.peak, shared.cached, shared.system_calls};
    shared.release();
    return result;
}
inline void reset_peak() {
    detail::SharedLists& shared = detail::shared_lists();
    shared.acquire();
    shared.peak = shared.live;
    shared.release();
}

}  // namespace memory
}  // namespace tenon
