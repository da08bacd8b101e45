"""Wrong programs must not compile, and the compiler must say why within its first lines.

Every file here is one mistake; its first line, `// expect: <sentence>`, is what the message must contain.
    run.py <compiler> [name...]
"""

import concurrent.futures
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
LINES = 25


def problem(compiler, name):
    path = os.path.join(HERE, name)
    with open(path, encoding="utf-8") as stream:
        first = stream.readline().strip()
    if not first.startswith("// expect: "):
        return "its first line does not say what is expected"
    expected = first[len("// expect: "):]
    result = subprocess.run([compiler, "-std=c++20", "-fsyntax-only", "-w", f"-I{ROOT}/include", f"-I{ROOT}/kernels", path],
                            capture_output=True, text=True, check=False)
    if result.returncode == 0:
        return "it compiles"
    lines = result.stderr.splitlines()
    for number, line in enumerate(lines[:LINES], 1):
        if expected in line:
            return None
    where = next((n for n, line in enumerate(lines, 1) if expected in line), None)
    if where is not None:
        return f"the sentence comes in line {where} only, expected within {LINES}"
    return f"the message lacks \"{expected}\"; it begins\n    " + "\n    ".join(line[:200] for line in lines[:LINES])


def main():
    compiler, names = sys.argv[1], sys.argv[2:]
    files = sorted(f for f in os.listdir(HERE) if f.endswith(".cpp") and (not names or f[:-4] in names))
    failures = 0
    with concurrent.futures.ThreadPoolExecutor(int(os.environ.get("TENON_JOBS", "1"))) as pool:
        for name, what in zip(files, pool.map(lambda f: problem(compiler, f), files)):
            if what is not None:
                failures += 1
                print(f"{name}: {what}")
    print(f"{len(files)} wrong programs, {failures} failures")
    return 1 if failures or not files else 0


sys.exit(main())
