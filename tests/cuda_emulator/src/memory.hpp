// Device memory: one reserved range of addresses, a state per byte, and the tables of allocations.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <string>

namespace cuda_emulator {

// Fixed addresses, so that a check of an access is a subtraction and a comparison. The first part is the running block's shared memory.
constexpr uintptr_t arena_base = 0x100000000000, arena_size = uintptr_t(32) << 30;
constexpr uintptr_t shared_base = arena_base + 4096, shared_size = uintptr_t(1) << 20;
constexpr uintptr_t states_base = 0x200000000000;  // one byte per byte
constexpr uintptr_t races_base = 0x300000000000;   // a Race per four bytes

enum State : uint8_t { inaccessible = 0, unwritten = 2, written = 3 };
inline uint8_t* state_of(uintptr_t address) { return reinterpret_cast<uint8_t*>(states_base + (address - arena_base)); }
inline bool in_arena(uintptr_t address) { return address - arena_base < arena_size; }
inline bool in_arena(const void* pointer) { return in_arena(reinterpret_cast<uintptr_t>(pointer)); }
inline bool in_shared(uintptr_t address) { return address - arena_base < shared_base + shared_size - arena_base; }

// nullptr: out of memory.
void* allocate_device(size_t bytes);
bool free_device(void*);
// For memory of graphs: comes and goes with each launch at the same address.
void hide_device(void*);
void revive_device(void*);
size_t memory_used();
size_t memory_high();
size_t memory_capacity();
void free_all_device();

void* allocate_host(size_t bytes, bool managed);
bool free_host(void*);
bool register_host(void*, size_t);
bool unregister_host(void*);
enum class Host { pageable, pinned, managed };
Host host_kind(uintptr_t address, size_t bytes, bool* whole = nullptr);

// Device memory's states are filled in a page at a time, on the first touch; afterwards they can be read directly.
void materialise(uintptr_t address, size_t bytes);
// The first byte of the range that is not live memory, or 0.
uintptr_t first_inaccessible(uintptr_t address, size_t bytes);
uintptr_t first_unwritten(uintptr_t address, size_t bytes);
void mark_written(uintptr_t address, size_t bytes);
// The allocation that holds address, or 0.
uintptr_t allocation_of(uintptr_t address);
// "4 bytes past the end of the 40 bytes at 0x..." and the like.
std::string describe(uintptr_t address);
std::string describe_shared(uintptr_t address);

// memcpy and memset of this library: the program's are checked (hooks.cpp).
extern "C" void* __real_memcpy(void*, const void*, size_t);
extern "C" void* __real_memset(void*, int, size_t);

}  // namespace cuda_emulator
