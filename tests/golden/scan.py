"""Golden values of running sums, products and extremes."""
import torch

from golden import Family, r

inf, nan = float("inf"), float("nan")


def t(*values):
    return torch.tensor(values)


with Family("scan") as f:
    for name, op in {"cumsum": torch.cumsum, "cumprod": torch.cumprod}.items():
        for axis, label in ((0, "first"), (1, "middle"), (2, "last")):
            f.case(f"{name}/{label}", {"x": r(3, 5, 4)}, lambda x, a=axis: op(x, a))
        f.case(f"{name}/middle/one", {"x": r(2, 1, 3)}, lambda x: op(x, 1))
        f.case(f"{name}/middle/empty", {"x": r(2, 0, 3)}, lambda x: op(x, 1))
        f.case(f"{name}/middle/whole", {"x": torch.randint(-4, 4, (2, 6, 3)).double()}, lambda x: op(x, 1))
        f.case(f"{name}/middle/inf", {"x": t([[1.0], [inf], [2.0]], [[nan], [1.0], [2.0]])}, lambda x: op(x, 1))
        f.case(f"{name}/last/long", {"x": r(1, 2, 300) * 0.1 + 1.0}, lambda x: op(x, 2))
    zeros = r(2, 6, 3)
    zeros[0, 2, 0] = zeros[0, 0, 1] = zeros[0, 5, 2] = zeros[1, 1, 0] = zeros[1, 4, 0] = zeros[1, :, 1] = 0
    f.case("cumprod/middle/zeros", {"x": zeros}, lambda x: x.cumprod(1))
    ties = t([[2.0], [1.0], [2.0], [2.0], [3.0], [-1.0], [3.0]], [[1.0], [1.0], [1.0], [0.0], [-2.0], [-2.0], [5.0]])
    nans = t([[2.0], [nan], [5.0]], [[-inf], [inf], [nan]])
    for name, op in {"cummax": torch.cummax, "cummin": torch.cummin}.items():
        for axis, label in ((0, "first"), (1, "middle"), (2, "last")):
            f.case(f"{name}/{label}", {"x": r(3, 5, 4)}, lambda x, a=axis: op(x, a).values)
        for label, x in {"tie": ties, "nan": nans}.items():
            f.case(f"{name}/middle/{label}", {"x": x}, lambda x: op(x, 1).values)
            f.case(f"{name}_indices/{label}", {"x": x}, lambda x: op(x, 1).indices)
        f.case(f"{name}/middle/empty", {"x": r(2, 0, 3)}, lambda x: op(x, 1).values)
        f.case(f"{name}_indices/plain", {"x": r(3, 5, 4)}, lambda x: op(x, 1).indices)
