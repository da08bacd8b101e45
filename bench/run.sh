#!/usr/bin/env bash
# Builds the benchmark programs, runs ours and the peers' in turns, and prints one table.
#
#   bench/run.sh [filter] [--json FILE] [--rounds N]        bench/run.sh gemm --json results.jsonl
#
# The filter picks programs (bench_<filter>*) or, if none has that name, cases that contain it. PyTorch takes part after
# bench/peers.sh has installed it; OpenBLAS and oneDNN come from the system. TENON_ISA=sse2|avx2|avx512 lowers ours.
set -euo pipefail
cd "$(dirname "$0")/.."
third_party/install.sh build bench

if command -v ninja > /dev/null && [ -z "${CMAKE_GENERATOR:-}" ]; then export CMAKE_GENERATOR=Ninja; fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
quietly() {
    "$@" > "$log" 2>&1 || { cat "$log" >&2; exit 1; }
    grep 'tenon:' "$log" | sed 's/^-- //' || true
}
quietly cmake --preset release -D TENON_BUILD_BENCH=ON
targets=bench_all
if [ $# -gt 0 ] && [[ $1 != -* ]] && named=$(grep "^bench_$1" build/release/bench/programs.txt | cut -d' ' -f1); then
    targets="bench_machine $named $(grep -x bench_torch build/release/bench/programs.txt || true)"
fi
quietly cmake --build build/release -j "${TENON_JOBS:-$(nproc)}" --target $targets
python3 bench/compare.py build/release/bench "$@"
