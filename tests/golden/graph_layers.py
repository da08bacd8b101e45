"""PyTorch Geometric's own layers in double precision: inputs, parameters, results and gradients (graph_layers.safetensors).

Names of parameters are the library's; where ours differ they are renamed here. What PyTorch Geometric takes from packages that need not be
there is written out below, from the definitions: nearest neighbours and B-splines.
"""
import itertools

import torch
import torch_geometric.typing
from torch import nn
from torch_geometric import nn as gnn
from torch_geometric.nn.conv import spline_conv

from golden import Family, r

torch_geometric.typing.WITH_KNN = True
torch.library.define("pyg::knn", "(Tensor x, Tensor y, Tensor? ptr_x, Tensor? ptr_y, int k, bool cosine, int workers) -> Tensor")


@torch.library.impl("pyg::knn", "CompositeImplicitAutograd")
def knn(x, y, ptr_x, ptr_y, k, cosine, workers):
    """Rows of y and their k nearest rows of x, of the same cloud, nearest first."""
    with torch.no_grad():
        ptr_x = [0, len(x)] if ptr_x is None else ptr_x.tolist()
        ptr_y = [0, len(y)] if ptr_y is None else ptr_y.tolist()
        pairs = []
        for cloud, (begin, end) in enumerate(zip(ptr_x, ptr_x[1:])):
            for query in range(ptr_y[cloud], ptr_y[cloud + 1]):
                distance = (x[begin:end] - y[query]).square().sum(-1)
                pairs += [(query, begin + near) for near in torch.argsort(distance, stable=True)[:k].tolist()]
        return torch.tensor(pairs).T.contiguous()


def spline_basis(pseudo, kernel_size, is_open, degree):
    def pieces(f):
        if degree == 1:
            return [1 - f, f]
        if degree == 2:
            return [(1 - f) ** 2 / 2, 0.5 + f - f ** 2, f ** 2 / 2]
        return [(1 - f) ** 3 / 6, (3 * f ** 3 - 6 * f ** 2 + 4) / 6, (-3 * f ** 3 + 3 * f ** 2 + 3 * f + 1) / 6, f ** 3 / 6]

    axes = []
    for d, (size, opened) in enumerate(zip(kernel_size.tolist(), is_open.tolist())):
        v = pseudo[:, d] * (size - degree * opened)
        low = v.detach().floor()
        axes.append([((low.long() + s) % size, w) for s, w in enumerate(pieces(v - low))])
    weights, indices = [], []
    for choice in itertools.product(*axes):
        index, weight, step = 0, 1.0, 1
        for (at, w), size in zip(choice, kernel_size.tolist()):
            index, weight, step = index + at * step, weight * w, step * size
        weights.append(weight)
        indices.append(index)
    return torch.stack(weights, 1), torch.stack(indices, 1)


def spline_weighting(x, weight, basis, index):
    return torch.einsum("es,ei,esio->eo", basis, x, weight[index])


spline_conv.spline_basis, spline_conv.spline_weighting = spline_basis, spline_weighting

# A self-loop (2), a duplicate edge (0 -> 1), an isolated node (6), nodes that only send (5) or only receive (4).
EDGES = torch.tensor([[0, 1, 1, 2, 3, 2, 0, 3, 5, 5, 1, 2], [1, 0, 2, 1, 2, 2, 1, 4, 4, 0, 3, 3]])
TYPES = torch.tensor([0, 2, 1, 0, 1, 2, 0, 3, 0, 1, 1, 2])
NODES, COUNT = 7, 12
BATCH = torch.tensor([0] * 6 + [1] * 7)


def put(family, case, module, call, rename=None, spread=0.7, **leaves):
    """Parameters (uniform, biases too), inputs, result and the gradients of its sum weighted by cosines."""
    def name_of(name):
        for old, new in (rename or {}).items():
            if name.startswith(old):
                return new + name[len(old):]
        return name

    leaves = {name: value.clone().requires_grad_() for name, value in leaves.items()}
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(-spread, spread)
    for name, value in list(module.named_parameters()) + list(module.named_buffers()):
        family.put(f"{case}/{name_of(name)}", value.clone())
    y = call(module, **leaves)
    (y * torch.cos(torch.arange(y.numel()).reshape(y.shape))).sum().backward()
    for name, value in leaves.items():
        family.put(f"{case}/in_{name}", value)
        family.put(f"{case}/d_{name}", value.grad)
    family.put(f"{case}/y", y)
    for name, parameter in module.named_parameters():
        family.put(f"{case}/d_{name_of(name)}", parameter.grad if parameter.grad is not None else torch.zeros_like(parameter))
    for name, value in module.named_buffers():
        family.put(f"{case}/after_{name_of(name)}", value)


def positive(*shape):
    return 0.3 + torch.rand(*shape)


with Family("graph_layers") as family:
    family.put("edges", EDGES)
    family.put("types", TYPES)
    family.put("batch", BATCH)

    def plain(m, x):
        return m(x, EDGES)

    def weighted(m, x, w):
        return m(x, EDGES, w)

    def attributed(m, x, e):
        return m(x, EDGES, e)

    def typed(m, x):
        return m(x, EDGES, TYPES)

    def layer(case, module, call, *extra, **options):
        leaves = {"x": r(NODES, 3)}
        for name in extra:
            leaves[name] = positive(COUNT) if name == "w" else r(COUNT, 2)
        put(family, case, module, call, **leaves, **options)

    layer("gcn", gnn.GCNConv(3, 4), weighted, "w")
    layer("gcn_improved", gnn.GCNConv(3, 2, improved=True), weighted, "w")
    layer("gcn_no_loops", gnn.GCNConv(3, 2, add_self_loops=False), plain)
    layer("sg", gnn.SGConv(3, 2, K=3), weighted, "w")
    layer("appnp", gnn.APPNP(4, 0.2), weighted, "w")
    layer("cheb", gnn.ChebConv(3, 2, K=4), weighted, "w")
    layer("tag", gnn.TAGConv(3, 2, K=3), weighted, "w")
    layer("arma", gnn.ARMAConv(3, 2, num_stacks=2, num_layers=3), weighted, "w")
    layer("arma_shared", gnn.ARMAConv(3, 2, num_stacks=2, num_layers=3, shared_weights=True, act=None), plain)
    layer("gat", gnn.GATConv(3, 4, heads=2), plain)
    layer("gat_edges", gnn.GATConv(3, 4, heads=3, concat=False, edge_dim=2), attributed, "e")
    layer("gatv2", gnn.GATv2Conv(3, 4, heads=2), plain)
    layer("gatv2_edges", gnn.GATv2Conv(3, 4, heads=3, concat=False, edge_dim=2), attributed, "e")
    layer("transformer", gnn.TransformerConv(3, 4, heads=2), plain)
    layer("transformer_edges", gnn.TransformerConv(3, 4, heads=3, concat=False, edge_dim=2), attributed, "e")
    layer("agnn", gnn.AGNNConv(), plain)
    layer("sage", gnn.SAGEConv(3, 4), plain)
    layer("sage_max", gnn.SAGEConv(3, 4, aggr="max", project=True, normalize=True), plain)
    layer("graph_conv", gnn.GraphConv(3, 4), weighted, "w")
    layer("graph_conv_mean", gnn.GraphConv(3, 4, aggr="mean"), weighted, "w")
    layer("gin", gnn.GINConv(nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)), eps=0.3, train_eps=True), plain)
    layer("gine", gnn.GINEConv(nn.Linear(3, 2), train_eps=True, edge_dim=2), attributed, "e")
    put(family, "gine_plain", gnn.GINEConv(nn.Linear(3, 2), eps=0.2), attributed, x=r(NODES, 3), e=r(COUNT, 3))
    layer("gated_graph", gnn.GatedGraphConv(4, 3), weighted, "w")
    layer("nn_conv", gnn.NNConv(3, 2, nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 6)), aggr="mean"), attributed, "e", rename={"nn.2": "lin_nn"})
    layer("gmm", gnn.GMMConv(3, 2, dim=2, kernel_size=3), attributed, "e")
    layer("edge", gnn.EdgeConv(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))), plain)
    put(family, "point", gnn.PointNetConv(nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4)), nn.Linear(4, 2)),
        lambda m, x, pos: m(x, pos, EDGES), x=r(NODES, 3), pos=r(NODES, 2))
    put(family, "point_positions", gnn.PointNetConv(nn.Linear(2, 4), add_self_loops=False), lambda m, pos: m(None, pos, EDGES), pos=r(NODES, 2))

    layer("rgcn", gnn.RGCNConv(3, 2, 4), typed)
    layer("rgcn_sum", gnn.RGCNConv(3, 2, 4, aggr="sum", root_weight=False), typed)
    layer("rgcn_max", gnn.RGCNConv(3, 2, 4, num_bases=2, aggr="max"), typed)
    layer("rgcn_bases", gnn.RGCNConv(3, 2, 4, num_bases=2), typed)
    put(family, "rgcn_blocks", gnn.RGCNConv(6, 4, 4, num_blocks=2), typed, x=r(NODES, 6))
    put(family, "rgcn_bare", gnn.RGCNConv(NODES, 3, 4), lambda m: m(None, EDGES, TYPES))
    put(family, "rgcn_bare_bases", gnn.RGCNConv(NODES, 3, 4, num_bases=2), lambda m: m(None, EDGES, TYPES))

    for name, sizes, options in (("spline", [4], {}), ("spline_2d", [3, 4], {}), ("spline_closed", [3, 2], dict(is_open_spline=False)),
                                 ("spline_mixed", [4, 3, 3], dict(is_open_spline=[True, False, True], degree=2, aggr="sum")),
                                 ("spline_cubic", [5, 4], dict(degree=3, root_weight=False))):
        put(family, name, gnn.SplineConv(3, 2, len(sizes), sizes, **options), attributed, x=r(NODES, 3), e=torch.rand(COUNT, len(sizes)))

    put(family, "dynamic_edge", gnn.DynamicEdgeConv(nn.Linear(6, 4), 3), lambda m, x: m(x, BATCH), x=r(13, 3))
    put(family, "dynamic_edge_mean", gnn.DynamicEdgeConv(nn.Sequential(nn.Linear(6, 4), nn.Tanh()), 4, aggr="mean"), lambda m, x: m(x), x=r(9, 3))
    put(family, "x_conv_training", gnn.XConv(3, 5, 2, 3, hidden_channels=4), lambda m, x, pos: m(x, pos, BATCH), x=r(13, 3), pos=r(13, 2))
    module = gnn.XConv(4, 12, 3, 2, dilation=3).eval()
    for name, buffer in module.named_buffers():
        if buffer.is_floating_point():
            buffer.copy_(torch.rand(buffer.shape) + (0.5 if name.endswith("var") else -0.5))
    put(family, "x_conv", module, lambda m, x, pos: m(x, pos, BATCH), x=r(13, 4), pos=r(13, 3))
    put(family, "x_conv_positions", gnn.XConv(0, 4, 2, 3, hidden_channels=5), lambda m, pos: m(None, pos), pos=r(8, 2))

    # Pooling by scores of a layer that sees the graph.
    put(family, "sag", gnn.SAGPooling(3, ratio=0.6), lambda m, x: m(x, EDGES)[0], x=r(NODES, 3))
    put(family, "sag_gat", gnn.SAGPooling(3, ratio=0.6, GNN=gnn.GATConv), lambda m, x: m(x, EDGES)[0], x=r(NODES, 3))
