#!/usr/bin/env bash
# compile_with_nvcc.sh <work folder>: what the emulator runs is CUDA. nvcc compiles the kernels of its tests, and every constant of the
# stand-ins has the toolkit's value. NVCC names the compiler; without one the test is skipped (77).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$1
[ -n "${NVCC:-}" ] || { echo "no nvcc: skipped"; exit 77; }
mkdir -p "$work"
# Not the folder itself: nvcc must find the toolkit's headers.
cp "$here/kernels.hpp" "$work"

cat > "$work/kernels.cu" <<'CUDA'
#include "kernels.hpp"
template __global__ void block_sum<float>(const float*, float*, int);
template __global__ void block_sum<double>(const double*, double*, int);
template __global__ void block_sum<long long>(const long long*, long long*, int);
template __global__ void scan_block<int>(const int*, int*, int);
template __global__ void histogram<64>(const unsigned char*, unsigned*, int);
template __global__ void transpose<float>(const float*, float*, int, int);
template __global__ void axpy4<float4>(float, const float4*, float4*, int);
template __global__ void sum_by_last_block<int>(const int*, int*, unsigned*, int*, int);
template __global__ void warp_operations<int>(const int*, int*);

cudaError_t launch(const cudaLaunchConfig_t& config, const float* in, float* out, int n) {
    return cudaLaunchKernelEx(&config, block_sum<float>, in, out, n);
}
CUDA
"$NVCC" -std=c++20 -arch=sm_90 -Werror all-warnings -I "$work" -c "$work/kernels.cu" -o "$work/kernels.o"
echo "nvcc compiles the kernels"

toolkit=$(cd "$(dirname "$(readlink -f "$NVCC")")/.." && pwd)
include=$toolkit/include
[ -e "$include/cublasLt.h" ] || include=$toolkit/targets/x86_64-linux/include
{
    echo '#include <cuda_runtime_api.h>'
    echo '#include <cublasLt.h>'
    # "X(name, value" in the lists and "name = value" in the enumerations.
    sed -nE 's/^X\((cuda[A-Za-z0-9]+), ([0-9]+).*/static_assert(int(\1) == \2);/p' "$here"/emulator/*.inc
    sed -nE 's/^#define (cuda[A-Za-z]+) ([0-9]+)u$/static_assert(int(\1) == \2);/p' "$here"/emulator/runtime_api.hpp
    grep -ohE '\b(cuda|CUBLAS|CUBLASLT|CUDA_R)_?[A-Za-z0-9_]+ = -?[0-9]+\b' "$here"/*.h "$here"/emulator/runtime_api.hpp | grep -vE 'cuda[A-Z][A-Za-z]* = nullptr' |
        sed -E 's/(.*) = (.*)/static_assert(int(\1) == \2);/'
} > "$work/values.cpp"
count=$(grep -c static_assert "$work/values.cpp")
"${CXX:-c++}" -std=c++20 -fsyntax-only -isystem "$include" "$work/values.cpp"
echo "$count constants have the toolkit's values"
[ "$count" -gt 150 ]
