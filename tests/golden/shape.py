"""Golden values of padding, flipping, tiling, triangles, diagonals, windows and grids."""
import torch
import torch.nn.functional as F

from golden import Family, integers, r

inf, nan = float("inf"), float("nan")


def t(*values):
    return torch.tensor(values)


with Family("shape") as f:
    constant = lambda x: F.pad(x, (2, 1, 0, 0, 1, 3), value=1.5)
    f.case("pad/constant", {"x": r(2, 3, 4)}, constant)
    f.case("pad/constant/one", {"x": r(1, 1, 1)}, constant)
    f.case("pad/constant/empty", {"x": r(0, 3, 4)}, constant)
    f.case("pad/constant/nan", {"x": t([[nan, inf]], [[-inf, 2.0]])}, constant)
    f.case("pad/cut", {"x": r(4, 5)}, lambda x: F.pad(x, (-1, 2, 1, -2)))
    f.case("pad/reflect", {"x": r(2, 3, 4, 5)}, lambda x: F.pad(x, (3, 4, 2, 1), mode="reflect"))
    f.case("pad/reflect/tie", {"x": torch.ones(1, 1, 4, 5)}, lambda x: F.pad(x, (3, 4, 2, 1), mode="reflect"))
    f.case("pad/replicate", {"x": r(2, 3, 4, 5)}, lambda x: F.pad(x, (3, 7, 2, 6), mode="replicate"))
    f.case("pad/replicate/one", {"x": r(1, 1, 1, 1)}, lambda x: F.pad(x, (3, 7, 2, 6), mode="replicate"))
    f.case("pad/circular", {"x": r(2, 3, 4, 5)}, lambda x: F.pad(x, (3, 5, 2, 1), mode="circular"))
    for name, axes in (("first", (0,)), ("last", (2,)), ("two", (0, 2)), ("all", (0, 1, 2))):
        f.case(f"flip/{name}", {"x": r(2, 3, 11)}, lambda x: x.flip(axes))
        f.case(f"flip/{name}/one", {"x": r(1, 1, 1)}, lambda x: x.flip(axes))
        f.case(f"flip/{name}/empty", {"x": r(2, 0, 3)}, lambda x: x.flip(axes))
    f.case("roll/two", {"x": r(4, 3, 5)}, lambda x: x.roll((1, -7), (0, 2)))
    f.case("roll/two/empty", {"x": r(0, 3, 5)}, lambda x: x.roll((1, -7), (0, 2)))
    f.case("roll/two/one", {"x": r(1, 1, 1)}, lambda x: x.roll((1, -7), (0, 2)))
    f.case("tile", {"x": r(2, 3)}, lambda x: x.tile(2, 1, 3))
    f.case("tile/empty", {"x": r(2, 0)}, lambda x: x.tile(2, 1, 3))
    f.case("repeat", {"x": r(2, 3)}, lambda x: x.repeat(3, 2))
    f.case("repeat/one", {"x": r(1, 1)}, lambda x: x.repeat(3, 2))
    f.case("repeat_interleave", {"x": r(2, 3, 2)}, lambda x: x.repeat_interleave(3, 1))
    for name in ("tril", "triu"):
        for offset in (0, 2, -1):
            key, fn = f"{name}/{offset}", lambda x: getattr(torch, name)(x, offset)
            f.case(key, {"x": r(2, 4, 5)}, fn)
            f.case(f"{key}/tall", {"x": r(1, 6, 3)}, fn)
            f.case(f"{key}/empty", {"x": r(1, 0, 3)}, fn)
            f.case(f"{key}/nan", {"x": torch.full((1, 3, 3), nan)}, fn)
    for offset in (0, 1, -2):
        f.case(f"diag/matrix/{offset}", {"x": r(4, 5)}, lambda x: torch.diag(x, offset))
        f.case(f"diag/vector/{offset}", {"x": r(3)}, lambda x: torch.diag(x, offset))
        f.case(f"diagonal/{offset}", {"x": r(3, 2, 5)}, lambda x: torch.diagonal(x, offset, 0, 2) * 2.0)
    f.case("diag/matrix/0/one", {"x": r(1, 1)}, lambda x: torch.diag(x))
    f.case("diagonal/beyond", {"x": r(3, 2, 5)}, lambda x: torch.diagonal(x, 7, 0, 2) * 2.0)
    f.case("trace", {"x": r(4, 5)}, lambda x: torch.trace(x))
    f.case("trace/nan", {"x": t([1.0, 2.0], [3.0, nan])}, lambda x: torch.trace(x))
    f.case("outer", {"a": r(3), "b": r(4)}, lambda a, b: torch.outer(a, b))
    f.case("outer/empty", {"a": r(0), "b": r(4)}, lambda a, b: torch.outer(a, b))
    f.case("dot", {"a": r(7), "b": r(7)}, lambda a, b: torch.dot(a, b))
    f.case("dot/empty", {"a": r(0), "b": r(0)}, lambda a, b: torch.dot(a, b))
    f.case("meshgrid/ij", {"a": r(3), "b": r(4)}, lambda a, b: (lambda g: g[0] * g[1] * g[1])(torch.meshgrid(a, b, indexing="ij")))
    f.case("meshgrid/xy", {"a": r(3), "b": r(4)}, lambda a, b: (lambda g: g[0] * g[1] * g[1])(torch.meshgrid(a, b, indexing="xy")))
    f.case("one_hot", {"indices": t([0, 3], [2, 2])}, lambda indices: F.one_hot(indices, 4))
    f.case("one_hot/none", {"indices": integers(0, 4, (0, 2))}, lambda indices: F.one_hot(indices, 4))
    f.case("sliding_window", {"x": r(2, 9, 3)}, lambda x: x.unfold(1, 4, 2) * 2.0)
    f.case("sliding_window/one", {"x": r(1, 4, 1)}, lambda x: x.unfold(1, 4, 2) * 2.0)
    f.case("sliding_window_apart", {"x": r(2, 9, 3)}, lambda x: x.unfold(1, 2, 3) * 2.0)
    f.case("split", {"x": r(2, 7)}, lambda x: (lambda p: p[0] * p[1] + p[2].sum())(x.split(3, 1)))
    f.case("split_sizes", {"x": r(7, 2)}, lambda x: (lambda p: p[0].sum() * p[2] + p[1].sum())(x.split([2, 4, 1], 0)))
    f.case("chunk", {"x": r(2, 6)}, lambda x: (lambda p: p[0] * p[1] * p[2])(x.chunk(3, 1)))
