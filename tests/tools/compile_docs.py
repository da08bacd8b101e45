"""Compiles every ```cpp block of the Markdown files, and runs those that are programs.

    compile_docs.py <work folder> [objects and libraries with the extern kernels]

Programs of the README are compiled from the headers alone, as a reader would; the others link the kernels, where given.
A block with `main(` is a whole program; what it prints must equal the ```text block that follows it directly. Any
other block is wrapped: its #include and using lines go to the top, the rest into a function. A block that shows
something which cannot compile alone is marked as ```c++ instead.
"""

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BLOCK = re.compile(r"^```cpp\n(.*?)^```\n(?:\n*```text\n(.*?)^```\n)?", re.S | re.M)


def markdown_files():
    for name in sorted(os.listdir(ROOT)):
        if name.endswith(".md"):
            yield os.path.join(ROOT, name)
    for tree in ("docs", "examples"):
        for folder, _, files in sorted(os.walk(os.path.join(ROOT, tree))):
            for name in sorted(files):
                if name.endswith(".md"):
                    yield os.path.join(folder, name)


def as_program(block):
    if re.search(r"\bmain\(", block):
        return block
    top, body = [], []
    for line in block.splitlines():
        (top if re.match(r"\s*(#include|using namespace)", line) else body).append(line)
    if not any("#include" in line for line in top):
        top.insert(0, "#include <tenon/tenon.hpp>\nusing namespace tenon;")
    return "\n".join(top) + "\nvoid example() {\n" + "\n".join(body) + "\n}\nint main() {}\n"


def main():
    work = sys.argv[1]
    os.makedirs(work, exist_ok=True)
    kernels = sys.argv[2:]
    compiler = os.environ.get("CXX", "g++")
    count = failures = 0
    for path in markdown_files():
        with open(path, encoding="utf-8") as stream:
            text = stream.read()
        for match in BLOCK.finditer(text):
            count += 1
            block, expected = match.groups()
            where = f"{os.path.relpath(path, ROOT)}:{text.count(chr(10), 0, match.start()) + 1}"
            source = os.path.join(work, f"block_{count}.cpp")
            program = os.path.join(work, f"block_{count}")
            with open(source, "w", encoding="utf-8") as stream:
                stream.write(as_program(block))
            runs = re.search(r"\bmain\(", block)
            flags = ["-std=c++20", "-Wall", "-Wextra", "-Wno-unused", f"-I{ROOT}/include", f"-I{ROOT}/kernels"]
            if not runs:
                flags += ["-fsyntax-only", source]
            elif kernels and os.path.basename(path) != "README.md":
                flags += ["-O1", "-DTENON_EXTERN_KERNELS", "-o", program, source, *kernels, "-lz", "-pthread"]
            else:
                flags += ["-O1", "-o", program, source, "-lz"]
            if subprocess.run([compiler, *flags], check=False).returncode != 0:
                print(f"{where}: does not compile")
                failures += 1
                continue
            if not runs:
                continue
            run = subprocess.run([program], capture_output=True, text=True, cwd=work)
            if run.returncode != 0:
                print(f"{where}: returned {run.returncode}\n{run.stdout}{run.stderr}")
                failures += 1
            elif expected is not None and run.stdout != expected:
                print(f"{where}: printed\n{run.stdout}instead of\n{expected}")
                failures += 1
    print(f"{count} blocks, {failures} failures")
    return 1 if failures else 0


sys.exit(main())
