// The qualifiers of CUDA C++ mean nothing to the host compiler. There is no __shared__: shared memory goes through shared.hpp, so that a
// declaration that would not be emulated does not compile. There is no __noinline__ either: libstdc++ spells an attribute that way.
#pragma once

#define __global__
#define __device__
#define __host__
#define __constant__
#define __managed__
#define __grid_constant__
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(n) __attribute__((aligned(n)))
