"""Golden values of scattering, putting and choosing by index and mask."""
import torch

from golden import Family, integers, r

inf, nan = float("inf"), float("nan")


def t(*values):
    return torch.tensor(values)


def positive(*values):
    return torch.tensor(values, dtype=torch.bool)


with Family("scatter") as f:
    distinct = t([0, 3, 1], [2, 0, 3], [1, 2, 0])
    many = t([0, 3, 3, 1], [2, 2, 2, 2])
    f.case("scatter", {"x": r(3, 4), "indices": distinct, "src": r(3, 3)}, lambda x, indices, src: x.scatter(1, indices, src))
    f.case("scatter/part", {"x": r(3, 4), "indices": t([3, 1]), "src": r(1, 2)}, lambda x, indices, src: x.scatter(1, indices, src))
    f.case("scatter/none", {"x": r(3, 4), "indices": integers(0, 4, (0, 2)), "src": r(0, 2)}, lambda x, indices, src: x.scatter(1, indices, src))
    f.case("scatter/one", {"x": r(1, 1), "indices": t([0]), "src": r(1, 1)}, lambda x, indices, src: x.scatter(1, indices, src))
    f.case("scatter_value", {"x": r(3, 4), "indices": t([0, 3], [2, 2], [1, 0])}, lambda x, indices: x.scatter(1, indices, 2.5))
    f.case("scatter_first", {"x": r(4, 3, 2), "indices": integers(0, 4, (6, 3, 2)), "src": r(6, 3, 2)}, lambda x, indices, src: x.scatter_add(0, indices, src))
    f.case("scatter_add", {"x": r(2, 4), "indices": many, "src": r(2, 4)}, lambda x, indices, src: x.scatter_add(1, indices, src))
    f.case("scatter_add/none", {"x": r(2, 4), "indices": integers(0, 4, (2, 0)), "src": r(2, 0)}, lambda x, indices, src: x.scatter_add(1, indices, src))
    f.case("scatter_add/nan", {"x": t([1.0, nan, 3.0, inf], [0.0, 0.0, 0.0, 0.0]), "indices": many, "src": t([1.0, inf, -inf, 2.0], [nan, 1.0, 1.0, 1.0])},
           lambda x, indices, src: x.scatter_add(1, indices, src))
    for name, how in (("mean", "mean"), ("max", "amax"), ("min", "amin")):
        for include in (True, False):
            key = f"scatter_{name}/{'with' if include else 'without'}"
            fn = lambda x, indices, src: x.scatter_reduce(1, indices, src, how, include_self=include)
            f.case(key, {"x": r(2, 4), "indices": many, "src": r(2, 4)}, fn)
            f.case(f"{key}/none", {"x": r(2, 4), "indices": integers(0, 4, (2, 0)), "src": r(2, 0)}, fn)
            f.case(f"{key}/part", {"x": r(3, 4), "indices": t([3, 3, 1]), "src": r(1, 3)}, fn)
            f.case(f"{key}/inf", {"x": t([1.0, inf, 3.0, -inf]), "indices": t([1, 1, 3, 3]), "src": t([1.0, 2.0, -1.0, 5.0])}, fn)
        f.case(f"scatter_{name}/with/tie", {"x": t([1.0, 2.0, 3.0]), "indices": t([0, 0, 1, 1]), "src": t([1.0, 1.0, 2.0, 2.0])},
               lambda x, indices, src: x.scatter_reduce(1, indices, src, how))
    f.case("index_add/first", {"x": r(4, 3), "indices": t(2, 0, 2, 2, 3), "src": r(5, 3)}, lambda x, indices, src: x.index_add(0, indices, src))
    f.case("index_add/first/none", {"x": r(4, 3), "indices": integers(0, 4, (0,)), "src": r(0, 3)}, lambda x, indices, src: x.index_add(0, indices, src))
    f.case("index_add/first/nan", {"x": t([nan], [1.0]), "indices": t(1, 1), "src": t([inf], [-inf])}, lambda x, indices, src: x.index_add(0, indices, src))
    f.case("index_add/middle", {"x": r(2, 4, 3), "indices": t(2, 0, 2, 2, 3), "src": r(2, 5, 3)}, lambda x, indices, src: x.index_add(1, indices, src))
    f.case("index_copy", {"x": r(2, 4, 3), "indices": t(2, 0), "src": r(2, 2, 3)}, lambda x, indices, src: x.index_copy(1, indices, src))
    f.case("index_get", {"x": r(3, 4, 2), "i": t([0, 2], [2, 1]), "j": t([3, 3], [3, 0])}, lambda x, i, j: x[i, j])
    f.case("index_get/none", {"x": r(3, 4, 2), "i": integers(0, 3, (0, 2)), "j": integers(0, 3, (0, 2))}, lambda x, i, j: x[i, j])
    f.case("index_put/set", {"x": r(3, 4, 2), "values": r(3, 2), "i": t(0, 2, 1), "j": t(3, 3, 0)}, lambda x, values, i, j: x.index_put((i, j), values))
    f.case("index_put/add", {"x": r(3, 4, 2), "values": r(4, 2), "i": t(0, 2, 0, 0), "j": t(3, 3, 3, 1)},
           lambda x, values, i, j: x.index_put((i, j), values, accumulate=True))
    mask = positive([1, 0, 1, 0], [0, 0, 1, 1], [0, 0, 0, 1])
    f.case("masked_select", {"x": r(3, 4), "mask": mask}, lambda x, mask: x.masked_select(mask.bool()))
    f.case("masked_select/none", {"x": r(3, 4), "mask": mask & ~mask}, lambda x, mask: x.masked_select(mask.bool()))
    f.case("masked_select/nan", {"x": torch.full((3, 4), nan), "mask": mask}, lambda x, mask: x.masked_select(mask.bool()))
    f.case("masked_fill", {"x": r(3, 4), "mask": mask}, lambda x, mask: x.masked_fill(mask.bool(), 2.5))
    f.case("masked_fill/nan", {"x": torch.full((3, 4), nan), "mask": mask}, lambda x, mask: x.masked_fill(mask.bool(), 2.5))
    f.case("masked_scatter", {"x": r(3, 4), "mask": mask, "src": r(2, 4)}, lambda x, mask, src: x.masked_scatter(mask.bool(), src))
    f.case("nonzero", {"x": t([0.0, nan, -1.0], [0.0, 0.0, -0.0])}, lambda x: x.nonzero())
    f.case("nonzero/empty", {"x": r(0, 3)}, lambda x: x.nonzero())
