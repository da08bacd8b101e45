"""Golden values of sorting and its relatives."""
import torch

from golden import Family, integers, r

inf, nan = float("inf"), float("nan")


def t(*values):
    return torch.tensor(values)


ties = t([[2.0], [-1.0], [2.0], [0.0], [-0.0], [2.0], [-1.0]], [[1.0], [1.0], [0.0], [1.0], [0.0], [0.0], [-0.0]])
nans = t([[2.0], [nan], [-inf], [inf], [0.5], [nan], [-1.0]], [[nan], [nan], [nan], [nan], [3.0], [2.0], [inf]])

with Family("sort") as f:
    for down, name in ((False, "rising"), (True, "falling")):
        def sort(x, axis, d=down):
            return x.sort(dim=axis, descending=d, stable=True)
        f.case(f"sort/{name}/middle", {"x": r(2, 7, 3)}, lambda x: sort(x, 1).values)
        f.case(f"sort/{name}/middle/one", {"x": r(2, 1, 3)}, lambda x: sort(x, 1).values)
        f.case(f"sort/{name}/middle/empty", {"x": r(2, 0, 3)}, lambda x: sort(x, 1).values)
        f.case(f"sort/{name}/middle/tie", {"x": ties}, lambda x: sort(x, 1).values)
        f.case(f"sort/{name}/middle/nan", {"x": nans}, lambda x: sort(x, 1).values)
        f.case(f"sort/{name}/last", {"x": r(2, 2, 40)}, lambda x: sort(x, 2).values)
        f.case(f"sort/{name}/last/long", {"x": r(1, 1, 300)}, lambda x: sort(x, 2).values)
        f.case(f"argsort/{name}", {"x": r(2, 7, 3)}, lambda x: sort(x, 1).indices)
        f.case(f"argsort/{name}/tie", {"x": ties}, lambda x: sort(x, 1).indices)
        f.case(f"argsort/{name}/nan", {"x": nans}, lambda x: sort(x, 1).indices)
        f.case(f"argsort/{name}/whole", {"x": integers(-5, 5, (2, 40, 2)).double()}, lambda x: sort(x, 1).indices)
    for largest, name in ((True, "largest"), (False, "smallest")):
        f.case(f"topk/{name}/middle", {"x": r(2, 7, 3)}, lambda x: x.topk(3, 1, largest).values)
        # Which of several NaN PyTorch takes is not specified: values only.
        f.case(f"topk/{name}/middle/nan", {"x": nans}, lambda x: x.detach().topk(3, 1, largest).values)
        f.case(f"topk/{name}/last", {"x": r(2, 2, 100)}, lambda x: x.topk(3, 2, largest).values)
        f.case(f"topk_indices/{name}", {"x": r(2, 7, 3)}, lambda x: x.topk(3, 1, largest).indices)
        f.case(f"topk_many/{name}", {"x": r(2, 2, 200)}, lambda x: x.topk(70, 2, largest).values)
    f.case("kthvalue", {"x": r(2, 7, 3)}, lambda x: x.kthvalue(3, 1).values)
    f.case("kthvalue/tie", {"x": t([[2.0], [1.0], [2.0], [3.0]], [[1.0], [0.0], [5.0], [-1.0]])}, lambda x: x.kthvalue(3, 1).values.detach())
    f.case("kthvalue_indices", {"x": r(2, 7, 3)}, lambda x: x.kthvalue(3, 1).indices)
    f.case("median", {"x": r(2, 7, 3)}, lambda x: x.median(1).values)
    f.case("median/even", {"x": r(2, 6, 3)}, lambda x: x.median(1).values)
    f.case("median/nan", {"x": t([[2.0], [nan], [1.0]], [[1.0], [0.0], [5.0]])}, lambda x: x.median(1).values)
    f.case("median_all", {"x": r(2, 7, 3)}, lambda x: x.median())
    for name, x in {"tie": integers(-3, 4, (4, 6)).double(), "one": t([2.0]), "empty": r(0, 3), "nan": t([nan, 1.0], [nan, -inf])}.items():
        f.case(f"unique_values/{name}", {"x": x}, lambda x: torch.unique(x.detach()))
        f.case(f"unique_inverse/{name}", {"x": x}, lambda x: torch.unique(x.detach(), return_inverse=True)[1])
        f.case(f"unique_counts/{name}", {"x": x}, lambda x: torch.unique(x.detach(), return_counts=True)[1])
    # Where no two are equal, the unique values are the sorted ones.
    f.case("unique_values/plain", {"x": r(4, 5)}, lambda x: x.reshape(-1).sort().values)
    edges = t(-1.0, -1.0, 0.0, 0.5, 0.5, 0.5, 2.0)
    values = t([-2.0, -1.0, -0.5, 0.0], [0.5, 2.0, 3.0, inf])
    rows, rows_values = r(3, 8).sort(1).values, r(3, 5)
    rows_values[1, 2] = rows[1, 4]
    for right, name in ((False, "left"), (True, "right")):
        f.case(f"searchsorted/{name}", {"sorted": edges, "values": values}, lambda sorted, values: torch.searchsorted(sorted.detach(), values.detach(), right=right))
        f.case(f"searchsorted/{name}/none", {"sorted": r(0), "values": values}, lambda sorted, values: torch.searchsorted(sorted.detach(), values.detach(), right=right))
        f.case(f"searchsorted/{name}/nan", {"sorted": t(0.0, 1.0, nan), "values": t([nan, 0.5])}, lambda sorted, values: torch.searchsorted(sorted.detach(), values.detach(), right=right))
        f.case(f"searchsorted_rows/{name}", {"sorted": rows, "values": rows_values},
               lambda sorted, values: torch.searchsorted(sorted.detach(), values.detach(), right=right))
    f.case("bucketize", {"x": values, "boundaries": edges}, lambda x, boundaries: torch.bucketize(x.detach(), boundaries.detach()))
