#!/usr/bin/env bash
# The program of docs/cuda.md as nvcc compiles and links it for a GPU; here it runs on the CPU, and says what is missing on
# `cuda` where there is no GPU.    nvcc.sh <work folder>
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
nvcc=${NVCC:-$(command -v nvcc || true)}
if [ -z "$nvcc" ]; then
    echo "skipped: nvcc is not installed"
    exit 77
fi
rm -rf "$1" && mkdir -p "$1"
compile() { "$nvcc" -std=c++20 -O2 -arch="${TENON_NVCC_ARCH:-sm_90}" -ccbin "${CXX:-g++}" -x cu -I"$root/include" -I"$root/kernels" "$@"; }

awk '/^```cpp$/ { if (++n == 1) { take = 1; next } } /^```$/ { take = 0 } take' "$root/docs/cuda.md" > "$1/program.cpp"
compile "$1/program.cpp" -o "$1/program" -lcublasLt
"$1/program" > "$1/printed"
awk '/^```text$/ { take = 1; next } /^```$/ { take = 0 } take' "$root/docs/cuda.md" | diff - "$1/printed"
if ! nvidia-smi > /dev/null 2>&1; then
    "$1/program" cuda > "$1/refused" 2>&1 && { echo "ran on cuda without a GPU"; exit 1; }
    grep -q "no GPU is present" "$1/refused"
fi
echo "the program of docs/cuda.md: compiled, linked, run"
