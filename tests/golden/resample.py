"""Golden values of interpolation and of channels exchanged for points."""
import torch
import torch.nn.functional as F

from golden import Family, r

with Family("resample") as f:
    def case(key, shape, size=None, factor=None, **options):
        f.case(key, {"x": r(*shape)}, lambda x: F.interpolate(x, size, factor, **options))

    case("nearest", (2, 2, 5, 7), (8, 10), mode="nearest")
    case("nearest/less", (2, 2, 9, 11), (8, 10), mode="nearest")
    case("nearest_1", (2, 3, 7), 17, mode="nearest")
    case("nearest_3", (1, 2, 3, 4, 5), (5, 6, 4), mode="nearest")
    case("nearest_twice", (1, 2, 3, 20), None, 2.0, mode="nearest")
    case("nearest_by", (1, 2, 7, 9), None, (1.7, 0.6), mode="nearest")
    case("nearest_exact", (2, 2, 5, 7), (8, 10), mode="nearest-exact")
    case("nearest_exact/less", (2, 2, 11, 13), (8, 10), mode="nearest-exact")
    case("linear_1", (2, 3, 7), 17, mode="linear")
    case("linear_1/less", (2, 3, 40), 17, mode="linear")
    case("bilinear", (2, 2, 5, 7), (8, 10), mode="bilinear")
    case("bilinear/less", (2, 2, 14, 23), (8, 10), mode="bilinear")
    case("bilinear/kink_one", (2, 2, 1, 1), (8, 10), mode="bilinear")
    case("bilinear_align", (2, 2, 5, 7), (8, 10), mode="bilinear", align_corners=True)
    case("bilinear_align/less", (2, 2, 14, 23), (8, 10), mode="bilinear", align_corners=True)
    case("bilinear_align_one", (2, 2, 4, 6), (1, 12), mode="bilinear", align_corners=True)
    case("bilinear_twice", (1, 2, 5, 24), None, 2.0, mode="bilinear")
    case("bilinear_twice/odd", (2, 1, 3, 9), None, 2.0, mode="bilinear")
    case("bilinear_by", (1, 2, 7, 9), None, (1.7, 0.6), mode="bilinear")
    case("bilinear_smooth", (1, 2, 13, 20), (5, 30), mode="bilinear", antialias=True)
    case("bilinear_smooth/less", (1, 2, 40, 61), (5, 30), mode="bilinear", antialias=True)
    case("trilinear", (1, 2, 3, 4, 5), (5, 6, 4), mode="trilinear")
    case("trilinear_align", (1, 2, 3, 4, 5), (5, 6, 4), mode="trilinear", align_corners=True)
    case("bicubic", (2, 2, 5, 7), (8, 10), mode="bicubic")
    case("bicubic/less", (2, 2, 14, 23), (8, 10), mode="bicubic")
    case("bicubic/small", (2, 2, 2, 1), (8, 10), mode="bicubic")
    case("bicubic_align", (2, 2, 5, 7), (8, 10), mode="bicubic", align_corners=True)
    case("bicubic_smooth", (1, 2, 13, 20), (5, 30), mode="bicubic", antialias=True)
    f.case("bilinear_channels", {"x": r(2, 11, 4, 5)}, lambda x: F.interpolate(x.contiguous(memory_format=torch.channels_last), (7, 3), mode="bilinear"))
    f.case("pixel_shuffle", {"x": r(2, 18, 3, 4)}, lambda x: F.pixel_shuffle(x, 3))
    f.case("pixel_unshuffle", {"x": r(2, 3, 6, 4)}, lambda x: F.pixel_unshuffle(x, 2))
    f.case("channel_shuffle", {"x": r(2, 6, 3, 4)}, lambda x: F.channel_shuffle(x, 3))
