#!/usr/bin/env bash
# TENON_EXTERN_KERNELS: the kernels in one file, or in two; a program that lacks them does not link, and the linker says
# what to include.    extern_kernels.sh <compiler> <work folder>
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
rm -rf "$2" && mkdir -p "$2" && cd "$2"
# Without optimisation: compiling the kernels takes a fifth of the time.
flags=(-std=c++20 -O0 -I"$root/include" -I"$root/kernels" -DTENON_EXTERN_KERNELS)
"$1" "${flags[@]}" -c "$here/project/twice.cpp" -o twice.o
"$1" "${flags[@]}" -c "$here/project/twice_main.cpp" -o main.o
"$1" "${flags[@]}" -c "$root/cmake/kernels.cpp" -o kernels.o
if "$1" main.o twice.o kernels.o -o without 2> without.log; then
    echo "linked without the file that holds the second derivatives"
    exit 1
fi
grep -q "include_tenon_ops_second_order_hpp_where_TENON_INSTANTIATE_KERNELS_is_defined" without.log || { cat without.log; exit 1; }
# The library is searched: what it registers must be there all the same.
"$1" "${flags[@]}" -c "$root/cmake/second_order.cpp" -o second_order.o
ar rcs libsecond_order.a second_order.o
"$1" main.o twice.o kernels.o -L. -lsecond_order -o two_files
./two_files
# One file for all of it.
{ cat "$root/cmake/kernels.cpp"; echo '#include <tenon/ops/second_order.hpp>'; } > one_file.cpp
"$1" "${flags[@]}" -c one_file.cpp -o one_file.o
"$1" main.o twice.o one_file.o -o one_file
./one_file
echo "ok"
