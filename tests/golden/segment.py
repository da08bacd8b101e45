"""Golden values of segments (by scatter_reduce) and bags."""
import torch
import torch.nn.functional as F

from golden import Family, integers, r

inf, nan = float("inf"), float("nan")


def t(*values):
    return torch.tensor(values)


def reduce(x, index, count, how):
    return torch.zeros(count, *x.shape[1:]).scatter_reduce(0, index.reshape(-1, *[1] * (x.dim() - 1)).expand(x.shape), x, how, include_self=False)


def softmax(x, index, count):
    parts = [torch.softmax(x[index == s], 0) for s in range(count)]
    y = torch.zeros_like(x)
    for s in range(count):
        y = y.index_copy(0, (index == s).nonzero()[:, 0], parts[s])
    return y


def spread(x, index, count):
    """Of the population; a segment of one row has none, and no gradient."""
    y = torch.zeros(count, *x.shape[1:])
    for s in range(count):
        rows = x[index == s]
        if len(rows) > 1:
            y = y.index_copy(0, torch.tensor([s]), rows.var(0, unbiased=False).sqrt().unsqueeze(0))
    return y + 0 * x.sum()


with Family("segment") as f:
    unsorted, ascending = t(2, 0, 2, 5, 0, 2), t(0, 0, 1, 3, 3, 3)
    for name, how in (("sum", "sum"), ("mean", "mean"), ("max", "amax"), ("min", "amin")):
        f.case(f"segment_{name}/unsorted", {"x": r(6, 3), "indices": unsorted}, lambda x, indices: reduce(x, indices, 6, how))
        f.case(f"segment_{name}/unsorted/vector", {"x": r(6, 1), "indices": unsorted}, lambda x, indices: reduce(x, indices, 6, how))
        f.case(f"segment_{name}/unsorted/empty", {"x": r(0, 3), "indices": integers(0, 6, (0,))}, lambda x, indices: reduce(x, indices, 6, how))
        # The gradient of an extreme that is NaN goes to that element, as of max along an axis; scatter_reduce makes NaNs of it.
        value = (lambda x: x) if name in ("sum", "mean") else torch.Tensor.detach
        f.case(f"segment_{name}/unsorted/nan", {"x": t([nan], [1.0], [2.0], [inf], [-inf], [3.0]), "indices": unsorted}, lambda x, indices: reduce(value(x), indices, 6, how))
        f.case(f"segment_{name}/sorted", {"x": r(6, 2, 2), "indices": ascending}, lambda x, indices: reduce(x, indices, 6, how))
        f.case(f"segment_{name}/pointers", {"x": r(6, 5), "pointers": t(0, 2, 3, 3, 6)}, lambda x, pointers: reduce(x, ascending, 4, how))
        f.case(f"segment_{name}/pointers/one", {"x": r(1, 1), "pointers": t(0, 1)}, lambda x, pointers: reduce(x, t(0), 1, how))
    f.case("segment_softmax/unsorted", {"x": r(6, 3) * 3, "indices": unsorted}, lambda x, indices: softmax(x, indices, 6))
    f.case("segment_softmax/unsorted/vector", {"x": r(6, 1) * 3, "indices": unsorted}, lambda x, indices: softmax(x, indices, 6))
    f.case("segment_softmax/unsorted/kink_large", {"x": t([1e4], [88.0], [-1e4], [0.0], [90.0], [1e4]), "indices": unsorted}, lambda x, indices: softmax(x, indices, 6))
    f.case("segment_softmax/unsorted/inf", {"x": t([-inf], [-inf], [0.0], [-inf], [1.0], [1.0]), "indices": unsorted}, lambda x, indices: softmax(x, indices, 6))
    f.case("segment_softmax/pointers", {"x": r(6, 5) * 3, "pointers": t(0, 2, 3, 3, 6)}, lambda x, pointers: softmax(x, ascending, 4))
    for mode in ("sum", "mean", "max"):
        f.case(f"embedding_bag/{mode}", {"table": r(5, 3), "indices": t(4, 1, 1, 0, 3, 1), "offsets": t(0, 2, 2, 5)},
               lambda table, indices, offsets: F.embedding_bag(indices, table, offsets, mode=mode))
        f.case(f"embedding_bag/{mode}/one", {"table": r(1, 1), "indices": t(0), "offsets": t(0)},
               lambda table, indices, offsets: F.embedding_bag(indices, table, offsets, mode=mode))
        f.case(f"embedding_bag_rows/{mode}", {"table": r(5, 3), "indices": t([4, 1], [1, 1], [0, 3])}, lambda table, indices: F.embedding_bag(indices, table, mode=mode))
    f.case("embedding_bag_weighted", {"table": r(5, 3), "indices": t(4, 1, 1, 0, 3, 1), "offsets": t(0, 2, 2, 5), "weights": r(6)},
           lambda table, indices, offsets, weights: F.embedding_bag(indices, table, offsets, mode="sum", per_sample_weights=weights))
    f.case("segment_product/unsorted", {"x": r(6, 3), "indices": unsorted}, lambda x, indices: reduce(x, indices, 6, "prod"))
    f.case("segment_product/unsorted/vector", {"x": r(6, 1), "indices": unsorted}, lambda x, indices: reduce(x, indices, 6, "prod"))
    f.case("segment_product/unsorted/empty", {"x": r(0, 3), "indices": integers(0, 6, (0,))}, lambda x, indices: reduce(x, indices, 6, "prod"))
    f.case("segment_product/unsorted/zeros", {"x": t([0.0, 2.0], [0.0, -3.0], [0.5, 0.0], [0.0, 1.0], [4.0, 0.0], [0.0, 5.0]), "indices": unsorted},
           lambda x, indices: reduce(x, indices, 6, "prod"))
    f.case("segment_product/pointers", {"x": r(6, 5), "pointers": t(0, 2, 3, 3, 6)}, lambda x, pointers: reduce(x, ascending, 4, "prod"))
    f.case("segment_std/unsorted", {"x": r(6, 3), "indices": unsorted}, lambda x, indices: spread(x, indices, 6))
    f.case("segment_std/unsorted/vector", {"x": r(6, 1), "indices": unsorted}, lambda x, indices: spread(x, indices, 6))
    f.case("segment_std/unsorted/empty", {"x": r(0, 3), "indices": integers(0, 6, (0,))}, lambda x, indices: spread(x, indices, 6))
    f.case("segment_std/pointers", {"x": r(6, 5), "pointers": t(0, 2, 3, 3, 6)}, lambda x, pointers: spread(x, ascending, 4))
