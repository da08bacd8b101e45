#!/usr/bin/env bash
# A run of an example that is interrupted (Ctrl-C) and killed (kill -9) at several moments and resumed gives the figures of one
# that ran through, digit for digit, on small made-up data.
#
#   resume_test.sh <program> <work folder> <images|text> <figures below --out> <rows of figures> <options of the program ...>
#
# The figures are a CSV file whose last column is seconds.
set -euo pipefail
program=$1 work=$2 kind=$3 table=$4 rows=$5
shift 5
command -v python3 > /dev/null || { echo "no python3: skipped"; exit 77; }
rm -rf "$work" && mkdir -p "$work/data"
python3 - "$work/data" "$kind" << 'END'
import random, struct, sys
random.seed(1)
folder, kind = sys.argv[1:]
if kind == "text":
    words = ["".join(random.choice("abcdefghij") for _ in range(random.randrange(1, 8))) for _ in range(60)]
    open(f"{folder}/text", "w").write("".join(random.choice(words) + random.choice("  \n") for _ in range(9000)))
else:
    for prefix, count in (("train", 1500), ("t10k", 200)):
        labels = [random.randrange(10) for _ in range(count)]
        pixels = bytearray()
        for label in labels:
            pixels += bytes(min(255, random.randrange(128) + (120 if row // 3 == label else 0)) for row in range(28) for _ in range(28))
        open(f"{folder}/{prefix}-images-idx3-ubyte", "wb").write(struct.pack(">4i", 0x803, count, 28, 28) + pixels)
        open(f"{folder}/{prefix}-labels-idx1-ubyte", "wb").write(struct.pack(">2i", 0x801, count) + bytes(labels))
END
data=$work/data
[ "$kind" = images ] || data=$data/text
options=(--data "$data" --threads 1 "$@")
figures() { sed 's/,[^,]*$//' "$1/$table"; }  # all but the seconds

begun=$(date +%s%N)
"$program" "${options[@]}" --epochs 2 --out "$work/straight" > "$work/straight.txt"
whole=$((($(date +%s%N) - begun) / 1000000))  # milliseconds
breaks=0
for attempt in $(seq 1 200); do
    resume=(); [ "$attempt" -eq 1 ] || resume=(--resume)
    "$program" "${options[@]}" --epochs 2 --checkpoint-every 7 --out "$work/broken" "${resume[@]}" > "$work/broken-$attempt.txt" & child=$!
    # Odd attempts are interrupted, even ones killed, after a tenth to a third of the whole run's time; later ones get more
    # and more, so that the run comes to its end on a machine that is slower by then, too.
    wait=$((whole * (10 + 37 * attempt % 20 + 2 * attempt) / 100))
    sleep "$((wait / 1000)).$(printf %03d $((wait % 1000)))"
    if [ $((attempt % 2)) -eq 1 ]; then kill -INT $child 2> /dev/null || true; else kill -KILL $child 2> /dev/null || true; fi
    status=0; wait $child 2> /dev/null || status=$?
    case $status in
        0) break ;;
        130|137) breaks=$((breaks + 1)) ;;
        *) cat "$work/broken-$attempt.txt"; echo "attempt $attempt: exit $status"; exit 1 ;;
    esac
done
[ "$status" -eq 0 ] || { echo "did not come to its end in $attempt attempts"; exit 1; }
figures "$work/straight" > "$work/a"; figures "$work/broken" > "$work/b"
cmp "$work/a" "$work/b"
[ "$(wc -l < "$work/a")" -eq $((rows + 1)) ]
grep '^result:' "$work/straight.txt" | sed 's/ seconds.*//' > "$work/a"
grep '^result:' "$work/broken-$attempt.txt" | sed 's/ seconds.*//' > "$work/b"
cmp "$work/a" "$work/b"
[ "$breaks" -ge 2 ] || { echo "only $breaks breaks: the run is too short for this machine"; exit 1; }

# Another run's options are refused.
if "$program" "${options[@]}" --epochs 3 --out "$work/broken" --resume 2> "$work/error" > /dev/null; then echo "other options were accepted"; exit 1; fi
grep -q 'epochs 2' "$work/error"
echo "$breaks breaks, the same figures"
