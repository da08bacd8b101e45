#!/usr/bin/env bash
# Builds the fuzz targets (clang, with the address and undefined-behaviour sanitizers) and runs each for some seconds on
# its seed corpus and on what earlier runs have found.    tests/fuzz/run.sh [seconds] [target ...]
#
# Fails when a target does: its output and the input that did it are kept under build/nightly/fuzz/<target>.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-60}
[ $# -eq 0 ] || shift
for tool in clang++ cmake python3; do
    command -v $tool > /dev/null || { echo "tests/fuzz/run.sh: needs $tool" >&2; exit 1; }
done
if command -v ninja > /dev/null && [ -z "${CMAKE_GENERATOR:-}" ]; then export CMAKE_GENERATOR=Ninja; fi
cmake --preset nightly > /dev/null
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    for source in tests/fuzz/fuzz_*.cpp; do target=${source##*/fuzz_}; targets+=("${target%.cpp}"); done
fi
cmake --build build/nightly -j "${TENON_JOBS:-$(nproc)}" --target "${targets[@]/#/fuzz_}"
work=build/nightly/fuzz
python3 tests/fuzz/seeds.py $work/seeds
failed=()
for target in "${targets[@]}"; do
    mkdir -p "$work/$target/found"
    echo "fuzz_$target: $seconds s"
    # Readers may take what a file honestly holds; a single piece of 256 MB from a file of 64 KB is none of that.
    if "$(find build/nightly -name "fuzz_$target" -type f)" "$work/$target/found" "$work/seeds/$target" -max_total_time="$seconds" -max_len=65536 \
        -malloc_limit_mb=256 -rss_limit_mb=2048 -timeout=10 -print_final_stats=1 -artifact_prefix="$work/$target/" > "$work/$target/log" 2>&1; then
        grep -E '^stat::(number_of_executed_units|average_exec_per_sec|peak_rss_mb)' "$work/$target/log" | sed 's/^stat::/    /'
    else
        failed+=("$target")
        tail -n 40 "$work/$target/log"
    fi
done
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
echo "${#targets[@]} readers, $seconds s each: nothing found"
