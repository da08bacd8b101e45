"""PyTorch Geometric's side of the example pyg's table of times (examples/pyg, --task times): seconds of 200 epochs of training steps alone,
behind a training that does not count. The networks, their rate, their dropout and their sets are the example's; Â is kept. A set whose files are not below --data is made up, of the same size and by the same rule as the
example's, with draws of its own. Run with a Python that has torch, torch_geometric and scipy.

Several forms of each network, of which the fastest one counts: features dense, as its data sets have them, or sparse (COO or CSR, with dropout
of what is stored, as the example has it); GCN over a list of edges or a CSR matrix; R-GCN relation by relation (RGCNConv) or with a matrix for
every edge (FastRGCNConv).

Prints one JSON line per form: seconds of the wall clock, and of the processor (all threads together). Usage:
graph_times_torch.py [--data folder of ind.* files] [--threads 1] [--epochs 200] [--warm-up 200] [--only text]
"""
import argparse
import json
import os
import time
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from torch_geometric.io import read_planetoid_data
from torch_geometric.nn import FastRGCNConv, GATConv, GCNConv, RGCNConv

arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
arguments.add_argument("--data", default="")
arguments.add_argument("--threads", type=int, default=1)
arguments.add_argument("--epochs", type=int, default=200)
arguments.add_argument("--warm-up", type=int, default=0, help="epochs that do not count; 0: as many as those that do")
arguments.add_argument("--only", default="", help="cases whose name and form contain this text, such as gcn, PubMed or FastRGCN")
warnings.filterwarnings("ignore", message="Sparse ")
options = arguments.parse_args()
torch.set_num_threads(options.threads)
torch.manual_seed(0)
draw = np.random.default_rng(0)


def synthetic_edges(nodes, count):
    """Undirected, without loops or duplicates; one end is drawn evenly, the other one prefers some nodes."""
    keys = np.empty(0, np.int64)
    while len(keys) < count // 2:
        missing = count // 2 - len(keys)
        a, b = (nodes * draw.random(missing)).astype(np.int64), (nodes * draw.random(missing) ** 2).astype(np.int64)
        drawn = (np.minimum(a, b) * nodes + np.maximum(a, b))[a != b]
        keys = np.unique(np.concatenate([keys, drawn]))
    low, high = torch.from_numpy(keys // nodes), torch.from_numpy(keys % nodes)
    return torch.stack([torch.cat([low, high]), torch.cat([high, low])])


def synthetic_words(nodes, features, words):
    x = np.zeros((nodes, features), np.float32)
    for i in range(nodes):
        x[i, draw.choice(features, words * (i + 1) // nodes - words * i // nodes, replace=False)] = 1
    return torch.from_numpy(x)


def read(name, nodes, edges, features, words, classes):
    """(features whose rows sum to 1, edges, labels, number of training nodes, whether the set is real)."""
    key = name.lower()
    if os.path.exists(os.path.join(options.data, f"ind.{key}.allx")):
        d = read_planetoid_data(options.data, key)
        x, edge_index, y, real = d.x, d.edge_index, d.y, True
        assert (x.shape[0], edge_index.shape[1], x.shape[1], int((x != 0).sum())) == (nodes, edges, features, words), name
    else:
        x, edge_index, real = synthetic_words(nodes, features, words), synthetic_edges(nodes, edges), False
        y = torch.from_numpy(draw.integers(classes, size=nodes))
    return x / x.sum(1, keepdim=True).clamp(min=1e-12), edge_index, y, 20 * classes, real


def dropped(x, p):
    if x.layout == torch.strided:
        return F.dropout(x, p)
    if x.layout == torch.sparse_csr:
        return torch.sparse_csr_tensor(x.crow_indices(), x.col_indices(), F.dropout(x.values(), p), x.shape, check_invariants=False)
    return torch.sparse_coo_tensor(x.indices(), F.dropout(x.values(), p), x.shape, is_coalesced=True, check_invariants=False)


class Gcn(torch.nn.Module):
    def __init__(self, features, classes):
        super().__init__()
        self.conv1, self.conv2 = GCNConv(features, 16, cached=True), GCNConv(16, classes, cached=True)

    def forward(self, x, edges):
        return self.conv2(F.dropout(F.relu(self.conv1(x, edges)), 0.5), edges)


class Gat(torch.nn.Module):
    def __init__(self, features, classes):
        super().__init__()
        self.conv1 = GATConv(features, 8, heads=8, dropout=0.6)
        self.conv2 = GATConv(64, classes, heads=1, concat=False, dropout=0.6)

    def forward(self, x, edges):
        return self.conv2(F.dropout(F.elu(self.conv1(dropped(x, 0.6), edges)), 0.6), edges)


class Rgcn(torch.nn.Module):
    def __init__(self, layer, nodes, relations, classes):
        super().__init__()
        self.conv1 = layer(nodes, 16, relations, num_bases=30)
        self.conv2 = layer(16, classes, relations, num_bases=30)

    def forward(self, edges, kinds):
        return self.conv2(F.relu(self.conv1(None, edges, kinds)), edges, kinds)


def measure(case, form, real, make, training, labels):
    """make() gives a network and what it is called with; the first `training` nodes have `labels`."""
    if options.only not in f"{case} {form}":
        return

    def train(epochs):
        net, given = make()
        optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
        fastest, begun, cpu = float("inf"), time.perf_counter(), time.process_time()
        before = begun
        for _ in range(epochs):
            optimiser.zero_grad()
            loss = F.cross_entropy(net(*given)[:training], labels)
            loss.backward()
            optimiser.step()
            now = time.perf_counter()
            fastest, before = min(fastest, now - before), now
        assert torch.isfinite(loss), case
        return time.perf_counter() - begun, time.process_time() - cpu, fastest

    train(options.warm_up or options.epochs)
    seconds, cpu, fastest = train(options.epochs)
    print(json.dumps({"case": f"times/{case}", "form": form, "graph": "real" if real else "synthetic", "epochs": options.epochs,
                      "seconds": round(seconds, 3), "cpu_seconds": round(cpu, 3), "fastest_epoch_ms": round(1e3 * fastest, 3), "lib": "PyG",
                      "threads": torch.get_num_threads(), "isa": torch.backends.cpu.get_cpu_capability()}), flush=True)


def measure_nodes(name, sizes):
    kinds = [("dense X", lambda x: x), ("COO X", lambda x: x.to_sparse().coalesce()), ("CSR X", lambda x: x.to_sparse_csr())]
    models = ("gcn", "gcn", "gat"), ("edge list", "CSR", "edge list")
    if not any(options.only in f"{name} {model} {form}, {kind}" for model, form in zip(*models) for kind, _ in kinds):
        return
    x, edges, y, training, real = read(name, *sizes)
    classes = sizes[-1]
    csr = torch.sparse_coo_tensor(edges.flip(0), torch.ones(edges.shape[1]), (len(x), len(x))).coalesce().to_sparse_csr()
    for kind, made in kinds:
        given = made(x)
        for form, g in (("edge list", edges), ("CSR", csr)):
            measure(f"{name} gcn", f"{form}, {kind}", real, lambda: (Gcn(x.shape[1], classes), (given, g)), training, y[:training])
        measure(f"{name} gat", f"edge list, {kind}", real, lambda: (Gat(x.shape[1], classes), (given, edges)), training, y[:training])


def measure_relations():
    nodes, count, relations, classes, training = 23644, 148454, 46, 2, 272
    edges, y = synthetic_edges(nodes, count), torch.from_numpy(draw.integers(classes, size=training))
    kinds = torch.from_numpy(draw.integers(relations, size=count))
    for layer in (RGCNConv, FastRGCNConv):
        measure("MUTAG-RDF r-gcn", layer.__name__, False, lambda: (Rgcn(layer, nodes, relations, classes), (edges, kinds)), training, y)


measure_nodes("Cora", (2708, 10556, 1433, 49216, 7))
measure_nodes("CiteSeer", (3327, 9104, 3703, 105165, 6))
measure_nodes("PubMed", (19717, 88648, 500, 988031, 3))
measure_relations()
