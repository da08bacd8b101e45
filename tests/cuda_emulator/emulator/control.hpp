// What a test asks of the emulator itself.
#pragma once

#include <stddef.h>

namespace cuda_emulator {

// The first fault since the last clear: what, which kernel, block and thread; "" if there was none. A program that ends with a fault that
// nobody cleared prints it and fails.
const char* last_fault();
// Forgets the fault and the device's sticky error; waiting work of all streams is dropped.
void clear();

// Order of blocks, warps and lanes (TENON_EMULATOR_ORDER=forward, reverse, random, random:<seed>).
enum class Order { forward, reverse, random };
void set_order(Order, unsigned long long seed = 1);

// lazy: work waits in its stream until something synchronises with it (TENON_EMULATOR_STREAMS=lazy); eager, the default: it runs at once.
enum class Streams { eager, lazy };
void set_streams(Streams);

// Bytes that can be allocated; default 4 GiB.
void set_memory_capacity(size_t bytes);
// Devices that cudaGetDeviceCount reports: 1, or 0 to act like a machine without a GPU.
void set_device_count(int count);

struct Memory {
    size_t allocations, bytes;
};
Memory live_memory();
// One line per live allocation of device memory; TENON_EMULATOR_LEAKS=1 makes a program with any fail at its end.
const char* describe_live_memory();

// For stand-ins of vendor libraries: false, with a fault recorded, unless all bytes are live device memory (and written, for a read).
bool check_read(const void* pointer, size_t bytes, const char* what);
bool check_write(void* pointer, size_t bytes, const char* what);
void record_fault(const char* text);

}  // namespace cuda_emulator
