// cudaLaunchKernelEx: the arguments are converted to the kernel's parameters and copied as bytes, as the runtime does.
#pragma once

#include <stddef.h>
#include <utility>

#include "runtime_api.hpp"

namespace cuda_emulator {

template <size_t I, class T>
struct Argument {
    T value;
};
template <class Indices, class... Ts>
struct Arguments;
template <size_t... I, class... Ts>
struct Arguments<std::index_sequence<I...>, Ts...> : Argument<I, Ts>... {
    static void call(void (*kernel)(), void* self) {
        auto& arguments = *static_cast<Arguments*>(self);
        reinterpret_cast<void (*)(Ts...)>(kernel)(static_cast<Argument<I, Ts>&>(arguments).value...);
    }
};

cudaError_t launch(const cudaLaunchConfig_t&, void (*kernel)(), void (*call)(void (*)(), void*), void* arguments, size_t size);

}  // namespace cuda_emulator

template <class... Expected, class... Actual>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Expected...), Actual&&... actual) {
    static_assert((... && __is_trivially_copyable(Expected)), "kernel arguments are copied as bytes: they must be trivially copyable");
    using Arguments = cuda_emulator::Arguments<std::make_index_sequence<sizeof...(Expected)>, Expected...>;
    Arguments arguments{{static_cast<Expected>(std::forward<Actual>(actual))}...};
    return cuda_emulator::launch(*config, reinterpret_cast<void (*)()>(kernel), &Arguments::call, &arguments, sizeof arguments);
}
