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
libraries='CUBLAS|CUBLASLT|CUDA_R'
cudnn=
[ ! -e "$include/cudnn.h" ] || { libraries="$libraries|CUDNN"; cudnn='#include <cudnn.h>'; }
{
    echo '#include <cuda_runtime_api.h>'
    echo '#include <cublasLt.h>'
    echo "$cudnn"
    # "X(name, value" in the lists and "name = value" in the enumerations.
    sed -nE 's/^X\((cuda[A-Za-z0-9]+), ([0-9]+).*/static_assert(int(\1) == \2);/p' "$here"/emulator/*.inc
    sed -nE 's/^#define (cuda[A-Za-z]+) ([0-9]+)u$/static_assert(int(\1) == \2);/p' "$here"/emulator/runtime_api.hpp
    grep -ohE "\\b(cuda|$libraries)_?[A-Za-z0-9_]+ = -?[0-9]+\\b" "$here"/*.h "$here"/emulator/runtime_api.hpp | grep -vE 'cuda[A-Z][A-Za-z]* = nullptr' |
        sed -E 's/(.*) = (.*)/static_assert(int(\1) == \2);/'
} > "$work/values.cpp"
count=$(grep -c static_assert "$work/values.cpp")
"${CXX:-c++}" -std=c++20 -fsyntax-only -Wno-deprecated-declarations -isystem "$include" "$work/values.cpp"
echo "$count constants have the toolkit's values"
[ "$count" -gt 150 ]

# What the library declares of cuDNN agrees with the toolkit's header, and all of it is in the toolkit's library.
[ -n "$cudnn" ] || { echo "no cudnn.h: its declarations are not compared"; exit 0; }
root=$(cd "$here/../.." && pwd)
entries=$(sed -nE 's/^ *TENON_CUDNN_ENTRY\((cudnn[A-Za-z0-9_]+)\);/\1/p' "$root/kernels/tenon/kernels/cuda/conv/cudnn_library.cuh")
{
    echo '#include <tenon/kernels/cuda/conv/cudnn_library.cuh>'
    echo '#include <cudnn.h>'
    echo '#include <type_traits>'
    cat <<'CUDA'
namespace ours = tenon::cuda_detail;
template <class T>
constexpr int kind = std::is_pointer_v<T> ? 1 : std::is_floating_point_v<T> ? 2 : 3;
// Arguments are passed alike: pointers as pointers, numbers and enumerations in as many bytes.
template <class R, class... A, class S, class... B>
constexpr bool alike(R (*)(A...), S (*)(B...)) {
    if constexpr (sizeof...(A) != sizeof...(B)) return false;
    else if constexpr (std::is_void_v<R> || std::is_void_v<S>) return std::is_same_v<R, S> && (... && (kind<A> == kind<B> && sizeof(A) == sizeof(B)));
    else return sizeof(R) == sizeof(S) && kind<R> == kind<S> && (... && (kind<A> == kind<B> && sizeof(A) == sizeof(B)));
}
template <class T>
constexpr bool same_performance = sizeof(T) == sizeof(ours::cudnn::Performance) && offsetof(T, algo) == offsetof(ours::cudnn::Performance, algorithm) &&
    offsetof(T, status) == offsetof(ours::cudnn::Performance, status) && offsetof(T, memory) == offsetof(ours::cudnn::Performance, memory) &&
    offsetof(T, determinism) == offsetof(ours::cudnn::Performance, determinism) && offsetof(T, mathType) == offsetof(ours::cudnn::Performance, math);
static_assert(same_performance<cudnnConvolutionFwdAlgoPerf_t> && same_performance<cudnnConvolutionBwdDataAlgoPerf_t> && same_performance<cudnnConvolutionBwdFilterAlgoPerf_t>);
static_assert(ours::cudnn::success == int(CUDNN_STATUS_SUCCESS) && ours::cudnn::not_supported == int(CUDNN_STATUS_NOT_SUPPORTED) &&
              ours::cudnn::internal_error == int(CUDNN_STATUS_INTERNAL_ERROR) && ours::cudnn::data_float == int(CUDNN_DATA_FLOAT) &&
              ours::cudnn::data_double == int(CUDNN_DATA_DOUBLE) && ours::cudnn::data_half == int(CUDNN_DATA_HALF) &&
              ours::cudnn::data_bfloat16 == int(CUDNN_DATA_BFLOAT16) && ours::cudnn::tensor_op_math == int(CUDNN_TENSOR_OP_MATH) &&
              ours::cudnn::largest == int(CUDNN_POOLING_MAX) && ours::cudnn::propagate_nan == int(CUDNN_PROPAGATE_NAN) &&
              ours::cudnn::average_with_padding == int(CUDNN_POOLING_AVERAGE_COUNT_INCLUDE_PADDING) &&
              ours::cudnn::average_without_padding == int(CUDNN_POOLING_AVERAGE_COUNT_EXCLUDE_PADDING) && ours::cudnn::nchw == int(CUDNN_TENSOR_NCHW) && ours::cudnn::nhwc == int(CUDNN_TENSOR_NHWC) &&
              ours::cudnn::default_math == int(CUDNN_DEFAULT_MATH) && ours::cudnn::fma_math == int(CUDNN_FMA_MATH) &&
              ours::cudnn::cross_correlation == int(CUDNN_CROSS_CORRELATION) && ours::cudnn::deterministic == int(CUDNN_DETERMINISTIC));
CUDA
    for entry in $entries; do echo "static_assert(alike(decltype(ours::CudnnLibrary::$entry)(), decltype(&$entry)()));"; done
    cat <<'CUDA'
int main(int, char** arguments) {
    const ours::CudnnLibrary library = ours::load_cudnn(arguments[1]);
    std::printf("cuDNN: %s\n", library.usable ? "all entry points are there" : library.reason);
    return library.usable ? 0 : 1;
}
CUDA
} > "$work/cudnn.cu"
"$NVCC" -std=c++20 -arch=sm_90 -Wno-deprecated-declarations -I "$root/kernels" "$work/cudnn.cu" -o "$work/cudnn"
echo "$(echo "$entries" | wc -w) declarations of cuDNN agree with cudnn.h"
library=$(find "$toolkit/lib64/" "$toolkit/lib/" -maxdepth 1 -name libcudnn.so.9 2>/dev/null | head -1)
if [ -n "$library" ]; then "$work/cudnn" "$library"; fi
