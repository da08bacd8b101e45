"""Farthest points and nearest neighbours with PyTorch's own operations: the peer of bench_points.cpp, to be run with a Python that has it.

Distances of a batch of clouds by cdist, neighbours by topk; farthest points by one batched update per point. Prints JSON lines.
Usage: points_torch.py [threads]
"""
import json
import sys
import time

import torch

torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
torch.manual_seed(1)
clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
pos, features, many = torch.rand(8, 1024, 3) * 2 - 1, torch.randn(8, 1024, 64), torch.rand(1, 16384, 3) * 2 - 1


def report(name, f, enough=1.0):
    f()
    best, end, samples = 1e9, clock() + enough, 0
    while samples < 5 or clock() < end:
        start = clock()
        f()
        best = min(best, clock() - start)
        samples += 1
    print(json.dumps({"case": name, "unit": "us", "value": round(best * 1e6, 1), "lib": "torch", "threads": torch.get_num_threads(),
                      "isa": torch.backends.cpu.get_cpu_capability()}), flush=True)


def fps(x, count):
    batch = torch.arange(x.shape[0])
    chosen = torch.zeros(x.shape[0], count, dtype=torch.long)
    nearest = torch.full(x.shape[:2], float("inf"))
    at = chosen[:, 0]
    for step in range(count):
        chosen[:, step] = at
        nearest = torch.minimum(nearest, (x - x[batch, at].unsqueeze(1)).square().sum(-1))
        at = nearest.argmax(1)
    return chosen


def knn(x, k):
    distance = torch.cdist(x, x)
    distance.diagonal(dim1=1, dim2=2).fill_(float("inf"))
    return distance.topk(k, largest=False).indices


def radius(x, r):
    distance = torch.cdist(x, x)
    distance.diagonal(dim1=1, dim2=2).fill_(float("inf"))
    values, indices = distance.topk(32, largest=False)
    return indices[values < r]


with torch.no_grad():
    report("fps/8x1024/0.5", lambda: fps(pos, 512))
    report("fps/1x16384/4096", lambda: fps(many, 4096))
    report("knn_graph/8x1024x3/20", lambda: knn(pos, 20))
    report("knn_graph/8x1024x64/20", lambda: knn(features, 20))
    report("radius_graph/8x1024x3/0.2", lambda: radius(pos, 0.2))
