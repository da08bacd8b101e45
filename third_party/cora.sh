#!/usr/bin/env bash
# Makes build/data/cora.npz, the Cora citation network, once: from the Python package graphdatascience (Apache-2.0), whose wheel holds
# it as two tables. Nothing is installed: pip and what reads the tables live in a folder that goes away.    third_party/cora.sh [to]
set -euo pipefail
cd "$(dirname "$0")/.."
to=${1:-build/data/cora.npz}
[ ! -f "$to" ] || exit 0
command -v python3 > /dev/null || { echo "third_party/cora.sh: needs python3" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "Fetching Cora (pip: graphdatascience, pyarrow)" >&2
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q --disable-pip-version-check download --no-deps -d "$work" graphdatascience==2.2
"$work/venv/bin/pip" -q --disable-pip-version-check install pyarrow
mkdir -p "$(dirname "$to")"
"$work/venv/bin/python" third_party/cora.py "$work"/graphdatascience-*.whl examples/pyg/cora-linqs-ids.txt "$to"
