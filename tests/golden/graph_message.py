"""Golden values of messages that are formulas: written out with indices, one target after the other."""
import torch

from golden import Family, integers, r


def fold(messages, target, nodes, how):
    rows = []
    for i in range(nodes):
        m = messages[target == i]
        if m.shape[0] == 0:
            rows.append(torch.zeros(messages.shape[1:]))
        elif how == "std_dev":
            variance = m.var(0, unbiased=False) if m.shape[0] > 1 else torch.zeros(messages.shape[1:])
            rows.append(torch.where(variance > 0, torch.where(variance > 0, variance, 1.0).sqrt(), 0.0))
        elif how == "softmax_sum":
            rows.append((torch.softmax(m, 0) * m).sum(0))
        else:
            rows.append({"sum": m.sum, "mean": m.mean, "max": m.amax, "min": m.amin, "product": m.prod}[how](0))
    return torch.stack(rows)


def difference(x, edges, w, how):
    return fold(w[:, None] * torch.tanh(x[edges[0]] - x[edges[1]]), edges[1], x.shape[0], how)


def heads(x, edges, w, b):
    return fold(w[:, :, None] * torch.relu(x[edges[0]] + b) * x[edges[1]], edges[1], x.shape[0], "sum")


with Family("graph_message") as f:
    # An isolated node (4), a self-loop (2), a duplicate edge (0 -> 1), a node that only sends (3).
    edges = torch.tensor([[0, 1, 1, 2, 3, 2, 0], [1, 0, 2, 1, 2, 2, 1]])
    none = integers(0, 5, (2, 0))
    for how in ("sum", "mean", "std_dev", "softmax_sum"):
        f.case(f"{how}", {"x": r(5, 11), "edges": edges, "w": r(7)}, lambda x, edges, w: difference(x, edges, w, how))
        f.case(f"{how}/none", {"x": r(5, 3), "edges": none, "w": r(0)}, lambda x, edges, w: difference(x, edges, w, how))
        f.case(f"{how}/wide", {"x": r(5, 40), "edges": edges, "w": r(7)}, lambda x, edges, w: difference(x, edges, w, how))
    # Without the self-loop, whose message is 0.
    apart = edges[:, [0, 1, 2, 3, 4, 6]]
    for how in ("max", "min", "product"):
        f.case(f"{how}", {"x": r(5, 11), "edges": apart, "w": r(6)}, lambda x, edges, w: difference(x, edges, w, how))
        f.case(f"{how}/wide", {"x": r(5, 40), "edges": apart, "w": r(6)}, lambda x, edges, w: difference(x, edges, w, how))
    f.case("heads", {"x": r(5, 2, 5), "edges": edges, "w": r(7, 2), "b": r(5)}, heads)
    f.case("heads/narrow", {"x": r(5, 3, 1), "edges": edges, "w": r(7, 3), "b": r(1)}, heads)
