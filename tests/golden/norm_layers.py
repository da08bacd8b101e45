"""Golden values of normalisations, masked softmax and its logarithm."""
import torch
import torch.nn.functional as F

from golden import Family, r

inf, nan = float("inf"), float("nan")


def t(*values):
    return torch.tensor(values)


with Family("norm_layers") as f:
    for key, shape in (("", (3, 5)), ("/wide", (4, 70)), ("/empty", (0, 4))):
        f.case("layer_norm" + key, {"x": r(*shape) * 2 + 1, "w": r(shape[-1]), "b": r(shape[-1])}, lambda x, w, b: F.layer_norm(x, w.shape, w, b))
        f.case("rms_norm" + key, {"x": r(*shape) * 2 + 1, "w": r(shape[-1])}, lambda x, w: F.rms_norm(x, w.shape, w, eps=1e-5))
        f.case("layer_norm_plain" + key, {"x": r(*shape)}, lambda x: F.layer_norm(x, x.shape[-1:], eps=1e-3))
    # One element: numbers whose rounding errors do not show in what is zero.
    f.case("layer_norm/one", {"x": t([2.0], [-4.0]), "w": t(1.0), "b": r(1)}, lambda x, w, b: F.layer_norm(x, w.shape, w, b))
    f.case("layer_norm_plain/kink_constant", {"x": t([2.0, 2.0, 2.0])}, lambda x: F.layer_norm(x, x.shape[-1:], eps=1e-3))
    f.case("layer_norm_plain/nan", {"x": t([2.0, nan, 2.0], [1.0, 2.0, 4.0])}, lambda x: F.layer_norm(x, x.shape[-1:], eps=1e-3))
    f.case("layer_norm_2", {"x": r(3, 4, 2, 5), "w": r(2, 5), "b": r(2, 5)}, lambda x, w, b: F.layer_norm(x, w.shape, w, b))
    for key, shape in (("", (6, 3)), ("/wide", (9, 70)), ("/three", (3, 3))):
        f.case("batch_norm" + key, {"x": r(*shape) * 2 + 1, "w": r(shape[1]), "b": r(shape[1])}, lambda x, w, b: F.batch_norm(x, None, None, w, b, True))
        f.case("batch_norm_relu" + key, {"x": r(*shape) * 2 + 1, "w": r(shape[1]), "b": r(shape[1])}, lambda x, w, b: F.relu(F.batch_norm(x, None, None, w, b, True)))
    for key, shape in (("", (2, 3, 4)), ("/long", (2, 3, 45)), ("/single", (1, 2, 3))):
        f.case("batch_norm_3" + key, {"x": r(*shape) * 2 + 1}, lambda x: F.batch_norm(x, None, None, None, None, True, eps=1e-3))
    f.case("batch_norm_inference", {"x": r(4, 3, 5), "w": r(3), "b": r(3)}, lambda x, w, b: F.batch_norm(x, t(0.5, -1.0, 2.0), t(0.25, 1.0, 3.0), w, b, False))

    def masked(x, mask, axis, log=False):
        """PyTorch has no softmax with a mask; where nothing is kept the result is 0 (-inf)."""
        keep = mask.bool().expand_as(x)
        y = torch.log_softmax(torch.where(keep, x, -inf), axis) if log else torch.softmax(torch.where(keep, x, -inf), axis)
        return torch.where(keep, y, -inf if log else 0.0)

    some = torch.tensor([[1, 0, 1, 1, 0], [1, 1, 1, 1, 1], [0, 0, 0, 1, 0]])
    f.case("softmax_mask", {"x": r(3, 5) * 2, "mask": some}, lambda x, mask: masked(x, mask, 1))
    f.case("softmax_mask/wide", {"x": r(4, 70) * 2, "mask": torch.randint(0, 2, (4, 70))}, lambda x, mask: masked(x, mask, 1))
    f.case("softmax_mask/row", {"x": r(3, 11) * 2, "mask": torch.tensor([[1, 0, 1, 1, 0, 1, 1, 1, 1, 0, 1]])}, lambda x, mask: masked(x, mask, 1))
    f.case("softmax_mask/column", {"x": r(3, 4), "mask": torch.ones(3, 1).long()}, lambda x, mask: masked(x, mask, 1))
    f.case("softmax_mask/inf", {"x": t([inf, 1.0, 2.0], [1.0, -inf, 3.0]), "mask": torch.tensor([[0, 1, 1], [1, 1, 1]])}, lambda x, mask: masked(x, mask, 1))
    f.case("softmax_mask/nan", {"x": t([nan, 1.0, 2.0], [1.0, nan, 3.0]), "mask": torch.tensor([[0, 1, 1], [1, 1, 1]])}, lambda x, mask: masked(x, mask, 1))
    f.case("softmax_mask_middle", {"x": r(2, 4, 3), "mask": torch.tensor([[1, 0, 1], [1, 1, 0], [0, 1, 1], [1, 1, 1]])}, lambda x, mask: masked(x, mask, 1))
    f.case("log_softmax_mask_sum", {"x": r(3, 5) * 2, "mask": some},
           lambda x, mask: torch.where(mask.bool(), masked(x, mask, 1, True), 0.0))
