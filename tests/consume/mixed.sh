#!/usr/bin/env bash
# A .cpp compiled by the host compiler and a .cu compiled by nvcc, both using tenon, in one program. No GPU is needed:
# the program itself stays on the CPU.    mixed.sh <work folder>
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
nvcc=${NVCC:-$(command -v nvcc || true)}
if [ -z "$nvcc" ]; then
    echo "skipped: nvcc is not installed"
    exit 77
fi
rm -rf "$1" && mkdir -p "$1" && cd "$1"
"${CXX:-g++}" -std=c++20 -O2 -I"$root/include" -I"$root/kernels" -c "$here/project/main.cpp" -o main.o
"$nvcc" -std=c++20 -O2 -ccbin "${CXX:-g++}" -I"$root/include" -I"$root/kernels" -x cu -c "$here/project/other.cpp" -o other.o
"$nvcc" -ccbin "${CXX:-g++}" main.o other.o -o mixed
./mixed
