#!/usr/bin/env bash
# Every task of the example in a few seconds, on real data where it is there: prints its table, exits well, and goes on with --resume
# from what is there to the same figures.
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

made_up=("$program" --task times,points --quick --epochs 2 --points 64 --out "$work/made-up")
"${made_up[@]}" > "$work/made-up.txt"
check "$work/made-up.txt" '| PubMed, gcn' '| MUTAG-RDF, r-gcn' 'synthetic' 'say nothing of real data' '| edgecnn'
[ -s "$work/made-up/points-accuracy.png" ]
# All of it is there: the same figures, times included, and nothing is computed.
"${made_up[@]}" --resume > "$work/again.txt"
cmp <(grep '^|' "$work/made-up.txt") <(grep '^|' "$work/again.txt")

"$program" --task points --quick --epochs 1 --models splinecnn,pointcnn --out "$work/layers" > "$work/layers.txt"
check "$work/layers.txt" '| splinecnn' '| pointcnn' '93.28'
status=0; "$program" --task points --quick --models pointcnn --points 64 --out "$work/none" 2> "$work/error" > /dev/null || status=$?
[ "$status" -eq 2 ] && grep -q 'pointcnn needs 246 or more' "$work/error"

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
"$program" --task graphs --set rings --data "$work" --models graclus,top-k,diffpool,sort,sort-conv --hidden 8 --epochs 3 --quick --out "$work/levels" > "$work/levels.txt"
check "$work/levels.txt" '| graclus' '| diffpool' '| sort-conv'
status=0; "${graphs[@]}" --set nothing --out "$work/none" 2> "$work/error" > /dev/null || status=$?
[ "$status" -eq 2 ] && grep -q 'no NOTHING in' "$work/error" && grep -q '^hint: unpack' "$work/error"

if [ -d "$shared/planetoid" ]; then
    "$program" --task nodes --quick --data "$shared/planetoid" --out "$work/nodes" > "$work/nodes.txt"
    check "$work/nodes.txt" '2708 nodes' '| appnp, fixed' '| arma, fixed'
    nodes=("$program" --task nodes --data "$shared/planetoid" --splits random --models cheb --runs 2 --epochs 8 --embedding pca --threads 1)
    "${nodes[@]}" --out "$work/through" > "$work/through.txt"
    mkdir -p "$work/stopped"
    # One run, and of the other one the first epochs.
    head -n 2 "$work/through/cora-random-cheb.csv" > "$work/stopped/cora-random-cheb.csv"
    head -n 12 "$work/through/cora-random-cheb-curves.csv" > "$work/stopped/cora-random-cheb-curves.csv"
    "${nodes[@]}" --out "$work/stopped" --resume > "$work/stopped.txt"
    cmp <(sed 's/,[^,]*$//' "$work/through/cora-random-cheb.csv") <(sed 's/,[^,]*$//' "$work/stopped/cora-random-cheb.csv")
    cmp "$work/through/cora-random-accuracy.png" "$work/stopped/cora-random-accuracy.png"
    for batches in neighbours clusters saint; do
        "$program" --task nodes --quick --data "$shared/planetoid" --models gcn --batches $batches --out "$work/$batches" > "$work/$batches.txt"
        check "$work/$batches.txt" "| gcn $batches, fixed"
    done
    links=("$program" --task links --quick --data "$shared/planetoid" --runs 2 --embedding tsne --threads 1)
    "${links[@]}" --out "$work/links" > "$work/links.txt"
    check "$work/links.txt" '| gae' '| vgae' '92.6'
    [ -s "$work/links/links-cora-vgae-nodes.png" ]
    mkdir -p "$work/unlinked"
    head -n 2 "$work/links/links-cora-vgae.csv" > "$work/unlinked/links-cora-vgae.csv"
    "${links[@]}" --models vgae --out "$work/unlinked" --resume > "$work/unlinked.txt"
    cmp <(sed 's/,[^,]*$//' "$work/links/links-cora-vgae.csv") <(sed 's/,[^,]*$//' "$work/unlinked/links-cora-vgae.csv")
fi
if [ -d "$shared/tu/MUTAG" ]; then
    "$program" --task graphs --quick --data "$shared/tu" --out "$work/graphs" > "$work/graphs.txt"
    check "$work/graphs.txt" '188 graphs' '| gin-0'
    "$program" --task graphs --quick --epochs 3 --models graclus,top-k,diffpool,sage-nojk,attention,set2set,sort,sort-conv --data "$shared/tu" --out "$work/pools" > "$work/pools.txt"
    check "$work/pools.txt" '| top-k' '| set2set' '| sort' '| diffpool'
fi
