// What a thread does with subnormal numbers: those nearer to zero than the smallest normal one (1.2e-38 of a float), kept by IEEE 754
// at fewer digits and by most machines at a hundred times the cost of a multiply-add.
#pragma once

#include <tenon/base/config.hpp>

namespace tenon {
namespace detail {

// The part of a thread's floating-point environment that decides results: rounding, and what happens to subnormals. Zero where
// there is none that we know.
inline unsigned float_control() {
#if defined(__x86_64__)
    return __builtin_ia32_stmxcsr() & ~0x3fu;  // without the flags of what has happened
#else
    return 0;
#endif
}
inline void set_float_control([[maybe_unused]] unsigned control) {
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr(control);
#endif
}
inline constexpr unsigned flush_bits = 0x8040;  // results (FTZ) and operands (DAZ)

}  // namespace detail

// Whether this thread takes subnormal numbers for zero.
inline bool flushes_denormal() { return (detail::float_control() & detail::flush_bits) == detail::flush_bits; }

// With `on`, floating-point operations of this thread read and give zero where a number is subnormal; off is IEEE 754, and how a
// program starts. Holds for this thread, for the pool's threads while they work for it, and for threads that it starts afterwards.
// Training whose gradients fade away (saturated recurrent layers, long sequences) can be ten times faster for it, and differs by
// less than 1.2e-38 in a float. On the CPU only: on a GPU subnormals cost nothing. False where the machine cannot (not x86-64).
inline bool set_flush_denormal(bool on) {
#if defined(__x86_64__)
    const unsigned now = detail::float_control();
    detail::set_float_control(on ? now | detail::flush_bits : now & ~detail::flush_bits);
    return true;
#else
    return !on;
#endif
}

}  // namespace tenon
