"""Golden values of norms, products and other reductions over several axes."""
import torch

from golden import Family, r

inf, nan = float("inf"), float("nan")


def t(*values):
    return torch.tensor(values)


special = t([[1.0], [nan], [2.0]], [[inf], [3.0], [-1.0]], [[-inf], [-inf], [-inf]])
zero = t([[0.0], [0.0], [0.0]], [[0.0], [3.0], [-4.0]])
ties = t([[3.0], [1.0], [-3.0], [3.0]], [[-2.0], [-2.0], [2.0], [2.0]])

with Family("norm") as f:
    for label, axes in {"axis": (1,), "last": (2,), "outer": (0, 2), "all": (0, 1, 2)}.items():
        for p, name in {2.0: "2", 1.0: "1", 0.0: "0", inf: "inf", -inf: "minus_inf", 3.0: "3", 0.5: "half", 1.5: "15", -1.0: "minus_1"}.items():
            f.case(f"norm_{name}/{label}", {"x": r(3, 5, 4)}, lambda x: torch.linalg.vector_norm(x, p, axes))
        f.case(f"logsumexp/{label}", {"x": r(3, 5, 4) * 3}, lambda x: x.logsumexp(axes))
        f.case(f"amax/{label}", {"x": r(3, 5, 4)}, lambda x: x.amax(axes))
        f.case(f"amin/{label}", {"x": r(3, 5, 4)}, lambda x: x.amin(axes))
        f.case(f"count_nonzero/{label}", {"x": (r(3, 5, 4) * 1.2).round()}, lambda x: torch.count_nonzero(x.detach(), axes))
    for p, name in {2.0: "2", 1.0: "1", 0.0: "0", inf: "inf", -inf: "minus_inf", 3.0: "3", 0.5: "half", 1.5: "15", -1.0: "minus_1"}.items():
        f.case(f"norm_{name}/axis/nan", {"x": special}, lambda x: torch.linalg.vector_norm(x, p, 1).detach())
        f.case(f"norm_{name}/axis/kink_zero", {"x": zero}, lambda x: torch.linalg.vector_norm(x, p, 1))
        f.case(f"norm_{name}/axis/tie", {"x": ties}, lambda x: torch.linalg.vector_norm(x, p, 1))
        f.case(f"norm_{name}/axis/one", {"x": r(2, 1, 3)}, lambda x: torch.linalg.vector_norm(x, p, 1))
        if p >= 0 and p != inf:
            f.case(f"norm_{name}/axis/empty", {"x": r(2, 0, 3)}, lambda x: torch.linalg.vector_norm(x, p, 1))
    f.case("logsumexp/axis/inf", {"x": special}, lambda x: x.logsumexp(1))
    f.case("logsumexp/axis/kink_large", {"x": t([[100.0], [100.0], [-1e4]], [[-100.0], [-100.0], [-100.0]])}, lambda x: x.logsumexp(1))
    f.case("logsumexp/axis/one", {"x": r(2, 1, 3)}, lambda x: x.logsumexp(1))
    f.case("logsumexp/axis/empty", {"x": r(2, 0, 3)}, lambda x: x.logsumexp(1))
    for name, op in {"amax": torch.amax, "amin": torch.amin}.items():
        f.case(f"{name}/axis/tie", {"x": ties}, lambda x: op(x, 1))
        f.case(f"{name}/axis/nan", {"x": special}, lambda x: op(x, 1))
        f.case(f"{name}/axis/one", {"x": r(2, 1, 3)}, lambda x: op(x, 1))
    f.case("count_nonzero/axis/nan", {"x": special}, lambda x: torch.count_nonzero(x.detach(), 1))
    f.case("count_nonzero/axis/empty", {"x": r(2, 0, 3)}, lambda x: torch.count_nonzero(x.detach(), 1))
    zeros = r(2, 6, 3)
    zeros[0, 2, 0] = zeros[0, 0, 1] = zeros[0, 5, 1] = zeros[1, 4, 0] = zeros[1, :, 1] = 0
    for label, x in {"plain": r(2, 6, 3), "zeros": zeros, "one": r(2, 1, 3), "empty": r(2, 0, 3), "nan": t([[0.0], [nan], [2.0]], [[inf], [3.0], [-1.0]]),
                     "whole": torch.randint(-4, 4, (2, 6, 3)).double()}.items():
        f.case(f"prod/axis/{label}", {"x": x}, lambda x: x.prod(1))
    f.case("prod/last", {"x": r(3, 5, 4)}, lambda x: x.prod(2))
    f.case("prod/outer", {"x": r(3, 5, 4)}, lambda x: x.permute(1, 0, 2).reshape(5, 12).prod(1))
    f.case("prod/all", {"x": r(3, 2, 4)}, lambda x: x.prod())
    one_zero = r(3, 2, 4)
    one_zero[1, 1, 2] = 0
    f.case("prod/all/zero", {"x": one_zero}, lambda x: x.prod())
