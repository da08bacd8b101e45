// The dynamic linker for vendor libraries that the project loads at run time: it knows one, the stand-in for cuDNN.
#pragma once

#include <stddef.h>

namespace cuda_emulator {

// A file named libcudnn.so.9, in whatever folder; null unless one is installed (library_error says so).
void* open_library(const char* path);
void* library_symbol(void* library, const char* name);
const char* library_error();

// TENON_EMULATOR_CUDNN=1 installs it from the start.
void install_cudnn(bool);
void set_cudnn_version(size_t);
// The name is not in the library; null: all are.
void hide_symbol(const char* name);
// The next call of that name is refused with this status; null: none is.
void fail_next(const char* name, int status);
// The number of the algorithm of the last convolution that ran, -1 before any, and how many there were.
int cudnn_algorithm();
long cudnn_convolutions();
long cudnn_poolings();

}  // namespace cuda_emulator
