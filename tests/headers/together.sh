#!/usr/bin/env bash
# Two translation units that each include every public header link into one program, with default and with hidden
# visibility, and as a shared library.    together.sh <compiler> <work folder>
set -euo pipefail
source "$(dirname "$0")/list.sh" "$1"
flags+=(-O0)  # it is linking that is tested, not code: a quarter of the time
rm -rf "$2" && mkdir -p "$2" && cd "$2"
# All but the one that asks for a library at link time.
for header in $headers; do [ "$header" = tenon/ops/linalg_lapack.hpp ] || echo "#include <$header>"; done > all.hpp
{ echo '#include "all.hpp"'; echo 'int other() { return tenon::num_threads(); }'; } > other.cpp
{
    echo '#include "all.hpp"'
    echo '__attribute__((visibility("default"))) int other();'
    echo 'int main() { return other() == tenon::num_threads() ? 0 : 1; }'
} > main.cpp
for visibility in default hidden; do
    for unit in main other; do
        "$1" "${flags[@]}" -I. -fPIC -fvisibility=$visibility -c $unit.cpp -o $unit.$visibility.o
    done
    "$1" main.$visibility.o other.$visibility.o -lz -o together.$visibility
    ./together.$visibility
done
"$1" -shared other.default.o -lz -o libother.so
"$1" main.default.o ./libother.so -lz -o with_shared_library
./with_shared_library
echo "every header in two translation units: linked and ran"
