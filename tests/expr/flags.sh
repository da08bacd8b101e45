#!/usr/bin/env bash
# The same formulas, right under every set of flags and every instruction set.    flags.sh <work folder>
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
rm -rf "$1" && mkdir -p "$1" && cd "$1"
failed=0
try() {
    "$@" -std=c++20 -I"$root/include" -I"$root/kernels" "$here/flags_formula.cpp" -o formula
    for set in sse2 avx2 avx512; do
        printf '%-40s ' "$*"
        TENON_ISA=$set ./formula || failed=1
    done
}
try g++ -O0
try g++ -O2 -fno-inline
try g++ -O3 -march=native
try g++ -O2 -ffast-math
try g++ -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined
if command -v clang++ > /dev/null; then
    try clang++ -O0
    try clang++ -O2
fi
exit $failed
