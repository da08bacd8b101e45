#!/usr/bin/env bash
# Builds the benchmark programs, runs ours and the peers' in turns, and prints one table.
#
#   bench/run.sh [filter] [--json FILE] [--rounds N]        bench/run.sh gemm --json results.jsonl
#   bench/run.sh --cuda [filter] [--rounds N]               on the GPU of this machine, into bench/results/<its name>.txt and .jsonl
#
# The filter picks programs (bench_<filter>*) or, if none has that name, cases that contain it. PyTorch takes part after
# bench/peers.sh has installed it; OpenBLAS and oneDNN come from the system. TENON_ISA=sse2|avx2|avx512 lowers ours. With --cuda,
# bandwidths are compared with a copy within the GPU's memory in the same run, and times with PyTorch's, where the python3 of the
# path (or TENON_TORCH_PYTHON) has a torch that sees the GPU.
set -euo pipefail
cd "$(dirname "$0")/.."
device=cpu
if [ "${1:-}" = --cuda ]; then
    shift
    device=cuda
    command -v nvcc > /dev/null || PATH=$PATH:/usr/local/cuda/bin
    if ! command -v nvcc > /dev/null || ! nvidia-smi > /dev/null 2>&1; then
        echo "bench/run.sh --cuda measures on an NVIDIA GPU with the CUDA Toolkit (nvcc): this machine has $(command -v nvcc > /dev/null && echo "no GPU" || echo "no toolkit"), nothing was measured"
        exit 0
    fi
fi
third_party/install.sh build bench

if command -v ninja > /dev/null && [ -z "${CMAKE_GENERATOR:-}" ]; then export CMAKE_GENERATOR=Ninja; fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
quietly() {
    "$@" > "$log" 2>&1 || { cat "$log" >&2; exit 1; }
    grep 'tenon:' "$log" | sed 's/^-- //' || true
}
if [ $device = cuda ]; then
    quietly cmake --preset cuda -B build/bench_cuda -D TENON_BUILD_BENCH=ON -D TENON_BUILD_TESTS=OFF -D TENON_BUILD_EXAMPLES=OFF
    quietly cmake --build build/bench_cuda -j "${TENON_JOBS:-$(nproc)}" --target bench_all
    name=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -1 | tr 'A-Z ' 'a-z-' | tr -cd 'a-z0-9-')
    python3 bench/compare.py build/bench_cuda/bench --device cuda --json "bench/results/$name.jsonl" "$@" | tee "bench/results/$name.txt"
    exit
fi
quietly cmake --preset release -D TENON_BUILD_BENCH=ON
targets=bench_all
if [ $# -gt 0 ] && [[ $1 != -* ]] && named=$(grep "^bench_$1" build/release/bench/programs.txt | cut -d' ' -f1); then
    targets="bench_machine $named $(grep -x bench_torch build/release/bench/programs.txt || true)"
fi
quietly cmake --build build/release -j "${TENON_JOBS:-$(nproc)}" --target $targets
python3 bench/compare.py build/release/bench "$@"
