"""Runs the benchmark programs in turns and joins what they print. Called by bench/run.sh.

A program prints JSON lines. Either a whole comparison ("ours", "peer", "peer_value"), or one measurement ("value",
with "lib", where "ours" or none is tenon). Measurements of one case, unit and number of threads are compared with each
other. Several rounds are run, so that a slow minute of the machine hits everybody; the median over the rounds counts.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys

failed = []  # programs
TIME = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def canonical(unit):
    """(name to compare by, factor to it)."""
    if unit in TIME:
        return "s", TIME[unit]
    return {"GFLOP/s": "GF/s", "GFLOPS": "GF/s", "gf/s": "GF/s"}.get(unit, unit), 1.0


def higher_is_better(unit):
    return unit.endswith("/s")


def choose(programs, pattern):
    """The programs to run, and the filter for cases. A family brings its peers along."""
    if not pattern:
        return programs, ""
    named = [p for p in programs if p[len("bench_"):].startswith(pattern)]
    if not named:
        return programs, pattern
    return named + [p for p in programs if p == "bench_torch" and p not in named], ""


def run(folder, program, environment, *arguments):
    result = subprocess.run([os.path.join(folder, program), *arguments], stdout=subprocess.PIPE, text=True, env=environment)
    if result.returncode != 0:
        print(f"{program} returned {result.returncode}", file=sys.stderr)
        failed.append(program)
    lines = []
    for line in result.stdout.splitlines():
        if line.startswith("{"):
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:
                print(f"{program}: not JSON: {line}", file=sys.stderr)
    return lines


HERE = os.path.dirname(os.path.abspath(__file__))
# Peers that are Python programs, by the program beside which they run, and what they import.
SCRIPTS = {"bench_graph": ("graph_torch.py", "torch, torch_geometric"), "bench_points": ("points_torch.py", "torch")}


def python_that(runs, *more):
    """A python in which these lines run without an error, or None."""
    for python in (os.environ.get("TENON_TORCH_PYTHON"), *more, "python3"):
        if python and shutil.which(python) and subprocess.run([python, "-c", runs], stderr=subprocess.DEVNULL, check=False).returncode == 0:
            return shutil.which(python)
    return None


def scripts(programs):
    """(python, script) of the peers in Python that can run."""
    for program in programs:
        if program in SCRIPTS:
            script, modules = SCRIPTS[program]
            python = python_that(f"import {modules}", os.path.join(HERE, "..", "build", "peers", "bin", "python"))
            if python:
                yield python, os.path.join(HERE, script)
            else:
                print(f"{script} takes no part: no python has {modules} (TENON_TORCH_PYTHON names one)")


class Results:
    def __init__(self):
        self.ours = {}       # (case, unit, threads) -> {"values": [...], "unit", "isa"}
        self.peers = {}      # (case, unit, threads) -> {peer: [...]}
        self.direct = {}     # (case, unit, threads, peer) -> [(ours, peer value)], measured by one program

    def add(self, line, isa):
        if "case" not in line or "unit" not in line:
            return
        unit, factor = canonical(line["unit"])
        key = (line["case"], unit, line.get("threads", 1))
        library = line.get("lib", "ours")
        if library.lower() in ("ours", "tenon"):
            value = line.get("ours", line.get("value"))
            if value is None:
                return
            if "peer_value" in line and line.get("peer"):
                entry = self.direct.setdefault((*key, line["peer"]), {"values": [], "unit": line["unit"], "isa": line.get("isa", isa)})
                entry["values"].append((value, line["peer_value"]))
            else:
                entry = self.ours.setdefault(key, {"values": [], "unit": line["unit"], "isa": line.get("isa", isa)})
                entry["values"].append(value * factor)
        else:
            self.peers.setdefault(key, {}).setdefault(library, []).append(line["value"] * factor)

    def rows(self):
        """One per case, number of threads and peer."""
        for (case, unit, threads, peer), entry in self.direct.items():
            ours = statistics.median(v[0] for v in entry["values"])
            theirs = statistics.median(v[1] for v in entry["values"])
            yield self.row(case, entry, ours, peer, theirs, unit, threads)
        for (case, unit, threads), entry in self.ours.items():
            factor = canonical(entry["unit"])[1]
            ours = statistics.median(entry["values"]) / factor
            # What the machine can do is the same for everybody.
            peers = {} if "peak" in case else self.peers.get((case, unit, threads), {})
            for peer, values in peers.items():
                yield self.row(case, entry, ours, peer, statistics.median(values) / factor, unit, threads)
            if not peers:
                yield self.row(case, entry, ours, None, None, unit, threads)

    @staticmethod
    def row(case, entry, ours, peer, theirs, unit, threads):
        ratio = None
        if theirs:
            ratio = ours / theirs if higher_is_better(unit) else theirs / ours
        return {"case": case, "unit": entry["unit"], "ours": ours, "peer": peer, "peer_value": theirs, "ratio": ratio,
                "threads": threads, "isa": entry["isa"]}


def show(number):
    if number is None:
        return "-"
    return f"{number:.0f}" if number >= 1000 else f"{number:.4g}"


def main():
    parser = argparse.ArgumentParser(prog="bench/run.sh")
    parser.add_argument("folder", help=argparse.SUPPRESS)
    parser.add_argument("filter", nargs="?", default="")
    parser.add_argument("--json", metavar="FILE", help="write one JSON object per line")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="cuda: the programs run there, beside torch_cuda.py where torch sees a GPU")
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)  # to see that everything runs
    options = parser.parse_args()

    # Lines of "program" or, for a program that takes one number of threads, "program --threads".
    with open(os.path.join(options.folder, "programs.txt"), encoding="utf-8") as stream:
        listed = dict((line.split() + [""])[:2] for line in stream.read().splitlines() if line)
    programs, cases = choose(list(listed), options.filter)
    environment = dict(os.environ)
    if cases:
        environment["TENON_BENCH_FILTER"] = cases
    # Threads that wait in a spin loop would slow down whoever runs next to them.
    environment.setdefault("OMP_WAIT_POLICY", "passive")

    where = [] if options.device == "cpu" else ["--device", options.device]
    where += ["--tiny"] if options.tiny else []
    machine = run(options.folder, "bench_machine", environment, *where)[0]
    if "copy_gb" in machine:
        print(f"{machine['machine']} ({machine['isa']}, {machine['multiprocessors']} multiprocessors): "
              f"multiply-add peak {machine['fma_peak_gf_one']:.0f} GF/s, copy {machine['copy_gb']:.0f} GB/s")
    else:
        print(f"{machine['machine']}, {machine['cores']} cores, instruction set {machine['isa']}")
    for who, text in (("one", "one thread"), ("all", "all threads")):
        if f"memcpy_gb_{who}" in machine:
            print(f"  {text:11}: multiply-add peak {machine[f'fma_peak_gf_{who}']:.0f} GF/s, memcpy "
                  f"{machine[f'memcpy_gb_{who}']:.1f} GB/s from memory, {machine[f'memcpy_cache_gb_{who}']:.0f} GB/s in cache")
    sys.stdout.flush()

    sees_gpu = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    python = python_that(sees_gpu) if options.device != "cpu" else None
    peers = list(scripts(programs)) if options.device == "cpu" else []
    if options.device != "cpu" and python is None:
        print("PyTorch takes no part: no python with a torch that sees the GPU (TENON_TORCH_PYTHON names one)")
    sys.stdout.flush()

    results = Results()
    for _ in range(options.rounds):
        if python:
            for line in run("", python, environment, os.path.join(HERE, "torch_cuda.py")):
                results.add(line, machine["isa"])
        for threads in (1, 2) if machine["cores"] > 1 else (1,):
            for program in programs:
                if not listed[program] and threads > 1:
                    continue
                arguments = ([listed[program], str(threads)] if listed[program] else []) + where
                for line in run(options.folder, program, environment, *arguments):
                    results.add(line, machine["isa"])
                    if "copy_gb" in machine and line["case"].startswith("gemm float") and line.get("unit") == "GF/s":
                        results.add({**line, "ours": line["value"], "peer": "peak", "peer_value": machine["fma_peak_gf_one"]}, machine["isa"])
            for own, script in peers:
                for line in run("", own, environment, script, str(threads)):
                    results.add(line, machine["isa"])

    rows = [row for row in results.rows() if cases in row["case"]]
    order = {case: i for i, case in enumerate(dict.fromkeys(row["case"] for row in results.rows()))}
    rows.sort(key=lambda row: (order[row["case"]], row["threads"], row["peer"] or ""))
    width = max([len(row["case"]) for row in rows] + [4])
    print(f"\n{'case':{width}}  threads  {'ours':>9} {'unit':10}  {'peer':>9}  {'':12}  ratio (above 1: tenon is faster)")
    for row in rows:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        print(f"{row['case']:{width}}  {row['threads']:>7}  {show(row['ours']):>9} {row['unit']:10}  {show(row['peer_value']):>9}  "
              f"{row['peer'] or '':12}  {ratio}")
    for peer in sorted({row["peer"] for row in rows if row["ratio"]} - {"memcpy", "copy", "peak", "materialised"}):
        ratios = [row["ratio"] for row in rows if row["peer"] == peer and row["ratio"]]
        print(f"geometric mean over {len(ratios)} cases against {peer}: {statistics.geometric_mean(ratios):.2f}")
    if options.json:
        with open(options.json, "w", encoding="utf-8") as stream:
            for who, threads in (("one", 1), ("all", machine["cores"])):
                for what, unit, name in (("fma_peak_gf", "GF/s", "machine: multiply-add peak"),
                                         ("memcpy_gb", "GB/s", "machine: memcpy from memory"),
                                         ("memcpy_cache_gb", "GB/s", "machine: memcpy in cache"),
                                         ("copy_gb", "GB/s", "machine: copy within the GPU's memory")):
                    key = f"{what}_{who}" if what != "copy_gb" else what
                    if key in machine and (key != "copy_gb" or who == "one"):
                        stream.write(json.dumps({"case": name, "unit": unit, "ours": machine[key], "peer": None,
                                                 "peer_value": None, "ratio": None, "threads": threads,
                                                 "isa": machine["isa"]}) + "\n")
            for row in rows:
                stream.write(json.dumps(row) + "\n")
    unmatched = sorted({key[0] for key in results.peers if key not in results.ours and cases in key[0]})
    if unmatched and not options.filter:
        print("measured for a peer only: " + ", ".join(unmatched))
    if not rows:
        print("nothing was measured", file=sys.stderr)
        return 1
    return 1 if failed and options.tiny else 0


sys.exit(main())
