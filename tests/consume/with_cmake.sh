#!/usr/bin/env bash
# tenon in somebody's CMake project.
#   with_cmake.sh find_package|add_subdirectory|fetch_content <work folder> <tenon's build folder>
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
rm -rf "$2" && mkdir -p "$2"
arguments=(-DUSE_TENON="$1" -DTENON_SOURCE="$root")
if [ "$1" = find_package ]; then
    "${CMAKE:-cmake}" --install "$3" --prefix "$2/prefix" > /dev/null
    for file in include/tenon/base/config.hpp include/tenon/core/tensor.hpp; do
        [ -f "$2/prefix/$file" ] || { echo "not installed: $file"; exit 1; }
    done
    arguments+=(-DCMAKE_PREFIX_PATH="$2/prefix")
fi
"${CMAKE:-cmake}" -S "$here/project" -B "$2/build" -DCMAKE_BUILD_TYPE=Release "${arguments[@]}"
"${CMAKE:-cmake}" --build "$2/build"
"$2/build/uses_tenon"
# As a dependency tenon brings no tests, no install rules and no flags.
if [ "$1" != find_package ]; then
    "${CMAKE:-cmake}" --install "$2/build" --prefix "$2/parent" > /dev/null
    if [ -e "$2/parent/include/tenon" ]; then echo "tenon was installed into its parent's prefix"; exit 1; fi
    if grep -rq catch2 "$2/build" --include=build.ninja --include='*.make'; then echo "tenon built its tests in its parent"; exit 1; fi
fi
