#!/usr/bin/env bash
# tenon without CMake: -I and a compiler, no library, no -pthread; two translation units; an unoptimised object in the
# same program.    plain_include.sh <compiler> <work folder>
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
rm -rf "$2" && mkdir -p "$2" && cd "$2"
flags=(-std=c++20 -I"$root/include" -I"$root/kernels")
"$1" "${flags[@]}" -O2 -c "$here/project/main.cpp" -o main.o
"$1" "${flags[@]}" -O2 -c "$here/project/other.cpp" -o other.o
"$1" main.o other.o -o two_units
./two_units
# Objects with other flags link into the same program (the inline namespace names the configuration).
"$1" "${flags[@]}" -O0 -c "$here/project/other.cpp" -o other_O0.o
"$1" main.o other_O0.o -o mixed_flags
./mixed_flags
