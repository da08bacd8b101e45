"""Golden values of rows of sums of basis matrices."""
import torch

from golden import Family, integers, r


def basis_rows(weight, bases, edges):
    kinds, rows = edges
    return torch.einsum("eb,bef->ef", weight[kinds], bases[:, rows])


with Family("graph_basis") as f:
    # Row 4 is asked for by none, row 1 twice for the same kind, kind 2 by none.
    edges = torch.tensor([[0, 1, 1, 0, 3, 1, 0, 3], [1, 0, 1, 3, 2, 2, 1, 3]])
    for name, bases, width in (("", 3, 5), ("/wide", 2, 37), ("/many", 40, 8), ("/one", 1, 1), ("/sixteen", 5, 16)):
        f.case(f"basis_rows{name}", {"weight": r(4, bases), "bases": r(bases, 5, width), "edges": edges}, basis_rows)
    f.case("basis_rows/none", {"weight": r(4, 3), "bases": r(3, 5, 2), "edges": integers(0, 4, (2, 0))}, basis_rows)
