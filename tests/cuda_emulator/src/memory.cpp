#include "memory.hpp"
#include "races.hpp"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <deque>
#include <map>
#include <mutex>

#include "../emulator/control.hpp"
#include "host.hpp"

namespace cuda_emulator {

namespace {

constexpr size_t page = 4096, alignment = 256, gap = 4096, remembered_frees = 4096;

struct Allocation {
    size_t bytes;
    bool hidden;
};
struct Pinned {
    size_t bytes;
    bool managed, registered;
};

// Never destroyed: memory is freed by destructors of static objects too.
std::map<uintptr_t, Allocation>& allocations = *new std::map<uintptr_t, Allocation>;
std::map<uintptr_t, Pinned>& pinned = *new std::map<uintptr_t, Pinned>;
std::deque<std::pair<uintptr_t, size_t>>& freed = *new std::deque<std::pair<uintptr_t, size_t>>;
uintptr_t next = 0;
size_t used = 0, high = 0, capacity = size_t(4) << 30;

void reserve(uintptr_t address, size_t bytes) {
    void* got = mmap(reinterpret_cast<void*>(address), bytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (got != reinterpret_cast<void*>(address)) {
        fprintf(stderr, "cuda emulator: cannot reserve %zu bytes of addresses at %#zx\n", bytes, size_t(address));
        abort();
    }
}

// Before any other code of the program runs: it may allocate in constructors of static objects.
__attribute__((constructor(101))) void reserve_all() {
    reserve(arena_base, arena_size);
    reserve(states_base, arena_size);
    reserve(races_base, arena_size / 4 * sizeof(Race));
}

uintptr_t round_up(uintptr_t x, uintptr_t to) { return (x + to - 1) / to * to; }
uintptr_t round_down(uintptr_t x, uintptr_t to) { return x / to * to; }

std::map<uintptr_t, Allocation>::iterator containing(uintptr_t address) {
    auto after = allocations.upper_bound(address);
    if (after == allocations.begin()) return allocations.end();
    --after;
    return address - after->first < after->second.bytes ? after : allocations.end();
}

// Whole pages go back to the system: freed memory must not stay resident, and reads as never allocated.
void forget(uintptr_t base, uintptr_t first, uintptr_t last) {
    uintptr_t low = round_up(first, page), top = round_down(last, page);
    if (low >= top) {
        __real_memset(reinterpret_cast<void*>(base + first), 0, last - first);
        return;
    }
    __real_memset(reinterpret_cast<void*>(base + first), 0, low - first);
    __real_memset(reinterpret_cast<void*>(base + top), 0, last - top);
    madvise(reinterpret_cast<void*>(base + low), top - low, MADV_DONTNEED);
}

void forget_states(uintptr_t address, size_t bytes) { forget(states_base, address - arena_base, address - arena_base + bytes); }

}  // namespace

void* allocate_device(size_t bytes) {
    if (bytes == 0 || bytes > capacity - used || used > capacity) return nullptr;
    // Addresses are used again as late as possible, so that a stale pointer meets nothing.
    const uintptr_t first = shared_base + shared_size + gap, span = round_up(bytes, alignment) + gap;
    if (next == 0) next = first;
    uintptr_t address = next;
    for (bool wrapped = false;; ) {
        if (address + span > arena_base + arena_size) {
            if (wrapped) return nullptr;
            wrapped = true;
            address = first;
            continue;
        }
        auto after = allocations.lower_bound(address);
        if (after != allocations.begin()) {
            auto before = std::prev(after);
            uintptr_t end = round_up(before->first + before->second.bytes + gap, alignment);
            if (end > address) {
                address = end;
                continue;
            }
        }
        if (after == allocations.end() || after->first >= address + span) break;
        address = round_up(after->first + after->second.bytes + gap, alignment);
    }
    next = address + span;
    allocations[address] = {bytes, false};
    used += bytes;
    if (used > high) high = used;
    return reinterpret_cast<void*>(address);
}

bool free_device(void* pointer) {
    auto found = allocations.find(reinterpret_cast<uintptr_t>(pointer));
    if (found == allocations.end()) return false;
    hide_device(pointer);
    freed.push_back({found->first, found->second.bytes});
    if (freed.size() > remembered_frees) freed.pop_front();
    used -= found->second.bytes;
    allocations.erase(found);
    return true;
}

void hide_device(void* pointer) {
    auto found = allocations.find(reinterpret_cast<uintptr_t>(pointer));
    if (found == allocations.end()) return;
    found->second.hidden = true;
    forget_states(found->first, found->second.bytes);
    forget(0, found->first, found->first + found->second.bytes);
}

void revive_device(void* pointer) {
    auto found = allocations.find(reinterpret_cast<uintptr_t>(pointer));
    if (found == allocations.end()) return;
    forget_states(found->first, found->second.bytes);
    found->second.hidden = false;
}

size_t memory_used() { return used; }
size_t memory_high() { return high; }
size_t memory_capacity() { return capacity; }

void free_all_device() {
    while (!allocations.empty()) free_device(reinterpret_cast<void*>(allocations.begin()->first));
}

void* allocate_host(size_t bytes, bool managed) {
    void* pointer = aligned_alloc(page, round_up(bytes == 0 ? 1 : bytes, page));
    if (pointer != nullptr) pinned[reinterpret_cast<uintptr_t>(pointer)] = {bytes, managed, false};
    return pointer;
}

bool free_host(void* pointer) {
    auto found = pinned.find(reinterpret_cast<uintptr_t>(pointer));
    if (found == pinned.end() || found->second.registered) return false;
    pinned.erase(found);
    free(pointer);
    return true;
}

bool register_host(void* pointer, size_t bytes) {
    return pinned.insert({reinterpret_cast<uintptr_t>(pointer), Pinned{bytes, false, true}}).second;
}

bool unregister_host(void* pointer) {
    auto found = pinned.find(reinterpret_cast<uintptr_t>(pointer));
    if (found == pinned.end() || !found->second.registered) return false;
    pinned.erase(found);
    return true;
}

Host host_kind(uintptr_t address, size_t bytes, bool* whole) {
    auto after = pinned.upper_bound(address);
    if (after == pinned.begin()) return Host::pageable;
    --after;
    if (address - after->first >= after->second.bytes) return Host::pageable;
    if (whole != nullptr) *whole = address + bytes <= after->first + after->second.bytes;
    return after->second.managed ? Host::managed : Host::pinned;
}

void materialise(uintptr_t address, size_t bytes) {
    for (uintptr_t at = round_down(address, page); at < address + bytes; at += page) {
        if (!in_arena(at) || in_shared(at)) continue;
        // Allocations are further apart than a page, but their edges may share one.
        auto after = allocations.lower_bound(at + page);
        while (after != allocations.begin()) {
            --after;
            uintptr_t low = std::max(at, after->first), top = std::min(at + page, after->first + after->second.bytes);
            if (low >= top) break;
            if (after->second.hidden) continue;
            for (uintptr_t i = low; i < top; ++i) {
                uint8_t& state = *state_of(i);
                if (state == inaccessible) state = unwritten;
            }
        }
    }
}

uintptr_t first_inaccessible(uintptr_t address, size_t bytes) {
    const auto find = [&]() -> uintptr_t {
        for (size_t i = 0; i < bytes; ++i)
            if (!in_arena(address + i) || *state_of(address + i) == inaccessible) return address + i;
        return 0;
    };
    // Whole pages are gone through only where that may change the answer: a caller may ask element by element.
    if (find() == 0) return 0;
    materialise(address, bytes);
    return find();
}

uintptr_t first_unwritten(uintptr_t address, size_t bytes) {
    for (size_t i = 0; i < bytes; ++i)
        if (*state_of(address + i) != written) return address + i;
    return 0;
}

void mark_written(uintptr_t address, size_t bytes) { __real_memset(state_of(address), written, bytes); }

uintptr_t allocation_of(uintptr_t address) {
    auto found = containing(address);
    return found == allocations.end() ? 0 : found->first;
}

std::string describe(uintptr_t address) {
    if (address < page) return text("a null pointer (%#zx)", size_t(address));
    if (!in_arena(address)) return text("%#zx, which is host memory", size_t(address));
    if (in_shared(address)) return describe_shared(address);
    if (auto found = containing(address); found != allocations.end())
        return text("%#zx, byte %zu of the %zu bytes at %#zx", size_t(address), size_t(address - found->first), found->second.bytes,
                    size_t(found->first));
    for (auto i = freed.rbegin(); i != freed.rend(); ++i)
        if (address - i->first < i->second)
            return text("%#zx, byte %zu of the %zu bytes at %#zx that were freed", size_t(address), size_t(address - i->first), i->second,
                        size_t(i->first));
    auto after = allocations.upper_bound(address);
    if (after != allocations.begin()) {
        auto before = std::prev(after);
        uintptr_t end = before->first + before->second.bytes;
        if (after == allocations.end() || address - end < after->first - address)
            return text("%#zx, %zu bytes past the end of the %zu bytes at %#zx", size_t(address), size_t(address - end),
                        before->second.bytes, size_t(before->first));
    }
    if (after != allocations.end())
        return text("%#zx, %zu bytes before the %zu bytes at %#zx", size_t(address), size_t(after->first - address), after->second.bytes,
                    size_t(after->first));
    return text("%#zx, device memory that was never allocated", size_t(address));
}

void set_memory_capacity(size_t bytes) {
    std::lock_guard lock(mutex());
    capacity = bytes;
}

Memory live_memory() {
    std::lock_guard lock(mutex());
    return {allocations.size(), used};
}

const char* describe_live_memory() {
    std::lock_guard lock(mutex());
    static std::string lines;
    lines.clear();
    for (auto& [address, allocation] : allocations) lines += text("%zu bytes at %#zx\n", allocation.bytes, size_t(address));
    return lines.c_str();
}

}  // namespace cuda_emulator
