"""What including tenon costs: CPU seconds and peak memory of the compiler, against the budget.

Machines differ, so the budget itself is reported and only twice the budget fails.
"""

import os
import resource
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUDGETS = [("tenon/core/tensor.hpp", 0.8), ("tenon/tenon.hpp", 2.5)]
MEMORY_MB = 600

# What the first product of a file adds to one that has an expression already: (name, flags, budget). The aims are 2 and
# 0.1 s; these are what is reached, so that it gets no worse.
EXPRESSION = """#include <tenon/tenon.hpp>
tenon::Tensor<float, 2> f(const tenon::Tensor<float, 2>& a, const tenon::Tensor<float, 1>& b) { return relu(a + b); }
"""
PRODUCT = """
tenon::Tensor<float, 2> g(const tenon::Tensor<float, 2>& a, const tenon::Tensor<float, 2>& b) { return tenon::matmul(a, b); }
"""
PRODUCTS = [("header-only", [], 3.0), ("with TENON_EXTERN_KERNELS", ["-DTENON_EXTERN_KERNELS"], 0.4)]


def measure(compiler, source, flags=()):
    """(best CPU seconds of three, peak megabytes) of compiling this text."""
    best = float("inf")
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([compiler, "-std=c++20", "-O2", *flags, f"-I{ROOT}/include", f"-I{ROOT}/kernels", "-x", "c++", "-c", "-",
                        "-o", "/dev/null"], input=source, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return best, after.ru_maxrss / 1024


def main():
    compiler = os.environ.get("CXX", "g++")
    failed = False
    for header, budget in BUDGETS:
        if not any(os.path.exists(os.path.join(ROOT, tree, header)) for tree in ("include", "kernels")):
            print(f"<{header}> does not exist")
            failed = True
            continue
        seconds, memory = measure(compiler, f"#include <{header}>\n")
        verdict = "within" if seconds <= budget else "OVER"
        print(f"<{header}>: {seconds:.2f} s of CPU ({verdict} the budget of {budget} s), {memory:.0f} MB at most so far")
        failed |= seconds > 2 * budget or memory > MEMORY_MB
    for name, flags, budget in PRODUCTS:
        seconds = measure(compiler, EXPRESSION + PRODUCT, flags)[0] - measure(compiler, EXPRESSION, flags)[0]
        verdict = "within" if seconds <= budget else "OVER"
        print(f"first product of a file, {name}: {seconds:.2f} s of CPU ({verdict} the budget of {budget} s)")
        failed |= seconds > 2 * budget
    return 1 if failed else 0


sys.exit(main())
