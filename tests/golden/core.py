"""Golden values of products, reductions, joining, indexing and views."""
import torch
import torch.nn.functional as F

from golden import Family, integers, r

inf, nan = float("inf"), float("nan")


def t(*values):
    return torch.tensor(values)


with Family("core") as f:
    f.case("matmul/square", {"a": r(3, 4), "b": r(4, 5)}, lambda a, b: a @ b)
    f.case("matmul/one", {"a": r(1, 1), "b": r(1, 1)}, lambda a, b: a @ b)
    f.case("matmul/empty_k", {"a": r(3, 0), "b": r(0, 2)}, lambda a, b: a @ b)
    f.case("matmul/empty_m", {"a": r(0, 3), "b": r(3, 2)}, lambda a, b: a @ b)
    f.case("matmul/nan", {"a": t([1.0, nan], [2.0, 3.0]), "b": r(2, 3)}, lambda a, b: a @ b)
    f.case("matmul_batched", {"a": r(2, 1, 3, 4), "b": r(3, 4, 2)}, lambda a, b: a @ b)
    f.case("matmul_vector", {"a": r(4), "b": r(2, 4, 3)}, lambda a, b: a @ b)
    f.case("matmul_dot", {"a": r(5), "b": r(5)}, lambda a, b: a @ b)
    f.case("linear_relu", {"x": r(5, 4), "w": r(3, 4), "b": r(3)}, lambda x, w, b: torch.relu(F.linear(x, w, b)))
    f.case("linear_silu", {"x": r(2, 5, 4), "w": r(3, 4), "b": r(3)}, lambda x, w, b: F.silu(F.linear(x, w, b)))
    f.case("broadcast", {"x": r(3, 1, 2), "w": r(4, 1), "b": r(2)}, lambda x, w, b: torch.tanh(x * w + b) * x)
    f.case("sum/all", {"x": r(2, 3, 4)}, lambda x: x.sum())
    f.case("sum/all/empty", {"x": r(0, 3, 4)}, lambda x: x.sum())
    f.case("sum/all/inf", {"x": t([[1.0, inf]], [[2.0, -3.0]])}, lambda x: x.sum())
    f.case("sum/axis", {"x": r(2, 3, 4)}, lambda x: x.sum(1))
    f.case("sum/axis/empty", {"x": r(2, 0, 4)}, lambda x: x.sum(1))
    f.case("sum/axis/whole", {"x": torch.randint(-9, 9, (2, 3, 4)).double()}, lambda x: x.sum(1))
    f.case("mean", {"x": r(2, 3, 4)}, lambda x: x.mean((0, 2)))
    f.case("mean/one", {"x": r(1, 1, 1)}, lambda x: x.mean((0, 2)))
    f.case("var", {"x": r(2, 5, 3)}, lambda x: x.var(1))
    f.case("std", {"x": r(2, 5, 3)}, lambda x: x.std(1))
    f.case("max", {"x": r(2, 5, 3)}, lambda x: x.max(1).values)
    f.case("max/nan", {"x": t([[1.0], [nan], [3.0]], [[-inf], [2.0], [0.0]])}, lambda x: x.max(1).values)
    f.case("min", {"x": r(2, 5, 3)}, lambda x: x.min(1).values)
    f.case("argmax", {"x": r(2, 5, 3)}, lambda x: x.argmax(1))
    f.case("argmin", {"x": r(2, 5, 3)}, lambda x: x.argmin(1))
    f.case("softmax", {"x": r(3, 5) * 3}, lambda x: torch.softmax(x, 1))
    f.case("softmax/one", {"x": r(3, 1)}, lambda x: torch.softmax(x, 1))
    f.case("softmax/kink_large", {"x": t([1e4, -1e4, 1e4], [88.0, 89.0, 90.0])}, lambda x: torch.softmax(x, 1))
    f.case("softmax/inf", {"x": t([-inf, 0.0, 1.0], [-inf, -inf, -inf])}, lambda x: torch.softmax(x, 1))
    f.case("softmax_first", {"x": r(3, 2, 2) * 3}, lambda x: torch.softmax(x, 0))
    f.case("log_softmax", {"x": r(3, 5) * 3}, lambda x: torch.log_softmax(x, 1))
    f.case("log_softmax/kink_large", {"x": t([1e4, -1e4, 1e4], [88.0, 89.0, 90.0])}, lambda x: torch.log_softmax(x, 1))
    f.case("cross_entropy", {"x": r(5, 6) * 2, "labels": t(1, 0, 4, -100, 2)}, lambda x, labels: F.cross_entropy(x, labels))
    f.case("cross_entropy/one", {"x": r(1, 1), "labels": t(0)}, lambda x, labels: F.cross_entropy(x, labels))
    f.case("index_select", {"x": r(4, 3), "indices": t(2, 0, 2, 3)}, lambda x, indices: x.index_select(0, indices))
    f.case("index_select/none", {"x": r(4, 3), "indices": integers(0, 4, (0,))}, lambda x, indices: x.index_select(0, indices))
    f.case("gather", {"x": r(3, 4), "indices": t([0, 3], [1, 1], [2, 0])}, lambda x, indices: x.gather(1, indices))
    f.case("embedding", {"table": r(6, 3), "indices": t([0, 5], [5, 2])}, lambda table, indices: F.embedding(indices, table))
    f.case("concat", {"a": r(2, 3), "b": r(2, 2)}, lambda a, b: torch.cat([a, b * b], 1))
    f.case("concat/empty", {"a": r(2, 0), "b": r(2, 2)}, lambda a, b: torch.cat([a, b * b], 1))
    f.case("stack", {"a": r(2, 3), "b": r(2, 3)}, lambda a, b: torch.stack([a, b], 1))
    f.case("slice", {"x": r(5, 6)}, lambda x: x[1:5:2, 2])
    f.case("transpose", {"x": r(3, 4)}, lambda x: x.t() * 2.0)
    f.case("permute", {"x": r(2, 3, 4)}, lambda x: x.permute(2, 0, 1) * 2.0)
    f.case("reshape", {"x": r(2, 3, 4)}, lambda x: x.permute(2, 0, 1).reshape(6, 4) * 2.0)
    f.case("expand", {"x": r(3, 1)}, lambda x: x.expand(2, 3, 4) * 2.0)
