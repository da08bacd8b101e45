"""Golden values of convolutions."""
import torch
import torch.nn.functional as F

from golden import Family, r


def w(*shape):
    """Weights small enough for sums of the size of one."""
    return (r(*shape) * 0.3).float().double()


def padded(x, amounts, mode):
    return F.pad(x, amounts, mode=mode)


with Family("conv") as f:
    for key, x, k, o in (
        ("conv1d", (2, 3, 9), (4, 3, 3), {}),
        ("conv1d_strided", (2, 4, 13), (6, 2, 4), {"stride": 3, "padding": 2, "dilation": 2, "groups": 2}),
        ("conv2d", (2, 3, 5, 6), (4, 3, 3, 3), {"padding": 1}),
        ("conv2d/wide", (1, 9, 4, 6), (17, 9, 3, 2), {"padding": 1}),
        ("conv2d/small", (1, 2, 1, 1), (3, 2, 1, 1), {"padding": 1}),
        ("conv2d/empty", (0, 2, 4, 4), (3, 2, 3, 3), {"padding": 1}),
        ("conv2d_strided", (2, 4, 11, 8), (6, 4, 3, 3), {"stride": (2, 3), "padding": (1, 0)}),
        ("conv2d_strided/large_kernel", (1, 2, 8, 9), (3, 2, 5, 6), {"stride": (2, 3), "padding": (1, 0)}),
        ("conv2d_strided/skips", (1, 2, 9, 9), (3, 2, 1, 2), {"stride": (2, 3), "padding": (1, 0)}),
        ("conv2d_dilated", (1, 3, 9, 10), (4, 3, 3, 2), {"padding": (2, 1), "dilation": (2, 3)}),
        ("conv2d_groups", (2, 6, 5, 4), (9, 2, 3, 3), {"padding": 1, "groups": 3}),
        ("conv2d_depthwise", (2, 5, 6, 7), (5, 1, 3, 3), {"padding": 1, "groups": 5}),
        ("conv2d_depthwise/wide", (1, 5, 9, 21), (5, 1, 3, 5), {"padding": 1, "groups": 5}),
        ("conv2d_pointwise", (2, 6, 4, 5), (7, 6, 1, 1), {}),
        ("conv2d_same", (1, 2, 6, 7), (3, 2, 4, 3), {"padding": "same", "dilation": (1, 2)}),
        ("conv3d", (2, 2, 4, 5, 3), (3, 2, 2, 3, 2), {"padding": (1, 1, 0), "stride": (1, 2, 1)}),
    ):
        f.case(key, {"x": r(*x), "w": w(*k), "b": r(k[0])}, lambda x, w, b, o=o: getattr(F, key.split("_")[0].split("/")[0])(x, w, b, **o))
    f.case("conv2d_plain", {"x": r(2, 3, 5, 6), "w": w(4, 3, 3, 3)}, lambda x, w: F.conv2d(x, w))
    for mode in ("reflect", "replicate", "circular"):
        f.case(f"conv2d_{mode}", {"x": r(2, 3, 5, 6), "w": w(4, 3, 3, 5), "b": r(4)}, lambda x, w, b: F.conv2d(padded(x, (2, 2, 1, 1), mode), w, b, stride=2))
    for key, x, k, o in (
        ("conv_transpose1d", (2, 3, 6), (3, 4, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
        ("conv_transpose2d", (2, 3, 4, 5), (3, 4, 4, 4), {"stride": 2, "padding": 1}),
        ("conv_transpose2d/small", (1, 2, 1, 1), (2, 3, 4, 4), {"stride": 2, "padding": 1}),
        ("conv_transpose2d/wide", (1, 9, 3, 4), (9, 10, 3, 5), {"stride": 2, "padding": 1}),
        ("conv_transpose2d_groups", (2, 4, 3, 4), (4, 3, 3, 2), {"stride": (2, 3), "padding": (1, 0), "output_padding": (1, 2), "dilation": (2, 1), "groups": 2}),
        ("conv_transpose3d", (1, 2, 3, 2, 4), (2, 3, 2, 3, 2), {"stride": (1, 2, 1), "padding": (0, 1, 1)}),
    ):
        f.case(key, {"x": r(*x), "w": w(*k), "b": r(k[1] * o.get("groups", 1))}, lambda x, w, b, o=o: getattr(F, "_".join(key.split("/")[0].split("_")[:2]))(x, w, b, **o))
