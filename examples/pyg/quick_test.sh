#!/usr/bin/env bash
# Every task of the example in a few seconds, on real data where it is there: prints its table, exits well, and graphs go on with
# --resume from the folds that are there to the same figures.
#
#   quick_test.sh <program> <work folder>
set -euo pipefail
program=$1 work=$2 here=$(cd "$(dirname "$0")" && pwd)
shared=${TENON_SHARED_DATA:-$here/../../shared/data}
rm -rf "$work" && mkdir -p "$work"

check() {  # <log> <text ...>: the log has every text, no figure is nan, and the result line comes last
    local log=$1
    shift
    for text in "$@"; do grep -qF -- "$text" "$log" || { cat "$log"; echo "no \"$text\" in $log"; exit 1; }; done
    tail -n 1 "$log" | grep -q '^result:.* interrupted=0 seconds=' || { cat "$log"; echo "no result in $log"; exit 1; }
    if grep '^result:' "$log" | grep -q nan; then cat "$log"; exit 1; fi
}

"$program" --task times,points --quick --epochs 2 --points 64 --out "$work/made-up" > "$work/made-up.txt"
check "$work/made-up.txt" '| PubMed, gcn' '| MUTAG-RDF, r-gcn' 'synthetic' 'say nothing of real data' '| edgecnn'
[ -s "$work/made-up/points-accuracy.png" ]

# Rings and paths in the text format of GIN: all nodes of a ring have two neighbours.
awk 'BEGIN {
    print 60
    for (g = 0; g < 60; ++g) {
        n = 5 + g % 7; ring = g % 2
        print n, ring
        for (i = 0; i < n; ++i) {
            line = ""; d = 0
            if (ring || i > 0) { line = line " " (i + n - 1) % n; ++d }
            if (ring || i + 1 < n) { line = line " " (i + 1) % n; ++d }
            print i % 2, d line
        }
    }
}' > "$work/RINGS.txt"
graphs=("$program" --task graphs --set rings --data "$work" --models gcn,gin-eps --hidden 8 --epochs 3 --threads 1)
"${graphs[@]}" --out "$work/straight" > "$work/straight.txt"
check "$work/straight.txt" '60 graphs' '| gin-eps'
mkdir -p "$work/broken"
head -n 4 "$work/straight/RINGS-gcn-mean.csv" > "$work/broken/RINGS-gcn-mean.csv"
head -n 14 "$work/straight/RINGS-gcn-mean-curves.csv" > "$work/broken/RINGS-gcn-mean-curves.csv"
"${graphs[@]}" --out "$work/broken" --resume > "$work/broken.txt"
for model in gcn gin-eps; do
    cmp <(sed 's/,[^,]*$//' "$work/straight/RINGS-$model-mean.csv") <(sed 's/,[^,]*$//' "$work/broken/RINGS-$model-mean.csv")
    [ "$(wc -l < "$work/broken/RINGS-$model-mean.csv")" -eq 11 ]
done
status=0; "${graphs[@]}" --set nothing --out "$work/none" 2> "$work/error" > /dev/null || status=$?
[ "$status" -eq 2 ] && grep -q 'no NOTHING in' "$work/error" && grep -q '^hint: unpack' "$work/error"

if [ -d "$shared/planetoid" ]; then
    "$program" --task nodes --quick --data "$shared/planetoid" --out "$work/nodes" > "$work/nodes.txt"
    check "$work/nodes.txt" '2708 nodes' '| appnp, fixed'
fi
if [ -d "$shared/tu/MUTAG" ]; then
    "$program" --task graphs --quick --data "$shared/tu" --out "$work/graphs" > "$work/graphs.txt"
    check "$work/graphs.txt" '188 graphs' '| gin-0'
fi
