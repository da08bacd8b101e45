// bf16 and half: storage formats of 16 bits. Arithmetic happens in float.
#pragma once

#include <tenon/base/config.hpp>

#include <cstdint>

namespace tenon {

namespace detail {
// Round to nearest even; a NaN stays a NaN.
TENON_HD constexpr std::uint16_t bf16_bits(float value) {
    const std::uint32_t u = __builtin_bit_cast(std::uint32_t, value);
    if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((u >> 16) | 0x40u);
    return static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}
TENON_HD constexpr float bf16_value(std::uint16_t bits) {
    return __builtin_bit_cast(float, static_cast<std::uint32_t>(bits) << 16);
}
TENON_HD constexpr std::uint16_t half_bits(float value) {
    const std::uint32_t u = __builtin_bit_cast(std::uint32_t, value);
    const std::uint32_t sign = (u >> 16) & 0x8000u, magnitude = u & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u | ((magnitude >> 13) & 0x3ffu));
    if (magnitude >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);  // 65520 and above round to inf
    if (magnitude < 0x38800000u) {                                                    // subnormal in half
        if (magnitude < 0x33000000u) return static_cast<std::uint16_t>(sign);
        const std::uint32_t exponent = magnitude >> 23, shift = 126u - exponent;
        const std::uint32_t mantissa = (magnitude & 0x7fffffu) | 0x800000u;
        const std::uint32_t kept = mantissa >> shift, rest = mantissa & ((1u << shift) - 1u), tie = 1u << (shift - 1u);
        return static_cast<std::uint16_t>(sign | (kept + (rest > tie || (rest == tie && (kept & 1u)) ? 1u : 0u)));
    }
    const std::uint32_t kept = magnitude - 0x38000000u;
    return static_cast<std::uint16_t>(sign | ((kept + 0xfffu + ((kept >> 13) & 1u)) >> 13));
}
TENON_HD constexpr float half_value(std::uint16_t bits) {
    const std::uint32_t sign = (bits & 0x8000u) << 16, magnitude = bits & 0x7fffu;
    if (magnitude >= 0x7c00u) return __builtin_bit_cast(float, sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
    if (magnitude >= 0x400u) return __builtin_bit_cast(float, sign | ((magnitude << 13) + 0x38000000u));
    const float value = static_cast<float>(magnitude) * 0x1p-24f;
    return (sign != 0) ? -value : value;
}
}  // namespace detail

// Brain float: 8 bits of exponent, 7 of mantissa. Conversion from float rounds to nearest even.
struct bf16 {
    std::uint16_t bits;
    bf16() = default;
    TENON_HD constexpr bf16(float value) : bits(detail::bf16_bits(value)) {}
    TENON_HD constexpr operator float() const { return detail::bf16_value(bits); }
};

// IEEE binary16: 5 bits of exponent, 10 of mantissa. Conversion from float rounds to nearest even.
struct half {
    std::uint16_t bits;
    half() = default;
    TENON_HD constexpr half(float value) : bits(detail::half_bits(value)) {}
    TENON_HD constexpr operator float() const { return detail::half_value(bits); }
};

}  // namespace tenon
