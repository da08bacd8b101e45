#!/usr/bin/env bash
# Installs what is missing, builds the tests and runs them, under each instruction set that this machine has.
#
#   tests/run.sh [arguments for ctest]        tests/run.sh -R core
#
# TENON_PRESET=asan or tsan picks a sanitizer build; TENON_JOBS limits the parallel jobs.
set -euo pipefail
cd "$(dirname "$0")/.."
third_party/install.sh build tests examples

preset=${TENON_PRESET:-dev}
jobs=${TENON_JOBS:-$(nproc)}
if command -v ninja > /dev/null && [ -z "${CMAKE_GENERATOR:-}" ]; then export CMAKE_GENERATOR=Ninja; fi
cmake --preset "$preset" > "/tmp/tenon-configure.$$" || { cat "/tmp/tenon-configure.$$"; rm -f "/tmp/tenon-configure.$$"; exit 1; }
grep 'tenon:' "/tmp/tenon-configure.$$" || true
rm -f "/tmp/tenon-configure.$$"
cmake --build "build/$preset" -j "$jobs"
exec ctest --test-dir "build/$preset" --output-on-failure -j "$jobs" "$@"
