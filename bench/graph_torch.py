"""PyTorch's side of bench_graph.cpp: sums over neighbours by torch.sparse and by gather and scatter, and training steps of GCN and
GAT on a graph of Cora's size by PyTorch Geometric (dense features, as it has them). Run with a Python that has both.

Prints one JSON line per case, microseconds. Usage: graph_torch.py [threads]
"""
import json
import sys
import time

import torch
import torch.nn.functional as F

threads = int(sys.argv[1]) if len(sys.argv) > 1 else 1
torch.set_num_threads(threads)
torch.manual_seed(0)


def clock():
    return time.process_time() if threads == 1 else time.perf_counter()


def measure(name, f, seconds=1.0):
    f(), f()
    best, end, samples = 1e9, clock() + seconds, 0
    while samples < 5 or clock() < end:
        start = clock()
        f()
        best = min(best, clock() - start)
        samples += 1
    print(json.dumps({"case": f"graph/{name}", "unit": "us", "value": round(1e6 * best, 1), "lib": "torch", "threads": torch.get_num_threads(),
                      "isa": torch.backends.cpu.get_cpu_capability()}), flush=True)


def rmat(scale, count):
    u = torch.rand(scale, count)
    a, b = torch.zeros(count, dtype=torch.long), torch.zeros(count, dtype=torch.long)
    for bit in range(scale):
        a = 2 * a + (u[bit] >= 0.76).long()
        b = 2 * b + (((u[bit] >= 0.57) & (u[bit] < 0.76)) | (u[bit] >= 0.95)).long()
    return torch.stack([a, b])


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

    class Gcn(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = GCNConv(words, 16, cached=True), GCNConv(16, classes, cached=True)

        def forward(self, x):
            return self.conv2(F.dropout(F.relu(self.conv1(x, edges)), 0.5), edges)

    class Gat(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = GATConv(words, 8, heads=8, dropout=0.6), GATConv(64, classes, concat=False, dropout=0.6)

        def forward(self, x):
            return self.conv2(F.dropout(F.elu(self.conv1(F.dropout(x, 0.6), edges)), 0.6), edges)

    for name, net in (("gcn", Gcn()), ("gat", Gat())):
        optimiser = torch.optim.Adam(net.parameters(), lr=0.01, weight_decay=5e-4)

        def step():
            optimiser.zero_grad()
            F.cross_entropy(net(x)[:140], labels[:140]).backward()
            optimiser.step()

        measure(f"{name}_cora_step/dense_x", step)


steps()
edges = rmat(15, 1 << 19)
nodes, (source, target) = 1 << 15, edges
w = torch.rand(edges.shape[1])


def csr(rows, columns):
    """With every edge: coalesce() would make one of those between the same nodes, a tenth of this graph."""
    order = torch.argsort(rows * nodes + columns, stable=True)
    pointers = torch.cat([torch.zeros(1, dtype=torch.long), torch.bincount(rows, minlength=nodes).cumsum(0)])
    return torch.sparse_csr_tensor(pointers, columns[order], w[order], (nodes, nodes))


matrix, transposed = csr(target, source), csr(source, target)
for f in (16, 64, 128):
    x, dy = torch.randn(nodes, f), torch.randn(nodes, f)
    index = target[:, None].expand(-1, f)
    with torch.no_grad():
        measure(f"spmm/F{f}", lambda: matrix @ x)
        measure(f"spmm_max/F{f}", lambda: torch.sparse.mm(matrix, x, "amax"))
        measure(f"gather_scatter/F{f}", lambda: torch.zeros(nodes, f).scatter_add_(0, index, x[source] * w[:, None]))
        measure(f"spmm_forward_backward/F{f}", lambda: (matrix @ x, transposed @ dy))
        measure(f"message/F{f}", lambda: torch.zeros(nodes, f).scatter_add_(0, index, w[:, None] * torch.relu(x[source] - x[target])))
    leaf = x.clone().requires_grad_()

    def both():
        leaf.grad = None
        torch.zeros(nodes, f).scatter_add(0, index, leaf.index_select(0, source) * w[:, None]).backward(dy)

    measure(f"gather_scatter_forward_backward/F{f}", both)

    def messages():
        leaf.grad = None
        m = w[:, None] * torch.relu(leaf.index_select(0, source) - leaf.index_select(0, target))
        torch.zeros(nodes, f).scatter_add(0, index, m).backward(dy)

    measure(f"message_forward_backward/F{f}", messages)
