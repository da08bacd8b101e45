#pragma once

#include <stddef.h>

namespace cuda_emulator {

// An atomic operation of a kernel; reads: its result depends on what was there.
void atomic_access(void* pointer, size_t bytes, bool reads);
extern bool check_races;

}  // namespace cuda_emulator
