"""Golden values of products in every floating type: of small whole numbers, which all of them hold exactly, and of others."""
import torch
import torch.nn.functional as F

from golden import Family, r

inf, nan = float("inf"), float("nan")


def whole(*shape):
    return torch.randint(-4, 5, shape).double()


def t(*values):
    return torch.tensor(values)


with Family("products") as f:
    f.case("matmul/square", {"a": r(5, 6), "b": r(6, 7)}, lambda a, b: a @ b)
    f.case("matmul/whole", {"a": whole(9, 33), "b": whole(33, 20)}, lambda a, b: a @ b)
    f.case("matmul/one", {"a": r(1, 1), "b": r(1, 1)}, lambda a, b: a @ b)
    f.case("matmul/empty_k", {"a": r(3, 0), "b": r(0, 2)}, lambda a, b: a @ b)
    f.case("matmul/empty_m", {"a": r(0, 3), "b": r(3, 2)}, lambda a, b: a @ b)
    f.case("matmul/nan", {"a": t([1.0, nan], [2.0, 3.0]), "b": r(2, 3)}, lambda a, b: a @ b)
    f.case("matmul/inf", {"a": t([1.0, inf], [2.0, 3.0]), "b": t([1.0, 2.0], [3.0, 0.0])}, lambda a, b: a @ b)
    f.case("batched/whole", {"a": whole(2, 1, 3, 4), "b": whole(3, 4, 2)}, lambda a, b: a @ b)
    f.case("vector/whole", {"a": whole(40), "b": whole(2, 40, 3)}, lambda a, b: a @ b)
    f.case("dot/whole", {"a": whole(50), "b": whole(50)}, lambda a, b: a @ b)
    f.case("linear/whole", {"x": whole(5, 12), "w": whole(3, 12), "b": whole(3)}, lambda x, w, b: F.linear(x, w, b))
    f.case("linear_relu/kink_whole", {"x": whole(5, 12), "w": whole(3, 12), "b": whole(3)}, lambda x, w, b: torch.relu(F.linear(x, w, b)))
    f.case("linear_tanh/whole", {"x": whole(2, 5, 4), "w": whole(3, 4), "b": whole(3)}, lambda x, w, b: torch.tanh(F.linear(x, w, b) * 0.125))
