"""torch.optim's steps beside memory: the peer of bench_optim.cpp, to be run with a Python that has PyTorch.

Prints one JSON line per rule: bytes per second that a step must move (parameter and states read and written, the gradient read),
and the ratio to a copy in the same run. Usage: optim_torch.py [repeats] [threads]
"""
import json
import sys
import time

import torch
from torch import optim

repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 15
torch.set_num_threads(int(sys.argv[2]) if len(sys.argv) > 2 else 1)

# Name, class, options, states. The fused kernels where there are any, else the loops over lists.
rules = [
    ("sgd", optim.SGD, dict(lr=1e-4, fused=True), 0), ("sgd_momentum", optim.SGD, dict(lr=1e-4, momentum=0.9, fused=True), 1),
    ("sgd_nesterov", optim.SGD, dict(lr=1e-4, momentum=0.9, nesterov=True, fused=True), 1), ("asgd", optim.ASGD, dict(lr=1e-4), 1),
    ("adam", optim.Adam, dict(fused=True), 2), ("adamw", optim.AdamW, dict(fused=True), 2), ("amsgrad", optim.Adam, dict(amsgrad=True, fused=True), 3),
    ("rmsprop", optim.RMSprop, dict(lr=1e-4), 1), ("rmsprop_momentum", optim.RMSprop, dict(lr=1e-4, momentum=0.9), 2),
    ("rmsprop_centered", optim.RMSprop, dict(lr=1e-4, momentum=0.9, centered=True), 3), ("adagrad", optim.Adagrad, dict(lr=1e-4, fused=True), 1),
    ("adadelta", optim.Adadelta, dict(lr=1e-4), 2), ("nadam", optim.NAdam, {}, 2), ("radam", optim.RAdam, {}, 2), ("adamax", optim.Adamax, {}, 2),
    ("rprop", optim.Rprop, dict(lr=1e-4), 2),
]
for n in (1 << 20, 1 << 24):
    source, target = torch.ones(n), torch.full((n,), 2.0)
    for name, make, options, states in rules:
        p = torch.full((n,), 0.1, requires_grad=True)
        p.grad = torch.full((n,), 0.01)
        optimiser = make([p], **options)
        optimiser.step()
        best = copy = 1e9
        for _ in range(repeats):
            start = time.perf_counter()
            optimiser.step()
            best = min(best, time.perf_counter() - start)
            start = time.perf_counter()
            target.copy_(source)
            copy = min(copy, time.perf_counter() - start)
        rate, peer = (12 + 8 * states) * n / best * 1e-9, 8 * n / copy * 1e-9
        print(json.dumps({"case": f"{name}/{n}", "unit": "GB/s", "torch": round(rate, 2), "peer": "copy_", "peer_value": round(peer, 2), "ratio": round(rate / peer, 3),
                          "threads": torch.get_num_threads(), "isa": torch.backends.cpu.get_cpu_capability()}), flush=True)
