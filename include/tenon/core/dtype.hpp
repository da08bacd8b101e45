// Element types.
#pragma once

#include <tenon/base/half.hpp>

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace tenon {

enum class DType : std::uint8_t { float32, float64, bfloat16, float16, int8, int32, int64, uint8, boolean };

namespace detail {
template <class T> inline constexpr int dtype_index = -1;
template <> inline constexpr int dtype_index<float> = 0;
template <> inline constexpr int dtype_index<double> = 1;
template <> inline constexpr int dtype_index<bf16> = 2;
template <> inline constexpr int dtype_index<half> = 3;
template <> inline constexpr int dtype_index<std::int8_t> = 4;
template <> inline constexpr int dtype_index<std::int32_t> = 5;
template <> inline constexpr int dtype_index<std::int64_t> = 6;
template <> inline constexpr int dtype_index<std::uint8_t> = 7;
template <> inline constexpr int dtype_index<bool> = 8;
}  // namespace detail

// A type that tensors can hold.
template <class T>
concept Element = detail::dtype_index<T> >= 0;

// The types that carry gradients.
template <class T>
concept Floating = std::is_same_v<T, float> || std::is_same_v<T, double> || std::is_same_v<T, bf16> || std::is_same_v<T, half>;

template <Element T>
inline constexpr DType dtype_of = static_cast<DType>(detail::dtype_index<T>);

constexpr const char* name(DType dtype) {
    constexpr const char* names[] = {"float", "double", "bf16", "half", "int8", "int32", "int64", "uint8", "bool"};
    return names[static_cast<int>(dtype)];
}
constexpr int size_of(DType dtype) {
    constexpr int sizes[] = {4, 8, 2, 2, 1, 4, 8, 1, 1};
    return sizes[static_cast<int>(dtype)];
}
constexpr bool is_floating(DType dtype) { return static_cast<int>(dtype) < 4; }

// What sums and products of T accumulate in.
template <class T>
using accumulate_t = std::conditional_t<std::is_same_v<T, bf16> || std::is_same_v<T, half>, float,
                                        std::conditional_t<std::is_integral_v<T>, std::int64_t, T>>;

}  // namespace tenon
