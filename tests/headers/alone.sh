#!/usr/bin/env bash
# Every public header compiles on its own, without a warning.    alone.sh <compiler>
set -euo pipefail
source "$(dirname "$0")/list.sh" "$1"
failed=0 count=0
for header in $headers; do
    count=$((count + 1))
    echo "#include <$header>" | "$1" "${flags[@]}" -fsyntax-only -x c++ - || { echo "not self-contained: $header"; failed=1; }
done
echo "$count headers compiled alone"
exit $failed
