"""Golden values of linear algebra. Vectors of eigen- and singular value problems enter through functions that do not depend
on their signs."""
import torch

from golden import Family, r

L = torch.linalg
inf, nan = float("inf"), float("nan")


def t(values):
    return torch.tensor(values)


def spd(x):
    return x @ x.mT + torch.eye(x.shape[-1])


def dominant(*shape):
    return r(*shape) + 3 * torch.eye(shape[-1])


singular = t([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [1.0, 0.0, 1.0]])

with Family("linalg") as f:
    f.case("cholesky", {"x": r(3, 4, 4)}, lambda x: L.cholesky(spd(x)))
    f.case("cholesky/one", {"x": r(1, 1, 1)}, lambda x: L.cholesky(spd(x)))
    f.case("cholesky/empty", {"x": r(2, 0, 0)}, lambda x: L.cholesky(spd(x)))
    f.case("cholesky/no_batch", {"x": r(0, 3, 3)}, lambda x: L.cholesky(spd(x)))
    f.case("cholesky/kink_larger", {"x": r(1, 40, 40) * 0.25}, lambda x: L.cholesky(spd(x)))
    f.case("cholesky_raw/kink", {"x": torch.tensor([[4.0, 9.0], [2.0, 5.0]])}, lambda x: L.cholesky(x))
    f.case("cholesky_upper", {"x": r(4, 4)}, lambda x: L.cholesky(spd(x), upper=True))
    f.case("cholesky_solve", {"b": r(2, 1, 4, 3), "x": r(3, 4, 4)}, lambda b, x: torch.cholesky_solve(b, L.cholesky(spd(x))))
    f.case("triangular", {"a": dominant(3, 4, 4), "b": r(2, 1, 4, 5)}, lambda a, b: L.solve_triangular(a, b, upper=False))
    f.case("triangular/one", {"a": dominant(1, 1, 1), "b": r(1, 1, 1, 1)}, lambda a, b: L.solve_triangular(a, b, upper=False))
    f.case("triangular/empty", {"a": dominant(2, 0, 0), "b": r(1, 1, 0, 3)}, lambda a, b: L.solve_triangular(a, b, upper=False))
    f.case("triangular/no_columns", {"a": dominant(1, 3, 3), "b": r(1, 1, 3, 0)}, lambda a, b: L.solve_triangular(a, b, upper=False))
    f.case("triangular/inf_zero_pivot", {"a": t([[[1.0, 0.0], [2.0, 0.0]]]), "b": t([[[[1.0], [3.0]]]])}, lambda a, b: L.solve_triangular(a, b, upper=False))
    f.case("triangular_upper", {"a": dominant(4, 4), "b": r(4, 2)}, lambda a, b: L.solve_triangular(a, b, upper=True))
    f.case("triangular_unit", {"a": r(4, 4) * 0.5, "b": r(4, 2)}, lambda a, b: L.solve_triangular(a, b, upper=True, unitriangular=True))
    f.case("triangular_right", {"a": dominant(2, 4, 4), "b": r(2, 3, 4)}, lambda a, b: L.solve_triangular(a, b, upper=False, left=False))
    f.case("triangular_transposed", {"a": dominant(4, 4), "b": r(4, 2)}, lambda a, b: L.solve_triangular(a.mT, b, upper=True))
    f.case("lu_factor", {"x": r(2, 4, 4)}, lambda x: L.lu_factor(x)[0])
    f.case("lu_factor/tall", {"x": r(2, 5, 3)}, lambda x: L.lu_factor(x)[0])
    f.case("lu_factor/wide", {"x": r(1, 3, 5)}, lambda x: L.lu_factor(x)[0])
    f.case("lu_factor/kink_larger", {"x": r(1, 40, 37)}, lambda x: L.lu_factor(x)[0])
    f.case("lu_factor/tie", {"x": t([[2.0, 1.0, 3.0], [-2.0, 1.0, 1.0], [2.0, 0.0, 5.0]]).reshape(1, 3, 3)}, lambda x: L.lu_factor(x)[0])
    f.case("lu_product", {"x": r(2, 5, 3)}, lambda x: (lambda p: p[1].square() @ p[2])(L.lu(x)))
    f.case("lu_permutation", {"x": r(3, 4, 4)}, lambda x: L.lu(x)[0].detach() * 1.0)
    f.case("lu_solve", {"a": r(2, 4, 4), "b": r(3, 1, 4, 2)}, lambda a, b: L.lu_solve(*L.lu_factor(a), b))
    f.case("solve", {"a": r(2, 4, 4), "b": r(3, 1, 4, 2)}, lambda a, b: L.solve(a, b))
    f.case("solve/one", {"a": r(1, 1, 1), "b": r(1, 1, 1, 1)}, lambda a, b: L.solve(a, b))
    f.case("solve/empty", {"a": r(1, 0, 0), "b": r(1, 1, 0, 2)}, lambda a, b: L.solve(a, b))
    f.case("solve/kink_larger", {"a": dominant(1, 36, 36), "b": r(1, 1, 36, 7)}, lambda a, b: L.solve(a, b))
    f.case("solve/nan", {"a": t([[[1.0, nan], [0.0, 2.0]]]), "b": r(1, 1, 2, 1)}, lambda a, b: L.solve(a, b))
    f.case("solve_vector", {"a": r(3, 3), "b": r(3)}, lambda a, b: L.solve(a, b))
    f.case("solve_vectors", {"a": r(2, 3, 3), "b": r(2, 3)}, lambda a, b: L.solve(a, b))
    f.case("inverse", {"x": r(2, 4, 4)}, lambda x: L.inv(x))
    f.case("inverse/one", {"x": t([[[-2.5]]])}, lambda x: L.inv(x))
    f.case("inverse/empty", {"x": r(3, 0, 0)}, lambda x: L.inv(x))
    f.case("inverse/kink_larger", {"x": dominant(1, 36, 36)}, lambda x: L.inv(x))
    f.case("det", {"x": r(3, 4, 4)}, lambda x: L.det(x))
    f.case("det/one", {"x": r(1, 1, 1)}, lambda x: L.det(x))
    f.case("det/empty", {"x": r(2, 0, 0)}, lambda x: L.det(x))
    f.case("det/nan", {"x": t([[[nan, 1.0], [0.0, 2.0]]])}, lambda x: L.det(x))
    # PyTorch moves a singular matrix a little; the cofactors are what its derivative is.
    f.case("det_singular", {"x": singular}, lambda x: x[0, 0] * (x[1, 1] * x[2, 2] - x[1, 2] * x[2, 1]) - x[0, 1] * (x[1, 0] * x[2, 2] - x[1, 2] * x[2, 0]) +
           x[0, 2] * (x[1, 0] * x[2, 1] - x[1, 1] * x[2, 0]))
    f.case("logabsdet", {"x": r(3, 4, 4)}, lambda x: L.slogdet(x)[1])
    f.case("logabsdet/one", {"x": r(1, 1, 1)}, lambda x: L.slogdet(x)[1])
    f.case("logabsdet/kink_large", {"x": r(1, 34, 34) * 4}, lambda x: L.slogdet(x)[1])
    f.case("logabsdet/empty", {"x": r(2, 0, 0)}, lambda x: L.slogdet(x)[1])
    f.case("det_sign/kink", {"x": r(4, 3, 3)}, lambda x: L.slogdet(x)[0].detach() * 1.0)
    f.case("qr_q", {"x": r(2, 5, 3)}, lambda x: L.qr(x)[0])
    f.case("qr_q/square", {"x": r(1, 4, 4)}, lambda x: L.qr(x)[0])
    f.case("qr_q/wide", {"x": r(1, 3, 5)}, lambda x: L.qr(x)[0])
    f.case("qr_q/one", {"x": t([[[-2.0]]])}, lambda x: L.qr(x)[0])
    f.case("qr_q/kink_larger", {"x": r(1, 45, 34)}, lambda x: L.qr(x)[0])
    f.case("qr_r", {"x": r(2, 5, 3)}, lambda x: L.qr(x)[1])
    f.case("qr_r/wide", {"x": r(1, 3, 5)}, lambda x: L.qr(x)[1])
    f.case("qr_r/empty", {"x": r(1, 0, 3)}, lambda x: L.qr(x)[1])
    f.case("qr_both", {"x": r(2, 4, 3)}, lambda x: (lambda p: p[0].square() @ p[1])(L.qr(x)))
    f.case("qr_complete/kink", {"x": r(5, 3)}, lambda x: L.qr(x.detach(), mode="complete")[0] * 1.0)
    f.case("eigvalsh", {"x": r(2, 5, 5)}, lambda x: L.eigvalsh(x + x.mT))
    f.case("eigvalsh/one", {"x": r(1, 1, 1)}, lambda x: L.eigvalsh(x + x.mT))
    f.case("eigvalsh/empty", {"x": r(2, 0, 0)}, lambda x: L.eigvalsh(x + x.mT))
    f.case("eigvalsh/kink_larger", {"x": r(1, 66, 66) * 0.125}, lambda x: L.eigvalsh(x + x.mT))
    f.case("eigvalsh/tie", {"x": torch.diag(t([1.0, 2.0, 1.0, 2.0])).reshape(1, 4, 4)}, lambda x: L.eigvalsh(x + x.mT))
    f.case("eigh", {"x": r(2, 5, 5)}, lambda x: (lambda e: (e[1] * torch.tanh(e[0]).unsqueeze(-2)) @ e[1].mT)(L.eigh(x + x.mT)))
    f.case("eigh/one", {"x": r(1, 1, 1)}, lambda x: (lambda e: (e[1] * torch.tanh(e[0]).unsqueeze(-2)) @ e[1].mT)(L.eigh(x + x.mT)))
    f.case("eigh_upper/kink", {"x": r(4, 4)}, lambda x: L.eigvalsh(x.detach(), UPLO="U") * 1.0)
    f.case("svdvals", {"x": r(2, 4, 3)}, lambda x: L.svdvals(x))
    f.case("svdvals/wide", {"x": r(1, 3, 7)}, lambda x: L.svdvals(x))
    f.case("svdvals/one", {"x": t([[[-3.0]]])}, lambda x: L.svdvals(x))
    f.case("svdvals/empty", {"x": r(2, 0, 3)}, lambda x: L.svdvals(x))
    polar = lambda x: (lambda u, s, vh: (u * torch.tanh(s).unsqueeze(-2)) @ vh)(*L.svd(x, full_matrices=False))
    f.case("svd", {"x": r(2, 5, 3)}, polar)
    f.case("svd/wide", {"x": r(1, 3, 4)}, polar)
    f.case("svd/square", {"x": r(1, 4, 4)}, polar)
    f.case("pinv", {"x": r(2, 5, 3)}, lambda x: L.pinv(x))
    f.case("pinv/wide", {"x": r(1, 3, 4)}, lambda x: L.pinv(x))
    f.case("pinv/kink_rank", {"x": singular.reshape(1, 3, 3)}, lambda x: L.pinv(x))
    f.case("pinv/empty", {"x": r(1, 0, 3)}, lambda x: L.pinv(x))
    f.case("lstsq", {"a": r(2, 5, 3), "b": r(2, 5, 2)}, lambda a, b: L.lstsq(a, b).solution)
    f.case("lstsq/wide", {"a": r(1, 3, 5), "b": r(1, 3, 2)}, lambda a, b: L.lstsq(a, b).solution)
    f.case("matrix_rank", {"x": torch.stack([singular, r(3, 3), torch.zeros(3, 3)])}, lambda x: L.matrix_rank(x))
    f.case("matrix_power", {"x": r(2, 3, 3)}, lambda x: L.matrix_power(x, 5))
    f.case("matrix_power_negative", {"x": dominant(2, 3, 3)}, lambda x: L.matrix_power(x, -2))
    for name, order in (("frobenius", "fro"), ("nuclear", "nuc"), ("spectral", 2), ("least", -2), ("one", 1), ("infinity", inf)):
        f.case(f"norm_{name}", {"x": r(2, 4, 3)}, lambda x, order=order: L.matrix_norm(x, order))
    f.case("norm_frobenius/kink_zero", {"x": torch.zeros(1, 2, 3)}, lambda x: L.matrix_norm(x))
    f.case("norm_frobenius/nan", {"x": t([[[1.0, nan]]])}, lambda x: L.matrix_norm(x))
    f.case("cond", {"x": r(2, 4, 3)}, lambda x: L.cond(x))
