#!/usr/bin/env bash
# CUDA code as nvcc compiles and links it for a GPU, which none is needed for; no kernel may spill registers (spills.py).
#
#   nvcc.sh <work folder> <objects or libraries with the tests' main>   two programs of tests/cuda, in about two minutes
#   nvcc.sh all <build folder>                                          all tests, examples and benchmarks
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
nvcc=${NVCC:-$(command -v nvcc || command -v /usr/local/cuda/bin/nvcc || true)}
if [ -z "$nvcc" ]; then
    echo "tenon: nvcc is not installed: CUDA code runs on the emulator only, and is not compiled for a GPU (skipped)"
    exit 77
fi
if [ "$1" = all ]; then
    mkdir -p "$2"
    cmake -S "$root" --preset cuda -B "$2" -D CMAKE_CUDA_COMPILER="$nvcc" -D CMAKE_CUDA_ARCHITECTURES="${TENON_NVCC_ARCH:-90}" \
          -D CMAKE_CUDA_FLAGS="-Xptxas -v" -D TENON_BUILD_BENCH=ON > "$2/configure.log" || { cat "$2/configure.log"; exit 1; }
    # Everything anew: the report on registers comes from compiling.
    cmake --build "$2" -j "${TENON_JOBS:-$(nproc)}" --clean-first > "$2/build.log" 2>&1 || { grep -E 'error|FAILED' "$2/build.log"; exit 1; }
    python3 "$here/spills.py" "$2/build.log"
    exit
fi
work=$1
shift
rm -rf "$work" && mkdir -p "$work"
toolkit=$(cd "$(dirname "$(readlink -f "$nvcc")")/.." && pwd)
# The whole library's heavy kernels are instantiated here: nothing else of the repository is linked. The host's code, which does not
# run, is not optimised (consume/nvcc.sh does that); of the device's nvcc makes the same either way.
for name in expressions training; do
    "$nvcc" -std=c++20 -arch=sm_"${TENON_NVCC_ARCH:-90}" -ccbin "${CXX:-g++}" -Xptxas -v -x cu -I"$root/include" -I"$root/kernels" \
        -c "$here/test_$name.cpp" -o "$work/$name.o" 2> "$work/$name.log" || { cat "$work/$name.log"; exit 1; }
    "$nvcc" -ccbin "${CXX:-g++}" "$work/$name.o" "$@" -o "$work/$name" -L"$toolkit/lib64" -L"$toolkit/lib" -lcublasLt
    echo "test_$name: compiled and linked"
done
python3 "$here/spills.py" "$work"/*.log
