#include "../emulator/atomics.hpp"

#include <stdint.h>

#include "access.hpp"
#include "running.hpp"

namespace {

template <class T, class F>
T update(T* address, bool reads, F change) {
    cuda_emulator::atomic_access(address, sizeof(T), reads);
    T before = *address;
    *address = change(before);
    return before;
}

}  // namespace

#define ATOMIC(name, T, reads, expression) \
    T name(T* address, T value) { return update(address, reads, [value](T before) -> T { (void)before; return expression; }); }
#define ATOMIC_INTEGERS(name, reads, expression)     \
    ATOMIC(name, int, reads, expression)             \
    ATOMIC(name, unsigned, reads, expression)        \
    ATOMIC(name, unsigned long long, reads, expression)
ATOMIC(atomicAdd, int, true, static_cast<int>(static_cast<unsigned>(before) + static_cast<unsigned>(value)))
ATOMIC(atomicAdd, unsigned, true, before + value)
ATOMIC(atomicAdd, unsigned long long, true, before + value)
ATOMIC(atomicAdd, float, true, before + value)
ATOMIC(atomicAdd, double, true, before + value)
ATOMIC(atomicSub, int, true, static_cast<int>(static_cast<unsigned>(before) - static_cast<unsigned>(value)))
ATOMIC(atomicSub, unsigned, true, before - value)
ATOMIC_INTEGERS(atomicMin, true, value < before ? value : before)
ATOMIC(atomicMin, long long, true, value < before ? value : before)
ATOMIC_INTEGERS(atomicMax, true, before < value ? value : before)
ATOMIC(atomicMax, long long, true, before < value ? value : before)
ATOMIC_INTEGERS(atomicAnd, true, before & value)
ATOMIC_INTEGERS(atomicOr, true, before | value)
ATOMIC_INTEGERS(atomicXor, true, before ^ value)
ATOMIC_INTEGERS(atomicExch, false, value)
ATOMIC(atomicExch, float, false, value)
ATOMIC(atomicInc, unsigned, true, before >= value ? 0 : before + 1)
ATOMIC(atomicDec, unsigned, true, before == 0 || before > value ? value : before - 1)

#define COMPARE_AND_SWAP(T)                                                                         \
    T atomicCAS(T* address, T compare, T value) {                                                   \
        return update(address, true, [=](T before) { return before == compare ? value : before; }); \
    }
COMPARE_AND_SWAP(unsigned short)
COMPARE_AND_SWAP(int)
COMPARE_AND_SWAP(unsigned)
COMPARE_AND_SWAP(unsigned long long)

// Threads run one at a time and see each other's writes at once.
void __threadfence() {}
void __threadfence_block() {}
void __threadfence_system() {}

void __trap();
void __trap() { cuda_emulator::kernel_fault(cudaErrorLaunchFailure, "__trap"); }
