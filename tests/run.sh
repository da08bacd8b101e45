#!/usr/bin/env bash
# Installs what is missing, builds the tests and runs them, under each instruction set that this machine has.
#
#   tests/run.sh                            the whole suite
#   tests/run.sh [arguments for ctest]      only that: tests/run.sh -R core
#   tests/run.sh --part                     a quarter of it under the address and undefined-behaviour sanitizers
#   tests/run.sh --cuda                     the CUDA tests on the GPU of this machine, and some of them under compute-sanitizer
#   tests/run.sh --nightly                  everything: also under both sanitizer builds, clang++ and the fuzzers, all that is CUDA
#                                           compiled by nvcc, where a toolkit is installed, and graph networks' accuracies on real data
#
# TENON_PRESET=asan or tsan picks a sanitizer build; TENON_JOBS limits the parallel jobs.
set -euo pipefail
cd "$(dirname "$0")/.."
third_party/install.sh build tests examples

jobs=${TENON_JOBS:-$(nproc)}
if command -v ninja > /dev/null && [ -z "${CMAKE_GENERATOR:-}" ]; then export CMAKE_GENERATOR=Ninja; fi

# run_suite <preset> <build folder> <options for cmake> -- <arguments for ctest>
run_suite() {
    local preset=$1 folder=$2 options=() log
    shift 2
    while [ "$1" != -- ]; do options+=("$1") && shift; done
    shift
    log=$(mktemp)
    cmake --preset "$preset" -B "$folder" "${options[@]}" > "$log" || { cat "$log"; rm -f "$log"; return 1; }
    grep 'tenon:' "$log" || true
    rm -f "$log"
    cmake --build "$folder" -j "$jobs"
    ctest --test-dir "$folder" --output-on-failure -j "$jobs" "$@"
}

if [ "${1:-}" = --nightly ]; then
    shift
    run_suite dev build/dev -- "$@"
    # Networks trained on real data, where it is there: minutes.
    examples/pyg/bands.sh build/dev/examples/example_pyg build/dev/examples/pyg_bands || [ $? -eq 77 ]
    run_suite asan build/asan -- "$@"
    run_suite tsan build/tsan -- "$@"
    if command -v clang++ > /dev/null; then run_suite dev build/clang -D CMAKE_CXX_COMPILER=clang++ -- "$@"; fi
    tests/cuda/nvcc.sh all build/nvcc || [ $? -eq 77 ]
    if [ -x tests/fuzz/run.sh ]; then tests/fuzz/run.sh 60; fi
elif [ "${1:-}" = --cuda ]; then
    shift
    if ! command -v nvcc > /dev/null; then PATH=$PATH:/usr/local/cuda/bin; fi
    command -v nvcc > /dev/null || { echo "tests/run.sh --cuda needs the CUDA Toolkit (nvcc)" >&2; exit 2; }
    nvidia-smi > /dev/null 2>&1 || { echo "tests/run.sh --cuda needs an NVIDIA GPU; without one tests/run.sh runs the same tests on an emulated one" >&2; exit 2; }
    run_suite cuda build/cuda -- "$@"
    command -v compute-sanitizer > /dev/null || { echo "tests/run.sh --cuda: this toolkit has no compute-sanitizer, which comes next" >&2; exit 2; }
    for tool in memcheck racecheck initcheck synccheck; do
        for program in expressions memory softmax reduce scatter matmul segment message layers pools points; do
            echo "compute-sanitizer --tool $tool: $program"
            options=(--tool "$tool" --error-exitcode 1 --print-limit 5)
            # Some tests provoke errors of the runtime, such as memory that there is not.
            if [ "$tool" = memcheck ]; then options+=(--report-api-errors no); fi
            TENON_CUDA_CACHE=0 compute-sanitizer "${options[@]}" "build/cuda/tests/test_cuda_$program" > "build/cuda/$tool.log" 2>&1 ||
                { tail -40 "build/cuda/$tool.log"; exit 1; }
        done
    done
elif [ "${1:-}" = --part ]; then
    # Under the sanitizers, a quarter of the programs: the one that the commit says, so that commits take turns.
    shift
    commit=$(git rev-parse HEAD 2> /dev/null || echo 0)
    part=$((0x${commit:0:6} % 4))
    echo "Under the sanitizers: part $part of 0, 1, 2, 3"
    run_suite asan build/asan -D TENON_TEST_PART=$part -- "$@"
else
    run_suite "${TENON_PRESET:-dev}" "build/${TENON_PRESET:-dev}" -- "$@"
fi
