"""PyTorch Geometric's numbers for pooling layers, norms and jumping knowledge: results and gradients (graph_pool.safetensors)."""
import torch
from torch import nn
from torch_geometric import nn as gnn
from torch_geometric.nn import aggr
from torch_geometric.utils import to_dense_adj, to_dense_batch

from golden import Family

torch.set_default_dtype(torch.float64)
torch.manual_seed(5)
X = torch.randn(9, 4)
EDGES = torch.tensor([[0, 1, 1, 2, 3, 2, 4, 5, 5, 6, 7, 7, 4, 8, 3], [1, 0, 2, 1, 2, 2, 5, 4, 6, 5, 6, 8, 7, 7, 0]])
BATCH = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 1])


def put(family, case, module, outputs, x):
    """Outputs, and the gradients of their sum weighted by fixed numbers."""
    loss = 0
    for name, value in outputs.items():
        family.put(f"{case}/{name}", value)
        if value.is_floating_point() and value.requires_grad:
            loss = loss + (value * torch.cos(torch.arange(value.numel()).reshape(value.shape))).sum()
    loss.backward()
    family.put(f"{case}/d_x", x.grad)
    if module is not None:
        for name, parameter in module.named_parameters():
            family.put(f"{case}/{name}", parameter)
            family.put(f"{case}/d_{name}", parameter.grad if parameter.grad is not None else torch.zeros_like(parameter))


def leaf():
    return X.clone().requires_grad_()


with Family("graph_pool") as family:
    family.put("x", X)
    family.put("edges", EDGES)

    x, module = leaf(), aggr.AttentionalAggregation(nn.Linear(4, 1), nn.Linear(4, 3))
    put(family, "attention", module, {"y": module(x, BATCH)}, x)
    x, module = leaf(), aggr.Set2Set(4, 3)
    put(family, "set2set", module, {"y": module(x, BATCH)}, x)
    x, module = leaf(), aggr.SortAggregation(k=5)
    put(family, "sort", None, {"y": module(x, BATCH)}, x)

    for name, options in (("top_k", dict(ratio=0.5, multiplier=2.0)), ("top_k_count", dict(ratio=3)), ("top_k_min", dict(min_score=0.2)),
                          ("top_k_sigmoid", dict(ratio=0.7, nonlinearity=torch.sigmoid))):
        x, module = leaf(), gnn.TopKPooling(4, **options)
        y, edges, attr, batch, perm, score = module(x, EDGES, torch.arange(15), BATCH)
        put(family, name, module, {"y": y, "edges": edges, "taken": attr, "batch": batch, "perm": perm, "score": score}, x)
    x, module = leaf(), gnn.SAGPooling(4, ratio=0.5)
    y, edges, attr, batch, perm, score = module(x, EDGES, torch.arange(15), BATCH)
    put(family, "sag", module, {"y": y, "edges": edges, "taken": attr, "batch": batch, "perm": perm, "score": score}, x)

    x, s = leaf(), torch.randn(2, 5, 3).requires_grad_()
    dense, mask = to_dense_batch(x, BATCH)
    adjacency = to_dense_adj(EDGES, BATCH)
    y, a, link, entropy = gnn.dense_diff_pool(dense, adjacency, s, mask)
    family.put("diff/s", s)
    put(family, "diff", None, {"dense": dense.detach(), "mask": mask.long(), "adjacency": adjacency, "y": y, "pooled": a, "link": link, "entropy": entropy}, x)
    family.put("diff/d_s", s.grad)

    x, module = leaf(), gnn.EdgePooling(4)
    y, edges, batch, info = module(x, EDGES, BATCH)
    back, _, _ = module.unpool(y, info)
    put(family, "edge", module, {"y": y, "edges": edges, "batch": batch, "cluster": info.cluster, "back": back}, x)

    x, module = leaf(), gnn.GraphNorm(4)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(4))
    put(family, "graph_norm", module, {"y": module(x, BATCH)}, x)
    for name, individually in (("pair_norm", False), ("pair_norm_own", True)):
        x = leaf()
        put(family, name, None, {"y": gnn.PairNorm(1.5, individually)(x, BATCH)}, x)
    for mode in ("cat", "max", "lstm"):
        x = leaf()
        module = gnn.JumpingKnowledge(mode, 4, 3)
        put(family, f"jump_{mode}", module, {"y": module([x, x * x, 0.1 - x])}, x)
