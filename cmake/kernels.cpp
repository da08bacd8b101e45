// The one translation unit that holds the heavy kernels of a program built with TENON_EXTERN_KERNELS.
#define TENON_INSTANTIATE_KERNELS
#include <tenon/kernels/cpu/instances.hpp>
