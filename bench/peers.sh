#!/usr/bin/env bash
# Installs PyTorch's C++ library for the side-by-side benchmarks, into build/peers (1.2 GB), without its GPU packages:
# only the CPU library is linked, which wants the CUDA run-time and profiling libraries to load (13 MB).
set -euo pipefail
cd "$(dirname "$0")/.."
venv=build/peers
if [ -f "$venv/complete" ]; then exit 0; fi
third_party/install.sh build bench
if ! python3 -c 'import venv, ensurepip' 2> /dev/null; then third_party/install.sh peers; fi
echo "Installing PyTorch 2.13.0 into $venv"
rm -rf "$venv"
python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps torch==2.13.0 \
    'nvidia-cuda-runtime==13.0.*' 'nvidia-cuda-cupti==13.0.*'
# What importing it in Python takes, and what the tests of files and DLPack exchange with.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy safetensors filelock fsspec jinja2 networkx sympy typing_extensions
touch "$venv/complete"
