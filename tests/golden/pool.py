"""Golden values of pooling."""
import torch
import torch.nn.functional as F

from golden import Family, r

inf, nan = float("inf"), float("nan")


def t(*values):
    return torch.tensor(values)


def ties(*shape):
    """Few different numbers, so that windows have several largest elements."""
    return torch.randint(0, 3, shape).double()


with Family("pool") as f:
    f.case("max_pool2d", {"x": r(2, 3, 7, 9)}, lambda x: F.max_pool2d(x, 3, 2, 1))
    f.case("max_pool2d/wide", {"x": r(1, 2, 5, 40)}, lambda x: F.max_pool2d(x, 3, 2, 1))
    f.case("max_pool2d/tie", {"x": ties(2, 2, 8, 21)}, lambda x: F.max_pool2d(x, 3, 2, 1))
    f.case("max_pool2d/nan", {"x": torch.where(torch.rand(1, 2, 6, 18) < 0.15, nan, ties(1, 2, 6, 18))}, lambda x: F.max_pool2d(x, 3, 2, 1))
    f.case("max_pool2d/inf", {"x": torch.where(torch.rand(1, 2, 6, 18) < 0.7, -inf, r(1, 2, 6, 18))}, lambda x: F.max_pool2d(x, 3, 2, 1))
    f.case("max_pool2d_even", {"x": r(2, 2, 6, 34)}, lambda x: F.max_pool2d(x, 2))
    f.case("max_pool2d_even/odd", {"x": r(1, 3, 7, 9)}, lambda x: F.max_pool2d(x, 2))
    f.case("max_pool2d_dilated", {"x": r(2, 2, 9, 23)}, lambda x: F.max_pool2d(x, (2, 3), (2, 1), (1, 1), (2, 3)))
    f.case("max_pool2d_ceil", {"x": r(2, 2, 8, 11)}, lambda x: F.max_pool2d(x, 3, 3, 1, ceil_mode=True))
    f.case("max_pool2d_ceil/wide", {"x": r(1, 2, 5, 30)}, lambda x: F.max_pool2d(x, 3, 3, 1, ceil_mode=True))
    f.case("max_pool2d_image", {"x": r(3, 6, 9)}, lambda x: F.max_pool2d(x, (2, 1), (1, 3)))
    f.case("max_pool2d_large", {"x": r(1, 2, 20, 24)}, lambda x: F.max_pool2d(x, 17, 1, 8))
    f.case("max_pool1d", {"x": r(2, 3, 25)}, lambda x: F.max_pool1d(x, 4, 2, 1))
    f.case("max_pool3d", {"x": r(2, 2, 5, 6, 13)}, lambda x: F.max_pool3d(x, (2, 3, 3), (1, 2, 2), (1, 1, 1)))
    f.case("max_pool2d_channels", {"x": r(2, 11, 7, 6)}, lambda x: F.max_pool2d(x.contiguous(memory_format=torch.channels_last), 3, 2, 1))
    f.case("max_pool2d_indices", {"x": r(2, 3, 7, 9)}, lambda x: F.max_pool2d(x, 3, 2, 1, return_indices=True)[1])
    f.case("max_pool2d_indices/nan", {"x": torch.where(torch.rand(1, 2, 6, 18) < 0.15, nan, ties(1, 2, 6, 18))},
           lambda x: F.max_pool2d(x, 3, 2, 1, return_indices=True)[1])

    def round_trip(x):
        values, indices = F.max_pool2d(x, 2, return_indices=True)
        return F.max_unpool2d(values, indices, 2, output_size=x.shape[2:])

    f.case("max_unpool2d", {"x": r(2, 3, 7, 9)}, round_trip)
    f.case("max_unpool1d", {"x": r(2, 3, 4), "indices": torch.tensor([[[0, 3, 4, 7], [1, 2, 5, 6], [0, 2, 4, 6]]] * 2)}, lambda x, indices: F.max_unpool1d(x, indices, 2))
    f.case("max_unpool3d", {"x": r(1, 1, 1, 2, 2), "indices": torch.tensor([[[[[0, 7], [13, 31]]]]])}, lambda x, indices: F.max_unpool3d(x, indices, 2))
    f.case("adaptive_max_pool2d", {"x": r(2, 3, 7, 10)}, lambda x: F.adaptive_max_pool2d(x, (3, 4)))
    f.case("adaptive_max_pool2d/tie", {"x": ties(1, 2, 7, 10)}, lambda x: F.adaptive_max_pool2d(x, (3, 4)))
    f.case("adaptive_max_pool2d/larger", {"x": r(1, 2, 2, 3)}, lambda x: F.adaptive_max_pool2d(x, (3, 4)))
    f.case("adaptive_max_pool2d/nan", {"x": torch.where(torch.rand(1, 2, 6, 8) < 0.15, nan, ties(1, 2, 6, 8))}, lambda x: F.adaptive_max_pool2d(x, (3, 4)))
    f.case("adaptive_max_pool2d_one", {"x": r(2, 3, 5, 4)}, lambda x: F.adaptive_max_pool2d(x, 1))
    f.case("adaptive_max_pool2d_one/nan", {"x": torch.where(torch.rand(2, 2, 3, 4) < 0.2, nan, ties(2, 2, 3, 4))}, lambda x: F.adaptive_max_pool2d(x, 1))
    f.case("adaptive_max_pool1d_indices", {"x": r(2, 3, 11)}, lambda x: F.adaptive_max_pool1d(x, 4, return_indices=True)[1])
    f.case("adaptive_max_pool3d", {"x": r(1, 2, 4, 5, 6)}, lambda x: F.adaptive_max_pool3d(x, (2, 3, 5)))

    f.case("avg_pool2d", {"x": r(2, 3, 7, 9)}, lambda x: F.avg_pool2d(x, 3, 2, 1))
    f.case("avg_pool2d/wide", {"x": r(1, 2, 5, 60)}, lambda x: F.avg_pool2d(x, 3, 2, 1))
    f.case("avg_pool2d/kink_nan", {"x": torch.where(torch.rand(1, 1, 6, 30) < 0.05, nan, r(1, 1, 6, 30))}, lambda x: F.avg_pool2d(x, 3, 2, 1))
    f.case("avg_pool2d_even", {"x": r(2, 2, 6, 34)}, lambda x: F.avg_pool2d(x, 2))
    f.case("avg_pool2d_same", {"x": r(1, 2, 6, 41)}, lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False))
    f.case("avg_pool2d_ceil", {"x": r(2, 2, 8, 11)}, lambda x: F.avg_pool2d(x, 3, 3, 1, ceil_mode=True))
    f.case("avg_pool2d_ceil/wide", {"x": r(1, 2, 5, 30)}, lambda x: F.avg_pool2d(x, 3, 3, 1, ceil_mode=True))
    f.case("avg_pool2d_own", {"x": r(2, 2, 8, 11)}, lambda x: F.avg_pool2d(x, (2, 3), (1, 2), (1, 0), ceil_mode=True, count_include_pad=False))
    f.case("avg_pool2d_divisor", {"x": r(2, 2, 8, 11)}, lambda x: F.avg_pool2d(x, 3, 2, 1, divisor_override=7))
    f.case("avg_pool2d_channels", {"x": r(2, 11, 7, 6)}, lambda x: F.avg_pool2d(x.contiguous(memory_format=torch.channels_last), 3, 2, 1))
    f.case("avg_pool2d_image", {"x": r(3, 6, 9)}, lambda x: F.avg_pool2d(x, (2, 1), (1, 3)))
    f.case("avg_pool1d", {"x": r(2, 3, 25)}, lambda x: F.avg_pool1d(x, 4, 2, 1))
    f.case("avg_pool3d", {"x": r(2, 2, 5, 6, 13)}, lambda x: F.avg_pool3d(x, (2, 3, 3), (1, 2, 2), (1, 1, 1)))
    f.case("adaptive_avg_pool2d", {"x": r(2, 3, 7, 10)}, lambda x: F.adaptive_avg_pool2d(x, (3, 4)))
    f.case("adaptive_avg_pool2d/larger", {"x": r(1, 2, 2, 3)}, lambda x: F.adaptive_avg_pool2d(x, (3, 4)))
    f.case("adaptive_avg_pool2d/even", {"x": r(1, 2, 6, 32)}, lambda x: F.adaptive_avg_pool2d(x, (3, 4)))
    f.case("adaptive_avg_pool2d_one", {"x": r(2, 3, 5, 19)}, lambda x: F.adaptive_avg_pool2d(x, 1))
    f.case("adaptive_avg_pool2d_keep", {"x": r(2, 3, 5, 19)}, lambda x: F.adaptive_avg_pool2d(x, (None, 4)))
    f.case("adaptive_avg_pool1d", {"x": r(2, 3, 11)}, lambda x: F.adaptive_avg_pool1d(x, 4))
    f.case("adaptive_avg_pool3d", {"x": r(1, 2, 4, 5, 6)}, lambda x: F.adaptive_avg_pool3d(x, (2, 3, 5)))
    f.case("lp_pool2d", {"x": r(2, 2, 6, 9).abs() + 0.5}, lambda x: F.lp_pool2d(x, 3, 2, (2, 1)))
    f.case("lp_pool1d", {"x": r(2, 2, 9).abs() + 0.5}, lambda x: F.lp_pool1d(x, 2, 3, ceil_mode=True))
