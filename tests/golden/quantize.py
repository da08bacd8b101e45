"""Golden values of quantisation and of products of bytes."""
import warnings

import torch

from golden import Family, integers, r

warnings.filterwarnings("ignore", "torch.quantize_per_tensor")


def t(*values):
    return torch.tensor(values)


def signed(*shape):
    return integers(-128, 128, shape)


def unsigned(*shape):
    return integers(0, 256, shape)


def quantize(x, scale, zero, dtype):
    return torch.quantize_per_tensor(x.detach().float(), scale, zero, dtype).int_repr().long()


def quantize_channels(x, scales, zeros, axis, dtype):
    return torch.quantize_per_channel(x.detach().float(), torch.tensor(scales), torch.tensor(zeros), axis, dtype).int_repr().long()


def product(a, b):
    return torch.matmul(a.double(), b.double())


scales, zeros, bias = (0.5, 0.25, 0.125), (0, -5, 9), (100.0, -20.0, 0.0)

with Family("quantize") as f:
    for name, zero, dtype in (("signed", -3, torch.qint8), ("unsigned", 130, torch.quint8)):
        f.case(f"per_tensor/{name}/plain", {"x": r(6, 50) * 3}, lambda x: quantize(x, 0.05, zero, dtype))
        f.case(f"per_tensor/{name}/empty", {"x": r(0, 3)}, lambda x: quantize(x, 0.05, zero, dtype))
        # Its vector code rounds behind the zero point, where odd ones turn ties.
        zero += zero % 2
        f.case(f"halves/{name}", {"x": t(0.125, 0.375, -0.125, -0.375, 0.625, 31.5, -32.5, 1e9, -1e9)}, lambda x: quantize(x, 0.25, zero, dtype))
    f.case("per_channel/middle", {"x": r(4, 3, 5) * 20}, lambda x: quantize_channels(x, scales, zeros, 1, torch.qint8))
    f.case("per_channel/last", {"x": r(4, 5, 3) * 20}, lambda x: quantize_channels(x, scales, zeros, 2, torch.qint8))
    f.case("dequantize/signed", {"q": signed(5, 9)}, lambda q: (q + 3) * 0.125)
    f.case("dequantize/unsigned", {"q": unsigned(5, 9)}, lambda q: (q - 130) * 0.125)
    f.case("dequantize/wide", {"q": integers(-1000000, 1000000, (5, 9))}, lambda q: (q + 3) * 0.125)
    f.case("dequantize/channels", {"q": signed(4, 3, 5)}, lambda q: (q - t(*zeros)[:, None]) * t(*scales)[:, None])

    f.case("product/signed/plain", {"a": signed(5, 70), "b": signed(70, 3)}, lambda a, b: product(a, b).long())
    f.case("product/signed/empty", {"a": signed(2, 0), "b": signed(0, 3)}, lambda a, b: product(a, b).long())
    f.case("product/signed/extreme", {"a": torch.full((2, 200), -128), "b": torch.full((200, 2), -128)}, lambda a, b: product(a, b).long())
    f.case("product/unsigned/plain", {"a": unsigned(5, 70), "b": signed(70, 3)}, lambda a, b: product(a, b).long())
    f.case("product/unsigned/extreme", {"a": torch.full((2, 200), 255), "b": torch.full((200, 2), -128)}, lambda a, b: product(a, b).long())
    f.case("product/batches", {"a": signed(2, 1, 4, 9), "b": signed(3, 9, 5)}, lambda a, b: product(a, b).long())
    f.case("linear", {"x": signed(2, 4, 9), "w": signed(3, 9)}, lambda x, w: product(x, w.T).long())
    f.case("scaled_product", {"a": unsigned(5, 30), "b": signed(30, 3)}, lambda a, b: torch.relu(product(a - 120, b - t(*zeros)) * 0.01 * t(*scales) + t(*bias)))
    f.case("scaled_linear", {"x": signed(2, 4, 9), "w": signed(3, 9)}, lambda x, w: product(x - 7, w.T) * 0.01 * t(*scales))
