#!/usr/bin/env bash
# Installs what a part of this repository needs on Debian 12+ or Ubuntu 24.04+, and nothing when it is there already.
#
#   third_party/install.sh [build] [tests] [examples] [bench] [peers]      (default: build tests examples)
#
# A project that only uses tenon's headers needs none of this: a C++20 compiler is enough.
set -euo pipefail

declare -A packages=(
    [build]="g++ cmake ninja-build ccache"
    [tests]="catch2 python3 python3-numpy zlib1g-dev libstb-dev nlohmann-json3-dev libopenblas-dev libboost-context-dev"
    [examples]="libcli11-dev zlib1g-dev libstb-dev nlohmann-json3-dev dataset-fashion-mnist jargon-text"
    [bench]="python3 libbenchmark-dev libopenblas-dev libdnnl-dev"
    [peers]="python3-venv"
)
# A tool counts as present however it got here.
declare -A tool=([g++]=g++ [cmake]=cmake [ninja-build]=ninja [ccache]=ccache [python3]=python3)
# A file that must be there besides: minimal images leave out /usr/share/doc.
declare -A needed=([jargon-text]=/usr/share/doc/jargon-text/jargon.txt.gz)
# What only a part of an example reads, and not every release has.
optional=" jargon-text "

groups=("$@")
[ ${#groups[@]} -gt 0 ] || groups=(build tests examples)
wanted=()
for group in "${groups[@]}"; do
    if [ -z "${packages[$group]:-}" ]; then
        echo "third_party/install.sh: no group \"$group\": expected build, tests, examples, bench or peers" >&2
        exit 2
    fi
    wanted+=(${packages[$group]})
done

missing=()
for package in $(printf '%s\n' "${wanted[@]}" | sort -u); do
    if [ -n "${tool[$package]:-}" ] && command -v "${tool[$package]}" > /dev/null; then continue; fi
    if command -v dpkg-query > /dev/null && [ -e "${needed[$package]:-/}" ] &&
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null)" = installed ]; then continue; fi
    missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get > /dev/null; then
    echo "third_party/install.sh: this is not a Debian-like system; please install the equivalents of: ${missing[*]}" >&2
    exit 0
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo > /dev/null; then
        echo "third_party/install.sh: please install as root: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi
apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@"; }
install() {
    apt install -y --no-install-recommends --reinstall -o Dpkg::Options::="--path-include=/usr/share/doc/jargon-text/*" "${missing[@]}" > /dev/null
}
# Package lists may be absent (a bare image) or old.
if ! compgen -G '/var/lib/apt/lists/*_Packages*' > /dev/null; then apt update; fi
for i in "${!missing[@]}"; do
    if [[ $optional == *" ${missing[i]} "* ]] && ! apt-cache show "${missing[i]}" > /dev/null 2>&1; then
        echo "third_party/install.sh: ${missing[i]} is not packaged here: left out"
        unset "missing[i]"
    fi
done
[ ${#missing[@]} -gt 0 ] || exit 0
echo "Installing ${missing[*]} (apt-get)"
install 2> /dev/null || { apt update && install; }
