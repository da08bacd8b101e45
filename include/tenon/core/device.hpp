// Where a tensor lives.
#pragma once

#include <tenon/base/error.hpp>

#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace tenon {

enum class DeviceKind : std::uint8_t { cpu = 0, cuda = 1 };

struct Device {
    DeviceKind kind = DeviceKind::cpu;
    std::uint8_t index = 0;

    constexpr bool operator==(const Device&) const = default;
    constexpr bool is_cpu() const { return kind == DeviceKind::cpu; }

    // "cpu", "cuda" or "cuda:1". Throws ValueError on anything else.
    static Device parse(const char* text) {
        if (std::strcmp(text, "cpu") == 0) return {};
        if (std::strncmp(text, "cuda", 4) == 0) {
            if (text[4] == '\0') return {DeviceKind::cuda, 0};
            char* end = nullptr;
            if (text[4] == ':' && text[5] >= '0' && text[5] <= '9') {
                const long index = std::strtol(text + 5, &end, 10);
                if (*end == '\0' && index < 128) return {DeviceKind::cuda, static_cast<std::uint8_t>(index)};
            }
        }
        fail<ValueError>("device \"", text, "\": expected cpu, cuda or cuda:<index>");
    }
};

inline constexpr Device cpu{};
constexpr Device cuda(int index = 0) { return {DeviceKind::cuda, static_cast<std::uint8_t>(index)}; }

inline Message& operator<<(Message& message, Device device) {
    if (device.is_cpu()) return message << "cpu";
    return message << "cuda:" << static_cast<int>(device.index);
}

}  // namespace tenon
