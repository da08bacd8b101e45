"""Golden values of group norm, instance norm, local response norm, and batch norm of images."""
import torch
import torch.nn.functional as F

from golden import Family, r

with Family("image_norm") as f:
    for key, shape in (("", (2, 6, 3, 4)), ("/wide", (2, 6, 5, 9)), ("/flat", (3, 6))):
        rank = len(shape)
        f.case("group_norm_%d" % rank + key, {"x": r(*shape) * 2 + 1, "w": r(6), "b": r(6)}, lambda x, w, b: F.group_norm(x, 2, w, b))
    f.case("group_norm_plain", {"x": r(2, 4, 7) * 2 + 1}, lambda x: F.group_norm(x, 4, eps=1e-3))
    f.case("group_norm_plain/wide", {"x": r(2, 4, 45) * 2 + 1}, lambda x: F.group_norm(x, 4, eps=1e-3))
    f.case("group_norm_one", {"x": r(2, 3, 2, 3, 4) * 2 + 1, "w": r(3)}, lambda x, w: F.group_norm(x, 1, w))
    f.case("instance_norm", {"x": r(2, 3, 3, 4) * 2 + 1, "w": r(3), "b": r(3)}, lambda x, w, b: F.instance_norm(x, weight=w, bias=b))
    f.case("instance_norm/wide", {"x": r(2, 3, 5, 9) * 2 + 1, "w": r(3), "b": r(3)}, lambda x, w, b: F.instance_norm(x, weight=w, bias=b))
    f.case("instance_norm_plain", {"x": r(2, 3, 9) * 2 + 1}, lambda x: F.instance_norm(x, eps=1e-3))
    for size in (3, 4):
        f.case("local_response_norm_%d" % size, {"x": r(2, 7, 3, 2) * 2}, lambda x: F.local_response_norm(x, size, 0.3, 0.75, 1.5))
    f.case("batch_norm_4", {"x": r(3, 2, 4, 5) * 2 + 1, "w": r(2), "b": r(2)}, lambda x, w, b: F.batch_norm(x, None, None, w, b, True))
    f.case("batch_norm_5", {"x": r(2, 2, 3, 4, 5) * 2 + 1, "w": r(2), "b": r(2)}, lambda x, w, b: F.batch_norm(x, None, None, w, b, True))
