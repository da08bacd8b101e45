"""Golden values of einsum."""
import torch

from golden import Family, r

inf, nan = float("inf"), float("nan")

with Family("einsum") as f:
    def case(key, text, *sizes):
        names = "abcd"[:len(sizes)]
        f.case(key, {n: r(*s) for n, s in zip(names, sizes)}, lambda **x: torch.einsum(text, *[x[n] for n in names]))

    case("transpose", "ij->ji", (3, 4))
    case("sum", "ijk->j", (3, 4, 2))
    case("trace", "ii->", (4, 4))
    case("diagonal", "bii->bi", (2, 3, 3))
    case("three_times", "iii->i", (3, 3, 3))
    case("implicit", "ba,bc", (3, 4), (3, 2))
    case("product", "ij,jk->ik", (3, 4), (4, 5))
    case("product/one", "ij,jk->ik", (1, 1), (1, 1))
    case("product/empty", "ij,jk->ik", (3, 0), (0, 5))
    case("product_turned", "ij,jk->ki", (3, 4), (4, 5))
    case("batched", "bij,bjk->bik", (2, 3, 4), (2, 4, 5))
    case("batched/broadcast", "bij,bjk->bik", (2, 3, 4), (1, 4, 5))
    case("batched_turned", "bij,kbj->kib", (2, 3, 4), (5, 2, 4))
    case("ellipsis", "...ij,...jk->...ik", (2, 1, 3, 4), (3, 4, 5))
    case("ellipsis_last", "i...,ij->j...", (3, 2, 4), (3, 5))
    case("attention", "bqhd,bkhd->bhqk", (2, 3, 2, 4), (2, 5, 2, 4))
    case("dot", "i,i->", (6,), (6,))
    case("rows", "bi,bi->b", (3, 4), (3, 4))
    case("outer", "i,j->ij", (3,), (4,))
    case("outer_turned", "i,j->ji", (3,), (4,))
    case("hadamard", "ij,ij->ij", (3, 4), (3, 4))
    case("vector", "ij,j->i", (3, 4), (4,))
    case("vector_left", "i,ij->j", (3,), (3, 4))
    case("two_summed", "ijk,jkl->il", (2, 3, 4), (3, 4, 5))
    case("two_summed_crossed", "ijk,kjl->il", (2, 3, 4), (4, 3, 5))
    case("summed_alone", "ij,kl->i", (3, 4), (2, 5))
    case("diagonal_product", "ii,ij->j", (3, 3), (3, 4))
    case("bilinear", "bi,oij,bj->bo", (2, 3), (4, 3, 5), (2, 5))
    case("chain", "ij,jk,kl,lm->im", (2, 3), (3, 4), (4, 3), (3, 5))
    case("four", "i,bij,bjk,k->b", (3,), (2, 3, 4), (2, 4, 5), (5,))
    f.case("product/nan", {"a": torch.tensor([[1.0, nan], [2.0, 3.0]]), "b": r(2, 3)}, lambda a, b: torch.einsum("ij,jk->ik", a, b))
