// Atomic operations and fences. They are functions of the library, so that they do not count as plain accesses.
#pragma once

#define TENON_EMULATOR_ATOMIC(name, T) T name(T* address, T value);
#define TENON_EMULATOR_ATOMIC_INTEGERS(name)     \
    TENON_EMULATOR_ATOMIC(name, int)             \
    TENON_EMULATOR_ATOMIC(name, unsigned)        \
    TENON_EMULATOR_ATOMIC(name, unsigned long long)
TENON_EMULATOR_ATOMIC_INTEGERS(atomicAdd)
TENON_EMULATOR_ATOMIC(atomicAdd, float)
TENON_EMULATOR_ATOMIC(atomicAdd, double)
TENON_EMULATOR_ATOMIC(atomicSub, int)
TENON_EMULATOR_ATOMIC(atomicSub, unsigned)
TENON_EMULATOR_ATOMIC_INTEGERS(atomicMin)
TENON_EMULATOR_ATOMIC(atomicMin, long long)
TENON_EMULATOR_ATOMIC_INTEGERS(atomicMax)
TENON_EMULATOR_ATOMIC(atomicMax, long long)
TENON_EMULATOR_ATOMIC_INTEGERS(atomicAnd)
TENON_EMULATOR_ATOMIC_INTEGERS(atomicOr)
TENON_EMULATOR_ATOMIC_INTEGERS(atomicXor)
TENON_EMULATOR_ATOMIC_INTEGERS(atomicExch)
TENON_EMULATOR_ATOMIC(atomicExch, float)
TENON_EMULATOR_ATOMIC(atomicInc, unsigned)
TENON_EMULATOR_ATOMIC(atomicDec, unsigned)
#undef TENON_EMULATOR_ATOMIC_INTEGERS
#undef TENON_EMULATOR_ATOMIC

unsigned short atomicCAS(unsigned short* address, unsigned short compare, unsigned short value);
int atomicCAS(int* address, int compare, int value);
unsigned atomicCAS(unsigned* address, unsigned compare, unsigned value);
unsigned long long atomicCAS(unsigned long long* address, unsigned long long compare, unsigned long long value);

void __threadfence();
void __threadfence_block();
void __threadfence_system();
