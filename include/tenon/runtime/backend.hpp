// The table of back ends: how memory of a kind of device is had and copied. The CPU's row is built in; an object that
// was compiled with CUDA fills in CUDA's, so that any other object of the program can hold and pass CUDA tensors.
#pragma once

#include <tenon/core/device.hpp>

#include <cstddef>

namespace tenon::runtime {

struct Backend {
    void* (*allocate)(Device device, std::size_t bytes) = nullptr;
    void (*release)(Device device, void* data, std::size_t bytes) = nullptr;
    // Copies between any two devices of which at least one is this back end's; complete for the host on return.
    void (*copy)(Device to, void* destination, Device from, const void* source, std::size_t bytes) = nullptr;
    void (*zero)(Device device, void* data, std::size_t bytes) = nullptr;
};

inline Backend cuda_backend;

// The back end of a device that is not the CPU; throws DeviceError where the program holds none.
inline const Backend& backend(Device device) {
    if (cuda_backend.allocate == nullptr)
        fail<DeviceError>("device ", device, " was asked for, but no part of this program was compiled with CUDA.\n",
                          "       hint: compile a source file that includes tenon with nvcc and link it in, or use the device cpu");
    return cuda_backend;
}

}  // namespace tenon::runtime
