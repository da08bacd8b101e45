"""Reads what `nvcc -Xptxas -v` printed and fails where a kernel keeps registers in memory (spills).

    spills.py LOG...        spills.txt beside this file lists kernels that may, each with the reason

Prints the kernels with the most registers, too: from 128 on, at most half of a multiprocessor's threads run.
"""

import os
import re
import shutil
import subprocess
import sys

ENTRY = re.compile(r"Compiling entry function '([^']+)' for '([^']+)'")
PROPERTIES = re.compile(r"Function properties for (\S+)")
SPILL = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
REGISTERS = re.compile(r"Used (\d+) registers")


def read(lines):
    """{mangled name: [registers, spilled bytes]} of every kernel and device function, the worst of its architectures."""
    found, name = {}, None
    for line in lines:
        if match := ENTRY.search(line) or PROPERTIES.search(line):
            name = match.group(1)
        elif name and (match := SPILL.search(line)):
            entry = found.setdefault(name, [0, 0])
            entry[1] = max(entry[1], int(match.group(2)) + int(match.group(3)))
        elif name and (match := REGISTERS.search(line)):
            entry = found.setdefault(name, [0, 0])
            entry[0] = max(entry[0], int(match.group(1)))
    return found


def readable(names):
    if not names or not shutil.which("c++filt"):
        return dict(zip(names, names))
    out = subprocess.run(["c++filt"], input="\n".join(names), stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    return dict(zip(names, out))


def short(name):
    """Without the namespaces, and cut to a line."""
    name = re.sub(r"\(.*?\)::|tenon::|v\d+_\d+_\w+::|kernels::cuda::", "", name)
    return name if len(name) < 130 else name[:127] + "..."


def self_test():
    text = ["ptxas info    : Compiling entry function '_Z1av' for 'sm_90'", "ptxas info    : Function properties for _Z1av",
            "    8 bytes stack frame, 4 bytes spill stores, 8 bytes spill loads", "ptxas info    : Used 255 registers, used 0 barriers",
            "ptxas info    : Compiling entry function '_Z1bv' for 'sm_90'", "ptxas info    : Function properties for _Z1bv",
            "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads", "ptxas info    : Used 9 registers"]
    assert read(text) == {"_Z1av": [255, 12], "_Z1bv": [9, 0]}, read(text)


def main():
    self_test()
    found = {}
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8", errors="replace") as stream:
            for name, (registers, spilled) in read(stream).items():
                entry = found.setdefault(name, [0, 0])
                entry[0], entry[1] = max(entry[0], registers), max(entry[1], spilled)
    if not found:
        print("no kernel in the output of ptxas: was it compiled with -Xptxas -v?", file=sys.stderr)
        return 1
    allowed = []
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "spills.txt"), encoding="utf-8") as stream:
        for line in stream:
            if line.strip() and not line.startswith("#"):
                pattern, _, reason = line.strip().partition("  ")
                assert reason.strip(), f"spills.txt: no reason for {pattern}"
                allowed.append(re.compile(pattern))
    names = readable(list(found))
    most = sorted(found, key=lambda name: -found[name][0])
    print(f"{len(found)} kernels; most registers:")
    for name in most[:5]:
        print(f"  {found[name][0]:3}  {short(names[name])}")
    spilled = [name for name in found if found[name][1] > 0]
    bad = [name for name in spilled if not any(pattern.search(names[name]) for pattern in allowed)]
    for name in spilled:
        print(f"  {'spills' if name in bad else 'may spill'} {found[name][1]} bytes: {short(names[name])}")
    if not spilled:
        print("none spills registers")
    return 1 if bad else 0


sys.exit(main())
