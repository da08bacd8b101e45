"""Golden values of operations over graphs: messages written out with index_select and scatter."""
import torch

from golden import Family, integers, r

inf, nan = float("inf"), float("nan")


def t(*values):
    return torch.tensor(values)


def column(index, x):
    return index.reshape(-1, *[1] * (x.dim() - 1)).expand(x.shape)


def reduce(messages, target, nodes, how):
    return torch.zeros(nodes, *messages.shape[1:]).scatter_reduce(0, column(target, messages), messages, how, include_self=False)


def weighted(x, edges, w):
    messages = x[edges[0]]
    return messages if w is None else messages * w.reshape(*w.shape, *[1] * (x.dim() - w.dim()))


def aggregate(x, edges, w=None, how="sum"):
    return reduce(weighted(x, edges, w), edges[1], x.shape[0], how)


def softmax(x, target, nodes):
    y = torch.zeros_like(x)
    for i in range(nodes):
        at = (target == i).nonzero()[:, 0]
        y = y.index_copy(0, at, torch.softmax(x[at], 0))
    return y


def attention(h, s, d, edges, e=None):
    raw = s[edges[0]] + d[edges[1]]
    if e is not None:
        raw = raw + e
    alpha = softmax(torch.nn.functional.leaky_relu(raw, 0.2), edges[1], d.shape[0])
    return reduce(h[edges[0]] * alpha[:, :, None], edges[1], d.shape[0], "sum")


def matrix(pointers, columns, values, width):
    dense = torch.zeros(len(pointers) - 1, width)
    for row in range(len(pointers) - 1):
        for k in range(pointers[row], pointers[row + 1]):
            dense = dense.index_put((torch.tensor(row), columns[k]), values[k], accumulate=True)
    return dense


def b_spline(t, degree):
    """The basis function with the knots 0, 1, .. degree + 1, by the recursion of Cox and de Boor."""
    if degree == 0:
        return ((t >= 0) & (t < 1)).to(t.dtype)
    return (t * b_spline(t, degree - 1) + (degree + 1 - t) * b_spline(t - 1, degree - 1)) / degree


def spline_basis(pseudo, sizes, opened, degree):
    """Products over the axes, of which the first is the fastest."""
    weight = torch.ones(len(pseudo), 1)
    for d, (size, is_open) in enumerate(zip(sizes, opened)):
        v = pseudo[:, d] * (size - degree * is_open)
        f = v - v.detach().floor()
        own = torch.stack([b_spline(f + degree - s, degree) for s in range(degree + 1)], 1)
        weight = (own[:, :, None] * weight[:, None, :]).flatten(1)
    return weight


with Family("graph") as f:
    # An isolated node (4), a self-loop (2), a duplicate edge (0 -> 1), a node that only sends (3).
    edges = t([0, 1, 1, 2, 3, 2, 0], [1, 0, 2, 1, 2, 2, 1])
    none = integers(0, 5, (2, 0))
    one = t([0], [0])
    for name, how in (("sum", "sum"), ("mean", "mean"), ("max", "amax"), ("min", "amin")):
        f.case(f"aggregate/{name}", {"x": r(5, 11), "edges": edges}, lambda x, edges: aggregate(x, edges, None, how))
        f.case(f"aggregate/{name}/none", {"x": r(5, 3), "edges": none}, lambda x, edges: aggregate(x, edges, None, how))
        f.case(f"aggregate/{name}/one", {"x": r(1, 1), "edges": one}, lambda x, edges: aggregate(x, edges, None, how))
        f.case(f"aggregate_weighted/{name}", {"x": r(5, 11), "edges": edges, "w": r(7)}, lambda x, edges, w: aggregate(x, edges, w, how))
        f.case(f"aggregate_weighted/{name}/wide", {"x": r(5, 40), "edges": edges, "w": r(7)}, lambda x, edges, w: aggregate(x, edges, w, how))
        f.case(f"aggregate_heads/{name}", {"x": r(5, 3, 4), "edges": edges, "w": r(7, 3)}, lambda x, edges, w: aggregate(x, edges, w, how))
        f.case(f"aggregate_heads/{name}/vectors", {"x": r(5, 2, 16), "edges": edges, "w": r(7, 2)}, lambda x, edges, w: aggregate(x, edges, w, how))
        f.case(f"aggregate_edges/{name}", {"m": r(7, 3), "edges": edges}, lambda m, edges: reduce(m, edges[1], 5, how))
    f.case("gather_sources", {"x": r(5, 3), "edges": edges}, lambda x, edges: x[edges[0]])
    f.case("gather_targets", {"x": r(5, 3), "edges": edges}, lambda x, edges: x[edges[1]])
    f.case("edge_softmax", {"x": 3 * r(7, 2), "edges": edges}, lambda x, edges: softmax(x, edges[1], 5))
    f.case("sddmm", {"u": r(5, 11), "v": r(5, 11), "edges": edges}, lambda u, v, edges: (u[edges[1]] * v[edges[0]]).sum(-1))
    f.case("sddmm_heads", {"u": r(5, 3, 4), "v": r(5, 3, 4), "edges": edges}, lambda u, v, edges: (u[edges[1]] * v[edges[0]]).sum(-1))
    f.case("sddmm_heads/none", {"u": r(5, 2, 1), "v": r(5, 2, 1), "edges": none}, lambda u, v, edges: (u[edges[1]] * v[edges[0]]).sum(-1))
    for heads, width in ((1, 5), (2, 3), (3, 9), (8, 8), (9, 1)):
        f.case(f"gat_aggregate/{heads}x{width}", {"h": r(5, heads, width), "s": 2 * r(5, heads), "t": 2 * r(5, heads), "edges": edges},
               lambda h, s, t, edges: attention(h, s, t, edges))
    f.case("gat_aggregate/none", {"h": r(5, 2, 3), "s": r(5, 2), "t": r(5, 2), "edges": none}, lambda h, s, t, edges: attention(h, s, t, edges))
    f.case("gat_aggregate/one", {"h": r(1, 1, 1), "s": r(1, 1), "t": r(1, 1), "edges": one}, lambda h, s, t, edges: attention(h, s, t, edges))
    f.case("gat_aggregate_edges", {"h": r(5, 2, 3), "s": r(5, 2), "t": r(5, 2), "e": r(7, 2), "edges": edges}, lambda h, s, t, e, edges: attention(h, s, t, edges, e))
    pointers, columns = t(0, 3, 3, 5, 6), t(1, 0, 4, 2, 2, 3)
    f.case("matmul_csr", {"values": r(6), "x": r(5, 11), "pointers": pointers, "columns": columns},
           lambda values, x, pointers, columns: matrix(pointers, columns, values, 5) @ x)
    f.case("matmul_csr_vector", {"values": r(6), "x": r(5), "pointers": pointers, "columns": columns},
           lambda values, x, pointers, columns: matrix(pointers, columns, values, 5) @ x)
    f.case("matmul_csr_transposed", {"values": r(6), "x": r(4, 3), "pointers": pointers, "columns": columns},
           lambda values, x, pointers, columns: matrix(pointers, columns, values, 5).T @ x)
    for degree, sizes, opened in ((1, (3, 4), (1, 0)), (2, (5, 4, 3), (1, 0, 1)), (3, (6,), (1,))):
        for name, edges in (("", 7), ("/one", 1), ("/none", 0)):
            f.case(f"spline_basis_{degree}{name}", {"pseudo": 0.05 + 0.9 * torch.rand(edges, len(sizes))},
                   lambda pseudo: spline_basis(pseudo, sizes, opened, degree))
