"""PyTorch's side of bench_graph.cpp: sums over neighbours by torch.sparse and by gather, index_add and scatter_add, attention and
training steps of GCN and GAT by PyTorch Geometric (dense features, as its examples have them, and sparse ones), on the same R-MAT graph. Run with a Python that
has both.

Prints one JSON line per case, microseconds. Usage: graph_torch.py [threads] [filter] [scale]
"""
import json
import os
import subprocess
import sys
import time

import torch
import torch.nn.functional as F

import rmat

threads = int(sys.argv[1]) if len(sys.argv) > 1 else 1
wanted = sys.argv[2] if len(sys.argv) > 2 else os.environ.get("TENON_BENCH_FILTER", "")
scale = int(sys.argv[3]) if len(sys.argv) > 3 else 18
torch.set_num_threads(threads)
torch.manual_seed(0)
clock = time.process_time if threads == 1 else time.perf_counter


def report(names, lib, unit, value):
    for name in names:
        print(json.dumps({"case": name, "unit": unit, "value": round(value, 1), "lib": lib, "threads": torch.get_num_threads(),
                          "isa": torch.backends.cpu.get_cpu_capability()}), flush=True)


def measure(names, f, lib="torch", seconds=0.7):
    """Best of the calls; of those that take longer than `seconds`, three."""
    names = [name for name in ([names] if isinstance(names, str) else names) if wanted in name]
    if not names:
        return
    best, end, samples = 1e9, clock() + seconds, 0
    while samples < 3 or (samples < 6 and best < seconds) or clock() < end:
        start = clock()
        f()
        best = min(best, clock() - start)
        samples += 1
    report(names, lib, "us", 1e6 * best)


def steps():
    from torch_geometric.nn import GATConv, GCNConv

    nodes, words, classes = 2708, 1433, 7
    half = torch.randint(nodes, (2, 5278))
    edges = torch.cat([half, half.flip(0)], 1)
    x = torch.zeros(nodes, words)
    for i in range(nodes):
        chosen = torch.randint(words, (18,))
        x[i, chosen] = 1 / 18
    labels = torch.randint(classes, (nodes,))
    sparse = x.to_sparse_csr()

    def drop(x, p):
        if not x.is_sparse_csr:
            return F.dropout(x, p)
        return torch.sparse_csr_tensor(x.crow_indices(), x.col_indices(), F.dropout(x.values(), p), x.shape)

    class Gcn(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = GCNConv(words, 16, cached=True), GCNConv(16, classes, cached=True)

        def forward(self, x, dropped):
            return self.conv2(F.dropout(F.relu(self.conv1(drop(x, 0.5) if dropped else x, edges)), 0.5), edges)

    class Gat(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = GATConv(words, 8, heads=8, dropout=0.6), GATConv(64, classes, concat=False, dropout=0.6)

        def forward(self, x, dropped):
            return self.conv2(F.dropout(F.elu(self.conv1(drop(x, 0.6) if dropped else x, edges)), 0.6), edges)

    for name, net in (("gcn", Gcn()), ("gat", Gat())):
        optimiser = torch.optim.Adam(net.parameters(), lr=0.01, weight_decay=5e-4)

        def step(x, dropped):
            optimiser.zero_grad()
            F.cross_entropy(net(x, dropped)[:140], labels[:140]).backward()
            optimiser.step()

        # Its own examples' X is dense; it takes a sparse one too, whose values are dropped here as ours are.
        for dropped in (False, True):
            end = "/dropout" if dropped else ""
            measure([f"graph/{name}_cora_step/{kind}_x{end}" for kind in ("sparse", "dense")], lambda: step(x, dropped), "PyG")
            measure(f"graph/{name}_cora_step/sparse_x{end}", lambda: step(sparse, dropped), "PyG, sparse X")


def attention(edges, f):
    """Forward and backward of a layer with eight heads of f / 8 channels."""
    from torch_geometric.nn import GATConv

    layer = GATConv(f, f // 8, heads=8, add_self_loops=False)
    x, dy = torch.randn(1 << scale, f, requires_grad=True), torch.randn(1 << scale, f)

    def both():
        x.grad = None
        layer(x, edges).backward(dy)

    return both


def resident(field):
    with open("/proc/self/status", encoding="utf-8") as stream:
        return next(int(line.split()[1]) for line in stream if line.startswith(field)) / 1000


def peak(f):
    edges = torch.from_numpy(rmat.edges(scale))
    attention(edges[:, :100], f)()  # libraries are loaded
    with open("/proc/self/clear_refs", "w", encoding="utf-8") as stream:
        stream.write("5")  # forgets the peak so far
    before = resident("VmRSS:")
    attention(edges, f)()
    print(resident("VmHWM:") - before)


def sums(edges, on):
    nodes, (source, target) = 1 << scale, edges
    w = torch.rand(edges.shape[1])

    def csr(rows, columns):
        """With every edge: coalesce() would make one of those between the same nodes."""
        order = torch.argsort(rows * nodes + columns, stable=True)
        pointers = torch.cat([torch.zeros(1, dtype=torch.long), torch.bincount(rows, minlength=nodes).cumsum(0)])
        return torch.sparse_csr_tensor(pointers, columns[order], w[order], (nodes, nodes))

    matrix, transposed = csr(target, source), csr(source, target)
    for f in (16, 64, 128):
        x, dy = torch.randn(nodes, f), torch.randn(nodes, f)
        index = target[:, None].expand(-1, f)
        with torch.no_grad():
            measure(f"{on}spmm/F{f}", lambda: matrix @ x, "torch.sparse")
            measure(f"{on}spmm_max/F{f}", lambda: torch.sparse.mm(matrix, x, "amax"), "torch.sparse")
            measure(f"{on}gather_scatter/F{f}", lambda: torch.zeros(nodes, f).index_add_(0, target, x[source] * w[:, None]), "index_add")
            measure(f"{on}gather_scatter/F{f}", lambda: torch.zeros(nodes, f).scatter_add_(0, index, x[source] * w[:, None]), "scatter_add")
            if f <= 64:
                names = [f"{on}message/F{f}", f"{on}message_parts/F{f}"]
                measure(names, lambda: torch.zeros(nodes, f).scatter_add_(0, index, w[:, None] * torch.relu(x[source] - x[target])), "scatter_add")
        measure(f"{on}spmm_forward_backward/F{f}", lambda: (matrix @ x, transposed @ dy), "torch.sparse")
        leaf = x.clone().requires_grad_()

        def gathered(scatter):
            leaf.grad = None
            m = leaf.index_select(0, source) * w[:, None]
            (torch.zeros(nodes, f).index_add(0, target, m) if scatter == "index_add" else torch.zeros(nodes, f).scatter_add(0, index, m)).backward(dy)

        # The same derivatives as the sparse product's: one operation here, three there.
        names = [f"{on}spmm_forward_backward/F{f}", f"{on}gather_scatter_forward_backward/F{f}"]
        for scatter in ("index_add", "scatter_add"):
            measure(names, lambda: gathered(scatter), scatter)

        def messages():
            leaf.grad = None
            m = w[:, None] * torch.relu(leaf.index_select(0, source) - leaf.index_select(0, target))
            torch.zeros(nodes, f).scatter_add(0, index, m).backward(dy)

        if f <= 64:
            measure([f"{on}message_forward_backward/F{f}", f"{on}message_parts_forward_backward/F{f}"], messages, "scatter_add")


if wanted.startswith("--peak"):
    peak(int(wanted[len("--peak"):]))
    sys.exit()
rmat_cases = f"graph/rmat{scale}/"
for width in (16, 64):
    case = f"{rmat_cases}gat_peak/F{width}"
    if wanted in case:
        told = subprocess.run([sys.executable, __file__, "1", f"--peak{width}", str(scale)], stdout=subprocess.PIPE, text=True, check=True)
        report([case], "PyG", "MB", float(told.stdout))
if "rmat" not in wanted:
    steps()
if "cora" in wanted:
    sys.exit()
drawn = torch.from_numpy(rmat.edges(scale))
for width in (16, 64):
    measure(f"{rmat_cases}gat_forward_backward/F{width}", attention(drawn, width), "PyG")
sums(drawn, rmat_cases)
