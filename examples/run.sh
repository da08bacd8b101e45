#!/usr/bin/env bash
# Installs what is missing, builds one example and runs it on its real data.
#
#   examples/run.sh [example] [arguments of the program]        examples/run.sh adabound --epochs 5
set -euo pipefail
cd "$(dirname "$0")/.."
example=adabound
if [ $# -gt 0 ] && [ -f "examples/$1/main.cpp" ]; then
    example=$1
    shift
fi
third_party/install.sh build examples
# Cora is fetched once, unless other data is named.
if [ "$example" = pyg ] && [[ " $* " != *" --data"* && " $* " != *" --paper-table "* && " $* " != *" --help "* && ! " $* " =~ \ --task[=\ ](graphs|points)\  ]]; then third_party/cora.sh; fi

if command -v ninja > /dev/null && [ -z "${CMAKE_GENERATOR:-}" ]; then export CMAKE_GENERATOR=Ninja; fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { cmake --preset release -D TENON_BUILD_BENCH=OFF &&
    cmake --build build/release -j "${TENON_JOBS:-$(nproc)}" --target "example_$example"; } > "$log" 2>&1; then
    cat "$log" >&2
    exit 1
fi
rm -f "$log"
exec "build/release/examples/example_$example" "$@"
