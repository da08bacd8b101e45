"""Golden values of bincount and histogram."""
import torch

from golden import Family, integers, r

inf, nan = float("inf"), float("nan")


def t(*values):
    return torch.tensor(values)


with Family("count") as f:
    x = integers(0, 9, (50,))
    f.case("bincount/plain", {"x": x}, lambda x: torch.bincount(x))
    f.case("bincount/empty", {"x": integers(0, 9, (0,))}, lambda x: torch.bincount(x))
    f.case("bincount_least/plain", {"x": x}, lambda x: torch.bincount(x, minlength=12))
    # PyTorch has no derivative of the weights; index_add is the same sum and has one.
    f.case("bincount_weights/plain", {"x": x, "weights": r(50)}, lambda x, weights: torch.zeros(12).index_add(0, x, weights))
    f.case("bincount_weights/empty", {"x": integers(0, 9, (0,)), "weights": r(0)}, lambda x, weights: torch.zeros(12).index_add(0, x, weights))
    values = t([0.0, 0.1, 0.2, 0.25], [0.3, 1.0, 2.0, -0.1], [nan, inf, 0.999, 0.5])
    plain = r(20, 30)
    f.case("histogram_range/plain", {"x": plain}, lambda x: torch.histogram(x.detach(), 8, range=(0.0, 1.0)).hist.long())
    f.case("histogram_range/edges", {"x": values}, lambda x: torch.histogram(x.detach(), 8, range=(0.0, 1.0)).hist.long())
    f.case("histogram/plain", {"x": plain}, lambda x: torch.histogram(x.detach(), 7).hist.long())
    f.case("histogram/one", {"x": t([1.0, 1.0])}, lambda x: torch.histogram(x.detach(), 7).hist.long())
    f.case("histogram_edges/plain", {"x": plain, "edges": t(-2.0, -1.0, 0.0, 0.25, 3.0)}, lambda x, edges: torch.histogram(x.detach(), edges.detach()).hist.long())
    f.case("histogram_edges/values", {"x": values, "edges": t(0.0, 0.25, 0.5, 1.0)}, lambda x, edges: torch.histogram(x.detach(), edges.detach()).hist.long())
    f.case("histogram_sides/kink_plain", {"x": t([0.0, 3.0])}, lambda x: torch.histogram(x.detach(), 6).bin_edges)
