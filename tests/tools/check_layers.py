"""Checks the layering of the headers, from their #include lines alone.

A header may include headers of its own layer and of the layers below that its layer lists; layers also keep away from
standard headers that are expensive to include, and from other people's libraries. See CONTRIBUTING.md.
"""

import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Folder (or file) -> layer; the longest prefix counts.
LAYER_OF = {
    "base/": 0,
    "kernels/": 1,
    "fwd.hpp": 2,
    "core/": 2,
    "runtime/": 2,
    "runtime/cuda": 3,
    "expr/": 3,
    "autograd/": 4,
    "ops/": 5,
    "runtime/graph": 5,
    "nn/": 6,
    "optim/": 6,
    "data/": 6,
    "io/": 6,
    "testing/": 6,
    "graph/": 7,
    "vision/": 7,
    "gan/": 7,
    "active/": 7,
    "rl/": 7,
    "seq/": 7,
    "train/": 7,
    "runtime/distributed": 7,
    "tenon.hpp": 8,
}
# Core, runtime and the like know nothing of the kernels; everything above may use all that is below it.
MAY_INCLUDE = {0: {0}, 1: {0, 1}, 2: {0, 2}}

# Costly to include, or a second way to do what base/ does.
COSTLY = {"memory", "thread", "functional", "immintrin.h", "iostream", "string", "vector", "algorithm", "cmath", "regex", "map",
          "unordered_map", "sstream", "format", "future", "mutex", "condition_variable", "chrono", "random", "ranges"}
# Modules and optimisers hold lists of parameters.
ALLOWED = {("nn/", "vector"), ("optim/", "vector")}
LEAN = ("base/", "kernels/", "core/", "expr/", "autograd/", "ops/", "nn/", "optim/", "fwd.hpp")
CUDA = re.compile(r"^(cuda|cublas|cudnn|cub/|thrust/|nvtx|nccl)")
THIRD_PARTY = re.compile(r"^(zlib\.h|stb|nlohmann/|CLI/|dlpack/|mpi\.h|cblas|dnnl|torch/)")


def layer(path):
    """The layer of a header, named as it is included without the leading tenon/."""
    best = max((key for key in LAYER_OF if path.startswith(key)), key=len, default=None)
    return None if best is None else LAYER_OF[best]


def problems(headers):
    """headers: {path without tenon/: text}. Yields sentences."""
    graph = {}
    for path, text in sorted(headers.items()):
        own = layer(path)
        if own is None:
            yield f"{path}: in no known folder"
            continue
        text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
        graph[path] = []
        # What is there for CUDA's compiler alone does not count as reached.
        plain = re.sub(r"^#if TENON_CUDA$.*?^#(else|endif)$", "", text, flags=re.S | re.M)
        if "#pragma once" not in text:
            yield f"{path}: has no #pragma once"
        for kind, name in re.findall(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', text, flags=re.M):
            if kind == '"':
                yield f'{path}: includes "{name}" by a relative path; write <tenon/...>'
                continue
            if name.startswith("tenon/"):
                target = name[len("tenon/"):]
                if target not in headers:
                    yield f"{path}: includes <{name}>, which does not exist"
                    continue
                # A header and the explicit instances of its templates belong together.
                if target != path.replace(".hpp", "_instances.hpp") and f"<{name}>" in plain:
                    graph[path].append(target)
                other = layer(target)
                if other is not None and other not in MAY_INCLUDE.get(own, set(range(own + 1))):
                    yield f"{path} (layer {own}) includes <{name}> (layer {other})"
                continue
            allowed = (path[:path.find("/") + 1], name) in ALLOWED
            if name in COSTLY and path.startswith(LEAN) and not allowed:
                yield f"{path}: includes <{name}>, which costs too much there"
            if CUDA.match(name) and not path.startswith(("kernels/cuda/", "runtime/")):
                yield f"{path}: includes <{name}>; CUDA belongs to kernels/cuda and runtime"
            if THIRD_PARTY.match(name) and not path.startswith(("io/", "data/", "runtime/distributed")):
                yield f"{path}: includes <{name}>; other people's libraries belong to io and data"

    # tenon.hpp must not reach an outside library.
    seen, todo = set(), ["tenon.hpp"]
    while todo:
        path = todo.pop()
        if path in seen or path not in headers:
            continue
        seen.add(path)
        todo += graph.get(path, [])
        for name in re.findall(r"^[ \t]*#[ \t]*include[ \t]*<([^>]+)>", headers[path], flags=re.M):
            if THIRD_PARTY.match(name) or CUDA.match(name):
                yield f"tenon.hpp reaches <{name}> through {path}"

    # No cycles. 1: on the current path, 2: done.
    state = {}
    for start in graph:
        stack = [(start, iter(graph[start]))] if start not in state else []
        state.setdefault(start, 1)
        while stack:
            path, rest = stack[-1]
            follower = next(rest, None)
            if follower is None:
                state[path] = 2
                stack.pop()
            elif state.get(follower) == 1:
                yield f"{path}: <tenon/{follower}> includes it again, in a circle"
            elif follower not in state and follower in graph:
                state[follower] = 1
                stack.append((follower, iter(graph[follower])))


def read_headers():
    headers = {}
    for tree in ("include/tenon", "kernels/tenon"):
        for folder, _, files in os.walk(os.path.join(ROOT, tree)):
            for file in files:
                if file.endswith((".hpp", ".cuh")):
                    full = os.path.join(folder, file)
                    with open(full, encoding="utf-8") as stream:
                        headers[os.path.relpath(full, os.path.join(ROOT, tree))] = stream.read()
    return headers


def self_test():
    """The checker finds what it is for."""
    def once(text):
        return "#pragma once\n" + text

    cases = [
        ({"core/a.hpp": once("#include <tenon/kernels/cpu/k.hpp>"), "kernels/cpu/k.hpp": once("")}, "(layer 1)"),
        ({"base/a.hpp": once("#include <tenon/core/b.hpp>"), "core/b.hpp": once("")}, "(layer 2)"),
        ({"core/a.hpp": once("#include <memory>")}, "costs too much"),
        ({"core/a.hpp": once("#include <cuda_runtime.h>")}, "CUDA belongs"),
        ({"ops/a.hpp": once("#include <zlib.h>")}, "other people's"),
        ({"ops/a.hpp": once('#include "b.hpp"')}, "relative path"),
        ({"ops/a.hpp": ""}, "#pragma once"),
        ({"odd/a.hpp": once("")}, "no known folder"),
        ({"ops/a.hpp": once("#include <tenon/ops/b.hpp>"), "ops/b.hpp": once("#include <tenon/ops/a.hpp>")}, "circle"),
        ({"tenon.hpp": once("#include <tenon/io/a.hpp>"), "io/a.hpp": once("#include <zlib.h>")}, "reaches <zlib.h>"),
        ({"ops/a.hpp": once("#include <tenon/ops/missing.hpp>")}, "does not exist"),
    ]
    failures = 0
    for headers, expected in cases:
        found = list(problems(headers))
        if not any(expected in line for line in found):
            print(f"expected a problem with \"{expected}\" in {headers}, found {found}")
            failures += 1
    clean = {"ops/a.hpp": once("#include <tenon/kernels/cpu/k.hpp>\n#include <tenon/core/b.hpp>\n#include <cstdint>"),
             "kernels/cpu/k.hpp": once("#include <tenon/base/c.hpp>"), "core/b.hpp": once("#include <tenon/base/c.hpp>"),
             "base/c.hpp": once("")}
    for line in problems(clean):
        print(f"unexpected: {line}")
        failures += 1
    print(f"{len(cases) + 1} cases, {failures} failures")
    return failures


def main():
    if "--self-test" in sys.argv:
        return 1 if self_test() else 0
    headers = read_headers()
    found = list(problems(headers))
    for line in found:
        print(line)
    print(f"{len(headers)} headers, {len(found)} problems")
    return 1 if found else 0


sys.exit(main())
